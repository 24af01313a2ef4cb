"""Yu et al. 2017, "SeqGAN: Sequence generative adversarial nets with policy gradient" (arXiv:1609.05473); and words that gradients pass:
Jang, Gu and Poole 2016, "Categorical reparameterization with Gumbel-softmax" (arXiv:1611.01144)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

import ganzoo
from ganzoo import DataSpec, Prior, Terms, View
from ganzoo_seqgan import CNNOptions, GumbelOptions, LossOptions, LSTMOptions, filters_of


class LSTM(ganzoo.Generator):
    """Section 3.3, equations 9 and 10: an LSTM whose state gives the probabilities of the next word. All weights begin as N(0, 0.1).

    Draws texts (N, T) of latents z (N, T) in [0, 1), one a word: the first word whose cumulated probability is above z. Also gives the
    log_likelihood of each word, (N, T): log p(word | those before it).

    Called with x (N, T), it keeps the words of x; those below 0 are drawn, so x may be the beginning of a text. A whole text needs no z.
    Where 0 ends a text, what follows is 0 for certain.
    """

    options: LSTMOptions

    def __init__(self, spec: DataSpec, options: LSTMOptions) -> None:
        super().__init__(spec, options)
        self.embedding = nn.Embedding(spec.x.size, options.embedding)
        self.cell = nn.LSTMCell(options.embedding, options.width)
        self.out = nn.Linear(options.width, spec.x.size)
        for weights in self.parameters():
            nn.init.normal_(weights, 0.0, 0.1)

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("unit", self.spec.shape)}

    def drawn(self, logits: Tensor, z: Tensor) -> Tensor:
        """A word (N,) of logits (N, V), decided by z (N,)."""
        return (logits.softmax(1).cumsum(1) <= z[:, None]).sum(1).clamp_max(logits.shape[1] - 1)

    def given(self, words: Tensor, logits: Tensor, z: Tensor | None, free: Tensor) -> Tensor:
        """Words (N,) as the network gives them. free: (N,), which of them were drawn."""
        return words

    def embedded(self, words: Tensor) -> Tensor:
        """Words as the network gives them, to (N, embedding)."""
        e: Tensor = self.embedding(words)
        return e

    def forward(self, z: Tensor | None = None, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        texts, likelihoods, state = [], [], None
        first = z if x is None else x
        assert first is not None, "wanted latents, a text, or both"
        fed = self.embedding(torch.zeros(len(first), dtype=torch.int64, device=first.device))  # a text begins as after an end
        open_ = torch.ones(len(first), dtype=torch.bool, device=first.device)
        for t in range(self.spec.shape[0]):
            state = self.cell(fed, state)
            logits = self.out(state[0])
            free = open_ if x is None else open_ & (x[:, t] < 0)
            u = None if z is None else z[:, t]
            words = x[:, t] if u is None else self.drawn(logits.detach(), u)  # type: ignore[index]
            words = torch.where(open_, words if x is None else torch.where(free, words, x[:, t]), 0)
            likelihoods.append(logits.log_softmax(1).gather(1, words[:, None]).squeeze(1) * open_)
            texts.append(self.given(words, logits, u, free))
            fed = self.embedded(texts[-1])
            open_ = open_ & (words != 0) if self.spec.x.ends else open_
        return torch.stack(texts, 1), torch.stack(likelihoods, 1)


class GumbelLSTM(LSTM):
    """The same, whose words are one-hot, (N, T, V), and pass gradients on. Jang et al., sections 2.1 and 2.2.

    A word is argmax(logits + g), g = -log(-log z) with z (N, T, V) in [0, 1), so it is drawn from the softmax of the logits. Backwards it
    is softmax((logits + g) / temperature) in its place: straight through.
    """

    options: GumbelOptions

    def latents(self) -> dict[str, Prior]:
        return {"z": Prior("unit", (*self.spec.shape, self.spec.x.size))}

    def noisy(self, logits: Tensor, z: Tensor) -> Tensor:
        """logits + g, equation 1."""
        return logits - (-z.clamp_min(1e-20).log()).clamp_min(1e-20).log()

    def drawn(self, logits: Tensor, z: Tensor) -> Tensor:
        return self.noisy(logits, z).argmax(1)

    def given(self, words: Tensor, logits: Tensor, z: Tensor | None, free: Tensor) -> Tensor:
        hard = one_hot(words, logits.shape[1]).to(logits.dtype)
        if z is None:
            return hard
        soft = (self.noisy(logits, z) / self.options.temperature).softmax(1) * free[:, None]
        return hard + (soft - soft.detach())

    def embedded(self, words: Tensor) -> Tensor:
        return words @ self.embedding.weight


class TextCNN(ganzoo.Discriminator):
    """Section 3.3: convolutions of many sizes over the words, the maximum of each over the text, a highway layer.

    Maps texts, (N, T) int64 or one-hot (N, T, V), to raw logits (N,). First weights as in the authors' code: embeddings from U(-1, 1),
    others N(0, 0.1) within two deviations, biases 0.1; in the highway layer torch's own, and biases 0.
    """

    options: CNNOptions

    def __init__(self, spec: DataSpec, options: CNNOptions) -> None:
        super().__init__(spec, options)
        sizes = {size: count for size, count in filters_of(options.filters).items() if size <= spec.shape[0]}
        sizes = sizes or {1: next(iter(filters_of(options.filters).values()))}
        self.embedding = nn.Embedding(spec.x.size, options.embedding)
        self.convolutions = nn.ModuleList(nn.Conv1d(options.embedding, count, size) for size, count in sizes.items())
        width = sum(sizes.values())
        self.carry, self.change = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout, self.out = nn.Dropout(options.dropout), nn.Linear(width, 1)
        nn.init.uniform_(self.embedding.weight, -1, 1)
        nn.init.zeros_(self.carry.bias)
        nn.init.zeros_(self.change.bias)
        for layer in (*self.convolutions, self.out):
            assert isinstance(layer, nn.Conv1d | nn.Linear)
            nn.init.trunc_normal_(layer.weight, 0.0, 0.1, -0.2, 0.2)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        e = (x @ self.embedding.weight if x.is_floating_point() else self.embedding(x)).mT
        c = torch.cat([convolution(e).relu().amax(2) for convolution in self.convolutions], 1)
        gate = self.carry(c).sigmoid()
        h = self.dropout(gate * self.change(c).relu() + (1 - gate) * c)
        logits: Tensor = self.out(h)
        return logits.squeeze(1)


class Reinforce(ganzoo.Loss):
    """Equation 5 for D: the cross-entropy of real and fake. Equations 7 and 8 for G: -sum_t Q_t log p(y_t | y_1..t-1), of which the mean
    over the batch is taken.

    reward: (N, T), Q of each word, in [0, 1]. log_likelihood: (N, T), with G's graph. `baseline` takes the batch's mean from Q, which is
    no part of the paper. Logs the mean reward.
    """

    options: LossOptions
    d_won = 0.02

    def discriminator(self, D: View, x_real: Tensor, x_fake: Tensor, *, t: int, **given: Tensor) -> Terms:
        return {"real": softplus(-D(x_real)).mean(), "fake": softplus(D(x_fake)).mean()}

    def generator(self, D: View, x_fake: Tensor, x_real: Tensor, *, t: int, reward: Tensor, log_likelihood: Tensor) -> Terms:
        gain = reward - ganzoo.over_ranks(reward.mean(0)) if self.options.baseline else reward
        return {"policy": -(gain * log_likelihood).sum(1).mean(), "reward": reward.mean()}
