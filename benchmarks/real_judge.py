"""What are labels worth that a real, small judge makes? The quickstart's recorded answers, their references hidden.

    pool-venv/bin/python examples/local_pool/serve_text.py --model weights/qwen2.5-coder-1.5b.gguf \\
      --name qwen2.5-coder-1.5b --port 8403 --parallel 2
    python benchmarks/real_judge.py --output-dir real_judge --rows 150 [--sources silver] [--judge-url http://127.0.0.1:8403/v1]

Stage 1 runs as it stands, once for each source of labels, on ``--rows`` of the quickstart's text prompts without their answers.
The two cheap candidates and the first answer of the strong one are recorded ones; the strong model is asked twice more, at
``TEMPERATURE``, and the judge is asked, both of the endpoint that ``examples/local_pool`` serves. The judge is the strong model
itself: no better one runs on a small machine. A verdict took 5 to 20 s on two cores that others kept busy; ask on an idle
machine. What was asked stays in the journal of ``--output-dir``: a run that was stopped goes on, and a larger ``--rows`` asks
only what is new. ``--offline`` asks nothing and prints the tables of what is there.

Then come three tables: what a label says beside the true one, by model; how often the strong model says the same again, where
it is right and where it is wrong (``AGAIN`` of ``label_sources.py``); and the default router trained on each kind of label
beside the one trained on true labels of the same rows. Each of the 487 text prompts is decided by routers that saw no row of
its group (five folds, three draws of the folds); differences are paired, with 95 % intervals over the groups.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from quality import default_router, foreseen
from recorded import ROOT, DataSet, load_embeddings
from tabulate import tabulate

from auto_router.arrays import Floats, Ints
from auto_router.assess.metrics import GroupBootstrap, take_chosen
from auto_router.collect.compared_labels import is_same_result
from auto_router.collect.journal import JOURNAL_NAME, Journal
from auto_router.collect.question import Question
from auto_router.collect.references import read_references
from auto_router.collect.replay import ReplayServer, load_recording, question_key
from auto_router.data.label_stats import mean_of, measure_trust, wilson_interval
from auto_router.data.prompt_features import append_prompt_features
from auto_router.data.records import Record, cost_matrix, group_ids, label_matrix, load_records, save_records
from auto_router.data.splits import group_folds
from auto_router.errors import run
from auto_router.files import write_json

QUICKSTART = ROOT / "examples" / "quickstart"
CHEAP, STRONG = ("smollm2-135m", "qwen2.5-coder-0.5b"), "qwen2.5-coder-1.5b"
NAMES = [*CHEAP, STRONG]
SOURCES = {
    "rubric": (),
    "silver": ("--silver-model", STRONG),
    "pairwise": ("--pairwise-against", STRONG),
}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "rubric": ("score", {"type": "number", "minimum": 0, "maximum": 1}),
    "silver": ("correct", {"type": "boolean"}),
    "pairwise": ("better", {"enum": ["first", "second", "tie"]}),
}
"""What the endpoint holds a verdict to: as the prompt says, without its reason, which would take half of the time."""
TEMPERATURE = 0.7
PORT = 8399  # of the recorded answers; the journal knows an answer by its address, so that it stays the same
STAGE_1 = (sys.executable, str(ROOT / "prepare_hf_data.py"))
PARTS = ("hf_evaluations_train.json", "hf_evaluations_test.json")
FOLDS, SEEDS, POINTS = 5, (20, 21, 22), ("accuracy", "economy")
MIN_ROWS = 60  # below, four fifths of them are fewer than Stage 3 trains on
TRUE = "true"


def text_prompts() -> list[dict[str, Any]]:
    """Return the quickstart's rows without pictures, in an order that is drawn once: more rows are the same ones and others."""
    lines = (QUICKSTART / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if not row.get("images")]
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows)).tolist()]


def write_inputs(folder: Path, rows: Sequence[Mapping[str, Any]], replay_url: str, judge_url: str) -> None:
    """Write the prompts as a log of the strong model's answers, and the pool with its judge."""
    answers = load_recording(QUICKSTART / "recording.jsonl.gz")
    with (folder / "prompts.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            key = question_key({"model": STRONG, "messages": [{"role": "user", "content": row["prompt"]}]})
            found = answers[key]
            tokens = {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens}
            logged = {"model": STRONG, "response": found.text, **tokens, "cost": None}
            hidden = {"prompt": row["prompt"], "group": row["group"], "source": row["source"], "answer": "", "logged": logged}
            file.write(json.dumps(hidden) + "\n")
    models = [entry for entry in yaml.safe_load((QUICKSTART / "pool.yaml").read_text())["models"] if entry["name"] in NAMES]
    live: dict[str, Any] = {"base_url": judge_url, "temperature": TEMPERATURE, "concurrency": 2}
    models = [entry | (live if entry["name"] == STRONG else {"base_url": replay_url}) for entry in models]
    judge: dict[str, Any] = {
        "name": "judge",
        "model": STRONG,
        "base_url": judge_url,
        "max_tokens": 128,
        "temperature": 0,
        "concurrency": 2,
    }
    judge |= {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0, "timeout_s": 300}
    for source, (name, values) in FORMS.items():
        form = {"id": {"type": "string"}, name: values}
        schema = {"type": "object", "properties": form, "required": list(form), "additionalProperties": False}
        held = {"response_format": {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}}
        write_json(folder / f"{source}.yaml", {"models": models, "judge": judge | {"parameters": held}})  # JSON is YAML, too


def make_labels(folder: Path, source: str, offline: bool) -> list[Record]:
    """Run Stage 1 with one source of labels; return its records. Ends the script where Stage 1 fails."""
    command = [*STAGE_1, "--dataset", str(folder / "prompts.jsonl"), "--pool", str(folder / f"{source}.yaml"), "--output-dir"]
    command += [str(folder), "--labels", source, *SOURCES[source]]
    command += ["--export-only" if offline else "--skip-preflight"]
    with (folder / f"{source}.log").open("w", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"Stage 1 with --labels {source} ended with code {done.returncode}; {log.name} says why")
    for part in PARTS:
        shutil.move(folder / part, folder / f"{source}_{part}")
    return [record for part in PARTS for record in load_records(folder / f"{source}_{part}")]


def true_records(folder: Path, rows: Sequence[Mapping[str, Any]], replay_url: str) -> list[Record]:
    """Return records of all text prompts with true labels: the recorded answers by rules, as ``make demo`` labels them."""
    path = folder / "true.json"
    if not path.exists():
        part = folder / TRUE
        part.mkdir(exist_ok=True)
        (part / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        command = [*STAGE_1, "--dataset", str(part / "prompts.jsonl"), "--pool", str(QUICKSTART / "pool.yaml"), "--output-dir"]
        command += [str(part), "--models", *NAMES, "--match-only", "--base-url", replay_url]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        save_records(path, [record for name in PARTS for record in load_records(part / name)])
    return load_records(path)


def compare_labels(labels: Mapping[str, Floats], truth: Floats) -> list[list[str]]:
    """Return a row for each source and model: what the label says beside the true one."""
    found = []
    for source, matrix in labels.items():
        for line in measure_trust(matrix, {TRUE: truth}, NAMES):
            columns = [NAMES.index(line.model)] if line.model in NAMES else list(range(len(NAMES)))
            known = ~np.isnan(truth[:, columns])
            unknown = int((np.isnan(matrix[:, columns]) & known).sum())
            low, high = line.interval
            rates = [f"{line.label_rate:.0%}", f"{line.check_rate:.0%}"]
            agree = [f"{line.agreement:.0%} ({low:.0%} to {high:.0%})", str(line.kind), str(line.strict)]
            kappa = "" if line.kappa is None else f"{line.kappa:.2f}"
            found.append([source, line.model, str(int(known.sum())), str(unknown), *agree, kappa, *rates])
    return found


LABEL_HEADERS = ["labels", "model", "answers", "unknown", "agree (95 %)", "false right", "false wrong", "kappa",
                 "mean label", "truly right"]  # fmt: skip


def find_again(folder: Path, rows: Mapping[str, Mapping[str, Any]], right: Mapping[str, bool]) -> dict[bool, list[bool]]:
    """Return whether each further answer says the same: where the first answer is right, and where it is wrong."""
    answers: dict[str, dict[int, str]] = {}
    with Journal(folder / JOURNAL_NAME) as journal:
        for row in journal.rows():
            request, text = row["request"], row["answer"]["text"]
            if request["model"] == STRONG and request["messages"][0]["role"] == "user" and text is not None:
                answers.setdefault(request["messages"][0]["content"], {})[request.get("sample", 0)] = text
    found: dict[bool, list[bool]] = {True: [], False: []}
    for prompt, texts in answers.items():
        if prompt in right and 0 in texts:
            question = Question(0, prompt, read_references(rows[prompt]["answer"]), (), None, "")
            found[right[prompt]] += [is_same_result(question, text, texts[0]) for sample, text in texts.items() if sample]
    return found


def load_data(path: Path, records: list[Record]) -> DataSet:
    plain = load_embeddings(path, records)
    rows = append_prompt_features(plain, [record.prompt for record in records])
    truth, costs = label_matrix(records, NAMES), cost_matrix(records, NAMES).astype(np.float64)
    return DataSet(NAMES, group_ids(records), truth, costs, plain, rows)


def decide(data: DataSet, labels: Floats, labelled: Ints) -> dict[str, tuple[Floats, Floats]]:
    """Return by operating point true labels and costs ``[N]`` of what is chosen by routers that saw no row of a group."""
    scores, costs = (np.zeros((len(POINTS), len(SEEDS), len(labels))) for _ in range(2))
    assert data.costs is not None
    for number, seed in enumerate(SEEDS):
        folds = group_folds(data.groups, FOLDS, seed)
        for fold in range(FOLDS):
            train, test = labelled[folds[labelled] != fold], np.flatnonzero(folds == fold)
            router = default_router(data, train, labels[train], seed)
            p, expected = router.predict(data.rows[test]), foreseen(data, train, test)
            for place, point in enumerate(POINTS):
                chosen = router.decide(point, p, data.rows[test], expected)
                scores[place, number, test] = take_chosen(data.y[test].astype(np.float64), chosen)
                costs[place, number, test] = take_chosen(data.costs[test], chosen)
    return {point: (np.nanmean(scores[i], axis=0), np.nanmean(costs[i], axis=0)) for i, point in enumerate(POINTS)}


def compare_routers(data: DataSet, labels: Mapping[str, Floats], labelled: Ints) -> list[list[str]]:
    """Return a row for each kind of label: what its router is worth by true labels, beside the router of true ones."""
    assert data.costs is not None
    bootstrap = GroupBootstrap(data.groups, seed=0)
    single, cost = data.y[:, NAMES.index(STRONG)].astype(np.float64), float(np.nanmean(data.costs[:, NAMES.index(STRONG)]))
    alone = f"{100 * mean_of(single):.1f}"
    table, true = [["(strong model alone)", "", alone, "", alone, "", "1.00"]], dict[str, Floats]()
    for source, matrix in labels.items():
        row = [source, str(int((~np.isnan(matrix[labelled])).any(axis=1).sum()))]
        decided = decide(data, matrix, labelled)
        for point, (scores, _) in decided.items():
            true.setdefault(point, scores)
            low, high = bootstrap.interval(scores - true[point])
            lost = f"{100 * mean_of(scores - true[point]):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            row += [f"{100 * mean_of(scores):.1f}", "" if source == TRUE else lost]
        table.append([*row, f"{float(np.nanmean(decided['economy'][1])) / cost:.2f}"])
    return table


ROUTER_HEADERS = [
    "labels",
    "rows with one",
    "accuracy: %",
    "− true, points (95 %)",
    "economy: %",
    "− true, points (95 %)",
    "its cost",
]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True, help="journal, labels and logs; a later run goes on there")
    parser.add_argument("--rows", type=int, default=150, help="prompts that get labels (150)")
    parser.add_argument("--judge-url", default="http://127.0.0.1:8403/v1", help=f"where {STRONG} answers")
    parser.add_argument("--offline", action="store_true", help="ask nothing: labels of what the journal holds")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    arguments = parser.parse_args(argv)
    folder: Path = arguments.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    rows = text_prompts()
    with ReplayServer(load_recording(QUICKSTART / "recording.jsonl.gz"), port=PORT) as server:
        truth = true_records(folder, rows, server.url)
        write_inputs(folder, rows[: arguments.rows], server.url, arguments.judge_url)
        made = {source: make_labels(folder, source, arguments.offline) for source in arguments.sources}
    known, place = label_matrix(truth, NAMES), {record.prompt: i for i, record in enumerate(truth)}
    labelled = np.array(sorted(place[row["prompt"]] for row in rows[: arguments.rows]))
    labels: dict[str, Floats] = {TRUE: np.full(known.shape, np.nan)}
    labels[TRUE][labelled] = known[labelled]
    for source, records in made.items():
        labels[source] = np.full(known.shape, np.nan)
        labels[source][[place[record.prompt] for record in records]] = label_matrix(records, NAMES)
    cheap = {source: matrix[labelled] for source, matrix in labels.items() if source != TRUE}
    print(tabulate(compare_labels(cheap, labels[TRUE][labelled]), headers=LABEL_HEADERS, disable_numparse=True))
    right = {record.prompt: record.model_scores[STRONG] == 1 for record in truth}
    for is_right, again in find_again(folder, {row["prompt"]: row for row in rows}, right).items():
        share = float(np.mean(again)) if again else float("nan")
        low, high = wilson_interval(share, len(again))
        print(f"{STRONG} says the same again where its first answer is {'right' if is_right else 'wrong'}: {share:.0%} of "
              f"{len(again)} more answers (95 % {low:.0%} to {high:.0%})")  # fmt: skip
    if len(labelled) < MIN_ROWS:
        print(f"{len(labelled)} rows with labels are too few to train on; --rows {MIN_ROWS} or more shows the routers, too")
        return
    data = load_data(folder / "true.json", truth)
    print(tabulate(compare_routers(data, labels, labelled), headers=ROUTER_HEADERS, disable_numparse=True))


if __name__ == "__main__":
    sys.exit(run(main))
