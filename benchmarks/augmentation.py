"""Does a GAN's pictures in the training set make a classifier better? With few images of each class, beside the classical means.

    python benchmarks/augmentation.py --seeds 0 1 2              # trains, measures, writes benchmarks/results/augmentation.md
    python benchmarks/augmentation.py --few 5 --seeds 0
    python benchmarks/augmentation.py --table

Of Fashion-MNIST's 60,000, 5, 20 or 100 images of each class are all that anybody sees: `acgan` learns them, with diffaugment around D, and
draws 500 of each class, as `ganzoo augment` writes them. A small classifier then takes the same number of updates on batches of 64, of

* real: those images;  classical: mirrored and moved by up to two pixels;
* GAN: half of each batch real, half drawn;  both: the same, all mirrored and moved;  GAN alone: drawn ones only.

Its accuracy is that on the 10,000 test images. The data is looked for in GANZOO_TEST_DATA, or in shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

import ganzoo
from ganzoo import machine
from ganzoo.files import write_text

DATA = Path(os.environ.get("GANZOO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data") / "FashionMNIST" / "raw"
RESULTS = Path(__file__).parent / "results" / "augmentation.json"
CLASSES, DRAWN, UPDATES, BATCH = 10, 500, 600, 64
ARMS = ("real", "classical", "GAN", "both", "GAN alone")


def split(name: str) -> tuple[Tensor, Tensor]:
    """Images as float (N, 1, 32, 32) in [-1, 1], with two dark pixels around them, and their classes."""
    with gzip.open(DATA / f"{name}-images-idx3-ubyte.gz") as images, gzip.open(DATA / f"{name}-labels-idx1-ubyte.gz") as labels:
        x = torch.from_numpy(np.frombuffer(images.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28).copy())
        y = torch.from_numpy(np.frombuffer(labels.read(), np.uint8, offset=8).copy()).long()
    return pad(x, (2, 2, 2, 2)).float() / 127.5 - 1, y


def moved(x: Tensor, g: torch.Generator) -> Tensor:
    """Each image mirrored or not, and moved by up to two pixels."""
    x = torch.where(torch.rand(len(x), 1, 1, 1, generator=g) < 0.5, x.flip(3), x)
    wide, at = pad(x, (2, 2, 2, 2), value=-1.0), torch.randint(0, 5, (len(x), 2), generator=g).tolist()
    return torch.stack([row[:, i : i + x.shape[2], j : j + x.shape[3]] for row, (i, j) in zip(wide, at, strict=True)])


def classifier(seed: int) -> nn.Module:
    """Three strided convolutions and a dense layer."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for c_in, c_out in ((1, 24), (24, 48), (48, 96)):
        layers += [nn.Conv2d(c_in, c_out, 3, 2, 1), nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 16, CLASSES))


def accuracy(arm: str, seed: int, real: tuple[Tensor, Tensor], drawn: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Of a classifier that has learnt from what the arm gives it."""
    g, model = torch.Generator().manual_seed(seed), classifier(seed)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    shares = {"real": (BATCH, 0), "classical": (BATCH, 0), "GAN alone": (0, BATCH)}.get(arm, (BATCH // 2, BATCH // 2))
    for _ in range(UPDATES):
        parts = []
        for (x, y), n in zip((real, drawn), shares, strict=True):
            rows = torch.randint(0, len(x), (n,), generator=g)
            parts.append((x[rows], y[rows]))
        x, y = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        if arm in ("classical", "both"):
            x = moved(x, g)
        optimiser.zero_grad()
        cross_entropy(model(x), y).backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        right = [model(x).argmax(1) == y for x, y in zip(test[0].split(500), test[1].split(500), strict=True)]
    return float(torch.cat(right).double().mean())


def measured(few: int, seed: int, steps: int) -> dict[str, float]:
    """The accuracy of each arm with so many images of each class."""
    whole, test = split("train"), split("t10k")
    order = torch.randperm(len(whole[1]), generator=torch.Generator().manual_seed(1000 + seed))
    rows = torch.cat([order[whole[1][order] == k][:few] for k in range(CLASSES)])
    real = (whole[0][rows], whole[1][rows])
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "few.npz"
        np.savez(data, x=((real[0][:, 0] + 1) * 127.5).round().byte().numpy(), y=real[1].numpy())
        run = ganzoo.train("acgan", dataset=data, steps=steps, seed=seed, wrappers=["diffaugment"], out=Path(place) / "run")
        y = torch.arange(DRAWN * CLASSES) % CLASSES
        drawn = (ganzoo.load(run).sample(len(y), seed, y.tolist(), to="tensor").float() / 127.5 - 1, y)
    return {arm: accuracy(arm, seed, real, drawn, test) for arm in ARMS}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The results as Markdown: the mean (lowest to highest) over the seeds, in per cent."""
    lines = [f"| images of a class | seeds | {' | '.join(ARMS)} |", "|---" * (len(ARMS) + 2) + "|"]
    for few, seeds in sorted(results.items(), key=lambda pair: int(pair[0])):
        cells = []
        for arm in ARMS:
            values = [100 * figures[arm] for figures in seeds.values()]
            cells.append(f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})")
        lines.append(f"| {few} | {', '.join(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", nargs="+", type=int, default=[5, 20, 100], help="images of each class")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=1200, help="of the GAN")
    parser.add_argument("--table", action="store_true", help="print the table and end")
    asked = parser.parse_args()
    for few in [] if asked.table else asked.few:
        for seed in asked.seeds:
            began = time.process_time()
            figures = measured(few, seed, asked.steps)
            print(f"{few} a class, seed {seed}: {figures}, {time.process_time() - began:.0f} s", flush=True)
            results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            results.setdefault(str(few), {})[str(seed)] = figures
            write_text(RESULTS, json.dumps(results, indent=1) + "\n")
            made = f"{machine.processor()}, torch {torch.__version__}, {machine.now():%Y-%m-%d}; python benchmarks/augmentation.py"
            write_text(
                RESULTS.with_suffix(".md"),
                f"# A GAN's pictures in the training set\n\nAccuracy in per cent.\n\n{table(results)}\n\n{made}\n",
            )
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
