"""How many seconds of the processor an entrant needs to bring the cFID below the target: the rules are in README.md beside this file.

    python benchmarks/speedrun/speedrun.py NAME --seeds 5 -- dcgan --steps 1150 --strategy.lr-g 0.002     what is typed after `ganzoo run`
    python benchmarks/speedrun/speedrun.py NAME --try --seeds 1 -- ...                                    to look, without a record
    python benchmarks/speedrun/speedrun.py --table                                                        the records, fastest first

Each seed is trained in a process of its own, then measured; a seed that is there already is not trained again. The log goes to
records/NAME.json if all rules are kept; what breaks one is refused, with the reason.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganzoo import machine
from ganzoo.files import read_json, write_json
from ganzoo.training.loop import Watch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORDS = HERE / "records"

TARGET, LEVEL, LEAST = 60.0, 0.01, 3
DATA = ["--dataset", "fashion-mnist", "--image-size", "32"]
JUDGE = ["--metric", "fid", "--features", "classifier", "-n", "10000"]
#: Of the judgement: the weights of the judge, its layer, 10,000 samples of seed 0, the 60,000 training images.
PROTOCOL = "b30d14bfd2"
#: What the rules decide, or what would end the clock's work early or elsewhere.
FIXED = ("--dataset", "--data-dir", "--image-size", "--seed", "--device", "--out", "--config", "--dry-run", "--eval-every", "--labelled")


class RuleBroken(SystemExit):
    """What breaks a rule, with the rule."""


class Clock(Watch):
    """The time of a run, from before its first step until its last file is written."""

    seconds = math.nan

    def __init__(self, device: str) -> None:
        self.now = time.perf_counter if device == "cuda" else used

    def opened(self, *_: Any) -> None:
        self.start = self.now()

    def saved(self, *_: Any) -> None:
        self.seconds = self.now() - self.start


def used() -> float:
    """Seconds of the processor that this process, all its threads and its children have used."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def train(words: Sequence[str], folder: str, device: str) -> None:
    """Train in this process, and leave the seconds in the folder."""
    from ganzoo.cli.train import configured
    from ganzoo.training import launch

    machine.set_threads()
    clock = Clock(device)
    launch.start(configured([*words, *DATA, "--device", device]), Path(folder), clock)
    if device == "cuda":  # the last file holds the last weights, so the device has ended its work
        assert math.isfinite(clock.seconds)
    write_json(Path(folder) / "seconds.json", clock.seconds)


def p_value(values: Sequence[float], target: float) -> float:
    """How probable a mean as far below the target would be if it were not below: Student's one-sided t-test. 1 for less than two values."""
    n = len(values)
    if n < 2 or not (spread := statistics.stdev(values)):
        return 1.0
    t, df = (target - statistics.fmean(values)) / (spread / math.sqrt(n)), n - 1
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    # Simpson's rule over the angle whose tangent is t / sqrt(df): there the density is a power of the cosine, and the range is finite.
    end, steps = math.atan(t / math.sqrt(df)), 2000
    heights = [math.cos(end * i / steps) ** (df - 1) for i in range(steps + 1)]
    area = end / steps / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))
    return 0.5 - scale * math.sqrt(df) * area


def check_words(words: Sequence[str]) -> None:
    """Raise RuleBroken for options that are not an entrant's to choose."""
    for word in words:
        if any(word.partition("=")[0] == fixed for fixed in FIXED):
            raise RuleBroken(f"{word}: the rules decide that, or the script does: {', '.join(FIXED)}.")


def check_runs(runs: Sequence[dict[str, Any]]) -> float:
    """The p-value of the runs. Raises RuleBroken where they are no record."""
    if [run["seed"] for run in runs] != list(range(len(runs))) or len(runs) < LEAST:
        raise RuleBroken(f"wanted the seeds 0, 1, 2 and on, {LEAST} or more, none left out; got {[run['seed'] for run in runs]}.")
    for run in runs:
        if run["protocol"] != PROTOCOL:
            raise RuleBroken(f"seed {run['seed']} was measured by another protocol, {run['protocol']}; wanted {PROTOCOL}: {run['line']}")
    values = [run["cFID"] for run in runs]
    if (p := p_value(values, TARGET)) >= LEVEL:
        mean = f"cFID {statistics.fmean(values):.2f}, the mean of {len(values)},"
        raise RuleBroken(f"{mean} is below {TARGET:g} with p = {p:.3g}; wanted p < {LEVEL}.")
    return p


def commit() -> tuple[str, str]:
    """The commit that runs, and the hashes of its code. Raises RuleBroken where files were changed since."""
    git = ["git", "-C", str(ROOT)]
    changed = subprocess.run([*git, "status", "--porcelain", "--", ".", f":!{RECORDS}"], check=True, capture_output=True, text=True).stdout
    if changed:
        raise RuleBroken(f"a log names the commit that ran, and files differ from it:\n{changed}")
    told = subprocess.run([*git, "rev-parse", "HEAD", "HEAD:ganzoo", "HEAD:plugins"], check=True, capture_output=True, text=True)
    made_by, *code = told.stdout.split()
    return made_by, " ".join(code)


def run(words: Sequence[str], seed: int, work: Path, device: str, code: str) -> dict[str, Any]:
    """One seed, trained and measured; what the same code made of the same words already is kept."""
    folder, made = work / f"seed-{seed}", {"code": code, "words": list(words)}
    env = os.environ | {"OMP_NUM_THREADS": "1", "GANZOO_CACHE": str(work.parent / "cache")}
    judges = work.parent / "cache" / "features"
    judges.mkdir(parents=True, exist_ok=True)
    for judge in (HERE / "judge").iterdir():
        shutil.copy(judge, judges)
    if not (folder / "made.json").exists() or read_json(folder / "made.json") != made:
        shutil.rmtree(folder, ignore_errors=True)
        child = [sys.executable, __file__, "child", "--device", device, "--train", str(folder), "--", *words, "--seed", str(seed)]
        subprocess.run(child, env=env, check=True)
        write_json(folder / "made.json", made)
    told = folder / "judged.json"
    if not told.exists():
        command = [sys.executable, "-m", "ganzoo", "evaluate", str(folder), *JUDGE, "--json"]
        write_json(told, json.loads(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout)[0])
    e, config = read_json(told), read_json(folder / "config.json")
    shown = {"seed": seed, "seconds": round(read_json(folder / "seconds.json"), 2), "cFID": round(e["figures"]["cFID"], 3)}
    asked = [key for _, key in next(iter(config["exports"].values()))["takes"]]
    return {**shown, "step": e["step"], "conditional": "y" in asked, "protocol": e["hash"], "line": e["line"],
            "precision": config["run"]["precision"], "machine": config["machine"], "plugins": config["plugins"]}  # fmt: skip


def table() -> str:
    """The records, the fastest first."""
    records = sorted((read_json(path) for path in RECORDS.glob("*.json")), key=lambda record: record["seconds"])
    lines = ["| record | track | seconds | cFID | seeds | p | labels | machine | date |", "|---|---|---|---|---|---|---|---|---|"]
    for r in records:
        cells = [r["name"], r["track"], f"{r['seconds']:.1f}", f"{r['cFID']:.2f}", len(r["runs"]), f"{r['p']:.2g}"]
        cells += ["yes" if r["conditional"] else "no", r["machine"]["processor"], r["date"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], usage="%(prog)s NAME [OPTIONS] -- RECIPE ...")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="the track")
    parser.add_argument("--work", type=Path, default=Path("runs/speedrun"))
    parser.add_argument("--try", dest="look", action="store_true", help="write no record")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--train", metavar="FOLDER", help=argparse.SUPPRESS)
    typed = sys.argv[1:]
    cut = typed.index("--") if "--" in typed else len(typed)
    args, words = parser.parse_args(typed[:cut]), typed[cut + 1 :]
    if args.table:
        print(table())
        return
    if args.train:
        train(words, args.train, args.device)
        return
    if not args.name or not words:
        parser.error("wanted a name, and after -- what is typed after `ganzoo run`")
    check_words(words)
    made_by, code = ("", "") if args.look else commit()
    runs = []
    for seed in range(args.seeds):
        runs.append(run(words, seed, args.work / args.name, args.device, code))
        print(f"{args.name}, seed {seed}: {runs[-1]['seconds']} s, cFID {runs[-1]['cFID']} [{runs[-1]['protocol']}]", flush=True)
    seconds, values = ([run[key] for run in runs] for key in ("seconds", "cFID"))
    print(f"{args.name}: {statistics.fmean(seconds):.1f} s, cFID {statistics.fmean(values):.2f}, p {p_value(values, TARGET):.3g}")
    if args.look:
        return
    record = {
        "name": args.name, "track": args.device, "date": machine.now().date().isoformat(), "commit": made_by,
        "command": ["ganzoo", "run", *words, *DATA], "seconds": round(statistics.fmean(seconds), 2),
        "cFID": round(statistics.fmean(values), 3), "p": check_runs(runs), "target": TARGET, "conditional": runs[0]["conditional"],
        "protocol": runs[0]["line"], "precision": runs[0]["precision"], "machine": runs[0]["machine"], "plugins": runs[0]["plugins"],
        "runs": [{key: r[key] for key in ("seed", "seconds", "cFID", "step")} for r in runs],
    }  # fmt: skip
    RECORDS.mkdir(exist_ok=True)
    write_json(RECORDS / f"{args.name}.json", record)


if __name__ == "__main__":
    main()
