"""BEGAN: Berthelot et al. 2017 (arXiv:1703.10717). The discriminator is an auto-encoder; a controller balances G and D."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Check, LossPart, NetworkPart, Part, Recipe, StrategyPart, hookimpl, option

GANZOO_API = 1
SIZES = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class DecoderOptions:
    width: int = option(64, "channels of every convolution: n, 64 or 128 in the paper", source="section 3.5", min=1)
    z_dim: int = option(64, "size of the latent vector, uniform in [-1, 1]: N_z", source="section 3.5", min=1)


@dataclass(frozen=True)
class AutoEncoderOptions:
    width: int = option(64, "channels of the first convolutions: n, 64 or 128 in the paper", source="section 3.5", min=1)
    h_dim: int = option(64, "size of the code: N_h", source="section 3.5", min=1)


@dataclass(frozen=True)
class CompactDecoderOptions:
    width: int = option(16, "channels of the last hidden layer; doubled with each layer before it", min=1)
    z_dim: int = option(32, "size of the latent vector, uniform in [-1, 1]: N_z", min=1)


@dataclass(frozen=True)
class CompactAutoEncoderOptions:
    width: int = option(32, "channels at half the size of the images", min=1)
    h_dim: int = option(32, "size of the code: N_h", min=1)


@dataclass(frozen=True)
class EquilibriumOptions:
    gamma: float = option(0.5, "target ratio of L(G(z)) to L(x): high for diversity, low for quality", source="section 3.3", min=0, max=1)
    lambda_k: float = option(0.001, "step size of the controller that updates k", source="section 3.4", min=0)
    lr: float = option(1e-4, "initial learning rate of both networks", source="section 4.1", min=0)
    g_rate: float = option(1.0, "G's learning rate as a multiple of D's; the paper uses one rate for both", min=0)
    lr_min: float = option(2e-5, "lower bound of the learning rate; lower rates ended in collapse", min=0)
    beta1: float = option(0.5, "Adam's decay rate of the gradient mean", min=0, max=0.999999)
    patience: int = option(2000, "the learning rate is halved if M has not fallen by 1 % in this many steps", min=1)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        NetworkPart(
            "began-decoder", "ganzoo_began.model:Decoder", "convolutions and nearest-neighbour upsampling, linear output", DecoderOptions,
            role="generator", latents=("z",), gives=("x",), sizes=SIZES, check=Check(small={"width": 8, "z_dim": 16}),
        ),
        NetworkPart(
            "began-autoencoder", "ganzoo_began.model:AutoEncoder", "auto-encoder that reconstructs its input", AutoEncoderOptions,
            role="discriminator", takes=("x",), gives=("reconstruction",), per_sample=True, sizes=SIZES,
            check=Check(small={"width": 8, "h_dim": 16}),
        ),
        NetworkPart(
            "began-compact", "ganzoo_began.model:CompactDecoder", "transposed convolutions and ELU; not the paper's", CompactDecoderOptions,
            role="generator", latents=("z",), gives=("x",), sizes=SIZES,
        ),
        NetworkPart(
            "began-compact", "ganzoo_began.model:CompactAutoEncoder", "two layers each way, BatchNorm within; not the paper's",
            CompactAutoEncoderOptions, role="discriminator", takes=("x",), gives=("reconstruction",), sizes=SIZES,
        ),
        LossPart(
            "began", "ganzoo_began.model:Reconstruction", "L1 error of the reconstruction", needs=("reconstruction",), weighed_by="balance",
        ),
        StrategyPart(
            "equilibrium", "ganzoo_began.model:Equilibrium", "a controller moves k_t so that L(G(z)) stays at gamma L(x)",
            EquilibriumOptions, weighs="balance",
        ),
        Recipe(
            "began",
            title="Boundary equilibrium GAN",
            paper="arXiv:1703.10717",
            paper_title="BEGAN: Boundary Equilibrium Generative Adversarial Networks",
            authors=("David Berthelot", "Thomas Schumm", "Luke Metz",),
            year=2017,
            summary="D is an auto-encoder, judged by its reconstruction error; a controller balances G and D",
            parts={"generator": "began-decoder", "discriminator": "began-autoencoder", "loss": "began", "strategy": "equilibrium"},
            results=(
                "Fashion-MNIST, 120 s, bf16, 3 seeds: cFID 78.3 (74.5 to 80.5), FID@768 0.568 (0.555 to 0.581), recall 0.07 (0.07 to 0.08)",
                "the same, 20 minutes, one seed: cFID 46.1, recall 0.07; benchmarks/results/long.md",
                "real images: cFID 0.22, FID@768 0.042; benchmarks/results/scoreboard.md",
                "CelebA faces at 64 pixels, 5000 steps, one seed: spread 0.95 of that of real images, M 0.36 to 0.27",
                "CelebA faces at 32 pixels, 1500 steps, the paper's networks, one seed: spread 0.77 of that of real images",
            ),
            presets={
                "quick": {
                    "steps": 5000, "batch_size": 32, "ema": 0.99, "generator": "began-compact", "discriminator": "began-compact",
                    "strategy.lambda_k": 0.1, "strategy.lr": 1e-3, "strategy.g_rate": 4.0, "strategy.gamma": 1.0,
                },
                "paper": {"steps": 500_000, "batch_size": 16, "image_size": "64", "strategy.beta1": 0.9, "strategy.patience": 100_000},
            },
            min_batch=2,
            check=Check(small={
                "steps": 100, "batch_size": 16, "ema": 0.9, "generator.width": 8, "discriminator.width": 8, "strategy.lr": 3e-3,
            }),
        ),
    ]  # fmt: skip
