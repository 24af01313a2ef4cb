"""The processes of one run, its ranks: which one this is, and what they tell each other. One process alone needs nothing of it.

All of them compute the same step, each on its part of the batch, and have the same tensors
afterwards. Whatever a plugin needs of the whole batch it asks for here: `over_ranks`, `overall`, `gather`, `mine`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ganzoo.errors import GanzooError, UsageError


def rank() -> int:
    """The number of this process among those of the run, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes the run has."""
    return dist.get_world_size() if dist.is_initialized() else 1


# --- A batch, shared among ranks ---


@dataclass(frozen=True)
class Part:
    """One rank's part of a batch of so many rows: contiguous; sizes differ by one at most."""

    rows: int
    rank: int = 0
    world: int = 1

    @property
    def here(self) -> slice:
        """The rows of this rank."""
        return slice(self.rows * self.rank // self.world, self.rows * (self.rank + 1) // self.world)

    @property
    def size(self) -> int:
        """How many they are."""
        return self.here.stop - self.here.start

    @property
    def share(self) -> float:
        """What a mean over them counts in the mean over the batch."""
        return self.size / self.rows

    def sizes(self, n: int) -> list[int]:
        """How many rows each rank has of something that this rank has n rows of: k times its part of the batch, or a k-th of it.

        Raises GanzooError where it is neither.
        """
        scaled = [Part(self.rows, r, self.world).size * n for r in range(self.world)]
        if any(size % self.size for size in scaled):
            raise GanzooError(f"{n} rows cannot be shared among {self.world} ranks as a batch of {self.rows} is: this one has {self.size}.")
        return [size // self.size for size in scaled]

    def cut(self, draw: Callable[[int], Tensor], n: int) -> Tensor:
        """This rank's n of so many rows as all ranks want, which `draw` draws: of k times the batch, its part of each time.

        Where parts of the batch are uneven and n is no multiple, they are others than on one process, but no other rank's.
        """
        if n % self.size == 0:
            return draw(n // self.size * self.rows).unflatten(0, (-1, self.rows))[:, self.here].flatten(0, 1)
        try:
            start, whole = sum(self.sizes(n)[: self.rank]), sum(self.sizes(n))
        except GanzooError:
            start, whole = self.rank * self.rows, self.world * self.rows
        return draw(whole)[start : start + n]


_shared: list[Part] = []


def part_of(rows: int, n: int | None = None) -> Part:
    """This rank's part of a batch. n: of so many ranks; None: of those there are. Raises UsageError where the batch is too small for it."""
    n = n or world()
    if rows < n:
        raise UsageError(f"--batch-size: {n} ranks share a batch, so it needs at least {n} samples; got {rows}.")
    return Part(rows, rank(), n)


@contextlib.contextmanager
def sharing(part: Part) -> Iterator[None]:
    """A context in which networks, losses and draws work on a part of a batch. Outside of it, and on one process, each is alone."""
    if part.world == 1:
        yield
        return
    _shared.append(part)
    try:
        # Once: of two, one in the other, the outer one would cut what the inner one has drawn for the whole batch.
        with _WholeDraws() if len(_shared) == 1 else contextlib.nullcontext():
            yield
    finally:
        _shared.pop()


def shared() -> Part | None:
    """The part that is being worked on; None where there is nobody to share with."""
    return _shared[-1] if _shared else None


def over_ranks(x: Tensor) -> Tensor:
    """The mean of x over the ranks, weighted by their rows, without gradient: for what controls the run, as ADA's p and BEGAN's k."""
    x = x.detach()
    if (part := shared()) is None:
        return x
    y = (x * part.share).contiguous()
    dist.all_reduce(y)
    return y


def overall(x: Tensor) -> Tensor:
    """The rows of all ranks, with gradient: for losses that need statistics of the whole batch, as relativistic averages."""
    return x if (part := shared()) is None else _placed(x, part.sizes(len(x)), part)


def gather(x: Tensor) -> Tensor:
    """The rows of all ranks in their order, without gradient: for buffers that keep samples, as image pools."""
    x = x.detach()
    if (part := shared()) is None:
        return x
    sizes = part.sizes(len(x))
    padded = torch.cat([x, x.new_zeros(max(sizes) - len(x), *x.shape[1:])]).contiguous()
    lots = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(lots, padded)
    return torch.cat([lot[:size] for lot, size in zip(lots, sizes, strict=True)])


def mine(x: Tensor) -> Tensor:
    """This rank's part of the rows of all."""
    return x if (part := shared()) is None else x[len(x) * part.rank // part.world : len(x) * (part.rank + 1) // part.world]


def average(tensors: Sequence[Tensor]) -> None:
    """Gradients of means over this rank's rows become those of means over the batch, in place, in one all-reduce a type of number."""
    if (part := shared()) is None:
        return
    for dtype in dict.fromkeys(t.dtype for t in tensors):
        own = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in own]).mul_(part.share)
        dist.all_reduce(flat)
        torch._foreach_copy_(own, [lot.view(t.shape) for lot, t in zip(flat.split([t.numel() for t in own]), own, strict=True)])


class _Sum(torch.autograd.Function):
    """The sum over ranks. A rank's gradients are later averaged with its share as a weight, so here they are weighed the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        ctx.share = share
        y = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Sum.apply(gradients[0] * ctx.share, ctx.share) / ctx.share, None


def _placed(x: Tensor, sizes: Sequence[int], part: Part) -> Tensor:
    """The rows of all ranks, which have so many each."""
    before, after = sum(sizes[: part.rank]), sum(sizes[part.rank + 1 :])
    lot = torch.cat([x.new_zeros(before, *x.shape[1:]), x, x.new_zeros(after, *x.shape[1:])])
    whole: Tensor = _Sum.apply(lot, part.share)
    return whole


_LIKE = {torch.rand_like, torch.randn_like}
_DROPOUT = {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d, torch.dropout}


class _WholeDraws(TorchFunctionMode):
    """Noise and dropout from torch's own generator are drawn for the whole batch, and each rank takes its part."""

    def __torch_function__(self, f: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        part, x = shared(), args[0] if args else None
        if part is None or (f not in _LIKE and f not in _DROPOUT) or not isinstance(x, Tensor) or not x.dim():
            return f(*args, **kwargs)
        layout = torch.contiguous_format
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last

        def draw(rows: int) -> Tensor:
            whole = torch.empty((rows, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout)
            drawn: Tensor = f(whole.fill_(1), *args[1:], **kwargs)
            return drawn

        drawn = part.cut(draw, len(x))
        return drawn if f in _LIKE else x * drawn


class WholeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose mean and variance are those of the whole batch. Not torch's SyncBatchNorm: that needs CUDA and equal parts."""

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, input: Tensor) -> Tensor:
        x, part = input, shared()
        if part is None or not self.training:
            return super().forward(x)
        axes, shape = (0, *range(2, x.dim())), (1, -1, *[1] * (x.dim() - 2))
        h = x if x.dtype == torch.float64 else x.float()
        sizes = part.sizes(len(x))
        # Mean and variance of each rank, from which those of all are put together: Chan, Golub and LeVeque 1983.
        var, mean = torch.var_mean(h, axes, correction=0)
        each = _placed(torch.stack([mean, var])[None], [1] * part.world, part)
        share = _shares(tuple(sizes), h.dtype, str(h.device))
        mean = (share * each[:, 0]).sum(0)
        var = (share * (each[:, 1] + (each[:, 0] - mean).square())).sum(0)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                n = sum(sizes) * (x.numel() // (x.shape[0] * x.shape[1]))
                self.num_batches_tracked += 1
                moved = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean, moved)
                self.running_var.lerp_(var * (n / (n - 1)), moved)
        y = (h - mean.view(shape)) * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)


@functools.cache
def _shares(sizes: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
    """The weight of each rank, (world, 1)."""
    return (torch.tensor(sizes, dtype=torch.float64) / sum(sizes))[:, None].to(device, dtype)


def join_batchnorm(module: nn.Module) -> None:
    """Let every BatchNorm take its statistics over the whole batch."""
    for each in module.modules() if world() > 1 else ():
        if type(each) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            each.__class__ = WholeBatchNorm
