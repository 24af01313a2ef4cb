"""Evaluations, as a run keeps them: what was measured, by which protocol, and which is the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Evaluation:
    """What one metric says of some samples.

    better: "lower" or "higher" by figure. line, hash: the protocol for people to read, and to compare: figures of different hashes are
    figures of different things. step, of: of the generator, where they are known.
    """

    figures: Mapping[str, float]
    better: Mapping[str, str]
    notes: tuple[str, ...]
    protocol: Mapping[str, Any]
    line: str
    hash: str
    date: str
    seconds: float
    step: int | None = None
    of: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        return cls(**{**data, "notes": tuple(data["notes"])})


def best(evaluations: Iterable[Evaluation]) -> dict[tuple[str, str], tuple[Evaluation, Evaluation, bool]]:
    """By figure and protocol hash: the evaluation of the last step, the best one, and whether there are several steps.

    Figures of which neither more nor less is better are left out.
    """
    found: dict[tuple[str, str], tuple[Evaluation, Evaluation, bool]] = {}
    for e in evaluations:
        for name, way in e.better.items():
            key, sign = (name, e.hash), 1 if way == "lower" else -1
            last, top, several = found.get(key, (e, e, False))
            several = several or e.step != last.step
            last = e if (e.step or 0) >= (last.step or 0) else last
            top = e if sign * e.figures[name] < sign * top.figures[name] else top
            found[key] = (last, top, several)
    return found
