"""Stage 3 as five calls: load, :func:`fit`, :func:`calibrate`, assess, :func:`save`.

What a network is judged, calibrated and priced on are *out-of-fold* predictions: each of a training row that its fit did not
see, nor any row of the same group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from tabulate import tabulate

from auto_router.arrays import Array, Ints
from auto_router.artifacts import Artifact, Network, TrainingSummary, save_artifact
from auto_router.assess.assessment import assess
from auto_router.assess.baselines import XGBOOST_NAME, predict_baselines, write_xgboost
from auto_router.assess.model_card import CARD_NAME, model_card
from auto_router.assess.report import REPORT_NAME, report_page, write_report
from auto_router.assess.tables import fitted_points_table
from auto_router.assess.test_set import TestSet
from auto_router.data.dataset import Dataset
from auto_router.data.model_means import best_single_model
from auto_router.data.prompt_features import FEATURE_NAMES
from auto_router.data.splits import split_by_group
from auto_router.decide.eligibility import eligible_rows, outcomes_of
from auto_router.decide.operating_points import fit_operating_points
from auto_router.decide.policy import Policies, RouterSettings
from auto_router.errors import ConfigError
from auto_router.files import atomic_path, write_json
from auto_router.learn.calibration import fit_calibration
from auto_router.learn.cost_model import explained_variance, fit_costs
from auto_router.learn.memmap import Subset
from auto_router.learn.mlp import TrainConfig, cost_aware, scale_costs, train_network, usable_device
from auto_router.learn.novelty import fit_novelty
from auto_router.learn.search import Trial, random_search, trials_table
from auto_router.learn.stack import FeatureLayout
from auto_router.learn.stack_fit import fit_stack

HEADS = ("stack", "mlp")


@dataclass(frozen=True)
class FitSettings:
    """How Stage 3 learns.

    Raises:
        ConfigError: a value is impossible, or does nothing for this head.
    """

    head: str = "stack"
    seed: int = 0
    config: TrainConfig = field(default_factory=TrainConfig)
    """Of the sigmoid network."""
    tune: bool = False
    """Search ``param_grid`` for better settings than ``config``."""
    param_grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    trials: int = 20
    jobs: int | None = None
    """Processes that search; None: one a core, one on a GPU."""
    journal: Path = Path("search.jsonl")
    cost_weight: float = 0.0
    validation_fraction: float = 0.15
    device: str | None = None
    engine: str = "local"
    ray_address: str | None = None
    ray_workers: int | None = None

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ConfigError(f"head {self.head!r} is unknown; known are {', '.join(HEADS)}")
        if self.head != "mlp" and (self.tune or self.cost_weight):
            raise ConfigError("--tune (TUNE_HYPERPARAMETERS) and --cost-weight are for the network: add --head mlp")
        jobs = 1 if self.jobs is None else self.jobs
        if min(self.trials, jobs) < 1 or not 0.0 < self.validation_fraction < 1.0:
            raise ConfigError(
                "--trials and --jobs must be at least 1 and --validation-fraction between 0 and 1, got "
                f"{self.trials}, {jobs} and {self.validation_fraction}"
            )
        if not 0.0 <= self.cost_weight < float("inf"):
            raise ConfigError(f"--cost-weight must be a number from 0, got {self.cost_weight}")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A network, its settings, its predictions of training rows that it was not fitted on, and the trials of a search."""

    network: Network
    config: Mapping[str, Any]
    rows: Ints
    """Numbers of the training rows that ``out_of_fold`` and ``targets`` are of."""
    out_of_fold: Array
    """``[len(rows), M]``: what calibration and operating points are fitted on."""
    targets: Array
    """``[len(rows), M]``: what was learned of them."""
    trials: Sequence[Trial] = ()


def fit(data: Dataset, settings: FitSettings) -> Fitted:
    """Fit the head that ``settings`` name, and say so."""
    width = data.features.shape[1]
    print(f"training {settings.head} on {len(data)} records, {width} features, {len(data.names)} models, seed {settings.seed}")
    return _fit_mlp(data, settings) if settings.head == "mlp" else _fit_stack(data, settings.seed)


def _fit_stack(data: Dataset, seed: int) -> Fitted:
    """Fit the default network on all training rows."""
    layout = FeatureLayout(data.encoder["text_dim"], data.encoder["image_dim"], data.prompt_dim)
    fitted = fit_stack(data.features, data.labels, data.groups, layout, seed)
    print(tabulate(fitted.heads, headers="keys"))
    return Fitted(fitted.network, {"heads": fitted.heads}, fitted.rows, fitted.out_of_fold, data.labels[fitted.rows])


def _fit_mlp(data: Dataset, settings: FitSettings) -> Fitted:
    """Train the mission's network on the larger side of a group split; stop and choose on the smaller."""
    targets = data.labels
    if settings.cost_weight:
        targets = cost_aware(targets, scale_costs(data.costs, data.names, len(data)), settings.cost_weight)
    device, config, seed = str(usable_device(settings.device)), settings.config, settings.seed
    rows, held_out = split_by_group(data.groups, settings.validation_fraction, seed)
    train, validation = ((Subset(data.features, side), targets[side]) for side in (rows, held_out))
    trials: Sequence[Trial] = ()
    if settings.tune:
        jobs = settings.jobs or settings.ray_workers or (joblib.cpu_count() if device == "cpu" else 1)
        trials, trained = random_search(
            train, validation, config, settings.param_grid, settings.trials, seed, settings.journal, device, jobs,
            settings.engine, settings.ray_address,
        )  # fmt: skip
        print(trials_table(trials))
        config = trials[0].config
    else:
        trained = train_network(train, validation, config, seed, device)
    print(f"settings: {asdict(config)}")
    print(f"best epoch {trained.best_epoch + 1} of {len(trained.history)}, validation loss {trained.best_loss:.4f}")
    plain = asdict(config) | {"hidden_dims": list(config.hidden_dims), "cost_weight": settings.cost_weight}
    return Fitted(trained.network, plain, held_out, trained.network.predict(validation[0]), targets[held_out], trials)


def calibrate(fitted: Fitted, data: Dataset, seed: int, store_prompts: bool = False) -> Artifact:
    """Return the router: the network with calibration, expected costs, operating points and novelty fitted; print them.

    ``store_prompts`` keeps some training prompts in it, in clear.
    """
    names, facts = data.names, {name: data.facts[name] for name in data.names if name in data.facts}
    used = data if len(fitted.rows) == len(data) else data.take(fitted.rows)
    calibration = fit_calibration(fitted.out_of_fold, fitted.targets, used.groups, seed)
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in calibration.log_loss.items())
    print(f"calibration: {calibration.method} (cross-validated log loss: {losses})")
    probabilities, eligible = calibration(fitted.out_of_fold), eligible_rows(used)
    idx, prompts = [record.idx for record in data.records], data.prompts if store_prompts else []
    novelty, distances = fit_novelty(data.embeddings, data.labels, data.groups, idx, prompts, seed)
    costs = None if used.costs is None else fit_costs(used.features, used.costs, used.groups)
    cost_model, expected = (None, None) if costs is None else costs
    points = fit_operating_points(
        probabilities, outcomes_of(fitted.targets, eligible), used.costs, used.groups, names, eligible, expected,
        distances[fitted.rows] > 1,
    )  # fmt: skip
    if used.costs is not None and expected is not None:
        share = explained_variance(used.costs, expected)
        print(f"expected costs by prompt: {share:.0%} of their variance within models, out of fold")
    print(f"\nOperating points, fitted on training rows out of fold:\n{fitted_points_table(points)}")
    if "balanced" not in points:
        print("quality, balanced and economy need the cost of every model: recorded model_costs, or prices with --pool")
    reference = {
        "probability": dict(zip(names, probabilities.mean(axis=0).tolist(), strict=True)),
        "spread": dict(zip(names, probabilities.std(axis=0).tolist(), strict=True)),
        "unfamiliar": novelty.rate,
        "groups": len(np.unique(used.groups)),
    }
    training = TrainingSummary(
        seed, fitted.config, "" if data.file is None else data.file.sha256, reference=reference,
        search=[trial.to_plain() for trial in fitted.trials],
    )  # fmt: skip
    return Artifact(
        fitted.network, names, data.encoder, facts, calibration, points, training, FEATURE_NAMES if data.prompt_dim else (),
        novelty, cost_model,
    )  # fmt: skip


def assess_router(
    artifact: Artifact,
    train: Dataset,
    test: Dataset,
    model_thresholds: Mapping[str, float],
    model_costs: Mapping[str, float],
    baselines: Mapping[str, Array],
) -> tuple[Artifact, TestSet]:
    """Return the router with its metrics on the test rows, and those rows as it decides them.

    ``baselines``: ``{name: [N, M]}`` what other methods predict of the test rows.
    """
    settings = RouterSettings(model_thresholds=model_thresholds, model_costs=model_costs)
    policies = Policies(artifact.model_names, artifact.operating_points, settings)
    held_out = TestSet.of(test, artifact.predict(test.features), policies.at(None))
    chosen = {
        name: policies.at(name).choose(held_out.prediction, held_out.eligible).chosen for name in artifact.operating_points
    }
    best = best_single_model(outcomes_of(train.labels, eligible_rows(train)))
    metrics = assess(held_out, best, artifact.training.seed, chosen, baselines)
    summary = replace(
        artifact.training,
        policy={"model_thresholds": dict(model_thresholds), "model_costs": dict(model_costs)},
        test_sha256="" if test.file is None else test.file.sha256,
        metrics=metrics,
    )
    return replace(artifact, training=summary), held_out


def fit_baselines(
    names: Sequence[str], train: Dataset, test: Dataset, folder: Path, xgboost: bool, seed: int
) -> dict[str, Array]:
    """Return what the named baselines predict of the test rows; with ``xgboost``, write its companion to ``folder``, too."""
    found = predict_baselines(names, train, test, seed)
    if xgboost:
        path = folder / XGBOOST_NAME
        found["XGBoost"] = write_xgboost(path, train.names, train.embeddings, train.labels, seed)(test.embeddings)
    return found


def save(folder: Path, artifact: Artifact, train: Sequence[Any], held_out: TestSet, test: Dataset) -> None:
    """Write everything that Stage 3 leaves, and say so; what routing needs comes first.

    Args:
        folder: where to.
        artifact: with its metrics.
        train: the training records.
        held_out: the test rows as the router decides them.
        test: the data set that they are of.
    """
    save_artifact(folder / "nn_router.pth", artifact)
    companions = {"model_names": list(artifact.model_names), "best_hyperparameters": dict(artifact.training.config)}
    for name, value in companions.items():
        with atomic_path(folder / f"{name}.joblib") as temporary:
            joblib.dump(value, temporary)
    write_json(folder / "metrics.json", artifact.training.metrics)
    write_report(folder / REPORT_NAME, report_page(artifact, train, held_out, test))
    with atomic_path(folder / CARD_NAME) as temporary:
        temporary.write_text(model_card(artifact), encoding="utf-8", errors="backslashreplace")
    print(f"\nwrote nn_router.pth, metrics.json, {CARD_NAME} and the .joblib companions to {folder.resolve()}")
    print(f"look at it: {(folder / REPORT_NAME).resolve()}")
