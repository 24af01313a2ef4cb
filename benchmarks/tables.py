"""Are the tables that `ctgan` writes like the real one? Adult, the census of 1994, with its quick preset.

    python benchmarks/tables.py shared/data/adult --out runs/tables   # three seeds; goes on where it was stopped
    python benchmarks/tables.py --table                               # only the table, from the results that there are

The folder holds train.csv and test.csv. As many rows as train.csv has are drawn from the generator's file, as CSV, and measured:

* shapes, pairs: column shapes and column pair trends of SDMetrics' Quality Report, which `pip install sdmetrics` brings: how like the
  distributions of columns are, and of the pairs that go together in the real table.
* accuracy, F1 of ">50K": a classifier of one hidden layer learns `income` of these rows and is tested on the rows of test.csv.

Beside them stand a bootstrap of the real rows, the best that can be wanted, and the real rows with each column shuffled by itself, where
nothing goes with anything.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import ganzoo

RESULTS = Path(__file__).parent / "results" / "tables.json"
CASES = ("ctgan", "bootstrap", "shuffled")
FIGURES = ("shapes", "pairs", "accuracy", "f1")
LABEL, POSITIVE = "income", ">50K"
NUMBERS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
EPOCHS, BATCH = 10, 256

Rows = dict[str, list[str]]


def read(path: Path) -> Rows:
    """The cells by column."""
    with open(path, encoding="utf-8", newline="") as file:
        names, *lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    return {name: [line[i] for line in lines] for i, name in enumerate(names)}


def numbers(cells: Sequence[str]) -> Tensor:
    """Cells as float64."""
    return torch.tensor([float(cell) for cell in cells], dtype=torch.float64)


def likeness(real: Rows, made: Rows) -> dict[str, float]:
    """Shapes and pairs."""
    import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from sdmetrics.reports.single_table import QualityReport  # type: ignore[import-not-found,import-untyped,unused-ignore]

    frames = [pandas.DataFrame({name: numbers(x) if name in NUMBERS else x for name, x in rows.items()}) for rows in (real, made)]
    kinds = {name: {"sdtype": "numerical" if name in NUMBERS else "categorical"} for name in real}
    report = QualityReport()
    report.generate(*frames, {"columns": kinds}, verbose=False)
    scores = dict(report.get_properties().itertuples(index=False))
    return {"shapes": float(scores["Column Shapes"]), "pairs": float(scores["Column Pair Trends"])}


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
