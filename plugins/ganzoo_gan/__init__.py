"""The GAN of Goodfellow et al. 2014 (arXiv:1406.2661): two perceptrons, the minimax game, Algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganzoo import Part, Recipe, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class GeneratorOptions:
    z_dim: int = option(100, "numbers in a latent", source="section 5", min=1)
    prior: Literal["normal", "uniform"] = option("normal", "latents are N(0, 1), or uniform in [-1, 1]; the paper's are uniform")
    width: int = option(256, "units a hidden layer; the paper's MNIST network has 1200", min=1)
    layers: int = option(3, "hidden layers; the paper has 2", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    width: int = option(256, "units a hidden layer", min=1)
    layers: int = option(3, "hidden layers; the paper has 2, of maxout units", min=1)


@dataclass(frozen=True)
class AlternatingOptions:
    d_steps: int = option(1, "discriminator steps a generator step: k", source="Algorithm 1", min=1)
    lr_g: float = option(2e-4, "learning rate of G", source="Radford et al. 2015, section 4", min=0)
    lr_d: float = option(2e-4, "learning rate of D", source="Radford et al. 2015, section 4", min=0)
    beta1: float = option(0.5, "Adam's decay of the gradient's mean", source="Radford et al. 2015, section 4", min=0, max=0.999999)
    beta2: float = option(0.999, "Adam's decay of the gradient's square", min=0, max=0.999999)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        Part("generator", "mlp", "ganzoo_gan.model:Generator", "perceptron; any shape of data", GeneratorOptions),
        Part(
            "discriminator", "mlp", "ganzoo_gan.model:Discriminator", "perceptron; any shape of data", DiscriminatorOptions,
            gives=("logits",), per_sample=True,
        ),
        Part("loss", "minimax", "ganzoo_gan.model:Minimax", "the game's own value; G's gradient fades when D is sure", needs=("logits",)),
        Part(
            "loss", "non-saturating", "ganzoo_gan.model:NonSaturating", "G maximises log D(G(z)): the paper's advice, section 3",
            needs=("logits",),
        ),
        Part(
            "strategy", "alternating", "ganzoo_gan.model:Alternating", "k steps of D, then one of G: Algorithm 1, with Adam",
            AlternatingOptions, keys=("x",),
        ),
        Recipe(
            "gan",
            title="Generative adversarial network",
            paper="arXiv:1406.2661",
            year=2014,
            summary="two perceptrons play the minimax game",
            generator="mlp",
            discriminator="mlp",
            loss="non-saturating",
            strategy="alternating",
            results=(
                "score board, Fashion-MNIST, 120 s of one core, 3 seeds: cFID 140 (119 to 150), FID@768 0.744 (0.711 to 0.769)",
                "real images: cFID 0.22, FID@768 0.079; benchmarks/results/scoreboard.md",
                "ring, 3 seeds: 6 (3 to 8) of 8 modes; with --loss r1 8",
            ),
            defaults={"steps": 4000, "batch_size": 128, "ema": 0.999},
            small={
                "steps": 300, "batch_size": 32, "ema": 0.95, "generator.width": 128, "discriminator.width": 64,
                "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3,
            },
        ),
    ]  # fmt: skip
