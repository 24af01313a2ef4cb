"""`ganzoo report`: one HTML file that tells what runs did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.errors import GanzooError
from ganzoo.registry.catalogue import catalogue

if TYPE_CHECKING:
    from ganzoo.report import RunFacts


@click.command("report")
@click.argument("sources", metavar="RUN|FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.html", help="The page.  [report.html in the run or the folder]")
@click.option("--title", help="What stands above it.")
@click.option("--files-only", is_flag=True, help="Only what the runs' files tell: no samples are drawn, no data set is prepared.")
def report_command(sources: tuple[Path, ...], out: Path | None, title: str | None, files_only: bool) -> None:
    """Write what runs did as one HTML page, which needs no server and loads nothing.

    \b
    ganzoo report runs/dcgan-fashion-10k-001     one run
    ganzoo report runs                           all runs in a folder, side by side
    ganzoo report runs/compare-fashion-10k-10m   a comparison: its page again, with what its generators draw
    """
    from ganzoo import report
    from ganzoo.machine import threads

    if len(sources) == 1 and (sources[0] / "compare.json").is_file() and out is None and title is None:
        from ganzoo.comparison.comparison import Comparison

        path = Comparison.of(sources[0]).write(catalogue(), None if files_only else with_drawings)
        click.echo(f"a comparison, {path.stat().st_size / 1e6:.1f} MB: {path}")
        return
    folders = report.find(sources, _warn)
    runs = [report.read(folder, name, catalogue()) for folder, name in report.named(folders)]
    if files_only:
        runs = [replace(run, not_drawn="The report was made with --files-only: the generator was not asked.") for run in runs]
    else:
        import torch

        torch.set_num_threads(threads())
        runs = [with_drawings(run) for run in runs]
    path = out or (folders[0] if len(folders) == 1 else sources[0] if len(sources) == 1 else Path()) / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise GanzooError(f"--out: {path.parent} cannot be made: {e.strerror or e}. Name another place with --out.") from e
    report.write(path, runs, title or (f"{runs[0].recipe} on {runs[0].dataset}" if len(runs) == 1 else f"{len(runs)} runs compared"))
    click.echo(f"{len(runs)} run{'s' * (len(runs) > 1)}, {path.stat().st_size / 1e6:.1f} MB: {path}")


def _warn(text: str) -> None:
    click.secho(f"Warning: {text}", err=True, fg="yellow", bold=True)


def with_drawings(run: RunFacts) -> RunFacts:
    """The run with samples of its generator, or with the reason why there are none. A report is written in any case."""
    from ganzoo import report
    from ganzoo.training.launch import load_generator

    try:
        generator, said = load_generator(catalogue(), run.folder, _warn)
        given = catalogue().part("generator", said["generator"]).given
        data, no_data = _data(run)
        return replace(run, drawn=report.draw(generator, given, int(said["step"]), data, no_data))
    except Exception as e:
        return replace(run, not_drawn=f"Nothing could be drawn from the generator: {_told(e)}")


def _data(run: RunFacts) -> tuple[dict[str, Any] | None, str]:
    """The training set as it was prepared for the run, or why it is not at hand."""
    from ganzoo.config import Config
    from ganzoo.training.launch import prepare_data

    said: set[str] = set()

    def progress(what: str, done: int, total: int) -> None:
        if what not in said:
            said.add(what)
            click.echo(f"{what} ...", err=True)

    try:
        prepared = prepare_data(catalogue(), Config.from_json(run.config), progress)
        if prepared.checksum != run.config["data"]["checksum"]:
            return None, f"Data set {run.dataset!r} is not what the run was trained on: its checksum has changed."
        return prepared.load(), ""
    except Exception as e:
        return None, f"The training data could not be prepared: {_told(e)}"


def _told(e: Exception) -> str:
    return str(e) if isinstance(e, GanzooError) else f"{type(e).__name__}: {e}"
