"""Stage 3 as five calls: load, :func:`fit`, :func:`calibrate`, :func:`assess_router`, :func:`write_files`.

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
from auto_router.assess.health import rows_in_training
from auto_router.assess.metrics import model_metrics, take_chosen
from auto_router.assess.model_card import CARD_NAME, model_card
from auto_router.assess.report import REPORT_NAME, report_page, write_report
from auto_router.assess.test_set import TestSet
from auto_router.data.dataset import Dataset, Prediction, draw_rows
from auto_router.data.label_stats import best_single_model, check_label_counts, mean_of, summarize_labels
from auto_router.data.prompt_features import FEATURE_NAMES
from auto_router.data.records import Record
from auto_router.data.splits import check_seed, group_folds, split_by_group
from auto_router.decide.eligibility import eligible_rows, outcomes_of
from auto_router.decide.operating_points import MIN_LATENCIES, fit_operating_points, usual_latencies
from auto_router.decide.policy import Policies, RouterSettings
from auto_router.decide.rule import choose
from auto_router.errors import ConfigError, DataError
from auto_router.files import write_json
from auto_router.learn.calibration import Calibration, fit_calibration
from auto_router.learn.cost_model import explained_variance, fit_costs
from auto_router.learn.memmap import Subset
from auto_router.learn.mlp import Side, TrainConfig, cost_aware, scale_costs, train_network, usable_device
from auto_router.learn.novelty import fit_novelty
from auto_router.learn.search import Trial, check_grid, random_search, trials_table
from auto_router.learn.stack import FeatureLayout, StackNetwork
from auto_router.learn.stack_fit import MAX_ROWS, fit_stack
from auto_router.terminal import bar

HEADS = ("auto", "stack", "mlp")
NETWORK_FOLDS = 4


@dataclass(frozen=True)
class FitSettings:
    """How Stage 3 learns.

    Raises:
        ConfigError: a value is impossible, or does nothing for this head.
    """

    head: str = "auto"
    """``stack``: kernels and trees; ``mlp``: the sigmoid network; ``auto``: the stack, and where settings of the network are
    the user's own, the better of both."""
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
        if self.head != "mlp" and self.cost_weight:
            raise ConfigError("--cost-weight is for the network: add --head mlp")
        jobs = 1 if self.jobs is None else self.jobs
        if min(self.trials, jobs) < 1 or not 0.0 < self.validation_fraction < 1.0:
            raise ConfigError(
                "--trials and --jobs must be at least 1 and --validation-fraction between 0 and 1, got "
                f"{self.trials}, {jobs} and {self.validation_fraction}"
            )
        if not 0.0 <= self.cost_weight < float("inf"):
            raise ConfigError(f"--cost-weight must be a number from 0, got {self.cost_weight}")
        check_seed(self.seed)
        check_grid(self.config, self.param_grid)

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads to fit. A network whose settings are the user's own is trained, whichever head is served."""
        is_own = self.tune or self.config != TrainConfig()
        return ("mlp",) if self.head == "mlp" else ("stack", "mlp") if is_own else ("stack",)


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
    compared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Each head's measures out of fold and its settings; empty where one was fitted."""


def fit(data: Dataset, settings: FitSettings) -> Fitted:
    """Fit the head that ``settings`` name, or the better one out of fold, and say so.

    Raises:
        DataError: a model has too few labels, or the rows too few groups.
    """
    for warning in check_label_counts(data.labels, data.names):
        print(f"warning: {warning}")
    fitted = {}
    for head in settings.heads:
        inputs = data if head == "stack" else data.without_prompt_features()
        shape = f"{len(data)} records, {inputs.features.shape[1]} features, {len(data.names)} models"
        print(f"training {head} on {shape}, seed {settings.seed}")
        fitted[head] = _fit_mlp(inputs, settings) if head == "mlp" else _fit_stack(inputs, settings.seed)
    if len(fitted) == 1:
        return next(iter(fitted.values()))
    compared = {head: _measure_head(one, data) | {"config": dict(one.config)} for head, one in fitted.items()}
    # The first of equal ones: the stack, which measured best elsewhere.
    served = settings.head if settings.head in fitted else max(compared, key=lambda head: compared[head]["accuracy"])
    print(tabulate([[head, *list(found.values())[:-1]] for head, found in compared.items()], floatfmt=".4f",
                   headers=["out of fold", "accuracy of the highest P", "mean AUC", "mean Brier score"]))  # fmt: skip
    print(f"served: {served}{', as HEAD says' if settings.head in fitted else ', the higher accuracy'}")
    return replace(fitted[served], compared=compared, trials=fitted["mlp"].trials)


def _measure_head(fitted: Fitted, data: Dataset) -> dict[str, Any]:
    """Return what a head's out-of-fold predictions are worth on the rows that it was fitted on."""
    used = data if len(fitted.rows) == len(data) else data.take(fitted.rows)
    eligible = eligible_rows(used)
    outcomes, measured = outcomes_of(used.labels, eligible), model_metrics(fitted.out_of_fold, used.labels)
    chosen = choose(fitted.out_of_fold, eligible=eligible).chosen
    return {
        "accuracy": mean_of(take_chosen(outcomes, chosen)),
        "auc": mean_of(np.array([np.nan if m.auc is None else m.auc for m in measured])),
        "brier": mean_of(np.array([np.nan if m.brier is None else m.brier for m in measured])),
    }


def _fit_stack(data: Dataset, seed: int) -> Fitted:
    """Fit the default network on all training rows."""
    layout = FeatureLayout(data.encoder["text_dim"], data.encoder["image_dim"], data.prompt_dim)
    fitted = fit_stack(data.features, data.labels, data.groups, layout, seed)
    return Fitted(fitted.network, {"heads": fitted.heads}, fitted.rows, fitted.out_of_fold, data.labels[fitted.rows])


def _fit_mlp(data: Dataset, settings: FitSettings) -> Fitted:
    """Train the mission's network on the larger side of a group split; stop and choose on the smaller.

    That side chose the epoch and the settings, so what the network is worth is told by others, of the same settings, that are
    trained without a part of the groups each.
    """
    targets = data.labels
    if settings.cost_weight:
        targets = cost_aware(targets, scale_costs(data.costs, data.names, len(data)), settings.cost_weight)
    device, config, seed = str(usable_device(settings.device)), settings.config, settings.seed
    train, validation = _split_sides(data, targets, np.arange(len(data)), settings)
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
    rows = draw_rows(len(data), MAX_ROWS, np.random.default_rng(seed))
    judged, targets = data if len(rows) == len(data) else data.take(rows), targets[rows]
    out_of_fold = _predict_out_of_fold(judged, targets, replace(settings, config=config), device)
    return Fitted(trained.network, plain, rows, out_of_fold, targets, trials)


def _split_sides(data: Dataset, targets: Array, rows: Ints, settings: FitSettings) -> tuple[Side, Side]:
    """Return the rows to train on, and those that say when to stop, of the rows ``rows``; by group."""
    sides = split_by_group(data.groups[rows], settings.validation_fraction, settings.seed)
    train, validation = ((Subset(data.features, rows[side]), targets[rows[side]]) for side in sides)
    return train, validation


def _predict_out_of_fold(data: Dataset, targets: Array, settings: FitSettings, device: str) -> Array:
    """Return ``[N, M]``: each row as a network predicts it that was trained, and stopped, on other groups."""
    if len(np.unique(data.groups)) < 3:
        raise DataError("the network needs rows of at least 3 groups: to train on, to stop by, and to judge it by")
    fold, found = group_folds(data.groups, NETWORK_FOLDS, settings.seed), np.empty(targets.shape, dtype=np.float32)
    with bar(int(fold.max()) + 1, "predict out of fold", "fold", leave=False) as shown:
        for number in np.unique(fold):
            train, validation = _split_sides(data, targets, np.flatnonzero(fold != number), settings)
            network = train_network(train, validation, settings.config, settings.seed, device).network
            rows = np.flatnonzero(fold == number)
            found[rows] = network.predict(Subset(data.features, rows))
            shown.update()
    return found


def calibrate(fitted: Fitted, data: Dataset, seed: int, store_prompts: bool = False) -> Artifact:
    """Return the router: the network with calibration, expected costs, operating points and novelty fitted; print them.

    ``store_prompts`` keeps some training prompts in it, in clear.
    """
    is_stack = isinstance(fitted.network, StackNetwork)
    data = data if is_stack else data.without_prompt_features()
    names, facts = data.names, {name: data.facts[name] for name in data.names if name in data.facts}
    used = data if len(fitted.rows) == len(data) else data.take(fitted.rows)
    # The stack is a regression fitted out of fold: none of 220 fits of it on recorded data was mended by a map.
    calibration = Calibration() if is_stack else fit_calibration(fitted.out_of_fold, fitted.targets, used.groups, seed)
    if calibration.log_loss:
        losses = ", ".join(f"{name} {loss:.4f}" for name, loss in calibration.log_loss.items())
        print(f"calibration: {calibration.method} (cross-validated log loss: {losses})")
    probabilities, eligible = calibration(fitted.out_of_fold), eligible_rows(used)
    idx, prompts = [record.idx for record in data.records], data.prompts if store_prompts else []
    novelty, distances = fit_novelty(
        data.features,
        data.labels,
        data.groups,
        idx,
        prompts,
        seed,
        data.prompts,
        data.encoder.get("languages", ()),
        data.prompt_dim,
    )
    costs = None if used.costs is None else fit_costs(used.features, used.costs, used.groups)
    cost_model, expected = (None, None) if costs is None else costs
    points = fit_operating_points(
        Prediction(probabilities, distances[fitted.rows], expected), outcomes_of(fitted.targets, eligible), used.costs,
        used.groups, names, eligible, used.latencies,
    )  # fmt: skip
    if used.costs is not None and expected is not None:
        share = explained_variance(used.costs, expected)
        print(f"expected costs by prompt: {share:.0%} of their variance within models, out of fold")
    for line in [*explain_costs(used), *explain_latencies(used)]:
        print(line)
    reference = {
        "probability": dict(zip(names, probabilities.mean(axis=0).tolist(), strict=True)),
        "spread": dict(zip(names, probabilities.std(axis=0).tolist(), strict=True)),
        "unfamiliar": novelty.rate,
        "groups": len(np.unique(used.groups)),
    }
    training = TrainingSummary(
        seed, fitted.config, "" if data.file is None else data.file.sha256, reference=reference,
        search=[trial.to_plain() for trial in fitted.trials], compared=fitted.compared,
        conversations=sum(bool(record.context) for record in data.records),
    )  # fmt: skip
    return Artifact(
        fitted.network, names, data.encoder, facts, calibration, points, training, FEATURE_NAMES if data.prompt_dim else (),
        novelty, cost_model,
    )  # fmt: skip


def explain_costs(data: Dataset) -> list[str]:
    """Return a line where costs are not known of every model, and so cannot be traded, or where nothing can be saved."""
    costs = np.full((1, len(data.names)), np.nan) if data.costs is None else data.costs
    unknown = [data.names[j] for j in np.flatnonzero(np.isnan(costs).all(axis=0)).tolist()]
    if unknown:
        missing = "any model" if len(unknown) == len(data.names) else ", ".join(unknown)
        return [f"quality, balanced and economy are not fitted: they need the cost of every model, and none is known of "
                f"{missing}; give model_costs in the records, or prices in a pool file"]  # fmt: skip
    return [] if np.nanmax(costs) > 0 else ["every model costs 0: there is nothing to save"]


def explain_latencies(data: Dataset) -> list[str]:
    """Return a line where latencies are known of some models and not of all, so that none can be traded."""
    unknown = [name for name, median in zip(data.names, usual_latencies(data.latencies, len(data.names)), strict=True)
               if np.isnan(median)]  # fmt: skip
    if data.latencies is None or not unknown:
        return []
    return [f"latency is not fitted: it needs {MIN_LATENCIES} latencies of every model, and fewer are known of "
            f"{', '.join(unknown)}"]  # fmt: skip


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
    test = test if artifact.prompt_features else test.without_prompt_features()
    held_out = TestSet.of(test, artifact.predict(test.features, test.prompts), policies.at(None))
    chosen = {
        name: policies.at(name).choose(held_out.prediction, held_out.eligible).chosen for name in artifact.operating_points
    }
    best = best_single_model(outcomes_of(train.labels, eligible_rows(train)))
    metrics = assess(held_out, best, artifact.training.seed, chosen, baselines)
    shared = rows_in_training(train.records, test.records)
    metrics["in_training"] = {"rows": int(shared.sum()), "groups": len(np.unique(test.groups[shared]))}
    metrics["labels"] = summarize_labels([*train.records, *test.records], artifact.model_names)
    summary = replace(
        artifact.training,
        policy={"model_thresholds": dict(model_thresholds), "model_costs": dict(model_costs)},
        test_sha256="" if test.file is None else test.file.sha256,
        metrics=metrics,
        label_sources=metrics["labels"]["sources"],
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


def write_files(folder: Path, artifact: Artifact, train: Sequence[Record], held_out: TestSet, test: Dataset) -> None:
    """Write everything that Stage 3 leaves into ``folder``.

    Args:
        folder: where to.
        artifact: with its metrics.
        train: the training records.
        held_out: the test rows as the router decides them.
        test: the data set that they are of.

    Raises:
        ArtifactError: the router cannot be opened again.
    """
    save_artifact(folder / "nn_router.pth", artifact)
    network = artifact.training.compared.get("mlp", {"config": artifact.training.config})
    companions = {"model_names": list(artifact.model_names), "best_hyperparameters": dict(network["config"])}
    for name, value in companions.items():
        joblib.dump(value, folder / f"{name}.joblib")
    write_json(folder / "metrics.json", artifact.training.metrics)
    write_report(folder / REPORT_NAME, report_page(artifact, train, held_out, test))
    (folder / CARD_NAME).write_text(model_card(artifact), encoding="utf-8", errors="backslashreplace")
