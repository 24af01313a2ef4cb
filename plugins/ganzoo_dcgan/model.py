"""Radford, Metz and Chintala 2015, "Unsupervised representation learning with deep convolutional GANs" (arXiv:1511.06434)."""

from __future__ import annotations

from itertools import pairwise
from math import log2

from torch import Tensor, nn
from torch.nn.functional import linear

import ganzoo
from ganzoo import DataSpec, Prior
from ganzoo_dcgan import CriticOptions, DiscriminatorOptions, GeneratorOptions


def initialise(module: nn.Module) -> None:
    """The paper's weights: convolutions N(0, 0.02); BatchNorm's scale N(1, 0.02) and shift 0, as in the authors' code."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def doublings(spec: DataSpec) -> int:
    """How many times 4 pixels must be doubled to reach the image size: 3 for 32 pixels, 4 for 64, 5 for 128."""
    return int(log2(spec.shape[-1] // 4))


class Projection(nn.ConvTranspose2d):
    """The first layer of G, a transposed convolution of one pixel: latents (N, z_dim) to (N, C, 4, 4). As a matrix product it is faster."""

    def forward(self, z: Tensor, output_size: list[int] | None = None) -> Tensor:
        return linear(z, self.weight.flatten(1).T).unflatten(1, self.weight.shape[1:])


class Score(nn.Conv2d):
    """The last layer of D, a convolution over all of its 4 x 4 pixels: (N, C, 4, 4) to (N, 1). As a matrix product it is faster."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.flatten(1), self.weight.flatten(1))


class Generator(ganzoo.Generator):
    """Figure 1: the latent is projected to 4 x 4 pixels with many channels; each layer doubles the size and halves the channels.

    Maps z (N, z_dim) to images (N, C, H, W) in [-1, 1]. Kernels are 4 x 4, as in the ports: at stride 2 they overlap evenly, which the
    paper's 5 x 5 kernels do not.
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        widths = [options.width * 2**i for i in reversed(range(doublings(spec)))]
        layers: list[nn.Module] = [Projection(options.z_dim, widths[0], 4, bias=False)]
        for c_in, c_out in zip(widths, [*widths[1:], spec.shape[0]], strict=True):
            layers += [nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False)]
        self.net = nn.Sequential(*layers, nn.Tanh()).apply(initialise)

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior(self.options.prior, (self.options.z_dim,))}

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.net(z)
        return x


class Discriminator(ganzoo.Discriminator):
    """The mirror of the generator: strided convolutions down to 4 x 4 pixels, then one output. Maps images (N, C, H, W) to raw logits (N,).

    BatchNorm in all layers but the first and the last (section 3). Losses pass real and fake images in separate batches.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        widths = [options.width * 2**i for i in range(doublings(spec))]
        layers: list[nn.Module] = [nn.Conv2d(spec.shape[0], widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for c_in, c_out in pairwise(widths):
            layers += [nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False), self.norm(c_out), nn.LeakyReLU(0.2, inplace=True)]
        self.net = nn.Sequential(*layers, Score(widths[-1], 1, 4, bias=False)).apply(initialise)

    def norm(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.flatten()


class Critic(Discriminator):
    """The discriminator without normalisation over the batch, so the gradient at a sample does not depend on the other samples."""

    options: CriticOptions

    def norm(self, channels: int) -> nn.Module:
        # With one group, mean and variance are taken over all channels and pixels of a sample: LayerNorm for images.
        return nn.GroupNorm(1, channels) if self.options.norm == "layer" else nn.Identity()
