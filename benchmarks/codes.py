"""Does `infogan` find the digits without their labels? Its quick preset on MNIST, against the same without lambda.

    python benchmarks/codes.py --out runs/codes              # three seeds of each case; goes on where it was stopped
    python benchmarks/codes.py --table                       # only the table, from the results that there are

Each run is measured on the 10,000 test digits by `matching`: the share of digits whose code, as Q reads it, is the one of their class, when
each class is given one code in the way that is best. And on the run's last 200 steps, as it logs them: information, the bound on what G's
samples tell of their category, in nats, at most log 10 = 2.303; explained, the share of the continuous codes' variance that Q reads.

* quick: the preset.
* lambda 0: neither G nor D learns anything of the codes; what Q says is that of a random layer on top of D. What any network would get.

MNIST is looked for in --data-dir, GANZOO_DATA or the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

import ganzoo

RESULTS = Path(__file__).parent / "results" / "codes.json"
CASES: dict[str, dict[str, Any]] = {
    "quick": {},
    "lambda 0": {"loss.category_weight": 0.0, "loss.continuous_weight": 0.0},
}
FIGURES = ("matching", "information", "explained")


def measured(run: Path, data_dir: str | None) -> dict[str, float]:
    """The figures of a run that is finished."""
    (evaluation,) = ganzoo.evaluate(run, network="codes", metric="matching", against="test", data_dir=data_dir)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["step"] > lines[-1]["step"] - 200]
    return dict(evaluation.figures) | {name: statistics.mean(line[f"g/{name}"] for line in last) for name in FIGURES[1:]}


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
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which; by default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print the table and end")
    parser.add_argument("--out", type=Path, default=Path("runs/codes"), help="where the runs are kept")
    parser.add_argument("--data-dir", default=os.environ.get("GANZOO_DATA"), help="where MNIST lies or goes; also GANZOO_DATA")
    asked = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for seed in [] if asked.table else asked.seeds:
        for case in asked.cases or CASES:
            run = asked.out / f"{case.replace(' ', '-')}-{seed}"
            if not (run / "config.json").exists():
                ganzoo.train("infogan", dataset="mnist", data_dir=asked.data_dir, seed=seed, options=CASES[case], out=run)
            elif ganzoo.load(run).step < json.loads((run / "config.json").read_text(encoding="utf-8"))["run"]["steps"]:
                ganzoo.resume(run)
            figures = measured(run, asked.data_dir)
            print(f"{case}, seed {seed}: {figures}", flush=True)
            results.setdefault(case, {})[str(seed)] = figures
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
