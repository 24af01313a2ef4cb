"""The command line in fresh processes, without waiting seconds for torch each time: they are forks of `ganzoo.cli.serve`."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, Popen, TimeoutExpired
from typing import Any

FORKS = sys.platform == "linux"  # Apple's libraries do not survive a fork


class Process:
    """`ganzoo WORDS` in a process of its own.

    env: the environment, by default this process's; what torch reads of it when it is imported is the server's. cwd: its working directory.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.words = ["ganzoo", *words]
        self._folder = tempfile.TemporaryDirectory()
        self._out, self._err = Path(self._folder.name, "out"), Path(self._folder.name, "err")
        self._popen: Popen[bytes] | None = None
        self.returncode: int | None = None
        environment = dict(os.environ if env is None else env)
        if FORKS:
            files = {"cwd": str(cwd or Path.cwd()), "out": str(self._out), "err": str(self._err)}
            try:
                self.pid: int = _ask({"run": {"words": list(words), "env": environment, **files}})
            except BaseException:
                self._folder.cleanup()
                raise
        else:
            with open(self._out, "wb") as out, open(self._err, "wb") as err:
                self._popen = Popen([sys.executable, "-P", "-m", "ganzoo", *words], stdout=out, stderr=err, env=environment, cwd=cwd)
            self.pid = self._popen.pid

    def poll(self) -> int | None:
        """The exit status, -N after signal N; None while it runs."""
        if self.returncode is None:
            self.returncode = self._popen.poll() if self._popen else _ask({"status": self.pid})
        return self.returncode

    def wait(self, timeout: float = 300) -> CompletedProcess[str]:
        """Wait for its end: exit status, and what it printed. Raises subprocess.TimeoutExpired, when it has been killed."""
        end, pause, late = time.monotonic() + timeout, 0.002, False
        try:
            while self.poll() is None:
                if not late and time.monotonic() > end:
                    self.kill()
                    late = True
                time.sleep(pause)
                pause = min(2 * pause, 0.05)
            out, err = (file.read_text(encoding="utf-8", errors="replace") if file.exists() else "" for file in (self._out, self._err))
        finally:
            if self.returncode is not None:
                self._folder.cleanup()
        if late:
            raise TimeoutExpired(self.words, timeout, out, err)
        assert self.returncode is not None
        return CompletedProcess(self.words, self.returncode, out, err)

    def send_signal(self, number: int) -> None:
        """Send a signal to it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, by SIGKILL."""
        self.send_signal(signal.SIGKILL)


def ganzoo(
    words: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 300
) -> CompletedProcess[str]:
    """Run `ganzoo WORDS` to its end: exit status, and what it printed. As in `Process`. Raises subprocess.TimeoutExpired."""
    return Process(words, env, cwd).wait(timeout)


@functools.cache
def _server() -> Popen[str]:
    # -P: files in the working directory do not pass for installed. A session of its own: Ctrl-C is for the one who waits. Each command gets
    # an environment of its own; of the server's only the variables count that torch reads when it is imported, as `ganzoo` sets them.
    command = [sys.executable, "-P", "-c", "from ganzoo.cli.serve import serve; serve()"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"GOMP_SPINCOUNT": "10000"}
    server = Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, env=env)
    atexit.register(_end, server)
    return server


_one_at_a_time = threading.Lock()


def _ask(question: Mapping[str, Any]) -> Any:
    """The server's answer. Raises RuntimeError where the server has ended; the next question is for a new one."""
    with _one_at_a_time:
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            server.stdin.write(json.dumps(question) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())
        except BaseException as e:  # an interruption too: its answer would be taken for that of the next question
            _server.cache_clear()
            _end(server)
            if isinstance(e, OSError | ValueError):
                raise RuntimeError("the process that runs ganzoo's commands has ended") from e
            raise


def _end(server: Popen[str]) -> None:
    """End the server and whatever it has forked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    for pipe in (server.stdin, server.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
