"""Features of the prompt: what they count."""

from __future__ import annotations

import numpy as np

from auto_router.data.prompt_features import FEATURE_NAMES, prompt_features


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
