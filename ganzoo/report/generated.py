"""Pictures from a run's generator for its report: ways between latents, and samples beside the training samples nearest to them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo import pictures
from ganzoo.randomness import between

if TYPE_CHECKING:
    from PIL import Image

    from ganzoo.runs.exported import Exported

ROWS, STEPS = 6, 8  # ways between latents, and samples on each
POINT_STEPS = 64  # the same of points
SAMPLES, NEAREST = 8, 4
CHUNK = 2048  # real samples that are compared at once
SMALL = 8000  # bytes of a PNG that is kept as it is


@dataclass(frozen=True)
class Neighbours:
    """A sample and the training samples nearest to it. Pictures are PNG or WebP files; points have captions in their place.

    distances: root mean square of the differences, over all numbers of a sample; for images in units of the 255 grey levels.
    """

    caption: str
    picture: bytes
    distances: Sequence[float]
    nearest: Sequence[bytes]
    nearest_captions: Sequence[str]


@dataclass(frozen=True)
class Generated:
    """Pictures from a generator, PNG or WebP files. no_neighbours: why there are no neighbours, where there are none."""

    step: int
    interpolation: bytes
    interpolation_caption: str
    neighbours: Sequence[Neighbours] = ()
    no_neighbours: str = ""

    @property
    def bytes(self) -> int:
        """Of all its pictures."""
        return len(self.interpolation) + sum(len(n.picture) + sum(map(len, n.nearest)) for n in self.neighbours)


def generate(exported: Exported, data: Mapping[str, Tensor] | None = None, no_data: str = "", seed: int = 0) -> Generated:
    """Draw from a generator.

    data: the prepared training set, "x" uint8 images or float32 points; no_data: why there is none. Raises UsageError where the generator
    takes conditions other than classes.
    """
    spec, by_class = exported.spec, bool(exported.given)
    real = None if data is None else data["x"]
    latents = exported.latents(2 * ROWS + SAMPLES, seed)
    steps = STEPS if spec.kind == "image" else POINT_STEPS
    classes = torch.arange(ROWS * steps) // steps % max(spec.classes, 1)
    rows = torch.cat(list(exported.outputs(between(latents[: 2 * ROWS], steps), classes)))
    if spec.kind == "image":
        way = pictures.sheet(rows, steps)
        caption = f"{ROWS} rows of {steps} samples; each row goes from one latent to another" + (", of one class" if by_class else "")
    else:
        way = pictures.scatter(rows, None if real is None else real[:2500])
        caption = f"{ROWS} ways of {steps} samples from one latent to another" + (", over real points in grey" if real is not None else "")
    if real is None:
        return Generated(exported.step, packed(way), caption, no_neighbours=no_data)
    y = torch.arange(SAMPLES) % max(spec.classes, 1)
    x = torch.cat(list(exported.outputs(latents[2 * ROWS :], y)))
    captions = [_class_name(spec.class_names, int(k)) if by_class else "" for k in y]
    return Generated(exported.step, packed(way), caption, neighbours(x, real, captions))


def neighbours(x: Tensor, real: Tensor, captions: Sequence[str]) -> list[Neighbours]:
    """Each sample's nearest among all real ones (M, ...): uint8 images, or float32 points."""
    image, flat = x.dtype == torch.uint8, x.flatten(1).float()
    best = torch.full((len(flat), 0), 0.0)
    places = torch.zeros(len(flat), 0, dtype=torch.int64)
    for start in range(0, len(real), CHUNK):
        chunk = real[start : start + CHUNK].flatten(1).float()
        squares = (flat.square().sum(1, keepdim=True) + chunk.square().sum(1) - 2 * flat @ chunk.T).clamp_min(0)
        best = torch.cat([best, squares], 1)
        places = torch.cat([places, torch.arange(start, start + len(chunk)).expand(len(flat), -1)], 1)
        best, kept = best.topk(min(2 * NEAREST, best.shape[1]), largest=False)
        places = places.gather(1, kept)
    result = []
    for i, sample in enumerate(flat):
        # The sum above loses digits where samples are near: those that it chose are measured again.
        exact = (real[places[i]].flatten(1).float() - sample).square().mean(1).sqrt()
        order = exact.argsort(stable=True)[:NEAREST]
        nearest = real[places[i][order]]
        result.append(
            Neighbours(
                captions[i] or ("" if image else _point(x[i])),
                packed(pictures.to_image(x[i])) if image else b"",
                exact[order].tolist(),
                [packed(pictures.to_image(one)) for one in nearest] if image else [],
                [] if image else [_point(one) for one in nearest],
            )
        )
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


def _point(x: Tensor) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in x.flatten()[:4].tolist()) + (", ...)" if x.numel() > 4 else ")")
