"""CycleGAN: Zhu et al. 2017 (arXiv:1703.10593). Two kinds of picture, no pairs: each is turned into the other, and back."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class ResNetOptions:
    width: int = option(64, "channels of the first layer; the residual blocks have four times as many", source="appendix 7.2", min=1)
    blocks: int = option(6, "residual blocks; 9 for pictures of 256 pixels and more", source="appendix 7.2", min=0)
    residual: bool = option(False, "add the source before the tanh: what changes is learnt in minutes, what stays need not be learnt")


@dataclass(frozen=True)
class CycleOptions:
    cycle: float = option(5.0, "weight of each cycle term; 10 where G's term is not halved, as here it is", source="section 4", min=0)
    identity: float = option(0.0, "weight of the identity terms, in parts of `cycle`; 0.5 for paintings", source="section 5.2", min=0)
    pool: int = option(50, "generated pictures that D is shown again; 0: the newest alone", source="section 4", min=0)
    lr: float = option(2e-4, "learning rate of all networks, Adam", source="section 4", min=0)
    beta1: float = option(0.5, "Adam's first decay", source="the authors' code", min=0, max=0.9999)
    decay: int = option(0, "step at which the rate is 0; it falls from half of them on, in a line; 0: it stays", source="section 4", min=0)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "resnet", "ganzoo_cyclegan.model:ResNet", "residual blocks between two halvings and doublings", ResNetOptions,
            role="generator", takes=("source",), gives=("x",), multiple=4, check=Check(small={"width": 8, "blocks": 1}),
        ),
        StrategyPart(
            "cyclegan", "ganzoo_cyclegan.model:CycleGAN", "two translators and two discriminators, cycles between them", CycleOptions,
            reads=("x_a", "x_b"),
        ),
        Recipe(
            "cyclegan",
            title="Cycle-consistent GAN",
            paper="arXiv:1703.10593",
            paper_title="Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
            authors=("Jun-Yan Zhu", "Taesung Park", "Phillip Isola", "Alexei A. Efros"),
            year=2017,
            summary="turns one kind of picture into another and back; learns without pairs",
            parts={"generator": "resnet", "discriminator": "patchgan", "loss": "least-squares", "strategy": "cyclegan"},
            results=("digits B = 0.2 - 0.6 A, 3 seeds: error to the true map 0.028, without cycles 0.072; benchmarks/pictures.py",),
            presets={
                "quick": {
                    "steps": 3000, "batch_size": 1, "flip": True, "ema": 0.99, "generator.width": 24, "generator.blocks": 4,
                    "generator.residual": True, "discriminator.width": 32, "discriminator.layers": 2, "strategy.lr": 5e-4,
                    "strategy.decay": "steps",
                },
                "paper": {
                    "steps": 200_000, "batch_size": 1, "image_size": "256", "flip": True, "generator.blocks": 9,
                    "strategy.decay": "steps",
                },
            },
            check=Check(small={
                "steps": 80, "batch_size": 8, "ema": 0.9, "generator.width": 8, "generator.blocks": 1, "generator.residual": False,
                "discriminator.width": 8, "discriminator.layers": 1, "strategy.lr": 2e-3, "strategy.pool": 6, "strategy.decay": 80,
            }),
        ),
    ]  # fmt: skip
