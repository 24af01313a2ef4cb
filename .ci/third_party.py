"""python third_party.py LENDER CORE_WHEEL: what a third party goes through, from `ganzoo new` to a plugin that is gone.

LENDER is an environment with ganzoo's dependencies, pytest, ruff and mypy: see borrow.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from borrow import borrow, install, site

#: How each kind of plugin is trained.
RUNS = {
    "gan": ["their-gan"],
    "loss": ["dcgan", "--loss", "their-loss"],
    "dataset": ["dcgan", "--dataset", "their-dataset"],
}
VERSION = "0.1.0"


class ThirdParty:
    """Somebody who knows ganzoo as a wheel, and works in a folder of their own."""

    def __init__(self, lender: Path, core: Path, work: Path) -> None:
        self.lender, self.work = lender.absolute(), work
        self.user = work / "user"
        self.bin = borrow(self.lender, self.user, core.absolute())
        self.env = os.environ | {"GANZOO_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
        self.env.pop("PYTHONPATH", None)

    def call(self, *words: str | Path, status: int = 0, cwd: Path | None = None) -> str:
        """Run a command; returns what it printed, errors after the rest. Raises AssertionError where it ends with another status."""
        done = subprocess.run([*map(str, words)], cwd=cwd or self.work, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == status, f"{words} ended with {done.returncode}, wanted {status}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr if status else done.stdout

    def ganzoo(self, *words: str | Path, status: int = 0) -> str:
        return self.call(self.bin / "ganzoo", *words, status=status)

    def told(self, *words: str) -> list[dict[str, Any]]:
        """What a command tells in JSON."""
        made: list[dict[str, Any]] = json.loads(self.ganzoo(*words, "--json"))
        return made

    def project(self, kind: str) -> Path:
        return self.work / f"ganzoo-their-{kind}"

    def writes(self, kind: str) -> Path:
        """A project, and its wheel."""
        self.ganzoo("new", f"their-{kind}", "--template", kind)
        wheels = self.work / "wheels"
        self.call(self.lender / "bin/python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, self.project(kind))
        return next(wheels.glob(f"ganzoo_their_{kind}-*.whl"))

    def sees_them(self) -> None:
        """In `list` with their origin, and in `plugins` with their place."""
        listed = {(e["kind"], e["name"]): (e["distribution"], e["version"]) for e in self.told("list", "--kind", "all")}
        plugins = {p["name"]: p for p in self.told("plugins")}
        for kind in RUNS:
            name = f"their-{kind}"
            for of in {"gan": ("recipe", "generator", "discriminator", "loss"), "loss": ("recipe", "loss")}.get(kind, (kind,)):
                assert listed[of, name] == (f"ganzoo-{name}", VERSION), listed
            assert plugins[name]["state"] == "ok", plugins[name]
            assert Path(plugins[name]["location"]) == site(self.user) / f"ganzoo_their_{kind}", plugins[name]

    def trains(self, kind: str) -> None:
        """Killed after a checkpoint, resumed, sampled."""
        run = self.work / f"run-{kind}"
        command = [self.bin / "ganzoo", "run", *RUNS[kind], "--steps", "100000", "--save-every", "5", "--out", run]
        with open(self.work / f"{kind}.log", "w") as log:
            process = subprocess.Popen([*map(str, command)], cwd=self.work, env=self.env, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while not saved(run) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        said = (self.work / f"{kind}.log").read_text()
        assert process.wait() == -signal.SIGKILL, f"{command} ended by itself:\n{said}"
        assert saved(run), f"{command} wrote no checkpoint:\n{said}"
        goal = max(saved(run)) + 5
        self.ganzoo("resume", run, "--steps", str(goal))
        assert max(saved(run)) == goal, saved(run)
        self.ganzoo("sample", run, "--out", self.work / f"{kind}.png")
        assert (self.work / f"{kind}.png").stat().st_size > 1000

    def checks(self, kind: str) -> None:
        reports = self.told("check", f"their-{kind}")
        assert reports, kind
        assert all(report["ok"] for report in reports), reports

    def tests(self, kind: str) -> None:
        """Their own tests, beside the installed package."""
        self.call(self.bin / "python", "-m", "pytest", "-q", cwd=self.project(kind))

    def lints(self) -> None:
        for kind in RUNS:
            self.call(self.lender / "bin/ruff", "check", ".", cwd=self.project(kind))
            self.call(self.lender / "bin/ruff", "format", "--check", ".", cwd=self.project(kind))
            self.call(self.bin / "python", "-m", "mypy", "--cache-dir", self.work / "mypy", cwd=self.project(kind))

    def uninstalls(self) -> None:
        """Gone from `list`; what was made with them names them and their version. A generator of ganzoo's own still draws."""
        self.call(self.bin / "python", "-m", "pip", "uninstall", "--quiet", "-y", *(f"ganzoo-their-{kind}" for kind in RUNS))
        assert not [e["name"] for e in self.told("list", "--kind", "all") if "their" in e["name"]]
        for kind in RUNS:
            run = self.work / f"run-{kind}"
            refused = [self.ganzoo("resume", run, "--steps", "100000", status=2)]
            sampled = self.ganzoo("sample", run, status=2 if kind == "gan" else 0)
            refused += [sampled] if kind == "gan" else []
            for text in refused:
                assert f"ganzoo-their-{kind} {VERSION}" in text, text

    def overwrites(self) -> None:
        """A stranger's distribution brings a module of ours: `plugins` tells."""
        wheel, info = self.work / "stranger-2.0-py3-none-any.whl", "stranger-2.0.dist-info"
        manifest = site(self.user) / "ganzoo_dcgan" / "__init__.py"
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr("ganzoo_dcgan/__init__.py", manifest.read_text(encoding="utf-8") + "# by a stranger\n")
            file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: stranger\nVersion: 2.0\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            names = ["ganzoo_dcgan/__init__.py", *(f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD"))]
            file.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
        install(self.user, wheel)
        assert "by a stranger" in manifest.read_text(encoding="utf-8")
        (ours,) = (p for p in self.told("plugins") if p["name"] == "dcgan" and p["distribution"] == "pyganzoo")
        assert "ganzoo_dcgan is also claimed by stranger" in ours["reason"], ours


def saved(run: Path) -> list[int]:
    """The steps of a run's checkpoints."""
    return [int(path.stem) for path in run.glob("checkpoints/[0-9]*.safetensors")]


def main(lender: Path, core: Path) -> None:
    start = time.monotonic()

    def timed(what: str, function: Callable[..., Any], *args: Any) -> Any:
        began = time.monotonic()
        made = function(*args)
        print(f"{time.monotonic() - start:5.0f} s  {what}, {time.monotonic() - began:.0f} s", flush=True)
        return made

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        they = timed("ganzoo as a wheel", ThirdParty, lender, core, Path(folder).resolve())
        wheels = list(pool.map(lambda kind: timed(f"{kind}: written and built", they.writes, kind), RUNS))
        install(they.user, *wheels)
        timed("they are seen", they.sees_them)
        jobs = [("lint and types", they.lints)]
        for kind in RUNS:
            jobs += [(f"{kind}: {job.__name__}", partial(job, kind)) for job in (they.trains, they.tests, they.checks)]
        list(pool.map(lambda job: timed(*job), jobs))
        timed("they are uninstalled", they.uninstalls)
        timed("a module is overwritten", they.overwrites)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
