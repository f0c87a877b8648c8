"""The encoder that a router decides with: opened from what its artifact says, with the time that a decision has."""

from __future__ import annotations

import os

from auto_router.data.embeddings import Spec
from auto_router.decide.policy import RouterSettings
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import reopen_encoder
from auto_router.encode.retry import ATTEMPTS, opening_limits, timeout_seconds

REQUEST_SHARE = 0.8  # of a decision's time that one request to the encoder may take


def open_router_encoder(
    spec: Spec, settings: RouterSettings, timeout: float | None = None, attempts: int = ATTEMPTS
) -> EmbeddingGenerator:
    """Open the encoder of an artifact for serving: one request each, which ends before the decision's own time does.

    ``timeout``: seconds of a decision; None: ``settings.timeout_s``. ``attempts``: requests while it opens.
    """
    most = REQUEST_SHARE * (settings.timeout_s if timeout is None else timeout)
    own = settings.encoder_timeout_s or (timeout_seconds() if os.environ.get("AUTO_ROUTER_ENCODER_TIMEOUT") else most)
    with opening_limits(min(own, most), attempts):
        generator = reopen_encoder(
            spec, settings.clip_server, encoder=settings.encoder, model=settings.encoder_model, url=settings.encoder_url,
            key_env=settings.encoder_key_env, threads=settings.threads,
        )  # fmt: skip
    generator.encoder.limit_requests(min(own, most), 1)
    return generator
