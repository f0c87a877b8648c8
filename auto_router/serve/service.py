"""One service for every server: it decides without blocking the event loop, and always names a model.

Where the router cannot decide, the *fallback* is chosen: the model of the conversation, else ``fallback_model``, else the best
single model of training, else the first that the artifact knows; and the first of these that may take the request. Then the
``reason`` is:

* ``no_artifact``: none could be opened yet;
* ``encoder_failed``: the encoder failed, or failed before and has not answered since;
* ``overloaded``: so many prompts wait already that this one would have its turn after ``timeout_s``: it does not wait for it;
* ``timeout``: the decision took longer than ``timeout_s``;
* ``no_prompt``: the request holds nothing that a user said (for servers that must forward it all the same);
* ``internal_error``: a bug, with its traceback in the log.

With ``explore_share``, some decisions have the reason ``explore``: another model of the ranking, see
:mod:`auto_router.serve.exploration`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from auto_router.data.images import ImageLike, image_bytes, pixels
from auto_router.data.json_files import read_json
from auto_router.data.remote_images import fetch_images
from auto_router.data.request import Request
from auto_router.decide.policy import RouterSettings
from auto_router.decide.rule import Decision
from auto_router.decide.session import NEW
from auto_router.errors import ConfigError, DataError, EncoderError, InputRefusedError
from auto_router.route.drift import DriftReport
from auto_router.route.feedback import encoder_digest
from auto_router.route.router import ENCODER_FAILED, STUCK, TIMEOUT
from auto_router.route.sessions import open_sessions, replace_model, save_response, session_keys
from auto_router.serve.decision_log import make_id
from auto_router.serve.exploration import Explorer
from auto_router.serve.feedback import CONFLICT, FeedbackLoop, RefusedError, answer
from auto_router.serve.live import LiveRouter
from auto_router.serve.monitoring import FIELDS_OF, Metrics, decision_span, describe_span, process_metrics

log = logging.getLogger(__name__)

EXPLORE = "explore"
NO_ARTIFACT, OVERLOADED, NO_PROMPT, INTERNAL_ERROR = "no_artifact", "overloaded", "no_prompt", "internal_error"
CAUSES = (NO_ARTIFACT, ENCODER_FAILED, OVERLOADED, TIMEOUT, NO_PROMPT, INTERNAL_ERROR)
SHOWN = 200  # characters of a prompt in the log, where prompts are wanted there
HEALTH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ServedDecision:
    """A decision, how many of the request's images could not be looked at, and the id by which its outcome is told."""

    decision: Decision
    unseen: int = 0
    id: str = field(default_factory=make_id, compare=False)
    encoder: str = field(default="", compare=False)
    """Whose numbers the decision was made on, see :func:`encoder_digest`; told where feedback is kept."""

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON values, ``id`` and ``unseen_pictures``."""
        return {"id": self.id} | self.decision.to_dict() | {"unseen_pictures": self.unseen}


class DecisionService:
    """Decides for a server. Its coroutines belong to one event loop.

    Raises, when opened:
        ConfigError, ArtifactError, EncoderError: see :meth:`LiveRouter.open`.
    """

    def __init__(self, settings: RouterSettings, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or process_metrics()
        self.sessions = open_sessions(settings)
        self.live = LiveRouter(settings, lambda outcome: self.metrics.loads.labels(outcome).inc(), self.sessions)
        self.feedback = FeedbackLoop(settings.feedback_file, settings.feedback_seconds, self.metrics)
        self._explorer = Explorer(self.feedback.decisions)

    def open(self) -> None:
        """Open the router; blocks for as long as that takes."""
        self.metrics.state.encoder_answers = lambda: self.live.router is not None and self.live.encoder_error is None
        self.metrics.state.cache_counts.append(self.live.cache_counts)
        self.metrics.state.drift = self.drift_report
        self.live.open()

    def close(self) -> None:
        self.live.close()
        self.sessions.close()
        self.feedback.close()

    @property
    def known_models(self) -> Sequence[str]:
        """The models that can be chosen: the artifact's, or those that the settings name while there is none."""
        return self.settings.known_models if self.live.router is None else self.live.router.model_names

    async def decide(self, request: Request, models: Collection[str] | None = None, span: Any = None) -> ServedDecision:
        """Return a decision for ``request``, whatever happens.

        Images that cannot be looked at here (at hosts that ``image_hosts`` does not name, or broken ones) are left out; the
        choice is then among the models that take images. ``models`` limits the choice to those that the server has, as far as
        the router knows any of them. ``span``: the host's, that the decision's is to be under; None: the current one.

        Raises:
            ConfigError: the artifact has no such operating point, or the request names an unknown model.
        """
        with decision_span(span) as own:
            served = await self._decide_at_all(request, models)
            describe_span(own, served.id, served.decision)
        return served

    async def _decide_at_all(self, request: Request, models: Collection[str] | None) -> ServedDecision:
        start, router = time.perf_counter(), self.live.router
        before = 0 if router is None else router.finished
        try:
            if request.urls and self.settings.image_hosts:
                request = await asyncio.to_thread(fetch_images, request, self.settings.image_hosts)
            request = request.without(request.urls)
            served = await self._explore(await self._decide(request, models), request)
        except TimeoutError:
            # An encoder that answered others meanwhile is slow, not dead.
            if router is None or router.finished == before:
                self.live.suspect(f"no decision within {self.settings.timeout_s:g} s", start)
                if router is not None:
                    router.replace_stuck(STUCK * self.settings.timeout_s)
            served = await self.fallback(TIMEOUT, request)
        except InputRefusedError as error:  # it answers: this one prompt alone is without a decision
            log.warning("the encoder does not take a prompt: %s", " ".join(str(error).split()))
            served = await self.fallback(ENCODER_FAILED, request)
        except EncoderError as error:
            self.live.suspect(" ".join(str(error).split()), start)
            served = await self.fallback(ENCODER_FAILED, request)
        await self._note(served, time.perf_counter() - start, request)
        return served

    async def note_answer(self, id: str, key: str, model: str) -> None:
        """Note that another model answered than the chosen one.

        Args:
            id: of the decision.
            key: of its session, see :func:`auto_router.route.sessions.session_keys`; ``""`` for none.
            model: who answered.
        """
        if key:
            await asyncio.to_thread(replace_model, self.sessions, key, model)
        if self.feedback.decisions is not None:
            await asyncio.to_thread(self.feedback.decisions.note_answer, id, model)

    async def note_response(self, response_id: str, model: str) -> None:
        """Note which model made a response: a request that continues it goes to that model."""
        await asyncio.to_thread(save_response, self.sessions, response_id, model)

    async def note(self, decision: Decision) -> ServedDecision:
        """Return, counted, a decision that was made elsewhere."""
        served = ServedDecision(decision)
        await self._note(served, 0.0, Request(""))
        return served

    async def refuse(self, cause: str) -> ServedDecision:
        """Return the fallback, counted, for a request that :meth:`decide` cannot be asked about."""
        return await self.note((await self.fallback(cause, Request(""))).decision)

    async def answer_feedback(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of the answer to ``POST /v1/feedback``; see :meth:`FeedbackLoop.take`."""
        return await answer(lambda raw: self.feedback.take(read_json(raw)), body)

    async def answer_explanation(self, id: str) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of the answer to a question why a decision was made; see :meth:`explain`."""
        return await answer(self.explain, id)

    async def answer_drift(self) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of the answer to a question for the drift report."""
        report = self.drift_report()
        return (503, {"error": {"message": "no artifact is open"}}) if report is None else (200, report.to_dict())

    def drift_report(self) -> DriftReport | None:
        """Return how the last decisions differ from training; None while no artifact is open."""
        router = self.live.router
        return None if router is None else router.drift_report()

    def explain(self, id: str) -> dict[str, Any]:
        """Return a decision that waits for its outcome, and why it was made, as JSON values. Blocks.

        Raises:
            RefusedError: it is not known, was made without the network, or by an artifact that is not in service any more.
        """
        found, router = self.feedback.find(id), self.live.router
        decision = found.restore()
        if decision.features is None or router is None:
            raise RefusedError(CONFLICT, f"this decision was made without the network ({decision.reason})")
        # Another artifact would say of the same numbers something else.
        same = list(decision.probabilities) == list(router.model_names) and found.encoder == encoder_digest(router.encoder.spec)
        p = router.predict(decision.features[None]).probabilities[0] if same else np.array([])
        if not same or not np.allclose(p, list(decision.probabilities.values()), atol=1e-3, equal_nan=True):
            raise RefusedError(CONFLICT, "this decision was made by an artifact that is not in service any more")
        about = {"id": found.id, "answered_by": found.answered, "outcome": found.outcome}
        return about | found.decision | router.explain(decision).to_dict()

    async def fallback(self, cause: str, request: Request) -> ServedDecision:
        """Return the decision that is made without the router's network."""
        router = self.live.router
        if router is None:
            names = tuple(self.known_models)
            return ServedDecision(Decision(names[0], {}, (), cause, names))
        known = None if request.models is None else tuple(name for name in request.models if name in router.model_names)
        limited = replace(request, models=known or None)  # unknown names are refused where the router decides
        return ServedDecision(await asyncio.to_thread(router.fallback_decision, cause, limited))

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Return whether a model can be named, be it the fallback, and which can be chosen. Asks nobody."""
        names = list(self.known_models)
        return bool(names), {"status": "ready" if names else "not ready", "models": names}

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

    async def _decide(self, request: Request, models: Collection[str] | None) -> ServedDecision:
        router = self.live.router
        if router is None:
            return await self.fallback(NO_ARTIFACT, request)
        if self.live.encoder_error is not None:
            return await self.fallback(ENCODER_FAILED, request)
        if router.expected_wait(request) > self.settings.timeout_s:
            return await self.fallback(OVERLOADED, request)
        router.policies.at(request.operating_point, request.thresholds)
        served = [name for name in router.model_names if models is not None and name in models]
        limited = replace(request, models=tuple(served)) if served and request.models is None else request
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                made = await router.adecide(request=limited)
        except DataError:
            broken = [image for image in request.images if not await asyncio.to_thread(_readable, image)]
            if not broken:
                raise
            return await self._decide(request.without(broken), models)
        except ConfigError:
            if self.live.router is router:
                raise
            return await self._decide(request, models)  # replaced, and so closed, between two lines above
        encoder = encoder_digest(router.encoder.spec) if self.feedback.decisions is not None else ""
        return ServedDecision(made, request.unseen_images, encoder=encoder)

    async def _explore(self, served: ServedDecision, request: Request) -> ServedDecision:
        """Return, for a share of the decisions, one for another model of the ranking: its outcome tells what it can."""
        made, share = served.decision, self.settings.explore_share
        is_free = made.session in (None, NEW) and len(made.ranking) > 1
        router = self.live.router
        if not share or not is_free or made.features is None or router is None or random.random() >= share:
            return served
        asyncio.get_running_loop().run_in_executor(  # what it finds is for later decisions
            None, self._explorer.refresh, router.model_names, served.encoder, made.features.size,
            lambda rows: router.predict(rows).probabilities, self.live.loaded_at,
        )  # fmt: skip
        model = self._explorer.choose(made.ranking[1:])
        ranking = (model, *(name for name in made.ranking if name != model))
        if made.session == NEW:
            await asyncio.to_thread(replace_model, self.sessions, session_keys(request)[0], model)
        return replace(served, decision=replace(made, model=model, ranking=ranking, reason=EXPLORE, cost=None))

    async def _note(self, served: ServedDecision, seconds: float, request: Request) -> None:
        """Count, log and, where feedback is kept, keep a decision."""
        made, metrics = served.decision, self.metrics
        metrics.decisions.labels(made.model, made.reason).inc()
        metrics.seconds.observe(seconds)
        if served.unseen:
            metrics.unseen.inc(served.unseen)
        if made.session is not None:
            metrics.sessions.labels(made.session).inc()
        if made.reason in CAUSES:
            metrics.fallbacks.labels(made.reason).inc()
        if made.novelty is not None:
            metrics.novelty.observe(made.novelty)
        self._log(served, seconds, request)
        if self.feedback.decisions is not None:
            await asyncio.to_thread(self.feedback.add, served.id, made, served.encoder)

    def _log(self, served: ServedDecision, seconds: float, request: Request) -> None:
        made = served.decision
        p, ms = made.probabilities.get(made.model, float("nan")), 1000 * seconds
        told: dict[str, Any] = {"model": made.model, "reason": made.reason, "p": p, "ms": ms, "id": served.id}
        line = f"model={made.model} reason={made.reason} p={p:.3f} ms={ms:.1f} id={served.id}"
        if self.settings.log_prompts:
            told |= {"prompt": request.text[:SHOWN], "pictures": len(request.images)}
            line += f" prompt={request.text[:SHOWN]!r} pictures={len(request.images)}"
        log.info("%s", line, extra={FIELDS_OF: told})


def _readable(image: ImageLike) -> bool:
    try:
        pixels(image_bytes(image))
    except DataError:
        return False
    return True
