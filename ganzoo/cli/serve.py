"""A process that has imported torch and the commands, and nothing of a plugin, and forks for each command that it is asked to run.

So a command begins where `ganzoo` begins once torch is there: with a catalogue, a working directory and an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch  # noqa: F401

from ganzoo.cli import main
from ganzoo.cli import train as _commands  # noqa: F401
from ganzoo.training import launch as _training  # noqa: F401


def serve() -> None:
    """Answer requests, one JSON object a line, with the exit status of each."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
            main(json.loads(line)["words"])  # which exits
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(request: Mapping[str, Any]) -> None:
    """Take over the working directory, environment and output of a request."""
    for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, request["out"], os.O_WRONLY), (2, request["err"], os.O_WRONLY)):
        file = os.open(path, flags | os.O_CREAT, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    for entry in reversed(request["env"].get("PYTHONPATH", "").split(os.pathsep)):
        if entry and entry not in sys.path:
            sys.path.insert(0, entry)
