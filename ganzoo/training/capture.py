"""A session's step as a CUDA graph: recorded once for each variant of the step, then replayed without Python.

What a step takes from the processor comes in tensors that stay where they are and are filled before each replay: the rows of its batches,
what it draws, its learning rates, what a loss schedules. A variant's first steps are taken as ever, and tell what that is. Then one step is
taken both ways from the same state, and the recording is refused unless every tensor of the run comes out the same, bit for bit.

On other devices than CUDA a replay calls the strategy's step on those very tensors, with the t of the recording, as a graph would.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.machine import to_device
from ganzoo.randomness import Draws, seed_step
from ganzoo.types import Prior

if TYPE_CHECKING:
    from ganzoo.training.session import Session
    from ganzoo.types import Terms

PLAIN = 2  # steps of a variant that are taken as ever
MOST = 16  # variants
ADVICE = "Start without --capture, or go on with `ganzoo resume RUN --no-capture`."


class Asking(Draws):
    """Draws as ever, and remembers what was asked for."""

    def __init__(self, *keys: object) -> None:
        super().__init__(keys)
        self.asked: list[tuple[str, Prior, int]] = []

    def take(self, purpose: str, prior: Prior, n: int) -> Tensor:
        self.asked.append((purpose, prior, n))
        return super().take(purpose, prior, n)


class Ready(Draws):
    """Gives draws that lie ready, in the order in which they were asked for."""

    def __init__(self, asked: list[tuple[str, Prior, int]], tensors: list[Tensor]) -> None:
        super().__init__(())
        self._left = list(zip(asked, tensors, strict=True))

    def take(self, purpose: str, prior: Prior, n: int) -> Tensor:
        if not self._left or self._left[0][0] != (purpose, prior, n):
            raise GanzooError(f"the step draws {purpose!r}, and did not in a step of the same variant: it cannot be captured. {ADVICE}")
        return self._left.pop(0)[1]


class Kept(Iterator[Any]):
    """Batches, and a list of those that were taken."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches, self.taken = batches, list[Any]()

    def __next__(self) -> Any:
        self.taken.append(next(self.batches))
        return self.taken[-1]


@dataclass
class Recording:
    """A variant of the step. t: of the step that is recorded. replay: takes it again, on the tensors below; None: not yet recorded."""

    t: int
    asked: list[tuple[str, Prior, int]]
    drawn: list[Tensor]
    batches: list[dict[str, Tensor]]
    scheduled: dict[str, Tensor]
    seen: int = 1
    replay: Callable[[], Terms] | None = None


@dataclass
class Captured:
    """The steps of a session by replaying them. Terms that a step returns are overwritten by the next one."""

    session: Session
    recordings: dict[Hashable, Recording] = field(default_factory=dict)

    def step(self, t: int) -> Terms:
        """As `Session.step`. Raises GanzooError where a recorded step would not do what the step does."""
        session = self.session
        session.begin(t)
        known = self.recordings.get(key := self._key(t))
        if known is None or known.seen < PLAIN:
            terms = self._plain(key, known, t)
        else:
            self._fill(known, t)
            terms = (known.replay or self._record(known, t))()
        session.end(t)
        return terms

    def _key(self, t: int) -> Hashable:
        """What the operations of step t depend on, numbers of the optimisers among it."""
        strategy = self.session.strategy
        around = tuple(wrapper.variant(t) for wrappers in strategy.wrappers.values() for wrapper in wrappers.values())  # type: ignore[operator]
        groups = [group for optimiser in strategy.optimisers().values() for group in optimiser.param_groups]
        numbers = tuple((k, v) for group in groups for k, v in group.items() if k != "params" and not isinstance(v, Tensor))
        return strategy.variant(t), around, numbers

    def _plain(self, key: Hashable, known: Recording | None, t: int) -> Terms:
        session = self.session
        batches, scope = Kept(session.batches), Asking(session.seed, "step", t)
        terms = session.take(batches, t, scope)
        if known is None:
            if len(self.recordings) > MOST:
                raise GanzooError(f"--capture: the step has too many variants, or an optimiser's numbers change with each. {ADVICE}")
            device, scheduled = session.strategy.device, session.strategy.loss.scheduled
            drawn = [torch.empty_like(Draws(()).take(*one), device=device) for one in scope.asked]
            kept = [{name: torch.empty_like(x) for name, x in batch.items()} for batch in batches.taken]
            self.recordings[key] = Recording(t, scope.asked, drawn, kept, {name: x.clone() for name, x in scheduled.items()})
        else:
            known.seen += 1
            if (scope.asked, len(batches.taken)) != (known.asked, len(known.batches)):
                raise GanzooError(
                    f"steps {known.t} and {t} are of one variant, and draw or read differently: they cannot be captured. {ADVICE}"
                )
        return terms

    def _fill(self, known: Recording, t: int) -> None:
        """Put what step t takes from the processor into the recording's tensors."""
        session, scope = self.session, Draws((self.session.seed, "step", t))
        for batch in known.batches:
            for name, x in next(session.batches).items():
                batch[name].copy_(x)
        for drawn, one in zip(known.drawn, known.asked, strict=True):
            drawn.copy_(to_device(scope.take(*one), drawn.device))
        for name, x in session.strategy.loss.scheduled.items():
            known.scheduled[name].copy_(x)
        session.strategy.loss.scheduled = known.scheduled

    def _record(self, known: Recording, t: int) -> Callable[[], Terms]:
        """Record the step; take it as ever and by the recording, from the same state, and compare."""
        session = self.session

        def run() -> Terms:
            return session.take(iter(known.batches), known.t, Ready(known.asked, known.drawn))

        live = self._tensors()
        before = [x.clone() for x in live]
        seed_step(session.seed, t)
        with _aside(session.strategy.device):
            terms = {name: x.clone() for name, x in session.take(iter(known.batches), t, Ready(known.asked, known.drawn)).items()}
        wanted = [x.clone() for x in live]
        _put(live, before)
        seed_step(session.seed, t)
        try:
            replay = _graph(run, session.strategy.device)
        except RuntimeError as e:
            raise GanzooError(f"--capture: a step of this run cannot be recorded: {str(e).splitlines()[0]} {ADVICE}") from e
        _put(live, before)  # what a capture leaves alone in any case
        seed_step(session.seed, t)
        told = replay()
        same = told.keys() == terms.keys() and len(live) == len(self._tensors())
        if not same or not all(torch.equal(a, b) for a, b in zip((*live, *told.values()), (*wanted, *terms.values()), strict=True)):
            raise GanzooError(
                f"step {t}, replayed, is not the step as it is taken without --capture. Either it computes with t beyond `schedule` and "
                f"`variant`, or an operation gives other bits each time (docs/gpu.md). {ADVICE}"
            )
        known.replay = replay
        return lambda: told

    def _tensors(self) -> list[Tensor]:
        """All that a step may change."""
        strategy = self.session.strategy
        states = [state for optimiser in strategy.optimisers().values() for state in optimiser.state.values()]
        return [x.detach() for x in (*strategy.parameters(), *strategy.buffers(), *(x for state in states for x in state.values()))]


def _put(live: list[Tensor], values: list[Tensor]) -> None:
    for x, value in zip(live, values, strict=True):
        x.copy_(value)


@contextlib.contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """On CUDA a stream of its own, as torch asks of what comes before a capture."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


def _graph(run: Callable[[], Terms], device: torch.device) -> Callable[[], Terms]:
    """A step as a CUDA graph; elsewhere itself. torch's own generator belongs to a graph: a replay draws from where that was seeded."""
    if device.type != "cuda":
        return run
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        terms = run()

    def replay() -> Terms:
        graph.replay()
        return terms

    return replay
