"""`ganzoo sample`: draw from a generator, without its data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganzoo.cli.ui import warn
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import catalogue, medium

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 8  # from one latent to another


@click.command("sample")
@click.argument("source", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option("-n", "n", type=click.IntRange(1), help="How many.  [64; one a label with --labels]")
@click.option("--grid/--folder", "grid", default=True, help="One sheet (the default), or a folder with a file a sample.")
@click.option("--labels", metavar="3,3,7", help="Classes to draw, by number or name; repeated until there are n.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other samples.")
@click.option("--interpolate", is_flag=True, help="Rows that go from one latent to another in 8 steps.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write.  [beside the generator]")
def sample_command(
    source: Path, n: int | None, grid: bool, labels: str | None, seed: int, interpolate: bool, out: Path | None
) -> None:
    """Draw samples from a RUN folder or a generator.safetensors FILE.

    Sample number i depends on the seed and i alone, however many are drawn.
    """
    import torch

    from ganzoo import machine, pictures
    from ganzoo.randomness import between
    from ganzoo.runs.exported import load

    machine.set_threads()
    generator = load(catalogue(), source, warn)
    spec, kind, by_class = generator.spec, medium(generator.spec.kind), "y" in generator.given
    if labels is not None and not by_class:
        raise UsageError(f"--labels: generator {generator.name!r} takes no class. Leave --labels out.")
    chosen = _classes(labels, spec.classes, spec.class_names) if labels is not None else []
    columns = 8 if interpolate or not by_class or chosen else min(spec.classes, 10)
    n = n or len(chosen) or (64 if columns == 8 else 8 * columns)
    n = -(-n // STEPS) * STEPS if interpolate else n
    z = between(generator.latents(n // STEPS * 2, seed), STEPS) if interpolate else generator.latents(n, seed)
    y = torch.arange(n) // STEPS if interpolate else torch.arange(n)
    y = torch.tensor(chosen)[y % len(chosen)] if chosen else y % max(spec.classes, 1)
    x = torch.cat(list(generator.outputs(z, y)))
    beside = source if source.is_dir() else source.parent
    if grid:
        path = out or beside / f"sample-{seed}.png"
        _make(path.parent)
        pictures.save(kind.sheet(x, spec.x, min(columns, n)), path)
        click.echo(f"{n} samples of step {generator.step}: {path}")
        return
    folder = out or beside / f"samples-{seed}"
    _make(folder)
    if any(folder.iterdir()):
        raise UsageError(f"--folder: {folder} is not empty. Name another with --out.")
    names = [_class_name(y[i], spec.class_names) if by_class else "sample" for i in range(n)]
    kind.write(x, folder, spec.x, [f"{i:06d}-{name}" for i, name in enumerate(names)])
    click.echo(f"{n} samples of step {generator.step}: {folder}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UsageError(f"--out: {folder} cannot be made: {e.strerror or e}. Name another place with --out.") from e


def _class_name(y: Tensor, names: tuple[str, ...]) -> str:
    """The class as part of a file's name."""
    return "".join(c if c.isalnum() else "-" for c in names[int(y)]) if names else f"class-{int(y)}"


def _classes(text: str, classes: int, names: tuple[str, ...]) -> list[int]:
    """Class numbers from "3,3,7" or from names. Raises UsageError for a class that does not exist."""
    chosen = []
    lower = [name.lower() for name in names]
    for word in (w.strip() for w in text.split(",")):
        if word.isdecimal() and int(word) < classes:
            chosen.append(int(word))
        elif word.lower() in lower:
            chosen.append(lower.index(word.lower()))
        else:
            known = f" or one of {', '.join(names)}" if names else ""
            raise UsageError(f"--labels: wanted numbers from 0 to {classes - 1}{known}; got {word!r}.")
    return chosen
