"""Rules for data sets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ganzoo import compose
from ganzoo.config import Changes, DataOptions
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
    """Prepared, the data has the record's fields, every class occurs, and its rows are not all the same."""
    record: DataSet = case.record
    prepared = _prepared(case)
    fields = prepared.spec.fields
    assert tuple(fields) == tuple(record.fields), f"it has {', '.join(fields)}; its record says {', '.join(record.fields)}"
    for key, declared in record.fields.items():
        got = fields[key]
        assert got.medium == declared.medium, f"{key} is {got.medium}; its record says {declared.medium}"
        assert declared.size in (0, got.size), f"{key} has {got.size} classes or words; its record says {declared.size}"
        assert declared.shape in ((), got.shape), f"{key} has the shape {got.shape}; its record says {declared.shape}"
    assert min(prepared.counts.values()) > 1, "it has less than two rows"
    for key, rows in prepared.load().items():
        assert (rows != rows[:1]).any(), f"all rows of {key} are the same"
        if medium(fields[key].medium).made_up(0, fields[key]) is not None:
            empty = set(range(fields[key].size)) - set(rows.tolist())
            assert not empty, f"classes {sorted(empty)} of {key} have no row"


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

    pictures = any(medium(field.medium).pictures for field in case.record.fields.values())
    prepared = _prepared(case, image_size="16") if pictures else _prepared(case)
    for entry in case.zoo.entries("recipe"):
        assert isinstance(entry.record, Recipe)
        run = {"dataset": case.name, "device": "cpu", "batch_size": max(BATCH, entry.record.min_batch)}
        resolved = compose.resolve(case.zoo, entry.name, Changes(run))
        try:
            resolved.check(prepared.spec)
        except UsageError:  # it takes other data
            continue
        for terms in steps(Session.of(resolved, prepared), 2):
            scalars(terms)
        return
    raise AssertionError(f"no recipe that is installed takes such data: {', '.join(prepared.spec.fields)}")
