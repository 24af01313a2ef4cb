"""Facts to one HTML file that may load nothing and run nothing but its own two scripts. Its layout is page.html."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ganzoo import __version__, machine
from ganzoo.evaluation.record import Evaluation
from ganzoo.files import write_text
from ganzoo.report import charts
from ganzoo.report.charts import Chart
from ganzoo.report.facts import RunFacts, Setting
from ganzoo.report.generated import BETWEEN, Generated, Neighbours, Shown

HERE = Path(__file__).parent
FEW = 20  # problems that are listed
FOLDED = 4  # runs; of more, each is opened by a click
NEAR = "Samples and their nearest training samples"


@dataclass(frozen=True)
class Table:
    """Columns and rows of plain text; the first column names the rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """A chart, its number on the page, and its figures as a table."""

    chart: Chart
    number: int

    @property
    def table(self) -> Table:
        """The last, lowest and highest value of each curve."""
        rows = []
        for name, points in self.chart.curves.items():
            finite = [point for point in points if point[1] == point[1]] or list(points)
            low, high = min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])
            rows.append([name, _at(points[-1]), _at(low), _at(high), str(len(points))])
        return Table(["curve", "last", "lowest", "highest", "points"], rows, f"{self.chart.title}: the figures")


#: Stands in every page.
MARK = b'<meta name="generator" content="ganzoo '


def write(path: Path, runs: Sequence[RunFacts], title: str, table: Table | None = None, notes: Sequence[str] = ()) -> None:
    """Write the report of one or more runs. table and notes: what stands before all else. Raises GanzooError where the disk refuses."""
    write_text(path, Page(runs, title, table, notes).html())


class Page:
    """The page of some runs. Whatever comes from a run is escaped by jinja2, or by `charts.plain` and `_json`."""

    def __init__(self, runs: Sequence[RunFacts], title: str, table: Table | None = None, notes: Sequence[str] = ()) -> None:
        self.title, self.table, self.notes = title, table, notes
        names = [run.name for run in runs]
        self.runs = [replace(run, name=f"{run.name} ({i + 1})") if names.count(run.name) > 1 else run for i, run in enumerate(runs)]
        self.charts: list[Chart] = []
        pictures = sum(run.generated.bytes for run in runs if run.generated is not None)
        self.budget = max(charts.BYTES - pictures, charts.BYTES // 4) // max(len(runs), 1)
        self.most = max(4, min(charts.SHEETS, 400 // max(len(runs), 1)))

    def html(self) -> str:
        """The whole file."""
        environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        one = len(self.runs) == 1
        curves = charts.loss_charts(self.runs[0]) if one else charts.compared_charts(self.runs)
        game = charts.Game.of(self.runs[0]) if one else None
        figures = self.table is None or len(self.table.rows) != len(self.runs)
        values = {
            "title": self.title, "first": self.table, "notes": self.notes, "version": __version__,
            "now": machine.now().strftime("%Y-%m-%d %H:%M UTC"),
            "curves": self._plots(curves), "scores": self._plots(charts.score_charts(self.runs)),
            "runs": [self._view(run, one) for run in self.runs], "comparison": comparison(self.runs, figures),
            "near_caption": NEAR, "folded": len(self.runs) > FOLDED,
            "game": None if game is None else _game_view(game),
            "protocol_lines": [
                (hash, line) for hash, line in {s.hash: s.line for run in self.runs for s in run.scores}.items() if line not in self.notes
            ],
        }  # fmt: skip
        scripts = [*([_plotly()] if self.charts or game else []), _file("page.js")]
        return environment.get_template("page.html").render(
            values, sections=self._sections(bool(values["scores"]), game is not None),
            css=_file("page.css"), scripts=scripts, policy=_policy(scripts),
            drawn=_json({"charts": [chart.to_json() for chart in self.charts], "game": None if game is None else game.to_json()}),
        )  # fmt: skip

    def _plots(self, made: Sequence[Chart]) -> list[Plot]:
        plots = [Plot(chart, len(self.charts) + i) for i, chart in enumerate(made)]
        self.charts += made
        return plots

    def _sections(self, scores: bool, game: bool) -> list[tuple[str, str]]:
        """Key and name of each section, as page.html has them."""
        if len(self.runs) == 1:
            return [
                *([("game", "The game, step by step")] if game else []), ("samples", "Samples"),
                ("curves", "Curves"), ("evaluations", "Evaluations"), ("latents", _heading(self.runs[0].generated)),
                ("neighbours", "Nearest training samples"), ("health", "Health"), ("cost", "What it cost"),
                ("configuration", "Configuration"), ("repeat", "How to repeat it"),
            ]  # fmt: skip
        sections = [("results", "Results"), ("comparison", "Run by run")] if self.table else [("comparison", "Comparison")]
        sections += [("samples", "Samples, side by side"), ("curves", "Curves")]
        sections += [("evaluations", "Evaluations")] if scores else []
        return sections + [(f"run-{i}", run.name) for i, run in enumerate(self.runs)]

    def _view(self, run: RunFacts, one: bool) -> dict[str, Any]:
        """The values of one run that page.html shows."""
        problems = list(run.problems)
        sheets = charts.sheets(run, self.budget, problems, self.most)
        changed = sum(setting.changed for setting in run.settings)
        note = f"{changed} of {len(run.settings)} options are not the recipe's defaults; some are settled when a run starts."
        hidden = len(problems) - FEW
        return {
            "name": run.name,
            "sheets": sheets,
            "about": run.about,
            "look": f"{run.look} scroll" if run.look == "text" else run.look,
            "columns": ", ".join(run.generated.columns) if run.generated else "",
            "others": [
                {"uri": uri, "caption": f"{name}, step {step}"}
                for name, pair in run.others.items()
                for step, uri in charts.sheets(replace(run, sheets=[pair]), self.budget // 4, problems, 1)
            ],
            "scores": _scores(run),
            "protocols": _protocols(run.evaluations),
            **_generated_view(run.generated, run.not_drawn),
            "warnings": run.warnings,
            "problems": [*problems[:FEW], *([f"... and {hidden} more."] if hidden > 0 else [])],
            "health": self._plots(charts.health_charts(run)) if one else [],
            "cost": _cost(run),
            "settings": [_setting_view(setting) for setting in run.settings],
            "settings_note": run.no_defaults or note,
            "command": run.command,
            "versions": _versions(run.config),
        }


def _game_view(game: charts.Game) -> dict[str, Any]:
    """What page.html says of a game beside what page.js plays, for those who do not see it."""
    last = game.last
    opinion = "how probable it is to D that it is real" if last.anchored else "D's value"
    if game.words:
        made, real = game.shares(last.samples), game.shares(last.real)
        rows = [
            [word, f"{real[i]:.1%}", f"{made[i]:.1%}", _number(game.verdicts(last)[i])] for i, word in enumerate(game.words)
        ]  # fmt: skip
        table = Table(["word", "of the data", "of the samples", "to D"], rows, f"Step {last.step}")
        told = f"How often each word stands in the data and in the samples, and {opinion}, as a line."
    else:
        columns = ["step", "places that are rather real to D", "mean push"] if last.anchored else ["step", "mean push"]
        rows = []
        for g, push in zip(game.landscapes, game.pushes, strict=True):
            share = [f"{sum(v > 0 for v in g.logits) / len(g.logits):.0%}"] if last.anchored else []
            rows.append([str(g.step), *share, _number(push)])
        table = Table(columns, rows, "Every step that was kept")
        told = f"The colour of a place is {opinion}. Grey: the data. Orange: samples. Arrows: whereto G's terms push them, to one scale."
    return {"told": told, "table": table, "first": game.landscapes[0].step, "last": last.step, "most": len(game.landscapes) - 1}


def _policy(scripts: Sequence[str]) -> str:
    """The page's Content-Security-Policy: these scripts run, nothing else, and nothing is loaded."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return (
        f"default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; script-src {hashes}; base-uri 'none'; "
        "form-action 'none'"
    )


def _scores(run: RunFacts) -> Table:
    rows = [[s.figure, s.hash, "-" if s.best is None else _at(s.best), _at(s.last), s.better or "-"] for s in run.scores]
    return Table(["figure", "protocol", "best", "last", "better"], rows, "Best and last figures. Only those of one protocol compare.")


def _protocols(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Each protocol with its evaluations."""
    views = []
    for hash in dict.fromkeys(e.hash for e in evaluations):
        own = [e for e in evaluations if e.hash == hash]
        text = json.dumps(own[-1].protocol, indent=1, ensure_ascii=False, default=str) if own[-1].protocol else ""
        views.append({"hash": hash, "line": own[-1].line, "count": len(own), "history": _history(own), "json": text})
    return views


def _history(evaluations: Sequence[Evaluation]) -> Table:
    names = list(dict.fromkeys(name for e in evaluations for name in e.figures))
    differ = len({e.line for e in evaluations}) > 1
    rows = [
        [
            str(e.step), *(_number(e.figures[name]) if name in e.figures else "-" for name in names), e.of, e.date,
            "-" if e.seconds is None else _duration(e.seconds), *([e.line] if differ else []), " ".join(e.notes) or "-",
        ]
        for e in evaluations
    ]  # fmt: skip
    return Table(["step", *names, "of", "date", "took", *(["protocol"] if differ else []), "notes"], rows, "Every evaluation")


def comparison(runs: Sequence[RunFacts], figures: bool = True) -> Table:
    """A row a run, with a column for each figure under each protocol, if they are wanted: two protocols never share one."""
    scores = {run.name: {(s.figure, s.hash): s for s in run.scores} for run in runs}
    columns = {key: s for own in scores.values() for key, s in own.items()} if figures else {}
    rows = []
    for run in runs:
        own = scores[run.name]
        cells = [f"{_number(own[key].last[1])}{_best(own[key].best)}" if key in own else "-" for key in columns]
        rate = "-" if run.rate is None else f"{run.rate:.0f}"
        rows.append([run.name, run.recipe, run.dataset, str(run.step), _duration(run.seconds), rate, *cells])
    heads = [f"{figure} [{hash}]{charts.better(s)}" for (figure, hash), s in columns.items()]
    caption = "The runs: last figures, and the best ones" if columns else "The runs"
    return Table(["run", "recipe", "data set", "steps", "time", "images/s", *heads], rows, caption)


def _best(best: tuple[int, float] | None) -> str:
    return "" if best is None else f" (best {_at(best)})"


def _heading(generated: Generated | None) -> str:
    return generated.heading if generated else BETWEEN


def _generated_view(generated: Generated | None, not_drawn: str) -> dict[str, Any]:
    """Pictures from the generator, or why there are none."""
    not_drawn = not_drawn or "The generator was not asked."
    view: dict[str, Any] = {"interpolation": None, "turned": [], "not_drawn": not_drawn, "no_neighbours": ""}
    view["heading"] = _heading(generated)
    if generated is None:
        return view | {"no_neighbours": "Without the generator there are none."}
    caption = f"{generated.interpolation_caption}, at step {generated.step}"
    view |= {"turned": [{name: charts.uri(picture) for name, picture in row.items()} for row in generated.turned], "caption": caption}
    if generated.interpolation:
        view["interpolation"] = {"uri": charts.uri(generated.interpolation), "caption": caption}
    if not generated.neighbours:
        return view | {"no_neighbours": generated.no_neighbours or "They were not sought."}
    view |= {"neighbours_step": generated.step, "neighbours_unit": generated.unit, "neighbours_table": _rows(generated.neighbours)}
    samples = []
    for i, sample in enumerate(generated.neighbours):
        nearest = [_shown(near) | {"caption": _number(d)} for near, d in zip(sample.nearest, sample.distances, strict=True)]
        samples.append(_shown(sample.sample) | {"caption": sample.caption or f"sample {i + 1}", "nearest": nearest})
    return view | {
        "neighbours": samples,
        "neighbours_columns": ["sample", *(f"nearest {i + 1}" for i in range(max(len(s["nearest"]) for s in samples)))],
    }


def _shown(row: Shown) -> dict[str, str]:
    """A picture or a text."""
    return {"uri": charts.uri(row), "text": ""} if isinstance(row, bytes) else {"uri": "", "text": row if isinstance(row, str) else ""}


def _rows(neighbours: Sequence[Neighbours]) -> Table | None:
    """Samples that are rows of a table, each above those nearest to it; None where they are not."""
    rows: list[list[str]] = []
    names: list[str] = []
    for i, each in enumerate(neighbours):
        heads = [(each.caption or f"sample {i + 1}", ""), *((f"nearest {k + 1}", _number(d)) for k, d in enumerate(each.distances))]
        for (head, distance), row in zip(heads, (each.sample, *each.nearest), strict=True):
            if not isinstance(row, Mapping):
                return None
            names = list(row)
            rows.append([head, distance, *row.values()])
    return Table(["row", "distance", *names], rows, NEAR)


def _cost(run: RunFacts) -> list[tuple[str, str]]:
    machine, options = run.config.get("machine", {}), run.config["run"]
    meant = options.get("steps")
    rows: list[tuple[str, Any]] = [
        ("steps", f"{run.step} of {meant}" if meant != run.step else run.step),
        ("time", _duration(run.seconds)),
        ("real samples a second", "" if run.rate is None else f"{run.rate:.0f}, the median"),
        ("device", options.get("device")),
        ("graphics card", machine.get("cuda")),
        ("processor", machine.get("processor")),
        ("threads", machine.get("threads")),
        ("system", machine.get("system")),
        ("trained parameters", ", ".join(f"{name} {count:,}" for name, count in run.parameters.items())),
        ("data", f"{run.dataset}: {_fields(run.config['data'])}"),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "", "-")]


def _fields(data: Mapping[str, Any]) -> str:
    """How many rows of each field of the data, and their shapes, in words."""
    words = []
    try:
        for name, keys in data["sets"].items():
            sizes = ", ".join(f"{key} {' x '.join(map(str, data['fields'][key]['shape']))}".strip() for key in keys)
            words.append(f"{data['counts'][name]} of {sizes}")
    except (LookupError, TypeError, AttributeError):  # a config.json of somebody's making
        return "not known"
    return "; ".join(words) or "not known"


def _setting_view(setting: Setting) -> dict[str, Any]:
    default = "not known" if not setting.known else _value(setting.default)
    return {"flag": setting.flag, "value": _value(setting.value), "default": default, "changed": setting.changed}


def _value(value: Any) -> str:
    return {True: "on", False: "off", None: "none"}[value] if value is None or isinstance(value, bool) else str(value) or "empty"


def _versions(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = config.get("machine", {})
    versions = {"ganzoo": config.get("ganzoo"), "torch": machine.get("torch"), "python": machine.get("python")}
    versions |= {f"plugin {name}": version for name, version in config.get("plugins", {}).items()}
    versions |= {"data, SHA-256": config["data"]["checksum"]}
    return [(name, str(version)) for name, version in versions.items() if version]


def _at(point: tuple[float, float]) -> str:
    return f"{_number(point[1])} at step {point[0]:.0f}"


def _number(value: float) -> str:
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 and value == int(value) else f"{value:.4g}"


def _duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _json(value: Any) -> str:
    """JSON that cannot end the script that it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plotly() -> str:
    """plotly.js as the package plotly brings it along."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("\r\n", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
