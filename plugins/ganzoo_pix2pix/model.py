"""Isola, Zhu, Zhou and Efros 2016, "Image-to-image translation with conditional adversarial networks" (arXiv:1611.07004)."""

from __future__ import annotations

from collections.abc import Iterator
from math import log2

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss, leaky_relu, pad, relu, softplus

import ganzoo
from ganzoo import Batch, Builders, DataSpec, Prior, Terms, View
from ganzoo_pix2pix import LossOptions, PairedOptions, PatchOptions, UNetOptions


def initialise(module: nn.Module) -> None:
    """Section 6.2: N(0, 0.02); the scales of normalisation N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.InstanceNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)


def norm(c: int) -> nn.Module:
    """The paper's BatchNorm on a batch of one, in training and in use: each picture by its own statistics."""
    return nn.InstanceNorm2d(c, affine=True)


class UNet(ganzoo.Generator):
    """Section 6.1.1: C64-C128-C256-C512-... down, the mirror of it up, and each layer's features beside those of its mirror image.

    Maps source (N, C, H, W) to x (N, C', H, W) in [-1, 1]. Sides that are no multiple of 2^depth are filled up with their mirror image, and
    cut again. A source that is smaller than x, as in super-resolution, is enlarged first. `dropout` draws in use as well: it is the noise.
    """

    options: UNetOptions

    def __init__(self, spec: DataSpec, options: UNetOptions) -> None:
        super().__init__(spec, options)
        (c_in, height, _), (c_out, *size) = spec.fields["source"].shape, spec.shape
        self.scale = size[0] // height
        self.depth = options.depth or max(1, min(8, int(log2(min(size)))))
        widths = [options.width * min(2**i, 8) for i in range(self.depth)]
        down, up = list[nn.Module](), list[nn.Module]()
        for i, c in enumerate(widths):
            inner = 0 < i < self.depth - 1  # neither the first nor the innermost, which may be one pixel
            layer = nn.Conv2d(c_in if i == 0 else widths[i - 1], c, 4, 2, 1, bias=not inner)
            down.append(nn.Sequential(layer, norm(c)) if inner else layer)
            c_up = c_out if i == 0 else widths[i - 1]
            back = nn.ConvTranspose2d(c if i == self.depth - 1 else 2 * c, c_up, 4, 2, 1, bias=i == 0)
            up.append(back if i == 0 else nn.Sequential(back, norm(c_up)))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.apply(initialise)

    def forward(self, source: Tensor) -> Tensor:
        if self.scale > 1:
            source = interpolate(source, scale_factor=self.scale, mode="bicubic", align_corners=False)
        height, width = source.shape[2:]
        x, skips = filled_up(source, 2**self.depth), list[Tensor]()
        for i, layer in enumerate(self.down):
            x = layer(x if i == 0 else leaky_relu(x, 0.2))
            skips.append(x)
        for i in reversed(range(self.depth)):
            x = self.up[i](relu(x if i == self.depth - 1 else torch.cat([x, skips[i]], 1)))
            if i >= self.depth - 3 and i > 1 and self.options.dropout:  # the three innermost layers, and never the last two
                x = self.noise(x)
        return x[:, :, :height, :width].tanh()

    def noise(self, x: Tensor) -> Tensor:
        """Section 2.1: dropout, of counted draws, so that row i of a seed gets the same units whatever else is asked for."""
        p = self.options.dropout
        kept = ganzoo.draw("dropout", Prior("unit", tuple(x.shape[1:])), len(x), x.device) >= p
        return x * kept / (1 - p)


def filled_up(x: Tensor, multiple: int) -> Tensor:
    """Pictures (N, C, H, W), below and on the right filled up with their mirror image to sides that are multiples."""
    below, right = -x.shape[2] % multiple, -x.shape[3] % multiple
    mode = "reflect" if below < x.shape[2] and right < x.shape[3] else "replicate"
    return pad(x, (0, right, 0, below), mode=mode) if below or right else x


class PatchGAN(ganzoo.Discriminator):
    """Section 6.1.2: C64-C128-C256-C512-1, of which the last two have stride 1; with no layer of stride 2, convolutions of 1 pixel.

    Maps x (N, C, H, W) to raw logits (N, 1, h, w), one a patch: each sees 1, 16, 34, 70 or 142 pixels a side, for 0 to 4 layers.
    """

    options: PatchOptions
    conditions: tuple[str, ...] = ()

    def __init__(self, spec: DataSpec, options: PatchOptions) -> None:
        super().__init__(spec, options)
        fits = max(0, int(log2(min(spec.shape[1:]) / 4)))
        if options.layers > fits:
            raise ganzoo.UsageError(
                f"--discriminator.layers: wanted at most {fits} for pictures of {spec.shape[2]} x {spec.shape[1]} pixels, "
                f"got {options.layers}."
            )
        c, w = spec.shape[0] + sum(spec.fields[key].shape[0] for key in self.conditions), options.width
        widths = [w * min(2**i, 8) for i in range(options.layers + 1)]
        kernel, first = (4, 2) if options.layers else (1, 1)
        layers: list[nn.Module] = [nn.Conv2d(c, w, kernel, first, kernel // 3), nn.LeakyReLU(0.2)]
        for i in range(1, options.layers + 1):
            stride = 2 if i < options.layers else 1
            layers += [nn.Conv2d(widths[i - 1], widths[i], 4, stride, 1, bias=False), norm(widths[i]), nn.LeakyReLU(0.2)]
        if not options.layers:
            layers += [nn.Conv2d(w, 2 * w, 1, bias=False), norm(2 * w), nn.LeakyReLU(0.2)]
        last = widths[-1] if options.layers else 2 * w
        self.net = nn.Sequential(*layers, nn.Conv2d(last, 1, kernel, 1, kernel // 3)).apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        patches: Tensor = self.net(x)
        return patches


class PairPatchGAN(PatchGAN):
    """Section 3.1: the discriminator sees the source, too; source (N, C', h, w) is enlarged to the size of x where it is smaller."""

    conditions = ("source",)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:  # type: ignore[override]
        if source.shape[2:] != x.shape[2:]:
            source = interpolate(source, size=x.shape[2:], mode="bicubic", align_corners=False)
        return super().forward(torch.cat([x, source], 1))


class Pix2PixLoss(ganzoo.Loss):
    """Equations 1 and 4, G without the saturating logarithm, and D's objective halved, as section 3.3 says:

    D: (E softplus(-f(x)) + E softplus(f(G(s)))) / 2,  G: a E softplus(-f(G(s))) + l1 E |G(s) - x|, x being the truth of the source s.
    """

    options: LossOptions
    d_won = 0.01

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        return {"real": softplus(-D(x_real)).mean() / 2, "fake": softplus(D(x_fake)).mean() / 2}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        o = self.options
        return {"fake": o.adversarial * softplus(-D(x_fake)).mean(), "l1": o.l1 * l1_loss(x_fake, x_real)}


class Paired(ganzoo.Strategy):
    """Section 3.3: one step of D, one of G, both on the same fakes of one batch. The learning rate falls in the second half."""

    options: PairedOptions

    def __init__(self, build: Builders, options: PairedOptions) -> None:
        super().__init__(build, options)
        self.G, self.D = build.network("generator"), build.network("discriminator")
        self.opt_G, self.opt_D = self.optimiser(self.G), self.optimiser(self.D)

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam."""
        o = self.options
        return torch.optim.Adam(network.parameters(), torch.tensor(o.lr), (o.beta1, o.beta2), fused=True)

    def schedule(self, t: int) -> None:
        lr = falling(self.options.lr, t, self.options.decay)
        ganzoo.set_lr(self.opt_G, lr)
        ganzoo.set_lr(self.opt_D, lr * self.options.d_rate)

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        batch = next(batches)
        given = {**batch, **self.latents(len(batch["x"]))}
        D, x_fake = self.view(self.D, given), self.fake(given)
        terms_d = self.loss.discriminator(D, batch["x"], x_fake.detach(), t=t, **given)
        self.update((self.opt_D, terms_d))
        terms_g = self.loss.generator(D, x_fake, batch["x"], t=t, **given)
        self.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)


def falling(lr: float, t: int, end: int) -> float:
    """The learning rate of step t: constant for half of the steps to `end`, then on a line to 0 there; 0: constant."""
    return lr * min(1.0, max(0.0, 2 * (1 - t / end))) if end else lr
