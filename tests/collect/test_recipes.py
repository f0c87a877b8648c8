"""How cells become prompt, options and right answers; templates that cannot harm; notes where nothing tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.collect.options import Options, choose_numbers, find_right, read_options
from auto_router.collect.plan import make_plan, preview
from auto_router.collect.prompt_template import PromptTemplate, read_template
from auto_router.collect.question import Question
from auto_router.collect.references import read_references
from auto_router.collect.source import Source
from auto_router.errors import ConfigError, DataError
from tests.fakes import say
from tests.stage1 import write_rows


def source(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Source:
    return Source(str(write_rows(folder / "rows.jsonl", rows)), **options)


def questions(folder: Path, rows: list[dict[str, Any]], **options: Any) -> list[Question]:
    return list(source(folder, rows, **options).questions())


@pytest.mark.parametrize(
    ("cell", "references"),
    [
        ("Paris", ("Paris",)),
        (15, ("15",)),
        (0, ("0",)),
        (False, ("False",)),
        (2.5, ("2.5",)),
        (None, ()),
        ("  ", ()),
        ([], ()),
        (float("nan"), ()),
        (["Dakota", "dakota digital"], ("Dakota", "dakota digital")),
        (["nokia", "sony", "sony"], ("sony", "nokia")),
        ({"text": ["a", "b"], "answer_start": [0, 4]}, ("a", "b")),
        ({"text": [], "answer_start": []}, ()),
        ({"value": "Lewis", "aliases": ["S. Lewis"], "type": "x"}, ("Lewis", "S. Lewis")),
        ([{"answer": "net", "answer_id": 1}, {"answer": "nets", "answer_id": 2}], ("net", "nets")),
        ("5 * 3 = 15\n#### 15", ("15",)),
        (r"so \boxed{\frac{7}{2}}", (r"\frac{7}{2}",)),
        ("['a', 'b']", ("['a', 'b']",)),
    ],
)
def test_a_cell_gives_its_right_answers(cell: Any, references: tuple[str, ...]) -> None:
    assert read_references(cell) == references


def test_a_printed_list_is_several_answers_only_where_the_column_is_of_several(tmp_path: Path) -> None:
    printed = '["Paris", "paris"]'
    (question,) = questions(tmp_path, [{"question": "q", "answers": printed}])
    assert question.references == ("Paris", "paris")
    (question,) = questions(tmp_path, [{"question": "q", "output": printed}])
    assert question.references == (printed,)


ROOT, STEM = "root", "stem"


@pytest.mark.parametrize(
    "cell",
    [
        [ROOT, STEM],
        ["A) root", "B) stem"],
        ["(a) root", "(b) stem"],
        [{"label": "A", "text": ROOT}, {"label": "B", "text": STEM}],
        {"text": [ROOT, STEM], "label": ["A", "B"]},
        {"A": ROOT, "B": STEM},
        {"option_a": ROOT, "option_b": STEM},
        "['root', 'stem']",
        '{"A": "root", "B": "stem"}',
        "A. root\nB. stem",
        "A. root B. stem",
        "root\nstem",
        "root | stem",
    ],
)
def test_options_are_read_in_every_form(cell: Any) -> None:
    options = read_options(cell)
    assert options is not None
    assert options.texts == (ROOT, STEM)


@pytest.mark.parametrize("cell", [None, "", "root", [ROOT], [], {"x": 1}, 7, [ROOT, None], {"text": "root", "label": "A"}])
def test_what_holds_no_two_options_is_none(cell: Any) -> None:
    assert read_options(cell) is None


FOUR = Options(("4", "5", "6", "7"), ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("answer", "numbers", "places"),
    [
        (1, "0", (1,)),
        (1, "1", (0,)),
        ("5", "text", (1,)),
        ("B", "0", (1,)),
        ("(b)", "0", (1,)),
        ("B) 5", "0", (1,)),
        ("option_b", "0", (1,)),
        (["A", "C"], "0", (0, 2)),
        ("A, C", "0", (0, 2)),
        ("AC", "0", (0, 2)),
        ([0, 1, 0, 1], "0", (1, 3)),
        ("nothing", "0", ()),
        (9, "0", ()),
        (None, "0", ()),
    ],
)
def test_an_answer_names_its_options(answer: Any, numbers: str, places: tuple[int, ...]) -> None:
    assert find_right(answer, FOUR, numbers) == places


WORDS = Options(("w", "x", "y"))
NUMBERED = Options(("w", "x", "y"), ("1", "2", "3"))


@pytest.mark.parametrize(
    ("options", "answers", "chosen"),
    [
        (WORDS, [0, 1, 2], ("0", True)),
        (WORDS, [1, 2, 3], ("1", True)),
        (WORDS, [1, 2], ("0", False)),
        (NUMBERED, [1, 2, 3], ("name", True)),
        (NUMBERED, ["3", "1"], ("name", True)),
        (NUMBERED, [0, 1, 2], ("0", True)),
        (Options(("1", "2", "3")), ["2", "3"], ("text", True)),
        (Options(("1", "2", "3")), [0, 2], ("0", True)),
        (WORDS, ["A", "C"], ("0", True)),
    ],
)
def test_what_numbers_mean_is_told_by_the_whole_set(options: Options, answers: list[Any], chosen: tuple[str, bool]) -> None:
    assert choose_numbers([(answer, options) for answer in answers]) == chosen


@given(
    st.lists(st.text(min_size=1, max_size=9).filter(str.strip), min_size=2, max_size=8, unique_by=lambda t: t.strip()),
    st.data(),
)
def test_an_index_names_the_option_at_its_place(texts: list[str], data: st.DataObject) -> None:
    options = read_options(texts)
    assert options is not None
    place = data.draw(st.integers(0, len(texts) - 1))
    assert find_right(place, options, "0") == (place,)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
KEYS = st.sampled_from(["text", "label", "answer", "A", "B", "x", ""])


@settings(max_examples=60)
@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=6))
def test_no_cell_breaks_a_reader(cell: Any) -> None:
    assert all(isinstance(text, str) and text.strip() for text in read_references(cell, printed=True))
    options = read_options(cell)
    assert options is None or len(options.texts) >= 2
    assert all(0 <= place < 4 for place in find_right(cell, FOUR))


def test_indices_out_of_range_are_named_with_the_flag_that_helps(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "options": ["x", "y", "z"], "answer": n} for n in (1, 2, 3)]
    assert [q.answer for q in questions(tmp_path, rows)] == ["A", "B", "C"]
    with pytest.raises(DataError, match=r"row 2: answer 3 is none of the 3 options, which are counted from 0 .*--first-index"):
        questions(tmp_path, rows, first_index=0)
    hidden = [{"question": "q", "options": ["x", "y"], "answer": n} for n in (0, 1, -1)]
    assert [q.references for q in questions(tmp_path, hidden)] == [("A",), ("B",), ()]


def test_a_note_says_what_could_not_be_told(tmp_path: Path) -> None:
    rows = [{"question": "q", "options": ["x", "y", "z"], "answer": n} for n in (1, 2)]
    (note,) = source(tmp_path, rows).recipe.notes
    assert "taken as places counted from 0" in note
    assert "--first-index 1" in note
    (note,) = source(tmp_path, [{"text": "t", "label": n} for n in (0, 1)]).recipe.notes
    assert "numbers of classes without names (0, 1)" in note
    assert "--prompt-template" in note
    assert source(tmp_path, [{"text": "t", "label": "a"}], template=PromptTemplate("{{ text }} a or b?")).recipe.notes == ()


def test_the_template_of_a_user_sees_every_column_but_the_answer(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "options": ["x", "y"], "answer": "B", "extra": "e"},
        {"question": "r", "options": ["x", "y"], "answer": "A"},
    ]
    text = "{{ question }}/{{ extra }}/{{ choices | join('+') }}/{{ letters }}/{{ row.extra }}"
    first, second = questions(tmp_path, rows, template=PromptTemplate(text))
    assert (first.prompt, second.prompt) == ("q/e/x+y/AB/e", "r//x+y/AB/")
    assert (first.references, first.choices) == (("B",), ("x", "y"))
    with pytest.raises(DataError, match=r"row 0: --prompt-template cannot be filled in \('answer' is undefined\); it may use"):
        questions(tmp_path, rows, template=PromptTemplate("{{ question }} {{ answer }}"))


def test_a_template_shows_a_conversation_whole(tmp_path: Path) -> None:
    long = "why " * 300
    turns = [say("user", "one?"), say("assistant", "1"), say("user", long), say("assistant", "so")]
    (question,) = questions(tmp_path, [{"messages": turns}], template=PromptTemplate("{{ prompt }} Be brief."))
    assert question.prompt == f"User: one?\n\nAssistant: 1\n\nUser: {long.strip()} Be brief."
    assert (question.turns, question.context, question.full_text) == ((), "", question.prompt)
    (question,) = questions(tmp_path, [{"messages": turns}])
    assert question.full_text == f"User: one?\n\nAssistant: 1\n\nUser: {long.strip()}", "a judge reads it whole"
    assert len(question.context) < 500, "what is embedded is bounded"


def test_cells_are_never_templates(tmp_path: Path) -> None:
    rows = [{"question": "{{ 7 * 7 }} {% raw %}", "context": "{{ x }}", "answer": "a"}]
    assert questions(tmp_path, rows)[0].prompt == "{{ x }}\n\n{{ 7 * 7 }} {% raw %}"
    assert questions(tmp_path, rows, template=PromptTemplate("{{ question }}"))[0].prompt == "{{ 7 * 7 }} {% raw %}"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ row.update({'a': 1}) }}",
        "{{ question * 10000000000000 }}",
        "{% for i in range(9999999) %}{{ i }}{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ nothing }}",
        "{% if false %}{{ question }}{% endif %}",
    ],
)
def test_a_template_that_harms_or_fails_is_one_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"row 0: (--prompt-template cannot be filled in|the prompt is empty)"):
        questions(tmp_path, [{"question": "q", "answer": "a"}], template=PromptTemplate(text))


def test_a_template_is_text_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("{{ question }}!", encoding="utf-8")
    assert read_template(str(tmp_path / "t.txt")) == read_template("{{ question }}!") == PromptTemplate("{{ question }}!")
    assert read_template(None).is_default
    for name, says in (("no_file.txt", "is no file that can be read"), ("{{ question ", "is no Jinja template")):
        with pytest.raises(ConfigError, match=says):
            read_template(name)


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"question": "Read: c. q?", "context": "c"}, "Read: c. q?"),
        ({"question": "q?\nA) x\nB) y", "options": ["x", "y"]}, "q?\nA) x\nB) y"),
        ({"question": "q?", "context": ""}, "q?"),
        ({"instruction": "i", "input": None}, "i"),
    ],
)
def test_what_the_prompt_says_already_is_not_said_twice(tmp_path: Path, row: dict[str, Any], prompt: str) -> None:
    assert questions(tmp_path, [row | {"answer": "A"}])[0].prompt == prompt


def test_several_right_options_are_asked_for_as_such(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": f"q{n}", "options": ["x", "y", "z"], "answer": answer} for n, answer in enumerate(("A,C", "B"))
    ]
    first, second = questions(tmp_path, rows)
    assert first.prompt.endswith("Answer with the letters of all right options.")
    assert (first.references, second.references) == (("A, C",), ("B",))


def test_the_preview_shows_the_first_prompt_that_can_be_judged(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "", "options": ["x", "y"], "answer": "A"},
        {"question": "no?", "options": ["x", "y"], "answer": None},
        {"question": "q?", "options": ["x", "y"], "answer": "B"},
    ]
    assert preview(source(tmp_path, rows)) == (
        "the prompt of row 2, as models will be asked it:\n  | q?\n  | \n  | A. x\n  | B. y\n  | \n"
        "  | Answer with the letter of the right option.\nits references: B (the option 'y')"
    )


def test_rows_without_a_reference_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "answer": "" if n % 3 == 0 else "a"} for n in range(9)]
    plan = make_plan(source(tmp_path, rows), None, 0.2, 0)
    assert plan.rows.tolist() == [1, 2, 4, 5, 7, 8]
    assert any("3 of 9 rows have no reference" in line and "rows 0, 3, 6" in line for line in plan.describe())


def test_a_reason_that_many_rows_share_is_told_once(tmp_path: Path) -> None:
    rows = [{"question": "" if n < 30 else f"q{n}", "answer": "a"} for n in range(40)]
    plan = make_plan(source(tmp_path, rows), None, 0.2, 0, skip_bad_rows=True)
    (line,) = (line for line in plan.describe() if "--skip-bad-rows" in line)
    assert line.count("holds no prompt") == 1
    assert line.startswith("30 bad rows are left out (--skip-bad-rows): rows 0, 1, 2,")
    with pytest.raises(
        DataError, match=r"at least 30 rows cannot be asked: rows 0, 1, .*; correct them, or leave such rows out"
    ):
        make_plan(source(tmp_path, rows), None, 0.2, 0)
