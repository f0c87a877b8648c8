"""The loop closed: a decision's id, its outcome told to any worker, the row that is trained on, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from auto_router.artifacts import Artifact, save_artifact
from auto_router.data.request import Request
from auto_router.decide.policy import RouterSettings
from auto_router.decide.rule import Decision
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.errors import ConfigError, DataError, EncoderError
from auto_router.route.feedback import encoder_digest, load_feedback
from auto_router.serve import decision_log, live
from auto_router.serve.decision_log import DecisionLog, make_id
from auto_router.serve.exploration import Explorer
from auto_router.serve.feedback import MAX_CHANGES, FeedbackLoop, RefusedError
from auto_router.serve.monitoring import Metrics
from auto_router.serve.service import DecisionService, ServedDecision
from tests.fakes import NAMES, LetterEncoder, network

SECRET = "x the password is swordfish"
NO_OUTCOMES: tuple[Any, ...] = (-0.01, 1.01, 2, "1", None, [1], {}, 10**400)


class Broken(LetterEncoder):
    def embed_texts(self, texts: list[str]) -> Any:
        raise EncoderError("away")


def open_service(folder: Path, **settings: Any) -> DecisionService:
    path = folder / "nn_router.pth"
    if not path.exists():
        save_artifact(path, Artifact(network(3), tuple(NAMES), EmbeddingGenerator(LetterEncoder()).spec))
    service = DecisionService(RouterSettings(str(path), **settings), Metrics(CollectorRegistry()))
    service.open()
    return service


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "open_encoder", lambda *given, **more: EmbeddingGenerator(LetterEncoder()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "feedback.jsonl"


@pytest.fixture
def service(tmp_path: Path, file: Path) -> Iterator[DecisionService]:
    found = open_service(tmp_path, feedback_file=str(file))
    yield found
    found.close()


def decide(service: DecisionService, text: str = SECRET, **more: Any) -> ServedDecision:
    return asyncio.run(service.decide(Request(text, **more)))


def tell(service: DecisionService, body: Any) -> tuple[int, dict[str, Any]]:
    return asyncio.run(service.answer_feedback(body if isinstance(body, bytes) else json.dumps(body).encode()))


def rows(file: Path) -> Any:
    return load_feedback(file, NAMES, EmbeddingGenerator(LetterEncoder()).spec, 3)


def results(service: DecisionService) -> dict[str, float]:
    (family,) = service.metrics.feedback.collect()
    return {s.labels["result"]: s.value for s in family.samples if s.name.endswith("_total")}


def test_an_outcome_becomes_a_row_to_train_on_without_the_prompt(service: DecisionService, file: Path) -> None:
    served = decide(service)
    assert served.to_dict()["id"] == served.id
    status, said = tell(service, {"id": served.id, "outcome": 0.25})
    assert (status, said) == (200, {"id": served.id, "model": "big", "outcome": 0.25, "learned": True})
    found = rows(file)
    assert found.labels[0].tolist()[0] == 0.25
    assert np.isnan(found.labels[0][1:]).all()
    assert found.features[0].tolist() == served.decision.features.tolist()  # type: ignore[union-attr]
    for kept in file.parent.iterdir():
        assert b"swordfish" not in kept.read_bytes()


def test_a_file_that_was_edited_is_read_whole_or_its_damage_is_told(service: DecisionService, file: Path) -> None:
    assert tell(service, {"id": decide(service).id, "outcome": 0.25})[0] == 200
    row = json.loads(file.read_text())

    def read(*changed: dict[str, Any], end: str = "") -> Any:
        file.write_text("".join(json.dumps(row | change) + "\n" for change in changed) + end)
        return rows(file)

    assert len(read({}, end=json.dumps(row | {"id": "b"})).labels) == 2, "the last line, which an editor left without an end"
    assert len(read({}, end=json.dumps(row)[:40]).labels) == 1, "torn"
    packed = [base64.b64encode(np.array([odd, 0, 0], "<f4").tobytes()).decode() for odd in (np.nan, np.inf)]
    damaged: list[dict[str, Any]] = [
        {"outcome": "0.5"},
        {"outcome": 1.5},
        {"model": None},
        {"model": ["big"]},
        *({"features": one} for one in packed),
    ]
    for change in damaged:
        with pytest.raises(DataError, match="line 2 is damaged"):
            read({}, change, {})
        with pytest.raises(DataError, match="line 2 is damaged"):
            read({}, end=json.dumps(row | change))
    with pytest.raises(DataError, match="line 1 is damaged"):
        read(end="[" * 100_000 + "\n")


def test_another_worker_and_a_later_process_know_the_id(service: DecisionService, tmp_path: Path, file: Path) -> None:
    first, second = decide(service).id, decide(service, "a").id
    other = open_service(tmp_path, feedback_file=str(file))
    assert tell(other, {"id": first, "outcome": 1})[0] == 200
    service.close()
    assert tell(other, {"id": second, "outcome": 1})[0] == 200
    other.close()
    later = open_service(tmp_path, feedback_file=str(file))
    assert tell(later, {"id": first, "outcome": 0})[0] == 200
    later.close()
    assert sorted(np.nansum(rows(file).labels, axis=1).tolist()) == [0.0, 1.0]


def test_the_last_outcome_holds_and_changes_are_limited(service: DecisionService, file: Path) -> None:
    id = decide(service).id
    for outcome in (1, 1, 1.0, True):
        assert tell(service, {"id": id, "outcome": outcome})[0] == 200
    assert len(file.read_text().splitlines()) == 1, "the same outcome again is no second row"
    for turn in range(1, MAX_CHANGES):
        assert tell(service, {"id": id, "outcome": (turn + 1) % 2})[0] == 200
    assert tell(service, {"id": id, "outcome": 0.5})[0] == 409
    assert len(file.read_text().splitlines()) == MAX_CHANGES
    assert np.nansum(rows(file).labels) == MAX_CHANGES % 2
    assert len(rows(file).labels) == 1
    assert results(service) == {"kept": 1, "repeated": 3, "corrected": MAX_CHANGES - 1, "conflict": 1}


def test_who_answered_gets_the_outcome(service: DecisionService, file: Path) -> None:
    ids = [decide(service).id for _ in range(3)]
    asyncio.run(service.note_answer(ids[0], "", "small"))
    assert tell(service, {"id": ids[0], "outcome": 1})[1]["model"] == "small"
    assert tell(service, {"id": ids[1], "outcome": 1, "model": "mid"})[1]["model"] == "mid"
    status, said = tell(service, {"id": ids[2], "outcome": 1, "model": "gpt-9"})
    assert status == 400
    assert "big, mid, small" in said["error"]["message"]
    assert np.nansum(rows(file).labels, axis=0).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b"[" * 100_000, b"null", b"[]", b'{"id": "ID", "outcome": NaN}', b'{"id": "ID", "outcome": 1e999}',
        {}, {"id": "ID"}, {"outcome": 1}, {"id": 7, "outcome": 1}, {"id": None, "outcome": 1},
        *({"id": "ID", "outcome": wrong} for wrong in NO_OUTCOMES),
        {"id": "ID", "outcome": 1, "comment": "good"}, {"id": "ID", "outcome": 1, "model": 5},
        {"id": "ID", "outcome": 1, "model": "gpt-9"},
    ],
)  # fmt: skip
def test_what_is_no_outcome_is_refused_and_changes_nothing(service: DecisionService, file: Path, body: Any) -> None:
    raw = (body if isinstance(body, bytes) else json.dumps(body).encode()).replace(b"ID", decide(service).id.encode())
    status, said = tell(service, raw)
    assert status == 400
    assert said["error"]["message"]
    assert file.read_bytes() == b""
    assert results(service) == {"invalid": 1}


@given(st.one_of(st.text(), st.from_regex(r"dec_[0-9A-Za-z_-]{24}", fullmatch=True)))
def test_ids_that_nobody_was_given_are_unknown(id: str) -> None:
    loop = _shared_loop()
    with pytest.raises(RefusedError, match="is known") as refused:
        loop.take({"id": id, "outcome": 1})
    assert refused.value.status == 404


_LOOPS: list[FeedbackLoop] = []


def _shared_loop() -> FeedbackLoop:
    if not _LOOPS:
        import tempfile

        folder = tempfile.mkdtemp(prefix="auto-router-test-")
        _LOOPS.append(FeedbackLoop(f"{folder}/f.jsonl", 60.0, Metrics(CollectorRegistry())))
    return _LOOPS[0]


def test_ids_differ_and_old_decisions_are_forgotten(
    service: DecisionService, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len({make_id() for _ in range(1000)}) == 1000
    id, now = decide(service).id, time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86_400)
    assert tell(service, {"id": id, "outcome": 1})[0] == 404
    assert file.read_bytes() == b""


def test_the_log_is_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_log, "DROP_EVERY", 10)
    log = DecisionLog(file, 60.0, max_decisions=20)
    decision = Decision("big", {"big": 0.5, "mid": 0.25}, ("big",), "unfamiliar", ("big", "mid"), None, 1.5, session="new")
    ids = [make_id() for _ in range(101)]
    assert all(log.add(id, decision, "e") for id in ids)
    with sqlite3.connect(log.path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM decisions").fetchone()
    assert count <= 30
    assert log.find(ids[0]) is None
    found = log.find(ids[-1])
    assert found is not None
    assert found.restore() == decision
    log.close()


def test_a_fallback_has_an_id_and_nothing_to_learn_from(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = open_service(tmp_path, feedback_file=str(file), fallback_model="mid")
    assert service.live.router is not None
    monkeypatch.setattr(service.live.router.cache, "rows", Broken().embed_texts)
    service.live.suspect("away")
    served = decide(service)
    assert (served.decision.model, served.decision.reason) == ("mid", "encoder_failed")
    assert tell(service, {"id": served.id, "outcome": 1}) == (
        200, {"id": served.id, "model": "mid", "outcome": 1.0, "learned": False},
    )  # fmt: skip
    assert file.read_bytes() == b""
    assert asyncio.run(service.answer_explanation(served.id))[0] == 409
    service.close()


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    service = open_service(tmp_path)
    served = decide(service)
    status, said = tell(service, {"id": served.id, "outcome": 1})
    assert status == 501
    assert "AUTO_ROUTER_FEEDBACK_FILE" in said["error"]["message"]
    assert asyncio.run(service.answer_explanation(served.id))[0] == 501
    service.close()
    assert [path.name for path in tmp_path.iterdir()] == ["nn_router.pth"]


def test_a_file_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        open_service(tmp_path, feedback_file=str(tmp_path / "taken" / "f.jsonl"))


def test_a_log_that_fails_later_costs_no_decision(service: DecisionService, file: Path) -> None:
    id = decide(service).id
    service.feedback.close()
    for path in file.parent.glob("*.decisions*"):
        path.unlink()
    file.with_name(file.name + ".decisions").write_bytes(b"no database " * 100)
    assert decide(service).decision.model == "big"
    assert tell(service, {"id": id, "outcome": 1})[0] == 503
    assert results(service) == {"not_kept": 1, "failed": 1}


def test_a_decision_is_explained_by_its_id(service: DecisionService, tmp_path: Path) -> None:
    served = decide(service)
    tell(service, {"id": served.id, "outcome": 0.5})
    status, said = asyncio.run(service.answer_explanation(served.id))
    assert status == 200
    assert (said["id"], said["outcome"], said["answered_by"], said["model"]) == (served.id, 0.5, "big", "big")
    assert service.live.router is not None
    assert said["flips"] == service.live.router.explain(served.decision).to_dict()["flips"]
    json.dumps(said, allow_nan=False)
    assert asyncio.run(service.answer_explanation("dec_" + "A" * 24))[0] == 404
    renamed = Artifact(network(3), ("one", "two", "three"), EmbeddingGenerator(LetterEncoder()).spec)
    save_artifact(tmp_path / "nn_router.pth", renamed)
    service.live._reload()
    status, said = asyncio.run(service.answer_explanation(served.id))
    assert status == 409
    assert "not in service" in said["error"]["message"]


def test_drift_is_told_as_json_and_as_measures(service: DecisionService) -> None:
    assert asyncio.run(service.answer_drift())[1]["probability"]["big"] is None, "there were no decisions"
    decide(service)
    status, said = asyncio.run(service.answer_drift())
    assert (status, said["decisions"], said["chosen"]) == (200, 1, {"big": 1.0})
    text = service.metrics.exposition().decode()
    assert "auto_router_drift_alarms 0.0" in text
    found = service.metrics.registry.get_sample_value("auto_router_mean_probability", {"model": "big"})
    assert found == pytest.approx(said["probability"]["big"])


def test_settings_refuse_what_is_no_time() -> None:
    with pytest.raises(ConfigError, match="feedback_seconds"):
        replace(RouterSettings(), feedback_seconds=0)
    with pytest.raises(ConfigError, match="router_path must be the path of an artifact, got None"):
        replace(RouterSettings(), router_path=None)  # type: ignore[arg-type]


def test_a_share_of_the_decisions_asks_another_model(tmp_path: Path, file: Path) -> None:
    service = open_service(tmp_path, feedback_file=str(file), explore_share=0.5, session_policy="sticky")
    served = [decide(service, session=f"s{turn}") for turn in range(40)]
    explored = [one.decision for one in served if one.decision.reason == "explore"]
    assert 5 <= len(explored) <= 35
    assert {made.model for made in explored} == {"mid", "small"}, "the chosen one is big"
    assert all(made.ranking[0] == made.model and sorted(made.ranking) == sorted(NAMES) for made in explored)
    for turn, one in enumerate(served[:5]):
        follow_up = decide(service, SECRET + "?", session=f"s{turn}")
        assert (follow_up.decision.model, follow_up.decision.session) == (one.decision.model, "kept")
    assert tell(service, {"id": served[0].id, "outcome": 1})[1]["model"] == served[0].decision.model
    service.close()
    with pytest.raises(ConfigError, match="set feedback_file"):
        RouterSettings(explore_share=0.1)


def test_exploring_asks_the_model_that_turns_out_better_than_predicted(tmp_path: Path, file: Path) -> None:
    """And the others too, now and then."""
    service = open_service(tmp_path, feedback_file=str(file), explore_share=0.5, session_policy="none")
    service._explorer.refresh_seconds = 0.0
    asked: Counter[str] = Counter()
    while asked.total() < 60:
        served = decide(service)
        if served.decision.reason != "explore":
            continue
        asked[served.decision.model] += 1
        assert tell(service, {"id": served.id, "outcome": float(served.decision.model == "small")})[0] == 200
    assert asked["small"] > 2 * asked["mid"] > 0
    other = DecisionLog(file, 60)
    assert other.count_outcomes() == 60
    encoder = encoder_digest(EmbeddingGenerator(LetterEncoder()).spec)
    last = other.last_outcomes(encoder, 5)
    assert Counter(name for name, _, _ in last) == {"small": 5, "mid": min(5, asked["mid"])}
    assert other.last_outcomes("another encoder", 5) == []
    other.close()
    service.close()


def test_a_model_of_which_nobody_tells_outcomes_is_not_explored_for_ever(service: DecisionService) -> None:
    explorer = Explorer(service.feedback.decisions)
    asked = Counter(explorer.choose(["mid", "small"]) for _ in range(40))
    assert asked == {"mid": 20, "small": 20}


def test_a_log_that_cannot_be_read_does_not_keep_from_exploring(
    service: DecisionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(service.feedback.decisions, "count_outcomes", fail)
    explorer = Explorer(service.feedback.decisions)
    explorer.refresh(NAMES, "", 3, lambda rows: rows, None)
    assert {explorer.choose(["mid", "small"]) for _ in range(40)} == {"mid", "small"}


def test_exploring_reads_no_file_and_passes_over_rows_of_another_head(service: DecisionService, file: Path) -> None:
    encoder = encoder_digest(EmbeddingGenerator(LetterEncoder()).spec)
    explorer = Explorer(service.feedback.decisions, refresh_seconds=0.0)
    for turn, width in enumerate([3, 5, 3]):
        row = np.ones(width, dtype=np.float32)
        made = Decision("mid", dict.fromkeys(NAMES, 0.5), (), "explore", tuple(NAMES), features=row)
        id = make_id()
        service.feedback.add(id, made, encoder)
        service.feedback.take({"id": id, "outcome": 1})
        looked: list[int] = []

        def predict(rows: Any, looked: list[int] = looked) -> Any:
            looked.append(len(rows))
            return np.full((len(rows), len(NAMES)), 0.5)

        explorer.refresh(NAMES, encoder, 3, predict, None)
        assert looked == [1 if turn < 2 else 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer, "decisions", object())  # whoever asks it fails
        asked = Counter(explorer.choose(["mid", "small"]) for _ in range(40))
    assert asked["mid"] > asked["small"] > 0, "twice, its answers were better than predicted"


def test_a_log_that_another_program_locks_costs_one_wait_and_decisions_go_on(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_log, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(decision_log, "PAUSE_SECONDS", 3600.0)
    kept, made = DecisionLog(file, 60), Decision("mid", {"mid": 0.5}, (), "x", ("mid",))
    earlier = make_id()
    kept.add(earlier, made, "")
    with closing(sqlite3.connect(kept.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not kept.add(make_id(), made, "")
    assert not kept.add(make_id(), made, ""), "nobody waits again so soon"
    kept.note_answer(earlier, "small")
    monkeypatch.setattr(kept, "_busy_until", 0.0)
    assert kept.add(make_id(), made, "")
    found = kept.find(earlier)
    assert found is not None
    assert found.answered == "small", "who answered is noted all the same"
    kept.close()
