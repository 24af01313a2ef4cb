"""The command line as its user meets it: statuses, sentences, what it prints, what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from zoo import flags, prepare, small

HEAVY = ("torch", "torchvision", "numpy")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["--version"], ["list"], ["list", "--kind", "all"], ["list", "--json"], ["show", "dcgan"], ["show", "wgan-gp"],
        ["show", "celeba"], ["plugins"], ["run", "--help"], ["run", "wgan", "--help"], ["run", "dcgan", "--loss", "hinge", "--help"],
        ["resume", "--help"], ["sample", "--help"], ["augment", "--help"], ["prepare", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_trains_nothing_imports_no_torch(words):
    code = f"""
import sys
from ganzoo.cli import main
try:
    main({words!r})
except SystemExit as e:
    assert not e.code, e.code
bad = [name for name in {HEAVY!r} if name in sys.modules]
assert not bad, bad
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_list_names_each_recipe_with_paper_year_and_origin(ganzoo):
    rows = [line.split("\t") for line in ganzoo("list").stdout.splitlines()]
    assert {row[0] for row in rows} >= {"gan", "dcgan", "wgan", "wgan-gp", "began", "acgan"}
    dcgan = next(row for row in rows if row[0] == "dcgan")
    assert dcgan[2:4] == ["arXiv:1511.06434", "2015"]
    assert dcgan[4].startswith("pyganzoo ")


def test_list_takes_patterns_kinds_and_keys(ganzoo):
    names = lambda *words: [e["name"] for e in json.loads(ganzoo("list", *words, "--json").stdout)]  # noqa: E731
    assert names("*wgan*") == ["wgan", "wgan-gp"]
    assert {"minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "wgan-gp", "r1"} <= set(names("--kind", "loss"))
    labelled = names("--kind", "dataset", "--with", "y")
    assert "fashion-10k" in labelled
    assert "ring" not in labelled
    done = ganzoo("list", "dcgn")
    assert (done.returncode, "Did you mean 'dcgan'" in done.stderr) == (2, True)


def test_show_tells_options_with_defaults_and_sources(ganzoo):
    text = ganzoo("show", "wgan").stdout
    for said in ("Wasserstein GAN", "arXiv:1701.07875", "--strategy.n-critic", "Algorithm 1", "--strategy.clip", "0.01", "32, 64, 128"):
        assert said in text
    assert "with labels" in ganzoo("show", "acgan").stdout


def test_help_of_a_recipe_shows_the_options_of_the_parts_that_are_named(ganzoo):
    own = ganzoo("run", "wgan", "--help").stdout
    assert "--strategy.n-critic" in own
    assert "--loss.gamma" not in own
    swapped = ganzoo("run", "dcgan", "--loss", "r1", "--discriminator=dcgan-critic", "--help").stdout
    assert "--loss.gamma" in swapped
    assert "--discriminator.norm" in swapped


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runn"], "Did you mean 'run'"),
        (["run", "dcgn"], "Did you mean 'dcgan'"),
        (["run", "dcgan", "--loss", "hing"], "Did you mean 'hinge'"),
        (["run", "dcgan", "--step", "3"], "Did you mean '--steps'"),
        (["run", "dcgan", "--steps", "many"], "--steps"),
        (["run", "dcgan", "--steps", "0"], "--steps: wanted at least 1, got 0"),
        (["run", "wgan", "--strategy.n-critic", "0"], "--strategy.n-critic: wanted at least 1"),
        (["run", "dcgan", "--dataset", "fashion10k"], "Did you mean 'fashion-10k'"),
        (["run", "dcgan", "--dataset", "./no/such/folder"], "no/such/folder"),
        (["run", "dcgan", "--dataset", "ring"], "works on image"),
        (["run", "dcgan", "--image-size", "33"], "16, 32, 64, 128, 256 pixels a side, got 33"),
        (["run", "dcgan", "--loss", "began"], "Those that do: began-autoencoder"),
        (["run", "acgan", "--dataset", "ring"], "labels `y`"),
        (["run", "dcgan", "--device", "cuda"], "--device cuda"),
        (["run", "dcgan", "--labels", "Male"], "--labels"),
        (["run", "dcgan", "--config", "/no/such/file.json"], "cannot be read"),
        (["run", "dcgan", "--dataset", "my/photos"], "no data set and no file is called"),
        (["run", "dcgan", "--loss", "minimax", "--loss", "hing"], "Did you mean 'hinge'"),
        (["run", "--dataset", "ring", "gan"], "the recipe comes first"),
        (["resume", "/no/such/run"], "is no run"),
        (["sample", "/no/such/file.safetensors"], "does not exist"),
        (["show", "dcgn"], "Did you mean"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_a_sentence(words, said, ganzoo, tmp_path):
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    done = ganzoo(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_traceback_is_shown_with_debug_only(ganzoo):
    assert "Traceback" not in ganzoo("run", "dcgn").stderr
    shown = ganzoo("run", "dcgn", "--debug")
    assert "Traceback" in shown.stderr
    assert shown.returncode == 2


def test_nothing_found_is_said(ganzoo):
    done = ganzoo("list", "--kind", "dataset", "--with", "x_a")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No dataset has or takes 'x_a'" in done.stderr


def test_a_report_takes_the_place_of_no_other_file(ganzoo, images, tmp_path):
    assert ganzoo("run", "gan", "--dataset", images(), "--steps", "1", "--out", tmp_path / "run").returncode == 0
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "notes.html").write_text("mine")
    for name, said in (("notes.md", "as notes.html; got notes.md"), ("notes.html", "is no report of ganzoo's")):
        done = ganzoo("report", tmp_path / "run", "--files-only", "--out", tmp_path / name)
        assert done.returncode == 2
        assert said in done.stderr
        assert (tmp_path / name).read_text() == "mine"
    for _ in range(2):  # its own page it may write again
        assert ganzoo("report", tmp_path / "run", "--files-only").returncode == 0


def test_an_output_that_no_loss_teaches_is_told(ganzoo, images, tmp_path):
    words = ("--dataset", "fashion-10k", "--steps", "1", "--discriminator.width", "4", "--generator.width", "4", "--batch-size", "4")
    for loss, said in (("hinge", True), ("acgan", False)):
        done = ganzoo("run", "acgan", "--loss", loss, *words, "--out", tmp_path / loss)
        assert done.returncode == 0, done.stderr
        assert ("does not teach D its class_logits" in done.stderr) == said
        assert "losses.png" not in done.stdout  # of one line there is no curve
    Image.new("L", (50, 40), 90).save(tmp_path / "large.png")
    done = ganzoo("apply", tmp_path / "acgan", tmp_path / "large.png", "--network", "classifier", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "out" / "labels.csv") in done.stdout


def test_dry_run_prints_everything_and_makes_nothing(ganzoo, images, tmp_path):
    done = ganzoo("run", "wgan", "--dataset", images(3, 32), "--strategy.clip", "0.02", "--dry-run", cwd=tmp_path)
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert told["options"]["strategy"]["clip"] == 0.02
    assert told["options"]["strategy"]["n_critic"] == 2
    assert told["run"]["image_size"] == "32"
    assert told["shapes"]["generator"] == {"z": ["N", 100], "gives": ["N", 3, 32, 32]}
    assert told["parameters"]["G"] > 100_000
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def finished(ganzoo, images, tmp_path_factory):
    """A finished run of acgan, made by the command line."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = ganzoo("run", *flags(small("acgan", images(3), steps=3)), "--steps=3", f"--out={folder}")
    assert done.returncode == 0, done.stderr
    assert f"ganzoo sample {folder}" in done.stdout
    return folder


def test_a_run_is_repeated_from_its_config(ganzoo, finished, tmp_path):
    done = ganzoo("run", "acgan", "--config", finished / "config.json", "--seed", "7", "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((folder / "config.json").read_text()) for folder in (finished, tmp_path / "again"))
    assert two["run"].pop("seed") == 7
    one["run"].pop("seed")
    assert (one["run"], one["options"], one["parts"]) == (two["run"], two["options"], two["parts"])


@pytest.mark.parametrize(
    "text",
    ["5", '{"run": 5}', '{"parts": {"loss": 3}}', '{"options": []}', '{"options": {"loss": 1}}', '{"parts": {"los": "x"}}', "[" * 9999],
)
def test_a_config_of_another_shape_is_refused_in_a_sentence(text, ganzoo, tmp_path):
    (tmp_path / "c.json").write_text(text)
    done = ganzoo("run", "dcgan", "--config", tmp_path / "c.json")
    assert done.returncode == 2, done.stderr
    assert "should not happen" not in done.stderr


def test_dry_run_can_be_read_by_a_program_on_a_cold_cache(ganzoo, images, tmp_path):
    done = ganzoo("run", "gan", "--dataset", images(), "--dry-run", env={"GANZOO_CACHE": str(tmp_path)})
    assert json.loads(done.stdout)["recipe"] == "gan"


def test_a_run_survives_a_reader_who_goes_away(images, tmp_path):
    words = " ".join(flags(small("gan", images())))
    folder = tmp_path / "run"
    command = f"{sys.executable} -m ganzoo run {words} --steps 300 --sample-every 20 --out {folder} 2>/dev/null | head -1"
    subprocess.run(command, shell=True, check=True, capture_output=True)
    limit = 60
    while not (folder / "checkpoints" / "000300.safetensors").exists():
        limit -= 1
        assert limit
        time.sleep(0.5)


def test_no_colour_is_no_colour(ganzoo):
    assert "\x1b" not in ganzoo("show", "dcgan", env={"NO_COLOR": "1", "FORCE_COLOR": ""}).stdout


def test_a_generator_file_is_not_believed_before_it_is_compared(ganzoo, finished, tmp_path):
    """A header that claims a network of gigabytes is refused without making one."""
    from ganzoo.runs import checkpoint

    tensors, said = checkpoint.read(finished / "generator.safetensors")
    del said["format"]
    said["options"]["width"] = 60_000
    checkpoint.write(tmp_path / "generator.safetensors", tensors, said)
    done = ganzoo("sample", tmp_path)
    assert done.returncode == 1
    assert "does not fit" in done.stderr
    for field in ("data", "options", "plugins", "part", "takes", "gives"):
        checkpoint.write(tmp_path / "generator.safetensors", tensors, {**said, field: 5})
        assert ganzoo("sample", tmp_path).returncode == 2


def test_an_empty_folder_is_called_one(ganzoo, tmp_path):
    done = ganzoo("run", "dcgan", "--dataset", tmp_path)
    assert (done.returncode, "got no files." in done.stderr) == (2, True)


def test_runs_are_numbered(ganzoo, images, tmp_path):
    for _ in range(2):
        assert ganzoo("run", *flags(small("gan", images())), "--steps=1", cwd=tmp_path).returncode == 0
    stem = images().stem
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [f"gan-{stem}-001", f"gan-{stem}-002"]


def test_sampling_needs_the_file_alone(ganzoo, finished, tmp_path):
    alone = tmp_path / "generator.safetensors"
    alone.write_bytes((finished / "generator.safetensors").read_bytes())
    env = {"GANZOO_CACHE": str(tmp_path / "empty")}
    done = ganzoo("sample", alone, "--labels", "2,2,0", env=env)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sample-0.png") as sheet:
        assert sheet.mode == "RGB"
    done = ganzoo("sample", alone, "--folder", "-n", "5", "--labels", "1", env=env)
    assert [p.name for p in sorted((tmp_path / "samples-0").iterdir())] == [f"{i:06d}-class-1.png" for i in range(5)]
    with Image.open(tmp_path / "samples-0" / "000000-class-1.png") as image:
        assert image.size == (16, 16)


def test_the_seed_decides_what_is_drawn(ganzoo, finished, tmp_path):
    drawn = []
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        assert ganzoo("sample", finished, "--seed", seed, "--out", tmp_path / f"{name}.png").returncode == 0
        drawn.append((tmp_path / f"{name}.png").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_interpolation_goes_from_one_latent_to_another(ganzoo, finished, tmp_path):
    done = ganzoo("sample", finished, "--interpolate", "-n", "16", "--out", tmp_path / "i.png")
    assert done.returncode == 0, done.stderr
    from ganzoo.randomness import between

    ends = torch.randn(4, 7)
    rows = between(ends, 8).view(2, 8, 7)
    assert torch.allclose(rows[:, 0], ends[0::2], atol=1e-5)
    assert torch.allclose(rows[:, -1], ends[1::2], atol=1e-5)


@pytest.mark.parametrize(("labels", "said"), [("9", "0 to 2"), ("cat", "'cat'")])
def test_a_class_that_there_is_not_is_refused(labels, said, ganzoo, finished):
    done = ganzoo("sample", finished, "--labels", labels)
    assert (done.returncode, said in done.stderr) == (2, True)


def test_samples_are_drawn_from_a_checkpoint_of_a_run_and_not_without_the_run_or_from_a_damaged_file(ganzoo, finished, tmp_path):
    checkpoint = finished / "checkpoints" / "000003.safetensors"
    assert ganzoo("sample", checkpoint, "--out", tmp_path / "a.png").returncode == 0
    assert ganzoo("sample", finished, "--out", tmp_path / "b.png").returncode == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    (tmp_path / "alone.safetensors").write_bytes(checkpoint.read_bytes())
    done = ganzoo("sample", tmp_path / "alone.safetensors")
    assert (done.returncode, "is a checkpoint of acgan without its run" in done.stderr) == (2, True)
    bad = tmp_path / "generator.safetensors"
    bad.write_bytes((finished / "generator.safetensors").read_bytes()[:-1])
    assert ganzoo("sample", bad).returncode == 1


def test_a_run_whose_plugin_is_gone_names_it(ganzoo, finished):
    env = {"GANZOO_DISABLE_PLUGINS": "acgan"}
    for words in (["resume", finished, "--steps", "5"], ["sample", finished]):
        done = ganzoo(*words, env=env)
        assert done.returncode == 2
        assert "plugin acgan of pyganzoo" in done.stderr
        assert "disabled" in done.stderr


def test_plugins_and_doctor_tell_what_a_bug_report_needs(ganzoo):
    told = json.loads(ganzoo("plugins", "--json").stdout)
    assert all(p["state"] == "ok" and p["location"] and p["seconds"] < 1 for p in told)
    told = json.loads(ganzoo("doctor", "--json").stdout)
    assert told["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert told["machine"]["threads"] == 1
    assert told["cache"]["folder"] == os.environ["GANZOO_CACHE"]
    assert set(told["plugins"]) == {p["name"] for p in json.loads(ganzoo("plugins", "--json").stdout)}


def test_the_shell_completes_commands_recipes_and_options(ganzoo):
    def complete(words):
        env = {"_GANZOO_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - (words[-1] != " "))}
        return ganzoo(env=env).stdout

    assert "plain,resume" in complete("ganzoo res")
    assert "plain,wgan-gp" in complete("ganzoo run wg")
    assert "--strategy.n-critic" in complete("ganzoo run wgan --strategy.n")
    assert "plain,fashion-10k" in complete("ganzoo run dcgan --dataset fash")


def test_the_display_of_a_terminal_draws_a_run(images, tmp_path, monkeypatch, capsys):
    from rich.console import Console

    from ganzoo.cli import display
    from ganzoo.training import launch

    monkeypatch.setattr(display, "is_terminal", lambda: True)
    monkeypatch.setattr(display, "Console", lambda **_: Console(force_terminal=True, width=100, color_system="truecolor"))
    config = small("dcgan", images(), steps=3, sample_every=1)
    with display.Display() as shown:
        launch.start(config, tmp_path / "run", shown)
        shown.warned("something odd")
    text = capsys.readouterr().out
    for said in ("images/s", "d/real", "3/3", "something odd", "▀", "samples of step 3"):
        assert said in text


def test_one_sample_of_each_seed_is_the_first_of_that_seed(ganzoo, finished, tmp_path):
    assert ganzoo("sample", finished, "--seeds", "3-5,42", "--folder", "--out", tmp_path / "each").returncode == 0
    each = sorted((tmp_path / "each").iterdir())
    assert len(each) == 4
    for path, seed in zip(each, (3, 4, 5, 42), strict=True):
        out = tmp_path / f"of {seed}"
        assert ganzoo("sample", finished, "--seed", seed, "-n", "3", "--folder", "--out", out).returncode == 0
        assert sorted(out.iterdir())[0].read_bytes() == path.read_bytes()
    for wrong in ("3-1", "x", "", "1,,2", "0-99999999", "-1"):
        done = ganzoo("sample", finished, f"--seeds={wrong}")
        assert (done.returncode, "--seeds: wanted" in done.stderr) == (2, True)
    assert "leave -n" in ganzoo("sample", finished, "--seeds=1", "-n", "3").stderr


def test_a_sheet_never_takes_the_place_of_another(ganzoo, finished):
    before = set(finished.iterdir())
    for words in ((), ("--interpolate",), ("-n", "4"), ("--labels", "1"), ("--network", "generator"), ("--folder",), ("--folder",)):
        assert ganzoo("sample", finished, *words).returncode == 0
    assert len(set(finished.iterdir()) - before) == 7


@pytest.mark.parametrize(("name", "format"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP"), ("a.gif", "GIF"), ("a.bmp", "BMP")])
def test_a_sheet_is_written_as_its_name_says(ganzoo, finished, tmp_path, name, format):
    assert ganzoo("sample", finished, "--out", tmp_path / name).returncode == 0
    with Image.open(tmp_path / name) as sheet:
        assert sheet.format == format


def test_a_sheet_that_cannot_be_written_as_its_name_says_is_refused(ganzoo, finished, tmp_path):
    for name in ("a.mp4", "a", "a.tiff", "a.png.txt"):
        done = ganzoo("sample", finished, "--out", tmp_path / name)
        assert (done.returncode, "--out: wanted a name that ends in .png" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_told_of_and_draw_nothing(ganzoo, finished, tmp_path):
    from ganzoo.runs import checkpoint

    tensors, meta = checkpoint.read(finished / "generator.safetensors")
    name = next(name for name in tensors if name.endswith("weight"))
    checkpoint.write(tmp_path / "g.safetensors", tensors | {name: tensors[name] * float("nan")}, meta)
    done = ganzoo("sample", tmp_path / "g.safetensors")
    assert (done.returncode, "not a finite number" in done.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


def test_an_option_without_its_part_names_those_that_there_are(ganzoo):
    done = ganzoo("run", "dcgan", "--lr", "0.1")
    assert done.returncode == 2
    assert "there is no option --lr. There is --strategy.lr-g, --strategy.lr-d" in done.stderr


def test_a_recipe_shows_how_its_paper_is_cited(ganzoo):
    shown = ganzoo("show", "dcgan", "--kind", "recipe").stdout
    assert "@misc{radford2015dcgan," in shown
    assert "author = {Alec Radford and Luke Metz and Soumith Chintala}" in shown
    assert "eprint = {1511.06434}, archivePrefix = {arXiv}" in shown


def test_every_recipe_of_ganzoo_can_be_cited():
    from ganzoo.cli.browse import bibtex
    from ganzoo.registry.catalogue import catalogue

    recipes = [e.record for e in catalogue().entries("recipe") if e.plugin.distribution == "pyganzoo"]
    assert all(bibtex(recipe).count("{") == bibtex(recipe).count("}") > 5 for recipe in recipes)


def test_prepare_fills_the_cache_and_writes_parts(ganzoo, images, tmp_path):
    whole = ganzoo("prepare", images(), "--image-size", "8")
    assert whole.returncode == 0
    for k in (1, 2):
        assert ganzoo("prepare", images(), "--image-size", "8", "--part", f"{k}/2", "--out", tmp_path / "parts").returncode == 0
    assert ganzoo("prepare", tmp_path / "parts").stdout.splitlines()[0] == whole.stdout.splitlines()[0]
    for words, told in ((["--part", "3/2", "--out", tmp_path], "wanted K/N"), (["--part", "1/2"], "belong together")):
        refused = ganzoo("prepare", images(), *words)
        assert (refused.returncode, told in refused.stderr) == (2, True)


def test_augment_writes_pictures_of_each_class_that_read_back_as_a_labelled_folder(ganzoo, finished, images, tmp_path):
    out = tmp_path / "more"
    done = ganzoo("augment", finished, "--per-class", "3", "--out", out)
    assert done.returncode == 0
    assert "3 pictures of each of 3 classes" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == ["class-0", "class-1", "class-2"]
    data = prepare(out)
    assert data.spec.classes == 3
    assert sorted(data.mapped["y"].tolist()) == [0] * 3 + [1] * 3 + [2] * 3
    # Number i of a class is what `sample --labels` draws there.
    ganzoo("sample", finished, "--folder", "-n", "9", "--out", tmp_path / "same")
    first = next((tmp_path / "same").glob("000004-class-1.png"))
    assert first.read_bytes() == sorted((out / "class-1").iterdir())[1].read_bytes()
    again = ganzoo("augment", finished, "--per-class", "1", "--out", out)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert "--seed" in again.stderr
    assert ganzoo("augment", finished, "--per-class", "1", "--seed", "1", "--labels", "2", "--out", out).returncode == 0
    assert [len(list(folder.iterdir())) for folder in sorted(out.iterdir())] == [3, 3, 4]
    plain = tmp_path / "plain"
    assert ganzoo("run", *flags(small("dcgan", images(), steps=1)), "--steps=1", f"--out={plain}").returncode == 0
    refused = ganzoo("augment", plain, "--out", tmp_path / "no")
    assert refused.returncode == 2
    assert "takes no class" in refused.stderr
    assert not (tmp_path / "no").exists()
