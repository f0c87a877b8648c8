"""Stage 3: embeddings and labels -> a trained router, assessed on the test set.

    python nn_router.py --train-embeddings hf_train_embeddings.npy --test-embeddings hf_test_embeddings.npy \\
        --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json --output-dir router_artifacts

Writes ``nn_router.pth`` (all that routing needs), ``model_names.joblib``, ``best_hyperparameters.joblib`` and
``metrics.json``. Settings are chosen on a validation part split off the training groups; the test set is only reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from tabulate import tabulate

from auto_router.artifacts import Artifact, save_artifact
from auto_router.assess.companion import XGBOOST_NAME, write_xgboost
from auto_router.assess.intervals import interval
from auto_router.assess.metrics import best_single_model, model_metrics, system_metrics
from auto_router.assess.report import per_model_table, system_table
from auto_router.decide.limits import allowed_models
from auto_router.decide.policy import choose
from auto_router.encode.store import load_embeddings
from auto_router.encode.surface import NAMES as SURFACE
from auto_router.encode.surface import with_surface
from auto_router.errors import ConfigError, DataError, run
from auto_router.files import atomic_path, write_json
from auto_router.learn.device import usable_device
from auto_router.learn.kernel_fit import fit_kernel_network
from auto_router.learn.networks import HEADS, Network
from auto_router.learn.projection import Layout
from auto_router.learn.search import config_with, random_search
from auto_router.learn.search_report import plot_trials, trials_table
from auto_router.learn.targets import cost_aware, scaled_costs
from auto_router.learn.training import Array, Rows, TrainConfig, train_network
from auto_router.pool import load_pool
from auto_router.records import Record, group_ids, label_matrix, load_records, model_names
from auto_router.splits import Indices as Ints
from auto_router.splits import split_by_group

default_config: dict[str, Any] = {
    "hidden_dims": [512, 256, 128],
    "dropout": 0.3,
    "learning_rate": 0.001,
    "batch_size": 64,
    "epochs": 50,
    "patience": 10,
}

param_grid: dict[str, list[Any]] = {
    "hidden_dims": [[256, 128], [512, 256], [512, 256, 128]],
    "dropout": [0.2, 0.3, 0.4, 0.5],
    "learning_rate": [0.0001, 0.0005, 0.001],
    "batch_size": [32, 64, 128],
    "weight_decay": [0, 1e-6, 1e-5, 1e-4],
}

TUNE_HYPERPARAMETERS = False
USE_CLASS_WEIGHTS = True

# "kernel" is what measured best; "mlp" is the sigmoid network that the settings above are for.
HEAD = "kernel"


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Stage 3: train the router and assess it.",
        epilog='Next: python model_router.py "a prompt of yours"',
    )
    parser.add_argument("--train-embeddings", required=True, type=Path)
    parser.add_argument("--test-embeddings", required=True, type=Path)
    parser.add_argument("--train-json", required=True, type=Path)
    parser.add_argument("--test-json", required=True, type=Path)
    parser.add_argument("--output-dir", type=Path, default=Path("router_artifacts"))
    parser.add_argument("--pool", type=Path, help="pool.yaml: prices, modalities and limits to store in the artifact")
    parser.add_argument("--head", choices=HEADS, default=HEAD, help="kernel: stacked kernel ridge (default); mlp: the network")
    parser.add_argument(
        "--tune", action=argparse.BooleanOptionalAction, default=TUNE_HYPERPARAMETERS, help="search param_grid (mlp)"
    )
    parser.add_argument("--trials", type=int, default=20, help="settings to try with --tune (default 20)")
    parser.add_argument("--jobs", type=int, help="processes that search with --tune (default: one a core; one on a GPU)")
    parser.add_argument(
        "--cost-weight", type=float, default=0.0, metavar="λ",
        help="a right answer is worth exp(-λ·extra cost), the dearest model's mean cost being 1 (mlp; default 0: off)",
    )  # fmt: skip
    parser.add_argument("--with-xgboost", action="store_true", help="also write and compare XGBoost (needs the extra xgboost)")
    parser.add_argument("--class-weights", action=argparse.BooleanOptionalAction, default=USE_CLASS_WEIGHTS)
    parser.add_argument("--validation-fraction", type=float, default=0.15, help="part of the training groups (default 0.15)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="where the network trains (mlp): cuda or cpu (default: cuda where there is a GPU)")
    arguments = parser.parse_args(argv)
    if arguments.head != "mlp" and (arguments.tune or arguments.cost_weight):
        raise ConfigError("--tune (TUNE_HYPERPARAMETERS) and --cost-weight are for the network: add --head mlp")
    jobs = 1 if arguments.jobs is None else arguments.jobs
    if min(arguments.trials, jobs) < 1 or not 0.0 < arguments.validation_fraction < 1.0:
        raise ConfigError(
            "--trials and --jobs must be at least 1 and --validation-fraction between 0 and 1, got "
            f"{arguments.trials}, {jobs} and {arguments.validation_fraction}"
        )
    if not 0.0 <= arguments.cost_weight < float("inf"):
        raise ConfigError(f"--cost-weight must be a number from 0, got {arguments.cost_weight}")
    return arguments


def learn_mlp(x: Array, y: Array, groups: Ints, arguments: argparse.Namespace) -> tuple[Network, dict[str, Any]]:
    """Train the mission's network on the larger side of a group split; stop and choose on the smaller. Return its settings."""
    config = config_with(TrainConfig(class_weights=arguments.class_weights), default_config)
    device = str(usable_device(arguments.device))
    rows, held_out = split_by_group(groups, arguments.validation_fraction, arguments.seed)
    train, validation = (x[rows], y[rows]), (x[held_out], y[held_out])
    if arguments.tune:
        jobs = arguments.jobs or (joblib.cpu_count() if device == "cpu" else 1)
        journal = arguments.output_dir / "search.jsonl"
        trials, trained = random_search(
            train, validation, config, param_grid, arguments.trials, arguments.seed, journal, device, jobs
        )
        print(trials_table(trials))
        plot_trials(trials, journal.with_suffix(".png"))
        config = trials[0].config
    else:
        trained = train_network(train, validation, config, arguments.seed, device)
    print(f"settings: {asdict(config)}")
    print(f"best epoch {trained.best_epoch + 1} of {len(trained.history)}, validation loss {trained.best_loss:.4f}")
    return trained.network, asdict(config) | {"hidden_dims": list(config.hidden_dims), "cost_weight": arguments.cost_weight}


def learn_kernel(x: Array, y: Array, groups: Ints, layout: Layout, seed: int) -> tuple[Network, dict[str, Any]]:
    """Fit the default head on all training rows. Return its settings, and how it does on groups it was not fitted on."""
    fitted = fit_kernel_network(x, y, groups, layout, seed)
    if len(fitted.rows) < len(x):
        print(f"fitted on {len(fitted.rows)} of {len(x)} records, drawn at random; --head mlp uses all of them")
    y = y[fitted.rows]
    chosen = choose(fitted.out_of_fold).chosen
    inside = system_metrics(chosen, y, best_single_model(y), [str(j) for j in range(y.shape[1])])
    print(tabulate(fitted.heads, headers="keys"))
    print(f"cross-validated on the training groups: router {inside.router:.3f}, best single {inside.best_single:.3f}")
    return fitted.network, {"heads": fitted.heads, "cross_validated_accuracy": inside.router}


def assess(artifact: Artifact, x: Array, records: Sequence[Record], y: Array, best_single: int) -> dict[str, Any]:
    """Decide the test set as ``ModelRouter`` would and return (and print) what it is worth."""
    names = artifact.model_names
    with torch.inference_mode():
        probabilities = artifact.network(torch.from_numpy(x)).numpy()
    allowed = allowed_models(names, artifact.pool, [r.prompt for r in records], [len(r.images) for r in records])
    chosen = choose(probabilities, allowed=allowed).chosen
    models, system = model_metrics(probabilities, y), system_metrics(chosen, y, best_single, names)
    print(f"\nPer-model metrics:\n{per_model_table(names, models, system.selection)}")
    print(f"\nSystem metrics:\n{system_table(system)}")
    advantage = np.take_along_axis(y, chosen[:, None], axis=1)[:, 0] - y[:, best_single]
    low, high = interval(advantage, group_ids(records), seed=0)
    print(f"router - best single: 95 % interval {low:+.3f} to {high:+.3f} (paired bootstrap over groups)")
    print(f"\nRouter system accuracy: {system.router:.3f}\nOracle (best possible): {system.oracle:.3f}")
    per_model = {name: asdict(metrics) for name, metrics in zip(names, models, strict=True)}
    return {"per_model": per_model, "system": system.to_plain(), "router_minus_best_single": [low, high]}


def save(folder: Path, artifact: Artifact) -> None:
    """Write the artifact, its companions and the metrics."""
    save_artifact(folder / "nn_router.pth", artifact)
    companions = {"model_names": artifact.model_names, "best_hyperparameters": artifact.training["config"]}
    for name, value in companions.items():
        with atomic_path(folder / f"{name}.joblib") as temporary:
            joblib.dump(value, temporary)
    write_json(folder / "metrics.json", _without_nan(artifact.training["metrics"]))


def compare_xgboost(
    arguments: argparse.Namespace, artifact: Artifact, train: Rows, test_x: Array, records: Sequence[Record]
) -> None:
    """Write the XGBoost companion and print what it is worth on the test set, beside the router and the best single model."""
    names, metrics = artifact.model_names, artifact.training["metrics"]
    allowed = allowed_models(names, artifact.pool, [r.prompt for r in records], [len(r.images) for r in records])
    test = test_x, label_matrix(records, names)
    path = arguments.output_dir / XGBOOST_NAME
    xgboost = write_xgboost(path, names, train, test, allowed, best_single_model(train[1]), arguments.seed)
    aucs = [values["auc"] for values in metrics["per_model"].values() if values["auc"] is not None]
    rows = [
        [f"this router ({arguments.head})", metrics["system"]["router"], float(np.mean(aucs)) if aucs else None],
        ["XGBoost", *xgboost],
        ["best single", metrics["system"]["best_single"], None],
    ]
    print(f"\nBeside XGBoost:\n{tabulate(rows, headers=['', 'router accuracy', 'mean AUC'], floatfmt='.3f')}")
    print(f"wrote {path.resolve()}, which nothing here reads")


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    torch.manual_seed(arguments.seed)
    train, test = load_records(arguments.train_json), load_records(arguments.test_json)
    pool = {} if arguments.pool is None else load_pool(arguments.pool).facts()
    names = model_names(train)
    if not names:
        raise DataError(f"{arguments.train_json}: no record has 'model_scores'; run prepare_hf_data.py or add them")
    embedded = load_embeddings(arguments.train_embeddings, "train", arguments.train_json, len(train))
    held_out = load_embeddings(arguments.test_embeddings, "test", arguments.test_json, len(test))
    x, test_x, y = embedded.rows, held_out.rows, label_matrix(train, names)
    surface: list[str] = []
    print(f"training {arguments.head} on {len(x)} records, {x.shape[1]} dimensions, {len(names)} models, seed {arguments.seed}")
    if arguments.head == "mlp":
        targets = cost_aware(y, scaled_costs(train, names, pool), arguments.cost_weight) if arguments.cost_weight else y
        network, config = learn_mlp(x, targets, group_ids(train), arguments)
    else:
        surface = list(SURFACE)
        x, test_x = (with_surface(rows, [r.prompt for r in part]) for rows, part in ((x, train), (test_x, test)))
        layout = Layout(embedded.encoder["text_dim"], embedded.encoder["image_dim"], len(surface))
        network, config = learn_kernel(x, y, group_ids(train), layout, arguments.seed)
    training = {
        "seed": arguments.seed,
        "config": config,
        "train_sha256": embedded.json_sha256,
        "test_sha256": held_out.json_sha256,
    }
    known = {name: pool[name] for name in names if name in pool}
    artifact = Artifact(network, names, embedded.encoder, known, training=training, surface=surface)
    training["metrics"] = assess(artifact, test_x, test, label_matrix(test, names), best_single_model(y))
    save(arguments.output_dir, artifact)
    if arguments.with_xgboost:
        compare_xgboost(arguments, artifact, (embedded.rows, y), held_out.rows, test)
    written = "nn_router.pth, model_names.joblib, best_hyperparameters.joblib and metrics.json"
    print(f"\nwrote {written} to {arguments.output_dir.resolve()}")


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: an undefined measure is null."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


if __name__ == "__main__":
    sys.exit(run(main))
