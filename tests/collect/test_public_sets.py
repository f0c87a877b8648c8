"""Rows of public data sets, and of the files that people make of them: what is asked, and which answers are right."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from auto_router.collect.matching.verdict import match
from auto_router.collect.question import Question
from auto_router.collect.references import read_printed
from auto_router.collect.source import Source
from auto_router.data.images import image_bytes
from auto_router.errors import DataError
from tests.collect.test_data_sets import LETTERS, read_questions
from tests.helpers import png
from tests.stage1 import b64, write_rows

Rows = list[dict[str, Any]]
PANDAS = "{'text': array(['p (one)', \"it's\", 'r'], dtype=object), 'label': array(['A', 'B', 'C'], dtype=object)}"
PRINTED = {"text": ["Ann Lee", "Ann"], "answer_start": [3, 3]}
EMPTY_DATE = {"day": "", "month": "", "year": ""}
CHAT = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "{i}?"}]


def table(row: dict[str, Any], **columns: list[Any]) -> Rows:
    """Rows that are alike but for their number, ``{i}``, and for some columns."""
    count = len(next(iter(columns.values()), [0, 0]))
    rows = [json.loads(json.dumps(row).replace("{i}", str(number))) for number in range(count)]
    return [row | {name: cells[number] for name, cells in columns.items()} for number, row in enumerate(rows)]


def asked(question: str, *options: str) -> str:
    return "\n".join(
        [question, "", *(f"{letter}. {text}" for letter, text in zip("ABCDE", options, strict=False)), "", LETTERS]
    )


# name, rows, what is asked first, the references of every row that has some
SETS: list[tuple[str, Rows, str, dict[int, tuple[str, ...]]]] = [
    ("PIQA, hidden answers", table({"goal": "g{i}", "sol1": "p", "sol2": "q"}, label=[1, 0, -1, 1]), asked("g0", "p", "q"),
     {0: ("B",), 1: ("A",), 3: ("B",)}),
    ("WinoGrande, mostly hidden", table({"sentence": "s{i}", "option1": "p", "option2": "q"}, label=[1, -1, -1, 0]),
     asked("s0", "p", "q"), {0: ("B",), 3: ("A",)}),
    ("hidden answers as texts", table({"question": "q{i}", "choices": ["p", "q", "r"]}, label=["2", "0", "1", "-1"]),
     asked("q0", "p", "q", "r"), {0: ("C",), 1: ("A",), 2: ("B",)}),
    ("options that are negative", table({"question": "q{i}", "options": ["-1", "0", "1"]}, answer=["-1", "1", "0"]),
     asked("q0", "-1", "0", "1"), {0: ("A",), 1: ("C",), 2: ("B",)}),
    ("Belebele", table({"flores_passage": "P.", "question": "q{i}", "mc_answer1": "p", "mc_answer2": "q", "mc_answer3": "r"},
                       correct_answer_num=["3", "1", "2"]), "P.\n\n" + asked("q0", "p", "q", "r"),
     {0: ("C",), 1: ("A",), 2: ("B",)}),
    ("A-OKVQA", table({"question": "q{i}", "choices": ["p", "q", "r"], "direct_answers": "r"}, correct_choice_idx=[2, 0, 1]),
     asked("q0", "p", "q", "r"), {0: ("C",), 1: ("A",), 2: ("B",)}),
    ("options padded", table({"question": "q{i}"}, options=[["p", "q", "r", None], ["p", "q", "", ""]], answer=["C", "B"]),
     asked("q0", "p", "q", "r"), {0: ("C",), 1: ("B",)}),
    ("a struct of options padded", table({"question": "q{i}"}, answerKey=["B", "A"],
                                         choices=[{"text": ["p", "q", None], "label": ["A", "B", "C"]}] * 2),
     asked("q0", "p", "q"), {0: ("B",), 1: ("A",)}),
    ("an object an option", table({"question": "q{i}", "options": [{"A": "p"}, {"B": "q"}]}, answer=["B", "A"]),
     asked("q0", "p", "q"), {0: ("B",), 1: ("A",)}),
    ("MMMU, open questions among the others", table({"question": "q{i}"}, options=["['p', 'q']", "['p', 'q']", "[]"],
                                                    answer=["B", "A", "['24/7', '3.429']"]), asked("q0", "p", "q"),
     {0: ("B",), 1: ("A",), 2: ("24/7", "3.429")}),
    ("MGSM", table({"question": "q{i}", "answer": "Schritt: 5 + 6 = 11."}, answer_number=[11, 12]), "q0",
     {0: ("11",), 1: ("12",)}),
    ("OlympiadBench", table({"question": "q{i}", "solution": ["Long."]}, final_answer=[["2"], ["3"]]), "q0",
     {0: ("2",), 1: ("3",)}),
    ("an empty final answer", table({"question": "q{i}", "answer": "7"}, final_answer=["", ""]), "q0", {0: ("7",), 1: ("7",)}),
    ("DROP, numbers and dates", table({"passage": "P.", "question": "q{i}"}, answer=[
        {"number": "4", "date": EMPTY_DATE, "spans": []}, {"number": "", "date": EMPTY_DATE, "spans": ["Ann"]},
        {"number": "", "date": {"day": "3", "month": "May", "year": "2001"}, "spans": []},
    ]), "P.\n\nq0", {0: ("4",), 1: ("Ann",), 2: ("3 May 2001",)}),
    ("MuSiQue", table({"question": "q{i}", "answer": "Ann"}, answer_aliases=[["Ann Lee", "Ann"], []]), "q0",
     {0: ("Ann", "Ann Lee"), 1: ("Ann",)}),
    ("NarrativeQA", table({"document": {"text": "whole book"}, "question": {"text": "q{i}"}, "answers": [{"text": "Ann"}]}),
     "q0", {0: ("Ann",), 1: ("Ann",)}),
    ("LiveBench", table({"category": "reasoning", "task": "t", "turns": ["q{i}"], "ground_truth": "4"}), "q0",
     {0: ("4",), 1: ("4",)}),
    ("turns that are counted", table({"turns": 2, "text": "q{i}", "answer": "4"}), "q0", {0: ("4",), 1: ("4",)}),
    ("UltraChat", table({"prompt": "One?", "messages": [*CHAT, {"role": "assistant", "content": "2"}]}),
     "User: One?\n\nAssistant: 1\n\nUser: 0?", {0: ("2",), 1: ("2",)}),
    ("a prompt, messages, and an answer", table({"prompt": "{i}?", "messages": CHAT, "answer": "4"}), "0?",
     {0: ("4",), 1: ("4",)}),
    ("messages as pandas prints", [
        {"messages": f"[{{'content': 'q{n}}}', 'role': 'user'}}\n {{'content': \"I'm\", 'role': 'model'}}]"} for n in (0, 1)
    ], "q0}", {0: ("I'm",), 1: ("I'm",)}),
    ("a prompt as messages, printed", table({"prompt": str([{"role": "user", "content": "q{i}"}]), "answer": "4"}), "q0",
     {0: ("4",), 1: ("4",)}),
    ("QNLI", table({"question": "q{i}", "sentence": "S."}, label=["entailment", "not_entailment"]), "S.\n\nq0",
     {0: ("entailment",), 1: ("not_entailment",)}),
    ("empty structs and lists", table({"question": "q{i}"}, answer=[{}, [None], "x", "y"]), "q2",
     {2: ("x",), 3: ("y",)}),
    ("MMMU, mostly open", table({"question": "q{i}"}, options=["['p', 'q']", "[]", "[]", "[]"],
                                answer=["B", "['4', '4.0']", "7", "x"]),
     asked("q0", "p", "q"), {0: ("B",), 1: ("4", "4.0"), 2: ("7",), 3: ("x",)}),
    ("answers that say which is right", table({"question": "q{i}"}, answers=[
        [{"text": "p", "isCorrect": flag}, {"text": "q", "isCorrect": not flag}] for flag in (True, False)]),
     asked("q0", "p", "q"), {0: ("A",), 1: ("B",)}),
    ("an answer as a sentence", table({"question": "q{i}", "options": ["p", "q", "r"]}, answer=[
        "The answer is (B).", "The correct option is: c"]), asked("q0", "p", "q", "r"), {0: ("B",), 1: ("C",)}),
    ("SetFit's sets", table({"text": "t{i}"}, label=[0, 1], label_text=["bad", "good"]), "t0", {0: ("bad",), 1: ("good",)}),
    ("a class that is no answer", table({"question": "q{i}", "answer": "x", "category_name": "history"}), "q0",
     {0: ("x",), 1: ("x",)}),
    ("a word's definition", table({"question": "What is q{i}?", "definition": "x is it", "answer": "x"}), "What is q0?",
     {0: ("x",), 1: ("x",)}),
    ("Natural Instructions", table({"definition": "D.", "inputs": "q{i}", "targets": ["x"]}), "D.\n\nq0",
     {0: ("x",), 1: ("x",)}),
    ("MuSR", table({"narrative": "S{i}.", "question": "Who?", "choices": "['p', 'q']", "answer_index": 1}),
     "S0.\n\n" + asked("Who?", "p", "q"), {0: ("B",), 1: ("B",)}),
    ("options that are structs", table({"question": "q{i}", "choices": {"A": {"text": "p"}, "B": {"text": "q"}}},
                                       answer=["B", "A"]),
     asked("q0", "p", "q"), {0: ("B",), 1: ("A",)}),
    ("short names", table({"question": "q{i}", "opt1": "p", "opt2": "q", "opt3": "r"}, ans=["1", "3"]),
     asked("q0", "p", "q", "r"), {0: ("A",), 1: ("C",)}),
    ("a reference with its reasoning", table({"prompt": "q{i}", "response": "<think>4 or 5? Or <b>6</b>.</think>\n\n5"}), "q0",
     {0: ("5",), 1: ("5",)}),
    ("P3", table({"inputs_pretokenized": "q{i}", "targets_pretokenized": "x"}), "q0", {0: ("x",), 1: ("x",)}),
    ("intents", table({"utterance": "t{i}"}, intent=["pay", "log in"]), "t0", {0: ("pay",), 1: ("log in",)}),
    ("HallusionBench", table({"question": "q{i}", "gt_answer_details": "d"}, gt_answer=["1", "0"]), "q0",
     {0: ("1",), 1: ("0",)}),
    ("T5's pairs", table({"input_text": "q{i}", "target_text": "x"}), "q0", {0: ("x",), 1: ("x",)}),
    ("user and assistant", table({"user": "q{i}", "assistant": "x"}), "q0", {0: ("x",), 1: ("x",)}),
    ("a conversation in a list", table({"question": [[{"role": "user", "content": "q{i}"}]], "ground_truth": "x"}), "q0",
     {0: ("x",), 1: ("x",)}),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "prompt", "references"), [case[1:] for case in SETS], ids=[case[0] for case in SETS])
def test_public_sets_are_read_as_they_are_meant(
    rows: Rows, prompt: str, references: dict[int, tuple[str, ...]], tmp_path: Path
) -> None:
    questions = read_questions(write_rows(tmp_path / "rows.jsonl", rows))
    assert questions[0].full_text == prompt
    assert {question.idx: question.references for question in questions} == references


def read_csv(rows: Rows, folder: Path) -> list[Question]:
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return read_questions(folder / "rows.csv")


def test_lists_within_a_list_are_read_wherever_a_conversation_may_stand(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "q{i}"}, {"role": "assistant", "content": "x"}]
    for rows in (
        table({"prompt": "p{i}", "messages": [chat]}),
        table({"question": "q{i}", "answer": [chat[1:]]}),
        table({"question": "q{i}", "answer": "x", "history": [chat]}),
    ):
        first, second = read_questions(write_rows(tmp_path / "rows.jsonl", rows))
        assert (first.prompt, second.prompt, first.references) == ("q0", "q1", ("x",))


def test_a_column_without_a_name_is_no_part_of_the_question(tmp_path: Path) -> None:
    """``DataFrame.to_csv`` writes row numbers under no name."""
    first, second = read_csv(table({"": "{i}", "question": "q{i}", "answer": "x"}), tmp_path)
    assert (first.full_text, second.full_text, first.references) == ("q0", "q1", ("x",))


def test_columns_that_models_are_not_shown_are_named(tmp_path: Path) -> None:
    rows = table({"id": "{i}", "table": "a | b", "question": "q{i}", "answer": "x"})
    source = Source(str(write_rows(tmp_path / "rows.jsonl", rows)))
    assert source.recipe.describe() == "prompt from question; reference from answer; not shown to models: id, table"
    many = table({f"more {number}": 1 for number in range(12)} | {"question": "q{i}", "answer": "x"})
    assert Source(str(write_rows(tmp_path / "many.jsonl", many))).recipe.describe().endswith("more 9 and 2 more")


def test_a_file_without_a_header_is_told_so(tmp_path: Path) -> None:
    """As MMLU's own files and MGSM's are."""
    (tmp_path / "rows.csv").write_text("Find the degree,0,4,2,6,B\nLet p be,8,2,24,120,C\n")
    with pytest.raises(
        DataError, match="or, if these are the words of a row, put a first line with the columns' names above it"
    ):
        read_questions(tmp_path / "rows.csv")


def test_marks_of_the_options_are_said_to_be_the_reference(tmp_path: Path) -> None:
    rows = table({"question": "q{i}", "answers": [{"text": "p", "correct": True}, {"text": "q", "correct": False}]})
    source = Source(str(write_rows(tmp_path / "rows.jsonl", rows)))
    assert source.recipe.describe() == "prompt from question; options from answers; reference from the marks of the options"


def test_a_letter_that_is_none_of_the_options_is_named(tmp_path: Path) -> None:
    rows = table({"question": "q{i}", "options": ["p", "q"]}, answer=["A", "B", "E"])
    with pytest.raises(DataError, match=r"row 2: answer E is none of the 2 options, A to B; correct it, or leave"):
        read_questions(write_rows(tmp_path / "rows.jsonl", rows))


def test_options_that_no_answer_names_are_told(tmp_path: Path) -> None:
    rows = table({"question": "q{i}", "options": ["p", "q"], "answer": "neither of them"})
    (note,) = Source(str(write_rows(tmp_path / "rows.jsonl", rows))).recipe.notes
    assert "'neither of them' name no option in 'options'" in note
    named = read_questions(tmp_path / "rows.jsonl", "--choices-column", "options")
    assert (named[0].full_text, named[0].references) == (asked("q0", "p", "q"), ("neither of them",))


def test_classes_are_found_in_lists_and_under_any_name(tmp_path: Path) -> None:
    """GoEmotions has lists of classes; CLINC has its classes in ``intent``."""
    names = datasets.ClassLabel(names=["joy", "fear"])
    for column, cells, feature in (("labels", [[1], [0]], datasets.List(names)), ("intent", [1, 0], names)):
        made = datasets.Dataset.from_dict({"text": ["t0", "t1"], column: cells}).cast_column(column, feature)
        made.to_parquet(tmp_path / f"{column}.parquet")
        questions = read_questions(tmp_path / f"{column}.parquet")
        assert [question.references for question in questions] == [("fear",), ("joy",)]
        assert questions[0].prompt.endswith("Answer with one of: joy, fear.")


def test_images_are_found_as_bytes_without_a_path(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "answer": "x", "page_1": {"bytes": png((n, 0, 0))}} for n in range(2)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    assert [len(question.images) for question in read_questions(tmp_path / "rows.parquet")] == [1, 1]


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("['p one' 'q two' \"it's\"]", ("p one", "q two", "it's")),
        ("['p one'\n 'q, two'\n 'r']", ("p one", "q, two", "r")),
        ("['1.5' '2.5' '3.5']", ("1.5", "2.5", "3.5")),
        ("array(['p (one)', 'q', 'r'], dtype='<U7')", ("p (one)", "q", "r")),
        (PANDAS, ("p (one)", "it's", "r")),
    ],
)
def test_options_as_pandas_writes_them_into_a_csv(cell: str, options: tuple[str, ...], tmp_path: Path) -> None:
    first, second = read_csv(table({"question": "q{i}", "choices": cell}, answer=["C", "A"]), tmp_path)
    assert (first.full_text, first.choices, first.references) == (asked("q0", *options), options, ("C",))
    assert second.references == ("A",)


@pytest.mark.parametrize(
    ("column", "cell", "references"),
    [
        ("answers", "{'text': array(['Ann Lee', 'Ann'], dtype=object), 'answer_start': array([3, 3], dtype=int32)}", None),
        ("answer", "{'text': array(['Ann Lee', 'Ann'], dtype=object), 'answer_start': array([3, 3], dtype=int32)}", None),
        ("answers", str(PRINTED), None),
        ("answers", "['Ann Lee' 'Ann']", None),
        ("answer", "['Ann Lee' 'Ann']", ("['Ann Lee' 'Ann']",)),
        ("answer", "[1, 2, 3]", ("[1, 2, 3]",)),
        ("answers", "[]", ()),
        ("answers", "{'text': array([], dtype=object), 'answer_start': array([], dtype=int32)}", ()),
    ],
)
def test_references_as_pandas_writes_them_into_a_csv(
    column: str, cell: str, references: tuple[str, ...] | None, tmp_path: Path
) -> None:
    questions = read_csv(table({"question": "q{i}"}, **{column: [cell, "x", "y"]}), tmp_path)
    found = {question.idx: question.references for question in questions}
    assert found.get(0, ()) == (("Ann Lee", "Ann") if references is None else references)


def test_quotes_that_never_end_take_no_time() -> None:
    for hostile in (
        "['" + "\\'" * 49_000 + "]",
        "[" + "'" * 90_000 + "]",
        "['a'" + " " * 90_000 + "]",
        "array([" + ")" * 90_000,
    ):
        assert read_printed(hostile) == hostile


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"question": "q{i}", "answer": "Ann", "label": [0, 1]}, "'label' seems to say whether each 'answer' is right"),
        ({"question": "q{i}", "answer": "Ann", "is_correct": [True, False]}, "'is_correct' seems to say"),
        (
            {"question": "q{i}", "options": [["p", "", "r"], ["p", "q", "r"], ["p", "q", "r"]], "answer": [0, 2, 1]},
            "options that are not all texts",
        ),
        ({"turns": ["a{i}?", "b?"], "reference": ["1", "2"]}, "holds 2 turns and not one prompt"),
    ],
)
def test_what_would_be_read_wrongly_is_one_error(row: dict[str, Any], error: str, tmp_path: Path) -> None:
    cells = {name: row[name] for name in ("label", "is_correct", "answer") if isinstance(row.get(name), list)}
    cells |= {"options": row["options"]} if "options" in row else {}
    path = write_rows(tmp_path / "rows.jsonl", table(row, **cells))
    with pytest.raises(DataError, match=error):
        read_questions(path)
    if "seems" in error:  # unless the user says so
        assert read_questions(path, "--answer-column", "answer")[0].references == ("Ann",)


def test_options_that_are_images_are_one_error(tmp_path: Path) -> None:
    options = [{"bytes": png((1, n, 0)), "path": None} for n in (1, 2)]
    rows = [{"question": f"q{n}", "options": options, "answer": "AB"[n % 2]} for n in range(4)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="options that are images"):
        read_questions(tmp_path / "rows.parquet")


ONE = b64(png((1, 2, 3)))
URI = f"data:image/png;base64,{ONE}"


@pytest.mark.parametrize(
    "image",
    [
        URI,
        {"url": URI},
        {"type": "image_url", "image_url": {"url": URI}},
        {"type": "image_url", "image_url": URI},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ONE}},
        {"bytes": ONE, "path": None},
        [{"url": URI}],
    ],
)
def test_an_image_in_any_struct_is_read(image: Any, tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "answer": "x", "image": image if n else None} for n in range(3)]
    questions = read_questions(write_rows(tmp_path / "rows.jsonl", rows))
    assert [question.images for question in questions] == [(), *[(image_bytes(ONE),)] * 2]


@pytest.mark.parametrize("head", ["data:image/png;base64,", ""])
def test_an_encoded_image_goes_before_its_preview(head: str, tmp_path: Path) -> None:
    preview = {"bytes": png((9, 9, 9)), "path": None}
    rows: Rows = [{"question": f"q{n}", "answer": "x", "image_preview": preview} for n in range(3)]
    for number, row in enumerate(rows):
        row["image"] = head + b64(png((1 + number, 2, 3)))
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    assert read_questions(tmp_path / "rows.parquet")[0].images == (image_bytes(ONE),)


def test_no_image_is_none_in_whichever_way_it_is_said(tmp_path: Path) -> None:
    nothing: list[Any] = [float("nan"), "", None, [], "[]"]
    rows = [{"question": f"q{n}", "answer": "x", "images": cell} for n, cell in enumerate(nothing)]
    assert [question.images for question in read_questions(write_rows(tmp_path / "rows.jsonl", rows))] == [()] * 5


@pytest.mark.parametrize(("name", "mark"), [("rows.csv", ","), ("rows.tsv", "\t")])
def test_empty_rows_of_a_spreadsheet_are_no_rows(name: str, mark: str, tmp_path: Path) -> None:
    lines = [
        f"question{mark}answer{mark}",
        f"Who?{mark}Ann{mark}",
        f" {mark}{mark}",
        f"What?{mark}Bob{mark}",
        mark * 2,
        mark * 2,
    ]
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert [question.references for question in read_questions(tmp_path / name)] == [("Ann",), ("Bob",)]


@pytest.mark.parametrize(("answer", "said"), [(True, "Yes"), ("true", "Yes"), ([False], "No")])
def test_a_truth_value_is_answered_with_yes_or_no(answer: Any, said: str, tmp_path: Path) -> None:
    rows = [{"question": f"Is it {n}?", "passage": "P.", "answer": answer} for n in range(2)]
    question = read_questions(write_rows(tmp_path / "rows.jsonl", rows))[0]
    verdicts = [match(word, question.references, question.choices) for word in ("Yes", "No")]
    assert verdicts == [said == "Yes", said == "No"]
