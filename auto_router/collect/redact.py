"""Personal data and keys out of texts, by maintained libraries; what they find becomes ``[EMAIL]``, ``[KEY]`` and so on.

datafog finds e-mail addresses, phone and card numbers, US social security numbers and IP addresses; python-stdnum checks IBANs;
detect-secrets knows the form of keys of many services. Beyond those, any long run of letters and digits that no language writes
counts as a key, since every provider has a form of its own. Names and addresses of people are not found.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from auto_router.errors import needs_extra

Span = tuple[int, int, str]
ENTITIES = ["EMAIL", "PHONE", "CREDIT_CARD", "SSN", "IP_ADDRESS"]
MAX_CACHE = 4096  # texts: a conversation's turns come again with each of its requests
PIECE = 2000  # characters looked at together: datafog's time grows with the square of what it finds in a text
_CUT = re.compile(r"\n|(?<=[^\W\d_]{2}) (?=[^\W\d_]{2})")  # between two words, where no number or address goes on
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){3,9}\b")
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|pk|rk|ghp|gho|ghs|glpat|hf|gsk|xai|xoxb|xoxp|npm|pypi|AIza|AKIA|ASIA|eyJ)[-_A-Za-z0-9.]{12,}"
)
_TOKEN = re.compile(r"[A-Za-z0-9_+/=-]{20,}")
_MIN_DIGITS, _MIN_LETTERS = 4, 6
_PRIVATE = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{0,20000}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?")


def load_redactor() -> Callable[[str], str]:
    """Return a function that gives a text without what :mod:`auto_router.collect.redact` finds.

    Raises:
        ModuleNotFoundError: the packages of the extra ``redact`` are missing; the message says how to install them.
    """
    with needs_extra("redact"):
        import datafog
        import stdnum.iban
        import stdnum.iso7064.mod_97_10 as mod_97
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
        from detect_secrets.plugins.base import RegexBasedDetector
    known = [kind() for kind in get_mapping_from_secret_type_to_class().values() if issubclass(kind, RegexBasedDetector)]
    # IP addresses are datafog's task; its rule for OpenAI's keys takes the square of a text's length, and _KEY finds these.
    keys = [kind for kind in known if "IP" not in kind.secret_type and "OpenAI" not in kind.secret_type]

    def is_iban(text: str) -> bool:
        compact = text.replace(" ", "").replace("-", "")
        return bool(mod_97.checksum(compact[4:] + compact[:4]) == 1 and stdnum.iban.is_valid(compact))  # the cheap check first

    def find(text: str) -> Iterator[Span]:
        for entity in datafog.scan(text, entity_types=ENTITIES).entities:
            yield entity.start, entity.end, "CARD" if entity.type == "CREDIT_CARD" else entity.type
        for match in _IBAN.finditer(text):
            yield from _valid_part(match, is_iban)
        for detector in keys:
            for pattern in detector.denylist:
                yield from ((match.start(), match.end(), "KEY") for match in pattern.finditer(text))
        for pattern in (_KEY, _PRIVATE):
            yield from ((match.start(), match.end(), "KEY") for match in pattern.finditer(text))
        yield from ((match.start(), match.end(), "KEY") for match in _TOKEN.finditer(text) if _is_random(match.group()))

    @functools.lru_cache(maxsize=MAX_CACHE)
    def redact(text: str) -> str:
        if _PRIVATE.search(text):
            text = _PRIVATE.sub("[KEY]", text)
        return "".join(_replace(piece, list(find(piece))) for piece in _pieces(text))

    return redact


def redact_all(value: Any, redact: Callable[[str], str]) -> Any:
    """Return plain values with every text in them redacted; names of fields stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [redact_all(each, redact) for each in value]
    return {name: redact_all(each, redact) for name, each in value.items()} if isinstance(value, dict) else value


def _pieces(text: str) -> Iterator[str]:
    """Cut a text into pieces of about ``PIECE`` characters; one without a word boundary in it is cut at a space, or not."""
    start = 0
    while len(text) - start > PIECE:
        cut = _CUT.search(text, start + PIECE, start + 2 * PIECE)
        end = cut.end() if cut else text.rfind(" ", start + PIECE, start + 2 * PIECE) + 1 or start + 2 * PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def _valid_part(match: re.Match[str], is_valid: Callable[[str], bool]) -> Iterator[Span]:
    """The longest beginning of a match that is an IBAN: words may follow it that look like more of it."""
    text = match.group()
    for end in range(len(text), 14, -1):
        whole = end == len(text) or not text[end].isalnum()
        if whole and text[end - 1].isalnum() and is_valid(text[:end]):
            yield match.start(), match.start() + end, "IBAN"
            return


def _is_random(token: str) -> bool:
    """Does a token mix letters and digits as keys and digests do, and names in code and dates do not?"""
    return any(
        len(part) >= 16 and sum(map(str.isdigit, part)) >= _MIN_DIGITS and sum(map(str.isalpha, part)) >= _MIN_LETTERS
        for part in re.split(r"[_+/=-]", token)
    )


def _replace(text: str, spans: list[Span]) -> str:
    """Put a name in the place of every span; of spans that overlap, the whole is replaced under the first one's name."""
    parts, at = [], 0
    for start, stop, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= at:
            parts.append(f"{text[at:start]}[{kind}]")
        at = max(at, stop)
    return "".join([*parts, text[at:]])
