"""Odena, Olah and Shlens 2016, "Conditional image synthesis with auxiliary classifier GANs" (arXiv:1610.09585)."""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, softplus

import ganzoo
from ganzoo import DataSpec, Terms, View
from ganzoo_acgan import DiscriminatorOptions, GeneratorOptions, LossOptions


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for all weights, 0 for all biases: table 2."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Generator(ganzoo.Generator):
    """Table 2: the latent and the class, one-hot, to 4 x 4 pixels; 5 x 5 transposed convolutions double them.

    z (N, z_dim), y (N,) int64 to images (N, C, H, W) in [-1, 1].
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        n = int(log2(spec.shape[-1] // 4))
        widths = [options.width * 2**i for i in reversed(range(n))]
        layers: list[nn.Module] = [nn.Linear(options.z_dim + spec.classes, widths[0] * 16), nn.Unflatten(1, (widths[0], 4, 4))]
        for before, after in zip(widths, [*widths[1:], spec.shape[0]], strict=True):
            up = nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1)
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), up]
        self.net = nn.Sequential(*layers, nn.Tanh()).apply(initialise)

    def latent(self, n: int) -> Tensor:
        return torch.randn(n, self.options.z_dim)

    def forward(self, z: Tensor, **given: Tensor) -> Tensor:
        classes = one_hot(given["y"], self.spec.classes).to(z.dtype)
        x: Tensor = self.net(torch.cat([z, classes], 1))
        return x


class Discriminator(ganzoo.Discriminator):
    """Table 2: six 3 x 3 convolutions, every other one with stride 2, dropout after each; source and class from one trunk.

    Images to logits (N,) and class_logits (N, classes), both raw. Above 32 pixels, two more convolutions a doubling.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        layers: list[nn.Module] = []
        before = spec.shape[0]
        for i in range(2 * int(log2(spec.shape[-1] // 4))):
            # The paper's widest layer has 512 channels of 16 * 2^5; larger images get no wider ones.
            after = options.width * 2 ** min(i, 5)
            layers.append(nn.Conv2d(before, after, 3, 2 if i % 2 == 0 else 1, 1, bias=i == 0))
            layers += [nn.BatchNorm2d(after)] if i > 0 else []
            layers += [nn.LeakyReLU(0.2, inplace=True), nn.Dropout(options.dropout)]
            before = after
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.source = nn.Linear(before * 16, 1)
        self.classes = nn.Linear(before * 16, spec.classes)
        self.apply(initialise)

    def forward(self, x: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.source(h).squeeze(1), self.classes(h)


class AuxiliaryClassifier(ganzoo.Loss):
    """Section 3:  L_S = E log P(real | x) + E log P(fake | G(z, y)),  L_C = E log P(y | x) + E log P(y | G(z, y)).

    D maximises L_S + L_C and G maximises L_C - L_S, so both minimise the class's cross-entropy, which takes raw class_logits; G's part
    of -L_S is taken in its non-saturating form. The real images' labels are those that G is given too: their prior is the data's.
    Watches class_accuracy: the share of fakes in which D sees the class that they were made for.
    """

    options: LossOptions
    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, **given: Tensor) -> Terms:
        y = given["y"]
        real, class_real = D(x_real)
        fake, class_fake = D(x_fake)
        return {
            "real": softplus(-real).mean(),
            "fake": softplus(fake).mean(),
            "class_real": self.options.class_weight * cross_entropy(class_real, y),
            "class_fake": self.options.class_weight * cross_entropy(class_fake, y),
        }

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, **given: Tensor) -> Terms:
        y = given["y"]
        fake, class_fake = D(x_fake)
        self.watch(class_accuracy=(class_fake.argmax(1) == y).float().mean())
        return {"fake": softplus(-fake).mean(), "class": self.options.class_weight * cross_entropy(class_fake, y)}
