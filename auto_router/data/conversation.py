"""What of a conversation is its prompt: one rule, for those who collect labels and for those who serve decisions.

The prompt of a conversation with one user turn is that turn's text. With several, it is the last user turn preceded by the
turns that lead to it (at most ``CONTEXT_TURNS``), each under its speaker's name: a follow-up such as "and in French?" says
nothing alone. System, developer and tool messages are left out: an operator writes the same one before every prompt, so it
tells nothing about which model will answer this one. Pictures belong to the prompt wherever in the conversation they stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auto_router.errors import DataError

CONTEXT_TURNS = 4
_SPEAKERS = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "developer": "system"}
_TOLD = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message: ``user``, ``assistant``, ``system`` or ``tool``, its text, and the pictures inside it as they came."""

    role: str
    text: str
    images: tuple[Any, ...] = ()


def turns_of(messages: Any) -> list[Turn]:
    """Read chat messages: ``{"role", "content"}`` with text or parts, or ``{"from", "value"}``.

    Raises:
        DataError: this is no list of messages.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise DataError(f"a conversation must be a non-empty list of messages, got {type(messages).__name__}")
    return [_turn(message) for message in messages]


def conversation_input(turns: Sequence[Turn]) -> tuple[str, tuple[Any, ...]]:
    """Return what is embedded of a conversation, for labels and for decisions alike: its prompt and all of its pictures.

    The prompt is empty where the user sent nothing but pictures.

    Raises:
        DataError: the user said nothing and sent no picture.
    """
    images = tuple(image for turn in turns for image in turn.images)
    wordless = not any(turn.role == "user" and turn.text.strip() for turn in turns)
    return "" if wordless and images else conversation_prompt(turns), images


def conversation_prompt(turns: Sequence[Turn]) -> str:
    """Return the prompt of a conversation that ends with the user's turn (what follows it is not looked at).

    Raises:
        DataError: no user turn says anything.
    """
    last = max((i for i, turn in enumerate(turns) if turn.role == "user" and turn.text.strip()), default=None)
    if last is None:
        raise DataError("the conversation has no user message with text")
    before = [turn for turn in turns[:last] if turn.role in _TOLD and turn.text.strip()][-CONTEXT_TURNS:]
    if not before:
        return turns[last].text
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.text.strip()}" for turn in [*before, turns[last]])


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping):
        raise DataError(f"a message must be an object with role and content, got {type(message).__name__}")
    role = str(message.get("role") or message.get("from") or "").lower()
    role = _SPEAKERS.get(role, role)
    if role not in (*_TOLD, "system", "tool", "function"):
        raise DataError(f"a message has the role {role!r}; known are user, assistant, system, developer and tool")
    content = message.get("content", message.get("value"))
    if content is None or isinstance(content, str):
        return Turn(role, content or "")
    if not isinstance(content, Sequence):
        raise DataError(f"the content of a message must be text or a list of parts, got {type(content).__name__}")
    parts = [part if isinstance(part, Mapping) else {"type": "text", "text": part} for part in content]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return Turn(role, "\n".join(texts), tuple(image for part in parts for image in _images(part)))


def _images(part: Mapping[str, Any]) -> list[Any]:
    """A part without a picture of its own, ``{"type": "image"}``, stands for one of the row's picture column."""
    for name in ("image_url", "image", "source") if part.get("type") == "image" else ("image_url", "image"):
        value = part.get(name)
        if isinstance(value, Mapping):
            value = next((value[key] for key in ("url", "data") if key in value), value)
        if value:
            return [value]
    return []
