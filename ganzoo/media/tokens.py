"""Texts: int64 (T,), numbers of words in a vocabulary.

A line becomes words, runs of letters and digits (with the apostrophes inside) or single other signs, in small letters. The vocabulary holds
the most frequent words of the training lines; 0 stands for the end of a text, which fills up the shorter ones, and 1 for a word that is not
in it. A vocabulary of somebody's own whose first word is called otherwise has no end: all texts are as long as the field says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.files import write_text
from ganzoo.media.medium import Medium
from ganzoo.pictures import grid, text_cell
from ganzoo.randomness import generator
from ganzoo.types import END, DataSet, Field

if TYPE_CHECKING:
    from PIL.Image import Image

UNKNOWN = "<unknown>"
# Control characters, which files and terminals are not to be shown, are no signs.
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NO_SPACE_BEFORE = frozenset(".,;:!?)]}%'’")
WIDTH = 60  # letters on a line of a sheet
SHEET = 640  # pixels across that short texts share
MANY = 100  # words that are shown one by one
LONGEST = 32  # words of a text, where nobody says how many
TOY_WORDS = (END, UNKNOWN, *(f"word{i}" for i in range(2, 16)))


class Tokens(Medium):
    """Arrays: whole numbers (N, T), from 0 to the size of the vocabulary - 1. The field's names are its words."""

    name = "tokens"
    dtype = torch.int64
    lines = True
    per_sheet = 16
    in_game = 2000
    way = 4
    unit = "counts of words"
    toys: ClassVar[tuple[Field, ...]] = (Field("tokens", (8,), len(TOY_WORDS), TOY_WORDS),)

    def accepts(self, shape: tuple[int, ...], dtype: str) -> bool:
        return dtype in ("int16", "int32", "int64", "uint16", "uint32") and len(shape) == 2

    def field(self, shape: tuple[int, ...], dtype: str, given: Field) -> Field:
        if not dtype.startswith(("int", "uint")) or len(shape) != 2:
            raise UsageError(f"wanted whole numbers (N, T) as texts; got {dtype} {shape}")
        return replace(given, shape=tuple(shape[1:]), size=given.size or len(given.names))

    def store(self, rows: Tensor, field: Field) -> Tensor:
        rows = rows.long()
        low, high = int(rows.min()), int(rows.max())
        if low < 0 or (field.size and high >= field.size):
            raise UsageError(f"wanted words from 0 to {field.size - 1}; got {low if low < 0 else high}")
        return rows

    def settle(self, stored: Tensor, field: Field) -> tuple[Tensor, Field]:
        return stored, replace(field, size=field.size or int(stored.max()) + 1)

    def read(self, path: Path, field: Field) -> Iterator[Tensor]:
        """The lines of a UTF-8 file, those that are empty left out."""
        if not field.names:
            raise UsageError(f"{path}: the network was trained on numbers without a vocabulary, so it cannot read words.")
        for line in lines_of(path):
            yield encoded([line], field)[0]

    def stored(self, x: Tensor, field: Field) -> Tensor:
        """Words (N, T); of logits (N, T, size) the most probable."""
        x = x.detach().cpu()
        return (x.argmax(2) if x.dim() == 3 else x).long()

    def write(self, rows: Tensor, folder: Path, field: Field, names: Sequence[str]) -> None:
        """One file, texts.txt, a line each."""
        write_text(folder / "texts.txt", "".join(f"{decoded(row, field)}\n" for row in rows))

    def objects(self, rows: Tensor, field: Field) -> list[Any]:
        return [decoded(row, field) for row in rows]

    def rows(self, given: Any, field: Field) -> list[Tensor]:
        """A line of text, the path of a file of lines, or the numbers of its words."""
        if isinstance(given, str) and field.names:
            return [encoded([given], field)[0]]
        return super().rows(given, field)

    def cells(self, rows: Tensor, field: Field) -> list[Image]:
        return [text_cell(decoded(row, field), WIDTH) for row in rows]

    def sheet(self, rows: Tensor, field: Field, columns: int, real: Tensor | None = None) -> Image:
        """As many texts beside each other as there is room for."""
        cells = self.cells(rows, field)
        return grid(cells, max(1, min(columns, SHEET // max(cell.width for cell in cells))), gap=6, texts=True)

    def vocabulary(self, lines: Iterable[str], size: int | None, length: int) -> tuple[str, ...]:
        """The words of a field: the `size` most frequent ones among the first `length` of each line, None: all; the end and the unknown one
        count."""
        return vocabulary((words_of(line)[:length] for line in lines), size)

    def coordinates(self, rows: Tensor, field: Field) -> Tensor:
        """How often each word stands in the text: (N, size)."""
        return torch.zeros(len(rows), field.size).scatter_add_(1, rows, torch.ones(rows.shape))

    def places(self, real: Tensor, field: Field) -> Tensor | None:
        """Every word, where a text has one."""
        return torch.arange(field.size)[:, None] if field.shape == (1,) and field.size <= MANY else None

    def usual(self, field: Field, classes: int, record: DataSet | None, truth: bool) -> tuple[str, str, int]:
        return "bleu", "", 1000

    def toy(self, n: int, field: Field) -> Mapping[str, Tensor]:
        """Four kinds of texts: each begins with a word of its own and counts on from it, by one or by two."""
        g = generator("texts", n)
        y = torch.arange(n) % 4
        length = torch.randint(field.shape[0] // 2, field.shape[0] + 1, (n,), generator=g)
        place = torch.arange(field.shape[0])
        words = 2 + (3 * y[:, None] + place * (1 + y[:, None] % 2)) % (field.size - 2)
        return {"x": torch.where(place < length[:, None], words, 0), "y": y}


def words_of(line: str) -> list[str]:
    """The words of a line, in small letters; signs are words of their own."""
    return WORD.findall(line.lower())


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file that are not empty. Raises UsageError where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path}: wanted a text file in UTF-8: {e}.") from e


def vocabulary(texts: Iterable[Sequence[str]], size: int | None) -> tuple[str, ...]:
    """The `size` most frequent words, None: all, with the end and the unknown one; of equally frequent ones the first in the alphabet."""
    counts = Counter(word for text in texts for word in text)
    frequent = sorted(counts, key=lambda word: (-counts[word], word))
    return (END, UNKNOWN, *frequent[: None if size is None else size - 2])


def encoded(lines: Sequence[str], field: Field) -> tuple[Tensor, int, int]:
    """Lines as int64 (N, T): cut, or filled up with the end. Also how many words of those are unknown, and how many lines were cut."""
    number, length = {word: i for i, word in enumerate(field.names)}, field.shape[0]
    rows = torch.zeros(len(lines), length, dtype=torch.int64)
    unknown = cut = 0
    for i, line in enumerate(lines):
        numbers = [number.get(word, 1) for word in words_of(line)]
        cut += len(numbers) > length
        numbers = numbers[:length]
        unknown += numbers.count(1)
        rows[i, : len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
    return rows, unknown, cut


def decoded(row: Tensor, field: Field) -> str:
    """A text (T,) as a line, up to its end."""
    text = ""
    for k in row.tolist():
        if k == 0 and field.ends:
            break
        word = field.names[k] if k < len(field.names) else f"#{k}"
        text += word if not text or word in NO_SPACE_BEFORE else f" {word}"
    return text
