"""Miyato et al. 2018, "Spectral normalization for generative adversarial networks" (arXiv:1802.05957)."""

from __future__ import annotations

from itertools import pairwise
from math import log2, sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, normalize, relu
from torch.nn.utils.parametrize import register_parametrization

import ganzoo
from ganzoo import DataSpec, Terms, View
from ganzoo_sngan import DiscriminatorOptions, GeneratorOptions


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value:  W / sigma(W),  sigma(W) = u^T W v.  Algorithm 1.

    W is the weight as a matrix (out, the rest); for a convolution, (out, in * k * k), which is the paper's choice and not the norm of the
    convolution as a map of images. Each forward of a network in training mode takes one step of the power iteration, v <- W^T u / |.|,
    u <- W v / |.|, in D's step and in G's, and keeps u: one step is enough because W moves little from one to the next. u and v count as
    constants for the gradient. In fp32 whatever the precision of the run, as an error in sigma scales the whole layer.
    """

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        w = weight.detach().flatten(1)
        # The paper starts from noise and gets there in some steps; the leading eigenvector of W W^T is there at step 0.
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
    """The layer with its weight normalised; the weight that is learned becomes `parametrizations.weight.original`."""
    return register_parametrization(layer, "weight", SpectralNorm(layer.get_parameter("weight")))


def doublings(spec: DataSpec) -> int:
    """How often 4 pixels must be doubled to make the image: 3 for 32 pixels, 4 for 64."""
    return int(log2(spec.shape[-1] // 4))


def small_weights(module: nn.Module) -> None:
    """N(0, 0.02) for weights and 0 for biases, as in DCGAN. Normalisation hides the scale of D's, but the step is relative to it."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Generator(ganzoo.Generator):
    """Table 3: latents (N, z_dim) to 4 x 4 pixels; 4 x 4 transposed convolutions double them; a 3 x 3 one, tanh.

    Images (N, C, H, W) in [-1, 1].
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        self.net = self.layers(spec, options)

    def layers(self, spec: DataSpec, options: GeneratorOptions) -> nn.Sequential:
        widths = [options.width * min(2**i, 8) for i in reversed(range(doublings(spec) + 1))]
        layers: list[nn.Module] = [nn.Linear(options.z_dim, widths[0] * 16, bias=False), nn.Unflatten(1, (widths[0], 4, 4))]
        for before, after in pairwise(widths):
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), nn.Conv2d(widths[-1], spec.shape[0], 3, 1, 1), nn.Tanh()]
        return nn.Sequential(*layers).apply(small_weights)

    def latent(self, n: int) -> Tensor:
        return torch.randn(n, self.options.z_dim)

    def forward(self, z: Tensor, **given: Tensor) -> Tensor:
        x: Tensor = self.net(z)
        return x


class Discriminator(ganzoo.Discriminator):
    """Table 3: pairs of a 3 x 3 convolution and a 4 x 4 one with stride 2, down to 4 x 4 pixels; one more; a dense layer.

    Images to raw logits (N,). No BatchNorm: every layer has spectral norm 1, LeakyReLU(0.1) between them.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        self.net = self.layers(spec, options)

    def layers(self, spec: DataSpec, options: DiscriminatorOptions) -> nn.Sequential:
        widths = [options.width * min(2**i, 8) for i in range(doublings(spec) + 1)]
        layers: list[nn.Module] = []
        before = spec.shape[0]
        for width in widths[:-1]:
            layers += [nn.Conv2d(before, width, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True)]
            layers += [nn.Conv2d(width, width, 4, 2, 1), nn.LeakyReLU(0.1, inplace=True)]
            before = width
        layers += [nn.Conv2d(before, widths[-1], 3, 1, 1), nn.LeakyReLU(0.1, inplace=True)]
        # Without a bias: the hinge has no gradient for it as long as all logits lie between the margins, as they do at first.
        layers += [nn.Flatten(), nn.Linear(widths[-1] * 16, 1, bias=False)]
        nn.Sequential(*layers).apply(small_weights)
        return nn.Sequential(*(spectral(layer) if hasattr(layer, "weight") else layer for layer in layers))

    def forward(self, x: Tensor, **given: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.squeeze(1)


def glorot(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """Uniform weights of Glorot and Bengio and no bias to start with: the authors' code, which has gain 2^(1/2) within blocks."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class UpBlock(nn.Module):
    """Figure 8: BatchNorm, ReLU, twice the pixels, 3 x 3, BatchNorm, ReLU, 3 x 3; around it, twice the pixels and 1 x 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = (glorot(nn.Conv2d(width, width, 3, 1, 1), sqrt(2)) for _ in range(2))
        self.skip = glorot(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(interpolate(relu(self.norm1(x)), scale_factor=2))
        taken: Tensor = self.conv2(relu(self.norm2(h))) + self.skip(interpolate(x, scale_factor=2))
        return taken


class ResNetGenerator(Generator):
    """Table 4: latents (N, z_dim) to 4 x 4 pixels; a block each doubling; BatchNorm, ReLU, 3 x 3, tanh."""

    def layers(self, spec: DataSpec, options: GeneratorOptions) -> nn.Sequential:
        w = options.width
        blocks = [UpBlock(w) for _ in range(doublings(spec))]
        last = [nn.BatchNorm2d(w), nn.ReLU(), glorot(nn.Conv2d(w, spec.shape[0], 3, 1, 1)), nn.Tanh()]
        return nn.Sequential(glorot(nn.Linear(options.z_dim, w * 16)), nn.Unflatten(1, (w, 4, 4)), *blocks, *last)


class Block(nn.Module):
    """A residual block of D, spectrally normalised: (ReLU), 3 x 3, ReLU, 3 x 3, (half the pixels); around it 1 x 1 where the shape changes.

    The first block begins without an activation, which would cut the image.
    """

    def __init__(self, before: int, width: int, down: bool, first: bool = False) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = spectral(glorot(nn.Conv2d(before, width, 3, 1, 1), sqrt(2)))
        self.conv2 = spectral(glorot(nn.Conv2d(width, width, 3, 1, 1), sqrt(2)))
        self.skip = spectral(glorot(nn.Conv2d(before, width, 1))) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(relu(self.conv1(x if self.first else relu(x))))
        # A 1 x 1 convolution and an average of pixels can change places: the average first is cheaper.
        taken: Tensor = avg_pool2d(h, 2) + self.skip(avg_pool2d(x, 2)) if self.down else h + x
        return taken


class ResNetDiscriminator(Discriminator):
    """Table 4: blocks that halve the pixels down to 8 x 8, two that do not, ReLU, the sum over the pixels, a dense layer."""

    def layers(self, spec: DataSpec, options: DiscriminatorOptions) -> nn.Sequential:
        w = options.width
        blocks = [Block(spec.shape[0], w, down=True, first=True), *(Block(w, w, down=True) for _ in range(doublings(spec) - 2))]
        head = spectral(glorot(nn.Linear(w, 1, bias=False)))
        total = nn.AvgPool2d(8, divisor_override=1)
        return nn.Sequential(*blocks, Block(w, w, False), Block(w, w, False), nn.ReLU(), total, nn.Flatten(), head)


class Hinge(ganzoo.Loss):
    """Equations 16 and 17:  D: E max(0, 1 - f(x)) + E max(0, 1 + f(G(z))),  G: -E f(G(z)).  First in Lim and Ye 2017 (arXiv:1705.02894)."""

    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, **given: Tensor) -> Terms:
        return {"real": relu(1 - D(x_real)).mean(), "fake": relu(1 + D(x_fake)).mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, **given: Tensor) -> Terms:
        return {"fake": -D(x_fake).mean()}
