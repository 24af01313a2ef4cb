"""Metrics of texts, rows of numbers of words."""

from __future__ import annotations

import math
from collections import Counter

import torch

from ganzoo import Accumulator, FeatureBatch, Metric
from ganzoo_metrics import BLEUOptions
from ganzoo_metrics.model import check_samples


class Texts(Accumulator):
    """state: the "texts" (n, T), int64. ends: whether 0 stands for their end."""

    place = 0

    def __init__(self, n: int, ends: bool = True) -> None:
        super().__init__(n)
        self.ends = ends

    def add(self, batch: FeatureBatch) -> None:
        if not self.state:
            self.state = {"texts": batch.x.new_empty((self.n, batch.x.shape[1]))}
        self.state["texts"][self.place : self.place + len(batch.x)] = batch.x
        self.place += len(batch.x)

    @property
    def words(self) -> list[tuple[int, ...]]:
        """The words of each text, up to its end."""
        rows = self.state["texts"].tolist()
        return [tuple(row[: row.index(0)] if self.ends and 0 in row else row) for row in rows]


def grams(text: tuple[int, ...], order: int) -> Counter[tuple[int, ...]]:
    """The n-grams of a text, and how often each stands in it."""
    return Counter(text[i : i + order] for i in range(len(text) - order + 1))


class BLEU(Metric):
    """Papineni et al. 2002: of the n-grams of the texts up to an order, the share that real texts have too; geometric mean over the orders.

    An n-gram counts as often as the real text in which it is most frequent has it; texts that are shorter than the real one of the nearest
    length are punished. "self-bleu" (Zhu et al. 2018) takes the other generated texts in the place of the real ones: high means that
    they are all alike, so neither figure says anything without the other.
    """

    options: BLEUOptions

    def accumulator(self, n: int) -> Accumulator:
        return Texts(n, self.spec.x.ends)

    def compute(self, fake: Texts, real: Texts) -> dict[str, float]:
        check_samples(2, generated=fake, real=real)
        texts, others = fake.words, real.words
        return {"bleu": self.score(texts, others), "self-bleu": self.score(texts, texts)}

    def score(self, texts: list[tuple[int, ...]], references: list[tuple[int, ...]]) -> float:
        """BLEU against all references at once; where those are the texts themselves, each against the others."""
        own, logs = texts is references, []
        for order in range(1, self.options.order + 1):
            most: dict[tuple[int, ...], list[int]] = {}
            for text in references:
                for gram, count in grams(text, order).items():
                    most[gram] = sorted([*most.get(gram, [0, 0]), count])[-2:]
            found = total = 0
            for text in texts:
                for gram, count in grams(text, order).items():
                    second, first = most.get(gram, (0, 0))
                    found += min(count, second if own and count == first else first)
                    total += count
            if total:
                logs.append(math.log(found / total) if found else -math.inf)
        if not logs:
            return 0.0
        lengths = sorted({len(text) for text in references})
        nearest = sum(min(lengths, key=lambda length: (abs(length - len(text)), length)) for text in texts)
        written = sum(map(len, texts))
        return math.exp(sum(logs) / len(logs)) * math.exp(min(0.0, 1 - nearest / max(written, 1)))


class Unique(Metric):
    """The share of texts that are different ones: k of n. 1: none is there twice. Says what "self-bleu" says of phrases of whole texts."""

    compares = False

    def accumulator(self, n: int) -> Accumulator:
        return Texts(n, self.spec.x.ends)

    def compute(self, fake: Texts, real: None) -> dict[str, float]:
        texts = fake.words
        return {"unique": len(set(texts)) / len(texts)}


class Likelihoods(Accumulator):
    """state: the "sum" of -log p of real texts under the generator, and the number of their "words", ends among them; in float64."""

    def __init__(self, n: int, ends: bool) -> None:
        super().__init__(n)
        self.ends, self.state = ends, {name: torch.zeros((), dtype=torch.float64) for name in ("sum", "words")}

    def add(self, batch: FeatureBatch) -> None:
        assert batch.likelihood is not None
        length = batch.x.shape[1]
        words = (batch.x != 0).sum(1).add(1).clamp_max(length) if self.ends else torch.full((len(batch.x),), length)
        self.state = {"sum": self.state["sum"] - batch.likelihood.sum(), "words": self.state["words"] + words.sum()}


class NLL(Metric):
    """-E log p(text) under the generator a word of it, in nats: real texts that it cannot make cost much, so it tells variety.

    Yu et al. 2017 have it of held-out texts; measured against those that the generator has learnt from, it tells what it remembers.
    """

    compares = False

    def accumulator(self, n: int) -> Accumulator:
        return Likelihoods(n, self.spec.x.ends)

    def compute(self, fake: Likelihoods, real: None) -> dict[str, float]:
        return {"nll-test": float(fake.state["sum"] / fake.state["words"])}
