"""The zoo's score board: every image GAN of ganzoo's own on Fashion-MNIST, under one budget, by one protocol.

    python benchmarks/scoreboard.py --out runs/scoreboard                 # trains, evaluates, writes benchmarks/results/scoreboard.md
    python benchmarks/scoreboard.py --out runs/scoreboard --budget 20m    # another budget

It is `ganzoo compare` of all recipes, and then `ganzoo evaluate` of each finished run by protocols that are too slow for every checkpoint.
Stopped, it goes on where it was. Real images that no GAN has seen (Fashion-MNIST's test images) are measured the same way: no figure is
better than theirs but by chance or by copying.

Data: Fashion-MNIST's 60,000 training images, at 32 pixels, in --data-dir or GANZOO_DATA.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from ganzoo import compose, machine
from ganzoo.comparison.table import spread_of
from ganzoo.files import read_lines, write_text
from ganzoo.registry.catalogue import catalogue
from ganzoo.registry.discovery import CORE

DATA = ["--dataset", "fashion-mnist", "--image-size", "32"]
FAST = ["--metric", "fid", "--features", "classifier", "-n", "10000"]
#: Protocols for the last state alone.
SLOW = {
    "variety": ["--metric", "precision-recall,density-coverage", "--features", "classifier", "-n", "5000", "--n-real", "5000"],
    "inception": ["--metric", "fid,kid", "--features", "inception2015@768", "-n", "1000", "--n-real", "2500"],  # more than dimensions
}
REAL = "real, held out"


def recipes() -> list[str]:
    """ganzoo's own recipes that draw images, of no other pictures and with all labels or none."""
    found = []
    for entry in catalogue().entries("recipe"):
        parts = compose.Parts.of(compose.draft(catalogue(), entry.name).parts)
        if entry.plugin.distribution == CORE and "image" in parts.media and parts.latents and {*parts.keys} <= {"x", "y"}:
            found.append(entry.name)
    return found


def ganzoo(*words: str, threads: int) -> str:
    """Run a command; returns what it printed. Ends the script where it fails."""
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-m", "ganzoo", *words], env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"ganzoo {' '.join(words)} ended with status {done.returncode}")
    return done.stdout


def evaluated(place: Path, words: Sequence[str], threads: int) -> list[dict[str, Any]]:
    """What `ganzoo evaluate` says, asked once and kept in a file."""
    if not place.exists():
        write_text(place, ganzoo("evaluate", *words, "--json", threads=threads))
    made: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8"))
    return made


def figures(evaluations: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {name: value for e in evaluations for name, value in e["figures"].items() if name in e["better"]}


def rows(out: Path, names: Sequence[str], jobs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each cell of the comparison, and the real images, with all that was measured of it."""
    cells = list(csv.DictReader((out / "compare.csv").read_text(encoding="utf-8").splitlines()))
    threads = max(1, machine.threads() // jobs)

    def slow(cell: dict[str, str]) -> dict[str, float]:
        run = str(out / cell["run"])
        asked = {kind: [run, *words] for kind, words in SLOW.items()}
        return {k: v for kind, words in asked.items() for k, v in figures(evaluated(Path(f"{run}.{kind}.json"), words, threads)).items()}

    done = [cell for cell in cells if cell["state"] == "done"]
    evaluated(out / "real.fast.json", ["fashion-10k", "--against", "fashion-mnist", "--image-size", "32", *FAST], threads)
    for kind, words in SLOW.items():  # fills the cache of what is known of the real images before two at a time want it
        evaluated(out / f"real.{kind}.json", ["fashion-10k", "--against", "fashion-mnist", "--image-size", "32", *words], threads)
    with ThreadPoolExecutor(jobs) as pool:
        more = dict(zip([cell["run"] for cell in done], pool.map(slow, done), strict=True))
    for cell in cells:
        found = {}
        if cell["state"] == "done":
            last = json.loads((out / f"{cell['run']}.json").read_text(encoding="utf-8"))
            found = {**figures(last[-1:]), **more[cell["run"]]}
            found["cFID, best"] = min(e["figures"]["cFID"] for e in last)
        yield cell["entrant"], {**cell, "figures": found, "warnings": read_lines(out / cell["run"] / "warnings.jsonl")}
    real: dict[str, float] = {}
    for kind in ("fast", *SLOW):
        real |= figures(json.loads((out / f"real.{kind}.json").read_text(encoding="utf-8")))
    yield REAL, {"figures": real, "state": "done", "warnings": []}


def table(made: Sequence[tuple[str, dict[str, Any]]]) -> tuple[list[str], list[list[str]]]:
    """A row a recipe, the best cFID first."""
    names = list(next(row["figures"] for _, row in made if row["figures"]))
    by: dict[str, list[dict[str, Any]]] = {}
    for name, row in made:
        by.setdefault(name, []).append(row)

    def mean(name: str) -> float:
        values = [row["figures"]["cFID"] for row in by[name] if row["figures"]]
        return sum(values) / len(values) if values else float("inf")

    lines = []
    for name in sorted(by, key=mean):
        done = [row for row in by[name] if row["state"] == "done"]
        spent = [spread_of([float(row[k]) for row in done if row.get(k)], ".0f") for k in ("steps", "images", "seconds")]
        remarks = "; ".join(sorted({row.get("remark", "") for row in by[name]} - {""}))
        shown = [spread_of([row["figures"][figure] for row in done if figure in row["figures"]], ".3g") for figure in names]
        lines.append([name, *shown, *spent, remarks])
    return ["recipe", *names, "steps", "images", "seconds", "remarks"], lines


def montage(out: Path, names: Sequence[str], results: Path) -> None:
    """One row of samples a recipe, twice as large as the pixels: the first of the last sheet of its first seed. The sheets beside it, for
    the recipes' cards: six rows, none of them picked."""
    strips = []
    (results / "sheets").mkdir(exist_ok=True)
    for name in names:
        sheets = sorted(path for path in (out / f"{name}-0" / "samples").glob("*.png") if path.stem.isdigit())
        if sheets:
            with Image.open(sheets[-1]) as sheet:
                page = sheet.convert("L")
                # Sheets have 8 columns, or one a class, and may be enlarged by a whole factor.
                columns = 8 if page.width % 274 == 0 else 10
                page = page.crop((0, 0, page.width, page.width * 206 // (34 * columns + 2)))
                page = page.resize((34 * columns + 2, 206), Image.Resampling.NEAREST)
                page.save(results / "sheets" / f"{name}.webp", lossless=True, method=6)
                strips.append(page.crop((0, 0, 274, 36)).resize((548, 72), Image.Resampling.NEAREST))
    page = Image.new("L", (strips[0].width, 72 * len(strips)), "white")
    for i, strip in enumerate(strips):
        page.paste(strip, (0, 72 * i))
    page.save(results / "scoreboard.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--budget", default="120s", help="training time of each run, turned into images")
    parser.add_argument("--seeds", default="3")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", help="these recipes")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    names = args.only or recipes()
    spent = ["--budget", args.budget, "--seeds", args.seeds, "--jobs", str(args.jobs)]
    words = ["compare", *names, *DATA, *spent, *FAST, "--checkpoints", "3"]
    status = subprocess.run([sys.executable, "-m", "ganzoo", *words, "--out", str(args.out)], check=False).returncode
    if status not in (0, 1):  # 1: some cells failed, which the table says
        sys.exit(status)
    made = list(rows(args.out, names, args.jobs))
    head, lines = table(made)
    text = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *lines)]
    protocols = [e["line"] for kind in ("fast", *SLOW) for e in json.loads((args.out / f"real.{kind}.json").read_text(encoding="utf-8"))]
    there = machine.describe()
    about = [
        "# Score board", "", "Made by `benchmarks/scoreboard.py`, which says what is done. Mean (lowest to highest) over the seeds.",
        "Seconds are of the wall clock, whatever else the machine did: the budget is kept by the images.", "",
        *text, "", "![One row of samples a recipe, in the order of the table](scoreboard.png)", "",
        f"`ganzoo {' '.join(words)}`, then `ganzoo evaluate` of each run's last state. Protocols, as they stand for the real images:", "",
        *(f"- {line}" for line in protocols), "",
        f"{datetime.now(UTC).date().isoformat()}, {there['processor']}, torch {there['torch']}, {args.jobs} runs at a time.",
    ]  # fmt: skip
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "scoreboard.md").write_text("\n".join(about) + "\n", encoding="utf-8")
    told = {"rows": [{"name": name, **row} for name, row in made], "protocols": protocols, "machine": there, "command": words}
    (args.results / "scoreboard.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    montage(args.out, [line[0] for line in lines if line[0] != REAL], args.results)
    print("\n".join(text))


if __name__ == "__main__":
    main()
