"""Cases, which the rules are run on, and the rules' own class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import compose
from ganzoo.compose import Resolved
from ganzoo.registry.catalogue import Catalogue, Entry
from ganzoo.registry.discovery import Plugin
from ganzoo.testing import toys
from ganzoo.types import KINDS, DataSpec, Field, Part

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.training.session import Session

BATCH = 8
COMBINATIONS = ("recipe", *KINDS)  # the kinds of records that are tried by training


class Skip(Exception):
    """A rule does not apply, and why."""


@dataclass
class Case:
    """A plugin, or one of its records, that the rules are run on; `folder` is a rule's own.

    recipe, exchanged: the combination that a recipe or a part is tried in.
    """

    zoo: Catalogue
    plugin: Plugin
    kind: str
    name: str
    entry: Entry | None
    recipe: str
    exchanged: dict[str, str]
    known_failures: dict[str, str]
    rules: list[Rule]
    folder: Path = field(default_factory=Path)

    @property
    def with_(self) -> str:
        """The combination that a part is tried in, in words."""
        if not self.recipe or self.recipe == self.name:
            return ""
        return " ".join([self.recipe, *(f"--{kind} {name}" for kind, name in self.exchanged.items())])

    @property
    def known_entry(self) -> Entry:
        """The entry; not for a plugin as a whole."""
        assert self.entry is not None
        return self.entry

    @property
    def record(self) -> Any:
        """The record; not for a plugin as a whole."""
        return self.known_entry.record

    def entries(self) -> dict[str, Entry]:
        """The parts of the combination, by kind."""
        return self.zoo.parts_of(self.zoo.recipe(self.recipe), self.exchanged)

    def parts(self) -> dict[str, Part]:
        """Their records, by kind."""
        return {kind: entry.part for kind, entry in self.entries().items()}

    def fields(self) -> list[Field]:
        """The toy data that all parts take, the usual one first: pictures of two sizes, the smallest from 16 pixels on if there are any."""
        parts = self.parts()
        common = compose.common_sizes(parts) or (16, 32)
        sizes = sorted(common, key=lambda size: (size < 16, size))[:2]
        fields: list[Field] = []
        for kind in toys.media():
            if all(kind.name in part.data for part in parts.values()):
                toy = [replace(f, shape=(f.shape[0], s, s)) for s in sizes for f in kind.toys] if kind.pictures else kind.toys
                fields += dict.fromkeys(toy)
        return fields

    def small(self) -> dict[str, dict[str, Any]]:
        """The options of the small version: of the run under "", of parts by kind; of exchanged parts their own."""
        recipe = self.zoo.recipe(self.recipe)
        chosen: dict[str, dict[str, Any]] = {"": {}}
        chosen |= {kind: dict(self.zoo.part(kind, name).small) for kind, name in self.exchanged.items()}
        for key, value in recipe.small.items():
            kind, dot, name = key.rpartition(".")
            if not dot or self.exchanged.get(kind) in (None, recipe.part(kind)):
                chosen.setdefault(kind, {})[name] = value
        return chosen

    def resolved(self, toy: Field | None = None, **run: Any) -> Resolved:
        """The small version on toy data, on the processor, with these run options."""
        chosen = {part: values for part, values in self.small().items() if part}
        batch = max(BATCH, self.zoo.recipe(self.recipe).min_batch)
        never = dict.fromkeys(("log_every", "sample_every", "save_every"), 10**6)
        plain = {"image_size": None, "track": "", "labels": "", "flip": False, "ema": 0.0, "steps": 4, "batch_size": batch, **never}
        data = str(toys.file(toy or self.fields()[0]))
        return compose.resolve(self.zoo, self.recipe, {**plain, **run, "device": "cpu", "dataset": data}, self.exchanged, chosen)

    def session(self, resolved: Resolved | None = None) -> Session:
        """The combination ready for its first step."""
        from ganzoo.training.session import open_session

        return open_session(resolved or self.resolved())[2]


def steps(session: Session, n: int, start: int = 0) -> list[Mapping[str, Tensor]]:
    """Take n steps; what each of them logs."""
    return [session.step(t) for t in range(start, start + n)]


def scalars(values: Mapping[str, Tensor]) -> None:
    """Demand that all values are finite 0-d tensors."""
    import torch

    for name, value in values.items():
        assert isinstance(value, torch.Tensor), f"{name}: wanted a tensor, got {type(value).__name__}: no .item() in a step"
        assert value.dim() == 0, f"{name}: wanted a scalar, got the shape {tuple(value.shape)}"
        assert value.isfinite(), f"{name} is {float(value.detach())}"


def toy_labels(spec: DataSpec, keys: tuple[str, ...], n: int) -> Tensor | None:
    """n classes in turn, if "y" is among the keys. Raises Skip where other conditions are: toy data has none."""
    import torch

    if others := [key for key in keys if key != "y"]:
        raise Skip(f"there is no toy data with {', '.join(others)}")
    return torch.arange(n) % spec.classes if "y" in keys else None


@dataclass(frozen=True)
class Rule:
    """kinds: of records that it is for, or "plugin". trains: it builds networks. may_skip: it may be skipped.

    applies: whether it has anything to say of a case.
    """

    name: str
    run: Callable[[Case], None]
    kinds: tuple[str, ...]
    trains: bool
    may_skip: bool
    applies: Callable[[Case], bool]

    @property
    def of_plugin(self) -> bool:
        """Whether it looks at the plugin as a whole, and not at one of its records."""
        return self.kinds == ("plugin",)


#: All rules, by name.
RULES: dict[str, Rule] = {}


def rule(
    *kinds: str, trains: bool = False, may_skip: bool = False, applies: Callable[[Case], bool] = lambda case: True
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Make a rule of a function; its name is the function's, with hyphens."""

    def register(function: Callable[[Case], None]) -> Callable[[Case], None]:
        name = function.__name__.replace("_", "-")
        RULES[name] = Rule(name, function, kinds, trains, may_skip, applies)
        return function

    return register
