"""A recipe and what the user changed -> a complete configuration, checked before anything is trained -> a strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganzoo import options
from ganzoo.config import DEFAULT_POINTS, Config, RunOptions
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import Catalogue, Entry
from ganzoo.types import JUDGES, KINDS, DataSet, DataSpec, Part, Recipe

STEPS = "steps"  # a default that stands for the number of steps of the run, for the length of a schedule

if TYPE_CHECKING:
    import torch

    from ganzoo.interfaces import Generator, Strategy

def chosen_parts(catalogue: Catalogue, recipe: Recipe, exchanged: Mapping[str, str]) -> dict[str, Part]:
    """The recipe's parts by kind, with those that the user exchanged."""
    return {kind: catalogue.part(kind, exchanged.get(kind) or recipe.part(kind)) for kind in KINDS}


def default_options(recipe: Recipe, kind: str, exchanged: Mapping[str, str]) -> dict[str, Any]:
    """The recipe's defaults for the options of one part; none where the part is not the recipe's own."""
    if exchanged.get(kind) not in (None, recipe.part(kind)):
        return {}
    return {name.removeprefix(f"{kind}."): v for name, v in recipe.defaults.items() if name.startswith(f"{kind}.")}


def resolve(
    catalogue: Catalogue, name: str, run: Mapping[str, Any], exchanged: Mapping[str, str], chosen: Mapping[str, Mapping[str, Any]]
) -> Config:
    """The configuration of a recipe. Later wins: the part's own defaults, the recipe's, what the user chose.

    Args: run: run options by name. exchanged: parts by kind. chosen: options of parts, by kind and name.
    Raises UsageError for what does not exist or cannot work together.
    """
    recipe = catalogue.recipe(name)
    parts = chosen_parts(catalogue, recipe, exchanged)
    check_parts(catalogue, parts)
    defaults = {key: value for key, value in recipe.defaults.items() if "." not in key}
    if "dataset" not in defaults and any("image" not in part.data for part in parts.values()):
        defaults["dataset"] = DEFAULT_POINTS
    made = options.make(RunOptions, {**defaults, **run}, "--")
    resolved = {}
    for kind, part in parts.items():
        usual = {key: made.steps if value == STEPS else value for key, value in default_options(recipe, kind, exchanged).items()}
        resolved[kind] = options.to_json(options.make(part.options, {**usual, **chosen.get(kind, {})}, f"--{kind}."))
    if made.batch_size < recipe.min_batch:
        raise UsageError(f"--batch-size: {name} needs at least {recipe.min_batch}, got {made.batch_size}.")
    if unable := [f"{kind} {part.name!r}" for kind, part in parts.items() if made.precision == "bf16" and not part.bf16]:
        raise UsageError(f"--precision bf16: {' and '.join(unable)} says that it cannot. Take fp32.")
    names = {kind: catalogue.get(kind, exchanged.get(kind) or recipe.part(kind)).stored for kind in parts}
    return Config(catalogue.get("recipe", name).stored, names, resolved, made)


def check_parts(catalogue: Catalogue, parts: Mapping[str, Part]) -> None:
    """Raise UsageError where the discriminator does not give what the loss needs, saying which would."""
    D, loss, G = parts["discriminator"], parts["loss"], parts["generator"]

    def fits(d: Part) -> bool:
        return set(loss.needs) <= set(d.gives) and (d.per_sample or not loss.per_sample)

    if not fits(D):
        others = [e.name for e in catalogue.entries("discriminator") if isinstance(e.record, Part) and fits(e.record)]
        those = f"Those that do: {', '.join(others)}." if others else "None that is installed does."
        if missing := [name for name in loss.needs if name not in D.gives]:
            raise UsageError(
                f"loss {loss.name!r} needs a discriminator that gives {_quoted(missing)}; {D.name!r} gives {_quoted(D.gives)}. {those}"
            )
        raise UsageError(
            f"loss {loss.name!r} takes the gradient of each sample by itself, so it needs a discriminator without BatchNorm; "
            f"{D.name!r} has it. {those}"
        )
    strategy = parts["strategy"]
    if set(strategy.needs) != set(loss.gives):
        asks = f"must be weighed by its strategy ({_quoted(loss.gives)})" if loss.gives else "is minimised as it is"
        able = [e.name for e in catalogue.entries("strategy") if isinstance(e.record, Part) and set(e.record.needs) == set(loss.gives)]
        raise UsageError(
            f"loss {loss.name!r} {asks}, which strategy {strategy.name!r} does not do. Those that do: {', '.join(able) or 'none'}."
        )
    if missing := [key for key in loss.given if key not in G.given]:
        able = [e.name for e in catalogue.entries("generator") if isinstance(e.record, Part) and set(loss.given) <= set(e.record.given)]
        raise UsageError(
            f"loss {loss.name!r} needs a generator that takes {_quoted(missing)}; {G.name!r} takes {_quoted(G.given) or 'no condition'}. "
            f"Those that do: {', '.join(able) or 'none'}."
        )


def needed_keys(recipe: Recipe, parts: Mapping[str, Part]) -> tuple[str, ...]:
    """The keys of the batch that this combination reads."""
    keys = {*recipe.keys, *(key for part in parts.values() for key in (*part.keys, *part.given))}
    return tuple(sorted(keys))


def common_sizes(parts: Mapping[str, Part]) -> tuple[int, ...]:
    """The image sizes that all parts take; empty: any. Raises UsageError where they have none in common."""
    limits = {part.name: set(part.sizes) for part in parts.values() if part.sizes}
    if not limits:
        return ()
    common = set.intersection(*limits.values())
    if not common:
        told = "; ".join(f"{name!r} takes {', '.join(map(str, sorted(s)))}" for name, s in limits.items())
        raise UsageError(f"no image size fits all parts: {told}.")
    return tuple(sorted(common))


def expected(record: DataSet | None, run: RunOptions, sizes: tuple[int, ...]) -> DataSpec | None:
    """What the data will be, as far as it can be told before it is prepared, which may take minutes; None where nothing can."""
    if record is None and run.image_size is None:
        return None
    if record is not None and record.kind == "points":
        return DataSpec("points", (2,))
    size = run.image_size or (sizes[0] if sizes else 1)
    labelled = record is None or "y" in record.keys or (record.attributes and run.labels)
    return DataSpec("image", (3, size, size), 1 if labelled else 0)


def check_data(catalogue: Catalogue, config: Config, spec: DataSpec) -> None:
    """Raise UsageError where the data lacks what the parts need: keys, kind, size."""
    recipe = catalogue.recipe(config.recipe)
    parts = {kind: catalogue.part(kind, config.parts[kind]) for kind in KINDS}
    name = config.run.dataset
    if missing := [key for key in needed_keys(recipe, parts) if key not in spec.keys]:
        advice = f"`ganzoo list --kind dataset --with {missing[0]}` shows those that have them"
        if "y" in missing:
            attributes = any(e.name == name and isinstance(e.record, DataSet) and e.record.attributes for e in catalogue.entries("dataset"))
            advice = f"name its attributes with --labels; or {advice}" if attributes else advice
            advice += ", and a folder with one sub-folder a class has them too"
        wanted = " and ".join(map(_called, missing))
        raise UsageError(
            f"{config.recipe} needs {wanted}; data set {name!r} has only {_quoted(spec.keys)}: {advice}."
        )
    for kind, part in parts.items():
        if spec.kind not in part.data:
            able = [e.name for e in catalogue.entries(kind) if isinstance(e.record, Part) and spec.kind in e.record.data]
            raise UsageError(
                f"{kind} {part.name!r} works on {' or '.join(part.data)}; data set {name!r} is {spec.kind}, shape {spec.shape}. "
                f"Those that take it: {', '.join(able) or 'none'}."
            )
    sizes = common_sizes(parts)
    if spec.kind == "image" and sizes and spec.shape[-1] not in sizes:
        raise UsageError(
            f"--image-size: {config.recipe} makes images of {', '.join(map(str, sizes))} pixels a side, got {spec.shape[-1]}. "
            f"Choose one of them, or a generator and a discriminator of any size."
        )


def build(catalogue: Catalogue, config: Config, spec: DataSpec, device: torch.device) -> Strategy:
    """The strategy with its networks and optimisers, initialised from the seed alone, on the device, in channels_last.

    Raises UsageError where the parts and the data don't fit; GanzooError where a plugin cannot be loaded.
    """
    import torch

    from ganzoo.interfaces import Builders
    from ganzoo.randomness import seed_step

    check_data(catalogue, config, spec)
    entries = {kind: catalogue.get(kind, config.parts[kind]) for kind in KINDS}
    parts = {kind: catalogue.part(kind, config.parts[kind]) for kind in KINDS}
    check_parts(catalogue, parts)
    made = {kind: options.make(parts[kind].options, config.options[kind], f"--{kind}.") for kind in KINDS}

    def part(kind: str, *given: Any) -> Any:
        return construct(entries[kind], *given, made[kind])

    seed_step(config.run.seed, -1)
    builders = Builders(spec, lambda: part("generator", spec), lambda: part("discriminator", spec), part("loss", spec), parts)
    strategy: Strategy = part("strategy", builders)
    if config.run.ema:
        strategy.average(config.run.ema, 0)
    return strategy.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def construct(entry: Entry, *given: Any) -> Any:
    """A part made by its plugin's class. Raises GanzooError that names the plugin where that fails, or where it is no such part."""
    from ganzoo import interfaces, metrics

    made = entry.load()
    base = getattr(metrics if entry.kind in JUDGES else interfaces, entry.kind.capitalize())
    if not (isinstance(made, type) and issubclass(made, base)):
        raise GanzooError(f"{entry.kind} {entry.name!r} of {entry.plugin.origin}: wanted a ganzoo.{base.__name__}, got {made!r}.")
    try:
        return made(*given)
    except GanzooError:
        raise
    except Exception as e:
        raise GanzooError(f"{entry.kind} {entry.name!r} of {entry.plugin.origin} cannot be built: {type(e).__name__}: {e}") from e


def build_generator(catalogue: Catalogue, name: str, values: Mapping[str, Any], spec: DataSpec) -> Generator:
    """A generator alone, for sampling."""
    made = options.make(catalogue.part("generator", name).options, values, "--generator.")
    generator: Generator = construct(catalogue.get("generator", name), spec, made)
    return generator


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in names)


def _called(key: str) -> str:
    return "labels `y`" if key == "y" else f"`{key}`"
