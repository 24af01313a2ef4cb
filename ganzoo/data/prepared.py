"""A data set prepared once: decoded, cropped, resized and kept as one safetensors file in the cache."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from ganzoo import options
from ganzoo.config import DataOptions, domains_of, size_of, written_size
from ganzoo.data.cache import ADVICE, cache_dir, data_folder
from ganzoo.data.classes import some
from ganzoo.data.mapped import MAX_HEADER_BYTES, Mapped, mapping
from ganzoo.data.parts import joined, part_name, part_of, parts_in
from ganzoo.data.samples import Files, Request, Samples
from ganzoo.data.sources import domains, dtype_name, few_labelled, samples_at
from ganzoo.errors import GanzooError, TooSmall, UsageError
from ganzoo.files import hold, remove_leftovers, remove_unfinished, replacing, safetensors_header, unfinished, writing
from ganzoo.machine import allowed_cores
from ganzoo.registry.catalogue import catalogue, medium
from ganzoo.types import DataSet, DataSpec, Field

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Part of every key: raise it when the same input is prepared into something else.
FORMAT = 3
#: The size of images whose data set names none.
USUAL_SIZE = (64, 64)
#: One image in so many is not as the others are.
FEW = 10
#: So many images tell whether a set has 16 bits.
SPREAD = 64
#: The largest value of 16-bit images that are scaled by their own maximum; of others the upper 8 bits are taken.
MAX_SMALL = 32767
#: Images that cannot be read are left out, unless they are more than a few and more than one in a hundred.
MAX_BAD, FEW_BAD = 0.01, 3
#: What is hashed together; and the largest file that is checked whole when it is opened, in a fraction of a second.
BLOCK_BYTES, SMALL_BYTES = 1 << 20, 256 << 20
#: Of larger fields each row has a hash, so that a batch reads no more than itself; if rows are smaller than a page, or if there are more
#: than the header of a file can tell of, a few together have one.
PAGE_BYTES, MOST_BLOCKS = 4096, 1 << 21
#: Of a hash, in hexadecimal digits.
DIGITS = 16
#: Rows prepared between two looks at the progress, and their bytes: what is in memory.
CHUNK, CHUNK_BYTES = 256, 64 << 20

T = TypeVar("T")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Prepared:
    """A data set in the cache.

    path: the file. name: of the data set, or of the file, fit for a folder's name. checksum: SHA-256 of the content. counts: of rows, by
    set. skipped: (image, reason) for each that could not be read. note: a warning for the user, or "". blocks: by key, the hashes of all
    blocks of rows, end to end.
    """

    path: Path
    name: str
    spec: DataSpec
    checksum: str
    counts: Mapping[str, int]
    skipped: tuple[tuple[str, str], ...] = ()
    note: str = ""
    blocks: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def count(self) -> int:
        """Rows of the largest set."""
        return max(self.counts.values())

    @cached_property
    def file(self) -> Mapped:
        """The file that all of this is about."""
        return Mapped(self.path)

    @property
    def mapped(self) -> dict[str, Tensor]:
        """The stored rows by key. The file is mapped, not read: ask `check` for what is about to be used."""
        return self.file.rows

    def expect(self, key: str, rows: Tensor) -> None:
        """Have rows of `mapped` read that are about to be used. Those of small files are in memory since they were opened."""
        if len(self.file) > SMALL_BYTES:
            self.file.expect(key, rows)

    @cached_property
    def check(self) -> Checker:
        """Checks rows of `mapped`, each block once."""
        return Checker(self)

    def load(self) -> dict[str, Tensor]:
        """The stored rows by key, all of them checked. Raises GanzooError where they are not as they were written."""
        for key in self.mapped:
            self.check(key)
        return {key: self._middle(key, rows) for key, rows in self.mapped.items()}

    def known_as(self, spec: DataSpec) -> Prepared:
        """The same with other shapes, as `cropped` gives them: `load` cuts the middles out of the pictures then."""
        return replace(self, spec=spec)

    def _middle(self, key: str, rows: Tensor) -> Tensor:
        field = self.spec.fields[key]
        if not medium(field.medium).pictures or rows.shape[1:] == field.shape:
            return rows
        (height, width), (h, w) = rows.shape[2:], field.shape[1:]
        top, left = (height - h) // 2, (width - w) // 2
        return rows[:, :, top : top + h, left : left + w]


class Checker:
    """Compares blocks of rows with their hashes, each once, when one of its rows is first asked for.

    So a large file need not be read whole before the first step, and no row is used that is not as it was written.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.prepared, self.data = prepared, prepared.mapped
        self._known = {key: bytearray(len(hashes) // DIGITS) for key, hashes in prepared.blocks.items()}

    def __call__(self, key: str, rows: Tensor | None = None) -> None:
        """Check the blocks of these rows, by default all. Raises GanzooError for a damaged one; the file is removed then."""
        known, each = self._known[key], rows_a_block(self.data[key])
        if rows is not None:
            self.prepared.expect(key, rows)
        for k in range(len(known)) if rows is None else sorted({row // each for row in rows.tolist()}):
            if known[k]:
                continue
            if hash_of_block(self.data[key], k) != self.prepared.blocks[key][k * DIGITS : (k + 1) * DIGITS]:
                with suppress(OSError):
                    self.prepared.path.unlink()
                raise GanzooError(
                    f"{self.prepared.path} is damaged: rows {k * each} and on of {key} are not as they were written. It has been removed; "
                    f"the same command, or `ganzoo resume` of a run, makes it again."
                )
            known[k] = 1


def rows_a_block(rows: Tensor) -> int:
    """How many rows are hashed together."""
    size = BLOCK_BYTES if rows.nbytes <= SMALL_BYTES else max(PAGE_BYTES, rows.nbytes // MOST_BLOCKS)
    return max(1, size // max(rows[:1].nbytes, 1))


def hash_of_block(rows: Tensor, k: int) -> str:
    """The hash of block number k of some rows."""
    each = rows_a_block(rows)
    return hashlib.blake2b(rows[k * each : (k + 1) * each].contiguous().numpy().data, digest_size=DIGITS // 2).hexdigest()


def hashes_of(rows: Tensor) -> str:
    """The hashes of all blocks, end to end."""
    return "".join(hash_of_block(rows, k) for k in range(-(-len(rows) // rows_a_block(rows))))


def prepare(
    asked: DataOptions,
    record: DataSet | None = None,
    chosen: Any = None,
    *,
    split: str = "train",
    sizes: tuple[int, ...] = (),
    progress: Progress | None = None,
    part: tuple[int, int] | None = None,
    out: Path | None = None,
) -> Prepared:
    """The data set from the cache, which is filled first where it must be.

    Args:
        asked: its name, or a path if record is None, and what is to be made of it. Without an image size: the usual one, or if that is
            not in `sizes`, the next larger one in them, else their largest.
        record: of the data set.
        chosen: the data set's own options.
        split: "train", or "test" for what a folder holds out.
        sizes: the sides in pixels to choose from; empty: any.
        progress: called with (what, done, total) now and then.
        part: (k, n), of which part k of n is prepared, k from 1 on, into a file in the folder `out`: see `parts_in`.
        out: the folder of such parts.

    Raises UsageError for a request that cannot be met, GanzooError if the data cannot be read or the cache not written.
    """
    report = progress or (lambda what, done, total: None)
    dataset, labels = asked.dataset, options.listed(asked.labels)
    if labels and not (record and record.attributes):
        raise UsageError(f"--labels {','.join(labels)}: data set '{dataset}' has no attributes to make labels of. Leave --labels out.")
    samples = _samples(asked, record, labels, chosen, split)
    try:
        size, scaled = _size(asked, samples, record, sizes)
        name = record.name if record else _name_of(dataset)
        source = [record.name, record.target, *([options.to_json(chosen)] if chosen is not None else [])] if record else []
        own = () if scaled else ("cut",)
        key = hashlib.blake2b(
            repr((FORMAT, source, samples.fingerprint, size, labels, *own)).encode(errors="surrogateescape"), digest_size=8
        )
        shown = written_size((0, *size)) if size else next(iter(samples.keys))
        if part is not None and out is not None:
            path = out / f"{name}-{shown}-{part_name(*part)}.safetensors"
            with writing(path, ADVICE):
                out.mkdir(parents=True, exist_ok=True)
            remove_leftovers(out)
            _write(path, name, part_of(samples, *part), size, scaled, report)
            return _part_at(path)
        path = cache_dir() / "prepared" / f"{name}-{shown}-{key.hexdigest()}.safetensors"
        if found := _read(path, name):
            return found
        with writing(path, ADVICE):
            path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        lock = hold(path.with_suffix(".lock"), lambda: report(f"waiting for another process that prepares {name}", 0, 0))
        try:
            if not (found := _read(path, name)):  # the other process may have prepared it
                remove_unfinished(path.parent, path.name)
                _write(path, name, samples, size, scaled, report)
                found = _read(path, name)
        finally:
            lock.release()
        assert found is not None
        return found
    finally:
        samples.close()


def _name_of(dataset: str) -> str:
    """The name of a path, or of two domains, fit for a folder's name."""
    stems = [Path(place).expanduser().resolve().stem for place in domains_of(dataset).values() or [dataset]]
    return "-".join(filter(None, (re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") for stem in stems))) or "data"


def _samples(asked: DataOptions, record: DataSet | None, labels: tuple[str, ...], chosen: Any, split: str) -> Samples:
    if places := domains_of(asked.dataset):
        parts = {}
        for letter, place in places.items():
            named = catalogue().find("dataset", place)
            own = named.record if named is not None else None
            assert own is None or isinstance(own, DataSet)
            parts[letter] = _samples(replace(asked, dataset=place, labelled=0), own, (), None, split)
        samples = domains(parts)
    elif record is None and split == "train" and (files := parts_in(Path(asked.dataset).expanduser())):
        samples = joined([_part_at(file) for file in files])
    elif record is None:
        samples = samples_at(Path(asked.dataset).expanduser(), asked, split)
    else:
        samples = _of_record(asked, record, labels, chosen)
    return few_labelled(samples, asked.labelled, asked.dataset) if asked.labelled and split == "train" else samples


def _of_record(asked: DataOptions, record: DataSet, labels: tuple[str, ...], chosen: Any) -> Samples:
    cache = cache_dir()
    with writing(cache, ADVICE):
        cache.mkdir(parents=True, exist_ok=True)
    module, _, function = record.target.partition(":")
    data_dir = data_folder(Path(asked.data_dir) if asked.data_dir else None)
    samples = getattr(import_module(module), function)(Request(data_dir, labels, cache, chosen))
    if not isinstance(samples, Samples):
        raise GanzooError(f"data set '{record.name}': {record.target} returned {type(samples).__name__}; wanted ganzoo.Samples.")
    return samples


def _size(asked: DataOptions, samples: Samples, record: DataSet | None, sizes: tuple[int, ...]) -> tuple[tuple[int, int] | None, bool]:
    """Height and width at which pictures are stored, None where there are none; and whether they are scaled to it, or cut out."""
    size, crop = size_of(asked.image_size), size_of(asked.crop)
    if not samples.files and not any(medium(field.medium).pictures for field in samples.fields.values()):
        if size is not None:
            raise UsageError(f"--image-size {asked.image_size}: data set '{asked.dataset}' holds no images. Leave --image-size out.")
        if crop is not None:
            raise UsageError(f"--crop {asked.crop}: data set '{asked.dataset}' holds no images. Leave --crop out.")
        return None, True
    if size is not None:
        return size, True
    if crop is not None and samples.files:
        return _common_size(samples, crop), False
    if crop is not None:
        return samples.size, True
    side = (record.image_size if record else None) or min(samples.size or USUAL_SIZE)
    if sizes:
        side = min((size for size in sizes if size >= side), default=max(sizes))
    return (side, side), True


def _common_size(samples: Samples, crop: tuple[int, int]) -> tuple[int, int]:
    """Height and width that all photos have, those left out that are smaller than a window: of each, the middle is kept."""
    from ganzoo.media.decode import size_of as size_in

    files = samples.files["x"] if "x" in samples.files else next(iter(samples.files.values()))

    def size(i: int) -> tuple[int, int] | None:
        try:
            return size_in(files.read(i))
        except Exception:  # told of when it is decoded
            return None

    with _quiet_pillow():
        found = [s for s in _of_each(size, len(files.names)) if s is not None and s[0] >= crop[0] and s[1] >= crop[1]]
    if not found:
        raise TooSmall(f"--crop: no picture has {crop[1]} x {crop[0]} pixels. Name a smaller window.")
    return min(height for height, _ in found), min(width for _, width in found)


def _read(path: Path, name: str) -> Prepared | None:
    """The prepared data in the file; None if there is none, or a damaged one."""
    found = _opened(path, name)
    with suppress(GanzooError):
        if found is not None and len(found.file) <= SMALL_BYTES:
            found.load()
        return found
    return None


def _part_at(path: Path) -> Prepared:
    """The prepared data in a user's file, all of it compared with its hashes. Raises UsageError where there is none, or a damaged one."""
    found = _opened(path, path.stem)
    if found is None or any(hashes_of(rows) != found.blocks[key] for key, rows in found.mapped.items()):
        raise UsageError(f"{path}: wanted data as `ganzoo prepare --part` writes it; it is something else, or damaged.")
    return found


def _opened(path: Path, name: str) -> Prepared | None:
    """The prepared data in the file, of which only the header has been looked at; None if there is none, or another header."""
    try:
        header = safetensors_header(path, limit=MAX_HEADER_BYTES)
        meta = json.loads(header["__metadata__"]["ganzoo"])
        if meta.pop("self") != _hash_of_meta(meta):
            return None
        skipped = tuple((str(image), str(reason)) for image, reason in meta["skipped"])
        spec = DataSpec.from_json(meta["spec"])
        counts = {group: header[keys[0]]["shape"][0] for group, keys in spec.sets.items()}
        blocks = {str(key): hashes if isinstance(hashes, str) else "".join(hashes) for key, hashes in meta["blocks"].items()}  # once lists
        found = Prepared(path, name, spec, meta["checksum"], counts, skipped, meta["note"], blocks)
        for key, own in spec.fields.items():
            rows = found.mapped[key]
            wanted = (counts[spec.set_of(key)], *own.shape)
            whole = len(blocks[key]) == DIGITS * -(-len(rows) // rows_a_block(rows))
            if not whole or tuple(rows.shape) != wanted or rows.dtype != medium(own.medium).dtype:
                return None
        return found
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def _hash_of_meta(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _write(path: Path, name: str, samples: Samples, size: tuple[int, int] | None, scaled: bool, report: Progress) -> None:
    """Prepare the samples into the file. Rows go to raw files first, so that memory never holds them all."""
    from safetensors.torch import save_file

    arrays = _arrays(name, samples)
    tensors, fields, skipped, notes = dict[str, Any](), dict[str, Field](), list[tuple[str, str]](), list[str]()
    with ExitStack() as stack:
        for keys in samples.grouped().values():
            kept, peak = None, 0
            files = {key: samples.files[key] for key in keys if key in samples.files}
            columns = {key: stack.enter_context(_Column(path, key)) for key in keys}
            if files:
                assert size is not None
                peak = _peak(files, name, notes)
                kept = _add_files(columns, files, name, size, scaled, skipped, notes, report, peak)
            for key in keys:
                given = samples.fields.get(key, Field("image", peak=peak))
                if key not in files:
                    array = arrays[key]
                    if files and len(array) != len(next(iter(files.values())).names):
                        n = len(next(iter(files.values())).names)
                        raise GanzooError(f"data set '{name}': wanted {n} rows of {key}, one an image; got {len(array)}.")
                    given, told = _add_array(columns[key], array, given, kept, name, size, report)
                    notes += [told] if told else []
                tensors[key], fields[key] = columns[key].all(given)
            if len({len(tensors[key]) for key in keys}) > 1:
                counts = ", ".join(f"{len(tensors[key])} rows of {key}" for key in keys)
                raise GanzooError(f"data set '{name}': {counts}; they belong together, so there must be equally many.")
        spec = DataSpec(fields, samples.grouped())
        checksum = hashlib.sha256(json.dumps(spec.to_json()).encode())
        for tensor in tensors.values():
            checksum.update(tensor.numpy().data)
        note = "; ".join(filter(None, (samples.note, *notes)))
        meta = {"spec": spec.to_json(), "checksum": checksum.hexdigest(), "skipped": skipped, "note": note}
        meta["blocks"] = {key: hashes_of(tensor) for key, tensor in tensors.items()}
        meta["self"] = _hash_of_meta(json.loads(json.dumps(meta)))
        with replacing(path, ADVICE) as beside:
            save_file(tensors, beside, metadata={"ganzoo": json.dumps(meta)})
            beside.chmod(next(iter(columns.values())).raw.stat().st_mode & 0o777)  # what the user's umask says; the library's own is 600


class _Column:
    """The rows of one field so far, in a raw file beside the one that is to be written."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key, self.raw = path, key, unfinished(path, f".{key}.raw")
        self.count, self.shape = 0, ()  # type: int, tuple[int, ...]

    def __enter__(self) -> _Column:
        with writing(self.path, ADVICE):
            self.file: BinaryIO = open(self.raw, "xb")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.raw.unlink(missing_ok=True)

    def add(self, rows: Any) -> None:
        """rows: a C-contiguous numpy array (n, ...)."""
        self.shape = rows.shape[1:]
        self.count += len(rows)
        with writing(self.path, ADVICE):
            self.file.write(rows.data)

    def all(self, field: Field) -> tuple[Tensor, Field]:
        """All rows, mapped, and their field."""
        kind = medium(field.medium)
        stored, field = kind.settle(self._mapped(kind.dtype), field)
        if stored.is_contiguous():
            return stored, field
        with _Column(self.path, f"{self.key}.settled") as column:  # a part of each row: it is not made in memory
            for lot in stored.split(CHUNK):
                column.add(lot.contiguous().numpy())
            return column._mapped(kind.dtype), field

    def _mapped(self, dtype: torch.dtype) -> Tensor:
        import torch

        with writing(self.path, ADVICE):
            self.file.flush()
        return torch.frombuffer(mapping(self.raw), dtype=dtype).view(self.count, *self.shape)


def _add_files(
    columns: Mapping[str, _Column], files: Mapping[str, Files], name: str, size: tuple[int, int], scaled: bool,
    skipped: list[tuple[str, str]], notes: list[str], report: Progress, peak: int,
) -> list[int]:  # fmt: skip
    """Decode the image files of one set, row by row; returns the rows that could be read. The others are put into `skipped`, with reasons.

    Raises GanzooError for more than MAX_BAD.
    """
    from ganzoo.media.decode import has_16_bits, pixels
    from ganzoo.media.decode import size_of as size_in

    kept, bad = list[int](), 0
    total = len(next(iter(files.values())).names)
    if not total:
        raise UsageError(f"data set '{name}' has no images.")

    coloured, small, deep = list[str](), list[str](), list[str]()
    each = max(1, min(CHUNK, CHUNK_BYTES // (3 * size[0] * size[1])))

    def decode(i: int) -> Any:
        rows = {}
        for key, column in files.items():
            try:
                source = column.read(i)
                rows[key] = pixels(source, size, scaled, peak)
                if not peak and has_16_bits(source):
                    deep.append(column.names[i])
                if max(size_in(source)) * 2 < max(size):
                    small.append(column.names[i])
            except Exception as error:  # decoders raise whatever they like
                return column.names[i], (str(error) or type(error).__name__).splitlines()[0][:200]
        return rows

    with _quiet_pillow(), ThreadPoolExecutor(_threads()) as pool:
        for start in range(0, total, each):
            chunk = range(start, min(start + each, total))
            for i, result in zip(chunk, pool.map(decode, chunk), strict=True):
                if isinstance(result, tuple):
                    skipped.append(result)
                    bad += 1
                    continue
                kept.append(i)
                for key, row in result.items():
                    columns[key].add(row[None])
                    if not ((row[0] == row[1]) & (row[0] == row[2])).all():
                        coloured.append(files[key].names[i])
            if bad > max(FEW_BAD, MAX_BAD * total) or bad * 2 > total:
                worst = "\n".join(f"  {image}: {reason}" for image, reason in skipped[-bad:][:10])
                raise GanzooError(
                    f"{bad} of the first {chunk.stop} images of '{name}' ({total} in all) cannot be read, which is too many: more than "
                    f"{FEW_BAD} and more than {MAX_BAD:.0%}; nothing was prepared. Repair or remove them:\n{worst}{_more(bad - 10)}"
                )
            report(f"preparing {name}", chunk.stop, total)
    if 0 < len(coloured) * FEW < total:
        is_ = "is" if len(coloured) == 1 else "are"
        notes.append(f"{len(coloured)} of {total} images {is_} in colour, the others are grey: {some(sorted(coloured))}")
    if 0 < len(deep) * FEW < total:
        has = "has" if len(deep) == 1 else "have"
        notes.append(f"{len(deep)} of {total} images {has} 16 bits, of which the upper 8 are taken: {some(sorted(deep))}")
    if small:
        has = "has" if len(small) == 1 else "have"
        notes.append(f"{len(small)} of {total} images {has} less than half of the pixels a side: {some(sorted(small))}")
    return kept


def _peak(files: Mapping[str, Files], name: str, notes: list[str]) -> int:
    """The largest value in the 16-bit images of a set, which is to become white; 0 where they are few.

    Looks at all of them only where SPREAD images from all over the set hold one.

    Raises GanzooError where all of them are of one value.
    """
    from ganzoo.media.decode import range_of

    ranges: list[tuple[int, int]] = []
    with _quiet_pillow():
        for column in files.values():

            def values(i: int, column: Files = column) -> tuple[int, int] | None:
                try:
                    return range_of(column.read(i))
                except Exception:  # told of when it is decoded
                    return None

            if any(values(i) for i in range(0, len(column.names), max(1, len(column.names) // SPREAD))):
                ranges += [found for found in _of_each(values, len(column.names)) if found]
    if not ranges or len(ranges) * FEW < sum(len(column.names) for column in files.values()):
        return 0
    low, high = min(a for a, _ in ranges), max(b for _, b in ranges)
    if low == high:
        raise GanzooError(f"data set '{name}': every pixel of its 16-bit images has the value {low}: there is nothing to learn.")
    if high <= MAX_SMALL:
        notes.append(f"16-bit images with values up to {high}: that becomes white")
        return high
    return 0


def _more(count: int) -> str:
    return f"\n  and {count} more" if count > 0 else ""


def _arrays(name: str, samples: Samples) -> Mapping[str, Any]:
    """What the data set gives beside image files. Raises GanzooError where that is not what it says."""
    try:
        arrays = samples.arrays() if samples.arrays else {}
    except (ValueError, EOFError) as error:  # numpy's, for a file that is cut off or holds objects
        raise GanzooError(f"data set '{name}' cannot be read: {error}.") from error
    if arrays.keys() != samples.fields.keys():
        raise GanzooError(
            f"data set '{name}': wanted the arrays {', '.join(samples.fields) or 'none'}, as its fields say; got {', '.join(arrays)}."
        )
    return arrays


def _add_array(
    column: _Column, array: Any, given: Field, kept: list[int] | None, name: str, size: tuple[int, int] | None, report: Progress
) -> tuple[Field, str]:
    """Check a whole array and bring it, or its rows `kept`, into the column, some at a time; returns its field, and a note or ""."""
    import numpy as np
    import torch

    what = f"data set '{name}', {column.key}"
    array = np.asarray(array) if isinstance(array, list | tuple) else array
    kind = medium(given.medium)
    try:
        array, given, note = kind.whole(array, given)
        field = kind.field(tuple(array.shape), dtype_name(array.dtype), given)
        if kind.pictures and size is not None:
            field = replace(field, shape=(field.shape[0], *size))
        rows = range(len(array)) if kept is None else kept
        for start in range(0, len(rows), CHUNK):
            chunk = array[start : start + CHUNK] if kept is None else array[kept[start : start + CHUNK]]
            chunk = chunk if isinstance(chunk, torch.Tensor) else torch.from_numpy(np.array(chunk, dtype=chunk.dtype.newbyteorder("=")))
            try:
                column.add(np.ascontiguousarray(kind.store(chunk, field).numpy()))
            except UsageError as e:
                raise GanzooError(f"{what}, rows {start} to {start + len(chunk)}: {e}.") from e
            report(f"preparing {name}", column.count, len(rows))
    except UsageError as e:
        raise GanzooError(f"{what}: {e}.") from e
    return field, note


def _threads() -> int:
    """The threads that decode: Pillow does not hold the interpreter meanwhile, so a few help; more only take memory."""
    return min(8, allowed_cores())


def _of_each(find: Callable[[int], T], n: int) -> Iterator[T]:
    """find(0) to find(n - 1), in their order, by several threads: some at a time, since what is waiting takes memory too."""
    with ThreadPoolExecutor(_threads()) as pool:
        for start in range(0, n, CHUNK):
            yield from pool.map(find, range(start, min(start + CHUNK, n)))


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Without Pillow's warnings of unusual palettes, EXIF and sizes: what matters of that is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
