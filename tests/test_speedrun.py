"""The rules of the speedrun, as its script holds them."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def speedrun() -> ModuleType:
    spec = importlib.util.spec_from_file_location("speedrun", ROOT / "benchmarks" / "speedrun" / "speedrun.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("df", "t", "p"), [(1, 31.821, 0.01), (2, 6.965, 0.01), (4, 3.747, 0.01), (9, 2.821, 0.01), (29, 1.699, 0.05)])
def test_the_p_value_is_that_of_students_tables(speedrun, df, t, p):
    n = df + 1
    values = [50 + (-1) ** i for i in range(n - n % 2)] + [50] * (n % 2)
    spread = (sum((v - 50) ** 2 for v in values) / df) ** 0.5
    assert speedrun.p_value(values, 50 + t * spread / n**0.5) == pytest.approx(p, abs=1e-4)
    assert speedrun.p_value(values, 50 - t * spread / n**0.5) == pytest.approx(1 - p, abs=1e-4)


def test_what_breaks_a_rule_is_refused(speedrun):
    for words in (["dcgan", "--dataset", "mine"], ["dcgan", "--seed=3"], ["dcgan", "--config", "x.json"]):
        with pytest.raises(speedrun.RuleBroken, match="the rules decide that"):
            speedrun.check_words(words)
    speedrun.check_words(["dcgan", "--steps", "3", "--strategy.lr-g=0.1"])

    def runs(*values: float, **changed):
        return [{"seed": i, "cFID": v, "protocol": speedrun.PROTOCOL, "line": "", **changed} for i, v in enumerate(values)]

    below = speedrun.TARGET - 1
    assert speedrun.check_runs(runs(below, below - 0.1, below + 0.1)) < 0.01
    with pytest.raises(speedrun.RuleBroken, match=r"wanted p < 0\.01"):
        speedrun.check_runs(runs(below, below - 20, below + 20))
    with pytest.raises(speedrun.RuleBroken, match="none left out"):
        speedrun.check_runs(runs(below, below - 0.1, below + 0.1)[1:])
    with pytest.raises(speedrun.RuleBroken, match="none left out"):
        speedrun.check_runs(runs(below, below - 0.1))
    with pytest.raises(speedrun.RuleBroken, match="another protocol"):
        speedrun.check_runs(runs(below, below - 0.1, below + 0.1, protocol="other"))


def test_the_records_keep_the_rules_and_the_page_shows_them(speedrun):
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(speedrun.RECORDS.glob("*.json"))]
    assert records
    for record in records:
        speedrun.check_words(record["command"][2 : -len(speedrun.DATA)])
        runs = [
            {**run, "protocol": speedrun.PROTOCOL if speedrun.PROTOCOL in record["protocol"] else "", "line": ""} for run in record["runs"]
        ]
        assert speedrun.check_runs(runs) == pytest.approx(record["p"])
    assert speedrun.table() in (speedrun.HERE / "README.md").read_text(encoding="utf-8")
