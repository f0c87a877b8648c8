"""What does a router lose that learned from labels without references? Played judges, recorded data, true labels to test on.

    python benchmarks/label_sources.py [--sets combined5 llmrouter14] [--seeds 20 21 22 23 24] [--json FILE] [--check]
    python benchmarks/label_sources.py --quick      # one judge, 600 rows to train on, three seeds

The references of the training rows are hidden, and every label is made as Stage 1 makes it, by a judge that is played:

- *silver*: the best model's answer is the reference, where two more samples of it agree. A wrong answer of a candidate is
  the same wrong answer with probability ``SAME_WRONG``: of 606 pairs of wrong answers that are recorded in ``replay7``, rules
  see the same result in 19 % and another in 52 %. One more sample agrees with probability ``AGAIN``: that is assumed. What was
  measured is near it: qwen2.5-coder-1.5b said the same again in 88 % (73 to 95) where it was right and in 50 % (27 to 73) where
  it was wrong, on 48 more samples of the quickstart's prompts at temperature 0.7 (``real_judge.py``).
- *rubric*: the judge has nothing to hold an answer against; its grade is above a half where it takes the answer for right.
- *pairwise*: against the best model's answers; in ``PLACE`` of the pairs the judge prefers a place, and there is no label. (A
  GPT-4 judge kept its verdict in both orders in 65 % of the pairs that MT-Bench has on purpose close: arXiv 2306.05685.)

A judge errs in ``--errors`` of its verdicts (people and GPT-4 agreed on 85 % of those pairs), more where more of the models are
wrong: what is hard for them is hard for it. *True* are the recorded labels; *true, as few* are true labels of the rows that
silver keeps. All routers of a seed see the same training rows, at most ``--rows`` of them, and are tested on the same 20 % of
the groups by true labels. Of combined5 the text rows are taken.

``--check`` exits 1 where, with a judge that errs in 10 %, a router is more than ``MAX_BELOW`` points below the best single
model under its point ``accuracy``, or where rubric labels keep less than ``KEPT`` of a gain over it of a point and more that
true labels bring. Silver and pairwise labels cannot keep any: their best model is never beaten.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from quality import default_router, draw, foreseen
from recorded import DATA, LAYOUT, DataSet
from scipy.stats import t as student
from tabulate import tabulate

from auto_router.arrays import Floats, Ints
from auto_router.assess.metrics import model_metrics, take_chosen
from auto_router.data.label_stats import mean_of
from auto_router.errors import run
from auto_router.files import write_json

SAME_WRONG = 0.27
AGAIN = {True: 0.95, False: 0.55}
SAMPLES = 3
PLACE = 0.15
MAX_BELOW, KEPT = 0.5, 0.5  # points, and share
TRUE, FEW = "true", "true, as few"
Made = Callable[[Floats, float, np.random.Generator], Floats]


def text_rows(data: DataSet) -> DataSet:
    """Return the rows without pictures."""
    rows = np.flatnonzero(~data.plain[:, LAYOUT.text_dim :].any(axis=1))
    costs = None if data.costs is None else data.costs[rows]
    kept: dict[str, Any] = {"groups": data.groups[rows], "y": data.y[rows], "plain": data.plain[rows], "rows": data.rows[rows]}
    return replace(data, costs=costs, **kept)


def misjudge(truth: Floats, y: Floats, error: float, rng: np.random.Generator) -> Floats:
    """Return verdicts ``[N, M]`` on what is true (0 or 1), wrong in ``error`` of the cases, more often on hard rows."""
    hard = 0.25 + (1 - y).mean(axis=1, keepdims=True)
    wrong = rng.random(truth.shape) < np.clip(error * hard / hard.mean(), 0, 0.5)
    return np.where(wrong, 1 - truth, truth)


def silver(y: Floats, error: float, rng: np.random.Generator) -> Floats:
    best = int(np.nanmean(y, axis=0).argmax())
    good = (y >= 0.5).astype(np.float64)
    right = good[:, best]
    same = rng.random(y.shape) < SAME_WRONG
    labels = misjudge(np.where(right[:, None] == 1, good, (good == 0) & same).astype(np.float64), y, error, rng)
    labels[:, best] = 1
    again = np.where(right == 1, AGAIN[True], AGAIN[False])[:, None]
    agreed = misjudge((rng.random((len(y), SAMPLES - 1)) < again).astype(np.float64), y, error, rng)
    labels[agreed.min(axis=1) == 0] = np.nan
    return labels


def rubric(y: Floats, error: float, rng: np.random.Generator) -> Floats:
    verdicts = misjudge((y >= 0.5).astype(np.float64), y, error, rng)
    return (verdicts + rng.random(y.shape)) / 2


def pairwise(y: Floats, error: float, rng: np.random.Generator) -> Floats:
    default = int(np.nanmean(y, axis=0).argmax())
    truth = (y >= y[:, [default]] - 1e-9).astype(np.float64)
    one, other = (misjudge(truth, y, error, rng) for _ in range(2))
    labels = np.where((one == other) & (rng.random(y.shape) >= PLACE), one, np.nan)
    labels[:, default] = 1
    return labels


SOURCES: Mapping[str, Made] = {"silver": silver, "rubric": rubric, "pairwise": pairwise}


def agreement(labels: Floats, y: Floats) -> float:
    """Return the share of the known labels that are on the true side of a half."""
    known = ~np.isnan(labels)
    return float(((labels >= 0.5) == (y >= 0.5))[known].mean())


def route(data: DataSet, train: Ints, test: Ints, labels: Floats, seed: int) -> dict[str, float]:
    """Fit the default router to labels of the training rows; return what it is worth by the true ones of the test rows."""
    router, y = default_router(data, train, labels, seed), data.y[test]
    p, expected = router.predict(data.rows[test]), foreseen(data, train, test)
    best = int(np.nanmean(data.y[train], axis=0).argmax())
    others = [metrics.auc for j, metrics in enumerate(model_metrics(p, y)) if j != best and metrics.auc is not None]
    found = {"auc": float(np.mean(others)), "best single": 100 * mean_of(y[:, best])}
    for point in ("accuracy", "balanced", "economy"):
        chosen = router.decide(point, p, data.rows[test], expected)
        found[point] = 100 * mean_of(take_chosen(y, chosen))
        if data.costs is not None:
            costs = data.costs[test]
            found[f"cost of {point}"] = float(np.nanmean(take_chosen(costs, chosen)) / np.nanmean(costs[:, best]))
    return found


def compare(data: DataSet, seeds: Sequence[int], rows: int, errors: Sequence[float]) -> list[dict[str, Any]]:
    """Return a row for each way to label, with the figures of every seed."""
    kinds = [(TRUE, 0.0), (FEW, errors[0]), *((name, error) for error in errors for name in SOURCES)]
    found: list[dict[str, Any]] = [{"labels": name, "error": error, "seeds": []} for name, error in kinds]
    for seed in seeds:
        train, test = draw(data, seed, rows)
        y = data.y[train].astype(np.float64)
        for row in found:
            rng = np.random.default_rng(seed)
            made = SOURCES.get(row["labels"], silver)(y, row["error"], rng)
            labels = y if row["labels"] == TRUE else np.where(np.isnan(made), np.nan, y) if row["labels"] == FEW else made
            figures = route(data, train, test, labels, seed)
            known = {"known": float((~np.isnan(labels)).mean()), "agreement": agreement(labels, y)}
            row["seeds"].append(figures | known)
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the half width of its 95 % t-interval."""
    array = np.array(values)
    if len(array) < 2:
        return float(array.mean()), float("inf")
    return float(array.mean()), float(student.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)


def difference(row: Mapping[str, Any], true: Mapping[str, Any], key: str) -> tuple[float, float]:
    return interval([a[key] - b[key] for a, b in zip(row["seeds"], true["seeds"], strict=True)])


def tabulate_set(name: str, found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the lines of one set: the best single model, true labels, and each way to do without them."""
    rows = []
    for row in found:
        mean = {key: float(np.mean([seed[key] for seed in row["seeds"]])) for key in row["seeds"][0]}
        beside = {
            key: "" if row is found[0] else " ({:+.{d}f} ± {:.{d}f})".format(*difference(row, found[0], key), d=digits)
            for key, digits in {"accuracy": 2, "auc": 3, "economy": 2}.items()
        }
        error = f"{row['error']:.0%}" if row["labels"] in SOURCES else ""
        shares = [f"{mean['known']:.0%}", f"{mean['agreement']:.1%}"]
        worth = [f"{mean['accuracy']:.1f}{beside['accuracy']}", f"{mean['auc']:.3f}{beside['auc']}"]
        economy = [f"{mean['economy']:.1f}{beside['economy']}", f"{mean.get('cost of economy', np.nan):.2f}"]
        rows.append([name, row["labels"], error, *shares, *worth, *economy])
    best = f"{np.mean([seed['best single'] for seed in found[0]['seeds']]):.1f}"
    return [[name, "(best single model)", "", "", "", best, "", best, "1.00"], *rows]


HEADERS = ["set", "labels", "judge errs", "known", "agree with true", "accuracy % (− true, points)",
           "AUC of the other models", "economy: accuracy %", "its cost, of best single's"]  # fmt: skip


def find_shortfalls(name: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the labels of the better judge clearly do not keep: the interval over seeds lies below it."""

    def gains(row: Mapping[str, Any]) -> tuple[float, float]:
        return interval([seed["accuracy"] - seed["best single"] for seed in row["seeds"]])

    true = gains(found[0])[0]

    short = []
    for row in found:
        if row["labels"] not in SOURCES or row["error"] > 0.1:
            continue
        gain, half = gains(row)
        if gain + half < -MAX_BELOW:
            short.append(f"{name}: {row['labels']} labels end {-gain:.2f} ± {half:.2f} points below the best single model")
        if row["labels"] == "rubric" and true >= 1 and gain + half < KEPT * true:
            short.append(f"{name}: rubric labels keep {gain:.2f} ± {half:.2f} of {true:.2f} points over the best single model")
    return short


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", default=["combined5", "llmrouter14"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--rows", type=int, default=1500, help="to train on (1500; 0: all)")
    parser.add_argument(
        "--errors", nargs="+", type=float, default=[0.1, 0.2], help="shares of a judge's verdicts that are wrong"
    )
    parser.add_argument("--quick", action="store_true", help="600 rows, three seeds, one judge")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rows, arguments.seeds, arguments.errors = 600, arguments.seeds[:3], arguments.errors[:1]
    start, figures, short = time.perf_counter(), {}, []
    table: list[list[str]] = []
    for name in arguments.sets:
        found = compare(text_rows(DataSet.load(arguments.data / name)), arguments.seeds, arguments.rows, arguments.errors)
        figures[name] = found
        table += tabulate_set(name, found)
        print(tabulate(table[-len(found) - 1 :], headers=HEADERS, disable_numparse=True), flush=True)
        short += find_shortfalls(name, found)
    print(f"{len(arguments.seeds)} seeds, {time.perf_counter() - start:.0f} s")
    if arguments.json is not None:
        write_json(arguments.json, figures)
    if arguments.check and short:
        sys.exit("; ".join(short))


if __name__ == "__main__":
    sys.exit(run(main))
