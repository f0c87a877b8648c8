"""The sentence that says what the router is worth: the interval decides its words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from auto_router.artifacts import Artifact, TrainingSummary
from auto_router.assess.headline import describe_worth, suggest_next
from auto_router.decide.operating_points import OperatingPoint
from tests.fakes import network

SYSTEM: dict[str, Any] = {
    "router": 0.7, "best_single_model": "gpt-4o", "router_minus_best_single": 0.001, "rows": 500,
    "router_minus_best_single_interval": [-0.001, 0.004], "cost_share": 0.41,
    "selection": {"gpt-4o": 0.4, "small": 0.6, "c": 0.0},
    "best_single": 0.7, "oracle": 0.9, "costs": {"best_single": 0.0039, "router": 0.0016},
}  # fmt: skip
AIM = "at least the best single model's accuracy"


def make_artifact(
    economy: dict[str, Any] | None = None, policy: dict[str, Any] | None = None, rows: int = 500, **system: Any
) -> Artifact:
    points = {"economy": economy} if economy else {}
    gains = {"gpt-4o": [0.1, 0.2], "small": [0.0, 0.001], "c": [0.0, 0.0]}
    models = {name: {"oracle_gain_interval": bounds} for name, bounds in gains.items()}
    metrics = {"system": SYSTEM | system, "operating_points": points, "rows": rows, "per_model": models}
    fitted = {name: OperatingPoint(AIM, "gpt-4o", evidence={"cost share": 0.4}) for name in ("accuracy", "quality")}
    training = TrainingSummary(metrics=metrics, policy=policy or {})
    return Artifact(network(5), ("gpt-4o", "small", "c"), {}, operating_points=fitted, training=training)


def sentence(economy: dict[str, Any] | None = None, **given: Any) -> str:
    return describe_worth(make_artifact(economy, **given))


def test_the_whole_sentence() -> None:
    assert sentence() == (
        "Same accuracy as gpt-4o (-0.1 to +0.4 points) at 41 % of its cost: USD 230 saved per 100,000 prompts; "
        'use operating_point="quality".'
    )


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ([0.012, 0.03], "More right answers than gpt-4o (+1.2 to +3.0 points) at"),
        ([-0.03, -0.001], "Fewer right answers than gpt-4o (-3.0 to -0.1 points) at"),
        ([-0.02, 0.02], "Same accuracy as gpt-4o (-2.0 to +2.0 points) at"),
        ([-0.021, 0.02], "As accurate as gpt-4o, as far as 500 test prompts can tell (-2.1 to +2.0 points), at"),
        (None, "Accuracy +0.1 points from gpt-4o's at"),
    ],
)
def test_the_interval_decides_the_words(bounds: list[float] | None, words: str) -> None:
    assert sentence(router_minus_best_single_interval=bounds).startswith(words)


def test_costs_that_are_unknown_equal_or_higher_are_said() -> None:
    assert "at a cost that is not known: give every model a price;" in sentence(costs=None, cost_share=None)
    assert "points) at the same cost;" in sentence(cost_share=1.0)
    assert "at 120 % of its cost: USD 78 more per 100,000 prompts" in sentence(
        cost_share=1.2, costs={"best_single": 0.0039, "router": 0.00468}
    )
    assert "USD 0.11 saved" in sentence(costs={"best_single": 5.71e-6, "router": 4.66e-6})


def test_a_router_that_gains_nothing_says_so_and_names_what_costs_less() -> None:
    economy = {"cost_share": 0.44, "minus_best_single_interval": [-0.011, 0.007]}
    assert sentence(economy, selection={"gpt-4o": 1.0, "small": 0.0}, cost_share=1.0) == (
        'Nothing is gained with operating_point="quality": it always asks gpt-4o, since no other model is safely as good. '
        'For less: operating_point="economy", -1.1 to +0.7 points at 44 % of its cost.'
    )
    assert "For less" not in sentence(economy)  # hardly less than what is served


def test_where_nothing_is_gained_it_says_whether_to_label_more_or_to_do_without() -> None:
    alone: dict[str, Any] = {"selection": {"gpt-4o": 1.0, "small": 0.0}, "cost_share": 1.0}
    assert sentence(**alone).endswith("safely as good. On prompts like these you need no router: ask it alone.")
    assert sentence(rows=100, **alone).endswith("safely as good. More labels may change that.")


def test_settings_of_ones_own_and_missing_labels() -> None:
    assert sentence(policy={"model_thresholds": {"small": 0.5}}).endswith("use these thresholds and costs.")
    assert sentence(router=None).startswith("Not known: too many test prompts have no label")


def test_few_test_prompts_make_no_sentence_and_no_advice_by_chance() -> None:
    assert sentence(rows=5).startswith("Not known: 5 test prompts are too few")
    steps = suggest_next(make_artifact(rows=5, oracle=0.71))
    assert [step.split(":")[0] for step in steps] == [
        "Label more prompts",
        "Read the wrongly routed prompts, and check some labels",
    ]


def test_a_lead_from_images_alone_is_said() -> None:
    def said(lead: float = 0.1, **parts: tuple[float, float]) -> str:
        made = make_artifact(router_minus_best_single_interval=[lead, 0.2])
        modality = {name: {"rows": 50, "router": router, "best_single": best} for name, (router, best) in parts.items()}
        metrics = {**made.training.metrics, "breakdown": {"source": {}, "modality": modality}}
        return describe_worth(replace(made, training=replace(made.training, metrics=metrics)))

    told = "All of the lead is from images alone; of text prompts 67.0 % go right, with gpt-4o 72.2 %."
    assert told in said(text=(0.670, 0.722), image=(0.4, 0.0))
    assert "All of the lead" not in said(text=(0.8, 0.7), image=(0.4, 0.0))
    assert "All of the lead" not in said(text=(0.8, 0.7))
    assert "All of the lead" not in said(0.0, text=(0.670, 0.722), image=(0.4, 0.0)), "there is no lead"


def test_what_to_do_next_follows_the_figures() -> None:
    read = "Read the wrongly routed prompts, and check some labels: prepare_hf_data.py --audit 50."
    unused = "Leave c out: it is never chosen, and others are right wherever it is."
    assert suggest_next(make_artifact()) == [unused, read]
    steps = suggest_next(make_artifact(rows=149, oracle=0.71, selection={"gpt-4o": 0.5, "small": 0.4, "c": 0.1}))
    assert [step.split(":")[0] for step in steps[:-1]] == [
        "Label more prompts",
        "Add a model that is right where the others are wrong",
    ]
    assert "1.0 points above gpt-4o" in steps[1]


def test_the_sources_that_lose_most_are_named_and_chance_is_not() -> None:
    def steps(**sources: tuple[int, float | None, float]) -> list[str]:
        made = make_artifact(selection={"gpt-4o": 0.5, "small": 0.4, "c": 0.1})
        parts = {name: {"rows": rows, "router": router, "oracle": oracle} for name, (rows, router, oracle) in sources.items()}
        metrics = {**made.training.metrics, "breakdown": {"source": parts, "modality": {}}}
        return suggest_next(replace(made, training=replace(made.training, metrics=metrics)))[:-1]

    (step,) = steps(law=(40, 0.5, 0.6), art=(30, 0.9, 0.9), code=(20, 0.2, 0.7), odd=(8, None, 0.9), tiny=(1, 0.0, 1.0))
    assert step.endswith("wrong while another is right: code (10 of 20 prompts), law (4 of 40 prompts).")
    assert steps(law=(40, 0.6, 0.61), art=(30, 0.9, 0.9)) == []
    assert steps(law=(40, 0.1, 0.9)) == [], "one source: every prompt is of it"
