"""The record that every skill makes, and the two helpers that more than one of them needs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

LETTERS = "ABCD"
LETTER_ENDINGS = (
    "Answer with the letter only.",
    "Reply with just the letter of the right option.",
    "Give only the letter: A, B, C or D.",
)


@dataclass(frozen=True)
class Prompt:
    """One self-contained question with its short, checkable answer.

    ``group`` names the near duplicates that must not be parted by a train/test split; ``images`` are base64 PNGs.
    """

    prompt: str
    answer: str
    source: str
    group: str
    images: tuple[str, ...] = ()


def choice_prompt(rng: random.Random, question: str, right: str, wrong: Sequence[str]) -> tuple[str, str]:
    """A four-option question in shuffled order: its text and the letter of the right option."""
    options = [right, *wrong]
    if len(set(options)) != len(LETTERS):
        raise ValueError(f"{question!r} needs {len(LETTERS)} different options, got {options}")
    rng.shuffle(options)
    lines = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=True))
    return f"{question}\n{lines}\n{rng.choice(LETTER_ENDINGS)}", LETTERS[options.index(right)]


def number_ending(rng: random.Random) -> str:
    """One of the ways to ask for a bare number."""
    endings = ("Answer with just the number.", "Reply with the number only.", "Give only the number, no explanation.")
    return rng.choice(endings)
