"""Mails of two kinds, ham and spam, from a file of lines "ham, tab, text": the SMS Spam Collection, or somebody's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo import Field, Request, Samples, UsageError, medium
from ganzoo_seqgan import MailOptions

FILE = "SMSSpamCollection"
KINDS = ("spam", "ham")
HELD_OUT = 5  # of so many mails, one is held out


def mails(request: Request) -> Samples:
    """Four mails of five: "x" the hams, "x_s" the spams, and both with their kind as "x_l" and "y_l"."""
    return _mails(request, test=False)


def held_out(request: Request) -> Samples:
    """The fifth: "x", and its kind "y"."""
    return _mails(request, test=True)


def _mails(request: Request, test: bool) -> Samples:
    o: MailOptions = request.options or MailOptions()
    places = [request.data_dir / FILE, request.data_dir / "text" / FILE, request.data_dir / "sms" / FILE]
    path = Path(o.file).expanduser() if o.file else next((place for place in places if place.exists()), places[0])
    pairs = _read(path)
    tokens: Any = medium("tokens")
    known = [text for i, (_, text) in enumerate(pairs) if i % HELD_OUT]
    field = Field("tokens", (o.length,), 0, tokens.vocabulary(known, o.words or None, o.length))
    field = Field("tokens", (o.length,), len(field.names), field.names)
    label = Field("label", (), len(KINDS), KINDS)
    chosen = [pair for i, pair in enumerate(pairs) if (i % HELD_OUT == 0) == test]

    def arrays() -> Mapping[str, Any]:
        import torch

        x = torch.cat([row for _, text in chosen for row in tokens.rows(text, field)])
        y = torch.tensor([KINDS.index(kind) for kind, _ in chosen])
        return {"x": x, "y": y} if test else {"x": x[y == 1], "x_s": x[y == 0], "x_l": x, "y_l": y}

    status, keys = path.stat(), ("x", "y") if test else ("x", "x_s", "x_l", "y_l")
    fields = {key: label if key.startswith("y") else field for key in keys}
    return Samples(f"{status.st_size} {status.st_mtime_ns} {o.words} {o.length} {test}", arrays=arrays, fields=fields)


def _read(path: Path) -> list[tuple[str, str]]:
    """Kind and text of each line. Raises UsageError where the file is not there, or a line is not like that."""
    wanted = "wanted lines of ham or spam, a tab, and the text, in UTF-8, as the SMS Spam Collection has them"
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist. Put the SMS Spam Collection's file there (UCI repository, CC BY 4.0), or name your own with "
            f"--dataset.file PATH: {wanted}."
        ) from None
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} cannot be read: {e}; {wanted}.") from e
    pairs = [(kind.strip().lower(), text.strip()) for kind, _, text in (line.partition("\t") for line in lines)]
    for i, (kind, text) in enumerate(pairs):
        if kind not in KINDS or not text:
            raise UsageError(f"{path}, line {i + 1}: {wanted}; it begins with {lines[i][:40]!r}.")
    kinds = [kind for kind, _ in pairs]
    if missing := [kind for kind in KINDS if kinds.count(kind) < 2 * HELD_OUT]:
        raise UsageError(f"{path}: {kinds.count(missing[0])} mails are {missing[0]}; wanted {2 * HELD_OUT} of each kind at least.")
    return pairs
