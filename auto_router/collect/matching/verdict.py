"""Decide an answer against its reference without a model: True, False, or None where no rule can tell.

A rule decides only on an answer that is *stated* (:mod:`final_answer`). None is a matter for a judge and never counts as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from auto_router.collect.matching.asked_name import names_asked, swaps_places
from auto_router.collect.matching.bounds import read_bound, same_bound
from auto_router.collect.matching.choices import (
    UNCLEAR,
    Rejected,
    Unclear,
    read_letter,
    read_letters,
)
from auto_router.collect.matching.claims import MAX_QUESTION, read_claim
from auto_router.collect.matching.dates import is_moment, read_dates, read_time, same_date, same_time
from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.expressions import same_expression
from auto_router.collect.matching.final_answer import (
    MAX_STATEMENT,
    Statement,
    read_worked_answer,
    split_sentences,
    well_formed,
)
from auto_router.collect.matching.kinds import names_several, read_kind
from auto_router.collect.matching.names import names_another
from auto_router.collect.matching.number_match import OTHER_WORDS, match_number, misses_that_none_is
from auto_router.collect.matching.option_lists import (
    drop_called,
    drop_remarks,
    read_all_or_none,
    read_marked_options,
    read_nth,
    shorten_statements,
)
from auto_router.collect.matching.other_matters import is_of_another, pick_clauses
from auto_router.collect.matching.quantities import is_none_of, parse_quantity, same_quantity
from auto_router.collect.matching.reading import (
    Reading,
    closes_with,
    drop_assent,
    is_other_object,
    keep_asked,
    keep_metres,
    list_closing,
    read_response,
)
from auto_router.collect.matching.reasoning import strip_reasoning
from auto_router.collect.matching.restated import read_conclusion
from auto_router.collect.matching.stated import (
    compare_value,
    has_same_words,
    match_literal,
    match_part,
    match_words,
    read_stated,
    same_sequence,
    tells_moment,
)
from auto_router.collect.matching.truth import PREDICATE, asks_false, read_truth, truth_value
from auto_router.collect.matching.vocabulary import HEDGE, NEGATION, NOT_KNOWN, REFUSAL
from auto_router.collect.matching.wordings import (
    OPTION,
    asks_order,
    fold,
    is_range,
    keep_same_name,
    list_alternatives,
    list_wordings,
    read_bullets,
    read_range,
    read_ratio,
    same_ratio,
    unquote,
)

LETTERS = "ABCDEFGH"  # options of which a reference says nothing further
_NUMBERED_LETTER = re.compile(r"^\d{1,2}[.):]\s*\(?[A-Z]\)?(?:\W*$|\s+[-–—:]\s)", re.MULTILINE)
# "42. Wait, 43.", "Yes... actually, no.": what comes last counts.
_RETRACTED = re.compile(
    r"[^\n]{1,120}?(?:[.!…—–?,-]+|\n)\s*(?:(?:hmm|oh|oops|ah|no)[,.!—–-]*\s+)*"
    r"(?:(?P<no>no)|wait|actually|sorry|scratch that|correction|on second thought|I meant?)\b[,:.!…—–-]*\s*"
    r"(?:(?:no|sorry)[,:.—–-]*\s*)?(?:(?:it|that)(?:['’]s| is) |the answer is )?(?P<last>\w[^\n]{0,60})",
    re.IGNORECASE,
)
MAX_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_REFERENCE = 20_000  # characters

_MATHS = re.compile(
    r"[\\^√∛π∞∪∈±∅ℝ<>≤≥]|\b(?:empty set|infinity|no (?:real )?solutions?|all real(?:s| numbers)|pi)\b"
    r"|^\s*\{\s*\}\s*$|\d\s*[-+*/]\s*[\w(]|[a-z]\s*[-+=*/^]"
    r"|[a-z]\s*\(|\d[a-z]\b|[-+]\s*\d|^[(\[{].*[)\]}]$|^-?[\d.]+\s*,\s*-?[\d.]+|_\d"
)
_WITH_LETTER = re.compile(
    r"(?P<text>.{1,200}?)[\s,]*(?:[(\[]|→|->|=>|\bso\b|\boption\b|\bchoice\b)[\s(]*(?:option |choice )?"
    r"(?P<letter>[A-Z])[)\]]?[\s.]*"
)


def match(response: str, references: str | Sequence[str], choices: Sequence[str] = (), question: str = "") -> bool | None:
    """Is ``response`` right by its reference? None where no rule can tell.

    Args:
        references: one right answer, or several: right if any matches, wrong only if every one is decidedly missed. A reference
            that is a worked solution is read to its final value, one that is a printed list or SQuAD struct to its items.
        choices: the texts of the options in their order (A, B, …), so that an option's text stands for its letter and back.
        question: the prompt. Where it asks whether something is so, an answer may say yes or no in the question's own words.
    """
    answer = strip_reasoning(response)
    if not answer:
        return None
    question = well_formed(question)[-MAX_QUESTION:]
    given = [references] if isinstance(references, str) else references
    answer = answer if any(truth_value(one) is not None for one in (*given, *choices)) else drop_assent(answer)
    answer = keep_metres(answer, given, question)
    markup = not any(sign in text for text in (*given, *choices) for sign in ("<", "~"))
    read = keep_asked(replace(read_response(answer, markup), question=question, claim=read_claim(question)))
    choices = [well_formed(choice) for choice in choices]
    wanted = [item for reference in given for item in list_alternatives(well_formed(reference))]
    if is_other_object(read) and not any(one.lstrip()[:1] in tuple("[{") for one in wanted):
        return None
    if REFUSAL.fullmatch(answer) and not any(
        NOT_KNOWN.search(text) or re.search(rf"(?<!\w){re.escape(fold(text[:MAX_STATEMENT]))}(?!\w)", fold(answer))
        for text in (*wanted, *choices)
    ):
        return False
    verdicts = [_match(read, reference[:MAX_REFERENCE], choices) for reference in wanted if reference.strip()]
    if not verdicts or (True not in verdicts and None in verdicts) or _tells_of_another(read):
        part = _find_last_word(read, any(truth_value(one) is not None for one in wanted))
        return (match(part, references, choices, question) or None) if part else None
    if True in verdicts and (names_another(read.text, wanted, question) or _stands_on_other_side(read, references, choices)):
        return None
    return True in verdicts


def _find_last_word(response: Reading, of_truth: bool) -> str:
    """Return the part that counts of an undecided reply: its clause on the asked side, or what takes back the rest; else ""."""
    text = response.text
    if len(text) > MAX_STATEMENT:
        return ""
    clause = pick_clauses(text, response.question)[0] if len(response.sentences) == 1 and response.claim is None else ""
    if clause:
        return "" if HEDGE.search(text) or is_doubted("", Statement(text, "line", 0)) else clause
    found = _RETRACTED.fullmatch(text)
    if found is None or (of_truth and found["no"]):  # "Yes, no" says neither
        return ""
    return "" if NEGATION.search(found["last"]) or HEDGE.search(found["last"]) else found["last"]


def _stands_on_other_side(response: Reading, references: str | Sequence[str], choices: Sequence[str]) -> bool:
    """Whether a sentence that tells of both sides gives the reference only on the one that is not asked for."""
    if response.claim is not None or any(one.formal for one in response.statements[:1]):
        return False
    clause, others = pick_clauses(next(iter(response.sentences), ""), response.question)
    return any(match(one, references, choices) for one in others) and not match(clause, references, choices, response.question)


def _tells_of_another(response: Reading) -> bool:
    """Whether the sentence that answers tells of something else than is asked; of yes and no the question's words decide."""
    if response.claim is not None:
        return False
    stated = next(iter(response.statements), None)
    said = stated.before + stated.text if stated is not None else next(iter(response.sentences), "")
    return (stated is None or not stated.formal) and is_of_another(said, response.question)


def _match(response: Reading, reference: str, choices: Sequence[str]) -> bool | None:
    reference = read_worked_answer(reference.strip()).strip()
    if not reference:
        return None
    place = _option_place(reference, choices)
    if place is not None:
        verdict = _match_option(response, place, choices)
        if verdict is None and all(is_moment(choice) for choice in choices):
            verdict = _match_value(response, choices[place].strip())  # another moment than all of the options' is wrong
        if verdict is not None or is_none_of(response.text, choices):
            return verdict if isinstance(verdict, bool) else None if verdict is not None else False
    if has_same_words(response, reference):
        return True
    response = replace(response, conditional=is_doubted("", Statement(reference, "line", 0)))
    quoted = unquote(reference)
    if quoted is not None:  # a quoted reference is a string literal: every character counts
        return match_literal(response, reference)
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", reference).replace("$", "").strip()
    option = OPTION.match(bare)
    named = option if option and option.group("text") and not OPTION.match(option.group("text")) else None
    if named or re.fullmatch(r"\(?[A-Za-z][).]?", bare):
        letter = str(named.group("letter") or named.group("inner")) if named else bare.strip("().")
        by_letter = _match_letter(response, letter.upper())
        return _match(response, named.group("text"), ()) or None if by_letter is None and named else by_letter
    letters = read_letters(bare, LETTERS)
    if letters is not None and len(letters) > 1:
        return _match_letters(response, letters)
    truth = truth_value(reference)
    if truth is not None:
        return compare_value(_read_truth_of(response), lambda value: value is truth)
    return _match_value(response, reference)


def _read_truth_of(response: Reading) -> bool | Rejected | Unclear | None:
    """Read what a response states of a yes/no question; where it states nothing, what it says in the question's own words."""
    asked = next((part for part in reversed(split_sentences(response.question)) if "?" in part), "")
    of_false, of_denied = asks_false(asked), re.match(r"\W*\w+n['’]t\b", asked) is not None

    def read(statement: Statement) -> bool | Rejected | Unclear | None:
        said = read_truth(statement.text)
        # "Right, cats don't bark" to "Don't cats bark?"
        agrees = of_denied and said is True and NEGATION.search(statement.text)
        return UNCLEAR if agrees or (of_false and PREDICATE.search(statement.text)) else said

    stated = read_stated(response, read)
    if response.claim is not None:
        said = read_conclusion(response.sentences, response.claim)
        if said is not None and (stated is None or (stated is UNCLEAR and closes_with(response))):
            return said
        if isinstance(said, bool) and said is (not stated):  # "the answer is yes: the coin is tails up"
            return UNCLEAR
    return (
        stated if stated is not None else read_stated(response, lambda s: None, [read_truth(s) for s in response.sentences[:1]])
    )


def _match_value(response: Reading, reference: str) -> bool | None:
    """Match a date, a time, a number, mathematics, a Python literal or words."""
    dates = read_dates(reference)
    if dates:
        verdict = match_part(response, lambda part: same_date(found, dates) if (found := read_dates(part)) else None)
        verdict = tells_moment(response, dates, None) if verdict is None else verdict
        return verdict if verdict is not None or not reference.isdigit() else match_number(response, reference)
    time = read_time(reference, reference=True)
    if time is not None:
        verdict = match_part(response, lambda part: same_time(found, time) if (found := read_time(part)) else None)
        return verdict if verdict is not None else tells_moment(response, (), time)
    ratio = read_ratio(reference) if ":" in reference else ()
    if ratio:
        return match_part(response, lambda part: same_ratio(read_ratio(part), ratio))
    if is_range(reference):
        parts = [part for statement in response.statements for part in list_wordings(statement)]
        if any(read_range(part) == read_range(reference) for part in parts):
            return True
        ends = [[parse_quantity(end) for end in read_range(text)] for text in (response.text, reference)]
        pairs = list(zip(*ends, strict=False))  # another range is wrong
        verdicts = [same_quantity(a, b) if a and b else None for a, b in pairs]
        return False if False in verdicts else True if len(verdicts) == 2 and all(verdicts) else None
    if (compare_kind := read_kind(reference)) is not None:
        if names_several(response.text):
            return None
        verdict = match_part(response, compare_kind)
        if verdict is not None:
            return verdict
    bound = read_bound(reference)
    if bound is not None and match_part(response, lambda part: bool((b := read_bound(part)) and same_bound(b, bound)) or None):
        return True
    if re.fullmatch(r"-?\d+,-?\d+", reference) and parse_quantity(reference) is not None:  # a decimal comma, or two numbers
        verdicts = [
            match_number(response, reference),
            match_part(response, lambda part: same_expression(part, reference + ",")),
        ]
        return True if True in verdicts else False if verdicts == [False, False] else None
    if misses_that_none_is(response, reference):
        return False
    if parse_quantity(reference) is not None and reference.lower() not in OTHER_WORDS:
        return match_number(response, reference)
    response = replace(response, statements=keep_same_name(response.statements, reference))
    if reference[0] in "[({":
        verdict = match_literal(response, reference)
        if verdict is not None:
            return verdict
    if _MATHS.search(reference):
        compare = same_sequence if "," in reference and asks_order(response.question) else same_expression
        verdict = match_part(
            response, lambda part: compare(part, reference) if _MATHS.search(part) or parse_quantity(part) else None
        )
        if verdict is not None:
            return verdict
    said = None if swaps_places(response, reference) else match_words(response, reference)
    return said if said is not None else names_asked(response, reference)


def _read_marks(response: Reading, letters: str) -> tuple[Reading, str | Unclear | None]:
    """Return the option that a list of them marks as right, and the response without the lines of that list."""
    marked = read_marked_options(response.text, letters, response.question)
    response = drop_called(response)
    if marked is None:
        return replace(response, statements=drop_remarks(response.text, response.statements, letters)), None
    return replace(response, statements=[s for s in response.statements if s.formal or s.source in ("final", "answer")]), marked


def _match_letter(response: Reading, letter: str) -> bool | None:
    if len(_NUMBERED_LETTER.findall(response.text)) > 1:
        return None  # "1. B", "2. C": answers to several questions
    letters = LETTERS if letter in LETTERS else MAX_LETTERS[: MAX_LETTERS.index(letter) + 1]
    response, marked = _read_marks(response, letters)
    prose = (
        [marked]
        if marked
        else [read_letter(sentence, letters) for sentence in list_closing(response, 1 if len(response.sentences) < 3 else 2)]
    )
    value = read_stated(
        response, lambda s: read_letter(s.text, letters, stands_alone=s.source in ("line", "first", "bold")), prose
    )
    return compare_value(value, lambda found: found == letter)


def _match_letters(response: Reading, letters: frozenset[str]) -> bool | None:
    bullets = read_letters(", ".join(read_bullets(response.text)), LETTERS)
    value = bullets or read_stated(response, lambda s: read_letters(re.sub(r"[\"'`]", "", s.text), LETTERS))
    return compare_value(value, lambda found: found == letters)


def _option_place(reference: str, choices: Sequence[str]) -> int | None:
    """Return which option a reference is, by its text or its letter; None where it is none."""
    bare = reference.strip("(). ").upper()
    named = [place for place, choice in enumerate(choices) if fold(choice) == fold(reference)]
    letters = MAX_LETTERS[: len(choices)]
    return named[0] if len(named) == 1 else letters.index(bare) if len(bare) == 1 and bare in letters else None


def _match_option(response: Reading, wanted: int, choices: Sequence[str]) -> bool | Unclear | None:
    """Match by which option is meant: its letter, its text, or both; UNCLEAR where they contradict."""
    letters = MAX_LETTERS[: len(choices)]
    response, marked = _read_marks(response, letters)
    said = [response.text, *(one.text for one in response.statements[:1])]
    said += [option.group("text") for text in said if (option := OPTION.match(text)) and option.group("text")]
    said += [shorten_statements(text) for text in response.sentences[:1]]
    worded = [place for place, choice in enumerate(choices) if fold(choice) in map(fold, said)]
    if len(worded) == 1 and any(is_doubted("", Statement(choice, "line", 0)) for choice in choices):
        return worded[0] == wanted  # "maybe", where it is one of the options
    whole = read_all_or_none(response.text, response.question)
    if whole:
        return read_all_or_none(choices[wanted]) == whole
    nth = read_nth(response.text, len(choices))
    if nth is not None:  # "Option 2" may be the one that says 2
        others = {place for place, choice in enumerate(choices) if fold(choice) in fold(response.text).split()} - {nth}
        return UNCLEAR if others else nth == wanted

    def read(statement: Statement) -> int | Rejected | Unclear | None:
        beside = _WITH_LETTER.fullmatch(statement.text) or re.fullmatch(
            r"(?P<letter>\d)[).:]\s+(?P<text>\S.{0,200})", statement.text
        )
        worded = _which(replace(statement, text=beside["text"]), choices) if beside else None
        if beside and worded is not None:  # "Paris (A)", "18 → option C", "1) Paris"
            sign = beside["letter"]
            return worded if worded == (int(sign) - 1 if sign.isdigit() else letters.find(sign)) else UNCLEAR
        letter = read_letter(statement.text, letters, stands_alone=statement.source in ("line", "first", "bold"))
        option = OPTION.match(statement.text)
        inside = re.search(r"\b([A-Z])\)?\s*\(([^()]{1,200})\)[.\s]*$", statement.text)  # "B (12)"
        joined = re.match(r"[(\[<{]?([A-Z])[)\]>}]?\s*[/:.)–-]?\s+(?=\S)", statement.text)  # "C / Berlin", "C Berlin"
        place = letters.find(joined.group(1)) if joined else -1
        if joined and place >= 0 and fold(statement.text[joined.end() :]) == fold(choices[place]):
            return place
        part = option.group("text") if option and option.group("text") else inside.group(2) if inside else statement.text
        text = _which(replace(statement, text=part), choices)
        if text is None and statement.text == response.text:
            text = _which_happens(statement.text, choices)
        if isinstance(letter, Rejected):
            return Rejected(tuple(letters.index(one) for one in letter.values))
        if letter is None and inside and text is not None and text != letters.find(inside.group(1)):
            return UNCLEAR
        if letter is None or isinstance(letter, Unclear):
            return text if text is not None else letter
        place = letters.index(letter)
        return place if not isinstance(text, int) or text == place else UNCLEAR

    last = marked if marked is None or isinstance(marked, Unclear) else letters.index(marked)
    prose = [last] if marked else [read(Statement(sentence, "answer", 0)) for sentence in list_closing(response)]
    value = read_stated(response, read, prose)
    return value if isinstance(value, Unclear) else compare_value(value, lambda place: place == wanted)


def _which_happens(text: str, choices: Sequence[str]) -> int | None:
    """Return the place of the one option that a whole reply says of its subject: "It increases.", "The pressure decreases."."""
    if not re.match(r"(?:it|they|this|that|the) ", text, re.IGNORECASE) or NEGATION.search(text) or HEDGE.search(text):
        return None
    said = fold(text)
    found = [
        place
        for place, choice in enumerate(choices)
        if re.fullmatch(rf"[a-z]+(?: [a-z]+)? {re.escape(fold(choice))}", said) and re.fullmatch(r"[a-z ]{3,60}", fold(choice))
    ]
    return found[0] if len(found) == 1 else None


def _which(statement: Statement, choices: Sequence[str]) -> int | None:
    """Return the place of the one option whose text a statement is."""
    if len(statement.text) > MAX_STATEMENT:
        return None
    whole = Reading(statement.text, [statement], [])
    found = [place for place, choice in enumerate(choices) if choice.strip() and _match(whole, choice, ()) is True]
    return found[0] if len(found) == 1 else None
