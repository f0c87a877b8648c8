"""The default network: exact leave-one-group-out predictions, honest shrinkage, and everything a data set may look like."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auto_router.arrays import Array, Ints
from auto_router.artifacts import build, describe
from auto_router.errors import ConfigError, DataError
from auto_router.learn import stack_fit
from auto_router.learn.graph import Layout
from auto_router.learn.mlp import TrainConfig, train_network
from auto_router.learn.stack import StackConfig, StackNetwork, View, fit_projection, similarity
from auto_router.learn.stack_fit import RIDGE, Fitted, _grow, draw_anchors, fit_kernel, fit_stack, fit_trees, leave_group_out

LAYOUT = Layout(text_dim=8, image_dim=4, surface_dim=3)


def data(rows: int = 120, models: int = 3, seed: int = 0, pictures: bool = True) -> tuple[Array, Array, Ints]:
    """Two kinds of prompts, told apart by text and surface; model 0 is right on one kind, model 1 on the other."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, rows)
    x = rng.normal(0, 0.3, (rows, LAYOUT.dim)).astype(np.float32)
    x[:, 0] += 2 * kind
    x[:, LAYOUT.blocks["image"]] *= pictures
    right = np.stack([(kind == j % 2) if j < 2 else rng.random(rows) < 0.4 for j in range(models)], axis=1)
    noisy = right ^ (rng.random(right.shape) < 0.1)
    return x, noisy.astype(np.float32), np.arange(rows)


def fitted(x: Array, y: Array, groups: Ints) -> Fitted:
    return fit_stack(x, y, groups, LAYOUT)


def predict(found: Fitted, x: Array) -> Array:
    with torch.inference_mode():
        result: Array = found.network(torch.from_numpy(x)).numpy()
    return result


def test_leave_group_out_equals_refitting_without_the_group() -> None:
    torch.manual_seed(0)
    phi, y = torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 2, dtype=torch.float64)
    sizes = np.array([1, 2, 3, 4, 5, 1, 1, 2, 3, 4, 3, 1])
    groups = np.repeat(np.arange(12), sizes)
    ridge = 0.5 * torch.eye(4, dtype=torch.float64)
    solver = torch.linalg.cholesky(phi.T @ phi + ridge)
    found = leave_group_out(phi, solver, phi @ torch.cholesky_solve(phi.T @ y, solver), y, sizes)
    for group in range(12):
        out = torch.from_numpy(groups == group)
        inside = phi[~out]
        refitted = phi[out] @ torch.linalg.solve(inside.T @ inside + ridge, inside.T @ y[~out])
        assert torch.allclose(found[out], refitted, atol=1e-9)


def test_with_every_row_an_anchor_it_is_kernel_ridge() -> None:
    """Out of fold too, and whatever order the groups' rows come in."""
    torch.manual_seed(1)
    points, y = torch.randn(60, 3), torch.randn(60, 2)
    groups = np.random.default_rng(0).integers(0, 25, 60)
    head, found = fit_kernel(points, y, groups, draw_anchors(points, np.random.default_rng(0)))
    kernel = similarity(points.double(), points.double())
    exact = kernel @ torch.linalg.solve(kernel + RIDGE * torch.eye(60), y.double())
    assert torch.allclose(head(points).double(), exact, atol=1e-2)
    for group in np.unique(groups):
        out = torch.from_numpy(groups == group)
        inside = kernel[~out][:, ~out] + RIDGE * torch.eye(int((~out).sum()))
        refitted = kernel[out][:, ~out] @ torch.linalg.solve(inside, y[~out].double())
        assert torch.allclose(found[out].double(), refitted, atol=1e-2)


def test_trees_as_tables_predict_what_the_forest_does() -> None:
    rng = np.random.default_rng(0)
    points, y = rng.normal(size=(300, 5)).astype(np.float32), rng.random((300, 3)).astype(np.float32)
    head, found = fit_trees(points, y, np.arange(300), seed=3)
    level = y.mean(axis=1, keepdims=True)
    forest = _grow(points, np.concatenate([y - level, level], axis=1), 3).predict(points)
    assert np.allclose(head(torch.from_numpy(points)).numpy(), forest[:, :-1] + forest[:, -1:], atol=1e-5)
    assert found.shape == y.shape
    assert np.abs(found - head(torch.from_numpy(points)).numpy()).max() > 0.05, "a row's own fold took part in its prediction"


def test_it_learns_which_model_is_better() -> None:
    x, y, groups = data()
    new, truth, _ = data(seed=1)
    chosen = predict(fitted(x, y, groups), new).argmax(axis=1)
    accuracy = truth[np.arange(len(truth)), chosen].mean()
    assert accuracy > truth.mean(axis=0).max() + 0.25


def test_out_of_fold_predictions_are_about_as_good_as_on_new_rows() -> None:
    x, y, groups = data(rows=400)
    found = fitted(x, y, groups)
    new, truth, _ = data(rows=400, seed=1)
    inside, outside = np.square(found.out_of_fold - y).mean(), np.square(predict(found, new) - truth).mean()
    assert inside == pytest.approx(outside, abs=0.03)


def test_rows_of_one_group_do_not_vouch_for_each_other() -> None:
    """Labels are a coin of each group, and its rows are alike: only leaving the group out shows that nothing is learned."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    x = (rng.normal(size=(60, LAYOUT.dim))[groups] + rng.normal(0, 0.01, (240, LAYOUT.dim))).astype(np.float32)
    y = (rng.random((60, 3)) < 0.5).astype(np.float32)[groups]
    honest, fooled = fitted(x, y, groups).out_of_fold, fitted(x, y, np.arange(240)).out_of_fold
    assert np.square(honest - y).mean() > 0.2
    assert np.square(fooled - y).mean() < 0.1


def test_where_nothing_can_be_told_it_keeps_to_the_best_single_model() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(500, LAYOUT.dim)).astype(np.float32)
    y = (rng.random((500, 3)) < np.array([0.6, 0.8, 0.5])).astype(np.float32)
    chosen = predict(fitted(x, y, np.arange(500)), rng.normal(size=(500, LAYOUT.dim)).astype(np.float32)).argmax(axis=1)
    assert (chosen == 1).mean() > 0.95


def test_unknown_labels_are_not_wrong_answers() -> None:
    """A model that is right whenever it was asked keeps a high probability, although it was rarely asked."""
    x, y, groups = data(rows=200)
    y[:, 2] = np.nan
    y[:20, 2] = 1.0
    assert predict(fitted(x, y, groups), x)[:, 2].min() > 0.6


@pytest.mark.parametrize(
    ("rows", "models", "pictures"), [(2, 1, False), (6, 3, True), (60, 1, True), (80, 60, False), (100, 3, False)]
)
def test_small_and_odd_data_train(rows: int, models: int, pictures: bool) -> None:
    x, y, groups = data(rows, models, pictures=pictures)
    p = predict(fitted(x, y, groups), x)
    assert p.shape == (rows, models)
    assert ((p >= 0) & (p <= 1)).all()


def test_constant_labels_duplicates_and_30_percent_unknown_train() -> None:
    x, y, groups = data(rows=100)
    y[:, 0], y[:, 2] = 1.0, 0.0
    x[50:] = x[:50]
    y[np.random.default_rng(0).random(y.shape) < 0.3] = np.nan
    p = predict(fitted(x, y, groups), x)
    assert np.isfinite(p).all()
    assert p[:, 0].min() > 0.95, "a model that is always right feels nothing of how hard a prompt is"
    assert p[:, 2].max() < 0.05


def test_only_pictures_and_identical_inputs_train() -> None:
    x, y, groups = data()
    x[:, LAYOUT.blocks["text"]] = 0
    assert np.isfinite(predict(fitted(x, y, groups), x)).all()
    same = predict(fitted(np.ones_like(x), y, groups), np.ones_like(x))
    assert same[0] == pytest.approx(y.mean(axis=0), abs=0.05)


def test_too_little_is_refused() -> None:
    x, y, groups = data(rows=10)
    with pytest.raises(DataError, match="1 group"):
        fitted(x, y, np.zeros(10, dtype=np.int64))
    y[:, 1] = np.nan
    with pytest.raises(DataError, match="positions \\[1\\] have no known label"):
        fitted(x, y, groups)


def test_of_many_rows_a_seeded_part_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_fit, "MOST_ROWS", 50)
    x, y, groups = data(rows=120)
    first, again, other = (fit_stack(x, y, groups, LAYOUT, seed).rows.tolist() for seed in (1, 1, 2))
    assert len(set(first)) == 50
    assert first == again == sorted(first)
    assert first != other
    assert fit_stack(x, y, groups, LAYOUT).network.config.n_anchors == 50


def test_the_same_data_gives_the_same_network() -> None:
    x, y, groups = data()
    a, b = fitted(x, y, groups).network.state_dict(), fitted(x, y, groups).network.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_network_is_built_again_from_its_description() -> None:
    x, y, groups = data()
    network = fitted(x, y, groups).network
    again = build(describe(network))
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(torch.from_numpy(x)), network(torch.from_numpy(x)))
    assert isinstance(again, StackNetwork)


@pytest.mark.parametrize(
    "change",
    [{"kind": "svm"}, {"n_anchors": 10**9}, {"kernel_dims": [-1]}, {"kernel_dims": None}, {"depth": 1.5}, {"extra": 1}],
)
def test_impossible_descriptions_are_refused(change: dict[str, object]) -> None:
    description = {"kind": "stack"} | StackConfig(15, 3, (4, 5), 10, 6, 2, 30, 3).to_plain()
    build(description)
    with pytest.raises(ConfigError):
        build(description | change)


def test_rows_that_are_not_finite_are_refused_by_number() -> None:
    x, y, groups = data(rows=20)
    x[7, 3] = np.nan
    with pytest.raises(DataError, match="training row 7 "):
        fitted(x, y, groups)


@pytest.mark.parametrize("known", [5, 50])
def test_a_model_with_few_labels_keeps_near_its_mean(known: int) -> None:
    x, y, groups = data(rows=200)
    y[known:, 2] = np.nan
    p = predict(fitted(x, y, groups), x)[:, 2]
    assert np.abs(p - np.nanmean(y[:, 2])).mean() < 0.3


def test_a_projection_brings_blocks_to_one_scale() -> None:
    """Two random rows lie one apart in the whole, and equal weights give equal shares whatever the blocks' units."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, LAYOUT.dim)).astype(np.float32)
    x[:, LAYOUT.blocks["image"]] *= 100
    rows = torch.from_numpy(x)
    for weights in ({"text": 1.0, "image": 1.0, "surface": 0.0}, {"text": 0.0, "image": 1.0, "surface": 1.0}):
        projection, columns = fit_projection(rows, LAYOUT, [View(weights, components=64), View(weights, 2, with_surface=True)])
        assert columns[1] == 2 + LAYOUT.surface_dim
        z = projection(rows)[:, : columns[0]]
        distances = torch.cdist(z, z).square()
        assert distances.sum().item() / (300 * 299) == pytest.approx(1.0, abs=0.02)
        moved = rows.clone()
        moved[:, LAYOUT.blocks["text"]] += 5
        assert torch.allclose(projection(moved)[:, : columns[0]], z) == (weights["text"] == 0)


def accuracy_with(flips: float, seed: int) -> dict[str, float]:
    """Routing accuracy of both heads on clean test rows after training on labels of which this share is turned round."""
    x, y, groups = data(rows=600, models=4, seed=seed)
    wrong = np.random.default_rng(seed).random(y.shape) < flips
    labels = np.where(wrong, 1 - y, y)
    new, truth, _ = data(rows=600, models=4, seed=seed + 100)
    train, validation = slice(0, 500), slice(500, 600)
    mlp = train_network((x[train], labels[train]), (x[validation], labels[validation]), TrainConfig(), seed).network
    with torch.inference_mode():
        found = {"stack": predict(fitted(x, labels, groups), new), "mlp": mlp(torch.from_numpy(new)).numpy()}
    return {name: float(np.take_along_axis(truth, p.argmax(axis=1)[:, None], axis=1).mean()) for name, p in found.items()}


def test_wrong_labels_cost_it_less_than_the_plain_network() -> None:
    lost = {"stack": 0.0, "mlp": 0.0}
    for seed in range(3):
        clean, noisy = accuracy_with(0.0, seed), accuracy_with(0.2, seed)
        for name in lost:
            lost[name] += clean[name] - noisy[name]
    assert lost["stack"] < lost["mlp"]
    assert lost["stack"] / 3 < 0.03
