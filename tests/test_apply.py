"""`ganzoo apply`: what of a picture comes back, what is refused before anything is computed, and that holes alone are filled."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms

from ganzoo.cli.apply import apply_command
from ganzoo.errors import GanzooError
from ganzoo.registry import catalogue as registry
from ganzoo.registry import discovery
from ganzoo.runs.exported import Exported

#: Generators that turn colours round, so that what must come out is known: 255 - x, of twice the size, from grey, in holes.
PLUGIN = """
import torch
from torch import nn
import ganzoo
from ganzoo import NetworkPart, Recipe, hookimpl

GANZOO_API = 1

class Negative(ganzoo.Generator):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.w = nn.Parameter(torch.ones(()))
        self.times, self.channels = spec.shape[1] // spec.fields["source"].shape[1], spec.shape[0]
    def forward(self, source):
        x = nn.functional.interpolate(-source, scale_factor=self.times, mode="nearest")
        return x.expand(-1, self.channels, -1, -1) + 0 * self.w

def recipe(name, network, degradation):
    parts = {"generator": network, "discriminator": "mlp", "loss": "hinge", "strategy": "alternating"}
    return Recipe(name, name, parts, degradation=degradation)

@hookimpl
def ganzoo_register():
    return [
        NetworkPart("zz-any", "zz_negative:Negative", role="generator", takes=("source",), gives=("x",), multiple=2),
        NetworkPart("zz-one", "zz_negative:Negative", role="generator", takes=("source",), gives=("x",)),
        recipe("zz-larger", "zz-any", "downscale"), recipe("zz-colour", "zz-any", "grey"),
        recipe("zz-fill", "zz-any", "mask"), recipe("zz-one", "zz-one", "mask"),
    ]
"""


@pytest.fixture(scope="module")
def runs(ganzoo, images, tmp_path_factory):
    """The folder of a run of each recipe; they were trained on 16 pixels, zz-larger from 8 to 16."""
    folder = tmp_path_factory.mktemp("apply")
    (folder / "zz_negative.py").write_text(PLUGIN)
    for name in ("zz-larger", "zz-colour", "zz-fill", "zz-one"):
        more = ("--degradation.factor=2",) if name == "zz-larger" else ()
        words = [
            f"--dataset={images(3)}",
            "--steps=1",
            "--batch-size=4",
            "--device=cpu",
            "--image-size=16",
            f"--out={folder / name}",
            *more,
        ]
        done = ganzoo("run", "--plugin", folder / "zz_negative.py", name, *words)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def apply(ganzoo, runs, tmp_path):
    """A function that applies a run: apply("zz-larger", path, ...) -> the process; it writes to tmp_path / "out"."""

    def call(run, *words):
        return ganzoo("apply", "--plugin", runs / "zz_negative.py", runs / run, *words, "--out", tmp_path / "out", cwd=tmp_path)

    return call


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8).squeeze()


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_of_a_picture_that_can_comes_back(apply, tmp_path):
    plain, clear = noise(7, 10), noise(7, 10, 4)
    clear[:, :5, 3], clear[0, 0, 3] = 255, 0
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(plain).save(tmp_path / "plain.png", icc_profile=profile)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    turned = Image.fromarray(noise(7, 10))
    turned.getexif()[0x0112] = 6  # a quarter to the right
    turned.save(tmp_path / "turned.bmp.png", exif=turned.getexif())
    Image.fromarray(noise(7, 10, 1)).save(tmp_path / "grey.png")
    done = apply("zz-larger", *(tmp_path / f"{name}.png" for name in ("plain", "clear", "turned.bmp", "grey")), "--compare")
    assert done.returncode == 0, done.stderr
    assert "4 through generator of step 1: " in done.stdout
    assert "Warning" not in done.stderr
    twice = (255 - plain).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(read(tmp_path / "out" / "plain.png"), twice)
    with Image.open(tmp_path / "out" / "plain.png") as picture:
        assert picture.info["icc_profile"] == profile
    made = read(tmp_path / "out" / "clear.png")
    assert made.shape == (14, 20, 4)
    assert np.array_equal(made[2:, :, :3], (255 - clear).repeat(2, 0).repeat(2, 1)[2:, :, :3])
    assert made[0, 0].tolist() == [0, 0, 0, *made[0, 0, 3:]]  # what cannot be seen is white to the network
    assert (made[6:, 2:6, 3] == 255).all()
    assert made[0, 0, 3] < 64
    assert read(tmp_path / "out" / "turned.bmp.png").shape == (20, 14, 3)
    assert np.array_equal(read(tmp_path / "out" / "turned.bmp.png"), np.rot90(twice, -1))
    assert np.array_equal(read(tmp_path / "out" / "grey.png")[..., 1], 255 - noise(7, 10, 1).repeat(2, 0).repeat(2, 1))
    sheet = read(tmp_path / "out" / "compare" / "plain.png")
    assert sheet.shape == (14, 40, 3)
    assert np.array_equal(sheet[:, 20:], twice)
    assert np.array_equal(sheet[:, :20], np.asarray(Image.fromarray(plain).resize((20, 14), Image.Resampling.BICUBIC)))


def test_what_cannot_come_back_is_told(apply, tmp_path):
    frames = [Image.fromarray(noise(8, 8)), Image.new("RGB", (8, 8))]
    frames[0].save(tmp_path / "moves.webp", save_all=True, append_images=frames[1:], lossless=True)
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(tmp_path / "deep.png")
    done = apply("zz-colour", tmp_path / "moves.webp", tmp_path / "deep.png")
    assert done.returncode == 0, done.stderr
    assert "animated: the first picture is taken: moves.webp" in done.stderr
    assert "16 bits: what is written has 8: deep.png" in done.stderr
    luma = (noise(8, 8) * np.array([0.299, 0.587, 0.114])).sum(2).round()
    assert abs(read(tmp_path / "out" / "moves.png").astype(int) - (255 - luma)[..., None]).max() <= 1  # the network sees no colour
    assert (read(tmp_path / "out" / "deep.png")[..., 0] == 255 - (np.arange(64).reshape(8, 8) * 1000 >> 8)).all()


def test_folders_patterns_and_equal_names(apply, tmp_path):
    for name in ("in/a.png", "in/A.bmp", "in/a-2.png", "more/a.png", "more/deep/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(8, 8)).save(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    before = written(tmp_path)
    done = apply("zz-larger", tmp_path / "in", "more/*.png", "more/**/b.*")
    assert done.returncode == 0, done.stderr
    assert "not taken, because its name is not that of such a file: notes.txt" in done.stderr
    assert "1 of 6 files are left out" in done.stderr
    assert "broken.jpg: it cannot be read as an image" in done.stderr
    assert "5 through generator of step 1, 1 left out" in done.stdout
    assert written(tmp_path / "out") == ["A.png", "a-2.png", "a-3.png", "a-4.png", "b.png"]
    assert set(before) < set(written(tmp_path))
    again = apply("zz-larger", tmp_path / "in")
    assert (again.returncode, "is not an empty folder" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["good.png", "typo.png"], "typo.png does not exist"),
        (["good.png", "*.tiff"], "matches no file"),
        (["good.png", "notes.txt"], "notes.txt: it cannot be read as an image: not a JPEG"),
        (["good.png", "cut.png"], "cut.png: it cannot be read as an image"),
        (["empty"], "empty: wanted a folder that holds"),
        (["broken/*"], "clip.mp4: it cannot be read as an image"),
        (["good.png", "--tile", "15"], "wanted 16 pixels or more"),
        (["good.png", "--box", "0,0,2x2"], "--box: generator fills no holes"),
        (["good.png", "--mask", "good.png"], "--mask: generator fills no holes"),
        (["good.png", "--input", "mask=good.png"], "it asks for nothing else"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_before_anything_is_computed(apply, tmp_path, words, said):
    Image.fromarray(noise(8, 8)).save(tmp_path / "good.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:150])
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    done = apply("zz-larger", *words)
    assert done.returncode == 2
    assert said in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert done.stderr.splitlines()[-1:] == errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", ["white", "transparent", "folder", "--input", "--box"])
def test_what_is_not_to_be_filled_stays_as_it_was_bit_for_bit(apply, tmp_path, how):
    picture, hole = noise(12, 15, 4), np.zeros((12, 15), dtype=bool)
    hole[3:7, 5:11] = True
    Image.fromarray(picture).save(tmp_path / "a.png")
    mask = tmp_path / "mask.png"
    if how == "transparent":
        Image.fromarray(np.dstack([noise(12, 15), np.where(hole, 0, 255).astype(np.uint8)])).save(mask)
    else:
        Image.fromarray(hole.astype(np.uint8) * 255).save(mask)
    if how == "folder":
        (tmp_path / "masks").mkdir()
        mask = mask.rename(tmp_path / "masks" / "a.png").parent
    words = {"--box": ("--box", "5,3,6x3", "--box", "5,6,6x1"), "--input": ("--input", f"mask={mask}")}.get(how, ("--mask", mask))
    done = apply("zz-fill", tmp_path / "a.png", *words, "--tile", "16", "--compare")
    assert done.returncode == 0, done.stderr
    made = read(tmp_path / "out" / "a.png")
    assert np.array_equal(made[~hole], picture[~hole])
    assert np.unique(made[hole], axis=0).tolist() == [[128, 128, 128, 255]]  # grey as in training, turned round; and it can be seen
    before = read(tmp_path / "out" / "compare" / "a.png")[:, :15]
    assert np.array_equal(before[~hole], picture[~hole])
    assert np.unique(before[hole], axis=0).tolist() == [[128, 128, 128, 255]]


def test_a_mask_must_fit_and_must_be_named(apply, tmp_path):
    Image.fromarray(noise(12, 15)).save(tmp_path / "a.png")
    Image.new("L", (12, 15), 255).save(tmp_path / "other.png")
    Image.new("L", (15, 12)).save(tmp_path / "black.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (15, 12), 255).save(tmp_path / "masks" / "b.png")
    for words, said in (
        ((), "fills holes: say where with --mask PATH, white there, or with --box X,Y,WxH"),
        (("--mask", "other.png"), "12x15 pixels, and a.png has 15x12"),
        (("--mask", "masks"), "has no masks for a.png: wanted one called a.png"),
        (("--mask", "typo.png"), "typo.png does not exist"),
        (("--mask", "black.png", "--input", "mask=black.png"), "wanted one mask"),
        (("--box", "10,3,6x4"), "--box 10,3,6x4 reaches beyond a.png, which has 15x12 pixels"),
        (("--box", "1,2,3"), "wanted X,Y,WxH"),
        (("--box", "1,2,3x0"), "wanted X,Y,WxH"),
    ):
        done = apply("zz-fill", "a.png", *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "out").exists()
    done = apply("zz-fill", "a.png", "--mask", "black.png")
    assert "nothing of it is to be filled in: a.png" in done.stderr
    assert np.array_equal(read(tmp_path / "out" / "a.png"), noise(12, 15))


def test_a_network_of_one_size_fills_holes_of_larger_pictures(apply, tmp_path):
    picture, hole = noise(40, 90), np.zeros((40, 90), dtype=bool)
    hole[10:20, 4:12] = True
    Image.fromarray(picture).save(tmp_path / "a.png")
    refused = apply("zz-one", "a.png", "--box", "4,10,8x10")
    assert (refused.returncode, "takes pictures of 16 pixels only, got 90x40. --resize brings them" in refused.stderr) == (2, True)
    refused = apply("zz-one", "a.png", "--box", "4,10,60x10", "--resize")
    assert (refused.returncode, "a.png: what is to be filled in is 60 pixels long" in refused.stderr) == (2, True)
    refused = apply("zz-one", "a.png", "--box", "4,10,8x10", "--tile", "64")
    assert (refused.returncode, "16 pixels only, and those whole" in refused.stderr) == (2, True)
    done = apply("zz-one", "a.png", "--box", "4,10,8x10", "--resize")
    assert done.returncode == 0, done.stderr
    made = read(tmp_path / "out" / "a.png")
    assert np.array_equal(made[~hole], picture[~hole])
    inside = made[12:18, 6:10].astype(int)  # further in than the edge of the scaled hole
    assert abs(inside - 128).max() <= 24
    assert len(np.unique(made[hole], axis=0)) > 1


def test_too_little_memory_has_a_remedy(runs, tmp_path, monkeypatch):
    def short(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(discovery, "named", [runs / "zz_negative.py"])
    monkeypatch.setattr(Exported, "outputs", short)
    caches = (registry.catalogue, discovery.installed)
    for cache in caches:
        cache.cache_clear()
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.png")
    for words, advice in (((), "--tile 256 cuts pictures into tiles"), (("--tile", "64"), "A smaller --tile needs less")):
        typed = [str(runs / "zz-larger"), str(tmp_path / "a.png"), *words, "--out", str(tmp_path / "out")]
        with pytest.raises(GanzooError, match=f"out of memory at a. {advice}"):
            CliRunner().invoke(apply_command, typed, catch_exceptions=False)
        assert not (tmp_path / "out").exists()
    for cache in caches:
        cache.cache_clear()
    sys.modules.pop("zz_negative", None)
