"""What a GAN is made of: networks, losses, and what stands around a discriminator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, overload

import torch
from torch import Tensor, nn

from ganzoo.errors import GanzooError
from ganzoo.types import DataSpec, Field, NetworkPart, Prior, Terms, WrapperPart


class Network(nn.Module, ABC):
    """A generator, a discriminator, an encoder. Built from the description of the data and its own options, called by keyword.

    spec: the data under the names that this network knows: "source" and "x", whatever the strategy calls it with.
    """

    record: NetworkPart
    """Its record. Set by ganzoo, which builds it."""
    names: Mapping[str, str] = {}
    """What its fields are called in the data, where that differs: {"source": "x_a", "x": "x_b"}. Set by ganzoo."""

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__()
        self.spec, self.options = spec, options

    def latents(self) -> dict[str, Prior]:
        """The priors of its latents, by the names in its record: {"z": Prior("normal", (64,))}. Those beside "z" are codes, which
        `ganzoo sample --code` can fix."""
        return {}

    @abstractmethod
    def forward(self, *args: Any, **inputs: Any) -> Any:
        """Called by keyword with the latents and the fields that its record names; returns a tensor, or a tuple in the order of `gives`.

        Each input has N rows: pictures (N, C, H, W) in [-1, 1], labels (N,) int64, texts (N, T) int64.
        """


class Generator(Network):
    """Makes the samples: pictures in [-1, 1], or whatever the medium's `output` gives."""


class Discriminator(Network):
    """Judges samples "x". Logits are raw, (N,), or (N, ...) where patches are judged one by one; class logits (N, K).

    Wrappers stand around it.
    """


class Loss(ABC):
    """The objectives of G and D, as named 0-d terms. A term that carries a gradient is minimised, a detached one is only logged.

    Keeps no state. D's terms of the two-player game itself are called "real" and "fake": the run watches their sum.
    """

    d_won: ClassVar[float | None] = None
    """D has won when the sum of its "real" and "fake" terms stays below this; None where the terms do not tell (Wasserstein, BEGAN)."""

    def __init__(self, spec: DataSpec, options: Any) -> None:
        self.spec, self.options = spec, options

    def schedule(self, t: int) -> dict[str, float]:
        """Weights that change with the step t: both turns get them by name, as 0-d tensors."""
        return {}

    @abstractmethod
    def discriminator(self, *args: Any, **given: Any) -> Terms:
        """The terms that D minimises; called as discriminator(D, x_real, x_fake, t=t, **given).

        D: a `View`. x_real, x_fake: (N, *shape), x_fake detached. t: the step. given: by keyword what the record's `given` names, and what
        is scheduled.
        """

    @abstractmethod
    def generator(self, *args: Any, **given: Any) -> Terms:
        """The terms that G minimises; called as generator(D, x_fake, x_real, t=t, **given). x_fake carries the gradient to G."""


class View:
    """A discriminator as a loss calls it: its conditions are bound, wrappers look first, and it returns what the loss needs, in that order.

    It holds the conditions of one batch, so it takes exactly as many samples: call it for the real and the fake ones separately; or with
    both, D(x_real, x_fake), which pass D in one batch and come out after each other: of a D without BatchNorm that is the same, sooner.

    D: the discriminator. wrappers: those around it. needs: the outputs that are returned. real, fake: its conditions, by parameter, for
    real and for fake samples.
    """

    def __init__(
        self, D: Network, wrappers: Sequence[Wrapper], needs: tuple[str, ...], real: Mapping[str, Tensor], fake: Mapping[str, Tensor]
    ) -> None:
        self.D, self.wrappers = D, tuple(wrappers)
        self.turn: Turn | None = None
        conditions = [key for key in D.record.parameters if key != "x"]
        self._bound = {"real": {key: real[key] for key in conditions}, "fake": {key: fake[key] for key in conditions}}
        self._places = [D.record.gives.index(name) for name in needs]
        self._marked: dict[int, str] = {}

    def only(self, output: str) -> View:
        """The same discriminator, giving one output."""
        other = copy(self)
        other.turn, other._places, other._marked = None, [self.D.record.gives.index(output)], {}
        return other

    def mark(self, x: Tensor) -> str:
        """Whether x is the turn's "real" or "fake" samples, or another view of their memory; "" for any other tensor."""
        if self.turn is None:
            return ""
        if id(x) in self._marked:
            return self._marked[id(x)]
        for name, y in (("real", self.turn.x_real), ("fake", self.turn.x_fake)):
            if x is y or (x.shape == y.shape and x.dtype == y.dtype and x.data_ptr() == y.data_ptr() and x.stride() == y.stride()):
                return name
        return ""

    def marked(self, copies: Mapping[Tensor, str]) -> None:
        """Know copies of samples, from now on, as "real" or "fake"."""
        self._marked = {id(x): mark for x, mark in copies.items() if mark}

    def _seen(self, x: Tensor, mark: str) -> dict[str, Tensor]:
        """All that D is to see, as the wrappers leave it."""
        real, fake = self._bound["real"], self._bound["fake"]
        if not mark and any(real[key] is not fake[key] for key in real):
            raise GanzooError("D's conditions differ between real and fake samples, and it is called with samples that are neither.")
        seen = {"x": x, **(fake if mark == "fake" else real)}
        for wrapper in self.wrappers:
            seen = wrapper.look(seen)
        return seen

    def __call__(self, *x: Tensor) -> Any:
        marks = [self.mark(one) for one in x]
        seen = [self._seen(one, mark) for one, mark in zip(x, marks, strict=True)]
        outputs = self.D(**(seen[0] if len(seen) == 1 else {key: torch.cat([each[key] for each in seen]) for key in seen[0]}))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if self.turn is not None and "logits" in self.D.record.gives:
            logits = outputs[self.D.record.gives.index("logits")]
            for mark, own in zip(marks, [logits] if len(x) == 1 else logits.split([len(one) for one in x]), strict=True):
                if mark:
                    self.turn.logits.setdefault(mark, own)
        chosen = tuple(outputs[i] for i in self._places)
        return chosen[0] if len(chosen) == 1 else chosen


@dataclass
class Turn:
    """One turn of a discriminator, as its wrappers are told of it.

    Attributes:
        side: "d" where D learns, "g" where G does.
        t: the step.
        D: gives logits alone, or what the loss needs where there are none; the wrappers look here too.
        x_real, x_fake: the samples, (N, *shape).
        given: the batch and the latents.
        anchored: whether real logits lie above 0 and fake ones below; False where the loss looks at differences alone.
        logits: those of the "real" and the "fake" samples that the loss has seen, (N,) or (N, ...); in `after_d` they are detached.
    """

    side: Literal["d", "g"]
    t: int
    D: View
    x_real: Tensor
    x_fake: Tensor
    given: Mapping[str, Tensor]
    anchored: bool = True
    logits: dict[str, Tensor] = field(default_factory=dict)


class Wrapper(nn.Module):
    """Stands around a discriminator, one instance each. Its buffers are saved with the strategy; it has no parameters.

    spec: the data as the discriminator knows it.
    """

    record: WrapperPart
    """Its record. Set by ganzoo, which builds it."""
    name: str = ""
    """What its terms and values are logged under: "ada", or "D_a/ada" where there are several discriminators. Set by ganzoo."""

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__()
        self.spec, self.options = spec, options

    def look(self, seen: dict[str, Tensor]) -> dict[str, Tensor]:
        """All that D is about to see: "x" and its conditions, of which pictures must move together. Differentiable."""
        return seen

    def d_terms(self, turn: Turn) -> Terms:
        """Terms added to those of D."""
        return {}

    def g_terms(self, turn: Turn) -> Terms:
        """Terms added to those of G."""
        return {}

    def after_d(self, turn: Turn) -> Terms:
        """After D has been updated: the place to move buffers. What is returned is logged."""
        return {}

    def variant(self, t: int) -> Hashable:
        """What the operations of step t depend on: t % every where a term comes at every so many steps."""
        return None


class Degradation(nn.Module, ABC):
    """Makes "source", and what belongs to it, from "x". Draws with `ganzoo.draw`: a picture is degraded alike whenever asked for."""

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__()
        self.spec, self.options = spec, options

    @abstractmethod
    def fields(self, x: Field) -> dict[str, Field]:
        """What is made of samples of this field: {"source": ..., "mask": ...}. Raises UsageError where it cannot be."""

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The same by key, of x as in a batch."""

    def applied(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a network is given for somebody's own pictures, by key as in a batch; `ganzoo apply` calls it.

        By default the pictures as they are, since they are what it has learnt to undo. What makes holes digs them here: `given` has a
        "mask" beside "source" then, 1 where the user wants something else than what is there.
        """
        return given


def full_precision(x: Tensor) -> torch.autocast:
    """A context that computes in fp32 on x's device even in a bf16 run: in bf16 the gradient of a penalty is off by 3 %."""
    return torch.autocast(x.device.type, enabled=False)


@overload
def gradient_norms(f: View, *x: Tensor) -> Tensor: ...
@overload
def gradient_norms(f: View, *x: Tensor, logits: Literal[True]) -> tuple[Tensor, Tensor]: ...
def gradient_norms(f: View, *x: Tensor, logits: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Euclidean norm of f's gradient at each sample, over all its axes; (N,), differentiable, in fp32.

    Args:
        f: maps (N, ...) to logits, N rows of them, and treats every sample by itself; wrappers look at x here as well.
        x: (N, ...); of several, as real and fake samples, the rows come after each other, and f is passed once.
        logits: return f(x) as well, before the norms; in fp32, too. A penalty at the very samples that D judges takes one pass so,
            not two.
    """
    at = [one.detach().requires_grad_(True) for one in x]
    with full_precision(x[0]):
        full = [one if one.dtype == torch.float64 else one.float() for one in at]
        if isinstance(f, View):
            f.marked(dict(zip(full, [f.mark(one) for one in x], strict=True)))
            values = f(*full)
        else:
            values = f(torch.cat(full) if len(full) > 1 else full[0])
        gradients = torch.autograd.grad(values.sum(), at, create_graph=True)
    # The square root has no gradient at 0, so a little is added beneath it.
    squares = torch.cat([gradient.flatten(1).square().sum(1) for gradient in gradients])
    norms = (squares + 1e-12).sqrt()
    return (values, norms) if logits else norms
