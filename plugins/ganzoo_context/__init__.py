"""Context encoders: Pathak et al. 2016 (arXiv:1604.07379). Fills holes in pictures."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, LossPart, NetworkPart, Part, Recipe, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class GeneratorOptions:
    width: int = option(64, "channels of the first two layers; doubled with each layer after them", source="the authors' code", min=1)
    overlap: int = option(4, "pixels around the hole that G draws too while it learns", source="the authors' code; 7 in section 4", min=0)


@dataclass(frozen=True)
class LossOptions:
    l2: float = option(0.999, "weight of the squared error", source="section 4", min=0)
    adversarial: float = option(0.001, "weight of the adversarial term", source="section 4", min=0)
    around: float = option(10.0, "weight of the squared error around the hole, in parts of that in it", source="section 4", min=0)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "context-encoder", "ganzoo_context.model:ContextEncoder", "encoder, a dense layer for each channel, decoder; fills holes",
            GeneratorOptions, role="generator", takes=("source", "mask"), gives=("x",), check=Check(small={"width": 8, "overlap": 1}),
        ),
        LossPart(
            "context-encoder", "ganzoo_context.model:ContextLoss", "non-saturating, and the squared error in the hole", LossOptions,
            given=("mask",),
        ),
        Recipe(
            "context-encoder",
            title="Context encoder",
            paper="arXiv:1604.07379",
            paper_title="Context Encoders: Feature Learning by Inpainting",
            authors=("Deepak Pathak", "Philipp Krahenbuhl", "Jeff Donahue", "Trevor Darrell", "Alexei A. Efros"),
            year=2016,
            summary="fills holes in pictures from what is around them",
            parts={"generator": "context-encoder", "discriminator": "dcgan", "loss": "context-encoder", "strategy": "paired"},
            degradation="mask",
            results=("CelebA, 64 pixels, 800 steps, 3 seeds: PSNR in the hole 17.8, mean face 14.4; benchmarks/pictures.py",),
            presets={
                "quick": {
                    "steps": 1500, "batch_size": 32, "generator.width": 32, "discriminator.width": 16, "strategy.lr": 2e-3,
                    "strategy.d_rate": 0.1, "strategy.decay": "steps",
                },
                "paper": {
                    "steps": 780_000, "batch_size": 64, "image_size": "128", "degradation.kind": "centre", "strategy.lr": 2e-3,
                    "strategy.d_rate": 0.1,
                },
            },
            check=Check(small={
                "steps": 80, "batch_size": 16, "ema": 0.9, "generator.width": 8, "generator.overlap": 1, "discriminator.width": 8,
                "strategy.lr": 4e-3, "strategy.decay": 0,
            }),
        ),
    ]  # fmt: skip
