"""bf16 against fp32, recipe by recipe, on Fashion-MNIST at 32 pixels: at equal processor time, and at equal steps.

    python benchmarks/precision.py --out runs/precision          # trains, evaluates, writes benchmarks/results/precision.md

By `ganzoo compare`: each recipe in both precisions under one budget of processor time, and in bf16 again for as many steps as fp32 made.
Stopped, it goes on where it was. Data: Fashion-MNIST's 60,000 training images, in GANZOO_DATA.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from ganzoo import machine
from ganzoo.comparison.table import spread_of

RECIPES = ["gan", "dcgan", "acgan", "wgan", "wgan-gp", "began"]
SHARED = ["--dataset", "fashion-mnist", "--image-size", "32", "--checkpoints", "1", "--metric", "fid", "-n", "5000"]


def compared(out: Path, words: list[str]) -> dict[str, list[dict[str, str]]]:
    """The finished cells of a comparison, by entrant. Ends the script where one fails."""
    done = subprocess.run([sys.executable, "-m", "ganzoo", "compare", *words, "--out", str(out)], env=os.environ, check=False)
    if done.returncode:
        sys.exit(f"ganzoo compare {' '.join(words)} ended with status {done.returncode}")
    cells: dict[str, list[dict[str, str]]] = {}
    for cell in csv.DictReader((out / "compare.csv").read_text(encoding="utf-8").splitlines()):
        cells.setdefault(cell["entrant"], []).append(cell)
    return cells


def row(recipe: str, side: str, cells: list[dict[str, str]]) -> list[str]:
    column = next(key for key in cells[0] if key.startswith("cFID") and key.endswith(" last"))
    return [f"`{recipe}`", side, cells[0]["steps"], spread_of([float(cell[column]) for cell in cells], ".1f")]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--budget", default="60s", help="processor time of each run")
    parser.add_argument("--seeds", default="3")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    entrants = [f"{name} --precision {precision}" for name in args.recipes for precision in ("fp32", "bf16")]
    timed = compared(args.out / "time", [*entrants, *SHARED, "--budget", args.budget, "--seeds", args.seeds])
    rows = []
    for name in args.recipes:
        fp32, bf16 = timed[f"{name} --precision fp32"], timed[f"{name} --precision bf16"]
        words = [f"{name} --precision bf16", *SHARED, "--steps", fp32[0]["steps"], "--seeds", args.seeds]
        (stepped,) = compared(args.out / f"steps-{name}", words).values()
        rows += [row(name, "fp32", fp32), row(name, "bf16, as many steps", stepped), row(name, "bf16, as much time", bf16)]
    head = ["recipe", "", "steps", "cFID"]
    text = [
        "# bf16 against fp32", "",
        f"Made by `benchmarks/precision.py --budget {args.budget} --seeds {args.seeds}`: the quick presets on Fashion-MNIST's 60,000 at 32",
        f"pixels, {args.budget} of processor time a run, turned into images before; the last state, 5,000 samples, features of the",
        "classifier; mean (lowest to highest) over the seeds.", "",
        *("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)), "",
        f"{datetime.now(UTC).date().isoformat()}, {machine.processor()}, one thread, torch {machine.describe()['torch']}.",
    ]  # fmt: skip
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "precision.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
