"""A LiteLLM proxy callback: a client asks for ``auto`` and gets the answer of the model that the router chose.

Written as the proxy wants callbacks, in a file beside its configuration (``examples/litellm/router_callback.py``):

    from auto_router.serve.litellm_hook import RouterHook
    router = RouterHook(router_path="router_artifacts/nn_router.pth", fallback_model="gpt-5-chat")

The request itself is not touched: ``model`` becomes the chosen one, ``fallbacks`` the rest of the decision's ranking, and the
proxy does what it does, streaming, keys, budgets and retries included. Only models that the proxy serves are chosen. Response
headers say what was decided: ``x-auto-router-model``, ``-reason``, ``-probability`` and, in a conversation, ``-session``; the
proxy's own ``x-litellm-model-group`` and ``x-litellm-attempted-fallbacks`` say who answered.

A request that continues a response (``previous_response_id``) goes to the model that made it, which the proxy's ids tell.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from fastapi import Depends, HTTPException
from fastapi.responses import JSONResponse, Response
from litellm.integrations.custom_logger import CustomLogger
from prometheus_client import CONTENT_TYPE_LATEST

from auto_router.data.request import ALIASES, read_request
from auto_router.decide.policy import RouterSettings
from auto_router.decide.rule import Decision
from auto_router.decide.session import PINNED, SESSION
from auto_router.errors import ConfigError, DataError
from auto_router.route.sessions import session_keys
from auto_router.serve.body_limit import MAX_BODY_BYTES, BodyLimit
from auto_router.serve.service import INTERNAL_ERROR, NO_PROMPT, DecisionService, ServedDecision

log = logging.getLogger(__name__)

KEY = "auto_router"
ROUTED = {"acompletion": "metadata", "aresponses": "litellm_metadata", "anthropic_messages": "litellm_metadata"}
"""The calls that are routed, and where each carries what is not for the provider."""


class RouterHook(CustomLogger):
    """Routes requests for the model names in ``aliases`` (``auto``, ``auto-economy``, …; name → operating point).

    ``settings`` are those of :class:`auto_router.decide.policy.RouterSettings`.

    Raises:
        ConfigError, ArtifactError, EncoderError: see :meth:`DecisionService.open`; the proxy then does not start.
    """

    def __init__(
        self, *, aliases: Mapping[str, str | None] = ALIASES, max_body_bytes: int = MAX_BODY_BYTES, **settings: Any
    ) -> None:
        super().__init__()
        self.aliases = aliases
        self.service = DecisionService(RouterSettings.from_environment(settings))
        self.service.open()
        if not logging.getLogger("auto_router").hasHandlers():
            show_log()
        proxy = sys.modules.get("litellm.proxy.proxy_server")
        if proxy is not None:
            self.attach(proxy.app, max_body_bytes)

    def attach(self, app: Any, max_body_bytes: int) -> None:
        """Give the proxy's app a limit on bodies, ``GET /auto_router/health`` and, with a key, ``GET /auto_router/metrics``."""
        from litellm.proxy.auth.user_api_key_auth import user_api_key_auth

        # The proxy loads callbacks when its app is running already: too late for add_middleware.
        app.middleware_stack = BodyLimit(app.middleware_stack or app.build_middleware_stack(), max_body_bytes)
        app.add_api_route("/auto_router/health", self.health, methods=["GET"])
        app.add_api_route("/auto_router/metrics", self.metrics, methods=["GET"], dependencies=[Depends(user_api_key_auth)])

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str) -> Any:
        """Choose the model of a request for one of the aliases."""
        if call_type not in ROUTED or data.get("model") not in self.aliases:
            return data
        offer = Offer.of(user_api_key_dict, self.aliases)
        served, key = await self._decide(data, offer, str(getattr(user_api_key_dict, "api_key", None) or ""))
        made = served.decision
        ranking = [name for name in made.ranking if name in offer]
        if not ranking:
            log.error("none of %s is in the proxy's model_list: %r answers itself", ", ".join(made.ranking), data["model"])
            return data
        probability = made.probabilities.get(ranking[0])
        told = served.to_dict() | {"asked": data["model"], "model": ranking[0], "probability": probability, "key": key}
        bucket = ROUTED[call_type]
        data[bucket] = {**(data.get(bucket) or {}), KEY: told}
        data["model"] = ranking[0]
        data.setdefault("fallbacks", ranking[1:])
        return data

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: Any,
        response: Any,
        request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, Any] | None = None,
    ) -> dict[str, str] | None:
        """Say in headers what was decided, and count who answered."""
        buckets = [data.get(name) for name in set(ROUTED.values())]
        bucket = next((found for found in buckets if isinstance(found, dict) and KEY in found), None)
        if bucket is None:
            return None
        told = bucket[KEY]
        answered = "none" if response is None else getattr(data.get("deployment"), "model_name", "unknown")
        self.service.metrics.answers.labels(told["model"], answered).inc()
        if told["key"] and answered != told["model"] and answered in told["ranking"]:
            await self.service.note_answer(told["key"], answered)
        p = told["probability"]
        return {
            "x-auto-router-model": _header(told["model"]),
            "x-auto-router-reason": told["reason"],
            "x-auto-router-probability": "" if p is None else f"{p:.4f}",
            **({"x-auto-router-session": told["session"]} if told["session"] else {}),
        }

    async def health(self) -> JSONResponse:
        """Tell whether decisions are the router's own."""
        good, told = await self.service.health()
        return JSONResponse(told, status_code=200 if good else 503)

    async def metrics(self) -> Response:
        """Return the process's measures."""
        return Response(self.service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    async def _decide(self, data: dict[str, Any], offer: Offer, key: str) -> tuple[ServedDecision, str]:
        """Return the decision, and the key of its session."""
        try:
            asked = read_request(data, (data.get("proxy_server_request") or {}).get("headers"))
            # A session belongs to the key that began it: ids of clients may be the same.
            session = None if asked.session is None else f"{key}\0{asked.session}"
            asked = replace(asked, operating_point=self.aliases[data["model"]], session=session)
            if asked.previous_response is not None:
                return self._continue(asked.previous_response, offer), ""
            names = () if self.service.live.router is None else self.service.live.router.model_names
            return await self.service.decide(asked, offer.select(names)), session_keys(asked)[0]
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

    def _continue(self, response_id: str, offer: Offer) -> ServedDecision:
        """Return the model that made a response. Raises HTTPException where nobody knows it: no other can go on with it."""
        maker = response_maker(response_id)
        if maker is None or maker not in offer:
            said = f"previous_response_id {response_id[:80]!r} was not made here; send the whole conversation as input"
            raise HTTPException(400, {"error": said})
        return self.service.note(Decision(maker, {}, (), SESSION, (maker,), session=PINNED))


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be chosen: what the proxy's ``model_list`` has, wildcards such as ``openai/*`` included, and a key may use.

    A key whose list names only ``auto`` may use every model of the pool through it.
    """

    served: frozenset[str]
    allowed: frozenset[str] = frozenset()
    """Empty: every one."""

    @classmethod
    def of(cls, key: Any, aliases: Collection[str]) -> Offer:
        """Build from the proxy in this process and the key of a request."""
        router = getattr(sys.modules.get("litellm.proxy.proxy_server"), "llm_router", None)
        served = frozenset(router.model_names) if router is not None else frozenset()
        models = getattr(key, "models", None)
        allowed = frozenset(models) - set(aliases) if isinstance(models, list) else frozenset()
        return cls(served, frozenset() if any(name.startswith("all-") for name in allowed) else allowed)

    def __contains__(self, name: str) -> bool:
        return _matches(name, self.served) and (not self.allowed or _matches(name, self.allowed))

    def select(self, names: Collection[str]) -> list[str]:
        return [name for name in names if name in self]


def _matches(name: str, patterns: frozenset[str]) -> bool:
    return name in patterns or any("*" in pattern and fnmatchcase(name, pattern) for pattern in patterns)


def response_maker(response_id: str) -> str | None:
    """Return the model group whose deployment made a response of the proxy; None where the id does not tell."""
    from litellm.proxy.hooks.responses_id_security import ResponsesIDSecurity
    from litellm.responses.utils import ResponsesAPIRequestUtils

    # The proxy seals ids for their owner, and opens them, with a check of whose they are, behind this hook.
    response_id = ResponsesIDSecurity()._decrypt_response_id(response_id)[0]
    router = getattr(sys.modules.get("litellm.proxy.proxy_server"), "llm_router", None)
    deployment = ResponsesAPIRequestUtils.get_model_id_from_response_id(response_id)
    found = None if router is None or deployment is None else router.get_deployment(model_id=deployment)
    return None if found is None else str(found.model_name)


def show_log() -> None:
    """Let this package's log lines reach stderr, where its server has set up no logging of its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("auto_router")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _header(value: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in value)
