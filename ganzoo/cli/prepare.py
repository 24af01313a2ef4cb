"""`ganzoo prepare`: data made ready before a run asks for it, or a part of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from ganzoo import options
from ganzoo.cli.ui import Bar, complete_names, warn
from ganzoo.config import DataOptions
from ganzoo.errors import UsageError, clean, one_line
from ganzoo.registry.catalogue import catalogue


@click.command("prepare")
@click.argument("dataset", metavar="NAME|PATH", shell_complete=complete_names)
@click.option("--part", metavar="K/N", help="Part K of N only, K from 1 to N, as a file in --out.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder of the parts.")
def prepare_command(dataset: str, part: str | None, out: Path | None, **typed: Any) -> None:
    """Prepare data as a run would: decoded and resized once, and kept in the cache.

    \b
    ganzoo prepare my/photos --image-size 64
    ganzoo prepare my/photos --image-size 64 --part 2/8 --out parts     on the second of eight machines
    ganzoo run dcgan --dataset parts                                    once all eight are there

    The parts are joined in the cache, so that the rows, and the checksum, are those of the whole.
    """
    from ganzoo import compose

    if (part is None) != (out is None):
        raise UsageError("--part and --out belong together, as --part 2/8 --out parts.")
    which = None
    if part is not None:
        numbers = re.fullmatch(r"(\d+)/(\d+)", part)
        if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]) <= 9999:
            raise UsageError(f"--part: wanted K/N with K from 1 to N, as 2/8; got {part!r}.")
        which = int(numbers[1]), int(numbers[2])
    asked = options.make(DataOptions, {"dataset": dataset, **{key: value for key, value in typed.items() if value is not None}}, "--")
    with Bar() as bar:
        found = compose.find_data(catalogue(), asked).prepare((), bar.progress, which, out)
    for image, reason in found.skipped:
        warn(f"{image} is left out: {reason}")
    if found.note:
        warn(found.note)
    counts = " and ".join(f"{n} of {name}" if name else str(n) for name, n in found.counts.items())
    click.echo(one_line(f"{counts} rows, checksum {found.checksum[:12]}"))
    click.echo(clean(str(found.path)))


prepare_command.params += [param for param in options.click_options(DataOptions) if param.name != "dataset"]
