"""The tensors of a safetensors file, mapped: it may be larger than the memory, and only the rows that are asked for are read."""

from __future__ import annotations

import math
import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.files import safetensors_header

if TYPE_CHECKING:
    from torch import Tensor

#: The longest header that the library of the format reads.
MAX_HEADER_BYTES = 100_000_000
DTYPES = {
    "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32", "U32": "uint32", "I64": "int64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip


def mapping(path: Path) -> mmap.mmap:
    """A file as a buffer: nothing of it is read yet, and what is written into it stays in this process.

    Linux refuses a private mapping larger than its memory where memory is set aside for all that could be written; none is, here.
    """
    with open(path, "rb") as file:
        if sys.platform == "linux":
            no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names it from 3.13 on
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | no_reserve, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


class Mapped:
    """The tensors of a safetensors file by key, in `rows`. header: the file's, where it was read before.

    Raises OSError, ValueError, KeyError or TypeError where the file is not what its header says.
    """

    def __init__(self, path: Path, header: dict[str, Any] | None = None) -> None:
        import torch

        header = safetensors_header(path, MAX_HEADER_BYTES) if header is None else header
        entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
        self._map = mapping(path)
        begin = len(self._map) - max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        self.rows: dict[str, Tensor] = {}
        self._place = {key: begin + int(entry["data_offsets"][0]) for key, entry in entries.items()}
        for key, entry in entries.items():
            dtype, (start, end) = getattr(torch, DTYPES[entry["dtype"]]), entry["data_offsets"]
            count = math.prod(entry["shape"])
            if count * dtype.itemsize != end - start or start < 0:
                raise ValueError(f"{key}: its shape is not that of its bytes")
            flat = torch.frombuffer(self._map, dtype=dtype, count=count, offset=begin + start) if count else torch.empty(0, dtype=dtype)
            self.rows[key] = flat.view(entry["shape"])

    def __len__(self) -> int:
        """The bytes of the file."""
        return len(self._map)

    def expect(self, key: str, rows: Tensor) -> None:
        """Have these rows read in the background, and nothing around them: int64 (n,).

        A row that is touched without it brings hundreds of kilobytes along, which the kernel reads ahead in the hope of order.
        """
        if not hasattr(mmap, "MADV_WILLNEED") or not rows.numel():
            return
        size, place, page = self.rows[key][:1].nbytes, self._place[key], mmap.PAGESIZE
        for row in rows.tolist():
            start = place + row * size
            self._map.madvise(mmap.MADV_WILLNEED, start - start % page, size + start % page)
