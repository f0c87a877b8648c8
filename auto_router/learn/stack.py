"""The default network: unlike heads on compact views of the prompt, stacked. All of it is NumPy.

An input row ``text ‖ image ‖ prompt features`` [D] is projected to points [K]: a view for each head. Two kernel heads and a
trees head say how much each model's label deviates from its mean there. Unlike heads err differently, which is what makes
their sum better than each; :mod:`auto_router.learn.stack_fit` fits them and how much each counts. In neighbourhoods of prompts
where that sum proved to say little of which model is better, it counts less (:mod:`auto_router.learn.neighbourhood_fit`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Array, Bools, Floats, Ints
from auto_router.errors import ConfigError

MAX_SIZE = 100_000_000  # a size beyond this is damage, not a router
MAX_DEPTH = 64
FloatArray = TypeVar("FloatArray", Array, npt.NDArray[np.float64])

BLUNT = 1e-3  # at an anchor exp(-d) has an edge, where a rounding error of the squared distance would count a thousandfold
_ROWS = 128  # rows at once: what is computed on the way stays in the processor's cache


@dataclass(frozen=True, slots=True)
class FeatureLayout:
    """Widths of the three blocks of an input row. A row without an image has zeros in all columns of ``image``."""

    text_dim: int
    image_dim: int = 0
    prompt_dim: int = 0

    def __post_init__(self) -> None:
        widths = (self.text_dim, self.image_dim, self.prompt_dim)
        if any(not isinstance(width, int) or width < 0 for width in widths):
            raise ConfigError(f"an input row has blocks of 0 columns or more, got {widths}")

    @property
    def dim(self) -> int:
        return self.text_dim + self.image_dim + self.prompt_dim

    @property
    def blocks(self) -> dict[str, slice]:
        """Columns of ``text``, ``image`` and ``prompt`` (the features of the prompt)."""
        image, prompt = self.text_dim, self.text_dim + self.image_dim
        return {"text": slice(0, image), "image": slice(image, prompt), "prompt": slice(prompt, self.dim)}


@dataclass(frozen=True)
class Projection:
    """``[N, D]`` → ``[N, K]``: centred, scaled, clipped, then onto the columns of ``basis``."""

    mean: Array
    scale: Array
    limit: Array
    """``[D]``: infinite where nothing is clipped."""
    basis: Array
    """``[D, K]``."""

    def standardize(self, rows: Floats) -> Array:
        """Return the rows centred and scaled, and clipped where they have to be."""
        scaled = np.subtract(rows, self.mean, dtype=np.float32)
        scaled *= self.scale
        return np.clip(scaled, -self.limit, self.limit, out=scaled)

    def __call__(self, rows: Floats, image: slice | None = None) -> Array:
        """Return the points. ``image``: columns that are all zero in a row without an image."""
        weights, offset, clipped, columns = self._product
        x: Array = np.asarray(rows, dtype=np.float32)
        if image is not None and len(x) == 1 and not x[0, image].any():
            # Most prompts. Most of the weights are the image's, and it would take longer to read them than all the others.
            points = x[:, : image.start] @ weights[: image.start] + x[:, image.stop :] @ weights[image.stop :]
        else:
            points = x @ weights
        points += offset
        points += clipped.standardize(rows[:, columns]) @ clipped.basis
        return points

    @cached_property
    def _product(self) -> tuple[Array, Array, Projection, Ints]:
        """Weights and offset of the columns that are never clipped, which one product projects; the rest, and its columns."""
        columns = np.flatnonzero(np.isfinite(self.limit))
        weights = self.scale[:, None] * self.basis
        weights[columns] = 0.0
        offset: Array = -(self.mean.astype(np.float64) @ weights).astype(np.float32)
        rest = Projection(self.mean[columns], self.scale[columns], self.limit[columns], self.basis[columns])
        return weights, offset, rest, columns


@dataclass(frozen=True)
class Kernel:
    """Prompts that look alike are right or wrong alike: a weighted sum of similarities to stored prompts (*anchors*)."""

    anchors: Array
    """``[A, K]``."""
    coefficients: Array
    """``[A, M]``."""

    def __call__(self, points: Array) -> Array:
        """Return deviations ``[N, M]`` of points ``[N, K]``."""
        return _similarity(points, *self._terms) @ self.coefficients

    @cached_property
    def _terms(self) -> tuple[Array, Array]:
        return _anchor_terms(self.anchors)


def similarity(points: FloatArray, anchors: FloatArray) -> FloatArray:
    """Return the exponential kernel exp(-√(d² + ``BLUNT``)), ``[N, A]``; d = 1 is the distance of two random prompts."""
    return _similarity(points, *_anchor_terms(anchors))


def _anchor_terms(anchors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return what |z - a|² = |z|² - 2z·a + |a|² takes of the anchors: -2aᵀ, and |a|² + ``BLUNT``."""
    return -2.0 * anchors.T, np.vecdot(anchors, anchors) + BLUNT


def _similarity(points: FloatArray, doubled: FloatArray, squares: FloatArray) -> FloatArray:
    squared: FloatArray = points @ doubled
    squared += np.vecdot(points, points)[:, None]
    squared += squares
    np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)  # which rounding may leave below zero
    np.exp(np.negative(squared, out=squared), out=squared)
    return squared


@dataclass(frozen=True)
class Trees:
    """Decision trees as flat tables over all of their nodes; a path that leads out of them is found by :meth:`check`."""

    feature: Ints
    cut: Array
    onward: Ints
    """Node n goes to ``onward[2n]`` where its feature is above the cut, else to ``onward[2n + 1]``; a leaf is its own child."""
    values: Array
    """``[nodes, M]``: what a leaf says of each model."""
    roots: Ints
    dim: int
    """How many features there are."""
    depth: int

    def __call__(self, points: Array) -> Array:
        """Return the sum of the values of the leaves that points ``[N, dim]`` come to, ``[N, M]``."""
        flat, starts = points.ravel(), self.dim * np.arange(len(points))[:, None]
        node = np.broadcast_to(self.roots, (len(points), len(self.roots)))
        for _ in range(self.depth):
            below = flat.take(starts + self.feature.take(node)) <= self.cut.take(node)
            node = self.onward.take(2 * node + below)
        return np.asarray(self.values.take(node, axis=0).sum(axis=1))

    def check(self) -> None:
        """Raise ConfigError unless the tables are trees: every node has one parent or is a root, and every path ends."""
        nodes = np.arange(len(self.feature))
        if not len(nodes) or not len(self.roots) or not 0 <= self.depth <= MAX_DEPTH:
            raise ConfigError(f"{len(self.roots)} trees of {len(nodes)} nodes and depth {self.depth} are not possible")
        inside = ((self.feature >= 0) & (self.feature < max(self.dim, 1))).all()
        if not inside or not all(((places >= 0) & (places < len(nodes))).all() for places in (self.onward, self.roots)):
            raise ConfigError(f"trees lead out of their {len(nodes)} nodes or {self.dim} features")
        above, below = self.onward[0::2], self.onward[1::2]
        inner = ~((above == nodes) & (below == nodes))
        self._check_ways(above, below, inner)
        if not np.isfinite(self.cut[inner]).all() or not np.isfinite(self.values).all():
            raise ConfigError("trees hold cuts or values that are not finite")

    def _check_ways(self, above: Ints, below: Ints, inner: Bools) -> None:
        tree = np.searchsorted(self.roots, np.arange(len(inner)), side="right") - 1
        children = np.concatenate([above[inner], below[inner]])
        one_way_each = np.array_equal(np.sort(np.concatenate([self.roots, children])), np.arange(len(inner)))
        if not one_way_each or not np.array_equal(tree[children], np.tile(tree[inner], 2)):
            raise ConfigError("trees are damaged: some node has not exactly one way to it, or it is of another tree")
        level, reached = self.roots, len(self.roots)
        for _ in range(self.depth):
            level = level[inner[level]]
            level = np.concatenate([above[level], below[level]])
            reached += len(level)
        # With one way to each node, those that are not reached by now are deeper than they may be, or form a ring.
        if reached != len(inner):
            raise ConfigError(f"trees are damaged: a path is longer than {self.depth} steps or leads in a ring")


@dataclass(frozen=True)
class Neighbourhoods:
    """The local guard: inside a neighbourhood of prompts, differences between models count as much as they proved to.

    What a row's deviations differ from its neighbourhood's, the row's level aside, is taken back by the share ``distrust``. So
    where the prompts' order inside the neighbourhood tells nothing, its best model is asked.
    """

    centres: Array
    """``[C, K]``, in the kernels' points one behind the other; a prompt is in the neighbourhood of the nearest."""
    distrust: Array
    """``[C]``, 0…1."""
    means: Array
    """``[C, M]``: the heads' mean deviations there."""
    share: Array
    """``[M]``, with sum 1: how much each model counts in a row's level. 0 for one that was added later."""

    def place(self, points: Array) -> Ints:
        """Return the number ``[N]`` of the nearest centre."""
        doubled, squares, *_ = self._terms
        squared: Array = points @ doubled
        squared += squares
        nearest: Ints = squared.argmin(axis=1)
        return nearest

    def pull(self, points: Array, deviations: Array) -> Array:
        """Return the deviations ``[N, M]`` of rows at ``points`` [N, K], pulled towards their neighbourhood's."""
        *_, distrust, towards, share = self._terms
        place = self.place(points)
        own: Array = deviations - deviations @ share
        own *= distrust[place]
        pulled: Array = towards[place]
        pulled += deviations
        pulled -= own
        return pulled

    @cached_property
    def _terms(self) -> tuple[Array, Array, Array, Array, Array]:
        """Return what of |z - c|² depends on the centre c, -2cᵀ and |c|²; the distrust; what a row is pulled to, ``[C, M]``;
        and the share, as columns.
        """
        distrust, share = self.distrust[:, None], self.share[:, None]
        towards = distrust * (self.means - self.means @ share)
        return -2.0 * self.centres.T, np.vecdot(self.centres, self.centres), distrust, towards, share


@dataclass(frozen=True, slots=True)
class StackConfig:
    """Sizes of a :class:`StackNetwork`: what its arrays must fit."""

    input_dim: int
    n_models: int
    kernel_dims: tuple[int, ...]
    n_anchors: int
    trees_dim: int
    n_trees: int
    n_nodes: int
    depth: int
    n_neighbourhoods: int = 0
    """An artifact that does not say was made when there were none."""

    def __post_init__(self) -> None:
        sizes = asdict(self)
        numbers = [*sizes.pop("kernel_dims"), *sizes.values()]
        whole = all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_SIZE for size in numbers)
        if not whole or not self.kernel_dims:
            raise ConfigError(
                f"stack sizes must be whole numbers from 0 to {MAX_SIZE:,}, with one kernel or more; got {asdict(self)}"
            )

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> StackConfig:
        """Build from the plain values of :meth:`to_plain`. Raises ConfigError where they are no such values."""
        try:
            return cls(**{**values, "kernel_dims": tuple(values["kernel_dims"])})
        except (TypeError, KeyError) as error:
            raise ConfigError(f"stack configuration is not valid ({error})") from error

    def to_plain(self) -> dict[str, Any]:
        return asdict(self) | {"kernel_dims": list(self.kernel_dims)}

    def shapes(self) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
        """Return the shape and type of every array of :meth:`StackNetwork.state`."""
        columns, trees = sum(self.kernel_dims) + self.trees_dim, f"heads.{len(self.kernel_dims)}"
        found: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            **{f"projection.{name}": ((self.input_dim,), np.float32) for name in ("mean", "scale", "limit")},
            "projection.basis": ((self.input_dim, columns), np.float32),
        }
        for place, dim in enumerate(self.kernel_dims):
            found[f"heads.{place}.anchors"] = ((self.n_anchors, dim), np.float32)
            found[f"heads.{place}.coefficients"] = ((self.n_anchors, self.n_models), np.float32)
        found[f"{trees}.feature"] = ((self.n_nodes,), np.int64)
        found[f"{trees}.cut"] = ((self.n_nodes,), np.float32)
        found[f"{trees}.onward"] = ((2 * self.n_nodes,), np.int64)
        found[f"{trees}.values"] = ((self.n_nodes, self.n_models), np.float32)
        found[f"{trees}.roots"] = ((self.n_trees,), np.int64)
        if self.n_neighbourhoods:
            found["neighbourhoods.centres"] = ((self.n_neighbourhoods, sum(self.kernel_dims)), np.float32)
            found["neighbourhoods.distrust"] = ((self.n_neighbourhoods,), np.float32)
            found["neighbourhoods.means"] = ((self.n_neighbourhoods, self.n_models), np.float32)
            found["neighbourhoods.share"] = ((self.n_models,), np.float32)
        return found | {"mean": ((self.n_models,), np.float32)}


@dataclass(frozen=True)
class StackNetwork:
    """Input rows ``[N, D]`` → P(correct) ``[N, M]`` in 0…1."""

    mean: Array
    """``[M]``: what each model gets right on average."""
    projection: Projection
    kernels: tuple[Kernel, ...]
    trees: Trees
    neighbourhoods: Neighbourhoods | None = None
    """None where rows were too few to tell, or nothing is to be taken back."""
    image: slice | None = None
    """Columns of an input row that are the image's; None where that is not known."""

    def predict(self, rows: Floats) -> Array:
        """Return P(correct) ``[N, M]``."""
        return np.asarray(np.clip(self.mean + self.deviations(rows), 0.0, 1.0))

    def deviations(self, rows: Floats) -> Array:
        """Return what is added to the models' means, ``[N, M]``."""
        parts = [self._add(rows[start : start + _ROWS]) for start in range(0, max(len(rows), 1), _ROWS)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def views(self, rows: Floats) -> Iterator[Array]:
        """Yield the points that each head sees, the trees' last."""
        return self._views(self.projection(rows))

    def _views(self, projected: Array) -> Iterator[Array]:
        start = 0
        for width in (*self._kernel_dims, self.trees.dim):
            yield projected[:, start : start + width]
            start += width

    @cached_property
    def _kernel_dims(self) -> tuple[int, ...]:
        return tuple(kernel.anchors.shape[1] for kernel in self.kernels)

    def _add(self, rows: Floats) -> Array:
        projected = self.projection(rows, self.image)
        *views, last = self._views(projected)
        total = self.trees(last)
        for kernel, points in zip(self.kernels, views, strict=True):
            total += kernel(points)
        if self.neighbourhoods is None:
            return total
        return self.neighbourhoods.pull(projected[:, : sum(self._kernel_dims)], total)

    @property
    def config(self) -> StackConfig:
        trees, projection = self.trees, self.projection
        return StackConfig(
            len(projection.mean), len(self.mean), self._kernel_dims, len(self.kernels[0].anchors),
            trees.dim, len(trees.roots), len(trees.feature), trees.depth,
            0 if self.neighbourhoods is None else len(self.neighbourhoods.centres),
        )  # fmt: skip

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return every array by the name under which an artifact holds it."""
        trees = f"heads.{len(self.kernels)}"
        kernels = {f"heads.{i}.{name}": value for i, one in enumerate(self.kernels) for name, value in _fields(one).items()}
        local = {} if self.neighbourhoods is None else _fields(self.neighbourhoods)
        return {
            **{f"projection.{name}": array for name, array in _fields(self.projection).items()},
            **kernels,
            **{f"{trees}.{name}": getattr(self.trees, name) for name in ("feature", "cut", "onward", "values", "roots")},
            **{f"neighbourhoods.{name}": array for name, array in local.items()},
            "mean": self.mean,
        }

    @classmethod
    def from_state(cls, config: StackConfig, state: Mapping[str, npt.NDArray[Any]]) -> StackNetwork:
        """Build from :meth:`state`.

        Raises:
            ConfigError: an array is missing, too many or damaged, or of another shape or type than ``config`` says.
        """
        shapes = config.shapes()
        if set(state) != set(shapes):
            raise ConfigError(f"missing or unknown arrays: {', '.join(sorted(map(str, set(state) ^ set(shapes))))[:200]}")
        for name, (shape, dtype) in shapes.items():
            array = state[name]
            if array.shape != shape or array.dtype != dtype:
                raise ConfigError(f"{name} is {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} {list(shape)}")
            if name != "projection.limit" and not name.endswith(".cut") and not np.isfinite(array).all():
                raise ConfigError(f"{name} holds values that are not finite")

        def part(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): state[name] for name in shapes if name.startswith(prefix)}

        kernels = tuple(Kernel(**part(f"heads.{place}.")) for place in range(len(config.kernel_dims)))
        trees = Trees(**part(f"heads.{len(kernels)}."), dim=config.trees_dim, depth=config.depth)
        trees.check()
        local = Neighbourhoods(**part("neighbourhoods.")) if config.n_neighbourhoods else None
        return cls(state["mean"], Projection(**part("projection.")), kernels, trees, local)


def _fields(part: Projection | Kernel | Neighbourhoods) -> dict[str, Array]:
    return {one.name: getattr(part, one.name) for one in fields(part)}
