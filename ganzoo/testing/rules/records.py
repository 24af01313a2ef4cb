"""Rules for records, which are only looked at."""

from __future__ import annotations

import json

from ganzoo import options
from ganzoo.testing.case import Case, rule
from ganzoo.types import JUDGES, KINDS

PARTS = (*KINDS, "network", "wrapper", "degradation")


@rule(*PARTS, *JUDGES, "dataset", "medium")
def target_resolves(case: Case) -> None:
    """The record's target can be imported, and is what the record says: a class of that kind, or a function."""
    target = case.known_entry.load()
    if case.kind == "dataset":
        assert callable(target), f"wanted a function, got {target!r}"
    else:
        base = case.known_entry.interface()
        assert isinstance(target, type), f"wanted a class, got {target!r}"
        assert issubclass(target, base), f"wanted a ganzoo.{base.__name__}; {target.__name__} is a {target.__bases__[0].__name__}"
        lacks = sorted(getattr(target, "__abstractmethods__", ()))
        assert not lacks, f"{target.__name__} lacks {', '.join(lacks)}"


@rule(*PARTS, *JUDGES, "dataset")
def options_can_be_typed(case: Case) -> None:
    """Each option has a default and help, a type that the command line can show, and comes back the same from JSON."""
    import click

    cls = case.record.options
    for name, f in options.fields(cls).items():
        assert f.metadata.get("help"), f"{name} has no help: make it with ganzoo.option(default, help)"
    defaults = options.make(cls, {})
    assert options.make(cls, json.loads(json.dumps(options.to_json(defaults)))) == defaults
    command = click.Command("x", params=[*options.click_options(cls, f"{case.kind}.")])
    typed = []
    for name, value in options.to_json(defaults).items():
        flag = options.flag(name, f"{case.kind}.")
        if isinstance(value, bool):
            typed.append(flag if value else flag.replace("--", "--no-", 1))
        elif value is not None:
            typed += [flag, str(value)]
    parsed = {key.rpartition("__")[2]: value for key, value in command.make_context("x", typed).params.items() if value is not None}
    assert options.make(cls, parsed) == defaults, f"typed on the command line, {parsed} is not {defaults}"


@rule("dataset")
def data_says_where_it_comes_from(case: Case) -> None:
    """The record names the licence and the source of the data; "made by code" is a source."""
    empty = [name for name in ("title", "licence", "source") if not getattr(case.record, name)]
    assert not empty, f"it names no {empty[0]}"
