"""How long a command takes to start, next to `import torch`.

    python benchmarks/start_time.py --out benchmarks/results

The commands take turns, round after round, so that what else the machine does hits all of them. Medians, and the middle half of the rounds.
The first round warms the file cache and is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

GANZOO = [sys.executable, "-m", "ganzoo"]
COMMANDS: dict[str, list[str]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "ganzoo --help": [*GANZOO, "--help"],
    "ganzoo list": [*GANZOO, "list"],
    "ganzoo show dcgan": [*GANZOO, "show", "dcgan"],
    "ganzoo run dcgan --help": [*GANZOO, "run", "dcgan", "--help"],
    "ganzoo plugins": [*GANZOO, "plugins"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}
TORCH = "python -c 'import torch'"


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one call. Raises CalledProcessError where it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int) -> dict[str, dict[str, float]]:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for i in range(rounds + 1):
        for name, command in COMMANDS.items():
            seconds = timed(command)
            if i:
                taken[name].append(seconds)
    base = statistics.median(wall for wall, _ in taken[TORCH])
    figures = {}
    for name, pairs in taken.items():
        walls = [wall for wall, _ in pairs]
        low, middle, high = statistics.quantiles(walls, n=4)
        figures[name] = {
            "median": middle, "quarter": low, "three_quarters": high, "least": min(walls),
            "processor": statistics.median(cpu for _, cpu in pairs), "of_import_torch": middle / base,
        }  # fmt: skip
    return figures


def table(result: dict[str, Any]) -> str:
    lines = [
        "# Time to start", "",
        f"`{result['command']}`, {result['date']}: {result['rounds']} rounds in turns, {result['python']}, torch {result['torch']}, "
        f"{result['processor']}, {result['cores']} cores, load {result['load']:.1f} at the end.", "",
        "| command | median, s | middle half, s | least, s | processor time, s | of `import torch` |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, f in result["figures"].items():
        lines.append(
            f"| `{name}` | {f['median']:.3f} | {f['quarter']:.3f} to {f['three_quarters']:.3f} | {f['least']:.3f} | {f['processor']:.3f} | "
            f"{f['of_import_torch']:.1%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="write start_time.json and start_time.md into this folder")
    args = parser.parse_args()
    figures = measure(args.rounds)
    from ganzoo.machine import processor

    result = {
        "command": f"python benchmarks/start_time.py --rounds {args.rounds}",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": args.rounds,
        "python": f"Python {platform.python_version()}",
        "torch": version("torch"),
        "ganzoo": version("pyganzoo"),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0],
        "figures": figures,
    }
    print(table(result), end="")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "start_time.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (args.out / "start_time.md").write_text(table(result), encoding="utf-8")


if __name__ == "__main__":
    main()
