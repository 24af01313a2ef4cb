"""A loss that can replace the loss of any GAN: R1, Mescheder et al. 2018 (arXiv:1801.04406)."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import LossPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class R1Options:
    gamma: float = option(10.0, "weight of the penalty on real samples, gamma / 2 times the squared gradient", source="section 4.1", min=0)


@hookimpl
def ganzoo_register() -> list[LossPart]:
    return [
        LossPart(
            "r1", "ganzoo_losses.model:R1", "non-saturating, with a gradient penalty on real samples, arXiv:1801.04406", R1Options,
            per_sample=True,
        ),
    ]  # fmt: skip
