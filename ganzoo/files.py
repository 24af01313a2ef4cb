"""Files: written whole or not at all, locked, read and written as JSON, each in one way. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ganzoo.errors import GanzooError, UsageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: Files with these endings are taken for images; their format is decided by their content.
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".webp"})
IMAGE_FORMATS = "JPEG, PNG, WebP, BMP, GIF or PPM"
UNFINISHED = ".tmp-"  # how the name of a file begins that is still being written


@contextlib.contextmanager
def writing(path: Path, advice: str = "Nothing that was there is lost.") -> Iterator[None]:
    """Turns an error of the disk while `path` is written into a GanzooError that ends with the advice."""
    try:
        yield
    except Exception as e:
        # safetensors has a class of its own for a full disk.
        if not isinstance(e, OSError) and type(e).__name__ != "SafetensorError":
            raise
        raise GanzooError(f"{path} cannot be written: {getattr(e, 'strerror', None) or e}. {advice}") from e


@contextlib.contextmanager
def replacing(path: Path, advice: str = "Nothing that was there is lost.") -> Iterator[Path]:
    """A new file beside `path`, to be filled; afterwards it is on the disk and takes the place of `path`. So nobody ever sees half of it.

    advice: as in `writing`. Raises GanzooError where the disk refuses; what was there before is untouched.
    """
    beside = unfinished(path)
    try:
        with writing(path, advice):
            beside.unlink(missing_ok=True)
            yield beside
            _sync(beside)
            os.replace(beside, path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Raise UsageError for a pipe or a device, or a link to one: reading it might never end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a pipe or a device. Wanted a file.")


def unfinished(path: Path, suffix: str = "") -> Path:
    """A file beside `path` for this process to write what is not finished."""
    return path.with_name(f"{UNFINISHED}{os.getpid()}-{path.name}{suffix}")


def remove_unfinished(folder: Path, name: str = "") -> None:
    """Remove what killed processes left of files of that name, by default of any. Only for the one who holds the folder's lock."""
    for stale in folder.glob(f"{UNFINISHED}*-{name}*"):
        with contextlib.suppress(OSError):
            stale.unlink()


def remove_leftovers(folder: Path, seconds: float = 3600.0) -> None:
    """Remove what processes of this machine that are gone left unfinished in a folder so long ago, whatever it was to be."""
    for stale in folder.glob(f"{UNFINISHED}*"):
        process = stale.name.removeprefix(UNFINISHED).partition("-")[0]
        with contextlib.suppress(OSError):
            if process.isdecimal() and time.time() - stale.lstat().st_mtime > seconds and not _alive(int(process)):
                stale.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sync(path: Path) -> None:
    """Wait until the disk has the file, or the folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all; `fill` is given it, opened for bytes. Raises GanzooError where the disk refuses."""
    with replacing(path) as beside:
        with open(beside, "xb") as file:  # x: it follows no link that somebody put there
            fill(file)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_file(path, lambda file: file.write(text.encode("utf-8", "replace")))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises UsageError where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise UsageError(f"{path} cannot be read as JSON: {e}.") from e


def free_name(path: Path) -> Path:
    """The path, or where there is something, the first of stem-2, stem-3, ... that is free."""
    names = itertools.chain([path], (path.with_name(f"{path.stem}-{k}{path.suffix}") for k in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add one object to a file of JSON lines. Raises GanzooError where the disk refuses."""
    with writing(path), open(path, "a", encoding="utf-8") as file:
        file.write(json_line(line))


def json_line(values: Mapping[str, Any]) -> str:
    """An object as a line of JSON, with a checksum as its last value, by which `read_lines` knows whether it is as it was written."""
    text = json.dumps(values)
    return f'{text[:-1]}, "check": "{_check(text)}"}}\n'


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_lines(path: Path, problem: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; none where there is no file.

    A line that cannot be used, or is not as `json_line` wrote it, is left out and told to `problem`; one without a checksum is believed. A
    last line that is cut off is skipped silently: another process may be writing it.
    """
    try:
        texts = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as e:
        problem(f"{path.name} cannot be read: {e.strerror or e}.")
        return []
    lines = []
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text.decode())
            if not isinstance(line, dict):
                raise ValueError("wanted an object")
            begin, found, check = text.decode().rpartition(', "check": ')
            if "check" in line and (not found or check != f'"{_check(begin + "}")}"}}'):
                raise ValueError("wanted the checksum of the line")
            line.pop("check", None)
            lines.append(line)
        except (ValueError, RecursionError):
            begun = text.startswith(b"{") and text.isascii() and text.decode("ascii").isprintable()
            if number < len(texts) or not begun:
                problem(f"{path.name}: line {number} cannot be read; it is left out.")
    return lines


def number(value: Any) -> float | None:
    """A number of JSON, or None."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def numbers(values: Any) -> dict[str, float]:
    """The numbers among the values of a JSON object, by name."""
    return {str(k): n for k, v in values.items() if (n := number(v)) is not None} if isinstance(values, dict) else {}


def step_of(line: Mapping[str, Any]) -> int | None:
    """The step that a line of a run's file is about; None where it says none that can be."""
    step = number(line.get("step"))
    return int(step) if step is not None and math.isfinite(step) and 0 <= step == int(step) else None


def hold(path: Path, waiting: Callable[[], None] | None = None) -> BaseFileLock:
    """Hold a lock file until `release()`; it is let go as well when this process dies, however it dies.

    waiting: called once where another process holds it, which is then waited for. Without it, UsageError names the holder. Raises
    UsageError too where the folder cannot be written, or its file system has no locks that end with their process.
    """
    from filelock import FileLock, Timeout

    if path.is_symlink():
        raise UsageError(f"{path} is a link: locking it would empty what it leads to. Remove it.")
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if waiting is None:
            holder = path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
            raise UsageError(f"{path.parent} is held by {holder}. Wait for it, or stop it with Ctrl-C there.") from None
        waiting()
        lock.acquire()
    except OSError as e:
        raise UsageError(f"{path.parent} cannot be locked: {e.strerror or e}. Take a folder on a local disk that can be written.") from e
    with contextlib.suppress(OSError):  # only for the message above
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
    return lock


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
