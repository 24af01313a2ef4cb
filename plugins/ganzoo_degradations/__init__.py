"""What makes a "source" of a picture, for networks that undo it: smaller pictures, holes, noise, lost colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganzoo import Check, DegradationPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class DownscaleOptions:
    factor: Literal["2", "3", "4", "8"] = option("4", "how many times smaller the source is, on each side")


@dataclass(frozen=True)
class MaskOptions:
    kind: Literal["centre", "block", "noise"] = option(
        "block", "where it is missing: in the middle, in a block anywhere, or in single pixels"
    )
    share: float = option(0.25, "share of the picture that is missing", min=0.01, max=0.95)


@dataclass(frozen=True)
class NoiseOptions:
    sigma: float = option(25.0, "standard deviation of Gaussian noise, in grey levels of 255", source="arXiv:1608.03981", min=0, max=255)


@hookimpl
def ganzoo_register() -> list[DegradationPart]:
    return [
        DegradationPart(
            "downscale", "ganzoo_degradations.model:Downscale", "smaller, bicubic: for super-resolution", DownscaleOptions,
            check=Check(small={"factor": "2"}),
        ),
        DegradationPart(
            "mask", "ganzoo_degradations.model:Mask", "with a hole, and where it is: for inpainting", MaskOptions, gives=("source", "mask"),
        ),
        DegradationPart("noise", "ganzoo_degradations.model:Noise", "with Gaussian noise: for denoising", NoiseOptions),
        DegradationPart("grey", "ganzoo_degradations.model:Grey", "without colour: for colourisation"),
    ]  # fmt: skip
