"""Write the quickstart's prompts: short questions with checkable answers, over twelve text and fourteen picture skills.

    python examples/quickstart/make_prompts.py
    python examples/quickstart/make_prompts.py --output prompts.jsonl --seed 7

One JSON object per line: ``prompt``, ``answer``, ``source`` (the skill), ``group`` (near duplicates share one, so that a
split by group keeps them together) and, with a picture, ``images`` (base64 PNG). The text prompts come first. The same
seed gives the same file, byte for byte, with the Pillow and matplotlib of ``constraints.txt``; another version may draw a
pixel otherwise, and recorded answers are found by a picture's digest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import code_skills
import number_skills
import picture_chart_skills
import picture_shape_skills
import picture_text_skills
import text_skills
import world_skills
from prompt_record import Prompt

DEFAULT_OUTPUT = Path(__file__).with_name("prompts.jsonl")

Skills = tuple[tuple[Callable[[random.Random, int], list[Prompt]], int], ...]

TEXT_SKILLS: Skills = (
    (number_skills.arithmetic, 40),
    (number_skills.word_problems, 40),
    (number_skills.unit_conversion, 36),
    (number_skills.date_time, 36),
    (text_skills.string_work, 40),
    (text_skills.list_work, 40),
    (text_skills.logic, 40),
    (code_skills.code_output, 44),
    (code_skills.code_facts, 40),
    (world_skills.facts, 60),
    (world_skills.odd_one_out, 32),
    (world_skills.language, 40),
)
PICTURE_SKILLS: Skills = (
    (picture_text_skills.printed_word, 22),
    (picture_text_skills.printed_number, 22),
    (picture_text_skills.printed_sum, 16),
    (picture_text_skills.sign, 18),
    (picture_chart_skills.table, 24),
    (picture_chart_skills.receipt, 16),
    (picture_chart_skills.bar_chart, 28),
    (picture_chart_skills.line_chart, 12),
    (picture_chart_skills.pie_chart, 14),
    (picture_shape_skills.shape_count, 24),
    (picture_shape_skills.shape_colour, 20),
    (picture_shape_skills.shape_position, 12),
    (picture_shape_skills.clock, 8),
    (picture_shape_skills.drawing, 16),
)


def make_prompts(seed: int, skills: Skills) -> list[Prompt]:
    """The prompts of ``skills``, in shuffled order; a prompt that came out twice is kept once."""
    made: dict[tuple[str, tuple[str, ...]], Prompt] = {}
    for skill, count in skills:
        # One generator per skill, so that a change to one skill leaves the others as they are.
        for prompt in skill(random.Random(f"{seed}-{skill.__name__}"), count):
            made.setdefault((prompt.prompt, prompt.images), prompt)
    prompts = list(made.values())
    random.Random(seed).shuffle(prompts)
    return prompts


def line(prompt: Prompt) -> str:
    """One line of the file; a prompt without a picture has no ``images``."""
    fields = {name: value for name, value in asdict(prompt).items() if name != "images" or value}
    return json.dumps(fields, ensure_ascii=False) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file and say how many prompts each skill has."""
    parser = argparse.ArgumentParser(description="Write the quickstart's prompts as JSON lines.")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="default: prompts.jsonl beside this script")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    prompts = [*make_prompts(args.seed, TEXT_SKILLS), *make_prompts(args.seed, PICTURE_SKILLS)]
    partial = args.output.with_name(args.output.name + ".partial")
    partial.write_text("".join(map(line, prompts)), encoding="utf-8")
    os.replace(partial, args.output)
    for source, count in sorted(Counter(p.source for p in prompts).items()):
        print(f"{count:4d}  {source}")
    print(f"{len(prompts):4d}  in {args.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
