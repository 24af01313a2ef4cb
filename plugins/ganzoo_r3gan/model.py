"""Huang et al. 2024, "The GAN is dead; long live the GAN! A modern baseline GAN" (arXiv:2501.05441)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import cos, gcd, log2, pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, softplus

import ganzoo
from ganzoo import Batch, Builders, DataSpec, Terms, View
from ganzoo_r3gan import AnnealedOptions, DiscriminatorOptions, GeneratorOptions, RelativisticOptions

SLOPE = 0.2


def msra(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Normal weights with standard deviation gain / fan_in^(1/2), no bias to start with."""
    nn.init.normal_(layer.weight, 0.0, gain / sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """x + W3 a(W2 a(W1 x)): a 1 x 1 convolution to more channels, a grouped 3 x 3, a 1 x 1 back; a is LeakyReLU(0.2) after a bias.

    Nothing is normalised and nothing stands between the blocks. So that the variance does not grow with the depth, W3 starts at 0 and
    W1 and W2 smaller by L^(-1 / (2 m - 2)), for L blocks of m = 3 layers: Fixup, Zhang et al. 2019 (arXiv:1901.09321).
    """

    def __init__(self, width: int, options: DiscriminatorOptions, depth: int) -> None:
        super().__init__()
        inner = width * options.expansion
        gain = sqrt(2 / (1 + SLOPE**2)) * depth ** (-1 / 4)
        self.expand = msra(nn.Conv2d(width, inner, 1), gain)
        self.mix = msra(nn.Conv2d(inner, inner, 3, 1, 1, groups=inner // gcd(inner, options.group)), gain)
        self.reduce = msra(nn.Conv2d(inner, width, 1, bias=False), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = leaky_relu(self.expand(x), SLOPE)
        taken: Tensor = x + self.reduce(leaky_relu(self.mix(h), SLOPE))
        return taken


class Resample(nn.Module):
    """Twice or half the pixels by the bilinear filter [1 2 1] x [1 2 1], and a 1 x 1 convolution where the channels change.

    The convolution is done where there are fewer pixels.
    """

    kernel: Tensor

    def __init__(self, before: int, after: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.change = nn.Identity() if before == after else msra(nn.Conv2d(before, after, 1, bias=False))
        line = torch.tensor([1.0, 2.0, 1.0]) / (2 if up else 4)
        self.register_buffer("kernel", torch.outer(line, line)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.change(x) if self.up else x
        n = x.shape[1]
        kernel = self.kernel.expand(n, 1, 3, 3)
        if self.up:
            return conv_transpose2d(x, kernel, stride=2, padding=1, output_padding=1, groups=n)
        taken: Tensor = self.change(conv2d(x, kernel, stride=2, padding=1, groups=n))
        return taken


def tower(spec: DataSpec, options: DiscriminatorOptions, up: bool) -> tuple[list[int], list[nn.Module]]:
    """Channels of each size, first to last, and the layers between them: blocks, half or twice the pixels, blocks, ..."""
    widths = [min(options.width * 2**i, max(options.widest, options.width)) for i in range(int(log2(spec.shape[-1] // 2)))]
    widths = widths[::-1] if up else widths
    layers: list[nn.Module] = []
    for before, width in pairwise([widths[0], *widths]):
        layers += [Resample(before, width, up)] if layers else []
        layers += [Block(width, options, depth=options.blocks * len(widths)) for _ in range(options.blocks)]
    return widths, layers


class Generator(ganzoo.Generator):
    """Latents (N, z_dim) weigh a learned 4 x 4 basis, channel by channel; blocks; twice the pixels; blocks; ...; a 1 x 1 to the colours.

    Images (N, C, H, W), about in [-1, 1]: the output is linear.
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        widths, layers = tower(spec, options, up=True)
        self.basis = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.weigh = msra(nn.Linear(options.z_dim, widths[0], bias=False))
        self.net = nn.Sequential(*layers, msra(nn.Conv2d(widths[-1], spec.shape[0], 1, bias=False)))

    def latent(self, n: int) -> Tensor:
        return torch.randn(n, self.options.z_dim)

    def forward(self, z: Tensor, **given: Tensor) -> Tensor:
        x: Tensor = self.net(self.basis * self.weigh(z)[:, :, None, None])
        return x


class Discriminator(ganzoo.Discriminator):
    """The generator turned round: a 1 x 1 from the colours; blocks; half the pixels; blocks; ...; each channel of 4 x 4 pixels is weighed
    by a filter of its own; a dense layer. Images to raw logits (N,).
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        widths, layers = tower(spec, options, up=False)
        first = msra(nn.Conv2d(spec.shape[0], widths[0], 1, bias=False))
        last = msra(nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False))
        self.net = nn.Sequential(first, *layers, last, nn.Flatten(), msra(nn.Linear(widths[-1], 1, bias=False)))

    def forward(self, x: Tensor, **given: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.squeeze(1)


def annealed(start: float, end: float, t: int, over: int) -> float:
    """From start, at t = 0, to end, from t = over on, along half a cosine."""
    return end + (start - end) * 0.5 * (1 + cos(pi * min(t / over, 1.0)))


class Relativistic(ganzoo.Loss):
    """Section 2, the game of pairs:  D: E softplus(f(G(z)) - f(x)),  G: E softplus(f(x) - f(G(z)))

    and, for D at every step, gamma / 2 (E |grad f(x)|_2^2 + E |grad f(G(z))|_2^2): R1 and R2. A fake is judged against one
    real sample and not against a boundary, so G cannot leave a mode out and stay on the right side of it. gamma follows a cosine.
    """

    options: RelativisticOptions

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, **given: Tensor) -> Terms:
        o = self.options
        half = 0.5 * annealed(o.gamma, o.gamma_end, self.t, o.anneal)
        real, slope_real = ganzoo.gradient_norms(D, x_real, logits=True)
        fake, slope_fake = ganzoo.gradient_norms(D, x_fake, logits=True)
        penalties = {"r1": half * slope_real.square().mean(), "r2": half * slope_fake.square().mean()}
        return {"pair": softplus(fake - real).mean(), **penalties}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, **given: Tensor) -> Terms:
        with torch.no_grad():
            real = D(x_real)
        return {"pair": softplus(real - D(x_fake)).mean()}


class Annealed(ganzoo.Strategy):
    """A step of D, then one of G, on the same real samples, with Adam; its learning rate and beta2 follow a cosine."""

    options: AnnealedOptions

    def __init__(self, build: Builders, options: AnnealedOptions) -> None:
        super().__init__(build, options)
        self.G, self.D = build.generator(), build.discriminator()
        self.opt_G, self.opt_D = (
            torch.optim.Adam(network.parameters(), options.lr, (options.beta1, options.beta2), fused=True) for network in (self.G, self.D)
        )

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        o = self.options
        for optimiser in (self.opt_G, self.opt_D):
            ganzoo.set_lr(optimiser, annealed(o.lr, o.lr_end, t, o.anneal))
            for group in optimiser.param_groups:
                group["betas"] = (o.beta1, annealed(o.beta2, o.beta2_end, t, o.anneal))
        batch = next(batches)
        x_real, given = batch["x"], self.given(batch)
        D = self.view(self.D, given)
        with torch.no_grad():
            x_fake = self.fake(len(x_real), given)
        terms_d = self.loss.discriminator(D, x_real, x_fake, **given)
        ganzoo.update((self.opt_D, terms_d))
        terms_g = self.loss.generator(D, self.fake(len(x_real), given), x_real, **given)
        ganzoo.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)
