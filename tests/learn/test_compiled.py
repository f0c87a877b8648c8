"""The served form of the stack: against the formulas in double precision, and tables that would lead astray."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from auto_router.errors import ConfigError
from auto_router.learn.graph import Layout
from auto_router.learn.stack import BLUNT, KernelHead, StackNetwork, TreesHead
from auto_router.learn.stack_fit import fit_stack

Doubles = npt.NDArray[np.float64]
LAYOUT = Layout(text_dim=8, image_dim=6, surface_dim=3)


def rows(count: int, seed: int) -> npt.NDArray[np.float32]:
    """Half of them without a picture; surface features with outliers that are clipped."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, LAYOUT.dim)).astype(np.float32)
    found[::2, LAYOUT.blocks["image"]] = 0.0
    found[::5, -1] *= 50
    return found


@pytest.fixture(scope="module")
def network() -> StackNetwork:
    x = rows(150, 0)
    y = (x[:, [0, 9, 15]] > 0).astype(np.float32)
    return fit_stack(x, y, np.arange(150), LAYOUT).network


def doubles(tensor: torch.Tensor) -> Doubles:
    return tensor.double().numpy()


def kernel_by_definition(head: KernelHead, points: Doubles) -> Doubles:
    squared = np.square(points[:, None] - doubles(head.anchors)[None]).sum(axis=2)
    return np.asarray(np.exp(-np.sqrt(squared + BLUNT)) @ doubles(head.coefficients))


def trees_by_walking(head: TreesHead, points: Doubles) -> Doubles:
    found = np.zeros((len(points), head.values.shape[1]))
    for i, point in enumerate(points.astype(np.float32)):
        for root in head.roots.tolist():
            node = root
            while (below := int(head.onward[2 * node + 1])) != node:
                node = below if point[head.feature[node]] <= head.cut[node] else int(head.onward[2 * node])
            found[i] += doubles(head.values[node])
    return found


def by_definition(network: StackNetwork, x: npt.NDArray[np.float32]) -> Doubles:
    p = network.projection
    limit = doubles(p.limit)
    projected = ((x - doubles(p.mean)) * doubles(p.scale)).clip(-limit, limit) @ doubles(p.basis)
    views = np.split(projected, np.cumsum(network.columns)[:-1], axis=1)
    total = doubles(network.mean)
    for head, points in zip(network.heads, views, strict=True):
        if isinstance(head, KernelHead):
            total = total + kernel_by_definition(head, points)
        else:
            assert isinstance(head, TreesHead)
            total = total + trees_by_walking(head, points)
    return np.asarray(total.clip(0, 1))


@pytest.mark.parametrize("layout", [LAYOUT, Layout(LAYOUT.dim), Layout(0, LAYOUT.dim), Layout(0, 14, 3)])
def test_the_compiled_network_is_what_the_formulas_say(network: StackNetwork, layout: Layout) -> None:
    x, compiled = rows(60, 1), network.compiled(layout)

    def rule(given: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
        return compiled(given)[0]

    expected = by_definition(network, x)
    assert np.abs(rule(x) - expected).max() < 2e-6
    singly = np.concatenate([rule(x[i : i + 1]) for i in range(40)])
    assert np.abs(singly - expected[:40]).max() < 2e-6
    assert rule(x[::2][:3]) == pytest.approx(expected[::2][:3], abs=2e-6), "no picture in the batch"
    assert rule(x[1::2][:3]) == pytest.approx(expected[1::2][:3], abs=2e-6), "only pictures in the batch"


def damaged(change: Callable[[TreesHead], None]) -> TreesHead:
    """Two trees, of three nodes and of one."""
    head = TreesHead(dim=4, n_trees=2, n_nodes=4, depth=2, n_models=2)
    head.onward = torch.tensor([2, 1, 1, 1, 2, 2, 3, 3])
    head.roots = torch.tensor([0, 3])
    head.cut = torch.tensor([0.5, torch.inf, torch.inf, torch.inf])
    head.values = torch.arange(8.0).reshape(4, 2)
    change(head)
    return head


def test_small_tables_are_followed() -> None:
    points = torch.tensor([[0.4, 0, 0, 0], [0.5, 0, 0, 0], [0.6, 0, 0, 0]])
    assert damaged(lambda head: None)(points).tolist() == [[2 + 6, 3 + 7], [2 + 6, 3 + 7], [4 + 6, 5 + 7]]


def put(name: str, place: int, value: float) -> Callable[[TreesHead], None]:
    def change(head: TreesHead) -> None:
        getattr(head, name)[place] = value

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
        (put("roots", 1, 10**9), "exactly one way"),
        (put("cut", 0, float("nan")), "finite"),
        (put("values", 1, float("inf")), "finite"),
        (lambda head: setattr(head, "depth", 0), "longer than 0 steps"),
        (lambda head: setattr(head, "depth", 10**9), "not possible"),
        (lambda head: setattr(head, "roots", torch.tensor([], dtype=torch.int64)), "not possible"),
    ],
)
def test_tables_that_lead_astray_are_refused(change: Callable[[TreesHead], None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        damaged(change)(torch.zeros(1, 4))


def test_a_ring_is_refused() -> None:
    head = damaged(lambda head: None)
    head.onward = torch.tensor([0, 0, 2, 2, 1, 1, 3, 3])
    head.depth = 60
    with pytest.raises(ConfigError, match="exactly one way"):
        head(torch.zeros(1, 4))
    ring = TreesHead(dim=4, n_trees=1, n_nodes=5, depth=60, n_models=1)
    # Node 0 is a leaf; 1 and 2 are each other's child, and 3 and 4 hang on them: one way to each, and no way out.
    ring.onward = torch.tensor([0, 0, 2, 3, 1, 4, 3, 3, 4, 4])
    with pytest.raises(ConfigError, match="leads in a ring"):
        ring(torch.zeros(1, 4))


def test_many_rows_are_what_each_is_alone(network: StackNetwork) -> None:
    x, rule = rows(1300, 2), network.compiled(LAYOUT)
    assert rule(x)[0] == pytest.approx(np.concatenate([rule(x[i : i + 1])[0] for i in range(len(x))]), abs=5e-5)


def test_single_rows_of_several_threads_do_not_meet(network: StackNetwork) -> None:
    """Each thread has memory of its own, and what it is given stays as it is."""
    x, rule = rows(60, 4), network.compiled(LAYOUT)
    expected = rule(x)[0]
    assert np.array_equal(rule(x[:1].astype(np.float64))[0], expected[:1])

    def one_by_one(start: int) -> list[npt.NDArray[np.floating[Any]]]:
        return [rule(x[i : i + 1])[0] for _ in range(20) for i in range(start, 60, 4)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one_by_one, range(4)))
    for start, some in enumerate(found):
        np.testing.assert_allclose(np.concatenate(some), np.tile(expected[start::4], (20, 1)), atol=1e-5)


def test_what_is_no_number_stays_none(network: StackNetwork) -> None:
    x = rows(4, 3)
    x[1, 0] = x[2, -1] = np.nan
    assert np.isnan(network.compiled(LAYOUT)(x)[0]).all(axis=1).tolist() == [False, True, True, False]
