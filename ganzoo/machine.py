"""The machine that this process runs on: its cores, its devices, and the description that a run keeps of it."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.errors import UsageError

if TYPE_CHECKING:
    import torch


def threads() -> int:
    """How many threads to compute with: as OMP_NUM_THREADS says, else as many cores as the affinity mask and the cgroup allow.

    More threads than cores spin against each other, at a sixth of the speed and less. The number does not go by what other processes do:
    the bits of a run depend on it. See `Crowd`.
    """
    if (wanted := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(wanted) > 0:
        return int(wanted)
    cores = allowed_cores()
    return max(1, min(cores, int(cgroup_cores() or cores)))


def allowed_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The cores that the control group may use, whole or in part; None where there is no limit."""
    for name, split in (("cpu.max", True), ("cpu/cpu.cfs_quota_us", False)):
        try:
            text = (root / name).read_text(encoding="utf-8")
            quota, period = text.split() if split else (text, (root / "cpu/cpu.cfs_period_us").read_text(encoding="utf-8"))
            if quota.strip() != "max" and int(quota) > 0:
                return max(1.0, int(quota) / int(period))
        except (OSError, ValueError):
            continue
    return None


class Crowd:
    """Notices that other processes take the cores which this one's threads compute on. They wait for each other in every operation, so
    with a core less they are not slower by a part, but ten times and more. Linux only: elsewhere nothing is noticed.

    threads: how many this process computes with. read: seconds that all processes have computed on the cores allowed here, and that this
    one has.
    """

    WINDOW = 10.0  # seconds: what takes less is no reason to say anything

    def __init__(self, threads: int, read: Callable[[], tuple[float, float]] | None = None) -> None:
        self.threads, self.read = threads, read or seconds_computed
        self.before, self.told = (time.monotonic(), *self.read()), False

    def warning(self, folder: Path) -> str:
        """What to say, once a run, and what to do; else ""."""
        now = (time.monotonic(), *self.read())
        wall, every, own = (b - a for a, b in zip(self.before, now, strict=True))
        if self.told or self.threads < 2 or wall < self.WINDOW:
            return ""
        self.before = now
        others, cores = (every - own) / wall, allowed_cores()
        if cores - others > self.threads - 0.5:
            return ""
        self.told = True
        return (
            f"other processes compute on {others:.1f} of this machine's {cores} cores. This run's {self.threads} threads wait for each "
            "other, so it may be many times slower. End them, or stop this run and go on with fewer threads: "
            f"OMP_NUM_THREADS={max(1, int(cores - others))} ganzoo resume {folder}"
        )


def seconds_computed(root: Path = Path("/proc")) -> tuple[float, float]:
    """The seconds that all processes have computed on the cores allowed here, and those that this one has; 0 and 0 except on Linux."""
    try:
        lines = [line.split() for line in (root / "stat").read_text(encoding="utf-8").splitlines()]
        allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        # user, nice, system, idle, iowait, irq, softirq
        ticks = sum(int(line[i]) for line in lines if line[0] in allowed for i in (1, 2, 3, 6, 7))
        return ticks / os.sysconf("SC_CLK_TCK"), time.process_time()
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0, 0.0


def set_threads() -> None:
    """Let torch compute with `threads()` threads."""
    import torch

    torch.set_num_threads(threads())


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """A context for networks whose numbers are kept: one algorithm on every call, and whole fp32, which NVIDIA's GPUs round to 10 bits."""
    import torch

    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


@contextlib.contextmanager
def arithmetic_kept() -> Iterator[None]:
    """A context after which torch computes as before, whatever `set_arithmetic` said inside."""
    import torch

    cudnn, matmul, cuda = torch.backends.cudnn, torch.backends.cuda.matmul, torch.cuda.is_available()
    before = cudnn.deterministic, cudnn.benchmark
    rounds = (cudnn.allow_tf32, matmul.allow_tf32) if cuda else ()
    asked, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        if rounds:
            cudnn.allow_tf32, matmul.allow_tf32 = rounds
            torch.use_deterministic_algorithms(asked, warn_only=warns)
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def set_arithmetic(device: torch.device, precision: str) -> None:
    """Let a device compute as a run says: on CUDA whole fp32 unless TF32 was asked for, and algorithms that give the same bits each time.

    Where torch has no such algorithm it warns, and the run is not repeated exactly; docs/gpu.md lists the recipes. The flags are those that
    torch's older names set: with them, both kinds of getter work, which other libraries call.
    """
    import torch

    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if device.type != "cuda":
        return
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it would cost a write for each tensor


def pick_device(name: str, precision: str = "auto") -> torch.device:
    """The device of that name; "auto" is CUDA, then Apple's, then the processor.

    Raises UsageError where the machine has none, or where it does not have a precision that is asked for.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in available if available[kind])
    if not available[name]:
        raise UsageError(f"--device {name}: this machine, or this build of torch, has none. Take --device auto.")
    device = torch.device(name)
    if precision == "tf32" and not computes_tf32(device):
        raise UsageError(f"--precision tf32: NVIDIA's GPUs since Ampere have it, and the device here is {name}. Take fp32 or auto.")
    return device


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """A tensor of the processor on the device: the one way there. To CUDA it goes through pinned memory, so that nobody waits for it."""
    import torch

    device = torch.device(device)
    if tensor.device.type == device.type:
        return tensor
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def one_gpu(number: int) -> dict[str, str]:
    """The environment variable that lets a process see one of this machine's GPUs alone, by turns; none where there are not several."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    there = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": there[number % len(there)]} if len(there) > 1 else {}


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has instructions of its own for bf16: without them it is slower than fp32."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def computes_tf32(device: torch.device) -> bool:
    """Whether the device has TF32, fp32 whose products are rounded to 10 bits: NVIDIA's GPUs since Ampere."""
    import torch

    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def keep_memory() -> None:
    """Let glibc keep the memory of large tensors that are freed, rather than give it back and fetch it again in every step.

    Without glibc, or where the user has set it up by GLIBC_TUNABLES or MALLOC_*, nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc" or any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return
    import ctypes

    libc = ctypes.CDLL(None)
    # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of malloc.h.
    for parameter, value in ((-3, 32 << 20), (-1, 1 << 30), (-2, 64 << 20)):
        libc.mallopt(parameter, value)


def now() -> datetime:
    """The time in UTC; that of SOURCE_DATE_EPOCH, in seconds since 1970, where that is set."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(given) if given.isdecimal() and len(given) < 12 else time.time(), UTC)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, of the machine or of its GPU."""
    return type(error).__name__ in ("OutOfMemoryError", "MemoryError") or any(
        text in str(error) for text in ("not enough memory", "allocate memory")
    )


def describe() -> dict[str, Any]:
    """The machine that a run ran on, for its config.json."""
    import torch

    from ganzoo import ranks

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "ranks": ranks.world(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def processor() -> str:
    """The processor's own name where the system tells it."""
    with contextlib.suppress(OSError):
        if name := re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8")):
            return name[1]
    return platform.processor() or platform.machine()
