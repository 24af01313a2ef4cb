"""The only training loop. It knows no GAN: it steps, logs, samples, evaluates and saves."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo import pictures, processes, ranks
from ganzoo.errors import GanzooError, RunStopped
from ganzoo.evaluation.record import Evaluation, best, parsed
from ganzoo.files import read_lines
from ganzoo.machine import Crowd
from ganzoo.runs import checkpoint, exported
from ganzoo.runs.exported import Exported
from ganzoo.runs.folder import EVALUATIONS, Run, add_evaluation, sheet_path
from ganzoo.training.health import Health, apartness, not_finite, spread
from ganzoo.training.landscape import landscape
from ganzoo.training.session import Session

if TYPE_CHECKING:
    from ganzoo.compose import Resolved
    from ganzoo.config import RunOptions
    from ganzoo.data import Batches, Prepared
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.strategy import Strategy

ROWS = 8  # of a sample sheet


class Watch:
    """Callbacks of a run, one an event; here they do nothing."""

    def progress(self, what: str, done: int, total: int) -> None: ...
    def opened(self, folder: Path, resolved: Resolved, data: Prepared, session: Session) -> None: ...
    def stepped(self, step: int) -> None: ...
    def logged(self, step: int, values: Mapping[str, float], images_per_second: float) -> None: ...
    def sampled(self, step: int, path: Path, x: Tensor, name: str) -> None: ...
    def evaluated(self, step: int, evaluations: Sequence[Evaluation]) -> None: ...
    def saved(self, step: int, path: Path) -> None: ...
    def warned(self, text: str) -> None: ...
    def abandoned(self) -> None: ...


def train(
    session: Session, run: Run, options: RunOptions, watch: Watch, *, made_with: Mapping[str, Any], exports: Mapping[str, Any],
    t: int = 0, evaluator: Evaluator | None = None, whose: Callable[[BaseException], str] = lambda error: "",
) -> None:  # fmt: skip
    """Train from step t to the last one, leaving metrics, sample sheets and checkpoints in the run folder.

    made_with: the metadata of checkpoints. exports: that of the products' files, by name. evaluator: measures the samples
    every --eval-every steps. whose: names the plugin whose code raised an error, or gives "".

    Of several ranks all come here, take the same steps and measure together; what is written and said is the first one's.

    Raises RunStopped after a signal or a term that is not finite, when the state that was reached is saved; GanzooError where a plugin's
    code raised an error in a step, when the last healthy state is.
    """
    batches, clock = session.batches, _Clock(run, session, watch)
    previews = [_Preview(session, name, main=i == 0) for i, name in enumerate(exports) if run.writes]
    saver = _Saver(session, run, watch, options.keep, made_with, exports)
    health = Health(session.strategy.loss.d_won)
    health.replay(t, run.metrics(), run.health())
    crowd = Crowd(torch.get_num_threads() if session.strategy.device.type == "cpu" else 0)
    parameters = list(session.strategy.parameters())
    with _signals(watch) as caught, _keeping(saver):
        if not saver.saved:
            for preview in previews:
                preview.take(run, 0, watch, health)
            saver.products(0)
        saver.remember(t)
        last, stops = False, 0
        while not last and not stops:
            with _blaming(session, saver, whose):
                values = session.step(t)
            t += 1
            watch.stepped(t)
            # Looked at once a step: a signal that comes while this one is logged or sampled stops after the next.
            last, stops = t >= options.steps or bool(options.images and batches.seen >= options.images), processes.largest(*caught[:1])
            measures = evaluator is not None and (t % options.eval_every == 0 or last)
            logs, saves = t % options.log_every == 0 or last, t % options.save_every == 0 or last or stops or measures
            if logs or saves:
                numbers = _read(values, batches)
                bad = not_finite(numbers) or ("" if _finite(parameters) else "a weight")
                if bad:
                    good = saver.save_remembered()
                    raise RunStopped(
                        f"{bad} is not a finite number at step {t}. The last healthy state, of step {good}, is saved; "
                        "start again with a smaller learning rate or in --precision fp32."
                    )
                saver.remember(t)
            if logs:
                watch.logged(t, numbers, clock.log(t, numbers))
                for warning in (*health.logged(t, numbers), *filter(None, [crowd.warning(run.folder)])):
                    _warn(run, watch, t, warning)
            sheets = t % options.sample_every == 0 or last
            for preview in previews if sheets else ():
                preview.take(run, t, watch, health)
            if sheets and not saves and not saver.saved:
                saver.products(t)
            # Before the checkpoint: a run that is killed in between goes on from the one before, and measures again.
            if evaluator is not None and measures:
                with clock.stopped():
                    _evaluate(evaluator, session.strategy, exports, run, watch, t, options.eval_n)
            if sheets or saves:
                processes.meet()  # the first one may have drawn and measured
            if saves:
                processes.agree(_common(session))
                processes.first(partial(saver.save, t, must=last or bool(stops)))
    if stops and not last:
        name = signal.Signals(stops).name
        how = f"{run.folder} --nproc {ranks.world()}" if ranks.world() > 1 else run.folder
        raise RunStopped(f"stopped by {name} after step {t}, which is saved. `ganzoo resume {how}` goes on.", 128 + stops)


def _common(session: Session) -> dict[str, Tensor]:
    """The tensors that are the same on all ranks: all but the statistics of a BatchNorm that looks at each rank's part alone."""
    own = ("running_mean", "running_var") if not session.sync_batchnorm else ()
    return {name: value for name, value in checkpoint.tensors_of(session.strategy).items() if not name.endswith(own)}


def _evaluate(
    evaluator: Evaluator, strategy: Strategy, exports: Mapping[str, Any], run: Run, watch: Watch, t: int, n: int
) -> None:  # fmt: skip
    """Measure n outputs of the main product as it stands; a failure costs a warning."""
    try:
        product = Exported.of(strategy, step=t, meta=next(iter(exports.values())))
        evaluations = evaluator(product, n, str(checkpoint.path_of(Path("checkpoints"), t)))
        for evaluation in evaluations:
            add_evaluation(run.folder, evaluation.to_json())
        watch.evaluated(t, evaluations)
    except Exception as e:  # out of memory, a metric of somebody's: no reason to end a run
        if processes.lost(e):
            raise
        _warn(run, watch, t, f"not evaluated at step {t}: {str(e) if isinstance(e, GanzooError) else f'{type(e).__name__}: {e}'}")


def _warn(run: Run, watch: Watch, t: int, text: str) -> None:
    with _best_effort(watch):
        run.warn(t, text)
    watch.warned(text)


class _Saver:
    """Writes checkpoints, and remembers the last state that was healthy."""

    def __init__(
        self, session: Session, run: Run, watch: Watch, keep: int, made_with: Mapping[str, Any], exports: Mapping[str, Any]
    ) -> None:
        self.session, self.run, self.watch, self.keep, self.made_with, self.exports = session, run, watch, keep, made_with, exports
        self._remembered: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None  # the copies from CUDA are there
        self._place = {"step": 0, "position": 0}
        steps = checkpoint.steps_in(run.checkpoints)
        self.saved = bool(steps)  # whether there is a checkpoint
        self._last = steps[-1] if steps else 0

    def remember(self, t: int) -> None:
        """Keep a copy of this state, in the processor's memory: from CUDA it comes into pinned memory, and nobody waits for it."""
        self._place = {"step": t, "position": self.session.batches.position}
        if not self.run.writes:
            return
        live = {name: value.detach() for name, value in checkpoint.tensors_of(self.session.strategy).items()}
        if self._remembered.keys() != live.keys():
            self._remembered = {name: torch.empty_like(x, device="cpu", pin_memory=x.is_cuda) for name, x in live.items()}
        for name, value in live.items():
            self._remembered[name].copy_(value, non_blocking=value.is_cuda)
        if self.session.strategy.device.type == "cuda":
            self._copied = torch.cuda.Event()
            self._copied.record()

    def save(self, t: int, must: bool) -> None:
        """Write a checkpoint of this state, and the products' files. Where the disk refuses, training goes on, unless it `must`."""
        try:
            self._write(t, checkpoint.tensors_of(self.session.strategy), self.session.batches.position)
        except GanzooError as e:
            if must:
                raise
            unsaved = f"{t - self._last} steps are not saved: the last checkpoint is that of step {self._last}."
            advice = "Free some space on that disk, or stop with Ctrl-C and go on elsewhere; fewer --keep need less."
            _warn(self.run, self.watch, t, f"{e} {unsaved} {advice} Training goes on and tries again at the next checkpoint.")

    def products(self, t: int) -> None:
        """Write the products' files and the chart before there is a checkpoint; where the disk refuses, that costs a warning."""
        if not self.run.writes:
            return
        with _best_effort(self.watch):
            exported.save(self.run.folder, checkpoint.tensors_of(self.session.strategy), t, self.exports)
            self._chart()

    def _chart(self) -> None:
        if chart := pictures.curves(self.run.metrics()):
            pictures.save(chart, self.run.folder / "losses.png")

    def _best(self) -> list[int]:
        """The steps with the best figures so far."""
        every = [e for e in map(parsed, read_lines(self.run.folder / EVALUATIONS)) if e is not None]
        return [top.step for _, top, _ in best(every).values() if top.step is not None]

    def save_remembered(self) -> int:
        """Write a checkpoint of the remembered state; returns its step. Checkpoints after it are put aside."""
        if self._copied is not None:
            try:
                self._copied.synchronize()  # not all of the GPU: it may wait for a rank that is gone
            except RuntimeError as e:
                raise GanzooError(f"the GPU has failed: {e}") from e
        step = self._place["step"]
        if self.run.writes:
            self.run.forget_after(step)
            self._write(step, self._remembered, self._place["position"])
        return step

    def _write(self, t: int, tensors: Mapping[str, Tensor], position: int) -> None:
        path = self.run.save(t, tensors, {"position": position, **self.made_with}, self.keep, self._best)
        self.saved, self._last = True, t
        with _best_effort(self.watch):
            self._chart()
        # Last of all: a run that was killed in between is known by these files, and finishes them.
        exported.save(self.run.folder, tensors, t, self.exports)
        self.watch.saved(t, path)


class _Preview:
    """The sheets of one product of a run: always the same latents, classes and inputs. main: its sheets carry the step alone as a name."""

    def __init__(self, session: Session, name: str, main: bool) -> None:
        self.session, self.name, self.main = session, name, main
        exported = Exported.of(session.strategy, name)
        self.columns = min(exported.classes.size, 10) if exported.classes else ROWS
        self.n = exported.medium.per_sheet * self.columns // ROWS
        if exported.asks:
            self.n = min(self.n, 2 * ROWS)
        real = session.batches.peek(max(self.n, 256))
        self.given = {key: real[key][: self.n].cpu() for key in exported.asks}
        if exported.classes and not exported.asks:
            self.given |= {key: torch.arange(self.n) % self.columns for key in exported.fields}
        self.real = exported.medium.stored(real[exported.key], exported.field) if exported.key else None
        self.truth = self.real[: self.n] if self.real is not None and exported.has_truth else None

    def take(self, run: Run, t: int, watch: Watch, health: Health) -> None:
        """Write the sheet of step t and, of samples, how varied they are, with a warning where they have collapsed."""
        path = sheet_path(run.samples, t, "" if self.main else self.name)
        with _best_effort(watch):
            exported = Exported.of(self.session.strategy, self.name, t)
            x = torch.cat(list(exported.outputs(self.n, self.session.seed, self.given)))
            figures = {}
            if self.main and self.real is not None and not exported.asks:
                samples, real = (exported.medium.coordinates(rows, exported.field) for rows in (x, self.real))
                figures = {"spread": spread(samples, real), "apartness": apartness(samples, real)}
            with _best_effort(watch):
                pictures.save(exported.sheet(x, self.columns, self.given, self.truth, self.real), path)
                if figures:
                    run.samples_were(t, **figures)
                self._landscape(run, t, watch, exported)
                watch.sampled(t, path, x, self.name)
            # At the start nothing has been learnt that could collapse.
            for warning in health.sampled(**figures) if t and figures else []:
                _warn(run, watch, t, warning)

    def _landscape(self, run: Run, t: int, watch: Watch, exported: Exported) -> None:
        """Write what D thinks of every place, where that can be looked at."""
        if not self.main:
            return
        try:
            seen = landscape(self.session, exported, t)
        except Exception as e:  # a loss of somebody's that wants more than samples: no reason to end a run
            _warn(run, watch, t, f"the report will not show the game of step {t}: {type(e).__name__}: {e}")
            return
        if seen:
            run.landscape_was(t, **seen)


class _Clock:
    """Writes the lines of metrics.jsonl, with the time that the run has taken over all its sittings."""

    def __init__(self, run: Run, session: Session, watch: Watch) -> None:
        self.run, self.batches, self.watch = run, session.batches, watch
        before = run.metrics()
        self.start = time.monotonic() - max((line.get("time", 0.0) for line in before), default=0.0)
        self.mark = (time.monotonic(), self.batches.position)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """The time that this context takes is not counted as training."""
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            self.start += seconds
            self.mark = (self.mark[0] + seconds, self.mark[1])

    def log(self, t: int, values: Mapping[str, float]) -> float:
        """Write the line of step t; returns real images a second since the line before."""
        now, position = time.monotonic(), self.batches.position
        rate = (position - self.mark[1]) * self.batches.batch_size / max(now - self.mark[0], 1e-9)
        self.mark = (now, position)
        with _best_effort(self.watch):
            line = {"step": t, "time": round(now - self.start, 3), "images_seen": self.batches.seen, "images_per_second": round(rate, 1)}
            self.run.log({**line, **values})
        return rate


def _read(values: Mapping[str, Tensor], batches: Batches) -> dict[str, float]:
    # All together: one wait for the device and not one a term.
    with ranks.sharing(batches.part):
        numbers = ranks.over_ranks(torch.stack([value.float() for value in values.values()])).tolist()
    return dict(zip(values, numbers, strict=True))


def _finite(parameters: Sequence[Tensor]) -> bool:
    with torch.no_grad():
        return bool(torch.nn.utils.get_total_norm(parameters).isfinite())


@contextlib.contextmanager
def _keeping(saver: _Saver) -> Iterator[None]:
    """Where another rank is gone, save the last healthy state. Raises GanzooError."""
    try:
        yield
    except RuntimeError as e:
        if not (lost := processes.lost(e)):
            raise
        raise GanzooError(f"{lost}{_kept(saver)}") from e


def _kept(saver: _Saver) -> str:
    """Save the last healthy state, and say so."""
    try:
        return f" The last healthy state, of step {saver.save_remembered()}, is saved." if saver.run.writes else ""
    except GanzooError as failed:
        return f" The last healthy state could not be saved: {failed}"


@contextlib.contextmanager
def _blaming(session: Session, saver: _Saver, whose: Callable[[BaseException], str]) -> Iterator[None]:
    """Where a step raises, save the last healthy state, and say whose code it was if it was a plugin's.

    Raises GanzooError in the place of what a stranger's code raised, sys.exit among it.
    """
    try:
        yield
    except (Exception, SystemExit) as e:
        if processes.lost(e):
            raise
        saved = _kept(saver)
        if (plugin := whose(e)) and not isinstance(e, GanzooError):
            raise GanzooError(
                f"{plugin} raised {type(e).__name__} in a step: {e}. That is not a fault of ganzoo's: tell its author.{saved}"
            ) from e
        if isinstance(e, SystemExit):
            raise GanzooError(f"a part of {type(session.strategy).__name__} ended the program (exit {e.code}) in a step.{saved}") from e
        saver.watch.warned(saved.strip())
        raise


@contextlib.contextmanager
def _best_effort(watch: Watch) -> Iterator[None]:
    """A sheet, a chart or a line that cannot be written costs a warning and not the run."""
    try:
        yield
    except (OSError, GanzooError) as e:
        watch.warned(str(e))


@contextlib.contextmanager
def _signals(watch: Watch) -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and, unless it is ignored as by nohup, SIGHUP; the second one ends the process at once.

    A rank takes those of one moment for one: a terminal and torchrun both pass on Ctrl-C, and a parent that dies sends one a thread.
    In another thread than the main one there are none.
    """
    caught: list[int] = []
    moment = time.monotonic()

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal moment
        if not caught:
            caught.append(number)
            moment = time.monotonic() + (1 if ranks.world() > 1 else 0)
        elif time.monotonic() > moment:
            watch.abandoned()
            os._exit(128 + number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if (hangup := getattr(signal, "SIGHUP", None)) is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.append(hangup)
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield caught
    finally:
        for number, old in before.items():
            signal.signal(number, old)
