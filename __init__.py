"""Auto-Router: route every prompt to the cheapest model that will answer it right."""

from model_router import Decision, EmbeddingGenerator, ModelRouter, RouterNetwork

__all__ = ["Decision", "EmbeddingGenerator", "ModelRouter", "RouterNetwork"]
