"""A request as an application sends it, read for routing: chat completions, Anthropic's messages, responses, or plain text.

    from auto_router.data.request import read_request
    request = read_request({"messages": [...], "tools": [...]})
    router.decide(request=request)

What is embedded is :func:`auto_router.data.conversation.conversation_input`'s decision, here as in Stage 1. Beside it stand
what a model needs to answer the request at all, how many tokens it is about, and which session it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from auto_router.data.conversation import Turn, conversation_input, plain_json, read_prompt, request_place, turns_of
from auto_router.data.images import ImageLike, image_size, names_image
from auto_router.data.session_id import session_of
from auto_router.data.tokens import EXPECTED_OUTPUT, estimate_document_tokens, estimate_image_tokens, estimate_tokens
from auto_router.errors import ConfigError, DataError

AUTO = "auto"
POINTS = ("accuracy", "quality", "balanced", "economy", "latency")
ALIASES: dict[str, str | None] = {AUTO: None} | {f"{AUTO}-{point}": point for point in POINTS}
"""Model names that a client may ask for, and the operating point that each stands for (None: the router's own)."""
PLAIN_FIELDS = (
    "text", "images", "operating_point", "models", "model_thresholds", "session", "session_id", "metadata", "model",
)  # fmt: skip
"""What a request may say that is no conversation."""

MAX_TOKENS = 10**9  # no model has more room
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_OFF = (None, False, 0, "none", "disabled")
MAX_FINGERPRINTS = 5
MESSAGE_TOKENS = 4.0  # what marks a message's beginning and end


@dataclass(frozen=True)
class Request:
    """What is to be routed."""

    text: str
    images: tuple[Any, ...] = ()
    operating_point: str | None = None
    context: str = ""
    """The turns that lead to ``text``; empty where none do."""
    needs: frozenset[str] = frozenset()
    """Capabilities that a model must have, of :data:`auto_router.data.pool.CAPABILITIES`."""
    unseen_images: int = 0
    """Images that cannot be looked at here: the provider alone knows their ids."""
    session: str | None = field(default=None, compare=False)
    """What the client says the conversation is called."""
    previous_response: str | None = field(default=None, compare=False)
    """The response that this one continues: only the model that made it can."""
    keeps_maker: bool = field(default=False, compare=False)
    """It holds encrypted reasoning or signatures that only the model which made them can read."""
    fingerprints: tuple[str, ...] = field(default=(), compare=False)
    """What tells the conversation where nobody names it: a digest of its turns so far, then of what it was up to earlier
    turns of the user or of tools, the latest first."""
    text_tokens: float | None = field(default=None, compare=False)
    """Tokens of everything but images, the expected answer included; None: those of ``text``."""
    history_tokens: float = field(default=0.0, compare=False)
    """Tokens of what users, models and tools said beside the request itself."""
    models: tuple[str, ...] | None = field(default=None, compare=False)
    """The only models that may answer; None: any."""
    thresholds: tuple[tuple[str, float], ...] | None = None
    """Each model's, for this request instead of the router's; None: the router's."""

    @cached_property
    def tokens(self) -> float:
        """About how many tokens the request and its answer have, without images."""
        if self.text_tokens is not None:
            return self.text_tokens
        return estimate_tokens(self.text) + estimate_tokens(self.context) + EXPECTED_OUTPUT

    @cached_property
    def image_sizes(self) -> tuple[tuple[int, int] | None, ...]:
        """Width and height of each image, those that cannot be seen included; None where unknown."""
        return (*map(image_size, self.images), *[None] * self.unseen_images)

    def image_tokens(self, rule: str) -> float:
        """Return about how many tokens the images take, by a provider's rule."""
        return sum(estimate_image_tokens(size, rule) for size in self.image_sizes)

    @cached_property
    def digest(self) -> str:
        """What tells the request from others: the same in every step of a tool loop."""
        return _digest([self.text, *(image for image in self.images if isinstance(image, str))])

    @property
    def urls(self) -> tuple[str, ...]:
        """The images that are only named by their URL."""
        return tuple(filter(is_url, self.images))

    def without(self, images: Collection[Any]) -> Request:
        """Return the request with these images counted as unseen."""
        if not images:
            return self
        left = tuple(image for image in self.images if not any(image is other for other in images))
        return replace(self, images=left, unseen_images=self.unseen_images + len(self.images) - len(left))

    @property
    def demands(self) -> frozenset[str]:
        """``needs``, and ``image`` where there is one."""
        return self.needs | {"image"} if self.images or self.unseen_images else self.needs


def read_request(body: Any, headers: Mapping[str, str] | None = None) -> Request:
    """Read a request's JSON, whatever API it was written for.

    Known are chat completions and Anthropic's messages (``messages``), responses (``input``), Gemini's ``contents``, the
    ``prompt`` of plain completions, and ``text`` with ``images``,
    ``operating_point``, ``models``, ``model_thresholds`` and ``session``. A model name of :data:`ALIASES` names an operating
    point. What is unknown beside a conversation is passed over.

    Args:
        body: of the request.
        headers: of the request; one of them may name its session, see :func:`session_of`.

    Raises:
        DataError: there is no conversation in it, or nothing that a user said; ``text`` beside a field that is unknown.
    """
    if not isinstance(body, Mapping):
        raise DataError(f"the body must be a JSON object with messages or text, got {type(body).__name__}")
    if isinstance(body.get("extra_body"), Mapping):
        body = {**body, **body["extra_body"]}  # as SDKs send it
    session = session_of(body, headers)
    if "text" in body and "messages" not in body and not isinstance(body["text"], Mapping):
        return _plain(body, session)
    previous = body.get("previous_response_id")
    # It goes on with what its provider keeps: a conversation of the responses API, or a container of files.
    kept = bool(("messages" not in body and body.get("conversation")) or body.get("container"))
    turns = turns_of(messages_of(body))
    values = _inside(body, "prompt", "variables")
    if isinstance(values, Mapping) and values:  # what is put into a prompt that the provider keeps is the operator's
        turns = [*turns_of([{"role": "system", "content": list(values.values())}]), *turns]
    try:
        prompt, images, context = conversation_input(turns)
    except DataError:
        is_file = any(turn.role == "user" and (turn.needs & {"pdf", "audio", "video"} or turn.is_document) for turn in turns)
        if not isinstance(previous, str) and not kept and not is_file:
            raise
        prompt, images, context = "", (), ""  # a recording, or results of tools whose request is the provider's to know
    sizes, asked = [_turn_tokens(turn) for turn in turns], request_place(turns)
    request = Request(
        prompt, images, ALIASES.get(str(body.get("model") or AUTO)), context, _needs(body, turns),
        sum(turn.unseen_images for turn in turns), session, previous if isinstance(previous, str) else None,
        kept or any(turn.is_signed for turn in turns), _fingerprints(body, turns), sum(sizes) + _other_tokens(body),
        sum(size for place, size in enumerate(sizes) if place != asked and turns[place].role != "system"),
    )  # fmt: skip
    return request.without([image for image in images if isinstance(image, str) and not names_image(image)])


def text_request(text: Any, images: Any = (), **more: Any) -> Request:
    """Return the request of a prompt that is asked alone; what is no text is left for the check to name."""
    prompt, _, context = read_prompt(text) if isinstance(text, str) else (text, (), "")
    tokens = None if prompt is text else estimate_tokens(text) + EXPECTED_OUTPUT
    return Request(prompt, images, context=context, text_tokens=tokens, **more)


def is_url(image: Any) -> bool:
    """Is an image one at a URL, which nothing fetches unasked?"""
    return isinstance(image, str) and image[:20].lstrip().lower().startswith(("http://", "https://"))


def messages_of(body: Mapping[str, Any]) -> Any:
    """Return the messages, or items, of a request. Raises DataError where it has none."""
    if "messages" in body:
        return body["messages"]
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, list):
        return given
    given = body.get("contents") or body.get("prompt")  # Gemini's API, and plain completions
    if isinstance(given, list) and len(given) > 1 and not any(isinstance(part, Mapping) for part in given):
        raise DataError(f"prompt holds {len(given)} parts, a batch or tokens; send one text a request")
    if isinstance(given, str | list | Mapping):
        whole = given if isinstance(given, list) else [given]
        said = [{"content": part} if isinstance(part, str) else part for part in whole]
        return [{"role": "user", **part} if isinstance(part, Mapping) else part for part in said]
    raise DataError("the body has no messages: give a chat request, or text and images")


def _plain(body: Mapping[str, Any], session: str | None) -> Request:
    unknown = sorted(set(body) - set(PLAIN_FIELDS))
    if unknown:
        raise DataError(f"beside text, {', '.join(map(str, unknown))[:200]} is unknown; allowed are {', '.join(PLAIN_FIELDS)}")
    text, images = body["text"], body.get("images") or ()
    if not isinstance(text, str) or not isinstance(images, Sequence) or isinstance(images, str):
        raise DataError("text must be a string and images a list of base64 strings or data URIs")
    if not text.strip() and not images:
        raise DataError("text is empty and there are no images: there is nothing to decide")
    point = ALIASES.get(str(body.get("model") or AUTO))
    return read_choice(text_request(text, tuple(images), operating_point=point, session=session), body)


def read_choice(request: Request, body: Mapping[str, Any]) -> Request:
    """Return ``request`` with what a body of the router's own routes says of the choice itself.

    These are ``operating_point``, ``models``, ``model_thresholds`` and ``session``; no model's API has them.

    Raises:
        DataError: one of them is none.
    """
    point, models, given = (body.get(name) for name in ("operating_point", "models", "model_thresholds"))
    if point is not None and point not in POINTS:
        raise DataError(f"operating_point must be one of {', '.join(POINTS)}, got {str(point)[:40]!r}")
    if models is not None and not (isinstance(models, list) and models and all(isinstance(name, str) for name in models)):
        raise DataError(f"models must be a list of model names, got {str(models)[:80]!r}")
    numbers = list(given.values()) if isinstance(given, Mapping) else [None]
    if given is not None and not all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 for value in numbers
    ):
        raise DataError(f"model_thresholds must be {{model: 0 to 1}}, got {str(given)[:80]!r}")
    named = body.get("session")
    if named is not None and not isinstance(named, str):
        raise DataError(f"session must be a string, got {type(named).__name__}")
    return replace(
        request, operating_point=point or request.operating_point, session=named or request.session,
        models=request.models if models is None else tuple(models),
        thresholds=request.thresholds if given is None else tuple((str(name), float(value)) for name, value in given.items()),
    )  # fmt: skip


def _needs(body: Mapping[str, Any], turns: Sequence[Turn]) -> frozenset[str]:
    needs = {need for turn in turns for need in turn.needs}
    tools = [*(body.get(name) for name in ("tools", "functions", "mcp_servers")), _inside(body, "toolConfig", "tools")]
    needs |= {"tools"} if any(tools) or isinstance(body.get("web_search_options"), Mapping) else set()
    needs |= {"parallel_tools"} if body.get("parallel_tool_calls") is True and "tools" in needs else set()
    formats = [body.get("response_format"), body.get("output_format"), _inside(body, "text"), _inside(body, "output_config")]
    for given in formats:
        if isinstance(given, Mapping) and (given.get("type") == "json_schema" or given.get("schema") or given.get("value")):
            needs.add("json_schema")
    settings = _settings(body)
    schemas = [body.get("guided_json"), _inside(body, "structured_outputs", "json")]
    schemas += [isinstance(body.get("format"), Mapping), *map(settings.get, ("responseSchema", "responseJsonSchema"))]
    if any(schemas) or hasattr(body.get("response_format"), "model_json_schema"):  # a class, as SDKs take it
        needs.add("json_schema")
    asked = [body.get("reasoning_effort"), body.get("enable_thinking"),
             *(_inside(settings, "thinkingConfig", name) for name in ("thinkingBudget", "thinkingLevel"))]  # fmt: skip
    for place, names in (("reasoning", ("effort", "enabled", "max_tokens")), ("thinking", ("type",)),
                         ("chat_template_kwargs", ("enable_thinking", "thinking"))):  # fmt: skip
        given = body.get(place)
        asked += [given.get(name) for name in names] if isinstance(given, Mapping) else []
    if any(value not in _OFF for value in asked):
        needs.add("reasoning")
    for wanted in (body.get("modalities"), settings.get("responseModalities")):
        if isinstance(wanted, list) and "audio" in map(str.lower, map(str, wanted)):
            needs.add("audio")
    return frozenset(needs)


def _inside(body: Mapping[str, Any], place: str, name: str = "format") -> Any:
    value = body.get(place)
    return value.get(name) if isinstance(value, Mapping) else None


def _settings(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what Gemini's API puts beside the contents."""
    found = body.get("generationConfig") or body.get("generation_config")
    return found if isinstance(found, Mapping) else {}


def _turn_tokens(turn: Turn) -> float:
    documents = estimate_document_tokens(turn.document_bytes) if turn.document_bytes else 0.0
    return estimate_tokens(turn.text) + estimate_tokens(turn.other_text) + MESSAGE_TOKENS + documents


def _other_tokens(body: Mapping[str, Any]) -> float:
    """Return the tokens of what stands beside the turns, and of the expected answer."""
    total = 0.0
    for name in ("system", "instructions", "tools", "functions", "response_format", "text", "output_format", "output_config",
                 "documents", "prediction", "toolConfig", "systemInstruction", "system_instruction"):  # fmt: skip
        value = body.get(name)
        if value:
            total += estimate_tokens(value if isinstance(value, str) else plain_json(value))
    given = [*map(body.get, _LIMITS), _settings(body).get("maxOutputTokens"), _inside(body, "inferenceConfig", "maxTokens")]
    limits = [limit for limit in given if isinstance(limit, int) and not isinstance(limit, bool)]
    return total + min(MAX_TOKENS, max(0, max(limits, default=EXPECTED_OUTPUT)))  # JSON's whole numbers know no end


def _fingerprints(body: Mapping[str, Any], turns: Sequence[Turn]) -> tuple[str, ...]:
    """Return digests of the conversation up to each turn that a model was asked at, the latest first.

    Whose turns are the same to the letter is in the same conversation; a reply tells it from others that began alike.
    """
    system = [plain_json(body.get(name)) for name in ("system", "instructions") if body.get(name)]
    running, found = _digest(system), []
    for place, turn in enumerate(turns):
        images = (image for image in turn.images if isinstance(image, str))
        running = _digest([running, turn.role, turn.request or turn.text, turn.other_text, *images])
        following = turns[place + 1].role if place + 1 < len(turns) else "assistant"
        if following == "assistant" and turn.role != "assistant":
            found.append(running)
    return tuple(reversed(found[-MAX_FINGERPRINTS:]))


def _digest(parts: Sequence[str]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


Images = Sequence[ImageLike] | None
Names = Collection[str] | None


def make_request(
    text: str | None, images: Images, models: Names, operating_point: str | None, session: str | None,
    request: Request | None, body: Mapping[str, Any],
) -> Request:  # fmt: skip
    """Return what :meth:`ModelRouter.decide` was asked, in one form. It raises what that raises."""
    if isinstance(text, Mapping):  # a field of the responses API
        text, body = None, {**body, "text": text}
    if (text is not None) + (request is not None) + bool(body) > 1:
        raise ConfigError("give one of: text, with images; messages= with what else the request has; or request=")
    if body:
        found = read_request(body)
        request = found.without(found.urls)
    elif request is None:
        request = text_request(text)
    given: dict[str, Any] = {
        "images": None if images is None else images_of(images),
        "models": None if models is None else names_of(models),
        "operating_point": operating_point or None,
        "session": session or None,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(request, **changed) if changed else request


def names_of(models: Collection[str]) -> tuple[str, ...]:
    """Return ``models=`` as a request holds it. Raises ConfigError for one string."""
    if isinstance(models, str):
        raise ConfigError(f"models= takes a list of names, got one string; give [{models!r}]")
    return tuple(models)


def images_of(images: Images) -> Any:
    """Return images as a request holds them; what is no list of them is left for the check to name."""
    if images is None:
        return ()
    return tuple(images) if isinstance(images, Collection) and not isinstance(images, str | bytes) else images
