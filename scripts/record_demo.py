"""Record the demo as a moving picture of a terminal: ``python scripts/record_demo.py`` writes ``docs/demo.svg``.

Runs ``examples/quickstart/demo.py`` and keeps each line of its output with the time it came at. The picture is an SVG that
moves by its own style sheet: no script, no player, nothing loaded. Long pauses are cut short, as its title says. For those who
asked their system for less motion it stands still at the end.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "make demo"
COLUMNS, ROWS = 104, 27
LINE, LETTER, EDGE = 18.0, 7.83, 14.0  # pixels: a line's height, a letter's width, the margin
BAR_HEIGHT = 34.0
MAX_PAUSE = 0.8  # seconds that any pause is cut to
LINE_PAUSE = 0.05  # and that a line stands at least, so that it can be seen to pass
HOLD = 8.0  # seconds that the end stands
MIN_END_LINES = 9  # of the end, what came of it and what to do next: shown one by one

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
STYLE = """
    .paper { fill: #14171a } .bar { fill: #2a3037 }
    text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d6dde4 }
    text { white-space: pre }
    .stage { fill: #8ccdf2; font-weight: 700 } .command { fill: #5fc98a } .worth { fill: #f0e442; font-weight: 700 }
    .lines { transform: translateY(%(last).0fpx); animation: run %(seconds).2fs step-end infinite }
    @media (prefers-reduced-motion: reduce) { .lines { animation: none } }
    @keyframes run { %(frames)s }"""


class Line(NamedTuple):
    """One line of the terminal, the second that it came at, and what it is of: ``stage``, ``command``, ``worth`` or nothing."""

    second: float
    text: str
    kind: str = ""


def record(command: Sequence[str]) -> Iterator[Line]:
    """Yield the lines that a command prints; raises SystemExit where it fails."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            yield Line(time.perf_counter() - start, text)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")


def lay_out(lines: Sequence[Line]) -> list[Line]:
    """Return the lines as the terminal shows them: no control codes, none too wide, times with short pauses."""
    second, before, shown = 0.5, 0.0, [Line(0.0, f"$ {COMMAND}", "command")]
    for number, (came, text, _) in enumerate(lines):
        least = 0.5 if number >= len(lines) - MIN_END_LINES else LINE_PAUSE
        second += min(max(came - before, least), MAX_PAUSE)
        before = came
        plain = _CONTROL.sub("", text.rstrip())
        # A command or a row of a table is cut at the edge; a sentence goes on below.
        pieces = [plain] if plain.startswith("$") or "  " in plain or len(plain) <= COLUMNS else wrap(plain)
        cut = (piece if len(piece) <= COLUMNS else f"{piece[: COLUMNS - 1]}…" for piece in pieces)
        shown += [Line(second, piece, kind_of(plain)) for piece in cut]
    return shown


def wrap(text: str) -> list[str]:
    """Return a sentence in lines that fit."""
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) >= COLUMNS:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return lines


def kind_of(text: str) -> str:
    """Return how a line is drawn: a stage's title, a command, what the router is worth, or plain."""
    kinds = {"==": "stage", "$": "command", "done in": "worth"}
    return next((kind for start, kind in kinds.items() if text.startswith(start)), "")


def draw(lines: Sequence[Line]) -> str:
    """Return the SVG. The lines stand below each other, and the style sheet moves them up as they came."""
    seconds = lines[-1].second + HOLD
    width, height = COLUMNS * LETTER + 2 * EDGE, BAR_HEIGHT + ROWS * LINE + EDGE
    moves = {line.second: -(number + 1) * LINE for number, line in enumerate(lines)}
    frames = " ".join(f"{100 * second / seconds:.3f}% {{ transform: translateY({y:.0f}px) }}" for second, y in moves.items())
    style = STYLE % {"seconds": seconds, "last": -len(lines) * LINE, "frames": frames}
    bottom = BAR_HEIGHT + ROWS * LINE  # where a line is before it comes
    texts = []
    for number, (_, text, kind) in enumerate(lines):
        name = f' class="{kind}"' if kind else ""
        texts.append(
            f'<text{name} x="{EDGE:.0f}" y="{bottom + (number + 1) * LINE - 4:.0f}">{escape(text)}</text>' if text else ""
        )
    size = f'width="{width:.0f}" height="{height:.0f}"'
    told = f"A terminal. Four stages run: ask the models, encode, train and assess, route. At the end: {worth_of(lines)}"
    tab = f"M0 {BAR_HEIGHT - 4:.0f} V10 a10 10 0 0 1 10 -10 H{width - 10:.0f} a10 10 0 0 1 10 10 V{BAR_HEIGHT - 4:.0f} z"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {size} role="img">
  <title>{COMMAND}, recorded; pauses are cut short</title>
  <desc>{escape(told)}</desc>
  <style>{style}
  </style>
  <clipPath id="screen"><rect x="0" y="{BAR_HEIGHT:.0f}" width="{width:.0f}" height="{ROWS * LINE:.0f}"/></clipPath>
  <rect class="paper" {size} rx="10"/>
  <path class="bar" d="{tab}"/>
  <text x="{EDGE:.0f}" y="20">{COMMAND}</text>
  <g clip-path="url(#screen)"><g class="lines">
{chr(10).join(filter(None, texts))}
  </g></g>
</svg>
"""


def worth_of(lines: Sequence[Line]) -> str:
    """Return the sentence that the demo ends with."""
    texts = [line.text for line in lines]
    start = next((number for number, text in enumerate(texts) if text.startswith("done in")), len(texts))
    end = next((number for number in range(start, len(texts)) if not texts[number]), len(texts))
    return " ".join(texts[start:end])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "demo.svg")
    arguments = parser.parse_args(argv)
    here = str(ROOT)
    recorded = record([sys.executable, "-u", "examples/quickstart/demo.py"])
    lines = lay_out([line._replace(text=line.text.replace(here, "auto-router")) for line in recorded])
    arguments.output.write_text(draw(lines), "utf-8")
    print(f"wrote {arguments.output}: {len(lines)} lines, {lines[-1].second + HOLD:.0f} s")


if __name__ == "__main__":
    main()
