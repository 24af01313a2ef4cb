"""BEGAN: Berthelot et al. 2017 (arXiv:1703.10717), an auto-encoder for a discriminator and a balance that is kept."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo import Part, Recipe, hookimpl, option

GANZOO_API = 1
SIZES = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class DecoderOptions:
    width: int = option(64, "channels of every convolution: n; the paper has 64 or 128", source="section 3.5", min=1)
    z_dim: int = option(64, "numbers in a latent, uniform in [-1, 1]: N_z", source="section 3.5", min=1)


@dataclass(frozen=True)
class AutoEncoderOptions:
    width: int = option(64, "channels of the first convolutions: n; the paper has 64 or 128", source="section 3.5", min=1)
    h_dim: int = option(64, "numbers in the code: N_h", source="section 3.5", min=1)


@dataclass(frozen=True)
class EquilibriumOptions:
    gamma: float = option(0.5, "wanted ratio of L(G(z)) to L(x): diversity against quality", source="section 3.3", min=0, max=1)
    lambda_k: float = option(0.001, "step of k", source="section 3.4", min=0)
    lr: float = option(1e-4, "first learning rate of both networks", source="section 4.1", min=0)
    g_rate: float = option(1.0, "G's learning rate, times D's; the paper has one for both", min=0)
    lr_min: float = option(2e-5, "the learning rate does not fall below it: lower ones ended in collapse", min=0)
    beta1: float = option(0.5, "Adam's decay of the gradient's mean", min=0, max=0.999999)
    patience: int = option(2000, "steps in which M must fall by 1 %, or the learning rate is halved", min=1)


@hookimpl
def ganzoo_register() -> list[Part | Recipe]:
    return [
        Part(
            "generator", "began-decoder", "ganzoo_began.model:Decoder", "convolutions and nearest up-sampling, linear output",
            DecoderOptions, data=("image",), sizes=SIZES,
        ),
        Part(
            "discriminator", "began-autoencoder", "ganzoo_began.model:AutoEncoder", "reconstructs what it sees", AutoEncoderOptions,
            gives=("reconstruction",), per_sample=True, data=("image",), sizes=SIZES,
        ),
        Part(
            "loss", "began", "ganzoo_began.model:Reconstruction", "L1 error of the auto-encoder", gives=("balance",),
            needs=("reconstruction",),
        ),
        Part(
            "strategy", "equilibrium", "ganzoo_began.model:Equilibrium", "k_t keeps L(G(z)) at gamma L(x)", EquilibriumOptions,
            needs=("balance",), keys=("x",),
        ),
        Recipe(
            "began",
            title="Boundary equilibrium GAN",
            paper="arXiv:1703.10717",
            year=2017,
            summary="an auto-encoder judges by its reconstruction error; a controller keeps the balance",
            generator="began-decoder",
            discriminator="began-autoencoder",
            loss="began",
            strategy="equilibrium",
            results=(
                "score board, Fashion-MNIST, 120 s of one core, 3 seeds: cFID 270 (203 to 347), FID@768 1.17 (0.931 to 1.32)",
                "real images: cFID 0.22, FID@768 0.079; benchmarks/results/scoreboard.md",
                "CelebA's faces at 32 pixels, 1500 steps, one seed: spread 0.77 of the real images'",
            ),
            defaults={
                "steps": 1500, "batch_size": 32, "ema": 0.99, "generator.width": 8, "generator.z_dim": 16,
                "discriminator.width": 8, "discriminator.h_dim": 16,
                "strategy.lambda_k": 0.1, "strategy.lr": 1e-3, "strategy.g_rate": 4.0, "strategy.gamma": 1.0,
            },
            small={
                "steps": 50, "batch_size": 16, "ema": 0.9, "generator.width": 8, "discriminator.width": 8, "strategy.lr": 3e-3,
            },
        ),
    ]  # fmt: skip
