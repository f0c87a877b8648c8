"""Stages 1 and 2 and the search on a local Ray cluster of two workers; run with ``make test-ray``."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.cluster import unordered
from auto_router.collect import ray_engine
from auto_router.data.formats import parquet_shards
from auto_router.data.records import Record, save_records
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.pipeline import Source, begin, fill, survey
from auto_router.encode.resumable import UnfinishedFile
from auto_router.errors import DataError, EncoderError
from tests.data.test_formats import MODELS, record
from tests.learn.test_search import same, search
from tests.ray_encoder import Opened, dies_once
from tests.stage1 import ChatServer, Reply, completion, flags, raw, stage1, write_pool, write_rows

ray = pytest.importorskip("ray", reason="needs Ray, in an environment of its own: make test-ray")

from auto_router.encode.ray_backend import fill_on_ray, parts  # noqa: E402

SECRET = "sk-nobody-else-knows"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    # Workers import tests.ray_encoder; the key is theirs alone.
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1]), "KEY_OF_WORKERS": SECRET}}
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


def written(folder: Path, count: int, suffix: str) -> Source:
    if suffix:
        save_records(folder / f"train{suffix}", map(record, range(count)))
    else:
        with parquet_shards(folder / "train", MODELS) as append:
            for i in range(count):
                append(record(i).to_json())
    return survey(folder / f"train{suffix}")


def on_ray(opened: Callable[[], EmbeddingGenerator], source: Source, target: Path, chunk: int, **more: Any) -> UnfinishedFile:
    generator = opened()
    file = begin(generator, source, target, chunk, "ray")
    fill_on_ray(opened, source, file, generator.spec, chunk, workers=2, **more)
    return file


def alone(folder: Path, source: Source) -> Any:
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
    source = survey(tmp_path / "train.json")
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
    assert sorted(unordered(ray, dies_once, calls, workers=2)) == [0, 2, 4, 6, 8]
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


def said(body: dict[str, Any]) -> Reply:
    """Every model says something of its own about every question; the judge agrees with every other answer."""
    content = body["messages"][-1]["content"]
    if body["model"] == "judge":
        document = json.loads(content)
        return completion(json.dumps({"id": document["id"], "why": "", "correct": int(document["id"], 16) % 2 == 0}))
    return completion(f"{body['model']} is in two minds about {content!r}")


def asked_from(monkeypatch: pytest.MonkeyPatch, log: Path) -> Callable[[], list[int]]:
    """Have workers log what they send; return what reads their process ids, one a call."""

    class Logged(ray_engine.Asker):
        async def send(self, calls: list[ray_engine.Call]) -> None:
            with log.open("a") as file:
                file.writelines(f"{os.getpid()}\n" for _ in calls)
            await super().send(calls)

    monkeypatch.setattr(ray_engine, "Asker", Logged)
    return lambda: [int(line) for line in log.read_text().splitlines()] if log.exists() else []


def files(folder: Path, count: int, chat: ChatServer, judge: dict[str, Any] | None = None, **limits: dict[str, Any]) -> None:
    """A data set and a pool of the models that ``limits`` names, with a judge."""
    write_rows(folder / "rows.jsonl", [{"prompt": f"Which one is {i}?", "answer": f"the other of {i}"} for i in range(count)])
    models = [{"name": name, "base_url": chat.url} | more for name, more in limits.items()]
    write_pool(folder / "pool.yaml", models, {"name": "judge", "base_url": chat.url} | (judge or {}))


def run_stage1(folder: Path, out: str, *more: str, workers: int = 0) -> list[bytes]:
    """Run the stage, on so many workers or in this process; return what it wrote."""
    engine = ["--engine", "ray", "--ray-workers", str(workers)] if workers else []
    assert stage1(*flags(folder), "--output-dir", folder / out, "--quiet", *more, *engine) == 0
    return [(folder / out / f"hf_evaluations_{part}.json").read_bytes() for part in ("train", "test")]


def test_stage1_on_workers_writes_what_one_process_writes_and_each_continues_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    senders = asked_from(monkeypatch, tmp_path / "log")
    with ChatServer(said) as chat:
        files(tmp_path, 40, chat, one={}, two={"concurrency": 3})
        expected = run_stage1(tmp_path, "alone")
        once = chat.asked
        assert once == {"one": 40, "two": 40, "judge": 80}
        assert run_stage1(tmp_path, "ray", workers=2) == expected
        assert len(set(senders())) == 2, "both asked"
        assert chat.asked == {name: 2 * count for name, count in once.items()}
        before = len(chat.bodies)
        assert run_stage1(tmp_path, "ray") == expected
        assert run_stage1(tmp_path, "alone", workers=1) == expected
        assert len(chat.bodies) == before, "a finished journal is asked nothing, whoever wrote it"
        run_stage1(tmp_path, "part", "--num-samples", "15")
        run_stage1(tmp_path, "part", "--num-samples", "30", workers=1)
        assert run_stage1(tmp_path, "part", workers=2) == expected
        assert len(chat.bodies) - before == sum(once.values()), "nothing is asked twice"


def test_two_workers_share_one_limit_of_each_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    senders = asked_from(monkeypatch, tmp_path / "log")
    lock, out, most, times = threading.Lock(), 0, 0, list[float]()

    def counted(body: dict[str, Any]) -> Reply:
        nonlocal out, most
        if body["model"] == "judge":
            times.append(time.monotonic())
        if body["model"] == "slots":
            with lock:
                out += 1
                most = max(most, out)
            time.sleep(0.02)
            with lock:
                out -= 1
        return said(body)

    with ChatServer(counted) as chat:
        files(tmp_path, 30, chat, {"requests_per_minute": 600}, slots={"concurrency": 3}, free={})
        run_stage1(tmp_path, "out", workers=2)
    assert len(set(senders())) == 2
    assert most == 3
    # 60 verdicts, one every 0.1 s, take 5.9 s; of a limit for each worker they would take half.
    assert len(times) == 60
    assert times[-1] - times[0] > 0.75 * 5.9


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_of_stage1_costs_what_it_had_on_the_wire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    senders = asked_from(monkeypatch, tmp_path / "log")

    def slowly(body: dict[str, Any]) -> Reply:
        time.sleep(0.05)
        return said(body)

    def kill() -> None:
        while len(sent := senders()) < 120:
            time.sleep(0.01)
        os.kill(sent[-1], signal.SIGKILL)

    with ChatServer(said) as chat:
        files(tmp_path, 80, chat, one={}, two={})
        expected = run_stage1(tmp_path, "alone")
        chat.script = slowly
        chat.bodies.clear()
        thread = threading.Thread(target=kill)
        thread.start()
        assert run_stage1(tmp_path, "ray", workers=workers) == expected
        thread.join()
        assert 0 < len(chat.bodies) - 320 <= 3 * 8, "at most what was on the wire is asked again"
        assert len(set(senders())) >= 2, "the other went on, or another was started"
        asked = len(chat.bodies)
        assert run_stage1(tmp_path, "ray") == expected
        assert len(chat.bodies) == asked


def test_an_endpoint_that_asks_for_rest_is_left_alone_by_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    senders = asked_from(monkeypatch, tmp_path / "log")
    refused: list[float] = []
    back: list[float] = []

    def busy(body: dict[str, Any]) -> Reply:
        now = time.monotonic()
        if back or len(chat.bodies) < 30:
            return said(body)
        if refused and now - refused[-1] > 2:
            back.append(now)
            return said(body)
        refused.append(now)
        return raw({"error": {"message": "slow down"}}, 429, Retry_After="6")

    with ChatServer(busy) as chat:
        files(tmp_path, 60, chat, one={})
        run_stage1(tmp_path, "out", "--match-only", workers=2)
    assert len(set(senders())) == 2
    assert 8 <= len(refused) <= 8 + 8, "eight in a row, and what was on the wire by then"
    assert back[0] - refused[-1] > 4


def test_keys_are_the_workers_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(said) as chat:
        files(tmp_path, 4, chat, one={"api_key_env": "KEY_OF_WORKERS"})
        assert "KEY_OF_WORKERS" not in os.environ
        run_stage1(tmp_path, "out", "--match-only", workers=2)
        assert set(chat.keys) == {f"Bearer {SECRET}"}
        files(tmp_path, 4, chat, one={"api_key_env": "KEY_OF_NOBODY"})
        assert stage1(*flags(tmp_path), "--match-only", "--engine", "ray") == 2
    printed = capsys.readouterr()
    assert "model one: environment variable KEY_OF_NOBODY is not set" in printed.err
    kept = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert SECRET.encode() not in kept + (printed.out + printed.err).encode()
