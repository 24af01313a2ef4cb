"""Samples -> figures that say exactly what they are: by which metric, in which features, against which data, of how many."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo import __version__, machine, options
from ganzoo.compose import Progress
from ganzoo.data.cache import cache_dir, data_folder
from ganzoo.errors import GanzooError, UsageError
from ganzoo.evaluation.record import Evaluation
from ganzoo.evaluation.request import EvaluationRequest, Reference, needs_features, usual
from ganzoo.metrics import Accumulator, ExtractorContext, FeatureBatch, FeatureExtractor, Metric
from ganzoo.randomness import generator
from ganzoo.registry.catalogue import Entry
from ganzoo.runs import checkpoint

if TYPE_CHECKING:
    from ganzoo.data import Prepared

READ = 250  # real samples that are read at once
BATCH = 50  # samples that an extractor is given at once


def hash_of(protocol: Mapping[str, Any]) -> str:
    """A short name for a protocol. The data counts by its content and not by what it is called."""
    decisive = {key: value for key, value in protocol.items() if key not in ("data", "split")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]


class Evaluator:
    """Measures samples by one protocol, as often as it is called; its accumulators of the real samples are filled once and cached.

    training: prepares the data that the generator learns from, for extractors that learn from it too.
    """

    def __init__(
        self, request: EvaluationRequest, reference: Reference, training: Callable[[], Prepared], device: torch.device,
        progress: Progress = lambda what, done, total: None, data_dir: str | None = None,
    ) -> None:  # fmt: skip
        self.request, self.reference, self.device, self.progress = request, reference, device, progress
        self.spec = reference.data.spec
        request.check(self.spec)
        self.n_real = min(request.n_real or reference.data.count, reference.data.count)
        self.metrics: list[tuple[Entry, Metric]] = []
        for entry in request.metrics:
            metric: Metric = entry.build(self.spec, request.options[entry.part.name], reference.record)
            if metric.against == "train" and reference.split != "train":
                raise UsageError(f"metric {entry.name!r} compares with what the generator has learnt from: take --against train.")
            self.metrics.append((entry, metric))
        self.extractor: FeatureExtractor | None = None
        self.extractor_protocol: dict[str, Any] = {}
        if request.extractor is not None:
            context = ExtractorContext(request.layer, training, cache_dir() / "features", data_folder(data_dir), device, progress)
            self._build_extractor(request.extractor, context)
        self._real: dict[str, Accumulator] = {}

    def _build_extractor(self, entry: Entry, context: ExtractorContext) -> None:
        try:
            extractor: FeatureExtractor = entry.build(self.spec, self.request.options[entry.part.name], context)
        except GanzooError as e:
            if self.spec.classes or entry.name != usual(self.reference.record, self.spec)[1]:
                raise
            why = f"{entry.name} is what data without labels is looked at with; --features pixels needs no weights."
            raise type(e)(f"{e} {why}") from e
        self.extractor = extractor.eval().to(self.device)
        protocol = {"features": entry.stored, "layer": context.layer, "weights": extractor.weights_hash, **extractor.protocol()}
        self.extractor_protocol = protocol | ({"features_edition": extractor.edition} if extractor.edition > 1 else {})

    def __call__(self, samples: Iterable[Tensor], n: int, step: int | None = None, of: str = "") -> list[Evaluation]:
        """One evaluation a metric. samples: n in all, uint8 images (N, C, H, W) or float32 points (N, D), in batches of any size.

        step, of: of the generator, for the record.
        """
        start = time.monotonic()
        fake = self._accumulated([metric.accumulator(n) for _, metric in self.metrics], samples, n, "looking at samples")
        self.look_at_real()
        evaluations = []
        for entry, metric in self.metrics:
            metric.notes.clear()
            if metric.against == "train" and self.n_real < self.reference.data.count:
                metric.note(f"{self.n_real} of {self.reference.data.count} training samples were looked at: copies of others are not seen.")
            real = self._real[metric.accumulator(self.n_real).key] if metric.compares else None
            figures = metric.compute(fake[metric.accumulator(n).key], real)
            protocol = self.protocol(entry, metric, n)
            names = {name: self._figure_name(name, entry) for name in figures}
            hashed = hash_of(protocol)
            evaluations.append(
                Evaluation(
                    figures={names[name]: float(value) for name, value in figures.items()},
                    better={names[name]: direction for name, direction in entry.part.better.items() if name in names},
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
        if needs_features(entry.part):
            protocol |= self.extractor_protocol
        protocol |= {"n": n, "seed": self.request.seed, "shape": list(self.spec.shape), "dtype": "float32 features, float64 figures"}
        # A metric that does not compare is of this data all the same: classes are drawn as often as it has them, and toys have their modes.
        data = self.reference.data
        protocol |= {"data": data.name, "checksum": data.checksum[:12], "split": self.reference.split}
        return protocol | ({"n_real": self.n_real} if metric.compares else {})

    def _line(self, names: str, entry: Entry, protocol: Mapping[str, Any], hashed: str) -> str:
        """The protocol for people to read."""
        words = [names]
        if "features" in protocol:
            weights = f" weights {protocol['weights'][:12]}" if protocol["weights"] else ""
            words.append(f"{protocol['features']}@{protocol['layer']}{weights}")
            words += [f"{key} {value}" for key, value in self.extractor.protocol().items()] if self.extractor is not None else []
        words.append(f"n {protocol['n']}")
        real = f"of {protocol['data']} ({protocol['split']}, {protocol['checksum'][:8]})"
        words.append(f"against {protocol['n_real']} {real}" if "n_real" in protocol else real)
        words += ["x".join(map(str, protocol["shape"])), f"seed {protocol['seed']}", "float64"]
        defaults = options.fields(entry.part.options)
        words += [f"{key} {value}" for key, value in protocol["options"].items() if value != defaults[key].default]
        return f"{', '.join(words)} [{hashed}]"

    def _figure_name(self, figure: str, entry: Entry) -> str:
        """The name that a figure is shown by: never "FID" unless the extractor says so, and the metric is ganzoo's own."""
        if self.extractor is None or self.request.extractor is None or not needs_features(entry.part):
            return figure
        names = self.extractor.figure_names if entry.stored == entry.part.name else {}
        layer = "" if self.request.layer == self.request.extractor.part.gives[0] else f"@{self.request.layer}"
        return names.get(figure, f"{figure} ({self.request.extractor.name}{layer})")

    def look_at_real(self) -> None:
        """Fill the accumulators of the real samples, from the cache or by one pass over them."""
        every = [metric.accumulator(self.n_real) for _, metric in self.metrics if metric.compares]
        missing = {one.key: one for one in every if one.key not in self._real}
        files = {key: cache_dir() / "reference" / f"{self._cache_name(key)}.safetensors" for key in missing}
        for key, accumulator in list(missing.items()):
            try:
                accumulator.state, _ = checkpoint.read(files[key])
                self._real[key] = missing.pop(key)
            except checkpoint.BadCheckpoint:
                continue
        if not missing:
            return
        filled = self._accumulated(list(missing.values()), self._real_samples(), self.n_real, "looking at real samples")
        for key, accumulator in filled.items():
            self._real[key] = accumulator
            with contextlib.suppress(OSError, GanzooError):  # a cache that cannot be written costs time and no figure
                files[key].parent.mkdir(parents=True, exist_ok=True)
                checkpoint.write(files[key], accumulator.state, {"of": self.reference.data.name})

    def _cache_name(self, key: str) -> str:
        decisive = [__version__, key, self.extractor_protocol, self.reference.data.checksum, self.n_real]
        return f"{self.reference.data.name}-{hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:20]}"

    def _real_samples(self) -> Iterator[Tensor]:
        """The reference, or n_real of it, always the same ones."""
        x = self.reference.data.load()["x"]
        if self.n_real < len(x):
            x = x[torch.randperm(len(x), generator=generator("reference"))[: self.n_real].sort().values]
        return iter(x.split(READ))

    @torch.no_grad()
    def _accumulated(self, accumulators: Sequence[Accumulator], samples: Iterable[Tensor], n: int, what: str) -> dict[str, Accumulator]:
        """The accumulators by key, each filled with all samples. Raises GanzooError where the extractor gives what is no number."""
        filled = {accumulator.key: accumulator for accumulator in accumulators}
        done = 0
        for rows in samples:
            for x in rows.split(BATCH):
                with machine.exact():
                    batch = self._extracted(x)
                for accumulator in filled.values():
                    accumulator.add(batch)
                done += len(x)
                self.progress(what, done, n)
        if done != n:
            raise GanzooError(f"wanted {n} samples, got {done}.")
        return filled

    def _extracted(self, x: Tensor) -> FeatureBatch:
        if self.extractor is None or self.request.extractor is None:
            return FeatureBatch(x, x.flatten(1).float())
        features, logits = self.extractor(x.to(self.device))
        name = self.request.extractor.name
        for numbers in (features, logits):
            if numbers is not None and not bool(numbers.isfinite().all()):
                raise GanzooError(f"{name}: features that are not finite numbers. Are its weights whole?")
        if logits is None and any("logits" in entry.part.needs for entry in self.request.metrics):
            able = "of images, inception2015 (with all of its weights) or classifier"
            raise UsageError(f"--metric: it needs an extractor that classifies, and {name} gives no logits: {able}.")
        return FeatureBatch(x.cpu(), features.float().cpu(), None if logits is None else logits.float().cpu())

    def labels(self, n: int) -> Tensor | None:
        """Classes for n samples, drawn as often as the reference has them; None where it has none."""
        y = self.reference.data.load().get("y")
        return None if y is None else y[torch.randint(len(y), (n,), generator=generator(self.request.seed, "labels"))]
