"""The life of the processes that train one model: how they find each other, wait for each other, and end together.

torchrun starts them, or `launch`. Rank 0 alone writes; the others follow what it says. No pickle goes over the wire.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import count, islice
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from ganzoo.errors import GanzooError
from ganzoo.ranks import rank, world

T = TypeVar("T")

#: How long a rank waits for the others in a step; GANZOO_TIMEOUT, in seconds, says otherwise. And while
#: rank 0 writes, or some still prepare data.
TIMEOUT, PATIENCE = timedelta(seconds=60), timedelta(minutes=30)


class Followed(SystemExit):
    """Rank 0 has failed, and says why; the others end with the same status and are silent."""


_stores: list[Any] = []  # torchrun's, where ranks leave each other notes: those who wait ask again and again, so they notice if it is gone
_waits = count()


def launched() -> bool:
    """Whether torchrun has started this process."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for a process that is no rank of this run."""
    ours = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return {name: value for name, value in environment.items() if name not in ours and not name.startswith("TORCHELASTIC_")}


def join() -> None:
    """Find the other ranks, if torchrun has started some: NCCL between CUDA devices, one a process, gloo between processors.

    Raises GanzooError where they are not found.
    """
    if not launched() or dist.is_initialized():
        return
    _end_with_parent()
    if int(os.environ["WORLD_SIZE"]) == 1:
        return
    cuda = torch.cuda.is_available()
    try:
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        store, number, n = next(rendezvous("env://", timeout=PATIENCE))
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
    own, end = uuid.uuid4().hex, time.monotonic() + PATIENCE.total_seconds()
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
    raise RuntimeError(f"after {PATIENCE.total_seconds():.0f} s some were missing")


def launch(n: int, command: Sequence[str]) -> int:
    """Run a command in n processes of this machine that know of each other, by torchrun; returns its exit status."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # torchrun's own words: what a rank has said is enough
    try:
        run.run(run.parse_args(["--standalone", "--nproc-per-node", str(n), "--no-python", *command]))
    except SignalException as e:
        return 128 + int(e.sigval)
    except ChildFailedError as e:
        number, failure = e.get_first_failure()
        if failure.exitcode > 0:
            return int(failure.exitcode)  # it has said why
        raise GanzooError(f"rank {number} was ended by {failure.signal_name()}, so the others have been stopped.") from None
    finally:
        logging.disable(disabled)
    return 0


def end(status: int) -> None:
    """End this process if it is a rank, at once: where another one is gone, gloo may abort while it is taken apart."""
    if dist.is_initialized():
        with contextlib.suppress(RuntimeError):
            _leave(_timeout().total_seconds() if status == 0 else 5)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _leave(patience: float) -> None:
    """Where rank 0 holds the store itself, as without torchrun, it stays for so many seconds until the others, who may still read, have
    left."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" or not _stores:
        return
    end, left = time.monotonic() + patience, _ask(_stores[0].add, "ganzoo/left", int(rank() > 0))
    while rank() == 0 and left < world() - 1 and time.monotonic() < end:
        time.sleep(0.02)
        left = _ask(_stores[0].add, "ganzoo/left", 0)


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


def lost(error: BaseException | None) -> str:
    """What to say where an error means that another rank is gone or does not answer; else ""."""
    words = ("gloo", "nccl", "connection", "timed out", "peer")
    if world() == 1 or not isinstance(error, RuntimeError) or not any(word in str(error).lower() for word in words):
        return ""
    why = (str(error).partition("] ")[2] or str(error)).partition(". ")[0].rstrip(".")
    return f"rank {rank()}: another one is gone, or has not answered in time ({why})."


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """What all ranks raise alike, one of them says, and the others end with the same status.

    Raises GanzooError where another rank is gone.
    """
    try:
        yield
    except Exception as e:
        if gone := lost(e):
            raise GanzooError(gone) from e
        if world() > 1 and not lost(e.__cause__) and _said(f"{type(e).__name__}: {e}"):
            raise Followed(getattr(e, "exit_code", 1)) from e
        raise


def _said(text: str) -> bool:
    """Whether another rank says this already; if not, this one is to say it."""
    with contextlib.suppress(RuntimeError):
        return int(_ask(_stores[0].add, f"ganzoo/said/{text}", 1)) > 1
    return False


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
        own = together(lot[rank()] if rank() < len(lot) else dict)
        yield from [tensors_of(by, own) for by in range(len(lot))]


def together(f: Callable[[], T]) -> T:
    """f on each rank, which takes part in nothing common. Raises GanzooError everywhere where it raises on one of several."""
    if world() == 1:
        return f()
    done, error = list[T](), ""
    try:
        done.append(f())
    except Exception as e:
        error = str(e) if isinstance(e, GanzooError) else f"{type(e).__name__}: {e}"
    if failed := largest(0 if done else rank() + 1):
        raise GanzooError(told(error, failed - 1))
    return done[0]


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
