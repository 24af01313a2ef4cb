"""`ganzoo sample`: draw from what a run has made, without its data set."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import click

from ganzoo.cli.ui import warn
from ganzoo.errors import UsageError, clean, one_line
from ganzoo.files import free_name
from ganzoo.registry.catalogue import catalogue
from ganzoo.types import Field

STEPS = 8  # from one latent to another
MAX_SEEDS = 10_000


@click.command("sample")
@click.argument("source", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option("-n", "n", type=click.IntRange(1), help="How many.  [64; one a label with --labels]")
@click.option(
    "--grid/--folder", "grid", default=None, help="One sheet (the default), or a folder with a file a sample; texts are printed otherwise."
)
@click.option("--labels", metavar="3,3,7", multiple=True, help="Classes to draw, by name or number; taken in turn until there are n.")
@click.option("--seed", type=click.IntRange(0), help="Another seed, other samples.  [0]")
@click.option("--seeds", metavar="1-9,42", help="One sample of each of these seeds: its number 0.")
@click.option("--code", "codes", metavar="K=A", multiple=True, help="Latent K beside the noise is A, or goes from A to B: K=A..B.")
@click.option("--interpolate", is_flag=True, help="Rows that go from one latent to another in 8 steps.")
@click.option("--network", metavar="NAME", help="The product of the run.  [the main one]")
@click.option("--out", type=click.Path(path_type=Path), help="A .png, .jpg, .webp, .bmp, .gif; or the folder.  [new, beside the run]")
def sample_command(
    source: Path, n: int | None, grid: bool | None, labels: tuple[str, ...], seed: int | None, seeds: str | None, codes: tuple[str, ...],
    interpolate: bool, network: str | None, out: Path | None,
) -> None:  # fmt: skip
    """Draw samples from a RUN folder or a product's FILE, as generator.safetensors. Texts are printed, a line each, unless --grid, --folder
    or --out says otherwise.

    Sample number i depends on the seed and i alone, however many are drawn.

    \b
    ganzoo sample runs/infogan-mnist-001 --code 0=0..9    a column a category
    ganzoo sample runs/infogan-mnist-001 --code 0=3 --code 1=-2..2

    Codes are the latents beside the noise z, numbered from 0; a number that there is not is answered with those that there are. Where a
    code goes from A to B, all else is the same along a row, and another in each row. A category takes each value between, a number goes
    in eight steps. Of two such codes the last one goes along the rows, and the first from row to row.
    """
    import torch

    from ganzoo import machine, pictures
    from ganzoo.randomness import between
    from ganzoo.runs.codes import parsed, with_codes
    from ganzoo.runs.exported import classes_of, load

    each = seeds_of(seeds) if seeds is not None else []
    if each and (n is not None or seed is not None or interpolate):
        raise UsageError("--seeds draws one sample of each seed: leave -n, --seed and --interpolate out.")
    if grid is not False and out is not None:
        pictures.check_name(out)
    machine.set_threads()
    product = load(catalogue(), source, network or "", warn)
    if product.asks:
        raise UsageError(f"{product.name} asks for {', '.join(product.asks)}: `ganzoo apply {source} FILE` gives it that.")
    if codes and not product.codes:
        raise UsageError(f"--code: {product.name} has no codes: all that it draws is its noise, z. Leave --code out.")
    fixed = parsed(codes, product.codes)
    swept = [values for values in fixed.values() if len(values) > 1]
    if swept and (interpolate or each):
        raise UsageError("--code K=A..B fills the rows of the sheet: leave --interpolate and --seeds out, or fix the code with --code K=A.")
    classes, kind, seed = product.classes, product.medium, seed or 0
    if labels and classes is None:
        raise UsageError(f"--labels: {product.name} takes no class. Leave --labels out.")
    chosen = classes_of(labels, classes, warn) if classes is not None else []
    columns = 8 if interpolate or each or classes is None or chosen else min(classes.size, 10)
    columns = len(swept[-1]) if swept else columns
    alike = STEPS if interpolate else prod(map(len, swept))  # samples that follow each other, and are to be compared
    n = n or len(each) or len(chosen) * (alike if swept else 1) or max(8 * columns // alike, 1) * alike
    n = -(-n // alike) * alike
    given = product.coded(n, seed, fixed) if fixed else {}
    if interpolate:
        # What is not a point in space, as the number of a code, stays as it is at the left end.
        ends = product.latents(n // STEPS * 2, seed)
        smooth = {name for name, prior in product.network.latents().items() if prior.law in ("normal", "uniform")}
        if not smooth:
            raise UsageError(f"--interpolate: no latent of {product.name} is a point in space, so there is no way from one to another.")
        given = {name: between(z, STEPS) if name in smooth else z[::2].repeat_interleave(STEPS, 0) for name, z in ends.items()}
        given = with_codes(given, product.codes, [{number: values[0] for number, values in fixed.items()}] * n)
    y = torch.zeros(n, dtype=torch.long) if each and not chosen else torch.arange(n) // alike
    if classes is not None:
        y = torch.tensor(chosen)[y % len(chosen)] if chosen else y % max(classes.size, 1)
        given |= dict.fromkeys(product.fields, y)
    if each:
        own = [{key: value[i : i + 1] for key, value in given.items()} | product.coded(1, s, fixed) for i, s in enumerate(each)]
        x = torch.cat([next(product.outputs(1, s, latents)) for s, latents in zip(each, own, strict=True)])
    else:
        x = torch.cat(list(product.outputs(n, seed, given)))
    if kind.lines and grid is None and out is None:
        for i, line in enumerate(kind.objects(x, product.field)):
            click.echo(one_line(line) if classes is None else f"{class_name(int(y[i]), classes)}\t{one_line(line)}")
        click.echo(f"{_count(n)} of step {product.step}.", err=True)
        return
    beside = source if source.is_dir() else source.parent
    drawn = re.sub("[^0-9]+", "-", seeds)[:40] if seeds else str(seed)
    ending = f"-{drawn}" if network is None else f"-{product.name}-{drawn}"
    if grid is not False:
        path = out or free_name(beside / f"sample{ending}.png")
        make(path.parent)
        pictures.save(kind.sheet(x, product.field, min(columns, n)), path)
        click.echo(clean(f"{_count(n)} of step {product.step}: {path}"))
        return
    folder = out or free_name(beside / f"samples{ending}")
    make(folder)
    if any(folder.iterdir()):
        raise UsageError(f"--folder: {folder} is not empty. Name another with --out.")
    names = [class_name(int(y[i]), classes) if classes is not None else f"seed-{each[i]}" if each else "sample" for i in range(n)]
    kind.write(x, folder, product.field, [f"{i:06d}-{name}" for i, name in enumerate(names)])
    click.echo(clean(f"{_count(n)} of step {product.step}: {folder}"))


def _count(n: int) -> str:
    return f"{n} sample" if n == 1 else f"{n} samples"


def seeds_of(text: str) -> list[int]:
    """The seeds in "1-9,42", each once, in their order. Raises UsageError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last < first + MAX_SEEDS or len(seeds) > MAX_SEEDS:
            raise UsageError(f"--seeds: wanted seeds and ranges of them, as 1-9,42, {MAX_SEEDS} at most; got {part!r}.")
        seeds += range(first, last + 1)
    return list(dict.fromkeys(seeds))


def make(folder: Path) -> None:
    """Make a folder that --out names. Raises UsageError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UsageError(f"--out: {folder} cannot be made: {e.strerror or e}. Name another place with --out.") from e


def class_name(y: int, field: Field) -> str:
    """The class as part of a file's name."""
    return "".join(c if c.isalnum() else "-" for c in field.names[y]) if field.names else f"class-{y}"
