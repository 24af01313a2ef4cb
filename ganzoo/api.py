"""ganzoo from Python: `load`, `train`, `resume` and `evaluate` do what the command line does, with values in and out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganzoo import compose, machine
from ganzoo.config import Changes
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import catalogue, medium
from ganzoo.runs import exported
from ganzoo.runs.exported import Exported
from ganzoo.training import launch
from ganzoo.training.loop import Watch

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.evaluation.record import Evaluation

To = Literal["objects", "tensor", "array"]


class Model:
    """A product of a run, ready to be used, on the processor; made by `load`."""

    def __init__(self, product: Exported) -> None:
        self.product = product

    @property
    def name(self) -> str:
        """What the run calls it, as "generator"."""
        return self.product.name

    @property
    def step(self) -> int:
        """After how many steps it was saved."""
        return self.product.step

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it makes samples of, or numbers where they have none; empty: it takes no class."""
        field = self.product.classes
        return () if field is None else field.names or tuple(map(str, range(field.size)))

    @property
    def asks(self) -> tuple[str, ...]:
        """The fields that it is applied to, "mask" too where it fills holes; empty: it is sampled."""
        return self.product.wants

    @property
    def meta(self) -> Mapping[str, Any]:
        """What its file says of it: recipe, data set, options."""
        return self.product.meta

    def __repr__(self) -> str:
        use = f"applied to {', '.join(self.asks)}" if self.asks else "sampled"
        return f"<{self.name} of {self.meta.get('recipe', '?')}, step {self.step}: {use}>"

    @property
    def codes(self) -> tuple[str, ...]:
        """The latents that `sample` can fix, by their numbers, each with its values: ("c, 0 to 9", ...); empty: it draws noise alone."""
        return tuple(code.said for code in self.product.codes)

    def sample(
        self, n: int = 1, seed: int = 0, labels: Any = None, to: To = "objects", codes: Mapping[int, float | Iterable[float]] | None = None
    ) -> Any:  # fmt: skip
        """n samples, those that `ganzoo sample` draws for the same seed.

        labels: a class or several, by name or number, repeated until there are n; None: each class in turn. to: "objects", a list of PIL
        images or lines of text; "tensor", as they are saved: uint8 (N, C, H, W), float32 (N, D), ...; "array", the same in numpy, pictures
        (N, H, W, C). codes: by number a value, or several, of which each combination is taken before the noise changes, the last code's
        values first: {0: 3, 1: [-2, 0, 2]}. Raises UsageError for a product that is applied.
        """
        import torch

        if n < 1:
            raise UsageError(f"n: wanted at least 1, got {n}.")
        fixed = self._codes(codes or {})
        given = self._labels(labels, n, prod(map(len, fixed.values()))) or {}
        given |= self.product.coded(n, seed, fixed) if fixed else {}
        return self._given(torch.cat(list(self.product.outputs(n, seed, given))), to)

    def apply(
        self, inputs: Any, *, labels: Any = None, seed: int = 0, to: To = "objects", tile: int | None = None, **more: Any
    ) -> Any:  # fmt: skip
        """What it makes of inputs, one row each: PIL images, paths, arrays (H, W) or (H, W, C), lines of text, or a tensor of rows.

        One input, no list, gives one output. labels, to: as in `sample`; a tensor or an array needs outputs of one size. tile: cut pictures
        into tiles of so many pixels a side, where memory is short. more: further fields that it asks for, by key. What fills holes wants
        mask=[...], pictures that are white there; all other pixels are as they were. Raises UsageError for a product that is sampled, and
        for what cannot be an input.
        """
        import torch

        if not self.asks:
            raise UsageError(f"{self.name} takes no files of yours: it is sampled.")
        single = not isinstance(inputs, list | tuple | torch.Tensor) and getattr(inputs, "ndim", 3) < 4
        wants = self.asks
        values = {wants[0]: inputs, **{key: more[key] for key in wants[1:] if key in more}}
        if missing := [key for key in wants if key not in values]:
            raise UsageError(f"{self.name} asks for {', '.join(wants)}; {missing[0]} is missing.")
        tiles = self.product.tiles(tile, seed) if tile is not None else None
        rows = {key: self._rows(key, [value] if single else value) for key, value in values.items()}
        counts = {key: len(value) for key, value in rows.items()}
        n = counts[self.asks[0]]
        if len(set(counts.values())) > 1:
            raise UsageError(f"wanted equally many rows of each: got {', '.join(f'{count} of {key}' for key, count in counts.items())}.")
        given = self._labels(labels, n) or {}
        outputs = []
        for start, end in _alike(rows):
            lot = {key: torch.cat(value[start:end]) for key, value in rows.items()}
            lot |= {key: value[start:end] for key, value in given.items()}
            made = torch.cat(list(self.product.outputs(end - start, seed, self.product.applied(lot), tiles)))
            outputs += list(self.product.kept(made, lot).split(1))
        if to != "objects" and len({output.shape for output in outputs}) > 1:
            raise UsageError(f"to={to!r}: the outputs differ in size; take objects.")
        if to == "objects":
            objects = [one for output in outputs for one in self._given(output, to)]
            return objects[0] if single else objects
        made = self._given(torch.cat(outputs), to)
        return made[0] if single else made

    def _rows(self, key: str, objects: Iterable[Any]) -> list[Tensor]:
        """Inputs as in a batch, (1, ...) each."""
        field = self.product.data.fields[key]
        kind = medium(field.medium)
        return [kind.to_batch(row) for made in objects for row in kind.rows(made, field)]

    def _codes(self, codes: Mapping[int, float | Iterable[float]]) -> dict[int, list[float]]:
        """The values of codes by number, checked."""
        from ganzoo.runs.codes import checked

        if codes and not self.product.codes:
            raise UsageError(f"codes: {self.name} has none: all that it draws is its noise, z. Leave codes out.")
        values = {number: list(value) if isinstance(value, Iterable) else [value] for number, value in codes.items()}
        if empty := [number for number, value in values.items() if not value]:
            raise UsageError(f"codes: wanted a value for code {empty[0]}, or several; got none.")
        try:
            return checked(self.product.codes, values)
        except UsageError as e:
            raise UsageError(f"codes: {e}") from e

    def _labels(self, labels: Any, n: int, alike: int = 1) -> dict[str, Tensor] | None:
        """Classes by key for n samples, of which so many that follow each other are of one class."""
        import torch

        field = self.product.classes
        if labels is None and (field is None or alike == 1):
            return None
        if field is None:
            raise UsageError(f"labels: {self.name} takes no class. Leave labels out.")
        words = range(field.size) if labels is None else [labels] if isinstance(labels, str | int) else list(labels)
        chosen = torch.tensor(exported.classes_of(words, field, _warn))
        key = next(key for key in self.product.fields if key not in self.asks)
        return {key: chosen[torch.arange(n) // alike % len(chosen)]}

    def _given(self, rows: Tensor, to: To) -> Any:
        if to == "objects":
            return self.product.medium.objects(rows, self.product.field)
        if to == "array":
            return (rows.permute(0, 2, 3, 1) if self.product.medium.pictures else rows).numpy()
        if to == "tensor":
            return rows
        raise UsageError(f"to: wanted objects, tensor or array; got {to!r}.")


def _alike(rows: Mapping[str, Sequence[Tensor]]) -> Iterable[tuple[int, int]]:
    """The longest stretches of rows that have one shape: begin and end of each."""
    shapes = list(zip(*([row.shape for row in value] for value in rows.values()), strict=True))
    start = 0
    for i in range(1, len(shapes) + 1):
        if i == len(shapes) or shapes[i] != shapes[start]:
            yield start, i
            start = i


class _Warns(Watch):
    """Warnings of a run as Python's."""

    def warned(self, text: str) -> None:
        warnings.warn(text, stacklevel=2)

    def abandoned(self) -> None:
        raise KeyboardInterrupt


def load(path: str | Path, network: str | None = None) -> Model:
    """A product of a run folder, of a checkpoint, or in its own file. network: its name; None: the main one.

    Raises UsageError where there is none.
    """
    return Model(exported.load(catalogue(), Path(path).expanduser(), network or "", _warn))


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Leaves torch's random state, and how it computes, as they were: the caller's own draws go on."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices), machine.arithmetic_kept():
        yield


def train(
    recipe: str, *, out: str | Path | None = None, parts: Mapping[str, str] | None = None, wrappers: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None, watch: Watch | None = None, **run: Any,
) -> Path:  # fmt: skip
    """Train a recipe to its end, as `ganzoo run` does; returns the run's folder.

    Args:
        recipe: its name.
        out: the run's folder; None: the next free one under runs/.
        parts: names by kind, in the place of the recipe's: {"loss": "hinge"}.
        wrappers: names, the outermost first.
        options: of the parts and wrappers: {"generator.width": 32}.
        watch: is told of what happens; by default nobody is, and warnings are Python's.
        run: options of the run and the data by name, as dataset="my/folder", steps=1000, preset="paper".

    Raises UsageError for what cannot be, GanzooError where training fails; after Ctrl-C RunStopped, when the state is saved.
    """
    changes = Changes(
        {name: str(value) if isinstance(value, Path) else value for name, value in run.items()}, dict(parts or {}),
        None if wrappers is None else tuple(wrappers),
    )  # fmt: skip
    for name, value in (options or {}).items():
        of, _, option = name.partition(".")
        changes.options.setdefault(of, {})[option] = value
    resolved = compose.resolve(catalogue(), recipe, changes)
    with _own_randomness():
        return launch.start(resolved, Path(out).expanduser() if out is not None else None, watch or _Warns())


def resume(
    run: str | Path, *, steps: int | None = None, device: str | None = None, dataset: str | Path | None = None,
    data_dir: str | Path | None = None, watch: Watch | None = None,
) -> Path:  # fmt: skip
    """Go on with a run that was stopped, or to `steps`; returns its folder. Raises as `train` does.

    dataset, data_dir: where its data lies now, if it was moved.
    """
    folder = Path(run).expanduser()
    with _own_randomness():
        moved: dict[str, Any] = {key: str(value) for key, value in (("dataset", dataset), ("data_dir", data_dir)) if value is not None}
        launch.resume(catalogue(), folder, steps, watch or _Warns(), device, **moved)
    return folder


def evaluate(
    path: str | Path, *, metric: str = "", features: str = "", n: int | None = None, n_real: int | None = None, seed: int = 0,
    against: str = "train", network: str | None = None, settings: Mapping[str, Any] | None = None, data_dir: str | Path | None = None,
    device: str = "auto",
) -> list[Evaluation]:  # fmt: skip
    """Measure a run, a product's file, or samples that are there already, as `ganzoo evaluate` does.

    metric, features: names, as "fid,kid" and "classifier"; by default what fits the data. settings: options of them: {"kid.subsets": 10}.
    Returns an evaluation a metric: `figures` by name, `line` with the protocol. Raises UsageError for what cannot be.
    """
    from ganzoo.evaluation.request import Reference, requested
    from ganzoo.evaluation.subject import evaluate as measure
    from ganzoo.evaluation.subject import find_subject

    zoo = catalogue()
    named = zoo.measures(metric, features)
    chosen: dict[str, dict[str, Any]] = {}
    for name, value in (settings or {}).items():
        of, _, option = name.partition(".")
        chosen.setdefault(of, {})[option] = value
    subject = find_subject(zoo, Path(path).expanduser(), False, network or "", named)

    def request(reference: Reference) -> Any:
        return requested(zoo, reference, named, n, n_real, seed, chosen)

    return measure(
        zoo, subject, request, against=against, data_dir=str(data_dir) if data_dir is not None else None, device=device, warn=_warn
    )
