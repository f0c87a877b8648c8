"""Tables and pictures say what the metrics say, and are made from them alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from auto_router.assess import tables
from auto_router.assess.assessment import assess
from auto_router.assess.plots import _overlaps, curve_png, reliability_png
from auto_router.assess.test_set import HeldOut
from auto_router.errors import ConfigError, DataError
from tests.assess.test_assessment import FOUR, POOR, made


def plain(test: HeldOut, best_single: int, **more: Any) -> dict[str, Any]:
    """The metrics as they come back from ``metrics.json``."""
    found: dict[str, Any] = json.loads(json.dumps(assess(test, best_single, 0, **more)))
    return found


def test_the_report_has_the_lines_that_are_promised() -> None:
    text = tables.report(plain(FOUR, 1, operating_points={"economy": FOUR.always(0)}, baselines={"kNN": FOUR.probabilities}))
    lines = text.splitlines()
    assert lines[0] == "Per-model metrics:"
    assert lines[1] == "  weak: AUC=0.750, acc=0.500, f1=0.500"
    assert lines[-2:] == ["Router system accuracy: 1.000", "Oracle (best possible): 1.000"]
    for line in ("router", "best single", "cheapest", "random", "oracle", "economy", "kNN", "APGR", "text + image", "AIQ"):
        assert any(row.startswith(line) for row in lines), line
    assert "router - best single: +0.250 [" in text
    assert "100.0% [" in text
    assert "strong, chosen on the training set" in text


def test_points_are_told_beside_the_best_single_model() -> None:
    (row,) = tables.points_table(plain(FOUR, 1, operating_points={"economy": FOUR.always(0)})).splitlines()[2:]
    assert row.split()[:2] == ["economy", "0.500"]
    assert "-0.250 [" in row
    assert "25.0%" in row
    assert row.endswith("weak 100%")


def test_baselines_are_told_beside_the_router() -> None:
    rows = tables.baselines_table(plain(FOUR, 1, baselines={"always weak": np.array([[1.0, 0.0]] * 4)})).splitlines()[2:]
    assert rows[0].startswith("router ")
    assert "-0.500 [" in rows[1]


@pytest.mark.parametrize("test", POOR.values(), ids=POOR)
def test_what_is_unknown_is_a_dash(test: HeldOut) -> None:
    text = tables.report(plain(test, len(test.names) - 1, operating_points={"p": test.chosen}))
    assert "None" not in text
    assert "nan" not in text
    assert "Router system accuracy: " in text


def test_sections_without_content_are_left_out() -> None:
    text = tables.report(plain(POOR["no costs"], 1))
    for title in ("Operating points", "Other methods", "By source", "By modality", "AIQ"):
        assert title not in text


def test_pictures_are_drawn(tmp_path: Path) -> None:
    test = made(120, 7, 3)
    metrics = plain(test, 6, operating_points={"economy": test.always(0), "quality": test.always(6)})
    for draw, name in ((curve_png, "curve.png"), (reliability_png, "reliability.png")):
        draw(metrics, tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) >= 600
            colours = picture.convert("RGB").getcolors(1 << 20)
        assert colours is not None
        assert {(0, 0x72, 0xB2), (255, 255, 255)} <= {colour for _, colour in colours}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "reliability.png"]


@pytest.mark.parametrize("test", POOR.values(), ids=POOR)
def test_poor_data_is_drawn_or_refused_in_words(test: HeldOut, tmp_path: Path) -> None:
    metrics = plain(test, len(test.names) - 1, operating_points={"p": test.chosen})
    reliability_png(metrics, tmp_path / "reliability.png")
    if metrics["cost_quality"] is None:
        with pytest.raises(DataError, match="no known costs"):
            curve_png(metrics, tmp_path / "curve.png")
    else:
        curve_png(metrics, tmp_path / "curve.png")


def test_hostile_names_are_drawn_as_text(tmp_path: Path) -> None:
    test = made(30, 3, 0)
    odd = HeldOut(["$\\frac{$", "a" * 300, "模型\n{}"], test.probabilities, test.chosen, test.labels, test.groups, test.costs)
    metrics = plain(odd, 0)
    curve_png(metrics, tmp_path / "curve.png")
    reliability_png(metrics, tmp_path / "reliability.png")
    assert tables.report(metrics)


def test_boxes_overlap_by_their_shared_area() -> None:
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    assert _overlaps(boxes, np.array([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 1.0]])).tolist() == [[1, 2], [0, 0]]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"auto-router\[plots\]"):
        reliability_png(plain(FOUR, 1), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
