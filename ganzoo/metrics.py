"""What judges a generator: feature extractors, metrics on features, and what metrics keep of a stream of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ganzoo.types import DataSet, DataSpec

if TYPE_CHECKING:
    from ganzoo.data import Prepared


@dataclass(frozen=True)
class Seen:
    """A batch of samples and what an extractor sees in them.

    Attributes:
        x: uint8 images (N, C, H, W), as they would be saved, or float32 points (N, D).
        features: float32 (N, D).
        logits: (N, K) where the extractor classifies, else None.
    """

    x: Tensor
    features: Tensor
    logits: Tensor | None = None


class Gather(ABC):
    """What a metric keeps of a stream of samples: tensors by name, so that it can be cached. Two of one `key` keep the same.

    n: how many samples there will be.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.kept: dict[str, Tensor] = {}

    @property
    def key(self) -> str:
        """What it is, and its settings: those that decide what it keeps."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def add(self, seen: Seen) -> None:
        """Take in the next batch, on the CPU."""


class Moments(Gather):
    """kept: the "mean" (D,) of features and the "scatter" (D, D), the sum of squares about it, in float64. It does not grow with n."""

    count = 0

    def add(self, seen: Seen) -> None:
        """Chan, Golub and LeVeque 1983, equations 2.1: what is merged are means and squares about them, so nothing large is subtracted."""
        x = seen.features.double()
        mean = x.mean(0)
        x = x - mean
        scatter = x.T @ x
        if not self.count:
            self.kept = {"mean": mean, "scatter": scatter}
        else:
            apart, total = mean - self.kept["mean"], self.count + len(x)
            # In place: (D, D) in float64 is 32 MiB with Inception's features, and each other copy of it costs more than the product.
            self.kept["scatter"] += scatter.addr_(apart, apart, alpha=self.count * len(x) / total)
            self.kept["mean"] += apart * (len(x) / total)
        self.count += len(x)

    @property
    def mean(self) -> Tensor:
        """(D,)"""
        return self.kept["mean"]

    @property
    def covariance(self) -> Tensor:
        """(D, D), unbiased: divided by n - 1."""
        return self.kept["scatter"] / (self.n - 1)


class Rows(Gather):
    """kept: the "features" (n, D) of all samples in float32, for metrics that compare sample with sample."""

    place = 0

    def add(self, seen: Seen) -> None:
        if not self.kept:
            self.kept = {"features": seen.features.new_empty((self.n, seen.features.shape[1]))}
        self.kept["features"][self.place : self.place + len(seen.features)] = seen.features
        self.place += len(seen.features)

    @property
    def rows(self) -> Tensor:
        """(n, D)"""
        return self.kept["features"]


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
    def gather(self, n: int) -> Gather:
        """What it keeps of n samples."""

    @abstractmethod
    def compute(self, fake: Any, real: Any) -> dict[str, float]:
        """The figures, by the names in the record's `gives`. fake, real: what `gather` made, filled; real is None unless it `compares`.

        Raises GanzooError where there are too few samples to say anything.
        """


@dataclass(frozen=True)
class Sight:
    """What a feature extractor may ask for when it is built.

    Attributes:
        layer: which of the layers that its record `gives`.
        training: prepares the samples that a generator of this data learns from; raises UsageError where there are none at hand.
        cache: a folder that may be written, for weights.
        data_dir: where downloads lie; it may be read-only.
        device: where it will work.
        progress: told (what, done, total) now and then while it learns or downloads.
    """

    layer: str
    training: Callable[[], Prepared]
    cache: Path
    data_dir: Path
    device: torch.device
    progress: Callable[[str, int, int], None]


class Features(nn.Module, ABC):
    """Maps images, or points, to features. Its figures are those of its weights: `weights` goes into every protocol line.

    Works in eval mode, without gradients, in fp32; what it sees in a sample does not depend on the others in the batch.
    """

    edition: ClassVar[int] = 1
    """Part of the protocol: raised when the same weights see something else than before."""
    weights: str = ""
    """A hash of the numbers that it computes with; "" where there are none."""
    calls: Mapping[str, str] = {}
    """How a figure is called that was measured with it: {"fid": "FID@768"}. Others get its name in brackets: "fid (pixels)"."""

    def __init__(self, spec: DataSpec, options: Any, sight: Sight) -> None:
        super().__init__()
        self.spec, self.options, self.sight = spec, options, sight

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (N, D) of the layer, and logits (N, K) or None.

        x: uint8 images (N, C, H, W) of any size, C 1 or 3; or float32 points (N, D).
        """

    def protocol(self) -> dict[str, Any]:
        """What else decides its figures, options of its own included: {"resize": "bilinear to 299"}."""
        return {}
