"""The training strategy: who is updated when, and on what. `update` is the only backward pass in the project."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ganzoo import ranks
from ganzoo.errors import GanzooError
from ganzoo.interfaces import Degradation, Loss, Network, Turn, View, Wrapper
from ganzoo.options import AlternatingOptions
from ganzoo.randomness import draw
from ganzoo.types import Batch, DataSpec, Export, LossPart, Terms

if TYPE_CHECKING:
    from ganzoo.metrics import FeatureExtractor


@dataclass(frozen=True)
class Builders:
    """The material of a strategy.

    Attributes:
        spec: the data.
        loss: the loss, already built, and
        loss_part: its record.
        steps: how many steps the run has.
        degradation: what makes "source" from "x"; None where there is nothing.
        make: builds the network of a role for data as it knows it.
        wrap: builds the wrappers of a discriminator, by name.
        extractor: builds an installed feature extractor by NAME or NAME@LAYER, frozen, on the run's device. Gradients go through it to
            pictures of 0 to 255 in float32. Keep it in a tuple, so that it is not saved with the run. Raises UsageError where it is not
            there, or its weights are not.
    """

    spec: DataSpec
    loss: Loss
    loss_part: LossPart
    steps: int
    degradation: Degradation | None
    make: Callable[[str, DataSpec], Network]
    wrap: Callable[[Network], dict[str, Wrapper]]
    extractor: Callable[[str], FeatureExtractor]

    def network(self, role: str, **names: str) -> Network:
        """A new network, initialised from the seed: network("generator", source="x_a", x="x_b") calls the data's x_a source, and x_b x."""
        network = self.make(role, self.spec.renamed(**names))
        network.names = names
        return network


class Game:
    """The loss with the wrappers around D: the same two calls, which may be passed the whole batch and all latents."""

    def __init__(self, loss: Loss, record: LossPart) -> None:
        self.loss, self.record = loss, record
        self.scheduled: dict[str, Tensor] = {}
        self.turns: list[Turn] = []

    @property
    def d_won(self) -> float | None:
        """As of the loss."""
        return self.loss.d_won

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, **given: Tensor) -> Terms:
        """The terms of the loss and of the wrappers that D minimises."""
        return self._play(Turn("d", t, _logits(D), x_real, x_fake, given, self.record.anchored), D)

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, **given: Tensor) -> Terms:
        """The terms that G minimises."""
        return self._play(Turn("g", t, _logits(D), x_real, x_fake, given, self.record.anchored), D)

    def _play(self, turn: Turn, D: View) -> Terms:
        # What a strategy brings for G alone, as rewards, is not there while D learns.
        given = [key for key in self.record.given if turn.side == "g" or key in turn.given]
        passed = {**{key: turn.given[key] for key in given}, **self.scheduled}
        D.turn = turn
        try:
            if turn.side == "d":
                terms = dict(self.loss.discriminator(D, turn.x_real, turn.x_fake, t=turn.t, **passed))
            else:
                terms = dict(self.loss.generator(D, turn.x_fake, turn.x_real, t=turn.t, **passed))
        finally:
            D.turn = None
        for wrapper in D.wrappers:
            if turn.side == "d" and (unseen := {"real", "fake"} & set(wrapper.record.needs) - turn.logits.keys()):
                raise GanzooError(
                    f"wrapper {wrapper.name!r} needs D's logits of {unseen.pop()} samples, and the loss {self.record.name!r} never judges "
                    "those by themselves."
                )
            more = wrapper.d_terms(turn) if turn.side == "d" else wrapper.g_terms(turn)
            terms |= {f"{wrapper.name}/{name}": value for name, value in more.items()}
        turn.logits = {name: value.detach() for name, value in turn.logits.items()}
        self.turns.append(turn)
        return terms


def _logits(D: View) -> View:
    """The discriminator, giving its logits alone where it has any."""
    return D.only("logits") if "logits" in D.D.record.gives else D


class Strategy(nn.Module, ABC):
    """The training algorithm. Owns the networks, their optimisers and, as buffers, its control state.

    A subclass's `__init__` calls `super().__init__(build, options)`, then makes the networks with `build.network`, and the optimisers.
    Every optimiser is an attribute; its parameters are parameters of the strategy.
    """

    G: Network
    """The network that is sampled, where `exports` says nothing else."""

    def __init__(self, build: Builders, options: Any) -> None:
        super().__init__()
        self.build, self.options, self.spec = build, options, build.spec
        self.loss = Game(build.loss, build.loss_part)
        self._logged: Terms = {}

    @abstractmethod
    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        """Step number t, from 0; takes batches with next(batches). Returns `self.metrics(...)`."""

    # --- What it makes, and how it goes ---

    def exports(self) -> dict[str, Export]:
        """The products by name, the main one first. By default G, called with what its record names. Checked before step 0."""
        return {"generator": Export("G", self.G.record.parameters, self.G.record.gives[0])}

    def phases(self) -> dict[str, int]:
        """The first step of each phase, by name, in order."""
        return {"play": 0}

    def phase(self, t: int) -> str:
        """The phase of step t."""
        return [name for name, first in self.phases().items() if first <= t][-1]

    def variant(self, t: int) -> tuple[Hashable, ...]:
        """Steps of one variant do the same operations and draws: `--capture` replays one for all, so t decides nothing else in it."""
        return (self.phase(t),)

    def schedule(self, t: int) -> None:
        """Called before step t: the place for `set_lr`, with a function of t or of buffers."""

    # --- Tools for `step` ---

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return next(self.parameters()).device

    def latents(self, n: int, G: Network | None = None) -> dict[str, Tensor]:
        """Fresh latents of G by name, n rows each, on the device."""
        return {name: draw(name, prior, n, self.device) for name, prior in (self.G if G is None else G).latents().items()}

    def fake(self, given: Mapping[str, Tensor], G: Network | None = None) -> Any:
        """G of what it takes of the batch and the latents in `given`, which may hold more; all of its outputs, if it has several."""
        G = self.G if G is None else G
        return G(**{name: given[name] for name in G.record.parameters})

    def view(self, D: Network, given: Mapping[str, Tensor] | None = None, fake: Mapping[str, Tensor] | None = None) -> View:
        """D as a loss calls it. given: its conditions, under its own names; fake: those of the fakes, where they differ."""
        given = {} if given is None else given
        return View(D, self._around.get(id(D), ()), self.build.loss_part.needs, given, given if fake is None else fake)

    def update(self, *pairs: tuple[torch.optim.Optimizer, Terms]) -> None:
        """Minimise the sum of each optimiser's terms: first all gradients, then all steps; then the wrappers of D move their state."""
        update(*pairs)
        for turn in self.loss.turns:
            for wrapper in turn.D.wrappers if turn.side == "d" else ():
                self._logged |= {f"{wrapper.name}/{name}": value for name, value in wrapper.after_d(turn).items()}
        self.loss.turns.clear()

    def metrics(self, **groups: Terms) -> Terms:
        """The return value of `step`: metrics(d=terms_d, g=terms_g) is {"d/real": ..., "g/fake": ...}, detached, and the wrappers' own."""
        values = {f"{group}/{name}": value.detach() for group, terms in groups.items() for name, value in terms.items()}
        values |= {name: value.detach() for name, value in self._logged.items()}
        self._logged = {}
        return values

    # --- What ganzoo does with it ---

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by attribute name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.optim.Optimizer)}

    def finish(self, averages: bool) -> None:
        """Called once after `__init__`: checks the exports, puts wrappers around the discriminators, and makes the averages if wanted.

        Raises GanzooError for an export that names no network, or calls it with what it does not take.
        """
        exports = self.exports()
        if not exports:
            raise GanzooError(f"strategy {type(self).__name__}: exports() names no network: nothing could be saved of a run.")
        for name, export in exports.items():
            self._check(name, export)
        networks = [(path, module) for path, module in self.named_modules() if isinstance(module, Network)]
        judges = {path.replace(".", "/"): network for path, network in networks if network.record.role == "discriminator"}
        self.wrappers = nn.ModuleDict()
        self._around: dict[int, tuple[Wrapper, ...]] = {}
        for path, D in judges.items():
            around = self.build.wrap(D)
            for name, wrapper in around.items():
                wrapper.name = name if len(judges) == 1 else f"{path}/{name}"
            if around:
                self.wrappers[path] = nn.ModuleDict(around)
            self._around[id(D)] = tuple(around.values())
        paths = dict.fromkeys(export.network for export in exports.values() if export.average) if averages else {}
        copies = {path.replace(".", "/"): deepcopy(self.get_submodule(path)).requires_grad_(False) for path in paths}
        self.averages = nn.ModuleDict(copies)

    def _check(self, name: str, export: Export) -> None:
        what = f"strategy {type(self).__name__}: export {name!r}"
        if not re.fullmatch(r"[A-Za-z0-9]+([-_][A-Za-z0-9]+)*", name):
            raise GanzooError(f"{what}: wanted a name of letters, digits, hyphens and underscores: it becomes that of a file.")
        network = dict(self.named_modules()).get(export.network)
        if not isinstance(network, Network) or not any(True for _ in network.parameters()):
            raise GanzooError(f"{what}: wanted a network with parameters that is an attribute of the strategy; {export.network!r} is none.")
        record, known = network.record, {*self.spec.fields, *network.latents()}
        called = set(export.names)
        if called - {*record.may_take} != set(record.parameters) and not (called and called <= {*record.may_take}):
            takes = ", ".join((*record.parameters, *(f"perhaps {name}" for name in record.may_take)))
            raise GanzooError(f"{what}: {export.network} is called with {takes}; the export names {', '.join(export.names)}.")
        if unknown := [value for value in export.names.values() if value not in known]:
            raise GanzooError(f"{what}: there is no field and no latent {unknown[0]!r}; there is {', '.join(sorted(known))}.")
        if isinstance(export.gives, str) and export.gives not in self.spec.fields:
            raise GanzooError(f"{what}: gives {export.gives!r}, which is no field of the data: it has {', '.join(self.spec.fields)}.")
        if export.output and export.output not in record.gives:
            raise GanzooError(f"{what}: {export.network} gives {', '.join(record.gives)}, no {export.output!r}.")

    @torch.no_grad()
    def average(self, decay: float, t: int) -> None:
        """Move the average of each exported network towards it: with weight 1 - min(decay, (1 + t) / (10 + t)); buffers are copied."""
        share = 1 - min(decay, (1 + t) / (10 + t))
        for path, averaged in self.averages.items():
            live = self.get_submodule(path.replace("/", "."))
            torch._foreach_lerp_(list(averaged.parameters()), list(live.parameters()), share)
            if buffers := list(averaged.buffers()):
                torch._foreach_copy_(buffers, list(live.buffers()))

    def product(self, name: str) -> Network:
        """The network of an export as it would be saved: its average where there is one."""
        path = self.exports()[name].network
        slot = path.replace(".", "/")
        network = self.averages[slot] if slot in self.averages else self.get_submodule(path)
        assert isinstance(network, Network)
        return network


class Alternating(Strategy):
    """Algorithm 1 of Goodfellow et al. 2014: some steps of D, each on fresh real samples and latents, then one of G.

    Places to override: `d_steps`, `optimiser`, `after_d`, `schedule`, `exports`.
    """

    options: AlternatingOptions

    def __init__(self, build: Builders, options: Any) -> None:
        super().__init__(build, options)
        self.G, self.D = build.network("generator"), build.network("discriminator")
        self.opt_G, self.opt_D = self.optimiser(self.G, "g"), self.optimiser(self.D, "d")

    def exports(self) -> dict[str, Export]:
        """G; and "classifier", D's class_logits as they are, without an average, where D gives them of x alone and the data has labels."""
        exports, record = super().exports(), self.D.record
        if "class_logits" in record.gives and record.parameters == ("x",) and "y" in self.spec.fields:
            exports["classifier"] = Export("D", ("x",), "y", "class_logits", average=False)
        return exports

    @property
    def reuses(self) -> bool:
        """Whether G learns from the fakes of D's last step."""
        return getattr(self.options, "reuse_fakes", False)

    def d_steps(self, t: int) -> int:
        """D's updates in step t."""
        return self.options.d_steps

    def optimiser(self, network: nn.Module, side: Literal["g", "d"]) -> torch.optim.Optimizer:
        """Adam with lr_g or lr_d, beta1 and beta2."""
        o = self.options
        lr = torch.tensor(o.lr_g if side == "g" else o.lr_d)  # a tensor, which `set_lr` can change under a captured step
        return torch.optim.Adam(network.parameters(), lr, (o.beta1, o.beta2), fused=True)

    def made(self, given: Mapping[str, Tensor]) -> Tensor:
        """G's samples; of a G that gives more than these, the first output."""
        x = self.fake(given)
        made: Tensor = x[0] if isinstance(x, tuple) else x
        return made

    def after_d(self, t: int) -> None:
        """After each of D's updates."""

    def variant(self, t: int) -> tuple[Hashable, ...]:
        return (*super().variant(t), self.d_steps(t))

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        steps = self.d_steps(t)
        for i in range(steps):
            batch = next(batches)
            x_real = batch["x"]
            given = {**batch, **self.latents(len(x_real))}
            D = self.view(self.D, given)
            reused = self.reuses and i + 1 == steps
            with torch.set_grad_enabled(reused):
                x_fake = self.made(given)
            terms_d = self.loss.discriminator(D, x_real, x_fake.detach(), t=t, **given)
            self.update((self.opt_D, terms_d))
            self.after_d(t)
        if not reused:
            given |= self.latents(len(x_real))
            x_fake = self.made(given)
        terms_g = self.loss.generator(D, x_fake, x_real, t=t, **given)
        self.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)


def update(*pairs: tuple[torch.optim.Optimizer, Terms]) -> None:
    """Minimise the sum of each optimiser's terms: first all gradients, averaged over the ranks, then all steps. Terms without a gradient
    are passed over.

    Only the parameters of the optimiser that the terms come with receive a gradient, so D collects nothing while G learns.
    """
    for i, (optimiser, terms) in enumerate(pairs):
        optimiser.zero_grad(set_to_none=True)
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        # Several terms may share a graph (one forward of D for both), so it is kept until the last of them.
        total = torch.stack([value for value in terms.values() if value.requires_grad]).sum()
        # Without autocast, which would compute the gradient of a penalty's gradient, taken in fp32, in bf16.
        with torch.autocast(total.device.type, enabled=False):
            total.backward(inputs=parameters, retain_graph=i + 1 < len(pairs))
        if all(p.grad is None for p in parameters):
            raise GanzooError(
                f"the terms {', '.join(terms)} have no gradient for the network that is to learn from them. Words that are drawn, whole "
                "numbers, pass none: take a generator that gives them one-hot, or a strategy that learns by reward."
            )
    ranks.average([p.grad for optimiser, _ in pairs for g in optimiser.param_groups for p in g["params"] if p.grad is not None])
    for optimiser, _ in pairs:
        optimiser.step()
    # Autocast keeps bf16 copies of the weights for as long as it is entered: they are stale now.
    torch.clear_autocast_cache()


def set_lr(optimiser: torch.optim.Optimizer, lr: float | Tensor) -> None:
    """Set the learning rate of all parameters. Call it in `schedule`, with a function of t or of buffers: the rate itself is not saved.

    lr: a number, or a 0-d tensor, which is not read. The optimiser is made with a tensor, lr=torch.tensor(0.001): a number that changes
    cannot be followed by a captured step. Raises GanzooError for a tensor where the optimiser was made with a number.
    """
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        elif isinstance(lr, Tensor):
            raise GanzooError("set_lr: got a tensor for an optimiser that was made with a number: make it with lr=torch.tensor(...).")
        else:
            group["lr"] = lr
