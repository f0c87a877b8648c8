"""What is remembered of conversations: in this process, or in Redis for several workers. Small, bounded, and it expires.

A session is kept under a digest of its id: neither ids nor prompts are stored, only a model's name, a digest of the last
request, its embedding in int8 (some 400 bytes), and a count of tokens.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from auto_router.data.request import Request
from auto_router.decide.policy import RouterSettings
from auto_router.decide.session import Session
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
            while self._held and (len(self._held) > self._most or self._first_at() < now - self._seconds):
                self._held.popitem(last=False)

    def _first_at(self) -> float:
        return next(iter(self._held.values()))[0]


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
