"""Goodfellow et al. 2014, "Generative adversarial nets" (arXiv:1406.2661)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import softplus

import ganzoo
from ganzoo import DataSpec, Prior, Terms, View
from ganzoo_gan import DiscriminatorOptions, GeneratorOptions


def perceptron(sizes: list[int]) -> nn.Sequential:
    """Linear layers with LeakyReLU(0.2) between them; no activation after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


class Generator(ganzoo.Generator):
    """Maps z (N, z_dim) to samples (N, *spec.shape), in the range of the medium: tanh for images, unbounded for points."""

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        self.net = perceptron([options.z_dim] + [options.width] * options.layers + [spec.numel])

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior(self.options.prior, (self.options.z_dim,))}

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.net(z).unflatten(1, self.spec.shape)
        return ganzoo.medium(self.spec.kind).output(x)


class Discriminator(ganzoo.Discriminator):
    """Maps samples (N, *spec.shape) to raw logits (N,)."""

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        self.net = perceptron([spec.numel] + [options.width] * options.layers + [1])
        if not options.bias:
            self.net[-1].register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x.flatten(1))
        return logits.squeeze(1)


class Minimax(ganzoo.Loss):
    """The value of the game, equation 1:  min_G max_D  E log D(x) + E log(1 - D(G(z))),  D = sigmoid of the logits.

    With logits f: -log D = softplus(-f) and -log(1 - D) = softplus(f), so the logarithm of 0 is never taken.
    """

    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        return {"real": softplus(-D(x_real)).mean(), "fake": softplus(D(x_fake)).mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        return {"fake": -softplus(D(x_fake)).mean()}


class NonSaturating(Minimax):
    """G maximises E log D(G(z)) instead of minimising E log(1 - D(G(z))): section 3. D's terms are those of the minimax game."""

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        return {"fake": softplus(-D(x_fake)).mean()}
