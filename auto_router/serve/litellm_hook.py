"""A LiteLLM proxy callback: a client asks for ``auto`` and gets the answer of the model that the router chose.

Written as the proxy wants callbacks, in a file beside its configuration (``examples/litellm/router_callback.py``):

    from auto_router.serve.litellm_hook import RouterHook
    router = RouterHook(router_path="router_artifacts/nn_router.pth", fallback_model="gpt-5-chat")

The request itself is not touched: ``model`` becomes the chosen one, ``fallbacks`` the rest of the decision's ranking, and the
proxy does what it does, streaming, keys, budgets and retries included. Only models that the proxy serves are chosen. Response
headers say what was decided: ``x-auto-router-model``, ``-reason``, ``-probability``; the proxy's own
``x-litellm-model-group`` and ``x-litellm-attempted-fallbacks`` say who answered.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from fastapi import Depends, HTTPException
from fastapi.responses import JSONResponse, Response
from litellm.integrations.custom_logger import CustomLogger
from prometheus_client import CONTENT_TYPE_LATEST

from auto_router.decide.settings import RouterSettings
from auto_router.errors import ConfigError, DataError
from auto_router.serve.body_limit import MAX_BODY_BYTES, BodyLimit
from auto_router.serve.chat import ALIASES, Request, decision_plain, request_of
from auto_router.serve.service import INTERNAL_ERROR, NO_PROMPT, DecisionService, ServedDecision

log = logging.getLogger(__name__)

KEY = "auto_router"
ROUTED = {"acompletion": "metadata", "aresponses": "litellm_metadata", "anthropic_messages": "litellm_metadata"}
"""The calls that are routed, and where each carries what is not for the provider."""


class RouterHook(CustomLogger):
    """Routes requests for the model names in ``aliases`` (``auto``, ``auto-economy``, …; name → operating point).

    ``settings`` are those of :class:`auto_router.decide.settings.RouterSettings`.

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
        served = await self._decide(data)
        made, offered = served.decision, offered_models()
        ranking = [name for name in made.ranking if name in offered]
        if not ranking:
            log.error("none of %s is in the proxy's model_list: %r answers itself", ", ".join(made.ranking), data["model"])
            return data
        probability = made.probabilities.get(ranking[0])
        told = decision_plain(made, served.unseen) | {"asked": data["model"], "model": ranking[0], "probability": probability}
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
        p = told["probability"]
        return {
            "x-auto-router-model": _header(told["model"]),
            "x-auto-router-reason": told["reason"],
            "x-auto-router-probability": "" if p is None else f"{p:.4f}",
        }

    async def health(self) -> JSONResponse:
        """Tell whether decisions are the router's own."""
        good, told = await self.service.health()
        return JSONResponse(told, status_code=200 if good else 503)

    async def metrics(self) -> Response:
        """Return the process's measures."""
        return Response(self.service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    async def _decide(self, data: dict[str, Any]) -> ServedDecision:
        point = self.aliases[data["model"]]
        try:
            asked = request_of(data)
            return await self.service.decide(Request(asked.text, asked.images, point), offered_models())
        except DataError:
            return self.service.refuse(NO_PROMPT)
        except ConfigError as error:
            raise HTTPException(400, {"error": str(error)}) from error
        # The proxy makes a 500 of whatever a callback raises; a request that could be answered must be.
        except Exception:
            log.exception("the router failed; the fallback model is chosen")
            return self.service.refuse(INTERNAL_ERROR)


def offered_models() -> frozenset[str]:
    """Return the names in the proxy's ``model_list``."""
    proxy = sys.modules.get("litellm.proxy.proxy_server")
    router = getattr(proxy, "llm_router", None)
    return frozenset(router.model_names) if router is not None else frozenset()


def show_log() -> None:
    """Let this package's log lines reach stderr, where its server has set up no logging of its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("auto_router")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _header(value: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in value)
