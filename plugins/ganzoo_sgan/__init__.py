"""SGAN: Salimans et al. 2016 (arXiv:1606.03498) and Odena 2016 (arXiv:1606.01583). D learns classes from few labels and many pictures."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, LossPart, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1


@dataclass(frozen=True)
class GeneratorOptions:
    z_dim: int = option(100, "size of the latent vector, uniform in [0, 1)", source="the authors' code", min=1)
    width: int = option(500, "units of each of the two hidden layers", source="the authors' code", min=1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    width: int = option(
        1000, "units of the first hidden layer; the others have 1/2, 1/4, 1/4, 1/4 of it", source="the authors' code", min=4
    )
    input_noise: float = option(0.3, "deviation of the noise on pixels in [0, 1]", source="the authors' code", min=0)
    noise: float = option(0.5, "deviation of the noise on each hidden layer", source="the authors' code", min=0)


@dataclass(frozen=True)
class LossOptions:
    unlabelled: float = option(
        1.0, "weight of D's terms without labels; 0 is the control, a classifier of the labelled few alone", source="section 5", min=0
    )


@dataclass(frozen=True)
class StrategyOptions:
    lr_g: float = option(3e-3, "learning rate of G", source="the authors' code", min=0)
    lr_d: float = option(3e-3, "learning rate of D", source="the authors' code", min=0)
    beta1: float = option(0.5, "Adam's decay rate of the gradient mean", source="the authors' code", min=0, max=0.9999)
    beta2: float = option(0.999, "Adam's decay rate of the squared gradient", source="the authors' code", min=0, max=0.999999)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    outputs = ("logits", "class_logits", "features")
    return [
        NetworkPart(
            "sgan", "ganzoo_sgan.model:Generator", "perceptron with softplus and BatchNorm, for small images", GeneratorOptions,
            role="generator", latents=("z",), gives=("x",),
        ),
        NetworkPart(
            "sgan", "ganzoo_sgan.model:Discriminator", "perceptron with noise and weight norm; K class logits, of fakes 0",
            DiscriminatorOptions, role="discriminator", takes=("x",), needs=("y",), gives=outputs, per_sample=True,
        ),
        NetworkPart(
            "k-plus-1", "ganzoo_sgan.model:KPlusOne", "the same with a logit of its own for fakes: K + 1 verdicts", DiscriminatorOptions,
            role="discriminator", takes=("x",), needs=("y",), gives=(*outputs, "verdicts"), per_sample=True,
        ),
        LossPart(
            "sgan", "ganzoo_sgan.model:FeatureMatching", "classes of the labelled few, real or fake; G matches mean features", LossOptions,
            needs=outputs, given=("x_l", "y_l"),
        ),
        LossPart(
            "k-plus-1", "ganzoo_sgan.model:KPlusOneLoss", "a softmax over K classes and fake; G is adversarial", LossOptions,
            needs=("verdicts",), given=("x_l", "y_l"),
        ),
        StrategyPart(
            "semi-supervised", "ganzoo_sgan.model:SemiSupervised", "D on labelled, real and fake samples, then G against other real ones",
            StrategyOptions, reads=("x", "x_l", "y_l"),
        ),
        Recipe(
            "sgan",
            title="Semi-supervised GAN",
            paper="arXiv:1606.03498",
            paper_title="Improved Techniques for Training GANs",
            authors=("Tim Salimans", "Ian Goodfellow", "Wojciech Zaremba", "Vicki Cheung", "Alec Radford", "Xi Chen"),
            year=2016,
            summary="a classifier from few labels and many pictures without; D is the product",
            parts={"generator": "sgan", "discriminator": "sgan", "loss": "sgan", "strategy": "semi-supervised"},
            results=(
                "MNIST, 100 labels, accuracy on the test digits, seeds 0, 1, 2: 0.9628 (0.9601 to 0.9657); benchmarks/classifiers.py",
                "the same network from the 100 labels alone: 0.7845 (0.7780 to 0.7919)",
            ),
            min_batch=2,
            presets={
                "quick": {"steps": 10_000, "batch_size": 100, "labelled": 100, "ema": 0.999, "discriminator.width": 500},
                "paper": {"steps": 180_000, "batch_size": 100, "labelled": 100, "ema": 0.9999},
            },
            check=Check(small={
                "steps": 150, "batch_size": 32, "ema": 0.9, "generator.width": 64, "discriminator.width": 64,
            }),
        ),
    ]  # fmt: skip
