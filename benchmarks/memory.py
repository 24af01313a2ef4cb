"""How much memory it takes to prepare data and to train on it: that must not grow with the data.

    python benchmarks/memory.py                        1, 2 and 4 times the data
    python benchmarks/memory.py . --limit 800          in a control group that may use so many MB, pages of files too; root, cgroup v1
    python benchmarks/memory.py 195787d --limit 800    of a commit

`folder`: JPEGs of 64 pixels in grey (links to one file), which decoding stores in colour first; `array`: a .npy in colour. Each is
prepared, then read by `ganzoo run dcgan` for 5 steps. The anonymous memory, which no file stands behind, is looked at every 10 ms.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from same_tensors import unpack

PREPARE = "import sys; from ganzoo.config import DataOptions; from ganzoo.data import prepare; prepare(DataOptions(sys.argv[1]))"
GROUPS = Path("/sys/fs/cgroup/memory")


def folder(place: Path, n: int) -> Path:
    """A folder of n pictures, which are one file."""
    place.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    for k in range(n):
        if k % 10_000 == 0:  # a file system allows some ten thousand links to one
            Image.fromarray(noise).save(place / f"{k:07}.jpg")
        else:
            os.link(place / f"{k // 10_000 * 10_000:07}.jpg", place / f"{k:07}.jpg")
    return place


def array(place: Path, n: int) -> Path:
    """A file of n pictures."""
    rows = np.lib.format.open_memmap(place.with_suffix(".npy"), "w+", np.uint8, (n, 3, 64, 64))
    noise = np.random.default_rng(0).integers(0, 256, (1000, 3, 64, 64), np.uint8)
    for start in range(0, n, 1000):
        rows[start : start + 1000] = noise[: n - start]
    return place.with_suffix(".npy")


@contextmanager
def limited(megabytes: int) -> Iterator[Path | None]:
    """A control group whose processes use no more."""
    if not megabytes:
        yield None
        return
    group = GROUPS / f"ganzoo-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(megabytes << 20))
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def peak(command: list[str], env: dict[str, str], group: Path | None) -> tuple[int, int]:
    """The most anonymous memory of a command in MB, and its exit status."""

    def enter() -> None:
        if group is not None:
            group.write_text(str(os.getpid()))

    most, process = 0, subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=enter)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max(most, *(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)
        time.sleep(0.01)
    return most, process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("side", nargs="?", default=str(Path(__file__).parents[1]))
    parser.add_argument("--rows", type=int, default=40_000, help="once the data")
    parser.add_argument("--limit", type=int, default=0, metavar="MB")
    args = parser.parse_args()
    print("| data | rows | stored, MB | preparing, MB | training, MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place, limited(args.limit) as group:
        env = unpack(args.side, Path(place) / "code")
        for kind, channels in ((folder, 1), (array, 3)):
            for times in (1, 2, 4):
                n, cells = times * args.rows, []
                with tempfile.TemporaryDirectory(dir=place) as own:
                    data = str(kind(Path(own) / "data", n))
                    train = [
                        "run",
                        "dcgan",
                        "--dataset",
                        data,
                        "--image-size",
                        "64",
                        "--steps",
                        "5",
                        "--batch-size",
                        "16",
                        "--out",
                        f"{own}/run",
                    ]
                    for words in (["-c", PREPARE, data], ["-m", "ganzoo", *train]):
                        most, status = peak([sys.executable, *words], env | {"GANZOO_CACHE": f"{own}/cache"}, group)
                        cells.append(f"{most}" + ("" if not status else ", killed" if status == -9 else f", status {status}"))
                print(f"| {kind.__name__} | {n} | {n * channels * 64 * 64 >> 20} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
