"""Warnings during training: D has won, samples have collapsed, numbers are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

D_WON_LINES, D_WON_STEPS = 5, 40  # log lines in a row, over so many steps at least
EXPLODED = 1e6  # a term as large as that has never come back
COLLAPSED = 0.05  # share of the real samples' spread
COLLAPSED_SHEETS = 3  # sample sheets in a row
COLLAPSE, NO_DIVERSITY = "the samples have collapsed to one", "the samples lack diversity"  # how the warnings begin
REPEATED = 0.25  # share of the distance between real samples
RISING = 1.25  # as much more apart over three sheets: it gets better by itself, as in the first steps of many a GAN


def not_finite(values: Mapping[str, float]) -> str:
    """The first term that is not a finite number, or an empty string."""
    return next((name for name, value in values.items() if not math.isfinite(value)), "")


def spread(x: Tensor, real: Tensor) -> float:
    """The variety of samples in units of the real ones': standard deviation over N, mean over all axes.

    x: (N, ...), real: (M, ...). 1 for samples as varied as the real ones, 0 for one sample N times.
    """
    return float(x.detach().float().std(0).mean() / real.float().std(0).mean().clamp_min(1e-8))


def apartness(x: Tensor, real: Tensor, n: int = 64) -> float:
    """The distance of a sample to the one most like it, in units of that distance between real ones: medians among n samples of each.

    x, real: (N, ...). About 1 for samples as different from each other as the real ones; near 0 where a few kinds are drawn over and
    over, even if those few are so different that their spread is that of the real ones.
    """
    n = min(n, len(x), len(real))
    if n < 2:
        return 1.0
    nearest = []
    for samples in (x, real):
        flat = samples[:n].detach().float().flatten(1).cpu()
        distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
        nearest.append(float(distances.amin(1).median()))
    return nearest[0] / nearest[1] if nearest[1] > 0 else 1.0  # real ones that repeat, as single words, say nothing of samples that do


class Health:
    """The warnings of a run. Each is given once, and again only after its cause had gone away."""

    def __init__(self, d_won: float | None) -> None:
        self.d_won = d_won
        self._won = self._alike = 0
        self._few: list[float] = []  # how far apart the samples of the last sheets were, all of a few kinds
        self._since = self._again = 0  # the step since which D has won; before which it is not said again
        self._told = self._large = self._few_told = False

    def logged(self, t: int, values: Mapping[str, float]) -> list[str]:
        """Warnings when D separates real from fake perfectly, log line after log line, so that G learns little; when a term explodes."""
        warnings = []
        large = next((name for name, value in values.items() if abs(value) > EXPLODED), "")
        if large and not self._large:
            warnings.append(
                f"{large} is {values[large]:.3g} at step {t}: the losses explode. Take a smaller learning rate, or a loss that bounds D."
            )
        self._large = bool(large)
        if self.d_won is None or not {"d/real", "d/fake"} <= values.keys():
            return warnings
        if not 0 <= values["d/real"] + values["d/fake"] < self.d_won:
            self._won, self._told = 0, False
            return warnings
        self._since = self._since if self._won else t
        self._won += 1
        if self._won >= D_WON_LINES and t - self._since >= D_WON_STEPS and not self._told and t >= self._again:
            self._told, self._again = True, 2 * t  # in a long run D may win and lose a hundred times
            warnings.append(
                f"D tells real from fake without error since step {self._since}: G learns little. Give D less (a smaller "
                "--discriminator.width, a smaller learning rate, --with ada where images are few) or take a loss with a gradient penalty."
            )
        return warnings

    def replay(self, t: int, logged: Iterable[Mapping[str, float]], sampled: Iterable[Mapping[str, float]]) -> None:
        """Bring it to where a run was at step t that is resumed, from its log lines and those of its samples; warnings were given then."""
        for line in logged:
            if line["step"] <= t:
                self.logged(int(line["step"]), {name: value for name, value in line.items() if "/" in name})
        for line in sampled:
            if 0 < line["step"] <= t and {"spread", "apartness"} <= line.keys():
                self.sampled(line["spread"], line["apartness"])

    def sampled(self, spread: float, apartness: float = 1.0) -> list[str]:
        """Warnings when the samples are all alike, or repeat a few kinds, sheet after sheet."""
        self._alike = self._alike + 1 if spread < COLLAPSED else 0
        few = apartness < REPEATED and spread >= COLLAPSED
        self._few, self._few_told = [*self._few, apartness][-COLLAPSED_SHEETS:] if few else [], self._few_told and few
        warnings = []
        if self._alike == COLLAPSED_SHEETS:
            warnings.append(
                f"{COLLAPSE}: they differ by {spread:.1%} of what real ones do. "
                "Start again with another --seed, a smaller learning rate, or another loss."
            )
        if len(self._few) == COLLAPSED_SHEETS and not self._few_told and apartness <= RISING * self._few[0]:
            self._few_told = True
            warnings.append(
                f"{NO_DIVERSITY}: the distance between similar samples is {apartness:.0%} of that between real ones. "
                "G draws a few kinds over and over. Take another loss, a smaller learning rate, or larger batches."
            )
        return warnings
