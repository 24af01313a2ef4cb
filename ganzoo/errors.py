"""Errors for users: what was wanted, what was given, what to do. They are shown without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: What would move the cursor, change colours or turn the direction of writing on a terminal: a file or a plugin may hold anything.
_UNSAFE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_UNSAFE |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))}


def clean(text: object) -> str:
    """A text without control characters, which are written out; newlines and tabs stay."""
    return str(text).translate(_UNSAFE)


def one_line(text: object) -> str:
    """As `clean`, and newlines and tabs are written out too: names from files and data, which could look like lines of ours."""
    return clean(text).replace("\n", "\\n").replace("\t", "\\t")


def tidy(value: Any) -> Any:
    """A value of JSON with its texts, keys too, as `one_line` gives them: for files that anybody may have written."""
    if isinstance(value, dict):
        return {one_line(key): tidy(each) for key, each in value.items()}
    if isinstance(value, list):
        return [tidy(each) for each in value]
    return one_line(value) if isinstance(value, str) else value


class GanzooError(Exception):
    """A failure whose message says what to do about it. The command line ends with status 1."""

    exit_code = 1


class UsageError(GanzooError):
    """A request that cannot be met: an unknown name, a wrong option, parts that don't fit. Status 2."""

    exit_code = 2


class NoSuchData(UsageError):
    """No data set and no file has the name that was asked for."""


class TooSmall(UsageError):
    """No picture is as large as the windows that are to be cut from it."""


class RunStopped(GanzooError):
    """A run ended before its last step, with a checkpoint: by a signal (status 128 + its number) or a term that is not finite."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """ " Did you mean 'x'?" for the known name most like the wrong one; an empty string where none is like it."""
    import difflib

    close = difflib.get_close_matches(wrong.lower().replace("_", "-"), sorted(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
