"""Endless batches on the device, in an order that is a function of the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ganzoo.randomness import generator
from ganzoo.types import DataSpec


class Batches(Iterator[dict[str, Tensor]]):
    """An endless iterator of batches, and its position.

    Sample k of the stream is sample permutation(seed, epoch)[k % n] with epoch = k // n: every epoch shows every sample once,
    a batch may reach into the next epoch, and no image is left out. `position` (batches given so far) is the whole state:
    no random state is kept, and the global one is never touched.

    A batch: "x" float32 on `device`, images in [-1, 1]; "y" int64.

    Args:
        data: "x" uint8 (N, C, H, W) or float32 (N, D), perhaps "y" int64 (N,).
        spec: the description of the data.
        batch_size: samples a batch.
        seed: of the order and the mirroring.
        device: of the batches.
        flip: mirror each image left to right with probability 1/2, drawn from (seed, position).
        position: batches given already.
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
        position: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: wanted at least 1, got {batch_size}")
        self.spec, self.batch_size, self.seed, self.device, self.flip = spec, batch_size, seed, device, flip and spec.kind == "image"
        self.position = position
        self.n = len(data["x"])
        self._data = dict(data)
        if device.type != "cpu" and _fits(data, device):
            self._data = {key: tensor.to(device) for key, tensor in data.items()}
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __next__(self) -> dict[str, Tensor]:
        place = self._places().to(self._data["x"].device)
        batch = {key: self._to_device(tensor.index_select(0, place)) for key, tensor in self._data.items()}
        if self.flip:
            mirror = torch.rand(self.batch_size, generator=generator(self.seed, "flip", self.position)) < 0.5
            x = batch["x"]
            batch["x"] = torch.where(mirror.to(x.device).view(-1, 1, 1, 1), x.flip(3), x)
        if self.spec.kind == "image":
            batch["x"] = batch["x"].float().div_(127.5).sub_(1)
        self.position += 1
        return batch

    @property
    def seen(self) -> int:
        """Real samples given so far, those of earlier epochs again."""
        return self.position * self.batch_size

    def peek(self, n: int) -> dict[str, Tensor]:
        """The first n samples of the stream, not mirrored; the position stays."""
        return next(Batches(self._data, self.spec, n, seed=self.seed, device=self.device))

    def _places(self) -> Tensor:
        """The indices of the samples in the batch at `position`: int64 (batch_size,)."""
        k, left, parts = self.position * self.batch_size, self.batch_size, []
        while left:
            epoch, place = divmod(k, self.n)
            if self._order[0] != epoch:
                self._order = epoch, torch.randperm(self.n, generator=generator(self.seed, "order", epoch))
            parts.append(self._order[1][place : place + left])
            k, left = k + len(parts[-1]), left - len(parts[-1])
        return torch.cat(parts)

    def _to_device(self, tensor: Tensor) -> Tensor:
        if tensor.device.type == self.device.type:
            return tensor
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


def _fits(data: Mapping[str, Tensor], device: torch.device) -> bool:
    """Whether the data takes less than half of the device's free memory; only CUDA can tell, on other devices it is assumed."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(tensor.nbytes for tensor in data.values()) < free / 2
