"""A trained router with one model more, one fewer, or another name, without training it anew.

A further model is fitted to a few hundred labels of its own. What the router knows of the other models tells most of it: where
those are right this one likely is, too. So the new model's deviation from its mean is a ridge regression on their deviations
plus a kernel regression on the anchors that are there, weighted out of fold. Both are linear in the tables of the stack: they
become one more column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auto_router.arrays import Floats, Ints
from auto_router.artifacts import Artifact
from auto_router.decide.operating_points import CONFIDENCE_95, OperatingPoint, clustered_mean
from auto_router.errors import ConfigError, DataError
from auto_router.learn.affine import add_maps
from auto_router.learn.graph import Graph, Layout, served
from auto_router.learn.stack import StackNetwork
from auto_router.splits import group_folds

FEWEST = 30
FOLDS = 5


def add_model(
    artifact: Artifact,
    name: str,
    inputs: Floats,
    labels: Floats,
    groups: Ints,
    facts: Mapping[str, Any] | None = None,
    cost: float | None = None,
) -> Artifact:
    """Return the router with ``name`` as its last model.

    Args:
        artifact: with the default network.
        name: of the new model.
        inputs: ``[N, D]`` rows as the network takes them.
        labels: ``[N]`` of the new model, 0…1, NaN = unknown.
        groups: ``[N]``.
        facts: what the pool says of it.
        cost: its mean cost, in the unit of the operating points' costs; None: unknown, taken for the highest.

    Raises:
        ConfigError: the name is taken, or the network is not the default one.
        DataError: fewer than ``FEWEST`` known labels.
    """
    network = _stack(artifact)
    if name in artifact.model_names:
        raise ConfigError(f"this router already has a model {name!r}; remove it first, or give the new one another name")
    known = ~np.isnan(labels)
    if known.sum() < FEWEST:
        raise DataError(f"{int(known.sum())} known labels of {name!r}; at least {FEWEST} are needed, some hundred are better")
    inputs, labels, groups = inputs[known], labels[known], np.unique(groups[known], return_inverse=True)[1]
    fitted = _fit_column(network, inputs, labels, groups)
    changed = _with_columns(network, lambda place, values: torch.cat([values, fitted[place][:, None]], dim=1))
    changed.mean = torch.cat([network.mean, fitted[-1]])
    knots = [*artifact.calibration.knots, ([], [])] if artifact.calibration.knots else []
    familiar = artifact.familiar
    return replace(
        artifact,
        network=changed,
        model_names=[*artifact.model_names, name],
        calibration=replace(artifact.calibration, knots=knots),
        operating_points={
            point: _with_cost(_guard(settings, name, artifact, inputs, labels, groups), name, cost)
            for point, settings in artifact.operating_points.items()
        },
        pool={**artifact.pool, **({} if facts is None else {name: dict(facts)})},
        familiar=None if familiar is None else familiar.with_column(np.full(len(familiar.idx), np.nan)),
        cost_model=None if artifact.cost_model is None else artifact.cost_model.with_column(cost),
    )


def remove_model(artifact: Artifact, name: str) -> Artifact:
    """Return the router without ``name``. Where it was the guarded default, the best of the others becomes that.

    Raises:
        ConfigError: the name is unknown, it is the only one, or the network is not the default one.
    """
    network, column = _stack(artifact), _place(artifact, name)
    if len(artifact.model_names) == 1:
        raise ConfigError(f"{name!r} is the only model of this router; one must stay")
    kept = torch.tensor([j for j in range(len(artifact.model_names)) if j != column])
    names = [artifact.model_names[j] for j in kept.tolist()]
    changed = _with_columns(network, lambda _, values: values[:, kept].contiguous())
    changed.mean = network.mean[kept]
    best = names[int(changed.mean.argmax())]
    knots = [artifact.calibration.knots[j] for j in kept.tolist()] if artifact.calibration.knots else []
    return replace(
        artifact,
        network=changed,
        model_names=names,
        calibration=replace(artifact.calibration, knots=knots),
        operating_points={
            point: replace(
                settings,
                default=best if settings.default == name else settings.default,
                costs={model: cost for model, cost in settings.costs.items() if model != name},
            )
            for point, settings in artifact.operating_points.items()
        },
        pool={model: facts for model, facts in artifact.pool.items() if model != name},
        familiar=None if artifact.familiar is None else artifact.familiar.without_column(column),
        cost_model=None if artifact.cost_model is None else artifact.cost_model.without_column(column),
    )


def rename_model(artifact: Artifact, old: str, new: str) -> Artifact:
    """Return the router with another name for one model. Raises ConfigError where ``old`` is unknown or ``new`` is taken."""
    _place(artifact, old)
    if not new or new in artifact.model_names:
        raise ConfigError(f"the new name {new!r} is empty or taken; this router has {', '.join(artifact.model_names)}")

    def named(values: Mapping[str, Any]) -> dict[str, Any]:
        return {new if name == old else name: value for name, value in values.items()}

    return replace(
        artifact,
        model_names=[new if name == old else name for name in artifact.model_names],
        operating_points={
            point: replace(settings, default=new if settings.default == old else settings.default, costs=named(settings.costs))
            for point, settings in artifact.operating_points.items()
        },
        pool=named(artifact.pool),
    )


def _fit_column(network: StackNetwork, inputs: Floats, labels: Floats, groups: Ints) -> list[Tensor]:
    """Return the new column of each head, and the new model's mean ``[1]``."""
    # What is for training only comes in here: routing must not import it.
    from auto_router.learn.kernel_fit import fit_kernel
    from auto_router.learn.stack_fit import non_negative

    projected = network.projection(torch.from_numpy(inputs)).numpy()
    views = np.split(projected, np.cumsum(network.columns)[:-1], axis=1)
    mean = float(labels.mean())
    y = (labels - mean).astype(np.float32)
    target = torch.from_numpy(y[:, None])
    fits = [
        fit_kernel(torch.from_numpy(np.ascontiguousarray(view)), target, groups, head.anchors)
        for head, view in zip(network.kernels, views, strict=False)
    ]

    def deviations(graph: Graph) -> list[str]:
        return [network.deviations(graph, add_maps(graph, network.maps(graph)))]

    others = served(deviations, Layout(inputs.shape[1]))(inputs)[0]
    centre = others.mean(axis=0)
    relation, relation_out = _ridge(others - centre, y, groups)
    weights = non_negative([*(out.numpy()[:, 0] for _, out in fits), relation_out], y)
    shared = torch.from_numpy((weights[-1] * relation).astype(np.float32))
    columns = [
        head.coefficients @ shared + weight * fit.coefficients[:, 0]
        for head, weight, (fit, _) in zip(network.kernels, weights, fits, strict=False)
    ]
    return [*columns, network.trees.values @ shared, torch.tensor([mean - float(centre @ shared.numpy())])]


def _ridge(x: Floats, y: Floats, groups: Ints) -> tuple[Floats, Floats]:
    """Return the weights of a ridge regression without intercept, and its out-of-fold prediction."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=np.logspace(-2, 3, 16), fit_intercept=False)
    found, fold = np.zeros_like(y), group_folds(groups, FOLDS, 0)
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        if inside.any():
            found[outside] = model.fit(x[inside], y[inside]).predict(x[outside])
    return np.asarray(model.fit(x, y).coef_), found


def _with_columns(network: StackNetwork, change: Callable[[int, Tensor], Tensor]) -> StackNetwork:
    """Return a copy whose heads have other columns, one a model; ``change`` gets a head's place and its table ``[., M]``."""
    tables = {f"heads.{place}.coefficients": change(place, head.coefficients) for place, head in enumerate(network.kernels)}
    last = len(tables)
    tables[f"heads.{last}.values"] = change(last, network.trees.values)
    models = next(iter(tables.values())).shape[1]
    with torch.device("meta"):
        found = StackNetwork(replace(network.config, n_models=models)).eval()
    found.load_state_dict({**network.state_dict(), **tables, "mean": torch.zeros(models)}, assign=True)
    return found


def _guard(
    point: OperatingPoint, name: str, artifact: Artifact, inputs: Floats, labels: Floats, groups: Ints
) -> OperatingPoint:
    """Make the new model the guarded default where it is clearly better than the present one on these rows."""
    if point.default not in artifact.model_names:
        return point
    gain, error = clustered_mean(labels - artifact.predict(inputs)[:, artifact.model_names.index(point.default)], groups)
    return replace(point, default=name) if gain - CONFIDENCE_95 * error > 0 else point


def _with_cost(point: OperatingPoint, name: str, cost: float | None) -> OperatingPoint:
    return point if cost is None or not point.costs else replace(point, costs={**point.costs, name: cost})


def _stack(artifact: Artifact) -> StackNetwork:
    if not isinstance(artifact.network, StackNetwork):
        raise ConfigError("models can be added to and removed from the default head only; train again (--head mlp)")
    return artifact.network


def _place(artifact: Artifact, name: str) -> int:
    if name not in artifact.model_names:
        raise ConfigError(f"unknown model {name!r}; this router has {', '.join(artifact.model_names)}")
    return artifact.model_names.index(name)
