"""Samples -> figures that say exactly what they are: by which metric, in which features, against which data, of how many."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo import __version__, compose, options
from ganzoo.data.cache import cache_dir, data_folder
from ganzoo.errors import GanzooError, UsageError
from ganzoo.evaluation.record import Evaluation
from ganzoo.metrics import Features, Gather, Metric, Seen, Sight
from ganzoo.randomness import generator
from ganzoo.registry.catalogue import Catalogue
from ganzoo.runs import checkpoint
from ganzoo.runs.exported import DRAWN
from ganzoo.types import DataSet, DataSpec, Part

if TYPE_CHECKING:
    from ganzoo.data import Prepared

LOOKED_AT = 50  # images that an extractor is given together; changes nothing but the speed

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Asked:
    """What is to be measured.

    metrics: names. features: an extractor's name, perhaps with @layer; "" where no metric looks at features. n, n_real: how many samples
    and how many real ones, None: all that there are. seed: of the latents. settings: options of metrics and extractors, by name.
    """

    metrics: tuple[str, ...]
    features: str = ""
    n: int = 10_000
    n_real: int | None = None
    seed: int = 0
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """The real samples. split: "train" where they are what the generator learns from, "test" where they are held out, else their name."""

    data: Prepared
    split: str
    record: DataSet | None = None


def usual(record: DataSet | None, spec: DataSpec) -> tuple[str, str, int]:
    """Metric, features and number of samples where the user names none: what can be had for such data without a download."""
    if spec.kind == "points":
        return ("modes", "pixels", 2500) if record is not None and record.modes else ("fid", "pixels", 10_000)
    return "fid", "classifier" if spec.classes else "inception2015", 10_000


def check_asked(zoo: Catalogue, asked: Asked, spec: DataSpec) -> None:
    """Raise UsageError where the metrics, the extractor and the data do not fit, before anything is computed."""
    if not asked.metrics:
        raise UsageError(f"--metric: wanted names, as fid,kid; got none. There is {', '.join(e.name for e in zoo.entries('metric'))}.")
    parts = [zoo.part("metric", name) for name in asked.metrics]
    name, _, layer = asked.features.partition("@")
    if any(_looks(part) for part in parts):
        if not name:
            there = ", ".join(e.name for e in zoo.entries("features"))
            raise UsageError(f"metric {asked.metrics[0]!r} looks at features: name an extractor with --features. There is {there}.")
        eye = zoo.part("features", name)
        if layer and layer not in eye.gives:
            raise UsageError(f"--features {asked.features}: {name} has no layer {layer!r}. It has {', '.join(eye.gives)}.")
        parts.append(eye)
    if odd := [name for name in asked.settings if name not in {part.name for part in parts}]:
        raise UsageError(f"--{odd[0]}.{next(iter(asked.settings[odd[0]])).replace('_', '-')}: {odd[0]} is not asked for.")
    for part in parts:
        if spec.kind not in part.data:
            raise UsageError(f"{part.kind} {part.name!r} takes {' or '.join(part.data)} data; this is {spec.kind} data.")
        options.make(part.options, asked.settings.get(part.name, {}), f"--{part.name}.")


def _looks(part: Part) -> bool:
    return bool({"features", "logits"} & set(part.needs))


def hash_of(protocol: Mapping[str, Any]) -> str:
    """What stands for a protocol. The data counts by its content and not by what it is called."""
    told = {key: value for key, value in protocol.items() if key not in ("data", "split")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]


class Evaluator:
    """Measures samples by one protocol, as often as it is called; what it knows of the real samples is computed once and cached."""

    def __init__(
        self, zoo: Catalogue, asked: Asked, reference: Reference, training: Callable[[], Prepared], device: torch.device,
        progress: Progress = lambda what, done, total: None, data_dir: str | None = None,
    ) -> None:  # fmt: skip
        self.asked, self.reference, self.device, self.progress = asked, reference, device, progress
        self.spec = reference.data.spec
        check_asked(zoo, asked, self.spec)
        self.n_real = min(asked.n_real or reference.data.count, reference.data.count)
        self.parts = [zoo.part("metric", name) for name in asked.metrics]
        self.stored = [zoo.get("metric", name).stored for name in asked.metrics]
        self.metrics: list[Metric] = []
        for name, part in zip(asked.metrics, self.parts, strict=True):
            made = options.make(part.options, asked.settings.get(part.name, {}), f"--{part.name}.")
            metric: Metric = compose.construct(zoo.get("metric", name), self.spec, made, reference.record)
            if metric.against == "train" and reference.split != "train":
                raise UsageError(f"metric {name!r} compares with what the generator has learnt from: take --against train.")
            self.metrics.append(metric)
        self.eye: Features | None = None
        self.seeing: dict[str, Any] = {}
        if any(map(_looks, self.parts)):
            name, _, layer = asked.features.partition("@")
            part = zoo.part("features", name)
            layer = layer or part.gives[0]
            sight = Sight(layer, training, cache_dir() / "features", data_folder(data_dir), device, progress)
            made = options.make(part.options, asked.settings.get(part.name, {}), f"--{part.name}.")
            try:
                eye: Features = compose.construct(zoo.get("features", name), self.spec, made, sight)
            except GanzooError as e:
                if self.spec.classes or name != usual(reference.record, self.spec)[1]:
                    raise
                why = f"{name} is what data without labels is looked at with; --features pixels needs no weights."
                raise type(e)(f"{e} {why}") from e
            self.eye = eye.eval().to(device)
            self.seeing = {"features": zoo.get("features", name).stored, "layer": layer, "weights": eye.weights, **eye.protocol()}
            if eye.edition > 1:
                self.seeing["features_edition"] = eye.edition
        self._real: dict[str, Gather] = {}

    def __call__(self, samples: Iterable[Tensor], n: int, step: int | None = None, of: str = "") -> list[Evaluation]:
        """One evaluation a metric. samples: n in all, uint8 images (N, C, H, W) or float32 points (N, D)."""
        start = time.monotonic()
        fake = self._gathered([metric.gather(n) for metric in self.metrics], samples, n, "looking at samples")
        self.look_at_real()
        made = []
        for stored, part, metric in zip(self.stored, self.parts, self.metrics, strict=True):
            metric.notes.clear()
            if metric.against == "train" and self.n_real < self.reference.data.count:
                metric.note(f"{self.n_real} of {self.reference.data.count} training samples were looked at: copies of others are not seen.")
            real = self._real[metric.gather(self.n_real).key] if metric.compares else None
            figures = metric.compute(fake[metric.gather(n).key], real)
            protocol = self.protocol(stored, part, metric, n)
            shown = {name: self._called(name, stored, part) for name in figures}
            hashed = hash_of(protocol)
            made.append(
                Evaluation(
                    figures={shown[name]: float(value) for name, value in figures.items()},
                    better={shown[name]: way for name, way in part.better.items() if name in shown},
                    notes=tuple(metric.notes),
                    protocol=protocol,
                    line=self._line(" and ".join(shown.values()), part, protocol, hashed),
                    hash=hashed,
                    date=datetime.now(UTC).isoformat(timespec="seconds"),
                    seconds=round(time.monotonic() - start, 2),
                    step=step,
                    of=of,
                )
            )
        return made

    def protocol(self, stored: str, part: Part, metric: Metric, n: int) -> dict[str, Any]:
        """All that decides the figures beside the samples themselves, as plain JSON values."""
        told: dict[str, Any] = {"metric": stored, "edition": metric.edition, "options": options.to_json(metric.options)}
        if _looks(part):
            told |= self.seeing
        told |= {"n": n, "seed": self.asked.seed, "shape": list(self.spec.shape), "dtype": "float32 features, float64 figures"}
        # A metric that does not compare is of this data all the same: classes are drawn as often as it has them, and toys have their modes.
        data = self.reference.data
        told |= {"data": data.name, "checksum": data.checksum[:12], "split": self.reference.split}
        return told | ({"n_real": self.n_real} if metric.compares else {})

    def _line(self, called: str, part: Part, told: Mapping[str, Any], hashed: str) -> str:
        words = [called]
        if "features" in told:
            weights = f" weights {told['weights'][:12]}" if told["weights"] else ""
            words.append(f"{told['features']}@{told['layer']}{weights}")
            words += [f"{key} {value}" for key, value in self.eye.protocol().items()] if self.eye is not None else []
        words.append(f"n {told['n']}")
        real = f"of {told['data']} ({told['split']}, {told['checksum'][:8]})"
        words.append(f"against {told['n_real']} {real}" if "n_real" in told else real)
        words += ["x".join(map(str, told["shape"])), f"seed {told['seed']}", "float64"]
        words += [f"{key} {value}" for key, value in told["options"].items() if value != options.fields(part.options)[key].default]
        return f"{', '.join(words)} [{hashed}]"

    def _called(self, figure: str, stored: str, part: Part) -> str:
        """How a figure is called: never "FID" unless the extractor says so, and the metric is ganzoo's own."""
        if self.eye is None or not _looks(part):
            return figure
        calls = self.eye.calls if stored == part.name else {}
        return calls.get(figure, f"{figure} ({self.asked.features})")

    def look_at_real(self) -> None:
        """Fill what the metrics want of the real samples, from the cache or by one pass over them."""
        wanted = {g.key: g for metric in self.metrics if metric.compares for g in [metric.gather(self.n_real)] if g.key not in self._real}
        places = {key: cache_dir() / "reference" / f"{self._cache_name(key)}.safetensors" for key in wanted}
        for key, gather in list(wanted.items()):
            try:
                gather.kept, _ = checkpoint.read(places[key])
                self._real[key] = wanted.pop(key)
            except checkpoint.BadCheckpoint:
                continue
        if not wanted:
            return
        made = self._gathered(list(wanted.values()), self._real_samples(), self.n_real, "looking at real samples")
        for key, gather in made.items():
            self._real[key] = gather
            with contextlib.suppress(OSError, GanzooError):  # a cache that cannot be written costs time and no figure
                places[key].parent.mkdir(parents=True, exist_ok=True)
                checkpoint.write(places[key], gather.kept, {"of": self.reference.data.name})

    def _cache_name(self, key: str) -> str:
        told = [__version__, key, self.seeing, self.reference.data.checksum, self.n_real]
        return f"{self.reference.data.name}-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]}"

    def _real_samples(self) -> Iterator[Tensor]:
        """The reference, or n_real of it, always the same ones."""
        x = self.reference.data.load()["x"]
        if self.n_real < len(x):
            x = x[torch.randperm(len(x), generator=generator("reference"))[: self.n_real].sort().values]
        return iter(x.split(DRAWN))

    @torch.no_grad()
    def _gathered(self, gathers: Sequence[Gather], samples: Iterable[Tensor], n: int, what: str) -> dict[str, Gather]:
        """The gathers by key, each filled with all samples. Raises GanzooError where the extractor sees what is no number."""
        found = {gather.key: gather for gather in gathers}
        done = 0
        # NVIDIA's GPUs would round the factors of convolutions to 10 bits.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            for lot in samples:
                for x in lot.split(LOOKED_AT):
                    seen = self._see(x)
                    for gather in found.values():
                        gather.add(seen)
                    done += len(x)
                    self.progress(what, done, n)
        if done != n:
            raise GanzooError(f"wanted {n} samples, got {done}.")
        return found

    def _see(self, x: Tensor) -> Seen:
        if self.eye is None:
            return Seen(x, x.flatten(1).float())
        features, logits = self.eye(x.to(self.device))
        for numbers in (features, logits):
            if numbers is not None and not bool(numbers.isfinite().all()):
                raise GanzooError(f"{self.asked.features}: features that are not finite numbers. Are its weights whole?")
        if logits is None and any("logits" in part.needs for part in self.parts):
            able = "of images, inception2015 (with all of its weights) or classifier"
            raise UsageError(f"--metric: it needs an extractor that classifies, and {self.asked.features} gives no logits: {able}.")
        return Seen(x.cpu(), features.float().cpu(), None if logits is None else logits.float().cpu())

    def labels(self, n: int) -> Tensor | None:
        """Classes for n samples, drawn as often as the reference has them; None where it has none."""
        y = self.reference.data.load().get("y")
        return None if y is None else y[torch.randint(len(y), (n,), generator=generator(self.asked.seed, "labels"))]
