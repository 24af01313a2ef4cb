"""`ganzoo check`: does what is installed keep the rules?"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, metadata
from typing import TYPE_CHECKING

import click

from ganzoo.cli.ui import complete_names, json_option, warn
from ganzoo.errors import GanzooError, one_line
from ganzoo.registry.discovery import CORE, LOCAL

if TYPE_CHECKING:
    from ganzoo.testing.case import Case
    from ganzoo.testing.kit import Result

MARKS = {
    "passed": ("ok", "green"),
    "failed": ("FAILED", "red"),
    "unexpected": ("UNEXPECTED", "red"),
    "declared": ("declared", "yellow"),
    "skipped": ("skipped", "yellow"),
}


def hard_to_find(distribution: str) -> list[str]:
    """What is absent from a distribution's metadata by which people find plugins."""
    try:
        said = metadata(distribution).json
    except PackageNotFoundError:
        return []
    absent = [] if "ganzoo-plugin" in str(said.get("keywords", "")) else ["keyword ganzoo-plugin"]
    absent += [] if said.get("classifier") else ["classifiers"]
    return absent + ([] if said.get("project_url") or said.get("home_page") else ["URLs"])


@click.command("check")
@click.argument("name", metavar="NAME|DISTRIBUTION", shell_complete=complete_names)
@json_option
def check_command(name: str, as_json: bool) -> None:
    """Run the conformance rules on a recipe, a part or a data set, or on all that an installed distribution publishes.

    Small versions are trained on toy data: half a minute a recipe. Ends with status 1 where a rule is not kept.
    """
    from ganzoo.testing.kit import check, count

    last: list[Case] = []

    def show(case: Case, result: Result) -> None:
        if as_json:
            return
        if case not in last:
            last[:] = [case]
            tried = f", tried in {case.with_}" if case.with_ else ""
            click.echo(click.style(case.name, bold=True) + one_line(f"  {case.kind} of {case.plugin.origin}{tried}"))
        mark, colour = MARKS[result.outcome]
        reason = f"  {result.reason}" if result.reason else ""
        click.echo(f"  {click.style(f'{mark:<10}', fg=colour)} {result.rule}  {result.seconds:.1f} s{one_line(reason)}")

    reports = check(name, show)
    counts = count(result for report in reports for result in report.results)
    if as_json:
        click.echo(json.dumps([report.to_json() for report in reports], indent=1))
    else:
        click.echo("rules: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    for distribution in sorted({report.origin.partition(" ")[0] for report in reports} - {CORE, LOCAL}):
        if absent := hard_to_find(distribution):
            warn(f"{distribution}: its pyproject.toml has no {' and no '.join(absent)}: few will find it on the package index.")
    if bad := [f"{report.kind} {report.name}" for report in reports if not report.ok]:
        raise GanzooError(f"not all rules are kept: {', '.join(bad)}.")
    if counts["skipped"] >= counts["passed"]:
        raise GanzooError("most rules were skipped: nothing has been shown.")
