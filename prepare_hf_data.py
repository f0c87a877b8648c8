"""Stage 1: ask every candidate model, judge the answers, write evaluation records.

    python prepare_hf_data.py --dataset path/to/dataset --output-dir . --num-samples 1800
    python prepare_hf_data.py --dataset questions.jsonl --pool my_pool.yaml --output-dir out --dry-run
    python prepare_hf_data.py --dataset questions.jsonl --pool my_pool.yaml --output-dir out --max-cost-usd 20 --audit 50
    python prepare_hf_data.py --dataset owner/name --prompt-template "{{ question }} Answer in one word." --dry-run
    python prepare_hf_data.py --dataset prompts.jsonl --pool my_pool.yaml --labels silver --silver-model gpt-5
    python prepare_hf_data.py --audit-import hf_audit_marks.json

Writes ``hf_evaluations_train.json`` and ``hf_evaluations_test.json``, split by ``group`` (with ``--output-format parquet``
folders of shards, without ``.json``), and ``hf_journal.sqlite`` with every answer as it arrived: run the same command again
and it continues where it stopped, asking nothing twice. An answer or a verdict that failed is ``null`` in ``model_scores``,
with its reason in ``model_errors``; it is never 0.
"""

from __future__ import annotations

if __name__ == "__main__":
    from auto_router.errors import end_on_signals

    end_on_signals()  # before the imports below, which take seconds

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.collect.column_names import COLUMNS
from auto_router.collect.compared_labels import trust_lines
from auto_router.collect.image_source import ImageSource
from auto_router.collect.journal import JOURNAL_NAME, Journal
from auto_router.collect.journal_file import run_lock
from auto_router.collect.label_checks import need_judge, warnings
from auto_router.collect.label_sources import SILVER_SAMPLES, SOURCES, LabelSettings, read_instructions
from auto_router.collect.money import Budget, show_usd
from auto_router.collect.preflight import preflight
from auto_router.collect.rate_limits import INTERRUPTED, MAX_WAIT_S
from auto_router.collect.results import Results, pool_lines, summary, summary_table
from auto_router.collect.runner import CONCURRENCY, Collector, Run
from auto_router.collect.scorers import load_scorer
from auto_router.collect.source import Source
from auto_router.data.formats import OUTPUTS, record_list
from auto_router.data.pool import Pool, load_pool
from auto_router.data.splits import check_split
from auto_router.errors import ConfigError, ProviderError, needs_extra, run
from auto_router.terminal import Parser, add_flags, capture_output, on_signals

with needs_extra("collect"):
    from auto_router.collect.audit import (
        AUDIT_NAME,
        add_marks,
        changed_labels,
        changes_table,
        evaluation_paths,
        read_labels,
        read_marks,
        write_page,
    )
    from auto_router.collect.plan import Plan, make_plan, preview, record_logged
    from auto_router.collect.prompt_template import read_template

# The default pool, in the order of the router's outputs; pool.yaml says where each model answers and what it costs.
MODEL_IDS = {
    "gpt-5-chat": 0,
    "nvidia/nemotron-nano-12b-v2-vl": 1,
    "nvidia/nvidia-nemotron-nano-9b-v2": 2,
}
DEFAULT_POOL = Path(__file__).with_name("pool.yaml")


EXAMPLES = """examples:
  python prepare_hf_data.py --dataset path/to/dataset --num-samples 1800 --dry-run
  python prepare_hf_data.py --dataset questions.jsonl --pool my_pool.yaml --output-dir out --max-cost-usd 20 --audit 50
  python prepare_hf_data.py --dataset owner/name --prompt-template "{{ question }} Answer in one word." --dry-run
  python prepare_hf_data.py --dataset prompts.jsonl --pool my_pool.yaml --labels silver --silver-model gpt-5
  python prepare_hf_data.py --dataset prompts.jsonl --pool my_pool.yaml --labels rubric --rubric criteria.txt
  python prepare_hf_data.py --dataset prompts.jsonl --pool my_pool.yaml --labels pairwise --pairwise-against gpt-5
  python prepare_hf_data.py --audit-import hf_audit_marks.json
  python prepare_hf_data.py --dataset questions.jsonl --pool my_pool.yaml --output-dir out --rejudge

The same command continues where a run was stopped.
next: python generate_embeddings.py --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json"""


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    models = parser.add_argument_group("the models")
    models.add_argument("--pool", type=Path, help="candidates and judge (default: pool.yaml, the models of MODEL_IDS)")
    models.add_argument("--models", nargs="+", metavar="NAME", help="ask only these models of the pool")
    models.add_argument("--base-url", help="ask this endpoint for every model: a gateway or a replayed recording")
    models.add_argument("--concurrency", type=int, default=CONCURRENCY, help=f"requests in flight in all ({CONCURRENCY})")
    models.add_argument("--max-cost-usd", type=float, help="end before this is spent, earlier runs in the folder included")
    models.add_argument(
        "--max-wait-s", type=float, default=MAX_WAIT_S, metavar="S",
        help=f"set an endpoint aside that asks to wait longer, such as for a daily limit ({MAX_WAIT_S:.0f})",
    )  # fmt: skip
    models.add_argument("--retry-failed", action="store_true", help="ask again also what was refused for good")
    models.add_argument("--dry-run", action="store_true", help="check the data and every endpoint, estimate the cost, and end")
    models.add_argument("--skip-preflight", action="store_true", help="do not ask the endpoints a small question first")
    models.add_argument("--export-only", action="store_true", help="write the JSONs from the journal; ask nothing")


def add_label_flags(parser: argparse.ArgumentParser) -> None:
    labels = parser.add_argument_group("the labels")
    labels.add_argument(
        "--labels", choices=SOURCES, default=SOURCES[0],
        help="what labels rest on: the data set's right answers (reference, the default); a strong model's answers (silver); "
        "a judge with criteria (rubric); a comparison with the default model (pairwise). Only reference needs right answers",
    )  # fmt: skip
    labels.add_argument(
        "--silver-model", action="append", default=[], metavar="NAME",
        help="a strong model of the pool; several must agree (--labels silver)",
    )  # fmt: skip
    labels.add_argument(
        "--silver-samples", type=int, metavar="K",
        help=f"answers of a silver model to each question, which must agree ({SILVER_SAMPLES}; 1 of several models)",
    )  # fmt: skip
    labels.add_argument("--rubric", type=Path, metavar="FILE", help="your criteria, as plain text (--labels rubric)")
    labels.add_argument("--pairwise-against", metavar="NAME", help="the present default model (--labels pairwise)")
    labels.add_argument(
        "--judge-prompt", type=Path, metavar="FILE", help="what the judge is told to look at, in place of the built-in text"
    )
    labels.add_argument(
        "--match-only", action="store_true", help="references are the only right wording: no judge, no match is wrong"
    )
    labels.add_argument("--graded", action="store_true", help="the judge gives 0 to 1 instead of right or wrong")
    labels.add_argument(
        "--scorer", metavar="NAME", help="score answers by python-tests, json-schema, tool-call or your own module:function"
    )
    labels.add_argument(
        "--samples",
        type=int,
        default=1,
        metavar="K",
        help="ask each model each question K times; the label is the share that is right (1)",
    )
    labels.add_argument(
        "--rejudge",
        action="store_true",
        help="apply today's rules and reading to the journal, show every label that changed, write the JSONs; ask nothing",
    )
    labels.add_argument("--audit", type=int, metavar="N", help=f"write {AUDIT_NAME}: N answers for a person to check")
    labels.add_argument(
        "--audit-import", type=Path, metavar="FILE",
        help="say how good the verdicts are by the marks of FILE; with --dataset they go into the records, for the report",
    )  # fmt: skip


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        description="Stage 1: ask every model of the pool, judge the answers, write the evaluation JSONs.",
        epilog=EXAMPLES,
    )
    add_flags(parser)
    parser.add_argument("--output-dir", type=Path, default=Path(), help="where the files go (default: here)")
    parser.add_argument(
        "--output-format", choices=OUTPUTS, default=OUTPUTS[0],
        help="json (default), or parquet: folders of shards, for data of which one file is too large",
    )  # fmt: skip

    add_data_flags(parser)
    add_model_flags(parser)
    add_label_flags(parser)
    arguments = parser.parse_args(argv)
    arguments.export_only |= arguments.rejudge
    if arguments.dataset is None and arguments.audit_import is None:
        parser.error("--dataset is required")
    check_split(arguments.test_fraction, arguments.seed)
    if arguments.num_samples is not None and arguments.num_samples < 2:
        raise ConfigError(f"--num-samples must be at least 2 (one to train, one to test), got {arguments.num_samples}")
    for name, lowest in (("concurrency", 1), ("audit", 1), ("samples", 1), ("max_cost_usd", 0), ("max_wait_s", 0)):
        value = getattr(arguments, name)
        if value is not None and not value >= lowest:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {lowest}, got {value}")
    return arguments


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how the data set is read."""
    data = parser.add_argument_group("the data set")
    data.add_argument(
        "--dataset",
        help="hub id, save_to_disk folder, or a parquet / json / jsonl / csv / tsv / arrow file, or a 'glob*' of some",
    )
    data.add_argument("--config", help="configuration of a hub data set that has several")
    data.add_argument("--split", default="train", help="split of a data set that has several (train)")
    data.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a hub data set")
    data.add_argument(
        "--streaming", action="store_true", help="read a hub data set over the network, without fetching its files"
    )
    data.add_argument("--num-samples", type=int, help="ask only so many, drawn by --seed (default: all)")
    data.add_argument("--seed", type=int, default=0, help="of the sample, the split and the audit")
    data.add_argument("--test-fraction", type=float, default=0.2, help="part of every source's groups kept for the test (0.2)")
    data.add_argument("--test-split", metavar="NAME", help="take this split of the data set as the test, as it is")
    data.add_argument("--split-column", metavar="NAME", help="column that says train or test for each row")
    for role in COLUMNS:
        data.add_argument(
            f"--{role}-column", metavar="NAME", help=f"column of the {role} (common names are found; '' for none)"
        )
    data.add_argument(
        "--prompt-template",
        metavar="TEXT_OR_FILE",
        help="Jinja template of the prompt, as '{{ question }} Answer in one word.'",
    )
    data.add_argument("--first-index", type=int, choices=(0, 1), help="answers that are places of options count from here")
    data.add_argument("--skip-bad-rows", action="store_true", help="leave out rows that cannot be asked, and say which")
    data.add_argument("--picture-folder", type=Path, help="images given as paths are opened below this folder only")
    data.add_argument("--allow-host", action="append", default=[], metavar="HOST", help="fetch image URLs from this host")


def load_candidates(path: Path | None, names: list[str] | None) -> Pool:
    """Return the named models of the pool: by default all of a pool that was given, MODEL_IDS of the default one."""
    if names is None and path is not None:
        return load_pool(path)
    return load_pool(path or DEFAULT_POOL).subset(names or sorted(MODEL_IDS, key=lambda name: MODEL_IDS[name]))


def plan_run(arguments: argparse.Namespace) -> Plan:
    """Read the data set and say what will be asked; what cannot be asked or split is found before anything is paid."""
    hosts = frozenset(host.lower() for host in arguments.allow_host)
    source = Source(
        arguments.dataset,
        arguments.config,
        arguments.split,
        {role: getattr(arguments, f"{role}_column") for role in COLUMNS},
        ImageSource(arguments.picture_folder, hosts, arguments.output_dir / "hf_pictures"),
        arguments.test_split,
        arguments.split_column,
        read_template(arguments.prompt_template),
        arguments.first_index,
        arguments.revision,
        arguments.streaming,
        arguments.scorer is not None,
    )
    needs_references = arguments.labels == SOURCES[0] and arguments.scorer is None
    how = arguments.num_samples, arguments.test_fraction, arguments.seed, arguments.skip_bad_rows
    return make_plan(source, *how, needs_references)


def label_settings(arguments: argparse.Namespace) -> LabelSettings:
    """Return what labels rest on. Raises ConfigError where flags contradict each other, or a file cannot be read."""
    rubric = {} if arguments.rubric is None else {"rubric": read_instructions(arguments.rubric, "--rubric")}
    return LabelSettings(
        arguments.labels,
        arguments.match_only,
        arguments.graded,
        load_scorer(arguments.scorer) if arguments.scorer else None,
        tuple(arguments.silver_model),
        arguments.silver_samples,
        pairwise_against=arguments.pairwise_against,
        criteria=None if arguments.judge_prompt is None else read_instructions(arguments.judge_prompt, "--judge-prompt"),
        **rubric,
    )


async def ask_models(
    arguments: argparse.Namespace, pool: Pool, plan: Plan, this_run: Run, labels: LabelSettings | None = None
) -> Results | None:
    """Ask and judge; None after a dry run. The first Ctrl-C lets what is in flight arrive, the second ends at once.

    ``labels``: what labels rest on; None: what the arguments say.
    """
    labels = label_settings(arguments) if labels is None else labels
    collector = Collector(pool, this_run, arguments.base_url, labels, arguments.samples)
    if not arguments.export_only:
        for line in record_logged(collector, plan):
            print(line)
    if not arguments.export_only and (arguments.dry_run or not arguments.skip_preflight):
        print(await preflight(collector, plan, arguments.dry_run))
    if arguments.dry_run:
        return None
    judges = [judge.model.name for judge in collector.judges]
    results = Results(len(plan), [model.name for model in pool.models], judges, arguments.samples, labels.name)
    task = asyncio.create_task(collector.collect(plan.questions, results))

    def end() -> None:
        if this_run.stop.reason is not None:
            task.cancel()
        this_run.stop.set(INTERRUPTED)

    with on_signals(end):
        try:
            await task
        except asyncio.CancelledError:
            this_run.stop.set(INTERRUPTED)
    if this_run.stop.reason == INTERRUPTED:
        print("\nwhat had arrived is in the journal; run the same command again to go on", file=sys.stderr)
        raise KeyboardInterrupt
    if this_run.stop.reason is not None:
        print(f"stopped early: {this_run.stop.reason}; raise the budget and run the same command again to go on")
    if arguments.audit:
        known = Run(this_run.journal, offline=True)
        offline = Collector(pool, known, arguments.base_url, labels)  # of several samples, the first
        path = arguments.output_dir / AUDIT_NAME
        print(f"wrote {await write_page(path, results, plan, offline, arguments.audit, arguments.seed)} cases to {path}")
    return results


def save_split(results: Results, plan: Plan, folder: Path, output_format: str = "json") -> str:
    """Write the two lists of records, reading the data set once more, and return a line that says so."""
    counts = {"train": 0, "test": 0}
    names = {part: path.name for part, path in evaluation_paths(folder, output_format).items()}
    train_list, test_list = (record_list(folder / name, results.names) for name in names.values())
    with train_list as train, test_list as test:
        for row, question in enumerate(plan.questions()):
            if results.has_answers(row):
                part, append = ("test", test) if plan.is_test[row] else ("train", train)
                append(results.record(row, question).to_json())
                counts[part] += 1
    written = ", ".join(f"{names[part]} ({count} records)" for part, count in counts.items())
    rest = len(plan) - sum(counts.values())
    return f"wrote {written} and {JOURNAL_NAME} to {folder.resolve()}" + (
        f"; {rest} prompts were not asked yet" if rest else ""
    )


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with capture_output(arguments) as result:
        if arguments.audit_import is not None:
            print(read_marks(arguments.audit_import))
        if arguments.dataset is not None:
            result |= ask_and_judge(arguments)


def ask_and_judge(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the stage and return what came of it, in plain values."""
    pool = load_candidates(arguments.pool, arguments.models)
    labels = label_settings(arguments)
    labels.check(pool)
    plan = plan_run(arguments)
    left_out = {"without reference": len(plan.unlabelled), "bad rows": len(plan.bad)}
    names = [model.name for model in pool.models]
    by = (
        f"the scorer {arguments.scorer}"
        if arguments.scorer
        else labels.describe(None if pool.judge is None else pool.judge.name)
    )
    print(f"{len(plan)} questions for {', '.join(names)}; judged by {by}")
    for line in plan.describe():
        print(line)
    if arguments.dry_run:
        print(preview(plan.source))
        if labels.asks_judge and pool.judge is not None:
            print("\n".join(["what the judge is told:", *(f"  | {line}" for line in labels.prompt.text().splitlines())]))
    for model in pool.models:
        times = max(arguments.samples, labels.times if model.name in labels.silver_models else 1)
        if times > 1 and model.temperature == 0:
            print(f"warning: {model.name} is asked {times} times at temperature 0: its answers hardly differ")
    for line in [] if arguments.match_only else pool.judges_inside():
        print(f"warning: {line}")
    with run_lock(arguments.output_dir / JOURNAL_NAME), Journal(arguments.output_dir / JOURNAL_NAME) as journal:
        for line in journal.warnings:
            print(f"warning: {line}")
        budget = Budget(arguments.max_cost_usd, journal.spent(), journal.count_unpriced())
        this_run = Run(
            journal, budget, arguments.concurrency, arguments.export_only, arguments.retry_failed,
            max_wait_s=arguments.max_wait_s,
        )  # fmt: skip
        results = asyncio.run(ask_models(arguments, pool, plan, this_run, labels))
        if results is None:
            return {"stage": 1, "dry run": True, "questions": len(plan), **left_out}
        if arguments.audit_import is not None:
            print(f"{add_marks(arguments.audit_import, results, plan)} marks are of these answers")
        print(summary_table(results))
        for line in [*pool_lines(results), *trust_lines(results), *(f"  null label: {line}" for line in results.reasons())]:
            print(line)
        spent = show_usd(journal.spent(), journal.count_unpriced(), " USD")
        print(f"spent in this folder, questions of the preflight and tries without an answer included: {spent}")
        for line in warnings(results):
            print(f"warning: {line}")
        changes = None
        if arguments.rejudge:
            changes = changed_labels(results, plan, read_labels(arguments.output_dir, arguments.output_format))
            print(changes_table(changes))
        need_judge(results)
        if np.isnan(results.scores).all():
            raise ProviderError("no question got a single label, so nothing was written; see the reasons above")
        print(save_split(results, plan, arguments.output_dir, arguments.output_format))
        more = {} if changes is None else {"changed labels": [change.to_plain() for change in changes]}
        return {"stage": 1, "folder": str(arguments.output_dir.resolve()), **left_out, **summary(results), **more}


if __name__ == "__main__":
    sys.exit(run(main))
