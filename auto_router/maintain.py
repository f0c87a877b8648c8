"""``nn_router.py`` on a router that is there: a model more, one fewer, another name; and feedback as further training rows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from auto_router.artifacts import Artifact, load_artifact, save_artifact
from auto_router.costs import answer_costs
from auto_router.encode.store import load_embedded
from auto_router.encode.surface import with_surface
from auto_router.errors import ConfigError, DataError
from auto_router.extend import add_model, remove_model, rename_model
from auto_router.files import atomic_path
from auto_router.pool import load_pool
from auto_router.records import Record, group_ids, label_matrix
from auto_router.routing.feedback import Feedback, encoder_digest, load_feedback

INPUTS = ("train_embeddings", "test_embeddings", "train_json", "test_json")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that change a trained router, and those that say what it keeps and learns of its use."""
    group = parser.add_argument_group("on the router in --output-dir, without training it anew")
    group.add_argument(
        "--add-model", metavar="NAME", help="add a model, from some hundred labels of it in --train-json (default head)"
    )
    group.add_argument("--remove-model", action="append", default=[], metavar="NAME", help="take a model out")
    group.add_argument("--rename-model", action="append", default=[], metavar="OLD=NEW", help="give a model another name")
    parser.add_argument(
        "--feedback", type=Path, help="JSONL of ModelRouter.record: further labelled rows (default head, same encoder)"
    )
    parser.add_argument(
        "--store-prompts", action="store_true", help="keep some training prompts in the artifact, in clear, for explain()"
    )


def asked(arguments: argparse.Namespace) -> bool:
    """Is a router to be changed, rather than trained? Raises ConfigError where a file that is needed was not given."""
    changes = bool(arguments.add_model or arguments.remove_model or arguments.rename_model)
    needed = ("train_embeddings", "train_json") if arguments.add_model else () if changes else INPUTS
    missing = [f"--{name.replace('_', '-')}" for name in needed if getattr(arguments, name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} must be given; see --help")
    if arguments.feedback and (changes or arguments.head != "stack"):
        raise ConfigError("--feedback is for training the default head; leave out --add-model and the like, and --head mlp")
    return changes


def maintain(arguments: argparse.Namespace) -> dict[str, Any]:
    """Change the artifact in ``--output-dir`` as the flags say: remove, rename, then add. Return what was done."""
    path = arguments.output_dir / "nn_router.pth"
    artifact = load_artifact(path)
    edits = []
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
        artifact = _added(artifact, arguments)
        edits.append(f"added {arguments.add_model}")
    artifact = replace(artifact, training={**artifact.training, "edits": [*artifact.training.get("edits", []), *edits]})
    save_artifact(path, artifact)
    with atomic_path(arguments.output_dir / "model_names.joblib") as temporary:
        joblib.dump(artifact.model_names, temporary)
    print(f"{'; '.join(edits)}. {path.resolve()} now routes to {', '.join(artifact.model_names)}")
    print("metrics.json is still that of the router as it was trained")
    return {"stage": 3, "edits": edits, "models": list(artifact.model_names)}


def _added(artifact: Artifact, arguments: argparse.Namespace) -> Artifact:
    name, embedded = arguments.add_model, load_embedded(arguments.train_embeddings, "train", arguments.train_json)
    records = embedded.records
    if encoder_digest(embedded.encoder) != encoder_digest(artifact.encoder):
        raise DataError(
            f"{arguments.train_embeddings} were made by another encoder than this router's; make them with the same one"
        )
    inputs = with_surface(embedded.rows, [r.prompt for r in records]) if artifact.surface else embedded.rows
    labels = label_matrix(records, [name])[:, 0]
    facts = None if arguments.pool is None else load_pool(arguments.pool).facts().get(name)
    costs = answer_costs(records, [name], {} if facts is None else {name: facts})
    cost = None if costs is None else float(np.nanmean(costs))
    found = add_model(artifact, name, inputs, labels, group_ids(records), facts, cost)
    guarded = {point for point, settings in found.operating_points.items() if settings.default == name}
    print(f"{name}: {int((~np.isnan(labels)).sum())} labels, {np.nanmean(labels):.1%} right, cost {cost}")
    if guarded:
        print(f"{name} is clearly better than the guarded default and takes its place in {', '.join(sorted(guarded))}")
    elif any(settings.margin >= 1.0 for settings in found.operating_points.values()):
        print("an operating point of this router never leaves its default model; to weigh the new one anew, train again")
    return found


def feedback_rows(
    path: Path, names: Sequence[str], encoder: dict[str, Any], dim: int, seed: int
) -> tuple[Feedback, list[Record]]:
    """Read feedback and draw from it, each row with the probability of its weight; return it and its records.

    The records say which model was right and whether there were pictures; prompts are not known.
    """
    given = load_feedback(path, names, encoder, dim)
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(given.labels)) < given.weights)
    found = Feedback(given.features[kept], given.labels[kept], [given.groups[i] for i in kept.tolist()])
    print(f"feedback: {len(kept)} of {len(given.labels)} rows drawn, fewer of the models that the router chose most")
    halves = slice(encoder["text_dim"], encoder["text_dim"] + encoder["image_dim"])
    pictures: list[bool] = np.any(found.features[:, halves] != 0, axis=1).tolist()
    records = [
        Record(-1 - i, "(feedback)", images=("(feedback)",) if picture else (), group=f"feedback {group}")
        for i, (picture, group) in enumerate(zip(pictures, found.groups, strict=True))
    ]
    return found, records
