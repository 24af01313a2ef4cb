"""Pictures: sheets of cells, texts, curves of losses, PNG files."""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.files import write_file

PAPER, INK, FAINT = (255, 255, 255), (40, 40, 40), (215, 215, 215)
LETTERS = 13  # pixels: of Pillow's own font, the smallest letters that leave a space between words
HUGE = 1e100  # values beyond are not drawn
COLOURS = [(31, 119, 180), (214, 96, 14), (44, 140, 44), (200, 39, 40), (128, 90, 170), (120, 80, 70), (200, 100, 170), (110, 110, 110)]


def to_image(x: Tensor) -> Image.Image:
    """One uint8 image (C, H, W): grey for one channel, else the first three channels as colour."""
    if x.shape[0] < 3:
        return Image.fromarray(x[0].contiguous().numpy())
    return Image.fromarray(x[:3].permute(1, 2, 0).contiguous().numpy())


@functools.cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Of all text in pictures."""
    return ImageFont.load_default(LETTERS)


def text_cell(text: str, width: int = 40) -> Image.Image:
    """A text as a picture, in lines of at most so many letters."""
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, width) or [""]]
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    box = measure.multiline_textbbox((4, 3), "\n".join(lines), font=font())
    page = Image.new("RGB", (int(box[2]) + 5, int(box[3]) + 5), PAPER)
    ImageDraw.Draw(page).multiline_text((4, 3), "\n".join(lines), fill=INK, font=font())
    return page


def grid(cells: Sequence[Image.Image], columns: int = 8, gap: int = 2, texts: bool = False) -> Image.Image:
    """Pictures in rows of `columns`, each in the middle of its place; small ones are enlarged by a whole factor.

    texts: each begins at the left of its place, and none is enlarged.
    """
    rows = math.ceil(len(cells) / columns)
    width, height = max(cell.width for cell in cells), max(cell.height for cell in cells)
    grey = all(cell.mode == "L" for cell in cells)
    page = Image.new("L" if grey else "RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), 255 if grey else PAPER)
    for i, cell in enumerate(cells):
        left, top = (0, 0) if texts else ((width - cell.width) // 2, (height - cell.height) // 2)
        page.paste(cell, (gap + i % columns * (width + gap) + left, gap + i // columns * (height + gap) + top))
    factor = 1 if texts else max(1, 640 // page.width)
    return page.resize((page.width * factor, page.height * factor), Image.Resampling.NEAREST)


#: By the ending of a file, what Pillow calls its format, and how it is written.
FORMATS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".png": ("PNG", {}), ".jpg": ("JPEG", {"quality": 95}), ".jpeg": ("JPEG", {"quality": 95}), ".webp": ("WEBP", {"lossless": True}),
    ".bmp": ("BMP", {}), ".gif": ("GIF", {}),
}  # fmt: skip


def check_name(path: Path) -> None:
    """Raise UsageError where a file's ending is not that of a picture that can be written."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--out: wanted a name that ends in {', '.join(FORMATS)}; got {path.name!r}.")


def save(image: Image.Image, path: Path) -> None:
    """Write a picture in the format that its name ends in, whole or not at all."""
    name, how = FORMATS[path.suffix.lower()]
    write_file(path, lambda file: image.save(file, format=name, **how))


def curves(lines: Sequence[Mapping[str, float]], width: int = 900, height: int = 260) -> Image.Image | None:
    """One panel for the terms of each network and one for the other values, over the step; None for fewer than two lines.

    lines: whatever any of them has is drawn.
    """
    every = dict.fromkeys(name for line in lines for name in line)
    names = [name for name in every if name not in ("step", "time", "images_seen", "images_per_second")]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition("/")[0] if "/" in name else "", []).append(name)
    if len(lines) < 2 or not groups:
        return None
    page = Image.new("RGB", (width, height * len(groups)), PAPER)
    for i, (title, group) in enumerate(groups.items()):
        _panel(page, (60, i * height + 24, width - 190, (i + 1) * height - 36), lines, group, f"terms of {title}" if title else "")
    return page


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About so many round numbers between low and high: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def middle(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the middle 98 % of sorted values, which an axis spans: one wild step must not flatten all others."""
    return values[len(values) // 100], values[-1 - len(values) // 100]


def beyond(values: Sequence[float], low: float, high: float) -> str:
    """How far sorted values reach beyond an axis from low to high: "up to 4.94", or "" where none does."""
    ends = [f"down to {values[0]:.3g}"] * (values[0] < low) + [f"up to {values[-1]:.3g}"] * (values[-1] > high)
    return " and ".join(ends)


def _panel(
    page: Image.Image, box: tuple[int, int, int, int], lines: Sequence[Mapping[str, float]], names: Sequence[str], title: str
) -> None:  # fmt: skip
    left, top, right, bottom = box
    draw = ImageDraw.Draw(page)
    data = {name: [(line["step"], line[name]) for line in lines if abs(line.get(name, math.nan)) < HUGE] for name in names}
    values = sorted(v for points in data.values() for _, v in points)
    if not values:
        return
    low, high = middle(values)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low - 0.05 * (high - low), high + 0.05 * (high - low))
    last = max(lines[-1]["step"], 1)
    for value in ticks(low, high):
        y = bottom - (bottom - top) * (value - low) / (high - low)
        draw.line((left, y, right, y), fill=FAINT)
        draw.text((left - 6, y), f"{value:.4g}", fill=INK, anchor="rm", font=font())
    for step in ticks(0, last, 6):
        if step == int(step):
            draw.text((left + (right - left) * step / last, bottom + 6), f"{step:.0f}", fill=INK, anchor="mt", font=font())
    draw.text(((left + right) / 2, bottom + 20), "step", fill=INK, anchor="mt", font=font())
    cut = beyond(values, low, high)
    draw.text((left, top - 6), f"{title} (cut off: {cut})" if cut else title, fill=INK, anchor="lb", font=font())
    for i, (name, points) in enumerate(data.items()):
        colour = COLOURS[i % len(COLOURS)]
        every = max(1, len(points) // (right - left))
        path = [
            (left + (right - left) * t / last, bottom - (bottom - top) * (min(max(v, low), high) - low) / (high - low))
            for t, v in points[::every]
        ]
        if len(path) > 1:
            draw.line(path, fill=colour)
        draw.text((right + 12, top + 18 * i), name, fill=colour, font=font())
