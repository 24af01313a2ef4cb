"""SNGAN: Miyato et al. 2018 (arXiv:1802.05957). Every layer of the discriminator has spectral norm 1."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, LossPart, NetworkPart, Part, Recipe, hookimpl, option

GANZOO_API = 1
SIZES = (16, 32, 64, 128)


@dataclass(frozen=True)
class GeneratorOptions:
    z_dim: int = option(128, "size of the latent vector, N(0, 1)", source="tables 3 and 4", min=1)
    width: int = option(64, "channels of the last hidden layer; doubled with each layer before it, up to 8 times", source="table 3", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    width: int = option(64, "channels of the first layer; doubled with each halving of the size, up to 8 times", source="table 3", min=1)


@dataclass(frozen=True)
class ResNetGeneratorOptions(GeneratorOptions):
    width: int = option(256, "channels of every block", source="table 4", min=1)


@dataclass(frozen=True)
class ResNetDiscriminatorOptions(DiscriminatorOptions):
    width: int = option(128, "channels of every block", source="table 4", min=1)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "sngan", "ganzoo_sngan.model:Generator", "transposed convolutions, BatchNorm, ReLU, tanh: table 3", GeneratorOptions,
            role="generator", latents=("z",), gives=("x",), sizes=SIZES,
        ),
        NetworkPart(
            "sngan", "ganzoo_sngan.model:Discriminator", "convolutions of spectral norm 1: table 3", DiscriminatorOptions,
            role="discriminator", takes=("x",), gives=("logits",), per_sample=True, sizes=SIZES,
        ),
        NetworkPart(
            "sngan-resnet", "ganzoo_sngan.model:ResNetGenerator", "residual blocks, BatchNorm, ReLU, tanh: table 4", ResNetGeneratorOptions,
            role="generator", latents=("z",), gives=("x",), sizes=SIZES, check=Check(small={"width": 16}),
        ),
        NetworkPart(
            "sngan-resnet", "ganzoo_sngan.model:ResNetDiscriminator", "residual blocks of spectral norm 1: table 4",
            ResNetDiscriminatorOptions, role="discriminator", takes=("x",), gives=("logits",), per_sample=True, sizes=SIZES,
            check=Check(small={"width": 16}),
        ),
        LossPart("hinge", "ganzoo_sngan.model:Hinge", "hinge loss with margins of 1 for D"),
        Recipe(
            "sngan",
            title="Spectrally normalised GAN",
            paper="arXiv:1802.05957",
            paper_title="Spectral Normalization for Generative Adversarial Networks",
            authors=("Takeru Miyato", "Toshiki Kataoka", "Masanori Koyama", "Yuichi Yoshida",),
            year=2018,
            summary="every layer of D is divided by its spectral norm; hinge loss",
            parts={"generator": "sngan", "discriminator": "sngan", "loss": "hinge", "strategy": "alternating"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 38.9 (32.5 to 45), FID@768 0.252 (0.221 to 0.274), recall 0.45 (0.42 to 0.52)",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
            ),
            presets={
                "quick": {
                    "steps": 1500, "batch_size": 64, "ema": 0.99, "generator.width": 16, "discriminator.width": 16,
                    "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3,
                },
                "paper": {"steps": 100_000, "batch_size": 64, "image_size": "32"},
            },
            check=Check(small={
                "steps": 150, "batch_size": 32, "ema": 0.9, "generator.width": 8, "discriminator.width": 8,
                "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3,
            }),
        ),
    ]  # fmt: skip
