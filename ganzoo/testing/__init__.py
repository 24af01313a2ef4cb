"""The conformance kit: the rules that every plugin keeps, run by its author, by its users and by ganzoo itself.

    from ganzoo.testing import conformance

    @conformance("my-gan")
    def test_it_keeps_the_rules(rule):
        rule()

A rule that cannot be kept is declared in the record, with the reason: `known_failures={"bf16-works": "..."}`. A rule that is declared and
kept all the same is an error.
"""

from __future__ import annotations

from ganzoo.testing.kit import Report, Result, check, check_recipe, conformance

__all__ = ["Report", "Result", "check", "check_recipe", "conformance"]
