"""What of a conversation is its prompt: one rule, for those who collect labels and for those who serve decisions.

The *request* is the last user turn in which a person asks something: results of tools, and what a harness puts beside them, ask
nothing (:mod:`auto_router.data.harness`). So in a tool loop the prompt stays that of the request that began it. Its words are
the prompt, and features of the prompt are taken from them alone. A follow-up such as "and in French?" says nothing by itself:
the turns that lead to it (at most ``CONTEXT_TURNS``, the request behind them, each under its speaker's name) are its *context*,
which is embedded beside it and counts less (:func:`context_weight`), the less the more the request says itself.

System, developer and tool messages are left out: an operator writes the same one before every prompt, so it tells nothing about
which model will answer this one. Images belong to the prompt wherever in the conversation they stand, in results of tools too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from auto_router.data.harness import material_text, person_text
from auto_router.errors import DataError

CONTEXT_WEIGHT, CONTEXT_WEIGHT_ALONE = 0.15, 0.6
"""Share of a row's text half that is the context's: beside a request of ``FULL_WORDS`` or more, and beside one of no words.
Questions of llmrouter14 after two others keep their model in 93 % at the first, 90 % at twice that."""
FULL_WORDS = 8
CONTEXT_TURNS = 4
CONTEXT_CHARACTERS = 400
"""Characters of each turn of a context that are looked at: half from its beginning, half from its end."""
MAX_PART_DEPTH = 8  # tool results in tool results

_SPEAKERS = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "ai": "assistant",
             "chatbot": "assistant", "developer": "system", "function": "tool"}  # fmt: skip
_ROLES = (*_SPEAKERS, "user", "assistant", "system", "tool")
_TOLD = ("user", "assistant")
_IMAGES = ("image", "image_url", "input_image", "computer_screenshot", "output_image", "image_file")
_IMAGE_FIELDS = ("image_url", "image", "source", "url", "data", "base64", "bytes", "image_file", "path")
_NO_IMAGES, _HEAD = ("data:application/pdf", "data:audio/", "data:video/"), 40  # some gateways take these as image_url
_AUDIO = ("input_audio", "audio", "audio_url", "output_audio")
_VIDEO = ("video", "video_url", "input_video")
_FILES = ("file", "input_file", "document", "document_url", "media", "inline_data", "resource", "text_plain")
_FILE_FIELDS = ("file", "source", "inline_data", "file_data", "resource")
_DATA_FIELDS = ("file_data", "data", "base64", "blob", "bytes", "url", "file_uri", "document_url")
_SIGNED = ("encrypted_content", "signature", "thought_signature", "redactedContent")
_CALLS = ("function_call", "custom_tool_call", "tool_use", "tool_call")
"""Of several of these at once, a model must be able."""
_SNAKE = {"inlineData": "inline_data", "fileData": "file_data", "mimeType": "mime_type", "mediaType": "media_type",
          "thoughtSignature": "thought_signature", "fileUri": "file_uri", "toolUse": "tool_use", "toolResult": "tool_result",
          "functionCall": "function_call", "functionResponse": "function_response", "contentType": "media_type"}  # fmt: skip
_NAMED_PARTS = {"tool_use": "tool_use", "tool_result": "tool_result", "function_call": "function_call",
                "function_response": "function_call_output", "document": "document", "video": "video",
                "reasoningContent": "thinking", "reasoningText": "thinking"}  # fmt: skip
"""Parts of APIs that name a part's kind by the field it stands in: Gemini's and Bedrock's."""
_TEXT_FILES = re.compile(
    r"text/|application/(?:json|xml|yaml|toml)"
    r"|\.(?:txt|md|rst|csv|tsv|jsonl?|ya?ml|toml|xml|html?|css|sql|log|tex|sh|py|ipynb|jsx?|tsx?|java|c|h|cc|cpp|cs|go|rs|rb)"
    r"(?= |\Z)"
)


@dataclass(frozen=True)
class Turn:
    """One message: ``user``, ``assistant``, ``system``, ``tool`` or another role, its text, and the images inside it."""

    role: str
    text: str
    images: tuple[Any, ...] = ()
    """As they came, those in results of tools included."""
    needs: frozenset[str] = frozenset()
    """Capabilities that a model must have to read it, of :data:`auto_router.data.pool.CAPABILITIES`."""
    unseen_images: int = 0
    """Images that are named by an id only the provider knows."""
    other_text: str = ""
    """What a model reads of it beside ``text``: calls of tools and their results."""
    document_bytes: int = 0
    is_signed: bool = False
    """It holds what only the model that made it can read: encrypted reasoning, or a signature of thinking."""

    @cached_property  # it is asked for at several places, and takes time in proportion to the text
    def request(self) -> str:
        """What a person asks in it; empty where nobody does."""
        return person_text(self.text) if self.role == "user" else ""

    @property
    def is_document(self) -> bool:
        """Did the user send text as a file, or beside results of no tool?"""
        return self.role == "user" and bool(self.other_text.strip()) and "tools" not in self.needs


class ConversationInput(NamedTuple):
    """What is embedded of a conversation."""

    prompt: str
    """The request; empty where the user sent nothing but images."""
    images: tuple[Any, ...]
    context: str = ""
    """The turns that lead to the request, the request behind them; empty where none do."""


def turns_of(messages: Any) -> list[Turn]:
    """Read messages of chat completions, Anthropic's messages, or items of responses; also ``{"from", "value"}``.

    Raises:
        DataError: this is no list of messages.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        found = (
            f"an empty {type(messages).__name__}"
            if isinstance(messages, Sequence) and not messages
            else type(messages).__name__
        )
        raise DataError(f"a conversation must be a non-empty list of messages, got {found}")
    plain = [_plain(message) for message in messages]
    turns = [_turn(message) for message in plain]
    kinds = ["" if turn.role != "assistant" else str(message.get("type")) for turn, message in zip(turns, plain, strict=True)]
    for place, pair in enumerate(pairwise(kinds), 1):
        if set(pair) <= set(_CALLS):  # items of responses: the second call came before the first one's result
            turns[place] = replace(turns[place], needs=turns[place].needs | {"parallel_tools"})
    return turns


def conversation_input(turns: Sequence[Turn]) -> ConversationInput:
    """Return what is embedded of a conversation, for labels and for decisions alike.

    Raises:
        DataError: the user said nothing and sent no image.
    """
    images = tuple(image for turn in turns for image in turn.images)
    last = request_place(turns)
    if last is None:
        if images or any(turn.unseen_images for turn in turns):
            return ConversationInput("", images)
        raise DataError("the conversation has no user message with text")
    parts = _parts(turns, last)
    context = "\n\n".join(f"{role.capitalize()}: {shorten_turn(text)}" for role, text in parts) if len(parts) > 1 else ""
    return ConversationInput(parts[-1][1], images, context)


def read_prompt(text: str) -> ConversationInput:
    """Return what is embedded of a prompt that is asked alone: what an application put beside it is its context."""
    return conversation_input([Turn("user", text)]) if "<" in text and text.strip() else ConversationInput(text, ())


def conversation_text(turns: Sequence[Turn]) -> str:
    """Return the request and the turns that lead to it at their full length, as a judge or a template reads them."""
    last = request_place(turns)
    parts = [] if last is None else _parts(turns, last)
    if len(parts) == 1:
        return parts[0][1]
    return "\n\n".join(f"{role.capitalize()}: {text.strip()}" for role, text in parts)


def _parts(turns: Sequence[Turn], last: int) -> list[tuple[str, str]]:
    """Return who said what: the turns that lead to the request, and the request at place ``last`` behind them."""
    first = next((place for place, turn in enumerate(turns) if turn.request.strip()), last)
    if any(turn.role == "user" for turn in turns[:first]):  # models answered a program
        turns, last = turns[first:], last - first
    before = [turn for turn in turns[:last] if turn.role in _TOLD and _words_of(turn).strip()][-CONTEXT_TURNS:]
    request = turns[last].request
    material = material_text(turns[last].text) if request.strip() else ""
    parts = [*((turn.role, _words_of(turn)) for turn in before), *([("user", material)] if material else [])]
    return [*parts, ("user", request or turns[last].text)]


def request_place(turns: Sequence[Turn]) -> int | None:
    """Return the place of the last user turn in which a person asks something; None where there is no user turn with text.

    Where no turn is a person's, the last user turn with any text counts.
    """
    spoken = [i for i, turn in enumerate(turns) if turn.role == "user" and turn.text.strip()]
    return next((i for i in reversed(spoken) if turns[i].request.strip()), spoken[-1] if spoken else None)


def count_words(text: str) -> int:
    """Return about how many words a text has, those of scripts that put no spaces between them included."""
    return max(len(text.split()), sum(character > "\u2e80" for character in text[:1000]) // 2)


def context_weight(request: str) -> float:
    """Return the share of a row's text half that belongs to the context of a request, 0…1."""
    missing = max(0.0, 1.0 - count_words(request) / FULL_WORDS)
    return CONTEXT_WEIGHT + (CONTEXT_WEIGHT_ALONE - CONTEXT_WEIGHT) * missing


def shorten_turn(text: str) -> str:
    """Return a text with its middle left out where it is longer than ``CONTEXT_CHARACTERS``."""
    text = text.strip()
    half = CONTEXT_CHARACTERS // 2
    return text if len(text) <= CONTEXT_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def plain_json(value: Any) -> str:
    """Return what a model reads of a value that is sent as JSON, for counting; empty where it is nested too deeply."""
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def _words_of(turn: Turn) -> str:
    return turn.request if turn.role == "user" else turn.text


@dataclass(slots=True)
class _Content:
    """What was found in a message so far."""

    texts: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    needs: set[str] = field(default_factory=set)
    unseen: int = 0
    document_bytes: int = 0
    signed: bool = False
    calls: int = 0

    def read(self, content: Any, in_tool: bool, depth: int = 0) -> None:
        """Take in text, a part, or a list of parts, whatever is nested in them."""
        content = _plain(content)
        if content is None or depth > MAX_PART_DEPTH:
            return
        if isinstance(content, str):
            (self.others if in_tool else self.texts).append(content)
        elif isinstance(content, Mapping):
            self._read_part(content, in_tool, depth)
        elif isinstance(content, Sequence):
            for part in content:
                self.read(part, in_tool, depth + 1)
        elif in_tool:
            self.others.append(str(content))

    def _read_part(self, part: Mapping[str, Any], in_tool: bool, depth: int) -> None:
        part = {_SNAKE.get(name, name): value for name, value in part.items()}
        if "type" not in part:
            for name in _NAMED_PARTS:
                if isinstance(part.get(name), Mapping):
                    part = {**part, **part[name], "type": _NAMED_PARTS[name]}
        kind = part["type"] = str(part.get("type") or "").replace("-", "_")
        in_tool |= kind == "thinking"
        text = part["text"].get("value") if isinstance(part.get("text"), Mapping) else part.get("text")
        self.signed |= kind == "reasoning" and bool(part.get("id")) and not part.get("content")  # the provider keeps its words
        self.signed |= any(isinstance(part.get(name), str) and part[name] for name in _SIGNED)
        self.signed |= kind in ("redacted_thinking", "item_reference") or "encrypted" in kind
        if kind.endswith(("tool_result", "_output", "tool_response")) and kind != "output":
            self.needs.add("tools")
            self.read(next((part[name] for name in ("content", "output", "response") if name in part), None), True, depth + 1)
            self.read(part.get("parts"), True, depth + 1)
        elif kind.endswith(("tool_use", "_call", "tool_call")) or kind.startswith("mcp_") or "toolCallId" in part:
            self.read_call(part)
        elif kind in _IMAGES or (not kind and ("image_url" in part or "image" in part)):
            self.read_image(part)
        elif kind in _AUDIO:
            self.needs.add("audio")
        elif kind in _VIDEO:
            self.needs.add("video")
        elif kind in _FILES or (not kind and {"inline_data", "file_data", "file_id"} & set(part)):
            self._read_file(part, in_tool, depth)
        elif isinstance(text, str):
            (self.others if in_tool else self.texts).append(text)
        else:  # thinking, summaries, and what is not known: looked into, and no words of a person
            for name in ("content", "thinking", "summary", "parts", "value", "stdout", "stderr", "logs"):
                self.read(part.get(name), True, depth + 1)

    def read_call(self, call: Mapping[str, Any]) -> None:
        """Take in a call of a tool; an image that it made itself is one of the conversation."""
        self.calls += call.get("type") in (*_CALLS, "function", None)
        self.needs |= {"tools", "parallel_tools"} if self.calls > 1 else {"tools"}
        told = plain_json({name: call[name] for name in call if name not in ("result", "outputs")})
        self.read(call.get("outputs"), True, 1)
        self.signed |= '"thought_signature' in told
        self.others.append(told)
        if call.get("type") == "image_generation_call":
            made = call.get("result")
            self.images += [made] if isinstance(made, str) and made else []
            self.signed |= not made  # the provider keeps it under its id

    def read_image(self, part: Mapping[str, Any]) -> None:
        """Take in the image that a part names, in whichever field; a document that is sent as one is a file."""
        value: Any = part
        for _ in range(MAX_PART_DEPTH):
            if isinstance(value, Mapping):
                value = next((value[name] for name in _IMAGE_FIELDS if value.get(name)), None)
        if isinstance(value, str) and value[:_HEAD].strip().lower().startswith(_NO_IMAGES):
            self._read_file({"data": value}, True, 0)
        else:
            self.add_image(value)

    def add_image(self, image: Any) -> None:
        """Take in an image, one that cannot be looked at here included."""
        self.needs.add("image")
        if image:
            self.images.append(image)
        else:
            self.unseen += 1

    def _read_file(self, part: Mapping[str, Any], in_tool: bool, depth: int) -> None:
        inside = next((part[key] for key in _FILE_FIELDS if isinstance(part.get(key), Mapping)), part)
        inside = {_SNAKE.get(name, name): value for name, value in inside.items()}
        data = next((found for name in _DATA_FIELDS if isinstance(found := inside.get(name), str)), "")
        kind = _media_kind(inside, part, data)
        for name in ("content", "text"):
            if isinstance(inside.get(name), list | str):  # a document made of parts, or a resource of text
                return self.read(inside[name], True, depth + 1)
        if kind == "text":
            return self.read(data if inside.get("type") == "text" else _decode_text(data), True, depth + 1)
        self.needs.add(kind)
        if kind == "image":
            self.add_image(data)
        elif kind == "pdf":
            self.document_bytes += max(len(data) * 3 // 4, 1)


def _plain(value: Any) -> Any:
    """Return an object of an SDK, as people append replies to their messages, as the mapping that it stands for."""
    dump = None if isinstance(value, str | Mapping | Sequence) else getattr(value, "model_dump", None)
    return dump() if callable(dump) else value


def _decode_text(data: str) -> str:
    """Return the text of a file that is sent in base64; as it came where it is none."""
    try:
        return base64.b64decode(data[data.find(",") + 1 :]).decode("utf-8", "replace")
    except ValueError:
        return data


def _media_kind(inside: Mapping[str, Any], part: Mapping[str, Any], data: str) -> str:
    """Return ``image``, ``audio``, ``video``, ``text``, or ``pdf``, which stands for any other document."""
    told = ("media_type", "mime_type", "format", "filename", "file_url", "file_id", "title")
    names = [inside.get(key) or part.get(key) for key in told]
    said = " ".join(str(name).lower() for name in names if name) + " " + data[:40].lower()
    if inside.get("type") == "text" or _TEXT_FILES.search(said):
        return "text"
    for kind, marks in (
        ("image", ("image/", ".png", ".jpg", ".jpeg", ".gif", ".webp")),
        ("audio", ("audio/", ".wav", ".mp3", ".flac", ".ogg", ".m4a")),
        ("video", ("video/", ".mp4", ".mov", ".webm", ".mkv")),
    ):
        if any(mark in said for mark in marks):
            return kind
    return "pdf"


def _list_of(message: Mapping[str, Any], name: str) -> list[Any]:
    return found if isinstance(found := message.get(name), list) else []


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping):
        raise DataError(f"a message must be an object with role and content, got {type(message).__name__}")
    stored = message.get("data", message.get("kwargs"))
    if isinstance(stored, Mapping) and "content" in stored and "content" not in message:  # as LangChain stores messages
        message = {**message, **stored}
    kind = str(message.get("type") or "")
    role = str(message.get("role") or message.get("from") or (kind if kind in _ROLES else "")).lower()
    role = _SPEAKERS.get(role, role)
    found = _Content()
    if not role:
        if not kind:
            raise DataError("a message has no role; known are user, assistant, system, developer and tool")
        role = "tool" if kind.endswith("_output") else "assistant"
        found.read(message, True)
    else:
        content = next((message[name] for name in ("content", "value", "parts") if name in message), None)
        if content is not None and not isinstance(content, str | Sequence | Mapping):
            raise DataError(f"the content of a message must be text or a list of parts, got {type(content).__name__}")
        found.read(content, False)
    if role == "tool":
        found.needs.add("tools")
    for call in _list_of(message, "tool_calls"):
        found.read_call(call if isinstance(call := _plain(call), Mapping) else {"call": call})
    for image in [*_list_of(message, "images"), *filter(None, [message.get("image")])] if role else []:
        found.read_image({"image": image})
    for file in _list_of(message, "experimental_attachments"):
        found.read({"filename": file.get("name"), **file, "type": "file"} if isinstance(file, Mapping) else None, False)
    if role == "assistant" and isinstance(message.get("audio"), Mapping):
        found.needs.add("audio")
    if message.get("provider_specific_fields"):
        found.signed |= '"thought_signature' in plain_json(message["provider_specific_fields"])
    if isinstance(message.get("function_call"), Mapping):
        found.read_call(message["function_call"])
    for name in ("thinking_blocks", "reasoning_details", "reasoning_content", "reasoning"):
        found.read(message.get(name) if role == "assistant" and kind != "reasoning" else None, True)
    return Turn(
        role, "\n".join(found.texts), tuple(found.images), frozenset(found.needs), found.unseen, "\n".join(found.others),
        found.document_bytes, found.signed,
    )  # fmt: skip
