"""Every stage talks alike: help with examples, bars with rate and rest, and --quiet and --json that mean it."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import generate_embeddings
import model_router
import nn_router
import prepare_hf_data
from auto_router import terminal
from auto_router.errors import ConfigError, run
from tests.assess.reports import MODELS, trained

STAGES = (prepare_hf_data, generate_embeddings, nn_router, model_router)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_help_teaches(stage: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        stage.parse_arguments(["--help"])
    text = capsys.readouterr().out
    assert done.value.code == 0
    assert f"\nexamples:\n  python {stage.__name__}.py " in text
    assert "--quiet" in text
    assert "--json" in text
    assert max(map(len, text.splitlines())) <= 120


def spoken(*flags: str, work: Callable[[], None] = lambda: print("words")) -> None:
    parser = argparse.ArgumentParser()
    terminal.add_flags(parser)
    with terminal.capture_output(parser.parse_args(flags)) as result:
        work()
        result["answer"] = 42


@pytest.mark.parametrize(
    ("flags", "out", "err"),
    [
        ([], "words\n", ""),
        (["--quiet"], "", ""),
        (["--json"], '{"answer": 42}\n', "words\n"),
        (["--json", "--quiet"], '{"answer": 42}\n', ""),
    ],
)
def test_words_and_json_go_where_they_belong(flags: list[str], out: str, err: str, capsys: pytest.CaptureFixture[str]) -> None:
    spoken(*flags)
    assert capsys.readouterr() == (out, err)


def test_after_an_error_there_is_no_json_but_a_line_and_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ConfigError("--flag must be 1,\n got 2")

    assert run(lambda: spoken("--json", "--quiet", work=fail)) == 2
    assert capsys.readouterr() == ("", "error: --flag must be 1, got 2\n")


def test_bars_tell_rate_and_rest_and_are_hidden_when_quiet() -> None:
    shown, hidden = io.StringIO(), io.StringIO()

    def work(file: io.StringIO) -> None:
        with terminal.bar(4, "ask", "answer", file=file, mininterval=0) as bar:
            bar.set_postfix_str("0.0100 USD", refresh=False)
            bar.update(2)
            bar.refresh()

    work(shown)
    last = shown.getvalue().split("\r")[-1]
    assert last.startswith("ask:  50%|")
    assert "2/4 [" in last
    assert "<" in last
    assert "answer/s, 0.0100 USD]" in last or "s/answer, 0.0100 USD]" in last
    spoken("--quiet", work=lambda: work(hidden))
    assert hidden.getvalue() == ""
    assert list(terminal.watch(iter("abc"), "read", "row")) == ["a", "b", "c"]


def test_a_stage_and_a_decision_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path, "--json", "--baselines")
    told, words = capsys.readouterr()
    assert json.loads(told)["metrics"] == json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert "Router system accuracy" in words
    model_router.main(["a prompt", "--router", str(folder / "nn_router.pth"), "--device", "cpu", "--json", "--quiet"])
    told, words = capsys.readouterr()
    decision = json.loads(told)
    assert decision["model"] == decision["ranking"][0]
    assert set(decision["probabilities"]) == set(MODELS)
    assert words == ""
    model_router.main(["a prompt", "--router", str(folder / "nn_router.pth"), "--device", "cpu", "--quiet"])
    assert capsys.readouterr() == (decision["model"] + "\n", "")
