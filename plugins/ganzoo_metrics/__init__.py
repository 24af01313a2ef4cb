"""Metrics that GAN papers report: on features, on logits, on the modes of toy data, and against the training samples."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, MetricPart, hookimpl, option

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


@dataclass(frozen=True)
class PictureOptions:
    border: int = option(0, "pixels at each edge that are left out; of super-resolution usually the factor", min=0)
    luma: bool = option(False, "on the Y of BT.601 alone, as papers on super-resolution do")


@dataclass(frozen=True)
class BLEUOptions:
    order: int = option(4, "the longest n-grams, in words", source="Papineni et al. 2002", min=1, max=9)


@hookimpl
def ganzoo_register() -> list[MetricPart]:
    return [
        MetricPart("fid", "ganzoo_metrics.model:FID", "Fréchet distance of Gaussians fitted to features, arXiv:1706.08500",
                   figures={"fid": "lower"}),
        MetricPart("kid", "ganzoo_metrics.model:KID", "unbiased squared MMD of features, arXiv:1801.01401", KIDOptions,
                   figures={"kid": "lower", "kid-std": ""}, check=Check(small={"subsets": 5, "subset_size": 10})),
        MetricPart("inception-score", "ganzoo_metrics.model:InceptionScore", "sure and varied classes, arXiv:1606.03498", ScoreOptions,
                   figures={"inception-score": "higher", "inception-score-std": ""}, looks_at=("logits",)),
        MetricPart("precision-recall", "ganzoo_metrics.model:PrecisionRecall", "quality and variety, arXiv:1904.06991", BallOptions,
                   figures={"precision": "higher", "recall": "higher"}),
        MetricPart("density-coverage", "ganzoo_metrics.model:DensityCoverage", "the same, refined, arXiv:2002.09797", DensityOptions,
                   figures={"density": "higher", "coverage": "higher"}),
        MetricPart("modes", "ganzoo_metrics.model:Modes", "modes of toy data: how many, how evenly", looks_at=("modes",), media=("points",),
                   figures={"modes": "higher", "high-quality": "higher", "mode-kl": "lower"}),
        MetricPart("memorisation", "ganzoo_metrics.model:Memorisation", "how close samples are to training samples, arXiv:2102.08921",
                   figures={"authenticity": "higher", "nearest-ratio": ""}),
        MetricPart("psnr", "ganzoo_metrics.truth:PSNR", "peak signal-to-noise ratio of each output to its truth, in dB", PictureOptions,
                   figures={"psnr": "higher", "input-psnr": ""}, looks_at=("truth",), media=("image",)),
        MetricPart("ssim", "ganzoo_metrics.truth:SSIM", "structural similarity of each output to its truth, Wang et al. 2004",
                   PictureOptions, figures={"ssim": "higher", "input-ssim": ""}, looks_at=("truth",), media=("image",)),
        MetricPart("accuracy", "ganzoo_metrics.truth:Accuracy", "share of rows whose most probable class is the true one",
                   figures={"accuracy": "higher"}, looks_at=("truth",), media=("label",)),
        MetricPart("matching", "ganzoo_metrics.truth:Matching", "accuracy of classes found without labels, after the best matching",
                   figures={"matching": "higher"}, looks_at=("truth", "groups"), media=("label",)),
        MetricPart("bleu", "ganzoo_metrics.texts:BLEU", "n-grams that texts share with real ones, and with each other", BLEUOptions,
                   figures={"bleu": "higher", "self-bleu": "lower"}, looks_at=("outputs",), media=("tokens",)),
        MetricPart("unique", "ganzoo_metrics.texts:Unique", "share of texts that are different ones", figures={"unique": "higher"},
                   looks_at=("outputs",), media=("tokens",)),
        MetricPart("nll-test", "ganzoo_metrics.texts:NLL", "how improbable the generator finds real texts: --against test",
                   figures={"nll-test": "lower"}, looks_at=("likelihood",), media=("tokens",)),
    ]  # fmt: skip
