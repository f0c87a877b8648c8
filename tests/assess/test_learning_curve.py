"""The learning curve: paired on the same rows, honest about what it cannot tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auto_router.assess import learning_curve as module
from auto_router.assess.learning_curve import LearningCurve, curve_lines, main
from auto_router.errors import DataError
from tests.stage3 import make_records, write_inputs


def curve(steps: np.ndarray[tuple[int], np.dtype[np.float64]], sources: list[str] | None = None) -> LearningCurve:
    """Two sizes, of which the second gains ``steps`` more on each row."""
    before = np.zeros(len(steps))
    return LearningCurve(
        np.array([100, 200]), np.array([300, 600]), np.stack([before, before + steps]), np.arange(len(steps)), sources or []
    )


def test_what_the_curve_says_follows_from_the_interval_of_the_last_step() -> None:
    rng = np.random.default_rng(0)
    rises, unclear = (rng.random(400) < 0.1).astype(float), rng.normal(0, 1, 400)
    cases = {"more labels would help": rises, "would hardly help": np.zeros(4000), "cannot be told": unclear}
    for said, steps in cases.items():
        lines = curve_lines(curve(steps))
        assert said in lines[1]
        error = np.hypot(steps.std(ddof=1) / len(steps) ** 0.5, 1 / len(steps))  # no row changed: one more is counted
        assert f"{100 * steps.mean():+.2f} ± {196 * error:.2f} points" in lines[1]
    assert "cannot be told" in curve_lines(curve(np.zeros(200)))[1]


def test_sources_that_clearly_gain_are_named_and_chance_is_not() -> None:
    steps, sources = np.zeros(300), [f"s{n % 3}" for n in range(300)]
    steps[1::3] = np.where(np.arange(100) % 2, 1.0, 0.0)
    steps[0::3][:3] = 1.0
    assert curve_lines(curve(steps, sources))[2] == "where: s1 (+50.0 points)"
    assert len(curve_lines(curve(steps))) == 2


def test_every_size_decides_the_same_rows_that_it_did_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "CURVE_FOLDS", 2)
    monkeypatch.setattr(module, "FRACTIONS", (0.25, 1.0))
    write_inputs(tmp_path, make_records(480), make_records(3, 480))
    main(["--train-embeddings", str(tmp_path / "train.npy"), "--train-json", str(tmp_path / "train.json")])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line[:1].isdigit()]
    assert [row[:2] for row in rows] == [["60", "180"], ["240", "720"]]
    # Of 480 rows two thirds have a kind of their own, and c is right on 60 % of these anyway: the router can win 27 points.
    assert 15 < float(rows[1][2]) < 30
    write_inputs(tmp_path / "few", make_records(60), make_records(3, 60))
    with pytest.raises(DataError, match="60 rows are too few"):
        main(["--train-embeddings", str(tmp_path / "few/train.npy"), "--train-json", str(tmp_path / "few/train.json")])
