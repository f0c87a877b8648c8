"""The rules that decide an answer without a judge: True, False, or None where they cannot tell."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.collect.matching.arithmetic import evaluate
from auto_router.collect.matching.choices import Rejected, read_letter, read_letters
from auto_router.collect.matching.expressions import same_expression
from auto_router.collect.matching.final_answer import clip, find_statements
from auto_router.collect.matching.quantities import parse_quantity
from auto_router.collect.matching.reasoning import strip_reasoning
from auto_router.collect.matching.verdict import match

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
        ("Either (A) or (B).", "A", FALSE),
        ("a cat", "A", UNKNOWN),
        ("I do not know.", "C", FALSE),
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
        ("so x^2 = 9 and x = 3", "3", UNKNOWN),
        ("41", "42", FALSE),
        ("forty-two", "42", TRUE),
        ("1/0", "0", UNKNOWN),
        ("50%", "0.5", TRUE),
        ("0.5", "50%", TRUE),
        ("50", "50%", TRUE),
        ("It is 50 percent.", "50", TRUE),
        ("60%", "0.5", FALSE),
        ("5 km", "5 km", TRUE),
        ("5", "5 km", TRUE),
        ("5000 m", "5 km", TRUE),
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
        ("2\\sqrt{2}", "2", FALSE),
        ("12 - 10d", "12", UNKNOWN),
        ("1", "100%", UNKNOWN),
        ("1024 MB", "1 GB", UNKNOWN),
        ("5 GB", "5 MB", FALSE),
        ("2, -1", "2", UNKNOWN),
        ("x = 3 or x = 4", "4", UNKNOWN),
        ("\\frac{ \\sqrt{3} }{2}", "\\frac{\\sqrt{3}}{2}", TRUE),
        ("(A) and (B)", "A", FALSE),
        ("A, B", "A", FALSE),
        ("Both B and C are right", "B", FALSE),
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
        ("maybe", "no", FALSE),
        # wording: a difference proves nothing
        ("Paris", "paris.", TRUE),
        ("The capital is Paris.", "Paris", TRUE),
        ("It is called **Paris**, in France", "Paris", TRUE),
        ("the Eiffel tower", "Eiffel Tower", TRUE),
        ("Lyon", "Paris", UNKNOWN),
        ("not Paris", "Paris", FALSE),
        ("2025-08-21", "2025-08-21", TRUE),
        ("20:38", "20:38", TRUE),
        # code: brackets and quotes are part of the value
        ("[]", "[]", TRUE),
        ("{}", "[]", FALSE),
        ("(1, 2)", "[1, 2]", FALSE),
        ("[1,2]", "[1, 2]", TRUE),
        ("'abc'", "'abc'", TRUE),
        ('"abc"', "'abc'", TRUE),
        ("ABC", "'abc'", UNKNOWN),
        ("...", "!!!", UNKNOWN),
        ("", "...", UNKNOWN),
        # a number with its scale in prose
        ("As of 2023, the population is 331 million.", "331 million", TRUE),
        ("The population is 331 million.", "331000000", TRUE),
        ("The population is 332 million.", "331 million", FALSE),
        ("It has two million people.", "2000000", TRUE),
        # taken back in another paragraph
        ("The answer is 8.\n\nCorrection: 6", "8", UNKNOWN),
        ("The answer is 8.\n\nEDIT: 6", "8", UNKNOWN),
        ("The answer is 8.\nIt should be 6.", "8", UNKNOWN),
        ("The answer is 8. It should be noted that it is a cube.", "8", TRUE),
        ("The answer is Lyon. It should be Paris.", "Lyon", UNKNOWN),
        ("**42**\n\nThis should be the right result.", "42", TRUE),
        # temperatures convert, with room for a rounding
        ("98.6 °F", "37 °C", TRUE),
        ("310.15 K", "37 °C", TRUE),
        ("99 °F", "37 °C", UNKNOWN),
        ("37 °C", "37 °F", FALSE),
        ("-40 °F", "-40 °C", TRUE),
        # feet and inches; currencies by their codes; decades; places; dozens
        ("6 ft 2 in", "74 inches", TRUE),
        ("6 ft 2 in", "6 ft 3 in", FALSE),
        ("12 ft 2", "12 ft²", TRUE),
        ("EUR 20", "$20", FALSE),
        ("USD 20", "$20", TRUE),
        ("EUR 20", "20", TRUE),
        ("the 1990s", "1990", UNKNOWN),
        ("1990", "1990", TRUE),
        ("seventh", "7", UNKNOWN),
        ("a seventh", "1/7", TRUE),
        ("half", "1/2", TRUE),
        ("2 dozen", "24", UNKNOWN),
        ("2 dozen", "2", TRUE),
        ("24", "2 dozen eggs", UNKNOWN),
        ("2 dozen", "25", FALSE),
        # a comparison behind the answer
        ("So he has 12 apples left, which is 3 more than before.", "12", TRUE),
        ("So he has 12 apples left, which is 3 more than before.", "3", UNKNOWN),
        ("He sells 3 boxes of 4, which is 12 apples.", "12", TRUE),
        # years, shares, refusals
        ("before 1776", "1776", UNKNOWN),
        ("in 1776", "1776", TRUE),
        ("500 BC", "500 AD", UNKNOWN),
        ("500 BC", "500 BCE", TRUE),
        ("44 BC", "-44", TRUE),
        ("1 in 5", "20%", UNKNOWN),
        ("5 out of 20", "25%", UNKNOWN),
        ("5 out of 20", "5", TRUE),
        ("I'm sorry, I can't answer that. 5 is not something I can confirm.", "5", UNKNOWN),
        # no reference, nothing to say
        ("anything", "", UNKNOWN),
        ("", " \n", UNKNOWN),
    ],
)
def test_verdicts_computed_by_hand(response: str, reference: str, expected: bool | None) -> None:
    assert match(response, reference) is expected


@pytest.mark.parametrize(
    ("response", "stated"),
    [
        ('```json\n{"reasoning": "x = {1}", "answer": "7"}\n```', "7"),
        ('{"reasoning": "\\(x\\)", "answer": "\\\\frac{1}{2}"}', "\\frac{1}{2}"),
        ('{"answer": 7}', "7"),
        ('{"reason": "…", "final_answer": "B"}', "B"),
        ("<answer>B</answer> as said", "B"),
        ("\\boxed{1} and \\boxed{\\frac{1}{2}}", "1, \\frac{1}{2}"),
        ("\\boxed{3}, doubled: \\boxed{6}", "6"),
        ("So she needs #### 18 more of the 72", "18 more of the 72"),
        ("First the answer is 3. Then the answer is 4.", "4."),
        ("Answer: C. A common incorrect answer is B.", "C. A common incorrect answer is B."),
        ("If the answer is 5, then 6 is odd. The answer is 7.", "7."),
        ("**Answer:** B\nbecause it is so", "B"),
        ("The answer is\n\nB", "B"),
        ("  short  ", "short"),
    ],
)
def test_the_strongest_statement_comes_first(response: str, stated: str) -> None:
    assert find_statements(response)[0].text == stated


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("5", "5"),
        ("<think>6? 7?</think>\n5", "5"),
        ("6? 7?\n</think>\n\n5", "5"),
        ("<think>6</think>7<think>8</think>5", "5"),
        ("<THINKING>6</THINKING> 5", "5"),
        ("<reasoning>6</reasoning><answer>5</answer>", "<answer>5</answer>"),
        ("<answer>5</answer>\n<reasoning>not 6</reasoning>", "<answer>5</answer>"),
        ("[THINK]6[/THINK]5", "5"),
        ("◁think▷6◁/think▷5", "5"),
        ("<|channel|>analysis<|message|>6<|end|><|start|>assistant<|channel|>final<|message|>5<|return|>", "5"),
        ("analysisPerhaps 6.assistantfinal5", "5"),
        ("The tag <think> opens it. 5", "The tag <think> opens it. 5"),
        ("Close it with `</think>`. 5", "Close it with `</think>`. 5"),
        ("<think>6, or", None),
        ("5\n<think>or 6", None),
        ("<think>6</think>\n<think>7", None),
        ("<|channel|>analysis<|message|>6, or", None),
        ("6</think>", ""),
        ("", ""),
        ("\ud800<THINK>６</THINK>\u3000五", "\u3000五"),
        ("<thinking>6</thinking\n</thinking>\n5</think", "5</think"),
        ("</think>5 in `</thought>`", "5 in `</thought>`"),
    ],
)
def test_reasoning_is_no_part_of_an_answer(text: str, answer: str | None) -> None:
    assert strip_reasoning(text) == answer


@pytest.mark.parametrize(
    ("reference", "right", "another"),
    [
        (
            "x = 5",
            ["x = 5", "x=5", "5", "So x = 2 + 3 = 5.", "Then y = 1, so x = 5.", "The value of x is 5."],
            ["y = 5", "n is 5"],
        ),
        (
            "x=5",
            [r"$\boxed{x=5}$"],
            [r"$\boxed{y=5}$", "The answer is y = 5", "The value of y is 5.", "a + b = 5", "x + y = 5"],
        ),
        ("x_1 = 5", ["x_{1} = 5"], ["x_2 = 5"]),
        ("x=5, y=3", ["y=3, x=5"], ["u=5, v=3"]),
        ("y = 2x", ["f(x) = 2x", "2x"], ["z = 2x", "g(x) = 2x"]),
        ("5", ["x = 5", "y = 5"], []),  # it names none
    ],
)
def test_the_value_of_another_variable_is_not_the_reference(reference: str, right: list[str], another: list[str]) -> None:
    assert [match(text, reference) for text in right] == [True] * len(right)
    assert [match(text, reference) for text in another] == [None] * len(another)


@pytest.mark.parametrize("said", ["might hold", "may hold", "might well hold", "may also hold", "might only hold"])
def test_what_might_be_is_not_stated(said: str) -> None:
    assert match(f"The tank {said} 16 liters.", "16") is None
    assert match(f"The answer is that it {said} 16 liters.", "16 liters") is None
    assert match("In May it held 16 liters.", "16") is True
    assert match("So she could buy 16 apples.", "16") is True


def test_several_references_are_right_if_one_matches_and_wrong_if_all_are_missed() -> None:
    assert match("Rome", ["Roma", "Rome"]) is True
    assert match("12", ["12 km", "13 km"]) is True
    assert match("14", ["12", "13"]) is False
    assert match("Oslo", ["Roma", "Rome"]) is None
    assert match("14", ["12", "a dozen or so"]) is None
    assert match("14", []) is None
    assert match("14", ["", " "]) is None


def test_options_stand_for_their_letters() -> None:
    cities = ["Lyon", "Paris", "None of the above"]
    assert match("Paris", "B", cities) is match("B", "Paris", cities) is match("The answer is Paris.", "B", cities) is True
    assert match("Lyon", "B", cities) is match("(A)", "Paris", cities) is False
    assert match("B) Lyon", "B", cities) is None
    assert match("Rome", "B", cities) is None
    assert match("The answer is B (Lyon)", "B", cities) is match("B (Lyon)", "B", cities) is None
    assert match("B (Lyon)", "A", cities) is None
    assert match("The answer is B (Paris)", "B", cities) is True
    assert match("D", "B", cities) is False
    assert match("C) None of the above", "None of the above", cities) is True
    assert match("12", "B", ["11", "12.0", "13"]) is True


def test_quantities_and_letters() -> None:
    texts = [
        "5",
        "€ 5",
        "50%",
        "1,000",
        "-.5",
        "1/4",
        "5 cm",
        "1 1/2",
        "\\frac{3}{4}",
        "3 \\times 10^{5}",
        "½",
        "20^\\circ",
        "five",
    ]
    found = [parse_quantity(text) for text in texts]
    assert [q and float(q.value) for q in found] == [5, 5, 50, 1000, -0.5, 0.25, 5, 1.5, 0.75, 300_000, 0.5, 20, 5]
    dimensions = ["", "currency €", "percent", "", "", "", "length", "", "", "", "", "angle", ""]
    assert [q and q.unit.dimension for q in found] == dimensions
    assert [parse_quantity(text) for text in ("5 6", "1/0", "", "2x", "about 5", "5 or 6", "5-6", "1e", "(2,5)")] == [None] * 9
    letters = [
        read_letter(text, "ABCDEFGH") for text in ("C", "(c) x", "it is (C)", "word", "A.", "a cat", "Vitamin D", "I am")
    ]
    assert letters == ["C", "C", "C", None, "A", None, None, None]
    assert read_letter("A or B", "ABCD") == Rejected(("A", "B"))
    assert (
        read_letters("b,c,d", "ABCD")
        == read_letters("BCD", "ABCD")
        == read_letters("(B), (C) and (D)", "ABCD")
        == frozenset("BCD")
    )
    assert [read_letters(text, "ABCD") for text in ("bad", "CAB", "a cat", "")] == [None] * 4


@given(st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=1000))
def test_a_quotient_has_its_value_in_every_writing(value: Fraction) -> None:
    expected = parse_quantity(f"{value.numerator}/{value.denominator}")
    assert expected is not None
    assert expected.value == value
    assert evaluate(f"\\frac{{{value.numerator}}}{{{value.denominator}}}") == value
    assert same_expression(f"({value.numerator})/{value.denominator}", f"{value.numerator}/{value.denominator}") is True


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_grouped_numbers_are_read_in_the_ways_of_several_countries(whole: int, other: int) -> None:
    for text in (f"{whole:,}", f"{whole:,}".replace(",", "'"), f"{whole:,}".replace(",", "\u00a0"), str(whole)):
        assert match(text, str(whole)) is True
        assert match(f"The answer is {text}.", str(whole)) is True
        assert match(text, str(whole + other)) is not True


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            ("2^{10}", 1024),
            ("3!", 6),
            ("\\sqrt{36}", 6),
            ("\\binom{5}{2}", 10),
            ("|-5|", 5),
            ("2(3+4)", 14),
            ("-2^2", -4),
        ],
        *[
            ("2^{2^{2^{2^{2^2}}}}", None),
            ("9^{9^{9^9}}", None),
            ("1/0", None),
            ("x", None),
            ("", None),
            ("((1", None),
            ("cat", None),
        ],
        *[("(" * 100 + "1" + ")" * 100, None), ("1" * 500, None), ("10^400", 10**400), ("171!", None), ("2 3", None)],
    ],
)
def test_expressions_are_reckoned_exactly_or_not_at_all(text: str, value: int | None) -> None:
    assert evaluate(text) == value


ANY = st.text(max_size=60) | st.text(alphabet="aAbB012.,/()[]{}\"'`*\\ -:%$^!=answerisboxed\n", max_size=60)


@given(ANY, ANY, st.lists(ANY, max_size=3))
def test_matching_never_raises(response: str, reference: str, choices: list[str]) -> None:
    assert match(response, reference, choices) in (True, False, None)


@given(ANY.filter(lambda text: any(c.isalnum() for c in text)))
def test_a_reply_equal_to_its_reference_is_never_wrong(reference: str) -> None:
    assert match(reference, reference) is not False


@given(st.integers(-(10**20), 10**20), st.integers(-3, 3))
def test_whole_numbers_are_right_exactly_when_equal(wanted: int, difference: int) -> None:
    found = match(f"The answer is {wanted + difference:,}.", str(wanted))
    assert found is True if difference == 0 else found is not True


HOSTILE = [
    '{"answer": ' + "[" * 100_000 + "}",
    "9" * 1_000_000,
    "1/" + "9" * 10_000,
    "1e99999999999",
    "2^{" * 5_000 + "2" + "}" * 5_000,
    "√" * 390 + "2",
    "x = " + "\\frac" * 70 + "2",
    *[
        "\\boxed{",
        "answer is ",
        "{",
        "'",
        "**",
        "(A) ",
        "1,",
        "1=",
        "1'1",
        "</think>",
        "#### 5\n",
        "thousand ",
        "Answer:\n",
        "\n",
        "十",
    ],
    "\ud800",
]


@pytest.mark.parametrize("response", [text * (1_000_000 // len(text)) if len(text) < 12 else text for text in HOSTILE])
@pytest.mark.timeout(30)
def test_hostile_answers_are_decided_or_not_but_never_raise(response: str) -> None:
    for reference in ("5", "A", "yes", "word", "'literal'", "x^2 + 1", "4√2", "[1]", "2024-03-05", "50%"):
        assert match(response, reference) in (True, False, None)
    assert match(response, "A", ["red", "12"]) in (True, False, None)


def test_letters_without_end_are_no_options() -> None:
    assert match("Paris", "A. " * 3_000) is None
    assert match("A. " * 3_000, "Paris", ["B. " * 1_000, "Paris"]) is not True


@pytest.mark.parametrize(
    ("answer", "right"), [("A: ❌\nB: ✅ and", True), ("A: ✅\nB: ❌ and", False), ("A: no\nB: no and", None)]
)
def test_a_list_of_marks_may_be_cut_off(answer: str, right: bool | None) -> None:
    assert match(answer, "B") is match(answer, "B", ["Rome", "Paris"]) is right


def test_only_the_ends_of_a_long_answer_are_read() -> None:
    """Reading takes no longer, however long an answer is: the bound on time is one on what is read."""
    long = "x" * 1_000_000
    assert len(clip(long)) <= 12_100
    assert all(len(statement.text) <= 4_000 for statement in find_statements(clip('{"answer": "' + long + '"}')))
    assert match(f"{long}\n\nThe answer is 5.", "5") is True
    assert match(f"The answer is 5.\n\n{long}", "5") is True
    assert evaluate("1+" * 300 + "1") is None
    assert parse_quantity("1" * 301) is None


@pytest.mark.parametrize(
    ("answer", "reference", "question", "right"),
    [
        ("a decrease of 20%", "20%", "By what percentage did the price fall?", True),
        ("an increase of 20%", "20%", "By what percentage did the price fall?", None),
        ("a loss of $300", "$300", "What was the profit?", None),
        ("Canberra, Australia", "Canberra", "What is the capital of Australia?", True),
        ("Canberra, Canada", "Canberra", "What is the capital of Australia?", None),
        ("1. Mercury\n2. Venus\n3. Earth", "Mercury, Venus, Earth", "Which planets, in order from the Sun?", True),
        ("Earth, Venus, Mercury", "Mercury, Venus, Earth", "Which planets, in order from the Sun?", None),
        ("Earth, Venus, Mercury", "Mercury, Venus, Earth", "Which planets are inside the orbit of Mars?", True),
        ("20% decrease", "-20%", "What was the change?", None),
        ("20% decrease", "20%", "What was the change?", None),
        ("20% decrease", "20%", "By what percentage did the price fall?", True),
        ("90 rad", "90°", "What is the angle?", None),
        ("π/2 rad", "90°", "What is the angle?", None),
        ("3, 2, 1", "1, 2, 3", "List the numbers in ascending order.", None),
        ("1, 2, 3", "1, 2, 3", "List the numbers in ascending order.", True),
        ("3, 1, 2", "1, 2, 3", "List the numbers from smallest to largest.", None),
        ("3, 1, 2", "3, 2, 1", "Reverse this list: 1, 2, 3", None),
        ("pear, fig", "fig, pear", "Put these into alphabetical order: fig, pear", None),
        ("The list is 1, 2, 4.", "1, 2, 3", "List the numbers in ascending order.", False),
        ("7, 21, 21", "7, 21", "Remove the duplicates, keep the order: 7, 21, 21", False),
        ("3, 2, 1", "1, 2, 3", "Which numbers solve it?", True),
        ("A: true\nB: false\nC: true", "B", "Which statement is false?", None),
        ("B is false.", "B", "Which statement is false?", None),
        ("A is true. B is incorrect. C is true.", "B", "Which of the following is NOT true?", None),
        ("Therefore, option B is wrong.", "B", "All of these are correct EXCEPT:", None),
        ("Statement A is correct.", "A", "Which statement is incorrect?", None),
        ("A and C are true, so the answer is B.", "B", "Which statement is false?", True),
        ("Option B is the correct answer.", "B", "Which statement is false?", True),
        ("B is false.", "B", "Which statement is true?", False),
        ("A: ✅\nB: ❌\nC: ✅", "B", "Which of these is not a capital?", None),
        ("A: ❌\nB: ✅\nC: ❌", "B", "Which of these is a capital?", True),
        ("London, Canada", "London", "Where was he born?", None),
        ("London, England", "London", "Which city in England is it?", True),
        ("Abuja, Nigeria", "Abuja", "Where was he born?", True),
        ("General Theory of Relativity", "Theory of Relativity", "Which theory is it?", None),
        ("General Douglas MacArthur", "Douglas MacArthur", "Who led the landing?", True),
        ("King Henry VIII", "Henry VIII", "Which monarch was it?", True),
        ("Wednesday", "wed", "Which verb means to marry?", None),
    ],
)
def test_the_question_says_what_is_asked_for(answer: str, reference: str, question: str, right: bool | None) -> None:
    assert match(answer, reference, question=question) is right


def test_matching_works_in_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda day: match(f"{day} March 2024", f"2024-03-{day:02}"), range(1, 29)))
    assert found == [True] * 28


def test_readers_of_words_and_dates_are_loaded_when_they_are_needed() -> None:
    code = (
        "import sys; from auto_router.collect.matching.verdict import match; assert match('5', '6') is False; "
        "assert not {'dateparser', 'text_to_num', 'sympy'} & set(sys.modules); assert match('twelve', '12')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
