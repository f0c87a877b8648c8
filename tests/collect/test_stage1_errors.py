"""Every bad input of Stage 1 is one line on stderr and exit code 2, and leaves what exists as it was."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import prepare_hf_data
from auto_router.collect.journal import JOURNAL_NAME
from auto_router.collect.replay import ReplayServer, recording
from tests.helpers import png
from tests.stage1 import ChatServer, flags, raw, recorded, stage1, write_pool, write_rows

ROWS: list[dict[str, Any]] = [{"prompt": f"What is {n}+0?", "answer": str(n)} for n in range(4)]
TRUNCATED = base64.b64encode(png((255, 0, 0), (64, 64))[:60]).decode()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run that went well, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    write_rows(folder / "rows.jsonl", ROWS)
    write_pool(folder / "pool.yaml", [{"name": "m"}])
    with ReplayServer(recording(recorded("m", row["prompt"], row["answer"]) for row in ROWS)) as server:
        assert stage1(*flags(folder), "--base-url", server.url) == 0
    return folder / "out"


@pytest.fixture
def folder(tmp_path: Path, finished: Path) -> Path:
    """A working folder: good inputs, and the outputs of an earlier run in ``out``."""
    write_rows(tmp_path / "rows.jsonl", ROWS)
    write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": "http://127.0.0.1:9/v1"}])
    (tmp_path / "out").mkdir()
    for path in finished.iterdir():
        (tmp_path / "out" / path.name).write_bytes(path.read_bytes())
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def arguments(folder: Path, **changed: str) -> list[str]:
    """The flags of a good run, some of them changed."""
    flags = {"dataset": "rows.jsonl", "pool": "pool.yaml", "output-dir": "out"}
    flags |= {name.replace("_", "-"): value for name, value in changed.items()}
    files = ("dataset", "pool", "output-dir")
    return [part for name, value in flags.items() for part in (f"--{name}", str(folder / value) if name in files else value)]


Case = tuple[Callable[[Path], object], dict[str, str], str]


def rows(*values: dict[str, Any]) -> Callable[[Path], object]:
    return lambda folder: write_rows(folder / "rows.jsonl", values)


def pool(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "pool.yaml").write_text(text)


def nothing(folder: Path) -> None:
    """Only the flags are wrong."""


GOOD = ROWS[0]
CASES: dict[str, Case] = {
    "missing data set": (nothing, {"dataset": "none.jsonl"}, "does not exist here"),
    "unknown format": (lambda folder: (folder / "rows.xlsx").write_text("x"), {"dataset": "rows.xlsx"}, "unknown format"),
    "empty file": (rows(), {}, "is empty"),
    "empty list": (lambda folder: (folder / "rows.json").write_text("[]"), {"dataset": "rows.json"}, "is empty"),
    "not JSON": (lambda folder: (folder / "rows.jsonl").write_text("{nope"), {}, "cannot be loaded"),
    "missing prompt column": (rows({"blob": "p", "answer": "a"}), {}, "no column for the prompt"),
    "missing answer column": (rows({"prompt": "p"}), {}, "no column for the answer"),
    "misnamed column": (nothing, {"images_column": "pics"}, "no column 'pics' for the images"),
    "row without prompt": (rows(GOOD, {"prompt": " ", "answer": "a"}), {}, "row 1: column 'prompt' holds no prompt"),
    "null prompt": (rows(GOOD, {"prompt": None, "answer": "a"}), {}, "row 1"),
    "truncated image": (rows(GOOD | {"images": [TRUNCATED]}), {}, "row 0, images: .*cannot be decoded"),
    "image that is a path": (rows(GOOD | {"images": ["/etc/passwd"]}), {}, "row 0, images: .*only a path.*--picture-folder"),
    "image that is a URL": (rows(GOOD | {"images": ["http://127.0.0.1/x.png"]}), {}, "nothing is fetched"),
    "one row": (rows(GOOD), {}, "at least 2 groups"),
    "one group": (rows(*(row | {"group": "g"} for row in ROWS)), {}, "4 rows form 1 group"),
    "missing pool": (nothing, {"pool": "none.yaml"}, "pool file .* cannot be read"),
    "pool that is no YAML": (pool("models: ["), {}, "is not YAML"),
    "pool without models": (pool("models: []"), {}, "non-empty list"),
    "unknown pool key": (pool("models: [{name: m, api_key: x}]"), {}, "unknown keys .*allowed are"),
    "wrong price": (pool("models: [{name: m, input_usd_per_mtok: cheap}]"), {}, "must be a number from 0"),
    "unknown model": (nothing, {"models": "n"}, "pool has no model 'n'; it has m"),
    "missing key variable": (pool("models: [{name: m, api_key_env: NO_KEY}]"), {}, "variable NO_KEY is not set; export it"),
    "missing key of the judge": (pool("models: [{name: m}]\njudge: {name: j, api_key_env: NO_KEY}"), {}, "NO_KEY is not set"),
    "negative seed": (nothing, {"seed": "-1"}, "--seed must be a whole number from 0"),
    "seed too large": (nothing, {"seed": str(2**32)}, "--seed must be a whole number from 0"),
    "one sample": (nothing, {"num_samples": "1"}, "--num-samples must be at least 2"),
    "no sample": (nothing, {"num_samples": "-3"}, "--num-samples must be at least 2"),
    "no test": (nothing, {"test_fraction": "0"}, "--test-fraction must be between 0 and 1"),
    "only test": (nothing, {"test_fraction": "1"}, "--test-fraction"),
    "not a number": (nothing, {"test_fraction": "nan"}, "--test-fraction"),
    "output in a file": (nothing, {"output_dir": "rows.jsonl/out"}, "cannot be made"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_input_is_one_line_and_changes_nothing(folder: Path, case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    prepare, changed, says = case
    prepare(folder)
    before = contents(folder / "out")
    assert {"hf_evaluations_train.json", "hf_evaluations_test.json", JOURNAL_NAME} <= set(before)
    assert stage1(*arguments(folder, **changed)) == 2
    printed = capfd.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert re.search(says, line)
    assert contents(folder / "out") == before


def test_when_no_answer_comes_nothing_is_written(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = contents(folder / "out")
    with ChatServer(lambda body: raw({"error": {"message": "go away"}}, 401)) as server:
        write_pool(folder / "pool.yaml", [{"name": "other", "base_url": server.url}])
        assert stage1(*arguments(folder)) == 2
    printed = capfd.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line and "ask and judge" not in line]
    assert line == "error: no question got a single label, so nothing was written; see the reasons above"
    assert "null label: other: HTTP 401: go away (4)" in printed.out
    after = contents(folder / "out")
    for name in ("hf_evaluations_train.json", "hf_evaluations_test.json"):
        assert after[name] == before[name]


def test_nothing_new_is_left_behind_by_a_first_run_that_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", [GOOD, {"prompt": "", "answer": "a"}])
    write_pool(tmp_path / "pool.yaml", [{"name": "m"}])
    assert stage1(*arguments(tmp_path)) == 2
    assert not (tmp_path / "out").exists()
    assert capfd.readouterr().out == ""


def test_a_journal_that_is_none_is_not_overwritten(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "out" / JOURNAL_NAME).write_bytes(b"my diary " * 500)
    assert stage1(*arguments(folder)) == 2
    assert "move it away" in capfd.readouterr().err
    assert (folder / "out" / JOURNAL_NAME).read_bytes() == b"my diary " * 500


@pytest.mark.parametrize("case", ["truncated image", "missing key variable"])
def test_the_script_itself_ends_with_code_2_and_no_traceback(folder: Path, case: str) -> None:
    prepare, changed, _ = CASES[case]
    prepare(folder)
    before = contents(folder / "out")
    command = [sys.executable, prepare_hf_data.__file__, *arguments(folder, **changed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=folder, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert contents(folder / "out") == before


def test_a_flag_that_does_not_parse_is_argparse_with_code_2(folder: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        stage1(*arguments(folder, num_samples="many"))
    assert caught.value.code == 2


def test_the_output_of_an_earlier_run_is_json_as_promised(finished: Path) -> None:
    sizes = [len(json.loads((finished / f"hf_evaluations_{part}.json").read_text())) for part in ("train", "test")]
    assert sizes == [3, 1]
