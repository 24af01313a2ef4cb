"""All randomness is counted, none is remembered: every draw is a function of the seed, what it is for, and a counter."""

from __future__ import annotations

import hashlib

import torch


def seed_of(*keys: object) -> int:
    """A 63-bit seed that depends on all keys and on nothing else."""
    return int.from_bytes(hashlib.blake2b(repr(keys).encode(), digest_size=8).digest(), "little") >> 1


def seed_step(seed: int, t: int) -> None:
    """Seed torch's global generators, of every device, for step t; -1 is what comes before the first: the weights."""
    torch.manual_seed(seed_of(seed, "step", t))


def generator(*keys: object) -> torch.Generator:
    """A generator of its own on the CPU."""
    return torch.Generator().manual_seed(seed_of(*keys))
