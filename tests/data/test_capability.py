"""Who can take what: what the pool states, what Stage 1 noted, what the labels show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auto_router.data.capability import MIN_IMAGE_ROWS, POOL_NAME, TEXT_ONLY_REASON, compare_names, find_pool, settle_facts
from auto_router.data.dataset import Dataset
from auto_router.data.pool import Pool, load_pool
from auto_router.data.records import Record, group_ids, label_matrix
from auto_router.errors import ConfigError, DataError

NAMES = ("eye", "pen")


def dataset(records: list[Record]) -> Dataset:
    features = np.zeros((len(records), 4), dtype=np.float32)
    labels = label_matrix(records, NAMES)
    return Dataset(records, features, labels, group_ids(records), None, NAMES, {"text_dim": 2, "image_dim": 2})


def records(images: int, pen_sees: bool = False, noted: bool = False) -> list[Record]:
    """Ten text rows, then rows with an image, of which ``pen`` has labels, a note of Stage 1, or nothing."""
    errors = {"pen": TEXT_ONLY_REASON} if noted else {}
    texts = [Record(i, f"text {i}", model_scores={"eye": 1.0, "pen": 0.0}) for i in range(10)]
    seen = {"eye": 1.0, "pen": 1.0 if pen_sees else None}
    return texts + [
        Record(10 + i, f"image {i}", images=(f"{i}",), model_scores=seen, model_errors=errors) for i in range(images)
    ]


def pool(folder: Path, *entries: str) -> Pool:
    (folder / POOL_NAME).write_text("models:\n" + "\n".join(f"  - {{{entry}}}" for entry in entries))
    return load_pool(folder / POOL_NAME)


def takes_images(facts: object, name: str) -> bool:
    assert isinstance(facts, dict)
    return name not in facts or facts[name].takes_images


@pytest.mark.parametrize(
    ("data", "seen", "said"),
    [
        (records(3, noted=True), False, "Stage 1 did not ask it about 3 rows with images"),
        (records(MIN_IMAGE_ROWS), False, f"it has no label on any of {MIN_IMAGE_ROWS} rows with images"),
        (records(MIN_IMAGE_ROWS - 1), True, ""),
        (records(MIN_IMAGE_ROWS, pen_sees=True), True, ""),
        (records(0), True, ""),
    ],
    ids=["noted", "never labelled", "too few to tell", "labelled", "no images"],
)
def test_without_a_pool_the_labels_say_who_takes_images(data: list[Record], seen: bool, said: str) -> None:
    facts, lines = settle_facts([dataset(data[:12]), dataset(data[12:])], Pool(()))
    assert takes_images(facts, "pen") is seen
    assert takes_images(facts, "eye")
    assert [said in line and line.startswith("pen is taken to take no images") for line in lines] == [True] * bool(said)


def test_prices_alone_forbid_no_images(tmp_path: Path) -> None:
    """Modalities that a pool does not state are what the labels show; the prices stay."""
    prices = "input_usd_per_mtok: 1, output_usd_per_mtok: 2"
    given = pool(tmp_path, f"name: eye, {prices}", f"name: pen, {prices}")
    facts, lines = settle_facts([dataset(records(MIN_IMAGE_ROWS))], given)
    assert (facts["eye"].takes_images, facts["pen"].takes_images) == (True, False)
    assert facts["eye"].output_usd_per_mtok == 2
    assert len(lines) == 1


def test_a_capability_states_that_images_are_taken(tmp_path: Path) -> None:
    given = pool(tmp_path, "name: eye", "name: pen, capabilities: [image, tools]")
    facts, lines = settle_facts([dataset(records(MIN_IMAGE_ROWS))], given)
    assert (facts["pen"].takes_images, facts["pen"].capabilities, lines) == (True, ("image", "tools"), [])


def test_what_a_pool_states_stands_without_a_label(tmp_path: Path) -> None:
    given = pool(tmp_path, "name: eye, modalities: [text]", "name: pen, modalities: [text, image]")
    hidden = [replace(record, model_scores={"eye": None, "pen": None}) for record in records(MIN_IMAGE_ROWS)[10:]]
    facts, lines = settle_facts([dataset(hidden)], given)
    assert (facts["eye"].takes_images, facts["pen"].takes_images, lines) == (False, True, [])


def test_image_labels_of_a_model_stated_text_only_are_an_error(tmp_path: Path) -> None:
    given = pool(tmp_path, "name: eye, modalities: [text, image]", "name: pen, modalities: [text]")
    with pytest.raises(DataError, match="pen takes text only, but 3 rows with images have a label of it"):
        settle_facts([dataset(records(3, pen_sees=True))], given)


def test_a_misspelt_name_is_said_both_ways(tmp_path: Path) -> None:
    given = pool(tmp_path, "name: eye", "name: penn")
    lines = compare_names(given, NAMES, Path("pool.yaml"), True)
    assert lines == [
        "pool.yaml has no entry for 'pen', which has labels: what it costs and takes is not stated; is it 'penn'?",
        "pool.yaml names 'penn', of which there is no label: the router will not know it",
    ]
    assert compare_names(pool(tmp_path, "name: eye", "name: pen"), NAMES, Path("pool.yaml"), True) == []


def test_the_pool_of_this_folder_is_used_where_it_names_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_pool(None) == (Pool(()), None)
    pool(tmp_path, "name: eye")
    found, where = find_pool(None)
    assert (list(found.facts), where) == (["eye"], Path(POOL_NAME))
    (line,) = compare_names(found, ("other",), Path(POOL_NAME), False)
    assert line.startswith("pool.yaml names none of these models and is not used")
    (tmp_path / POOL_NAME).write_text("models: 5")
    assert find_pool(None) == (Pool(()), None)
    assert "is not used" in capsys.readouterr().out
    with pytest.raises(ConfigError):
        find_pool(tmp_path / POOL_NAME)
