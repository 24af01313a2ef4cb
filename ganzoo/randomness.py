"""Counted randomness: every draw is a function of the seed, its purpose and a counter, so no random state is ever saved."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*keys: object) -> int:
    """A 63-bit seed that depends on all keys and on nothing else."""
    return int.from_bytes(hashlib.blake2b(repr(keys).encode(), digest_size=8).digest(), "little") >> 1


def seed_step(seed: int, t: int) -> None:
    """Seed torch's global generators, of every device, for step t; t = -1 is for the first weights."""
    torch.manual_seed(seed_of(seed, "step", t))


def generator(*keys: object) -> torch.Generator:
    """A new CPU generator, seeded from the keys."""
    return torch.Generator().manual_seed(seed_of(*keys))


def between(ends: Tensor, steps: int) -> Tensor:
    """Latents on the arc between each pair of ends, (2 * pairs, ...): (pairs * steps, ...).

    The arc (Shoemake's slerp) keeps the length that the prior gives latents; a straight line would pass through shorter ones.
    """
    a, b = ends[0::2], ends[1::2]
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    cosine = (flat_a * flat_b).sum(1) / (flat_a.norm(dim=1) * flat_b.norm(dim=1)).clamp_min(1e-8)
    angle = cosine.clamp(-1, 1).arccos().clamp_min(1e-4).view(-1, *[1] * (a.dim() - 1))
    rows = [
        (((1 - s) * angle).sin() * a + (s * angle).sin() * b) / angle.sin().clamp_min(1e-6) for s in torch.linspace(0, 1, steps).tolist()
    ]
    return torch.stack(rows, 1).flatten(0, 1)
