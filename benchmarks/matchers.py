"""How far the matching rules agree with known labels, without a judge: on whole answers, and on hard pairs of each kind.

    python benchmarks/matchers.py [--data DIR] [--cases FILE] [--check] [--json FILE] [--show N]

Four kinds of material, since a rule that reads the answers it asked for may fail on others:

- ``replay7``: 7,200 answers of seven models. Those to text were asked for as JSON with an "answer" field, those to images with
  "then, provide the final answer (a, b, c)", or that answer alone.
- ``prose_answers``: 5,629 answers of two models in ordinary prose, asked to think step by step and not to end in any form.
  The recorded verdict rests on what was extracted from the text; ``recorded_faults.json`` lists the disagreements in which the
  text, read by a person, shows it to be wrong. These are turned round here.
- ``verdicts.jsonl``, ``tests/collect/cases/verdicts.jsonl`` and ``plain_pairs.jsonl``: pairs written after public bug reports,
  hard on purpose: their share says nothing of how often such answers come.

Targets, which --check holds: of the answers to replay7 that the rules decide, at least 99.5 % agree, and at most 12 % are
undecided, for text and images each. Of the right answers in prose that are decided at most 0.3 % are labelled 0, of the wrong
ones at most 0.3 % are labelled 1; of those to questions for a number at most 9 % are undecided, of all at most 16 %: two
in five of the answers to strategyqa conclude in other words than the question's, or not at all: a judge's matter. No pair of
``verdicts.jsonl`` gets the opposite verdict, and at most 25 % of those with one are undecided.

The rules that read an answer by the words of its question were made on one half of the questions in prose (by a hash). The
other half shows how they do on answers they were not made for: both are lines of the table.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.collect.matching.verdict import match

FAULTS = Path(__file__).with_name("recorded_faults.json")
OWN_CASES = [ROOT / "tests" / "collect" / "cases" / name for name in ("verdicts.jsonl", "plain_pairs.jsonl")]
MIN_AGREEMENT, MAX_FALSE, MAX_UNDECIDED, MAX_CASES_UNDECIDED = 0.995, 0.003, 0.12, 0.25
MAX_PROSE_UNDECIDED, MAX_NUMBERS_UNDECIDED = 0.16, 0.09
NUMBER_SETS = ("gsm8k", "svamp", "multiarith")
HEADERS = ["source", "answers", "right, rules 1", "right, rules 0", "wrong, rules 1", "wrong, rules 0", "undecided", "agree"]


@dataclass(frozen=True)
class Labelled:
    """An answer with its recorded verdict: ``groups`` are what targets are held for, ``source`` the line of the table."""

    groups: tuple[str, ...]
    source: str
    reference: str
    answer: str
    right: bool
    choices: tuple[str, ...] = ()
    key: str = ""
    question: str = ""


@dataclass
class Tally:
    """Counts of (verdict of the rules, recorded verdict)."""

    counts: Counter[tuple[bool | None, bool]]

    @property
    def undecided(self) -> float:
        return (self.counts[None, True] + self.counts[None, False]) / self.counts.total()

    @property
    def agreement(self) -> float:
        decided = self.counts.total() - self.counts[None, True] - self.counts[None, False]
        return (self.counts[True, True] + self.counts[False, False]) / decided if decided else 1.0

    def false_share(self, right: bool) -> float:
        """Return the share of the decided answers of one recorded verdict that the rules label the other way."""
        return self.counts[not right, right] / max(1, self.counts[True, right] + self.counts[False, right])

    def line(self, name: str) -> list[str]:
        cells = [self.counts[pair] for pair in ((True, True), (False, True), (True, False), (False, False))]
        return [name, str(self.counts.total()), *map(str, cells), f"{self.undecided:.1%}", f"{self.agreement:.2%}"]


def read_replay(data: Path) -> Iterator[Labelled]:
    for row in _load(data / "replay7" / "data.json.gz"):
        group = "replay7 text" if row["source"].startswith("zeroeval") else "replay7 images"
        for model, response in row["responses"].items():
            source = "replay7 " + "/".join(row["source"].split("/")[:2])
            yield Labelled(
                (group,), source, row["answer"], response or "", bool(row["model_scores"][model]), (), f"{row['idx']} {model}"
            )


def read_prose(data: Path) -> Iterator[Labelled]:
    faults = json.loads(FAULTS.read_text(encoding="utf-8"))
    for row in _load(data / "prose_answers" / "data.json.gz"):
        key = hashlib.sha256(json.dumps([row["source"], row["question"], row["answer"]]).encode()).hexdigest()[:10]
        options = re.search(r"Answer Choices: (.*)$", row["question"], re.DOTALL)
        choices = tuple(re.findall(r"\([A-Z]\) (.*?)\s*(?=\([A-Z]\) |$)", options.group(1))) if options else ()
        right = row["right"] is not (key in faults)
        group = "prose numbers" if row["source"].split("/")[0] in NUMBER_SETS else "prose yes/no and options"
        half = "made on" if int(hashlib.sha256(row["question"].encode()).hexdigest(), 16) % 2 == 0 else "kept back"
        groups = (group, f"prose, the half {half}", "prose")
        yield Labelled(groups, row["source"], row["reference"], row["answer"], right, choices, key, row["question"])
        faults.pop(key, None)
    if faults:
        raise SystemExit(f"{FAULTS.name} names answers that the data does not have: {', '.join(faults)}")


def read_cases(path: Path, name: str) -> Iterator[Labelled]:
    """Yield the pairs that have a definite verdict."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["right"] is not None:
            choices, question = tuple(row.get("choices", ())), row.get("question", "")
            source = f"{name} {row['kind']}"
            yield Labelled((name,), source, row["reference"], row["answer"], row["right"], choices, question=question)


def _load(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = json.load(file)
    return rows


def count(answers: Sequence[Labelled]) -> tuple[dict[str, Tally], list[str]]:
    """Return the tallies by source and by group, and a line for every answer that got the opposite verdict."""
    tallies: dict[str, Tally] = defaultdict(lambda: Tally(Counter()))
    lines = []
    for answer in answers:
        verdict = match(answer.answer, answer.reference, answer.choices, answer.question)
        for name in (answer.source, *answer.groups):
            tallies[name].counts[verdict, answer.right] += 1
        if verdict is not None and verdict is not answer.right:
            said = f"rules {'right' if verdict else 'wrong'}, record {'right' if answer.right else 'wrong'}"
            lines.append(
                f"{said}: {answer.source} {answer.key}: {answer.reference!r} <- {' '.join(answer.answer.split())[-160:]!r}"
            )
    return tallies, lines


def missed_targets(tallies: dict[str, Tally]) -> list[str]:
    prose = tallies["prose"]
    checks = [
        *((f"{name}: agreement", tallies[name].agreement >= MIN_AGREEMENT) for name in ("replay7 text", "replay7 images")),
        *((f"{name}: undecided", tallies[name].undecided <= MAX_UNDECIDED) for name in ("replay7 text", "replay7 images")),
        ("prose: right answers labelled 0", prose.false_share(right=True) <= MAX_FALSE),
        ("prose: wrong answers labelled 1", prose.false_share(right=False) <= MAX_FALSE),
        ("prose numbers: undecided", tallies["prose numbers"].undecided <= MAX_NUMBERS_UNDECIDED),
        ("prose: undecided", prose.undecided <= MAX_PROSE_UNDECIDED),
        ("verdicts: opposite verdicts", tallies["verdicts"].agreement == 1),
        ("verdicts: undecided", tallies["verdicts"].undecided <= MAX_CASES_UNDECIDED),
    ]
    return [name for name, held in checks if not held]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Agreement of the matching rules with recorded labels.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="where the data sets are")
    parser.add_argument("--cases", type=Path, help="the pairs; default: cases/verdicts.jsonl beside the data sets")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N disagreements of each kind")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    cases = arguments.cases or arguments.data.parent / "cases" / "verdicts.jsonl"
    answers = [
        *read_replay(arguments.data),
        *read_prose(arguments.data),
        *read_cases(cases, "verdicts"),
        *(case for path in OWN_CASES for case in read_cases(path, "own pairs")),
    ]
    tallies, lines = count(answers)
    groups = list(dict.fromkeys(group for answer in answers for group in answer.groups))
    table = [tallies[name].line(name) for name in [*(name for name in tallies if name not in groups), *groups]]
    print(tabulate(table, headers=HEADERS, disable_numparse=True))
    for said in ("rules right, record wrong", "rules wrong, record right"):
        print("\n".join([found for found in lines if found.startswith(said)][: arguments.show]))
    missed = missed_targets(tallies)
    if arguments.json:
        shares = {name: {"agreement": tallies[name].agreement, "undecided": tallies[name].undecided} for name in groups}
        arguments.json.write_text(json.dumps({"shares": shares, "missed": missed, "table": [HEADERS, *table]}, indent=2) + "\n")
    if arguments.check and missed:
        raise SystemExit(f"target missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
