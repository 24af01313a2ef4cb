"""The hooks that a plugin may implement. An implementation takes the parameters that it needs, by name, and may leave out others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from ganzoo.types import Record, RunInfo

if TYPE_CHECKING:
    import click
    from torch import Tensor

hookspec = pluggy.HookspecMarker("ganzoo")
hookimpl = pluggy.HookimplMarker("ganzoo")
"""Marks a function of the manifest as the implementation of the hook that it is named after."""


@hookspec
def ganzoo_register() -> Iterable[Record]:  # type: ignore[empty-body]
    """Return the parts, recipes and data sets of this plugin.

    Called once a process, when the catalogue is built. The module that holds it is imported by every command, so it imports
    neither torch nor numpy: the records name what is heavy as "package.module:Name".
    """


@hookspec
def ganzoo_commands(cli: click.Group) -> None:
    """Add commands to `ganzoo` with `cli.add_command(...)` or `@cli.command()`.

    Called when the command line shows all commands or meets one that is not its own. cli is a group of this plugin's own: a name that
    ganzoo has already, or that another plugin adds too, is refused, and `ganzoo plugins` says so.
    """


@hookspec
def ganzoo_run_started(run: RunInfo) -> None:
    """A run begins, or goes on, in this process; the next step is number run.step.

    The six hooks of a run are called for the plugins that `--track` names, in the process that trains, between two steps. A plugin that
    raises is switched off for the rest of the run, with a warning, and the run goes on; only here a UsageError refuses the run, before its
    first step: what the user asked for cannot be had.
    """


@hookspec
def ganzoo_run_logged(run: RunInfo, step: int, values: Mapping[str, float], images_per_second: float) -> None:
    """A line was written to metrics.jsonl: the terms after `step` steps, by name ("d/real", "g/fake"), all finite."""


@hookspec
def ganzoo_run_sampled(run: RunInfo, step: int, path: Path, x: Tensor, name: str) -> None:
    """A sheet was written to the PNG file path. x: what is on it, on the CPU, as it would be saved: uint8 images (N, C, H, W), float32
    points (N, D), ...; name: the product that made it, as "generator"."""


@hookspec
def ganzoo_run_evaluated(run: RunInfo, step: int, figures: Mapping[str, float]) -> None:
    """The samples after `step` steps were measured, as --eval-every says. figures: by what they are called ("cFID")."""


@hookspec
def ganzoo_run_saved(run: RunInfo, step: int, path: Path) -> None:
    """A checkpoint was written to path, and the products, as generator.safetensors, beside the run's configuration."""


@hookspec
def ganzoo_run_finished(run: RunInfo, step: int, error: str) -> None:
    """The run ends in this process after `step` steps. error: why it ended early, or "". Not called if the process is killed."""
