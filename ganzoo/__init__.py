"""ganzoo: a zoo of GANs in which every GAN is a plugin.

The names below are the public ones; a plugin uses these and no others. Importing ganzoo imports no torch: what needs it is
loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.hookspecs import hookimpl
from ganzoo.options import AlternatingOptions, option
from ganzoo.types import (
    API_VERSION,
    Batch,
    Check,
    DataSet,
    DataSpec,
    DegradationPart,
    Export,
    FeaturesPart,
    Field,
    LossPart,
    MediumPart,
    MetricPart,
    NetworkPart,
    Part,
    Prior,
    Recipe,
    RunInfo,
    StrategyPart,
    Terms,
    WrapperPart,
)

if TYPE_CHECKING:
    from ganzoo.api import Model, evaluate, load, resume, train
    from ganzoo.data import Batches, Files, Request, Samples, arrays_in_file, images_in_folder, images_in_zip
    from ganzoo.interfaces import Degradation, Discriminator, Generator, Loss, Network, Turn, View, Wrapper, full_precision, gradient_norms
    from ganzoo.media.medium import Medium
    from ganzoo.metrics import Accumulator, ExtractorContext, FeatureBatch, FeatureExtractor, FeatureRows, Metric, Moments
    from ganzoo.randomness import Draws, draw, draws
    from ganzoo.ranks import gather, mine, over_ranks, overall
    from ganzoo.registry.catalogue import catalogue, medium
    from ganzoo.strategy import Alternating, Builders, Strategy, set_lr, update

_LAZY = {
    name: module
    for module, names in {
        "ganzoo.api": "Model evaluate load resume train",
        "ganzoo.data": "Batches Files Request Samples arrays_in_file images_in_folder images_in_zip",
        "ganzoo.interfaces": "Degradation Discriminator Generator Loss Network Turn View Wrapper full_precision gradient_norms",
        "ganzoo.media.medium": "Medium",
        "ganzoo.metrics": "Accumulator ExtractorContext FeatureBatch FeatureExtractor FeatureRows Metric Moments",
        "ganzoo.randomness": "Draws draw draws",
        "ganzoo.ranks": "gather mine over_ranks overall",
        "ganzoo.registry.catalogue": "catalogue medium",
        "ganzoo.strategy": "Alternating Builders Strategy set_lr update",
    }.items()
    for name in names.split()
}

__all__ = [
    "API_VERSION",
    "Accumulator",
    "Alternating",
    "AlternatingOptions",
    "Batch",
    "Batches",
    "Builders",
    "Check",
    "DataSet",
    "DataSpec",
    "Degradation",
    "DegradationPart",
    "Discriminator",
    "Draws",
    "Export",
    "ExtractorContext",
    "FeatureBatch",
    "FeatureExtractor",
    "FeatureRows",
    "FeaturesPart",
    "Field",
    "Files",
    "GanzooError",
    "Generator",
    "Loss",
    "LossPart",
    "Medium",
    "MediumPart",
    "Metric",
    "MetricPart",
    "Model",
    "Moments",
    "Network",
    "NetworkPart",
    "Part",
    "Prior",
    "Recipe",
    "Request",
    "RunInfo",
    "Samples",
    "Strategy",
    "StrategyPart",
    "Terms",
    "Turn",
    "UsageError",
    "View",
    "Wrapper",
    "WrapperPart",
    "arrays_in_file",
    "catalogue",
    "did_you_mean",
    "draw",
    "draws",
    "evaluate",
    "full_precision",
    "gather",
    "gradient_norms",
    "hookimpl",
    "images_in_folder",
    "images_in_zip",
    "load",
    "medium",
    "mine",
    "option",
    "over_ranks",
    "overall",
    "resume",
    "set_lr",
    "train",
    "update",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pyganzoo")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ganzoo' has no attribute {name!r}")
