"""The plan of a comparison: entrants, budget, and the share of the budget that each entrant gets."""

from __future__ import annotations

import re
import shlex
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganzoo import machine
from ganzoo.compose import Progress, Resolved
from ganzoo.config import written_size
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import medium

if TYPE_CHECKING:
    from ganzoo.evaluation.request import Reference

ROUNDS = 3  # of timing, in turn
WARM_UP = 3  # steps before the clock is looked at
FIRST_TIMED_STEP = 1001  # neither a warm-up of some strategy nor in a round number, where some do more


@dataclass(frozen=True)
class Budget:
    """The budget of each entrant: generator steps, real images seen, or seconds; one of them."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.seconds:
            return f"{self.seconds:g} s"
        return f"{self.images} images" if self.images else f"{self.steps} steps"


def seconds(text: str) -> float:
    """ "90s", "10m" or "1.5h" in seconds. Raises UsageError."""
    parsed = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())
    if not parsed or not float(parsed[1]):
        raise UsageError(f"--budget: wanted a time as 90s, 10m or 1.5h; got {text!r}.")
    return float(parsed[1]) * {"s": 1, "m": 60, "h": 3600}[parsed[2]]


def slug(label: str) -> str:
    """A label as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-").lower()


@dataclass(frozen=True)
class Plan:
    """All that decides the figures of a comparison.

    entrants: the words after `ganzoo run` of each. fingerprints: of the options that each comes to. shared: options of all.
    evaluation: words after `ganzoo evaluate RUN`. checkpoints: how many are evaluated, evenly spaced; the last is one of them.
    jobs: runs at a time.
    """

    entrants: tuple[tuple[str, ...], ...]
    fingerprints: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: Budget
    shared: tuple[str, ...]
    evaluation: tuple[str, ...]
    checkpoints: int
    jobs: int

    @property
    def labels(self) -> list[str]:
        """The entrants as they were typed."""
        return [shlex.join(words) for words in self.entrants]

    @property
    def threads(self) -> int:
        """Of each run."""
        return max(1, machine.threads() // self.jobs)

    @property
    def budget_line(self) -> str:
        """The budget in words."""
        timed = " (turned into real images by timing each entrant's steps in turn)" if self.budget.seconds else ""
        seeds = ", ".join(map(str, self.seeds))
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"budget: {self.budget}{timed}, each on {threads}; mean (lowest to highest) over the seeds {seeds}"


@dataclass(frozen=True)
class Share:
    """The share of one entrant: its steps, and the images after which it ends earlier; 0: it does not."""

    steps: int
    images: int = 0
    images_per_second: float = 0.0


def share_out(
    plan: Plan, entrants: Sequence[Sequence[str]], configure: Callable[[Sequence[str]], Resolved], progress: Progress
) -> list[Share]:
    """The share of each of these entrants.

    Time is turned into images by timing a few steps of each in turn, A B A B, with the threads of a run: medians. So every seed gets the
    same number of images, a schedule knows its length, and what else the machine does later changes nothing.
    """
    if plan.budget.steps:
        return [Share(plan.budget.steps)] * len(entrants)
    rates: list[list[float]] = [[] for _ in entrants]
    per_step = [0.0] * len(entrants)
    rounds = ROUNDS if plan.budget.seconds else 1
    least = min(10.0, max(1.0, plan.budget.seconds / 50)) if plan.budget.seconds else 0.0
    for i in range(rounds * len(entrants)):
        k = i % len(entrants)
        progress("timing steps", i, rounds * len(entrants))
        rate, per_step[k] = _timed(configure([*entrants[k], *plan.shared]), least, plan.threads)
        rates[k].append(rate)
    progress("timing steps", 1, 1)
    shares = []
    for own, images_per_step in zip(rates, per_step, strict=True):
        rate = statistics.median(own)
        images = plan.budget.images or max(1, round(rate * plan.budget.seconds))
        shares.append(Share(max(1, -(-images // round(images_per_step))), images, round(rate, 1)))
    return shares


def _timed(resolved: Resolved, least: float, threads: int) -> tuple[float, float]:
    """Real images a second, and a step, of a run, over at least so many seconds."""
    import torch

    from ganzoo.training.session import open_session

    _, _, session = open_session(resolved)
    torch.set_num_threads(threads)
    batches = session.batches

    def steps(first: int, enough: Callable[[int], bool]) -> int:
        n = 0
        while not enough(n):
            terms = session.step(FIRST_TIMED_STEP + first + n)
            n += 1
            next(iter(terms.values())).item()  # waits for the device
        return n

    # On a processor, the time that this thread has had: what other processes take meanwhile does not count.
    clock = time.thread_time if session.strategy.device.type == "cpu" else time.monotonic
    steps(0, lambda n: n >= WARM_UP)
    seen, start = batches.seen, clock()
    n = steps(WARM_UP, lambda n: n >= WARM_UP and clock() - start >= least)
    return (batches.seen - seen) / max(clock() - start, 1e-9), (batches.seen - seen) / n


def common_size(entrants: Sequence[Resolved], progress: Progress) -> str | None:
    """The size of images for all where each would take another if it were alone: the largest of these. None: they agree, or have none."""
    fields = [entrant.prepare(progress).spec.fields[entrant.records.main] for entrant in entrants]
    shapes = {field.shape[1:] for field in fields if medium(field.medium).pictures}
    agree = len(shapes) <= 1 or any(entrant.run.image_size for entrant in entrants)
    return None if agree else written_size((0, *max(shapes)))


def common_reference(entrants: Sequence[Resolved], against: str, progress: Progress) -> Reference:
    """The real samples that all entrants are compared with. Raises UsageError where they learn from different data."""
    from ganzoo.evaluation.request import find_reference

    prepared = [entrant.prepare(progress) for entrant in entrants]
    if len({data.checksum for data in prepared}) > 1:
        shapes = [d.spec.fields[e.records.main].shape for e, d in zip(entrants, prepared, strict=True)]
        each = ", ".join(f"{e.recipe.name} {'x'.join(map(str, shape))}" for e, shape in zip(entrants, shapes, strict=True))
        raise UsageError(f"the entrants learn from different data ({each}): name one --dataset and one --image-size.")
    first = entrants[0]
    key, G = first.records.main, first.records.networks.get("generator")
    field = prepared[0].spec.fields[key]
    size = written_size(field.shape) if medium(field.medium).pictures else None
    truth = G is not None and "source" in G.takes  # as far as records tell: what is made of a source has its truth beside it
    return find_reference(first.zoo, first.data.asking(image_size=size), lambda: prepared[0], against, size, progress, key, truth)
