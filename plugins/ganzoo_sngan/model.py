"""Miyato et al. 2018, "Spectral normalization for generative adversarial networks" (arXiv:1802.05957)."""

from __future__ import annotations

from itertools import pairwise
from math import log2, sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, normalize, relu
from torch.nn.utils.parametrize import register_parametrization

import ganzoo
from ganzoo import DataSpec, Prior, Terms, View
from ganzoo_sngan import DiscriminatorOptions, GeneratorOptions


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value:  W / sigma(W),  sigma(W) = u^T W v.  Algorithm 1.

    W is the weight reshaped to a matrix; for a convolution, to (out, in * k * k). This is the paper's choice; it is not the norm of the
    convolution as a map of images. Each forward pass in training mode, in D's step and in G's, takes one step of the power iteration,
    v <- W^T u / |.|,  u <- W v / |.|,  and keeps u. One step is enough because W changes little between passes. u and v are constants
    for the gradient. Computed in fp32 whatever the precision of the run, because an error in sigma scales the whole layer.
    """

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        w = weight.detach().flatten(1)
        # The paper starts from noise, which takes some steps to converge; the leading eigenvector of W W^T is exact at step 0.
        self.register_buffer("u", torch.linalg.eigh(w @ w.T).eigenvectors[:, -1].contiguous())

    def forward(self, weight: Tensor) -> Tensor:
        with ganzoo.full_precision(weight):
            w = weight.flatten(1)
            with torch.no_grad():
                v = normalize(w.T @ self.u, dim=0)
                u = normalize(w @ v, dim=0)
                if self.training:
                    self.u.copy_(u)
            return weight / (u @ (w @ v))


def spectral(layer: nn.Module) -> nn.Module:
    """The layer with its weight normalised; the trained parameter becomes `parametrizations.weight.original`."""
    return register_parametrization(layer, "weight", SpectralNorm(layer.get_parameter("weight")))


def doublings(spec: DataSpec) -> int:
    """How many times 4 pixels must be doubled to reach the image size: 3 for 32 pixels, 4 for 64."""
    return int(log2(spec.shape[-1] // 4))


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for weights, 0 for biases, as in DCGAN. D's output does not depend on the scale, but the relative step size does."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Generator(ganzoo.Generator):
    """Table 3: a dense layer to 4 x 4 pixels; 4 x 4 transposed convolutions that double the size; a 3 x 3 convolution; tanh.

    Maps z (N, z_dim) to images (N, C, H, W) in [-1, 1].
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        self.net = self.layers(spec, options)

    def layers(self, spec: DataSpec, options: GeneratorOptions) -> nn.Sequential:
        widths = [options.width * min(2**i, 8) for i in reversed(range(doublings(spec) + 1))]
        layers: list[nn.Module] = [nn.Linear(options.z_dim, widths[0] * 16, bias=False), nn.Unflatten(1, (widths[0], 4, 4))]
        for c_in, c_out in pairwise(widths):
            layers += [nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), nn.Conv2d(widths[-1], spec.shape[0], 3, 1, 1), nn.Tanh()]
        return nn.Sequential(*layers).apply(initialise)

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("normal", (self.options.z_dim,))}

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.net(z)
        return x


class Discriminator(ganzoo.Discriminator):
    """Table 3: pairs of a 3 x 3 convolution and a 4 x 4 one with stride 2, down to 4 x 4 pixels; one more 3 x 3 one; a dense layer.

    Maps images (N, C, H, W) to raw logits (N,). Every layer has spectral norm 1; LeakyReLU(0.1) between layers, no BatchNorm.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        self.net = self.layers(spec, options)

    def layers(self, spec: DataSpec, options: DiscriminatorOptions) -> nn.Sequential:
        widths = [options.width * min(2**i, 8) for i in range(doublings(spec) + 1)]
        layers: list[nn.Module] = []
        c_in = spec.shape[0]
        for c_out in widths[:-1]:
            layers += [nn.Conv2d(c_in, c_out, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True)]
            layers += [nn.Conv2d(c_out, c_out, 4, 2, 1), nn.LeakyReLU(0.1, inplace=True)]
            c_in = c_out
        layers += [nn.Conv2d(c_in, widths[-1], 3, 1, 1), nn.LeakyReLU(0.1, inplace=True)]
        # No bias: the hinge loss gives it no gradient while all logits lie between the margins, as they do at first.
        layers += [nn.Flatten(), nn.Linear(widths[-1] * 16, 1, bias=False)]
        nn.Sequential(*layers).apply(initialise)
        return nn.Sequential(*(spectral(layer) if hasattr(layer, "weight") else layer for layer in layers))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.squeeze(1)


def glorot(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """Initialises a layer as the authors' code does: Glorot's uniform weights, with gain 2^(1/2) within blocks, and biases 0."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class UpBlock(nn.Module):
    """Figure 8: BatchNorm, ReLU, upsampling, 3 x 3, BatchNorm, ReLU, 3 x 3; on the skip connection, upsampling and 1 x 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = (glorot(nn.Conv2d(width, width, 3, 1, 1), sqrt(2)) for _ in range(2))
        self.skip = glorot(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(interpolate(relu(self.norm1(x)), scale_factor=2))
        y: Tensor = self.conv2(relu(self.norm2(h))) + self.skip(interpolate(x, scale_factor=2))
        return y


class ResNetGenerator(Generator):
    """Table 4: a dense layer to 4 x 4 pixels; one block per doubling of the size; BatchNorm, ReLU, a 3 x 3 convolution, tanh."""

    def layers(self, spec: DataSpec, options: GeneratorOptions) -> nn.Sequential:
        w = options.width
        blocks = [UpBlock(w) for _ in range(doublings(spec))]
        last = [nn.BatchNorm2d(w), nn.ReLU(), glorot(nn.Conv2d(w, spec.shape[0], 3, 1, 1)), nn.Tanh()]
        return nn.Sequential(glorot(nn.Linear(options.z_dim, w * 16)), nn.Unflatten(1, (w, 4, 4)), *blocks, *last)


class Block(nn.Module):
    """A spectrally normalised residual block of D: (ReLU), 3 x 3, ReLU, 3 x 3, (downsampling); with downsampling, the skip is 1 x 1.

    The first block has no ReLU at its start, which would clip the image.
    """

    def __init__(self, c_in: int, c_out: int, down: bool, first: bool = False) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = spectral(glorot(nn.Conv2d(c_in, c_out, 3, 1, 1), sqrt(2)))
        self.conv2 = spectral(glorot(nn.Conv2d(c_out, c_out, 3, 1, 1), sqrt(2)))
        self.skip = spectral(glorot(nn.Conv2d(c_in, c_out, 1))) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(relu(self.conv1(x if self.first else relu(x))))
        # A 1 x 1 convolution and average pooling commute; pooling first is cheaper.
        y: Tensor = avg_pool2d(h, 2) + self.skip(avg_pool2d(x, 2)) if self.down else h + x
        return y


class ResNetDiscriminator(Discriminator):
    """Table 4: blocks that halve the size down to 8 x 8 pixels, two blocks that keep it, ReLU, the sum over the pixels, a dense layer."""

    def layers(self, spec: DataSpec, options: DiscriminatorOptions) -> nn.Sequential:
        w = options.width
        blocks = [Block(spec.shape[0], w, down=True, first=True), *(Block(w, w, down=True) for _ in range(doublings(spec) - 2))]
        head = spectral(glorot(nn.Linear(w, 1, bias=False)))
        sum_pool = nn.AvgPool2d(8, divisor_override=1)
        return nn.Sequential(*blocks, Block(w, w, False), Block(w, w, False), nn.ReLU(), sum_pool, nn.Flatten(), head)


class Hinge(ganzoo.Loss):
    """Equations 16 and 17:  D: E max(0, 1 - f(x)) + E max(0, 1 + f(G(z))),  G: -E f(G(z)).  First in Lim and Ye 2017 (arXiv:1705.02894)."""

    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        return {"real": relu(1 - D(x_real)).mean(), "fake": relu(1 + D(x_fake)).mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        return {"fake": -D(x_fake).mean()}
