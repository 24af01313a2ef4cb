"""A report: one HTML file that tells what runs did. It needs no server and fetches nothing.

runs = [facts.read(folder, name, catalogue) for folder, name in facts.named(facts.find([Path("runs")]))]
write(Path("report.html"), runs, "my runs")
"""

from __future__ import annotations

from ganzoo.report.facts import RunFacts, find, named, read
from ganzoo.report.generated import Generated, Neighbours, generate
from ganzoo.report.page import MARK, Table, write

__all__ = ["MARK", "Generated", "Neighbours", "RunFacts", "Table", "find", "generate", "named", "read", "write"]
