"""What watches a run, commands of plugins, and plugins that are named by a path: each can do its part and harm nothing else."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from conftest import ROOT
from test_loop import Told
from zoo import small

from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import Catalogue
from ganzoo.registry.discovery import discover
from ganzoo.runs import checkpoint
from ganzoo.training import launch

HEAD = "from pathlib import Path\nfrom ganzoo import hookimpl, UsageError\nGANZOO_API = 1\n"


@pytest.fixture
def plugin(tmp_path):
    """A function that writes a one-file plugin and returns its path."""
    written = []

    def write(source, name="zz_watcher"):
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD + textwrap.dedent(source))
        written.append(name)
        return path

    yield write
    for name in written:
        sys.modules.pop(name, None)


def catalogue_with(*paths):
    for path in paths:
        sys.modules.pop(path.stem, None)
    return Catalogue(discover(paths=paths))


EVERY = """
said = Path(__file__).with_suffix(".txt")
def say(*words):
    with said.open("a") as file: print(*words, file=file)
@hookimpl
def ganzoo_run_started(run): say("started", run.step, run.config["recipe"], run.spec.kind, run.folder.name)
@hookimpl
def ganzoo_run_logged(step, values): say("logged", step, *values)
@hookimpl
def ganzoo_run_sampled(step, path, x): say("sampled", step, path.name, tuple(x.shape))
@hookimpl
def ganzoo_run_saved(step, path): say("saved", step, path.name)
@hookimpl
def ganzoo_run_finished(step, error): say("finished", step, repr(error))
"""


def test_a_tracker_is_told_of_every_event_of_a_run_and_of_its_resumption(images, plugin, tmp_path):
    path = plugin(EVERY)
    zoo = catalogue_with(path)
    run = small("gan", images(), zoo=zoo, steps=2, sample_every=2, save_every=2, track="zz_watcher")
    folder = launch.start(run, tmp_path / "run", Told())
    launch.resume(zoo, folder, 3, Told())
    assert path.with_suffix(".txt").read_text().splitlines() == [
        "started 0 gan image run",
        "sampled 0 000000.png (64, 1, 16, 16)",
        "logged 1 d/real d/fake g/fake",
        "logged 2 d/real d/fake g/fake",
        "sampled 2 000002.png (64, 1, 16, 16)",
        "saved 2 000002.safetensors",
        "finished 2 ''",
        "started 2 gan image run",
        "logged 3 d/real d/fake g/fake",
        "sampled 3 000003.png (64, 1, 16, 16)",
        "saved 3 000003.safetensors",
        "finished 3 ''",
    ]


def test_a_plugin_that_is_not_named_is_told_nothing(images, plugin, tmp_path):
    path = plugin(EVERY)
    launch.start(small("gan", images(), zoo=catalogue_with(path), steps=1), tmp_path / "run", Told())
    assert not path.with_suffix(".txt").exists()


@pytest.mark.parametrize("hook", ["started", "logged", "sampled", "saved", "finished"])
def test_a_tracker_that_raises_is_switched_off_and_the_run_goes_on_unchanged(hook, images, plugin, tmp_path):
    path = plugin(f"""
        import torch
        @hookimpl
        def ganzoo_run_{hook}():
            with Path(__file__).with_suffix(".count").open("a") as file: file.write("x")
            torch.rand(3)
            raise SystemExit("tired")
    """)
    told = Told()
    every = {"steps": 3, "sample_every": 1, "save_every": 1}
    watched = launch.start(small("gan", images(), zoo=catalogue_with(path), track="zz_watcher", **every), tmp_path / "watched", told)
    plain = launch.start(small("gan", images(), **every), tmp_path / "plain", Told())
    assert [w for w in told.warnings if "zz_watcher" in w and "switched off" in w and "tired" in w] == told.warnings
    assert len(told.warnings) == 1
    assert path.with_suffix(".count").read_text() == "x"
    last = "checkpoints/000003.safetensors"
    assert checkpoint.read(watched / last)[0].keys() == checkpoint.read(plain / last)[0].keys()
    assert (watched / "generator.safetensors").read_bytes() == (plain / "generator.safetensors").read_bytes()


def test_the_end_of_a_run_that_fails_is_told_with_the_reason(images, plugin, tmp_path):
    path = plugin(EVERY)
    run = small("gan", images(), parts={"strategy": {"lr_g": 1e30}}, zoo=catalogue_with(path), steps=3, track="zz_watcher")
    with pytest.raises(Exception, match="finite"):
        launch.start(run, tmp_path / "run", Told())
    assert "not a finite number" in path.with_suffix(".txt").read_text().splitlines()[-1]


def test_a_tracker_may_refuse_a_run_before_its_first_step(images, plugin, tmp_path):
    path = plugin("@hookimpl\ndef ganzoo_run_started(): raise UsageError('pip install something')")
    with pytest.raises(UsageError, match="pip install something"):
        launch.start(small("gan", images(), zoo=catalogue_with(path), track="zz_watcher"), tmp_path / "run", Told())
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_refuses_to_go_on_with_a_run_leaves_it_as_it_was(images, plugin, tmp_path):
    path = plugin("@hookimpl\ndef ganzoo_run_started(run):\n    if run.step: raise UsageError('no server')")
    zoo = catalogue_with(path)
    folder = launch.start(small("gan", images(), zoo=zoo, steps=2, track="zz_watcher"), tmp_path / "run", Told())
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != "LOCK"}
    with pytest.raises(UsageError, match="no server"):
        launch.resume(zoo, folder, 3, Told())
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != "LOCK"} == before


def test_an_unknown_tracker_is_refused_for_a_new_run_and_left_out_of_a_resumed_one(images, plugin, tmp_path):
    path = plugin(EVERY)
    with pytest.raises(UsageError, match="Did you mean 'zz_watcher'"):
        small("gan", images(), zoo=catalogue_with(path), track="zz_wacher")
    folder = launch.start(small("gan", images(), zoo=catalogue_with(path), steps=1, track="zz_watcher"), tmp_path / "run", Told())
    told = Told()
    launch.resume(catalogue_with(), folder, 2, told)
    assert any("goes on without it" in w for w in told.warnings)


def test_a_tracker_that_is_gone_takes_no_other_with_it(plugin):
    told = []
    assert [p.name for p in catalogue_with(plugin(EVERY)).trackers("gone, zz_watcher", told.append)] == ["zz_watcher"]
    assert len(told) == 1
    assert "'gone'" in told[0]


def test_tensorboards_own_reader_finds_scalars_sheets_and_hyper_parameters(images, ganzoo, tmp_path):
    every = "--track=tensorboard", "--log-every=1", "--sample-every=2", "--save-every=2"
    measured = "--eval-every=3", "--metric=fid", "--features=pixels", "--eval-n=20"
    done = ganzoo("run", "gan", "--dataset", images(), "--steps=4", "--batch-size=4", *every, *measured, f"--out={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert ganzoo("resume", tmp_path / "run", "--steps", 6).returncode == 0
    code = f"""
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
a = EventAccumulator({str(tmp_path / "run" / "tensorboard")!r}); a.Reload()
assert [e.step for e in a.Scalars("d/real")] == [1, 2, 3, 4, 5, 6], a.Scalars("d/real")
assert [e.step for e in a.Images("samples")] == [0, 2, 4, 6], a.Images("samples")
assert a.Images("samples")[0].width > 100
assert [e.step for e in a.Scalars("evaluation/fid (pixels)")] == [3, 4, 6]
start = a.summary_metadata["_hparams_/session_start_info"].plugin_data.content
told = metadata.parse_session_start_info_plugin_data(start).hparams
assert told["generator"].string_value == "mlp" and told["strategy.lr_g"].number_value == 1e-3, told
"""
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr


def test_tensorboard_that_is_not_installed_refuses_the_run_with_the_remedy(images, ganzoo, tmp_path):
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "__init__.py").write_text("raise ModuleNotFoundError('no tensorboard')")
    words = ("run", "gan", "--dataset", images(), "--track", "tensorboard", "--out", tmp_path / "run")
    done = ganzoo(*words, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert "pip install tensorboard" in done.stderr
    assert "Traceback" not in done.stderr


COMMANDS = """
import click
@hookimpl
def ganzoo_commands(cli):
    @cli.command()
    @click.argument("name")
    def greet(name):
        "Say hello."
        click.echo(f"hello {name}")
    @cli.command("run")
    def mine(): click.echo("not ganzoo's")
"""


def test_a_plugin_adds_commands_and_cannot_replace_ours(plugin, ganzoo):
    path = plugin(COMMANDS)
    assert ganzoo("--plugin", path, "greet", "you").stdout == "hello you\n"
    assert "greet" in ganzoo("--help", f"--plugin={path}").stdout
    assert "not ganzoo's" not in ganzoo("run", "--help", "--plugin", path).stdout
    assert "command run REFUSED: ganzoo itself has it" in ganzoo("plugins", "--plugin", path).stdout
    missed = ganzoo("greeet", "--plugin", path)
    assert missed.returncode == 2
    assert "Did you mean 'greet'" in missed.stderr


def test_a_command_that_two_plugins_add_is_given_to_neither(plugin, ganzoo):
    paths = "--plugin", plugin(COMMANDS, "zz_one"), "--plugin", plugin(COMMANDS, "zz_two")
    assert ganzoo(*paths, "greet", "you").returncode == 2
    told = ganzoo("plugins", *paths).stdout
    assert told.count("command greet REFUSED: local/zz_one and local/zz_two has it") == 2


def test_a_plugin_whose_commands_fail_harms_no_other(plugin, ganzoo):
    path = plugin("@hookimpl\ndef ganzoo_commands(cli): 1 / 0")
    assert ganzoo("--help", "--plugin", path).returncode == 0
    assert "ganzoo_commands raised ZeroDivisionError" in ganzoo("plugins", "--plugin", path).stdout


LOCAL = """
from ganzoo import Loss, LossPart
class Sum(Loss):
    def discriminator(self, D, x_real, x_fake, *, t): return {"real": -D(x_real).mean(), "fake": D(x_fake).mean()}
    def generator(self, D, x_fake, x_real, *, t): return {"fake": -D(x_fake).mean()}
@hookimpl
def ganzoo_register(): return [LossPart("zz-sum", "zz_local:Sum", "a sum")]
"""


def test_a_plugin_named_by_its_path_trains_and_its_run_asks_for_it_again(plugin, images, ganzoo, tmp_path):
    path = plugin(LOCAL, "zz_local")
    words = "--steps=2", "--batch-size=4", "--loss=zz-sum", "--plugin", path
    done = ganzoo("run", "gan", "--dataset", images(), *words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    without = ganzoo("resume", tmp_path / "run", "--steps", 3)
    assert without.returncode == 2
    assert "plugin zz_local of local" in without.stderr
    assert "--plugin PATH" in without.stderr
    path.write_text(path.read_text() + "# changed\n")
    changed = ganzoo("resume", tmp_path / "run", "--steps", 3, "--plugin", path)
    assert changed.returncode == 0
    assert "was made with local/zz_local" in changed.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [("raise ValueError('no')", "ValueError: no"), ("GANZOO_API = 7", "interface 7"), ("", "registers nothing"), (None, "a .py file")],
)
def test_a_path_that_is_no_plugin_is_refused_with_the_reason(source, said, plugin, ganzoo, tmp_path):
    path = tmp_path / "nothing" if source is None else plugin(source)
    done = ganzoo("list", "--plugin", path)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_path_cannot_take_the_place_of_an_installed_module(ganzoo):
    done = ganzoo("list", "--plugin", ROOT / "plugins" / "ganzoo_gan")
    assert done.returncode == 2
    assert "'ganzoo_gan' is installed already" in done.stderr


def test_nothing_is_loaded_from_the_working_directory(ganzoo, tmp_path):
    (tmp_path / "evil.py").write_text(HEAD + "print('evil was here')")
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ganzoo]\nevil = evil\n")
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("print('evil was here')")
    for words in (["plugins"], ["list"], ["doctor"]):
        done = ganzoo(*words, cwd=tmp_path, from_scratch=True)
        assert done.returncode == 0, done.stderr
        assert "evil" not in done.stdout + done.stderr
