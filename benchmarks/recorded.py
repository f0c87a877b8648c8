"""The recorded data sets, embedded by the local encoder once and cached outside the project: what the benchmarks work on."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.arrays import Array, Floats, Ints
from auto_router.data.embeddings import save_array
from auto_router.data.pool import ModelFacts
from auto_router.data.prompt_features import FEATURE_NAMES, append_prompt_features
from auto_router.data.records import Record, answer_costs, group_ids, label_matrix, load_records, model_names
from auto_router.encode.efficientnet import cache_folder
from auto_router.encode.factory import open_encoder
from auto_router.encode.local import LocalEncoder
from auto_router.files import sha256_of
from auto_router.learn.stack import FeatureLayout
from generate_embeddings import generate_embeddings_for_dataset

SETS = ("combined5", "llmrouter14", "routerbench_sub", "mmlu_pro")
DATA = ROOT.parent / "shared" / "data"
MAX_ROWS = 8000
LAYOUT = FeatureLayout(LocalEncoder.text_dim, LocalEncoder.image_dim, len(FEATURE_NAMES))


def load_embeddings(path: Path, records: list[Record]) -> Array:
    """Return the local encoder's rows of the records, from the cache where they are."""
    cached = cache_folder() / "benchmarks" / f"{path.parent.name}-{sha256_of(path)[:16]}-{len(records)}.npy"
    if not cached.exists():
        save_array(cached, generate_embeddings_for_dataset(open_encoder("local"), records, description=path.parent.name))
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

    @classmethod
    def load(cls, folder: Path) -> DataSet:
        path, prices = folder / "data.json.gz", folder / "prices.json"
        records = load_records(path)[:MAX_ROWS]
        names = model_names(records)
        stated = json.loads(prices.read_text(encoding="utf-8")) if prices.exists() else {}
        facts = {name: ModelFacts.from_plain(values) for name, values in stated.items()}
        plain, costs = load_embeddings(path, records), answer_costs(records, names, facts)
        rows = append_prompt_features(plain, [record.prompt for record in records])
        return cls(names, group_ids(records), label_matrix(records, names), costs, plain, rows)
