"""A product of a run: from its file, or from a run that is training, to what comes out of it, as it would be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganzoo import machine, pictures
from ganzoo.config import written_size
from ganzoo.errors import GanzooError, UsageError, did_you_mean, one_line
from ganzoo.media.medium import Medium
from ganzoo.randomness import draw, draws
from ganzoo.registry.catalogue import Catalogue, Entry, medium
from ganzoo.runs import checkpoint
from ganzoo.runs.codes import Code, codes_of, settings, with_codes
from ganzoo.runs.folder import read_config
from ganzoo.runs.tiles import Tiles
from ganzoo.types import DataSpec, Export, Field

if TYPE_CHECKING:
    from PIL.Image import Image

    from ganzoo.compose import Resolved
    from ganzoo.data import Prepared
    from ganzoo.interfaces import Degradation, Network
    from ganzoo.strategy import Strategy

BATCH = 50  # rows that are drawn, and given to the network, at once; always so many: their number decides how sums are rounded
SMALLEST = 16  # pixels on each side of a tile
LARGE = 3 * 64 * 64  # numbers in a row of an input, of which fewer are given at once


@dataclass(frozen=True)
class Exported:
    """A network with what it is called with and what it gives.

    name: of the export. data: the fields of the data that it was trained on. step: how long. meta: what its file says of itself.
    degradation: what made its inputs while it was trained.
    """

    network: Network
    export: Export
    name: str
    data: DataSpec
    step: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)
    degradation: Degradation | None = None

    @classmethod
    def of(cls, strategy: Strategy, name: str = "", step: int = 0, meta: Mapping[str, Any] | None = None) -> Exported:
        """A product of a strategy as it would be saved now, averaged if it is; by default the main one."""
        exports = strategy.exports()
        name = name or next(iter(exports))
        return cls(strategy.product(name), exports[name], name, strategy.spec, step, meta or {}, strategy.build.degradation)

    # --- What it takes and gives ---

    @property
    def key(self) -> str:
        """The key of what it makes; "" where that is a field of its own, which the data does not hold."""
        return self.export.gives if isinstance(self.export.gives, str) else ""

    @property
    def field(self) -> Field:
        """What it makes."""
        return self.data.fields[self.export.gives] if isinstance(self.export.gives, str) else self.export.gives

    @property
    def groups(self) -> str:
        """Of what sorts the data into classes of its own: the key of the labels that lie beside what it sorts; "": there are none."""
        if self.key or self.field.medium != "label" or not self.asks:
            return ""
        beside = self.data.sets[self.data.set_of(self.asks[0])]
        return next((key for key in beside if self.data.fields[key].medium == "label"), "")

    @property
    def medium(self) -> Medium:
        """The medium of what it makes."""
        return medium(self.field.medium)

    @property
    def fields(self) -> dict[str, Field]:
        """The fields of the data that it takes, by key."""
        latents = self.network.latents()
        return {key: self.data.fields[key] for key in self.export.names.values() if key not in latents}

    @property
    def classes(self) -> Field | None:
        """The label that it takes, of which each class is tried in turn where nobody names one; None: it takes none."""
        return next((field for key, field in self.fields.items() if key not in self.asks), None)

    @property
    def asks(self) -> tuple[str, ...]:
        """The keys that must come from somebody: pictures, texts. A product that asks for something is applied, others are sampled."""
        return tuple(key for key, field in self.fields.items() if medium(field.medium).made_up(0, field) is None)

    @property
    def fills(self) -> bool:
        """Whether it fills holes of a "source": the data has a "mask" that says where they are, even if it is not given that."""
        return "source" in self.asks and "mask" in self.data.fields

    @property
    def wants(self) -> tuple[str, ...]:
        """The keys that somebody must bring who applies it, the main one first: what it asks for, and the mask where it fills holes."""
        return ("source", *(key for key in self.asks if key not in ("source", "mask")), "mask") if self.fills else self.asks

    @property
    def codes(self) -> tuple[Code, ...]:
        """The latents that can be fixed one by one, in the order of their numbers."""
        return codes_of(self.network.latents())

    @property
    def has_truth(self) -> bool:
        """Whether the data holds, row by row, what it should have made: what it asks for and what it gives lie in one set."""
        return bool(self.asks and self.key) and {self.data.set_of(key) for key in self.asks} == {self.data.set_of(self.key)}

    @property
    def reads(self) -> bool:
        """Whether it can be asked how probable it finds somebody's samples: its network takes x alone and gives a "log_likelihood"."""
        record = self.network.record
        return self.key == "x" and "x" in record.may_take and "log_likelihood" in record.gives

    # --- What comes out of it ---

    def latents(self, n: int, seed: int) -> dict[str, Tensor]:
        """The first n latents of a seed by name, on the CPU. Row i depends on the seed and i alone."""
        return self._drawn(torch.arange(n), seed)

    def coded(self, n: int, seed: int, values: Mapping[int, Sequence[float]]) -> dict[str, Tensor]:
        """Latents of n samples that go through every combination of the values of some codes, the last code's changing fastest.

        Of k combinations, samples 0 to k - 1 have all else in common, the first latents of the seed, the next k the second, and so on.
        values: as `codes.checked` gives them, by the number of the code.
        """
        rows = settings(values)
        latents = {name: z.repeat_interleave(len(rows), 0)[:n] for name, z in self.latents(-(-n // len(rows)), seed).items()}
        return with_codes(latents, self.codes, [rows[i % len(rows)] for i in range(n)])

    def _drawn(self, rows: Tensor, seed: int) -> dict[str, Tensor]:
        """The latents of some rows of a seed, in ascending order."""
        lots: dict[str, list[Tensor]] = {name: [] for name in self.network.latents()}
        for start in range(int(rows[0]) // BATCH * BATCH, int(rows[-1]) + 1, BATCH):
            within = rows[(rows >= start) & (rows < start + BATCH)] - start
            with draws(seed, "sample", start):
                for name, prior in self.network.latents().items():
                    lots[name].append(draw(name, prior, BATCH)[within])
        return {name: torch.cat(lot) for name, lot in lots.items()}

    def inputs(self, n: int, seed: int, given: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """All that it is called with, n rows, by key: what is given, as in a batch, else latents of the seed, and each class in turn.

        Raises UsageError where something is missing that nobody can make up.
        """
        return self.latents(n, seed) | self._known(n, given)

    def _known(self, n: int, given: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """The inputs that are not drawn."""
        given, latents, known = given or {}, self.network.latents(), {}
        for key in self.export.names.values():
            if key in given:
                known[key] = given[key]
            elif key not in latents:
                rows = medium(self.fields[key].medium).made_up(n, self.fields[key])
                if rows is None:
                    raise UsageError(f"{self.name} asks for {', '.join(self.asks)}: it is applied to data, as `ganzoo apply` does.")
                known[key] = rows
        return known

    def applied(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Somebody's own rows, as in a batch, made as they were in training: the holes that a mask tells of are dug.

        Raises UsageError for a mask of another size than the picture.
        """
        if self.fills and given["mask"].shape[2:] != given["source"].shape[2:]:
            sizes = [written_size(tuple(given[key].shape[1:])) for key in ("mask", "source")]
            raise UsageError(f"mask: wanted one of the picture's size, {sizes[1]} pixels; got {sizes[0]}.")
        return self.degradation.applied(dict(given)) if self.degradation is not None and "source" in self.asks else dict(given)

    def kept(self, made: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """What it made, stored, with all that was not missing as it was given; where the sizes differ, or nothing is filled, all as made.

        given: as in a batch, before `applied`.
        """
        if not self.fills or made.shape[2:] != given["source"].shape[2:] or not self.medium.pictures:
            return made
        source = medium(self.fields["source"].medium).stored(given["source"], self.fields["source"])
        return torch.where(given["mask"] > 0, made, source) if source.shape[1] in (1, made.shape[1]) else made

    def raw(
        self, n: int, seed: int = 0, given: Mapping[str, Tensor] | None = None, tiles: Tiles | None = None, first: int = 0
    ) -> Iterator[Tensor]:  # fmt: skip
        """The network's own outputs, on the CPU, some rows at a time. given: as in `inputs`. tiles: as `tiles` gives them; None: whole.
        first: the row to begin at, a multiple of what comes at a time.

        In eval mode, without gradients, on the network's device, and always with as many rows at once, the last ones filled up: so the bits
        of a row do not depend on how many are asked for. Pictures of another size than the trained one are padded to the network's
        `multiple`, and the output is cut to the same part. Raises UsageError where a picture has a size that it does not take.
        """
        known = self._known(n, given)
        device, at_once = next(self.network.parameters()).device, self._at_once(known)
        for start in range(first, n, at_once):
            rows = torch.arange(start, start + at_once).clamp_max(n - 1)
            values = {key: value[rows] for key, value in known.items()}
            if self.network.latents().keys() - known.keys():
                values = self._drawn(rows, seed) | values
            called = {parameter: values[key].to(device) for parameter, key in self.export.names.items()}
            training = self.network.training
            self.network.eval()
            try:
                with torch.no_grad(), machine.exact(), draws(seed, "output", start):
                    x = self._call(called, tiles)
            finally:
                self.network.train(training)
            if len(x) != at_once:
                raise GanzooError(f"{self.name} gives {len(x)} rows for {at_once}.")
            yield x[: n - start].cpu()

    def log_likelihood(self, rows: Tensor) -> Tensor:
        """log p of samples, stored, in nats; float64 (N,), on the CPU. Only of what `reads`."""
        device, place = next(self.network.parameters()).device, self.network.record.gives.index("log_likelihood")
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad(), machine.exact():
                lots = [self.network(x=self.medium.to_batch(lot).to(device))[place] for lot in rows.split(BATCH)]
        finally:
            self.network.train(training)
        return torch.cat([lot.double().flatten(1).sum(1).cpu() for lot in lots])

    def differentiable(self, seed: int, given: Mapping[str, Tensor] | None = None) -> bool:
        """Whether gradients go through its output, or it is made of whole numbers, through which none can."""
        device, network = next(self.network.parameters()).device, self.network
        inputs = self.inputs(2, seed, given)
        called = {parameter: inputs[key].to(device) for parameter, key in self.export.names.items()}
        trains, learns = network.training, [(p, p.requires_grad) for p in network.parameters()]
        network.eval()
        try:
            network.requires_grad_(True)  # averages are exported, and they do not learn
            with torch.enable_grad(), draws(seed, "output", 0):
                x = self._call(called)
        finally:
            network.train(trains)
            for p, wanted in learns:
                p.requires_grad_(wanted)
        return x.requires_grad or not x.is_floating_point()

    def _at_once(self, values: Mapping[str, Tensor]) -> int:
        """How many rows the network is given at once: fewer of larger pictures than it was trained with, and of large ones."""
        larger = [values[key][0].numel() / max(min(self.fields[key].numel, LARGE), 1) for key in self.asks]
        return max(1, int(BATCH / max([1.0, *larger])))

    def _pictures(self) -> list[str]:
        """The parameters that are pictures of somebody's."""
        return [name for name, key in self.export.names.items() if key in self.asks and medium(self.fields[key].medium).pictures]

    def _call(self, values: dict[str, Tensor], tiles: Tiles | None = None) -> Tensor:
        """The output that is exported. values: by parameter."""
        before = after = (0, 0)
        for parameter in (shown := self._pictures()):
            before = (values[parameter].shape[2], values[parameter].shape[3])
            values[parameter] = self._padded(values[parameter], self.export.names[parameter])
            after = (values[parameter].shape[2], values[parameter].shape[3])
        x = self._output(values) if tiles is None or max(after) <= tiles.size else tiles.call(self._output, values, shown)
        if before != after and self.medium.pictures:
            x = x[:, :, : x.shape[2] * before[0] // after[0], : x.shape[3] * before[1] // after[1]]
        return x

    def _output(self, values: Mapping[str, Tensor]) -> Tensor:
        outputs = self.network(**values)
        if isinstance(outputs, tuple):
            outputs = outputs[self.network.record.gives.index(self.export.output) if self.export.output else 0]
        x: Tensor = outputs
        return x

    def check_size(self, key: str, height: int, width: int) -> None:
        """Raise UsageError where it does not take a picture of that size, in pixels, for a field."""
        trained = self.fields[key].shape
        if not self.network.record.multiple and (height, width) != tuple(trained[1:]):
            raise UsageError(
                f"{self.name} takes pictures of {written_size(trained)} pixels only, got {width}x{height}. --resize brings them to it."
            )

    def _padded(self, x: Tensor, key: str) -> Tensor:
        """Pictures (N, C, H, W), at the bottom and on the right filled up with their mirror image to a size that the network takes."""
        multiple, (height, width) = self.network.record.multiple, (x.shape[2], x.shape[3])
        if (height, width) == tuple(self.fields[key].shape[1:]):
            return x
        self.check_size(key, height, width)
        below, right = -height % multiple, -width % multiple
        mode = "reflect" if below < height and right < width else "replicate"
        return nn.functional.pad(x, (0, right, 0, below), mode=mode) if below or right else x

    def tiles(self, size: int, seed: int = 0) -> Tiles:
        """How pictures are cut for it in tiles of so many pixels a side, as `raw` and `outputs` take it. Runs the network twice.

        Raises UsageError where that makes no sense: it takes or gives no picture, takes one size alone, or the tile is too small.
        """
        shown, multiple = self._pictures(), self.network.record.multiple
        if not shown or not self.medium.pictures:
            raise UsageError(f"--tile: {self.name} does not turn a picture into a picture, so there is nothing to cut. Leave --tile out.")
        if not multiple:
            wanted = written_size(self.fields[self.export.names[shown[0]]].shape)
            raise UsageError(f"--tile: {self.name} takes pictures of {wanted} pixels only, and those whole. --resize brings others to it.")
        if size < (least := max(SMALLEST, 4 * multiple)):
            raise UsageError(f"--tile: wanted {least} pixels or more for {self.name}, got {size}.")
        kinds = {key: medium(self.fields[key].medium) for key in self.asks}
        made_up = {key: kind.to_batch(torch.zeros(1, *self.fields[key].shape, dtype=kind.dtype)) for key, kind in kinds.items()}
        values = self.inputs(1, seed, made_up)
        device = next(self.network.parameters()).device
        called = {parameter: values[key].to(device) for parameter, key in self.export.names.items()}

        def call(values: dict[str, Tensor]) -> Tensor:
            with torch.no_grad(), machine.exact(), draws(seed, "output", 0):
                return self._output(values)

        training = self.network.training
        self.network.eval()
        try:
            return Tiles.measured(call, called, shown, size, multiple)
        finally:
            self.network.train(training)

    def outputs(
        self, n: int, seed: int = 0, given: Mapping[str, Tensor] | None = None, tiles: Tiles | None = None, first: int = 0
    ) -> Iterator[Tensor]:  # fmt: skip
        """n rows as they would be saved: uint8 images, probabilities of classes, ...; some at a time. given, tiles, first: as in `raw`.

        Raises GanzooError where an output is not a finite number.
        """
        return map(self._stored, self.raw(n, seed, given, tiles, first))

    def _stored(self, x: Tensor) -> Tensor:
        if not bool(x.isfinite().all()):
            raise GanzooError(f"{self.name} gives what is not a finite number: there is nothing to see or to measure.")
        return self.medium.stored(x, self.field)

    def sheet(
        self, rows: Tensor, columns: int, given: Mapping[str, Tensor] | None = None, truth: Tensor | None = None, real: Tensor | None = None
    ) -> Image:
        """One picture of its outputs: where it asks for something, each row beside its inputs and, if there is one, the truth.

        rows, truth, real: stored. given: the inputs, as in a batch.
        """
        if not self.asks or not given:
            return self.medium.sheet(rows, self.field, columns, real)
        beside = self.beside(rows, given, truth)
        cells = [cell for group in zip(*beside.values(), strict=True) for cell in group]
        texts = not any(medium(field.medium).pictures for field in (self.field, *(self.fields[key] for key in self.asks)))
        return pictures.grid(cells, max(1, columns // len(beside)) * len(beside), texts=texts)

    def beside(self, rows: Tensor, given: Mapping[str, Tensor], truth: Tensor | None = None) -> dict[str, list[Image]]:
        """Pictures of its outputs, of what it was asked to turn, and of the truth, in the order to be seen in, by what they are.

        rows, truth: stored. given: the inputs, as in a batch.
        """
        seen = {}
        for key in self.asks:
            kind = medium(self.fields[key].medium)
            seen[key] = kind.cells(kind.stored(given[key], self.fields[key]), self.fields[key])
        seen[self.name] = self.medium.cells(rows, self.field)
        return seen if truth is None else seen | {"truth": self.medium.cells(truth, self.field)}


def classes_of(words: Sequence[str | int], field: Field, say: Callable[[str], None] = lambda text: None) -> list[int]:
    """Classes by name or number; a word may name several, with commas between them. A number that is no text is a class's number.

    An exact name comes first, then one that differs in case alone if it is the only one, then a number. say: told where a word is the name
    of one class and the number of another. Raises UsageError for a class that there is not.
    """
    chosen = []
    for word in words:
        parts = [word] if not isinstance(word, str) or word in field.names else word.split(",")
        chosen += [_class_of(part, field, say) for part in parts]
    return chosen


def _class_of(word: str | int, field: Field, say: Callable[[str], None]) -> int:
    text = str(word) if str(word) in field.names else str(word).strip()
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < field.size else None
    alike = [i for i, name in enumerate(field.names) if name.lower() == text.lower()]
    if isinstance(word, int) and number is not None:
        return number
    if text in field.names:
        found = field.names.index(text)
    elif len(alike) == 1:
        found = alike[0]
    elif number is not None:
        return number
    else:
        known = f", or one of {shown(field.names)}" if field.names else ""
        raise UsageError(f"--labels: wanted numbers from 0 to {field.size - 1}{known}; got {text[:60]!r}.")
    if number not in (None, found):
        say(f"--labels {text} is the class of that name, which is number {found}, and not number {number}, {field.names[number or 0]!r}.")
    return found


def shown(names: Sequence[str], n: int = 20) -> str:
    """The first names of a list that may be long."""
    return ", ".join(map(one_line, names[:n])) + (f", ... ({len(names)} in all)" if len(names) > n else "")


# --- Files ---


def file_of(name: str) -> str:
    """The file of an export in its run's folder."""
    return f"{name}.safetensors"


def describe(resolved: Resolved, data: Prepared, strategy: Strategy, created: str = "") -> dict[str, dict[str, Any]]:
    """The metadata of the products of a run by name: all that using them needs. created: when the run began, as ISO 8601 has it."""
    config, described = resolved.config, {}
    for name, export in strategy.exports().items():
        network = strategy.product(name)
        role, gives = network.record.role, export.gives
        described[name] = {
            "export": name,
            "recipe": config.recipe,
            "role": role,
            "part": config.parts[role],
            "options": dict(config.options[role]),
            "network": export.network,
            "names": dict(network.names),
            "takes": [list(pair) for pair in export.names.items()],  # in their order, which a JSON object may lose
            "gives": gives if isinstance(gives, str) else gives.to_json(),
            "output": export.output,
            "data": strategy.spec.to_json(),
            "degradation": {"part": config.parts["degradation"], "options": dict(config.options["degradation"])}
            if "degradation" in config.parts
            else {},
            "dataset": data.name,
            "seed": config.run.seed,
            **({"created": created} if created else {}),
            "plugins": resolved.plugins(strategy.spec, role, "degradation"),
        }
    return described


def save(folder: Path, tensors: Mapping[str, Tensor], step: int, described: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the products among the tensors of a checkpoint, averaged if they are, each to its own file in the run folder."""
    for name, meta in described.items():
        checkpoint.write(folder / file_of(name), _own(tensors, meta["network"]), {"step": step, **meta}, _told(meta, step))


def _told(meta: Mapping[str, Any], step: int) -> dict[str, str]:
    """What other programs are told of a product: the keys of ModelSpec 1.0.1 (github.com/Stability-AI/ModelSpec)."""
    gives = meta["data"]["fields"][meta["gives"]] if isinstance(meta["gives"], str) else meta["gives"]
    told = {
        "sai_model_spec": "1.0.1",
        "architecture": f"ganzoo-{meta['part']}/{meta['role']}",
        "implementation": "ganzoo",
        "title": one_line(f"{meta['export']} of {meta['recipe']}, trained on {meta['dataset']}, step {step}"),
    }
    if "created" in meta:  # runs of earlier versions do not say when they began
        told["date"] = meta["created"]
    if medium(gives["medium"]).pictures:
        told["resolution"] = f"{gives['shape'][2]}x{gives['shape'][1]}"
    return told


def stale(folder: Path, step: int, described: Iterable[str]) -> list[str]:
    """The products whose file in a run's folder is not the one of this step."""

    def of(name: str) -> object:
        try:
            return checkpoint.read_header(folder / file_of(name))[1].get("step")
        except checkpoint.BadCheckpoint:
            return None

    return [name for name in described if of(name) != step]


def _own(names: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The tensors of a network, by their names in it: in a checkpoint those of the average if there is one; in its own file all."""
    names = {name: value for name, value in names.items() if name != "__metadata__"}
    for begin in (f"model:averages.{path.replace('.', '/')}.", f"model:{path}."):
        if own := {name.removeprefix(begin): value for name, value in names.items() if name.startswith(begin)}:
            return own
    return names


def exports_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What a run's config.json says of its products, by name, the main one first."""
    described = read_config(folder).get("exports")
    if not isinstance(described, dict) or not described or not all(isinstance(meta, dict) for meta in described.values()):
        raise UsageError(f"{folder / 'config.json'} does not say what the run makes.")
    return described


def load(zoo: Catalogue, path: Path, network: str = "", warn: Callable[[str], None] = lambda text: None) -> Exported:
    """A product of a run folder, of a checkpoint in one, or in its own file, on the CPU. The data is not needed.

    network: the name of the product, by default the main one. warn: told where a plugin's version is not the one that made it. Raises
    UsageError where there is no such product, or where a plugin that it needs is not loaded.
    """
    file, meta = _found(path, network)
    try:
        data, name, part = DataSpec.from_json(meta["data"]), str(meta["export"]), str(meta["part"])
        gives = meta["gives"] if isinstance(meta["gives"], str) else Field.from_json(meta["gives"])
        export = Export(str(meta["network"]), {str(k): str(v) for k, v in meta["takes"]}, gives, str(meta["output"]))
        known = data.renamed(**meta["names"])
        plugins = {str(plugin): str(version) for plugin, version in dict(meta["plugins"]).items()}
        step, values, role, made = int(meta["step"]), dict(meta["options"]), str(meta["role"]), dict(meta["degradation"])
    except (LookupError, TypeError, ValueError, AttributeError) as e:
        raise UsageError(f"{file}: it, or its run's config.json, does not say how the network is built ({e!r}).") from e
    zoo.check_versions(file, plugins, warn)
    entry = zoo.get(role, part)
    filled = _filled(entry, entry.options(values, f"--{role}."), known, file, export.network)
    filled.names = dict(meta["names"])
    degradation = None
    if made:
        source = zoo.get("degradation", made["part"])
        degradation = source.build(data, source.options(made["options"], "--degradation."))
    return Exported(filled, export, name, data, step, meta, degradation)


def _found(path: Path, network: str) -> tuple[Path, dict[str, Any]]:
    """The file of a product, and its metadata."""
    if path.is_dir() and not (path / "config.json").exists():
        path = path / file_of(network or "generator")  # a product's file alone, in a folder
    if path.is_dir() or (path.parent.name == "checkpoints" and (path.parent.parent / "config.json").exists()):
        folder = path if path.is_dir() else path.parent.parent
        described = exports_of(folder)
        name = network or next(iter(described))
        if name not in described:
            raise UsageError(f"--network: {folder} has {', '.join(described)}; got {name!r}.{did_you_mean(name, described)}")
        if path.is_dir():
            file = folder / file_of(name)
            if not file.exists():
                raise UsageError(f"{folder} has no {name} yet: a run writes it with its first checkpoint, every --save-every steps.")
            return file, _meta(file)
        if not path.exists():
            steps = ", ".join(f"{step:06d}" for step in checkpoint.steps_in(path.parent)) or "none"
            raise UsageError(f"{path} does not exist. The run has the checkpoints {steps}.")
        return path, {**described[name], "step": checkpoint.read_header(path)[1].get("step")}
    if not path.exists():
        raise UsageError(f"{path} does not exist. Wanted a run folder or a {file_of('generator')}.")
    meta = _meta(path)
    if network not in ("", meta["export"]):
        raise UsageError(f"--network: {path} holds {meta['export']!r}, no {network!r}. A run folder has all of its products.")
    return path, meta


def _meta(file: Path) -> dict[str, Any]:
    """The metadata of a product's own file."""
    _, meta = checkpoint.read_header(file)
    if "export" not in meta:
        raise UsageError(f"{file} is a checkpoint of {meta.get('recipe', 'a run')} without its run folder, which says how it is built.")
    return meta


def _filled(entry: Entry, options: Any, known: DataSpec, file: Path, path: str) -> Network:
    """The network with its tensors from the file. Raises BadCheckpoint where they are not those of such a network."""
    # What counts something in a network, layers or channels, has at least a byte of the file for each.
    size = file.stat().st_size
    if large := [name for name, value in asdict(options).items() if type(value) is int and value > size] if options is not None else []:
        value = getattr(options, large[0])
        raise checkpoint.BadCheckpoint(f"{file.name}: its option {large[0]} is {value}, which a file of {size} bytes cannot hold")
    # First without memory: the header is not believed before it has been compared with the tensors in the file.
    with torch.device("meta"):
        network = entry.network(known, options)

    def fits(header: dict[str, Any]) -> None:
        wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        stored = {name: tuple(info["shape"]) for name, info in _own(header, path).items()}
        if wanted != stored:
            wrong = sorted(set(wanted.items()) ^ set(stored.items()))[0][0]
            raise checkpoint.BadCheckpoint(f"its tensor {wrong!r} does not fit {entry.kind} {entry.name!r}")

    tensors, _ = checkpoint.read(file, fits)
    network = entry.network(known, options)
    network.load_state_dict(_own(tensors, path))
    return network.eval()
