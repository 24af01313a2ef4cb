"""DCGAN: Radford et al. 2015 (arXiv:1511.06434): convolutional networks that train stably on images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganzoo import Check, NetworkPart, Part, Recipe, hookimpl, option

GANZOO_API = 1
SIZES = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class GeneratorOptions:
    z_dim: int = option(100, "size of the latent vector", source="figure 1", min=1)
    prior: Literal["normal", "uniform"] = option("normal", "latents are N(0, 1), as in all ports, or uniform in [-1, 1], as in the paper")
    width: int = option(64, "channels of the last hidden layer; doubled with each layer before it; 128 in the paper", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    width: int = option(64, "channels of the first layer; doubled with each layer after it", source="the authors' code", min=1)


@dataclass(frozen=True)
class CriticOptions(DiscriminatorOptions):
    norm: Literal["none", "layer"] = option("none", "normalisation between layers, for each sample separately")


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "dcgan", "ganzoo_dcgan.model:Generator", "transposed convolutions, BatchNorm, ReLU, tanh", GeneratorOptions,
            role="generator", latents=("z",), gives=("x",), sizes=SIZES,
        ),
        NetworkPart(
            "dcgan", "ganzoo_dcgan.model:Discriminator", "strided convolutions, BatchNorm, LeakyReLU", DiscriminatorOptions,
            role="discriminator", takes=("x",), gives=("logits",), sizes=SIZES,
        ),
        NetworkPart(
            "dcgan-critic", "ganzoo_dcgan.model:Critic", "the same without BatchNorm, for gradient penalties", CriticOptions,
            role="discriminator", takes=("x",), gives=("logits",), per_sample=True, sizes=SIZES,
        ),
        Recipe(
            "dcgan",
            title="Deep convolutional GAN",
            paper="arXiv:1511.06434",
            paper_title="Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
            authors=("Alec Radford", "Luke Metz", "Soumith Chintala",),
            year=2015,
            summary="convolutions and BatchNorm in both networks, Adam with beta1 0.5",
            parts={"generator": "dcgan", "discriminator": "dcgan", "loss": "non-saturating", "strategy": "alternating"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 38.1 (36.2 to 41.5), FID@768 0.348 (0.32 to 0.386), recall 0.58 (0.57 to 0.59)",
                "with rates of 2e-4 and new fakes, 2 seeds: cFID 55.1, recall 0.52",
                "Fashion-MNIST, 20 minutes, one seed: cFID 26.4, 19.4 at its best, recall 0.51; benchmarks/results/long.md",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
            ),
            presets={
                "quick": {
                    "steps": 2500, "batch_size": 64, "ema": 0.995, "generator.width": 32, "discriminator.width": 32,
                    "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3, "strategy.reuse_fakes": True,
                },
                "paper": {
                    "steps": 40_000, "batch_size": 128, "image_size": "64", "generator.prior": "uniform", "generator.width": 128,
                    "discriminator.width": 64,
                },
            },
            check=Check(small={
                "steps": 150, "batch_size": 32, "ema": 0.95, "generator.width": 16, "discriminator.width": 8,
                "strategy.lr_g": 2e-3, "strategy.lr_d": 1e-3,
            }),
        ),
    ]  # fmt: skip
