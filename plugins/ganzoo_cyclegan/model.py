"""Zhu, Park, Isola and Efros 2017, "Unpaired image-to-image translation using cycle-consistent adversarial networks" (arXiv:1703.10593)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

import ganzoo
from ganzoo import Batch, Builders, DataSpec, Export, Prior, Terms
from ganzoo_cyclegan import CycleOptions, ResNetOptions


def initialise(module: nn.Module) -> None:
    """Appendix 7.2: N(0, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Appendix 7.2: reflection padding, against artefacts at the edges."""
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, padding_mode="reflect")


class Block(nn.Module):
    """R of appendix 7.2: two 3 x 3 convolutions, added to what they are given."""

    def __init__(self, c: int) -> None:
        super().__init__()
        layers = [conv(c, c, 3), nn.InstanceNorm2d(c), nn.ReLU(inplace=True), conv(c, c, 3), nn.InstanceNorm2d(c)]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.net(x)
        return y


class ResNet(ganzoo.Generator):
    """Appendix 7.2: c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3, after Johnson et al. 2016.

    Maps source (N, C, H, W), sides multiples of 4, to x (N, C', H, W) in [-1, 1]. `residual`: to tanh(f + artanh 0.98 source), so that it
    begins with nearly what it is given.
    """

    options: ResNetOptions

    def __init__(self, spec: DataSpec, options: ResNetOptions) -> None:
        super().__init__(spec, options)
        w, shapes = options.width, [spec.fields[key].shape for key in ("source", "x")]
        if options.residual and shapes[0] != shapes[1]:
            both = f"{shapes[0]} and {shapes[1]}"
            raise ganzoo.UsageError(f"the source is added, so pictures of one shape are wanted: got {both}. Take --no-generator.residual.")
        layers: list[nn.Module] = [conv(spec.fields["source"].shape[0], w, 7), nn.InstanceNorm2d(w), nn.ReLU(inplace=True)]
        for c in (w, 2 * w):
            layers += [nn.Conv2d(c, 2 * c, 3, 2, 1), nn.InstanceNorm2d(2 * c), nn.ReLU(inplace=True)]
        layers += [Block(4 * w) for _ in range(options.blocks)]
        for c in (4 * w, 2 * w):
            layers += [nn.ConvTranspose2d(c, c // 2, 3, 2, 1, 1), nn.InstanceNorm2d(c // 2), nn.ReLU(inplace=True)]
        self.net = nn.Sequential(*layers, conv(w, spec.shape[0], 7)).apply(initialise)

    def forward(self, source: Tensor) -> Tensor:
        f: Tensor = self.net(source)
        return (f + (0.98 * source).atanh() if self.options.residual else f).tanh()


class CycleGAN(ganzoo.Strategy):
    """Section 4: both translators learn together, then both discriminators, on pictures out of a pool.

    The pools of section 4 are buffers, so a resumed run shows D the same old pictures. `cycle` 0 leaves a GAN for each direction.
    """

    options: CycleOptions

    def __init__(self, build: Builders, options: CycleOptions) -> None:
        super().__init__(build, options)
        shapes = [build.spec.fields[key].shape for key in ("x_a", "x_b")]
        if options.identity and shapes[0] != shapes[1]:
            raise ganzoo.UsageError(f"--strategy.identity: wanted two kinds of picture of one shape, got {shapes[0]} and {shapes[1]}.")
        self.G_ab = build.network("generator", source="x_a", x="x_b")
        self.G_ba = build.network("generator", source="x_b", x="x_a")
        self.D_a, self.D_b = build.network("discriminator", x="x_a"), build.network("discriminator", x="x_b")
        translators = [*self.G_ab.parameters(), *self.G_ba.parameters()]
        judges = [*self.D_a.parameters(), *self.D_b.parameters()]
        self.opt_G, self.opt_D = (
            torch.optim.Adam(own, torch.tensor(options.lr), (options.beta1, 0.999), fused=True) for own in (translators, judges)
        )
        for name, shape in zip("ab", shapes, strict=True):
            self.register_buffer(f"pool_{name}", torch.zeros(options.pool, *shape))
            self.register_buffer(f"held_{name}", torch.zeros((), dtype=torch.int64))

    def exports(self) -> dict[str, Export]:
        return {"a-to-b": Export("G_ab", {"source": "x_a"}, "x_b"), "b-to-a": Export("G_ba", {"source": "x_b"}, "x_a")}

    def schedule(self, t: int) -> None:
        for optimiser in (self.opt_G, self.opt_D):
            ganzoo.set_lr(optimiser, falling(self.options.lr, t, self.options.decay))

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        batch, weight = next(batches), self.options.cycle
        a, b = batch["x_a"], batch["x_b"]
        fake_a, fake_b = self.G_ba(source=b), self.G_ab(source=a)
        D_a, D_b = self.view(self.D_a), self.view(self.D_b)
        terms_a, terms_b = self.loss.generator(D_a, fake_a, a, t=t), self.loss.generator(D_b, fake_b, b, t=t)
        terms = {f"{name}_a": value for name, value in terms_a.items()} | {f"{name}_b": value for name, value in terms_b.items()}
        terms["cycle_a"] = weight * l1_loss(self.G_ba(source=fake_b), a)  # equation 2
        terms["cycle_b"] = weight * l1_loss(self.G_ab(source=fake_a), b)
        if identity := weight * self.options.identity:
            terms["identity_a"] = identity * l1_loss(self.G_ba(source=a), a)  # section 5.2
            terms["identity_b"] = identity * l1_loss(self.G_ab(source=b), b)
        self.update((self.opt_G, terms))
        shown_a, shown_b = self.pooled("a", fake_a.detach()), self.pooled("b", fake_b.detach())
        seen_a, seen_b = self.loss.discriminator(D_a, a, shown_a, t=t), self.loss.discriminator(D_b, b, shown_b, t=t)
        seen = {f"{name}_a": value for name, value in seen_a.items()} | {f"{name}_b": value for name, value in seen_b.items()}
        self.update((self.opt_D, seen))
        return self.metrics(d=seen, g=terms)

    @torch.no_grad()
    def pooled(self, name: str, fakes: Tensor) -> Tensor:
        """Section 4, after Shrivastava et al. 2017: once the pool is full, every second fake is exchanged for an old one of it."""
        pool, held = self.get_buffer(f"pool_{name}"), self.get_buffer(f"held_{name}")
        if not len(pool):
            return fakes
        drawn = ganzoo.gather(ganzoo.draw(f"pool-{name}", Prior("unit", (2,)), len(fakes), fakes.device))
        fakes, shown = ganzoo.gather(fakes), []
        exchanges, places = drawn[:, :1] < 0.5, (drawn[:, 1:] * len(pool)).long()
        for fake, exchange, place in zip(fakes.split(1), exchanges, places, strict=True):
            filling = held < len(pool)
            at = torch.where(filling, held, place)
            old = pool.index_select(0, at)
            shown.append(torch.where(exchange & ~filling, old, fake))
            pool.index_copy_(0, at, torch.where(exchange | filling, fake, old))
            held.add_(filling)
        return ganzoo.mine(torch.cat(shown))


def falling(lr: float, t: int, end: int) -> float:
    """The learning rate of step t: constant for half of the steps to `end`, then on a line to 0 there; 0: constant."""
    return lr * min(1.0, max(0.0, 2 * (1 - t / end))) if end else lr
