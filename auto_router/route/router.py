"""ModelRouter: an artifact, an encoder and the decision rule, behind a few methods.

It lives in the package, not in ``model_router.py``, so that servers inside the package can use it too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from auto_router.arrays import Array
from auto_router.artifacts import load_artifact
from auto_router.data.dataset import Prediction
from auto_router.data.embeddings import PROBE_TEXT, probes_agree
from auto_router.data.images import blank_image
from auto_router.data.request import Images, Names, Request, images_of, make_request, names_of, text_request
from auto_router.decide.eligibility import Eligibility
from auto_router.decide.policy import DEFAULT_PATH, Policies, Policy, RouterSettings, choose_each
from auto_router.decide.rule import Decision, decisions
from auto_router.decide.session import KEPT, SessionRule
from auto_router.encode.encoder import EmbeddingGenerator, check_prompt
from auto_router.errors import ConfigError, EncoderError
from auto_router.learn.stack import StackNetwork
from auto_router.route.batching import MicroBatcher, run_in_time
from auto_router.route.drift import DriftMonitor, DriftReport
from auto_router.route.encoder import RowCache, open_router_encoder
from auto_router.route.explain import Explanation, flips, neighbours
from auto_router.route.feedback import FEEDBACK_FILE, append_feedback
from auto_router.route.sessions import Conversations, SessionStore, open_sessions, replace_model, save_response, session_keys

log = logging.getLogger(__name__)

TIMEOUT, ENCODER_FAILED = "timeout", "encoder_failed"  # reasons of a decision that was made without the encoder
ON_ENCODER_ERROR = (CHOOSE_FALLBACK, RAISE) = ("fallback", "raise")
STUCK = 0.5  # of a decision's time after which the batching thread counts as stuck, where nothing was finished in all of it

LONG_CHARACTERS = 1_200  # more than this, context included, takes several times as long
MAX_LONG_BATCH = 8


class _Query(NamedTuple):
    request: Request
    policy: Policy

    def check(self, row: int = 0) -> Self:
        """Return itself, or raise the error of a prompt that is none: before it waits beside those of others."""
        check_prompt(row, self.request.text, self.request.images)
        return self


class ModelRouter:
    """Routes prompts to the model that should answer them. Its methods may be called from several threads at once.

    Without costs the most promising qualified model is chosen; with costs the cheapest qualified one. A model qualifies
    where its probability reaches its threshold; a model without one always does. A prompt unlike everything in training goes
    to the best single model of training (reason ``unfamiliar``).

    Args:
        router_path: the artifact that ``nn_router.py`` wrote.
        model_thresholds, model_costs, device, verbose, settings: see :class:`RouterSettings`, the one list of settings.
        encoder: an open :class:`EmbeddingGenerator` to use instead of opening the one the artifact names (it stays open when
            the router is closed), or the name of a back end.
        on_decision: called with every :class:`Decision`, in the thread that made it; what it raises reaches the caller.
        timeout: seconds that one call may take (the opening not included); None: as long as it takes. A request to an encoder
            over a wire is made once, and ends within four fifths of it (of ``timeout_s`` where there is none).
        on_encoder_error: ``fallback``: where the encoder fails, or ``timeout`` is over, choose ``fallback_model``, else the
            best single model of training (reasons ``encoder_failed`` and ``timeout``); ``raise``: raise EncoderError. None:
            ``fallback`` where there is a ``fallback_model``.
        sessions: where conversations are remembered, to share them with other routers; None: what the settings say.

    Raises:
        ArtifactError: the artifact is missing or damaged.
        EncoderError: the encoder cannot be opened or is not the one the router was trained on.
        ConfigError: a setting is unknown or impossible, or names an unknown model.
    """

    def __init__(
        self,
        router_path: str | Path = DEFAULT_PATH,
        model_thresholds: Mapping[str, float] | None = None,
        model_costs: Mapping[str, float] | None = None,
        device: str | None = None,
        verbose: bool = False,
        *,
        encoder: EmbeddingGenerator | str | None = None,
        on_decision: Callable[[Decision], object] | None = None,
        timeout: float | None = None,
        on_encoder_error: str | None = None,
        sessions: SessionStore | None = None,
        **settings: Any,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"timeout must be a number of seconds above 0, or None, got {timeout!r}")
        if on_encoder_error not in (None, *ON_ENCODER_ERROR):
            raise ConfigError(f"on_encoder_error must be {CHOOSE_FALLBACK!r} or {RAISE!r}, got {on_encoder_error!r}")
        if on_decision is not None and not callable(on_decision):
            raise ConfigError(f"on_decision must be a function of one decision, or None, got {on_decision!r}")
        generator = encoder if isinstance(encoder, EmbeddingGenerator) else None
        given = {
            "router_path": router_path, "model_thresholds": model_thresholds, "model_costs": model_costs,
            "device": device, "verbose": verbose, "encoder": None if generator else encoder, **settings,
        }  # fmt: skip
        self.settings = RouterSettings.of(given)
        self.timeout = timeout
        self.on_encoder_error = on_encoder_error or (RAISE if self.settings.fallback_model is None else CHOOSE_FALLBACK)
        self._artifact = artifact = load_artifact(router_path, device)
        self.model_names = artifact.model_names
        self.facts = artifact.facts
        self._eligibility = Eligibility.of(self.model_names, self.facts)
        self.policies = Policies(self.model_names, artifact.operating_points, self.settings)
        self.policy = self.policies.at(None)
        self._on_decision = on_decision
        self._drift = DriftMonitor(self.model_names, artifact.training.reference, self.settings.drift_window)
        self._own_encoder = generator is None
        self.encoder = generator or open_router_encoder(artifact.encoder, self.settings, timeout)
        self.encoder.check(artifact.encoder)
        self.cache = RowCache(self.encoder, self.settings.cache_bytes, bool(artifact.prompt_features))
        self._own_sessions = sessions is None
        self._sessions = open_sessions(self.settings) if sessions is None else sessions
        rule = SessionRule(self.model_names, self.facts, self.settings.session_policy)
        self._conversations = Conversations(self._sessions, rule, self.encoder.text_dim)
        self._short: MicroBatcher[_Query | None, Decision | None] = MicroBatcher(self._work)
        self._long: MicroBatcher[_Query | None, Decision | None] = MicroBatcher(self._work, max_batch=MAX_LONG_BATCH)
        self._closed = False

    @property
    def device(self) -> str:
        """Where the network computes: ``cpu``, ``cuda:0``, …"""
        network = self._artifact.network
        return "cpu" if isinstance(network, StackNetwork) else str(next(network.parameters()).device)

    def route(self, text: str, images: Images = None, models: Names = None) -> str:
        """Return the name of the model that should answer ``text`` with ``images``."""
        return self.decide(text, images, models).model

    def decide(
        self,
        text: str | None = None,
        images: Images = None,
        models: Names = None,
        operating_point: str | None = None,
        *,
        session: str | None = None,
        request: Request | None = None,
        **body: Any,
    ) -> Decision:
        """Return the whole :class:`Decision`.

        Give one of: ``text`` with ``images``; ``messages=[…]`` (or ``input=``) and what else a request to a model has, such as
        ``tools=`` and ``response_format=``; or a ``request`` of :func:`auto_router.data.request.read_request`.

        Args:
            text, images: the prompt.
            models: the choice is limited to these names.
            operating_point: in force for this prompt instead of the router's.
            session: what the conversation is called; its model stays, as ``session_policy`` says.
            request: what was read already.
            body: the fields of a request.

        Raises:
            DataError: the prompt is no string, an image cannot be read, or ``body`` holds nothing that a user said.
            ConfigError: ``models`` or ``operating_point`` is unknown; none, or several, of the three were given.
            EncoderError: the encoder failed or took too long, and ``on_encoder_error`` is ``raise``.
        """
        query = self._query(make_request(text, images, models, operating_point, session, request, body))
        return self._decide_in_time([query])[0]

    def route_batch(self, texts: Sequence[str], images: Sequence[Images] | None = None, models: Names = None) -> list[str]:
        """Return one model name per prompt; all prompts are encoded together."""
        return [decision.model for decision in self.decide_batch(texts, images, models)]

    def decide_batch(
        self, texts: Sequence[str], images: Sequence[Images] | None = None, models: Names = None
    ) -> list[Decision]:
        """Return one :class:`Decision` per prompt. ``images[i]`` are the images of prompt i, or None."""
        if isinstance(texts, str):
            raise ConfigError("a batch takes a list of prompts, got one string; use route() or decide()")
        if images is not None and len(images) != len(texts):
            raise ConfigError(f"{len(texts)} prompts came with {len(images)} lists of images; give one list per prompt")
        given = [None] * len(texts) if images is None else images
        limit = None if models is None else names_of(models)
        requests = [text_request(text, images_of(some), models=limit) for text, some in zip(texts, given, strict=True)]
        return self._decide_in_time([_Query(request, self.policy).check(row) for row, request in enumerate(requests)])

    async def aroute(self, text: str, images: Images = None, models: Names = None) -> str:
        """Like :meth:`route`, without blocking the event loop."""
        return (await self.adecide(text, images, models)).model

    async def adecide(
        self,
        text: str | None = None,
        images: Images = None,
        models: Names = None,
        operating_point: str | None = None,
        *,
        session: str | None = None,
        request: Request | None = None,
        **body: Any,
    ) -> Decision:
        """Like :meth:`decide`, without blocking the event loop; concurrent calls share batches of the encoder."""
        query = self._query(make_request(text, images, models, operating_point, session, request, body))
        try:
            made = await asyncio.wait_for(asyncio.wrap_future(self._batcher(query.request).submit(query)), self.timeout)
        except TimeoutError as error:
            self.replace_stuck(STUCK * (self.timeout or 0.0))
            return (await asyncio.to_thread(self._fall_back, [query], TIMEOUT, error))[0]
        except EncoderError as error:
            return (await asyncio.to_thread(self._fall_back, [query], ENCODER_FAILED, error))[0]
        assert made is not None  # only a probe has no decision
        return made

    def fallback_decision(self, cause: str, request: Request) -> Decision:
        """Return the decision made without the encoder: the conversation's model, ``fallback_model``, the best of training or
        another, the first of them that may take the request or comes nearest to it.
        """
        default = self.policy.fallback if self.policy.fallback is not None else self.policy.default
        stays = self.session_model(request)
        first = [stays, None if default is None else self.model_names[default]]
        able = dict(zip(self.model_names, self._eligibility.eligible([request]).models[0].tolist(), strict=True))
        names = tuple(name for name in dict.fromkeys((*first, *self.model_names)) if name is not None and able.get(name))
        return Decision(names[0], {}, (), cause, names, session=KEPT if names[0] == stays else None)

    def probe_encoder(self) -> None:
        """Make a decision about a fixed prompt, and an image where the encoder takes any, that nobody gets or remembers.

        Raises:
            EncoderError: the encoder fails, or another model than in training answers.
        """
        row = self.cache.fresh([PROBE_TEXT], [[blank_image()]] if self.encoder.image_dim else [None])
        expected = self._artifact.encoder.get("probe", [])
        if expected and not probes_agree(np.round(row[0, : len(expected)], 3).tolist(), expected):
            raise EncoderError(
                "another model answers at the encoder's address than the one this router was trained on (differs in probe)"
            )
        self.policy.choose(self._artifact.predict(row))

    def submit_probe(self) -> Future[Decision | None]:
        """Let the thread of :meth:`adecide` do what :meth:`probe_encoder` does: that of short prompts, which has most to do."""
        return self._short.submit(None)

    def replace_stuck(self, after_s: float) -> None:
        """Replace threads of :meth:`adecide` that have been at one batch for ``after_s`` seconds."""
        for batches in (self._short, self._long):
            batches.replace_stuck(after_s)

    def note_model(self, request: Request, model: str) -> None:
        """Note that another model than the chosen one answered a request: the session goes on with that."""
        replace_model(self._sessions, session_keys(request)[0], model)

    def note_response(self, response_id: str, model: str) -> None:
        """Note which model made a response: a request that continues it (``previous_response_id``) goes to that model."""
        save_response(self._sessions, response_id, model)

    def session_model(self, request: Request) -> str | None:
        """Return the model of a request's session; None where nothing is known of it."""
        return self._conversations.model_of(request)

    @property
    def finished(self) -> int:
        """Decisions of :meth:`adecide` so far: whether it grows tells a busy router from a stuck one."""
        return self._short.finished + self._long.finished

    def expected_wait(self, request: Request) -> float:
        """Return how many seconds a request given to :meth:`adecide` now would wait for its turn."""
        return self._batcher(request).expected_wait()

    def explain(self, decision: Decision, count: int = 5) -> Explanation:
        """Return the ``count`` training prompts nearest to a decision of this router, and what would have changed it."""
        row = decision.features
        near = [] if row is None else neighbours(self._artifact.novelty, row, self.model_names, count)
        cost_model = self._artifact.cost_model
        policy = self.policy.with_costs(None if row is None or cost_model is None else cost_model(row))
        return Explanation(near, flips(decision, policy, self.model_names))

    def record(self, decision: Decision, outcome: float, path: str | Path = FEEDBACK_FILE, model: str | None = None) -> None:
        """Append how the answer of ``model`` (None: the chosen one) turned out (0 wrong … 1 right) to a JSONL for training.

        The prompt itself is not written, only the numbers that the network saw of it.
        """
        append_feedback(Path(path), decision, outcome, self._artifact.encoder, model)

    def drift_report(self) -> DriftReport:
        """Compare the last ``drift_window`` decisions with what was expected in training."""
        return self._drift.report()

    def warm_up(self) -> None:
        """Load what is otherwise loaded at first use: the encoder's models, and the code paths of a decision."""
        texts, images = ["warm up", "warm up"], [None, [blank_image()] if self.encoder.image_dim else None]
        self._artifact.predict(self.cache.fresh(texts, images), texts)

    def predict(self, features: Array) -> Prediction:
        """Return what the network says of input rows ``[N, D]``: embeddings, and features of the prompt where it uses them."""
        return self._artifact.predict(features)

    def close(self) -> None:
        """Finish what was asked, and give back the encoder's resources. A closed router decides no more."""
        self._short.close()
        self._long.close()
        self._closed = True
        self.cache.clear()
        if self._own_sessions:
            self._sessions.close()
        if self._own_encoder:
            self.encoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled router is opened again from its artifact, with the same options: open sessions cannot travel."""
        if not self._own_encoder:
            raise ConfigError("a router with an encoder= of its own cannot be pickled; open it in the other process")
        more = {"on_decision": self._on_decision, "timeout": self.timeout, "on_encoder_error": self.on_encoder_error}
        return _reopen, (type(self), self.settings, more)

    def _work(self, jobs: Sequence[_Query | None]) -> list[Decision | None]:
        """Decide the prompts of a batch; what is None is a probe."""
        made = iter(self._decide([query for query in jobs if query is not None]))
        if None in jobs:
            self.probe_encoder()
        return [None if query is None else next(made) for query in jobs]

    def _decide_in_time(self, queries: Sequence[_Query]) -> list[Decision]:
        try:
            if self.timeout is None:
                return self._decide(queries)
            return run_in_time(lambda: self._decide(queries), self.timeout)
        except TimeoutError as error:
            return self._fall_back(queries, TIMEOUT, error)
        except EncoderError as error:
            return self._fall_back(queries, ENCODER_FAILED, error)

    def _fall_back(self, queries: Sequence[_Query], cause: str, error: Exception) -> list[Decision]:
        said = f"no decision within {self.timeout:g} s" if cause == TIMEOUT else " ".join(str(error).split())
        if self.on_encoder_error == RAISE:
            raise error if isinstance(error, EncoderError) else EncoderError(said) from error
        log.warning("the encoder failed, the fallback model is chosen: %s", said)
        made = [self.fallback_decision(cause, query.request) for query in queries]
        self._tell([query.request.text for query in queries], made)
        return made

    def _query(self, request: Request) -> _Query:
        return _Query(request, self.policies.at(request.operating_point, request.thresholds)).check()

    def _batcher(self, request: Request) -> MicroBatcher[_Query | None, Decision | None]:
        """Long prompts wait beside long ones: the short are many, and done in a fraction of the time."""
        return self._long if len(request.text) + len(request.context) > LONG_CHARACTERS else self._short

    def _decide(self, queries: Sequence[_Query]) -> list[Decision]:
        if self._closed:
            raise ConfigError("this router is closed; open another one")
        if not queries:
            return []
        requests, policies = [query.request for query in queries], [query.policy for query in queries]
        eligible = self._eligibility.eligible(requests)
        start = time.perf_counter()
        texts, contexts = [request.text for request in requests], [request.context for request in requests]
        features = self.cache.rows(texts, [request.images for request in requests], contexts)
        encoded = time.perf_counter()
        prediction = self._artifact.predict(features, texts, [request.history_tokens for request in requests])
        predicted = time.perf_counter()
        choices = choose_each(policies, prediction, eligible.models)
        choices = choices._replace(reasons=[a or b for a, b in zip(eligible.reasons, choices.reasons, strict=True)])
        keys, turns = self._conversations.find_turns(requests, features, choices.reasons)
        choices, outcomes = self._conversations.keep_models(choices, prediction, policies, turns)
        timings = {"encoder": encoded - start, "heads": predicted - encoded, "decision": 0.0}
        made = decisions(choices, prediction, self.model_names, queries[0].policy.costs, features, timings, outcomes)
        made = self._conversations.save(made, keys, turns)
        timings["decision"] = time.perf_counter() - predicted
        self._drift.add(choices, prediction)
        self._tell(texts, made)
        return made

    def _tell(self, texts: Sequence[str], made: Sequence[Decision]) -> None:
        for text, decision in zip(texts, made, strict=True):
            if self.settings.verbose:
                p = decision.probabilities.get(decision.model, float("nan"))
                print(f"{decision.model} ({decision.reason}, P={p:.2f}) <- {text[:60]!r}")
            if self._on_decision is not None:
                self._on_decision(decision)


def _reopen(kind: type[ModelRouter], settings: RouterSettings, more: Mapping[str, Any]) -> ModelRouter:
    return kind(**asdict(settings), **more)
