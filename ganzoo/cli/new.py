"""`ganzoo new`: the project of a plugin, ready to be filled."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ganzoo.registry.catalogue import catalogue
from ganzoo.scaffold.project import KINDS, write_project


@click.command("new")
@click.argument("name")
@click.option("--template", "kind", type=click.Choice(list(KINDS)), default="gan", show_default=True, help="What it publishes.")
@click.option("--out", type=click.Path(path_type=Path), help="The project folder itself.  [ganzoo-NAME]")
def new_command(name: str, kind: str, out: Path | None) -> None:
    """Write the project of a plugin that publishes NAME: it installs, trains and passes its tests as it is."""
    folder = out or Path(f"ganzoo-{name}")
    write_project(catalogue(), name, kind, folder)
    click.echo(f"{folder}: {KINDS[kind]}. Next:\n")
    own = {"dataset": f"ganzoo run dcgan --dataset {name}", "degradation": f"ganzoo run RECIPE --degradation {name}"}
    own["text"] = f"ganzoo run {name} --dataset LINES.txt"
    run = own.get(kind, f"ganzoo run {name}")
    for line in (f"cd {shlex.quote(str(folder))}", 'python -m pip install -e ".[dev]"', "pytest", run):
        click.echo(f"    {line}")
