"""Are the tables that `ctgan` writes like the real one? Adult, the census of 1994, with its quick preset.

    python benchmarks/tables.py shared/data/adult --out runs/tables   # three seeds; goes on where it was stopped
    python benchmarks/tables.py --table                               # only the table, from the results that there are

The folder holds train.csv and test.csv. As many rows as train.csv has are drawn from the generator's file, as CSV, and measured:

* shapes: the mean over columns of 1 - the total variation distance of categories, or 1 - the Kolmogorov-Smirnov statistic of numbers.
* pairs: the mean over pairs of columns of 1 - half the difference of Pearson's correlations, where both hold numbers, else 1 - the total
  variation distance of the pairs of values, numbers in ten bins of equal width over the real ones.
* accuracy, F1 of ">50K": a classifier of one hidden layer learns `income` of these rows and is tested on the rows of test.csv.

The definitions are those of SDMetrics' Quality Report (column shapes, column pair trends), computed here. Beside them stand a bootstrap of
the real rows, the best that can be wanted, and the real rows with each column shuffled by itself, where nothing goes with anything.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

import ganzoo

RESULTS = Path(__file__).parent / "results" / "tables.json"
CASES = ("ctgan", "bootstrap", "shuffled")
FIGURES = ("shapes", "pairs", "accuracy", "f1")
LABEL, POSITIVE = "income", ">50K"
NUMBERS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
BINS, EPOCHS, BATCH = 10, 10, 256

Rows = dict[str, list[str]]


def read(path: Path) -> Rows:
    """The cells by column."""
    with open(path, encoding="utf-8", newline="") as file:
        names, *lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    return {name: [line[i] for line in lines] for i, name in enumerate(names)}


def numbers(cells: Sequence[str]) -> Tensor:
    """Cells as float64."""
    return torch.tensor([float(cell) for cell in cells], dtype=torch.float64)


def variation(real: Sequence[object], made: Sequence[object]) -> float:
    """1 - the total variation distance of two samples of anything."""
    shares = []
    for values in (real, made):
        counts: dict[object, float] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1 / len(values)
        shares.append(counts)
    return 1 - sum(abs(shares[0].get(v, 0) - shares[1].get(v, 0)) for v in {*shares[0], *shares[1]}) / 2


def kolmogorov(real: Tensor, made: Tensor) -> float:
    """1 - the largest difference of the distribution functions of two samples."""
    places = torch.cat([real, made]).unique()
    below = [torch.searchsorted(x.sort().values, places, right=True) / len(x) for x in (real, made)]
    return 1 - float((below[0] - below[1]).abs().max())


def likeness(real: Rows, made: Rows) -> dict[str, float]:
    """Shapes and pairs."""
    as_numbers = {name: (numbers(real[name]), numbers(made[name])) for name in NUMBERS}
    shapes = [kolmogorov(*as_numbers[name]) if name in as_numbers else variation(real[name], made[name]) for name in real]
    kinds = dict[str, tuple[list[object], list[object]]]()
    for name in real:
        if name not in as_numbers:
            kinds[name] = list(real[name]), list(made[name])
            continue
        low, high = as_numbers[name][0].min(), as_numbers[name][0].max()
        first, second = (((x - low) / (high - low) * BINS).floor().clamp(0, BINS - 1).tolist() for x in as_numbers[name])
        kinds[name] = first, second
    pairs = []
    for a, b in combinations(real, 2):
        if a in as_numbers and b in as_numbers:
            r = [float(torch.corrcoef(torch.stack([as_numbers[a][i], as_numbers[b][i]]))[0, 1]) for i in (0, 1)]
            pairs.append(1 - abs(r[0] - r[1]) / 2)
        else:
            pairs.append(variation(*(list(zip(kinds[a][i], kinds[b][i], strict=True)) for i in (0, 1))))
    return {"shapes": statistics.mean(shapes), "pairs": statistics.mean(pairs)}


def features(rows: Rows, real: Rows) -> tuple[Tensor, Tensor]:
    """What a classifier sees, float32 (N, D), numbers with mean 0 and deviation 1 and their size's logarithm, categories one-hot, as the
    real rows say; and whether the label is positive, (N,)."""
    parts = []
    for name in (name for name in real if name != LABEL):
        if name in NUMBERS:
            for x, own in ((numbers(rows[name]), numbers(real[name])), (numbers(rows[name]).log1p(), numbers(real[name]).log1p())):
                parts.append(((x - own.mean()) / own.std()).float()[:, None])
        else:
            known = {value: i for i, value in enumerate(sorted({*real[name]}))}
            at = torch.tensor([known.get(cell, len(known)) for cell in rows[name]])
            parts.append(torch.nn.functional.one_hot(at, len(known) + 1).float())
    return torch.cat(parts, 1), torch.tensor([cell == POSITIVE for cell in rows[LABEL]])


def classifier(made: Rows, real: Rows, test: Rows, seed: int) -> dict[str, float]:
    """Accuracy and F1 on the real test rows, of a network with 64 hidden units that has learnt of the made ones."""
    torch.manual_seed(seed)
    (x, y), (x_test, y_test) = features(made, real), features(test, real)
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimiser = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows].float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        said = net(x_test)[:, 0] > 0
    hits = float((said & y_test).sum())
    return {"accuracy": float((said == y_test).float().mean()), "f1": 2 * hits / max(float(said.sum() + y_test.sum()), 1)}


def made_by(case: str, folder: Path, seed: int, out: Path, preset: str) -> Rows:
    """The rows of a case."""
    real = read(folder / "train.csv")
    n, g = len(real[LABEL]), torch.Generator().manual_seed(seed)
    if case == "bootstrap":
        chosen = torch.randint(n, (n,), generator=g).tolist()
        return {name: [cells[i] for i in chosen] for name, cells in real.items()}
    if case == "shuffled":
        return {name: [cells[i] for i in torch.randperm(n, generator=g).tolist()] for name, cells in real.items()}
    run = out / f"{preset}-{seed}"
    if not (run / "config.json").exists():
        ganzoo.train("ctgan", seed=seed, preset=preset, options={"dataset.file": str(folder / "train.csv")}, out=run)
    elif ganzoo.load(run).step < json.loads((run / "config.json").read_text(encoding="utf-8"))["run"]["steps"]:
        ganzoo.resume(run)
    model = ganzoo.load(run)
    rows = model.sample(n)
    return {name: [row[name] for row in rows] for name in real}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A row a case: mean (lowest to highest) of the seeds."""
    lines = [f"| | seeds | {' | '.join(FIGURES)} |", "|---|---" + "|---" * len(FIGURES) + "|"]
    for case, seeds in results.items():
        cells = [", ".join(sorted(seeds))]
        for name in FIGURES:
            values = [figures[name] for figures in seeds.values()]
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="holds train.csv and test.csv")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--table", action="store_true", help="print the table and end")
    parser.add_argument("--out", type=Path, default=Path("runs/tables"), help="where the runs are kept")
    asked = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for seed in [] if asked.table else asked.seeds:
        real, test = read(asked.folder / "train.csv"), read(asked.folder / "test.csv")
        for case in asked.cases:
            made = made_by(case, asked.folder, seed, asked.out, asked.preset)
            figures = likeness(real, made) | classifier(made, real, test, seed)
            name = f"{case}, {asked.preset}" if case == "ctgan" else case
            print(f"{name}, seed {seed}: {figures}", flush=True)
            results.setdefault(name, {})[str(seed)] = figures
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
