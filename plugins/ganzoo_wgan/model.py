"""Arjovsky et al. 2017, "Wasserstein GAN" (arXiv:1701.07875); Gulrajani et al. 2017, "Improved training" (arXiv:1704.00028)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import Prior, Terms, View
from ganzoo_wgan import ClippedCriticOptions, PenaltyOptions


class Wasserstein(ganzoo.Loss):
    """The critic f maximises E f(x) - E f(G(z)); G maximises E f(G(z)). Arjovsky et al., equation 2.

    The value that the critic reaches, logged as `wasserstein`, estimates the Wasserstein-1 distance up to the factor of f's Lipschitz
    constant: compare estimates of one configuration only.
    """

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        terms = {"real": -D(x_real).mean(), "fake": D(x_fake).mean()}
        return {**terms, "wasserstein": -(terms["real"] + terms["fake"]).detach()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        return {"fake": -D(x_fake).mean()}


def gradient_penalty(f: View, x_real: Tensor, x_fake: Tensor) -> Tensor:
    """A 0-d penalty that pulls the norm of the critic's gradient to 1, on lines between real and fake samples.

    Gulrajani et al., equation 3:  E[(|grad f(x_hat)|_2 - 1)^2],  x_hat = e x_real + (1 - e) x_fake,  one e from U(0, 1) per sample.

    Args: f maps (N, ...) to (N,), each sample separately. x_real, x_fake: (N, ...). Raises ValueError if their shapes differ.
    """
    if x_real.shape != x_fake.shape:
        raise ValueError(f"x_real and x_fake must have one shape, got {tuple(x_real.shape)} and {tuple(x_fake.shape)}")
    e = ganzoo.draw("between", Prior("unit", (1,) * (x_real.dim() - 1)), len(x_real), x_real.device)
    x_hat = e * x_real + (1 - e) * x_fake
    return (ganzoo.gradient_norms(f, x_hat) - 1).square().mean()


class WassersteinGP(Wasserstein):
    """Gulrajani et al., Algorithm 1: the critic's loss plus lambda times the gradient penalty."""

    options: PenaltyOptions

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        terms = super().discriminator(D, x_real, x_fake, t=t)
        return {**terms, "penalty": self.options.weight * gradient_penalty(D, x_real, x_fake)}


class ClippedCritic(ganzoo.Alternating):
    """Arjovsky et al., Algorithm 1: several critic steps with clipped weights, then one generator step."""

    options: ClippedCriticOptions  # type: ignore[assignment]

    def d_steps(self, t: int) -> int:
        """Critic steps before generator step t: more at the start and at every 500th step, to keep the critic near its optimum."""
        return self.options.warmup_critic if self.options.warmup and (t < self.options.warmup or t % 500 == 0) else self.options.n_critic

    def optimiser(self, network: nn.Module, side: Literal["g", "d"]) -> torch.optim.Optimizer:
        """RMSprop, because momentum makes training unstable (section 4); 0.99 and 1e-8 are the values in the authors' code."""
        return torch.optim.RMSprop(network.parameters(), self.options.lr, alpha=0.99, eps=1e-8)

    @torch.no_grad()
    def after_d(self, t: int) -> None:
        """Line 7: all parameters of the critic are clipped, including BatchNorm's scale and shift, as in the authors' code."""
        parameters: list[Tensor] = list(self.D.parameters())
        torch._foreach_clamp_min_(parameters, -self.options.clip)
        torch._foreach_clamp_max_(parameters, self.options.clip)
