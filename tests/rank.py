"""One rank of several for test_ranks.py, or all of it on one process; torchrun's environment variables say which.

python rank.py OUT BATCH RECIPE[+WRAPPER][:OPTIONS] ... takes steps of each recipe's small version on toy data: one in float32, and in
float64 three and the first one of each later phase. All tensors and the logged terms are written to OUT/TYPE/RECIPE.safetensors and .json.
In float64 all numbers are, those that are drawn and those that say .float(). With "last" among the options, it takes steps "first" to
"last" in float64 alone, after the state in the file "from".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ganzoo import processes, ranks
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.testing.case import moments
from ganzoo.testing.cases import Cases


def learn(out: Path, batch: int, asked: str, steps: int) -> None:
    name, _, options = asked.partition(":")
    recipe, _, wrapper = name.partition("+")
    case = Cases(catalogue()).of(recipe)[0]
    case.changes.wrappers = (wrapper,) if wrapper else None
    chosen = json.loads(options or "{}")
    before, first, last = chosen.pop("from", ""), chosen.pop("first", 0), chosen.pop("last", 0)
    resolved = case.resolved(**{"batch_size": batch, "ema": 0.9, "flip": True, **chosen})
    session = case.session(resolved)
    if before:
        checkpoint.restore(session.strategy, load_file(before))
    session.batches.position = first
    terms = []
    for t in range(first, last) if last else moments(session, steps) if steps > 1 else [0]:
        values = session.step(t)
        with ranks.sharing(session.batches.part):
            terms.append({key: float(ranks.over_ranks(value)) for key, value in values.items()})
    tensors = {key: value.detach().clone().contiguous() for key, value in checkpoint.tensors_of(session.strategy).items()}
    if resolved.run.sync_batchnorm:
        processes.agree(tensors)
    else:
        processes.agree({key: p.detach() for key, p in session.strategy.named_parameters()})
    if ranks.rank() == 0:
        save_file(tensors, out / f"{name}.safetensors")
        (out / f"{name}.json").write_text(json.dumps(terms))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind, steps in (("float32", 1), ("float64", 3)):
        if kind == "float32" and "last" in sys.argv[3]:
            continue
        if kind == "float64":
            torch.set_default_dtype(torch.float64)
            torch.Tensor.float = torch.Tensor.double
        folder = Path(sys.argv[1], kind)
        folder.mkdir(parents=True, exist_ok=True)
        for asked in sys.argv[3:]:
            learn(folder, int(sys.argv[2]), asked, steps)
    processes.end(0)
