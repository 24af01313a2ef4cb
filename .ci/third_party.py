"""python third_party.py LENDER CORE_WHEEL: what a third party goes through, from `ganzoo new` to a plugin that is gone.

LENDER is an environment with ganzoo's dependencies, pytest, ruff and mypy: see borrow.py.
"""

from __future__ import annotations

import json
import os
import shutil
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

#: How each kind of plugin is trained; DATA stands for a folder of the stranger's own data.
RUNS = {
    "gan": ["their-gan"],
    "loss": ["dcgan", "--loss", "their-loss"],
    "dataset": ["dcgan", "--dataset", "their-dataset"],
    "wrapper": ["dcgan", "--with", "their-wrapper,ada"],
    "pairs": ["their-pairs", "--degradation", "mask"],
    "text": ["their-text", "--dataset", "DATA/lines.txt"],
    "medium": ["their-medium", "--strategy", "their-judge"],
    "domains": ["their-domains", "--dataset", "a=DATA/winter", "--dataset", "b=DATA/summer", "--batch-size", "4"],
}
#: What each publishes, beside what is called like its kind.
PUBLISHED = {
    "gan": ("recipe", "generator", "discriminator", "loss"), "loss": ("recipe", "loss"), "wrapper": ("recipe", "wrapper"),
    "pairs": ("recipe", "generator", "discriminator", "loss"), "text": ("recipe", "generator", "discriminator"),
    "medium": ("medium", "dataset", "recipe", "generator", "discriminator"), "domains": ("recipe", "strategy", "generator"),
}  # fmt: skip
#: Those that are named by hand: no template writes them.
BY_HAND = ("domains",)
#: Kinds whose networks are not ganzoo's own, so that their runs are of no use without them.
NETWORKS = ("gan", "pairs", "text", "medium", "domains")
VERSION = "0.1.0"
HERE = Path(__file__).parent


class ThirdParty:
    """Somebody who knows ganzoo as a wheel, and works in a folder of their own."""

    def __init__(self, lender: Path, core: Path, work: Path) -> None:
        self.lender, self.work = lender.absolute(), work
        self.user = work / "user"
        self.bin = borrow(self.lender, self.user, core.absolute())
        self.env = os.environ | {"GANZOO_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
        self.env.pop("PYTHONPATH", None)
        self.makes_data()

    def makes_data(self) -> None:
        """Data of their own: two folders of pictures, lines of text, a picture, signals."""
        made = """
import sys, numpy as np
from pathlib import Path
from PIL import Image
data, random = Path(sys.argv[1]), np.random.default_rng(0)
for name, colour in (("winter", (200, 210, 230)), ("summer", (90, 160, 60))):
    (data / name).mkdir(parents=True)
    for i in range(24):
        picture = np.clip(np.array(colour) + random.integers(-40, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(data / name / f"{i:02d}.png")
words = "a the cat dog bird sees hears small old loud".split()
lines = [" ".join(random.choice(words, random.integers(3, 9))) + "." for _ in range(300)]
(data / "lines.txt").write_text("\\n".join(lines))
np.save(data / "signals.npy", random.standard_normal((5, 1, 64)).astype(np.float32))
"""
        self.data = self.work / "data"
        self.call(self.bin / "python", "-c", made, self.data)

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
        if kind in BY_HAND:
            shutil.copytree(HERE / "outside" / kind, self.project(kind))
        else:
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
            for of in PUBLISHED.get(kind, (kind,)):
                assert listed[of, name] == (f"ganzoo-{name}", VERSION), listed
            assert plugins[name]["state"] == "ok", plugins[name]
            assert Path(plugins[name]["location"]) == site(self.user) / f"ganzoo_their_{kind}", plugins[name]

    def trains(self, kind: str) -> None:
        """Killed after a checkpoint, resumed with the bits of a run that was never stopped, used, measured, reported."""
        run, whole = self.work / f"run-{kind}", self.work / f"whole-{kind}"
        own = [word.replace("DATA", str(self.data)) for word in RUNS[kind]]
        command = [self.bin / "ganzoo", "run", *own, "--steps", "100000", "--save-every", "5", "--out", run]
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
        self.ganzoo("run", *own, "--steps", str(goal), "--save-every", str(goal), "--out", whole)
        for file in [f"checkpoints/{goal:06d}.safetensors", *(path.name for path in run.glob("*.safetensors"))]:
            assert tensors(run / file) == tensors(whole / file), f"{kind}: {file} differs after a kill and a resumption"
        self.uses(kind, run)
        self.ganzoo("evaluate", run, "-n", "20", *MEASURED.get(kind, ["--metric", "fid", "--features", "pixels", "--n-real", "20"]))
        self.ganzoo("report", run)
        assert (run / "report.html").stat().st_size > 10_000

    def uses(self, kind: str, run: Path) -> None:
        """Sampled, or applied to files of their own."""
        out = self.work / f"used-{kind}"
        if kind in ("pairs", "domains"):
            photo = self.data / "winter" / "00.png"
            holes = ["--box", "4,4,8x8"] if kind == "pairs" else []
            self.ganzoo("apply", run, photo, *holes, "--out", out)
            assert (out / "00.png").stat().st_size > 100
        if kind == "domains":
            self.ganzoo("apply", run, photo, "--network", "b-to-a", "--out", self.work / "used-back")
            assert (self.work / "used-back" / "00.png").stat().st_size > 100
        if kind in ("pairs", "domains"):
            return
        self.ganzoo("sample", run, "--out", self.work / f"{kind}.png")
        assert (self.work / f"{kind}.png").stat().st_size > 500
        self.ganzoo("sample", run, "-n", "20", "--folder", "--out", out)
        if kind == "text":
            lines = (out / "texts.txt").read_text().splitlines()
            assert len(lines) == 20, lines
            written = (self.data / "lines.txt").read_text().replace(".", " ").split()
            assert set(" ".join(lines).replace(".", " ").split()) <= {*written, "<unknown>"}, lines
        if kind == "medium":
            assert (out / "x.npy").stat().st_size > 1000
            self.ganzoo("apply", run, out / "x.npy", "--network", "judge", "--out", self.work / "judged")
            told = next((self.work / "judged").glob("*.csv")).read_text().splitlines()
            assert len(told) == 21, told

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
            used = ["apply", run, self.data / "winter" / "00.png"] if kind in ("pairs", "domains") else ["sample", run]
            text = self.ganzoo(*used, status=2 if kind in NETWORKS else 0)
            refused += [text] if kind in NETWORKS else []
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


#: How what is not a sample of pictures is measured.
MEASURED = {"pairs": ["--metric", "psnr,ssim"], "text": ["--metric", "bleu"], "medium": ["--n-real", "20"]}


def tensors(path: Path) -> bytes:
    """The tensors of a safetensors file, without its header, which tells of its run."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


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
