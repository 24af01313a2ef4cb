"""The page: facts and figures to one HTML file that may load nothing and run nothing but its own two scripts."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from ganzoo import __version__
from ganzoo.evaluation.record import Evaluation
from ganzoo.files import write_text
from ganzoo.report import charts
from ganzoo.report.charts import Chart
from ganzoo.report.facts import RunFacts


@dataclass(frozen=True)
class Table:
    """Columns and rows of plain text; the first column names the rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


def write(path: Path, runs: Sequence[RunFacts], title: str, table: Table | None = None, notes: Sequence[str] = ()) -> None:
    """Write the report of one or more runs. table and notes: what is told before all else.

    Raises GanzooError where the disk refuses.
    """
    text = Page(runs, title, table, notes).html()
    write_text(path, text)


class Page:
    """The HTML of a report. Whatever comes from a run passes through `escape`, `figures.plain` or `_json`."""

    def __init__(self, runs: Sequence[RunFacts], title: str, table: Table | None = None, notes: Sequence[str] = ()) -> None:
        self.title, self.table, self.notes = title, table, notes
        names = [run.name for run in runs]
        self.runs = [replace(run, name=f"{run.name} ({i + 1})") if names.count(run.name) > 1 else run for i, run in enumerate(runs)]
        self.charts: list[Chart] = []
        drawn = sum(run.generated.bytes for run in runs if run.generated is not None)
        self.budget = max(charts.BYTES - drawn, charts.BYTES // 4) // max(len(runs), 1)
        self.most = max(4, min(charts.SHEETS, 400 // max(len(runs), 1)))

    def html(self) -> str:
        many = len(self.runs) != 1
        sections = self._many() if many else self._one(self.runs[0])
        first = (_table(self.table) if self.table else "") + "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        links = "".join(f'<li><a href="#{key}">{escape(name)}</a></li>' for key, name, _ in sections)
        body = "".join(f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{escape(name)}</h2>{text}</section>'
                       for key, name, text in sections)  # fmt: skip
        scripts = [_plotly() if self.charts else "", _file("page.js")]
        hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts if s)
        policy = f"default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; script-src {hashes}; base-uri 'none'; " \
                 "form-action 'none'"  # fmt: skip
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
            f'<meta name="generator" content="ganzoo {escape(__version__)}"><link rel="icon" href="data:,">'
            f"<title>{escape(self.title)}</title><style>{_file('page.css')}</style></head>\n<body>"
            '<a class="skip" href="#main">To the content</a>'
            f'<header><h1>{escape(self.title)}</h1><button type="button" id="theme" hidden>Dark theme</button></header>\n'
            f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main id="main" tabindex="-1">{first}{body}</main>\n'
            f"<footer><p>Written by ganzoo {escape(__version__)} on {now}. The file is whole in itself: it loads nothing.</p></footer>\n"
            f'<script type="application/json" id="charts">{_json([chart.to_json() for chart in self.charts])}</script>\n'
            + "\n".join(f"<script>{script}</script>" for script in scripts if script)
            + "</body></html>\n"
        )

    def _one(self, run: RunFacts) -> list[tuple[str, str, str]]:
        problems = list(run.problems)
        shown = charts.sheets(run, self.budget, problems, self.most)
        return [
            ("samples", "Samples", self._slider([(run, shown)])),
            ("curves", "Curves", self._all(charts.loss_charts(run), "No term was logged yet.")),
            ("evaluations", "Evaluations", self._evaluations(run, "h3") + self._all(charts.score_charts([run]))),
            ("latents", "Between latents", _interpolation(run)),
            ("neighbours", "Nearest training samples", _neighbours(run)),
            ("health", "Health", _health(run, problems) + self._all(charts.health_charts(run))),
            ("cost", "What it cost", _pairs(_cost(run), "Time, place and size of the run")),
            ("configuration", "Configuration", _configuration(run)),
            ("repeat", "How to repeat it", _repeat(run)),
        ]

    def _many(self) -> list[tuple[str, str, str]]:
        problems: dict[str, list[str]] = {run.name: list(run.problems) for run in self.runs}
        shown = [(run, charts.sheets(run, self.budget, problems[run.name], self.most)) for run in self.runs]
        sections = [
            ("comparison", "Comparison", _comparison(self.runs)),
            ("samples", "Samples, side by side", self._slider(shown)),
            ("curves", "Curves", self._all(charts.compared_charts(self.runs), "No term was logged yet.")),
        ]
        if scores := charts.score_charts(self.runs):
            sections.append(("evaluations", "Evaluations", self._all(scores)))
        for i, run in enumerate(self.runs):
            parts = [
                ("Evaluations", self._evaluations(run, "h4")),
                ("Between latents", _interpolation(run)),
                ("Nearest training samples", _neighbours(run)),
                ("Health", _health(run, problems[run.name])),
                ("What it cost", _pairs(_cost(run), f"Time, place and size of {run.name}")),
                ("Configuration", _configuration(run)),
                ("How to repeat it", _repeat(run)),
            ]
            sections.append((f"run-{i}", run.name, "".join(f"<h3>{name}</h3>{text}" for name, text in parts)))
        return sections

    def _all(self, charts: Sequence[Chart], absent: str = "") -> str:
        return '<div class="charts">' + "".join(map(self._chart, charts)) + "</div>" if charts else f"<p>{absent}</p>" if absent else ""

    def _chart(self, chart: Chart) -> str:
        """A place for page.js to draw in, and the same as a table."""
        self.charts.append(chart)
        n = len(self.charts) - 1
        rows = []
        for name, points in chart.curves.items():
            finite = [point for point in points if point[1] == point[1]] or list(points)
            low, high = min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])
            rows.append([name, _at(points[-1]), _at(low), _at(high), str(len(points))])
        table = _table(Table(["curve", "last", "lowest", "highest", "points"], rows, f"{chart.title}: the figures"))
        note = f'<p class="note">{escape(chart.note)}</p>' if chart.note else ""
        label = escape(f"{chart.title}: curves over the step. The table below tells their figures.")
        return (
            f'<figure class="chart"><figcaption>{escape(chart.title)}</figcaption>{note}'
            f'<div class="plot" data-chart="{n}" role="img" aria-label="{label}"></div>'
            f"<details><summary>Figures of this chart</summary>{table}</details></figure>"
        )

    def _slider(self, shown: Sequence[tuple[RunFacts, Sequence[tuple[int, str]]]]) -> str:
        """One slider for the sheets of all runs; without scripts, the last sheets are seen."""
        most = max((len(sheets) for _, sheets in shown), default=0)
        if not most:
            return "<p>There are no sample sheets yet.</p>"
        blocks = []
        for run, sheets in shown:
            pictures = "".join(
                f'<img src="{uri}" alt="{escape(f"Samples of {run.name} at step {step}")}" data-step="{step}"'
                f"{'' if i == len(sheets) - 1 else ' hidden'}>"
                for i, (step, uri) in enumerate(sheets)
            )
            told = f'{escape(run.name)}, <span class="step">step {sheets[-1][0]}</span>' if sheets else f"{escape(run.name)}: none yet"
            caption = f"<figcaption>{told}</figcaption>" if len(shown) > 1 else ""
            blocks.append(f'<figure class="sheets">{pictures}{caption}</figure>')
        first, last = (next(sheets[at][0] for _, sheets in shown if sheets) for at in (0, -1))
        ends = ("first sheets", "last sheets") if len(shown) > 1 else (f"step {first}", f"step {last}")
        return (
            f'<div class="slider"><label for="when">{"Time, from first to last sheet of each run" if len(shown) > 1 else "Step"}</label>'
            f'<input type="range" id="when" min="0" max="{most - 1}" step="1" value="{most - 1}"{" disabled" if most < 2 else ""}>'
            f'<p class="ends"><span>{ends[0]}</span><output for="when" id="now" aria-live="polite"></output><span>{ends[1]}</span></p>'
            f'</div><div class="side">{"".join(blocks)}</div>'
        )

    def _evaluations(self, run: RunFacts, heading: str) -> str:
        if not run.evaluations:
            return "<p>It has not been evaluated.</p>"
        rows = [[s.figure, s.hash, "-" if s.best is None else _at(s.best), _at(s.last), s.better or "-"] for s in run.scores]
        caption = "Best and last figures. Only those of one protocol compare."
        text = _table(Table(["figure", "protocol", "best", "last", "better"], rows, caption))
        for hash in dict.fromkeys(e.hash for e in run.evaluations):
            of_it = [e for e in run.evaluations if e.hash == hash]
            text += f"<{heading}>Protocol {escape(hash) or 'without a name'}</{heading}><p>{escape(of_it[-1].line)}</p>"
            text += _details(f"{len(of_it)} evaluation{'s' * (len(of_it) > 1)}", _table(_history(of_it)) + _protocol(of_it[-1]))
        return text


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


def _protocol(evaluation: Evaluation) -> str:
    if not evaluation.protocol:
        return ""
    return f'<pre tabindex="0">{escape(json.dumps(evaluation.protocol, indent=1, ensure_ascii=False, default=str))}</pre>'


def _comparison(runs: Sequence[RunFacts]) -> str:
    """A table with a column for each figure under each protocol: two protocols never share one."""
    scores = {run.name: {(s.figure, s.hash): s for s in run.scores} for run in runs}
    columns = {key: s for told in scores.values() for key, s in told.items()}
    rows = []
    for run in runs:
        own = scores[run.name]
        cells = [f"{_number(own[key].last[1])}{_best(own[key].best)}" if key in own else "-" for key in columns]
        rate = "-" if run.rate is None else f"{run.rate:.0f}"
        rows.append([run.name, run.recipe, run.dataset, str(run.step), _duration(run.seconds), rate, *cells])
    heads = [f"{figure} [{hash}]{charts.better(s)}" for (figure, hash), s in columns.items()]
    caption = "The runs: last figures, and the best ones"
    text = _table(Table(["run", "recipe", "data set", "steps", "time", "images/s", *heads], rows, caption))
    lines = {hash: s.line for (_, hash), s in columns.items()}
    told = "".join(f"<dt>[{escape(hash)}]</dt><dd>{escape(line)}</dd>" for hash, line in lines.items())
    return text + (f'<p class="note">Figures compare within one column only: each has its protocol.</p><dl>{told}</dl>' if told else "")


def _best(best: tuple[int, float] | None) -> str:
    return "" if best is None else f" (best {_at(best)})"


def _interpolation(run: RunFacts) -> str:
    if run.generated is None or not run.generated.interpolation:
        return f"<p>{escape(run.not_drawn or 'The generator was not asked.')}</p>"
    told = f"{run.generated.interpolation_caption}, at step {run.generated.step}"
    return _picture(charts.uri(run.generated.interpolation), f"{run.name}: {told}", f"{told[0].upper()}{told[1:]}.")


def _picture(uri: str, alt: str, caption: str) -> str:
    return f'<figure class="picture"><img src="{uri}" alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'


def _neighbours(run: RunFacts) -> str:
    drawn = run.generated
    if drawn is None or not drawn.neighbours:
        reason = "Without the generator there are none." if drawn is None else drawn.no_neighbours
        return f"<p>{escape(reason or 'They were not sought.')}</p>"
    n = max(len(found.distances) for found in drawn.neighbours)
    heads = ["sample", *(f"nearest {i + 1}" for i in range(n))]
    rows = []
    for i, found in enumerate(drawn.neighbours):
        told = found.caption or f"sample {i + 1}"
        cells = [f'<th scope="row">{_small(found.picture, f"Sample {i + 1}")}<span>{escape(told)}</span></th>']
        for k, distance in enumerate(found.distances):
            near = _small(found.nearest[k], f"Training image {k + 1} nearest to sample {i + 1}") if found.nearest else ""
            where = f"{escape(found.nearest_captions[k])} " if found.nearest_captions else ""
            cells.append(f"<td>{near}<span>{where}{_number(distance)}</span></td>")
        rows.append("".join(cells))
    unit = "pixels, in grey levels of 255," if drawn.neighbours[0].picture else "numbers"
    text = f"Samples of step {drawn.step} beside the training samples nearest to them, with their distance: "
    text += f"by how much their {unit} differ, as a root mean square."
    return f"<p>{text}</p>" + _framed("Samples and their nearest training samples", heads, rows, "near")


def _small(png: bytes, alt: str) -> str:
    return f'<img src="{charts.uri(png)}" alt="{escape(alt)}">' if png else ""


def _health(run: RunFacts, problems: Sequence[str]) -> str:
    told = [f"<li><strong>Step {step}</strong>: {escape(text)}</li>" for step, text in run.warnings]
    text = f'<ul class="warnings">{"".join(told)}</ul>' if told else "<p>No warning is recorded.</p>"
    if problems:
        text += '<p>Of this report:</p><ul class="warnings">' + "".join(f"<li>{escape(p)}</li>" for p in _few(problems)) + "</ul>"
    return text


def _few(texts: Sequence[str], most: int = 20) -> list[str]:
    return [*texts[:most], *([f"... and {len(texts) - most} more."] if len(texts) > most else [])]


def _cost(run: RunFacts) -> list[tuple[str, str]]:
    machine, options = run.config.get("machine", {}), run.config["run"]
    meant = options.get("steps")
    told: list[tuple[str, Any]] = [
        ("steps", f"{run.step} of {meant}" if meant != run.step else run.step),
        ("time", _duration(run.seconds)),
        ("real samples a second", "" if run.rate is None else f"{run.rate:.0f}, the median"),
        ("device", options.get("device")),
        ("graphics card", machine.get("cuda")),
        ("processor", machine.get("processor")),
        ("threads", machine.get("threads")),
        ("system", machine.get("system")),
        ("trained parameters", ", ".join(f"{name} {count:,}" for name, count in run.parameters.items())),
        ("data", f"{run.dataset}, {run.config['data'].get('count', '?')} samples, shape {_shape(run.config['data'].get('shape'))}"),
    ]
    return [(name, str(value)) for name, value in told if value not in (None, "", "-")]


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape)) if isinstance(shape, list) else "not known"


def _configuration(run: RunFacts) -> str:
    changed = sum(setting.changed for setting in run.settings)
    rows = []
    for s in run.settings:
        default = "not known" if not s.known else "none" if s.default is None else _value(s.default)
        mark = ("changed", ' class="changed"') if s.changed else ("", "")
        cells = "".join(f"<td>{escape(text)}</td>" for text in (_value(s.value), default, mark[0]))
        rows.append(f'<th scope="row"{mark[1]}><code>{escape(s.flag)}</code></th>{cells}')
    told = run.no_defaults or f"{changed} of {len(run.settings)} options are not the recipe's defaults; some are settled when a run starts."
    table = _framed("Every option of the run", ["option", "value", "recipe's default", "changed"], rows)
    return f"<p>{escape(told)}</p>" + _details("All options", table)


def _value(value: Any) -> str:
    return {True: "on", False: "off", None: "none"}[value] if value is None or isinstance(value, bool) else str(value) or "empty"


def _repeat(run: RunFacts) -> str:
    machine = run.config.get("machine", {})
    versions = {"ganzoo": run.config.get("ganzoo"), "torch": machine.get("torch"), "python": machine.get("python")}
    versions |= {f"plugin {name}": version for name, version in run.config.get("plugins", {}).items()}
    versions |= {"data, SHA-256": run.config["data"]["checksum"]}
    told = [(name, str(version)) for name, version in versions.items() if version]
    return (
        f'<pre tabindex="0" class="command"><code>{escape(run.command)}</code></pre>'
        "<p>On the same machine, with as many threads, this torch and the same data, the numbers are the same bit for bit.</p>"
        + _pairs(told, "Versions")
    )


def _pairs(pairs: Iterable[tuple[str, str]], caption: str) -> str:
    rows = [f'<th scope="row">{escape(name)}</th><td>{escape(value)}</td>' for name, value in pairs]
    return _framed(caption, [], rows, "pairs")


def _table(table: Table) -> str:
    rows = []
    for row in table.rows:
        tags = ['th scope="row"', *["td"] * (len(row) - 1)]
        short = [' class="short"' if len(str(cell)) < 30 else "" for cell in row]
        rows.append("".join(f"<{tag}{s}>{escape(str(c))}</{tag[:2]}>" for tag, s, c in zip(tags, short, row, strict=True)))
    return _framed(table.caption or "Table", table.columns, rows)


def _framed(caption: str, columns: Sequence[str], rows: Sequence[str], kind: str = "") -> str:
    """A table of rows that are HTML already. It scrolls by itself where it is too wide, by keyboard too."""
    heads = "".join(f'<th scope="col">{escape(str(c))}</th>' for c in columns)
    head = f"<thead><tr>{heads}</tr></thead>" if columns else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption)}"><table class="{kind}">'
        f"<caption>{escape(caption)}</caption>{head}<tbody>{body}</tbody></table></div>"
    )


def _details(summary: str, text: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{text}</details>"


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
    return (resources.files("ganzoo.report") / name).read_text(encoding="utf-8")


