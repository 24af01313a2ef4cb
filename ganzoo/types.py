"""The records that plugins return, and the description of the data. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

API_VERSION = 1
"""The version of the plugin interface; a manifest says `GANZOO_API = 1`. It is raised only when an existing plugin would break."""

Batch: TypeAlias = "Mapping[str, Tensor]"
"""One batch: tensors by key (`x` samples, `y` labels; the glossary has all keys), each with N rows."""
Terms: TypeAlias = "dict[str, Tensor]"
"""Named 0-d tensors. Their sum is minimised; each is logged under its name."""

Kind: TypeAlias = Literal["generator", "discriminator", "loss", "strategy", "metric", "features"]
KINDS: tuple[str, ...] = ("generator", "discriminator", "loss", "strategy")
"""The parts that a recipe binds."""
JUDGES: tuple[str, ...] = ("metric", "features")
"""The parts that judge samples."""


@dataclass(frozen=True)
class Field:
    """What one key of a batch holds.

    Attributes:
        medium: the kind of data: "image" (float32 in [-1, 1]), "points" (float32, unbounded), "tokens" (int64, a text), "label" (int64, a
            class), or one that a plugin brings.
        shape: of one row: (C, H, W) of an image, (D,) of a point, (T,) of a text, () of a label.
        size: the number of classes of a label, or of words in the vocabulary of a text; 0 for media that count nothing.
        names: of the classes or words, `size` of them, or empty.
    """

    medium: str
    shape: tuple[int, ...] = ()
    size: int = 0
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"medium": self.medium, "shape": list(self.shape), "size": self.size, "names": list(self.names)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        return cls(str(data["medium"]), tuple(map(int, data["shape"])), int(data["size"]), tuple(map(str, data["names"])))


@dataclass(frozen=True)
class DataSpec:
    """The fields of the data by key, and which of them share rows; every network takes its sizes from here.

    Attributes:
        fields: by key. The keys that have a meaning to ganzoo: "x" what a generator makes, "y" its label, "source" the picture that an
            image-to-image generator is given, "mask" where a part of it is missing, "x_a" and "x_b" two domains, "x_l" and "y_l" the
            labelled few.
        sets: the keys by the name of their set. Row i of one field of a set belongs to row i of the others: they are drawn, mirrored and
            cropped together. Each set has an order of its own.
    """

    fields: Mapping[str, Field]
    sets: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, medium: str, shape: tuple[int, ...], classes: int = 0, class_names: tuple[str, ...] = ()) -> DataSpec:
        """Plain data: one set of samples "x", with labels "y" where there are classes."""
        fields = {"x": Field(medium, tuple(shape))} | ({"y": Field("label", (), classes, tuple(class_names))} if classes else {})
        return cls(fields, {"": tuple(fields)})

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a batch."""
        return tuple(self.fields)

    @property
    def x(self) -> Field:
        """The samples, "x". Raises KeyError where the data has none under that name."""
        return self.fields["x"]

    @property
    def kind(self) -> str:
        """The medium of x."""
        return self.x.medium

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample x."""
        return self.x.shape

    @property
    def classes(self) -> int:
        """The number of labels; 0 where there are none."""
        return self.fields["y"].size if "y" in self.fields else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a class, or empty."""
        return self.fields["y"].names if "y" in self.fields else ()

    @property
    def numel(self) -> int:
        """Numbers in one sample x."""
        return prod(self.shape)

    def set_of(self, key: str) -> str:
        """The name of the set that a key belongs to."""
        return next(name for name, keys in self.sets.items() if key in keys)

    def renamed(self, **names: str) -> DataSpec:
        """The data as one network knows it: renamed(source="x_a", x="x_b") calls the field x_a source, and x_b x.

        A field whose name is given away is out of sight. Raises KeyError for a field that there is not.
        """
        if unknown := set(names.values()) - self.fields.keys():
            raise KeyError(f"the data has no {min(unknown)!r}; it has {', '.join(self.fields)}")
        new = {old: name for name, old in names.items()}
        kept = [key for key in self.fields if key in new or key not in names]
        fields = {new.get(key, key): self.fields[key] for key in kept}
        sets = {name: tuple(new.get(key, key) for key in keys if key in kept) for name, keys in self.sets.items()}
        return DataSpec(fields, {name: keys for name, keys in sets.items() if keys})

    def adding(self, fields: Mapping[str, Field], beside: str) -> DataSpec:
        """With further fields, in the set of `beside`."""
        name = self.set_of(beside)
        return DataSpec({**self.fields, **fields}, {**self.sets, name: (*self.sets[name], *fields)})

    def to_json(self) -> dict[str, Any]:
        sets = {name: list(keys) for name, keys in self.sets.items()}
        return {"fields": {key: field.to_json() for key, field in self.fields.items()}, "sets": sets}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DataSpec:
        fields = {str(key): Field.from_json(field) for key, field in data["fields"].items()}
        return cls(fields, {str(name): tuple(keys) for name, keys in data["sets"].items()})


@dataclass(frozen=True)
class Part:
    """A generator, a discriminator, a loss, a strategy, a metric or a feature extractor that can be named on the command line.

    Attributes:
        kind: "generator", "discriminator", "loss", "strategy", "metric" or "features".
        name: small letters, digits and single hyphens.
        target: "package.module:Name", the class; imported when the part is built, not earlier.
        summary: a line for `ganzoo list`.
        options: a frozen dataclass whose fields are made with `option`, or None.
        gives: discriminator: the names of its outputs, in their order ("logits", "class_logits", "reconstruction", "features");
            loss: what the strategy must do with its terms beyond minimising them ("balance": weigh them, as BEGAN's are);
            features: the names of its layers, the usual one first; metric: the names of its figures.
        needs: loss: the outputs that it wants from a discriminator; it gets them in this order;
            strategy: the `gives` of the losses that it works with, exactly;
            metric: its input: "features", "logits" (of a classifying extractor), "modes" (of toy data).
        given: networks: the conditions that they take by keyword; loss: the conditions that its fakes must carry. Keys of the batch.
        keys: further keys of the batch that it needs, beside `given`: those that a strategy reads itself; "y" for a class head, or for a
            feature extractor that learns the data's labels.
        per_sample: discriminator: no output depends on another sample of the batch (there is no BatchNorm);
            loss: it needs such a discriminator (gradient penalties do).
        data: the kinds of data that it can make or judge.
        sizes: the image sizes, in pixels; empty: any.
        bf16: whether it works in bf16 arithmetic; if not, --precision bf16 is refused.
        better: metric: "lower" or "higher" by name, for each figure that can be better or worse.
        small: options, by name, of a small version for `ganzoo.testing`, used where the part is not in its own recipe.
        known_failures: rules of `ganzoo.testing` that it does not keep, each with the reason.
    """

    kind: Kind
    name: str
    target: str
    summary: str = ""
    options: type | None = None
    gives: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    per_sample: bool = False
    data: tuple[str, ...] = ("image", "points")
    sizes: tuple[int, ...] = ()
    bf16: bool = True
    better: Mapping[str, str] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    known_failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MediumPart:
    """A kind of data.

    Attributes:
        name: what `Field.medium` says.
        target: "package.module:Name", a class that implements `ganzoo.Medium`.
        summary: a line for `ganzoo list --kind medium`.
        known_failures: rules of `ganzoo.testing` that it does not keep, each with the reason.
    """

    name: str
    target: str
    summary: str = ""
    known_failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A GAN by name: four parts and the defaults that its paper, or our measurement, gives them.

    Attributes:
        name: what the command line calls it.
        title: its name in words.
        generator: the name of a generator, from this plugin or another.
        discriminator: the name of a discriminator.
        loss: the name of a loss.
        strategy: the name of a strategy.
        summary: a line about the idea.
        paper: "arXiv:1406.2661", or a URL.
        year: of the paper.
        keys: the keys of the batch that it reads, beside those that its parts ask for.
        defaults: "steps", "batch_size", ... for the run and "strategy.n_critic", ... for the options of the parts. The value "steps"
            stands for the number of steps that the run has: for the length of a schedule.
        results: what was measured with this recipe, one line a figure, each with its protocol.
        min_batch: the smallest batch that it can be trained with; 2 where BatchNorm sees one number a sample.
        small: options, named as in `defaults` and replacing them, of a version that learns simple images of 16 pixels, or points, within
            seconds on a processor: the one that `ganzoo.testing` trains.
        known_failures: rules of `ganzoo.testing` that it does not keep, each with the reason.
    """

    name: str
    title: str
    generator: str
    discriminator: str
    loss: str
    strategy: str
    summary: str = ""
    paper: str = ""
    year: int | None = None
    keys: tuple[str, ...] = ("x",)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[str, ...] = ()
    min_batch: int = 1
    small: Mapping[str, Any] = field(default_factory=dict)
    known_failures: Mapping[str, str] = field(default_factory=dict)

    def part(self, kind: str) -> str:
        """The name of its part of that kind."""
        return str(getattr(self, kind))


@dataclass(frozen=True)
class DataSet:
    """A data set by name.

    Attributes:
        name: what the command line calls it.
        target: "package.module:function"; the function takes a `ganzoo.Request` and returns `ganzoo.Samples`.
        title: its name in words.
        summary: a line for `ganzoo list --kind dataset`.
        kind: the medium of its samples, "image", "points", ...
        keys: the keys of its batches; ("x", "y") where it always has labels.
        classes: the number of classes; 0: none, or it depends.
        image_size: the usual image size in pixels; None: that of the images.
        attributes: whether it takes `--labels`.
        test: the data set with held-out samples of the same source, for `--against test`.
        modes: of a toy: the centres of its modes, and
        sigma: their standard deviation.
        licence: under which it may be used.
        source: where it comes from.
        known_failures: rules of `ganzoo.testing` that it does not keep, each with the reason.
    """

    name: str
    target: str
    title: str
    summary: str = ""
    kind: str = "image"
    keys: tuple[str, ...] = ("x",)
    classes: int = 0
    image_size: int | None = None
    attributes: bool = False
    test: str = ""
    modes: tuple[tuple[float, ...], ...] = ()
    sigma: float = 0.0
    licence: str = ""
    source: str = ""
    known_failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunInfo:
    """The run that a hook is called for.

    Attributes:
        folder: the run folder.
        config: the content of its config.json.
        spec: of the data.
        step: the number of the first step in this process.
    """

    folder: Path
    config: Mapping[str, Any]
    spec: DataSpec
    step: int = 0


Record: TypeAlias = Part | MediumPart | Recipe | DataSet
