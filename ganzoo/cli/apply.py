"""`ganzoo apply`: use what a run has made on files of one's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganzoo.cli.sample import make
from ganzoo.cli.ui import warn
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.registry.catalogue import catalogue, medium

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.runs.exported import Exported

LOT = 250  # rows that are turned at once


@click.command("apply")
@click.argument("source", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--network", metavar="NAME", help="The product of the run.  [the main one]")
@click.option("--input", "inputs", metavar="KEY=PATH", multiple=True, help="What it asks for beside PATH, as mask=holes.png.")
@click.option("--labels", metavar="3,7", multiple=True, help="Classes, by name or number, if it takes one; taken in turn.")
@click.option("--resize", is_flag=True, help="Bring pictures to the size that it was trained with: their middle, scaled.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what it draws.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write to.  [applied-NNN beside the run]")
def apply_command(
    source: Path, paths: tuple[Path, ...], network: str | None, inputs: tuple[str, ...], labels: tuple[str, ...], resize: bool, seed: int,
    out: Path | None,
) -> None:  # fmt: skip
    """Turn files by what a RUN has made, or a product's FILE: photos, folders of photos, texts.

    \b
    ganzoo apply runs/srgan-photos-001 holiday.jpg
    ganzoo apply runs/sgan-mnist-001 digits/ --network classifier
    """
    import torch

    from ganzoo import machine
    from ganzoo.runs.exported import classes_of, load
    from ganzoo.runs.folder import new_folder

    machine.set_threads()
    product = load(catalogue(), source, network or "", warn)
    if not product.asks:
        raise UsageError(f"{product.name} is applied to nothing: `ganzoo sample {source}` draws from it.")
    if labels and product.classes is None:
        raise UsageError(f"--labels: {product.name} takes no class. Leave --labels out.")
    chosen = classes_of(labels, product.classes, warn) if product.classes is not None else []
    columns = {product.asks[0]: _rows(product, product.asks[0], paths, resize), **_beside(product, inputs, resize)}
    beside = source if source.is_dir() else source.parent
    if out is None:
        out = new_folder(beside, "applied")
    make(out)
    if any(out.iterdir()):
        raise UsageError(f"--out: {out} is not empty. Name another folder.")
    done, outputs, names = 0, [], list[str]()
    for lot in _lots(columns):
        given = {key: medium(product.fields[key].medium).to_batch(torch.cat([row for _, row in rows])) for key, rows in lot.items()}
        n = len(next(iter(given.values())))
        if chosen:
            given |= {key: torch.tensor(chosen)[torch.arange(done, done + n) % len(chosen)] for key in product.fields.keys() - given.keys()}
        made = torch.cat(list(product.outputs(n, seed, given)))
        own = [name for name, _ in lot[product.asks[0]]]
        done += n
        if product.medium.pictures:  # sizes differ: each is written at once
            product.medium.write(made, out, product.field, own)
        else:
            outputs.append(made)
            names += own
    if outputs:
        product.medium.write(torch.cat(outputs), out, product.field, names)
    click.echo(f"{done} turned by {product.name} of step {product.step}: {out}")


Named = tuple[str, "Tensor"]


def _rows(product: Exported, key: str, paths: tuple[Path, ...], resize: bool) -> Iterator[Named]:
    """The rows of the user's files, stored, each with a name: that of its file, and a number where a file holds several."""
    field = product.fields[key]
    kind, taken = medium(field.medium), set[str]()
    for path in paths:
        for file in kind.files(path):
            rows = kind.read(file, field)
            first = next(rows, None)
            if first is None:
                warn(f"{file} holds nothing.")
                continue
            second = next(rows, None)
            several = [first] if second is None else itertools.chain([first, second], rows)
            for i, row in enumerate(several):
                name = file.stem if second is None else f"{file.stem}-{i:06d}"
                if name in taken:
                    name = next(f"{name}-{k}" for k in itertools.count(2) if f"{name}-{k}" not in taken)
                taken.add(name)
                yield name, kind.resized(row, field) if resize else row


def _beside(product: Exported, inputs: tuple[str, ...], resize: bool) -> dict[str, Iterator[Named]]:
    """The rows of what is asked for beside the first."""
    columns, others = {}, product.asks[1:]
    for text in inputs:
        key, given, path = text.partition("=")
        if not given or key not in others:
            wanted = f"one of {', '.join(others)}" if others else "nothing: it asks for one thing alone"
            raise UsageError(f"--input {text}: wanted KEY=PATH, KEY {wanted}.{did_you_mean(key, others)}")
        columns[key] = _rows(product, key, (Path(path),), resize)
    if missing := [key for key in others if key not in columns]:
        raise UsageError(f"{product.name} asks for {', '.join(product.asks)}: name the {missing[0]} with --input {missing[0]}=PATH.")
    return columns


def _lots(columns: dict[str, Iterator[Named]]) -> Iterator[dict[str, list[Named]]]:
    """Rows that belong together and have the same shapes, some at once. Raises UsageError where one column ends before another."""
    lot: dict[str, list[Named]] = {key: [] for key in columns}
    first = next(iter(columns))
    while True:
        rows = {key: next(column, None) for key, column in columns.items()}
        ended = [key for key, row in rows.items() if row is None]
        if ended and len(ended) < len(rows):
            raise UsageError(f"--input: there are fewer rows of {ended[0]} than of the others.")
        shapes = {key: row[1].shape for key, row in rows.items() if row is not None}
        if lot[first] and (ended or len(lot[first]) == LOT or any(lot[key][0][1].shape != shape for key, shape in shapes.items())):
            yield lot
            lot = {key: [] for key in columns}
        if ended:
            return
        for key, row in rows.items():
            assert row is not None
            lot[key].append(row)
