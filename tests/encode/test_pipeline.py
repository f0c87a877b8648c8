"""Stage 2's stream: continues where it was killed, copies what it has, and holds no more for more records."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generate_embeddings
from auto_router.data.dataset import load_dataset
from auto_router.data.embeddings import Spec
from auto_router.data.records import load_records, parse_records
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import JoinedEncoder
from auto_router.encode.pipeline import RecordSource, ResumableFile, begin, fill, publish, record_chunks, survey_records
from auto_router.errors import DataError, EncoderError
from tests.checkout import ROOT
from tests.fakes import CountingEncoder
from tests.helpers import png

Rows = list[dict[str, Any]]


def image(number: int) -> str:
    return base64.b64encode(png((number % 256, 0, 0), (8 + number % 3, 8))).decode()


def some_rows(count: int) -> Rows:
    """Prompts of many lengths, every third a repeat, some with images."""
    return [
        {
            "idx": i,
            "prompt": f"Question {i - i % 3}: " + "why so long? " * (i * 7 % 23),
            "images": [image(i + k) for k in range(i % 3 if i % 5 == 0 else 0)],
            "model_scores": {"a": i % 2},
        }
        for i in range(count)
    ]


def write(path: Path, rows: Rows) -> RecordSource:
    path.write_text(json.dumps(rows))
    return survey_records(path)


def encode(encoder: CountingEncoder, source: RecordSource, target: Path, chunk: int, on_error: str = "fail") -> ResumableFile:
    generator = EmbeddingGenerator(encoder)
    file = begin(generator, source, target, chunk)
    fill(generator, source, file, chunk, on_error)
    return file


class Failing(CountingEncoder):
    """Answers so many batches of texts, then no more."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self._left = batches

    def embed_texts(self, texts: list[str]) -> Any:
        if self._left == 0:
            raise EncoderError("the server died")
        self._left -= 1
        return super().embed_texts(texts)


def test_the_rows_are_those_of_one_batch(tmp_path: Path) -> None:
    rows = some_rows(50)
    file = encode(CountingEncoder(), write(tmp_path / "a.json", rows), tmp_path / "a.npy", 7)
    file.move_into_place()
    whole = EmbeddingGenerator(CountingEncoder()).embed_batch([r["prompt"] for r in rows], [r["images"] for r in rows])
    assert np.load(tmp_path / "a.npy").tolist() == whole.tolist()
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.npy"]


def test_a_failed_run_continues_behind_its_last_chunk(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", some_rows(30))
    with pytest.raises(EncoderError, match=r"died \(10 of 30 rows are kept: the same command continues\)"):
        encode(Failing(6), source, tmp_path / "a.npy", 5)
    assert not (tmp_path / "a.npy").exists()
    again = CountingEncoder()
    encode(again, source, tmp_path / "a.npy", 5).move_into_place()
    encode(CountingEncoder(), source, tmp_path / "b.npy", 5).move_into_place()
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert not any("Question 0" in text or "Question 6" in text for batch in again.texts for text in batch)


@pytest.mark.parametrize("change", ["input", "chunk", "encoder"])
def test_work_on_another_job_is_thrown_away(tmp_path: Path, change: str) -> None:
    source = write(tmp_path / "a.json", some_rows(30))
    with pytest.raises(EncoderError):
        encode(Failing(6), source, tmp_path / "a.npy", 5)

    class Other(CountingEncoder):
        @property
        def spec(self) -> Spec:
            return {"backend": "other"}

    if change == "input":
        source = write(tmp_path / "a.json", some_rows(31)[1:])
    generator = EmbeddingGenerator(Other() if change == "encoder" else CountingEncoder())
    assert begin(generator, source, tmp_path / "a.npy", 6 if change == "chunk" else 5).done == 0


def test_repeats_of_earlier_chunks_are_copied(tmp_path: Path) -> None:
    images = [[], [image(1)], [image(1), image(2)]]
    rows: Rows = [{"prompt": f"x{i % 4}", "images": images[i % 3]} for i in range(48)]
    encoder = CountingEncoder()
    file = encode(encoder, write(tmp_path / "a.json", rows), tmp_path / "a.npy", 12)
    file.move_into_place()
    assert sorted(text for batch in encoder.texts for text in batch) == ["x0", "x1", "x2", "x3"]
    assert sum(map(len, encoder.images)) == 2
    assert (np.load(tmp_path / "a.npy").reshape(4, -1) == np.load(tmp_path / "a.npy").reshape(4, -1)[0]).all()


def test_skipped_rows_are_kept_in_place_reported_and_masked(tmp_path: Path) -> None:
    rows = some_rows(12)
    rows[3]["images"], rows[8]["images"] = [image(0), "aGVsbG8="], ["/etc/passwd"]
    source = write(tmp_path / "a.json", rows)

    class Decoding(CountingEncoder):
        def embed_images(self, images: list[bytes]) -> Any:
            if b"hello" in images:
                raise DataError("one of them cannot be decoded")
            return super().embed_images(images)

    with pytest.raises(DataError, match=r"a\.json, row 3, picture 1: picture of 5 bytes cannot be decoded"):
        encode(Decoding(), source, tmp_path / "a.npy", 2)
    parts = {part: (source, encode(Decoding(), source, tmp_path / f"{part}.npy", 5, "skip")) for part in ("train", "test")}
    skipped = parts["train"][1].skipped
    assert list(skipped) == [3, 8]
    assert "picture 1: picture of 5 bytes cannot be decoded" in skipped[3]
    assert "picture 0: picture '/etc/passwd' is not base64" in skipped[8]
    publish(tmp_path, EmbeddingGenerator(Decoding()).spec, parts)
    data = load_dataset(tmp_path / "train.npy", "train", source.path)
    assert data.file is not None
    assert (data.file.skipped, data.file.left_out) == (2, 0)
    assert data.prompts == [row["prompt"] for i, row in enumerate(rows) if i not in skipped]
    assert np.flatnonzero(np.isnan(np.load(tmp_path / "train.npy")).any(axis=1)).tolist() == [3, 8]
    good = [i for i in range(12) if i not in skipped]
    whole = EmbeddingGenerator(CountingEncoder()).embed_batch(
        [rows[i]["prompt"] for i in good], [rows[i]["images"] for i in good]
    )
    assert data.embeddings.tolist() == whole.tolist()
    assert [list(record.images) for record in data.file.read([9, 3, 2])] == [rows[good[row]]["images"] for row in (9, 3, 2)]


def test_a_skipping_run_that_is_continued_without_it_says_what_was_skipped(tmp_path: Path) -> None:
    rows = some_rows(12)
    rows[0]["images"] = ["/etc/passwd"]
    source = write(tmp_path / "a.json", rows)
    with pytest.raises(EncoderError):
        encode(Failing(2), source, tmp_path / "a.npy", 2, "skip")
    with pytest.raises(DataError, match=r"row 0, picture 0: .*\(skipped by an earlier run\)"):
        encode(CountingEncoder(), source, tmp_path / "a.npy", 2)


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", some_rows(3))
    held = begin(EmbeddingGenerator(CountingEncoder()), source, tmp_path / "a.npy")
    with pytest.raises(DataError, match="another run may be writing it"):
        begin(EmbeddingGenerator(CountingEncoder()), source, tmp_path / "a.npy")
    held.close()


def test_a_full_disk_is_told_before_anything_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"needs [\d,]+ bytes of disk \(No space left on device\); make room"):
        begin(EmbeddingGenerator(CountingEncoder()), write(tmp_path / "a.json", some_rows(3)), tmp_path / "a.npy")
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_input_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", some_rows(9))
    write(tmp_path / "a.json", some_rows(8))
    with pytest.raises(DataError, match="changed while it was encoded"):
        encode(CountingEncoder(), source, tmp_path / "a.npy", 4)


def test_chunks_of_large_images_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auto_router.encode.pipeline.CHUNK_CHARACTERS", 100)
    records = parse_records([{"prompt": "x", "images": ["A" * size]} for size in (10, 99, 200, 1, 1, 1)])
    assert [len(chunk) for chunk in record_chunks(records, 2)] == [2, 1, 2, 1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_is_killed_anywhere_continues_to_the_same_bytes(tmp_path: Path) -> None:
    """kill -9 at 10 random moments, from the first import to the last chunk, on the real command and encoder."""
    write(tmp_path / "train.json", some_rows(200))
    write(tmp_path / "test.json", some_rows(20))
    files = ["--train-json", str(tmp_path / "train.json"), "--test-json", str(tmp_path / "test.json"), "--chunk", "8"]
    command = [sys.executable, "generate_embeddings.py", *files, "--output-dir"]

    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    needed = time.monotonic() - start
    rng, done = random.Random(5), list[int]()
    journal = tmp_path / "killed" / ".hf_train_embeddings.npy.journal"
    attempt = 0
    while attempt < 10 or len({rows for rows in done if rows}) < 3:  # the test's own time limit ends this
        process = subprocess.Popen([*command, str(tmp_path / "killed")], cwd=ROOT, stderr=subprocess.DEVNULL, text=True)
        if attempt % 3:  # every third anywhere, imports and validation included; the others while rows are written
            while not journal.exists() and process.poll() is None:
                time.sleep(0.01)
        time.sleep(rng.uniform(0, needed / (8 if attempt % 3 else 2)))
        ended, before = process.poll() is not None, done[-1:]
        process.send_signal(signal.SIGKILL)
        process.wait()
        if journal.exists():
            with sqlite3.connect(journal) as database:
                try:
                    found = database.execute("SELECT done FROM job").fetchone()
                except sqlite3.OperationalError:  # killed before the first table
                    found = None
            done.append(found[0] if found else 0)
        # The machine may be slower now, or faster, than it was for the whole run.
        needed *= 0.5 if ended else 1.3 if done[-1:] == before else 1.0
        attempt += 1
    finished = subprocess.run([*command, str(tmp_path / "killed")], cwd=ROOT, check=True, capture_output=True, text=True)
    assert len({rows for rows in done if rows}) >= 3, done
    assert re.search(r"hf_train_embeddings.npy +200", finished.stdout)
    for name in sorted(os.listdir(tmp_path / "whole")):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert sorted(os.listdir(tmp_path / "killed")) == sorted(os.listdir(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".json", ".jsonl.gz", ".parquet"])
def test_memory_does_not_grow_with_the_records(tmp_path: Path, suffix: str) -> None:
    peaks = []
    for count in (5_000, 50_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        command = [sys.executable, "-m", "tests.stage2_memory", str(folder), suffix, str(count)]
        subprocess.run([*command, "write"], cwd=ROOT, check=True)
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        peaks.append(float(done.stdout.split("peak MiB ")[1]))
        (folder / "hf_train_embeddings.npy").unlink()
    # Of a process that has loaded the local encoder (about 200 MiB), 10 % is 20 MiB.
    assert peaks[1] - peaks[0] < 20, peaks


def test_the_public_function_and_the_stream_agree(tmp_path: Path) -> None:
    rows = some_rows(10)
    write(tmp_path / "a.json", rows)
    generator = EmbeddingGenerator(CountingEncoder())
    whole = generate_embeddings.generate_embeddings_for_dataset(generator, load_records(tmp_path / "a.json"))
    file = encode(CountingEncoder(), survey_records(tmp_path / "a.json"), tmp_path / "a.npy", 3)
    file.move_into_place()
    assert np.load(tmp_path / "a.npy").tolist() == whole.tolist()


def test_the_encoder_is_told_in_a_few_words() -> None:
    generator = EmbeddingGenerator(CountingEncoder())
    assert generate_embeddings.describe_encoder(generator) == "counting (text 2, image 3)"
    joined = EmbeddingGenerator(JoinedEncoder(generator, generator))
    assert generate_embeddings.describe_encoder(joined) == "counting (text 2) + counting (image 3)"
