"""Decodes one image from untrusted bytes, and takes its centre square at the wanted size."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from torch import Tensor

#: Pillow would pick a decoder by content, EPS (Ghostscript) and TIFF among them; these and no others are tried.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
#: Compared with the header's width * height before a pixel is decoded: 50 MP are 150 MB.
MAX_PIXELS = 50_000_000


def pixels(source: bytes | Image.Image, size: int) -> np.ndarray:
    """The image's centre square at size * size: uint8 (3, size, size), channels equal where it is grey.

    Bicubic and antialiased. EXIF orientation is applied, transparency laid over white, 16 bits become their upper 8,
    CMYK and palettes become RGB; of an animation it is the first frame.
    Raises ValueError or OSError with the reason if it cannot be decoded or has more than MAX_PIXELS.
    """
    if isinstance(source, Image.Image):
        return _square(source, size)
    with _opened(source) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height}: more than {MAX_PIXELS:,} pixels")
        image.load()
        with suppress(Exception):  # EXIF that cannot be read says nothing about the picture
            ImageOps.exif_transpose(image, in_place=True)
        return _square(image, size)


def side(source: bytes | Image.Image) -> int:
    """The shorter side of an image in pixels. Raises ValueError if it is none."""
    if isinstance(source, Image.Image):
        return min(source.size)
    with _opened(source) as image:
        return min(image.size)


def _opened(source: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(source), formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError("empty" if not source else "not a JPEG, PNG, WebP or BMP image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"more than {MAX_PIXELS:,} pixels") from None


def _square(image: Image.Image, size: int) -> np.ndarray:
    if image.mode.startswith("I"):  # convert("L") would clip 16 bits, not scale them
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    alpha = image.has_transparency_data
    image = image.convert("RGBA" if alpha else "L" if image.mode in ("1", "L") else "RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # cropping and scaling at once: scaling first would make a 1 x 50,000,000 image gigantic
    image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    if alpha:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def is_grey(image: np.ndarray) -> bool:
    """Whether the three channels of an image (3, H, W) are equal."""
    return bool((image[0] == image[1]).all() and (image[0] == image[2]).all())


def resized(x: Tensor, size: int) -> Tensor:
    """The centre squares of uint8 images (N, C, H, W) at size * size, bicubic and antialiased; unchanged if they have that size."""
    import torch.nn.functional as F

    side = min(x.shape[2:])
    top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
    x = x[:, :, top : top + side, left : left + side]
    if side == size:
        return x
    y = F.interpolate(x.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return y.round_().clamp_(0, 255).byte()
