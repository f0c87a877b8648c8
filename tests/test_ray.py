"""Stage 2 and the search on a local Ray cluster of two workers; run with ``make test-ray``."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.cluster import map_unordered
from auto_router.data.formats import parquet_shards
from auto_router.data.records import Record, save_records
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.pipeline import RecordSource, ResumableFile, begin, fill, survey_records
from auto_router.errors import DataError, EncoderError
from tests.fakes import RECORD_MODELS, make_record, same, search
from tests.ray_encoder import Opened, dies_once

ray = pytest.importorskip("ray", reason="needs Ray, in an environment of its own: make test-ray")

from auto_router.encode.ray_backend import fill_on_ray, parts  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}}  # workers import tests.ray_encoder
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


def written(folder: Path, count: int, suffix: str) -> RecordSource:
    if suffix:
        save_records(folder / f"train{suffix}", map(make_record, range(count)))
    else:
        with parquet_shards(folder / "train", RECORD_MODELS) as append:
            for i in range(count):
                append(make_record(i).to_json())
    return survey_records(folder / f"train{suffix}")


def on_ray(
    opened: Callable[[], EmbeddingGenerator], source: RecordSource, target: Path, chunk: int, **more: Any
) -> ResumableFile:
    generator = opened()
    file = begin(generator, source, target, chunk, "ray")
    fill_on_ray(opened, source, file, generator.spec, chunk, workers=2, **more)
    return file


def alone(folder: Path, source: RecordSource) -> Any:
    generator = Opened(folder / "alone.log")()
    file = begin(generator, source, folder / "alone.npy", 32)
    fill(generator, source, file, 32)
    file.move_into_place()
    return np.load(folder / "alone.npy")


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_two_workers_give_the_rows_of_one_process(tmp_path: Path, suffix: str) -> None:
    counted: list[float] = []
    source = written(tmp_path, 400, suffix)
    on_ray(Opened(tmp_path / "log"), source, tmp_path / "a.npy", 32, progress=counted.append).move_into_place()
    assert np.abs(np.load(tmp_path / "a.npy") - alone(tmp_path, source)).max() < 1e-5
    assert len({line.split()[0] for line in (tmp_path / "log").open()} - {str(os.getpid())}) == 2, "both encoded"
    assert sum(counted) == 400


def test_a_killed_worker_costs_its_part_only(tmp_path: Path) -> None:
    source, log = written(tmp_path, 400, ""), tmp_path / "log"
    killed: list[int] = []

    def kill() -> None:
        while len(lines := log.read_text().splitlines() if log.exists() else []) < 100:
            time.sleep(0.01)
        killed.append(int(lines[-1].split()[0]))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    on_ray(Opened(log), source, tmp_path / "a.npy", 16).move_into_place()
    thread.join()
    assert np.abs(np.load(tmp_path / "a.npy") - alone(tmp_path, source)).max() < 1e-5
    texts = [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
    assert len(set(texts)) == 400
    assert len(texts) - 400 <= 2 * 2 * 16, "what the killed worker had been given is encoded again, and nothing else"
    assert len({line.split()[0] for line in log.open()}) == 3


def test_records_that_kill_every_worker_end_the_run_and_keep_the_rest(tmp_path: Path) -> None:
    source = written(tmp_path, 200, "")
    with pytest.raises(EncoderError, match=r"died 4 times over the same records .*rows are kept: the same command continues"):
        on_ray(Opened(tmp_path / "log", die="prompt 150 "), source, tmp_path / "a.npy", 16)
    again = tmp_path / "again"
    on_ray(Opened(again), source, tmp_path / "a.npy", 16).move_into_place()
    assert np.abs(np.load(tmp_path / "a.npy") - alone(tmp_path, source)).max() < 1e-5
    assert len(again.read_text().splitlines()) < 200


def test_errors_come_back_as_they_are_in_one_process(tmp_path: Path) -> None:
    rows = [Record(i, f"prompt {i}", images=("/etc/passwd",) if i == 70 else ()) for i in range(100)]
    save_records(tmp_path / "train.json", rows)
    source = survey_records(tmp_path / "train.json")
    with pytest.raises(DataError, match=r"train\.json, row 70, picture 0"):
        on_ray(Opened(tmp_path / "log"), source, tmp_path / "a.npy", 16)
    file = on_ray(Opened(tmp_path / "log"), source, tmp_path / "a.npy", 16, on_error="skip")
    assert list(file.skipped) == [70]
    file.move_into_place()
    assert np.flatnonzero(np.isnan(np.load(tmp_path / "a.npy")).any(axis=1)).tolist() == [70]


def test_the_search_finds_the_same_trial(tmp_path: Path) -> None:
    assert same(search(tmp_path / "1.jsonl", jobs=2, engine="ray"), search(tmp_path / "2.jsonl", jobs=1))


def test_a_worker_of_the_search_that_dies_is_replaced(tmp_path: Path) -> None:
    calls = [(tmp_path / "marker", number) for number in range(5)]
    assert sorted(map_unordered(ray, dies_once, calls, workers=2)) == [0, 2, 4, 6, 8]
    assert (tmp_path / "marker").exists()


def test_parts_cover_the_records_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auto_router.data.formats.SHARD_ROWS", 40)
    monkeypatch.setattr("auto_router.data.formats.GROUP_ROWS", 10)
    source = written(tmp_path, 100, "")
    found = list(parts(source.path, 45, 16))
    assert [count for _, count in found] == [16, 16, 3, 16, 4]
    assert [(part[0].name[6:11], part[1:]) for part, _ in found if isinstance(part, tuple)] == [
        ("00001", (5, 21)), ("00001", (21, 37)), ("00001", (37, 40)), ("00002", (0, 16)), ("00002", (16, 20)),
    ]  # fmt: skip
