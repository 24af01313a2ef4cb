"""Writes the project of a new plugin from ganzoo's templates. No torch."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from string import Template

from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import Catalogue, Entry

TEMPLATES = Path(__file__).parent / "templates"
#: The kinds of projects, in words.
KINDS = {
    "gan": "generator, discriminator, loss and the recipe of them",
    "generator": "a generator, and a recipe around it",
    "loss": "a loss, and a recipe around it",
    "strategy": "who is updated when, and a recipe around it",
    "pairs": "networks and a loss from pictures to pictures, and the recipe of them",
    "text": "networks for texts, and a recipe around them",
    "wrapper": "what stands around a discriminator, and a recipe with it",
    "degradation": "what makes the pictures that a network is to restore",
    "medium": "a kind of data of its own, with data, networks and the recipe of them",
    "dataset": "a data set with labels, drawn offline",
}


def write_project(zoo: Catalogue, name: str, kind: str, folder: Path) -> None:
    """Make `folder` a project that publishes `name`: all of it, or nothing.

    Raises UsageError for a name that is not fit or is taken, and for a folder that cannot be made or is not empty.
    """
    module = check_name(name, zoo.entries())
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"--out: wanted a new folder, {folder} is {'not empty' if folder.is_dir() else 'a file'}. Name another one.")
    files = render(name, module, kind)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as beside:
            project = Path(beside, "project")  # not `beside` itself, which nobody else may read
            for path, text in files.items():
                (project / path).parent.mkdir(parents=True, exist_ok=True)
                (project / path).write_text(text, encoding="utf-8")
            project.rename(folder)
    except OSError as e:
        raise UsageError(f"--out: {folder} cannot be made: {e.strerror or e}. Name a folder that can be written.") from e


def check_name(name: str, entries: Iterable[Entry]) -> str:
    """The name of its package. Raises UsageError where the name is malformed, or taken by one of the entries or on the path."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise UsageError(f"NAME: wanted small letters and digits, words joined by single hyphens, as in my-gan; got {name!r}.")
    if name.startswith("ganzoo-"):
        raise UsageError(f"NAME: wanted it without 'ganzoo-', which the project's name gets by itself; got {name!r}.")
    if taken := next((entry for entry in entries if entry.record.name == name), None):
        raise UsageError(f"NAME: wanted a new one, {name!r} is a {taken.kind} of {taken.plugin.origin}. `ganzoo list --kind all` tells.")
    module = f"ganzoo_{name.replace('-', '_')}"
    if importlib.util.find_spec(module) is not None:
        raise UsageError(f"NAME: wanted a new one; {name!r} needs a package {module}, and one can be imported already. Choose another.")
    return module


def sources(name: str, module: str, kind: str) -> dict[str, str]:
    """The template of each file of the project, by the file's path."""
    more = {f"src/{module}/medium.py": "medium/medium.py"} if kind == "medium" else {}
    return {
        **more,
        "pyproject.toml": "common/pyproject.toml",
        "README.md": f"{kind}/README.md",
        "LICENSE": "common/LICENSE",
        ".gitignore": "common/gitignore",
        ".github/workflows/ci.yml": "common/ci.yml",
        f"src/{module}/__init__.py": f"{kind}/__init__.py",
        f"src/{module}/model.py": f"{kind}/model.py",
        f"src/{module}/py.typed": "common/py.typed",
        f"tests/test_{name.replace('-', '_')}.py": "common/test.py",
    }


def render(name: str, module: str, kind: str) -> dict[str, str]:
    """The text of each file of the project, by path."""
    from ganzoo import __version__

    title = name.replace("-", " ").capitalize()
    values = {"name": name, "module": module, "title": title, "version": __version__, "year": date.today().year}
    texts = {path: (TEMPLATES / f"{source}.tmpl").read_text(encoding="utf-8") for path, source in sources(name, module, kind).items()}
    return {path: Template(text).substitute(values) for path, text in texts.items()}
