"""A recording: answers that were given once, found again by their question.

A row is ``{"request": {"model", "messages", …}, "answer": {"text", …}}``, with the ``"address"`` that answered where it is
known. Sampling settings do not matter; pictures count by digest.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from auto_router.collect.endpoint import Answer, digested, fingerprint
from auto_router.collect.preflight import PICTURE_PROBE, TEXT_PROBE
from auto_router.errors import DataError


def load_recording(path: str | Path) -> dict[str, Answer]:
    """Return ``{key: answer}`` of a recording file. Raises DataError where it is missing or damaged."""
    path = Path(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return recording(json.loads(line) for line in file if line.strip())
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error) as error:
        raise DataError(f"recording {path} cannot be read ({error!r}); export one from a journal with --export") from error


def recording(rows: Iterable[dict[str, Any]]) -> dict[str, Answer]:
    """Return ``{key: answer}`` of recorded rows.

    Raises:
        DataError: two addresses answered one question for one model id: no single endpoint said both.
    """
    answers: dict[str, Answer] = {}
    addresses: dict[str, str] = {}
    for row in rows:
        key, address = question_key(row["request"]), row.get("address", "")
        if addresses.setdefault(key, address) != address:
            raise DataError(
                f"model {row['request']['model']!r} was asked one question at {addresses[key]} and at {address}; export one of "
                "them with --address"
            )
        answers[key] = Answer(**row["answer"])
    return answers


def is_probe(body: dict[str, Any]) -> bool:
    """Whether a chat request is the preflight's."""
    content = body["messages"][-1]["content"]
    return (content[0].get("text") if isinstance(content, list) and content else content) in (TEXT_PROBE, PICTURE_PROBE)


def question_key(request: dict[str, Any]) -> str:
    return fingerprint([request["model"], digested(request["messages"])])
