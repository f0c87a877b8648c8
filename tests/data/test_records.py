"""The evaluation record: what is written is what is read, and every bad row is named."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.data.records import (
    MAX_IDX,
    Record,
    cost_matrix,
    group_ids,
    label_matrix,
    load_records,
    model_names,
    parse_records,
    save_records,
)
from auto_router.data.splits import content_key
from auto_router.errors import DataError

TEXT = st.text(max_size=30)
NAMES = st.text(min_size=1, max_size=10)
SCORES = st.none() | st.integers(0, 1) | st.floats(0, 1)
RECORDS = st.builds(
    Record,
    idx=st.integers(-MAX_IDX, MAX_IDX),
    prompt=TEXT.filter(lambda text: bool(text.strip())),
    answer=TEXT,
    images=st.lists(TEXT, max_size=3).map(tuple),
    model_scores=st.dictionaries(NAMES, SCORES, max_size=4),
    group=st.none() | NAMES,
    source=st.none() | NAMES,
    model_costs=st.dictionaries(NAMES, st.none() | st.floats(0, 1e6), max_size=4),
    model_errors=st.dictionaries(NAMES, TEXT, max_size=4),
    answers=st.lists(TEXT, max_size=3).map(tuple),
    model_latencies=st.dictionaries(NAMES, st.none() | st.floats(0, 1e6), max_size=4),
)


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_records_survive_json(records: list[Record]) -> None:
    rows = json.loads(json.dumps([record.to_json() for record in records]))
    assert parse_records(rows) == records


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXT, lambda x: st.lists(x) | st.dictionaries(TEXT, x)
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    fields = (
        "prompt",
        "idx",
        "answer",
        "images",
        "model_scores",
        "model_costs",
        "model_latencies",
        "model_errors",
        "group",
        "source",
        "answers",
    )
    for rows in (value, [value], *([{"prompt": "p", field: value}] for field in fields)):
        try:
            records = parse_records(rows)
        except DataError:
            continue
        label_matrix(records, model_names(records))
        cost_matrix(records, ["m"])
        group_ids(records)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet"])
def test_every_format_reads_the_same(tmp_path: Path, suffix: str) -> None:
    rows: list[dict[str, Any]] = [
        {"idx": 4, "prompt": "é 中", "answer": "A", "images": ["AAAA"], "model_scores": {"a": 1, "b": None}, "group": "g"},
        {"idx": 5, "prompt": "two", "answer": "", "images": [], "model_scores": {"a": 0.5, "b": 0.0}, "group": None},
    ]
    path = tmp_path / f"rows.v1{suffix}"
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        packed = [row | {"images": [{"bytes": b"\0\0\0", "path": None} for _ in row["images"]]} for row in rows]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(packed), path)
    else:
        text = "\n\n".join(map(json.dumps, rows)) if "jsonl" in suffix else json.dumps(rows)
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if suffix.endswith(".gz") else text.encode())
    assert load_records(path) == [
        Record(4, "é 中", "A", ("AAAA",), {"a": 1, "b": None}, group="g"),
        Record(5, "two", "", (), {"a": 0.5, "b": 0.0}),
    ]


def test_saved_records_are_loaded_and_whole_scores_look_whole(tmp_path: Path) -> None:
    records = [Record(0, "p", "a", (), {"m": 1.0, "n": 0.25, "o": None}, model_errors={"o": "timeout"})]
    save_records(tmp_path / "r.json", records)
    assert load_records(tmp_path / "r.json") == records
    row = json.loads((tmp_path / "r.json").read_text())[0]
    assert row == {
        "idx": 0,
        "prompt": "p",
        "answer": "a",
        "images": [],
        "model_scores": {"m": 1, "n": 0.25, "o": None},
        "model_errors": {"o": "timeout"},
    }
    assert isinstance(row["model_scores"]["m"], int)


def test_numbers_as_pandas_writes_them_are_numbers() -> None:
    assert [record.idx for record in parse_records([{"idx": 3.0, "prompt": "p"}])] == [3]


def test_the_format_of_the_contract_is_read() -> None:
    (record,) = parse_records(
        [
            {
                "idx": 0,
                "prompt": "What is shown in this image?",
                "answer": "A cat sitting on a chair",
                "images": ["<base64_encoded_image>"],
                "model_scores": {"gpt-5-chat": 1, "nvidia/nemotron-nano-12b-v2-vl": 1, "nvidia/nvidia-nemotron-nano-9b-v2": 0},
            }
        ]
    )
    assert record.model_scores["nvidia/nvidia-nemotron-nano-9b-v2"] == 0
    assert model_names([record]) == ["gpt-5-chat", "nvidia/nemotron-nano-12b-v2-vl", "nvidia/nvidia-nemotron-nano-9b-v2"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([], "expected an object, got list"),
        ({}, "'prompt' must be a non-empty string, got None"),
        ({"prompt": " \n"}, "'prompt'"),
        ({"prompt": 3}, "'prompt'.*got 3"),
        ({"idx": "7"}, "'idx' must be an integer, got '7'; number the records, or leave 'idx' out of all of them"),
        ({"idx": 0.5}, "'idx' must be an integer, got 0.5"),
        ({"idx": True}, "'idx'"),
        ({"images": "AAAA"}, "'images' must be a list"),
        ({"images": [b"x"]}, "'images'"),
        ({"model_scores": [1]}, "'model_scores' must be an object.*list"),
        ({"model_scores": {"m": 1.5}}, "'model_scores' of 'm'.*0 to 1.*null for unknown; got 1.5"),
        ({"model_scores": {"m": -0.1}}, "'m'"),
        ({"model_scores": {"m": math.nan}}, "got nan"),
        ({"model_scores": {"m": "1"}}, "got '1'"),
        ({"model_costs": {"m": -1}}, "USD"),
        ({"model_latencies": {"m": -1}}, "seconds"),
        ({"model_latencies": {"m": math.inf}}, "a number of seconds from 0 to 1e.06"),
        ({"model_costs": {"m": math.inf}}, "USD"),
        ({"model_costs": {"m": 10**400}}, "USD"),
        ({"model_errors": ["m"]}, "'model_errors' must be an object"),
    ],
)
def test_a_bad_row_is_named_with_its_field(row: Any, says: str) -> None:
    bad = {"prompt": "p"} | row if isinstance(row, dict) and row else row
    with pytest.raises(DataError, match=f"^here, record 1: .*{says}"):
        parse_records([{"prompt": "fine"}, bad], where="here")


@pytest.mark.parametrize("rows", [{}, "text", 7, None, []])
def test_what_is_no_list_of_records_is_refused(rows: Any) -> None:
    with pytest.raises(DataError):
        parse_records(rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[{"),
        ("a.json", b"\xff\xfe"),
        ("a.json", b"[" * 100_000),
        ("a.jsonl", b'{"prompt": "p"}\n{'),
        ("a.json.gz", b"no gzip"),
        ("a.json.gz", gzip.compress(b"[" + b'{"prompt": "p"},' * 99, mtime=0)[:-9]),
        ("a.json.gz", gzip.compress(bytes(range(256)) * 40, mtime=0)[:60] + b"\xff" * 40),
        ("a.parquet", b"PAR1"),
        ("a.csv", b"prompt\np\n"),
        ("a.json", b""),
    ],
)
def test_a_damaged_file_is_one_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        load_records(tmp_path / name)


def test_a_missing_file_says_where_records_come_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.json does not exist.*prepare_hf_data\.py"):
        load_records(tmp_path / "no.json")
    with pytest.raises(DataError, match="holds no shards"):
        load_records(tmp_path)


def test_unknown_is_nan_and_never_zero() -> None:
    records = parse_records(
        [
            {"prompt": "a", "model_scores": {"m": 0, "n": None}, "model_costs": {"m": 0.5}},
            {"prompt": "b", "model_scores": {"o": True}},
        ]
    )
    names = model_names(records)
    assert names == ["m", "n", "o"]
    nan = np.nan
    np.testing.assert_array_equal(label_matrix(records, names), np.array([[0, nan, nan], [nan, nan, 1]], np.float32))
    np.testing.assert_array_equal(cost_matrix(records, ["m", "x"]), np.array([[0.5, nan], [nan, nan]], np.float32))
    assert label_matrix(records, names).dtype == np.float32


def test_groups_are_the_named_ones_and_equal_content() -> None:
    records = [
        Record(0, "What is 2+2?"),
        Record(1, "  what IS\n2+2? "),
        Record(2, "What is 2+2?", images=("AAAA",)),
        Record(3, "other", group="g"),
        Record(4, "What is 2+2?", group="g"),
        Record(5, "What is 2+2?", images=("BBBB",)),
    ]
    assert list(group_ids(records)) == [0, 0, 1, 2, 2, 3]
    records += [Record(6, "Else?", images=("BBBB", "CCCC")), Record(7, "More?", images=("CCCC",)), Record(8, "“what is 2+2”")]
    assert list(group_ids(records)) == [0, 0, 1, 2, 2, 3, 3, 3, 0], "an image that they share, directly or through others"


def test_the_same_follow_up_in_another_conversation_is_another_question() -> None:
    contexts = ("User: one\n\nUser: go on", "User: two\n\nUser: go on", "User: one\n\nUser: go on")
    first, second, third = group_ids([Record(i, "go on", context=context) for i, context in enumerate(contexts)])
    assert (first == third, first == second) == (True, False)


def test_an_empty_group_is_no_group() -> None:
    records = parse_records([{"prompt": "a", "group": "", "source": ""}, {"prompt": "b", "group": ""}])
    assert [record.group for record in records] == [None, None]
    assert list(group_ids(records)) == [0, 1]


def test_content_keys_separate_prompt_from_images() -> None:
    keys = {
        content_key("a"),
        content_key("a", [b"x"]),
        content_key("a", [b"x", b"y"]),
        content_key("a", [b"xy"]),
        content_key("b"),
    }
    assert len(keys) == 5
    assert content_key("a", ["x"]) == content_key("A ", [b"x"])
    assert len(content_key("\ud800", ["\ud800"])) == 16
