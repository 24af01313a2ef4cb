"""Code and files of others: whose fault it was is said, and nothing of them reaches a terminal raw."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from test_loop import start
from zoo import small

from ganzoo.errors import clean, one_line
from ganzoo.runs import checkpoint


def test_a_plugin_that_loops_at_import_is_named_after_control_c(tmp_path):
    (tmp_path / "endless.py").write_text("import pathlib, time\npathlib.Path('begun').touch()\nwhile True: time.sleep(0.05)\n")
    words = [sys.executable, "-m", "ganzoo", "list", "--plugin", "endless.py"]
    heeds = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  a shell's background job ignores it, and so do its children
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heeds)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "while --plugin" in said
    assert "endless.py was imported" in said


def test_nothing_in_the_working_directory_is_imported_by_a_child(tmp_path, ganzoo):
    for name in ("ganzoo", "torch", "random", "click"):
        (tmp_path / f"{name}.py").write_text(f"open('imported {name}', 'w')\n")
    words = ("compare", "gan", "--dataset=ring", "--steps=1", "--seeds=1", "--checkpoints=1", "-n", "50", "--out=out")
    done = ganzoo(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("imported*"))


def test_control_characters_are_written_out():
    assert clean("a\x1b[2Jb\n\u202ec") == "a\\x1b[2Jb\n\\u202ec"
    assert one_line("a\nError: b\t\x9b") == "a\\nError: b\\t\\x9b"
    assert clean("Zoë 漢字 👩‍🎨") == "Zoë 漢字 👩‍🎨"


EVIL = "\x1b[31mred\x07\nError: forged"


def no_control(done):
    text = done.stdout + done.stderr
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\nError: forged" not in text


def test_names_in_files_reach_no_terminal_raw(images, tmp_path, ganzoo):
    folder = start(small("acgan", images(3), steps=2), tmp_path / "run")
    path = folder / "generator.safetensors"
    tensors, meta = checkpoint.read(path)
    meta["data"]["fields"]["y"]["names"] = [EVIL, "b", "c"]
    checkpoint.write(tmp_path / "g.safetensors", tensors, meta)
    no_control(ganzoo("sample", tmp_path / "g.safetensors", "--labels", "nothing"))
    for key in ("part", "role", "export", "network"):
        checkpoint.write(tmp_path / "g.safetensors", tensors, meta | {key: EVIL})
        no_control(ganzoo("sample", tmp_path / "g.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"recipe": EVIL}))
    for command in ("resume", "evaluate", "sample"):
        no_control(ganzoo(command, folder))


def test_a_file_cannot_put_a_command_into_our_mouth(images, tmp_path, ganzoo):
    folder = start(small("gan", images(), steps=2), tmp_path / "run")
    tensors, meta = checkpoint.read(folder / "generator.safetensors")
    meta["plugins"] = {"evil; rm -rf ~/x": "1"}
    checkpoint.write(tmp_path / "g.safetensors", tensors, meta)
    done = ganzoo("sample", tmp_path / "g.safetensors")
    assert done.returncode == 2
    assert "pip install" not in done.stderr
    meta["plugins"] = {"ganzoo-theirs/theirs": "1.2.0"}
    checkpoint.write(tmp_path / "g.safetensors", tensors, meta)
    assert "pip install ganzoo-theirs==1.2.0" in ganzoo("sample", tmp_path / "g.safetensors").stderr


def test_names_of_images_and_folders_reach_no_terminal_raw(tmp_path, ganzoo):
    from test_data import folder_of, good

    files = {f"{EVIL}/{name}": data for name, data in good(20).items()}
    folder = folder_of(tmp_path / "d", files | {f"cat/{EVIL}.png": b"x", "cat/a.png": b"y", "cat/b.png": good(1)["good0000.png"]})
    done = ganzoo("run", "gan", "--dataset", folder, "--steps=1", "--image-size=8", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    no_control(done)
    assert "left out" in done.stderr


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    from ganzoo.files import UNFINISHED, remove_leftovers

    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    gone, own = tmp_path / f"{UNFINISHED}{child.stdout.strip()}-report.html", tmp_path / f"{UNFINISHED}{os.getpid()}-report.html"
    gone.touch()
    own.touch()
    remove_leftovers(tmp_path)
    assert gone.exists()  # it is young: on another machine its process may be at work
    remove_leftovers(tmp_path, 0)
    assert (gone.exists(), own.exists()) == (False, True)


FLAT = """
import ganzoo
from torch import nn

GANZOO_API = 1

def forward(self, x):
    x = self.first(x)
    return self.last({}).squeeze(1)

def __init__(self, spec, options):
    ganzoo.Discriminator.__init__(self, spec, options)
    self.first, self.last = nn.Conv2d(spec.shape[0], 4, 3, 2, 1), nn.Linear(4 * 16 * 16, 1)

globals()["Fl" + "at"] = type("Flat", (ganzoo.Discriminator,), {{"__init__": __init__, "forward": forward}})

@ganzoo.hookimpl
def ganzoo_register():
    return [ganzoo.NetworkPart("flat", "zz_flat:Flat", "flat", role="discriminator", takes=("x",), gives=("logits",))]
"""


def test_view_of_pictures_in_channels_last_is_refused_before_step_0_and_a_file_may_make_its_classes(tmp_path, ganzoo, images):
    words = ("run", "--plugin", "zz_flat.py", "dcgan", "--discriminator", "flat", "--dataset", images(3, 32), "--steps", 1, "--out", "run")
    for says, status in (("x.view(len(x), -1)", 1), ("x.flatten(1)", 0)):
        (tmp_path / "zz_flat.py").write_text(FLAT.format(says))
        done = ganzoo(*words, "--batch-size", 4, "--generator.width", 4, cwd=tmp_path)
        assert done.returncode == status, done.stderr
        assert (tmp_path / "run").exists() == (status == 0)
        if status:
            assert "plugin zz_flat of local" in done.stderr
            assert "use flatten(1) or reshape" in done.stderr
