"""Codes: the numbers among a network's latents, all but the noise "z", that somebody can fix or sweep, where they are otherwise drawn."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ganzoo.errors import UsageError, one_line
from ganzoo.types import Prior

NOISE = "z"
STEPS = 8  # of a sweep from one number to another


@dataclass(frozen=True)
class Code:
    """One of them: a whole number below a size, or one entry of a vector.

    latent: the latent that it lies in. place: its number in there, where rows are flat. prior: of the latent.
    """

    latent: str
    place: int
    prior: Prior

    @property
    def size(self) -> int:
        """How many values it has; 0: any number."""
        return self.prior.size

    @property
    def said(self) -> str:
        """What it is, for messages: "c, 0 to 9"."""
        entry = f"{self.latent}[{self.place}]" if prod(self.prior.shape) > 1 else self.latent
        usual = {"normal": "normal", "uniform": "usually -1 to 1", "unit": "usually 0 to 1"}
        return f"{entry}, {usual.get(self.prior.law) or f'0 to {self.size - 1}'}"

    def check(self, number: int, value: float) -> float:
        """The value. Raises UsageError for one that it cannot have."""
        if not math.isfinite(value) or (self.size and not (value == int(value) and 0 <= value < self.size)):
            wanted = f"a whole number from 0 to {self.size - 1}" if self.size else "a number"
            raise UsageError(f"code {number} ({self.said}): wanted {wanted}; got {value:g}.")
        return value


def codes_of(latents: Mapping[str, Prior]) -> tuple[Code, ...]:
    """The codes of a network in the order of their numbers: its latents but "z", in its own order, entry by entry."""
    return tuple(Code(name, i, prior) for name, prior in latents.items() if name != NOISE for i in range(prod(prior.shape)))


def told(codes: Sequence[Code], shown: int = 8) -> str:
    """Which codes there are, for messages."""
    listed = "; ".join(f"{i}: {code.said}" for i, code in enumerate(codes[:shown]))
    return one_line(listed) + (f"; ... ({len(codes)} in all)" if len(codes) > shown else "")


def checked(codes: Sequence[Code], values: Mapping[int, Iterable[float]]) -> dict[int, list[float]]:
    """The values that each code takes, by its number. Raises UsageError for a code that there is not, or a value that it cannot have."""
    for number in values:
        if not 0 <= number < len(codes):
            raise UsageError(f"wanted the number of a code ({told(codes)}); got {number}.")
    return {number: [codes[number].check(number, float(value)) for value in chosen] for number, chosen in values.items()}


def parsed(words: Iterable[str], codes: Sequence[Code]) -> dict[int, list[float]]:
    """The values of codes, as the command line says it: "0=3", or "1=-2..2" for a sweep: of whole numbers each, else in eight steps.

    Raises UsageError for other texts, and as `checked` does.
    """
    values: dict[int, list[float]] = {}
    for word in words:
        number, first, last = _read(word)
        if number in values:
            raise UsageError(f"--code {word}: code {number} is named twice. Leave one out.")
        try:
            ends = checked(codes, {number: [first] if last is None else [first, last]})[number]
        except UsageError as e:
            raise UsageError(f"--code {word}: {e}") from e
        if last is not None:
            ends = _way(ends[0], ends[1], codes[number].size)
        values[number] = ends
    return values


def _read(word: str) -> tuple[int, float, float | None]:
    found = re.fullmatch(r"\s*(\d{1,9})\s*=\s*(.+?)\s*(?:\.\.\s*(.+?)\s*)?", word)
    try:
        if found is not None:
            return int(found[1]), float(found[2]), None if found[3] is None else float(found[3])
    except ValueError:
        pass
    raise UsageError(f"--code {word}: wanted NUMBER=VALUE, as 0=3, or NUMBER=FROM..TO to sweep, as 1=-2..2.")


def _way(first: float, last: float, size: int) -> list[float]:
    if not size:
        return torch.linspace(first, last, STEPS, dtype=torch.float64).tolist()
    step = 1 if first <= last else -1
    return [float(value) for value in range(int(first), int(last) + step, step)]


def settings(values: Mapping[int, Sequence[float]]) -> list[dict[int, float]]:
    """Every combination of the values, the last code's changing fastest; one that fixes nothing where there are none."""
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def with_codes(latents: Mapping[str, Tensor], codes: Sequence[Code], rows: Sequence[Mapping[int, float]]) -> dict[str, Tensor]:
    """The latents, n rows each by name, where the codes of row i take the values of rows[i], by their numbers."""
    changed = {name: value.clone() for name, value in latents.items()}
    for number in {number for row in rows for number in row}:
        code = codes[number]
        of = torch.tensor([i for i, row in enumerate(rows) if number in row])
        value = torch.tensor([row[number] for row in rows if number in row], dtype=torch.float64)
        whole = changed[code.latent]
        flat = whole.view(len(rows), prod(code.prior.shape), -1)  # the last axis of "onehot" has an entry a value
        if code.prior.law == "onehot":
            flat[of, code.place] = torch.nn.functional.one_hot(value.long(), code.size).to(whole.dtype)
        else:
            flat[of, code.place, 0] = value.to(whole.dtype)
    return changed
