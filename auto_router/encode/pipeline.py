"""Stage 2's stream: records of any number from a file into rows of a file, chunk by chunk, continuing where it stopped.

Rows in the making are a memory map of a temporary file, and a journal (SQLite) beside it: the job, the number of finished rows,
the rows that were skipped, and where each prompt and image list was first seen, so that repeats are copied and memory does not
grow with their number. A chunk's rows are on disk before the journal counts them, so a run that is killed at any moment
continues behind the last whole chunk.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import METADATA_NAME, Spec, differences
from auto_router.data.formats import records_sha256
from auto_router.data.records import Record, iter_records
from auto_router.encode.encoder import EmbeddingGenerator, distinct_items
from auto_router.errors import DataError, EncoderError
from auto_router.files import reserve_space, write_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (job TEXT NOT NULL, done INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS skipped (row INTEGER PRIMARY KEY, reason TEXT NOT NULL);
"""
CHUNK_RECORDS = 1024  # records that are encoded, written and journalled together
CHUNK_CHARACTERS = 64 * 2**20  # of prompts and images: what a chunk of large images may hold
ON_ERROR = ("fail", "skip")

Encoded = tuple[Array, Sequence[tuple[bytes, ...]], dict[int, str]]
"""Rows ``[n, D]``, what each can be found by later, and ``{i: reason}`` for those that were skipped."""


class ResumableFile:
    """The rows ``[N, D]`` of ``target`` until they are all there.

    Args:
        target: the ``.npy`` file; ``.NAME.part`` and ``.NAME.journal`` are kept beside it meanwhile.
        job: what the rows are made of, with ``encoder`` (a spec) among plain values. Work on another job is thrown away.
        shape: ``(N, D)``.

    Raises:
        DataError: another run is writing the same file, or its folder cannot be written.
    """

    def __init__(self, target: Path, job: dict[str, Any], shape: tuple[int, int]) -> None:
        self.target, self._shape = target, shape
        self._part, self._journal = (target.with_name(f".{target.name}{end}") for end in (".part", ".journal"))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._journal, timeout=1.0)
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} COMMIT;")
        except (OSError, sqlite3.DatabaseError) as error:
            raise DataError(
                f"{target} cannot be worked on ({error}): another run may be writing it; wait for that, or delete "
                f"{self._journal.name} where the file is damaged"
            ) from error
        self.done = self._continue(job)
        """Rows that are finished: the first so many."""

    def add(self, rows: Array, keys: Sequence[tuple[bytes, ...]], skipped: dict[int, str]) -> None:
        """Write the next rows and count them as done.

        Args:
            rows: ``[n, D]``.
            keys: what each row can be found by later; none for a row that is not to be copied.
            skipped: ``{i: reason}`` for those of the rows that hold no embedding.
        """
        mapped = np.lib.format.open_memmap(self._part, mode="r+")
        mapped[self.done : self.done + len(rows)] = rows
        mapped.flush()
        # The map is opened for one chunk at a time: pages of finished rows would count as this process's memory.
        del mapped
        places = [(key, self.done + i) for i, row_keys in enumerate(keys) for key in row_keys]
        reasons = [(self.done + i, reason) for i, reason in skipped.items()]
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", places)
            self._database.executemany("INSERT INTO skipped VALUES (?, ?)", reasons)
            self._database.execute("UPDATE job SET done = ?", (self.done + len(rows),))
        self.done += len(rows)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Array]:
        """Return the finished row ``[D]`` of every key that has one."""
        query = "SELECT row FROM seen WHERE key = ?"
        places = {key: found[0] for key in keys if (found := self._database.execute(query, (key,)).fetchone())}
        if not places:
            return {}
        mapped = np.lib.format.open_memmap(self._part, mode="r")
        return {key: np.array(mapped[place]) for key, place in places.items()}

    @property
    def skipped(self) -> dict[int, str]:
        """Rows without an embedding, with the reason."""
        return dict(self._database.execute("SELECT row, reason FROM skipped ORDER BY row"))

    def move_into_place(self) -> None:
        """Make the finished rows the target, and forget the journal."""
        os.replace(self._part, self.target)
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        self.close()
        # SQLite's own rollback file stays where a run was killed before it had written anything into it.
        for path in (self._part, self._journal, self._journal.with_name(f"{self._journal.name}-journal")):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        self._database.close()

    def _reserve(self) -> None:
        """Take the room on disk now: writing a map of a file with holes on a full disk would kill the process."""
        size = self._part.stat().st_size
        try:
            reserve_space(self._part, size)
        except OSError as error:
            self.discard()
            raise DataError(f"{self.target} needs {size:,} bytes of disk ({error.strerror}); make room") from error

    def _continue(self, job: dict[str, Any]) -> int:
        """Return how many rows of this very job are done; start anew where they are none or of another."""
        found = self._database.execute("SELECT job, done FROM job").fetchone()
        if found is not None and self._part.is_file() and _same(json.loads(found[0]), job):
            return int(found[1])
        with self._database:
            for table in ("job", "seen", "skipped"):
                self._database.execute(f"DELETE FROM {table}")
        np.lib.format.open_memmap(self._part, mode="w+", dtype=np.float32, shape=self._shape).flush()
        self._reserve()
        with self._database:
            self._database.execute("INSERT INTO job VALUES (?, 0)", (json.dumps(job),))
        return 0


def _same(found: dict[str, Any], job: dict[str, Any]) -> bool:
    plain = [{name: value for name, value in each.items() if name != "encoder"} for each in (found, job)]
    return plain[0] == plain[1] and not differences(found["encoder"], job["encoder"])


@dataclass(frozen=True, slots=True)
class RecordSource:
    """An evaluation file, or a folder or glob of shards, that was read through once: its digest, and how much there is."""

    path: Path
    sha256: str
    records: int
    images: int


def survey_records(path: Path, progress: Callable[[int], object] | None = None) -> RecordSource:
    """Validate every record of a file before anything is encoded. Raises DataError as :func:`iter_records`."""
    records = images = 0
    for record in iter_records(path):
        records += 1
        images += len(record.images)
        if progress is not None:
            progress(1)
    return RecordSource(path, records_sha256(path), records, images)


def begin(
    generator: EmbeddingGenerator, source: RecordSource, target: Path, chunk: int = CHUNK_RECORDS, engine: str = "local"
) -> ResumableFile:
    """Open the file that ``target`` is made in, with what an earlier run of the same job left.

    ``chunk`` and ``engine`` are part of the job: batches, and with them the last bits of a row, depend on them.
    """
    job = {"input": source.sha256, "chunk": chunk, "engine": engine, "encoder": generator.spec}
    return ResumableFile(target, job, (source.records, generator.dim))


def fill(
    generator: EmbeddingGenerator,
    source: RecordSource,
    file: ResumableFile,
    chunk: int = CHUNK_RECORDS,
    on_error: str = "fail",
    progress: Callable[[float], object] = lambda _: None,
) -> None:
    """Encode the records that ``file`` does not hold yet. It is not moved into place.

    Args:
        generator: the open encoder.
        source: what :func:`survey_records` returned.
        file: what :func:`begin` returned for both.
        chunk: as given there.
        on_error: ``fail`` stops at an image that cannot be read; ``skip`` leaves that row NaN and keeps the reason.
        progress: called with the number of records just finished, in part inside a chunk.

    Raises:
        DataError: an image cannot be read (``fail``), or the input changed meanwhile.
        EncoderError: the encoder failed. Finished chunks are kept.
    """
    store(source, file, on_error, _encode_chunks(generator, source, file, chunk, on_error == "skip", progress))


def store(source: RecordSource, file: ResumableFile, on_error: str, encoded: Iterable[Encoded]) -> None:
    """Put encoded records, which come in their order, into ``file``; keep what is done where encoding fails."""
    try:
        if on_error == "fail" and file.skipped:
            row, reason = next(iter(file.skipped.items()))
            raise DataError(f"row {row}, {reason} (skipped by an earlier run)")
        for rows, keys, skipped in encoded:
            file.add(rows, keys, skipped)
    except BaseException as error:
        kept = file.done
        file.close() if kept else file.discard()
        if isinstance(error, EncoderError) and kept:
            raise EncoderError(f"{error} ({kept:,} of {source.records:,} rows are kept: the same command continues)") from error
        if isinstance(error, DataError):
            raise DataError(f"{source.path}, {error}") from error
        raise
    if file.done != source.records:
        file.discard()
        raise DataError(f"{source.path} changed while it was encoded; run again")


def record_chunks(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Yield lists of at most ``size`` records, fewer where their images are large; the same for the same file."""
    held: list[Record] = []
    characters = 0
    for record in records:
        held.append(record)
        characters += len(record.prompt) + len(record.context) + sum(map(len, record.images))
        if len(held) == size or characters >= CHUNK_CHARACTERS:
            yield held
            held, characters = [], 0
    if held:
        yield held


def _encode_chunks(
    generator: EmbeddingGenerator,
    source: RecordSource,
    file: ResumableFile,
    chunk: int,
    skip: bool,
    progress: Callable[[float], object],
) -> Iterator[Encoded]:
    """Yield what :func:`store` takes, a chunk at a time."""
    for records in record_chunks(iter_records(source.path, file.done), chunk):
        steps = _Steps(records, progress)
        keys, skipped = [_keys(record) for record in records], dict[int, str]()
        rows = _encode(generator, records, keys, file, skipped if skip else None, steps)
        yield rows, [() if i in skipped else row_keys for i, row_keys in enumerate(keys)], skipped
        steps.finish()


def _encode(
    generator: EmbeddingGenerator,
    records: list[Record],
    keys: list[tuple[bytes, ...]],
    file: ResumableFile,
    skipped: dict[int, str] | None,
    steps: Callable[[int], object],
) -> Array:
    """Encode a chunk; halves that an earlier chunk holds are copied."""
    earlier = file.find(list({key for row_keys in keys for key in row_keys}))
    texts = ["" if key[0] in earlier else record.prompt for key, record in zip(keys, records, strict=True)]
    images = [() if set(key[1:]) & earlier.keys() else record.images for key, record in zip(keys, records, strict=True)]
    contexts = [record.context if text else "" for record, text in zip(records, texts, strict=True)]
    rows = generator.embed_batch(texts, images, steps, skipped, file.done, contexts)
    width = generator.text_dim
    for i, row_keys in enumerate(keys):
        if skipped and i in skipped:
            continue
        for half, key in zip((slice(0, width), slice(width, None)), row_keys, strict=False):
            if key in earlier:
                rows[i, half] = earlier[key][half]
    return np.ascontiguousarray(rows)


class _Steps:
    """Tells progress inside a chunk: items are encoded in order of size, so records finish in part."""

    def __init__(self, records: list[Record], progress: Callable[[float], object]) -> None:
        self._progress, self._left = progress, float(len(records))
        items = distinct_items([record.prompt for record in records], [record.images for record in records])
        # A multiple of a power of two: sums of it are exact, and a bar does not end a hair past its total.
        self._share = int(len(records) / max(items, 1) * 2**20) / 2**20

    def __call__(self, items: int) -> None:
        step = min(items * self._share, self._left)  # long prompts are more items than were counted
        self._left -= step
        self._progress(step)

    def finish(self) -> None:
        self._progress(self._left)


def _keys(record: Record) -> tuple[bytes, ...]:
    """Digests of the prompt with its context and, where there are any, of the list of images."""
    told = record.prompt + (f"\0{record.context}" if record.context else "")
    prompt = hashlib.sha256(b"text\0" + told.encode("utf-8", "surrogatepass")).digest()[:16]
    if not record.images:
        return (prompt,)
    images = hashlib.sha256(b"images")
    for image in record.images:
        images.update(b"\0" + image.encode("utf-8", "surrogatepass"))
    return prompt, images.digest()[:16]


def publish(folder: Path, encoder: Spec, parts: Mapping[str, tuple[RecordSource, ResumableFile]]) -> None:
    """Move finished files into place, and last the metadata that says they belong together.

    Args:
        folder: where ``hf_embeddings_metadata.json`` goes; the ``.npy`` files know their own places.
        encoder: the generator's spec.
        parts: ``train`` and ``test``: the input and the finished file of each.
    """
    text_dim, image_dim = encoder["text_dim"], encoder["image_dim"]
    metadata: dict[str, Any] = {
        "train_samples": parts["train"][0].records,
        "test_samples": parts["test"][0].records,
        "text_dim": text_dim,
        "image_dim": image_dim,
        "combined_dim": text_dim + image_dim,
        "embedding_dim": text_dim + image_dim,
        "embedding_structure": f"[text({text_dim}), image({image_dim})]; the image part is zeros without a picture",
        "encoder": encoder,
        "inputs": {part: {"file": source.path.name, "sha256": source.sha256} for part, (source, _) in parts.items()},
        "skipped": {part: {str(row): why for row, why in file.skipped.items()} for part, (_, file) in parts.items()},
    }
    (folder / METADATA_NAME).unlink(missing_ok=True)  # old metadata must not vouch for new rows
    for _, file in parts.values():
        file.move_into_place()
    write_json(folder / METADATA_NAME, metadata)
