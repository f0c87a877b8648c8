"""The journal: committed as it arrives, found by request, and exported as a recording."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.collect import journal as journal_module
from auto_router.collect.endpoint import digest_images, user_message
from auto_router.collect.journal import Journal
from auto_router.collect.journal_file import Exchange, request_key
from auto_router.collect.replay import load_recording
from auto_router.collect.reply import Response
from auto_router.errors import DataError
from tests.helpers import png


def request(prompt: str, model: str = "m", **settings: Any) -> dict[str, Any]:
    return {"model": model, "messages": user_message(prompt), "max_tokens": 5} | settings


def test_an_answer_is_found_again_in_another_session(tmp_path: Path) -> None:
    answer = Response("five", 10, 2, "stop", 0.5)
    with Journal(tmp_path / "deep" / "j.sqlite") as journal:
        assert journal.get(request("q")) is None
        journal.put(Exchange(request("q"), answer))
        # Committed at once: another connection sees it while this one is open.
        with Journal(tmp_path / "deep" / "j.sqlite") as other:
            assert other.get(request("q")) == answer
    with Journal(tmp_path / "deep" / "j.sqlite") as journal:
        assert journal.get(request("q")) == answer


def test_every_setting_and_the_model_are_part_of_the_request(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.put(Exchange(request("q"), Response("a")))
        for other in (request("Q"), request("q", "n"), request("q", temperature=0), request("q", reasoning_effort="low")):
            assert journal.get(other) is None
        reordered = dict(reversed(request("q").items()))
        assert journal.get(reordered) == Response("a")


def test_no_failure_takes_the_place_of_an_answer(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.put(Exchange(request("q"), Response("a"), cost_usd=1.0))
        journal.put(Exchange(request("q"), Response(None, error="timeout"), lost_usd=0.5))
        assert journal.get(request("q")) == Response("a")
        assert journal.spent() == 1.5
        journal.put(Exchange(request("q"), Response("b"), cost_usd=2.0))
        assert journal.get(request("q")) == Response("b")
        assert journal.spent() == 3.5


def test_another_limit_asks_again_only_what_it_cuts_or_cut(tmp_path: Path) -> None:
    def limited(prompt: str, **limit: int) -> dict[str, Any]:
        return {name: value for name, value in request(prompt).items() if name != "max_tokens"} | limit

    cut, whole = Response("a", completion_tokens=9, finish_reason="length"), Response("b", completion_tokens=5)
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.put(Exchange(limited("cut", max_tokens=9), cut), Exchange(limited("whole", max_tokens=9), whole))
        assert journal.get(limited("cut", max_tokens=9)) == cut
        assert journal.get(limited("cut", max_tokens=99)) is None
        for limit in ({"max_tokens": 99}, {"max_completion_tokens": 99}, {"max_tokens": 5}, {}):
            assert journal.get(limited("whole", **limit)) == whole
        assert journal.get(limited("whole", max_tokens=4)) is None


def test_a_failure_is_kept_until_an_answer_takes_its_place(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.put(Exchange(request("q"), Response(None, error="timeout"), lost_usd=0.5))
        assert journal.get(request("q")) == Response(None, error="timeout")
        assert list(journal.rows()) == []
        journal.put(Exchange(request("q"), Response("a")))
        assert journal.get(request("q")) == Response("a")
    with sqlite3.connect(tmp_path / "j.sqlite") as database:
        assert database.execute("SELECT count(*), sum(tries), sum(lost_usd) FROM exchanges").fetchone() == (1, 2, 0.5)


def test_images_are_kept_as_digests_and_told_apart(tmp_path: Path) -> None:
    red, blue = ({"model": "m", "messages": user_message("q", [png(c)])} for c in ((255, 0, 0), (0, 0, 255)))
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.put(Exchange(red, Response("red")))
        assert journal.get(red) == Response("red")
        assert journal.get(blue) is None
        (row,) = journal.rows()
        url = row["request"]["messages"][0]["content"][1]["image_url"]["url"]
        assert url.startswith("sha256:")
        assert len(url) == 7 + 64
    assert b"base64" not in (tmp_path / "j.sqlite").read_bytes()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(JSON)
def test_digests_are_stable_under_digesting_again(value: Any) -> None:
    once = digest_images(value)
    assert digest_images(once) == once
    assert request_key({"x": value}) == request_key({"x": once})


@given(st.text(), st.text())
def test_different_prompts_have_different_keys(one: str, two: str) -> None:
    assert (request_key(request(one)) == request_key(request(two))) is (one == two)


def test_an_export_is_a_recording_with_stable_bytes(tmp_path: Path) -> None:
    answers = {"a": Response("eins", 1, 2, "stop", 0.1), "b": Response("\ud83d half", 3), "c": Response(None, error="500")}
    for name, order in (("one", "abc"), ("two", "cba")):
        with Journal(tmp_path / f"{name}.sqlite") as journal:
            for prompt in order:
                journal.put(Exchange(request(prompt), answers[prompt]))
            assert journal.export(tmp_path / f"{name}.jsonl.gz") == 2
    packed = (tmp_path / "one.jsonl.gz").read_bytes()
    assert packed == (tmp_path / "two.jsonl.gz").read_bytes()
    assert packed[4:8] == b"\0\0\0\0"  # no time stamp in the gzip header
    rows = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    assert [row["answer"]["text"] for row in rows] == ["eins", "\ud83d half"]
    assert sorted(answer.text or "" for answer in load_recording(tmp_path / "one.jsonl.gz").values()) == ["eins", "\ud83d half"]


def test_an_empty_journal_exports_an_empty_recording(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.export(tmp_path / "r.jsonl.gz") == 0
    assert load_recording(tmp_path / "r.jsonl.gz") == {}


def test_a_full_disk_is_waited_for_and_then_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(journal: Journal, prompts: range, room: float) -> None:
        full = journal._database.execute("PRAGMA page_count").fetchone()[0]
        journal._database.execute(f"PRAGMA max_page_count = {full}")
        asyncio.get_running_loop().call_later(room, journal._database.execute, "PRAGMA max_page_count = 1000000")
        await asyncio.gather(*(journal.commit(Exchange(request(str(n) * 99), Response("x" * 999))) for n in prompts))

    with Journal(tmp_path / "j.sqlite") as journal:
        asyncio.run(run(journal, range(50), room=0.5))
        assert all(journal.get(request(str(n) * 99)) == Response("x" * 999) for n in range(50))
        monkeypatch.setattr(journal_module, "PATIENCE_S", 2.5)
        with pytest.raises(DataError, match=r"j\.sqlite cannot be written .*full.*same command"):
            asyncio.run(run(journal, range(100, 150), room=60))
        # All or none, and what was there is still there.
        assert len(list(journal.rows())) == 50


def change(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    "change_of",
    [
        "text = 'other'", "body = 'x'", "text = CAST(x'ff' AS TEXT)", "request = '{nonsense'", "key = 'k'", "address = 'there'",
        "prompt_tokens = 11", "cost_usd = 9e99", "cost_usd = 'much'", "tries = 7", "digest = NULL", "finish_reason = NULL",
        "written = ''",
    ],
)  # fmt: skip
def test_a_row_that_is_not_what_was_written_counts_as_not_there(tmp_path: Path, change_of: str) -> None:
    path, answer = tmp_path / "j.sqlite", Response("a", 10, 2, "stop", 0.5)
    with Journal(path) as journal:
        journal.put(*(Exchange(request(str(n)), answer, cost_usd=1.0) for n in range(5)))
    change(path, f"UPDATE exchanges SET {change_of} WHERE rowid = 2")
    for warnings in (1, 0):  # told once
        with Journal(path) as journal:
            assert len(journal.warnings) == warnings
            assert [journal.get(request(str(n))) for n in range(5)] == [answer, None, answer, answer, answer]
            assert 4 <= journal.spent() <= 5
            assert len(list(journal.rows())) == 4
            assert journal.highest([""], "m") == (2, 1.0)
    with Journal(path) as journal:
        journal.put(Exchange(request("1"), answer, cost_usd=1.0))
        assert journal.get(request("1")) == answer


def test_a_journal_that_something_else_wrote_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        journal.put(*(Exchange(request(str(n)), Response("a")) for n in range(50)))
    change(path, "UPDATE exchanges SET text = 'other' WHERE rowid > 20")
    before = path.read_bytes()
    with pytest.raises(DataError, match="30 of 50 answers are not what was written"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_journal_of_the_version_before_gets_checksums(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        journal.put(*(Exchange(request(str(n)), Response("a")) for n in range(50)))
    change(path, "ALTER TABLE exchanges DROP COLUMN digest", "DROP TABLE damaged", "PRAGMA user_version = 3")
    with Journal(path) as journal:
        assert (journal.warnings, journal.get(request("7"))) == ([], Response("a"))
    change(path, "UPDATE exchanges SET text = 'b' WHERE rowid = 1")
    with Journal(path) as journal:
        assert (len(journal.warnings), journal.get(request("0"))) == (1, None)


def test_an_index_that_names_another_row_finds_no_answer_of_it(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        journal.put(*(Exchange(request(str(n)), Response(f"answer {n}")) for n in range(9)))
    data = path.read_bytes()
    keys = [request_key(request(str(n))).encode() for n in (3, 4)]
    assert all(data.count(key) > 1 for key in keys)  # in the table and in an index
    for key, other in (keys, keys[::-1]):
        place = max(range(len(data)), key=lambda at, key=key: data.startswith(key, at) * at)  # type: ignore[misc]
        path.write_bytes(data[:place] + other + data[place + len(key) :])
        with Journal(path) as journal:
            assert journal.warnings
            assert [journal.get(request(str(n))) for n in range(9)] == [Response(f"answer {n}") for n in range(9)]


def test_what_is_no_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_bytes(b"precious " * 1000)
    with pytest.raises(DataError, match=r"j\.sqlite cannot be opened.*move it away"):
        Journal(tmp_path / "j.sqlite")
    assert (tmp_path / "j.sqlite").read_bytes() == b"precious " * 1000
    with pytest.raises(DataError, match="cannot be made"):
        Journal(tmp_path / "j.sqlite" / "j.sqlite")
    with pytest.raises(DataError, match="cannot be opened"):
        Journal(tmp_path)
