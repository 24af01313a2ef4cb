"""The rules: one function each. What its docstring says is what it demands; it raises AssertionError where that does not hold."""

from __future__ import annotations

import ast
import inspect
import json
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo import compose, options
from ganzoo.config import Config
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.discovery import LOCAL, overwritten, resolve
from ganzoo.testing import toys
from ganzoo.testing.case import BATCH, COMBINATIONS, RULES, Case, Skip, rule
from ganzoo.types import JUDGES, KINDS, DataSet, DataSpec

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.data import Batches
    from ganzoo.interfaces import Strategy
    from ganzoo.registry.catalogue import Entry

__all__ = ["RULES"]

MANIFEST_SECONDS = 0.5  # of processor time
LEARNT = 0.7  # share of the untrained generator's distance to the data that a trained one may have


# --- The plugin as a whole ---


@rule("plugin", may_skip=True)
def manifest_is_light(case: Case) -> None:
    """In a fresh process the manifest is imported without torch, torchvision or numpy, in at most half a second of processor time."""
    if case.plugin.distribution == LOCAL:
        raise Skip("it was named by its path and is no installed module")
    code = (
        "import json, sys, time, ganzoo, ganzoo.hookspecs\nstart = time.process_time()\n"
        f"import {case.plugin.module}\ntook = time.process_time() - start\n"
        "print(json.dumps([took, [m for m in ('torch', 'torchvision', 'numpy') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"it cannot be imported: {done.stderr.strip().splitlines()[-1]}"
    seconds, heavy = json.loads(done.stdout.splitlines()[-1])
    assert not heavy, f"it imports {', '.join(heavy)}; name what is heavy as 'package.module:Name' in the records"
    assert seconds <= MANIFEST_SECONDS, f"importing it takes {seconds:.2f} s; at most {MANIFEST_SECONDS} s would do"


@rule("plugin")
def plugin_loads(case: Case) -> None:
    """The plugin is loaded: its interface version, its hooks and all of its records are what they must be."""
    assert case.plugin.state == "ok", f"it is {case.plugin.state}: {case.plugin.reason}"


@rule("plugin")
def hooks_are_marked(case: Case) -> None:
    """Every function of the manifest whose name begins with `ganzoo_` has its `@hookimpl`; without it, it is never called."""
    module = sys.modules.get(case.plugin.module)
    named = [name for name, value in vars(module).items() if name.startswith("ganzoo_") and inspect.isfunction(value)] if module else []
    idle = [name for name in named if name not in case.plugin.hooks]
    assert not idle, f"{idle[0]} has no @hookimpl, so it is never called"


@rule("plugin")
def module_is_its_own(case: Case) -> None:
    """No other distribution claims the same top-level module: the one that was installed last would have replaced its files."""
    if case.plugin.distribution != LOCAL and (others := overwritten(case.plugin)):
        raise AssertionError(f"{case.plugin.module} is also claimed by {', '.join(others)}")


PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")


@rule("plugin")
def no_pickle(case: Case) -> None:
    """Its source reads and writes no pickle, whatever it is called: a file of weights or data must not be able to carry code."""
    location = Path(case.plugin.location)
    for path in sorted(location.rglob("*.py")) if location.is_dir() else [location]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            at = f"{path.name}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for name in names:
                    assert name.partition(".")[0] not in PICKLES, f"{at}: it imports {name}"
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("torch.load", "torch.save"), f"{at}: {ast.unparse(node)} is pickle: take safetensors"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", f"{at}: allow_pickle"


# --- Records, looked at ---


@rule(*KINDS, *JUDGES, "dataset")
def target_resolves(case: Case) -> None:
    """What the record's target names can be imported, and is what the record says: a class of that kind, or a function."""
    from ganzoo import interfaces, metrics

    assert case.entry is not None
    made = case.entry.load()
    if case.kind == "dataset":
        assert callable(made), f"wanted a function, got {made!r}"
    else:
        base = getattr(metrics if case.kind in JUDGES else interfaces, case.kind.capitalize())
        assert isinstance(made, type), f"wanted a class, got {made!r}"
        assert issubclass(made, base), f"wanted a ganzoo.{base.__name__}; {made.__name__} is a {made.__bases__[0].__name__}"
        lacks = sorted(getattr(made, "__abstractmethods__", ()))
        assert not lacks, f"{made.__name__} lacks {', '.join(lacks)}"


@rule(*KINDS, *JUDGES)
def options_can_be_typed(case: Case) -> None:
    """Each option has a default and help, a type that the command line can show, and comes back the same from JSON."""
    import click

    cls = case.record.options
    for name, f in options.fields(cls).items():
        assert f.metadata.get("help"), f"{name} has no help: make it with ganzoo.option(default, help)"
    made = options.make(cls, {})
    assert options.make(cls, json.loads(json.dumps(options.to_json(made)))) == made
    command = click.Command("x", params=[*options.click_options(cls, f"{case.kind}.")])
    typed = []
    for name, value in options.to_json(made).items():
        flag = options.flag(name, f"{case.kind}.")
        if isinstance(value, bool):
            typed.append(flag if value else flag.replace("--", "--no-", 1))
        elif value is not None:
            typed += [flag, str(value)]
    parsed = {key.rpartition("__")[2]: value for key, value in command.make_context("x", typed).params.items() if value is not None}
    assert options.make(cls, parsed) == made, f"typed on the command line, {parsed} is not {made}"


@rule("dataset")
def data_says_where_it_comes_from(case: Case) -> None:
    """The record names the licence and the source of the data; "made by code" is a source."""
    empty = [name for name in ("title", "licence", "source") if not getattr(case.record, name)]
    assert not empty, f"it names no {empty[0]}"


# --- Recipes and parts, in a combination that can be trained ---


@rule(*COMBINATIONS)
def parts_fit(case: Case) -> None:
    """The parts exist and fit each other and some kind of data; all options, those of the small version too, are ones that they have."""
    compose.resolve(case.zoo, case.recipe, {}, case.exchanged, {})
    assert case.kinds(), "there is no kind of data that all of its parts take"
    config = case.config()
    assert asdict(Config.from_json(json.loads(json.dumps(config.to_json())))) == asdict(config), "its configuration changes in JSON"


def _given(spec: DataSpec, keys: tuple[str, ...], n: int) -> dict[str, Tensor]:
    import torch

    if odd := [key for key in keys if key != "y"]:
        raise Skip(f"there is no toy data with {', '.join(odd)}")
    return {"y": torch.arange(n) % spec.classes} if "y" in keys else {}


def _settings(case: Case) -> Iterator[tuple[str, Config]]:
    for kind in case.kinds():
        for size, channels in ((s, c) for s in case.sizes() for c in (1, 3)) if kind == "image" else [(16, 1)]:
            yield f"{kind} {channels} x {size} x {size}" if kind == "image" else kind, case.config(channels, size, kind)


@rule(*COMBINATIONS, trains=True)
def samples_fit_the_data(case: Case) -> None:
    """Samples are finite float32 of the data's shape: images grey and in colour, of two sizes, and points, as far as the parts take them.

    Images are in [-1, 1]; a linear output may leave it, but not by more than as much again. A single sample can be drawn.
    """
    import torch

    for told, config in _settings(case):
        strategy, batches = case.built(config)
        _steps(strategy, batches, 1)
        given = _given(strategy.spec, strategy.build.parts["generator"].given, 5)
        x = strategy.sample(strategy.G.latent(5), given)
        assert tuple(x.shape) == (5, *strategy.spec.shape), f"{told}: wanted {(5, *strategy.spec.shape)}, got {tuple(x.shape)}"
        assert x.dtype == torch.float32, f"{told}: wanted float32, got {x.dtype}"
        assert x.isfinite().all(), f"{told}: not all of the samples are finite"
        if strategy.spec.kind == "image":
            outside = float((x.abs() > 2).float().mean())
            assert outside < 0.01, f"{told}: {outside:.0%} of the samples' values are beyond [-2, 2]; images are in [-1, 1]"
        one = strategy.sample(strategy.G.latent(1), {key: value[:1] for key, value in given.items()})
        assert tuple(one.shape) == (1, *strategy.spec.shape), f"{told}: one sample has the shape {tuple(one.shape)}"


@rule(*COMBINATIONS, trains=True)
def smallest_batch_works(case: Case) -> None:
    """It trains with batches of one sample, or of as many as the recipe's `min_batch` says."""
    strategy, batches = case.built(case.config(batch_size=case.zoo.recipe(case.recipe).min_batch))
    for values in _steps(strategy, batches, 2):
        _scalars(values)


@rule(*COMBINATIONS, trains=True)
def discriminator_gives_what_it_says(case: Case) -> None:
    """D's outputs are those that its record `gives`, in that order: raw logits (N,), class_logits (N, classes), a reconstruction as x.

    Where the record says `per_sample`, what it says of one sample does not change with the others of the batch.
    """
    import torch

    from ganzoo.randomness import seed_step

    strategy, batches = case.built()
    part = strategy.build.parts["discriminator"]
    D, batch = strategy.build.discriminator(), next(batches)
    n, given = len(batch["x"]), {key: batch[key] for key in part.given}

    def outputs(D: Any, x: Tensor) -> tuple[Tensor, ...]:
        seed_step(0, 0)
        made = D(x, **given)
        return made if isinstance(made, tuple) else (made,)

    first, second = deepcopy(D), deepcopy(D)
    told = outputs(first, batch["x"])
    assert len(told) == len(part.gives), f"it gives {len(told)} outputs; its record says {', '.join(part.gives)}"
    shapes = {"logits": (n,), "class_logits": (n, strategy.spec.classes), "reconstruction": tuple(batch["x"].shape)}
    for name, output in zip(part.gives, told, strict=True):
        wanted, got = shapes.get(name, (n, *output.shape[1:])), tuple(output.shape)
        assert got == wanted, f"{name}: wanted {wanted}, got {got}"
    if "logits" in part.gives:
        bounded = strategy.build.discriminator()
        with torch.no_grad():
            for p in bounded.parameters():
                p.mul_(10)
        logits = outputs(bounded, batch["x"])[part.gives.index("logits")]
        assert not ((logits >= 0) & (logits <= 1)).all() or logits.std() == 0, "logits: all in [0, 1], as after a sigmoid; wanted raw ones"
    if part.per_sample:
        other = batch["x"].clone()
        other[1:] = other[1:].flip(-1) * 0.5
        for name, a, b in zip(part.gives, told, outputs(second, other), strict=True):
            assert torch.allclose(a[0], b[0], atol=1e-5), f"{name} of a sample depends on the others, though its record says per_sample"


@rule(*COMBINATIONS, trains=True, applies=lambda case: any(case.parts()[kind].given for kind in ("generator", "discriminator")))
def conditions_are_used(case: Case) -> None:
    """A network that is `given` a condition gives other samples, or other outputs, for another one."""
    import torch

    parts = case.parts()
    strategy, batches = case.built()
    _steps(strategy, batches, 2)
    batch = next(batches)
    for kind, network in (("generator", strategy.G), ("discriminator", strategy.build.discriminator())):
        given = _given(strategy.spec, parts[kind].given, len(batch["x"]))
        other = {key: (value + 1) % strategy.spec.classes for key, value in given.items()}
        if given:
            z = batch["x"] if kind == "discriminator" else network.latent(len(batch["x"]))  # type: ignore[operator]
            network.eval()
            with torch.no_grad():
                a, b = network(z, **given), network(z, **other)
            a, b = (made[0] if isinstance(made, tuple) else made for made in (a, b))
            assert not torch.equal(a, b), f"the {kind} {parts[kind].name!r} does not use {', '.join(given)}"


def _steps(strategy: Strategy, batches: Batches, n: int, seed: int = 0, start: int = 0) -> list[Mapping[str, Tensor]]:
    from ganzoo.training.loop import take_step

    return [take_step(strategy, batches, seed, t) for t in range(start, start + n)]


def _scalars(values: Mapping[str, Tensor]) -> None:
    import torch

    for name, value in values.items():
        assert isinstance(value, torch.Tensor), f"{name}: wanted a tensor, got {type(value).__name__}: no .item() in a step"
        assert value.dim() == 0, f"{name}: wanted a scalar, got the shape {tuple(value.shape)}"
        assert value.isfinite(), f"{name} is {float(value.detach())}"


@rule(*COMBINATIONS, trains=True)
def terms_are_scalars_with_a_gradient(case: Case) -> None:
    """The loss returns named terms, 0-d, finite and attached to the graph, for D and for G; a step logs scalars, detached."""
    strategy, batches = case.built()
    asked: set[str] = set()
    for side in ("discriminator", "generator"):
        original = getattr(strategy.loss, side)

        def spy(*args: Any, side: str = side, original: Any = original, **given: Any) -> Any:
            terms = original(*args, **given)
            asked.add(side)
            assert isinstance(terms, dict), f"{side}: wanted a dict of terms, got {type(terms).__name__}"
            assert terms, f"{side}: wanted terms, got none"
            _scalars({f"{side}'s {name}": value for name, value in terms.items()})
            loose = [name for name, value in terms.items() if not value.requires_grad]
            assert not loose, f"{side}: {loose[0]} has no gradient; what is only logged goes to self.watch"
            return terms

        setattr(strategy.loss, side, spy)
    for values in _steps(strategy, batches, 3):
        assert values, "a step returns nothing to log"
        _scalars(values)
        attached = [name for name, value in values.items() if value.requires_grad]
        assert not attached, f"{attached[0]} is logged with its graph: return self.metrics(...)"
    never = {"discriminator", "generator"} - asked
    assert not never, f"the strategy never asks the loss for its {' and '.join(sorted(never))} terms"


@rule(*COMBINATIONS, trains=True)
def optimisers_move_their_parameters(case: Case) -> None:
    """Every parameter of the strategy belongs to one optimiser, gets a gradient and moves; nothing else does."""
    import torch

    strategy, batches = case.built()
    named = dict(strategy.named_parameters())
    lists = [p for optimiser in strategy.optimisers().values() for group in optimiser.param_groups for p in group["params"]]
    owned = {id(p) for p in lists}
    assert len(lists) == len(owned), "a parameter belongs to two optimisers"
    strangers = owned - {id(p) for p in named.values()}
    assert not strangers, f"{len(strangers)} parameters of optimisers are none of the strategy: they would not be saved"
    before = {name: p.detach().clone() for name, p in named.items()}
    graded = set()
    for t in range(6):
        _steps(strategy, batches, 1, start=t)
        graded |= {name for name, p in named.items() if p.grad is not None}
    for name, p in named.items():
        if not p.requires_grad:
            continue
        assert id(p) in owned, f"{name} belongs to no optimiser"
        assert name in graded, f"{name} never gets a gradient"
        assert not torch.equal(before[name], p), f"{name} does not move in 6 steps"


def _tensors(strategy: Strategy) -> dict[str, Tensor]:
    from ganzoo.runs.checkpoint import tensors_of

    return {name: value.detach().clone() for name, value in tensors_of(strategy).items()}


def _differs(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> str:
    """The first tensor that is not the same, or an empty string."""
    import torch

    return next((name for name in sorted({*a, *b}) if name not in a or name not in b or not torch.equal(a[name], b[name])), "")


@rule(*COMBINATIONS, trains=True)
def same_seed_same_steps(case: Case) -> None:
    """Two runs of one seed are the same, bit for bit, and one of another seed is not."""

    def run(seed: int) -> dict[str, Tensor]:
        strategy, batches = case.built(case.config(seed=seed))
        _steps(strategy, batches, 3, seed)
        return _tensors(strategy)

    first = run(0)
    odd = _differs(first, run(0))
    assert not odd, f"{odd} differs between two runs of one seed: something draws from elsewhere than torch's generator"
    assert _differs(first, run(1)), "runs of two seeds are the same"


@rule(*COMBINATIONS, trains=True)
def previews_change_nothing(case: Case) -> None:
    """Samples taken between the steps leave the run as it would have been, bit for bit."""

    def run(look: bool) -> dict[str, Tensor]:
        strategy, batches = case.built(case.config(ema=0.9))
        for t in range(3):
            _steps(strategy, batches, 1, start=t)
            strategy.average(0.9, t)
            if look:
                strategy.sample(strategy.G.latent(5), _given(strategy.spec, strategy.build.parts["generator"].given, 5))
        return _tensors(strategy)

    odd = _differs(run(False), run(True))
    assert not odd, f"{odd} differs when samples are taken in between: BatchNorm's or another buffer moves in eval mode"


@rule(*COMBINATIONS, trains=True)
def resume_is_exact(case: Case) -> None:
    """A run that ends after three steps and is resumed in another process equals one that took all six at once, bit for bit.

    So whatever a step depends on is in parameters, buffers, optimisers and t: an attribute that a step changes is not saved.
    """
    from ganzoo.runs.checkpoint import read
    from ganzoo.training.launch import start
    from ganzoo.training.loop import Watch

    def config(steps: int) -> Config:
        return case.config(steps=steps, log_every=1, flip=True)

    whole = start(case.zoo, config(6), case.folder / "whole", Watch())
    parted = start(case.zoo, config(3), case.folder / "parted", Watch())
    local = [word for p in case.zoo.plugins if p.distribution == LOCAL for word in ("--plugin", p.location)]
    command = [sys.executable, "-m", "ganzoo", *local, "resume", str(parted), "--steps", "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=os.environ)
    assert done.returncode == 0, f"it cannot be resumed: {done.stderr.strip()}"
    for name in ("checkpoints/000006.safetensors", "generator.safetensors"):
        odd = _differs(read(whole / name)[0], read(parted / name)[0])
        assert not odd, f"{odd} of {name} differs after a resumption: is there state outside of buffers?"
    texts = [(folder / "metrics.jsonl").read_text(encoding="utf-8") for folder in (whole, parted)]
    for a, b in zip(*([json.loads(line) for line in text.splitlines()] for text in texts), strict=True):
        odd = next((name for name in a if name not in ("time", "images_per_second") and a[name] != b.get(name)), "")
        assert not odd, f"{odd} of step {a['step']} differs after a resumption"


@rule(*COMBINATIONS, trains=True)
def generator_file_is_enough(case: Case) -> None:
    """The samples drawn from a run's generator.safetensors, without data set or discriminator, are those of the run, but for rounding."""
    import torch

    from ganzoo.randomness import seed_step
    from ganzoo.training.launch import load_generator, start
    from ganzoo.training.loop import Watch

    class Keeps(Watch):
        def opened(self, folder: Path, config: Config, prepared: Any, strategy: Strategy) -> None:
            self.strategy = strategy

    watch = Keeps()
    folder = start(case.zoo, case.config(steps=2), case.folder / "run", watch)
    generator, _ = load_generator(case.zoo, folder / "generator.safetensors")
    seed_step(0, 0)
    z = generator.latent(4)
    given = _given(generator.spec, watch.strategy.build.parts["generator"].given, 4)
    with torch.no_grad():
        # A run keeps its weights in channels_last, which sums in another order.
        far = float((generator(z, **given) - watch.strategy.sample(z, given)).abs().max())
    assert far < 1e-3, f"they differ by up to {far:.2g} from those of the run's own generator"


@rule(*COMBINATIONS, trains=True)
def global_state_stays(case: Case) -> None:
    """Building, training and sampling leave torch's defaults, threads, the warning filters and Python's and numpy's generators alone."""
    import numpy as np
    import torch

    from ganzoo.machine import threads

    torch.set_num_threads(threads())
    torch.backends.cudnn.deterministic = True  # as every run does

    def state() -> dict[str, Any]:
        return {
            "torch's default dtype": torch.get_default_dtype(),
            "torch's default device": str(torch.get_default_device()),
            "whether gradients are recorded": torch.is_grad_enabled(),
            "anomaly detection": torch.is_anomaly_enabled(),
            "autocast": torch.is_autocast_enabled("cpu"),
            "the thread count": torch.get_num_threads(),
            "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn.benchmark": torch.backends.cudnn.benchmark,
            "the precision of matrix products": torch.get_float32_matmul_precision(),
            "the warning filters": list(warnings.filters),
            "Python's random generator": random.getstate(),
            "numpy's random generator": [str(part) for part in np.random.get_state()],
            "the working directory": os.getcwd(),
        }

    if case.entry is not None and case.kind != "recipe":
        case.entry.load()
    for kind, part in case.parts().items():
        resolve(part.target, kind)  # what an import does to the warning filters is the imported libraries' affair
    before = state()
    strategy, batches = case.built()
    _steps(strategy, batches, 2)
    strategy.sample(strategy.G.latent(2), _given(strategy.spec, strategy.build.parts["generator"].given, 2))
    after = state()
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"{changed[0]} was changed"


@rule(*COMBINATIONS, trains=True, may_skip=True)
def bf16_works(case: Case) -> None:
    """Under autocast to bfloat16 the terms are finite and near those of fp32, and weights stay fp32; unless a part says `bf16=False`."""
    import torch

    if unable := [part.name for part in case.parts().values() if not part.bf16]:
        raise Skip(f"{unable[0]!r} says that it cannot")
    told = {}
    for enabled in (False, True):
        strategy, batches = case.built()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            told[enabled] = _steps(strategy, batches, 2)
        assert all(p.dtype == torch.float32 for p in strategy.parameters()), "its weights are no longer float32"
    for low, full in zip(told[True], told[False], strict=True):
        _scalars(low)
        for name, value in full.items():
            wanted, got = float(value), float(low[name])
            assert abs(got - wanted) < 0.25 * abs(wanted) + 0.1, f"{name} is {got:.3g} in bf16 and {wanted:.3g} in fp32"


@rule(*COMBINATIONS, trains=True)
def it_learns(case: Case) -> None:
    """Trained on toy data, its small version comes nearer to it: to at most 0.7 of an untrained one's sliced Wasserstein distance."""
    from ganzoo.randomness import seed_step

    small = {"steps": 150, "batch_size": 32, "ema": 0.9, **case.small()[""]}
    config = case.config(**{name: value for name, value in small.items() if name not in ("dataset", "device")})
    strategy, batches = case.built(config)
    real = batches.peek(512)

    def distance() -> float:
        seed_step(0, -2)
        z = strategy.G.latent(512)
        keys = strategy.build.parts["generator"].given
        _given(strategy.spec, keys, 1)
        return toys.distance(strategy.sample(z, {key: real[key] for key in keys}), real["x"])

    before = distance()
    for t in range(config.run.steps):
        _steps(strategy, batches, 1, start=t)
        if config.run.ema:
            strategy.average(config.run.ema, t)
    after = distance()
    told = f"after {config.run.steps} steps the distance to the data is {after:.3g}, untrained it was {before:.3g}"
    assert after <= LEARNT * before, f"{told}: wanted at most {LEARNT} of it. Recipe.small says what is trained"


# --- Data sets ---


def _prepared(case: Case, cache: str = "cache", **more: Any) -> Any:
    """The data set prepared from nothing, from what lies on this machine. Skips where it would have to be downloaded."""
    import socket

    from ganzoo.data import prepare

    record: DataSet = case.record
    connect = socket.socket.connect

    def refuse(*args: Any) -> None:
        raise OSError("the conformance kit downloads nothing")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    where = os.environ.get("GANZOO_DATA")
    os.environ["GANZOO_CACHE"] = str(case.folder / cache)  # put back by the one who runs the rule
    try:
        return prepare(record.name, record, data_dir=Path(where) if where else case.folder / "downloads", **more)
    except (GanzooError, OSError) as e:
        if isinstance(e, UsageError) or "download" in str(e):
            raise Skip(f"its data is not at hand, GANZOO_DATA may name the folder: {str(e).partition('. ')[0]}") from e
        raise
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]


@rule("dataset", may_skip=True)
def data_is_what_the_record_says(case: Case) -> None:
    """Prepared, the data has the record's kind, keys and number of classes, every class occurs, and its samples are not all the same."""
    record: DataSet = case.record
    prepared = _prepared(case)
    assert prepared.spec.kind == record.kind, f"it is {prepared.spec.kind}; its record says {record.kind}"
    assert prepared.spec.keys == record.keys, f"it has the keys {prepared.spec.keys}; its record says {record.keys}"
    if record.classes:
        assert prepared.spec.classes == record.classes, f"it has {prepared.spec.classes} classes; its record says {record.classes}"
    data = prepared.load()
    assert prepared.count > 1, "it has less than two samples"
    assert (data["x"] != data["x"][:1]).any(), "all of its samples are the same"
    if "y" in data:
        there = set(data["y"].tolist())
        assert there == set(range(prepared.spec.classes)), f"classes {sorted(set(range(prepared.spec.classes)) - there)} have no sample"


@rule("dataset", may_skip=True)
def data_is_the_same_twice(case: Case) -> None:
    """Prepared again, from nothing, it is the same, bit for bit, so that a run can be resumed on another day."""
    first, again = _prepared(case), _prepared(case, "another-cache")
    assert first.path.name == again.path.name, "its fingerprint changes from one time to the next"
    assert first.checksum == again.checksum, "its samples change from one time to the next"


@rule("dataset", may_skip=True)
def a_gan_trains_on_it(case: Case) -> None:
    """A GAN that is installed and takes such data takes two steps on it."""
    import torch

    from ganzoo.data import Batches

    prepared = _prepared(case, image_size=16) if case.record.kind == "image" else _prepared(case)
    for entry in case.zoo.entries("recipe"):
        config = compose.resolve(case.zoo, entry.name, {"dataset": case.name, "device": "cpu"}, {}, {})
        try:
            strategy = compose.build(case.zoo, config, prepared.spec, torch.device("cpu"))
        except UsageError:  # it takes other data
            continue
        batches = Batches(prepared.load(), prepared.spec, max(BATCH, case.zoo.recipe(entry.name).min_batch), seed=0, device=strategy.device)
        for values in _steps(strategy, batches, 2):
            _scalars(values)
        return
    raise AssertionError(f"no recipe that is installed takes {prepared.spec.kind} data of the shape {prepared.spec.shape}")


# --- Metrics and extractors ---


@rule("metric")
def figures_are_of_the_samples_alone(case: Case) -> None:
    """On random features it gives the figures that its record names, all finite, whatever lots the samples came in; and the same again from
    what it kept, which is all that is cached of real samples."""
    import torch

    from ganzoo.metrics import Gather, Metric, Seen
    from ganzoo.randomness import generator

    part, n = case.record, 60
    modes = ((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0))
    toy = DataSet("clusters", "", "four Gaussians", kind="points", modes=modes, sigma=0.1)
    spec = DataSpec("points", (2,)) if "points" in part.data else DataSpec("image", (1, 16, 16))
    metric: Metric = compose.construct(_entry(case), spec, options.make(part.options, {}), toy)

    def filled(who: str, lots: int) -> Gather:
        g = generator(who)
        x = toys.clusters(n)["x"] if spec.kind == "points" else toys.shapes(n, 1, 16)["x"]
        features, logits = torch.randn(n, 4, generator=g), torch.randn(n, 5, generator=g)
        gather = metric.gather(n)
        for i in range(0, n, lots):
            gather.add(Seen(x[i : i + lots], features[i : i + lots], logits[i : i + lots]))
        return gather

    def figures(lots: int, restored: bool = False) -> dict[str, float]:
        real = filled("real", lots) if metric.compares else None
        if real is not None and restored:
            again = metric.gather(n)
            again.kept = {name: tensor.clone() for name, tensor in real.kept.items()}
            real = again
        return metric.compute(filled("fake", lots), real)

    told = figures(n)
    assert tuple(told) == part.gives, f"it gives {tuple(told)}; its record says {part.gives}"
    for name, value in told.items():
        fine = isinstance(value, float) and abs(value) < float("inf")
        assert fine, f"{name} is {value!r}, and no finite float"
    for how, other in (("in lots of 7", figures(7)), ("from what was kept of the real samples", figures(n, restored=True))):
        for name, value in other.items():
            assert abs(value - told[name]) <= 1e-9 * max(1.0, abs(told[name])), f"{name} is {told[name]} in one lot, and {value} {how}"


@rule("features", may_skip=True)
def each_sample_is_seen_alone(case: Case) -> None:
    """Its features are finite, float32 (N, D), and those of a sample do not depend on the others in its batch; it takes every kind of data
    that its record names, grey and colour, and leaves torch's random state as it was. Skipped where its weights are not at hand."""
    import torch

    from ganzoo.data import prepare
    from ganzoo.data.cache import data_folder
    from ganzoo.metrics import Features, Sight

    part = case.record
    for kind, channels in [("image", 1), ("image", 3), ("points", 1)]:
        if kind not in part.data:
            continue
        data = prepare(str(toys.file(kind, channels)), None)
        sight = Sight(part.gives[0], lambda data=data: data, case.folder, data_folder(None), torch.device("cpu"), lambda *told: None)  # type: ignore[misc]
        before = torch.random.get_rng_state()
        try:
            eye: Features = compose.construct(_entry(case), data.spec, options.make(part.options, part.small), sight)
        except GanzooError as e:
            raise Skip(f"it cannot be built here: {str(e).partition('. ')[0]}") from e
        eye.eval()
        x = data.load()["x"][:5]
        with torch.no_grad():
            features, logits = eye(x)
            alone, _ = eye(x[:1])
        assert torch.equal(torch.random.get_rng_state(), before), "it changes torch's random state"
        assert isinstance(eye.weights, str), "`weights` is no string"
        assert features.dtype == torch.float32, f"features are {features.dtype}; wanted float32"
        assert features.shape[:-1] == (5,), f"features of 5 samples have the shape {tuple(features.shape)}; wanted (5, D)"
        assert bool(features.isfinite().all()), "features are not finite"
        assert logits is None or logits.shape[:-1] == (5,), "logits are not (N, K)"
        apart = float((features[:1] - alone).abs().max()) / max(float(alone.abs().max()), 1e-6)
        assert apart < 1e-4, f"the features of a sample change by {apart:.1e} with the others in its batch"


def _entry(case: Case) -> Entry:
    assert case.entry is not None
    return case.entry
