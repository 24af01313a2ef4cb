"""Huang et al. 2024, "The GAN is dead; long live the GAN! A modern baseline GAN" (arXiv:2501.05441)."""

from __future__ import annotations

from itertools import pairwise
from math import cos, gcd, log2, pi, sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, interpolate, leaky_relu, pad, softplus
from torch.nn.grad import conv2d_weight

import ganzoo
from ganzoo import DataSpec, Prior, Terms, View
from ganzoo_r3gan import AnnealedOptions, DiscriminatorOptions, GeneratorOptions, RelativisticOptions

SLOPE = 0.2


def msra(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Initialises a layer: normal weights with standard deviation gain / fan_in^(1/2), biases 0. Returns the layer."""
    nn.init.normal_(layer.weight, 0.0, gain / sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ToInput(torch.autograd.Function):
    """A convolution without a bias, for the gradient at x alone, which is a convolution in its turn."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int, groups: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.kept = {"padding": padding, "groups": groups}
        return conv2d(x, weight, **ctx.kept)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with ganzoo.full_precision(gradient):  # that is, in the precision of the forward pass
            return conv_transpose2d(gradient, *ctx.saved_tensors, **ctx.kept), None, None, None


class ToWeights(torch.autograd.Function):
    """The bias, as large as `like`, for the gradients at the weight and the bias of a convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, like: Tensor, padding: int, groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kept = {"padding": padding, "groups": groups}
        return bias[:, None, None].expand_as(like)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        with ganzoo.full_precision(gradient):
            return None, conv2d_weight(x, weight.shape, gradient, **ctx.kept), gradient.sum((0, 2, 3)), None, None, None


class Grouped(nn.Conv2d):
    """A convolution in groups whose penalties are cheap: torch's own formula for the gradient of its gradient takes the groups one by one,
    96 at the paper's width. Two halves, so that what nobody asks for is not computed."""

    def forward(self, x: Tensor) -> Tensor:
        kind, kept = x.device.type, (self.kernel_size[0] // 2, self.groups)
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.weight.dtype
        assert self.bias is not None
        x, weight, bias = x.to(dtype), self.weight.to(dtype), self.bias.to(dtype)
        y: Tensor = ToInput.apply(x, weight, *kept)
        return y + ToWeights.apply(x.detach(), weight, bias, y.detach(), *kept)


class Places(nn.Conv2d):
    """A 4 x 4 filter for each channel of pictures of 4 x 4: (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight[:, 0]).sum((2, 3), keepdim=True)


class Block(nn.Module):
    """x + W3 a(W2 a(W1 x)): a 1 x 1 convolution to more channels, a grouped 3 x 3 one, a 1 x 1 one back; a is a bias and LeakyReLU(0.2).

    There is no normalisation and no activation between blocks. So that the variance does not grow with the depth, W3 starts at 0, and
    W1 and W2 are scaled by L^(-1 / (2 m - 2)), for L blocks of m = 3 layers: Fixup, Zhang et al. 2019 (arXiv:1901.09321).
    """

    def __init__(self, width: int, options: DiscriminatorOptions, depth: int) -> None:
        super().__init__()
        inner = width * options.expansion
        gain = sqrt(2 / (1 + SLOPE**2)) * depth ** (-1 / 4)
        self.expand = msra(nn.Conv2d(width, inner, 1), gain)
        groups = inner // gcd(inner, options.group)
        self.mix = msra((Grouped if groups > 1 else nn.Conv2d)(inner, inner, 3, 1, 1, groups=groups), gain)
        self.reduce = msra(nn.Conv2d(inner, width, 1, bias=False), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = leaky_relu(self.expand(x), SLOPE)
        y: Tensor = x + self.reduce(leaky_relu(self.mix(h), SLOPE))
        return y


class Resample(nn.Module):
    """Doubles or halves the size with the bilinear filter [1 2 1] x [1 2 1], with a 1 x 1 convolution if the channels change.

    The convolution is applied at the smaller size. The filter is [1 1] twice in each direction, so means of 2 x 2 places make it.
    """

    def __init__(self, c_in: int, c_out: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.change = nn.Identity() if c_in == c_out else msra(nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            return avg_pool2d(pad(interpolate(self.change(x), scale_factor=2), (0, 1, 0, 1)), 2, 1)
        y: Tensor = self.change(avg_pool2d(avg_pool2d(x, 2, 1, 1), 2))
        return y


def tower(spec: DataSpec, options: DiscriminatorOptions, up: bool) -> tuple[list[int], list[nn.Module]]:
    """The channels at each size, from input to output, and the layers: blocks, resampling, blocks, ..."""
    widths = [min(options.width * 2**i, max(options.widest, options.width)) for i in range(int(log2(spec.shape[-1] // 2)))]
    widths = widths[::-1] if up else widths
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise([widths[0], *widths]):
        layers += [Resample(c_in, c_out, up)] if layers else []
        layers += [Block(c_out, options, depth=options.blocks * len(widths)) for _ in range(options.blocks)]
    return widths, layers


class Generator(ganzoo.Generator):
    """Latents weight a learned 4 x 4 basis, channel by channel; then blocks, upsampling, blocks, ..., and a 1 x 1 convolution to colours.

    Maps z (N, z_dim) to images (N, C, H, W), roughly in [-1, 1]: the output is linear.
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        widths, layers = tower(spec, options, up=True)
        self.basis = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.weigh = msra(nn.Linear(options.z_dim, widths[0], bias=False))
        self.net = nn.Sequential(*layers, msra(nn.Conv2d(widths[-1], spec.shape[0], 1, bias=False)))

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("normal", (self.options.z_dim,))}

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.net(self.basis * self.weigh(z)[:, :, None, None])
        return x


class Discriminator(ganzoo.Discriminator):
    """The mirror of the generator: a 1 x 1 convolution from colours; blocks, downsampling, blocks, ...; a 4 x 4 filter per channel; a dense
    layer. Maps images (N, C, H, W) to raw logits (N,).
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        widths, layers = tower(spec, options, up=False)
        first = msra(nn.Conv2d(spec.shape[0], widths[0], 1, bias=False))
        last = msra(Places(widths[-1], widths[-1], 4, groups=widths[-1], bias=False))
        self.net = nn.Sequential(first, *layers, last, nn.Flatten(), msra(nn.Linear(widths[-1], 1, bias=False)))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.squeeze(1)


def cosine(start: float, end: float, t: int, steps: int) -> float:
    """A schedule along half a cosine: `start` at t = 0, `end` from t = steps on."""
    return end + (start - end) * 0.5 * (1 + cos(pi * min(t / steps, 1.0)))


class Relativistic(ganzoo.Loss):
    """Section 2, a loss on pairs:  D: E softplus(f(G(z)) - f(x)),  G: E softplus(f(x) - f(G(z)))

    D's loss also has, at every step, gamma / 2 (E |grad f(x)|_2^2 + E |grad f(G(z))|_2^2): R1 and R2. Each fake is compared with one
    real sample instead of a fixed boundary, so G cannot drop a mode and still be on the right side of it. gamma follows a cosine.
    """

    options: RelativisticOptions

    def schedule(self, t: int) -> dict[str, float]:
        return {"gamma": cosine(self.options.gamma, self.options.gamma_end, t, self.options.anneal)}

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, gamma: Tensor) -> Terms:
        weight = 0.5 * gamma
        logits, norms = ganzoo.gradient_norms(D, x_real, x_fake, logits=True)
        (real, fake), (norms_real, norms_fake) = logits.chunk(2), norms.chunk(2)
        penalties = {"r1": weight * norms_real.square().mean(), "r2": weight * norms_fake.square().mean()}
        return {"pair": softplus(fake - real).mean(), **penalties}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, gamma: Tensor) -> Terms:
        with torch.no_grad():
            real = D(x_real)
        return {"pair": softplus(real - D(x_fake)).mean()}


class Annealed(ganzoo.Alternating):
    """One step of D, then one of G, on the same real samples, with Adam. The learning rate and Adam's beta2 follow a cosine."""

    options: AnnealedOptions  # type: ignore[assignment]

    def d_steps(self, t: int) -> int:
        return 1

    def optimiser(self, network: nn.Module, side: Literal["g", "d"]) -> torch.optim.Optimizer:
        o = self.options
        return torch.optim.Adam(network.parameters(), torch.tensor(o.lr), (o.beta1, o.beta2), fused=True)

    def schedule(self, t: int) -> None:
        o = self.options
        for optimiser in (self.opt_G, self.opt_D):
            ganzoo.set_lr(optimiser, cosine(o.lr, o.lr_end, t, o.anneal))
            for group in optimiser.param_groups:
                group["betas"] = (o.beta1, cosine(o.beta2, o.beta2_end, t, o.anneal))
