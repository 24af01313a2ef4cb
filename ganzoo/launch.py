"""From a configuration to a finished run: what `ganzoo run`, `ganzoo resume` and a script have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import compose, options
from ganzoo.catalogue import Catalogue
from ganzoo.compose import Config, RunOptions
from ganzoo.errors import GanzooError, UsageError
from ganzoo.types import KINDS

if TYPE_CHECKING:
    import torch

    from ganzoo.data import Prepared
    from ganzoo.interfaces import Strategy
    from ganzoo.loop import Watch

Progress = Callable[[str, int, int], None]


def threads() -> int:
    """How many threads to compute with: what OMP_NUM_THREADS says, else what the affinity mask and the cgroup allow.

    More threads than cores spin against each other, at a sixth of the speed.
    """
    if (said := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(said) > 0:
        return int(said)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, int(cgroup_cores() or allowed)))


def cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The cores that the control group may use, whole or in part; None where there is no limit."""
    for name, split in (("cpu.max", True), ("cpu/cpu.cfs_quota_us", False)):
        try:
            text = (root / name).read_text(encoding="utf-8")
            quota, period = text.split() if split else (text, (root / "cpu/cpu.cfs_period_us").read_text(encoding="utf-8"))
            if quota.strip() != "max" and int(quota) > 0:
                return max(1.0, int(quota) / int(period))
        except (OSError, ValueError):
            continue
    return None


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, then Apple's, then the processor. Raises UsageError where it is not there."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind in there if there[kind]))
    if not there[name]:
        raise UsageError(f"--device {name}: this machine, or this build of torch, has none. Take --device auto.")
    return torch.device(name)


def prepare_data(catalogue: Catalogue, config: Config, progress: Progress | None = None) -> Prepared:
    """The data set of a run, prepared. A name is looked up first, then a path."""
    from ganzoo.data import prepare

    run = config.run
    parts = {kind: catalogue.part(kind, config.parts[kind]) for kind in KINDS}
    entry = None if _is_path(catalogue, run.dataset) else catalogue.get("dataset", run.dataset)
    record = None if entry is None else catalogue.dataset(run.dataset)
    sizes = compose.common_sizes(parts)
    if (spec := compose.expected(record, run, sizes)) is not None:
        compose.check_data(catalogue, config, spec)
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
        whose = f" of {entry.plugin.origin}" if entry is not None else ""
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

    torch.set_num_threads(threads())
    torch.backends.cudnn.deterministic = True
    # A run is resumed from anywhere.
    run = config.run
    if _is_path(catalogue, run.dataset):
        run = replace(run, dataset=str(Path(run.dataset).expanduser().resolve()))
    if run.data_dir:
        run = replace(run, data_dir=str(Path(run.data_dir).expanduser().resolve()))
    config = replace(config, run=run)
    # Before anything is downloaded or decoded: what cannot work is said at once.
    device = pick_device(config.run.device)
    config = replace(config, run=replace(config.run, device=device.type))  # type: ignore[arg-type]
    prepared = prepare_data(catalogue, config, progress)
    if prepared.spec.kind == "image":
        config = replace(config, run=replace(config.run, image_size=prepared.spec.shape[-1]))
    return config, prepared, compose.build(catalogue, config, prepared.spec, device)


def plugins_of(catalogue: Catalogue, config: Config, names: tuple[str, ...] = ("recipe", *KINDS)) -> dict[str, str]:
    """Each plugin that the run is made with, "distribution/plugin", and its version."""
    chosen = {"recipe": config.recipe, **config.parts}
    used = [catalogue.get(kind, chosen[kind]).plugin for kind in names]
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
    progress: Progress | None = None,
    opened: Callable[[Path, Config, Prepared, Strategy], None] | None = None,
) -> Path:
    """Train a new run to its end; returns its folder: `out`, or the next free one under runs/.

    opened: called when everything is ready, before the first step.
    """
    from ganzoo.run import Run, machine, new_folder

    config, prepared, strategy = prepare_strategy(catalogue, config, progress)
    folder = out or new_folder(Path("runs"), f"{config.recipe.replace('/', '-')}-{prepared.name}")
    written = {
        **config.to_json(),
        "data": {"name": prepared.name, "checksum": prepared.checksum, "count": prepared.count, **prepared.spec.to_json()},
        "plugins": plugins_of(catalogue, config),
        "machine": machine(),
    }
    with Run.create(folder, written) as run:
        _train(catalogue, config, prepared, strategy, run, watch, opened)
    return folder


def resume(
    catalogue: Catalogue,
    folder: Path,
    steps: int | None,
    watch: Watch,
    progress: Progress | None = None,
    opened: Callable[[Path, Config, Prepared, Strategy], None] | None = None,
    device: str | None = None,
) -> None:
    """Go on with a run from its newest good checkpoint, to its last step or to `steps`, perhaps on another device.

    Raises UsageError where there is nothing left to do, or where its data is not what it was.
    """
    from ganzoo.run import Run, machine, read_config

    written = read_config(folder)
    config = Config.from_json(written)
    with Run.open(folder) as run:
        if steps is not None:
            config = replace(config, run=options.make(RunOptions, {**asdict(config.run), "steps": steps}, "--"))
        if device is not None:
            config = replace(config, run=replace(config.run, device=device))  # type: ignore[arg-type]
        for name, version in written.get("plugins", {}).items():
            now = {f"{p.distribution}/{p.name}": p for p in catalogue.plugins if p.state == "ok"}.get(name)
            if now is None:
                raise UsageError(f"{folder} was made with plugin {name} {version}, which is not loaded. See `ganzoo plugins`.")
            if now.version != version:
                watch.warned(f"the run was made with {name} {version}; going on with {now.version}: it may not be the same.")
        config, prepared, strategy = prepare_strategy(catalogue, config, progress)
        if prepared.checksum != written["data"]["checksum"]:
            raise UsageError(
                f"data set {config.run.dataset!r} has changed since the run was started: its checksum is {prepared.checksum[:12]}, "
                f"it was {written['data']['checksum'][:12]}. Bring the old data back, or start a new run."
            )
        now_made = machine() | {"device": config.run.device}
        then = written.get("machine", {}) | {"device": written["run"].get("device")}
        differ = [key for key in ("torch", "threads", "device") if now_made[key] != then.get(key)]
        if odd := [f"{key} {now_made[key]} (was {then.get(key)})" for key in differ]:
            watch.warned(f"not bit for bit as if it had never stopped: {', '.join(odd)}.")
        _train(catalogue, config, prepared, strategy, run, watch, opened, {**written, "run": asdict(config.run)})


def _train(
    catalogue: Catalogue, config: Config, prepared: Prepared, strategy: Strategy, run: Any, watch: Watch,
    opened: Callable[[Path, Config, Prepared, Strategy], None] | None, written: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    import torch

    from ganzoo import checkpoint
    from ganzoo.data import Batches
    from ganzoo.loop import train

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
    if t >= config.run.steps:
        raise UsageError(f"{run.folder} is at step {t} already. `ganzoo resume {run.folder} --steps N` goes on to step N.")
    run.forget_after(t)
    if written is not None:
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
    if opened is not None:
        opened(run.folder, config, prepared, strategy)
    made_with = {"recipe": config.recipe, "plugins": plugins_of(catalogue, config), "config": config.fingerprint()}
    train(strategy, batches, run, config.run, watch, about=about(catalogue, config, prepared), made_with=made_with, t=t)


def load_generator(catalogue: Catalogue, path: Path) -> tuple[Any, Mapping[str, Any]]:
    """The generator in a file, or in a run folder, in eval mode, and what the file says of it. The data set is not needed.

    Raises UsageError where there is none, or where the plugin that it needs is not installed.
    """
    import torch

    from ganzoo import checkpoint
    from ganzoo.types import DataSpec

    file = path / "generator.safetensors" if path.is_dir() else path
    if not file.exists():
        if path.is_dir() and (path / "config.json").exists():
            raise UsageError(f"{path} has no generator yet: a run writes it with its first checkpoint, every --save-every steps.")
        raise UsageError(f"{file} does not exist. Wanted a run folder or a generator.safetensors.")
    _, said = checkpoint.read_header(file)
    if "generator" not in said:
        raise UsageError(f"{file} is a checkpoint of {said.get('recipe', 'a run')}; sample from the generator.safetensors of its run.")
    loaded = {f"{p.distribution}/{p.name}" for p in catalogue.plugins if p.state == "ok"}
    try:
        spec, name, values = DataSpec.from_json(said["spec"]), str(said["generator"]), dict(said["options"])
        missing = {name: version for name, version in dict(said["plugins"]).items() if name not in loaded}
    except (LookupError, TypeError, ValueError, AttributeError) as e:
        raise UsageError(f"{file}: its header does not say how the generator is built ({e!r}).") from e
    for plugin, version in missing.items():
        raise UsageError(f"{file} was made with plugin {plugin} {version}, which is not loaded. See `ganzoo plugins`.")
    # First without memory: what the header says is not believed before it has been compared with the tensors that are there.
    with torch.device("meta"):
        generator = compose.build_generator(catalogue, name, values, spec)

    def fits(header: dict[str, Any]) -> None:
        own = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
        found = {name: tuple(info["shape"]) for name, info in header.items() if name != "__metadata__"}
        if own != found:
            odd = sorted(set(own.items()) ^ set(found.items()))[0][0]
            raise checkpoint.BadCheckpoint(f"its tensor {odd!r} does not fit generator {name!r}")

    tensors, _ = checkpoint.read(file, fits)
    generator = compose.build_generator(catalogue, name, values, spec)
    generator.load_state_dict(tensors)
    return generator.eval(), said


def read_json(path: Path) -> Any:
    """A JSON file. Raises UsageError where it cannot be read."""
    import json

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise UsageError(f"{path} cannot be read as JSON: {e}.") from e
