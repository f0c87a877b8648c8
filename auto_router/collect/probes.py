"""The small questions before a run: what a candidate and a judge are asked to find out whether they work."""

from __future__ import annotations

import io

from PIL import Image

from auto_router.collect.endpoint import Messages, user_message
from auto_router.collect.source import Question

TEXT_PROBE = "Reply with the word ready."
IMAGE_PROBE = "What colour fills this picture? Reply with one word."
# A judge is asked for a real verdict, in a right answer's favour that no rule would see.
JUDGE_ANSWER, JUDGE_REFERENCE = "The colour of ripe tomatoes.", "red"
JUDGE_PROBES = ("Which colour do you get by mixing magenta and yellow?", "Which colour fills this picture?")


def probe_messages(image: bool) -> Messages:
    """Return a candidate's small question; with ``image``, about a red square."""
    return user_message(IMAGE_PROBE, [red_square()]) if image else user_message(TEXT_PROBE)


def judge_probe(image: bool) -> Question:
    """Return the question whose answer ``JUDGE_ANSWER`` a judge is asked to grade."""
    return Question(0, JUDGE_PROBES[image], JUDGE_REFERENCE, (red_square(),) if image else (), None, "")


def red_square() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (220, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()
