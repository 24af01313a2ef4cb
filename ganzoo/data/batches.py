"""Endless batches on the device, in an order that is a function of the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo import ranks
from ganzoo.machine import to_device
from ganzoo.randomness import draws, generator, shuffled
from ganzoo.ranks import Part
from ganzoo.registry.catalogue import medium
from ganzoo.types import DataSpec

if TYPE_CHECKING:
    from ganzoo.interfaces import Degradation

#: Of more rows the order is computed row by row: a permutation of them all takes seconds, and 8 bytes each.
MANY = 10_000_000
#: Where a window is cut in previews: in the middle.
MIDDLE = 0.5


class Batches(Iterator[dict[str, Tensor]]):
    """An endless iterator of batches, and its position.

    The sets of the data go side by side, each in an order of its own: row k of a set's stream is row permutation(seed, epoch)[k % n] with
    epoch = k // n. So every epoch shows every row once, a batch may reach into the next epoch, and no row is left out. All fields of a set
    get one index, one mirroring and one crop a row. `position` (batches given so far) is the whole state: no random state is kept, and the
    global one is never touched.

    A batch holds the fields as networks see them, on `device`: images float32 in [-1, 1], labels int64. Of several ranks, each gets its
    part of the batch.

    Args:
        data: the stored rows by key, as `Prepared.mapped` has them.
        spec: the description of the data as it is stored; `self.spec` is that of the batches.
        batch_size: rows a batch, of each set.
        seed: of the order, the mirroring and the crops.
        device: of the batches.
        flip: mirror each picture left to right with probability 1/2, drawn from (seed, position).
        crop: height and width of the windows that are cut from larger pictures, as `cropped` says; None: pictures are taken whole.
        degradation: makes "source" from "x", after mirroring and cropping; on `device`.
        position: batches given already.
        part: of the batch, that is given; None: all of it.
        check: is called with the key and the rows that are about to be read, as `Prepared.check`; None: all of them.

    Raises ValueError for arrays that no field declares.
    """

    def __init__(
        self,
        data: Mapping[str, Tensor],
        spec: DataSpec,
        batch_size: int,
        *,
        seed: int,
        device: torch.device,
        flip: bool = False,
        crop: tuple[int, int] | None = None,
        degradation: Degradation | None = None,
        position: int = 0,
        part: Part | None = None,
        check: Callable[[str, Tensor | None], None] = lambda key, rows: None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: wanted at least 1, got {batch_size}")
        if data.keys() != spec.fields.keys():
            raise ValueError(f"data: wanted the fields {', '.join(spec.fields)}; got {', '.join(data)}")
        self.stored, self.spec, self.degradation = spec, cropped(spec, crop), degradation
        if degradation is not None:
            self.spec = self.spec.adding(degradation.fields(self.spec.x), beside="x")
        self.batch_size, self.seed, self.device, self.flip, self.crop = batch_size, seed, device, flip, crop
        self.position, self.part = position, part or Part(batch_size)
        self._data, self._check = dict(data), check
        if device.type != "cpu" and _fits(data, device):
            for key in data:
                check(key, None)
            self._data = {key: tensor.to(device) for key, tensor in data.items()}
            self._check = lambda key, rows: None  # they are not read from there again
        self._orders: dict[str, tuple[int, Tensor]] = {}

    def __next__(self) -> dict[str, Tensor]:
        with ranks.sharing(self.part):
            batch = self._at(self.position, self.batch_size, preview=False)
        self.position += 1
        return batch

    @property
    def seen(self) -> int:
        """Real samples given so far, those of earlier epochs again."""
        return self.position * self.batch_size

    def peek(self, n: int) -> dict[str, Tensor]:
        """The first n rows of every set, not mirrored, cropped in the middle; the position stays."""
        return self._at(0, n, preview=True)

    def stored_rows(self, key: str) -> Tensor:
        """All rows of a field, as they are stored. Raises KeyError for what a degradation makes."""
        self._check(key, None)
        return self._data[key]

    def _at(self, position: int, n: int, preview: bool) -> dict[str, Tensor]:
        batch, here = {}, slice(None) if preview else self.part.here
        for name, keys in self.stored.sets.items():
            rows = self._rows(name, position * n, n)[here]
            g = generator(self.seed, "flip", name, position)
            which = torch.rand(n, generator=g)[here] < 0.5
            place = torch.full((n, 2), MIDDLE) if preview else torch.rand(n, 2, generator=g)[here]
            grid, there = self._grid(keys), to_device(rows, self._data[keys[0]].device)
            which = to_device(which, self.device) if self.flip else which
            for key in keys:
                kind, field = medium(self.stored.fields[key].medium), self.spec.fields[key]
                self._check(key, rows)
                x = self._data[key].index_select(0, there)
                if self.crop is not None and kind.pictures:
                    step = x.shape[2] // grid[0]  # so windows of a set's fields show the same place, whatever their sizes
                    free = torch.tensor([grid[0] - field.shape[1] // step + 1, grid[1] - field.shape[2] // step + 1])
                    x = kind.crop(x, (place * free).long() * step, field)
                x = to_device(x, self.device)
                if self.flip and not preview:
                    x = kind.mirror(x, which)
                batch[key] = kind.to_batch(x)
        if self.degradation is not None:
            batch |= degraded(self.degradation, batch["x"], self.seed, "peek" if preview else position)
        return batch

    def _grid(self, keys: tuple[str, ...]) -> tuple[int, int]:
        """Height and width of the coarsest picture of a set: windows begin at its pixels."""
        shapes = [self.stored.fields[key].shape[1:] for key in keys if medium(self.stored.fields[key].medium).pictures]
        return min(((h, w) for h, w in shapes), default=(0, 0))

    def _rows(self, name: str, k: int, left: int) -> Tensor:
        """The indices of the rows from number k of a set's stream on: int64 (left,)."""
        total, parts = len(self._data[self.stored.sets[name][0]]), []
        while left:
            epoch, place = divmod(k, total)
            if total > MANY:
                parts.append(shuffled(torch.arange(place, min(place + left, total)), total, self.seed, "order", name, epoch))
            else:
                if self._orders.get(name, (-1,))[0] != epoch:
                    self._orders[name] = epoch, torch.randperm(total, generator=generator(self.seed, "order", name, epoch))
                parts.append(self._orders[name][1][place : place + left])
            k, left = k + len(parts[-1]), left - len(parts[-1])
        return torch.cat(parts)


def degraded(degradation: Degradation, x: Tensor, *keys: object) -> dict[str, Tensor]:
    """The fields that a degradation makes of x, a function of x and the keys."""
    with torch.no_grad(), draws("degraded", *keys):
        return degradation(x)


def _fits(data: Mapping[str, Tensor], device: torch.device) -> bool:
    """Whether the data takes less than half of the device's free memory; only CUDA can tell, on other devices it is assumed."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(tensor.nbytes for tensor in data.values()) < free / 2


def cropped(spec: DataSpec, size: tuple[int, int] | None) -> DataSpec:
    """The data with windows of the size, height and width, in the place of pictures; of the pictures of a set the largest has it, and
    smaller ones get windows that show the same.

    Raises ValueError where a picture is too small, or where the windows of a set cannot show the same.
    """
    if size is None:
        return spec
    fields = dict(spec.fields)
    for keys in spec.sets.values():
        shapes = {key: spec.fields[key].shape for key in keys if medium(spec.fields[key].medium).pictures}
        height, width = max((shape[1:] for shape in shapes.values()), default=size)
        for key, (channels, h, w) in shapes.items():
            if size[0] > height or size[1] > width or size[0] * h % height or size[1] * w % width:
                raise ValueError(f"windows of {size[1]} x {size[0]} pixels cannot be cut from {key} of {w} x {h}")
            fields[key] = replace(spec.fields[key], shape=(channels, size[0] * h // height, size[1] * w // width))
    return DataSpec(fields, spec.sets)
