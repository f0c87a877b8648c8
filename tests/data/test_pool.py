"""The pool file: what is read, what is refused, what a router gets to know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.data.pool import ModelFacts, PoolModel, load_pool
from auto_router.errors import ConfigError
from prepare_hf_data import DEFAULT_POOL, MODEL_IDS, load_candidates

FULL = """
models:
  - name: big
    model: big-2026
    base_url: http://127.0.0.1:1/v1
    api_key_env: BIG_KEY
    input_usd_per_mtok: 2
    output_usd_per_mtok: 10.0
    modalities: [text, image]
    context_window: 1000
    max_tokens: 5
    temperature: 0
    system_prompt: Be brief.
    concurrency: 3
  - name: small
    api_key_env: null
    max_tokens: null
    concurrency: null
judge: {name: judge, temperature: 0}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "pool.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_field_is_read_and_null_means_the_default(tmp_path: Path) -> None:
    pool = load_pool(write(tmp_path, FULL))
    assert pool.models == (
        PoolModel(
            name="big",
            base_url="http://127.0.0.1:1/v1",
            model="big-2026",
            api_key_env="BIG_KEY",
            input_usd_per_mtok=2,
            output_usd_per_mtok=10.0,
            modalities=("text", "image"),
            context_window=1000,
            max_tokens=5,
            temperature=0,
            system_prompt="Be brief.",
            concurrency=3,
        ),
        PoolModel(name="small", model="small"),
    )
    assert pool.judge == PoolModel(name="judge", model="judge", temperature=0)


def test_a_router_learns_prices_and_limits_and_no_address(tmp_path: Path) -> None:
    facts = load_pool(write(tmp_path, FULL)).facts
    plain: dict[str, dict[str, Any]] = {
        "big": {
            "input_usd_per_mtok": 2,
            "output_usd_per_mtok": 10.0,
            "modalities": ["text", "image"],
            "context_window": 1000,
        },
        "small": {"modalities": ["text"]},
    }
    assert {name: one.to_plain() for name, one in facts.items()} == plain
    assert {name: ModelFacts.from_plain(values) for name, values in plain.items()} == facts
    assert facts["small"] == ModelFacts(None, None, ("text",), None)


def test_cost_is_tokens_times_price() -> None:
    model = PoolModel("m", input_usd_per_mtok=2.0, output_usd_per_mtok=10.0)
    assert model.cost(1_000_000, 500_000) == 7.0
    assert model.cost(0, 0) == 0.0
    for counts in ((None, 5), (5, None), (-1, 5)):
        assert model.cost(*counts) is None
    assert PoolModel("m", input_usd_per_mtok=2.0).cost(5, 5) is None


def test_a_subset_keeps_the_asked_order_and_the_judge(tmp_path: Path) -> None:
    pool = load_pool(write(tmp_path, FULL))
    part = pool.subset(["small", "big", "small"])
    assert [model.name for model in part.models] == ["small", "big"]
    assert part.judge == pool.judge
    with pytest.raises(ConfigError, match="no model 'smal'; it has big, small"):
        pool.subset(["smal"])


def test_the_default_pool_serves_the_models_of_the_script() -> None:
    assert [model.name for model in load_candidates(None, None).models] == sorted(MODEL_IDS, key=lambda name: MODEL_IDS[name])
    assert [model.name for model in load_candidates(None, ["gpt-5-chat"]).models] == ["gpt-5-chat"]
    judge = load_pool(DEFAULT_POOL).judge
    assert judge is not None
    assert judge.model not in {model.model for model in load_pool(DEFAULT_POOL).models}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs a non-empty list 'models:'"),
        ("models: []", "non-empty list"),
        ("models: {a: b}", "non-empty list"),
        ("models: [1]", r"models\[0\] needs a 'name'"),
        ("models: [{name: ''}]", "needs a 'name'"),
        ("models: [{name: a}, {model: b}]", r"models\[1\] needs a 'name'"),
        ("models: [{name: a}, {name: b}, {name: a}]", "names a model twice: \\['a'\\]"),
        ("models: [{name: a}]\njudges: {}", "unknown entries \\['judges'\\]"),
        ("models: [{name: a}]\n1: x\nb: y", "unknown entries"),
        ("models: [{name: a}]\njudge: gpt", "judge needs a 'name'"),
        ("models: [{name: a, api_key: sk-1}]", r"\(a\) has unknown keys \['api_key'\]; allowed are .*api_key_env"),
        ("models: [{name: a, 1: x, zz: y}]", "unknown keys"),
        ("models: [{name: a, modalities: [audio]}]", "modalities must be a list of .*'audio'"),
        ("models: [{name: a, modalities: image}]", "modalities must be a list .*'image'"),
        ("models: [{name: a, modalities: 5}]", "modalities"),
        ("models: [{name: a, modalities: [[text]]}]", "modalities"),
        ("models: [{name: a, modalities: []}]", "modalities"),
        ("models: [{name: a, input_usd_per_mtok: -1}]", "input_usd_per_mtok must be a number from 0, got -1"),
        ("models: [{name: a, output_usd_per_mtok: .nan}]", "output_usd_per_mtok"),
        ("models: [{name: a, output_usd_per_mtok: .inf}]", "output_usd_per_mtok"),
        ("models: [{name: a, temperature: hot}]", "temperature must be a number"),
        ("models: [{name: a, temperature: true}]", "temperature"),
        ("models: [{name: a, max_tokens: 0}]", "max_tokens must be a whole number from 1, got 0"),
        ("models: [{name: a, context_window: 1.5}]", "context_window"),
        ("models: [{name: a, concurrency: '8'}]", "concurrency"),
        ("models: [{name: a, base_url: 5}]", "base_url must be a string, got 5"),
        ("models: [{name: a, system_prompt: [x]}]", "system_prompt"),
        ("models: [", "is not YAML"),
        ("models: [{name: !!python/object/apply:os.getcwd []}]", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_and_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_pool(path)
    assert str(path) in str(caught.value)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"models: [{name: \xe9}]")
    with pytest.raises(ConfigError, match="not YAML"):
        load_pool(tmp_path / "latin.yaml")
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read.*--pool"):
            load_pool(path)


@given(st.text(max_size=60).map(lambda text: "models:\n- name: a\n  modalities: " + text))
def test_any_value_is_read_or_refused(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.yaml"
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            pool = load_pool(path)
        except ConfigError:
            return
        assert pool.models[0].name == "a"
