"""GANs of texts: SeqGAN, Yu et al. 2017 (arXiv:1609.05473), and its generator with straight-through Gumbel-softmax (arXiv:1611.01144)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ganzoo import Check, DataSet, Field, LossPart, MetricPart, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1
PAPERS_FILTERS = "1x100,2x200,3x200,4x200,5x200,6x100,7x100,8x100,9x100,10x100,15x160,20x160"
ROLES = ("generator", "discriminator")


def filters_of(text: str) -> dict[int, int]:
    """How many filters there are of each size, of "1x100,2x200". Raises ValueError with what is wanted."""
    pairs = [re.fullmatch(r"(\d{1,4})x(\d{1,5})", part.strip()) for part in str(text).split(",")]
    found = {int(pair[1]): int(pair[2]) for pair in pairs if pair}
    if len(found) < len(pairs) or not all(size and count for size, count in found.items()):
        raise ValueError("different sizes, each with how many filters have it, as 1x100,2x200")
    return found


def written_filters(text: Any) -> str:
    """The same, as it is written down."""
    return ",".join(f"{size}x{count}" for size, count in filters_of(text).items())


@dataclass(frozen=True)
class LSTMOptions:
    embedding: int = option(32, "numbers that stand for a word", source="authors' code", min=1)
    width: int = option(32, "numbers in the state", source="authors' code", min=1)


@dataclass(frozen=True)
class GumbelOptions(LSTMOptions):
    temperature: float = option(1.0, "of the softmax that gradients go through", source="arXiv:1611.01144, section 2", min=0.01)


@dataclass(frozen=True)
class CNNOptions:
    embedding: int = option(64, "numbers that stand for a word", source="authors' code", min=1)
    filters: str = option(
        PAPERS_FILTERS, "sizes of the convolutions in words, and how many there are of each; longer ones than a text are left out",
        source="authors' code", metavar="SIZExCOUNT,...", parse=written_filters,
    )  # fmt: skip
    dropout: float = option(0.25, "fraction of features dropped before the last layer", source="authors' code", min=0, max=0.99)


@dataclass(frozen=True)
class LossOptions:
    baseline: bool = option(False, "rewards are counted from the mean of the batch: less noise, the same expectation but for 1 / N")


@dataclass(frozen=True)
class TextOptions:
    mle_steps: int = option(18_840, "first, steps in which G learns to continue real texts", source="120 epochs of the paper's data", min=0)
    judge_steps: int = option(23_550, "then, steps in which D alone learns", source="150 epochs of the paper's data", min=0)
    d_steps: int = option(2355, "then, steps of D for each of G, each on new fakes", source="15 epochs of the paper's data", min=1)
    lr_mle: float = option(0.01, "learning rate of G while it learns from real texts", source="authors' code", min=0)
    lr_g: float = option(0.01, "learning rate of G against D", source="authors' code", min=0)
    lr_d: float = option(1e-4, "learning rate of D", source="authors' code", min=0)
    clip: float = option(5.0, "G's gradient is at most so long", source="authors' code", min=0)
    decay: float = option(0.2, "L2 penalty of D's last layer, that one alone", source="authors' code", min=0)


@dataclass(frozen=True)
class PolicyOptions(TextOptions):
    rollouts: int = option(16, "ways to end a text, for the reward of a word", source="Monte Carlo search, section 3.2", min=1)
    lag: float = option(0.8, "share of its weights that the roll-out policy keeps in a step", source="authors' code", min=0, max=1)
    shuffle_rewards: bool = option(False, "control: each text is given the rewards of another one, so that they say nothing")


@dataclass(frozen=True)
class SpamOptions(PolicyOptions):
    keep_spam: bool = option(True, "while they play, David goes on seeing real spam beside Gary's mails")


@dataclass(frozen=True)
class MailOptions:
    file: str = option("", "lines of ham or spam, a tab, the text; by default SMSSpamCollection in --data-dir", metavar="PATH")
    words: int = option(2000, "most frequent words that are known; 0: all", min=0)
    length: int = option(16, "words of a mail; longer ones are cut", min=1, max=1000)


@dataclass(frozen=True)
class OracleOptions:
    words: int = option(64, "words of the vocabulary; a file has its own", source="the paper has 5000", min=2)
    length: int = option(0, "words of a text; 0: 8, and 20 of a file's oracle", source="the paper has 20", min=0, max=1000)
    texts: int = option(5000, "how many", source="the paper has 10,000", min=2)
    seed: int = option(0, "of the oracle's weights, and of the texts", min=0)
    file: str = option("", "the weights of another oracle, as the authors published theirs: 15 tensors in a .safetensors", metavar="PATH")


@dataclass(frozen=True)
class TruthOptions:
    seed: int = option(0, "of the oracle's weights: --dataset.seed of the run", min=0)
    file: str = option("", "the oracle's weights: --dataset.file of the run", metavar="PATH")


QUICK = {
    "steps": 865, "batch_size": 64, "discriminator.filters": "1x64,2x64,3x64,4x64", "strategy.mle_steps": 235, "strategy.judge_steps": 390,
    "strategy.lr_d": 5e-4,
}  # fmt: skip
SMALL = {
    "steps": 110, "batch_size": 32, "discriminator.embedding": 8, "discriminator.filters": "1x8,2x8,3x8", "strategy.mle_steps": 80,
    "strategy.judge_steps": 10, "strategy.d_steps": 2, "strategy.lr_mle": 0.02, "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3,
}  # fmt: skip


@hookimpl
def ganzoo_register() -> list[Part | Recipe | DataSet]:
    return [
        NetworkPart(
            "text-lstm", "ganzoo_seqgan.model:LSTM", "an LSTM that draws word after word, and says how probable each was", LSTMOptions,
            role="generator", latents=("z",), may_take=("x",), gives=("x", "log_likelihood"), media=("tokens",), per_sample=True,
            bf16=False,
        ),
        NetworkPart(
            "text-gumbel", "ganzoo_seqgan.model:GumbelLSTM", "the same; its words are one-hot, and gradients go through a softmax",
            GumbelOptions, role="generator", latents=("z",), may_take=("x",), gives=("x", "log_likelihood"), media=("tokens",),
            per_sample=True, bf16=False,
        ),
        NetworkPart(
            "text-cnn", "ganzoo_seqgan.model:TextCNN", "convolutions over words, the maximum of each, a highway layer", CNNOptions,
            role="discriminator", takes=("x",), gives=("logits",), media=("tokens",), per_sample=True,
        ),
        LossPart(
            "reinforce", "ganzoo_seqgan.model:Reinforce", "cross-entropy for D; log-likelihood of each word times its reward for G",
            LossOptions, given=("reward", "log_likelihood"), weighed_by="reward",
        ),
        StrategyPart(
            "policy-gradient", "ganzoo_seqgan.strategy:PolicyGradient", "G first learns from real texts, then by rewards of roll-outs",
            PolicyOptions, roles=ROLES, brings=("reward", "log_likelihood"), weighs="reward",
        ),
        StrategyPart(
            "straight-through", "ganzoo_seqgan.strategy:StraightThrough", "G first learns from real texts, then by gradients through D",
            TextOptions, roles=ROLES,
        ),
        DataSet(
            "seqgan-oracle", "ganzoo_seqgan.oracle:texts", "texts of a random LSTM, whose probabilities are known", {"x": Field("tokens")},
            summary="5,000 texts of 8 words out of 64; made by code.", options=OracleOptions, test="seqgan-oracle-test",
            licence="none needed", source="made by code, as in arXiv:1609.05473",
        ),
        DataSet(
            "seqgan-oracle-test", "ganzoo_seqgan.oracle:held_out", "further texts of the same LSTM", {"x": Field("tokens")},
            summary="As many others.", options=OracleOptions, licence="none needed", source="made by code, as in arXiv:1609.05473",
        ),
        StrategyPart(
            "spam-game", "ganzoo_seqgan.spam:SpamGame", "Gary begins as real spam does; he learns by the verdicts of David",
            SpamOptions, roles=ROLES, reads=("x", "x_s", "x_l", "y_l"), brings=("reward", "log_likelihood"), weighs="reward",
        ),
        DataSet(
            "mails", "ganzoo_seqgan.mails:mails", "ham and spam, from a file of labelled lines", {
                "x": Field("tokens"), "x_s": Field("tokens"), "x_l": Field("tokens"), "y_l": Field("label", (), 2, ("spam", "ham")),
            },
            summary="Four of five: the SMS Spam Collection in --data-dir, or your own with --dataset.file.", options=MailOptions,
            test="mails-test", licence="CC BY 4.0", source="https://archive.ics.uci.edu/dataset/228/sms+spam+collection",
        ),
        DataSet(
            "mails-test", "ganzoo_seqgan.mails:held_out", "the held-out fifth of them", {
                "x": Field("tokens"), "y": Field("label", (), 2, ("spam", "ham")),
            },
            summary="One of five.", options=MailOptions, licence="CC BY 4.0",
            source="https://archive.ics.uci.edu/dataset/228/sms+spam+collection",
        ),
        MetricPart(
            "nll-oracle", "ganzoo_seqgan.oracle:OracleNLL", "how improbable texts are under the oracle that made the real ones",
            TruthOptions, figures={"nll-oracle": "lower", "nll-oracle-real": ""}, looks_at=("outputs",), media=("tokens",),
        ),
        Recipe(
            "seqgan",
            title="SeqGAN",
            paper="arXiv:1609.05473",
            paper_title="SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient",
            authors=("Lantao Yu", "Weinan Zhang", "Jun Wang", "Yong Yu"),
            year=2017,
            summary="texts: words have no gradient, so G learns by reward, which D gives to whole texts",
            results=(
                "seqgan-oracle, 3 oracles: NLL_oracle 3.77 (3.71 to 3.87) by maximum likelihood, 3.38 (3.10 to 3.54) after the play, "
                "3.68 (3.46 to 3.87) with shuffled rewards; NLL_test 2.94, 2.95, 3.06; benchmarks/results/texts.md",
                "COCO captions, 60 steps of the play, seed 0: BLEU-4 .317 to .322, self-BLEU-4 .396 to .424, NLL_test 4.37 to 4.43",
            ),
            parts={
                "generator": "text-lstm", "discriminator": "text-cnn", "loss": "reinforce", "strategy": "policy-gradient",
            },
            presets={
                "quick": QUICK | {
                    "strategy.d_steps": 20, "strategy.lr_g": 0.002, "strategy.rollouts": 4, "loss.baseline": True,
                },
                "paper": {"steps": 42_590, "batch_size": 64},
            },
            check=Check(small=SMALL | {"strategy.rollouts": 2}),
        ),
        Recipe(
            "spam",
            title="The spam game with mails",
            paper="arXiv:1609.05473",
            paper_title="SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient",
            authors=("Lantao Yu", "Weinan Zhang", "Jun Wang", "Yong Yu"),
            year=2017,
            summary="Gary writes spam that is to pass, David filters it: SeqGAN on real mails; David is a filter that one can use",
            parts={
                "generator": "text-lstm", "discriminator": "text-cnn", "loss": "reinforce", "strategy": "spam-game",
            },
            results=(
                "SMS, 3 seeds: 6 % of Gary's mails pass David before the play, of his later ones 99 % that David; benchmarks/spam.py",
                "David on held-out mails: accuracy 0.968 before the play, 0.924 after it",
            ),
            presets={
                "quick": {
                    "dataset": "mails", "steps": 740, "batch_size": 64, "generator.width": 64,
                    "discriminator.filters": "1x64,2x64,3x64,4x64", "strategy.mle_steps": 400, "strategy.judge_steps": 300,
                    "strategy.d_steps": 3, "strategy.lr_d": 1e-3,
                    "strategy.lr_g": 0.005, "strategy.rollouts": 2, "loss.baseline": True,
                },
                "paper": {"dataset": "mails", "steps": 42_590, "batch_size": 64},
            },
            check=Check(small=SMALL | {"strategy.rollouts": 2}),
        ),
        Recipe(
            "gumbel",
            title="Gumbel-softmax GAN",
            paper="arXiv:1611.04051",
            paper_title="GANS for Sequences of Discrete Elements with the Gumbel-softmax Distribution",
            authors=("Matt J. Kusner", "José Miguel Hernández-Lobato"),
            year=2016,
            summary="texts: words are drawn, and gradients go through the softmax that they were drawn from",
            results=(
                "seqgan-oracle, 3 oracles: NLL_oracle 3.77 (3.69 to 3.87) by maximum likelihood, 3.51 (3.37 to 3.67) after the play; "
                "NLL_test 2.94, 2.98; benchmarks/results/texts.md",
            ),
            parts={
                "generator": "text-gumbel", "discriminator": "text-cnn", "loss": "non-saturating", "strategy": "straight-through",
            },
            presets={
                "quick": QUICK | {"steps": 1345, "strategy.d_steps": 4, "strategy.lr_g": 0.001, "generator.temperature": 0.5},
                "paper": {"steps": 20_000, "batch_size": 64, "strategy.mle_steps": 0, "strategy.judge_steps": 0, "strategy.d_steps": 1},
            },
            check=Check(small=SMALL),
        ),
    ]  # fmt: skip
