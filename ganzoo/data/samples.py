"""The argument and the result of a data set's function. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganzoo.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Request:
    """A request for a data set.

    Attributes:
        data_dir: where downloads lie and go; it may be read-only when it holds what is needed.
        labels: the attributes wanted as labels; always empty for a data set whose record does not say `attributes`.
        cache: a folder for temporary files.
    """

    data_dir: Path
    labels: tuple[str, ...]
    cache: Path


@dataclass(frozen=True)
class Samples:
    """The content of a data set, described without reading it: `read` or `arrays` are called only when the cache has nothing.

    There is either `names` with `read`, images one by one, or `arrays`, everything at once.

    Attributes:
        fingerprint: text that changes when the content does: checksums where they are known, else sizes and times.
        names: one an image, in their order.
        read: read(i) gives the encoded file as bytes (JPEG, PNG, WebP or BMP: it is decoded safely) or a PIL image. It is called from
            several threads; when it raises, that image is skipped and counted as bad.
        arrays: gives "x", and "y" where there are labels, as numpy arrays or tensors. Images are uint8 (N, H, W), (N, H, W, C) or
            (N, C, H, W) with 1 or 3 channels; points are float (N, D).
        labels: with `names`, one class index an image.
        class_names: one a class, or empty.
        kind: as in `DataSpec`.
        size: the usual size in pixels; with arrays of images the shorter side, always.
        note: a warning for the user ("3 .gif files are not read").
        close: called when all is read.
    """

    fingerprint: str
    names: Sequence[str] = ()
    read: Callable[[int], bytes | Image] | None = None
    arrays: Callable[[], Mapping[str, Any]] | None = None
    labels: Sequence[int] | None = None
    class_names: tuple[str, ...] = ()
    kind: Literal["image", "points"] = "image"
    size: int | None = None
    note: str = ""
    close: Callable[[], None] = lambda: None

    def labelled(self, classes: Mapping[str, int], class_names: Sequence[str], fingerprint: str, note: str = "") -> Samples:
        """These images with their classes, by name; images without one are left out, which `note` may say.

        fingerprint: text that changes when `classes` does; it is added to that of the images.
        """
        kept = [i for i, name in enumerate(self.names) if name in classes]
        if not kept:
            raise UsageError(f"none of the {len(self.names)} images has a label. Are the labels of these images?")
        read = self.read
        assert read is not None
        return replace(
            self,
            names=[self.names[i] for i in kept],
            read=lambda i: read(kept[i]),
            labels=[classes[self.names[i]] for i in kept],
            class_names=tuple(class_names),
            fingerprint=f"{self.fingerprint} {fingerprint}",
            note="; ".join(filter(None, (self.note, note))),
        )
