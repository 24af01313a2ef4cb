"""Does each recipe do what its paper says? A cheap check, on a processor, that anybody can run again.

    python benchmarks/validate.py                              # all checks, three seeds each
    python benchmarks/validate.py dcgan ring-r1 --seeds 0 1 2  # some
    python benchmarks/validate.py --table                      # only the table, from the results that there are
    python benchmarks/validate.py --judge runs/a runs/b        # what the judge of images says of any runs on Fashion-MNIST at 32 pixels

Images are judged by ganzoo's own `classifier`, which learns Fashion-MNIST's 60,000 training images at 32 pixels:

* cFID: `ganzoo evaluate --metric fid` of 5,000 samples against the 60,000 training images. The GANs learn from the other 10,000 images
  (data set `fashion-10k`), so a copy of what a GAN has seen scores the floor and no less. Results say which classifier judged them:
  figures of two do not compare.
* classes: how many of the ten the network sees in at least 1 % of the samples; confidence: its mean highest probability.
* spread: standard deviation of the samples, pixel by pixel, as a share of the real images'.

Points of `ring` (eight Gaussians, standard deviation 0.02, on a circle of radius 2) are judged by `modes`: 2,500 samples.

Every check has a control that must miss its limits: an untrained generator, or the recipe without what makes it work. The limits leave
slack over what was measured when they were set: they tell whether something broke, not whether a GAN is good.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ganzoo
from ganzoo import compose, machine
from ganzoo.compose import Resolved
from ganzoo.config import Changes, Config, RunOptions
from ganzoo.data import Batches
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.request import Reference, requested
from ganzoo.files import read_lines
from ganzoo.registry.catalogue import catalogue, medium
from ganzoo.runs.exported import Exported, load
from ganzoo.runs.folder import read_config
from ganzoo.training import launch
from ganzoo.training.health import spread
from ganzoo.training.loop import Watch
from ganzoo.training.session import open_session
from ganzoo.types import DataSpec

SAMPLES, POINTS = 5000, 2500
Figures = dict[str, float]


@dataclass(frozen=True)
class Check:
    """One thing that is measured.

    options: what is typed beside the recipe's defaults. limits: figure -> (lowest, highest) that every seed must keep; none: reported only.
    control: options of a run that must miss a limit; None: the untrained generator must. why: the reason for the options.
    """

    recipe: str
    options: Mapping[str, Any]
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    control: Mapping[str, Any] | None = None
    why: str = ""


ANY = math.inf
FEWER = "Fewer steps than the recipe's, to fit the budget."
FASHION = {"dataset": "fashion-10k", "image_size": "32"}
RING = {
    "dataset": "ring", "batch_size": 256, "generator.z_dim": 2, "generator.width": 128, "discriminator.width": 128,
    "strategy.lr_g": 1e-3, "strategy.lr_d": 1e-3,
}  # fmt: skip
CHECKS: dict[str, Check] = {
    "dcgan": Check("dcgan", FASHION, {"cFID": (0, 120), "classes": (10, 10), "spread": (0.8, 1.2)}),
    "gan": Check("gan", FASHION, {"cFID": (0, 450), "classes": (5, 10), "spread": (0.6, 1.2)}),
    "acgan": Check(
        "acgan", FASHION, {"class_accuracy": (0.65, 1), "cFID": (0, 200), "sigma_ratio": (0.5, 1.2)}, {"loss.class_weight": 0.0},
    ),
    "began": Check(
        "began", FASHION,
        {"M_last_of_first": (0, 0.85), "balance": (0.85, 1.15), "k_lowest": (0, 1), "k_highest": (1e-3, 1)}, {"strategy.lambda_k": 0.0},
        "The limits are those of the control alone: M falls, L(G(z)) / L(x) stays near gamma, k works. They tell nothing of the samples.",
    ),
    "began-faces": Check(
        "began", {"dataset": "celeba", "image_size": "32"},
        {"M_last_of_first": (0, 0.85), "balance": (0.85, 1.15), "k_highest": (1e-3, 1), "spread": (0.4, 1.2)}, {"strategy.lambda_k": 0.0},
        "Aligned faces are what the paper shows; CelebA, whatever part of it the data folder holds.",
    ),
    "wgan": Check("wgan", FASHION, {"cFID": (0, 250), "classes": (9, 10), "spread": (0.7, 1.2)}),
    "wgan-gp": Check(
        "wgan-gp", {**FASHION, "steps": 400}, {"cFID": (0, 250), "classes": (9, 10), "spread": (0.7, 1.2)},
        why=FEWER,
    ),
    "lsgan": Check("lsgan", FASHION, {"cFID": (0, 150), "classes": (10, 10), "spread": (0.8, 1.2)}),
    "sngan": Check(
        "sngan", {**FASHION, "steps": 600}, {"cFID": (0, 250), "classes": (9, 10), "spread": (0.7, 1.2)}, why=FEWER,
    ),
    "cgan": Check(
        "cgan", {**FASHION, "steps": 600}, {"class_accuracy": (0.65, 1), "cFID": (0, 200), "sigma_ratio": (0.5, 1.2)},
        {"discriminator": "dcgan"}, f"{FEWER} The control's D is not told the class: then nothing makes G draw it.",
    ),
    "r3gan": Check(
        "r3gan", {**FASHION, "steps": 800},
        {"cFID": (0, 300), "classes": (9, 10), "spread": (0.7, 1.2)}, why=FEWER,
    ),
    "ring-gan": Check("gan", {**RING, "ema": 0.0, "steps": 3000}, why="Reported only: the plain game is known to drop modes."),
    "ring-r1": Check(
        "gan", {**RING, "loss": "r1", "loss.gamma": 1.0, "ema": 0.995, "steps": 3000},
        {"modes": (8, 8), "high_quality": (0.5, 1), "KL": (0, 0.05)},
    ),
    "ring-r3gan": Check(
        "gan", {**RING, "loss": "relativistic", "loss.gamma": 1.0, "loss.gamma_end": 1.0, "ema": 0.995, "steps": 3000},
        {"modes": (8, 8), "high_quality": (0.5, 1), "KL": (0, 0.05)}, why="R3GAN's loss, without its networks.",
    ),
    "ring-wgan-gp": Check(
        "gan", {**RING, "loss": "wgan-gp", "loss.weight": 0.1, "strategy.d_steps": 5, "ema": 0.99, "steps": 1500},
        {"modes": (8, 8), "high_quality": (0.35, 1), "KL": (0, 0.05)}, {"loss.weight": 0.0},
    ),
}  # fmt: skip


# --- Training, as `ganzoo run` does it ---


def configured(check: Check, seed: int, more: Mapping[str, Any]) -> Resolved:
    """The run that `ganzoo run` would make of these options."""
    run: dict[str, Any] = {"seed": seed}
    exchanged: dict[str, str] = {}
    kinds = compose.draft(catalogue(), check.recipe).kinds
    chosen: dict[str, dict[str, Any]] = {}
    for key, value in {**check.options, **more}.items():
        kind, dot, name = key.partition(".")
        if dot:
            chosen.setdefault(kind, {})[name] = value
        elif key in kinds:
            exchanged[key] = value
        else:
            run[key] = value
    return compose.resolve(catalogue(), check.recipe, Changes(run, exchanged, options=chosen))


def command(check: Check, seed: int | str, more: Mapping[str, Any]) -> str:
    """The same as a command line."""
    typed = {**check.options, **more, "seed": seed}
    return " ".join(["ganzoo run", check.recipe, *(f"--{key.replace('_', '-')} {value}" for key, value in typed.items())])


class Quiet(Watch):
    """Remembers the warnings of a run."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, text: str) -> None:
        self.warnings.append(text)


def trained(resolved: Resolved, folder: Path) -> tuple[Path, list[str]]:
    """The folder of the finished run and its warnings; one that is finished already is taken as it is, one that was cut off goes on."""
    watch = Quiet()
    if not (folder / "config.json").exists():
        launch.start(resolved, folder, watch)
    elif _same(read_config(folder), resolved.config):
        if metrics(folder)[-1]["step"] < resolved.run.steps:
            launch.resume(catalogue(), folder, None, watch)
    else:
        raise SystemExit(f"{folder} is a run with other options. Remove it, or name another folder with --keep.")
    return folder, watch.warnings


def _same(written: Mapping[str, Any], config: Config) -> bool:
    wanted = json.loads(json.dumps(config.to_json()))
    free = ("device", "data_dir", "log_every", "sample_every", "save_every", "image_size")
    runs = [{key: value for key, value in told["run"].items() if key not in free} for told in (written, wanted)]
    return runs[0] == runs[1] and all(written[key] == wanted[key] for key in ("recipe", "parts", "options"))


def metrics(folder: Path) -> list[dict[str, float]]:
    return read_lines(folder / "metrics.jsonl")


def draw(exported: Exported, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n samples, and the classes that they were drawn for, each as often as the next; images as they would be saved, in [-1, 1]."""
    x = torch.cat(list(exported.outputs(n, seed)))
    return seen_by_networks(x, exported.data), torch.arange(n) % max(exported.data.classes, 1)


def seen_by_networks(x: Tensor, spec: DataSpec) -> Tensor:
    """Stored samples as networks see them: images in [-1, 1]."""
    return medium(spec.kind).to_batch(x)


def untrained(resolved: Resolved) -> Exported:
    """The generator before step 0."""
    return Exported.of(open_session(resolved)[2].strategy)


# --- The judge of images ---


class Judge:
    """ganzoo's `fid` in the features of its `classifier`, against Fashion-MNIST's 60,000 training images, and what that sees in others."""

    def __init__(self, data_dir: Path | None) -> None:
        where = str(data_dir) if data_dir else None
        source = compose.find_data(catalogue(), RunOptions(dataset="fashion-mnist", image_size="32", data_dir=where))
        held_out = compose.find_data(catalogue(), RunOptions(dataset="fashion-10k", image_size="32")).prepare()
        data = source.prepare()
        reference = Reference(data, "train", source.record)
        request = requested(catalogue(), reference, catalogue().measures("fid", "classifier"), SAMPLES)
        self.evaluator = Evaluator(request, reference, lambda: data, torch.device("cpu"))
        assert self.evaluator.extractor is not None
        self.extractor, self.spec = self.evaluator.extractor, data.spec
        self.real, self.y = seen_by_networks(held_out.load()["x"], self.spec), held_out.load()["y"]
        self.accuracy = float((self._look(self.real)[1].argmax(1) == self.y).double().mean())

    @torch.no_grad()
    def _look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = [self.extractor(some) for some in medium(self.spec.kind).stored(x, self.spec.x).split(250)]
        return torch.cat([features for features, _ in seen]), torch.cat([logits for _, logits in seen])

    def figures(self, x: Tensor) -> tuple[Figures, Tensor, Tensor]:
        """What is said of any images (N, 1, 32, 32); their features, and the classes that are seen in them."""
        features, logits = self._look(x)
        seen = logits.argmax(1)
        shares = seen.bincount(minlength=10) / len(x)
        figures = {
            **self.evaluator.measure(medium(self.spec.kind).stored(x, self.spec.x).split(250), len(x))[0].figures,
            "classes": float((shares >= 0.01).sum()),
            "largest_class": float(shares.max()),
            "confidence": float(logits.softmax(1).amax(1).mean()),
            "spread": spread(x, self.real),
        }
        return figures, features, seen

    def of_classes(self, x: Tensor, y: Tensor, seen: Tensor, features: Tensor) -> Figures:
        """Of samples of given classes: how often the class is seen, and how varied each class is, in units of the real images' variety."""
        own, _ = self._look(self.real)
        pixels, deep = [], []
        for c in range(10):
            pixels.append(float(x[y == c].std(0).mean() / self.real[self.y == c].std(0).mean()))
            deep.append(float(features[y == c].std(0).mean() / own[self.y == c].std(0).mean()))
        return {
            "class_accuracy": float((seen == y).double().mean()),
            "sigma_ratio": statistics.mean(pixels),
            "sigma_ratio_lowest": min(pixels),
            "sigma_ratio_features": statistics.mean(deep),
        }

    def known(self) -> dict[str, Any]:
        """Floor and ceiling: what real images and noise get."""
        order = torch.randperm(len(self.real), generator=torch.Generator().manual_seed(0))[:SAMPLES]
        noise = torch.rand((SAMPLES, 1, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
        return {
            "classifier": self.extractor.weights_hash[:8],
            "test_accuracy": self.accuracy,
            "real": self.figures(self.real[order])[0],
            "noise": self.figures(noise)[0],
        }


# --- What is measured ---


def ring_figures(x: Tensor) -> Figures:
    """Of points (N, 2): modes covered, share of high quality, KL of the modes' histogram to uniform: ganzoo's own `modes`."""
    source = compose.find_data(catalogue(), RunOptions(dataset="ring"))
    ring = Reference(source.prepare(), "train", source.record)
    evaluator = Evaluator(requested(catalogue(), ring, catalogue().measures("modes", "")), ring, lambda: ring.data, torch.device("cpu"))
    figures = evaluator.measure([x], len(x))[0].figures
    return {"modes": figures["modes"], "high_quality": figures["high-quality"], "KL": figures["mode-kl"]}


def began_figures(lines: Sequence[Mapping[str, float]]) -> Figures:
    """How the control went: M at the start and the end, the balance that is kept, and k."""
    tenth = max(1, len(lines) // 10)
    last = lines[-tenth:]
    return {
        "M_first": statistics.mean(line["began/M"] for line in lines[:tenth]),
        "M_last": statistics.mean(line["began/M"] for line in last),
        "M_last_of_first": statistics.mean(line["began/M"] for line in last) / statistics.mean(line["began/M"] for line in lines[:tenth]),
        "balance": statistics.mean(line["g/fake"] for line in last) / statistics.mean(line["d/real"] for line in last),
        "k_lowest": min(line["began/k"] for line in lines),
        "k_highest": max(line["began/k"] for line in lines),
        "lr_last": lines[-1]["began/lr"],
    }


def _control_loop(check: Check, lines: Sequence[Mapping[str, float]]) -> Figures:
    return began_figures(lines) if check.recipe == "began" else {}


def measured(generator: Exported, seed: int, judge: Judge | None, real: Tensor | None = None) -> Figures:
    """The figures of one generator. real: images to compare the spread with, where the judge does not know the data."""
    if real is not None:
        return {"spread": spread(draw(generator, 1000, seed)[0], real)}
    if judge is None:
        return ring_figures(draw(generator, POINTS, seed)[0])
    x, y = draw(generator, SAMPLES, seed)
    figures, features, seen = judge.figures(x)
    return {**figures, **(judge.of_classes(x, y, seen, features) if "y" in generator.fields else {})}


def missed(figures: Mapping[str, float], limits: Mapping[str, tuple[float, float]]) -> list[str]:
    """The limits that these figures do not keep."""
    return [name for name, (low, high) in limits.items() if not low <= figures.get(name, math.nan) <= high]


def run_check(name: str, seeds: Sequence[int], runs: Path, judge: Judge | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """All that is measured of one check."""
    check = CHECKS[name]
    rows: list[Figures] = []
    controls: list[Figures] = []
    warnings: set[str] = set()
    real = None
    if judge is None and check.options["dataset"] != "ring":
        data = configured(check, seeds[0], more).prepare()
        real = Batches(data.load(), data.spec, 1, seed=0, device=torch.device("cpu")).peek(2000)["x"]
    for seed in seeds:
        config = configured(check, seed, more)
        begin = time.monotonic()
        folder, said = trained(config, runs / f"{name}-{seed}")
        generator = load(catalogue(), folder)
        lines = metrics(folder)
        row = {**measured(generator, seed, judge, real), **_control_loop(check, lines), "seconds": lines[-1]["time"]}
        rows.append(row)
        warnings |= set(said)
        told(f"{name}, seed {seed}, {time.monotonic() - begin:.0f} s: {_line(row)}")
    before = measured(untrained(configured(check, seeds[0], more)), seeds[0], judge, real)
    told(f"{name}, untrained: {_line(before)}")
    if check.control is not None:
        folder, _ = trained(configured(check, seeds[0], {**more, **check.control}), runs / f"{name}-control-{seeds[0]}")
        controls.append({**measured(load(catalogue(), folder), seeds[0], judge, real), **_control_loop(check, metrics(folder))})
        told(f"{name}, control: {_line(controls[0])}")
    over_seeds = {
        key: {"seeds": [row[key] for row in rows], "min": min(row[key] for row in rows), "mean": statistics.mean(row[key] for row in rows),
              "max": max(row[key] for row in rows)}
        for key in rows[0]
    }  # fmt: skip
    failed = {f"seed {seed}": bad for seed, row in zip(seeds, rows, strict=True) if (bad := missed(row, check.limits))}
    for what, row in (("untrained", before), *(("control", row) for row in controls)):
        if check.limits and not missed(row, check.limits):
            failed[what] = ["keeps all limits, and must not"]
    config = configured(check, seeds[0], more)
    return {
        "check": name,
        "recipe": check.recipe,
        "steps": config.run.steps,
        "why": check.why,
        "runs": [command(check, seed, more) for seed in seeds],
        "control_run": command(check, seeds[0], {**more, **check.control}) if check.control is not None else "",
        "seeds": list(seeds),
        "figures": over_seeds,
        "untrained": before,
        "control": controls[0] if controls else None,
        "limits": {key: [None if math.isinf(v) else v for v in pair] for key, pair in check.limits.items()},
        "failed": failed,
        "warnings": sorted(warnings),
        "judge": judge.known() if judge else None,
    }


def _line(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in figures.items())


# --- The table ---


IN_TABLE = ("cFID", "classes", "confidence", "spread", "seconds", "modes", "high_quality", "KL")


def _range(result: Mapping[str, Any], key: str, digits: int = 3) -> str:
    found = result["figures"][key]
    shown = [f"{found[k]:.{digits}g}" for k in ("mean", "min", "max")]
    return shown[1] if shown[1] == shown[2] else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _verdict(result: Mapping[str, Any]) -> str:
    if not result["limits"]:
        return "reported"
    yes = "those of its control loop" if result["judge"] and "cFID" not in result["limits"] else "yes"
    return "no: " + "; ".join(f"{who}: {', '.join(what)}" for who, what in result["failed"].items()) if result["failed"] else yes


def table(out: Path) -> str:
    """The Markdown of all results in the folder."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in (out / f"{name}.json" for name in CHECKS) if path.exists()]
    images, rings = [r for r in results if r["judge"]], [r for r in results if "modes" in r["figures"]]
    faces = [r for r in results if r not in images and r not in rings]
    lines = ["# Validation", "", "Made by `benchmarks/validate.py`, which says what each figure is. Mean (lowest to highest) over seeds."]
    if images:
        real, noise = images[0]["judge"]["real"], images[0]["judge"]["noise"]
        judges = {(r["judge"]["classifier"], f"{r['judge']['test_accuracy']:.3f}") for r in images}
        lines += [
            "", "## Fashion-MNIST at 32 pixels, as a classifier sees it", "",
            "Trained on the 10,000 images of `fashion-10k`; compared with the 60,000 training images, which no GAN saw. cFID is not FID. "
            "Seconds are of the wall clock, whatever else the machine did. "
            "cFIDs by two classifiers do not compare. "
            f"Classifier (accuracy on fashion-10k): {', '.join(f'{name} ({accuracy})' for name, accuracy in sorted(judges))}.", "",
            "| recipe | judge | seeds | steps | cFID | classes of 10 | confidence | spread | untrained: cFID | s a seed | limits kept |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for what, row in (("real images (floor)", real), ("uniform noise", noise)):
            judge = images[0]["judge"]["classifier"]
            seen = f"{row['cFID']:.3g} | {row['classes']:.0f} | {row['confidence']:.2f} | {row['spread']:.2f}"
            lines.append(f"| {what} | {judge} | | | {seen} | | | |")
        for r in images:
            lines.append(
                f"| {r['check']} | {r['judge']['classifier']} | {len(r['seeds'])} | {r['steps']} | "
                f"{_range(r, 'cFID')} | {_range(r, 'classes')} | {_range(r, 'confidence', 2)} | "
                f"{_range(r, 'spread', 2)} | {r['untrained']['cFID']:.3g} | {r['figures']['seconds']['mean']:.0f} | {_verdict(r)} |"
            )
    if rings:
        lines += [
            "", "## Ring of eight Gaussians", "",
            "| check | seeds | steps | modes of 8 | high quality | KL | untrained: modes, high quality | s a seed | limits kept |",
            "|---|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for r in rings:
            lines.append(
                f"| {r['check']} | {len(r['seeds'])} | {r['steps']} | "
                f"{_range(r, 'modes')} | {_range(r, 'high_quality')} | {_range(r, 'KL')} | "
                f"{r['untrained']['modes']:.0f}, {r['untrained']['high_quality']:.3f} | {r['figures']['seconds']['mean']:.0f} | "
                f"{_verdict(r)} |"
            )
    if faces:
        lines += [
            "", "## Faces at 32 pixels", "",
            "| check | seeds | steps | spread | untrained: spread | s a seed | limits kept |",
            "|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for r in faces:
            lines.append(
                f"| {r['check']} | {len(r['seeds'])} | {r['steps']} | {_range(r, 'spread', 2)} | {r['untrained']['spread']:.2f} | "
                f"{r['figures']['seconds']['mean']:.0f} | {_verdict(r)} |"
            )
    for r in results:
        extra = [key for key in r["figures"] if key not in IN_TABLE]
        lines += ["", f"### {r['check']}", "", f"`{r['runs'][0]}`, and seeds {', '.join(map(str, r['seeds']))}. {r['why']}".rstrip()]
        lines += ["", *(f"- {key.replace('_', ' ')}: {_range(r, key)}" for key in extra)] if extra else []
        if r["control"]:
            shown = {key: r["control"][key] for key in (r["limits"] or r["control"])}
            lines.append(f"- control, `{r['control_run']}`: {_line(shown)}")
        lines += [f"- limit: {key} from {low} to {high}" for key, (low, high) in r["limits"].items()]
        lines += [f"- a run warned: {warning}" for warning in r["warnings"]]
        m = r["machine"]
        lines.append(f"- {r['date']}, ganzoo {r['ganzoo']}, torch {m['torch']}, {m['threads']} thread, {m['processor']}: `{r['command']}`")
    return "\n".join(lines) + "\n"


def told(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-dir", type=Path, default=None, help="where Fashion-MNIST lies or goes; also GANZOO_DATA")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder, and take those that are finished there")
    parser.add_argument("--steps", type=int, help="another number of steps, to try the script itself")
    parser.add_argument("--table", action="store_true", help="train nothing; write validation.md from the results that there are")
    parser.add_argument("--judge", type=Path, nargs="+", metavar="RUN", default=[], help="train nothing; judge these runs or checkpoints")
    args = parser.parse_args()
    if unknown := set(args.checks) - set(CHECKS):
        parser.error(f"there is no check {', '.join(sorted(unknown))}; there is {', '.join(CHECKS)}")
    torch.set_num_threads(machine.threads())
    if args.data_dir:
        os.environ["GANZOO_DATA"] = str(args.data_dir)
    args.out.mkdir(parents=True, exist_ok=True)
    judge = Judge(args.data_dir) if args.judge else None
    for run in args.judge:
        told(f"{run}: {_line(measured(load(catalogue(), run), 0, judge))}")
    bad = []
    more = {"steps": args.steps} if args.steps else {}
    threads = [f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}"] if "OMP_NUM_THREADS" in os.environ else []
    for name in [] if args.table or args.judge else args.checks or CHECKS:
        images = CHECKS[name].options["dataset"] == "fashion-10k"
        if images and judge is None:
            judge = Judge(args.data_dir)
            told(f"classifier {judge.extractor.weights_hash[:8]}: accuracy {judge.accuracy:.4f} on fashion-10k")
        with tempfile.TemporaryDirectory(prefix="ganzoo-validate-") as temporary:
            result = run_check(name, args.seeds, args.keep or Path(temporary), judge if images else None, more)
        typed = [*threads, "python benchmarks/validate.py", name, "--seeds", *args.seeds, *(["--steps", args.steps] if args.steps else [])]
        result |= {
            "command": " ".join(map(str, typed)),
            "ganzoo": ganzoo.__version__,
            "machine": machine.describe(),
            "date": datetime.now(UTC).date().isoformat(),
        }
        (args.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (args.out / "validation.md").write_text(table(args.out), encoding="utf-8")
        bad += [name] if result["failed"] else []
    if args.table:
        (args.out / "validation.md").write_text(table(args.out), encoding="utf-8")
    if bad:
        sys.exit(f"limits not kept: {', '.join(bad)}")


if __name__ == "__main__":
    main()
