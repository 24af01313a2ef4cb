"""InfoGAN: Chen et al. 2016 (arXiv:1606.03657). Codes that G cannot hide: without labels, they come to mean kinds and shapes."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import AlternatingOptions, Check, LossPart, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1
SIZES = (16, 28, 32, 64, 128)


@dataclass(frozen=True)
class CodeOptions:
    categories: int = option(10, "values of the categorical code; the same for generator and discriminator", source="appendix C.1", min=2)
    continuous: int = option(2, "continuous codes; the same for generator and discriminator", source="appendix C.1", min=0)
    width: int = option(64, "channels at half the size of the images; doubled with each halving", source="appendix C.1, table 1", min=1)
    dense: int = option(1024, "units of the dense layer", source="appendix C.1, table 1", min=1)


@dataclass(frozen=True)
class GeneratorOptions(CodeOptions):
    z_dim: int = option(62, "size of the noise, which no code speaks of", source="appendix C.1", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions(CodeOptions):
    head: int = option(128, "units of Q's own dense layer", source="appendix C.1, table 1", min=1)


@dataclass(frozen=True)
class LossOptions:
    category_weight: float = option(1.0, "lambda of the categorical code", source="section 6", min=0)
    continuous_weight: float = option(
        1.0, "lambda of the continuous codes; less where they take over what the category should say", source="the authors' code", min=0
    )


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "infogan", "ganzoo_infogan.model:Generator", "noise and codes, two dense layers, transposed convolutions", GeneratorOptions,
            role="generator", latents=("z", "c", "u"), gives=("x",), sizes=SIZES,
        ),
        NetworkPart(
            "infogan", "ganzoo_infogan.model:Discriminator", "one trunk with two heads: D, real or fake, and Q, the codes",
            DiscriminatorOptions, role="discriminator", takes=("x",), gives=("logits", "code_logits", "code_means"), sizes=SIZES,
        ),
        LossPart(
            "infogan", "ganzoo_infogan.model:Information", "the game, less lambda times a bound on the information of codes in samples",
            LossOptions, needs=("logits", "code_logits", "code_means"), given=("c", "u"),
        ),
        StrategyPart(
            "coded", "ganzoo_infogan.model:Coded", "D and G in turn; what Q reads in a picture is a product", AlternatingOptions
        ),
        Recipe(
            "infogan",
            title="Information-maximising GAN",
            paper="arXiv:1606.03657",
            paper_title="InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets",
            authors=("Xi Chen", "Yan Duan", "Rein Houthooft", "John Schulman", "Ilya Sutskever", "Pieter Abbeel",),
            year=2016,
            summary="codes that Q must read in G's samples: kinds and shapes are found without labels",
            parts={"generator": "infogan", "discriminator": "infogan", "loss": "infogan", "strategy": "coded"},
            results=(
                "MNIST, 3000 steps, 3 seeds: matching 0.740 (0.696 to 0.787) of the 10,000 test digits; benchmarks/results/codes.json",
                "the same with lambda 0: matching 0.293 (0.243 to 0.357)",
                "information that Q reads of the category in G's samples: 2.283 nats of 2.303; with lambda 0, -0.016",
            ),
            presets={
                "quick": {
                    "steps": 3000, "batch_size": 64, "ema": 0.99, "generator.width": 32, "generator.dense": 256, "discriminator.width": 32,
                    "discriminator.dense": 256, "loss.continuous_weight": 0.1, "strategy.lr_g": 1e-3,
                },
                "paper": {"steps": 5000, "batch_size": 128, "image_size": "28", "strategy.lr_g": 1e-3},
            },
            min_batch=2,
            check=Check(small={
                "steps": 300, "batch_size": 32, "ema": 0.9, "generator.width": 16, "generator.dense": 64, "discriminator.width": 8,
                "discriminator.dense": 32, "strategy.lr_g": 4e-3, "strategy.lr_d": 4e-3, "loss.category_weight": 0.1,
                "loss.continuous_weight": 0.1,
            }),
        ),
    ]  # fmt: skip
