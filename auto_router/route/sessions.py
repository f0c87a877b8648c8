"""The conversations that decisions belong to: what is remembered of each, and whose model stays.

They are kept in this process, or in Redis for several workers: small, bounded, and they expire. A session is kept under a
digest of its id: neither ids nor prompts are stored, only a model's name, a digest of the last request, its embedding in int8
(some 400 bytes), and a count of tokens.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from auto_router.arrays import Array
from auto_router.data.dataset import Prediction
from auto_router.data.request import Request
from auto_router.decide.policy import Policy, RouterSettings
from auto_router.decide.rule import Choices, Decision
from auto_router.decide.session import (
    NEW,
    PINNED,
    STORE_DOWN,
    UNKNOWN_MAKER,
    Session,
    SessionRule,
    SessionTurn,
    begin_turn,
    pack_subject,
)
from auto_router.errors import ConfigError, needs_extra
from auto_router.forks import after_fork

log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 0.25
REDIS_PAUSE_S = 1.0
PASSWORD = "AUTO_ROUTER_SESSION_PASSWORD"


class SessionStore(ABC):
    """Sessions by key. May be used by several threads."""

    is_down = False
    """It cannot be asked now: decisions are made without sessions."""

    @abstractmethod
    def find(self, keys: Collection[str]) -> dict[str, Session]:
        """Return the sessions that are known of these keys."""

    @abstractmethod
    def save(self, sessions: Mapping[str, Session]) -> None:
        """Remember sessions, instead of what was known under their keys."""

    def close(self) -> None:
        """Give back what is held open."""
        return None


class MemorySessions(SessionStore):
    """In this process, each for ``seconds`` after its last turn; of more than ``max_sessions`` the least recently used go."""

    def __init__(self, max_sessions: int, seconds: float) -> None:
        self._most, self._seconds = max_sessions, seconds
        self._held: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self._begin()
        after_fork(self, MemorySessions._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def find(self, keys: Collection[str]) -> dict[str, Session]:
        oldest = time.monotonic() - self._seconds
        with self._lock:
            held = {key: self._held[key] for key in keys if key in self._held}
            for key, (at, _) in held.items():
                if at >= oldest:
                    self._held.move_to_end(key)
        return {key: session for key, (at, session) in held.items() if at >= oldest}

    def save(self, sessions: Mapping[str, Session]) -> None:
        now = time.monotonic()
        with self._lock:
            for key, session in sessions.items():
                self._held[key] = (now, session)
                self._held.move_to_end(key)
            while self._held and (len(self._held) > self._most or next(iter(self._held.values()))[0] < now - self._seconds):
                self._held.popitem(last=False)


class RedisSessions(SessionStore):
    """In Redis, each for ``seconds`` after its last use; how many there may be is Redis's own ``maxmemory`` to say.

    Where Redis does not answer within ``REDIS_TIMEOUT_S``, it is left alone for ``REDIS_PAUSE_S``; decisions go on without.

    Raises:
        ConfigError: the URL is none of Redis's, or holds a password.
    """

    def __init__(self, url: str, seconds: float) -> None:
        with needs_extra("redis"):
            import redis  # an extra: one worker needs none

        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix") or parts.password is not None:
            raise ConfigError(
                f"session_store must be redis://HOST:PORT/DATABASE (rediss:// for TLS), got scheme {parts.scheme!r}; "
                f"a password is read from the environment variable {PASSWORD}, never from the URL"
            )
        limits: dict[str, Any] = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S}
        self._redis = redis.Redis.from_url(url, password=os.environ.get(PASSWORD) or None, **limits)
        self._errors = (redis.RedisError, OSError)
        self._seconds = max(int(seconds), 1)
        self._again = 0.0

    def find(self, keys: Collection[str]) -> dict[str, Session]:
        wanted = list(keys)
        if not wanted or self._is_paused():
            return {}
        try:
            values = self._redis.mget(wanted)
        except self._errors as error:
            self._note_failure(error)
            return {}
        self._note_answer()
        parsed = {key: Session.from_json(value) for key, value in zip(wanted, values, strict=True) if value is not None}
        return {key: session for key, session in parsed.items() if session is not None}

    def save(self, sessions: Mapping[str, Session]) -> None:
        if not sessions or self._is_paused():
            return
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for key, session in sessions.items():
                    pipeline.set(key, session.to_json(), ex=self._seconds)
                pipeline.execute()
        except self._errors as error:
            self._note_failure(error)

    def close(self) -> None:
        self._redis.close()

    def _is_paused(self) -> bool:
        return time.monotonic() < self._again

    def _note_failure(self, error: Exception) -> None:
        if not self.is_down:
            log.error("the session store does not answer; decisions go on without sessions: %s", " ".join(str(error).split()))
        self._again, self.is_down = time.monotonic() + REDIS_PAUSE_S, True

    def _note_answer(self) -> None:
        if self.is_down:
            log.warning("the session store answers again")
        self.is_down = False


def open_sessions(settings: RouterSettings) -> SessionStore:
    """Return the store that the settings name. Raises ConfigError where its URL is impossible."""
    if settings.session_store is None:
        return MemorySessions(settings.max_sessions, settings.session_seconds)
    return RedisSessions(settings.session_store, settings.session_seconds)


def session_keys(request: Request) -> tuple[str, list[str]]:
    """Return the key under which a request's session is saved, ``""`` for none, and those under which it may be known.

    A response that is continued tells it best, then an id of the client's, then the turns themselves.
    """
    named = [] if request.session is None else [make_key("session", request.session)]
    made = [] if request.previous_response is None else [make_key("response", request.previous_response)]
    turns = [make_key("turns", digest) for digest in request.fingerprints] if not named else []
    return next(iter([*named, *turns]), ""), [*made, *named, *turns[1:]]


def replace_model(store: SessionStore, key: str, model: str) -> None:
    """Note that another model than the chosen one answered: the session goes on with that."""
    before = store.find([key]).get(key) if key else None
    if before is not None and before.model != model:
        store.save({key: replace(before, model=model)})


def save_response(store: SessionStore, response_id: str, model: str) -> None:
    """Note which model made a response."""
    store.save({make_key("response", response_id): Session(model)})


def make_key(kind: str, name: str) -> str:
    """Return the key of a session: a digest, whatever a client calls it."""
    digest = hashlib.blake2b(f"{kind}\0{name}".encode("utf-8", "surrogatepass"), digest_size=18).hexdigest()
    return f"auto-router:{digest}"


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
