"""The kind of a record, and its faults."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ganzoo import options
from ganzoo.config import RunOptions
from ganzoo.errors import UsageError
from ganzoo.types import JUDGES, KINDS, DataSet, MediumPart, Part, Recipe, Record


def kind_of(record: Record) -> str:
    """generator, discriminator, loss, strategy, metric, features, recipe, dataset or medium."""
    return record.kind if isinstance(record, Part) else type(record).__name__.lower().removesuffix("part")


def fault(record: Any) -> str:
    """Why a record cannot be used, or an empty string."""
    if not isinstance(record, Part | MediumPart | Recipe | DataSet):
        return f"wanted a Part, Recipe, DataSet or MediumPart, got {type(record).__name__}"
    for f in fields(record):
        value = getattr(record, f.name)
        # Annotations are strings here, and comparing them as such is all that start-up has time for.
        if f.type == "str" and not isinstance(value, str):
            return f"{f.name}: wanted a string, got {value!r}"
        if str(f.type).startswith("Mapping") and not isinstance(value, Mapping):
            return f"{f.name}: wanted a dict, got {value!r}"
        if str(f.type).startswith("tuple") and not (isinstance(value, tuple) and all(isinstance(v, str | int | tuple) for v in value)):
            return f"{f.name}: wanted a tuple, got {value!r}"
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", record.name):
        return "a name is made of small letters, digits and single hyphens"
    if isinstance(record, Recipe):
        unnamed = [kind for kind in KINDS if not record.part(kind)]
        return f"it names no {unnamed[0]}" if unnamed else _defaults_fault({**record.defaults, **record.small})
    return (_part_fault(record) if isinstance(record, Part) else "") or _target_fault(record.target)


def _part_fault(part: Part) -> str:
    if part.kind not in (*KINDS, *JUDGES):
        return f"kind: wanted one of {', '.join((*KINDS, *JUDGES))}, got {part.kind!r}"
    if part.kind in JUDGES and not part.gives:
        return "gives: wanted the names of its " + ("figures" if part.kind == "metric" else "layers") + ", got none"
    for name, direction in part.better.items():
        if name not in part.gives or direction not in ("lower", "higher"):
            return f"better: wanted figures that it gives, and 'lower' or 'higher'; got {name!r}: {direction!r}"
    try:
        for name, f in options.fields(part.options).items():
            assert part.options is not None
            options.field_type(part.options, name)
            if f.default is MISSING:
                return f"{part.options.__name__}.{name} has no default"
            options.check_value(part.options, name, f.default, f"the default of {part.options.__name__}.{name}")
        options.make(part.options, part.small, "small: ")
    except (TypeError, NameError, UsageError) as e:
        return str(e)
    return ""


def _defaults_fault(defaults: Mapping[Any, Any]) -> str:
    for key in defaults:
        kind, dot, _ = str(key).partition(".")
        if not isinstance(key, str) or (kind not in KINDS if dot else key not in options.fields(RunOptions)):
            return f"defaults: there is no run option and no part called {key!r}"
    return ""


def _target_fault(target: str) -> str:
    """Why "package.module:Name" names nothing, found without importing the module; or an empty string."""
    module, _, name = target.partition(":")
    if not name.isidentifier():
        return f"target: wanted 'package.module:Name', got {target!r}"
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return f"target: there is no module {module!r}"
    if spec.origin and spec.origin.endswith(".py"):
        source = Path(spec.origin).read_text(encoding="utf-8")
        if not re.search(rf"\b({name}|__getattr__)\b|import \*", source):
            return f"target: {module} has no {name!r}"
    return ""
