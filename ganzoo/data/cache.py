"""The cache folder: where it is, who writes to it, and whether a file in it is whole. Standard library only."""

from __future__ import annotations

import fcntl
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError


def cache_dir() -> Path:
    """$GANZOO_CACHE, else the platform's folder for caches. Nothing is created."""
    if named := os.environ.get("GANZOO_CACHE"):
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ganzoo"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "ganzoo"


def data_folder(named: str | Path | None) -> Path:
    """Where downloaded data lies: what the user named, else $GANZOO_DATA, else a folder in the cache. Nothing is created."""
    return Path(named or os.environ.get("GANZOO_DATA") or cache_dir() / "downloads").expanduser()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what goes wrong while `path` is written into one error that says what to do."""
    try:
        yield
    except Exception as error:
        # safetensors has its own class for a full disk
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        reason = getattr(error, "strerror", None) or str(error)
        what_to_do = "Free some room there, or set GANZOO_CACHE to a folder that can be written."
        raise GanzooError(f"cannot write the prepared data to {path}: {reason}. {what_to_do}") from error


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds `path` as a lock between processes; calls `waiting` once if another one holds it.

    lockf, not flock: a child process that outlives its parent does not keep it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115
    with file:
        with writing(path):
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                waiting()
                fcntl.lockf(file, fcntl.LOCK_EX)
        yield  # closing the file lets the lock go


def publish(temporary: Path, path: Path) -> None:
    """Gives a written file its name: on the disk first, then renamed, so that there is never a half one."""
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def safetensors_header(path: Path, limit: int) -> dict[str, Any]:
    """The header of a safetensors file as JSON, read without its tensors; ValueError if it is none, not whole, or the header too long.

    limit: bytes. A header of 64 MB with a million names takes the library ten seconds to open.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(limit, size - 8):
            raise ValueError(f"not a safetensors file, or its header is longer than {limit} bytes")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file")
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max((entry["data_offsets"][1] for entry in tensors), default=0) != size:
        raise ValueError("the file is cut off")
    if not all(math.prod(entry["shape"]) <= size for entry in tensors):
        raise ValueError("a shape is larger than the file")
    return header
