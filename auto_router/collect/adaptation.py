"""What an endpoint does not take, learned from its own words: the request is sent again without it.

Reasoning models refuse ``max_tokens`` and want ``max_completion_tokens``, and take no ``temperature``; older servers know only
``max_tokens``; some refuse a limit that is larger than theirs, and some answer as a stream only. Such a refusal is no answer
and costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auto_router.collect.reply import Problem, read_problem

LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
SAMPLING = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "stream_options")
_ADAPTABLE = (*LIMITS, *SAMPLING)
STREAM = {"stream": True, "stream_options": {"include_usage": True}}  # without the option no tokens are counted

_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden")
_UNSUPPORTED = re.compile(
    r"unsupported|not\s+(?:be\s+)?(?:supported|permitted|allowed|accepted|available|recogni[sz]ed)"
    r"|(?:does|do|is|are|can)(?:n[o']?t| not) (?:support|accept|allow|permit|take|be (?:set|used|specified))"
    r"|unknown|unrecogni[sz]ed|unexpected|extra inputs|extra_forbidden|deprecated|no longer|only (?:the )?default"
    r"|only 1(?:\.0)? |must be (?:1\b|strictly|positive|greater than 0|> ?0)"
    r"|cannot (?:both )?be (?:both )?(?:set|used|specified)",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(
    r"(?:at most|maximum(?: value| allowed| number)?(?: is| of|:)?|up to|<=|≤|less than or equal to|not exceed|between 1 and"
    r"|limit of|\d >=?|\[1, ?) ?[`'\"]?(\d[\d,_]{0,12})",
    re.IGNORECASE,
)
# "Stream must be set to true", "only support stream mode", "streaming is required", "non-streaming calls are not supported".
_STREAM_ONLY = re.compile(
    r"\bstream\b.{0,40}\b(?:true|false|enabled)\b|\bstream(?:ing|ed)?\b.{0,40}\b(?:required|mandatory|only)\b"
    r"|\b(?:must|only|requires?|enable|set|use)\b.{0,40}\bstream(?:ing|ed)?\b"
    r"|\bnon[- ]?stream",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing done to every request: ``name`` goes under another name, gets a smaller value, or is left out; ``stream``
    is what is put in.
    """

    name: str
    renamed: str | None = None
    cap: int | None = None

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.name == "stream":
            return dict(request) | STREAM
        if self.name not in request:
            return dict(request)
        if self.cap is not None:
            return dict(request) | {self.name: min(request[self.name], self.cap)}
        rest = {name: value for name, value in request.items() if name != self.name}
        return rest | ({self.renamed: request[self.name]} if self.renamed else {})

    def __str__(self) -> str:
        if self.cap is not None:
            return f"takes {self.name} up to {self.cap:,} only; asked with that from now on"
        if self.name == "stream":
            return "answers as a stream only; asked for one from now on (stream: true in the pool saves the refusal)"
        instead = f"asked with {self.renamed}" if self.renamed else "asked without it"
        return f"does not take {self.name} as it was sent; {instead} from now on"


class Adaptation:
    """What one endpoint of a run was found not to take."""

    def __init__(self) -> None:
        self._changes: list[Change] = []

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``request`` as the endpoint takes it."""
        for change in self._changes:
            request = change.apply(request)
        return dict(request)

    def learn(self, sent: Mapping[str, Any], body: bytes) -> Change | None:
        """Return what the refusal of ``sent`` teaches; None where it teaches nothing new. Each name is adapted once."""
        problem = read_problem(body)
        change = None if problem is None else find_change(sent, problem)
        if change is None or any(known.name == change.name and known.cap == change.cap for known in self._changes):
            return None
        if change.renamed and any(known.renamed == change.name for known in self._changes):
            return None  # it refuses both names: no third is known
        self._changes.append(change)
        return change


def find_change(sent: Mapping[str, Any], problem: Problem) -> Change | None:
    """Return what would make ``sent`` acceptable by an error's own words; None where they name nothing that can be adapted."""
    text = f"{problem.code} {problem.message}"
    if re.search(r"(?<!than the `)context.{0,3}(?:length|window)", text, re.IGNORECASE):
        return None  # it is this prompt that is too long
    name = _find_name(sent, problem)
    change = None if name is None else _change_parameter(name, sent, problem)
    blamed = problem.param == "stream" or _STREAM_ONLY.search(problem.message) is not None
    return change or (Change("stream") if blamed and not sent.get("stream") else None)


def _change_parameter(name: str, sent: Mapping[str, Any], problem: Problem) -> Change | None:
    text = f"{problem.code} {problem.message}"
    refused = any(code in text for code in _CODES) or _UNSUPPORTED.search(problem.message) is not None
    if name not in LIMITS:
        return Change(name) if refused else None
    if refused or LIMITS[name] in problem.message:
        return Change(name, renamed=LIMITS[name])
    largest = _TOO_LARGE.search(problem.message)
    cap = int(re.sub(r"\D", "", largest.group(1))) if largest else 0
    return Change(name, cap=cap) if 0 < cap < sent[name] else None


def _find_name(sent: Mapping[str, Any], problem: Problem) -> str | None:
    """The parameter that is meant: the one in ``param``, else the first that the message names."""
    there = [name for name in _ADAPTABLE if name in sent]
    param = problem.param.rpartition(".")[2]
    if param:
        return param if param in there else None
    found = [(m.start(), name) for name in there if (m := re.search(_mention(name), problem.message)) is not None]
    return min(found)[1] if found else None


def _mention(name: str) -> str:
    """A word of daily use counts only where it stands in quotes or as what is refused."""
    if name in LIMITS:
        return rf"\b(?:{name}|max(?:imum)? (?:output |completion |new )?tokens)\b"
    if "_" in name:
        return rf"\b{name}\b"
    quoted = rf"[`'\"]{name}[`'\"]|\b{name}:"
    blamed = rf"(?:parameter|value|field|argument|invalid):? {name}\b|\b{name} (?:is|does|must|cannot|parameter)\b"
    return f"{quoted}|{blamed}"
