"""The interfaces of feature extractors and metrics, and what metrics keep of a stream of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ganzoo.types import DataSet, DataSpec

if TYPE_CHECKING:
    from ganzoo.data import Prepared


@dataclass(frozen=True)
class FeatureBatch:
    """A batch of samples with their features.

    Attributes:
        x: as they would be saved: uint8 images (N, C, H, W), float32 points (N, D), int64 texts (N, T), probabilities of classes (N, K).
        features: float32 (N, D).
        logits: (N, K) where the extractor classifies, else None.
        truth: of outputs, the rows of the data that they should have been, as they are stored; else None.
        inputs: of outputs, the rows that they were made of, by key, as they are stored.
        likelihood: of real samples, log p of each under the generator, in nats; float64 (N,). x are those samples then.
    """

    x: Tensor
    features: Tensor
    logits: Tensor | None = None
    truth: Tensor | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    likelihood: Tensor | None = None


class Accumulator(ABC):
    """What a metric keeps of a stream of samples, batch by batch: `state`, tensors by name, so that it can be cached.

    n: how many samples there will be. Two accumulators with one `key` have the same state for the same samples.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.state: dict[str, Tensor] = {}

    @property
    def key(self) -> str:
        """Its kind and whatever else decides its state."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def add(self, batch: FeatureBatch) -> None:
        """Take in the next batch, which is on the CPU."""


class Moments(Accumulator):
    """state: the "mean" (D,) of features and the "scatter" (D, D), the sum of squares about it, in float64. It does not grow with n."""

    count = 0

    def add(self, batch: FeatureBatch) -> None:
        """Chan, Golub and LeVeque 1983, equations 2.1: what is merged are means and squares about them, so nothing large is subtracted."""
        x = batch.features.double()
        mean = x.mean(0)
        x = x - mean
        scatter = x.T @ x
        if not self.count:
            self.state = {"mean": mean, "scatter": scatter}
        else:
            difference, total = mean - self.state["mean"], self.count + len(x)
            # In place: (D, D) in float64 is 32 MiB with Inception's features, and each other copy of it costs more than the product.
            self.state["scatter"] += scatter.addr_(difference, difference, alpha=self.count * len(x) / total)
            self.state["mean"] += difference * (len(x) / total)
        self.count += len(x)

    @property
    def mean(self) -> Tensor:
        """(D,)"""
        return self.state["mean"]

    @property
    def covariance(self) -> Tensor:
        """(D, D), unbiased: divided by n - 1."""
        return self.state["scatter"] / (self.n - 1)


class FeatureRows(Accumulator):
    """state: the "features" (n, D) of all samples in float32, for metrics that compare sample with sample."""

    place = 0

    def add(self, batch: FeatureBatch) -> None:
        if not self.state:
            self.state = {"features": batch.features.new_empty((self.n, batch.features.shape[1]))}
        self.state["features"][self.place : self.place + len(batch.features)] = batch.features
        self.place += len(batch.features)

    @property
    def rows(self) -> Tensor:
        """(n, D)"""
        return self.state["features"]


class Metric(ABC):
    """Figures of merit of samples. Built from what the data is and from its own options; knows no network and no data set.

    data: the record of the data set that the samples are compared with; None where that is a folder or a file.
    """

    edition: ClassVar[int] = 1
    """Part of the protocol: raised when the same samples get other figures than before."""
    compares: ClassVar[bool] = True
    """Whether it looks at the real samples at all."""
    against: ClassVar[str] = ""
    """"train" where it tells something only against the samples that the generator has learnt from."""

    def __init__(self, spec: DataSpec, options: Any, data: DataSet | None = None) -> None:
        self.spec, self.options, self.data = spec, options, data
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Tell the user something about the figures that they should know: too few samples, a degenerate case."""
        self.notes.append(text)

    @abstractmethod
    def accumulator(self, n: int) -> Accumulator:
        """A new accumulator for n samples."""

    @abstractmethod
    def compute(self, fake: Any, real: Any) -> dict[str, float]:
        """The figures, by the names in the record. fake, real: accumulators, filled; real is None unless it `compares`.

        Raises GanzooError where there are too few samples to say anything.
        """


@dataclass(frozen=True)
class ExtractorContext:
    """Where and for what a feature extractor is built.

    Attributes:
        layer: which of the layers in its record.
        training: prepares the data that the generator learns from, for an extractor that learns too; raises UsageError where that is
            not at hand.
        cache: a folder that may be written, for weights.
        data_dir: where downloads lie; it may be read-only.
        device: where the extractor will be.
        progress: call it with (what, done, total) now and then while the extractor learns or downloads.
    """

    layer: str
    training: Callable[[], Prepared]
    cache: Path
    data_dir: Path
    device: torch.device
    progress: Callable[[str, int, int], None]


class FeatureExtractor(nn.Module, ABC):
    """Maps images, or points, to features.

    Works in eval mode, without gradients, in fp32; the features of a sample do not depend on the others in the batch.
    """

    edition: ClassVar[int] = 1
    """Part of the protocol: raised when the same weights give other features than before."""
    weights_hash: str = ""
    """A hash of its weights, which is part of every protocol; "" where there are none."""
    figure_names: Mapping[str, str] = {}
    """What figures are called that are measured with it: {"fid": "FID@768"}. Others get its name in brackets: "fid (pixels)"."""
    worthless: str = ""
    """Why its features say nothing of this data, as where it has learnt nothing: no figure is given then."""
    note: str = ""
    """What the user should know of every figure that is measured with it; it is among the notes of each such evaluation."""

    def __init__(self, spec: DataSpec, options: Any, context: ExtractorContext) -> None:
        super().__init__()
        self.spec, self.options, self.context = spec, options, context

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (N, D) of the layer, and logits (N, K) or None.

        x: uint8 images (N, C, H, W) of any size, C 1 or 3; or float32 points (N, D).
        """

    def protocol(self) -> dict[str, Any]:
        """What else decides the features, its own options included: {"resize": "bilinear to 299"}."""
        return {}
