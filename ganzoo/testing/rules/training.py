"""Rules for recipes and parts in a combination: what a step does, what is saved of it, and whether it learns."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.compose import Resolved
from ganzoo.files import read_lines
from ganzoo.registry.discovery import CORE, LOCAL
from ganzoo.testing import fresh, toys
from ganzoo.testing.case import COMBINATIONS, Case, Skip, made, moments, products, rule, scalars, steps
from ganzoo.testing.rules.networks import networks

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.data import Prepared
    from ganzoo.training.session import Session

LEARNT = 0.7  # share of the untrained generator's distance to the data that a trained one may have


@rule(*COMBINATIONS, trains=True)
def terms_are_scalars_with_a_gradient(case: Case) -> None:
    """The loss returns named terms, 0-d and finite, for D and for G, at least one of them attached to the graph; a step logs scalars,
    detached. The loss itself keeps no state."""
    session = case.session()
    loss = session.strategy.loss.loss
    called: set[str] = set()

    def kept() -> dict[str, object]:
        return {name: (id(value), getattr(value, "_version", 0), repr(value)) for name, value in vars(loss).items() if name not in sides}

    sides = ("discriminator", "generator")
    before = kept()
    for side in sides:
        original = getattr(loss, side)

        def spy(*args: Any, side: str = side, original: Any = original, **given: Any) -> Any:
            terms = original(*args, **given)
            called.add(side)
            assert isinstance(terms, dict), f"{side}: wanted a dict of terms, got {type(terms).__name__}"
            assert terms, f"{side}: wanted terms, got none"
            scalars({f"{side}'s {name}": value for name, value in terms.items()})
            assert any(value.requires_grad for value in terms.values()), f"{side}: none of its terms has a gradient"
            return terms

        setattr(loss, side, spy)
    for logged in map(session.step, moments(session, 3)):
        assert logged, "a step returns nothing to log"
        scalars(logged)
        attached = [name for name, value in logged.items() if value.requires_grad]
        assert not attached, f"{attached[0]} is logged with its graph: return self.metrics(...)"
    changed = dict(kept().items() ^ before.items())
    assert not changed, f"the loss keeps {min(changed)} from step to step: weights that change are a function of t, given by `schedule`"
    never = {*sides} - called
    assert not never, f"the strategy never asks the loss for its {' and '.join(sorted(never))} terms"


@rule(*COMBINATIONS, trains=True)
def optimisers_move_their_parameters(case: Case) -> None:
    """Every parameter of the strategy belongs to one optimiser, gets a gradient and moves; nothing else does. The exports are the same at
    each time, and an optimiser updates each of their networks."""
    import torch

    session = case.session()
    named, exports = dict(session.strategy.named_parameters()), session.strategy.exports()
    lists = [p for optimiser in session.strategy.optimisers().values() for group in optimiser.param_groups for p in group["params"]]
    owned = {id(p) for p in lists}
    assert len(lists) == len(owned), "a parameter belongs to two optimisers"
    strangers = owned - {id(p) for p in named.values()}
    assert not strangers, f"{len(strangers)} parameters of optimisers are none of the strategy: they would not be saved"
    for name, export in exports.items():
        network = session.strategy.get_submodule(export.network)
        assert any(id(p) in owned for p in network.parameters()), f"export {name}: no optimiser updates {export.network}"
    before = {name: p.detach().clone() for name, p in named.items()}
    graded, taken = set(), moments(session, 6)
    for t in taken:
        steps(session, 1, t)
        graded |= {name for name, p in named.items() if p.grad is not None}
    for name, p in named.items():
        if not p.requires_grad:
            continue
        assert id(p) in owned, f"{name} belongs to no optimiser"
        assert name in graded, f"{name} never gets a gradient"
        assert not torch.equal(before[name], p), f"{name} does not move in {len(taken)} steps"
    assert session.strategy.exports() == exports, "exports() says something else after some steps"


def _tensors(session: Session) -> dict[str, Tensor]:
    from ganzoo.runs.checkpoint import tensors_of

    return {name: value.detach().clone() for name, value in tensors_of(session.strategy).items()}


def _differs(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> str:
    """The first tensor that is not the same, or an empty string."""
    import torch

    return next((name for name in sorted({*a, *b}) if name not in a or name not in b or not torch.equal(a[name], b[name])), "")


def _outputs(session: Session, n: int) -> dict[str, Tensor]:
    """n outputs of each product, by name."""
    return {product.name: made(session, product, n) for product in products(session)}


@rule(*COMBINATIONS, trains=True)
def same_seed_same_steps(case: Case) -> None:
    """Two runs of one seed are the same, bit for bit, and one of another seed is not."""

    def run(seed: int) -> dict[str, Tensor]:
        session = case.session(case.resolved(seed=seed))
        steps(session, 3)
        return _tensors(session)

    first = run(0)
    different = _differs(first, run(0))
    assert not different, f"{different} differs between two runs of one seed: something draws from elsewhere than torch's generator"
    assert _differs(first, run(1)), "runs of two seeds are the same"


@rule(*COMBINATIONS, trains=True)
def previews_change_nothing(case: Case) -> None:
    """Using the products between the steps leaves the run as it would have been, bit for bit."""

    def run(look: bool) -> dict[str, Tensor]:
        session = case.session(case.resolved(ema=0.9))
        for t in range(3):
            steps(session, 1, t)
            if look:
                _outputs(session, 5)
        return _tensors(session)

    different = _differs(run(False), run(True))
    assert not different, f"{different} differs when samples are taken in between: BatchNorm's or another buffer moves in eval mode"


@rule(*COMBINATIONS, trains=True)
def resume_is_exact(case: Case) -> None:
    """A run that ends after three steps and is resumed in another process equals one that took all six at once, bit for bit.

    So whatever a step depends on is in parameters, buffers, optimisers and t: an attribute that a step changes is not saved.
    """
    from ganzoo.runs.checkpoint import read
    from ganzoo.runs.exported import exports_of, file_of
    from ganzoo.training.launch import start
    from ganzoo.training.loop import Watch

    def resolved(steps: int) -> Resolved:
        return case.resolved(steps=steps, log_every=1, flip=True)

    whole = start(resolved(6), case.folder / "whole", Watch())
    parted = start(resolved(3), case.folder / "parted", Watch())
    local = [word for p in case.zoo.plugins if p.distribution == LOCAL for word in ("--plugin", p.location)]
    done = fresh.ganzoo([*local, "resume", str(parted), "--steps", "6"], timeout=600)
    assert done.returncode == 0, f"it cannot be resumed: {done.stderr.strip()}"
    for name in ("checkpoints/000006.safetensors", *(file_of(product) for product in exports_of(whole))):
        different = _differs(read(whole / name)[0], read(parted / name)[0])
        assert not different, f"{different} of {name} differs after a resumption: is there state outside of buffers?"
    for a, b in zip(*(read_lines(folder / "metrics.jsonl") for folder in (whole, parted)), strict=True):
        different = next((name for name in a if name not in ("time", "images_per_second") and a[name] != b.get(name)), "")
        assert not different, f"{different} of step {a['step']} differs after a resumption"


def _may_look_at_others(case: Case) -> bool:
    """Whether it may compute from several rows at once; ganzoo's own parts are tried in its recipes."""
    return case.kind == "recipe" or (case.plugin.distribution != CORE and case.kind in ("loss", "strategy", "wrapper"))


@rule("recipe", "loss", "strategy", "wrapper", trains=True, may_skip=True, applies=_may_look_at_others)
def two_ranks_do_what_one_process_does(case: Case) -> None:
    """Two processes that share a batch take the step that one process takes of all of it: gradients and buffers are the same but for
    rounding, and the ranks have the same bits. A statistic of the batch, a pool, a moving average need `ganzoo.overall`, `gather` and
    `mine`, `over_ranks`; random numbers `ganzoo.draw`.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from ganzoo.runs.checkpoint import read
    from ganzoo.training.launch import start
    from ganzoo.training.loop import Watch

    if not fresh.FORKS:
        raise Skip("it needs processes that are forked")
    resolved = case.resolved(steps=1, flip=True)
    one, two = start(resolved, case.folder / "one", Watch()), case.folder / "two"
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun's: it outlives the ranks
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    local = [word for p in case.zoo.plugins if p.distribution == LOCAL for word in ("--plugin", p.location)]
    words = [*local, "run", resolved.config.recipe, "--config", str(one / "config.json"), "--out", str(two)]
    ranks = [fresh.Process(words, os.environ | place | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    said = [rank.wait(600) for rank in ranks]
    assert not any(end.returncode for end in said), f"two ranks cannot train it: {' '.join(end.stderr.strip() for end in said)}"
    alone, shared = (read(folder / "checkpoints/000001.safetensors")[0] for folder in (one, two))
    parameters = {name for name, _ in case.session().strategy.named_parameters()}
    for owner in {name.partition(":")[0] for name in alone}:
        # Of optimisers the first moments, which are gradients: weights move by rounding where a gradient is next to 0.
        names = [name for name in alone if name.startswith(f"{owner}:") and name.removeprefix("model:") not in parameters]
        names = [name for name in names if owner == "model" or not name.endswith(("step", "_sq"))]
        names = [name for name in names if alone[name].is_floating_point() and alone[name].numel() and ":averages." not in name]
        largest = max((float(alone[name].abs().max()) for name in names), default=0.0)
        for name in names:
            scale = max(1.0, float(alone[name].abs().max())) if owner == "model" else largest
            difference = float((alone[name] - shared[name]).abs().max())
            # Rounding alone moves weights by whole steps of Adam where a gradient is next to 0, and the player after that by some of it.
            assert difference <= 2e-2 * scale, f"{name} differs by {difference:.2g} where two ranks share the batch: what is it made from?"


@rule(*COMBINATIONS, trains=True)
def phases_start_and_resume(case: Case) -> None:
    """Each phase but the first works from its first step, twice the same; and stopped in its middle it goes on with the same bits."""
    from ganzoo.runs import checkpoint

    def begun(t: int, n: int) -> Session:
        session = case.session()
        for terms in steps(session, n, t):
            scalars(terms)
        return session

    for name, first in list(case.session().strategy.phases().items())[1:]:
        whole = begun(first, 4)
        different = _differs(_tensors(whole), _tensors(begun(first, 4)))
        assert not different, f"phase {name}: {different} differs between two runs of one seed"
        half, resumed = begun(first, 2), case.session()
        checkpoint.restore(resumed.strategy, _tensors(half))
        resumed.batches.position = half.batches.position
        steps(resumed, 2, first + 2)
        different = _differs(_tensors(whole), _tensors(resumed))
        assert not different, f"phase {name}: {different} differs after a resumption: is there state outside of buffers?"


@rule("recipe", "strategy", trains=True)
def terms_of_wrappers_are_kept(case: Case) -> None:
    """Terms that stand around a discriminator, on D's side and on G's, are minimised and logged: a strategy that weighs terms changes them
    in place."""
    import torch

    from ganzoo.interfaces import Turn, Wrapper
    from ganzoo.types import Terms, WrapperPart

    class Probe(Wrapper):
        side, asked = "", False

        def size(self, side: str, x: Tensor) -> Terms:
            # What is made without a graph, as where G learns by another way, cannot be minimised.
            self.asked = self.asked or (side == self.side and x.requires_grad)
            return {"size": 1e3 * x} if side == self.side else {}

        def d_terms(self, turn: Turn) -> Terms:
            return self.size("d", torch.stack([p.square().sum() for p in turn.D.D.parameters()]).sum())

        def g_terms(self, turn: Turn) -> Terms:
            return self.size("g", turn.x_fake.float().square().mean())

    def run(path: str = "", side: str = "") -> tuple[Session, set[str], bool]:
        session, probe = case.session(), Probe(toys.spec(case.fields()[0]), None)
        probe.record, probe.name, probe.side = WrapperPart("probe", ""), "probe", side
        if path:
            around = session.strategy._around
            around[id(networks(session)[path])] = (*around[id(networks(session)[path])], probe)
        logged = {name for t in moments(session, 1) for name in session.step(t)}
        return session, logged, probe.asked

    plain = run()[0]
    for path in (path for path, network in networks(plain).items() if network.record.role == "discriminator"):
        for side in ("d", "g"):
            probed, logged, asked = run(path, side)
            if side == "g" and not asked:
                continue
            assert asked, f"{path} never has a turn: its loss is not asked for with self.loss and self.view"
            assert any("probe/size" in name for name in logged), f"a term of a wrapper of {path} is not among what is logged"
            learns = path if side == "d" else "G"
            assert _differs(_tensors(plain), _tensors(probed)), f"a term of a wrapper of {path} does not reach {learns}: it gets lost"


@rule(*COMBINATIONS, trains=True)
def files_of_products_are_enough(case: Case) -> None:
    """What a product's file makes, without data set or the other networks, is what the run makes, but for rounding."""
    from ganzoo.runs.exported import file_of, load
    from ganzoo.training.launch import start
    from ganzoo.training.loop import Watch

    class Keeps(Watch):
        session: Session

        def opened(self, folder: Path, resolved: Resolved, data: Prepared, session: Session) -> None:
            self.session = session

    watch = Keeps()
    folder = start(case.resolved(steps=2), case.folder / "run", watch)
    for name, wanted in _outputs(watch.session, 4).items():
        product = load(case.zoo, folder / file_of(name))
        # A run keeps its weights in channels_last, which sums in another order.
        far = float((made(watch.session, product, 4).float() - wanted.float()).abs().max())
        assert far < 1e-3, f"{file_of(name)}: it differs by up to {far:.2g} from what the run's own makes"


@rule(*COMBINATIONS, trains=True)
def global_state_stays(case: Case) -> None:
    """Building, training and sampling leave torch's defaults, threads, the warning filters and Python's and numpy's generators alone."""
    import numpy as np
    import torch

    from ganzoo import machine

    machine.set_threads()
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

    draft = case.draft()
    for entry in (*draft.parts.values(), *draft.wrappers.values()):
        entry.load()  # what an import does to the warning filters is the imported libraries' affair
    before = state()
    session = case.session()
    steps(session, 2)
    _outputs(session, 2)
    after = state()
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"{changed[0]} was changed"


@rule(*COMBINATIONS, trains=True, may_skip=True)
def bf16_works(case: Case) -> None:
    """Under autocast to bfloat16 the terms are finite and near those of fp32, and weights stay fp32; unless a part says `bf16=False`."""
    import torch

    if unable := [part.name for part in case.parts().all if not getattr(part, "bf16", True)]:
        raise Skip(f"{unable[0]!r} says that it cannot")
    terms = {}
    for precision in ("fp32", "bf16"):
        session = case.session(case.resolved(precision=precision))
        terms[precision] = steps(session, 2)
        assert all(p.dtype == torch.float32 for p in session.strategy.parameters()), "its weights are no longer float32"
    for low, full in zip(terms["bf16"], terms["fp32"], strict=True):
        scalars(low)
        for name, value in full.items():
            wanted, got = float(value), float(low[name])
            assert abs(got - wanted) < 0.25 * abs(wanted) + 0.1, f"{name} is {got:.3g} in bf16 and {wanted:.3g} in fp32"


@rule(*COMBINATIONS, trains=True, may_skip=True)
def it_learns(case: Case) -> None:
    """Trained on toy data, what its main product gives comes nearer to it: to at most 0.7 of an untrained one's sliced Wasserstein
    distance."""
    small = {"steps": 150, "batch_size": 32, "ema": 0.9, **case.small()[""]}
    resolved = case.resolved(**{name: value for name, value in small.items() if name not in ("dataset", "device")})
    session, n = case.session(resolved), resolved.run.steps
    product = products(session)[0]
    if not product.key:
        raise Skip(f"{product.name} gives a field of its own, so the data does not say what it should be")
    kind, field, real = product.medium, product.field, session.batches.peek(512)[product.key]

    def distance() -> float:
        a, b = kind.stored(made(session, products(session)[0], 512), field), kind.stored(real, field)
        return toys.distance(kind.coordinates(a, field), kind.coordinates(b, field))

    before = distance()
    steps(session, n)
    after = distance()
    measured = f"after {n} steps the distance to the data is {after:.3g}, untrained it was {before:.3g}"
    assert after <= LEARNT * before, f"{measured}: wanted at most {LEARNT} of it. Recipe.check.small says what is trained"
