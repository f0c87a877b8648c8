"""``auto-router retrain``: train again with what outcomes say, and replace the router in service only where that is better.

    auto-router retrain --feedback router_feedback.jsonl

1. *Collect*: the outcomes that ``POST /v1/feedback`` or ``ModelRouter.record`` kept, split by prompt: most to learn from, the
   rest held out.
2. *Train*: the default network on the labelled rows, as ``nn_router.py`` does; then each model's level is moved to where the
   outcomes are that were learned from, see :func:`auto_router.route.feedback.fit_levels`.
3. *Compare* with the router in service, on the outcomes held out, which neither saw: how far each predicted outcome is from
   what came, in pairs. Better is what is nearer with 95 % confidence.
4. *Replace* the files of the router together; else leave them as they are, and end with exit code 3 and a line that says why.

A router may not leave what is known: what nobody asked has no outcome, so nothing held out can speak for it. Where the new one
sends prompts to models of which there are hardly any outcomes, the one in service, too, must think more of these there than
came of the models that were asked; else it is refused. ``explore_share`` of a server asks.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from auto_router.artifacts import Artifact, load_artifact
from auto_router.data.capability import find_pool, settle_facts
from auto_router.data.dataset import Dataset, load_dataset
from auto_router.decide.operating_points import clustered_mean
from auto_router.decide.policy import resolve_policy
from auto_router.decide.settings import DEFAULT_PATH, RouterSettings
from auto_router.errors import ConfigError, DataError, needs_extra, run
from auto_router.files import prepare_folder, replace_together
from auto_router.learn.stack import StackNetwork
from auto_router.route.feedback import FEEDBACK_FILE, Feedback, encoder_digest, fit_levels, level_map, load_feedback
from auto_router.terminal import Parser, add_flags, capture_output

with needs_extra("train"):
    from auto_router.assess.baselines import XGBOOST_NAME
    from auto_router.learn.stack_fit import MAX_ROWS
    from auto_router.train import MAX_SEED, FitSettings, Fitted, assess_router, calibrate, fit, write_files

TWO_SIDED_95 = 1.96  # standard errors
MIN_HELD_OUT = 20  # prompts
MIN_OUTCOMES = 20  # of a model, below which nothing is known of it
MAX_UNASKED = 0.05  # of the prompts that may go to such models unseen
REFUSED_CODE = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two routers on the same outcomes."""

    outcomes: int
    prompts: int
    brier_before: float
    """Mean squared distance of the predicted from the real outcome of who was asked; smaller is better."""
    brier_after: float
    gain: float
    """By how much it became smaller: mean of the pairs."""
    interval: tuple[float, float]
    """Of the gain, with 95 % confidence, over prompts."""
    changed: float
    """Share of the prompts that go to another model."""
    unknown: float
    """Share of the prompts that go to another model of which hardly any outcomes are known."""
    unknown_gain: float
    """On these, with 95 % confidence: what both routers expect of those models is more than what came, by at least this."""

    @property
    def refusal(self) -> str | None:
        """Why the new router is not to be served; None where it is better."""
        if not self.interval[0] > 0:
            said = "worse" if self.interval[1] < 0 else "not clearly better"
            return (
                f"it is {said} on the {self.outcomes} outcomes held out: predictions come nearer by {self.gain:+.4f} "
                f"[{self.interval[0]:+.4f}, {self.interval[1]:+.4f}], and must by more than 0"
            )
        if self.unknown > MAX_UNASKED and not self.unknown_gain > 0:
            return (
                f"it sends {self.unknown:.0%} of the prompts to other models of which fewer than {MIN_OUTCOMES} outcomes are "
                "known, and nothing but itself says that these are better; serve with explore_share for a while"
            )
        return None


def learn_levels(train: Dataset, fitted: Fitted, feedback: Feedback, seed: int) -> tuple[Artifact, dict[str, float]]:
    """Return the router of a fit whose levels are moved to the outcomes of ``feedback``, and by how much, in log odds.

    Its operating points are fitted on the same training rows, their labels moved as far as what is predicted of them.
    """
    levels = fit_levels(fitted.network.predict(feedback.features), feedback)
    moved = level_map(levels)
    out_of_fold = moved(fitted.out_of_fold)
    targets = fitted.targets + (out_of_fold - fitted.out_of_fold)
    artifact = calibrate(replace(fitted, out_of_fold=out_of_fold, targets=targets), train, seed)
    return replace(artifact, calibration=moved), dict(zip(train.names, levels.tolist(), strict=True))


def compare_routers(before: Artifact, after: Artifact, held_out: Feedback, known: Mapping[str, int]) -> Comparison:
    """Compare two routers of the same models on outcomes that neither learned from.

    Args:
        before: the router in service.
        after: the new one.
        held_out: the outcomes.
        known: how many outcomes there are of each model in all; the order is that of the columns of ``held_out``.
    """
    asked, y, names = held_out.columns, held_out.outcomes, list(known)
    groups, rows = np.unique(held_out.groups, return_inverse=True)[1], np.arange(len(y))
    tables, chosen = [], []
    for artifact in (before, after):
        prediction, own = artifact.predict(held_out.features), list(artifact.model_names)
        tables.append(prediction.probabilities[:, [own.index(name) for name in names]].astype(np.float64))
        policy = resolve_policy(artifact.model_names, artifact.operating_points, RouterSettings())
        chosen.append(np.array([names.index(own[place]) for place in policy.choose(prediction).chosen.tolist()]))
    distances = [np.square(table[rows, asked] - y) for table in tables]
    gain, error = clustered_mean(distances[0] - distances[1], groups)
    is_unknown = np.array([known[name] < MIN_OUTCOMES for name in names])
    moved = is_unknown[chosen[1]] & (chosen[1] != asked) & (chosen[1] != chosen[0])
    expected = np.minimum(*(table[rows, chosen[1]] for table in tables))
    more, spread = clustered_mean((expected - y)[moved], groups[moved])
    return Comparison(
        len(y), len(np.unique(groups)), float(distances[0].mean()), float(distances[1].mean()), gain,
        (gain - TWO_SIDED_95 * error, gain + TWO_SIDED_95 * error), float(np.mean(chosen[0] != chosen[1])),
        float(moved.mean()), more - TWO_SIDED_95 * spread if moved.any() else 0.0,
    )  # fmt: skip


def split_feedback(feedback: Feedback, fraction: float, seed: int) -> tuple[Feedback, Feedback]:
    """Return what is learned from and what is held out, split by prompt; one that is held out stays so when outcomes are added.

    Raises:
        DataError: there are too few.
    """
    digests = [hashlib.blake2b(f"{seed} {group}".encode(), digest_size=8).digest() for group in feedback.groups]
    held = np.array([int.from_bytes(digest, "little") / 2**64 < fraction for digest in digests], dtype=bool)
    counts = [len({group for group, mine in zip(feedback.groups, held, strict=True) if mine == side}) for side in (False, True)]
    if min(counts) < MIN_HELD_OUT:
        raise DataError(
            f"outcomes of {counts[0]} prompts to learn from and {counts[1]} to compare on are too few: {MIN_HELD_OUT} each are "
            "needed; collect more, or change --held-out"
        )
    return feedback.take(np.flatnonzero(~held)), feedback.take(np.flatnonzero(held))


def retrain(
    before: Artifact, train: Dataset, fitted: Fitted, feedback: Feedback, fraction: float, seed: int
) -> tuple[Artifact, Comparison, dict[str, float]]:
    """Return a router that learned from a part of the feedback, how it compares on the rest, and its levels.

    The columns of ``feedback`` are the models of ``train``, of which ``fitted`` is the fit.
    """
    learn, held_out = split_feedback(feedback, fraction, seed)
    names = train.names
    known = dict(zip(names, np.bincount(feedback.columns, minlength=len(names)).tolist(), strict=True))
    after, levels = learn_levels(train, fitted, learn, seed)
    counted = ", ".join(f"{name} {known[name]}" for name in names)
    after = replace(after, training=replace(after.training, edits=[f"levels learned from outcomes: {counted}"]))
    return after, compare_routers(before, after, held_out, known), levels


EXAMPLES = """examples:
  auto-router retrain --feedback router_feedback.jsonl
  auto-router retrain --feedback router_feedback.jsonl --dry-run --json
  auto-router retrain --feedback router_feedback.jsonl --train-embeddings e.npy --train-json labels.json \\
      --test-embeddings t.npy --test-json test.json --router router_artifacts/nn_router.pth

exit code: 0 replaced (or better, with --dry-run), 2 a mistake, 3 not better: the router in service stays"""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="auto-router retrain", epilog=EXAMPLES,
        description="Train again with what outcomes say; replace the router only where that is better on outcomes held out.",
    )  # fmt: skip
    parser.add_argument("--feedback", type=Path, default=Path(FEEDBACK_FILE), help="outcomes (default: %(default)s)")
    parser.add_argument(
        "--router", type=Path, default=Path(DEFAULT_PATH), help="in service, and replaced (default: %(default)s)"
    )
    parser.add_argument("--train-embeddings", type=Path, default=Path("hf_train_embeddings.npy"), help="(default: %(default)s)")
    parser.add_argument("--test-embeddings", type=Path, default=Path("hf_test_embeddings.npy"), help="(default: %(default)s)")
    parser.add_argument("--train-json", type=Path, default=Path("hf_evaluations_train.json"), help="(default: %(default)s)")
    parser.add_argument("--test-json", type=Path, default=Path("hf_evaluations_test.json"), help="(default: %(default)s)")
    parser.add_argument("--pool", type=Path, help="prices and limits of the models (default: ./pool.yaml, if there)")
    parser.add_argument(
        "--held-out", type=float, default=0.3, metavar="SHARE", help="of the prompts, to compare on (default 0.3)"
    )
    parser.add_argument("--dry-run", action="store_true", help="compare and say what would be done; replace nothing")
    parser.add_argument("--seed", type=int, default=0)
    add_flags(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Retrain, compare and replace.

    Raises:
        ConfigError, DataError, ArtifactError: a flag or a file is wrong, or there are too few outcomes.
        SystemExit: with code 3: the new router is not better, and nothing was replaced.
    """
    arguments = parse_arguments(argv)
    with capture_output(arguments) as result:
        result |= _retrain_and_replace(arguments)
    if result["refused"] is not None:
        print(f"refused: {result['refused']}", file=sys.stderr)
        sys.exit(REFUSED_CODE)


def _retrain_and_replace(arguments: argparse.Namespace) -> dict[str, Any]:
    if not 0.0 < arguments.held_out < 1.0 or not 0 <= arguments.seed <= MAX_SEED:
        raise ConfigError(
            f"--held-out must be between 0 and 1 and --seed from 0 to {MAX_SEED}, got {arguments.held_out} and {arguments.seed}"
        )
    path: Path = arguments.router
    before = load_artifact(path)
    if path.name != "nn_router.pth":
        raise ConfigError(f"--router must be a file nn_router.pth, which other files lie beside, got {path}")
    if not isinstance(before.network, StackNetwork):
        raise ConfigError(f"{path} has another head than the default one; train it again with nn_router.py")
    train, test = _load_labels(arguments, before)
    feedback = load_feedback(arguments.feedback, train.names, train.encoder, train.features.shape[1])
    fitted = fit(train, FitSettings("stack", arguments.seed))
    after, compared, levels = retrain(before, train, fitted, feedback, arguments.held_out, arguments.seed)
    after, held_out = assess_router(after, train, test, {}, {}, {})
    print(_report(before, after, compared, levels))
    replaced = compared.refusal is None and not arguments.dry_run
    if replaced:
        prepare_folder(path.parent)
        with replace_together(path.parent, [XGBOOST_NAME]) as staging:
            write_files(staging, after, train.records, held_out, test)
    print(f"{path.resolve()} {'was replaced' if replaced else 'stays as it is'}")
    summary = asdict(compared) | {"interval": list(compared.interval)}
    return {
        "compared": summary,
        "levels": levels,
        "refused": compared.refusal,
        "replaced": replaced,
        "router": str(path.resolve()),
    }


def _load_labels(arguments: argparse.Namespace, before: Artifact) -> tuple[Dataset, Dataset]:
    """Return the labelled rows of training and test, of the models and the encoder of the router in service."""
    missing = [
        str(file)
        for file in (arguments.train_embeddings, arguments.test_embeddings, arguments.train_json, arguments.test_json)
        if not file.exists()
    ]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not there: give the files that the router was trained on, see --help")
    pool, _ = find_pool(arguments.pool)
    train = load_dataset(
        arguments.train_embeddings, "train", arguments.train_json, None, pool.facts, True, MAX_ROWS, arguments.seed
    )
    test = load_dataset(arguments.test_embeddings, "test", arguments.test_json, train.names, pool.facts, True)
    if set(train.names) != set(before.model_names):
        raise ConfigError(
            f"the labels are of {', '.join(train.names)}, the router is of {', '.join(before.model_names)}; "
            "models come and go with nn_router.py, or auto-router edit"
        )
    if encoder_digest(train.encoder) != encoder_digest(before.encoder):
        raise DataError(f"{arguments.train_embeddings} were made by another encoder than the router's; make them with the same")
    facts, lines = settle_facts([train, test], pool)
    for line in lines:
        print(f"note: {line}")
    return replace(train, facts=facts), replace(test, facts=facts)


def _report(before: Artifact, after: Artifact, compared: Comparison, levels: Mapping[str, float]) -> str:
    """Return the two routers side by side, for people."""
    means = [artifact.training.reference.get("probability", {}) for artifact in (before, after)]
    rows = [[name, *(_number(mean.get(name)) for mean in means), f"{level:+.2f}"] for name, level in levels.items()]
    tables = [
        tabulate(rows, headers=["mean P(correct)", "in service", "retrained", "moved (log odds)"], disable_numparse=True),
        tabulate(
            [
                ["mean squared distance of predictions", f"{compared.brier_before:.4f}", f"{compared.brier_after:.4f}"],
                ["prompts that go to other models hardly known", "", f"{compared.unknown:.1%}"],
            ],
            headers=[f"{compared.outcomes} outcomes held out", "in service", "retrained"], disable_numparse=True,
        ),
    ]  # fmt: skip
    low, high = compared.interval
    pairs = (
        f"nearer by {compared.gain:+.4f} [{low:+.4f}, {high:+.4f}] in pairs; {compared.changed:.1%} of the prompts change model"
    )
    return "\n\n".join(["", *tables, pairs])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(run(main))
