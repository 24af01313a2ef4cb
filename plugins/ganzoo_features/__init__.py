"""Feature extractors that need no download or no labels: pixels, a classifier of the data's own labels, DINOv2."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Part, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class ClassifierOptions:
    epochs: int = option(3, "passes over the training part", source="measured on Fashion-MNIST", min=1)
    min_steps: int = option(400, "steps at the least: small data sets get more passes", min=1)
    batch_size: int = option(128, "images a step", min=2)
    width: int = option(32, "channels of the first convolution; twice as many after it", min=1)
    lr: float = option(3e-3, "the highest learning rate, with Adam", source="measured on Fashion-MNIST", min=0)


@dataclass(frozen=True)
class DinoOptions:
    weights: str | None = option(None, "the safetensors file; else it is looked for in GANZOO_DATA and in the cache", metavar="FILE")


@hookimpl
def ganzoo_register() -> list[Part]:
    return [
        Part("features", "pixels", "ganzoo_features.model:Pixels", "the pixels, or a point's coordinates, as they are", gives=("pixels",)),
        Part(
            "features", "classifier", "ganzoo_features.model:Classifier", "a small network that learns the data's own labels first",
            ClassifierOptions, gives=("penultimate",), keys=("y",), data=("image",), small={"min_steps": 1, "epochs": 1, "width": 4},
        ),
        Part(
            "features", "dinov2", "ganzoo_features.model:DinoV2", "ViT-S/14 that learnt without labels; needs timm and its weights",
            DinoOptions, gives=("cls",), data=("image",),
        ),
    ]  # fmt: skip
