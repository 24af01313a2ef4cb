"""Small data that a small GAN learns in seconds, and a distance that tells whether it did."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

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


def spec(field: Field) -> DataSpec:
    """Toy data of the field, with labels."""
    return DataSpec({"x": field, "y": Field("label", (), CLASSES)}, {"": ("x", "y")})


def file(field: Field, n: int = 512) -> Path:
    """A file of labelled toy data, as `--dataset` takes it."""
    from safetensors.torch import save_file

    path = folder() / f"{field.medium}-{'-'.join(map(str, field.shape))}-{n}.safetensors"
    if not path.exists():
        rows = {key: rows.contiguous() for key, rows in medium(field.medium).toy(n, field).items()}
        save_file(rows, path, {"ganzoo": json.dumps({"spec": spec(field).to_json()})})
    return path


def distance(x: Tensor, real: Tensor, directions: int = 256) -> float:
    """Sliced Wasserstein-1 distance of two sets of points, (N, D) and (N, D): the mean over random unit directions of the mean difference
    of the sorted projections. Rabin et al. 2011."""
    along = torch.randn(x.shape[1], directions, generator=generator("directions"))
    along /= along.norm(dim=0)
    return float(((x @ along).sort(0).values - (real @ along).sort(0).values).abs().mean())
