"""What a GPU must show of ganzoo: that no step waits, that runs repeat and resume exactly, that replayed steps are the steps, and how fast.

    python benchmarks/gpu.py                        # all of it on CUDA, within ten minutes; writes benchmarks/results/gpu.json and gpu.md
    python benchmarks/gpu.py --device cpu --quick   # the script itself, on the processor; what needs CUDA is left out, and says so

Every recipe is tried small, on toy data: steps under torch's sync debug mode "error"; a run that is stopped and resumed against a straight
one; replayed steps (`--capture`) against plain ones. Then images a second with the networks of --preset on made-up pictures of 32, 64 and
128 pixels: `ganzoo` is a session's step with all that it draws, reads and averages, `bare` the same operations on tensors that lie ready,
`captured` the step as a CUDA graph. Share: of what the device's maker says it computes in that arithmetic. Ends with status 1 where
anything that was tried is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ganzoo import compose, machine
from ganzoo.config import Changes
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.testing import toys
from ganzoo.testing.cases import Cases
from ganzoo.training.capture import PLAIN, Asking, Captured, Kept, Ready
from ganzoo.training.session import Session, open_session
from ganzoo.types import Field

RESULTS = Path(__file__).parent / "results"
#: What a device computes a second at most, in 10^12 operations on dense matrices, by a part of its name; its maker's data sheets.
PEAKS = {
    "A100": {"fp32": 19.5, "tf32": 156.0, "bf16": 312.0},
    "H100 PCIe": {"fp32": 51.0, "tf32": 378.0, "bf16": 756.0},
    "H100": {"fp32": 67.0, "tf32": 494.0, "bf16": 989.0},
    "H200": {"fp32": 67.0, "tf32": 494.0, "bf16": 989.0},
}
#: Recipes whose bits may differ from run to run on CUDA, after torch's list of operations without a deterministic form: those of the table.
TABLE = (Path(__file__).parents[1] / "docs" / "gpu.md").read_text(encoding="utf-8")
LOOSE = [
    name for cell in re.findall(r"^\| (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*) \| `[A-Z]", TABLE, re.M) for name in re.findall(r"[a-z0-9-]+", cell)
]


def wait(device: str) -> None:
    """Until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def small(recipe: str, args: argparse.Namespace, capture: bool = False) -> Session:
    """A session of the recipe's small version on toy data."""
    case = Cases(catalogue()).of(recipe)[0]
    resolved = case.resolved(ema=0.9, flip=True).settled(device=args.device, capture=capture and args.device == "cuda")
    session = open_session(resolved)[2]
    if capture and args.device != "cuda":
        session.captured = Captured(session)
    return session


def state(session: Session) -> dict[str, Tensor]:
    """Copies of all tensors of a run."""
    return {name: value.detach().clone() for name, value in checkpoint.tensors_of(session.strategy).items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> str:
    """What two states differ in, in words; "" where they do not."""
    odd = [name for name in a if name not in b or not torch.equal(a[name], b[name])]
    return f"{len(odd)} of {len(a)} tensors differ, the first: {odd[0]}" if odd else ""


def waits(recipe: str, args: argparse.Namespace) -> str:
    """Whether a step waits for the device: torch raises where it does. "" where it does not."""
    session = small(recipe, args)
    moments = sorted({first + i for first in session.strategy.phases().values() for i in range(3)})
    for t in moments:
        session.step(t)
    wait(args.device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for t in moments:
            session.step(t)
    except RuntimeError as e:
        return str(e).partition("\n")[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def resumed(recipe: str, args: argparse.Namespace) -> str:
    """Whether six steps are three and three more in another session, bit for bit."""
    straight, first, second = (small(recipe, args) for _ in range(3))
    for t in range(6):
        straight.step(t)
    for t in range(3):
        first.step(t)
    checkpoint.restore(second.strategy, {name: value.cpu() for name, value in state(first).items()})
    second.batches.position = first.batches.position
    for t in range(3, 6):
        second.step(t)
    return differing(state(straight), state(second))


def replayed(recipe: str, args: argparse.Namespace) -> str:
    """Whether replayed steps are plain ones, bit for bit."""
    plain, replaying = small(recipe, args), small(recipe, args, capture=True)
    for optimiser in plain.strategy.optimisers().values():
        for group in optimiser.param_groups:
            group["capturable"] = args.device == "cuda"  # so that both compute by the same formula
        optimiser._warned_capturable_if_run_uncaptured = True
    for t in range(5 if args.quick else 100):
        wanted, told = plain.step(t), replaying.step(t)
        odd = [name for name in wanted if not torch.equal(wanted[name], told[name])]
        if odd:
            return f"step {t}: {odd[0]} differs"
    return differing(state(plain), state(replaying))


def sized(recipe: str, preset: str, side: int, args: argparse.Namespace, capture: bool = False) -> Session:
    """A session with a preset's networks on made-up pictures of that size; on other toy data where the recipe is not for pictures."""
    zoo = catalogue()
    parts = compose.Parts.of(compose.draft(zoo, recipe, Changes({"preset": preset})).parts)
    run = {"preset": preset, "crop": None, "labelled": 0, "image_size": None, "track": "", "labels": "", "device": args.device}
    run |= {"precision": args.precision}
    toy = Field("image", (3, side, side)) if "image" in parts.media else Cases(zoo).of(recipe)[0].fields()[0]
    run["dataset"] = str(toys.file(toy, parts.keys, n=256))
    if args.batch_size:
        run["batch_size"] = args.batch_size
    return open_session(compose.resolve(zoo, recipe, Changes(run)).settled(capture=capture))[2]


def per_second(step: Callable[[int], Any], rows: int, args: argparse.Namespace, first: int) -> float:
    """Rows a second of a step, after some to get warm, over about --seconds."""
    t = first
    for _ in range(1 if args.quick else PLAIN + 3):
        step(t)
        t += 1
    wait(args.device)
    begin, done = time.perf_counter(), 0
    while done < 1 or (time.perf_counter() - begin < args.seconds and not args.quick):
        for _ in range(1 if args.quick else 5):
            step(t)
            t, done = t + 1, done + 1
        wait(args.device)
    return rows * done / (time.perf_counter() - begin)


def bare(session: Session, t: int) -> Callable[[int], Any]:
    """The computation of a step alone, on batches and draws that lie ready on the device."""
    batches, scope = Kept(session.batches), Asking(session.seed, "step", t)
    session.begin(t)
    session.take(batches, t, scope)
    again = Asking(session.seed, "step", t)
    drawn = [machine.to_device(again.take(*one), session.strategy.device) for one in scope.asked]
    return lambda _: session.take(iter(batches.taken), t, Ready(scope.asked, drawn))


def speed(recipe: str, preset: str, side: int, args: argparse.Namespace) -> dict[str, Any]:
    """Images a second, and the share of what the device can compute."""
    session = sized(recipe, preset, side, args)
    last = list(session.strategy.phases().values())[-1]  # the game, where there are phases before it
    rows = session.batches.batch_size
    told: dict[str, Any] = {"batch": rows, "precision": session.precision, "ganzoo": per_second(session.step, rows, args, last)}
    told["bare"] = per_second(bare(session, last + 1), rows, args, last + 1)
    with FlopCounterMode(display=False) as counter:
        session.step(last + 1)
    told["gflop_an_image"] = counter.get_total_flops() / rows / 1e9
    name = torch.cuda.get_device_name() if args.device == "cuda" else ""
    peak = next((values[session.precision] for key, values in PEAKS.items() if key in name), None)
    told["share"] = told["ganzoo"] * told["gflop_an_image"] / (1000 * peak) if peak else None
    if args.device == "cuda":
        told["memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        if all(part.captures for part in compose.Parts.of(compose.draft(catalogue(), recipe).parts).all):
            told["captured"] = per_second(sized(recipe, preset, side, args, capture=True).step, rows, args, last)
    return told


def tried(work: Callable[[], Any]) -> Any:
    """What the work returns; where it fails, that in words."""
    try:
        return work()
    except Exception as e:  # one recipe's failure must not cost the others' figures
        return f"failed: {type(e).__name__}: {str(e).partition(chr(10))[0][:300]}"


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def page(told: dict[str, Any]) -> str:
    """The results as a page."""
    checks = told["checks"]
    lines = [
        f"# On {told['device']}",
        "",
        f"`{told['command']}`, {told['date']}; torch {told['torch']}, precision {told['precision']}.",
        "",
    ]
    lines += [told["note"], ""] if told["note"] else []
    lines += [row("recipe", *checks), row(*["---"] * (len(checks) + 1))]
    lines += [row(name, *(checks[kind].get(name, "") or "yes" for kind in checks)) for name in told["recipes"]]
    keys = ("batch", "ganzoo", "bare", "captured", "share", "gflop_an_image", "memory_mb")
    lines += ["", "Images (texts, rows) a second:", "", row("what", *keys), row(*["---"] * (len(keys) + 1))]
    for name, figures in told["speed"].items():
        if isinstance(figures, str):
            lines.append(row(name, figures, *[""] * (len(keys) - 1)))
        else:
            lines.append(row(name, *("" if figures.get(key) is None else f"{figures[key]:.4g}" for key in keys)))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="one step of each, at 32 pixels: to see that the script works")
    parser.add_argument("--recipe", action="append", help="only this one; may be repeated")
    parser.add_argument("--preset", default="quick", help="of the networks that are timed")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch-size", type=int, default=0, help="of the timed steps; 0: the preset's")
    parser.add_argument("--seconds", type=float, default=0.6, help="a timing takes")
    parser.add_argument("--budget", type=float, default=560.0, help="seconds after which what is left of the timings is left out")
    parser.add_argument(
        "--out", type=Path, help="folder of gpu.json and gpu.md; by default benchmarks/results for CUDA, nowhere for others"
    )
    args = parser.parse_args()
    began, cuda = time.monotonic(), args.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA here. `--device cpu --quick` tries the script.")
    recipes = args.recipe or [entry.name for entry in catalogue().entries("recipe")]
    told: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else machine.processor(), "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__, "precision": args.precision, "recipes": recipes, "checks": {}, "speed": {},
        "machine": machine.describe(),
        "note": "" if cuda else "No GPU: what needs CUDA was left out; a replay was a call on tensors that lie ready.",
        "command": f"python benchmarks/gpu.py --device {args.device}{' --quick' if args.quick else ''}",
    }  # fmt: skip
    checks: dict[str, Callable[[str, argparse.Namespace], str]] = {"does not wait": waits, "resumes exactly": resumed, "replays": replayed}
    bad = False
    for kind, check in checks.items():
        told["checks"][kind] = {}
        for recipe in recipes:
            record = catalogue().recipe(recipe)
            if not cuda and check is waits:
                result = "left out: needs CUDA"
            elif check is replayed and recipe == "r3gan":
                result = "left out: cannot be captured"
            else:
                result = tried(partial(check, recipe, args))
                bad = bad or (bool(result) and not (cuda and recipe in LOOSE and check is not waits))
            told["checks"][kind][recipe] = result
            print(f"{record.name:16} {kind:16} {result or 'yes'}", flush=True)
    timed = [(recipe, args.preset, side) for recipe in recipes for side in ((32,) if args.quick else (32, 64, 128))]
    timed += [("sngan", "paper", 32)] if not args.recipe else []  # mimicry's size for CIFAR-10
    for recipe, preset, side in timed:
        pictures = "image" in compose.Parts.of(compose.draft(catalogue(), recipe).parts).media
        if not pictures and side > 32:
            continue
        name = f"{recipe} {preset}" + (f" {side}px" if pictures else "")
        if time.monotonic() - began > args.budget:
            told["speed"][name] = "left out: no time"
        else:
            told["speed"][name] = tried(partial(speed, recipe, preset, side, args))
        print(name, told["speed"][name], flush=True)
    if out := args.out or (RESULTS if cuda else None):
        out.mkdir(parents=True, exist_ok=True)
        (out / "gpu.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (out / "gpu.md").write_text(page(told), encoding="utf-8")
    print(f"{time.monotonic() - began:.0f} s")
    raise SystemExit(bad)


if __name__ == "__main__":
    main()
