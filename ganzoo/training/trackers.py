"""Tells the plugins that `--track` names of what happens in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.errors import UsageError
from ganzoo.registry.discovery import Plugin
from ganzoo.training.loop import Watch
from ganzoo.types import RunInfo

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.compose import Resolved
    from ganzoo.data import Prepared
    from ganzoo.evaluation.record import Evaluation
    from ganzoo.training.session import Session


class Tracked(Watch):
    """Passes each event of a run on to another watch and to the trackers. A tracker that raises is switched off, and the run goes on."""

    def __init__(self, watch: Watch, trackers: list[Plugin], run: RunInfo) -> None:
        self.watch, self.trackers, self.run = watch, trackers, run
        self.step = run.step

    def started(self) -> None:
        """Tell the trackers that the run begins. Raises UsageError where one of them refuses it."""
        self._tell("ganzoo_run_started")

    def finished(self, error: str) -> None:
        self._tell("ganzoo_run_finished", step=self.step, error=error)

    def opened(self, folder: Path, resolved: Resolved, data: Prepared, session: Session) -> None:
        self.watch.opened(folder, resolved, data, session)

    def stepped(self, step: int) -> None:
        self.watch.stepped(step)

    def logged(self, step: int, values: Mapping[str, float], images_per_second: float) -> None:
        self.step = step
        self.watch.logged(step, values, images_per_second)
        self._tell("ganzoo_run_logged", step=step, values=values, images_per_second=images_per_second)

    def sampled(self, step: int, path: Path, x: Tensor, name: str) -> None:
        self.step = step
        self.watch.sampled(step, path, x, name)
        self._tell("ganzoo_run_sampled", step=step, path=path, x=x, name=name)

    def evaluated(self, step: int, evaluations: Sequence[Evaluation]) -> None:
        self.step = step
        self.watch.evaluated(step, evaluations)
        self._tell("ganzoo_run_evaluated", step=step, figures={k: v for e in evaluations for k, v in e.figures.items()})

    def saved(self, step: int, path: Path) -> None:
        self.step = step
        self.watch.saved(step, path)
        self._tell("ganzoo_run_saved", step=step, path=path)

    def warned(self, text: str) -> None:
        self.watch.warned(text)

    def abandoned(self) -> None:
        self.watch.abandoned()

    def _tell(self, hook: str, **event: Any) -> None:
        for plugin in list(self.trackers):
            try:
                plugin.call(hook, run=self.run, **event)
            except (Exception, SystemExit) as e:
                if isinstance(e, UsageError) and hook == "ganzoo_run_started":
                    raise
                self.trackers.remove(plugin)
                self.warned(f"tracker {plugin.name} of {plugin.origin} is switched off: {hook} raised {type(e).__name__}: {e}")
