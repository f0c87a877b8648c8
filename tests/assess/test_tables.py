"""Tables say what the metrics say, and are made from them alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from auto_router.assess import tables, test_set
from auto_router.assess.assessment import assess
from tests.fakes import FOUR, POOR, make_test_set


def plain(test: test_set.TestSet, best_single: int, **more: Any) -> dict[str, Any]:
    """The metrics as they come back from ``metrics.json``."""
    found: dict[str, Any] = json.loads(json.dumps(assess(test, best_single, 0, **more)))
    return found


def test_the_report_has_the_lines_that_are_promised() -> None:
    text = tables.report(plain(FOUR, 1, operating_points={"economy": FOUR.always(0)}, baselines={"kNN": FOUR.probabilities}))
    lines = text.splitlines()
    assert lines[0] == "Per-model metrics:"
    assert lines[1] == "  weak: AUC=0.750, acc=0.500, f1=0.500"
    assert lines[-2:] == ["Router system accuracy: 1.000", "Oracle (best possible): 1.000"]
    for line in ("router", "best single", "cheapest", "random", "oracle", "economy", "kNN"):
        assert any(row.startswith(line) for row in lines), line
    assert "router - best single: +0.250 [" in text
    assert "100.0% [" in text
    assert "strong, by the training set" in text
    assert len(lines) <= 30, "with what Stage 3 says besides, a screen"


def test_points_are_told_beside_the_best_single_model() -> None:
    (row,) = tables.points_table(plain(FOUR, 1, operating_points={"economy": FOUR.always(0)})).splitlines()[2:]
    assert row.split()[:2] == ["economy", "66.7%"]
    assert "75.0% [" in row  # saved
    assert row.endswith("weak")


def test_latency_is_told_beside_accuracy_and_cost() -> None:
    assert tables.latency_rows(plain(FOUR, 1)) == []
    assert tables.latency_rows({}) == [], "metrics of former versions have none"
    timed = replace(FOUR, latencies=np.array([[1.0, 8.0], [2.0, np.nan], [3.0, 6.0], [4.0, 7.0]]))
    metrics = plain(timed, 1, operating_points={"latency": timed.always(0)})
    assert tables.latency_rows(metrics) == [
        ["router, as served", "4.00", "5.80", "3", "1.000", "2.5e+03"],
        ["operating point latency", "2.50", "3.85", "4", "0.500", "1e+03"],
        ["weak", "2.50", "3.85", "4", "0.500", "1e+03"],
        ["strong", "7.00", "7.90", "3", "0.750", "4e+03"],
    ]


def test_baselines_are_told_beside_the_router() -> None:
    rows = tables.system_table(plain(FOUR, 1, baselines={"always weak": np.array([[1.0, 0.0]] * 4)})).splitlines()
    (row,) = (row for row in rows if row.startswith("always weak"))
    assert row.split()[2] == "0.500"


@pytest.mark.parametrize("test", POOR.values(), ids=POOR)
def test_what_is_unknown_is_a_dash(test: test_set.TestSet) -> None:
    text = tables.report(plain(test, len(test.names) - 1, operating_points={"p": test.chosen}))
    assert "None" not in text
    assert "nan" not in text
    assert "Router system accuracy: " in text


def test_sections_without_content_are_left_out() -> None:
    text = tables.report(plain(POOR["no costs"], 1))
    assert "Operating points" not in text


def test_hostile_names_are_printed_as_text() -> None:
    odd = replace(make_test_set(30, 3, 0), names=["$\\frac{$", "a" * 300, "模型\n{}"])
    text = tables.report(plain(odd, 0))
    assert all(name in text for name in ("$\\frac{$", "a" * 300, "模型"))
