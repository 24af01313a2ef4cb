"""Pictures from a run's generator for its report: ways between latents, and samples beside the training samples nearest to them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.randomness import between
from ganzoo.registry.catalogue import medium
from ganzoo.types import Field

if TYPE_CHECKING:
    from PIL import Image

    from ganzoo.data import Batches
    from ganzoo.runs.exported import Exported

ROWS = 6  # ways between latents
SAMPLES, NEAREST = 8, 4
CHUNK = 2048  # real samples that are compared at once
BETWEEN, DRAWN, APPLIED = "Between latents", "More samples", "Applied to the data"
SMALL = 8000  # bytes of a PNG that is kept as it is
FEW = 4  # numbers of a row that are told one by one

Shown = bytes | str | Mapping[str, str]
"""A row of the data: a picture as a PNG or WebP file, a text, or texts by column."""


@dataclass(frozen=True)
class Neighbours:
    """A sample and the training samples nearest to it.

    distances: root mean square of the differences, over all numbers of a sample.
    """

    caption: str
    sample: Shown
    distances: Sequence[float]
    nearest: Sequence[Shown]


@dataclass(frozen=True)
class Generated:
    """Pictures from a generator, PNG or WebP files.

    unit: what the distances of neighbours are about. no_neighbours: why there are none, where there are none. heading: of the picture.
    turned: instead of one picture those of each row, by what they are: what was given, what was made of it, the truth.
    columns: what stands beside each other on the run's sheets, where that is not one sample beside another.
    """

    step: int
    interpolation: bytes
    interpolation_caption: str
    neighbours: Sequence[Neighbours] = ()
    unit: str = ""
    no_neighbours: str = ""
    heading: str = BETWEEN
    turned: Sequence[Mapping[str, bytes]] = ()
    columns: Sequence[str] = ()

    @property
    def bytes(self) -> int:
        """Of all its pictures."""
        pictures = [*(n.sample for n in self.neighbours), *(picture for row in self.turned for picture in row.values())]
        return len(self.interpolation) + sum(map(len, pictures)) + sum(len(near) for n in self.neighbours for near in n.nearest)


def generate(exported: Exported, batches: Batches | None = None, no_data: str = "", seed: int = 0) -> Generated:
    """Draw from a product of a run, or apply it to the first rows of the data.

    batches: the data of the run; no_data: why there is none. Raises UsageError where a product asks for data and there is none.
    """
    if exported.asks:
        return _applied(exported, batches, no_data, seed)
    field, kind, classes = exported.field, exported.medium, exported.classes
    real = None if batches is None or not exported.key else batches.stored_rows(exported.key)
    latents = exported.latents(2 * ROWS + SAMPLES, seed)
    smooth = {name for name, prior in exported.network.latents().items() if prior.law in ("normal", "uniform")}
    way = {
        name: between(z[: 2 * ROWS], kind.way) if name in smooth else z[: 2 * ROWS : 2].repeat_interleave(kind.way, 0)
        for name, z in latents.items()
    }
    if not smooth:
        way = exported.latents(ROWS * kind.way, seed + 1)
    rows = torch.cat(list(exported.outputs(ROWS * kind.way, seed, way | _each(exported, torch.arange(ROWS * kind.way) // kind.way))))
    picture = packed(kind.sheet(rows, field, kind.way, None if real is None else real[: kind.per_sheet]))
    caption = f"{ROWS} ways of {kind.way} samples, each from one latent to another" + (", of one class" if classes else "")
    heading = BETWEEN
    if not smooth:
        heading, caption = DRAWN, f"{ROWS * kind.way} samples: between its latents there is no way"
    if real is None:
        return Generated(exported.step, picture, caption, no_neighbours=no_data, heading=heading)
    shown = {name: z[2 * ROWS :] for name, z in latents.items()} | _each(exported, torch.arange(SAMPLES))
    x = torch.cat(list(exported.outputs(SAMPLES, seed, shown)))
    captions = [_class_name(classes.names, i % max(classes.size, 1)) if classes else "" for i in range(SAMPLES)]
    return Generated(exported.step, picture, caption, neighbours(x, real, captions, field), kind.unit, heading=heading)


def _each(exported: Exported, y: Tensor) -> dict[str, Tensor]:
    """Classes in turn, by key, for a product that takes one."""
    size = exported.classes.size if exported.classes else 1
    return {key: y % max(size, 1) for key in exported.fields if key not in exported.asks}


def _applied(exported: Exported, batches: Batches | None, no_data: str, seed: int) -> Generated:
    if batches is None:
        raise UsageError(f"{exported.name} asks for {', '.join(exported.asks)}. {no_data}".strip())
    wiped = all(medium(field.medium).pictures for field in (exported.field, *(exported.fields[key] for key in exported.asks)))
    rows = SAMPLES if wiped else 2 * SAMPLES
    peek = {key: value.cpu() for key, value in batches.peek(rows).items()}
    given = {key: peek[key] for key in {*exported.fields, *exported.wants}}
    x = exported.kept(torch.cat(list(exported.outputs(rows, seed, given))), given)
    truth = exported.medium.stored(peek[exported.key], exported.field) if exported.has_truth else None
    beside = exported.beside(x, given, truth)
    caption = f"{', '.join(exported.asks)} of the training data, then {exported.name}" + (", then the truth" if truth is not None else "")
    why = "Each output belongs to a row of the data: there is nothing to seek."
    made = Generated(exported.step, b"", caption, no_neighbours=why, heading=APPLIED, columns=tuple(beside))
    if not wiped:
        return replace(made, interpolation=packed(exported.sheet(x, SAMPLES, given, truth)))
    beside.pop("mask", None)
    return replace(made, turned=[dict(zip(beside, map(packed, row), strict=True)) for row in zip(*beside.values(), strict=True)])


def neighbours(x: Tensor, real: Tensor, captions: Sequence[str], field: Field) -> list[Neighbours]:
    """Each sample's nearest among all real ones (M, ...), stored rows of the field both."""
    kind = medium(field.medium)
    flat = kind.coordinates(x, field)
    best = torch.full((len(flat), 0), 0.0)
    places = torch.zeros(len(flat), 0, dtype=torch.int64)
    for start in range(0, len(real), CHUNK):
        chunk = kind.coordinates(real[start : start + CHUNK], field)
        squares = (flat.square().sum(1, keepdim=True) + chunk.square().sum(1) - 2 * flat @ chunk.T).clamp_min(0)
        best = torch.cat([best, squares], 1)
        places = torch.cat([places, torch.arange(start, start + len(chunk)).expand(len(flat), -1)], 1)
        best, kept = best.topk(min(2 * NEAREST, best.shape[1]), largest=False)
        places = places.gather(1, kept)
    result = []
    for i, sample in enumerate(flat):
        # The sum above loses digits where samples are near: those that it chose are measured again.
        exact = (kind.coordinates(real[places[i]], field) - sample).square().mean(1).sqrt()
        order = exact.argsort(stable=True)[:NEAREST]
        own, *nearest = shown(torch.cat([x[i : i + 1], real[places[i][order]]]), field)
        result.append(Neighbours(captions[i], own, exact[order].tolist(), nearest))
    return result


def shown(rows: Tensor, field: Field) -> list[Shown]:
    """Stored rows as a page shows them: as text where they are text, a few numbers or a row of a table, which a picture would blur."""
    kind = medium(field.medium)
    if not kind.pictures:
        told: list[Shown] = [text for row in kind.objects(rows, field) if (text := _told(row)) is not None]
        if len(told) == len(rows):
            return told
    return [packed(cell) for cell in kind.cells(rows, field)]


def _told(row: Any) -> str | Mapping[str, str] | None:
    """What a medium calls a row, as text; None where it is none."""
    if isinstance(row, str):
        return row
    if isinstance(row, Mapping):
        return {str(name): str(value) for name, value in row.items()}
    if getattr(row, "ndim", 0) == 1 and len(row) <= FEW:
        return "(" + ", ".join(f"{value:.3g}" for value in row.tolist()) + ")"
    return None


def packed(image: Image.Image) -> bytes:
    """The picture as a file in memory: PNG, or WebP where that would be large, which loses a little."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    if file.tell() > SMALL:
        file = io.BytesIO()
        image.convert("RGB").save(file, format="WEBP", quality=90, method=4)
    return file.getvalue()


def _class_name(names: Sequence[str], y: int) -> str:
    return names[y] if y < len(names) else f"class {y}"
