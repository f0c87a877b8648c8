"""Stage 3: embeddings and labels -> a trained router, assessed on the test set.

    python nn_router.py --train-embeddings hf_train_embeddings.npy --test-embeddings hf_test_embeddings.npy \\
        --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json --output-dir router_artifacts

Writes ``nn_router.pth`` (all that routing needs), ``metrics.json``, ``report.html`` to look at, a model card (``README.md``),
and the ``.joblib`` companions. Weights, calibration and operating points are fitted on out-of-fold predictions of
training rows, never on the test set, which is only reported.

What is set in this file is what is done, with no flag: with an edited ``default_config``, ``USE_CLASS_WEIGHTS = False`` or
``TUNE_HYPERPARAMETERS = True`` the sigmoid network is trained too, and the better of both is served.
"""

from __future__ import annotations

if __name__ == "__main__":
    from auto_router.errors import end_on_signals

    end_on_signals()  # before the imports below, which take seconds

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from auto_router import terminal
from auto_router.artifact_files import COMPANION
from auto_router.assess.health import find_one_sided, find_untested
from auto_router.assess.tables import report
from auto_router.cluster import add_engine_flags
from auto_router.data.capability import compare_names, find_pool, settle_facts
from auto_router.data.dataset import Dataset, choose_fraction, load_dataset, split_labels
from auto_router.data.pool import Pool
from auto_router.errors import ConfigError, DataError, needs_extra, run
from auto_router.files import prepare_folder, replace_together
from auto_router.learn.mlp import TrainConfig
from auto_router.route.feedback import feedback_rows

with needs_extra("train"):
    from auto_router import edit
    from auto_router.assess.baselines import BASELINES, XGBOOST_NAME
    from auto_router.assess.headline import describe_worth
    from auto_router.assess.report import REPORT_NAME, check_packages
    from auto_router.learn.search import config_with
    from auto_router.learn.stack_fit import MAX_ROWS
    from auto_router.train import HEADS, FitSettings, assess_router, calibrate, fit, fit_baselines, write_files

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

# "auto": the stack of kernels and trees, which measured best; where the settings above are your own, the better of it and the
# sigmoid network that they are for. "stack" or "mlp": that one.
HEAD = "auto"

# The policy that the test set is assessed under, as ModelRouter takes it; empty: the point served by default.
model_thresholds: dict[str, float] = {}
model_costs: dict[str, float] = {}

BASELINES_SHOWN = ("kNN (k tuned)", "ridge", "k-means table")  # beside the router; the others are slower


EXAMPLES = """examples:
  python nn_router.py --train-embeddings hf_train_embeddings.npy --test-embeddings hf_test_embeddings.npy \\
      --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json --pool pool.yaml
  python nn_router.py --labels my_labels.json --test-fraction 0.2  # after generate_embeddings.py with the same flags
  python nn_router.py ... --tune --trials 20
  python -m auto_router.edit --help          # a model more, one fewer, another name, without training anew

next: python model_router.py "a prompt of yours\""""

NEXT = """next:
  python -m auto_router route "a prompt of yours" --router {router}
  python -m auto_router doctor --router {router}
  {serve} serve --pool {pool} --router {router}"""
SERVES = "make setup-litellm && .venv-litellm/bin/python -m auto_router"
SERVES_INSTALLED = "auto-router"  # in an environment of its own, as it says where the proxy is missing


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = terminal.Parser(description="Stage 3: train the router and assess it.", epilog=EXAMPLES)
    parser.add_argument("--train-embeddings", type=Path)
    parser.add_argument("--test-embeddings", type=Path)
    parser.add_argument("--train-json", type=Path)
    parser.add_argument("--test-json", type=Path)
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="one list of records instead of --train-json and --test-json"
    )
    parser.add_argument("--test-fraction", type=float, help="of the groups of --labels, to test on (default 0.2)")
    parser.add_argument("--output-dir", type=Path, default=Path("router_artifacts"))
    parser.add_argument(
        "--pool", type=Path, help="prices, modalities and limits of the models (default: ./pool.yaml, if there)"
    )
    parser.add_argument(
        "--head", choices=HEADS, default=HEAD,
        help="auto: the stack of kernels and trees, or with settings of your own the better of it and the network (default)",
    )  # fmt: skip
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
    parser.add_argument(
        "--feedback", type=Path, help="JSONL of ModelRouter.record: further labelled rows (default head, same encoder)"
    )
    parser.add_argument(
        "--store-prompts", action="store_true", help="keep some training prompts in the artifact, in clear, for explain()"
    )
    edit.add_old_flags(parser)
    terminal.add_flags(parser)
    add_engine_flags(parser, "--tune tries its settings")
    arguments = parser.parse_args(argv)
    arguments.test_fraction = choose_fraction(arguments.test_fraction, arguments.labels)
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with terminal.capture_output(arguments) as result:
        result |= edit.edit_by_old_flags(arguments) if edit.is_edit(arguments) else train_and_assess(arguments)


def train_and_assess(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the stage and return its measures, in plain values."""
    settings, folder = fit_settings(arguments), arguments.output_dir
    check_packages()
    prepare_folder(folder)
    torch.manual_seed(settings.seed)
    pool, where = find_pool(arguments.pool)
    train, test = load_parts(arguments, settings, pool, where)
    learned_from = train
    if arguments.feedback:
        learned_from = train.extend(*feedback_rows(arguments.feedback, train, settings.seed))
    fitted = fit(learned_from, settings)
    artifact = calibrate(fitted, learned_from, settings.seed, arguments.store_prompts)
    with replace_together(folder, [XGBOOST_NAME, f"nn_router{COMPANION}"]) as staging:
        baselines = fit_baselines(arguments.baselines, learned_from, test, staging, arguments.with_xgboost, settings.seed)
        artifact, held_out = assess_router(artifact, learned_from, test, model_thresholds, model_costs, baselines)
        print(f"\n{report(artifact.training.metrics)}")
        write_files(staging, artifact, train.records, held_out, test)
    print(f"\nwrote nn_router.pth, metrics.json, README.md and the .joblib companions to {folder.resolve()}")
    print(f"all figures, charts and wrongly routed prompts: {(folder / REPORT_NAME).resolve()}")
    is_theirs = any(model.name in train.names for model in pool.models)  # a file that merely lies there is not
    files = {"router": folder / "nn_router.pth", "pool": where if is_theirs and where else "YOUR_POOL"}
    quoted = {name: shlex.quote(str(path)) for name, path in files.items()}
    serves = SERVES if Path("nn_router.py").is_file() else SERVES_INSTALLED  # make knows of it in a checkout
    print(f"\n{describe_worth(artifact)}\n\n{NEXT.format(serve=serves, **quoted)}")
    return {"stage": 3, "folder": str(folder.resolve()), "metrics": artifact.training.metrics}


def load_parts(arguments: argparse.Namespace, settings: FitSettings, pool: Pool, where: Path | None) -> tuple[Dataset, Dataset]:
    """Return the training and the test rows, with what is known of their models; say what is left out or unknown."""
    stack = "stack" in settings.heads
    json_paths, npy_paths = find_files(arguments, settings.seed)
    max_rows = MAX_ROWS if stack else None
    train = load_dataset(npy_paths[0], "train", json_paths[0], None, pool.facts, stack, max_rows, settings.seed)
    if not train.names:
        raise DataError(f"{json_paths[0]}: no record has 'model_scores'; run prepare_hf_data.py or add them")
    test = load_dataset(npy_paths[1], "test", json_paths[1], train.names, pool.facts, stack)
    for part in (train, test):
        if part.file is not None and part.file.skipped:
            print(f"left out, skipped by Stage 2: {part.file.skipped} records of {part.file.path}")
    if train.file is not None and train.file.left_out:
        of = len(train) + train.file.left_out
        print(f"fitted on {len(train)} of {of} records, drawn at random; --head mlp uses all of them")
    facts, lines = settle_facts([train, test], pool)
    for line in [*([] if where is None else compare_names(pool, train.names, where, arguments.pool is not None)), *lines]:
        print(f"note: {line}")
    records = [*train.records, *test.records]
    for line in [*find_one_sided(records, train.names), *find_untested(test.records, train.names)]:
        print(f"warning: {line}")
    return replace(train, facts=facts), replace(test, facts=facts)


def find_files(arguments: argparse.Namespace, seed: int) -> tuple[tuple[Path, Path], tuple[Path, Path]]:
    """Return the two evaluation files and the two embedding files; with ``--labels``, the list is split into the first two.

    Raises:
        ConfigError: a file is not given, or embeddings are not there yet.
    """
    if arguments.labels is None:
        return (arguments.train_json, arguments.test_json), (arguments.train_embeddings, arguments.test_embeddings)
    if not arguments.labels.exists():
        raise ConfigError(f"labels {arguments.labels} do not exist; give the list of records that Stage 2 encoded")
    train_npy = arguments.train_embeddings or Path("hf_train_embeddings.npy")
    test_npy = arguments.test_embeddings or train_npy.with_name("hf_test_embeddings.npy")
    if not train_npy.exists() or not test_npy.exists():
        raise ConfigError(
            f"embeddings {train_npy} and {test_npy} are not both there; make them first: python generate_embeddings.py "
            f"--labels {arguments.labels} --test-fraction {arguments.test_fraction} --seed {seed} "
            f"--output-dir {train_npy.parent}"
        )
    return split_labels(arguments.labels, train_npy.parent, arguments.test_fraction, seed), (train_npy, test_npy)


def fit_settings(arguments: argparse.Namespace) -> FitSettings:
    """Return how to learn, by flags and by what stands above. Raises ConfigError where something is missing or impossible."""
    pair = ("train_json", "test_json")
    given = [name for name in pair if getattr(arguments, name) is not None]
    if arguments.labels is not None and given:
        raise ConfigError("--labels is one list instead of --train-json and --test-json; give either")
    needed = () if arguments.labels is not None else ("train_embeddings", "test_embeddings", *pair)
    missing = [f"--{name.replace('_', '-')}" for name in needed if getattr(arguments, name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} must be given (or --labels, one list of records); see --help")
    if arguments.feedback and arguments.head == "mlp":
        raise ConfigError("--feedback is for the default head; leave out --head mlp")
    return FitSettings(
        arguments.head, arguments.seed, config_with(TrainConfig(class_weights=arguments.class_weights), default_config),
        arguments.tune, param_grid, arguments.trials, arguments.jobs, arguments.output_dir / "search.jsonl",
        arguments.cost_weight, arguments.validation_fraction, arguments.device, arguments.engine, arguments.ray_address,
        arguments.ray_workers,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
