"""The four interfaces that a GAN is made of, and `update`, the only backward pass in the project."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, overload

import torch
from torch import Tensor, nn

from ganzoo.types import Batch, DataSpec, Part, Terms


class Generator(nn.Module, ABC):
    """Maps latents to samples. Built from the description of the data and its own options."""

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__()
        self.spec, self.options = spec, options

    @abstractmethod
    def latent(self, n: int) -> Tensor:
        """n latents from the generator's prior, drawn on the CPU from torch's global generator, so that z is the same on every device."""

    @abstractmethod
    def forward(self, z: Tensor, **given: Tensor) -> Tensor:
        """Samples (N, *spec.shape) for latents (N, ...); images in [-1, 1]. `given`: the conditions that its record declares."""


class Discriminator(nn.Module, ABC):
    """Judges samples. Built from the description of the data and its own options."""

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__()
        self.spec, self.options = spec, options

    @abstractmethod
    def forward(self, x: Tensor, **given: Tensor) -> Any:
        """The outputs in the order of the record's `gives`: one tensor, or a tuple. Logits are raw, shape (N,)."""


View = Callable[[Tensor], Any]
"""A discriminator as a loss sees it: the conditions are bound, and it returns what the loss `needs`, in that order.

It holds the conditions of one batch, so it takes exactly as many samples: call it for the real and the fake ones separately."""


class Loss(ABC):
    """The objectives of G and D, as named 0-d terms: their sum is minimised, each is logged.

    D's terms of the two-player game itself are called "real" and "fake": the run watches their sum.
    """

    d_won: ClassVar[float | None] = None
    """D has won when the sum of its "real" and "fake" terms stays below this; None where the terms do not tell (Wasserstein, BEGAN)."""
    t: int = 0
    """The number of the current step, from 0. A weight that changes during the training is a function of it."""

    def __init__(self, spec: DataSpec, options: Any) -> None:
        self.spec, self.options = spec, options
        self.watched: Terms = {}

    def watch(self, **values: Tensor) -> None:
        """Log 0-d values that are not minimised, such as an estimate or an accuracy, under their own names beside the terms."""
        self.watched.update({name: value.detach() for name, value in values.items()})

    @abstractmethod
    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, **given: Tensor) -> Terms:
        """The terms that D minimises. x_real, x_fake: (N, *spec.shape), x_fake detached. given: the conditions of this batch."""

    @abstractmethod
    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, **given: Tensor) -> Terms:
        """The terms that G minimises. x_fake carries the gradient to G."""


@dataclass(frozen=True)
class Builders:
    """The material of a strategy: call `generator()` and `discriminator()` once for each network of the algorithm."""

    spec: DataSpec
    """The description of the data."""
    generator: Callable[[], Generator]
    """Makes a new generator, initialised from the seed."""
    discriminator: Callable[[], Discriminator]
    """Makes a new discriminator."""
    loss: Loss
    """The loss, already built."""
    parts: Mapping[str, Part]
    """The records of the four parts by kind."""


class Strategy(nn.Module, ABC):
    """The training algorithm: who is updated when, and on what. Owns the networks, their optimisers and, as buffers, its control state.

    A subclass's `__init__` calls `super().__init__(build, options)`, then makes `self.G`, the network that is sampled, and the rest.
    Every optimiser is an attribute; its parameters are parameters of the strategy.
    """

    G: Generator
    """The network that is sampled, and written to generator.safetensors."""

    def __init__(self, build: Builders, options: Any) -> None:
        super().__init__()
        self.build, self.options, self.spec, self.loss = build, options, build.spec, build.loss
        gives, needs = build.parts["discriminator"].gives, build.parts["loss"].needs
        self._needed = tuple(gives.index(name) for name in needs)  # places of the outputs that the loss wants
        self._needs_all = gives == needs
        self.ema: Generator | None = None

    @abstractmethod
    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        """One generator iteration, number t from 0; takes batches with next(batches). Returns the values to be logged, detached."""

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return next(self.parameters()).device

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by attribute name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.optim.Optimizer)}

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """The conditions of this batch that the generator, the discriminator or the loss declares."""
        keys = {key for part in self.build.parts.values() for key in part.given}
        return {key: batch[key] for key in sorted(keys)}

    def fake(self, n: int, given: Mapping[str, Tensor] | None = None, z: Tensor | None = None) -> Tensor:
        """n samples of G for the latents z, or for fresh ones: (n, *spec.shape), with G's graph."""
        z = self.G.latent(n) if z is None else z
        x: Tensor = self.G(z.to(self.device), **{key: (given or {})[key] for key in self.build.parts["generator"].given})
        return x

    def view(self, D: Discriminator, given: Mapping[str, Tensor] | None = None) -> View:
        """D with its conditions bound, returning what the loss needs of it."""
        bound = {key: (given or {})[key] for key in self.build.parts["discriminator"].given}
        if self._needs_all:
            return lambda x: D(x, **bound)

        def needed(x: Tensor) -> Any:
            outputs = D(x, **bound)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            chosen = tuple(outputs[i] for i in self._needed)
            return chosen[0] if len(chosen) == 1 else chosen

        return needed

    def metrics(self, **groups: Terms) -> Terms:
        """The return value of `step`: metrics(d=terms_d, g=terms_g) is {"d/real": ..., "g/fake": ...} and the watched values, detached."""
        values = {f"{group}/{name}": value.detach() for group, terms in groups.items() for name, value in terms.items()}
        values.update(self.loss.watched)
        self.loss.watched = {}
        return values

    def average(self, decay: float, t: int) -> None:
        """Move the running average of G's weights, `ema`, towards G: with weight 1 - min(decay, (1 + t) / (10 + t)); buffers are copied."""
        if self.ema is None:
            self.ema = deepcopy(self.G).requires_grad_(False)
        share = 1 - min(decay, (1 + t) / (10 + t))
        with torch.no_grad():
            for averaged, weights in zip(self.ema.parameters(), self.G.parameters(), strict=True):
                averaged.lerp_(weights, share)
            for copied, buffer in zip(self.ema.buffers(), self.G.buffers(), strict=True):
                copied.copy_(buffer)

    @property
    def sampled(self) -> Generator:
        """The generator that is sampled and exported: the average of G where there is one, else G."""
        return self.G if self.ema is None else self.ema


def update(*pairs: tuple[torch.optim.Optimizer, Terms]) -> None:
    """Minimise the sum of each optimiser's terms: first all gradients, then all steps.

    Only the parameters of the optimiser that the terms come with receive a gradient, so D collects nothing while G learns.
    """
    for i, (optimiser, terms) in enumerate(pairs):
        optimiser.zero_grad(set_to_none=True)
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        # Several terms may share a graph (one forward of D for both), so it is kept until the last of them.
        torch.stack(list(terms.values())).sum().backward(inputs=parameters, retain_graph=i + 1 < len(pairs))
    for optimiser, _ in pairs:
        optimiser.step()
    # Autocast keeps bf16 copies of the weights for as long as it is entered: they are stale now.
    torch.clear_autocast_cache()


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters. Call it in every step, with a function of t or of buffers: the rate itself is not saved."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def full_precision(x: Tensor) -> torch.autocast:
    """A context that computes in fp32 on x's device even in a bf16 run: in bf16 the gradient of a penalty is off by 3 %."""
    return torch.autocast(x.device.type, enabled=False)


@overload
def gradient_norms(f: View, x: Tensor) -> Tensor: ...
@overload
def gradient_norms(f: View, x: Tensor, *, logits: Literal[True]) -> tuple[Tensor, Tensor]: ...
def gradient_norms(f: View, x: Tensor, *, logits: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Euclidean norm of f's gradient at each sample, over all its axes; (N,), differentiable, in fp32.

    Args:
        f: maps (N, ...) to logits (N,) and treats every sample by itself.
        x: (N, ...).
        logits: return f(x) as well, before the norms; in fp32, too. A penalty at the very samples that D judges takes one pass so,
            not two.
    """
    x = x.detach().requires_grad_(True)
    with full_precision(x):
        values = f(x.float())
        (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    # The square root has no gradient at 0, so a little is added beneath it.
    norms = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()
    return (values, norms) if logits else norms
