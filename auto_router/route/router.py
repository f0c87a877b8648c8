"""ModelRouter: an artifact, an encoder and the decision rule, behind a few methods.

It lives in the package, not in ``model_router.py``, so that servers inside the package can use it too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from auto_router.arrays import Array
from auto_router.artifacts import load_artifact
from auto_router.data.dataset import Prediction
from auto_router.data.images import ImageLike
from auto_router.decide.eligibility import Eligibility
from auto_router.decide.policy import Policies, Policy, choose_each
from auto_router.decide.rule import Decision, decisions
from auto_router.decide.settings import DEFAULT_PATH, RouterSettings
from auto_router.encode.encoder import EmbeddingGenerator, check_prompt
from auto_router.encode.factory import blank_image, open_encoder
from auto_router.errors import ConfigError
from auto_router.learn.stack import StackNetwork
from auto_router.route.batching import MicroBatcher
from auto_router.route.cache import RowCache
from auto_router.route.drift import DriftMonitor, DriftReport
from auto_router.route.explain import Explanation, flips, neighbours
from auto_router.route.feedback import append_feedback

Images = Sequence[ImageLike] | None
Names = Collection[str] | None


class _Query(NamedTuple):
    text: str
    images: Images
    models: Names
    policy: Policy

    def check(self, row: int = 0) -> Self:
        """Return itself, or raise the error of a prompt that is none: before it waits beside those of others."""
        check_prompt(row, self.text, self.images)
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
        **settings: Any,
    ) -> None:
        own = None if isinstance(encoder, EmbeddingGenerator) else encoder
        given = {
            "router_path": router_path, "model_thresholds": model_thresholds, "model_costs": model_costs,
            "device": device, "verbose": verbose, "encoder": own, **settings,
        }  # fmt: skip
        self.settings = RouterSettings.of(given)
        self._artifact = artifact = load_artifact(router_path, device)
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
        self.batches: MicroBatcher[_Query, Decision] = MicroBatcher(self._decide)
        self._closed = False

    @property
    def device(self) -> str:
        """Where the network computes: ``cpu``, ``cuda:0``, …"""
        network = self._artifact.network
        return "cpu" if isinstance(network, StackNetwork) else str(next(network.parameters()).device)

    def _open_encoder(self) -> EmbeddingGenerator:
        backend = self.settings.encoder or self._artifact.encoder.get("backend")
        return open_encoder(backend, self.settings.clip_server, threads=self.settings.threads)

    def route(self, text: str, images: Images = None, models: Names = None) -> str:
        """Return the name of the model that should answer ``text`` with ``images``."""
        return self.decide(text, images, models).model

    def decide(self, text: str, images: Images = None, models: Names = None, operating_point: str | None = None) -> Decision:
        """Return the whole :class:`Decision`.

        ``models`` limits the choice to these names; ``operating_point`` is in force for this prompt instead of the router's.

        Raises:
            DataError: the prompt is no string, or an image cannot be read.
            ConfigError: no model may take the input, or ``models`` or ``operating_point`` is unknown.
        """
        return self._decide([_Query(text, images, models, self.policies.at(operating_point)).check()])[0]

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
        both = zip(texts, given, strict=True)
        return self._decide([_Query(*one, models, self.policy).check(row) for row, one in enumerate(both)])

    async def aroute(self, text: str, images: Images = None, models: Names = None) -> str:
        """Like :meth:`route`, without blocking the event loop."""
        return (await self.adecide(text, images, models)).model

    async def adecide(
        self, text: str, images: Images = None, models: Names = None, operating_point: str | None = None
    ) -> Decision:
        """Like :meth:`decide`, without blocking the event loop; concurrent calls share batches of the encoder."""
        query = _Query(text, images, models, self.policies.at(operating_point)).check()
        return await asyncio.wrap_future(self.batches.submit(query))

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
        self.batches.close()
        self._closed = True
        self.cache.clear()
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

    def _decide(self, queries: Sequence[_Query]) -> list[Decision]:
        if self._closed:
            raise ConfigError("this router is closed; open another one")
        if not queries:
            return []
        texts, images = [query.text for query in queries], [query.images for query in queries]
        eligible = self._eligibility.eligible(texts, [len(given or ()) for given in images], [q.models for q in queries])
        start = time.perf_counter()
        features = self.cache.rows(texts, images)
        encoded = time.perf_counter()
        prediction = self._artifact.predict(features)
        predicted = time.perf_counter()
        choices = choose_each([query.policy for query in queries], prediction, eligible)
        timings = {"encoder": encoded - start, "heads": predicted - encoded, "decision": 0.0}
        made = decisions(choices, prediction, self.model_names, queries[0].policy.costs, features, timings)
        timings["decision"] = time.perf_counter() - predicted
        self._drift.add(choices, prediction)
        self._tell(texts, made)
        return made

    def _tell(self, texts: Sequence[str], made: Sequence[Decision]) -> None:
        for text, decision in zip(texts, made, strict=True):
            if self.settings.verbose:
                print(f"{decision.model} ({decision.reason}, P={decision.probabilities[decision.model]:.2f}) <- {text[:60]!r}")
            if self._on_decision is not None:
                self._on_decision(decision)


def _reopen(kind: type[ModelRouter], settings: RouterSettings, on_decision: Callable[[Decision], object] | None) -> ModelRouter:
    return kind(**asdict(settings), on_decision=on_decision)
