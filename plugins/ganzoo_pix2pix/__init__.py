"""pix2pix: Isola et al. 2016 (arXiv:1611.07004). From a picture to its counterpart; and the same for denoising."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ganzoo import Check, LossPart, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class UNetOptions:
    width: int = option(
        64, "channels of the first layer; doubled with each layer, up to eight times as many", source="section 6.1.1", min=1
    )
    depth: int = option(0, "halvings of the picture; 0: as many as it allows, at most 8", source="section 6.1.1", min=0, max=8)
    dropout: float = option(0.5, "share of units left out in three layers of the decoder: the noise", source="section 2.1", min=0, max=0.95)


@dataclass(frozen=True)
class PatchOptions:
    width: int = option(
        64, "channels of the first layer; doubled with each layer, up to eight times as many", source="section 6.1.2", min=1
    )
    layers: int = option(3, "layers with stride 2: 0 judges pixels; 1, 2, 3, 4 patches of 16, 34, 70, 142 pixels", min=0, max=5)


@dataclass(frozen=True)
class LossOptions:
    l1: float = option(100.0, "weight of the L1 distance to the truth", source="section 3.3", min=0)
    adversarial: float = option(1.0, "weight of the adversarial term; 0: L1 alone", source="equation 4", min=0)


@dataclass(frozen=True)
class PairedOptions:
    lr: float = option(2e-4, "learning rate of G, Adam", source="section 3.3", min=0)
    d_rate: float = option(1.0, "learning rate of D, in parts of that of G", min=0)
    beta1: float = option(0.5, "Adam's first decay", source="section 3.3", min=0, max=0.9999)
    beta2: float = option(0.999, "Adam's second decay", source="section 3.3", min=0, max=0.9999)
    decay: int = option(
        0, "step at which the rate is 0; it falls from half of them on, in a line; 0: it stays", source="the PyTorch code", min=0
    )


AUTHORS = ("Phillip Isola", "Jun-Yan Zhu", "Tinghui Zhou", "Alexei A. Efros")
SMALL: dict[str, Any] = {
    "steps": 60, "batch_size": 8, "ema": 0.9, "generator.width": 8, "discriminator.width": 8, "discriminator.layers": 1,
    "strategy.lr": 2e-3, "strategy.decay": 80,
}  # fmt: skip


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "unet", "ganzoo_pix2pix.model:UNet", "encoder and decoder with skips between them; a picture of any size", UNetOptions,
            role="generator", takes=("source",), gives=("x",), multiple=1, check=Check(small={"width": 8}),
        ),
        NetworkPart(
            "patchgan", "ganzoo_pix2pix.model:PatchGAN", "judges patches one by one; no BatchNorm", PatchOptions,
            role="discriminator", takes=("x",), gives=("logits",), per_sample=True, check=Check(small={"width": 8, "layers": 1}),
        ),
        NetworkPart(
            "patchgan-pair", "ganzoo_pix2pix.model:PairPatchGAN", "judges patches of a picture beside its source; no BatchNorm",
            PatchOptions, role="discriminator", takes=("x", "source"), gives=("logits",), per_sample=True,
            check=Check(small={"width": 8, "layers": 1}),
        ),
        LossPart("pix2pix", "ganzoo_pix2pix.model:Pix2PixLoss", "non-saturating, and the L1 distance to the truth", LossOptions),
        StrategyPart(
            "paired", "ganzoo_pix2pix.model:Paired", "D, then G, on the same fakes; the learning rate falls to 0", PairedOptions,
        ),
        Recipe(
            "pix2pix",
            title="Image-to-image translation with conditional adversarial networks",
            paper="arXiv:1611.07004",
            paper_title="Image-to-Image Translation with Conditional Adversarial Networks",
            authors=AUTHORS,
            year=2016,
            summary="from a picture to its counterpart: labels to photos, grey to colour; learns from pairs",
            parts={"generator": "unet", "discriminator": "patchgan-pair", "loss": "pix2pix", "strategy": "paired"},
            degradation="mask",
            results=("CMP facades, 64 pixels, 700 steps, 3 seeds: PSNR 13.3, detail 0.88; L1 alone 14.5, 0.34; benchmarks/pictures.py",),
            presets={
                "quick": {
                    "steps": 1500, "batch_size": 4, "flip": True, "generator.width": 24, "generator.depth": 5, "discriminator.width": 32,
                    "discriminator.layers": 2, "strategy.lr": 5e-4, "strategy.decay": "steps",
                },
                "paper": {"steps": 80_000, "batch_size": 1, "image_size": "256", "flip": True, "strategy.decay": "steps"},
            },
            check=Check(small=SMALL),
        ),
        Recipe(
            "denoise",
            title="Denoising with pix2pix",
            paper="arXiv:1611.07004",
            paper_title="Image-to-Image Translation with Conditional Adversarial Networks",
            authors=AUTHORS,
            year=2016,
            summary="takes noise out of pictures: pix2pix on pictures to which noise was added",
            parts={"generator": "unet", "discriminator": "patchgan-pair", "loss": "pix2pix", "strategy": "paired"},
            degradation="noise",
            results=("digits with noise of sigma 0.5, 700 steps, 3 seeds: PSNR 14.9 before, 24.2 after; benchmarks/pictures.py",),
            presets={
                "quick": {
                    "steps": 1500, "batch_size": 16, "generator.width": 32, "generator.depth": 3, "generator.dropout": 0.0,
                    "discriminator.width": 32, "discriminator.layers": 2, "strategy.lr": 5e-4, "strategy.decay": "steps",
                },
                "paper": {"steps": 80_000, "batch_size": 1, "image_size": "256", "generator.dropout": 0.0, "strategy.decay": "steps"},
            },
            check=Check(small=SMALL),
        ),
    ]  # fmt: skip
