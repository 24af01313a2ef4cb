"""Words for the game, drawn from known probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganzoo import Field, Request, Samples
from ganzoo_spam import WORDS

ROWS = 20_000


def mail_words(request: Request) -> Samples:
    """ROWS texts of one word: of the k-th word ROWS times its probability, 1 / k over the sum of all, to the nearest row."""
    weights = [1 / k for k in range(1, len(WORDS) + 1)]

    def arrays() -> Mapping[str, Any]:
        import numpy as np

        counts = [round(ROWS * weight / sum(weights)) for weight in weights]
        return {"x": np.repeat(np.arange(2, 2 + len(WORDS)), counts)[:, None]}

    names = ("<end>", "<unknown>", *WORDS)
    return Samples(f"{ROWS} words by rank {' '.join(WORDS)}", arrays=arrays, fields={"x": Field("tokens", (1,), len(names), names)})
