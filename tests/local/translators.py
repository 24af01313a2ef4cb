"""A plugin for tests, named by its path: one GAN that mends pictures, and one that translates between two domains both ways."""

from __future__ import annotations

import torch
from torch import nn

import ganzoo
from ganzoo import AlternatingOptions, Export, NetworkPart, Recipe, StrategyPart, hookimpl

GANZOO_API = 1


class G(ganzoo.Generator):
    """The source, enlarged by pixels where it is smaller, and a convolution of it."""

    def __init__(self, spec, options):
        super().__init__(spec, options)
        source = spec.fields["source"].shape
        self.factor = spec.shape[1] // source[1]
        self.net = nn.Conv2d(source[0], spec.shape[0], 3, padding=1)

    def forward(self, source):
        large = source.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)
        return (large + 0.1 * self.net(large)).clamp(-1, 1)


class D(ganzoo.Discriminator):
    """A convolution, and its mean."""

    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.net = nn.Conv2d(spec.shape[0], 1, 4, 2)

    def forward(self, x):
        return self.net(x).mean((1, 2, 3))


class Ways(ganzoo.Alternating):
    """a to b by the game, b to a by what it makes of that."""

    def __init__(self, build, options):
        ganzoo.Strategy.__init__(self, build, options)
        self.G_ab, self.G_ba = build.network("generator", source="x_a", x="x_b"), build.network("generator", source="x_b", x="x_a")
        self.D_b = build.network("discriminator", x="x_b")
        self.opt_G = torch.optim.Adam([*self.G_ab.parameters(), *self.G_ba.parameters()], 1e-3)
        self.opt_D = torch.optim.Adam(self.D_b.parameters(), 1e-3)

    def exports(self):
        return {"a-to-b": Export("G_ab", {"source": "x_a"}, "x_b"), "b-to-a": Export("G_ba", {"source": "x_b"}, "x_a")}

    def schedule(self, t):
        pass

    def step(self, batches, t):
        batch = next(batches)
        a, b, D = batch["x_a"], batch["x_b"], self.view(self.D_b)
        terms_d = self.loss.discriminator(D, b, self.G_ab(source=a).detach(), t=t)
        self.update((self.opt_D, terms_d))
        x_fake = self.G_ab(source=a)
        terms_g = self.loss.generator(D, x_fake, b, t=t) | {"cycle": (self.G_ba(source=x_fake) - a).abs().mean()}
        self.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)


PARTS = {"generator": "zz-mend", "discriminator": "zz-judge", "loss": "hinge", "strategy": "alternating"}


@hookimpl
def ganzoo_register():
    return [
        NetworkPart("zz-mend", "translators:G", role="generator", takes=("source",), gives=("x",), multiple=1),
        NetworkPart("zz-judge", "translators:D", role="discriminator", takes=("x",), gives=("logits",), per_sample=True),
        StrategyPart("zz-ways", "translators:Ways", "", AlternatingOptions, reads=("x_a", "x_b"), roles=("generator", "discriminator")),
        Recipe("zz-mend", "Mends", PARTS, degradation="noise"),
        Recipe("zz-ways", "Both ways", {**PARTS, "strategy": "zz-ways"}),
    ]
