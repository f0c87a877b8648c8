"""The default network: it is what its formulas say, its out-of-fold predictions are exact, and data may look like anything."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from auto_router.arrays import Array, Ints
from auto_router.artifacts import Artifact, load_artifact, save_artifact
from auto_router.errors import ArtifactError, ConfigError, DataError
from auto_router.learn import stack_fit
from auto_router.learn.mlp import TrainConfig, train_network
from auto_router.learn.stack import BLUNT, FeatureLayout, Kernel, StackConfig, StackNetwork, Trees, similarity
from auto_router.learn.stack_fit import (
    RIDGE,
    FittedStack,
    View,
    _grow,
    draw_anchors,
    fit_kernel,
    fit_projection,
    fit_stack,
    fit_trees,
    leave_group_out,
)

Doubles = npt.NDArray[np.float64]
LAYOUT = FeatureLayout(text_dim=8, image_dim=4, prompt_dim=3)


def data(rows: int = 120, models: int = 3, seed: int = 0, images: bool = True) -> tuple[Array, Array, Ints]:
    """Two kinds of prompts, told apart by their text; model 0 is right on one kind, model 1 on the other."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, rows)
    x = rng.normal(0, 0.3, (rows, LAYOUT.dim)).astype(np.float32)
    x[:, 0] += 2 * kind
    x[:, LAYOUT.blocks["image"]] *= images
    right = np.stack([(kind == j % 2) if j < 2 else rng.random(rows) < 0.4 for j in range(models)], axis=1)
    noisy = right ^ (rng.random(right.shape) < 0.1)
    return x, noisy.astype(np.float32), np.arange(rows)


def fit(x: Array, y: Array, groups: Ints) -> FittedStack:
    return fit_stack(x, y, groups, LAYOUT)


def predict(fitted: FittedStack, x: Array) -> Array:
    return fitted.network.predict(x)


def test_leave_group_out_equals_refitting_without_the_group() -> None:
    rng = np.random.default_rng(0)
    phi, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    sizes = np.array([1, 2, 3, 4, 5, 1, 1, 2, 3, 4, 3, 1])
    groups = np.repeat(np.arange(12), sizes)
    ridge = 0.5 * np.eye(4)
    gram = phi.T @ phi + ridge
    found = leave_group_out(phi, np.linalg.cholesky(gram), phi @ np.linalg.solve(gram, phi.T @ y), y, sizes)
    for group in range(12):
        out = groups == group
        inside = phi[~out]
        refitted = phi[out] @ np.linalg.solve(inside.T @ inside + ridge, inside.T @ y[~out])
        np.testing.assert_allclose(found[out], refitted, rtol=0, atol=1e-9)


def test_with_every_row_an_anchor_it_is_kernel_ridge() -> None:
    """Out of fold too, and whatever order the groups' rows come in."""
    rng = np.random.default_rng(1)
    points, y = rng.normal(size=(60, 3)).astype(np.float32), rng.normal(size=(60, 2)).astype(np.float32)
    groups = rng.integers(0, 25, 60)
    head, found = fit_kernel(points, y, groups, draw_anchors(points, rng))
    exactly = points.astype(np.float64)
    kernel = similarity(exactly, exactly)
    exact = kernel @ np.linalg.solve(kernel + RIDGE * np.eye(60), y)
    np.testing.assert_allclose(head(points), exact, rtol=0, atol=1e-2)
    for group in np.unique(groups):
        out = groups == group
        inside = kernel[~out][:, ~out] + RIDGE * np.eye(int((~out).sum()))
        refitted = kernel[out][:, ~out] @ np.linalg.solve(inside, y[~out])
        np.testing.assert_allclose(found[out], refitted, rtol=0, atol=1e-2)


def test_trees_as_tables_predict_what_the_forest_does() -> None:
    rng = np.random.default_rng(0)
    points, y = rng.normal(size=(300, 5)).astype(np.float32), rng.random((300, 3)).astype(np.float32)
    head, found = fit_trees(points, y, np.arange(300), seed=3)
    level = y.mean(axis=1, keepdims=True)
    forest = _grow(points, np.concatenate([y - level, level], axis=1), 3).predict(points)
    assert np.allclose(head(points), forest[:, :-1] + forest[:, -1:], atol=1e-5)
    assert found.shape == y.shape
    assert np.abs(found - head(points)).max() > 0.05, "a row's own fold took part in its prediction"


def test_it_learns_which_model_is_better() -> None:
    x, y, groups = data()
    new, truth, _ = data(seed=1)
    chosen = predict(fit(x, y, groups), new).argmax(axis=1)
    accuracy = truth[np.arange(len(truth)), chosen].mean()
    assert accuracy > truth.mean(axis=0).max() + 0.25


def test_out_of_fold_predictions_are_about_as_good_as_on_new_rows() -> None:
    x, y, groups = data(rows=400)
    found = fit(x, y, groups)
    new, truth, _ = data(rows=400, seed=1)
    inside, outside = np.square(found.out_of_fold - y).mean(), np.square(predict(found, new) - truth).mean()
    assert inside == pytest.approx(outside, abs=0.03)


def test_rows_of_one_group_do_not_vouch_for_each_other() -> None:
    """Labels are a coin of each group, and its rows are alike: only leaving the group out shows that nothing is learned."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    x = (rng.normal(size=(60, LAYOUT.dim))[groups] + rng.normal(0, 0.01, (240, LAYOUT.dim))).astype(np.float32)
    y = (rng.random((60, 3)) < 0.5).astype(np.float32)[groups]
    apart, together = fit(x, y, groups).out_of_fold, fit(x, y, np.arange(240)).out_of_fold
    assert np.square(apart - y).mean() > 0.2
    assert np.square(together - y).mean() < 0.1


def test_where_nothing_can_be_told_it_keeps_to_the_best_single_model() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(500, LAYOUT.dim)).astype(np.float32)
    y = (rng.random((500, 3)) < np.array([0.6, 0.8, 0.5])).astype(np.float32)
    chosen = predict(fit(x, y, np.arange(500)), rng.normal(size=(500, LAYOUT.dim)).astype(np.float32)).argmax(axis=1)
    assert (chosen == 1).mean() > 0.95


def test_unknown_labels_are_not_wrong_answers() -> None:
    """A model that is right whenever it was asked keeps a high probability, although it was rarely asked."""
    x, y, groups = data(rows=200)
    y[:, 2] = np.nan
    y[:20, 2] = 1.0
    assert predict(fit(x, y, groups), x)[:, 2].min() > 0.6


@pytest.mark.parametrize(
    ("rows", "models", "images"), [(2, 1, False), (6, 3, True), (60, 1, True), (80, 60, False), (100, 3, False)]
)
def test_small_and_odd_data_train(rows: int, models: int, images: bool) -> None:
    x, y, groups = data(rows, models, images=images)
    p = predict(fit(x, y, groups), x)
    assert p.shape == (rows, models)
    assert ((p >= 0) & (p <= 1)).all()


def test_constant_labels_duplicates_and_30_percent_unknown_train() -> None:
    x, y, groups = data(rows=100)
    y[:, 0], y[:, 2] = 1.0, 0.0
    x[50:] = x[:50]
    y[np.random.default_rng(0).random(y.shape) < 0.3] = np.nan
    p = predict(fit(x, y, groups), x)
    assert np.isfinite(p).all()
    assert p[:, 0].min() > 0.95, "a model that is always right feels nothing of how hard a prompt is"
    assert p[:, 2].max() < 0.05


def test_only_images_and_identical_inputs_train() -> None:
    x, y, groups = data()
    x[:, LAYOUT.blocks["text"]] = 0
    assert np.isfinite(predict(fit(x, y, groups), x)).all()
    same = predict(fit(np.ones_like(x), y, groups), np.ones_like(x))
    assert same[0] == pytest.approx(y.mean(axis=0), abs=0.05)


def test_too_little_is_refused() -> None:
    x, y, groups = data(rows=10)
    with pytest.raises(DataError, match="1 group"):
        fit(x, y, np.zeros(10, dtype=np.int64))
    y[:, 1] = np.nan
    with pytest.raises(DataError, match="positions \\[1\\] have no known label"):
        fit(x, y, groups)


def test_of_many_rows_a_seeded_part_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_fit, "MAX_ROWS", 50)
    x, y, groups = data(rows=120)
    first, again, other = (fit_stack(x, y, groups, LAYOUT, seed).rows.tolist() for seed in (1, 1, 2))
    assert len(set(first)) == 50
    assert first == again == sorted(first)
    assert first != other
    assert fit_stack(x, y, groups, LAYOUT).network.config.n_anchors == 50


def test_the_same_data_gives_the_same_network() -> None:
    x, y, groups = data()
    a, b = fit(x, y, groups).network.state(), fit(x, y, groups).network.state()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_network_is_built_again_from_its_description() -> None:
    x, y, groups = data()
    network = fit(x, y, groups).network
    again = StackNetwork.from_state(StackConfig.from_plain(network.config.to_plain()), network.state())
    assert np.array_equal(again.predict(x), network.predict(x))
    assert again.config == network.config


@pytest.mark.parametrize(
    "change",
    [{"n_anchors": 10**9}, {"kernel_dims": [-1]}, {"kernel_dims": None}, {"depth": 1.5}, {"extra": 1}],
)
def test_impossible_descriptions_are_refused(change: dict[str, object]) -> None:
    description = StackConfig(15, 3, (4, 5), 10, 6, 2, 30, 3).to_plain()
    StackConfig.from_plain(description)
    with pytest.raises(ConfigError):
        StackConfig.from_plain(description | change)


def test_a_network_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    path, encoder = tmp_path / "nn_router.pth", {"text_dim": LAYOUT.dim, "image_dim": 0}
    save_artifact(path, Artifact(fit(*data()).network, ("a", "b", "c"), encoder))
    load_artifact(path)
    content = torch.load(path, weights_only=True)
    content["network"]["kind"] = "svm"
    torch.save(content, path)
    with pytest.raises(ArtifactError, match="network kind 'svm' is unknown; known are mlp and stack"):
        load_artifact(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": None}, "missing or unknown arrays: mean"),
        ({"extra": np.zeros(3)}, "missing or unknown arrays: extra"),
        ({"mean": np.zeros(4, dtype=np.float32)}, r"mean is float32 \[4\], expected float32 \[3\]"),
        ({"mean": np.zeros(3)}, r"mean is float64 \[3\], expected float32 \[3\]"),
        ({"mean": np.full(3, np.nan, dtype=np.float32)}, "mean holds values that are not finite"),
        ({"heads.2.roots": np.zeros(24, dtype=np.int64)}, "exactly one way"),
    ],
)
def test_damaged_arrays_are_refused(change: dict[str, Any], message: str) -> None:
    network = fit(*data()).network
    state = {name: array for name, array in (network.state() | change).items() if array is not None}
    with pytest.raises(ConfigError, match=message):
        StackNetwork.from_state(network.config, state)


def test_rows_that_are_not_finite_are_refused_by_number() -> None:
    x, y, groups = data(rows=20)
    x[7, 3] = np.nan
    with pytest.raises(DataError, match="training row 7 "):
        fit(x, y, groups)


@pytest.mark.parametrize("known", [5, 50])
def test_a_model_with_few_labels_keeps_near_its_mean(known: int) -> None:
    x, y, groups = data(rows=200)
    y[known:, 2] = np.nan
    p = predict(fit(x, y, groups), x)[:, 2]
    assert np.abs(p - np.nanmean(y[:, 2])).mean() < 0.3


def test_a_projection_brings_blocks_to_one_scale() -> None:
    """Two random rows lie one apart in the whole, and equal weights give equal shares whatever the blocks' units."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, LAYOUT.dim)).astype(np.float32)
    x[:, LAYOUT.blocks["image"]] *= 100
    for weights in ({"text": 1.0, "image": 1.0, "prompt": 0.0}, {"text": 0.0, "image": 1.0, "prompt": 1.0}):
        projection, columns = fit_projection(x, LAYOUT, [View(weights, components=64), View(weights, 2, with_prompt=True)])
        assert columns[1] == 2 + LAYOUT.prompt_dim
        z = projection(x)[:, : columns[0]]
        distances = np.square(z[:, None] - z[None]).sum(axis=2, dtype=np.float64)
        assert distances.sum() / (300 * 299) == pytest.approx(1.0, abs=0.02)
        moved = x.copy()
        moved[:, LAYOUT.blocks["text"]] += 5
        assert np.allclose(projection(moved)[:, : columns[0]], z) == (weights["text"] == 0)


def accuracy_with(flips: float, seed: int) -> dict[str, float]:
    """Routing accuracy of both heads on clean test rows after training on labels of which this share is turned round."""
    x, y, groups = data(rows=600, models=4, seed=seed)
    wrong = np.random.default_rng(seed).random(y.shape) < flips
    labels = np.where(wrong, 1 - y, y)
    new, truth, _ = data(rows=600, models=4, seed=seed + 100)
    train, validation = slice(0, 500), slice(500, 600)
    mlp = train_network((x[train], labels[train]), (x[validation], labels[validation]), TrainConfig(), seed).network
    found = {"stack": predict(fit(x, labels, groups), new), "mlp": mlp.predict(new)}
    return {name: float(np.take_along_axis(truth, p.argmax(axis=1)[:, None], axis=1).mean()) for name, p in found.items()}


def test_wrong_labels_cost_it_less_than_the_plain_network() -> None:
    lost = {"stack": 0.0, "mlp": 0.0}
    for seed in range(3):
        clean, noisy = accuracy_with(0.0, seed), accuracy_with(0.2, seed)
        for name in lost:
            lost[name] += clean[name] - noisy[name]
    assert lost["stack"] < lost["mlp"]
    assert lost["stack"] / 3 < 0.03


WIDE = FeatureLayout(text_dim=8, image_dim=6, prompt_dim=3)


def odd_rows(count: int, seed: int) -> Array:
    """Half of them without an image; features of the prompt with outliers that are clipped."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, WIDE.dim)).astype(np.float32)
    found[::2, WIDE.blocks["image"]] = 0.0
    found[::5, -1] *= 50
    return found


@pytest.fixture(scope="module", params=[None, "image"], ids=["blocks unknown", "image known"])
def network(request: pytest.FixtureRequest) -> StackNetwork:
    x = odd_rows(150, 0)
    y = (x[:, [0, 9, 15]] > 0).astype(np.float32)
    return replace(fit_stack(x, y, np.arange(150), WIDE).network, image=WIDE.blocks.get(request.param))


def kernel_by_definition(kernel: Kernel, points: Doubles) -> Doubles:
    squared = np.square(points[:, None] - kernel.anchors.astype(np.float64)[None]).sum(axis=2)
    return np.asarray(np.exp(-np.sqrt(squared + BLUNT)) @ kernel.coefficients.astype(np.float64))


def trees_by_walking(trees: Trees, points: Doubles) -> Doubles:
    found = np.zeros((len(points), trees.values.shape[1]))
    for i, point in enumerate(points.astype(np.float32)):
        for root in trees.roots.tolist():
            node = root
            while (below := int(trees.onward[2 * node + 1])) != node:
                node = below if point[trees.feature[node]] <= trees.cut[node] else int(trees.onward[2 * node])
            found[i] += trees.values[node]
    return found


def by_definition(network: StackNetwork, x: Array) -> Doubles:
    """What the network's formulas give in double precision."""
    parts = (getattr(network.projection, name) for name in ("mean", "scale", "limit", "basis"))
    mean, scale, limit, basis = (part.astype(np.float64) for part in parts)
    projected = ((x - mean) * scale).clip(-limit, limit) @ basis
    widths = [kernel.anchors.shape[1] for kernel in network.kernels]
    *views, last = np.split(projected, np.cumsum(widths), axis=1)
    total = network.mean.astype(np.float64) + trees_by_walking(network.trees, last)
    for kernel, points in zip(network.kernels, views, strict=True):
        total = total + kernel_by_definition(kernel, points)
    return np.asarray(total.clip(0, 1))


def test_the_network_is_what_the_formulas_say(network: StackNetwork) -> None:
    x = odd_rows(60, 1)
    expected = by_definition(network, x)
    assert np.abs(network.predict(x) - expected).max() < 2e-6
    singly = np.concatenate([network.predict(x[i : i + 1]) for i in range(40)])
    assert np.abs(singly - expected[:40]).max() < 2e-6
    assert network.predict(x[::2][:3]) == pytest.approx(expected[::2][:3], abs=2e-6), "no image in the batch"
    assert network.predict(x[1::2][:3]) == pytest.approx(expected[1::2][:3], abs=2e-6), "only images in the batch"


def test_many_rows_are_what_each_is_alone(network: StackNetwork) -> None:
    x = odd_rows(1300, 2)
    assert network.predict(x) == pytest.approx(np.concatenate([network.predict(row[None]) for row in x]), abs=1e-5)


def test_single_rows_of_several_threads_do_not_meet(network: StackNetwork) -> None:
    """Each call has memory of its own, and what it is given stays as it is."""
    x = odd_rows(60, 4)
    before, expected = x.copy(), network.predict(x)
    assert np.array_equal(network.predict(x[:1].astype(np.float64)), network.predict(x[:1]))

    def one_by_one(start: int) -> list[Array]:
        return [network.predict(x[i : i + 1]) for _ in range(20) for i in range(start, 60, 4)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one_by_one, range(4)))
    for start, some in enumerate(found):
        np.testing.assert_allclose(np.concatenate(some), np.tile(expected[start::4], (20, 1)), atol=1e-5)
    assert np.array_equal(x, before)


def test_what_is_no_number_stays_none(network: StackNetwork) -> None:
    x = odd_rows(4, 3)
    x[1, 0] = x[2, -1] = np.nan
    assert np.isnan(network.predict(x)).all(axis=1).tolist() == [False, True, True, False]


Tables = dict[str, Any]


def small_trees(change: Callable[[Tables], None] = lambda tables: None) -> Trees:
    """Two trees, of three nodes and of one, with one thing changed."""
    tables: Tables = {
        "feature": np.zeros(4, dtype=np.int64),
        "cut": np.array([0.5, np.inf, np.inf, np.inf], dtype=np.float32),
        "onward": np.array([2, 1, 1, 1, 2, 2, 3, 3]),
        "values": np.arange(8, dtype=np.float32).reshape(4, 2),
        "roots": np.array([0, 3]),
        "dim": 4,
        "depth": 2,
    }
    change(tables)
    return Trees(**tables)


def test_small_tables_are_followed() -> None:
    points = np.array([[0.4, 0, 0, 0], [0.5, 0, 0, 0], [0.6, 0, 0, 0]], dtype=np.float32)
    trees = small_trees()
    trees.check()
    assert trees(points).tolist() == [[2 + 6, 3 + 7], [2 + 6, 3 + 7], [4 + 6, 5 + 7]]
    assert [trees(point[None]).tolist()[0] for point in points] == trees(points).tolist(), "one row has a way of its own"


def put(name: str, place: int, value: float) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables[name][place] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("feature", 0, 4), "lead out"),
        (put("feature", 3, -1), "lead out"),
        (put("onward", 0, 4), "lead out"),
        (put("onward", 0, -1), "lead out"),
        (put("onward", 0, 0), "exactly one way"),
        (put("onward", 0, 1), "exactly one way"),
        (put("onward", 0, 3), "exactly one way"),
        (put("roots", 1, 2), "exactly one way"),
        (put("roots", 1, 10**9), "lead out"),
        (put("cut", 0, float("nan")), "finite"),
        (put("values", 1, float("inf")), "finite"),
        (lambda tables: tables.update(depth=0), "longer than 0 steps"),
        (lambda tables: tables.update(depth=10**9), "not possible"),
        (lambda tables: tables.update(roots=np.array([], dtype=np.int64)), "not possible"),
    ],
)
def test_tables_that_lead_astray_are_refused(change: Callable[[Tables], None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_trees(change).check()


def test_a_ring_is_refused() -> None:
    with pytest.raises(ConfigError, match="exactly one way"):
        small_trees(lambda tables: tables.update(onward=np.array([0, 0, 2, 2, 1, 1, 3, 3]), depth=60)).check()
    # Node 0 is a leaf; 1 and 2 are each other's child, and 3 and 4 hang on them: one way to each, and no way out.
    onward = np.array([0, 0, 2, 3, 1, 4, 3, 3, 4, 4])
    numbers = np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.float32)
    ring = Trees(*numbers, onward, np.zeros((5, 1), dtype=np.float32), roots=np.array([0]), dim=4, depth=60)
    with pytest.raises(ConfigError, match="leads in a ring"):
        ring.check()
