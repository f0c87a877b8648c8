"""One list of labels becomes two files: by group and near-duplicates, the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from auto_router.data.dataset import TEST_LABELS, TRAIN_LABELS, split_labels
from auto_router.data.records import Record, load_records, save_records
from auto_router.errors import ConfigError, DataError


def labels(count: int = 40) -> list[Record]:
    """Pairs of one question in other words' clothes, pairs of a group, pairs with a shared image, and rows alone."""
    found = []
    for i in range(count):
        pair = i // 2
        prompt = (f"What is  {pair}?", f"what IS {pair}")[i % 2] if pair % 4 == 0 else f"row {i}"
        group = f"g{pair}" if pair % 4 == 1 else None
        images = (f"image {pair}",) if pair % 4 == 2 else ()
        found.append(Record(i, prompt, images=images, model_scores={"a": i % 2}, group=group, source="ab"[i % 3 == 0]))
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_records(tmp_path / "mine.json", labels())
    return tmp_path / "mine.json"


def sides(folder: Path) -> tuple[list[Record], list[Record]]:
    return load_records(folder / TRAIN_LABELS), load_records(folder / TEST_LABELS)


def test_every_record_is_on_one_side_and_what_is_alike_is_together(path: Path, tmp_path: Path) -> None:
    assert split_labels(path, tmp_path, 0.25, 0) == (tmp_path / TRAIN_LABELS, tmp_path / TEST_LABELS)
    train, test = sides(tmp_path)
    assert sorted(record.idx for record in train + test) == list(range(40))
    assert 6 <= len(test) <= 14
    side = {record.idx: record in test for record in train + test}
    assert all(side[i] == side[i + 1] for i in range(0, 40, 2) if i // 2 % 4 < 3)
    # Stage 3 must see the groups, too: it resamples and folds by them.
    together = [record for record in train + test if record.idx // 2 % 4 < 3]
    assert all(record.group for record in together)
    assert len({record.group for record in together}) == len(together) // 2


def test_the_same_input_gives_the_same_bytes_and_another_seed_another_split(path: Path, tmp_path: Path) -> None:
    def split(seed: int) -> list[bytes]:
        return [file.read_bytes() for file in split_labels(path, tmp_path, 0.25, seed)]

    assert split(0) == split(0) != split(1)


def test_what_cannot_be_split_is_one_clear_error(path: Path, tmp_path: Path) -> None:
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="--test-fraction must be between 0 and 1"):
            split_labels(path, tmp_path, fraction, 0)
    save_records(tmp_path / "one.json", labels(1))
    with pytest.raises(DataError, match="holds 1 record"):
        split_labels(tmp_path / "one.json", tmp_path, 0.2, 0)
    save_records(tmp_path / "alike.json", [Record(i, "the same", model_scores={"a": 1}) for i in range(5)])
    with pytest.raises(DataError, match=r"form 1 group\(s\)"):
        split_labels(tmp_path / "alike.json", tmp_path, 0.2, 0)
    save_records(tmp_path / TRAIN_LABELS, labels())
    with pytest.raises(ConfigError, match="give the list itself"):
        split_labels(tmp_path / TRAIN_LABELS, tmp_path, 0.2, 0)
