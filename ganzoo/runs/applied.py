"""A user's own pictures on their way to a product and back: which files those are, where holes are, and what of a picture is kept."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image as Pictures
from torch import Tensor
from torch.nn.functional import interpolate

from ganzoo import pictures
from ganzoo.errors import UsageError
from ganzoo.media.decode import Photo, Size, resized
from ganzoo.media.image import Image
from ganzoo.media.medium import Medium
from ganzoo.registry.catalogue import medium
from ganzoo.runs.exported import Exported, shown
from ganzoo.types import Field

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
_ANY = Field("image", (3, 1, 1))


def files_of(kind: Medium, paths: Iterable[Path], say: Say) -> list[tuple[Path, bool]]:
    """The files that a user's paths stand for, and whether each was named itself, not found in a folder or by a pattern.

    A pattern with *, ? or [] is one that the shell left as it was. say: told of what lies in a folder and is not taken. Raises UsageError
    for a path that does not exist, a pattern that matches nothing, a folder without such files.
    """
    found = []
    for path in paths:
        named = path.exists() or not glob.has_magic(str(path))
        matches = [path] if named else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            raise UsageError(f"{path} matches no file.")
        for match in matches:
            files = kind.files(match)
            if match.is_dir() and files != [match]:
                others = sorted(p.name for p in match.iterdir() if p not in files and not p.name.startswith("."))
                if others:
                    say(f"{match}: not taken, because its name is not that of such a file: {shown(others, 5)}")
            found += [(file, named and not match.is_dir()) for file in files]
    return found


@dataclass(frozen=True)
class Holes:
    """Where pictures are to be filled in.

    mask: a picture, white or transparent there, or a folder of them with the pictures' names; None: no mask. boxes: left, top, width and
    height in pixels.
    """

    mask: Path | None
    boxes: Sequence[tuple[int, int, int, int]] = ()

    @classmethod
    def asked(cls, mask: Path | None, boxes: Iterable[str]) -> Holes:
        """As the command line says it: boxes as "X,Y,WxH". Raises UsageError for another text, and where there is no such mask."""
        parsed = []
        for text in boxes:
            found = re.fullmatch(r"\s*(\d{1,6}),(\d{1,6}),(\d{1,6})x(\d{1,6})\s*", text)
            if found is None or not int(found[3]) * int(found[4]):
                raise UsageError(f"--box: wanted X,Y,WxH in pixels from the left and the top, as 40,30,64x48; got {text!r}.")
            parsed.append((int(found[1]), int(found[2]), int(found[3]), int(found[4])))
        if mask is not None:
            Image().files(mask)
        return cls(mask, parsed)

    def of(self, file: Path, size: Size) -> Tensor:
        """Where a file's picture is to be filled in: bool (H, W). Raises UsageError where a mask or a box does not fit it."""
        height, width = size
        missing = torch.zeros(height, width, dtype=torch.bool)
        if self.mask is not None:
            mask = self._mask(file)
            marked = Image().photo(mask, _ANY).marked
            if marked.shape != size:
                there = f"{marked.shape[1]}x{marked.shape[0]}"
                raise UsageError(
                    f"--mask: {mask} has {there} pixels, and {file} has {width}x{height}. Wanted a mask of the picture's size."
                )
            missing |= torch.from_numpy(marked)
        for left, top, w, h in self.boxes:
            if left + w > width or top + h > height:
                raise UsageError(f"--box {left},{top},{w}x{h} reaches beyond {file}, which has {width}x{height} pixels.")
            missing[top : top + h, left : left + w] = True
        return missing

    def _mask(self, file: Path) -> Path:
        assert self.mask is not None
        if not self.mask.is_dir():
            return self.mask
        masks = Image().files(self.mask)
        found = [mask for mask in masks if mask.name == file.name] or [mask for mask in masks if mask.stem == file.stem]
        if len(found) != 1:
            raise UsageError(f"--mask: {self.mask} has {len(found) or 'no'} masks for {file.name}: wanted one called {file.stem}.png.")
        return found[0]


def window(missing: Tensor, size: Size) -> tuple[int, int, int, int]:
    """Top, left, height and width of the largest part of a picture that has the shape of `size` and holds all that is missing.

    missing: bool (H, W). The part is the middle, moved no further than it must be. Raises UsageError where there is none.
    """
    (height, width), (h, w) = missing.shape, size
    h, w = (height, round(height * w / h)) if height * w <= width * h else (round(width * h / w), width)
    place = []
    for axis, side, part in ((1, height, h), (0, width, w)):
        holes = missing.any(axis).nonzero()
        first, last = (int(holes[0]), int(holes[-1]) + 1) if len(holes) else (0, 0)
        if last - first > part:
            raise UsageError(f"what is to be filled in is {last - first} pixels long, and --resize takes a part of {w}x{h} pixels.")
        place.append(min(max((side - part) // 2, last - part), first) if len(holes) else (side - part) // 2)
    return place[0], place[1], h, w


@dataclass(frozen=True)
class Work:
    """One row that is turned.

    name: of what is written, without its ending. rows: what the product is given, stored, (1, ...) each, by key. photo: of a picture, as it
    came. missing: where it is to be filled in, bool (H, W); None: it fills nothing. part: what of it is given, if that is not all: top,
    left, height, width.
    """

    name: str
    rows: dict[str, Tensor]
    photo: Photo | None = None
    missing: Tensor | None = None
    part: tuple[int, int, int, int] | None = None

    @classmethod
    def of(cls, name: str, file: Path, photo: Photo, product: Exported, holes: Holes | None, resize: bool) -> Work:
        """A picture, read from a file. Raises UsageError where it, or a mask, has a wrong size."""
        key, kind = product.wants[0], Image()
        field, missing, part = product.fields[key], None, None
        row, size = kind.row(photo, field), (field.shape[1], field.shape[2])
        rows = {key: kind.resized(row, field) if resize else row}
        if holes is not None:
            missing = holes.of(file, photo.size)
            mask = missing[None, None].float()
            if resize and photo.size != size:
                try:
                    part = window(missing, size)
                except UsageError as e:
                    raise UsageError(f"{file}: {e}") from e
                rows[key] = _scaled(_cut(row, part)[0], size)[None]
                mask = interpolate(_cut(mask, part), size=size, mode="area")
            rows["mask"] = (mask > 0).byte() * 255
        product.check_size(key, *_size(rows[key]))
        return cls(name, rows, photo, missing, part)

    def whole(self, row: Tensor) -> Tensor:
        """A row of pixels (C, H, W), uint8, that belongs to what was given, in its place in the picture, with all that is not missing."""
        if self.missing is None or self.photo is None:
            return row
        own = torch.from_numpy(self.photo.colour)
        if self.part is not None:
            top, left, h, w = self.part
            full = own.new_zeros(row.shape[0], *self.photo.size)
            full[:, top : top + h, left : left + w] = _scaled(row, (h, w))
            row = full
        return torch.where(self.missing, row, own) if row.shape[1:] == self.photo.size else row

    def picture(self, row: Tensor, resize: bool) -> Pictures.Image:
        """What is written of a row that was made, uint8 (C, H, W): with the transparency and the colour profile of the picture."""
        made = pictures.to_image(row)
        assert self.photo is not None
        if self.photo.alpha is not None:
            alpha = torch.from_numpy(self.photo.alpha).clone()
            if self.missing is not None:
                alpha[self.missing] = 255  # what has been filled in is to be seen
            elif resize:
                alpha = resized(alpha[None, None], _size(next(iter(self.rows.values()))))[0, 0]
            made.putalpha(pictures.to_image(_scaled(alpha[None], _size(row))))
        if self.photo.profile and made.mode.startswith("RGB"):
            made.info["icc_profile"] = self.photo.profile
        return made


def checked(
    product: Exported, files: Sequence[tuple[Path, bool]], holes: Holes | None, resize: bool, progress: Progress, say: Say
) -> list[Path]:  # fmt: skip
    """The pictures among the files, each read once, so that whatever is wrong with one of them is known before anything is computed.

    files: as `files_of` gives them. say: told of those that cannot be read and were not named, which are left out, and of what cannot come
    back. Raises UsageError for a named file that cannot be read, for any that has a wrong size or no fitting mask, and where none is left.
    """
    good, bad, notes = list[Path](), list[str](), dict[str, list[str]]()
    for i, (file, named) in enumerate(files):
        progress("reading", i + 1, len(files))
        try:
            photo = Image().photo(file, product.fields[product.wants[0]])
        except UsageError as e:
            if named:
                raise
            bad.append(str(e))
            continue
        work = Work.of("", file, photo, product, holes, resize)
        nothing = ("nothing of it is to be filled in",) if work.missing is not None and not work.missing.any() else ()
        for note in photo.notes + nothing:
            notes.setdefault(note, []).append(file.name)
        good.append(file)
    for text in bad if len(bad) == len(files) == 1 else ():
        raise UsageError(text)
    if not good:
        raise UsageError(f"none of the {len(bad)} files can be read. {bad[0]}")
    if bad:
        say(f"{len(bad)} of {len(files)} files are left out. " + " ".join(bad[:5]) + (" ..." if len(bad) > 5 else ""))
    for note, names in notes.items():
        say(f"{note}: {shown(names, 5)}")
    return good


def works(product: Exported, files: Sequence[Path], holes: Holes | None, resize: bool, say: Say) -> Iterator[Work]:
    """The rows of a user's files, in turn. say: told of a file that holds none."""
    key, taken = product.wants[0], set[str]()
    field = product.fields[key]
    kind = medium(field.medium)
    for file in files:
        if isinstance(kind, Image):
            yield Work.of(_name(file.stem, taken), file, kind.photo(file, field), product, holes, resize)
            continue
        rows = kind.read(file, field)
        first, second = next(rows, None), next(rows, None)
        if first is None:
            say(f"{file} holds nothing.")
            continue
        for i, row in enumerate([first] if second is None else itertools.chain([first, second], rows)):
            name = _name(file.stem if second is None else f"{file.stem}-{i:06d}", taken)
            yield Work(name, {key: kind.resized(row, field) if resize else row})


def _name(stem: str, taken: set[str]) -> str:
    """A name for what is written: the file's, with a number where another has it already, in any case of letters."""
    name = next(name for k in itertools.count(1) if (name := stem if k == 1 else f"{stem}-{k}").casefold() not in taken)
    taken.add(name.casefold())
    return name


def beside(before: Pictures.Image, after: Pictures.Image) -> Pictures.Image:
    """Two pictures side by side, the first scaled to the size of the second."""
    mode = "RGBA" if "A" in before.mode + after.mode else "RGB"
    page = Pictures.new(mode, (2 * after.width, after.height))
    page.paste(before.convert(mode).resize(after.size, Pictures.Resampling.BICUBIC), (0, 0))
    page.paste(after.convert(mode), (after.width, 0))
    return page


def _cut(x: Tensor, part: tuple[int, int, int, int]) -> Tensor:
    top, left, h, w = part
    return x[:, :, top : top + h, left : left + w]


def _size(x: Tensor) -> Size:
    return x.shape[-2], x.shape[-1]


def _scaled(row: Tensor, size: Size) -> Tensor:
    """uint8 (C, H, W) at another size, bicubic."""
    if _size(row) == size:
        return row
    x = interpolate(row[None].float(), size=size, mode="bicubic", antialias=True, align_corners=False)[0]
    return x.round().clamp(0, 255).byte()
