"""ModelRouter: an artifact, an encoder and the decision rule, behind four methods.

It lives in the package, not in ``model_router.py``, so that servers inside the package can use it too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from auto_router.artifacts import load_artifact
from auto_router.decide.limits import allowed_models
from auto_router.decide.policy import Decision, Floats, decisions
from auto_router.decide.served import serve
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from auto_router.encode.spec import Array
from auto_router.encode.surface import with_surface
from auto_router.errors import ConfigError
from auto_router.images import ImageLike
from auto_router.learn.device import usable_device


class ModelRouter:
    """Routes prompts to the model that should answer them.

    Without costs the most promising qualified model is chosen; with costs the cheapest qualified one. A model qualifies
    where its probability reaches its threshold; a model without one always does.

    Args:
        router_path: the artifact that ``nn_router.py`` wrote.
        model_thresholds: ``{model: 0…1}``; models left out always qualify.
        model_costs: ``{model: cost}`` in any one unit. Without thresholds the artifact's ``balanced`` operating point
            says what a right answer may cost; where it has none, costs are only reported.
        operating_point: one that the artifact holds: ``accuracy`` (the default without thresholds and costs), ``quality``,
            ``balanced`` or ``economy``. Thresholds may be given beside it.
        device: ``cuda``, ``cuda:0``, … or ``cpu``; None: CUDA where there is a GPU. A missing GPU falls back to CPU with a
            warning.
        verbose: print every decision.
        fallback_model: chosen where no model qualifies and it may take the input.
        clip_server: ``HOST:PORT`` for a router trained on a clip-server's embeddings.
        encoder: an open :class:`EmbeddingGenerator` to use instead of opening the one the artifact names.

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
    ) -> None:
        artifact = load_artifact(router_path)
        self.model_names: tuple[str, ...] = tuple(artifact.model_names)
        self.pool = artifact.pool
        self.device = usable_device(device)
        self.verbose = verbose
        self.policy = serve(
            self.model_names, artifact.operating_points, model_thresholds, model_costs, fallback_model, operating_point
        )
        self._artifact = artifact
        artifact.network.to(self.device)
        self._surface = bool(artifact.surface)
        self.encoder = encoder or open_encoder(artifact.encoder.get("backend"), clip_server)
        self.encoder.check(artifact.encoder)

    def route(self, text: str, images: Sequence[ImageLike] | None = None, models: Collection[str] | None = None) -> str:
        """Return the name of the model that should answer ``text`` with ``images``."""
        return self.decide(text, images, models).model

    def decide(self, text: str, images: Sequence[ImageLike] | None = None, models: Collection[str] | None = None) -> Decision:
        """Return the whole :class:`Decision`. ``models`` limits the choice to these names.

        Raises:
            DataError: a picture cannot be read.
            ConfigError: no model may take the input, or ``models`` names an unknown one.
        """
        return self.decide_batch([text], [images], models)[0]

    def route_batch(
        self,
        texts: Sequence[str],
        images: Sequence[Sequence[ImageLike] | None] | None = None,
        models: Collection[str] | None = None,
    ) -> list[str]:
        """Return one model name per prompt; all prompts are encoded together."""
        return [decision.model for decision in self.decide_batch(texts, images, models)]

    def decide_batch(
        self,
        texts: Sequence[str],
        images: Sequence[Sequence[ImageLike] | None] | None = None,
        models: Collection[str] | None = None,
    ) -> list[Decision]:
        """Return one :class:`Decision` per prompt. ``images[i]`` are the pictures of prompt i, or None."""
        if isinstance(texts, str):
            raise ConfigError("a batch takes a list of prompts, got one string; use route() or decide()")
        if not texts:
            return []
        counts = [len(given or ()) for given in images] if images is not None else [0] * len(texts)
        rows = self.encoder.embed_batch(texts, images)
        allowed = allowed_models(self.model_names, self.pool, texts, counts, models)
        probabilities = self.probabilities(with_surface(rows, texts) if self._surface else rows)
        choices = self.policy.choose(probabilities, allowed)
        made = decisions(choices, probabilities, self.model_names, self.policy.costs)
        if self.verbose:
            for text, decision in zip(texts, made, strict=True):
                print(f"{decision.model} ({decision.reason}, P={decision.probabilities[decision.model]:.2f}) <- {text[:60]!r}")
        return made

    def probabilities(self, rows: Array) -> Floats:
        """Return P(correct) ``[N, M]`` for the network's input rows: embeddings, and surface features where it uses them."""
        return self._artifact.predict(rows, self.device)

    def close(self) -> None:
        """Give back the encoder's resources."""
        self.encoder.close()
