"""Decodes one image from untrusted bytes, and takes its middle at the wanted size."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganzoo.files import IMAGE_FORMATS

if TYPE_CHECKING:
    from torch import Tensor

#: Pillow would pick a decoder by content, EPS (Ghostscript) and TIFF among them; these and no others are tried.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM")
#: Compared with the header's width * height before a pixel is decoded: 50 MP are 150 MB.
MAX_PIXELS = 50_000_000


Size = tuple[int, int]
"""Height and width in pixels."""


def pixels(source: bytes | Image.Image, size: Size | None, scaled: bool = True, peak: int = 0) -> np.ndarray:
    """The image's middle at height and width `size`: uint8 (3, *size), channels equal where it is grey. None: the whole image.

    scaled: the largest part of that shape is resized, bicubic and antialiased; otherwise so many pixels are cut out as they are. peak: the
    value of 16-bit images that becomes white; 0: their upper 8 bits are taken. EXIF orientation is applied, transparency laid over white,
    CMYK and palettes become RGB; of an animation it is the first frame. Raises ValueError or OSError with the reason if it cannot be
    decoded, has more than MAX_PIXELS, or is too small to be cut.
    """
    if isinstance(source, Image.Image):
        return _middle(source, size, scaled, peak)
    with opened(source) as image:
        return _middle(_decoded(image), size, scaled, peak)


@dataclass(frozen=True)
class Photo:
    """A picture with all that should come back with what is made of it.

    colour: uint8 (1 or 3, H, W), as the file has it under what is transparent, too. alpha: uint8 (H, W); None: it has no transparency.
    profile: the ICC profile of its colours, or nothing. notes: what cannot come back.
    """

    colour: np.ndarray
    alpha: np.ndarray | None
    profile: bytes
    notes: tuple[str, ...]

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return self.colour.shape[1], self.colour.shape[2]

    @property
    def seen(self) -> np.ndarray:
        """uint8 (3, H, W) for a network: white where nothing can be seen; half transparent edges keep their colour."""
        white = self.colour if self.alpha is None else np.where(self.alpha == 0, np.uint8(255), self.colour)
        return np.array(np.broadcast_to(white, (3, *self.size)))

    @property
    def marked(self) -> np.ndarray:
        """bool (H, W): what it marks as a mask does: what is transparent by half or more, and where nothing is, what is white."""
        if self.alpha is not None and (self.alpha < 128).any():
            return self.alpha < 128
        marked: np.ndarray = self.colour.min(0) >= 128
        return marked


def photo(source: bytes, peak: int = 0) -> Photo:
    """A picture from a file. peak, and what is raised: as of `pixels`."""
    with opened(source) as image:
        notes = ["animated: the first picture is taken"] if getattr(image, "is_animated", False) else []
        # Pillow reads PNG files in colour with 16 bits as if they had 8; the header tells.
        if image.mode.startswith("I") or (image.format == "PNG" and source[24] == 16):
            notes.append("16 bits: what is written has 8")
        image = _decoded(image)
        # A profile is one of the colours that the file has: not of those that CMYK is turned into, and not of grey.
        profile = image.info.get("icc_profile") or b"" if image.mode in ("RGB", "RGBA") else b""
        image = _eight_bits(image, peak)
        grey = image.mode in ("1", "L", "LA")
        if not image.has_transparency_data:
            values = np.array(image.convert("L" if grey else "RGB"))
            return Photo(values.reshape(*values.shape[:2], -1).transpose(2, 0, 1), None, profile, tuple(notes))
        values = np.array(image.convert("RGBA")).transpose(2, 0, 1)
        return Photo(values[: 1 if grey else 3], values[3], profile, tuple(notes))


def _decoded(image: Image.Image) -> Image.Image:
    """An opened image, decoded and turned as its EXIF says."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height}: more than {MAX_PIXELS:,} pixels")
    image.load()
    with suppress(Exception):  # EXIF that cannot be read says nothing about the picture
        ImageOps.exif_transpose(image, in_place=True)
    return image


def range_of(source: bytes | Image.Image) -> tuple[int, int] | None:
    """The smallest and the largest value of a 16-bit image; None of one with 8 bits. Raises as `pixels` does."""
    with source if isinstance(source, Image.Image) else opened(source) as image:
        if not image.mode.startswith("I"):
            return None
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height}: more than {MAX_PIXELS:,} pixels")
        values = np.asarray(image)
        return int(values.min()), int(values.max())


def has_16_bits(source: bytes | Image.Image) -> bool:
    """Whether an image has 16 bits a pixel, as its header says. Raises ValueError if it is none."""
    if isinstance(source, Image.Image):
        return source.mode.startswith("I")
    with opened(source) as image:
        return image.mode.startswith("I")


def half_of(source: bytes | Image.Image, side: str) -> Image.Image:
    """The "left" or the "right" half of an image. Raises ValueError or OSError as `pixels` does, and for an odd width."""
    whole = Image.fromarray(pixels(source, None).transpose(1, 2, 0))
    if whole.width % 2:
        raise ValueError(f"{whole.width} pixels wide, which are not two halves")
    left = 0 if side == "left" else whole.width // 2
    return whole.crop((left, 0, left + whole.width // 2, whole.height))


def size_of(source: bytes | Image.Image) -> Size:
    """The height and width of an image in pixels, as its header says. Raises ValueError if it is none."""
    if isinstance(source, Image.Image):
        return source.height, source.width
    with opened(source) as image:
        return image.height, image.width


def opened(source: bytes) -> Image.Image:
    """The image with its header read and nothing decoded. Raises ValueError if it is none."""
    try:
        return Image.open(io.BytesIO(source), formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError("empty" if not source else f"not a {IMAGE_FORMATS} image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"more than {MAX_PIXELS:,} pixels") from None


def _eight_bits(image: Image.Image, peak: int) -> Image.Image:
    if image.mode.startswith("I"):  # convert("L") would clip 16 bits, not scale them
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values * 255 // peak if peak else values >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range nobody knows")
    return image


def _middle(image: Image.Image, size: Size | None, scaled: bool, peak: int = 0) -> np.ndarray:
    image = _eight_bits(image, peak)
    alpha = image.has_transparency_data
    image = image.convert("RGBA" if alpha else "L" if image.mode in ("1", "L") else "RGB")
    height, width = size or (image.height, image.width)
    if not scaled:
        if image.height < height or image.width < width:
            raise ValueError(f"{image.width} x {image.height} pixels, of which {width} x {height} cannot be cut")
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    elif size is not None:
        # The largest box of that shape. Cropping and scaling at once: scaling first would make a 1 x 50,000,000 image gigantic.
        wide = image.width * height >= image.height * width
        w = image.height * width / height if wide else float(image.width)
        h = float(image.height) if wide else image.width * height / width
        x, y = (image.width - w) // 2, (image.height - h) // 2
        image = image.resize((width, height), Image.Resampling.BICUBIC, box=(x, y, x + w, y + h))
    if alpha:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def resized(x: Tensor, size: Size) -> Tensor:
    """The middles of uint8 images (N, C, H, W) at height and width `size`, bicubic and antialiased; unchanged if they have that size."""
    import torch.nn.functional as F

    height, width = size
    if x.shape[2] * width <= x.shape[3] * height:
        h, w = x.shape[2], round(x.shape[2] * width / height)
    else:
        h, w = round(x.shape[3] * height / width), x.shape[3]
    top, left = (x.shape[2] - h) // 2, (x.shape[3] - w) // 2
    x = x[:, :, top : top + h, left : left + w]
    if x.shape[2:] == (height, width):
        return x
    y = F.interpolate(x.float(), size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return y.round_().clamp_(0, 255).byte()
