"""A run that was ended in the middle, moved, or had odd things put into its folder goes on and says what was wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from test_loop import Told, start
from zoo import flags, small

from ganzoo import pictures
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.runs.exported import file_of, stale
from ganzoo.runs.folder import Run
from ganzoo.training import launch, loop


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_saves_the_run_unless_hangups_are_ignored(images, tmp_path, ignored):
    handler = "SIG_IGN" if ignored else "SIG_DFL"  # which a child inherits, so pytest under nohup would decide
    before = f"import signal; signal.signal(signal.SIGHUP, signal.{handler}); "
    words = [*flags(small("gan", images())), "--steps=100000", "--out", str(tmp_path / "run")]
    code = f"{before}from ganzoo.cli import main; main(['run', *{words!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGHUP)
    if ignored:
        time.sleep(2)
        assert process.poll() is None
        process.terminate()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + (signal.SIGTERM if ignored else signal.SIGHUP)
    assert "which is saved" in said
    assert checkpoint.steps_in(tmp_path / "run" / "checkpoints")


def test_a_finished_run_that_was_killed_before_its_files_finishes_them(images, tmp_path, monkeypatch):
    whole = start(small("gan", images(), steps=4), tmp_path / "whole")
    save = loop.exported.save

    def killed(folder, tensors, step, described):
        if step == 4:
            raise KeyboardInterrupt
        save(folder, tensors, step, described)

    monkeypatch.setattr(loop.exported, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        start(small("gan", images(), steps=4, save_every=2), tmp_path / "run")
    monkeypatch.undo()
    assert stale(tmp_path / "run", 4, ["generator"]) == ["generator"]
    assert not launch.finished(tmp_path / "run")

    def killed_again(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch.pictures, "save", killed_again)
    with pytest.raises(KeyboardInterrupt):
        launch.resume(catalogue(), tmp_path / "run", None, Told())
    monkeypatch.undo()
    assert not launch.finished(tmp_path / "run"), "the products are written last, so that it is known what is missing"
    told = Told()
    launch.resume(catalogue(), tmp_path / "run", None, told)
    assert "generator, which it had not written yet, is written now" in told.warnings[0]
    assert launch.finished(tmp_path / "run")
    own, wanted = (checkpoint.read(folder / file_of("generator"))[0] for folder in (tmp_path / "run", whole))
    assert all(torch.equal(own[name], wanted[name]) for name in wanted)
    with pytest.raises(UsageError, match="is at step 4 already"):
        launch.resume(catalogue(), tmp_path / "run", None, Told())


def test_a_run_that_begins_again_writes_no_line_twice(images, tmp_path):
    folder = start(small("gan", images(), steps=3, sample_every=1), tmp_path / "run")
    for file in (folder / "checkpoints").iterdir():
        file.unlink()
    launch.resume(catalogue(), folder, None, Told())
    for name in ("health.jsonl", "metrics.jsonl"):
        steps = [line["step"] for line in lines_of(folder / name)]
        assert steps == sorted(set(steps))


BAD_LINES = [
    '{"step": "3"}', '{"step": null}', '{"step": [1]}', '{"step": 1e999, "time": 1}', '{"step": 2.5}', '{"step": -1}', "[]", "7", "{", "{}",
    '{"step": 1, "time": "x", "d/real": "y"}', '{"step": true}', '{"step": 1' + "0" * 400 + "}",
]  # fmt: skip


@pytest.mark.parametrize("name", ["metrics.jsonl", "health.jsonl", "warnings.jsonl", "evaluations.jsonl"])
def test_lines_that_cannot_be_used_never_stop_a_run(images, tmp_path, name):
    folder = start(small("gan", images(), steps=2), tmp_path / "run")
    with open(folder / name, "a") as file:
        file.write("\n".join(BAD_LINES) + "\n")
    told = Told()
    launch.resume(catalogue(), folder, 4, told)
    assert any(name in text and "left out" in text for text in told.warnings)
    assert [line["step"] for line in lines_of(folder / "metrics.jsonl")] == [1, 2, 3, 4]


def test_odd_names_in_a_run_never_stop_it(images, tmp_path):
    folder = start(small("gan", images(), steps=2, sample_every=1), tmp_path / "run")
    for name in ("checkpoints/²", "checkpoints/5", "checkpoints/notes", "samples/³", "samples/9", "checkpoints/" + "9" * 200):
        (folder / f"{name}.safetensors").write_bytes(b"x")
        (folder / f"{name}.png").write_bytes(b"x")
    (folder / "checkpoints" / "000009.safetensors").mkdir()
    (folder / "samples" / "000007.png").mkdir()
    launch.resume(catalogue(), folder, 4, Told())
    assert checkpoint.steps_in(folder / "checkpoints") == [2, 4]


def test_data_that_moved_is_named_and_other_data_is_refused(images, tmp_path):
    path = tmp_path / "data.safetensors"
    path.write_bytes(images().read_bytes())
    folder = start(small("gan", path, steps=2), tmp_path / "run")
    moved = path.rename(tmp_path / "moved.safetensors")
    with pytest.raises(UsageError, match=r"data\.safetensors.*If it was moved: `ganzoo resume .*run --dataset PATH`"):
        launch.resume(catalogue(), folder, 4, Told())
    with pytest.raises(UsageError, match="has changed since the run was started"):
        launch.resume(catalogue(), folder, 4, Told(), dataset=str(images(n=50)))
    launch.resume(catalogue(), folder, 4, Told(), dataset=str(moved))
    launch.resume(catalogue(), folder, 6, Told())  # it is remembered
    assert checkpoint.steps_in(folder / "checkpoints") == [2, 4, 6]


def test_a_full_disk_makes_room_and_says_how_many_steps_are_unsaved(images, tmp_path, monkeypatch):
    write, full = checkpoint.write, []

    def refusing(path, tensors, meta, told=None):
        if path.parent.name == "checkpoints" and full and len(list(path.parent.iterdir())) >= full[0]:
            raise GanzooError(f"{path} cannot be written: No space left on device.")
        write(path, tensors, meta, told)

    monkeypatch.setattr(checkpoint, "write", refusing)
    full[:] = [3]
    folder = start(small("gan", images(), steps=10, save_every=2, keep=3), tmp_path / "run")
    assert checkpoint.steps_in(folder / "checkpoints") == [6, 8, 10]  # each new one took the place of the oldest
    full[:] = [1]
    told = Told()
    with pytest.raises(GanzooError, match="No space left"):
        start(small("gan", images(), steps=6, save_every=2, keep=3), tmp_path / "full", told)
    assert checkpoint.steps_in(tmp_path / "full" / "checkpoints") == [2]
    assert "2 steps are not saved: the last checkpoint is that of step 2" in told.warnings[0]
    assert "Free some space" in told.warnings[0]


def test_room_is_never_made_of_the_newest_or_the_best(tmp_path):
    for step in range(1, 6):
        checkpoint.path_of(tmp_path, step).write_bytes(b"")
    assert checkpoint.make_room(tmp_path, 2, {3}) == 3
    assert checkpoint.steps_in(tmp_path) == [3, 5]
    assert checkpoint.make_room(tmp_path, 0, set()) == 0


def test_the_chart_and_the_generator_are_there_with_the_first_sheet(images, tmp_path):
    seen = {}

    class Looks(Told):
        def stepped(self, step):
            seen[step] = {name for name in ("losses.png", "generator.safetensors") if (tmp_path / "run" / name).exists()}

    start(small("gan", images(), steps=6, sample_every=3), tmp_path / "run", Looks())
    assert seen[1] == {"generator.safetensors"}
    assert seen[4] == {"generator.safetensors", "losses.png"}


def test_a_chart_has_the_terms_of_all_lines_and_round_numbers():
    assert pictures.ticks(0, 2000, 6) == [0, 500, 1000, 1500, 2000]
    assert pictures.ticks(-0.13, 0.74) == pytest.approx([0, 0.5])
    assert pictures.ticks(-0.1, 0.9) == pytest.approx([0, 0.5])
    one = pictures.curves([{"step": 1, "d/a": 0.0}, {"step": 2, "d/a": 1.0}, {"step": 3, "d/b": 1.0}])
    two = pictures.curves([{"step": 1, "d/a": 0.0}, {"step": 2, "d/a": 1.0}, {"step": 3}])
    assert np.any(np.asarray(one) != np.asarray(two))  # b stands there, though only one line has it


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(images, tmp_path):
    folder = start(small("gan", images(), steps=2), tmp_path / "run")
    (tmp_path / "precious").write_text("kept")
    (folder / "LOCK").unlink()
    (folder / "LOCK").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="LOCK is a link"):
        Run.open(folder)
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_linked_sheet_is_not_in_a_report(images, tmp_path, ganzoo):
    folder = start(small("gan", images(), steps=2), tmp_path / "run")
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (folder / "samples" / "000009.png").symlink_to(tmp_path / "secret.png")
    assert ganzoo("report", folder, "--files-only").returncode == 0
    assert "step 9" not in (folder / "report.html").read_text()


def test_two_data_sets_and_an_unknown_one_are_told_apart(ganzoo):
    done = ganzoo("run", "gan", "--dataset", "ring", "--dataset", "grid")
    assert (done.returncode, "wanted one, got 2: ring, grid" in done.stderr) == (2, True)
    done = ganzoo("run", "gan", "--dataset", "photo")
    assert (done.returncode, "no folder is called 'photo' either" in done.stderr) == (2, True)


def test_a_run_whose_first_step_failed_goes_on_and_writes_no_line_twice(images, tmp_path, monkeypatch):
    from ganzoo.training.session import Session

    whole = start(small("gan", images(), steps=3), tmp_path / "whole")

    def fails(self, t):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(Session, "step", fails)
    with pytest.raises(RuntimeError, match="out of luck"):
        start(small("gan", images(), steps=3), tmp_path / "run")
    monkeypatch.undo()
    assert checkpoint.steps_in(tmp_path / "run" / "checkpoints") == [0]
    launch.resume(catalogue(), tmp_path / "run", None, Told())
    for name in ("health.jsonl", "metrics.jsonl"):
        assert [line["step"] for line in lines_of(tmp_path / "run" / name)] == [line["step"] for line in lines_of(whole / name)]
