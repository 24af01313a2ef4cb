"""Do the GANs of texts improve on maximum likelihood, and at what price? On texts of a known oracle, and on captions.

    python benchmarks/texts.py oracle converged gumbel --seeds 0 1 2
    python benchmarks/texts.py captions
    python benchmarks/texts.py --table                      # only the table, from the results that there are

Each check trains a recipe, and measures it where the play begins ("MLE") and at its end:

* oracle: `seqgan` as it is by default, on 5,000 texts of 8 words of 64 from a random LSTM (another one for each seed); and with rewards
  that are shuffled among the texts of a batch, which must do no good.
* converged: the same after 4,000 steps of maximum likelihood in the place of 235.
* gumbel: `gumbel` as it is by default, on the texts of `oracle`.
* captions: `seqgan` on 10,000 captions of COCO of up to 20 words, all words known, with as many steps as fit a processor.

nll-oracle: how improbable G's texts are under the oracle, a word, in nats: quality. nll-test: how improbable G finds 5,000 held-out texts
(10,000 captions): variety. unique: share of texts that are different ones. bleu, self-bleu: up to 4 words, against the held-out texts.

The captions are looked for in GANZOO_TEST_DATA, or in shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ganzoo

DATA = Path(os.environ.get("GANZOO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
RESULTS = Path(__file__).parent / "results" / "texts.json"
Rows = Iterator[tuple[str, dict[str, float]]]
JUDGE = 390  # steps of the quick presets after maximum likelihood, and
PLAY = {"seqgan": 240, "gumbel": 720}  # then


def figures(path: Path, metric: str, n: int, **settings: Any) -> dict[str, float]:
    """Of a run or a checkpoint, against what is held out."""
    evaluations = ganzoo.evaluate(path, metric=metric, n=n, against="test", settings=settings)
    return {name: value for evaluation in evaluations for name, value in evaluation.figures.items()}


def trained(recipe: str, place: Path, seed: int, mle: int, options: dict[str, Any]) -> tuple[Path, Path]:
    """A run on an oracle's texts, and its checkpoint where the play begins."""
    run = ganzoo.train(
        recipe, out=place, seed=seed, steps=mle + JUDGE + PLAY[recipe], save_every=mle + JUDGE, sample_every=10_000,
        dataset="seqgan-oracle", options={"dataset.seed": seed, "strategy.mle_steps": mle, **options},
    )  # fmt: skip
    return run, run / "checkpoints" / f"{mle + JUDGE:06d}.safetensors"


def known(path: Path, seed: int) -> dict[str, float]:
    return figures(path, "nll-oracle,nll-test,unique", 5000, **{"nll-oracle.seed": seed})


def seqgan(place: Path, seed: int, mle: int) -> Rows:
    run, begun = trained("seqgan", place / "seqgan", seed, mle, {})
    yield "MLE", known(begun, seed)
    yield "SeqGAN", known(run, seed)
    run, _ = trained("seqgan", place / "shuffled", seed, mle, {"strategy.shuffle_rewards": True})
    yield "shuffled rewards", known(run, seed)


def oracle(place: Path, seed: int) -> Rows:
    yield from seqgan(place, seed, 235)


def converged(place: Path, seed: int) -> Rows:
    yield from seqgan(place, seed, 4000)


def gumbel(place: Path, seed: int) -> Rows:
    run, begun = trained("gumbel", place / "gumbel", seed, 235, {})
    yield "MLE", known(begun, seed)
    yield "Gumbel-softmax", known(run, seed)


def captions(place: Path, seed: int) -> Rows:
    folder = place / "coco"
    folder.mkdir(parents=True)
    for name, file in (("train", "image_coco.txt"), ("test", "test_coco.txt")):
        (folder / f"{name}.txt").symlink_to(DATA / "text" / file)
    mle, judge, play = 1500, 200, 60
    run = ganzoo.train(
        "seqgan", out=place / "seqgan", seed=seed, dataset=folder, length=20, vocabulary=10_000, steps=mle + judge + play,
        save_every=mle + judge, sample_every=10_000,
        options={"strategy.mle_steps": mle, "strategy.judge_steps": judge, "strategy.d_steps": 10, "strategy.rollouts": 2},
    )  # fmt: skip
    for name, path in (("MLE", run / "checkpoints" / f"{mle + judge:06d}.safetensors"), ("SeqGAN", run)):
        yield name, figures(path, "bleu,nll-test,unique", 2000)
        print("\n".join(ganzoo.load(path).sample(10, seed=1)), flush=True)


CHECKS: dict[str, Callable[[Path, int], Rows]] = {"oracle": oracle, "converged": converged, "gumbel": gumbel, "captions": captions}


def table(results: dict[str, Any]) -> str:
    """The results as Markdown: means over the seeds, and the single ones where there are several."""
    lines = []
    for check, cases in results.items():
        heads = list(next(iter(next(iter(cases.values())).values())))
        lines += [f"\n**{check}**\n", f"| | seeds | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
        for case, seeds in cases.items():
            cells = []
            for head in heads:
                values = [told[head] for told in seeds.values()]
                each = f" ({', '.join(f'{value:.3f}' for value in values)})" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.3f}{each}")
            lines.append(f"| {case} | {', '.join(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


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
                began = time.process_time()
                for case, told in CHECKS[check]((asked.out or Path(temporary)) / f"{check}-{seed}", seed):
                    print(f"{check}, seed {seed}, {case}: {told}, {time.process_time() - began:.0f} s", flush=True)
                    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                    results.setdefault(check, {}).setdefault(case, {})[str(seed)] = told
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
                    RESULTS.with_suffix(".md").write_text(f"# Texts\n\nBy benchmarks/texts.py.\n{table(results)}")
    print(table(json.loads(RESULTS.read_text()) if RESULTS.exists() else {}))


if __name__ == "__main__":
    main()
