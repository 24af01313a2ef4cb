"""What can be evaluated: a run, its checkpoints, a generator's file, or a folder of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import machine
from ganzoo.config import Config, RunOptions
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import Catalogue
from ganzoo.training import launch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ganzoo.data import Prepared
    from ganzoo.evaluation.evaluator import Asked, Evaluator, Reference
    from ganzoo.evaluation.record import Evaluation
    from ganzoo.types import DataSpec

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Subject:
    """Something to be evaluated, told before its data or weights are touched.

    files: what draws the samples, one evaluation each; none where `samples`, a folder or a file, holds them already. run: the folder that
    the results are written to, where there is one. data: the options that name the data it learnt from; None where nobody knows.
    """

    files: tuple[Path, ...]
    run: Path | None
    data: RunOptions | None
    checksum: str = ""
    samples: Path | None = None


def subject(catalogue: Catalogue, source: Path, all_checkpoints: bool) -> Subject:
    """What a path names: a run folder, a checkpoint of one, a generator.safetensors, or else samples in a folder, zip or array; what is no
    path may be the name of a data set, whose real samples are then measured: that tells what the best figure is.

    Raises UsageError where it is nothing of that, or is to have checkpoints and has none.
    """
    from ganzoo.runs import checkpoint
    from ganzoo.runs.folder import read_config

    if not source.exists():
        if any(str(source) in (e.name, e.qualified) for e in catalogue.entries("dataset")) and not all_checkpoints:
            return Subject((), None, None, samples=source)
        raise UsageError(f"{source} does not exist. Wanted a run, a checkpoint, a generator.safetensors, or a folder of images.")
    run = next((folder for folder in (source, source.parent, source.parent.parent) if (folder / "config.json").is_file()), None)
    if run is not None and (source == run or source.suffix == ".safetensors"):
        written = read_config(run)
        files: tuple[Path, ...] = (source / "generator.safetensors",) if source == run else (source,)
        if all_checkpoints:
            files = tuple(checkpoint.path_of(run / "checkpoints", step) for step in checkpoint.steps_in(run / "checkpoints"))
            if not files:
                raise UsageError(f"--all-checkpoints: {run} has none yet: a run writes them every --save-every steps.")
        return Subject(files, run, Config.from_json(written).run, written["data"]["checksum"])
    if all_checkpoints:
        raise UsageError(f"--all-checkpoints: {source} is no run.")
    if runs := sorted(path.parent.name for path in source.glob("*/config.json")):
        raise UsageError(f"{source} holds runs: name one of them, as {source / runs[0]}.")
    if source.suffix == ".safetensors" and "generator" in _said(source):
        name = str(_said(source).get("dataset", ""))
        known = any(e.name == name for e in catalogue.entries("dataset"))
        return Subject((source,), None, RunOptions(dataset=name) if known else None)
    return Subject((), None, None, samples=source)


def _said(path: Path) -> dict[str, Any]:
    from ganzoo.runs import checkpoint

    try:
        return checkpoint.read_header(path)[1]
    except checkpoint.BadCheckpoint:
        return {}


def evaluate(
    catalogue: Catalogue, what: Subject, asked: Callable[[Reference], Asked], *, against: str = "train", image_size: int | None = None,
    data_dir: str | None = None, device: str = "auto", progress: Progress = lambda what, done, total: None,
    told: Callable[[Evaluation], None] = lambda evaluation: None, warn: Callable[[str], None] = lambda text: None,
) -> list[Evaluation]:  # fmt: skip
    """Every evaluation of the subject, written to its run. asked: what to measure, told when the real samples are known.

    against: "train", "test", or the name or path of other samples. told: called after each. warn: told of oddities.
    Raises UsageError for what cannot be, GanzooError where the samples or features are no numbers.
    """
    import torch

    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.randomness import generator
    from ganzoo.runs.folder import add_evaluation

    torch.set_num_threads(machine.threads())
    place = machine.pick_device(device)
    run, checksum = what.data, what.checksum
    if what.samples is not None:
        size = image_size or (_size(what.samples) if what.samples.exists() else None)
        fakes = launch.prepare_named(catalogue, RunOptions(dataset=str(what.samples), image_size=size, data_dir=data_dir))
        if against in ("train", "test"):
            raise UsageError("--against: name the data set or the folder that these samples are to be compared with.")
        spec: DataSpec = fakes.spec
        run, against = RunOptions(dataset=against), "train"
    else:
        spec = launch.load_generator(catalogue, what.files[0], warn)[0].spec
    if run is None:
        if against in ("train", "test"):
            raise UsageError(f"--against: {what.files[0]} does not say where its data is. Name a data set or a folder.")
        run, against = RunOptions(dataset=against), "train"
    size = spec.shape[-1] if spec.kind == "image" else None
    run = replace(run, image_size=size, data_dir=data_dir or run.data_dir)
    training = partial(_training, catalogue, run, checksum, progress)
    there = launch.reference(catalogue, run, training, against, size, progress)
    if there.data.spec.shape != spec.shape:
        raise UsageError(f"--against: these samples are {_shape(spec)}, the real ones {_shape(there.data.spec)}: they cannot be compared.")
    evaluator = Evaluator(catalogue, asked(there), there, training, place, progress, run.data_dir)
    made = []
    if what.samples is not None:
        x = fakes.load()["x"]
        n = min(evaluator.asked.n, len(x))
        if n < evaluator.asked.n:
            warn(f"{what.samples} holds {n} samples: all are taken.")
        # Not the first ones: folders and arrays are often in the order of their classes.
        some = torch.randperm(len(x), generator=generator(evaluator.asked.seed, "samples"))[:n].sort().values
        made += evaluator(iter(x[some].split(250)), n, None, what.samples.name)
    for file in what.files:
        samples, step = _drawn(catalogue, file, evaluator, place)
        found = evaluator(samples, evaluator.asked.n, step, str(file.relative_to(what.run)) if what.run else file.name)
        for evaluation in found:
            told(evaluation)
            try:
                if what.run is not None:
                    add_evaluation(what.run, evaluation.to_json())
            except GanzooError as e:
                warn(f"{e} The figures are only told here.")
        made += found
    return made


def _drawn(catalogue: Catalogue, file: Path, evaluator: Evaluator, device: torch.device) -> tuple[Iterator[Tensor], int]:
    from ganzoo.runs.exported import drawn

    G, said = launch.load_generator(catalogue, file)
    G = G.to(device)
    n = evaluator.asked.n
    labels = evaluator.labels(n) if evaluator.spec.classes == G.spec.classes else None

    def call(z: Tensor, given: dict[str, Tensor]) -> Tensor:
        taken: Tensor = G(z.to(device), **{key: value.to(device) for key, value in given.items()})
        return taken

    return drawn(call, G, catalogue.part("generator", said["generator"]).given, n, evaluator.asked.seed, labels), int(said["step"])


def _training(catalogue: Catalogue, run: RunOptions, checksum: str, progress: Progress) -> Prepared:
    """The data that the generator learnt from, checked to be the same."""
    data = launch.prepare_named(catalogue, run, progress=progress)
    if checksum and data.checksum != checksum:
        raise UsageError(
            f"data set {run.dataset!r} has changed since the run was started: its checksum is {data.checksum[:12]}, "
            f"it was {checksum[:12]}. Bring the old data back, or name other data with --against."
        )
    return data


def _size(path: Path) -> int | None:
    """The shorter side of the first image in a folder; None: as the file says."""
    from ganzoo.data import samples_at
    from ganzoo.data.images import side

    samples = samples_at(path)
    try:
        return samples.size or (side(samples.read(0)) if samples.read is not None else None)
    except (OSError, ValueError):  # it will be told of when it is prepared
        return None
    finally:
        samples.close()


def _shape(spec: DataSpec) -> str:
    return "x".join(map(str, spec.shape))
