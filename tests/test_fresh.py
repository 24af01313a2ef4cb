"""The processes that tests start: what becomes of a question that is broken off, and of a command that takes too long."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from ganzoo.testing import fresh

pytestmark = pytest.mark.skipif(not fresh.FORKS, reason="there is a server on Linux only")


def test_the_next_command_is_not_given_the_answer_of_one_that_was_broken_off(monkeypatch):
    class Interrupted(Exception):
        pass

    def loads(text):
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(fresh.json, "loads", loads)
        with pytest.raises(Interrupted):
            fresh.ganzoo(["--version"])
    assert fresh.ganzoo(["--version"]).stdout.startswith("ganzoo ")


def test_a_server_that_has_ended_is_told_once_and_replaced():
    fresh.ganzoo(["--version"])
    os.killpg(fresh._server().pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="has ended"):
        fresh.ganzoo(["--version"])
    assert fresh.ganzoo(["--version"]).returncode == 0


def test_a_command_that_takes_too_long_is_killed_and_what_it_printed_is_told(plugin_file):
    slow = plugin_file("import time, click\n@click.command()\ndef slow():\n    click.echo('begun')\n    time.sleep(60)", "slow")
    process = fresh.Process(["--plugin", str(slow), "slow"])
    with pytest.raises(subprocess.TimeoutExpired) as e:
        process.wait(timeout=2)
    assert e.value.stdout == "begun\n"
    assert process.returncode == -signal.SIGKILL


def test_a_text_as_exit_status_is_printed(plugin_file):
    path = plugin_file("import sys, click\n@click.command()\ndef says():\n    sys.exit('no such thing')", "says")
    done = fresh.ganzoo(["--plugin", str(path), "says"])
    assert (done.returncode, done.stderr) == (1, "no such thing\n")


@pytest.fixture
def plugin_file(tmp_path):
    """Writes a plugin that adds one command; returns its path."""

    def write(code, name):
        path = tmp_path / f"{name}.py"
        add = f"@hookimpl\ndef ganzoo_commands(cli): cli.add_command({name})"
        path.write_text(f"from ganzoo import hookimpl\nGANZOO_API = 1\n{code}\n{add}\n")
        return path

    return write
