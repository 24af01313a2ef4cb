"""The spam game on the SMS Spam Collection: what passes David's filter before and after Gary has learnt from his verdicts.

    python benchmarks/spam.py --seeds 0 1 2                  # trains, measures, writes benchmarks/results/spam.md
    python benchmarks/spam.py --seeds 0 --words 0            # the whole vocabulary

Each run is stopped when the play begins, and measured; then it goes on, and is measured again. accuracy: of David on the held-out fifth of
the mails; the mean of that of ham and of spam beside it, since seven mails of eight are ham. passes: the share of 500 of Gary's mails that
David calls ham, for both players before and after. The control is a Gary who gets the rewards of other mails than his own.

The data is looked for in GANZOO_TEST_DATA, or in shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

import ganzoo
from ganzoo import machine
from ganzoo.files import write_text

DATA = Path(os.environ.get("GANZOO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
RESULTS = Path(__file__).parent / "results" / "spam.json"
WRITTEN = 500


def held_out() -> tuple[list[str], torch.Tensor]:
    """The texts of every fifth mail, as `mails-test` has them, and 1 for ham, 0 for spam."""
    lines = [line for line in (DATA / "text" / "SMSSpamCollection").read_text(encoding="utf-8").splitlines() if line.strip()][::5]
    return [line.partition("\t")[2].strip() for line in lines], torch.tensor([int(line.startswith("ham")) for line in lines])


def played(seed: int, words: int, shuffled: bool, place: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Figures when the play begins, and at its end."""
    preset = ganzoo.catalogue().recipe("spam").presets["quick"]
    begin = preset["strategy.mle_steps"] + preset["strategy.judge_steps"]
    options = {"dataset.words": words, "strategy.shuffle_rewards": shuffled}
    run = ganzoo.train("spam", dataset="mails", data_dir=DATA, seed=seed, steps=begin, keep=0, options=options, out=place)
    ganzoo.resume(run, steps=preset["steps"])
    texts, y = held_out()
    paths = {name: run / "checkpoints" / f"{step:06d}.safetensors" for name, step in (("before", begin), ("after", preset["steps"]))}
    davids = {name: ganzoo.load(path, "david") for name, path in paths.items()}
    garys = {name: ganzoo.load(path, "gary").sample(WRITTEN, seed=1, to="tensor") for name, path in paths.items()}
    for name, david in davids.items():
        right = torch.as_tensor(david.apply(texts, to="tensor")).argmax(1) == y
        figures = {
            "accuracy": float(right.double().mean()),
            "mean of both kinds": float((right[y == 1].double().mean() + right[y == 0].double().mean()) / 2),
        }
        for gary, mails in garys.items():
            figures[f"Gary {gary} passes"] = float(torch.as_tensor(david.apply(mails, to="tensor")).argmax(1).double().mean())
        yield name, figures


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The results as Markdown: the mean (lowest to highest) over the seeds."""
    heads = list(next(iter(next(iter(results.values())).values())))
    lines = [f"| David | seeds | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    for case, seeds in results.items():
        cells = []
        for head in heads:
            values = [figures[head] for figures in seeds.values()]
            spread = f" ({min(values):.3f} to {max(values):.3f})" if max(values) > min(values) else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        lines.append(f"| {case} | {', '.join(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--words", type=int, default=2000, help="of the vocabulary; 0: all")
    parser.add_argument("--shuffled", action="store_true", help="the control alone")
    asked = parser.parse_args()
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as place:
            for moment, figures in played(seed, asked.words, asked.shuffled, Path(place) / "run"):
                case = f"{moment}{', shuffled rewards' if asked.shuffled else ''}, {asked.words or 'all'} words"
                print(f"seed {seed}, {case}: {figures}", flush=True)
                results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                results.setdefault(case, {})[str(seed)] = figures
                write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    made = f"{machine.processor()}, torch {torch.__version__}, {machine.now():%Y-%m-%d}; python benchmarks/spam.py"
    write_text(RESULTS.with_suffix(".md"), f"# The spam game\n\n{table(json.loads(RESULTS.read_text()))}\n\n{made}\n")
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
