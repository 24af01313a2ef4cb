"""Losses that belong to no recipe of the zoo yet."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu, softplus

import ganzoo
from ganzoo import Terms, View
from ganzoo_losses import LeastSquaresOptions, R1Options


class LeastSquares(ganzoo.Loss):
    """Mao et al. 2016 (arXiv:1611.04076), equation 2:  D: E (f(x) - b)^2 / 2 + E (f(G(z)) - a)^2 / 2,  G: E (f(G(z)) - c)^2 / 2."""

    options: LeastSquaresOptions
    d_won = 0.005

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, **given: Tensor) -> Terms:
        o = self.options
        return {"real": 0.5 * (D(x_real) - o.b).square().mean(), "fake": 0.5 * (D(x_fake) - o.a).square().mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, **given: Tensor) -> Terms:
        return {"fake": 0.5 * (D(x_fake) - self.options.c).square().mean()}


class Hinge(ganzoo.Loss):
    """Lim and Ye 2017 (arXiv:1705.02894):  D: E max(0, 1 - f(x)) + E max(0, 1 + f(G(z))),  G: -E f(G(z))."""

    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, **given: Tensor) -> Terms:
        return {"real": relu(1 - D(x_real)).mean(), "fake": relu(1 + D(x_fake)).mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, **given: Tensor) -> Terms:
        return {"fake": -D(x_fake).mean()}


class R1(ganzoo.Loss):
    """Mescheder et al. 2018 (arXiv:1801.04406), equation 9: the non-saturating game and  gamma / 2 * E |grad f(x)|_2^2  at real x."""

    options: R1Options
    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, **given: Tensor) -> Terms:
        penalty = 0.5 * self.options.gamma * ganzoo.gradient_norms(D, x_real).square().mean()
        return {"real": softplus(-D(x_real)).mean(), "fake": softplus(D(x_fake)).mean(), "r1": penalty}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, **given: Tensor) -> Terms:
        return {"fake": softplus(-D(x_fake)).mean()}
