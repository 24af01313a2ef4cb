"""Losses that any GAN may take in the place of its own: least squares, hinge, R1."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Part, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class LeastSquaresOptions:
    a: float = option(0.0, "what D should say of fakes", source="Mao et al. 2016, section 3.2")
    b: float = option(1.0, "what D should say of real samples", source="Mao et al. 2016, section 3.2")
    c: float = option(1.0, "what G wants D to say of fakes; a = -1, b = 1, c = 0 is the Pearson form", source="equation 9")


@dataclass(frozen=True)
class R1Options:
    gamma: float = option(10.0, "of the gradient penalty on real samples: gamma / 2 times its square", source="section 4.1", min=0)


@hookimpl
def ganzoo_register() -> list[Part]:
    return [
        Part(
            "loss", "least-squares", "ganzoo_losses.model:LeastSquares", "squared distances from targets, arXiv:1611.04076",
            LeastSquaresOptions, needs=("logits",),
        ),
        Part("loss", "hinge", "ganzoo_losses.model:Hinge", "margins of 1 for D, arXiv:1705.02894", needs=("logits",)),
        Part(
            "loss", "r1", "ganzoo_losses.model:R1", "non-saturating, D's gradient at real samples pulled to 0, arXiv:1801.04406",
            R1Options, needs=("logits",), per_sample=True,
        ),
    ]  # fmt: skip
