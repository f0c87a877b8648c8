"""Does the router decide alike where a prompt is said a little differently? Small rewordings by rule, and what they change.

Each rule leaves what is asked alone: letters in lower case, "Please" in front, two letters of a word swapped. The reworded
prompts are encoded and decided anew. A choice that flips is no fault by itself, since two models may be equally good. So what
the flips do to the share of right answers stands beside them. Code between fences is left as it is.

The first row is the control: prompts as they are, encoded once more. What flips there is the encoder's own noise.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from auto_router.artifacts import Artifact
from auto_router.assess.learning_curve import mean_and_reach
from auto_router.assess.metrics import take_chosen
from auto_router.assess.test_set import TestSet
from auto_router.data.dataset import Dataset, draw_rows
from auto_router.data.prompt_features import append_prompt_features
from auto_router.decide.policy import Policy
from auto_router.encode.encoder import EmbeddingGenerator

FENCE = "```"
WORDS_A_TYPO = 12
"""One word in so many has two letters swapped, and one at least."""
REWORDING_HEADERS = ["rewording", "prompts", "choices that flip, %", "95 %", "right answers, points", "95 %"]
MAX_REWORDED_CHARACTERS = 20_000
"""Longer prompts are left out: each is encoded once for every rule."""

_WORD = re.compile(r"[A-Za-z]{4,}")


def _outside_fences(change: Callable[[str], str]) -> Callable[[str], str]:
    def apply(prompt: str) -> str:
        parts = prompt.split(FENCE)
        return FENCE.join(part if number % 2 else change(part) for number, part in enumerate(parts))

    return apply


def add_please(prompt: str) -> str:
    """Return the prompt with "Please" in front; its first word keeps a capital only where it has others."""
    text = prompt.lstrip()
    first = text[:1].lower() if text[1:2].islower() else text[:1]
    return f"Please {first}{text[1:]}"


def toggle_final_mark(prompt: str) -> str:
    """Return the prompt without its last full stop or question mark; with a full stop where it has none."""
    text = prompt.rstrip()
    return text[:-1] if text.endswith((".", "?", "!")) else f"{text}."


def swap_letters(prompt: str) -> str:
    """Return the prompt with two inner letters swapped in one word in ``WORDS_A_TYPO``; the same words for the same prompt."""
    words = list(_WORD.finditer(prompt))
    if not words:
        return prompt
    draw = random.Random(len(prompt))
    letters = list(prompt)
    for word in draw.sample(words, max(1, len(words) // WORDS_A_TYPO)):
        place = draw.randrange(word.start() + 1, word.end() - 2)
        letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)


RULES: dict[str, Callable[[str], str]] = {
    "as it is, encoded again": str,
    "all in lower case": _outside_fences(str.lower),
    "“Please” in front": add_please,
    "final mark left out, or added": toggle_final_mark,
    "typing errors": _outside_fences(swap_letters),
    "line breaks as spaces": _outside_fences(lambda text: re.sub(r"\s+", " ", text)),
}


@dataclass(frozen=True, slots=True)
class RewordingEffect:
    """What one rule changed. Means are over the prompts that it changed, with the half widths of their 95 % intervals."""

    rule: str
    prompts: int
    """How many prompts it changed."""
    flips: float
    """Share of their choices that are another model, 0…1."""
    flips_reach: float
    gain: float
    """Share of right answers with the new choices minus that with the old ones, of prompts where both are known."""
    gain_reach: float


def measure_rewordings(
    artifact: Artifact, policy: Policy, test: Dataset, generator: EmbeddingGenerator, rows: int, seed: int = 0
) -> list[RewordingEffect]:
    """Return the effect of every rule on at most ``rows`` test prompts, drawn at random.

    Args:
        artifact: the router.
        policy: the one that it is served with.
        test: the test rows, with the features that the artifact takes.
        generator: the encoder of the artifact; images are not encoded again.
        rows: how many prompts.
        seed: of the draw.

    Raises:
        EncoderError: the encoder fails.
    """
    short = np.flatnonzero([0 < len(prompt.strip()) <= MAX_REWORDED_CHARACTERS for prompt in test.prompts])
    sample = test.take(short[draw_rows(len(short), rows, np.random.default_rng(seed))])
    before = TestSet.of(sample, artifact.predict(sample.features, sample.prompts), policy)
    return [_measure_rule(rule, change, artifact, policy, sample, before, generator) for rule, change in RULES.items()]


def _measure_rule(
    rule: str,
    change: Callable[[str], str],
    artifact: Artifact,
    policy: Policy,
    sample: Dataset,
    before: TestSet,
    generator: EmbeddingGenerator,
) -> RewordingEffect:
    prompts = [change(prompt) for prompt in sample.prompts]
    is_control = change is str
    touched = np.flatnonzero([is_control or old != new for old, new in zip(sample.prompts, prompts, strict=True)])
    if not len(touched):
        return RewordingEffect(rule, 0, np.nan, np.nan, np.nan, np.nan)
    reworded = _reword(sample.take(touched), [prompts[row] for row in touched.tolist()], generator)
    after = TestSet.of(reworded, artifact.predict(reworded.features, reworded.prompts), policy)
    old = before.chosen[touched]
    gained = take_chosen(before.outcomes[touched], after.chosen) - take_chosen(before.outcomes[touched], old)
    flips, gain = (mean_and_reach(values, reworded.groups) for values in ((after.chosen != old).astype(np.float64), gained))
    return RewordingEffect(rule, len(touched), *flips, *gain)


def _reword(rows: Dataset, prompts: Sequence[str], generator: EmbeddingGenerator) -> Dataset:
    """Return the rows with other prompts: their text halves are encoded anew, their image halves stay."""
    contexts = [record.context for record in rows.records]
    features = np.array(rows.embeddings)
    text = rows.encoder["text_dim"]
    features[:, :text] = generator.embed_batch(prompts, contexts=contexts)[:, :text]
    if rows.prompt_dim:
        features = append_prompt_features(features, prompts)
    records = [replace(record, prompt=prompt) for record, prompt in zip(rows.records, prompts, strict=True)]
    return replace(rows, records=records, features=features, file=None)


def rewording_rows(effects: Sequence[RewordingEffect]) -> list[list[str]]:
    """Return the table's rows, a rule each, under ``REWORDING_HEADERS``."""
    rows = []
    for effect in effects:
        flips, gain = 100 * effect.flips, 100 * effect.gain
        least, most = max(0.0, flips - 100 * effect.flips_reach), min(100.0, flips + 100 * effect.flips_reach)
        low, high = gain - 100 * effect.gain_reach, gain + 100 * effect.gain_reach
        shown = [f"{flips:.1f}", f"{least:.1f} to {most:.1f}", f"{gain:+.1f}", f"{low:+.1f} to {high:+.1f}"]
        rows.append([effect.rule, f"{effect.prompts:,}", *(shown if effect.prompts else [""] * 4)])
    return rows


def describe_rewordings(effects: Sequence[RewordingEffect]) -> str:
    """Return in a sentence what the rewordings did, the control left out."""
    reworded = [effect for effect in effects[1:] if effect.prompts]
    if not reworded:
        return "No rule changes any of these prompts."
    worst = max(reworded, key=lambda effect: effect.flips)
    hurt = [effect.rule for effect in reworded if effect.gain + effect.gain_reach < 0]
    cost = f"Right answers are lost by: {', '.join(hurt)}." if hurt else "No rewording clearly costs right answers."
    return f"At most {100 * worst.flips:.1f} % of the choices flip ({worst.rule}). {cost}"
