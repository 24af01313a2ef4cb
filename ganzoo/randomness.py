"""Counted randomness: every draw is a function of the seed, its purpose and a counter, so no random state is ever saved."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganzoo import ranks
from ganzoo.errors import GanzooError
from ganzoo.machine import to_device
from ganzoo.types import Prior

#: Of `shuffled`; an even number.
ROUNDS = 8


def seed_of(*keys: object) -> int:
    """A 63-bit seed that depends on all keys and on nothing else."""
    return int.from_bytes(hashlib.blake2b(repr(keys).encode(), digest_size=8).digest(), "little") >> 1


def seed_step(seed: int, t: int) -> None:
    """Seed torch's global generators, of every device, for step t; t = -1 is for the first weights.

    Only dropout and the like draw from them: all else says `draw`.
    """
    number = seed_of(seed, "step", t)
    # What torch.manual_seed does, in a hundredth of its time: that asks about devices which are not there.
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)


def generator(*keys: object) -> torch.Generator:
    """A new CPU generator, seeded from the keys."""
    return torch.Generator().manual_seed(seed_of(*keys))


def shuffled(places: Tensor, n: int, *keys: object) -> Tensor:
    """What a random permutation of n, a function of the keys, has at these places: int64 (m,), each from 0 to n - 1.

    Each is computed by itself, in no time that depends on n: a place is written as a pair of digits a < A and b < B with A B >= n, and in
    each round one digit has a hash of the other added, which can be undone (a Feistel network: Luby and Rackoff 1988). What falls on n or
    more, at most one in sqrt(n), goes on until it does not (cycle walking: Black and Rogaway 2002).
    """
    size_a = math.isqrt(n - 1) + 1
    size_b = -(-n // size_a)
    secrets = torch.randint(1 << 31, (ROUNDS,), generator=generator(*keys)).tolist()
    out, left = places.clone(), torch.arange(len(places))
    while len(left):
        a, b = out[left] // size_b, out[left] % size_b
        for secret in secrets:
            a, b, size_a, size_b = b, (a + _mixed(b, secret)) % size_a, size_b, size_a
        out[left] = a * size_b + b
        left = left[out[left] >= n]
    return out


def _mixed(x: Tensor, secret: int) -> Tensor:
    """A hash of numbers below 2**31: int64, from 0 up to 2**31; no product is larger than 2**62."""
    for factor in (0x45D9F3B3, 0x7ED55D17):
        x = ((x ^ (x >> 15) ^ secret) & 0x7FFFFFFF) * factor
        x = (x ^ (x >> 31)) & 0x7FFFFFFF
    return x


def sample(prior: Prior, n: int, g: torch.Generator) -> Tensor:
    """n rows of a prior, (n, *shape), on the CPU."""
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


@dataclass
class Draws:
    """The draws of one scope, of a step for example. keys: what they are a function of."""

    keys: tuple[object, ...]
    _asked: dict[str, int] = field(default_factory=dict)

    def take(self, purpose: str, prior: Prior, n: int) -> Tensor:
        """The next draw for this purpose."""
        i = self._asked.get(purpose, 0)
        self._asked[purpose] = i + 1
        g = generator(*self.keys, purpose, i)
        part = ranks.shared()
        return sample(prior, n, g) if part is None else part.cut(lambda rows: sample(prior, rows, g), n)


_scopes: list[Draws] = []


@contextmanager
def draws(*keys: object) -> Iterator[Draws]:
    """The scope of `draw`: what is drawn inside is a function of the keys. A step of a run has one already."""
    with within(Draws(keys)) as scope:
        yield scope


@contextmanager
def within(scope: Draws) -> Iterator[Draws]:
    """The same with draws that are there already."""
    _scopes.append(scope)
    try:
        yield scope
    finally:
        _scopes.pop()


def draw(purpose: str, prior: Prior, n: int, device: torch.device | str = "cpu") -> Tensor:
    """n rows of a prior, (n, *shape): a function of the seed, the step, the purpose and how often it was asked for in this step.

    So a part that draws changes nothing of what others draw. Drawn on the CPU, so that it is the same on every device; in a run of
    several ranks, n rows of what is drawn for the whole batch.

    Args:
        purpose: what they are for, as the name of a latent.
        prior: of a row.
        n: rows of the batch.
        device: where they go.

    Raises GanzooError outside of a step: there, `with ganzoo.draws(seed, "why"):` opens a scope.
    """
    if not _scopes:
        raise GanzooError(
            f"draw({purpose!r}): nothing says what it is a function of. Outside of a step: with ganzoo.draws(seed, 'why'): ..."
        )
    return to_device(_scopes[-1].take(purpose, prior, n), device)


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
