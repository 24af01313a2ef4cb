"""Runs a real ganzoo command line in this process, with a storage that fails where it is told to.

    python -P tests/faulty/injector.py SPEC... [--record FILE] -- WORDS     ganzoo WORDS, with these faults
    python -P tests/faulty/injector.py --record - -- run gan --steps 2      what it asks of the storage, in order, on standard error
    python -P tests/faulty/injector.py --serve [--warm]                     many commands, each in a fork; see `serve`

A SPEC is CALL[:NAME]@NUMBER=ACTION, as "write:000002.safetensors@1=torn" or "any@17=kill".

CALL is open (for writing), write, fsync, rename, unlink, mkdir, or any. NAME is a part of the file's path; how often the call was
made is counted for each spec among the calls that fit it, from 1. NUMBER is "3", "3+" (the third and all after it) or "3-5". In a path,
the number of
the process in the name of an unfinished file reads PID, so that two runs name the same files.

ACTION is one of:
    kill          SIGKILL before the call
    kill-after    SIGKILL after it
    torn          half of a write, then SIGKILL
    short         half of a write, and its true count as the answer, as a disk does that is just full
    fail:ENOSPC   the call fails; any name that errno knows
    hang          the call never ends; whoever started this kills it
    break         one bit of a write is flipped: a damage that no call reports
Writes are those that reach the system: what Python holds in a buffer has not been written yet. The library that writes prepared data in one
go counts as one write, which cannot be torn.
"""

from __future__ import annotations

import atexit
import builtins
import errno
import io
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

CALLS = ("any", "open", "write", "fsync", "rename", "unlink", "mkdir")
ACTIONS = ("kill", "kill-after", "torn", "short", "hang", "break")
SPEC = re.compile(
    r"(?P<call>[a-z]+)(:(?P<name>[^@]+))?@(?P<first>\d+)(?P<more>\+|-(?P<last>\d+))?=(?P<action>[a-z-]+)(:(?P<error>[A-Z]+))?"
)
DATA_ONLY = ("torn", "short", "break")  # actions on what is written

real_open, real_os = io.open, {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir")}


@dataclass
class Spec:
    """One fault. seen: how many calls have fitted it so far."""

    call: str
    name: str
    first: int
    last: float
    action: str
    error: str = ""
    seen: int = field(default=0)

    @classmethod
    def of(cls, text: str) -> Spec:
        """Raises ValueError where the text is none."""
        found = SPEC.fullmatch(text)
        if not found or found["call"] not in CALLS or (found["action"] not in ACTIONS and found["action"] != "fail"):
            raise ValueError(f"wanted CALL[:NAME]@NUMBER=ACTION, got {text!r}")
        if found["action"] == "fail" and not hasattr(errno, found["error"] or ""):
            raise ValueError(f"wanted fail:ENOSPC or another name of errno, got {text!r}")
        first = int(found["first"])
        last = float("inf") if found["more"] == "+" else int(found["last"] or first)
        return cls(found["call"], found["name"] or "", first, last, found["action"], found["error"] or "")

    def strikes(self, call: str, path: str) -> bool:
        """Counts the call if it fits, and says whether it is to fail."""
        if self.call not in ("any", call) or self.name not in path:
            return False
        self.seen += 1
        return self.first <= self.seen <= self.last


class Storage:
    """The calls that reach the disk, in the place of Python's own while the context lasts.

    record: a file descriptor that each call is written to, as "write /path", before it is made; None: none.
    """

    def __init__(self, specs: Sequence[str], record: int | None = None) -> None:
        self.specs, self.record = [Spec.of(text) for text in specs], record

    def call(self, what: str, path: str, do: Callable[[], Any], partly: Callable[[str], Any] | None = None) -> Any:
        """Make a call, with the fault that is due. partly: does a write by halves or broken, and returns what the call answers."""
        if not path.startswith("/") or path.startswith(("/dev/", "/proc/", "/sys/")) or "__pycache__" in path:
            return do()
        path = re.sub(r"\.tmp-\d+-", ".tmp-PID-", path)
        if self.record is not None:
            real_os["write"](self.record, f"{what} {path}\n".encode(errors="surrogateescape"))
        due = [spec for spec in self.specs if spec.strikes(what, path)]
        if not due:
            return do()
        action = due[0].action
        if action == "hang":
            while True:
                time.sleep(3600)
        if action == "fail":
            number = getattr(errno, due[0].error)
            raise OSError(number, os.strerror(number), path)
        if action == "kill" or (action in DATA_ONLY and partly is None):
            _die()
        answer = partly(action) if partly is not None and action in DATA_ONLY else do()
        if action in ("kill-after", "torn"):
            _die()
        return answer

    # --- The calls ---

    def open(self, file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
             closefd: bool = True, opener: Any = None) -> Any:  # fmt: skip
        """As `open`; a file to be written stands on a raw file whose writes are counted."""
        if isinstance(file, int) or not set(mode) & set("wax+"):
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        path, storage = _absolute(file), self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:  # type: ignore[override]
                return storage.written(path, data, super().write)

        text = "b" not in mode
        raw = self.call("open", path, lambda: Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener))
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        binary = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        if not text:
            return binary
        wrapped = io.TextIOWrapper(binary, io.text_encoding(encoding), errors, newline, line_buffering=buffering == 1)
        wrapped.mode = mode
        return wrapped

    def written(self, path: str, data: Any, write: Callable[[Any], int]) -> int:
        """One write of bytes."""
        data = bytes(data)

        def partly(action: str) -> int:
            if action == "break":
                middle = len(data) // 2
                return write(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
            return write(data[: len(data) // 2])

        return int(self.call("write", path, lambda: write(data), partly))

    def __enter__(self) -> Storage:
        def os_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return int(real_os["open"](path, flags, *args, **kwargs))
            return int(self.call("open", _absolute(path), lambda: real_os["open"](path, flags, *args, **kwargs)))

        def os_write(descriptor: int, data: Any) -> int:
            return self.written(_path_of(descriptor), data, lambda part: int(real_os["write"](descriptor, part)))

        def os_fsync(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            self.call("fsync", _path_of(number), lambda: real_os["fsync"](number))

        def moves(name: str) -> Callable[..., None]:
            def move(old: Any, new: Any, **kwargs: Any) -> None:
                self.call("rename", f"{_absolute(old)} -> {_absolute(new)}", lambda: real_os[name](old, new, **kwargs))

            return move

        def os_unlink(path: Any, **kwargs: Any) -> None:
            self.call("unlink", _absolute(path), lambda: real_os["unlink"](path, **kwargs))

        def os_mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
            self.call("mkdir", _absolute(path), lambda: real_os["mkdir"](path, *args, **kwargs))

        import safetensors.torch

        self._save_file = save_file = safetensors.torch.save_file

        def tensors_saved(tensors: Any, filename: Any, metadata: Any = None) -> None:
            self.call("write", _absolute(filename), lambda: save_file(tensors, filename, metadata))

        builtins.open = io.open = self.open  # type: ignore[assignment]
        os.open, os.write, os.fsync, os.mkdir = os_open, os_write, os_fsync, os_mkdir  # type: ignore[assignment]
        os.replace, os.rename = moves("replace"), moves("rename")
        os.unlink = os.remove = os_unlink  # type: ignore[assignment]
        safetensors.torch.save_file = tensors_saved  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        import safetensors.torch

        builtins.open = io.open = real_open
        for name, function in real_os.items():
            setattr(os, name, function)
        os.remove = real_os["unlink"]
        safetensors.torch.save_file = self._save_file


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path)) if not isinstance(path, int) else _path_of(path)


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def ganzoo(words: Sequence[str], specs: Sequence[str] = (), record: int | None = None) -> int:
    """A command in this process, with faults; its exit status."""
    from ganzoo.cli import main

    try:
        with Storage(specs, record):
            main(list(words))
    except SystemExit as e:
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
        return e.code if isinstance(e.code, int) else 0 if e.code is None else 1


# --- Many commands ---


def serve(warm: bool = False) -> None:
    """Answer requests on standard input, one JSON object a line, each by a fork that has imported torch: one at a time.

    A request has words, specs, env, cwd, out and err (files), record (a file or ""), memory (that it may add, or 0) and limit,
    in seconds. The answer has status, -N after signal N, and late: that it was killed because the limit had passed.

    warm: the catalogue is loaded, and what commands import late, before the first fork: a command takes tenths of a second then, but
    `--plugin` comes too late.
    """
    import torch._dynamo  # noqa: F401  what the first optimiser of a process imports, for seconds

    from ganzoo.cli import train as _commands  # noqa: F401
    from ganzoo.evaluation import evaluator as _evaluation  # noqa: F401
    from ganzoo.training import launch as _training  # noqa: F401

    if warm:
        _warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            _answer(request)
        end, late = time.monotonic() + request["limit"], False
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if not late and time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                late = True
            time.sleep(0.003)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "late": late}), flush=True)


def _warm_up() -> None:
    from importlib import import_module

    from ganzoo.registry.catalogue import catalogue

    for plugin in catalogue().plugins:
        if plugin.distribution == "pyganzoo" and plugin.module not in ("ganzoo_tensorboard", "ganzoo_inception"):
            import_module(plugin.module)
    late = ("ganzoo_gan.model", "ganzoo_metrics.model", "ganzoo_features.model", "ganzoo_datasets.sets", "rich.progress", "rich.live")
    late += ("ganzoo.cli.report", "ganzoo.cli.sample", "ganzoo.cli.evaluate", "ganzoo.cli.compare", "ganzoo.cli.display", "ganzoo.report")
    late += ("ganzoo.report.page", "plotly.graph_objects", "plotly.io", "PIL.PngImagePlugin", "jinja2", "ganzoo.comparison.table")
    for name in late:
        import_module(name)


def _answer(request: dict[str, Any]) -> None:
    """Do what a request asks, and end."""
    from ganzoo.cli.serve import become

    status = 1
    try:
        become(request)
        if request["memory"]:
            pages = int(real_open("/proc/self/statm").read().split()[0])
            limit = pages * os.sysconf("SC_PAGESIZE") + request["memory"]
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        record = os.open(request["record"], os.O_WRONLY | os.O_CREAT | os.O_APPEND) if request["record"] else None
        status = ganzoo(request["words"], request["specs"], record)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
        os._exit(status)  # taking torch's modules apart would take as long as many a command


def run() -> int:
    words = sys.argv[1:]
    if words[:1] == ["--serve"]:
        serve(warm="--warm" in words)
        return 0
    if "--" not in words:
        print((__doc__ or "").partition("\n\n")[2], file=sys.stderr)
        return 2
    own, rest = words[: words.index("--")], words[words.index("--") + 1 :]
    record = None
    if "--record" in own:
        at = own.index("--record")
        record = os.dup(2) if own[at + 1] == "-" else os.open(own[at + 1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        del own[at : at + 2]
    return ganzoo(rest, own, record)


if __name__ == "__main__":
    sys.exit(run())
