"""The one step of a run: training, timing, the conformance kit, tests and benchmarks all take it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ganzoo import machine
from ganzoo.compose import Progress, Resolved
from ganzoo.data import Batches, Prepared
from ganzoo.randomness import seed_step

if TYPE_CHECKING:
    from ganzoo.interfaces import Strategy
    from ganzoo.types import Terms


@dataclass
class Session:
    """A run in memory, ready for its next step: configuration, data, networks with their optimisers, batches."""

    resolved: Resolved
    data: Prepared
    strategy: Strategy
    batches: Batches

    @classmethod
    def open(cls, resolved: Resolved, progress: Progress | None = None) -> Session:
        """Prepare the data, then as `on`."""
        machine.pick_device(resolved.run.device)  # a device that is not there is told before data is downloaded or decoded
        return cls.on(resolved.prepare(progress), resolved)

    @classmethod
    def on(cls, data: Prepared, resolved: Resolved) -> Session:
        """Build the networks from the seed, for data that is prepared, and settle what had been left open: device and image size.

        Raises UsageError where the device is not there; GanzooError where a plugin's part cannot be loaded or built.
        """
        machine.set_threads()
        torch.backends.cudnn.deterministic = True
        device = machine.pick_device(resolved.run.device)
        size = data.spec.shape[-1] if data.spec.kind == "image" else resolved.run.image_size
        resolved = resolved.settled(device=device.type, image_size=size)
        run = resolved.run
        strategy = resolved.build(data.spec, device)
        batches = Batches(data.load(), data.spec, run.batch_size, seed=run.seed, device=device, flip=run.flip)
        return cls(resolved, data, strategy, batches)

    def step(self, t: int) -> Terms:
        """Step t, from 0: a function of the strategy's tensors, the seed, t and the position in the data, and of nothing else.

        Seeds the random numbers, computes in the run's precision, and moves the average of G. Returns the terms to be logged, detached.
        """
        run = self.resolved.run
        seed_step(run.seed, t)
        self.strategy.loss.t = t
        with torch.autocast(self.strategy.device.type, torch.bfloat16, enabled=run.precision == "bf16"):
            terms = self.strategy.step(self.batches, t)
        if run.ema:
            self.strategy.average(run.ema, t)
        return terms
