"""The processes of one run, its ranks: which one this is, and what they tell each other. One process alone needs nothing of it.

torchrun starts them (`torch.distributed`). All of them compute the same step, each on its part of the batch, and have the same tensors
afterwards; rank 0 alone writes. Whatever a plugin needs of the whole batch it asks for here: `over_ranks`, `overall`, `gather`, `mine`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, islice
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ganzoo.errors import GanzooError, UsageError

T = TypeVar("T")

#: How long a rank waits for the others in a step; GANZOO_TIMEOUT, in seconds, says otherwise. And while rank 0 writes, or prepares data.
TIMEOUT, PATIENCE = timedelta(seconds=60), timedelta(minutes=30)
MEETING = timedelta(minutes=5)  # to find each other


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
        with _WholeDraws():
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
    y = x * part.share
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
        y = x.clone()
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


# --- The life of a run ---


class Followed(SystemExit):
    """Rank 0 has failed, and says why; the others end with the same status and are silent."""


_stores: list[Any] = []  # torchrun's, where ranks leave each other notes: those who wait ask again and again, so they notice if it is gone
_waits = count()


def launched() -> bool:
    """Whether torchrun has started this process."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def join() -> None:
    """Find the other ranks, if torchrun has started some: NCCL between CUDA devices, one a process, gloo between processors.

    Raises GanzooError where they are not found.
    """
    if not launched() or dist.is_initialized() or int(os.environ["WORLD_SIZE"]) == 1:
        return
    _end_with_parent()
    cuda = torch.cuda.is_available()
    try:
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        store, number, n = next(rendezvous("env://", timeout=MEETING))
        store = distributed_c10d.PrefixStore(_meeting(store, number, n), store)
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=number, world_size=n, timeout=_timeout())
        _stores[:] = [store]
    except (RuntimeError, ValueError) as e:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise GanzooError(f"the {os.environ['WORLD_SIZE']} ranks of the run have not found each other at {place}: {e}") from e


def _timeout() -> timedelta:
    given = os.environ.get("GANZOO_TIMEOUT", "")
    return timedelta(seconds=float(given)) if given.replace(".", "", 1).isdigit() else TIMEOUT


def _meeting(store: Any, number: int, n: int) -> str:
    """A name that the ranks which start now have in common, and those before a restart had not.

    torchrun's store outlives a restart: under the same names, ranks would find the addresses of those before them. So each writes a name
    that is new; the first one lists those it finds until each of them has seen itself in its list.
    """
    own, end = uuid.uuid4().hex, time.monotonic() + MEETING.total_seconds()
    store.set(f"ganzoo/{number}", own)
    while time.monotonic() < end:
        if number == 0:
            found = [store.get(f"ganzoo/{r}").decode() for r in range(1, n)]
            store.set("ganzoo/list", " ".join([own, *found]))
            if all(store.check([f"ganzoo/{own}/{other}"]) for other in found):
                return own
        elif store.check(["ganzoo/list"]) and own in (listed := store.get("ganzoo/list").decode().split()):
            store.set(f"ganzoo/{listed[0]}/{own}", "seen")
            return listed[0]
        time.sleep(0.05)
    raise RuntimeError(f"after {MEETING.total_seconds():.0f} s some were missing")


def launch(n: int, command: Sequence[str]) -> int:
    """Run a command in n processes of this machine that know of each other, by torchrun; returns its exit status."""
    os.environ.setdefault("LOGLEVEL", "ERROR")  # of torchrun's own words
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.run(run.parse_args(["--standalone", "--nproc-per-node", str(n), "--no-python", *command]))
    except SignalException as e:
        return 128 + int(e.sigval)
    except ChildFailedError as e:
        number, failure = e.get_first_failure()
        if failure.exitcode > 0:
            return int(failure.exitcode)  # it has said why
        raise GanzooError(f"rank {number} was ended by {failure.signal_name()}, so the others have been stopped.") from None
    return 0


def leave() -> None:
    """The run is over, on all ranks."""
    if dist.is_initialized():
        _stores.clear()
        dist.destroy_process_group()


def _end_with_parent() -> None:
    """Let this process stop, as after SIGTERM, when torchrun's agent, its parent, is gone: else it would go on alone. Linux only."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


def largest(number: int = 0) -> int:
    """The largest of the ranks' numbers."""
    if world() == 1:
        return number
    said = torch.tensor(number)
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return int(said)


def lost(error: BaseException) -> str:
    """What to say where an error means that another rank is gone or does not answer; else ""."""
    words = ("gloo", "nccl", "connection", "timed out", "peer")
    if world() == 1 or not isinstance(error, RuntimeError) or not any(word in str(error).lower() for word in words):
        return ""
    return f"rank {rank()}: another one is gone, or has not answered in time ({str(error).partition('] ')[2].partition('. ')[0]})."


def told(value: Any, by: int = 0) -> Any:
    """A JSON value of one rank, on all. No pickle goes over the wire."""
    if world() == 1:
        return value
    data = torch.tensor(list(json.dumps(value).encode()) if rank() == by else [], dtype=torch.uint8)
    length = torch.tensor(len(data))
    dist.broadcast(length, by)
    data = data if rank() == by else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(data, by)
    return json.loads(bytes(data.tolist()))


def _ask(f: Callable[..., T], *words: Any) -> T:
    """What torchrun's store answers; where the link to it is broken it never would, so then the process ends."""

    def end() -> None:
        print(f"Error: rank {rank()}: torchrun's store has not answered for {_timeout()}.", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(_timeout().total_seconds(), end)
    timer.daemon = True
    timer.start()
    try:
        return f(*words)
    finally:
        timer.cancel()


def first(f: Callable[[], T]) -> T | None:
    """f on rank 0 alone, while the others wait, for as long as PATIENCE; they get None. Where it raises, they end as well."""
    if world() == 1:
        return f()
    (store,), note = _stores, f"ganzoo/first/{next(_waits)}"
    if rank() == 0:
        status = "1"
        try:
            value = f()
            status = "0"
        except BaseException as e:
            status = str(getattr(e, "exit_code", 1))
            raise
        finally:
            _ask(store.set, note, status)
        return value
    end = time.monotonic() + PATIENCE.total_seconds()
    while not _ask(store.check, [note]):
        if time.monotonic() > end:
            raise RuntimeError(f"timed out: the first rank has been busy for {PATIENCE}")
        time.sleep(0.02)
    if failed := int(_ask(store.get, note)):
        raise Followed(failed)
    return None


def meet() -> None:
    """Wait until all ranks are here, for as long as PATIENCE: a rank may have had data to prepare."""
    if world() > 1:
        place = f"ganzoo/meet/{next(_waits)}"
        _ask(_stores[0].add, place, 1)
        first(lambda: _all_at(place))


def _all_at(place: str) -> None:
    end = time.monotonic() + PATIENCE.total_seconds()
    while _ask(_stores[0].add, place, 0) < world():
        if time.monotonic() > end:
            raise GanzooError(f"some of the {world()} ranks were not ready after {PATIENCE}.")
        time.sleep(0.02)


def tensors_of(by: int, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Tensors of one rank, on the CPU, by name, on all."""
    if world() == 1:
        return dict(tensors or {})
    own = {name: t.contiguous() for name, t in (tensors or {}).items()}
    everywhere = {}
    for name, (dtype, shape) in told({name: (str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in own.items()}, by).items():
        everywhere[name] = own[name] if rank() == by else torch.empty(shape, dtype=getattr(torch, dtype))
        dist.broadcast(everywhere[name].view(-1).view(torch.uint8), by)
    return everywhere


def in_turns(work: Iterable[Callable[[], dict[str, Tensor]]]) -> Iterator[dict[str, Tensor]]:
    """The results of pieces of work, in their order, on all ranks, each of which does its part of them.

    Raises GanzooError everywhere where one rank cannot do its piece.
    """
    for lot in batched(work, world()):
        try:
            own, error = lot[rank()]() if rank() < len(lot) else {}, ""
        except Exception as e:
            if world() == 1:
                raise
            own, error = {}, f"{type(e).__name__}: {e}"
        failed = [text for by in range(len(lot)) if (text := told(error, by))]
        if failed:
            raise GanzooError(failed[0])
        yield from [tensors_of(by, own) for by in range(len(lot))]


def batched(work: Iterable[T], n: int) -> Iterator[tuple[T, ...]]:
    """n at a time: itertools has it from Python 3.12 on."""
    each = iter(work)
    while lot := tuple(islice(each, n)):
        yield lot


def agree(tensors: Mapping[str, Tensor]) -> None:
    """Raise GanzooError where a tensor has not the same bits on all ranks: a plugin's draw or statistic that was each rank's own."""
    if world() == 1 or not tensors:
        return
    sums = torch.stack([_bits(t) for t in tensors.values()])
    least, most = sums.clone(), sums.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    different = [name for name, same in zip(tensors, (least == most).tolist(), strict=True) if not same]
    if different and rank():
        raise Followed(1)
    if different:
        more = f" and {len(different) - 1} more tensors" if different[1:] else ""
        raise GanzooError(
            f"the ranks differ in {different[0]}{more}. A part draws or counts for its own rows what must be of the whole batch: "
            "ganzoo.over_ranks, overall, gather, mine and draw are for that."
        )


def _bits(x: Tensor) -> Tensor:
    """A number that changes with the bits of x: int64, on the CPU."""
    data = x.detach().contiguous().reshape(-1).view(torch.uint8)
    data = torch.cat([data, data.new_zeros(-len(data) % 4)]).view(torch.int32).long()
    weights = torch.arange(1, len(data) + 1, device=data.device) % 8191 + 1
    return (data * weights).sum().cpu()
