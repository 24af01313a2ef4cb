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

KINDS: tuple[str, ...] = ("generator", "discriminator", "loss", "strategy")
"""The parts that every recipe binds, by their kind. A recipe may bind further networks, by roles of their own."""
JUDGES: tuple[str, ...] = ("metric", "features")
"""The parts that judge samples."""
END = "<end>"
"""The first word of a vocabulary of texts of different lengths: what stands after their last word."""
QUICK = "quick"
"""The preset of a recipe that is taken where the user names none: minutes on two processor cores."""


@dataclass(frozen=True)
class Field:
    """What one key of a batch holds.

    Attributes:
        medium: the kind of data: "image" (float32 in [-1, 1]), "points" (float32, unbounded), "tokens" (int64, a text), "label" (int64, a
            class), or one that a plugin brings.
        shape: of one row: (C, H, W) of an image, (D,) of a point, (T,) of a text, () of a label.
        size: the number of classes of a label, or of words in the vocabulary of a text; 0 for media that count nothing.
        names: of the classes or words, `size` of them, or empty.
        peak: of pictures that come from 16-bit files with small values: the value that is white; 0: their upper 8 bits are taken.
    """

    medium: str
    shape: tuple[int, ...] = ()
    size: int = 0
    names: tuple[str, ...] = ()
    peak: int = 0

    @property
    def numel(self) -> int:
        """Numbers in one row."""
        return prod(self.shape)

    @property
    def ends(self) -> bool:
        """Of texts: whether 0 stands for their end, which fills up shorter ones. Where the first word is called something else, it does
        not: all texts are of one length then."""
        return not self.names or self.names[0] == END

    def to_json(self) -> dict[str, Any]:
        told = {"medium": self.medium, "shape": list(self.shape), "size": self.size, "names": list(self.names)}
        return told | ({"peak": self.peak} if self.peak else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        shape, names = tuple(map(int, data["shape"])), tuple(map(str, data["names"]))
        return cls(str(data["medium"]), shape, int(data["size"]), names, int(data.get("peak", 0)))


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
        return self.x.numel

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
class Prior:
    """What one row of a latent is, as data, so that ganzoo can draw it: for a batch, for a sheet, ahead of time.

    Attributes:
        law: "normal": N(0, 1); "uniform": in [-1, 1]; "unit": uniform in [0, 1); "index": whole numbers below `size`, int64; "onehot": the
            same, one-hot, float32.
        shape: of one row; of "onehot", without the last axis, which has `size` entries.
        size: of "index" and "onehot".
    """

    law: Literal["normal", "uniform", "unit", "onehot", "index"]
    shape: tuple[int, ...] = ()
    size: int = 0


@dataclass(frozen=True)
class Export:
    """A product of a run: a network, what it is called with, and what it gives.

    Attributes:
        network: the network's attribute in the strategy: "G", "G_ab", "D".
        takes: by parameter of the network, the latent or the field of the data that it is called with: {"source": "x_a"}; a tuple where
            the names are the same.
        gives: the field of the data that it makes, by its key; or a field of its own: Field("label", size=2, names=("spam", "mail")).
        output: which of the network's outputs; "": the first.
        average: whether `--ema` averages it.
    """

    network: str
    takes: Mapping[str, str] | tuple[str, ...] = ("z",)
    gives: str | Field = "x"
    output: str = ""
    average: bool = True

    @property
    def names(self) -> dict[str, str]:
        """`takes` as a dict."""
        return dict(self.takes) if isinstance(self.takes, Mapping) else {name: name for name in self.takes}


@dataclass(frozen=True)
class Check:
    """What `ganzoo.testing` is told of a record.

    Attributes:
        small: options by name of a small version, used where a part is not in its own recipe; of a recipe, named as in its presets and in
            addition to "quick": a version that learns simple images of 16 pixels, or points, within seconds on a processor.
        known_failures: rules that it does not keep, each with the reason.
    """

    small: Mapping[str, Any] = field(default_factory=dict)
    known_failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What all parts say.

    Attributes:
        name: small letters, digits and single hyphens.
        target: "package.module:Name", the class; imported when the part is built, not earlier.
        summary: a line for `ganzoo list`.
        options: a frozen dataclass whose fields are made with `option`, or None.
        captures: whether a step with it can be recorded and replayed (`--capture`): what changes with t comes from `schedule` or is told
            by `variant`.
        check: for `ganzoo.testing`.
    """

    name: str
    target: str
    summary: str = ""
    options: type | None = None
    captures: bool = field(default=True, kw_only=True)
    check: Check = field(default=Check(), kw_only=True)

    @property
    def kind(self) -> str:
        """What `--kind` calls it."""
        return type(self).__name__.removesuffix("Part").lower()


@dataclass(frozen=True, kw_only=True)
class NetworkPart(Part):
    """A generator, a discriminator, or a network in a role of its own.

    Attributes:
        role: "generator", "discriminator", or a name of its own, as "encoder". It is the part's kind: `--encoder NAME` exchanges it.
        latents: the parameters that are drawn; `Network.latents` says from which priors.
        takes: the parameters that are fields of the data, as this network knows it: "x", "y", "source", ...
        may_take: fields that it may be called with as well, beside its parameters or alone: a generator of texts that also reads them.
        needs: further fields that the data must have, though it is not called with them: "y" where it has an output a class.
        gives: its outputs, in their order: of a generator fields ("x"), and perhaps "log_likelihood", (N, ...), how probable each part of x
            was; of a discriminator "logits", "class_logits", "reconstruction", "features".
        media: what its fields may hold, those that are labels aside.
        sizes: the picture sizes, in pixels; empty: any.
        multiple: it takes pictures of other sizes than it was trained with, if height and width are multiples of this; 0: it does not.
        per_sample: no output depends on another sample of the batch (there is no BatchNorm).
        bf16: whether it works in bf16 arithmetic; if not, --precision bf16 is refused.
    """

    role: str
    latents: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    may_take: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    media: tuple[str, ...] = ("image",)
    sizes: tuple[int, ...] = ()
    multiple: int = 0
    per_sample: bool = False
    bf16: bool = True

    @property
    def kind(self) -> str:
        return self.role

    @property
    def parameters(self) -> tuple[str, ...]:
        """All that it is called with, by keyword."""
        return (*self.latents, *self.takes)


@dataclass(frozen=True, kw_only=True)
class LossPart(Part):
    """A loss.

    Attributes:
        needs: the outputs that it wants from a discriminator; it gets them in this order.
        given: the fields of the batch and the latents that it is called with, beside the samples; what the strategy brings for G alone, as
            rewards, in G's turn.
        per_sample: it needs a discriminator whose outputs do not depend on other samples of the batch (gradient penalties do).
        anchored: real samples have logits above 0 and fake ones below; False where only differences count, as Wasserstein's.
        weighed_by: what a strategy must do with its terms beyond minimising them ("balance": weigh them, as BEGAN's are); "": nothing.
        bf16: as of a network.
    """

    needs: tuple[str, ...] = ("logits",)
    given: tuple[str, ...] = ()
    per_sample: bool = False
    anchored: bool = True
    weighed_by: str = ""
    bf16: bool = True


@dataclass(frozen=True, kw_only=True)
class StrategyPart(Part):
    """A training strategy.

    Attributes:
        roles: the networks that it builds, by role.
        reads: the fields that it takes from a batch itself, the main one first. A strategy that reads no "x" calls its networks with other
            fields than they name, so the data needs only what is read. One that reads "y_l" builds what `needs` a "y" with that as its y.
        brings: the latents that it draws itself and passes to the loss.
        weighs: what it does with the terms of a loss: the `weighed_by` of those that it works with.
        bf16: as of a network.
    """

    roles: tuple[str, ...] = ("generator", "discriminator")
    reads: tuple[str, ...] = ("x",)
    brings: tuple[str, ...] = ()
    weighs: str = ""
    bf16: bool = True


@dataclass(frozen=True, kw_only=True)
class WrapperPart(Part):
    """What stands around each discriminator: an augmentation, a regulariser.

    Attributes:
        needs: "logits": a discriminator that gives them; "real", "fake": losses that judge real and fake samples by themselves.
        per_sample: it needs a discriminator whose outputs do not depend on other samples of the batch.
        media: what it works on.
        bf16: as of a network.
    """

    needs: tuple[str, ...] = ()
    per_sample: bool = False
    media: tuple[str, ...] = ("image",)
    bf16: bool = True


@dataclass(frozen=True, kw_only=True)
class DegradationPart(Part):
    """What makes "source" from "x".

    Attributes:
        gives: the fields that it makes: "source", perhaps "mask".
        media: what it works on.
    """

    gives: tuple[str, ...] = ("source",)
    media: tuple[str, ...] = ("image",)


@dataclass(frozen=True, kw_only=True)
class MetricPart(Part):
    """A metric.

    Attributes:
        figures: by name, whether "lower" or "higher" is better, or "".
        looks_at: its input: "features", "logits" (of a classifying extractor), "modes" (of toy data), "truth" (what the data has, row by
            row, for each output), "groups" (the same, where outputs may be classes that a network has found itself), "inputs", "outputs",
            "likelihood" (real samples, with how probable the generator finds them).
        media: what it judges; empty: any kind of data, as where it looks at features alone.
    """

    figures: Mapping[str, str]
    looks_at: tuple[str, ...] = ("features",)
    media: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FeaturesPart(Part):
    """A feature extractor.

    Attributes:
        layers: their names, the usual one first.
        reads: further fields that it needs: "y" where it learns the data's labels.
        media: what it looks at; empty: any kind of data.
    """

    layers: tuple[str, ...]
    reads: tuple[str, ...] = ()
    media: tuple[str, ...] = ("image",)


@dataclass(frozen=True, kw_only=True)
class MediumPart(Part):
    """A kind of data; `name` is what `Field.medium` says. Its class implements `ganzoo.Medium`.

    Attributes:
        dataset: the data set of this kind that is taken where the user names none.
    """

    dataset: str = ""


@dataclass(frozen=True)
class Recipe:
    """A GAN by name: its parts, and the options that its paper, or our measurement, gives them.

    Attributes:
        name: what the command line calls it.
        title: its name in words.
        parts: the names of its parts by kind: {"generator": "dcgan", "discriminator": "dcgan", "loss": ..., "strategy": ...}, from this
            plugin or another.
        wrappers: the names of wrappers around its discriminators, the outermost first.
        degradation: the name of what makes "source" from "x"; "": none.
        presets: options by the preset's name: "steps", "batch_size", ... for the run, "strategy.n_critic", ... for the parts,
            "ada.target", ... for wrappers; "discriminator", ... for another part in the place of the recipe's own. "quick", the usual one,
            takes minutes on two cores; "paper" is what the paper did. The value "steps" stands for the number of steps that the run has:
            for the length of a schedule.
        summary: a line about the idea.
        paper: "arXiv:1406.2661", or a URL.
        year: of the paper.
        paper_title: of the paper, and
        authors: each as "Ian Goodfellow", for those who cite it.
        results: what was measured with this recipe, one line a figure, each with its protocol.
        min_batch: the smallest batch that it can be trained with; 2 where BatchNorm sees one number a sample.
        check: for `ganzoo.testing`.
    """

    name: str
    title: str
    parts: Mapping[str, str]
    wrappers: tuple[str, ...] = ()
    degradation: str = ""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    summary: str = ""
    paper: str = ""
    year: int | None = None
    paper_title: str = ""
    authors: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    min_batch: int = 1
    check: Check = field(default=Check(), kw_only=True)

    @property
    def kind(self) -> str:
        return "recipe"

    def parts_in(self, preset: str = QUICK) -> dict[str, str]:
        """The names of its parts by kind as a preset has them, with the degradation if there is one."""
        own = {**self.parts, **({"degradation": self.degradation} if self.degradation else {})}
        return own | {kind: name for kind, name in self.presets.get(preset, {}).items() if kind in own}


@dataclass(frozen=True)
class DataSet:
    """A data set by name.

    Attributes:
        name: what the command line calls it.
        target: "package.module:function"; the function takes a `ganzoo.Request` and returns `ganzoo.Samples`.
        title: its name in words.
        fields: by key, as far as they are known before it is prepared; shapes may be left open.
        summary: a line for `ganzoo list --kind dataset`.
        options: of its own, a frozen dataclass whose fields are made with `option`: `--dataset.NAME`; they reach it as `Request.options`.
        image_size: the usual image size in pixels; None: that of the images.
        attributes: whether it takes `--labels`.
        test: the data set with held-out samples of the same source, for `--against test`.
        modes: of a toy: the centres of its modes, and
        sigma: their standard deviation.
        licence: under which it may be used.
        source: where it comes from.
        check: for `ganzoo.testing`.
    """

    name: str
    target: str
    title: str
    fields: Mapping[str, Field] = field(default_factory=lambda: {"x": Field("image")})
    summary: str = ""
    options: type | None = None
    image_size: int | None = None
    attributes: bool = False
    test: str = ""
    modes: tuple[tuple[float, ...], ...] = ()
    sigma: float = 0.0
    licence: str = ""
    source: str = ""
    check: Check = field(default=Check(), kw_only=True)

    @property
    def kind(self) -> str:
        return "dataset"


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


Record: TypeAlias = Part | Recipe | DataSet
