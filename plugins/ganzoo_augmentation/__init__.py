"""Augmentation around any discriminator: DiffAugment (arXiv:2006.10738), and adaptive discriminator augmentation (arXiv:2006.06676)."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, WrapperPart, hookimpl, option

GANZOO_API = 1
POLICIES = ("colour", "translation", "cutout")


def policy_text(value: object) -> str:
    """A list of policies as it is written down. Raises ValueError with what is wanted."""
    names = [name.strip() for name in str(value).split(",")]
    if not set(names) <= set(POLICIES):
        raise ValueError(f"names among {', '.join(POLICIES)}")
    return ",".join(name for name in POLICIES if name in names)


@dataclass(frozen=True)
class DiffAugmentOptions:
    policy: str = option("colour,translation,cutout", "what is done to pictures", source="section 4", metavar="A,B", parse=policy_text)
    shift: float = option(0.125, "largest translation, as a part of the side", source="section 4", min=0, max=0.5)
    hole: float = option(0.5, "side of the hole that is cut out, as a part of the side", source="section 4", min=0, max=1)


@dataclass(frozen=True)
class AdaOptions:
    target: float = option(
        0.6, "the share of real samples that D is to be sure of, minus that of the others: r_t", source="section 4", min=-1, max=1
    )
    images: int = option(
        50_000, "real samples until p can get from 0 to 1; 500,000 in the paper, whose runs are longer", source="section 4", min=1
    )
    limit: float = option(0.8, "largest p; beyond it augmentations leak into the samples", source="section 3", min=0, max=1)


@hookimpl
def ganzoo_register() -> list[WrapperPart]:
    return [
        WrapperPart(
            "diffaugment", "ganzoo_augmentation.model:DiffAugment", "colour, translation and cutout in all that D sees, arXiv:2006.10738",
            DiffAugmentOptions,
        ),
        WrapperPart(
            "ada", "ganzoo_augmentation.model:Ada", "augments as much as D overfits, arXiv:2006.06676", AdaOptions,
            needs=("logits", "real", "fake"), check=Check(small={"images": 200}),
        ),
    ]  # fmt: skip
