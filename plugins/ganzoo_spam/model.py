"""The two-player game over single words, where every expectation can be written down.

Goodfellow et al. 2014 (arXiv:1406.2661), proposition 1 and theorem 1: where G's words are as frequent as the data's, D can only answer 1/2,
and its loss is 2 log 2. Here both players are tables, so nothing but the game decides how they get there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import ganzoo
from ganzoo import Batch, Builders, DataSpec, Export, Field, Prior, Terms, View
from ganzoo_spam import GameOptions

VERDICT = Field("label", size=2, names=("spam", "ham"))


class Writer(ganzoo.Generator):
    """Gary: softmax of a table of logits (T, V), for T places and V words; 0 everywhere at first, so all words are equally frequent.

    Maps z (N, T), uniform in [0, 1), to words (N, T) int64, by the inverse of the distribution function, which has no gradient; and gives
    p (N, T, V), the probabilities, which carries one.
    """

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__(spec, options)
        self.table = nn.Parameter(torch.zeros(*spec.shape, spec.x.size))

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("unit", self.spec.shape)}

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        p = self.table.softmax(1)
        below = p.detach().cumsum(1)
        words = torch.searchsorted(below, z.T.contiguous(), right=True).clamp_max(self.spec.x.size - 1)
        return words.T, p.expand(len(z), *p.shape)


class Filter(ganzoo.Discriminator):
    """David: a table of logits (T, V). Maps words (N, T) to raw logits (N, T), each place by itself, and to the verdict (N,), their sum.

    A logit at its best is the log of how many times as frequent a word is in ham as in spam, so their sum is that of a text whose words
    are independent.
    """

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__(spec, options)
        self.table = nn.Parameter(torch.zeros(*spec.shape, spec.x.size))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.table.gather(1, x.T).T
        return logits, logits.sum(1)


class Expected(ganzoo.Loss):
    """L_D = E softplus(-D(x)) + sum_w p(w) softplus(D(w)),  L_G = sum_w p(w) softplus(-D(w)), means over the places of a text.

    x_fake: all words (V, T), word w in each place of row w. p (V, T): their probabilities under G; in G's turn it carries the gradient.
    """

    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, p: Tensor) -> Terms:
        real, fake = D(x_real), D(x_fake)
        seen = ((real > 0).to(p.dtype).mean(0) + (p * (fake <= 0)).sum(0)) / 2
        return {"real": softplus(-real).mean(), "fake": (p * softplus(fake)).sum(0).mean(), "accuracy": seen.mean().detach()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, p: Tensor) -> Terms:
        return {"fake": (p * softplus(-D(x_fake))).sum(0).mean()}


class WordGame(ganzoo.Strategy):
    """Algorithm 1 with exact expectations: `d_steps` updates of David by Adam, each on fresh mails, then one of Gary."""

    options: GameOptions

    def __init__(self, build: Builders, options: Any) -> None:
        super().__init__(build, options)
        self.G, self.D = build.network("generator"), build.network("discriminator")
        self.opt_G = torch.optim.Adam(self.G.parameters(), self.options.lr_g)
        self.opt_D = torch.optim.Adam(self.D.parameters(), self.options.lr_d)

    def exports(self) -> dict[str, Export]:
        return {"gary": Export("G", ("z",), "x"), "david": Export("D", {"x": "x"}, VERDICT, "verdict")}

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        D = self.view(self.D)
        for _ in range(self.options.d_steps):
            batch = next(batches)
            x_fake = torch.arange(self.spec.x.size, device=self.device)[:, None].expand(-1, *self.spec.shape)
            p = self.G(**self.latents(1))[1][0].T
            terms_d = self.loss.discriminator(D, batch["x"], x_fake, t=t, p=p.detach())
            self.update((self.opt_D, terms_d))
        terms_g = self.loss.generator(D, x_fake, batch["x"], t=t, p=p)
        self.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)
