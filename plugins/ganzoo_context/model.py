"""Pathak et al. 2016, "Context encoders: feature learning by inpainting" (arXiv:1604.07379)."""

from __future__ import annotations

from itertools import pairwise
from math import log2

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, softplus

import ganzoo
from ganzoo import DataSpec, Terms, View
from ganzoo_context import GeneratorOptions, LossOptions


class ChannelWise(nn.Module):
    """Section 3.1: a dense layer within each channel, which carries what is on one side to the other; (N, C, h, w) to the same."""

    def __init__(self, c: int, h: int, w: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c, h * w, h * w))
        self.bias = nn.Parameter(torch.zeros(c, h * w))
        nn.init.normal_(self.weight, 0.0, (h * w) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("nci,cij->ncj", x.flatten(2), self.weight) + self.bias
        return y.view_as(x)


class ContextEncoder(ganzoo.Generator):
    """Section 3.1: convolutions with stride 2 down to about 4 x 4 pixels, a channel-wise dense layer, the way back up.

    Maps source (N, C, H, W) and mask (N, 1, H, W), 1 where the source is missing and -1 elsewhere, to x (N, C, H, W) in [-1, 1]: the source
    where it is known, what the network draws where it is not; while it learns, also `overlap` pixels around that.
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        c, height, width = spec.shape
        n = max(1, int(log2(min(height, width) / 4)))
        if height % 2**n or width % 2**n:
            raise ganzoo.UsageError(f"--image-size: wanted sides that are multiples of {2**n}, got {width} x {height}.")
        widths = [options.width * 2 ** max(0, i - 1) for i in range(n)]
        down: list[nn.Module] = [nn.Conv2d(c + 1, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for c_in, c_out in pairwise(widths):
            down += [nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
        last = widths[-1]
        middle = [ChannelWise(last, height >> n, width >> n), nn.Conv2d(last, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU()]
        up: list[nn.Module] = []
        for c_in, c_out in pairwise(widths[::-1]):
            up += [nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
        self.net = nn.Sequential(*down, *middle, *up, nn.ConvTranspose2d(widths[0], c, 4, 2, 1), nn.Tanh())

    def forward(self, source: Tensor, mask: Tensor) -> Tensor:
        drawn: Tensor = self.net(torch.cat([source, mask], 1))
        o = self.options.overlap if self.training else 0
        return torch.where(max_pool2d(mask, 2 * o + 1, 1, o) > 0, drawn, source)


class ContextLoss(ganzoo.Loss):
    """Equations 1 to 3, G without the saturating logarithm; f sees the whole picture, the hole filled.

    D: E softplus(-f(x)) + E softplus(f(G(s))),  G: a E softplus(-f(G(s))) + l2 E w (G(s) - x)^2, the mean over the hole, with a weight w of
    1 in it and of `around` in what G draws around it.
    """

    options: LossOptions
    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, mask: Tensor) -> Terms:
        return {"real": softplus(-D(x_real)).mean(), "fake": softplus(D(x_fake)).mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, mask: Tensor) -> Terms:
        o, missing = self.options, (mask > 0).to(x_fake.dtype)
        weight = missing + o.around * (1 - missing)
        n, hole = len(missing), ganzoo.over_ranks(missing.sum() / len(missing))  # pixels of a picture, on average
        error = (weight * (x_fake - x_real).square()).sum() / n / (hole * x_fake.shape[1]).clamp_min(1 / n)
        return {"fake": o.adversarial * softplus(-D(x_fake)).mean(), "l2": o.l2 * error}
