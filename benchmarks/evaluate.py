"""What measuring samples costs: ganzoo's evaluation next to torch-fidelity's, on the same images and the same features.

    python benchmarks/evaluate.py --out benchmarks/results

10,000 samples of a briefly trained DCGAN against the 10,000 images of `fashion-10k`, at 32 pixels: Fréchet distance and KID in the
features of `classifier`, which learns the labels once. The images lie ready, so drawing them costs neither side anything. The sides take
turns in one process; processor time, that of worker processes included, is the figure to trust where others share the cores. Memory is
the peak of a process of its own for each figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

import ganzoo
from ganzoo import compose, machine
from ganzoo.config import Changes, RunOptions
from ganzoo.evaluation.evaluator import BATCH, READ, Evaluator, Lot
from ganzoo.evaluation.request import Reference, requested
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs.exported import Exported
from ganzoo.training.session import open_session

N, STEPS = 10_000, 50
PEAKS = [("ganzoo", 0), ("ganzoo", 2500), ("ganzoo", N), ("ganzoo", 4 * N), ("torch-fidelity", N), ("torch-fidelity", 4 * N)]
DATA: dict[str, Any] = {"dataset": "fashion-10k", "image_size": "32", "device": "cpu"}


class Images(Dataset[Tensor]):
    """Stored images, one by one."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Tensor:
        return self.x[i]


class OurFeatures(FeatureExtractorBase):
    """ganzoo's extractor, as torch-fidelity wants one."""

    extractor: ClassVar[Any]
    get_provided_features_list = staticmethod(lambda: ("penultimate",))
    get_default_feature_layer_for_metric = staticmethod(lambda metric: "penultimate")

    def __init__(self, name: str, features_list: list[str], **asked: Any) -> None:
        super().__init__(name, features_list)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.extractor(x)[0],)


def evaluator(n: int, *metrics: str) -> Evaluator:
    """A new one, which knows nothing yet of the real samples. The classifier is trained if it is not in the cache."""
    data = compose.find_data(catalogue(), RunOptions(**DATA)).prepare()
    reference = Reference(data, "train")
    request = requested(catalogue(), reference, catalogue().measures(",".join(metrics), "classifier"), n)
    return Evaluator(request, reference, lambda: data, torch.device("cpu"))


def sampler(steps: int) -> Callable[[int], Iterator[Tensor]]:
    """What draws n samples of a DCGAN after so many steps, when they are asked for."""
    _, _, session = open_session(compose.resolve(catalogue(), "dcgan", Changes(DATA | {"ema": 0.0})))
    for t in range(steps):
        session.step(t)
    return Exported.of(session.strategy).outputs


def fidelity(x: Tensor, real: Tensor, **asked: Any) -> dict[str, float]:
    """The figures of torch-fidelity, by ganzoo's names for them. Without its loader's processes, which only cost here: all lies ready."""
    told = torch_fidelity.calculate_metrics(
        input1=Images(x), input2=Images(real), feature_extractor="ganzoo", fid=True, kid_subset_size=1000,
        batch_size=BATCH, cuda=False, cache=False, verbose=False, save_cpu_ram=True, **asked,
    )  # fmt: skip
    names = {"fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean"}
    return {name: told[theirs] for name, theirs in names.items() if theirs in told}


def peak(side: str, n: int) -> None:
    """Print how many bytes this process had at most, having measured n samples of an untrained generator."""
    samples, ours = sampler(0), evaluator(n, "fid")
    if n and side == "ganzoo":
        ours.measure(samples(n), n)
    elif n:
        OurFeatures.extractor = ours.extractor
        fidelity(torch.cat(list(samples(n))), ours.reference.data.load()["x"])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def peaks(threads: int) -> list[dict[str, Any]]:
    """Of a process each. To be called while this one is small: on Linux, a process begins with the peak of the one that started it."""
    found = []
    for side, n in [("ganzoo", READ), *PEAKS]:  # the first only fills the cache
        command = [sys.executable, __file__, "--threads", str(threads), "--peak", side, str(n)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found.append({"side": side, "n": n, "peak_mib": int(told.split()[-1]) / 2**20})
    return found[1:]


class Rounds:
    """Seconds by side and by part, round after round, and the figures of both sides."""

    def __init__(self) -> None:
        self.samples = sampler(STEPS)
        self.x = torch.cat(list(self.samples(N)))
        self.taken: dict[str, list[tuple[float, ...]]] = {}

    def timed(self, name: str, call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        """Wall seconds, and processor seconds, those of processes that have ended included."""
        begin = time.perf_counter(), sum(os.times()[:4])
        made = call(*given, **options)
        end = time.perf_counter(), sum(os.times()[:4])
        self.taken.setdefault(name, []).append(tuple(now - then for now, then in zip(end, begin, strict=True)))
        return made

    def one(self) -> dict[str, dict[str, float]]:
        x, fresh, again = self.x, evaluator(N, "fid", "kid"), evaluator(N, "fid", "kid")
        real, OurFeatures.extractor = fresh.reference.data.load()["x"], fresh.extractor
        lots = x.split(READ)
        with tempfile.TemporaryDirectory() as empty, patch.dict(os.environ, GANZOO_CACHE=empty):
            ours = self.timed("ganzoo", lambda: fresh.measure(lots, N))
            theirs = self.timed("torch-fidelity", fidelity, x, real, kid=True)
            self.timed("ganzoo, real ones cached", lambda: again.measure(lots, N))
        self.timed("drawing", lambda: list(self.samples(N)))
        accumulators = [metric.accumulator(N) for _, metric in fresh.metrics]
        self.timed("looking", lambda: fresh._accumulated(accumulators, [partial(Lot, lot) for lot in lots], N, ""))
        with torch.no_grad():
            self.timed("of that, the network", lambda: [OurFeatures.extractor(lot) for lot in x.split(BATCH)])
        for (entry, metric), accumulator in zip(fresh.metrics, accumulators, strict=True):
            self.timed(f"computing {entry.name}", metric.compute, accumulator, fresh._real[accumulator.key])
        return {"ganzoo": {"fid": ours[0].figures["cFID"], "kid": ours[1].figures["cKID"]}, "torch-fidelity": theirs}


def measure(n: int) -> dict[str, Any]:
    turns = Rounds()
    for i in range(n):
        figures = turns.one()
        print(f"round {i + 1} of {n}", file=sys.stderr, flush=True)
    seconds = {name: [statistics.median(each) for each in zip(*pairs, strict=True)] for name, pairs in turns.taken.items()}
    apart = {name: abs(value / figures["torch-fidelity"][name] - 1) for name, value in figures["ganzoo"].items()}
    return {"rounds": n, "wall_and_processor_seconds": seconds, "each": turns.taken, "figures": figures, "relative_difference": apart}


def table(result: Mapping[str, Any]) -> str:
    m, r = result["machine"], result["measured"]
    busy = " Other processes were running." if max(result["load"]) > 1 else ""
    seconds, head = r["wall_and_processor_seconds"], ["| | wall s | processor s | ratio |", "|---|---|---|---|"]
    lines = [
        "# What an evaluation costs", "",
        f"`{result['command']}`, {result['date']}, ganzoo {result['ganzoo']}, torch-fidelity {result['torch_fidelity']}, torch "
        f"{m['torch']}, {m['threads']} threads of {result['cores']} cores, {m['processor']}, load {result['load'][0]:.1f} at the start and "
        f"{result['load'][1]:.1f} at the end.{busy}", "",
        f"{N:,} samples of a DCGAN of {STEPS} steps against the {N:,} images of `fashion-10k` at 32 pixels: Fréchet distance and KID in "
        f"128 features of `classifier`, {BATCH} images at a time. Medians of {r['rounds']} rounds, the sides in turn. Ratio: to "
        "ganzoo's first line, in processor time. torch-fidelity without its loader processes (`save_cpu_ram`).", "",
        *head,
    ]  # fmt: skip
    for name, (wall, used) in seconds.items():
        if name == "drawing":
            lines += ["", "Its parts; looking is at the samples alone.", "", *head]
        lines.append(f"| {name} | {wall:.2f} | {used:.2f} | {used / seconds['ganzoo'][1]:.2f} |")
    lines += ["", "| figure | ganzoo | torch-fidelity | relative difference |", *head[1:]]
    for name, value in r["figures"]["ganzoo"].items():
        lines.append(f"| {name} | {value:.9g} | {r['figures']['torch-fidelity'][name]:.9g} | {r['relative_difference'][name]:.1e} |")
    lines += ["", "torch-fidelity sums KID's kernels and the means in float32, ganzoo in float64.", ""]
    lines += [
        "Peak resident memory of a process that draws n samples and takes their Fréchet distance; n 0: that has all ready and measures "
        "nothing.", "", "| | n | MiB | above n 0 |", "|---|---|---|---|",
    ]  # fmt: skip
    for p in result["memory"]:
        lines.append(f"| {p['side']} | {p['n']:,} | {p['peak_mib']:.0f} | {p['peak_mib'] - result['memory'][0]['peak_mib']:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="to compute with; without it, OMP_NUM_THREADS or the cores")
    parser.add_argument("--out", type=Path, help="write evaluate.json and evaluate.md into this folder")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)  # side, n
    args = parser.parse_args()
    threads = args.threads or machine.threads()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    torch_fidelity.register_feature_extractor("ganzoo", OurFeatures)
    if args.peak:
        peak(args.peak[0], int(args.peak[1]))
        return
    load = [os.getloadavg()[0]]
    result = {
        "command": f"python benchmarks/evaluate.py --rounds {args.rounds} --threads {threads}",
        "date": datetime.now(UTC).date().isoformat(),
        **{package.__name__: package.__version__ for package in (ganzoo, torch_fidelity)},
        "machine": machine.describe(),
        "cores": machine.allowed_cores(),
        "load": load, "memory": peaks(threads), "measured": measure(args.rounds),
    }  # fmt: skip
    load.append(os.getloadavg()[0])
    print(text := table(result))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        for suffix, written in (("json", json.dumps(result, indent=1) + "\n"), ("md", text)):
            (args.out / f"evaluate.{suffix}").write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
