"""The router as a client in the process: openai's chat completions over the models of a pool, without a server between.

    from auto_router.client import Client

    client = Client(pool="pool.yaml")
    answer = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Calculate 17 + 25."}])
    print(answer.choices[0].message.content, answer.decision.model, answer.answered_by)

``auto`` and ``auto-economy``, … are decided by the router; any other name is a model of the pool, and asked alone. A decision's
ranking is gone down where :func:`auto_router.serve.fallback.another_may_answer` says so; every other error, such as a client's
own 400, is raised at once, as openai's. :class:`AsyncClient` has the same methods as coroutines.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from auto_router.data.pool import Pool, PoolModel, load_pool
from auto_router.data.request import ALIASES, AUTO, Request, read_request
from auto_router.decide.policy import DEFAULT_PATH
from auto_router.decide.rule import Decision
from auto_router.errors import ConfigError, needs_extra
from auto_router.route.feedback import FEEDBACK_FILE
from auto_router.route.router import ModelRouter
from auto_router.serve.fallback import another_may_answer
from auto_router.serve.gateway import compare_models, default_parameters, usable_models

with needs_extra("client"):
    import openai
    from openai.types.chat import ChatCompletion

log = logging.getLogger(__name__)

# What a stream that breaks raises is the transport's own; openai brings the one or the other.
_TRANSPORTS = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
FAILURES: tuple[type[Exception], ...] = (openai.APIError, *(transport.HTTPError for transport in _TRANSPORTS))
_HEADERS = ("accept", "content-type", "user-agent", "authorization")


class _PlainHeaders:
    """Keeps what ``OPENAI_ORG_ID``, ``OPENAI_PROJECT_ID`` and ``OPENAI_CUSTOM_HEADERS`` hold from other vendors."""

    @property
    def default_headers(self) -> dict[str, Any]:
        whole = super().default_headers  # type: ignore[misc]
        return {name: value for name, value in whole.items() if name.lower() in _HEADERS} | self.auth_headers  # type: ignore


class RoutedStream:
    """The chunks of a streamed answer, the ``decision`` behind it and the pool's name of the model that answers."""

    def __init__(self, stream: Any, first: Any, decision: Decision | None, answered_by: str) -> None:
        self.decision, self.answered_by = decision, answered_by
        self._stream, self._first = stream, [first] if first else []

    def __iter__(self) -> Iterator[Any]:
        while self._first:
            yield self._first.pop()
        yield from self._stream

    async def __aiter__(self) -> AsyncIterator[Any]:
        while self._first:
            yield self._first.pop()
        async for chunk in self._stream:
            yield chunk

    def close(self) -> Any:
        """Give the connection back; to be awaited where the client is async."""
        return self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Routing:
    """What both clients are: a pool, a router, and a request made from what the caller gave.

    Args:
        pool: a :class:`Pool` or its file. Models whose keys the environment lacks are left out, with a warning.
        router: an open :class:`ModelRouter`, which stays open when the client is closed, or the path of an artifact.
        settings: of :class:`auto_router.decide.policy.RouterSettings`, for a router that is opened here.

    Raises:
        ConfigError: no model of the pool can be asked or is the artifact's, or a setting is wrong.
        ArtifactError, EncoderError: see :class:`ModelRouter`.
    """

    _kinds: tuple[type[Any], type[Any]]
    """openai's client of an address, and that of an Azure resource."""

    def __init__(
        self, pool: str | Path | Pool = "pool.yaml", router: str | Path | ModelRouter = DEFAULT_PATH, **settings: Any
    ) -> None:
        if settings and isinstance(router, ModelRouter):
            raise ConfigError(
                f"{', '.join(settings)}: an open router has its own settings; open it with these, or give its path"
            )
        models, notes = usable_models(pool if isinstance(pool, Pool) else load_pool(pool), os.environ)
        self._own_router = not isinstance(router, ModelRouter)
        self.router = router if isinstance(router, ModelRouter) else ModelRouter(router, **settings)
        for line in [*notes, *compare_models(models, self.router.model_names)]:
            log.warning("%s", line)
        self.models = {model.name: model for model in models}
        self.chat = _Chat(self._create)
        self._clients = {model.name: self._open(model) for model in models}

    def _open(self, model: PoolModel) -> Any:
        azure = {"azure_endpoint": model.address, "api_version": model.api_version}
        kind, where = (self._kinds[1], azure) if model.api_version else (self._kinds[0], {"base_url": model.address})
        key = os.environ[model.api_key_env] if model.api_key_env else "none"
        return type(kind.__name__, (_PlainHeaders, kind), {})(**where, api_key=key, timeout=model.timeout_s, max_retries=0)

    def _create(self, *, model: str, messages: Any, **parameters: Any) -> Any:
        raise NotImplementedError

    def _ask(self, model: PoolModel, messages: Any, parameters: Mapping[str, Any]) -> Any:
        """Send the request to one model; what its labels were made with holds where the caller says nothing else."""
        extra = {name: value for name, value in default_parameters(model).items() if name not in parameters}
        extra |= parameters.get("extra_body") or {}
        given = {**parameters, "model": model.model, "messages": messages} | ({"extra_body": extra} if extra else {})
        return self._clients[model.name].chat.completions.create(**given)

    def _read(self, name: str, messages: Any, parameters: Mapping[str, Any]) -> Request | None:
        """Return what the router is asked; None where the caller names a model of the pool himself.

        Images at a URL are not fetched: the choice is then among the models that take images.
        """
        if not isinstance(name, str) or name not in ALIASES:
            if not isinstance(name, str) or name not in self.models:
                raise ConfigError(f"there is no model {name!r}; there are {', '.join([*ALIASES, *self.models])}")
            return None
        given = {**parameters, **(parameters.get("extra_body") or {})}
        body = {field: value for field, value in given.items() if not isinstance(value, openai.NotGiven | openai.Omit)}
        request = read_request({**body, "messages": messages, "model": name})
        models = tuple(known for known in self.router.model_names if known in self.models)
        return replace(request.without(request.urls), models=models)

    def record(self, answer: Any, outcome: float, path: str | Path = FEEDBACK_FILE) -> None:
        """Append how an answer, or a stream, turned out (0 wrong … 1 right) to a JSONL for ``nn_router.py --feedback``.

        It is of the model that answered, be it the chosen one or another. No prompt is written.

        Raises:
            ConfigError: the caller had named the model, the decision was made without the network, the outcome is none, or the
                answer is none of a client's.
        """
        if not hasattr(answer, "decision"):
            raise ConfigError(f"only an answer or a stream of this client can be recorded, got {type(answer).__name__}")
        if answer.decision is None:
            raise ConfigError(f"nothing was decided: {answer.answered_by} was named by the caller")
        self.router.record(answer.decision, outcome, path, answer.answered_by)

    def _note_answer(self, request: Request | None, decision: Decision | None, name: str) -> None:
        """Let a conversation go on with the model that answered, where that is not the chosen one."""
        if request is not None and decision is not None and name != decision.model:
            self.router.note_model(request, name)

    def _ranking(self, name: str, decision: Decision | None) -> list[PoolModel]:
        return [self.models[known] for known in ((name,) if decision is None else decision.ranking) if known in self.models]


class Client(_Routing):
    """Asks the model that the router chooses; see the module. Its methods may be called from several threads at once."""

    _kinds = (openai.OpenAI, openai.AzureOpenAI)

    def _create(self, *, model: str, messages: Any, **parameters: Any) -> Any:
        request = self._read(model, messages, parameters)
        decision = None if request is None else self.router.decide(request=request)
        ranking = self._ranking(model, decision)
        for candidate in ranking:
            try:
                answer = self._ask(candidate, messages, parameters)
                first = next(answer, None) if parameters.get("stream") else None
                answer = _attach(answer, first, decision, candidate.name)
                self._note_answer(request, decision, candidate.name)
                return answer
            except FAILURES as error:
                _pass_on(candidate, error, candidate is ranking[-1])
        raise AssertionError("a ranking is never empty")

    def close(self) -> None:
        """Close the connections, and the router where it was opened here."""
        for client in self._clients.values():
            client.close()
        if self._own_router:
            self.router.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Routing):
    """As :class:`Client`, for an event loop: ``create`` and ``close`` are coroutines."""

    _kinds = (openai.AsyncOpenAI, openai.AsyncAzureOpenAI)

    async def _create(self, *, model: str, messages: Any, **parameters: Any) -> Any:
        request = self._read(model, messages, parameters)
        decision = None if request is None else await self.router.adecide(request=request)
        ranking = self._ranking(model, decision)
        for candidate in ranking:
            try:
                answer = await self._ask(candidate, messages, parameters)
                first = await anext(answer, None) if parameters.get("stream") else None
                answer = _attach(answer, first, decision, candidate.name)
                await asyncio.to_thread(self._note_answer, request, decision, candidate.name)
                return answer
            except FAILURES as error:
                _pass_on(candidate, error, candidate is ranking[-1])
        raise AssertionError("a ranking is never empty")

    async def close(self) -> None:
        """Close the connections, and the router where it was opened here."""
        for client in self._clients.values():
            await client.close()
        if self._own_router:
            self.router.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Completions:
    def __init__(self, create: Callable[..., Any]) -> None:
        self._create = create

    def create(self, *, messages: Any, model: str = AUTO, **parameters: Any) -> Any:
        """Answer a conversation, as openai's ``chat.completions.create`` does, which takes the same parameters.

        Returns:
            openai's ``ChatCompletion`` or, with ``stream=True``, a :class:`RoutedStream` of its chunks. Either has
            ``decision``, None where the caller named the model, and ``answered_by``, the pool's name of who answered.

        Raises:
            ConfigError: there is no such model, or none may take the input.
            DataError: the conversation holds nothing that a user said, or an image that is none.
            EncoderError: the router's encoder failed.
            openai.APIError, or an error of its transport: the last model asked failed, or the request is at fault.
        """
        return self._create(model=model, messages=messages, **parameters)


class _Chat:
    def __init__(self, create: Callable[..., Any]) -> None:
        self.completions = _Completions(create)


def _attach(answer: Any, first: Any, decision: Decision | None, name: str) -> Any:
    """Return a stream, of which the ``first`` chunk came, as a :class:`RoutedStream`; and a completion with ``decision`` and
    ``answered_by``, which are not part of what is sent or stored of it.

    Raises:
        openai.APIError: it is an error under status 200, as some gateways send them, or no JSON, as a page to log in by.
    """
    if isinstance(answer, str):
        raise openai.APIError(f"answered with no JSON: {answer[:200]!r}", request=None, body=None)  # type: ignore[arg-type]
    if not isinstance(answer, ChatCompletion):
        return RoutedStream(answer, first, decision, name)
    error = (answer.model_extra or {}).get("error")
    if not answer.choices and error:
        message = str(error.get("message") if isinstance(error, dict) else error)
        raise openai.APIError(message, request=None, body=error)  # type: ignore[arg-type]
    answer.__dict__.update(decision=decision, answered_by=name)  # a field set by name would be
    return answer


def _pass_on(model: PoolModel, error: Exception, is_last: bool) -> None:
    """Say that the next of the ranking is asked. Raises the error where nobody is left, or it is the caller's own."""
    if is_last or not another_may_answer(error):
        raise error
    said = " ".join(str(error).split())[:300] or type(error).__name__
    log.warning("%s failed (%s), the next of the ranking is asked", model.name, said)
