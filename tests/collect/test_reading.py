"""Which sentences of a response are its own answer, and of which thing: not what others want, nor of another time or name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from auto_router.collect.matching.verdict import match

TODAY = "Which day is today?"


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        # What somebody else wants to hear is no answer.
        ("8", "The user wants me to say 8.", None),
        ("8", "You want me to say 8", None),
        ("8", "I was told to answer 8.", None),
        ("8", "The prompt says to answer 8.", None),
        ("B", "I'm supposed to say B.", None),
        ("Paris", "The user wants me to say Paris.", None),
        ("yes", "The user claims yes.", None),
        ("9", "You told me to say 8, but the answer is 9.", True),
        ("8", "You told me to say 8, but the answer is 9.", False),
        ("8", "The user asked for the sum. The answer is 8.", True),
        ("8", "The user wants to know the sum, which is 8.", True),
        ("8", "They want 8 apples.", True),
        # Nor is one that its writer marks as wrong, beside the right one.
        ("8", "My answer: 9\nCorrect answer: 8", None),
        ("9", "My answer: 9\nCorrect answer: 8", None),
        ("B", "My guess: A. Actual answer: B.", None),
        ("8", "I answered 9, but the correct answer is 8.", None),
        ("9", "My answer is 9. The correct answer is 9.", True),
        ("8", "Student's answer: 9\nCorrect answer: 8", True),
        # Words that are numbers in another language.
        ("0", '{"answer": "null"}', None),
        ("7", "sept", None),
        # Coins, and bare numbers that may be of them.
        ("50 cents", "$0.50", True),
        ("50 cents", "The answer is $0.50.", True),
        ("50 cents", "0.50", None),
        ("5 cents", "0.05", None),
        ("$0.50", "50", None),
        ("$2.50", "250", None),
        ("$250", "2.50", False),
        ("50 cents", "$50", False),
    ],
)
def test_what_is_stated(reference: str, answer: str, right: bool | None) -> None:
    assert match(answer, reference) is right


@pytest.mark.parametrize(
    ("question", "reference", "answer", "right"),
    [
        (TODAY, "Tuesday", "Yesterday was Monday.", None),
        (TODAY, "Monday", "Yesterday was Monday.", None),
        (TODAY, "Monday", "Yesterday was Sunday, so today is Monday.", True),
        ("Which day was yesterday?", "Monday", "Yesterday was Monday.", True),
        ("Which day was yesterday?", "Monday", "Today is Tuesday, so yesterday was Monday.", True),
        ("What is the date today?", "2020-03-04", "Tomorrow is March 4, 2020.", None),
        ("What is the date a week ago?", "2020-03-04", "Today is March 4, 2020.", None),
        ("What is the date a week ago?", "2020-03-04", "A week ago was March 4, 2020.", True),
        ("Which year is it?", "2020", "Last year was 2020.", None),
        ("", "Monday", "Yesterday was Monday.", None),
        ("", "Monday", "Today is Monday.", True),
    ],
)
def test_another_time_than_the_question_asks_of(question: str, reference: str, answer: str, right: bool | None) -> None:
    assert match(answer, reference, (), question) is right


@pytest.mark.parametrize(
    ("question", "references", "answer", "right"),
    [
        ("", ["Georgia (country)", "Georgia"], "Georgia (US state)", None),
        ("", ["Georgia (country)", "Georgia"], "The answer is Georgia (the country).", True),
        ("", ["The Kiss", "The Kiss (Klimt)"], "The Kiss by Edvard Munch", None),
        ("", ["The Kiss", "The Kiss (Klimt)"], "**The Kiss** by Munch", None),
        ("", ["The Kiss", "The Kiss (Klimt)"], "The Kiss by Gustav Klimt", True),
        ("", ["The Kiss", "The Kiss by Gustav Klimt"], "The Kiss (Munch)", None),
        ("", "The Kiss (Klimt)", "The Kiss by Munch", None),
        ("Which country has Tbilisi?", "Georgia", "Georgia (US state)", None),
        ("Which state has Atlanta?", "Georgia", "Georgia (US state)", True),
        ("Which planet is hot?", "Mercury", "Mercury (the element)", None),
        ("Which planet is hot?", "Mercury", "Mercury (planet)", True),
        ("Who painted it?", "Leonardo da Vinci", "Leonardo da Vinci (Italian painter)", True),
    ],
)
def test_another_one_of_the_same_name(question: str, references: Sequence[str], answer: str, right: bool | None) -> None:
    assert match(answer, references, (), question) is right


@pytest.mark.parametrize(
    ("question", "reference", "answer", "right"),
    [
        ("What is the radius?", "10", "The diameter is 10, while the radius is 5.", None),
        ("What is the radius?", "5", "The diameter is 10, while the radius is 5.", True),
        ("What is the median?", "5", "The mean is 5; the median is 4.", None),
        ("What is the median?", "4", "The mean is 5; the median is 4.", True),
        ("What is the median?", "5", "The mean is 5; the median is 5.", True),
        ("When did she die?", "1850", "She was born in 1850 but did not die until 1901.", None),
        ("How old was he when he died?", "51", "He was born in 1850 and died in 1901, so he was 51.", True),
        ("When did it close?", "1988", "The last shop opened in 1901 and closed in 1988.", True),
    ],
)
def test_the_side_of_a_sentence_that_is_asked_for(question: str, reference: str, answer: str, right: bool | None) -> None:
    assert match(answer, reference, (), question) is right


@pytest.mark.parametrize("told", ["You said 5, which is wrong.", "The student wrote 5, and that is incorrect."])
def test_what_is_called_wrong_is_no_answer_beside_the_right_one(told: str) -> None:
    assert match(f"{told} It is 4.", "4") is True
    assert match(f"{told} It is 4.", "5") is not True


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        ("3.6 MJ", "1 kWh", True), ("36 MJ", "1 kWh", False), ("5 mW", "5 MW", False), ("5 mW", "0.005 W", True),
        ("2 MV", "2 mV", False), ("3 MPa", "3 mPa", False), ("7 MHz", "7 mHz", False), ("2 m", "2 M", None),
        ("3 km", "3 KM", True), ("pi/6", "30 degrees", True), ("pi/6 radians", "30 degrees", None), ("90°", "π/2 rad", None),
    ],
)  # fmt: skip
def test_units_of_another_size_or_kind(reference: str, answer: str, right: bool | None) -> None:
    assert match(answer, reference) is right
