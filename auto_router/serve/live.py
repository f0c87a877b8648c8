"""The router that is in service: opened from its artifact, and opened anew when the artifact is replaced.

One thread keeps it. It looks at the file several times a second and swaps routers between two decisions; a file that cannot be
opened changes nothing but the log and ``load_error``. While the encoder is under suspicion, a probe is begun every second,
beside those that still hang; the encoder is trusted again when one came through and the thread that decides has made a
decision with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from auto_router.artifacts import load_artifact
from auto_router.decide.policy import RouterSettings
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.retry import ATTEMPTS
from auto_router.errors import ConfigError, EncoderError, RouterError
from auto_router.route.encoder import open_router_encoder as open_encoder
from auto_router.route.router import RAISE, ModelRouter
from auto_router.route.sessions import SessionStore

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
RETRY_SECONDS = 1.0
MAX_PROBES = 10  # that hang at a time
Signature = tuple[int, int, int]


class LiveRouter:
    """Holds the current :class:`ModelRouter` (None until one could be opened) and the health of its encoder.

    ``on_load`` is called with ``loaded`` or ``failed`` after every attempt to open an artifact. Conversations in ``sessions``
    go on when the router is replaced.
    """

    def __init__(
        self,
        settings: RouterSettings,
        on_load: Callable[[str], object] = lambda outcome: None,
        sessions: SessionStore | None = None,
    ) -> None:
        self.settings = settings
        self.router: ModelRouter | None = None
        self.loaded_at: float | None = None  # seconds since the epoch
        self.load_error: str | None = None
        self.encoder_error: str | None = None
        self._on_load, self._sessions = on_load, sessions
        self._encoder: EmbeddingGenerator | None = None
        self._cache_before, self._counting = (0, 0), threading.Lock()
        self._leaving: ModelRouter | None = None  # replaced, and finishing what it was asked
        self._seen: Signature | None = None
        self._again = True  # whether the file that is there is worth another attempt
        self._wake, self._stop = threading.Event(), threading.Event()
        self._probes: list[threading.Thread] = []
        self._recovered_at = 0.0
        self._thread = threading.Thread(target=self._keep, name="auto-router-keeper", daemon=True)

    def open(self) -> None:
        """Open the artifact and start to watch it.

        Raises:
            ConfigError: the settings are impossible for this artifact.
            ArtifactError, EncoderError: it cannot be opened, and there is no ``fallback_model`` to serve meanwhile.
        """
        try:
            self._load()
        except ConfigError:
            raise
        except RouterError as error:
            if self.settings.fallback_model is None:
                raise
            self._note_failure(error)
        self._thread.start()

    def close(self) -> None:
        """Stop watching; finish what was asked; close the encoder."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.router is not None:
            self.router.close()
        if self._encoder is not None:
            self._encoder.close()

    def suspect(self, error: str, asked_at: float | None = None) -> None:
        """Note that the encoder failed; it counts as down until it answers the keeper.

        ``asked_at``: ``time.perf_counter()`` when the request came. What was asked before the encoder came back says nothing.
        """
        if asked_at is not None and asked_at < self._recovered_at:
            return
        if self.encoder_error is None:
            log.error("encoder failed, the fallback model is chosen until it answers again: %s", error)
        self.encoder_error = error
        self._wake.set()

    def probe(self) -> str | None:
        """Make a decision that nobody gets; return why that fails, None where it does not. Blocks for as long as it takes."""
        router = self.router
        if router is None:
            return self.load_error or "no encoder is open"
        try:
            if self.encoder_error is not None:
                router.probe_encoder()  # not in the queue: where that one hangs, this is how it is noticed that it need not
                router.replace_stuck(RETRY_SECONDS)
            router.submit_probe().result(self.settings.timeout_s)
        except TimeoutError:
            return self.encoder_error or f"no decision within {self.settings.timeout_s:g} s"
        except RouterError as error:
            if router is self.router:  # else it was replaced, and so closed
                self.encoder_error = " ".join(str(error).split())
            return self.encoder_error
        if router is self.router and self.encoder_error is not None:
            self.encoder_error, self._recovered_at = None, time.perf_counter()
            log.warning("the encoder answers again")
        return self.encoder_error

    def cache_counts(self) -> tuple[int, int]:
        """Return hits and misses of the embedding caches of all routers so far."""
        with self._counting:
            return _plus(_plus(self._cache_before, self._leaving), self.router)

    def _keep(self) -> None:
        retry_at = 0.0
        while not self._stop.is_set():
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            changed, due = _signature(self.settings.router_path) not in (None, self._seen), time.monotonic() >= retry_at
            if self._stop.is_set() or not (changed or due):
                continue
            if changed or self._again:
                self._reload()
            if self.encoder_error is not None:
                self._begin_probe()
            retry_at = time.monotonic() + RETRY_SECONDS

    def _begin_probe(self) -> None:
        self._probes = [one for one in self._probes if one.is_alive()]
        if len(self._probes) < MAX_PROBES:
            self._probes.append(threading.Thread(target=self.probe, name="auto-router-probe", daemon=True))
            self._probes[-1].start()

    def _reload(self) -> None:
        try:
            self._load()
        except RouterError as error:
            self._note_failure(error)
        # A bug in opening one file must not end the watch over the next.
        except Exception as error:  # noqa: BLE001
            self._note_failure(error)

    def _load(self) -> None:
        """Open the artifact, warm it up and put it in service."""
        path = Path(self.settings.router_path)
        self._seen, self._again = _signature(path), True  # before reading: a file replaced meanwhile is read again
        encoder = self._encoder_for(load_artifact(path).encoder)
        try:
            router = self._open_router(encoder)
        except RouterError:
            if encoder is not self._encoder:
                encoder.close()
            raise
        old, before = self.router, self._encoder
        with self._counting:
            self.router, self._leaving = router, old
        self._encoder, self._again, self.loaded_at, self.load_error = encoder, False, time.time(), None
        self._on_load("loaded")
        log.info(
            "router artifact %s is in service: %d models, encoder %s", path, len(router.model_names), encoder.spec["backend"]
        )
        if old is not None:
            old.close()
            with self._counting:
                self._cache_before, self._leaving = _plus(self._cache_before, old), None
        if before is not None and before is not encoder:
            before.close()

    def _open_router(self, encoder: EmbeddingGenerator) -> ModelRouter:
        settings = {part.name: getattr(self.settings, part.name) for part in fields(self.settings)} | {"encoder": encoder}
        router = ModelRouter(**settings, on_encoder_error=RAISE, sessions=self._sessions)
        router.warm_up()
        return router

    def _encoder_for(self, spec: dict[str, object]) -> EmbeddingGenerator:
        """Return the open encoder where it is the artifact's, else open that one."""
        if self._encoder is not None:
            try:
                self._encoder.check(spec)
            except EncoderError:
                log.warning("the new artifact was trained on another encoder, which is opened now")
            else:
                return self._encoder
        # The keeper tries again by itself; a start that fails for good may wait for an encoder that starts beside it.
        return open_encoder(spec, self.settings, attempts=1 if self._thread.is_alive() else ATTEMPTS)

    def _note_failure(self, error: Exception) -> None:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        new, self.load_error = message != self.load_error, message  # before it is counted: who sees the count may ask why
        if new:
            served = "the router before it stays in service" if self.router is not None else "the fallback model is chosen"
            log.error("router artifact cannot be opened; %s: %s", served, message)
            self._on_load("failed")
        # A damaged file stays damaged; a file that is missing, or an encoder that is down, may come.
        self._again = self._seen is None or isinstance(error, EncoderError)


def _plus(counts: tuple[int, int], router: ModelRouter | None) -> tuple[int, int]:
    return counts if router is None else (counts[0] + router.cache.hits, counts[1] + router.cache.misses)


def _signature(path: str | Path) -> Signature | None:
    """Return what changes when the file is replaced; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
