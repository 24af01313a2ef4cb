"""WGAN: Arjovsky et al. 2017 (arXiv:1701.07875). WGAN with gradient penalty: Gulrajani et al. 2017 (arXiv:1704.00028)."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, LossPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class ClippedCriticOptions:
    n_critic: int = option(5, "critic steps per generator step", source="Algorithm 1", min=1)
    warmup_critic: int = option(100, "critic steps per generator step during warm-up", source="the authors' code", min=1)
    warmup: int = option(25, "generator steps of warm-up at the start; also every 500th step after it", source="the authors' code", min=0)
    clip: float = option(0.01, "the critic's weights are clipped to [-clip, clip]", source="Algorithm 1: c", min=1e-6)
    lr: float = option(5e-5, "learning rate of both networks, with RMSprop", source="Algorithm 1: alpha", min=0)


@dataclass(frozen=True)
class PenaltyOptions:
    weight: float = option(10.0, "weight of the gradient penalty; 0.1 for toy data", source="Algorithm 1: lambda", min=0)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        LossPart("wasserstein", "ganzoo_wgan.model:Wasserstein", "difference of the critic's means, real and fake", anchored=False),
        LossPart(
            "wgan-gp", "ganzoo_wgan.model:WassersteinGP", "the same, with the critic's gradient norm pulled to 1", PenaltyOptions,
            per_sample=True, anchored=False,
        ),
        StrategyPart(
            "clipped-critic", "ganzoo_wgan.model:ClippedCritic", "RMSprop, several critic steps, clipped weights: Algorithm 1",
            ClippedCriticOptions,
        ),
        Recipe(
            "wgan",
            title="Wasserstein GAN",
            paper="arXiv:1701.07875",
            paper_title="Wasserstein GAN",
            authors=("Martin Arjovsky", "Soumith Chintala", "Léon Bottou",),
            year=2017,
            summary="the critic estimates a Wasserstein distance instead of a probability",
            parts={"generator": "dcgan", "discriminator": "dcgan", "loss": "wasserstein", "strategy": "clipped-critic"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 83.4 (77.4 to 88.6), FID@768 0.555 (0.509 to 0.593), recall 0.17 (0.15 to 0.19)",
                "the same, 20 minutes, one seed: cFID 73.6, recall 0.22; benchmarks/results/long.md",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
            ),
            presets={
                "quick": {
                    "steps": 4000, "batch_size": 64, "ema": 0.99, "generator.width": 16, "discriminator": "mlp",
                    "discriminator.bias": False,
                    "strategy.lr": 5e-4, "strategy.n_critic": 2, "strategy.warmup": 0,
                },
                "paper": {"steps": 100_000, "batch_size": 64, "image_size": "64"},
            },
            check=Check(small={
                "steps": 120, "batch_size": 32, "ema": 0.9, "generator.width": 8, "discriminator.width": 64,
                "strategy.lr": 1e-3, "strategy.warmup": 5, "strategy.warmup_critic": 10, "strategy.n_critic": 2,
            }),
        ),
        Recipe(
            "wgan-gp",
            title="Wasserstein GAN with gradient penalty",
            paper="arXiv:1704.00028",
            paper_title="Improved Training of Wasserstein GANs",
            authors=("Ishaan Gulrajani", "Faruk Ahmed", "Martin Arjovsky", "Vincent Dumoulin", "Aaron Courville",),
            year=2017,
            summary="a penalty on the critic's gradient instead of clipped weights",
            parts={"generator": "dcgan", "discriminator": "dcgan-critic", "loss": "wgan-gp", "strategy": "alternating"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 31.6 (30.7 to 32.4), FID@768 0.364 (0.353 to 0.369), recall 0.45 (0.44 to 0.47)",
                "the same, 20 minutes, one seed: cFID 12.4, recall 0.66; benchmarks/results/long.md",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
                "its loss on the ring, 3 seeds: 8 of 8 modes",
            ),
            presets={
                "quick": {
                    "steps": 4000, "batch_size": 64, "ema": 0.99, "generator.width": 16, "discriminator": "mlp",
                    "discriminator.bias": False,
                    "strategy.d_steps": 2, "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3, "strategy.beta1": 0.0, "strategy.beta2": 0.9,
                },
                "paper": {
                    "steps": 200_000, "batch_size": 64, "generator.z_dim": 128, "strategy.d_steps": 5,
                    "strategy.lr_g": 1e-4, "strategy.lr_d": 1e-4, "strategy.beta1": 0.0, "strategy.beta2": 0.9,
                },
            },
            check=Check(small={
                "steps": 120, "batch_size": 32, "ema": 0.9, "generator.width": 8, "discriminator.width": 64,
                "strategy.lr_g": 2e-3, "strategy.lr_d": 2e-3, "strategy.d_steps": 2,
            }),
        ),
    ]  # fmt: skip
