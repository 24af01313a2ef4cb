"""Whether two commits train the same: the tensors of every recipe after some steps, side by side, bit for bit.

    python benchmarks/same_tensors.py 195787d              the commit against the working tree
    python benchmarks/same_tensors.py 195787d HEAD --recipe dcgan --recipe began
    python benchmarks/same_tensors.py ../other-checkout .  two working trees

Each side is unpacked into a folder of its own and runs `ganzoo run RECIPE` from there, in fresh processes of this environment, with one
thread. What is compared is every tensor of the last checkpoint (networks, averages, optimisers, buffers) and, with --figures, the figures
of `ganzoo evaluate` on it. Ends with status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("ganzoo", "plugins", "pyproject.toml")
#: Options that keep a few steps short without changing what they compute, and data for what cannot do with the usual.
SHORT = {
    "wgan": ["--strategy.warmup", "1", "--strategy.warmup-critic", "10"],
    "cyclegan": ["--dataset", "a=fashion-10k", "--dataset", "b=fashion-10k"],
}
#: How names of tensors begin that have been called otherwise.
RENAMED = {"model:ema": "model:averages.G", "model:f": "model:D", "opt_f:f": "opt_D:D"}
EVALUATION = ["--metric", "fid,kid", "--features", "pixels", "-n", "300", "--n-real", "300", "--kid.subset-size", "100", "--json"]


def output(*command: str, given: bytes = b"", at: Path = ROOT) -> bytes:
    """What a command prints, run in a checkout. Raises CalledProcessError where it fails."""
    return subprocess.run(command, cwd=at, input=given, check=True, stdout=subprocess.PIPE).stdout


def unpack(side: str, folder: Path) -> dict[str, str]:
    """Put the files of a commit, or of the working tree at a path, into the folder; returns the environment in which Python runs them."""
    folder.mkdir()
    if (tree := Path(side)).is_dir():
        names = output("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *FILES, at=tree).split(b"\0")
        there = b"\0".join(n for n in names if n and (tree / os.fsdecode(n)).exists())
        packed = output("tar", "-c", "--null", "-T", "-", given=there, at=tree)
    else:
        packed = output("git", "archive", side, *FILES)
    output("tar", "-x", "-C", str(folder), given=packed)
    # Entry points are found by the metadata of a distribution: of two with one name the first on the path counts.
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
    points = "".join(f"{name} = {module}\n" for name, module in project["entry-points"]["ganzoo"].items())
    (info / "entry_points.txt").write_text(f"[ganzoo]\n{points}", encoding="utf-8")
    path = os.pathsep.join([str(folder), str(folder / "plugins")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def ganzoo(env: dict[str, str], *words: object) -> str:
    """What a command prints. Raises SystemExit with what it said where it fails."""
    done = subprocess.run([sys.executable, "-m", "ganzoo", *map(str, words)], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ganzoo {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


def table(folder: Path) -> list[str]:
    """The options that name a small table, which is written into the folder."""
    rows = (f"{i * 37 % 101},{'abc'[i * i % 3]},{'yes' if i * 7 % 11 < 5 else 'no'}" for i in range(400))
    (folder / "table.csv").write_text("\n".join(["size,kind,sold", *rows]) + "\n", encoding="utf-8")
    return ["--dataset.file", str(folder / "table.csv")]


def trained(env: dict[str, str], recipe: str, folder: Path, steps: int, figures: bool) -> dict[str, str]:
    """A hash of each tensor of the recipe's checkpoint, by name; the figures beside them."""
    from safetensors import safe_open

    words = ["--steps", steps, "--save-every", steps, "--sample-every", steps, "--device", "cpu", "--seed", 3, "--flip", "--ema=0.9"]
    ganzoo(env, "run", recipe, *words, *SHORT.get(recipe, []), "--out", folder)
    values = {}
    with safe_open(folder / "checkpoints" / f"{steps:06d}.safetensors", "pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name).contiguous()
            begin, dot, rest = name.partition(".")
            content = f"{tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes()
            values[RENAMED.get(begin, begin) + dot + rest] = hashlib.sha256(content).hexdigest()
    if figures:
        for evaluation in json.loads(ganzoo(env, "evaluate", folder, *EVALUATION)):
            values |= {f"figure {name}": f"{value!r} [{evaluation['hash']}]" for name, value in evaluation["figures"].items()}
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit, or the path of a working tree")
    parser.add_argument("after", nargs="?", default=str(ROOT), help="the same; by default this working tree")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--recipe", action="append", help="only this one; may be repeated")
    parser.add_argument("--figures", action="store_true", help="compare what `ganzoo evaluate` measures, too")
    args = parser.parse_args()
    differs = False
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        sides = [unpack(code, work / side) for side, code in (("a", args.before), ("b", args.after))]
        SHORT["ctgan"] = table(work)
        recipes = args.recipe or [entry["name"] for entry in json.loads(ganzoo(sides[0], "list", "--json"))]
        for recipe in recipes:
            a, b = (trained(env, recipe, work / f"{recipe}-{i}", args.steps, args.figures) for i, env in enumerate(sides))
            odd = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
            differs = differs or bool(odd)
            count = sum(not key.startswith("figure ") for key in a)
            verdict = f"{len(odd)} DIFFER, the first: {odd[0]} ({a.get(odd[0])}, {b.get(odd[0])})" if odd else "the same, bit for bit"
            print(f"{recipe:10} {count:4} tensors after {args.steps} steps: {verdict}", flush=True)
    raise SystemExit(differs)


if __name__ == "__main__":
    main()
