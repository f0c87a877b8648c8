"""``auto-router retrain``: train again with what outcomes say, and replace the router in service only where that is better.

    auto-router retrain --feedback router_feedback.jsonl

1. *Collect*: the outcomes that ``POST /v1/feedback`` or ``ModelRouter.record`` kept.
2. *Train*: the default network on the labelled rows, as ``nn_router.py`` does; then each model's level is moved to where the
   outcomes are, see :mod:`auto_router.route.feedback`.
3. *Compare* with the router in service, in pairs: how likely each predicts the outcomes that came. Prompts are held out in
   turn, so that each outcome is predicted by levels that did not learn from it. Better is what predicts better with 95 %
   confidence; once a router has learned levels, what predicts better in the mean. Besides, the network must not lag behind
   that of the router in service once the levels of both are moved: else one of wrong labels would pass for better, only since
   it was told of late how often answers are right now.
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

from auto_router.arrays import Floats, Ints
from auto_router.artifacts import Artifact, load_artifact
from auto_router.data.capability import find_pool, settle_facts
from auto_router.data.dataset import Dataset, load_dataset
from auto_router.data.splits import check_seed
from auto_router.decide.operating_points import clustered_mean
from auto_router.decide.policy import DEFAULT_PATH, RouterSettings, resolve_policy
from auto_router.errors import ConfigError, DataError, needs_extra, run
from auto_router.files import prepare_folder, replace_together
from auto_router.learn.calibration import Calibration, log_losses
from auto_router.learn.stack import StackNetwork
from auto_router.route.feedback import FEEDBACK_FILE, Feedback, encoder_digest, fit_levels, level_shifts, load_feedback
from auto_router.terminal import Parser, add_flags, capture_output

with needs_extra("train"):
    from auto_router.assess.baselines import XGBOOST_NAME
    from auto_router.learn.stack_fit import MAX_ROWS
    from auto_router.train import FitSettings, Fitted, assess_router, calibrate, fit, write_files

TWO_SIDED_95, ONE_SIDED_95 = 1.96, 1.645  # standard errors
MIN_PROMPTS = 40  # with an outcome
MAX_BEHIND = 0.005  # log loss by which a network may lag behind the one in service, with the levels of both moved
MIN_OUTCOMES = 20  # of a model, below which nothing is known of it
MAX_UNASKED = 0.05  # of the prompts that may go to such models unseen
REFUSED_CODE = 3
LEARNED = "levels learned from outcomes"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two routers on the same outcomes."""

    outcomes: int
    prompts: int
    loss_before: float
    """Mean log loss of the predicted outcomes of who was asked; smaller is better."""
    loss_after: float
    gain: float
    """By how much it became smaller: mean of the pairs."""
    interval: tuple[float, float]
    """Of the gain: above its lower end with 95 % confidence, and below its upper one, over prompts."""
    behind: tuple[float, float]
    """Of the loss after, less that of the network in service with its levels moved anew, too; with 95 % confidence."""
    changed: float
    """Share of the prompts that go to another model."""
    unknown: float
    """Share of the prompts that go to another model of which hardly any outcomes are known."""
    unknown_gain: float
    """On these, with 95 % confidence: what both routers expect of those models is more than what came, by at least this."""
    is_update: bool
    """Whether outcomes moved the levels of the router in service before."""

    @property
    def refusal(self) -> str | None:
        """Why the new router is not to be served; None where it is better."""
        if self.behind[1] > MAX_BEHIND:
            return (
                f"it {'is' if self.behind[0] > 0 else 'may be'} worse on the {self.outcomes} outcomes: with the levels of both "
                f"routers moved to them, its log loss is {self.behind[0]:+.4f} to {self.behind[1]:+.4f} more; see to the labels"
            )
        # What outcomes led to once, more of them may go on with: then the likelier one is taken.
        if not (self.gain if self.is_update else self.interval[0]) > 0:
            said = "worse" if self.interval[1] < 0 else "not clearly better"
            return (
                f"it is {said} on the {self.outcomes} outcomes: its log loss is smaller by {self.gain:+.4f} "
                f"[{self.interval[0]:+.4f}, {self.interval[1]:+.4f}], and must be by more than 0"
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
    moved = fit_levels(fitted.network.predict(feedback.features), feedback)
    out_of_fold = moved(fitted.out_of_fold)
    targets = fitted.targets + (out_of_fold - fitted.out_of_fold)
    artifact = calibrate(replace(fitted, out_of_fold=out_of_fold, targets=targets), train, seed)
    shifts = level_shifts(moved, fitted.out_of_fold)
    return replace(artifact, calibration=moved), dict(zip(train.names, shifts.tolist(), strict=True))


def predict_held_out(probabilities: Floats, feedback: Feedback, fold: Ints) -> Floats:
    """Return ``[N, M]``: probabilities whose levels are moved to the outcomes of all other folds."""
    found = np.empty(probabilities.shape)
    for number in np.unique(fold):
        inside, outside = np.flatnonzero(fold != number), fold == number
        found[outside] = fit_levels(probabilities[inside], feedback.take(inside))(probabilities[outside])
    return found


def compare_routers(before: Artifact, after: Artifact, feedback: Feedback, fold: Ints, names: Sequence[str]) -> Comparison:
    """Compare two routers of the same models on outcomes.

    Args:
        before: the router in service.
        after: the new one, whose levels all of the outcomes moved.
        feedback: the outcomes.
        fold: ``[N]``, see :func:`fold_feedback`.
        names: of the columns of ``feedback``.
    """
    asked, y = feedback.columns, feedback.outcomes
    groups, rows = np.unique(feedback.groups, return_inverse=True)[1], np.arange(len(y))
    served, fitted, chosen = [], [], []
    for artifact in (before, after):
        prediction, own = artifact.predict(feedback.features), list(artifact.model_names)
        unmoved = replace(artifact, calibration=Calibration()).predict(feedback.features)
        columns = [own.index(name) for name in names]
        served.append(prediction.probabilities[:, columns].astype(np.float64))
        fitted.append(unmoved.probabilities[:, columns].astype(np.float64))
        policy = resolve_policy(artifact.model_names, artifact.operating_points, RouterSettings())
        chosen.append(np.array([names.index(own[place]) for place in policy.choose(prediction).chosen.tolist()]))
    # Of the one in service, too, what the network said: its levels may have been learned from these very outcomes.
    tables = [served[0], predict_held_out(fitted[1], feedback, fold), predict_held_out(fitted[0], feedback, fold)]
    losses = [log_losses(table[rows, asked], y) for table in tables]
    gain, error = clustered_mean(losses[0] - losses[1], groups)
    behind, doubt = clustered_mean(losses[1] - losses[2], groups)
    is_unknown = np.bincount(asked, minlength=len(names)) < MIN_OUTCOMES
    moved = is_unknown[chosen[1]] & (chosen[1] != asked) & (chosen[1] != chosen[0])
    expected = np.minimum(*(table[rows, chosen[1]] for table in served))
    more, spread = clustered_mean((expected - y)[moved], groups[moved])
    return Comparison(
        len(y), len(np.unique(groups)), float(losses[0].mean()), float(losses[1].mean()), gain,
        (gain - ONE_SIDED_95 * error, gain + ONE_SIDED_95 * error),
        (behind - TWO_SIDED_95 * doubt, behind + TWO_SIDED_95 * doubt), float(np.mean(chosen[0] != chosen[1])),
        float(moved.mean()), more - TWO_SIDED_95 * spread if moved.any() else 0.0,
        any(edit.startswith(LEARNED) for edit in before.training.edits),
    )  # fmt: skip


def fold_feedback(feedback: Feedback, share: float, seed: int) -> Ints:
    """Return ``[N]``: in which turn each row is held out, by prompt; about ``share`` of them at a time.

    Raises:
        DataError: there are too few prompts.
    """
    prompts, folds = len(set(feedback.groups)), max(2, round(1 / share))
    if prompts < MIN_PROMPTS:
        raise DataError(f"outcomes of {prompts} prompts are too few to learn from and to compare on: collect {MIN_PROMPTS}")
    digests = [hashlib.blake2b(f"{seed} {group}".encode(), digest_size=8).digest() for group in feedback.groups]
    return np.array([int.from_bytes(digest, "little") % folds for digest in digests], dtype=np.int64)


def retrain(
    before: Artifact, train: Dataset, fitted: Fitted, feedback: Feedback, share: float, seed: int
) -> tuple[Artifact, Comparison, dict[str, float]]:
    """Return a router that learned from the feedback, how it compares where that is held out, and how far its levels moved.

    The columns of ``feedback`` are the models of ``train``, of which ``fitted`` is the fit; ``share`` of the prompts are held
    out at a time.
    """
    fold, names = fold_feedback(feedback, share, seed), list(train.names)
    after, levels = learn_levels(train, fitted, feedback, seed)
    known = np.bincount(feedback.columns, minlength=len(names)).tolist()
    counted = ", ".join(f"{name} {count}" for name, count in zip(names, known, strict=True))
    after = replace(after, training=replace(after.training, edits=[f"{LEARNED}: {counted}"]))
    return after, compare_routers(before, after, feedback, fold, names), levels


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
        "--held-out", type=float, default=0.2, metavar="SHARE", help="of the prompts, held out at a time (default 0.2)"
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
    check_seed(arguments.seed)
    if not 0.01 <= arguments.held_out <= 0.5:
        raise ConfigError(f"--held-out must be between 0.01 and 0.5, got {arguments.held_out}")
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
    summary = asdict(compared) | {"interval": list(compared.interval), "behind": list(compared.behind)}
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
                ["log loss of predictions", f"{compared.loss_before:.4f}", f"{compared.loss_after:.4f}"],
                ["prompts that go to other models hardly known", "", f"{compared.unknown:.1%}"],
            ],
            headers=[f"{compared.outcomes} outcomes", "in service", "retrained"], disable_numparse=True,
        ),
    ]  # fmt: skip
    low, high = compared.interval
    changed = f"{compared.changed:.1%} of the prompts change model"
    pairs = f"smaller by {compared.gain:+.4f} [{low:+.4f}, {high:+.4f}] in pairs; {changed}"
    return "\n\n".join(["", *tables, pairs])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(run(main))
