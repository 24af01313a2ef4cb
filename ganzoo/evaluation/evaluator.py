"""Samples -> figures that say exactly what they are: by which metric, in which features, against which data, of how many."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo import __version__, machine, options, processes, ranks
from ganzoo.compose import Progress
from ganzoo.data.batches import degraded
from ganzoo.data.cache import cache_dir, data_folder
from ganzoo.errors import GanzooError, UsageError
from ganzoo.evaluation.record import Evaluation
from ganzoo.evaluation.request import EvaluationRequest, Reference, needs_features, needs_likelihood
from ganzoo.metrics import Accumulator, ExtractorContext, FeatureBatch, FeatureExtractor, Metric
from ganzoo.randomness import generator, seed_of
from ganzoo.registry.catalogue import Entry, medium
from ganzoo.runs import checkpoint
from ganzoo.runs.exported import BATCH as DRAWN
from ganzoo.runs.exported import Exported
from ganzoo.types import FeaturesPart, MetricPart

if TYPE_CHECKING:
    from ganzoo.data import Prepared

READ = 250  # real samples that are read at once
BATCH = 50  # samples that an extractor is given at once
INPUT = "input "


@dataclass(frozen=True)
class Lot:
    """Some samples, as they are stored, with what they should be, what they were made of, how probable they are, where there is such."""

    x: Tensor
    truth: Tensor | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    likelihood: Tensor | None = None


#: Lots that are made when it is their turn, on whichever rank.
Lots = Iterable[Callable[[], Lot]]


def hash_of(protocol: Mapping[str, Any]) -> str:
    """A short name for a protocol. The data counts by its content and not by what it is called."""
    decisive = {key: value for key, value in protocol.items() if key not in ("data", "split")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]


def _said(value: Any) -> Any:
    return ("on" if value else "off") if isinstance(value, bool) else value


class Evaluator:
    """Measures samples by one protocol, as often as it is called; its accumulators of the real samples are filled once and cached.

    training: prepares the data that the generator learns from, for extractors that learn from it too.
    """

    def __init__(
        self, request: EvaluationRequest, reference: Reference, training: Callable[[], Prepared], device: torch.device,
        progress: Progress = lambda what, done, total: None, data_dir: str | None = None,
    ) -> None:  # fmt: skip
        self.request, self.reference, self.device, self.progress = request, reference, device, progress
        self.spec = reference.spec
        request.check(reference)
        self.n_real = min(request.n_real or reference.count, reference.count)
        self.metrics: list[tuple[Entry, Metric]] = []
        for entry in request.metrics:
            metric: Metric = entry.build(self.spec, request.options[entry.record.name], reference.record)
            if metric.against == "train" and reference.split != "train":
                raise UsageError(f"metric {entry.name!r} compares with what the generator has learnt from: take --against train.")
            self.metrics.append((entry, metric))
        self.extractor: FeatureExtractor | None = None
        self.extractor_protocol: dict[str, Any] = {}
        if request.extractor is not None:
            context = ExtractorContext(request.layer, training, cache_dir() / "features", data_folder(data_dir), device, progress)
            entry = request.extractor
            extractor: FeatureExtractor = entry.build(self.spec, request.options[entry.record.name], context)
            if extractor.worthless:
                raise GanzooError(f"NO FIGURE: {extractor.worthless}")
            self.extractor = extractor.eval().to(device)
            protocol = {"features": entry.stored, "layer": context.layer, "weights": extractor.weights_hash, **extractor.protocol()}
            self.extractor_protocol = protocol | ({"features_edition": extractor.edition} if extractor.edition > 1 else {})
        self._real: dict[str, Accumulator] = {}

    @property
    def weights(self) -> str:
        """The hash of the extractor's weights; "" where it has none."""
        return str(self.extractor_protocol.get("weights", ""))

    def __call__(self, product: Exported, n: int, of: str = "") -> list[Evaluation]:
        """One evaluation a metric, of n outputs of a product. of: its file, for the record.

        What asks for inputs gets rows of the real samples, always the same ones; n is at most their number.
        """
        if not product.asks:
            given = self._labels(product, n)
            starts = range(0, n, DRAWN)
            samples = (lambda start=start: Lot(next(product.outputs(n, self.request.seed, given, first=start))) for start in starts)
            return self._measured(samples, n, product.step, of, {}, product)
        count = self.reference.data.counts[self.reference.data.spec.set_of(self._source(product))]
        n, made_of = min(n, count), {"inputs": f"{', '.join(product.asks)} of {self.reference.split}"}
        if degradation := product.meta.get("degradation"):
            made_of["degradation"] = json.dumps(degradation, sort_keys=True)
        return self._measured(self._applied(product, n, count), n, product.step, of, made_of, product)

    def measure(self, samples: Iterable[Tensor], n: int, of: str = "") -> list[Evaluation]:
        """One evaluation a metric, of samples that are there already: n in all, as they are stored, in batches of any size."""
        return self._measured((partial(Lot, x) for x in samples), n, None, of, {})

    def _source(self, product: Exported) -> str:
        """A key of the real samples whose set the inputs of a product are taken from."""
        stored = [key for key in product.asks if not (product.degradation and key in product.degradation.fields(self.reference.spec.x))]
        return self.reference.own(stored[0] if stored else "x")

    def _applied(self, product: Exported, n: int, count: int) -> Lots:
        """The outputs of a product for n rows of the real samples, with what they were made of and what they should be."""
        data, spec = self.reference.data.load(), self.reference.data.spec
        chosen = torch.randperm(count, generator=generator(self.request.seed, "inputs"))[:n]

        def made_of(start: int) -> Lot:
            rows, stored, given = chosen[start : start + READ], dict[str, Tensor](), dict[str, Tensor]()
            for key, taken in product.fields.items():
                own = next((own for own in (key, key.partition("_")[0]) if own in data), "")
                if own and spec.set_of(own) == spec.set_of(self._source(product)):
                    self.reference.data.expect(own, rows)
                    stored[key] = data[own][rows]
                    given[key] = medium(taken.medium).to_batch(stored[key])
            if product.degradation is not None:
                x = medium(spec.x.medium).to_batch(data["x"][rows]).to(self.device)
                made = degraded(product.degradation.to(self.device), x, self.request.seed, "evaluate", start)
                given |= {key: value.cpu() for key, value in made.items() if key in product.fields}
                for key in given.keys() & made.keys():
                    stored[key] = medium(product.fields[key].medium).stored(given[key], product.fields[key])
            key = product.key or product.groups
            truth = data[self.reference.own(key)][rows] if key and self.reference.truth else None
            return Lot(torch.cat(list(product.outputs(len(rows), seed_of(self.request.seed, start), given))), truth, stored)

        return (partial(made_of, start) for start in range(0, n, READ))

    def _measured(
        self, samples: Lots, n: int, step: int | None, of: str, made_of: dict[str, str], product: Exported | None = None
    ) -> list[Evaluation]:
        start = time.monotonic()
        counts = [self.n_real if needs_likelihood(entry) else n for entry, _ in self.metrics]
        kept: dict[bool, list[Accumulator]] = {True: [], False: []}
        for (entry, metric), count in zip(self.metrics, counts, strict=True):
            kept[needs_likelihood(entry)].append(metric.accumulator(count))
        fake = self._accumulated(kept[False], samples, n, "looking at samples") if kept[False] else {}
        if kept[True]:
            fake |= self._accumulated(kept[True], self._likely(product), self.n_real, "reading real samples")
        self.look_at_real()
        evaluations: list[Evaluation] = []
        if ranks.rank():
            return evaluations
        for i, (entry, metric) in enumerate(self.metrics):
            self.progress("computing figures", i, len(self.metrics))
            metric.notes.clear()
            if metric.against == "train" and self.n_real < self.reference.count:
                metric.note(f"{self.n_real} of {self.reference.count} training samples were looked at: copies of others are not seen.")
            real = self._real[metric.accumulator(self.n_real).key] if metric.compares else None
            if self.extractor is not None and self.extractor.note and needs_features(entry):
                metric.note(self.extractor.note)
            figures = metric.compute(fake[metric.accumulator(counts[i]).key], real)
            protocol = self.protocol(entry, metric, counts[i]) | made_of
            record = entry.record
            assert isinstance(record, MetricPart)
            names = {name: self._figure_name(name, entry) for name in figures}
            hashed = hash_of(protocol)
            evaluations.append(
                Evaluation(
                    figures={names[name]: float(value) for name, value in figures.items()},
                    better={names[name]: direction for name, direction in record.figures.items() if name in names and direction},
                    notes=tuple(metric.notes),
                    protocol=protocol,
                    line=self._line(" and ".join(names.values()), entry, protocol, hashed),
                    hash=hashed,
                    date=datetime.now(UTC).isoformat(timespec="seconds"),
                    seconds=round(time.monotonic() - start, 2),
                    step=step,
                    of=of,
                )
            )
        return evaluations

    def protocol(self, entry: Entry, metric: Metric, n: int) -> dict[str, Any]:
        """All that decides the figures beside the samples themselves, as plain JSON values."""
        protocol: dict[str, Any] = {"metric": entry.stored, "edition": metric.edition, "options": options.to_json(metric.options)}
        if needs_features(entry):
            protocol |= self.extractor_protocol
        protocol |= {"n": n, "seed": self.request.seed, "shape": list(self.spec.shape), "dtype": "float32 features, float64 figures"}
        # A metric that does not compare is of this data all the same: classes are drawn as often as it has them, and toys have their modes.
        data = self.reference.data
        protocol |= {"data": data.name, "checksum": data.checksum[:12], "split": self.reference.split}
        own = self.reference.own(self.reference.key)
        protocol |= {"field": own} if own != "x" else {}
        return protocol | ({"n_real": self.n_real} if metric.compares else {})

    def _line(self, names: str, entry: Entry, protocol: Mapping[str, Any], hashed: str) -> str:
        """The protocol for people to read."""
        words = [names]
        if "features" in protocol:
            weights = f" weights {protocol['weights'][:12]}" if protocol["weights"] else ""
            words.append(f"{protocol['features']}@{protocol['layer']}{weights}")
            words += [f"{key} {value}" for key, value in self.extractor.protocol().items()] if self.extractor is not None else []
        words.append(f"n {protocol['n']}")
        real = f"{protocol.get('field', '')} of {protocol['data']} ({protocol['split']}, {protocol['checksum'][:8]})".lstrip()
        words.append(f"against {protocol['n_real']} {real}" if "n_real" in protocol else real)
        words += [f"from {protocol['inputs']}"] if "inputs" in protocol else []
        if "degradation" in protocol:
            made = json.loads(protocol["degradation"])
            words.append(" ".join(["made by", made["part"], *(f"{key} {_said(value)}" for key, value in made["options"].items())]))
        words += ["x".join(map(str, protocol["shape"]))] if protocol["shape"] else []
        words += [f"seed {protocol['seed']}", "float64"]
        assert isinstance(entry.record, MetricPart)
        defaults, all_ = options.fields(entry.record.options), "truth" in entry.record.looks_at  # papers differ in what they compare
        words += [f"{key} {_said(value)}" for key, value in protocol["options"].items() if all_ or value != defaults[key].default]
        return f"{', '.join(words)} [{hashed}]"

    def _figure_name(self, figure: str, entry: Entry) -> str:
        """The name that a figure is shown by: never "FID" unless the extractor says so, and the metric is ganzoo's own."""
        if self.extractor is None or self.request.extractor is None or not needs_features(entry):
            return figure
        names = self.extractor.figure_names if entry.stored == entry.record.name else {}
        record = self.request.extractor.record
        assert isinstance(record, FeaturesPart)
        layer = "" if self.request.layer == record.layers[0] else f"@{self.request.layer}"
        return names.get(figure, f"{figure} ({self.request.extractor.name}{layer})")

    def look_at_real(self) -> None:
        """Fill the accumulators of the real samples, from the cache or by one pass over them."""
        every = [metric.accumulator(self.n_real) for _, metric in self.metrics if metric.compares]
        wanted = processes.told(processes.together(lambda: self._not_cached(every)))
        if not wanted:
            return
        missing = [one for one in every if one.key in wanted]
        filled = self._accumulated(missing, self._real_samples(), self.n_real, "looking at real samples")
        for key, accumulator in filled.items() if not ranks.rank() else ():
            self._real[key] = accumulator
            with contextlib.suppress(OSError, GanzooError):  # a cache that cannot be written costs time and no figure
                file = self._cached(key)
                file.parent.mkdir(parents=True, exist_ok=True)
                checkpoint.write(file, accumulator.state, {"of": self.reference.data.name})

    def _not_cached(self, every: Sequence[Accumulator]) -> list[str]:
        """The keys of accumulators which have to be filled, on the first rank; the others are taken from the cache."""
        for one in every if not ranks.rank() else ():
            if one.key not in self._real:
                with contextlib.suppress(checkpoint.BadCheckpoint):
                    one.state, _ = checkpoint.read(self._cached(one.key))
                    self._real[one.key] = one
        return [one.key for one in every if one.key not in self._real]

    def _cached(self, key: str) -> Path:
        return cache_dir() / "reference" / f"{self._cache_name(key)}.safetensors"

    def _cache_name(self, key: str) -> str:
        own, data = self.reference.own(self.reference.key), self.reference.data
        decisive = [__version__, key, self.extractor_protocol, data.checksum, own, self.reference.field.to_json(), self.n_real]
        return f"{self.reference.data.name}-{hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:20]}"

    def _likely(self, product: Exported | None) -> Lots:
        """The real samples, with how probable the generator finds each."""
        if product is None or not product.reads:
            name = next(entry.name for entry, _ in self.metrics if needs_likelihood(entry))
            whose = f"{product.name} cannot" if product is not None else "these are samples without one, which cannot"
            raise UsageError(f"metric {name!r} asks the generator how probable real samples are; {whose} tell.")
        for lot in self._real_samples():
            yield partial(self._with_likelihood, product, lot)

    @staticmethod
    def _with_likelihood(product: Exported, lot: Callable[[], Lot]) -> Lot:
        return Lot(x := lot().x, likelihood=product.log_likelihood(x))

    def _real_samples(self) -> Lots:
        """The reference, or n_real of it, always the same ones."""
        x = self.reference.data.load()[self.reference.own(self.reference.key)]
        if self.n_real < len(x):
            x = x[torch.randperm(len(x), generator=generator("reference"))[: self.n_real].sort().values]
        return (partial(Lot, lot) for lot in x.split(READ))

    @torch.no_grad()
    def _accumulated(self, accumulators: Sequence[Accumulator], samples: Lots, n: int, what: str) -> dict[str, Accumulator]:
        """The accumulators by key, each filled with all samples; those of the first rank, where several share the work.

        Raises GanzooError where the extractor gives what is no number.
        """
        filled = {accumulator.key: accumulator for accumulator in accumulators}
        done = 0

        def add(values: Mapping[str, Tensor]) -> None:
            for start in range(0, len(values["x"]), BATCH):
                rows = {name: value[start : start + BATCH] for name, value in values.items()}
                inputs = {name.removeprefix(INPUT): rows.pop(name) for name in values if name.startswith(INPUT)}
                for accumulator in filled.values():
                    accumulator.add(FeatureBatch(inputs=inputs, **rows))
                self.progress(what, done + start + len(rows["x"]), n)

        for values in processes.in_turns(partial(self._looked_at, make) for make in samples):
            processes.together(partial(add, values) if not ranks.rank() else lambda: None)
            done += len(values["x"])
        if done != n:
            raise GanzooError(f"wanted {n} samples, got {done}.")
        return filled

    def _looked_at(self, make: Callable[[], Lot]) -> dict[str, Tensor]:
        """The rows of a lot with their features, by the names in `FeatureBatch`; what they were made of as INPUT and the key."""
        lot = make()
        with machine.exact():
            features, logits = zip(*(self._extracted(x) for x in lot.x.split(BATCH)), strict=True)
        every = {"x": lot.x.cpu(), "features": torch.cat(features), "truth": lot.truth, "likelihood": lot.likelihood}
        every |= {"logits": torch.cat(logits)} if logits[0] is not None else {}
        every |= {f"{INPUT}{key}": value for key, value in lot.inputs.items()}
        return {name: value for name, value in every.items() if value is not None}

    def _extracted(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and, where the extractor classifies, logits."""
        if self.extractor is None or self.request.extractor is None:
            return x.flatten(1).float(), None
        features, logits = self.extractor(x.to(self.device))
        name = self.request.extractor.name
        for numbers in (features, logits):
            if numbers is not None and not bool(numbers.isfinite().all()):
                raise GanzooError(f"{name}: features that are not finite numbers. Are its weights whole?")
        if logits is None and any("logits" in getattr(entry.record, "looks_at", ()) for entry in self.request.metrics):
            able = "of images, inception2015 (with all of its weights) or classifier"
            raise UsageError(f"--metric: it needs an extractor that classifies, and {name} gives no logits: {able}.")
        return features.float().cpu(), None if logits is None else logits.float().cpu()

    def _labels(self, product: Exported, n: int) -> dict[str, Tensor]:
        """Classes for n samples by key, drawn as often as the reference has them; none where it has others than the product takes."""
        own = self.reference.label
        if not own or product.classes is None or self.reference.data.spec.fields[own].size != product.classes.size:
            return {}
        y = self.reference.data.load()[own]
        drawn = y[torch.randint(len(y), (n,), generator=generator(self.request.seed, "labels"))]
        return {key: drawn for key in product.fields if key not in product.asks}
