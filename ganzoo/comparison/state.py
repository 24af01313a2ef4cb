"""A comparison as its folder holds it: the plan, what each entrant may spend, and how far each run is."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ganzoo import __version__
from ganzoo.comparison.plan import Budget, Plan, Share, slug
from ganzoo.errors import UsageError
from ganzoo.evaluation.record import Evaluation, parsed
from ganzoo.files import hold, number, read_json, read_lines, write_json
from ganzoo.training import launch
from ganzoo.training.health import COLLAPSED, REPEATED

MAY_GROW = ("entrants", "fingerprints", "seeds", "jobs")  # what a later sitting may have more of

State = Literal["waiting", "training", "evaluating", "done", "failed", "stopped"]


@dataclass
class Cell:
    """One run of one entrant. reason: why it failed."""

    label: str
    seed: int
    folder: Path
    state: State = "waiting"
    reason: str = ""
    evaluations: list[Evaluation] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """The file with the output of its commands."""
        return self.folder.with_suffix(".log")

    @property
    def results(self) -> Path:
        """Its evaluations."""
        return self.folder.with_suffix(".json")

    @property
    def last_line(self) -> dict[str, Any]:
        """The last line of its metrics."""
        lines = read_lines(self.folder / "metrics.jsonl")
        return lines[-1] if lines else {}

    @property
    def health(self) -> str:
        """ "collapsed" or "few kinds" where its last samples are, or an empty string."""
        lines = read_lines(self.folder / "health.jsonl")
        if not lines:
            return ""
        return "collapsed" if lines[-1]["spread"] < COLLAPSED else "few kinds" if lines[-1]["apartness"] < REPEATED else ""

    def finish(self) -> None:
        """Take the results of a finished run from its file."""
        self.evaluations = [e for e in map(parsed, read_json(self.results)) if e is not None]
        self.state, self.reason = "done", ""


class Comparison:
    """A comparison in a folder. shares: by label."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Raises UsageError where two entrants are the same."""
        self.folder, self.plan = folder, plan
        self.cells = [Cell(label, seed, folder / f"{slug(label)}-{seed}") for label in plan.labels for seed in plan.seeds]
        if len({cell.folder for cell in self.cells}) < len(self.cells):
            raise UsageError(f"two entrants are the same: {', '.join(plan.labels)}.")
        self.shares: dict[str, Share] = {}

    @classmethod
    def of(cls, folder: Path) -> Comparison:
        """The comparison that a folder holds, with what is finished of it. Raises UsageError where it holds none."""
        try:
            values: dict[str, Any] = read_json(folder / "compare.json")["plan"]
            values |= {"entrants": tuple(map(tuple, values["entrants"])), "budget": Budget(**values["budget"])}
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
            plan = Plan(**values)
            counts = (*plan.seeds, plan.budget.steps, plan.budget.images, plan.checkpoints, plan.jobs)
            if any(type(n) is not int or n < 0 for n in counts) or number(plan.budget.seconds) is None:
                raise ValueError("a seed, a budget or a count is none")
            if not plan.seeds or not plan.entrants:
                raise ValueError("nothing is compared")
            comparison = cls(folder, plan)
            comparison.begin(lambda new: [])
        except (LookupError, TypeError, AttributeError, ValueError) as e:
            raise UsageError(f"{folder / 'compare.json'} is no comparison's ({e!r}).") from e
        return comparison

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, which is made first, so that no other process works in it. Raises UsageError where one does.

        A folder that was made here and stays empty is removed again.
        """
        self._check_free()
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = hold(self.folder / "LOCK")
        try:
            yield
        finally:
            if [file.name for file in self.folder.iterdir()] == ["LOCK"]:
                shutil.rmtree(self.folder)
            lock.release()

    def begin(self, share: Callable[[Sequence[Sequence[str]]], list[Share]]) -> None:
        """Take the shares that an earlier sitting wrote down, and let `share` make those of entrants that are new.

        Raises UsageError where the folder holds something else, or runs of an entrant whose options were others.
        """
        path = self.folder / "compare.json"
        plan = json.loads(json.dumps(asdict(self.plan)))
        fingerprints = dict(zip(self.plan.labels, self.plan.fingerprints, strict=True))
        if path.exists():
            written = read_json(path)
            before = self._checked(written, plan, fingerprints)
            self.shares = {label: Share(**values) for label, values in written["shares"].items()}
            fingerprints = before | fingerprints
        self._check_free()
        new = [words for words, label in zip(self.plan.entrants, self.plan.labels, strict=True) if label not in self.shares]
        self.shares |= dict(zip([shlex.join(words) for words in new], share(new), strict=True))
        self.folder.mkdir(parents=True, exist_ok=True)
        plan |= {"entrants": [shlex.split(label) for label in fingerprints], "fingerprints": list(fingerprints.values())}
        write_json(path, {"plan": plan, "shares": {label: asdict(share) for label, share in self.shares.items()}, "ganzoo": __version__})
        for cell in self.cells:
            if launch.finished(cell.folder) and cell.results.exists():
                cell.finish()

    def _check_free(self) -> None:
        """Raise UsageError where the folder holds something else than a comparison."""
        if self.folder.exists() and not (self.folder / "compare.json").exists() and any(f.name != "LOCK" for f in self.folder.iterdir()):
            raise UsageError(f"--out: {self.folder} is not empty. Name a new folder.")

    def _checked(self, written: dict[str, Any], plan: dict[str, Any], fingerprints: dict[str, str]) -> dict[str, str]:
        """The fingerprints that an earlier sitting wrote down, by label. Raises UsageError where it was another comparison."""
        before = written.get("plan", {})
        if written.get("ganzoo") != __version__:
            raise UsageError(f"{self.folder} was begun by ganzoo {written.get('ganzoo')}, this is {__version__}. Name another folder.")
        if different := [key for key in plan if key not in MAY_GROW and before.get(key) != plan[key]]:
            raise UsageError(
                f"{self.folder} holds a comparison with other {', '.join(different)} ({before.get(different[0])}). "
                "Name another folder with --out, or repeat the command that it was begun with."
            )
        old = {shlex.join(words): mark for words, mark in zip(before["entrants"], before["fingerprints"], strict=True)}
        if changed := [label for label, mark in old.items() if fingerprints.get(label, mark) != mark]:
            raise UsageError(
                f"{self.folder} holds runs of {changed[0]!r} with other options than it has now. "
                "Remove them, and its lines in compare.json, or name another folder with --out."
            )
        return old

    def steps_between(self, cell: Cell) -> int:
        """Steps between the checkpoints of a cell."""
        return -(-self.shares[cell.label].steps // self.plan.checkpoints)
