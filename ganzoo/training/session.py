"""The one step of a run: training, timing, the conformance kit, tests and benchmarks all take it here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo import machine, processes, ranks
from ganzoo.compose import Progress, Resolved
from ganzoo.config import size_of, written_size
from ganzoo.data import Batches, Prepared
from ganzoo.errors import GanzooError, UsageError
from ganzoo.interfaces import Network
from ganzoo.randomness import Draws, seed_step, within
from ganzoo.ranks import Part
from ganzoo.registry.catalogue import medium
from ganzoo.training.capture import Captured

if TYPE_CHECKING:
    from ganzoo.strategy import Strategy
    from ganzoo.types import Batch, Terms


@dataclass
class Session:
    """Networks with their optimisers, batches, and what else decides a step: the seed, the precision, the decay of the averages, whether
    BatchNorm looks at all ranks."""

    strategy: Strategy
    batches: Batches
    seed: int = 0
    precision: str = "fp32"
    ema: float = 0.0
    sync_batchnorm: bool = True
    captured: Captured | None = None

    def __post_init__(self) -> None:
        self.part = self.batches.part  # of each batch, on this rank

    @classmethod
    def of(cls, resolved: Resolved, data: Prepared) -> Session:
        """The session of a run on its data, ready for step 0, built from the seed alone.

        Raises UsageError where the run's device is not there; GanzooError where a plugin's part cannot be loaded or built.
        """
        machine.set_threads()
        machine.keep_memory()
        run, device = resolved.run, machine.pick_device(resolved.run.device, resolved.run.precision)
        precision = resolved.precision(data.spec, device)
        machine.set_arithmetic(device, precision)
        batches = batches_of(resolved, data, device, ranks.part_of(run.batch_size))
        strategy = resolved.build(batches.spec, device, batches.degradation)
        if precision == "bf16":
            for network in strategy.modules():
                if isinstance(network, Network):
                    network.register_forward_hook(lambda module, inputs, outputs: _fp32(outputs))
        if run.sync_batchnorm:
            ranks.join_batchnorm(strategy)
        session = cls(strategy, batches, run.seed, precision, run.ema, run.sync_batchnorm)
        if run.capture:
            session.captured = Captured(session)
            for optimiser in strategy.optimisers().values():
                optimiser._warned_capturable_if_run_uncaptured = True  # the first steps are not captured
                for group in optimiser.param_groups:
                    group["capturable"] = True
        return session

    def step(self, t: int) -> Terms:
        """Step t, from 0: a function of the strategy's tensors, the seed, t and the position in the data, and of nothing else.

        Seeds the random numbers, sets what is scheduled, computes in the given precision, and moves the averages. Returns the terms to be
        logged, detached. Raises GanzooError where the strategy computes terms without learning from them.
        """
        if self.captured is not None:
            return self.captured.step(t)
        self.begin(t)
        terms = self.take(self.batches, t, Draws((self.seed, "step", t)))
        self.end(t)
        return terms

    def begin(self, t: int) -> None:
        """What comes before the computation of step t."""
        strategy, game = self.strategy, self.strategy.loss
        seed_step(self.seed, t)
        strategy.schedule(t)
        game.scheduled = {name: torch.full((), value, device=strategy.device) for name, value in game.loss.schedule(t).items()}

    def take(self, batches: Iterator[Batch], t: int, scope: Draws) -> Terms:
        """The computation of step t on these batches, with the draws of this scope."""
        strategy = self.strategy
        cast = torch.autocast(strategy.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with ranks.sharing(self.part), within(scope), cast:
            terms = strategy.step(batches, t)
        if strategy.loss.turns:
            raise GanzooError(f"strategy {type(strategy).__name__}: its step asks the loss for terms that it never passes to self.update.")
        return terms

    def end(self, t: int) -> None:
        """What comes after it."""
        if self.ema:
            self.strategy.average(self.ema, t)


def _fp32(outputs: Any) -> Any:
    """What a network gives in bf16, in fp32: losses, and what is added up, need more than 8 bits."""
    if isinstance(outputs, tuple):
        return tuple(map(_fp32, outputs))
    return outputs.float() if isinstance(outputs, Tensor) and outputs.dtype == torch.bfloat16 else outputs


def batches_of(resolved: Resolved, data: Prepared, device: torch.device, part: Part | None = None) -> Batches:
    """The batches of a run, or a rank's part of them, at the first one."""
    run, degradation = resolved.run, resolved.degradation(resolved.cropped(data.spec), device)
    return Batches(
        data.mapped, data.spec, run.batch_size, seed=run.seed, device=device, flip=run.flip, crop=size_of(run.crop),
        degradation=degradation, part=part, check=data.check,
    )  # fmt: skip


def usable_device(resolved: Resolved, n: int = 1) -> torch.device:
    """The device of a run that n processes share. Raises UsageError where it is not there, or cannot do what is asked of it."""
    run = resolved.run
    device = machine.pick_device(run.device, run.precision)
    if run.capture and device.type != "cuda":
        raise UsageError(f"--capture: CUDA graphs are for CUDA alone, and the device here is {device.type}. Leave it out.")
    if run.capture and n > 1:
        raise UsageError(f"--capture: it is for one process, and {n} share this run. Leave it out.")
    if n > 1 and device.type == "mps":
        raise UsageError(f"--device mps: it is for one process, and {n} share this run. Take --device cpu.")
    return device


def open_session(resolved: Resolved, progress: Progress | None = None) -> tuple[Resolved, Prepared, Session]:
    """A run ready for step 0: with its device, precision and image size settled, its data, its session."""
    device = usable_device(resolved)  # one that is not there is told before data is downloaded or decoded
    resolved, data = resolved.prepared(progress)
    processes.join()
    processes.meet()  # a rank may have prepared for longer than the others
    usable_device(resolved, ranks.world())
    field = data.spec.fields[resolved.records.main]
    if medium(field.medium).pictures and resolved.run.crop is None:
        resolved = resolved.settled(image_size=written_size(field.shape))
    # Of machines that differ, all take what the first one can.
    resolved = resolved.settled(device=device.type, precision=processes.told(resolved.precision(data.spec, device)))
    return resolved, data, Session.of(resolved, data)
