"""The GAN of Goodfellow et al. 2014 (arXiv:1406.2661): two multilayer perceptrons, the minimax game, Algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganzoo import AlternatingOptions, Check, LossPart, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class GeneratorOptions:
    z_dim: int = option(100, "size of the latent vector", source="section 5", min=1)
    prior: Literal["normal", "uniform"] = option("normal", "latents are N(0, 1), or uniform in [-1, 1] as in the paper")
    width: int = option(256, "units per hidden layer; 1200 in the paper's MNIST network", min=1)
    layers: int = option(3, "hidden layers; 2 in the paper", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    width: int = option(256, "units per hidden layer", min=1)
    layers: int = option(3, "hidden layers; 2 of maxout units in the paper", min=1)
    bias: bool = option(True, "a bias in the last layer; where only differences of logits count, nothing moves it")


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "mlp", "ganzoo_gan.model:Generator", "multilayer perceptron for data of any shape", GeneratorOptions,
            role="generator", latents=("z",), gives=("x",), media=("image", "points"),
        ),
        NetworkPart(
            "mlp", "ganzoo_gan.model:Discriminator", "multilayer perceptron for data of any shape", DiscriminatorOptions,
            role="discriminator", takes=("x",), gives=("logits",), media=("image", "points"), per_sample=True,
        ),
        LossPart("minimax", "ganzoo_gan.model:Minimax", "value of the game; G's gradient vanishes when D is sure"),
        LossPart("non-saturating", "ganzoo_gan.model:NonSaturating", "G maximises log D(G(z)), as section 3 of the paper advises"),
        StrategyPart(
            "alternating", "ganzoo:Alternating", "k steps of D, then one of G: Algorithm 1, with Adam", AlternatingOptions,
        ),
        Recipe(
            "gan",
            title="Generative adversarial network",
            paper="arXiv:1406.2661",
            paper_title="Generative Adversarial Networks",
            authors=(
                "Ian J. Goodfellow", "Jean Pouget-Abadie", "Mehdi Mirza", "Bing Xu", "David Warde-Farley",
                "Sherjil Ozair", "Aaron Courville", "Yoshua Bengio",
            ),
            year=2014,
            summary="two multilayer perceptrons play the minimax game",
            parts={"generator": "mlp", "discriminator": "mlp", "loss": "non-saturating", "strategy": "alternating"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 63.7 (61.3 to 67.6), FID@768 0.552 (0.547 to 0.56), recall 0.11 (0.10 to 0.12)",
                "the same, 20 minutes, one seed: cFID 63.2 after 2, then worse, 193.9 at the end; benchmarks/results/long.md",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
                "ring, 3 seeds: 7.7 (7 to 8) of 8 modes, KL 0.6; with --loss r1 8, KL 0.001",
            ),
            presets={
                "quick": {"steps": 4000, "batch_size": 128, "ema": 0.999, "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3},
                "paper": {
                    "steps": 300_000, "batch_size": 100, "generator.prior": "uniform", "generator.width": 1200, "generator.layers": 2,
                    "discriminator.width": 1200, "discriminator.layers": 2,
                },
            },
            check=Check(small={
                "steps": 300, "batch_size": 32, "ema": 0.95, "generator.width": 128, "discriminator.width": 64,
                "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3,
            }),
        ),
    ]  # fmt: skip
