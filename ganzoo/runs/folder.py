"""The folder of a run: configuration, metrics, samples, checkpoints, and the lock of the process that works in it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError, UsageError, tidy
from ganzoo.files import append_line, hold, json_line, number, numbers, read_lines, remove_unfinished, step_of, write_json, write_text
from ganzoo.runs import checkpoint
from ganzoo.runs.checkpoint import BadCheckpoint


class Run:
    """An open run folder, held by this process until `close`.

    config: what config.json said when it was opened; empty for a new run. writes: False for the ranks that leave that to the first one:
    of them the folder hears nothing. Raises UsageError where another process holds the folder, or where it is no run.
    """

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self.folder, self.config, self.writes = folder, dict[str, Any](), writes
        self.checkpoints, self.samples = folder / "checkpoints", folder / "samples"
        self._lock = hold(folder / "LOCK") if writes else None
        for place in (folder, self.checkpoints, self.samples) if writes else ():
            remove_unfinished(place)

    @classmethod
    def create(cls, folder: Path) -> Run:
        """A new run in a folder that does not exist or is empty. Raises UsageError where it holds anything."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()) and not _empty(folder):
                what = "is a run already: `ganzoo resume` goes on with it" if (folder / "config.json").exists() else "is not empty"
                raise UsageError(f"--out: {folder} {what}. Name a new folder.")
            for part in ("samples", "checkpoints"):
                (folder / part).mkdir(exist_ok=True)
            return cls(folder)
        except OSError as e:
            raise UsageError(f"--out: {folder} cannot be made: {e.strerror or e}. Name a folder that can be written.") from e

    @classmethod
    def open(cls, folder: Path) -> Run:
        """An earlier run, with what its config.json says."""
        read_config(folder)  # before a lock file is made where there is no run
        run = cls(folder)
        try:
            run.config = read_config(folder)  # again: it may have changed until the lock was ours
        except BaseException:
            run.close()
            raise
        return run

    def write_config(self, config: Mapping[str, Any]) -> None:
        if self.writes:
            write_json(self.folder / "config.json", config)

    def log(self, line: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl."""
        self._append("metrics.jsonl", line)

    def _append(self, name: str, line: Mapping[str, Any]) -> None:
        if self.writes:
            append_line(self.folder / name, line)

    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl, but for those that cannot be used, as one that was cut off."""
        return numbered(read_lines(self.folder / "metrics.jsonl"))

    def health(self) -> list[dict[str, float]]:
        """The lines of health.jsonl that can be used."""
        return numbered(read_lines(self.folder / "health.jsonl"))

    def forget_after(self, step: int, warn: Callable[[str], None] = lambda text: None) -> None:
        """Drop the metrics and samples of steps after this one, and put its bad checkpoints aside: the run goes on from here.

        step: -1 for a run that begins again. warn: told of lines that cannot be used, which are dropped too.
        """
        if not self.writes:
            return
        for late in checkpoint.steps_in(self.checkpoints):
            if late > step:
                path = checkpoint.path_of(self.checkpoints, late)
                path.rename(path.with_suffix(".bad"))
        for name in ("metrics.jsonl", EVALUATIONS, "warnings.jsonl", "health.jsonl", LANDSCAPE):
            if (path := self.folder / name).exists():
                lines = read_lines(path, warn)
                usable = [line for line in lines if step_of(line) is not None or (name == EVALUATIONS and line.get("step") is None)]
                if name == "metrics.jsonl":
                    usable = [line for line in usable if number(line.get("time")) is not None]
                if len(usable) < len(lines):
                    warn(f"{path}: {len(lines) - len(usable)} of its lines cannot be used; they are left out.")
                write_text(path, "".join(json_line(line) for line in usable if (step_of(line) or 0) <= step))
        for sheet in self.samples.glob("*.png"):
            if (place := sheet_of(sheet)) and place[0] > step:
                with contextlib.suppress(OSError):  # a folder of that name
                    sheet.unlink()

    def samples_were(self, step: int, **health: float) -> None:
        """One line of health.jsonl: how varied the samples of this step are."""
        self._append("health.jsonl", {"step": step, **health})

    def landscape_was(self, step: int, **values: Any) -> None:
        """One line of landscape.jsonl: what D thinks of every place at this step."""
        self._append(LANDSCAPE, {"step": step, **values})

    def warn(self, step: int, text: str) -> None:
        """One line of warnings.jsonl."""
        self._append("warnings.jsonl", {"step": step, "text": text})

    def save(
        self, step: int, tensors: Mapping[str, Any], meta: Mapping[str, Any], keep: int = 3, best: Callable[[], Iterable[int]] = tuple
    ) -> Path:  # fmt: skip
        """A checkpoint; all but the last `keep` (0: none of them) are deleted when the new one has been read back and is good.

        best: gives the steps of those that are not deleted where the disk is full: room is made of others that are due to go.
        """
        path = checkpoint.path_of(self.checkpoints, step)
        try:
            checkpoint.write(path, tensors, {"step": step, **meta})
        except GanzooError:
            if not checkpoint.make_room(self.checkpoints, keep, set(best())):
                raise
            checkpoint.write(path, tensors, {"step": step, **meta})
        checkpoint.prune(self.checkpoints, keep, step)
        return path

    def load(self, check: Callable[[dict[str, Any]], None], warn: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Tensors and metadata of the newest good checkpoint; None where there is no checkpoint at all.

        check: looks at a header and raises BadCheckpoint. warn: called with each bad checkpoint.

        Raises GanzooError where there are some and none is good.
        """
        steps = checkpoint.steps_in(self.checkpoints)
        for step in reversed(steps):
            path = checkpoint.path_of(self.checkpoints, step)
            try:
                tensors, meta = checkpoint.read(path, check)
                if meta["step"] != step:
                    raise BadCheckpoint(f"{path.name}: it is the checkpoint of step {meta['step']}, under another name")
                return tensors, meta
            except BadCheckpoint as e:
                warn(f"BAD CHECKPOINT, the one before it is taken: {e}")
        if steps:
            raise GanzooError(f"{self.folder}: none of its {len(steps)} checkpoints can be used.")
        return None

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _empty(folder: Path) -> bool:
    """Whether it holds no more than a run that was killed before it had written anything."""
    return not [p for p in folder.rglob("*") if p.relative_to(folder).as_posix() not in ("LOCK", "samples", "checkpoints")]


def sheet_path(samples: Path, step: int, name: str = "") -> Path:
    """The sample sheet of a step; name: of the product, "" for the main one."""
    return samples / (f"{step:06d}-{name}.png" if name else f"{step:06d}.png")


def sheet_of(path: Path) -> tuple[int, str] | None:
    """Step and name of a sample sheet as `sheet_path` makes it; None for any other file."""
    step, _, name = path.stem.partition("-")
    return (int(step), name) if step.isascii() and step.isdecimal() and len(step) < 16 else None


def numbered(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The lines of a run's file that say their step, with what is a number in them."""
    return [{**numbers(line), "step": step} for line in lines if (step := step_of(line)) is not None]


EVALUATIONS, LANDSCAPE = "evaluations.jsonl", "landscape.jsonl"


def add_evaluation(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """One line of evaluations.jsonl. The run may be training meanwhile: the line is written at once."""
    append_line(folder / EVALUATIONS, evaluation)


def new_folder(root: Path, stem: str) -> Path:
    """The first of root/stem-001, -002, ... that is free; it is made, so that no other process takes it."""
    while True:
        taken = [int(m[1]) for p in root.glob(f"{stem}-*") if (m := re.fullmatch(re.escape(stem) + r"-(\d+)", p.name))]
        folder = root / f"{stem}-{max(taken, default=0) + 1:03d}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as e:
            raise UsageError(f"{folder} cannot be made: {e.strerror or e}. Name a folder that can be written with --out.") from e


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a run. Raises UsageError where the folder is no run."""
    try:
        config = tidy(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        if not isinstance(config, dict) or not {"recipe", "parts", "options", "run", "data"} <= config.keys():
            raise ValueError("a section is missing")
        if not isinstance(config["data"], dict) or not isinstance(config["data"].get("checksum"), str):
            raise ValueError("the data's checksum is missing")
        for section in ("plugins", "machine"):
            if not isinstance(config.get(section, {}), dict):
                raise ValueError(f"{section} is not an object")
    except FileNotFoundError:
        raise UsageError(f"{folder} is no run: it has no config.json. Runs lie under runs/ where they were started.") from None
    except (OSError, ValueError, RecursionError) as e:
        raise UsageError(f"{folder / 'config.json'} cannot be read: {e}.") from e
    return dict(config)
