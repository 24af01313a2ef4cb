"""Algorithm 1 of Yu et al. 2017 (arXiv:1609.05473), and the same with gradients in the place of rewards."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

import ganzoo
from ganzoo import Batch, Builders, Export, Field, Prior, Terms
from ganzoo_seqgan import PolicyOptions, TextOptions


class TextGame(ganzoo.Strategy):
    """Three phases: G learns to continue real texts (maximum likelihood), D learns to tell G's texts from real ones, then they play.

    G gives texts and the log_likelihood of each word, and may be called with texts x. Adam starts anew when the play begins.
    """

    options: TextOptions
    learns = "x"
    """The texts that G learns to continue at first, by their key."""

    def __init__(self, build: Builders, options: TextOptions) -> None:
        super().__init__(build, options)
        self.G, self.D = build.network("generator"), build.network("discriminator")
        last = [p for name, p in self.D.named_parameters() if name.startswith("out.")]
        others = [p for name, p in self.D.named_parameters() if not name.startswith("out.")]
        groups: list[dict[str, Any]] = [{"params": others}, {"params": last, "weight_decay": options.decay}]
        self.opt_G = torch.optim.Adam(self.G.parameters(), torch.tensor(options.lr_mle), fused=True)
        self.opt_D = torch.optim.Adam([group for group in groups if group["params"]], torch.tensor(options.lr_d), fused=True)
        self.opt_G.register_step_pre_hook(self.clipped)

    def clipped(self, optimiser: torch.optim.Optimizer, *_: Any) -> None:
        """Shortens G's gradient, right before a step."""
        clip_grad_norm_(self.G.parameters(), self.options.clip)

    def exports(self) -> dict[str, Export]:
        """Texts; and how probable G finds the words of somebody's text."""
        return {
            "generator": Export("G", ("z",), "x"),
            "likelihood": Export("G", ("x",), Field("points", self.spec.shape), "log_likelihood"),
        }

    def phases(self) -> dict[str, int]:
        return {"mle": 0, "judge": self.options.mle_steps, "play": self.options.mle_steps + self.options.judge_steps}

    def variant(self, t: int) -> tuple[Hashable, ...]:
        return (*super().variant(t), t == self.phases()["play"])

    def schedule(self, t: int) -> None:
        ganzoo.set_lr(self.opt_G, self.options.lr_mle if self.phase(t) == "mle" else self.options.lr_g)

    def step(self, batches: Iterator[Batch], t: int) -> Terms:
        phase = self.phase(t)
        if phase == "mle":
            terms = {"nll": -self.G(x=next(batches)[self.learns])[1].mean()}
            self.update((self.opt_G, terms))
            return self.metrics(g=terms)
        if phase == "judge":
            return self.metrics(judge=self.judged(next(batches), t))  # not "d": nobody plays yet, so D may win
        if t == self.phases()["play"]:
            self.begin()
        return self.play(batches, t)

    def judged(self, batch: Batch, t: int) -> Terms:
        """One step of D, on new fakes."""
        fake = self.fakes(batch, t)
        terms = self.loss.discriminator(self.view(self.D, batch), batch["x"], fake, t=t, **batch)
        self.update((self.opt_D, terms))
        return terms

    @torch.no_grad()
    def fakes(self, batch: Batch, t: int) -> Tensor:
        """Texts that D is to call fake: as many as are in the batch."""
        texts: Tensor = self.fake({**batch, **self.latents(len(batch["x"]))})[0]
        return texts

    def begin(self) -> None:
        """Before the first step of the play."""
        for state in self.opt_G.state.values():
            for value in state.values():
                value.zero_()

    def play(self, batches: Iterator[Batch], t: int) -> Terms:
        """A step of G, then `d_steps` of D."""
        terms_g = self.learn(next(batches), t)
        for _ in range(self.options.d_steps):
            terms_d = self.judged(next(batches), t)
        return self.metrics(d=terms_d, g=terms_g)

    def learn(self, batch: Batch, t: int) -> Terms:
        """One step of G against D."""
        given = {**batch, **self.latents(len(batch["x"]))}
        terms = self.loss.generator(self.view(self.D, given), self.fake(given)[0], batch["x"], t=t, **given)
        self.update((self.opt_G, terms))
        return terms


class StraightThrough(TextGame):
    """G's words are one-hot and pass D's gradient on, as `text-gumbel`'s do."""


class PolicyGradient(TextGame):
    """Algorithm 1. The reward of a word is the mean of D's probability of real over texts that begin up to it and that the roll-out policy
    ends; of the last word, D's of the text.

    The roll-out policy is a G that lags behind: after a step of G, it moves a part of the way; its embeddings are G's.
    """

    options: PolicyOptions

    def __init__(self, build: Builders, options: PolicyOptions) -> None:
        super().__init__(build, options)
        self.rollout = build.network("generator").requires_grad_(False)

    @torch.no_grad()
    def begin(self) -> None:
        super().begin()
        self.rollout.load_state_dict(self.G.state_dict())

    def learn(self, batch: Batch, t: int) -> Terms:
        given = {**batch, **self.latents(len(batch["x"]))}
        texts, likelihood = self.fake(given)
        reward = self.rewards(texts, given)
        if self.options.shuffle_rewards:
            order = ganzoo.gather(ganzoo.draw("shuffle", Prior("unit"), len(texts), reward.device)).argsort()
            reward = ganzoo.mine(ganzoo.gather(reward)[order])
        given |= {"reward": reward, "log_likelihood": likelihood}
        terms = self.loss.generator(self.view(self.D, given), texts, batch["x"], t=t, **given)
        self.update((self.opt_G, terms))
        self.follow()
        return terms

    @torch.no_grad()
    def rewards(self, texts: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Equation 4: Q of each word of texts (N, T), in [0, 1]; (N, T). D judges without dropout."""
        n, length = texts.shape
        places = torch.arange(length, device=texts.device)
        # Row (t, i) is text i up to word t; the words after it are to be drawn.
        begun = torch.where(places <= places[:-1, None, None], texts, -1).flatten(0, 1)
        D = self.view(self.D, given)
        self.D.eval()
        try:
            q = torch.zeros(max(length - 1, 0), n, device=texts.device)
            for _ in range(self.options.rollouts if length > 1 else 0):
                q += D(self.rollout(**self.latents(len(begun), self.rollout), x=begun)[0]).sigmoid().view_as(q)
            return torch.cat([q / self.options.rollouts, D(texts).sigmoid()[None]]).T
        finally:
            self.D.train()

    @torch.no_grad()
    def follow(self) -> None:
        """The roll-out policy moves towards G."""
        for (name, own), new in zip(self.rollout.named_parameters(), self.G.parameters(), strict=True):
            own.lerp_(new, 1.0 if name.startswith("embedding") else 1 - self.options.lag)
