"""The recorded data sets, embedded by the local encoder once and cached outside the project: what the benchmarks work on."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.arrays import Array, Bools, Floats, Ints
from auto_router.data.embeddings import save_array
from auto_router.data.pool import ModelFacts
from auto_router.data.prompt_features import FEATURE_NAMES, append_prompt_features
from auto_router.data.records import Record, answer_costs, group_ids, label_matrix, load_records, model_names
from auto_router.encode.factory import open_encoder
from auto_router.encode.local import LocalEncoder, cache_folder
from auto_router.files import sha256_of
from auto_router.learn.stack import FeatureLayout
from generate_embeddings import generate_embeddings_for_dataset

SETS = ("combined5", "llmrouter14", "routerbench_sub", "mmlu_pro")
SPLIT_SETS = ("routerdc_split/in", "routerdc_split/out")  # with test rows of their own, in and out of distribution
DATA = ROOT.parent / "shared" / "data"
MAX_ROWS = 8000
LAYOUT = FeatureLayout(LocalEncoder.text_dim, LocalEncoder.image_dim, len(FEATURE_NAMES))


def load_embeddings(path: Path, records: list[Record], encoder: str = "local") -> Array:
    """Return an embedded encoder's rows of the records, from the cache where they are."""
    name = path.parent.name if encoder == "local" else f"{path.parent.name}-{encoder}"
    cached = cache_folder() / "benchmarks" / f"{name}-{sha256_of(path)[:16]}-{len(records)}.npy"
    if not cached.exists():
        save_array(cached, generate_embeddings_for_dataset(open_encoder(encoder), records, description=name))
    rows: Array = np.load(cached, allow_pickle=False)
    return rows


@dataclass(frozen=True, slots=True)
class DataSet:
    """One recorded data set, embedded."""

    names: list[str]
    groups: Ints
    y: Floats
    costs: Floats | None
    plain: Array
    rows: Array
    """Embeddings with the features of the prompts behind them: the default router's input."""
    test: Bools | None = None
    """``[N]``: rows that are for testing only; None where the set has no split of its own."""
    layout: FeatureLayout = LAYOUT
    """Blocks of ``rows``: those of the local encoder, unless said."""

    @classmethod
    def of(cls, records: list[Record], names: list[str], plain: Array, encoder: str = "local") -> DataSet:
        """Return records without costs, with the rows that an encoder gave them."""
        rows = append_prompt_features(plain, [record.prompt for record in records])
        width = open_encoder(encoder).text_dim
        layout = FeatureLayout(width, plain.shape[1] - width, len(FEATURE_NAMES))
        return cls(names, group_ids(records), label_matrix(records, names), None, plain, rows, layout=layout)

    @classmethod
    def load(cls, folder: Path) -> DataSet:
        """Read a set of ``SETS``, or one of ``SPLIT_SETS``, of which the last part says which test rows."""
        if folder.name in ("in", "out"):
            return cls._load_split(folder.parent, folder.name)
        path, prices = folder / "data.json.gz", folder / "prices.json"
        records = load_records(path)[:MAX_ROWS]
        names = model_names(records)
        stated = json.loads(prices.read_text(encoding="utf-8")) if prices.exists() else {}
        facts = {name: ModelFacts.from_plain(values) for name, values in stated.items()}
        plain, costs = load_embeddings(path, records), answer_costs(records, names, facts)
        rows = append_prompt_features(plain, [record.prompt for record in records])
        return cls(names, group_ids(records), label_matrix(records, names), costs, plain, rows)

    @classmethod
    def _load_split(cls, folder: Path, part: str) -> DataSet:
        train = load_records(folder / "train.json.gz")
        every = load_records(folder / "test.json.gz")
        with gzip.open(folder / "test.json.gz", "rt", encoding="utf-8") as file:
            kept = np.flatnonzero([record["part"] == part for record in json.load(file)])
        kept = np.sort(np.random.default_rng(0).permutation(kept)[:MAX_ROWS])
        plain = np.concatenate(
            [load_embeddings(folder / "train.json.gz", train), load_embeddings(folder / "test.json.gz", every)[kept]]
        )
        records = [*train, *(every[i] for i in kept.tolist())]
        names, rows = model_names(train), append_prompt_features(plain, [record.prompt for record in records])
        test = np.arange(len(records)) >= len(train)
        return cls(names, group_ids(records), label_matrix(records, names), None, plain, rows, test)
