"""Official files: taken from the user's folders, or else downloaded and checked by torchvision."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ganzoo import GanzooError


def find_file(name: str, folders: Iterable[Path]) -> Path | None:
    """The first file of that name in the folders, or None."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def verified(path: Path, md5: str, source: str) -> Path:
    """Returns the path if the file has this MD5; raises GanzooError otherwise."""
    from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]

    if check_integrity(path, md5):
        return path
    raise GanzooError(
        f"{path} is not the official file: its MD5 is not {md5}. The download may be incomplete: delete the file and get it "
        f"again from {source}."
    )


def fetch(name: str, folder: Path, source: str, get: Callable[[str, str], None]) -> Path:
    """Downloads a file to `folder / name`, where it appears only when it is complete. Returns its path.

    get(folder, name) downloads the file into a folder, checks it, and raises on failure. Any exception becomes a GanzooError that
    names the file, where to get it (`source`) and where to put it.
    """
    timeout = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(dir=folder, prefix=".part-")
        try:
            socket.setdefaulttimeout(30)  # torchvision sets no timeout of its own
            get(temporary, name)
            os.replace(Path(temporary, name), folder / name)
        finally:
            socket.setdefaulttimeout(timeout)
            shutil.rmtree(temporary, ignore_errors=True)
    except Exception as error:  # gdown raises its own exception types
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise GanzooError(
            f"{name} is needed and could not be downloaded ({reason}). Get it from {source} and put it in {folder}, "
            f"or name the folder that contains it with --data-dir or GANZOO_DATA."
        ) from error
    return folder / name
