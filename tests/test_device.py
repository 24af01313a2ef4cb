"""A step on a device that is not the processor: what it reads back and what it copies there, seen on torch's "meta" device.

Tensors there have shapes and no values, so no GPU is needed; every operation of a step, forwards and backwards, goes past `Watching`.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganzoo import machine
from ganzoo.config import Changes
from ganzoo.errors import UsageError
from ganzoo.randomness import seed_of, seed_step
from ganzoo.registry.catalogue import catalogue
from ganzoo.testing.cases import Cases
from ganzoo.training.session import Session, open_session
from ganzoo.types import Field

META = torch.device("meta")
#: Operations whose result is needed on the processor before it can go on: a value, or a shape that depends on values.
READS = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "nonzero_static", "argwhere", "masked_select", "_unique", "_unique2",
    "unique_dim", "unique_consecutive", "unique_dim_consecutive", "bincount", "_linalg_check_errors", "allclose", "histc",
}  # fmt: skip


class Watching(TorchDispatchMode):
    """Collects, of the operations inside, those on the device, what is read from it, and copies to it that the processor waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.kernels = 0  # operations that are no views of memory: a GPU has something to do
        self.sent = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, function._schema.name.removeprefix("aten::")
        given = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        there = [a for a in given if a.device.type == "meta"]
        if name in READS or (name == "repeat_interleave" and "self_int" not in function._schema.overload_name):
            self._wait(name, there)
            if name == "_local_scalar_dense" and there:
                return {torch.bool: True, torch.float32: 0.5}.get(there[0].dtype, 1)
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            self._wait("index by booleans", [a for a in there[1:] if a.dtype in (torch.bool, torch.uint8)])
        try:
            out = None if name.startswith("_fused_adam") else function(*args, **kwargs)  # which meta tensors do not know
        except (RuntimeError, NotImplementedError):
            self._wait(f"{name} fails", there)  # as a copy from there does, and what mixes devices
            raise
        made = [a for a in tree_leaves(out) if isinstance(a, torch.Tensor)]
        if there or any(a.device.type == "meta" for a in made):
            self.operations[name] += 1
            self.kernels += not function.is_view and "empty" not in name
            self._copies(name, given, made)
        return out

    def _copies(self, name, given, made) -> None:
        if name == "lift_fresh":  # torch.tensor(value, device=...): it is made on the processor and copied
            self._wait("torch.tensor", made)
        elif name in ("_to_copy", "copy_"):
            source, target = (given[-1], made[0]) if name == "copy_" else (given[0], made[0])
            if source.device != target.device:
                if target.device.type == "meta" and by_to_device():
                    self.sent += 1
                else:
                    self._wait(f"copy {source.device.type} to {target.device.type}", [target])
        elif any(a.device.type == "cpu" and a.dim() for a in (*given, *made)):
            self._wait(f"{name} of two devices", made)  # a single number of the processor is a kernel's argument

    def _wait(self, what, tensors) -> None:
        if tensors:
            self.waits[f"{what}: {where()}"] += 1


def frames():
    frame = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def by_to_device() -> bool:
    return any(frame.f_code is machine.to_device.__code__ for frame in frames())


def where() -> str:
    inside = (f for f in frames() if "ganzoo" in f.f_code.co_filename and f.f_code.co_filename != __file__)
    return next((f"{f.f_code.co_filename.rpartition('/')[2]}:{f.f_lineno}" for f in inside), "torch")


@pytest.fixture
def on_meta(monkeypatch):
    """Sessions are opened on the meta device, as they would be on a GPU."""
    monkeypatch.setattr(machine, "pick_device", lambda *_: META)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which knows no such device
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    for module in ("torch.optim.adam", "torch.optim.optimizer"):
        monkeypatch.setattr(sys.modules[module], "_device_dtype_check_for_fused", lambda *_, **__: None)
    # Tensors without memory are still different ones.
    address = torch.Tensor.data_ptr
    monkeypatch.setattr(torch.Tensor, "data_ptr", lambda self: self.untyped_storage()._cdata if self.is_meta else address(self))
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # so that optimisers keep their parameters, as on a GPU
    yield
    torch.__future__.set_swap_module_params_on_conversion(before)


def opened(recipe: str, changes: Changes | None = None, **run) -> Session:
    case = Cases(catalogue()).of(recipe)[0]
    case.changes = changes or case.changes
    return open_session(case.resolved(**{"ema": 0.9, "flip": True, **run}))[2]


def watched(session: Session) -> dict[int, Watching]:
    """What each kind of step of a session does, by the first step of that kind; the very first one also makes the optimisers' state."""
    first: dict[object, int] = {}
    with Watching():
        session.step(0)
    for t in sorted({max(1, s + i) for s in session.strategy.phases().values() for i in (0, 1)}):
        first.setdefault(session.strategy.variant(t), t)
    steps = {}
    for t in first.values():
        with Watching() as steps[t]:
            session.step(t)
    return steps


RECIPES = [entry.name for entry in catalogue().entries("recipe")]


#: What torch's documentation of `use_deterministic_algorithms` lists as without a deterministic form on CUDA, by its own names, with the
#: operations. Of `NLLLoss` it does not say which form.
UNSTEADY = {
    "NLLLoss": {"nll_loss_forward", "nll_loss2d_forward"},
    "ReflectionPad2d": {"reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"},
    "grid_sample": {"grid_sampler_2d_backward", "grid_sampler_3d_backward"},
    "interpolate": {f"{f}_backward" for f in ("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d")}
    | {"_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward"},
    "pooling": {f"{f}_backward" for f in ("avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d")}
    | {"fractional_max_pool2d_backward", "fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d"},
    "others": {"_ctc_loss_backward", "put_", "histc", "median", "scatter_reduce", "scatter_reduce_", "_embedding_bag_backward"},
}


def unsteady(steps: dict[int, Watching]) -> set[str]:
    """The names of operations that have no deterministic form."""
    done = {name for seen in steps.values() for name in seen.operations}
    return {name for name, operations in UNSTEADY.items() if operations & done}


def documented(recipe: str) -> set[str]:
    """The same as docs/gpu.md has them."""
    text = (Path(__file__).parents[1] / "docs" / "gpu.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*) \| `([A-Z]\w+)", text, re.M)
    return {operation for names, operation in rows if f"`{recipe}`" in names}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_reads_nothing_from_the_device_and_waits_for_no_copy(recipe, on_meta):
    """And it has operations without a deterministic form only where the page says so."""
    steps = watched(opened(recipe))
    for t, seen in steps.items():
        assert not seen.waits, f"step {t}: {dict(seen.waits)}"
    assert unsteady(steps) == documented(recipe)


@pytest.mark.parametrize(
    ("recipe", "changes", "run"),
    [
        ("dcgan", Changes(wrappers=("diffaugment",)), {}),
        ("dcgan", Changes(wrappers=("ada",)), {}),
        ("wgan-gp", Changes(wrappers=("ada",)), {}),
        ("denoise", Changes(parts={"degradation": "mask"}), {}),
        ("denoise", Changes(parts={"degradation": "grey"}), {}),
        ("srgan", Changes(), {"crop": "16"}),
        ("dcgan", Changes(parts={"loss": "r1", "discriminator": "sngan"}), {}),
    ],
)
def test_nor_do_wrappers_degradations_and_windows(recipe, changes, run, on_meta):
    steps = watched(opened(recipe, changes, **run))
    for t, seen in steps.items():
        assert not seen.waits, f"step {t}: {dict(seen.waits)}"
    assert unsteady(steps) == ({"grid_sample"} if "ada" in (changes.wrappers or ()) else set())


def test_rows_of_data_that_stays_in_memory_go_over_once_a_field(on_meta, monkeypatch):
    monkeypatch.setattr("ganzoo.data.batches._fits", lambda data, device: False)
    session = opened("acgan", flip=False)
    with Watching() as seen:
        next(session.batches)
    assert (dict(seen.waits), seen.sent) == ({}, 2)


@pytest.mark.parametrize(
    ("doing", "told"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: float(x[0]), "_local_scalar_dense"),
        (lambda x: bool(x.any()), "_local_scalar_dense"),
        (lambda x: x[x > 0], "index by booleans"),
        (lambda x: x.masked_fill_(x > 0, 1) if x.max() > 2 else x, "_local_scalar_dense"),
        (lambda x: x.cpu(), "_to_copy fails"),
        (lambda x: torch.zeros(3).to(x.device), "copy cpu to meta"),
        (lambda x: x.copy_(torch.zeros(3)), "copy cpu to meta"),
        (lambda x: torch.tensor(0.5, device=x.device), "torch.tensor"),
        (lambda x: x + torch.zeros(3), "add fails"),
    ],
)
def test_what_would_wait_is_seen(doing, told):
    x = torch.empty(3, device=META)
    with Watching() as seen, contextlib.suppress(RuntimeError, NotImplementedError):
        doing(x)
    assert next(iter(seen.waits)).partition(":")[0] == told


def test_what_would_not_wait_is_not_told():
    x = torch.empty(3, device=META)
    with Watching() as seen:
        x[1:] = 0.5
        x += torch.tensor(2.0)
        torch.where(x > 0, x, 0.0).index_select(0, machine.to_device(torch.tensor([1, 2]), META))
    assert (dict(seen.waits), seen.sent) == ({}, 1)


def test_only_cuda_gets_pinned_memory_and_a_copy_that_nobody_waits_for():
    class Recorded:
        device = torch.device("cpu")
        pinned = False

        def pin_memory(self):
            self.pinned = True
            return self

        def to(self, device, non_blocking=False):
            return device.type, self.pinned, non_blocking

    assert machine.to_device(Recorded(), "cuda") == ("cuda", True, True)
    assert machine.to_device(Recorded(), "mps") == ("mps", False, False)
    tensor = torch.zeros(2)
    assert machine.to_device(tensor, "cpu") is tensor


def test_r3gans_penalties_do_not_take_groups_one_by_one(on_meta):
    """Of pictures of 64 pixels there were 2882 operations, 1431 of them with something to do; of the paper's width 30623."""
    case = Cases(catalogue()).of("r3gan")[0]
    session = open_session(case.resolved(Field("image", (3, 64, 64)), ema=0.9))[2]
    (seen,) = watched(session).values()
    assert seen.kernels < 700, seen.operations
    assert seen.operations["slice"] < 20


@pytest.fixture
def flags():
    """Those of torch, as they were."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    yield lambda: (matmul.allow_tf32, cudnn.allow_tf32, cudnn.conv.fp32_precision == "tf32", cudnn.rnn.fp32_precision == "tf32")
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic = before[:3]
    torch.use_deterministic_algorithms(before[3])
    torch.utils.deterministic.fill_uninitialized_memory = filled


def test_a_run_on_cuda_rounds_products_only_where_it_was_asked_to_and_what_is_kept_never(flags, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cuda = torch.device("cuda")
    for precision, rounds in (("fp32", False), ("tf32", True), ("bf16", False), ("tf32", True)):
        machine.set_arithmetic(cuda, precision)
        assert flags() == (rounds,) * 4, precision
        with machine.exact():
            assert flags() == (False,) * 4
        assert flags() == (rounds,) * 4
    assert torch.get_float32_matmul_precision() == "high"  # other libraries ask so, and torch raises for flags of two kinds
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert machine.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_run_on_the_processor_leaves_the_flags_of_gpus_alone(flags):
    before = flags()
    opened("gan")
    assert (flags(), torch.are_deterministic_algorithms_enabled()) == (before, False)


def test_tf32_is_refused_where_there_is_none_before_data_is_looked_at(monkeypatch):
    with pytest.raises(UsageError, match="--precision tf32: NVIDIA's GPUs since Ampere have it, and the device here is cpu"):
        open_session(Cases(catalogue()).of("gan")[0].resolved(precision="tf32"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not machine.computes_tf32(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert machine.computes_tf32(torch.device("cuda"))


@pytest.mark.parametrize("cuda", [False, True])
def test_a_script_that_trains_finds_its_own_arithmetic_afterwards(cuda, flags, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.deterministic = False
    before = flags()
    with machine.arithmetic_kept():
        machine.set_arithmetic(torch.device("cuda" if cuda else "cpu"), "fp32")
        assert flags() == ((False,) * 4 if cuda else before)
    assert flags() == before == (True,) * 4
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_each_step_seeds_the_generators_of_devices_that_are_in_use(monkeypatch):
    told = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", told.append)
    seed_step(3, 5)
    assert not told
    own = torch.rand(2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    seed_step(3, 5)
    assert told == [seed_of(3, "step", 5)]
    assert torch.equal(torch.rand(2), own)
    torch.manual_seed(told[0])
    assert torch.equal(torch.rand(2), own)
