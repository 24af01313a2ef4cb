"""Subjects of an evaluation: a run, its checkpoints, a product's file, samples that are there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import machine
from ganzoo.compose import DataSource, Progress, find_data
from ganzoo.config import Config, DataOptions, size_of, written_size
from ganzoo.data.batches import cropped
from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.evaluation.request import EvaluationRequest, Reference, find_reference
from ganzoo.registry.catalogue import Catalogue, Measures, medium
from ganzoo.runs import checkpoint, exported
from ganzoo.runs.folder import add_evaluation, read_config
from ganzoo.types import MetricPart

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.data import Prepared
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.evaluation.record import Evaluation
    from ganzoo.types import Field

READ = 250  # samples that are read at once


@dataclass(frozen=True)
class Subject:
    """Something to be evaluated; neither its data nor its weights have been touched.

    files: of products, one evaluation each. network: the product's name; "": the main one. samples: where there are samples already, and no
    files; None: there are none. run: the run folder that the results are written to, where there is one. source: the data that the
    product learnt from; None where nobody knows. checksum: of that data.
    """

    files: tuple[Path, ...] = ()
    network: str = ""
    samples: DataSource | None = None
    run: Path | None = None
    source: DataSource | None = None
    checksum: str = ""


def find_subject(zoo: Catalogue, path: Path, all_checkpoints: bool, network: str = "", named: Measures | None = None) -> Subject:
    """The subject that a path names: a run folder, a checkpoint of one, a product's file, or else samples in a folder, zip or array.

    network: the product of a run, by default the first one that the metrics in `named` take. What is no path may be the name of a data
    set: its real samples, measured, tell what the best figure is. Raises UsageError where it is nothing of that, or where all checkpoints
    are asked for and there are none.
    """
    if not path.exists():
        if zoo.find("dataset", str(path)) and not all_checkpoints:
            return Subject(samples=find_data(zoo, DataOptions(dataset=str(path))))
        raise UsageError(f"{path} does not exist. Wanted a run, a checkpoint, a generator.safetensors, or a folder of images.")
    run = next((folder for folder in (path, path.parent, path.parent.parent) if (folder / "config.json").is_file()), None)
    described = exported.exports_of(run) if run is not None else {}
    own = {run / exported.file_of(name): name for name in described} if run is not None else {}
    if run is not None and path in (run, *own, *(run / "checkpoints").glob("*.safetensors")):
        written, network = read_config(run), network or own.get(path) or _measured(described, named or Measures())
        if network not in described:
            raise UsageError(f"--network: {run} has {', '.join(described)}; got {network!r}.{did_you_mean(network, described)}")
        files: tuple[Path, ...] = (run / exported.file_of(network) if path == run else path,)
        if all_checkpoints:
            files = tuple(checkpoint.path_of(run / "checkpoints", step) for step in checkpoint.steps_in(run / "checkpoints"))
            if not files:
                raise UsageError(f"--all-checkpoints: {run} has none yet: a run writes them every --save-every steps.")
        config = Config.from_json(written)
        source = find_data(zoo, config.run, config.options.get("dataset"))
        return Subject(files, network, run=run, source=source, checksum=written["data"]["checksum"])
    if all_checkpoints:
        raise UsageError(f"--all-checkpoints: {path} is no run.")
    if runs := sorted(file.parent.name for file in path.glob("*/config.json")):
        raise UsageError(f"{path} holds runs: name one of them, as {path / runs[0]}.")
    if path.suffix == ".safetensors" and "export" in _meta(path):
        name = str(_meta(path).get("dataset", ""))
        return Subject((path,), network, source=find_data(zoo, DataOptions(dataset=name)) if zoo.find("dataset", name) else None)
    return Subject(samples=find_data(zoo, DataOptions(dataset=str(path.absolute()))))


def _measured(described: Mapping[str, Mapping[str, Any]], named: Measures) -> str:
    """The first product that gives what all metrics take; where there is none, the main one."""
    limits = [metric.record.media for metric in named.metrics if isinstance(metric.record, MetricPart) and metric.record.media]
    for name, meta in described.items():
        gives = meta["data"]["fields"][meta["gives"]] if isinstance(meta["gives"], str) else meta["gives"]
        if all(gives["medium"] in media for media in limits):
            return name
    return next(iter(described))


def _meta(path: Path) -> dict[str, Any]:
    try:
        return checkpoint.read_header(path)[1]
    except checkpoint.BadCheckpoint:
        return {}


def evaluate(
    zoo: Catalogue, subject: Subject, request: Callable[[Reference], EvaluationRequest], *, against: str = "train",
    image_size: str | None = None, data_dir: str | None = None, device: str = "auto",
    progress: Progress = lambda what, done, total: None, evaluated: Callable[[Evaluation], None] = lambda evaluation: None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[Evaluation]:  # fmt: skip
    """Evaluate the subject; what belongs to a run is written to its evaluations.jsonl too.

    Args:
        request: gives what to measure, when the real samples are known.
        against: "train", "test", or the name or path of other samples.
        image_size: of samples that are there already; by default that of the first.
        data_dir: where downloads lie and go.
        evaluated: called after each evaluation.
        warn: called with what the user should know.

    Raises UsageError for what cannot be, GanzooError where the samples or features are no numbers.
    """
    from ganzoo.evaluation.evaluator import Evaluator

    machine.set_threads()
    place = machine.pick_device(device)
    if subject.samples is not None:
        found = subject.samples.asking(image_size=image_size or _image_size(subject.samples), data_dir=data_dir)
        samples = found.prepare(progress=progress)
        name, data, key, truth, groups = found.name, samples.spec, "x", False, False
        field = data.x
    else:
        first = exported.load(zoo, subject.files[0], subject.network, warn)
        name, data, key, truth, field = str(subject.files[0]), first.data, first.key or first.groups, first.has_truth, first.field
        if not key:
            raise UsageError(f"{first.name} gives what no data set holds, so there is nothing to compare it with.")
        groups = not first.key
    sized = [f for f in (field, *data.fields.values()) if medium(f.medium).pictures]
    size = written_size(sized[0].shape) if sized else None
    source = subject.source
    if source is None:
        if against in ("train", "test"):
            raise UsageError(f"--against: {name} does not say which data it is to be compared with. Name a data set or a folder.")
        source, against = find_data(zoo, DataOptions(dataset=against)), "train"
    crop = size_of(source.asked.crop)
    source = source.asking(image_size=source.asked.image_size if crop else size, data_dir=data_dir or source.asked.data_dir)

    def training() -> Prepared:
        data = source.prepare(progress=progress)
        source.check_unchanged(data, subject.checksum)
        return data

    reference = replace(find_reference(zoo, source, training, against, size, progress, key, truth or groups), groups=groups)
    if crop and reference.split in ("train", "test"):  # windows, as the run had them: of each picture the one in the middle
        reference = replace(reference, data=reference.data.known_as(cropped(reference.data.spec, crop)))
    if reference.field.shape != field.shape:
        raise UsageError(f"--against: these samples are {_shape(field)}, the real ones {_shape(reference.field)}: they cannot be compared.")
    if reference.field.names != field.names and not groups:
        what = "words" if len(field.shape) else "classes"
        raise UsageError(
            f"--against: {reference.data.name} has other {what} than these samples know, or in another order. What lies in one folder, "
            f"as train and test, shares them."
        )
    evaluator = Evaluator(request(reference), reference, training, place, progress, source.asked.data_dir)
    if subject.samples is not None:
        return evaluator.measure(*_samples(samples, evaluator, warn), Path(subject.samples.name).name)
    evaluations = []
    for file in subject.files:
        if len(subject.files) > 1 and not file.exists():
            warn(f"{file.name} is gone: the run, which is going on, keeps only its last checkpoints.")
            continue
        product = first if file == subject.files[0] else exported.load(zoo, file, subject.network)
        product.network.to(place)
        of = str(file.relative_to(subject.run)) if subject.run else file.name
        for evaluation in evaluator(product, evaluator.request.n, of):
            evaluated(evaluation)
            evaluations.append(evaluation)
            try:
                if subject.run is not None:
                    add_evaluation(subject.run, evaluation.to_json())
            except GanzooError as e:
                warn(f"{e} The figures are only shown here.")
    return evaluations


def _samples(data: Prepared, evaluator: Evaluator, warn: Callable[[str], None]) -> tuple[Iterator[Tensor], int]:
    """As many of the samples as are asked for, and how many that are."""
    import torch

    from ganzoo.randomness import generator

    x = data.load()["x"]
    n = min(evaluator.request.n, len(x))
    if n < evaluator.request.n:
        warn(f"{data.name} holds {n} samples: all are taken.")
    # Not the first ones: folders and arrays are often in the order of their classes.
    chosen = torch.randperm(len(x), generator=generator(evaluator.request.seed, "samples"))[:n].sort().values
    return iter(x[chosen].split(READ)), n


def _image_size(source: DataSource) -> str | None:
    """The size of the first image at a path; None: what is usual for the data."""
    from ganzoo.data import samples_at
    from ganzoo.media.decode import size_of

    if source.entry is not None:
        return None
    samples = samples_at(Path(source.name))
    try:
        size = samples.size or (size_of(samples.files["x"].read(0)) if "x" in samples.files else None)
        return written_size((0, min(size), min(size))) if size else None
    except (OSError, ValueError):  # the preparation will say what is wrong
        return None
    finally:
        samples.close()


def _shape(field: Field) -> str:
    return "x".join(map(str, field.shape))
