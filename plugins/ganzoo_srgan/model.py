"""SRGAN, Ledig et al. 2016 (arXiv:1609.04802), and ESRGAN, Wang et al. 2018 (arXiv:1809.00219)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss, leaky_relu, mse_loss, pixel_unshuffle, softplus

import ganzoo
from ganzoo import Batch, Builders, DataSpec, Terms, View
from ganzoo_srgan import (
    DiscriminatorOptions,
    ESRGANLossOptions,
    PretrainedOptions,
    RRDBOptions,
    SRGANLossOptions,
    SRResNetOptions,
)


def factor_of(spec: DataSpec, *known: int) -> int:
    """How many times larger x is than its source. Raises UsageError where it is not one of `known`."""
    (_, height, width), (_, h, w) = spec.shape, spec.fields["source"].shape
    factor = height // h
    if (height, width) != (factor * h, factor * w) or factor not in known:
        wanted = ", ".join(map(str, known))
        raise ganzoo.UsageError(f"wanted a source that is {wanted} times smaller than x, got {w} x {h} for {width} x {height} pixels.")
    return factor


class Block(nn.Module):
    """Figure 4: convolution, normalisation, PReLU, convolution, normalisation, added to what they are given."""

    def __init__(self, c: int, norm: str) -> None:
        super().__init__()
        layers = [nn.Conv2d(c, c, 3, padding=1), batch_norm(c, norm), nn.PReLU(), nn.Conv2d(c, c, 3, padding=1), batch_norm(c, norm)]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.net(x)
        return y


def batch_norm(c: int, norm: str) -> nn.Module:
    return nn.BatchNorm2d(c) if norm == "batch" else nn.Identity()


class SRResNet(ganzoo.Generator):
    """Section 3.2 and figure 4: residual blocks at the small size, then sub-pixel convolutions (Shi et al. 2016).

    Maps source (N, C, h, w) to x (N, C', f h, f w), f being 1, 2, 3, 4 or 8 as the training data has it.
    """

    options: SRResNetOptions

    def __init__(self, spec: DataSpec, options: SRResNetOptions) -> None:
        super().__init__(spec, options)
        self.factor, w = factor_of(spec, 1, 2, 3, 4, 8), options.width
        if options.kernel % 2 == 0:
            raise ganzoo.UsageError(f"--generator.kernel: wanted an odd number of pixels, got {options.kernel}.")
        edge = options.kernel // 2
        self.head = nn.Sequential(nn.Conv2d(spec.fields["source"].shape[0], w, options.kernel, padding=edge), nn.PReLU())
        blocks = [Block(w, options.norm) for _ in range(options.blocks)]
        self.body = nn.Sequential(*blocks, nn.Conv2d(w, w, 3, padding=1), batch_norm(w, options.norm))
        up: list[nn.Module] = []
        for f in {1: [], 3: [3]}.get(self.factor, [2] * (self.factor.bit_length() - 1)):
            up += [nn.Conv2d(w, w * f * f, 3, padding=1), nn.PixelShuffle(f), nn.PReLU()]
        last = nn.Conv2d(w, spec.shape[0], options.kernel, padding=edge)
        for value in last.parameters() if options.residual else ():  # at first it adds nothing
            nn.init.zeros_(value)
        self.tail = nn.Sequential(*up, last)

    def forward(self, source: Tensor) -> Tensor:
        x = self.head(source)
        x = self.tail(x + self.body(x))
        if self.options.residual:
            x = x + interpolate(source, scale_factor=self.factor, mode="bicubic", align_corners=False)
        return x


class DenseBlock(nn.Module):
    """ESRGAN, figure 4: five convolutions, each on what all before it gave; a fifth of the result is added."""

    def __init__(self, c: int, growth: int = 32) -> None:
        super().__init__()
        for i in range(1, 6):
            setattr(self, f"conv{i}", small_weights(nn.Conv2d(c + (i - 1) * growth, growth if i < 5 else c, 3, padding=1)))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for i in range(1, 5):
            seen.append(leaky_relu(self.get_submodule(f"conv{i}")(torch.cat(seen, 1)), 0.2))
        y: Tensor = x + 0.2 * self.get_submodule("conv5")(torch.cat(seen, 1))
        return y


def small_weights(conv: nn.Conv2d) -> nn.Conv2d:
    """ESRGAN, section 4.1: a tenth of He's weights."""
    nn.init.kaiming_normal_(conv.weight)
    with torch.no_grad():
        conv.weight.mul_(0.1)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class RRDB(nn.Module):
    """ESRGAN, figure 4: three dense blocks, of whose result a fifth is added."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = DenseBlock(c), DenseBlock(c), DenseBlock(c)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))
        return y


class RRDBNet(ganzoo.Generator):
    """ESRGAN, figure 4, with the names of BasicSR's tensors and pictures in [0, 1] inside, so that tools which read those read these.

    Maps source (N, C, h, w) to x (N, C', f h, f w), f being 4, or 2, where four pixels of the source come to stand in one first.
    """

    options: RRDBOptions

    def __init__(self, spec: DataSpec, options: RRDBOptions) -> None:
        super().__init__(spec, options)
        self.folded, c = 4 // factor_of(spec, 2, 4), options.width
        self.conv_first = nn.Conv2d(spec.fields["source"].shape[0] * self.folded**2, c, 3, padding=1)
        self.body = nn.Sequential(*[RRDB(c) for _ in range(options.blocks)])
        self.conv_body, self.conv_up1, self.conv_up2, self.conv_hr = (nn.Conv2d(c, c, 3, padding=1) for _ in range(4))
        self.conv_last = nn.Conv2d(c, spec.shape[0], 3, padding=1)

    def forward(self, source: Tensor) -> Tensor:
        x = self.conv_first(pixel_unshuffle((source + 1) / 2, self.folded))
        x = x + self.conv_body(self.body(x))
        for up in (self.conv_up1, self.conv_up2):
            x = leaky_relu(up(interpolate(x, scale_factor=2)), 0.2)
        y: Tensor = self.conv_last(leaky_relu(self.conv_hr(x), 0.2))
        return 2 * y - 1


class Discriminator(ganzoo.Discriminator):
    """Figure 4: widths 64, 64, 128, 128, 256, 256, 512, 512, of which every second has stride 2, and two dense layers.

    Maps x (N, C, H, W) to raw logits (N,). The last layer has no bias, which a relativistic loss would not move.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        (c, height, width), w = spec.shape, options.width
        layers: list[nn.Module] = [nn.Conv2d(c, w, 3, padding=1), nn.LeakyReLU(0.2), *strided(w, w)]
        for c_in, c_out in pairwise([w, 2 * w, 4 * w, 8 * w]):
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2), *strided(c_out, c_out)]
        area = -(-height // 16) * -(-width // 16)
        dense = [nn.Linear(8 * w * area, options.hidden), nn.LeakyReLU(0.2), nn.Linear(options.hidden, 1, bias=False)]
        self.net = nn.Sequential(*layers, nn.Flatten(), *dense)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.flatten()


def strided(c_in: int, c_out: int) -> list[nn.Module]:
    """A convolution that halves the sides, rounded up, with what follows it."""
    return [nn.Conv2d(c_in, c_out, 3, 2, 1), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]


class SRGANLoss(ganzoo.Loss):
    """Equations 2 to 6, with the squared error of the pixels for that of VGG's features:

    D: E softplus(-f(x)) + E softplus(f(G(s))),  G: a E softplus(-f(G(s))) + p E (G(s) - x)^2, x being the truth of the source s.
    """

    options: SRGANLossOptions
    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        return {"real": softplus(-D(x_real)).mean(), "fake": softplus(D(x_fake)).mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        o = self.options
        return {"fake": o.adversarial * softplus(-D(x_fake)).mean(), "pixels": o.pixels * mse_loss(x_fake, x_real)}


class ESRGANLoss(ganzoo.Loss):
    """ESRGAN, equations 1 to 3: the relativistic average discriminator of Jolicoeur-Martineau 2018, and L1.

    D: E softplus(-(f(x) - E f(G(s)))) + E softplus(f(G(s)) - E f(x)); for G with the signs changed, times a; and p E |G(s) - x|.
    """

    options: ESRGANLossOptions
    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        real, fake = D(x_real), D(x_fake)
        mean_real, mean_fake = ganzoo.overall(real).mean(), ganzoo.overall(fake).mean()
        return {"real": softplus(mean_fake - real).mean(), "fake": softplus(fake - mean_real).mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        o, fake = self.options, D(x_fake)
        with torch.no_grad():
            real = D(x_real)
        mean_real, mean_fake = ganzoo.overall(real).mean(), ganzoo.overall(fake).mean()
        game = (softplus(real - mean_fake).mean() + softplus(mean_real - fake).mean()) / 2
        return {"fake": o.adversarial * game, "pixels": o.pixels * l1_loss(x_fake, x_real)}


class Pretrained(ganzoo.Strategy):
    """SRGAN, section 3.2: G learns alone, as SRResNet, by its distance to the truth; then D and G take turns, both on the same fakes."""

    options: PretrainedOptions

    def __init__(self, build: Builders, options: PretrainedOptions) -> None:
        super().__init__(build, options)
        self.features = (build.extractor(options.perceptual),) if options.perceptual else ()  # a tuple: no part of what is saved
        self.G, self.D = build.network("generator"), build.network("discriminator")
        lr, betas = torch.tensor(options.lr), (options.beta1, options.beta2)
        self.opt_G, self.opt_D = (torch.optim.Adam(n.parameters(), lr.clone(), betas, fused=True) for n in (self.G, self.D))

    def phases(self) -> dict[str, int]:
        return {"alone": 0, "play": self.options.pretrain} if self.options.pretrain else {"play": 0}

    def schedule(self, t: int) -> None:
        o = self.options
        lr = (o.lr if t >= o.pretrain else o.lr_pretrain) * (0.1 if o.drop and t >= o.drop else 1)
        for optimiser in (self.opt_G, self.opt_D):
            ganzoo.set_lr(optimiser, lr)

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        batch = next(batches)
        given = {**batch, **self.latents(len(batch["x"]))}
        D, x_fake = self.view(self.D, given), self.fake(given)
        if self.phase(t) == "alone":
            terms = {"pixels": (mse_loss if self.options.distance == "mse" else l1_loss)(x_fake, batch["x"])}
            self.update((self.opt_G, terms))
            return self.metrics(g=terms)
        terms_d = self.loss.discriminator(D, batch["x"], x_fake.detach(), t=t, **given)
        self.update((self.opt_D, terms_d))
        terms_g = self.loss.generator(D, x_fake, batch["x"], t=t, **given)
        for phi in self.features:  # equation 5
            terms_g["perceptual"] = self.options.perceptual_weight * mse_loss(*(phi((x + 1) * 127.5)[0] for x in (x_fake, batch["x"])))
        self.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)
