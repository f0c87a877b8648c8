"""ModelRouter: an artifact, an encoder and the decision rule, behind a few methods.

It lives in the package, not in ``model_router.py``, so that servers inside the package can use it too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from auto_router.arrays import Array, Floats
from auto_router.artifacts import load_artifact
from auto_router.decide.limits import Limits
from auto_router.decide.policy import Decision, decisions
from auto_router.decide.served import Policies, ServedPolicy, choose_each
from auto_router.encode.encoder import EmbeddingGenerator, check_prompt
from auto_router.errors import ConfigError
from auto_router.images import ImageLike
from auto_router.learn.device import usable_device
from auto_router.learn.familiar import beyond
from auto_router.routing.cache import RowCache
from auto_router.routing.drift import DriftMonitor, DriftReport
from auto_router.routing.explain import Explanation, flips, neighbours
from auto_router.routing.feedback import append_feedback
from auto_router.routing.microbatch import MicroBatcher
from auto_router.routing.opening import blank_picture, open_pinned

Pictures = Sequence[ImageLike] | None
Names = Collection[str] | None


class _Asked(NamedTuple):
    text: str
    images: Pictures
    models: Names
    policy: ServedPolicy

    def checked(self, row: int = 0) -> Self:
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
        model_thresholds: ``{model: 0…1}``; models left out always qualify.
        model_costs: ``{model: cost}`` in any one unit. Without thresholds the artifact's ``balanced`` operating point
            says what a right answer may cost; where it has none, costs are only reported.
        device: ``cuda``, ``cuda:0``, … or ``cpu``, for ``--head mlp`` (the default network always computes on the CPU); None:
            CUDA where there is a GPU. A missing GPU falls back to CPU with a warning.
        verbose: print every decision.
        fallback_model: chosen where no model qualifies and it may take the input.
        clip_server: ``HOST:PORT`` for a router trained on a clip-server's embeddings.
        encoder: an open :class:`EmbeddingGenerator` to use instead of opening the one the artifact names; it stays open when
            the router is closed.
        operating_point: one that the artifact holds: ``accuracy`` (the default without thresholds and costs), ``quality``,
            ``balanced`` or ``economy``. Thresholds may be given beside it.
        threads: cores that one call of the embedded encoder may use; None leaves the choice to it.
        cache_bytes: how much memory embeddings of recent prompts may take; 0 for none.
        guard_unfamiliar: False: unfamiliar prompts are decided like any other.
        on_decision: called with every :class:`Decision`, in the thread that made it; what it raises reaches the caller.
        drift_window: decisions that :meth:`drift_report` looks back on.

    Raises:
        ArtifactError: the artifact is missing or damaged.
        EncoderError: the encoder cannot be opened or is not the one the router was trained on.
        ConfigError: thresholds, costs or the fallback name an unknown model or an impossible value.
    """

    def __init__(
        self,
        router_path: str | Path = "router_artifacts/nn_router.pth",
        model_thresholds: Mapping[str, float] | None = None,
        model_costs: Mapping[str, float] | None = None,
        device: str | None = None,
        verbose: bool = False,
        fallback_model: str | None = None,
        clip_server: str | None = None,
        encoder: EmbeddingGenerator | None = None,
        operating_point: str | None = None,
        threads: int | None = None,
        cache_bytes: int = 64 * 2**20,
        guard_unfamiliar: bool = True,
        on_decision: Callable[[Decision], object] | None = None,
        drift_window: int = 1000,
    ) -> None:
        # What a copy in another process is opened with; see __reduce__.
        self._opened_with = (
            Path(router_path).absolute(), model_thresholds, model_costs, device, verbose, fallback_model, clip_server, encoder,
            operating_point, threads, cache_bytes, guard_unfamiliar, on_decision, drift_window,
        )  # fmt: skip
        artifact = load_artifact(router_path)
        self.model_names: tuple[str, ...] = tuple(artifact.model_names)
        self.pool = artifact.pool
        self._limits = Limits.of(self.model_names, self.pool)
        self.device = usable_device(device)
        self.verbose = verbose
        self.policies = Policies(
            self.model_names, artifact.operating_points, model_thresholds, model_costs, fallback_model, operating_point
        )
        self.policy = self.policies.under(None)
        self._artifact = artifact
        artifact.network.to(self.device)
        self._guarded = guard_unfamiliar
        self._on_decision = on_decision
        self._drift = DriftMonitor(self.model_names, artifact.training.get("reference", {}), drift_window)
        self._own_encoder = encoder is None
        self.encoder = encoder or open_pinned(artifact.encoder.get("backend"), clip_server, threads)
        self.encoder.check(artifact.encoder)
        self.cache = RowCache(self.encoder, cache_bytes, bool(artifact.surface))
        self.batches: MicroBatcher[_Asked, Decision] = MicroBatcher(self._decide)
        self._closed = False

    def route(self, text: str, images: Pictures = None, models: Names = None) -> str:
        """Return the name of the model that should answer ``text`` with ``images``."""
        return self.decide(text, images, models).model

    def decide(self, text: str, images: Pictures = None, models: Names = None, operating_point: str | None = None) -> Decision:
        """Return the whole :class:`Decision`.

        ``models`` limits the choice to these names; ``operating_point`` is in force for this prompt instead of the router's.

        Raises:
            DataError: the prompt is no string, or a picture cannot be read.
            ConfigError: no model may take the input, or ``models`` or ``operating_point`` is unknown.
        """
        return self._decide([_Asked(text, images, models, self.policies.under(operating_point)).checked()])[0]

    def route_batch(self, texts: Sequence[str], images: Sequence[Pictures] | None = None, models: Names = None) -> list[str]:
        """Return one model name per prompt; all prompts are encoded together."""
        return [decision.model for decision in self.decide_batch(texts, images, models)]

    def decide_batch(
        self, texts: Sequence[str], images: Sequence[Pictures] | None = None, models: Names = None
    ) -> list[Decision]:
        """Return one :class:`Decision` per prompt. ``images[i]`` are the pictures of prompt i, or None."""
        if isinstance(texts, str):
            raise ConfigError("a batch takes a list of prompts, got one string; use route() or decide()")
        if images is not None and len(images) != len(texts):
            raise ConfigError(f"{len(texts)} prompts came with {len(images)} lists of pictures; give one list per prompt")
        given = [None] * len(texts) if images is None else images
        both = zip(texts, given, strict=True)
        return self._decide([_Asked(*one, models, self.policy).checked(row) for row, one in enumerate(both)])

    async def aroute(self, text: str, images: Pictures = None, models: Names = None) -> str:
        """Like :meth:`route`, without blocking the event loop."""
        return (await self.adecide(text, images, models)).model

    async def adecide(
        self, text: str, images: Pictures = None, models: Names = None, operating_point: str | None = None
    ) -> Decision:
        """Like :meth:`decide`, without blocking the event loop; concurrent calls share batches of the encoder."""
        asked = _Asked(text, images, models, self.policies.under(operating_point)).checked()
        return await asyncio.wrap_future(self.batches.submit(asked))

    def explain(self, decision: Decision, count: int = 5) -> Explanation:
        """Return the ``count`` training prompts nearest to a decision of this router, and what would have changed it."""
        row = decision.features
        near = [] if row is None else neighbours(self._artifact.familiar, row[: self.encoder.dim], self.model_names, count)
        policy = self.policy.priced(None if row is None else self._artifact.expected_costs(row))
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
        pictures = [[blank_picture()]] if self.encoder.image_dim else [None]
        rows = self.cache.fresh(["warm up", "warm up"], [None, *pictures])
        self._artifact.look(rows, self.device)

    def probabilities(self, rows: Array) -> Floats:
        """Return P(correct) ``[N, M]`` for the network's input rows: embeddings, and surface features where it uses them."""
        return self._artifact.look(rows, self.device)[0]

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
        if self._opened_with[7] is not None:
            raise ConfigError("a router with an encoder= of its own cannot be pickled; open it in the other process")
        return type(self), self._opened_with

    def _decide(self, asked: Sequence[_Asked]) -> list[Decision]:
        if self._closed:
            raise ConfigError("this router is closed; open another one")
        if not asked:
            return []
        texts, pictures = [one.text for one in asked], [one.images for one in asked]
        counts = [len(given or ()) for given in pictures]
        allowed = self._limits.allowed(texts, counts, [one.models for one in asked])
        start = time.perf_counter()
        inputs = self.cache.rows(texts, pictures)
        encoded = time.perf_counter()
        probabilities, novelty = self._artifact.look(inputs, self.device, counts)
        predicted = time.perf_counter()
        unfamiliar = beyond(novelty) if self._guarded else None
        expected, policies = self._artifact.expected_costs(inputs), [one.policy for one in asked]
        choices = choose_each(policies, probabilities, allowed, unfamiliar, expected)
        timings = {"encoder": encoded - start, "heads": predicted - encoded, "decision": 0.0}
        costs = expected if policies[0].costs is None else policies[0].costs
        made = decisions(choices, probabilities, self.model_names, costs, novelty, timings, inputs)
        timings["decision"] = time.perf_counter() - predicted
        self._drift.add(choices, probabilities, novelty)
        self._tell(texts, made)
        return made

    def _tell(self, texts: Sequence[str], made: Sequence[Decision]) -> None:
        for text, decision in zip(texts, made, strict=True):
            if self.verbose:
                print(f"{decision.model} ({decision.reason}, P={decision.probabilities[decision.model]:.2f}) <- {text[:60]!r}")
            if self._on_decision is not None:
                self._on_decision(decision)
