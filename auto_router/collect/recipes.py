"""How a row of a data set becomes a question, once it is known which columns say what (:mod:`auto_router.collect.columns`).

Three forms are known: columns of their own (``question``, ``choices``, ``answer``, ``image``, …), chat messages
(``messages`` or ``conversations``; a last message of the assistant is the reference), and pairs beside images
(``texts[0].user`` and ``.assistant``, as in FineVision).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from auto_router.collect.dataset_files import Row
from auto_router.collect.image_source import ImageSource
from auto_router.collect.matching.verdict import MAX_LETTERS
from auto_router.collect.money import read_count, read_usage
from auto_router.collect.options import Options, find_right, is_hidden, is_number, read_option_columns, read_options, squeeze
from auto_router.collect.prompt_template import PromptTemplate
from auto_router.collect.question import LoggedAnswer, Question
from auto_router.collect.references import is_missing, read_printed, read_references
from auto_router.data.conversation import (
    ConversationInput,
    Turn,
    conversation_input,
    conversation_text,
    request_place,
    turns_of,
)  # fmt: skip
from auto_router.data.splits import content_key
from auto_router.errors import DataError

LOGGED = "logged"  # the column of an answer that was given already
MAX_UNSHOWN = 10  # columns without a part that a line names
_UNSENT = frozenset(["audio", "video", "pdf"])
_PASSAGE_KEYS = ("text", "texts", "contexts", "sentences", "passages", "paragraphs")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which column plays which role, and how its cells are read; ``used`` are those to be read, of all that are ``present``.

    ``option_columns`` maps each column that is one option to its name; ``numbers`` says what an answer that is a number
    means (:func:`find_right`); ``several``: some rows have several right options; ``printed``: references may be a printed
    list; ``classes`` are the names of the answer's classes, where the data set gives them.
    """

    roles: Mapping[str, str]
    used: Sequence[str]
    present: Sequence[str] = ()
    name: str = ""
    images: tuple[str, ...] = ()
    option_columns: Mapping[str, str] = field(default_factory=dict)
    numbers: str = "0"
    several: bool = False
    printed: bool = False
    classes: tuple[str, ...] = ()
    template: PromptTemplate = field(default_factory=PromptTemplate)
    notes: tuple[str, ...] = ()

    @property
    def has_logged(self) -> bool:
        """Whether rows bring an answer along that a model gave already."""
        return LOGGED in self.present

    def describe(self) -> str:
        """Return in words what is read from where."""
        parts = {"prompt": self.roles.get("prompt", self.roles.get("messages", "the template"))}
        parts |= {role: self.roles[role] for role in ("system", "history", "context", "input") if role in self.roles}
        options = ", ".join(self.option_columns) or self.roles.get("choices", "")
        parts |= {"options": options} if options else {}
        marks = "the marks of the options" if options else "none"
        parts |= {"reference": self.roles.get("answer", self.roles.get("messages", marks))}
        parts |= {"further references": self.roles["aliases"]} if "aliases" in self.roles else {}
        parts |= {"images": ", ".join(self.images)} if self.images else {}
        told = (f"{self.name}: " if self.name else "") + "; ".join(f"{role} from {column}" for role, column in parts.items())
        unshown = [name or "(no name)" for name in self.present if name not in self.used]
        more = f" and {len(unshown) - MAX_UNSHOWN} more" if len(unshown) > MAX_UNSHOWN else ""
        return told + (f"; not shown to models: {', '.join(unshown[:MAX_UNSHOWN])}{more}" if unshown else "")

    def cell(self, row: Row, role: str) -> Any:
        """Return what a row holds for a role; None where there is no such column."""
        return get_cell(row, self.roles.get(role, ""))

    def options(self, row: Row) -> Options | None:
        """Return the options of a row, if it has some. Raises DataError where what it has is no texts."""
        if self.option_columns:
            return read_option_columns(row, self.option_columns)
        cell = read_printed(self.cell(row, "choices"))
        options = read_options(cell)
        if options is None and isinstance(cell, list) and sum(not is_missing(item) for item in cell) > 1:
            raise DataError(f": column {self.roles['choices']!r} holds options that are not all texts ({cell!r:.60})")
        return options

    def question(self, number: int, row: Row, opener: ImageSource) -> Question:
        """Read one row. Raises DataError, whose text continues "row N"."""
        turns: tuple[Turn, ...] = ()
        inside: tuple[Any, ...] = ()
        context = ""
        answer, reply = self.cell(row, "answer"), None
        if messages := find_messages(answer):  # a completion as messages
            answer = flatten_text(messages[-1].get("content", messages[-1].get("value")))
        if "messages" in self.roles:
            turns, reply, (prompt, inside, context) = self._read_messages(row)
        else:
            told = self.cell(row, "prompt")
            if isinstance(told, list) and len(told) == 1:  # the only turn of it
                told = told[0].get("content") if isinstance(told[0], Mapping) else told[0]
            prompt = told
            if "prompt" in self.roles and (not isinstance(prompt, str) or not prompt.strip()):
                found = f"{len(prompt)} turns and not one prompt" if isinstance(prompt, list) and prompt else "no prompt"
                raise DataError(f": column {self.roles['prompt']!r} holds {found}")
        options = self.options(row)
        references, choices = self._read_right(reply if answer is None else answer, options)
        if references and options is None:
            more = read_references(self.cell(row, "aliases"), printed=True)
            references += tuple(text for text in more if text not in references)
        if self.template.is_default and turns and not {"context", "input"}.isdisjoint(self.roles):
            turns = self._show_beside(row, turns)
            prompt, _, context = conversation_input(turns)
        if not (self.template.is_default and turns):
            told = conversation_text(turns) if turns else prompt
            asked = Turn("user", self.template.render(self._values(row, told, options)))
            turns = _join_turns(_read_history(self.cell(row, "history")) if self.template.is_default else (), (asked,))
            prompt, _, context = conversation_input(turns)  # as a router reads it when it is asked the same
        turns = self._add_system_prompt(row, turns)
        try:
            beside = tuple(image for column in self.images for image in opener.read(read_printed(get_cell(row, column))))
            images = opener.read(list(inside)) + beside
            _check_files(turns, len(beside))
        except DataError as error:
            raise DataError(f", images: {error}") from error
        source, group = self.cell(row, "source"), self.cell(row, "group")
        return Question(
            idx=number,
            prompt=prompt,
            references=references,
            images=images,
            source=None if source in (None, "") else str(source),
            group=content_key(context or prompt, images) if group in (None, "") else str(group),
            turns=tuple(replace(turn, images=()) for turn in turns) if [turn.text for turn in turns] != [prompt] else (),
            choices=choices,
            context=context,
            logged=read_logged(row.get(LOGGED)),
        )

    def _show_beside(self, row: Row, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """Return messages whose request has what the row brings besides, in columns that were named, around it."""
        place = request_place(turns) or 0
        shown = self.template.render(self._values(row, turns[place].text, None))
        return (*turns[:place], replace(turns[place], text=shown), *turns[place + 1 :])

    def _add_system_prompt(self, row: Row, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """Return the turns behind the system prompt that a row has in a column of its own; a user's template shows its own."""
        told = flatten_text(self.cell(row, "system")).strip()
        if not told or not self.template.is_default or any(turn.role == "system" for turn in turns):
            return turns
        return (Turn("system", told), *turns)

    def _read_messages(self, row: Row) -> tuple[tuple[Turn, ...], str | None, ConversationInput]:
        before = _read_history(self.cell(row, "history"))
        try:
            turns, reply = _read_conversation(_unnest(read_printed(self.cell(row, "messages"))))
            turns = _join_turns(before, turns)
            found = conversation_input(turns)
            if not found.prompt:
                raise DataError("the conversation has no user message with text")
        except DataError as error:
            raise DataError(f": column {self.roles['messages']!r}: {error}") from error
        return turns, reply, found

    def _read_right(self, answer: Any, options: Options | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the references of a row and the texts of its options."""
        if options is None:
            printed = self.printed or "choices" in self.roles  # beside options, an open question lists what is right
            return read_references(answer, printed), self.classes if len(self.classes) <= len(MAX_LETTERS) else ()
        places = find_right(answer, options, self.numbers)
        if not places and is_hidden(answer):
            return (), options.texts
        if not places and is_number(answer) and not isinstance(answer, str) and self.numbers in ("0", "1"):
            last = len(options.texts) - 1 + int(self.numbers)
            raise DataError(
                f": answer {answer} is none of the {len(options.texts)} options, which are counted from {self.numbers} to "
                f"{last}; say where counting begins with --first-index"
            )
        if not places:
            letter = str(answer).strip("()[]. ")
            if re.fullmatch("[A-Z]", letter) and options.letters:
                raise DataError(f": answer {letter} is none of the {len(options.texts)} options, A to {options.letters[-1]}")
            return read_references(answer), options.texts
        if not options.letters:
            return tuple(options.texts[place] for place in places), options.texts
        # Where an option's text is itself a letter, a letter can only be the option's own.
        lettered = any(len(text.strip("(). ")) == 1 and text.strip("(). ").upper() in options.letters for text in options.texts)
        return (", ".join(options.letters[place] for place in places),), () if lettered else options.texts

    @property
    def _is_retrieved(self) -> bool:
        """Is the context what an application found for the question, and not a part of that?"""
        return squeeze(self.roles.get("context", "")).endswith("s")

    def _values(self, row: Row, prompt: Any, options: Options | None) -> dict[str, Any]:
        """Return what a template may show of a row: all but the answer."""
        hidden = {self.roles.get(role, "").split(".")[0] for role in ("answer", "aliases")}
        columns = {name: row.get(name) for name in self.present if name not in hidden}
        context = self.cell(row, "context")  # a list of passages may be printed, as a CSV has it
        return columns | {
            **({"prompt": prompt} if prompt is not None else {}),
            "context": flatten_text(read_printed(context) if self._is_retrieved else context),
            "is_retrieved": self._is_retrieved,
            "input": flatten_text(self.cell(row, "input")),
            "choices": options.texts if options else (),
            "letters": options.letters if options else "",
            "classes": self.classes,
            "several": self.several,
            "row": columns,
        }


def read_logged(value: Any) -> LoggedAnswer | None:
    """Return the answer of a ``logged`` cell as :mod:`auto_router.collect.importer` writes it; None where there is none."""
    if not isinstance(value, Mapping) or not all(isinstance(value.get(name), str) for name in ("model", "response")):
        return None
    if not value["response"].strip():
        return None
    prompt, completion = (read_count(value, name) for name in ("prompt_tokens", "completion_tokens"))
    return LoggedAnswer(value["model"], value["response"], prompt, completion, read_usage(value).billed_usd)


def get_cell(row: Row, column: str) -> Any:
    """Return a cell of a row; ``a.b`` is the field b of column a, unless a column bears that name. "" is no column."""
    if not column:  # nor that of row numbers, which pandas writes without a name
        return None
    if column in row or "." not in column:
        return row.get(column)
    outer, _, inner = column.partition(".")
    value = row.get(outer)
    return value.get(inner) if isinstance(value, Mapping) else None


def find_messages(value: Any) -> list[Any]:
    """Return the chat messages of a cell that is a list of such; [] for any other."""
    value = _unnest(value)
    is_chat = isinstance(value, list) and all(
        isinstance(item, Mapping) and ({"role", "content"} <= item.keys() or {"from", "value"} <= item.keys()) for item in value
    )
    return value if is_chat else []


def _unnest(value: Any) -> Any:
    """Return the only list in a list, as tool-calling sets hold a conversation of one part; any other value as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) else value


def flatten_text(value: Any) -> str:
    """Return the text of a context: itself, the paragraphs of a list, or those that a struct holds (titles before them)."""
    if isinstance(value, Mapping):
        parts = [value[key] for key in value if squeeze(key) in _PASSAGE_KEYS]
        titles = value.get("title", value.get("titles"))
        if isinstance(titles, list) and parts and isinstance(parts[0], list) and len(titles) == len(parts[0]):
            return "\n\n".join(f"{title}\n{flatten_text(part)}" for title, part in zip(titles, parts[0], strict=True))
        return "\n\n".join(filter(None, map(flatten_text, parts)))
    if isinstance(value, list | tuple):
        return "\n".join(filter(None, map(flatten_text, value)))
    return "" if is_missing(value) or value == "nan" or isinstance(value, bytes) else str(value)


def _check_files(turns: Sequence[Turn], images: int) -> None:
    """Raise DataError where a conversation shows the model more than its text, its own images and so many beside it."""
    missing = sum(turn.unseen_images for turn in turns) - images
    if missing > 0:
        raise DataError(f"{missing} in the conversation are only placeholders or ids, and no column holds so many")
    shown = [turn for turn in turns if turn.role == "user" and "tools" not in turn.needs]
    unsent = {need for turn in shown for need in turn.needs & _UNSENT} | {"a file" for turn in shown if turn.other_text.strip()}
    if unsent:
        raise DataError(
            f"the conversation holds {' and '.join(sorted(unsent))}, which is not sent to models; leave the row out"
        )


def _read_history(history: Any) -> tuple[Turn, ...]:
    """Return the turns of a column of earlier ones.

    Raises DataError, whose text continues "row N": the cell holds neither chat messages nor pairs of question and reply.
    """
    history = read_printed(history)
    if is_missing(history) or history in ([], "nan"):
        return ()
    if messages := find_messages(history):
        return tuple(turns_of(messages))
    if isinstance(history, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in history):
        return tuple(Turn(role, str(said)) for pair in history for role, said in zip(("user", "assistant"), pair, strict=True))
    raise DataError(
        f": the earlier turns {history!r:.60} are neither chat messages nor pairs of question and reply; leave the column "
        "out, or show it with --prompt-template"
    )


def _join_turns(before: tuple[Turn, ...], turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Return turns behind earlier ones; what ends these and begins the turns stands there once. System prompts stay first."""
    if not before:
        return turns
    told = [turn for turn in turns if turn.role == "system"] or [turn for turn in before if turn.role == "system"]
    first, then = ([turn for turn in part if turn.role != "system"] for part in (before, turns))
    said, more = ([(turn.role, turn.text) for turn in part] for part in (first, then))
    same = next(size for size in range(len(said), -1, -1) if said[len(said) - size :] == more[:size])
    return (*told, *first[: len(first) - same], *then)


def _read_conversation(value: Any) -> tuple[tuple[Turn, ...], str | None]:
    """Return the turns up to the last request, and the assistant's last reply to it as the reference."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and "user" in value[0]:
        pair = value[0]  # further pairs are questions of their own about the same images
        return (Turn("user", str(pair.get("user") or "")),), pair.get("assistant")
    turns = turns_of(value)
    asked, files = request_place(turns), {"image", *_UNSENT}  # results of tools, and notes of a program, ask nothing
    shown = [i for i, turn in enumerate(turns) if turn.role == "user" and "tools" not in turn.needs and files & turn.needs]
    last = max([-1 if asked is None else asked, *shown])
    replies = [turn.text for turn in turns[last + 1 :] if turn.role == "assistant"]
    return tuple(turns[: last + 1]), replies[-1] if replies else None
