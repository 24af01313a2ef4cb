"""Small versions of recipes, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ganzoo import compose, options
from ganzoo.config import Config
from ganzoo.data import Batches
from ganzoo.interfaces import Strategy
from ganzoo.registry.catalogue import Catalogue, catalogue
from ganzoo.training.launch import prepare_strategy
from ganzoo.types import KINDS, Recipe


def small(recipe: str, data: Path | str, exchanged: dict[str, str] | None = None, **run: Any) -> Config:
    """The parts of the recipe's small version, those that are exchanged narrow, on the given data."""
    zoo: Catalogue = catalogue()
    record = zoo.recipe(recipe)
    assert isinstance(record, Recipe)
    parts = compose.chosen_parts(zoo, record, exchanged or {})
    chosen: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for kind, part in parts.items():
        if kind in (exchanged or {}):
            chosen[kind] = {"width": 8} if "width" in options.fields(part.options) else {}
        else:
            chosen[kind] = {k.partition(".")[2]: v for k, v in record.small.items() if k.startswith(f"{kind}.")}
    values = {"dataset": str(data), "batch_size": 8, "steps": 4, "device": "cpu", "log_every": 1, "ema": 0.0, **run}
    return compose.resolve(zoo, recipe, values, exchanged or {}, chosen)


def built(config: Config) -> tuple[Strategy, Batches]:
    """Its strategy and its batches, as a run has them."""
    config, prepared, strategy = prepare_strategy(catalogue(), config)
    batches = Batches(prepared.load(), prepared.spec, config.run.batch_size, seed=config.run.seed, device=torch.device("cpu"))
    return strategy, batches


def flags(config: Config) -> list[str]:
    """The command line of a configuration."""
    words = [f"--ema={config.run.ema}"]
    words += [f"--dataset={config.run.dataset}", f"--batch-size={config.run.batch_size}", "--device=cpu", f"--seed={config.run.seed}"]
    words += [f"--{kind}={name}" for kind, name in config.parts.items()]
    for kind, values in config.options.items():
        words += [f"{options.flag(name, f'{kind}.')}={value}" for name, value in values.items() if not isinstance(value, bool)]
    return [config.recipe, *words]
