"""Quick presets by search: successive halving over `ganzoo compare`.

    python benchmarks/search.py CANDIDATES.txt --out runs/search-acgan [--budgets 15s,40s,100s] [--seeds 1,1,3]

CANDIDATES.txt: a recipe with options a line, as `ganzoo compare` takes it; lines that begin with # are passed over. Each round trains all
that are left under one budget and keeps the third with the lowest FD, and the one of the highest recall. Given again, it goes on where it
was. The table of every round is added to benchmarks/results/search.md.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import torch

from ganzoo import machine

RESULTS = Path(__file__).parent / "results" / "search.md"


def measured(candidates: list[str], budget: str, seeds: str, folder: Path, rest: list[str]) -> list[tuple[str, float, float, float]]:
    """Each candidate with the medians of its FD, precision and recall, the lowest FD first."""
    words = [*candidates, "--budget", budget, "--seeds", seeds, "--checkpoints", "1", "--out", str(folder), *rest]
    subprocess.run([sys.executable, "-m", "ganzoo", "compare", *words], check=True)
    with (folder / "compare.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = [next(key for key in rows[0] if re.match(rf"{figure}.* last$", key)) for figure in ("(c?FI?D|fid)", "precision", "recall")]
    found = []
    for name in candidates:
        own = [row for row in rows if row["entrant"] == name]
        fd, precise, recalled = (median(float(row[key]) for row in own) for key in keys)
        found.append((name, fd, precise, recalled))
    return sorted(found, key=lambda row: row[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budgets", default="15s,40s,100s")
    parser.add_argument("--seeds", default="1,1,3", help="how many in each round")
    asked, rest = parser.parse_known_args()
    rest = rest or ["--dataset", "fashion-mnist", "--image-size", "32", "--metric", "fid,precision-recall", "-n", "5000", "--jobs", "2"]
    lines = [line.strip() for line in asked.candidates.read_text(encoding="utf-8").splitlines()]
    left = [line for line in lines if line and not line.startswith("#")]
    text = f"\n## {asked.candidates.stem}, {machine.now():%Y-%m-%d}, {machine.processor()}, torch {torch.__version__}\n\n{' '.join(rest)}\n"
    for i, (budget, seeds) in enumerate(zip(asked.budgets.split(","), asked.seeds.split(","), strict=True), 1):
        rows = measured(left, budget, seeds, asked.out / f"round-{i}", rest)
        text += f"\n| round {i}: {budget}, {seeds} seed{'s' if seeds != '1' else ''} | FD | precision | recall |\n|---|---|---|---|\n"
        text += "".join(f"| `{name}` | {fd:.4g} | {p:.2f} | {r:.2f} |\n" for name, fd, p, r in rows)
        kept = [row[0] for row in rows[: math.ceil(len(rows) / 3)]]
        left = list(dict.fromkeys([*kept, max(rows, key=lambda row: row[3])[0]]))
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
