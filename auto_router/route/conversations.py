"""The conversations that a router's decisions belong to: what is known of each, whose model stays, what is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from auto_router.arrays import Array
from auto_router.data.dataset import Prediction
from auto_router.data.request import Request
from auto_router.decide.policy import Policy
from auto_router.decide.rule import Choices, Decision
from auto_router.decide.session import (
    NEW,
    PINNED,
    STORE_DOWN,
    UNKNOWN_MAKER,
    SessionRule,
    SessionTurn,
    begin_turn,
    pack_subject,
)
from auto_router.route.sessions import SessionStore, session_keys


@dataclass(frozen=True, slots=True)
class Conversations:
    """The rule of sessions over the store of them. ``text_dim``: how much of an input row is the prompt's embedding."""

    store: SessionStore
    rule: SessionRule
    text_dim: int

    def model_of(self, request: Request) -> str | None:
        """Return the model of a request's session; None where nothing is known of it."""
        wanted = session_keys(request)[1]
        found = self.store.find(wanted) if wanted else {}
        return next((found[key].model for key in wanted if key in found), None)

    def keep_models(
        self, choices: Choices, prediction: Prediction, policies: Sequence[Policy], turns: Sequence[SessionTurn | None]
    ) -> tuple[Choices, list[str | None] | None]:
        """Return the choices with the models of their sessions kept, and what became of each; None where there is none."""
        if all(turn is None for turn in turns):
            return choices, None
        return self.rule.keep_models(choices, prediction, policies, turns)

    def find_turns(
        self, requests: Sequence[Request], features: Array, reasons: Sequence[str]
    ) -> tuple[list[str], list[SessionTurn | None]]:
        """Return each request's key, under which its session is saved, and its place in that; ``""`` and None for none.

        ``reasons`` are the rule's for each.
        """
        both = [session_keys(request) for request in requests]
        wanted = {key for _, known in both for key in known}
        found = self.store.find(wanted) if wanted else {}
        turns: list[SessionTurn | None] = []
        for request, (key, known), row, reason in zip(requests, both, features, reasons, strict=True):
            if not key and not known:
                turns.append(None)
                continue
            before = next((found[name] for name in known if name in found), None)
            turns.append(begin_turn(request, before, pack_subject(row[: self.text_dim]), reason))
        return [key for key, _ in both], turns

    def save(self, made: list[Decision], keys: Sequence[str], turns: Sequence[SessionTurn | None]) -> list[Decision]:
        """Save the sessions of decisions; return these, with what became of those."""
        saved = {
            key: replace(turn.now, model=decision.model)
            for key, turn, decision in zip(keys, turns, made, strict=True)
            if key and turn is not None
        }
        if saved:
            self.store.save(saved)
        for row, (decision, turn) in enumerate(zip(made, turns, strict=True)):
            if decision.session == PINNED:
                made[row] = replace(decision, ranking=(decision.model,))  # what it goes on with means nothing to others
            elif decision.session in (NEW, UNKNOWN_MAKER) and self.store.is_down and turn is not None:
                made[row] = replace(decision, session=STORE_DOWN)
        return made
