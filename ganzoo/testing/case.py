"""Cases, which the rules are run on, and the rules' own class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import compose
from ganzoo.compose import Resolved
from ganzoo.config import Changes
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import ORDER, Catalogue, Entry
from ganzoo.registry.discovery import Plugin
from ganzoo.testing import toys
from ganzoo.types import KINDS, Field

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.runs.exported import Exported
    from ganzoo.training.session import Session

BATCH = 8
COMBINATIONS = ("recipe", *KINDS, "network", "wrapper", "degradation")  # the records that are tried by training


class Skip(Exception):
    """A rule does not apply, and why."""


@dataclass
class Case:
    """A plugin, or one of its records, that the rules are run on; `folder` is a rule's own.

    recipe, changes: the combination that a recipe or a part is tried in.
    """

    zoo: Catalogue
    plugin: Plugin
    kind: str
    name: str
    entry: Entry | None
    recipe: str
    changes: Changes
    known_failures: dict[str, str]
    rules: list[Rule]
    folder: Path = field(default_factory=Path)

    @property
    def with_(self) -> str:
        """The combination that a part is tried in, in words."""
        if not self.recipe or (self.recipe == self.name and self.changes == Changes()):
            return ""
        around = ["--with", ",".join(self.changes.wrappers)] if self.changes.wrappers else []
        return " ".join([self.recipe, *(f"--{kind} {name}" for kind, name in self.changes.parts.items()), *around])

    @property
    def tried_as(self) -> str:
        """The kind that rules are for: networks in roles of their own are "network"s."""
        return self.kind if self.kind in ORDER or self.kind == "plugin" else "network"

    @property
    def known_entry(self) -> Entry:
        """The entry; not for a plugin as a whole."""
        assert self.entry is not None
        return self.entry

    @property
    def record(self) -> Any:
        """The record; not for a plugin as a whole."""
        return self.known_entry.record

    def draft(self) -> compose.Draft:
        """The combination, with no options chosen."""
        return compose.draft(self.zoo, self.recipe, replace(self.changes))

    def parts(self) -> compose.Parts:
        """The records of the combination."""
        draft = self.draft()
        return compose.Parts.of(draft.parts, draft.wrappers.values())

    def fields(self) -> list[Field]:
        """The toy data that all parts take, the usual one first: pictures of two sizes, the smallest from 16 pixels on if there are any."""
        parts = self.parts()
        common = parts.sizes or (16, 32)
        sizes = sorted(common, key=lambda size: (size < 16, size))[:2]
        fields: list[Field] = []
        for kind in toys.media():
            if kind.name in parts.media:
                toy = [replace(f, shape=(f.shape[0], s, s)) for s in sizes for f in kind.toys] if kind.pictures else kind.toys
                fields += [f for f in dict.fromkeys(toy) if self._degradable(f)]
        return fields

    def _degradable(self, field: Field) -> bool:
        """Whether the degradation of the combination, if there is one, takes such data."""
        if (entry := self.draft().parts.get("degradation")) is None:
            return True
        try:
            entry.build(toys.spec(field), entry.options(self.small().get("degradation", {}), "")).fields(field)
        except UsageError:
            return False
        return True

    def small(self) -> dict[str, dict[str, Any]]:
        """The options of the small version: of the run under "", of parts by kind, of wrappers by name; of exchanged parts their own."""
        recipe, draft = self.zoo.recipe(self.recipe), self.draft()
        chosen: dict[str, dict[str, Any]] = {"": {}}
        for of, entry in {**draft.parts, **draft.wrappers}.items():
            if of in self.changes.parts or of in (self.changes.wrappers or ()):
                chosen[of] = dict(entry.record.check.small)
        for key, value in recipe.check.small.items():
            of, dot, name = key.rpartition(".")
            if not dot or (of in draft.optioned and self.changes.parts.get(of) in (None, recipe.parts_in().get(of))):
                chosen.setdefault(of, {})[name] = value
        return chosen

    def resolved(self, toy: Field | None = None, **run: Any) -> Resolved:
        """The small version on toy data, on the processor, with these run options."""
        chosen = {part: values for part, values in self.small().items() if part}
        batch = max(BATCH, self.zoo.recipe(self.recipe).min_batch)
        never = dict.fromkeys(("log_every", "sample_every", "save_every"), 10**6)
        plain = {"image_size": None, "track": "", "labels": "", "flip": False, "ema": 0.0, "steps": 4, "batch_size": batch, **never}
        plain["precision"] = "fp32"  # everywhere the same
        data = str(toys.file(toy or self.fields()[0], self.parts().keys))
        changes = replace(self.changes, run={**plain, **run, "device": "cpu", "dataset": data}, options=chosen)
        return compose.resolve(self.zoo, self.recipe, changes)

    def session(self, resolved: Resolved | None = None) -> Session:
        """The combination ready for its first step."""
        from ganzoo.training.session import open_session

        return open_session(resolved or self.resolved())[2]


def steps(session: Session, n: int, start: int = 0) -> list[Mapping[str, Tensor]]:
    """Take n steps; what each of them logs."""
    return [session.step(t) for t in range(start, start + n)]


def moments(session: Session, n: int) -> list[int]:
    """The first n steps, and the first one of each later phase."""
    return sorted({*range(n), *session.strategy.phases().values()})


def scalars(values: Mapping[str, Tensor]) -> None:
    """Demand that all values are finite 0-d tensors."""
    import torch

    for name, value in values.items():
        assert isinstance(value, torch.Tensor), f"{name}: wanted a tensor, got {type(value).__name__}: no .item() in a step"
        assert value.dim() == 0, f"{name}: wanted a scalar, got the shape {tuple(value.shape)}"
        assert value.isfinite(), f"{name} is {float(value.detach())}"


def products(session: Session) -> list[Exported]:
    """All products of a run as they would be saved now."""
    from ganzoo.runs.exported import Exported

    return [Exported.of(session.strategy, name) for name in session.strategy.exports()]


def made(session: Session, product: Exported, n: int, given: Mapping[str, Tensor] | None = None) -> Tensor:
    """n outputs of a product, not yet as they would be saved: of the first rows of the data, unless others are given."""
    import torch

    real = session.batches.peek(n)
    given = {key: real[key] for key in product.fields} if given is None else given
    return torch.cat(list(product.raw(n, 0, given)))


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
