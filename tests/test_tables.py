"""Tables: what is read is what is written, rows have the category that they are asked for, and a generator's file writes a CSV."""

from __future__ import annotations

import csv

import pytest
import torch
from ganzoo_tables import CsvOptions
from ganzoo_tables.columns import columns_of, decoded, modes_of
from ganzoo_tables.data import csv_file, read_table
from zoo import built, small

import ganzoo
from ganzoo import Request, UsageError, medium
from ganzoo.testing import fresh, toys

ROWS = 400
TOYS = toys.file(medium("table").toys[0])


def people(path, n=ROWS):
    """A table: age in two modes, gain mostly 0, some heights missing, a colour that tells the age, and a rare one."""
    g = torch.Generator().manual_seed(0)
    young, off = torch.rand(n, generator=g) < 0.7, torch.randn(n, generator=g)
    lines = []
    for i, (y, d) in enumerate(zip(young.tolist(), off.tolist(), strict=True)):
        colour = "violet" if i == 7 else "red" if y else "blue"
        height = "?" if i % 10 == 0 else f"{1.7 + 0.1 * d:.2f}"
        lines.append([f"{(20 if y else 60) + 2 * d:.0f}", str(1000 + i) if i % 8 == 0 else "0", height, colour, "a" if i % 2 else ""])
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["age", "gain", "height", "colour", "kind, or none"], *lines])
    return path


def read(path, **options):
    """The field of a file, and its rows."""
    samples = csv_file(Request(path.parent, (), path.parent, CsvOptions(file=str(path), **options)))
    return samples.fields["x"], samples.arrays()["x"]


def test_rows_are_decoded_as_they_were_read(tmp_path):
    field, rows = read(people(tmp_path / "people.csv"))
    columns = columns_of(field)
    assert [c.discrete for c in columns] == [False, False, False, True, True]
    table = read_table(tmp_path / "people.csv")
    again = [list(cells) for cells in zip(*decoded(rows, columns), strict=True)]
    assert again == list(table.values()), "whole numbers, hundredths, gaps and categories, all of them"
    medium("table").write(rows, tmp_path, field, [])
    assert read_table(tmp_path / "table.csv") == table
    other = torch.cat(list(medium("table").read(tmp_path / "table.csv", field)))
    assert decoded(other, columns) == decoded(rows, columns)


def test_numbers_of_a_network_stay_in_the_range_of_the_data_and_near_their_mode(tmp_path):
    field, rows = read(people(tmp_path / "people.csv"))
    age, gain = columns_of(field)[:2]
    assert 0 in gain.means, "a value that stands for itself has a mode of its own"
    spike = rows[rows[:, age.width :][:, 1 + gain.means.index(0)] == 1]
    noisy = spike.clone()
    noisy[:, age.width] = 0.9
    assert {row[1] for row in decoded(noisy, (age, gain, *columns_of(field)[2:]))} == {"0"}
    far = rows.clone()
    far[:, 0] = 50.0
    assert {float(row[0]) for row in decoded(far, columns_of(field))} == {age.high}


def test_modes_are_those_of_a_mixture():
    g = torch.Generator().manual_seed(0)
    parts = ((0, 1, 2000), (50, 3, 1000))
    x = torch.cat([mean + std * torch.randn(n, generator=g, dtype=torch.float64) for mean, std, n in parts])
    means, stds, shares = modes_of(x, 2, 1e-6)
    torch.testing.assert_close(means, torch.tensor([0.0, 50.0], dtype=torch.float64), atol=0.3, rtol=0)
    torch.testing.assert_close(stds, torch.tensor([1.0, 3.0], dtype=torch.float64), atol=0.2, rtol=0)
    torch.testing.assert_close(shares, torch.tensor([2 / 3, 1 / 3], dtype=torch.float64), atol=1e-3, rtol=0)


def test_a_condition_is_a_column_and_then_a_category_by_the_logarithm_of_its_frequency():
    conditions = built(small("ctgan", TOYS)).strategy.G.conditions  # colour: 128, 128, 256; kind: 256, 256
    c = (torch.arange(100_000) + 0.5)[:, None] / 100_000
    share = conditions(c).mean(0)
    logs = torch.tensor([128.0, 128.0, 256.0]).log1p()
    torch.testing.assert_close(share, torch.cat([logs / logs.sum(), torch.tensor([0.5, 0.5])]) / 2, atol=1e-4, rtol=0)
    conditions.eval()
    torch.testing.assert_close(conditions(c).mean(0), torch.tensor([0.25, 0.25, 0.5, 0.5, 0.5]) / 2, atol=1e-4, rtol=0)


def test_real_rows_have_the_category_that_is_asked_for_and_what_nobody_has_is_not_asked_for():
    session = built(small("ctgan", TOYS))
    strategy, x = session.strategy, next(session.batches)["x"]
    conditions = strategy.G.conditions
    green = conditions.places[1]
    c = torch.linspace(0, 0.999, 64)[:, None]
    for rows, kinds in ((x, 5), (x[x[:, green] == 0], 4)):
        strategy.pool.zero_()
        with ganzoo.draws("test"):
            real, asked = strategy.matching(rows, c)
        numbers = conditions.number(asked)
        assert bool((real[torch.arange(64), conditions.places[numbers]] == 1).all())
        assert len(numbers.unique()) == kinds
        assert len(real.unique(dim=0)) > kinds, "of one category, different rows"


@pytest.mark.parametrize("reuse", [False, True])
def test_fakes_are_drawn_anew_for_g_or_reused(reuse):
    session = built(small("ctgan", TOYS, parts={"strategy": {"reuse_fakes": reuse}}))
    seen = []
    session.strategy.G.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    session.step(0)
    assert len(seen) == (1 if reuse else 2)


def test_the_penalty_is_that_of_packs():
    """Against the definition, by autograd over each pack as a whole."""
    strategy = built(small("ctgan", TOYS)).strategy
    D, loss = strategy.D.eval(), strategy.loss.loss
    pac = D.options.pac
    x, c = torch.randn(8, strategy.spec.x.numel), torch.rand(8, 1)
    with ganzoo.draws("test"):
        got = loss.penalty(strategy.view(D, {"c": c}), x, x)
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(D(x=x, c=c)[::pac].sum(), x)
    torch.testing.assert_close(got, (gradient.reshape(-1, pac * x.shape[1]).norm(dim=1) - 1).square().mean())


def test_a_generator_s_file_alone_writes_a_csv(tmp_path):
    data = people(tmp_path / "people.csv")
    options = {"steps": "3", "batch-size": "20", "generator.width": "8", "discriminator.width": "8", "strategy.pool": "50"}
    words = [f"--{name}={value}" for name, value in options.items()]
    run = fresh.ganzoo(["run", "ctgan", f"--dataset.file={data}", *words, "--device=cpu", f"--out={tmp_path / 'run'}"])
    assert run.returncode == 0, run.stderr
    (tmp_path / "run" / "generator.safetensors").rename(tmp_path / "g.safetensors")
    data.unlink()
    done = fresh.ganzoo(["sample", str(tmp_path / "g.safetensors"), "--folder", "-n", "50", "--out", str(tmp_path / "made")])
    assert done.returncode == 0, done.stderr
    made = read_table(tmp_path / "made" / "table.csv")
    assert list(made) == ["age", "gain", "height", "colour", "kind, or none"]
    assert {len(cells) for cells in made.values()} == {50}
    assert {*made["colour"]} <= {"red", "blue", "violet"}
    assert all(cell.isdigit() for cell in made["age"])


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "names of its columns"),
        ("a,b\n1,2\n", {}, "two rows at least; it has 1"),
        ("a,a\n1,2\n3,4\n", {}, "a name of its own"),
        ("a,b\n1,2\n3\n", {}, "row 2: wanted 2 cells, one a column, got 1"),
        ("1,2\n3,4\n5,6\n", {}, "its first line holds numbers alone"),
        ("name,b\n" + "".join(f"n{i},1\n" for i in range(1001)), {}, "'name' has 1001 different texts"),
        ("a,b\n1,2\n3,4\n", {"without": "c"}, "has no column 'c'"),
        ("a,b\n1,2\n3,4\n", {"without": "a,b"}, "no column is left"),
        (None, {}, "does not exist"),
    ],
)
def test_a_bad_table_is_refused_in_words(tmp_path, text, options, said):
    path = tmp_path / "bad.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read(path, **options)


def test_a_row_of_other_columns_is_refused(tmp_path):
    kind = medium("table")
    field = kind.toys[0]
    with pytest.raises(UsageError, match="it has no 'kind'"):
        kind.rows({"size": 1.0, "colour": "red"}, field)
    with pytest.raises(UsageError, match="'pink' is none of its 3 categories"):
        kind.rows({"size": 1.0, "colour": "pink", "kind": "a"}, field)
    with pytest.raises(UsageError, match="wanted a number, got 'tall'"):
        kind.rows({"size": "tall", "colour": "red", "kind": "a"}, field)
