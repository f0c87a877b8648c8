"""What the campaign ``benchmarks/break_it`` found, each kind once; and a nightly-sized part of the campaign itself."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from break_it import artifacts, folders
from break_it.behaviours import JSON, delta, event
from break_it.endpoints import HEADER_KEY, KEY, escape_all, forms_of
from break_it.tally import Tally

from auto_router.assess import model_card as model_card_module
from auto_router.collect.credentials import SecretScrubber
from auto_router.collect.endpoint import user_message
from auto_router.collect.journal import Journal
from auto_router.collect.journal_file import Exchange
from auto_router.collect.judge import judge_by_rules
from auto_router.collect.matching.final_answer import well_formed
from auto_router.collect.question import Question
from auto_router.collect.rate_limits import PassingFailure
from auto_router.collect.reply import Response, read_reply
from auto_router.data.pool import PoolModel
from auto_router.encode.openai import read_numbers
from auto_router.errors import ConfigError, DataError, RouterError, printable, run
from auto_router.learn.calibration import Calibration
from tests.stage1 import ChatServer, Reply, asked_once, completion, raw

UNFINDABLE = "base64"


class Spoken:
    """Catches what a behaviour of the campaign would send."""

    def reply(self, body: bytes, *headers: str, status: str = "200 OK") -> None:
        self.body, self.status = body, int(status.split()[0])


@pytest.mark.parametrize(
    "name",
    [name for name in JSON if name not in ("stream-many", "stream-one-event", "stream-many-parts", "content-many-parts")],
)
def test_every_odd_body_is_an_answer_or_a_reason(name: str) -> None:
    said = Spoken()
    JSON[name](said)  # type: ignore[arg-type]
    text, reason = "", ""
    try:
        response = read_reply(said.status, {}, said.body)
        text, reason = response.text or "", response.error or ""
    except PassingFailure as failure:
        reason = failure.reason
    assert text or (reason and reason.isprintable())


def test_a_stream_of_many_small_pieces_is_joined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joined piece by piece, the time would grow with the square of their number."""
    pieces, parts = [event(delta("ab"))] * 2000, [event(delta([{"type": "text", "text": "c"}, "d"]))] * 2
    assert read_reply(200, {}, b"".join(pieces) + event(delta("", "stop"))).text == "ab" * 2000
    assert read_reply(200, {}, b"".join([*pieces[:2], *parts]) + event(delta("", "stop"))).text == "ababcdcd"


@pytest.mark.parametrize("secret", [KEY, HEADER_KEY, "plain-key-0123456789", "all\"&<>\\/%41 'x"])
def test_a_secret_is_found_in_every_form(secret: str) -> None:
    scrubber = SecretScrubber()
    scrubber.learn([secret])
    for name, form in forms_of(secret).items():
        if name != UNFINDABLE:
            assert scrubber.clean(f"before {form.decode()} after").replace("\0", "") == "before [key] after", name
    nested = secret
    for _ in range(4):
        nested = json.dumps(nested)
        assert secret[-6:] not in scrubber.clean(nested)
    other = f"{secret[:-1]} and {escape_all(secret[1:])} \\ %"
    assert scrubber.clean(other) == other
    scrubber.learn(["another-secret"])
    assert scrubber.clean(f"{secret} another-secret") == "[key] [key]"


def test_of_a_long_text_with_a_secret_nothing_is_kept() -> None:
    scrubber = SecretScrubber()
    scrubber.learn([KEY])
    assert scrubber.clean("s" * 2**21 + KEY) == "[key]"
    assert len(scrubber.clean("s" * 2**21)) == 2**21


def hand_back(form: Callable[[str], bytes]) -> Callable[[dict[str, Any]], Reply]:
    return lambda body: raw(form(KEY))


SPILLS: dict[str, Callable[[str], bytes]] = {
    "escaped": lambda key: completion("HERE")[2].replace(b"HERE", escape_all(key).encode()),
    "in UTF-16": lambda key: completion("HERE")[2].decode().replace("HERE", json.dumps(key)[1:-1]).encode("utf-16"),
    "in pieces": lambda key: b"".join(event(delta(part)) for part in (key[:5], key[5:], "")) + event(delta("", "stop")),
    "as the finish reason": lambda key: completion("x", finish_reason=key)[2],
    "in parts": lambda key: completion([{"type": "text", "text": key[:7]}, {"type": "text", "text": key[7:]}])[2],  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", SPILLS)
def test_a_key_that_comes_back_is_in_no_field_of_the_response(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAK_IT_KEY", KEY)
    with ChatServer(hand_back(SPILLS[name])) as server:
        response: Response = asked_once(PoolModel("m", base_url=server.url, api_key_env="BREAK_IT_KEY"), user_message("q"))
    assert server.keys == [f"Bearer {KEY}"]
    assert response.text is not None
    values = json.dumps(response.to_plain())
    decoded = json.dumps(json.loads(response.body)) if response.body else ""
    for form in forms_of(KEY).values():
        assert form.decode() not in values + decoded


def test_words_of_strangers_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    words = "\x1b]0;owned\x07\x9b2J \u202eabc \r\n\x00 \ud800 größer 中"
    assert printable(words) == "\ufffd]0;owned\ufffd\ufffd2J \ufffdabc \ufffd \ufffd größer 中"

    def fail() -> None:
        raise RouterError(f"bad: {words}")

    assert run(fail) == 2
    assert "\x1b" not in capsys.readouterr().err
    for finish in ("\x1b[2J", "error"):
        try:
            error = read_reply(200, {}, completion("", finish_reason=finish)[2]).error or ""
        except PassingFailure as failure:
            error = failure.reason
        assert error.isprintable()


def test_the_tally_counts_and_shows_what_went_wrong() -> None:
    tally = Tally("part")
    tally.note("one", "right result", count=3)
    assert not tally.failures
    tally.note("one", "lost", "a label")
    assert (tally.failures, tally.details) == (1, ["one: lost: a label"])
    assert tally.table().splitlines()[2].replace(" ", "") == "|one|4|0|3|0|0|1|0|0|0|"
    with pytest.raises(ValueError, match="outcome 'fine' is none of"):
        tally.note("one", "fine")


def test_what_no_waiting_mends_in_a_journal_is_told_at_once(tmp_path: Path) -> None:
    """Only a full disk and a held file pass: for another fault each batch would wait for a minute."""
    path = tmp_path / "j.sqlite"
    Journal(path).__enter__().__exit__(None, None, None)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TRIGGER x BEFORE INSERT ON exchanges BEGIN SELECT RAISE(ABORT, 'no'); END")
    database.close()

    async def commit() -> None:
        with Journal(path) as journal:
            await asyncio.wait_for(journal.commit(Exchange({"model": "m", "messages": []}, Response("a"))), 30)

    with pytest.raises(DataError, match=r"cannot be written \(no\)"):
        asyncio.run(commit())


@pytest.mark.parametrize("text", ["\ud800", "the answer is \udfff forty-two", "\ud83d\ude00 5", "A) \udc00"])
def test_lone_surrogates_in_an_answer_or_reference_end_no_run(text: str) -> None:
    """What reads numbers and dates in words takes valid Unicode only."""
    for reference in ("5", text, "12 May 2020"):
        question = Question(0, text, (reference,), (), None, "", choices=("5", text))
        judge_by_rules(Response(text), question, match_only=False)
    assert well_formed("größer \ud800 \U0001f600") == "größer \ufffd \U0001f600"


def test_a_calibration_that_leads_out_of_0_to_1_is_refused() -> None:
    Calibration.from_plain({"method": "sigmoid", "knots": [[[0.0, 1.0], [0.0, 1.0]]]}, 1)
    for outside in (-0.1, 1.5, 1e30):
        with pytest.raises(ConfigError, match="does not fit"):
            Calibration.from_plain({"method": "sigmoid", "knots": [[[0.0, 1.0], [0.0, outside]]]}, 1)


def test_words_of_an_artifact_become_no_markup_in_its_card() -> None:
    evil = "<img src=x onerror=x()> | [a](javascript:x()) `code`\n# head\x1b[2J"
    table = model_card_module._markdown([[evil, 1]], ["model", "n"])
    assert len(table.splitlines()) == 3
    assert not any(part in table for part in ("<img", " [a]", " | \\[", "\x1b", "\n#"))
    assert model_card_module._code(evil).count("`") == 2


def test_a_part_of_the_campaign() -> None:
    """The routers of strangers, the quickest part; the others are run by hand."""
    tally = Tally("artifacts")
    artifacts.attack(tally, seconds=60, seed=0, count=80)
    assert not tally.failures, tally.details


@pytest.mark.parametrize("name", folders.DAMAGES)
def test_a_damaged_journal_is_read_or_named(name: str, tmp_path: Path) -> None:
    path, request = tmp_path / "hf_journal.sqlite", {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    exchanges = [Exchange(request | {"n": n}, read_reply(200, {}, completion("a")[2], 0.1), "there") for n in range(9)]
    with Journal(path) as journal:
        journal.put(*exchanges)
    folders.DAMAGES[name](path, random.Random(0))
    said = str(path)
    try:
        with Journal(path) as journal:
            found = [journal.find(exchange.request, ["there"]) for exchange in exchanges]
            assert all(response is None or response.text in ("a", None) for response in found)
            journal.spent()
            journal.count_unpriced()
            journal.highest(["there"], "m")
            journal.count("candidate", ["there"], "m")
            list(journal.rows())
            journal.put(*exchanges)
    except DataError as error:
        said = str(error)
    assert str(path) in said


@pytest.mark.parametrize(
    "value", [[True, False], [10**400], [], ["1"], [None], [[1.0], [2.0, 3.0]], [{}], [2**70, 1]], ids=repr
)
def test_what_is_no_numbers_is_no_embedding(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        read_numbers(value)
    assert read_numbers([1, 2.5, 1e300]).tolist() == [1.0, 2.5, float("inf")]


def test_a_journal_whose_damage_sqlite_cannot_put_in_words_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "hf_journal.sqlite"
    with Journal(path):
        pass
    path.write_bytes(path.read_bytes().replace(b"INDEX by_question ON exchanges", b"INDEX by_question ON \xacxchanges"))
    with pytest.raises(DataError, match="cannot be opened"):
        Journal(path)
