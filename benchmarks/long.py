"""The basic GANs with minutes of one core each, measured at ten checkpoints: who overtakes whom, and who collapses late.

    python benchmarks/long.py --out runs/long    # trains, evaluates, writes a table; stopped, it goes on

It is `ganzoo compare`, and then `ganzoo evaluate` of each run's last state for precision and recall, and the last sheets side by side:
long.table.md and long.png, of which benchmarks/results/long.md tells. Data: Fashion-MNIST's 60,000 training images, at 32 pixels, in
GANZOO_DATA.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from ganzoo import machine
from ganzoo.files import write_text

RECIPES = ["gan", "dcgan", "wgan", "wgan-gp", "began", "acgan"]
DATA = ["--dataset", "fashion-mnist", "--image-size", "32"]
EVALUATION = ["--metric", "fid", "--features", "classifier", "-n", "10000"]
VARIETY = ["--metric", "precision-recall", "--features", "classifier", "-n", "5000", "--n-real", "5000"]
CHECKPOINTS = 10


def variety(run: Path) -> list[dict[str, Any]]:
    """What `ganzoo evaluate` says of a run's last state, asked once and kept in a file."""
    if not (place := Path(f"{run}.variety.json")).exists():
        words = [sys.executable, "-m", "ganzoo", "evaluate", str(run), *VARIETY, "--json"]
        write_text(place, subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)
    made: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8"))
    return made


def board(out: Path) -> tuple[list[str], list[list[str]], list[str]]:
    """Head and rows, a row a recipe, and the protocols."""
    rows: list[list[str]] = []
    protocols: set[str] = set()
    for cell in csv.DictReader((out / "compare.csv").read_text(encoding="utf-8").splitlines()):
        run = out / cell["run"]
        if cell["state"] != "done":
            rows.append([cell["entrant"], cell["state"], *[""] * (CHECKPOINTS + 3)])
            continue
        made: list[dict[str, Any]] = sorted(json.loads(Path(f"{run}.json").read_text(encoding="utf-8")), key=lambda e: e["step"])
        more = variety(run)
        protocols |= {e["line"] for e in [made[-1], *more]}
        scores = [e["figures"]["cFID"] for e in made]
        beside = [f"{value:.2f}" for e in more for name, value in e["figures"].items() if name in e["better"]]
        rows.append([f"`{cell['entrant']}`", f"{int(cell['steps']):,}", *(f"{s:.1f}" for s in scores), f"{min(scores):.1f}", *beside])
    rows.sort(key=lambda row: float(row[-4] or "inf"))
    return ["recipe", "steps", *(f"{10 * i} %" for i in range(1, CHECKPOINTS + 1)), "best", "precision", "recall"], rows, sorted(protocols)


def montage(out: Path, names: list[str], path: Path) -> None:
    """Two rows of samples a recipe, from the last sheet; sheets have 8 columns, or one a class."""
    strips = []
    for name in names:
        with Image.open(sorted((out / f"{name}-0" / "samples").glob("*.png"))[-1]) as sheet:
            factor = sheet.width // (274 if sheet.width % 274 == 0 else 342)  # sheets may be enlarged by a whole factor
            small = sheet.convert("L").resize((sheet.width // factor, sheet.height // factor), Image.Resampling.NEAREST)
            strips.append(small.crop((0, 0, min(342, small.width), 70)))
    page = Image.new("L", (2 * 342 + 8, 78 * -(-len(strips) // 2)), 255)
    for i, strip in enumerate(strips):
        page.paste(strip, (350 * (i % 2), 78 * (i // 2)))
    page.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--budget", default="20m", help="processor time of each run, turned into images")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    spent = ["--budget", args.budget, "--seeds", "1", "--jobs", "1"]
    words = ["compare", *RECIPES, *DATA, *spent, *EVALUATION, "--checkpoints", str(CHECKPOINTS)]
    status = subprocess.run([sys.executable, "-m", "ganzoo", *words, "--out", str(args.out)], check=False).returncode
    if status not in (0, 1):  # 1: some cells failed, which the table says
        sys.exit(status)
    head, rows, protocols = board(args.out)
    table = "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
    about = f"{datetime.now(UTC).date().isoformat()}, {machine.processor()}, one thread, torch {machine.describe()['torch']}, seed 0"
    lines = "\n".join(f"- {line}" for line in protocols)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "long.table.md").write_text(f"{table}\n\n`ganzoo {' '.join(words)}`; {about}.\n\n{lines}\n", encoding="utf-8")
    montage(args.out, [row[0].strip("`") for row in rows], args.results / "long.png")
    print(table)


if __name__ == "__main__":
    main()
