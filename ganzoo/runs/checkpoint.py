"""Checkpoints: all tensors of a run in one safetensors file. It holds no code and no pickle, and there is never half of one on the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from ganzoo.errors import GanzooError, tidy
from ganzoo.files import safetensors_header, write_file

if TYPE_CHECKING:
    from ganzoo.strategy import Strategy

FORMAT = 1
MAX_HEADER = 1 << 20
_NO_HASH = "0" * 64


class BadCheckpoint(GanzooError):
    """A file that is no checkpoint, is damaged, or belongs to another run."""


def tensors_of(strategy: Strategy) -> dict[str, Tensor]:
    """Every tensor of the run, live, by name: "model:G.conv.weight", "opt_G:G.conv.weight:exp_avg"."""
    tensors = {f"model:{name}": value for name, value in strategy.state_dict().items()}
    for slot, value in _optimiser_slots(strategy):
        tensors[slot] = value
    return tensors


def _parameter_names(strategy: Strategy) -> dict[Tensor, str]:
    return {p: name for name, p in strategy.named_parameters()}


def _optimiser_slots(strategy: Strategy) -> Iterator[tuple[str, Tensor]]:
    names = _parameter_names(strategy)
    for attribute, optimiser in strategy.optimisers().items():
        for p, state in optimiser.state.items():
            for key, value in state.items():
                if not isinstance(value, Tensor):
                    raise GanzooError(f"{attribute} keeps {key!r}, a {type(value).__name__}; only tensors can be saved.")
                yield f"{attribute}:{names[p]}:{key}", value


def restore(strategy: Strategy, tensors: Mapping[str, Tensor]) -> None:
    """Put every tensor back where `tensors_of` took it from, in the memory layout of the parameters."""
    strategy.load_state_dict({name.removeprefix("model:"): v for name, v in tensors.items() if name.startswith("model:")})
    optimisers = strategy.optimisers()
    parameters = dict(strategy.named_parameters())
    for optimiser in optimisers.values():
        optimiser.state.clear()
    for name, value in tensors.items():
        if name.startswith("model:"):
            continue
        attribute, _, slot = name.partition(":")
        parameter, _, key = slot.rpartition(":")
        p = parameters[parameter]
        # Fused optimisers walk parameters and their state side by side in memory, so the layout must be the parameter's.
        # Step counters stay on the CPU, where torch keeps them unless the optimiser is fused on another device.
        if value.shape == p.shape:
            placed = torch.empty_like(p, dtype=value.dtype, requires_grad=False).copy_(value)
        else:
            group = optimisers[attribute].param_groups[0]
            placed = value.clone().to(p.device if group.get("fused") or group.get("capturable") else "cpu")
        optimisers[attribute].state[p][key] = placed


def check_names(strategy: Strategy, header: Mapping[str, Any]) -> None:
    """Compare names, shapes and types in a header with the strategy. Raises BadCheckpoint for the first that differs."""
    own = {f"model:{name}": value for name, value in strategy.state_dict().items()}
    parameters, optimisers = dict(strategy.named_parameters()), strategy.optimisers()
    if missing := own.keys() - header.keys():
        raise BadCheckpoint(f"it has no {sorted(missing)[0]!r}, which the networks of this run have")
    for name, info in header.items():
        if name == "__metadata__":
            continue
        shape, dtype = tuple(info["shape"]), info["dtype"]
        if name.startswith("model:"):
            if name not in own:
                raise BadCheckpoint(f"it has {name!r}, which the networks of this run have not")
            wanted = own[name]
            if shape != tuple(wanted.shape) or dtype != _DTYPES.get(wanted.dtype):
                raise BadCheckpoint(f"{name!r} is {dtype} {shape}; this run has {_DTYPES.get(wanted.dtype)} {tuple(wanted.shape)}")
            continue
        attribute, _, slot = name.partition(":")
        parameter, _, _ = slot.rpartition(":")
        if attribute not in optimisers or parameter not in parameters:
            raise BadCheckpoint(f"it has {name!r}, which no optimiser of this run has")
        p = parameters[parameter]
        if shape != () and (shape != tuple(p.shape) or dtype != _DTYPES.get(p.dtype)):
            raise BadCheckpoint(f"{name!r} is {dtype} {shape}; the parameter is {_DTYPES.get(p.dtype)} {tuple(p.shape)}")


_DTYPES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], told: Mapping[str, str] | None = None) -> None:
    """Write tensors and JSON metadata to one file: beside it first, then fsync, then rename.

    told: what other programs are to know of a model, by keys of ModelSpec without "modelspec."; the hash of the tensors is added. Raises
    GanzooError where the disk refuses; what was there before is untouched.
    """
    packed: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, value in tensors.items():
        copied = value.detach().cpu().contiguous()
        # One tensor under two names (tied weights) is written twice: safetensors refuses shared memory.
        packed[name] = copied.clone() if copied.untyped_storage().data_ptr() in storages else copied
        storages.add(copied.untyped_storage().data_ptr())
    data = serialise(packed)
    end = 8 + int.from_bytes(data[:8], "little")
    body = memoryview(data)[end:]
    kept = {"ganzoo": json.dumps({"format": FORMAT, "sha256": _NO_HASH, **meta}, sort_keys=True)}
    if told is not None:
        kept |= {f"modelspec.{key}": text for key, text in {**told, "hash_sha256": f"0x{hashlib.sha256(body).hexdigest()}"}.items()}
    # Not by safetensors itself, which writes metadata in an order that changes from process to process.
    text = json.dumps({"__metadata__": dict(sorted(kept.items())), **json.loads(data[8:end])}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors begin at a multiple of 8
    if len(text) > MAX_HEADER:
        raise GanzooError(
            f"the header of {path.name} would be {len(text)} bytes, more than {MAX_HEADER}: the network has too many tensors."
        )
    head = len(text).to_bytes(8, "little") + text
    whole = hashlib.sha256(head)
    whole.update(body)
    head = head.replace(_NO_HASH.encode(), whole.hexdigest().encode(), 1)
    write_file(path, lambda file: (file.write(head), file.write(body)))


def read_header(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The safetensors header of a file and our metadata in it; no tensor is read.

    Raises BadCheckpoint where it is none, or longer than 1 MB.
    """
    try:
        header = safetensors_header(path, MAX_HEADER)
        meta = tidy(json.loads(header["__metadata__"]["ganzoo"]))
        if not isinstance(meta, dict):
            raise TypeError("wanted an object")
    except OSError as e:
        raise BadCheckpoint(f"{path}: {e.strerror or e}") from e
    except ValueError as e:
        raise BadCheckpoint(f"{path.name}: {e}") from e
    except (LookupError, TypeError, AttributeError, RecursionError) as e:
        raise BadCheckpoint(f"{path.name}: it is a safetensors file, but not one of ganzoo's") from e
    if meta.get("format") != FORMAT:
        raise BadCheckpoint(f"{path.name}: its format is {meta.get('format')!r}, this ganzoo reads {FORMAT}: upgrade ganzoo")
    return header, meta


def read(path: Path, check: Callable[[dict[str, Any]], None] | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file whose every byte is as it was written.

    check: looks at the header before any tensor is read, and raises BadCheckpoint. Raises BadCheckpoint, naming the file.
    """
    header, meta = read_header(path)
    stored = str(meta.pop("sha256", ""))
    if check is not None:
        try:
            check(header)
        except BadCheckpoint as e:
            raise BadCheckpoint(f"{path.name}: {e}") from e
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    whole = hashlib.sha256(data[:end].replace(stored.encode(), _NO_HASH.encode(), 1))
    whole.update(memoryview(data)[end:])
    if whole.hexdigest() != stored:
        raise BadCheckpoint(f"{path.name}: it is truncated or damaged: its sha256 is not the one in it")
    try:
        return parse(data), meta
    except SafetensorError as e:
        raise BadCheckpoint(f"{path.name}: {e}") from e


def steps_in(folder: Path) -> list[int]:
    """The steps that have a checkpoint in the folder, oldest first, by their names: the times of files say nothing."""
    steps = (int(p.stem) for p in folder.glob("*.safetensors") if p.stem.isascii() and p.stem.isdecimal() and len(p.stem) < 16)
    return sorted(step for step in steps if path_of(folder, step).is_file())


def path_of(folder: Path, step: int) -> Path:
    return folder / f"{step:06d}.safetensors"


def prune(folder: Path, keep: int, newest: int) -> None:
    """Delete all but the last `keep` checkpoints (0: none) up to the newest good one, if that reads back."""
    read(path_of(folder, newest))
    for step in [step for step in steps_in(folder) if step <= newest][:-keep] if keep else []:
        path_of(folder, step).unlink(missing_ok=True)


def make_room(folder: Path, keep: int, best: set[int]) -> int:
    """Delete the checkpoints that go when there is one more, never the newest or one of the best; returns how many those were."""
    due = [step for step in (steps_in(folder)[: -max(keep - 1, 1)] if keep else []) if step not in best]
    for step in due:
        path_of(folder, step).unlink(missing_ok=True)
    return len(due)
