"""A loss that works with any GAN and is not part of a recipe: R1."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

import ganzoo
from ganzoo import Terms, View
from ganzoo_losses import R1Options


class R1(ganzoo.Loss):
    """Mescheder et al. 2018 (arXiv:1801.04406), equation 9: the non-saturating loss plus  gamma / 2 * E |grad f(x)|_2^2  at real x."""

    options: R1Options
    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        real, norms = ganzoo.gradient_norms(D, x_real, logits=True)
        penalty = 0.5 * self.options.gamma * norms.square().mean()
        return {"real": softplus(-real).mean(), "fake": softplus(D(x_fake)).mean(), "r1": penalty}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        return {"fake": softplus(-D(x_fake)).mean()}
