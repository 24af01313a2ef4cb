"""Classes: int64 (), numbered from 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.files import write_file
from ganzoo.media.medium import Medium
from ganzoo.pictures import text_cell
from ganzoo.types import DataSet, Field

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 3  # classes of a row that are named


class Label(Medium):
    """Arrays (N,) or (N, 1): whole numbers, texts, bool; or one-hot (N, K).

    What a network says of classes is stored as probabilities, float32 (N, size).
    """

    name = "label"
    dtype = torch.int64

    def whole(self, array: Any, given: Field) -> tuple[Any, Field, str]:
        """Classes numbered from 0 without gaps; what they were called, if that is not their number, are their names."""
        import numpy as np

        values = array.numpy() if isinstance(array, Tensor) else np.asarray(array)
        if values.ndim == 2 and values.shape[1] > 1:
            if given.size or values.dtype.kind not in "biuf" or not (((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all()):
                raise UsageError(f"wanted labels (N,), or one-hot (N, K); got {values.dtype} {values.shape}")
            size, values = values.shape[1], values.argmax(1)
            given = replace(given, size=size)
        values = values.reshape(len(values), -1)[:, 0] if values.ndim > 1 else values
        if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all():
            values = values.astype(np.int64)
        size = given.size or len(given.names)
        if size and values.dtype.kind in "biu":
            if size > len(values) and not given.names:
                raise UsageError(f"{size} classes for {len(values)} samples. Is this the array of the labels?")
            empty = sorted(set(range(size)) - set(np.unique(values).tolist()))
            named = ", ".join(name_of(given, k) for k in empty[:5]) + (", ..." if empty[5:] else "")
            return values.astype(np.int64), given, f"no sample is of {named}" if named else ""
        if values.dtype.kind not in "biuUS" or not len(values):
            raise UsageError(f"wanted labels as whole numbers, texts or one-hot; got {values.dtype} {values.shape}")
        classes, numbers = np.unique(values, return_inverse=True)
        if len(classes) > max(10, len(values) // 2):
            raise UsageError(f"{len(classes)} classes for {len(values)} samples. Is this the array of the labels?")
        if values.dtype.kind in "iu" and classes[0] == 0 and classes[-1] == len(classes) - 1:
            return values.astype(np.int64), given, ""
        names = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in classes.tolist()]
        shown = ", ".join(names[:5]) + (", ..." if names[5:] else "")
        note = f"labels {shown} are numbered 0 to {len(names) - 1}; --labels takes them by name"
        return numbers.reshape(-1), replace(given, size=len(names), names=tuple(names)), note

    def field(self, shape: tuple[int, ...], dtype: str, given: Field) -> Field:
        if not dtype.startswith(("int", "uint")) or shape[1:] not in ((), (1,)):
            raise UsageError(f"wanted whole numbers (N,) as labels; got {dtype} {shape}")
        return replace(given, shape=(), size=given.size or len(given.names))

    def store(self, rows: Tensor, field: Field) -> Tensor:
        rows = rows.reshape(-1).long()
        low, high = int(rows.min()), int(rows.max())
        if low < 0 or (field.size and high >= field.size):
            upto = f" to {field.size - 1}" if field.size else ""
            raise UsageError(f"wanted labels from 0{upto}; got {low if low < 0 else high}")
        return rows

    def settle(self, stored: Tensor, field: Field) -> tuple[Tensor, Field]:
        return stored, replace(field, size=field.size or int(stored.max()) + 1)

    def made_up(self, n: int, field: Field) -> Tensor | None:
        return torch.arange(n) % max(field.size, 1)

    def shape_of_output(self, field: Field) -> tuple[int, ...]:
        return (field.size,)

    def stored(self, x: Tensor, field: Field) -> Tensor:
        """Probabilities, of raw logits (N, size), or (N,) for the second of two classes."""
        x = x.detach().float().cpu()
        return torch.stack([(-x).sigmoid(), x.sigmoid()], 1) if x.dim() == 1 else x.softmax(1)

    def write(self, rows: Tensor, folder: Path, field: Field, names: Sequence[str]) -> None:
        """One file, labels.csv: a row's name, its most probable class, and the probability of each."""
        import csv
        import io

        file = io.StringIO()
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "class", *(name_of(field, k) for k in range(field.size))])
        for name, row in zip(names, probabilities(rows, field), strict=True):
            table.writerow([name, name_of(field, int(row.argmax())), *(f"{p:.6g}" for p in row.tolist())])
        write_file(folder / "labels.csv", lambda out: out.write(file.getvalue().encode()))

    def objects(self, rows: Tensor, field: Field) -> list[Any]:
        """The probability of each class, by its name."""
        names = [name_of(field, k) for k in range(field.size)]
        return [dict(zip(names, row.tolist(), strict=True)) for row in probabilities(rows, field)]

    def cells(self, rows: Tensor, field: Field) -> list[Image]:
        cells = []
        for row in probabilities(rows, field):
            best = [(float(p), int(k)) for p, k in zip(*row.topk(min(SHOWN, len(row))), strict=True)]
            cells.append(text_cell("\n".join(f"{name_of(field, k)} {p:.0%}" for p, k in best if p > 0)))
        return cells

    def coordinates(self, rows: Tensor, field: Field) -> Tensor:
        return probabilities(rows, field)

    def usual(self, field: Field, classes: int, record: DataSet | None, truth: bool) -> tuple[str, str, int]:
        return "accuracy", "", 10_000

    def toy(self, n: int, field: Field) -> Mapping[str, Tensor]:
        y = torch.arange(n) % max(field.size, 1)
        return {"x": y, "y": y}


def probabilities(rows: Tensor, field: Field) -> Tensor:
    """Rows of classes (N,) or of probabilities (N, size), as probabilities."""
    return rows if rows.is_floating_point() else torch.nn.functional.one_hot(rows, field.size).float()


def name_of(field: Field, k: int) -> str:
    """The name of class k."""
    return field.names[k] if k < len(field.names) else f"class {k}"
