"""Linear maps of a graph's inputs: whatever products they share, they give what each says alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from auto_router.learn.affine import Affine, add_maps
from auto_router.learn.graph import Graph, Layout, served

Doubles = npt.NDArray[np.float64]
LAYOUT = Layout(text_dim=4, image_dim=3, surface_dim=2)
RNG = np.random.default_rng(0)


def only(name: str, width: int) -> Affine:
    """A map that one block leads to, though it names all of them."""
    blocks = LAYOUT.blocks.items()
    drawn = {block: RNG.normal(size=(columns.stop - columns.start, width)) for block, columns in blocks}
    return Affine({block: drawn[block] * (block == name) for block, _ in blocks}, RNG.normal(size=width))


def beside(left: Affine, right: Affine) -> Affine:
    both = {name: np.concatenate([left.sources[name], right.sources[name]], axis=1) for name in left.sources}
    return Affine(both, np.concatenate([left.offset, right.offset]))


IDENTITY = Affine({"text": np.zeros((4, 2)), "image": np.zeros((3, 2)), "surface": np.eye(2)}, np.zeros(2))
MAPS = {
    "one block": [only("text", 3)],
    "two that share a block": [only("text", 3), only("text", 2)],
    "runs in turns": [beside(beside(only("text", 2), only("surface", 1)), only("text", 1)), only("surface", 2)],
    "a constant": [only("text", 2).with_one(), only("surface", 1).with_one()],
    "a constant alone": [Affine({"text": np.zeros((4, 1)), "surface": np.zeros((2, 1))}, np.array([3.0]))],
    "an input as it is": [beside(only("text", 2), IDENTITY), IDENTITY],
}


def formula(one: Affine, rows: Doubles, names: list[str]) -> Doubles:
    blocks = LAYOUT.blocks
    return np.asarray(
        sum(rows[:, blocks[name]] @ factors for name, factors in one.sources.items() if name in names) + one.offset
    )


@pytest.mark.parametrize("maps", MAPS.values(), ids=MAPS)
def test_maps_are_what_each_is_alone(maps: list[Affine]) -> None:
    def build(graph: Graph) -> list[str]:
        there = [Affine({name: f for name, f in one.sources.items() if name in graph.inputs}, one.offset) for one in maps]
        # An output must not be an input itself.
        return [graph.node("Identity", name) for name in add_maps(graph, there)]

    rows, rule = RNG.normal(size=(700, LAYOUT.dim)), served(build, LAYOUT)
    rows[::3, LAYOUT.blocks["image"]] = 0.0
    counts = rows[:, LAYOUT.blocks["image"]].any(axis=1).astype(int).tolist()
    for given in (None, counts):
        for one, found in zip(maps, rule(rows, given), strict=True):
            assert found == pytest.approx(formula(one, rows, list(LAYOUT.blocks)), abs=1e-5)


def test_columns_of_the_same_block_are_one_product() -> None:
    graph = Graph({name: columns for name, columns in LAYOUT.blocks.items() if name != "image"})
    add_maps(graph, [one for some in MAPS.values() for one in some])
    products = [node for node in graph._nodes if node.op_type == "Gemm"]
    assert len(products) == 2 + 2, "text, surface, and the constant, which is said to come from either"
