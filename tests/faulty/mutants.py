"""Files that were damaged, and what the command makes of them that reads them: right, refused, warned of, or silently wrong."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from faulty.chains import Done, Server, differences, told
from ganzoo.files import append_line

#: right: the output is that of the undamaged file. refused: status 1 or 2 and an error that says what is wrong. warned: right, or without
#: what cannot be read, and it was said. taken: the file is whole and of the right kind, with other content: no reader can
#: know that without a checksum. wrong: status 0, not a word, and another output. crash: all else.
VERDICTS = ("right", "refused", "warned", "taken", "wrong", "crash")
MEMORY = 6 << 30


@dataclass(frozen=True)
class Kind:
    """A kind of file. file: in the folder of the bench. commands: that read it. text: it is JSON, or lines of it."""

    name: str
    file: str
    commands: tuple[str, ...]
    text: bool = False
    excused: tuple[str, ...] = ()  # files of the run that tell what the damaged one says


LINES = ("metrics.jsonl", "health.jsonl", "evaluations.jsonl", "warnings.jsonl")
KINDS = (
    Kind("checkpoint", "run/checkpoints/000004.safetensors", ("resume", "sample-checkpoint", "evaluate-checkpoint")),
    Kind("generator.safetensors", "run/generator.safetensors", ("sample", "evaluate", "resume")),
    Kind("config.json", "run/config.json", ("resume", "sample", "report", "evaluate"), True),
    *(
        Kind(name, f"run/{name}", ("resume", "report"), True, (name, "losses.png") if name == "metrics.jsonl" else (name,))
        for name in LINES
    ),
    Kind("prepared data", "cache/prepared/PREPARED", ("resume", "evaluate")),
    Kind("compare.json", "compared/compare.json", ("report-compared",), True),
    *(Kind(f"user's {end}", f"data/{place}", (f"resume-{end}", f"run-{end}"))
      for end, place in (("npy", "a.npy"), ("npz", "b.npz"), ("zip", "c.zip"), ("png", "d/x/000.png"))),
)  # fmt: skip

SMALL = ("--batch-size=4", "--device=cpu", "--generator.width=8", "--discriminator.width=8", "--log-every=1", "--save-every=2")
SMALL += ("--sample-every=2", "--keep=2")


class Bench:
    """A folder with a finished run, its data and its cache, which is put back as it was before each mutant."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self.kept, self.scratch = server, folder / "bench", folder / "kept", folder / "scratch"
        self.env = {"GANZOO_CACHE": str(self.folder / "cache")}
        self.prepared = ""
        self._right: dict[str, Any] = {}

    def build(self, compared: bool = True) -> None:
        """Make all that is to be damaged. compared: a comparison too, which takes a while."""
        self.folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        rows = rng.integers(0, 256, (24, 8, 8), dtype=np.uint8)
        data = self.folder / "data"
        (data / "d" / "x").mkdir(parents=True)
        np.save(data / "a.npy", rows)
        np.savez(data / "b.npz", x=rows, y=np.arange(24) % 3)
        with zipfile.ZipFile(data / "c.zip", "w") as archive:
            for i, row in enumerate(rows):
                Image.fromarray(row).save(data / "d" / "x" / f"{i:03d}.png")
                archive.write(data / "d" / "x" / f"{i:03d}.png", f"{i:03d}.png")
        self._must("run", "gan", f"--dataset={data / 'b.npz'}", *SMALL, "--steps=4", "--eval-every=2", "--eval-n=16", "--metric=fid",
                   "--features=pixels", f"--out={self.folder / 'run'}")  # fmt: skip
        self.prepared = next((self.folder / "cache" / "prepared").glob("b-*.safetensors")).name
        append_line(self.folder / "run" / "warnings.jsonl", {"step": 2, "text": "a warning that was written while it trained"})
        for end, place in (("npy", "a.npy"), ("npz", "b.npz"), ("zip", "c.zip"), ("png", "d")):
            size = ["--image-size=8"] if end in ("zip", "png") else []
            self._must("run", "gan", f"--dataset={data / place}", *size, *SMALL, "--steps=2", f"--out={self.folder / f'run-{end}'}")
        if compared:
            self._must("compare", "gan --generator.width 8 --batch-size 4", "--steps=2", "--seeds=1", f"--dataset={data / 'b.npz'}",
                       "--metric=fid", "--features=pixels", "-n", "16", "--checkpoints=1", f"--out={self.folder / 'compared'}")  # fmt: skip
        shutil.copytree(self.folder, self.kept)

    def _must(self, *words: object) -> None:
        done = self.server(*words, env=self.env)
        assert done.status == 0, done.err

    def path(self, kind: Kind) -> Path:
        """The file of a kind."""
        return self.folder / kind.file.replace("PREPARED", self.prepared)

    def reset(self) -> None:
        """Everything as it was."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()

    def words(self, command: str) -> list[object]:
        """The command line; what it writes is then compared."""
        run, data = self.folder / "run", self.folder / "data"
        verb, _, what = command.partition("-")
        if verb == "resume":
            return ["resume", self.folder / f"run-{what}", "--steps=4"] if what else ["resume", run, "--steps=6"]
        if verb == "run":
            place = {"npy": "a.npy", "npz": "b.npz", "zip": "c.zip", "png": "d"}[what]
            size = ["--image-size=8"] if what in ("zip", "png") else []
            return ["run", "gan", f"--dataset={data / place}", *size, *SMALL, "--steps=2", f"--out={self.scratch / 'run'}"]
        source = run / "checkpoints" / "000004.safetensors" if what == "checkpoint" else run
        if verb == "sample":
            return ["sample", source, "-n", "8", f"--out={self.scratch / 's.png'}"]
        if verb == "evaluate":
            return ["evaluate", source, "-n", "16", "--metric=fid", "--features=pixels", "--device=cpu", "--json"]
        if what == "compared":
            return ["report", self.folder / "compared", "--files-only"]
        return ["report", run, "--files-only", f"--out={self.scratch / 'r.html'}"]

    def output(self, command: str, done: Done) -> Any:
        """What a command made, that can be compared; of a resumed run its folder, copied aside the first time."""
        verb, _, what = command.partition("-")
        if verb in ("resume", "run"):
            return self.folder / (f"run-{what}" if what else "run") if verb == "resume" else self.scratch / "run"
        if verb == "sample":
            return (self.scratch / "s.png").read_bytes(), done.out
        if verb == "evaluate":
            return [entry["figures"] for entry in json.loads(done.out)]
        if what == "compared":
            return [(self.folder / "compared" / name).read_bytes() for name in ("compare.csv", "compare.md", "report.html")]
        return (self.scratch / "r.html").read_text(encoding="utf-8")

    def right(self, command: str) -> Any:
        """The output for undamaged files, made once."""
        if command not in self._right:
            self.reset()
            done = self.server(*self.words(command), env=self.env)
            assert done.status == 0, done.err
            made = self.output(command, done)
            if isinstance(made, Path):
                shutil.copytree(made, self.kept.parent / f"right-{command}")
                made = self.kept.parent / f"right-{command}"
            self._right[command] = made
        return self._right[command]

    def judge(self, kind: Kind, command: str, mutate: Callable[[bytes], bytes]) -> tuple[str, str]:
        """The verdict on a damaged file and what one needs to see why."""
        right = self.right(command)
        self.reset()
        path = self.path(kind)
        whole = path.read_bytes()
        damaged = mutate(whole)
        path.write_bytes(damaged)
        done = self.server(*self.words(command), env=self.env, limit=60)
        shown = f"status {done.status}{', after a minute' if done.late else ''}: {done.err[-400:]}"
        if "Traceback" in done.err or "should not happen" in done.err or done.status not in (0, 1, 2):
            return "crash", shown
        if done.status:
            return ("refused" if "Error:" in done.err else "crash"), shown
        try:
            made = self.output(command, done)
            other = self._compare(kind, command, right, made)
        except (OSError, ValueError) as e:
            return "wrong", f"{e!r} {shown}"
        said = "Warning:" in done.err or (isinstance(made, str) and self._told_of(right, made))
        if not other:
            return ("warned" if said else "right"), shown
        if said and not command.startswith(("sample", "evaluate", "resume")):
            return "warned", shown
        if kind.text and command.startswith("report") and (kind.name in ("config.json", "compare.json") or plausible(whole, damaged)):
            return "taken", shown
        if command.startswith("run-") and self._checksum(right) != self._checksum(made):
            return "taken", shown  # it says of which data it was made: of the file as it is
        return "wrong", f"{other} {shown}"

    def _told_of(self, right: str, page: str) -> bool:
        return any(page.count(words) > right.count(words) for words in ("left out", "cannot be read", "are not known"))

    def _checksum(self, run: Path) -> str:
        return str(json.loads((run / "config.json").read_text(encoding="utf-8"))["data"]["checksum"])

    def _compare(self, kind: Kind, command: str, right: Any, made: Any) -> str:
        """What is not as it should be; "": nothing."""
        if not isinstance(made, Path):
            return "" if made == right else "the output differs"
        if kind.name == "config.json":  # it may say that the run tells of itself more often
            last = "checkpoints/000006.safetensors"
            return "" if told(right / last) == told(made / last) else f"{last} differs"
        found = [text for text in differences(right, made) if not text.startswith(kind.excused) and ".bad " not in text]
        return "; ".join(found)


# --- Mutations ---


def plausible(whole: bytes, damaged: bytes) -> bool:
    """Whether JSON lines could have been written so: each is like one of the original ones, or the last is not finished."""
    if whole.startswith(damaged):
        return True

    def like(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: like(v) for k, v in value.items()}
        if isinstance(value, bool) or value is None:
            return value
        return 0 if isinstance(value, int | float) else type(value).__name__

    try:
        known = [like(json.loads(line)) for line in whole.splitlines()]
        lines = damaged.split(b"\n")
        return all(like(json.loads(line)) in known for line in lines[:-1]) and lines[-1] in (b"", *whole.split(b"\n"))
    except (ValueError, RecursionError):
        return False


def _flip(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 8))):
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((0, 1, 7, 8, len(data) - 1, rng.randrange(len(data)), rng.randrange(len(data))))]


def _block(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 16, 512, 4096)))


def _twice(data: bytes, rng: random.Random) -> bytes:
    start, end = _block(data, rng)
    return data[:end] + data[start:end] + data[end:]


def _zeroes(data: bytes, rng: random.Random) -> bytes:
    start, end = _block(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def _garbage(data: bytes, rng: random.Random) -> bytes:
    start, end = _block(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _swapped(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 100, len(data))))


#: What a value of JSON is replaced by.
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**400, 2**63, -(10**18), float("nan"), float("inf"), 1e308, "", "x", "\x00\x1b[31m\r\n", "../../etc/passwd",
    "9" * 5000,
    [], {}, [[[[[[[[[[1]]]]]]]]]], {"a": {"b": [None, {}]}}, ["x"] * 1000, "<script>alert(1)</script>", "\ud800",
)  # fmt: skip


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to each value in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, own in inner:
        yield (*at, key)
        yield from _places(own, (*at, key))


def _odd_value(data: bytes, rng: random.Random) -> bytes:
    """One value of a JSON file, or of one of its lines, replaced, or left out."""
    try:
        lines = [json.loads(data)]
        whole = True
    except ValueError:
        lines, whole = [json.loads(line) for line in data.splitlines()], False
    row = rng.randrange(len(lines))
    places = list(_places(lines[row]))
    way = rng.choice(places)
    holder = lines[row]
    for key in way[:-1]:
        holder = holder[key]
    if rng.random() < 0.15:
        del holder[way[-1]]
    else:
        holder[way[-1]] = rng.choice(ODD)
    if rng.random() < 0.05:
        lines[row] = rng.choice(ODD)
    texts = [json.dumps(line, indent=1 if whole else None) for line in lines]
    return ("\n".join(texts) + "\n").encode()


def _deep(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + b"[" * rng.choice((1, 100, 100_000)) + data[start:]


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped bits": _flip, "cut off": _cut, "a block twice": _twice, "zeroes": _zeroes, "garbage": _garbage, "another file": _swapped,
}  # fmt: skip
OF_TEXT = {"odd value": _odd_value, "nested": _deep}


def mutants(kind: Kind, rng: random.Random) -> Iterator[tuple[str, str, Callable[[bytes], bytes]]]:
    """Endlessly: the name of a mutation, a command, and what makes the damage."""
    names = [*MUTATIONS] + (["odd value"] * 5 + ["nested"] if kind.text else [])
    while True:
        name, command, seed = rng.choice(names), rng.choice(kind.commands), rng.getrandbits(32)
        mutation = (MUTATIONS | OF_TEXT)[name]
        yield f"{name} {seed}", command, lambda data, m=mutation, s=seed: m(data, random.Random(s))  # type: ignore[misc]
