"""Names read by the place that a question asks for, and numbers by the name that it asks of."""

from __future__ import annotations

import time

import pytest

from auto_router.collect.matching.verdict import match


@pytest.mark.parametrize(
    ("question", "answer", "right", "not_right"),
    [
        ("Who beat the Reds?", "The Blues beat the Reds.", "the Blues", "the Reds"),
        ("Who did the Reds beat?", "The Reds beat the Blues.", "the Blues", "the Reds"),
        ("Who did the Reds beat?", "The Greens beat the Reds.", None, "the Greens"),
        ("Who built the mill?", "The mill was built by the Dutch engineer Jan Smit in 1802.", "Jan Smit", "the mill"),
        ("Who built the mill?", "The mill was built by the son of Jan Smit.", None, "Jan Smit"),
        ("Who built the mill?", "Jan Smit should have built the mill.", None, "Jan Smit"),
        ("Who built the mill?", "Jan Smit nearly built the mill.", None, "Jan Smit"),
        ("Who built the mill?", "Jan Smit built it.", "Jan Smit", "it"),
        ("What did Ida sell?", "Ida sold a boat.", "a boat", "Ida"),
        ("Where does he live?", "He lives in Turin.", "Turin", "Milan"),
        ("Who won the cup?", "Oslo won and Bergen lost.", "Oslo", "Bergen"),
        ("Who won the cup?", "Oslo won, not Bergen.", "Oslo", "Bergen"),
    ],
)
def test_a_name_stands_in_the_place_that_is_asked_for(question: str, answer: str, right: str | None, not_right: str) -> None:
    assert right is None or match(answer, right, (), question) is True
    assert match(answer, not_right, (), question) is not True


@pytest.mark.parametrize(
    ("question", "answer", "reference"),
    [
        ("Who hired Max?", "Ida was hired by Max.", "Ida"),
        ("Who hired Max?", "Ida was hired.", "Ida"),
        ("Who was hired by Max?", "Ida hired Max.", "Ida"),
        ("Who was hired by Max?", "Max was hired by Ida.", "Ida"),
        ("Whom did Ida hire?", "She was hired by Max.", "Max"),
        ("What does rust cause?", "Rust is caused by water.", "water"),
        ("Who was taught music?", "Ida taught music.", "Ida"),
        ("Who called Ida?", "Ida called Max.", "Max"),
        ("Who did Ida call?", "Max did.", "Max"),
        ("Who never called?", "Ida did.", "Ida"),
        ("Who should have won?", "Ida won.", "Ida"),
        ("Who won in 1991?", "Ida won in 1990.", "Ida"),
        ("Who won the race?", "The race was won by the man who beat Ida.", "Ida"),
        ("Who won the race?", "The race was won by the team facing Ida.", "Ida"),
        ("Where does Ida come from?", "Ida came to Turin.", "Turin"),
        ("What did Ida turn lead into?", "Ida turned gold into lead.", "gold"),
        ("Whom did Ida introduce to Max?", "Ida introduced Max to Lou.", "Lou"),
        ("Who is older, Ida or Max?", "Ida was older, but Max is older now.", "Ida"),
    ],
)
def test_a_name_in_another_place_than_the_asked_is_not_right(question: str, answer: str, reference: str) -> None:
    assert match(answer, reference, (), question) is not True


@pytest.mark.parametrize(
    ("question", "answer", "reference"),
    [
        ("Who hired Max?", "Max was hired by Ida.", "Ida"),
        ("Who was hired by Max?", "Ida was hired by Max.", "Ida"),
        ("Who called?", "Ida did.", "Ida"),
        ("Which firm did Oslo Steel buy in 1912?", "Oslo Steel bought Vik Iron in 1912.", "Vik Iron"),
        ("Where does Ida come from?", "Ida comes from Turin.", "Turin"),
        ("Who beat Max?", "Max was beaten by Ida.", "Ida"),
    ],
)
def test_a_name_in_the_asked_place_is_right(question: str, answer: str, reference: str) -> None:
    assert match(answer, reference, (), question) is True


@pytest.mark.parametrize(
    ("question", "answer", "reference"),
    [
        ("Who was the first mayor?", "Ida Vik was the second mayor.", "Ida Vik"),
        ("Which is the second largest town of Norland?", "Vik is the largest town of Norland.", "Vik"),
        ("Who is the head of Vik Iron?", "Ida Vik is the head of Oslo Steel.", "Ida Vik"),
        ("Who is the head of Vik Iron?", "Ida Vik is the deputy head of Vik Iron.", "Ida Vik"),
        ("Who is the father of Ida?", "Max is the son of Ida.", "Max"),
        ("Who painted the mill?", "The mill was owned by Max.", "Max"),
        ("How old is Ida's brother?", "Ida is 14.", "14"),
    ],
)
def test_what_is_said_of_something_else_is_undecided(question: str, answer: str, reference: str) -> None:
    assert match(answer, reference, (), question) is None


@pytest.mark.parametrize(
    ("question", "answer", "verdict"),
    [
        ("Did Ida hire Max?", "Ida was hired by Max.", None),
        ("Was Ida hired by Max?", "Ida hired Max.", None),
        ("Was Ida hired by Max?", "Ida was hired by Max.", True),
        ("Was Ida hired by Max?", "She was not hired by Max.", False),
    ],
)
def test_a_claim_is_not_restated_in_the_other_voice(question: str, answer: str, verdict: bool | None) -> None:
    assert match(answer, "yes", (), question) is verdict


@pytest.mark.parametrize(
    "answer",
    [
        "Lead is heavier than tin.",
        "Tin is lighter than lead.",
        "Tin is lighter.",
        "Lead is the heavier one.",
        "Lead is heavier, but tin is dearer.",
    ],
)
def test_one_of_a_pair_is_picked_by_a_comparison_or_its_opposite(answer: str) -> None:
    question = "Which is heavier, lead or tin?"
    assert match(answer, "lead", (), question) is True
    assert match(answer, "tin", (), question) is False


@pytest.mark.parametrize(
    "answer", ["Lead is not heavier than tin.", "Lead is about as heavy as tin.", "Zinc is heavier than tin."]
)
def test_a_comparison_that_picks_neither_is_undecided(answer: str) -> None:
    assert [match(answer, metal, (), "Which is heavier, lead or tin?") for metal in ("lead", "tin")] == [None, None]


@pytest.mark.parametrize(
    ("question", "answer", "right", "not_right"),
    [
        ("How many hens are there?", "hens = 12, goats = 23", "12", "23"),
        ("How many goats are there?", "Hens: 12, goats: 23", "23", "12"),
        ("How old is Kim?", "Kim is 12 and Lou is 15.", "12", "15"),
        ("What is the area?", "The area is 40. The perimeter is 26.", "40", "26"),
        ("What is twice the width?", "The length is 9 and the width is 4.", None, "4"),
        ("How many eggs are broken?", "She bought 12 eggs, and 3 are broken.", None, "12"),
        ("How many boys are there?", "There are 30 children, of whom 14 are boys.", None, "30"),
        ("How heavy is the rock?", "It weighs 3 stone, that is 19 kg.", None, "3 kg"),
        ("How deep is the well?", "It is 7 M deep.", "7 m", "8 m"),
        ("How much did the film make?", "It made 7 M.", None, "7 m"),
        ("How many wheels does a car have?", "A tricycle has 3 wheels, a car has 4.", None, "3"),
        ("What is the angle in degrees?", "30 radians", None, "30"),
    ],
)
def test_of_several_numbers_the_asked_one_counts(question: str, answer: str, right: str | None, not_right: str) -> None:
    assert right is None or match(answer, right, (), question) is True
    assert match(answer, not_right, (), question) is not True


def test_who_says_that_a_word_would_be_wrong_denies_it() -> None:
    assert match("'Yes' would be the wrong answer.", "yes") is False
    assert match("'Yes' would be the wrong answer.", "no") is None


@pytest.mark.parametrize(
    "answer",
    [
        "x, i.e. " * 3000,
        "Ann, of course, " * 3000,
        "ann = 1, " * 3000,
        "Ann is 3 and " * 3000,
        "Sir the Ann " * 3000,
        ", since" * 3000 + "\n.",
        ", not 5" * 3000,
        ",    " * 2500,
        "of 2, 3 and 4, " * 1000,
    ],
)
def test_hostile_answers_take_no_longer_than_others(answer: str) -> None:
    begin = time.perf_counter()
    for question in ("Who is older, Ann or Bo?", "How many does Ann have?", "Who saw Ann?"):
        for reference in ("Ann", "3", "3 m"):
            match(answer, reference, (), question)
    assert time.perf_counter() - begin < 9
