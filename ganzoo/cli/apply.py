"""`ganzoo apply`: use what a run has made on files of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganzoo.cli.sample import make
from ganzoo.cli.ui import Bar, warn
from ganzoo.errors import GanzooError, UsageError, clean, did_you_mean
from ganzoo.registry.catalogue import catalogue, medium

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.runs.applied import Holes, Work
    from ganzoo.runs.exported import Exported
    from ganzoo.runs.tiles import Tiles

LOT = 250  # rows that are turned at once
ROOM = 1 << 24  # numbers in them, at most, unless one row has more


@click.command("apply")
@click.argument("source", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--network", metavar="NAME", help="The product of the run.  [the first that is applied]")
@click.option(
    "--mask", metavar="PATH", type=click.Path(path_type=Path), help="What to fill in: a picture, white there; or a folder of them, by name."
)
@click.option("--box", "boxes", metavar="X,Y,WxH", multiple=True, help="What to fill in: from the left, from the top, size; several times.")
@click.option("--input", "inputs", metavar="KEY=PATH", multiple=True, help="What else it asks for beside PATH.")
@click.option("--labels", metavar="3,7", multiple=True, help="Classes, by name or number, if it takes one; taken in turn.")
@click.option(
    "--resize",
    is_flag=True,
    help="Bring pictures to the size that it was trained with: their middle, scaled. A classifier always does.",
)
@click.option("--tile", metavar="N", type=click.IntRange(1), help="Where memory is short: in overlapping tiles of N pixels a side.")
@click.option("--compare", is_flag=True, help="Write each picture beside what it was made of, too, into compare/.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what it draws.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write to.  [applied-NNN beside the run]")
def apply_command(
    source: Path, paths: tuple[Path, ...], network: str | None, mask: Path | None, boxes: tuple[str, ...], inputs: tuple[str, ...],
    labels: tuple[str, ...], resize: bool, tile: int | None, compare: bool, seed: int, out: Path | None,
) -> None:  # fmt: skip
    """Turn files by what a RUN has made, or a product's FILE: photos, folders of photos, 'photos/*.jpg', texts.

    \b
    ganzoo apply runs/srgan-photos-001 holiday.jpg --tile 256
    ganzoo apply runs/context-encoder-photos-001 holiday.jpg --box 40,30,64x48 --resize
    ganzoo apply runs/sgan-mnist-001 digits/ --network classifier

    A picture is written as PNG under its own name, turned as its EXIF says, with its transparency and its colour profile; of an animation
    it is the first picture. What is wrong with a file that is named is told before anything is computed; what cannot be read in a folder
    is left out, and told.

    A network that fills holes is told with --mask or --box where they are. All other pixels stay as they are, bit for bit. With --resize,
    what it fills in is brought back to the picture's own size.

    Tiles overlap by as much as the network looks beyond their edges, which is measured, so they give what the whole picture gives. A
    network that looks further than a quarter of a tile is warned of: there, neighbours fade into each other.
    """
    from ganzoo import machine
    from ganzoo.runs.applied import checked, files_of, works
    from ganzoo.runs.exported import classes_of, exports_of, load
    from ganzoo.runs.folder import new_folder

    machine.set_threads()
    product = load(catalogue(), source, network or "", warn)
    if not product.asks and network is None and (source / "config.json").exists():
        every = (load(catalogue(), source, name) for name in exports_of(source) if name != product.name)
        product = next((other for other in every if other.asks), product)
    if not product.asks:
        raise UsageError(f"{product.name} takes no files of yours: `ganzoo sample {source}` draws from it.")
    if labels and product.classes is None:
        raise UsageError(f"--labels: {product.name} takes no class. Leave --labels out.")
    chosen = classes_of(labels, product.classes, warn) if product.classes is not None else []
    kind = medium(product.fields[product.wants[0]].medium)
    if compare and {kind.name, product.medium.name} != {"image"}:
        raise UsageError(f"--compare: {product.name} does not turn a picture into a picture. Leave --compare out.")
    holes, more = _holes(product, mask, boxes, inputs)
    others = _beside(product, more, resize, holes is not None)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out: {out} is not an empty folder. Name another.")
    found = files_of(kind, paths, warn)
    files = [file for file, _ in found]
    resize = resize or (kind.name == "image" and not product.medium.pictures)  # what is said of a picture needs no pixels of its own
    with _memory(product, tile, "a tile"):
        tiles = product.tiles(tile, seed) if tile is not None else None
    if tiles is not None and not tiles.exact:
        warn(
            f"--tile: {product.name} looks further than {tiles.margin} pixels, a quarter of a tile: tiles differ from the whole picture, "
            "and fade into each other. Larger ones differ less."
        )
    if kind.name == "image":
        said: list[str] = []
        with _bar(len(found) > 1) as progress:
            files = checked(product, found, holes, resize, progress, said.append)
        for text in said:
            warn(text)
    fresh = out is None or not out.exists()
    if out is None:
        out = new_folder(source if source.is_dir() else source.parent, "applied")
    make(out)
    try:
        with _bar(len(files) > 1 or tiles is not None) as progress:
            if tiles is not None and len(files) == 1:
                tiles = replace(tiles, told=partial(progress, "tiles"))
            turning = _Turning(product, out, chosen, tiles, seed, resize, compare)
            for lot in _lots(_joined(works(product, files, holes, resize, warn), others)):
                with _memory(product, tile, lot[0].name):
                    for done in turning.turn(lot):
                        progress("turning", done, len(files) if kind.name == "image" else 0)
            turning.close()
    finally:
        if fresh:
            with suppress(OSError):  # it stays unless it is empty
                out.rmdir()
    left_out = f", {len(found) - len(files)} left out" if len(files) < len(found) else ""
    made = [*out.iterdir()]
    where = made[0] if len(made) == 1 else out
    click.echo(clean(f"{turning.done} through {product.name} of step {product.step}{left_out}: {where}"))


@contextmanager
def _bar(wanted: bool) -> Iterator[Callable[[str, int, int], None]]:
    """What to tell progress to."""
    if not wanted:
        yield lambda what, done, total: None
        return
    with Bar() as bar:
        yield bar.progress


@contextmanager
def _memory(product: Exported, tile: int | None, at: str) -> Iterator[None]:
    """Says what to do where the memory is too small."""
    from ganzoo import machine

    try:
        yield
    except Exception as e:
        if not machine.out_of_memory(e):
            raise
        whole = "--tile 256 cuts pictures into tiles." if product.network.record.multiple else "It takes pictures whole."
        raise GanzooError(f"out of memory at {at}. {'A smaller --tile needs less.' if tile is not None else whole}") from e


class _Turning:
    """Turns lots of rows, and writes what is made of them: pictures at once, other rows together at the end."""

    def __init__(
        self, product: Exported, out: Path, chosen: list[int], tiles: Tiles | None, seed: int, resize: bool, compare: bool
    ) -> None:  # fmt: skip
        self.product, self.out, self.chosen, self.tiles, self.seed = product, out, chosen, tiles, seed
        self.resize, self.compare = resize, compare
        self.done, self.outputs, self.names = 0, list["Tensor"](), list[str]()

    def turn(self, lot: Sequence[Work]) -> Iterator[int]:
        """Some rows of the same shapes. Gives how many are done, after each."""
        import torch

        product, n = self.product, len(lot)
        given = self._batch({key: torch.cat([work.rows[key] for work in lot]) for key in lot[0].rows})
        if self.chosen:
            classes = torch.tensor(self.chosen)[torch.arange(self.done, self.done + n) % len(self.chosen)]
            given |= dict.fromkeys(product.fields.keys() - given.keys(), classes)
        rows = (row for rows in product.outputs(n, self.seed, given, self.tiles) for row in rows)
        for work, row in zip(lot, rows, strict=True):
            self._write(work, row)
            self.done += 1
            yield self.done

    def _write(self, work: Work, row: Tensor) -> None:
        from ganzoo import pictures
        from ganzoo.runs.applied import beside

        kind = self.product.medium
        if work.photo is not None and kind.name == "image":
            after = work.picture(work.whole(row), self.resize)
            pictures.save(after, self.out / f"{work.name}.png")
            if self.compare:
                make(self.out / "compare")
                before = work.picture(self._before(work), self.resize)
                pictures.save(beside(before, after), self.out / "compare" / f"{work.name}.png")
        elif kind.pictures:
            kind.write(row[None], self.out, self.product.field, [work.name])
        else:
            self.outputs.append(row[None])
            self.names.append(work.name)

    def _before(self, work: Work) -> Tensor:
        """What the product is given, as it is stored, in its place in the picture: with the hole."""
        key = self.product.wants[0]
        field = self.product.fields[key]
        return work.whole(medium(field.medium).stored(self._batch(work.rows)[key], field)[0])

    def _batch(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Stored rows as the network is given them."""
        fields = self.product.data.fields
        return self.product.applied({key: medium(fields[key].medium).to_batch(row) for key, row in rows.items()})

    def close(self) -> None:
        """Write what is written together."""
        import torch

        if self.outputs:
            self.product.medium.write(torch.cat(self.outputs), self.out, self.product.field, self.names)


def _holes(product: Exported, mask: Path | None, boxes: tuple[str, ...], inputs: tuple[str, ...]) -> tuple[Holes | None, list[str]]:
    """Where holes are, as --mask and --box say it, or --input mask=PATH; and the other inputs."""
    from ganzoo.runs.applied import Holes

    if not product.fills:
        if mask is not None or boxes:
            raise UsageError(f"{'--mask' if mask is not None else '--box'}: {product.name} fills no holes. Leave it out.")
        return None, list(inputs)
    masks = [Path(text.partition("=")[2]) for text in inputs if text.startswith("mask=")]
    masks += [mask] if mask is not None else []
    if len(masks) > 1:
        raise UsageError("--mask: wanted one mask, or one folder of masks.")
    if not masks and not boxes:
        raise UsageError(f"{product.name} fills holes: say where with --mask PATH, white there, or with --box X,Y,WxH.")
    return Holes.asked(masks[0] if masks else None, boxes), [text for text in inputs if not text.startswith("mask=")]


def _beside(product: Exported, inputs: Sequence[str], resize: bool, filled: bool) -> dict[str, Iterator[Tensor]]:
    """The rows of what is asked for beside the first and the mask."""
    columns = dict[str, Iterator["Tensor"]]()
    others = [key for key in product.wants[1:] if not (filled and key == "mask")]
    for text in inputs:
        key, given, path = text.partition("=")
        if not given or key not in others:
            wanted = f"one of {', '.join(others)}" if others else "nothing: it asks for nothing else"
            raise UsageError(f"--input {text}: wanted KEY=PATH, KEY {wanted}.{did_you_mean(key, others)}")
        columns[key] = _rows(product, key, Path(path), resize)
    if missing := [key for key in others if key not in columns]:
        raise UsageError(f"{product.name} asks for {', '.join(product.asks)}: name the {missing[0]} with --input {missing[0]}=PATH.")
    return columns


def _rows(product: Exported, key: str, path: Path, resize: bool) -> Iterator[Tensor]:
    """The rows of the user's files. Raises UsageError at once where there are none."""
    field = product.fields[key]
    kind = medium(field.medium)
    files = kind.files(path)
    return (kind.resized(row, field) if resize else row for file in files for row in kind.read(file, field))


def _joined(main: Iterator[Work], others: dict[str, Iterator[Tensor]]) -> Iterator[Work]:
    """Rows with those that belong to them. Raises UsageError where one column ends before another."""
    for work in main:
        for key, column in others.items():
            if (row := next(column, None)) is None:
                raise UsageError(f"--input: there are fewer rows of {key} than of the others.")
            work.rows[key] = row
        yield work
    if more := [key for key, column in others.items() if next(column, None) is not None]:
        raise UsageError(f"--input: there are more rows of {more[0]} than of the others.")


def _lots(works: Iterator[Work]) -> Iterator[list[Work]]:
    """Rows that have the same shapes, some at once: fewer of large ones."""

    def shapes(work: Work) -> object:
        return {key: row.shape for key, row in work.rows.items()}

    lot: list[Work] = []
    for work in works:
        size = sum(row.numel() for row in work.rows.values())
        if lot and (len(lot) == min(LOT, max(1, ROOM // size)) or shapes(lot[0]) != shapes(work)):
            yield lot
            lot = []
        lot.append(work)
    if lot:
        yield lot
