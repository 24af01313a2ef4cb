"""Pictures from a run's generator for its report: ways between latents, and samples beside the training samples nearest to them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.randomness import between
from ganzoo.registry.catalogue import medium
from ganzoo.types import Field

if TYPE_CHECKING:
    from PIL import Image

    from ganzoo.runs.exported import Exported

ROWS = 6  # ways between latents
SAMPLES, NEAREST = 8, 4
CHUNK = 2048  # real samples that are compared at once
SMALL = 8000  # bytes of a PNG that is kept as it is


@dataclass(frozen=True)
class Neighbours:
    """A sample and the training samples nearest to it, as PNG or WebP files.

    distances: root mean square of the differences, over all numbers of a sample.
    """

    caption: str
    picture: bytes
    distances: Sequence[float]
    nearest: Sequence[bytes]


@dataclass(frozen=True)
class Generated:
    """Pictures from a generator, PNG or WebP files.

    unit: what the distances of neighbours are about. no_neighbours: why there are none, where there are none.
    """

    step: int
    interpolation: bytes
    interpolation_caption: str
    neighbours: Sequence[Neighbours] = ()
    unit: str = ""
    no_neighbours: str = ""

    @property
    def bytes(self) -> int:
        """Of all its pictures."""
        return len(self.interpolation) + sum(len(n.picture) + sum(map(len, n.nearest)) for n in self.neighbours)


def generate(exported: Exported, data: Mapping[str, Tensor] | None = None, no_data: str = "", seed: int = 0) -> Generated:
    """Draw from a generator.

    data: the prepared training set, stored rows by key; no_data: why there is none. Raises UsageError where the generator
    takes conditions other than classes.
    """
    spec, by_class, kind = exported.spec, bool(exported.given), medium(exported.spec.kind)
    real = None if data is None else data["x"]
    latents = exported.latents(2 * ROWS + SAMPLES, seed)
    classes = torch.arange(ROWS * kind.way) // kind.way % max(spec.classes, 1)
    rows = torch.cat(list(exported.outputs(between(latents[: 2 * ROWS], kind.way), classes)))
    way = kind.sheet(rows, spec.x, kind.way, None if real is None else real[: kind.per_sheet])
    caption = f"{ROWS} ways of {kind.way} samples, each from one latent to another" + (", of one class" if by_class else "")
    if real is None:
        return Generated(exported.step, packed(way), caption, no_neighbours=no_data)
    y = torch.arange(SAMPLES) % max(spec.classes, 1)
    x = torch.cat(list(exported.outputs(latents[2 * ROWS :], y)))
    captions = [_class_name(spec.class_names, int(k)) if by_class else "" for k in y]
    return Generated(exported.step, packed(way), caption, neighbours(x, real, captions, spec.x), kind.unit)


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
        own, *nearest = (packed(cell) for cell in kind.cells(torch.cat([x[i : i + 1], real[places[i][order]]]), field))
        result.append(Neighbours(captions[i], own, exact[order].tolist(), nearest))
    return result


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

