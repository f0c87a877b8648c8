"""The nouns of Stages 3 and 4: rows keep belonging together however they are taken, and facts say what a model takes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.arrays import Array
from auto_router.data.dataset import Prediction, load_dataset
from auto_router.data.embeddings import METADATA_NAME, save_array
from auto_router.data.pool import ModelFacts
from auto_router.data.prompt_features import FEATURE_NAMES, prompt_features
from auto_router.data.records import Record, save_records
from auto_router.errors import ConfigError, DataError
from auto_router.files import sha256_of, write_json

NAN = float("nan")
ROWS = 8


def records() -> list[Record]:
    return [
        Record(
            100 + i,
            f"What is {i}?",
            "answer",
            ("AAAA",) * (i % 2),
            {"m": i % 2, "n": None},
            model_costs={"m": 0.5 * i},
            model_latencies={"n": 0.25 * i},
        )
        for i in range(ROWS)
    ]


def stage2(folder: Path, skipped: list[int]) -> tuple[Path, Path, Array]:
    """Write an evaluation file and embeddings ``[ROWS, 3]`` of it; return both and the embeddings."""
    path, npy = folder / "rows.json", folder / "rows.npy"
    save_records(path, records())
    embeddings = np.arange(3.0 * ROWS, dtype=np.float32).reshape(ROWS, 3)
    embeddings[skipped] = NAN
    save_array(npy, embeddings)
    encoder = {"backend": "counting", "text_dim": 2, "image_dim": 1}
    inputs = {"train": {"file": path.name, "sha256": sha256_of(path)}}
    skips = {"train": {str(row): "no image" for row in skipped}}
    write_json(folder / METADATA_NAME, {"embedding_dim": 3, "encoder": encoder, "inputs": inputs, "skipped": skips})
    return path, npy, embeddings


def test_a_data_set_is_the_records_beside_their_rows(tmp_path: Path) -> None:
    path, npy, embeddings = stage2(tmp_path, [2])
    facts = {"n": ModelFacts(1.0, 2.0)}
    data = load_dataset(npy, "train", path, facts=facts)
    kept = [i for i in range(ROWS) if i != 2]
    assert data.names == ("m", "n")
    assert data.facts == facts
    assert [record.idx for record in data.records] == [100 + i for i in kept]
    assert data.image_counts == [i % 2 for i in kept]
    assert np.array_equal(data.embeddings, embeddings[kept])
    assert data.prompt_dim == len(FEATURE_NAMES)
    assert np.array_equal(data.features[:, 3:], prompt_features(data.prompts))
    assert np.array_equal(data.labels, [[i % 2, NAN] for i in kept], equal_nan=True)
    assert data.costs is not None
    assert np.array_equal(data.costs, [[0.5 * i, NAN] for i in kept], equal_nan=True)
    assert data.file is not None
    assert (data.file.places.tolist(), data.file.skipped, data.file.left_out) == (kept, 1, 0)
    bare = load_dataset(npy, "train", path, ["n"], with_prompt_features=False)
    assert (bare.prompt_dim, bare.names, bare.labels.shape, bare.costs) == (0, ("n",), (7, 1), None)


def test_of_many_rows_a_seeded_part_is_drawn(tmp_path: Path) -> None:
    path, npy, embeddings = stage2(tmp_path, [2])
    first, again, other = (load_dataset(npy, "train", path, max_rows=4, seed=seed) for seed in (1, 1, 2))
    assert first.file is not None
    assert (len(first), first.file.skipped, first.file.left_out) == (4, 1, 3)
    assert first.prompts == again.prompts != other.prompts
    assert np.array_equal(first.embeddings, embeddings[first.file.places])
    assert [record.idx - 100 for record in first.records] == sorted(first.file.places.tolist())


def test_taken_rows_still_find_their_records_in_the_file(tmp_path: Path) -> None:
    path, npy, embeddings = stage2(tmp_path, [2])
    data = load_dataset(npy, "train", path)
    part = data.take(np.array([6, 0, 3]))
    assert [record.idx for record in part.records] == [107, 100, 104]
    assert np.array_equal(part.embeddings, embeddings[[7, 0, 4]])
    assert part.groups.tolist() == data.groups[[6, 0, 3]].tolist()
    assert part.latencies is not None
    assert part.latencies[:, 1].tolist() == [1.75, 0.0, 1.0]
    assert np.isnan(part.latencies[:, 0]).all()
    assert part.file is not None
    assert part.file.read([2, 0]) == [records()[4], records()[7]]
    save_records(path, records()[:5])
    with pytest.raises(DataError, match="changed while it was used"):
        part.file.read([0])


def test_rows_put_behind_have_unknown_costs_and_no_file(tmp_path: Path) -> None:
    path, npy, _ = stage2(tmp_path, [])
    data = load_dataset(npy, "train", path)
    more = [Record(0, "what is 2"), Record(1, "new")]
    whole = data.extend(more, np.ones((2, data.features.shape[1]), dtype=np.float32), np.ones((2, 2), dtype=np.float32))
    assert (len(whole), whole.features.shape[0], whole.labels[-2:].tolist()) == (ROWS + 2, ROWS + 2, [[1, 1], [1, 1]])
    assert whole.groups[-2] == whole.groups[2], "it asks what a row asked before"
    assert whole.groups[-1] not in whole.groups[:-1]
    assert whole.costs is not None
    assert whole.latencies is not None
    assert np.isnan(whole.costs[-2:]).all()
    assert np.isnan(whole.latencies[-2:]).all()
    assert whole.file is None


@pytest.mark.parametrize("damage", ["another file", "a row less", "a value that is not finite", "another part"])
def test_rows_that_are_not_those_of_the_records_are_refused(tmp_path: Path, damage: str) -> None:
    path, npy, embeddings = stage2(tmp_path, [2])
    if damage == "another file":
        save_records(path, records()[::-1])
    if damage == "a row less":
        save_array(npy, embeddings[:-1])
    if damage == "a value that is not finite":
        embeddings[5, 1] = np.inf
        save_array(npy, embeddings)
    says = {"a value that is not finite": r"NaN or infinite values in row 5 \(1 rows\)", "another part": "damaged"}
    with pytest.raises(DataError, match=says.get(damage, "were not made from")):
        load_dataset(npy, "test" if damage == "another part" else "train", path)


def test_rows_of_other_kinds_are_named_or_read(tmp_path: Path) -> None:
    """Half precision is read; what are no rows of real numbers, and metadata that contradict themselves, are named."""
    path, npy, embeddings = stage2(tmp_path, [])
    np.save(npy, embeddings.astype(np.float16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_dataset(npy, "train", path).features.dtype == np.float32
    np.save(npy, embeddings.astype(np.complex64))
    with pytest.raises(DataError, match="holds complex64, not real numbers; save float32 rows"):
        load_dataset(npy, "train", path)
    with npy.open("wb") as file:
        np.savez(file, embeddings)
    with pytest.raises(DataError, match=r"damaged \(.*magic string"):
        load_dataset(npy, "train", path)
    save_array(npy, embeddings)
    metadata = json.loads(npy.with_name(METADATA_NAME).read_text())
    metadata["encoder"] |= {"text_dim": embeddings.shape[1], "image_dim": 1}
    npy.with_name(METADATA_NAME).write_text(json.dumps(metadata))
    with pytest.raises(DataError, match=r"columns, but .* of text and 1 of images; make both again"):
        load_dataset(npy, "train", path)


def test_rows_are_novel_beyond_the_limit() -> None:
    p, costs = np.array([[0.5, 0.2], [0.1, 0.9]]), np.array([[1.0, 2.0], [3.0, 4.0]])
    prediction = Prediction(p, np.array([0.5, 1.5]), costs)
    assert prediction.novel is not None
    assert prediction.novel.tolist() == [False, True]
    second = prediction.take([1])
    assert second.expected_costs is not None
    assert second.novelty is not None
    assert (second.probabilities.tolist(), second.novelty.tolist(), second.expected_costs.tolist()) == (
        [[0.1, 0.9]], [1.5], [[3.0, 4.0]],
    )  # fmt: skip
    assert prediction.take([0]).novel is None, "none of them is"
    assert Prediction(p).take([0, 1]).novel is None, "not measured"


def test_what_a_model_takes_and_costs() -> None:
    unknown, reading = ModelFacts(), ModelFacts(1.0, 3.0, ("text",), 100)
    assert unknown.takes_images
    assert unknown.accepts(1e9, ["image", "tools"])
    assert unknown.price(1, 1) is None
    assert [reading.accepts(100), reading.accepts(101), reading.accepts(1, ["image"])] == [True, False, False]
    calling = ModelFacts(capabilities=("tools", "pdf"))
    assert calling.accepts(1, ["tools", "image"]), "no modalities are stated"
    assert [calling.count_missing(needs) for needs in (["pdf"], ["audio"], ["audio", "reasoning", "tools"])] == [0, 1, 2]
    assert reading.price(1e6, 2e6) == 7.0
    assert ModelFacts(input_usd_per_mtok=1.0).price(1, 1) is None
    for facts in (unknown, reading):
        assert ModelFacts.from_plain(facts.to_plain()) == facts
    assert ModelFacts.from_plain({"modalities": ["text"], "of a later version": 1}) == ModelFacts(modalities=("text",))


@pytest.mark.parametrize("values", [{"input_usd_per_mtok": "1"}, {"context_window": [5]}, {"modalities": "text"}])
def test_damaged_facts_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="facts of a model are damaged"):
        ModelFacts.from_plain(values)
