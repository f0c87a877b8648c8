"""When the model of a conversation stays: the rule, on probabilities that can be told beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.data.dataset import Prediction
from auto_router.data.pool import ModelFacts
from auto_router.data.request import Request
from auto_router.decide.operating_points import OperatingPoint
from auto_router.decide.policy import SESSION_POLICIES, Policy
from auto_router.decide.session import (
    NEW_SUBJECT_PRICE,
    SWITCH_PRICE,
    Session,
    SessionRule,
    SessionTurn,
    compare_subjects,
    pack_subject,
)

NAMES = ("old", "new", "third")
LONG = "Please write a function that parses dates in three formats"
SUBJECT, OTHER = (pack_subject(np.array(vector)) for vector in ([1.0, 0.0], [0.0, 1.0]))


def turn(asked: Request | None = None, **before: Any) -> SessionTurn:
    known = Session("old", "earlier", 10_000.0, SUBJECT)
    return SessionTurn(asked or Request(LONG), replace(known, **before), Session("", "now", 100.0, SUBJECT))


def judge(
    p: list[float], given: SessionTurn | None, policy: Policy | None = None, rule: str = "adaptive",
    facts: dict[str, ModelFacts] | None = None, eligible: list[bool] | None = None, costs: list[float] | None = None,
) -> tuple[str, str | None, str]:  # fmt: skip
    """Return the chosen model, what became of the session, and the reason."""
    policy = policy or Policy()
    prediction = Prediction(np.array([p]), None, None if costs is None else np.array([costs]))
    choices = policy.choose(prediction, np.array([eligible or [True] * 3]))
    kept, (outcome,) = SessionRule(NAMES, facts or {}, rule).keep_models(choices, prediction, [policy], [given])
    assert sorted(kept.ranking[0].tolist()) == [0, 1, 2]
    return NAMES[kept.chosen[0]], outcome, kept.reasons[0]


def test_a_model_leaves_only_for_more_than_the_price_of_switching() -> None:
    near, far = [0.6, 0.6 + SWITCH_PRICE - 0.01, 0.1], [0.6, 0.6 + SWITCH_PRICE + 0.01, 0.1]
    assert judge(near, turn()) == ("old", "kept", "session")
    assert judge(far, turn()) == ("new", "switched", "most_likely_qualified")
    assert judge(near, turn(subject=OTHER))[:2] == ("new", "switched"), "another subject: less is enough"
    assert judge([0.6, 0.61 + NEW_SUBJECT_PRICE, 0.1], turn(subject=OTHER))[:2] == ("new", "switched")
    assert judge(near, turn(Request("thanks!"), subject=OTHER))[:2] == ("old", "kept"), "it leans on what was said"
    assert judge([0.9, 0.1, 0.1], turn()) == ("old", "kept", "most_likely_qualified"), "the rule's own choice"


def test_a_dear_model_is_left_for_half_the_price_at_another_subject() -> None:
    p, far = [0.6, 0.6 + 0.7 * NEW_SUBJECT_PRICE, 0.1], [0.6, 0.6 + 0.3 * NEW_SUBJECT_PRICE, 0.1]
    for now, penalty, stays in ((p, 0.0, True), (p, 1e-6, False), (far, 1e-6, True)):
        dear = Policy(penalties=np.array([penalty, 0.0, 0.0]))
        assert judge(now, turn(subject=OTHER), dear)[0] == ("old" if stays else "new")
        assert judge(now, turn(), dear)[0] == "old", "the same subject"


def test_the_other_policies() -> None:
    far = [0.1, 0.9, 0.1]
    assert judge(far, turn(), rule="sticky")[:2] == ("old", "kept")
    assert judge([0.3, 0.31, 0.1], turn(), rule="none")[:2] == ("new", "switched")
    assert judge(far, turn(), rule="sticky", eligible=[False, True, True])[:2] == ("new", "switched")
    assert judge(far, SessionTurn(Request(LONG), None, Session("")))[:2] == ("new", "new")
    assert judge(far, turn(model="gone"))[:2] == ("new", "new"), "the router that is in service now does not have it"
    assert judge(far, None)[1] is None


@pytest.mark.parametrize("rule", SESSION_POLICIES)
def test_what_only_its_maker_can_read_stays_with_it(rule: str) -> None:
    for request in (Request("and?", previous_response="r"), Request(LONG, keeps_maker=True)):
        assert judge([0.0, 1.0, 0.0], turn(request), rule=rule)[:2] == ("old", "pinned")
        assert judge([0.0, 1.0, 0.0], turn(request), rule=rule, eligible=[False, True, True])[:2] == ("old", "pinned")
        limited = replace(request, models=("new",))
        assert judge([0.0, 1.0, 0.0], turn(limited), rule=rule, eligible=[False, True, False])[0] == "new"
    unknown = SessionTurn(Request("and?", previous_response="r"), None, Session(""))
    assert judge([0.0, 1.0, 0.0], unknown, rule=rule)[:2] == ("new", "unknown_maker")


def test_the_same_request_again_is_not_decided_anew() -> None:
    assert judge([0.0, 1.0, 0.0], turn(request="now"))[:2] == ("old", "kept")


def test_thresholds_and_costs_of_the_callers() -> None:
    thresholds = np.array([0.5, 0.5, np.nan])
    assert judge([0.4, 0.6, 0.1], turn(), Policy(thresholds))[:2] == ("new", "switched"), "it no longer qualifies"
    assert judge([0.55, 0.6, 0.1], turn(), Policy(thresholds))[:2] == ("old", "kept")
    for price, wanted in ((1.5, "old"), (3.0, "new")):
        policy = Policy(thresholds, np.array([price, 1.0, 9.0]))
        assert judge([0.6, 0.6, 0.1], turn(), policy)[0] == wanted


@pytest.mark.parametrize("expected", [None, [0.001, 0.0001, 0.1]], ids=["mean costs", "costs of the prompt"])
def test_reading_the_conversation_is_part_of_what_a_model_costs(expected: list[float] | None) -> None:
    costs = {"old": 0.001, "new": 0.0001, "third": 0.1}
    point = OperatingPoint("", "old", cost_weight=0.1, costs=costs)
    policy = Policy(penalties=point.penalties(NAMES), pricing=point.pricing(NAMES))
    better, same, long = [0.5, 0.65, 0.0], [0.5, 0.5, 0.0], 500_000.0
    facts = {"old": ModelFacts(1.0, 4.0), "new": ModelFacts(1.0, 4.0)}
    cached = facts | {"old": ModelFacts(1.0, 4.0, cached_input_usd_per_mtok=0.1)}
    assert judge(better, turn(tokens=long), policy, facts=facts, costs=expected)[0] == "new"
    assert judge(better, turn(tokens=100.0), policy, facts=cached, costs=expected)[0] == "new", "there is little to read"
    assert judge(better, turn(tokens=long), policy, facts=cached, costs=expected)[0] == "old", "the new one reads it dearer"
    cheap = facts | {"new": ModelFacts(1.0, 4.0, cached_input_usd_per_mtok=0.1)}
    assert judge(same, turn(tokens=100.0), policy, facts=cheap, costs=expected)[0] == "old"
    assert judge(same, turn(tokens=long), policy, facts=cheap, costs=expected)[0] == "new", "no better, but it reads cheaper"
    assert judge(same, turn(tokens=long), policy, facts={"new": cheap["new"]}, costs=expected)[0] == "old", "a price is missing"
    free = Policy(penalties=np.zeros(3))
    assert judge(better, turn(tokens=long), free, facts=cached, costs=expected)[0] == "new", "where costs do not count"


def test_what_goes_on_with_something_unfamiliar_keeps_the_model() -> None:
    far = [0.2, 0.9, 0.1]
    given = turn(is_unfamiliar=True)
    assert judge(far, given._replace(now=replace(given.now, is_unfamiliar=True))) == ("old", "kept", "session")
    assert judge(far, given)[:2] == ("new", "switched"), "another subject, and a familiar one"


@given(st.text(max_size=20), st.text(max_size=20), st.floats(0, 1e9), st.binary(max_size=400), st.booleans())
def test_a_session_comes_back_as_it_was(model: str, request: str, tokens: float, subject: bytes, unfamiliar: bool) -> None:
    found = Session.from_json(Session(model, request, tokens, subject, unfamiliar).to_json().encode())
    assert found is not None
    assert (found.model, found.request, found.subject, found.is_unfamiliar) == (model, request, subject, unfamiliar)
    assert found.tokens == pytest.approx(tokens, abs=1)


def test_a_session_of_a_version_that_told_less_is_read() -> None:
    assert Session.from_json('["m", "r", 7, "01"]') == Session("m", "r", 7, b"\x01")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1, 2, 3, 4]", '["m", "r", NaN, ""]', '["m", "r", 1, "zz"]', "[[]]", '["m", "r", 1, "", 2]',
     '["m", "r", 1, "", true, 1]'],
)  # fmt: skip
def test_what_is_no_session_is_none(text: str) -> None:
    assert Session.from_json(text) is None


def test_subjects_are_compared_in_a_few_bytes() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 384))
    exact = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert compare_subjects(pack_subject(a), pack_subject(b)) == pytest.approx(exact, abs=0.02)
    assert compare_subjects(pack_subject(a), pack_subject(a)) == pytest.approx(1.0)
    assert compare_subjects(pack_subject(a), b"") == compare_subjects(pack_subject(np.zeros(3)), b"") == 1.0
