"""One row of a data set as a question: which columns say what, and how prompt, reference and pictures are read from them.

Three shapes are known: columns of their own (``prompt``, ``answer``, ``images``), chat messages (``messages`` or
``conversations``; a last message of the assistant is the reference), and pairs beside pictures (``texts[0].user`` and
``.assistant``, as in FineVision).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from auto_router.collect.pictures import PictureSource
from auto_router.conversation import Turn, conversation_input, turns_of
from auto_router.errors import DataError
from auto_router.records import content_key

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction", "problem", "query"),
    "answer": ("answer", "response", "label", "target", "output", "solution"),
    "images": ("images", "image"),
    "source": ("source", "task", "category", "subject"),
    "group": ("group",),
    "messages": ("messages", "conversations", "conversation", "texts"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt to ask: its reference answer, the bytes of its pictures, and where it comes from.

    ``turns`` is the whole conversation where there is more than the prompt; models are then asked that. ``is_test`` is None
    unless the data set brings its own split.
    """

    idx: int
    prompt: str
    answer: str
    images: tuple[bytes, ...]
    source: str | None
    group: str
    turns: tuple[Turn, ...] = ()
    is_test: bool | None = None

    def on_side(self, is_test: bool) -> Question:
        return replace(self, is_test=is_test)

    def in_group(self, group: str) -> Question:
        return replace(self, group=group)


@dataclass(frozen=True, slots=True)
class Shape:
    """Which column plays which role; ``used`` is all that has to be read."""

    roles: Mapping[str, str]
    used: list[str]

    def question(self, number: int, row: Mapping[str, Any], pictures: PictureSource) -> Question:
        """Read one row. Raises DataError, whose text continues "row N"."""
        turns: tuple[Turn, ...] = ()
        inside: tuple[Any, ...] = ()
        answer = row.get(self.roles.get("answer", ""))
        if "prompt" in self.roles:
            prompt = row[self.roles["prompt"]]
            if not isinstance(prompt, str) or not prompt.strip():
                raise DataError(f": column {self.roles['prompt']!r} holds no prompt; drop the row")
        else:
            try:
                turns, reference = _conversation(row[self.roles["messages"]])
                prompt, inside = conversation_input(turns)
                if not prompt:
                    raise DataError("the conversation has no user message with text")
            except DataError as error:
                raise DataError(f": column {self.roles['messages']!r}: {error}; drop the row") from error
            answer = reference if answer is None else answer
        try:
            images = pictures.read(list(inside)) + pictures.read(row.get(self.roles.get("images", "")))
        except DataError as error:
            raise DataError(f", pictures: {error}") from error
        source, group = (row.get(self.roles.get(role, "")) for role in ("source", "group"))
        return Question(
            idx=number,
            prompt=prompt,
            answer="" if answer is None else str(answer),
            images=images,
            source=None if source in (None, "") else str(source),
            group=content_key(prompt, images) if group in (None, "") else str(group),
            turns=tuple(replace(turn, images=()) for turn in turns) if len(turns) > 1 else (),
        )


def find_shape(
    present: Sequence[str], first: Mapping[str, Any], asked: Mapping[str, str | None], dataset: str, split_column: str | None
) -> Shape:
    """Return which column plays which role. Raises DataError, listing the columns, where prompt or reference has none."""
    roles: dict[str, str] = {}
    for role, common in COLUMNS.items():
        wanted = asked.get(role)
        if wanted is not None and wanted not in present:
            raise DataError(f"data set {dataset} has no column {wanted!r} for the {role}; it has {', '.join(present)}")
        free = (column for column in common if column in present and column not in asked.values())
        name = wanted or next(free, None)
        if name is not None:
            roles[role] = name
    if split_column is not None and split_column not in present:
        raise DataError(f"data set {dataset} has no column {split_column!r} to split by; it has {', '.join(present)}")
    if "prompt" in roles and asked.get("messages") is None:
        roles.pop("messages", None)
    elif "messages" in roles and asked.get("prompt") is None and isinstance(first.get(roles["messages"]), list):
        roles.pop("prompt", None)
    for role in ("prompt", "answer"):
        if role not in roles and "messages" not in roles:
            raise DataError(
                f"data set {dataset} has no column for the {role} (looked for {', '.join(COLUMNS[role])}, or a list of chat "
                f"messages in {', '.join(COLUMNS['messages'])}); it has {', '.join(present)}: name one with --{role}-column"
            )
    used = [*roles.values(), *([split_column] if split_column else [])]
    return Shape(roles, list(dict.fromkeys(used)))


def _conversation(value: Any) -> tuple[tuple[Turn, ...], str | None]:
    """Return the turns up to the user's last, and the assistant's reply to it as the reference."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and "user" in value[0]:
        pair = value[0]  # further pairs are questions of their own about the same pictures
        return (Turn("user", str(pair.get("user") or "")),), pair.get("assistant")
    turns = turns_of(value)
    last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
    replies = [turn.text for turn in turns[last + 1 :] if turn.role == "assistant"]
    return tuple(turns[: last + 1]), replies[-1] if replies else None
