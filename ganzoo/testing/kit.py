"""Runs the rules on what is installed, and tells what came out."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from ganzoo import compose
from ganzoo.errors import GanzooError, RunStopped, UsageError, did_you_mean
from ganzoo.registry.catalogue import Catalogue, Entry, catalogue
from ganzoo.registry.discovery import CORE, Plugin
from ganzoo.testing import toys
from ganzoo.testing.case import Case, Rule, Skip
from ganzoo.testing.rules import RULES
from ganzoo.types import KINDS, Part, Recipe

Outcome = Literal["passed", "failed", "declared", "unexpected", "skipped"]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Result:
    """What became of one rule. declared: it failed, as the record says it does; unexpected: the record says so, and it passed."""

    rule: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0


def count(results: Iterable[Result]) -> dict[str, int]:
    """How many rules were run, and how many of each outcome there are. Where more are skipped than pass, little has been shown."""
    found = Counter(result.outcome for result in results)
    return {"run": found.total() - found["skipped"], **{outcome: found[outcome] for outcome in get_args(Outcome)}}


@dataclass(frozen=True)
class Report:
    """The results of one plugin, recipe, part or data set. with_: the recipe and the parts that a part was tried with."""

    kind: str
    name: str
    origin: str
    with_: str
    results: tuple[Result, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many rules were run, and how many of each outcome there are."""
        return count(self.results)

    @property
    def ok(self) -> bool:
        """Whether some rule passed, none failed, and none that was declared passed."""
        counts = self.counts
        return counts["passed"] > 0 and not counts["failed"] and not counts["unexpected"]

    def to_json(self) -> dict[str, Any]:
        told = {"kind": self.kind, "name": self.name, "origin": self.origin, "with": self.with_, "ok": self.ok, "counts": self.counts}
        return {**told, "results": [asdict(result) for result in self.results]}


def check(
    name: str, told: Callable[[Case, Result], None] = lambda case, result: None, zoo: Catalogue | None = None
) -> list[Report]:
    """Run all rules on a recipe, a part or a data set, or on all that a distribution publishes.

    told: called after each rule. zoo: the catalogue to look in, by default what is installed. Raises UsageError where nothing is called so.
    """
    reports = []
    for case in cases(name, zoo):
        results = []
        for rule in case.rules:
            results.append(judge(case, rule))
            told(case, results[-1])
        reports.append(Report(case.kind, case.name, case.plugin.origin, case.with_, tuple(results)))
    return reports


def check_recipe(name: str, zoo: Catalogue | None = None) -> Report:
    """Run all rules on one recipe. Raises UsageError where there is none of that name."""
    (zoo or catalogue()).recipe(name)
    return check(name, zoo=zoo)[0]


def judge(case: Case, rule: Rule) -> Result:
    """One rule on one case: run, and compared with what the record declares."""
    declared = case.known_failures.get(rule.name)
    start = time.perf_counter()

    def result(outcome: Outcome, reason: str = "") -> Result:
        return Result(rule.name, outcome, reason, round(time.perf_counter() - start, 2))

    try:
        with _apart() as case.folder:
            rule.run(case)
    except Skip as e:
        return result("skipped", str(e)) if rule.may_skip else result("failed", f"it cannot be skipped: {e}")
    except AssertionError as e:
        return result("declared", declared) if declared else result("failed", str(e))
    except KeyboardInterrupt:
        raise
    except BaseException as e:
        if isinstance(e, RunStopped) and e.exit_code > 128:  # by a signal, which was meant for all of this
            raise
        reason = str(e) if isinstance(e, GanzooError) else f"{type(e).__name__}: {e}"
        return result("declared", declared) if declared else result("failed", reason)
    if declared:
        return result("unexpected", f"it is kept, but declared as a known failure: {declared}")
    return result("passed")


@contextlib.contextmanager
def _apart() -> Iterator[Path]:
    """A folder for one rule; data is prepared beside it and not in the user's cache."""
    before = os.environ.get("GANZOO_CACHE")
    os.environ["GANZOO_CACHE"] = str(toys.folder() / "cache")
    try:
        with tempfile.TemporaryDirectory(dir=toys.folder()) as folder:
            yield Path(folder)
    finally:
        if before is None:
            del os.environ["GANZOO_CACHE"]
        else:
            os.environ["GANZOO_CACHE"] = before


def cases(name: str, zoo: Catalogue | None = None) -> list[Case]:
    """What there is to check under a name: a recipe or, if there is none, the parts and data sets of that name; or a distribution.

    A part is tried in the recipe of its own distribution that binds it; where there is none, in a built-in recipe that it fits. Raises
    UsageError where nothing is called so.
    """
    if not __debug__:
        raise UsageError("the rules are assertions, and `python -O` leaves those out: run it without.")
    zoo = zoo or catalogue()
    of_it = [p for p in zoo.plugins if p.distribution == name and p.state != "disabled"]
    entries = [e for e in zoo.entries() if name in (e.name, e.qualified)]
    if not of_it and not entries:
        known = {e.name for e in zoo.entries()} | {p.distribution for p in zoo.plugins}
        raise UsageError(f"there is no recipe, part, data set or distribution called {name!r}.{did_you_mean(name, known)}")
    if of_it:
        made = [_plugin_case(zoo, plugin) for plugin in of_it]
        for entry in (e for e in zoo.entries() if e.plugin.distribution == name):
            case = _case(zoo, entry)
            # A part that a recipe of the same distribution binds is tried there; by itself it is only looked at.
            light = isinstance(entry.record, Part) and not case.exchanged
            case.rules = [rule for rule in case.rules if not rule.of_plugin and not (light and rule.trains)]
            made.append(case)
        return made
    recipes = [e for e in entries if e.kind == "recipe"]
    return [_case(zoo, entry) for entry in recipes or entries]


def _plugin_case(zoo: Catalogue, plugin: Plugin) -> Case:
    rules = [rule for rule in RULES.values() if rule.of_plugin]
    return Case(zoo, plugin, "plugin", plugin.name, None, "", {}, {}, rules)


def _case(zoo: Catalogue, entry: Entry) -> Case:
    record = entry.record
    recipe, exchanged = "", dict[str, str]()
    if isinstance(record, Recipe):
        recipe = entry.name
    elif entry.kind in KINDS:
        recipe, exchanged = host(zoo, entry)
    case = Case(zoo, entry.plugin, entry.kind, entry.name, entry, recipe, exchanged, dict(record.known_failures), [])
    case.rules = [rule for rule in RULES.values() if rule.of_plugin or (entry.kind in rule.kinds and rule.applies(case))]
    known = [rule.name for rule in case.rules]
    for name in record.known_failures:
        if name not in known:
            told = f"{entry.kind} {entry.name!r} declares a known failure of {name!r}, which is no rule of its kind."
            raise UsageError(told + did_you_mean(name, known))
    return case


def host(zoo: Catalogue, entry: Entry) -> tuple[str, dict[str, str]]:
    """The recipe to try a part in, and the parts to exchange in it: as few as can be.

    Raises UsageError where it fits nothing that is installed.
    """
    kind, name = entry.kind, entry.name
    own = entry.plugin.distribution
    recipes = [e for e in zoo.entries("recipe") if e.plugin.distribution in (own, CORE)]
    for e in recipes:
        bound = e.record.part(kind) if isinstance(e.record, Recipe) else ""
        if e.plugin.distribution == own and bound in (entry.record.name, entry.qualified):
            return e.name, {}
    others = {other: [e.name for e in zoo.entries(other) if e.plugin.distribution in (own, CORE)] for other in KINDS if other != kind}
    for more in range(len(others) + 1):
        found = []
        for e in recipes:
            for exchanged_kinds in combinations(others, more):
                for names in product(*(others[other] for other in exchanged_kinds)):
                    exchanged = {kind: name, **dict(zip(exchanged_kinds, names, strict=True))}
                    if (odd := _oddness(zoo, e.name, exchanged)) is not None:
                        found.append((odd, e.plugin != entry.plugin, -_usual(zoo, e), e.name, tuple(exchanged.items())))
        if found:
            best = min(found)
            return best[3], dict(best[4])
    raise UsageError(f"{kind} {name!r} fits no recipe that is installed: publish one that binds it.")


def _usual(zoo: Catalogue, entry: Entry) -> int:
    """How many recipes share its strategy, and its loss: what is tried in the most usual surroundings tells most."""
    others = [e.record for e in zoo.entries("recipe") if e.plugin.distribution == CORE and isinstance(e.record, Recipe)]
    return sum((o.strategy == entry.record.strategy) + (o.loss == entry.record.loss) for o in others if isinstance(entry.record, Recipe))


def _oddness(zoo: Catalogue, recipe: str, exchanged: dict[str, str]) -> int | None:
    """How much of a combination goes unused: outputs of D that the loss does not want, labels. None: it does not fit at all."""
    try:
        parts = compose.chosen_parts(zoo, zoo.recipe(recipe), exchanged)
        compose.check_parts(zoo, parts)
        compose.common_sizes(parts)
    except UsageError:
        return None
    if not set.intersection(*(set(part.data) for part in parts.values())):
        return None
    new = {key for kind in exchanged for key in parts[kind].given}
    labels = {key for part in parts.values() for key in part.given} - new
    return len(set(parts["discriminator"].gives) - set(parts["loss"].needs)) + len(labels)


def conformance(name: str) -> Callable[[F], F]:
    """Make a pytest test of a function that takes `rule` and calls it: one item a rule, of all that `name` stands for in `check`.

    A declared failure is an xfail; a rule that is declared and kept fails. Raises UsageError, when the tests are collected, where nothing
    is called so.
    """
    import pytest

    found = [(case, rule) for case in cases(name) for rule in case.rules]
    tally: list[Result] = []

    def enough() -> None:
        counts = count(tally)
        # Where some of the items were left out, by -k or by -x, nothing can be told.
        assert len(tally) < len(found) or counts["passed"] > counts["skipped"], f"most rules were skipped: {counts}"

    def one(case: Case, rule: Rule) -> None:
        result = judge(case, rule)
        tally.append(result)
        if result.outcome == "skipped":
            pytest.skip(result.reason)
        if result.outcome == "declared":
            pytest.xfail(result.reason)
        if result.outcome != "passed":
            pytest.fail(f"{case.kind} {case.name}: {rule.name}: {result.reason}", pytrace=False)

    params = [pytest.param(functools.partial(one, case, rule), id=f"{case.kind}-{case.name}-{rule.name}") for case, rule in found]
    params.append(pytest.param(enough, id="not-most-of-them-skipped"))

    class Summary:
        def pytest_terminal_summary(self, terminalreporter: Any) -> None:
            told = ", ".join(f"{n} {what}" for what, n in count(tally).items())
            terminalreporter.write_line(f"conformance of {name}: {told}, of {len(found)} rules")

    def decorate(function: F) -> F:
        def test(rule: Any, request: Any) -> None:
            key = f"ganzoo-conformance-{name}"
            if not request.config.pluginmanager.has_plugin(key):
                request.config.pluginmanager.register(Summary(), key)
            function(rule)

        test.__name__, test.__doc__, test.__module__ = function.__name__, function.__doc__, function.__module__
        made: F = pytest.mark.parametrize("rule", params)(test)
        return made

    return decorate
