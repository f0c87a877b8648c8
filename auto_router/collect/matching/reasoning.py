"""The reasoning that a model writes before its answer: tags, channels, and what is left without them."""

from __future__ import annotations

import re
from functools import lru_cache

# Names of tags.
_REASONING = "think|thinking|thoughts?|reasoning|reason|reflection|scratchpad|analysis|seed:think|inner_monologue"
_CLOSED = re.compile(
    rf"(?<!`)(?:</(?:{_REASONING})>|\[/think\]|<\|end_(?:of_thought|thinking)\|>|◁/think▷)", re.IGNORECASE | re.ASCII
)
# An opening tag begins a line: one in the middle of a line is talked about.
_OPENED = re.compile(
    rf"^(?:<(?:{_REASONING})>|\[think\]|<\|(?:begin_of_thought|start_thinking)\|>|◁think▷)",
    re.IGNORECASE | re.ASCII | re.MULTILINE,
)
_CHANNEL = re.compile(r"<\|channel\|>\s{0,20}(\w{1,40})[^<]{0,40}<\|message\|>")
_ANSWER_MARKS = re.compile(r"<\|(?:(?:start|end)_response|(?:begin|end)_of_solution)\|>", re.IGNORECASE)
_CHANNEL_ENDS = ("<|return|>", "<|end|>", "<|start|>")


@lru_cache(maxsize=2)  # the rules and a judge ask about the same text
def strip_reasoning(text: str) -> str | None:
    """Return a response without the reasoning that a model wrote before its answer; None where that was never closed.

    All up to the last closing tag goes, whether or not its opening tag is there (chat templates often write it). An answer
    that stands before a closed block, with nothing after it, is kept. The channels of the harmony format are read too.
    """
    text = _ANSWER_MARKS.sub("", text) if "<|" in text else text
    position = text.rfind("<|channel|>")
    if position >= 0:
        found = _CHANNEL.match(text, position)
        if found is None or found.group(1).lower() != "final":
            return None
        ends = [place for mark in _CHANNEL_ENDS if (place := text.find(mark, found.end())) >= 0]
        return text[found.end() : min(ends, default=len(text))].strip()
    if text.startswith("analysis") and "assistantfinal" in text:  # harmony whose special tokens were dropped
        return text.rpartition("assistantfinal")[2].strip()
    if not any(sign in text for sign in ("<", "[", "◁")):
        return text.strip()
    text = text.strip()
    begin = max((found.end() for found in _CLOSED.finditer(text)), default=0)  # one in backticks is quoted
    rest = text[begin:].strip(" \t\n\r\v\f")
    if _OPENED.search(rest):
        return None
    opened = _OPENED.search(text)
    return rest or text[: opened.start() if opened else 0].strip()
