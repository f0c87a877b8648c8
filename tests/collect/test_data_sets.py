"""Data sets as people have them: which question and which right answers come of a row, through the reader of Stage 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

import prepare_hf_data
from auto_router.collect.matching.verdict import match
from auto_router.collect.question import Question, question_messages
from auto_router.errors import DataError
from tests.helpers import png
from tests.stage1 import ChatServer, Reply, b64, completion, flags, read_evaluations, stage1, write_pool, write_rows

CASES = json.loads((Path(__file__).parent / "cases" / "datasets.json").read_text(encoding="utf-8"))
PROMPTS = ("question", "prompt", "instruction", "problem")
BAD_ROWS, WITHOUT = "one bad row of many", "no reference at all"
JPEG = png((1, 2, 3))[:40]


def read_questions(dataset: Path, *more: str) -> list[Question]:
    """The questions that Stage 1 would ask, by the reader of its command."""
    plan = prepare_hf_data.plan_run(prepare_hf_data.parse_arguments(["--dataset", str(dataset), *more]))
    return list(plan.questions())


def features_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """The features that a case states, as the data set library writes them."""

    def feature(text: str) -> Any:
        if text.startswith("ClassLabel("):
            return datasets.ClassLabel(names=text.removeprefix("ClassLabel(").removesuffix(")").split(","))
        return datasets.List(datasets.Value("string")) if text == "list<string>" else datasets.Value(text)

    return {name: feature(text) for name, text in case.get("features", {}).items() if name in case["row"]}


def write_case(case: Mapping[str, Any], folder: Path, kind: str) -> Path:
    """Five rows of a case, each with a prompt of its own, in one of the forms that data sets come in."""
    row, rows = case["row"], []
    column = next(name for name in PROMPTS if name in row)
    for number in range(5):
        image = {name: Image.new("RGB", (8, 8), (number, 0, 0)) for name, value in row.items() if value == "<PIL image>"}
        rows.append(row | {column: f"{row[column]} ({number})"} | image)
    if kind == "jsonl":
        return write_rows(folder / "rows.jsonl", rows)
    made = datasets.Dataset.from_list(rows)
    for name, feature in features_of(case).items():
        made = made.cast_column(name, feature)
    if kind == "parquet":
        made.to_parquet(folder / "rows.parquet")
        return folder / "rows.parquet"
    if kind == "hub folder":
        (folder / "set").mkdir()
        made.to_parquet(folder / "set" / "train-00000-of-00001.parquet")
        return folder / "set"
    made.save_to_disk(folder / "disk")
    return folder / "disk"


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "save_to_disk", "hub folder"])
@pytest.mark.parametrize("case", [case for case in CASES if "row" in case and case["name"] != WITHOUT], ids=lambda c: c["name"])
def test_a_row_becomes_the_question_it_means(case: dict[str, Any], kind: str, tmp_path: Path) -> None:
    if kind == "jsonl" and (case.get("features") or "image" in case["row"]):
        pytest.skip("JSON lines hold neither class names nor pictures that are open")
    question = read_questions(write_case(case, tmp_path, kind))[0]
    want = case["want"]
    assert list(question.references) == want["references"]
    for text in [*want.get("prompt_shows", ()), *want.get("prompt_contains", ())]:
        assert text in question.prompt
    assert len(question.images) == ("image" in case["row"])
    for right in [*want["references"], *want.get("also_right", ())]:
        assert match(right, question.references, question.choices) is True, right


def test_words_of_a_csv_that_look_like_missing_values_stay_words(tmp_path: Path) -> None:
    (case,) = (case for case in CASES if "csv" in case)
    (tmp_path / "a.csv").write_text(case["csv"])
    questions = read_questions(tmp_path / "a.csv")
    assert [question.references for question in questions] == [(word,) for word in case["want"]["references_of_rows"]]
    packed = tmp_path / "set"
    packed.mkdir()
    (packed / "train.csv").write_text(case["csv"] + "Say nothing.,null\nWhat is x?,NaN\n")
    assert [question.answer for question in read_questions(packed)] == ["None", "NA", "null", "NaN"]


def test_rows_that_cannot_be_asked_are_named_with_the_flag_that_skips_them(tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case["name"] == BAD_ROWS)
    rows = [row | ({"image": b64(JPEG)} if "image" in row else {}) for row in case["rows"]]
    dataset = write_rows(tmp_path / "rows.jsonl", [*rows, *({"prompt": f"fine {n}", "answer": "x"} for n in range(4))])
    with pytest.raises(DataError, match=r"3 rows cannot be asked: rows 1, 2: .*; row 3, images: .*--skip-bad-rows"):
        read_questions(dataset)
    plan = prepare_hf_data.plan_run(prepare_hf_data.parse_arguments(["--dataset", str(dataset), "--skip-bad-rows"]))
    assert [question.idx for question in plan.questions()] == [0, 4, 5, 6, 7]
    assert sorted(plan.bad) == [1, 2, 3]
    (line,) = (line for line in plan.describe() if "--skip-bad-rows" in line)
    assert line.startswith("3 bad rows are left out")


def test_a_data_set_without_references_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case["name"] == WITHOUT)
    with pytest.raises(DataError, match=r"none of its 5 rows has a reference .*it has prompt: .*--answer-column"):
        read_questions(write_case(case, tmp_path, "jsonl"))


LETTERS = "Answer with the letter of the right option."
NAMED: list[tuple[str, list[dict[str, Any]], str, list[tuple[str, ...]]]] = [
    # name, rows, the first prompt, references of every row
    (
        "MMLU",
        [{"question": f"Sum {i}?", "subject": "m", "choices": ["p", "q", "r", "s"], "answer": i} for i in (1, 0, 3)],
        f"Sum 1?\n\nA. p\nB. q\nC. r\nD. s\n\n{LETTERS}",
        [("B",), ("A",), ("D",)],
    ),
    (
        "MMLU-Pro",
        [
            {"question": f"Q{i}?", "options": [f"o{k}" for k in range(10)], "answer": "ABCDEFGHIJ"[i], "answer_index": i}
            for i in (8, 1)
        ],
        "Q8?\n\n" + "\n".join(f"{'ABCDEFGHIJ'[k]}. o{k}" for k in range(10)) + f"\n\n{LETTERS}",
        [("I",), ("B",)],
    ),
    (
        "ARC",
        [
            {"question": "Gas?", "choices": {"text": ["oxygen", "neon"], "label": ["A", "B"]}, "answerKey": "B"},
            {"question": "Rock?", "choices": {"text": ["lava", "ice", "tin"], "label": ["1", "2", "3"]}, "answerKey": "1"},
        ],
        f"Gas?\n\nA. oxygen\nB. neon\n\n{LETTERS}",
        [("B",), ("A",)],
    ),
    (
        "GSM8K",
        [{"question": "Bags?", "answer": "3*5=<<3*5=15>>15.\n#### 15"}, {"question": "Cost?", "answer": "So\n#### 1,250"}],
        "Bags?",
        [("15",), ("1,250",)],
    ),
    (
        "MATH",
        [
            {"problem": "x?", "solution": r"So $x = \boxed{\frac{7}{2}}$.", "level": "Level 5", "type": "Algebra"},
            {
                "problem": "y?",
                "solution": r"First \boxed{1}, at last \boxed{\text{(B)}}.",
                "level": "Level 1",
                "type": "Algebra",
            },
        ],
        "x?",
        [(r"\frac{7}{2}",), (r"\text{(B)}",)],
    ),
    (
        "SQuAD",
        [
            {
                "context": "Broncos won.",
                "question": "Who?",
                "answers": {"text": ["Broncos", "The Broncos"], "answer_start": [0, 0]},
            },
            {"context": "Rain.", "question": "When?", "answers": {"text": ["1066"], "answer_start": [0]}},
        ],
        "Broncos won.\n\nWho?",
        [("Broncos", "The Broncos"), ("1066",)],
    ),
    (
        "DocVQA",
        [
            {"questionId": str(i), "question": f"Brand {i}?", "answers": ["Dakota", "dakota"], "image": b64(png((i, 0, 0)))}
            for i in (0, 1)
        ],
        "Brand 0?",
        [("Dakota", "dakota")] * 2,
    ),
    (
        "ScienceQA",
        [
            {
                "question": f"Which {i}?",
                "choices": ["Maine", "Ohio"],
                "answer": i,
                "hint": hint,
                "image": b64(png((i, 0, 9))),
                "lecture": "long",
                "solution": "The answer is Maine.",
            }
            for i, hint in ((0, "Look at the map."), (1, ""))
        ],
        f"Look at the map.\n\nWhich 0?\n\nA. Maine\nB. Ohio\n\n{LETTERS}",
        [("A",), ("B",)],
    ),
    (
        "MMBench",
        [
            {
                "index": i,
                "question": f"Arrow {i}?",
                "hint": "nan",
                "A": "root",
                "B": "stem",
                "C": third,
                "D": "nan",
                "answer": "B",
                "image": b64(png((i, 9, 9))),
            }
            for i, third in ((0, "leaf"), (1, "nan"))
        ],
        f"Arrow 0?\n\nA. root\nB. stem\nC. leaf\n\n{LETTERS}",
        [("B",), ("B",)],
    ),
    (
        "PIQA",
        [{"goal": f"Open {i}", "sol1": "pull", "sol2": "push", "label": i} for i in (1, 0)],
        f"Open 1\n\nA. pull\nB. push\n\n{LETTERS}",
        [("B",), ("A",)],
    ),
    (
        "WinoGrande",
        [{"sentence": f"The _ {i}", "option1": "cup", "option2": "case", "answer": str(i)} for i in (2, 1)],
        f"The _ 2\n\nA. cup\nB. case\n\n{LETTERS}",
        [("B",), ("A",)],
    ),
    (
        "MedMCQA",
        [
            {"question": f"Cure {i}?", "opa": "w", "opb": "x", "opc": "y", "opd": "z", "cop": i, "exp": "because y"}
            for i in (2, 0)
        ],
        f"Cure 2?\n\nA. w\nB. x\nC. y\nD. z\n\n{LETTERS}",
        [("C",), ("A",)],
    ),
    (
        "HellaSwag",
        [{"ctx": f"She {i}", "endings": ["e1", "e2", "e3", "e4"], "label": i, "source_id": "s"} for i in ("3", "0")],
        f"She 3\n\nA. e1\nB. e2\nC. e3\nD. e4\n\n{LETTERS}",
        [("D",), ("A",)],
    ),
    (
        "alpaca",
        [
            {"instruction": "Translate.", "input": "Good morning", "output": "Bonjour"},
            {"instruction": "Name a colour.", "input": "", "output": "Blue"},
        ],
        "Translate.\n\nGood morning",
        [("Bonjour",), ("Blue",)],
    ),
]


@pytest.mark.parametrize(("name", "rows", "prompt", "references"), NAMED, ids=[name for name, *_ in NAMED])
def test_known_sets_are_found_by_their_columns(
    name: str, rows: list[dict[str, Any]], prompt: str, references: list[tuple[str, ...]], tmp_path: Path
) -> None:
    arguments = prepare_hf_data.parse_arguments(["--dataset", str(write_rows(tmp_path / "rows.jsonl", rows))])
    plan = prepare_hf_data.plan_run(arguments)
    questions = list(plan.questions())
    assert questions[0].prompt == prompt
    assert [question.references for question in questions] == references
    assert f"data set read as {name}-shaped: prompt from " in plan.describe()[0]
    assert all(len(question.images) == ("image" in row) for question, row in zip(questions, rows, strict=True))


def test_references_and_what_is_left_out_reach_the_records_and_the_printed_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(body: dict[str, Any]) -> Reply:
        return completion("Broncos" if body["model"] == "right" else "Panthers")

    answers = {"text": ["Denver Broncos", "Broncos"], "answer_start": [0, 7]}
    rows = [{"context": f"Game {n}.", "question": "Who won?", "answers": answers} for n in range(6)]
    rows += [{"context": "Rain.", "question": "Who?", "answers": {"text": [], "answer_start": []}}]
    rows += [{"context": "Sun.", "question": "", "answers": answers}]
    write_rows(tmp_path / "rows.jsonl", rows)
    with ChatServer(script) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": name, "base_url": server.url} for name in ("right", "wrong")])
        assert stage1(*flags(tmp_path), "--match-only", "--dry-run") == 2
        assert "row 7: column 'question' holds no prompt" in capsys.readouterr().err
        assert stage1(*flags(tmp_path), "--match-only", "--skip-bad-rows", "--dry-run", "--json") == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out) == {
            "stage": 1, "dry run": True, "questions": 6, "without reference": 1, "bad rows": 1
        }  # fmt: skip
        for line in (
            "data set read as SQuAD-shaped: prompt from question; context from context; reference from answers",
            "1 of 7 rows have no reference to judge answers by and are left out: row 6;",
            "1 bad row is left out (--skip-bad-rows): row 7: column 'question' holds no prompt",
            "the prompt of row 0, as models will be asked it:\n  | Game 0.\n  | \n  | Who won?\n",
            "its references: Denver Broncos | Broncos\n",
        ):
            assert line in captured.err
        assert not server.bodies
        assert stage1(*flags(tmp_path), "--match-only", "--skip-bad-rows") == 0
    records = read_evaluations(tmp_path / "out")
    assert len(records) == 6
    for number, record in enumerate(records):
        assert record["prompt"] == f"Game {number}.\n\nWho won?"
        assert (record["answer"], record["answers"]) == ("Denver Broncos", ["Denver Broncos", "Broncos"])
        assert record["model_scores"] == {"right": 1, "wrong": 0}


@pytest.mark.parametrize("count", [1, 15, 40])
def test_paths_without_a_folder_are_told_once_and_no_advice_leaves_out_every_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    rows = [{"prompt": f"What is in {n}?", "answer": "a cat", "images": [f"images/{n}.png"]} for n in range(count)]
    write_rows(tmp_path / "rows.jsonl", rows)
    write_pool(tmp_path / "pool.yaml", [{"name": "m", "modalities": ["text", "image"]}])
    assert stage1(*flags(tmp_path), "--dry-run") == 2
    said = capsys.readouterr().err
    assert f"none of its rows can be asked ({count} bad): " in said
    assert said.count("is only a path; name the folder that it is below with --picture-folder") == 1
    assert "'images/0.png'" in said
    assert "--skip-bad-rows" not in said
    # With one row that can be asked, leaving out the others is a choice.
    write_rows(tmp_path / "rows.jsonl", [{"prompt": "What is 1+1?", "answer": "2", "images": []}, *rows])
    assert stage1(*flags(tmp_path), "--dry-run") == 2
    said = capsys.readouterr().err
    assert count == 1 or f"{min(count, 20)} rows cannot be asked: rows 1, 2, 3," in said
    assert said.count("is only a path") == 1
    assert "--skip-bad-rows" in said


ROWS: list[tuple[str, dict[str, Any], str, tuple[str, ...]]] = [
    ("a prompt as messages", {"prompt": [{"role": "user", "content": "Sum {i}?"}], "answer": "4"}, "Sum 0?", ("4",)),
    (
        "prompt and completion as messages",
        {"prompt": [{"role": "user", "content": "Sum {i}?"}], "completion": [{"role": "assistant", "content": "4"}]},
        "Sum 0?",
        ("4",),
    ),
    (
        "a prompt as messages, the reference in a struct",
        {"prompt": [{"role": "user", "content": "Sum {i}?"}], "reward_model": {"style": "rule", "ground_truth": "4"}},
        "Sum 0?",
        ("4",),
    ),
    ("input as messages", {"input": [{"role": "user", "content": "Sum {i}?"}], "ideal": "4"}, "Sum 0?", ("4",)),
    ("inputs and targets", {"inputs": "Sum {i}?", "targets": ["4", "four"]}, "Sum 0?", ("4", "four")),
    (
        "options with scores",
        {"input": "Sum {i}?", "target_scores": {"4": 0, "5": 1}},
        f"Sum 0?\n\nA. 4\nB. 5\n\n{LETTERS}",
        ("B",),
    ),
    (
        "a right answer beside wrong ones",
        {"Question": "Sum {i}?", "Correct Answer": 4, "Incorrect Answer 1": 2, "Incorrect Answer 2": 3},
        f"Sum 0?\n\nA. 3\nB. 2\nC. 4\n\n{LETTERS}",
        ("C",),
    ),
    (
        "a list of distractors",
        {"question": "Sum {i}?", "answer": "x", "distractors": ["y", "z"]},
        f"Sum 0?\n\nA. x\nB. y\nC. z\n\n{LETTERS}",
        ("A",),
    ),
    (
        "retrieved contexts",
        {"user_input": "Sum {i}?", "reference": "4", "retrieved_contexts": ["c", "d"]},
        "<documents>\nc\nd\n</documents>\n\nSum 0?",
        ("4",),
    ),
    (
        "labels inside a context",
        {"question": "Sum {i}?", "context": {"contexts": ["c"], "labels": ["METHODS"]}, "final_decision": "yes"},
        "c\n\nSum 0?",
        ("yes",),
    ),
    (
        "options with blanks around them",
        {"Question": "Sum {i}?", "Correct Answer": " c\n", "Incorrect Answer 1": " 2 ", "Incorrect Answer 2": "b\n"},
        f"Sum 0?\n\nA. c\nB. 2\nC. b\n\n{LETTERS}",
        ("A",),
    ),
    (
        "a model's answer beside the truth",
        {"question": "Sum {i}?", "answer": "5", "contexts": ["c"], "ground_truth": "4"},
        "<documents>\nc\n</documents>\n\nSum 0?",
        ("4",),
    ),
    ("a response beside its reference", {"user_input": "Sum {i}?", "response": "5", "reference": "4"}, "Sum 0?", ("4",)),
    (
        "printed contexts",
        {"question": "Sum {i}?", "context": "", "contexts": "['c', 'd']", "answer": "4"},
        "<documents>\nc\nd\n</documents>\n\nSum 0?",
        ("4",),
    ),
    ("a history that is text", {"question": "Sum {i}?", "answer": "4", "history": "Of France."}, "Sum 0?", ("4",)),
]


@pytest.mark.parametrize(("row", "prompt", "references"), [case[1:] for case in ROWS], ids=[case[0] for case in ROWS])
def test_rows_of_other_tools_are_read(row: dict[str, Any], prompt: str, references: tuple[str, ...], tmp_path: Path) -> None:
    rows = [json.loads(json.dumps(row).replace("{i}", str(number))) for number in range(3)]
    question = read_questions(write_rows(tmp_path / "rows.jsonl", rows))[0]
    assert (question.full_text, question.references) == (prompt, references)
    assert question.prompt == prompt.rpartition("</documents>")[2].strip()


def test_wrong_options_do_not_show_where_the_right_one_stands(tmp_path: Path) -> None:
    rows = [{"question": f"Sum {i}?", "correct_answer": f"{i}", "incorrect_answers": [f"{i}1", f"{i}2"]} for i in range(60)]
    references = [question.answer for question in read_questions(write_rows(tmp_path / "rows.jsonl", rows))]
    assert {letter: references.count(letter) > 8 for letter in "ABC"} == dict.fromkeys("ABC", True)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"system_prompt": "Be brief."}, [("system", "Be brief."), ("user", "Sum 0?")]),
        ({"history": [["Hi", "Yes?"]]}, [("user", "Hi"), ("assistant", "Yes?"), ("user", "Sum 0?")]),
        (
            {"system": "S", "history": [["Hi", "Yes?"]]},
            [("system", "S"), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Sum 0?")],
        ),
        ({"chat_history": [{"role": "user", "content": "Hi"}]}, [("user", "Hi"), ("user", "Sum 0?")]),
        ({"system": None, "history": []}, [("user", "Sum 0?")]),
        ({"history": "[['Hi', 'Yes?']]"}, [("user", "Hi"), ("assistant", "Yes?"), ("user", "Sum 0?")]),
    ],
)
def test_a_system_prompt_and_earlier_turns_in_columns_are_sent(
    row: dict[str, Any], told: list[tuple[str, str]], tmp_path: Path
) -> None:
    rows = [row | {"question": f"Sum {number}?", "answer": "4"} for number in range(3)]
    question = read_questions(write_rows(tmp_path / "rows.jsonl", rows))[0]
    assert [(message["role"], message["content"]) for message in question_messages(question)] == told
    assert (question.prompt, question.context != "") == ("Sum 0?", "Hi" in str(told))


def test_a_system_prompt_beside_a_conversation_is_sent(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}]
    path = write_rows(
        tmp_path / "rows.jsonl",
        [{"system": "S", "conversations": [{"from": "human", "value": f"{i}"}, *said[1:]]} for i in range(3)],
    )
    assert [message["role"] for message in question_messages(read_questions(path)[0])] == ["system", "user"]


def test_the_judge_reads_the_system_prompt_that_models_are_told(tmp_path: Path) -> None:
    rows = [{"system": "Answer in French.", "question": f"Sum {number}?", "answer": "4"} for number in range(3)]
    first, *_ = read_questions(write_rows(tmp_path / "rows.jsonl", rows))
    assert (first.full_text, first.asked_text) == ("System: Answer in French.\n\nUser: Sum 0?", "Sum 0?")


@pytest.mark.parametrize("asked", [{"messages": [{"role": "user", "content": "Sum 0?"}]}, {"question": "Sum 0?"}])
def test_a_history_that_holds_the_request_and_a_system_prompt_is_told_once(asked: dict[str, Any], tmp_path: Path) -> None:
    said = [("system", "S"), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Sum 0?")]
    row = {"history": [{"role": role, "content": text} for role, text in said], **asked, "answer": "4"}
    other = {name: json.loads(json.dumps(value).replace("Sum 0", "Sum 1")) for name, value in row.items()}
    question = read_questions(write_rows(tmp_path / "rows.jsonl", [row, other]))[0]
    assert [(turn.role, turn.text) for turn in question.turns] == said
    assert question.prompt == "Sum 0?"


def test_passages_beside_messages_are_shown_where_they_are_asked_for(tmp_path: Path) -> None:
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    rows = [
        {"messages": [*before, {"role": "user", "content": f"Who {i}?"}], "contexts": [f"One {i}.", "Two."], "answer": "Ann"}
        for i in range(3)
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    plain = read_questions(path)[0]
    named = read_questions(path, "--context-column", "contexts")[0]
    templated = read_questions(path, "--prompt-template", "{{ context }} {{ prompt }}")[0]
    assert plain.turns[-1].text == plain.prompt == named.prompt == "Who 0?"
    assert [turn.text for turn in named.turns] == ["Hi", "Yes?", "<documents>\nOne 0.\nTwo.\n</documents>\n\nWho 0?"]
    assert "One 0.\nTwo." in named.context
    assert templated.prompt.startswith("One 0.\nTwo. User: Hi")


@pytest.mark.parametrize(
    "earlier", [[["Hi", "Yes?"]], [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]]
)
@pytest.mark.parametrize("repeated", [False, True])
def test_a_history_beside_messages_stands_before_them_once(earlier: list[Any], repeated: bool, tmp_path: Path) -> None:
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}] if repeated else []
    rows = [
        {
            "history": earlier,
            "messages": [{"role": "system", "content": "S"}, *before, {"role": "user", "content": f"Sum {i}?"}],
        }
        for i in range(3)
    ]
    question = read_questions(write_rows(tmp_path / "rows.jsonl", [row | {"answer": "4"} for row in rows]))[0]
    assert [turn.text for turn in question.turns] == ["S", "Hi", "Yes?", "Sum 0?"]
    assert question.full_text == "System: S\n\nUser: Hi\n\nAssistant: Yes?\n\nUser: Sum 0?"


@pytest.mark.parametrize(
    "document",
    [
        {"question": ["A?", "B?"], "answer": ["a", "b"]},
        {"question": {"0": "A?", "1": "B?"}, "answer": {"0": "a", "1": "b"}},
        {"columns": ["question", "answer"], "index": [0, 1], "data": [["A?", "a"], ["B?", "b"]]},
        {"first": {"question": "A?", "answer": "a"}, "second": {"question": "B?", "answer": "b"}},
    ],
    ids=["a list a column", "an object a column", "columns and data", "an object a row"],
)
def test_json_tables_are_read(document: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(json.dumps(document))
    assert [(q.prompt, q.answer) for q in read_questions(tmp_path / "table.json")] == [("A?", "a"), ("B?", "b")]


def test_several_lists_of_rows_in_one_file_are_not_read_as_one(tmp_path: Path) -> None:
    parts = {part: [{"question": f"{part} {n}?", "answer": "a"} for n in range(2)] for part in ("mine", "yours")}
    (tmp_path / "parts.json").write_text(json.dumps(parts))
    with pytest.raises(DataError, match=r"no column for the prompt.*it has mine, yours"):
        read_questions(tmp_path / "parts.json")


def test_a_place_that_no_row_has_is_an_error_and_not_a_question_without_its_options(tmp_path: Path) -> None:
    rows = [{"question": f"q{number}", "choices": ["x", "y"], "answer": 7} for number in range(2)]
    with pytest.raises(DataError, match=r"answer 7 is none of the 2 options.*--first-index"):
        read_questions(write_rows(tmp_path / "rows.jsonl", rows))


def read_conversation(tmp_path: Path, messages: list[dict[str, Any]], *more: str, **columns: Any) -> Question:
    other = {"messages": [{"role": "user", "content": "Another?"}, {"role": "assistant", "content": "no"}]}
    return read_questions(write_rows(tmp_path / "rows.jsonl", [{"messages": messages, **columns}, other]), *more)[0]


def shown(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    asked = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}
    return [asked, {"role": "assistant", "content": "a cat"}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image", "path": "a.png"},
        {"type": "image", "image": {"bytes": None, "path": "a.png"}},
    ],
)
def test_an_image_of_a_message_that_is_a_files_name_is_opened_or_refused(part: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png((1, 2, 3)))
    with pytest.raises(DataError, match=r"'a\.png' is only a path"):
        read_conversation(tmp_path, shown(part))
    assert len(read_conversation(tmp_path, shown(part), "--picture-folder", str(tmp_path)).images) == 1


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image"},
        {"type": "image_file", "image_file": {"file_id": "file-abc"}},
        {"type": "input_image", "file_id": "file-abc"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ],
)
def test_what_a_model_would_not_be_shown_is_an_error(part: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"placeholders or ids|is not sent to models"):
        read_conversation(tmp_path, shown(part))


def test_a_placeholder_stands_for_an_image_of_a_column(tmp_path: Path) -> None:
    image = b64(png((1, 2, 3)))
    assert len(read_conversation(tmp_path, shown({"type": "image"}), images=[image]).images) == 1
    with pytest.raises(DataError, match="placeholders"):
        read_conversation(tmp_path, shown({"type": "image"}, {"type": "image"}), images=[image])


def test_models_are_asked_the_last_request_whole_and_held_against_what_came_of_it(tmp_path: Path) -> None:
    """What a program put beside the words is shown to them; results of tools behind the request are not."""
    told = "<document_context>\nIt is blue.\n</document_context>\nWhich colour?"
    result = {"type": "tool_result", "tool_use_id": "t", "content": "blue"}
    question = read_conversation(
        tmp_path,
        [
            {"role": "user", "content": told},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": "blue"},
        ],
    )
    assert (question.prompt, question.references) == ("Which colour?", ("blue",))
    assert question_messages(question) == [{"role": "user", "content": told}]
    assert question.full_text == told, "the judge sees what the model saw"


@pytest.mark.parametrize("api", ["chat", "messages"])
def test_tool_turns_before_the_last_request_are_told_as_text(tmp_path: Path, api: str) -> None:
    """Their ids are those of the API that the log is of: an endpoint refuses a result without its call."""
    call, said = {"id": "t", "type": "function", "function": {"name": "look", "arguments": "{}"}}, "It is blue."
    turns: list[dict[str, Any]] = (
        [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "t", "content": said}]
        if api == "chat"
        else [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": said}]},
        ]
    )
    ends = [
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "And in French?"},
        {"role": "assistant", "content": "Bleu."},
    ]
    messages = question_messages(read_conversation(tmp_path, [{"role": "user", "content": "Which colour?"}, *turns, *ends]))
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert '"look"' in messages[1]["content"]
    assert messages[2]["content"] == f"Result of a tool:\n{said}"
    assert messages[-1] == {"role": "user", "content": "And in French?"}
