"""Vectors of numbers, float32 (D,)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.files import replacing
from ganzoo.media.medium import Medium
from ganzoo.pictures import COLOURS, FAINT, PAPER, text_cell
from ganzoo.randomness import generator
from ganzoo.types import DataSet, Field

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PLACES = 48  # a side of the grid at which a report shows what D thinks


def reach_of(rows: Tensor) -> float:
    """Half the side of the square around 0 that is shown: a little more than these points need."""
    return float(rows[:, :2].abs().max()) * 1.25 + 1e-6


class Points(Medium):
    """Arrays: float (N, D)."""

    name = "points"
    dtype = torch.float32
    toys: ClassVar[tuple[Field, ...]] = (Field("points", (2,)),)
    per_sheet = 2500
    way = 64
    in_game = 250

    def accepts(self, shape: tuple[int, ...], dtype: str) -> bool:
        return dtype.startswith(("float", "bfloat")) and len(shape) == 2

    def field(self, shape: tuple[int, ...], dtype: str, given: Field) -> Field:
        if not self.accepts(shape, dtype):
            raise UsageError(f"wanted float points (N, D); got {dtype} {shape}")
        return replace(given, shape=tuple(shape[1:]))

    def store(self, rows: Tensor, field: Field) -> Tensor:
        rows = rows.float()
        if not bool(rows.isfinite().all()):
            raise UsageError("a NaN or an infinity. Remove it")
        return rows

    def read(self, path: Path, field: Field) -> Iterator[Tensor]:
        import numpy as np

        try:
            rows = torch.from_numpy(np.load(path, allow_pickle=False)).float()
        except (OSError, ValueError, TypeError) as e:
            raise UsageError(f"{path}: wanted points in a .npy file (N, D): {e}.") from e
        if rows.dim() != 2 or tuple(rows.shape[1:]) != field.shape:
            raise UsageError(f"{path}: wanted points (N, {field.shape[0]}), got {tuple(rows.shape)}.")
        yield from rows.split(1)

    def write(self, rows: Tensor, folder: Path, field: Field, names: Sequence[str]) -> None:
        """One file, x.safetensors."""
        from safetensors.torch import save_file

        with replacing(folder / "x.safetensors") as beside:
            save_file({"x": rows.contiguous()}, beside)

    def cells(self, rows: Tensor, field: Field) -> list[Picture]:
        def words(row: Tensor) -> str:
            return "(" + ", ".join(f"{value:.3g}" for value in row.flatten()[:4].tolist()) + (", ...)" if row.numel() > 4 else ")")

        return [text_cell(words(row)) for row in rows]

    def sheet(self, rows: Tensor, field: Field, columns: int, real: Tensor | None = None) -> Picture:
        """A scatter plot of the first two coordinates: samples in colour over real points in grey, in a square around the real ones."""
        size, reach = 512, reach_of(rows if real is None else real)
        page = Image.new("RGB", (size, size), PAPER)
        draw = ImageDraw.Draw(page)
        for points, colour in ((real, FAINT), (rows, COLOURS[0])):
            if points is None:
                continue
            across = points[:, 0].detach().float().cpu()
            up = points[:, 1].detach().float().cpu() if points.shape[1] > 1 else torch.zeros_like(across)
            for a, b in torch.stack(((across / reach + 1) * size / 2, (1 - up / reach) * size / 2), 1).tolist():
                if math.isfinite(a) and math.isfinite(b):
                    draw.ellipse((a - 1.5, b - 1.5, a + 1.5, b + 1.5), fill=colour)
        return page

    def places(self, real: Tensor, field: Field) -> Tensor | None:
        """In the plane, a square grid of PLACES x PLACES: row by row from below, each from the left."""
        if field.shape != (2,):
            return None
        line = torch.linspace(-1, 1, PLACES) * reach_of(real)
        up, across = torch.meshgrid(line, line, indexing="ij")
        return torch.stack([across, up], 2).flatten(0, 1)

    def usual(self, field: Field, classes: int, record: DataSet | None, truth: bool) -> tuple[str, str, int]:
        return ("modes", "pixels", 2500) if record is not None and record.modes else ("fid", "pixels", 10_000)

    def toy(self, n: int, field: Field) -> Mapping[str, Tensor]:
        """Four Gaussians at the corners of a square, (±1, ±1), with standard deviation 0.1, in the first two coordinates."""
        g = generator("clusters", n)
        k = torch.arange(n) % 4
        x = torch.stack([(k % 2) * 2 - 1.0, (k // 2) * 2 - 1.0], 1) + 0.1 * torch.randn(n, 2, generator=g)
        return {"x": torch.nn.functional.pad(x, (0, field.shape[0] - 2)), "y": k}
