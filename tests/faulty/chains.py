"""Runs that are killed again and again, and whether what they leave is, file by file, what a run leaves that nobody has disturbed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import flags, small

from faulty import injector

#: Fields that tell of the clock and not of the run.
OF_THE_CLOCK = frozenset({"time", "images_per_second", "date", "seconds", "check"})
STEPS = 10
OFTEN = [f"--steps={STEPS}", "--save-every=2", "--sample-every=2", "--log-every=1", "--keep=2"]


@dataclass(frozen=True)
class Done:
    """What became of a command. events: its calls to the storage, if they were asked for. late: it did not end by itself."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str
    events: tuple[str, ...] = ()
    late: bool = False


class Server:
    """Runs command lines with faults in fresh processes, which are forks of one that has imported torch.

    folder: for its files. env: more of the environment. warm, memory: as in `injector.serve`. Use it as a context.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None, warm: bool = False, memory: int = 0) -> None:
        self.folder, self.count, self.warm, self.memory = folder, 0, warm, memory
        self.env = {k: v for k, v in os.environ.items() if k not in ("GANZOO_STRICT", "GANZOO_DISABLE_PLUGINS")}
        self.env |= {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000", "GANZOO_CACHE": str(folder / "cache")}
        self.env |= {"SOURCE_DATE_EPOCH": "0", **(env or {})}  # runs say when they began, and their files are compared

    def __enter__(self) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", injector.__file__, "--serve", *(["--warm"] if self.warm else [])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.env)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def __call__(
        self, *words: object, faults: Sequence[str] = (), record: bool = False, env: Mapping[str, str] | None = None,
        limit: float = 120, cwd: Path | None = None,
    ) -> Done:  # fmt: skip
        """Run `ganzoo WORDS` to its end, which is SIGKILL after `limit` seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.count += 1
        out, err, events = (self.folder / f"{name}-{self.count}" for name in ("out", "err", "events"))
        request = {"words": [str(word) for word in words], "specs": list(faults), "env": self.env | dict(env or {}), "limit": limit}
        request |= {"out": str(out), "err": str(err), "record": str(events) if record else "", "cwd": str(cwd or self.folder)}
        request |= {"memory": self.memory}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        texts = [path.read_text(encoding="utf-8", errors="replace") if path.exists() else "" for path in (out, err, events)]
        for path in (out, err, events):
            path.unlink(missing_ok=True)
        return Done(tuple(request["words"]), answer["status"], texts[0], texts[1], tuple(texts[2].splitlines()), answer["late"])


@dataclass(frozen=True)
class Case:
    """A run to be disturbed. words: after `ganzoo run`."""

    recipe: str
    words: tuple[str, ...]
    folder: Path  # of the straight run
    events: tuple[str, ...] = ()  # of the straight run, those in its folder


def words_of(recipe: str, dataset: Path | str, *more: str) -> tuple[str, ...]:
    """The words of a small run. more: further options."""
    return (*flags(small(recipe, dataset)), *OFTEN, *more)


def straight(server: Server, folder: Path, words: Sequence[str]) -> Case:
    """The run that nobody disturbs."""
    done = server("run", *words, f"--out={folder}", record=True)
    assert done.status == 0, done.err
    events = tuple(event for event in done.events if f"{folder}" in event)
    return Case(words[0], tuple(words), folder, events)


def told(path: Path) -> Any:
    """What a file of a run says, without the clock."""
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text(encoding="utf-8")))
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _timeless(inner)) for key, inner in value.items() if key not in OF_THE_CLOCK]  # the order counts too
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def files_of(folder: Path) -> dict[str, Path]:
    """All files below a folder by their names in it, but for locks."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if path.name != "LOCK" and path.suffix != ".lock"}


def differences(straight: Path, other: Path) -> list[str]:
    """What of a run folder is not as in the straight run's, one text a file; empty where all is the same."""
    one, two = files_of(straight), files_of(other)
    texts = [f"{name} is missing" for name in one.keys() - two.keys()] + [f"{name} is left over" for name in two.keys() - one.keys()]
    for name in one.keys() & two.keys():
        try:
            if told(one[name]) != told(two[name]):
                texts.append(f"{name} differs")
        except ValueError as e:
            texts.append(f"{name} cannot be read: {e}")
    return sorted(texts)


@dataclass
class Outcome:
    """How a chain ended. kills: the faults, a sitting each. fault: what is wrong; "": nothing."""

    kills: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    fault: str = ""
    restarts: int = 0


def chain(server: Server, case: Case, folder: Path, kills: Sequence[str]) -> Outcome:
    """Start the run, and kill each sitting by its fault; then let it end, and compare.

    A run that was killed before its config.json was there is no run: that must be said, and it is started again.
    """
    outcome = Outcome(list(kills))
    for fault in (*kills, ""):
        begun = (folder / "config.json").exists()
        if folder.exists() and not begun:
            refused = server("resume", folder)
            if refused.status != 2 or "is no run" not in refused.err:
                outcome.fault = f"a folder without config.json: status {refused.status}, {refused.err[-300:]}"
                return outcome
            shutil.rmtree(folder)
            outcome.restarts += 1
        words = ["resume", folder] if begun else ["run", *case.words, f"--out={folder}"]
        done = server(*words, faults=[fault] if fault else [], limit=60)
        if done.status in (0, -9):
            if done.status == 0 and fault:
                break  # it ended before the fault was due
            continue
        if done.status == 2 and f"is at step {STEPS} already" in done.err:
            break  # it was killed after its last checkpoint; no more can be asked of a user
        outcome.fault = f"status {done.status} of {words[0]} with {fault or 'no fault'}: {done.err[-300:]}"
        return outcome
    outcome.differences = differences(case.folder, folder)
    return outcome


def kills_of(case: Case, rng: random.Random, folder: Path, sittings: int) -> list[str]:
    """Faults at random, one a sitting: the straight run has as many places for them as it has calls."""
    faults = []
    for sitting in range(sittings):
        # The first sitting may be killed anywhere; a later one has less to do.
        number = rng.randint(1, len(case.events) if sitting == 0 else max(2, len(case.events) // 3))
        action = rng.choice(["kill", "kill", "kill-after", "torn"])
        faults.append(f"any:{folder.name}/@{number}={action}")
    return faults
