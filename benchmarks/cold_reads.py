"""What a batch costs where the prepared data is not in memory: bytes read from the disk, and seconds, of one commit against another.

    python benchmarks/cold_reads.py 195787d .      needs Linux, and root to empty the system's cache of files
    python benchmarks/cold_reads.py . --rows 200000

Random pictures are prepared once by each side; then, in fresh processes of one thread with the cache emptied:

* first: batches as a run reads them, none of their rows compared with its hash yet;
* later: all rows have been compared, as after an epoch; cold, and again with everything in memory (warm);
* whole: all rows compared and read in order, as an evaluation does.

Bytes are those of /proc/self/io. A side is a commit or the path of a working tree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from same_tensors import unpack

BATCH = 64
STATES = ("first", "later", "warm", "whole")


def bytes_read() -> int:
    """From the disk, by this process."""
    return int(next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("read_bytes")).split()[1])


def forget() -> None:
    """Empty the system's cache of files."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def measure(place: str, state: str, batches: int) -> dict[str, float]:
    """Bytes and seconds a batch, of the code on the path; of "whole" those of all rows."""
    import torch

    from ganzoo.config import DataOptions
    from ganzoo.data import Batches, prepare

    data = prepare(DataOptions(place))
    stream = Batches(data.mapped, data.spec, BATCH, seed=0, device=torch.device("cpu"), check=data.check)
    if state not in ("first", "whole"):
        for known in data.check._known.values():
            known[:] = bytes([1]) * len(known)
    if state == "warm":
        data.load()
        for _ in range(5):
            next(stream)
    else:
        next(stream)  # the order of an epoch takes its time once
        forget()
    before, waited = bytes_read(), 0.0
    if state == "whole":
        start = time.perf_counter()
        for lot in data.load()["x"].split(500):
            lot.max()
        return {"bytes": bytes_read() - before, "seconds": time.perf_counter() - start}
    for _ in range(batches):
        start = time.perf_counter()
        next(stream)
        waited += time.perf_counter() - start
    return {"bytes": (bytes_read() - before) / batches, "seconds": waited / batches}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sides", nargs="+")
    parser.add_argument("--rows", type=int, default=150_000)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--batches", type=int, default=25)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--child", nargs=2, metavar=("DATA", "STATE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child[0], args.child[1], args.batches)))
        return
    import numpy as np

    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        data = Path(folder) / "noise.npy"
        rows = np.lib.format.open_memmap(data, "w+", np.uint8, (args.rows, 3, args.size, args.size))
        draws = np.random.default_rng(0)
        for start in range(0, args.rows, 1000):
            rows[start : start + 1000] = draws.integers(0, 256, rows[start : start + 1000].shape, np.uint8)
        rows.flush()
        for number, side in enumerate(args.sides):
            env = unpack(side, Path(folder) / f"side{number}") | {"GANZOO_CACHE": str(Path(folder) / f"cache{number}")}
            for state in STATES:
                command = [sys.executable, __file__, side, "--batches", str(args.batches), "--child", str(data), state]
                done = subprocess.run(command, env=env | {"PYTHONSAFEPATH": ""}, check=True, stdout=subprocess.PIPE)
                found.setdefault(side, {})[state] = json.loads(done.stdout)
    needed = BATCH * 3 * args.size**2 / 1e6
    print(f"{args.rows} pictures, {args.rows * needed / BATCH / 1000:.2f} GB; a batch of {BATCH} is {needed:.2f} MB\n")
    print("| | " + " | ".join(args.sides) + " |\n|---|" + "---|" * len(args.sides))
    for state in STATES:
        cells = [f"{f['bytes'] / 1e6:.2f} MB, {f['seconds'] * 1000:.1f} ms" for f in (found[side][state] for side in args.sides)]
        print(f"| {state} | {' | '.join(cells)} |")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
