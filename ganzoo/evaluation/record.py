"""Evaluations as a run keeps them: figures with their protocol; the last one and the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ganzoo.files import number, numbers, step_of


@dataclass(frozen=True)
class Evaluation:
    """The figures of one metric for some samples.

    better: "lower" or "higher" by figure. line: the protocol for people to read. hash: of the protocol; only figures of one hash compare.
    step, of: the generator's step and file, where they are known.
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


def parsed(line: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation in a line of evaluations.jsonl, whoever wrote it; None where it has no figures."""
    figures = numbers(line.get("figures"))
    if not figures:
        return None
    better, notes, protocol = line.get("better"), line.get("notes"), line.get("protocol")
    return Evaluation(
        figures=figures,
        better={str(k): str(v) for k, v in better.items() if k in figures} if isinstance(better, dict) else {},
        notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
        protocol=protocol if isinstance(protocol, dict) else {},
        line=str(line.get("line") or ""),
        hash=str(line.get("hash") or ""),
        date=str(line.get("date") or ""),
        seconds=number(line.get("seconds")) or 0.0,
        step=step_of(line),
        of=str(line.get("of") or ""),
    )


def best(evaluations: Iterable[Evaluation]) -> dict[tuple[str, str], tuple[Evaluation, Evaluation, bool]]:
    """By figure and protocol hash: the evaluation of the last step, the best one, and whether there are several steps.

    Figures that cannot be better or worse are left out.
    """
    by_key: dict[tuple[str, str], tuple[Evaluation, Evaluation, bool]] = {}
    for e in evaluations:
        for name, direction in e.better.items():
            key, sign = (name, e.hash), 1 if direction == "lower" else -1
            last, top, several = by_key.get(key, (e, e, False))
            several = several or e.step != last.step
            last = e if (e.step or 0) >= (last.step or 0) else last
            top = e if sign * e.figures[name] < sign * top.figures[name] else top
            by_key[key] = (last, top, several)
    return by_key
