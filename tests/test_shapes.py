"""Conversations, pairs beside pictures, pictures from elsewhere, groups and splits: what becomes of a data set's rows."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.collect.image_source import ImageSource
from auto_router.collect.plan import Plan, make_plan
from auto_router.collect.question import Question, question_messages
from auto_router.collect.source import Source
from auto_router.data import remote_images
from auto_router.data.conversation import CONTEXT_CHARACTERS, CONTEXT_TURNS, Turn, conversation_input, turns_of
from auto_router.data.splits import normalize_prompt, split_by_group
from auto_router.errors import DataError
from tests.fakes import say
from tests.helpers import png
from tests.stage1 import b64, write_rows

RED, BLUE = png((255, 0, 0)), png((0, 0, 255))


def questions(folder: Path, rows: list[dict[str, Any]], **options: Any) -> list[Question]:
    return list(Source(str(write_rows(folder / "rows.jsonl", rows)), **options).questions())


def planned(folder: Path, rows: list[dict[str, Any]], fraction: float = 0.5, **options: Any) -> Plan:
    return make_plan(Source(str(write_rows(folder / "rows.jsonl", rows)), **options), None, fraction, 0)


def test_one_user_turn_is_the_prompt_as_it_stands() -> None:
    turns = turns_of([say("system", "Be brief."), say("user", "  Hi?\n"), say("assistant", "Yes.")])
    assert conversation_input(turns) == ("  Hi?\n", (), "")


def test_several_turns_are_the_context_of_the_last_one_and_no_further_back_than_needed() -> None:
    turns = [
        Turn("system", "Be brief."),
        Turn("user", "Say cat in German."),
        Turn("assistant", "Katze"),
        Turn("user", "And in French?"),
    ]
    found = conversation_input(turns)
    assert found.prompt == "And in French?"
    assert found.context == "User: Say cat in German.\n\nAssistant: Katze\n\nUser: And in French?"
    long = [Turn("user" if i % 2 == 0 else "assistant", f"t{i}") for i in range(21)]
    assert conversation_input(long).context.count("\n\n") == CONTEXT_TURNS
    assert conversation_input(long).context.endswith("User: t20")
    wordy = [Turn("user", "x" * 100_000), Turn("assistant", "y" * 100_000), Turn("user", "z" * 100_000)]
    assert conversation_input(wordy).prompt == "z" * 100_000
    assert len(conversation_input(wordy).context) < 3 * (CONTEXT_CHARACTERS + 20)


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hi",
        [1],
        [{"content": "x"}],
        [say("king", "x")],
        [say("user", "")],
        [{"role": "user", "content": 5}],
        [say("assistant", "x")],
    ],
)
def test_what_is_no_conversation_is_one_error(messages: Any) -> None:
    with pytest.raises(DataError):
        conversation_input(turns_of(messages))


def test_chat_messages_are_asked_as_they_are_and_the_last_reply_is_the_reference(tmp_path: Path) -> None:
    uri = f"data:image/png;base64,{b64(RED)}"
    parts = [{"type": "text", "text": "Which colour?"}, {"type": "image_url", "image_url": {"url": uri}}]
    rows = [
        {
            "messages": [
                say("system", "Be brief."),
                say("user", "one?"),
                say("assistant", "1"),
                say("user", "two?"),
                say("assistant", "2"),
            ]
        },
        {"messages": [say("user", "plain"), say("assistant", "p")]},
    ]
    first, second = questions(tmp_path, rows)
    assert (first.prompt, first.answer) == ("two?", "2")
    assert first.context == "User: one?\n\nAssistant: 1\n\nUser: two?"
    assert question_messages(first, ()) == rows[0]["messages"][:-1]
    assert (second.prompt, second.answer, second.turns) == ("plain", "p", ())
    (seeing,) = questions(tmp_path, [{"conversation": [{"role": "user", "content": parts}, say("assistant", "red")]}])
    assert (seeing.prompt, seeing.images, seeing.answer) == ("Which colour?", (RED,), "red")
    (shared,) = questions(tmp_path, [{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}])
    assert (shared.prompt, shared.answer) == ("q", "a")


def test_pairs_beside_pictures_as_in_finevision(tmp_path: Path) -> None:
    rows = [
        {
            "images": [b64(RED)],
            "texts": [{"user": "Colour?", "assistant": "red"}, {"user": "Else?", "assistant": "no"}],
            "source": "s",
        }
    ]
    (question,) = questions(tmp_path, rows)
    assert (question.prompt, question.answer, question.images, question.source) == ("Colour?", "red", (RED,), "s")


def test_when_nothing_fits_the_columns_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column for the prompt .*chat messages in messages.*it has blob, reply"):
        questions(tmp_path, [{"blob": "a", "reply": "b"}])


def test_paths_are_opened_below_the_named_folder_only(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "red.png").write_bytes(RED)
    (tmp_path / "secret.png").write_bytes(BLUE)
    (tmp_path / "pics" / "link.png").symlink_to(tmp_path / "secret.png")
    source = ImageSource(folder=tmp_path / "pics")
    assert source.read("red.png") == source.read([{"bytes": None, "path": "red.png"}]) == (RED,)
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        with pytest.raises(DataError, match="lies outside of --picture-folder"):
            source.read(name)
    with pytest.raises(DataError, match="no path"):
        source.read("a\0b")
    with pytest.raises(DataError, match="only a path; name the folder that it is below with --picture-folder"):
        ImageSource().read("red.png")
    assert source.read(f"data:image/png;base64,{b64(BLUE)}") == (BLUE,)


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """A server of pictures on loopback, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if self.path == "/away" else 200)
            if self.path == "/away":
                self.send_header("Location", "http://elsewhere.invalid/x.png")
            self.end_headers()
            self.wfile.write(RED if self.path == "/red.png" else b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_urls_are_fetched_once_and_from_named_hosts_only(tmp_path: Path, web: tuple[str, list[str]]) -> None:
    url, asked = web
    allowed = ImageSource(hosts=frozenset({"127.0.0.1"}), cache=tmp_path / "cache")
    assert allowed.read([f"{url}/red.png"] * 2) == (RED, RED)
    assert asked == ["/red.png"]
    with pytest.raises(DataError, match=r"host 'elsewhere\.invalid', which no --allow-host names"):
        allowed.read(f"{url}/away")
    asked.clear()
    for source in (ImageSource(), ImageSource(hosts=frozenset({"example.org"}), cache=tmp_path / "cache")):
        for bad in (f"{url}/red.png", url.replace("127.0.0.1", "example.org@127.0.0.1") + "/red.png", "file:///etc/passwd"):
            with pytest.raises(DataError):
                source.read(bad)
    assert asked == []
    with pytest.raises(DataError, match="no --allow-host names"):
        remote_images.fetch("ftp://127.0.0.1/x", frozenset({"127.0.0.1"}))


def test_near_duplicates_share_a_group_and_a_side(tmp_path: Path) -> None:
    again = base64.b64encode(png((255, 0, 0)) + b"trailing bytes do not change a picture").decode()
    rows = [
        {"prompt": "What  is ICE?", "answer": "a", "images": []},
        {"prompt": "what is ice", "answer": "a", "images": []},
        {"prompt": "What is ice-9?", "answer": "a", "images": []},
        {"prompt": "Colour?", "answer": "a", "images": [b64(RED)]},
        {"prompt": "Which shade is it?", "answer": "a", "images": [again, b64(BLUE)]},
        {"prompt": "Colour?", "answer": "a", "images": [b64(png((9, 9, 9)))]},
        {"prompt": "Blue?", "answer": "a", "images": [b64(BLUE)]},
    ]
    for fraction in (0.2, 0.5, 0.8):
        plan = planned(tmp_path, rows, fraction)
        groups = plan.groups
        assert groups[0] == groups[1]
        assert groups[3] == groups[4] == groups[6]
        assert len(set(groups)) == 4
        for group in set(groups):
            assert len({bool(test) for test, name in zip(plan.is_test, groups, strict=True) if name == group}) == 1
        assert [question.group for question in plan.questions()] == groups


def test_given_groups_are_kept_and_joined_by_what_repeats(tmp_path: Path) -> None:
    rows = [{"prompt": p, "answer": "a", "group": g} for p, g in (("a", "g"), ("b", "g"), ("B ", "h"), ("c", "i"))]
    assert planned(tmp_path, rows).groups == ["g", "g", "g", "i"]


def test_normalising_keeps_what_makes_another_question() -> None:
    assert normalize_prompt(" What IS\tit?") == normalize_prompt("what is it")
    assert normalize_prompt("ｆｕｌｌ") == normalize_prompt("full")
    assert len({normalize_prompt(text) for text in ("2+2", "2-2", "2*2", "x = (1)", "x = [1]", "No. 1", "No. 2")}) == 7


def test_the_split_is_stratified_by_source_and_seeded(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "answer": "a", "source": "rare" if n < 10 else "common"} for n in range(100)]
    one, same = planned(tmp_path, rows, 0.2), planned(tmp_path, rows, 0.2)
    assert one.is_test.tolist() == same.is_test.tolist()
    assert [int(one.is_test[:10].sum()), int(one.is_test[10:].sum())] == [2, 18]
    other = make_plan(Source(str(tmp_path / "rows.jsonl")), None, 0.2, 1)
    assert other.is_test.tolist() != one.is_test.tolist()


def test_strata_share_the_held_out_groups_in_proportion() -> None:
    groups = np.repeat(np.arange(30), 2)
    strata = np.repeat(np.array([0] * 6 + [1] * 21 + [2] * 3), 2)
    first, second = split_by_group(groups, 1 / 3, 0, strata)
    assert not set(groups[first]) & set(groups[second])
    assert [len(set(groups[second]) & set(groups[strata == stratum])) for stratum in range(3)] == [2, 7, 1]


def test_an_existing_split_is_honoured_and_repeats_leave_the_training_side(tmp_path: Path) -> None:
    rows = [
        {"prompt": p, "answer": "a", "part": s}
        for p, s in (("a", "train"), ("b", "train"), ("A?", "test"), ("c", "validation"))
    ]
    plan = planned(tmp_path, rows, split_column="part")
    assert (plan.rows.tolist(), plan.is_test.tolist(), plan.left_out) == ([1, 2, 3], [False, True, True], 1)
    assert [question.prompt for question in plan.questions()] == ["b", "A?", "c"]
    with pytest.raises(DataError, match="no column 'fold' to split by; it has prompt, answer, part"):
        planned(tmp_path, rows, split_column="fold")
    with pytest.raises(DataError, match="leaves no row to test on"):
        planned(tmp_path, [row | {"part": "train"} for row in rows], split_column="part")


def test_a_split_of_the_data_set_can_be_the_test(tmp_path: Path) -> None:
    import datasets

    parts = {
        "train": [{"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": "2"}],
        "final": [{"prompt": "c", "answer": "3"}],
    }
    datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()}).save_to_disk(tmp_path / "d")
    plan = make_plan(Source(str(tmp_path / "d"), test_split="final"), None, 0.2, 0)
    assert [(q.idx, q.prompt) for q in plan.questions()] == [(0, "a"), (1, "b"), (2, "c")]
    assert plan.is_test.tolist() == [False, False, True]


def test_an_arrow_file_is_read(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list([{"prompt": "a", "answer": "1"}]).save_to_disk(tmp_path / "d")
    (arrow,) = (tmp_path / "d").glob("*.arrow")
    assert [q.prompt for q in Source(str(arrow)).questions()] == ["a"]
    assert json.loads((tmp_path / "d" / "state.json").read_text())["_data_files"]
