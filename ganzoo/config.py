"""The configuration of a run as plain values: what config.json holds, and what of it decides the result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ganzoo import options
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.options import option
from ganzoo.types import QUICK

MAX_SIDE = 2048  # of a picture, in pixels


def size_text(value: Any) -> str:
    """A size in pixels as it is written down: "64" for a square, "64x48" for width and height. Raises ValueError with what is wanted."""
    sides = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value).strip().lower())
    width, height = (int(sides[1]), int(sides[2] or sides[1])) if sides else (0, 0)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"1 to {MAX_SIDE} pixels a side, as 64, or 64x48 for width and height")
    return str(width) if width == height else f"{width}x{height}"


def size_of(text: str | None) -> tuple[int, int] | None:
    """Height and width of a size as `size_text` gives it."""
    if text is None:
        return None
    width, _, height = text.partition("x")
    return int(height or width), int(width)


def written_size(shape: tuple[int, ...]) -> str:
    """The size of a picture (C, H, W) as it is written down."""
    return size_text(f"{shape[2]}x{shape[1]}")


def domains_of(dataset: str) -> dict[str, str]:
    """The places of two domains, by letter, of "a=PLACE,b=PLACE"; empty for one data set."""
    if not dataset.startswith(("a=", "b=")):
        return {}
    places = dict(part.split("=", 1) for part in re.split(r",(?=[ab]=)", dataset))
    if set(places) != {"a", "b"} or not all(places.values()):
        raise UsageError(f"--dataset: wanted two domains, --dataset a=PLACE --dataset b=PLACE; got {dataset!r}.")
    return {letter: places[letter] for letter in "ab"}


@dataclass(frozen=True)
class DataOptions:
    """The data, and what is made of it before it is stored."""

    dataset: str = option(
        "fashion-10k", "data set, or path of a folder or zip of images, of an array, of a text; a=PLACE and b=PLACE: two domains",
        metavar="NAME|PATH", several=",",
    )  # fmt: skip
    data_dir: str | None = option(None, "where downloaded data lies and goes", metavar="DIR")
    labels: str = option("", "attributes that become labels, as Male,Smiling", metavar="A,B")
    image_size: str | None = option(None, "pixels a side, or width and height as 64x48", metavar="N|WxH", parse=size_text)
    crop: str | None = option(None, "random windows of this size, cut from larger pictures", metavar="N|WxH", parse=size_text)
    pairs: Literal["", "left", "right"] = option("", "pictures side by side: which half is the source")
    labelled: int = option(0, "keep the labels of so many rows only, as many of each class; 0: of all", min=0)
    arrays: str = option("", "arrays of a file by their names there, as x=images,y=labels", metavar="KEY=NAME,...")
    vocabulary: int = option(5000, "most frequent words of a text that are known", min=3)
    length: int = option(0, "words of a text; 0: as many as the longest has, at most 32", min=0)


@dataclass(frozen=True)
class RunOptions(DataOptions):
    """The options of a run, whatever the GAN."""

    preset: str = option(QUICK, "options of the recipe: quick, minutes on two cores, or what else `ganzoo show` names", metavar="NAME")
    flip: bool = option(False, "mirror half of the images, at random")
    steps: int = option(2000, "generator iterations", min=1)
    images: int = option(0, "end earlier, when G and D have been shown so many real samples; 0: no", min=0)
    batch_size: int = option(64, "samples a batch", min=1)
    seed: int = option(0, "of everything random", min=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to train")
    precision: Literal["auto", "fp32", "tf32", "bf16"] = option(
        "auto", "of the networks' arithmetic: bf16 where the device has instructions for it; gradient penalties stay in fp32, or tf32"
    )
    sync_batchnorm: bool = option(True, "of several ranks, let BatchNorm take its statistics over the whole batch, not each over its part")
    capture: bool = option(False, "record the step as a CUDA graph, and replay that")
    ema: float = option(0.0, "decay of an average of G, which is sampled then; alone: 0.999; 0: none", min=0, max=0.999999, bare=0.999)
    log_every: int = option(10, "steps between lines of metrics.jsonl", min=1)
    sample_every: int = option(100, "steps between sample sheets", min=1)
    save_every: int = option(500, "steps between checkpoints", min=1)
    keep: int = option(3, "checkpoints that are kept, the last ones; 0: all", min=0)
    eval_every: int = option(0, "steps between evaluations; 0: none", min=0)
    metric: str = option("", "what is evaluated then, as fid,kid; by default what fits the data", metavar="A,B")
    features: str = option("", "what the metrics look at; by default what fits the data", metavar="NAME[@LAYER]")
    eval_n: int = option(2000, "samples an evaluation", min=2)
    track: str = option("", "plugins that watch the run, as tensorboard", metavar="A,B")


#: How long a run is, where it runs, and how often it reports: nothing of that changes what a step computes.
NOT_IN_FINGERPRINT = (
    "preset", "steps", "images", "device", "capture", "dataset", "data_dir", "arrays", "log_every", "sample_every", "save_every", "keep",
    "eval_every", "metric", "features", "eval_n", "track",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Everything that a run is made from, as plain JSON values.

    parts: names by kind. wrappers: names, the outermost first. options: of the parts and the data set by kind, and of the wrappers by name.
    """

    recipe: str
    parts: Mapping[str, str]
    wrappers: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    run: RunOptions

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "wrappers": list(self.wrappers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Config:
        """The configuration of a run's config.json. Raises UsageError for what cannot be one."""
        _check_shape(data)
        wrappers = tuple(data.get("wrappers", ()))
        named = (*data["parts"], *(name.rpartition("/")[2] for name in wrappers))
        if missing := [name for name in named if name not in data["options"]]:
            raise UsageError(f"config.json: the options of {missing[0]} are missing.")
        return cls(data["recipe"], data["parts"], wrappers, data["options"], options.make(RunOptions, data["run"], "--"))

    def fingerprint(self) -> str:
        """A hash of all that decides what a step computes; a run may be longer, elsewhere, and tell of itself more or less often."""
        values = self.to_json()
        for name in NOT_IN_FINGERPRINT:
            del values["run"][name]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass
class Changes:
    """What a user wants otherwise than the recipe has it.

    run: run options by name. parts: names by kind. wrappers: names; None: the recipe's. options: of parts and wrappers, by kind and name.
    """

    run: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    wrappers: tuple[str, ...] | None = None
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def preset(self) -> str:
        """The name of the preset that they start from."""
        return str(self.run.get("preset", QUICK))


def _check_shape(data: Any) -> None:
    """Raise UsageError where sections of a configuration are not what they must be; those that are absent are let pass."""
    if not isinstance(data, dict):
        raise UsageError("configuration: wanted a JSON object like a run's config.json.")
    for key in ("run", "parts", "options"):
        if not isinstance(data.get(key, {}), dict):
            raise UsageError(f"configuration: {key}: wanted an object, got {data[key]!r}.")
    wrappers = data.get("wrappers", [])
    if not isinstance(wrappers, list) or not all(isinstance(name, str) for name in wrappers):
        raise UsageError(f"configuration: wrappers: wanted a list of names, got {wrappers!r}.")
    for kind, name in {"recipe": data.get("recipe", ""), **data.get("parts", {})}.items():
        if not isinstance(name, str):
            raise UsageError(f"configuration: {kind}: wanted a name, got {name!r}.")
    for kind, values in data.get("options", {}).items():
        if not isinstance(values, dict):
            raise UsageError(f"configuration: options of the {kind}: wanted an object, got {values!r}.")


def from_file(data: Any, *names: str) -> Changes:
    """The changes in a configuration file: a whole config.json, or only what differs. names: those of the recipe that it is to be for.

    Raises UsageError for what it does not know.
    """
    _check_shape(data)
    if data.get("recipe", names[0]) not in names:
        raise UsageError(f"--config: the file is for recipe {data['recipe']!r}, not {names[0]!r}.")
    known = {"recipe", "parts", "wrappers", "options", "run"}
    for key in data.keys() - known - {"machine", "data", "plugins", "ganzoo", "exports", "created"}:
        raise UsageError(f"--config: there is no section {key!r}.{did_you_mean(key, known)}")
    wrappers = tuple(data["wrappers"]) if "wrappers" in data else None
    chosen = {kind: dict(values) for kind, values in data.get("options", {}).items()}
    return Changes(dict(data.get("run", {})), dict(data.get("parts", {})), wrappers, chosen)
