"""Counted randomness: every draw is a function of the seed, its purpose and a counter, so no random state is ever saved."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from ganzoo.types import Prior


def seed_of(*keys: object) -> int:
    """A 63-bit seed that depends on all keys and on nothing else."""
    return int.from_bytes(hashlib.blake2b(repr(keys).encode(), digest_size=8).digest(), "little") >> 1


def seed_step(seed: int, t: int) -> None:
    """Seed torch's global generators, of every device, for step t; t = -1 is for the first weights."""
    torch.manual_seed(seed_of(seed, "step", t))


def generator(*keys: object) -> torch.Generator:
    """A new CPU generator, seeded from the keys."""
    return torch.Generator().manual_seed(seed_of(*keys))


def sample(prior: Prior, n: int, g: torch.Generator | None = None) -> Tensor:
    """n rows of a prior, (n, *shape), on the CPU; from torch's global generator where none is given."""
    shape = (n, *prior.shape)
    match prior.law:
        case "normal":
            return torch.randn(shape, generator=g)
        case "uniform":
            return torch.rand(shape, generator=g) * 2 - 1
        case "unit":
            return torch.rand(shape, generator=g)
        case "index":
            return torch.randint(prior.size, shape, generator=g)
        case "onehot":
            return torch.nn.functional.one_hot(torch.randint(prior.size, shape, generator=g), prior.size).float()


def draw(purpose: str, prior: Prior, n: int, device: torch.device | str = "cpu") -> Tensor:
    """n rows of a prior, (n, *shape), drawn on the CPU, so that they are the same on every device.

    purpose: what they are for, as the name of a latent.
    """
    return sample(prior, n).to(device)


class Draws:
    """The scope of draws."""


@contextlib.contextmanager
def draws(*keys: object) -> Iterator[Draws]:
    """The scope of `draw` outside of a step: what is drawn inside is a function of the keys."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(*keys))
        yield Draws()


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
