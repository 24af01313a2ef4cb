"""Runs the rules on what is installed, and collects the results."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from ganzoo.errors import GanzooError, RunStopped
from ganzoo.registry.catalogue import Catalogue, catalogue
from ganzoo.testing import toys
from ganzoo.testing.case import Case, Rule, Skip
from ganzoo.testing.cases import Cases

Outcome = Literal["passed", "failed", "declared", "unexpected", "skipped"]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Result:
    """The outcome of one rule. declared: it failed, as the record says it does; unexpected: the record says so, and it passed."""

    rule: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0


def count(results: Iterable[Result]) -> dict[str, int]:
    """How many rules were run, and how many of each outcome there are. Where more are skipped than pass, little has been shown."""
    counts = Counter(result.outcome for result in results)
    return {"run": counts.total() - counts["skipped"], **{outcome: counts[outcome] for outcome in get_args(Outcome)}}


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
        values = {"kind": self.kind, "name": self.name, "origin": self.origin, "with": self.with_, "ok": self.ok, "counts": self.counts}
        return {**values, "results": [asdict(result) for result in self.results]}


def check(name: str, done: Callable[[Case, Result], None] = lambda case, result: None, zoo: Catalogue | None = None) -> list[Report]:
    """Run all rules on a recipe, a part or a data set, or on all that a distribution publishes.

    done: called after each rule. zoo: the catalogue to look in, by default what is installed. Raises UsageError where nothing has that
    name.
    """
    reports = []
    for case in Cases(zoo or catalogue()).of(name):
        results = []
        for rule in case.rules:
            results.append(judge(case, rule))
            done(case, results[-1])
        reports.append(Report(case.kind, case.name, case.plugin.origin, case.with_, tuple(results)))
    return reports


def check_recipe(name: str) -> Report:
    """Run all rules on one installed recipe. Raises UsageError where there is none of that name."""
    catalogue().recipe(name)
    return check(name)[0]


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


def conformance(name: str) -> Callable[[F], F]:
    """Make a pytest test of a function that takes `rule` and calls it: one item a rule, of all that `name` stands for in `check`.

    A declared failure is an xfail; a rule that is declared and kept fails. Raises UsageError, when the tests are collected, where nothing
    has that name.
    """
    import pytest

    pairs = [(case, rule) for case in Cases(catalogue()).of(name) for rule in case.rules]
    tally: list[Result] = []

    def enough() -> None:
        counts = count(tally)
        # Where some of the items were left out, by -k or by -x, nothing can be told.
        assert len(tally) < len(pairs) or counts["passed"] > counts["skipped"], f"most rules were skipped: {counts}"

    def one(case: Case, rule: Rule) -> None:
        result = judge(case, rule)
        tally.append(result)
        if result.outcome == "skipped":
            pytest.skip(result.reason)
        if result.outcome == "declared":
            pytest.xfail(result.reason)
        if result.outcome != "passed":
            pytest.fail(f"{case.kind} {case.name}: {rule.name}: {result.reason}", pytrace=False)

    params = [pytest.param(functools.partial(one, case, rule), id=f"{case.kind}-{case.name}-{rule.name}") for case, rule in pairs]
    params.append(pytest.param(enough, id="not-most-of-them-skipped"))

    class Summary:
        def pytest_terminal_summary(self, terminalreporter: Any) -> None:
            counts = ", ".join(f"{n} {what}" for what, n in count(tally).items())
            terminalreporter.write_line(f"conformance of {name}: {counts}, of {len(pairs)} rules")

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
