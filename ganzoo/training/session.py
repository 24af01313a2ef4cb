"""The one step of a run: training, timing, the conformance kit, tests and benchmarks all take it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ganzoo import machine
from ganzoo.compose import Progress, Resolved
from ganzoo.config import written_size
from ganzoo.data import Batches, Prepared
from ganzoo.randomness import seed_step
from ganzoo.registry.catalogue import medium

if TYPE_CHECKING:
    from ganzoo.interfaces import Strategy
    from ganzoo.types import Terms


@dataclass
class Session:
    """Networks with their optimisers, batches, and what else decides a step: the seed, the precision, the decay of the average of G."""

    strategy: Strategy
    batches: Batches
    seed: int = 0
    precision: str = "fp32"
    ema: float = 0.0

    @classmethod
    def of(cls, resolved: Resolved, data: Prepared) -> Session:
        """The session of a run on its data, ready for step 0, built from the seed alone.

        Raises UsageError where the run's device is not there; GanzooError where a plugin's part cannot be loaded or built.
        """
        machine.set_threads()
        torch.backends.cudnn.deterministic = True
        run, device = resolved.run, machine.pick_device(resolved.run.device)
        strategy = resolved.build(data.spec, device)
        batches = Batches(data.load(), data.spec, run.batch_size, seed=run.seed, device=device, flip=run.flip)
        return cls(strategy, batches, run.seed, run.precision, run.ema)

    def step(self, t: int) -> Terms:
        """Step t, from 0: a function of the strategy's tensors, the seed, t and the position in the data, and of nothing else.

        Seeds the random numbers, computes in the given precision, and moves the average of G. Returns the terms to be logged, detached.
        """
        seed_step(self.seed, t)
        self.strategy.loss.t = t
        with torch.autocast(self.strategy.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            terms = self.strategy.step(self.batches, t)
        if self.ema:
            self.strategy.average(self.ema, t)
        return terms


def open_session(resolved: Resolved, progress: Progress | None = None) -> tuple[Resolved, Prepared, Session]:
    """A run ready for step 0: with its device and image size settled, its data, its session."""
    device = machine.pick_device(resolved.run.device)  # a device that is not there is told before data is downloaded or decoded
    data = resolved.prepare(progress)
    if medium(data.spec.kind).pictures:
        resolved = resolved.settled(image_size=written_size(data.spec.shape))
    resolved = resolved.settled(device=device.type)
    return resolved, data, Session.of(resolved, data)
