"""What came of each attempt: counted by case, printed as one table, and the words of what went wrong."""

from __future__ import annotations

import sys
import time
from collections import Counter

from tabulate import tabulate

ENDS_WELL = ("clear error", "right result")
ENDS_BADLY = ("hang", "crash", "lost", "paid twice", "executed", "sent")
MAX_DETAIL = 600  # characters of what is shown of a failure


class Tally:
    """Outcomes by case of one part of the campaign.

    ``lost``: a result that is wrong or missing. ``executed``: something of the input was run, opened or obeyed. ``sent``: a
    secret or a request went where it must not.
    """

    def __init__(self, part: str, show: bool = False) -> None:
        self.part, self._show = part, show
        self.counts: dict[str, Counter[str]] = {}
        self.details: list[str] = []
        self.notes: list[str] = []

    def note(self, case: str, outcome: str, detail: str = "", count: int = 1) -> None:
        """Count an outcome of ``case``; ``detail`` is shown where it is a bad one."""
        if outcome not in (*ENDS_WELL, *ENDS_BADLY):
            raise ValueError(f"outcome {outcome!r} is none of {', '.join((*ENDS_WELL, *ENDS_BADLY))}")
        if self._show:
            print(f"{time.strftime('%H:%M:%S')} {case}: {outcome}", file=sys.stderr, flush=True)
        self.counts.setdefault(case, Counter())[outcome] += count
        if outcome in ENDS_BADLY:
            self.details.append(f"{case}: {outcome}: {detail[-MAX_DETAIL:]}")

    @property
    def failures(self) -> int:
        return sum(count for counts in self.counts.values() for outcome, count in counts.items() if outcome in ENDS_BADLY)

    def table(self) -> str:
        """Return the cases and their sum as a Markdown table."""
        outcomes = (*ENDS_WELL, *ENDS_BADLY)
        rows = [[case, counts.total(), *(counts[name] for name in outcomes)] for case, counts in self.counts.items()]
        total: Counter[str] = sum(self.counts.values(), Counter())
        rows.append([f"**{self.part}**", total.total(), *(total[name] for name in outcomes)])
        return str(tabulate(rows, headers=["case", "tried", *outcomes], tablefmt="pipe", disable_numparse=True))
