"""Functions for NeMo Agent Toolkit: ``nn_objective_fn`` decides with a trained router, ``sfc_router`` answers with its choice.

    functions:
      nn_objective_fn: {_type: nn_objective_fn, model_thresholds: {gpt-5-chat: 0.70}, model_costs: {gpt-5-chat: 1.0}}
      sfc_router_fn:   {_type: sfc_router, objective_fn: nn_objective_fn}

``nat serve --config_file configs/config.yml`` serves them over HTTP; see :mod:`auto_router.serve.nat_worker`.
The toolkit logs the input of a function that raises, prompts included: so these two do not raise, they say so in ``error``.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from nat.data_models.api_server import ChatRequest, ChatResponse, ChatResponseChunk, Usage
from nat.plugin_api import Builder, FunctionBaseConfig, FunctionInfo, FunctionRef, register_function
from pydantic import BaseModel, Field, create_model, model_validator

from auto_router.data.request import AUTO, Request, read_request
from auto_router.decide.policy import RouterSettings
from auto_router.errors import ConfigError, DataError
from auto_router.serve.middleware import MAX_BODY_BYTES
from auto_router.serve.monitoring import set_up_log
from auto_router.serve.service import NO_PROMPT, DecisionService

READ_FIELD = "auto_router_request"
"""The field of a chat request in which ``nat_worker`` hands on what it read."""
SERVICES: list[DecisionService] = []
"""The services that are open in this process, for ``/health``."""


class _Config(FunctionBaseConfig):
    @model_validator(mode="before")
    @classmethod
    def check_names(cls, values: Any) -> Any:
        """Refuse a misspelt setting: the toolkit would let it pass, and it would do nothing."""
        known = {"_type", *cls.model_fields}
        unknown = sorted(set(values) - known) if isinstance(values, Mapping) else []
        if unknown:
            raise ValueError(f"{cls.static_type()} has unknown settings {unknown}; allowed are {sorted(known)}")
        return values


# The one list of settings stands in RouterSettings; what is left out comes from the environment, else is the default.
_SETTINGS: dict[str, Any] = {name: (kind | None, None) for name, kind in get_type_hints(RouterSettings).items()}
ObjectiveConfig: Any = create_model(
    "ObjectiveConfig", __base__=_Config, __cls_kwargs__={"name": "nn_objective_fn"}, **_SETTINGS
)


class RouterConfig(_Config, name="sfc_router"):
    """A router over an objective function, and where it answers over HTTP."""

    objective_fn: FunctionRef = Field(description="The function that decides: one that returns a RouteDecision.")
    path: str = Field(default="/sfc_router", description="Prefix of its HTTP routes.")
    max_body_bytes: int = Field(default=MAX_BODY_BYTES, gt=0, description="Larger request bodies are refused with 413.")


class RouteDecision(BaseModel):
    """One decision: the fields of :class:`auto_router.decide.rule.Decision`, and ``error`` where the request was wrong."""

    id: str
    model: str
    reason: str
    probabilities: dict[str, float | None] = {}
    qualified: list[str] = []
    ranking: list[str] = []
    cost: float | None = None
    novelty: float | None = None
    session: str | None = None
    unseen_pictures: int = 0
    error: str | None = None


@register_function(config_type=ObjectiveConfig)
async def nn_objective_fn(config: FunctionBaseConfig, builder: Builder) -> AsyncGenerator[FunctionInfo, None]:
    """Open the router; give a function from a chat request to a :class:`RouteDecision`."""
    given = {part.name: getattr(config, part.name) for part in fields(RouterSettings)}
    set_up_log()
    service = DecisionService(RouterSettings.from_environment(given))
    await asyncio.to_thread(service.open)

    async def decide(request: ChatRequest) -> RouteDecision:
        error = None
        try:
            served = await service.decide(read_chat(request))
        except (DataError, ConfigError) as reason:
            served, error = await service.refuse(NO_PROMPT), str(reason)
        return RouteDecision(**served.to_dict(), error=error)

    SERVICES.append(service)
    try:
        yield FunctionInfo.from_fn(decide, description="Decide which model should answer a chat request.")
    finally:
        SERVICES.remove(service)
        await asyncio.to_thread(service.close)


@register_function(config_type=RouterConfig)
async def sfc_router(config: RouterConfig, builder: Builder) -> AsyncGenerator[FunctionInfo, None]:
    """Give a function from a chat request to a chat completion whose content is the chosen model's name."""
    objective = await builder.get_function(config.objective_fn)

    async def choose(request: ChatRequest) -> ChatResponse:
        return completion(await objective.ainvoke(request, to_type=RouteDecision))

    async def choose_in_a_stream(request: ChatRequest) -> AsyncGenerator[ChatResponseChunk, None]:
        found = await objective.ainvoke(request, to_type=RouteDecision)
        chunk = ChatResponseChunk.from_string(found.model, model=AUTO)
        chunk.auto_router = found.model_dump()
        yield chunk

    yield FunctionInfo.create(
        single_fn=choose, stream_fn=choose_in_a_stream, description="Answer with the name of the model that should be asked."
    )


def completion(found: RouteDecision) -> ChatResponse:
    """Return a chat completion whose content is the model's name; the decision stands in its field ``auto_router``."""
    none = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
    response = ChatResponse.from_string(found.model, model=AUTO, usage=none)
    response.auto_router = found.model_dump()
    return response


def read_chat(request: ChatRequest) -> Request:
    """Return what a chat request asks; ``nat_worker`` has read it already. Raises DataError where it asks nothing."""
    found = (request.model_extra or {}).get(READ_FIELD)
    return found if isinstance(found, Request) else read_request(request.model_dump(exclude_none=True))
