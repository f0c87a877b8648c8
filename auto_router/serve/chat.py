"""A chat request as clients send it, and a decision as they get it: the only place that knows either form.

What is embedded of a conversation is :func:`auto_router.data.conversation.conversation_input`'s decision, here as in Stage 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auto_router.data.conversation import conversation_input, turns_of
from auto_router.decide.rule import Decision
from auto_router.errors import DataError

AUTO = "auto"
POINTS = ("accuracy", "quality", "balanced", "economy")
ALIASES: dict[str, str | None] = {AUTO: None} | {f"{AUTO}-{point}": point for point in POINTS}
"""Model names that a client may ask for, and the operating point that each stands for (None: the router's own)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be routed."""

    text: str
    images: tuple[Any, ...] = ()
    operating_point: str | None = None


def request_of(body: Any) -> Request:
    """Read a request's JSON, in any form of :func:`as_chat`.

    Raises:
        DataError: there is no conversation in it, or nothing that a user said.
    """
    chat = as_chat(body)
    text, images = conversation_input(turns_of(chat["messages"]))
    return Request(text, images, ALIASES.get(chat["model"]))


def as_chat(body: Any) -> dict[str, Any]:
    """Return ``{"messages", "model"}`` that ask the same as a request's JSON, whatever API it was written for.

    Known are chat completions and Anthropic's messages (``messages``), responses (``input``), and the arguments of
    :meth:`ModelRouter.decide` (``text``, ``images``, ``operating_point``).

    Raises:
        DataError: it is none of these.
    """
    if not isinstance(body, Mapping):
        raise DataError(f"the body must be a JSON object with messages or text, got {type(body).__name__}")
    model, given = str(body.get("model") or AUTO), body.get("input")
    if "messages" in body:
        return {"messages": body["messages"], "model": model}
    if "text" in body:
        return _plain(body)
    if isinstance(given, str):
        return {"messages": [{"role": "user", "content": given}], "model": model}
    if isinstance(given, list):  # calls of functions and their results stand between the messages
        return {"messages": [item for item in given if isinstance(item, Mapping) and "role" in item], "model": model}
    raise DataError("the body has no messages: give a chat request, or text and images")


def decision_plain(decision: Decision, unseen_images: int = 0) -> dict[str, Any]:
    """Return a decision as JSON values, and how many of the request's images could not be looked at."""
    return decision.to_dict() | {"unseen_pictures": unseen_images}


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    text, images, point = body["text"], body.get("images") or (), body.get("operating_point")
    if not isinstance(text, str) or not isinstance(images, Sequence) or isinstance(images, str):
        raise DataError("text must be a string and images a list of base64 strings or data URIs")
    if point is not None and point not in POINTS:
        raise DataError(f"operating_point must be one of {', '.join(POINTS)}, got {str(point)[:40]!r}")
    parts = [{"type": "text", "text": text}, *({"type": "image", "image": image} for image in images)]
    return {"messages": [{"role": "user", "content": parts}], "model": f"{AUTO}-{point}" if point else AUTO}
