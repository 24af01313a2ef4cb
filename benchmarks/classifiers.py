"""What do the classifiers inside GANs know? Accuracy on held-out pictures, beside the same network trained to classify and nothing else.

    python benchmarks/classifiers.py                        # all checks, seeds 0, 1, 2
    python benchmarks/classifiers.py sgan --seeds 0 --steps 600
    python benchmarks/classifiers.py --table                # only the table, from the results that there are

* acgan: `acgan` on Fashion-MNIST's 60,000 pictures at 32 pixels, quick preset. D's class head against D's network with the cross-entropy of
  real pictures alone, for as many steps.
* sgan: `sgan` on MNIST with 100 labels, quick preset. D against D's network on those labels alone, for as many steps, which is what
  `--loss.unlabelled 0` trains.
* odena: the same with a softmax over K + 1 classes and an adversarial G, with a tenth of the learning rate.

Each is measured on the 10,000 held-out pictures, by `ganzoo evaluate`'s own way. seconds: of the processor, all that the training takes.
The data is looked for in GANZOO_TEST_DATA, or in shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

import ganzoo
from ganzoo import compose
from ganzoo.config import Changes, written_size
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.request import find_reference, requested
from ganzoo.randomness import seed_step
from ganzoo.runs.exported import Exported
from ganzoo.training.session import open_session

DATA = Path(os.environ.get("GANZOO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
RESULTS = Path(__file__).parent / "results" / "classifiers.json"
CHECKS: dict[str, dict[str, Any]] = {
    "acgan": {"dataset": "fashion-mnist", "image_size": "32"},
    "sgan": {"dataset": "mnist", "labelled": 100},
    "odena": {},
}
Rows = Iterator[tuple[str, dict[str, float]]]


def trained(recipe: str, place: Path, **run: Any) -> dict[str, float]:
    """Accuracy of a GAN's classifier, and the steps and the processor's seconds that it took."""
    began = time.process_time()
    folder = ganzoo.train(recipe, out=place, data_dir=DATA, **CHECKS[recipe], **run)
    seconds = time.process_time() - began
    (evaluation,) = ganzoo.evaluate(folder, network="classifier", metric="accuracy", against="test")
    return {"accuracy": evaluation.figures["accuracy"], "steps": evaluation.step or 0, "seconds": round(seconds, 1)}


def plain(recipe: str, seed: int, steps: int) -> dict[str, float]:
    """The same of D's network with the cross-entropy of labelled pictures alone: same batches, optimiser, precision and average."""
    changes = Changes({**CHECKS[recipe], "data_dir": str(DATA), "seed": seed, **({"steps": steps} if steps else {})})
    resolved, data, session = open_session(compose.resolve(ganzoo.catalogue(), recipe, changes))
    strategy, export = session.strategy, session.strategy.exports()["classifier"]
    D, optimiser = strategy.get_submodule("D"), strategy.optimisers()["opt_D"]
    x, y = export.names["x"], export.gives
    assert isinstance(D, ganzoo.Network)
    assert isinstance(y, str)
    began = time.process_time()
    for t in range(resolved.run.steps):
        seed_step(seed, t)
        batch = next(session.batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=session.precision == "bf16"):
            class_logits = D(x=batch[x])[D.record.gives.index("class_logits")]
        optimiser.zero_grad()
        cross_entropy(class_logits.float(), batch[y]).backward()
        optimiser.step()
        if session.ema:
            strategy.average(session.ema, t)
    took, product = time.process_time() - began, Exported.of(strategy, "classifier", resolved.run.steps)
    size = written_size(data.spec.fields[x].shape)
    reference = find_reference(ganzoo.catalogue(), resolved.data, lambda: data, "test", size, key=y, truth=True)
    request = requested(ganzoo.catalogue(), reference, ganzoo.catalogue().measures("accuracy", ""))
    (evaluation,) = Evaluator(request, reference, lambda: data, strategy.device)(product, request.n)
    return {"accuracy": evaluation.figures["accuracy"], "steps": resolved.run.steps, "seconds": round(took, 1)}


def check(recipe: str, seed: int, place: Path, steps: int) -> Rows:
    run: dict[str, Any] = {"seed": seed, **({"steps": steps} if steps else {})}
    if recipe == "odena":
        parts = {"discriminator": "k-plus-1", "loss": "k-plus-1"}
        options = {"discriminator.width": 500, "strategy.lr_g": 3e-4, "strategy.lr_d": 3e-4}
        yield "K + 1 classes", trained("sgan", place, parts=parts, options=options, **run)
        return
    yield recipe, trained(recipe, place, **run)
    yield "plain", plain(recipe, seed, steps)


def table(results: dict[str, Any]) -> str:
    """The results as Markdown: mean (lowest to highest) over the seeds."""
    lines = []
    for name, cases in results.items():
        lines += [f"\n**{name}**\n", "| | seeds | accuracy | steps | seconds |", "|---|---|---|---|---|"]
        for case, seeds in cases.items():
            values = [v["accuracy"] for v in seeds.values()]
            told = f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"
            steps, seconds = (statistics.mean(v[key] for v in seeds.values()) for key in ("steps", "seconds"))
            lines.append(f"| {case} | {', '.join(seeds)} | {told} | {steps:.0f} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="which; by default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=0, help="of the GANs; by default those of their quick presets")
    parser.add_argument("--table", action="store_true", help="print the table and end")
    parser.add_argument("--out", type=Path, help="where the runs are kept; by default nowhere")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for seed in [] if asked.table else asked.seeds:
            for recipe in asked.checks or CHECKS:
                for case, figures in check(recipe, seed, (asked.out or Path(temporary)) / f"{recipe}-{seed}", asked.steps):
                    print(f"{recipe}, seed {seed}, {case}: {figures}", flush=True)
                    if not asked.steps:  # shorter runs are for a look
                        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                        results.setdefault(recipe, {}).setdefault(case, {})[str(seed)] = figures
                        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text()) if RESULTS.exists() else {}))


if __name__ == "__main__":
    main()
