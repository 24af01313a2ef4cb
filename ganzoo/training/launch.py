"""A run from its first step to its last, or from where it stopped: what `ganzoo run`, `ganzoo resume` and a script call."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo import __version__, compose, machine, options, pictures, processes, ranks
from ganzoo.compose import Progress, Resolved
from ganzoo.config import Config, RunOptions
from ganzoo.errors import GanzooError, NoSuchData, RunStopped, UsageError
from ganzoo.interfaces import Network
from ganzoo.randomness import draws
from ganzoo.registry.catalogue import Catalogue, medium
from ganzoo.registry.discovery import culprit
from ganzoo.runs import checkpoint, exported
from ganzoo.runs.exported import Exported
from ganzoo.runs.folder import Run, new_folder, read_config
from ganzoo.training.loop import Watch, train
from ganzoo.training.session import Session, open_session
from ganzoo.training.trackers import Tracked
from ganzoo.types import Recipe, RunInfo

if TYPE_CHECKING:
    from ganzoo.data import Prepared
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.strategy import Strategy


FEW_IMAGES = 1000


@processes.one_voice()
def start(resolved: Resolved, out: Path | None, watch: Watch, resumes: bool = False) -> Path:
    """Train a new run to its end; returns its folder: `out`, or the next free one under runs/.

    resumes: go on with the run that is in `out` already, if there is one, which must be of the same configuration; at its end, do nothing.
    """
    if idle := resolved.records.idle:
        watch.warned(f"no part of {resolved.recipe.name} takes {' or '.join(idle)}: the degradation changes nothing.")
    assert isinstance(resolved.recipe.record, Recipe)
    if untaught := resolved.records.untaught(resolved.zoo.parts_of(resolved.recipe.record, {})):
        own = f"as {resolved.recipe.name}'s own loss does"
        watch.warned(f"loss {resolved.records.loss.name} does not teach D its {' and '.join(untaught)}, {own}: they mean nothing.")
    resolved, data, session = open_session(resolved, watch.progress)
    probe(session)
    evaluator = _evaluator(resolved, data, session, watch.progress)
    for text in advice(resolved, data):
        watch.warned(text)
    processes.meet()
    stem = f"{resolved.recipe.name.replace('/', '-')}-{data.name}"
    folder = out or Path(processes.told(str(processes.first(lambda: new_folder(Path("runs"), stem)))))
    if resumes and processes.told((folder / "config.json").exists()):
        with _opened(Run.open, folder) as run:
            if processes.told(run.writes and finished(folder, resolved.run)):
                watch.warned(f"{folder} is at its end: there is nothing left to do.")
                return folder
            written = processes.told(run.config)
            if Config.from_json(written).fingerprint() != resolved.config.fingerprint():
                raise UsageError(f"--resume-or-start: {folder} is a run with other options. Bring them back, or name another folder.")
            _go_on(resolved, data, session, run, watch, written, evaluator)
        return folder
    with _opened(Run.create, folder) as run:
        try:
            written = describe(resolved, data, session, machine.now().isoformat(timespec="seconds"))
            _train(resolved, data, session, run, watch, written | {"machine": machine.describe()}, evaluator)
        except UsageError:
            if run.writes and not any(run.samples.iterdir()):  # a tracker refused it before anything was computed
                shutil.rmtree(folder)
            raise
    return folder


def _opened(opened: Callable[[Path], Run], folder: Path) -> Run:
    """The folder of a run, on the first rank; on the others what stands for it there."""
    return processes.first(lambda: opened(folder)) or Run(folder, writes=False)


def advice(resolved: Resolved, data: Prepared) -> list[str]:
    """Warnings that the size of the data gives reason for."""
    run, texts = resolved.run, []
    s_are = "s are" if data.count > 1 else " is"
    if data.count < run.batch_size:
        texts.append(f"{data.count} sample{s_are} fewer than a batch of {run.batch_size}: each batch holds some of them several times.")
    pictures_ = medium(data.spec.fields[resolved.records.main].medium).pictures
    if pictures_ and data.count < FEW_IMAGES and not resolved.wrappers:
        texts.append(
            f"{data.count} image{s_are} few: D soon knows them by heart, and G learns nothing more. --with ada and --flip help; "
            f"with {FEW_IMAGES} and more there is less need."
        )
    return texts


@contextlib.contextmanager
def _blamed(whose: str) -> Iterator[None]:
    """What is raised in somebody's network before the first step, as a GanzooError that says whose it is."""
    try:
        yield
    except GanzooError as e:
        raise type(e)(f"{whose}: {e}") from e
    except Exception as e:
        if not (plugin := _whose(e)):
            raise
        told = "Pictures are in torch.channels_last, which is faster: use flatten(1) or reshape there. " if "view size" in str(e) else ""
        raise GanzooError(f"{plugin} raised {type(e).__name__} before the first step: {e} {told}That is not a fault of ganzoo's.") from e


def _called(network: Network, values: Mapping[str, Tensor]) -> None:
    """Call a network that is no product, with two rows of what it takes."""
    training = network.training
    try:
        with torch.no_grad(), draws(0, "probe"), _blamed(f"{network.record.role} {network.record.name!r}"):
            network.eval()(**values)
    finally:
        network.train(training)


def probe(session: Session) -> None:
    """Call each network before the first step. Raises GanzooError where a product gives what it must not: a wrong shape or number, no
    gradient; and where a stranger's network raises."""
    strategy, batch = session.strategy, session.batches.peek(2)
    for network in strategy.modules():
        if isinstance(network, Network) and not network.record.latents:
            keys = {name: network.names.get(name, name) for name in network.record.takes}
            if batch.keys() >= {*keys.values()}:
                _called(network, {name: batch[key] for name, key in keys.items()})
    for name, export in strategy.exports().items():
        product = Exported.of(strategy, name)
        given = {key: batch[key].cpu() for key in product.fields}
        network = strategy.get_submodule(export.network)
        record = getattr(network, "record", None)
        whose = f"{record.role} {record.name!r}" if record is not None else name
        with _blamed(whose):
            rows = next(product.outputs(2, session.seed, given))
        wanted = (2, *product.medium.shape_of_output(product.field))
        if tuple(rows.shape) != wanted:
            raise GanzooError(f"{whose} gives {tuple(rows.shape)} for two rows; wanted {wanted}. That is for its plugin to mend.")
        if any(p.requires_grad for p in network.parameters()) and not product.differentiable(session.seed, given):
            raise GanzooError(f"{whose}: no gradient goes through what it gives, so it cannot learn. That is for its plugin to mend.")


def describe(resolved: Resolved, data: Prepared, session: Session, created: str = "") -> dict[str, Any]:
    """The content of a run's config.json, but for the machine. created: when the run began, as ISO 8601 has it."""
    spec = session.strategy.spec
    return {
        **resolved.config.to_json(),
        "data": {"name": data.name, "checksum": data.checksum, "counts": dict(data.counts), **spec.to_json()},
        "exports": exported.describe(resolved, data, session.strategy, created),
        **({"created": created} if created else {}),
        "ganzoo": __version__,
        "plugins": resolved.plugins(spec),
    }


@processes.one_voice()
def resume(
    zoo: Catalogue, folder: Path, steps: int | None, watch: Watch, device: str | None = None, dataset: str | None = None,
    data_dir: str | None = None, capture: bool | None = None,
) -> None:  # fmt: skip
    """Go on with a run from its newest good checkpoint, to its last step or to `steps`, perhaps on another device, or captured.

    dataset, data_dir: where its data lies now, if it was moved; its checksum tells whether it is the same.

    Raises UsageError where there is nothing left to do, or where its data is not what it was.
    """
    processes.join()
    with _opened(Run.open, folder) as run:
        written = processes.told(run.config)
        config = Config.from_json(written)
        changed = ({"steps": steps, "images": 0} if steps is not None else {}) | ({"device": device} if device is not None else {})
        changed |= ({"dataset": dataset} if dataset is not None else {}) | ({"data_dir": data_dir} if data_dir is not None else {})
        changed |= {"capture": capture} if capture is not None else {"capture": False} if device in ("cpu", "mps") else {}
        config = replace(config, run=options.make(RunOptions, asdict(config.run) | changed, "--"))
        if dataset is not None and zoo.find("dataset", dataset) is None:
            config = replace(config, options={kind: values for kind, values in config.options.items() if kind != "dataset"})
        zoo.check_versions(folder, written.get("plugins", {}), watch.warned)
        try:
            resolved, data, session = open_session(compose.from_config(zoo, config, watch.warned), watch.progress)
        except NoSuchData as e:
            raise UsageError(f"{e} If it was moved: `ganzoo resume {shlex.quote(str(folder))} --dataset PATH`.") from e
        _go_on(resolved, data, session, run, watch, written, _evaluator(resolved, data, session, watch.progress))


def _go_on(
    resolved: Resolved, data: Prepared, session: Session, run: Run, watch: Watch, written: dict[str, Any], evaluator: Evaluator | None
) -> None:
    """Train on from what is in the folder. written: what its config.json says."""
    resolved.data.check_unchanged(data, written["data"]["checksum"])
    _warn_of_changes(written, resolved.run.device, watch)
    now = {"run": asdict(resolved.run), "ganzoo": __version__, "plugins": resolved.plugins(session.strategy.spec)}
    _train(resolved, data, session, run, watch, written | now, evaluator)


def _warn_of_changes(written: Mapping[str, Any], device: str, watch: Watch) -> None:
    """Warn of changes of the machine that decide the bits of a step."""
    before = {"ranks": 1} | written.get("machine", {}) | {"device": written["run"].get("device")}
    now = machine.describe() | {"device": device}
    decisive = ("torch", "threads", "device", "ranks")
    if changes := [f"{key} {now[key]} (was {before.get(key)})" for key in decisive if now[key] != before.get(key)]:
        watch.warned(f"not bit for bit as if it had never stopped: {', '.join(changes)}.")


def _evaluator(resolved: Resolved, data: Prepared, session: Session, progress: Progress) -> Evaluator | None:
    """The evaluator that measures a run against its own training data while it trains; None where it is not to be measured."""
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.evaluation.request import Reference, requested

    run = resolved.run
    if not run.eval_every:
        return None
    product = Exported.of(session.strategy)
    data = data.known_as(resolved.cropped(data.spec))
    reference = Reference(data, "train", resolved.data.record, product.key, product.has_truth)
    request = requested(resolved.zoo, reference, resolved.measures, run.eval_n)
    return Evaluator(request, reference, lambda: data, session.strategy.device, progress, run.data_dir)


def _train(
    resolved: Resolved, data: Prepared, session: Session, run: Run, watch: Watch, written: Mapping[str, Any], evaluator: Evaluator | None
) -> None:
    """Bring the session to where the run folder stands, and train on from there. written: what config.json is to say."""
    strategy, fingerprint = session.strategy, resolved.config.fingerprint()
    processes.meet()
    own = {"data": data.checksum} | ({"weights of features": evaluator.weights} if evaluator is not None else {})
    wanted = processes.told(own)
    other = next((what for what in own if own[what] != wanted[what]), "")
    if processes.largest(int(bool(other))):
        text = f"rank {ranks.rank()} has other {other} than the first ({own.get(other, '')[:12]}): wanted the same on every machine."
        raise GanzooError(text) if other else processes.Followed(1)
    t = 0
    loaded = processes.first(lambda: run.load(lambda header: checkpoint.check_names(strategy, header), watch.warned))
    if (meta := processes.told(loaded[1] if loaded else None)) is not None:
        checkpoint.restore(strategy, processes.tensors_of(0, loaded[0] if loaded else None))
        t, session.batches.position = meta["step"], meta["position"]
        if meta.get("config") != fingerprint:
            file = run.folder / "config.json"
            raise UsageError(
                f"{file} has been changed since its checkpoints were written: a run goes on as it began. "
                f"Bring it back, or start a new run with `ganzoo run {resolved.config.recipe} --config {file}`."
            )
    exports = exported.describe(resolved, data, strategy, str(written.get("created", "")))
    if stale := processes.told(exported.stale(run.folder, t, exports) if loaded is not None else []):
        # It was killed after this checkpoint and before the files that follow it; the products come last, since they tell of it.
        ended = _ended(resolved.run, t, session.batches.position)
        processes.first(partial(_finish, resolved, strategy, run, t, exports, ended))
        if ended:
            watch.warned(f"{run.folder} is at its end, step {t}; {', '.join(stale)}, which it had not written yet, is written now.")
            return
    if _ended(resolved.run, t, session.batches.position):
        raise UsageError(f"{run.folder} is at step {t} already. `ganzoo resume {run.folder} --steps N` goes on to step N.")
    tracked = Tracked(watch, list(resolved.trackers) if run.writes else [], RunInfo(run.folder, written, strategy.spec, t))
    processes.first(tracked.started)  # a tracker may refuse the run: nothing in its folder has been changed until then
    processes.agree(checkpoint.tensors_of(strategy))
    made_with = {"recipe": written["recipe"], "ganzoo": __version__, "plugins": written["plugins"], "config": fingerprint}
    error = "it was ended from outside"
    try:
        run.forget_after(t if meta is not None else -1, watch.warned)
        run.write_config({**written, "exports": exports})  # another version of a plugin may make more
        tracked.opened(run.folder, resolved, data, session)
        train(session, run, resolved.run, tracked, made_with=made_with, exports=exports, t=t, evaluator=evaluator, whose=_whose)
        error = ""
    except RunStopped as e:
        error = str(e)
        raise e if run.writes else processes.Followed(e.exit_code) from e
    except Exception as e:
        error = processes.lost(e) or str(e)
        raise
    finally:
        tracked.finished(error)


def _finish(resolved: Resolved, strategy: Strategy, run: Run, t: int, exports: Mapping[str, Any], ended: bool) -> None:
    """Write what follows the checkpoint of step t."""
    if ended:
        checkpoint.prune(run.checkpoints, resolved.run.keep, t)
    if chart := pictures.curves(run.metrics()):
        pictures.save(chart, run.folder / "losses.png")
    exported.save(run.folder, checkpoint.tensors_of(strategy), t, exports)


def _whose(error: BaseException) -> str:
    plugin = culprit(error)
    return f"plugin {plugin.name} of {plugin.origin}" if plugin is not None else ""


def finished(folder: Path, wanted: RunOptions | None = None) -> bool:
    """Whether a folder holds a run that has reached its end, by steps or by images. wanted: the end; None: its own."""
    steps = checkpoint.steps_in(folder / "checkpoints")
    if not steps or not (folder / "config.json").exists():
        return False
    config = read_config(folder)
    run = wanted or Config.from_json(config).run
    try:
        _, meta = checkpoint.read_header(checkpoint.path_of(folder / "checkpoints", steps[-1]))
        return _ended(run, meta["step"], meta["position"]) and not exported.stale(folder, meta["step"], config.get("exports", {}))
    except (checkpoint.BadCheckpoint, LookupError, TypeError):  # resuming takes the checkpoint before it
        return False


def _ended(run: RunOptions, step: int, position: int) -> bool:
    return step >= run.steps or bool(run.images and position * run.batch_size >= run.images)
