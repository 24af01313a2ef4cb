"""What can be seen to go wrong in a run while it goes wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

D_WON_LINES = 20  # log lines in a row
COLLAPSED = 0.05  # share of the real samples' spread
COLLAPSED_SHEETS = 3  # sample sheets in a row


def not_finite(values: Mapping[str, float]) -> str:
    """The first term that is not a finite number, or an empty string."""
    return next((name for name, value in values.items() if not math.isfinite(value)), "")


def spread(x: Tensor, real: Tensor) -> float:
    """How much the samples differ among themselves, in units of how much the real ones do: standard deviation over N, mean over axes.

    x: (N, ...), real: (M, ...). 1 for samples as varied as the real ones, 0 for one sample N times.
    """
    return float(x.detach().float().std(0).mean() / real.float().std(0).mean().clamp_min(1e-8))


class Health:
    """Warnings of a run. Each is given once, and again only after it had gone away."""

    def __init__(self, d_won: float | None) -> None:
        self.d_won = d_won
        self._won = self._alike = 0

    def logged(self, values: Mapping[str, float]) -> str:
        """A warning when D separates real from fake perfectly, line after line: then G has little left to learn from."""
        if self.d_won is None or not {"d/real", "d/fake"} <= values.keys():
            return ""
        won = 0 <= values["d/real"] + values["d/fake"] < self.d_won
        self._won = self._won + 1 if won else 0
        if self._won != D_WON_LINES:
            return ""
        return (
            f"D tells real from fake without error since {D_WON_LINES} log lines: G learns little. "
            "Give D less (a smaller --discriminator.width, a smaller learning rate) or take a loss with a gradient penalty."
        )

    def sampled(self, spread: float) -> str:
        """A warning when the samples are all alike, sheet after sheet."""
        self._alike = self._alike + 1 if spread < COLLAPSED else 0
        if self._alike != COLLAPSED_SHEETS:
            return ""
        return (
            f"the samples have collapsed to one: they differ by {spread:.1%} of what real ones do. "
            "Start again with another --seed, a smaller learning rate, or another loss."
        )
