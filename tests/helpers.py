"""Small things that several tests build their inputs from."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from auto_router.collect.endpoint import Messages
from auto_router.collect.judge import GRADE, GRADED_PROMPT, REFERENCE_PROMPT, TRUTH, Verdict, read_verdict, reference_task
from auto_router.collect.question import Question
from auto_router.collect.reply import Response

HOSTILE_PROMPTS = [
    "What is in cat.jpg",
    "/etc/passwd",
    "http://127.0.0.1:1/x.png",
    "file:///etc/hostname",
    "data:image/png;base64,AAAA",
    "C:\\windows\\win.ini",
    "cat.png",
    "emoji 🐈 and עברית and 中文",
    "nul \x00 inside",
    "lone surrogate \ud800 here",
    "new\nlines\tand\rtabs",
]


def png(colour: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> bytes:
    """Return a one-colour PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def judge_messages(question: Question, answer: str, images: Sequence[bytes] = (), graded: bool = False) -> Messages:
    """Return the messages to have one answer graded against its references."""
    return reference_task(question, answer, GRADED_PROMPT if graded else REFERENCE_PROMPT).messages(images)


def verdict_id(question: Question, answer: str) -> str:
    """Return what a verdict on this answer must repeat."""
    return reference_task(question, answer).id


def parse_verdict(reply: Response, expected_id: str, graded: bool = False) -> Verdict:
    """Return the verdict that a reply states on an answer that was graded against references."""
    return read_verdict(reply, expected_id, GRADE if graded else TRUTH)
