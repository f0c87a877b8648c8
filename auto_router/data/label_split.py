"""One list of labelled records -> a training and a test file: groups and near-duplicates stay on one side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from auto_router.data.json_files import json_list
from auto_router.data.records import Record, iter_records
from auto_router.data.splits import connect, digest_text, question_keys, split_by_group
from auto_router.errors import ConfigError, DataError

TRAIN_LABELS, TEST_LABELS = "hf_labels_train.json", "hf_labels_test.json"

TEST_FRACTION = 0.2  # where no other was given


def choose_fraction(given: float | None, labels: Path | None) -> float:
    """Return the part of the groups to test on. Raises ConfigError where one is given, and no list to split."""
    if given is not None and labels is None:
        raise ConfigError("--test-fraction splits the list of --labels; two files given one by one are split already")
    return TEST_FRACTION if given is None else given


def split_labels(path: Path, folder: Path, fraction: float, seed: int) -> tuple[Path, Path]:
    """Write the records of ``path`` to a training and a test file in ``folder``; return where. The same input, the same bytes.

    ``fraction`` of the groups, in each source alike, become the test. Rows of one ``group`` share a group, and so do rows that
    ask the same question: the same normalised text without images, or a shared image.

    Raises:
        ConfigError: the fraction is not between 0 and 1, or the folder cannot be made.
        DataError: the file is no evaluation file, or its rows form fewer than two groups.
    """
    if not 0.0 < fraction < 1.0:
        raise ConfigError(f"--test-fraction must be between 0 and 1, got {fraction}")
    targets = folder / TRAIN_LABELS, folder / TEST_LABELS
    if path.resolve() in [target.resolve() for target in targets]:
        raise ConfigError(f"--labels {path} is one of the files that a list is split into; give the list itself")
    slim = [record.slim() for record in iter_records(path)]
    if len(slim) < 2:
        raise DataError(f"{path} holds {len(slim)} record(s); at least 2 are needed, 1,000 or more are advised")
    groups = connect([_keys(record) for record in slim])
    strata = np.unique([record.source or "" for record in slim], return_inverse=True)[1]
    is_test = np.zeros(len(slim), dtype=bool)
    is_test[split_by_group(groups, fraction, seed, strata)[1]] = True
    sizes = np.bincount(groups)
    first = {group: row for row, group in reversed(list(enumerate(groups.tolist())))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output folder {folder} cannot be made ({error.strerror}); choose another one") from error
    with json_list(targets[0]) as train, json_list(targets[1]) as test:
        for row, (record, group) in enumerate(zip(iter_records(path), groups.tolist(), strict=True)):
            if sizes[group] > 1:
                record = replace(record, group=slim[first[group]].group or f"row {first[group]}")
            (test if is_test[row] else train)(record.to_json())
    print(f"split {path}: {int((~is_test).sum())} records to train on, {int(is_test.sum())} to test on, in {len(sizes)} groups "
          f"(seed {seed})")  # fmt: skip
    return targets


def _keys(record: Record) -> set[str]:
    own = set() if record.group is None else {f"group {record.group}"}
    return own | question_keys(record.whole, map(digest_text, record.images))
