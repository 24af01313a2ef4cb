"""The argument and the result of a data set's function. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.errors import UsageError
from ganzoo.types import Field

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Request:
    """A request for a data set.

    Attributes:
        data_dir: where downloads lie and go; it may be read-only when it holds what is needed.
        labels: the attributes wanted as labels; always empty for a data set whose record does not say `attributes`.
        cache: a folder for temporary files.
        options: the data set's own, an instance of its record's `options`.
    """

    data_dir: Path
    labels: tuple[str, ...]
    cache: Path
    options: Any = None


@dataclass(frozen=True)
class Files:
    """Image files of one field, one a row.

    Attributes:
        names: one a file, in their order.
        read: read(i) gives the encoded file as bytes (JPEG, PNG, WebP, BMP, GIF or PPM: it is decoded safely) or a PIL image. It is
            called from several threads; when it raises, row i is skipped and counted as bad.
    """

    names: Sequence[str]
    read: Callable[[int], bytes | Image]


@dataclass(frozen=True)
class Samples:
    """The content of a data set, described without reading it: files and arrays are read only when the cache has nothing.

    Attributes:
        fingerprint: text that changes when the content does: checksums where they are known, else sizes and times.
        files: image files by key.
        arrays: gives the other fields at once, by key, as numpy arrays or tensors with N rows. All of them must be in `fields`.
        fields: what the arrays hold, by key: the medium, and names where there are any; the shape is that of the array.
        sets: the keys that share rows, by the name of their set; by default "x", "y", "source" and "mask" are one set, and keys that end
            alike, as "x_l" and "y_l", are another.
        size: the usual height and width of the pictures in pixels; None: they are looked at.
        note: a warning for the user ("3 .gif files are not read").
        close: called when all is read.
    """

    fingerprint: str
    files: Mapping[str, Files] = field(default_factory=dict)
    arrays: Callable[[], Mapping[str, Any]] | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    note: str = ""
    close: Callable[[], None] = lambda: None

    @classmethod
    def of_files(
        cls, fingerprint: str, names: Sequence[str], read: Callable[[int], bytes | Image], labels: Sequence[int] | None = None,
        class_names: tuple[str, ...] = (), **more: Any,
    ) -> Samples:  # fmt: skip
        """Image files as "x", and their classes as "y" where there are `labels`, one index a file.

        more: further attributes of `Samples`.
        """
        if labels is not None:
            more |= {"arrays": lambda: {"y": list(labels)}, "fields": {"y": Field("label", (), len(class_names), tuple(class_names))}}
        return cls(fingerprint, {"x": Files(names, read)}, **more)

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields that there will be."""
        return (*self.files, *self.fields)

    def grouped(self) -> Mapping[str, tuple[str, ...]]:
        """The keys by set: `sets`, or what their endings say."""
        if self.sets:
            return self.sets
        groups: dict[str, tuple[str, ...]] = {}
        for key in self.keys:
            name = key.partition("_")[2]
            groups[name] = (*groups.get(name, ()), key)
        return groups

    def labelled(self, classes: Mapping[str, int], class_names: Sequence[str], fingerprint: str, note: str = "") -> Samples:
        """These images with their classes, by name; images without one are left out, which `note` may say.

        fingerprint: text that changes when `classes` does; it is added to that of the images.
        """
        files = self.files["x"]
        kept = [i for i, name in enumerate(files.names) if name in classes]
        if not kept:
            raise UsageError(f"none of the {len(files.names)} images has a label. Are the labels of these images?")
        return replace(
            Samples.of_files(
                f"{self.fingerprint} {fingerprint}", [files.names[i] for i in kept], lambda i: files.read(kept[i]),
                [classes[files.names[i]] for i in kept], tuple(class_names),
            ),
            size=self.size, close=self.close, note="; ".join(filter(None, (self.note, note))),
        )  # fmt: skip
