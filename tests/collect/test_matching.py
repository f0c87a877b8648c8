"""The rules that decide an answer without a judge: True, False, or None where they cannot tell."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.collect.matching import match
from auto_router.collect.numbers import last_quantity, quantity
from auto_router.collect.stated import chosen_letter, chosen_letters, final_answer

TRUE, FALSE, UNKNOWN = True, False, None


@pytest.mark.parametrize(
    ("response", "reference", "expected"),
    [
        # multiple choice
        ("B", "B", TRUE),
        ("b", "B", TRUE),
        ("(B)", "B", TRUE),
        ("B) Paris", "(B)", TRUE),
        ("**B.** Paris", "B", TRUE),
        ("** (d)", "d", TRUE),
        ("The correct answer is B.", "B", TRUE),
        ("A is wrong, C is wrong.\nAnswer: D", "D", TRUE),
        ("Option C: because", "C", TRUE),
        ("The answer is B", "C", FALSE),
        ("(A)", "B", FALSE),
        ("Either (A) or (B).", "A", UNKNOWN),
        ("a cat", "A", UNKNOWN),
        ("I do not know.", "C", UNKNOWN),
        ("", "A", UNKNOWN),
        # numbers, by value
        ("42", "42", TRUE),
        ("42.0", "42", TRUE),
        ("The total is 6 * 7 = 42.", "42", TRUE),
        ("$1,234.50", "1234.5", TRUE),
        ("1{,}000", "1000", TRUE),
        ("1,\\!000", "1000", TRUE),
        ("\\boxed{\\frac{1}{2}}", "0.5", TRUE),
        ("1/2", "0.5", TRUE),
        ("-3", "3", FALSE),
        ("−3", "-3", TRUE),
        ("1e3", "1000", TRUE),
        ("The area is 12 cm^2", "12", TRUE),
        ("12 m²", "12", TRUE),
        ("so x^2 = 9 and x = 3", "3", TRUE),
        ("41", "42", FALSE),
        ("forty-two", "42", UNKNOWN),
        ("1/0", "0", UNKNOWN),
        ("50%", "0.5", TRUE),
        ("0.5", "50%", TRUE),
        ("50", "50%", TRUE),
        ("It is 50 percent.", "50", TRUE),
        ("60%", "0.5", FALSE),
        ("5 km", "5 km", TRUE),
        ("5", "5 km", TRUE),
        ("5000 m", "5 km", UNKNOWN),
        ("7 kilometers", "5 km", FALSE),
        ("5000", "5 km", UNKNOWN),
        ("$18", "18", TRUE),
        ("18 dollars", "$18", TRUE),
        ("1 \\frac{1}{2}", "1.5", TRUE),
        ("\\dfrac12", "1/2", TRUE),
        ("3.14159", "3.14", TRUE),
        ("0.333", "1/3", UNKNOWN),
        ("3.14", "3", FALSE),
        ("3 \\times 10^5", "300000", TRUE),
        ("90^\\circ", "90", TRUE),
        ("2\\sqrt{2}", "2", UNKNOWN),
        ("12 - 10d", "12", UNKNOWN),
        ("2, -1", "2", UNKNOWN),
        ("x = 3 or x = 4", "4", UNKNOWN),
        ("\\frac{ \\sqrt{3} }{2}", "\\frac{\\sqrt{3}}{2}", TRUE),
        ("(A) and (B)", "A", UNKNOWN),
        ("A, B", "A", UNKNOWN),
        ("B and C are both right", "B", UNKNOWN),
        ("I, as a model, cannot say", "I", UNKNOWN),
        ("(M)", "(M)", TRUE),
        # several choices, and lists
        ("b, c, d", "b,c,d", TRUE),
        ("(B), (D) and (C)", "b,c,d", TRUE),
        ("b, c", "b,c,d", FALSE),
        ("all of them", "b,c,d", UNKNOWN),
        ("blue, red and green", "red, green, blue", TRUE),
        ("The colours are red, green, blue", "red, green and blue", TRUE),
        ("red, green", "red, green, blue", UNKNOWN),
        ("x = 3, x = -2", "-2, 3", TRUE),
        ("[1, 2, 3]", "[1,2,3]", TRUE),
        ("The output is `[1, 3, 2]`", "[1, 2, 3]", FALSE),
        ("[\"a\", 'b']", "['a', 'b']", TRUE),
        ("{1: 2, 1: 3}", "{1: 3}", UNKNOWN),
        ("{'a': [1]}", "{'a': [1]}", TRUE),
        ("__import__('os').system('true')", "[1]", UNKNOWN),
        ("[" * 3000, "[1]", UNKNOWN),
        # yes and no
        ("Yes, it does.", "yes", TRUE),
        ("No.", "Yes", FALSE),
        ("The statement is **True**.", "true", TRUE),
        ("False", "true", FALSE),
        ("yes and no", "yes", UNKNOWN),
        ("maybe", "no", UNKNOWN),
        # wording: a difference proves nothing
        ("Paris", "paris.", TRUE),
        ("The capital is Paris.", "Paris", TRUE),
        ("It is called **Paris**, in France", "Paris", TRUE),
        ("the Eiffel tower", "Eiffel Tower", TRUE),
        ("Lyon", "Paris", UNKNOWN),
        ("not Paris", "Paris", UNKNOWN),
        ("2025-08-21", "2025-08-21", TRUE),
        ("20:38", "20:38", TRUE),
        # code: brackets and quotes are part of the value
        ("[]", "[]", TRUE),
        ("{}", "[]", UNKNOWN),
        ("(1, 2)", "[1, 2]", UNKNOWN),
        ("[1,2]", "[1, 2]", TRUE),
        ("'abc'", "'abc'", TRUE),
        ('"abc"', "'abc'", TRUE),
        ("ABC", "'abc'", UNKNOWN),
        ("...", "!!!", UNKNOWN),
        ("", "...", UNKNOWN),
        # no reference, nothing to say
        ("anything", "", UNKNOWN),
        ("", " \n", UNKNOWN),
    ],
)
def test_verdicts_computed_by_hand(response: str, reference: str, expected: bool | None) -> None:
    assert match(response, reference) is expected


@pytest.mark.parametrize(
    ("response", "final"),
    [
        ('```json\n{"reasoning": "x = {1}", "answer": "7"}\n```', "7"),
        ('{"reasoning": "\\(x\\)", "answer": "\\\\frac{1}{2}"}', "\\frac{1}{2}"),
        ('{"answer": 7}', "7"),
        ('{"answer": [7]}', '{"answer": [7]}'),
        ('{"answer": null}', '{"answer": null}'),
        ("\\boxed{1} and \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{never closed", "\\boxed{never closed"),
        ("First the answer is 3. Then the answer is 4.", "4."),
        ("Answer: B\nbecause it is so", "B"),
        ("  short  ", "short"),
        ("The answer is:", "The answer is:"),
    ],
)
def test_the_final_answer_is_what_the_response_states_last(response: str, final: str) -> None:
    assert final_answer(response) == final


def test_quantities_and_letters() -> None:
    texts = ["5", "€ 5", "50%", "1,000", "-.5", "1/4", "5 cm", "1 1/2", "\\frac{3}{4}", "3 \\times 10^{5}", "½", "20^\\circ"]
    found = [quantity(text) for text in texts]
    assert [q and q.value for q in found] == [5, 5, 50, 1000, -0.5, 0.25, 5, 1.5, 0.75, 300_000, 0.5, 20]
    assert [q and q.unit for q in found] == ["", "€", "%", "", "", "", "cm", "", "", "", "", "°"]
    assert [quantity(text) for text in ("five", "5 6", "1/0", "", "2x", "x = 5", "about 5")] == [None] * 7
    last = last_quantity("3 apples and 4.5 pears")
    assert last is not None
    assert (last.value, last.unit, last.decimals) == (4.5, "pear", 1)
    assert [last_quantity(text) for text in ("none", "\\sqrt{2}", "2\\pi", "3 or 4", "12 - 10d", "(1 + √3) / 2")] == [None] * 6
    assert [chosen_letter(text) for text in ("C", "(c) x", "it is (C)", "(A) (B)", "word", "A.", "(A) and (B)", "a, b")] == [
        *("C", "C", "C", None, None, "A", None, None),
    ]
    assert chosen_letters("b,c,d") == chosen_letters("BCD") == chosen_letters("(B), (C) and (D)") == frozenset("BCD")
    assert [chosen_letters(text) for text in ("bad", "CAB", "a cat", "")] == [None] * 4


ANY = st.text(max_size=60) | st.text(alphabet="aAbB012.,/()[]{}\"'`*\\ -:answerisboxed\n", max_size=60)


@given(ANY, ANY)
def test_matching_never_raises(response: str, reference: str) -> None:
    assert match(response, reference) in (True, False, None)


@given(ANY.filter(lambda text: any(c.isalnum() for c in text)))
def test_a_reply_equal_to_its_reference_is_never_wrong(reference: str) -> None:
    marked = final_answer(reference) != reference.strip()
    assert marked or match(reference, reference) is not False


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_whole_numbers_are_right_exactly_when_equal(given_number: int, wanted: int) -> None:
    close = abs(given_number - wanted) <= 1e-6 * max(abs(given_number), abs(wanted))
    assert match(f"The answer is {given_number:,}.", str(wanted)) is close


@pytest.mark.parametrize(
    "response",
    [
        '{"answer": ' + "[" * 100_000 + "}",
        "9" * 10_000,
        "1/" + "9" * 10_000,
        "1e99999999999",
        "\\boxed{" * 20_000,
        "answer is " * 20_000,
        "{" * 50_000,
        "'" * 50_000,
        "**" * 50_000,
        "(A) " * 50_000,
        "\ud800",
    ],
)
@pytest.mark.timeout(10)
def test_hostile_answers_are_decided_or_not_but_quickly(response: str) -> None:
    for reference in ("5", "A", "yes", "word", "'literal'"):
        assert match(response, reference) in (True, False, None)


def test_the_rules_agree_with_recorded_verdicts(shared_data: Path) -> None:
    """Real answers of seven models: of what the rules decide, at least 97 % per source agrees with the known labels."""
    with gzip.open(shared_data / "replay7" / "data.json.gz", "rt", encoding="utf-8") as file:
        rows = json.load(file)
    agreed: dict[str, list[bool]] = defaultdict(list)
    asked: dict[str, int] = defaultdict(int)
    for row in rows:
        source = "/".join(row["source"].split("/")[:2])
        for model, response in row["responses"].items():
            asked[source] += 1
            verdict = match(response or "", row["answer"])
            if verdict is not None:
                agreed[source].append(verdict == bool(row["model_scores"][model]))
    assert len(asked) == 5
    for source, decided in agreed.items():
        assert sum(decided) / len(decided) >= 0.97, source
        assert len(decided) / asked[source] >= 0.7, source
