"""The facts of a run from its files. They are only read, so the run may be training meanwhile; what is absent or cut off is left out."""

from __future__ import annotations

import math
import os
import re
import shlex
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import compose, options
from ganzoo.config import Changes
from ganzoo.errors import GanzooError, UsageError
from ganzoo.evaluation.record import Evaluation, parsed
from ganzoo.files import numbers, read_lines, step_of
from ganzoo.registry.catalogue import NONE, Catalogue
from ganzoo.registry.discovery import LOCAL
from ganzoo.runs import checkpoint
from ganzoo.runs.folder import EVALUATIONS, LANDSCAPE, read_config, sheet_of
from ganzoo.types import QUICK, Recipe

if TYPE_CHECKING:
    from ganzoo.report.generated import Generated


@dataclass(frozen=True)
class Score:
    """A figure under one protocol in the course of a run. points: (step, value), by step. best: None where nothing is better or worse."""

    figure: str
    hash: str
    line: str
    better: str
    points: tuple[tuple[int, float], ...]

    @property
    def last(self) -> tuple[int, float]:
        return self.points[-1]

    @property
    def best(self) -> tuple[int, float] | None:
        finite = [point for point in self.points if math.isfinite(point[1])]
        if self.better not in ("lower", "higher") or not finite:
            return None
        return (min if self.better == "lower" else max)(finite, key=lambda point: point[1])


@dataclass(frozen=True)
class Setting:
    """An option of a run: its flag, its value, and the recipe's default, which is not known where the recipe cannot be found."""

    flag: str
    value: Any
    default: Any = None
    known: bool = False

    @property
    def changed(self) -> bool:
        return self.known and self.value != self.default


@dataclass(frozen=True)
class Landscape:
    """A line of landscape.jsonl: D's logits at all places, some real rows and samples, and whereto the loss of G pushes those, if it does.

    anchored: real logits lie above 0 and fake ones below.
    """

    step: int
    real: Sequence[Sequence[float]]
    samples: Sequence[Sequence[float]]
    logits: Sequence[float]
    push: Sequence[Sequence[float]] = ()
    anchored: bool = True

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Landscape | None:
        """None where the line is no such thing: two numbers a row and a square of places, or one number, which is that of a place."""
        real, samples, push = (_rows(line.get(name, [])) for name in ("real", "samples", "push"))
        logits, step = _rows([line.get("logits")]), step_of(line)
        if step is None or not real or not samples or push is None or not logits or len(push) > len(samples):
            return None
        width, places = len(real[0]), len(logits[0])
        if any(len(row) != width for row in (*real, *samples, *push)) or not places:
            return None
        if width == 1 and not all(row[0] in range(places) for row in (*real, *samples)):
            return None
        if width != 1 and (width != 2 or math.isqrt(places) ** 2 != places):
            return None
        return cls(step, real, samples, logits[0], push, line.get("anchored") is not False)


def _rows(values: Any) -> list[list[float]] | None:
    """Rows of finite numbers; None for anything else."""
    if not isinstance(values, list) or not all(isinstance(row, list) for row in values):
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for row in values for v in row):
        return None
    return values


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run.

    Attributes:
        folder: the run folder. name: its name on the page.
        config: its config.json.
        settings: each of its options; no_defaults: why their defaults are not known, or "".
        metrics: lines of metrics.jsonl: "step" and numbers.
        sheets: (step, file) of the main product's sample sheets. others: the last one of every other product, by its name.
        evaluations: in the order of their steps. warnings: (step, text). health: lines of health.jsonl: "step" and numbers.
        parameters: how many numbers are trained, by network.
        landscapes: what D thought of every place, by step, of data that is small enough.
        about: what the recipe is, and its paper; "" where it cannot be found.
        look: what its sheets show: "pixels", which may be enlarged; "text", which is read at its own size alone; "drawn", anything else.
        problems: what could not be read.
        generated: pictures from its generator; None where there are none, for the reason in `not_drawn`.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    settings: Sequence[Setting] = ()
    no_defaults: str = ""
    metrics: Sequence[Mapping[str, float]] = ()
    sheets: Sequence[tuple[int, Path]] = ()
    evaluations: Sequence[Evaluation] = ()
    warnings: Sequence[tuple[int, str]] = ()
    health: Sequence[Mapping[str, float]] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[str] = ()
    generated: Generated | None = None
    not_drawn: str = ""
    others: Mapping[str, tuple[int, Path]] = field(default_factory=dict)
    landscapes: Sequence[Landscape] = ()
    about: str = ""
    look: str = "pixels"

    @property
    def recipe(self) -> str:
        return str(self.config["recipe"])

    @property
    def dataset(self) -> str:
        return str(self.config["data"].get("name") or self.config["run"].get("dataset", ""))

    @property
    def step(self) -> int:
        """The last step that anything is known of."""
        steps = [line["step"] for line in self.metrics[-1:]] + [step for step, _ in self.sheets[-1:]]
        return int(max(steps, default=0))

    @property
    def seconds(self) -> float | None:
        return next((line["time"] for line in reversed(self.metrics) if "time" in line), None)

    @property
    def rate(self) -> float | None:
        """Real images a second, the median of the log lines."""
        rates = [line["images_per_second"] for line in self.metrics if "images_per_second" in line]
        return statistics.median(rates) if rates else None

    @property
    def scores(self) -> list[Score]:
        """Each figure under each protocol."""
        measured: dict[tuple[str, str], list[tuple[Evaluation, float]]] = {}
        for evaluation in self.evaluations:
            for figure, value in evaluation.figures.items():
                measured.setdefault((figure, evaluation.hash), []).append((evaluation, value))
        return [
            Score(figure, hash, pairs[-1][0].line, pairs[-1][0].better.get(figure, ""), tuple((e.step or 0, value) for e, value in pairs))
            for (figure, hash), pairs in measured.items()
        ]

    @property
    def command(self) -> str:
        """The command line that starts this run again: every option that is not the recipe's default, and the seed."""
        words = ["ganzoo", "run", self.recipe]
        for setting in self.settings:
            if setting.flag != "--seed" and ((setting.known and not setting.changed) or setting.value is None):
                continue
            if isinstance(setting.value, bool):
                words.append(setting.flag if setting.value else setting.flag.replace("--", "--no-", 1))
            else:
                text = str(setting.value)
                words += [f"{setting.flag}={text}"] if text.startswith("-") or not text else [setting.flag, text]
        words += [f"--plugin=PATH-OF-{name.partition('/')[2]}" for name in self.config.get("plugins", {}) if name.startswith(f"{LOCAL}/")]
        return shlex.join(words)


def find(paths: Iterable[Path], warn: Callable[[str], None] = lambda text: None) -> list[Path]:
    """The run folders that the paths name: a run itself, or every run below a folder. warn: called with what only looks like a run.

    Raises UsageError where there is none.
    """
    folders: list[Path] = []
    for path in paths:
        if (path / "config.json").exists():
            read_config(path)
            folders.append(path)
            continue
        if not path.is_dir():
            raise UsageError(f"{path} does not exist. Wanted a run, or a folder that holds runs.")
        below = []
        for folder, inner, files in os.walk(path):
            inner[:] = sorted((name for name in inner if not name.startswith(".")), key=_natural)
            if "config.json" in files:
                inner.clear()
                try:
                    read_config(Path(folder))
                    below.append(Path(folder))
                except UsageError as e:
                    warn(f"{e} It is left out.")
        if not below:
            raise UsageError(f"{path} is no run and holds none: no config.json of a run lies in it. Runs lie under runs/.")
        folders += below
    return list({path.resolve(): path for path in folders}.values())


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def named(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each run's folder, and as its name the shortest end of its path that no other run has; of a group of runs beside others, with the
    group's folder."""
    parts = [folder.resolve().parts for folder in folders]
    for folder, own in zip(folders, parts, strict=True):
        least = 1 if all(other[: len(own) - 1] == own[:-1] for other in parts) else 2
        n = next((n for n in range(least, len(own)) if sum(other[-n:] == own[-n:] for other in parts) == 1), len(own))
        yield folder, "/".join(own[-n:])


def read(folder: Path, name: str = "", catalogue: Catalogue | None = None) -> RunFacts:
    """The facts of a run. catalogue: where the recipe's defaults are looked up. Raises UsageError where the folder is no run."""
    config = read_config(folder)
    for section in ("parts", "options", "run"):
        if not isinstance(config[section], dict) or not all(isinstance(v, dict) for v in config["options"].values()):
            raise UsageError(f"{folder / 'config.json'} cannot be read: {section} is not what it must be.")
    problems: list[str] = []
    defaults, no_defaults = {}, "The recipe was not looked up."
    if catalogue is not None:
        try:
            preset = {"preset": config["run"].get("preset", QUICK)}
            own = compose.draft(catalogue, config["recipe"], Changes(preset))
            parts = {kind: entry.stored for kind, entry in own.parts.items()}
            changes = Changes(preset, wrappers=tuple(config.get("wrappers", ())))
            changes.parts = {k: name for k, name in config["parts"].items() if parts.get(k) != name}
            usual = compose.resolve(catalogue, config["recipe"], changes).config.to_json()
            usual |= {"parts": parts, "wrappers": [entry.stored for entry in own.wrappers.values()]}
            defaults, no_defaults = _flags(usual) | {"--preset": QUICK}, ""
        except (GanzooError, TypeError, AttributeError) as e:
            no_defaults = f"The recipe's defaults are not known: {e}"
    settings = [Setting(flag, value, defaults.get(flag), flag in defaults) for flag, value in _flags(config).items()]
    metrics, health = (_measured(folder / name, problems) for name in ("metrics.jsonl", "health.jsonl"))
    evaluations = []
    for line in read_lines(folder / EVALUATIONS, problems.append):
        if (evaluation := parsed(line)) is None or evaluation.step is None:
            problems.append(f"{EVALUATIONS}: a line without a step or without figures is left out.")
            continue
        evaluations.append(evaluation)
    warned = read_lines(folder / "warnings.jsonl", problems.append)
    warnings = [(step, str(line.get("text", ""))) for line in warned if (step := step_of(line)) is not None]
    if len(warnings) < len(warned):
        problems.append("warnings.jsonl: a line without a step is left out.")
    lines = read_lines(folder / LANDSCAPE, problems.append)
    landscapes = [landscape for line in lines if (landscape := Landscape.of(line)) is not None]
    if len(landscapes) < len(lines):
        problems.append(f"{LANDSCAPE}: a line that is not what it must be is left out.")
    found = sorted((place[1], place[0], p) for p in (folder / "samples").glob("*.png") if not p.is_symlink() and (place := sheet_of(p)))
    sheets = [(step, path) for name_, step, path in found if not name_]
    others = {name_: (step, path) for name_, step, path in found if name_}  # of each the last
    return RunFacts(
        folder, name or folder.resolve().name, config, settings, no_defaults, metrics, sheets,
        sorted(evaluations, key=lambda e: e.step or 0), warnings, health, _parameters(folder / "checkpoints"), problems,
        others=others, landscapes=sorted(landscapes, key=lambda each: each.step),
        about=_about(catalogue, config["recipe"]), look=_look(catalogue, config["data"]),
    )  # fmt: skip


def _about(catalogue: Catalogue | None, recipe: str) -> str:
    try:
        record = catalogue.get("recipe", recipe).record if catalogue else None
    except GanzooError:
        return ""
    if not isinstance(record, Recipe):
        return ""
    paper = ", ".join(str(value) for value in (record.paper, record.year) if value)
    told = [record.title, record.summary[:1].upper() + record.summary[1:], f"Paper: {paper}" if paper else ""]
    return " ".join(f"{text.rstrip('.')}." for text in told if text)


def _look(catalogue: Catalogue | None, data: Mapping[str, Any]) -> str:
    if catalogue is None:
        return "pixels"
    try:
        media = [catalogue.get("medium", field["medium"]).build() for field in data["fields"].values()]
        if any(each.pictures for each in media):
            return "pixels"
        # What a row of the data is to a program tells whether it is read.
        kind, toy = media[0], media[0].toys[0]
        row = kind.objects(kind.toy(1, toy)["x"], toy)[0]
        return "text" if isinstance(row, str | Mapping) else "drawn"
    except Exception:  # a plugin that is gone, a config.json of somebody's making: its sheets are seen in any case
        return "drawn"


def _measured(path: Path, problems: list[str]) -> list[dict[str, float]]:
    """The numbers of each line that has a step."""
    lines = read_lines(path, problems.append)
    found = [line for line in map(numbers, lines) if math.isfinite(line.get("step", math.nan))]
    if len(found) < len(lines) or any(len(numbers(line)) < len(line) or step_of(line) is None for line in lines):
        problems.append(f"{path.name}: what is no number, or has no step, is left out.")
    return found


def _parameters(folder: Path) -> dict[str, int]:
    """How many numbers the optimisers of the newest checkpoint train, by network; none where the optimisers keep no state."""
    for step in reversed(checkpoint.steps_in(folder)):
        try:
            header, _ = checkpoint.read_header(checkpoint.path_of(folder, step))
        except GanzooError:
            continue
        trained = {key.partition(":")[2].rpartition(":")[0] for key in header if not key.startswith(("model:", "__"))}
        counted: dict[str, int] = {}
        for name in sorted(trained):
            if f"model:{name}" in header:
                network = name.partition(".")[0]
                counted[network] = counted.get(network, 0) + math.prod(header[f"model:{name}"]["shape"])
        return counted
    return {}


def _flags(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a configuration by its flag on the command line."""
    values = {f"--{kind}": name for kind, name in config["parts"].items()}
    values |= {"--with": ",".join(config.get("wrappers", ())) or NONE}
    values |= {options.flag(name): value for name, value in config["run"].items()}
    return values | {options.flag(n, f"{kind}."): value for kind, part in config["options"].items() for n, value in dict(part).items()}
