"""Which encoder? Every one that can run here, side by side: what is learned from it, its cost, and other languages.

    python benchmarks/encoders.py [--quick] [--sets llmrouter14] [--seeds 20 21 22] [--rows 1200] [--cache DIR] [--json FILE]
    python benchmarks/encoders.py --encoder hidden-states=models/SmolLM2-135M --layers 8 15 23 30
    python benchmarks/encoders.py --encoder onnx=models/multilingual-e5-small

Compared are the embedded encoders and what ``--encoder NAME=MODEL`` adds, each alone and joined to ``local``; what cannot be
opened is named. With ``--layers`` each of these layers of a ``hidden-states`` encoder is one encoder; one pass reads all.
The default router is fitted on the same training rows of each seed of the first ``--rows`` text rows of each set, and scored
on the same test rows, under its operating point ``accuracy``. *Difference* is paired over seeds with ``local``, in accuracy
points, with a 95 % t-interval; *QNC* the least share of best single's cost that buys its accuracy (1 where none does).

*Unfamiliar* is the share of held-out rows, which should be 0.5 to 2.5 %. ``translations.json`` holds 20 questions of
``llmrouter14`` in six languages. *Flagged* are those that are unfamiliar to a router which learned the other rows; *same* those
that get the model of the English original, by the highest P and without the guard, *chance* those that get that of another
question. *ms* is the median of single prompts, *MB* what the process grew by when the encoder was opened and used, after those
above. Rows are cached in ``--cache``. ``--quick`` takes 600 rows and three seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quality import difference, measured
from recorded import DATA, SETS
from tabulate import tabulate

from auto_router.arrays import Array
from auto_router.data.dataset import Prediction
from auto_router.data.embeddings import save_array
from auto_router.data.label_stats import best_single_model
from auto_router.data.pool import ModelFacts
from auto_router.data.prompt_features import FEATURE_NAMES, append_prompt_features
from auto_router.data.records import Record, answer_costs, group_ids, label_matrix, load_records, model_names
from auto_router.data.splits import split_by_group
from auto_router.decide.operating_points import fit_operating_points
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from auto_router.encode.local import cache_folder
from auto_router.errors import ConfigError, EncoderError, run
from auto_router.files import sha256_of, write_json
from auto_router.learn.novelty import fit_novelty
from auto_router.learn.stack import FeatureLayout
from auto_router.learn.stack_fit import fit_stack

TRANSLATIONS = Path(__file__).with_name("translations.json")
TRANSLATED = "llmrouter14"  # the set whose questions TRANSLATIONS holds
EMBEDDED = ("local", "local-multilingual")
FIRST = EMBEDDED[0]
TIMED = 40  # prompts


@dataclass(frozen=True, slots=True)
class Texts:
    """The text rows of one set."""

    name: str
    records: list[Record]
    path: Path
    prices: dict[str, ModelFacts]

    @classmethod
    def load(cls, folder: Path, rows: int) -> Texts:
        path, prices = folder / "data.json.gz", folder / "prices.json"
        stated = json.loads(prices.read_text(encoding="utf-8")) if prices.exists() else {}
        facts = {name: ModelFacts.from_plain(values) for name, values in stated.items()}
        return cls(folder.name, [record for record in load_records(path) if not record.images][:rows], path, facts)

    @property
    def prompts(self) -> list[str]:
        return [record.prompt for record in self.records]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Encoders whose text rows stand side by side, and which columns of each count."""

    parts: tuple[tuple[EmbeddingGenerator, slice], ...]

    @property
    def languages(self) -> list[str]:
        """Languages that one of the encoders knows."""
        return sorted({language for generator, _ in self.parts for language in generator.encoder.languages})

    def encode(self, prompts: list[str]) -> Array:
        return np.concatenate([generator.embed_batch(prompts)[:, columns] for generator, columns in self.parts], axis=1)

    def rows(self, texts: Texts, cache: Path) -> Array:
        """Return the rows of a set, from the cache where they are."""
        return np.concatenate([text_rows(generator, texts, cache)[:, columns] for generator, columns in self.parts], axis=1)


def open_here(name: str, layers: Sequence[int] | None) -> dict[str, Candidate]:
    """Open ``NAME`` or ``NAME=MODEL``, one candidate for each of a language model's layers; why none is opened is printed."""
    backend, _, model = name.partition("=")
    apart = layers if backend == "hidden-states" else None
    try:
        generator = open_encoder(backend, model=model or None, layers=apart)
    except (ConfigError, EncoderError) as error:
        print(f"not here: {name}: {error}")
        return {}
    label = f"{backend} {Path(model).name}".strip()
    if apart is None:
        return {label: Candidate(((generator, slice(0, generator.text_dim)),))}
    numbers = generator.spec["layers"]
    width = generator.text_dim // len(numbers)
    return {
        f"{label}, layer {number}": Candidate(((generator, slice(place * width, (place + 1) * width)),))
        for place, number in enumerate(numbers)
    }


def text_rows(generator: EmbeddingGenerator, texts: Texts, cache: Path) -> Array:
    """Return the text half ``[N, D_t]`` of a set's rows, from the cache where they are."""
    which = sha256_of(texts.path)[:16] + json.dumps(
        [generator.spec.get(k) for k in ("weights_sha256", "text_sha256", "layers", "model")]
    )
    name = "".join(letter if letter.isalnum() else "-" for letter in f"{generator.spec['backend']}-{which}")[:120]
    cached = cache / f"{texts.name}-{name}-{len(texts.records)}.npy"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        save_array(cached, generator.embed_batch(texts.prompts)[:, : generator.text_dim])
    rows: Array = np.load(cached, allow_pickle=False)
    return rows


def fit_and_score(rows: Array, texts: Texts, seeds: Sequence[int], known: Sequence[str]) -> list[dict[str, float]]:
    """Return the figures of each seed of the default router on these text rows; ``known``: the encoder's languages."""
    prompts = np.array(texts.prompts, dtype=object)
    names, groups = model_names(texts.records), group_ids(texts.records)
    y, costs = label_matrix(texts.records, names), answer_costs(texts.records, names, texts.prices)
    x = append_prompt_features(rows, texts.prompts).astype(np.float32)
    layout, found = FeatureLayout(rows.shape[1], 0, len(FEATURE_NAMES)), []
    for seed in seeds:
        train, test = split_by_group(groups, 0.2, seed)
        labels, spent = y[train].astype(np.float32), None if costs is None else costs[train]
        fitted = fit_stack(x[train], labels, groups[train], layout, seed)
        points = fit_operating_points(Prediction(fitted.out_of_fold), labels, spent, groups[train], names)
        p, best = fitted.network.predict(x[test]), best_single_model(y[train])
        chosen = resolve_policy(names, points, RouterSettings(operating_point="accuracy")).choose(Prediction(p)).chosen
        paid = None if costs is None else (costs[test], np.nanmean(costs[train], axis=0))
        detector, _ = fit_novelty(
            x[train], labels, groups[train], train.tolist(), (), seed, list(prompts[train]), known, layout.prompt_dim
        )
        unfamiliar = float((detector.novelty(x[test], list(prompts[test])) > 1).mean())
        found.append(measured(p, chosen, y[test], best, names, *(paid or (None, None))) | {"unfamiliar": unfamiliar})
    return found


def ask_translations(candidate: Candidate, rows: Array, texts: Texts) -> dict[str, float]:
    """Return the shares of translations that are flagged, that get the model of the English original, and that of another."""
    asked = json.loads(TRANSLATIONS.read_text(encoding="utf-8"))
    numbers = {question["idx"] for question in asked["questions"]}
    english = {record.idx: record.prompt for record in load_records(texts.path) if record.idx in numbers}
    kept = np.array([record.idx not in numbers for record in texts.records])
    records = [record for record in texts.records if record.idx not in numbers]
    names, groups, prompts = model_names(records), group_ids(records), [record.prompt for record in records]
    y, x = label_matrix(records, names).astype(np.float32), append_prompt_features(rows[kept], prompts).astype(np.float32)
    layout = FeatureLayout(rows.shape[1], 0, len(FEATURE_NAMES))
    network, idx = fit_stack(x, y, groups, layout, 0).network, [record.idx for record in records]
    detector, _ = fit_novelty(x, y, groups, idx, (), 0, prompts, candidate.languages, layout.prompt_dim)

    def encode(some: list[str]) -> Array:
        return append_prompt_features(candidate.encode(some), some).astype(np.float32)

    def choose(some: list[str]) -> Array:
        return np.asarray(network.predict(encode(some)).argmax(axis=1))

    expected = choose([english[question["idx"]] for question in asked["questions"]])
    flagged, same = [], np.zeros((len(expected), len(expected)))
    for language in asked["languages"]:
        some = [question[language] for question in asked["questions"]]
        flagged.append(detector.novelty(encode(some), some) > 1)
        same += (choose(some)[:, None] == expected) / len(asked["languages"])
    others = (same.sum() - np.trace(same)) / (same.size - len(same))
    return {"flagged": float(np.mean(flagged)), "same": float(np.mean(np.diag(same))), "chance": float(others)}


def memory() -> float:
    """Return the megabytes of this process, NaN where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 / 2**20 if status.exists() else float("nan")


def milliseconds(generator: EmbeddingGenerator, texts: Texts) -> float:
    """Return the median time of one prompt alone."""
    taken = []
    for prompt in texts.prompts[:TIMED]:
        start = time.perf_counter()
        generator.embed(prompt)
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


def candidates(arguments: argparse.Namespace, texts: Texts) -> tuple[dict[str, Candidate], dict[str, dict[str, Any]]]:
    """Return what is compared, and the time and memory of each."""
    found: dict[str, Candidate] = {}
    figures: dict[str, dict[str, Any]] = {}
    for name in [*EMBEDDED, *arguments.encoder]:
        before = memory()
        for label, candidate in open_here(name, arguments.layers).items():
            taken = milliseconds(candidate.parts[0][0], texts)
            figures[label], found[label] = {"ms": taken, "MB": memory() - before}, candidate
    for other in [label for label in found if label != FIRST]:  # each beside the default
        both = f"{FIRST} + {other}"
        found[both] = Candidate(found[FIRST].parts + found[other].parts)
        figures[both] = {key: figures[FIRST][key] + figures[other][key] for key in ("ms", "MB")}
    return found, figures


def compare(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return every figure of every candidate."""
    sets = [Texts.load(arguments.data / name, arguments.rows) for name in arguments.sets]
    compared, figures = candidates(arguments, sets[0])
    for label, candidate in compared.items():
        found = figures[label]
        found["languages"] = candidate.languages
        for texts in sets:
            rows = candidate.rows(texts, arguments.cache)
            found[texts.name] = fit_and_score(rows, texts, arguments.seeds, candidate.languages)
            if texts.name == TRANSLATED:
                found |= ask_translations(candidate, rows, texts)
        print(f"{label}: done", flush=True)
    return figures


def show(figures: dict[str, dict[str, Any]], sets: Sequence[str]) -> None:
    """Print two tables: what each is worth on every set, and what it costs and does beside that."""
    worth: list[list[Any]] = []
    beside: list[list[Any]] = []
    for label, found in figures.items():
        worth.append([label])
        for name in sets:
            mean = [float(np.mean([one.get(key, np.nan) for one in found[name]])) for key in ("gap", "auc", "qnc")]
            points, half = difference(found[name], figures[FIRST][name])
            worth[-1] += [100 * mean[0], *mean[1:], "" if label == FIRST else f"{points:+.2f} ± {half:.2f}"]
        held_out = float(np.mean([one["unfamiliar"] for name in sets for one in found[name]]))
        languages = "any" if "any" in found["languages"] else len(found["languages"]) or "training's"
        asked = [100 * found.get(key, float("nan")) for key in ("flagged", "same", "chance")]
        beside.append([label, found["ms"], found["MB"], languages, 100 * held_out, *asked])
    headers = ["encoder", *(f"{name} {what}" for name in sets for what in ("gap %", "AUC", "QNC", "difference"))]
    print(tabulate(worth, headers=headers, floatfmt=("", *(".1f", ".4f", ".2f", "") * len(sets))) + "\n")
    headers = ["encoder", "ms", "MB", "languages", "unfamiliar %", "flagged %", "same %", "chance %"]
    print(tabulate(beside, headers=headers, floatfmt=("", ".1f", ".0f", "", ".1f", ".0f", ".0f", ".0f")))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare encoders by the router that is learned from them.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--encoder", nargs="+", default=[], metavar="NAME=MODEL", help="further ones, such as onnx=FOLDER")
    parser.add_argument("--layers", nargs="+", type=int, help="of hidden-states encoders, each as one encoder")
    parser.add_argument("--rows", type=int, default=1200, help="text rows of each set")
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--quick", action="store_true", help="600 rows, three seeds")
    parser.add_argument("--cache", type=Path, default=cache_folder() / "benchmarks", metavar="DIR", help="encoded rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every seed")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rows, arguments.seeds = 600, arguments.seeds[:3]
    figures = compare(arguments)
    print(f"\n{arguments.rows} rows, {len(arguments.seeds)} seeds\n")
    show(figures, arguments.sets)
    if arguments.json:
        write_json(arguments.json, figures)


if __name__ == "__main__":
    sys.exit(run(main))
