"""The cases under a name, and the combination of parts that each part is tried in."""

from __future__ import annotations

from itertools import combinations, product

from ganzoo import compose
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.registry.catalogue import Catalogue, Entry
from ganzoo.registry.discovery import CORE, Plugin
from ganzoo.testing.case import Case
from ganzoo.testing.rules import RULES
from ganzoo.types import KINDS, Part, Recipe


class Cases:
    """Finds the cases in a catalogue."""

    def __init__(self, zoo: Catalogue) -> None:
        self.zoo = zoo

    def of(self, name: str) -> list[Case]:
        """The cases under a name: a recipe or, if there is none, the parts and data sets of that name; or all of a distribution.

        A part is tried in the recipe of its own distribution that binds it; where there is none, in a built-in recipe that it fits. Raises
        UsageError where nothing has that name.
        """
        if not __debug__:
            raise UsageError("the rules are assertions, and `python -O` leaves those out: run it without.")
        plugins = [p for p in self.zoo.plugins if p.distribution == name and p.state != "disabled"]
        entries = [e for e in self.zoo.entries() if name in (e.name, e.qualified)]
        if not plugins and not entries:
            known = {e.name for e in self.zoo.entries()} | {p.distribution for p in self.zoo.plugins}
            raise UsageError(f"there is no recipe, part, data set or distribution called {name!r}.{did_you_mean(name, known)}")
        if plugins:
            return self._of_distribution(name, plugins)
        recipes = [e for e in entries if e.kind == "recipe"]
        return [self._of_entry(entry) for entry in recipes or entries]

    def _of_distribution(self, name: str, plugins: list[Plugin]) -> list[Case]:
        rules = [rule for rule in RULES.values() if rule.of_plugin]
        cases = [Case(self.zoo, plugin, "plugin", plugin.name, None, "", {}, {}, rules) for plugin in plugins]
        for entry in (e for e in self.zoo.entries() if e.plugin.distribution == name):
            case = self._of_entry(entry)
            # A part that a recipe of the same distribution binds is tried there; by itself it is only looked at.
            light = isinstance(entry.record, Part) and not case.exchanged
            case.rules = [rule for rule in case.rules if not rule.of_plugin and not (light and rule.trains)]
            cases.append(case)
        return cases

    def _of_entry(self, entry: Entry) -> Case:
        recipe, exchanged = "", dict[str, str]()
        if isinstance(entry.record, Recipe):
            recipe = entry.name
        elif entry.kind in KINDS:
            recipe, exchanged = self.host(entry)
        declared = dict(entry.record.known_failures)
        case = Case(self.zoo, entry.plugin, entry.kind, entry.name, entry, recipe, exchanged, declared, [])
        case.rules = [rule for rule in RULES.values() if rule.of_plugin or (entry.kind in rule.kinds and rule.applies(case))]
        known = [rule.name for rule in case.rules]
        for name in declared:
            if name not in known:
                text = f"{entry.kind} {entry.name!r} declares a known failure of {name!r}, which is no rule of its kind."
                raise UsageError(text + did_you_mean(name, known))
        return case

    def host(self, entry: Entry) -> tuple[str, dict[str, str]]:
        """The recipe to try a part in, and the parts to exchange in it: as few as can be.

        Raises UsageError where the part fits nothing that is installed.
        """
        kind, name, own = entry.kind, entry.name, entry.plugin.distribution
        recipes = [e for e in self.zoo.entries("recipe") if e.plugin.distribution in (own, CORE)]
        for e in recipes:
            bound = e.record.part(kind) if isinstance(e.record, Recipe) else ""
            if e.plugin.distribution == own and bound in (entry.record.name, entry.qualified):
                return e.name, {}
        others = {k: [e.name for e in self.zoo.entries(k) if e.plugin.distribution in (own, CORE)] for k in KINDS if k != kind}
        for n in range(len(others) + 1):
            candidates = []
            for e in recipes:
                for kinds in combinations(others, n):
                    for names in product(*(others[other] for other in kinds)):
                        exchanged = {kind: name, **dict(zip(kinds, names, strict=True))}
                        if (unused := self._unused(e.name, exchanged)) is not None:
                            elsewhere = e.plugin != entry.plugin
                            candidates.append((unused, elsewhere, -self._usual(e), e.name, tuple(exchanged.items())))
            if candidates:
                best = min(candidates)
                return best[3], dict(best[4])
        raise UsageError(f"{kind} {name!r} fits no recipe that is installed: publish one that binds it.")

    def _usual(self, entry: Entry) -> int:
        """How many recipes share its strategy, and its loss: what is tried in the most usual surroundings tells most."""
        own = entry.record
        others = [e.record for e in self.zoo.entries("recipe") if e.plugin.distribution == CORE and isinstance(e.record, Recipe)]
        return sum((o.strategy == own.strategy) + (o.loss == own.loss) for o in others if isinstance(own, Recipe))

    def _unused(self, recipe: str, exchanged: dict[str, str]) -> int | None:
        """How much of a combination goes unused: outputs of D that the loss does not want, labels. None: it does not fit at all."""
        try:
            parts = {kind: entry.part for kind, entry in self.zoo.parts_of(self.zoo.recipe(recipe), exchanged).items()}
            compose.common_sizes(parts)
        except UsageError:
            return None
        if compose.misfit(parts) or not set.intersection(*(set(part.data) for part in parts.values())):
            return None
        new = {key for kind in exchanged for key in parts[kind].given}
        labels = {key for part in parts.values() for key in part.given} - new
        return len(set(parts["discriminator"].gives) - set(parts["loss"].needs)) + len(labels)
