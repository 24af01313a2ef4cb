"""The door: names and options come in, a run whose parts and data are looked up and fit each other goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import machine, options
from ganzoo.config import Changes, Config, DataOptions, RunOptions, domains_of, size_of, written_size
from ganzoo.errors import GanzooError, TooSmall, UsageError, did_you_mean
from ganzoo.registry.catalogue import NONE, Catalogue, Entry, Measures, medium
from ganzoo.registry.discovery import Plugin
from ganzoo.types import (
    QUICK,
    DataSet,
    DataSpec,
    DegradationPart,
    Field,
    LossPart,
    MediumPart,
    NetworkPart,
    Part,
    Recipe,
    StrategyPart,
    WrapperPart,
)

if TYPE_CHECKING:
    import torch

    from ganzoo.data import Prepared
    from ganzoo.interfaces import Degradation, Network, Wrapper
    from ganzoo.metrics import FeatureExtractor
    from ganzoo.strategy import Strategy

Progress = Callable[[str, int, int], None]
STEPS = "steps"  # as a value in a preset: the number of steps of the run, for the length of a schedule


# --- What parts need of each other, and of the data. Records alone: the catalogue is asked only for what would fit ---


@dataclass(frozen=True)
class Parts:
    """The records of a GAN's parts. wrappers: the outermost first."""

    networks: Mapping[str, NetworkPart]
    loss: LossPart
    strategy: StrategyPart
    wrappers: tuple[WrapperPart, ...] = ()
    degradation: DegradationPart | None = None

    @classmethod
    def of(cls, parts: Mapping[str, Entry], wrappers: Iterable[Entry] = ()) -> Parts:
        """Those of the entries by kind."""
        records = {kind: entry.record for kind, entry in parts.items()}
        loss, strategy, degradation = records["loss"], records["strategy"], records.get("degradation")
        assert isinstance(loss, LossPart)
        assert isinstance(strategy, StrategyPart)
        assert degradation is None or isinstance(degradation, DegradationPart)
        around = tuple(entry.record for entry in wrappers if isinstance(entry.record, WrapperPart))
        networks = {role: r for role in strategy.roles if isinstance(r := records.get(role), NetworkPart)}
        return cls(networks, loss, strategy, around, degradation)

    @property
    def all(self) -> tuple[Part, ...]:
        """Every record."""
        return (*self.networks.values(), self.loss, self.strategy, *self.wrappers, *([self.degradation] if self.degradation else []))

    @property
    def latents(self) -> set[str]:
        """The names that are drawn, and no fields of the data."""
        return {*self.strategy.brings, *(name for part in self.networks.values() for name in part.latents)}

    @property
    def main(self) -> str:
        """The key of the data that all is about."""
        return self.strategy.reads[0]

    @property
    def _read(self) -> set[str]:
        """All keys that this combination reads, drawn and made ones among them."""
        reads = set(self.strategy.reads)
        if "x" in reads:  # else the strategy calls its networks with other fields than they name
            stems = {key.partition("_")[0] for key in reads}  # a network may know y_l, which the strategy reads, as the y that it needs
            reads |= {key for part in self.networks.values() for key in part.needs if key not in stems}
            reads |= {key for part in self.networks.values() for key in part.takes} | {*self.loss.given}
        return reads

    @property
    def made(self) -> tuple[str, ...]:
        """The keys that a degradation makes."""
        return self.degradation.gives if self.degradation else ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the data that this combination reads."""
        return tuple(sorted(self._read - self.latents - {*self.made}))

    @property
    def idle(self) -> tuple[str, ...]:
        """What a degradation makes, if nothing of it is read."""
        return () if self._read & {*self.made} else self.made

    def untaught(self, usual: Mapping[str, Entry]) -> list[str]:
        """What D gives, what the recipe's usual loss learns from, and what the loss that was taken in its place does not: as classes."""
        D, own = self.networks.get("discriminator"), usual["loss"].record
        assert isinstance(own, LossPart)
        given = D.gives if D is not None else ()
        return [output for output in own.needs if output in given and output not in ("logits", *self.loss.needs)]

    @property
    def media(self) -> tuple[str, ...]:
        """The kinds of data that all parts take."""
        limits = [part.media for part in self.networks.values()] + [part.media for part in self.wrappers]
        limits += [self.degradation.media] if self.degradation else []
        return tuple(name for name in limits[0] if all(name in limit for limit in limits)) if limits else ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image sizes that all networks take; empty: any. Raises UsageError where they have none in common."""
        limits = {part.name: set(part.sizes) for part in self.networks.values() if part.sizes}
        if not limits:
            return ()
        common = set.intersection(*limits.values())
        if not common:
            listed = "; ".join(f"{name!r} takes {', '.join(map(str, sorted(s)))}" for name, s in limits.items())
            raise UsageError(f"no image size fits all parts: {listed}.")
        return tuple(sorted(common))


@dataclass(frozen=True)
class Misfit:
    """Why parts cannot work together: the reason, and the kind of part that could be exchanged for one that `fits`."""

    reason: str
    kind: str = ""
    fits: Callable[[Any], bool] = lambda record: False

    def error(self, zoo: Catalogue, parts: Parts) -> UsageError:
        """The error that says so and names the parts that would fit: the others, the same kind of data, and no more of it but labels."""
        if not self.kind:
            return UsageError(self.reason)

        def goes(record: Any) -> bool:
            if not self.fits(record) or not isinstance(record, NetworkPart):
                return self.fits(record)
            exchanged = replace(parts, networks={**parts.networks, self.kind: record})
            return bool(exchanged.media) and {*exchanged.keys} <= {*parts.keys, "y"}

        others = ", ".join(e.name for e in zoo.entries(self.kind) if goes(e.record))
        return UsageError(f"{self.reason} Those that do: {others}." if others else f"{self.reason} None that is installed does.")


def misfit(parts: Parts) -> Misfit | None:
    """Where the parts of a GAN do not fit each other, whatever the data."""
    loss, strategy, G, D = parts.loss, parts.strategy, parts.networks.get("generator"), parts.networks.get("discriminator")
    if missing := [role for role in strategy.roles if role not in parts.networks]:
        return Misfit(
            f"strategy {strategy.name!r} needs a network {missing[0]!r}: name one with --{missing[0]}.", missing[0], lambda n: True
        )
    if D is not None and (reason := _misjudged(loss, D)):
        return reason
    if strategy.weighs != loss.weighed_by:
        asks = f"must be weighed by its strategy ({loss.weighed_by!r})" if loss.weighed_by else "is minimised as it is"
        reason_ = f"loss {loss.name!r} {asks}, which strategy {strategy.name!r} does not do."
        return Misfit(reason_, "strategy", lambda s: s.weighs == loss.weighed_by)
    if G is not None and (missing := [key for key in loss.given if key not in (*G.parameters, *strategy.reads, *strategy.brings)]):
        takes = f"{G.name!r} takes {_quoted(G.takes) or 'no condition'}."
        reason_ = f"loss {loss.name!r} needs a generator that takes {_quoted(missing)}; {takes}"
        return Misfit(reason_, "generator", lambda g: set(loss.given) <= {*g.parameters, *strategy.reads, *strategy.brings})
    for wrapper in parts.wrappers:
        if D is None or (wrapper.needs and "logits" not in D.gives):
            gives = f"{D.name!r} gives {_quoted(D.gives)}" if D else "there is none"
            return Misfit(f"wrapper {wrapper.name!r} needs a discriminator that gives 'logits'; {gives}.")
        if wrapper.per_sample and not D.per_sample:
            return Misfit(f"wrapper {wrapper.name!r} needs a discriminator without BatchNorm; {D.name!r} has it.")
    if not parts.media:
        listed = "; ".join(f"{part.name!r} takes {' or '.join(part.media)}" for part in parts.networks.values())
        return Misfit(f"there is no kind of data that all parts take: {listed}.")
    return None


def _misjudged(loss: LossPart, D: NetworkPart) -> Misfit | None:
    def judges(d: NetworkPart) -> bool:
        return set(loss.needs) <= set(d.gives) and (d.per_sample or not loss.per_sample)

    if missing := [name for name in loss.needs if name not in D.gives]:
        gives = f"{D.name!r} gives {_quoted(D.gives)}."
        return Misfit(f"loss {loss.name!r} needs a discriminator that gives {_quoted(missing)}; {gives}", "discriminator", judges)
    if not judges(D):
        reason = f"loss {loss.name!r} takes the gradient of each sample by itself, so it needs a discriminator without BatchNorm; "
        return Misfit(f"{reason}{D.name!r} has it.", "discriminator", judges)
    return None


# --- The data that `--dataset` names ---


@dataclass(frozen=True)
class DataSource:
    """Data that was asked for, before it is prepared.

    asked: its name, or an absolute path, and what is to be made of it. entry: its record; None of a path. options: the data set's own.
    test: the entry of what the record says is held out, if that is installed. split: "train", or "test" for what a folder holds out.
    """

    asked: DataOptions
    entry: Entry | None
    options: Any = None
    test: Entry | None = None
    split: str = "train"

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

    def prepare(
        self, sizes: tuple[int, ...] = (), progress: Progress | None = None, part: tuple[int, int] | None = None, out: Path | None = None
    ) -> Prepared:
        """The data from the cache, which is filled first if it must be. sizes: of images, of which one is wanted; empty: any.

        part, out: as in `ganzoo.data.prepare`, for a part of it in a file of its own.
        """
        from ganzoo.data import prepare

        try:
            return prepare(self.asked, self.record, self.options, split=self.split, sizes=sizes, progress=progress, part=part, out=out)
        except GanzooError:
            raise
        except (Exception, SystemExit) as e:
            whose = f" of {self.entry.plugin.origin}" if self.entry else ""
            raise GanzooError(f"data set {self.name!r}{whose} cannot be prepared: {type(e).__name__}: {e}") from e

    @property
    def held_out(self) -> DataSource | None:
        """What the data holds out for tests: another data set, or a split of its folder; None where it holds nothing out."""
        if self.record is not None:
            # Where both are made as the user says, they are made alike.
            alike = self.test is not None and getattr(self.test.record, "options", None) is self.record.options
            own = self.options if alike else None
            return replace(self, entry=self.test, options=own).asking(dataset=self.test.stored, labelled=0) if self.test else None
        from ganzoo.data import splits_at

        places = list(domains_of(self.name).values()) or [self.name]
        return replace(self, split="test") if all("test" in splits_at(Path(place)) for place in places) else None

    def check_unchanged(self, data: Prepared, checksum: str) -> None:
        """Raise UsageError where the data has another checksum than this; "": it is not known."""
        if checksum and data.checksum != checksum:
            raise UsageError(
                f"data set {self.name!r} has changed since the run was started: its checksum is {data.checksum[:12]}, "
                f"it was {checksum[:12]}. Bring the old data back, or name other data."
            )


def find_data(zoo: Catalogue, asked: DataOptions, chosen: Mapping[str, Any] | None = None) -> DataSource:
    """The data that options name: a data set of that name, else a path. chosen: the data set's own options, by name.

    Raises UsageError for what is neither, with the names that look like it.
    """
    name, entry = asked.dataset, zoo.find("dataset", asked.dataset)
    if places := domains_of(name):
        found = {letter: find_data(zoo, replace(asked, dataset=place)).name for letter, place in places.items()}
        name = ",".join(f"{letter}={place}" for letter, place in found.items())
    elif entry is None and (Path(name).exists() or "/" in name or "." in name or name.startswith("~")):
        name = str(Path(name).expanduser().resolve())  # a run is resumed from anywhere
    else:
        try:
            entry = zoo.get("dataset", name)
        except UsageError as e:
            raise type(e)(f"{e} No file and no folder is called {name!r} either: give its path, as ./{name}.") from e
        name = entry.stored
    data_dir = str(Path(asked.data_dir).expanduser().resolve()) if asked.data_dir else None
    own = entry.options(chosen or {}, "--dataset.") if entry else options.make(None, chosen or {}, "--dataset.")
    record = entry.record if entry else None
    test = zoo.find("dataset", record.test) if isinstance(record, DataSet) and record.test else None
    return DataSource(replace(asked, dataset=name, data_dir=data_dir), entry, own, test)


# --- A whole run ---


@dataclass(frozen=True)
class Resolved:
    """A run before its first step: recipe, parts, options and data set, looked up once and checked against each other.

    parts: entries by kind. wrappers: entries by name, the outermost first. options: the option objects, of parts by kind and of wrappers by
    name. measures: the metrics that are named for its evaluation. trackers: the plugins that watch it. zoo: the catalogue, for what only
    the data decides (which metric is usual for it) and for errors that name what would fit. yields: "degradation", "crop", where the recipe
    alone has chosen them: data that has a source already, or no pictures as large, goes without.
    """

    zoo: Catalogue
    recipe: Entry
    parts: Mapping[str, Entry]
    wrappers: Mapping[str, Entry]
    options: Mapping[str, Any]
    run: RunOptions
    data: DataSource
    measures: Measures
    trackers: tuple[Plugin, ...]
    yields: frozenset[str] = frozenset()

    @cached_property
    def records(self) -> Parts:
        """The records of the parts."""
        return Parts.of(self.parts, self.wrappers.values())

    @cached_property
    def config(self) -> Config:
        """The same as plain values, as a run writes it down."""
        values = {kind: options.to_json(chosen) for kind, chosen in self.options.items()}
        values |= {"dataset": options.to_json(self.data.options)} if self.data.options is not None else {}
        parts = {kind: entry.stored for kind, entry in self.parts.items()}
        return Config(self.recipe.stored, parts, tuple(entry.stored for entry in self.wrappers.values()), values, self.run)

    def plugins(self, spec: DataSpec, *kinds: str) -> dict[str, str]:
        """Each plugin that the run is made with, "distribution/plugin", and its version: those of its data's media and, of the parts, of
        these kinds; by default of all, of recipe, wrappers and data set too."""
        entries = {"recipe": self.recipe, **self.parts, **self.wrappers} | ({"dataset": self.data.entry} if self.data.entry else {})
        used = [entries[kind].plugin for kind in kinds or entries if kind in entries]
        used += [self.zoo.get("medium", field.medium).plugin for field in spec.fields.values()]
        return {f"{p.distribution}/{p.name}": p.version for p in used}

    def settled(self, **run: Any) -> Resolved:
        """The same with run options that had been left open: the device, the image size."""
        return replace(self, run=replace(self.run, **run))

    def prepare(self, progress: Progress | None = None) -> Prepared:
        """Its data, prepared, as `prepared` says."""
        return self.prepared(progress)[1]

    def prepared(self, progress: Progress | None = None) -> tuple[Resolved, Prepared]:
        """The run as its data lets it be, and its data, prepared.

        Raises UsageError where data and parts do not fit: before the preparation, as far as that can be told.
        """
        sizes = self.records.sizes
        if (spec := self._expected(sizes)) is not None:
            self._beside(spec).check(spec)
        try:
            data = self.data.prepare(sizes if self.run.crop is None else (), progress)
            fitting = self._beside(data.spec)
            fitting.check(self.cropped(data.spec))
        except TooSmall:
            if "crop" not in self.yields:
                raise
            whole = replace(self.data, asked=replace(self.data.asked, crop=None))
            return replace(self.settled(crop=None), data=whole).prepared(progress)
        return fitting, data

    def _beside(self, spec: DataSpec) -> Resolved:
        """The same, without the recipe's degradation where the data has what that would make."""
        if "degradation" not in self.yields or not set(self.records.made) & {*spec.keys}:
            return self

        def without(values: Mapping[str, Any]) -> dict[str, Any]:
            return {kind: value for kind, value in values.items() if kind != "degradation"}

        return replace(self, parts=without(self.parts), options=without(self.options))

    def cropped(self, spec: DataSpec) -> DataSpec:
        """The data as batches have it: with windows in the place of pictures. Raises UsageError where they cannot be cut."""
        from ganzoo.data.batches import cropped

        try:
            return cropped(spec, size_of(self.run.crop))
        except ValueError as e:
            raise TooSmall(f"--crop: {e}.") from e

    def _expected(self, sizes: tuple[int, ...]) -> DataSpec | None:
        """The description of the data, as far as it is known before the preparation, which may take minutes; None where nothing is."""
        record, size = self.data.record, size_of(self.data.asked.crop or self.data.asked.image_size)
        if (record is None and size is None) or not self._plain:
            return None
        size = size or ((sizes[0], sizes[0]) if sizes else (1, 1))
        fields = dict(record.fields) if record is not None else {"x": Field("image"), "y": Field("label", (), 1)}
        if record is not None and record.attributes and self.data.asked.labels:
            fields["y"] = Field("label", (), 1)
        for key, field in fields.items():
            if medium(field.medium).pictures:
                fields[key] = replace(field, shape=(3, *size))
        return DataSpec(fields, {"": tuple(fields)})

    @property
    def _plain(self) -> bool:
        """Whether it is a data set by name, or pictures and their classes: of all else only the preparation tells the fields."""
        from ganzoo.data import only_pictures

        asked = self.data.asked
        if asked.labelled or asked.pairs or domains_of(self.data.name):
            return False
        return self.data.record is not None or only_pictures(Path(self.data.name))

    def check(self, spec: DataSpec) -> None:
        """Raise UsageError where the data lacks what the parts need: keys, kind, size."""
        parts, name, recipe = self.records, self.data.name, self.recipe.name
        if missing := [key for key in parts.keys if key not in spec.keys]:
            having = any(missing[0] in e.record.fields for e in self.zoo.entries("dataset") if isinstance(e.record, DataSet))
            advice = f"`ganzoo list --kind dataset --with {missing[0]}` shows those that have them" if having else ""
            if "y" in missing:
                attributes = self.data.record is not None and self.data.record.attributes
                advice = f"name its attributes with --labels; or {advice}" if attributes else advice
                advice += ", and a folder with one sub-folder a class has them too"
                advice = "--labelled gives them to the GAN apart, as 'y_l': leave it out" if "y_l" in spec.keys else advice
            if "y_l" in missing:
                advice = f"--labelled N keeps the labels of N rows of labelled data and gives them to the GAN apart; or {advice}"
            if "source" in missing:
                advice = "--pairs takes it from a half of each picture, a folder with source and target has it, a --degradation makes it"
            if {"x_a", "x_b"} & {*missing}:
                advice = "name two kinds of picture, --dataset a=PATH --dataset b=PATH, or a folder that holds trainA and trainB"
            wanted = " and ".join("labels `y`" if key == "y" else f"`{key}`" for key in missing)
            raise UsageError(f"{recipe} needs {wanted}; data set {name!r} has only {_quoted(spec.keys)}: {advice}.")
        if made := [key for key in parts.made if key in spec.keys]:
            raise UsageError(f"--degradation: data set {name!r} has a `{made[0]}` already. Take none, or other data.")
        field = spec.fields[parts.main]
        for entry in (*self.parts.values(), *self.wrappers.values()):
            record = entry.record
            if isinstance(record, NetworkPart | WrapperPart | DegradationPart) and field.medium not in record.media:
                others = self.zoo.entries(record.kind)
                able = [e.name for e in others if field.medium in getattr(e.record, "media", ())]
                raise UsageError(
                    f"{record.kind} {record.name!r} works on {' or '.join(record.media)}; data set {name!r} is {field.medium}. "
                    f"Those that take it: {', '.join(able) or 'none'}."
                )
        sizes = parts.sizes
        if sizes and medium(field.medium).pictures and not (field.shape[-1] == field.shape[-2] and field.shape[-1] in sizes):
            got = written_size(field.shape)
            raise UsageError(
                f"--image-size: {recipe} makes images of {', '.join(map(str, sizes))} pixels a side, got {got}. "
                f"Choose one of them, or a generator and a discriminator of any size."
            )

    def precision(self, spec: DataSpec, device: torch.device) -> str:
        """That of the networks' arithmetic; "auto" is bf16 where the device has it, and no part and no medium says that it cannot."""
        if self.run.precision != "auto":
            return self.run.precision
        able = machine.computes_bf16(device) and medium(spec.fields[self.records.main].medium).bf16
        return "bf16" if able and all(getattr(part, "bf16", True) for part in self.records.all) else "fp32"

    def degradation(self, spec: DataSpec, device: torch.device) -> Degradation | None:
        """What makes "source" from "x", on the device; None where nothing does."""
        if "degradation" not in self.parts:
            return None
        made: Degradation = self.parts["degradation"].build(spec, self.options["degradation"])
        return made.to(device)

    def build(self, spec: DataSpec, device: torch.device, degradation: Degradation | None = None) -> Strategy:
        """The strategy with its networks and optimisers, initialised from the seed alone, on the device, in the faster layout.

        spec: of the batches. Raises GanzooError where a plugin cannot be loaded, or its part not be built.
        """
        import torch

        from ganzoo.data.cache import cache_dir, data_folder
        from ganzoo.metrics import ExtractorContext
        from ganzoo.randomness import seed_step
        from ganzoo.strategy import Builders

        def make(role: str, known: DataSpec) -> Network:
            if role not in self.parts:
                raise GanzooError(f"strategy {self.parts['strategy'].name!r} builds a {role!r}, which its record's `roles` do not name.")
            return self.parts[role].network(known, self.options[role])

        def wrap(D: Network) -> dict[str, Wrapper]:
            return {name: entry.wrapper(D.spec, self.options[name]) for name, entry in self.wrappers.items()}

        def extractor(name: str) -> FeatureExtractor:
            measures = self.zoo.measures("", name)
            assert measures.extractor is not None
            folders = cache_dir() / "features", data_folder(self.run.data_dir)
            context = ExtractorContext(measures.layer, _untaught, *folders, device, lambda what, done, total: None)
            built: FeatureExtractor = measures.extractor.build(spec, measures.extractor.options({}, ""), context)
            return built.eval().requires_grad_(False).to(device)

        seed_step(self.run.seed, -1)
        loss = self.parts["loss"].build(spec, self.options["loss"])
        builders = Builders(spec, loss, self.records.loss, self.run.steps, degradation, make, wrap, extractor)
        strategy: Strategy = self.parts["strategy"].build(builders, self.options["strategy"])
        strategy.finish(bool(self.run.ema))
        # Convolutions are faster in channels_last. InstanceNorm takes and gives NCHW, so there each of them would copy what it is given.
        nchw = device.type == "cpu" and any(isinstance(module, torch.nn.InstanceNorm2d) for module in strategy.modules())
        layout = torch.contiguous_format if nchw else torch.channels_last
        strategy.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        for optimiser in strategy.optimisers().values():
            for group in optimiser.param_groups:
                group["lr"] = machine.to_device(group["lr"], device) if isinstance(group["lr"], torch.Tensor) else group["lr"]
        return strategy


def _untaught() -> Prepared:
    raise UsageError("it learns from the data first, and is not to be had while a GAN is trained. Take one with weights, or `random`.")


@dataclass(frozen=True)
class Draft:
    """A recipe with its parts, perhaps some of them exchanged, before options are chosen.

    parts: entries by kind. wrappers: by name, the outermost first. changes: the user's.
    """

    zoo: Catalogue
    entry: Entry
    parts: Mapping[str, Entry]
    wrappers: Mapping[str, Entry]
    changes: Changes

    @property
    def recipe(self) -> Recipe:
        """The record."""
        assert isinstance(self.entry.record, Recipe)
        return self.entry.record

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of parts that can be exchanged."""
        strategy = self.parts["strategy"].record
        assert isinstance(strategy, StrategyPart)
        return (*strategy.roles, "loss", "strategy", "degradation")

    @property
    def optioned(self) -> dict[str, Entry]:
        """What has options, by the name that they are called by: parts by kind, wrappers by name, and the data set."""
        named = self.zoo.find("dataset", str({**self.run_defaults, **self.changes.run}.get("dataset", RunOptions.dataset)))
        data = {"dataset": named} if isinstance(named, Entry) and isinstance(named.record, DataSet) and named.record.options else {}
        return {**{kind: self.parts[kind] for kind in self.kinds if kind in self.parts}, **self.wrappers, **data}

    @property
    def preset(self) -> Mapping[str, Any]:
        """The recipe's options. Raises UsageError for a preset that it does not have."""
        name = self.changes.preset
        if name not in self.recipe.presets and name != QUICK:
            known = (QUICK, *(other for other in self.recipe.presets if other != QUICK))
            raise UsageError(f"--preset: {self.entry.name} has {', '.join(known)}; got {name!r}.{did_you_mean(name, known)}")
        return self.recipe.presets.get(name, {})

    @property
    def run_defaults(self) -> dict[str, Any]:
        """The run options where they differ from the usual ones."""
        parts = self.recipe.parts_in()
        defaults = {key: value for key, value in self.preset.items() if "." not in key and key not in parts}
        media = Parts.of(self.parts, self.wrappers.values()).media
        if media and "image" not in media:
            record = self.zoo.get("medium", media[0]).record
            if isinstance(record, MediumPart) and record.dataset:
                defaults.setdefault("dataset", record.dataset)
        return defaults

    def defaults(self, of: str) -> dict[str, Any]:
        """The preset's options of a part, by kind, or of a wrapper, by name; none where another part is taken than the recipe's own."""
        own = self.recipe.parts_in(self.changes.preset).get(of)
        if of not in self.wrappers and self.changes.parts.get(of) not in (None, own):
            return {}
        return {name.removeprefix(f"{of}."): value for name, value in self.preset.items() if name.startswith(f"{of}.")}

    def resolve(self) -> Resolved:
        """The run. Later wins: the part's own defaults, the preset's, the user's changes.

        Raises UsageError for what does not exist or cannot work together.
        """
        run: RunOptions = options.make(RunOptions, {**self.run_defaults, **self.changes.run}, "--")
        known = {*self.parts, *self.wrappers, "dataset"}
        for name in self.changes.options:
            if name not in known:
                raise UsageError(f"{self.entry.name} has no part {name!r} that options could be for.{did_you_mean(name, known)}")
        values = {}
        for name in known:
            usual = {key: run.steps if value == STEPS else value for key, value in self.defaults(name).items()}
            values[name] = {**usual, **self.changes.options.get(name, {})}
        return self.checked(values, run)

    def checked(self, values: Mapping[str, Mapping[str, Any]], run: RunOptions, warn: Callable[[str], None] | None = None) -> Resolved:
        """The run with all options of the parts given; its data, metrics and trackers are looked up here. warn: as in `from_config`."""
        records = Parts.of(self.parts, self.wrappers.values())
        if reason := misfit(records):
            raise reason.error(self.zoo, records)
        chosen = {name: e.options(values.get(name, {}), f"--{name}.") for name, e in {**self.parts, **self.wrappers}.items()}
        if run.batch_size < self.recipe.min_batch:
            raise UsageError(f"--batch-size: {self.entry.name} needs at least {self.recipe.min_batch}, got {run.batch_size}.")
        if unable := [f"{part.kind} {part.name!r}" for part in records.all if run.precision == "bf16" and not getattr(part, "bf16", True)]:
            raise UsageError(f"--precision bf16: {' and '.join(unable)} says that it cannot. Take fp32.")
        if unable := [f"{part.kind} {part.name!r}" for part in records.all if run.capture and not part.captures]:
            raise UsageError(f"--capture: {' and '.join(unable)} says that it cannot be captured. Leave it out.")
        data, measures = find_data(self.zoo, run, values.get("dataset")), self.zoo.measures(run.metric, run.features)
        run = replace(run, dataset=data.name, data_dir=data.asked.data_dir)
        trackers = tuple(self.zoo.trackers(run.track, warn))
        chosen_here = {"crop": self.changes.run, "degradation": {**self.changes.parts, **self.changes.options}}
        yields = frozenset(name for name, typed in chosen_here.items() if name not in typed)
        return Resolved(self.zoo, self.entry, self.parts, self.wrappers, chosen, run, data, measures, trackers, yields)


def draft(zoo: Catalogue, name: str, changes: Changes | None = None) -> Draft:
    """A recipe with its parts and wrappers looked up, the user's in the place of its own. Raises UsageError for what there is not."""
    entry, changes = zoo.get("recipe", name), changes or Changes()
    recipe = entry.record
    assert isinstance(recipe, Recipe)
    for kind in changes.parts:
        if kind not in zoo.kinds:
            raise UsageError(f"there is no part {kind!r}.{did_you_mean(kind, zoo.kinds)}")
    parts = zoo.parts_of(recipe, changes.parts, changes.preset)
    strategy = parts["strategy"].record
    assert isinstance(strategy, StrategyPart)
    parts = {kind: e for kind, e in parts.items() if kind in (*strategy.roles, "loss", "strategy", "degradation")}
    around = [zoo.get("wrapper", wrapper) for wrapper in (recipe.wrappers if changes.wrappers is None else changes.wrappers)]
    wrappers = {e.record.name: e for e in around}
    if len(wrappers) < len(around):
        raise UsageError(f"--with: a wrapper stands there twice: {', '.join(e.name for e in around)}.")
    return Draft(zoo, entry, parts, wrappers, changes)


def resolve(zoo: Catalogue, name: str, changes: Changes | None = None) -> Resolved:
    """The run of a recipe with the user's changes: `draft`, then `Draft.resolve`."""
    return draft(zoo, name, changes).resolve()


def from_config(zoo: Catalogue, config: Config, warn: Callable[[str], None] | None = None) -> Resolved:
    """The run that a configuration names, looked up and checked. warn: told of trackers that are gone; without it they are an error."""
    changes = Changes({"crop": config.run.crop}, {"degradation": NONE, **config.parts}, config.wrappers)
    return draft(zoo, config.recipe, changes).checked(config.options, config.run, warn)


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
