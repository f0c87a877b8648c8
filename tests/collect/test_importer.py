"""Results of other evaluations as evaluation records. Each sample follows a documented schema; its address stands beside it."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.collect.importer import main, read_results
from auto_router.collect.merged_results import Merger
from auto_router.collect.result_formats import Score, lm_eval_model, with_choices
from auto_router.data.records import Record, group_ids, load_records
from auto_router.errors import ConfigError, DataError


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def lm_eval_row(
    number: int, score: float, filter_name: str = "strict-match", template: str = "{}", **more: Any
) -> dict[str, Any]:
    """One line of samples_*.jsonl.

    https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/interface.md (--log_samples), and the example in
    lm_eval/evaluator.py; arguments as saved by lm_eval/loggers/evaluation_tracker.py.
    """
    return {
        "doc_id": number,
        "doc": {"question": f"What is {number} + 1?"},
        "target": str(number + 1),
        "arguments": {"gen_args_0": {"arg_0": template.format(f"What is {number} + 1?"), "arg_1": {"until": ["\n"]}}},
        "resps": [["The answer is 7"]],
        "filtered_resps": ["7"],
        "filter": filter_name,
        "metrics": ["exact_match"],
        "doc_hash": f"hash{number}",
        "prompt_hash": "p",
        "target_hash": "t",
        "exact_match": score,
    } | more


def lm_eval_folder(folder: Path, model: str, scores: Sequence[float], template: str = "{}") -> Path:
    named = folder / model.replace("/", "__")
    rows = [lm_eval_row(i, score, template=template) for i, score in enumerate(scores)]
    write_lines(named / "samples_gsm8k_2026-11-01T10-00-00.123456.jsonl", rows)
    summary = {"results": {"gsm8k": {"exact_match,strict-match": 0.5}}, "configs": {}, "model_name": model}
    (named / "results_2026-11-01T10-00-00.123456.json").write_text(json.dumps(summary), encoding="utf-8")
    return named


def inspect_log(model: str, values: Sequence[Any], **more: Any) -> dict[str, Any]:
    """An inspect log as JSON: https://inspect.aisi.org.uk/eval-logs.html, https://inspect.aisi.org.uk/reference/inspect_ai.log.html"""
    samples = [
        {
            "id": i,
            "epoch": 1,
            "input": f"Name planet {i}",
            "target": ["Mars", "Venus"] if i else "Mercury",
            "output": {"model": model, "completion": "…", "choices": []},
            "scores": {"match": {"value": value, "answer": "x", "explanation": "because"}},
            "model_usage": {model: {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "total_cost": 0.002}},
        }
        for i, value in enumerate(values)
    ]
    return {"version": 2, "status": "success", "eval": {"task": "planets", "model": model}, "samples": samples} | more


def run_import(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[str, dict[str, Any]]:
    main([*map(str, arguments), "--json"])
    told = capsys.readouterr()
    return told.err, json.loads(told.out)


def scores_of(records: Sequence[Record]) -> list[dict[str, float | None]]:
    return [dict(record.model_scores) for record in records]


def test_lm_eval_files_of_two_models_meet_in_one_record_a_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The chat template of a model is part of its prompt, so the harness's own key says what is the same question."""
    lm_eval_folder(tmp_path, "openai/gpt-5", [1.0, 0.0, 1.0])
    lm_eval_folder(tmp_path, "meta/llama", [0.0, 0.0, 1.0], template="<|user|>{}<|assistant|>")
    words, told = run_import(capsys, tmp_path, "--output", tmp_path / "out" / "records.json")
    records = load_records(tmp_path / "out" / "records.json")
    assert scores_of(records) == [
        {"meta/llama": 0, "openai/gpt-5": 1},
        {"meta/llama": 0, "openai/gpt-5": 0},
        {"meta/llama": 1, "openai/gpt-5": 1},
    ]
    assert [record.answer for record in records] == ["1", "2", "3"]
    assert {record.source for record in records} == {"gsm8k"}
    assert told["models"]["openai/gpt-5"]["share right"] == pytest.approx(2 / 3)
    assert "2 file(s) of lm-evaluation-harness" in words
    rows = json.loads((tmp_path / "out" / "records.json").read_text(encoding="utf-8"))
    assert {row["label_source"] for row in rows} == {"import"}


def test_the_model_of_lm_eval_samples(tmp_path: Path) -> None:
    folder = lm_eval_folder(tmp_path, "openai/gpt-5", [1.0])
    file = next(folder.glob("samples_*"))
    assert lm_eval_model(file) == "openai/gpt-5"
    next(folder.glob("results_*")).unlink()
    assert lm_eval_model(file) == "openai/gpt-5", "the folder says it too"
    for name in "ab":
        (folder / f"results_{name}.json").write_text(json.dumps({"model_name": name}), encoding="utf-8")
    with pytest.raises(DataError, match=r"results of a, b; name the model of samples_.* with --model"):
        lm_eval_model(file)
    assert list(read_results([file], model="mine")[0].records()[0].model_scores) == ["mine"]


def test_a_second_filter_is_left_out_and_can_be_chosen(tmp_path: Path) -> None:
    rows = [lm_eval_row(0, 0.0), lm_eval_row(0, 1.0, "flexible-extract")]
    file = write_lines(tmp_path / "m" / "samples_gsm8k_2026-11-01T10-00-00.1.jsonl", rows)
    merger, _ = read_results([file])
    assert scores_of(merger.records()) == [{"m": 0.0}]
    assert merger.left_out == {"scored through another filter, 'flexible-extract' (--filter; taken is 'strict-match')": 1}
    assert scores_of(read_results([file], answer_filter="flexible-extract")[0].records()) == [{"m": 1.0}]


@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        ([["Is it so?", " yes"], ["Is it so?", " no"]], "Is it so?"),
        ({f"gen_args_{i}": {"arg_0": "Is it so?", "arg_1": text} for i, text in enumerate((" yes", " no"))}, "Is it so?"),
        ({"gen_args_0": {"arg_0": '[{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Why?"}]'}}, "Why?"),
    ],
)
def test_prompts_of_lm_eval_in_each_form(tmp_path: Path, arguments: Any, prompt: str) -> None:
    row = lm_eval_row(0, 1.0) | {"arguments": arguments}
    file = write_lines(tmp_path / "m" / "samples_a_2026-11-01T10-00-00.1.jsonl", [row])
    assert [record.prompt for record in read_results([file])[0].records()] == [prompt]


def test_a_metric_can_be_chosen_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    row = lm_eval_row(0, 1.0, metrics=["exact_match", "f1"], f1=0.25)
    file = write_lines(tmp_path / "m" / "samples_a_2026-11-01T10-00-00.1.jsonl", [row])
    assert scores_of(read_results([file], metric="f1")[0].records()) == [{"m": 0.25}]
    with pytest.raises(DataError, match="no metric 'bleu'; it has exact_match, f1: --metric NAME"):
        read_results([file], metric="bleu")


def test_a_score_outside_0_to_1_is_unknown_with_its_reason(tmp_path: Path) -> None:
    row = lm_eval_row(0, 37.5, metrics=["perplexity"], perplexity=37.5)
    file = write_lines(tmp_path / "m" / "samples_a_2026-11-01T10-00-00.1.jsonl", [row])
    merger, _ = read_results([file])
    assert dict(merger.records()[0].model_errors) == {"m": "perplexity 37.5 is not between 0 and 1"}
    assert scores_of(merger.records()) == [{"m": None}]


def test_inspect_logs_as_json_and_as_zip_say_the_same(tmp_path: Path) -> None:
    log = inspect_log("openai/gpt-5", ["C", "I", "P", "N", True, 0.25])
    plain = tmp_path / "log.json"
    plain.write_text(json.dumps(log, indent=2), encoding="utf-8")
    zipped = tmp_path / "log.eval"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"version": 2, "status": "success", "eval": log["eval"]}))
        archive.writestr("summaries.json", "[]")
        for sample in log["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_1.json", json.dumps(sample))
    records = read_results([plain])[0].records()
    assert [record.model_scores["openai/gpt-5"] for record in records] == [1.0, 0.0, 0.5, 0.0, 1.0, 0.25]
    assert records == read_results([zipped])[0].records()
    assert records[0].answer == "Mercury"
    assert json.loads(records[1].answer) == ["Mars", "Venus"]
    assert records[0].model_costs == {"openai/gpt-5": 0.002}
    assert records[0].source == "planets"


def test_inspect_epochs_are_averaged_and_errors_are_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = inspect_log("m", ["C", "I", "C", "C"])
    for sample, (number, epoch) in zip(log["samples"], ((0, 1), (0, 2), (1, 1), (2, 1)), strict=True):
        sample |= {"id": number, "epoch": epoch, "input": f"Name planet {number}", "target": "Mars"}
    log["samples"][3] |= {"error": {"message": "timeout"}}
    file = tmp_path / "log.json"
    file.write_text(json.dumps(log), encoding="utf-8")
    words, told = run_import(capsys, file, "--output", tmp_path / "records.json")
    records = load_records(tmp_path / "records.json")
    assert scores_of(records) == [{"m": 0.5}, {"m": 1}, {"m": None}]
    assert records[2].model_errors == {"m": "the sample ended with an error"}
    assert "1 answers were scored more than once, 1 of them differently; their mean is taken" in words
    assert told["left out"] == {"m: the sample ended with an error": 1}


def test_inspect_chat_input_attachments_images_and_choices(tmp_path: Path) -> None:
    image = "data:image/png;base64,iVBORw0KGgo="
    log = inspect_log("m", ["C", "C"])
    parts = [{"type": "text", "text": "attachment://ab12"}, {"type": "image", "image": "attachment://cd34"}]
    log["samples"][0] |= {
        "input": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": parts}],
        "attachments": {"ab12": "What is this?", "cd34": image},
        "choices": ["a cat", "a dog"],
    }
    log["samples"][1]["input"] = [
        {"role": "user", "content": [{"type": "image", "image": "cat.png"}, {"type": "text", "text": "?"}]}
    ]
    file = tmp_path / "log.json"
    file.write_text(json.dumps(log), encoding="utf-8")
    merger, _ = read_results([file])
    (record,) = merger.records()
    assert record.prompt == "What is this?\nA) a cat\nB) a dog"
    assert record.images == (image,)
    assert merger.left_out == {"an image is a file or an address, not the image itself": 1}


def test_an_inspect_scorer_that_gives_several_values(tmp_path: Path) -> None:
    file = tmp_path / "log.json"
    file.write_text(json.dumps(inspect_log("m", [{"style": 0.5, "truth": "C"}])), encoding="utf-8")
    with pytest.raises(DataError, match="gives style, truth; choose one with --metric match/KEY"):
        read_results([file])
    assert scores_of(read_results([file], metric="match/style")[0].records()) == [{"m": 0.5}]


def routerbench_rows() -> list[dict[str, Any]]:
    """https://huggingface.co/datasets/withmartian/routerbench, https://github.com/withmartian/routerbench"""
    return [
        {
            "sample_id": f"arc.{i}",
            "prompt": f"['Answer with a letter', 'Question {i}?']",
            "eval_name": "arc-challenge",
            "gpt-4-1106-preview": score,
            "claude-v2": 1.0,
            "gpt-4-1106-preview|model_response": "['A']",
            "claude-v2|model_response": "['B']",
            "gpt-4-1106-preview|total_cost": 0.005,
            "claude-v2|total_cost": 0.004,
            "oracle_model_to_route_to": "claude-v2",
        }
        for i, score in enumerate([1.0, None])
    ]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "json"])
def test_a_table_with_a_column_a_model(tmp_path: Path, ending: str) -> None:
    rows, file = routerbench_rows(), tmp_path / f"routerbench.{ending}"
    if ending == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif ending == "csv":
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif ending == "jsonl":
        write_lines(file, rows)
    else:
        file.write_text(json.dumps(rows), encoding="utf-8")
    merger, _ = read_results([file])
    first, second = merger.records()
    assert first.prompt == "Answer with a letter\n\nQuestion 0?"
    assert first.model_scores == {"gpt-4-1106-preview": 1.0, "claude-v2": 1.0}
    assert first.model_costs == {"gpt-4-1106-preview": 0.005, "claude-v2": 0.004}
    assert first.source == "arc-challenge"
    assert second.model_scores == {"gpt-4-1106-preview": None, "claude-v2": 1.0}
    assert merger.left_out == {"gpt-4-1106-preview: no score": 1}


def test_a_table_with_a_row_a_query_and_model(tmp_path: Path) -> None:
    """Routing data of https://github.com/ulab-uiuc/LLMRouter; llm, effect, cost of https://github.com/ulab-uiuc/GraphRouter."""
    choices = '{"text": ["blood", "grass"], "labels": ["A", "B"]}'
    same = {
        "task_name": "arc",
        "query": "Which is red?",
        "ground_truth": "A",
        "metric": "em_mc",
        "choices": choices,
        "task_id": "t1",
    }
    llmrouter = [
        same | {"model_name": name, "response": "A", "token_num": 90, "performance": score}
        for name, score in (("llama", 1.0), ("gemma", 0.0))
    ]
    merger, _ = read_results([write_lines(tmp_path / "a.jsonl", llmrouter)])
    (record,) = merger.records()
    assert record.prompt == "Which is red?\nA) blood\nB) grass"
    assert record.model_scores == {"llama": 1.0, "gemma": 0.0}
    assert (record.answer, record.source, record.model_costs) == ("A", "arc", {})
    graph = [{"task_id": "gsm8k", "query": "2+2?", "ground_truth": "4", "llm": "llama", "effect": "0.5", "cost": "0.01"}]
    (record,) = read_results([write_lines(tmp_path / "b.jsonl", graph)])[0].records()
    assert (record.model_scores, record.model_costs) == ({"llama": 0.5}, {"llama": 0.01})


def test_prompts_merge_by_question_and_not_against_their_references() -> None:
    merger = Merger()
    for model, prompt, reference in (("a", "Who?", "Ada"), ("b", " who ", "ada"), ("c", "WHO", ""), ("a", "Who?", "Bob")):
        merger.add(Score(model, prompt, 1.0, reference))
    records = merger.records()
    assert [list(record.model_scores) for record in records] == [["a", "b", "c"], ["a"]]
    assert len(set(group_ids(records).tolist())) == 1, "both ask the same, so they stay on one side of a split"
    assert merger.conflicts() == [
        "1 prompts have references that contradict each other; each is a record of its own, in one group"
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.floats(0, 1)), max_size=30))
def test_no_score_is_lost_or_moved(rows: list[tuple[str, int, float]]) -> None:
    merger = Merger()
    for model, question, score in rows:
        merger.add(Score(model, f"question {question}", score))
    told = {(record.prompt, model): score for record in merger.records() for model, score in record.model_scores.items()}
    assert told.keys() == {(f"question {question}", model) for model, question, _ in rows}
    for (prompt, model), mean in told.items():
        same = [score for name, question, score in rows if (f"question {question}", name) == (prompt, model)]
        assert mean == pytest.approx(sum(same) / len(same))


def test_a_test_part_shares_no_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"question {i // 2}{' ' * (i % 2)}", "model": f"m{i % 3}", "score": 1} for i in range(60)]
    file = write_lines(tmp_path / "t.jsonl", rows)
    run_import(capsys, file, "--output", tmp_path / "train.json", "--test-output", tmp_path / "test.json")
    train, test = (load_records(tmp_path / f"{part}.json") for part in ("train", "test"))
    assert len(train) + len(test) == 30
    assert len(test) == 6
    assert not {record.group for record in train} & {record.group for record in test}


def test_a_stray_quote_takes_no_other_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text('prompt,a|score\n"Who said hi?,1\nWhat is "x"?,0\nlast,1\n')
    run_import(capsys, tmp_path / "t.csv", "--output", tmp_path / "t.json")
    assert [record.prompt for record in load_records(tmp_path / "t.json")] == ['"Who said hi?', 'What is "x"?', "last"]


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no known format has a row of the fields colour, size; read are results of lm-eval"):
        read_results([write_lines(tmp_path / "a.jsonl", [{"colour": 1, "size": 2}])])
    with pytest.raises(DataError, match=r"name these MODEL\|score, or give each a MODEL_cost"):
        read_results([write_lines(tmp_path / "a.jsonl", [{"question": "q", "gpt": 1, "small": 0}])])
    (tmp_path / "b.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match="is a pickle, which can run code"):
        read_results([tmp_path / "b.pkl"])
    (tmp_path / "c.jsonl").write_text('{"prompt": "q", "model": "m", "score": 1}\n{"a": ', encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read"):
        read_results([tmp_path / "c.jsonl"])
    with pytest.raises(DataError, match="does not exist"):
        main([str(tmp_path / "none"), "--output", "a.json"])
    (tmp_path / "d.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError):
        read_results([tmp_path / "d.jsonl"])


def test_cells_that_a_row_of_a_csv_ends_before_are_scores_that_are_not_there(tmp_path: Path) -> None:
    text = "prompt,m,m|total_cost,n,n|total_cost\nq1,1,0.1\nq2,1,0.1,0,0.2\n"
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    merger = read_results([tmp_path / "a.csv"])[0]
    assert merger.left_out == {"n: no score": 1}


def test_a_row_of_a_csv_with_more_cells_than_columns_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,m,m|total_cost\nq1,1,0.1,\nq2, and more,1,0.1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv, row 1: it has more cells than the header has columns \(\['0\.1'\]\); put"):
        read_results([tmp_path / "a.csv"])


def test_nothing_is_written_where_no_row_gave_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"prompt": "q", "model": "m", "score": None}])
    with pytest.raises(DataError, match="gave a label, so nothing was written"):
        main([str(file), "--output", str(tmp_path / "r.json")])
    assert "left out: m: no score (1)" in capsys.readouterr().out
    assert not (tmp_path / "r.json").exists()


def test_flags_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        main(["x", "--output", "a.json", "--test-fraction", "1"])
    with pytest.raises(ConfigError, match=r"\.json, got --test-output a\.parquet"):
        main(["x", "--output", "a.json", "--test-output", "a.parquet"])


@pytest.mark.parametrize("choices", [None, [], "abc", {"text": None}, ["cat", "dog"]])
def test_choices_that_are_none_or_stand_there_already(choices: Any) -> None:
    assert with_choices("cat or dog?", choices) == "cat or dog?"
