"""Do labels of diverse prompts teach more than labels of as many random ones? On recorded data, over group-split seeds.

    python benchmarks/select_rows.py [--sets combined5 llmrouter14 routerbench_sub] [--counts 300 600] [--json FILE] [--check]

For each seed 30 % of the groups are the test; of the rest, both ways of ``auto_router/select_prompts.py`` select the same
number of rows in the embedded encoder's space, the default router is fitted on their labels, and routes the same test rows
(by its highest P). *Diverse − random* is the paired difference in accuracy points and in mean AUC with a 95 % t-interval over
seeds. Splits overlap, so it is somewhat narrow.

``--check`` exits 1 where diverse is clearly (by its interval) worse than random in accuracy, on any set at any number.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recorded import DATA, LAYOUT, ROOT, SETS, DataSet
from scipy.stats import t as student
from tabulate import tabulate

sys.path.insert(0, str(ROOT))

from auto_router.arrays import Floats, Ints
from auto_router.assess.metrics import model_metrics
from auto_router.data.splits import split_by_group
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.learn.stack_fit import fit_stack
from auto_router.select_prompts import DIVERSE, RANDOM, SELECTIONS, select_rows

TEST_FRACTION = 0.3


def fit_and_route(data: DataSet, rows: Ints, test: Ints, seed: int) -> tuple[float, float]:
    """Return accuracy in points and mean AUC on the test rows of a router fitted on ``rows``."""
    y = data.y[rows].astype(np.float32)
    fitted = fit_stack(data.rows[rows].astype(np.float32), y, data.groups[rows], LAYOUT, seed)
    p: Floats = fitted.network.predict(data.rows[test].astype(np.float32))
    right = np.take_along_axis(data.y[test], p.argmax(1)[:, None], 1)
    areas = [metrics.auc for metrics in model_metrics(p, data.y[test]) if metrics.auc is not None]
    return 100 * float(np.nanmean(right)), float(np.mean(areas))


def compare(data: DataSet, counts: Sequence[int], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row for each number of labels, with the figures of every seed."""
    found: list[dict[str, Any]] = [{"labels": count, **{method: [] for method in SELECTIONS}} for count in counts]
    for seed in seeds:
        train, test = split_by_group(data.groups, TEST_FRACTION, seed)
        for row in found:
            for method in SELECTIONS:
                rows = train[select_rows(data.plain[train], min(row["labels"], len(train)), method, seed)]
                row[method].append(fit_and_route(data, rows, test, seed))
    return found


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % t-interval."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return mean, mean - half, mean + half


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", default=list(SETS[:3]))
    parser.add_argument("--counts", nargs="+", type=int, default=[300, 600, 1200])
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    start, table, figures, worse = time.perf_counter(), [], [], []
    for name in arguments.sets:
        for row in compare(DataSet.load(arguments.data / name), arguments.counts, arguments.seeds):
            accuracy, auc = (
                interval([diverse[i] - drawn[i] for diverse, drawn in zip(row[DIVERSE], row[RANDOM], strict=True)])
                for i in range(2)
            )
            means = [np.mean(row[method], axis=0) for method in (RANDOM, DIVERSE)]
            if accuracy[2] < 0:
                worse.append(f"{name} at {row['labels']}")
            shares, areas = ([f"{mean[i]:.{digits}f}" for mean in means] for i, digits in ((0, 1), (1, 3)))
            gains = "{:+.2f} ({:+.2f} to {:+.2f})".format(*accuracy), "{:+.3f} ({:+.3f} to {:+.3f})".format(*auc)
            table.append([name, row["labels"], *shares, gains[0], *areas, gains[1]])
            print(*table[-1], flush=True)
            figures.append({"set": name, **row, "accuracy difference": accuracy, "auc difference": auc})
    headers = ["set", "labels", "random %", "diverse %", "diverse − random", "AUC random", "AUC diverse", "diverse − random"]
    print(tabulate(table, headers=headers, disable_numparse=True))
    print(f"{len(arguments.seeds)} seeds, {time.perf_counter() - start:.0f} s")
    if arguments.json is not None:
        write_json(arguments.json, figures)
    if arguments.check and worse:
        sys.exit(f"diverse is clearly worse than random: {', '.join(worse)}")


if __name__ == "__main__":
    sys.exit(run(main))
