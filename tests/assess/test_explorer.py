"""The explorer's arithmetic is the router's: JavaScript beside ``Policy`` and the measures, on random settings."""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import playwright
import pytest

from auto_router.assess import explorer, test_set
from auto_router.assess.assessment import measure_decisions
from auto_router.assess.explorer import pack
from auto_router.assess.metrics import GroupBootstrap
from auto_router.data.dataset import Prediction
from auto_router.decide.operating_points import OperatingPoint, clustered_mean
from auto_router.decide.policy import RouterSettings, resolve_policy
from tests.checkout import ROOT

# Playwright brings a Node.js of its own: this test needs no browser.
NODE = Path(playwright.__file__).parent / "driver" / "node"
MODELS, BEST = ["a", "b", "c", "d", "e"], 2
RUN = """
const explorer = require(process.argv[1]);
const {packed, settings, prices} = JSON.parse(require("fs").readFileSync(0, "utf8"));
const test = explorer.open(packed);
process.stdout.write(JSON.stringify(settings.map(given => {
  const chosen = explorer.choose(test, explorer.serve(test, given));
  return {chosen: Array.from(chosen), ...explorer.measure(test, chosen, prices || test.prices)};
})));
"""
KINDS = ("prices", "recorded costs", "graded", "no costs")


def make_rows(kind: str, rows: int = 150) -> test_set.TestSet:
    """Rows full of ties, unknowns and models that may not take them."""
    rng = np.random.default_rng(KINDS.index(kind))
    shape = (rows, len(MODELS))
    p = rng.integers(0, 21, shape).astype(np.float32) / np.float32(20)
    labels = rng.integers(0, 5 if kind == "graded" else 2, shape).astype(np.float32) / (4 if kind == "graded" else 1)
    p[rng.random(shape) < 0.03] = np.nan
    labels[rng.random(shape) < 0.1] = np.nan
    eligible = rng.random(shape) < 0.8
    eligible[:, 0] |= ~eligible.any(axis=1)
    costs: Any = np.broadcast_to(np.array([0.001, 0.002, 0.02, 0.002, np.nan]), shape)
    if kind == "recorded costs":
        costs = (rng.random(shape) * np.array([1, 2, 20, 2, 5]) / 1000).astype(np.float32)
        costs[rng.random(shape) < 0.1] = np.nan
    expected = novelty = None
    if kind == "recorded costs":
        expected = (rng.random(shape) * np.array([1, 2, 20, 2, np.nan])).astype(np.float32)
        novelty = np.where(rng.random(rows) < 0.1, 1.5, 0.5)
    groups = rng.integers(0, rows // 2, rows)
    chosen, known = np.zeros(rows, dtype=np.int64), None if kind == "no costs" else costs
    return test_set.TestSet(MODELS, Prediction(p, novelty, expected), chosen, labels, groups, known, eligible=eligible)


def points(rng: np.random.Generator) -> dict[str, OperatingPoint]:
    found = {}
    for name in ("accuracy", "balanced", "economy"):
        costs = {model: float(rng.integers(0, 9)) for model in MODELS if rng.random() < 0.8}
        margin, weight = float(rng.choice([0.0, 0.05, 2.0])), float(rng.choice([0.0, 0.1, 0.5]))
        weighs = "latency" if name == "accuracy" else "cost"
        found[name] = OperatingPoint("aim", MODELS[rng.integers(5)], margin, weight, costs, weighs=weighs)
    return found


def some(rng: np.random.Generator, highest: float) -> dict[str, float]:
    return {model: float(rng.integers(0, 11)) / 10 * highest for model in MODELS if rng.random() < 0.7}


def settings(rng: np.random.Generator) -> dict[str, Any]:
    """One random call of ModelRouter, as keyword arguments."""
    found: dict[str, Any] = {}
    if rng.random() < 0.6:
        found["model_thresholds"] = some(rng, 1.0)
    if rng.random() < 0.6:
        found["model_costs"] = some(rng, 20.0)
    if rng.random() < 0.4:
        found["fallback_model"] = str(rng.choice(MODELS))
    if rng.random() < 0.5:
        found["operating_point"] = str(rng.choice(["accuracy", "balanced", "economy"]))
    return found


def computed_in_js(content: dict[str, Any]) -> Any:
    command = [str(NODE), "-e", RUN, str(ROOT / "auto_router" / "assess" / "page" / "explorer.js")]
    done = subprocess.run(command, input=json.dumps(content), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def same(shown: float | None, expected: float | None) -> bool:
    """JSON has no NaN: unknown is None on both sides."""
    unknown = expected is None or np.isnan(expected)
    return shown is None if unknown else shown == pytest.approx(expected, rel=2e-6, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_random_settings_of_each_kind_come_to_the_same_in_the_page(kind: str) -> None:
    rng, test = np.random.default_rng(7), make_rows(kind)
    fitted, tried = points(rng), [settings(rng) for _ in range(50)]
    shown = computed_in_js({"packed": pack(test, BEST, fitted, 0), "settings": tried})
    bootstrap = GroupBootstrap(test.groups, 0)
    distinct = set()
    for given, found in zip(tried, shown, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            policy = resolve_policy(MODELS, fitted, RouterSettings(**given))
        chosen = policy.choose(test.prediction, test.eligible).chosen
        distinct.add(chosen.tobytes())
        assert found["chosen"] == chosen.tolist(), given
        expected = measure_decisions(test, chosen, BEST, bootstrap)
        for name in ("accuracy", "minus_best_single", "cost", "cost_share"):
            assert same(found[name], expected[name]), (name, given)
        assert found["shares"] == pytest.approx(list(expected["selection"].values()))
        gain = test.label(chosen).astype(np.float64) - test.outcomes[:, BEST]
        assert same(found["error"], clustered_mean(gain, test.groups)[1])
        assert (found["gained"], found["lost"]) == (int((gain > 0).sum()), int((gain < 0).sum()))
        assert found["changed"] == pytest.approx((chosen != BEST).mean())
    assert len(distinct) > 20, "the settings must differ in what they do"


def test_other_prices_move_recorded_costs_in_proportion() -> None:
    test = make_rows("recorded costs")
    content = pack(test, BEST, {}, 0)
    given = [{"model_thresholds": {"a": 0.5}}]
    (before,) = computed_in_js({"packed": content, "settings": given})
    doubled = [None if price is None else 2 * price for price in content["prices"]]
    (after,) = computed_in_js({"packed": content, "settings": given, "prices": doubled})
    assert after["cost"] == pytest.approx(2 * before["cost"])
    assert after["cost_share"] == pytest.approx(before["cost_share"])


def test_a_large_test_set_is_drawn_from_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "MAX_PACKED_BYTES", 3000)
    content = pack(make_rows("recorded costs"), BEST, {}, 0)
    assert content["of"] == 150
    assert 20 < content["rows"] < 100
    assert sum(len(value) for value in content.values() if isinstance(value, str)) <= 3100
    (found,) = computed_in_js({"packed": content, "settings": [{}]})
    assert len(found["chosen"]) == content["rows"]


def test_one_price_a_model_is_packed_once() -> None:
    assert pack(make_rows("prices"), BEST, {}, 0)["row_costs"] is None
    assert pack(make_rows("no costs"), BEST, {}, 0)["prices"] == [None] * 5
    assert pack(make_rows("recorded costs"), BEST, {}, 0)["row_costs"] is not None
