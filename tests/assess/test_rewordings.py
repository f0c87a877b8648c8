"""Rewordings leave the question alone, and what they change is counted."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.artifacts import load_artifact
from auto_router.assess.rewordings import (
    RULES,
    RewordingEffect,
    add_please,
    describe_rewordings,
    measure_rewordings,
    rewording_rows,
    swap_letters,
    toggle_final_mark,
)
from auto_router.data.dataset import load_dataset
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.local import LocalEncoder
from tests.assess.reports import MODELS, trained


def test_the_rules_do_what_their_names_say() -> None:
    assert add_please("  What is it?") == "Please what is it?"
    assert add_please("NASA was founded when?") == "Please NASA was founded when?"
    assert [toggle_final_mark(text) for text in ("Why? ", "Go.", "Count them")] == ["Why", "Go", "Count them."]
    assert RULES["all in lower case"]("Read THIS:\n```py\nPrint(X)\n```\nNow") == "read this:\n```py\nPrint(X)\n```\nnow"
    assert RULES["line breaks as spaces"]("a\n\n b ```x\ny```") == "a b ```x\ny```"
    typed = swap_letters("The capital of Portugal")
    assert typed != "The capital of Portugal"
    assert sorted(typed) == sorted("The capital of Portugal")
    assert swap_letters("17 + 25") == "17 + 25"


@settings(max_examples=40)
@given(st.text(max_size=300))
def test_no_prompt_breaks_a_rule_and_the_same_prompt_is_reworded_alike(prompt: str) -> None:
    for change in RULES.values():
        assert change(prompt) == change(prompt)
        assert len(change(prompt)) <= 2 * len(prompt) + len("Please ") + 1


class Keyword(LocalEncoder):
    """Tells the kinds of the invented rows by the last digit of a prompt; a fragile one errs where no letter is a capital."""

    def __init__(self, is_fragile: bool) -> None:
        super().__init__()
        self._is_fragile = is_fragile

    def windows(self, text: str) -> list[str]:
        return [text]

    def embed_texts(self, texts: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        rows = np.zeros((len(texts), self.text_dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            kind = int(re.findall(r"\d", text)[-1])
            row[(kind + 1) % 3 if self._is_fragile and text.islower() else kind] = 1.0
        return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("rewordings"), "--baselines").parent


@pytest.mark.parametrize("is_fragile", [False, True])
def test_choices_flip_where_the_encoder_sees_another_prompt_and_not_else(folder: Path, is_fragile: bool) -> None:
    artifact = load_artifact(folder / "router_artifacts" / "nn_router.pth")
    files = folder / "hf_test_embeddings.npy", "test", folder / "hf_evaluations_test.json"
    test = load_dataset(*files, artifact.model_names, artifact.facts, bool(artifact.prompt_features))
    test = replace(
        test,
        records=[replace(record, prompt=record.prompt.replace("prompt", "Prompt")) for record in test.records],
    )
    generator = EmbeddingGenerator(Keyword(is_fragile))
    effects = {e.rule: e for e in measure_rewordings(artifact, artifact.policy, test, generator, 60)}
    assert list(effects) == list(RULES)
    control, lower = effects["as it is, encoded again"], effects["all in lower case"]
    assert (control.prompts, lower.prompts) == (60, 60)
    assert control.flips < 0.2, "rows of the encoder are a little off those that were stored"
    assert lower.flips > 0.6 if is_fragile else lower.flips < 0.3
    assert lower.gain < control.gain if is_fragile else abs(lower.gain - control.gain) < 0.1
    assert len(MODELS) == len(artifact.model_names)


def test_the_sentence_names_the_worst_rule_and_says_what_is_lost_only_where_it_is_clear() -> None:
    control = RewordingEffect("control", 50, 0.5, 0.1, -0.5, 0.1)
    unclear, clear = RewordingEffect("a", 50, 0.1, 0.05, -0.02, 0.05), RewordingEffect("b", 50, 0.04, 0.03, -0.1, 0.05)
    none = RewordingEffect("c", 0, np.nan, np.nan, np.nan, np.nan)
    assert describe_rewordings([control, unclear, none]) == (
        "At most 10.0 % of the choices flip (a). No rewording clearly costs right answers."
    )
    assert describe_rewordings([control, unclear, clear]).endswith("Right answers are lost by: b.")
    assert describe_rewordings([control, none]) == "No rule changes any of these prompts."
    assert rewording_rows([unclear, none]) == [
        ["a", "50", "10.0", "5.0 to 15.0", "-2.0", "-7.0 to +3.0"],
        ["c", "0", "", "", "", ""],
    ]
