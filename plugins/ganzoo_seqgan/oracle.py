"""Yu et al. 2017 (arXiv:1609.05473), section 4: an LSTM with weights from N(0, 1) makes the texts, so their probabilities are known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo import Accumulator, FeatureBatch, Field, Metric, Request, Samples, UsageError
from ganzoo_seqgan import OracleOptions, TruthOptions

WIDTH = 32  # of embeddings and of the state, in the authors' code
GATES = 4  # input, forget and output gate, candidate: each with weights of the word, weights of the state, a bias
TENSORS = 1 + 3 * GATES + 2
AT_ONCE = 1000


class Oracle:
    """An LSTM in float64. weights: the embedding (V, E); of each gate (E, H), (H, H), (H,); then (H, V) and (V,) of the output."""

    def __init__(self, weights: list[Tensor]) -> None:
        self.embedding, gates, (self.out, self.bias) = weights[0].double(), weights[1:-2], (w.double() for w in weights[-2:])
        self.inner = torch.cat(gates[0::3], 1).double()
        self.across = torch.cat(gates[1::3], 1).double()
        self.shift = torch.cat(gates[2::3]).double()

    @classmethod
    def made(cls, words: int, seed: int) -> Oracle:
        """All weights from N(0, 1)."""
        g = torch.Generator().manual_seed(seed)
        shapes = [(words, WIDTH), *[(WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH,)] * GATES, (WIDTH, words), (words,)]
        return cls([torch.randn(shape, generator=g) for shape in shapes])

    @classmethod
    def of_file(cls, path: Path) -> Oracle:
        """The tensors of a .safetensors file in the order of their names. Raises UsageError where they are no such oracle."""
        from safetensors.torch import load_file

        try:
            found = load_file(path)
        except Exception as e:  # its own errors have no common class
            raise UsageError(f"{path}: wanted a .safetensors file with an oracle's weights: {e}.") from e
        weights = [found[name] for name in sorted(found)]
        E, H = (weights[0].shape[-1], weights[3].shape[0]) if len(weights) == TENSORS and weights[3].dim() else (0, 0)
        V = len(weights[0]) if weights and weights[0].dim() else 0
        wanted = [(V, E), *[(E, H), (H, H), (H,)] * GATES, (H, V), (V,)]
        if [tuple(w.shape) for w in weights] != wanted:
            raise UsageError(f"{path}: wanted {TENSORS} tensors: an embedding (V, E), (E, H), (H, H), (H,) of each gate, (H, V), (V,).")
        return cls(weights)

    @property
    def words(self) -> int:
        """Of the vocabulary."""
        return len(self.embedding)

    def step(self, word: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logarithms of the probabilities of the next word, (N, V), after a word (N,), and the state."""
        hidden, cell = state
        i, f, o, c = (self.embedding[word] @ self.inner + hidden @ self.across + self.shift).chunk(GATES, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * c.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return (hidden @ self.out + self.bias).log_softmax(1), (hidden, cell)

    def start(self, n: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The first word and state: word 0 stands before a text."""
        zeros = torch.zeros(n, len(self.out), dtype=torch.float64)
        return torch.zeros(n, dtype=torch.int64), (zeros, zeros)

    def texts(self, n: int, length: int, seed: int) -> Tensor:
        """Texts (n, length)."""
        g, lots = torch.Generator().manual_seed(seed), []
        for first in range(0, n, AT_ONCE):
            word, state = self.start(min(AT_ONCE, n - first))
            words = []
            for _ in range(length):
                likelihood, state = self.step(word, state)
                word = torch.multinomial(likelihood.exp(), 1, generator=g).squeeze(1)
                words.append(word)
            lots.append(torch.stack(words, 1))
        return torch.cat(lots)

    def nll(self, x: Tensor) -> Tensor:
        """Of texts (N, T), each: the mean over its words of -log p(word | those before it), in nats; (N,), float64."""
        word, state = self.start(len(x))
        total = torch.zeros(len(x), dtype=torch.float64)
        for t in range(x.shape[1]):
            likelihood, state = self.step(word, state)
            word = x[:, t]
            total -= likelihood.gather(1, word[:, None]).squeeze(1)
        return total / x.shape[1]


def oracle_of(words: int, seed: int, file: str) -> Oracle:
    """That of a file, or else one made of a seed."""
    return Oracle.of_file(Path(file).expanduser()) if file else Oracle.made(words, seed)


def texts(request: Request) -> Samples:
    """Texts to learn from."""
    return _texts(request, 1)


def held_out(request: Request) -> Samples:
    """As many others."""
    return _texts(request, 2)


def _texts(request: Request, part: int) -> Samples:
    o: OracleOptions = request.options or OracleOptions()
    length = o.length or (20 if o.file else 8)
    oracle = oracle_of(o.words, o.seed, o.file)
    weights = hashlib.sha256(oracle.out.numpy().tobytes() + oracle.embedding.numpy().tobytes()).hexdigest()

    def arrays() -> Mapping[str, Any]:
        return {"x": oracle.texts(o.texts, length, 2 * o.seed + part)}

    # No word of it is the end: all texts are of one length.
    field = Field("tokens", (length,), oracle.words, tuple(f"w{i}" for i in range(oracle.words)))
    return Samples(f"oracle {weights} {length} {o.texts} {o.seed} {part}", arrays=arrays, fields={"x": field})


class Sums(Accumulator):
    """state: the "sum" of all samples' negative log-likelihoods under an oracle, in float64. name: of the oracle."""

    def __init__(self, n: int, oracle: Oracle, name: str) -> None:
        super().__init__(n)
        self.oracle, self.name = oracle, name
        self.state = {"sum": torch.zeros((), dtype=torch.float64)}

    @property
    def key(self) -> str:
        return f"{super().key} {self.name}"

    def add(self, batch: FeatureBatch) -> None:
        self.state["sum"] = self.state["sum"] + self.oracle.nll(batch.x).sum()

    @property
    def mean(self) -> float:
        return float(self.state["sum"]) / self.n


class OracleNLL(Metric):
    """NLL_oracle of section 4.1: -E log p(text) a word, in nats, under the LSTM that made the real texts; and that of the real ones.

    It tells quality alone: a generator that repeats one good text has a low one. Warns where the real texts are less probable than blind
    guesses: they come from another oracle.
    """

    options: TruthOptions

    def accumulator(self, n: int) -> Accumulator:
        o = self.options
        oracle = oracle_of(self.spec.x.size, o.seed, o.file)
        if oracle.words != self.spec.x.size:
            raise UsageError(f"--nll-oracle.file: {o.file} has {oracle.words} words, these texts {self.spec.x.size}.")
        name = hashlib.sha256(oracle.out.numpy().tobytes()).hexdigest()[:16]
        return Sums(n, oracle, name)

    def compute(self, fake: Sums, real: Sums) -> dict[str, float]:
        if real.mean > math.log(self.spec.x.size):
            self.note(
                f"nll-oracle says nothing here: under this oracle the real texts are less probable, {real.mean:.3g} a word, than words "
                f"drawn blindly, {math.log(self.spec.x.size):.3g}, so it has not made them. Name its own: --nll-oracle.seed, .file."
            )
        return {"nll-oracle": fake.mean, "nll-oracle-real": real.mean}
