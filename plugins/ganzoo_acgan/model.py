"""Odena, Olah and Shlens 2016, "Conditional image synthesis with auxiliary classifier GANs" (arXiv:1610.09585)."""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, softplus

import ganzoo
from ganzoo import DataSpec, Prior, Terms, View
from ganzoo_acgan import DiscriminatorOptions, GeneratorOptions, LossOptions


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for all weights, 0 for all biases: table 2."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Generator(ganzoo.Generator):
    """Table 2: a dense layer from the latent and the one-hot class to 4 x 4 pixels; 5 x 5 transposed convolutions double the size.

    Maps z (N, z_dim) and y (N,) int64 to images (N, C, H, W) in [-1, 1].
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        n_layers = int(log2(spec.shape[-1] // 4))
        widths = [options.width * 2**i for i in reversed(range(n_layers))]
        layers: list[nn.Module] = [nn.Linear(options.z_dim + spec.classes, widths[0] * 16), nn.Unflatten(1, (widths[0], 4, 4))]
        for c_in, c_out in zip(widths, [*widths[1:], spec.shape[0]], strict=True):
            upsample = nn.ConvTranspose2d(c_in, c_out, 5, 2, 2, output_padding=1)
            layers += [nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), upsample]
        self.net = nn.Sequential(*layers, nn.Tanh()).apply(initialise)

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("normal", (self.options.z_dim,))}

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        y_one_hot = one_hot(y, self.spec.classes).to(z.dtype)
        x: Tensor = self.net(torch.cat([z, y_one_hot], 1))
        return x


class Dropout(nn.Dropout):
    """nn.Dropout, on a processor from uniform numbers, in half the time: torch draws Bernoulli's one by one."""

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or not self.training or not self.p:
            return super().forward(input)
        kept = torch.rand_like(input, dtype=torch.float32).ge_(self.p).mul_(1 / (1 - self.p))
        return input * kept.to(input.dtype)


class Discriminator(ganzoo.Discriminator):
    """Table 2: six 3 x 3 convolutions, every other one with stride 2, each followed by dropout; one trunk with two heads. `strided`:
    three of 4 x 4, each with stride 2.

    Maps images (N, C, H, W) to logits (N,), real or fake, and class_logits (N, classes), both raw. Images of more than 32 pixels
    get two more convolutions per doubling.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        layers: list[nn.Module] = []
        c_in = spec.shape[0]
        kernels = [(4, 2)] if options.strided else [(3, 2), (3, 1)]
        for i, (kernel, stride) in enumerate(kernels * int(log2(spec.shape[-1] // 4))):
            # The paper's widest layer has 16 * 2^5 = 512 channels; larger images do not get wider layers.
            c_out = options.width * 2 ** min(i, 5)
            layers.append(nn.Conv2d(c_in, c_out, kernel, stride, 1, bias=i == 0))
            layers += [nn.BatchNorm2d(c_out)] if i > 0 else []
            layers += [nn.LeakyReLU(0.2, inplace=True), Dropout(options.dropout)]
            c_in = c_out
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.source = nn.Linear(c_in * 16, 1)
        self.classes = nn.Linear(c_in * 16, spec.classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.source(h).squeeze(1), self.classes(h)


class AuxiliaryClassifier(ganzoo.Loss):
    """Section 3:  L_S = E log P(real | x) + E log P(fake | G(z, y)),  L_C = E log P(y | x) + E log P(y | G(z, y)).

    D maximises L_S + L_C and G maximises L_C - L_S, so both minimise the cross-entropy of the class, computed from raw class_logits.
    G's part of -L_S is in its non-saturating form. G is given the labels of the real batch, so its class prior is the data's.
    Logs class_accuracy: the fraction of fakes that D assigns to the class they were generated for.
    """

    options: LossOptions
    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, y: Tensor) -> Terms:
        real, class_real = D(x_real)
        fake, class_fake = D(x_fake)
        return {
            "real": softplus(-real).mean(),
            "fake": softplus(fake).mean(),
            "class_real": self.options.class_weight * cross_entropy(class_real, y),
            "class_fake": self.options.class_weight * cross_entropy(class_fake, y),
        }

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, y: Tensor) -> Terms:
        fake, class_fake = D(x_fake)
        return {
            "fake": softplus(-fake).mean(),
            "class": self.options.class_weight * cross_entropy(class_fake, y),
            "class_accuracy": (class_fake.argmax(1) == y).float().mean(),
        }
