"""The rules of the house: who imports whom, no pickle, lint, types, and what the packaging says."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

import ganzoo
from ganzoo import hookspecs
from ganzoo.comparison.table import spread_of
from ganzoo.registry.catalogue import catalogue

CORE = sorted((ROOT / "ganzoo").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
FOLDERS = sorted(p.name for p in (ROOT / "plugins").iterdir() if (p / "__init__.py").exists())

#: The floors of the house: each module or folder may import those of its own floor and of those before it.
LAYERS = [
    {"errors", "types"},
    {"options", "hookspecs", "randomness", "ranks", "processes", "files", "machine"},
    {"config", "interfaces", "strategy", "metrics", "pictures"},
    {"media"},
    {"registry"},
    {"data"},
    {"compose", "scaffold"},
    {"runs"},
    {"evaluation"},
    {"training", "report"},
    {"comparison", "api"},
    {"testing"},
    {"cli", "__main__"},
]


def imports(path):
    """The modules that a file imports, wherever in it, but for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module):
    return next(i for i, names in enumerate(LAYERS) if module in names)


def ours(path):
    """The modules of ganzoo's own that a file imports, as dotted names of files; the face, which only hands names on, left out."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "ganzoo":
            files = [(ROOT / "/".join(parts[:n])).with_suffix(".py") for n in range(len(parts), 1, -1)]
            packages = [ROOT / "/".join(parts[:n]) / "__init__.py" for n in range(len(parts), 1, -1)]
            found = next((p for pair in zip(files, packages, strict=True) for p in pair if p.exists()), None)
            if found is not None:
                yield found


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_is_below_it(path):
    own = path.relative_to(ROOT / "ganzoo").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for other in ours(path):
        module = other.relative_to(ROOT / "ganzoo").parts[0].removesuffix(".py")
        assert module == own or layer(module) <= layer(own), f"{own} imports {module}"
        assert not (path.stem == "loop" and other.stem in ("catalogue", "discovery", "compose")), "the loop knows no names"


def test_no_modules_import_each_other_in_a_circle():
    """Not even inside a folder, and not inside a function: what is imported late for speed counts as well."""
    above = {path: set(ours(path)) - {path} for path in CORE}
    while free := [path for path, below in above.items() if not below & above.keys()]:
        for path in free:
            del above[path]
    # What is left stands on a circle, or above one.
    while top := [path for path in above if not any(path in below for below in above.values())]:
        for path in top:
            del above[path]
    assert not above, "these stand in a circle: " + ", ".join(sorted(str(path.relative_to(ROOT)) for path in above))


@pytest.mark.parametrize("path", PLUGINS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_plugin_uses_public_names_only_and_no_other_plugin(path):
    own = path.relative_to(ROOT / "plugins").parts[0]
    public = set(ganzoo.__all__)
    for name in imports(path):
        first, _, rest = name.partition(".")
        assert not first.startswith("ganzoo_") or first == own, name
        if first == "ganzoo":
            assert rest == "" or rest in public, f"{name} is not public"
    for used in re.findall(r"\bganzoo\.(\w+)", path.read_text(encoding="utf-8")):
        assert used in public or f'"{used}' in str(FOLDERS), used


def test_every_public_name_is_there():
    for name in ganzoo.__all__:
        assert getattr(ganzoo, name) is not None
    with pytest.raises(AttributeError):
        _ = ganzoo.no_such_name


def test_a_manifest_imports_ganzoo_and_the_standard_library_only():
    for folder in FOLDERS:
        for name in imports(ROOT / "plugins" / folder / "__init__.py"):
            first = name.partition(".")[0]
            assert first in ("ganzoo", folder) or first in sys.stdlib_module_names, f"{folder}: {name}"


def test_no_pickle_is_read_or_written():
    """Neither by name nor by what would do it underneath."""
    words = r"\bimport pickle", r"\bpickle\.", r"torch\.(load|save)\b", "weights_only", "allow_pickle=True", r"\bdcp\.", "joblib", "shelve"
    forbidden = re.compile("|".join(words))
    kit = ROOT / "ganzoo" / "testing" / "rules" / "plugin.py"  # which looks for these very words
    for path in {*CORE, *PLUGINS, *(ROOT / "benchmarks").rglob("*.py")} - {kit}:
        found = forbidden.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path}: {found[0] if found else ''}"


def test_a_run_a_resume_and_a_sample_touch_no_pickle(images, tmp_path):
    """The whole way, with pickle taken away."""
    data = images()
    code = f"""
import pickle, sys
def refuse(*a, **k): raise AssertionError("pickle")
import torch, ganzoo.training.loop, ganzoo.cli.train, torchvision
for name in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"): setattr(pickle, name, refuse)
torch.load = torch.save = refuse
from ganzoo.cli import main
for words in (["run", "gan", "--dataset", {str(data)!r}, "--steps", "2", "--batch-size", "4", "--out", {str(tmp_path / "r")!r}],
              ["resume", {str(tmp_path / "r")!r}, "--steps", "3"], ["sample", {str(tmp_path / "r")!r}]):
    try: main(words)
    except SystemExit as e: assert not e.code, words
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_plugin_folder_is_an_entry_point_and_has_a_card():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(project["project"]["entry-points"]["ganzoo"].values()) == sorted([*FOLDERS, "ganzoo.media"])
    for folder in FOLDERS:
        assert len((ROOT / "plugins" / folder / "README.md").read_text(encoding="utf-8").splitlines()) > 10, folder
    loaded = {p.module: p for p in catalogue().plugins if p.distribution == "pyganzoo"}
    assert sorted(loaded) == sorted([*FOLDERS, "ganzoo.media"])
    assert all(p.state == "ok" for p in loaded.values()), "install again: pip install -e ."


def test_every_model_reads_like_its_paper():
    for path in (ROOT / "plugins").glob("*/model.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 250, f"{path.parent.name}: {lines} lines"


def test_every_hook_and_option_is_documented():
    for name in dir(hookspecs):
        if name.startswith("ganzoo_"):
            assert getattr(hookspecs, name).__doc__
    from ganzoo import options
    from ganzoo.config import RunOptions

    for cls in [RunOptions, *(e.record.options for e in catalogue().entries() if getattr(e.record, "options", None))]:
        for name, f in options.fields(cls).items():
            assert f.metadata.get("help"), f"{cls.__module__}.{cls.__name__}.{name}"


def test_dependencies_have_no_upper_pins_and_each_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for requirement in (*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)):
        assert "<" not in requirement
        assert "==" not in requirement
        assert f"**{re.split('[><=[]', requirement)[0]}**" in text, requirement


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda p: p.stem)
def test_every_benchmark_can_be_started(path, monkeypatch):
    """Nothing else runs them when a name that they use is changed."""
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclasses
    spec.loader.exec_module(module)
    assert callable(module.main)


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["mypy"]], ids=lambda c: c[0])
def test_lint_and_types_hold(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_shows_the_figures_of_the_score_board_as_they_were_measured():
    told = json.loads((ROOT / "benchmarks" / "results" / "scoreboard.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    figures: dict[str, list[float]] = {}
    for row in told["rows"]:
        if row["figures"]:
            figures.setdefault(row["name"], []).append(row["figures"]["cFID"])
    drawing = [e for e in catalogue().entries("generator") if "image" in e.record.media]
    sampled = [e.name for e in drawing if "source" not in e.record.takes]
    recipes = [e for e in catalogue().entries("recipe") if e.plugin.distribution == "pyganzoo"]
    others = {"sgan", "infogan"}  # what they are for is another product, which their cards measure
    images = [e.name for e in recipes if e.record.parts["generator"] in sampled and e.name not in others]
    assert sorted(figures) == sorted([*images, "real, held out"]), "every GAN that draws images of latents is on the board"
    for name in images:
        lines = re.findall(rf"^\| \[`{re.escape(name)}`\].*$", readme, re.MULTILINE)
        assert any(f"| {spread_of(figures[name], '.3g')} |" in line for line in lines), name
        assert any(spread_of(figures[name], ".3g") in result for result in catalogue().recipe(name).results), f"ganzoo show {name}"
