"""When another model is asked after one has failed: the one rule, for the proxy's hook and for the client in the process.

A client's own mistake is the same mistake everywhere: it is not sent to every vendor. Another model may answer after 408, 409,
429, 5xx, a time-out or a broken connection, and where this one cannot take what it was given: too long a context, or an input
or a parameter that it does not support. After 401, 402, 403 and 404, too: a key, a credit, a permission or a model that a
vendor does not know are the router's own, not the client's.

Some mistakes are told before any model is asked: a request of no known form, and one that names its own provider. LiteLLM takes
such forms for a broken connection, which is a 500 and sends the request to every model of the ranking.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

TRANSIENT = (408, 409, 429)
OWN_FAULTS = (401, 402, 403, 404)
TOO_LARGE = 413
REFUSED = (400, TOO_LARGE, 422)
_CODES = ("context_length_exceeded", "unsupported_parameter", "unsupported_value", "model_not_supported")
_CANNOT = re.compile(
    r"context[ _-](?:length|window|size)|maximum (?:context|prompt|input) length|too many (?:input )?tokens"
    r"|(?:prompt|input|request) (?:is )?too (?:long|large)|exceeds? the (?:available|model'?s?) (?:maximum|context|limit)"
    r"|(?:not|n't) (?:currently )?support|unsupported|not supported|only supported|not (?:a )?multi-?modal|not a vision model"
    r"|(?:text|image|audio|file)s? input (?:is|are) not (?:enabled|available)|at most 0 (?:image|audio|video)",
    re.IGNORECASE,
)
_OBJECTS = ("response_format", "web_search_options", "extra_headers", "headers", "stream_options")
_LISTS = ("tools", "functions")
_PROVIDER = re.compile(r"api_key|api_base|base_url|custom_llm_provider|litellm_credential_name|(?:aws|vertex|azure_ad)_\w+")
"""What says who is asked, and with which key."""
_KEYS = ("authorization", "api-key", "x-api-key", "x-goog-api-key")

# What is said of a message of no known form and of NaN as a number: LiteLLM gives it the status of a broken connection.
_MALFORMED = re.compile(r"Invalid \w+ message at index \d+|float values are not JSON compliant", re.IGNORECASE)
MAX_READ = 4000  # characters of an error that are looked at


def another_may_answer(error: BaseException) -> bool:
    """Tell whether the next model of a ranking is to be asked after ``error`` of openai's, LiteLLM's or a transport's."""
    status = error_status(error)
    if is_malformed(error):
        return False
    if status is None or status in (*TRANSIENT, *OWN_FAULTS) or status >= 500 or status == TOO_LARGE:
        return True
    if status not in REFUSED:
        return False
    if type(error).__name__ in ("ContextWindowExceededError", "UnsupportedParamsError"):
        return True
    said = str(error)[:MAX_READ]
    return getattr(error, "code", None) in _CODES or any(code in said for code in _CODES) or bool(_CANNOT.search(said))


def error_status(error: BaseException) -> int | None:
    """Return the HTTP status of an error; None for one of the connection. A stream's error has its status in ``code``."""
    status = getattr(error, "status_code", None)
    if status is not None:
        return int(status)
    code = str(getattr(error, "code", None) or "")
    if code.isdecimal() and len(code) == 3:
        return int(code)
    return 400 if getattr(error, "type", None) == "invalid_request_error" else None


def form_error(body: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a request for a model that is to be chosen; None where nothing is seen."""
    return _provider_error(body) or shape_error(body)


def _provider_error(body: Mapping[str, Any]) -> str | None:
    named = sorted(name for name, value in body.items() if value is not None and _PROVIDER.fullmatch(name))
    for place in ("extra_headers", "headers"):
        given = body.get(place)
        named += [f"{place}.{name}" for name in given if str(name).lower() in _KEYS] if isinstance(given, Mapping) else []
    if not named:
        return None
    return f"{', '.join(named)} cannot be given: which provider is asked is chosen here, and the key for it is this server's"


def shape_error(body: Mapping[str, Any]) -> str | None:
    """Return which field of a request has a form that no model takes; None where nothing is seen."""
    timeout = body.get("timeout")
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and 0 < timeout < math.inf):
        return "timeout must be a number of seconds above 0"
    for name in _OBJECTS:
        if body.get(name) is not None and not isinstance(body[name], Mapping):
            return f"{name} must be an object, got {_kind(body[name])}"
    for name in _LISTS:
        given = body.get(name)
        if given is not None and not (isinstance(given, list) and all(isinstance(one, Mapping) for one in given)):
            return f"{name} must be a list of objects, got {_kind(given)}"
    for place, tool in enumerate(body.get("tools") or ()):
        told = isinstance(tool.get("function"), Mapping) or isinstance(tool.get("name"), str)
        if tool.get("type") == "function" and not told:
            return f"tools[{place}].function must be an object"
    allowed = body.get("allowed_openai_params")
    if allowed is not None and not (isinstance(allowed, list) and all(isinstance(name, str) for name in allowed)):
        return f"allowed_openai_params must be a list of names, got {_kind(allowed)}"
    return _messages_error(body)


def _messages_error(body: Mapping[str, Any]) -> str | None:
    name = "messages" if "messages" in body else "input"
    given = body.get(name)
    if given is None or (name == "input" and isinstance(given, str)):
        return None
    if not isinstance(given, list):
        return f"{name} must be a list, got {_kind(given)}"
    for place, message in enumerate(given):
        if not isinstance(message, Mapping):
            return f"{name}[{place}] must be an object, got {_kind(message)}"
        content, calls = message.get("content"), message.get("tool_calls")
        parts = content if isinstance(content, list) else []
        taken = (str, list) if name == "input" else (str, list, Mapping)
        if content is not None and not isinstance(content, taken):
            return f"{name}[{place}].content must be a string or a list, got {_kind(content)}"
        if not all(isinstance(part, str | Mapping) for part in parts):
            return f"{name}[{place}].content must be a list of objects"
        if calls is not None and not (isinstance(calls, list) and all(isinstance(call, Mapping) for call in calls)):
            return f"{name}[{place}].tool_calls must be a list of objects"
    return None


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def is_malformed(error: BaseException) -> bool:
    """Tell whether an error says that the request has a form that nobody takes."""
    return bool(_MALFORMED.search(str(error)[:MAX_READ]))
