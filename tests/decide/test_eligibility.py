"""Who may take a request: what it needs, what fits, and that somebody always does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.data.pool import CAPABILITIES, ModelFacts
from auto_router.data.request import Request, read_request
from auto_router.decide.eligibility import NO_MODEL_FITS, TOO_LONG, Eligibility
from auto_router.errors import ConfigError
from tests.data.request_kinds import KINDS
from tests.fakes import BLACK
from tests.serve.request_cases import RequestCase

NAMES = ("big", "mid", "small")
NEEDS = st.frozensets(st.sampled_from(CAPABILITIES), max_size=4)
FACTS = st.builds(
    ModelFacts,
    modalities=st.sampled_from([None, ("text",), ("text", "image")]),
    context_window=st.sampled_from([None, 500, 5_000, 50_000]),
    capabilities=st.none() | st.lists(st.sampled_from(CAPABILITIES), unique=True).map(tuple),
)


@given(st.lists(FACTS, min_size=1, max_size=5), NEEDS, st.sampled_from([10.0, 1e3, 1e4, 1e6]), st.integers(0, 2))
def test_no_request_reaches_a_model_that_lacks_what_it_needs_while_one_that_has_it_is_there(
    facts: list[ModelFacts], needs: frozenset[str], tokens: float, images: int
) -> None:
    names = [f"m{j}" for j in range(len(facts))]
    request = Request("x", needs=needs, text_tokens=tokens, unseen_images=images)
    found = Eligibility.of(names, dict(zip(names, facts, strict=True))).eligible([request])
    wanted = needs | ({"image"} if images else frozenset())
    able = np.array([not one.count_missing(wanted) for one in facts])
    room = np.array([one.context_window is None or tokens + 1000 * images <= one.context_window for one in facts])
    (reason,), chosen = found.reasons, found.models[0]
    assert chosen.any()
    if able.any():
        assert able[chosen].all()
    if (able & room).any():
        assert chosen.tolist() == (able & room).tolist()
        assert reason is None
    else:
        assert reason == (TOO_LONG if able.any() else NO_MODEL_FITS)


@settings(max_examples=25, deadline=None)
@given(st.lists(FACTS, min_size=1, max_size=5), st.lists(st.sampled_from(KINDS), min_size=1, max_size=40))
def test_no_request_of_an_app_reaches_a_model_that_cannot_take_it(facts: list[ModelFacts], cases: list[RequestCase]) -> None:
    """By what must be seen in the request, not by what is read of it."""
    names = [f"m{j}" for j in range(len(facts))]
    requests = [read_request(case.body, case.headers) for case in cases]
    found = Eligibility.of(names, dict(zip(names, facts, strict=True))).eligible(requests)
    for case, chosen, reason in zip(cases, found.models, found.reasons, strict=True):
        able = np.array([not one.count_missing(case.needs) for one in facts])
        assert chosen.any(), case.name
        assert able[chosen].all() if able.any() else reason == NO_MODEL_FITS, case.name
        wide = np.array([one.context_window is None or one.context_window >= case.tokens for one in facts])
        assert reason is not None or wide[chosen].all(), case.name


def test_modality_context_and_subset() -> None:
    facts = {"mid": ModelFacts(modalities=("text",)), "small": ModelFacts(modalities=("text", "image"), context_window=400)}
    eligibility = Eligibility.of(NAMES, facts)
    requests = [Request("short"), Request("short", (BLACK,)), Request("long words " * 100)]
    found = eligibility.eligible(requests)
    assert found.models.tolist() == [[True, True, True], [True, False, True], [True, True, False]]
    assert found.reasons == [None] * 3
    assert eligibility.eligible([Request("x", models=("mid",))]).models.tolist() == [[False, True, False]]
    with pytest.raises(ConfigError, match="unknown model 'tiny'; this router knows big, mid, small"):
        eligibility.eligible([Request("x", models=("tiny",))])


def test_where_nothing_fits_the_widest_or_the_most_able_is_left() -> None:
    narrow = {name: ModelFacts(context_window=size) for name, size in zip(NAMES, (100, 300, 200), strict=True)}
    long = Eligibility.of(NAMES, narrow).eligible([Request("x", text_tokens=1e6), Request("x", text_tokens=50.0)])
    assert long.models.tolist() == [[False, True, False], [True, True, True]]
    assert long.reasons == [TOO_LONG, None], "one hard row changes nothing for the next"
    stated = zip(NAMES, ((), ("pdf",), ("video",)), strict=True)
    poor = {name: ModelFacts(capabilities=capabilities) for name, capabilities in stated}
    row = Eligibility.of(NAMES, poor).eligible([Request("x", needs=frozenset(["pdf", "audio"]))])
    assert (row.models.tolist(), row.reasons) == ([[False, True, False]], [NO_MODEL_FITS])
