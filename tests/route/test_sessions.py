"""Conversations through the library: messages in, a model that stays, and stores that are bounded, expire and may be away."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.artifacts import Artifact, TrainingSummary, save_artifact
from auto_router.data.pool import ModelFacts
from auto_router.data.records import load_records, parse_records
from auto_router.data.request import Request, read_request
from auto_router.decide.rule import UNFAMILIAR
from auto_router.decide.session import Session, SessionRule
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.errors import ConfigError, DataError
from auto_router.learn.novelty import fit_novelty
from auto_router.route.router import ModelRouter
from auto_router.route.sessions import PASSWORD, Conversations, MemorySessions, RedisSessions
from generate_embeddings import generate_embeddings_for_dataset
from tests.data.request_kinds import KINDS
from tests.fakes import BLACK, NAMES, LetterEncoder, network, say
from tests.serve.request_cases import CASES, RequestCase
from tests.servers import free_port
from tests.stage1 import ChatServer, completion, flags, stage1, write_pool, write_rows

FACTS = {
    "big": ModelFacts(modalities=("text", "image"), capabilities=("tools", "image", "pdf")),
    "mid": ModelFacts(modalities=("text",), context_window=2_000_000, capabilities=("audio", "json_schema", "reasoning")),
    "small": ModelFacts(modalities=("text",), context_window=1000, capabilities=()),
}


def opened(folder: Path, **options: Any) -> ModelRouter:
    """A router that takes ``mid`` for texts on ``a`` (.9, big .8), else ``big`` (.9, mid .8); small is always .6."""
    generator = EmbeddingGenerator(LetterEncoder())
    if not (folder / "nn_router.pth").exists():
        save_artifact(folder / "nn_router.pth", Artifact(network(3), NAMES, generator.spec, FACTS))
    return ModelRouter(folder / "nn_router.pth", encoder=generator, device="cpu", **options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_request_needs_decides_who_may_take_it(tmp_path: Path, case: RequestCase) -> None:
    made = opened(tmp_path).decide(**case.body)
    able = [name for name in NAMES if not FACTS[name].count_missing(case.needs)]
    if able:
        assert made.model in able
        assert set(made.ranking) <= set(able)
    else:
        assert made.reason == "no_model_fits"
    if case.tokens > 1000:
        assert "small" not in made.ranking


def test_requests_of_every_kind_are_decided(tmp_path: Path) -> None:
    router = opened(tmp_path)
    for case in KINDS:
        made = router.decide(request=read_request(case.body, case.headers))
        able = [name for name in NAMES if not FACTS[name].count_missing(case.needs)]
        assert made.model in able or (not able and made.reason == "no_model_fits"), case.name
        assert case.tokens < 1000 or "small" not in made.ranking or not able, case.name


@pytest.mark.parametrize("is_column", [True, False])
def test_documents_are_the_same_input_in_training_and_in_serving(tmp_path: Path, is_column: bool) -> None:
    """Stage 1 to Stage 2 on the one side; messages, text and a batch of texts on the other."""
    asked = [f"<documents>\nPears: {n}.\nApples: {n + 1}.\n</documents>\n\napples or pears, row {n}?" for n in range(6)]
    split = [{"question": text.partition("\n\n")[2], "contexts": text.splitlines()[1:3]} for text in asked]
    rows = [{**(split[n] if is_column else {"question": asked[n]}), "answer": "apples"} for n in range(6)]
    write_rows(tmp_path / "rows.jsonl", rows)
    with ChatServer(lambda body: completion("apples")) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": name, "base_url": server.url} for name in "ab"])
        assert stage1(*flags(tmp_path)) == 0
    assert {body["messages"][-1]["content"] for body in server.bodies} == set(asked), "models are asked the whole"
    records = load_records(tmp_path / "out" / "hf_evaluations_train.json")
    embedded = generate_embeddings_for_dataset(EmbeddingGenerator(LetterEncoder()), records)
    router, sent = opened(tmp_path), [asked[record.idx] for record in records]
    assert [record.prompt for record in records] == [text.partition("\n\n")[2] for text in sent]
    assert 0.5 < embedded[0, 0] < 1.0, "the question counts for most"
    assert 0.0 < embedded[0, 1] < 0.5, "the documents for less"
    served = [
        [router.decide(messages=[say("user", text)]).features for text in sent],
        [router.decide(text).features for text in sent],
        [made.features for made in router.decide_batch(sent)],
    ]
    for rows_of in served:
        assert np.array_equal(np.array(rows_of), embedded)
    plain = parse_records([{"prompt": text, "model_scores": {"a": 1}} for text in sent])
    assert [(record.prompt, record.context) for record in plain] == [(record.prompt, record.context) for record in records]
    assert "Apples" in records[0].context


def test_pasted_data_that_is_all_there_is_is_the_prompt(tmp_path: Path) -> None:
    for text in ("<test_results>\n2 failed\n</test_results>", "<documents>\nPears: 4.\n</documents>"):
        assert read_request({"messages": [say("user", text)]}).text == text
        assert parse_records([{"prompt": text, "model_scores": {"a": 1}}])[0].prompt == text
    long = "<documents>\n" + "pears " * 3000 + "</documents>\n\napples?"
    assert "small" not in opened(tmp_path).decide(long).ranking, "documents take room, wherever they are put"


def test_what_goes_on_with_an_unfamiliar_subject_is_as_unfamiliar() -> None:
    found = Conversations(MemorySessions(10, 60.0), SessionRule(NAMES, FACTS), 2)
    subject, other = np.array([1.0, 0.0], dtype=np.float32), np.array([0.0, 1.0], dtype=np.float32)
    long = "Please write a function that parses dates in three formats"

    def ask(text: str, row: Any, reason: str) -> bool:
        (key,), (turn,) = found.find_turns([Request(text, session="s")], row[None], [reason])
        assert turn is not None
        found.store.save({key: replace(turn.now, model="mid")})
        return turn.now.is_unfamiliar

    assert ask(long, subject, UNFAMILIAR)
    assert ask(f"{long}, too", subject, "best_value"), "the subject is the same"
    assert ask("ok, push it", subject + other, "best_value"), "it leans on what was said"
    assert not ask(f"{long}, too", subject - other, "best_value"), "another one, and familiar"
    assert not ask("thanks!", subject - other, "best_value")


def test_what_a_provider_keeps_stays_with_it(tmp_path: Path) -> None:
    router = opened(tmp_path, session_policy="none")
    assert router.decide(input="apples?", conversation="conv_1").model == "mid"
    kept = router.decide(input="bananas?", conversation={"id": "conv_1"})
    assert (kept.model, kept.session, kept.ranking) == ("mid", "pinned", ("mid",))
    output = {"type": "function_call_output", "call_id": "c", "output": "42"}
    assert router.decide(input=[output], conversation="conv_1").model == "mid", "though it takes no tools"
    assert router.decide(input="bananas?", conversation="conv_2").model == "big"


def test_messages_and_what_belongs_to_them_are_taken_as_they_are(tmp_path: Path) -> None:
    router = opened(tmp_path)
    made = router.decide(messages=[say("user", "apples?")], tools=[{"name": "f"}])
    assert (made.model, made.session) == ("big", "new"), "mid has no tools"
    assert router.decide(messages=[say("user", "apples?")]).model == "mid"
    assert router.decide(messages=[say("user", "apples?")], models=["small"]).model == "small"
    assert router.decide(request=read_request({"input": "apples?"})).model == "mid"
    assert router.decide(messages=[say("user", "apples?")], images=[BLACK]).model == "big"
    url = [{"type": "text", "text": "apples?"}, {"type": "image_url", "image_url": {"url": "https://127.0.0.1:1/a.png"}}]
    assert router.decide(messages=[say("user", url)]).model == "big", "not fetched, and only big takes images"  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give one of"):
        router.decide("x", messages=[say("user", "x")])
    with pytest.raises(DataError, match="no user message"):
        router.decide(messages=[say("system", "x")])


def test_a_conversation_keeps_its_model(tmp_path: Path) -> None:
    router = opened(tmp_path, session_policy="sticky")
    assert router.decide("apples?", session="s").model == "mid"
    kept = router.decide("bananas?", session="s")
    assert (kept.model, kept.session, kept.reason, kept.ranking[0]) == ("mid", "kept", "session", "mid")
    assert router.decide("bananas?").model == router.decide("bananas?", session="t").model == "big"
    turns = [say("user", "apples?")]
    assert router.decide(messages=turns).session == "new"
    turns += [say("assistant", "Apples are red."), say("user", "bananas?")]
    assert (made := router.decide(messages=turns)).model == "mid", made
    assert opened(tmp_path).decide(messages=turns).model == "big", "another router knows nothing of it"
    assert "session" in made.to_dict()


@pytest.mark.parametrize("conversations", [0, 30])
def test_a_router_of_single_prompts_knows_less_of_a_long_conversation(tmp_path: Path, conversations: int) -> None:
    rng, encoder = np.random.default_rng(0), EmbeddingGenerator(LetterEncoder())
    rows = np.concatenate([encoder.embed_batch(["apples?"] * 20), rng.normal(size=(80, encoder.dim)).astype(np.float32)])
    novelty, _ = fit_novelty(rows, np.zeros((100, 3)), np.arange(100), list(range(100)))
    training = replace(TrainingSummary(), conversations=conversations)
    artifact = Artifact(network(3), NAMES, encoder.spec, FACTS, novelty=replace(novelty, languages=()), training=training)
    save_artifact(tmp_path / "nn_router.pth", artifact)
    router = opened(tmp_path)
    asked = say("user", "bananas?")
    short = router.decide(messages=[say("user", "cherries?"), say("assistant", "No."), asked]).novelty
    long = router.decide(messages=[say("user", "cherries?"), say("assistant", "No, none at all. " * 20_000), asked]).novelty
    assert short is not None
    assert long is not None
    assert short > 0.01
    assert long == pytest.approx(short) if conversations else long > 1.3 * short


def test_decisions_of_a_tool_loop_are_those_of_its_request(tmp_path: Path) -> None:
    router = opened(tmp_path)
    turns: list[dict[str, Any]] = [say("user", "apples: count them")]
    tools = [{"type": "function", "function": {"name": "count"}}]
    models = []
    for step in range(8):
        models.append(router.decide(messages=turns, tools=tools).model)
        call = {"id": str(step), "type": "function", "function": {"name": "count", "arguments": "{}"}}
        turns = [*turns, {"role": "assistant", "content": None, "tool_calls": [call]}]
        turns = [*turns, {"role": "tool", "tool_call_id": str(step), "content": f"bananas {step}"}]
    assert set(models) == {"big"}


def test_a_response_is_continued_by_the_model_that_made_it(tmp_path: Path) -> None:
    router = opened(tmp_path, session_policy="none")
    router.note_response("resp_1", "small")
    for given in ("apples?", [{"type": "function_call_output", "call_id": "c", "output": "42"}]):
        made = router.decide(input=given, previous_response_id="resp_1")
        assert (made.model, made.session, made.ranking) == ("small", "pinned", ("small",)), "nobody else can go on with it"
    assert router.decide(input="apples?", previous_response_id="resp_2").session == "unknown_maker"


def test_routers_that_share_a_store_share_conversations(tmp_path: Path) -> None:
    store = MemorySessions(10, 60.0)
    assert len(store) == 0
    one, other = (opened(tmp_path, session_policy="sticky", sessions=store) for _ in range(2))
    assert one.decide("apples?", session="s").model == "mid"
    one.close()
    assert other.decide("bananas?", session="s").model == "mid", "as after a reload of the artifact"


def test_a_session_goes_on_with_who_answered(tmp_path: Path) -> None:
    router = opened(tmp_path, session_policy="sticky")
    request = read_request({"text": "apples?", "session": "s"})
    assert router.decide(request=request).model == "mid"
    router.note_model(request, "small")
    assert router.session_model(request) == "small"
    assert router.decide("apples?", session="s").model == "small"


def test_one_hard_row_does_not_spoil_a_batch(tmp_path: Path) -> None:
    router = opened(tmp_path)
    made = router.decide_batch(["apples?", "b " * 3_000_000, "bananas?"], [None, [BLACK] * 3, None])
    assert [one.model for one in made] == ["mid", "big", "big"]
    narrow = router.decide_batch(["apples?", "word " * 5_000], models=["small"])
    assert [(one.model, one.reason) for one in narrow] == [("small", "most_likely_qualified"), ("small", "too_long")]


def test_what_is_held_in_memory_is_bounded_and_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySessions(3, 10.0)
    for name in "abcd":
        store.save({name: Session(name)})
        store.find(["a"])
    assert set(store.find("abcd")) == {"a", "c", "d"}, "the least recently used goes first"
    assert len(store) == 3
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 11)
    assert store.find("abcd") == {}
    store.save({"e": Session("e")})
    assert len(store) == 1


class RedisServer:
    """A real redis-server on loopback, which may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        import redis

        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while True:
            try:
                redis.Redis.from_url(self.url).ping()
            except redis.ConnectionError:
                assert time.monotonic() < until, "redis-server did not start"
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    pytest.importorskip("redis", reason="the extra redis is not installed: pip install 'auto-router[redis]'")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def test_workers_share_conversations_and_go_on_without_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    one, other = (opened(tmp_path, session_policy="sticky", session_store=redis_server.url) for _ in range(2))
    assert one.decide("apples?", session="s").model == "mid"
    assert (made := other.decide("bananas?", session="s")).model == "mid", made
    redis_server.stop()
    away = other.decide("bananas?", session="s")
    assert (away.model, away.session) == ("big", "store_down")
    start = time.monotonic()
    assert all(other.decide("bananas?", session="s").session == "store_down" for _ in range(50))
    assert time.monotonic() - start < 30, "it is left alone for a while, not asked at every decision"
    redis_server.start()
    until = time.monotonic() + 60
    while other.decide("apples?", session="t").session == "store_down":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert one.decide("bananas?", session="t").model == "mid"


def test_what_others_wrote_into_redis_is_passed_over(redis_server: RedisServer) -> None:
    import redis

    store = RedisSessions(redis_server.url, 60)
    store.save({"k": Session("m", "r", 1.0, b"\x01")})
    assert store.find(["k", "none"]) == {"k": Session("m", "r", 1.0, b"\x01")}
    plain = redis.Redis.from_url(redis_server.url)
    assert 0 < plain.ttl("k") <= 60
    for value in (b"\xff", b"{}", b"[1,2,3,4,5]"):
        plain.set("k", value)
        assert store.find(["k"]) == {}


def test_a_password_never_stands_in_a_url() -> None:
    pytest.importorskip("redis", reason="the extra redis is not installed: pip install 'auto-router[redis]'")
    with pytest.raises(ConfigError, match=PASSWORD) as refused:
        RedisSessions("redis://:swordfish@127.0.0.1/0", 60)
    assert "swordfish" not in str(refused.value)
    with pytest.raises(ConfigError, match="scheme 'http'"):
        RedisSessions("http://127.0.0.1/0", 60)


@pytest.mark.parametrize("setting", [{"session_policy": "always"}, {"session_seconds": 0}, {"image_hosts": "a.example"}])
def test_impossible_settings_are_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        opened(tmp_path, **setting)
