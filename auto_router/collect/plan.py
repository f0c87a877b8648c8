"""One look at every row before any model is paid: is it usable, what repeats it, on which side of the split, is it answered.

Rows that repeat each other share a group and never straddle the split: text prompts that are equal but for case, width and
white space, and rows that share an image, pixel for pixel. (Equal prompts about different images are different questions.)
Rows that lack the reference they need, and bad ones, are left out and counted here. What is kept of a row is a few numbers, so
that memory does not grow with images.

Answers that a log already holds count as their model's own, and nobody pays for them again. A logged answer is that of a model
of the pool by the pool's name for it, by the model id that its endpoint knows, or by a name in ``same_as``; an id that several
candidates share (one model at two efforts) says of none of them that it is theirs.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from auto_router.arrays import Bools, Ints
from auto_router.collect.column_names import COLUMNS
from auto_router.collect.endpoint import digest_images
from auto_router.collect.journal_file import Exchange, request_key
from auto_router.collect.matching.verdict import MAX_LETTERS
from auto_router.collect.question import LoggedAnswer, Question, question_messages
from auto_router.collect.reply import Response
from auto_router.collect.runner import Collector, EndpointClient
from auto_router.collect.source import SKIP_ADVICE, Source
from auto_router.data.images import pixels
from auto_router.data.pool import PoolModel
from auto_router.data.splits import connect, question_keys, split_by_group
from auto_router.errors import DataError, printable
from auto_router.terminal import watch

MAX_BAD_ROWS = 20  # that an error or a line names
MAX_BAD_REASONS = 5  # that it tells
_QUOTED = re.compile(r"'[^']{0,1000}'|\"[^\"]{0,1000}\"")
NO_REFERENCES_ADVICE = "--labels silver --silver-model NAME takes a strong model's answers for them (see docs/labels.md)"
MAX_LOOK = 1000  # rows looked through for one with a reference
AT_ONCE = 500  # exchanges in one commit
MAX_NAMES = 5  # of models outside the pool that a line tells


@dataclass(frozen=True)
class Plan:
    """The rows to ask, in order: ``rows`` [N] numbers in the data set, ``groups`` [N] names, ``is_test`` [N].

    ``characters`` and ``images`` [N] are what a cost can be estimated from; ``sources`` [N]; ``left_out`` counts training
    rows that repeat a test row of a split that came with the data. ``unlabelled`` are the numbers of rows that lack the
    reference they need, ``bad`` of those that cannot be asked, with the reason; neither are among ``rows``. ``referenced``
    counts the rows that have a reference.
    """

    source: Source
    rows: Ints
    groups: list[str]
    is_test: Bools
    characters: Ints
    images: Ints
    sources: list[str]
    left_out: int = 0
    unlabelled: Sequence[int] = ()
    bad: Mapping[int, str] = field(default_factory=dict)
    referenced: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def questions(self) -> Iterator[Question]:
        """Yield the questions of the plan, read anew from the data set."""
        places = {row: place for place, row in enumerate(self.rows.tolist())}
        for question in self.source.questions(places):
            yield replace(question, group=self.groups[places[question.idx]])
            if places[question.idx] == len(places) - 1:
                return

    def describe(self) -> list[str]:
        """Return lines that say how the data set was read and which rows are left out, why, and what can be done."""
        recipe = self.source.recipe
        lines = [f"data set read as {recipe.describe()}", *(f"note: {note}" for note in recipe.notes)]
        if self.unlabelled:
            total = len(self) + self.left_out + len(self.unlabelled)
            lines.append(
                f"{len(self.unlabelled)} of {total} rows have no reference to judge answers by and are left out: "
                f"{_list_rows(self.unlabelled)}; if references are in another column, name it with --answer-column; if there "
                f"are none, {NO_REFERENCES_ADVICE}"
            )
        if self.bad:
            count = "1 bad row is" if len(self.bad) == 1 else f"{len(self.bad)} bad rows are"
            lines.append(f"{count} left out (--skip-bad-rows): {_list_reasons(self.bad)}")
        if self.left_out:
            lines.append(f"{self.left_out} rows to train on repeat rows of the test and are left out")
        return lines


@dataclass(frozen=True, slots=True)
class _Seen:
    """The few numbers that are kept of a row; rows that share one of ``keys`` belong together."""

    row: int
    group: str
    keys: set[str]
    source: str
    is_test: bool | None
    characters: int
    images: int
    has_reference: bool


def make_plan(
    source: Source,
    num_samples: int | None,
    test_fraction: float,
    seed: int,
    skip_bad_rows: bool = False,
    needs_references: bool = True,
) -> Plan:
    """Read the data set once and plan the run.

    Args:
        num_samples: how many rows to keep, drawn by ``seed``; None for all.
        test_fraction: part of the groups that becomes the test, in each source alike; unused where the data brings a split.
        skip_bad_rows: leave out rows that cannot be asked, instead of raising for them.
        needs_references: labels rest on references: rows without one are left out.

    Raises:
        DataError: as :meth:`Source.questions`; rows that cannot be asked (all that were found, by number); no row has a
            reference; rows that cannot be split.
    """
    chosen: set[int] | None = None
    if num_samples is not None:
        total = source.count()
        chosen = set(random.Random(seed).sample(range(total), min(num_samples, total)))
    unlabelled: list[int] = []
    bad: dict[int, str] = {}
    seen = list(_survey(source, chosen, unlabelled if needs_references else None, bad, skip_bad_rows))
    if bad and not skip_bad_rows:
        if not seen:
            raise DataError(f"data set {source.dataset}: none of its rows can be asked ({len(bad)} bad): {_list_reasons(bad)}")
        raise _bad_rows(source, bad)
    if not seen:
        raise _no_references(source, unlabelled, bad)
    groups = connect([row.keys for row in seen])
    first = {group: seen[i].group for i, group in reversed(list(enumerate(groups.tolist())))}
    kept, is_test = _split(source, seen, groups, test_fraction, seed)
    left = [seen[row] for row in np.flatnonzero(kept).tolist()]
    return Plan(
        source=source,
        rows=np.array([row.row for row in left], dtype=np.int64),
        groups=[first[group] for group in groups[kept].tolist()],
        is_test=is_test[kept],
        characters=np.array([row.characters for row in left], dtype=np.int64),
        images=np.array([row.images for row in left], dtype=np.int64),
        sources=[row.source for row in left],
        left_out=len(seen) - len(left),
        unlabelled=unlabelled,
        bad=bad,
        referenced=sum(row.has_reference for row in left),
    )


def _survey(
    source: Source, chosen: set[int] | None, unlabelled: list[int] | None, bad: dict[int, str], skip_bad_rows: bool
) -> Iterator[_Seen]:
    """Yield what is kept of the rows that can be asked and judged; the others go into ``unlabelled`` and ``bad``.

    ``unlabelled`` None: no reference is needed.
    """

    any_usable = False

    def raise_early() -> None:
        """End before all is read, but not before it is known whether leaving out such rows would leave any."""
        if not skip_bad_rows and any_usable and len(bad) >= MAX_BAD_ROWS:
            raise _bad_rows(source, bad, "at least ")

    def note_bad(number: int, reason: str) -> None:
        bad[number] = reason
        raise_early()

    for question in watch(source.questions(chosen, note_bad), "read", "row"):
        try:
            keys = {f"group {question.group}", *_repeats(question)}
        except DataError as error:
            note_bad(question.idx, f", images: {error}")
            continue
        if not question.references and unlabelled is not None:
            unlabelled.append(question.idx)
            continue
        any_usable = True
        raise_early()
        yield _Seen(
            question.idx,
            question.group,
            keys,
            question.source or "",
            question.is_test,
            len(question.full_text),
            len(question.images),
            bool(question.references),
        )


def _split(source: Source, seen: Sequence[_Seen], groups: Ints, test_fraction: float, seed: int) -> tuple[Bools, Bools]:
    """Return which rows are kept, and which are the test: as the data says, else by group in each source alike."""
    is_test = np.array([bool(row.is_test) for row in seen])
    kept = np.ones(len(seen), dtype=bool)
    if any(row.is_test is not None for row in seen):
        kept = is_test | ~np.isin(groups, groups[is_test])
        if is_test.all() or not (kept & ~is_test).any() or not is_test.any():
            raise DataError(
                f"the split of data set {source.dataset} leaves no row to {'train' if is_test.any() else 'test'} on"
            )
    else:
        strata = np.unique([row.source for row in seen], return_inverse=True)[1]
        is_test[split_by_group(groups, test_fraction, seed, strata)[1]] = True
    return kept, is_test


def preview(source: Source) -> str:
    """Return the first prompt as models will be asked it, with its references; what cannot be asked is passed over."""
    usable = (question for question in source.questions(on_bad=lambda number, reason: None))
    first = next(usable, None)
    if first is None:
        return "no row can be asked"
    question = first if first.references else next((q for q in islice(usable, MAX_LOOK) if q.references), first)
    lines = [f"the prompt of row {question.idx}, as models will be asked it:"]
    told = question_messages(question, ())
    turns = [f"[{message['role']}] {message['content']}" for message in told] if question.turns else [question.prompt]
    lines += [f"  | {line if line.isprintable() else printable(line)}" for turn in turns for line in turn.splitlines()]
    lines += [f"  with {len(question.images)} image(s)"] if question.images else []
    also = [
        question.choices[MAX_LETTERS.index(letter)]
        for letter in question.references
        if len(letter) == 1 and letter in MAX_LETTERS[: len(question.choices)]
    ]
    shown = printable(" | ".join(question.references)) or "none"
    return "\n".join([*lines, f"its references: {shown}" + (f" (the option {also[0]!r})" if also else "")])


def _list_rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:MAX_BAD_ROWS]))
    return f"row{'s' if len(numbers) > 1 else ''} {shown}" + (
        f" and {len(numbers) - MAX_BAD_ROWS} more" if len(numbers) > MAX_BAD_ROWS else ""
    )


def _list_reasons(bad: Mapping[int, str]) -> str:
    """Return the rows by reason; reasons that differ only in what they quote are one, and the first stands for all."""
    rows: dict[str, list[int]] = {}
    for number, reason in bad.items():
        rows.setdefault(_QUOTED.sub("", reason), []).append(number)
    shown = [f"{_list_rows(numbers)}{bad[numbers[0]]}" for numbers in list(rows.values())[:MAX_BAD_REASONS]]
    rest = sorted(number for numbers in list(rows.values())[MAX_BAD_REASONS:] for number in numbers)
    return "; ".join([*shown, *([f"and {_list_rows(rest)}"] if rest else [])])


def _bad_rows(source: Source, bad: Mapping[int, str], least: str = "") -> DataError:
    if len(bad) == 1:
        return DataError(f"data set {source.dataset}, {_list_reasons(bad)}; {SKIP_ADVICE}")
    return DataError(
        f"data set {source.dataset}: {least}{len(bad)} rows cannot be asked: {_list_reasons(bad)}; correct them, or leave such "
        "rows out with --skip-bad-rows"
    )


def _no_references(source: Source, unlabelled: Sequence[int], bad: Mapping[int, str]) -> DataError:
    if not unlabelled:
        return DataError(f"data set {source.dataset}: no row can be asked: {_list_reasons(bad)}")
    roles, columns = source.recipe.roles, ", ".join(source.recipe.present)
    where = (
        f"column {roles['answer']!r} holds none"
        if "answer" in roles
        else f"it has no column for the answer (looked for {', '.join(COLUMNS['answer'])} and the like)"
    )
    return DataError(
        f"data set {source.dataset}: none of its {len(unlabelled)} rows has a reference to judge answers by: {where}; it has "
        f"{columns}: name the right answers' column with --answer-column, or take the split that has them; without references, "
        f"{_find_scorer(source.recipe.present)}{NO_REFERENCES_ADVICE}"
    )


def _find_scorer(present: Sequence[str]) -> str:
    """Return the advice to take a scorer where the columns are those that one reads; "" where they are not."""
    kinds = {"python-tests": ("test", "test_list"), "json-schema": ("json_schema",)}  # a "schema" may be SQL
    found = next((scorer for scorer, columns in kinds.items() if set(columns) & set(present)), None)
    return "" if found is None else f"--scorer {found} judges by what a row holds, and "


def _repeats(question: Question) -> set[str]:
    """Return the keys that repeats of a question share with it."""
    digests = []
    for image in question.images:
        decoded = pixels(image)  # an image that no encoder can read is better found before any model is paid for it
        digests.append(f"{decoded.size} {hashlib.sha256(decoded.tobytes()).hexdigest()}")
    return question_keys(question.asked_text, digests)


def record_logged(collector: Collector, plan: Plan) -> list[str]:
    """Commit the logged answers of a plan's questions that are not there yet; return lines that say how many count.

    Raises:
        DataError: the data set cannot be read any more, or the journal cannot be written.
    """
    if not plan.source.recipe.has_logged:
        return []
    callers, journal = collector.models, collector.journal
    counted, others = Counter[str](), Counter[str]()
    waiting: list[Exchange] = []
    for question in plan.questions():
        if question.logged is None:
            continue
        caller = find_caller(callers, question.logged.model)
        if caller is None:
            others[question.logged.model] += 1
            continue
        counted[caller.model.name] += 1
        waiting += _exchanges(caller, question, question.logged)
        if len(waiting) >= AT_ONCE:
            journal.put(*waiting)
            waiting = []
    journal.put(*waiting)
    return [*(f"{count:,} answers of {name} are in the log and are not paid for again" for name, count in counted.items())] + (
        [_tell_others(others, [caller.model for caller in callers])] if others else []
    )


def find_caller(callers: Sequence[EndpointClient], name: str) -> EndpointClient | None:
    """Return the one model that a log's name means; None where it means none, or may mean several."""
    by_name = [caller for caller in callers if caller.model.name == name]
    found = by_name or [caller for caller in callers if name == caller.model.model or name in caller.model.same_as]
    return found[0] if len(found) == 1 else None


def _exchanges(caller: EndpointClient, question: Question, logged: LoggedAnswer) -> Iterator[Exchange]:
    if question.images and not caller.model.facts.takes_images:
        return
    request = caller.endpoint.request(question_messages(question, caller.fit_images_now(question.images)))
    digested = digest_images(request)
    key = request_key(digested)
    if caller.find_recorded(digested, key) is None:
        answer = Response(logged.response, logged.prompt_tokens, logged.completion_tokens, billed_usd=logged.cost, discount=1.0)
        yield Exchange(digested, answer, caller.endpoint.address, cost_usd=0.0, tries=0, key=key)


def _tell_others(others: Counter[str], models: Sequence[PoolModel]) -> str:
    named = ", ".join(f"{name} ({count:,})" for name, count in others.most_common(MAX_NAMES))
    shared = [name for name in others if any(name == model.model for model in models)]
    more = f"; {', '.join(shared)} is the id of several candidates: name one of them so" if shared else ""
    return (
        f"{others.total():,} answers in the log are of no model of this pool and do not count: {named}; where such a name "
        f"means one of its models, list it in that model's same_as{more}"
    )
