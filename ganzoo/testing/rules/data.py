"""Rules for data sets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ganzoo import compose
from ganzoo.config import DataOptions
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import medium
from ganzoo.testing.case import BATCH, Case, Skip, rule, scalars, steps
from ganzoo.types import DataSet, Recipe

if TYPE_CHECKING:
    from ganzoo.data import Prepared


def _prepared(case: Case, cache: str = "cache", **more: Any) -> Prepared:
    """The data set prepared from nothing but what lies on this machine. Skips where it would have to be downloaded."""
    import socket

    from ganzoo.data import prepare

    record: DataSet = case.record
    connect = socket.socket.connect

    def refuse(*args: Any) -> None:
        raise OSError("the conformance kit downloads nothing")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    where = os.environ.get("GANZOO_DATA")
    os.environ["GANZOO_CACHE"] = str(case.folder / cache)  # put back by the one who runs the rule
    try:
        return prepare(DataOptions(record.name, data_dir=where or str(case.folder / "downloads"), **more), record)
    except (GanzooError, OSError) as e:
        if isinstance(e, UsageError) or "download" in str(e):
            raise Skip(f"its data is not at hand, GANZOO_DATA may name the folder: {str(e).partition('. ')[0]}") from e
        raise
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]


@rule("dataset", may_skip=True)
def data_is_what_the_record_says(case: Case) -> None:
    """Prepared, the data has the record's kind, keys and number of classes, every class occurs, and its samples are not all the same."""
    record: DataSet = case.record
    prepared = _prepared(case)
    assert prepared.spec.kind == record.kind, f"it is {prepared.spec.kind}; its record says {record.kind}"
    assert prepared.spec.keys == record.keys, f"it has the keys {prepared.spec.keys}; its record says {record.keys}"
    if record.classes:
        assert prepared.spec.classes == record.classes, f"it has {prepared.spec.classes} classes; its record says {record.classes}"
    data = prepared.load()
    assert prepared.count > 1, "it has less than two samples"
    assert (data["x"] != data["x"][:1]).any(), "all of its samples are the same"
    if "y" in data:
        empty = set(range(prepared.spec.classes)) - set(data["y"].tolist())
        assert not empty, f"classes {sorted(empty)} have no sample"


@rule("dataset", may_skip=True)
def data_is_the_same_twice(case: Case) -> None:
    """Prepared again, from nothing, it is the same, bit for bit, so that a run can be resumed on another day."""
    first, again = _prepared(case), _prepared(case, "another-cache")
    assert first.path.name == again.path.name, "its fingerprint changes from one time to the next"
    assert first.checksum == again.checksum, "its samples change from one time to the next"


@rule("dataset", may_skip=True)
def a_gan_trains_on_it(case: Case) -> None:
    """A GAN that is installed and takes such data takes two steps on it."""
    from ganzoo.training.session import Session

    prepared = _prepared(case, image_size="16") if medium(case.record.kind).pictures else _prepared(case)
    for entry in case.zoo.entries("recipe"):
        assert isinstance(entry.record, Recipe)
        run = {"dataset": case.name, "device": "cpu", "batch_size": max(BATCH, entry.record.min_batch)}
        resolved = compose.resolve(case.zoo, entry.name, run, {}, {})
        try:
            resolved.check(prepared.spec)
        except UsageError:  # it takes other data
            continue
        for terms in steps(Session.of(resolved, prepared), 2):
            scalars(terms)
        return
    raise AssertionError(f"no recipe that is installed takes {prepared.spec.kind} data of the shape {prepared.spec.shape}")
