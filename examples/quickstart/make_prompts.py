"""Write the quickstart's prompts: short questions with checkable answers, over twelve different skills.

    python examples/quickstart/make_prompts.py
    python examples/quickstart/make_prompts.py --output prompts.jsonl --seed 7

One JSON object per line: ``prompt``, ``answer``, ``source`` (the skill) and ``group`` (near duplicates share one,
so that a split by group keeps them together). The same seed gives the same file, byte for byte.
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
import text_skills
import world_skills
from prompt_record import Prompt

DEFAULT_OUTPUT = Path(__file__).with_name("prompts.jsonl")

SKILLS: tuple[tuple[Callable[[random.Random, int], list[Prompt]], int], ...] = (
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


def make_prompts(seed: int) -> list[Prompt]:
    """All prompts, in shuffled order; a prompt text that came out twice is kept once."""
    made: dict[str, Prompt] = {}
    for skill, count in SKILLS:
        # One generator per skill, so that a change to one skill leaves the others as they are.
        for prompt in skill(random.Random(f"{seed}-{skill.__name__}"), count):
            made.setdefault(prompt.prompt, prompt)
    prompts = list(made.values())
    random.Random(seed).shuffle(prompts)
    return prompts


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file and say how many prompts each skill has."""
    parser = argparse.ArgumentParser(description="Write the quickstart's prompts as JSON lines.")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="default: prompts.jsonl beside this script")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    prompts = make_prompts(args.seed)
    partial = args.output.with_name(args.output.name + ".partial")
    partial.write_text("".join(json.dumps(asdict(p), ensure_ascii=False) + "\n" for p in prompts), encoding="utf-8")
    os.replace(partial, args.output)
    for source, count in sorted(Counter(p.source for p in prompts).items()):
        print(f"{count:4d}  {source}")
    print(f"{len(prompts):4d}  in {args.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
