"""`ganzoo list`, `ganzoo show`, `ganzoo plugins`: what there is. No torch."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import click

from ganzoo import compose, options
from ganzoo.cli.ui import complete_names, json_option, table, title
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.registry.catalogue import ALL_KINDS, Entry, catalogue
from ganzoo.registry.discovery import CORE
from ganzoo.types import JUDGES, KINDS, DataSet, MediumPart, Part, Recipe


def _as_json(entry: Entry) -> dict[str, Any]:
    record = entry.record
    values: dict[str, Any] = {"kind": entry.kind, "name": entry.name, "qualified": entry.qualified, "title": title(entry)}
    if isinstance(record, Recipe):
        values |= {"paper": record.paper, "year": record.year, "parts": {kind: record.part(kind) for kind in KINDS}}
    elif isinstance(record, DataSet):
        values |= {"keys": list(record.keys), "classes": record.classes, "licence": record.licence, "source": record.source}
    elif isinstance(record, Part):
        values |= {"gives": list(record.gives), "needs": list(record.needs), "given": list(record.given), "per_sample": record.per_sample}
    p = entry.plugin
    return {**values, "distribution": p.distribution, "version": p.version, "plugin": p.name, "location": p.location}


def _origin(entry: Entry) -> str:
    """Distribution and version; of a stranger's plugin, the place that it is loaded from too."""
    return entry.plugin.origin if entry.plugin.distribution == CORE else f"{entry.plugin.origin} in {entry.plugin.location}"


def _has(entry: Entry, key: str) -> bool:
    record = entry.record
    if isinstance(record, MediumPart):
        return False
    return key in (*record.keys, *(record.given if isinstance(record, Part) else ())) or (
        isinstance(record, DataSet) and record.attributes and key == "y"
    )


@click.command("list")
@click.argument("pattern", required=False, shell_complete=complete_names)
@click.option("--kind", type=click.Choice([*ALL_KINDS, "all"]), default="recipe", show_default=True, help="What to list.")
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
    if as_json:
        click.echo(json.dumps([_as_json(e) for e in entries], indent=1))
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
@click.option("--kind", type=click.Choice(ALL_KINDS), help="Where one name means several things.")
@json_option
def show_command(name: str, kind: str | None, as_json: bool) -> None:
    """Show what NAME is: its paper, parts, options and their sources, the data it needs, its measured results."""
    entries = []
    for each in [kind] if kind else ALL_KINDS:
        try:
            entries.append(catalogue().get(each, name))
        except UsageError:
            if kind or any(e.record.name == name for e in catalogue().entries(each)):
                raise
    if not entries:
        raise UsageError(f"there is nothing called {name!r}.{did_you_mean(name, {e.name for e in catalogue().entries()})}")
    if as_json:
        click.echo(json.dumps([_as_json(e) | {"options": _option_rows(e)} for e in entries], indent=1))
        return
    for i, entry in enumerate(entries):
        if i:
            click.echo()
        _show(entry)


def _line(label: str, text: object) -> None:
    if text:
        click.echo(click.style(f"  {label:<15}", fg="cyan") + str(text))


def _show(entry: Entry) -> None:
    record = entry.record
    rows = _option_rows(entry)  # first of all: a recipe may name a part that there is not
    click.echo(click.style(entry.name, bold=True) + f"  {entry.kind} of {_origin(entry)}")
    if isinstance(record, Recipe):
        parts = {part_kind: part.part for part_kind, part in catalogue().parts_of(record, {}).items()}
        _line("what", f"{record.title}: {record.summary}" if record.summary else record.title)
        _line("paper", " ".join(str(value) for value in (record.paper, record.year) if value))
        for kind in KINDS:
            _line(kind, f"{record.part(kind)}: {parts[kind].summary}" if parts[kind].summary else record.part(kind))
        _line("data", _needs_of_data(record, parts))
        _line("run", ", ".join(f"{options.flag(k)} {v}" for k, v in record.defaults.items() if "." not in k))
        for result in record.results:
            _line("measured", result)
    elif isinstance(record, DataSet):
        _line("what", record.title)
        _line("", record.summary)
        _line("gives", ", ".join(record.keys) + (" (y with --labels)" if record.attributes else ""))
        _line("classes", record.classes)
        _line("image size", record.image_size)
        _line("licence", record.licence)
        _line("source", record.source)
    elif isinstance(record, MediumPart):
        _line("what", record.summary)
    else:
        _line("what", record.summary)
        _line("gives", ", ".join(record.gives))
        _line("needs", ", ".join(record.needs))
        _line("given", ", ".join(record.given))
        _line("per sample", "no output depends on another sample" if record.per_sample and record.kind == "discriminator" else "")
        _line("", "needs a discriminator without BatchNorm" if record.per_sample and record.kind == "loss" else "")
        _line("data", " or ".join(record.data))
        _line("sizes", ", ".join(map(str, record.sizes)))
    if rows:
        click.echo(click.style("  options", fg="cyan"))
        shown = [[r["flag"], str(r["default"]), r["help"] + (f" ({r['source']})" if r["source"] else "")] for r in rows]
        widths = [max(len(row[i]) for row in shown) for i in (0, 1)]
        for flag, default, help in shown:
            click.echo(f"    {flag:<{widths[0]}}  {default:<{widths[1]}}  {help}")


def _needs_of_data(recipe: Recipe, parts: dict[str, Part]) -> str:
    kinds = [kind for kind in ("image", "points") if all(kind in part.data for part in parts.values())]
    sizes = compose.common_sizes(parts)
    words = " or ".join({"image": "images", "points": "points"}[kind] for kind in kinds)
    words += f" of {', '.join(map(str, sizes))} pixels" if sizes else ""
    return words + (" with labels" if "y" in compose.needed_keys(recipe, parts) else "")


def _option_rows(entry: Entry) -> list[dict[str, Any]]:
    record = entry.record
    rows = []
    if isinstance(record, Recipe):
        draft = compose.draft(catalogue(), entry.name, {})
        for kind, part in draft.parts.items():
            rows += _rows_of(part.part, f"{kind}.", draft.defaults(kind))
    elif isinstance(record, Part):
        rows = _rows_of(record, f"{record.name if record.kind in JUDGES else record.kind}.", {})
    return rows


def _rows_of(part: Part, prefix: str, defaults: dict[str, Any]) -> list[dict[str, Any]]:
    def source(name: str, own: object, text: str) -> str:
        return text if defaults.get(name, own) == own else f"this recipe; otherwise {own}" + (f", {text}" if text else "")

    return [
        {
            "flag": options.flag(name, prefix),
            "default": defaults.get(name, f.default),
            "help": f.metadata.get("help", ""),
            "source": source(name, f.default, f.metadata.get("source", "")),
        }
        for name, f in options.fields(part.options).items()
    ]


@click.command("plugins")
@json_option
def plugins_command(as_json: bool) -> None:
    """List the plugins: where each came from, whether it works, what it provides and what its import costs."""
    from ganzoo.cli import plugin_commands
    from ganzoo.registry.discovery import overwritten
    from ganzoo.registry.records import kind_of

    plugins = []
    commands = plugin_commands()[1]
    for p in catalogue().plugins:
        provides = [f"{kind_of(r)} {r.name}" for r in p.records] + commands.get(f"{p.distribution}/{p.name}", [])
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
    table(["plugin", "origin", "state", "import", "provides, or what is wrong", "location"], rows)
