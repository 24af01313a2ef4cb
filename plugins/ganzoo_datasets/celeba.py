"""CelebA (Liu et al. 2015), in the layouts in which people have it: the official folder, the official zip, or a folder of images.

The crop is that of the DCGAN examples and of mimicry: the centre square of the aligned image, 178 x 178 of 178 x 218, resized to
64 pixels. Half-size copies (89 x 109) give the same picture.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ganzoo import GanzooError, Request, Samples, UsageError, images_in_folder, images_in_zip
from ganzoo_datasets.download import fetch, find_file

IMAGES = ("img_align_celeba", "img_align_celeba_png")
ARCHIVE = "img_align_celeba.zip"
ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
SUFFIXES = {".jpg", ".jpeg", ".png"}
SOURCE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
MAX_ATTRIBUTES = 8


def celeba(request: Request) -> Samples:
    """Looks for `img_align_celeba/`, `img_align_celeba.zip` or images in the data folder and in its subfolder `celeba`.

    With --labels, the class is the combination of the given attributes. They are read from `list_attr_celeba.txt`, or Kaggle's `.csv`,
    next to the images, and matched to the images by file name.
    """
    # Google Drive's folder has the images in Img/ and the attributes in Anno/.
    folders = [place / inner for place in (request.data_dir / "celeba", request.data_dir) for inner in ("", "Img")]
    path = next(_candidates(folders), None) or _fetch(ARCHIVE, folders[0])
    samples = images_in_zip(path) if path.is_file() else images_in_folder(path)
    if not request.labels:
        # labels that come from subfolders are dropped: here subfolders are not classes
        return Samples(samples.fingerprint, samples.files, note=samples.note, close=samples.close)
    try:
        names = samples.files["x"].names
        near = [path.parent, *folders] if path.name in (*IMAGES, ARCHIVE) else [path, path.parent]
        near += [place.parent / "Anno" for place in (path, path.parent)] + [path / "Anno"]
        table = next((file for name in ATTRIBUTES if (file := find_file(name, near))), None) or _fetch(ATTRIBUTES[0], near[0])
        classes, class_names = _classes(table, request.labels)
        by_name = {name: classes[stem] for name in names if (stem := PurePosixPath(name).stem) in classes}
        left_out = len(names) - len(by_name)
        note = f"{left_out} images are left out: they have no row in {table.name}" if left_out else ""
        status = table.stat()
        return samples.labelled(by_name, class_names, f"{status.st_size} {status.st_mtime_ns}", note)
    except Exception:
        samples.close()
        raise


def _candidates(folders: list[Path]) -> Iterator[Path]:
    """Folders and zips that hold the images, best first."""
    for folder in folders:
        for name in IMAGES:
            if _holds_images(folder / name) or _holds_images(folder / name / name):  # Kaggle's zip nests the folder in itself
                yield folder / name
        if (folder / ARCHIVE).is_file():
            yield folder / ARCHIVE
        if _holds_images(folder):
            yield folder


def _holds_images(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix.lower() in SUFFIXES for file in folder.iterdir())


def _fetch(name: str, folder: Path) -> Path:
    """Downloads the official file from Google Drive. Drive often refuses; the GanzooError then says where to get the file."""

    def get(folder: str, name: str) -> None:
        from torchvision.datasets import CelebA  # type: ignore[import-untyped]
        from torchvision.datasets.utils import download_file_from_google_drive  # type: ignore[import-untyped]

        file_id, md5 = next((file_id, md5) for file_id, md5, file_name in CelebA.file_list if file_name == name)
        download_file_from_google_drive(file_id, folder, name, md5)

    return fetch(name, folder, f"{SOURCE} (Align&Cropped Images, or Anno)", get)


def _classes(table: Path, labels: tuple[str, ...]) -> tuple[dict[str, int], list[str]]:
    """The class of each image in the table, by file name without its suffix, and the names of the classes.

    Bit i of the class is attribute i: for (Male, Smiling), class 3 is "Male+Smiling" and class 0 is "neither".
    """
    attributes, rows = _read_table(table)
    columns = [_column(label, attributes, table) for label in labels]
    if len(columns) > MAX_ATTRIBUTES or len(set(columns)) < len(columns):
        raise UsageError(f"--labels {','.join(labels)}: wanted at most {MAX_ATTRIBUTES} attributes, each once.")
    classes = {}
    for row in rows:
        if len(row) != len(attributes) + 1 or not {row[1 + column] for column in columns} <= {"1", "-1", "0"}:
            raise GanzooError(f"{table}: wanted a name and {len(attributes)} times 1, 0 or -1 in each row; got {' '.join(row)[:80]!r}.")
        classes[PurePosixPath(row[0]).stem] = sum((row[1 + column] == "1") << i for i, column in enumerate(columns))
    names = [attributes[column] for column in columns]
    none = f"not {names[0]}" if len(names) == 1 else "neither" if len(names) == 2 else "none"
    return classes, ["+".join(name for i, name in enumerate(names) if c >> i & 1) or none for c in range(2 ** len(names))]


def _read_table(table: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the attributes, and one row per image: its file name, then the values of the attributes."""
    with open(table, encoding="utf-8", newline="") as file:
        if table.suffix == ".csv":
            rows = [row for row in csv.reader(file) if row]
            return rows[0][1:] if rows else [], rows[1:]
        next(file, "")  # the first line is the number of rows
        attributes = next(file, "").split()
        return attributes, [line.split() for line in file if line.strip()]


def _column(label: str, attributes: list[str], table: Path) -> int:
    """The index of an attribute; upper or lower case and - or _ make no difference. Raises UsageError if there is no such attribute."""
    normalised = [name.lower().replace("_", "-") for name in attributes]
    name = label.strip().lower().replace("_", "-")
    if name not in normalised:
        close = [attributes[normalised.index(match)] for match in difflib.get_close_matches(name, normalised)]
        hint = f" Did you mean {' or '.join(close)}?" if close else f" It has {', '.join(attributes) or 'none'}."
        raise UsageError(f"--labels: {table.name} has no attribute '{label}'.{hint}")
    return normalised.index(name)
