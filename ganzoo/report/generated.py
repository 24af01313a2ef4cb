"""What is drawn from a run's generator for its report: ways between latents, and samples beside the training samples nearest to them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo import pictures
from ganzoo.errors import UsageError
from ganzoo.randomness import between, seed_step

if TYPE_CHECKING:
    from PIL import Image

    from ganzoo.interfaces import Generator

ROWS, STEPS = 6, 8
SAMPLES, NEAREST = 8, 4
CHUNK = 2048
SMALL = 8000  # bytes of a PNG that is kept as it is


@dataclass(frozen=True)
class Neighbours:
    """A sample and the training samples nearest to it. Pictures are PNG or WebP files; where there are none, `told` says the numbers.

    distances: root mean square of the differences, over all numbers of a sample; for images in units of the 255 grey levels.
    """

    told: str
    picture: bytes
    distances: Sequence[float]
    nearest: Sequence[bytes]
    nearest_told: Sequence[str]


@dataclass(frozen=True)
class Drawn:
    """Pictures from a generator, PNG or WebP files; an empty one is absent, and no_neighbours says why there are none of those."""

    step: int
    interpolation: bytes
    interpolation_told: str
    neighbours: Sequence[Neighbours] = ()
    no_neighbours: str = ""

    @property
    def bytes(self) -> int:
        """Of all its pictures."""
        return len(self.interpolation) + sum(len(found.picture) + sum(map(len, found.nearest)) for found in self.neighbours)


def draw(
    generator: Generator, given: Sequence[str], step: int, data: Mapping[str, Tensor] | None = None, no_data: str = "", seed: int = 0
) -> Drawn:
    """Ask a generator in eval mode.

    Args: given: the conditions that it takes. step: of its file. data: the prepared training set, "x" uint8 images or float32 points;
        no_data: why there is none. seed: of the latents.
    Raises UsageError where it takes conditions other than classes.
    """
    if unknown := [key for key in given if key != "y"]:
        raise UsageError(f"The generator needs {', '.join(unknown)}, which a report does not give it.")
    spec = generator.spec
    real = None if data is None else data["x"]
    seed_step(seed, 0)
    with torch.no_grad():
        rows = _sample(generator, between(generator.latent(2 * ROWS), STEPS), given, torch.arange(ROWS * STEPS) // STEPS)
        if spec.kind == "image":
            way = pictures.sheet(rows, STEPS)
            told = f"{ROWS} rows of {STEPS} samples; each row goes from one latent to another"
            told += ", of one class" if given else ""
        else:
            many = between(generator.latent(2 * ROWS), 64)
            way = pictures.scatter(_sample(generator, many, given, torch.arange(len(many)) // 64), None if real is None else real[:2500])
            told = f"{ROWS} ways of 64 samples from one latent to another" + (", over real points in grey" if real is not None else "")
        classes = torch.arange(SAMPLES) % max(spec.classes, 1)
        x = _sample(generator, generator.latent(SAMPLES), given, classes)
    drawn = Drawn(step, packed(way), told, no_neighbours=no_data)
    if real is None:
        return drawn
    told_of = [_class(spec.class_names, int(y)) if given else "" for y in classes]
    return Drawn(step, drawn.interpolation, told, neighbours(x, real, spec.kind == "image", told_of))


def neighbours(x: Tensor, real: Tensor, image: bool, told: Sequence[str]) -> list[Neighbours]:
    """Each sample's nearest among all real ones (M, ...): uint8 images for samples in [-1, 1], or points."""
    wanted = pictures.to_bytes(x) if image else x.detach().float().cpu()
    flat = wanted.flatten(1).float()
    best = torch.full((len(flat), 0), 0.0)
    places = torch.zeros(len(flat), 0, dtype=torch.int64)
    for start in range(0, len(real), CHUNK):
        there = real[start : start + CHUNK].flatten(1).float()
        squares = (flat.square().sum(1, keepdim=True) + there.square().sum(1) - 2 * flat @ there.T).clamp_min(0)
        best = torch.cat([best, squares], 1)
        places = torch.cat([places, torch.arange(start, start + len(there)).expand(len(flat), -1)], 1)
        best, kept = best.topk(min(2 * NEAREST, best.shape[1]), largest=False)
        places = places.gather(1, kept)
    found = []
    for i, sample in enumerate(flat):
        # The sum above loses digits where samples are near: those that were found are measured again.
        exact = (real[places[i]].flatten(1).float() - sample).square().mean(1).sqrt()
        order = exact.argsort(stable=True)[:NEAREST]
        close = real[places[i][order]]
        found.append(
            Neighbours(
                told[i] or ("" if image else _point(wanted[i])),
                packed(pictures.to_image(wanted[i])) if image else b"",
                exact[order].tolist(),
                [packed(pictures.to_image(one)) for one in close] if image else [],
                [] if image else [_point(one) for one in close],
            )
        )
    return found


def packed(image: Image.Image) -> bytes:
    """The picture as a file in memory: PNG, or WebP where that would be large, which loses a little."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    if file.tell() > SMALL:
        file = io.BytesIO()
        image.convert("RGB").save(file, format="WEBP", quality=90, method=4)
    return file.getvalue()


def _sample(generator: Generator, z: Tensor, given: Sequence[str], classes: Tensor) -> Tensor:
    return generator(z, y=classes % generator.spec.classes) if given else generator(z)


def _class(names: Sequence[str], y: int) -> str:
    return names[y] if y < len(names) else f"class {y}"


def _point(x: Tensor) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in x.flatten()[:4].tolist()) + (", ...)" if x.numel() > 4 else ")")
