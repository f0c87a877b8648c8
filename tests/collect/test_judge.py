"""Verdicts: what the rules decide, what the judge is shown, and which of its replies count."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.collect.judge import Verdict, judge_by_rules
from auto_router.collect.question import Question
from auto_router.collect.reply import Response
from tests.helpers import judge_messages, parse_verdict, png, verdict_id

QUESTION = Question(0, "How many?", ("5",), (), None, "g")


def test_the_rules_come_first() -> None:
    assert judge_by_rules(Response("five is 5"), QUESTION, match_only=False) == Verdict(1, "match", "rule")
    assert judge_by_rules(Response("6"), QUESTION, match_only=False) == Verdict(0, "no match", "rule")
    assert judge_by_rules(Response("some"), QUESTION, match_only=False) is None
    assert judge_by_rules(Response("some"), QUESTION, match_only=True) == Verdict(0, "no match", "rule")


def test_without_a_reference_there_is_no_verdict_and_no_judge_is_asked() -> None:
    question = Question(0, "Write a poem.", (), (), None, "g")
    for match_only in (False, True):
        verdict = judge_by_rules(Response("Roses"), question, match_only)
        assert verdict == Verdict(None, "no reference answer to judge by")


def test_no_answer_is_no_verdict() -> None:
    assert judge_by_rules(Response(None, error="timeout"), QUESTION, match_only=True) == Verdict(None, "timeout")
    assert judge_by_rules(Response(None), QUESTION, match_only=True) == Verdict(None, "no answer")


def test_an_answer_that_was_cut_off_is_right_or_unknown() -> None:
    assert judge_by_rules(Response("It is 5", finish_reason="length"), QUESTION, match_only=False) == Verdict(
        1, "match", "rule"
    )
    for match_only in (False, True):
        verdict = judge_by_rules(Response("Let me think: 3 and", finish_reason="length"), QUESTION, match_only)
        assert verdict == Verdict(None, "cut off at max_tokens before a right answer")


ID = verdict_id(QUESTION, "six")


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"id": "ID", "correct": true}', 1),
        ('{"id": "ID", "correct": false}', 0),
        ('  {"id": "ID", "why": "same", "correct": true}\n', 1),
        ('```json\n{"id": "ID", "correct": false}\n```', 0),
        ('```\n{"id": "ID", "correct": true}```', 1),
        ('<think>\n{"correct": false} or not?</think>\n{"id": "ID", "correct": true}', 1),
        ('{"correct": true}', None),
        ('{"id": "000000000000", "correct": true}', None),
        ('{"id": "ID", "correct": true, "correct": false}', None),
        ("true", None),
        ('{"id": "ID", "correct": "true"}', 1),
        ('{"id": "ID", "correct": "no",}', 0),
        ('{"id": "ID", "correct": "perhaps"}', None),
        ('{"id": "ID", "correct": 1}', None),
        ('{"id": "ID", "correct": null}', None),
        ('{"id": "ID", "Correct": true}', None),
        ('[{"id": "ID", "correct": true}]', 1),
        ('{"verdicts": [{"id": "ID", "correct": true}]}', 1),
        ('{"id": "ID", "why": "it says <think> and </think>", "correct": true}', 1),
        ('<think>{"id": "ID", "correct": false}</think>{"id": "ID", "correct": true}', 1),
        ('<think>{"id": "ID", "correct": true}', None),
        ('hmm\n</think>\n{"id": "ID", "correct": true}', 1),
        ("{'id': 'ID', 'correct': True}", 1),
        ('{"id": "ID", "correct": true} {"id": "ID", "correct": false}', None),
        ('I think {"id": "ID", "correct": true}', 1),
        ('```json\n{"id": "ID", "correct": false}\n```\nHope that helps!', 0),
        ("", None),
        ("[" * 100_000, None),
        ("{" * 100_000, None),
    ],
)
def test_only_one_clear_boolean_is_a_verdict(reply: str, score: int | None) -> None:
    verdict = parse_verdict(Response(reply.replace("ID", ID)), ID)
    assert verdict.score == score
    assert verdict.by == "judge"
    assert verdict.reason == "judge" if score is not None else re.match("judge: (unreadable|no clear) verdict", verdict.reason)
    assert len(verdict.reason) < 200


@pytest.mark.parametrize(
    ("value", "score"),
    [
        ("0.5", 0.5),
        ("1", 1),
        ("0", 0),
        ("true", None),
        ("1.5", None),
        ("-1", None),
        ("NaN", None),
        ('"1"', 1),
        ('"7"', None),
        ("1.0000000000000002", 1),
        ("-1e-17", 0),
        ("1.001", None),
        ("Infinity", None),
    ],
)
def test_grades_lie_between_0_and_1(value: str, score: float | None) -> None:
    assert parse_verdict(Response(f'{{"id": "{ID}", "score": {value}}}'), ID, graded=True).score == score
    assert parse_verdict(Response(f'{{"id": "{ID}", "score": {value}}}'), ID).score is None


def test_a_judge_that_fails_gives_no_verdict_but_its_reason() -> None:
    assert parse_verdict(Response(None, error="HTTP 429"), ID) == Verdict(None, "judge: HTTP 429", "judge")


@given(st.text(max_size=40), st.booleans())
def test_any_reply_is_read(reply: str, graded: bool) -> None:
    assert parse_verdict(Response(reply), ID, graded).score is None


def document(content: str) -> dict[str, str]:
    """The user message is one JSON document and nothing else."""
    value: dict[str, str] = json.loads(content)
    return value


@given(st.text(max_size=80), st.text(max_size=20), st.text(max_size=20))
def test_the_candidate_stays_data_inside_the_document(answer: str, prompt: str, reference: str) -> None:
    question = Question(0, prompt, (reference,), (), None, "g")
    system, user = judge_messages(question, answer)
    assert (system["role"], user["role"]) == ("system", "user")
    assert system == judge_messages(QUESTION, "other")[0]
    expected = {"id": verdict_id(question, answer), "question": prompt, "reference": reference, "answer": answer}
    assert document(user["content"]) == expected
    assert len(user["content"].split("\n")) == 6
    assert not [c for c in user["content"] if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")]


def test_what_people_read_is_not_escaped() -> None:
    _, user = judge_messages(Question(0, "何ですか", ("猫 è",), (), None, "g"), "ein Kätzchen 🐈")
    assert all(word in user["content"] for word in ("何ですか", "猫 è", "ein Kätzchen 🐈"))


def test_the_judge_sees_images_only_when_given_and_never_the_model() -> None:
    red = png((255, 0, 0))
    question = Question(0, "Colour?", ("red",), (red,), None, "g")
    assert isinstance(judge_messages(question, "red")[1]["content"], str)
    text, image = judge_messages(question, "crimson", question.images)[1]["content"]
    assert set(document(text["text"])) == {"id", "question", "reference", "answer"}
    assert image["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(red).decode()}"


def test_several_references_and_options_are_matched_and_shown() -> None:
    several = Question(0, "Who won?", ("Denver Broncos", "Broncos"), (), None, "g")
    assert judge_by_rules(Response("The answer is Broncos."), several, match_only=False) == Verdict(1, "match", "rule")
    lettered = Question(0, "Gas?", ("B",), (), None, "g", choices=("oxygen", "carbon dioxide"))
    assert judge_by_rules(Response("carbon dioxide"), lettered, match_only=False) == Verdict(1, "match", "rule")
    assert judge_by_rules(Response("oxygen"), lettered, match_only=False) == Verdict(0, "no match", "rule")
    system, user = judge_messages(several, "the team of Denver")
    shown: dict[str, object] = dict(document(user["content"]))
    assert shown["references"] == ["Denver Broncos", "Broncos"]
    assert "reference" not in shown
    assert "each of them is right" in system["content"]
    system, user = judge_messages(lettered, "CO2")
    shown = dict(document(user["content"]))
    assert (shown["choices"], shown["reference"]) == (["oxygen", "carbon dioxide"], "B")
    assert "texts of the options" in system["content"]
    other = Question(0, "Who won?", ("Denver Broncos", "Carolina"), (), None, "g")
    assert len({verdict_id(question, "x") for question in (several, other, replace(several, is_test=True))}) == 2
