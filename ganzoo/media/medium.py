"""The interface of a medium: one kind of data on its way from a file to a batch, and from a network to a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.types import DataSet, Field

if TYPE_CHECKING:
    from PIL.Image import Image


class Medium(ABC):
    """How one kind of data is stored, given to networks, read, written, shown, made up and measured. Keeps no state.

    Rows are "stored" as they lie in the cache and in files: uint8 images, float32 points, int64 words. A batch holds them as networks see
    them.
    """

    name: ClassVar[str]
    """What `Field.medium` says."""
    dtype: ClassVar[torch.dtype]
    """Of stored rows."""
    pictures: ClassVar[bool] = False
    """Whether rows are pictures (C, H, W), so that sizes in pixels, crops and mirroring mean something."""
    lines: ClassVar[bool] = False
    """Whether rows are lines of text, which a terminal shows as they are."""
    bf16: ClassVar[bool] = False
    """Whether networks may compute with the 8 bits of bf16's fractions where nobody asked: enough for 256 grey levels, not for points."""
    per_sheet: ClassVar[int] = 64
    """Rows on a sample sheet."""
    way: ClassVar[int] = 8
    """Samples that a report shows on the way from one latent to another."""
    in_game: ClassVar[int] = 0
    """Samples that a report shows among the places where it shows what D thinks; 0: it does not."""
    unit: ClassVar[str] = "numbers"
    """What distances between rows are about."""
    toys: ClassVar[tuple[Field, ...]] = ()
    """The fields that `ganzoo.testing` tries parts with, the usual one first."""

    # --- From arrays and files to stored rows ---

    def accepts(self, shape: tuple[int, ...], dtype: str) -> bool:
        """Whether an array (N, ...) of which nothing else is known is data of this kind. dtype: "uint8", "float32", ..."""
        return False

    def whole(self, array: Any, given: Field) -> tuple[Any, Field, str]:
        """An array (N, ...) before anything else is done with it, where only all rows together tell what they are: classes by name.

        Returns the array, its field, and a note for the user, or "". Raises UsageError for what cannot be.
        """
        return array, given, ""

    @abstractmethod
    def field(self, shape: tuple[int, ...], dtype: str, given: Field) -> Field:
        """The field of an array (N, ...): `given`, completed by what the array tells. Raises UsageError for an array of another kind."""

    @abstractmethod
    def store(self, rows: Tensor, field: Field) -> Tensor:
        """Some rows of such an array, as they are stored: (n, *field.shape). Raises UsageError for values that cannot be."""

    def settle(self, stored: Tensor, field: Field) -> tuple[Tensor, Field]:
        """All rows together, and their field, where only all of them tell: images that are all grey get one channel.

        The rows may be more than the memory holds: what is given back is they themselves, or a view of them.
        """
        return stored, field

    def files(self, path: Path) -> list[Path]:
        """The files that a user's path stands for: itself, or those of this kind in a folder. Raises UsageError where there is none."""
        if not path.exists():
            raise UsageError(f"{path} does not exist.")
        return [path]

    def resized(self, stored: Tensor, field: Field) -> Tensor:
        """Stored rows brought to the field's size, where rows have sizes; the rows themselves where that means nothing."""
        return stored

    def read(self, path: Path, field: Field) -> Iterator[Tensor]:
        """The rows of a user's file or folder, stored, (1, ...) each: pictures of any size, lines. Raises UsageError where it cannot."""
        raise UsageError(f"{path}: {self.name} cannot be read from a file.")

    # --- In a batch ---

    def to_batch(self, stored: Tensor) -> Tensor:
        """Stored rows as networks see them."""
        return stored

    def mirror(self, x: Tensor, which: Tensor) -> Tensor:
        """x, mirrored left to right where `which` (N,) is true; x itself where that means nothing."""
        return x

    def crop(self, stored: Tensor, at: Tensor, field: Field) -> Tensor:
        """Windows of the field's size at the corners `at` (N, 2), row and column; the rows themselves where that means nothing."""
        return stored

    def made_up(self, n: int, field: Field) -> Tensor | None:
        """n rows where nobody gives any: each class in turn. None: what such a field holds must come from somebody."""
        return None

    # --- From a network to files and pictures ---

    def output(self, x: Tensor) -> Tensor:
        """Unbounded numbers of a network's last layer, brought into the range that rows of a batch have."""
        return x

    def stored(self, x: Tensor, field: Field) -> Tensor:
        """What a network gives, (N, ...), as it is stored, on the CPU."""
        return x.detach().float().cpu()

    def shape_of_output(self, field: Field) -> tuple[int, ...]:
        """The shape of a row of what a network gives, as it is stored: that of the field, and of classes a probability each."""
        return field.shape

    @abstractmethod
    def write(self, rows: Tensor, folder: Path, field: Field, names: Sequence[str]) -> None:
        """Stored rows to one file in the folder, or to a file a row, called by `names`. Raises GanzooError where the disk refuses."""

    @abstractmethod
    def cells(self, rows: Tensor, field: Field) -> list[Image]:
        """A small picture of each stored row."""

    def sheet(self, rows: Tensor, field: Field, columns: int, real: Tensor | None = None) -> Image:
        """One picture of all stored rows, the real ones in the background where that helps."""
        from ganzoo.pictures import grid

        return grid(self.cells(rows, field), columns)

    def objects(self, rows: Tensor, field: Field) -> list[Any]:
        """Stored rows as what a Python program handles: PIL images, lines of text; arrays where there is nothing better.

        A report shows what is text, a row by column, or a few numbers, as text, and all else as `cells`.
        """
        return list(rows.numpy())

    def rows(self, given: Any, field: Field) -> list[Tensor]:
        """The stored rows, (1, ...) each, of such an object, of a path as in `read`, of an array of one row, or of a tensor of one row.

        Raises UsageError for anything else.
        """
        if isinstance(given, str | Path):
            return list(self.read(Path(given), field))
        row = torch.as_tensor(given)
        if tuple(row.shape) != field.shape:
            raise UsageError(f"wanted a row of {self.name}, {field.shape}; got {tuple(row.shape)}.")
        return [row.to(self.dtype)[None]]

    def places(self, real: Tensor, field: Field) -> Tensor | None:
        """Stored rows all over the space around the real ones, at which a report shows what D thinks; None where that is too large."""
        return None

    # --- Numbers ---

    def coordinates(self, rows: Tensor, field: Field) -> Tensor:
        """Stored rows as points, float32 (N, D): what distances are taken of."""
        return rows.flatten(1).float()

    def usual(self, field: Field, classes: int, record: DataSet | None, truth: bool) -> tuple[str, str, int]:
        """Metric, feature extractor and number of samples where the user names none: what can be had without a download.

        classes: of the labels, 0 where there are none. record: of the data set. truth: whether each output has a row that it should be.
        """
        return "fid", "pixels", 10_000

    @abstractmethod
    def toy(self, n: int, field: Field) -> Mapping[str, Tensor]:
        """n stored rows for `ganzoo.testing`: "x", of a few kinds that a small GAN learns in seconds, and "y", the number of the kind."""
