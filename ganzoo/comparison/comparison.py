"""A fair comparison: every entrant under one budget, by one protocol, over several seeds; what is finished is kept."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from ganzoo import __version__, machine
from ganzoo.config import Config
from ganzoo.errors import GanzooError, UsageError
from ganzoo.evaluation.record import Evaluation, best, parsed
from ganzoo.files import hold, read_json, read_lines, write_json, write_text
from ganzoo.registry.catalogue import Catalogue
from ganzoo.registry.discovery import named
from ganzoo.training import launch
from ganzoo.training.health import COLLAPSED, REPEATED

if TYPE_CHECKING:
    from ganzoo.evaluation.evaluator import Reference
    from ganzoo.report import RunFacts

ROUNDS = 3
PATIENCE = 60  # seconds
WARM = 3  # steps before the clock is looked at
MAY_GROW = ("entrants", "fingerprints", "seeds", "jobs")  # what a later sitting may have more of
USUAL_STEP = 1001  # a number of a step that is neither a warm-up nor one in a round number

State = Literal["waiting", "training", "evaluating", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Budget:
    """What every entrant may spend: generator steps, real images seen, or seconds; one of them."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.seconds:
            return f"{self.seconds:g} s"
        return f"{self.images} images" if self.images else f"{self.steps} steps"


def seconds(text: str) -> float:
    """"90s", "10m" or "1.5h" in seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())
    if not found or not float(found[1]):
        raise UsageError(f"--budget: wanted a time as 90s, 10m or 1.5h; got {text!r}.")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


@dataclass(frozen=True)
class Plan:
    """All that decides the figures of a comparison.

    entrants: what is typed after `ganzoo run` for each. fingerprints: of the options that each comes to. shared: options of all.
    evaluation: words after `ganzoo evaluate RUN`. checkpoints: how many are evaluated, evenly spaced; the last is one of them.
    """

    entrants: tuple[tuple[str, ...], ...]
    fingerprints: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: Budget
    shared: tuple[str, ...]
    evaluation: tuple[str, ...]
    checkpoints: int
    jobs: int

    @property
    def labels(self) -> list[str]:
        return [shlex.join(words) for words in self.entrants]


@dataclass(frozen=True)
class Share:
    """What an entrant's budget comes to: its steps, and the images after which it ends earlier; 0: it does not."""

    steps: int
    images: int = 0
    images_per_second: float = 0.0


@dataclass
class Cell:
    """One run of one entrant. reason: why it failed. log: what its commands printed."""

    label: str
    seed: int
    folder: Path
    state: State = "waiting"
    reason: str = ""
    evaluations: list[Evaluation] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    @property
    def results(self) -> Path:
        return self.folder.with_suffix(".json")

    @property
    def last_line(self) -> dict[str, Any]:
        lines = read_lines(self.folder / "metrics.jsonl")
        return lines[-1] if lines else {}

    @property
    def health(self) -> str:
        """What is to be said of its last samples, or an empty string."""
        lines = read_lines(self.folder / "health.jsonl")
        if not lines:
            return ""
        return "collapsed" if lines[-1]["spread"] < COLLAPSED else "few kinds" if lines[-1]["apartness"] < REPEATED else ""


def share_out(
    catalogue: Catalogue, plan: Plan, entrants: Sequence[Sequence[str]], configure: Callable[[Sequence[str]], Config],
    progress: Callable[[str, int, int], None],
) -> list[Share]:  # fmt: skip
    """The share of each of these entrants.

    Time is turned into images by timing a few steps of each in turn, A B A B, on `threads / jobs` threads: medians. So every seed gets
    the same number of images, a schedule knows its length, and what else the machine does later changes nothing.
    """
    if plan.budget.steps:
        return [Share(plan.budget.steps)] * len(entrants)
    rates: list[list[float]] = [[] for _ in entrants]
    per_step = [0.0] * len(entrants)
    rounds = ROUNDS if plan.budget.seconds else 1
    for i in range(rounds * len(entrants)):
        k = i % len(entrants)
        progress("timing steps", i, rounds * len(entrants))
        config = configure([*entrants[k], *plan.shared])
        long = min(10.0, max(1.0, plan.budget.seconds / 50)) if plan.budget.seconds else 0.0
        rate, per_step[k] = _timed(catalogue, config, long, max(1, machine.threads() // plan.jobs))
        rates[k].append(rate)
    progress("timing steps", 1, 1)
    made = []
    for mine, images_a_step in zip(rates, per_step, strict=True):
        rate = statistics.median(mine)
        images = plan.budget.images or max(1, round(rate * plan.budget.seconds))
        made.append(Share(max(1, -(-images // round(images_a_step))), images, round(rate, 1)))
    return made


def _timed(catalogue: Catalogue, config: Config, long: float, threads: int) -> tuple[float, float]:
    """Real images a second, and a step, of the configuration, over at least `long` seconds."""
    import torch

    from ganzoo.data import Batches
    from ganzoo.training.loop import take_step

    config, prepared, strategy = launch.prepare_strategy(catalogue, config)
    torch.set_num_threads(threads)
    run = config.run
    batches = Batches(prepared.load(), prepared.spec, run.batch_size, seed=run.seed, device=strategy.device, flip=run.flip)

    def steps(first: int, enough: Callable[[int], bool]) -> int:
        n = 0
        while not enough(n):
            with torch.autocast(strategy.device.type, torch.bfloat16, enabled=run.precision == "bf16"):
                last = take_step(strategy, batches, run.seed, USUAL_STEP + first + n)
            if run.ema:
                strategy.average(run.ema, USUAL_STEP)
            n += 1
            next(iter(last.values())).item()  # waits for the device
        return n

    # On a processor, the time that this thread has had: what other processes take meanwhile does not count.
    clock = time.thread_time if strategy.device.type == "cpu" else time.monotonic
    steps(0, lambda n: n >= WARM)
    seen, start = batches.seen, clock()
    n = steps(WARM, lambda n: n >= WARM and clock() - start >= long)
    return (batches.seen - seen) / max(clock() - start, 1e-9), (batches.seen - seen) / n


def slug(label: str) -> str:
    """A label as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-").lower()


def common_size(catalogue: Catalogue, configs: Sequence[Config], progress: Callable[[str, int, int], None]) -> int | None:
    """The size of images for all, where each would take another if it were alone: the largest of these. None: there is no such question."""
    specs = [launch.prepare_data(catalogue, config, progress).spec for config in configs]
    sizes = {spec.shape[-1] for spec in specs if spec.kind == "image"}
    same = len(sizes) == 1 or any(spec.kind != "image" for spec in specs) or any(config.run.image_size for config in configs)
    return None if same else max(sizes)


def ready(catalogue: Catalogue, configs: Sequence[Config], against: str, progress: Callable[[str, int, int], None]) -> Reference:
    """What all entrants are compared with. Raises UsageError where they learn from different data."""
    prepared = [launch.prepare_data(catalogue, config, progress) for config in configs]
    if len({p.checksum for p in prepared}) > 1:
        told = ", ".join(f"{c.recipe} {'x'.join(map(str, p.spec.shape))}" for c, p in zip(configs, prepared, strict=True))
        raise UsageError(f"the entrants learn from different data ({told}): name one --dataset and one --image-size.")
    spec = prepared[0].spec
    size = spec.shape[-1] if spec.kind == "image" else None
    return launch.reference(catalogue, configs[0].run, lambda: prepared[0], against, size, progress)


class Comparison:
    """The comparison in a folder: `cells` are trained, or gone on with, and evaluated by `work`, several at a time."""

    def __init__(self, folder: Path, plan: Plan, told: Callable[[Cell], None] = lambda cell: None) -> None:
        self.folder, self.plan, self.told = folder, plan, told
        self.shares: dict[str, Share] = {}
        self.cells = [Cell(label, seed, folder / f"{slug(label)}-{seed}") for label in plan.labels for seed in plan.seeds]
        if len({cell.folder for cell in self.cells}) < len(self.cells):
            raise UsageError(f"two entrants are the same: {', '.join(plan.labels)}.")
        self._children: set[subprocess.Popen[str]] = set()
        self._stopped = threading.Event()

    @classmethod
    def of(cls, folder: Path) -> Comparison:
        """The comparison that a folder holds, with what is finished of it. Raises UsageError where it holds none."""
        try:
            told: dict[str, Any] = read_json(folder / "compare.json")["plan"]
            told |= {"entrants": tuple(map(tuple, told["entrants"])), "budget": Budget(**told["budget"])}
            values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
            plan = Plan(**values)
            made = cls(folder, plan)
            made.begin(lambda new: [])
        except (LookupError, TypeError, AttributeError) as e:
            raise UsageError(f"{folder / 'compare.json'} is no comparison's ({e!r}).") from e
        return made

    def begin(self, share: Callable[[Sequence[Sequence[str]]], list[Share]]) -> None:
        """Take the shares that an earlier sitting wrote down, and make those of entrants that are new.

        Raises UsageError where the folder holds something else, or runs of an entrant whose options were others.
        """
        path = self.folder / "compare.json"
        plan = json.loads(json.dumps(asdict(self.plan)))
        fingerprints = dict(zip(self.plan.labels, self.plan.fingerprints, strict=True))
        if path.exists():
            written = read_json(path)
            before = written.get("plan", {})
            if written.get("ganzoo") != __version__:
                raise UsageError(f"{self.folder} was begun by ganzoo {written.get('ganzoo')}, this is {__version__}. Name another folder.")
            if odd := [key for key in plan if key not in MAY_GROW and before.get(key) != plan[key]]:
                raise UsageError(
                    f"{self.folder} holds a comparison with other {', '.join(odd)} ({before.get(odd[0])}). "
                    "Name another folder with --out, or repeat the command that it was begun with."
                )
            old = {shlex.join(words): mark for words, mark in zip(before["entrants"], before["fingerprints"], strict=True)}
            if other := [label for label, mark in old.items() if fingerprints.get(label, mark) != mark]:
                raise UsageError(
                    f"{self.folder} holds runs of {other[0]!r} with other options than it has now. "
                    "Remove them, and its lines in compare.json, or name another folder with --out."
                )
            self.shares = {label: Share(**told) for label, told in written["shares"].items()}
            fingerprints = old | fingerprints
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise UsageError(f"--out: {self.folder} is not empty. Name a new folder.")
        new = [words for words, label in zip(self.plan.entrants, self.plan.labels, strict=True) if label not in self.shares]
        self.shares |= dict(zip([shlex.join(words) for words in new], share(new), strict=True))
        self.folder.mkdir(parents=True, exist_ok=True)
        plan |= {"entrants": [shlex.split(label) for label in fingerprints], "fingerprints": list(fingerprints.values())}
        write_json(path, {"plan": plan, "shares": {label: asdict(share) for label, share in self.shares.items()}, "ganzoo": __version__})
        for cell in self.cells:
            if launch.finished(cell.folder) and cell.results.exists():
                self._take(cell)

    def work(self) -> None:
        """Bring every cell to its end. A cell that fails does not stop the others. Raises KeyboardInterrupt when it was stopped.

        Raises UsageError where another process works in the folder.
        """

        def stop(number: int, frame: FrameType | None) -> None:
            raise KeyboardInterrupt

        # SIGINT too: what a shell starts in the background has it ignored.
        old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        pool = ThreadPoolExecutor(self.plan.jobs)
        lock = hold(self.folder / "LOCK")
        try:
            # Seed by seed, so that a comparison which is stopped has something of every entrant.
            todo = [cell for cell in sorted(self.cells, key=lambda c: self.plan.seeds.index(c.seed)) if cell.state != "done"]
            for future in [pool.submit(self._bring, cell) for cell in todo]:
                future.result()
        except KeyboardInterrupt:
            self._stopped.set()
            for child in list(self._children):
                child.send_signal(signal.SIGTERM)  # it saves a checkpoint first
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            lock.release()
            for number, handler in old.items():
                signal.signal(number, handler)

    def _bring(self, cell: Cell) -> None:
        if self._stopped.is_set():
            return
        try:
            if not launch.finished(cell.folder):
                self._set(cell, "training")
                cell.results.unlink(missing_ok=True)
                if (cell.folder / "config.json").exists():
                    self._wait_for(cell.folder)
                    self._run(cell, ["resume", str(cell.folder)])
                else:
                    self._run(cell, self.training(cell))
            if not cell.results.exists():
                self._set(cell, "evaluating")
                told = json.loads(self._run(cell, ["evaluate", str(cell.folder), "--all-checkpoints", "--json", *self.plan.evaluation]))
                # A run that was stopped has a checkpoint more, which the others have not: best is taken over equally many.
                last = max(e["step"] for e in told)
                write_json(cell.results, [e for e in told if e["step"] == last or e["step"] % self._every(cell) == 0])
            self._take(cell)
        except (GanzooError, OSError, ValueError, TypeError, KeyError) as e:
            if self._stopped.is_set():
                self._set(cell, "stopped")
            else:
                self._set(cell, "failed", str(e) if isinstance(e, GanzooError) else f"{type(e).__name__}: {e}")

    def training(self, cell: Cell) -> list[str]:
        """The words after `ganzoo` that train a cell, so that anybody can repeat it."""
        share = self.shares[cell.label]
        own = self.plan.entrants[self.plan.labels.index(cell.label)]
        words = ["run", *own, *self.plan.shared, "--seed", str(cell.seed), "--steps", str(share.steps)]
        words += ["--images", str(share.images)] if share.images else []
        return [*words, "--save-every", str(self._every(cell)), "--keep", "0", "--out", str(cell.folder)]

    def _every(self, cell: Cell) -> int:
        """Steps between the checkpoints of a cell."""
        return -(-self.shares[cell.label].steps // self.plan.checkpoints)

    def _take(self, cell: Cell) -> None:
        """The results of a finished cell."""
        cell.evaluations = [e for e in map(parsed, read_json(cell.results)) if e is not None]
        self._set(cell, "done")

    def _wait_for(self, folder: Path) -> None:
        """Until no process holds the run: that of a comparison which was killed ends soon."""
        for _ in range(PATIENCE):
            try:
                hold(folder / "LOCK").release()
                return
            except UsageError:
                if self._stopped.wait(1):
                    return

    def _run(self, cell: Cell, words: Sequence[str]) -> str:
        """Run a command of ganzoo's; returns what it printed. Raises GanzooError with the last thing that it said where it fails."""
        plugins = [word for path in named for word in ("--plugin", str(path))]
        env = os.environ | {"OMP_NUM_THREADS": str(max(1, machine.threads() // self.plan.jobs)), "GANZOO_PARENT": str(os.getpid())}
        with open(cell.log, "a", encoding="utf-8") as log:
            log.write(f"$ ganzoo {' '.join(words)}\n")
            log.flush()
            # In a session of its own: Ctrl-C in the terminal comes to us, and we pass it on once.
            command = [sys.executable, "-m", "ganzoo", *plugins, *words]
            child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
            self._children.add(child)
            if self._stopped.is_set():
                child.send_signal(signal.SIGTERM)
            told = child.communicate()[0]
            self._children.discard(child)
            if "--json" not in words:
                log.write(told)
        if child.returncode:
            lines = [line for line in cell.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            said = next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1]).removeprefix("Error: ")
            raise GanzooError(said if child.returncode > 0 else f"it was ended by signal {-child.returncode}")
        return told

    def _set(self, cell: Cell, state: State, reason: str = "") -> None:
        cell.state, cell.reason = state, reason
        self.told(cell)

    # --- What came out ---

    def columns(self) -> list[tuple[str, str]]:
        """Figures that one is better than another in, each with its protocol's hash, in the order in which they were asked for."""
        return list(dict.fromkeys(key for cell in self.cells for key in best(cell.evaluations)))

    def protocols(self) -> list[str]:
        """The protocol lines, each once."""
        return list(dict.fromkeys(e.line for cell in self.cells for e in cell.evaluations))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Column names, and a row an entrant: over seeds the mean and the range of the last checkpoint's figure and of the best one's."""
        keys = self.columns()
        names = [name if len({h for n, h in keys if n == name}) == 1 else f"{name} [{h}]" for name, h in keys]
        figures = [f"{name}, {which}" for name in names for which in ("last", "best")]
        head = ["entrant", "seeds", "steps", "images", "seconds", *figures, "remarks"]
        return head, [self._row(label, keys) for label in self.plan.labels]

    def tables(self) -> list[tuple[list[str], list[list[str]]]]:
        """The same by figure: of each what it is at the last checkpoint and at the best; then what was spent."""
        head, rows = self.table()
        each = [[0, i, i + 1, len(head) - 1] for i in range(5, len(head) - 1, 2)]
        return [([head[i] for i in columns], [[row[i] for i in columns] for row in rows]) for columns in (*each, [0, 1, 2, 3, 4])]

    def _row(self, label: str, keys: Sequence[tuple[str, str]]) -> list[str]:
        cells = [cell for cell in self.cells if cell.label == label]
        done = [cell for cell in cells if cell.state == "done"]
        lines = [cell.last_line for cell in done]
        row = [label, f"{len(done)} of {len(cells)}"]
        row += [spread_of([line[key] for line in lines if key in line], ".0f") for key in ("step", "images_seen", "time")]
        for key in keys:
            found = [best(cell.evaluations)[key] for cell in done if key in best(cell.evaluations)]
            row += [spread_of([e.figures[key[0]] for e in es]) for es in ([last for last, _, _ in found], [top for _, top, _ in found])]
        told = [f"seed {cell.seed}: {word}" for cell in cells if (word := remark(cell))]
        return [*row, "; ".join(told)]

    def csv(self) -> str:
        """A row a cell: every figure of its last checkpoint and of its best, with the protocol's hash in the column's name."""
        keys, out = self.columns(), io.StringIO()
        heads = [f"{name} [{h}] {which}" for name, h in keys for which in ("last", "best", "best step")]
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["entrant", "seed", "state", "remark", "steps", "images", "seconds", *heads, "run"])
        for cell in self.cells:
            line, found = cell.last_line, best(cell.evaluations)
            spent = [line.get(key, "") for key in ("step", "images_seen", "time")]
            row: list[Any] = [cell.label, cell.seed, cell.state, remark(cell), *spent]
            for key in keys:
                last, top, _ = found.get(key, (None, None, False))
                row += [last.figures[key[0]], top.figures[key[0]], top.step] if last and top else ["", "", ""]
            writer.writerow([*row, cell.folder.name])
        return out.getvalue()

    def markdown(self) -> str:
        """The table, the protocols, and how it was made."""
        head, rows = self.table()
        lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
        table = "\n".join("| " + " | ".join(row) + " |" for row in lines)
        return f"{table}\n\n" + "\n".join(f"- {line}" for line in [self.budget_line(), *self.protocols()]) + "\n"

    def write(self, catalogue: Catalogue, drawn: Callable[[RunFacts], RunFacts] | None = None) -> Path:
        """compare.csv, compare.md and the page, its table first, then its runs side by side. drawn: adds what generators draw."""
        from ganzoo import report

        write_text(self.folder / "compare.csv", self.csv())
        write_text(self.folder / "compare.md", self.markdown())
        why = "Not drawn for a comparison: `ganzoo report` of the comparison's folder, or of this run, draws them."
        begun = [cell for cell in self.cells if (cell.folder / "config.json").exists()]
        runs = [report.read(cell.folder, f"{cell.label}, seed {cell.seed}", catalogue) for cell in begun]
        runs = [drawn(run) if drawn else replace(run, not_drawn=why) for run in runs]
        head, rows = self.table()
        path, title = self.folder / "report.html", f"{len(self.plan.entrants)} GANs compared"
        report.write(path, runs, title, report.Table(head, rows, self.budget_line()), self.protocols())
        return path

    def budget_line(self) -> str:
        """The budget in words."""
        at = f", each on {max(1, machine.threads() // self.plan.jobs)} thread(s)"
        timed = " (turned into real images by timing each entrant's steps in turn)" if self.plan.budget.seconds else ""
        return f"budget: {self.plan.budget}{timed}{at}; mean (lowest to highest) over the seeds {', '.join(map(str, self.plan.seeds))}"


def remark(cell: Cell) -> str:
    """What is to be said of a cell: that it failed and why, or that its samples are all alike."""
    if cell.state == "done":
        return cell.health
    return f"{cell.state}: {cell.reason}" if cell.reason else cell.state


def spread_of(values: Sequence[float], form: str = ".4g") -> str:
    """Mean and, where they differ, the range of values; "-" of none."""
    if not values:
        return "-"
    mean, low, high = (format(v, form) for v in (statistics.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"
