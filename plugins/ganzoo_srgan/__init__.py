"""Super-resolution: SRGAN, Ledig et al. 2016 (arXiv:1609.04802), and ESRGAN, Wang et al. 2018 (arXiv:1809.00219)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganzoo import Check, LossPart, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class SRResNetOptions:
    width: int = option(64, "channels", source="figure 4", min=1)
    blocks: int = option(16, "residual blocks", source="section 3.2", min=0)
    kernel: int = option(9, "pixels of the first and the last kernel, an odd number", source="figure 4", min=1, max=31)
    norm: Literal["batch", "none"] = option("batch", "normalisation in the blocks; none as in later papers", source="figure 4")
    residual: bool = option(
        False, "add the source, enlarged bicubically: what is learnt in minutes is then better than that from the start"
    )


@dataclass(frozen=True)
class RRDBOptions:
    width: int = option(64, "channels; those within the dense blocks grow by 32", source="the authors' code", min=1)
    blocks: int = option(23, "residual-in-residual dense blocks", source="section 4.1", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    width: int = option(64, "channels of the first layer; doubled with each halving", source="figure 4", min=1)
    hidden: int = option(1024, "units of the dense layer", source="figure 4", min=1)


@dataclass(frozen=True)
class SRGANLossOptions:
    pixels: float = option(1.0, "weight of the squared error, in the place of VGG's features: SRGAN-MSE", source="equation 4", min=0)
    adversarial: float = option(1e-3, "weight of the adversarial term", source="equation 3", min=0)


@dataclass(frozen=True)
class ESRGANLossOptions:
    pixels: float = option(1.0, "weight of the L1 distance; 0.01 beside VGG's features in the paper", source="equation 3", min=0)
    adversarial: float = option(5e-3, "weight of the adversarial term", source="section 4.1", min=0)


@dataclass(frozen=True)
class PretrainedOptions:
    pretrain: int = option(1_000_000, "steps of G alone before D joins in", source="SRGAN, section 3.2", min=0)
    distance: Literal["mse", "l1"] = option("mse", "what G learns by alone: squared error, or L1 as in ESRGAN", source="SRGAN, section 3.2")
    lr_pretrain: float = option(1e-4, "learning rate of G alone, Adam", source="SRGAN, section 3.2", min=0)
    lr: float = option(1e-4, "learning rate of both networks after that", source="SRGAN, section 3.2", min=0)
    beta1: float = option(0.9, "Adam's first decay", source="SRGAN, section 3.2", min=0, max=0.9999)
    beta2: float = option(0.999, "Adam's second decay; 0.99 in ESRGAN's code", min=0, max=0.9999)
    drop: int = option(0, "step from which on the rate is a tenth; 0: never", source="SRGAN, section 3.2", min=0)
    perceptual: str = option("", "features that are compared too once D plays, by name: inception2015@192", source="equation 5")
    perceptual_weight: float = option(6e-3, "weight of their squared distance", source="section 3.2, of VGG's features", min=0)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "srresnet", "ganzoo_srgan.model:SRResNet", "residual blocks, then sub-pixel convolutions; any size",
            SRResNetOptions,
            role="generator", takes=("source",), gives=("x",), multiple=1,
            check=Check(small={"width": 8, "blocks": 1, "kernel": 3, "norm": "none", "residual": True}),
        ),
        NetworkPart(
            "rrdb", "ganzoo_srgan.model:RRDBNet", "residual-in-residual dense blocks, in the layout that other tools read; any size",
            RRDBOptions,
            role="generator", takes=("source",), gives=("x",), multiple=2, check=Check(small={"width": 8, "blocks": 1}),
        ),
        NetworkPart(
            "srgan", "ganzoo_srgan.model:Discriminator", "eight convolutions and two dense layers", DiscriminatorOptions,
            role="discriminator", takes=("x",), gives=("logits",), check=Check(small={"width": 8, "hidden": 32}),
        ),
        LossPart("srgan", "ganzoo_srgan.model:SRGANLoss", "non-saturating, and the squared error to the truth", SRGANLossOptions),
        LossPart(
            "esrgan", "ganzoo_srgan.model:ESRGANLoss", "relativistic average, and the L1 distance to the truth", ESRGANLossOptions,
            anchored=False,
        ),
        StrategyPart(
            "pretrained", "ganzoo_srgan.model:Pretrained", "first G alone, by its distance to the truth; then D joins in",
            PretrainedOptions,
        ),
        Recipe(
            "srgan",
            title="Super-resolution GAN",
            paper="arXiv:1609.04802",
            paper_title="Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
            authors=(
                "Christian Ledig", "Lucas Theis", "Ferenc Huszar", "Jose Caballero", "Andrew Cunningham", "Alejandro Acosta",
                "Andrew Aitken", "Alykhan Tejani", "Johannes Totz", "Zehan Wang", "Wenzhe Shi",
            ),
            year=2016,
            summary="enlarges photos, with detail that it makes up; learns from windows of photos",
            parts={"generator": "srresnet", "discriminator": "srgan", "loss": "srgan", "strategy": "pretrained"},
            degradation="downscale",
            results=("Set5 x4, 3 seeds: 30.45 dB after G alone, 29.55 after the GAN; bicubic 28.43; benchmarks/pictures.py",),
            presets={
                "quick": {
                    "steps": 1600, "batch_size": 8, "crop": "96", "flip": True, "generator.width": 32, "generator.blocks": 5,
                    "generator.kernel": 5, "generator.norm": "none", "generator.residual": True, "discriminator.width": 16,
                    "discriminator.hidden": 128, "strategy.pretrain": 1200, "strategy.lr_pretrain": 1e-3,
                },
                "paper": {
                    "steps": 1_200_000, "batch_size": 16, "crop": "96", "flip": True, "strategy.drop": 1_100_000,
                },
            },
            check=Check(small={
                "steps": 80, "batch_size": 8, "ema": 0.9, "degradation.factor": "2", "generator.width": 8, "generator.blocks": 1,
                "generator.residual": False, "discriminator.width": 8, "discriminator.hidden": 16, "strategy.pretrain": 60,
                "strategy.lr_pretrain": 3e-3, "strategy.lr": 5e-4,
            }),
        ),
        Recipe(
            "esrgan",
            title="Enhanced super-resolution GAN",
            paper="arXiv:1809.00219",
            paper_title="ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks",
            authors=(
                "Xintao Wang", "Ke Yu", "Shixiang Wu", "Jinjin Gu", "Yihao Liu", "Chao Dong", "Chen Change Loy", "Yu Qiao", "Xiaoou Tang",
            ),
            year=2018,
            summary="enlarges photos, sharper; its generator.safetensors opens in other tools",
            parts={"generator": "rrdb", "discriminator": "srgan", "loss": "esrgan", "strategy": "pretrained"},
            degradation="downscale",
            results=("Set5 x4, quick, 3 seeds: 28.70 dB after G alone, 26.07 after the GAN; bicubic 28.43; benchmarks/pictures.py",),
            presets={
                "quick": {
                    "steps": 1400, "batch_size": 8, "crop": "96", "flip": True, "generator.width": 24, "generator.blocks": 1,
                    "discriminator.width": 16, "discriminator.hidden": 128, "strategy.pretrain": 1100, "strategy.distance": "l1",
                    "strategy.lr_pretrain": 1e-3,
                },
                "paper": {
                    "steps": 1_400_000, "batch_size": 16, "crop": "128", "flip": True, "strategy.distance": "l1", "strategy.beta2": 0.99,
                    "strategy.lr_pretrain": 2e-4, "discriminator.hidden": 100,
                },
            },
            check=Check(small={
                "steps": 60, "batch_size": 8, "ema": 0.9, "degradation.factor": "2", "generator.width": 8, "discriminator.width": 8,
                "discriminator.hidden": 16, "strategy.pretrain": 40, "strategy.lr": 2e-4,
            }),
        ),
    ]  # fmt: skip
