"""A loss that any GAN may take in the place of its own: R1, Mescheder et al. 2018 (arXiv:1801.04406)."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Part, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class R1Options:
    gamma: float = option(10.0, "of the gradient penalty on real samples: gamma / 2 times its square", source="section 4.1", min=0)


@hookimpl
def ganzoo_register() -> list[Part]:
    return [
        Part(
            "loss", "r1", "ganzoo_losses.model:R1", "non-saturating, D's gradient at real samples pulled to 0, arXiv:1801.04406",
            R1Options, needs=("logits",), per_sample=True,
        ),
    ]  # fmt: skip
