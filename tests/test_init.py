"""auto-router init: five answers become a pool that Stage 1 reads, and nothing is overwritten unasked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.data.pool import Pool, load_pool
from auto_router.errors import ConfigError
from auto_router.init_pool import PoolAnswers, main, read_judge, read_models, read_prices, read_url, read_variable, write_pool

FLAGS = ["--model", "small", "--model", "large", "--base-url", "http://127.0.0.1:8000/v1", "--key-env", "MY_KEY"]


def type_in(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Answer what is asked, as a person at a terminal; return the questions as they come."""
    asked: list[str] = []
    rest: Iterator[str] = iter(answers)

    def answer(question: str) -> str:
        asked.append(question)
        return next(rest)

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    return asked


def make_pool(path: Path, *flags: str) -> Pool:
    main([*FLAGS, *flags, "--output", str(path)])
    return load_pool(path)


def test_flags_alone_write_a_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = make_pool(tmp_path / "my.yaml", "--judge", "judge-model", "--price", "small=0.1/0.3", "--price", "judge-model=1/4")
    assert [model.name for model in pool.models] == ["small", "large"]
    assert (pool.models[0].input_usd_per_mtok, pool.models[0].output_usd_per_mtok) == (0.1, 0.3)
    assert pool.models[1].input_usd_per_mtok is None
    assert pool.models[0].api_key_env == "MY_KEY"
    assert pool.judge is not None
    assert (pool.judge.model, pool.judge.output_usd_per_mtok) == ("judge-model", 4.0)
    assert "--pool" in capsys.readouterr().out
    assert "# modalities: [text, image]" in (tmp_path / "my.yaml").read_text(encoding="utf-8")


def test_five_questions_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = type_in(monkeypatch, "gpt-5-mini, gpt-5-nano", "", "", "-", "gpt-5-mini=0.25/2")
    main(["--output", str(tmp_path / "pool.yaml")])
    assert [question[:4] for question in asked] == ["1/5 ", "2/5 ", "3/5 ", "4/5 ", "5/5 "]
    pool = load_pool(tmp_path / "pool.yaml")
    assert pool.judge is None
    assert (pool.models[0].api_key_env, pool.models[1].name) == ("OPENAI_API_KEY", "gpt-5-nano")


def test_the_judge_s_price_is_asked_for_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it ``--max-cost-usd`` cannot be kept to, which the file says where it stays open."""
    path = tmp_path / "pool.yaml"
    asked = type_in(monkeypatch, "a, b", "", "", "judge", "a=1/3")
    main(["--output", str(path)])
    assert ", judge=1/4; - if unknown" in asked[-1]
    assert "without prices --max-cost-usd cannot be kept to" in path.read_text(encoding="utf-8").partition("judge:")[2]


def test_an_answer_that_means_nothing_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One slip at the last question does not cost the four before it."""
    asked = type_in(monkeypatch, "a, a", "a, b", "", "", "-", "1/3", "a=1/3")
    main(["--output", str(tmp_path / "pool.yaml")])
    assert [question[:4] for question in asked] == ["1/5 ", "1/5 ", "2/5 ", "3/5 ", "4/5 ", "5/5 ", "5/5 "]
    assert load_pool(tmp_path / "pool.yaml").models[0].output_usd_per_mtok == 3.0
    said = capsys.readouterr().out
    assert "give one or more different names" in said
    assert "price '1/3': write NAME=INPUT/OUTPUT" in said


def test_a_file_that_is_there_stays_without_a_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rest = tmp_path / "pool.yaml", ["--judge", "", "--price", ""]
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is there already and stays; give --output another file, or --force"):
        make_pool(path, *rest)
    type_in(monkeypatch, "no")
    with pytest.raises(ConfigError, match="stays"):
        make_pool(path, *rest)
    assert path.read_text(encoding="utf-8") == "mine"
    type_in(monkeypatch, "y")
    assert len(make_pool(path, *rest).models) == 2
    assert len(make_pool(path, *rest, "--force").models) == 2


def test_nobody_there_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(ConfigError, match="nobody is there to ask"):
        main(["--output", str(tmp_path / "pool.yaml")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["sk-proj-123", "my key", "abc", "A-B", "Bearer X", "ÄB"])
def test_a_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigError, match="never the key") as caught:
        read_variable(key)
    assert key not in str(caught.value)
    assert read_variable("$MY_KEY") == "MY_KEY"
    assert read_variable(" ") is None


@pytest.mark.parametrize("judge", ["small=0.1/0.3", "one, two"])
def test_a_judge_is_one_model(judge: str) -> None:
    with pytest.raises(ConfigError, match="give the name of one model"):
        read_judge(judge)


def test_impossible_answers_are_named() -> None:
    for text in ("", " , ", "a,a"):
        with pytest.raises(ConfigError, match="give one or more different names"):
            read_models(text)
    for text in ("127.0.0.1:8000", "ftp://host/v1", "http://", "https://key@host/v1", "http://a b/"):
        with pytest.raises(ConfigError, match="the address must begin"):
            read_url(text)
    assert read_url("http://127.0.0.1:8000/v1/chat/completions/") == "http://127.0.0.1:8000/v1"
    for text in ("a=1", "b=1/2", "a=x/2", "a=-1/2", "a=1/2/3", "a=nan/1", "a=inf/1"):
        with pytest.raises(ConfigError, match="write NAME=INPUT/OUTPUT"):
            read_prices(text, ["a"])


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).map(str.strip).filter(bool)


@given(name=NAMES, usd=st.floats(0, 1000).map(lambda usd: round(usd, 6)), judge=st.booleans())
def test_every_name_and_price_comes_back(name: str, usd: float, judge: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    answers = PoolAnswers((name,), "http://h/v1", None, {name: (usd, 2 * usd)}, name if judge else None)
    write_pool(answers, path, overwrite=True)
    pool = load_pool(path)
    assert (pool.models[0].name, pool.models[0].model) == (name, name)
    assert pool.models[0].input_usd_per_mtok == pytest.approx(usd)
    assert (pool.judge is not None) == judge
