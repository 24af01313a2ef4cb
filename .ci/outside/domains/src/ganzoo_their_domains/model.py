"""Zhu et al. 2017 (arXiv:1703.10593), made small: from public names only."""

from __future__ import annotations

from collections.abc import Iterator

import ganzoo
import torch
from ganzoo import Batch, Builders, DataSpec, Export, Field, Prior, Terms
from torch import Tensor, nn

from ganzoo_their_domains import CycleOptions, TranslatorOptions


class Translator(ganzoo.Generator):
    """Maps a source (N, C, H, W) to pictures of the other domain, of the same size, in [-1, 1]."""

    options: TranslatorOptions

    def __init__(self, spec: DataSpec, options: TranslatorOptions) -> None:
        super().__init__(spec, options)
        c, w = spec.shape[0], options.width
        self.net = nn.Sequential(nn.Conv2d(c, w, 3, padding=1), nn.ReLU(), nn.Conv2d(w, c, 3, padding=1))

    def forward(self, source: Tensor) -> Tensor:
        x: Tensor = (source + self.net(source)).clamp(-1, 1)
        return x


class Cycle(ganzoo.Strategy):
    """G_ab and G_ba; D_a and D_b judge fakes from a pool of those of earlier steps, a buffer."""

    options: CycleOptions
    pool_a: Tensor
    pool_b: Tensor

    def __init__(self, build: Builders, options: CycleOptions) -> None:
        super().__init__(build, options)
        self.G_ab, self.G_ba = (
            build.network("generator", source="x_a", x="x_b"),
            build.network("generator", source="x_b", x="x_a"),
        )
        self.D_a, self.D_b = build.network("discriminator", x="x_a"), build.network("discriminator", x="x_b")
        self.opt_G = torch.optim.Adam([*self.G_ab.parameters(), *self.G_ba.parameters()], options.lr, (0.5, 0.999))
        self.opt_D = torch.optim.Adam([*self.D_a.parameters(), *self.D_b.parameters()], options.lr, (0.5, 0.999))
        for key in ("a", "b"):
            self.register_buffer(f"pool_{key}", torch.zeros(options.pool, *build.spec.fields[f"x_{key}"].shape))

    def exports(self) -> dict[str, Export]:
        return {"a-to-b": Export("G_ab", {"source": "x_a"}, "x_b"), "b-to-a": Export("G_ba", {"source": "x_b"}, "x_a")}

    def pooled(self, pool: Tensor, fake: Tensor) -> Tensor:
        """Fakes of now and of earlier steps; the pool takes those of now in places that are drawn."""
        places = ganzoo.draw("pool", Prior("index", (), len(pool)), len(fake), pool.device)
        old = pool[places].clone()
        filled = (old != 0).flatten(1).any(1).view(-1, 1, 1, 1)
        pool[ganzoo.gather(places)] = ganzoo.gather(fake)
        half = (torch.arange(len(fake), device=fake.device) % 2 == 0).view(-1, 1, 1, 1)
        return torch.where(filled & half, old, fake)

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        batch = next(batches)
        a, b = batch["x_a"], batch["x_b"]
        D_a, D_b = self.view(self.D_a), self.view(self.D_b)
        fake_b, fake_a = self.G_ab(source=a), self.G_ba(source=b)
        terms_a = self.loss.discriminator(D_a, a, self.pooled(self.pool_a, fake_a.detach()), t=t)
        terms_b = self.loss.discriminator(D_b, b, self.pooled(self.pool_b, fake_b.detach()), t=t)
        self.update((self.opt_D, {f"{k}_a": v for k, v in terms_a.items()} | {f"{k}_b": v for k, v in terms_b.items()}))
        g_a, g_b = self.loss.generator(D_a, fake_a, a, t=t), self.loss.generator(D_b, fake_b, b, t=t)
        terms_g = {f"{k}_a": v for k, v in g_a.items()} | {f"{k}_b": v for k, v in g_b.items()}
        back = (self.G_ba(source=fake_b) - a).abs().mean() + (self.G_ab(source=fake_a) - b).abs().mean()
        terms_g["cycle"] = self.options.cycle * back
        self.update((self.opt_G, terms_g))
        return self.metrics(d_a=terms_a, d_b=terms_b, g=terms_g)


class Judged(ganzoo.Alternating):
    """D is kept too: it tells how real anybody's samples look."""

    def exports(self) -> dict[str, Export]:
        return {**super().exports(), "judge": Export("D", ("x",), Field("label", size=2, names=("made", "real")))}
