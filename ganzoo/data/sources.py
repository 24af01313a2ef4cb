"""Images in a folder or a zip, arrays in a file: each as `Samples`. Standard library only, until an array is opened."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ganzoo.data.samples import Samples
from ganzoo.errors import UsageError
from ganzoo.files import IMAGE_SUFFIXES, safetensors_header
from ganzoo.registry.catalogue import catalogue, medium
from ganzoo.types import DataSpec, Field

#: The keys that an array file may hold; others are told of, and not read.
KEYS = frozenset({"x", "y", "source", "mask", "x_a", "x_b", "y_a", "y_b", "x_l", "y_l"})

#: Images that are never decoded; a note names them.
OTHER_IMAGES = frozenset({".avif", ".gif", ".heic", ".tif", ".tiff"})
#: No image of the allowed pixels is larger; checked before anything is read.
MAX_FILE_BYTES = 200 * 1024**2
MAX_HEADER_BYTES = 1024**2


def samples_at(path: Path) -> Samples:
    """The samples at a path: a folder or a zip of images, or an array in .npy, .npz or .safetensors."""
    if path.is_dir():
        return images_in_folder(path)
    if not path.exists():
        raise UsageError(
            f"no data set and no file is called '{path}'. Wanted a name that `ganzoo list` shows, a folder or a .zip of images, "
            f"or a .npy, .npz or .safetensors array."
        )
    if path.suffix.lower() == ".zip":
        return images_in_zip(path)
    if path.suffix.lower() in _ARRAYS:
        return arrays_in_file(path)
    raise UsageError(f"{path}: wanted a folder or a .zip of images, or a .npy, .npz or .safetensors array; got a '{path.suffix}' file.")


def images_in_folder(path: Path) -> Samples:
    """All JPEG, PNG, WebP and BMP files under a folder, in the order of their names; its sub-folders are the classes.

    There are labels where two or more first-level sub-folders hold all images (a folder around everything is looked through).
    Files whose name begins with a dot and links to folders are passed over. Raises UsageError if there is no image.
    """
    files: dict[str, os.stat_result] = {}
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = [name for name in subfolders if not _hidden(name)]
        for name in names:
            full = os.path.join(folder, name)
            try:
                status = os.stat(full)
            except OSError:  # a link to nothing: reading it will fail, and say so
                status = os.lstat(full)
            if not stat.S_ISREG(status.st_mode) and not os.path.islink(full):
                continue  # reading a pipe would wait for ever
            files[Path(full).relative_to(path).as_posix()] = status
    names, note = _images(files, path)

    def read(i: int) -> bytes:
        with open(path / names[i], "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise ValueError(f"larger than {MAX_FILE_BYTES // 1024**2} MB")
            return file.read()

    labels, class_names = _classes(names)
    print_ = _digest(f"{name}\0{files[name].st_size}\0{files[name].st_mtime_ns}" for name in names)
    return Samples.of_files(print_, names, read, labels, class_names, note=note)


def images_in_zip(path: Path) -> Samples:
    """As `images_in_folder`, for the members of a zip. They are read in memory, never extracted, so their names cannot do harm."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UsageError(f"{path} cannot be read as a zip: {error}. Is the download complete?") from error
    members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    try:
        names, note = _images(members, path)
    except UsageError:
        archive.close()
        raise

    def read(i: int) -> bytes:
        info = members[names[i]]
        if info.file_size > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES // 1024**2} MB")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("compressed in another way than stored or deflated")  # the others decompress without a bound
        with archive.open(info) as file:
            return file.read(info.file_size)  # not read(): that inflates all that the stream holds

    labels, class_names = _classes(names)
    print_ = _digest(f"{name}\0{members[name].file_size}\0{members[name].CRC}" for name in names)
    return Samples.of_files(print_, names, read, labels, class_names, note=note, close=archive.close)


def arrays_in_file(path: Path) -> Samples:
    """The array of a .npy file, or "x" and perhaps further fields ("y", labels) of a .npz or .safetensors file.

    uint8 (N, H, W), (N, H, W, C), (N, C, H, W) are images, float (N, D) points, whole numbers (N,) labels and (N, T) texts; media of
    plugins are known by their shape too. A .safetensors file may say itself what its fields are, as prepared data does. Raises UsageError
    for anything else.
    """
    describe, load = _ARRAYS[path.suffix.lower()]
    try:
        shapes, spec = describe(path)
        if "x" not in shapes and spec is None:
            raise KeyError("x")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise UsageError(f"{path}: wanted an array, in .npz and .safetensors under the name 'x'; it cannot be read: {error}.") from error
    if spec is not None:
        fields = dict(spec.fields)
    else:
        fields = {key: Field(_medium_of(key, *shapes[key], str(path))) for key in shapes if key in KEYS}
    status = path.stat()
    print_ = f"{status.st_size} {status.st_mtime_ns}"
    unread = ", ".join(key for key in shapes if key not in fields)
    pictures = [medium(field.medium).field(*shapes[key], field).shape for key, field in fields.items() if medium(field.medium).pictures]
    return Samples(
        print_, arrays=lambda: load(path, list(fields)), fields=fields, sets=spec.sets if spec else {},
        size=(pictures[0][1], pictures[0][2]) if pictures else None,
        note=f"not read, because ganzoo gives these names no meaning: {unread}" if unread else "",
    )  # fmt: skip


def _medium_of(key: str, shape: tuple[int, ...], dtype: str, where: str) -> str:
    """The medium that takes such an array: that of labels for the keys of labels, else the first one that accepts it."""
    if key.partition("_")[0] == "y":
        return "label"
    names = [entry.name for entry in catalogue().entries("medium")]
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


def _images(files: Iterable[str], where: Path) -> tuple[list[str], str]:
    """The names of images, sorted, and a note on those that are not read. Raises UsageError if there are none."""
    visible = [name for name in files if not any(map(_hidden, PurePosixPath(name).parts))]
    suffixes = {name: os.path.splitext(name)[1].lower() for name in visible}
    names = sorted(name for name in visible if suffixes[name] in IMAGE_SUFFIXES)
    other = Counter(suffix for suffix in suffixes.values() if suffix in OTHER_IMAGES)
    note = ", ".join(f"{count} {suffix}" for suffix, count in sorted(other.items()))
    if not names:
        got = f"{note or len(visible)} files, none of them such an image" if visible else "no files"
        raise UsageError(f"{where}: wanted a folder or zip that holds JPEG, PNG, WebP or BMP images; got {got}.")
    return names, f"{note} files are not read: wanted JPEG, PNG, WebP or BMP" if note else ""


def _classes(names: list[str]) -> tuple[list[int] | None, tuple[str, ...]]:
    """Labels and class names, from the first folder in which the names differ."""
    parts = [name.split("/") for name in names]
    depth = 0
    while all(len(p) > depth + 1 for p in parts):
        folders = sorted({p[depth] for p in parts})
        if not {"", ".."}.isdisjoint(folders):
            break  # a zip may call its members anything; these are no names of classes
        if len(folders) > 1:
            index = {folder: i for i, folder in enumerate(folders)}
            return [index[p[depth]] for p in parts], tuple(folders)
        depth += 1
    return None, ()


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


Shapes = dict[str, tuple[tuple[int, ...], str]]


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
    shapes = {key: (tuple(entry["shape"]), _DTYPES.get(entry["dtype"], entry["dtype"])) for key, entry in header.items()}
    return shapes, DataSpec.from_json(own["spec"]) if "spec" in own else None


def _load_safetensors(path: Path, keys: Sequence[str]) -> Mapping[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in keys}


_DTYPES = {
    "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32", "U32": "uint32", "I64": "int64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip

_ARRAYS: dict[str, tuple[Callable[[Path], tuple[Shapes, DataSpec | None]], Callable[[Path, Sequence[str]], Mapping[str, Any]]]] = {
    ".npy": (_describe_npy, _load_npy),
    ".npz": (_describe_npz, _load_npz),
    ".safetensors": (_describe_safetensors, _load_safetensors),
}
