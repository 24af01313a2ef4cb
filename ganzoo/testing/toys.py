"""Small data that a small GAN learns in seconds, and a distance that tells whether it did."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from ganzoo.randomness import generator

CLASSES = 4


@functools.cache
def folder() -> Path:
    """A folder of this process, gone when it ends."""
    path = Path(tempfile.mkdtemp(prefix="ganzoo-testing-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def shapes(n: int, channels: int, size: int) -> dict[str, Tensor]:
    """Bright discs, squares, crosses and bars on dark ground, a little shifted: x uint8 (n, channels, size, size), y the shape's number.

    With three channels each class has a colour of its own.
    """
    g = generator("shapes", n, size)
    y = torch.arange(n) % CLASSES
    middle = size / 2 - 0.5 + (torch.rand(n, 2, generator=g) - 0.5) * size / 8
    axis = torch.arange(size, dtype=torch.float32)
    up = (axis.view(1, -1, 1) - middle[:, 0].view(-1, 1, 1)).abs() / size
    across = (axis.view(1, 1, -1) - middle[:, 1].view(-1, 1, 1)).abs() / size
    drawn = torch.stack(
        [
            (up.square() + across.square()).sqrt() < 0.3,
            torch.maximum(up, across) < 0.25,
            torch.minimum(up, across).lt(0.08) & torch.maximum(up, across).lt(0.4),
            torch.maximum(up / 3, across) < 0.13,
        ]
    )[y, torch.arange(n)]
    ink = torch.tensor([[230, 60, 60], [60, 230, 60], [60, 60, 230], [210, 210, 40]])[y][:, :channels] if channels == 3 else None
    bright = torch.full((n, channels), 220) if ink is None else ink
    x = torch.where(drawn[:, None], bright[:, :, None, None], 25)
    return {"x": x.to(torch.uint8), "y": y}


def clusters(n: int) -> dict[str, Tensor]:
    """Four Gaussians in the plane, at the corners of a square: x float32 (n, 2), standard deviation 0.1, the corners at (±1, ±1)."""
    g = generator("clusters", n)
    k = torch.arange(n) % 4
    return {"x": torch.stack([(k % 2) * 2 - 1.0, (k // 2) * 2 - 1.0], 1) + 0.1 * torch.randn(n, 2, generator=g)}


@functools.cache
def file(kind: str, channels: int = 1, size: int = 16, n: int = 512) -> Path:
    """A file of toy data, as `--dataset` takes it."""
    from safetensors.torch import save_file

    path = folder() / f"{kind}-{channels}-{size}-{n}.safetensors"
    save_file(clusters(n) if kind == "points" else shapes(n, channels, size), path)
    return path


def distance(x: Tensor, real: Tensor, directions: int = 256) -> float:
    """Sliced Wasserstein-1 distance of two sets of samples, (N, ...) and (N, ...): the mean over random unit directions of the mean
    difference of the sorted projections. Rabin et al. 2011."""
    flat, other = x.detach().float().flatten(1), real.float().flatten(1)
    along = torch.randn(flat.shape[1], directions, generator=generator("directions"))
    along /= along.norm(dim=0)
    return float(((flat @ along).sort(0).values - (other @ along).sort(0).values).abs().mean())
