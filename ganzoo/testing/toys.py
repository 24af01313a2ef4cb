"""Small data that a small GAN learns in seconds, and a distance that tells whether it did."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ganzoo.data import Samples
from ganzoo.media.medium import Medium
from ganzoo.randomness import generator
from ganzoo.registry.catalogue import catalogue, medium
from ganzoo.registry.discovery import CORE
from ganzoo.types import DataSpec, Field

CLASSES = 4


@functools.cache
def folder() -> Path:
    """A folder of this process, gone when it ends."""
    path = Path(tempfile.mkdtemp(prefix="ganzoo-testing-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def media() -> list[Medium]:
    """The media that have toy data: images first, then ganzoo's own, then those of plugins."""
    entries = sorted(catalogue().entries("medium"), key=lambda e: (e.name != "image", e.plugin.distribution != CORE, e.name))
    return [kind for kind in (medium(entry.name) for entry in entries) if kind.toys]


FEW = 64  # rows of the labelled few


def spec(field: Field, keys: Sequence[str] = ()) -> DataSpec:
    """Toy data of the field, with labels; keys: the further ones that it is to have."""
    return DataSpec(_fields(field, keys), Samples("", fields=_fields(field, keys)).grouped())


def _fields(field: Field, keys: Sequence[str]) -> dict[str, Field]:
    label, mask = Field("label", (), CLASSES), Field(field.medium, (1, *field.shape[1:]))
    stems = {"y": label, "mask": mask}
    return {key: stems.get(key.partition("_")[0], field) for key in dict.fromkeys(("x", "y", *keys))}


def rows(field: Field, keys: Sequence[str] = (), n: int = 512) -> dict[str, Tensor]:
    """Stored toy rows by key. "source" is x moved by one place, "mask" hides the first half; the domain b has another order, and is
    inverted where numbers have a range, else half as far from 0."""
    toy = dict(medium(field.medium).toy(n, field))
    toy["y"] = toy["y"] % CLASSES
    made = {}
    for key in _fields(field, keys):
        stem, _, ending = key.partition("_")
        row = toy["y"] if stem == "y" else toy["x"]
        if stem == "source":
            row = row.roll(1, -1)
        if stem == "mask":
            row = torch.zeros_like(row[:, :1])
            row[..., : row.shape[-1] // 2] = 1 if row.is_floating_point() else 255
        if ending == "b":
            row = row.flip(0)
            if stem not in ("y", "mask"):
                row = row / 2 if row.is_floating_point() else row.max() + row.min() - row
        made[key] = (row[:FEW] if ending == "l" else row).clone(memory_format=torch.contiguous_format)
    return made


def file(field: Field, keys: Sequence[str] = (), n: int = 512) -> Path:
    """A file of toy data, as `--dataset` takes it."""
    from safetensors.torch import save_file

    path = folder() / f"{'-'.join([field.medium, *map(str, field.shape), *keys])}-{n}.safetensors"
    if not path.exists():
        save_file(rows(field, keys, n), path, {"ganzoo": json.dumps({"spec": spec(field, keys).to_json()})})
    return path


def distance(x: Tensor, real: Tensor, directions: int = 256) -> float:
    """Sliced Wasserstein-1 distance of two sets of points, (N, D) and (N, D): the mean over random unit directions of the mean difference
    of the sorted projections. Rabin et al. 2011."""
    along = torch.randn(x.shape[1], directions, generator=generator("directions"))
    along /= along.norm(dim=0)
    return float(((x @ along).sort(0).values - (real @ along).sort(0).values).abs().mean())
