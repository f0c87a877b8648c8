"""The local guard: inside a neighbourhood, differences between models count as much as they proved to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auto_router.arrays import Array
from auto_router.artifacts import Artifact
from auto_router.edit import add_model, remove_model
from auto_router.learn.neighbourhood_fit import ROWS_EACH, fit_neighbourhoods, mean_by_place
from auto_router.learn.stack import FeatureLayout, Neighbourhoods, StackConfig, StackNetwork
from auto_router.learn.stack_fit import fit_stack

ROWS = 2 * ROWS_EACH
LAYOUT = FeatureLayout(4, 0, 0)


def two_kinds(seed: int = 0) -> tuple[Array, Array, Array]:
    """Points of two kinds, what is true of three models, and a prediction: right in the first kind, noise in the other."""
    rng = np.random.default_rng(seed)
    kind = np.arange(ROWS) % 2
    points = rng.normal(0, 0.1, (ROWS, 3)) + 5 * kind[:, None]
    y = rng.normal(0, 1, (ROWS, 3))
    predicted = np.where(kind[:, None] == 0, y, rng.normal(0, 1, (ROWS, 3)))
    return points.astype(np.float32), y.astype(np.float32), predicted.astype(np.float32)


def test_what_proved_to_be_noise_is_taken_back_and_what_proved_right_is_not() -> None:
    points, y, predicted = two_kinds()
    found, pulled = fit_neighbourhoods(points, predicted, y, np.arange(ROWS))
    assert found is not None
    first, second = found.place(points[:2])
    assert first != second
    assert found.distrust[second] > found.distrust[first] + 0.15
    for part in (slice(0, None), slice(1, None, 2)):
        assert np.square(pulled[part] - y[part]).mean() < 0.9 * np.square(predicted[part] - y[part]).mean()
    assert found.pull(points, predicted) == pytest.approx(pulled, abs=0.02), "as it is served, but for the row's own label"


def test_the_level_of_a_row_stays() -> None:
    points, y, predicted = two_kinds()
    found, _ = fit_neighbourhoods(points, predicted, y, np.arange(ROWS))
    assert found is not None
    assert found.pull(points, predicted).mean(axis=1) == pytest.approx(predicted.mean(axis=1), abs=1e-5)


@pytest.mark.parametrize("size", [1, 4])
def test_a_prediction_without_the_own_group_is_not_distrusted_for_that(size: int) -> None:
    """The mean of all other groups says nothing inside its kind, and against the mean of all it goes the wrong way."""
    points, y, _ = two_kinds()
    groups = np.arange(ROWS) // (2 * size) * 2 + np.arange(ROWS) % 2
    kind = np.arange(ROWS) % 2
    every, own = mean_by_place(kind, y, 2)[kind] * ROWS / 2, mean_by_place(groups, y, groups.max() + 1)[groups] * size
    others = ((every - own) / (ROWS / 2 - size)).astype(np.float32)
    found, same = fit_neighbourhoods(points, others, y, groups)
    assert found is None
    assert same is others


def test_few_rows_have_no_neighbourhoods() -> None:
    points, y, predicted = (part[: ROWS - 1] for part in two_kinds())
    found, same = fit_neighbourhoods(points, predicted, y, np.arange(ROWS - 1))
    assert (found, same is predicted) == (None, True)


@pytest.fixture(scope="module")
def network() -> StackNetwork:
    """A network with a guard, whatever its fit would say."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    fitted = fit_stack(x, (x[:, :3] > 0).astype(np.float32), np.arange(60), LAYOUT).network
    points = np.concatenate([*fitted.views(x)][:-1], axis=1)
    return replace(fitted, neighbourhoods=Neighbourhoods(
        points[:2], np.array([1.0, 0.25], dtype=np.float32), np.array([[0.3, 0, 0], [0, 0, 0.1]], dtype=np.float32),
        np.full(3, 1 / 3, dtype=np.float32),
    ))  # fmt: skip


def test_a_network_pulls_what_its_heads_say(network: StackNetwork) -> None:
    x = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    plain, local = replace(network, neighbourhoods=None).deviations(x), network.neighbourhoods
    assert local is not None
    place = local.place(np.concatenate([*network.views(x)][:-1], axis=1))
    apart = plain - local.means[place]
    apart -= apart.mean(axis=1, keepdims=True)
    assert network.deviations(x) == pytest.approx(plain - local.distrust[place][:, None] * apart, abs=1e-5)
    assert len(np.unique(place)) == 2


def test_it_goes_through_arrays_and_an_older_description_has_none(network: StackNetwork) -> None:
    x = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    again = StackNetwork.from_state(StackConfig.from_plain(network.config.to_plain()), network.state())
    assert np.array_equal(again.predict(x), network.predict(x))
    plain = replace(network, neighbourhoods=None)
    older = {name: value for name, value in plain.config.to_plain().items() if name != "n_neighbourhoods"}
    again = StackNetwork.from_state(StackConfig.from_plain(older), plain.state())
    assert np.array_equal(again.predict(x), plain.predict(x))


def test_models_come_and_go_beside_a_guard(network: StackNetwork) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 4)).astype(np.float32)
    artifact = Artifact(network, ("a", "b", "c"), {"text_dim": 4, "image_dim": 0})
    more = add_model(artifact, "d", x, (x[:, 0] > 0).astype(np.float32), np.arange(80))
    assert isinstance(more.network, StackNetwork)
    assert more.network.deviations(x)[:, :3] == pytest.approx(network.deviations(x), abs=1e-5), "the others are as they were"
    assert ((more.network.predict(x)[:, 3] > 0.5) == (x[:, 0] > 0)).mean() > 0.7
    fewer = remove_model(more, "b")
    assert isinstance(fewer.network, StackNetwork)
    left = np.delete(more.network.deviations(x), 1, axis=1)
    between = fewer.network.deviations(x) - left
    assert between == pytest.approx(np.repeat(between[:, :1], 3, axis=1), abs=1e-5), "the others keep their distances"
