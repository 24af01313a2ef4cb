"""Files: whole or not at all, held by one process at a time, and lines that can be read past."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ganzoo.errors import GanzooError, UsageError
from ganzoo.files import append_line, hold, read_lines, remove_unfinished, replacing, write_file, write_text

HOLDER = """
import os, sys, time
from pathlib import Path
from ganzoo.files import hold
lock = hold(Path(sys.argv[1]))
child = os.fork()
if child: print(child, flush=True)
time.sleep(60)
"""


def test_a_lock_goes_with_its_holder_though_a_child_of_it_lives(tmp_path):
    path = tmp_path / "LOCK"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        with pytest.raises(UsageError, match=f"is held by process {holder.pid} on"):
            hold(path)
        holder.kill()
        holder.wait()
        hold(path, lambda: None).release()  # the child may not have been given a turn yet
        os.kill(child, signal.SIGKILL)


def test_where_no_lock_ends_with_its_holder_there_is_none(tmp_path, monkeypatch):
    import fcntl

    def flock(descriptor, how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match="cannot be locked"):
        hold(tmp_path / "LOCK")


def test_a_lock_is_waited_for_where_that_is_wanted(tmp_path):
    waited = []
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "LOCK")], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())

        def waiting():
            waited.append(time.monotonic())
            holder.kill()

        hold(tmp_path / "LOCK", waiting).release()
        os.kill(child, signal.SIGKILL)
    assert len(waited) == 1


def test_a_link_called_as_a_lock_or_an_unfinished_file_is_not_followed(tmp_path):
    (tmp_path / "thesis").write_text("mine")
    (tmp_path / "LOCK").symlink_to(tmp_path / "thesis")
    with pytest.raises(UsageError):
        hold(tmp_path / "LOCK")
    (tmp_path / f".tmp-{os.getpid()}-new").symlink_to(tmp_path / "thesis")
    write_text(tmp_path / "new", "text")
    assert [(tmp_path / name).read_text() for name in ("thesis", "new")] == ["mine", "text"]


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a", "old")

    def fails(file):
        file.write(b"half")
        raise OSError(28, os.strerror(28))

    with pytest.raises(GanzooError, match="No space left on device"):
        write_file(tmp_path / "a", fails)
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a"):
        raise ZeroDivisionError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_what_killed_processes_left_is_removed_by_name(tmp_path):
    for name in (".tmp-1-a", ".tmp-2-a.raw", ".tmp-1-b", "a"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".tmp-1-b", "a"]
    remove_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_lines_that_cannot_be_used_are_told_but_for_one_that_is_being_written(tmp_path):
    path, problems = tmp_path / "lines.jsonl", []
    assert read_lines(path) == []
    append_line(path, {"step": 1})
    with open(path, "a", encoding="utf-8") as file:
        file.write('[2]\n{"step": \n\n' + json.dumps({"step": 3}) + '\n{"st')
    assert read_lines(path, problems.append) == [{"step": 1}, {"step": 3}]
    assert problems == [f"lines.jsonl: line {n} cannot be read; it is left out." for n in (2, 3)]


def test_a_line_that_was_changed_is_left_out_and_one_without_a_checksum_is_believed(tmp_path):
    path, told = tmp_path / "lines.jsonl", []
    for step in range(4):
        append_line(path, {"step": step, "loss": 0.25, "text": 'a, "check": "b"'})
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("0.25", "0.26")
    lines[2] = json.dumps({"step": 2, "loss": 7})
    path.write_text("\n".join(lines) + '\n{"step": 4, "lo')
    assert [(line["step"], line["loss"]) for line in read_lines(path, told.append)] == [(0, 0.25), (2, 7), (3, 0.25)]
    assert told == ["lines.jsonl: line 2 cannot be read; it is left out."]
    path.write_bytes(path.read_bytes() + b"\xff\x00")  # no unfinished line is like this
    read_lines(path, told.append)
    assert told[2] == "lines.jsonl: line 5 cannot be read; it is left out."
