"""The pictures that stand in the cards of GANs that turn pictures into pictures: on fruits, which may be passed on.

    python benchmarks/cards.py                       # all; each trains its quick preset with seed 0
    python benchmarks/cards.py pix2pix srgan

The data is Fruits-360 (Mihai Oltean, CC BY-SA 4.0): ten varieties of 40 views, looked for in GANZOO_TEST_DATA or in shared/data beside the
checkout. Every fifth view is held out; the first held-out view of each variety is drawn, none is picked. Views of the same fruits were
learnt from, so these pictures show what each GAN does, and say little about fruits that it has not seen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import ganzoo

DATA = Path(os.environ.get("GANZOO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data") / "fruits10x40"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
GREEN, RED = ("apple-golden", "apple-granny-smith", "tomato-yellow"), ("apple-red", "tomato", "cherry-rainier", "tomato-maroon")
GAP = 4  # white pixels between pictures


def split(place: Path) -> list[Path]:
    """Folders of the varieties under place/train, place/green and place/red; returns the held-out views: the first of each, ..."""
    held: list[list[Path]] = []
    for variety in sorted(path for path in DATA.iterdir() if path.is_dir()):
        views = sorted(variety.glob("*.jpg"), key=lambda path: (len(path.stem), path.stem))
        held.append(views[::5])
        for view in views:
            if view not in held[-1]:
                groups = ["train", *(["green"] if variety.name in GREEN else []), *(["red"] if variety.name in RED else [])]
                for group in groups:
                    (folder := place / group / variety.name).mkdir(parents=True, exist_ok=True)
                    shutil.copy(view, folder)
    return [view for row in zip(*held, strict=True) for view in row]


def read(path: Path, size: int) -> Image.Image:
    return Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)


def sheet(rows: list[list[Image.Image]], size: int) -> Image.Image:
    """Rows of pictures, each brought to `size` pixels, on white."""
    whole = Image.new("RGB", ((size + GAP) * len(rows[0]) - GAP, (size + GAP) * len(rows) - GAP), "white")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            whole.paste(picture.resize((size, size), Image.Resampling.NEAREST), (j * (size + GAP), i * (size + GAP)))
    return whole


def made(run: Path, pictures: list[Image.Image], network: str | None = None, **more: Any) -> list[Image.Image]:
    """What a product of a run makes of pictures."""
    return list(ganzoo.load(run, network).apply(pictures, **more))


def draw(recipe: str, place: Path, held: list[Path]) -> Image.Image:
    """A sheet: first what is given, then what is made of it, then the truth, or the way back."""
    run = place / "run"
    if recipe == "cyclegan":
        ganzoo.train(recipe, dataset=f"a={place / 'green'},b={place / 'red'}", image_size=64, out=run)
        rows = []
        for group, there, back in ((GREEN, "a-to-b", "b-to-a"), (RED, "b-to-a", "a-to-b")):
            given = [read(path, 64) for path in held if path.parent.name in group][:9]
            turned = made(run, given, network=there)
            rows += [given, turned, made(run, turned, network=back)]
        return sheet(rows, 64)
    first = held[:10]
    if recipe in ("srgan", "esrgan"):
        ganzoo.train(recipe, dataset=place / "train", out=run)
        truth = [read(path, 100) for path in first[:7]]
        small = [picture.resize((25, 25), Image.Resampling.BICUBIC) for picture in truth]
        return sheet([small, made(run, small), truth], 100)
    options = {"degradation": "grey"} if recipe == "pix2pix" else {}
    ganzoo.train(recipe, dataset=place / "train", image_size=64, parts=options, out=run)
    truth = [read(path, 64) for path in first]
    if recipe == "pix2pix":
        given = [picture.convert("L").convert("RGB") for picture in truth]
        return sheet([given, made(run, given), truth], 64)
    if recipe == "denoise":
        noise = np.random.default_rng(0).normal(0, 25, (len(truth), 64, 64, 3))
        given = [Image.fromarray((np.asarray(p) + n).clip(0, 255).astype(np.uint8)) for p, n in zip(truth, noise, strict=True)]
        return sheet([given, made(run, given), truth], 64)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    holes = [Image.composite(Image.new("RGB", (64, 64), (128, 128, 128)), picture, Image.fromarray(mask)) for picture in truth]
    return sheet([holes, made(run, holes, mask=[mask] * len(holes)), truth], 64)


RECIPES = ("pix2pix", "denoise", "context-encoder", "srgan", "esrgan", "cyclegan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", choices=[*RECIPES, []], help="which; by default all")
    parser.add_argument("--out", type=Path, default=IMAGES, help="where the pictures go; by default docs/images")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for recipe in asked.recipes or RECIPES:
        with tempfile.TemporaryDirectory() as temporary:
            picture = draw(recipe, place := Path(temporary), split(place))
            picture.save(path := asked.out / f"fruits-{recipe}.webp", quality=90, method=6)
        print(path, flush=True)


if __name__ == "__main__":
    main()
