"""Mao et al. 2016, "Least squares generative adversarial networks" (arXiv:1611.04076)."""

from __future__ import annotations

from torch import Tensor

import ganzoo
from ganzoo import Terms, View
from ganzoo_lsgan import LeastSquaresOptions


class LeastSquares(ganzoo.Loss):
    """Equation 2:  D: E (f(x) - b)^2 / 2 + E (f(G(z)) - a)^2 / 2,  G: E (f(G(z)) - c)^2 / 2.

    f is D's raw output, without a sigmoid. If b - c = 1 and b - a = 2, G minimises the Pearson chi^2 divergence between the sum of
    both densities and twice G's own density.
    """

    options: LeastSquaresOptions
    d_won = 0.005

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        o = self.options
        return {"real": 0.5 * (D(x_real) - o.b).square().mean(), "fake": 0.5 * (D(x_fake) - o.a).square().mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        return {"fake": 0.5 * (D(x_fake) - self.options.c).square().mean()}
