"""When another model is asked after one has failed: the one rule, for the proxy's hook and for the client in the process.

A client's own mistake is the same mistake everywhere: it is not sent to every vendor. Another model may answer after 408, 409,
429, 5xx, a time-out or a broken connection, and where this one cannot take what it was given: too long a context, or an input
or a parameter that it does not support. After 401, 402, 403 and 404, too: a key, a credit, a permission or a model that a
vendor does not know are the router's own, not the client's.
"""

from __future__ import annotations

import re

from auto_router.serve.request_form import MAX_READ, is_malformed

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
