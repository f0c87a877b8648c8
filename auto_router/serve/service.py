"""One service for every server: it decides without blocking the event loop, and always names a model.

Where the router cannot decide, the *fallback* is chosen: ``fallback_model``, else the best single model of training, else the
first that the artifact knows; where there are pictures, the first of these that takes them. Then the ``reason`` is:

* ``no_artifact``: none could be opened yet;
* ``encoder_failed``: the encoder failed, or failed before and has not answered since;
* ``overloaded``: so many prompts wait already that this one would have its turn after ``timeout_s``: it does not wait for it;
* ``timeout``: the decision took longer than ``timeout_s``;
* ``no_model_fits``: no model of the pool may take this input;
* ``no_prompt``: the request holds nothing that a user said (for servers that must forward it all the same);
* ``internal_error``: a bug, with its traceback in the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from auto_router.data.images import ImageLike, image_bytes, pixels
from auto_router.data.pool import ModelFacts
from auto_router.decide.rule import Decision
from auto_router.decide.settings import RouterSettings
from auto_router.errors import ConfigError, DataError, EncoderError, InputRefusedError
from auto_router.route.router import ENCODER_FAILED, STUCK, TIMEOUT, ModelRouter
from auto_router.serve.chat import Request
from auto_router.serve.live import LiveRouter
from auto_router.serve.metrics import Metrics, process_metrics

log = logging.getLogger(__name__)

NO_ARTIFACT, OVERLOADED, NO_MODEL_FITS = "no_artifact", "overloaded", "no_model_fits"
NO_PROMPT, INTERNAL_ERROR = "no_prompt", "internal_error"
CAUSES = (NO_ARTIFACT, ENCODER_FAILED, OVERLOADED, TIMEOUT, NO_MODEL_FITS, NO_PROMPT, INTERNAL_ERROR)
SHOWN = 200  # characters of a prompt in the log, where prompts are wanted there
HEALTH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ServedDecision:
    """A decision, and how many of the request's pictures could not be looked at."""

    decision: Decision
    unseen: int = 0


class DecisionService:
    """Decides for a server. Its coroutines belong to one event loop.

    Raises, when opened:
        ConfigError, ArtifactError, EncoderError: see :meth:`LiveRouter.open`.
    """

    def __init__(self, settings: RouterSettings, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or process_metrics()
        self.live = LiveRouter(settings, lambda outcome: self.metrics.loads.labels(outcome).inc())

    def open(self) -> None:
        """Open the router; blocks for as long as that takes."""
        self.metrics.encoder_up.set_function(lambda: float(self.live.router is not None and self.live.encoder_error is None))
        self.metrics.cache.sources.append(self.live.cache_counts)
        self.live.open()

    def close(self) -> None:
        self.live.close()

    @property
    def known_models(self) -> Sequence[str]:
        """The models that can be chosen: the artifact's, or those that the settings name while there is none."""
        return self.settings.known_models if self.live.router is None else self.live.router.model_names

    async def decide(self, request: Request, models: Collection[str] | None = None) -> ServedDecision:
        """Return a decision for ``request``, whatever happens.

        Pictures that cannot be read here (URLs are not fetched) are left out; the choice is then among the models that
        take pictures. ``models`` limits the choice to those that the server has, as far as the router knows any of them.

        Raises:
            ConfigError: the artifact has no such operating point.
        """
        start, router = time.perf_counter(), self.live.router
        before = 0 if router is None else router.batches.finished
        unseen = sum(_remote(image) for image in request.images)
        images = [image for image in request.images if not _remote(image)]
        try:
            served = await self._decide(request, images, unseen, models)
        except TimeoutError:
            if (
                router is None or router.batches.finished == before
            ):  # an encoder that answered others meanwhile is slow, not dead
                self.live.suspect(f"no decision within {self.settings.timeout_s:g} s", start)
                if router is not None:
                    router.batches.replace_stuck(STUCK * self.settings.timeout_s)
            served = self.fallback(TIMEOUT, bool(request.images))
        except InputRefusedError as error:  # it answers: this one prompt alone is without a decision
            log.warning("the encoder does not take a prompt: %s", " ".join(str(error).split()))
            served = self.fallback(ENCODER_FAILED, bool(request.images))
        except EncoderError as error:
            self.live.suspect(" ".join(str(error).split()), start)
            served = self.fallback(ENCODER_FAILED, bool(request.images))
        self._note(served, time.perf_counter() - start, request)
        return served

    def refuse(self, cause: str) -> ServedDecision:
        """Return the fallback, counted, for a request that :meth:`decide` cannot be asked about."""
        served = self.fallback(cause, False)
        self._note(served, 0.0, Request(""))
        return served

    def fallback(self, cause: str, images: bool) -> ServedDecision:
        """Return the decision that is made without the router."""
        router = self.live.router
        if router is not None:
            return ServedDecision(router.fallback_decision(cause, images))
        names = self.known_models
        return ServedDecision(Decision(names[0], {}, (), cause, tuple(names)))

    async def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether decisions are the router's own, and what is the matter where not. Asks the encoder now."""
        live = self.live
        encoder = live.encoder_error
        if live.router is not None:
            try:
                encoder = await asyncio.wait_for(asyncio.to_thread(live.probe), HEALTH_SECONDS)
            except TimeoutError:
                encoder = f"no answer within {HEALTH_SECONDS:g} s"
        good = live.router is not None and encoder is None
        return good, {
            "status": "healthy" if good else "degraded",
            "artifact": {
                "loaded": live.router is not None,
                "loaded_at": live.loaded_at,
                "models": [] if live.router is None else list(live.router.model_names),
                "error": live.load_error,
            },
            "encoder": {"answers": good, "error": encoder},
        }

    async def _decide(
        self, request: Request, images: Sequence[Any], unseen: int, models: Collection[str] | None
    ) -> ServedDecision:
        router, pictured = self.live.router, bool(request.images)
        if router is None:
            return self.fallback(NO_ARTIFACT, pictured)
        if self.live.encoder_error is not None:
            return self.fallback(ENCODER_FAILED, pictured)
        if router.batches.expected_wait() > self.settings.timeout_s:
            return self.fallback(OVERLOADED, pictured)
        router.policies.at(request.operating_point)
        able = [name for name in router.model_names if not unseen or _takes_images(router, name)]
        able = [name for name in able if models is None or name in models] or able
        limit = able if len(able) < len(router.model_names) else None
        asked = router.adecide(request.text, images, limit, request.operating_point)
        try:
            return ServedDecision(await asyncio.wait_for(asked, self.settings.timeout_s), unseen)
        except DataError:
            readable = [image for image in images if await asyncio.to_thread(_readable, image)]
            if len(readable) == len(images):
                raise
            return await self._decide(request, readable, unseen + len(images) - len(readable), models)
        except ConfigError:
            if self.live.router is not router:  # replaced, and so closed, between two lines above
                return await self._decide(request, images, unseen, models)
            return self.fallback(NO_MODEL_FITS, pictured)

    def _note(self, served: ServedDecision, seconds: float, request: Request) -> None:
        made, metrics = served.decision, self.metrics
        metrics.decisions.labels(made.model, made.reason).inc()
        metrics.seconds.observe(seconds)
        if served.unseen:
            metrics.unseen.inc(served.unseen)
        if made.reason in CAUSES:
            metrics.fallbacks.labels(made.reason).inc()
        p = made.probabilities.get(made.model, float("nan"))
        prompt = f" prompt={request.text[:SHOWN]!r} pictures={len(request.images)}" if self.settings.log_prompts else ""
        log.info("model=%s reason=%s p=%.3f ms=%.1f%s", made.model, made.reason, p, 1000 * seconds, prompt)


def _remote(image: Any) -> bool:
    return isinstance(image, str) and image[:8].lower().startswith(("http://", "https://"))


def _readable(image: ImageLike) -> bool:
    try:
        pixels(image_bytes(image))
    except DataError:
        return False
    return True


def _takes_images(router: ModelRouter, name: str) -> bool:
    return router.facts.get(name, ModelFacts()).takes_images
