"""Small versions of recipes, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo import compose, data, options
from ganzoo.compose import Resolved
from ganzoo.config import Changes, DataOptions
from ganzoo.data import Prepared
from ganzoo.registry.catalogue import Catalogue, catalogue
from ganzoo.runs.exported import Exported
from ganzoo.training.session import Session, open_session
from ganzoo.types import DataSet


def prepare(
    dataset: Path | str, record: DataSet | None = None, *, sizes: tuple[int, ...] = (), progress: Any = None, labels: tuple[str, ...] = (),
    **asked: Any,
) -> Prepared:  # fmt: skip
    """Data as a run prepares it. asked: options of the data."""
    if labels:
        asked["labels"] = ",".join(labels)
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}
    return data.prepare(options.make(DataOptions, {"dataset": str(dataset), **asked}, "--"), record, sizes=sizes, progress=progress)


def small(
    recipe: str, dataset: Path | str, exchanged: Mapping[str, str] | None = None, parts: Mapping[str, Mapping[str, Any]] | None = None,
    zoo: Catalogue | None = None, wrappers: tuple[str, ...] | None = None, **run: Any,
) -> Resolved:  # fmt: skip
    """The recipe's small version on the given data; exchanged parts are narrow. parts: options of parts, by kind."""
    zoo = zoo or catalogue()
    record = zoo.recipe(recipe)
    draft = compose.draft(zoo, recipe, Changes(parts=dict(exchanged or {}), wrappers=wrappers))
    chosen: dict[str, dict[str, Any]] = {}
    for of, entry in {**draft.parts, **draft.wrappers}.items():
        if of in (exchanged or {}):
            chosen[of] = {"width": 8} if "width" in options.fields(entry.record.options) else {}
        else:
            chosen[of] = {k.partition(".")[2]: v for k, v in record.check.small.items() if k.startswith(f"{of}.")}
    for of, values in (parts or {}).items():
        chosen.setdefault(of, {}).update(values)
    values = {"dataset": str(dataset), "batch_size": 8, "steps": 4, "device": "cpu", "log_every": 1, "ema": 0.0, "precision": "fp32", **run}
    return compose.resolve(zoo, recipe, Changes(values, dict(exchanged or {}), wrappers, chosen))


def built(resolved: Resolved) -> Session:
    """The run ready for its first step."""
    return open_session(resolved)[2]


def samples(session: Session, n: int, seed: int = 0, **given: Any) -> Any:
    """n outputs of the session's main product, not yet as they would be saved. given: latents and fields by key."""
    import torch

    return torch.cat(list(Exported.of(session.strategy).raw(n, seed, given)))


def flags(resolved: Resolved) -> list[str]:
    """The command line of a run."""
    config = resolved.config
    words = [f"--ema={config.run.ema}"]
    words += [f"--dataset={config.run.dataset}", f"--batch-size={config.run.batch_size}", "--device=cpu", f"--seed={config.run.seed}"]
    words += [f"--{kind}={name}" for kind, name in config.parts.items()]
    words += [f"--with={','.join(config.wrappers)}"] if config.wrappers else []
    for kind, values in config.options.items():
        words += [f"{options.flag(name, f'{kind}.')}={value}" for name, value in values.items() if not isinstance(value, bool)]
    return [config.recipe, *words]
