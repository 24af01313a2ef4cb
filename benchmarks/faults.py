"""Kills, damaged files, full disks and broken plugins, many of them; prints what became of each kind.

    python benchmarks/faults.py [--chains 100] [--mutants 2000] [--seed 0] [--only chains|mutants|rest]

Every chain starts real ganzoo processes, which SIGKILL ends at a call of the storage (open, write, fsync, rename, unlink), on the first
sitting and on each resume; then every file of the run is compared with that of a run which nobody disturbed, the clock excepted. Ends with
status 1 where anything is silently wrong, crashes, or is not exact.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from faulty import chains, mutants, others  # type: ignore[import-not-found]

from ganzoo import compose
from ganzoo.registry.catalogue import catalogue
from ganzoo.testing import toys
from ganzoo.types import Field


def killed(server: chains.Server, folder: Path, n: int, seed: int) -> tuple[list[list[str]], bool]:
    """Chains of kills over all recipes of ganzoo's own: a row a recipe, and whether all are exact."""
    recipes = [entry.name for entry in catalogue().entries("recipe") if entry.plugin.distribution == "pyganzoo"]
    rows, good = [], True
    for k, recipe in enumerate(recipes):
        rng = random.Random(f"{seed} {recipe}")
        draft = compose.draft(catalogue(), recipe)
        parts = compose.Parts.of(draft.parts, draft.wrappers.values())
        kind = next(medium for medium in toys.media() if medium.name in parts.media)
        data = toys.file(Field("image", (3, 16, 16)) if kind.pictures else kind.toys[0], parts.keys)
        case = chains.straight(server, folder / recipe / "straight", chains.words_of(recipe, data))
        exact, kills, tried = 0, 0, n // len(recipes) + (k < n % len(recipes))
        for i in range(tried):
            own = folder / recipe / f"chain-{i}"
            faults = chains.kills_of(case, rng, own, rng.choice((1, 2, 3)))
            outcome = chains.chain(server, case, own, faults)
            kills += len(faults)
            if outcome.fault or outcome.differences:
                print(f"  NOT EXACT {recipe} {faults}: {outcome.fault or outcome.differences}", flush=True)
            else:
                exact += 1
        good = good and exact == tried
        rows.append([recipe, f"{tried} chains", f"{kills} kills", f"{exact} exact"])
        print("  ".join(rows[-1]), flush=True)
    return rows, good


def damaged(server: chains.Server, folder: Path, n: int, seed: int) -> bool:
    """Damaged files of all kinds; whether none is silently wrong."""
    bench, good = mutants.Bench(server, folder), True
    bench.build()
    for k, kind in enumerate(mutants.KINDS):
        made, verdicts = mutants.mutants(kind, random.Random(f"{seed} {kind.name}")), Counter[str]()
        for _ in range(n // len(mutants.KINDS) + (k < n % len(mutants.KINDS))):
            name, command, mutate = next(made)
            verdict, why = bench.judge(kind, command, mutate)
            verdicts[verdict] += 1
            if verdict in ("wrong", "crash"):
                good = False
                print(f"  {verdict.upper()} {kind.name}, {name}, {command}: {why}", flush=True)
        print(f"{kind.name:<24}" + "  ".join(f"{verdict} {verdicts[verdict]}" for verdict in mutants.VERDICTS), flush=True)
    return good


def rest(server: chains.Server, folder: Path) -> bool:
    """Broken plugins and full disks; whether each ends as it should."""
    data, good = toys.file(Field("image", (3, 16, 16))), True
    with chains.Server(folder / "cold") as cold:  # a warm one knows its plugins already
        broken = {what: others.broken_plugin(cold, folder / "plugins" / what, what, data) for what in others.BROKEN}
    for what, wrong in broken.items():
        good = good and not wrong
        print(f"a plugin that {what}: {wrong or 'named, status not 0'}", flush=True)
    for kilobytes in (20, 60, 150, 300, 500, 700, 1000):
        wrong = others.full_disk(server, folder / f"disk-{kilobytes}", chains.words_of("gan", data), kilobytes)
        good = good and not wrong
        text = "not tried: this user may not mount a tmpfs" if wrong is None else wrong or "clear texts, good checkpoints"
        print(f"a disk of {kilobytes} kB: {text}", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["chains", "mutants", "rest"])
    asked = parser.parse_args()
    good = []
    with tempfile.TemporaryDirectory() as place, chains.Server(Path(place) / "server", warm=True) as server:
        if asked.only in (None, "chains"):
            good.append(killed(server, Path(place) / "chains", asked.chains, asked.seed)[1])
        if asked.only in (None, "rest"):
            good.append(rest(server, Path(place) / "rest"))
        if asked.only in (None, "mutants"):
            good.append(damaged(server, Path(place) / "mutants", asked.mutants, asked.seed))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
