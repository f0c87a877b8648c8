"""Is a model that was added with a few labels routed to as well as one that was trained with all of them?

    python benchmarks/add_model.py [--sets combined5 llmrouter14] [--labels 300] [--seeds 20 21 22] [--json FILE] [--check]

For each set, its most often right models (six, or as many as there are) are taken; the last of them in the file's order is
the new one. A router for the others is trained on the training rows; the new model is added with ``--labels`` of its labels,
drawn at random from those rows. Compared on the same test rows (20 % of the groups), each under its operating point
``accuracy``: the extended router, a router trained from scratch on all labels of all models, and the one without the new
model. ``--check`` exits 1 where the extended router is more than 1 point below the one from scratch, on average over seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recorded import LAYOUT, SETS, DataSet

from auto_router.arrays import Floats, Ints
from auto_router.artifacts import Artifact
from auto_router.data.dataset import Prediction
from auto_router.data.prompt_features import FEATURE_NAMES
from auto_router.data.splits import split_by_group
from auto_router.decide.operating_points import fit_operating_points
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.edit import add_model
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.learn.calibration import fit_calibration
from auto_router.learn.stack_fit import fit_stack

MODELS = 6
WITHIN = 1.0


def train_router(data: DataSet, rows: Ints, columns: Sequence[int], seed: int) -> Artifact:
    """Return what nn_router.py would for these rows and models."""
    names, y, groups = (
        [data.names[j] for j in columns],
        data.y[np.ix_(rows, np.array(columns))].astype(np.float32),
        data.groups[rows],
    )
    fitted = fit_stack(data.rows[rows].astype(np.float32), y, groups, LAYOUT, seed)
    calibration = fit_calibration(fitted.out_of_fold, y, groups, seed)
    costs = None if data.costs is None else np.broadcast_to(data.costs, data.y.shape)[np.ix_(rows, np.array(columns))]
    points = fit_operating_points(Prediction(calibration(fitted.out_of_fold)), y, costs, groups, names)
    encoder = {"text_dim": LAYOUT.text_dim, "image_dim": LAYOUT.image_dim}
    return Artifact(
        fitted.network, tuple(names), encoder, calibration=calibration, operating_points=points, prompt_features=FEATURE_NAMES
    )


def accuracy(artifact: Artifact, rows: Floats, y: Floats) -> float:
    """Return the mean label of the chosen models, in points; ``y`` has the artifact's columns."""
    policy = resolve_policy(artifact.model_names, artifact.operating_points, RouterSettings())
    chosen = policy.choose(artifact.predict(rows)).chosen
    return 100 * float(np.nanmean(np.take_along_axis(y, chosen[:, None], axis=1)))


def compare(data: DataSet, labels: int, seed: int) -> dict[str, float]:
    train, test = split_by_group(data.groups, 0.2, seed)
    best = np.sort(np.argsort(-np.nanmean(data.y[train], axis=0))[:MODELS])
    old, new = best[:-1].tolist(), int(best[-1])
    without, scratch = train_router(data, train, old, seed), train_router(data, train, [*old, new], seed)
    part = np.random.default_rng(seed).permutation(train)[:labels]
    inputs, groups = data.rows[part].astype(np.float32), data.groups[part]
    cost = None if data.costs is None else float(np.nanmean(np.broadcast_to(data.costs, data.y.shape)[part, new]))
    extended = add_model(without, data.names[new], inputs, data.y[part, new], groups, cost=cost)
    rows, y = data.rows[test].astype(np.float32), data.y[test]
    return {
        "without": accuracy(without, rows, y[:, old]),
        "added": accuracy(extended, rows, y[:, [*old, new]]),
        "from scratch": accuracy(scratch, rows, y[:, [*old, new]]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A model added with few labels beside one trained with all.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["combined5", "llmrouter14"])
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    found: dict[str, Any] = {}
    for name in arguments.sets:
        data = DataSet.load(arguments.data / name)
        found[name] = [compare(data, arguments.labels, seed) for seed in arguments.seeds]
        rows = [[seed, *values.values()] for seed, values in zip(arguments.seeds, found[name], strict=True)]
        means = np.mean([list(values.values()) for values in found[name]], axis=0)
        print(
            "\n" + tabulate([*rows, ["mean", *means]], headers=[f"{name}: seed", *found[name][0]], floatfmt=".2f"), flush=True
        )
        behind = float(means[2] - means[1])
        print(f"added is {behind:.2f} points behind from scratch (at most {WITHIN} allowed)")
        if arguments.check and behind > WITHIN:
            sys.exit(1)
    if arguments.json:
        write_json(arguments.json, found)


if __name__ == "__main__":
    sys.exit(run(main))
