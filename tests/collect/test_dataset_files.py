"""Files as people have them: separators, encodings, globs, objects that hold a list, and what the errors say to do."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.collect.dataset_files import open_table
from auto_router.collect.row_files import csv_rows
from auto_router.errors import DataError

ROWS = [{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}]


def read_rows(path: Path | str) -> list[Any]:
    return list(open_table(str(path)).rows())


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def table(separator: str) -> str:
    return "".join(f"{one}{separator}{other}\n" for one, other in (("question", "answer"), ("q1", "a1"), ("q2", "a2")))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", table(",")),
        ("a.tsv", table("\t")),
        ("a.csv", "\ufeff" + table(",")),
        ("a.csv", table(",").replace("\n", "\r\n")),
        ("a.csv.gz", gzip.compress(table(",").encode(), mtime=0)),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps({"version": "1.1", "data": ROWS})),
        ("a.json", json.dumps({"rows": ROWS, "total": 2}, indent=2)),
        ("a.json", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("a.json.gz", gzip.compress(json.dumps({"data": ROWS}).encode(), mtime=0)),
        ("a.jsonl", "\n" + "\n\n".join(json.dumps(row) for row in ROWS)),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.ndjson", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("a.jsonl", "\n" + json.dumps(ROWS, indent=2)),
    ],
)
def test_text_files_are_read_in_every_form(tmp_path: Path, name: str, content: bytes | str) -> None:
    assert read_rows(write(tmp_path / name, content)) == ROWS


@pytest.mark.parametrize(
    ("separator", "lines", "rows"),
    [
        ("\t", ['"Who said hi?|Bob', 'What is "x"?|Y', '"q"|"Z"'], [['"Who said hi?', "Bob"],
          ['What is "x"?', "Y"], ["q", "Z"]]),
        ("\t", ['"Never closed|A', "b|B", "c|C"], [['"Never closed', "A"], ["b", "B"], ["c", "C"]]),
        ("\t", ['"x|y', ' z"|A', "b|B"], [["x\ty\n z", "A"], ["b", "B"]]),
        (",", ['"Never closed|A', "b|B"], [['"Never closed', "A"], ["b", "B"]]),
        (",", ['"Who said "hi"?"|A', '"b, ""c"""|B'], [['Who said "hi"?', "A"], ['b, "c"', "B"]]),
        (",", ['"Hello, Bob.', 'How are you?"|A', "b|B"], [["Hello, Bob.\nHow are you?", "A"], ["b", "B"]]),
        (",", ['"Never closed|A', "", "b|B", ""], [['"Never closed', "A"], ["b", "B"]]),
        (",", ['"Never closed|A', "b|B", 'c|"one', 'two"', '"d', 'e"|D'], [['"Never closed', "A"], ["b", "B"],
          ["c", "one\ntwo"], ["d\ne", "D"]]),
        (",", ['"a" |A', '"b|B'], [["a", "A"], ['"b', "B"]]),
    ],
)  # fmt: skip
def test_a_stray_quote_takes_no_other_rows(separator: str, lines: list[str], rows: list[list[str]], tmp_path: Path) -> None:
    text = "\n".join(["question|answer", *lines]).replace("|", separator) + "\n"
    path = write(tmp_path / ("a.tsv" if separator == "\t" else "a.csv"), text)
    assert [list(row.values()) for row in read_rows(path)] == rows


def test_open_quotes_take_time_and_memory_by_the_length_of_the_file_alone(tmp_path: Path) -> None:
    count = 20_000
    text = "question\tanswer\n" + "".join(f'"Never closed {i}\tA{i}\n' for i in range(count)) + "b\tB\n" * count
    path = write(tmp_path / "a.tsv", text)
    tracemalloc.start()
    start = time.process_time()
    read = sum(1 for _ in csv_rows(path, "\t"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == 2 * count
    assert time.process_time() - start < 10
    assert peak < 10 * len(text)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_lines_end_in_each_way_and_cells_may_be_huge(tmp_path: Path, end: str) -> None:
    huge = f"one{end}" * 200_000
    path = write(tmp_path / "a.csv", end.join(["question,answer", f'"{huge}",A', '"stray,B', "c,C", ""]))
    assert [list(row.values()) for row in read_rows(path)] == [[huge, "A"], ['"stray', "B"], ["c", "C"]]


def test_a_quote_that_no_reading_fits_is_named_by_its_line(tmp_path: Path) -> None:
    text = 'question,answer\na,A\n"one\ntwo "three" four",B\nc,C\n'
    with pytest.raises(DataError, match=r"in line 3 a cell begins with a quote that does not end it; write quotes"):
        read_rows(write(tmp_path / "a.csv", text))


def test_a_line_that_is_no_object_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps(ROWS[0], indent=1))
    with pytest.raises(DataError, match=r"line 1 is no JSON: .*; each line must be one whole object\); correct the file"):
        read_rows(path)


def test_a_folder_without_the_wanted_split_names_those_that_it_has(tmp_path: Path) -> None:
    write(tmp_path / "set" / "test.jsonl", json.dumps(ROWS[0]))
    with pytest.raises(DataError, match="has no split 'train'; it has test: choose with --split"):
        read_rows(tmp_path / "set")


def test_the_files_of_squad_are_unfolded_to_questions(tmp_path: Path) -> None:
    answers = [{"text": "a", "answer_start": 1}, {"text": "b", "answer_start": 2}]
    paragraph = {"context": "c", "qas": [{"id": "1", "question": "q?", "answers": answers}]}
    whole = {"version": "1.1", "data": [{"title": "T", "paragraphs": [paragraph]}]}
    rows = read_rows(write(tmp_path / "a.json", json.dumps(whole)))
    assert rows == [{"title": "T", "context": "c", "id": "1", "question": "q?", "answers": answers}]


def test_a_glob_is_one_data_set_in_the_order_of_names(tmp_path: Path) -> None:
    for number in (2, 1):
        write(tmp_path / f"part-{number}.jsonl", json.dumps(ROWS[number - 1]))
    assert read_rows(tmp_path / "part-*.jsonl") == ROWS
    write(tmp_path / "part-3.csv", table(","))
    assert read_rows(f"{tmp_path}/**/part-*") == [*ROWS, *ROWS]
    with pytest.raises(DataError, match="no file matches this pattern"):
        read_rows(tmp_path / "*.parquet")


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path / "dir[1]" / "q*.jsonl", json.dumps(ROWS[0]))) == ROWS[:1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", table(";"), "set apart by semicolons; save it as .csv with commas"),
        ("a.csv", table("|"), "set apart by bars; save it as .csv with commas"),
        ("a.csv", table("\t"), "set apart by tabs; save it as .csv with commas"),
        ("a.tsv", table(","), "set apart by commas; save it as .csv with commas"),
        ("a.csv", "question,answer,answer\nq,a,b\n", "two columns named 'answer'; rename one"),
        ("a.csv", "question,answer\nqu\u00e9,s\u00ed\n".encode("latin-1"), r"is not UTF-8 text .*; save it as UTF-8"),
        ("a.csv", table(",").encode("utf-16"), r"is not UTF-8 text .*; save it as UTF-8"),
        ("a.jsonl", '{"question": "q"}\n{"question": \n', "line 2 is no JSON"),
        ("a.json", '{"data": [{"question": "q"}', "cannot be loaded"),
        ("a.json", '{"data": [{"question": "q"}] "x": 1}', "cannot be loaded"),
        ("a.xlsx", "PK", "unknown format; .*Save a spreadsheet as 'CSV UTF-8'"),
    ],
)
def test_a_file_in_another_form_says_what_to_save(tmp_path: Path, name: str, content: bytes | str, says: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=says) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1) | st.sampled_from(["None", "NA", "nan", "007", '"'])


@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_every_cell_of_a_csv_stays_the_word_it_is(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]
) -> None:
    quoted = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in cells)
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", "question,answer\n" + quoted)
    assert [tuple(row.values()) for row in read_rows(path)] == cells
