"""The registry: every part, recipe and data set by name, whoever published it."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganzoo import options
from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.registry.discovery import CORE, LOCAL, Plugin, installed
from ganzoo.types import JUDGES, QUICK, DataSet, DataSpec, FeaturesPart, NetworkPart, Recipe, Record, WrapperPart

if TYPE_CHECKING:
    from ganzoo.interfaces import Network, Wrapper
    from ganzoo.media.medium import Medium

WORDS = {"features": "feature extractor", "dataset": "data set"}
#: The interfaces that the class of a part implements, by kind, and their modules. Networks in a role of their own are `Network`s.
INTERFACES = {
    "generator": "interfaces:Generator", "discriminator": "interfaces:Discriminator", "loss": "interfaces:Loss",
    "strategy": "strategy:Strategy", "wrapper": "interfaces:Wrapper", "degradation": "interfaces:Degradation", "metric": "metrics:Metric",
    "features": "metrics:FeatureExtractor", "medium": "media.medium:Medium",
}  # fmt: skip
DISTRIBUTION, VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"), re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+-]{0,99}")
NONE = "none"  # in the place of a degradation's name
ORDER = ("recipe", "generator", "discriminator", "loss", "strategy", "wrapper", "degradation", "dataset", *JUDGES, "medium")


@dataclass(frozen=True)
class Entry:
    """A record and the plugin that published it. `name` is what the command line calls it: the short name where that is unique."""

    kind: str
    name: str
    record: Record
    plugin: Plugin

    @property
    def qualified(self) -> str:
        """distribution/name: unique whatever else is installed."""
        return f"{self.plugin.distribution}/{self.record.name}"

    @property
    def stored(self) -> str:
        """The name that a run writes down: a stranger's in full, which stays unique when more is installed."""
        return self.name if self.plugin.distribution == CORE else self.qualified

    def load(self) -> Any:
        """Import what the record's target names. Raises GanzooError that names the plugin where that fails."""
        assert not isinstance(self.record, Recipe)
        module, _, name = self.record.target.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except KeyboardInterrupt:
            raise
        except BaseException as e:
            advice = f"Upgrade or reinstall {self.plugin.origin}."
            raise GanzooError(f"{self.record.target}, of {self.plugin.origin}, cannot be loaded: {type(e).__name__}: {e}. {advice}") from e

    def interface(self) -> type:
        """The interface that the class of a part implements."""
        module, _, name = INTERFACES.get(self.kind, "interfaces:Network").partition(":")
        base: type = getattr(importlib.import_module(f"ganzoo.{module}"), name)
        return base

    def options(self, values: Mapping[str, Any], prefix: str) -> Any:
        """The options of a part or data set from plain values. Raises UsageError for unknown names and bad values, which it names with the
        prefix."""
        assert not isinstance(self.record, Recipe)
        return options.make(self.record.options, values, prefix)

    def build(self, *args: Any) -> Any:
        """The part, made by its plugin's class. Raises GanzooError that names the plugin where that fails, or where it is no such part."""
        cls, base = self.load(), self.interface()
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise GanzooError(f"{self.kind} {self.name!r} of {self.plugin.origin}: wanted a ganzoo.{base.__name__}, got {cls!r}.")
        try:
            return cls(*args)
        except GanzooError:
            raise
        except Exception as e:
            raise GanzooError(f"{self.kind} {self.name!r} of {self.plugin.origin} cannot be built: {type(e).__name__}: {e}") from e

    def network(self, spec: DataSpec, options: Any) -> Network:
        """The network of a record, built for data as it knows it."""
        assert isinstance(self.record, NetworkPart)
        network: Network = self.build(spec, options)
        network.record = self.record
        return network

    def wrapper(self, spec: DataSpec, options: Any) -> Wrapper:
        """The wrapper of a record, for a discriminator that knows such data."""
        assert isinstance(self.record, WrapperPart)
        wrapper: Wrapper = self.build(spec, options)
        wrapper.record = self.record
        return wrapper


@dataclass(frozen=True)
class Measures:
    """Metrics and a feature extractor that were named, with the extractor's layer; empty where none was."""

    metrics: tuple[Entry, ...] = ()
    extractor: Entry | None = None
    layer: str = ""


class Catalogue:
    """Look-up by kind and name. A built-in keeps its short name; two strangers with one name must both be named in full."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        claims: dict[tuple[str, str], list[tuple[Record, Plugin]]] = {}
        for plugin in self.plugins:
            for record in plugin.records:
                claims.setdefault((record.kind, record.name), []).append((record, plugin))
        self._entries: dict[tuple[str, str], Entry] = {}
        self._clashes: dict[tuple[str, str], list[Entry]] = {}
        for (kind, short), claimants in claims.items():
            owner = claimants[0][1] if len(claimants) == 1 else next((p for _, p in claimants if p.distribution == CORE), None)
            entries = [Entry(kind, short if p is owner else f"{p.distribution}/{short}", r, p) for r, p in claimants]
            for entry in entries:
                self._entries[kind, entry.qualified] = self._entries[kind, entry.name] = entry
            if owner is None:
                self._clashes[kind, short] = entries

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of records that there are or can be, networks in roles of their own among them."""
        roles = {e.kind for e in self._entries.values()} - set(ORDER)
        return (*ORDER[:3], *sorted(roles), *ORDER[3:])

    def entries(self, kind: str | None = None) -> Iterator[Entry]:
        """All entries of a kind (or of every kind), each once, by kind and name."""
        once = {(e.kind, e.qualified): e for e in self._entries.values() if kind in (None, e.kind)}
        place = {kind: i for i, kind in enumerate(self.kinds)}
        return iter(sorted(once.values(), key=lambda e: (place[e.kind], e.name)))

    def find(self, kind: str, name: str) -> Entry | None:
        """The entry of that kind and name, short or qualified, if there is one."""
        return self._entries.get((kind, name))

    def get(self, kind: str, name: str) -> Entry:
        """The entry of that kind and name, short or qualified.

        Raises UsageError with the names that look like it, or with both claimants where two plugins use one name.
        """
        if entry := self.find(kind, name):
            return entry
        if clash := self._clashes.get((kind, name)):
            claimants = " and ".join(f"'{e.qualified}' (from {e.plugin.origin})" for e in clash)
            raise UsageError(f"{kind} {name!r} is published by more than one plugin: {claimants}. Name one of them in full.")
        names = [e.name for e in self.entries(kind)]
        hint = did_you_mean(name, names) or f" There is {', '.join(names) or 'none: no plugin is loaded'}."
        bad = [p for p in self.plugins if p.state != "ok"]
        more = f" ({', '.join(f'{p.name}: {p.state}' for p in bad)}: see `ganzoo plugins`.)" if bad else ""
        raise UsageError(f"there is no {WORDS.get(kind, kind)} {name!r}.{hint}{more}")

    def recipe(self, name: str) -> Recipe:
        record = self.get("recipe", name).record
        assert isinstance(record, Recipe)
        return record

    def dataset(self, name: str) -> DataSet:
        record = self.get("dataset", name).record
        assert isinstance(record, DataSet)
        return record

    def parts_of(self, recipe: Recipe, exchanged: Mapping[str, str], preset: str = QUICK) -> dict[str, Entry]:
        """The recipe's parts by kind, or those that `exchanged` names in their place; a degradation "none" takes it away."""
        names = {**recipe.parts_in(preset), **exchanged}
        return {kind: self.get(kind, name) for kind, name in names.items() if (kind, name) != ("degradation", NONE)}

    def trackers(self, names: str, warn: Callable[[str], None] | None = None) -> list[Plugin]:
        """The plugins that a comma-separated list names for watching a run.

        warn: told of each that is not loaded, or watches nothing. Without `warn`, UsageError is raised in that case.
        """
        able = {plugin.name: plugin for plugin in self.plugins if plugin.tracks}
        wanted = options.listed(names)
        for name in set(wanted) - able.keys():
            hint = did_you_mean(name, able) or f" There is {', '.join(able) or 'none'}."
            text = f"--track: no plugin called {name!r} watches runs.{hint}"
            if warn is None:
                raise UsageError(text)
            warn(f"{text} The run goes on without it.")
        return [able[name] for name in wanted if name in able]

    def measures(self, metrics: str, features: str) -> Measures:
        """The metrics in a comma-separated list, and the extractor that "name@layer" stands for; "": none.

        Raises UsageError for what there is not.
        """
        entries = tuple(self.get("metric", name) for name in options.listed(metrics))
        if metrics and not entries:
            there = ", ".join(e.name for e in self.entries("metric"))
            raise UsageError(f"--metric: wanted names, as fid,kid; got none. There is {there}.")
        if not features:
            return Measures(entries)
        name, _, layer = features.partition("@")
        extractor = self.get("features", name)
        assert isinstance(extractor.record, FeaturesPart)
        layers = extractor.record.layers
        if layer and layer not in layers:
            raise UsageError(f"--features {features}: {name} has no layer {layer!r}. It has {', '.join(layers)}.")
        return Measures(entries, extractor, layer or layers[0])

    def check_versions(self, file: object, used: Mapping[str, str], warn: Callable[[str], None]) -> None:
        """Compare the plugins that a run or a file was made with, "distribution/plugin" to version, with those that are loaded.

        warn: told of another version. Raises UsageError for a plugin that is not loaded.
        """
        loaded = {f"{p.distribution}/{p.name}": p for p in self.plugins}
        for name, version in ((name, str(version)) for name, version in used.items()):  # a file may say anything
            distribution, _, plugin = name.partition("/")
            made_with = f"{file} was made with plugin {plugin} of {distribution} {version}"
            install = "Name it with --plugin PATH" if distribution == LOCAL else f"`pip install {distribution}=={version}` brings it back"
            if not (DISTRIBUTION.fullmatch(distribution) and VERSION.fullmatch(version)):  # nobody is to paste it
                install = "Its file does not name a distribution and a version"
            if name not in loaded:
                raise UsageError(f"{made_with}, which is not installed. {install}.")
            if loaded[name].state != "ok":
                raise UsageError(f"{made_with}, which is {loaded[name].state}: {loaded[name].reason}.")
            if loaded[name].version != version:
                warn(f"{file} was made with {name} {version}; going on with {loaded[name].version}: it may not be the same.")


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue of what is installed, built once a process."""
    return Catalogue(installed())


@functools.cache
def medium(name: str) -> Medium:
    """The medium of that name, as a field says it."""
    found: Medium = catalogue().get("medium", name).build()
    return found
