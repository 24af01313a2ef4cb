"""Errors for users: what was wanted, what was given, what to do. They are shown without a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class GanzooError(Exception):
    """A failure whose message says what to do about it. The command line ends with status 1."""

    exit_code = 1


class UsageError(GanzooError):
    """A request that cannot be met: an unknown name, a wrong option, parts that don't fit. Status 2."""

    exit_code = 2


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
