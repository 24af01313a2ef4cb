"""A recipe and what the user changed -> a complete configuration, checked before anything is trained -> a strategy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from ganzoo import options
from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.options import option
from ganzoo.registry.catalogue import Catalogue, Entry
from ganzoo.types import JUDGES, KINDS, DataSet, DataSpec, Part, Recipe

if TYPE_CHECKING:
    import torch

    from ganzoo.interfaces import Generator, Strategy

DEFAULT_IMAGES, DEFAULT_POINTS = "fashion-10k", "ring"
STEPS = "steps"  # a recipe's default for an option: as many as the run has steps, for what follows a schedule


@dataclass(frozen=True)
class RunOptions:
    """What a run is, whatever the GAN."""

    dataset: str = option(DEFAULT_IMAGES, "data set, or path of a folder or zip of images, or of an array", metavar="NAME|PATH")
    data_dir: str | None = option(None, "where downloaded data lies and goes", metavar="DIR")
    labels: str = option("", "attributes that become labels, as Male,Smiling", metavar="A,B")
    image_size: int | None = option(None, "pixels a side", min=4)
    flip: bool = option(False, "mirror half of the images, at random")
    steps: int = option(2000, "generator iterations", min=1)
    images: int = option(0, "end earlier, when G and D have been shown so many real samples; 0: no", min=0)
    batch_size: int = option(64, "samples a batch", min=1)
    seed: int = option(0, "of everything random", min=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to train")
    precision: Literal["fp32", "bf16"] = option("fp32", "of the networks' arithmetic; gradient penalties stay in fp32")
    ema: float = option(0.0, "decay of an average of G, which is sampled then; alone: 0.999; 0: none", min=0, max=0.999999, bare=0.999)
    log_every: int = option(10, "steps between lines of metrics.jsonl", min=1)
    sample_every: int = option(100, "steps between sample sheets", min=1)
    save_every: int = option(500, "steps between checkpoints", min=1)
    keep: int = option(3, "checkpoints that are kept, the last ones; 0: all", min=0)
    eval_every: int = option(0, "steps between evaluations; 0: none", min=0)
    metric: str = option("", "what is evaluated then, as fid,kid; by default what fits the data", metavar="A,B")
    features: str = option("", "what the metrics look at; by default what fits the data", metavar="NAME[@LAYER]")
    eval_n: int = option(2000, "samples an evaluation", min=2)
    track: str = option("", "plugins that watch the run, as tensorboard", metavar="A,B")


#: What says how long a run is, where, and how often it tells of itself: it decides nothing of what a step computes.
FREE = (
    "steps", "images", "device", "dataset", "data_dir", "log_every", "sample_every", "save_every", "keep", "eval_every", "metric",
    "features", "eval_n", "track",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Everything that a run is made from, as plain JSON values. parts: names by kind; options: by kind, all of them."""

    recipe: str
    parts: Mapping[str, str]
    options: Mapping[str, Mapping[str, Any]]
    run: RunOptions

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Config:
        """The configuration of a run's config.json. Raises UsageError for what cannot be one."""
        _check_shape(data)
        if missing := [kind for kind in KINDS if kind not in data["parts"] or kind not in data["options"]]:
            raise UsageError(f"config.json: the {missing[0]} or its options are missing.")
        return cls(data["recipe"], data["parts"], data["options"], options.make(RunOptions, data["run"], "--"))

    def fingerprint(self) -> str:
        """A hash of all that decides what a step computes; a run may be longer, elsewhere, and tell of itself more or less often."""
        told = self.to_json()
        for free in FREE:
            del told["run"][free]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _check_shape(data: Any) -> None:
    """Raise UsageError where sections of a configuration are not what they must be; those that are absent are let pass."""
    if not isinstance(data, dict):
        raise UsageError("configuration: wanted a JSON object like a run's config.json.")
    for key in ("run", "parts", "options"):
        if not isinstance(data.get(key, {}), dict):
            raise UsageError(f"configuration: {key}: wanted an object, got {data[key]!r}.")
    for kind in (*data.get("parts", {}), *data.get("options", {})):
        if kind not in KINDS:
            raise UsageError(f"configuration: there is no part {kind!r}.{did_you_mean(kind, KINDS)}")
    for kind, name in {"recipe": data.get("recipe", ""), **data.get("parts", {})}.items():
        if not isinstance(name, str):
            raise UsageError(f"configuration: {kind}: wanted a name, got {name!r}.")
    for kind, values in data.get("options", {}).items():
        if not isinstance(values, dict):
            raise UsageError(f"configuration: options of the {kind}: wanted an object, got {values!r}.")


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


def read_config(data: Any, recipe: str) -> tuple[dict[str, Any], dict[str, str], dict[str, dict[str, Any]]]:
    """Run options, parts and options of parts from a configuration file: a whole config.json, or only what differs.

    Raises UsageError for what it does not know.
    """
    _check_shape(data)
    if data.get("recipe", recipe) != recipe:
        raise UsageError(f"--config: the file is for recipe {data['recipe']!r}, not {recipe!r}.")
    known = {"recipe", "parts", "options", "run"}
    for key in data.keys() - known - {"machine", "data", "plugins", "ganzoo"}:
        raise UsageError(f"--config: there is no section {key!r}.{did_you_mean(key, known)}")
    run, parts, chosen = (data.get(key, {}) for key in ("run", "parts", "options"))
    return dict(run), dict(parts), {kind: dict(values) for kind, values in chosen.items()}


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in names)


def _called(key: str) -> str:
    return "labels `y`" if key == "y" else f"`{key}`"
