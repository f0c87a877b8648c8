"""Which columns of a data set say what: found by their names, and by what the first rows hold.

A flag such as ``--answer-column`` names one; an empty name says that there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from auto_router.collect.column_names import CLASS_NAMES, COLUMNS, LATER, MORE_ANSWERS, PLURAL, TRUTHS, VERDICTS
from auto_router.collect.column_notes import name_shape, note_doubts
from auto_router.collect.dataset_files import DataTable, Row
from auto_router.collect.options import (
    RIGHT_OPTION,
    Options,
    choose_numbers,
    find_option_columns,
    find_right,
    is_number,
    read_option_columns,
    read_options,
    squeeze,
)
from auto_router.collect.prompt_template import PromptTemplate
from auto_router.collect.recipes import LOGGED, Recipe, find_messages, get_cell
from auto_router.collect.references import is_missing, read_printed
from auto_router.data.images import mime_type
from auto_router.errors import DataError

MIN_RESOLVED = 0.5  # of the answers must name an option, or the column holds no options
MAX_CLASSES = 200  # names that a prompt lists


MAX_PEEK = 500  # rows that are looked at first
MAX_PEEKED_TEXT = 20_000  # characters kept of a cell that is looked at
PEEK_BYTES = 2**26
_ENCODED = re.compile(r"data:image/|(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR)[\w+/=\s-]{20}")


@dataclass(frozen=True, slots=True)
class Choosing:
    """Where the options of a data set stand: in one column, or in one each.

    ``by_place``: only answers that are a place or a letter tell that these are options, as for ``answers`` beside a
    ``correct_answer_id``.
    """

    column: str = ""
    columns: Mapping[str, str] | None = None
    by_place: bool = False

    def read(self, row: Row) -> Options | None:
        return read_option_columns(row, self.columns) if self.columns else read_options(get_cell(row, self.column))


def find_recipe(
    table: DataTable,
    dataset: str,
    asked: Mapping[str, str | None],
    split_column: str | None = None,
    template: PromptTemplate | None = None,
    first_index: int | None = None,
) -> Recipe:
    """Return how the rows of a table are read.

    Args:
        asked: the columns that the user named, by role; "" for none, None for those that are found.
        template: the user's own template, which needs no prompt column.
        first_index: 0 or 1, where the numbers of options are counted from there.

    Raises:
        DataError: the table is empty, a named column is not there, or no column holds the prompt; lists the columns.
    """
    rows = peek_rows(table, dataset)
    finder = _Finder(table, rows, {role: name for role, name in asked.items() if name is not None})
    finder.check(dataset, split_column)
    roles = finder.find_plain_roles()
    template = template or PromptTemplate()
    if template.is_default and not {"prompt", "messages"} & set(roles):
        raise _no_prompt(dataset, finder.present)
    choosing, roles = finder.find_options(roles)
    roles = finder.find_aliases(dataset, roles, choosing)
    roles, beside = finder.find_context(roles, choosing, template)
    images = finder.find_images()
    answers = [(cell, options) for row in rows if (options := choosing.read(row)) and (cell := _answer(row, roles)) is not None]
    numbers, certain = (str(first_index), True) if first_index is not None else choose_numbers(answers)
    said = [_answer(row, roles) for row in rows]
    classes = () if answers else table.class_names(roles.get("answer", ""))
    classes = classes if len(classes) <= MAX_CLASSES and not all(name.isdigit() for name in classes) else ()
    option_columns = choosing.columns or {}
    columns = [*roles.values(), *option_columns, *images, *([split_column] if split_column else [])]
    columns += [LOGGED] if LOGGED in finder.present else []
    used = list(dict.fromkeys(column if column in finder.present else column.split(".")[0] for column in columns))
    return Recipe(
        roles=roles,
        used=used if template.is_default else finder.present,
        present=finder.present,
        name=name_shape(finder.present, bool(answers), said, "messages" in roles),
        images=images,
        option_columns=option_columns,
        numbers=numbers,
        several=any(len(find_right(cell, options, numbers)) > 1 for cell, options in answers),
        printed=squeeze(roles.get("answer", "").rpartition(".")[2]) in map(squeeze, PLURAL),
        classes=classes,
        template=template,
        notes=(*note_doubts(said, roles, bool(answers), classes, certain, template), *finder.note_unshown(roles), *beside),
    )


def _no_prompt(dataset: str, present: Sequence[str]) -> DataError:
    header = ", or, if these are the words of a row, put a first line with the columns' names above it"
    return DataError(
        f"data set {dataset} has no column for the prompt (looked for {', '.join(COLUMNS['prompt'])}, or a list of chat "
        f"messages in {', '.join(COLUMNS['messages'])}); it has {', '.join(present)}: name one with --prompt-column, or write "
        "the prompt with --prompt-template '{{ column }} …'" + (header if re.search(r"\.[ct]sv(?:\.gz)?$", dataset) else "")
    )


def peek_rows(table: DataTable, dataset: str) -> list[Row]:
    """Return the first rows, long cells cut short. Raises DataError where there is no row, or none with columns."""
    first = next(iter(table.rows()), None)
    if first is None:
        raise DataError(f"data set {dataset} is empty; at least one row is needed")
    if not isinstance(first, Mapping):
        raise DataError(f"data set {dataset} has no columns: row 0 is {first!r:.60}; each row must be an object")
    light = [name for name, value in first.items() if not table.holds_images(name) and not _is_image(value)]
    rows, size = [_cut(first)], 0
    for row in islice(table.rows(light), 1, MAX_PEEK):
        if isinstance(row, Mapping):
            size += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
            rows.append(_cut(row))
        if size > PEEK_BYTES:
            break
    return rows


def _cut(row: Row) -> Row:
    return {
        name: value[:MAX_PEEKED_TEXT] if isinstance(value, str | bytes) else value
        for name, value in row.items()
        if name is not None
    }


def _is_image(value: Any) -> bool:
    """Whether a cell is an image, or a list of some, inside the data set: as bytes, or as base64 that shows its kind."""
    if isinstance(value, str):
        return _ENCODED.match(value) is not None
    if isinstance(value, list | tuple):
        return bool(value) and _is_image(value[0])
    if isinstance(value, Mapping):
        return "bytes" in value and value.keys() <= {"bytes", "path"}
    return isinstance(value, bytes) and mime_type(value) is not None


def _answer(row: Row, roles: Mapping[str, str]) -> Any:
    return get_cell(row, roles.get("answer", ""))


class _Finder:
    """Looks for columns among those that are ``present``; ``asked`` are the roles that the user gave a column."""

    def __init__(self, table: DataTable, rows: Sequence[Row], asked: Mapping[str, str]) -> None:
        self.table, self.rows, self.asked = table, rows, asked
        self.present = list(dict.fromkeys(name for row in rows for name in row))
        structs = {name: row[name] for row in rows for name in row if isinstance(row[name], Mapping)}
        self._inner = [f"{name}.{key}" for name, value in structs.items() if not _is_image(value) for key in value]

    def check(self, dataset: str, split_column: str | None) -> None:
        """Raise DataError where a column that was named is not there."""
        for role, name in self.asked.items():
            if name and name not in (*self.present, *self._inner):
                raise DataError(f"data set {dataset} has no column {name!r} for the {role}; it has {', '.join(self.present)}")
        if split_column is not None and split_column not in self.present:
            raise DataError(f"data set {dataset} has no column {split_column!r} to split by; it has {', '.join(self.present)}")

    def candidates(self, role: str, later: bool = False, inner: bool = False) -> list[str]:
        """Return the columns that may play a role, the most usual name first; the one that was asked for alone."""
        if role in self.asked:
            return [self.asked[role]] if self.asked[role] else []
        squeezed: dict[str, list[str]] = {}
        for column in self._inner if inner else self.present:
            squeezed.setdefault(squeeze(column.rpartition(".")[2] if inner else column), []).append(column)
        names = (*COLUMNS[role], *(LATER.get(role, ()) if later else ()))
        found = [column for name in names for column in sorted(squeezed.get(squeeze(name), ()), key=lambda c: c != name)]
        return [column for column in dict.fromkeys(found) if column not in self.asked.values()]

    def find_plain_roles(self) -> dict[str, str]:
        """Return the columns of prompt or messages, of what stands before them, source and group."""
        wanted = ("source", "group", "messages", "system", "history")
        roles = {role: found[0] for role in wanted if (found := self.candidates(role))}
        lists = any(isinstance(read_printed(get_cell(row, roles.get("history", ""))), list) for row in self.rows)
        if not lists and "history" not in self.asked:
            roles.pop("history", None)  # a text, as of a patient
        structs = {name for name in self.present for row in self.rows if isinstance(row.get(name), Mapping)}
        prompts = [name for name in self.candidates("prompt") if name not in structs]
        if prompts and "messages" not in self.asked and not self._is_answered_by(roles.get("messages", "")):
            roles.pop("messages", None)
        elif prompts and "prompt" not in self.asked and isinstance(self.rows[0].get(roles.get("messages", "")), list):
            prompts = []
        if not prompts and "messages" not in roles:
            texts = {name for row in self.rows for name in row if isinstance(row[name], str | list)}
            texts |= set(self.asked.values())
            later = [name for name in self.candidates("prompt", later=True) if name not in structs and name in texts]
            inner = self.candidates("prompt", later=True, inner=True)
            asking = set(map(squeeze, COLUMNS["prompt"]))  # "question.text" before "document.text"
            named = [name for name in inner if squeeze(name.partition(".")[0]) in asking]
            prompts = later or named or inner
        if prompts:
            told = next((row[prompts[0]] for row in self.rows if not is_missing(row.get(prompts[0]))), None)
            if find_messages(read_printed(told)) and "prompt" not in self.asked:  # as TRL, verl and OpenAI's evals write it
                return {role: name for role, name in roles.items() if role != "messages"} | {"messages": prompts[0]}
            roles["prompt"] = prompts[0]
            if roles.get("source") == prompts[0]:
                del roles["source"]
        return roles

    def find_options(self, roles: dict[str, str]) -> tuple[Choosing, dict[str, str]]:
        """Return where options are, and the roles with the column of the answer."""
        taken = {roles.get(role) for role in ("prompt", "source", "group")} if "answer" not in self.asked else set()
        answers = [
            name
            for name in self._answers(squeeze(roles.get("messages", "")) in map(squeeze, COLUMNS["messages"]))
            if name not in taken
        ]
        for choosing in self._choosings():
            for answer in [*answers, ""]:
                if answer == choosing.column or (choosing.columns or {}).get(answer, RIGHT_OPTION) != RIGHT_OPTION:
                    continue
                if self._resolves(choosing, answer) or ("choices" in self.asked and answer == (*answers, "")[0]):
                    found = {"answer": answer} if answer else {}
                    return choosing, roles | found | ({"choices": choosing.column} if choosing.column else {})
        for name in self.candidates("choices"):
            cells = [row[name] for row in self.rows if isinstance(row.get(name), list)]
            if any(_is_image(cell) and len(cell) > 1 for cell in cells):
                raise DataError(
                    f"column {name!r} holds options that are images, and no prompt shows these behind their letters; "
                    "take another data set, or write the prompt with --prompt-template and say --choices-column ''"
                )
        return Choosing(), roles | ({"answer": answers[0]} if answers else {})

    def find_aliases(self, dataset: str, roles: dict[str, str], choosing: Choosing) -> dict[str, str]:
        """Return the roles with the column of further right answers beside the answer.

        Raises:
            DataError: a label seems to say of each answer whether it is right.
        """
        answer = roles.get("answer", "")
        if choosing.column or choosing.columns or "answer" in self.asked or squeeze(answer) not in ("answer", "response"):
            return roles
        names = [name for name in self.present if name != answer]
        said = {
            name: {str(row.get(name)).lower() for row in self.rows if not is_missing(row.get(name))}
            for name in names
            if squeeze(name) in VERDICTS
        }
        flags = [name for name in said if said[name] in ({"0", "1"}, {"false", "true"})]
        if flags:
            shown = f"{{{{ {roles.get('prompt', 'question')} }}}} {{{{ {answer} }}}} …"
            raise DataError(
                f"data set {dataset}: column {flags[0]!r} seems to say whether each {answer!r} is right; ask that with "
                f"--prompt-template '{shown}' --answer-column {flags[0]}, or take all for right with --answer-column {answer}"
            )
        aliases = [name for name in names if squeeze(name) in map(squeeze, MORE_ANSWERS)]
        return roles | {"aliases": aliases[0]} if aliases else roles

    def _answers(self, of_messages: bool) -> list[str]:
        """Return the columns that may hold the answer, those that hold something first."""
        found = self.candidates("answer", later=not of_messages)
        if not found and not of_messages:  # what is inside a context is read, not answered
            inner = self.candidates("answer", later=True, inner=True)
            classes = [name for name in self.present if self.table.class_names(name)] if "answer" not in self.asked else []
            found = [name for name in inner if squeeze(name.partition(".")[0]) not in map(squeeze, COLUMNS["context"])]
            found = found or (classes if len(classes) == 1 else [])
        later = self.candidates("answer", later=True)
        truths = [name for name in later if squeeze(name) in map(squeeze, TRUTHS)]
        truths += [
            name for name in later if squeeze(name) == "reference" and found[:1] and squeeze(found[0]) in ("response", "output")
        ]
        if found and self._holds_numbers(found[0]):
            truths += [name for name in later if squeeze(name) in map(squeeze, CLASS_NAMES)]
        return sorted([*truths, *(name for name in found if name not in truths)], key=self._is_empty)

    def _holds_numbers(self, name: str) -> bool:
        cells = [cell for row in self.rows if not is_missing(cell := get_cell(row, name))]
        return squeeze(name) in ("label", "labels", "class", "target") and bool(cells) and all(map(is_number, cells))

    def _is_answered_by(self, messages: str) -> bool:
        """Whether a conversation holds the only answers there are, so that it is read, and not the prompt beside it."""
        told = [found for row in self.rows if (found := find_messages(row.get(messages)))]
        replied = any(one[-1].get("role", one[-1].get("from")) in ("assistant", "gpt") for one in told)
        return replied and not {"prompt", "answer"} & self.asked.keys() and all(map(self._is_empty, self._answers(False)))

    def _is_empty(self, name: str) -> bool:
        return all(is_missing(get_cell(row, name)) for row in self.rows)

    def _choosings(self) -> Iterator[Choosing]:
        for inner in (False, True):
            yield from map(Choosing, self.candidates("choices", later=True, inner=inner))
        if "choices" not in self.asked:
            named = set(self.asked.values()) - {self.asked.get("answer")}
            columns = find_option_columns(name for name in self.present if name not in named)
            if columns:
                yield Choosing(columns=columns)
            yield from (Choosing(name, by_place=True) for name in self.present if squeeze(name) == "answers")

    def _resolves(self, choosing: Choosing, answer: str) -> bool:
        """Whether most answers name an option: else what looks like options is something else."""
        pairs = [(get_cell(row, answer), choosing.read(row)) for row in self.rows]
        known = [(cell, options) for cell, options in pairs if not is_missing(cell) or (options and options.marked)]
        usable = [(cell, options) for cell, options in known if options]
        if choosing.by_place and not all(is_number(c) or len(str(c)) == 1 or (o and o.marked) for c, o in known):
            return False
        numbers, _ = choose_numbers(usable)
        resolved = sum(bool(find_right(cell, options, numbers)) for cell, options in usable)
        # Numbers beside a column of that name are places, even where none is: reading the rows says so.
        places = choosing.column in COLUMNS["choices"] and len(usable) == len(known)
        places = places and all(type(cell) is int and cell >= 0 for cell, _ in known)
        by_name = squeeze(choosing.column) in map(squeeze, COLUMNS["choices"])  # rows without options are open questions
        return bool(known) and (places or 0 < MIN_RESOLVED * len(usable if by_name else known) <= resolved)

    def note_unshown(self, roles: Mapping[str, str]) -> Iterator[str]:
        """Yield a note where rows have options that no answer names, for models are then asked without them."""
        if "choices" in roles or "choices" in self.asked or "answer" not in roles:
            return
        for name in self.candidates("choices"):
            row = next((row for row in self.rows if read_options(row.get(name)) and not is_missing(_answer(row, roles))), None)
            if row is not None:
                yield (
                    f"answers in {roles['answer']!r} such as {str(_answer(row, roles))[:60]!r} name no option in {name!r}, so "
                    f"the options are not shown; --choices-column {name} shows them"
                )

    def find_context(
        self, roles: dict[str, str], choosing: Choosing, template: PromptTemplate
    ) -> tuple[dict[str, str], list[str]]:
        """Return the roles with what is shown around the prompt: a passage before it, an input after it.

        Messages mostly hold it already: a column beside them is shown where it is named, or a user's template does. Else a note
        says that it is not.
        """
        notes = []
        taken = {*roles.values(), *(choosing.columns or {})}
        has_options = bool(choosing.column or choosing.columns)
        for role in ("context", "input"):
            found = sorted((name for name in self.candidates(role) if name not in taken), key=self._is_empty)
            if role not in self.asked and not has_options:
                found = [name for name in found if squeeze(name) != "hint"]  # without options it may give the answer away
            if squeeze(roles.get("prompt", "")) not in ("input", "inputs") and role not in self.asked:
                found = [
                    name for name in found if squeeze(name) != "definition"
                ]  # of a word; a task's stands before its inputs
            if found and ("messages" not in roles or role in self.asked or not template.is_default):
                roles = roles | {role: found[0]}
            elif found:
                notes.append(f"the column {found[0]!r} is not asked beside messages; --{role}-column {found[0]} shows it")
        return roles, notes

    def find_images(self) -> tuple[str, ...]:
        """Return the columns of images: by name, by what the data set says of them, and those numbered ``image_1`` …"""
        if "images" in self.asked:
            return (self.asked["images"],) if self.asked["images"] else ()
        named = self.candidates("images", later=True)
        typed = [
            name for name in self.present if self.table.holds_images(name) or any(_is_image(r.get(name)) for r in self.rows)
        ]
        typed = [name for name in typed if name not in self.asked.values()]
        numbered = [
            name for name in self.present if squeeze(name).rstrip("0123456789") in ("image", "img") and name[-1:].isdigit()
        ]
        best = [name for name in named if name in typed] or ([] if typed else named)
        return tuple(dict.fromkeys([*best[:1], *numbered])) or tuple(typed)
