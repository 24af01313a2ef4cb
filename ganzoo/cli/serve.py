"""A process that has imported torch and the commands, and nothing of a plugin, and forks for each command that it is asked to run.

It is started by `ganzoo.testing.fresh`. A command begins where `ganzoo` begins once torch is there: with a catalogue, a working directory
and an environment of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import torch._dynamo  # noqa: F401  what the first optimiser of a process imports, for seconds

from ganzoo.cli import main
from ganzoo.cli import train as _commands  # noqa: F401
from ganzoo.evaluation import evaluator as _evaluation  # noqa: F401
from ganzoo.training import launch as _training  # noqa: F401


def serve() -> None:
    """Answer questions on standard input, one JSON object a line: {"run": request} with a process's number, {"status": number} with its
    exit status, or null while it runs."""
    for line in sys.stdin:
        question = json.loads(line)
        if "run" in question:
            child = os.fork()
            if not child:
                _answer(question["run"])
            answer: int | None = child
        else:
            ended, status = os.waitpid(question["status"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        print(json.dumps(answer), flush=True)


def _answer(request: Mapping[str, Any]) -> None:
    """Run the command of a request, and end."""
    status = 1
    try:
        become(request)
        main(request["words"])
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
        os._exit(status)  # taking torch's modules apart would take as long as many a command


def become(request: Mapping[str, Any]) -> None:
    """Take over the working directory, environment and output of a request."""
    for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, request["out"], os.O_WRONLY), (2, request["err"], os.O_WRONLY)):
        file = os.open(path, flags | os.O_CREAT, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[:0] = [entry for entry in request["env"].get("PYTHONPATH", "").split(os.pathsep) if entry]
