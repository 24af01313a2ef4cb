"""Data: the tools of a data set's author, the cache of prepared data, and the batches for training.

Importing this package imports neither torch nor numpy nor PIL: a name brings its module when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo.data.batches import Batches
    from ganzoo.data.cache import cache_dir
    from ganzoo.data.prepared import Prepared, prepare
    from ganzoo.data.samples import Files, Request, Samples
    from ganzoo.data.sources import arrays_in_file, images_in_folder, images_in_zip, only_pictures, samples_at, splits_at

_LAZY = {
    "Batches": "batches",
    "Files": "samples",
    "Prepared": "prepared",
    "Request": "samples",
    "Samples": "samples",
    "arrays_in_file": "sources",
    "cache_dir": "cache",
    "images_in_folder": "sources",
    "images_in_zip": "sources",
    "only_pictures": "sources",
    "prepare": "prepared",
    "samples_at": "sources",
    "splits_at": "sources",
}

__all__ = [
    "Batches",
    "Files",
    "Prepared",
    "Request",
    "Samples",
    "arrays_in_file",
    "cache_dir",
    "images_in_folder",
    "images_in_zip",
    "only_pictures",
    "prepare",
    "samples_at",
    "splits_at",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"ganzoo.data.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'ganzoo.data' has no attribute {name!r}")
