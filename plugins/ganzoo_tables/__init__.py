"""Tables: a medium for the rows of a CSV file, and CTGAN, Xu et al. 2019 (arXiv:1907.00503)."""

from __future__ import annotations

from dataclasses import dataclass

import ganzoo
from ganzoo import AlternatingOptions, Check, DataSet, Field, LossPart, MediumPart, NetworkPart, Part, Recipe, StrategyPart, option

GANZOO_API = 1


@dataclass(frozen=True)
class CsvOptions:
    file: str = option("", "the table: UTF-8, names of the columns in the first line", metavar="PATH")
    modes: int = option(10, "Gaussians at most that a continuous column is described by", source="section 4.2", min=1, max=100)
    few: int = option(12, "a column of numbers with so many different ones or fewer is discrete", min=0)
    discrete: str = option("", "columns that are discrete, though they hold many numbers", metavar="NAME,...")
    without: str = option("", "columns that are left out", metavar="NAME,...")


@dataclass(frozen=True)
class GeneratorOptions:
    z_dim: int = option(128, "size of the noise, beside that of the choices", min=1)
    width: int = option(256, "units of each of the two hidden layers", source="section 4.4", min=1)
    temperature: float = option(0.2, "of the softmax that gradients of choices go through", source="section 4.4", min=0.01)


@dataclass(frozen=True)
class CriticOptions:
    width: int = option(256, "units of each of the two hidden layers", source="section 4.4", min=1)
    pac: int = option(10, "rows that are judged as one", source="section 4.4", min=1)
    dropout: float = option(0.5, "fraction of units dropped in each layer", min=0, max=0.99)


@dataclass(frozen=True)
class LossOptions:
    weight: float = option(10.0, "lambda of the gradient penalty", source="Gulrajani et al. 2017", min=0)


@dataclass(frozen=True)
class ConditionedOptions(AlternatingOptions):
    beta2: float = option(0.9, "Adam's decay rate of the squared gradient", source="Gulrajani et al. 2017", min=0, max=0.999999)
    weight_decay: float = option(1e-6, "L2 penalty of G's weights", min=0)
    pool: int = option(5000, "the last rows of the data, among which those with a wanted category are looked for", min=1)


@ganzoo.hookimpl
def ganzoo_register() -> list[Part | Recipe | DataSet]:
    return [
        MediumPart("table", "ganzoo_tables.medium:Table", "rows of a table with continuous and discrete columns", dataset="csv"),
        DataSet(
            "csv", "ganzoo_tables.data:csv_file", "the rows of your own CSV file", {"x": Field("table")},
            summary="--dataset.file names it.", options=CsvOptions, licence="your own", source="your own",
        ),
        NetworkPart(
            "ctgan", "ganzoo_tables.model:Generator", "two residual layers; a tanh for each number, a softmax for each choice",
            GeneratorOptions, role="generator", latents=("z", "c"), gives=("x", "log_likelihood"), media=("table",), bf16=False,
        ),
        NetworkPart(
            "ctgan", "ganzoo_tables.model:Critic", "two layers that see ten rows, and the category asked of each, at once", CriticOptions,
            role="discriminator", latents=("c",), takes=("x",), gives=("logits",), media=("table",), bf16=False,
        ),
        LossPart(
            "ctgan", "ganzoo_tables.model:PackedPenalty", "Wasserstein's, with a gradient penalty of each pack of rows", LossOptions,
            anchored=False,
        ),
        StrategyPart(
            "conditioned", "ganzoo_tables.model:Conditioned", "rows are drawn by a category: rare ones are seen more often",
            ConditionedOptions,
        ),
        Recipe(
            "ctgan",
            title="Conditional GAN for tables",
            paper="arXiv:1907.00503",
            paper_title="Modeling Tabular data using Conditional GAN",
            authors=("Lei Xu", "Maria Skoularidou", "Alfredo Cuesta-Infante", "Kalyan Veeramachaneni"),
            year=2019,
            summary="tables: numbers by their modes, categories that are asked for, so that rare ones are learnt",
            results=(
                "Adult, 2000 steps, 3 seeds: shapes 0.917, pairs 0.777; a classifier that learns of drawn rows, tested on real ones: "
                "accuracy 0.812 (0.795 to 0.821), F1 0.610 (0.588 to 0.628); benchmarks/results/tables.json",
                "real rows: accuracy 0.856, F1 0.679; columns shuffled, each by itself: shapes 1.000, pairs 0.764, accuracy 0.764, F1 0",
            ),
            parts={"generator": "ctgan", "discriminator": "ctgan", "loss": "ctgan", "strategy": "conditioned"},
            presets={
                "quick": {"dataset": "csv", "steps": 2000, "batch_size": 500},
                "paper": {"dataset": "csv", "steps": 19_500, "batch_size": 500},
            },
            min_batch=2,
            check=Check(small={
                "steps": 300, "batch_size": 64, "generator.z_dim": 8, "generator.width": 32, "discriminator.width": 32,
                "discriminator.pac": 2, "discriminator.dropout": 0.0, "strategy.pool": 256, "strategy.lr_g": 1e-3, "strategy.lr_d": 2e-3,
            }),
        ),
    ]  # fmt: skip
