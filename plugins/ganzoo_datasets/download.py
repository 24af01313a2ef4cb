"""Official files: found where the user has them, else fetched and checked by torchvision."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ganzoo import GanzooError


def found(name: str, folders: Iterable[Path]) -> Path | None:
    """The first file of that name in the folders."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def checked(path: Path, md5: str, source: str) -> Path:
    """The path, if its MD5 is right; else GanzooError."""
    from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]

    if check_integrity(path, md5):
        return path
    raise GanzooError(
        f"{path} is not the official file: its MD5 is not {md5}. Perhaps the download is not complete: delete it and get it "
        f"again from {source}."
    )


def fetch(name: str, folder: Path, source: str, get: Callable[[str, str], None]) -> Path:
    """`folder / name`, downloaded; it appears there only when it is complete.

    get(folder, name) downloads into a folder and checks, and raises if it cannot. Whatever it raises becomes a GanzooError that
    names the file, where to get it (`source`) and where to put it.
    """
    timeout = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = tempfile.mkdtemp(dir=folder, prefix=".part-")
        try:
            socket.setdefaulttimeout(30)  # torchvision's requests would wait for ever
            get(part, name)
            os.replace(Path(part, name), folder / name)
        finally:
            socket.setdefaulttimeout(timeout)
            shutil.rmtree(part, ignore_errors=True)
    except Exception as error:  # gdown has exceptions of its own
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise GanzooError(
            f"{name} is needed and could not be downloaded ({reason}). Get it from {source} and put it in {folder}, "
            f"or name the folder that holds it with --data-dir or GANZOO_DATA."
        ) from error
    return folder / name
