"""The shadow mode: what a second model is asked, what the judge's verdicts become, what it may cost, and that nobody waits."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import yaml
from openai.types.chat import ChatCompletion
from prometheus_client import CollectorRegistry

from auto_router.artifacts import Artifact, save_artifact
from auto_router.data.request import Request
from auto_router.decide.policy import RouterSettings
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.errors import ConfigError
from auto_router.route.feedback import load_feedback
from auto_router.serve import live, shadow
from auto_router.serve.decision_log import DecisionLog
from auto_router.serve.monitoring import Metrics
from auto_router.serve.service import DecisionService
from auto_router.serve.shadow import Shadow, read_event
from tests.fakes import NAMES, LetterEncoder, network, say

SECRET = "x the password is swordfish"
PRICED = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 10.0, "max_output_tokens": 100}


def completion(text: str | None, finish: str = "stop", usage: tuple[int, int] | None = (10, 10), **more: Any) -> Any:
    message = {"role": "assistant", "content": text, **more}
    counts = None if usage is None else dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
    return ChatCompletion.model_validate(
        {
            "id": "x", "created": 1, "model": "x", "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": None if counts is None else counts | {"total_tokens": sum(usage or ())},
        }
    )  # fmt: skip


class Models:
    """Answers ``second``; as judge, prefers by ``prefer``: the text of the better answer, or a verdict in itself."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.prefer, self.second = "good", completion("good answer")
        self.error: Exception | None = None

    async def __call__(self, **request: Any) -> Any:
        self.asked.append(request)
        if request["model"] != "openai/judge":
            if self.error is not None:
                raise self.error
            return self.second
        document = json.loads(request["messages"][-1]["content"])
        better = [place for place in ("first", "second") if self.prefer in document[place]]
        said = self.prefer if self.prefer in ("first", "tie", "nonsense") else better[0]
        return completion(json.dumps({"id": document["id"], "why": "", "better": said}))

    def names(self) -> list[str]:
        return [request["model"] for request in self.asked]


class Bench:
    """A service that keeps feedback, with its shadow over :class:`Models`."""

    def __init__(self, folder: Path, models: dict[str, dict[str, Any]], share: float = 1.0, usd: float = 1.0) -> None:
        entries = [{"name": name, "base_url": "http://127.0.0.1:1/v1", **facts} for name, facts in models.items()]
        judge = {"name": "judge", "base_url": "http://127.0.0.1:1/v1", "max_tokens": 50} | PRICED
        pool, path = folder / "pool.yaml", folder / "nn_router.pth"
        pool.write_text(yaml.safe_dump({"models": entries, "judge": judge}))
        save_artifact(path, Artifact(network(3), tuple(NAMES), EmbeddingGenerator(LetterEncoder()).spec))
        self.file, self.models = folder / "feedback.jsonl", Models()
        settings = RouterSettings(
            str(path), feedback_file=str(self.file), shadow_share=share, shadow_usd_per_day=usd, shadow_pool=str(pool)
        )
        self.service = DecisionService(settings, Metrics(CollectorRegistry()))
        self.service.open()
        self.shadow = Shadow(settings, self.service.feedback, self.service.metrics, self.models)

    def serve(self, reply: Any = None, messages: Any = None, body: Any = None, times: int = 1, **event: Any) -> None:
        """Decide, answer as ``big``, and let the shadow do its work."""

        async def run() -> None:
            for _ in range(times):
                served = await self.service.decide(Request(SECRET))
                told = {"id": served.id, "eligible": list(served.decision.ranking)}
                params = {"metadata": {"model_group": "big"}, "proxy_server_request": {"body": body or {}}}
                given = {"call_type": "acompletion", "litellm_params": params, "messages": messages or [say("user", SECRET)]}
                self.shadow.offer(told, given | event, reply or completion("bad answer"))
            until = time.monotonic() + 20
            while self.unfinished() and time.monotonic() < until:
                await asyncio.sleep(0.005)
            await self.shadow.close()

        asyncio.run(run())

    def unfinished(self) -> bool:
        done = self.counts()
        ended = sum(done.get(name, 0) for name in ("judged", "unknown", "skipped", "over_budget", "dropped"))
        return ended < self.offered

    offered = 1

    def counts(self) -> dict[str, float]:
        (family,) = self.service.metrics.shadow.collect()
        return {sample.labels["result"]: sample.value for sample in family.samples if sample.name.endswith("_total")}

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    @property
    def spent(self) -> float:
        with sqlite3.connect(self.file.with_name(self.file.name + ".decisions")) as connection:
            return float(connection.execute("SELECT COALESCE(SUM(usd), 0) FROM shadow_spending").fetchone()[0])


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "open_encoder", lambda *given, **more: EmbeddingGenerator(LetterEncoder()))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path, {"big": PRICED, "mid": PRICED})
    yield found
    found.service.close()


@pytest.mark.parametrize(
    ("prefer", "outcomes"),
    [
        ("good", {"big": 0, "mid": 1}), ("bad", {"big": 1, "mid": 0}), ("tie", {"big": 1, "mid": 1}), ("first", {}),
        ("nonsense", {}),
    ],
)  # fmt: skip
def test_a_verdict_in_both_orders_becomes_a_row_of_each_model(bench: Bench, prefer: str, outcomes: dict[str, float]) -> None:
    bench.models.prefer = prefer
    bench.serve()
    assert bench.models.names() == ["openai/mid", "openai/judge", "openai/judge"]
    assert {row["model"]: row["outcome"] for row in bench.rows()} == outcomes
    assert bench.counts() == {"asked": 1, "judged" if outcomes else "unknown": 1}
    assert bench.spent == pytest.approx(3 * (10 * 1 + 10 * 10) / 1e6)
    (family,) = bench.service.metrics.shadow_usd.collect()
    assert family.samples[0].value == pytest.approx(bench.spent)


def test_the_rows_are_feedback_beside_what_an_application_tells(bench: Bench) -> None:
    bench.serve()
    id = bench.rows()[0]["id"].split("/")[0]
    bench.service.feedback.take({"id": id, "outcome": 1})
    found = load_feedback(bench.file, NAMES, EmbeddingGenerator(LetterEncoder()).spec, 3)
    assert np.nan_to_num(found.labels, nan=-1).tolist() == [[0, -1, -1], [-1, 1, -1], [1, -1, -1]]
    assert len(set(found.groups)) == 1, "all of one prompt"
    assert {row["reason"] for row in bench.rows()[:2]} == {"shadow"}
    for kept in bench.file.parent.iterdir():
        assert b"swordfish" not in kept.read_bytes()


def test_the_second_model_gets_the_same_request(bench: Bench) -> None:
    messages = [say("system", "Be brief."), say("user", "Hi"), say("assistant", "Hello."), say("user", SECRET)]
    body = {"temperature": 0.3, "max_tokens": 7, "stream": True, "metadata": {"user": "me"}, "tools": [{"type": "function"}]}
    bench.serve(messages=messages, body=body | {"model": "auto", "messages": "of before a guardrail"})
    second, judge, _ = bench.models.asked
    assert second["messages"] == messages
    assert {name: second[name] for name in ("temperature", "max_tokens", "tools", "no-log", "max_retries")} == {
        "temperature": 0.3, "max_tokens": 7, "tools": [{"type": "function"}], "no-log": True, "max_retries": 0,
    }  # fmt: skip
    assert not {"stream", "metadata"} & set(second)
    assert (judge["temperature"], judge["max_tokens"]) == (0.0, 50)


def test_the_same_words_are_a_tie_without_a_judge(bench: Bench) -> None:
    bench.serve(completion(" good answer\n"))
    assert bench.models.names() == ["openai/mid"]
    assert [row["outcome"] for row in bench.rows()] == [1, 1]


SAID = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SECRET}]
OTHER_APIS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("aresponses", {"input": SAID}, {"input": SECRET, "instructions": "Be brief.", "max_output_tokens": 7, "temperature": 0.3}),
    ("anthropic_messages", {"input": SAID}, {"messages": SAID[1:], "system": "Be brief.", "max_tokens": 7, "temperature": 0.3}),
    ("anthropic_messages", {"input": []}, {"messages": SAID[1:], "system": "Be brief.", "max_tokens": 7, "temperature": 0.3}),
]


@pytest.mark.parametrize(("api", "event", "body"), OTHER_APIS)
def test_other_apis_are_compared_in_the_words_of_chat_completions(
    bench: Bench, api: str, event: dict[str, Any], body: dict[str, Any]
) -> None:
    more = {"litellm_metadata": {"user_api_key": "x"}, "litellm_call_id": "x", "stream": True, "tools": None}
    bench.serve(messages=SAID[1:], body=body | more, call_type=api, **event)
    assert bench.counts() == {"asked": 1, "judged": 1}
    second = bench.models.asked[0]
    assert second["messages"] == SAID
    assert {name: second[name] for name in ("temperature", "max_tokens")} == {"temperature": 0.3, "max_tokens": 7}
    assert not {"max_output_tokens", "system", "instructions", "litellm_metadata"} & set(second)


@pytest.mark.parametrize(
    "more",
    [{"tools": [{"name": "f"}]}, {"thinking": {"type": "enabled"}}, {"text": {"format": {}}}, {"stop_sequences": ["x"]},
     {"previous_response_id": "resp_1"}, {"unheard_of": 1}],
)  # fmt: skip
@pytest.mark.parametrize(("api", "event", "body"), OTHER_APIS[:2])
def test_what_chat_completions_have_no_word_for_is_not_compared(
    bench: Bench, api: str, event: dict[str, Any], body: dict[str, Any], more: dict[str, Any]
) -> None:
    bench.serve(messages=SAID[1:], body=body | more, call_type=api, **event)
    assert (bench.counts(), bench.models.asked) == ({"skipped": 1}, [])


@pytest.mark.parametrize("more", [{"top_k": 5}, {"logit_bias": {"1": 5}}, {"web_search_options": {}}])
def test_a_completion_of_unusual_parameters_is_not_compared(bench: Bench, more: dict[str, Any]) -> None:
    usual = {"n": 1, "stream_options": {"include_usage": True}, "user": "me", "functions": [{"name": "f"}], "top_k": None}
    bench.serve(body=usual | more)
    assert (bench.counts(), bench.models.asked) == ({"skipped": 1}, [])
    bench.offered = 2
    bench.serve(body=usual)
    assert bench.counts() == {"skipped": 1, "asked": 1, "judged": 1}
    assert bench.models.asked[0]["functions"] == [{"name": "f"}]


CALL = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    "second",
    [completion(None, tool_calls=CALL), completion("cut", "length"), completion("…", "content_filter"), completion("")],
    ids=["tool calls", "cut off", "withheld", "empty"],
)
def test_a_second_answer_that_is_no_text_is_unknown(bench: Bench, second: Any) -> None:
    bench.models.second = second
    bench.serve()
    assert (bench.counts(), bench.rows()) == ({"asked": 1, "unknown": 1}, [])
    assert bench.models.names() == ["openai/mid"]


PICTURE = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]


@pytest.mark.parametrize(
    ("reply", "messages", "event"),
    [
        (completion(None, tool_calls=CALL), None, {}),
        (completion("half", "length"), None, {}),
        (None, [say("user", PICTURE)], {}),  # type: ignore[arg-type]
        (None, [say("user", "x"), {"role": "tool", "content": "42", "tool_call_id": "c"}], {}),
        (None, [say("user", "redacted-by-litellm")], {}),
        (None, [say("user", "x" * 100_001)], {}),
        (completion("y" * 150_000), [say("user", PICTURE)], {}),  # type: ignore[arg-type]
        (completion("y" * 150_000), None, {}),
        (None, None, {"call_type": "aresponses"}),
        (None, [{"type": "reasoning", "summary": []}, say("user", SECRET)], {}),
        (None, ["hi"], {}),
    ],
    ids=["tool calls", "cut off", "picture", "tool's result", "redacted", "huge", "long and a picture", "long", "another API",
         "no message", "no object"],
)  # fmt: skip
def test_what_cannot_be_compared_is_not_asked(bench: Bench, reply: Any, messages: Any, event: dict[str, Any]) -> None:
    bench.serve(reply, messages, **event)
    assert (bench.counts(), bench.models.asked, bench.rows()) == ({"skipped": 1}, [], [])


class Refusal(openai.OpenAIError):
    def __init__(self, status: int) -> None:
        super().__init__(SECRET)
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "free"), [(Refusal(401), True), (Refusal(500), False), (TimeoutError(), False), (RuntimeError(SECRET), False)],
    ids=["refused", "broken", "slow", "a bug"],
)  # fmt: skip
def test_an_error_is_unknown_and_costs_the_most_unless_it_was_refused(
    bench: Bench, error: Exception, free: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bench.models.error = error
    bench.serve()
    assert (bench.counts(), bench.rows()) == ({"asked": 1, "unknown": 1}, [])
    assert (bench.spent == 0) == free
    assert free or bench.spent > 100 * 10 / 1e6, "the whole answer"
    assert "shadow:" in caplog.text
    assert "swordfish" not in caplog.text


def test_an_answer_of_unknown_cost_counts_as_the_most(bench: Bench) -> None:
    bench.models.second = completion("good answer", usage=None)
    bench.serve()
    assert bench.counts() == {"asked": 1, "judged": 1}
    assert bench.spent > 100 * 10 / 1e6


@pytest.mark.parametrize(("limit", "held"), [(10, False), (-1, True), (None, True)])
def test_what_an_answer_may_cost_is_by_its_limit(tmp_path: Path, limit: int | None, held: bool) -> None:
    """Without one, by the pool's 100 tokens; servers of local models take -1 for none."""
    bench = Bench(tmp_path, {"big": PRICED, "mid": PRICED})
    bench.models.error = TimeoutError()
    bench.serve(body={"max_tokens": limit})
    assert (bench.spent > 100 * 10 / 1e6) == held
    assert bench.spent > 10 * 10 / 1e6
    bench.service.close()


def test_the_budget_of_a_day_holds_for_all_workers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, {"big": PRICED, "mid": PRICED}, usd=0.006)
    bench.offered = 20
    bench.serve(times=20)
    counts = bench.counts()
    assert counts["asked"] == counts["judged"] > 1
    assert counts["over_budget"] == 20 - counts["asked"] > 1
    assert bench.spent <= 0.006
    other = DecisionLog(bench.file, 60)
    assert not other.hold_usd(time.strftime("%Y-%m-%d", time.gmtime()), 0.006, 0.006), "another worker's look at it"
    assert other.hold_usd("2000-01-01", 0.006, 0.006), "another day"
    other.close()
    bench.service.close()
    small = Bench(tmp_path, {"big": PRICED, "mid": PRICED}, usd=1e-6)
    small.serve()
    assert small.counts() == {"over_budget": 1}
    assert "more than shadow_usd_per_day" in caplog.text
    small.service.close()


def test_a_model_without_a_price_is_not_asked_and_that_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, {"big": PRICED, "mid": {}})
    bench.offered = 3
    bench.serve(times=3)
    assert (bench.counts(), bench.models.asked) == ({"skipped": 3}, [])
    assert caplog.text.count("mid is not asked, its price is unknown") == 1
    bench.service.close()


def test_what_is_too_much_is_dropped_and_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "MAX_WAITING", 2)
    monkeypatch.setattr(shadow, "WORKERS", 1)
    bench = Bench(tmp_path, {"big": PRICED, "mid": PRICED})

    async def run() -> None:
        hold, context = asyncio.Event(), ContextVar("of_the_request", default="none")
        seen: list[str] = []

        async def hang(**request: Any) -> Any:
            seen.append(context.get())
            await hold.wait()
            return completion("good answer")

        bench.shadow.complete = hang
        context.set("secret")
        for number in range(6):
            served = await bench.service.decide(Request(SECRET))
            params = {"metadata": {"model_group": "big"}}
            event = {"call_type": "acompletion", "litellm_params": params, "messages": [say("user", SECRET)]}
            bench.shadow.offer({"id": served.id, "eligible": ["big", "mid"]}, event, completion("bad answer"))
            while number == 0 and not seen:
                await asyncio.sleep(0.005)
        assert bench.counts() == {"asked": 1, "dropped": 3}
        await bench.shadow.close()
        assert seen == ["none"], "what belongs to a request is not the shadow's"

    asyncio.run(run())
    assert bench.spent > 100 * 10 / 1e6, "what a stop leaves in the dark counts as the most"
    bench.service.close()


def test_only_a_share_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, {"big": PRICED, "mid": PRICED}, share=0.02)
    for drawn, count in ((0.021, 0), (0.019, 1)):
        monkeypatch.setattr(random, "random", lambda drawn=drawn: drawn)
        bench.offered = count
        bench.serve()
        assert bench.counts().get("asked", 0) == count
    bench.service.close()


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ("models: [{name: big}]", "has no judge"),
        ("models: [{name: big}]\njudge: {name: j}", "needs the prices of the judge j"),
        ("models: [{name: big}]\njudge: {name: j, api_key_env: NO_SUCH_KEY, input_usd_per_mtok: 0}", "set NO_SUCH_KEY"),
    ],
)
def test_a_pool_that_cannot_judge_is_refused(bench: Bench, tmp_path: Path, pool: str, said: str) -> None:
    (tmp_path / "pool.yaml").write_text(pool)
    with pytest.raises(ConfigError, match=said):
        Shadow(bench.service.settings, bench.service.feedback, bench.service.metrics, bench.models)


def test_impossible_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fine: dict[str, Any] = {"feedback_file": "f", "shadow_pool": "p", "shadow_share": 0.1}
    for wrong in (
        {"shadow_share": 1.1},
        {"shadow_usd_per_day": 0},
        {"shadow_usd_per_day": float("nan")},
        {"feedback_file": None},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RouterSettings(**fine | wrong)
    monkeypatch.setenv("AUTO_ROUTER_SHADOW_SHARE", "0.02")
    monkeypatch.setenv("AUTO_ROUTER_SHADOW_USD_PER_DAY", "2.5")
    found = RouterSettings.from_environment({"feedback_file": "f", "shadow_pool": "p"})
    assert (found.shadow_share, found.shadow_usd_per_day) == (0.02, 2.5)
    monkeypatch.setenv("AUTO_ROUTER_SHADOW_SHARE", "much")
    with pytest.raises(ConfigError, match="AUTO_ROUTER_SHADOW_SHARE must be a number from 0 to 1"):
        RouterSettings.from_environment({})


def test_an_event_of_another_kind_is_none() -> None:
    assert read_event({"id": "x", "eligible": []}, {}, None) is None
