"""Mirza and Osindero 2014, "Conditional generative adversarial nets" (arXiv:1411.1784)."""

from __future__ import annotations

from itertools import pairwise
from math import log2

import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import DataSpec, Prior
from ganzoo_cgan import DiscriminatorOptions, GeneratorOptions


def initialise_g(module: nn.Module) -> None:
    """DCGAN's weights, N(0, 0.02), which BatchNorm rescales; embeddings keep torch's N(0, 1), the scale of latents and images."""
    if isinstance(module, nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)


def initialise_d(module: nn.Module) -> None:
    """He's weights for LeakyReLU(0.2): without normalisation, DCGAN's weights would shrink the signal from layer to layer."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, 0.2)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def widths(spec: DataSpec, width: int) -> list[int]:
    """Channels of the hidden layers, from the largest feature map to the 4 x 4 one: doubled with each halving of the size."""
    return [width * 2**i for i in range(int(log2(spec.shape[-1] // 4)))]


class Generator(ganzoo.Generator):
    """Section 3.2, G(z | y), with convolutions: latent and class embedding are concatenated, projected to 4 x 4 pixels and upsampled.

    Maps z (N, z_dim) and y (N,) int64 to images (N, C, H, W) in [-1, 1].
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        self.embed = nn.Embedding(spec.classes, options.embedding)
        hidden = widths(spec, options.width)[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(options.z_dim + options.embedding, hidden[0], 4, bias=False)]
        for c_in, c_out in pairwise([*hidden, spec.shape[0]]):
            layers += [nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False)]
        self.net = nn.Sequential(*layers, nn.Tanh()).apply(initialise_g)

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("normal", (self.options.z_dim,))}

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        x: Tensor = self.net(torch.cat([z, self.embed(y)], 1)[:, :, None, None])
        return x


class Discriminator(ganzoo.Discriminator):
    """Section 3.2, D(x | y), with convolutions: the class embedding is repeated at every pixel, as extra channels of the image.

    Maps x (N, C, H, W) and y (N,) int64 to raw logits (N,). All layers see both inputs, so whether an image is judged real depends
    on the class. There is no BatchNorm, so every loss on logits is possible, including those with gradient penalties.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        self.embed = nn.Embedding(spec.classes, options.embedding)
        hidden = widths(spec, options.width)
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise([spec.shape[0] + options.embedding, *hidden]):
            layers += [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        self.net = nn.Sequential(*layers, nn.Conv2d(hidden[-1], 1, 4)).apply(initialise_d)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        embedding = self.embed(y)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        logits: Tensor = self.net(torch.cat([x, embedding], 1))
        return logits.flatten()
