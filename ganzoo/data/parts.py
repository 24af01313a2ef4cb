"""Data that is prepared in parts, by several machines say, and read as one: a folder of prepared files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.data.classes import some
from ganzoo.data.samples import Files, Samples
from ganzoo.errors import UsageError, one_line
from ganzoo.registry.catalogue import medium
from ganzoo.types import Field

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.data.prepared import Prepared


def part_name(part: int, parts: int) -> str:
    """How the name of such a file ends."""
    return f"{part:04}-of-{parts:04}"


def parts_in(path: Path) -> list[Path]:
    """The prepared files in a folder that holds nothing else, in the order of their names; none where it is another folder.

    Raises UsageError where their names tell that one is missing.
    """
    if not path.is_dir():
        return []
    there = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    if not there or any(file.suffix != ".safetensors" for file in there):
        return []
    names = [re.fullmatch(r"(.*)-(\d+)-of-(\d+)", file.stem) for file in there]
    if numbered := [name for name in names if name]:
        stem, count = numbered[0][1], int(numbered[0][3])
        wanted = [f"{stem}-{part_name(k, count)}.safetensors" for k in range(1, count + 1)]
        if wrong := sorted({file.name for file in there} ^ set(wanted)):
            raise UsageError(f"{path}: wanted the {count} parts of {stem} and nothing else; missing or too many: {some(wrong)}.")
    return there


def part_of(samples: Samples, part: int, parts: int) -> Samples:
    """Part number `part`, from 1 on, of so many: of each set the rows that follow those of the part before."""

    def cut(n: int) -> slice:
        return slice((part - 1) * n // parts, part * n // parts)

    def taken(files: Files) -> Files:
        rows = cut(len(files.names))
        return Files(files.names[rows], lambda i: files.read(rows.start + i))

    arrays, fields = dict(samples.arrays() if samples.arrays else {}), dict(samples.fields)
    if min(map(len, [*(files.names for files in samples.files.values()), *arrays.values()])) < parts:
        raise UsageError(f"--part: there are fewer rows than {parts}. Wanted fewer parts.")
    for key, array in arrays.items():
        kind = medium(fields[key].medium)
        if not kind.pictures:  # how many classes there are is told by all rows
            import torch

            array, given, _ = kind.whole(array, fields[key])
            fields[key] = kind.settle(torch.as_tensor(array), given)[1]
        arrays[key] = array[cut(len(array))]
    fingerprint = f"{samples.fingerprint} part {part} of {parts}"
    files = {key: taken(files) for key, files in samples.files.items()}
    return replace(samples, fingerprint=fingerprint, files=files, arrays=lambda: arrays, fields=fields)


class Joined:
    """Rows of several arrays end to end: as much of an array as preparing asks of one, and never all of them in memory."""

    def __init__(self, parts: Sequence[Tensor], shape: tuple[int, ...]) -> None:
        """shape: of a row; grey pictures among coloured ones get three channels."""
        self._parts, self._ends = parts, list(itertools.accumulate(map(len, parts)))
        self.shape, self.dtype = (self._ends[-1], *shape), parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        import torch

        start, stop, _ = rows.indices(len(self))
        pieces = []
        for part, end in zip(self._parts, self._ends, strict=True):
            begin = end - len(part)
            if start < end and begin < stop:
                pieces.append(part[max(start - begin, 0) : stop - begin].expand(-1, *self.shape[1:]))
        return torch.cat(pieces)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self[:].numpy()


def joined(parts: Sequence[Prepared]) -> Samples:
    """The rows of prepared data, end to end. Raises UsageError where they are not of one kind."""
    coloured = max(parts, key=lambda part: sum(field.shape[0] for field in part.spec.fields.values() if field.shape))
    for part in parts:
        for key, field in coloured.spec.fields.items():
            own = part.spec.fields.get(key)
            grey = own is not None and medium(field.medium).pictures and own == replace(field, shape=(1, *field.shape[1:]))
            if (own != field and not grey) or part.spec.sets != coloured.spec.sets:
                kinds = " and ".join(f"{p.path.name}: {one_line(str(p.spec.to_json()))}" for p in (part, coloured))
                raise UsageError(f"{part.path.parent}: wanted parts of one kind, prepared with the same options; got {kinds}.")
    fields: Mapping[str, Field] = coloured.spec.fields
    arrays = {key: Joined([part.mapped[key] for part in parts], field.shape) for key, field in fields.items()}
    size = next(((field.shape[1], field.shape[2]) for field in fields.values() if medium(field.medium).pictures), None)
    skipped = sum(len(part.skipped) for part in parts)
    note = f"{skipped} images of the parts could not be read" if skipped else ""
    print_ = f"parts {' '.join(part.checksum for part in parts)}"
    return Samples(print_, arrays=lambda: arrays, fields=fields, sets=coloured.spec.sets, size=size, note=note)
