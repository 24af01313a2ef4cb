"""ganzoo: a zoo of GANs in which every GAN is a plugin.

The names below are the public ones; a plugin uses these and no others. Importing ganzoo imports no torch: what needs it is
loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.hookspecs import hookimpl
from ganzoo.options import option
from ganzoo.types import API_VERSION, Batch, DataSet, DataSpec, Field, MediumPart, Part, Recipe, RunInfo, Terms

if TYPE_CHECKING:
    from ganzoo.data import Batches, Files, Request, Samples, arrays_in_file, images_in_folder, images_in_zip
    from ganzoo.interfaces import (
        Builders,
        Discriminator,
        Generator,
        Loss,
        Strategy,
        View,
        full_precision,
        gradient_norms,
        set_lr,
        update,
    )
    from ganzoo.media.medium import Medium
    from ganzoo.metrics import Accumulator, ExtractorContext, FeatureBatch, FeatureExtractor, FeatureRows, Metric, Moments
    from ganzoo.registry.catalogue import medium

_LAZY = {
    "Medium": "ganzoo.media.medium",
    "medium": "ganzoo.registry.catalogue",
    **dict.fromkeys(("Batches", "Files", "Request", "Samples", "arrays_in_file", "images_in_folder", "images_in_zip"), "ganzoo.data"),
    **dict.fromkeys(
        ("Builders", "Discriminator", "Generator", "Loss", "Strategy", "View", "full_precision", "gradient_norms", "set_lr", "update"),
        "ganzoo.interfaces",
    ),
    **dict.fromkeys(
        ("Accumulator", "ExtractorContext", "FeatureBatch", "FeatureExtractor", "FeatureRows", "Metric", "Moments"), "ganzoo.metrics"
    ),
}

__all__ = [
    "API_VERSION",
    "Accumulator",
    "Batch",
    "Batches",
    "Builders",
    "DataSet",
    "DataSpec",
    "Discriminator",
    "ExtractorContext",
    "FeatureBatch",
    "FeatureExtractor",
    "FeatureRows",
    "Field",
    "Files",
    "GanzooError",
    "Generator",
    "Loss",
    "Medium",
    "MediumPart",
    "Metric",
    "Moments",
    "Part",
    "Recipe",
    "Request",
    "RunInfo",
    "Samples",
    "Strategy",
    "Terms",
    "UsageError",
    "View",
    "arrays_in_file",
    "did_you_mean",
    "full_precision",
    "gradient_norms",
    "hookimpl",
    "images_in_folder",
    "images_in_zip",
    "medium",
    "option",
    "set_lr",
    "update",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pyganzoo")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ganzoo' has no attribute {name!r}")
