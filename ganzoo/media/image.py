"""Pictures: uint8 (C, H, W) in the cache and in files, float32 in [-1, 1] in a batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import PIL.Image
import torch
from torch import Tensor

from ganzoo import pictures
from ganzoo.errors import UsageError
from ganzoo.files import IMAGE_FORMATS, IMAGE_SUFFIXES, check_file
from ganzoo.media.decode import Photo, photo, pixels, resized
from ganzoo.media.medium import Medium
from ganzoo.randomness import generator
from ganzoo.types import DataSet, Field

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

LOT_BYTES = 4 << 20  # of images that are looked at together


class Image(Medium):
    """Arrays: uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), with 1 or 3 channels."""

    name = "image"
    dtype = torch.uint8
    pictures = True
    bf16 = True
    unit = "pixels, in grey levels of 255,"
    toys: ClassVar[tuple[Field, ...]] = tuple(Field("image", (c, s, s)) for s in (16, 32) for c in (1, 3))

    def accepts(self, shape: tuple[int, ...], dtype: str) -> bool:
        return dtype == "uint8" and (len(shape) == 3 or (len(shape) == 4 and bool({1, 3} & {shape[1], shape[3]})))

    def field(self, shape: tuple[int, ...], dtype: str, given: Field) -> Field:
        if not self.accepts(shape, dtype):
            raise UsageError(f"wanted uint8 images (0 to 255), (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3; got {dtype} {shape}")
        c, *size = (1, *shape[1:]) if len(shape) == 3 else shape[1:] if shape[1] in (1, 3) else (shape[3], *shape[1:3])
        return replace(given, shape=given.shape or (c, *size))

    def store(self, rows: Tensor, field: Field) -> Tensor:
        # (N, 3, H, 3) counts as (N, C, H, W)
        rows = rows[:, None] if rows.dim() == 3 else rows if rows.shape[1] in (1, 3) else rows.permute(0, 3, 1, 2)
        return resized(rows, (field.shape[1], field.shape[2]))

    def settle(self, stored: Tensor, field: Field) -> tuple[Tensor, Field]:
        lots = stored.split(max(1, LOT_BYTES // max(stored[:1].nbytes, 1)))
        if len(stored) and stored.shape[1] == 3 and all(bool((lot == lot[:, :1]).all()) for lot in lots):
            stored = stored[:, :1]
        return stored, replace(field, shape=tuple(stored.shape[1:]))

    def files(self, path: Path) -> list[Path]:
        if not path.is_dir():
            return super().files(path)
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith("."))
        if not files:
            inside = " Its sub-folders are not read: name them." if any(child.is_dir() for child in path.iterdir()) else ""
            raise UsageError(f"{path}: wanted a folder that holds {IMAGE_FORMATS} images; it holds none.{inside}")
        return files

    def resized(self, stored: Tensor, field: Field) -> Tensor:
        return resized(stored, (field.shape[1], field.shape[2]))

    def read(self, path: Path, field: Field) -> Iterator[Tensor]:
        for file in self.files(path):
            with _reading(file):
                yield _channels(torch.from_numpy(pixels(file.read_bytes(), None, peak=field.peak)), field)

    def photo(self, file: Path, field: Field) -> Photo:
        """A user's picture with all that should come back. Raises UsageError where it cannot be read."""
        with _reading(file):
            return photo(file.read_bytes(), field.peak)

    def row(self, photo: Photo, field: Field) -> Tensor:
        """A photo as a stored row, (1, C, H, W), with the channels of the field."""
        return _channels(torch.from_numpy(photo.seen), field)

    def to_batch(self, stored: Tensor) -> Tensor:
        return stored.float().div_(127.5).sub_(1)

    def mirror(self, x: Tensor, which: Tensor) -> Tensor:
        return torch.where(which.view(-1, 1, 1, 1), x.flip(3), x)

    def crop(self, stored: Tensor, at: Tensor, field: Field) -> Tensor:
        height, width = field.shape[1:]
        if stored.shape[2:] == (height, width):
            return stored
        corners = at.tolist()
        return torch.stack([x[:, i : i + height, j : j + width] for x, (i, j) in zip(stored, corners, strict=True)])

    def output(self, x: Tensor) -> Tensor:
        return x.tanh()

    def stored(self, x: Tensor, field: Field) -> Tensor:
        """Clipped to [-1, 1] and rounded to 256 levels."""
        return ((x.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def write(self, rows: Tensor, folder: Path, field: Field, names: Sequence[str]) -> None:
        for row, name in zip(rows, names, strict=True):
            pictures.save(pictures.to_image(row), folder / f"{name}.png")

    def cells(self, rows: Tensor, field: Field) -> list[Picture]:
        return [pictures.to_image(row) for row in rows]

    def objects(self, rows: Tensor, field: Field) -> list[Any]:
        return self.cells(rows, field)

    def rows(self, given: Any, field: Field) -> list[Tensor]:
        """A PIL image, the path of one or of a folder, or uint8 (H, W), (H, W, C) or (C, H, W), of any size."""
        if isinstance(given, str | Path):
            return list(self.read(Path(given), field))
        if isinstance(given, PIL.Image.Image):
            return [_channels(torch.from_numpy(pixels(given, None, peak=field.peak)), field)]
        x = torch.as_tensor(given)
        if x.dtype != torch.uint8 or x.dim() not in (2, 3):
            raise UsageError(f"wanted a PIL image, a path, or uint8 (H, W), (H, W, C) or (C, H, W); got {x.dtype} {tuple(x.shape)}.")
        x = x[None] if x.dim() == 2 else x if x.shape[0] in (1, 3) else x.permute(2, 0, 1)
        if x.shape[0] not in (1, 3):
            raise UsageError(f"wanted 1 or 3 channels, got {tuple(x.shape)}.")
        return [_channels(x.expand(3, -1, -1), field)]

    def usual(self, field: Field, classes: int, record: DataSet | None, truth: bool) -> tuple[str, str, int]:
        if truth:
            return "psnr,ssim", "", 10_000
        return "fid", "classifier" if classes else "random", 10_000

    def toy(self, n: int, field: Field) -> Mapping[str, Tensor]:
        """Bright discs, squares, crosses and bars on dark ground, a little shifted; in colour, each kind has one of its own."""
        channels, height, width = field.shape
        size = min(height, width)
        g = generator("shapes", n, size)
        y = torch.arange(n) % 4
        middle = (torch.rand(n, 2, generator=g) - 0.5) * size / 8 + torch.tensor([height / 2 - 0.5, width / 2 - 0.5])
        up = (torch.arange(height, dtype=torch.float32).view(1, -1, 1) - middle[:, 0].view(-1, 1, 1)).abs() / size
        across = (torch.arange(width, dtype=torch.float32).view(1, 1, -1) - middle[:, 1].view(-1, 1, 1)).abs() / size
        drawn = torch.stack(
            [
                (up.square() + across.square()).sqrt() < 0.3,
                torch.maximum(up, across) < 0.25,
                torch.minimum(up, across).lt(0.08) & torch.maximum(up, across).lt(0.4),
                torch.maximum(up / 3, across) < 0.13,
            ]
        )[y, torch.arange(n)]
        ink = torch.tensor([[230, 60, 60], [60, 230, 60], [60, 60, 230], [210, 210, 40]])[y][:, :channels] if channels == 3 else None
        bright = torch.full((n, channels), 220) if ink is None else ink
        x = torch.where(drawn[:, None], bright[:, :, None, None], 25)
        return {"x": x.to(torch.uint8), "y": y}


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Says which file it is that cannot be read as an image, and why."""
    check_file(file)
    try:
        with warnings.catch_warnings():  # of unusual palettes and sizes: what matters of that is an error here
            warnings.simplefilter("ignore")
            yield
    except Exception as e:  # decoders raise whatever they like
        raise UsageError(f"{file}: it cannot be read as an image: {(str(e) or type(e).__name__).splitlines()[0][:200]}.") from e


def _channels(x: Tensor, field: Field) -> Tensor:
    """A picture uint8 (3, H, W) with the channels of the field: (1, C, H, W)."""
    if field.shape[0] == 1:
        grey = (x.float() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)
        x = grey.round().to(torch.uint8)
    return x[None]
