"""Berthelot, Schumm and Metz 2017, "BEGAN: boundary equilibrium generative adversarial networks" (arXiv:1703.10717)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import log2

import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, Builders, DataSpec, Prior, Terms, View
from ganzoo_began import AutoEncoderOptions, CompactAutoEncoderOptions, CompactDecoderOptions, DecoderOptions, EquilibriumOptions


def convolutions(*channels: int) -> list[nn.Module]:
    """3 x 3 convolutions from each number of channels to the next, each followed by an ELU."""
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(channels):
        layers += [nn.Conv2d(c_in, c_out, 3, 1, 1), nn.ELU(inplace=True)]
    return layers


def doublings(spec: DataSpec) -> int:
    """How many times 8 pixels must be doubled to reach the image size."""
    return int(log2(spec.shape[-1] // 8))


def decoder(spec: DataSpec, n: int, h: int) -> nn.Sequential:
    """Maps codes (N, h) to unbounded images (N, C, H, W): figure 1. No BatchNorm, no transposed convolutions."""
    layers: list[nn.Module] = [nn.Linear(h, 8 * 8 * n), nn.Unflatten(1, (n, 8, 8))]
    for _ in range(doublings(spec)):
        layers += [*convolutions(n, n, n), nn.Upsample(scale_factor=2, mode="nearest")]
    return nn.Sequential(*layers, *convolutions(n, n, n), nn.Conv2d(n, spec.shape[0], 3, 1, 1))


def encoder(spec: DataSpec, n: int, h: int) -> nn.Sequential:
    """Maps images (N, C, H, W) to codes (N, h): figure 1. Convolutions with stride 2 halve the size and add n channels."""
    layers: list[nn.Module] = convolutions(spec.shape[0], n)
    stages = doublings(spec)
    for i in range(1, stages + 1):
        layers += [*convolutions(i * n, i * n, i * n), nn.Conv2d(i * n, (i + 1) * n, 3, 2, 1), nn.ELU(inplace=True)]
    c = (stages + 1) * n
    return nn.Sequential(*layers, *convolutions(c, c, c), nn.Flatten(), nn.Linear(8 * 8 * c, h))


@torch.no_grad()
def scale_initial_weights(net: nn.Sequential, x: Tensor, final_std: float) -> Tensor:
    """Rescale the initial weights so that each layer's output for x has standard deviation 1, and the last layer's `final_std`.

    After Mishkin and Matas 2015 (arXiv:1511.06422). Biases remove the mean of each channel. The paper does not give its initial weights.
    With torch's defaults, each layer halves its input and all z give the same image; with He's, images start beyond [-2, 2].
    Returns the output of `net` for x.
    """
    layers = [layer for layer in net if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    for layer in net:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            assert layer.bias is not None
            layer.bias.zero_()
            y = layer(x)
            mean = y.mean((0, *range(2, y.dim())), keepdim=True)
            scale = (final_std if layer is layers[-1] else 1.0) / (y - mean).std()
            layer.weight.mul_(scale)
            layer.bias.copy_(-mean.flatten() * scale)
        x = layer(x)
    return x


def fixed_codes(h: int) -> Tensor:
    """The same 16 codes (16, h) on every call, uniform in [-1, 1]; torch's global random state does not change."""
    return torch.rand(16, h, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Decoder(ganzoo.Generator):
    """The discriminator's decoder with its own weights. Maps z (N, z_dim), uniform in [-1, 1], to images, which may exceed [-1, 1]."""

    options: DecoderOptions

    def __init__(self, spec: DataSpec, options: DecoderOptions) -> None:
        super().__init__(spec, options)
        self.net = self.layers()
        if not next(self.parameters()).is_meta:
            scale_initial_weights(self.net, fixed_codes(options.z_dim), 0.5)

    def layers(self) -> nn.Sequential:
        """From codes (N, z_dim) to images."""
        return decoder(self.spec, self.options.width, self.options.z_dim)

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("uniform", (self.options.z_dim,))}

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.net(z)
        return x


class AutoEncoder(ganzoo.Discriminator):
    """Maps images (N, C, H, W) to reconstructions of the same shape."""

    options: AutoEncoderOptions

    def __init__(self, spec: DataSpec, options: AutoEncoderOptions) -> None:
        super().__init__(spec, options)
        self.encoder, self.decoder = self.halves()
        if not next(self.parameters()).is_meta:
            images = scale_initial_weights(self.decoder, fixed_codes(options.h_dim), 0.5)
            codes = scale_initial_weights(self.encoder, images, 1.0)
            scale_initial_weights(self.decoder, codes, 0.5)

    def halves(self) -> tuple[nn.Sequential, nn.Sequential]:
        """From images to codes (N, h_dim), and back."""
        o = self.options
        return encoder(self.spec, o.width, o.h_dim), decoder(self.spec, o.width, o.h_dim)

    def forward(self, x: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(x))
        return reconstruction


class CompactDecoder(Decoder):
    """Not the paper's: a dense layer to 4 x 4 pixels, transposed convolutions that double the size. Called as `Decoder` is."""

    options: CompactDecoderOptions  # type: ignore[assignment]

    def layers(self) -> nn.Sequential:
        o, n_layers = self.options, int(log2(self.spec.shape[-1] // 4))
        widths = [o.width * 2**i for i in reversed(range(n_layers))]
        layers: list[nn.Module] = [nn.Linear(o.z_dim, widths[0] * 16), nn.Unflatten(1, (widths[0], 4, 4))]
        for c_in, c_out in pairwise([*widths, self.spec.shape[0]]):
            layers += [nn.ELU(inplace=True), nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)]
        return nn.Sequential(*layers)


class CompactAutoEncoder(AutoEncoder):
    """Not the paper's: one convolution to half the size, a dense layer to the code, and the same back; cheaper than the paper's at its
    narrowest. With BatchNorm, without which it stays grey as long; so outputs depend on the batch."""

    options: CompactAutoEncoderOptions  # type: ignore[assignment]

    def halves(self) -> tuple[nn.Sequential, nn.Sequential]:
        (c, height, width), n, h = self.spec.shape, self.options.width, self.options.h_dim
        half = (n, height // 2, width // 2)
        area = n * half[1] * half[2]
        down = [nn.Conv2d(c, n, 4, 2, 1), nn.ELU(inplace=True), nn.Flatten(), nn.Linear(area, h), nn.BatchNorm1d(h), nn.ELU(inplace=True)]
        up = [nn.Linear(h, area), nn.Unflatten(1, half), nn.BatchNorm2d(n), nn.ELU(inplace=True), nn.ConvTranspose2d(n, c, 4, 2, 1)]
        return nn.Sequential(*down), nn.Sequential(*up)


class Reconstruction(ganzoo.Loss):
    """Section 3.4:  L_D = L(x) - k_t L(G(z_D)),  L_G = L(G(z_G)),  with L(v) = mean |v - D(v)|, the paper's eta = 1.

    D's two terms are returned separately and without k, which the strategy applies.
    """

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        return {"real": (x_real - D(x_real)).abs().mean(), "fake": (x_fake - D(x_fake)).abs().mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        return {"fake": (x_fake - D(x_fake)).abs().mean()}


class Equilibrium(ganzoo.Strategy):
    """Section 3.4: both networks are updated together, then k_t is moved so that L(G(z)) stays at gamma L(x).

    k, the running mean of M, the learning rate and its schedule's state are buffers, so a resumed run continues from them.
    """

    options: EquilibriumOptions
    k: Tensor
    M_mean: Tensor
    M_best: Tensor
    stalled: Tensor
    lr: Tensor
    share: Tensor

    def __init__(self, build: Builders, options: EquilibriumOptions) -> None:
        super().__init__(build, options)
        self.G, self.D = build.network("generator"), build.network("discriminator")
        betas = (options.beta1, 0.999)
        self.opt_G = torch.optim.Adam(self.G.parameters(), torch.tensor(options.lr), betas, fused=True)
        self.opt_D = torch.optim.Adam(self.D.parameters(), torch.tensor(options.lr), betas, fused=True)
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("M_mean", torch.zeros(()))
        self.register_buffer("M_best", torch.tensor(float("inf")))
        self.register_buffer("stalled", torch.zeros(()))
        self.register_buffer("lr", torch.tensor(options.lr))
        self.register_buffer("share", torch.ones(()), persistent=False)  # of the newest M in the mean, a function of t

    def schedule(self, t: int) -> None:
        self.share.fill_(max(1 / (t + 1), 1 / 500))
        ganzoo.set_lr(self.opt_G, self.lr * self.options.g_rate)
        ganzoo.set_lr(self.opt_D, self.lr)

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        batch = next(batches)
        x_real = batch["x"]
        given = {**batch, **self.latents(len(x_real))}  # z_D
        D = self.view(self.D, given)
        with torch.no_grad():
            x_fake = self.fake(given)
        terms_d = self.loss.discriminator(D, x_real, x_fake, t=t, **given)
        terms_d["fake"] = -self.k * terms_d["fake"]  # in place: terms of wrappers stay
        given |= self.latents(len(x_real))  # z_G
        terms_g = self.loss.generator(D, self.fake(given), x_real, t=t, **given)
        self.update((self.opt_D, terms_d), (self.opt_G, terms_g))
        M = self.control(ganzoo.over_ranks(terms_d["real"]), ganzoo.over_ranks(terms_g["fake"]))
        return self.metrics(d=terms_d, g=terms_g, began={"k": self.k.clone(), "M": M, "lr": self.lr.clone()})

    @torch.no_grad()
    def control(self, L_real: Tensor, L_fake: Tensor) -> Tensor:
        """k_{t+1} = k_t + lambda_k (gamma L(x) - L(G(z_G))), in [0, 1];  M = L(x) + |gamma L(x) - L(G(z_G))|, returned."""
        o = self.options
        balance = o.gamma * L_real - L_fake
        self.k.add_(o.lambda_k * balance).clamp_(0, 1)
        M = L_real + balance.abs()
        # The paper halves the learning rate "when the measure of convergence stalls": here, when the mean of M over about 500 steps
        # has not fallen by 1 % for `patience` steps.
        self.M_mean.lerp_(M, self.share)
        improved = self.M_mean < 0.99 * self.M_best
        self.M_best.copy_(torch.where(improved, self.M_mean, self.M_best))
        self.stalled.copy_(torch.where(improved, 0.0, self.stalled + 1))
        halve = self.stalled >= o.patience
        self.lr.copy_(torch.where(halve, (self.lr / 2).clamp_min(min(o.lr_min, o.lr)), self.lr))
        self.stalled.mul_(~halve)
        return M
