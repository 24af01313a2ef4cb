"""Metrics that GAN papers report: on features, on logits, on the modes of toy data, and against the training samples."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Part, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class KIDOptions:
    subsets: int = option(100, "random subsets of the samples; the figure is the mean over them", source="the authors' code", min=1)
    subset_size: int = option(1000, "generated samples, and real samples, per subset", source="the authors' code", min=2)
    degree: int = option(3, "degree of the polynomial kernel", source="section 4", min=1)
    gamma: float | None = option(None, "factor of the kernel's inner product; 1 / dimension by default", source="section 4", min=0)
    coef0: float = option(1.0, "constant added to the kernel's inner product", source="section 4", min=0)


@dataclass(frozen=True)
class ScoreOptions:
    splits: int = option(10, "parts of the samples, each scored separately", source="the authors' code", min=1)


@dataclass(frozen=True)
class BallOptions:
    k: int = option(3, "the ball around a sample reaches to its k-th nearest neighbour", source="arXiv:1904.06991", min=1)


@dataclass(frozen=True)
class DensityOptions:
    k: int = option(5, "the ball around a real sample reaches to its k-th nearest neighbour", source="arXiv:2002.09797", min=1)


@hookimpl
def ganzoo_register() -> list[Part]:
    return [
        Part("metric", "fid", "ganzoo_metrics.model:FID", "Fréchet distance of Gaussians fitted to features, arXiv:1706.08500",
             gives=("fid",), needs=("features",), better={"fid": "lower"}),
        Part("metric", "kid", "ganzoo_metrics.model:KID", "unbiased squared MMD of features, arXiv:1801.01401", KIDOptions,
             gives=("kid", "kid-std"), needs=("features",), better={"kid": "lower"}, small={"subsets": 5, "subset_size": 10}),
        Part("metric", "inception-score", "ganzoo_metrics.model:InceptionScore", "sure and varied classes, arXiv:1606.03498", ScoreOptions,
             gives=("inception-score", "inception-score-std"), needs=("logits",), better={"inception-score": "higher"}),
        Part("metric", "precision-recall", "ganzoo_metrics.model:PrecisionRecall", "quality and variety, arXiv:1904.06991", BallOptions,
             gives=("precision", "recall"), needs=("features",), better={"precision": "higher", "recall": "higher"}),
        Part("metric", "density-coverage", "ganzoo_metrics.model:DensityCoverage", "the same, refined, arXiv:2002.09797", DensityOptions,
             gives=("density", "coverage"), needs=("features",), better={"density": "higher", "coverage": "higher"}),
        Part("metric", "modes", "ganzoo_metrics.model:Modes", "modes of toy data: how many, how evenly", needs=("modes",), data=("points",),
             gives=("modes", "high-quality", "mode-kl"), better={"modes": "higher", "high-quality": "higher", "mode-kl": "lower"}),
        Part("metric", "memorisation", "ganzoo_metrics.model:Memorisation", "how close samples are to training samples, arXiv:2102.08921",
             gives=("authenticity", "nearest-ratio"), needs=("features",), better={"authenticity": "higher"}),
    ]  # fmt: skip
