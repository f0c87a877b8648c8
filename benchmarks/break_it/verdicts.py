"""Answers of a megabyte that are built to hurt the rules: each verdict must come within 50 ms of one core.

What counts is the time on the core, to which other programs add little. The time on the clock is told beside it.
"""

from __future__ import annotations

import random
import time
import traceback

from auto_router.collect.judge import judge_by_rules
from auto_router.collect.matching.quantities import read_quantities, same_quantity
from auto_router.collect.matching.reasoning import strip_reasoning
from auto_router.collect.question import Question
from auto_router.collect.reply import Response
from break_it.tally import Tally

SIZE, LIMIT_S = 10**6, 0.050
REFERENCES = (
    "42",
    "forty-two",
    "A",
    "yes",
    "12 May 2020",
    "3.5 km",
    r"\frac{1}{2}",
    "[1, 2, 3]",
    "at least 10",
    "$20",
    "x^2 + 1",
)
BLOCKS = [
    "1", "1,", "1.", "1 ", "-", "+", "(", ")", "((1", "{", "}", "\\boxed{", "\\frac{1}{", "**", "**1", "$", "$$", "`",
    "```\n", "\n",
    " ", "\t", "\u00a0", "\\", "/", "1/", "1e", "10^", "^", "2^2^", "sqrt(", "[1, ", "(A) ", "A ", "A. ", "A or ", "yes ",
    "not ", "no, ",
    "twenty ", "hundred ", "thousand million ", "one ", "and ", "the answer is ", "answer: ", "Answer: 4\n", "#### ",
    "<think>", "</think>",
    "<answer>", "[THINK]", "May 1, ", "12 May ", "2020-", "12:30 ", "5 km ", "km", "%", "€", "USD ", '{"answer": ',
    '{"answer": "', '"', "'",
    "I think ", "if ", "but ", "or ", "maybe ", "x + ", "x", "=", "= 1 ", "<", ">", "&", "at least ", "about ", "\u0967", "十",
    "é", "\u0301",
    "\u200b", "\U0001f600", "\x00", "a", "aa ", "word ", "Word. ", "1st ", "ⅷ", "½", "₂", "²", ",", ";", ":", "...", "…", "—",
    "_", "~",
    # Tags and tokens, whole, begun and quoted, in any order.
    "<think>\n", "\n<think>", "\n<t", "<t", "</think>\n", "`</think>", "</", "</thinz", "\n[t", "◁", "◁think▷", "◁/think▷",
    "<₂\n", "~\\", "\\ ", "\\quad ", "\\\\", "\\,", "\\circ", "^ ", "\\( \\)",
    "<|channel|>", "<|channel|>final<|message|>", "<|channel|>aaaa", "<|end|>", "<|", "analysis", "assistantfinal",
    "</answer>", "<answer>1</answer>", "<b>", "<br>", "<s>", "<sup>2</sup>", "~~a~~", "\nHuman:", "\nQ:", "[INST]", "</s>",
    # Openings without an end: boxes, JSON, quotes, mathematics, fences.
    "\\boxed{\\boxed{", "\\fbox{", "{{", '{"a":', "[[", '[{"', '\\"', '"answer": "\\', "“", "„", "«", "((", "))", ")(", "\\[",
    "\\(",
    "\\begin{", "\\sqrt[3]{", "\\text{", "\\left(", "\\dfrac{1}", "_{1}", "e^", "10^{", "`a`", "```python\n", "```\n4\n```\n",
    # Numbers in other scripts and writings.
    "٠", "१२", "१. ", "１", "①", "𝟙", "万", "十百", "3½", "1 1/2 ", "1,000", "1.000.000,", "0.0", ".1", "1..2", "1e9", "1:2:",
    "±", "--", "+-", "1–2", "between 1 and ", "up to ", "%20", "1%", "100% ", "9" * 50 + " ", "pi ", "one hundred and ",
    "un million de ",
    # Statements, doubts, corrections and their ends.
    "A ✓\n", "✅ A\n", "## Answer\n", "**Answer:** 4\n", "**4**\n", "- 4\n", "| a | b |\n", "not 4 but ",
    "you might think 3, but ",
    "wait, ", "Let me recheck: ", "✓ ", "otherwise 4, ", "if x > 1, ", "hope this ", "e.g. ", "A. B. ", "!? ", "。", "！",
    "答案是", "ответ: ", "réponse: ", "उत्तर: ", "الجواب: ", "since ", "none of the ",
    # What no keyboard writes.
    "\ud800", "\ud83d", "1/\ud83d", "a\udfff", "\r", "\v", "\x85", "\u2028", "\u3000", "\ufeff", "\u200e", "ﷺ", "ß", "İ", "ı",
    "ﬁ", "&nbsp;", "&#60;",
]  # fmt: skip


def _texts(rng: random.Random) -> list[tuple[str, str]]:
    """Repetitions of one block, with beginnings and an end that keep a pattern going; and mixes of up to four blocks."""
    found = []
    for block in BLOCKS:
        body = block * (SIZE // len(block))
        found += [
            (repr(block), body),
            (f"answer, {block!r}", f"The answer is {body}"),
            (f"{block!r}, end", f"{body} 42.\nSo it is 42"),
            (f"{block!r}, thought and said", f"<think>{body[: SIZE // 2]}</think>{body[: SIZE // 2]}"),
        ]
    for _ in range(600):
        some = "".join(rng.choices(BLOCKS, k=rng.choice([2, 3, 4])))
        found.append(
            (repr(some), rng.choice(["", "The answer is ", "\\boxed{", "**", "<think>\n"]) + some * (SIZE // len(some)))
        )
    rng.shuffle(found)
    return found


def _time_anew(text: str, question: Question) -> float:
    """Return the seconds of a verdict of which nothing is remembered."""
    for remembered in (strip_reasoning, same_quantity, read_quantities):
        remembered.cache_clear()
    start = time.process_time()
    judge_by_rules(Response(text), question, False)
    return time.process_time() - start


def attack(tally: Tally, seconds: float, seed: int) -> None:
    rng, until = random.Random(seed), time.monotonic() + seconds
    slow, waits = list[tuple[float, str]](), list[float]()
    for reference in REFERENCES:  # what is imported with the first verdict counts not
        judge_by_rules(
            Response("maybe it is 42, on 12 May 2020, or twenty"), Question(0, "q", (reference,), (), None, ""), False
        )
    for name, text in _texts(rng):
        if time.monotonic() > until:
            break
        reference = rng.choice(REFERENCES)
        question = Question(0, "q", (reference,), (), None, "", choices=("42", "41") if reference == "A" else ())
        start, begin = time.process_time(), time.monotonic()
        try:
            judge_by_rules(Response(text), question, False)
            outcome, detail = "right result", ""
        except Exception:  # noqa: BLE001  whatever comes is what is looked for
            outcome, detail = "crash", traceback.format_exc()
        took = time.process_time() - start
        waits.append(time.monotonic() - begin)
        if took > LIMIT_S and outcome == "right result":  # a core is slower while its neighbour works
            took = min(took, *(_time_anew(text, question) for _ in range(2)))
        slow.append((took, f"{name} for {reference!r}"))
        if took > LIMIT_S and outcome != "crash":
            outcome, detail = "hang", f"{took * 1000:.0f} ms"
        tally.note("verdicts on a megabyte", outcome, f"{name} for {reference!r}: {detail}")
    over = sum(wait > LIMIT_S for wait in waits)
    tally.notes.append(f"on the clock: the slowest took {max(waits) * 1000:.0f} ms, {over} took over {LIMIT_S * 1000:.0f} ms")
    tally.notes.append(
        "slowest on the core: " + "; ".join(f"{took * 1000:.0f} ms {name[:60]}" for took, name in sorted(slow)[-5:])
    )
