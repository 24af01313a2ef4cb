"""A trained generator: from its file, or from a run that is training, to samples as they would be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo import machine
from ganzoo.config import Config
from ganzoo.errors import GanzooError, UsageError
from ganzoo.media.medium import Medium
from ganzoo.randomness import seed_of
from ganzoo.registry.catalogue import Catalogue, Entry, medium
from ganzoo.runs import checkpoint
from ganzoo.runs.folder import read_config
from ganzoo.types import DataSpec

if TYPE_CHECKING:
    from ganzoo.compose import Resolved
    from ganzoo.data import Prepared
    from ganzoo.interfaces import Generator, Strategy

FILE = "generator.safetensors"
LATENTS_PER_SEED = 250  # changing it changes every sample
BATCH = 50  # samples that the network is given at once; always so many, because their number decides how sums are rounded
AVERAGE, LIVE = "model:ema.", "model:G."  # how the names of the generator's tensors begin in a checkpoint


@dataclass(frozen=True)
class Exported:
    """A generator and how it is sampled.

    name: of the part. given: the conditions that it takes. step: how long it was trained. meta: what its file says of itself.
    """

    network: Generator
    name: str
    given: tuple[str, ...]
    step: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, strategy: Strategy, step: int = 0) -> Exported:
        """The generator of a strategy as it would be saved now: its average where there is one."""
        part = strategy.build.parts["generator"]
        return cls(strategy.sampled, part.name, part.given, step)

    @property
    def spec(self) -> DataSpec:
        """The description of its samples."""
        return self.network.spec

    @property
    def medium(self) -> Medium:
        """The medium of its samples."""
        return medium(self.spec.kind)

    def latents(self, n: int, seed: int) -> Tensor:
        """The first n latents of a seed, on the CPU. Latent i depends on the seed and i alone; torch's random state stays as it was."""
        drawn = []
        with torch.random.fork_rng(devices=[]):
            for start in range(0, n, LATENTS_PER_SEED):
                torch.default_generator.manual_seed(seed_of(seed, "drawn", start // LATENTS_PER_SEED))
                drawn.append(self.network.latent(LATENTS_PER_SEED)[: n - start])
        return torch.cat(drawn)

    def raw(self, z: Tensor, labels: Tensor | None = None) -> Iterator[Tensor]:
        """The network's own outputs for the latents z (n, ...): on the CPU, up to BATCH samples at a time.

        In eval mode, without gradients, on the network's device, and always BATCH latents at once, the last ones filled up: so the bits of
        a sample do not depend on how many are asked for. labels: classes (n,); None: each class in turn. Raises UsageError where the
        network takes other conditions than classes.
        """
        if unknown := [key for key in self.given if key != "y"]:
            raise UsageError(f"generator {self.name!r} needs {', '.join(unknown)}, which cannot be given here.")
        y = torch.arange(len(z)) % max(self.spec.classes, 1) if labels is None else labels
        return self._batches(z, {"y": y} if "y" in self.given else {})

    def _batches(self, z: Tensor, given: Mapping[str, Tensor]) -> Iterator[Tensor]:
        device = next(self.network.parameters()).device
        for start in range(0, len(z), BATCH):
            rows = torch.arange(start, start + BATCH).clamp_max(len(z) - 1)
            training = self.network.training
            self.network.eval()
            try:
                with torch.no_grad(), machine.exact():
                    x = self.network(z[rows].to(device), **{key: value[rows].to(device) for key, value in given.items()})
            finally:
                self.network.train(training)
            if len(x) != BATCH:
                raise GanzooError(f"generator {self.name!r} makes {len(x)} samples of {BATCH} latents.")
            yield x[: len(z) - start].cpu()

    def outputs(self, z: Tensor, labels: Tensor | None = None) -> Iterator[Tensor]:
        """The samples of the latents z as they would be saved: uint8 images (N, C, H, W) or float32 points (N, D), up to BATCH at a time.

        labels: as in `raw`. Raises GanzooError where a sample is not a finite number.
        """
        return map(self._stored, self.raw(z, labels))

    def samples(self, n: int, seed: int = 0, labels: Tensor | None = None) -> Iterator[Tensor]:
        """`outputs` of the first n latents of a seed."""
        return self.outputs(self.latents(n, seed), labels)

    def _stored(self, x: Tensor) -> Tensor:
        if not bool(x.isfinite().all()):
            raise GanzooError(f"generator {self.name!r} makes samples that are not finite numbers: there is nothing to see or to measure.")
        return self.medium.stored(x, self.spec.x)


def describe(resolved: Resolved, data: Prepared) -> dict[str, Any]:
    """The metadata of a generator's file: all that sampling from it needs."""
    config = resolved.config
    return {
        "recipe": config.recipe,
        "generator": config.parts["generator"],
        "options": dict(config.options["generator"]),
        "spec": data.spec.to_json(),
        "dataset": data.name,
        "seed": config.run.seed,
        "plugins": resolved.plugins("generator"),
    }


def save(folder: Path, tensors: Mapping[str, Tensor], step: int, meta: Mapping[str, Any]) -> None:
    """Write the generator among the tensors of a checkpoint, averaged if it is, to its own file in the run folder."""
    begin = _beginning(tensors)
    own = {name.removeprefix(begin): value for name, value in tensors.items() if name.startswith(begin)}
    checkpoint.write(folder / FILE, own, {"step": step, **meta})


def _beginning(names: Mapping[str, Any]) -> str:
    """How the names of the generator's tensors begin: in a checkpoint those of the average if there is one; nothing in its own file."""
    return next((begin for begin in (AVERAGE, LIVE) if any(name.startswith(begin) for name in names)), "")


def load(zoo: Catalogue, path: Path, warn: Callable[[str], None] = lambda text: None) -> Exported:
    """The generator of a run folder, of a checkpoint in one, or of a generator.safetensors, on the CPU. The data is not needed.

    warn: told where a plugin's version is not the one that made it. Raises UsageError where there is no generator, or where the plugin
    that it needs is not loaded.
    """
    file = path / FILE if path.is_dir() else path
    of_checkpoint = file.parent.name == "checkpoints" and (file.parent.parent / "config.json").exists()
    meta = _checkpoint_meta(file) if of_checkpoint else _file_meta(path, file)
    try:
        spec, name, values = DataSpec.from_json(meta["spec"]), str(meta["generator"]), dict(meta["options"])
        plugins = {str(plugin): str(version) for plugin, version in dict(meta["plugins"]).items()}
        step = int(meta["step"])
    except (LookupError, TypeError, ValueError, AttributeError) as e:
        raise UsageError(f"{file}: it, or its run's config.json, does not say how the generator is built ({e!r}).") from e
    zoo.check_versions(file, plugins, warn)
    entry = zoo.get("generator", name)
    return Exported(_filled(entry, entry.options(values, "--generator."), spec, file), name, entry.part.given, step, meta)


def _file_meta(path: Path, file: Path) -> dict[str, Any]:
    """The metadata of a generator.safetensors."""
    if not file.exists():
        if path.is_dir() and (path / "config.json").exists():
            raise UsageError(f"{path} has no generator yet: a run writes it with its first checkpoint, every --save-every steps.")
        raise UsageError(f"{file} does not exist. Wanted a run folder or a {FILE}.")
    _, meta = checkpoint.read_header(file)
    if "generator" not in meta:
        raise UsageError(f"{file} is a checkpoint of {meta.get('recipe', 'a run')} without its run folder, which says how it is built.")
    return meta


def _checkpoint_meta(file: Path) -> dict[str, Any]:
    """The same of a checkpoint, from its run's config.json."""
    if not file.exists():
        steps = ", ".join(f"{step:06d}" for step in checkpoint.steps_in(file.parent)) or "none"
        raise UsageError(f"{file} does not exist. The run has the checkpoints {steps}.")
    written = read_config(file.parent.parent)
    config, data = Config.from_json(written), written["data"]
    _, meta = checkpoint.read_header(file)
    return {
        "generator": config.parts["generator"],
        "options": config.options["generator"],
        "spec": data,
        "dataset": data.get("name", ""),
        "seed": config.run.seed,
        "plugins": written.get("plugins", {}),
        "step": meta.get("step"),
    }


def _filled(entry: Entry, options: Any, spec: DataSpec, file: Path) -> Generator:
    """The generator with its tensors from the file. Raises BadCheckpoint where they are not those of such a network."""
    # First without memory: the header is not believed before it has been compared with the tensors in the file.
    with torch.device("meta"):
        network: Generator = entry.build(spec, options)

    def own(tensors: Mapping[str, Any]) -> dict[str, Any]:
        begin = _beginning(tensors)
        return {name.removeprefix(begin): value for name, value in tensors.items() if name.startswith(begin) and name != "__metadata__"}

    def fits(header: dict[str, Any]) -> None:
        wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        stored = {name: tuple(info["shape"]) for name, info in own(header).items()}
        if wanted != stored:
            wrong = sorted(set(wanted.items()) ^ set(stored.items()))[0][0]
            raise checkpoint.BadCheckpoint(f"its tensor {wrong!r} does not fit generator {entry.name!r}")

    tensors, _ = checkpoint.read(file, fits)
    network = entry.build(spec, options)
    network.load_state_dict(own(tensors))
    return network.eval()
