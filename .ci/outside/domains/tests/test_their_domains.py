from ganzoo.testing import conformance


@conformance("ganzoo-their-domains")
def test_it_keeps_the_rules(rule):
    rule()
