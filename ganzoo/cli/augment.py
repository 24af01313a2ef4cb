"""`ganzoo augment`: samples of each class, as a labelled folder that a classifier can be trained on."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import click

from ganzoo.cli.sample import class_name, make
from ganzoo.cli.ui import Bar, warn
from ganzoo.errors import UsageError, clean
from ganzoo.registry.catalogue import catalogue
from ganzoo.types import Field


@click.command("augment")
@click.argument("source", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option("--per-class", metavar="N", type=click.IntRange(1), default=500, show_default=True, help="Pictures of each class.")
@click.option("--labels", metavar="3,Bag", multiple=True, help="These classes only, by name or number.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other pictures.")
@click.option("--network", metavar="NAME", help="The product of the run.  [the main one]")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder: new, empty, or with a sub-folder a class already.")
def augment_command(source: Path, per_class: int, labels: tuple[str, ...], seed: int, network: str | None, out: Path) -> None:
    """Draw pictures of each class from a RUN folder or a product's FILE, a sub-folder a class: more images to train a classifier on.

    \b
    ganzoo run acgan --dataset my/photos              a sub-folder a class
    ganzoo augment runs/acgan-photos-001 --per-class 500 --out more

    The files are called after the run and the seed, so a folder of real photos, a sub-folder a class, can take them in: none is written
    over. Learn the GAN from training images alone, or test images leak into the training set. Whether it helps is another question: the
    documentation has a table.
    """
    import torch

    from ganzoo import machine
    from ganzoo.runs.exported import classes_of, load

    machine.set_threads()
    product = load(catalogue(), source, network or "", warn)
    classes, kind = product.classes, product.medium
    if product.asks or classes is None or not kind.pictures:
        what = f"is applied to {', '.join(product.asks)}" if product.asks else "takes no class" if kind.pictures else "makes no pictures"
        raise UsageError(f"{product.name} {what}. Wanted a generator that draws a picture of a class, as acgan's and cgan's do.")
    chosen = list(dict.fromkeys(classes_of(labels, classes, warn))) if labels else list(range(classes.size))
    whose = source.name if source.is_dir() else source.stem
    folders = {k: out / name for k, name in _folders(classes).items() if k in chosen}
    files = {k: [folder / f"{whose}-{seed}-{i:06d}.png" for i in range(per_class)] for k, folder in folders.items()}
    if there := next((path for paths in files.values() for path in paths if path.exists()), None):
        raise UsageError(f"--out: {there} exists. Take another --seed, which draws others, or another folder.")
    fresh = not out.exists()
    try:
        for folder in folders.values():
            make(folder)
        n, done = per_class * len(chosen), 0
        y = torch.tensor(chosen)[torch.arange(n) % len(chosen)]
        with Bar() as bar:
            for rows in product.outputs(n, seed, dict.fromkeys(product.fields, y)):
                for row in rows:
                    path = files[int(y[done])][done // len(chosen)]
                    kind.write(row[None], path.parent, product.field, [path.stem])
                    done += 1
                bar.progress("drawing", done, n)
    finally:
        if fresh:
            with suppress(OSError):  # it stays unless it is empty
                out.rmdir()
    click.echo(clean(f"{per_class} pictures of each of {len(chosen)} classes, of step {product.step}: {out}"))


def _folders(classes: Field) -> dict[int, str]:
    """The name of each class's folder: its own, as far as a folder can be called so, with its number where two were alike."""
    names = {k: class_name(k, classes) for k in range(classes.size)}
    alike = Counter(names.values())
    return {k: name if alike[name] == 1 else f"{name}-{k}" for k, name in names.items()}
