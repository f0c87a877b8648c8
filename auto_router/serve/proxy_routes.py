"""The routes that a LiteLLM proxy with the router's callback has beside its own.

| route | who may ask | what |
|---|---|---|
| ``POST /v1/feedback`` | every key | ``{"id", "outcome"}``: how an answer turned out |
| ``GET /auto_router/health/live`` | all | 200 while the process answers |
| ``GET /auto_router/health/ready`` | all | 200 while a model can be named, be it the fallback |
| ``GET /auto_router/health`` | all | 200 while decisions are the router's own |
| ``GET /auto_router/metrics``, ``/drift``, ``/explain/ID`` | administrators | measures, drift, why a model was chosen |
"""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from auto_router.serve.service import DecisionService

FEEDBACK = "/v1/feedback"


def add_routes(app: Any, service: DecisionService) -> None:
    """Add them to the proxy's app."""
    from litellm.proxy._types import LiteLLMRoutes
    from litellm.proxy.auth.user_api_key_auth import user_api_key_auth

    # The proxy lets keys that are no administrator's ask only what it lists as a model's API.
    listed: list[str] = LiteLLMRoutes.openai_routes.value
    if FEEDBACK not in listed:
        listed.append(FEEDBACK)
    routes, with_key = ProxyRoutes(service), [Depends(user_api_key_auth)]
    app.add_api_route(FEEDBACK, routes.feedback, methods=["POST"], dependencies=with_key)
    for path, handler in (("health/live", routes.live), ("health/ready", routes.ready), ("health", routes.health)):
        app.add_api_route(f"/auto_router/{path}", handler, methods=["GET"])
    for path, asked in (("metrics", routes.metrics), ("drift", routes.drift), ("explain/{id}", routes.explain)):
        app.add_api_route(f"/auto_router/{path}", asked, methods=["GET"], dependencies=with_key)


class ProxyRoutes:
    """Their handlers."""

    def __init__(self, service: DecisionService) -> None:
        self._service = service

    async def feedback(self, request: Request) -> Response:
        try:
            body = await request.body()
        except RuntimeError:  # the proxy has read it, as the form that its Content-Type says it is
            body = b""
        return _reply(*await self._service.answer_feedback(body))

    async def live(self) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(self) -> Response:
        good, told = self._service.readiness()
        return _reply(200 if good else 503, told)

    async def health(self) -> Response:
        good, told = await self._service.health()
        return _reply(200 if good else 503, told)

    async def metrics(self) -> Response:
        return Response(self._service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    async def drift(self) -> Response:
        return _reply(*await self._service.answer_drift())

    async def explain(self, id: str) -> Response:
        return _reply(*await self._service.answer_explanation(id))


def _reply(status: int, said: dict[str, Any]) -> Response:
    return JSONResponse(said, status)
