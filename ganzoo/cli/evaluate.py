"""`ganzoo evaluate`: figures that say what they are."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo import options
from ganzoo.cli.ui import DEVICES, Bar, figures, json_option, table, warn
from ganzoo.config import DataOptions
from ganzoo.errors import UsageError, one_line
from ganzoo.registry.catalogue import catalogue
from ganzoo.types import JUDGES

if TYPE_CHECKING:
    from ganzoo.evaluation.record import Evaluation
    from ganzoo.evaluation.request import EvaluationRequest, Reference


class Settled(click.Command):
    """A command with the options of every metric and extractor that is installed, as --kid.subsets; they are added when first needed."""

    complete = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.complete:
            self.complete = True
            for entry in (e for kind in JUDGES for e in catalogue().entries(kind)):
                self.params += options.click_options(getattr(entry.record, "options", None), f"{entry.record.name}.")
        return super().get_params(ctx)


def settings(typed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of the options that were typed, by part and name."""
    chosen: dict[str, dict[str, Any]] = {}
    for key, value in typed.items():
        part, dot, name = key.partition("__")
        if dot and value is not None:
            chosen.setdefault(part.replace("_", "-"), {})[name] = value
    return chosen


@click.command("evaluate", cls=Settled)
@click.argument("source", metavar="RUN|CHECKPOINT|FILE|FOLDER", type=click.Path(path_type=Path))
@click.option("--network", metavar="NAME", help="The product of the run.  [the first that the metrics take]")
@click.option("--metric", metavar="A,B", help="What to measure: `ganzoo list --kind metric`.  [what fits the data]")
@click.option("--features", metavar="NAME[@LAYER]", help="What the metrics look at: `ganzoo list --kind features`.  [what fits the data]")
@click.option("-n", "n", type=click.IntRange(2), help="How many samples.  [10000; 2500 of a toy]")
@click.option("--n-real", type=click.IntRange(2), help="How many real samples.  [all]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other samples.")
@click.option("--against", metavar="train|test|NAME|PATH", default="train", show_default=True, help="The real samples.")
@click.option("--all-checkpoints", is_flag=True, help="Each checkpoint of the run, in their order.")
@click.option("--image-size", metavar="N|WxH", help="Of samples that are images already.  [that of the first]")
@click.option("--data-dir", metavar="DIR", help="Where downloaded data lies and goes.")
@click.option("--device", type=DEVICES, default="auto", show_default=True)
@json_option
def evaluate_command(
    source: Path, network: str | None, metric: str | None, features: str | None, n: int | None, n_real: int | None, seed: int, against: str,
    all_checkpoints: bool, image_size: str | None, data_dir: str | None, device: str, as_json: bool, **typed: Any,
) -> None:  # fmt: skip
    """Measure the samples of a run, of a checkpoint, of a generator.safetensors, or in a folder.

    The averaged weights are taken where there are any. Results are added to the run's evaluations.jsonl, each with its protocol: two
    figures with different hashes in brackets measure different things.

    \b
    ganzoo evaluate runs/dcgan-fashion-10k-001 --metric fid,precision-recall
    ganzoo evaluate runs/dcgan-fashion-10k-001 --all-checkpoints
    ganzoo evaluate my/samples --against my/photos --features inception2015@768 -n 500
    ganzoo evaluate fashion-10k --against fashion-mnist    real samples: what the best figure is
    """
    # What can be told without torch is told at once.
    if not source.exists() and catalogue().find("dataset", str(source)) is None:
        raise UsageError(f"{source} does not exist. Wanted a run, a checkpoint, a generator.safetensors, a folder of images, a data set.")
    named = catalogue().measures(metric or "", features or "")
    from ganzoo.evaluation.request import requested
    from ganzoo.evaluation.subject import evaluate, find_subject

    def request(reference: Reference) -> EvaluationRequest:
        return requested(catalogue(), reference, named, n, n_real, seed, settings(typed))

    def evaluated(evaluation: Evaluation) -> None:
        if all_checkpoints and not as_json:
            bar.say(f"step {evaluation.step}: {figures(evaluation)}")

    subject = find_subject(catalogue(), source, all_checkpoints, network or "", named)
    image_size = options.check_value(DataOptions, "image_size", image_size, "--image-size")
    if image_size is not None and subject.samples is None:
        raise UsageError("--image-size is for samples that are images already; a generator draws its own size.")
    with Bar() as bar:
        evaluations = evaluate(
            catalogue(), subject, request, against=against, image_size=image_size, data_dir=data_dir, device=device,
            progress=bar.progress, evaluated=evaluated, warn=warn,
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps([e.to_json() for e in evaluations], indent=1))
        return
    for evaluation in [] if all_checkpoints else evaluations:
        table(["figure", "value", "better"], rows(evaluation))
        click.echo(one_line(evaluation.line))
    for note in dict.fromkeys(note for e in evaluations for note in e.notes):
        warn(note)
    for line in dict.fromkeys(e.line for e in evaluations) if all_checkpoints else []:
        click.echo(one_line(line))
    if subject.run is not None:
        lines = best_and_last(subject.run, {e.hash for e in evaluations})
        for line in lines or ["This is one checkpoint: --all-checkpoints tells the best beside the last."]:
            click.echo(one_line(line))


def rows(evaluation: Evaluation) -> list[list[str]]:
    """A row a figure: name, value, which way is better."""
    return [[name, f"{value:.6g}", evaluation.better.get(name, "")] for name, value in evaluation.figures.items()]


def best_and_last(run: Path, hashes: Container[str] | None = None) -> list[str]:
    """One line a figure that was measured at several steps of a run; of these protocols, by default of all."""
    from ganzoo.evaluation.record import best, parsed
    from ganzoo.files import read_lines
    from ganzoo.runs.folder import EVALUATIONS

    known = [e for e in map(parsed, read_lines(run / EVALUATIONS)) if e is not None and (hashes is None or e.hash in hashes)]
    return [
        f"{name}: best {top.figures[name]:.4g} at step {top.step}, last {last.figures[name]:.4g} at step {last.step} [{hashed}]"
        for (name, hashed), (last, top, several) in best(known).items()
        if several
    ]
