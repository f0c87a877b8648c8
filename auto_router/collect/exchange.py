"""One request and what came of it, as a row of the journal: what it is recognised by, and how it is stored and read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auto_router.collect.adaptation import LIMITS
from auto_router.collect.endpoint import digest_images, fingerprint
from auto_router.collect.reply import Response, read_again

PROBE = "probe"
ANSWER_COLUMNS = ["text", "prompt_tokens", "completion_tokens", "finish_reason", "latency_s", "error", "settled"]
ANSWER_COLUMNS += ["cached_tokens", "billed_usd", "body", "discount"]
ROW_COLUMNS = ["key", "address", "role", "request", "question", *ANSWER_COLUMNS, "cost_usd", "lost_usd", "tries"]
_KINDS = {name: str if name in ("text", "finish_reason", "error", "body") else (int, float) for name in ANSWER_COLUMNS}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it; ``key`` is its own where it is known already.

    ``lost_usd``: the most that tries without an answer may have cost.
    """

    request: dict[str, Any]
    answer: Response
    address: str = ""
    role: str = "candidate"
    cost_usd: float | None = None
    lost_usd: float = 0.0
    tries: int = 1
    key: str = ""

    def row(self) -> tuple[Any, ...]:
        """Return the values of ``ROW_COLUMNS``."""
        request = json.dumps(digest_images(self.request))
        return (
            self.key or request_key(self.request),
            self.address,
            self.role,
            request,
            None if self.role == PROBE else unlimited_key(self.request),
            *(_to_stored(getattr(self.answer, name)) for name in ANSWER_COLUMNS),
            self.cost_usd,
            self.lost_usd,
            self.tries,
        )


def request_key(request: dict[str, Any]) -> str:
    """Return what a request is recognised by."""
    return fingerprint(digest_images(request))


def number_sample(request: dict[str, Any], sample: int) -> dict[str, Any]:
    """Return what the sample of that number is recorded under; the first is the request itself."""
    return request | {"sample": sample} if sample else request


def unlimited_key(request: dict[str, Any]) -> str:
    """Return what a request is recognised by, whatever limit its answer has."""
    return request_key({name: value for name, value in request.items() if name not in LIMITS})


def output_limit(request: dict[str, Any]) -> int | None:
    """Return the most tokens that a request lets its answer have; None where it says nothing."""
    return min((request[name] for name in LIMITS if isinstance(request.get(name), int)), default=None)


def _to_stored(value: Any) -> Any:
    """Lone surrogates, which model output can hold, have no UTF-8 form: such a text is kept as bytes."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    return value


def load_request(text: str) -> dict[str, Any]:
    """Return a request as it was stored. Raises ValueError where it is none."""
    request = json.loads(text)
    if not isinstance(request, dict):
        raise ValueError("a request is no object")
    return request


def load_response(row: Sequence[Any]) -> Response:
    """Return what came, from the values of ``ANSWER_COLUMNS``. Raises ValueError where one is none."""
    texts = [value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value for value in row]
    values: dict[str, Any] = dict(zip(ANSWER_COLUMNS, texts, strict=True))
    odd = [name for name, value in values.items() if value is not None and not isinstance(value, _KINDS[name])]
    if odd:
        raise ValueError(f"{odd[0]} holds {str(values[odd[0]])[:40]!r}")
    return read_again(Response(**values | {"settled": bool(values["settled"])}))
