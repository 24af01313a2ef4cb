"""CGAN: Mirza and Osindero 2014 (arXiv:1411.1784). Both networks receive the class."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, NetworkPart, Part, Recipe, hookimpl, option

GANZOO_API = 1
SIZES = (16, 32, 64, 128)


@dataclass(frozen=True)
class GeneratorOptions:
    z_dim: int = option(100, "size of the latent vector, N(0, 1), without the class", source="section 4.1", min=1)
    embedding: int = option(32, "size of the learned class embedding", min=1)
    width: int = option(64, "channels of the last hidden layer; doubled with each layer before it", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    embedding: int = option(8, "size of the learned class embedding, which is added as channels at every pixel", min=1)
    width: int = option(64, "channels of the first layer; doubled with each layer after it", min=1)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "cgan", "ganzoo_cgan.model:Generator", "transposed convolutions on a latent and a class embedding", GeneratorOptions,
            role="generator", latents=("z",), takes=("y",), gives=("x",), sizes=SIZES,
        ),
        NetworkPart(
            "cgan", "ganzoo_cgan.model:Discriminator", "convolutions on an image and a class embedding; no BatchNorm", DiscriminatorOptions,
            role="discriminator", takes=("x", "y"), gives=("logits",), per_sample=True, sizes=SIZES,
        ),
        Recipe(
            "cgan",
            title="Conditional GAN",
            paper="arXiv:1411.1784",
            paper_title="Conditional Generative Adversarial Nets",
            authors=("Mehdi Mirza", "Simon Osindero",),
            year=2014,
            summary="G generates a given class, and D is given the class too",
            parts={"generator": "cgan", "discriminator": "cgan", "loss": "non-saturating", "strategy": "alternating"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 32.4 (27.1 to 37.6), FID@768 0.401 (0.392 to 0.415), recall 0.32 (0.25 to 0.38)",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
            ),
            presets={
                "quick": {
                    "steps": 1500, "batch_size": 64, "ema": 0.99, "generator.width": 32, "discriminator.width": 32,
                    "strategy.lr_g": 5e-4, "strategy.lr_d": 1e-3,
                },
                "paper": {"steps": 300_000, "batch_size": 100},
            },
            check=Check(small={
                "steps": 120, "batch_size": 32, "ema": 0.9, "generator.width": 8, "discriminator.width": 8,
                "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3,
            }),
        ),
    ]  # fmt: skip
