"""LSGAN: Mao et al. 2016 (arXiv:1611.04076). Squared distances from targets replace the logarithms."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, LossPart, Part, Recipe, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class LeastSquaresOptions:
    a: float = option(0.0, "D's target output for fakes", source="section 3.2")
    b: float = option(1.0, "D's target output for real samples", source="section 3.2")
    c: float = option(1.0, "the output of D that G aims for; a = -1, b = 1, c = 0 is the Pearson form", source="section 3.2")


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        LossPart("least-squares", "ganzoo_lsgan.model:LeastSquares", "squared distances from target outputs", LeastSquaresOptions),
        Recipe(
            "lsgan",
            title="Least-squares GAN",
            paper="arXiv:1611.04076",
            paper_title="Least Squares Generative Adversarial Networks",
            authors=("Xudong Mao", "Qing Li", "Haoran Xie", "Raymond Y. K. Lau", "Zhen Wang", "Stephen Paul Smolley",),
            year=2016,
            summary="squared errors instead of logarithms: samples far from the decision boundary are pulled back to it",
            parts={"generator": "dcgan", "discriminator": "dcgan", "loss": "least-squares", "strategy": "alternating"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 40.5 (37.2 to 43.2), FID@768 0.375 (0.326 to 0.431), recall 0.55 (0.53 to 0.58)",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
            ),
            presets={
                "quick": {
                    "steps": 2500, "batch_size": 64, "ema": 0.99, "generator.width": 32, "discriminator.width": 32,
                    "loss.a": -1.0, "loss.c": 0.0, "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3,
                },
                "paper": {"steps": 100_000, "batch_size": 64, "generator.z_dim": 1024, "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3},
            },
            check=Check(small={
                "steps": 160, "batch_size": 32, "ema": 0.95, "generator.width": 16, "discriminator.width": 8,
                "strategy.lr_g": 2e-3, "strategy.lr_d": 1e-3,
            }),
        ),
    ]  # fmt: skip
