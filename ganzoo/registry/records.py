"""The faults of a record."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ganzoo import options
from ganzoo.config import RunOptions
from ganzoo.errors import UsageError
from ganzoo.types import QUICK, Check, DataSet, FeaturesPart, MetricPart, NetworkPart, Part, Recipe, WrapperPart

NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
RESERVED = ("recipe", "loss", "strategy", "wrapper", "degradation", "dataset", "metric", "features", "medium", "run")


def fault(record: Any) -> str:
    """Why a record cannot be used, or an empty string."""
    if not isinstance(record, Part | Recipe | DataSet) or type(record) is Part:
        return f"wanted one of ganzoo's records, as NetworkPart or Recipe; got {type(record).__name__}"
    for f in fields(record):
        value = getattr(record, f.name)
        # Annotations are strings here, and comparing them as such is all that start-up has time for.
        if f.type == "str" and not isinstance(value, str):
            return f"{f.name}: wanted a string, got {value!r}"
        if f.type == "Check" and not (isinstance(value, Check) and isinstance(value.small, Mapping)):
            return f"{f.name}: wanted a ganzoo.Check, got {value!r}"
        if str(f.type).startswith("Mapping") and not isinstance(value, Mapping):
            return f"{f.name}: wanted a dict, got {value!r}"
        if str(f.type).startswith("tuple") and not (isinstance(value, tuple) and all(isinstance(v, str | int | tuple) for v in value)):
            return f"{f.name}: wanted a tuple, got {value!r}"
    if not re.fullmatch(NAME, record.name):
        return "a name is made of small letters, digits and single hyphens"
    if isinstance(record, Recipe):
        return _recipe_fault(record)
    return _part_fault(record) or _target_fault(record.target)


def _part_fault(part: Part | DataSet) -> str:
    if isinstance(part, NetworkPart):
        if not re.fullmatch(NAME, part.role) or part.role in RESERVED:
            return f"role: wanted 'generator', 'discriminator' or a name of its own, got {part.role!r}"
        if not part.gives or not part.parameters:
            return "gives, takes, latents: wanted the names of what it gives, and of what it is called with"
    if isinstance(part, WrapperPart) and part.name in (*RESERVED, "generator", "discriminator"):
        return f"a wrapper's options are called by its name, and {part.name!r} is taken"
    if isinstance(part, MetricPart):
        wrong = [name for name, better in part.figures.items() if better not in ("lower", "higher", "")]
        if wrong or not part.figures:
            return f"figures: wanted names, each with 'lower', 'higher' or ''; got {dict(part.figures)!r}"
    if isinstance(part, FeaturesPart) and not part.layers:
        return "layers: wanted the names of its layers, got none"
    try:
        for name, f in options.fields(part.options).items():
            assert part.options is not None
            options.field_type(part.options, name)
            if f.default is MISSING:
                return f"{part.options.__name__}.{name} has no default"
            options.check_value(part.options, name, f.default, f"the default of {part.options.__name__}.{name}")
        options.make(part.options, part.check.small, "small: ")
    except (TypeError, NameError, UsageError) as e:
        return str(e)
    return ""


def _recipe_fault(recipe: Recipe) -> str:
    if unnamed := [kind for kind in ("loss", "strategy") if not recipe.parts.get(kind)]:
        return f"parts: it names no {unnamed[0]}"
    if QUICK not in recipe.presets and recipe.presets:
        return f"presets: wanted {QUICK!r} among them, got {', '.join(map(str, recipe.presets))}"
    named = {*recipe.parts, *recipe.wrappers, *(["degradation"] if recipe.degradation else [])}
    for values in (*recipe.presets.values(), recipe.check.small):
        if not isinstance(values, Mapping):
            return f"presets: wanted a dict of options each, got {values!r}"
        for key, value in values.items():
            of, dot, _ = str(key).partition(".")
            if values is not recipe.check.small and key in recipe.parts_in() and isinstance(value, str):
                continue
            if not isinstance(key, str) or (of not in named if dot else key not in options.fields(RunOptions)):
                return f"presets: there is no run option and no part called {key!r}"
    return ""


def _target_fault(target: str) -> str:
    """Why "package.module:Name" names nothing, found without importing the module; or an empty string."""
    module, _, name = target.partition(":")
    if not name.isidentifier():
        return f"target: wanted 'package.module:Name', got {target!r}"
    if name in getattr(sys.modules.get(module), "__dict__", ()):  # a file of --plugin, which is loaded: it may have made the class itself
        return ""
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
