"""Endpoints as they are: gateways with headers and tokens, streams, image limits, moved addresses, slips in the pool."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from auto_router.collect.endpoint import Endpoint, find_change, user_message
from auto_router.collect.rate_limits import PassingFailure, read_delay
from auto_router.collect.reply import Problem, read_reply
from auto_router.data.images import fit_image, pixels
from auto_router.data.pool import PoolModel, load_pool
from auto_router.errors import ConfigError
from tests.helpers import png
from tests.stage1 import (
    ChatServer,
    Reply,
    asked_once,
    b64,
    completion,
    flags,
    raw,
    read_evaluations,
    stage1,
    write_pool,
    write_rows,
)  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]
ROWS = [{"prompt": f"What is {n}+0?", "answer": str(n)} for n in range(12)]


def right(body: dict[str, Any]) -> Reply:
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    if text.startswith("{"):
        return completion(json.dumps({"id": json.loads(text)["id"], "correct": True}))
    return completion(text.removeprefix("What is ").split("+")[0])


def strict(body: dict[str, Any]) -> Reply:
    """OpenAI's rules of today: no max_tokens for gpt-5, no temperature for a model that reasons, and room to reason."""
    if body["model"].startswith("gpt-5"):
        reasons = "chat" not in body["model"]
        for name, message in (
            ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
            *(
                [("temperature", "Unsupported value: 'temperature' does not support 0; only the default (1).")]
                if reasons
                else []
            ),
        ):
            if name in body:
                return raw({"error": {"message": message, "param": name, "code": "unsupported_parameter"}}, 400)
        if reasons and body.get("max_completion_tokens", 10**6) < 2000:
            return completion("", "length", (10, body["max_completion_tokens"]))
    return right(body)


@pytest.mark.parametrize("source", ["pool.yaml", "docs/pool.md"])
def test_the_pools_that_are_shown_run_without_a_refusal(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / source).read_text(encoding="utf-8")
    pool = yaml.safe_load(text if source.endswith(".yaml") else text.split("```yaml\n")[1].split("```")[0])
    write_rows(tmp_path / "rows.jsonl", ROWS)
    for name in ("OPENAI_API_KEY", "NVIDIA_API_KEY", "APIM_KEY"):
        monkeypatch.setenv(name, "none-0123")
    with ChatServer(strict, keep_probes=True) as server:
        for entry in [*pool["models"], pool["judge"]]:
            entry |= {"base_url": server.url, "requests_per_minute": None, "tokens_per_minute": None}
            entry.pop("api_version", None)
            entry.pop("api_key_command", None)
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump(pool))
        assert stage1(*flags(tmp_path)) == 0
    out = capsys.readouterr()
    assert "does not take" not in out.out + out.err
    names = {entry["name"] for entry in pool["models"]}
    assert all(
        set(row["model_scores"]) == names and set(row["model_scores"].values()) == {1}
        for row in read_evaluations(tmp_path / "out")
    )


def test_a_judge_without_room_for_a_verdict_is_found_before_anything_is_paid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ChatServer(strict, keep_probes=True) as server:
        judge = {"name": "j", "model": "gpt-5-mini", "base_url": server.url, "max_tokens": 512, "temperature": 0}
        write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": server.url}], judge=judge)
        assert stage1(*flags(tmp_path)) == 2
        assert server.asked["m"] == 1
    out, err = capsys.readouterr()
    assert "j: asked for a verdict, it gave none: judge: empty answer (finish reason length)" in err
    assert "raise max_tokens" in err
    assert "yes, no verdict" in out


def test_headers_tokens_and_a_token_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command gives a new token each time; the endpoint takes the second only."""
    count = tmp_path / "count"
    count.write_text("")
    script = tmp_path / "token.py"
    script.write_text(f"p={str(count)!r}; open(p,'a').write('x'); print('token-' + str(len(open(p).read())))")
    monkeypatch.setenv("APIM_KEY", "subscription-1234")

    def answer(body: dict[str, Any]) -> Reply:
        return completion("5") if server.keys[-1] == "Bearer token-2" else raw({"error": {"message": "expired"}}, 401)

    with ChatServer(answer) as server:
        model = PoolModel(
            "m",
            base_url=server.url,
            api_key_command=f"{sys.executable} {script}",
            headers={"X-Subscription": "APIM_KEY", "X-Team": "red"},
        )
        assert asked_once(model, user_message("q")).text == "5"
        assert server.keys == ["Bearer token-1", "Bearer token-2"]
        assert "x-subscription: subscription-1234" in server.heads[-1].lower()
        assert "x-team: red" in server.heads[-1].lower()
        # Another address gets none of it.
        assert "X-Subscription" not in str(Endpoint(model, "http://127.0.0.1:1/v1").credentials.secrets)
    monkeypatch.delenv("APIM_KEY")
    with pytest.raises(ConfigError, match="environment variable APIM_KEY is not set"):
        Endpoint(model)


KEYS = [
    "sk-proj-Ab3dEf6hIj9kLmN0pQr",
    "nvapi-0123456789abcdefghij",
    "0123456789abcdef0123456789abcdef",
    "AbCdEf0123456789AbCdEf01",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("slip", ["api_key_env", "headers", "max_tokens", "parameters", "modalities"])
def test_a_key_where_a_name_belongs_is_never_printed(
    key: str, slip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    value: Any = {"Authorization": f"Bearer {key}"} if slip == "headers" else key
    write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": "http://127.0.0.1:9/v1", slip: value}])
    assert stage1(*flags(tmp_path), "--skip-preflight") == 2
    out, err = capsys.readouterr()
    assert key not in out + err
    assert err.startswith("error: ")


def test_reachable_by_nobody_ends_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    write_pool(tmp_path / "pool.yaml", [{"name": name, "base_url": "http://127.0.0.1:9/v1"} for name in "ab"])
    start = time.monotonic()
    assert stage1(*flags(tmp_path)) == 2
    assert "preflight: a: connection failed" in capsys.readouterr().err
    assert stage1(*flags(tmp_path), "--skip-preflight") == 2
    assert time.monotonic() - start < 60, "pauses would take minutes"
    with ChatServer(right) as server:  # one that answers is enough for a run, and not for a dry run
        models = [{"name": "a", "base_url": server.url}, {"name": "b", "base_url": "http://127.0.0.1:9/v1"}]
        write_pool(tmp_path / "pool.yaml", models)
        assert stage1(*flags(tmp_path), "--dry-run") == 2
        assert stage1(*flags(tmp_path)) == 0


def test_a_rehearsal_never_stands_in_for_the_pool_and_a_moved_server_does(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ChatServer(lambda body: completion("-1")) as mock, ChatServer(right) as own:
        model: dict[str, Any] = {"name": "m", "base_url": own.url}
        write_pool(tmp_path / "pool.yaml", [model])
        assert stage1(*flags(tmp_path), "--base-url", mock.url) == 0
        assert stage1(*flags(tmp_path)) == 0
        assert len(mock.bodies) == len(own.bodies) == len(ROWS)
        assert {row["model_scores"]["m"] for row in read_evaluations(tmp_path / "out")} == {1}
        # The same server under another name: nothing is asked again, once the pool says so.
        with ChatServer(right) as moved:
            write_pool(tmp_path / "pool.yaml", [model | {"base_url": moved.url, "same_as": own.url + "/"}])
            assert stage1(*flags(tmp_path)) == 0
            assert not moved.bodies
            write_pool(tmp_path / "pool.yaml", [model | {"base_url": moved.url}])
            assert stage1(*flags(tmp_path)) == 0
            assert len(moved.bodies) == len(ROWS)


def test_two_efforts_of_one_model_are_two_candidates(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ChatServer(lambda body: right(body) if body["reasoning_effort"] == "high" else completion("-1")) as server:
        models = [{"name": f"m {e}", "model": "m", "base_url": server.url, "reasoning_effort": e} for e in ("low", "high")]
        write_pool(tmp_path / "pool.yaml", models)
        assert stage1(*flags(tmp_path)) == 0
    assert all(row["model_scores"] == {"m low": 0, "m high": 1} for row in read_evaluations(tmp_path / "out"))


def events(*pieces: dict[str, Any], end: bool = True) -> Reply:
    lines = [f"data: {json.dumps(piece)}" for piece in pieces] + ["data: [DONE]"] * end
    return 200, {"Content_Type": "text/event-stream"}, "\n\n".join([": keep-alive", *lines, ""]).encode()


def test_an_endpoint_that_only_streams() -> None:
    deltas = [{"reasoning_content": "hm, "}, {"content": "The answer"}, {"content": " is 5"}]
    pieces: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    pieces += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    pieces += [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}]
    with ChatServer(lambda body: events(*pieces) if body.get("stream") else raw({"error": {"message": "no"}}, 400)) as server:
        answer = asked_once(PoolModel("m", base_url=server.url, stream=True), user_message("q"))
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("The answer is 5", 3, 4)
    status, headers, body = events(*pieces[:2], end=False)
    with pytest.raises(PassingFailure, match="the stream broke off"):
        read_reply(status, headers, body)


@pytest.mark.parametrize("options", [True, False])
def test_an_endpoint_that_only_streams_is_asked_for_a_stream_and_that_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: bool
) -> None:
    def script(body: dict[str, Any]) -> Reply:
        if not body.get("stream"):
            return raw({"error": {"message": "Stream must be set to true", "type": "invalid_request_error"}}, 400)
        if "stream_options" in body and not options:
            return raw({"error": {"message": "Unknown parameter: 'stream_options'"}}, 400)
        said = str(int(re.findall(r"\d+", body["messages"][-1]["content"])[0])) if "What" in str(body) else "ready"
        return events({"choices": [{"index": 0, "delta": {"content": said}, "finish_reason": "stop"}]})

    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"What is {n}+0?", "answer": str(n)} for n in range(20)])
    with ChatServer(script, keep_probes=True) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": server.url}])
        assert stage1(*flags(tmp_path)) == 0
        assert len(server.bodies) == 20 + 2 + (not options), "the refusals are met in the preflight, once"
    assert all(row["model_scores"] == {"m": 1} for row in read_evaluations(tmp_path / "out"))
    shown = capsys.readouterr()
    said = "m: the endpoint answers as a stream only; asked for one from now on (stream: true in the pool saves the refusal)"
    assert (shown.out + shown.err).count(said) == 1


def test_images_are_scaled_to_what_a_model_takes_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((900, 600), 90).convert("RGB").save(buffer, "PNG")
    large = buffer.getvalue()
    small = png((255, 0, 0))
    write_rows(
        tmp_path / "rows.jsonl",
        [{"prompt": f"What is {n}+0?", "answer": str(n), "images": [b64(large if n < 2 else small)]} for n in range(3)],
    )
    with ChatServer(right) as server:
        entry = {"base_url": server.url, "modalities": ["text", "image"]}
        limits = {"max_image_side": 300, "max_image_bytes": 40_000}
        write_pool(tmp_path / "pool.yaml", [{"name": "m"} | entry | limits, {"name": "n"} | entry])
        assert stage1(*flags(tmp_path)) == 0
        assert stage1(*flags(tmp_path)) == 0
        assert server.asked == {"m": 3, "n": 3}, "the same image is the same question"
        for body in server.bodies:
            sent = base64.b64decode(body["messages"][0]["content"][1]["image_url"]["url"].split(",")[1])
            assert (max(pixels(sent).size) <= 300 and len(sent) <= 40_000) if body["model"] == "m" else sent in (large, small)
    out = capsys.readouterr()
    assert (out.out + out.err).count("m: images above 300 pixels a side and 40,000 bytes are scaled down") == 2  # once a run


def test_an_image_within_its_limits_is_sent_as_it_is() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (50, 20)).save(buffer, "PNG")
    image = buffer.getvalue()
    assert fit_image(image, 50, 10_000) is image
    assert pixels(fit_image(image, 25, None)).size == (25, 10)


@pytest.mark.parametrize(
    ("headers", "body", "message", "seconds"),
    [
        ({"retry-after-ms": "250"}, None, "", 0.25),
        ({"Retry-After": "86400"}, None, "", 86_400),
        ({}, {"error": {"details": [{"@type": "RetryInfo", "retryDelay": "34.07s"}]}}, "", 34.07),
        ({}, {"error": {"metadata": {"retry_after_ms": 1500}}}, "", 1.5),
        ({}, None, "Rate limit reached. Please try again in 1m12.5s.", 72.5),
        ({}, None, "retry after 2 hours and 5 minutes", 7500),
        ({}, None, "You used 20 of 30 requests", None),
        ({"Retry-After": "soon"}, None, "", None),
    ],
)
def test_delays_are_read_where_they_stand(headers: dict[str, str], body: Any, message: str, seconds: float | None) -> None:
    assert read_delay(headers, body, message) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("message", "param", "sent", "said"),
    [
        (
            "Unrecognized request argument supplied: max_completion_tokens",
            "",
            {"max_completion_tokens": 9},
            "asked with max_tokens",
        ),
        (
            "max_tokens is too large: 99999. This model supports at most 4096 completion tokens",
            "",
            {"max_tokens": 99_999},
            "up to 4,096",
        ),
        ("`temperature` and `top_p` cannot both be specified for this model", "", {"temperature": 0, "top_p": 1}, "without it"),
        ("temperature: Extra inputs are not permitted", "", {"temperature": 0}, "without it"),
        ("This model's maximum context length is 8192 tokens, including max_tokens", "", {"max_tokens": 9}, None),
        ("messages must not be empty", "messages", {"max_tokens": 9, "temperature": 0}, None),
        ("the temperature of the sun is not permitted here", "", {"temperature": 0}, None),
        ("Stream must be set to true", "", {"max_tokens": 9}, "as a stream only"),
        ("Input should be True", "stream", {"max_tokens": 9}, "as a stream only"),
        ("stream: Input should be true", "", {}, "as a stream only"),
        ("Only streaming requests are supported by this model", "stream", {}, "as a stream only"),
        ("This model only support stream mode, please enable the stream parameter", "", {}, "as a stream only"),
        ("Streaming is required for operations that may take longer than 10 minutes", "", {}, "as a stream only"),
        ("Non-streaming calls are not supported", "", {"temperature": 0}, "as a stream only"),
        ("Unsupported value: 'stream' does not support false with this model.", "stream", {}, "as a stream only"),
        ("Requests with max_tokens > 4096 must have stream=true", "", {"max_tokens": 9000}, "as a stream only"),
        ("stream=False is not allowed here", "", {}, "as a stream only"),
        ("Stream must be set to true", "", {"stream": True}, None),  # it is: something else is wrong
        ("the upstream server must be restarted", "", {}, None),
        ("the prompt is about a stream of water", "", {}, None),
    ],
)
def test_a_refusal_is_understood_by_its_own_words(message: str, param: str, sent: dict[str, Any], said: str | None) -> None:
    change = find_change(sent, Problem(message, param=param))
    assert (change is None) if said is None else (said in str(change))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.sampled_from([200, 400, 429, 500]))
def test_any_body_is_read(body: bytes, status: int) -> None:
    with contextlib.suppress(PassingFailure):
        answer = read_reply(status, {}, body)
        assert (answer.text is None) == (answer.error is not None)


def test_the_default_pool_and_its_variables_load(tmp_path: Path) -> None:
    pool = load_pool(ROOT / "pool.yaml")
    assert pool.judge is not None
    request = Endpoint(pool.judge, keyless=True).request([])
    assert "max_tokens" not in request
    assert "temperature" not in request
    assert request["max_completion_tokens"] >= 2000
