"""The door: names and options come in, a run whose parts and data are looked up and fit each other goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import options
from ganzoo.config import DEFAULT_POINTS, Config, DataOptions, RunOptions, size_of, written_size
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import Catalogue, Entry, Measures, medium
from ganzoo.registry.discovery import Plugin
from ganzoo.types import DataSet, DataSpec, Part, Recipe

if TYPE_CHECKING:
    import torch

    from ganzoo.data import Prepared
    from ganzoo.interfaces import Strategy

Progress = Callable[[str, int, int], None]
STEPS = "steps"  # as a default in a recipe: the number of steps of the run, for the length of a schedule


# --- What parts need of each other, and of the data. Records alone: the catalogue is asked only for what would fit ---


@dataclass(frozen=True)
class Misfit:
    """Why parts cannot work together: the reason, and the kind of part that could be exchanged for one that `fits`."""

    reason: str
    kind: str = ""
    fits: Callable[[Part], bool] = lambda part: False

    def error(self, zoo: Catalogue) -> UsageError:
        """The error that says so and names the parts that would fit."""
        if not self.kind:
            return UsageError(self.reason)
        others = ", ".join(e.name for e in zoo.entries(self.kind) if self.fits(e.part))
        return UsageError(f"{self.reason} Those that do: {others}." if others else f"{self.reason} None that is installed does.")


def misfit(parts: Mapping[str, Part]) -> Misfit | None:
    """Where the parts of a GAN do not fit each other, whatever the data."""
    D, loss, G, strategy = parts["discriminator"], parts["loss"], parts["generator"], parts["strategy"]

    def judges(d: Part) -> bool:
        return set(loss.needs) <= set(d.gives) and (d.per_sample or not loss.per_sample)

    if missing := [name for name in loss.needs if name not in D.gives]:
        gives = f"{D.name!r} gives {_quoted(D.gives)}."
        return Misfit(f"loss {loss.name!r} needs a discriminator that gives {_quoted(missing)}; {gives}", "discriminator", judges)
    if not judges(D):
        reason = f"loss {loss.name!r} takes the gradient of each sample by itself, so it needs a discriminator without BatchNorm; "
        return Misfit(f"{reason}{D.name!r} has it.", "discriminator", judges)
    if set(strategy.needs) != set(loss.gives):
        asks = f"must be weighed by its strategy ({_quoted(loss.gives)})" if loss.gives else "is minimised as it is"
        reason = f"loss {loss.name!r} {asks}, which strategy {strategy.name!r} does not do."
        return Misfit(reason, "strategy", lambda s: set(s.needs) == set(loss.gives))
    if missing := [key for key in loss.given if key not in G.given]:
        takes = f"{G.name!r} takes {_quoted(G.given) or 'no condition'}."
        reason = f"loss {loss.name!r} needs a generator that takes {_quoted(missing)}; {takes}"
        return Misfit(reason, "generator", lambda g: set(loss.given) <= set(g.given))
    return None


def needed_keys(recipe: Recipe, parts: Mapping[str, Part]) -> tuple[str, ...]:
    """The keys of the batch that this combination reads."""
    return tuple(sorted({*recipe.keys, *(key for part in parts.values() for key in (*part.keys, *part.given))}))


def common_sizes(parts: Mapping[str, Part]) -> tuple[int, ...]:
    """The image sizes that all parts take; empty: any. Raises UsageError where they have none in common."""
    limits = {part.name: set(part.sizes) for part in parts.values() if part.sizes}
    if not limits:
        return ()
    common = set.intersection(*limits.values())
    if not common:
        listed = "; ".join(f"{name!r} takes {', '.join(map(str, sorted(s)))}" for name, s in limits.items())
        raise UsageError(f"no image size fits all parts: {listed}.")
    return tuple(sorted(common))


# --- The data that `--dataset` names ---


@dataclass(frozen=True)
class DataSource:
    """Data that was asked for, before it is prepared.

    asked: its name, or an absolute path, and what is to be made of it. entry: its record; None of a path.
    """

    asked: DataOptions
    entry: Entry | None

    @property
    def name(self) -> str:
        """The data set's name, or an absolute path."""
        return self.asked.dataset

    @property
    def record(self) -> DataSet | None:
        """Its record; None of a path."""
        record = self.entry.record if self.entry else None
        assert record is None or isinstance(record, DataSet)
        return record

    def asking(self, **changed: Any) -> DataSource:
        """The same with other options."""
        return replace(self, asked=replace(self.asked, **changed))

    def prepare(self, sizes: tuple[int, ...] = (), progress: Progress | None = None) -> Prepared:
        """The data from the cache, which is filled first if it must be. sizes: of images, of which one is wanted; empty: any."""
        from ganzoo.data import prepare

        try:
            return prepare(self.asked, self.record, sizes=sizes, progress=progress)
        except GanzooError:
            raise
        except (Exception, SystemExit) as e:
            whose = f" of {self.entry.plugin.origin}" if self.entry else ""
            raise GanzooError(f"data set {self.name!r}{whose} cannot be prepared: {type(e).__name__}: {e}") from e

    def check_unchanged(self, data: Prepared, checksum: str) -> None:
        """Raise UsageError where the data has another checksum than this; "": it is not known."""
        if checksum and data.checksum != checksum:
            raise UsageError(
                f"data set {self.name!r} has changed since the run was started: its checksum is {data.checksum[:12]}, "
                f"it was {checksum[:12]}. Bring the old data back, or name other data."
            )


def find_data(zoo: Catalogue, asked: DataOptions) -> DataSource:
    """The data that options name: a data set of that name, else a path.

    Raises UsageError for what is neither, with the names that look like it.
    """
    name, entry = asked.dataset, zoo.find("dataset", asked.dataset)
    if entry is None and (Path(name).exists() or "/" in name or "." in name or name.startswith("~")):
        name = str(Path(name).expanduser().resolve())  # a run is resumed from anywhere
    else:
        entry = zoo.get("dataset", name)
        name = entry.stored
    data_dir = str(Path(asked.data_dir).expanduser().resolve()) if asked.data_dir else None
    return DataSource(replace(asked, dataset=name, data_dir=data_dir), entry)


# --- A whole run ---


@dataclass(frozen=True)
class Resolved:
    """A run before its first step: recipe, parts, options and data set, looked up once and checked against each other.

    parts: entries by kind. options: the parts' option objects by kind. measures: the metrics that are named for its evaluation. trackers:
    the plugins that watch it. zoo: the catalogue, for what only the data decides (which metric is usual for it) and for errors that name
    what would fit.
    """

    zoo: Catalogue
    recipe: Entry
    parts: Mapping[str, Entry]
    options: Mapping[str, Any]
    run: RunOptions
    data: DataSource
    measures: Measures
    trackers: tuple[Plugin, ...]

    @cached_property
    def records(self) -> dict[str, Part]:
        """The records of the parts by kind."""
        return {kind: entry.part for kind, entry in self.parts.items()}

    @cached_property
    def config(self) -> Config:
        """The same as plain values, as a run writes it down."""
        values = {kind: options.to_json(chosen) for kind, chosen in self.options.items()}
        return Config(self.recipe.stored, {kind: entry.stored for kind, entry in self.parts.items()}, values, self.run)

    def plugins(self, *kinds: str) -> dict[str, str]:
        """Each plugin that the run is made with, "distribution/plugin", and its version; of these kinds, by default of all."""
        entries = {"recipe": self.recipe, **self.parts} | ({"dataset": self.data.entry} if self.data.entry else {})
        used = [entries[kind].plugin for kind in kinds or entries if kind in entries]
        return {f"{p.distribution}/{p.name}": p.version for p in used}

    def settled(self, **run: Any) -> Resolved:
        """The same with run options that had been left open: the device, the image size."""
        return replace(self, run=replace(self.run, **run))

    def prepare(self, progress: Progress | None = None) -> Prepared:
        """Its data, prepared. Raises UsageError where data and parts do not fit: before the preparation, as far as that can be told."""
        sizes = common_sizes(self.records)
        if (spec := self._expected(sizes)) is not None:
            self.check(spec)
        data = self.data.prepare(sizes, progress)
        self.check(data.spec)
        return data

    def _expected(self, sizes: tuple[int, ...]) -> DataSpec | None:
        """The description of the data, as far as it is known before the preparation, which may take minutes; None where nothing is."""
        record, size = self.data.record, size_of(self.data.asked.image_size)
        if record is None and size is None:
            return None
        if record is not None and not medium(record.kind).pictures:
            return DataSpec.of(record.kind, ())
        size = size or ((sizes[0], sizes[0]) if sizes else (1, 1))
        labelled = record is None or "y" in record.keys or (record.attributes and self.data.asked.labels)
        return DataSpec.of("image", (3, *size), 1 if labelled else 0)

    def check(self, spec: DataSpec) -> None:
        """Raise UsageError where the data lacks what the parts need: keys, kind, size."""
        assert isinstance(self.recipe.record, Recipe)
        parts, name, recipe = self.records, self.data.name, self.recipe.name
        if missing := [key for key in needed_keys(self.recipe.record, parts) if key not in spec.keys]:
            advice = f"`ganzoo list --kind dataset --with {missing[0]}` shows those that have them"
            if "y" in missing:
                attributes = self.data.record is not None and self.data.record.attributes
                advice = f"name its attributes with --labels; or {advice}" if attributes else advice
                advice += ", and a folder with one sub-folder a class has them too"
            wanted = " and ".join("labels `y`" if key == "y" else f"`{key}`" for key in missing)
            raise UsageError(f"{recipe} needs {wanted}; data set {name!r} has only {_quoted(spec.keys)}: {advice}.")
        for kind, part in parts.items():
            if spec.kind not in part.data:
                able = [e.name for e in self.zoo.entries(kind) if spec.kind in e.part.data]
                raise UsageError(
                    f"{kind} {part.name!r} works on {' or '.join(part.data)}; data set {name!r} is {spec.kind}. "
                    f"Those that take it: {', '.join(able) or 'none'}."
                )
        sizes = common_sizes(parts)
        if sizes and medium(spec.kind).pictures and not (spec.shape[-1] == spec.shape[-2] and spec.shape[-1] in sizes):
            got = written_size(spec.shape)
            raise UsageError(
                f"--image-size: {recipe} makes images of {', '.join(map(str, sizes))} pixels a side, got {got}. "
                f"Choose one of them, or a generator and a discriminator of any size."
            )

    def build(self, spec: DataSpec, device: torch.device) -> Strategy:
        """The strategy with its networks and optimisers, initialised from the seed alone, on the device, in channels_last.

        Raises GanzooError where a plugin cannot be loaded, or its part not be built.
        """
        import torch

        from ganzoo.interfaces import Builders
        from ganzoo.randomness import seed_step

        def part(kind: str, *args: Any) -> Any:
            return self.parts[kind].build(*args, self.options[kind])

        seed_step(self.run.seed, -1)
        builders = Builders(spec, lambda: part("generator", spec), lambda: part("discriminator", spec), part("loss", spec), self.records)
        strategy: Strategy = part("strategy", builders)
        if self.run.ema:
            strategy.average(self.run.ema, 0)
        return strategy.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Draft:
    """A recipe with its parts, perhaps some of them exchanged, before options are chosen. parts: entries by kind."""

    zoo: Catalogue
    entry: Entry
    parts: Mapping[str, Entry]
    exchanged: Mapping[str, str]

    @property
    def recipe(self) -> Recipe:
        """The record."""
        assert isinstance(self.entry.record, Recipe)
        return self.entry.record

    @property
    def run_defaults(self) -> dict[str, Any]:
        """The run options where they differ from the usual ones."""
        defaults = {key: value for key, value in self.recipe.defaults.items() if "." not in key}
        if any("image" not in entry.part.data for entry in self.parts.values()):
            defaults.setdefault("dataset", DEFAULT_POINTS)
        return defaults

    def defaults(self, kind: str) -> dict[str, Any]:
        """The recipe's defaults for the options of one part; none where another part is taken in the place of the recipe's own."""
        if self.exchanged.get(kind) not in (None, self.recipe.part(kind)):
            return {}
        return {name.removeprefix(f"{kind}."): v for name, v in self.recipe.defaults.items() if name.startswith(f"{kind}.")}

    def resolve(self, run: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> Resolved:
        """The run. Later wins: the part's own defaults, the recipe's, those of the user.

        run: run options by name. chosen: options of parts, by kind and name.

        Raises UsageError for what does not exist or cannot work together.
        """
        run_options: RunOptions = options.make(RunOptions, {**self.run_defaults, **run}, "--")
        values = {}
        for kind in self.parts:
            usual = {key: run_options.steps if value == STEPS else value for key, value in self.defaults(kind).items()}
            values[kind] = {**usual, **chosen.get(kind, {})}
        return self.checked(values, run_options)

    def checked(
        self, values: Mapping[str, Mapping[str, Any]], run: RunOptions, warn: Callable[[str], None] | None = None
    ) -> Resolved:
        """The run with all options of the parts given; its data, metrics and trackers are looked up here. warn: as in `from_config`."""
        if reason := misfit({kind: entry.part for kind, entry in self.parts.items()}):
            raise reason.error(self.zoo)
        chosen = {kind: entry.options(values[kind], f"--{kind}.") for kind, entry in self.parts.items()}
        if run.batch_size < self.recipe.min_batch:
            raise UsageError(f"--batch-size: {self.entry.name} needs at least {self.recipe.min_batch}, got {run.batch_size}.")
        if unable := [f"{kind} {entry.name!r}" for kind, entry in self.parts.items() if run.precision == "bf16" and not entry.part.bf16]:
            raise UsageError(f"--precision bf16: {' and '.join(unable)} says that it cannot. Take fp32.")
        data, measures = find_data(self.zoo, run), self.zoo.measures(run.metric, run.features)
        run = replace(run, dataset=data.name, data_dir=data.asked.data_dir)
        return Resolved(self.zoo, self.entry, self.parts, chosen, run, data, measures, tuple(self.zoo.trackers(run.track, warn)))


def draft(zoo: Catalogue, name: str, exchanged: Mapping[str, str]) -> Draft:
    """A recipe with its parts looked up. exchanged: names of parts by kind, in the place of the recipe's own."""
    entry = zoo.get("recipe", name)
    assert isinstance(entry.record, Recipe)
    return Draft(zoo, entry, zoo.parts_of(entry.record, exchanged), exchanged)


def resolve(
    zoo: Catalogue, name: str, run: Mapping[str, Any], exchanged: Mapping[str, str], chosen: Mapping[str, Mapping[str, Any]]
) -> Resolved:
    """The run of a recipe with changes: `draft`, then `Draft.resolve`."""
    return draft(zoo, name, exchanged).resolve(run, chosen)


def from_config(zoo: Catalogue, config: Config, warn: Callable[[str], None] | None = None) -> Resolved:
    """The run that a configuration names, looked up and checked. warn: told of trackers that are gone; without it they are an error."""
    return draft(zoo, config.recipe, config.parts).checked(config.options, config.run, warn)


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
