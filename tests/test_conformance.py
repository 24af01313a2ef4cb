"""The built-ins keep the rules of the conformance kit, by the very decorator that everybody takes."""

from __future__ import annotations

from ganzoo.testing import conformance


@conformance("pyganzoo")
def test_it_keeps_the_rules(rule):
    rule()
