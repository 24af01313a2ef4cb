"""A run on a terminal: bars and a sheet; lines of text where it is piped."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ganzoo import processes
from ganzoo.cli.ui import SPEED, figures, is_terminal
from ganzoo.errors import clean, one_line
from ganzoo.pictures import grid, to_image
from ganzoo.training.loop import Watch

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.compose import Resolved
    from ganzoo.data import Prepared
    from ganzoo.evaluation.record import Evaluation
    from ganzoo.training.session import Session

SECONDS_A_LINE = 10.0


class Display(Watch):
    """Progress of the data and of the training: a live table on a terminal, a line now and then otherwise."""

    def __init__(self) -> None:
        self.steps = 0
        self.live: Live | None = None
        self.console = Console(highlight=False)
        self.bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), console=self.console, speed_estimate_period=SPEED,
        )  # fmt: skip
        self.tasks: dict[str, Any] = {}
        self.terms: dict[str, float] = {}
        self.rate = 0.0
        self.sheet: tuple[int, Path] | None = None
        self.main = ""  # the main product
        self.picture: Text | None = None
        self.printed = 0.0

    def __enter__(self) -> Display:
        if is_terminal():
            self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=False)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _say(self, text: str, err: bool = False, **style: Any) -> None:
        text = clean(text)
        try:
            if self.live is not None:
                self.console.print(Text(text, style="bold yellow" if style else ""))
            else:
                click.secho(text, err=err, **style)
        except OSError:
            # Nobody reads along any more, as after `| head`: the run goes on.
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, sys.stdout.fileno())
            os.dup2(quiet, sys.stderr.fileno())

    def abandoned(self) -> None:
        if self.live is not None:
            self.console.show_cursor(True)
        with contextlib.suppress(OSError):  # past Python's buffers, which the signal may have interrupted; the terminal may be gone
            os.write(2, b"stopped at once; what came after the last checkpoint is not saved.\n")

    def progress(self, what: str, done: int, total: int) -> None:
        """How much of the data is prepared."""
        what = one_line(what)
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(what, total=total or None)
            if self.live is None:
                self._say(f"{what} ...", err=True)
        self.bar.update(self.tasks[what], completed=done, total=total or None)

    def opened(self, folder: Path, resolved: Resolved, data: Prepared, session: Session) -> None:
        for task in self.tasks.values():
            self.bar.remove_task(task)
        run, networks = resolved.run, session.strategy.named_children()
        self.steps = run.steps
        shape = " x ".join(map(str, resolved.cropped(data.spec).fields[resolved.records.main].shape))
        sizes = {name: sum(p.numel() for p in m.parameters()) / 1e6 for name, m in networks if name != "averages"}
        counts = ", ".join(f"{name} {size:.2f} M" for name, size in sizes.items() if size)
        around = f" with {', '.join(resolved.wrappers)}" if resolved.wrappers else ""
        self.main = next(iter(session.strategy.exports()))
        made = resolved.records.degradation
        source = f", {' and '.join(made.gives)} made by --degradation {made.name}" if made is not None else ""
        self._say(
            f"{resolved.recipe.name}{around} on {data.name} ({data.count} samples, {shape}{source}), {run.device}, {run.precision}; "
            f"{counts} parameters; into {folder}"
        )
        for key, field in data.spec.fields.items():
            if field.medium == "label" and field.names and key in resolved.records.keys:
                self._say(f"classes: {', '.join(map(one_line, field.names[:5]))}{f', ... ({field.size} in all)' if field.size > 5 else ''}")
        if data.skipped:
            names = "".join(f"\n  {one_line(name)}: {one_line(reason)}" for name, reason in data.skipped[:10])
            more = f"\n  and {len(data.skipped) - 10} more" if len(data.skipped) > 10 else ""
            count = len(data.skipped)
            self.warned(f"{count} image{'s' * (count > 1)} could not be read, left out:{names}{more}")
        if data.note:
            self.warned(one_line(data.note))
        self.tasks["train"] = self.bar.add_task("step", total=run.steps)

    def stepped(self, step: int) -> None:
        self.bar.update(self.tasks["train"], completed=step)

    def logged(self, step: int, values: Mapping[str, float], images_per_second: float) -> None:
        self.terms, self.rate = dict(values), images_per_second
        now = time.monotonic()
        if self.live is None and (now - self.printed > SECONDS_A_LINE or step == self.steps):
            self.printed = now
            terms = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            self._say(f"step {step}/{self.steps}  {images_per_second:.0f} images/s  {terms}")

    def sampled(self, step: int, path: Path, x: Tensor, name: str) -> None:
        if name != self.main:
            return
        self.sheet = (step, path)
        if self.live is None:
            self._say(f"sample sheet of step {step}: {path}")
        elif x.dim() == 4 and self.console.color_system in ("truecolor", "256") and not self.console.no_color and self._utf8():
            self.picture = blocks(x, self.console.width)

    def evaluated(self, step: int, evaluations: Sequence[Evaluation]) -> None:
        for evaluation in evaluations:
            self._say(f"step {step}: {figures(evaluation)}")

    def warned(self, text: str) -> None:
        self._say(f"Warning: {text}", err=True, fg="yellow", bold=True)

    def _utf8(self) -> bool:
        return self.console.encoding.lower().replace("-", "").startswith("utf")

    def _render(self) -> Group:
        shown: list[Any] = [self.bar]
        if self.terms:
            grid = Table.grid(padding=(0, 2))
            cells = [Text.assemble((f"{one_line(name)} ", "cyan"), f"{value:.4g}") for name, value in self.terms.items()]
            cells.insert(0, Text(f"{self.rate:.0f} images/s", style="bold"))
            across = max(1, self.console.width // 24)
            for i in range(0, len(cells), across):
                grid.add_row(*cells[i : i + across])
            shown.append(grid)
        if self.sheet is not None:
            shown.append(Text(f"samples of step {self.sheet[0]}: {self.sheet[1]}", style="dim"))
        if self.picture is not None:
            shown.append(self.picture)
        return Group(*shown)


def watching() -> contextlib.AbstractContextManager[Watch]:
    """The display of this process's run; of several ranks, the first one's is enough."""
    follows = processes.launched() and os.environ["RANK"] != "0"
    return contextlib.nullcontext(Watch()) if follows else Display()


def blocks(x: Tensor, width: int, rows: int = 16) -> Text:
    """A few of the uint8 images (N, C, H, W) as text: each character shows two pixels, the upper as its ink, the lower as its paper."""
    columns = max(1, min(len(x), (width - 2) // (2 * rows)))
    page = grid([to_image(image) for image in x[:columns]], columns, gap=1).convert("RGB").resize((columns * 2 * rows, 2 * rows))
    pixels: list[tuple[int, ...]] = list(page.get_flattened_data())  # type: ignore[arg-type]
    text = Text()
    for top in range(0, 2 * rows, 2):
        for i in range(page.width):
            upper, lower = (pixels[(top + below) * page.width + i] for below in (0, 1))
            text.append("▀", style=f"rgb({upper[0]},{upper[1]},{upper[2]}) on rgb({lower[0]},{lower[1]},{lower[2]})")
        text.append("\n")
    return text
