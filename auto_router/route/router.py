"""ModelRouter: an artifact, an encoder and the decision rule, behind a few methods.

It lives in the package, not in ``model_router.py``, so that servers inside the package can use it too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from auto_router.arrays import Array
from auto_router.artifacts import load_artifact
from auto_router.data.dataset import Prediction
from auto_router.data.images import ImageLike
from auto_router.data.request import Request, read_request
from auto_router.decide.eligibility import Eligibility
from auto_router.decide.policy import DEFAULT_PATH, Policies, Policy, RouterSettings, choose_each
from auto_router.decide.rule import Decision, decisions
from auto_router.decide.session import NEW, PINNED, STORE_DOWN, UNKNOWN_MAKER, Session, SessionRule, SessionTurn, pack_subject
from auto_router.encode.encoder import EmbeddingGenerator, check_prompt
from auto_router.encode.factory import blank_image, open_encoder
from auto_router.errors import ConfigError
from auto_router.learn.mlp import usable_device
from auto_router.route.batching import MicroBatcher
from auto_router.route.cache import RowCache
from auto_router.route.drift import DriftMonitor, DriftReport
from auto_router.route.explain import Explanation, flips, neighbours
from auto_router.route.feedback import append_feedback
from auto_router.route.sessions import SessionStore, open_sessions, replace_model, save_response, session_keys

Images = Sequence[ImageLike] | None
Names = Collection[str] | None

LONG_CHARACTERS = 1_200
"""More than this, context included, and a prompt waits in a line of its own: it takes several times as long."""
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
        sessions: SessionStore | None = None,
        **settings: Any,
    ) -> None:
        own = None if isinstance(encoder, EmbeddingGenerator) else encoder
        given = {
            "router_path": router_path, "model_thresholds": model_thresholds, "model_costs": model_costs,
            "device": device, "verbose": verbose, "encoder": own, **settings,
        }  # fmt: skip
        self.settings = RouterSettings.of(given)
        self.device = usable_device(device)
        self._artifact = artifact = load_artifact(router_path, self.device)
        self.model_names = artifact.model_names
        self.facts = artifact.facts
        self._eligibility = Eligibility.of(self.model_names, self.facts)
        self.policies = Policies(self.model_names, artifact.operating_points, self.settings)
        self.policy = self.policies.at(None)
        self._on_decision = on_decision
        self._drift = DriftMonitor(self.model_names, artifact.training.reference, self.settings.drift_window)
        self._own_encoder = not isinstance(encoder, EmbeddingGenerator)
        self.encoder = encoder if isinstance(encoder, EmbeddingGenerator) else self._open_encoder()
        self.encoder.check(artifact.encoder)
        self.cache = RowCache(self.encoder, self.settings.cache_bytes, bool(artifact.prompt_features))
        self._own_sessions = sessions is None
        self._sessions = open_sessions(self.settings) if sessions is None else sessions
        self._session_rule = SessionRule(self.model_names, self.facts, self.settings.session_policy)
        self._short: MicroBatcher[_Query, Decision] = MicroBatcher(self._decide)
        self._long: MicroBatcher[_Query, Decision] = MicroBatcher(self._decide, max_batch=MAX_LONG_BATCH)
        self._closed = False

    def _open_encoder(self) -> EmbeddingGenerator:
        backend = self.settings.encoder or self._artifact.encoder.get("backend")
        return open_encoder(backend, self.settings.clip_server, threads=self.settings.threads)

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
        """
        return self._decide([self._query(make_request(text, images, models, operating_point, session, request, body))])[0]

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
        requests = [Request(text, images_of(some), models=limit) for text, some in zip(texts, given, strict=True)]
        return self._decide([_Query(request, self.policy).check(row) for row, request in enumerate(requests)])

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
        return await asyncio.wrap_future(self._batcher(query.request).submit(query))

    def note_model(self, request: Request, model: str) -> None:
        """Note that another model than the chosen one answered a request: the session goes on with that."""
        replace_model(self._sessions, session_keys(request)[0], model)

    def note_response(self, response_id: str, model: str) -> None:
        """Note which model made a response: a request that continues it (``previous_response_id``) goes to that model."""
        save_response(self._sessions, response_id, model)

    def session_model(self, request: Request) -> str | None:
        """Return the model of a request's session; None where nothing is known of it."""
        wanted = session_keys(request)[1]
        found = self._sessions.find(wanted) if wanted else {}
        return next((found[key].model for key in wanted if key in found), None)

    def eligible_models(self, request: Request) -> tuple[str, ...]:
        """Return the models that may take a request, or come nearest to it."""
        row = self._eligibility.eligible([request]).models[0].tolist()
        return tuple(name for name, may in zip(self.model_names, row, strict=True) if may)

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
        near = [] if row is None else neighbours(self._artifact.novelty, row[: self.encoder.dim], self.model_names, count)
        cost_model = self._artifact.cost_model
        policy = self.policy.with_costs(None if row is None or cost_model is None else cost_model(row))
        return Explanation(near, flips(decision, policy, self.model_names))

    def record(self, decision: Decision, outcome: float, path: str | Path = "router_feedback.jsonl") -> None:
        """Append how the chosen model's answer turned out (0 wrong … 1 right) to a JSONL, for ``nn_router.py --feedback``.

        The prompt itself is not written, only the numbers that the network saw of it.
        """
        append_feedback(Path(path), decision, outcome, self._artifact.encoder)

    def drift_report(self) -> DriftReport:
        """Compare the last ``drift_window`` decisions with what was expected in training."""
        return self._drift.report()

    def warm_up(self) -> None:
        """Load what is otherwise loaded at first use: the encoder's models, and the code paths of a decision."""
        images = [[blank_image()]] if self.encoder.image_dim else [None]
        self._artifact.predict(self.cache.fresh(["warm up", "warm up"], [None, *images]))

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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled router is opened again from its artifact, with the same options: open sessions cannot travel."""
        if not self._own_encoder:
            raise ConfigError("a router with an encoder= of its own cannot be pickled; open it in the other process")
        return _reopen, (type(self), self.settings, self._on_decision)

    def _query(self, request: Request) -> _Query:
        return _Query(request, self.policies.at(request.operating_point)).check()

    def _batcher(self, request: Request) -> MicroBatcher[_Query, Decision]:
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
        prediction = self._artifact.predict(features)
        predicted = time.perf_counter()
        choices = choose_each(policies, prediction, eligible.models)
        if any(eligible.reasons):
            choices = choices._replace(reasons=[a or b for a, b in zip(eligible.reasons, choices.reasons, strict=True)])
        keys, turns = self._session_turns(requests, features)
        outcomes: list[str | None] | None = None
        if any(turn is not None for turn in turns):
            choices, outcomes = self._session_rule.keep_models(choices, prediction, policies, turns)
        timings = {"encoder": encoded - start, "heads": predicted - encoded, "decision": 0.0}
        made = decisions(choices, prediction, self.model_names, queries[0].policy.costs, features, timings, outcomes)
        made = self._remember(made, keys, turns)
        timings["decision"] = time.perf_counter() - predicted
        self._drift.add(choices, prediction)
        self._tell(texts, made)
        return made

    def _session_turns(self, requests: Sequence[Request], features: Array) -> tuple[list[str], list[SessionTurn | None]]:
        """Return each request's key, under which its session is saved, and its place in that; ``""`` and None for none."""
        both = [session_keys(request) for request in requests]
        wanted = {key for _, known in both for key in known}
        found = self._sessions.find(wanted) if wanted else {}
        turns: list[SessionTurn | None] = []
        for request, (key, known), row in zip(requests, both, features, strict=True):
            before = next((found[name] for name in known if name in found), None)
            now = Session("", request.digest, request.tokens, time.time(), pack_subject(row[: self.encoder.text_dim]))
            turns.append(SessionTurn(request, before, now) if key or known else None)
        return [key for key, _ in both], turns

    def _remember(self, made: list[Decision], keys: Sequence[str], turns: Sequence[SessionTurn | None]) -> list[Decision]:
        """Save the sessions of decisions; return these, with what became of those."""
        saved = {
            key: replace(turn.now, model=decision.model)
            for key, turn, decision in zip(keys, turns, made, strict=True)
            if key and turn is not None
        }
        if saved:
            self._sessions.save(saved)
        for row, (decision, turn) in enumerate(zip(made, turns, strict=True)):
            if decision.session == PINNED:
                made[row] = replace(decision, ranking=(decision.model,))  # what it goes on with means nothing to others
            elif decision.session in (NEW, UNKNOWN_MAKER) and self._sessions.is_down and turn is not None:
                made[row] = replace(decision, session=STORE_DOWN)
        return made

    def _tell(self, texts: Sequence[str], made: Sequence[Decision]) -> None:
        for text, decision in zip(texts, made, strict=True):
            if self.settings.verbose:
                print(f"{decision.model} ({decision.reason}, P={decision.probabilities[decision.model]:.2f}) <- {text[:60]!r}")
            if self._on_decision is not None:
                self._on_decision(decision)


def make_request(
    text: str | None, images: Images, models: Names, operating_point: str | None, session: str | None,
    request: Request | None, body: Mapping[str, Any],
) -> Request:  # fmt: skip
    """Return what :meth:`ModelRouter.decide` was asked, in one form. It raises what that raises."""
    if isinstance(text, Mapping):  # a field of the responses API
        text, body = None, {**body, "text": text}
    if (text is not None) + (request is not None) + bool(body) > 1:
        raise ConfigError("give one of: text, with images; messages= with what else the request has; or request=")
    if body:
        found = read_request(body)
        request = found.without(found.urls)
    elif request is None:
        request = Request(text, images_of(images))  # type: ignore[arg-type]
    return replace(
        request,
        images=request.images if images is None else images_of(images),
        models=request.models if models is None else names_of(models),
        operating_point=operating_point or request.operating_point,
        session=session or request.session,
    )


def names_of(models: Collection[str]) -> tuple[str, ...]:
    """Return ``models=`` as a request holds it. Raises ConfigError for one string."""
    if isinstance(models, str):
        raise ConfigError(f"models= takes a list of names, got one string; give [{models!r}]")
    return tuple(models)


def images_of(images: Images) -> Any:
    """Return images as a request holds them; what is no list of them is left for the check to name."""
    if images is None:
        return ()
    return tuple(images) if isinstance(images, Collection) and not isinstance(images, str | bytes) else images


def _reopen(kind: type[ModelRouter], settings: RouterSettings, on_decision: Callable[[Decision], object] | None) -> ModelRouter:
    return kind(**asdict(settings), on_decision=on_decision)
