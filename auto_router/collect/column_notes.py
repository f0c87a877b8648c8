"""What a user should know of how a data set is read, before paying: which known set it looks like, and what may be amiss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from auto_router.collect.column_names import CLASS_NAMES, RECIPES
from auto_router.collect.options import is_number, squeeze
from auto_router.collect.prompt_template import PromptTemplate
from auto_router.collect.references import is_missing

MAX_NOTED_CLASSES = 20  # different words in a column that is taken for one of classes
_CLASS_COLUMNS = ("label", "labels", "class", "target", "sentiment", "goldlabel", "intent", *map(squeeze, CLASS_NAMES))


def name_shape(present: Iterable[str], has_options: bool, answers: Sequence[Any], has_messages: bool) -> str:
    """Return the name of the known data set that has such columns, else what kind it is of."""
    columns = set(map(squeeze, present))
    kinds = ("choices", "options", "A", "opa", "endings", "option1", "sol1")
    for name, wanted in RECIPES.items():
        if set(map(squeeze, wanted)) <= columns and has_options == any(column in kinds for column in wanted):
            if name == "GSM8K" and not any("####" in str(answer) for answer in answers):
                continue
            return f"{name}-shaped"
    return "multiple choice" if has_options else "chat" if has_messages else ""


def note_doubts(
    answers: Sequence[Any],
    roles: Mapping[str, str],
    has_options: bool,
    classes: Sequence[str],
    certain: bool,
    template: PromptTemplate,
) -> Iterator[str]:
    """Yield a note for what the answers leave open: where counting begins, or which words are the classes."""
    column = roles.get("answer", "")
    if not certain:
        yield (
            f"the answers in {column!r} are taken as places counted from 0, but no first or last place was seen; say "
            "--first-index 1 if they count from 1"
        )
    words = {str(answer) for answer in answers if isinstance(answer, str | int) and not is_missing(answer)}
    few = squeeze(column) in _CLASS_COLUMNS and len(words) <= MAX_NOTED_CLASSES
    if not has_options and not classes and template.is_default and few and words and "messages" not in roles:
        kind = "numbers of classes without names" if all(map(is_number, words)) else "names of classes"
        yield (
            f"the references in {column!r} look like {kind} ({', '.join(sorted(words)[:5])}), and the prompt does not say what "
            f"to answer with; say it with --prompt-template, as '{{{{ {roles.get('prompt', 'text')} }}}} Answer with one of: …'"
        )
