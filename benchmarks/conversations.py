"""Does a question get the same model in a conversation as alone, and is that model as often right?

    OMP_NUM_THREADS=1 python benchmarks/conversations.py [--sets llmrouter14 combined5] [--seeds 0 1 2] [--rows 1000]
                                                         [--json FILE] [--check]

The default router is trained on single prompts: 75 % of a set's groups. Questions of the rest are decided alone, after a
greeting ("Hi" and its reply), and after two other questions of the set with their reference answers; at every operating
point, with the text of ``conversation_input`` and the windows of a serving router. Printed are accuracies, paired 95 %
bootstrap intervals over groups, the share of choices that are those made alone, and of prompts that count as unfamiliar.
Routers and embeddings are kept in the cache folder.

Targets (``--check`` exits 1 where one is missed), over all seeds of a set: no operating point loses more than 0.5 points, and
at least 90 % of its choices are those made alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recorded import DATA, MAX_ROWS, DataSet
from tabulate import tabulate

from auto_router.arrays import Array, Bools, Floats, Ints
from auto_router.artifacts import Artifact, load_artifact, save_artifact
from auto_router.assess.metrics import interval, take_chosen
from auto_router.data.conversation import ConversationInput, context_weight, conversation_input, turns_of
from auto_router.data.dataset import Dataset
from auto_router.data.embeddings import save_array
from auto_router.data.label_stats import best_single_model
from auto_router.data.prompt_features import append_prompt_features
from auto_router.data.records import Record, load_records
from auto_router.data.splits import group_folds, split_by_group
from auto_router.decide.eligibility import eligible_rows, outcomes_of
from auto_router.decide.policy import Policies, RouterSettings
from auto_router.encode.factory import open_encoder
from auto_router.encode.local import LocalEncoder, cache_folder
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.train import FitSettings, calibrate, fit

SETS = ("llmrouter14", "combined5")
SCENES = ("alone", "greeting", "two pairs")
MAX_LOSS, MIN_SAME = 0.005, 0.9
Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Held:
    """Held-out questions of one set and seed, and the router that did not see them."""

    data: Dataset
    path: Path
    artifact: Artifact
    best: int
    """The best single model of training."""


def load_set(folder: Path) -> Dataset:
    found, encoder = DataSet.load(folder), open_encoder("local", threads=1)
    records = load_records(folder / "data.json.gz")[:MAX_ROWS]
    return Dataset(records, found.rows, found.y, found.groups, found.costs, tuple(found.names), encoder.spec)


def hold_out(folder: Path, seed: int, rows: int) -> Held:
    """Return the questions, and their router, trained once."""
    whole = load_set(folder)
    train_rows, test_rows = split_by_group(whole.groups, 0.25, seed)
    train = whole.take(train_rows)
    drawn = np.sort(np.random.default_rng(seed).permutation(test_rows)[:rows])
    return train_once(train, whole.take(drawn), f"{folder.name}-{seed}", seed)


def hold_out_fold(folder: Path, fold: int, folds: int, seed: int) -> Held:
    """Return the questions of one fold of a set's groups, and the router of the others, trained once with this seed."""
    whole = load_set(folder)
    inside = group_folds(whole.groups, folds, 0) == fold
    name = f"{folder.name}-fold-{fold}-{folds}-{seed}"
    return train_once(whole.take(np.flatnonzero(~inside)), whole.take(np.flatnonzero(inside)), name, seed)


def train_once(train: Dataset, questions: Dataset, name: str, seed: int) -> Held:
    """Return the questions and the router of the training rows, from the cache where it is."""
    path = cache_folder() / "benchmarks" / f"conversations-{name}-v3.pth"
    if not path.exists():
        save_artifact(path, calibrate(fit(train, FitSettings(seed=seed)), train, seed))
    return Held(questions, path, load_artifact(path), best_single_model(outcomes_of(train.labels, eligible_rows(train))))


def messages_before(scene: str, records: Sequence[Record], row: int, rng: np.random.Generator) -> Messages:
    """Return what was said before the question of a row."""
    if scene == "alone":
        return []
    if scene == "greeting":
        said = [("Hi", "Hello! How can I help you today?")]
    else:
        others = [i for i in rng.permutation(len(records))[:20].tolist() if i != row and not records[i].images][:2]
        said = [(records[i].prompt, records[i].answer or "Done.") for i in others]
    return [{"role": role, "content": text} for pair in said for role, text in zip(("user", "assistant"), pair, strict=True)]


def read_inputs(data: Dataset, scene: str, seed: int) -> list[ConversationInput]:
    rng = np.random.default_rng(seed)
    talks = [
        [*messages_before(scene, data.records, row, rng), {"role": "user", "content": record.prompt}]
        for row, record in enumerate(data.records)
    ]
    return [conversation_input(turns_of(talk)) for talk in talks]


def encode(data: Dataset, inputs: Sequence[ConversationInput]) -> Array:
    """Return the router's input rows; the image half is that of the recorded embeddings."""
    weights = [context_weight(given.prompt) for given in inputs]
    told = hashlib.sha256(repr((inputs, weights)).encode()).hexdigest()[:16]
    path = cache_folder() / "benchmarks" / f"conversations-{told}-{LocalEncoder.served_tokens}.npy"
    if not path.exists():
        encoder = open_encoder("local", threads=1)
        prompts, contexts = [given.prompt for given in inputs], [given.context for given in inputs]
        rows = encoder.embed_batch(prompts, contexts=contexts, max_windows=LocalEncoder.served_windows)
        save_array(path, rows[:, : encoder.text_dim])
    text = np.load(path, allow_pickle=False)
    rows = np.concatenate([text, data.embeddings[:, text.shape[1] :]], axis=1)
    return append_prompt_features(rows, [given.prompt for given in inputs])


def decide_scenes(held: Held, seed: int) -> dict[str, dict[str, tuple[Ints, Bools]]]:
    """Return, for every scene and operating point, the chosen models and which rows were unfamiliar."""
    artifact, found = held.artifact, {}
    eligible = eligible_rows(held.data)
    policies = Policies(artifact.model_names, artifact.operating_points, RouterSettings())
    for scene in SCENES:
        prediction = artifact.predict(encode(held.data, read_inputs(held.data, scene, seed)))
        novel = np.zeros(len(held.data), dtype=bool) if prediction.novel is None else prediction.novel
        choices = {name: policies.at(name).choose(prediction, eligible).chosen for name in artifact.operating_points}
        found[scene] = {name: (chosen, novel) for name, chosen in choices.items()}
    return found


def compare(folder: Path, seeds: Sequence[int], rows: int) -> list[dict[str, object]]:
    """Return a line for every operating point and scene of a set, over all seeds."""
    parts: dict[tuple[str, str], list[tuple[Floats, Floats, Floats, Floats, Ints]]] = {}
    for seed in seeds:
        held = hold_out(folder, seed, rows)
        labels = outcomes_of(held.data.labels, eligible_rows(held.data))
        scenes = decide_scenes(held, seed)
        for point, (alone, _) in scenes["alone"].items():
            for scene in SCENES:
                chosen, novel = scenes[scene][point]
                part = (
                    take_chosen(labels, chosen) - take_chosen(labels, alone), take_chosen(labels, chosen),
                    (chosen == alone).astype(float), novel.astype(float), held.data.groups + (seed << 32),
                )  # fmt: skip
                single = labels[:, held.best]
                parts.setdefault((point, scene), []).append((*part[:4], part[4]))
                parts.setdefault((point, "best single"), []).append((single, single, single, single, part[4]))
    lines: list[dict[str, object]] = []
    for (point, scene), some in parts.items():
        if scene == "best single":
            continue
        difference, right, same, novel, groups = (np.concatenate(column) for column in zip(*some, strict=True))
        single = np.concatenate([part[0] for part in parts[point, "best single"]])
        known = ~np.isnan(difference)
        _, groups = np.unique(groups[known], return_inverse=True)
        low, high = (0.0, 0.0) if scene == "alone" else interval(difference[known], groups, 0)
        lines.append({
            "set": folder.name, "point": point, "scene": scene, "accuracy": float(np.nanmean(right)),
            "difference": float(difference[known].mean()), "low": low, "high": high,
            "same choice": float(same.mean()), "unfamiliar": float(novel.mean()), "best single": float(np.nanmean(single)),
        })  # fmt: skip
    return lines


def misses(lines: Sequence[dict[str, object]]) -> list[str]:
    """Return what falls short of the targets."""
    found = []
    for line in lines:
        where = f"{line['set']}, {line['point']}, {line['scene']}"
        if float(str(line["difference"])) < -MAX_LOSS:
            found.append(f"{where}: loses {-100 * float(str(line['difference'])):.2f} points, at most {100 * MAX_LOSS} may be")
        if float(str(line["same choice"])) < MIN_SAME:
            found.append(f"{where}: {float(str(line['same choice'])):.1%} of choices are those made alone, not {MIN_SAME:.0%}")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Decisions in conversations beside those on the same questions alone.")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds the sets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=1000, help="held-out questions of a set and seed")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    lines = [line for name in arguments.sets for line in compare(arguments.data / name, arguments.seeds, arguments.rows)]
    print(tabulate(lines, headers="keys", floatfmt=".3f"))
    if arguments.json:
        write_json(arguments.json, {"lines": lines, "seeds": arguments.seeds, "rows": arguments.rows})
    missed = misses(lines) if arguments.check else []
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(main))
