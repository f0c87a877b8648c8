"""What a request says its conversation is called, in whichever header or field a client puts that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SESSIONS = (
    "session_id", "litellm_session_id", "conversation", "conversation_id", "thread_id", "chat_id", "sessionId",
    "conversationId", "threadId", "chatId", "langfuse_session_id",
)  # fmt: skip
_USER_SESSION = re.compile(r"session_(?:id\W{1,6})?([0-9A-Za-z-]{8,80})")
_SESSION_HEADER = re.compile(
    r"(?!(?:.*-)?parent-)"  # a sub-agent's conversation is its own
    r"(?:(?:x-)?(?:(?!mcp-)[a-z0-9]{1,40}-){0,4}(?:session|conversation|thread|chat)-id|x-(?:[a-z0-9-]{1,40}-)?session"
    r"(?:-affinity)?|x-(?:[a-z0-9-]{1,40}-)?task-?id)"
)
_ID_CHARACTERS = 512


def session_of(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> str | None:
    """Return what a request says its conversation is called, None where it says nothing.

    Looked at, in this order: a header ``session-id``, ``x-auto-router-session``, ``x-NAME-session-id`` or ``-conversation-id``
    and the like, but MCP's; ``session_id``, ``conversation``, ``thread_id``, ``chat_id`` in the body or its ``metadata``; the
    session in an Anthropic ``metadata.user_id``.
    """
    for name, value in (headers or {}).items():
        if _SESSION_HEADER.fullmatch(name.lower().replace("_", "-")) and value.strip():
            return value.strip()[:_ID_CHARACTERS]
    places = map(body.get, ("metadata", "litellm_metadata", "configurable"))
    metadata = [place for place in places if isinstance(place, Mapping)]
    for place in (body, *metadata):
        for name in _SESSIONS:
            said = place.get(name)
            said = said.get("id") if isinstance(said, Mapping) else said
            said = str(said) if isinstance(said, int) and not isinstance(said, bool) and abs(said) < 10**18 else said
            if isinstance(said, str) and said.strip():
                return said.strip()[:_ID_CHARACTERS]
    user = metadata[0].get("user_id") if metadata else None
    if isinstance(user, Mapping):
        return session_of({"session_id": user.get("session_id")})
    found = _USER_SESSION.search(user[:1000]) if isinstance(user, str) else None
    return found[1] if found else None
