"""The rules, by subject: one function each. Its docstring says what it demands; it raises AssertionError where that does not hold."""

from __future__ import annotations

from importlib import import_module

from ganzoo.testing.case import RULES

__all__ = ["RULES"]

# In the order in which they are checked: the light ones first.
for name in ("plugin", "records", "networks", "training", "around", "media", "data", "metrics"):
    import_module(f"{__name__}.{name}")
