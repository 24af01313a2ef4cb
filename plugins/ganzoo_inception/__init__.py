"""The network that FID is defined with: Inception of 2015-12-05 (Szegedy et al. 2015, arXiv:1512.00567; Heusel et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import FeaturesPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class InceptionOptions:
    weights: str | None = option(None, "the safetensors file; by default it is looked for in GANZOO_DATA and in the cache", metavar="FILE")


@hookimpl
def ganzoo_register() -> list[FeaturesPart]:
    return [
        FeaturesPart(
            "inception2015", "ganzoo_inception.model:Inception", "the network that defines FID, KID and the Inception Score",
            InceptionOptions, layers=("2048", "768", "192", "64", "logits_unbiased", "logits"), media=("image",),
        ),
    ]  # fmt: skip
