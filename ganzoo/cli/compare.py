"""`ganzoo compare`: several GANs under one budget, judged by one protocol."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.cli.evaluate import Settled, settings
from ganzoo.cli.train import configured
from ganzoo.cli.ui import DEVICES, Bar, complete_names, is_terminal, table, warn
from ganzoo.errors import GanzooError, RunStopped, UsageError, one_line
from ganzoo.options import flag, joined
from ganzoo.registry.catalogue import catalogue

if TYPE_CHECKING:
    from ganzoo.comparison.state import Cell, Comparison


@click.command("compare", cls=Settled)
@click.argument("entrants", metavar="RECIPE...", nargs=-1, required=True, shell_complete=complete_names)
@click.option("--budget", metavar="TIME", help="Of training, each run: 90s, 10m, 1h. Turned into images, by timing some steps of each.")
@click.option("--steps", type=click.IntRange(1), help="The budget as generator steps.")
@click.option("--images", type=click.IntRange(1), help="The budget as real images that are seen.")
@click.option("--seeds", metavar="N|A,B", default="3", show_default=True, help="How many seeds, from 0; or the seeds.")
@click.option("--dataset", metavar="NAME|PATH", multiple=True, callback=partial(joined, ","), help="The data of all.  [fashion-10k]")
@click.option("--image-size", metavar="N|WxH", help="Pixels a side.")
@click.option("--data-dir", metavar="DIR", help="Where downloaded data lies and goes.")
@click.option("--labels", metavar="A,B", help="Attributes that become labels.")
@click.option("--device", type=DEVICES, help="Where to train and to evaluate.  [auto]")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time; they share the processor's cores.")
@click.option("--checkpoints", type=click.IntRange(1), default=4, show_default=True, help="Checkpoints of each run that are evaluated.")
@click.option("--metric", metavar="A,B", help="What to measure.  [what fits the data]")
@click.option("--features", metavar="NAME[@LAYER]", help="What the metrics look at.  [what fits the data]")
@click.option("-n", "n", type=click.IntRange(2), help="Samples an evaluation.  [10000; 2500 of a toy]")
@click.option("--n-real", type=click.IntRange(2), help="Real samples.  [all]")
@click.option("--against", metavar="train|test|NAME|PATH", default="train", show_default=True, help="The real samples.")
@click.option("--out", type=click.Path(path_type=Path), help="The comparison's folder.  [runs/compare-DATASET-BUDGET]")
def compare_command(
    entrants: tuple[str, ...], budget: str | None, steps: int | None, images: int | None, seeds: str, jobs: int, checkpoints: int,
    out: Path | None, against: str, **typed: Any,
) -> None:  # fmt: skip
    """Train each RECIPE under one budget with several seeds, and measure all by one protocol.

    A recipe may stand in quotes with options: "dcgan --loss hinge". Stopped, the same command goes on; finished runs are kept. The result
    is a table here, as compare.csv and compare.md, and a page, report.html.

    \b
    ganzoo compare dcgan wgan-gp "dcgan --loss hinge" --dataset fashion-mnist --budget 10m --jobs 2
    """
    from ganzoo import machine
    from ganzoo.cli.report import facts_of
    from ganzoo.comparison import table as results
    from ganzoo.comparison.plan import Budget, Plan, common_reference, common_size, seconds, share_out, slug
    from ganzoo.comparison.state import Comparison
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.evaluation.request import requested

    given = [name for name, value in (("--budget", budget), ("--steps", steps), ("--images", images)) if value is not None]
    if len(given) != 1:
        raise UsageError(f"wanted one of --budget, --steps and --images; got {' and '.join(given) or 'none'}.")
    spent = Budget(steps or 0, images or 0, seconds(budget) if budget else 0.0)
    named = catalogue().measures(typed["metric"] or "", typed["features"] or "")
    shared = _words(typed, ("dataset", "image_size", "data_dir", "labels", "device"))
    evaluation = [*_words(typed, ("metric", "features", "n", "n_real", "data_dir", "device")), "--against", against]
    for part, chosen in settings(typed).items():
        for name, value in chosen.items():
            evaluation += [flag(name, f"{part}."), str(value)]
    each = tuple(_split(entrant) for entrant in entrants)
    resolved = [configured([*words, *shared, "--steps", "1"]) for words in each]
    dataset = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(resolved[0].run.dataset).stem)
    folder = out or Path("runs") / f"compare-{dataset}-{slug(budget or str(spent))}"
    with Bar() as bar:
        if (size := common_size(resolved, bar.progress)) is not None:
            shared += ["--image-size", str(size)]
            resolved = [configured([*words, *shared, "--steps", "1"]) for words in each]
        fingerprints = tuple(entrant.config.fingerprint() for entrant in resolved)
        plan = Plan(each, fingerprints, _seeds(seeds), spent, tuple(shared), tuple(evaluation), checkpoints, jobs)
        comparison = Comparison(folder, plan)
        reference = common_reference(resolved, against, bar.progress)
        request = requested(catalogue(), reference, named, typed["n"], typed["n_real"], settings=settings(typed))
        device = machine.pick_device(typed["device"] or "auto")
        # Fills the caches that all runs share, and refuses what cannot be before anything is trained.
        evaluator = Evaluator(request, reference, lambda: reference.data, device, bar.progress, typed["data_dir"])
        evaluator.look_at_real()
    if evaluator.extractor is not None and evaluator.extractor.note:
        warn(evaluator.extractor.note)
    with comparison.held():
        with Bar() as bar:
            comparison.begin(lambda new: share_out(plan, new, configured, bar.progress))
        click.echo(f"{len(comparison.cells)} runs into {folder}, {plan.budget_line}")
        try:
            _follow(comparison)
        except KeyboardInterrupt:
            done = sum(cell.state == "done" for cell in comparison.cells)
            raise RunStopped(f"stopped; {done} of {len(comparison.cells)} runs are done and kept. The same command goes on.", 130) from None
        finally:
            why = "Not drawn for a comparison: `ganzoo report` of the comparison's folder, or of this run, draws them."
            with contextlib.suppress(Exception) if sys.exc_info()[0] else contextlib.nullcontext():
                results.write(comparison, lambda folder, name: facts_of(folder, name, why))
    if is_terminal():
        for head, rows in results.tables(comparison):  # one a figure: all in one is wider than a terminal
            table(head, rows)
        for line in [plan.budget_line, *results.protocols(comparison)]:
            click.echo(line)
    else:
        click.echo(results.as_markdown(comparison), nl=False)
    for note in dict.fromkeys(note for cell in comparison.cells for e in cell.evaluations for note in e.notes):
        warn(note)
    click.echo(f"Table: {folder / 'compare.md'}, {folder / 'compare.csv'}. Page: {folder / 'report.html'}.")
    if failed := [cell for cell in comparison.cells if cell.state != "done"]:
        reasons = "; ".join(f"{cell.folder.name}: {cell.reason}" for cell in failed)
        raise GanzooError(f"{len(failed)} of {len(comparison.cells)} runs failed: {reasons}")


FIXED = ("--steps", "--images", "--seed", "--out", "--config", "--dry-run", "--save-every", "--keep", "--eval-every", "--track")


def _split(entrant: str) -> tuple[str, ...]:
    """The words of an entrant. Raises UsageError where there are none, or one that the comparison decides itself."""
    try:
        words = tuple(shlex.split(entrant))
    except ValueError as e:
        raise UsageError(f'{entrant!r}: {e}. Wanted a recipe, perhaps with options: "dcgan --loss hinge".') from e
    if not words:
        raise UsageError('an entrant is empty. Wanted recipes, perhaps with options: "dcgan --loss hinge".')
    if fixed := [word for word in words if word.partition("=")[0] in FIXED]:
        raise UsageError(f"{entrant!r}: {fixed[0]} is the comparison's own, the same for all. Leave it out of the quotes.")
    return words


def _words(typed: dict[str, Any], keys: Sequence[str]) -> list[str]:
    """The options that were typed, as words again."""
    chosen = [(key, typed[key]) for key in keys if typed[key] is not None]
    return [word for key, value in chosen for word in ("-n" if key == "n" else flag(key), str(value))]


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        seeds = ()
    if "," not in text and seeds:
        seeds = tuple(range(seeds[0]))
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds: wanted a number of seeds, as 3, or the seeds, as 0,5,7; got {text!r}.")
    return seeds


def _follow(comparison: Comparison) -> None:
    """Work, and show how far it is: a live table on a terminal, a line a change otherwise."""
    from ganzoo.comparison.work import Work

    if not is_terminal():
        Work(comparison, lambda cell: click.echo(one_line(f"{cell.label}, seed {cell.seed}: {_state(cell)}"))).run()
        return
    from rich.box import SIMPLE_HEAD
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def render() -> Table:
        shown = Table("entrant", *(f"seed {seed}" for seed in comparison.plan.seeds), box=SIMPLE_HEAD, pad_edge=False)
        for label in comparison.plan.labels:
            shown.add_row(Text(label, style="bold"), *(Text(one_line(_state(cell))) for cell in comparison.cells if cell.label == label))
        return shown

    with Live(get_renderable=render, refresh_per_second=1):
        Work(comparison).run()


def _state(cell: Cell) -> str:
    if cell.state == "training":
        return f"step {step}" if (step := cell.last_line.get("step")) else "training"
    if cell.state == "done":
        last = [e for e in cell.evaluations if e.step == cell.evaluations[-1].step]
        shown = [f"{name} {value:.4g}" for e in last for name, value in e.figures.items() if name in e.better]
        return f"{', '.join(shown[:3])}  {cell.health}".strip()
    return f"{cell.state}: {cell.reason}" if cell.reason else cell.state
