"""The command line in a fresh process, without waiting seconds for torch each time: calls are forks of `ganzoo.cli.serve`."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, Popen, TimeoutExpired

FORKS = sys.platform == "linux"  # Apple's libraries do not survive a fork


def ganzoo(
    words: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 300
) -> CompletedProcess[str]:
    """Run `ganzoo WORDS` in a process of its own; its exit status and what it printed. Raises subprocess.TimeoutExpired.

    env: the environment, by default this process's. What torch reads of it when it is imported is the server's.
    """
    env = os.environ if env is None else env
    if not FORKS:
        command = [sys.executable, "-m", "ganzoo", *words]
        return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        request = {"words": list(words), "env": dict(env), "cwd": str(cwd or Path.cwd()), "out": str(out), "err": str(err)}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], timeout)[0]:
            _end(server)
            raise TimeoutExpired(list(words), timeout)
        status = server.stdout.readline()
        if not status:
            _end(server)
            raise RuntimeError("the process that runs ganzoo's commands has ended")
        return CompletedProcess(["ganzoo", *words], int(status), *(f.read_text(encoding="utf-8", errors="replace") for f in (out, err)))


@functools.cache
def _server() -> Popen[str]:
    # -P: what lies in the working directory does not pass for installed. A session of its own: Ctrl-C is for the one who waits.
    command = [sys.executable, "-P", "-c", "from ganzoo.cli.serve import serve; serve()"]
    server = Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    atexit.register(_end, server)
    return server


def _end(server: Popen[str]) -> None:
    """End the server and whatever it has forked."""
    _server.cache_clear()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    for pipe in (server.stdin, server.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
