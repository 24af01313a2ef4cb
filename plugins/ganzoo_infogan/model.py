"""Chen, Duan, Houthooft, Schulman, Sutskever and Abbeel 2016, "InfoGAN" (arXiv:1606.03657)."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, log, log2

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, softplus

import ganzoo
from ganzoo import AlternatingOptions, Builders, DataSpec, Export, Field, Prior, Terms, UsageError, View
from ganzoo_infogan import DiscriminatorOptions, GeneratorOptions, LossOptions


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for all weights, 0 for all biases, as in the authors' code."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def halvings(spec: DataSpec) -> int:
    """Convolutions between the pictures and the dense layer: 2 for 16, 28 and 32 pixels, of which 4, 7 and 8 are left; 3 for 64."""
    return max(2, ceil(log2(spec.shape[-1] / 8)))


def dense(n_in: int, n_out: int, activation: nn.Module) -> list[nn.Module]:
    """A dense layer with BatchNorm."""
    return [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), activation]


class Generator(ganzoo.Generator):
    """Table 1: noise and codes side by side, two dense layers, then transposed convolutions of 4 x 4 double the size.

    Maps z (N, z_dim), the category c (N,) int64 and the continuous codes u (N, continuous), in [-1, 1] while it learns, to images
    (N, C, H, W) in [-1, 1].
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        o, n = options, halvings(spec)
        widths, side = [o.width * 2**i for i in reversed(range(n))], spec.shape[-1] // 2**n
        layers = dense(o.z_dim + o.categories + o.continuous, o.dense, nn.ReLU(inplace=True))
        layers += [*dense(o.dense, widths[0] * side**2, nn.ReLU(inplace=True)), nn.Unflatten(1, (widths[0], side, side))]
        for c_in, c_out in pairwise(widths):
            layers += [nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], spec.shape[0], 4, 2, 1), nn.Tanh()).apply(initialise)

    def latents(self) -> dict[str, Prior]:
        o = self.options
        return {"z": Prior("uniform", (o.z_dim,)), "c": Prior("index", (), o.categories), "u": Prior("uniform", (o.continuous,))}

    def forward(self, z: Tensor, c: Tensor, u: Tensor) -> Tensor:
        x: Tensor = self.net(torch.cat([z, one_hot(c, self.options.categories).to(z.dtype), u], 1))
        return x


class Discriminator(ganzoo.Discriminator):
    """Table 1: convolutions of 4 x 4 with stride 2 and a dense layer, shared by D and Q; Q has one more dense layer of its own.

    Maps images (N, C, H, W) to D's logits (N,), and to what Q says of the codes: code_logits (N, categories), raw, and code_means
    (N, continuous), the means of Gaussians whose standard deviation is 1, as in the authors' code.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        o, n = options, halvings(spec)
        layers: list[nn.Module] = []
        for i, (c_in, c_out) in enumerate(pairwise([spec.shape[0], *(o.width * 2**i for i in range(n))])):
            layers.append(nn.Conv2d(c_in, c_out, 4, 2, 1, bias=i == 0))
            layers += [*([nn.BatchNorm2d(c_out)] if i else []), nn.LeakyReLU(0.1, inplace=True)]
        area = o.width * 2 ** (n - 1) * (spec.shape[-1] // 2**n) ** 2
        self.trunk = nn.Sequential(*layers, nn.Flatten(), *dense(area, o.dense, nn.LeakyReLU(0.1, inplace=True)))
        self.source = nn.Linear(o.dense, 1)
        self.codes = nn.Sequential(*dense(o.dense, o.head, nn.LeakyReLU(0.1, inplace=True)), nn.Linear(o.head, o.categories + o.continuous))
        self.apply(initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.trunk(x)
        category, means = self.codes(h).split((self.options.categories, self.options.continuous), 1)
        return self.source(h).squeeze(1), category, means


class Information(ganzoo.Loss):
    """Equations 5 and 6:  min_{G, Q} max_D V(D, G) - lambda L_I(G, Q),  with  L_I = E log Q(c | G(z, c)) + H(c) <= I(c; G(z, c)).

    V in its non-saturating form. H is a constant, so both sides minimise -lambda E log Q: of the category a cross-entropy, of the
    continuous codes half the squared error. D's turn teaches Q, which has its weights in common with D, G's turn G.

    Logs, unweighted: information, L_I of the category in nats, at most log(categories), 0 for a Q that knows nothing; explained, the share
    of the continuous codes' variance that Q's means tell.
    """

    options: LossOptions
    d_won = 0.02

    def terms(self, code_logits: Tensor, code_means: Tensor, c: Tensor, u: Tensor) -> tuple[Terms, Terms]:
        """What is minimised, and what is only told."""
        o, unknown = self.options, cross_entropy(code_logits, c)
        error = (code_means - u).square().sum(1).mean()
        learnt = {"category": o.category_weight * unknown, "continuous": o.continuous_weight * error / 2}
        told = {"information": log(code_logits.shape[1]) - unknown}
        if u.shape[1]:
            told["explained"] = 1 - error / (u.shape[1] / 3)  # a third is the variance of U(-1, 1)
        return learnt, {name: value.detach() for name, value in told.items()}

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, c: Tensor, u: Tensor) -> Terms:
        real, _, _ = D(x_real)
        fake, category, means = D(x_fake)
        return {"real": softplus(-real).mean(), "fake": softplus(fake).mean(), **self.terms(category, means, c, u)[0]}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, c: Tensor, u: Tensor) -> Terms:
        fake, category, means = D(x_fake)
        learnt, told = self.terms(category, means, c, u)
        return {"fake": softplus(-fake).mean(), **learnt, **told}


class Coded(ganzoo.Alternating):
    """Algorithm 1 of Goodfellow et al. 2014. Two more products are applied to pictures: "codes", the category that Q sees in each, and
    "positions", the means of the continuous codes."""

    options: AlternatingOptions

    def __init__(self, build: Builders, options: AlternatingOptions) -> None:
        super().__init__(build, options)
        for name in ("categories", "continuous"):
            drawn, read = (getattr(network.options, name, None) for network in (self.G, self.D))
            if drawn != read and None not in (drawn, read):
                raise UsageError(f"--generator.{name} is {drawn}, and --discriminator.{name} is {read}: wanted the same number for both.")

    def exports(self) -> dict[str, Export]:
        c, u = self.G.latents()["c"], self.G.latents()["u"]
        category = Field("label", size=c.size, names=tuple(f"code {k}" for k in range(c.size)))
        exports = {**super().exports(), "codes": Export("D", ("x",), category, output="code_logits")}
        return exports | ({"positions": Export("D", ("x",), Field("points", u.shape), output="code_means")} if u.shape[0] else {})
