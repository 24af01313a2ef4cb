"""Tensors to PNG files: sheets of images, scatter plots of points, curves of losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ganzoo.files import write_file
from ganzoo.types import DataSpec

PAPER, INK, FAINT = (255, 255, 255), (40, 40, 40), (215, 215, 215)
COLOURS = [(31, 119, 180), (214, 96, 14), (44, 140, 44), (200, 39, 40), (128, 90, 170), (120, 80, 70), (200, 100, 170), (110, 110, 110)]


def stored(x: Tensor, spec: DataSpec) -> Tensor:
    """Samples as they are saved, on the CPU: images of [-1, 1] as uint8, clipped and rounded; points as they are, in float32."""
    x = x.detach().float().cpu()
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8) if spec.kind == "image" else x


def to_image(x: Tensor) -> Image.Image:
    """One uint8 image (C, H, W): grey for one channel, else the first three channels as colour."""
    if x.shape[0] < 3:
        return Image.fromarray(x[0].contiguous().numpy())
    return Image.fromarray(x[:3].permute(1, 2, 0).contiguous().numpy())


def sheet(images: Tensor, columns: int = 8, gap: int = 2) -> Image.Image:
    """uint8 images (N, C, H, W) in rows of `columns`; small ones are enlarged by a whole factor."""
    n, _, height, width = images.shape
    rows = math.ceil(n / columns)
    grey = images.shape[1] < 3
    page = Image.new("L" if grey else "RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), 255 if grey else PAPER)
    for i in range(n):
        page.paste(to_image(images[i]), (gap + i % columns * (width + gap), gap + i // columns * (height + gap)))
    factor = max(1, 640 // page.width)
    return page.resize((page.width * factor, page.height * factor), Image.Resampling.NEAREST)


def scatter(x: Tensor, real: Tensor | None = None, size: int = 512) -> Image.Image:
    """The first two coordinates of points (N, D): samples in colour over real points in grey, in a square around the real ones."""
    shown = x if real is None else real
    reach = float(shown[:, :2].abs().max()) * 1.25 + 1e-6
    page = Image.new("RGB", (size, size), PAPER)
    draw = ImageDraw.Draw(page)
    for points, colour in ((real, FAINT), (x, COLOURS[0])):
        if points is None:
            continue
        across = points[:, 0].detach().float().cpu()
        up = points[:, 1].detach().float().cpu() if points.shape[1] > 1 else torch.zeros_like(across)
        for a, b in torch.stack(((across / reach + 1) * size / 2, (1 - up / reach) * size / 2), 1).tolist():
            if math.isfinite(a) and math.isfinite(b):
                draw.ellipse((a - 1.5, b - 1.5, a + 1.5, b + 1.5), fill=colour)
    return page


def picture(x: Tensor, spec: DataSpec, columns: int = 8, real: Tensor | None = None) -> Image.Image:
    """The picture of samples as they are saved: a sheet of images, or a scatter plot of points over the real ones."""
    return sheet(x, columns) if spec.kind == "image" else scatter(x, real)


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    write_file(path, lambda file: image.save(file, format="PNG"))


def curves(lines: Sequence[Mapping[str, float]], width: int = 900, height: int = 260) -> Image.Image | None:
    """One panel for the terms of each network and one for the other values, over the step; None for fewer than two lines."""
    names = [name for name in (lines[-1] if lines else {}) if name not in ("step", "time", "images_seen", "images_per_second")]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition("/")[0] if "/" in name else "", []).append(name)
    if len(lines) < 2 or not groups:
        return None
    page = Image.new("RGB", (width, height * len(groups)), PAPER)
    for i, group in enumerate(groups.values()):
        _panel(page, (60, i * height + 12, width - 190, (i + 1) * height - 28), lines, group)
    return page


def _panel(page: Image.Image, box: tuple[int, int, int, int], lines: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    left, top, right, bottom = box
    draw = ImageDraw.Draw(page)
    data = {name: [(line["step"], line[name]) for line in lines if math.isfinite(line.get(name, math.nan))] for name in names}
    values = sorted(v for points in data.values() for _, v in points)
    if not values:
        return
    # One wild step must not flatten all others: the axis spans the middle 98 %.
    low, high = values[len(values) // 100], values[-1 - len(values) // 100]
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low - 0.05 * (high - low), high + 0.05 * (high - low))
    last = max(lines[-1]["step"], 1)
    for i in range(5):
        y = bottom - (bottom - top) * i / 4
        draw.line((left, y, right, y), fill=FAINT)
        draw.text((left - 6, y), f"{low + (high - low) * i / 4:.3g}", fill=INK, anchor="rm")
    for i in range(5):
        x = left + (right - left) * i / 4
        draw.text((x, bottom + 6), f"{last * i / 4:.0f}", fill=INK, anchor="mt")
    for i, (name, points) in enumerate(data.items()):
        colour = COLOURS[i % len(COLOURS)]
        every = max(1, len(points) // (right - left))
        path = [
            (left + (right - left) * t / last, bottom - (bottom - top) * (min(max(v, low), high) - low) / (high - low))
            for t, v in points[::every]
        ]
        if len(path) > 1:
            draw.line(path, fill=colour)
        draw.text((right + 12, top + 16 * i), name, fill=colour)
