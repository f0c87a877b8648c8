"""What surrounds the decision in production: cached embeddings, micro-batches, explanations, drift and feedback."""

from __future__ import annotations
