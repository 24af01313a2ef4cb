"""`ganzoo report`: one HTML file that tells what runs did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganzoo.cli.ui import Bar, warn
from ganzoo.errors import GanzooError, UsageError
from ganzoo.files import remove_leftovers
from ganzoo.registry.catalogue import catalogue

if TYPE_CHECKING:
    from ganzoo.data import Batches
    from ganzoo.report import RunFacts

FILES_ONLY = "The report was made with --files-only: the generator was not asked."


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

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out: wanted the name of a page, as {out.with_suffix('.html').name}; got {out.name}.")
    not_drawn = FILES_ONLY if files_only else ""
    if len(sources) == 1 and (sources[0] / "compare.json").is_file() and out is None and title is None:
        from ganzoo.comparison.state import Comparison
        from ganzoo.comparison.table import write

        path = write(Comparison.of(sources[0]), lambda folder, name: facts_of(folder, name, not_drawn))
        click.echo(f"a comparison, {path.stat().st_size / 1e6:.1f} MB: {path}")
        return
    folders = report.find(sources, warn)
    runs = [facts_of(folder, name, not_drawn) for folder, name in report.named(folders)]
    for folder in folders:
        remove_leftovers(folder, 0)
    path = out or (folders[0] if len(folders) == 1 else sources[0] if len(sources) == 1 else Path()) / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        foreign = path.exists() and report.MARK not in path.read_bytes()
    except OSError as e:
        raise GanzooError(f"--out: {path} cannot be written: {e.strerror or e}. Name another place with --out.") from e
    if foreign:
        raise UsageError(f"{path} is there already and is no report of ganzoo's. Name another file with --out.")
    report.write(path, runs, title or (f"{runs[0].recipe} on {runs[0].dataset}" if len(runs) == 1 else f"{len(runs)} runs compared"))
    click.echo(f"{len(runs)} run{'s' * (len(runs) > 1)}, {path.stat().st_size / 1e6:.1f} MB: {path}")


def facts_of(folder: Path, name: str, not_drawn: str = "") -> RunFacts:
    """The facts of a run, with pictures from its generator, or with the reason why there are none: not_drawn, or what failed."""
    from ganzoo import machine, report
    from ganzoo.runs.exported import load

    run = report.read(folder, name, catalogue())
    if not_drawn:
        return replace(run, not_drawn=not_drawn)
    try:
        machine.set_threads()
        batches, no_data = _data(run)
        return replace(run, generated=report.generate(load(catalogue(), run.folder, warn=warn), batches, no_data))
    except Exception as e:  # a report is written in any case
        return replace(run, not_drawn=f"Nothing could be drawn from the generator: {_reason(e)}")


def _data(run: RunFacts) -> tuple[Batches | None, str]:
    """The data of the run, or why it is not at hand."""
    from ganzoo import machine
    from ganzoo.compose import from_config
    from ganzoo.config import Config
    from ganzoo.training.session import batches_of

    try:
        with Bar() as bar:
            resolved = from_config(catalogue(), Config.from_json(run.config), warn)
            data = resolved.prepare(bar.progress)
        resolved.data.check_unchanged(data, run.config["data"]["checksum"])
        return batches_of(resolved, data, machine.pick_device("cpu")), ""
    except Exception as e:
        return None, f"The training data could not be prepared: {_reason(e)}"


def _reason(e: Exception) -> str:
    return str(e) if isinstance(e, GanzooError) else f"{type(e).__name__}: {e}"
