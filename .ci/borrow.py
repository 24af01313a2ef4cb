"""python borrow.py LENDER FOLDER WHEEL...: a virtual environment that has the wheels, and of LENDER's packages all but ganzoo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def borrow(lender: Path, folder: Path, *wheels: Path) -> Path:
    """Make it; returns its folder of commands.

    What LENDER has by way of an editable install stays behind: only its site-packages are lent, not its .pth files.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    lent = folder / "lent"
    lent.mkdir()
    for entry in site(lender).iterdir():
        if not entry.name.startswith(("pyganzoo-", "_pyganzoo")) and not (entry.suffix == ".pth" and "pyganzoo" in entry.name):
            (lent / entry.name).symlink_to(entry)
    (site(folder) / "lent.pth").write_text(f"{lent.resolve()}\n")
    install(folder, *wheels)
    return folder / "bin"


def site(environment: Path) -> Path:
    """The site-packages of an environment."""
    return next(environment.resolve().glob("lib/python3*/site-packages"))


def install(environment: Path, *wheels: Path) -> None:
    """Install wheels without what they depend on."""
    subprocess.run([environment / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *wheels], check=True)


if __name__ == "__main__":
    borrow(*map(Path, sys.argv[1:]))
