"""Do 500 outcomes lead a router whose labels were wrong to where one stands that was trained on the truth?

    python benchmarks/feedback.py [--sets combined5] [--outcomes 500] [--rounds 4] [--draws 1] [--seeds 20 …] [--check]

Of each set, 20 % of the groups are for testing, a third of the rest is traffic, the others are trained on. The world of a
``scenario`` is what answers are worth; the router learned of another one:

* ``broke``: the model that is most often right in the recorded labels lost half of its right answers since (an update, another
  quantisation); the labels still praise it.
* ``misjudged``: the labels lost half of its right answers (a judge that does not like its form); nobody would ask it.
* ``right``: the labels are the truth; what is learned from outcomes is luck, and must do no harm.

The traffic goes through the servers' own code: each decision is kept by ``DecisionLog``, its outcome told to ``FeedbackLoop``,
which writes the JSONL; after each of the ``--rounds``, what ``auto-router retrain`` does is done with all of the file, and the
router that comes of it decides the next round if it is better. A share of the decisions explores, as ``explore_share`` does.
Compared in pairs, on the same test rows: the router that was trained on the truth, the wrong one, and what became of it.
``--check`` exits 1 where a scenario ends further below the truth than ``WITHIN``, in the mean of the seeds.

    python benchmarks/feedback.py --refusals 4 [--seeds …]

puts routers of wrong labels (``WRONG``) up against one of the truth, ``--refusals`` times for each seed, where the world is
what training saw, and where every model lost a quarter of its right answers since: then levels that are learned late look like
merit. How many are taken, and how many of those are worse by half a point? With ``--check``, at most 5 % may be.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recorded import DATA, LAYOUT, SETS, DataSet

from auto_router.arrays import Floats, Ints
from auto_router.artifacts import Artifact
from auto_router.data.dataset import Dataset
from auto_router.data.records import Record
from auto_router.data.splits import split_by_group
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.decide.rule import decisions
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.retrain import retrain
from auto_router.route.feedback import encoder_digest, load_feedback
from auto_router.serve.decision_log import make_id
from auto_router.serve.exploration import Explorer
from auto_router.serve.feedback import FeedbackLoop
from auto_router.serve.monitoring import Metrics
from auto_router.train import FitSettings, Fitted, calibrate, fit

SCENARIOS = {"broke": 0.0, "misjudged": 0.3, "right": 0.0}
"""With the share of the decisions that ask another model."""
ENCODER = {"backend": "local", "text_dim": LAYOUT.text_dim, "image_dim": LAYOUT.image_dim}
WITHIN = 1.0  # points below the truth that are allowed
LOST = 0.5


def dataset(data: DataSet, y: Floats, rows: Ints) -> Dataset:
    """Return these rows with labels ``y`` as Stage 3 reads them; costs play no part."""
    records = [Record(row, f"prompt {row}", group=str(data.groups[row])) for row in rows.tolist()]
    features = data.rows[rows].astype(np.float32)
    return Dataset(records, features, y[rows].astype(np.float32), data.groups[rows], None, tuple(data.names), ENCODER)


def choose(artifact: Artifact, rows: Floats) -> Ints:
    policy = resolve_policy(artifact.model_names, artifact.operating_points, RouterSettings())
    return policy.choose(artifact.predict(rows)).chosen


def worth(artifact: Artifact, rows: Floats, y: Floats) -> float:
    """Return the mean outcome of the chosen models, in points."""
    return 100 * float(np.mean(np.take_along_axis(y, choose(artifact, rows)[:, None], axis=1)))


def make_worlds(y: Floats, scenario: str, seed: int) -> tuple[Floats, Floats]:
    """Return what answers are worth, and what the labels say."""
    worse, best = y.copy(), int(np.argmax(y.mean(axis=0)))
    worse[:, best] *= np.random.default_rng(seed).random(len(y)) >= LOST
    return {"broke": (worse, y), "misjudged": (y, worse), "right": (y, y)}[scenario]


class Traffic:
    """Prompts whose decisions and outcomes go through the servers' own log and feedback."""

    def __init__(self, folder: Path, rows: Floats, truth: Floats, explore: float, seed: int) -> None:
        self.file = folder / "feedback.jsonl"
        self._loop = FeedbackLoop(str(self.file), 86_400.0, Metrics(CollectorRegistry()))
        self._rows, self._truth, self._explore, self._rng = rows, truth, explore, np.random.default_rng(seed)
        self._explorer = Explorer(self._loop.decisions, random.Random(seed), refresh_seconds=0.0)
        self.served: list[float] = []

    def serve(self, artifact: Artifact, part: range) -> None:
        """Decide these prompts, and tell the outcome of each."""
        rows = self._rows[part.start : part.stop]
        prediction = artifact.predict(rows)
        policy = resolve_policy(artifact.model_names, artifact.operating_points, RouterSettings())

        def predict(rows: Floats) -> Floats:
            return artifact.predict(rows).probabilities

        made = decisions(policy.choose(prediction), prediction, artifact.model_names, features=rows)
        for place, decision in zip(part, made, strict=True):
            model = decision.model
            if self._rng.random() < self._explore:
                digest, width = encoder_digest(ENCODER), rows.shape[1]
                self._explorer.refresh(artifact.model_names, digest, width, predict, part.start)
                model = self._explorer.choose(decision.ranking[1:])
            outcome, id = float(self._truth[place, artifact.model_names.index(model)]), make_id()
            self._loop.add(id, decision, encoder_digest(ENCODER))
            self._loop.take({"id": id, "outcome": outcome, "model": model})
            self.served.append(outcome)

    def close(self) -> None:
        self._loop.close()


def simulate(data: DataSet, scenario: str, outcomes: int, rounds: int, seed: int, draws: int) -> dict[str, float]:
    """Return what the routers are worth on the test rows, in points; the mean of ``draws`` of the traffic."""
    true, stated = make_worlds(data.y, scenario, seed)
    rest, test = split_by_group(data.groups, 0.2, seed)
    base, traffic = (rest[part] for part in split_by_group(data.groups[rest], 1 / 3, seed))
    x, y = data.rows[test].astype(np.float32), true[test]
    train = dataset(data, stated, base)
    with contextlib.redirect_stdout(io.StringIO()):
        fitted = fit(train, FitSettings("stack", seed))
        before = truth = calibrate(fitted, train, seed)
        if scenario != "right":
            right = dataset(data, true, base)
            truth = calibrate(fit(right, FitSettings("stack", seed)), right, seed)
        ended = []
        for draw in range(draws):
            part = np.random.default_rng(seed + 1000 * draw).permutation(traffic)[:outcomes]
            now, served, replaced = lead(before, train, fitted, data, part, true, scenario, rounds, seed + 1000 * draw)
            ended.append((worth(now, x, y), served, float(replaced)))
    after, served, replaced = np.mean(ended, axis=0).tolist()
    return {
        "trained on the truth": worth(truth, x, y), "wrong labels": worth(before, x, y), "with outcomes": after,
        "best single": 100 * float(y.mean(axis=0).max()), "served meanwhile": served, "replaced": replaced,
    }  # fmt: skip


def lead(
    now: Artifact,
    train: Dataset,
    fitted: Fitted,
    data: DataSet,
    traffic: Ints,
    true: Floats,
    scenario: str,
    rounds: int,
    seed: int,
) -> tuple[Artifact, float, int]:
    """Return the router to which the outcomes of ``traffic`` led, what was served meanwhile, and how often it was replaced."""
    rows, replaced = data.rows[traffic].astype(np.float32), 0
    with tempfile.TemporaryDirectory() as folder:
        simulated = Traffic(Path(folder), rows, true[traffic], SCENARIOS[scenario], seed)
        for turn in range(rounds):
            simulated.serve(now, range(turn * len(rows) // rounds, (turn + 1) * len(rows) // rounds))
            feedback = load_feedback(simulated.file, train.names, ENCODER, rows.shape[1])
            after, compared, _ = retrain(now, train, fitted, feedback, 0.2, seed % 1000)
            now, replaced = (now, replaced) if compared.refusal else (after, replaced + 1)
        simulated.close()
    return now, 100 * float(np.mean(simulated.served)), replaced


def turn(y: Floats, rng: np.random.Generator) -> Floats:
    return np.roll(y, 1, axis=1)


def thin(y: Floats, rng: np.random.Generator) -> Floats:
    best, thinned = int(np.argmax(y.mean(axis=0))), y.copy()
    thinned[:, best] *= rng.random(len(y)) >= LOST
    return thinned


def shuffle(y: Floats, rng: np.random.Generator) -> Floats:
    return rng.permutation(y)


WRONG = {"of another model": turn, "half of the best model's right ones lost": thin, "of another prompt": shuffle}
"""What is wrong with labels."""


def count_refusals(data: DataSet, draws: int, seed: int) -> list[tuple[str, str, float, bool, float]]:
    """Return for each pair what was wrong, the world, the share explored, whether it was taken, and how much better it is."""
    rng, found = np.random.default_rng(seed), []
    rest, test = split_by_group(data.groups, 0.2, seed)
    base, traffic = (rest[part] for part in split_by_group(data.groups[rest], 1 / 3, seed))
    x = data.rows[test].astype(np.float32)
    right = dataset(data, data.y, base)
    with contextlib.redirect_stdout(io.StringIO()):
        served = calibrate(fit(right, FitSettings("stack", seed)), right, seed)
        for wrong, spoil in WRONG.items():
            train = dataset(data, spoil(data.y, rng), base)
            fitted = fit(train, FitSettings("stack", seed))
            for world, kept in (("as trained", 1.0), ("harder", 0.75)):
                for share, _ in itertools.product((0.0, 0.3), range(draws)):
                    y = data.y * (rng.random(data.y.shape) < kept)
                    rows = rng.permutation(traffic)[:500]
                    with tempfile.TemporaryDirectory() as folder:
                        inputs = data.rows[rows].astype(np.float32)
                        simulated = Traffic(Path(folder), inputs, y[rows], share, int(rng.integers(2**31)))
                        simulated.serve(served, range(len(rows)))
                        simulated.close()
                        feedback = load_feedback(simulated.file, train.names, ENCODER, inputs.shape[1])
                    after, compared, _ = retrain(served, train, fitted, feedback, 0.2, seed)
                    better = worth(after, x, y[test]) - worth(served, x, y[test])
                    found.append((wrong, world, share, compared.refusal is None, better))
    return found


def report_refusals(data: DataSet, draws: int, seeds: Sequence[int]) -> float:
    """Print how many routers of wrong labels were taken; return the share of all that were, and are worse by half a point."""
    found = [one for seed in seeds for one in count_refusals(data, draws, seed)]
    table = []
    for case in dict.fromkeys(one[:3] for one in found):
        taken, better = (np.array([one[place] for one in found if one[:3] == case]) for place in (3, 4))
        table.append([*case, len(taken), better.mean(), int(taken.sum()), int((taken & (better < -0.5)).sum())])
    headers = ["labels", "world", "explored", "draws", "points better", "taken", "and worse"]
    print(tabulate(table, headers=headers, floatfmt=".2f"), flush=True)
    return float(sum(row[-1] for row in table) / len(found))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A router of wrong labels, led by outcomes, beside one of the truth.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["combined5"])
    parser.add_argument("--scenarios", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--outcomes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--draws", type=int, default=1, help="of the traffic, for each seed")
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--refusals", type=int, metavar="DRAWS", help="put routers of wrong labels up instead")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    found: dict[str, Any] = {}
    missed = []
    for name in arguments.sets:
        data = DataSet.load(arguments.data / name)
        if arguments.refusals:
            share = report_refusals(data, arguments.refusals, arguments.seeds)
            missed += [f"{name}: {share:.1%} of the routers of wrong labels were taken and are worse"] if share > 0.05 else []
            continue
        for scenario in arguments.scenarios:
            runs = [
                simulate(data, scenario, arguments.outcomes, arguments.rounds, seed, arguments.draws)
                for seed in arguments.seeds
            ]
            found[f"{name} {scenario}"] = runs
            means = {key: float(np.mean([one[key] for one in runs])) for key in runs[0]}
            gaps = np.array([one["trained on the truth"] - one["with outcomes"] for one in runs])
            error = float(gaps.std(ddof=1) / len(gaps) ** 0.5) if len(gaps) > 1 else float("nan")
            table = [[seed, *one.values()] for seed, one in zip(arguments.seeds, runs, strict=True)]
            print("\n" + tabulate([*table, ["mean", *means.values()]], headers=[f"{name}, {scenario}", *means], floatfmt=".2f"))
            print(f"{gaps.mean():+.2f} ± {error:.2f} points below the truth (standard error over seeds)", flush=True)
            if gaps.mean() > WITHIN:
                missed.append(f"{name}, {scenario}: {gaps.mean():.2f} points below, at most {WITHIN} allowed")
    if arguments.json:
        write_json(arguments.json, found)
    if arguments.check and missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    sys.exit(run(main))
