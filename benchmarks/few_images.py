"""What augmentation around D gives with few images: the same recipe and the same steps on 500 faces, with and without it.

    python benchmarks/few_images.py                     # trains, measures, writes benchmarks/results/few_images.md
    python benchmarks/few_images.py --only settling     # one of the two tables: faces, settling

Faces: a DCGAN of width 16 at 64 pixels learns 500 of CelebA's faces, chosen by a seed of their own; the other 9,500 are what its samples
are compared with. cFID is the Fréchet distance in the features of ganzoo's `classifier`, which learns man or woman, smiling or not on those
others. "D's loss" is d/real + d/fake: 2 ln 2 = 1.39 where D can tell nothing, 0 where it is sure. It is told at a quarter, half and the end
of the run, as the mean over 100 steps; "D had won" is the share of the steps in which that mean was below a third of 1.39.

Settling: p of `ada` with losses that leave the zero of the logits free, and with one that does not, after as many images. p may get from 0
to 1 within 10,000 of them, so there is time to settle. 500 faces against 10,000 garments.

Every run has one thread; two are made at a time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import ganzoo
from ganzoo import compose, machine
from ganzoo.config import DataOptions
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.request import Reference, requested
from ganzoo.files import read_lines, write_text
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs.exported import load
from ganzoo.training import launch

FEW, SAMPLES, SIZE = 500, 5000, "64"
CHANCE = 2 * math.log(2)
WON = CHANCE / 3
NARROW = ["--generator.width", "16", "--discriminator.width", "16", "--batch-size", "32"]
AROUND = ("none", "diffaugment", "ada")
#: Options of the runs that show where p settles.
SETTLING = {
    "non-saturating": ["dcgan"],
    "wgan-gp": ["wgan-gp"],
    "relativistic": ["r3gan", "--generator.width", "8", "--discriminator.width", "8"],
}


def faces(source: Path, folder: Path) -> tuple[Path, Path]:
    """CelebA's faces as two folders: `FEW` of them, and the others in a sub-folder a class, each class with its part in both."""
    few, others = folder / "few", folder / "others"
    if (folder / "complete").exists():
        return few, others
    lines = (source / "list_attr_celeba.txt").read_text(encoding="utf-8").splitlines()
    columns = lines[1].split()
    with zipfile.ZipFile(source / "img_align_celeba.zip") as packed:
        rows = [line.split() for line in lines[2:]]
        chosen = {row[0] for row in random.Random(0).sample(rows, FEW)}
        for name, *flags in rows:
            told = dict(zip(columns, flags, strict=True))
            kind = f"{'man' if told['Male'] == '1' else 'woman'}-{'smiling' if told['Smiling'] == '1' else 'serious'}"
            place = few if name in chosen else others / kind
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(packed.read(f"img_align_celeba/{name}"))
    write_text(folder / "complete", "")
    return few, others


def trained(folder: Path, words: Sequence[str]) -> Path:
    """The folder of a finished run of `ganzoo run`; one that is finished is taken as it is, one that was cut off goes on."""
    if launch.finished(folder):
        return folder
    command = ["resume", str(folder)] if (folder / "config.json").exists() else ["run", *words, "--out", str(folder)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "ganzoo", *command], env=env, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"ganzoo {' '.join(command)} ended with status {done.returncode}")
    print(folder.name, flush=True)
    return folder


def all_trained(out: Path, runs: Mapping[str, Sequence[str]]) -> None:
    """Every run, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda item: trained(out / item[0], item[1]), runs.items()))


def game(run: Path) -> dict[str, float]:
    """How sure D was: its loss at a quarter, half and the end of the run, and the share of the steps in which it had won."""
    lines = read_lines(run / "metrics.jsonl")
    lost = [line["d/real"] + line["d/fake"] for line in lines]
    width = next((i for i, line in enumerate(lines) if line["step"] >= 100), len(lines)) or 1
    smooth = [statistics.mean(lost[max(0, i - width + 1) : i + 1]) for i in range(len(lost))]
    parts = {f"D's loss, {name}": smooth[round(part * (len(smooth) - 1))] for name, part in (("1/4", 0.25), ("1/2", 0.5), ("end", 1.0))}
    return {**parts, "D had won": statistics.mean(value < WON for value in smooth), "seconds": lines[-1]["time"]}


def settled(run: Path, wrapper: str = "ada") -> dict[str, float]:
    """p at a quarter, half and the end, r_t over the last quarter, and how much p still moved there."""
    lines = [line for line in read_lines(run / "metrics.jsonl") if f"{wrapper}/p" in line]
    p = [line[f"{wrapper}/p"] for line in lines]
    late = lines[len(lines) * 3 // 4 :]
    return {
        "p, 1/4": p[len(p) // 4], "p, 1/2": p[len(p) // 2], "p, end": p[-1],
        "p, least to most in the last quarter": max(q[f"{wrapper}/p"] for q in late) - min(q[f"{wrapper}/p"] for q in late),
        "r_t, last quarter": statistics.mean(line[f"{wrapper}/r"] for line in late),
    }  # fmt: skip


def judge(others: Path) -> Evaluator:
    """cFID against the faces that no GAN saw, in features that were learnt from them."""
    source = compose.find_data(catalogue(), DataOptions(dataset=str(others), image_size=SIZE))
    data = source.prepare()
    reference = Reference(data, "others", source.record)
    request = requested(catalogue(), reference, catalogue().measures("fid", "classifier"), SAMPLES)
    return Evaluator(request, reference, lambda: data, torch.device("cpu"))


def of_faces(out: Path, few: Path, others: Path, seeds: Sequence[int], steps: int) -> dict[str, list[dict[str, float]]]:
    """Figures by what stands around D, one a seed."""
    common = ["dcgan", "--dataset", str(few), "--image-size", SIZE, "--steps", str(steps), "--save-every", str(steps), *NARROW]
    around = {f"{name}-{seed}": [*common, "--with", name, "--seed", str(seed)] for seed in seeds for name in AROUND}
    all_trained(out, around)
    evaluator, figures = judge(others), dict[str, list[dict[str, float]]]()
    for name in AROUND:
        for seed in seeds:
            run = out / f"{name}-{seed}"
            row = {**evaluator(load(catalogue(), run), SAMPLES)[0].figures, **game(run)}
            figures.setdefault(name, []).append(row | (settled(run) if name == "ada" else {}))
            print(name, seed, row, flush=True)
    real = compose.find_data(catalogue(), DataOptions(dataset=str(few), image_size=SIZE)).prepare()
    figures["the 500 faces"] = [{**evaluator.measure([real.load()["x"]], FEW)[0].figures}]
    return figures


def of_settling(out: Path, few: Path, images: int) -> dict[str, list[dict[str, float]]]:
    """Where p goes, by loss, at 32 pixels; and with fashion-10k's 10,000 images, which cannot be learnt by heart in this time."""
    common = ["--image-size", "32", "--images", str(images), "--steps", str(images // 32), "--batch-size", "32", "--with", "ada"]
    common += ["--ada.images", "10000"]
    runs = {}
    for name, words in SETTLING.items():
        runs[f"{name}, 500 faces"] = [*words, "--dataset", str(few), *common]
        runs[f"{name}, 10,000 garments"] = [*words, "--dataset", "fashion-10k", *common]
    places = {what: "settling-" + what.replace(", ", "-").replace(",", "").replace(" ", "-") for what in runs}
    all_trained(out, {places[what]: words for what, words in runs.items()})
    return {what: [settled(out / place)] for what, place in places.items()}


def table(figures: Mapping[str, Sequence[Mapping[str, float]]], first: str) -> list[str]:
    """Mean (lowest to highest) over the seeds."""
    names = list(dict.fromkeys(name for rows in figures.values() for row in rows for name in row))
    lines = ["| " + " | ".join([first, *names]) + " |", "|---" * (len(names) + 1) + "|"]
    for what, rows in figures.items():
        lines.append("| " + " | ".join([what, *(_cell([row[name] for row in rows if name in row]) for name in names)]) + " |")
    return lines


def _cell(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.3g}" for value in values)
    return f"{statistics.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def page(told: Mapping[str, Any]) -> str:
    lines = ["# Augmentation around D", "", "Made by `benchmarks/few_images.py`, which says what is done and what each figure is.", ""]
    for what, part in told.items():
        lines += [f"## {'500 faces at 64 pixels' if what == 'faces' else 'Where p of `ada` settles, at 32 pixels'}", ""]
        lines += [*table(part["figures"], "around D" if what == "faces" else "loss, data"), ""]
        m = part["machine"]
        lines += [f"`{part['command']}`, {part['date']}, ganzoo {part['ganzoo']}, torch {m['torch']}, {m['processor']}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=["faces", "settling"], help="one of the two tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000, help="of each run on faces")
    parser.add_argument("--images", type=int, default=24_000, help="real samples that D sees in each of the other runs")
    parser.add_argument("--data-dir", type=Path, help="where CelebA lies: DIR/celeba; also GANZOO_DATA")
    parser.add_argument("--out", type=Path, help="keep the runs in this folder, and take those that are finished there")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    source = (args.data_dir or Path(os.environ.get("GANZOO_DATA", "data"))) / "celeba"
    if not (source / "img_align_celeba.zip").exists():
        parser.error(f"{source} has no img_align_celeba.zip and list_attr_celeba.txt: --data-dir says where CelebA lies")
    torch.set_num_threads(machine.threads())
    asked = {"faces": f"--seeds {' '.join(map(str, args.seeds))} --steps {args.steps}", "settling": f"--images {args.images}"}
    file = args.results / "few_images.json"
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    with tempfile.TemporaryDirectory(prefix="ganzoo-augmentation-") as temporary:
        out = args.out or Path(temporary)
        few, others = faces(source, out / "data")
        for what in ("faces", "settling") if args.only is None else (args.only,):
            made = of_faces(out, few, others, args.seeds, args.steps) if what == "faces" else of_settling(out, few, args.images)
            told[what] = {
                "figures": made,
                "command": f"python benchmarks/few_images.py --only {what} {asked[what]}",
                "date": datetime.now(UTC).date().isoformat(),
                "ganzoo": ganzoo.__version__,
                "machine": machine.describe(),
            }
            file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            (args.results / "few_images.md").write_text(page(told), encoding="utf-8")
    print(page(told))


if __name__ == "__main__":
    main()
