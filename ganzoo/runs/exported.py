"""Samples of a generator as they would be saved, the same ones whenever they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, UsageError
from ganzoo.pictures import to_bytes
from ganzoo.randomness import seed_of

if TYPE_CHECKING:
    from ganzoo.interfaces import Generator

DRAWN = 250  # latents that one seed gives: it decides what the samples are, so it stays as it is
TOGETHER = 50  # latents that the generator is given together


def drawn(
    call: Callable[..., Tensor], G: Generator, given: Sequence[str], n: int, seed: int, labels: Tensor | None
) -> Iterator[Tensor]:
    """n samples of a generator as they would be saved: uint8 images, or points, some at a time. The same ones whatever came before.

    call(z, given): draws. given: the conditions that it takes. labels: classes (n,); None: each as often as the next.
    Raises GanzooError where a sample is not a finite number.
    """
    if unknown := [key for key in given if key != "y"]:
        raise UsageError(f"the generator needs {', '.join(unknown)}, which an evaluation cannot give.")
    y = torch.arange(n) % max(G.spec.classes, 1) if labels is None else labels
    for start in range(0, n, DRAWN):
        count = min(DRAWN, n - start)
        torch.manual_seed(seed_of(seed, "drawn", start // DRAWN))
        z = G.latent(DRAWN)[:count]
        some = y[start : start + count]
        with torch.no_grad():
            parts = [call(z[i : i + TOGETHER], {"y": some[i : i + TOGETHER]} if "y" in given else {}) for i in range(0, count, TOGETHER)]
        x = torch.cat(parts).float().cpu()
        if not bool(x.isfinite().all()):
            raise GanzooError("the generator draws samples that are not finite numbers: nothing can be measured.")
        yield to_bytes(x) if G.spec.kind == "image" else x
