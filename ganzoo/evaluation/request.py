"""Requests for an evaluation: metrics, extractor and real samples, looked up and checked; nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ganzoo import options
from ganzoo.compose import DataSource, Progress, find_data
from ganzoo.config import DataOptions
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import Catalogue, Entry, Measures, medium
from ganzoo.types import DataSet, DataSpec, FeaturesPart, Field, MetricPart

if TYPE_CHECKING:
    from ganzoo.data import Prepared


@dataclass(frozen=True)
class EvaluationRequest:
    """The metrics that are to be measured, and on how much.

    metrics, extractor: entries; no extractor where no metric looks at features. layer: of the extractor. n: how many samples. n_real: how
    many real ones; None: all that there are. seed: of the latents. options: the option objects of the metrics and the extractor, by name.
    """

    metrics: tuple[Entry, ...]
    extractor: Entry | None = None
    layer: str = ""
    n: int = 10_000
    n_real: int | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self, reference: Reference) -> None:
        """Raise UsageError where the metrics or the extractor do not take such data."""
        field = reference.field
        for entry in (*self.metrics, *([self.extractor] if self.extractor else [])):
            record = entry.record
            assert isinstance(record, MetricPart | FeaturesPart)
            if record.media and field.medium not in record.media:
                takes = " or ".join(record.media)
                raise UsageError(f"{entry.kind} {record.name!r} takes {takes} data; this is {field.medium} data.")
            if isinstance(record, MetricPart) and reference.groups and "groups" not in record.looks_at:
                raise UsageError(
                    f"metric {record.name!r} knows the data's classes alone; these outputs are classes that the network has found itself. "
                    f"Take --metric matching, which matches them first."
                )
            if isinstance(record, MetricPart) and {"truth", "inputs"} & set(record.looks_at) and not reference.truth:
                raise UsageError(
                    f"metric {record.name!r} compares each output with its truth: it is for what is made of rows of the data, which hold "
                    f"the truth beside them. These samples are made of nothing."
                )


@dataclass(frozen=True)
class Reference:
    """The real samples to compare with.

    split: "train" where they are what the generator learns from, "test" where they are held out, else the name of the data. key: of what is
    compared, as the data of the run calls it. truth: whether each output has a row of its own here that it should be. groups: whether
    outputs are classes that a network has found itself, and the truth is a label.
    """

    data: Prepared
    split: str
    record: DataSet | None = None
    key: str = "x"
    truth: bool = False
    groups: bool = False

    def own(self, key: str) -> str:
        """The key of a field here: other data than the run's may know it by its stem alone, x_l as x. Raises UsageError for no such."""
        found = next((own for own in (key, key.partition("_")[0]) if own in self.data.spec.fields), None)
        if found is None:
            raise UsageError(f"--against: {self.data.name} has no {key!r}; it has {', '.join(self.data.spec.fields)}.")
        return found

    @property
    def field(self) -> Field:
        """What is compared."""
        return self.data.spec.fields[self.own(self.key)]

    @property
    def count(self) -> int:
        """Rows of it."""
        return self.data.counts[self.data.spec.set_of(self.own(self.key))]

    @property
    def spec(self) -> DataSpec:
        """The data as metrics and extractors know it: what is compared is "x", and its labels are "y"."""
        own, label = self.own(self.key), self.label
        return self.data.spec if own == "x" else self.data.spec.renamed(**{"x": own, **({"y": label} if label else {})})

    @property
    def label(self) -> str:
        """The key of the labels of what is compared; "" where there are none."""
        own = self.own(self.key)
        beside = self.data.spec.sets[self.data.spec.set_of(own)]
        return next((key for key in beside if key.partition("_")[0] == "y" and key != own), "")


def usual(record: DataSet | None, spec: DataSpec, truth: bool = False) -> tuple[str, str, int]:
    """Metric, feature extractor and number of samples where the user names none: what can be had for such data without a download."""
    return medium(spec.kind).usual(spec.x, spec.classes, record, truth)


def needs_features(metric: Entry) -> bool:
    """Whether the metric looks at what an extractor gives."""
    assert isinstance(metric.record, MetricPart)
    return bool({"features", "logits"} & set(metric.record.looks_at))


def needs_likelihood(metric: Entry) -> bool:
    """Whether the metric looks at real samples, and at how probable the generator finds them."""
    assert isinstance(metric.record, MetricPart)
    return "likelihood" in metric.record.looks_at


def requested(
    zoo: Catalogue, reference: Reference, named: Measures | None = None, n: int | None = None, n_real: int | None = None, seed: int = 0,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> EvaluationRequest:  # fmt: skip
    """The request for the metrics and the extractor that the user named, or else those that are usual for the data.

    settings: options of the metrics and the extractor, by name. Raises UsageError where metrics, extractor, options and data do not fit.
    """
    usual_metrics, usual_features, usual_n = usual(reference.record, reference.spec, reference.truth)
    named = named or Measures()
    if reference.groups and not named.metrics:
        raise UsageError(
            "no data set holds the classes that it gives, so there is nothing to compare it with. Where they should be those of the data, "
            "--metric matching says how well they are."
        )
    metrics = named.metrics or zoo.measures(usual_metrics, "").metrics
    looks = any(needs_features(entry) for entry in metrics)
    chosen = (named if named.extractor else zoo.measures("", usual_features)) if looks else Measures()
    parts = {entry.record.name: entry for entry in (*metrics, *([chosen.extractor] if chosen.extractor else []))}
    if idle := [name for name in settings or {} if name not in parts]:
        option = next(iter((settings or {})[idle[0]]))
        raise UsageError(f"{options.flag(option, f'{idle[0]}.')}: {idle[0]} is not asked for.")
    objects = {name: entry.options((settings or {}).get(name, {}), f"--{name}.") for name, entry in parts.items()}
    return EvaluationRequest(metrics, chosen.extractor, chosen.layer, n or usual_n, n_real, seed, objects)


def find_reference(
    zoo: Catalogue, source: DataSource, training: Callable[[], Prepared], against: str, size: str | None, progress: Progress | None = None,
    key: str = "x", truth: bool = False,
) -> Reference:  # fmt: skip
    """The real samples that `--against` names.

    Args:
        source: the data that the generator learns from.
        training: prepares it.
        against: "train", that data; "test", what its data set holds out; else the name of a data set or a path.
        size: of the images, as --image-size takes it.
        key, truth: as in `Reference`.

    Raises UsageError where the data set holds nothing out.
    """
    record, held_out = source.record, source.held_out
    if against == "train":
        return Reference(training(), "train", record, key, truth)
    if against == "test":
        if held_out is None:
            raise UsageError(f"--against test: data set {source.name!r} holds nothing out. Name a data set or a folder, or take train.")
        test = held_out.asking(image_size=size) if held_out.entry else held_out
        return Reference(test.prepare(progress=progress), "test", test.record, key, truth)
    other = find_data(zoo, DataOptions(dataset=against, data_dir=source.asked.data_dir, image_size=size))
    data = other.prepare(progress=progress)
    held = held_out is not None and other.entry is not None and other.entry == held_out.entry
    split = "train" if other.name == source.name else "test" if held else data.name
    return Reference(data, split, other.record, key, truth)
