"""Brings the runs of a comparison to their ends, several at a time, each command in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from types import FrameType

from ganzoo import machine, processes
from ganzoo.comparison.state import Cell, Comparison, State
from ganzoo.errors import GanzooError, UsageError
from ganzoo.files import hold, write_json
from ganzoo.registry.discovery import named
from ganzoo.training import launch

PATIENCE = 60  # seconds


class Work:
    """Trains and evaluates the cells of a comparison that are not done. changed: called with a cell whenever its state changes.

    Whoever calls `run` holds the comparison's folder.
    """

    def __init__(self, comparison: Comparison, changed: Callable[[Cell], None] = lambda cell: None) -> None:
        self.comparison, self.plan, self.changed = comparison, comparison.plan, changed
        self._children: set[subprocess.Popen[str]] = set()
        self._stopped = threading.Event()
        self._job = threading.local()  # number: of the job that this thread does

    def run(self) -> None:
        """Bring every cell to its end. A cell that fails does not stop the others. Raises KeyboardInterrupt when it was stopped."""

        def stop(number: int, frame: FrameType | None) -> None:
            raise KeyboardInterrupt

        # SIGINT too: what a shell starts in the background has it ignored.
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        numbers = count()
        pool = ThreadPoolExecutor(self.plan.jobs, initializer=lambda: setattr(self._job, "number", next(numbers)))
        try:
            # Seed by seed, so that a comparison which is stopped has something of every entrant.
            cells = sorted(self.comparison.cells, key=lambda cell: self.plan.seeds.index(cell.seed))
            for future in [pool.submit(self._bring, cell) for cell in cells if cell.state != "done"]:
                future.result()
        except KeyboardInterrupt:
            self._stopped.set()
            for child in list(self._children):
                child.send_signal(signal.SIGTERM)  # it saves a checkpoint first
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _bring(self, cell: Cell) -> None:
        """One cell to its end: trained, then evaluated."""
        if self._stopped.is_set():
            return
        try:
            if not launch.finished(cell.folder):
                self._set(cell, "training")
                cell.results.unlink(missing_ok=True)
                if (cell.folder / "config.json").exists():
                    self._wait_for(cell.folder)
                    self._command(cell, ["resume", str(cell.folder)])
                else:
                    self._command(cell, self.training(cell))
            if not cell.results.exists():
                self._set(cell, "evaluating")
                words = ["evaluate", str(cell.folder), "--all-checkpoints", "--json", *self.plan.evaluation]
                evaluations = json.loads(self._command(cell, words))
                # A run that was stopped has a checkpoint more, which the others have not: best is taken over equally many.
                last, every = max(e["step"] for e in evaluations), self.comparison.steps_between(cell)
                write_json(cell.results, [e for e in evaluations if e["step"] == last or e["step"] % every == 0])
            cell.finish()
            self.changed(cell)
        except (GanzooError, OSError, ValueError, TypeError, KeyError) as e:
            if self._stopped.is_set():
                self._set(cell, "stopped")
            else:
                self._set(cell, "failed", str(e) if isinstance(e, GanzooError) else f"{type(e).__name__}: {e}")

    def training(self, cell: Cell) -> list[str]:
        """The words after `ganzoo` that train a cell, so that anybody can repeat it."""
        share = self.comparison.shares[cell.label]
        own = self.plan.entrants[self.plan.labels.index(cell.label)]
        words = ["run", *own, *self.plan.shared, "--seed", str(cell.seed), "--steps", str(share.steps)]
        words += ["--images", str(share.images)] if share.images else []
        return [*words, "--save-every", str(self.comparison.steps_between(cell)), "--keep", "0", "--out", str(cell.folder)]

    def _wait_for(self, folder: Path) -> None:
        """Wait until no process holds the run: that of a comparison which was killed ends soon."""
        for _ in range(PATIENCE):
            try:
                hold(folder / "LOCK").release()
                return
            except UsageError:
                if self._stopped.wait(1):
                    return

    def _command(self, cell: Cell, words: Sequence[str]) -> str:
        """Run a command of ganzoo's; returns what it printed. Raises GanzooError with the last thing that it said where it fails."""
        plugins = [word for path in named for word in ("--plugin", str(path))]
        env = processes.alone(os.environ) | {"OMP_NUM_THREADS": str(self.plan.threads), "GANZOO_PARENT": str(os.getpid())}
        env |= machine.one_gpu(self._job.number)
        with open(cell.log, "a", encoding="utf-8") as log:
            log.write(f"$ ganzoo {' '.join(words)}\n")
            log.flush()
            # In a session of its own: Ctrl-C in the terminal comes to us, and we pass it on once.
            command = [sys.executable, "-P", "-m", "ganzoo", *plugins, *words]  # -P: nothing in the folder where we stand is imported
            child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
            self._children.add(child)
            if self._stopped.is_set():
                child.send_signal(signal.SIGTERM)
            printed = child.communicate()[0]
            self._children.discard(child)
            if "--json" not in words:
                log.write(printed)
        if child.returncode:
            lines = [line for line in cell.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            reason = next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1]).removeprefix("Error: ")
            raise GanzooError(reason if child.returncode > 0 else f"it was ended by signal {-child.returncode}")
        return printed

    def _set(self, cell: Cell, state: State, reason: str = "") -> None:
        cell.state, cell.reason = state, reason
        self.changed(cell)
