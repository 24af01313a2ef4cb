"""CelebA (Liu et al. 2015), as people have it: the official folder, the official zip, or just images.

The crop is the one of the DCGAN examples and of mimicry: the centre square of the aligned image, 178 x 178 of 178 x 218, at
64 pixels; half-size copies (89 x 109) give the same picture.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ganzoo import GanzooError, Request, Samples, UsageError, images_in_folder, images_in_zip
from ganzoo_datasets.download import fetch, found

IMAGES = "img_align_celeba"
ARCHIVE = "img_align_celeba.zip"
ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
SUFFIXES = {".jpg", ".jpeg", ".png"}
SOURCE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
MAX_ATTRIBUTES = 8


def celeba(request: Request) -> Samples:
    """Looked for in the data folder and in `celeba` there: `img_align_celeba/`, `img_align_celeba.zip`, or images.

    --labels: the class is the combination of the attributes, from `list_attr_celeba.txt` or Kaggle's `.csv` beside them; images
    are matched with it by their names.
    """
    homes = [request.data_dir / "celeba", request.data_dir]
    path = next(_candidates(homes), None) or _fetch(ARCHIVE, homes[0])
    samples = images_in_zip(path) if path.is_file() else images_in_folder(path)
    if not request.labels:
        # whatever folders the images are in, they are no classes
        return Samples(samples.fingerprint, samples.names, samples.read, note=samples.note, close=samples.close)
    try:
        beside = [path.parent, *homes] if path.name in (IMAGES, ARCHIVE) else [path, path.parent]
        listed = next((file for name in ATTRIBUTES if (file := found(name, beside))), None) or _fetch(ATTRIBUTES[0], beside[0])
        classes, class_names = _classes(listed, request.labels)
        by_name = {name: classes[stem] for name in samples.names if (stem := PurePosixPath(name).stem) in classes}
        left_out = len(samples.names) - len(by_name)
        note = f"{left_out} images are left out: they have no row in {listed.name}" if left_out else ""
        status = listed.stat()
        return samples.labelled(by_name, class_names, f"{status.st_size} {status.st_mtime_ns}", note)
    except Exception:
        samples.close()
        raise


def _candidates(homes: list[Path]) -> Iterator[Path]:
    """Where the images may be, best first."""
    for home in homes:
        if _holds_images(home / IMAGES) or _holds_images(home / IMAGES / IMAGES):  # Kaggle's zip has one folder too many
            yield home / IMAGES
        if (home / ARCHIVE).is_file():
            yield home / ARCHIVE
        if _holds_images(home):
            yield home


def _holds_images(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix.lower() in SUFFIXES for file in folder.iterdir())


def _fetch(name: str, folder: Path) -> Path:
    """The official file from Google Drive, which refuses often; the error says what to do then."""

    def get(folder: str, name: str) -> None:
        from torchvision.datasets import CelebA  # type: ignore[import-untyped]
        from torchvision.datasets.utils import download_file_from_google_drive  # type: ignore[import-untyped]

        file_id, md5 = next((file_id, md5) for file_id, md5, listed in CelebA.file_list if listed == name)
        download_file_from_google_drive(file_id, folder, name, md5)

    return fetch(name, folder, f"{SOURCE} (Align&Cropped Images, or Anno)", get)


def _classes(listed: Path, wanted: tuple[str, ...]) -> tuple[dict[str, int], list[str]]:
    """The class of each image in the list, by its name without the ending, and the names of the classes.

    Bit i of the class is attribute i: of (Male, Smiling), class 3 is "Male+Smiling" and class 0 "neither".
    """
    known, rows = _table(listed)
    columns = [_column(name, known, listed) for name in wanted]
    if len(columns) > MAX_ATTRIBUTES or len(set(columns)) < len(columns):
        raise UsageError(f"--labels {','.join(wanted)}: wanted at most {MAX_ATTRIBUTES} attributes, each once.")
    classes = {}
    for row in rows:
        if len(row) != len(known) + 1 or not {row[1 + column] for column in columns} <= {"1", "-1", "0"}:
            raise GanzooError(f"{listed}: wanted a file name and {len(known)} times 1 or -1 in each row; got {' '.join(row)[:80]!r}.")
        classes[PurePosixPath(row[0]).stem] = sum((row[1 + column] == "1") << i for i, column in enumerate(columns))
    names = [known[column] for column in columns]
    none = f"not {names[0]}" if len(names) == 1 else "neither" if len(names) == 2 else "none"
    return classes, ["+".join(name for i, name in enumerate(names) if c >> i & 1) or none for c in range(2 ** len(names))]


def _table(listed: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the attributes, and rows of a file name and their values."""
    with open(listed, encoding="utf-8", newline="") as file:
        if listed.suffix == ".csv":
            rows = [row for row in csv.reader(file) if row]
            return rows[0][1:] if rows else [], rows[1:]
        next(file, "")  # how many rows there are
        attributes = next(file, "").split()
        return attributes, [line.split() for line in file if line.strip()]


def _column(wanted: str, known: list[str], listed: Path) -> int:
    """The place of an attribute, whose case does not matter, nor - for _."""
    plain = [name.lower().replace("_", "-") for name in known]
    name = wanted.strip().lower().replace("_", "-")
    if name not in plain:
        close = [known[plain.index(one)] for one in difflib.get_close_matches(name, plain)]
        hint = f" Did you mean {' or '.join(close)}?" if close else f" It has {', '.join(known) or 'none'}."
        raise UsageError(f"--labels: {listed.name} has no attribute '{wanted}'.{hint}")
    return plain.index(name)
