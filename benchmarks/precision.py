"""bf16 against fp32, recipe by recipe, on Fashion-MNIST at 32 pixels: at equal processor time, and at equal steps.

    python benchmarks/precision.py --out runs/precision.jsonl    # trains, measures, writes benchmarks/results/precision.md

Each recipe's quick preset is trained in fp32 for so many seconds of processor time, then in bf16 as long, which is measured when it has
done as many steps, too. One thread, one process; evaluations cost no budget. Stopped, it goes on where it was. Data: Fashion-MNIST's 60,000
training images, in GANZOO_DATA.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from ganzoo import compose, machine
from ganzoo.comparison.table import spread_of
from ganzoo.config import Changes
from ganzoo.files import read_lines
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs.exported import Exported
from ganzoo.training.launch import _evaluator
from ganzoo.training.session import open_session

RECIPES = ["gan", "dcgan", "acgan", "wgan", "wgan-gp", "began"]
N = 5000


def trained(recipe: str, precision: str, seed: int, seconds: float, also_at: int = 0) -> dict[int, float]:
    """cFID after so much processor time, by step; also_at: after so many steps, too."""
    run = {"dataset": "fashion-mnist", "image_size": "32", "device": "cpu", "precision": precision, "seed": seed}
    measured = {"eval_every": 1, "metric": "fid", "features": "classifier", "eval_n": N}
    resolved, data, session = open_session(compose.resolve(catalogue(), recipe, Changes(run | measured, {}, None, {})))
    evaluator = _evaluator(resolved, data, session, lambda *told: None)
    assert evaluator is not None

    def cfid(t: int) -> float:
        (evaluation,) = evaluator(Exported.of(session.strategy, step=t), N)
        return evaluation.figures["cFID"]

    figures: dict[int, float] = {}
    t, spent = 0, 0.0
    while spent < seconds or t < also_at:
        start = time.process_time()
        session.step(t)
        t += 1
        spent += time.process_time() - start
        if t == also_at:
            figures[t] = cfid(t)
    return figures if t in figures else figures | {t: cfid(t)}


def table(rows: list[dict[str, object]]) -> list[list[str]]:
    """Three rows a recipe: the mean (lowest to highest) of its seeds."""
    lines = []
    for recipe in RECIPES:
        own = [row for row in rows if row["recipe"] == recipe]
        for side in ("fp32", "bf16, as many steps", "bf16, as much time") if own else ():
            values, steps = ([float(row[f"{side}: {what}"]) for row in own] for what in ("cFID", "steps"))  # type: ignore[arg-type]
            lines.append([f"`{recipe}`", side, spread_of(steps, ".0f"), spread_of(values, ".1f"), str(len(own))])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--out", type=Path, required=True, help="a file of what has been measured")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):
        for recipe in args.recipes:
            if any((row["recipe"], row["seed"]) == (recipe, seed) for row in read_lines(args.out)):
                continue
            ((steps, fp32),) = trained(recipe, "fp32", seed, args.seconds).items()
            bf16 = trained(recipe, "bf16", seed, args.seconds, also_at=steps)
            made = {"fp32": (steps, fp32), "bf16, as many steps": (steps, bf16[steps]), "bf16, as much time": max(bf16.items())}
            row = {f"{side}: {what}": value for side, pair in made.items() for what, value in zip(("steps", "cFID"), pair, strict=True)}
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"recipe": recipe, "seed": seed, "seconds": args.seconds, **row}) + "\n")
    lines = table(read_lines(args.out))
    text = [
        "# bf16 against fp32", "",
        f"Made by `benchmarks/precision.py --seconds {args.seconds:g} --seeds {args.seeds}`: the quick presets on Fashion-MNIST's",
        f"60,000 at 32 pixels, {args.seconds:g} s of processor time a run; the last state, cFID of {N:,} samples; mean (lowest to highest)",
        "over the seeds.", "",
        *("| " + " | ".join(line) + " |" for line in (["recipe", "", "steps", "cFID", "seeds"], ["---"] * 5, *lines)), "",
        f"{datetime.now(UTC).date().isoformat()}, {machine.processor()}, one thread, torch {machine.describe()['torch']}.",
    ]  # fmt: skip
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "precision.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
