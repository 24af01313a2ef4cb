"""Columns of a table, as text in `Field.names`, and how rows become numbers by them, and numbers rows again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ganzoo import Field, UsageError

MOST = 1000  # categories of a column
RARE = 0.005  # a mode with a smaller share of the values is dropped
ITERATIONS = 100
DECIMALS = 6


@dataclass(frozen=True)
class Column:
    """A column, continuous or discrete.

    Attributes:
        name: in the table.
        values, counts: of a discrete column, the categories and how often each occurs in the data.
        means, stds, shares: of a continuous column, its modes (section 4.2 of the paper).
        decimals, low, high: how a number is written, and the range that the data has.
        missing: of a continuous column, what stands where there is no number; None: there is a number everywhere.
    """

    name: str
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    decimals: int = 0
    low: float = 0.0
    high: float = 0.0
    missing: str | None = None

    @property
    def discrete(self) -> bool:
        """Whether it holds categories."""
        return bool(self.values)

    @property
    def choices(self) -> int:
        """Entries of its one-hot part: categories; or modes, and what is missing."""
        return len(self.values) or len(self.means) + (self.missing is not None)

    @property
    def width(self) -> int:
        """Numbers of a row that are its: of a continuous column a scalar comes before the choice."""
        return self.choices + (not self.discrete)

    def to_text(self) -> str:
        """As compact JSON, without what is empty."""
        told = {key: value for key, value in asdict(self).items() if value not in ((), None)}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Column:
        """Of such a text. Raises UsageError for another."""
        try:
            told = json.loads(text)
            values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as e:
            raise UsageError(f"wanted columns of a table, as data set `csv` describes them; got {text[:60]!r}") from e

    def number(self, text: str) -> float | None:
        """The number that a cell holds; None where it is missing. Raises UsageError for what cannot be."""
        if text == self.missing:
            return None
        if (value := number_of(text)) is None:
            raise UsageError(f"column {self.name!r}: wanted a number, got {text!r}.")
        return value

    def encoded(self, cells: Sequence[str], g: torch.Generator | None = None) -> Tensor:
        """Cells as float32 (N, width). g: draws the mode of each number by its probability, as the paper does; None: the likeliest.

        Raises UsageError for a category that is not known, or what is no number.
        """
        n, rows = len(cells), torch.arange(len(cells))
        coded = torch.zeros(n, self.width, dtype=torch.float64)
        if self.discrete:
            places = {value: i for i, value in enumerate(self.values)}
            if unknown := [cell for cell in cells if cell not in places]:
                raise UsageError(f"column {self.name!r}: {unknown[0]!r} is none of its {len(places)} categories.")
            coded[rows, torch.tensor([places[cell] for cell in cells], dtype=torch.int64)] = 1
            return coded.float()
        numbers = [self.number(cell) for cell in cells]
        gone = torch.tensor([value is None for value in numbers], dtype=torch.bool)
        x = torch.tensor([0.0 if value is None else value for value in numbers], dtype=torch.float64)
        means, stds, shares = (torch.tensor(part, dtype=torch.float64) for part in (self.means, self.stds, self.shares))
        told = responsibilities(x, means, stds, shares)
        mode = told.argmax(1) if g is None else torch.multinomial(told, 1, generator=g)[:, 0]
        coded[:, 0] = torch.where(gone, 0, (x - means[mode]) / (4 * stds[mode]))
        coded[rows, 1 + torch.where(gone, len(self.means), mode)] = 1
        return coded.float()

    def decoded(self, coded: Tensor) -> list[str]:
        """The cells of (N, width)."""
        choice = coded[:, -self.choices :].argmax(1).tolist()
        if self.discrete:
            return [self.values[k] for k in choice]
        cells = []
        for k, alpha in zip(choice, coded[:, 0].double().tolist(), strict=True):
            if k == len(self.means):
                cells.append(self.missing or "")
                continue
            value = min(max(self.means[k] + 4 * self.stds[k] * alpha, self.low), self.high)
            cells.append(f"{value:.{self.decimals}f}" if round(value, self.decimals) else f"{0:.{self.decimals}f}")
        return cells


def number_of(text: str) -> float | None:
    """The finite number that a cell says; None where it says something else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def responsibilities(x: Tensor, means: Tensor, stds: Tensor, shares: Tensor) -> Tensor:
    """How probable each mode is for each value: float64 (N, K)."""
    return (shares.log() - stds.log() - ((x[:, None] - means) / stds).square() / 2).softmax(1)


def modes_of(x: Tensor, most: int, resolution: float) -> tuple[Tensor, Tensor, Tensor]:
    """Means, standard deviations and shares of at most so many Gaussians, by expectation and maximisation from the quantiles of the
    different values; float64 (K,) each, by their means. The same on every call.

    resolution: the smallest difference of two values. A tenth of it is the smallest deviation, so a value that stands for itself, as 0 in
    a column of gains, becomes a mode that gives exactly it.
    """
    different, counts = x.unique(return_counts=True)
    k = min(most, len(different))
    means = different[((torch.arange(k) + 0.5) / k * len(different)).long()].clone()
    stds = torch.full((k,), max(float(x.std(correction=0)) / k, resolution / 10), dtype=torch.float64)
    shares = torch.full((k,), 1 / k, dtype=torch.float64)
    for _ in range(ITERATIONS):
        told = responsibilities(different, means, stds, shares) * counts[:, None]
        sums = told.sum(0) + 1e-12
        before, means = means, (told * different[:, None]).sum(0) / sums
        stds = ((told * (different[:, None] - means).square()).sum(0) / sums).sqrt().clamp_min(resolution / 10)
        shares = (sums / sums.sum()).clamp_min(1e-12)
        if float((means - before).abs().max()) < resolution / 100:
            break
    kept = torch.nonzero(shares >= min(RARE, float(shares.max())))[:, 0]
    kept = kept[means[kept].argsort()]
    return means[kept], stds[kept], shares[kept] / shares[kept].sum()


def column_of(name: str, cells: Sequence[str], modes: int, few: int, discrete: bool) -> Column:
    """What a column is, by its cells. Raises UsageError where it has too many categories."""
    texts = [cell for cell in dict.fromkeys(cells) if cell not in ("", "?")]
    absent = sorted({cell for cell in cells if cell in ("", "?")})
    numbers = [number_of(text) for text in texts]
    if not discrete and len(absent) < 2 and len({*numbers}) > few and None not in numbers:
        x = torch.tensor([float(cell) for cell in cells if cell not in absent], dtype=torch.float64)
        decimals = max(len(text.partition(".")[2]) for text in texts) if not any("e" in text.lower() for text in texts) else DECIMALS
        decimals = min(decimals, DECIMALS)
        means, stds, shares = modes_of(x, modes, 10.0**-decimals)
        parts = (tuple(float(f"{value:.9g}") for value in part.tolist()) for part in (means, stds, shares))
        missing = absent[0] if absent else None
        return Column(name, (), (), next(parts), next(parts), next(parts), decimals, float(x.min()), float(x.max()), missing)
    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell] = counts.get(cell, 0) + 1
    if len(counts) > MOST:
        example = next(text for text, value in zip(texts, numbers, strict=True) if discrete or len(absent) > 1 or value is None)
        raise UsageError(
            f"column {name!r} has {len(counts)} different texts, as {example[:40]!r}; wanted numbers, or {MOST} categories at most. "
            f"Leave it out with --dataset.without, or repair what should be a number."
        )
    ordered = sorted(counts)
    return Column(name, tuple(ordered), tuple(counts[value] for value in ordered))


@cache
def columns_in(names: tuple[str, ...]) -> tuple[Column, ...]:
    """The columns that a field's `names` tell."""
    return tuple(map(Column.from_text, names))


def columns_of(field: Field) -> tuple[Column, ...]:
    """The columns of a field, in their order. Raises UsageError where it has none, or its rows are of another width."""
    columns = columns_in(field.names)
    if not columns or field.shape not in ((), (sum(c.width for c in columns),)):
        raise UsageError("wanted a table with its columns, as data set `csv` reads one")
    return columns


def encoded(table: Mapping[str, Sequence[str]], columns: Sequence[Column], g: torch.Generator | None = None) -> Tensor:
    """A table, the cells by column, as float32 (N, D)."""
    return torch.cat([column.encoded(table[column.name], g) for column in columns], 1)


def parts_of(rows: Tensor, columns: Sequence[Column]) -> tuple[Tensor, ...]:
    """Rows (N, D), column by column: (N, width) each."""
    return rows.split([column.width for column in columns], 1)


def decoded(rows: Tensor, columns: Sequence[Column]) -> list[list[str]]:
    """The cells of rows (N, D), row by row."""
    cells = [column.decoded(part) for column, part in zip(columns, parts_of(rows, columns), strict=True)]
    return [list(row) for row in zip(*cells, strict=True)]
