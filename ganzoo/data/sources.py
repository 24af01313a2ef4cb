"""Images in a folder or a zip, arrays in a file: each as `Samples`. Standard library only, until an array is opened."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ganzoo.data.samples import Samples
from ganzoo.errors import UsageError
from ganzoo.files import safetensors_header

#: Files with these endings are taken for images; their format is decided by their content.
IMAGE_SUFFIXES = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp"})
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
    return Samples(print_, names, read, labels=labels, class_names=class_names, note=note)


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
    return Samples(print_, names, read, labels=labels, class_names=class_names, note=note, close=archive.close)


def arrays_in_file(path: Path) -> Samples:
    """The array of a .npy file, or "x" and perhaps "y" (labels) of a .npz or .safetensors file.

    uint8 (N, H, W), (N, H, W, C), (N, C, H, W) are images, float (N, D) are points. Raises UsageError for anything else.
    """
    describe, load = _ARRAYS[path.suffix.lower()]
    try:
        shape, dtype = describe(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: wanted an array, in .npz and .safetensors under the name 'x'; it cannot be read: {error}.") from error
    kind = layout(shape, dtype, str(path))
    status = path.stat()
    print_ = f"{status.st_size} {status.st_mtime_ns}"
    if kind == "points":
        return Samples(print_, arrays=lambda: load(path), kind="points")
    height, width = (shape[2], shape[3]) if kind == "NCHW" else (shape[1], shape[2])
    return Samples(print_, arrays=lambda: load(path), size=min(height, width))


def layout(shape: tuple[int, ...], dtype: Any, what: str) -> str:
    """The layout of an array: "NHW", "NHWC" or "NCHW" for uint8 images, "points" for float points; UsageError for all else.

    dtype: numpy's, torch's or its name. (N, 3, H, 3) counts as NCHW.
    """
    name = str(getattr(dtype, "name", dtype)).removeprefix("torch.")  # numpy's name is without the byte order
    if 0 not in shape:
        if name.startswith(("float", "bfloat")) and len(shape) == 2:
            return "points"
        if name == "uint8" and len(shape) == 3:
            return "NHW"
        if name == "uint8" and len(shape) == 4 and {1, 3} & {shape[1], shape[3]}:
            return "NCHW" if shape[1] in (1, 3) else "NHWC"
    raise UsageError(
        f"{what}: wanted uint8 images (0 to 255) of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, or float points "
        f"of shape (N, D); got {name} {shape}. Save it in one of these forms."
    )


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


def _describe_npy(path: Path) -> tuple[tuple[int, ...], Any]:
    import numpy as np

    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.shape, array.dtype


def _load_npy(path: Path) -> Mapping[str, Any]:
    import numpy as np

    return {"x": np.load(path, mmap_mode="r", allow_pickle=False)}


def _describe_npz(path: Path) -> tuple[tuple[int, ...], Any]:
    import numpy as np

    with zipfile.ZipFile(path) as archive, archive.open("x.npy") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        return shape, dtype


def _load_npz(path: Path) -> Mapping[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in ("x", "y") if key in arrays}


def _describe_safetensors(path: Path) -> tuple[tuple[int, ...], Any]:
    entry = safetensors_header(path, MAX_HEADER_BYTES)["x"]
    names = {"U8": "uint8", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
    return tuple(entry["shape"]), names.get(entry["dtype"], entry["dtype"])


def _load_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in ("x", "y") if key in file.keys()}  # noqa: SIM118


_ARRAYS: dict[str, tuple[Callable[[Path], tuple[tuple[int, ...], Any]], Callable[[Path], Mapping[str, Any]]]] = {
    ".npy": (_describe_npy, _load_npy),
    ".npz": (_describe_npz, _load_npz),
    ".safetensors": (_describe_safetensors, _load_safetensors),
}
