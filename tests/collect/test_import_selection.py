"""Some of a file's prompts: which rows each way takes, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router import select_prompts
from auto_router.errors import ConfigError, DataError
from auto_router.select_prompts import DIVERSE, RANDOM, SELECTIONS, select_rows


def clusters(sizes: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Rows around as many directions as there are sizes."""
    rng = np.random.default_rng(0)
    middles = np.repeat(np.eye(len(sizes), 8), sizes, axis=0)
    return (middles + 0.01 * rng.standard_normal(middles.shape)).astype(np.float32)


def test_diverse_takes_a_row_of_every_kind_however_rare() -> None:
    rows, sizes = clusters([500, 3, 2]), np.cumsum([500, 3, 2])
    for seed in range(3):
        chosen = select_rows(rows, 3, DIVERSE, seed)
        assert set(np.searchsorted(sizes, chosen, side="right")) == {0, 1, 2}


@pytest.mark.parametrize("method", SELECTIONS)
@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 30), seed=st.integers(0, 5), share=st.floats(0.01, 1), copies=st.integers(1, 30))
def test_as_many_rows_as_asked_for_once_each_and_the_same_again(
    method: str, size: int, seed: int, share: float, copies: int
) -> None:
    rows = np.random.default_rng(1).standard_normal((size, 5)).astype(np.float32)[np.arange(size) % copies]
    count = max(1, int(share * size))
    chosen = select_rows(rows, count, method, seed)
    assert len(chosen) == len(set(chosen.tolist())) == count
    assert (np.sort(chosen) == chosen).all()
    assert 0 <= chosen.min() <= chosen.max() < size
    assert (select_rows(rows, count, method, seed) == chosen).all()


def test_impossible_counts_and_ways() -> None:
    for count in (0, 4):
        with pytest.raises(ConfigError, match=f"between 1 and the number of prompts, 3; got {count}"):
            select_rows(np.eye(3, dtype=np.float32), count, RANDOM, 0)
    with pytest.raises(ConfigError, match="known are random, diverse"):
        select_rows(np.eye(3, dtype=np.float32), 1, "best", 0)


@pytest.mark.parametrize("method", SELECTIONS)
def test_the_command_writes_rows_as_they_were_in_their_order(tmp_path: Path, method: str) -> None:
    questions = ["What is 12 + 30?", "Add 7 and 9.", "Write a poem about the sea.", "What is 5 times 8?", "Subtract 3 from 10."]
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": text}], "group": str(i)} for i, text in enumerate(questions)
    ]
    rows.append({"prompt": "Double 21."})
    source, output = tmp_path / "prompts.jsonl", tmp_path / "chosen.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    select_prompts.main([str(source), "--count", "2", "--select", method, "--output", str(output)])
    chosen = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len(chosen) == 2
    assert [row for row in rows if row in chosen] == chosen


def test_a_row_without_a_prompt_is_named(tmp_path: Path) -> None:
    source = tmp_path / "prompts.jsonl"
    source.write_text('{"prompt": "a"}\n{"question": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="row 1: no 'prompt', and in 'messages'"):
        select_prompts.main([str(source), "--count", "1", "--output", str(tmp_path / "o.jsonl")])
