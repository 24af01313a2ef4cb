"""A data set prepared once: decoded, cropped, resized and kept as one safetensors file in the cache."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ganzoo.data.cache import ADVICE, cache_dir, data_folder
from ganzoo.data.samples import Request, Samples
from ganzoo.data.sources import layout, samples_at
from ganzoo.errors import GanzooError, UsageError
from ganzoo.files import hold, remove_unfinished, replacing, safetensors_header, unfinished, writing
from ganzoo.machine import allowed_cores
from ganzoo.types import DataSet, DataSpec

if TYPE_CHECKING:
    from torch import Tensor

#: Part of every key: raise it when the same input is prepared into something else.
FORMAT = 1
#: The size of images whose data set names none.
USUAL_SIZE = 64
MAX_SIZE = 2048
MAX_BAD = 0.01
#: Images decoded between two looks at the progress; bounds what is in memory.
CHUNK = 256

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Prepared:
    """A data set in the cache.

    path: the file. name: of the data set, or of the file, fit for a folder's name. checksum: SHA-256 of the content. count: of samples.
    skipped: (image, reason) for each that could not be read. note: a warning for the user, or "".
    """

    path: Path
    name: str
    spec: DataSpec
    checksum: str
    count: int
    skipped: tuple[tuple[str, str], ...] = ()
    note: str = ""

    def load(self) -> dict[str, Tensor]:
        """The file mapped, not read: "x" uint8 (N, C, H, W) or float32 (N, D); "y" int64 (N,) where there are labels."""
        from safetensors.torch import load_file

        return load_file(self.path)


def prepare(
    dataset: str,
    record: DataSet | None,
    *,
    image_size: int | None = None,
    sizes: tuple[int, ...] = (),
    data_dir: Path | None = None,
    labels: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Prepared:
    """The data set from the cache, which is filled first where it must be.

    Args:
        dataset: the record's name, or a path if record is None.
        image_size: in pixels; None: the usual size, or if that is not in `sizes`, the next larger one in them, else their largest.
        sizes: the sizes to choose from; empty: any.
        data_dir: where downloads lie and go.
        labels: attributes.
        progress: called with (what, done, total) now and then.

    Raises UsageError for a request that cannot be met, GanzooError if the data cannot be read or the cache not written.
    """
    report = progress or (lambda what, done, total: None)
    if labels and not (record and record.attributes):
        raise UsageError(f"--labels {','.join(labels)}: data set '{dataset}' has no attributes to make labels of. Leave --labels out.")
    samples = _samples(dataset, record, data_dir, labels)
    try:
        size = _size(dataset, samples, record, image_size, sizes)
        name = record.name if record else re.sub(r"[^A-Za-z0-9._-]+", "-", Path(dataset).expanduser().resolve().stem).strip("-.") or "data"
        source = [record.name, record.target] if record else []
        key = hashlib.blake2b(repr((FORMAT, source, samples.fingerprint, size, labels)).encode(errors="surrogateescape"), digest_size=8)
        path = cache_dir() / "prepared" / f"{name}-{size or 'points'}-{key.hexdigest()}.safetensors"
        if found := _read(path, name):
            return found
        with writing(path, ADVICE):
            path.parent.mkdir(parents=True, exist_ok=True)
        lock = hold(path.with_suffix(".lock"), lambda: report(f"waiting for another process that prepares {name}", 0, 0))
        try:
            if not (found := _read(path, name)):  # the other process may have prepared it
                remove_unfinished(path.parent, path.name)
                _write(path, name, samples, size, report)
                found = _read(path, name)
        finally:
            lock.release()
        assert found is not None
        return found
    finally:
        samples.close()


def _samples(dataset: str, record: DataSet | None, data_dir: Path | None, labels: tuple[str, ...]) -> Samples:
    if record is None:
        return samples_at(Path(dataset).expanduser())
    cache = cache_dir()
    with writing(cache, ADVICE):
        cache.mkdir(parents=True, exist_ok=True)
    module, _, function = record.target.partition(":")
    samples = getattr(import_module(module), function)(Request(data_folder(data_dir), labels, cache))
    if not isinstance(samples, Samples):
        raise GanzooError(f"data set '{record.name}': {record.target} returned {type(samples).__name__}; wanted ganzoo.Samples.")
    return samples


def _size(dataset: str, samples: Samples, record: DataSet | None, asked: int | None, sizes: tuple[int, ...]) -> int | None:
    """The side in pixels; None for points."""
    if samples.kind == "points":
        if asked is not None:
            raise UsageError(f"--image-size {asked}: data set '{dataset}' holds points, not images. Leave --image-size out.")
        return None
    if asked is not None:
        if not 1 <= asked <= MAX_SIZE:
            raise UsageError(f"--image-size: wanted 1 to {MAX_SIZE}, got {asked}.")
        return asked
    usual = (record.image_size if record else None) or samples.size or USUAL_SIZE
    if sizes:
        return min((size for size in sizes if size >= usual), default=max(sizes))
    return min(usual, MAX_SIZE)


def _read(path: Path, name: str) -> Prepared | None:
    """The prepared data in the file; None if there is none, or a damaged one."""
    try:
        header = safetensors_header(path, limit=100 * 1024**2)
        meta = json.loads(header["__metadata__"]["ganzoo"])
        skipped = tuple((str(image), str(reason)) for image, reason in meta["skipped"])
        spec = DataSpec.from_json(meta["spec"])
        return Prepared(path, name, spec, meta["checksum"], header["x"]["shape"][0], skipped, meta["note"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _write(path: Path, name: str, samples: Samples, size: int | None, report: Progress) -> None:
    """Prepare the samples into the file. The rows go to a raw file first, so that memory never holds them all."""
    import torch
    from safetensors.torch import save_file

    raw = unfinished(path, ".raw")
    try:
        with writing(path, ADVICE):
            file = open(raw, "xb")  # noqa: SIM115
        with file:
            rows = _Rows(file, path)
            skipped = _add_arrays(rows, name, samples, size, report) if samples.arrays else _add_images(rows, name, samples, size, report)
            with writing(path, ADVICE):
                file.flush()
        dtype = torch.float32 if samples.kind == "points" else torch.uint8
        x = torch.from_file(str(raw), shared=False, size=rows.count * rows.numel, dtype=dtype).view(rows.count, *rows.shape)
        if samples.kind == "image" and rows.shape[0] == 3 and rows.grey:
            x = x[:, :1].contiguous()
        tensors = {"x": x}
        classes = 0
        if rows.labels is not None:
            tensors["y"] = torch.tensor(rows.labels, dtype=torch.int64)
            classes = len(samples.class_names) or max(rows.labels) + 1
            if (low := min(rows.labels)) < 0 or (high := max(rows.labels)) >= classes:
                raise GanzooError(f"data set '{name}': wanted labels from 0 to {classes - 1}; got {low if low < 0 else high}.")
        spec = DataSpec(samples.kind, tuple(x.shape[1:]), classes, samples.class_names if classes else ())
        checksum = hashlib.sha256(json.dumps(spec.to_json()).encode())
        for tensor in tensors.values():
            checksum.update(tensor.numpy().data)
        meta = {"spec": spec.to_json(), "checksum": checksum.hexdigest(), "skipped": skipped, "note": samples.note}
        with replacing(path, ADVICE) as beside:
            save_file(tensors, beside, metadata={"ganzoo": json.dumps(meta)})
            beside.chmod(raw.stat().st_mode & 0o777)  # what the user's umask says; the library's own is 600
    finally:
        raw.unlink(missing_ok=True)


class _Rows:
    """The samples so far: their bytes in a file, their labels in a list."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.count, self.shape, self.numel = 0, (), 0  # type: int, tuple[int, ...], int
        self.labels: list[int] | None = None
        self.grey = True

    def add(self, rows: Any, shape: tuple[int, ...]) -> None:
        """rows: a C-contiguous numpy array (n, *shape)."""
        self.shape, self.numel = shape, rows[0].size
        self.count += len(rows)
        with writing(self.path, ADVICE):
            self.file.write(rows.data)


def _add_images(rows: _Rows, name: str, samples: Samples, size: int | None, report: Progress) -> list[tuple[str, str]]:
    """Decode all images into rows, in their order; returns the unreadable ones with reasons. Raises GanzooError for more than MAX_BAD."""
    from ganzoo.data.images import is_grey, pixels

    read, total, skipped = samples.read, len(samples.names), list[tuple[str, str]]()
    if not total or read is None:
        raise UsageError(f"data set '{name}' has no images.")
    assert size is not None
    if samples.labels is not None:
        rows.labels = []

    def decode(i: int) -> Any:
        try:
            return pixels(read(i), size)
        except Exception as error:  # decoders raise whatever they like
            return (str(error) or type(error).__name__).splitlines()[0][:200]

    with _quiet_pillow(), ThreadPoolExecutor(_threads()) as pool:
        for start in range(0, total, CHUNK):
            chunk = range(start, min(start + CHUNK, total))
            for i, result in zip(chunk, pool.map(decode, chunk), strict=True):
                if isinstance(result, str):
                    skipped.append((samples.names[i], result))
                    continue
                rows.grey = rows.grey and is_grey(result)
                rows.add(result[None], result.shape)
                if rows.labels is not None and samples.labels is not None:
                    rows.labels.append(int(samples.labels[i]))
            if len(skipped) > MAX_BAD * total:
                some = "\n".join(f"  {image}: {reason}" for image, reason in skipped[:10])
                raise GanzooError(
                    f"{len(skipped)} of the first {chunk.stop} images of '{name}' ({total} in all) cannot be read, which is more than "
                    f"{MAX_BAD:.0%} of all; nothing was prepared. Repair or remove them:\n{some}{_more(len(skipped) - 10)}"
                )
            report(f"preparing {name}", chunk.stop, total)
    return skipped


def _more(count: int) -> str:
    return f"\n  and {count} more" if count > 0 else ""


def _add_arrays(rows: _Rows, name: str, samples: Samples, size: int | None, report: Progress) -> list[tuple[str, str]]:
    """Check whole arrays and bring them into rows, some at a time."""
    import numpy as np
    import torch

    from ganzoo.data.images import resized

    assert samples.arrays is not None
    try:
        arrays = samples.arrays()
    except (ValueError, EOFError) as error:  # numpy's, for a file that is cut off or holds objects
        raise GanzooError(f"data set '{name}' cannot be read: {error}.") from error
    x = arrays["x"]
    kind = layout(tuple(x.shape), x.dtype, f"data set '{name}'")
    if (kind == "points") != (samples.kind == "points"):
        raise GanzooError(f"data set '{name}': wanted {samples.kind}s as its function says; got {x.dtype} {tuple(x.shape)}.")
    if "y" in arrays:
        rows.labels = _labels(arrays["y"], len(x), name)
    for start in range(0, len(x), CHUNK):
        chunk = x[start : start + CHUNK]
        chunk = chunk if isinstance(chunk, torch.Tensor) else torch.from_numpy(np.array(chunk, dtype=chunk.dtype.newbyteorder("=")))
        if kind == "points":
            chunk = chunk.float()
            if not chunk.isfinite().all():
                raise GanzooError(f"data set '{name}': points {start} to {start + len(chunk)} hold a NaN or an infinity. Remove them.")
        else:
            assert size is not None
            chunk = chunk[:, None] if kind == "NHW" else chunk.permute(0, 3, 1, 2) if kind == "NHWC" else chunk
            chunk = resized(chunk, size)
            rows.grey = rows.grey and bool((chunk == chunk[:, :1]).all())
        rows.add(np.ascontiguousarray(chunk.numpy()), tuple(chunk.shape[1:]))
        report(f"preparing {name}", rows.count, len(x))
    return []


def _labels(y: Any, n: int, name: str) -> list[int]:
    """The labels as a list, checked to be n whole numbers."""
    kind = str(y.dtype).removeprefix("torch.")
    shape = tuple(y.shape)
    if not kind.startswith(("int", "uint")) or shape not in ((n,), (n, 1)):
        raise GanzooError(f"data set '{name}': wanted {n} whole numbers as labels 'y'; got {kind} {shape}.")
    labels: list[int] = y.reshape(-1).tolist()
    return labels


def _threads() -> int:
    """The threads that decode: Pillow does not hold the interpreter meanwhile, so a few help; more only take memory."""
    return min(8, allowed_cores())


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Without Pillow's warnings of unusual palettes, EXIF and sizes: what matters of that is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
