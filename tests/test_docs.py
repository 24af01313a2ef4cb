"""The authors' documentation: what it prints runs as printed, and nothing public is missing from it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

import ganzoo
from ganzoo import hookspecs
from ganzoo.testing.rules import RULES

DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<text>.*?)^(?P=fence)$", re.M | re.S)
DIRECTIVES = re.compile(r"^::: (\S+)$", re.M)
#: Commands that take seconds and show little that the others do not; they are run where GANZOO_DOCS_SLOW=1, as in .ci/run.
LONG = re.compile(
    r"(\w+=\w+ )?(ganzoo (check|plugins|sample|run mygan --out|run dcgan --loss rel|run acgan)|pytest|.*--image-size 48|.*--dataset ring$)"
)
SLOW = os.environ.get("GANZOO_DOCS_SLOW") == "1"
#: The site that `mkdocs build` made of the pages.
SITE = os.environ.get("GANZOO_DOCS_SITE")


def text_of(page):
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page):
    """The fenced blocks of a page: language, title, text."""
    return [(m["language"], m["title"] or "", m["text"]) for m in FENCE.finditer(text_of(page))]


def sessions(text):
    """The commands of a console block, each with the output that is printed under it."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.M)
    assert parts[0] == "", "a console block begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def is_said(printed, output):
    """Whether the output is what is printed: "..." stands for anything, as a line of its own for any lines; bf16 is where it can be had."""
    printed, output = (text.replace(", cpu, bf16;", ", cpu, fp32;") for text in (printed, output))
    wanted = "".join(r"(?:.*\n)*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r" *\n" for line in printed.splitlines())
    return re.fullmatch(wanted, output) is not None


class Shell:
    """Runs the commands of a page in a folder of its own, with a `ganzoo` and a `pytest` of this Python."""

    def __init__(self, folder):
        self.cwd = self.folder = folder / "work"
        self.installed = folder / "installed"
        bin_ = folder / "bin"
        for made in (self.folder, self.installed, bin_):
            made.mkdir()
        for name, module in (("ganzoo", "-m ganzoo"), ("pytest", "-m pytest"), ("python", "")):
            (bin_ / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            (bin_ / name).chmod(0o755)
        self.env = os.environ | {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def run(self, command):
        done = subprocess.run(
            command, shell=True, cwd=self.cwd, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.returncode, re.sub(r"^preparing .*\n", "", done.stdout, flags=re.M)  # said only the first time

    def write(self, name, text):
        """A file of the page; one that is shown in pieces is written piece after piece."""
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written = getattr(self, "written", set())
        path.write_text(f"{path.read_text()}\n\n{text}" if path in written else text, encoding="utf-8")
        self.written = written | {path}

    def install(self):
        """What `pip install -e .` leaves: the metadata with the entry points, and the sources on the path. No network, no build."""
        project = tomllib.loads((self.cwd / "pyproject.toml").read_text())["project"]
        info = self.installed / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        head = {
            "Metadata-Version": "2.4",
            "Name": project["name"],
            "Version": project["version"],
            "Keywords": ",".join(project["keywords"]),
        }
        several = [("Classifier", text) for text in project["classifiers"]]
        several += [("Project-URL", f"{name}, {url}") for name, url in project["urls"].items()]
        (info / "METADATA").write_text("".join(f"{name}: {text}\n" for name, text in [*head.items(), *several]))
        lines = [f"{name} = {module}" for name, module in project["entry-points"]["ganzoo"].items()]
        (info / "entry_points.txt").write_text("\n".join(["[ganzoo]", *lines]))
        self.env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(self.installed), str(self.cwd / "src")])


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_prints_runs_as_printed(page, tmp_path, monkeypatch):
    """In order: files are written, Python is executed, commands are run, and what they say is compared with what is printed."""
    shell = Shell(tmp_path)
    for language, title, text in blocks(page):
        if title.endswith((".py", ".md")):
            shell.write(title, text)
        elif title.endswith(".toml"):
            shown, there = ({line for line in t.splitlines() if line} for t in (text, (shell.cwd / title).read_text()))
            assert shown <= there, f"{title} has no {shown - there}"
        elif language == "python":
            block = ModuleType("a_block")
            monkeypatch.setitem(sys.modules, "a_block", block)
            exec(compile(text, f"{page}: {title}", "exec"), vars(block))
        elif language == "sh":
            if "pip install -e" in text:
                shell.install()
        elif language == "console":
            for command, printed in sessions(text):
                if folder := re.fullmatch(r"cd (\S+)", command):
                    shell.cwd = shell.cwd / folder[1]
                    assert shell.cwd.is_dir()
                    continue
                if LONG.match(command) and not SLOW:
                    continue
                shortened = " --steps 20 --batch-size 4" if re.match(r"ganzoo run \S+ --out", command) else ""
                status, output = shell.run(command + shortened)
                assert is_said(printed, output), f"$ {command}\n{output}"
                assert (status != 0) == bool(re.search("^Error: ", printed, re.M)), f"$ {command}\n{output}"
        else:
            raise AssertionError(f"{page}: a block of {language or 'no language'}, which nothing checks")


def test_the_tutorials_code_is_clean(tmp_path):
    """It passes the linter and the type checker of the project that `ganzoo new` writes."""
    shell = Shell(tmp_path)
    for _, title, text in blocks("tutorial.md"):
        if title.endswith(".py"):
            shell.write(title, text)
    status, output = shell.run(f"{sys.executable} -m ruff check --isolated --line-length 120 --select E,F,I,UP,B,RUF --ignore RUF002 .")
    assert status == 0, output
    if SLOW:
        shell.env["MYPYPATH"] = f"src{os.pathsep}{ROOT}"
        status, output = shell.run(f"{sys.executable} -m mypy --strict --follow-imports=silent src")
        assert status == 0, output


def documented():
    return {name for page in PAGES for name in DIRECTIVES.findall(text_of(page))}


def test_every_public_name_is_documented():
    assert {f"ganzoo.{name}" for name in ganzoo.__all__} - documented() == set()


def test_every_hook_is_documented():
    hooks = {f"ganzoo.hookspecs.{name}" for name in dir(hookspecs) if name.startswith("ganzoo_")}
    assert hooks
    assert hooks - documented() == set()


def test_every_name_of_the_conformance_kit_and_every_rule_is_documented():
    import ganzoo.testing

    assert {f"ganzoo.testing.{name}" for name in ganzoo.testing.__all__} - documented() == set()
    assert {f"{rule.run.__module__}.{rule.run.__name__}" for rule in RULES.values()} - documented() == set()
    for rule in RULES.values():
        assert f"`{rule.name}`" in text_of("conformance.md"), rule.name


def test_every_directive_names_something_that_has_a_docstring():
    for name in documented():
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except ImportError:
            module, _, cls = module.rpartition(".")
            found = getattr(getattr(importlib.import_module(module), cls), attribute)
        assert callable(found) or isinstance(found, int | str) or found.__doc__, name


def test_every_page_is_in_the_navigation():
    nav = re.findall(r"^  - [\w ]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(nav) == PAGES


def slug(heading):
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


@pytest.mark.parametrize("page", [*(f"docs/{page}" for page in PAGES), "README.md", "CONTRIBUTING.md"])
def test_links_between_the_pages_resolve(page):
    path = ROOT / page
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", found.read_text(encoding="utf-8")), re.M)
            assert anchor in map(slug, headings), f"{page}: {target}"
    for target in re.findall(r"\]\[(ganzoo[\w.]*)\]", text):
        assert target in documented(), f"{page}: {target}"


class Resources(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.found.append(told.get("src") or "")
        if tag == "link" and told.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.found.append(told.get("href") or "")


@pytest.mark.skipif(not SITE, reason="GANZOO_DOCS_SITE names no site that `mkdocs build` made")
def test_the_built_site_fetches_nothing_from_elsewhere_and_shows_every_signature():
    site = Path(SITE)
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    html = ""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        resources = Resources()
        resources.feed(text)
        assert resources.found
        assert [url for url in resources.found if "//" in url] == [], page
        html += text
    plain = " ".join(re.sub("<[^>]*>", "", unescape(html)).split())
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
    for rule in RULES.values():
        assert " ".join((rule.run.__doc__ or "").replace("`", "").split()) in plain, rule.name
    for name in documented():
        if ".rules." in name:
            continue
        shown = re.search(rf'<h\d id="{re.escape(name)}".*?(?=<h\d id="ganzoo|</article>)', html, re.S)
        assert shown, name
        assert "doc-contents" in shown[0], name
        assert re.sub("<[^>]*>", "", shown[0].partition("doc-contents")[2]).strip(' "\n>'), f"{name} is empty"
