"""Files are whole or absent."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.data import json_files
from auto_router.data.json_files import json_items
from auto_router.errors import RouterError, run
from auto_router.files import atomic_path, sha256_of, write_json
from tests.checkout import ROOT


def test_a_block_that_ends_moves_the_file_into_place(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "out.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["out.txt"]


def test_a_block_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")

    def interrupted() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_files_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"ok": 1})
    before = path.read_bytes()
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, ["first", value])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.json"]


def test_json_is_readable_utf8_and_takes_lone_surrogates(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"text": "中文 🐈", "broken": "\ud83d"})
    assert "中文 🐈" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "中文 🐈", "broken": "\ud83d"}


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"ab" * 700_000)
    assert sha256_of(path) == hashlib.sha256(b"ab" * 700_000).hexdigest()
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_run_turns_our_errors_into_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise RouterError("first line\nsecond\tline")

    assert run(fails) == 2
    assert capsys.readouterr().err == "error: first line second line\n"


@pytest.mark.parametrize("is_open", [False, True])
def test_a_closed_output_ends_a_command_quietly_and_another_broken_pipe_is_a_bug(is_open: bool) -> None:
    code = "raise BrokenPipeError('of a peer')" if is_open else "print('x')"
    program = f"import sys\nfrom auto_router.errors import run\ndef main():\n    {code}\nsys.exit(run(main))"
    reader, writer = os.pipe()
    if not is_open:
        os.close(reader)
    done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writer)
    assert done.returncode == (1 if is_open else 141)
    assert ("of a peer" in done.stderr) is is_open
    assert "Exception ignored" not in done.stderr
    if is_open:
        os.close(reader)


def test_run_passes_success_interrupts_and_bugs_on(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def bug() -> None:
        raise ZeroDivisionError("a bug keeps its traceback")

    assert run(lambda: None) == 0
    assert run(interrupted) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(ZeroDivisionError):
        run(bug)


@pytest.mark.parametrize(
    "text", ["[]", " [ ] \n", '[{"a": [1, "]"]}, {}]', '[["\\ud800", 12345678901234567890123, NaN]]', "[[[]], null , [1.5]]"]
)
@pytest.mark.parametrize("block", [1, 2, 1000])
def test_a_json_list_is_read_as_the_standard_library_reads_it(text: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "_BLOCK", block)
    assert repr(list(json_items(io.StringIO(text)))) == repr(json.loads(text))


@given(st.lists(st.dictionaries(st.text(), st.text() | st.lists(st.integers() | st.none()), max_size=3)), st.integers(1, 9))
def test_any_list_of_objects_comes_back_whatever_the_block(rows: list[Any], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_BLOCK", block)
        for indent in (None, 1):
            assert list(json_items(io.StringIO(json.dumps(rows, indent=indent)))) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list"),
        ('{"a": 1}', "expected a list"),
        ("[1 2]", "after item 0: expected ',' or ']', got '2'"),
        ('[{"a": 1}', "after item 0: expected ',' or ']', got 'the end of the file'"),
        ('[{"a": 1}, {"b": ', "item 1: "),
        ("[1,]", "item 1: "),
        ("[] []", "after the list"),
    ],
)
def test_what_is_no_whole_json_list_is_a_value_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        list(json_items(io.StringIO(text)))


def test_a_json_list_is_read_as_it_is_needed() -> None:
    file = io.StringIO("[" + ",".join(["1" * 100] * 100_000) + "]")
    items = json_items(file)
    assert next(items) == int("1" * 100)
    assert file.tell() <= 2**21
