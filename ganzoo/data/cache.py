"""Where prepared and downloaded data lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: What to do where the cache cannot be written.
ADVICE = "Free some room there, or set GANZOO_CACHE to a folder that can be written."


def cache_dir() -> Path:
    """$GANZOO_CACHE, else the platform's folder for caches. Nothing is created."""
    if named := os.environ.get("GANZOO_CACHE"):
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ganzoo"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "ganzoo"


def data_folder(named: str | Path | None) -> Path:
    """Where downloaded data lies: what the user named, else $GANZOO_DATA, else a folder in the cache. Nothing is created."""
    return Path(named or os.environ.get("GANZOO_DATA") or cache_dir() / "downloads").expanduser()
