"""Steps that are recorded and replayed: on the processor a replay runs the strategy's step on the recording's tensors, with its t."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import ganzoo
from ganzoo import GanzooError, Prior, UsageError, options
from ganzoo.config import Changes
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.testing.cases import Cases
from ganzoo.training import capture
from ganzoo.training.capture import PLAIN, Captured
from ganzoo.training.session import Session, open_session


def opened(recipe: str, captured: bool, changes: Changes | None = None, smaller=None, **run) -> Session:
    case = Cases(catalogue()).of(recipe)[0]
    case.changes = changes or case.changes
    if smaller:
        small = case.small
        case.small = lambda: {of: {**values, **smaller.get(of, {})} for of, values in small().items()}
    session = open_session(case.resolved(**{"ema": 0.9, "flip": True, **run}))[2]
    session.captured = Captured(session) if captured else None
    return session


def state(session: Session) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in checkpoint.tensors_of(session.strategy).items()}


def take(session: Session, steps: int) -> None:
    for t in range(steps):
        session.step(t)


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    return sorted(a.keys() ^ b.keys()) + [name for name in a.keys() & b.keys() if not torch.equal(a[name], b[name])]


SHORT = {"strategy": {"mle_steps": 5, "judge_steps": 5, "pretrain": 5, "warmup": 3, "warmup_critic": 4}}
RECIPES = [entry.name for entry in catalogue().entries("recipe") if entry.name != "r3gan"]


def short(recipe: str) -> dict[str, dict[str, int]]:
    known = Cases(catalogue()).of(recipe)[0].draft().parts["strategy"].record.options
    return {"strategy": {name: value for name, value in SHORT["strategy"].items() if name in options.fields(known)}}


@pytest.mark.parametrize("recipe", RECIPES)
def test_replayed_steps_are_the_steps_bit_for_bit_over_a_resume_and_all_variants(recipe):
    plain, replaying = (opened(recipe, captured, smaller=short(recipe)) for captured in (False, True))
    for t in range(20):
        if t == 13:  # as a killed run goes on
            saved, position = state(replaying), replaying.batches.position
            replaying = opened(recipe, True, smaller=short(recipe))
            checkpoint.restore(replaying.strategy, saved)
            replaying.batches.position = position
        wanted, told = plain.step(t), replaying.step(t)
        assert {name: float(x) for name, x in told.items()} == {name: float(x) for name, x in wanted.items()}, t
    assert not differing(state(replaying), state(plain))
    assert any(recording.replay for recording in replaying.captured.recordings.values())


def both(changes: Changes, steps: int = 10) -> Session:
    """A session that replays, after as many steps as a plain one; they are the same."""
    plain, replaying = (opened("lsgan", captured, changes) for captured in (False, True))
    for t in range(steps):
        plain.step(t)
        replaying.step(t)
    assert not differing(state(replaying), state(plain))
    return replaying


class Tape(TorchDispatchMode):
    """What a CUDA graph keeps of a step: the operations in their order, with the tensors' places and all numbers as they were."""

    def __init__(self) -> None:
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.done.append((function, args, kwargs or {}, out))
        return out

    def play(self) -> None:
        for function, args, kwargs, out in self.done:
            given = {a.untyped_storage()._cdata for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)}
            again = function(*args, **kwargs)
            for place, value in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(place, torch.Tensor) and place.untyped_storage()._cdata not in given:
                    place.copy_(value)


def taped(run, device):
    with Tape() as tape:
        terms = run()

    def replay():
        with torch.no_grad():
            tape.play()
        return terms

    return replay


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in ("spam-words", "denoise", "lsgan", "esrgan", "gumbel")])
def test_a_recording_of_bare_operations_gives_the_steps_too(recipe, monkeypatch):
    """As a graph does, without any Python: what a step computes in Python is what it was when it was recorded.

    Without those that are like others here, and `spam-words`, whose Adam counts its steps in Python, but not on CUDA.
    """
    monkeypatch.setattr(capture, "_graph", taped)
    plain, replaying = (opened(recipe, captured, smaller={"strategy": {}}) for captured in (False, True))
    for t in range(6):
        wanted, told = plain.step(t), replaying.step(t)
        assert {name: float(x) for name, x in told.items()} == {name: float(x) for name, x in wanted.items()}, t
    assert not differing(state(replaying), state(plain))
    assert any(recording.replay for recording in replaying.captured.recordings.values())


def test_a_number_that_python_keeps_is_noticed(monkeypatch):
    from ganzoo_began.model import Equilibrium

    monkeypatch.setattr(capture, "_graph", taped)
    monkeypatch.setattr(Equilibrium, "after", 0, raising=False)
    control = Equilibrium.control

    def counting(self, L_real, L_fake):
        self.after += 1
        self.k.add_(self.after * 1e-4)
        return control(self, L_real, L_fake)

    monkeypatch.setattr(Equilibrium, "control", counting)
    with pytest.raises(GanzooError, match="replayed, is not the step"):
        take(opened("began", True), PLAIN + 2)


def test_wrappers_are_replayed_with_their_draws_and_their_state():
    session = both(Changes(wrappers=("ada",)))
    assert float(session.strategy.wrappers["D"]["ada"].p) > 0


def test_a_term_that_comes_every_third_step_has_a_recording_of_its_own(monkeypatch):
    from ganzoo_augmentation.model import DiffAugment

    monkeypatch.setattr(DiffAugment, "variant", lambda self, t: t % 3 == 0)
    monkeypatch.setattr(DiffAugment, "d_terms", lambda self, turn: {"lazy": turn.logits["real"].square().mean()} if turn.t % 3 == 0 else {})
    session = both(Changes(wrappers=("diffaugment",)))
    assert [recording.t for recording in session.captured.recordings.values() if recording.replay] == [0, 1]


@pytest.mark.parametrize(
    ("sick", "told"),
    [
        (lambda self, *a, t, **k: {"fake": (1 + t) * self._well(*a, t=t, **k)["fake"]}, "replayed, is not the step"),
        (lambda self, *a, t, **k: ganzoo.draw(f"odd {t % 2}", Prior("unit"), 2) is None or self._well(*a, t=t, **k), "draw or read differ"),
        (lambda self, *a, t, **k: ganzoo.draw(f"late {t > 1}", Prior("unit"), 2) is None or self._well(*a, t=t, **k), "cannot be captured"),
    ],
)
def test_a_step_that_does_not_do_what_its_variant_says_is_refused(sick, told, monkeypatch):
    from ganzoo_lsgan.model import LeastSquares

    monkeypatch.setattr(LeastSquares, "_well", LeastSquares.generator, raising=False)
    monkeypatch.setattr(LeastSquares, "generator", sick)
    session = opened("lsgan", True)
    with pytest.raises(GanzooError, match=told):
        take(session, PLAIN + 1)


def test_an_optimiser_whose_numbers_change_with_each_step_is_refused():
    session = opened("r3gan", True)
    with pytest.raises(GanzooError, match="an optimiser's numbers change"):
        take(session, 30)


def test_it_is_refused_where_it_cannot_be():
    resolved = Cases(catalogue()).of("gan")[0].resolved(capture=True)
    with pytest.raises(UsageError, match="--capture: CUDA graphs are for CUDA alone, and the device here is cpu"):
        open_session(resolved)
    with pytest.raises(UsageError, match="--capture: strategy 'annealed' says that it cannot be captured"):
        Cases(catalogue()).of("r3gan")[0].resolved(capture=True)


def test_a_number_of_an_optimiser_that_changes_makes_another_recording(monkeypatch):
    """The number is set in `schedule`, so what a recording holds is looked at after that."""
    from ganzoo import Alternating

    def schedule(self, t):
        for group in self.opt_G.param_groups:
            group["betas"] = (0.5, 0.9 if t < 6 else 0.8)

    monkeypatch.setattr(Alternating, "schedule", schedule)
    session = both(Changes(), 12)
    assert [recording.t for recording in session.captured.recordings.values()] == [0, 6]


def test_a_captured_run_goes_on_without_it(tmp_path, monkeypatch):
    from ganzoo.training import launch
    from ganzoo.training.loop import Watch

    folder = launch.start(Cases(catalogue()).of("gan")[0].resolved(steps=2), tmp_path / "run", Watch())
    written = (folder / "config.json").read_text()
    assert '"capture": false' in written
    (folder / "config.json").write_text(written.replace('"capture": false', '"capture": true'))
    with pytest.raises(UsageError, match="CUDA graphs are for CUDA alone"):
        launch.resume(catalogue(), folder, 3, Watch())
    launch.resume(catalogue(), folder, 3, Watch(), capture=False)
    (folder / "config.json").write_text(written.replace('"capture": false', '"capture": true'))
    launch.resume(catalogue(), folder, 4, Watch(), device="cpu")
    assert checkpoint.steps_in(folder / "checkpoints") == [2, 3, 4]
