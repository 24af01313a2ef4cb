"""Every part, recipe and data set by name, whoever published it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ganzoo.errors import UsageError, did_you_mean
from ganzoo.registry.discovery import CORE, Plugin, installed, kind_of, resolve
from ganzoo.types import JUDGES, KINDS, DataSet, Part, Recipe, Record

WORDS = {"features": "feature extractor", "dataset": "data set"}
ALL_KINDS = ("recipe", *KINDS, "dataset", *JUDGES)


@dataclass(frozen=True)
class Entry:
    """A record and the plugin that brought it. `name` is what the command line calls it: the short name where that is clear."""

    kind: str
    name: str
    record: Record
    plugin: Plugin

    @property
    def qualified(self) -> str:
        """distribution/name: clear whatever else is installed."""
        return f"{self.plugin.distribution}/{self.record.name}"

    @property
    def stored(self) -> str:
        """What a run writes down: a stranger's name in full, which stays clear when others are installed."""
        return self.name if self.plugin.distribution == CORE else self.qualified

    def load(self) -> Any:
        """Import what the record's target names."""
        assert not isinstance(self.record, Recipe)
        return resolve(self.record.target, self.plugin.origin)


class Catalogue:
    """Look-up by kind and name. A built-in keeps its short name; two strangers with one name must both be named in full."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        found: dict[tuple[str, str], list[tuple[Record, Plugin]]] = {}
        for plugin in self.plugins:
            for record in plugin.records:
                found.setdefault((kind_of(record), record.name), []).append((record, plugin))
        self._entries: dict[tuple[str, str], Entry] = {}
        self._clashes: dict[tuple[str, str], list[Entry]] = {}
        for (kind, short), claims in found.items():
            owner = claims[0][1] if len(claims) == 1 else next((p for _, p in claims if p.distribution == CORE), None)
            entries = [Entry(kind, short if p is owner else f"{p.distribution}/{short}", r, p) for r, p in claims]
            for entry in entries:
                self._entries[kind, entry.qualified] = self._entries[kind, entry.name] = entry
            if owner is None:
                self._clashes[kind, short] = entries

    def entries(self, kind: str | None = None) -> Iterator[Entry]:
        """All entries of a kind (or of every kind), each once, by kind and name."""
        once = {(e.kind, e.qualified): e for e in self._entries.values() if kind in (None, e.kind)}
        return iter(sorted(once.values(), key=lambda e: (ALL_KINDS.index(e.kind), e.name)))

    def get(self, kind: str, name: str) -> Entry:
        """The entry of that kind and name, short or qualified.

        Raises UsageError with the names that look like it, or with both claimants where two plugins use one name.
        """
        if entry := self._entries.get((kind, name)):
            return entry
        if clash := self._clashes.get((kind, name)):
            told = " and ".join(f"'{e.qualified}' (from {e.plugin.origin})" for e in clash)
            raise UsageError(f"{kind} {name!r} is published by more than one plugin: {told}. Name one of them in full.")
        names = [e.name for e in self.entries(kind)]
        hint = did_you_mean(name, names) or f" There is {', '.join(names) or 'none: no plugin is loaded'}."
        bad = [p for p in self.plugins if p.state != "ok"]
        more = f" ({', '.join(f'{p.name}: {p.state}' for p in bad)}: see `ganzoo plugins`.)" if bad else ""
        raise UsageError(f"there is no {WORDS.get(kind, kind)} {name!r}.{hint}{more}")

    def part(self, kind: str, name: str) -> Part:
        record = self.get(kind, name).record
        assert isinstance(record, Part)
        return record

    def recipe(self, name: str) -> Recipe:
        record = self.get("recipe", name).record
        assert isinstance(record, Recipe)
        return record

    def dataset(self, name: str) -> DataSet:
        record = self.get("dataset", name).record
        assert isinstance(record, DataSet)
        return record


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue of what is installed, built once a process."""
    return Catalogue(installed())
