"""The medium "table": rows of a table, each as float32 (D,)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import ganzoo
from ganzoo import Field, GanzooError, UsageError
from ganzoo_tables.columns import Column, columns_of, decoded, encoded, parts_of
from ganzoo_tables.data import read_table

FILE = "table.csv"
LETTERS, LINE, GAP = 13, 18, 14  # pixels: of letters, from line to line, between columns
WIDEST = 16  # letters of a cell that is shown

TOY = (
    Column("size", means=(1.0, 5.0), stds=(0.2, 0.2), shares=(0.5, 0.5), decimals=2, low=0.0, high=6.0, missing="?"),
    Column("colour", ("blue", "green", "red"), (128, 128, 256)),
    Column("kind", ("a", "b"), (256, 256)),
)


class Table(ganzoo.Medium):
    """Each column is a part of the row: a discrete one a category, one-hot; a continuous one a scalar, how far from the mean of its mode,
    in four deviations, and the mode, one-hot. `Field.names` has a text for each column that says all of it, so a generator's file is
    enough to write a table.
    """

    name = "table"
    dtype = torch.float32
    per_sheet = 20
    toys: ClassVar[tuple[Field, ...]] = (Field("table", (sum(c.width for c in TOY),), 0, tuple(c.to_text() for c in TOY)),)

    def field(self, shape: tuple[int, ...], dtype: str, given: Field) -> Field:
        if not dtype.startswith("float") or len(shape) != 2:
            raise UsageError(f"wanted encoded rows of a table, float (N, D); got {dtype} {shape}")
        found = replace(given, shape=tuple(shape[1:]))
        columns_of(found)
        return found

    def store(self, rows: Tensor, field: Field) -> Tensor:
        rows = rows.float()
        if not bool(rows.isfinite().all()):
            raise UsageError("a NaN or an infinity. Remove it")
        return rows

    def stored(self, x: Tensor, field: Field) -> Tensor:
        """Of each choice the most probable entry alone."""
        hard = []
        columns = columns_of(field)
        for column, part in zip(columns, parts_of(x.detach().float().cpu(), columns), strict=True):
            choice = torch.nn.functional.one_hot(part[:, -column.choices :].argmax(1), column.choices).float()
            hard.append(choice if column.discrete else torch.cat([part[:, :1], choice], 1))
        return torch.cat(hard, 1)

    def read(self, path: Path, field: Field) -> Iterator[Tensor]:
        """The rows of a CSV file with the same columns, in any order."""
        table, columns = read_table(path), columns_of(field)
        if missing := [c.name for c in columns if c.name not in table]:
            raise UsageError(f"{path}: wanted the columns {', '.join(c.name for c in columns)}; it has no {missing[0]!r}.")
        yield from encoded(table, columns).split(1)

    def write(self, rows: Tensor, folder: Path, field: Field, names: Sequence[str]) -> None:
        """One file, table.csv."""
        columns = columns_of(field)
        try:
            with open(folder / FILE, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow([c.name for c in columns])
                writer.writerows(decoded(rows, columns))
        except OSError as e:
            raise GanzooError(f"{folder / FILE} cannot be written: {e.strerror or e}.") from e

    def objects(self, rows: Tensor, field: Field) -> list[Any]:
        """A dict a row: the cells, as texts, by column."""
        columns = columns_of(field)
        return [dict(zip([c.name for c in columns], row, strict=True)) for row in decoded(rows, columns)]

    def rows(self, given: Any, field: Field) -> list[Tensor]:
        """Of such a dict too, whose numbers may be numbers."""
        if not isinstance(given, Mapping):
            return super().rows(given, field)
        columns = columns_of(field)
        if missing := [c.name for c in columns if c.name not in given]:
            raise UsageError(f"wanted a row with the columns {', '.join(c.name for c in columns)}; it has no {missing[0]!r}.")
        return [encoded({c.name: [str(given[c.name])] for c in columns}, columns)]

    def cells(self, rows: Tensor, field: Field) -> list[Image.Image]:
        return [_drawn([row]) for row in decoded(rows, columns_of(field))]

    def sheet(self, rows: Tensor, field: Field, columns: int, real: Tensor | None = None) -> Image.Image:
        """The rows under the names of the columns."""
        known = columns_of(field)
        return _drawn([[c.name for c in known], *decoded(rows, known)])

    def toy(self, n: int, field: Field) -> Mapping[str, Tensor]:
        """Four kinds of rows: their colour, kind and size go together."""
        g = torch.Generator().manual_seed(n)
        y, off = torch.arange(n) % 4, torch.randn(n, generator=g).clamp(-2, 2)
        centres = torch.where(y < 2, 1, 5) + 0.2 * off
        sizes = [f"{centre:.2f}" if i % 16 else "?" for i, centre in enumerate(centres.tolist())]
        colours, kinds = [[labels[k] for k in y.tolist()] for labels in (("red", "blue", "red", "green"), ("a", "b", "b", "a"))]
        return {"x": encoded({"size": sizes, "colour": colours, "kind": kinds}, columns_of(field)), "y": y}


def _drawn(lines: Sequence[Sequence[str]]) -> Image.Image:
    """Cells as text, a line a row, in columns."""
    cut = [[cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 1]}…" for cell in line] for line in lines]
    font = ImageFont.load_default(LETTERS)
    widths = [max(map(font.getlength, column)) + GAP for column in zip(*cut, strict=True)]
    page = Image.new("RGB", (int(sum(widths)) + 8, LINE * len(cut) + 4), "white")
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(cut):
        for k, cell in enumerate(line):
            draw.text((4 + int(sum(widths[:k])), 2 + LINE * i), cell, "black", font)
    return page
