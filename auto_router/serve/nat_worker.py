"""The toolkit's FastAPI front end with the router's own routes (``runner_class`` in ``configs/config.yml``).

* ``POST {path}/chat/completions`` of every ``sfc_router`` function: any OpenAI chat request → the chosen model's name;
* ``POST /route`` of the first one: a request of any API, or ``{"text", "images"}``, with ``operating_point``, ``models``,
  ``model_thresholds`` and ``session`` → the decision;
* ``POST /route/response``: ``{"id", "model"}`` tells which model made a response, for requests that continue it;
* ``POST /v1/feedback``: ``{"id", "outcome"}`` tells how the answer to a decision turned out, see
  :mod:`auto_router.serve.feedback`;
* ``GET /route/explain/ID``: why a decision was made; ``GET /drift``: how the last ones differ from training;
* ``GET /health``: 200 while decisions are the router's own (artifact loaded, encoder answers), else 503; ``/health/ready``: 200
  while a model can be named, be it the fallback; ``/health/live``: 200 while the process answers;
* ``GET /metrics``: Prometheus.

The toolkit's own request types refuse what its clients may send (the role ``developer``, cache marks on parts), and name the
first thing wrong in a form that OpenAI's client cannot read; so requests are read here, and handed on in the toolkit's type.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from nat.builder.workflow_builder import WorkflowBuilder
from nat.data_models.api_server import ChatRequest, ChatResponse
from nat.front_ends.fastapi.fastapi_front_end_plugin_worker import FastApiFrontEndPluginWorker
from nat.runtime.session import SessionManager
from prometheus_client import CONTENT_TYPE_LATEST

from auto_router.data.request import AUTO, read_choice, read_request
from auto_router.data.request import Request as RoutingRequest
from auto_router.errors import DataError
from auto_router.serve.feedback import UNKNOWN, RefusedError
from auto_router.serve.middleware import BodyLimit
from auto_router.serve.monitoring import process_metrics
from auto_router.serve.nat import READ_FIELD, SERVICES, RouterConfig
from auto_router.serve.service import DecisionService

ID_HEADER = "x-auto-router-decision-id"
MAX_REQUESTS = 256  # requests under way in a router; the toolkit's own limit of 8 would keep batches small


class RouterWorker(FastApiFrontEndPluginWorker):
    """Builds the toolkit's app, limits its bodies, and adds the routes above."""

    def build_app(self) -> FastAPI:
        app = super().build_app()
        limits = [config.max_body_bytes for config in self._routers().values()]
        app.add_middleware(BodyLimit, **({"max_bytes": max(limits)} if limits else {}))
        return app

    async def add_routes(self, app: FastAPI, builder: WorkflowBuilder) -> None:
        await super().add_routes(app, builder)
        app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") != "/health"]
        app.add_api_route("/health", health, methods=["GET"])
        app.add_api_route("/health/ready", ready, methods=["GET"])
        app.add_api_route("/health/live", live, methods=["GET"])
        app.add_api_route("/metrics", metrics, methods=["GET"])
        for place, (name, config) in enumerate(self._routers().items()):
            sessions = await SessionManager.create(self.config, builder, name, max_concurrency=MAX_REQUESTS)
            self._session_managers.append(sessions)
            handlers = Handlers(sessions)
            app.add_api_route(f"{config.path}/chat/completions", handlers.chat, methods=["POST"], response_model=None)
            if place == 0:
                app.add_api_route("/route", handlers.route, methods=["POST"], response_model=None)
                app.add_api_route("/route/response", note_response, methods=["POST"], response_model=None)
                app.add_api_route("/v1/feedback", take_feedback, methods=["POST"], response_model=None)
                app.add_api_route("/route/explain/{id}", explain, methods=["GET"], response_model=None)
                app.add_api_route("/drift", drift, methods=["GET"], response_model=None)

    async def _suppress_authentication_logs(self, request: Request, call_next: Any) -> Response:
        # The toolkit's own adds a filter to the access log at every request and never removes it: memory and time grow.
        return await call_next(request)

    def _routers(self) -> dict[str, RouterConfig]:
        return {name: config for name, config in self.config.functions.items() if isinstance(config, RouterConfig)}


class Handlers:
    """The routes of one ``sfc_router`` function, which runs as a workflow of the toolkit."""

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions

    async def chat(self, http: Request) -> Response:
        """Answer a chat request with a completion, or with a stream of chunks where ``stream`` is true."""
        try:
            body = await _body(http)
            response = await self._choose(http, body, read_request(body, http.headers))
        except DataError as error:
            return _refusal(error)
        headers = {ID_HEADER: response.auto_router["id"]}
        if body.get("stream") is True:
            return StreamingResponse(_chunks(response), media_type="text/event-stream", headers=headers)
        return JSONResponse(response.model_dump(mode="json", exclude_none=True), headers=headers)

    async def route(self, http: Request) -> Response:
        """Answer with the decision itself."""
        try:
            body = await _body(http)
            response = await self._choose(http, body, read_choice(read_request(body, http.headers), body))
        except DataError as error:
            return _refusal(error)
        told = {name: value for name, value in response.auto_router.items() if name != "error"}
        return JSONResponse(told, headers={ID_HEADER: told["id"]})

    async def _choose(self, http: Request, body: dict[str, Any], read: RoutingRequest) -> ChatResponse:
        # Not validated a second time: the toolkit's message type refuses roles and part fields that clients send.
        request = ChatRequest.model_construct(messages=[], model=str(body.get("model") or AUTO), **{READ_FIELD: read})
        async with self._sessions.session(http_connection=http) as session, session.run(request) as runner:
            response: ChatResponse = await runner.result(to_type=ChatResponse)
        if response.auto_router["error"] is not None:
            raise DataError(response.auto_router["error"])
        return response


async def note_response(http: Request) -> Response:
    """Note which model made a response."""
    try:
        body = await _body(http)
        if not all(isinstance(body.get(name), str) and body[name] for name in ("id", "model")):
            raise DataError('the body must be {"id": the response\'s id, "model": the model that made it}')
        # What is no model of ours is not kept: a client could fill the memory with it.
        knowing = [service for service in SERVICES if body["model"] in service.known_models]
        if not knowing:
            names = sorted({name for service in SERVICES for name in service.known_models})
            raise DataError(f"model {body['model'][:60]!r} is none that can be chosen: {', '.join(names)}")
        for service in knowing:
            await service.note_response(body["id"], body["model"])
    except DataError as error:
        return _refusal(error)
    return Response(status_code=204)


async def take_feedback(http: Request) -> Response:
    """Keep the outcome of a decision of any router."""
    body = await http.body()
    return await _ask_each(lambda service: service.answer_feedback(body))


async def explain(id: str) -> Response:
    """Tell why a decision of any router was made."""
    return await _ask_each(lambda service: service.answer_explanation(id))


async def drift() -> Response:
    """Tell how the last decisions of every router differ from its training."""
    return JSONResponse({"routers": [(await service.answer_drift())[1] for service in SERVICES]})


async def live() -> Response:
    """Tell that the process answers."""
    return JSONResponse({"status": "alive"})


async def ready() -> Response:
    """Tell whether every router can name a model."""
    found = [service.readiness() for service in SERVICES]
    good = bool(found) and all(one for one, _ in found)
    return JSONResponse({"routers": [told for _, told in found]}, 200 if good else 503)


async def health() -> JSONResponse:
    """Tell whether every open router decides by itself."""
    found = [await service.health() for service in SERVICES]
    good = bool(found) and all(one for one, _ in found)
    return JSONResponse(
        {"status": "healthy" if good else "degraded", "routers": [told for _, told in found]}, status_code=200 if good else 503
    )


async def metrics() -> Response:
    """Return the process's measures."""
    return Response(process_metrics().exposition(), media_type=CONTENT_TYPE_LATEST)


async def _ask_each(ask: Callable[[DecisionService], Awaitable[tuple[int, dict[str, Any]]]]) -> Response:
    """Return the answer of the first router that knows the decision; of none, what the last one says."""
    status, said = UNKNOWN, RefusedError(UNKNOWN, "no router is open").to_dict()
    for service in SERVICES:
        status, said = await ask(service)
        if status != UNKNOWN:
            break
    return JSONResponse(said, status)


async def _body(http: Request) -> dict[str, Any]:
    raw = await http.body()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the body is not JSON ({type(error).__name__}); send a chat request") from error
    if not isinstance(body, dict):
        raise DataError(f"the body must be a JSON object, got {type(body).__name__}")
    return body


def _refusal(error: DataError) -> JSONResponse:
    said = {"message": str(error), "type": "invalid_request_error", "param": "messages", "code": "bad_request"}
    return JSONResponse({"error": said}, status_code=400)


async def _chunks(response: ChatResponse) -> AsyncGenerator[str, None]:
    whole = response.model_dump(mode="json", exclude_none=True)
    base = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    delta = {"role": "assistant", "content": response.choices[0].message.content}
    first = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "auto_router": whole["auto_router"]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    for part in (first, last):
        yield f"data: {json.dumps(base | part)}\n\n"
    yield "data: [DONE]\n\n"
