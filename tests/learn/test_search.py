"""The search: the same for any number of processes and after any kill, and hopeless trials are really discarded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auto_router.errors import DataError
from auto_router.learn.mlp import TrainConfig, Training
from auto_router.learn.search import TrialJournal, random_search, trials_table
from tests.checkout import ROOT
from tests.fakes import SEARCH_BASE, SEARCH_GRID, learnable, same, search


def test_one_process_and_two_give_the_same(tmp_path: Path) -> None:
    one, two = search(tmp_path / "1.jsonl", jobs=1), search(tmp_path / "2.jsonl", jobs=2)
    assert same(one, two)
    ranked, best = one
    assert [trial.best_loss for trial in ranked] == sorted(trial.best_loss for trial in ranked)
    assert best.best_loss == ranked[0].best_loss
    assert {trial.number for trial in ranked} == set(range(1, 10))


def test_the_number_of_threads_outside_changes_nothing(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    one = search(tmp_path / "1.jsonl", trials=2)
    try:
        torch.set_num_threads(3)
        assert same(one, search(tmp_path / "2.jsonl", trials=2))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_hopeless_trials_are_discarded(tmp_path: Path) -> None:
    """Of 9 trials, 3 go beyond a ninth of the epochs and 1 to the end; the ones kept are those that were ahead."""
    ranked, _ = search(tmp_path / "search.jsonl")
    lengths = sorted(len(trial.losses) for trial in ranked)
    assert lengths == [2] * 6 + [6] * 2 + [18]
    assert [trial.outcome for trial in ranked].count("discarded") == 8
    assert not ranked[0].discarded
    assert len(ranked[0].losses) == 18
    first_rung = sorted(ranked, key=lambda trial: min(trial.losses[:2]))
    assert {trial.number for trial in first_rung[:3]} == {trial.number for trial in ranked if len(trial.losses) > 2}
    slow = [trial for trial in ranked if trial.params["learning_rate"] == 1e-5]
    assert slow
    assert all(trial.discarded and len(trial.losses) == 2 for trial in slow)


def test_what_the_journal_holds_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "search.jsonl"
    whole = search(journal)
    written = journal.read_bytes()
    trained: list[int] = []
    original = Training._epoch

    def counting(self: Training, *rows: Any) -> float:
        trained.append(1)
        return original(self, *rows)

    monkeypatch.setattr(Training, "_epoch", counting)
    assert same(whole, search(journal))
    assert len(trained) == len(whole[0][0].losses), "only the best trial's weights are made again"
    assert journal.read_bytes() == written


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_torn_journal_is_continued(kept: float, tmp_path: Path) -> None:
    whole = search(tmp_path / "whole.jsonl")
    content = (tmp_path / "whole.jsonl").read_bytes()
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(content[: int(kept * len(content)) - 3])
    assert same(whole, search(torn))
    assert same(whole, search(torn)), "what was written behind the torn line is read"


def test_other_data_settings_or_seeds_share_no_lines(tmp_path: Path) -> None:
    journal = tmp_path / "search.jsonl"
    first, _ = search(journal, trials=2)
    y = learnable(100, 0)[1]
    y[0, 0] = np.nan
    for train, base, seed in (
        ((learnable(100, 0)[0], y), SEARCH_BASE, 1),
        (learnable(100, 0), TrainConfig(epochs=18, patience=18, dropout=0.2), 1),
        (learnable(100, 0), SEARCH_BASE, 2),
    ):
        other, _ = random_search(train, learnable(50, 1), base, SEARCH_GRID, 2, seed, journal)
        assert not {t.key for t in other} & {t.key for t in first}


def test_a_wider_search_takes_over_what_a_narrower_one_did(tmp_path: Path) -> None:
    """Lines of another search with the same settings may go further than this one needs; that changes nothing."""
    journal = tmp_path / "search.jsonl"
    search(journal, trials=1)  # to the end, whatever it is worth
    search(journal, trials=18)
    assert same(search(journal, trials=9), search(tmp_path / "fresh.jsonl", trials=9))


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from auto_router.learn.search import TrialJournal
from tests.fakes import search
add = TrialJournal.add
TrialJournal.add = lambda self, trial: (add(self, trial), time.sleep(0.2))  # however late it is killed, work is left
search(Path({journal!r}), jobs={jobs})
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_search_continues_to_the_same_result(jobs: int, tmp_path: Path) -> None:
    """kill -9 as soon as some lines are written, but not all; then the same search again."""
    journal = tmp_path / "search.jsonl"
    whole = search(tmp_path / "whole.jsonl")
    code = KILLED.format(root=str(ROOT), journal=str(journal), jobs=jobs)
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 240
        while not (journal.exists() and journal.read_text().count("\n") > 4):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until, "nothing was written"
            time.sleep(0.001)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    written = journal.read_text()
    assert sum(trial.key in written for trial in whole[0]) > 2, "a key must not depend on the process"
    assert len(written) < len((tmp_path / "whole.jsonl").read_text())
    assert same(whole, search(journal))


def test_a_trial_that_diverges_is_last_and_is_kept_as_unknown(tmp_path: Path) -> None:
    journal = tmp_path / "search.jsonl"
    grid: dict[str, list[Any]] = {"learning_rate": [1e-3, 1e38], "batch_size": [16, 32]}
    ranked, best = random_search(learnable(100, 0), learnable(50, 1), SEARCH_BASE, grid, 4, 1, journal)
    assert [trial.params["learning_rate"] for trial in ranked] == [1e-3, 1e-3, 1e38, 1e38]
    assert np.isfinite(best.best_loss)
    lines = [json.loads(line) for line in journal.read_text().split("\n") if line]
    assert None in next(line["losses"] for line in lines if line["params"]["learning_rate"] == 1e38)
    assert "inf" in trials_table(ranked)


def test_all_settings_are_tried_where_more_trials_are_asked_for(tmp_path: Path) -> None:
    grid: dict[str, list[Any]] = {"batch_size": [16, 32], "dropout": [0.0]}
    ranked, _ = random_search(learnable(60, 0), learnable(30, 1), SEARCH_BASE, grid, 50, 1, tmp_path / "j.jsonl", jobs=1)
    assert {trial.params["batch_size"] for trial in ranked} == {16, 32}
    assert len(ranked) == 2


def test_the_table_shows_every_trial(tmp_path: Path) -> None:
    ranked, _ = search(tmp_path / "search.jsonl")
    table = trials_table(ranked).splitlines()
    assert len(table) == 2 + len(ranked)
    assert "finished" in table[2]
    assert sum("discarded" in line for line in table) == 8


def test_a_journal_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "search.jsonl").mkdir()
    with pytest.raises(DataError, match=r"search journal .* cannot be read"):
        TrialJournal(tmp_path / "search.jsonl")
