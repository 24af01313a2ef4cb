"""`ganzoo sample`: draw from a generator, without its data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import catalogue

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 256


@click.command("sample")
@click.argument("source", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option("-n", "n", type=click.IntRange(1), help="How many.  [64; one a label with --labels]")
@click.option("--grid/--folder", "grid", default=True, help="One sheet (the default), or a folder with one PNG a sample.")
@click.option("--labels", metavar="3,3,7", help="Classes to draw, by number or name; repeated until there are n.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other samples.")
@click.option("--interpolate", is_flag=True, help="Rows that go from one latent to another in 8 steps.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write.  [beside the generator]")
def sample_command(
    source: Path, n: int | None, grid: bool, labels: str | None, seed: int, interpolate: bool, out: Path | None
) -> None:
    """Draw samples from a RUN folder or a generator.safetensors FILE."""
    import torch

    from ganzoo import pictures
    from ganzoo.machine import threads
    from ganzoo.randomness import between, seed_step
    from ganzoo.training.launch import load_generator

    torch.set_num_threads(threads())
    generator, said = load_generator(catalogue(), source, lambda text: click.secho(f"Warning: {text}", err=True, fg="yellow", bold=True))
    spec = generator.spec
    part = catalogue().part("generator", said["generator"])
    if labels is not None and "y" not in part.given:
        raise UsageError(f"--labels: generator {said['generator']!r} takes no class. Leave --labels out.")
    if unknown := [key for key in part.given if key != "y"]:
        raise UsageError(f"generator {said['generator']!r} needs {', '.join(unknown)}, which cannot be given here.")
    chosen = _classes(labels, spec.classes, spec.class_names) if labels is not None else []
    columns = 8 if interpolate or "y" not in part.given or chosen else min(spec.classes, 10)
    n = n or len(chosen) or (64 if columns == 8 else 8 * columns)
    seed_step(seed, 0)
    if interpolate:
        n = -(-n // 8) * 8
        z = between(generator.latent(n // 8 * 2), 8)
    else:
        z = generator.latent(n)
    given: dict[str, Tensor] = {}
    if "y" in part.given:
        wanted = torch.tensor(chosen or list(range(spec.classes)))
        given["y"] = wanted[(torch.arange(n) // 8 if interpolate else torch.arange(n)) % len(wanted)]
    with torch.no_grad():
        drawn = [generator(z[i : i + BATCH], **{k: v[i : i + BATCH] for k, v in given.items()}) for i in range(0, n, BATCH)]
    x = torch.cat(drawn)
    beside = source if source.is_dir() else source.parent
    if grid:
        path = out or beside / f"sample-{seed}.png"
        _made(path.parent)
        pictures.save(pictures.picture(x, spec, min(columns, n)), path)
        click.echo(f"{n} samples of step {said['step']}: {path}")
        return
    folder = out or beside / f"samples-{seed}"
    _made(folder)
    if any(folder.iterdir()):
        raise UsageError(f"--folder: {folder} is not empty. Name another with --out.")
    if spec.kind != "image":
        from ganzoo.runs.checkpoint import write

        write(folder / "x.safetensors", {"x": x}, {"seed": seed})
    else:
        for i, image in enumerate(pictures.to_bytes(x)):
            pictures.save(pictures.to_image(image), folder / (f"{i:06d}-{_called(given, i, spec.class_names)}.png"))
    click.echo(f"{n} samples of step {said['step']}: {folder}")


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UsageError(f"--out: {folder} cannot be made: {e.strerror or e}. Name another place with --out.") from e


def _called(given: dict[str, Any], i: int, names: tuple[str, ...]) -> str:
    if "y" not in given:
        return "sample"
    y = int(given["y"][i])
    return "".join(c if c.isalnum() else "-" for c in names[y]) if names else f"class-{y}"


def _classes(text: str, classes: int, names: tuple[str, ...]) -> list[int]:
    """Class numbers from "3,3,7" or from names. Raises UsageError for one that there is not."""
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
