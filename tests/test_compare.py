"""Comparisons: one budget for all, what is finished is kept, and what fails is said."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ganzoo.cli.train import configured
from ganzoo.comparison import plan as plans
from ganzoo.comparison.plan import Budget, Plan, Share, seconds, share_out
from ganzoo.comparison.state import Cell, Comparison
from ganzoo.comparison.table import table
from ganzoo.errors import UsageError
from ganzoo.evaluation.record import Evaluation
from ganzoo.files import hold
from ganzoo.runs.folder import Run
from ganzoo.testing import fresh

NARROW = "gan --generator.width 8 --discriminator.width 8 --batch-size 8"


def words(data, *more):
    judged = ["--metric", "fid", "--features", "pixels", "-n", "20", "--checkpoints", "2"]
    return ["compare", NARROW, *more, "--dataset", data, *judged]


@pytest.fixture(scope="module")
def finished(images, ganzoo, tmp_path_factory):
    """A comparison of a GAN with one that cannot be trained, and what its command printed."""
    out = tmp_path_factory.mktemp("compared") / "out"
    command = words(images(), f"{NARROW} --strategy.lr-g 1e30", "--seeds", "2", "--steps", "4", "--jobs", "2", "--out", out)
    return out, command, ganzoo(*command)


def test_each_entrant_is_trained_with_each_seed_and_one_that_fails_is_told(finished):
    out, _, done = finished
    assert done.returncode == 1
    assert "2 of 4 runs failed" in done.stderr
    assert "is not a finite number" in done.stderr
    rows = list(csv.DictReader((out / "compare.csv").read_text().splitlines()))
    assert [(row["entrant"] == NARROW, row["seed"], row["state"]) for row in rows] == [
        (True, "0", "done"), (True, "1", "done"), (False, "0", "failed"), (False, "1", "failed"),
    ]  # fmt: skip
    assert [row["steps"] for row in rows[:2]] == ["4", "4"]
    assert [row["images"] for row in rows[:2]] == ["32", "32"]
    (last,) = (key for key in rows[0] if key.endswith(" last"))
    (top,) = (key for key in rows[0] if key.endswith(" best"))
    assert 0 < float(rows[0][top]) <= float(rows[0][last])
    assert rows[0][last] != rows[1][last]
    assert rows[2][last] == ""
    told = (out / "compare.md").read_text()
    assert "2 of 2" in told
    assert "0 of 2" in told
    assert "seed 0: failed" in told
    assert "over the seeds 0, 1" in told


def test_what_is_finished_is_kept_when_the_command_is_given_again(finished, ganzoo):
    out, command, _ = finished
    kept = [path for k in (0, 1) for path in [*out.glob(f"*batch-size-8-{k}/checkpoints/*"), *out.glob(f"*batch-size-8-{k}.*")]]
    assert len(kept) == 2 * (2 + 2), "two checkpoints, a log and results of each seed"
    before = [path.stat().st_mtime_ns for path in kept]
    # The second entrant is tried again, and fails again.
    assert ganzoo(*command).returncode == 1
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_another_comparison_is_not_mixed_into_the_folder(finished, images, ganzoo):
    out, _, _ = finished
    done = ganzoo(*words(images(), "--seeds", "2", "--steps", "5", "--out", out))
    assert done.returncode == 2
    assert "holds a comparison with other budget" in done.stderr


def test_a_comparison_at_work_is_not_touched_by_a_second_command(finished, images, ganzoo):
    out, _, _ = finished
    before = (out / "compare.json").read_bytes()
    lock = hold(out / "LOCK")
    try:
        done = ganzoo(*words(images(), "--seeds", "0,5", "--steps", "4", "--out", out))
    finally:
        lock.release()
    assert done.returncode == 2
    assert "is held by process" in done.stderr
    assert (out / "compare.json").read_bytes() == before


def test_an_interrupted_comparison_goes_on_where_it_was(images, ganzoo, tmp_path):
    """By Ctrl-C, then by SIGTERM, then to its end."""
    out, reached = tmp_path / "out", []
    command = [str(word) for word in words(images(), "--seeds", "1", "--steps", "4000", "--out", out)]

    def lines():
        return sum(len(path.read_text().splitlines()) for path in out.glob("gan-*-0/metrics.jsonl"))

    for number in (signal.SIGINT, signal.SIGTERM):
        process, before, end = fresh.Process(command), lines(), time.monotonic() + 100
        while time.monotonic() < end and lines() <= before:
            time.sleep(0.02)
        process.send_signal(number)
        done = process.wait(60)
        assert done.returncode == 130, done.stderr
        assert "The same command goes on" in done.stderr
        reached.append(max(int(path.stem) for path in out.glob("gan-*-0/checkpoints/*")))
    assert 0 < reached[0] < reached[1] < 4000, "the run that was stopped has saved a checkpoint each time"
    done = ganzoo(*command)
    assert done.returncode == 0, done.stderr
    (run,) = (path for path in out.glob("gan-*-0") if path.is_dir())
    assert run.with_suffix(".log").read_text().count(f"$ ganzoo resume {run}") == 2
    assert [e["step"] for e in json.loads(run.with_suffix(".json").read_text())] == [2000, 4000], "and none of where it was stopped"


def test_a_comparison_that_is_killed_leaves_nothing_running(images, tmp_path):
    out = tmp_path / "out"
    process = fresh.Process([str(word) for word in words(images(), "--seeds", "1", "--steps", "1000000", "--out", out)])
    end = time.monotonic() + 100
    while time.monotonic() < end and not list(out.glob("gan-*-0/metrics.jsonl")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    (run,) = (path for path in out.glob("gan-*-0") if path.is_dir())
    while True:
        try:
            Run.open(run).close()  # held by nobody
            break
        except UsageError:
            assert time.monotonic() < end, "it goes on training"
            time.sleep(0.2)
    assert list(run.glob("checkpoints/*.safetensors")), "what was reached is saved"


def plan(budget, *entrants, jobs=1):
    return Plan(tuple(tuple(e.split()) for e in entrants), ("",) * len(entrants), (0,), budget, (), (), 2, jobs)


def test_images_are_shared_out_evenly_whatever_a_step_takes(images, monkeypatch):
    made = plan(Budget(images=800), f"gan --batch-size 8 --dataset {images()}", f"wgan --batch-size 8 --image-size 16 --dataset {images()}")
    gan, wgan = share_out(made, made.entrants, configured, lambda *told: None)
    assert (gan.images, wgan.images) == (800, 800)
    assert (gan.steps, wgan.steps) == (100, 50)


def test_time_is_turned_into_images_by_the_speed_of_each(monkeypatch):
    rates = {"a": [100.0, 900.0, 110.0], "b": [10.0, 10.0, 10.0]}
    monkeypatch.setattr(plans, "_timed", lambda name, least, threads: (rates[name].pop(), 8.0))
    a, b = share_out(plan(Budget(seconds=10), "a", "b"), [["a"], ["b"]], lambda w: w[0], lambda *told: None)
    assert a == Share(138, 1100, 110.0)
    assert b == Share(13, 100, 10.0)


@pytest.mark.parametrize(("text", "wanted"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_a_time_is_read_with_its_unit(text, wanted):
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["10", "m", "-5m", "0s", "5 days"])
def test_a_time_without_a_unit_is_refused(text):
    with pytest.raises(UsageError, match="wanted a time as 90s, 10m"):
        seconds(text)


def test_entrants_can_be_added_and_those_whose_options_have_changed_are_not_taken_for_what_they_were(tmp_path):
    def begun(marks, *entrants):
        asked = []
        made = Comparison(tmp_path / "out", replace(plan(Budget(images=9), *entrants), fingerprints=marks))
        made.begin(lambda new: asked.extend(new) or [Share(len(words)) for words in new])
        return made, [" ".join(words) for words in asked]

    assert begun(("1", "2"), "a", "b --x y")[1] == ["a", "b --x y"]
    made, asked = begun(("1", "3"), "a", "c")
    assert asked == ["c"]
    assert made.shares == {"a": Share(1), "b --x y": Share(3), "c": Share(1)}
    assert begun(("2", "3"), "b --x y", "c")[1] == []
    with pytest.raises(UsageError, match="runs of 'b --x y' with other options than it has now"):
        begun(("other",), "b --x y")


def _done(folder: Path, label: str, seed: int, *figures: tuple[str, str, float]) -> Cell:
    cell = Cell(label, seed, folder / f"{label}-{seed}", "done")
    cell.evaluations = [Evaluation({n: v}, {n: "lower"}, (), {}, f"{n} [{h}]", h, "", 0.0, 5) for n, h, v in figures]
    return cell


def test_figures_of_two_protocols_never_share_a_column(tmp_path):
    made = Comparison(tmp_path, plan(Budget(steps=5), "a", "b"))
    made.cells = [_done(tmp_path, "a", 0, ("fid", "one", 1.0)), _done(tmp_path, "b", 0, ("fid", "two", 2.0))]
    head, rows = table(made)
    assert [name for name in head if name.startswith("fid")] == ["fid [one], last", "fid [one], best", "fid [two], last", "fid [two], best"]
    assert [row[5:9] for row in rows] == [["1", "1", "-", "-"], ["-", "-", "2", "2"]]


def test_a_collapse_stands_beside_the_figure(tmp_path):
    cell = _done(tmp_path, "a", 0, ("fid", "one", 1.0))
    cell.folder.mkdir()
    for line, wanted in (((0.01, 0.0), "collapsed"), ((0.9, 0.1), "few kinds"), ((0.9, 0.9), "")):
        with open(cell.folder / "health.jsonl", "a") as file:
            file.write(json.dumps({"step": 1, "spread": line[0], "apartness": line[1]}) + "\n")
        assert cell.health == wanted


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "wanted one of --budget, --steps and --images; got none"),
        (["--steps", "3", "--images", "9"], "got --steps and --images"),
        (["--steps", "3", "--seeds", "x"], "--seeds: wanted"),
        (["--budget", "10"], "--budget: wanted a time"),
        (["dcgann", "--steps", "3"], "Did you mean 'dcgan'"),
        (["gan --image-size 8", "--steps", "3"], "learn from different data"),
        (["gan --loss nope", "--steps", "3"], "no loss 'nope'"),
        (["gan", "gan", "--steps", "3"], "two entrants are the same"),
        (["gan", "--steps", "3", "--metric", "nope"], "no metric 'nope'"),
        (["gan", "--steps", "3", "--dataset", "other"], "wanted one, got 2: other, "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(more, said, images, tmp_path, capsys, monkeypatch):
    from ganzoo.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "COLUMNS", "200")
    shared = ["--features", "pixels", "--dataset", str(images())]
    with pytest.raises(SystemExit) as error:
        main(["compare", "gan --batch-size 8", *map(str, more), *shared])
    assert error.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_comparison_of_which_nothing_is_there_yet_has_a_page_and_one_with_odd_numbers_is_refused(tmp_path, capsys):
    from ganzoo.cli import main

    made = Comparison(tmp_path / "compared", plan(Budget(steps=5), "gan", "wgan"))
    made.begin(lambda new: [Share(5) for _ in new])
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "compared"), "--files-only"])
    assert not ended.value.code
    assert "There are no sample sheets yet" in (tmp_path / "compared" / "report.html").read_text()
    path = tmp_path / "compared" / "compare.json"
    whole = path.read_text()
    for old, new in (('"seconds": 0.0', '"seconds": "999"'), ('"checkpoints": 2', '"checkpoints": -1'), ('"steps": 5,', '"steps": 1.5,')):
        assert old in whole
        path.write_text(whole.replace(old, new, 1))
        with pytest.raises(SystemExit) as ended:
            main(["report", str(tmp_path / "compared"), "--files-only"])
        assert ended.value.code == 2
        assert "is no comparison's" in capsys.readouterr().err
    empty = json.loads(whole)
    empty["plan"]["seeds"] = []
    path.write_text(json.dumps(empty))
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "compared"), "--files-only"])
    assert ended.value.code == 2
    assert "nothing is compared" in capsys.readouterr().err
