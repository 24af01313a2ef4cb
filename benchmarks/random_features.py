"""Whether features of random weights know a good generator from a worse one: `--features random` on photos without labels.

    python benchmarks/random_features.py --out runs/random-features --data my/data

A DCGAN learns half of each data set for some minutes. Its samples untrained, early, later and last, and the other half of the photos, which
it has not seen, are measured against the half that it has learnt, by the same number of samples. A figure is worth something where real
photos are best and the order of the others is that of the steps. `random --random.seed 1` are other weights; `inception2015@768`, the
trunk of the genuine network, is looked for in DATA/inception and stands beside them where it is there. Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save_file

from ganzoo import compose, machine
from ganzoo.config import DataOptions
from ganzoo.files import write_text
from ganzoo.randomness import generator
from ganzoo.registry.catalogue import catalogue

#: By name: its place, the size of the images, and the steps that are looked at.
SETS = {
    "celeba": ("celeba", "64", (1, 100, 300, 1000)),
    "cifar10": ("cifar10/cifar10_train_5k.npz", "32", (1, 100, 500, 1500)),
    "flowers4": ("flowers4", "64", (1, 100, 300, 1000)),
    "monet2photo": ("monet2photo/trainB", "64", (1, 100, 300, 1000)),
}
FEATURES = ("random", "random --random.seed 1", "pixels", "inception2015@768")
MOST = 1000  # samples
REAL = 0  # the state of photos that were held out


def ganzoo(*words: str) -> str:
    """Run a command; returns what it printed. Ends the script where it fails."""
    done = subprocess.run([sys.executable, "-m", "ganzoo", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"ganzoo {' '.join(words)} ended with status {done.returncode}")
    return done.stdout


def prepared(name: str, out: Path, data: Path) -> int:
    """Write the two halves of a data set, and train on one of them. Returns how many photos are held out."""
    place, size, steps = SETS[name]
    source = compose.find_data(catalogue(), DataOptions(dataset=place if place == name == "celeba" else str(data / place), image_size=size,
                                                        data_dir=str(data)))  # fmt: skip
    x = source.prepare().load()["x"]
    order, half = torch.randperm(len(x), generator=generator("halves")), len(x) // 2
    for part, rows in (("train", order[:half]), ("test", order[half:])):
        if not (file := out / f"{part}.safetensors").exists():
            out.mkdir(parents=True, exist_ok=True)
            save_file({"x": x[rows].contiguous()}, file)
    for folder, last in (("zero", 1), ("run", steps[-1])):
        if not (out / folder / "checkpoints" / f"{last:06d}.safetensors").exists():
            often = ["--save-every", str(min(100, last)), "--sample-every", str(last), "--keep", "0"]
            ganzoo("run", "dcgan", "--dataset", str(out / "train.safetensors"), "--batch-size", "32", "--steps", str(last), *often,
                   "--out", str(out / folder))  # fmt: skip
    return len(x) - half


def measured(out: Path, state: int, features: str, n: int) -> tuple[float, str, float]:
    """The Fréchet distance of a state, its protocol, and how many seconds the command took; asked once and kept."""
    kept = out / f"{features.replace(' ', '').replace('@', '-')}-{state}-{n}.json"
    if not kept.exists():
        folder = out / ("zero" if state == 1 else "run") / "checkpoints" / f"{state:06d}.safetensors"
        source = out / "test.safetensors" if state == REAL else folder
        begin = time.monotonic()
        told = ganzoo("evaluate", str(source), "--against", str(out / "train.safetensors") if state == REAL else "train", "--metric", "fid",
                      "--features", *features.split(), "-n", str(n), "--json")  # fmt: skip
        write_text(kept, json.dumps([json.loads(told)[0], time.monotonic() - begin]))
    e, seconds = json.loads(kept.read_text(encoding="utf-8"))
    (value,) = e["figures"].values()
    return value, e["line"], seconds


def table(name: str, out: Path, n: int, features: Sequence[str]) -> list[str]:
    """Rows of one data set: a row for each kind of features, and as many columns as states."""
    lines = []
    for kind in features:
        steps = SETS[name][2]
        real, *values = [measured(out, state, kind, n)[0] for state in (REAL, *reversed(steps))]
        ordered = "yes" if [real, *values] == sorted([real, *values]) else "NO"
        cells = " | ".join(f"{value:.4g} ({value / real:.0f}x)" for value in values)
        lines.append(f"| {name}, {n} | {kind} | {real:.4g} | {cells} | {ordered} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the data sets")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--features", default=",".join(FEATURES))
    parser.add_argument("--most", type=int, default=MOST, help="samples a figure")
    args = parser.parse_args()
    features = [kind for kind in args.features.split(",") if "inception" not in kind or list(args.data.glob("inception/*.safetensors"))]
    m = machine.describe()
    print(f"{datetime.now(UTC).date()}, torch {m['torch']}, {m['threads']} threads of {m['processor']}\n")
    print("| data, samples | features | real, held out | last | later | early | untrained | ordered |\n|---|---|---|---|---|---|---|---|")
    told = []
    for name in args.sets.split(","):
        n = min(prepared(name, args.out / name, args.data), args.most)
        for kind in features:
            print(*table(name, args.out / name, n, [kind]), sep="\n", flush=True)
            told.append(measured(args.out / name, SETS[name][2][-1], kind, n)[1])
    print("\nThe protocols of the column `last`:\n", *(f"- {line}" for line in told), sep="\n")


if __name__ == "__main__":
    main()
