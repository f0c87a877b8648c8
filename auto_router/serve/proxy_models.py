"""What a running LiteLLM proxy calls a model, and which models it and the caller's key allow."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


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
    allowed = {name for name in names if await is_model_authorized_for_token(model=name, valid_token=token, llm_router=router)}
    return frozenset(allowed)


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
