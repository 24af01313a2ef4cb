"""What the rules are run on, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import compose
from ganzoo.config import Config
from ganzoo.registry.catalogue import Catalogue, Entry
from ganzoo.registry.discovery import Plugin
from ganzoo.testing import toys
from ganzoo.types import KINDS, Part

if TYPE_CHECKING:
    from ganzoo.data import Batches
    from ganzoo.interfaces import Strategy

BATCH = 8


class Skip(Exception):
    """A rule does not apply, and why."""


@dataclass
class Case:
    """What the rules are run on: a plugin, or one of its records; `folder` is a rule's own.

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
    def record(self) -> Any:
        """The record; not for a plugin as a whole."""
        assert self.entry is not None
        return self.entry.record

    def parts(self) -> dict[str, Part]:
        return compose.chosen_parts(self.zoo, self.zoo.recipe(self.recipe), self.exchanged)

    def kinds(self) -> list[str]:
        """The kinds of data that all parts take; an image before points."""
        parts = self.parts().values()
        return [kind for kind in ("image", "points") if all(kind in part.data for part in parts)]

    def sizes(self) -> list[int]:
        """Two image sizes that all parts take, the smallest from 16 pixels on if there are any."""
        common = compose.common_sizes(self.parts()) or (16, 32)
        return sorted(common, key=lambda size: (size < 16, size))[:2]

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

    def config(self, channels: int = 1, size: int | None = None, kind: str | None = None, **run: Any) -> Config:
        """The small version on toy data, on the processor."""
        kind = kind or self.kinds()[0]
        chosen = self.small()
        batch = max(BATCH, self.zoo.recipe(self.recipe).min_batch)
        never = dict.fromkeys(("log_every", "sample_every", "save_every"), 10**6)
        plain = {"image_size": None, "track": "", "labels": "", "flip": False, "ema": 0.0, "steps": 4, **never}
        values = {**plain, **run, "device": "cpu", "dataset": str(toys.file(kind, channels, size or self.sizes()[0]))}
        return compose.resolve(
            self.zoo, self.recipe, {"batch_size": batch, **values}, self.exchanged, {k: v for k, v in chosen.items() if k}
        )

    def built(self, config: Config | None = None) -> tuple[Strategy, Batches]:
        """The strategy and the batches of a configuration, as a run has them."""
        import torch

        from ganzoo.data import Batches
        from ganzoo.training.launch import prepare_strategy

        config, prepared, strategy = prepare_strategy(self.zoo, config or self.config())
        data = prepared.load()
        return strategy, Batches(data, prepared.spec, config.run.batch_size, seed=config.run.seed, device=torch.device("cpu"))


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
COMBINATIONS = ("recipe", *KINDS)


def rule(
    *kinds: str, trains: bool = False, may_skip: bool = False, applies: Callable[[Case], bool] = lambda case: True
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Make a rule of a function; its name is the function's, with hyphens."""

    def register(function: Callable[[Case], None]) -> Callable[[Case], None]:
        name = function.__name__.replace("_", "-")
        RULES[name] = Rule(name, function, kinds, trains, may_skip, applies)
        return function

    return register
