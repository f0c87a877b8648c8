"""A LiteLLM proxy callback: a client asks for ``auto`` and gets the answer of the model that the router chose.

Written as the proxy wants callbacks, in a file beside its configuration (``examples/litellm/router_callback.py``):

    from auto_router.serve.litellm_hook import RouterHook
    router = RouterHook(router_path="router_artifacts/nn_router.pth", fallback_model="gpt-5-chat")

The request itself is not touched: ``model`` becomes the chosen one, ``fallbacks`` the rest of the decision's ranking, and the
proxy does what it does, streaming, keys, budgets and retries included. Only models that the proxy serves, wildcards and aliases
included, and that the caller's key may use are chosen. The ranking is not gone down after a client's own mistake. Response
headers say what was decided: ``x-auto-router-model``, ``-reason``, ``-probability``, ``-decision-id`` and, in a conversation,
``-session``; the proxy's own ``x-litellm-model-group`` and ``x-litellm-attempted-fallbacks`` say who answered.

A request that continues a response (``previous_response_id``) goes to the model that made it, which the proxy's ids tell.

Beside the proxy's own routes there are

| route | who may ask | what |
|---|---|---|
| ``POST /v1/feedback`` | every key | ``{"id", "outcome"}``: how an answer turned out |
| ``GET /auto_router/health/live`` | all | 200 while the process answers |
| ``GET /auto_router/health/ready`` | all | 200 while a model can be named, be it the fallback |
| ``GET /auto_router/health`` | all | 200 while decisions are the router's own |
| ``GET /auto_router/metrics``, ``/drift``, ``/explain/ID`` | administrators | measures, drift, why a model was chosen |
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import Depends, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from litellm.integrations.custom_logger import CustomLogger
from prometheus_client import CONTENT_TYPE_LATEST

from auto_router.data.request import ALIASES, read_request
from auto_router.decide.policy import RouterSettings
from auto_router.decide.rule import Decision
from auto_router.decide.session import PINNED, SESSION
from auto_router.errors import ConfigError, DataError
from auto_router.route.sessions import session_keys
from auto_router.serve.fallback import OWN_FAULTS, another_may_answer, error_status, form_error, is_malformed, shape_error
from auto_router.serve.middleware import MAX_BODY_BYTES, BodyLimit, LoopbackOnly
from auto_router.serve.monitoring import keep_prompts_out, set_up_log
from auto_router.serve.service import INTERNAL_ERROR, NO_PROMPT, DecisionService, ServedDecision

if TYPE_CHECKING:
    from auto_router.serve.shadow import Shadow

log = logging.getLogger(__name__)

KEY = "auto_router"
MODEL_ROUTES = ("/v1/", "/chat/", "/completions", "/embeddings", "/responses", "/messages")
"""Paths below which the proxy fails on JSON that is no object."""
MAX_SAID = 500  # characters of a vendor's error that a client is told
ROUTED = {
    **dict.fromkeys(("acompletion", "completion"), "metadata"),
    **dict.fromkeys(("aresponses", "anthropic_messages"), "litellm_metadata"),
}
"""The calls that are routed, and where each carries what is not for the provider."""
_ranking: ContextVar[list[str] | None] = ContextVar("auto_router_ranking", default=None)
"""The fallbacks of the request under way: the list that the proxy reads, emptied where they must not be asked."""
FEEDBACK = "/v1/feedback"


class _Told(dict[str, Any]):
    """What was decided about a request, in its metadata. A class of its own: what a client writes there is none."""


class RouterHook(CustomLogger):
    """Routes requests for the model names in ``aliases`` (``auto``, ``auto-economy``, …; name → operating point).

    ``loopback_only`` is for a proxy without a key, see :mod:`auto_router.serve.middleware`. ``settings`` are those of
    :class:`auto_router.decide.policy.RouterSettings`.

    Raises:
        ConfigError, ArtifactError, EncoderError: see :meth:`DecisionService.open`; the proxy then does not start.
    """

    def __init__(
        self,
        *,
        aliases: Mapping[str, str | None] = ALIASES,
        max_body_bytes: int = MAX_BODY_BYTES,
        loopback_only: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.aliases = aliases
        self.service = DecisionService(RouterSettings.from_environment(settings))
        self.service.open()
        set_up_log()
        self.shadow: Shadow | None = None
        if self.service.settings.shadow_share:
            from auto_router.serve.shadow import Shadow  # takes two seconds, and few want it

            self.shadow = Shadow(self.service.settings, self.service.feedback, self.service.metrics)
        proxy = sys.modules.get("litellm.proxy.proxy_server")
        if proxy is not None:
            self.attach(proxy.app, max_body_bytes, loopback_only)

    def attach(self, app: Any, max_body_bytes: int, loopback_only: bool = False) -> None:
        """Give the proxy's app a limit on bodies and the routes of this module."""
        # The proxy loads callbacks when its app is running already: too late for add_middleware.
        app.middleware_stack = BodyLimit(
            app.middleware_stack or app.build_middleware_stack(), max_body_bytes, objects_below=MODEL_ROUTES
        )
        keep_prompts_out()
        if loopback_only:
            app.middleware_stack = LoopbackOnly(app.middleware_stack)
        add_routes(app, self.service)

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str) -> Any:
        """Choose the model of a request for one of the aliases."""
        asked = resolve_alias(data.get("model"))
        if not isinstance(asked, str) or not any(name.strip() in self.aliases for name in asked.split(",")):
            return data
        self._check_routed(asked, call_type)
        if (wrong := form_error(data)) is not None:
            raise HTTPException(400, {"error": wrong})
        offered = offered_models(self.service.known_models)
        permitted = await permitted_models(offered, user_api_key_dict)
        if offered and not permitted:
            message = f"this key may use none of the models that {asked!r} chooses among: {', '.join(sorted(offered))}"
            raise HTTPException(403, {"error": f"{message}; add some to the key's or team's models"})
        allowed = await affordable_models(permitted, user_api_key_dict)
        if permitted and not allowed:
            message = f"the budget of each model that this key may use is spent: {', '.join(sorted(permitted))}"
            raise HTTPException(429, {"error": message})
        served, key = await self._decide(data, asked, allowed, user_api_key_dict)
        made = served.decision
        ranking = [name for name in made.ranking if name in allowed or made.session == PINNED]
        if not ranking:
            log.error("none of %s is in the proxy's model_list: %r answers itself", ", ".join(made.ranking), data["model"])
            return data
        probability = made.probabilities.get(ranking[0])
        about = {"asked": asked, "model": ranking[0], "probability": probability, "key": key, "eligible": ranking}
        told = _Told(served.to_dict() | about)
        bucket = ROUTED[call_type]
        data[bucket] = {**(data.get(bucket) or {}), KEY: told}
        data["model"] = ranking[0]
        if "fallbacks" not in data:
            data["fallbacks"] = ranking[1:]
            _ranking.set(data["fallbacks"])
        return data

    async def async_post_call_failure_deployment_hook(
        self, request_data: Mapping[str, Any], exception: Exception, call_type: Any, fallback_depth: int | None = None
    ) -> None:
        """Count a model's error, and keep a client's own mistake from every other vendor: nobody is left to fall back to."""
        ranking = _ranking.get()
        if ranking is None:
            return
        status = error_status(exception)
        buckets = [request_data.get(name) for name in set(ROUTED.values())]
        model = next((found["model_group"] for found in buckets if isinstance(found, dict) and found.get("model_group")), "")
        self.service.metrics.upstream.labels(model, status or "none").inc()
        if status in OWN_FAULTS:
            log.warning("%s refuses this server with %s: see its key, address and model in the pool", model, status)
        if not another_may_answer(exception):
            ranking.clear()

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> HTTPException | None:
        """Answer 502 where every model refused this server's own key, permission or model: the client's key is not at fault.

        And 400, not 500, where the request has a form that nobody takes: at some, the proxy fails before it asks this callback.
        """
        told, status = _find_told(request_data), error_status(original_exception)
        if (status is None or status >= 500) and (wrong := shape_error(request_data)) is not None:
            return HTTPException(400, {"error": wrong})
        if told is not None and is_malformed(original_exception):
            return HTTPException(400, {"error": str(original_exception).partition("\n")[0][:MAX_SAID]})
        is_ours = told is not None and told["session"] != PINNED and hasattr(original_exception, "llm_provider")
        if not is_ours or status not in OWN_FAULTS:
            return None
        said = (
            f"no model of the ranking took this server's key or name for it, the last answered {status}: {original_exception}"
        )
        # The proxy answers messages with the error itself, and does not look at what is returned.
        if hasattr(original_exception, "message"):
            original_exception.status_code, original_exception.message = 502, said[:MAX_SAID]  # type: ignore[attr-defined]
        return HTTPException(502, {"error": said[:MAX_SAID]})

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: Any,
        response: Any,
        request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, Any] | None = None,
    ) -> dict[str, str] | None:
        """Say in headers what was decided, and count who answered."""
        told = _find_told(data)
        if told is None:
            return None
        answered = "none" if response is None else getattr(data.get("deployment"), "model_name", "unknown")
        self.service.metrics.answers.labels(told["model"], answered).inc()
        if answered != told["model"] and answered in told["ranking"]:
            await self.service.note_answer(told["id"], told["key"], answered)
        p = told["probability"]
        return {
            "x-auto-router-model": "".join(c if " " <= c <= "~" else "?" for c in told["model"]),
            "x-auto-router-reason": told["reason"],
            "x-auto-router-probability": "" if p is None else f"{p:.4f}",
            "x-auto-router-decision-id": told["id"],
            **({"x-auto-router-session": told["session"]} if told["session"] else {}),
        }

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Offer what was answered to the shadow mode, where that is on."""
        if self.shadow is not None and (told := _find_told(kwargs.get("litellm_params") or {})) is not None:
            self.shadow.offer(told, kwargs, response_obj)

    def _check_routed(self, asked: str, call_type: str) -> None:
        """Raise HTTPException, and count it, where one of the aliases is asked for in a way that is not routed."""
        if asked in self.aliases and call_type in ROUTED:
            return
        self.service.metrics.refusals.labels(call_type).inc()
        if asked in self.aliases:
            routes = "/v1/chat/completions, /v1/messages or /v1/responses"
            said = f"{asked!r} does not answer this call ({call_type}): send it to {routes}, or name a model here"
        else:
            names = ", ".join(self.aliases)
            said = f"the model {asked!r} is a list, or has spaces: give one of {names} alone, whose ranking holds the others"
        raise HTTPException(400, {"error": said})

    async def _decide(self, data: dict[str, Any], name: str, allowed: frozenset[str], token: Any) -> tuple[ServedDecision, str]:
        """Return the decision, and the key of its session."""
        try:
            asked = read_request(data, (data.get("proxy_server_request") or {}).get("headers"))
            # A session belongs to the key that began it: ids of clients may be the same.
            owner = str(getattr(token, "api_key", None) or "")
            session = None if asked.session is None else f"{owner}\0{asked.session}"
            asked = replace(asked, operating_point=self.aliases[name], session=session)
            if asked.previous_response is not None:
                return await self._continue(asked.previous_response, token), ""
            span = getattr(token, "parent_otel_span", None)
            return await self.service.decide(asked, allowed, span), session_keys(asked)[0]
        except DataError:
            return await self.service.refuse(NO_PROMPT), ""
        except ConfigError as error:
            raise HTTPException(400, {"error": str(error)}) from error
        except HTTPException:
            raise
        # The proxy makes a 500 of whatever a callback raises; a request that could be answered must be.
        except Exception:
            log.exception("the router failed; the fallback model is chosen")
            return await self.service.refuse(INTERNAL_ERROR), ""

    async def _continue(self, response_id: str, token: Any) -> ServedDecision:
        """Return the model that made a response. Raises HTTPException where nobody knows it: no other can go on with it."""
        maker = response_maker(response_id)
        permitted = frozenset() if maker is None else await permitted_models(offered_models([maker]), token)
        if maker is None or not await affordable_models(permitted, token):
            said = f"previous_response_id {response_id[:80]!r} was not made here; send the whole conversation as input"
            raise HTTPException(400, {"error": said})
        return await self.service.note(Decision(maker, {}, (), SESSION, (maker,), session=PINNED))


def _find_told(data: Mapping[str, Any]) -> _Told | None:
    """Return what was decided about a request; None where nothing was."""
    buckets = [data.get(name) for name in set(ROUTED.values())]
    return next((found[KEY] for found in buckets if isinstance(found, dict) and isinstance(found.get(KEY), _Told)), None)


def add_routes(app: Any, service: DecisionService) -> None:
    """Add the routes of this module to the proxy's app."""
    from litellm.proxy._types import LiteLLMRoutes
    from litellm.proxy.auth.user_api_key_auth import user_api_key_auth

    def reply(status: int, said: dict[str, Any]) -> Response:
        return JSONResponse(said, status)

    async def feedback(request: Request) -> Response:
        try:
            body = await request.body()
        except RuntimeError:  # the proxy has read it, as the form that its Content-Type says it is
            body = b""
        return reply(*await service.answer_feedback(body))

    async def live() -> Response:
        return JSONResponse({"status": "alive"})

    async def ready() -> Response:
        good, told = service.readiness()
        return reply(200 if good else 503, told)

    async def health() -> Response:
        good, told = await service.health()
        return reply(200 if good else 503, told)

    async def metrics() -> Response:
        return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    async def drift() -> Response:
        return reply(*await service.answer_drift())

    async def explain(id: str) -> Response:
        return reply(*await service.answer_explanation(id))

    # The proxy lets keys that are no administrator's ask only what it lists as a model's API.
    listed: list[str] = LiteLLMRoutes.openai_routes.value
    if FEEDBACK not in listed:
        listed.append(FEEDBACK)
    with_key = [Depends(user_api_key_auth)]
    app.add_api_route(FEEDBACK, feedback, methods=["POST"], dependencies=with_key)
    for path, handler in (("health/live", live), ("health/ready", ready), ("health", health)):
        app.add_api_route(f"/auto_router/{path}", handler, methods=["GET"])
    for path, asked in (("metrics", metrics), ("drift", drift), ("explain/{id}", explain)):
        app.add_api_route(f"/auto_router/{path}", asked, methods=["GET"], dependencies=with_key)


def proxy_router() -> Any:
    """Return the proxy's own router of deployments; None where no proxy runs in this process."""
    return getattr(sys.modules.get("litellm.proxy.proxy_server"), "llm_router", None)


def resolve_alias(name: Any) -> Any:
    """Return what ``model_group_alias`` says that a name stands for, else the name."""
    aliases = getattr(proxy_router(), "model_group_alias", None) or {}
    found = aliases.get(name, name) if isinstance(name, str) else name
    return found.get("model", name) if isinstance(found, dict) else found


def offered_models(names: Iterable[str]) -> frozenset[str]:
    """Return those of ``names`` that the proxy serves: listed, by an alias, or by a wildcard such as ``nvidia/*``."""
    router = proxy_router()
    if router is None:
        return frozenset()
    listed = {*router.model_names, *(router.model_group_alias or ())}
    return frozenset(name for name in names if name in listed or router.pattern_router.route(name) is not None)


async def permitted_models(names: Iterable[str], token: Any) -> frozenset[str]:
    """Return those of ``names`` that the caller's key, team and project may use, by the proxy's own rule."""
    from litellm.proxy.auth.fallback_model_access import is_model_authorized_for_token

    router = proxy_router()
    return frozenset(
        {name for name in names if await is_model_authorized_for_token(model=name, valid_token=token, llm_router=router)}
    )


async def affordable_models(names: Iterable[str], token: Any) -> frozenset[str]:
    """Return those of ``names`` that are within what key, user, team and end user may spend on each.

    The proxy itself looks only at the name that was asked for, which is ``auto``.
    """
    return frozenset({name for name in names if await _is_affordable(name, token)})


async def _is_affordable(name: str, token: Any) -> bool:
    from litellm import BudgetExceededError

    limiter = getattr(sys.modules.get("litellm.proxy.proxy_server"), "model_max_budget_limiter", None)
    if limiter is None:
        return True
    own, team = token.model_max_budget or None, token.team_model_max_budget or None
    user, end_user = token.user_model_max_budget or None, token.end_user_model_max_budget or None
    try:
        if own and token.token is not None:
            await limiter.is_key_within_model_budget(user_api_key_dict=token, model=name)
        if user and token.user_id is not None:
            await limiter.is_user_within_model_budget(user_id=token.user_id, user_model_max_budget=user, model=name)
        if team and token.team_id is not None:
            await limiter.is_team_within_model_budget(
                team_id=token.team_id, team_model_max_budget=team, key_model_max_budget=own, model=name
            )
        if end_user and token.end_user_id is not None:
            await limiter.is_end_user_within_model_budget(
                end_user_id=token.end_user_id, end_user_model_max_budget=end_user, model=name
            )
    except BudgetExceededError:
        return False
    return True


def response_maker(response_id: str) -> str | None:
    """Return the model group whose deployment made a response of the proxy; None where the id does not tell."""
    from litellm.proxy.hooks.responses_id_security import ResponsesIDSecurity
    from litellm.responses.utils import ResponsesAPIRequestUtils

    # The proxy seals ids for their owner, and opens them, with a check of whose they are, behind this hook.
    response_id = ResponsesIDSecurity()._decrypt_response_id(response_id)[0]
    router = proxy_router()
    deployment = ResponsesAPIRequestUtils.get_model_id_from_response_id(response_id)
    found = None if router is None or deployment is None else router.get_deployment(model_id=deployment)
    return None if found is None else str(found.model_name)
