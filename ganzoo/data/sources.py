"""Images in a folder or a zip, arrays in a file: each as `Samples`. Standard library only, until an array is opened."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ganzoo.config import DataOptions
from ganzoo.data.classes import HELD_OUT, STYLEGAN, TRAIN, Classes, classes_of_images, some, top_of
from ganzoo.data.mapped import DTYPES, Mapped
from ganzoo.data.samples import Files, Samples
from ganzoo.errors import NoSuchData, UsageError
from ganzoo.files import IMAGE_FORMATS, IMAGE_SUFFIXES, check_file, safetensors_header
from ganzoo.registry.catalogue import catalogue, medium
from ganzoo.types import DataSpec, Field

#: The keys that an array file may hold; others are told of, and not read.
KEYS = frozenset({"x", "y", "source", "mask", "x_a", "x_b", "y_a", "y_b", "x_l", "y_l"})

#: Images that are never decoded, by a decoder with a long list of faults (TIFF), without one (HEIC, raw photos), or because nothing in
#: them says what they are (TGA): a note says that they must be converted.
OTHER_IMAGES = frozenset({".avif", ".cr2", ".dng", ".exr", ".heic", ".heif", ".jp2", ".nef", ".psd", ".svg", ".tga", ".tif", ".tiff"})
#: No image of the allowed pixels is larger; checked before anything is read.
MAX_FILE_BYTES = 200 * 1024**2
MAX_HEADER_BYTES = 1024**2

Shapes = dict[str, tuple[tuple[int, ...], str]]


def splits_at(path: Path) -> dict[str, str]:
    """What the folder calls its splits, "train" and "test"; empty where it has none. Of two domains: what stands before A and B.

    Folders around everything, as an unpacked archive has them, are looked through.
    """
    return _splits(_inside(path))


def _splits(path: Path) -> dict[str, str]:
    if not path.is_dir():
        return {}
    lower = {child.name.removesuffix(".txt").lower(): child.name for child in path.iterdir() if child.is_dir() or child.suffix == ".txt"}
    both = {name[:-1]: lower[name][:-1] for name in lower if name.endswith("a") and f"{name[:-1]}b" in lower}
    for names in (lower, both):
        train = next((names[name] for name in TRAIN if name in names), None)
        test = next((names[name] for name in HELD_OUT if name in names), None)
        if train is not None:
            return {"train": train} | ({"test": test} if test is not None else {})
    return {}


def _inside(path: Path) -> Path:
    """The folder with the splits where others are around it; else the path itself."""
    place = path
    for _ in range(4):
        if not place.is_dir():
            break
        if _splits(place):
            return place
        children = [child for child in place.iterdir() if not _hidden(child.name)]
        if len(children) != 1 or not children[0].is_dir():
            break
        place = children[0]
    return path


def only_pictures(path: Path) -> bool:
    """Whether a path holds nothing but pictures and their classes, as far as names tell that."""
    if not path.is_dir():
        return path.suffix == ".zip"
    names = {child.name.lower() for child in path.iterdir()}
    return bool(names) and not splits_at(path) and not {"source", "target"} <= names


def samples_at(path: Path, asked: DataOptions | None = None, split: str = "train") -> Samples:
    """The samples at a path: a folder or a zip of images, an array in .npy, .npz or .safetensors, or lines of text.

    A folder may hold splits (train, test, val), two domains (trainA, trainB), or pairs (source, target). asked: how pictures and texts are
    to be taken. split: "train", or "test" for what is held out.
    """
    asked = asked or DataOptions(str(path))
    if path.exists():
        check_file(path)
    if path.is_dir():
        return _folder(path, asked, split)
    if not path.exists():
        raise NoSuchData(
            f"no data set and no file is called '{path}'. Wanted a name that `ganzoo list --kind dataset` shows, a folder or a .zip of "
            f"images, a .npy, .npz or .safetensors array, or a .txt of lines."
        )
    if path.suffix.lower() == ".txt":
        return texts_in_file(path, path, asked)
    if path.suffix.lower() == ".zip":
        return images_in_zip(path)
    if path.suffix.lower() in _ARRAYS:
        return arrays_in_file(path, asked.arrays)
    table = " A table is `--dataset.file PATH`, without --dataset, as for ctgan." if path.suffix.lower() == ".csv" else ""
    wanted = "wanted a folder or a .zip of images, a .npy, .npz or .safetensors array, or a .txt of lines"
    raise UsageError(f"{path}: {wanted}; got a '{path.suffix}' file.{table}")


def _folder(path: Path, asked: DataOptions, split: str) -> Samples:
    path = _inside(path)
    splits, note = _splits(path), ""
    if splits:
        if split not in splits:
            raise UsageError(f"{path} holds nothing out: it has no test and no val beside {splits['train']}.")
        own = splits[split]
        if split == "train" and "test" in splits:
            note = f"{splits['test']} is held out: --against test measures against it"
        known = {f"{name}{letter}" for name in splits.values() for letter in ("", "a", "b", "A", "B")}
        beside = sorted(c.name for c in path.iterdir() if c.is_dir() and not _hidden(c.name) and c.name not in known)
        note = "; ".join(filter(None, (note, f"not read: {some(beside)}" if beside else "")))
        if own.endswith(".txt"):
            return _noting(texts_in_file(path / own, path / splits["train"], asked), note)
        if not (path / own).is_dir():
            return _noting(domains({letter: images_in_folder(path / f"{own}{letter.upper()}") for letter in "ab"}), note)
        path = path / own
    elif split != "train":
        raise UsageError(f"{path} holds nothing out: there is no train and test in it.")
    lower = {child.name.lower(): child for child in path.iterdir() if child.is_dir()}
    if {"source", "target"} <= lower.keys():
        return _noting(pairs(images_in_folder(lower["source"]), images_in_folder(lower["target"]), path), note)
    images = images_in_folder(path)
    return _noting(halves(images, asked.pairs) if asked.pairs else images, note)


def _noting(samples: Samples, note: str) -> Samples:
    return replace(samples, note="; ".join(filter(None, (samples.note, note))))


def domains(parts: Mapping[str, Samples]) -> Samples:
    """Two domains, "a" and "b", of which each has pictures "x", as sets of their own. Labels are left out, and told of."""
    files, fields, note = dict[str, Files](), dict[str, Field](), []
    for letter, samples in parts.items():
        if "x" in samples.files:
            files[f"x_{letter}"] = samples.files["x"]
        elif "x" in samples.fields:
            fields[f"x_{letter}"] = samples.fields["x"]
        else:
            raise UsageError(f"--dataset {letter}=...: wanted data with samples 'x'; it has {', '.join(samples.keys)}.")
        note += [f"domain {letter}: {samples.note}"] if samples.note else []
        if more := [key for key in samples.keys if key != "x"]:
            note.append(f"domain {letter}: {', '.join(more)} is not used")

    def arrays() -> Mapping[str, Any]:
        return {f"x_{letter}": s.arrays()["x"] for letter, s in parts.items() if f"x_{letter}" in fields and s.arrays is not None}

    def close() -> None:
        for samples in parts.values():
            samples.close()

    sizes = [samples.size for samples in parts.values() if samples.size]
    fingerprint = " ".join(f"{letter}: {samples.fingerprint}" for letter, samples in parts.items())
    return Samples(
        f"domains {fingerprint}", files, arrays if fields else None, fields, {"a": ("x_a",), "b": ("x_b",)}, min(sizes) if sizes else None,
        "; ".join(note), close,
    )  # fmt: skip


def pairs(source: Samples, target: Samples, where: Path) -> Samples:
    """Pictures of two folders that belong together by their names, without the ending: "source" and "x".

    Some without a partner are left out and told of. Raises UsageError for more than a few.
    """
    stems = [{PurePosixPath(name).with_suffix("").as_posix(): i for i, name in enumerate(s.files["x"].names)} for s in (source, target)]
    both = sorted(stems[0].keys() & stems[1].keys())
    alone = sorted(stems[0].keys() ^ stems[1].keys())
    shown = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
    if len(alone) > max(3, len(both) // 100):
        raise UsageError(f"{where}: source and target belong together by the names of their files; {len(alone)} have no partner: {shown}.")
    if not both:
        raise UsageError(f"{where}: source and target have no names in common.")
    places = [[stem[name] for name in both] for stem in stems]

    def taken(samples: Samples, rows: list[int]) -> Files:
        files = samples.files["x"]
        return Files([files.names[i] for i in rows], lambda i: files.read(rows[i]))

    note = f"{len(alone)} without a partner are left out: {shown}" if alone else ""
    fingerprint = f"pairs {source.fingerprint} {target.fingerprint}"
    files = {"x": taken(target, places[1]), "source": taken(source, places[0])}
    return Samples(fingerprint, files, note="; ".join(filter(None, (source.note, target.note, note))))


def halves(images: Samples, source: str) -> Samples:
    """Pictures of which one half, "left" or "right", is the source of the other."""
    files = images.files["x"]

    def half(side: str) -> Callable[[int], Any]:
        def read(i: int) -> Any:
            from ganzoo.media.decode import half_of

            return half_of(files.read(i), side)

        return read

    other = {"left": "right", "right": "left"}[source]
    made = {"x": Files(files.names, half(other)), "source": Files(files.names, half(source))}
    return Samples(f"halves {source} {images.fingerprint}", made, note=images.note, close=images.close)


def texts_in_file(path: Path, training: Path, asked: DataOptions) -> Samples:
    """The lines of a text as rows of words; with labels where each line is a label, a tab and a text.

    training: the file whose words are the vocabulary. The note says how much of the words is known, and how many lines are cut.
    """
    known, labels, names = _lines(training)
    lines, labels, _ = (known, labels, names) if training == path else _lines(path, names)
    from ganzoo.media.tokens import LONGEST, encoded, vocabulary, words_of

    texts = [words_of(line) for line in known]
    length = asked.length or min(max(map(len, texts)), LONGEST)
    texts = [text[:length] for text in texts]  # what is cut off is not seen, so it names no words
    words = vocabulary(texts, asked.vocabulary)
    field = Field("tokens", (length,), len(words), words)
    rows, unknown, cut = encoded(lines, field)
    total = sum(min(len(words_of(line)), length) for line in lines)
    different = len({word for text in texts for word in text})
    note = f"{len(lines)} texts of up to {length} words: {len(words) - 2} of {different} words are known"
    note += f", {unknown / max(total, 1):.1%} of all words are not" if unknown else ""
    note += f"; {cut} longer texts are cut" if cut else ""
    note = note if unknown or cut else ""  # it is a warning: where nothing is lost there is none
    fields = {"x": field} | ({"y": Field("label", (), len(names), tuple(names))} if names else {})
    status, other = path.stat(), training.stat()
    print_ = f"{status.st_size} {status.st_mtime_ns} {other.st_size} {other.st_mtime_ns} {asked.vocabulary} of the first {asked.length}"
    return Samples(print_, arrays=lambda: {"x": rows} | ({"y": labels} if names else {}), fields=fields, note=note)


def _lines(path: Path, names: Sequence[str] | None = None) -> tuple[list[str], list[int], Sequence[str]]:
    """The lines of a file; and their labels with the names of these, where each line begins with one of few and a tab.

    names: those of the training lines. Raises UsageError where a line begins with none of them.
    """
    from ganzoo.media.tokens import lines_of

    lines = list(lines_of(path))
    if not lines:
        raise UsageError(f"{path}: wanted a text on each line; it is empty.")
    parts = [line.split("\t") for line in lines]
    if names is None:
        own = sorted({p[0] for p in parts})
        names = own if all(len(p) == 2 for p in parts) and 1 < len(own) <= min(100, len(lines) // 2) else ()
    elif names and (other := [p for p in parts if len(p) != 2 or p[0] not in names]):
        wanted, got = " or ".join(names), other[0][0][:40]
        raise UsageError(f"{path}: wanted lines that begin with {wanted} and a tab, as those to learn from do; one begins with {got!r}.")
    return ([p[1] for p in parts], [names.index(p[0]) for p in parts], names) if names else (lines, [], ())


def few_labelled(samples: Samples, n: int, name: str) -> Samples:
    """All rows as "x" without their labels, and n of them, as many of each class as can be, with theirs: "x_l" and "y_l".

    The choice is always the same; data that has such a few already is left as it is. Raises UsageError where there are no labels, or too
    few of a class.
    """
    if "y_l" in samples.keys:
        note = f"it brings the labelled few itself: all of those, and not {n}"
        return _noting(replace(samples, fingerprint=f"{samples.fingerprint} labelled {n}"), note)
    if "y" not in samples.keys:
        raise UsageError(f"--labelled {n}: data set '{name}' has no labels. Name one that has, or leave it out (--labelled 0).")
    label = samples.fields["y"]
    assert samples.arrays is not None

    def chosen(y: Any) -> list[int]:
        import torch

        from ganzoo.media.label import name_of
        from ganzoo.randomness import generator

        y = torch.as_tensor(y).long()
        classes = int(y.max()) + 1
        rows: list[int] = []
        for k in range(classes):
            own = (y == k).nonzero().flatten()
            wanted = n // classes + (k < n % classes)
            if len(own) < max(wanted, 1):
                told = f"{name_of(label, k)} of data set '{name}' has {len(own)} rows; wanted {max(wanted, 1)}."
                raise UsageError(f"--labelled {n}: {told}")
            rows += own[torch.randperm(len(own), generator=generator("labelled", n, k))[:wanted]].tolist()
        return sorted(rows)

    fingerprint, sets = f"{samples.fingerprint} labelled {n}", {"": ("x",), "l": ("x_l", "y_l")}
    if "x" in samples.files:
        files, y = samples.files["x"], list(samples.arrays()["y"])
        rows = chosen(y)
        few = Files([files.names[i] for i in rows], lambda i: files.read(rows[i]))
        made = {"x": files, "x_l": few}
        arrays = {"y_l": [int(y[i]) for i in rows]}
        return replace(samples, fingerprint=fingerprint, files=made, arrays=lambda: arrays, fields={"y_l": label}, sets=sets)

    def split() -> Mapping[str, Any]:
        assert samples.arrays is not None
        whole = samples.arrays()
        rows = chosen(whole["y"])
        return {"x": whole["x"], "x_l": whole["x"][rows], "y_l": whole["y"][rows]}

    fields = {"x": samples.fields["x"], "x_l": samples.fields["x"], "y_l": label}
    return replace(samples, fingerprint=fingerprint, arrays=split, fields=fields, sets=sets)


def images_in_folder(path: Path) -> Samples:
    """All images under a folder, in the order of their names, with their classes.

    There are labels where StyleGAN's dataset.json or a table beside the images has them, or where all but a few images lie in two or more
    sub-folders (a folder around everything is looked through). Files whose name begins with a dot are passed over; a link to a folder is
    followed where that was not walked yet. Raises UsageError if there is no image.
    """
    files, links, folders = _walk(path)
    names, note = _images(files, path, lambda name: _begin(path / name))

    def read(i: int) -> bytes:
        return _content(path / names[i])

    classes = classes_of_images(names, sorted(files.keys() - set(names)), lambda name: _content(path / name), _empty(folders, names))
    names = [name for name in names if name not in classes.left_out]
    print_ = _digest(f"{name}\0{files[name][0]}\0{files[name][1]}" for name in names)
    return _labelled(print_, names, read, classes, (note, *classes.notes, links))


def _labelled(print_: str, names: list[str], read: Callable[[int], bytes], classes: Classes, notes: Iterable[str], **more: Any) -> Samples:
    labels = None if classes.labels is None else [classes.labels[name] for name in names]
    print_ += "" if labels is None else f" {_digest([*classes.names, *map(str, labels)])}"
    return Samples.of_files(print_, names, read, labels, classes.names, note="; ".join(filter(None, notes)), **more)


def _content(path: Path) -> bytes:
    """A file's bytes. Raises ValueError for what is none, or too large."""
    check_file(path)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES // 1024**2} MB")
        return file.read()


def _begin(path: Path) -> bytes:
    with suppress(OSError), open(path, "rb") as file:
        return file.read(16)
    return b""


def _walk(path: Path) -> tuple[dict[str, tuple[int, int]], str, list[str]]:
    """All files under a folder by name, with size and time, what could not be followed, and the names of all folders.

    Each folder is walked once, so links cannot lead in circles. Pipes and devices are no files: reading one would wait for ever.
    """
    files, folders, passed = dict[str, tuple[int, int]](), list[str](), list[str]()
    seen, links = set[tuple[int, int]](), list[str]()

    def unread(error: OSError) -> None:
        passed.append(f"{Path(error.filename).relative_to(path)}, which cannot be read")

    def walk(start: str) -> None:
        for folder, subfolders, names in os.walk(os.path.join(path, start), onerror=unread):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            here = Path(folder).relative_to(path).as_posix()
            subfolders[:] = sorted(name for name in subfolders if not _hidden(name))
            for name in subfolders:
                full = name if here == "." else f"{here}/{name}"
                (links if os.path.islink(path / full) else folders).append(full)
            for name in names:
                full = name if here == "." else f"{here}/{name}"
                try:
                    status = os.stat(path / full)
                except OSError:  # a link to nothing: reading it will fail, and say so
                    status = os.lstat(path / full)
                if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                    files[full] = status.st_size, status.st_mtime_ns
                else:
                    passed.append(f"{full}, which is a pipe or a device")

    walk("")
    while links:  # after all real folders: what a link leads to may be one of them
        link = links.pop(0)
        status = os.stat(path / link)
        if (status.st_dev, status.st_ino) in seen:
            passed.append(f"{link}, a link to a folder that is there already")
        else:
            folders.append(link)
            walk(link)
    return files, f"passed over: {some(passed)}" if passed else "", folders


def _empty(folders: Iterable[str], names: Iterable[str]) -> list[str]:
    """The folders of the first level, below what is around everything, without an image."""
    top = top_of(list(names))
    here = {f.removeprefix(top) for f in folders if f.startswith(top) and "/" not in f.removeprefix(top)}
    return sorted(here - {name.removeprefix(top).partition("/")[0] for name in names})


def images_in_zip(path: Path) -> Samples:
    """As `images_in_folder`, for the members of a zip. They are read in memory, never extracted, so their names cannot do harm."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UsageError(f"{path} cannot be read as a zip: {error}. Is the download complete?") from error
    infos = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    # Some programs on Windows write "cats\\1.png", which a zip must not hold.
    windows = not any("/" in info.filename for info in infos)
    members = {info.filename.replace("\\", "/") if windows else info.filename: info for info in infos}

    def content(name: str, first: int = MAX_FILE_BYTES) -> bytes:
        info = members[name]
        if info.file_size > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES // 1024**2} MB")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("compressed in another way than stored or deflated")  # the others decompress without a bound
        with archive.open(info) as file:
            return file.read(min(info.file_size, first))  # not read(): that inflates all that the stream holds

    def begin(name: str) -> bytes:
        with suppress(Exception):
            return content(name, 16)
        return b""

    def read(i: int) -> bytes:
        return content(names[i])

    try:
        names, note = _images(members, path, begin)
        classes = classes_of_images(names, sorted(members.keys() - set(names)), content)
        top = top_of(names)
        lower = {short.partition("/")[0].lower() for name in names if "/" in (short := name.removeprefix(top))}
        if {"source", "target"} <= lower or {"traina", "trainb"} <= lower or (lower & {*TRAIN} and lower & {*HELD_OUT}):
            raise UsageError(
                f"{path}: {', '.join(sorted(lower))} in it are no classes. Unpack it: a folder with such sub-folders is understood."
            )
    except (ValueError, zipfile.BadZipFile) as e:  # of a table, or of dataset.json
        archive.close()
        raise UsageError(f"{path}: {e}.") from e
    except Exception:
        archive.close()
        raise
    names = [name for name in names if name not in classes.left_out]
    print_ = _digest(f"{name}\0{members[name].file_size}\0{members[name].CRC}" for name in names)
    return _labelled(print_, names, read, classes, (note, *classes.notes), close=archive.close)


def arrays_in_file(path: Path, chosen: str = "") -> Samples:
    """The array of a .npy file, or "x" and perhaps further fields ("y", labels) of a .npz or .safetensors file.

    uint8 (N, H, W), (N, H, W, C), (N, C, H, W) are images, float (N, D) points, whole numbers (N,) labels and (N, T) texts; media of
    plugins are known by their shape too. A .safetensors file may say itself what its fields are, as prepared data does. chosen: which
    arrays to take by other names, as "x=images,y=labels". Raises UsageError for anything else.
    """
    describe, load = _ARRAYS[path.suffix.lower()]
    try:
        shapes, spec = describe(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, AttributeError, RecursionError, MemoryError) as error:
        raise UsageError(f"{path}: wanted an array, in .npz and .safetensors under the name 'x'; it cannot be read: {error}.") from error
    names = _chosen(path, chosen, shapes, spec)
    if spec is not None:
        fields = dict(spec.fields)
    else:
        fields = {key: Field(_medium_of(key, *shapes[name], str(path))) for key, name in names.items()}
    status = path.stat()
    print_ = f"{status.st_size} {status.st_mtime_ns}" + (f" {chosen}" if chosen else "")
    unread = ", ".join(name for name in shapes if name not in names.values() and name not in fields)
    described = {key: (field, shapes[names.get(key, key)]) for key, field in fields.items() if medium(field.medium).pictures}
    pictures = [medium(field.medium).field(*shape, field).shape for field, shape in described.values()]

    def arrays() -> Mapping[str, Any]:
        found = load(path, [names.get(key, key) for key in fields])
        return {key: found[names.get(key, key)] for key in fields}

    return Samples(
        print_, arrays=arrays, fields=fields, sets=spec.sets if spec else {},
        size=(pictures[0][1], pictures[0][2]) if pictures else None,
        note=f"not read, because ganzoo gives these names no meaning: {unread}" if unread else "",
    )  # fmt: skip


def _chosen(path: Path, chosen: str, shapes: Shapes, spec: DataSpec | None) -> dict[str, str]:
    """The arrays of a file by the keys that they are taken for."""
    held = ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in shapes.items()) or "nothing"
    if not chosen:
        if "x" not in shapes and spec is None:
            raise UsageError(f"{path}: wanted an array named 'x'. It holds {held}. Name yours with --arrays x=NAME, or x=NAME,y=LABELS.")
        return {key: key for key in shapes if key in KEYS} if spec is None else {}
    names = {}
    for pair in chosen.split(","):
        key, given, name = (part.strip() for part in pair.partition("="))
        if not given or key not in KEYS or name not in shapes:
            raise UsageError(f"--arrays {pair}: wanted KEY=NAME, as x=images: a key of {', '.join(sorted(KEYS))}; {path} holds {held}.")
        names[key] = name
    return names


def _medium_of(key: str, shape: tuple[int, ...], dtype: str, where: str) -> str:
    """The medium that takes such an array: that of labels for the keys of labels, else the first one that accepts it."""
    if key.partition("_")[0] == "y":
        return "label"
    names = [entry.name for entry in catalogue().entries("medium")]
    if dtype == "uint8" and len(shape) == 3 and shape[2] in (3, 4) and shape[0] > 4:
        raise UsageError(f"{where}: {key}: uint8 {shape} looks like one image (H, W, C) and not like a set. Save it as (N, H, W, C).")
    if 0 not in shape and (name := next((name for name in names if medium(name).accepts(shape, dtype)), None)):
        return name
    raise UsageError(
        f"{where}: {key}: wanted uint8 images (0 to 255) of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, float "
        f"points of shape (N, D), or words (N, T) as whole numbers; got {dtype} {shape}. Save it in one of these forms."
    )


def dtype_name(dtype: Any) -> str:
    """The name of numpy's or torch's dtype, without the byte order: "uint8"."""
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) and name != ".."


def _images(files: Iterable[str], where: Path, begin: Callable[[str], bytes]) -> tuple[list[str], str]:
    """The names of images, sorted, and a note on the files that are not read, by their endings. Raises UsageError if there is no image.

    begin: the first bytes of a file: they tell where a name has no ending.
    """
    visible = [name for name in files if not any(map(_hidden, PurePosixPath(name).parts))]
    suffixes = {name: os.path.splitext(name)[1].lower() for name in visible}
    names = sorted(name for name in visible if suffixes[name] in IMAGE_SUFFIXES or (not suffixes[name] and _is_image(begin(name))))
    taken = set(names)
    other = Counter(suffixes[name] for name in visible if name not in taken and not _about_classes(name))
    note = ", ".join(f"{count} {suffix or 'without an ending'}" for suffix, count in sorted(other.items()))
    if other.keys() & OTHER_IMAGES:
        note += f" (convert them, with `magick mogrify -format png *{min(other.keys() & OTHER_IMAGES)}` for example)"
    if not names:
        got = f"{note or 'a table'}, no such image" if visible else "no files"
        raise UsageError(f"{where}: wanted a folder or zip that holds {IMAGE_FORMATS} images; got {got}.")
    return names, f"not read: {note}" if note else ""


def _about_classes(name: str) -> bool:
    """Whether `classes_of_images` reads a file, or says why it does not."""
    return PurePosixPath(name).name == STYLEGAN or PurePosixPath(name).suffix.lower() in (".csv", ".tsv")


def _is_image(begin: bytes) -> bool:
    return begin.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")) or (begin[:4] == b"RIFF" and begin[8:12] == b"WEBP")


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


def _describe_npy(path: Path) -> tuple[Shapes, None]:
    import numpy as np

    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {"x": (array.shape, dtype_name(array.dtype))}, None


def _load_npy(path: Path, keys: Sequence[str]) -> Mapping[str, Any]:
    import numpy as np

    return {"x": np.load(path, mmap_mode="r", allow_pickle=False)}


def _describe_npz(path: Path) -> tuple[Shapes, None]:
    import numpy as np

    shapes: Shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = header(file)
                shapes[member.removesuffix(".npy")] = shape, dtype_name(dtype)
    return shapes, None


def _load_npz(path: Path, keys: Sequence[str]) -> Mapping[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in keys}


def _describe_safetensors(path: Path) -> tuple[Shapes, DataSpec | None]:
    header = safetensors_header(path, MAX_HEADER_BYTES)
    own = json.loads(header.pop("__metadata__", {}).get("ganzoo", "{}"))
    shapes = {key: (tuple(entry["shape"]), DTYPES.get(entry["dtype"], entry["dtype"])) for key, entry in header.items()}
    return shapes, DataSpec.from_json(own["spec"]) if "spec" in own else None


def _load_safetensors(path: Path, keys: Sequence[str]) -> Mapping[str, Any]:
    rows = Mapped(path).rows
    return {key: rows[key] for key in keys}


_ARRAYS: dict[str, tuple[Callable[[Path], tuple[Shapes, DataSpec | None]], Callable[[Path, Sequence[str]], Mapping[str, Any]]]] = {
    ".npy": (_describe_npy, _load_npy),
    ".npz": (_describe_npz, _load_npz),
    ".safetensors": (_describe_safetensors, _load_safetensors),
}
