"""Xu, Skoularidou, Cuesta-Infante and Veeramachaneni 2019, "Modeling Tabular data using Conditional GAN" (arXiv:1907.00503)."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, one_hot

import ganzoo
from ganzoo import Batch, Builders, DataSpec, Field, Prior, Terms, View
from ganzoo_tables import ConditionedOptions, CriticOptions, GeneratorOptions, LossOptions
from ganzoo_tables.columns import columns_of, parts_of


class Conditions(nn.Module):
    """Section 4.3: which category a row is asked for, as a function of c (N, 1) in [0, 1).

    A discrete column is chosen, each with the same probability, then a category: while networks learn by the logarithm of how often it
    occurs, in use by how often it occurs. All categories of all discrete columns have a number, 0 to `size` - 1.
    """

    learning: Tensor
    using: Tensor
    places: Tensor

    def __init__(self, field: Field) -> None:
        super().__init__()
        ends: dict[str, list[Tensor]] = {"learning": [], "using": []}
        places, at, columns = list[int](), 0, columns_of(field)
        for column in columns:
            if column.discrete:
                counts = torch.tensor(column.counts, dtype=torch.float64)
                ends["learning"].append(counts.log1p() / counts.log1p().sum())
                ends["using"].append(counts / counts.sum())
                places += range(at, at + column.width)
            at += column.width
        self.size = len(places)
        for name, shares in ends.items():
            ends_of = torch.cat(shares).cumsum(0) / len(shares) if shares else torch.zeros(0)
            self.register_buffer(name, ends_of.float(), persistent=False)
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64), persistent=False)  # in a row, of each category

    def number(self, c: Tensor) -> Tensor:
        """The number of the category, (N,) int64."""
        ends = self.learning if self.training else self.using
        return torch.searchsorted(ends, c[:, 0].contiguous(), right=True).clamp_max(max(self.size - 1, 0))

    def forward(self, c: Tensor) -> Tensor:
        """The conditional vector (N, size), one-hot; (N, 0) where the table has no discrete column."""
        return one_hot(self.number(c), self.size).float() if self.size else c[:, :0]


class Generator(ganzoo.Generator):
    """Section 4.4: z and the conditional vector; two layers whose outputs lie beside their inputs; tanh, and Gumbel-softmax of 0.2.

    Maps z (N, z_dim + choices) and c (N, 1) in [0, 1) to rows x (N, D), and the log of the probability that it gave the category which c
    asks for, (N,). The last `choices` numbers of z, one for each entry that is chosen from, are the noise of the choices: normal, made
    uniform by their distribution function, and then Gumbel's. So no part of a row is drawn anywhere else.
    """

    options: GeneratorOptions

    def __init__(self, spec: DataSpec, options: GeneratorOptions) -> None:
        super().__init__(spec, options)
        self.conditions, self.columns = Conditions(spec.x), columns_of(spec.x)
        self.choices = sum(column.choices for column in self.columns)
        n = options.z_dim + self.conditions.size
        self.layers = nn.ModuleList()
        for _ in range(2):
            self.layers.append(nn.Sequential(nn.Linear(n, options.width), nn.BatchNorm1d(options.width), nn.ReLU()))
            n += options.width
        self.last = nn.Linear(n, spec.x.numel)

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("normal", (self.options.z_dim + self.choices,)), "c": Prior("unit", (1,))}

    def forward(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        z, noise = z.split((self.options.z_dim, self.choices), 1)
        asked = self.conditions(c)
        h = torch.cat([z, asked], 1)
        for layer in self.layers:
            h = torch.cat([h, layer(h)], 1)
        uniform = (0.5 + 0.5 * torch.erf(noise / sqrt(2))).clamp(1e-6, 1 - 1e-6)
        gumbel = (-(-uniform.log()).log()).split([column.choices for column in self.columns], 1)
        made, told = [], []
        for column, part, g in zip(self.columns, parts_of(self.last(h), self.columns), gumbel, strict=True):
            logits = part[:, -column.choices :]
            made += [] if column.discrete else [part[:, :1].tanh()]
            made.append(((logits + g) / self.options.temperature).softmax(1))
            told += [logits.log_softmax(1)] if column.discrete else []
        return torch.cat(made, 1), (torch.cat(told, 1) * asked).sum(1) if told else 0 * made[0].sum(1)


class Critic(ganzoo.Discriminator):
    """Section 4.4: rows and their conditional vectors, `pac` of them at once; two layers of LeakyReLU(0.2) and dropout.

    Maps x (N, D) and c (N, 1) to logits (N,): each row has that of its pack. Packs are rows that follow each other; an unfinished one is
    filled up with the first rows.
    """

    options: CriticOptions

    def __init__(self, spec: DataSpec, options: CriticOptions) -> None:
        super().__init__(spec, options)
        o, self.conditions = options, Conditions(spec.x)
        self.first = nn.Linear(o.pac * (spec.x.numel + self.conditions.size), o.width)
        self.second, self.last = nn.Linear(o.width, o.width), nn.Linear(o.width, 1, bias=False)  # the loss knows differences alone
        self.drop = nn.Dropout(o.dropout)

    def latents(self) -> dict[str, Prior]:
        return {"c": Prior("unit", (1,))}

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        n, pac = len(x), self.options.pac
        h = torch.cat([x, self.conditions(c)], 1)
        h = torch.cat([h, *[h] * pac], 0)[: -(-n // pac) * pac].reshape(-1, pac * h.shape[1])
        for layer in (self.first, self.second):
            h = self.drop(leaky_relu(layer(h), 0.2))
        logits: Tensor = self.last(h).repeat_interleave(pac, 0)[:n, 0]
        return logits


class PackedPenalty(ganzoo.Loss):
    """WGAN-GP (Gulrajani et al. 2017, equation 3), where the critic's sample is a pack of rows: one place between real and fake, and one
    norm, for each pack. A critic without packs is taken as one whose packs are of one row."""

    options: LossOptions

    def penalty(self, D: View, x_real: Tensor, x_fake: Tensor) -> Tensor:
        """E[(|grad f| - 1)^2] over packs (0-d). Rows of an unfinished pack are left out where there are whole ones."""
        pac = min(int(getattr(D.D.options, "pac", 1)), len(x_real))
        packs = len(x_real) // pac
        e = ganzoo.draw("between", Prior("unit", (1,)), -(-len(x_real) // pac), x_real.device).repeat_interleave(pac, 0)[: len(x_real)]
        norms = ganzoo.gradient_norms(D, e * x_real + (1 - e) * x_fake)  # of each row; each of a pack's rows has the pack's logit
        whole = norms[: packs * pac].view(packs, pac).square().sum(1).sqrt() / pac
        return (whole - 1).square().mean()

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int) -> Terms:
        terms = {"real": -D(x_real).mean(), "fake": D(x_fake).mean()}
        distance = -(terms["real"] + terms["fake"]).detach()
        return {**terms, "wasserstein": distance, "penalty": self.options.weight * self.penalty(D, x_real, x_fake)}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int) -> Terms:
        return {"fake": -D(x_fake).mean()}


class Conditioned(ganzoo.Alternating):
    """Algorithm 1: training by sampling. Categories are asked for, real rows are drawn that have them, and G pays the cross-entropy of a
    category that it was asked for.

    The real rows come from a pool of the last ones, a buffer. A category that none of them has gives way to that of another row.
    """

    options: ConditionedOptions
    G: Generator
    pool: Tensor

    def __init__(self, build: Builders, options: ConditionedOptions) -> None:
        super().__init__(build, options)
        self.register_buffer("pool", torch.zeros(options.pool, *self.spec.x.shape))

    def optimiser(self, network: nn.Module, side: Literal["g", "d"]) -> torch.optim.Optimizer:
        """Adam; of G with an L2 penalty."""
        optimiser = super().optimiser(network, side)
        for group in optimiser.param_groups:
            group["weight_decay"] = self.options.weight_decay if side == "g" else 0.0
        return optimiser

    @torch.no_grad()
    def matching(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Real rows (N, D), each drawn among those of the pool that have the category which c (N, 1) asks for; and c, where none has it
        that of another row. x: new rows, which come into the pool."""
        drawn = ganzoo.gather(ganzoo.draw("row", Prior("unit"), len(c), c.device))
        x, c = ganzoo.gather(x), ganzoo.gather(c)  # all of it is of the whole batch
        self.pool.copy_(torch.cat([x, self.pool])[: len(self.pool)])
        conditions: Conditions = self.G.conditions
        if not conditions.size:
            return ganzoo.mine(x), ganzoo.mine(c)
        having = (self.pool[:, conditions.places].T > 0.5).flatten().long().cumsum(0)  # categories after each other, rows within
        ends = having.view(conditions.size, -1)[:, -1]
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        number = conditions.number(c)
        there = (ends > starts)[number]
        able = there.long().argsort(descending=True, stable=True)  # rows whose category is there come first
        rows = torch.arange(len(c), device=c.device)
        taken = torch.where(there, rows, able[rows % there.sum().clamp_min(1)])
        c, number = c[taken], number[taken]
        rank = starts[number] + (drawn * (ends - starts)[number]).long() + 1
        return ganzoo.mine(self.pool[torch.searchsorted(having, rank) % len(self.pool)]), ganzoo.mine(c)

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        steps = self.d_steps(t)
        for i in range(steps):
            x = next(batches)["x"]
            given = self.latents(len(x))
            x_real, given["c"] = self.matching(x, given["c"])
            D = self.view(self.D, given)
            reused = self.reuses and i + 1 == steps
            with torch.set_grad_enabled(reused):
                x_fake, told = self.fake(given)
            terms_d = self.loss.discriminator(D, x_real, x_fake.detach(), t=t, **given)
            self.update((self.opt_D, terms_d))
        if not reused:
            given = self.latents(len(x))
            D = self.view(self.D, given)
            x_fake, told = self.fake(given)
        terms_g = self.loss.generator(D, x_fake, x_real, t=t, **given)
        terms_g["condition"] = -told.mean()
        self.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)
