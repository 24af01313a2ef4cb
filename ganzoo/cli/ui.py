"""Shared by the commands: tables, warnings, progress bars, options that several have. No torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ganzoo.errors import clean, did_you_mean, one_line
from ganzoo.registry.catalogue import Entry, catalogue
from ganzoo.types import DataSet, Recipe, Record

if TYPE_CHECKING:
    from ganzoo.evaluation.record import Evaluation

DEVICES = click.Choice(["auto", "cpu", "cuda", "mps"])
SPEED = 3600.0  # seconds that the time left is estimated from; rich forgets after 30, when steps are slow
json_option = click.option("--json", "as_json", is_flag=True, help="For a program to read.")


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def warn(text: str) -> None:
    """A warning on standard error."""
    click.secho(f"Warning: {clean(text)}", err=True, fg="yellow", bold=True)


def title(entry: Entry) -> str:
    """An entry in a few words."""
    return title_of(entry.record)


def title_of(record: Record) -> str:
    """A record in a few words."""
    return record.title if isinstance(record, Recipe | DataSet) else record.summary


class Kind(click.ParamType):
    """The name of a kind of record that there is, or one of `more`: plugins may publish networks in roles of their own."""

    name = "KIND"

    def __init__(self, *more: str) -> None:
        self.more = more

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        known = (*catalogue().kinds, *self.more)
        if value not in known:
            hint = did_you_mean(value, known) or f" There is {', '.join(known)}."
            self.fail(f"there is no kind {value!r}.{hint}", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(kind) for kind in (*catalogue().kinds, *self.more) if kind.startswith(incomplete)]


def completion(start: str, kind: str | None = None) -> list[CompletionItem]:
    """The names of the catalogue, of one kind or of all, that begin so."""
    return [CompletionItem(e.name, help=title(e)) for e in catalogue().entries(kind) if e.name.startswith(start)]


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shell completion for an argument that names anything in the catalogue."""
    return completion(incomplete)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A rich table on a terminal; lines of tab-separated values, without a header, where it is piped."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    if not is_terminal():
        for row in rows:
            click.echo("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        shown.add_column(column, style="bold" if i == 0 else "", no_wrap=i == 0, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    Console().print(shown)


def figures(evaluation: Evaluation) -> str:
    """The figures of one evaluation, without its protocol."""
    return ", ".join(f"{name} {value:.4g}" for name, value in evaluation.figures.items())


class Bar:
    """Progress on standard error: bars on a terminal, a line a task otherwise."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        console = Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), console=console, speed_estimate_period=SPEED, disable=not console.is_terminal,
        )  # fmt: skip
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Bar:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        """How much of a task is done."""
        what = one_line(what)
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(what, total=total or None)
            if self.bars.disable:
                click.echo(f"{what} ...", err=True)
        self.bars.update(self.tasks[what], completed=done, total=total or None)

    def say(self, text: str) -> None:
        """A line on standard output, above the bars."""
        text = clean(text)
        if self.bars.disable:
            click.echo(text)
        else:
            self.bars.console.print(text, markup=False)
