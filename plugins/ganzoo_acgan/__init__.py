"""AC-GAN: Odena et al. 2016 (arXiv:1610.09585). The discriminator also predicts the class."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, LossPart, NetworkPart, Part, Recipe, hookimpl, option

GANZOO_API = 1
SIZES = (16, 32, 64, 128)


@dataclass(frozen=True)
class GeneratorOptions:
    z_dim: int = option(100, "size of the latent vector, without the class", source="table 2", min=1)
    width: int = option(96, "channels of the last hidden layer; doubled with each layer before it", source="table 2", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    width: int = option(16, "channels of the first layer; doubled with each layer after it", source="table 2", min=1)
    dropout: float = option(0.5, "fraction of activations dropped in each layer", source="table 2", min=0, max=0.99)
    strided: bool = option(False, "one 4 x 4 convolution a halving, as DCGAN's D has, for two of 3 x 3: a sixth of the time")


@dataclass(frozen=True)
class LossOptions:
    class_weight: float = option(1.0, "weight of the class terms relative to the adversarial terms", source="section 3", min=0)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "acgan", "ganzoo_acgan.model:Generator", "transposed convolutions on latent and one-hot class", GeneratorOptions,
            role="generator", latents=("z",), takes=("y",), gives=("x",), sizes=SIZES,
        ),
        NetworkPart(
            "acgan", "ganzoo_acgan.model:Discriminator", "convolutions with dropout; two heads: real or fake, and class",
            DiscriminatorOptions, role="discriminator", takes=("x",), needs=("y",), gives=("logits", "class_logits"), sizes=SIZES,
        ),
        LossPart(
            "acgan", "ganzoo_acgan.model:AuxiliaryClassifier", "log-likelihood of real or fake and of the class", LossOptions,
            needs=("logits", "class_logits"), given=("y",),
        ),
        Recipe(
            "acgan",
            title="Auxiliary-classifier GAN",
            paper="arXiv:1610.09585",
            paper_title="Conditional Image Synthesis with Auxiliary Classifier GANs",
            authors=("Augustus Odena", "Christopher Olah", "Jonathon Shlens",),
            year=2016,
            summary="G generates a given class; D predicts the class as well as real or fake",
            parts={"generator": "acgan", "discriminator": "acgan", "loss": "acgan", "strategy": "alternating"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 21.9 (20 to 23.2), FID@768 0.294 (0.288 to 0.298), recall 0.38 (0.37 to 0.40)",
                "the same, 20 minutes, one seed: cFID 24.7, recall 0.14; without dropout in D 188; benchmarks/results/long.md",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
                "D's accuracy on Fashion-MNIST's test images, 3 seeds: 0.8713 (0.8667 to 0.8749); plain, 0.8891 (0.8867 to 0.8908)",
                "Fashion-MNIST, 2400 steps, table 2: 88 (87 to 88) % of the samples are recognised as their class by a classifier",
            ),
            presets={
                "quick": {
                    "steps": 4000, "batch_size": 64, "ema": 0.99, "generator.width": 16, "discriminator.strided": True,
                    "discriminator.width": 16, "discriminator.dropout": 0.25, "strategy.lr_g": 5e-4, "strategy.lr_d": 5e-4,
                    "strategy.reuse_fakes": True,
                },
                "paper": {"steps": 50_000, "batch_size": 100},
            },
            check=Check(small={
                "steps": 80, "batch_size": 32, "ema": 0.9, "generator.width": 16, "discriminator.width": 8,
                "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3, "discriminator.dropout": 0.1,
            }),
        ),
    ]  # fmt: skip
