"""Codes: latents that are fixed or swept, by the command line and from Python, and pictures that are sorted by them."""

from __future__ import annotations

import csv
from itertools import permutations

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from zoo import flags, small

import ganzoo
from ganzoo import DataSpec, Export, Field, NetworkPart, Prior, UsageError, load
from ganzoo.runs.codes import codes_of, parsed
from ganzoo.runs.exported import Exported
from ganzoo.testing import toys
from ganzoo.training import launch
from ganzoo.training.loop import Watch

LATENTS = {
    "w": Prior("onehot", (2,), 3), "z": Prior("normal", (2,)), "c": Prior("index", (), 4), "u": Prior("uniform", (1, 2)),
    "s": Prior("unit"),
}  # fmt: skip
TOYS = toys.file(Field("image", (1, 16, 16)))
POINTS = DataSpec.of("points", (13,), 3)


class Told(ganzoo.Generator):
    """Gives what it was called with, side by side: w (6), z (2), c, u (2), s, y."""

    record = NetworkPart("told", "", role="generator", latents=tuple(LATENTS), takes=("y",), gives=("x",), media=("points",))

    def __init__(self, spec, options=None):
        super().__init__(spec, options)
        self.weight = nn.Parameter(torch.ones(()))

    def latents(self):
        return LATENTS

    def forward(self, **inputs):
        return torch.cat(
            [inputs[name].float().flatten(1) if inputs[name].dim() > 1 else inputs[name].float()[:, None] for name in inputs], 1
        )


@pytest.fixture
def model():
    return ganzoo.Model(Exported(Told(POINTS), Export("G", (*LATENTS, "y")), "generator", POINTS))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of infogan with four categories and one continuous code, on pictures of four kinds."""
    codes = {"categories": 4, "continuous": 1}
    config = small("infogan", TOYS, steps=40, log_every=10, parts={"generator": codes, "discriminator": codes})
    return launch.start(config, tmp_path_factory.mktemp("codes") / "run", Watch())


def test_codes_are_numbered_through_the_latents_beside_the_noise(model):
    codes = codes_of(LATENTS)
    assert [(code.latent, code.place, code.size) for code in codes] == [
        ("w", 0, 3), ("w", 1, 3), ("c", 0, 4), ("u", 0, 0), ("u", 1, 0), ("s", 0, 0)
    ]  # fmt: skip
    assert model.codes[1:4] == ("w[1], 0 to 2", "c, 0 to 3", "u[0], usually -1 to 1")
    assert model.codes[5] == "s, usually 0 to 1"


def test_a_fixed_code_changes_its_own_number_and_nothing_else(model):
    before = model.sample(60, seed=3, labels=1, to="tensor")
    for number, value, columns, made in ((1, 2, slice(3, 6), [0, 0, 1]), (2, 3, slice(8, 9), [3]), (4, -2.5, slice(10, 11), [-2.5])):
        after = model.sample(60, seed=3, labels=1, to="tensor", codes={number: value})
        assert after[:, columns].tolist() == [made] * 60
        rest = torch.ones(13, dtype=torch.bool)
        rest[columns] = False
        assert torch.equal(after[:, rest], before[:, rest])
        assert not torch.equal(after, before)


def test_a_sweep_keeps_all_else_and_the_last_code_changes_first(model):
    x = model.sample(14, seed=1, to="tensor", codes={2: [1, 0], 3: [-1, 0, 1]})
    assert x[:, 8].tolist() == ([1, 1, 1, 0, 0, 0] * 3)[:14]
    assert x[:, 9].tolist() == ([-1, 0, 1] * 5)[:14]
    one = model.sample(3, seed=1, to="tensor")
    others = [*range(8), 10, 11]
    assert torch.equal(x[:, others], one[:, others].repeat_interleave(6, 0)[:14])
    assert x[:, 12].tolist() == [0] * 6 + [1] * 6 + [2] * 2  # each class in turn, one along all values


@pytest.mark.parametrize(
    ("word", "values"),
    [("2=3", {2: [3]}), (" 2 = 1..3 ", {2: [1, 2, 3]}), ("0=2..0", {0: [2, 1, 0]}), ("3=-.5", {3: [-0.5]}), ("4=1e1", {4: [10]})],
)
def test_a_code_is_a_value_or_a_way(word, values):
    assert parsed([word], codes_of(LATENTS)) == values


def test_numbers_go_in_eight_even_steps():
    (way,) = parsed(["3=-2..1.5"], codes_of(LATENTS)).values()
    assert way == pytest.approx([-2 + i / 2 for i in range(8)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["9=1"], r"--code 9=1: wanted the number of a code \(0: w\[0\], 0 to 2; .*\); got 9"),
        (["2=12"], r"code 2 \(c, 0 to 3\): wanted a whole number from 0 to 3; got 12"),
        (["2=0..4"], "got 4"), (["2=1.5"], "got 1.5"), (["2=-1"], "got -1"), (["3=nan"], "wanted a number; got nan"),
        (["3=a..b"], "wanted NUMBER=VALUE"), (["3"], "wanted NUMBER=VALUE"), (["c=1"], "wanted NUMBER=VALUE"), (["3=1.."], "FROM..TO"),
        (["3=1", "3=2"], "code 3 is named twice"),
    ],
)  # fmt: skip
def test_what_is_no_code_is_refused(words, said):
    with pytest.raises(UsageError, match=said):
        parsed(words, codes_of(LATENTS))


def test_from_python_the_same_is_refused(model, images, tmp_path):
    for codes, said in (({9: 1}, "codes: wanted the number"), ({2: [0, 7]}, "codes: code 2 .* got 7"), ({2: []}, "got none")):
        with pytest.raises(UsageError, match=said):
            model.sample(codes=codes)


def test_the_command_line_sweeps_along_rows(run, ganzoo, tmp_path):
    done = ganzoo("sample", run, "--code", "0=0..3", "--code", "1=.5", "--seed", 5, "--folder", "--out", tmp_path / "swept")
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "swept").iterdir())
    assert len(files) == 8 * 4
    drawn = load(run).sample(32, seed=5, codes={0: range(4), 1: 0.5}, to="tensor")
    for file, x in zip(files, drawn, strict=True):
        with Image.open(file) as picture:
            assert picture.tobytes() == bytes(x.flatten().tolist())
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize(
    ("words", "cells"),
    [
        (["--code=0=1..3"], (3, 8)), (["--code=1=-2..2"], (8, 8)), (["--code=0=1"], (8, 8)), (["--code=0=0..3", "--code=1=-2..2"], (8, 8)),
        (["--code=1=-2..2", "--code=0=0..2", "-n", "30"], (3, 16)), (["--code=0=1", "--interpolate", "-n", "9"], (8, 2)),
        (["--code=0=1", "--seeds=1-3"], (3, 1)),
    ],
)  # fmt: skip
def test_a_sheet_has_a_column_a_value(run, ganzoo, tmp_path, words, cells):
    done = ganzoo("sample", run, *words, "--out", tmp_path / "sheet.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{cells[0] * cells[1]} samples")
    with Image.open(tmp_path / "sheet.png") as sheet:
        factor = 640 // (18 * cells[0] + 2)  # small pictures are enlarged
        assert sheet.size == (factor * (18 * cells[0] + 2), factor * (18 * cells[1] + 2))


def test_the_command_line_says_which_codes_there_are(run, images, ganzoo, tmp_path):
    done = ganzoo("sample", run, "--code", "7=1")
    assert (done.returncode, "0: c, 0 to 3; 1: u, usually -1 to 1" in done.stderr) == (2, True)
    for other in ("--interpolate", "--seeds=1-3"):
        done = ganzoo("sample", run, "--code", "0=0..3", other)
        assert (done.returncode, "fills the rows" in done.stderr) == (2, True)
    assert ganzoo("run", *flags(small("gan", images())), "--steps=1", f"--out={tmp_path / 'gan'}").returncode == 0
    done = ganzoo("sample", tmp_path / "gan", "--code", "0=1")
    assert (done.returncode, "generator has no codes" in done.stderr) == (2, True)


def test_ones_own_pictures_are_sorted_by_the_code(run, ganzoo, tmp_path):
    (tmp_path / "own").mkdir()
    for i in range(3):
        Image.new("L", (16, 16), 80 * i).save(tmp_path / "own" / f"picture-{i}.png")
    done = ganzoo("apply", run, tmp_path / "own", "--network", "codes", "--out", tmp_path / "sorted")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "sorted" / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [f"code {k}" for k in range(4)]
    assert list(rows[0]) == ["name", "class", *names]
    for i, row in enumerate(rows):
        shares = {name: float(row[name]) for name in names}
        assert row["name"] == f"picture-{i}"
        assert row["class"] == max(shares, key=shares.__getitem__)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)


def test_classes_of_a_networks_own_are_matched_with_the_datas_and_judged_by_nothing_else(run):
    """By hand: every way to give four classes one of four codes each."""
    data = load_file(TOYS)
    (evaluation,) = ganzoo.evaluate(run, network="codes", metric="matching", n=len(data["y"]))
    assert "matching, n 512, y of image-1-16-16-512 (train, " in evaluation.line
    found = load(run, "codes").apply(data["x"], to="tensor").argmax(1)
    best = max(sum(int(((found == code[k]) & (data["y"] == k)).sum()) for k in range(4)) for code in permutations(range(4)))
    assert evaluation.figures == {"matching": pytest.approx(best / 512)}
    assert best > 512 / 4  # else it has one class for all
    for asked, said in (({}, "nothing to compare it with"), ({"metric": "accuracy"}, "Take --metric matching")):
        with pytest.raises(UsageError, match=said):
            ganzoo.evaluate(run, network="codes", **asked)
