"""The only training loop. It knows no GAN: it seeds, steps, logs, samples and saves."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo import pictures
from ganzoo.errors import GanzooError, RunStopped
from ganzoo.evaluation.record import Evaluation
from ganzoo.randomness import seed_step
from ganzoo.runs import checkpoint
from ganzoo.runs.exported import drawn
from ganzoo.runs.folder import Run, add_evaluation
from ganzoo.training.health import Health, apartness, not_finite, spread

if TYPE_CHECKING:
    from ganzoo.config import Config, RunOptions
    from ganzoo.data import Batches, Prepared
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.interfaces import Strategy
    from ganzoo.types import Batch, Terms

ROWS = 8


class Watch:
    """What follows a run, told of each event; this one ignores them all."""

    def progress(self, what: str, done: int, total: int) -> None: ...
    def opened(self, folder: Path, config: Config, prepared: Prepared, strategy: Strategy) -> None: ...
    def logged(self, step: int, values: Mapping[str, float], images_per_second: float) -> None: ...
    def sampled(self, step: int, path: Path, x: Tensor) -> None: ...
    def evaluated(self, step: int, evaluations: Sequence[Evaluation]) -> None: ...
    def saved(self, step: int, path: Path) -> None: ...
    def warned(self, text: str) -> None: ...
    def abandoned(self) -> None: ...


def train(
    strategy: Strategy,
    batches: Batches,
    run: Run,
    options: RunOptions,
    watch: Watch,
    *,
    about: Mapping[str, Any],
    made_with: Mapping[str, Any],
    t: int = 0,
    evaluator: Evaluator | None = None,
) -> None:
    """Train from step t to options.steps, leaving metrics, sample sheets and checkpoints in the run folder.

    about: what the generator's file says of itself; made_with: what a checkpoint says. evaluator: measures it every options.eval_every.
    Raises RunStopped after a signal or a term that is not finite, when what was reached has been saved.
    """
    state = _State(strategy, batches, run, watch, about, made_with, options.keep)
    preview = _Preview(strategy, batches, options.seed)
    health = Health(strategy.loss.d_won)
    autocast = torch.autocast(strategy.device.type, torch.bfloat16, enabled=options.precision == "bf16")
    clock = _Clock(run, batches, watch)
    parameters = list(strategy.parameters())
    with _signals(watch) as caught:
        if t == 0:
            preview.take(run, 0, watch)
        state.remember(t)
        stops = False
        last = False
        while not last and not stops:
            with autocast:
                values = take_step(strategy, batches, options.seed, t)
            if options.ema:
                strategy.average(options.ema, t)
            t += 1
            # Looked at once a step: a signal that comes while this one is logged or sampled stops after the next.
            last, stops = t >= options.steps or bool(options.images and batches.seen >= options.images), bool(caught)
            measures = evaluator is not None and (t % options.eval_every == 0 or last)
            logs, saves = t % options.log_every == 0 or last, t % options.save_every == 0 or last or stops or measures
            if logs or saves:
                told = _read(values)
                bad = not_finite(told) or ("" if _finite(parameters) else "a weight")
                if bad:
                    good = state.save_remembered()
                    raise RunStopped(
                        f"{bad} is not a finite number at step {t}. The last healthy state, of step {good}, is saved; "
                        "start again with a smaller learning rate or in --precision fp32."
                    )
            if logs:
                state.remember(t)
                rate = clock.log(t, told)
                watch.logged(t, told, rate)
                if warning := health.logged(told):
                    _warn(run, watch, t, warning)
            if t % options.sample_every == 0 or last:
                for warning in health.sampled(*preview.take(run, t, watch)):
                    _warn(run, watch, t, warning)
            # Before it is saved: a run that is killed in between goes on from before, and measures again.
            if evaluator is not None and measures:
                with clock.stopped():
                    _evaluate(evaluator, strategy, run, watch, t, options.eval_n)
            if saves:
                state.save(t, must=last or stops)
    if stops and not last:
        name = signal.Signals(caught[0]).name
        raise RunStopped(f"stopped by {name} after step {t}, which is saved. `ganzoo resume {run.folder}` goes on.", 128 + caught[0])


def take_step(strategy: Strategy, batches: Iterator[Batch], seed: int, t: int) -> Terms:
    """Step t: a function of the strategy's tensors, the seed, t and the batches, and of nothing else."""
    seed_step(seed, t)
    strategy.loss.t = t
    return strategy.step(batches, t)


def _evaluate(evaluator: Evaluator, strategy: Strategy, run: Run, watch: Watch, t: int, n: int) -> None:
    """Measure the strategy as it stands; what fails costs a warning. The next step, seeded anew, does not see the numbers drawn here."""
    given = strategy.build.parts["generator"].given
    try:
        samples = drawn(strategy.sample, strategy.G, given, n, evaluator.asked.seed, evaluator.labels(n))
        made = evaluator(samples, n, t, f"checkpoints/{t:06d}.safetensors")
        for evaluation in made:
            add_evaluation(run.folder, evaluation.to_json())
        watch.evaluated(t, made)
    except Exception as e:  # out of memory, a metric of somebody's: no reason to end a run
        _warn(run, watch, t, f"not evaluated at step {t}: {str(e) if isinstance(e, GanzooError) else f'{type(e).__name__}: {e}'}")


def _warn(run: Run, watch: Watch, t: int, text: str) -> None:
    with _best_effort(watch):
        run.warn(t, text)
    watch.warned(text)


class _State:
    """Saves the run, and remembers the last state that was healthy."""

    def __init__(
        self, strategy: Strategy, batches: Batches, run: Run, watch: Watch, about: Mapping[str, Any], made_with: Mapping[str, Any],
        keep: int,
    ) -> None:  # fmt: skip
        self.strategy, self.batches, self.run, self.watch, self.about, self.made_with = strategy, batches, run, watch, about, made_with
        self.keep = keep
        self._kept: dict[str, Tensor] = {}
        self._meta: dict[str, Any] = {}

    def remember(self, t: int) -> None:
        live = {name: value.detach() for name, value in checkpoint.tensors_of(self.strategy).items()}
        if self._kept.keys() == live.keys():
            for name, value in live.items():
                self._kept[name].copy_(value)
        else:
            self._kept = {name: value.clone() for name, value in live.items()}
        self._meta = {"step": t, "position": self.batches.position}

    def save(self, t: int, must: bool) -> None:
        """A checkpoint of this very state, and the generator's file. Where the disk refuses, training goes on, unless it `must`."""
        try:
            self._write(t, checkpoint.tensors_of(self.strategy), self.batches.position)
        except GanzooError as e:
            if must:
                raise
            self.watch.warned(f"{e} Training goes on and tries again at the next checkpoint.")

    def save_remembered(self) -> int:
        """A checkpoint of the last healthy state; returns its step. Those after it, if any, are put aside."""
        step = int(self._meta["step"])
        self.run.forget_after(step)
        self._write(step, self._kept, self._meta["position"])
        return step

    def _write(self, t: int, tensors: Mapping[str, Tensor], position: int) -> None:
        path = self.run.save(t, tensors, {"position": position, **self.made_with}, self.keep)
        network = "model:ema." if any(name.startswith("model:ema.") for name in tensors) else "model:G."
        generator = {name.removeprefix(network): value for name, value in tensors.items() if name.startswith(network)}
        checkpoint.write(self.run.folder / "generator.safetensors", generator, {"step": t, **self.about})
        with _best_effort(self.watch):
            if chart := pictures.curves(self.run.metrics()):
                pictures.save(chart, self.run.folder / "losses.png")
        self.watch.saved(t, path)


class _Preview:
    """The sample sheets of a run: always the same latents and conditions."""

    def __init__(self, strategy: Strategy, batches: Batches, seed: int) -> None:
        self.strategy, spec = strategy, strategy.spec
        by_class = "y" in strategy.build.parts["generator"].given
        self.columns = min(spec.classes, 10) if by_class else ROWS
        n = ROWS * self.columns if spec.kind == "image" else 2500
        self.real = batches.peek(max(n, 256))
        seed_step(seed, -2)
        self.z = strategy.G.latent(n)
        self.given = {key: value[:n] for key, value in self.real.items() if key != "x"}
        if by_class:
            self.given["y"] = torch.arange(n, device=strategy.device) % self.columns

    def take(self, run: Run, t: int, watch: Watch) -> tuple[float, float]:
        """Write the sheet of step t; returns the samples' spread and their apartness in units of the real ones'."""
        x = self.strategy.sample(self.z, self.given)
        path = run.folder / "samples" / f"{t:06d}.png"
        told = {"spread": spread(x, self.real["x"]), "apartness": apartness(x, self.real["x"])}
        with _best_effort(watch):
            pictures.save(pictures.picture(x, self.strategy.spec, self.columns, self.real["x"]), path)
            run.samples_were(t, **told)
            watch.sampled(t, path, x)
        return told["spread"], told["apartness"]


class _Clock:
    """Writes lines of metrics.jsonl with the time that the run has taken, over all its sittings."""

    def __init__(self, run: Run, batches: Batches, watch: Watch) -> None:
        self.run, self.batches, self.watch = run, batches, watch
        before = run.metrics()
        self.start = time.monotonic() - (before[-1]["time"] if before else 0.0)
        self.mark = (time.monotonic(), batches.position)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """What is done meanwhile is no training."""
        began = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - began
            self.start += took
            self.mark = (self.mark[0] + took, self.mark[1])

    def log(self, t: int, values: Mapping[str, float]) -> float:
        """The line of step t; returns real images a second since the line before."""
        now, position = time.monotonic(), self.batches.position
        rate = (position - self.mark[1]) * self.batches.batch_size / max(now - self.mark[0], 1e-9)
        self.mark = (now, position)
        with _best_effort(self.watch):
            told = {"step": t, "time": round(now - self.start, 3), "images_seen": self.batches.seen, "images_per_second": round(rate, 1)}
            self.run.log({**told, **values})
        return rate


def _read(values: Mapping[str, Tensor]) -> dict[str, float]:
    # All together: one wait for the device and not one a term.
    numbers = torch.stack([value.float() for value in values.values()]).tolist()
    return dict(zip(values, numbers, strict=True))


def _finite(parameters: Sequence[Tensor]) -> bool:
    with torch.no_grad():
        return bool(torch.nn.utils.get_total_norm(parameters).isfinite())


@contextlib.contextmanager
def _best_effort(watch: Watch) -> Iterator[None]:
    """A sheet, a chart or a line that cannot be written costs a warning and not the run."""
    try:
        yield
    except (OSError, GanzooError) as e:
        watch.warned(str(e))


@contextlib.contextmanager
def _signals(watch: Watch) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM; the second one ends the process at once."""
    caught: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if caught:
            watch.abandoned()
            os._exit(128 + number)
        caught.append(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, old in before.items():
            signal.signal(number, old)
