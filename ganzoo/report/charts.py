"""Curves and sample sheets for the page, with few enough points and small enough pictures."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ganzoo import pictures
from ganzoo.report.facts import Landscape, RunFacts, Score

T = TypeVar("T")
Point = tuple[float, float]

POINTS, ALL_POINTS = 1500, 6000  # of a curve, of a chart
SHEETS = 40  # of a run; and moments of its game
BYTES = 6_500_000  # of all sheets of a page, before base64 makes them a third longer


@dataclass(frozen=True)
class Chart:
    """Curves over the step. fit: the axis leaves out extreme values. looks: the number of each curve's colour; empty: their order."""

    title: str
    curves: Mapping[str, Sequence[Point]]
    fit: bool = True
    note: str = ""
    looks: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The data that page.js makes a plotly chart of."""
        traces: list[dict[str, Any]] = []
        most = max(200, min(POINTS, ALL_POINTS // max(len(self.curves), 1)))
        for i, (name, points) in enumerate(self.curves.items()):
            shown = thin([(step, value) for step, value in points if math.isfinite(value)], most)
            x, y = [_short(step) for step, _ in shown], [_short(value) for _, value in shown]
            traces.append({"name": plain(name), "look": self.looks.get(name, i), "x": x, "y": y})
        return {"traces": traces, "range": self._range() if self.fit else None}

    @property
    def cut(self) -> str:
        """How far the curves reach beyond the chart: "up to 4.94"."""
        shown = self._range() if self.fit else None
        return pictures.beyond(self._values(), *shown) if shown else ""

    def _values(self) -> list[float]:
        return sorted(v for points in self.curves.values() for _, v in points if math.isfinite(v))

    def _range(self) -> list[float] | None:
        """The middle of all values, as in losses.png."""
        values = self._values()
        if len(values) < 100:
            return None
        low, high = pictures.middle(values)
        room = 0.05 * (high - low)
        return [_short(low - room), _short(high + room)] if room > 0 else None


@dataclass(frozen=True)
class Game:
    """A run whose data can be looked at whole, step by step: points of a plane, or single words.

    words: their names, where there are any. landscapes: some, of one kind, the last one among them.
    """

    landscapes: Sequence[Landscape]
    words: Sequence[str] = ()

    @classmethod
    def of(cls, run: RunFacts) -> Game | None:
        """None where the run has kept no such thing."""
        if not run.landscapes:
            return None
        last = run.landscapes[-1]
        alike = [g for g in run.landscapes if (len(g.logits), len(g.real[0])) == (len(last.logits), len(last.real[0]))]
        names: Any = []
        with contextlib.suppress(LookupError, TypeError):
            names = run.config["data"]["fields"]["x"]["names"]
        named = isinstance(names, list) and len(names) == len(last.logits)
        words = [str(name) for name in names] if named else [f"word {i}" for i in range(len(last.logits))]
        return cls(evenly(alike, SHEETS), words if len(last.real[0]) == 1 else ())

    @property
    def last(self) -> Landscape:
        return self.landscapes[-1]

    def verdicts(self, landscape: Landscape) -> list[float]:
        """How probable it is to D that what lies at each place is real; of a loss whose logits say no such thing, the logits themselves."""
        return [_short(_sigmoid(v) if landscape.anchored else v) for v in landscape.logits]

    def shares(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """Of each word, in rows of one."""
        counts = Counter(int(row[0]) for row in rows)
        return [_short(counts[i] / len(rows)) for i in range(len(self.words))]

    @property
    def pushes(self) -> list[float]:
        """The mean length of the push at each step."""
        return [sum(math.hypot(*v) for v in g.push) / len(g.push) if g.push else math.nan for g in self.landscapes]

    def to_json(self) -> dict[str, Any]:
        """The data that page.js plays."""
        frames: list[dict[str, Any]] = [{"step": g.step, "z": self.verdicts(g)} for g in self.landscapes]
        common = {"anchored": self.last.anchored, "frames": frames}
        if self.words:
            for frame, g in zip(frames, self.landscapes, strict=True):
                frame["made"] = self.shares(g.samples)
            return common | {"words": [plain(word) for word in self.words], "real": self.shares(self.last.real)}
        for frame, g in zip(frames, self.landscapes, strict=True):
            frame |= {"x": [[_short(v) for v in row] for row in g.samples], "push": [[_short(v) for v in row] for row in g.push]}
        lengths = sorted(math.hypot(*v) for g in self.landscapes for v in g.push)
        # One scale for all steps, by which all but the longest arrows stay within a fifth of the picture.
        longest = lengths[len(lengths) * 19 // 20] if lengths else 0.0
        reach = 1.25 * max(abs(v) for row in self.last.real for v in row) + 1e-6
        scale = 0.4 * reach / longest if longest > 0 else 0.0
        return common | {"reach": reach, "scale": scale, "real": [[_short(v) for v in row] for row in self.last.real]}


def _sigmoid(value: float) -> float:
    return 0.5 * (1 + math.tanh(value / 2))


def thin(points: Sequence[Point], most: int = POINTS) -> Sequence[Point]:
    """At most `most` of the points: the lowest and the highest of each stretch, so that no peak is lost."""
    if len(points) <= most:
        return points
    kept: list[Point] = []
    stretches = most // 2
    for i in range(stretches):
        part = range(i * len(points) // stretches, (i + 1) * len(points) // stretches)
        ends = {min(part, key=lambda n: points[n][1]), max(part, key=lambda n: points[n][1])}
        kept += [points[n] for n in sorted(ends)]
    return kept


def _short(value: float) -> float:
    """Six digits: a curve is not read closer."""
    rounded = float(f"{value:.6g}")
    return int(value) if value == int(value) and abs(value) < 1e15 else rounded


def plain(text: str) -> str:
    """Text for plotly, which would read HTML and TeX in it."""
    text = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("$", "&#36;")):
        text = text.replace(character, entity)
    return text


def loss_charts(run: RunFacts) -> list[Chart]:
    """One chart for the terms of each network and one for the other logged values, as in losses.png."""
    groups: dict[str, dict[str, list[Point]]] = {}
    for name, points in _curves(run.metrics).items():
        groups.setdefault(name.partition("/")[0] if "/" in name else "", {})[name] = points
    titles = {"d": "The discriminator's terms (d/)", "g": "The generator's terms (g/)", "": "Other logged values"}
    return [Chart(titles.get(group, f"{group}/"), curves) for group, curves in groups.items()]


def compared_charts(runs: Sequence[RunFacts]) -> list[Chart]:
    """One chart for each term, a curve a run."""
    by_term: dict[str, dict[str, Sequence[Point]]] = {}
    for run in runs:
        for name, points in (_curves(run.metrics) | _curves(run.health)).items():
            by_term.setdefault(name, {})[run.name] = points
    return [Chart(name, curves, looks=_looks(runs)) for name, curves in by_term.items()]


def _looks(runs: Sequence[RunFacts]) -> dict[str, int]:
    """Each run has the same colour in every chart."""
    return {run.name: i for i, run in enumerate(runs)}


def health_charts(run: RunFacts) -> list[Chart]:
    """How varied the samples on the sheets are."""
    curves = _curves(run.health)
    return [Chart("Variety of the samples", curves)] if curves else []


def _curves(lines: Sequence[Mapping[str, float]]) -> dict[str, list[Point]]:
    curves: dict[str, list[Point]] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("step", "time", "images_seen", "images_per_second"):
                curves.setdefault(name, []).append((line["step"], value))
    return curves


def score_charts(runs: Sequence[RunFacts]) -> list[Chart]:
    """One chart for each figure under each protocol, a curve a run; none where no run was measured at several steps."""
    by_protocol: dict[tuple[str, str], dict[str, Score]] = {}
    for run in runs:
        for score in run.scores:
            by_protocol.setdefault((score.figure, score.hash), {})[run.name] = score
    charts = []
    for (figure, hash), scores in by_protocol.items():
        title = f"{figure}{better(next(iter(scores.values())))}"
        if any(len({step for step, _ in score.points}) > 1 for score in scores.values()):
            charts.append(Chart(title, {name: s.points for name, s in scores.items()}, False, f"Protocol {hash}.", _looks(runs)))
    return charts


def better(score: Score) -> str:
    """ ", lower is better", where the score says so."""
    return f", {score.better} is better" if score.better in ("lower", "higher") else ""


def evenly(things: Sequence[T], most: int) -> list[T]:
    """At most so many of them, the first and the last among them."""
    if len(things) <= most:
        return list(things)
    return [things[round(i * (len(things) - 1) / max(most - 1, 1))] for i in range(most)] if most > 1 else [things[-1]]


def sheets(run: RunFacts, budget: int, problems: list[str], most: int = SHEETS) -> list[tuple[int, str]]:
    """(step, data URI) of at most so many of the run's sheets: as they are, or smaller and fewer where they would not fit the budget."""
    chosen = evenly(run.sheets, most)
    with contextlib.suppress(OSError):
        if sum(path.stat().st_size for _, path in chosen) <= budget:
            return list(_encoded(chosen, None, problems))
    problems.append("The sheets are shown smaller than they are, or fewer of them, so that the page stays small; the files are whole.")
    for side, quality in ((1024, 85), (768, 75), (512, 65), (320, 60)):
        # Three of them tell how large all will be.
        sample = list(_encoded(evenly(chosen, 3), (side, quality), []))
        if sum(len(uri) for _, uri in sample) * 0.75 / max(len(sample), 1) * len(chosen) < 0.9 * budget:
            break
    encoded = list(_encoded(chosen, (side, quality), problems))
    while len(encoded) > 1 and sum(len(uri) for _, uri in encoded) * 0.75 > budget:
        encoded = evenly(encoded, (len(encoded) + 1) // 2)
    return encoded


def _encoded(chosen: Iterable[tuple[int, Path]], smaller: tuple[int, int] | None, problems: list[str]) -> Iterable[tuple[int, str]]:
    for step, path in chosen:
        try:
            data = path.read_bytes()
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                image.load()
                if smaller:
                    side, quality = smaller
                    image.thumbnail((side, side), Image.Resampling.LANCZOS)
                    file = io.BytesIO()
                    image.convert("RGB").save(file, format="WEBP", quality=quality, method=2)
                    data = file.getvalue()
            yield step, uri(data)
        except Exception as e:
            problems.append(f"samples/{path.name} cannot be read ({type(e).__name__}); it is left out.")


def uri(data: bytes) -> str:
    """A picture, PNG or WebP, as a data URI."""
    kind = "webp" if data.startswith(b"RIFF") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
