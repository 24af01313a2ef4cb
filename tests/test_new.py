"""`ganzoo new`: what it writes, what it refuses. That what it writes installs, trains and keeps the rules: .ci/third_party.py."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import catalogue
from ganzoo.scaffold import project as scaffold
from ganzoo.scaffold.project import KINDS, write_project


@pytest.fixture(params=list(KINDS))
def project(request, tmp_path):
    """A project of each kind."""
    folder = tmp_path / "made"
    write_project(catalogue(), f"my-new-{request.param}", request.param, folder)
    return folder


def text_files(folder):
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}


def test_a_project_is_complete(project):
    files = text_files(project)
    (module,) = (p.name for p in (project / "src").iterdir())
    assert files.keys() == {
        "pyproject.toml", "README.md", "LICENSE", ".gitignore", ".github/workflows/ci.yml", f"src/{module}/__init__.py",
        f"src/{module}/model.py", f"src/{module}/py.typed", f"tests/test_{module.removeprefix('ganzoo_')}.py",
        *([f"src/{module}/medium.py"] if module.endswith("_medium") else []),
    }  # fmt: skip
    told = tomllib.loads(files["pyproject.toml"])
    own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = module.removeprefix("ganzoo_").replace("_", "-")
    assert told["project"]["name"] == f"ganzoo-{name}"
    assert told["project"]["entry-points"]["ganzoo"] == {name: module}
    assert told["project"]["dependencies"] == [f"pyganzoo>={own['version']}"]
    assert told["project"]["requires-python"] == own["requires-python"]
    assert set(told["project"]["optional-dependencies"]["dev"]) <= set(own["optional-dependencies"]["dev"])
    assert f'@conformance("ganzoo-{name}")' in files[f"tests/test_{name.replace('-', '_')}.py"]
    assert len([line for line in files["README.md"].splitlines() if line.startswith("## ")]) >= 4


def test_no_placeholder_is_left_and_all_python_compiles(project):
    for path, text in text_files(project).items():
        assert not re.search(r"\$(?!\{\{)", text), path
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_what_it_writes_is_linted_and_formatted(project):
    for words in (["check", "."], ["format", "--check", "."]):
        done = subprocess.run([sys.executable, "-m", "ruff", *words], cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_longer_name_is_formatted_too(tmp_path):
    for kind in KINDS:
        write_project(catalogue(), "a-name-that-is-" + "very-" * 12 + "long", kind, tmp_path / kind)
        for words in (["check", "."], ["format", "--check", "."]):
            done = subprocess.run([sys.executable, "-m", "ruff", *words], cwd=tmp_path / kind, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


def test_its_manifest_registers_records_without_torch(project):
    module = next((project / "src").iterdir()).name
    code = f"""
import sys
sys.path.insert(0, {str(project / "src")!r})
import {module} as made
from ganzoo.registry.records import fault
records = made.ganzoo_register()
assert made.GANZOO_API == 1
assert records and not [reason for record in records if (reason := fault(record))]
assert not {{"torch", "numpy"}} & set(sys.modules)
print(*(record.kind for record in records))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kind = module.removeprefix("ganzoo_my_new_")
    expected = {
        "gan": "generator discriminator loss recipe", "pairs": "generator discriminator loss recipe",
        "text": "generator discriminator recipe",
        "medium": "medium dataset generator discriminator recipe", "dataset": "dataset", "degradation": "degradation",
    }  # fmt: skip
    assert done.stdout.split() == expected.get(kind, f"{kind} recipe").split()


def test_every_template_is_used():
    used = set()
    for kind in KINDS:
        sources = scaffold.sources("x", "ganzoo_x", kind).values()
        used |= {scaffold.TEMPLATES / f"{source}.tmpl" for source in sources}
    assert used == {p for p in scaffold.TEMPLATES.rglob("*") if p.is_file()}


def test_the_command_says_what_comes_next_and_imports_no_torch(tmp_path):
    code = f"""
import os, sys
os.chdir({str(tmp_path)!r})
from ganzoo.cli import main
try:
    main(["new", "class", "--template", "dataset"])
except SystemExit as e:
    assert not e.code, e.code
assert not {{"torch", "numpy"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]
    assert told == ["cd ganzoo-class", 'python -m pip install -e ".[dev]"', "pytest", "ganzoo run dcgan --dataset class"]
    assert (tmp_path / "ganzoo-class" / "src" / "ganzoo_class" / "model.py").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["ganzoo-class"]


@pytest.mark.parametrize(
    "name", ["", "My-gan", "my_gan", "my--gan", "-gan", "gan-", "my gan", "a/b", "../x", "gän", "x.y", "ganzoo-mine", "mine\n"]
)
def test_a_malformed_name_is_refused(name, tmp_path):
    with pytest.raises(UsageError, match=r"wanted .* got") as e:
        write_project(catalogue(), name, "gan", tmp_path / "p")
    assert repr(name) in str(e.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("dcgan", "recipe of pyganzoo"), ("mlp", "generator of pyganzoo"), ("dcgan-critic", "discriminator of pyganzoo"),
        ("hinge", "loss of pyganzoo"), ("alternating", "strategy of pyganzoo"), ("ring", "dataset of pyganzoo"),
        ("losses", "ganzoo_losses"),
    ],
)  # fmt: skip
def test_a_name_that_is_taken_is_refused(name, whose, tmp_path):
    with pytest.raises(UsageError, match=whose):
        write_project(catalogue(), name, "loss", tmp_path / "p")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_any_other_refused(tmp_path, ganzoo):
    (tmp_path / "p").mkdir()
    assert ganzoo("new", "mine", "--out", tmp_path / "p").returncode == 0
    assert (tmp_path / "p").stat().st_mode & 0o055, "only its maker can read it"
    before = text_files(tmp_path / "p")
    again = ganzoo("new", "mine", "--template", "loss", "--out", tmp_path / "p")
    assert (again.returncode, "is not empty" in again.stderr) == (2, True)
    assert text_files(tmp_path / "p") == before
    (tmp_path / "file").write_text("")
    done = ganzoo("new", "mine", "--out", tmp_path / "file")
    assert (done.returncode, "is a file" in done.stderr) == (2, True)
    done = ganzoo("new", "mine", "--out", tmp_path / "file" / "p")
    assert (done.returncode, "cannot be made" in done.stderr) == (2, True)
    assert {p.name for p in tmp_path.iterdir()} == {"p", "file"}


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    write, left = Path.write_text, [3]

    def full(self, *args, **kwargs):
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match="No space left"):
        write_project(catalogue(), "mine", "gan", tmp_path / "p")
    assert not list(tmp_path.iterdir())


def test_check_warns_of_a_plugin_that_nobody_would_find(monkeypatch):
    from ganzoo.cli import check

    class Metadata:
        json = {"keywords": ["gan"], "classifier": ["x"]}  # noqa: RUF012

    monkeypatch.setattr(check, "metadata", lambda name: Metadata)
    assert check.hard_to_find("theirs") == ["keyword ganzoo-plugin", "URLs"]


def test_a_new_project_can_be_found_on_the_index(tmp_path, ganzoo):
    import tomllib

    assert ganzoo("new", "found-gan", "--out", tmp_path / "p").returncode == 0
    project = tomllib.loads((tmp_path / "p" / "pyproject.toml").read_text())["project"]
    assert "ganzoo-plugin" in project["keywords"]
    assert project["classifiers"]
    assert project["urls"]
