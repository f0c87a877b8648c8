"""Features of the prompt: what they count, and that the fast way for ASCII counts the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from auto_router.data.prompt_features import FEATURE_NAMES, _parts, _parts_of_ascii, prompt_features


def features(text: str) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, prompt_features([text])[0].tolist(), strict=True))


def test_what_is_counted() -> None:
    found = features("def f(x):\n    return x == 12 and y_1 == 'Zoë'; print(undefined)?")
    expected = {
        "words": 10,
        "numbers": 2,
        "code": 6,
        "lines": 1,
        "underscores": 1,
        "questions": 1,
        "parentheses": 2,
        "quotes": 2,
    }
    assert {name: round(float(np.expm1(found[name]))) for name in expected} == expected
    assert found["longest_number"] == 2
    assert found["ends_with_question"] == 1
    assert found["capitals"] > 0 < found["non_ascii"]
    assert round(np.expm1(features("a; b")["code"])) == 1, "letters are no keywords"
    assert round(np.expm1(features("def_x for2 while")["code"])) == 1, "whole words only"


def test_an_empty_text_is_all_zeros() -> None:
    assert not prompt_features([""]).any()


# What the rules look for, side by side as chance would not put it.
PIECES = st.lists(st.sampled_from([*"\n ()$\\_.AajJkx1?", "for", "def"])).map("".join)


@given(st.text(st.characters(max_codepoint=127)) | PIECES)
def test_ascii_is_counted_alike_by_both_ways(text: str) -> None:
    fast, slow = _parts_of_ascii(text), _parts(text)
    assert ([w.decode() for w in fast.words], [n.decode() for n in fast.numbers]) == (slow.words, slow.numbers)  # type: ignore[union-attr]
    assert fast[2:] == slow[2:]
