"""The replayer: recorded answers over real HTTP, and the faults a client must live with."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.collect import replay, runner
from auto_router.collect.endpoint import user_message
from auto_router.collect.journal import Journal
from auto_router.collect.journal_file import Exchange
from auto_router.collect.rate_limits import RetryPolicy
from auto_router.collect.replay import FAULTS, Fault, ReplayServer, check_request, load_recording, recording
from auto_router.collect.reply import Response
from auto_router.data.pool import PoolModel
from auto_router.errors import DataError, run
from tests.helpers import png
from tests.stage1 import asked_once, recorded

ANSWERS = recording([recorded("m", "q", "a", prompt_tokens=7, completion_tokens=3, finish_reason="stop")])


def post(server: ReplayServer, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def chat(prompt: str = "q", model: str = "m") -> bytes:
    return json.dumps({"model": model, "messages": user_message(prompt)}).encode()


def ask(server: ReplayServer, prompt: str = "q", **model: Any) -> Response:
    return asked_once(PoolModel("m", model="m", base_url=server.url, **model), user_message(prompt))


def test_a_recorded_question_is_answered_as_openai_would() -> None:
    with ReplayServer(ANSWERS) as server:
        status, reply = post(server, chat())
        assert status == 200
        assert reply["choices"][0]["message"] == {"role": "assistant", "content": "a"}
        assert reply["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        answer = ask(server)
        assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("a", 7, 3)
        assert (answer.finish_reason, answer.error) == ("stop", None)
        assert server.requests == 2
        assert [body["model"] for body in server.seen] == ["m", "m"]


def test_what_was_not_recorded_is_404() -> None:
    with ReplayServer(ANSWERS) as server:
        for body in (chat("other"), chat(model="n")):
            status, reply = post(server, body)
            assert (status, reply["error"]["code"]) == (404, "not_recorded")


def test_sampling_settings_do_not_matter_but_images_do() -> None:
    red, blue = png((255, 0, 0)), png((0, 0, 255))
    answers = recording([recorded("m", "q", "red", [red]), recorded("m", "q", "blue", [blue])])
    with ReplayServer(answers) as server:
        for image, colour in ((red, "red"), (blue, "blue")):
            body = {"model": "m", "messages": user_message("q", [image]), "max_tokens": 99, "temperature": 1}
            assert post(server, json.dumps(body).encode())[1]["choices"][0]["message"]["content"] == colour


@pytest.mark.parametrize("body", [b"{", b"[]", b"5", b"{}", b'{"model": "m"}', b"\xff", b"[" * 100_000, b""])
def test_a_body_that_is_no_chat_request_is_400(body: bytes) -> None:
    with ReplayServer(ANSWERS) as server:
        assert post(server, body)[0] == 400
        assert post(server, chat())[0] == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"model": "m", "messages": []}, "'messages' must be a list of at least one message, got an empty list"),
        ({"model": "m"}, "'messages' must be a list of at least one message, got NoneType"),
        ({"model": "m", "messages": {}}, "at least one message, got dict"),
        (
            {"model": "m", "messages": ["x"]},
            "message 0: an object is needed whose 'content' is a text, a list of objects or null",
        ),
        ({"model": "m", "messages": [{"role": "user", "content": [1]}]}, "message 0: "),
        ({"model": "m", "messages": [{"role": "user", "content": "q"}, {"role": "user", "content": 5}]}, "message 1: "),
        ({"messages": [{"role": "user", "content": "q"}]}, "'model' must be a text, got NoneType"),
        ([], "an object is needed, got list"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_the_request(body: object, told: str) -> None:
    with ReplayServer(ANSWERS) as server:
        status, reply = post(server, json.dumps(body).encode())
        assert (status, server.requests) == (400, 0)
        assert reply["error"]["message"].startswith("not a chat request: ")
        assert told in reply["error"]["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "image_url"]), inner, max_size=3)
    ),
)


def test_whatever_passes_for_a_chat_request_can_be_answered() -> None:
    @given(st.fixed_dictionaries({"model": st.text(max_size=3), "messages": st.lists(JSON, min_size=1, max_size=3)}) | JSON)
    def try_body(body: Any) -> None:
        try:
            check_request(body)
        except ValueError:
            return
        assert server.answer(body)[0] in (200, 404)

    with ReplayServer(ANSWERS) as server:
        try_body()


def test_lengths_and_paths_that_make_no_sense_are_refused() -> None:
    with ReplayServer(ANSWERS) as server:
        for length in ("-1", "abc", str(10**12), "²"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
                client.sendall(head.encode("utf-8"))
                assert b" 413 " in client.recv(100)
        assert post(server, chat(), "/v1/other")[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for path, status in (("/health", 200), ("/v1/models", 200), ("/etc/passwd", 404)):
            connection.request("GET", path)
            reply = connection.getresponse()
            reply.read()
            assert reply.status == status
        connection.close()


def once(fault: Fault) -> Callable[[int], Fault | None]:
    """The first request fails, the next succeed."""
    return lambda number: fault if number == 0 else None


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        (Fault(status=429, retry_after=0.01), 2),
        (Fault(status=500, retry_after=0.01), 2),
        (Fault(status=503, retry_after=0.01), 2),
        (Fault(disconnect=True), 2),
        (Fault(delay_s=0.05), 1),
    ],
)
def test_a_passing_fault_costs_a_retry_and_no_answer(fault: Fault, requests: int) -> None:
    with ReplayServer(ANSWERS, fault=once(fault)) as server:
        assert ask(server).text == "a"
        assert server.requests == requests


def test_retry_after_is_honoured() -> None:
    # Longer than the first back-off that a client without the header would choose (0.5 s).
    with ReplayServer(ANSWERS, fault=once(Fault(status=429, retry_after=0.9))) as server:
        start = time.perf_counter()
        assert ask(server).text == "a"
        assert time.perf_counter() - start >= 0.9


def test_an_endpoint_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLICY", RetryPolicy(attempts=2, first_wait=0.01, strikes=99))
    with ReplayServer(ANSWERS, fault=lambda number: Fault(delay_s=30.0)) as server:
        assert ask(server, timeout_s=1.0).error == "no answer within 1 s (after 2 tries)"
        assert server.requests == 2


def test_nobody_listening_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLICY", RetryPolicy(attempts=1))
    with ReplayServer(ANSWERS) as server:
        pass
    assert (ask(server).error or "").startswith("connection failed: Cannot connect to host 127.0.0.1")


@pytest.mark.parametrize(
    ("fault", "reason", "requests", "settled"),
    [
        (Fault(status=400), "HTTP 400: injected fault 400", 1, True),
        (Fault(status=401), "HTTP 401: injected fault 401", 1, False),
        (Fault(status=404), "HTTP 404", 1, False),
        (Fault(body=b"{not json"), "answer is not JSON", 1, False),
        (Fault(body=b'{"choices": []}'), "answer has no choices", 1, False),
        (Fault(status=400, body=b'{"error": {"code": "content_filter", "message": "no"}}'), "content filter: no", 1, True),
        (Fault(status=429, body=b'{"error": {"code": "insufficient_quota", "message": "pay"}}'), "HTTP 429: pay", 1, False),
        (Fault(status=307), "HTTP 307: redirected", 1, False),
        (Fault(status=429, retry_after=0.01), r"HTTP 429: .*\(after 5 tries\)", 5, False),
        (Fault(status=503, retry_after=0.01), r"HTTP 503: .*\(after 5 tries\)", 5, False),
    ],
)
def test_a_lasting_fault_is_an_answer_with_its_reason(fault: Fault, reason: str, requests: int, settled: bool) -> None:
    with ReplayServer(ANSWERS, fault=lambda number: fault) as server:
        answer = ask(server)
        assert answer.text is None
        assert re.match(reason, answer.error or "")
        assert (server.requests, answer.settled) == (requests, settled)


def test_latency_is_added() -> None:
    with ReplayServer(ANSWERS, latency_s=0.2) as server:
        answer = ask(server)
        assert answer.latency_s is not None
        assert answer.latency_s >= 0.2


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]\n",
        b"5\n",
        b'{"request": {}, "answer": {"text": "a"}}',
        b'{"request": {"model": "m", "messages": []}, "answer": {"txt": "a"}}',
        b"\xff",
    ],
)
def test_a_damaged_recording_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"r\.jsonl cannot be read"):
        load_recording(tmp_path / "r.jsonl")


def test_a_damaged_or_missing_archive_is_one_error(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"".join(b'{"n": %d}\n' % n**3 for n in range(2000))))
    packed[300:320] = b"\xff" * 20
    (tmp_path / "r.jsonl.gz").write_bytes(packed)
    for name in ("r.jsonl.gz", "none.jsonl"):
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            load_recording(tmp_path / name)


def test_the_command_exports_a_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.put(Exchange({"model": "m", "messages": user_message("q")}, Response("a")))
    target = tmp_path / "r.jsonl.gz"
    assert run(lambda: replay.main([str(target), "--export", str(tmp_path / "j.sqlite")])) == 0
    assert "wrote 1 answers" in capsys.readouterr().out
    assert [answer.text for answer in load_recording(target).values()] == ["a"]


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.jsonl").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments in (
            [str(tmp_path / "none.jsonl")],
            [str(tmp_path / "r.jsonl"), "--export", str(tmp_path / "none.sqlite")],
            [str(tmp_path / "r.jsonl"), "--port", port],
            [str(tmp_path / "r.jsonl"), "--port", "99999"],
        ):
            assert run(partial(replay.main, arguments)) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("error: ")
    assert not (tmp_path / "none.sqlite").exists()


def test_the_command_serves_with_faults_and_ends_on_interrupt(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps(recorded("m", "q", "a")) + "\n")
    command = [sys.executable, "-m", "auto_router.collect.replay", str(tmp_path / "r.jsonl"), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--fault", "500", "--fault-every", "2"],
        cwd=Path(replay.__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "serving 1 recorded answers at http://127.0.0.1:" in line
    port = int(line.split("127.0.0.1:")[1].split("/")[0])
    statuses = []
    for _ in range(4):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/v1/chat/completions", chat())
        statuses.append(connection.getresponse().status)
        connection.close()
    process.send_signal(2)
    _, errors = process.communicate(timeout=120)
    assert statuses == [200, 500, 200, 500]
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_the_named_faults_are_those_of_the_command() -> None:
    assert set(FAULTS) == {"429", "500", "hang", "disconnect", "garbage"}
    assert FAULTS["hang"].delay_s > 120
