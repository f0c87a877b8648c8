"""How far the matching rules agree with known labels: replay7's real answers, judged without a model.

    python benchmarks/matchers.py [--data ../shared/data] [--check] [--json FILE] [--show N]

Targets, which --check holds: of the answers that the rules decide, at least 97 % agree with the recorded label on the text
rows, and at least 97 % on the multiple-choice picture rows. The share they leave to a judge is printed, and with --show so
many of the disagreements of each kind.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.collect.matching import match
from auto_router.collect.stated import final_answer

TARGET = 0.97
HEADERS = ["source", "answers", "right/right", "right/wrong", "wrong/right", "wrong/wrong", "undecided", "agree"]


def outcomes(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Counter[tuple[bool | None, bool]]], list[str]]:
    """Return counts of (verdict, record) by source, and a line for every disagreement."""
    counts: dict[str, Counter[tuple[bool | None, bool]]] = defaultdict(Counter)
    lines = []
    for row in rows:
        source = "/".join(row["source"].split("/")[:2])
        for model, response in row["responses"].items():
            verdict, record = match(response or "", row["answer"]), bool(row["model_scores"][model])
            counts[source][verdict, record] += 1
            if verdict is not None and verdict != record:
                said = f"rules {'right' if verdict else 'wrong'}, record {'right' if record else 'wrong'}"
                final = " ".join(final_answer(response or "").split())[:100]
                lines.append(f"{said}: {source} {row['idx']} {model}: reference {row['answer']!r}, stated {final!r}")
    return counts, lines


def agreement(counts: Counter[tuple[bool | None, bool]]) -> tuple[int, int]:
    """Return how many verdicts agree, and how many there are."""
    decided = {pair: count for pair, count in counts.items() if pair[0] is not None}
    return sum(count for (verdict, record), count in decided.items() if verdict == record), sum(decided.values())


def line(name: str, counts: Counter[tuple[bool | None, bool]]) -> list[str]:
    right, decided = agreement(counts)
    total = sum(counts.values())
    cells = [counts[pair] for pair in ((True, True), (True, False), (False, True), (False, False))]
    return [name, str(total), *map(str, cells), f"{1 - decided / total:.1%}", f"{right / decided:.2%}" if decided else "-"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Agreement of the matching rules with replay7's recorded labels.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="where the data sets are")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N disagreements of each kind")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    with gzip.open(arguments.data / "replay7" / "data.json.gz", "rt", encoding="utf-8") as file:
        counts, lines = outcomes(json.load(file))
    kinds = {"all text": "zeroeval", "all pictures": "visonlyqa"}
    totals = {kind: sum((c for s, c in counts.items() if s.startswith(start)), Counter()) for kind, start in kinds.items()}
    table = [line(name, found) for name, found in [*sorted(counts.items()), *totals.items()]]
    print("columns: verdict of the rules / label of the record\n" + tabulate(table, headers=HEADERS, disable_numparse=True))
    for said in ("rules right, record wrong", "rules wrong, record right"):
        print("\n".join([found for found in lines if found.startswith(said)][: arguments.show]))
    shares = {kind: agreement(found)[0] / agreement(found)[1] for kind, found in totals.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps({"agreement": shares, "table": [HEADERS, *table]}, indent=2) + "\n")
    missed = [kind for kind, share in shares.items() if share < TARGET]
    if arguments.check and missed:
        raise SystemExit(f"target missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
