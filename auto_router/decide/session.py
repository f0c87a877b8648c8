"""The rule of sessions: when the model of a conversation stays, and when another takes over.

A conversation that changes its model pays: the provider's prompt cache is lost, and the style changes. Under ``adaptive`` the
model of the last turn stays unless another is worth more than the price of switching, in the units that the decision already
has:

* with penalties (an operating point): ``(P(new) - penalty) - (P(old) - penalty)`` must exceed ``SWITCH_PRICE``; what a model
  costs then includes the tokens that the old one's provider has in its prompt cache: at ``cached_input_usd_per_mtok`` for the
  old model, at the full price for every other;
* with thresholds and costs of the caller's: the old model must have ceased to qualify, or cost ``DEARER`` times the new one;
* with thresholds alone: ``P(new) - P(old)`` must exceed ``SWITCH_PRICE``, or the old model must have ceased to qualify.

A step of a tool loop is the same request again, and is not decided anew. A prompt that is unlike all of training, and one that
the provider alone can read whole, says too little to leave a model for. ``sticky`` keeps the first model while it may take
the request; ``none`` decides every turn by itself. Under each of them what only its maker can read stays with its maker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auto_router.arrays import Floats
from auto_router.data.dataset import Prediction
from auto_router.data.pool import ModelFacts
from auto_router.data.request import Request
from auto_router.decide.policy import Policy
from auto_router.decide.rule import UNFAMILIAR, Choices

SWITCH_PRICE = 0.1
"""Probability of a right answer that a change of model must be worth."""
DEARER = 2.0
CACHE_SECONDS = 300.0
"""How long a provider keeps a prompt in its cache, about."""
SHORT_WORDS = 12
"""A request of fewer words is mostly about what was said before: the fewer, the more a change must be worth."""

NEW, KEPT, SWITCHED, PINNED, UNKNOWN_MAKER = "new", "kept", "switched", "pinned", "unknown_maker"
SESSION = "session"
"""The reason of a decision that the session's model made, and not the rule."""


@dataclass(frozen=True, slots=True)
class Session:
    """What is remembered of a conversation."""

    model: str
    request: str = ""
    """Digest of the request that was decided last."""
    tokens: float = 0.0
    """About how many tokens the model was sent last: what its provider may have in its prompt cache."""
    at: float = 0.0
    """Seconds since the epoch."""

    def to_json(self) -> str:
        return json.dumps([self.model, self.request, round(self.tokens), round(self.at, 3)])

    @classmethod
    def from_json(cls, text: str | bytes) -> Session | None:
        """Build from :meth:`to_json`; None from anything else."""
        try:
            model, request, tokens, at = json.loads(text)
        except (ValueError, TypeError):
            return None
        numbers = all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in (tokens, at))
        return cls(model, request, tokens, at) if numbers and isinstance(model, str) and isinstance(request, str) else None


@dataclass(frozen=True, slots=True)
class Turn_:
    """placeholder"""
