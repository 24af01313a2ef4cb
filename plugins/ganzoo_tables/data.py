"""A CSV file as a data set."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo import Field, Request, Samples, UsageError, did_you_mean
from ganzoo_tables import CsvOptions


def csv_file(request: Request) -> Samples:
    """The rows of --dataset.file, encoded: "x". Raises UsageError for what is no table."""
    o: CsvOptions = request.options or CsvOptions()
    if not o.file:
        raise UsageError("data set 'csv' is a file of yours: name it with --dataset.file PATH.")
    path = Path(o.file).expanduser().resolve()
    table = read_table(path)
    for option, text in (("discrete", o.discrete), ("without", o.without)):
        if unknown := [name for name in listed(text) if name not in table]:
            raise UsageError(f"--dataset.{option}: {path.name} has no column {unknown[0]!r}.{did_you_mean(unknown[0], table)}")
    table = {name: cells for name, cells in table.items() if name not in listed(o.without)}
    if not table:
        raise UsageError("--dataset.without: no column is left. Leave fewer out.")

    from ganzoo_tables.columns import column_of, encoded

    columns = [column_of(name, cells, o.modes, o.few, name in listed(o.discrete)) for name, cells in table.items()]

    def arrays() -> Mapping[str, Any]:
        import torch

        return {"x": encoded(table, columns, torch.Generator().manual_seed(0))}

    status = path.stat()
    field = Field("table", (sum(c.width for c in columns),), 0, tuple(c.to_text() for c in columns))
    return Samples(f"table 1 {status.st_size} {status.st_mtime_ns} {path} {o}", arrays=arrays, fields={"x": field})


def listed(text: str) -> list[str]:
    """The names in "a,b"."""
    return [name.strip() for name in text.split(",") if name.strip()]


def read_table(path: Path) -> dict[str, list[str]]:
    """The cells of a CSV file by column, without spaces around them. Raises UsageError where it is no table."""
    wanted = "wanted a CSV file in UTF-8 with the names of its columns in the first line"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; {wanted}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UsageError(f"{path} cannot be read: {e}; {wanted}.") from e
    names = lines[0] if lines else []
    if not all(names) or len({*names}) < len(names):
        raise UsageError(f"{path}: {wanted}, each with a name of its own; got {','.join(names)[:80]!r}.")
    if len(lines) < 3:
        raise UsageError(f"{path}: {wanted}, and two rows at least; it has {max(len(lines) - 1, 0)}.")
    if names and all(_is_number(name) for name in names):
        raise UsageError(f"{path}: {wanted}; its first line holds numbers alone: {','.join(names)[:80]!r}.")
    for i, row in enumerate(lines[1:]):
        if len(row) != len(names):
            raise UsageError(f"{path}, row {i + 1}: wanted {len(names)} cells, one a column, got {len(row)}: {','.join(row)[:80]!r}.")
    return {name: [row[i] for row in lines[1:]] for i, name in enumerate(names)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
