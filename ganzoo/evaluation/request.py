"""Requests for an evaluation: metrics, extractor and real samples, looked up and checked; nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ganzoo import options
from ganzoo.compose import DataSource, Progress, find_data
from ganzoo.config import DataOptions
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import Catalogue, Entry, Measures, medium
from ganzoo.types import DataSet, DataSpec, Part

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

    def check(self, spec: DataSpec) -> None:
        """Raise UsageError where the metrics or the extractor do not take such data."""
        for entry in (*self.metrics, *([self.extractor] if self.extractor else [])):
            if spec.kind not in entry.part.data:
                takes = " or ".join(entry.part.data)
                raise UsageError(f"{entry.kind} {entry.part.name!r} takes {takes} data; this is {spec.kind} data.")


@dataclass(frozen=True)
class Reference:
    """The real samples to compare with.

    split: "train" where they are what the generator learns from, "test" where they are held out, else the name of the data.
    """

    data: Prepared
    split: str
    record: DataSet | None = None


def usual(record: DataSet | None, spec: DataSpec) -> tuple[str, str, int]:
    """Metric, feature extractor and number of samples where the user names none: what can be had for such data without a download."""
    return medium(spec.kind).usual(spec.x, spec.classes, record)


def needs_features(metric: Part) -> bool:
    """Whether the metric looks at what an extractor gives."""
    return bool({"features", "logits"} & set(metric.needs))


def requested(
    zoo: Catalogue, reference: Reference, named: Measures | None = None, n: int | None = None, n_real: int | None = None, seed: int = 0,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> EvaluationRequest:  # fmt: skip
    """The request for the metrics and the extractor that the user named, or else those that are usual for the data.

    settings: options of the metrics and the extractor, by name. Raises UsageError where metrics, extractor, options and data do not fit.
    """
    usual_metrics, usual_features, usual_n = usual(reference.record, reference.data.spec)
    named = named or Measures()
    metrics = named.metrics or zoo.measures(usual_metrics, "").metrics
    looks = any(needs_features(entry.part) for entry in metrics)
    chosen = (named if named.extractor else zoo.measures("", usual_features)) if looks else Measures()
    parts = {entry.part.name: entry for entry in (*metrics, *([chosen.extractor] if chosen.extractor else []))}
    if idle := [name for name in settings or {} if name not in parts]:
        option = next(iter((settings or {})[idle[0]]))
        raise UsageError(f"{options.flag(option, f'{idle[0]}.')}: {idle[0]} is not asked for.")
    objects = {name: entry.options((settings or {}).get(name, {}), f"--{name}.") for name, entry in parts.items()}
    return EvaluationRequest(metrics, chosen.extractor, chosen.layer, n or usual_n, n_real, seed, objects)


def find_reference(
    zoo: Catalogue, source: DataSource, training: Callable[[], Prepared], against: str, size: str | None, progress: Progress | None = None
) -> Reference:
    """The real samples that `--against` names.

    Args:
        source: the data that the generator learns from.
        training: prepares it.
        against: "train", that data; "test", what its data set holds out; else the name of a data set or a path.
        size: of the images, as --image-size takes it.

    Raises UsageError where the data set holds nothing out.
    """
    record = source.record
    held_out = zoo.find("dataset", record.test) if record is not None and record.test else None
    if against == "train":
        return Reference(training(), "train", record)
    if against == "test":
        if held_out is None:
            raise UsageError(f"--against test: data set {source.name!r} holds nothing out. Name a data set or a folder, or take train.")
        test = replace(source, entry=held_out).asking(dataset=held_out.stored, image_size=size)
        return Reference(test.prepare(progress=progress), "test", test.record)
    other = find_data(zoo, DataOptions(dataset=against, data_dir=source.asked.data_dir, image_size=size))
    data = other.prepare(progress=progress)
    split = "train" if other.name == source.name else "test" if held_out is not None and other.entry == held_out else data.name
    return Reference(data, split, other.record)
