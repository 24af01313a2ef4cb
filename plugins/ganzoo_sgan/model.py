"""Salimans et al. 2016, "Improved techniques for training GANs" (arXiv:1606.03498), section 5, and Odena 2016 (arXiv:1606.01583)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, relu, softplus

import ganzoo
from ganzoo import Batch, Builders, DataSpec, Export, Prior, Terms, View
from ganzoo_sgan import DiscriminatorOptions, GeneratorOptions, LossOptions, StrategyOptions


class Dense(nn.Module):
    """A dense layer with weight normalisation (arXiv:1602.07868):  y = g v x / |v| + b, each unit's v scaled to the length g.

    g is learnt where the layer `scales`; elsewhere it stays sqrt(2), which keeps the variance behind a ReLU.
    """

    def __init__(self, n_in: int, n_out: int, scales: bool = False) -> None:
        super().__init__()
        self.v = nn.Parameter(0.1 * torch.randn(n_out, n_in))
        self.b = nn.Parameter(torch.zeros(n_out))
        self.g = nn.Parameter(torch.ones(n_out)) if scales else 2**0.5

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.v) * (self.g / self.v.norm(dim=1)) + self.b


class Generator(ganzoo.Generator):
    """The authors' MNIST network: two dense layers with BatchNorm and softplus, then one with weight norm and a sigmoid.

    Maps z (N, z_dim), uniform in [0, 1), to images (N, C, H, W) in [-1, 1].
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        layers: list[nn.Module] = []
        for n_in in (options.z_dim, options.width):
            layers += [nn.Linear(n_in, options.width, bias=False), nn.BatchNorm1d(options.width), nn.Softplus()]
        self.net = nn.Sequential(*layers, Dense(options.width, spec.numel, scales=True))

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("unit", (self.options.z_dim,))}

    def forward(self, z: Tensor) -> Tensor:
        pixels: Tensor = self.net(z).sigmoid()
        return (2 * pixels - 1).unflatten(1, self.spec.shape)


class Discriminator(ganzoo.Discriminator):
    """The authors' MNIST network: five dense layers with weight norm and ReLU, Gaussian noise before each and before the last one.

    Maps images (N, C, H, W) to logits (N,), class_logits (N, classes) and features (N, width / 4), of the last hidden layer before its
    noise. The class "fake" has no output: its logit is fixed at 0, as one of K + 1 logits may be, because a softmax does not change when
    all are moved. So real against fake is  D(x) = Z / (Z + 1),  Z = sum_k exp(class_logits_k),  and its logit is log Z: section 5.
    """

    options: DiscriminatorOptions

    def __init__(self, spec: DataSpec, options: DiscriminatorOptions) -> None:
        super().__init__(spec, options)
        w = options.width
        sizes = [spec.numel, w, w // 2, w // 4, w // 4, w // 4]
        self.hidden = nn.ModuleList(Dense(n_in, n_out) for n_in, n_out in pairwise(sizes))
        self.last = Dense(sizes[-1], self.outputs, scales=True)

    @property
    def outputs(self) -> int:
        """Units of the last layer."""
        return self.spec.classes

    def judged(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the last layer gives, (N, outputs), and the features."""
        h, sigma = (x.flatten(1) + 1) / 2, self.options.input_noise  # the noise is that of pixels in [0, 1]
        for layer in self.hidden:
            h, sigma = relu(layer(self.noisy(h, sigma))), self.options.noise
        return self.last(self.noisy(h, sigma)), h

    def noisy(self, h: Tensor, sigma: float) -> Tensor:
        """h and Gaussian noise; while it trains only."""
        return h + sigma * torch.randn_like(h) if self.training and sigma else h

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        class_logits, features = self.judged(x)
        return class_logits.logsumexp(1), class_logits, features


class KPlusOne(Discriminator):
    """Odena 2016: the same network with K + 1 outputs, the last one "fake", and no logit fixed.

    Gives beside the others verdicts (N, classes + 1), all of these raw logits. logits is then  log sum_k exp(verdicts_k) - verdicts_fake.
    """

    @property
    def outputs(self) -> int:
        return self.spec.classes + 1

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        verdicts, features = self.judged(x)
        return real_or_fake(verdicts), verdicts[:, :-1], features, verdicts


def real_or_fake(verdicts: Tensor) -> Tensor:
    """The logit of "one of the classes" against "fake", the last of the verdicts (N, K + 1): (N,)."""
    return verdicts[:, :-1].logsumexp(1) - verdicts[:, -1]


def few_terms(logits: Tensor, y_l: Tensor) -> Terms:
    """D's terms of the labelled few. logits: (N, K), or (N, K + 1) with "fake" the last. Logs accuracy, noise and all."""
    return {"class": cross_entropy(logits, y_l), "accuracy": (logits.argmax(1) == y_l).float().mean()}


def many_terms(D: Callable[[Tensor], Tensor], x_real: Tensor, x_fake: Tensor, weight: float) -> Terms:
    """D's terms without labels,  - 1/2 E log D(x) - 1/2 E log(1 - D(G(z))), with the halves of the authors' code. D gives logits (N,).

    None where they weigh nothing: then D need not look.
    """
    if not weight:
        return {}
    return {"real": 0.5 * weight * softplus(-D(x_real)).mean(), "fake": 0.5 * weight * softplus(D(x_fake)).mean()}


class FeatureMatching(ganzoo.Loss):
    """Section 5:  L = L_supervised + L_unsupervised.  L_supervised is the cross-entropy of K classes on the labelled few, and
    L_unsupervised = - E log D(x) - E log(1 - D(G(z))), weighed by `unlabelled`; without it D learns from the labelled few alone.

    G does not deceive D. It matches the means of D's features, section 3.1:  |E f(x) - E f(G(z))|^2, as a mean over the features.
    """

    options: LossOptions
    d_won = 0.01

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, x_l: Tensor, y_l: Tensor) -> Terms:
        return {**few_terms(D(x_l)[1], y_l), **many_terms(lambda x: D(x)[0], x_real, x_fake, self.options.unlabelled)}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, x_l: Tensor, y_l: Tensor) -> Terms:
        with torch.no_grad():
            wanted = ganzoo.overall(D(x_real)[2]).mean(0)
        return {"features": (ganzoo.overall(D(x_fake)[2]).mean(0) - wanted).square().mean()}


class KPlusOneLoss(ganzoo.Loss):
    """Odena 2016, section 2: D minimises the cross-entropy of K + 1 classes: the label's of the labelled few, "fake" of fakes, and any but
    "fake" of real samples without a label. G makes D say anything but "fake", in the non-saturating form.

    `unlabelled` is as in `FeatureMatching`. D's verdicts are (N, K + 1), "fake" the last.
    """

    options: LossOptions
    d_won = 0.01

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, x_l: Tensor, y_l: Tensor) -> Terms:
        return {**few_terms(D(x_l), y_l), **many_terms(lambda x: real_or_fake(D(x)), x_real, x_fake, self.options.unlabelled)}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, x_l: Tensor, y_l: Tensor) -> Terms:
        return {"fake": softplus(-real_or_fake(D(x_fake))).mean()}


class SemiSupervised(ganzoo.Strategy):
    """The authors' code: D learns from a batch of real samples, one of fakes and one of the labelled few; then G from other real samples
    and fresh fakes.

    Batches hold x, unlabelled, and x_l with y_l, the labelled few, in an order of their own. D knows y_l as its y. --ema averages G and D.
    """

    options: StrategyOptions

    def __init__(self, build: Builders, options: StrategyOptions) -> None:
        super().__init__(build, options)
        self.G, self.D = build.network("generator"), build.network("discriminator", y="y_l")
        self.opt_G, self.opt_D = (self.optimiser(n, lr) for n, lr in ((self.G, options.lr_g), (self.D, options.lr_d)))

    def optimiser(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """Adam, with beta1 and beta2."""
        return torch.optim.Adam(network.parameters(), torch.tensor(lr), (self.options.beta1, self.options.beta2), fused=True)

    def exports(self) -> dict[str, Export]:
        return {**super().exports(), "classifier": Export("D", {"x": "x_l"}, "y_l", "class_logits")}

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        batch = next(batches)
        given = {**batch, **self.latents(len(batch["x"]))}
        with torch.no_grad():
            x_fake = self.fake(given)
        terms_d = self.loss.discriminator(self.view(self.D, given), batch["x"], x_fake, t=t, **given)
        self.update((self.opt_D, terms_d))
        batch = next(batches)
        given = {**batch, **self.latents(len(batch["x"]))}
        terms_g = self.loss.generator(self.view(self.D, given), self.fake(given), batch["x"], t=t, **given)
        self.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)
