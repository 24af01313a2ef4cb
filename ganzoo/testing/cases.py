"""The cases under a name, and the combination of parts that each part is tried in."""

from __future__ import annotations

from itertools import combinations, product

from ganzoo import compose
from ganzoo.config import Changes
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.registry.catalogue import Catalogue, Entry
from ganzoo.registry.discovery import CORE, Plugin
from ganzoo.testing.case import Case
from ganzoo.testing.rules import RULES
from ganzoo.types import JUDGES, KINDS, QUICK, DegradationPart, Part, Recipe, Record, WrapperPart


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
        cases = [Case(self.zoo, plugin, "plugin", plugin.name, None, "", Changes(), {}, rules) for plugin in plugins]
        for entry in (e for e in self.zoo.entries() if e.plugin.distribution == name):
            case = self._of_entry(entry)
            # A part that a recipe of the same distribution binds is tried there; by itself it is only looked at.
            light = isinstance(entry.record, Part) and not case.changes.parts and not case.changes.wrappers
            case.rules = [rule for rule in case.rules if not rule.of_plugin and not (light and rule.trains)]
            cases.append(case)
        return cases

    def _of_entry(self, entry: Entry) -> Case:
        recipe, changes = "", Changes()
        if isinstance(entry.record, Recipe):
            recipe = entry.name
        elif isinstance(entry.record, WrapperPart | DegradationPart):
            recipe, changes = self.around(entry)
        elif entry.kind not in ("dataset", "medium", *JUDGES):
            recipe, exchanged = self.host(entry)
            changes = Changes(parts=exchanged)
        declared = dict(entry.record.check.known_failures)
        case = Case(self.zoo, entry.plugin, entry.kind, entry.name, entry, recipe, changes, declared, [])
        case.rules = [rule for rule in RULES.values() if rule.of_plugin or (case.tried_as in rule.kinds and rule.applies(case))]
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
        theirs = {e.name: e.record for e in recipes if e.plugin.distribution == own and isinstance(e.record, Recipe)}
        for preset in dict.fromkeys([QUICK, *(preset for record in theirs.values() for preset in record.presets)]):
            for recipe, record in theirs.items():
                usual, parts = record.parts_in(), record.parts_in(preset)
                if parts.get(kind) in (entry.record.name, entry.qualified):
                    return recipe, {of: part for of, part in parts.items() if usual[of] != part}
        if kind not in KINDS:
            raise UsageError(f"{kind} {name!r} is in no recipe of its distribution: publish one that binds it.")
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
        same = [sum(o.parts[kind] == own.parts.get(kind) for o in others) for kind in ("strategy", "loss") if isinstance(own, Recipe)]
        return sum(same)

    def around(self, entry: Entry) -> tuple[str, Changes]:
        """The recipe to try a wrapper or a degradation in: of its own distribution or built in, one whose networks take what it makes if
        there is one, the most usual one of those.

        Raises UsageError where it fits nothing that is installed.
        """
        own, record = entry.plugin.distribution, entry.record
        changes = Changes(wrappers=(entry.name,)) if isinstance(record, WrapperPart) else Changes(parts={"degradation": entry.name})
        candidates = []
        for e in (e for e in self.zoo.entries("recipe") if e.plugin.distribution in (own, CORE)):
            parts = self._parts(e.name, changes)
            if parts is None or (isinstance(record, DegradationPart) and "x" not in parts.strategy.reads):
                continue
            unused = set(getattr(record, "gives", ())) - {key for part in parts.networks.values() for key in part.takes}
            candidates.append((e.plugin.distribution != own, len(unused), -self._usual(e), e.name))
        if not candidates:
            raise UsageError(f"{entry.kind} {entry.name!r} fits no recipe that is installed: publish one that it fits.")
        return min(candidates)[-1], changes

    def _parts(self, recipe: str, changes: Changes) -> compose.Parts | None:
        """The records of a combination; None where it does not fit."""
        try:
            draft = compose.draft(self.zoo, recipe, changes)
            parts = compose.Parts.of(draft.parts, draft.wrappers.values())
            _ = parts.sizes
        except UsageError:
            return None
        unplaced = any(kind not in draft.parts for kind in changes.parts)
        return None if unplaced or compose.misfit(parts) else parts

    def _unused(self, recipe: str, exchanged: dict[str, str]) -> int | None:
        """How much of a combination goes unused: outputs of D that the loss does not want, labels. None: it does not fit at all."""
        if (parts := self._parts(recipe, Changes(parts=exchanged))) is None:
            return None
        new = {key for part in parts.all if part.kind in exchanged for key in _conditions(part)}
        labels = {key for part in parts.all for key in _conditions(part)} - new
        D = parts.networks.get("discriminator")
        return len(set(D.gives if D else ()) - set(parts.loss.needs)) + len(labels)


def _conditions(record: Record) -> set[str]:
    """The fields that a part is given beside the samples."""
    return {*getattr(record, "takes", ()), *getattr(record, "needs", ()), *getattr(record, "given", ())} & {"y"}
