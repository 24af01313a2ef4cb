"""Two translators between two domains, in the manner of CycleGAN (arXiv:1703.10593), made small."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import AlternatingOptions, Check, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class TranslatorOptions:
    width: int = option(16, "channels", min=1)


@dataclass(frozen=True)
class CycleOptions:
    lr: float = option(1e-3, "learning rate of all networks", min=0)
    cycle: float = option(5.0, "weight of the cycle", min=0)
    pool: int = option(16, "fakes that are kept for D", min=1)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "their-domains",
            "ganzoo_their_domains.model:Translator",
            "convolutions, starting as the identity",
            TranslatorOptions,
            role="generator",
            takes=("source",),
            gives=("x",),
            multiple=1,
        ),
        StrategyPart(
            "their-domains",
            "ganzoo_their_domains.model:Cycle",
            "two translators, two discriminators, a pool of fakes",
            CycleOptions,
            reads=("x_a", "x_b"),
        ),
        StrategyPart(
            "their-judge",
            "ganzoo_their_domains.model:Judged",
            "Algorithm 1, of which D is a product as well",
            AlternatingOptions,
            check=Check(known_failures={"it-learns": "translators of a single domain, without a truth beside them"}),
        ),
        Recipe(
            "their-domains",
            title="Two domains",
            parts={
                "generator": "their-domains",
                "discriminator": "dcgan-critic",
                "loss": "least-squares",
                "strategy": "their-domains",
            },
            presets={"quick": {"steps": 500, "batch_size": 8, "image_size": "16", "discriminator.width": 8}},
            check=Check(
                small={"steps": 100, "generator.width": 8, "discriminator.width": 8},
                known_failures={
                    "it-learns": "the toy domains are each other's negatives, which is not learnt in 100 steps"
                },
            ),
        ),
    ]
