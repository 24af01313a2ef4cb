"""Tracks a run in TensorBoard: `ganzoo run RECIPE --track tensorboard`. Needs the extra `pyganzoo[tensorboard]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ganzoo import RunInfo, UsageError, hookimpl

if TYPE_CHECKING:
    from ganzoo_tensorboard.writer import Writer

GANZOO_API = 1

_writers: dict[Path, Writer] = {}


@hookimpl
def ganzoo_run_started(run: RunInfo) -> None:
    try:
        from ganzoo_tensorboard.writer import Writer
    except ImportError as error:
        raise UsageError(f"--track tensorboard: {error}. Install it with `pip install tensorboard`, or leave --track out.") from error
    _writers[run.folder] = Writer(run)


@hookimpl
def ganzoo_run_logged(run: RunInfo, step: int, values: Mapping[str, float], images_per_second: float) -> None:
    _writers[run.folder].logged(step, {**values, "images_per_second": images_per_second})


@hookimpl
def ganzoo_run_sampled(run: RunInfo, step: int, path: Path) -> None:
    _writers[run.folder].sampled(step, path)


@hookimpl
def ganzoo_run_evaluated(run: RunInfo, step: int, figures: Mapping[str, float]) -> None:
    _writers[run.folder].evaluated(step, figures)


@hookimpl
def ganzoo_run_finished(run: RunInfo, step: int) -> None:
    _writers.pop(run.folder).close(step)
