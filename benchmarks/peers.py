"""The scripts of PyTorch-GAN (github.com/eriklindernoren/PyTorch-GAN) beside ganzoo, by processor time.

    python benchmarks/peers.py speed CHECKOUT [dcgan wgan ... cyclegan pix2pix] --data FOLDER
    python benchmarks/peers.py quality CHECKOUT [dcgan ...] --data FOLDER --seconds 100

CHECKOUT: a clone of theirs. FOLDER: holds FashionMNIST/ (the four .gz files), and summer2winter_yosemite/ and facades/ for the translators.
Nothing is fetched. Their scripts run as they stand, from a copy, with their own loops, data loaders and optimisers; a script is stopped at
a batch, when it prints its line. One line of began's is mended, `.data[0]` of a scalar, which no torch of today takes.

speed: the same networks on both sides, theirs, which ganzoo is given as a plugin that is made at run time; real images a second of
processor time, in turns, medians. "the script, bf16": what its loop would reach with ganzoo's means, torch's autocast and glibc's
memory kept, which nobody gives it. quality: each side with its own networks and options, for as much processor time; 5,000 samples, judged
by ganzoo beside 10,000 real ones: cFID, precision, recall. Of cyclegan: FD-random of 50 held-out summers made winters, against held-out
winters, and the mean distance in [-1, 1] of those that come back to what they were.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Of each script: ganzoo's recipe; the size of the pictures (wgan's does not resize them); the strategy's options that make ganzoo's steps
#: the same work.
SCRIPTS: dict[str, dict[str, Any]] = {
    "gan": {"recipe": "gan", "size": 32, "options": {}},
    "dcgan": {"recipe": "dcgan", "size": 32, "options": {}},
    "acgan": {"recipe": "acgan", "size": 32, "options": {}},
    "began": {"recipe": "began", "size": 32, "options": {}},
    "wgan": {"recipe": "wgan", "size": 28, "options": {"n_critic": 5, "warmup": 0}},
    "wgan_gp": {"recipe": "wgan-gp", "size": 32, "options": {"d_steps": 5}},
    "cyclegan": {"recipe": "cyclegan", "size": 64, "options": {"identity": 0.5}},
    "pix2pix": {"recipe": "pix2pix", "size": 256, "options": {}},
}
TRANSLATORS = {"cyclegan": "summer2winter_yosemite", "pix2pix": "facades"}
SAMPLES, WARM = 5000, 10


class Stop(Exception):
    """Enough."""


# --- Their side, in a process of its own ---


def laid_out(checkout: Path, script: str, data: Path, work: Path) -> Path:
    """A copy of a script in a folder where it finds its data as it expects it."""
    shutil.copytree(checkout / "implementations" / script, folder := work / "implementations" / script)
    if script == "began":
        (folder / "began.py").write_text((folder / "began.py").read_text().replace(".data[0]", ".item()"))
    if script in TRANSLATORS:
        theirs, ours = work / "data" / script, data / TRANSLATORS[script]
        theirs.mkdir(parents=True)
        for split in ("train", "test", *(["val"] if script == "pix2pix" else [])):
            if script == "cyclegan":
                (theirs / split).mkdir()
                for domain in "AB":
                    (theirs / split / domain).symlink_to(ours / f"{split}{domain}")
            else:
                (theirs / split).symlink_to(ours / ("train" if split == "train" else "val"))
        return folder
    raw = work / "data" / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (data / "FashionMNIST").rglob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def words(script: str) -> list[str]:
    """What a script is told on its command line."""
    size = str(SCRIPTS[script]["size"])
    if script in TRANSLATORS:
        own = ["--n_cpu", "0", "--dataset_name", script, "--img_height", size, "--img_width", size, "--sample_interval", "1000000"]
        return own + (["--n_residual_blocks", "4"] if script == "cyclegan" else [])
    return ["--img_size", size, "--sample_interval", "1000000"]


def with_means(chosen: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """What ganzoo gives each run, for a loop of theirs, if `bf16` is chosen."""
    if not chosen.get("bf16"):
        return contextlib.nullcontext()
    from ganzoo import machine

    machine.keep_memory()
    return torch.autocast("cpu", torch.bfloat16)


def theirs(
    checkout: Path, script: str, data: Path, batches: int, seconds: float, out: Path | None, chosen: dict[str, Any]
) -> dict[str, float]:  # fmt: skip
    """Run a script until it has done so many batches, or used so much processor time; draw samples with its generator if `out` is given.

    Returns images and seconds, those of the first batches left out, or the batches in all.
    """
    torch.manual_seed(0)
    np.random.seed(0)
    seen: list[tuple[int, float]] = []
    begin, write = time.process_time(), sys.stdout.write

    def told(text: str) -> int:
        if found := re.search(r"\[Epoch (\d+)/\d+\] \[Batch (\d+)/(\d+)\]", text):
            epoch, batch, length = map(int, found.groups())
            seen.append((epoch * length + batch, time.process_time()))
            if (batches and seen[-1][0] >= batches + WARM) or (seconds and seen[-1][1] - begin > seconds):
                raise Stop
        return len(text)

    with tempfile.TemporaryDirectory() as work:
        folder = laid_out(checkout, script, data, Path(work))
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.argv = [script, *words(script)]
        space: dict[str, Any] = {"__name__": "__main__"}
        sys.stdout.write = told  # type: ignore[method-assign]
        try:
            with with_means(chosen):
                exec(compile((folder / f"{script}.py").read_text(), script, "exec"), space)
        except Stop:
            pass
        finally:
            sys.stdout.write = write  # type: ignore[method-assign]
            os.chdir("/")
    size = space["opt"].batch_size
    if out is not None:
        return {"images": seen[-1][0] * size, **drawn(space, data, out)}
    first = next(mark for mark in seen if mark[0] >= WARM)
    return {"images": (seen[-1][0] - first[0]) * size, "seconds": seen[-1][1] - first[1]}


def summers(data: Path) -> Tensor:
    """The held-out pictures of `cyclegan`, (50, 3, 64, 64) in [-1, 1]."""
    from PIL import Image

    files = sorted((data / TRANSLATORS["cyclegan"] / "testA").iterdir())[:50]
    rows = [np.asarray(Image.open(file).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)) for file in files]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1


def drawn(space: dict[str, Any], data: Path, out: Path) -> dict[str, float]:
    """Write samples of a script's generator, as the script itself draws them, in training mode; labels in turn."""
    opt, made = space["opt"], []
    with torch.no_grad():
        if "G_AB" in space:
            x = summers(data)
            made = [space["G_AB"](row[None]) for row in x]
            back = torch.cat([space["G_BA"](row) for row in made])
            np.savez(out, x=torch.cat(made).add(1).mul(127.5).round().byte().numpy())
            return {"back": float((back - x).abs().mean())}
        for start in range(0, SAMPLES, 50):
            z = torch.randn(50, opt.latent_dim)
            labels = [torch.arange(start, start + 50) % opt.n_classes] if "n_classes" in opt else []
            made.append(space["generator"](z, *labels).clamp(-1, 1).add(1).mul(127.5).round().byte())
    np.savez(out, x=torch.cat(made).numpy())
    return {}


# --- Our side ---


def networks(checkout: Path, script: str) -> dict[str, Any]:
    """The names of a script, its classes among them, without what trains: what it imports and defines, its options, the shape of images."""
    folder, kept = checkout / "implementations" / script, []
    for node in ast.parse((folder / f"{script}.py").read_text()).body:
        names = {target.id for target in node.targets if isinstance(target, ast.Name)} if isinstance(node, ast.Assign) else set()
        if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef) or names & {"parser", "opt", "img_shape"} or (
            isinstance(node, ast.Expr) and ast.unparse(node).startswith("parser.")
        ):  # fmt: skip
            kept.append(node)
    sys.path.insert(0, str(folder))
    sys.argv = [script, *words(script)]
    space: dict[str, Any] = {"__name__": script}
    exec(compile(ast.Module(kept, []), script, "exec"), space)
    return space


def parts(checkout: Path, script: str) -> tuple[type, type, Any]:
    """Their generator and discriminator as ganzoo has them, and the hook that registers both: what a plugin's file needs."""
    import ganzoo
    from ganzoo import NetworkPart, Prior

    space = networks(checkout, script)
    opt, start = space["opt"], space.get("weights_init_normal", lambda module: None)
    shape = (3, SCRIPTS[script]["size"], SCRIPTS[script]["size"])
    takes = {"acgan": ("y",), "cyclegan": ("source",), "pix2pix": ("source",)}.get(script, ())
    latents = () if script in TRANSLATORS else ("z",)

    class Generator(ganzoo.Generator):
        def __init__(self, spec: Any, options: Any) -> None:
            super().__init__(spec, options)
            made = {"cyclegan": lambda: space["GeneratorResNet"](shape, 4), "pix2pix": lambda: space["GeneratorUNet"]()}
            self.net = made.get(script, lambda: space["Generator"]())().apply(start)

        def latents(self) -> dict[str, Prior]:
            return {name: Prior("normal", (opt.latent_dim,)) for name in latents}

        def forward(self, **given: Tensor) -> Tensor:
            x: Tensor = self.net(*(given[name] for name in (*latents, *takes)))
            return x

    class Discriminator(ganzoo.Discriminator):
        def __init__(self, spec: Any, options: Any) -> None:
            super().__init__(spec, options)
            net = space["Discriminator"](*([shape] if script == "cyclegan" else []))
            for name, child in list(net.named_children()):  # losses here take logits
                if isinstance(child, nn.Sequential) and isinstance(child[-1], nn.Sigmoid | nn.Softmax):
                    setattr(net, name, child[:-1])
            self.net = net.apply(start)

        def forward(self, x: Tensor, **given: Tensor) -> Any:
            if script not in TRANSLATORS:  # theirs say .view(N, -1), which a network in channels_last does not take
                x = x.contiguous()
                self.net.to(memory_format=torch.contiguous_format)
            made = self.net(x, *given.values())
            if script == "acgan":
                return made[0].flatten(), made[1]
            return made if script == "began" or script in TRANSLATORS else made.flatten()

    @ganzoo.hookimpl
    def ganzoo_register() -> list[Any]:
        gives = {"acgan": ("logits", "class_logits"), "began": ("reconstruction",)}.get(script, ("logits",))
        return [
            NetworkPart("theirs", "theirs:Generator", "theirs", role="generator", latents=latents, takes=takes, gives=("x",)),
            NetworkPart(
                "theirs", "theirs:Discriminator", "theirs", role="discriminator", takes=("x", *(takes if script == "pix2pix" else ())),
                needs=("y",) if script == "acgan" else (), gives=gives, per_sample=script in ("wgan_gp", "began"),
            ),
        ]  # fmt: skip

    return Generator, Discriminator, ganzoo_register


def data_of(script: str, data: Path) -> dict[str, Any]:
    """The run options that name the data a script is given, too."""
    if script == "pix2pix":
        return {"dataset": str(data / TRANSLATORS[script]), "pairs": "right", "image_size": "256", "flip": True}
    if script == "cyclegan":
        return {"dataset": str(data / TRANSLATORS[script]), "image_size": "64", "flip": True}
    return {"dataset": "fashion-mnist", "data_dir": str(data), "image_size": str(SCRIPTS[script]["size"])}


def ours(
    checkout: Path, script: str, data: Path, batches: int, seconds: float, out: Path | None, chosen: dict[str, Any]
) -> dict[str, float]:  # fmt: skip
    """A run of ganzoo's, stopped as `theirs` is; with their networks where `out` is None. chosen: options of the run, `reuse_fakes`."""
    from ganzoo import compose
    from ganzoo.config import Changes
    from ganzoo.registry import discovery
    from ganzoo.registry.catalogue import catalogue
    from ganzoo.runs.exported import Exported
    from ganzoo.training.session import open_session

    told, strategy = SCRIPTS[script], {key: value for key, value in chosen.items() if key == "reuse_fakes"}
    run = data_of(script, data) | {key: value for key, value in chosen.items() if key not in strategy} | {"device": "cpu"}
    if out is not None and script not in TRANSLATORS:  # its own networks; samples of another size are resized before they are judged
        run["image_size"] = "32"
    with tempfile.TemporaryDirectory() as work:
        if out is None:
            file = Path(work) / "theirs.py"
            made = f"sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom peers import parts\n"
            made += f"Generator, Discriminator, ganzoo_register = parts(Path({str(checkout)!r}), {script!r})\n"
            file.write_text(f"import sys\nfrom pathlib import Path\nGANZOO_API = 1\n{made}")
            discovery.named.append(file)
            run |= {"ema": 0.0, "batch_size": 1 if script in TRANSLATORS else 64}
            own = {"generator": "theirs", "discriminator": "theirs"}
            options = {"strategy": {**told["options"], **strategy}}
            changes = Changes(run, own, (), options)
        else:
            changes = Changes(run, {}, None, {"strategy": strategy})
        _, _, session = open_session(compose.resolve(catalogue(), told["recipe"], changes))
        begin = time.process_time()
        first, t = (0, begin), 0
        while t < WARM + batches if batches else time.process_time() - begin < seconds:
            session.step(t)
            t += 1
            if t == WARM:
                first = (session.batches.seen, time.process_time())
        if out is not None and script == "cyclegan":
            x = summers(data)
            there = torch.cat(list(Exported.of(session.strategy, "a-to-b").raw(50, 0, {"x_a": x})))
            back = torch.cat(list(Exported.of(session.strategy, "b-to-a").raw(50, 0, {"x_b": there})))
            np.savez(out, x=there.add(1).mul(127.5).round().byte().numpy())
            return {"images": session.batches.seen, "back": float((back - x).abs().mean())}
        if out is not None:
            np.savez(out, x=torch.cat(list(Exported.of(session.strategy, step=t).outputs(SAMPLES))).numpy())
            return {"images": session.batches.seen}
        return {"images": session.batches.seen - first[0], "seconds": time.process_time() - first[1]}


# --- The tables ---

WAYS: dict[str, dict[str, Any]] = {
    "the script": {},
    "the script, bf16": {"bf16": True},
    "ganzoo, fp32": {"precision": "fp32"},
    "ganzoo, fp32, reused fakes": {"precision": "fp32", "reuse_fakes": True},
    "ganzoo": {},
    "ganzoo, reused fakes": {"reuse_fakes": True},
}
REUSE = ("gan", "dcgan", "acgan", "wgan_gp")  # their strategy is the alternating one


def child(side: str, script: str, args: argparse.Namespace, chosen: dict[str, Any], out: Path | None = None) -> dict[str, float]:
    """One side in a process of its own, on one thread."""
    request = [side, script, str(args.checkout), str(args.data), args.batches if out is None else 0, 0 if out is None else args.seconds]
    asked = json.dumps([*request, str(out) if out else "", chosen])
    done = subprocess.run(
        [sys.executable, __file__, "child", asked], env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True
    )
    made: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return made


def answer(asked: str) -> None:
    """What a child does."""
    side, script, checkout, data, batches, seconds, out, chosen = json.loads(asked)
    torch.set_num_threads(1)
    given = (Path(checkout), script, Path(data), batches, seconds, Path(out) if out else None)
    print(json.dumps((theirs if side == "theirs" else ours)(*given, chosen)))


def speed(args: argparse.Namespace) -> list[list[str]]:
    """Real images a second of processor time on the same networks, in turns; the medians, and their ratios to the script's."""
    rows = []
    for script in args.scripts:
        ways = {name: way for name, way in WAYS.items() if "reuse_fakes" not in way or script in REUSE}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(args.rounds):
            for name in rates:
                made = child("theirs" if name.startswith("the script") else "ours", script, args, ways[name])
                rates[name].append(made["images"] / made["seconds"])
        middle = {name: statistics.median(values) for name, values in rates.items()}
        for name, rate in middle.items():
            rows.append([script, name, f"{rate:.1f}", f"{rate / middle['the script']:.2f}"])
            print(*rows[-1], sep="\t", flush=True)
    return rows


def quality(args: argparse.Namespace) -> list[list[str]]:
    """What is judged of each side after as much processor time, each with its own networks and options."""
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for script in args.scripts:
            for name in ("theirs", "ours"):
                out = Path(work) / f"{script}-{name}.npz"
                made = child(name, script, args, {}, out)
                if script == "cyclegan":
                    judged = ["--against", str(args.data / TRANSLATORS[script] / "testB"), "--image-size", "64", "--features", "random"]
                    judged += ["--metric", "fid", "-n", "50"]
                else:
                    judged = ["--against", "fashion-mnist", "--data-dir", str(args.data), "--image-size", "32", "--features", "classifier"]
                    judged += ["--metric", "fid,precision-recall", "-n", str(SAMPLES), "--n-real", "10000"]
                words = ["evaluate", str(out), "--json", *judged]
                done = subprocess.run([sys.executable, "-m", "ganzoo", *words], stdout=subprocess.PIPE, text=True, check=True)
                figures = {key: value for entry in json.loads(done.stdout) for key, value in entry["figures"].items()}
                rows.append(
                    [
                        script,
                        name,
                        str(int(made["images"])),
                        *(f"{value:.3g}" for value in [*figures.values(), made.get("back", "")] if value != ""),
                    ]
                )
                print(*rows[-1], sep="\t", flush=True)
    return rows


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        answer(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "quality"))
    parser.add_argument("checkout", type=Path)
    parser.add_argument("scripts", nargs="*")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--out", type=Path, help="a folder for peers-speed.md or peers-quality.md")
    args = parser.parse_args()
    args.checkout, args.data = args.checkout.resolve(), args.data.resolve()
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    drawing = [name for name in SCRIPTS if name != "pix2pix"]
    args.scripts = args.scripts or ([*SCRIPTS] if args.what == "speed" else drawing)
    if unknown := set(args.scripts) - set(SCRIPTS if args.what == "speed" else drawing):
        parser.error(f"wanted {', '.join(SCRIPTS)}; got {', '.join(sorted(unknown))}")
    from ganzoo import machine

    told = ["images a second", "ratio"] if args.what == "speed" else ["real images", "figures"]
    columns, rows = ["script", "side", *told], speed(args) if args.what == "speed" else quality(args)
    if args.out:
        table = "\n".join("| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows))
        made = f"{machine.processor()}, one thread, torch {torch.__version__}, {machine.now():%Y-%m-%d}; python {' '.join(sys.argv)}"
        (args.out / f"peers-{args.what}.md").write_text(f"{table}\n\n{made}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
