"""Records in shards: read as one list, written as data sets are, whole or not at all."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from auto_router.data import formats as shards
from auto_router.data import json_files
from auto_router.data.formats import files_of, parquet_shards, records_sha256
from auto_router.data.records import Record, group_ids, iter_records, load_records
from auto_router.data.splits import content_key
from auto_router.errors import DataError
from tests.fakes import RECORD_MODELS, make_record


def write(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    if monkeypatch is not None:
        monkeypatch.setattr(shards, "SHARD_ROWS", 6)
        monkeypatch.setattr(shards, "GROUP_ROWS", 3)
    with parquet_shards(folder, RECORD_MODELS) as append:
        for i in range(count):
            append(make_record(i).to_json())


def known(row: Record) -> Record:
    """A struct names every model: an absent cost or latency comes back as unknown, which is the same."""
    costs, latencies = (
        {model: number for model, number in table.items() if number is not None}
        for table in (row.model_costs, row.model_latencies)
    )
    return replace(row, model_costs=costs, model_latencies=latencies)


def test_shards_give_back_what_was_written_from_any_record_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train", 20, monkeypatch)
    assert [file.name for file in files_of(tmp_path / "train")] == [f"train-0000{i}-of-00004.parquet" for i in range(4)]
    assert list(tmp_path.iterdir()) == [tmp_path / "train"]
    expected = [make_record(i) for i in range(20)]
    for start in (0, 1, 3, 5, 6, 11, 12, 19):
        assert list(map(known, iter_records(tmp_path / "train", start))) == expected[start:]
    assert list(iter_records(tmp_path / "train", 20)) == []
    assert list(map(known, iter_records(tmp_path / "train" / "*-0000[01]-*"))) == expected[:12]


def test_records_before_the_start_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train", 20, monkeypatch)
    read: list[Any] = []
    original = shards._inline_images

    def counted(row: dict[str, Any]) -> dict[str, Any]:
        read.append(row)
        return original(row)

    monkeypatch.setattr(shards, "_inline_images", counted)
    assert next(iter_records(tmp_path / "train", 17)).idx == 17
    assert len(read) == 3, "the row group's two before it, and itself"


def test_the_data_set_library_reads_them_with_their_images(tmp_path: Path) -> None:
    write(tmp_path / "hf_evaluations_train", 5)
    (name,) = datasets.load_dataset(str(tmp_path / "hf_evaluations_train")).keys()
    rows = datasets.load_dataset(str(tmp_path / "hf_evaluations_train"), split=name)
    assert isinstance(rows.features["images"].feature, datasets.Image)
    assert rows[2]["images"][1].getpixel((0, 0)) == (2, 0, 0)
    assert rows[2]["model_scores"] == {"a/b": 0.0, "c d": None}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json"])
def test_shards_of_lines_count_as_one_list(tmp_path: Path, suffix: str) -> None:
    for number, rows in enumerate(([0, 1, 2], [], [3, 4])):
        plain = [make_record(i).to_json() for i in rows]
        text = json.dumps(plain) if suffix == ".json" else "\n".join(map(json.dumps, plain))
        (tmp_path / f"{number}{suffix}").write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    assert load_records(tmp_path) == [make_record(i) for i in range(5)]
    for start in (2, 3, 4):
        assert [row.idx for row in iter_records(tmp_path, start)] == list(range(start, 5))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_a_file_holds_counts_not_its_ending(tmp_path: Path, name: str) -> None:
    """An editor on Windows puts a mark before the first byte, and a list or lines may bear either ending."""
    plain = [make_record(i).to_json() for i in range(2)]
    for text in (json.dumps(plain), "\n".join(map(json.dumps, plain)), "\ufeff" + json.dumps(plain, indent=1)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert load_records(tmp_path / name) == [make_record(0), make_record(1)]


def test_a_first_line_of_any_length_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record with large images is longer than what is looked at to tell lines from one document."""
    monkeypatch.setattr(json_files, "_LONGEST_LINE", 40)
    plain = [make_record(i).to_json() for i in range(3)]
    for text in ("\n".join(map(json.dumps, plain)), json.dumps({"data": plain}), json.dumps(plain)):
        (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
        assert load_records(tmp_path / "a.jsonl") == [make_record(i) for i in range(3)]
    (tmp_path / "a.jsonl").write_text(json.dumps(plain[0]) + "\n[]", encoding="utf-8")
    with pytest.raises(DataError, match="does not end as JSON does"):
        load_records(tmp_path / "a.jsonl")


def test_the_digest_is_of_the_contents_in_order(tmp_path: Path) -> None:
    for name, content in {
        "a/0.jsonl": b"x",
        "a/1.jsonl": b"y",
        "b/2.jsonl": b"x",
        "b/3.jsonl": b"y",
        "c/0.jsonl": b"y",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "c" / "1.jsonl").write_bytes(b"x")
    a, b, c = (records_sha256(tmp_path / name) for name in "abc")
    assert a == b != c


def test_a_failed_write_leaves_the_old_shards_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train", 20, monkeypatch)
    with pytest.raises(KeyError), parquet_shards(tmp_path / "train", RECORD_MODELS) as append:
        append({})
    assert [row.idx for row in load_records(tmp_path / "train")] == list(range(20))
    write(tmp_path / "train", 2)
    assert [row.idx for row in load_records(tmp_path / "train")] == [0, 1]
    assert list(tmp_path.iterdir()) == [tmp_path / "train"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "thesis.docx").write_text("years of work")
    with (
        pytest.raises(DataError, match=r"holds thesis\.docx, which is no shard"),
        parquet_shards(tmp_path / "train", RECORD_MODELS),
    ):
        pass
    assert (tmp_path / "train" / "thesis.docx").exists()


def test_what_is_no_list_of_shards_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no records"):
        load_records(tmp_path)
    (tmp_path / "1.jsonl").write_text('{"prompt": "p"}\n{"prompt": 3}')
    with pytest.raises(DataError, match=r"1\.jsonl, record 1: 'prompt'"):
        load_records(tmp_path)
    (tmp_path / "2.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"\.jsonl and \.parquet files; give a glob: '\*\.jsonl'"):
        load_records(tmp_path)
    with pytest.raises(DataError, match=r"2\.parquet cannot be parsed"):
        load_records(tmp_path / "*.parquet")
    with pytest.raises(DataError, match="does not exist"):
        load_records(tmp_path / "*.json")


def test_a_model_without_a_column_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="record 7 scores e; the shards are for"),
        parquet_shards(tmp_path / "t", RECORD_MODELS) as append,
    ):
        append(Record(7, "p", model_scores={"e": 1}).to_json())
    assert not list(tmp_path.iterdir())


def test_text_without_a_utf8_form_is_written_without_it(tmp_path: Path) -> None:
    with parquet_shards(tmp_path / "train", RECORD_MODELS) as append:
        append(Record(0, "lone \ud800 here", model_scores={"a/b": 1}, model_errors={"c d": "\udfff"}).to_json())
    (row,) = load_records(tmp_path / "train")
    assert row.prompt == "lone ? here"
    assert row.model_errors == {"c d": "?"}


def test_a_slim_record_keeps_what_training_needs() -> None:
    rows = [make_record(i) for i in range(6)]
    bare = [Record(r.idx, r.prompt, r.answer, r.images, r.model_scores) for r in [*rows, *rows]]
    slim = [row.slim() for row in bare]
    assert group_ids(slim).tolist() == group_ids(bare).tolist()
    assert [len(row.images) for row in slim] == [len(row.images) for row in bare]
    assert {len(image) for row in slim for image in row.images} == {16}, "a digest"
    keys = [[content_key(row.prompt, row.images) for row in part] for part in (slim, bare)]
    assert [keys[0].index(key) for key in keys[0]] == [keys[1].index(key) for key in keys[1]], "the same are repeated"
    assert [row.group for row in map(Record.slim, rows)] == [row.group for row in rows]


def test_several_right_answers_survive_shards(tmp_path: Path) -> None:
    rows = [Record(0, "p", "a", answers=("a", "b"), model_scores={"a/b": 1}), Record(1, "q", "c", model_scores={"a/b": 0})]
    with parquet_shards(tmp_path / "train", RECORD_MODELS) as append:
        for row in rows:
            append(row.to_json())
    assert [row.answers for row in load_records(tmp_path / "train")] == [("a", "b"), ()]
