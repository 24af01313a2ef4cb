"""`ganzoo list`, `ganzoo show`, `ganzoo plugins`: what there is. No torch."""

from __future__ import annotations

import fnmatch
import json
import shutil
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import click

from ganzoo import compose, options
from ganzoo.cli.ui import Kind, complete_names, is_terminal, json_option, table, title, title_of
from ganzoo.errors import UsageError, did_you_mean, one_line
from ganzoo.registry.catalogue import Entry, catalogue
from ganzoo.registry.discovery import CORE
from ganzoo.types import DataSet, FeaturesPart, Field, MetricPart, Part, Recipe, Record, WrapperPart

WIDE = 120  # letters on a line, for a table of six columns


def _as_json(entry: Entry) -> dict[str, Any]:
    values: dict[str, Any] = {"kind": entry.kind, "name": entry.name, "qualified": entry.qualified, "title": title(entry)}
    for f in fields(entry.record):
        value = getattr(entry.record, f.name)
        if f.name not in ("name", "options", "check", "title"):
            values[f.name] = dict(value) if isinstance(value, Mapping) else value
    p = entry.plugin
    return {**values, "distribution": p.distribution, "version": p.version, "plugin": p.name, "location": p.location}


def _origin(entry: Entry) -> str:
    """Distribution and version; of a stranger's plugin, the place that it is loaded from too."""
    return entry.plugin.origin if entry.plugin.distribution == CORE else f"{entry.plugin.origin} in {entry.plugin.location}"


def _has(entry: Entry, key: str) -> bool:
    """Whether a record has or takes a field of the data."""
    record = entry.record
    if isinstance(record, DataSet):
        return key in record.fields or (record.attributes and key == "y")
    if isinstance(record, Recipe):
        return key in compose.Parts.of(catalogue().parts_of(record, {})).keys
    return any(key in getattr(record, name, ()) for name in ("takes", "needs", "given", "reads"))


@click.command("list")
@click.argument("pattern", required=False, shell_complete=complete_names)
@click.option("--kind", type=Kind("all"), default="recipe", show_default=True, help="What to list: a kind of part, dataset, or all.")
@click.option("--with", "key", metavar="KEY", help="Only what has or takes this key of the data: y for labels.")
@json_option
def list_command(pattern: str | None, kind: str, key: str | None, as_json: bool) -> None:
    """List the recipes, or another kind of part; PATTERN may hold wildcards: '*wgan*'."""
    entries = list(catalogue().entries(None if kind == "all" else kind))
    if pattern:
        wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
        known = [e.name for e in entries]
        entries = [e for e in entries if fnmatch.fnmatch(e.name, wanted)]
        if not entries:
            raise UsageError(f"no {kind if kind != 'all' else 'part'} is called {pattern!r}.{did_you_mean(pattern, known)}")
    if key:
        entries = [e for e in entries if _has(e, key)]
        if not entries:
            click.echo(one_line(f"No {kind if kind != 'all' else 'part'} has or takes {key!r}."), err=True)
            if not as_json:
                return
    if as_json:
        click.echo(json.dumps([_as_json(e) for e in entries], indent=1, default=Field.to_json))
        return
    rows = []
    for e in entries:
        recipe = e.record if isinstance(e.record, Recipe) else None
        year = str(recipe.year or "") if recipe else ""
        row = [e.name, title(e), recipe.paper if recipe else "", year, _origin(e)]
        rows.append([e.name, e.kind, *row[1:]] if kind == "all" else row if kind == "recipe" else [e.name, title(e), _origin(e)])
    columns = {"recipe": ["name", "title", "paper", "year", "origin"], "all": ["name", "kind", "title", "paper", "year", "origin"]}
    table(columns.get(kind, ["name", "what it is", "origin"]), rows)
    if bad := [p for p in catalogue().plugins if p.state in ("broken", "incompatible")]:
        click.secho(f"{len(bad)} plugin{'s' * (len(bad) > 1)} could not be loaded: `ganzoo plugins` says why.", dim=True, err=True)


@click.command("show")
@click.argument("name", shell_complete=complete_names)
@click.option("--kind", type=Kind(), help="Where one name means several things.")
@json_option
def show_command(name: str, kind: str | None, as_json: bool) -> None:
    """Show what NAME is: its paper, parts, options and their sources, the data it needs, its measured results."""
    entries = []
    for each in [kind] if kind else catalogue().kinds:
        try:
            entries.append(catalogue().get(each, name))
        except UsageError:
            if kind or any(e.record.name == name for e in catalogue().entries(each)):
                raise
    if not entries:
        raise UsageError(f"there is nothing called {name!r}.{did_you_mean(name, {e.name for e in catalogue().entries()})}")
    if as_json:
        click.echo(json.dumps([_as_json(e) | {"options": _option_rows(e)} for e in entries], indent=1, default=Field.to_json))
        return
    for i, entry in enumerate(entries):
        if i:
            click.echo()
        _show(entry)


def _line(label: str, text: object) -> None:
    if text:
        click.echo(click.style(f"  {one_line(label):<15}", fg="cyan") + one_line(text))


def _show(entry: Entry) -> None:
    record = entry.record
    rows = _option_rows(entry)  # first of all: a recipe may name a part that there is not
    click.echo(click.style(entry.name, bold=True) + f"  {entry.kind} of {one_line(_origin(entry))}")
    if isinstance(record, Recipe):
        draft = compose.draft(catalogue(), entry.name)
        _line("what", f"{record.title}: {record.summary}" if record.summary else record.title)
        _line("paper", " ".join(str(value) for value in (record.paper, record.year) if value))
        for kind, part in {**draft.parts, **draft.wrappers}.items():
            _line(kind, f"{part.name}: {title(part)}" if title(part) else part.name)
        _line("data", _needs_of_data(compose.Parts.of(draft.parts, draft.wrappers.values())))
        for name, values in record.presets.items():
            usual = record.parts_in()
            parts = {of: part for of, part in record.parts_in(name).items() if part != usual[of]}
            _line(f"preset {name}", " ".join(_typed(key, value) for key, value in {**parts, **values}.items()))
        for result in record.results:
            _line("measured", result)
        for line in bibtex(record).splitlines():
            _line("cite", line)
    else:
        for name, fact in _facts(record).items():
            _line(name, fact)
    if rows:
        click.echo(click.style("  options", fg="cyan"))
        shown = [[r["flag"], str(r["default"]), r["help"] + (f" ({r['source']})" if r["source"] else "")] for r in rows]
        widths = [max(len(row[i]) for row in shown) for i in (0, 1)]
        for flag, default, help in shown:
            click.echo(one_line(f"    {flag:<{widths[0]}}  {default:<{widths[1]}}  {help}"))


def bibtex(recipe: Recipe) -> str:
    """The paper of a recipe as an entry of BibTeX; "" where its record does not name title and authors."""
    if not recipe.paper_title or not recipe.authors:
        return ""
    where = f"  url = {{{recipe.paper}}},"
    if recipe.paper.startswith("arXiv:"):
        where = f"  eprint = {{{recipe.paper.removeprefix('arXiv:')}}}, archivePrefix = {{arXiv}},"
    key = f"{recipe.authors[0].split()[-1].lower()}{recipe.year or ''}{recipe.name}"
    lines = [f"@misc{{{key},", f"  title = {{{{{recipe.paper_title}}}}},", f"  author = {{{' and '.join(recipe.authors)}}},", where]
    return "\n".join([*lines, f"  year = {{{recipe.year}}},", "}"] if recipe.year else [*lines, "}"])


def _facts(record: Record) -> dict[str, str]:
    """What a part or a data set says of itself, in words by name; what is empty is left out."""
    facts = {"what": title_of(record)}
    for f in fields(record):
        value = getattr(record, f.name)
        if f.name in ("name", "target", "title", "options", "check", "modes", "sigma", *(("summary",) if isinstance(record, Part) else ())):
            continue
        if f.name == "fields":
            words = [f"{key}: {field.medium}{f' of {field.size} classes' if field.size else ''}" for key, field in value.items()]
            facts["gives"] = ", ".join(words) + ("; y with --labels" if isinstance(record, DataSet) and record.attributes else "")
        elif isinstance(value, Mapping):
            facts[f.name] = ", ".join(f"{key} ({better} is better)" if better else key for key, better in value.items())
        elif isinstance(value, bool):
            facts[f.name.replace("_", " ")] = ("yes" if value else "no") if f.name != "attributes" else ""
        else:
            facts[f.name.replace("_", " ")] = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value or "")
    return facts


def _typed(key: str, value: object) -> str:
    """An option of a preset as it is typed."""
    of, _, name = key.rpartition(".")
    flag = options.flag(name, f"{of}." if of else "")
    if isinstance(value, bool):
        return flag if value else flag.replace("--", "--no-", 1)
    return f"{flag} {value}"


def _needs_of_data(parts: compose.Parts) -> str:
    words = " or ".join(parts.media) + (f" of {', '.join(map(str, parts.sizes))} pixels" if parts.sizes else "")
    more = [key for key in parts.keys if key != "x"]
    return words + (f", with {', '.join('labels' if key == 'y' else key for key in more)}" if more else "")


def _option_rows(entry: Entry) -> list[dict[str, Any]]:
    record = entry.record
    if not isinstance(record, Recipe):
        called = record.name if isinstance(record, MetricPart | FeaturesPart | WrapperPart) else entry.kind
        return _rows_of(record.options, f"{called}.", {})
    rows, draft = [], compose.draft(catalogue(), entry.name)
    for of, part in draft.optioned.items():
        assert not isinstance(part.record, Recipe)
        rows += _rows_of(part.record.options, f"{of}.", draft.defaults(of))
    return rows


def _rows_of(cls: type | None, prefix: str, defaults: dict[str, Any]) -> list[dict[str, Any]]:
    def source(name: str, own: object, text: str) -> str:
        return text if defaults.get(name, own) == own else f"this recipe; otherwise {own}" + (f", {text}" if text else "")

    return [
        {
            "flag": options.flag(name, prefix),
            "default": defaults.get(name, f.default),
            "help": f.metadata.get("help", ""),
            "source": source(name, f.default, f.metadata.get("source", "")),
        }
        for name, f in options.fields(cls).items()
    ]


@click.command("plugins")
@json_option
def plugins_command(as_json: bool) -> None:
    """List the plugins: where each came from, whether it works, what it provides and what its import costs."""
    from ganzoo.cli import plugin_commands
    from ganzoo.registry.discovery import overwritten

    plugins = []
    commands = plugin_commands()[1]
    for p in catalogue().plugins:
        provides = [f"{r.kind} {r.name}" for r in p.records] + commands.get(f"{p.distribution}/{p.name}", [])
        provides += ["tracker"] if p.tracks else []
        reason = p.reason
        if others := overwritten(p):
            reason = f"{reason} {p.module} is also claimed by {', '.join(others)}, which may have replaced its files".strip()
        plugins.append(
            {
                "name": p.name, "distribution": p.distribution, "version": p.version, "state": p.state, "reason": reason,
                "provides": provides, "seconds": round(p.seconds, 4), "location": p.location,
            }
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(plugins, indent=1))
        return
    rows = [
        [
            str(t["name"]), f"{t['distribution']} {t['version']}", str(t["state"]), f"{1000 * p.seconds:.1f} ms",
            str(t["reason"]) or ", ".join(t["provides"]), str(t["location"]),  # type: ignore[arg-type]
        ]
        for t, p in zip(plugins, catalogue().plugins, strict=True)
    ]  # fmt: skip
    columns = ["plugin", "origin", "state", "import", "provides, or what is wrong", "location"]
    if is_terminal() and shutil.get_terminal_size().columns < WIDE:  # all of it is in --json, and where it is piped
        columns, rows = [columns[i] for i in (0, 1, 2, 4)], [[row[i] for i in (0, 1, 2, 4)] for row in rows]
    table(columns, rows)
