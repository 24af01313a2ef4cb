"""WGAN: Arjovsky et al. 2017 (arXiv:1701.07875), and its gradient penalty, Gulrajani et al. 2017 (arXiv:1704.00028)."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Part, Recipe, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class ClippedCriticOptions:
    n_critic: int = option(5, "critic steps a generator step", source="Algorithm 1", min=1)
    warmup_critic: int = option(100, "critic steps a generator step in the warm-up", source="the authors' code", min=1)
    warmup: int = option(25, "generator steps at the start that are warm-up; and one in every 500", source="the authors' code", min=0)
    clip: float = option(0.01, "every weight of the critic stays in [-clip, clip]", source="Algorithm 1: c", min=1e-6)
    lr: float = option(5e-5, "learning rate of both networks, with RMSprop", source="Algorithm 1: alpha", min=0)


@dataclass(frozen=True)
class PenaltyOptions:
    weight: float = option(10.0, "of the gradient penalty; 0.1 for the toy sets", source="Algorithm 1: lambda", min=0)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        Part("loss", "wasserstein", "ganzoo_wgan.model:Wasserstein", "difference of the critic's means", needs=("logits",)),
        Part(
            "loss", "wgan-gp", "ganzoo_wgan.model:WassersteinGP", "the same, the critic's gradient pulled towards norm 1", PenaltyOptions,
            needs=("logits",), per_sample=True,
        ),
        Part(
            "strategy", "clipped-critic", "ganzoo_wgan.model:ClippedCritic", "RMSprop, many critic steps, clipped weights: Algorithm 1",
            ClippedCriticOptions, keys=("x",),
        ),
        Recipe(
            "wgan",
            title="Wasserstein GAN",
            paper="arXiv:1701.07875",
            year=2017,
            summary="an estimate of the Wasserstein distance in the place of a probability",
            generator="dcgan",
            discriminator="dcgan",
            loss="wasserstein",
            strategy="clipped-critic",
            results=(
                "Fashion-MNIST at 32 pixels, 1000 steps, 25 warm-up critic steps, 3 seeds: cFID 126 (119 to 132), 10 of 10 classes",
                "cFID: a small classifier's Fréchet distance, benchmarks/validate.py; real images 0.7",
            ),
            defaults={
                "steps": 1000, "batch_size": 64, "ema": 0.99, "generator.width": 32, "discriminator.width": 32, "strategy.lr": 2e-4,
                "strategy.warmup_critic": 25,
            },
            small={
                "steps": 150, "batch_size": 32, "ema": 0.9, "generator.width": 8, "discriminator.width": 8,
                "strategy.lr": 1e-3, "strategy.warmup": 5, "strategy.warmup_critic": 10, "strategy.n_critic": 2,
            },
        ),
        Recipe(
            "wgan-gp",
            title="Wasserstein GAN with gradient penalty",
            paper="arXiv:1704.00028",
            year=2017,
            summary="a penalty on the critic's gradient in the place of clipped weights",
            generator="dcgan",
            discriminator="dcgan-critic",
            loss="wgan-gp",
            strategy="alternating",
            results=(
                "Fashion-MNIST at 32 pixels, 400 steps, 3 seeds: cFID 118 (113 to 121), 10 of 10 classes",
                "cFID: a small classifier's Fréchet distance, benchmarks/validate.py; real images 0.7",
                "its loss on the ring, 3 seeds: 8 of 8 modes",
            ),
            defaults={
                "steps": 600, "batch_size": 64, "ema": 0.99, "generator.width": 32, "discriminator.width": 32,
                "strategy.d_steps": 5, "strategy.lr_g": 5e-4, "strategy.lr_d": 5e-4, "strategy.beta1": 0.0, "strategy.beta2": 0.9,
            },
            small={
                "steps": 150, "batch_size": 32, "ema": 0.9, "generator.width": 8, "discriminator.width": 8,
                "strategy.lr_g": 2e-3, "strategy.lr_d": 2e-3, "strategy.d_steps": 2,
            },
        ),
    ]  # fmt: skip
