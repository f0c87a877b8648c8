"""The rule of sessions: when the model of a conversation stays, and when another takes over.

A conversation that changes its model pays: the provider's prompt cache is lost, and the style changes. Under ``adaptive`` the
model of the last turn stays unless another is worth more than the price of switching, in the units that the decision has:

* under an operating point, ``(P(new) - penalty) - (P(old) - penalty)`` must exceed :func:`switch_price`. Where the point
  weighs costs, a penalty includes what reading the conversation so far costs at every turn from now on: at
  ``cached_input_usd_per_mtok``, where that is stated. That the new model reads it in full once is in the price of switching;
* under thresholds and costs of the caller's, the old model must cost more than ``DEARER`` times the new one;
* under thresholds alone, ``P(new) - P(old)`` must exceed the price;
* a model that no longer reaches its threshold goes, where another does;
* a request unlike all of training keeps the model, and so do those that go on with its subject: they may look familiar, as
  "ok, push it" does, but what they are about is not.

A step of a tool loop is the same request again, and is not decided anew. ``sticky`` keeps the first model while it may take the
request; ``none`` decides every turn by itself. Under each of them, what only its maker can read stays with its maker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Floats
from auto_router.data.conversation import count_words
from auto_router.data.dataset import Prediction
from auto_router.data.pool import ModelFacts
from auto_router.data.request import Request
from auto_router.decide.policy import ADAPTIVE, NONE, STICKY, Policy
from auto_router.decide.rule import UNFAMILIAR, Choices

SESSION = "session"
"""The reason of a decision that the session made, and not the rule."""
NEW, KEPT, SWITCHED, PINNED = "new", "kept", "switched", "pinned"
UNKNOWN_MAKER, STORE_DOWN = "unknown_maker", "store_down"
"""What became of a request's session: it has no past here; its model stayed; another took over; only this model can read what
it wrote; only one could, and nobody knows which; the store of sessions does not answer."""

SWITCH_PRICE = 0.1
"""Probability of a right answer that a change of model must be worth, while the conversation stays with its subject. This,
and where subjects differ, were set on six chats (``benchmarks/growing_chats.py --tune``), where follow-ups gained up to .08."""
NEW_SUBJECT_PRICE = 0.02
"""The same where the request is about something else. Less is the noise of two predictions: on chats of labelled questions
(``benchmarks/labelled_chats.py``) answers were right as often at .02 as at 0 or .01, and cost less; .04 lost some gains."""
SAME_SUBJECT = 0.22
"""Cosine of two requests' embeddings above which they are about the same: follow-ups had .29 or more, new tasks .13 or less."""
LEANING_WORDS = 7
"""A request of fewer words leans on what was said before, whatever its embedding says."""
DEARER = 2.0


@dataclass(frozen=True, slots=True)
class Session:
    """What is remembered of a conversation."""

    model: str
    request: str = ""
    """Digest of the request that was decided last."""
    tokens: float = 0.0
    """About how many tokens the model was sent: what every later turn reads again."""
    subject: bytes = b""
    """Embedding of the request, int8."""
    is_unfamiliar: bool = False
    """The request was unlike all of training, or goes on with the subject of one that was."""

    def to_json(self) -> str:
        return json.dumps([self.model, self.request, round(self.tokens), self.subject.hex(), self.is_unfamiliar])

    @classmethod
    def from_json(cls, text: str | bytes) -> Session | None:
        """Build from :meth:`to_json`; None from anything else."""
        try:
            model, request, tokens, subject, *more = json.loads(text)
            found = bytes.fromhex(subject)
        except (ValueError, TypeError):
            return None
        number = isinstance(tokens, int | float) and not isinstance(tokens, bool) and math.isfinite(tokens)
        strings = isinstance(model, str) and isinstance(request, str)
        last = more or [False]  # of a version that did not write it
        flag = len(last) == 1 and isinstance(last[0], bool)
        return cls(model, request, tokens, found, last[0]) if number and strings and flag else None


class SessionTurn(NamedTuple):
    """A request in its conversation: what is remembered of that, and what will be."""

    request: Request
    before: Session | None
    now: Session
    """Its ``model`` is set when it is decided."""


def pack_subject(vector: Floats | npt.NDArray[np.float32]) -> bytes:
    """Return a unit vector as int8, its largest number being 127."""
    largest = float(np.abs(vector).max(initial=0.0))
    return b"" if largest == 0.0 else np.round(vector * (127.0 / largest)).astype(np.int8).tobytes()


def compare_subjects(first: bytes, second: bytes) -> float:
    """Return the cosine of two packed vectors; 1, so the same subject, where one is missing or of another encoder."""
    if not first or len(first) != len(second):
        return 1.0
    a, b = (np.frombuffer(packed, dtype=np.int8).astype(np.float32) for packed in (first, second))
    return float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9)


def keeps_subject(request: Request, before: bytes, now: bytes) -> bool:
    """Is a request about what its conversation was about? ``before`` and ``now`` are the packed subjects."""
    return count_words(request.text) < LEANING_WORDS or compare_subjects(before, now) > SAME_SUBJECT


def begin_turn(request: Request, before: Session | None, subject: bytes, reason: str) -> SessionTurn:
    """Return a request's place in its conversation.

    Args:
        request: what is asked now.
        before: what is remembered of the conversation.
        subject: the request's packed embedding.
        reason: of the rule's choice.
    """
    goes_on = before is not None and before.is_unfamiliar and keeps_subject(request, before.subject, subject)
    return SessionTurn(request, before, Session("", request.digest, request.tokens, subject, goes_on or reason == UNFAMILIAR))


def switch_price(turn: SessionTurn, is_cheaper: bool = False) -> float:
    """Return the probability of a right answer that a change of model must be worth at this turn.

    ``is_cheaper``: the new model's penalty is the lower one, reading the conversation included. Half the price then, where the
    request is about something else: at the whole one, conversations that had begun on a dear model stayed on it, and cost more
    than under ``none`` (labelled chats of combined5, economy). At none of it more than 8 % of follow-ups changed the model.
    """
    assert turn.before is not None
    if keeps_subject(turn.request, turn.before.subject, turn.now.subject):
        return SWITCH_PRICE
    return NEW_SUBJECT_PRICE / 2 if is_cheaper else NEW_SUBJECT_PRICE


@dataclass(frozen=True, slots=True)
class SessionRule:
    """Keeps the models of conversations, of a router that has these models."""

    names: tuple[str, ...]
    facts: Mapping[str, ModelFacts]
    policy: str = ADAPTIVE
    """``adaptive``, ``sticky`` or ``none``."""

    def keep_models(
        self, choices: Choices, prediction: Prediction, policies: Sequence[Policy], turns: Sequence[SessionTurn | None]
    ) -> tuple[Choices, list[str | None]]:
        """Return the choices of ``N`` rows with the models of their sessions kept, and what became of each session.

        Args:
            choices: of the rule.
            prediction: that they rest on.
            policies: in force for each row.
            turns: each row's place in its conversation; None where it has none.
        """
        ranking, reasons = choices.ranking.copy(), list(choices.reasons)
        outcomes: list[str | None] = []
        for row, turn in enumerate(turns):
            outcome = None
            if turn is not None:
                known = turn.before is not None and turn.before.model in self.names
                old = self.names.index(turn.before.model) if turn.before is not None and known else None
                outcome = self._judge(row, turn, old, choices, prediction, policies[row])
                if old is not None and outcome in (KEPT, PINNED) and ranking[row, 0] != old:
                    ranking[row] = [old, *(j for j in ranking[row].tolist() if j != old)]
                    reasons[row] = SESSION
            outcomes.append(outcome)
        return choices._replace(ranking=ranking, reasons=reasons), outcomes

    def _judge(
        self, row: int, turn: SessionTurn, old: int | None, choices: Choices, prediction: Prediction, policy: Policy
    ) -> str:
        """Return what becomes of a row's session whose last model is ``old``."""
        request, new = turn.request, int(choices.ranking[row, 0])
        if turn.before is None or old is None:
            return NEW if request.previous_response is None else UNKNOWN_MAKER
        bound = request.previous_response is not None or request.keeps_maker
        if bound and (request.models is None or self.names[old] in request.models):
            return PINNED
        if not choices.eligible[row, old]:
            return SWITCHED
        if new == old or self.policy == STICKY:
            return KEPT
        if self.policy == NONE:
            return SWITCHED
        if turn.before.request == turn.now.request or turn.now.is_unfamiliar:
            return KEPT  # the same request again; or one that says too little to leave a model for
        return SWITCHED if self._is_worth_more(row, turn, old, choices, prediction, policy) else KEPT

    def _is_worth_more(
        self, row: int, turn: SessionTurn, old: int, choices: Choices, prediction: Prediction, policy: Policy
    ) -> bool:
        """Is the model that the rule chose worth more than ``old`` and the change?"""
        p, new = prediction.probabilities[row], int(choices.ranking[row, 0])
        if choices.qualified[row, old] != choices.qualified[row, new]:
            return bool(choices.qualified[row, new])
        gain = float(np.nan_to_num(p[new]) - np.nan_to_num(p[old]))
        if policy.penalties is None and policy.costs is not None:
            return bool(policy.costs[old] > DEARER * policy.costs[new])
        expected = prediction.expected_costs
        penalties = policy.with_costs(None if expected is None else expected[row]).penalties
        loss = 0.0 if penalties is None else float(penalties[new] - penalties[old])
        if policy.pricing is not None:
            nothing = np.zeros(len(self.names))
            more = policy.pricing(nothing + self._cost_of_reading(turn, old, new)) - policy.pricing(nothing)
            loss += float(more[new])
        return gain - loss > switch_price(turn, is_cheaper=loss < 0)

    def _cost_of_reading(self, turn: SessionTurn, old: int, new: int) -> float:
        """Return USD that ``new`` takes more than ``old`` for reading the conversation so far, at each turn.

        From the provider's cache, where such tokens have a price of their own. 0 where a model's price is not stated.
        """
        assert turn.before is not None
        stated = (self.facts.get(self.names[model], ModelFacts()) for model in (old, new))
        before, after = (
            facts.input_usd_per_mtok if facts.cached_input_usd_per_mtok is None else facts.cached_input_usd_per_mtok
            for facts in stated
        )
        return 0.0 if before is None or after is None else (after - before) * turn.before.tokens / 1e6
