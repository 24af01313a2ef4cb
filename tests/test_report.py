"""Reports: what they read, what they tell, that nothing in a run can run in them, and the page in a real browser."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from click.testing import CliRunner
from conftest import ROOT
from PIL import Image

from ganzoo import compose, pictures, report
from ganzoo.cli import cli
from ganzoo.config import Changes
from ganzoo.data import Batches
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import catalogue, medium
from ganzoo.report import charts, generated, page
from ganzoo.runs.exported import Exported
from ganzoo.types import DataSpec, Export, Field

EVIL = (
    "<script>window.hacked=1</script>",
    '"><img src=x onerror=window.hacked=1>',
    "</script><script>window.hacked=1</script>",
    "<!--<script>",
    "<a href='https://example.com/'>a</a><b>b</b> &lt;i&gt; $x$ %{y}",
    "\u2028window.hacked=1//",
)


def lines(path, values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def evaluation(step, value, hash="a1b2c3d4e5", **more):
    return {
        "step": step, "of": f"checkpoints/{step:06d}.safetensors", "figures": {"cFID": value}, "better": {"cFID": "lower"}, "notes": [],
        "line": f"cFID by protocol {hash}", "protocol": {"samples": 10}, "hash": hash, "date": "2026-11-24T10:00:00+00:00", "seconds": 3.2,
    } | more  # fmt: skip


@pytest.fixture
def make(tmp_path):
    """A function that writes the folder of a run that was never trained: make("name", sheets=5, recipe="gan", run={...})."""
    return functools.partial(make_run, tmp_path)


def make_run(root, name="run", *, recipe="dcgan", sheets=5, steps=40, run=None, exchanged=None, wrappers=None, chosen=None, config=None,
             evaluations=None, health=None):  # fmt: skip
    folder = root / name
    (folder / "samples").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    changes = Changes({"steps": steps, **(run or {})}, exchanged or {}, wrappers, chosen or {})
    made = compose.resolve(catalogue(), recipe, changes).config.to_json()
    made["data"] = {"name": "noise", "checksum": "ab" * 32, "counts": {"": 48}} | DataSpec.of("image", (1, 16, 16)).to_json()
    made |= {"ganzoo": "0.1.0", "plugins": {"pyganzoo/dcgan": "0.1.0"}, "machine": {"torch": "2.15", "processor": "a chip", "threads": 1}}
    (folder / "config.json").write_text(json.dumps(made | (config or {})))
    told = [
        {"step": t, "time": t / 10, "images_per_second": 100.0 + t, "d/real": 1 / t, "d/fake": 0.5, "g/fake": float(t), "balance": 0.1}
        for t in range(1, steps + 1)
    ]
    lines(folder / "metrics.jsonl", told)
    for i in range(sheets):
        t = i * steps // max(sheets - 1, 1)
        Image.new("L", (32, 32), 10 + i).save(folder / "samples" / f"{t:06d}.png")
    if evaluations:
        lines(folder / "evaluations.jsonl", evaluations)
    if health:
        lines(folder / "health.jsonl", health)
    return folder


def read(folder):
    return report.read(folder, catalogue=catalogue())


def html_of(*folders, **more):
    return page.Page([report.read(f, n, catalogue()) for f, n in report.named(folders)], "title", **more).html()


# What is read.


def test_a_run_that_is_being_written_is_read_as_far_as_it_is(make):
    folder = make()
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 41, "d/re')
    lines(folder / "warnings.jsonl", [{"step": 3, "text": "it collapsed"}, 5])
    (folder / "samples" / ".tmp-1-000050.png").write_bytes(b"half")
    run = read(folder)
    assert (len(run.metrics), run.step, len(run.sheets)) == (40, 40, 5)
    assert run.warnings == [(3, "it collapsed")]
    assert run.problems == ["warnings.jsonl: line 2 cannot be read; it is left out."]
    assert (run.seconds, run.rate) == (4.0, 120.5)


def test_what_was_seen_of_the_samples_has_curves(make):
    a, b = (make(name, health=[{"step": t, "spread": t / 10, "apartness": 0.5} for t in (0, 10)]) for name in "ab")
    assert [list(chart.curves) for chart in charts.health_charts(read(a))] == [["spread", "apartness"]]
    assert [chart.title for chart in charts.compared_charts([read(a), read(b)])][-2:] == ["spread", "apartness"]
    assert "Variety of the samples" in html_of(a)


def test_a_run_with_nothing_in_it_has_a_report(make):
    folder = make(sheets=0)
    (folder / "metrics.jsonl").write_text("")
    shutil.rmtree(folder / "samples")
    text = html_of(folder)
    assert "There are no sample sheets yet." in text
    assert "No term was logged yet." in text
    assert "It has not been evaluated." in text
    assert 'class="plot"' not in text
    assert "Plotly" not in text.partition("<script>")[0]


def test_what_is_no_number_is_not_taken_for_one(make):
    folder = make(evaluations=[evaluation(5, 1.0), {"step": "x"}, {"step": 5, "figures": {"a": "b"}}, evaluation(10**400, 2.0)])
    odd = [{"step": 1, "a": "b", "c": True, "d/real": float("nan")}, {"step": "2"}, {}, {"step": 3, "d/real": 1e400}]
    lines(folder / "metrics.jsonl", odd)
    run = read(folder)
    assert [sorted(line) for line in run.metrics] == [["d/real", "step"], ["d/real", "step"]]
    assert [e.step for e in run.evaluations] == [5]
    chart = charts.loss_charts(run)[0].to_json()
    assert chart["traces"][0]["x"] == []
    assert "It holds no finite number" in html_of(folder)


def test_best_and_last_are_told_for_each_figure_under_each_protocol(make):
    told = [evaluation(10, 90.0), evaluation(30, 70.0), evaluation(20, 60.0), evaluation(30, 1.0, "other"), evaluation(40, float("nan"))]
    scores = {(s.figure, s.hash): s for s in read(make(evaluations=told)).scores}
    assert scores["cFID", "a1b2c3d4e5"].best == (20, 60.0)
    assert scores["cFID", "a1b2c3d4e5"].last[0] == 40
    assert scores["cFID", "other"].last == scores["cFID", "other"].best == (30, 1.0)
    neither = read(make("b", evaluations=[evaluation(1, 2.0, better={})])).scores[0]
    assert (neither.best, neither.last) == (None, (1, 2.0))


def test_two_protocols_never_share_a_column(make):
    a = make("a", evaluations=[evaluation(10, 91.0), evaluation(20, 95.0)])
    b = make("b", evaluations=[evaluation(20, 81.0), evaluation(20, 7.0, "other")])
    table = page.comparison([read(a), read(b)])
    assert table.columns[-2:] == ["cFID [a1b2c3d4e5], lower is better", "cFID [other], lower is better"]
    assert [row[-2:] for row in table.rows] == [["95 (best 91 at step 10)", "-"], ["81 (best 81 at step 20)", "7 (best 7 at step 20)"]]
    assert "<dt>[other]</dt><dd>cFID by protocol other" in html_of(a, b)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"run": {"seed": 7, "flip": True, "ema": 0.0, "batch_size": 8, "labels": "", "image_size": "16", "dataset": "my data/a b.zip"}},
        {"exchanged": {"loss": "r1", "discriminator": "dcgan-critic"}, "chosen": {"loss": {"gamma": 2.5}, "generator": {"width": 8}}},
        {"recipe": "wgan-gp", "chosen": {"strategy": {"d_steps": 3, "lr_g": 1e-05}}},
        {"run": {"preset": "paper"}, "wrappers": ("diffaugment", "ada"), "chosen": {"ada": {"target": 0.5}}},
        {"exchanged": {"degradation": "noise"}, "chosen": {"degradation": {"sigma": 5.0}}},
    ],
)
def test_the_command_line_that_is_told_makes_the_same_configuration(changed, make, monkeypatch):
    from ganzoo.cli import train

    run = read(make(**changed))
    made = []
    monkeypatch.setattr(train, "_run", lambda resolved, how: made.append(resolved.config))
    words = shlex.split(run.command)
    assert words[:2] == ["ganzoo", "run"]
    assert "--seed" in words
    train.recipe_command(words[2], words[3:]).main(words[3:], standalone_mode=False)
    assert made[0].to_json() == {key: run.config[key] for key in ("recipe", "parts", "wrappers", "options", "run")}
    if not changed:
        assert run.command == "ganzoo run dcgan --steps 40 --seed 0"


def test_a_run_whose_recipe_is_gone_tells_all_its_options_and_why(make):
    run = read(make(config={"recipe": "nowhere/gone"}))
    assert "there is no recipe 'nowhere/gone'" in run.no_defaults
    assert not any(setting.changed for setting in run.settings)
    assert "--generator dcgan" in run.command


def test_what_a_path_stands_for(make, tmp_path):
    for name in ("group/run-10", "group/run-2", "other/run-2"):
        make(name)
    (tmp_path / "group" / "odd").mkdir()
    (tmp_path / "group" / "odd" / "config.json").write_text("{}")
    warned = []
    found = report.find([tmp_path / "group", tmp_path / "other" / "run-2", tmp_path / "group" / "run-2"], warned.append)
    assert [str(p.relative_to(tmp_path)) for p in found] == ["group/run-2", "group/run-10", "other/run-2"]
    assert [name for _, name in report.named(found)] == ["group/run-2", "group/run-10", "other/run-2"]
    runs = [make("beside"), *found]
    assert [name for _, name in report.named(runs)] == ["beside", "group/run-2", "group/run-10", "other/run-2"]
    assert [name for _, name in report.named(found[:2])] == ["run-2", "run-10"]
    assert len(warned) == 1
    with pytest.raises(UsageError, match="holds none"):
        report.find([tmp_path / "group" / "run-2" / "samples"])
    with pytest.raises(UsageError, match="does not exist"):
        report.find([tmp_path / "nothing"])


# What is shown.


def test_a_long_curve_keeps_its_peaks():
    points = [(t, 0.0) for t in range(100_000)]
    points[77_777] = (77_777, 9.0)
    points[3] = (3, -9.0)
    thinned = charts.thin(points)
    assert len(thinned) <= charts.POINTS
    assert {(77_777, 9.0), (3, -9.0)} <= set(thinned)
    assert [t for t, _ in thinned] == sorted({t for t, _ in thinned})


def test_many_sheets_become_forty_and_heavy_ones_smaller(make):
    folder = make(sheets=0)
    noise = torch.randint(0, 256, (300, 300, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(noise.numpy())
    picture.save(folder / "samples" / "000000.png")
    for i in range(1, 60):
        shutil.copy(folder / "samples" / "000000.png", folder / "samples" / f"{i:06d}.png")
    (folder / "samples" / "000059.png").write_bytes(b"no picture")
    run, problems = read(folder), []
    shown = charts.sheets(run, 10**9, problems)
    assert (len(shown), shown[0][0]) == (39, 0)
    assert problems == ["samples/000059.png cannot be read (UnidentifiedImageError); it is left out."]
    for budget in (2_000_000, 200_000):
        small = charts.sheets(run, budget, [])
        assert sum(len(uri) for _, uri in small) * 0.75 <= budget
        assert len(small) >= 2
        assert small[0][1].startswith("data:image/webp;base64,")


def test_many_runs_share_the_room_of_one(make):
    runs = [read(make(f"{i}/run", sheets=30)) for i in range(25)]
    made = page.Page(runs, "many")
    assert len({run.name for run in made.runs}) == 25
    assert made.most == 16
    assert made.html().count('alt="Samples of run (7) at step') == 16
    assert max(len(chart.to_json()["traces"]) for chart in made.charts) == 25
    curve = {str(i): [(t, t % 7) for t in range(5000)] for i in range(25)}
    assert sum(len(trace["x"]) for trace in charts.Chart("c", curve).to_json()["traces"]) <= charts.ALL_POINTS


def test_the_nearest_neighbours_are_those_of_a_plain_search():
    g = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (5000, 1, 6, 6), generator=g, dtype=torch.uint8)
    x = torch.cat([real[[4321, 17]], torch.randint(0, 256, (3, 1, 6, 6), generator=g, dtype=torch.uint8)])
    found = generated.neighbours(x, real, [""] * 5, Field("image", (1, 6, 6)))
    distances = torch.tensor([one.distances for one in found])
    plain = (x.flatten(1).double()[:, None] - real.flatten(1).double()).square().mean(2).sqrt()
    assert torch.allclose(distances.double(), plain.sort(1).values[:, :4], atol=1e-4)
    assert distances[:2, 0].tolist() == [0.0, 0.0]
    assert found[0].sample == found[0].nearest[0]
    few = generated.neighbours(x, real[:2], [""] * 5, Field("image", (1, 6, 6)))
    assert [len(one.distances) for one in few] == [2] * 5


def test_what_is_text_is_shown_as_text():
    def rows(name):
        kind, field = medium(name), medium(name).toys[0]
        return generated.neighbours(*[kind.toy(4, field)["x"]] * 2, ["kind", "", "", ""], field)

    pictures, points, texts, table = map(rows, ("image", "points", "tokens", "table"))
    assert all(isinstance(each.sample, bytes) for each in pictures)
    assert re.fullmatch(r"\(-1\.\d+, -1\.\d+\)", points[0].sample)
    assert texts[0].sample.startswith("word2 word3")
    assert list(table[0].sample) == ["size", "colour", "kind"]
    shown = page._rows(table)
    assert shown.columns == ["row", "distance", "size", "colour", "kind"]
    assert [row[:2] for row in shown.rows[:2]] == [["kind", ""], ["nearest 1", "0"]]
    assert shown.rows[5][0] == "sample 2"
    assert len(shown.rows) == 4 * 5
    assert page._rows(texts) is None


def test_words_share_a_sheet_and_are_not_enlarged():
    field = Field("tokens", (1,), 5, ("<end>", "<unknown>", "i", "lunch", "tomorrow"))
    sheet = medium("tokens").sheet(torch.arange(16)[:, None] % 5, field, 8)
    assert sheet.width <= 700
    assert sheet.height < 100
    long = Field("tokens", (20,), 2, ("<x>", "lengthy"))
    assert medium("tokens").sheet(torch.ones(3, 20, dtype=torch.int64), long, 8).width < 500


def test_a_curve_that_leaves_its_chart_says_how_far(make, monkeypatch):
    folder = make()
    told = [{"step": t, "d/real": 1.0 + t % 3} for t in range(1, 301)]
    told[0]["d/real"], told[1]["d/real"] = 4.94, -7.0
    told[2]["d/real"] = told[3]["d/real"] = 4.93
    told[4]["d/real"] = told[5]["d/real"] = -6.0
    lines(folder / "metrics.jsonl", told)
    assert "Cut off: the curves go down to -7 and up to 4.94." in html_of(folder)
    assert "Cut off" not in html_of(make("calm"))
    drawn = []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.text", lambda self, xy, text, *more, **how: drawn.append(text))
    pictures.curves(told)
    pictures.curves(told[6:])
    assert [text for text in drawn if text.startswith("terms of")] == ["terms of d (cut off: down to -7 and up to 4.94)", "terms of d"]


def test_the_page_says_what_the_recipe_is(make):
    told = "Deep convolutional GAN. Convolutions and BatchNorm in both networks, Adam with beta1 0.5. Paper: arXiv:1511.06434, 2015."
    assert html_of(make()).count(told) == 1
    assert html_of(make("a"), make("b")).count(told) == 2
    gone = make("gone", config={"recipe": "nowhere/gone"})
    assert read(gone).about == ""
    assert "Paper:" not in html_of(gone)


def test_what_a_sheet_shows_decides_how_it_is_shown(make):
    for name, look in (("image", "pixels"), ("points", "drawn"), ("tokens", "text"), ("table", "text"), ("gone", "drawn")):
        shape = {"medium": name, "shape": [4]}
        data = {"name": "x", "checksum": "", "counts": {}, "fields": {"x": shape, "y": {"medium": "label", "shape": []}}, "sets": {}}
        assert read(make(name, config={"data": data})).look == look


def test_many_runs_are_folded(make):
    folders = [make(f"run-{i}") for i in range(page.FOLDED + 1)]
    summary = "<summary>Evaluations, pictures, health, cost, configuration</summary>"
    assert html_of(*folders).count(summary) == page.FOLDED + 1
    assert summary not in html_of(*folders[1:])
    lines(folders[0] / "warnings.jsonl", [{"step": 3, "text": "it collapsed"}])
    assert "<summary>Evaluations, pictures, health, 1 warning, cost, configuration</summary>" in html_of(*folders)


def test_a_comparison_has_its_figures_and_its_protocol_once(make):
    folders = [make(name, evaluations=[evaluation(10, value)]) for name, value in (("a", 91.25), ("b", 81.25))]
    line = evaluation(10, 1)["line"]
    table = report.Table(["entrant", "cFID, last"], [["a", "91.25"], ["b", "81.25"]], "150 steps")
    text = html_of(*folders, table=table, notes=[line])
    before = text[text.index("<main") : text.index('id="samples"')]
    assert re.findall("<h2.*?>(.*?)</h2>", before) == ["Results", "Run by run"]
    assert (before.count(line), before.count("91.25")) == (1, 1)
    seeds = html_of(*folders, table=replace(table, rows=[["both", "86.25"]]), notes=[line])
    before = seeds[seeds.index("<main") : seeds.index('id="samples"')]
    assert (before.count(line), before.count("91.25")) == (1, 2)  # as the last figure of its run, and as the best


def test_a_generator_that_wants_more_than_a_class_is_not_asked():
    spec = DataSpec.of("points", (2,))
    entry = catalogue().get("generator", "mlp")
    generator = entry.network(spec, entry.options({}, ""))
    pairs = spec.adding({"source": spec.x}, "x")
    with pytest.raises(UsageError, match=r"asks for source\. It is gone\."):
        report.generate(Exported(generator, Export("G", {"z": "source"}), "generator", pairs), None, "It is gone.")
    fields = {"x": spec.x, "source": Field("points", generator.latents()["z"].shape)}
    applied = Exported(generator, Export("G", {"z": "source"}), "generator", DataSpec(fields, {"": tuple(fields)}))
    stored = {"x": torch.randn(30, 2), "source": torch.randn(30, *fields["source"].shape)}
    made = report.generate(applied, Batches(stored, applied.data, 5, seed=0, device=torch.device("cpu")))
    assert (made.heading, made.neighbours) == ("Applied to the data", ())
    product = Exported(generator, Export("G"), "generator", spec, 5)
    made = report.generate(product, Batches({"x": torch.randn(30, 2)}, spec, 5, seed=0, device=torch.device("cpu")))
    assert (made.step, len(made.neighbours)) == (5, generated.SAMPLES)
    assert charts.uri(made.interpolation).startswith(("data:image/png;base64,iVBOR", "data:image/webp;base64,UklGR"))
    assert report.generate(product, None, "no data").no_neighbours == "no data"


class Elements(HTMLParser):
    """The elements of a page, their attributes, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.found and self.found[-1][0] == "script":
            self.scripts[-1] += data


def evil_runs(root):
    """Two runs, all of whose texts try to be more than text."""
    every = " ".join(EVIL)
    made = []
    for name in ("plain", "<img src=x onerror=window.hacked=1>"):
        folder = make_run(root, name, evaluations=[
            evaluation(t, 1.0 + t, every, line=every, notes=[every], of=every, date=every, protocol={every: every}, better={every: every},
                       figures=dict.fromkeys(EVIL, t + 1.0)) for t in (1, 2)
        ])  # fmt: skip
        config = json.loads((folder / "config.json").read_text())
        config["recipe"] = config["parts"]["loss"] = config["run"]["dataset"] = config["ganzoo"] = every
        config["options"]["loss"] = {every: every}
        fields = {"counts": {"": every}, "fields": {every: {"shape": [every]}}, "sets": {"": [every]}}
        config["data"] |= {"name": every, "checksum": every, **fields}
        config["plugins"], config["machine"] = {every: every, f"local/{every}": "1"}, {"processor": every, "torch": every, "system": every}
        (folder / "config.json").write_text(json.dumps(config))
        lines(folder / "warnings.jsonl", [{"step": 1, "text": text} for text in EVIL])
        lines(folder / "metrics.jsonl", [{"step": t, "time": t, **dict.fromkeys(EVIL, t * 1.0)} for t in range(1, 5)])
        made.append(folder)
    return made


def test_text_of_a_run_stays_text(tmp_path):
    folders = evil_runs(tmp_path)
    table = report.Table([*EVIL], [[*EVIL]], EVIL[1])
    picture = generated.packed(Image.new("L", (4, 4)))
    told = generated.Generated(1, picture, EVIL[1], [generated.Neighbours(EVIL[1], picture, [1.0], [picture])])
    runs = [report.read(f, n, catalogue()) for f, n in report.named(folders)]
    for chosen in (runs[:1], [replace(runs[0], generated=told), replace(runs[1], not_drawn=EVIL[1])]):
        text = page.Page(chosen, EVIL[1], table, EVIL).html()
        found = Elements(text)
        assert len(found.scripts) == 3
        assert not [tag for tag, attrs in found.found if any(name.startswith("on") for name in attrs)]
        assert all(attrs["src"].startswith("data:image/png") for tag, attrs in found.found if tag == "img")
        assert {attrs["href"][0] for tag, attrs in found.found if tag == "a"} == {"#"}
        assert "b" not in {tag for tag, _ in found.found}
        charts = json.loads(found.scripts[0])["charts"]
        assert all("<" not in trace["name"] for chart in charts for trace in chart["traces"])


def test_the_policy_lets_just_the_pages_own_scripts_run(make):
    text = html_of(make())
    found = Elements(text)
    policy = next(attrs["content"] for tag, attrs in found.found if attrs.get("http-equiv") == "Content-Security-Policy")
    own = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(own) == 2
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in own]
    assert re.findall(r"sha256-([^']+)", policy) == hashes
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy


def test_headings_tables_and_labels_are_in_order(make):
    a = make("a", evaluations=[evaluation(1, 2.0), evaluation(2, 1.0)])
    for text in (html_of(a), html_of(a, make("b", evaluations=[evaluation(1, 2.0)]))):
        found = Elements(text).found
        levels = [int(tag[1]) for tag, _ in found if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
        ids = [attrs["id"] for _, attrs in found if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert all(attrs.get("alt") for tag, attrs in found if tag == "img")
        tags = [tag for tag, _ in found]
        assert tags.count("caption") == tags.count("table")
        assert all(attrs.get("scope") for tag, attrs in found if tag == "th")
        assert {"header", "nav", "main", "footer"} <= set(tags)
        assert ("label", {"for": "when"}) in found


def test_the_caller_s_table_and_notes_come_first(make):
    text = html_of(make(), table=report.Table(["gan", "cFID"], [["dcgan", "58"]], "Measured"), notes=["Three seeds."])
    main = text[text.index("<main") :]
    assert main.index("Measured") < main.index("Three seeds.") < main.index("<h2")


def test_the_page_s_files_are_shipped():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "ganzoo" in project["tool"]["hatch"]["build"]["only-include"]
    for name in ("page.css", "page.js"):
        text = page._file(name)
        assert "http" not in text
        assert "</" not in text


# The command.


@pytest.fixture(scope="module")
def trained(ganzoo, images, tmp_path_factory):
    """A small run with classes."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    small = ("--generator.width", 8, "--discriminator.width", 8, "--batch-size", 4, "--steps", 8, "--sample-every", 2, "--log-every", 1)
    done = ganzoo("run", "acgan", "--dataset", images(1, 32), *small, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def call(*words):
    """What the command says; what it raises."""
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_run_is_reported_while_another_process_holds_it(trained):
    from ganzoo.runs.folder import Run

    before = sorted(p.name for p in trained.iterdir())
    with Run.open(trained):
        assert "1 run, 5." in call("report", trained)
    text = (trained / "report.html").read_text(encoding="utf-8")
    (trained / "report.html").unlink()
    assert sorted(p.name for p in trained.iterdir()) == before
    assert "6 ways of 8 samples, each from one latent to another, of one class, at step 8" in text
    assert text.count('alt="Training sample 4 nearest to sample') == generated.SAMPLES
    assert "class 0" in text
    assert re.search(r"trained parameters</th><td>D [\d,]+, G [\d,]+", text)
    assert len(text) < 6_000_000


def test_a_run_without_its_data_or_its_generator_says_so(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "runs" / "moved")
    config = json.loads((folder / "config.json").read_text())
    config["run"]["dataset"] = str(tmp_path / "gone.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    bare = shutil.copytree(trained, tmp_path / "runs" / "bare")
    (bare / "generator.safetensors").unlink()
    call("report", tmp_path / "runs", "--title", "two & two")
    text = (tmp_path / "runs" / "report.html").read_text(encoding="utf-8")
    assert "The training data could not be prepared: " in text
    assert "gone.safetensors" in text
    assert "has no generator yet" in text
    assert "<h1>two &amp; two</h1>" in text
    call("report", tmp_path / "runs", "--files-only", "--out", tmp_path / "new" / "it.html")
    assert "--files-only" in (tmp_path / "new" / "it.html").read_text(encoding="utf-8")


def test_changed_data_is_not_shown_as_the_training_data(make, images):
    from ganzoo.cli.report import _data

    run = read(make(run={"dataset": str(images()), "image_size": "32"}))
    data, reason = _data(run)
    assert data is None
    assert "has changed since the run was started" in reason


def test_no_run_is_refused_and_help_imports_no_torch(tmp_path):
    with pytest.raises(UsageError, match="holds none"):
        call("report", tmp_path)
    code = """
import sys
from ganzoo.cli import main
try:
    main(["report", "--help"])
except SystemExit:
    assert "torch" not in sys.modules and "plotly" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "needs no server" in done.stdout


# The page in a browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium that logs what it says and what it asks the network for."""
    binary, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("a report is looked at in Chromium: chromium and chromedriver must be on the PATH")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    quiet = ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync")
    for word in (*quiet, "no-first-run", "disable-quic", "disable-dev-shm-usage", f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    it = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    it.set_window_size(1280, 900)
    yield it
    it.quit()


def visit(browser, path):
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    wait(browser, "return document.readyState === 'complete'")


def wait(browser, script, seconds=10):
    """Wait until a script returns something true; returns it."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda b: b.execute_script(script))


def quiet(browser):
    """Nothing was said on the console, and nothing was asked for but the page itself and what lies in it."""
    said = [entry["message"] for entry in browser.get_log("browser")]
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["params"].get("documentURL", "").startswith("chrome:"):
            continue  # Chromium's own first tab, which may still be loading
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            asked.append(message["params"].get("request", message["params"])["url"])
    assert not said
    assert asked
    assert all(url.startswith(("file://", "data:")) for url in asked), asked
    assert len({url for url in asked if url.startswith("file:")}) == 1


VISIBLE = "return [...document.querySelectorAll('.sheets img')].filter(i => i.checkVisibility()).map(i => i.alt)"


def hover(browser, plot):
    """The text that is shown where the pointer is over a chart."""
    from selenium.webdriver.common.action_chains import ActionChains

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    place = plot.find_element("css selector", ".nsewdrag")
    ActionChains(browser).move_to_element(place).move_by_offset(7, 3).perform()
    browser.execute_script("window.plot = arguments[0]", plot)
    return wait(browser, "return [...plot.querySelectorAll('.hoverlayer text')].map(t => t.textContent).join(' | ')")


def test_one_run_in_the_browser(browser, make, tmp_path):
    from selenium.webdriver.common.keys import Keys

    folder = make(evaluations=[evaluation(10, 90.0), evaluation(40, 70.0)])
    report.write(tmp_path / "r.html", [read(folder)], "One run")
    visit(browser, tmp_path / "r.html")
    assert browser.title == "One run"
    assert browser.execute_script(VISIBLE) == ["Samples of run at step 40"]
    slider = browser.find_element("id", "when")
    slider.send_keys(Keys.HOME)
    assert browser.execute_script(VISIBLE) == ["Samples of run at step 0"]
    slider.send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script(VISIBLE) == ["Samples of run at step 10"]
    assert browser.find_element("id", "now").text == slider.get_attribute("aria-valuetext") == "step 10"
    browser.execute_script("arguments[0].value = 3; arguments[0].dispatchEvent(new Event('input'))", slider)
    assert browser.execute_script(VISIBLE) == ["Samples of run at step 30"]
    assert browser.execute_script("return [...document.querySelectorAll('.sheets img')].every(i => i.complete && i.naturalWidth === 32)")

    plots = browser.find_elements("css selector", ".plot")
    assert [len(p.find_elements("css selector", ".scatterlayer .trace")) for p in plots] == [2, 1, 1, 1]
    told = hover(browser, plots[0])
    assert "d/real" in told
    assert "d/fake" in told
    assert re.search(r"0\.5\b", told)
    details = browser.find_elements("css selector", "details")
    details[0].find_element("tag name", "summary").send_keys(Keys.ENTER)
    assert "0.025 at step 40" in details[0].text
    quiet(browser)


def test_the_theme_follows_the_system_and_the_button(browser, make, tmp_path):
    report.write(tmp_path / "r.html", [read(make())], "One run")
    looks = """const p = document.querySelector('.plot'); return [getComputedStyle(document.body).backgroundColor,
        p.layout.font.color, p.layout.xaxis.gridcolor, p.data[0].line.color, document.getElementById('theme').textContent]"""
    seen = {}
    for wanted in ("light", "dark"):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": wanted}]})
        visit(browser, tmp_path / "r.html")
        seen[wanted] = browser.execute_script(looks)
    assert not set(seen["light"]) & set(seen["dark"])
    button = browser.find_element("id", "theme")
    button.click()
    assert wait(browser, looks) == seen["light"]
    button.click()
    assert browser.execute_script(looks) == seen["dark"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    # WCAG's contrast of text, 4.5, and of what is drawn, 3.
    contrast = """const straight = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
        const lum = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(straight); return .2126 * r + .7152 * g + .0722 * b; };
        const root = document.documentElement, e = document.body.appendChild(document.createElement('i'));
        const of = n => { e.style.color = `var(--${n})`; return lum(getComputedStyle(e).color) + .05; };
        const ratio = (a, b) => Math.max(of(a), of(b)) / Math.min(of(a), of(b)); const low = [];
        for (const theme of ['light', 'dark']) { root.dataset.theme = theme; for (const paper of ['paper', 'panel']) {
          for (const n of ['ink', 'faint', 'link', 'warn']) if (ratio(n, paper) < 4.5) low.push([theme, n, paper, ratio(n, paper)]);
          for (let i = 0; i < 8; i++) if (ratio('c' + i, paper) < 3) low.push([theme, i, paper, ratio('c' + i, paper)]); }
          if (ratio('ink', 'changed') < 4.5) low.push([theme, 'changed']); }
        return low"""
    assert browser.execute_script(contrast) == []
    quiet(browser)


def test_several_runs_side_by_side(browser, make, tmp_path):
    told = [evaluation(10, 5.0), evaluation(20, 4.0)]
    folders = [make("a", sheets=5, evaluations=told), make("b", sheets=3, steps=20), make("c", sheets=0)]
    report.write(tmp_path / "r.html", [read(folder) for folder in folders], "Three runs")
    visit(browser, tmp_path / "r.html")
    at = lambda value: browser.execute_script(  # noqa: E731
        "const s = document.getElementById('when'); s.value = arguments[0]; s.dispatchEvent(new Event('input'));" + VISIBLE, value
    )
    assert at(0) == ["Samples of a at step 0", "Samples of b at step 0"]
    assert at(2) == ["Samples of a at step 20", "Samples of b at step 10"]
    assert at(4) == ["Samples of a at step 40", "Samples of b at step 20"]
    captions = [c.text for c in browser.find_elements("css selector", ".sheets figcaption")]
    assert captions == ["a, step 40", "b, step 20", "c: none yet"]
    titles = [c.text for c in browser.find_elements("css selector", ".chart > figcaption")]
    assert titles == ["d/real", "d/fake", "g/fake", "balance", "cFID, lower is better"]
    told = hover(browser, browser.find_elements("css selector", ".plot")[2])
    assert {"a", "c"} <= set(re.findall(r"\b[abc]\b", told))
    # Nothing is wider than a small screen.
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False})
    wait(browser, "return document.documentElement.scrollWidth <= 400 && document.querySelector('.main-svg').clientWidth < 400")
    widest = "return Math.max(...[...document.querySelectorAll('caption')].map(c => c.getBoundingClientRect().right))"
    assert browser.execute_script("return document.querySelector('#comparison table').clientWidth") > 400
    assert browser.execute_script(widest) <= 400
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    quiet(browser)


def test_sheets_of_text_are_neither_enlarged_nor_squeezed(browser, make, tmp_path):
    fields = {"x": {"medium": "tokens", "shape": [3], "size": 9}}
    data = {"name": "x", "checksum": "", "counts": {}, "fields": fields, "sets": {}}
    width = "return [...document.querySelectorAll('.sheets img')].map(i => i.getBoundingClientRect().width - 2)"
    for wide in (100, 1500):
        folder = make(f"of {wide}", sheets=1, config={"data": data})
        Image.new("L", (wide, 20)).save(folder / "samples" / "000000.png")
        report.write(tmp_path / "r.html", [read(folder)], "One run")
        visit(browser, tmp_path / "r.html")
        assert browser.execute_script(width) == [wide]
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        box = browser.find_element("css selector", ".sheets")
        assert browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box) == (wide > 1280)
        assert box.get_attribute("tabindex") == ("0" if wide > 1280 else "-1")
    quiet(browser)


def test_a_double_click_shows_what_was_cut_off(browser, make, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains

    folder = make(sheets=1)
    lines(folder / "metrics.jsonl", [{"step": t, "d/real": 9.0 if t == 1 else t % 3} for t in range(1, 301)])
    report.write(tmp_path / "r.html", [read(folder)], "One run")
    visit(browser, tmp_path / "r.html")
    top = "return document.querySelector('.plot').layout.yaxis.range[1]"
    assert wait(browser, top) < 3
    place = browser.find_element("css selector", ".nsewdrag")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
    ActionChains(browser).double_click(place).perform()
    wait(browser, f"{top} > 9")
    quiet(browser)


def test_text_of_a_run_stays_text_in_the_browser(browser, tmp_path):
    folders = evil_runs(tmp_path)
    runs = [report.read(f, n, catalogue()) for f, n in report.named(folders)]
    for chosen in (runs[:1], runs):
        report.write(tmp_path / "r.html", chosen, EVIL[1], report.Table(EVIL, [EVIL], EVIL[0]), EVIL)
        visit(browser, tmp_path / "r.html")
        assert browser.execute_script("return window.hacked") is None
        assert browser.execute_script("return document.scripts.length") == 3
        assert browser.execute_script("return document.querySelectorAll('[onerror], svg a, svg b, main b, main a').length") == 0
        shown = browser.execute_script("return document.body.textContent")
        for text in EVIL:
            assert text in shown
        names = browser.execute_script("return [...document.querySelectorAll('.legendtext')].map(t => t.textContent.trim())")
        wanted = [text.strip() for text in EVIL] if len(chosen) == 1 else [run.name for run in runs]
        assert set(names) >= set(wanted)
        hover(browser, browser.find_elements("css selector", ".plot")[0])
        assert browser.execute_script("return window.hacked") is None
        quiet(browser)


def test_a_real_run_in_the_browser(browser, trained, tmp_path):
    call("report", trained, "--out", tmp_path / "r.html")
    visit(browser, tmp_path / "r.html")
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.find_element("css selector", ".picture img").is_displayed()
    quiet(browser)


def test_what_was_turned_is_wiped_over_what_was_given(browser, ganzoo, images, tmp_path):
    small = ("--generator.width", 8, "--discriminator.width", 8, "--batch-size", 4, "--steps", 2, "--out", tmp_path / "run")
    done = ganzoo("run", "denoise", "--dataset", images(1, 32), *small)
    assert done.returncode == 0, done.stderr
    call("report", tmp_path / "run", "--out", tmp_path / "r.html")
    visit(browser, tmp_path / "r.html")
    assert browser.execute_script("return document.querySelectorAll('.row').length") == generated.SAMPLES
    at = """const row = document.querySelectorAll('.row')[1], input = document.querySelector('.turned input');
        input.value = arguments[0]; input.dispatchEvent(new Event('input'));
        const box = row.getBoundingClientRect(), seen = [.1, .9].map(x => { const y = box.top + box.height / 2;
          return document.elementFromPoint(box.left + x * box.width, y)?.alt; });
        return [...seen, document.querySelector('.turned output').textContent]"""
    assert "From left to right: source, generator, truth; then the next ones." in browser.find_element("id", "samples").text
    browser.execute_script("document.querySelector('.turned').scrollIntoView()")
    source, made, truth = (f"run: {name} 2" for name in ("source", "generator", "truth"))
    assert browser.execute_script(at, 0) == [source, source, "source"]
    assert browser.execute_script(at, 50) == [made, source, "generator on the left, source on the right"]
    assert browser.execute_script(at, 100) == [made, made, "generator"]
    assert browser.execute_script(at, 150) == [truth, made, "truth on the left, generator on the right"]
    assert browser.execute_script(at, 200) == [truth, truth, "truth"]
    pixels = """return [...document.querySelectorAll('.row')[1].querySelectorAll('img')].map(i => { const c = new OffscreenCanvas(32, 32)
        .getContext('2d'); c.drawImage(i, 0, 0); return [...c.getImageData(0, 0, 32, 32).data].filter((_, i) => i % 4 === 0) })"""
    seen = [torch.tensor(row).float() for row in browser.execute_script(pixels)]
    assert 15 < (seen[0] - seen[2]).std() < 30  # noise of sigma 25, clipped
    assert not torch.equal(seen[1], seen[2])
    quiet(browser)


@pytest.fixture
def plane(make):
    """A run with a game in the plane of 12 moments: places that are the more real the farther right, one sample that goes there."""
    places = [x for _ in range(5) for x in (-2, -1, 0, 1, 2)]
    moment = {"real": [[1, 0.5]] * 3, "logits": places, "push": [[0.1, 0]], "anchored": True}
    folder = make(recipe="gan")
    Image.new("L", (32, 32)).save(folder / "samples" / "000040-judge.png")
    lines(folder / "landscape.jsonl", [moment | {"step": 10 * i, "samples": [[i / 10 - 1, 0]] * 2} for i in range(12)])
    return folder


def test_a_game_that_is_not_what_it_must_be_is_left_out_and_told(plane):
    path = plane / "landscape.jsonl"
    good = json.loads(path.read_text().splitlines()[0])
    wrong = [
        {"logits": [1, 2, 3]}, {"logits": [[1]]}, {"logits": [True] * 25}, {"real": []}, {"real": [[float("nan"), 0]]}, {"push": [[1]]},
        {"samples": [[1, 2, 3]]}, {"samples": "x"}, {"step": "x"}, {"push": [[0, 0]] * 3}, {"real": [[7]], "samples": [[30]], "push": []},
    ]  # fmt: skip
    for change in wrong:
        lines(path, [good, good | change])
        facts = read(plane)
        assert len(facts.landscapes) == 1, change
        assert any("landscape.jsonl" in text for text in facts.problems)
    lines(path, [{**good, "step": i} for i in range(90)])
    game = charts.Game.of(read(plane))
    assert (len(game.landscapes), game.landscapes[0].step, game.last.step) == (charts.SHEETS, 0, 89)
    path.unlink()
    assert charts.Game.of(read(plane)) is None
    assert 'id="game"' not in html_of(plane)


def test_the_game_is_played_in_the_browser(browser, plane, tmp_path):
    report.write(tmp_path / "r.html", [read(plane)], "One run")
    visit(browser, tmp_path / "r.html")
    assert wait(browser, "return document.getElementById('field').data?.length") == 4
    assert [heading.text for heading in browser.find_elements("tag name", "h2")][:2] == ["The game, step by step", "Samples"]
    at = """const t = document.getElementById('turn'); t.value = arguments[0]; t.dispatchEvent(new Event('input'));
        const [z, real, made, push] = document.getElementById('field').data;
        return [document.getElementById('then').textContent, z.z[0], z.x, made.x, push.x]"""
    step, z, x, made, push = browser.execute_script(at, 3)
    assert step == "step 30"
    assert z == pytest.approx([0.1192, 0.2689, 0.5, 0.7311, 0.8808], abs=1e-3)
    assert x == pytest.approx([-1.25, -0.625, 0, 0.625, 1.25])
    assert (made, push[0], push[2]) == ([-0.7, -0.7], -0.7, None)
    assert push[1] == pytest.approx(-0.2, abs=1e-5)  # the longest arrow: two fifths of the picture's half
    start = browser.find_element("id", "start")
    start.click()
    assert start.text == "Pause"
    wait(browser, "return document.getElementById('turn').value > 5")
    start.click()
    assert start.text == "Play"
    quiet(browser)


def test_the_game_of_words_tells_shares_and_verdicts(browser, plane, tmp_path):
    moment = {"real": [[0], [0], [1], [2]], "samples": [[2], [2]], "logits": [2.0, 0.0, -2.0]}
    lines(plane / "landscape.jsonl", [moment | {"step": 0}])
    config = json.loads((plane / "config.json").read_text())
    config["data"]["fields"]["x"] = {"medium": "tokens", "shape": [1], "size": 3, "names": ["a", "b", EVIL[0]]}
    (plane / "config.json").write_text(json.dumps(config))
    report.write(tmp_path / "r.html", [read(plane)], "One run")
    visit(browser, tmp_path / "r.html")
    assert wait(browser, "return document.getElementById('field').data?.map(t => t.y)") == [
        [0.5, 0.25, 0.25], [0, 0, 1], pytest.approx([0.8808, 0.5, 0.1192], abs=1e-3),
    ]  # fmt: skip
    assert browser.execute_script("return window.hacked") is None
    browser.find_element("css selector", ".play summary").click()
    cells = [c.text for c in browser.find_elements("css selector", ".play tbody tr:first-child > *")]
    assert cells == ["a", "50.0%", "0.0%", "0.8808"]
    quiet(browser)


def test_without_scripts_the_last_sheet_and_all_figures_are_seen(browser, make, tmp_path):
    report.write(tmp_path / "r.html", [read(make())], "One run")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((tmp_path / "r.html").as_uri())
        seen = [i.get_attribute("alt") for i in browser.find_elements("css selector", ".sheets img") if not i.get_attribute("hidden")]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert seen == ["Samples of run at step 40"]
    browser.get_log("browser"), browser.get_log("performance")
