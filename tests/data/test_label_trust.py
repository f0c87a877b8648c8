"""Labels beside their checks, computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auto_router.data.label_stats import (
    ALL_MODELS,
    describe_sources,
    doubt_labels,
    measure_trust,
    summarize_labels,
    trust_table,
    wilson_interval,
)
from auto_router.data.records import Record, parse_records
from auto_router.errors import DataError

NAN = float("nan")


def test_agreement_and_both_kinds_of_error_are_counted_by_model() -> None:
    labels = np.array([[1, 0.7], [1, 0.2], [0, NAN], [1, 1]])
    checked = np.array([[1, 0], [0, 0], [1, 1], [NAN, 1]])
    whole, one, two = measure_trust(labels, {"reference": checked}, ["a", "b"])
    assert (whole.model, whole.cases, whole.kind, whole.strict) == (ALL_MODELS, 6, 2, 1)
    assert whole.agreement == pytest.approx(0.5)
    assert whole.interval == wilson_interval(0.5, 6)
    assert (one.model, one.cases, one.kind, one.strict) == ("a", 3, 1, 1)
    assert (two.cases, two.kind, two.strict) == (3, 1, 0)
    assert two.check_rate == pytest.approx(1 / 3)
    assert two.label_rate == pytest.approx(1.9 / 3)
    assert measure_trust(labels, {"audit": np.full((4, 2), NAN)}, ["a", "b"]) == []
    assert [line.model for line in measure_trust(labels[:, :1], {"audit": checked[:, :1]}, ["a"])] == ["a"]


def test_records_say_what_their_labels_rest_on() -> None:
    rows = [
        Record(0, "p", model_scores={"a": 1}, label_source="silver", label_checks={"audit": {"a": 0}}),
        Record(1, "q", model_scores={"a": None}, label_source="silver", label_checks={"audit": {"a": 1}}),
        Record(2, "r", model_scores={"a": 0}),
    ]
    records = parse_records([record.to_json() for record in rows])
    assert records == rows
    assert records[0].slim().label_checks == {"audit": {"a": 0}}
    found = summarize_labels(records, ["a"])
    assert found["sources"] == {"silver": 2, "not stated": 1}
    (line,) = found["trust"]
    assert (line["check"], line["cases"], line["kind"], line["kappa"]) == ("audit", 1, 1, 0)
    assert "2 records: silver (as good for the request" in describe_sources(found["sources"])
    assert "audit" in trust_table(found["trust"])
    assert trust_table([]) == ""


@pytest.mark.parametrize("checks", [{"mother": {"a": 1}}, {"audit": {"a": 2}}, {"audit": [1]}, ["audit"]])
def test_checks_that_are_none_are_an_error(checks: object) -> None:
    with pytest.raises(DataError, match="record 0"):
        parse_records([{"prompt": "p", "model_scores": {"a": 1}, "label_checks": checks}])


def trust_of(labels: list[float], checks: list[float]) -> list[dict[str, Any]]:
    columns = np.array([labels, labels]).T, {"audit": np.array([checks, checks]).T}
    return [line.to_plain() for line in measure_trust(*columns, ["a", "b"])]


def test_labels_of_a_judge_that_nothing_checks_are_doubted() -> None:
    for source in ("silver", "rubric", "pairwise"):
        assert f"({source})" in doubt_labels([source], [])
        assert "--audit 50" in doubt_labels([source], [])
    for source in ("reference", "scorer", "import", "not stated"):
        assert doubt_labels([source], []) == ""


def test_labels_that_agree_by_chance_are_doubted_with_the_figure() -> None:
    alternating, halves = [0.0, 1.0] * 20, [0.0] * 20 + [1.0] * 20
    assert "kappa 0.00 beside the check 'audit' on 80 answers" in doubt_labels(["rubric"], trust_of(alternating, halves))
    assert doubt_labels(["rubric"], trust_of(halves, halves)) == ""
    assert doubt_labels(["rubric"], trust_of([0.0, 1.0] * 4, [0.0] * 4 + [1.0] * 4)) == ""  # too few to say


def test_one_model_that_is_judged_by_chance_is_not_all_of_them() -> None:
    good, bad = [0.0] * 20 + [1.0] * 20, [0.0, 1.0] * 20
    lines = measure_trust(np.array([good, good, bad]).T, {"audit": np.array([good] * 3).T}, ["a", "b", "c"])
    assert [line.model for line in lines if line.kappa is not None and line.kappa < 0.4] == ["c"]
    assert doubt_labels(["silver"], [line.to_plain() for line in lines]) == ""
