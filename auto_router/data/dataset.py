"""What Stages 3 and 4 pass on: labelled rows (:class:`Dataset`) and what a router says of rows (:class:`Prediction`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from auto_router.arrays import Array, Bools, Floats, Ints
from auto_router.data.embeddings import Spec, read_embeddings
from auto_router.data.formats import records_sha256
from auto_router.data.json_files import json_list
from auto_router.data.pool import ModelFacts
from auto_router.data.prompt_features import append_prompt_features
from auto_router.data.records import Record, answer_costs, group_ids, iter_records, label_matrix, latency_matrix, model_names
from auto_router.data.splits import check_fraction, check_split, connect, digest_text, question_keys, split_by_group
from auto_router.errors import ConfigError, DataError
from auto_router.files import release

MAX_VALUE = 1e6  # encoders give values of about 1; squares of what is far beyond overflow in float32
HELD = 4096  # rows that are read before their pages are released; the system maps up to 15 more around each


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a router says of ``N`` rows, over ``M`` models."""

    probabilities: Floats
    """``[N, M]``: calibrated P(correct)."""
    novelty: Floats | None = None
    """``[N]``: how far each row is from all of training; above 1 it is unlike everything seen. None: not measured."""
    expected_costs: Floats | None = None
    """``[N, M]``: what each answer is expected to cost, in the unit of the recorded costs; None: not known."""

    @property
    def novel(self) -> Bools | None:
        """``[N]``: the rows that are unlike all of training; None where none is, or where novelty was not measured."""
        return None if self.novelty is None or not (self.novelty > 1).any() else np.asarray(self.novelty > 1)

    def take(self, rows: Ints | Sequence[int]) -> Prediction:
        """Return some of the rows."""
        parts = (self.probabilities, self.novelty, self.expected_costs)
        return Prediction(self.probabilities[rows], *(None if part is None else part[rows] for part in parts[1:]))


@dataclass(frozen=True, slots=True)
class RecordFile:
    """The evaluation file that rows came from."""

    path: Path
    sha256: str
    places: Ints
    """``[N]``: which record of the file each row belongs to."""
    skipped: int = 0
    """Records of the file that Stage 2 skipped: they have no row."""
    left_out: int = 0
    """Records of the file that were not drawn."""

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Return the whole records of these rows, with images and references; reads the file once more.

        Raises:
            DataError: the file is another one by now.
        """
        if records_sha256(self.path) != self.sha256:
            raise DataError(f"evaluation file {self.path} changed while it was used; make the report again")
        wanted = self.places[list(rows)].tolist()
        places = set(wanted)
        found = {place: record for place, record in enumerate(iter_records(self.path)) if place in places}
        return [found[place] for place in wanted]


@dataclass(frozen=True, slots=True)
class Dataset:
    """``N`` labelled rows over the ``M`` models ``names``."""

    records: Sequence[Record]
    """Slim ones: without images and references."""
    features: Array
    """``[N, D]``: what a network takes, the embedding first. A memory map of the file where nothing stands behind that."""
    labels: Array
    """``[N, M]``: 0…1, NaN = unknown."""
    groups: Ints
    """``[N]``: rows of one group are not independent."""
    costs: Floats | None
    """``[N, M]``: USD of each answer, NaN = unknown; None where nothing is known of any."""
    names: tuple[str, ...]
    encoder: Spec
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)
    file: RecordFile | None = None
    latencies: Floats | None = None
    """``[N, M]``: seconds that each answer took, NaN = unknown; None where nothing is known of any."""

    def __len__(self) -> int:
        return len(self.records)

    @property
    def embeddings(self) -> Array:
        """``[N, D_t + D_i]``: the features without those of the prompt."""
        return self.features[:, : self.encoder["text_dim"] + self.encoder["image_dim"]]

    @property
    def prompt_dim(self) -> int:
        """How many features of the prompt stand behind its embedding."""
        return int(self.features.shape[1] - self.embeddings.shape[1])

    @property
    def prompts(self) -> list[str]:
        return [record.prompt for record in self.records]

    @property
    def image_counts(self) -> list[int]:
        return [len(record.images) for record in self.records]

    def without_prompt_features(self) -> Dataset:
        """Return the same rows, their features being the embeddings alone."""
        return replace(self, features=self.embeddings)

    def take(self, rows: Ints) -> Dataset:
        """Return some of the rows, copied."""
        file = None if self.file is None else replace(self.file, places=self.file.places[rows])
        costs, latencies = (None if table is None else table[rows] for table in (self.costs, self.latencies))
        records = [self.records[row] for row in rows.tolist()]
        return replace(
            self, records=records, features=copy_rows(self.features, rows), labels=self.labels[rows],
            groups=self.groups[rows], costs=costs, latencies=latencies, file=file,
        )  # fmt: skip

    def extend(self, records: Sequence[Record], features: Array, labels: Array) -> Dataset:
        """Return these rows with others behind them, whose costs and latencies are unknown and which no file holds."""
        whole = [*self.records, *records]
        unknown = np.full((len(records), len(self.names)), np.nan)
        costs, latencies = (
            None if table is None else np.concatenate([table, unknown]) for table in (self.costs, self.latencies)
        )
        return replace(
            self, records=whole, features=np.concatenate([self.features, features]), groups=group_ids(whole),
            labels=np.concatenate([self.labels, labels]), file=None, costs=costs, latencies=latencies,
        )  # fmt: skip


def load_dataset(
    npy: str | Path,
    part: str,
    json_path: str | Path,
    names: Sequence[str] | None = None,
    facts: Mapping[str, ModelFacts] | None = None,
    with_prompt_features: bool = True,
    max_rows: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read records and their embeddings, and check that these were made from those.

    Args:
        npy: the ``.npy`` file; its metadata lies beside it.
        part: ``train`` or ``test``.
        json_path: the evaluation file, or the folder or glob of shards, that the rows must belong to.
        names: of the models; None: every model that occurs in the records.
        facts: what the pool says of models.
        with_prompt_features: put the features of each prompt behind its embedding.
        max_rows: of more rows, ``seed`` draws so many; None: all.

    Raises:
        DataError: a file is missing or damaged, or the rows do not belong to the records.
    """
    npy, json_path = Path(npy), Path(json_path)
    records = [record.slim() for record in iter_records(json_path)]
    file = read_embeddings(npy, part)
    if len(file.rows) != len(records) or file.json_sha256 != records_sha256(json_path):
        raise DataError(
            f"embeddings {npy} {list(file.rows.shape)} were not made from {json_path} ({len(records)} records): run "
            "generate_embeddings.py again on this file; with --labels, both stages need the same --test-fraction and --seed"
        )
    kept = np.array([row not in file.skipped for row in range(len(records))], dtype=bool)
    bad = np.flatnonzero(kept & ~finite_rows(file.rows))
    if len(bad):
        raise DataError(
            f"embeddings {npy} hold NaN or infinite values in row {bad[0]} ({len(bad)} rows), or some beyond ±{MAX_VALUE:g}; "
            "make them again"
        )
    places, names = np.flatnonzero(kept), tuple(model_names(records) if names is None else names)
    count = len(places)
    if max_rows is not None and count > max_rows:
        places = places[draw_rows(count, max_rows, np.random.default_rng(seed))]
    used = [records[place] for place in places.tolist()]
    rows = file.rows if len(places) == len(records) else copy_rows(file.rows, places)
    rows = rows.astype(np.float32, copy=False)
    source = RecordFile(json_path, file.json_sha256, places, len(records) - count, count - len(places))
    return Dataset(
        used, append_prompt_features(rows, [record.prompt for record in used]) if with_prompt_features else rows,
        label_matrix(used, names), group_ids(used), answer_costs(used, names, facts or {}), names, file.encoder,
        dict(facts or {}), source, latency_matrix(used, names),
    )  # fmt: skip


def draw_rows(count: int, max_rows: int, rng: np.random.Generator) -> Ints:
    """Return the numbers, in order, of the rows that stand for all ``count``: at most ``max_rows``, drawn at random."""
    return np.sort(rng.permutation(count)[:max_rows])


def copy_rows(table: Array, rows: Ints) -> Array:
    """Return a copy of some rows of a table that may be a memory map; its pages do not stay."""
    found = np.empty((len(rows), table.shape[1]), dtype=table.dtype)
    for start in range(0, len(rows), HELD):
        found[start : start + HELD] = table[rows[start : start + HELD]]
        release(table)
    return found


def finite_rows(rows: Array) -> Bools:
    """Return ``[N]``: whether every value of a row is a finite number that can be squared and summed, too."""
    found = np.empty(len(rows), dtype=bool)
    for start in range(0, len(rows), HELD):
        held = rows[start : start + HELD].astype(np.float32, copy=False)  # in half precision the limit itself is infinite
        found[start : start + HELD] = (np.abs(held) <= MAX_VALUE).all(axis=1)
        release(rows)
    return found


TRAIN_LABELS, TEST_LABELS = "hf_labels_train.json", "hf_labels_test.json"
TEST_FRACTION = 0.2  # where no other was given


def choose_fraction(given: float | None, labels: Path | None) -> float:
    """Return the part of the groups to test on. Raises ConfigError where it is impossible, or there is no list to split."""
    if given is not None and labels is None:
        raise ConfigError("--test-fraction splits the list of --labels; two files given one by one are split already")
    fraction = TEST_FRACTION if given is None else given
    check_fraction(fraction)
    return fraction


def split_labels(path: Path, folder: Path, fraction: float, seed: int) -> tuple[Path, Path]:
    """Write the records of ``path`` to a training and a test file in ``folder``; return where. The same input, the same bytes.

    ``fraction`` of the groups, in each source alike, become the test. Rows of one ``group`` share a group, and so do rows that
    ask the same question: the same normalised text without images, or a shared image.

    Raises:
        ConfigError: the fraction or the seed is impossible, or the folder cannot be made.
        DataError: the file is no evaluation file, or its rows form fewer than two groups.
    """
    check_split(fraction, seed)
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
