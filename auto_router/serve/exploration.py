"""Whom ``explore_share`` asks: rather the models that turn out better than the router in service predicts.

Told outcomes are held against what the router says now of the same prompts. Asked is the model whose mean surplus may be the
highest: its estimate, and a head start that shrinks as outcomes come, or are waited for. So a model of which nothing is known
has its turns, one whose labels are too low gets most of them until the router has learned it, and one that is as good as it is
predicted costs few.

Nobody waits for any of it: what to ask is chosen from sums in memory, and outcomes are looked at in the background.
"""

from __future__ import annotations

import logging
import math
import random
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from auto_router.arrays import Array, Floats
from auto_router.serve.decision_log import DecisionLog

log = logging.getLogger(__name__)

HEAD_START = 1.0  # of a model that nobody asked; after n outcomes, it is this / sqrt(n + 1)
PRIOR_OUTCOMES = 5  # as many, with no surplus, every model is taken to have
MAX_OUTCOMES = 200  # of each model, the latest, that are looked at
FEW_NEW = 0.02  # share of outcomes that may come before they are looked at again


@dataclass
class Explorer:
    """Chooses a model to learn of. Belongs to one service."""

    decisions: DecisionLog | None
    """Where outcomes are; None where none are kept."""
    rng: random.Random = field(default_factory=random.Random)
    refresh_seconds: float = 1.0
    """So long, no outcomes are counted again."""
    _told: tuple[object, int] = (None, 0)
    _surplus: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Of each model, how many outcomes were looked at, and the sum of what they were more than predicted."""
    _asked: Counter[str] = field(default_factory=Counter)
    _refreshed_at: float = -math.inf
    _refreshing: threading.Lock = field(default_factory=threading.Lock)

    def choose(self, others: Sequence[str]) -> str:
        """Return one of ``others``, the models that may be asked, by what :meth:`refresh` found last. Reads no file."""
        shuffled = self.rng.sample(list(others), len(others))  # of equal ones, any
        model = max(shuffled, key=self._highest_surplus)
        self._asked[model] += 1
        return model

    def refresh(
        self, names: Sequence[str], encoder: str, width: int, predict: Callable[[Array], Floats], version: object
    ) -> None:
        """Look at the outcomes again, where enough of them are new and no other thread does. Blocks.

        Args:
            names: of the columns of what ``predict`` returns.
            encoder: whose rows it takes, see :func:`auto_router.route.feedback.encoder_digest`.
            width: of these rows: a head may take other features of the same encoder's prompts.
            predict: probabilities ``[N, M]`` of input rows ``[N, D]``, by the router in service.
            version: of that router; where it is another one, outcomes are looked at again.
        """
        if time.monotonic() - self._refreshed_at < self.refresh_seconds or self.decisions is None:
            return
        if not self._refreshing.acquire(blocking=False):
            return
        self._refreshed_at = time.monotonic()
        try:
            told = self.decisions.count_outcomes()
            if self._told[0] != version or abs(told - self._told[1]) > FEW_NEW * self._told[1]:
                self._surplus = self._sum_surplus(self.decisions.last_outcomes(encoder, MAX_OUTCOMES), names, width, predict)
                self._told = version, told
        except sqlite3.Error as error:
            log.warning("outcomes cannot be read to choose a model to explore: %s", error)
        finally:
            self._refreshing.release()

    def _highest_surplus(self, name: str) -> float:
        count, surplus = self._surplus.get(name, (0, 0.0))
        # One whose outcomes nobody tells must not be asked for ever.
        waited_for = max(count, self._asked[name])
        return surplus / (count + PRIOR_OUTCOMES) + HEAD_START / math.sqrt(waited_for + 1)

    def _sum_surplus(
        self, told: Sequence[tuple[str, bytes, float]], names: Sequence[str], width: int, predict: Callable[[Array], Floats]
    ) -> dict[str, tuple[int, float]]:
        last = [(name, np.frombuffer(row, dtype="<f4"), outcome) for name, row, outcome in told if name in names]
        last = [one for one in last if len(one[1]) == width]
        found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        if last:
            rows = np.stack([row for _, row, _ in last]).astype(np.float32)
            for (name, _, outcome), p in zip(last, predict(rows), strict=True):
                count, surplus = found[name]
                found[name] = count + 1, surplus + outcome - float(p[names.index(name)])
        return dict(found)
