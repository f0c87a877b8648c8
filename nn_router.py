"""Stage 3: embeddings and labels -> a trained router, assessed on the test set.

    python nn_router.py --train-embeddings hf_train_embeddings.npy --test-embeddings hf_test_embeddings.npy \\
        --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json --output-dir router_artifacts

Writes ``nn_router.pth`` (all that routing needs), ``metrics.json``, ``report.html`` to look at, a model card (``README.md``),
plots and the ``.joblib`` companions. Weights, calibration and operating points are fitted on honest predictions of training
rows (made without their own group), never on the test set, which is only reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from tabulate import tabulate

from auto_router import terminal
from auto_router.arrays import Array
from auto_router.arrays import Ints as Ints
from auto_router.artifacts import Artifact
from auto_router.assess.baselines import BASELINES, predicted_by_baselines
from auto_router.assess.companion import XGBOOST_NAME, write_xgboost
from auto_router.assess.metrics import best_single_model
from auto_router.assess.stage import assess_served
from auto_router.assess.tables import report
from auto_router.cluster import add_engine_flags
from auto_router.decide.limits import allowed_for, outcomes
from auto_router.encode.store import load_embedded
from auto_router.encode.surface import NAMES as SURFACE
from auto_router.encode.surface import with_surface
from auto_router.errors import ConfigError, DataError, run
from auto_router.finish import finish, remember
from auto_router.learn.device import usable_device
from auto_router.learn.graph import Layout
from auto_router.learn.networks import HEADS, Network
from auto_router.learn.search import config_with, random_search
from auto_router.learn.search_report import plot_trials, trials_table
from auto_router.learn.stack_fit import drawn, fit_stack
from auto_router.learn.subset import Subset, applied
from auto_router.learn.targets import cost_aware, scaled_costs
from auto_router.learn.training import TrainConfig, train_network
from auto_router.learn.trials import Trial
from auto_router.maintain import add_flags, asked, feedback_rows, maintain
from auto_router.pool import load_pool
from auto_router.publish import publish
from auto_router.records import group_ids, label_matrix, model_names
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

# "stack" is what measured best; "mlp" is the sigmoid network that the settings above are for.
HEAD = "stack"

# The policy that the test set is assessed under, as ModelRouter takes it; empty: the operating point "accuracy".
model_thresholds: dict[str, float] = {}
model_costs: dict[str, float] = {}

BASELINES_SHOWN = ("kNN (k tuned)", "ridge", "k-means table")  # beside the router; the others are slower


EXAMPLES = """examples:
  python nn_router.py --train-embeddings hf_train_embeddings.npy --test-embeddings hf_test_embeddings.npy \\
      --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json --pool pool.yaml
  python nn_router.py ... --head mlp --tune --trials 20
  python nn_router.py --output-dir router_artifacts --remove-model OLD --rename-model NAME=OTHER

next: python model_router.py "a prompt of yours\""""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Stage 3: train the router and assess it.", epilog=EXAMPLES)
    parser.add_argument("--train-embeddings", type=Path)
    parser.add_argument("--test-embeddings", type=Path)
    parser.add_argument("--train-json", type=Path)
    parser.add_argument("--test-json", type=Path)
    parser.add_argument("--output-dir", type=Path, default=Path("router_artifacts"))
    parser.add_argument("--pool", type=Path, help="pool.yaml: prices, modalities and limits to store in the artifact")
    parser.add_argument("--head", choices=HEADS, default=HEAD, help="stack: kernels and trees (default); mlp: the network")
    parser.add_argument(
        "--baselines", nargs="*", choices=BASELINES, default=BASELINES_SHOWN, metavar="NAME",
        help=f"simple methods to compare with, of: {', '.join(BASELINES)} (default: the fast ones; none given: none)",
    )  # fmt: skip
    parser.add_argument("--tune", action=argparse.BooleanOptionalAction, default=TUNE_HYPERPARAMETERS, help="search param_grid")
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
    add_flags(parser)
    terminal.add_flags(parser)
    add_engine_flags(parser, "--tune tries its settings")
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


@dataclass(frozen=True, slots=True)
class Learned:
    """A network, its settings, its predictions of training rows that it was not fitted on, and the trials of a search."""

    network: Network
    config: dict[str, Any]
    rows: Ints
    honest: Array
    """``[len(rows), M]``: what calibration and operating points are fitted on."""
    trials: Sequence[Trial] = ()


def learn_mlp(x: Array, y: Array, groups: Ints, arguments: argparse.Namespace) -> Learned:
    """Train the mission's network on the larger side of a group split; stop and choose on the smaller."""
    config = config_with(TrainConfig(class_weights=arguments.class_weights), default_config)
    device = str(usable_device(arguments.device))
    rows, held_out = split_by_group(groups, arguments.validation_fraction, arguments.seed)
    train, validation = (Subset(x, rows), y[rows]), (Subset(x, held_out), y[held_out])
    trials: Sequence[Trial] = ()
    if arguments.tune:
        jobs = arguments.jobs or arguments.ray_workers or (joblib.cpu_count() if device == "cpu" else 1)
        journal = arguments.output_dir / "search.jsonl"
        trials, trained = random_search(
            train, validation, config, param_grid, arguments.trials, arguments.seed, journal, device, jobs,
            arguments.engine, arguments.ray_address
        )  # fmt: skip
        print(trials_table(trials))
        plot_trials(trials, journal.with_suffix(".png"))
        config = trials[0].config
    else:
        trained = train_network(train, validation, config, arguments.seed, device)
    print(f"settings: {asdict(config)}")
    print(f"best epoch {trained.best_epoch + 1} of {len(trained.history)}, validation loss {trained.best_loss:.4f}")
    settings = asdict(config) | {"hidden_dims": list(config.hidden_dims), "cost_weight": arguments.cost_weight}
    return Learned(trained.network, settings, held_out, applied(trained.network, validation[0]), trials)


def learn_stack(x: Array, y: Array, groups: Ints, layout: Layout, seed: int) -> Learned:
    """Fit the default network on all training rows."""
    fitted = fit_stack(x, y, groups, layout, seed)
    print(tabulate(fitted.heads, headers="keys"))
    return Learned(fitted.network, {"heads": fitted.heads}, fitted.rows, fitted.out_of_fold)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with terminal.speaking(arguments) as result:
        result |= maintain(arguments) if asked(arguments) else train_and_assess(arguments)


def train_and_assess(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the stage and return its measures, in plain values."""
    torch.manual_seed(arguments.seed)
    embedded = load_embedded(arguments.train_embeddings, "train", arguments.train_json)
    held_out = load_embedded(arguments.test_embeddings, "test", arguments.test_json)
    if embedded.left_out or held_out.left_out:
        print(f"left out, skipped by Stage 2: {embedded.left_out} training and {held_out.left_out} test records")
    train, test, x, test_x = embedded.records, held_out.records, embedded.rows, held_out.rows
    pool = {} if arguments.pool is None else load_pool(arguments.pool).facts()
    names = model_names(train)
    if not names:
        raise DataError(f"{arguments.train_json}: no record has 'model_scores'; run prepare_hf_data.py or add them")
    part = drawn(len(x), np.random.default_rng(arguments.seed))
    if arguments.head != "mlp" and len(part) < len(x):
        print(f"fitted on {len(part)} of {len(x)} records, drawn at random; --head mlp uses all of them")
        train, x = [train[i] for i in part.tolist()], Subset(x, part)[:]
    y = targets = label_matrix(train, names)
    own, dim = x.shape
    surface = [] if arguments.head == "mlp" else list(SURFACE)
    print(f"training {arguments.head} on {len(x)} records, {x.shape[1]} dimensions, {len(names)} models, seed {arguments.seed}")
    if arguments.head == "mlp":
        if arguments.cost_weight:
            targets = cost_aware(y, scaled_costs(train, names, pool), arguments.cost_weight)
        learned = learn_mlp(x, targets, group_ids(train), arguments)
    else:
        x, test_x = (with_surface(rows, [r.prompt for r in side]) for rows, side in ((x, train), (test_x, test)))
        if arguments.feedback:
            extra, records = feedback_rows(arguments.feedback, names, embedded.encoder, x.shape[1], arguments.seed)
            x, y, train = np.concatenate([x, extra.features]), np.concatenate([y, extra.labels]), [*train, *records]
            targets = y
        layout = Layout(embedded.encoder["text_dim"], embedded.encoder["image_dim"], len(surface))
        learned = learn_stack(x, y, group_ids(train), layout, arguments.seed)
    plain = (x[:, :dim], test_x[:, :dim]) if surface else (x, test_x)
    training = {
        "seed": arguments.seed,
        "config": learned.config,
        "train_sha256": embedded.json_sha256,
        "test_sha256": held_out.json_sha256,
        "search": [trial.to_plain() for trial in learned.trials],
    }
    known = {name: pool[name] for name in names if name in pool}
    artifact = Artifact(learned.network, names, embedded.encoder, known, training=training, surface=surface)
    used, rows = [train[i] for i in learned.rows.tolist()], learned.rows
    inputs = x if len(rows) == len(x) else Subset(x, rows)[:]
    finish(artifact, learned.honest, inputs, used, targets[rows], arguments.seed)
    remember(artifact, plain[0], y, train, arguments.store_prompts, arguments.seed)
    baselines = predicted_by_baselines(arguments.baselines, plain, y, group_ids(train), arguments.seed)
    if arguments.with_xgboost:
        companion = arguments.output_dir / XGBOOST_NAME
        baselines["XGBoost"] = write_xgboost(companion, names, plain[0], y, arguments.seed)(plain[1])
    training["policy"] = {"model_thresholds": model_thresholds, "model_costs": model_costs}
    training["metrics"] = assess_served(
        test, names, artifact.predict(test_x), best_single_model(outcomes(y, allowed_for(names, pool, train))),
        pool=known, points=artifact.operating_points, expected_costs=artifact.expected_costs(test_x),
        unfamiliar=artifact.unfamiliar(test_x), model_thresholds=model_thresholds, model_costs=model_costs,
        baselines=baselines, seed=arguments.seed,
    )  # fmt: skip
    print(f"\n{report(training['metrics'])}")
    publish(arguments.output_dir, artifact, train[:own], held_out)
    return {"stage": 3, "folder": str(arguments.output_dir.resolve()), "metrics": training["metrics"]}


if __name__ == "__main__":
    sys.exit(run(main))
