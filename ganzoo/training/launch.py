"""From a configuration to a finished run: what `ganzoo run`, `ganzoo resume` and a script have in common."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import __version__, compose, machine, options
from ganzoo.config import Config, RunOptions
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import Catalogue
from ganzoo.registry.discovery import LOCAL, Plugin
from ganzoo.types import KINDS, DataSet, DataSpec, RunInfo

if TYPE_CHECKING:

    from ganzoo.data import Prepared
    from ganzoo.evaluation.evaluator import Asked, Evaluator, Reference
    from ganzoo.interfaces import Generator, Strategy
    from ganzoo.training.loop import Watch

Progress = Callable[[str, int, int], None]


def prepare_data(catalogue: Catalogue, config: Config, progress: Progress | None = None) -> Prepared:
    """The data set of a run, prepared. A name is looked up first, then a path."""
    run = config.run
    sizes = compose.common_sizes({kind: catalogue.part(kind, config.parts[kind]) for kind in KINDS})
    if (spec := compose.expected(_record(catalogue, run.dataset), run, sizes)) is not None:
        compose.check_data(catalogue, config, spec)
    return prepare_named(catalogue, run, sizes, progress)


def _record(catalogue: Catalogue, dataset: str) -> DataSet | None:
    """The record of a data set; None of a path."""
    return None if _is_path(catalogue, dataset) else catalogue.dataset(dataset)


def prepare_named(catalogue: Catalogue, run: RunOptions, sizes: tuple[int, ...] = (), progress: Progress | None = None) -> Prepared:
    """The data set that these options name, whatever it is for. sizes: of images, of which one is wanted."""
    from ganzoo.data import prepare

    record = _record(catalogue, run.dataset)
    try:
        return prepare(
            run.dataset,
            record,
            image_size=run.image_size,
            sizes=sizes,
            data_dir=Path(run.data_dir) if run.data_dir else None,
            labels=tuple(name.strip() for name in run.labels.split(",") if name.strip()),
            progress=progress,
        )
    except GanzooError:
        raise
    except (Exception, SystemExit) as e:
        whose = f" of {catalogue.get('dataset', run.dataset).plugin.origin}" if record is not None else ""
        raise GanzooError(f"data set {run.dataset!r}{whose} cannot be prepared: {type(e).__name__}: {e}") from e


def _is_path(catalogue: Catalogue, name: str) -> bool:
    if any(name in (entry.name, entry.qualified) for entry in catalogue.entries("dataset")):
        return False
    return Path(name).exists() or "/" in name or "." in name or name.startswith("~")


def prepare_strategy(
    catalogue: Catalogue, config: Config, progress: Progress | None = None
) -> tuple[Config, Prepared, Strategy]:
    """Data and networks of a run, ready for step 0, and the configuration with what had been left open."""
    import torch

    machine.set_threads()
    torch.backends.cudnn.deterministic = True
    # A run is resumed from anywhere.
    run = config.run
    if _is_path(catalogue, run.dataset):
        run = replace(run, dataset=str(Path(run.dataset).expanduser().resolve()))
    else:
        run = replace(run, dataset=catalogue.get("dataset", run.dataset).stored)
    if run.data_dir:
        run = replace(run, data_dir=str(Path(run.data_dir).expanduser().resolve()))
    config = replace(config, run=run)
    # Before anything is downloaded or decoded: what cannot work is said at once.
    device = machine.pick_device(config.run.device)
    config = replace(config, run=replace(config.run, device=device.type))  # type: ignore[arg-type]
    prepared = prepare_data(catalogue, config, progress)
    if prepared.spec.kind == "image":
        config = replace(config, run=replace(config.run, image_size=prepared.spec.shape[-1]))
    return config, prepared, compose.build(catalogue, config, prepared.spec, device)


def reference(
    catalogue: Catalogue, run: RunOptions, prepared: Callable[[], Prepared], against: str, size: int | None, progress: Progress | None
) -> Reference:
    """The real samples to compare with. against: "train", the run's own data; "test", what its data set holds out; else a name or a path.

    size: of the images. Raises UsageError where the data set holds nothing out.
    """
    from ganzoo.evaluation.evaluator import Reference

    record = _record(catalogue, run.dataset)
    if against == "train":
        return Reference(prepared(), "train", record)
    if against == "test":
        if record is None or not record.test:
            raise UsageError(f"--against test: data set {run.dataset!r} holds nothing out. Name a data set or a folder, or take train.")
        held_out = replace(run, dataset=record.test, image_size=size)
        return Reference(prepare_named(catalogue, held_out, progress=progress), "test", catalogue.dataset(record.test))
    other = replace(run, dataset=against, labels="", image_size=size)
    data = prepare_named(catalogue, other, progress=progress)
    split = "test" if record is not None and against == record.test else "train" if against == run.dataset else data.name
    return Reference(data, split, _record(catalogue, against))


def asked_by(catalogue: Catalogue, run: RunOptions, spec: DataSpec) -> Asked:
    """What a run's own options ask to be measured."""
    from ganzoo.evaluation.evaluator import Asked, check_asked, usual

    metric, features, _ = usual(_record(catalogue, run.dataset), spec)
    asked = Asked(options.listed(run.metric or metric), run.features or features, run.eval_n)
    check_asked(catalogue, asked, spec)
    return asked


def evaluator_of(catalogue: Catalogue, config: Config, prepared: Prepared, progress: Progress) -> Evaluator | None:
    """What measures a run against its own training data while it trains; None where it is not to be measured."""
    import torch

    from ganzoo.evaluation.evaluator import Evaluator

    if not config.run.eval_every:
        return None
    asked, device = asked_by(catalogue, config.run, prepared.spec), torch.device(config.run.device)
    there = reference(catalogue, config.run, lambda: prepared, "train", None, progress)
    return Evaluator(catalogue, asked, there, lambda: prepared, device, progress, config.run.data_dir)


def plugins_of(catalogue: Catalogue, config: Config, kinds: tuple[str, ...] = ("recipe", *KINDS, "dataset")) -> dict[str, str]:
    """Each plugin that the run is made with, "distribution/plugin", and its version."""
    chosen = {"recipe": config.recipe, **config.parts}
    if not _is_path(catalogue, config.run.dataset):
        chosen["dataset"] = config.run.dataset
    used = [catalogue.get(kind, chosen[kind]).plugin for kind in kinds if kind in chosen]
    return {f"{p.distribution}/{p.name}": p.version for p in used}


def about(catalogue: Catalogue, config: Config, prepared: Prepared) -> dict[str, Any]:
    """What a generator's file says of itself: all that sampling from it needs."""
    return {
        "recipe": config.recipe,
        "generator": config.parts["generator"],
        "options": dict(config.options["generator"]),
        "spec": prepared.spec.to_json(),
        "dataset": prepared.name,
        "seed": config.run.seed,
        "plugins": plugins_of(catalogue, config, ("generator",)),
    }


def start(
    catalogue: Catalogue,
    config: Config,
    out: Path | None,
    watch: Watch,
) -> Path:
    """Train a new run to its end; returns its folder: `out`, or the next free one under runs/."""
    from ganzoo.runs.folder import Run, new_folder
    from ganzoo.training import trackers

    watchers = trackers.chosen(catalogue, config.run.track)
    config, prepared, strategy = prepare_strategy(catalogue, config, watch.progress)
    evaluator = evaluator_of(catalogue, config, prepared, watch.progress)
    recipe = catalogue.get("recipe", config.recipe).name
    folder = out or new_folder(Path("runs"), f"{recipe.replace('/', '-')}-{prepared.name}")
    written = {
        **config.to_json(),
        "data": {"name": prepared.name, "checksum": prepared.checksum, "count": prepared.count, **prepared.spec.to_json()},
        "ganzoo": __version__,
        "plugins": plugins_of(catalogue, config),
        "machine": machine.describe(),
    }
    with Run.create(folder) as run:
        try:
            _train(catalogue, config, prepared, strategy, run, watch, watchers, written, evaluator)
        except UsageError:
            if not any(run.samples.iterdir()):  # a tracker refused it before anything was computed
                shutil.rmtree(folder)
            raise
    return folder


def resume(
    catalogue: Catalogue,
    folder: Path,
    steps: int | None,
    watch: Watch,
    device: str | None = None,
) -> None:
    """Go on with a run from its newest good checkpoint, to its last step or to `steps`, perhaps on another device.

    Raises UsageError where there is nothing left to do, or where its data is not what it was.
    """
    from ganzoo.runs.folder import Run, read_config
    from ganzoo.training import trackers

    written = read_config(folder)
    config = Config.from_json(written)
    with Run.open(folder) as run:
        if steps is not None:
            config = replace(config, run=options.make(RunOptions, {**asdict(config.run), "steps": steps, "images": 0}, "--"))
        if device is not None:
            config = replace(config, run=replace(config.run, device=device))  # type: ignore[arg-type]
        check_plugins(catalogue, folder, written.get("plugins", {}), watch.warned)
        watchers = trackers.chosen(catalogue, config.run.track, watch.warned)
        config, prepared, strategy = prepare_strategy(catalogue, config, watch.progress)
        if prepared.checksum != written["data"]["checksum"]:
            raise UsageError(
                f"data set {config.run.dataset!r} has changed since the run was started: its checksum is {prepared.checksum[:12]}, "
                f"it was {written['data']['checksum'][:12]}. Bring the old data back, or start a new run."
            )
        now_made = machine.describe() | {"device": config.run.device}
        then = written.get("machine", {}) | {"device": written["run"].get("device")}
        differ = [key for key in ("torch", "threads", "device") if now_made[key] != then.get(key)]
        if odd := [f"{key} {now_made[key]} (was {then.get(key)})" for key in differ]:
            watch.warned(f"not bit for bit as if it had never stopped: {', '.join(odd)}.")
        now_written = {**written, "run": asdict(config.run), "ganzoo": __version__, "plugins": plugins_of(catalogue, config)}
        evaluator = evaluator_of(catalogue, config, prepared, watch.progress)
        _train(catalogue, config, prepared, strategy, run, watch, watchers, now_written, evaluator)


def finished(folder: Path) -> bool:
    """Whether a folder holds a run that has reached its end, by steps or by images."""
    from ganzoo.runs import checkpoint
    from ganzoo.runs.folder import read_config

    steps = checkpoint.steps_in(folder / "checkpoints")
    if not steps or not (folder / "config.json").exists():
        return False
    run = Config.from_json(read_config(folder)).run
    try:
        _, said = checkpoint.read_header(checkpoint.path_of(folder / "checkpoints", steps[-1]))
        return _ended(run, said["step"], said["position"])
    except (checkpoint.BadCheckpoint, LookupError, TypeError):  # resuming takes the one before it
        return False


def _ended(run: RunOptions, step: int, position: int) -> bool:
    return step >= run.steps or bool(run.images and position * run.batch_size >= run.images)


def check_plugins(catalogue: Catalogue, path: Path, made_with: Mapping[str, str], warn: Callable[[str], None]) -> None:
    """Compare the plugins that a run or a file was made with, "distribution/plugin" to version, with those that are loaded.

    Another version is told to `warn`. Raises UsageError for one that is not loaded.
    """
    there = {f"{p.distribution}/{p.name}": p for p in catalogue.plugins}
    for name, version in made_with.items():
        distribution, _, plugin = name.partition("/")
        if name not in there:
            advice = "Name it with --plugin PATH" if distribution == LOCAL else f"`pip install {distribution}=={version}` brings it back"
            raise UsageError(f"{path} was made with plugin {plugin} of {distribution} {version}, which is not installed. {advice}.")
        if there[name].state != "ok":
            raise UsageError(
                f"{path} was made with plugin {plugin} of {distribution} {version}, which is {there[name].state}: {there[name].reason}."
            )
        if there[name].version != version:
            warn(f"{path} was made with {name} {version}; going on with {there[name].version}: it may not be the same.")


def _train(
    catalogue: Catalogue, config: Config, prepared: Prepared, strategy: Strategy, run: Any, watch: Watch,
    watchers: list[Plugin], written: Mapping[str, Any], evaluator: Evaluator | None,
) -> None:  # fmt: skip
    import torch

    from ganzoo.data import Batches
    from ganzoo.runs import checkpoint
    from ganzoo.training.loop import train
    from ganzoo.training.trackers import Tracked

    t, position = 0, 0
    loaded = run.load(lambda header: checkpoint.check_names(strategy, header), watch.warned)
    if loaded is not None:
        tensors, meta = loaded
        checkpoint.restore(strategy, tensors)
        t, position = meta["step"], meta["position"]
        if meta.get("config") != config.fingerprint():
            raise UsageError(
                f"{run.folder / 'config.json'} has been changed since its checkpoints were written: a run goes on as it began. "
                f"Bring it back, or start a new run with `ganzoo run {config.recipe} --config {run.folder / 'config.json'}`."
            )
    if _ended(config.run, t, position):
        raise UsageError(f"{run.folder} is at step {t} already. `ganzoo resume {run.folder} --steps N` goes on to step N.")
    run.forget_after(t)
    run.write_config(written)
    batches = Batches(
        prepared.load(),
        prepared.spec,
        config.run.batch_size,
        seed=config.run.seed,
        device=torch.device(config.run.device),
        flip=config.run.flip,
        position=position,
    )
    tracked = Tracked(watch, watchers, RunInfo(run.folder, written, prepared.spec, t))
    tracked.started()
    watch.opened(run.folder, config, prepared, strategy)
    made_with = {"recipe": config.recipe, "ganzoo": __version__, "plugins": written["plugins"], "config": config.fingerprint()}
    error = "it was ended from outside"
    try:
        own = about(catalogue, config, prepared)
        train(strategy, batches, run, config.run, tracked, about=own, made_with=made_with, t=t, evaluator=evaluator)
        error = ""
    except Exception as e:
        error = str(e)
        raise
    finally:
        tracked.finished(error)


def load_generator(
    catalogue: Catalogue, path: Path, warn: Callable[[str], None] = lambda text: None
) -> tuple[Any, Mapping[str, Any]]:
    """The generator in a file, a run folder or a checkpoint of one, in eval mode, and what the file says of it. The data is not needed.

    warn: told where the plugin's version is not the one that made it.

    Raises UsageError where there is none, or where the plugin that it needs is not installed.
    """
    from ganzoo.runs import checkpoint

    file = path / "generator.safetensors" if path.is_dir() else path
    if file.parent.name == "checkpoints" and (file.parent.parent / "config.json").exists():
        return _generator_of_checkpoint(catalogue, file, warn)
    if not file.exists():
        if path.is_dir() and (path / "config.json").exists():
            raise UsageError(f"{path} has no generator yet: a run writes it with its first checkpoint, every --save-every steps.")
        raise UsageError(f"{file} does not exist. Wanted a run folder or a generator.safetensors.")
    _, said = checkpoint.read_header(file)
    if "generator" not in said:
        raise UsageError(f"{file} is a checkpoint of {said.get('recipe', 'a run')} without its run folder, which says how it is built.")
    try:
        spec, name, values = DataSpec.from_json(said["spec"]), str(said["generator"]), dict(said["options"])
        made_with = {str(plugin): str(version) for plugin, version in dict(said["plugins"]).items()}
    except (LookupError, TypeError, ValueError, AttributeError) as e:
        raise UsageError(f"{file}: its header does not say how the generator is built ({e!r}).") from e
    check_plugins(catalogue, file, made_with, warn)
    return _filled(catalogue, file, name, values, spec), said


def _filled(
    catalogue: Catalogue, file: Path, name: str, values: Mapping[str, Any], spec: DataSpec, networks: tuple[str, ...] = ("",)
) -> Generator:
    """A generator with the tensors of a file: those whose names begin with the first of `networks` that occurs in it."""
    import torch

    from ganzoo.runs import checkpoint

    # First without memory: what the header says is not believed before it has been compared with the tensors that are there.
    with torch.device("meta"):
        generator: Generator = compose.build_generator(catalogue, name, values, spec)

    def own(tensors: Mapping[str, Any]) -> dict[str, Any]:
        begin = next((b for b in networks if any(name.startswith(b) for name in tensors)), networks[0])
        return {name.removeprefix(begin): value for name, value in tensors.items() if name.startswith(begin) and name != "__metadata__"}

    def fits(header: dict[str, Any]) -> None:
        wanted = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
        found = {name: tuple(info["shape"]) for name, info in own(header).items()}
        if wanted != found:
            odd = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
            raise checkpoint.BadCheckpoint(f"its tensor {odd!r} does not fit generator {name!r}")

    tensors, _ = checkpoint.read(file, fits)
    generator = compose.build_generator(catalogue, name, values, spec)
    generator.load_state_dict(own(tensors))
    return generator.eval()


def _generator_of_checkpoint(catalogue: Catalogue, file: Path, warn: Callable[[str], None]) -> tuple[Any, Mapping[str, Any]]:
    from ganzoo.runs import checkpoint
    from ganzoo.runs.folder import read_config

    if not file.exists():
        there = ", ".join(f"{step:06d}" for step in checkpoint.steps_in(file.parent)) or "none"
        raise UsageError(f"{file} does not exist. The run has the checkpoints {there}.")
    written = read_config(file.parent.parent)
    config = Config.from_json(written)
    check_plugins(catalogue, file, written.get("plugins", {}), warn)
    _, said = checkpoint.read_header(file)
    name, values = config.parts["generator"], config.options["generator"]
    try:
        spec, step, dataset = DataSpec.from_json(written["data"]), int(said["step"]), str(written["data"]["name"])
    except (LookupError, TypeError, ValueError) as e:
        raise UsageError(f"{file}: it, or its run's config.json, does not say how the generator is built ({e!r}).") from e
    G = _filled(catalogue, file, name, values, spec, ("model:ema.", "model:G."))
    return G, {"generator": name, "step": step, "seed": config.run.seed, "dataset": dataset}
