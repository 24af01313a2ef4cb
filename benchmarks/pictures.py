"""Do the GANs that make pictures of pictures do what their papers say? Cheap checks, on a processor, on real held-out pictures.

Fewer steps than the recipes' own, to fit the budget, except for super-resolution.

    python benchmarks/pictures.py                           # all checks, seed 0
    python benchmarks/pictures.py facades denoise --seeds 0 1 2
    python benchmarks/pictures.py --table                   # only the table, from the results that there are

Each check trains a recipe, with controls that lack what makes it work, and measures what it draws of pictures that it has not seen:

* facades: `pix2pix` from labels to photos (CMP, 64 pixels), with L1 alone, with the GAN alone, and with a D that does not see the labels.
  l1: distance to the photo, in parts of the range; other: the same to the photo of another label; detail: mean absolute Laplacian, in
  parts of that of the photos.
* digits: `cyclegan` between digits A and B = 0.2 - 0.6 A of other digits, with and without cycles. error: mean distance to the true map.
* set5: `srgan` and `esrgan` on windows of BSDS500, x4: psnr on the Y of Set5 with 4 pixels cut off, after SRResNet's phase and at the end.
* holes: `context-encoder` on CelebA at 64 pixels, the middle 32 x 32 pixels missing: l1, psnr in the hole; against the mean picture and
  the training picture that is most like the surroundings.
* denoise: `denoise` on digits with noise of sigma 0.5 in [-1, 1]: psnr, and the accuracy of the nearest clean digit, before and after.

The data is looked for in GANZOO_TEST_DATA, or in shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ganzoo_metrics import PictureOptions
from ganzoo_metrics.truth import compared
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

import ganzoo

DATA = Path(os.environ.get("GANZOO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
RESULTS = Path(__file__).parent / "results" / "pictures.json"
Rows = Iterator[tuple[str, dict[str, float]]]


def as_floats(x: np.ndarray) -> Tensor:
    """uint8 pictures (N, H, W) or (N, H, W, C) as float (N, C, H, W) in [-1, 1]."""
    y = torch.from_numpy(np.ascontiguousarray(x)).float() / 127.5 - 1
    return y[:, None] if y.dim() == 3 else y.permute(0, 3, 1, 2)


def as_bytes(x: Tensor) -> np.ndarray:
    """The way back, (N, H, W, C)."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def detail(x: Tensor) -> float:
    """The mean absolute Laplacian of pictures (N, C, H, W): how much there is of the finest structure."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return float(conv2d(x.flatten(0, 1)[:, None], kernel).abs().mean())


def psnr(x: Tensor, truth: Tensor) -> float:
    """In dB, of float pictures in [-1, 1]: the mean over the rows."""
    return float((10 * (4 / (x - truth).square().flatten(1).mean(1)).log10()).mean())


def applied(run: Path, pictures: np.ndarray, **more: Any) -> Tensor:
    """What a run makes of pictures, in [-1, 1]."""
    return as_floats(np.stack(ganzoo.load(run).apply(list(pictures), to="array", **more)))


def digits(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n digits of MNIST, with 2 dark pixels around them, (n, 32, 32), and what they are."""
    with gzip.open(DATA / "MNIST" / "raw" / "train-images-idx3-ubyte.gz") as images:
        x = np.frombuffer(images.read(16 + 784 * n), np.uint8, offset=16).reshape(n, 28, 28)
    with gzip.open(DATA / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz") as labels:
        return np.pad(x, ((0, 0), (2, 2), (2, 2))), np.frombuffer(labels.read(8 + n), np.uint8, offset=8)


def facades(place: Path, seed: int) -> Rows:
    both = [Image.open(path).convert("RGB") for path in sorted((DATA / "facades" / "val").glob("*.jpg"))]
    photos, labels = (
        np.stack([np.asarray(p.crop((x, 0, x + 256, 256)).resize((64, 64), Image.Resampling.BICUBIC)) for p in both]) for x in (0, 256)
    )
    real = as_floats(photos)
    cases: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "L1 and GAN": ({}, {}), "L1 alone": ({"loss.adversarial": 0.0}, {}), "GAN alone": ({"loss.l1": 0.0}, {}),
        "D without labels": ({"loss.l1": 0.0}, {"discriminator": "patchgan"}),
    }  # fmt: skip
    for name, (options, parts) in cases.items():
        run = ganzoo.train(
            "pix2pix",
            dataset=DATA / "facades",
            pairs="right",
            image_size=64,
            steps=700,
            seed=seed,
            options=options,
            parts=parts,
            out=place / name,
        )
        x = applied(run, labels)
        yield name, {
            "l1": float((x - real).abs().mean()) / 2, "other": float((x.roll(1, 0) - real).abs().mean()) / 2, "psnr": psnr(x, real),
            "detail": detail(x) / detail(real),
        }  # fmt: skip


def unpaired_digits(place: Path, seed: int) -> Rows:
    x, _ = digits(10_500)
    a, other = x[:5000], as_floats(x[5000:10_000])
    place.mkdir(parents=True)
    np.save(place / "a.npy", a)
    np.save(place / "b.npy", as_bytes(0.2 - 0.6 * other)[..., 0])
    truth = 0.2 - 0.6 * as_floats(x[10_000:])
    for name, weight in (("with cycles", 5.0), ("without", 0.0)):
        options = {"strategy.cycle": weight, "generator.width": 12, "generator.blocks": 2, "discriminator.width": 16}
        options["generator.residual"] = False
        data = f"a={place / 'a.npy'},b={place / 'b.npy'}"
        run = ganzoo.train(
            "cyclegan", dataset=data, steps=1500, batch_size=8, flip=False, seed=seed, options=options, out=place / name
        )  # fmt: skip
        yield (
            name,
            {
                "error": float((applied(run, x[10_000:]) - truth).abs().mean()),
                "nothing done": float((as_floats(x[10_000:]) - truth).abs().mean()),
            },
        )


def set5(place: Path, seed: int) -> Rows:
    pictures = []
    for path in sorted((DATA / "super-resolution" / "Set5").glob("*.png")):
        x = np.asarray(Image.open(path).convert("RGB"))
        pictures.append(as_floats(x[None, : x.shape[0] // 4 * 4, : x.shape[1] // 4 * 4]))
    small = [as_bytes(interpolate(x, scale_factor=0.25, mode="bicubic", antialias=True))[0] for x in pictures]

    def figures(outputs: list[Tensor]) -> dict[str, float]:
        errors, options = [], PictureOptions(luma=True, border=4)
        for x, truth in zip(outputs, pictures, strict=True):
            a, b = (compared(torch.from_numpy(as_bytes(v)).permute(0, 3, 1, 2), options) for v in (x, truth))
            errors.append(float(10 * (255**2 / (a - b).square().mean()).log10()))
        return {"psnr": statistics.mean(errors), "detail": sum(map(detail, outputs)) / sum(map(detail, pictures))}

    bicubic = [Image.fromarray(s).resize((4 * s.shape[1], 4 * s.shape[0]), Image.Resampling.BICUBIC) for s in small]
    yield "bicubic", figures([as_floats(np.asarray(x)[None]) for x in bicubic])
    for recipe in ("srgan", "esrgan"):
        record = ganzoo.catalogue().recipe(recipe).presets["quick"]
        steps = {"alone": record["strategy.pretrain"], "with the GAN": record["steps"]}
        run = place / recipe
        for name, until in steps.items():
            if name == "alone":
                ganzoo.train(recipe, dataset=DATA / "super-resolution" / "BSDS500" / "train", steps=until, seed=seed, out=run)
            else:
                ganzoo.resume(run, steps=until)
            model = ganzoo.load(run)
            yield f"{recipe} {name}", figures([as_floats(np.asarray(model.apply(s, to="array"))[None]) for s in small])


def holes(place: Path, seed: int) -> Rows:
    with zipfile.ZipFile(DATA / "celeba" / "img_align_celeba.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        faces = np.stack([np.asarray(Image.open(archive.open(n)).convert("RGB").crop((0, 10, 89, 99)).resize((64, 64))) for n in names])
    place.mkdir(parents=True)
    np.save(place / "faces.npy", faces[:-500])
    known, real = as_floats(faces[:-500]), as_floats(faces[-200:])
    hole = np.zeros((64, 64), bool)
    hole[16:48, 16:48] = True
    source = faces[-200:].copy()
    source[:, hole] = 128
    mask = np.where(hole, 255, 0).astype(np.uint8)[None].repeat(200, 0)
    inside = torch.from_numpy(hole)

    def figures(x: Tensor) -> dict[str, float]:
        a, b = x[:, :, inside], real[:, :, inside]
        return {
            "l1": float((a - b).abs().mean()) / 2,
            "psnr": psnr(a[..., None], b[..., None]),
            "detail": detail(x[:, :, 17:47, 17:47]) / detail(real[:, :, 17:47, 17:47]),
        }

    yield "the mean picture", figures(known.mean(0, keepdim=True).expand_as(real))
    a, b = known[:, :, ~inside].flatten(1), real[:, :, ~inside].flatten(1)
    nearest = (a.square().sum(1)[None] - 2 * b @ a.T).argmin(1)
    yield "the most similar picture", figures(known[nearest])
    for name, weight in (("L2 and GAN", 0.001), ("L2 alone", 0.0)):
        options = {"loss.adversarial": weight, "degradation.kind": "centre"}
        run = ganzoo.train("context-encoder", dataset=place / "faces.npy", steps=800, seed=seed, options=options, out=place / name)
        yield name, figures(applied(run, source, mask=list(mask)))


def denoised(place: Path, seed: int) -> Rows:
    x, y = digits(21_000)
    place.mkdir(parents=True)
    np.save(place / "digits.npy", x[:20_000])
    clean, truth = as_floats(x[:20_000]).flatten(1), as_floats(x[20_000:])
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)) / 2
    noisy = as_bytes((truth + noise).clamp(-1, 1))[..., 0]

    def figures(z: Tensor) -> dict[str, float]:
        nearest = (clean.square().sum(1)[None] - 2 * z.flatten(1) @ clean.T).argmin(1)
        return {
            "psnr": psnr(z, truth),
            "accuracy": float((y[:20_000][nearest.numpy()] == y[20_000:]).mean()),
            "detail": detail(z) / detail(truth),
        }

    yield "noisy", figures(as_floats(noisy))
    for name, options in (("L1 and GAN", {}), ("L1 alone", {"loss.adversarial": 0.0})):
        run = ganzoo.train(
            "denoise", dataset=place / "digits.npy", steps=700, seed=seed, options={"degradation.sigma": 63.75, **options},
            out=place / name,
        )  # fmt: skip
        yield name, figures(applied(run, noisy))


CHECKS: dict[str, Callable[[Path, int], Rows]] = {
    "facades": facades, "digits": unpaired_digits, "set5": set5, "holes": holes, "denoise": denoised,
}  # fmt: skip


def table(results: dict[str, Any]) -> str:
    """The results as Markdown: the mean (lowest to highest) over the seeds."""
    lines = []
    for check, cases in results.items():
        heads = list(next(iter(next(iter(cases.values())).values())))
        lines += [f"\n**{check}**\n", f"| | seeds | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
        for case, seeds in cases.items():
            cells = []
            for head in heads:
                values = [figures[head] for figures in seeds.values()]
                spread = f" ({min(values):.4g} to {max(values):.4g})" if max(values) > min(values) else ""
                cells.append(f"{statistics.mean(values):.4g}{spread}")
            lines.append(f"| {case} | {', '.join(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="which; by default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="print the table and end")
    parser.add_argument("--out", type=Path, help="where the runs are kept; by default nowhere")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for check in [] if asked.table else asked.checks or CHECKS:
            for seed in asked.seeds:
                began = time.perf_counter()
                for case, figures in CHECKS[check]((asked.out or Path(temporary)) / f"{check}-{seed}", seed):
                    print(f"{check}, seed {seed}, {case}: {figures}, {time.perf_counter() - began:.0f} s", flush=True)
                    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                    results.setdefault(check, {}).setdefault(case, {})[str(seed)] = figures
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text()) if RESULTS.exists() else {}))


if __name__ == "__main__":
    main()
