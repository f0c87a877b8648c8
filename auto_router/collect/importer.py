"""What others already asked and scored, as evaluation records; what a log kept, as prompts for Stage 1. Nothing is asked.

    python -m auto_router.collect.importer lm_eval_output/ --output train.json --test-output test.json
    python -m auto_router.collect.importer spend_logs.jsonl --output prompts.jsonl --redact

Which of the two a file is, and of which tool, is found by its fields.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from tabulate import tabulate

from auto_router.collect.log_formats import BATCH_OUTPUT, LoggedTurn, LogReader, find_log_format, read_batch_answers
from auto_router.collect.merged_results import Merger, results_table, save_results, summarize_results
from auto_router.collect.money import show_usd
from auto_router.collect.redact import load_redactor, redact_all
from auto_router.collect.result_formats import QUERY, LeftOut, ResultReader, find_result_format
from auto_router.collect.row_files import ENDINGS, FileRow, find_files, read_rows
from auto_router.data.splits import check_split, digest_text
from auto_router.errors import ConfigError, DataError, run
from auto_router.files import atomic_path
from auto_router.terminal import Parser, add_flags, capture_output, watch

MAX_LEFT_OUT = 20
RESULTS = "results of lm-evaluation-harness and inspect_ai, tables with a column or a row a model"
LOGS = "logs of LiteLLM, Langfuse, OpenTelemetry GenAI and Phoenix, and OpenAI chat JSON"
Redactor = Callable[[str], str]


def read_results(
    files: Iterable[Path], model: str | None = None, metric: str | None = None, answer_filter: str | None = None
) -> tuple[Merger, Counter[str]]:
    """Read result files; return what they say, and how many files there were of each format.

    Raises:
        DataError: a file cannot be read, or is of no known format; the message says what its row has.
    """
    merger, kinds = Merger(), Counter[str]()
    for file in files:
        kind, reader = None, ResultReader(file, model, metric, answer_filter)
        for row in watch(read_rows(file), f"reading {file.name}", "row"):
            kind = kind or find_result_format(row)
            if kind is None or kind != find_result_format(row):
                raise _unknown(file, row)
            for score in reader.read(row, kind):
                if isinstance(score, LeftOut):
                    merger.left_out[str(score)] += 1
                else:
                    merger.add(score)
        if kind is None:
            raise DataError(f"{file} holds no rows")
        kinds[kind] += 1
    return merger, kinds


def import_results(files: Sequence[Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """Read, merge, write and tell; return the same in plain values."""
    if arguments.output.suffix != ".json":
        raise ConfigError(f"results become records, which are written as .json; got --output {arguments.output}")
    merger, kinds = read_results(files, arguments.model, arguments.metric, arguments.filter)
    records, left_out = merger.records(), merger.left_out
    if arguments.redact:
        redact = load_redactor()
        left_out["images cannot be redacted"] += sum(bool(record.images) for record in records)
        plain = [record for record in records if not record.images]
        records = [
            replace(record, prompt=redact(record.prompt), answer=redact(record.answer), context=redact(record.context))
            for record in plain
        ]
    summary = summarize_results(records)
    print(", ".join(f"{count} file(s) of {kind}" for kind, count in kinds.items()))
    if summary:
        print(results_table(summary))
    for line in [*merger.conflicts(), *_left_out_lines(left_out)]:
        print(line)
    if not any(told["labels"] for told in summary.values()):
        raise DataError(f"no row of {', '.join(map(str, files))} gave a label, so nothing was written; see above")
    print(save_results(records, arguments.output, arguments.test_output, arguments.test_fraction, arguments.seed))
    if arguments.test_output is not None:
        parts = ["--train-json", str(arguments.output), "--test-json", str(arguments.test_output)]
        print(f"next: python generate_embeddings.py {shlex.join(parts)}")
    return {"records": len(records), "models": summary, "left out": dict(+left_out), "conflicts": merger.conflicts()}


@dataclass(slots=True)
class LogWriter:
    """Writes logged turns as prompts, a line each, and counts what they cost; one that repeats another is left out.

    ``reference_model`` is the model whose logged answers are taken for right ones; ``redact`` is applied to every text.
    """

    file: TextIO
    reference_model: str | None = None
    redact: Redactor | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    models: dict[str, dict[str, float]] = field(default_factory=dict)
    written: int = 0
    references: int = 0
    _keys: set[str] = field(default_factory=set)

    def add(self, turn: LoggedTurn | LeftOut) -> None:
        """Write one turn, or count why there is none."""
        if isinstance(turn, LeftOut):
            self.left_out[str(turn)] += 1
        elif turn.key() in self._keys:
            self.left_out["the same request to the same model again"] += 1
        elif turn.images and self.redact is not None:
            self.left_out["images cannot be redacted"] += 1
        else:
            self._keys.add(turn.key())
            self._write(turn)

    def _write(self, turn: LoggedTurn) -> None:
        reference = turn.response if turn.model is not None and turn.model == self.reference_model else None
        row: dict[str, Any] = {
            "messages": list(turn.messages),
            "answer": reference or turn.reference,
            "images": list(turn.images),
            "group": turn.group,
            "logged": {
                "model": turn.model,
                "response": turn.response,
                "prompt_tokens": turn.prompt_tokens,
                "completion_tokens": turn.completion_tokens,
                "cost": turn.cost,
            },
        }
        if self.redact is not None:
            model = turn.model  # a name such as ft:gpt-4o:acme::B1c2 is not personal, and must stay what the pool calls it
            row = redact_all(row | {"group": None}, self.redact) | {"group": turn.group and digest_text(turn.group)[:16]}
            row["logged"]["model"] = model
        self.file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        self.written += 1
        self.references += bool(row["answer"])
        self._count(turn)

    def _count(self, turn: LoggedTurn) -> None:
        counts = ("prompts", "answers", "tokens", "usd", "unpriced")
        told = self.models.setdefault(turn.model or "(not said)", dict.fromkeys(counts, 0.0))
        told["prompts"] += 1
        told["answers"] += turn.response is not None
        told["tokens"] += (turn.prompt_tokens or 0) + (turn.completion_tokens or 0)
        told["usd"] += turn.cost or 0.0
        told["unpriced"] += turn.response is not None and turn.cost is None


def import_logs(files: Sequence[Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """Read, write and tell; return the same in plain values."""
    if arguments.output.suffix != ".jsonl":
        raise ConfigError(f"logs become prompts, which are written as .jsonl; got --output {arguments.output}")
    if arguments.test_output is not None:
        raise ConfigError("--test-output is for results; Stage 1 splits prompts itself")
    redact = load_redactor() if arguments.redact else None
    kinds = {file: find_log_format(_first_row(file)) for file in files}
    outputs = [file for file, kind in kinds.items() if kind == BATCH_OUTPUT]
    reader = LogReader(read_batch_answers(row for file in outputs for row in read_rows(file)))
    with atomic_path(arguments.output) as path, path.open("w", encoding="utf-8", errors="backslashreplace") as out:
        writer = LogWriter(out, arguments.reference_model, redact)
        for file in files:
            if file not in outputs:
                for row in watch(read_rows(file), f"reading {file.name}", "row"):
                    kind = find_log_format(row)
                    if kind is None:
                        raise _unknown(file, row)
                    for turn in reader.read(row, kind):
                        writer.add(turn)
        _tell_logs(writer, Counter(kind or "" for kind in kinds.values()))
        if not writer.written:
            raise DataError(f"no row of {', '.join(map(str, files))} gave a prompt, so nothing was written; see above")
        wanted, answered = arguments.reference_model, [name for name, told in writer.models.items() if told["answers"]]
        if wanted is not None and wanted not in answered:
            raise DataError(
                f"--reference-model {wanted}: no answer of it is in these logs, so nothing was written; they have answers of "
                f"{', '.join(answered) or 'no model'}. Without the flag, Stage 1 makes labels with --labels rubric"
            )
    print(f"wrote {arguments.output} ({writer.written} prompts, {writer.references} with a reference answer)")
    labels = "" if writer.references else " --labels rubric"
    prompts = shlex.quote(str(arguments.output))
    print(f"next: python prepare_hf_data.py --dataset {prompts} --pool pool.yaml{labels} --dry-run")
    found = {"prompts": writer.written, "references": writer.references, "models": writer.models}
    return {**found, "left out": dict(writer.left_out)}


def _tell_logs(writer: LogWriter, kinds: Counter[str]) -> None:
    print(", ".join(f"{count} file(s) of {kind}" for kind, count in kinds.items()))
    counts = ("prompts", "answers", "tokens")
    rows = [
        [model, *(f"{told[name]:,.0f}" for name in counts), show_usd(told["usd"], int(told["unpriced"]))]
        for model, told in writer.models.items()
    ]
    if rows:
        print(tabulate(rows, headers=["model", *counts, "USD"], disable_numparse=True))
    for line in _left_out_lines(writer.left_out):
        print(line)


def _first_row(file: Path) -> FileRow:
    row = next(islice(read_rows(file), 1), None)
    if row is None:
        raise DataError(f"{file} holds no rows")
    return row


def _unknown(file: Path, row: FileRow) -> DataError:
    fields = ", ".join(list(map(str, row))[:30]) or "(none)"
    table = (
        ". Of a table with a column a model, name these MODEL|score, or give each a MODEL_cost" if set(QUERY) & set(row) else ""
    )
    return DataError(f"{file}: no known format has a row of the fields {fields}; read are {RESULTS}; {LOGS}{table}")


def _left_out_lines(left_out: Counter[str]) -> Iterator[str]:
    for reason, count in (+left_out).most_common(MAX_LEFT_OUT):
        yield f"  left out: {reason} ({count})"
    if len(left_out) > MAX_LEFT_OUT:
        yield f"  and {len(left_out) - MAX_LEFT_OUT} reasons more"


def import_files(arguments: argparse.Namespace) -> dict[str, Any]:
    """Import results or logs, whichever the files are.

    Raises:
        DataError: a file is neither, or they are of both.
    """
    files = [file for path in arguments.files for file in find_files(path)]
    first = {file: _first_row(file) for file in files}
    results = [file for file in files if find_result_format(first[file])]
    logs = [file for file in files if file not in results and find_log_format(first[file])]
    unknown = next((file for file in files if file not in results and file not in logs), None)
    if unknown is not None:
        raise _unknown(unknown, first[unknown])
    if results and logs:
        raise DataError(f"{results[0]} holds results and {logs[0]} a log; import one kind at a time")
    return import_results(results, arguments) if results else import_logs(logs, arguments)


EXAMPLES = """examples:
  auto-router import lm_eval_output/ --output train.json --test-output test.json
  auto-router import gpt5.eval claude.eval --metric match --output records.json
  auto-router import spend_logs.jsonl --output prompts.jsonl --redact
  auto-router import batch_input.jsonl batch_output.jsonl --output prompts.jsonl

next, after results: python generate_embeddings.py --train-json train.json --test-json test.json
next, after logs:    python prepare_hf_data.py --dataset prompts.jsonl --pool pool.yaml --labels rubric --dry-run"""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="auto-router import",
        description=f"Read {RESULTS}: they become evaluation records. Read {LOGS}: they become prompts. Nothing is asked.",
        epilog=EXAMPLES,
    )
    add_flags(parser)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=f"files, or folders of them: {', '.join(ENDINGS)}")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="FILE.json for results, FILE.jsonl for logs")
    parser.add_argument("--redact", action="store_true", help="leave out e-mail, phone, card and IP numbers, IBANs and keys")
    results = parser.add_argument_group("results")
    results.add_argument("--model", metavar="NAME", help="the model of the files, where they do not say it")
    results.add_argument(
        "--metric", metavar="NAME", help="which metric or scorer, where there are several (default: the first)"
    )
    results.add_argument("--filter", metavar="NAME", help="which filter of lm-evaluation-harness (default: a file's first)")
    results.add_argument("--test-output", type=Path, metavar="FILE", help="write a test part here: FILE.json")
    results.add_argument("--test-fraction", type=float, default=0.2, help="part of each source's groups in it (0.2)")
    results.add_argument("--seed", type=int, default=0, help="of the split")
    logs = parser.add_argument_group("logs")
    logs.add_argument("--reference-model", metavar="NAME", help="take the logged answers of this model for right ones")
    arguments = parser.parse_args(argv)
    check_split(arguments.test_fraction, arguments.seed)
    if arguments.test_output is not None and arguments.test_output.suffix != ".json":
        raise ConfigError(f"records are written as .json, got --test-output {arguments.test_output}")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with capture_output(arguments) as result:
        result |= import_files(arguments)


if __name__ == "__main__":
    sys.exit(run(main))
