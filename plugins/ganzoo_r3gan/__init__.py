"""R3GAN: Huang et al. 2024 (arXiv:2501.05441): a relativistic loss with two gradient penalties, and modern residual networks."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, LossPart, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1
SIZES = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class DiscriminatorOptions:
    width: int = option(96, "channels at full size; doubled with each halving of the size", source="FFHQ at 256 pixels", min=1)
    widest: int = option(768, "maximum of channels; the paper has 768 at all sizes for CIFAR-10", min=1)
    blocks: int = option(2, "residual blocks per size", source="section 3", min=1)
    expansion: int = option(2, "factor by which a block expands the channels inside", source="section 3", min=1)
    group: int = option(16, "channels per group of the 3 x 3 convolutions", source="section 3", min=1)


@dataclass(frozen=True)
class GeneratorOptions(DiscriminatorOptions):
    z_dim: int = option(64, "size of the latent vector, N(0, 1)", min=1)


@dataclass(frozen=True)
class RelativisticOptions:
    gamma: float = option(0.05, "initial weight of both penalties: gamma / 2 times the squared gradient", source="CIFAR-10", min=0)
    gamma_end: float = option(0.005, "final weight of both penalties", source="CIFAR-10", min=0)
    anneal: int = option(50_000, "steps from gamma to gamma_end, along a cosine", min=1)


@dataclass(frozen=True)
class AnnealedOptions:
    lr: float = option(2e-4, "initial learning rate of both networks", source="CIFAR-10", min=0)
    lr_end: float = option(5e-5, "final learning rate of both networks", source="CIFAR-10", min=0)
    beta1: float = option(0.0, "Adam's decay rate of the gradient mean", source="CIFAR-10", min=0, max=0.999999)
    beta2: float = option(0.9, "initial decay rate of the squared gradient in Adam", source="CIFAR-10", min=0, max=0.999999)
    beta2_end: float = option(0.99, "final decay rate of the squared gradient in Adam", source="CIFAR-10", min=0, max=0.999999)
    anneal: int = option(50_000, "steps from the initial to the final values, along a cosine", min=1)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "r3gan", "ganzoo_r3gan.model:Generator", "residual bottlenecks without normalisation, linear output", GeneratorOptions,
            role="generator", latents=("z",), gives=("x",), sizes=SIZES,
        ),
        NetworkPart(
            "r3gan", "ganzoo_r3gan.model:Discriminator", "the mirror of the generator", DiscriminatorOptions,
            role="discriminator", takes=("x",), gives=("logits",), per_sample=True, sizes=SIZES,
        ),
        LossPart(
            "relativistic", "ganzoo_r3gan.model:Relativistic", "real against fake in pairs, with gradient penalties on both",
            RelativisticOptions, per_sample=True, anchored=False,
        ),
        StrategyPart(
            "annealed", "ganzoo_r3gan.model:Annealed", "one D step, one G step; learning rate and Adam's beta2 follow a cosine",
            AnnealedOptions, captures=False,  # a fused Adam takes beta2 as a number, which a recorded step would keep
        ),
        Recipe(
            "r3gan",
            title="R3GAN",
            paper="arXiv:2501.05441",
            paper_title="The GAN is dead; long live the GAN! A Modern GAN Baseline",
            authors=("Yiwen Huang", "Aaron Gokaslan", "Volodymyr Kuleshov", "James Tompkin",),
            year=2024,
            summary="a relativistic loss with R1 and R2 penalties, and residual networks without normalisation",
            parts={"generator": "r3gan", "discriminator": "r3gan", "loss": "relativistic", "strategy": "annealed"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 74.2 (64.9 to 83.8), FID@768 0.751 (0.642 to 0.952), recall 0.12 (0.09 to 0.15)",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
            ),
            presets={
                "quick": {
                    "steps": 2000, "batch_size": 16, "ema": 0.99,
                    "generator.width": 8, "generator.blocks": 1, "discriminator.width": 8, "discriminator.blocks": 1,
                    "loss.gamma": 5.0, "loss.gamma_end": 1.0, "loss.anneal": "steps",
                    "strategy.lr": 3e-3, "strategy.lr_end": 5e-4, "strategy.anneal": "steps",
                },
                "paper": {
                    "steps": 390_000, "batch_size": 512, "flip": True, "image_size": "32", "ema": 0.9999,
                    "generator.width": 768, "discriminator.width": 768,
                },
            },
            check=Check(small={
                "steps": 50, "batch_size": 16, "ema": 0.9, "generator.width": 8, "discriminator.width": 8,
                "generator.blocks": 1, "discriminator.blocks": 1, "loss.gamma": 1.0, "loss.gamma_end": 0.1, "loss.anneal": 100,
                "strategy.lr": 3e-3, "strategy.lr_end": 1e-3, "strategy.anneal": 100,
            }),
        ),
    ]  # fmt: skip
