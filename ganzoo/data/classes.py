"""The classes of images: from their folders, from StyleGAN's dataset.json, from a table beside them. Standard library only."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ganzoo.errors import UsageError

#: Names of folders that are splits, in small letters; of those that hold something out the first one that there is is taken.
TRAIN, HELD_OUT = ("train", "training"), ("test", "testing", "val", "valid", "validation")
#: Names of folders with pictures, beside folders that say something about them.
PICTURES = frozenset({"images", "image", "imgs", "img", "photos", "jpegimages"})
ABOUT = frozenset({"masks", "mask", "annotations", "labels", "label", "segmentations", "segmentation", "labelids", "depth"})
#: What a table calls the column of the labels.
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "y")
STYLEGAN = "dataset.json"
MAX_TABLE_BYTES = 64 * 1024**2
FEW = 3  # images that may be left out, or one in a hundred
SHARD_DIGITS = 4  # of the name of a shard, at least


@dataclass(frozen=True)
class Classes:
    """The classes of images.

    labels: by the name of an image, an index; None: there are none. names: of the classes. left_out: images that are not to be taken at
    all. notes: what the user should know.
    """

    labels: Mapping[str, int] | None = None
    names: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def in_order(names: Sequence[str]) -> list[str]:
    """Names of classes in their order: as numbers where all are numbers, else as texts."""
    if names and all(name.isascii() and name.isdecimal() and len(name) < 19 for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def some(names: Sequence[str], n: int = 5) -> str:
    """The first few of some names."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def classes_of_images(names: Sequence[str], beside: Sequence[str], read: Callable[[str], bytes], empty: Sequence[str] = ()) -> Classes:
    """The classes of images by what lies beside them.

    StyleGAN's dataset.json comes first, then a table with a column of file names and one of labels, then the folders.

    Args:
        names: of the images, with "/" between folders.
        beside: the names of all other files.
        read: gives the content of such a file.
        empty: first-level folders without an image.

    Raises UsageError for a dataset.json that cannot be understood.
    """
    top = top_of(names)
    inside = {name: name.removeprefix(top) for name in names}
    if f"{top}{STYLEGAN}" in beside:
        return _of_stylegan(inside, read(f"{top}{STYLEGAN}"))
    notes: list[str] = []
    for table in sorted(name for name in beside if name.startswith(top) and PurePosixPath(name).suffix.lower() in (".csv", ".tsv")):
        if "/" in table.removeprefix(top):
            continue
        found, why = _of_table(inside, table, read)
        if found is not None:
            return found
        notes.append(f"no labels are taken from {table}: {why}")
    found = _of_folders(inside, empty)
    return Classes(found.labels, found.names, found.left_out, (*found.notes, *notes))


def top_of(names: Sequence[str]) -> str:
    """The folders that hold everything, as "photos/", or ""; a zip may call them "..", and such are left in."""
    parts = [name.split("/")[:-1] for name in names]
    common: list[str] = []
    for folders in zip(*parts, strict=False):
        if len(set(folders)) > 1:
            break
        common.append(folders[0])
    return "".join(f"{folder}/" for folder in common)


# --- Folders ---


def _of_folders(inside: Mapping[str, str], empty: Sequence[str]) -> Classes:
    first = {name: short.partition("/")[0] if "/" in short else "" for name, short in inside.items()}
    loose = sorted(name for name, folder in first.items() if not folder)
    counts = Counter(folder for folder in first.values() if folder)
    folders, lower = in_order(list(counts)), {folder.lower(): folder for folder in counts}
    if not counts:
        return Classes()
    if "" in {part for name in inside.values() for part in name.split("/")} or ".." in counts:
        return Classes()  # a zip may call its members anything; these are no names of classes
    about, pictures = [lower[f] for f in lower if f in ABOUT], [lower[f] for f in lower if f in PICTURES]
    if about and pictures:
        left = frozenset(name for name, folder in first.items() if folder not in pictures)
        return Classes(left_out=left, notes=(f"the images in {some(pictures)} are taken, without labels; {some(about)} is not read",))
    if lower.keys() <= {*TRAIN, *HELD_OUT}:
        return Classes(notes=(f"{some(folders)} are names of splits and no classes: no labels are taken",))
    if _are_shards(folders, counts):
        note = f"{some(folders)} are equally full and numbered: they are taken for parts of one set and not for classes"
        return Classes(notes=(f"{note}. Give classes names, or list the labels in {STYLEGAN} or a .csv",))
    if len(folders) == 1 and loose:
        return Classes(notes=(f"no labels are taken: there is one folder, {folders[0]}, beside {some(loose)}",))
    notes = []
    if len(loose) > max(FEW, len(inside) // 100):
        return Classes(notes=(f"no labels are taken from the folders {some(folders)}: {len(loose)} images lie beside them, as {loose[0]}",))
    if loose:
        notes.append(f"left out, because it lies beside the folders that are the classes: {some(loose)}")
    if empty:
        notes.append(f"no class, because there is no image in it: {some(in_order(list(empty)))}")
    index = {folder: i for i, folder in enumerate(folders)}
    return Classes({n: index[f] for n, f in first.items() if f}, tuple(folders), frozenset(loose), tuple(notes))


def _are_shards(folders: Sequence[str], counts: Mapping[str, int]) -> bool:
    """Whether folders, in their order, are numbered and equally full, all but the last: 00000/, 00001/, as StyleGAN and FFHQ have them."""
    if len(folders) < 2 or len({len(f) for f in folders}) > 1 or len(folders[0]) < SHARD_DIGITS or not all(map(str.isdecimal, folders)):
        return False
    full = counts[folders[0]]
    return all(counts[folder] == full for folder in folders[:-1]) and counts[folders[-1]] <= full


# --- StyleGAN's dataset.json ---


def _of_stylegan(inside: Mapping[str, str], content: bytes) -> Classes:
    """{"labels": [["00000/img00000000.png", 6], ...]}, or null; a label is a number, or a vector of which one entry is 1."""
    try:
        rows = json.loads(content)["labels"]
        given = {str(name).replace("\\", "/"): _stylegan_label(label) for name, label in rows or []}
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as e:
        form = f'{STYLEGAN}: wanted {{"labels": [["00000/img.png", 3], ...]}}, each label a whole number'
        raise UsageError(f"{form}, or null; it cannot be read: {e}.") from e
    if not given:
        return Classes(notes=(f"{STYLEGAN} has no labels",))
    values = sorted(set(given.values()))
    return _labelled(inside, {name: str(value) for name, value in given.items()}, [str(value) for value in values], STYLEGAN)


def _stylegan_label(label: Any) -> int:
    if isinstance(label, list):
        if sorted(label) != [*[0] * (len(label) - 1), 1]:
            raise ValueError(f"{str(label)[:60]} is not one class")
        return label.index(1)
    if isinstance(label, bool) or int(label) != label:
        raise ValueError(f"{str(label)[:60]} is not a whole number")
    return int(label)


def _labelled(inside: Mapping[str, str], given: Mapping[str, str], classes: Sequence[str], source: str) -> Classes:
    """Classes by the names that `given` has; images that it does not name are left out, and told of."""
    there = set(inside.values())
    used = {label for short, label in given.items() if short in there}
    names = [name for name in classes if name in used]
    index = {name: i for i, name in enumerate(names)}
    labels = {name: index[given[short]] for name, short in inside.items() if short in given}
    left = sorted(inside.keys() - labels.keys())
    if not labels:
        return Classes(notes=(f"{source} names none of the images: no labels are taken",))
    notes = [f"labels are those of {source}"]
    if left:
        notes.append(f"{len(left)} images that it does not name are left out: {some(left)}")
    if gone := len(given.keys() - there):
        notes.append(f"{gone} images that it names are not there")
    return Classes(labels, tuple(names), frozenset(left), ("; ".join(notes),))


# --- A table ---


def _of_table(inside: Mapping[str, str], table: str, read: Callable[[str], bytes]) -> tuple[Classes | None, str]:
    """The classes in a table with a header, one column of which names images; or why there are none."""
    content = read(table)
    if len(content) > MAX_TABLE_BYTES:
        return None, f"it is larger than {MAX_TABLE_BYTES // 1024**2} MB"
    try:
        text = content.decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except (ValueError, csv.Error) as e:
        return None, f"it is no table with a header ({e})"
    rows = [row for row in rows if len(row) == len(header)]
    known: dict[str, str] = {}
    for short in inside.values():  # a table may name files with their folder, without it, or without the ending
        for key in (PurePosixPath(short).stem, PurePosixPath(short).name, short):
            known[key] = "" if known.get(key, short) != short else short
    few = rows[:1000]  # they tell which column it is
    hits = [sum(1 for row in few if known.get(row[i].strip().replace("\\", "/"))) for i in range(len(header))]
    if not few or max(hits) < max(1, len(few) // 2):
        return None, "none of its columns has the names of these images"
    file = hits.index(max(hits))
    others = [i for i in range(len(header)) if i != file]
    columns = [i for name in LABEL_COLUMNS for i in others if header[i].strip().lower() == name] or (others if len(others) == 1 else [])
    if not columns:
        return None, f"none of its columns is called {' or '.join(LABEL_COLUMNS)}; it has {some([header[i] for i in others], 10)}"
    given = {known[n]: row[columns[0]].strip() for row in rows if known.get(n := row[file].strip().replace("\\", "/"))}
    given = {short: label for short, label in given.items() if label}
    classes = in_order(list(set(given.values())))
    if len(classes) > max(2, len(given) // 2):
        return None, f"its column {header[columns[0]]!r} has {len(classes)} different values for {len(given)} images"
    if len(classes) < 2:
        return None, f"its column {header[columns[0]]!r} has one value only"
    return _labelled(inside, given, classes, f"{table}, column {header[columns[0]]!r}"), ""
