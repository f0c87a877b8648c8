"""Stage 1: ask every candidate model, judge the answers, write evaluation records.

    python prepare_hf_data.py --dataset path/to/dataset --output-dir . --num-samples 1800
    python prepare_hf_data.py --dataset questions.jsonl --pool my_pool.yaml --output-dir out

Writes ``hf_evaluations_train.json`` and ``hf_evaluations_test.json``, split by ``group``, and ``hf_journal.sqlite`` with every
answer as it arrived: run the same command again and it continues where it stopped, asking nothing twice. An answer or a
verdict that failed is ``null`` in ``model_scores``, with its reason in ``model_errors``; it is never 0.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from auto_router.collect.collector import Collector, to_record
from auto_router.collect.journal import JOURNAL_NAME, Journal
from auto_router.collect.source import COLUMNS, load_questions
from auto_router.collect.summary import reasons, summary_table
from auto_router.errors import ConfigError, ProviderError, run
from auto_router.pool import Pool, load_pool
from auto_router.records import Record, group_ids, save_records
from auto_router.splits import Indices, split_by_group

# The default pool, in the order of the router's outputs; pool.yaml says where each model answers and what it costs.
MODEL_IDS = {
    "gpt-5-chat": 0,
    "nvidia/nemotron-nano-12b-v2-vl": 1,
    "nvidia/nvidia-nemotron-nano-9b-v2": 2,
}
DEFAULT_POOL = Path(__file__).with_name("pool.yaml")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Stage 1: ask every model of the pool, judge the answers, write the evaluation JSONs.",
        epilog="Next: python generate_embeddings.py --train-json hf_evaluations_train.json --test-json ...",
    )
    parser.add_argument("--dataset", required=True, help="hub id, save_to_disk folder, or parquet / json / jsonl / csv file")
    parser.add_argument("--output-dir", type=Path, default=Path(), help="where the files go (default: here)")
    parser.add_argument("--num-samples", type=int, help="ask only so many, drawn by --seed (default: all)")
    parser.add_argument("--pool", type=Path, help="candidates and judge (default: pool.yaml, the models of MODEL_IDS)")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="ask only these models of the pool")
    parser.add_argument("--test-fraction", type=float, default=0.2, help="part of the groups kept for the test (0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and the split")
    parser.add_argument("--split", default="train", help="split of a data set that has several (train)")
    parser.add_argument("--base-url", help="ask this endpoint for every model: a gateway or a replayed recording")
    parser.add_argument(
        "--match-only", action="store_true", help="references are the only right wording: no judge, no match is wrong"
    )
    for role in COLUMNS:
        parser.add_argument(f"--{role}-column", metavar="NAME", help=f"column of the {role} (common names are found)")
    arguments = parser.parse_args(argv)
    if not 0.0 < arguments.test_fraction < 1.0:
        raise ConfigError(f"--test-fraction must be between 0 and 1, got {arguments.test_fraction}")
    if arguments.num_samples is not None and arguments.num_samples < 2:
        raise ConfigError(f"--num-samples must be at least 2 (one to train, one to test), got {arguments.num_samples}")
    return arguments


def chosen_pool(path: Path | None, names: list[str] | None) -> Pool:
    """Return the named models of the pool: by default all of a pool that was given, MODEL_IDS of the default one."""
    if names is None and path is not None:
        return load_pool(path)
    return load_pool(path or DEFAULT_POOL).subset(names or sorted(MODEL_IDS, key=lambda name: MODEL_IDS[name]))


def save_split(records: Sequence[Record], split: tuple[Indices, Indices], folder: Path) -> str:
    """Write the two JSONs and return a line that says so."""
    rows = dict(zip(("train", "test"), split, strict=True))
    for part, numbers in rows.items():
        save_records(folder / f"hf_evaluations_{part}.json", [records[i] for i in np.sort(numbers)])
    counts = ", ".join(f"hf_evaluations_{part}.json ({len(numbers)} records)" for part, numbers in rows.items())
    return f"wrote {counts} and {JOURNAL_NAME} to {folder.resolve()}"


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    pool = chosen_pool(arguments.pool, arguments.models)
    columns = {role: getattr(arguments, f"{role}_column") for role in COLUMNS}
    questions = load_questions(arguments.dataset, arguments.num_samples, arguments.seed, arguments.split, columns)
    # Groups that cannot be split are found before anything is asked.
    groups = group_ids([Record(question.idx, question.prompt, group=question.group) for question in questions])
    split = split_by_group(groups, arguments.test_fraction, arguments.seed)
    names = [model.name for model in pool.models]
    judge = "matching only" if arguments.match_only or pool.judge is None else f"matching, then {pool.judge.name}"
    print(f"{len(questions)} questions for {', '.join(names)}; judged by {judge}")
    with Journal(arguments.output_dir / JOURNAL_NAME) as journal:
        collector = Collector(pool, journal, arguments.base_url, arguments.match_only)
        outcomes = asyncio.run(collector.collect(questions))
    print(summary_table(outcomes, names))
    for line in reasons(outcomes, names):
        print(f"  null label: {line}")
    if all(outcome.verdict.score is None for row in outcomes for outcome in row.values()):
        raise ProviderError("no question got a single label, so nothing was written; see the reasons above")
    records = [to_record(question, row) for question, row in zip(questions, outcomes, strict=True)]
    print(save_split(records, split, arguments.output_dir))


if __name__ == "__main__":
    sys.exit(run(main))
