"""A picture in tiles, where the memory is too small for all of it: each goes through the network by itself, and no seam is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, UsageError

Call = Callable[[dict[str, Tensor]], Tensor]
CHANGE = 1e-5  # of an output in [-1, 1], that counts as one: the 800th part of a grey level


@dataclass(frozen=True)
class Tiles:
    """How pictures are cut. All lengths are pixels of the input, and multiples of `multiple`.

    size: of a tile, on each side. multiple: what the network wants sides to be multiples of. margin: what of a tile, along each edge that
    has a neighbour, is not as in the whole picture, because the network looks so far beyond it. Neighbours overlap by two margins at
    least. exact: the margins are all that differs, and they are cut off, so the tiles give what the whole picture gives. Otherwise the
    network looks further, and neighbours fade into each other over two thirds of a margin. told: how many tiles of a picture are done, and
    how many there are.
    """

    size: int
    multiple: int
    margin: int
    exact: bool
    told: Callable[[int, int], None] = lambda done, of: None

    @classmethod
    def measured(cls, call: Call, inputs: Mapping[str, Tensor], shown: Sequence[str], size: int, multiple: int) -> Tiles:
        """Tiles for a network, by how far it looks: noise goes through it twice, the second time with other noise in the middle.

        inputs: one row of each, by parameter; shown: those that are pictures, for which noise is put in. The margin is how far from the
        middle the output changes; a quarter of the tile where it changes further away, as with a norm over the whole picture.
        """
        size -= size % multiple
        g, quarter = torch.Generator().manual_seed(0), size // 4 - size // 4 % multiple
        first = {name: torch.rand(1, value.shape[1], size, size, generator=g) * 2 - 1 for name, value in inputs.items() if name in shown}
        middle = size // 2 - size // 2 % multiple
        second = {name: value.clone() for name, value in first.items()}
        for value in second.values():
            block = value[:, :, middle : middle + multiple, middle : middle + multiple]
            block.copy_(torch.rand(block.shape, generator=g) * 2 - 1)
        device = {name: value.device for name, value in inputs.items()}
        a, b = (call({**inputs, **{name: value.to(device[name]) for name, value in noise.items()}}) for noise in (first, second))
        rows, columns = ((a - b).abs().amax((0, 1)) > CHANGE).nonzero(as_tuple=True)
        reach = 0
        for places, side in ((rows, a.shape[2]), (columns, a.shape[3])):
            if len(places):
                low, high = int(places.min()) * size / side, (int(places.max()) + 1) * size / side
                reach = max(reach, int(-(-(middle - low) // 1)), int(-(-(high - middle - multiple) // 1)))
        margin = -(-reach // multiple) * multiple
        return cls(size, multiple, min(margin, quarter), margin <= quarter)

    def call(self, call: Call, values: Mapping[str, Tensor], shown: Sequence[str]) -> Tensor:
        """What a network gives, (N, C, H, W), computed tile by tile. call: the network, of inputs by parameter; shown: those to be cut."""
        sizes = {values[name].shape[2:] for name in shown}
        if len(sizes) > 1:
            raise UsageError("--tile: its pictures differ in size, so they cannot be cut alike. Leave --tile out.")
        ((height, width),) = sizes
        whole: Tensor | None = None
        h, w = min(self.size, height), min(self.size, width)
        cuts = list(product(self._cuts(height), self._cuts(width)))
        for i, ((top, above, below), (left, before, after)) in enumerate(cuts):
            part = call({**values, **{name: values[name][:, :, top : top + h, left : left + w] for name in shown}})
            if part.shape[2] * self.multiple % h or part.shape[3] * self.multiple % w:
                raise GanzooError(f"--tile: of {w} x {h} pixels it makes {part.shape[3]} x {part.shape[2]}. Leave --tile out.")
            y, x = part.shape[2] / h, part.shape[3] / w
            if whole is None:
                whole = part.new_zeros(*part.shape[:2], round(height * y), round(width * x))
            down, across = self._weights(part.shape[2], y, top, above, below), self._weights(part.shape[3], x, left, before, after)
            row, column = round(top * y), round(left * x)
            place = whole[:, :, row : row + part.shape[2], column : column + part.shape[3]]
            place += part * (down[:, None] * across).to(part)
            self.told(i + 1, len(cuts))
        assert whole is not None
        return whole

    def _cuts(self, length: int) -> list[tuple[int, int | None, int | None]]:
        """Where tiles begin along a side, and between which cuts each counts; None: up to the picture's edge."""
        if length <= self.size:
            return [(0, None, None)]
        step = self.size - 2 * self.margin
        n = -(-(length - self.size) // step) + 1
        starts = [(length - self.size) * i // (n - 1) // self.multiple * self.multiple for i in range(n)]
        cuts = [(a + b + self.size) // 2 // self.multiple * self.multiple for a, b in pairwise(starts)]
        return list(zip(starts, [None, *cuts], [*cuts, None], strict=True))

    def _weights(self, n: int, scale: float, start: int, first: int | None, last: int | None) -> Tensor:
        """How much each of the n pixels of a tile's output counts: those of neighbours add up to 1."""
        place = torch.arange(n) + 0.5 + start * scale
        half = 0.0 if self.exact else self.margin * scale / 3

        def beyond(cut: int | None, side: int) -> Tensor:
            if cut is None:
                return torch.ones(n)
            distance = (place - cut * scale) * side
            return (distance / (2 * half) + 0.5).clamp(0, 1) if half else (distance > 0).float()

        return beyond(first, 1) * beyond(last, -1)
