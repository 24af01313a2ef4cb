"""The run: stopping, resuming, saying what goes wrong, and losing nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ganzoo_gan.model import Generator
from PIL import Image
from zoo import flags, small

from ganzoo import machine
from ganzoo.errors import GanzooError, RunStopped, UsageError
from ganzoo.files import read_lines
from ganzoo.randomness import generator, seed_of
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.runs.exported import Exported
from ganzoo.testing import fresh, toys
from ganzoo.training import launch
from ganzoo.training.health import D_WON_LINES, D_WON_STEPS, Health, apartness, not_finite, spread
from ganzoo.training.landscape import landscape
from ganzoo.training.loop import Watch
from ganzoo.training.session import open_session
from ganzoo.types import Field

SHAPES = Field("image", (1, 16, 16))


class Told(Watch):
    """Remembers what it was told."""

    def __init__(self):
        self.warnings, self.steps, self.sheets, self.saves = [], [], [], []

    def logged(self, step, values, images_per_second):
        self.steps.append(step)

    def sampled(self, step, path, x, name):
        if name == "generator":
            self.sheets.append(step)

    def saved(self, step, path):
        self.saves.append(step)

    def warned(self, text):
        if "images are few:" not in text:  # so are the images of nearly all tests
            self.warnings.append(text)


def start(resolved, folder, watch=None):
    return launch.start(resolved, folder, watch or Told())


def test_a_run_leaves_what_was_promised(images, tmp_path):
    told = Told()
    config = small("acgan", images(3), steps=7, log_every=2, sample_every=3, save_every=4)
    folder = start(config, tmp_path / "run", told)
    assert (told.steps, told.sheets, told.saves) == ([2, 4, 6, 7], [0, 3, 6, 7], [4, 7])
    lines = read_lines(folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6, 7]
    terms = {"d/real", "d/fake", "d/class_real", "d/class_fake", "g/fake", "g/class", "g/class_accuracy"}
    assert lines[0].keys() == {"step", "time", "images_seen", "images_per_second"} | terms
    assert lines[-1]["images_seen"] == 7 * 8
    sheets = [f"{step:06d}{of}.png" for step in told.sheets for of in ("-classifier", "")]
    assert sorted(p.name for p in (folder / "samples").iterdir()) == sheets
    with Image.open(folder / "samples" / "000007.png") as sheet:
        assert sheet.mode == "RGB"
    with Image.open(folder / "losses.png") as chart:
        assert len(chart.getcolors(1 << 20)) > 3
    written = json.loads((folder / "config.json").read_text())
    assert written["recipe"] == "acgan"
    assert written["run"]["image_size"] == "16"
    assert written["plugins"]["pyganzoo/acgan"]
    assert len(written["data"]["checksum"]) == 64
    assert written["machine"]["torch"] == torch.__version__
    assert (folder / "generator.safetensors").exists()


def test_a_run_of_points_draws_them(tmp_path):
    config = small("gan", "ring", steps=2)
    folder = start(config, tmp_path / "run")
    with Image.open(folder / "samples" / "000002.png") as sheet:
        assert sheet.size == (512, 512)


def test_the_game_of_points_is_kept_and_changes_nothing(tmp_path):
    def run(name, **more):
        folder = start(small("gan", "ring", steps=6, batch_size=64, **more), tmp_path / name)
        return read_lines(folder / "landscape.jsonl"), checkpoint.read(checkpoint.path_of(folder / "checkpoints", 6))[0]

    lines, often = run("often", sample_every=2)
    assert torch.equal(often["model:G.net.0.weight"], run("rare", sample_every=6)[1]["model:G.net.0.weight"])
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    for line in lines:
        assert [len(line[key]) for key in ("real", "samples", "logits", "push")] == [250, 250, 48 * 48, 100]
    assert lines[0]["samples"] != lines[-1]["samples"]
    # The push is that of the loss: of the non-saturating one, sigmoid(-D) times the gradient of D.
    session = open_session(small("gan", "ring", steps=6, batch_size=64))[2]
    product = Exported.of(session.strategy)
    seen = landscape(session, product, 0)
    x = torch.tensor(seen["samples"])[:100].requires_grad_(True)
    logits = session.strategy.D(x=x)
    (slope,) = torch.autograd.grad(logits.sum(), x)
    torch.testing.assert_close(torch.tensor(seen["push"]), torch.sigmoid(-logits)[:, None].detach() * slope, rtol=1e-2, atol=1e-4)


def test_logging_sampling_and_saving_more_often_change_nothing(images, tmp_path):
    def weights(name, **run):
        folder = start(small("dcgan", images(), steps=6, **run), tmp_path / name)
        return checkpoint.read(checkpoint.path_of(folder / "checkpoints", 6))[0]

    rare = weights("rare", log_every=6, sample_every=6, save_every=6)
    often = weights("often", log_every=1, sample_every=1, save_every=1)
    assert all(torch.equal(rare[name], often[name]) for name in rare)


def test_a_longer_run_and_a_resumed_one_write_the_same_lines(images, tmp_path):
    whole = start(small("gan", images(), steps=8), tmp_path / "whole")
    parts = start(small("gan", images(), steps=3), tmp_path / "parts")
    launch.resume(catalogue(), parts, 8, Told())

    def lines(folder):
        return [{k: v for k, v in line.items() if k not in ("time", "images_per_second")} for line in read_lines(folder / "metrics.jsonl")]

    assert lines(whole) == lines(parts)
    assert json.loads((parts / "config.json").read_text())["run"]["steps"] == 8


def test_what_came_after_the_checkpoint_is_forgotten_and_done_again(images, tmp_path):
    folder = start(small("gan", images(), steps=4, save_every=2), tmp_path / "run")
    checkpoint.path_of(folder / "checkpoints", 4).unlink()
    with open(folder / "metrics.jsonl", "a") as f:
        f.write('{"step": 5, "ti')
    launch.resume(catalogue(), folder, None, Told())
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_a_bad_checkpoint_costs_its_steps_and_not_the_run(images, tmp_path):
    folder = start(small("gan", images(), steps=4, save_every=2), tmp_path / "run")
    good = checkpoint.read(checkpoint.path_of(folder / "checkpoints", 4))[0]
    path = checkpoint.path_of(folder / "checkpoints", 4)
    path.write_bytes(path.read_bytes()[:-9])
    told = Told()
    launch.resume(catalogue(), folder, None, told)
    assert "BAD CHECKPOINT" in told.warnings[0]
    again = checkpoint.read(path)[0]
    assert all(torch.equal(good[name], again[name]) for name in good)


def test_a_finished_run_is_not_resumed_without_more_steps(images, tmp_path):
    folder = start(small("gan", images(), steps=2), tmp_path / "run")
    with pytest.raises(UsageError, match="at step 2 already"):
        launch.resume(catalogue(), folder, None, Told())


def test_a_run_is_not_resumed_on_other_data(images, tmp_path):
    from safetensors.torch import save_file

    data = tmp_path / "data.safetensors"
    save_file({"x": torch.zeros(9, 1, 16, 16, dtype=torch.uint8)}, data)
    folder = start(small("gan", data, steps=2), tmp_path / "run")
    save_file({"x": torch.ones(9, 1, 16, 16, dtype=torch.uint8)}, data)
    with pytest.raises(UsageError, match="has changed since the run was started"):
        launch.resume(catalogue(), folder, 4, Told())


def test_a_folder_that_holds_anything_is_not_taken(images, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        start(small("gan", images()), tmp_path / "run")
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(("log_every", "save_every"), [(1, 500), (10, 1), (100, 3)])
def test_a_term_that_is_not_finite_stops_the_run_with_the_last_healthy_state(log_every, save_every, images, tmp_path):
    """A learning rate that throws the weights away within a few steps; no checkpoint may hold what came of it, and none be lost to it."""
    parts = {"strategy": {"lr_d": 1e12, "lr_g": 1e12}}
    config = small("gan", images(), {"loss": "least-squares"}, parts, steps=500, log_every=log_every, save_every=save_every)
    with pytest.raises(RunStopped, match="not a finite number at step") as e:
        start(config, tmp_path / "run")
    assert e.value.exit_code == 1
    step = checkpoint.steps_in(tmp_path / "run" / "checkpoints")[-1]
    tensors, _ = checkpoint.read(checkpoint.path_of(tmp_path / "run" / "checkpoints", step))
    assert all(value.isfinite().all() for name, value in tensors.items() if name.startswith("model:"))
    assert f"of step {step}" in str(e.value)


def test_a_bad_checkpoint_of_a_later_step_does_not_stop_the_resumed_run(images, tmp_path):
    folder = start(small("gan", images(), steps=8, save_every=4), tmp_path / "run")
    path = checkpoint.path_of(folder / "checkpoints", 8)
    path.write_bytes(path.read_bytes()[:-9])
    launch.resume(catalogue(), folder, 6, Told())
    assert checkpoint.steps_in(folder / "checkpoints") == [4, 6]
    assert (folder / "checkpoints" / "000008.bad").exists()


def test_a_refused_resume_changes_nothing(images, tmp_path):
    folder = start(small("gan", images(), steps=4), tmp_path / "run")
    before = (folder / "config.json").read_bytes()
    with pytest.raises(UsageError, match="at step 4 already"):
        launch.resume(catalogue(), folder, 2, Told())
    assert (folder / "config.json").read_bytes() == before


def test_a_run_that_died_before_its_first_checkpoint_begins_again(images, tmp_path):
    folder = start(small("gan", images(), steps=4), tmp_path / "run")
    for step in checkpoint.steps_in(folder / "checkpoints"):
        checkpoint.path_of(folder / "checkpoints", step).unlink()
    launch.resume(catalogue(), folder, None, Told())
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


@pytest.mark.parametrize("change", [("run", "seed", 7), ("run", "batch_size", 4), ("parts", "loss", "hinge")])
def test_a_run_goes_on_as_it_began_or_not_at_all(change, images, tmp_path):
    folder = start(small("gan", images(), steps=2), tmp_path / "run")
    written = json.loads((folder / "config.json").read_text())
    section, key, value = change
    written[section][key] = value
    (folder / "config.json").write_text(json.dumps(written))
    with pytest.raises(UsageError, match="has been changed since"):
        launch.resume(catalogue(), folder, 4, Told())


def test_another_number_of_threads_is_told(images, tmp_path, monkeypatch):
    folder = start(small("gan", images(), steps=2), tmp_path / "run")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    told = Told()
    try:
        launch.resume(catalogue(), folder, 3, told)
    finally:
        torch.set_num_threads(1)
    assert any("threads 2 (was 1)" in text for text in told.warnings)


def test_a_run_is_resumed_from_another_folder(images, tmp_path, monkeypatch):
    data = tmp_path / "noise.safetensors"
    data.write_bytes(images().read_bytes())
    monkeypatch.chdir(tmp_path)
    folder = start(small("gan", "noise.safetensors", steps=2), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    launch.resume(catalogue(), folder, 3, Told())


def test_what_cannot_be_written_costs_a_warning_and_only_a_last_checkpoint_the_run(images, tmp_path, monkeypatch):
    from ganzoo.runs.folder import Run

    def full(*_, **__):
        raise GanzooError("disk full")

    for what in ("log", "save"):
        monkeypatch.setattr(Run, what, full)
    told = Told()
    with pytest.raises(GanzooError, match="disk full"):
        start(small("gan", images(), steps=6, save_every=2), tmp_path / "run", told)
    assert told.steps == [1, 2, 3, 4, 5, 6]
    assert sum("tries again" in text for text in told.warnings) == 2


def test_runs_that_start_together_take_numbers_of_their_own(tmp_path):
    from ganzoo.runs.folder import new_folder

    assert [new_folder(tmp_path, "gan-ring").name for _ in range(3)] == [f"gan-ring-{i:03d}" for i in (1, 2, 3)]


def begin(folder, config, *more):
    """A long run in a process of its own, when it has begun to train."""
    process = fresh.Process(["run", *flags(config), "--steps=1000000", f"--out={folder}", *more])
    limit = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists():
        assert process.poll() is None, process.wait()
        assert time.monotonic() < limit
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_step_with_a_checkpoint(number, code, images, tmp_path):
    process = begin(tmp_path / "run", small("gan", images()))
    process.send_signal(number)
    done = process.wait(30)
    err = done.stderr
    assert done.returncode == code
    assert f"stopped by {number.name} after step" in err
    assert "Traceback" not in err
    (step,) = checkpoint.steps_in(tmp_path / "run" / "checkpoints")
    assert f"after step {step}," in err
    assert checkpoint.read(checkpoint.path_of(tmp_path / "run" / "checkpoints", step))[1]["step"] == step


def test_the_second_signal_ends_at_once(images, tmp_path):
    """The first one waits for the end of the step: here a step of a million critic iterations."""
    config = small("wgan", images(), parts={"strategy": {"warmup": 1, "warmup_critic": 1_000_000}})
    process = fresh.Process(["run", *flags(config), f"--out={tmp_path / 'run'}"])
    while not (tmp_path / "run" / "samples" / "000000.png").exists():
        assert process.poll() is None
        time.sleep(0.01)
    for _ in range(2):
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
    ended = process.wait(5)
    assert ended.returncode == 130
    assert "stopped at once; what came after the last checkpoint is not saved" in ended.stderr


def test_one_process_at_a_time_holds_a_run(images, tmp_path, ganzoo):
    process = begin(tmp_path / "run", small("gan", images()), "--save-every=5")
    done = ganzoo("resume", tmp_path / "run")
    assert done.returncode == 2
    assert f"is held by process {process.pid} on" in done.stderr
    process.kill()
    assert process.wait().returncode == -signal.SIGKILL
    assert ganzoo("resume", tmp_path / "run", "--steps", checkpoint.steps_in(tmp_path / "run" / "checkpoints")[-1] + 2).returncode == 0


def test_health_is_silent_while_both_players_play():
    health = Health(0.02)
    assert not any(health.logged(10 * i, {"d/real": 0.6, "d/fake": 0.7}) for i in range(100))
    assert not any(health.sampled(0.9) for _ in range(100))


def test_health_warns_once_within_a_few_lines_when_D_has_won_and_again_after_a_recovery():
    health = Health(0.02)
    won, fair = {"d/real": 0.001, "d/fake": 0.002}, {"d/real": 0.5, "d/fake": 0.5}
    told = [bool(health.logged(10 * i, line)) for i, line in enumerate([won] * 50 + [fair] + [won] * 50)]
    assert [10 * i for i, said in enumerate(told) if said] == [D_WON_STEPS, 510 + D_WON_STEPS]
    told = [bool(health.logged(t, fair if t % 100 == 0 else won)) for t in range(10_000, 100_000, 10)]
    assert 1 <= sum(told) <= 4, "D wins and loses nine hundred times"
    rare = Health(0.02)  # a line every 200 steps: five of them
    assert [bool(rare.logged(200 * i, won)) for i in range(8)].index(True) == D_WON_LINES - 1


def test_health_does_not_judge_a_critic_by_its_terms():
    health = Health(None)
    assert not any(health.logged(10 * i, {"d/real": 0.0, "d/fake": 0.0}) for i in range(100))


def test_health_warns_once_when_a_term_explodes():
    health = Health(None)
    told = [health.logged(i, {"d/real": value}) for i, value in enumerate((3.0, -1e17, 1e18, 2.0, 1e9))]
    assert [bool(said) for said in told] == [False, True, False, False, True]
    assert "d/real is -1e+17 at step 1" in told[1][0]


def test_health_warns_when_all_samples_are_one(images, tmp_path):
    x = torch.randn(1, 1, 8, 8).repeat(64, 1, 1, 1)
    real = torch.randn(64, 1, 8, 8)
    assert spread(x, real) == pytest.approx(0, abs=1e-6)
    assert spread(real, real) == pytest.approx(1)
    health = Health(None)
    said = [health.sampled(spread(x, real)) for _ in range(3)]
    assert said[:2] == [[], []]
    assert "collapsed" in said[2][0]


def test_a_generator_that_draws_one_picture_is_reported_while_it_trains(images, tmp_path, monkeypatch):
    config = small("gan", images(), steps=6, sample_every=1)
    forward = Generator.forward
    monkeypatch.setattr(Generator, "forward", lambda self, z: forward(self, torch.zeros_like(z)))
    for name, refuse in (("run", False), ("no sheets", True)):
        if refuse:
            monkeypatch.setattr("ganzoo.pictures.save", lambda *_: (_ for _ in ()).throw(GanzooError("disk full")))
        told = Told()
        start(config, tmp_path / name, told)
        assert any("collapsed" in text for text in told.warnings), name
        assert any("disk full" in text for text in told.warnings) == refuse


def test_the_first_bad_term_is_named():
    assert not_finite({"a": 1.0, "b": float("inf"), "c": float("nan")}) == "b"
    assert not_finite({"a": 1.0}) == ""


def test_draws_depend_on_their_keys_alone():
    assert seed_of(0, "order", 1) != seed_of(0, "order", 2) != seed_of(1, "order", 2)
    a = torch.rand(3, generator=generator(0, "x"))
    torch.rand(5)
    assert torch.equal(a, torch.rand(3, generator=generator(0, "x")))


def test_threads_follow_what_is_allowed(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "cgroup_cores", lambda: 2.5)
    assert machine.threads() == 2
    monkeypatch.setattr(machine, "cgroup_cores", lambda: None)
    assert machine.threads() == 8


@pytest.mark.parametrize(
    ("threads", "others", "own", "says"),
    [(4, 2.1, 2.0, "OMP_NUM_THREADS=1"), (4, 1.2, 2.7, "OMP_NUM_THREADS=2"), (4, 0.4, 3.5, ""), (2, 1.9, 2.0, ""), (1, 3.9, 0.1, "")],
)
def test_a_run_whose_cores_are_taken_says_so_once_with_the_way_on(threads, others, own, says, monkeypatch):
    now = 100.0
    monkeypatch.setattr(machine.time, "monotonic", lambda: now)
    monkeypatch.setattr(machine, "allowed_cores", lambda: 4)
    crowd = machine.Crowd(threads, lambda: ((others + own) * now, own * now))
    now += 5
    assert not crowd.warning(Path("runs/gan"))  # a burst of others is none
    now += 6
    said = crowd.warning(Path("runs/gan"))
    assert (says in said) if says else not said
    assert bool(said) == bool(says) == (f"on {others} of this machine's 4 cores" in said)
    now += 60
    assert not crowd.warning(Path("runs/gan"))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells what other processes do")
def test_the_seconds_computed_are_those_of_all_processes_and_of_this_one():
    (every, own), began = machine.seconds_computed(), time.monotonic()
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    while time.monotonic() < began + 1:
        sum(range(1000))
    hog.kill()
    hog.wait()
    every, own = machine.seconds_computed()[0] - every, machine.seconds_computed()[1] - own
    assert own > 0.05
    assert every - own > 0.05


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "20000 100000"}, 1.0),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cgroups_of_both_versions_are_read(files, cores, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert machine.cgroup_cores(tmp_path) == cores


def toy(recipe, folder, **more):
    """A small version, trained on shapes, with a sheet every 10 steps; its warnings."""
    told = Told()
    config = small(recipe, toys.file(SHAPES), batch_size=32, sample_every=10, **more)
    launch.start(config, folder, told)
    return told.warnings, read_lines(folder / "warnings.jsonl")


@pytest.mark.parametrize("recipe", ["gan", "dcgan", "wgan-gp"])
def test_health_says_nothing_of_a_gan_that_learns(recipe, tmp_path):
    assert toy(recipe, tmp_path / "run", steps=150) == ([], [])


def test_a_generator_that_does_not_learn_is_told_of_when_D_has_won(tmp_path):
    told = Told()
    rates = {"lr_g": 0.0, "lr_d": 1e-2}
    launch.start(small("gan", toys.file(SHAPES), parts={"strategy": rates}, batch_size=32, steps=200, log_every=2), tmp_path / "run", told)
    (warning,) = told.warnings
    assert warning.startswith("D tells real from fake without error")
    (line,) = read_lines(tmp_path / "run" / "warnings.jsonl")
    assert line["text"] == warning
    assert line["step"] % 2 == 0


def test_a_generator_that_draws_three_pictures_lacks_diversity_and_has_not_collapsed(tmp_path, monkeypatch):
    """Its spread is that of healthy samples."""
    forward = Generator.forward  # of three latents and no others
    monkeypatch.setattr(Generator, "forward", lambda self, z: forward(self, 9 * torch.eye(z.shape[1])[(9 * z[:, 0].abs()).long() % 3]))
    warnings, lines = toy("gan", tmp_path / "run", steps=150)
    assert warnings[-1].startswith("the samples lack diversity: ")
    assert [line["text"] for line in lines] == warnings
    last = read_lines(tmp_path / "run" / "health.jsonl")[-1]
    assert last["spread"] > 0.2
    assert last["apartness"] < 0.05


def test_samples_that_become_more_different_with_each_sheet_do_not_lack_diversity():
    """The first sheets of `gan` and of an `acgan` that collapses, as they were measured, and of one that is stuck."""

    def told(*sheets):
        health = Health(None)
        return [i for i, apartness in enumerate(sheets) if health.sampled(0.7, apartness)]

    assert told(0.1, 0.17, 0.18, 0.25, 0.27, 0.35) == []
    assert told(0.52, 0.32, 0.07, 0.04, 0.03, 0.03) == [4]
    assert told(0.1, 0.1, 0.1, 0.1, 0.3, 0.1, 0.1, 0.1) == [2, 7]


def test_samples_as_different_as_real_ones_are_apart_and_repeated_ones_are_not():
    real = torch.randn(200, 1, 8, 8)
    assert apartness(torch.randn(200, 1, 8, 8), real) == pytest.approx(1, abs=0.1)
    assert apartness(real[:4].repeat(16, 1, 1, 1), real) == 0
    assert apartness(real[:1], real) == 1, "of one sample nothing is said"
    words = torch.arange(200)[:, None] % 5
    assert apartness(words[:64], words) == 1, "where real ones repeat, samples may"


def test_bf16_is_taken_where_the_device_the_parts_and_the_data_are_fit_for_it(monkeypatch, images):
    def taken(recipe, dataset, able, **run):
        monkeypatch.setattr(machine, "computes_bf16", lambda device: able)
        resolved, _, session = open_session(small(recipe, dataset, **{"precision": "auto", **run}))
        assert resolved.config.run.precision == session.precision
        return session.precision

    pictures, points = images(), "ring"
    assert [taken("gan", pictures, able) for able in (True, False)] == ["bf16", "fp32"]
    assert taken("gan", points, True) == "fp32"
    assert taken("gan", pictures, True, precision="fp32") == "fp32"
    record = catalogue().get("loss", "non-saturating").record
    monkeypatch.setitem(record.__dict__, "bf16", False)
    assert taken("gan", pictures, True) == "fp32"
