"""A trained router with one model more, one fewer, or another name, without training it anew.

    python -m auto_router.edit add NAME --train-embeddings new.npy --train-json new.json
    python -m auto_router.edit remove NAME
    python -m auto_router.edit rename OLD NEW

A further model is fitted to a few hundred labels of its own. What the router knows of the other models tells most of it: where
those are right this one likely is, too. So the new model's deviation from its mean is a ridge regression on their deviations
plus a kernel regression on the anchors that are there, weighted out of fold. Both are linear in the tables of the stack: they
become one more column.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from auto_router.arrays import Array, Floats, Ints
from auto_router.artifacts import Artifact, load_artifact, save_artifact
from auto_router.data.capability import settle_facts
from auto_router.data.dataset import load_dataset
from auto_router.data.label_stats import CONFIDENCE_95
from auto_router.data.pool import ModelFacts, Pool, load_pool
from auto_router.data.splits import group_folds
from auto_router.decide.operating_points import COST, OperatingPoint, clustered_mean, usual_latencies
from auto_router.errors import ConfigError, DataError, run
from auto_router.files import replace_together
from auto_router.learn.stack import StackNetwork
from auto_router.route.feedback import encoder_digest
from auto_router.terminal import Parser, add_flags, capture_output

TITLE = "Change the router in --output-dir without training it anew; a copy of the folder is the way back."
MIN_NEW_LABELS = 30
RELATION_FOLDS = 5


def add_model(
    artifact: Artifact,
    name: str,
    inputs: Floats,
    labels: Floats,
    groups: Ints,
    facts: ModelFacts | None = None,
    cost: float | None = None,
    latency: float | None = None,
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
        latency: its median latency in seconds; None: unknown, taken for the highest.

    Raises:
        ConfigError: the name is taken, or the network is not the default one.
        DataError: fewer than ``MIN_LABELS`` known labels.
    """
    network = _stack(artifact)
    if name in artifact.model_names:
        raise ConfigError(f"this router already has a model {name!r}; remove it first, or give the new one another name")
    known = ~np.isnan(labels)
    if known.sum() < MIN_NEW_LABELS:
        raise DataError(
            f"{int(known.sum())} known labels of {name!r}; at least {MIN_NEW_LABELS} are needed, some hundred are better"
        )
    inputs, labels, groups = inputs[known], labels[known], np.unique(groups[known], return_inverse=True)[1]
    *columns, own_mean = _fit_column(network, inputs, labels, groups)
    changed = _with_columns(network, np.append(network.mean, own_mean), lambda i, table: np.column_stack([table, columns[i]]))
    knots = [*artifact.calibration.knots, ([], [])] if artifact.calibration.knots else []
    novelty = artifact.novelty
    return replace(
        artifact,
        network=changed,
        model_names=(*artifact.model_names, name),
        calibration=replace(artifact.calibration, knots=knots),
        operating_points={
            point: _with_cost(
                _guard(settings, name, artifact, inputs, labels, groups), name, cost if settings.weighs == COST else latency
            )
            for point, settings in artifact.operating_points.items()
        },
        facts={**artifact.facts, **({} if facts is None else {name: facts})},
        novelty=None if novelty is None else novelty.with_column(np.full(len(novelty.idx), np.nan)),
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
    rest = [j for j in range(len(artifact.model_names)) if j != column]
    names = tuple(artifact.model_names[j] for j in rest)
    changed = _with_columns(network, network.mean[rest], lambda _, table: table[:, rest], rest)
    best = names[int(changed.mean.argmax())]
    knots = [artifact.calibration.knots[j] for j in rest] if artifact.calibration.knots else []
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
        facts={model: facts for model, facts in artifact.facts.items() if model != name},
        novelty=None if artifact.novelty is None else artifact.novelty.without_column(column),
        cost_model=None if artifact.cost_model is None else artifact.cost_model.without_column(column),
    )


def rename_model(artifact: Artifact, old: str, new: str) -> Artifact:
    """Return the router with another name for one model. Raises ConfigError where ``old`` is unknown or ``new`` is taken."""
    _place(artifact, old)
    if not new or new in artifact.model_names:
        raise ConfigError(f"the new name {new!r} is empty or taken; this router has {', '.join(artifact.model_names)}")

    def rename(values: Mapping[str, Any]) -> dict[str, Any]:
        return {new if name == old else name: value for name, value in values.items()}

    return replace(
        artifact,
        model_names=tuple(new if name == old else name for name in artifact.model_names),
        operating_points={
            point: replace(settings, default=new if settings.default == old else settings.default, costs=rename(settings.costs))
            for point, settings in artifact.operating_points.items()
        },
        facts=rename(artifact.facts),
    )


def _fit_column(network: StackNetwork, inputs: Array, labels: Array, groups: Ints) -> list[Array]:
    """Return the new column of each head's table and of the neighbourhoods' means, and the new model's mean ``[1]``."""
    # What is for training only comes in here: routing must not import it.
    from auto_router.learn.neighbourhood_fit import mean_by_place
    from auto_router.learn.stack_fit import fit_kernel, non_negative

    mean = float(labels.mean())
    y = (labels - mean).astype(np.float32)
    fits = [
        fit_kernel(np.ascontiguousarray(view), y[:, None], groups, kernel.anchors)
        for kernel, view in zip(network.kernels, network.views(inputs), strict=False)
    ]
    others = replace(network, neighbourhoods=None).deviations(inputs)  # what the heads say, nothing taken back
    centre = others.mean(axis=0)
    relation, relation_out = _fit_relation(others - centre, y, groups)
    weights = non_negative([*(out[:, 0] for _, out in fits), relation_out], y)
    shared = (weights[-1] * relation).astype(np.float32)
    columns = [
        kernel.coefficients @ shared + weight * fit.coefficients[:, 0]
        for kernel, weight, (fit, _) in zip(network.kernels, weights, fits, strict=False)
    ]
    columns.append(network.trees.values @ shared)
    if (local := network.neighbourhoods) is not None:
        own = sum(
            weight * fit(view)[:, 0] for weight, (fit, _), view in zip(weights, fits, network.views(inputs), strict=False)
        )
        points = np.concatenate([*network.views(inputs)][:-1], axis=1)
        places = mean_by_place(local.place(points), (others @ shared + own)[:, None], len(local.centres))
        columns.append(places[:, 0].astype(np.float32))
    return [*columns, np.array([mean - float(centre @ shared)], dtype=np.float32)]


def _fit_relation(x: Floats, y: Floats, groups: Ints) -> tuple[Floats, Floats]:
    """Return the weights of a ridge regression without intercept, and its out-of-fold prediction."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=np.logspace(-2, 3, 16), fit_intercept=False)
    found, fold = np.zeros_like(y), group_folds(groups, RELATION_FOLDS, 0)
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        if inside.any():
            found[outside] = model.fit(x[inside], y[inside]).predict(x[outside])
    return np.asarray(model.fit(x, y).coef_), found


def _with_columns(
    network: StackNetwork, mean: Array, change: Callable[[int, Array], Array], kept: Sequence[int] | None = None
) -> StackNetwork:
    """Return a copy whose tables have other columns, one a model; ``change`` gets a table's place and the table ``[., M]``.

    ``kept``: the models that stay; None where one comes.
    """

    def table(place: int, values: Array) -> Array:
        return np.ascontiguousarray(change(place, values), dtype=np.float32)

    kernels = tuple(replace(kernel, coefficients=table(i, kernel.coefficients)) for i, kernel in enumerate(network.kernels))
    trees = replace(network.trees, values=table(len(kernels), network.trees.values))
    local = network.neighbourhoods
    if local is not None:
        # A model that comes counts for nothing in a row's level, so the others stay as they are.
        share = local.share[kept] if kept is not None else np.append(local.share, np.float32(0.0))
        share = share / share.sum() if share.sum() > 0 else np.full(len(share), 1.0 / len(share))
        local = replace(local, means=table(len(kernels) + 1, local.means), share=share.astype(np.float32))
    return replace(network, mean=np.asarray(mean, dtype=np.float32), kernels=kernels, trees=trees, neighbourhoods=local)


def _guard(
    point: OperatingPoint, name: str, artifact: Artifact, inputs: Floats, labels: Floats, groups: Ints
) -> OperatingPoint:
    """Make the new model the guarded default where it is clearly better than the present one on these rows."""
    if point.default not in artifact.model_names:
        return point
    gain, error = clustered_mean(
        labels - artifact.predict(inputs).probabilities[:, artifact.model_names.index(point.default)], groups
    )
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


EXAMPLES = """examples:
  python -m auto_router.edit add gpt-6 --train-embeddings new.npy --train-json new.json --pool pool.yaml
  python -m auto_router.edit remove gpt-4o
  python -m auto_router.edit rename gpt-5-chat gpt-5.2-chat"""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="auto-router edit", description=TITLE, epilog=EXAMPLES)
    add_flags(parser)
    parser.add_argument("--output-dir", type=Path, default=Path("router_artifacts"), help="folder of nn_router.pth")
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="add a model, from some hundred labels of it (default head)")
    add.add_argument("name")
    add.add_argument("--train-embeddings", type=Path, required=True)
    add.add_argument("--train-json", type=Path, required=True)
    add.add_argument("--pool", type=Path, help="pool.yaml: its prices, modalities and limits")
    remove = actions.add_parser("remove", help="take a model out")
    remove.add_argument("name")
    rename = actions.add_parser("rename", help="give a model another name")
    rename.add_argument("name")
    rename.add_argument("new_name")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with capture_output(arguments) as result:
        artifact = load_artifact(arguments.output_dir / "nn_router.pth")
        if arguments.action == "add":
            artifact = _add(artifact, arguments.name, arguments.train_embeddings, arguments.train_json, arguments.pool)
            done = f"added {arguments.name}"
        elif arguments.action == "remove":
            artifact, done = remove_model(artifact, arguments.name), f"removed {arguments.name}"
        else:
            artifact = rename_model(artifact, arguments.name, arguments.new_name)
            done = f"renamed {arguments.name} to {arguments.new_name}"
        result |= _save(arguments.output_dir, artifact, [done])


def add_old_flags(parser: argparse.ArgumentParser) -> None:
    """Let ``nn_router.py`` take the flags that it had for this; they go with the next version."""
    group = parser.add_argument_group("until the next version; now: python -m auto_router.edit")
    group.add_argument("--add-model", metavar="NAME", help="python -m auto_router.edit add NAME")
    group.add_argument("--remove-model", action="append", default=[], metavar="NAME", help="... edit remove NAME")
    group.add_argument("--rename-model", action="append", default=[], metavar="OLD=NEW", help="... edit rename OLD NEW")


def is_edit(arguments: argparse.Namespace) -> bool:
    """Is a router to be changed, rather than trained?"""
    return bool(arguments.add_model or arguments.remove_model or arguments.rename_model)


def edit_by_old_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Remove, rename, then add, as the old flags say; return what was done. Raises ConfigError where something is missing."""
    print("note: --add-model, --remove-model and --rename-model become: python -m auto_router.edit add|remove|rename")
    missing = [name for name in ("train_embeddings", "train_json") if arguments.add_model and getattr(arguments, name) is None]
    if missing:
        raise ConfigError(f"{', '.join('--' + name.replace('_', '-') for name in missing)} must be given; see --help")
    if arguments.feedback:
        raise ConfigError("--feedback is for training; leave out --add-model and the like")
    artifact, edits = load_artifact(arguments.output_dir / "nn_router.pth"), []
    for name in arguments.remove_model:
        artifact = remove_model(artifact, name)
        edits.append(f"removed {name}")
    for pair in arguments.rename_model:
        old, equals, new = pair.partition("=")
        if not equals:
            raise ConfigError(f"--rename-model takes OLD=NEW, got {pair!r}")
        artifact = rename_model(artifact, old, new)
        edits.append(f"renamed {old} to {new}")
    if arguments.add_model:
        artifact = _add(artifact, arguments.add_model, arguments.train_embeddings, arguments.train_json, arguments.pool)
        edits.append(f"added {arguments.add_model}")
    return _save(arguments.output_dir, artifact, edits)


def _save(folder: Path, artifact: Artifact, edits: Sequence[str]) -> dict[str, Any]:
    path, training = folder / "nn_router.pth", artifact.training
    with replace_together(folder) as staging:
        save_artifact(staging / path.name, replace(artifact, training=replace(training, edits=[*training.edits, *edits])))
        joblib.dump(list(artifact.model_names), staging / "model_names.joblib")
    print(f"{'; '.join(edits)}. {path.resolve()} now routes to {', '.join(artifact.model_names)}")
    print("metrics.json is still that of the router as it was trained")
    return {"stage": 3, "edits": list(edits), "models": list(artifact.model_names)}


def _add(artifact: Artifact, name: str, npy: Path, json_path: Path, pool: Path | None) -> Artifact:
    stated = Pool(()) if pool is None else load_pool(pool)
    data = load_dataset(npy, "train", json_path, [name], stated.facts, bool(artifact.prompt_features))
    if encoder_digest(data.encoder) != encoder_digest(artifact.encoder):
        raise DataError(f"{npy} were made by another encoder than this router's; make them with the same one")
    labels, cost = data.labels[:, 0], None if data.costs is None else float(np.nanmean(data.costs))
    (latency,) = usual_latencies(data.latencies, 1).tolist()
    facts, lines = settle_facts([data], stated)
    for line in lines:
        print(f"note: {line}")
    seconds = None if np.isnan(latency) else latency
    found = add_model(artifact, name, data.features, labels, data.groups, facts.get(name), cost, seconds)
    guarded = {point for point, settings in found.operating_points.items() if settings.default == name}
    print(f"{name}: {int((~np.isnan(labels)).sum())} labels, {np.nanmean(labels):.1%} right, cost {cost}")
    if guarded:
        print(f"{name} is clearly better than the guarded default and takes its place in {', '.join(sorted(guarded))}")
    elif any(settings.margin >= 1.0 for settings in found.operating_points.values()):
        print("an operating point of this router never leaves its default model; to weigh the new one anew, train again")
    return found


if __name__ == "__main__":
    sys.exit(run(main))
