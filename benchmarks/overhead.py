"""What the framework costs: ganzoo's loop next to one written by hand, on the same networks, data and options.

    python benchmarks/overhead.py --out benchmarks/results              # the loop, with DCGAN at 32 pixels
    python benchmarks/overhead.py --recipes --out benchmarks/results    # images a second of every recipe at its defaults

The two loops take turns in one process: every --segment steps ganzoo's loop stands still while the other one does as many steps, so what
else the machine does hits both. ganzoo's side logs, draws sample sheets and writes checkpoints at the default intervals; the loop by hand
does nothing of that. Processor time is the figure to trust where other processes share the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import softplus

import ganzoo
from ganzoo import compose, machine
from ganzoo.compose import Resolved
from ganzoo.config import Changes
from ganzoo.data import Prepared
from ganzoo.registry.catalogue import catalogue
from ganzoo.training import launch, loop
from ganzoo.training.session import Session, open_session

DATA = {"dataset": "fashion-10k", "image_size": "32", "device": "cpu"}
IMAGES_SECONDS = 10.0


class ByHand:
    """DCGAN as one would write it in a script: no framework around it."""

    def __init__(self, resolved: Resolved, data: Prepared) -> None:
        def network(kind: str) -> Any:
            return resolved.parts[kind].network(data.spec, resolved.options[kind]).to(memory_format=torch.channels_last)

        o = asdict(resolved.options["strategy"])
        self.G, self.D = network("generator"), network("discriminator")
        self.opt_G = torch.optim.Adam(self.G.parameters(), o["lr_g"], (o["beta1"], o["beta2"]), fused=True)
        self.opt_D = torch.optim.Adam(self.D.parameters(), o["lr_d"], (o["beta1"], o["beta2"]), fused=True)
        self.images = data.load()["x"]
        self.batch_size, self.z_dim = resolved.run.batch_size, resolved.options["generator"].z_dim
        self.bf16, self.decay = resolved.run.precision == "bf16", resolved.run.ema
        self.average = deepcopy(self.G).requires_grad_(False)
        self.order, self.place = torch.randperm(len(self.images)), 0

    def steps(self, n: int) -> None:
        G, D, opt_G, opt_D, size = self.G, self.D, self.opt_G, self.opt_D, self.batch_size
        for _ in range(n):
            if self.place + size > len(self.order):
                self.order, self.place = torch.randperm(len(self.images)), 0
            real = self.images[self.order[self.place : self.place + size]].float().div_(127.5).sub_(1)
            self.place += size
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                with torch.no_grad():
                    fake = G(torch.randn(size, self.z_dim))
                loss_d = softplus(-D(real)).mean() + softplus(D(fake)).mean()
                opt_D.zero_grad()
                loss_d.backward()
                opt_D.step()
                D.requires_grad_(False)
                loss_g = softplus(-D(G(torch.randn(size, self.z_dim)))).mean()
                opt_G.zero_grad()
                loss_g.backward()
                opt_G.step()
                D.requires_grad_(True)
            if self.decay:
                with torch.no_grad():
                    torch._foreach_lerp_(list(self.average.parameters()), list(G.parameters()), 1 - self.decay)


class Turns(loop.Watch):
    """Stops ganzoo's loop every `segment` steps for as many steps of the other one, and takes the time of both."""

    other: ByHand

    def __init__(self, segment: int) -> None:
        self.segment = segment
        self.ours: list[tuple[float, float]] = []
        self.theirs: list[tuple[float, float]] = []
        self.mark = _now()

    def opened(self, folder: Path, resolved: Resolved, data: Prepared, session: Session) -> None:
        """Called before the first step: both are made warm, then the clock starts."""
        self.other = ByHand(resolved, data)
        self.other.steps(3)
        _steps(session, 3)
        self.mark = _now()

    def logged(self, step: int, values: Mapping[str, float], images_per_second: float) -> None:
        if step % self.segment == 0:
            self.ours.append(_since(self.mark))
            begin = _now()
            self.other.steps(self.segment)
            self.theirs.append(_since(begin))
            self.mark = _now()

    def end(self) -> None:
        """The sheet and the checkpoint after the last line belong to the last segment."""
        wall, cpu = _since(self.mark)
        self.ours[-1] = (self.ours[-1][0] + wall, self.ours[-1][1] + cpu)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(mark: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _now()
    return wall - mark[0], cpu - mark[1]


def compare(precision: str, segment: int, segments: int) -> dict[str, Any]:
    """Both loops in turns, for segment * segments steps each."""
    resolved = compose.resolve(catalogue(), "dcgan", Changes({**DATA, "precision": precision, "steps": segment * segments}))
    turns = Turns(segment)
    with tempfile.TemporaryDirectory(prefix="ganzoo-overhead-") as temporary:
        launch.start(resolved, Path(temporary) / "run", turns)
        turns.end()
    figures: dict[str, Any] = {"steps": segment * segments, "segment": segment, "precision": precision}
    figures["batch_size"] = resolved.run.batch_size
    for i, clock in enumerate(("wall", "processor")):
        ours, theirs = [pair[i] for pair in turns.ours], [pair[i] for pair in turns.theirs]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        figures[clock] = {
            "ganzoo_ms_a_step": 1000 * statistics.median(ours) / segment,
            "by_hand_ms_a_step": 1000 * statistics.median(theirs) / segment,
            "ratio": sum(ours) / sum(theirs),
            "ratio_median": statistics.median(ratios),
            "ratio_least": min(ratios),
            "ratio_most": max(ratios),
        }
    return figures


def rate(name: str, precision: str) -> dict[str, Any]:
    """Steps and real images a second of a recipe at its defaults, without the loop. WGAN's warm-up is left out."""
    chosen = {"strategy": {"warmup": 0}} if name == "wgan" else {}
    resolved, _, session = open_session(compose.resolve(catalogue(), name, Changes({**DATA, "precision": precision}, options=chosen)))
    run, batches = resolved.run, session.batches
    _steps(session, 2)
    mark, position, steps = _now(), batches.position, 0
    while _since(mark)[0] < IMAGES_SECONDS:
        _steps(session, 2)
        steps += 2
    wall, cpu = _since(mark)
    images = (batches.position - position) * run.batch_size
    return {
        "recipe": name, "precision": precision, "steps_a_second": steps / wall, "images_a_second": images / wall,
        "images_a_processor_second": images / cpu, "default_steps": run.steps, "minutes": run.steps * wall / steps / 60,
        "processor_minutes": run.steps * cpu / steps / 60,
    }  # fmt: skip


def _steps(session: Session, n: int) -> None:
    """Take n steps, each numbered 1: neither the first nor in a round number."""
    for _ in range(n):
        session.step(1)


def said(result: Mapping[str, Any]) -> str:
    m = result["machine"]
    return (
        f"`{result['command']}`, {result['date']}, ganzoo {result['ganzoo']}, torch {m['torch']}, {m['threads']} thread of "
        f"{result['cores']} cores, {m['processor']}, load {result['load']:.1f} at the end."
    )


def overhead_table(result: Mapping[str, Any]) -> str:
    lines = [
        "# What the loop costs", "", said(result), "",
        "DCGAN at 32 pixels. Ratio: ganzoo's time over that of the loop by hand, all segments together; then the extremes.", "",
        "| precision | steps each | clock | ganzoo, ms a step | by hand, ms a step | ratio | segments |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for figures in result["figures"]:
        for clock in ("processor", "wall"):
            f = figures[clock]
            lines.append(
                f"| {figures['precision']} | {figures['steps']} | {clock} | {f['ganzoo_ms_a_step']:.1f} | {f['by_hand_ms_a_step']:.1f} | "
                f"{f['ratio']:.3f} | {f['ratio_least']:.3f} to {f['ratio_most']:.3f} |"
            )
    return "\n".join(lines) + "\n"


def speed_table(result: Mapping[str, Any]) -> str:
    lines = [
        "# Images a second", "", said(result), "",
        "Each recipe at its defaults, on `fashion-10k` at 32 pixels; real images that it reads, all critic steps counted. "
        "WGAN's warm-up is left out of the rate and of the minutes.", "",
        "| recipe | precision | steps / s | images / s | images / processor s | default steps | minutes | processor minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in result["figures"]:
        lines.append(
            f"| {r['recipe']} | {r['precision']} | {r['steps_a_second']:.2f} | {r['images_a_second']:.0f} | "
            f"{r['images_a_processor_second']:.0f} | {r['default_steps']} | {r['minutes']:.1f} | {r['processor_minutes']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipes", action="store_true", help="images a second of every recipe, in the place of the comparison")
    parser.add_argument("--segment", type=int, default=50, help="steps between turns; a multiple of 10")
    parser.add_argument("--segments", type=int, default=10)
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=["fp32", "bf16"])
    parser.add_argument("--out", type=Path, help="write overhead or speed, .json and .md, into this folder")
    args = parser.parse_args()
    if args.segment % 10:
        parser.error("--segment: wanted a multiple of 10, the log interval")
    torch.set_num_threads(machine.threads())
    typed = ["python benchmarks/overhead.py", "--precision", *args.precision]
    typed += ["--recipes"] if args.recipes else ["--segment", args.segment, "--segments", args.segments]
    if "OMP_NUM_THREADS" in os.environ:
        typed.insert(0, f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}")
    if args.recipes:
        names = [e.name for e in catalogue().entries("recipe") if e.plugin.distribution == "pyganzoo"]
        figures = [rate(name, precision) for name in names for precision in args.precision]
    else:
        figures = [compare(precision, args.segment, args.segments) for precision in args.precision]
    result = {
        "command": " ".join(map(str, typed)),
        "date": datetime.now(UTC).date().isoformat(),
        "ganzoo": ganzoo.__version__,
        "machine": machine.describe(),
        "cores": machine.allowed_cores(),
        "load": os.getloadavg()[0],
        "figures": figures,
    }
    text = speed_table(result) if args.recipes else overhead_table(result)
    print(text, end="")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        name = "speed" if args.recipes else "overhead"
        (args.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (args.out / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
