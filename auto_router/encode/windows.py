"""Overlapping windows of a long text, for back ends whose tokenizer tells how many tokens a word takes but not where."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

MAX_WINDOWS = 16  # a 100,000-word prompt must not take minutes to route: evenly spaced windows stand for it

CLIP_TOKENS = 77  # CLIP's context, start and end tokens included
CLIP_OVERLAP = 10

_WORD = re.compile(r"\S+\s*")
_LONGEST_WORD = 16  # characters; longer runs without a space (base64, Chinese) are cut into such pieces
_CLIP_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]+|_+")


def word_windows(text: str, count: Callable[[str], int], room: int, overlap: int) -> list[str]:
    """Cut a text into overlapping windows of whole words.

    Args:
        text: any text that is not empty.
        count: the number of tokens of a word, without start and end tokens.
        room: tokens in a window.
        overlap: tokens that a window shares with the one before, at least; less where words are long.

    Returns:
        The text itself where it fits; else at most ``MAX_WINDOWS`` windows, evenly spaced where the text needs more.
    """
    words = [word[i : i + _LONGEST_WORD] for word in _WORD.findall(text) for i in range(0, len(word), _LONGEST_WORD)]
    ends = np.cumsum([count(word) for word in words])
    if not words or ends[-1] <= room:
        return [text]
    before = np.concatenate([[0], ends[:-1]])
    starts = [0]
    while (last := _end(ends, before, starts[-1], room)) < len(words):
        shared = int(np.searchsorted(before, ends[last - 1] - overlap))
        starts.append(min(max(shared, starts[-1] + 1), last))
    if len(starts) > MAX_WINDOWS:
        starts = [starts[i] for i in np.linspace(0, len(starts) - 1, MAX_WINDOWS).round().astype(int)]
    return ["".join(words[start : _end(ends, before, start, room)]).strip() for start in starts]


def clip_tokens(word: str) -> int:
    """Estimate the tokens of a word in CLIP's byte-pair vocabulary, for a server that does not share its tokenizer.

    CLIP takes every digit, every run of letters and every run of other characters by itself; a run of plain letters takes
    about one token for five, other scripts about one for two bytes.
    """
    tokens = 0
    for piece in _CLIP_PIECE.findall(word):
        tokens += -(-len(piece) // 5) if piece.isascii() else -(-len(piece.encode("utf-8", "replace")) // 2)
    return tokens


def clip_windows(text: str) -> list[str]:
    """Windows for a CLIP server's 77 tokens."""
    return word_windows(text, clip_tokens, CLIP_TOKENS - 2, CLIP_OVERLAP)


def clip_window_spec() -> dict[str, int | str]:
    """How :func:`clip_windows` cuts, for an encoder's spec."""
    return {"tokens": CLIP_TOKENS, "overlap": CLIP_OVERLAP, "max_windows": MAX_WINDOWS, "counted": "estimate"}


def _end(ends: np.ndarray[tuple[int, ...], np.dtype[np.int64]], before: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
         start: int, room: int) -> int:  # fmt: skip
    """Word behind the last one of a window; one word at least."""
    return max(int(np.searchsorted(ends, before[start] + room, side="right")), start + 1)
