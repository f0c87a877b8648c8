"""One prompt to ask, with all that its answers are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from auto_router.collect.endpoint import Messages, user_message
from auto_router.data.conversation import Turn, conversation_text

_SYSTEM = ("system", "developer")
_TOOLS = ("tool", "function")


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """What a log says was answered to a prompt, by which model; unknown is None. ``cost`` is USD."""

    model: str
    response: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt to ask: its right answers, the bytes of its images, and where it comes from.

    ``references`` are the right answers, any of which will do; () where the data set has none. ``choices`` are the texts of
    the options in their order (A, B, …), where the prompt offers some. ``turns`` is the whole conversation where there is
    more than the prompt; models are then asked that. ``is_test`` is None unless the data set brings its own split. ``row``
    holds the columns of the data set, where a scorer needs them. ``logged`` is an answer that the data set brings along.
    """

    idx: int
    prompt: str
    references: tuple[str, ...]
    images: tuple[bytes, ...]
    source: str | None
    group: str
    turns: tuple[Turn, ...] = ()
    is_test: bool | None = None
    choices: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    context: str = ""
    """What of the turns before the prompt is embedded beside it."""
    logged: LoggedAnswer | None = field(default=None, compare=False, repr=False)

    @property
    def answer(self) -> str:
        """The first reference, where one has to do; "" where there is none."""
        return self.references[0] if self.references else ""

    @property
    def full_text(self) -> str:
        """The prompt with all that models are told before it, system prompts too, as a judge reads it."""
        system = [turn.text.strip() for turn in self.turns if turn.role in _SYSTEM and turn.text.strip()]
        if not system:
            return self.asked_text
        asked = self.asked_text if self.context and len(self.turns) != 1 else f"User: {self.asked_text}"
        return "\n\n".join([*(f"System: {text}" for text in system), asked])

    @property
    def asked_text(self) -> str:
        """The prompt with the turns that lead to it."""
        if self.context and len(self.turns) != 1:  # one turn holds what was retrieved for it
            return conversation_text(self.turns)
        return self.turns[-1].text if self.turns else self.prompt


def question_messages(question: Question, images: Sequence[bytes] | None = None) -> Messages:
    """Return what a model is asked: the conversation where there is one, with the images in its last turn.

    ``images``: the question's, as large as the model takes them; None = as they are.
    """
    images = question.images if images is None else images
    if not question.turns:
        return user_message(question.prompt, images)
    *before, last = question.turns
    told = [(turn.role, _plain_words(turn)) for turn in before]
    return [{"role": "user" if role in _TOOLS else role, "content": words} for role, words in told if words] + user_message(
        last.text, images
    )


def _plain_words(turn: Turn) -> str:
    """Return what a model is told of a turn: its text; calls of tools and their results, too, whose ids no other API knows."""
    result = turn.other_text if "tools" in turn.needs else ""
    if turn.role in _TOOLS:
        turn, result = replace(turn, text=""), "\n".join(filter(None, (turn.text, result)))
    if result and turn.role != "assistant":
        result = f"Result of a tool:\n{result}"
    return "\n\n".join(filter(str.strip, (turn.text, result)))
