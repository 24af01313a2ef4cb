"""Feature extractors other than Inception: a random network, pixels, a classifier trained on the data's own labels, DINOv2."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, FeaturesPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class ClassifierOptions:
    epochs: int = option(3, "passes over the training images", source="measured on Fashion-MNIST", min=1)
    min_steps: int = option(400, "minimum number of steps; small data sets get more passes", min=1)
    batch_size: int = option(128, "images per step", min=2)
    width: int = option(32, "channels of the first convolution; later ones have twice as many", min=1)
    lr: float = option(3e-3, "peak learning rate of Adam", source="measured on Fashion-MNIST", min=0)


@dataclass(frozen=True)
class DinoOptions:
    weights: str | None = option(None, "the safetensors file; by default it is looked for in GANZOO_DATA and in the cache", metavar="FILE")


@dataclass(frozen=True)
class RandomOptions:
    seed: int = option(0, "of the weights; a ranking that another seed turns round is none", min=0)


@hookimpl
def ganzoo_register() -> list[FeaturesPart]:
    return [
        FeaturesPart(
            "random", "ganzoo_features.vgg:RandomVGG", "VGG-16 with random weights, arXiv:2002.09797; nothing to download or learn",
            RandomOptions, layers=("64",),
        ),
        FeaturesPart("pixels", "ganzoo_features.model:Pixels", "the raw pixels, or a point's coordinates", layers=("pixels",), media=()),
        FeaturesPart(
            "classifier", "ganzoo_features.model:Classifier", "a small network that is first trained on the data's own labels",
            ClassifierOptions, layers=("penultimate",), reads=("y",),
            check=Check(small={"min_steps": 1, "epochs": 1, "width": 4}),
        ),
        FeaturesPart(
            "dinov2", "ganzoo_features.dino:DinoV2", "ViT-S/14 trained without labels; needs timm and a weights file", DinoOptions,
            layers=("cls",),
        ),
    ]  # fmt: skip
