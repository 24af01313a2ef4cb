"""The results of a comparison as a table: for a terminal, as Markdown, as CSV and as a page."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.comparison.state import Cell, Comparison
from ganzoo.evaluation.record import best
from ganzoo.files import write_text

if TYPE_CHECKING:
    from ganzoo.report import RunFacts

Rows = list[list[str]]


def columns(comparison: Comparison) -> list[tuple[str, str]]:
    """Figures that one is better than another in, each with its protocol's hash, in the order in which they were asked for."""
    return list(dict.fromkeys(key for cell in comparison.cells for key in best(cell.evaluations)))


def protocols(comparison: Comparison) -> list[str]:
    """The protocol lines, each once."""
    return list(dict.fromkeys(e.line for cell in comparison.cells for e in cell.evaluations))


def table(comparison: Comparison) -> tuple[list[str], Rows]:
    """Column names, and a row an entrant: over seeds the mean and the range of the last checkpoint's figure and of the best one's."""
    keys = columns(comparison)
    names = [name if len({h for n, h in keys if n == name}) == 1 else f"{name} [{h}]" for name, h in keys]
    figures = [f"{name}, {which}" for name in names for which in ("last", "best")]
    head = ["entrant", "seeds", "steps", "images", "seconds", *figures, "remarks"]
    return head, [_row([cell for cell in comparison.cells if cell.label == label], keys) for label in comparison.plan.labels]


def tables(comparison: Comparison) -> list[tuple[list[str], Rows]]:
    """The same by figure: of each its value at the last checkpoint and at the best; then what was spent."""
    head, rows = table(comparison)
    each = [[0, i, i + 1, len(head) - 1] for i in range(5, len(head) - 1, 2)]
    return [([head[i] for i in chosen], [[row[i] for i in chosen] for row in rows]) for chosen in (*each, [0, 1, 2, 3, 4])]


def _row(cells: Sequence[Cell], keys: Sequence[tuple[str, str]]) -> list[str]:
    """The row of an entrant, from its cells."""
    done = [cell for cell in cells if cell.state == "done"]
    lines = [cell.last_line for cell in done]
    row = [cells[0].label, f"{len(done)} of {len(cells)}"]
    row += [spread_of([line[key] for line in lines if key in line], ".0f") for key in ("step", "images_seen", "time")]
    for key in keys:
        pairs = [best(cell.evaluations)[key] for cell in done if key in best(cell.evaluations)]
        row += [spread_of([e.figures[key[0]] for e in es]) for es in ([last for last, _, _ in pairs], [top for _, top, _ in pairs])]
    return [*row, "; ".join(f"seed {cell.seed}: {word}" for cell in cells if (word := remark(cell)))]


def remark(cell: Cell) -> str:
    """The remark beside a cell's figures: that it failed and why, or that its samples are all alike."""
    if cell.state == "done":
        return cell.health
    return f"{cell.state}: {cell.reason}" if cell.reason else cell.state


def spread_of(values: Sequence[float], form: str = ".4g") -> str:
    """Mean and, where they differ, the range of values; "-" of none."""
    if not values:
        return "-"
    mean, low, high = (format(v, form) for v in (statistics.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def as_csv(comparison: Comparison) -> str:
    """A row a cell: every figure of its last checkpoint and of its best, with the protocol's hash in the column's name."""
    keys, out = columns(comparison), io.StringIO()
    heads = [f"{name} [{h}] {which}" for name, h in keys for which in ("last", "best", "best step")]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["entrant", "seed", "state", "remark", "steps", "images", "seconds", *heads, "run"])
    for cell in comparison.cells:
        line, figures = cell.last_line, best(cell.evaluations)
        spent = [line.get(key, "") for key in ("step", "images_seen", "time")]
        row: list[Any] = [cell.label, cell.seed, cell.state, remark(cell), *spent]
        for key in keys:
            last, top, _ = figures.get(key, (None, None, False))
            row += [last.figures[key[0]], top.figures[key[0]], top.step] if last and top else ["", "", ""]
        writer.writerow([*row, cell.folder.name])
    return out.getvalue()


def as_markdown(comparison: Comparison) -> str:
    """The table, the budget and the protocols."""
    head, rows = table(comparison)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in lines)
    return f"{text}\n\n" + "\n".join(f"- {line}" for line in [comparison.plan.budget_line, *protocols(comparison)]) + "\n"


def write(comparison: Comparison, read: Callable[[Path, str], RunFacts]) -> Path:
    """compare.csv, compare.md and the page, its table first, then its runs side by side; returns the page's path.

    read: gives the facts of a run from its folder and its name on the page.
    """
    from ganzoo import report

    write_text(comparison.folder / "compare.csv", as_csv(comparison))
    write_text(comparison.folder / "compare.md", as_markdown(comparison))
    begun = [cell for cell in comparison.cells if (cell.folder / "config.json").exists()]
    runs = [read(cell.folder, f"{cell.label}, seed {cell.seed}") for cell in begun]
    head, rows = table(comparison)
    path, title = comparison.folder / "report.html", f"{len(comparison.plan.entrants)} GANs compared"
    report.write(path, runs, title, report.Table(head, rows, comparison.plan.budget_line), protocols(comparison))
    return path
