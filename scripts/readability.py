"""Are README and docs easy to read? Flesch–Kincaid grade and sentence length of their prose.

    python scripts/readability.py                 # every page; exit 1 where one is too hard
    python scripts/readability.py docs/faq.md     # this page
    python scripts/readability.py --longest 3     # and the three longest sentences of each page that is too hard

Code blocks, tables, comments, headings and addresses are left out, and a piece of code inside a sentence counts as one short
word. An item of a list ends a sentence. The grade is textstat's, the school year that reads it with ease.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import textstat

ROOT = Path(__file__).resolve().parents[1]
MAX_GRADE = 10.0
MAX_MEDIAN_WORDS = 17

_DROPPED = re.compile(
    r"^```.*?^```|<!--.*?-->|^---\n.*?^---\n|^\s*\|.*?$|^#+ .*?$|^!\[.*?$|<[^<>\n]+>", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[([^\]\n]*)\]\([^)\n]*\)")
_CODE = re.compile(r"`[^`\n]*`")
_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.|:::?|\?\?\?|!!!)\s+", re.M)
_INNER_POINT = re.compile(r"[.!?](?=\S)|(?<=e\.g)\.|(?<=i\.e)\.")
_END = re.compile(r"(?<=[.!?:])[\"”)*]*\s+(?=[\"“(*]*[A-Z0-9])|\n{2,}")


@dataclass(frozen=True, slots=True)
class Reading:
    """How hard one page is."""

    grade: float
    """US school year."""
    median_words: float
    """Words of the middle sentence."""
    sentences: list[str]

    @property
    def is_easy(self) -> bool:
        return self.grade <= MAX_GRADE and self.median_words <= MAX_MEDIAN_WORDS


def sentences_of(markdown: str) -> list[str]:
    """Return the sentences of a page's prose, in plain words."""
    text = _DROPPED.sub("\n\n", markdown)
    text = _CODE.sub("Code", _LINK.sub(r"\1", text)).replace("*", "")
    text = _ITEM.sub("\n\n", text)
    pieces = (" ".join(piece.split()) for piece in _END.split(text))
    return [piece for piece in pieces if len(re.findall(r"[A-Za-z]+", piece)) > 2]


def read_page(markdown: str) -> Reading:
    """Return how hard a page is; a page without prose is easy."""
    sentences = sentences_of(markdown)
    if not sentences:
        return Reading(0.0, 0.0, [])
    # A point inside a number or a name would end a sentence for textstat.
    closed = (_INNER_POINT.sub("", sentence).rstrip(".:;,!?") for sentence in sentences)
    whole = ". ".join(closed) + "."
    words = [len(sentence.split()) for sentence in sentences]
    return Reading(textstat.flesch_kincaid_grade(whole), statistics.median(words), sentences)


def pages() -> list[Path]:
    """Return the pages that are held to the rule."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, help="Markdown files (default: README and docs)")
    parser.add_argument("--longest", type=int, default=0, metavar="N", help="show a hard page's longest sentences")
    arguments = parser.parse_args(argv)
    hard = 0
    for page in arguments.pages or pages():
        reading = read_page(page.read_text(encoding="utf-8"))
        hard += not reading.is_easy
        mark = "" if reading.is_easy else f"   too hard: at most {MAX_GRADE:.0f} and {MAX_MEDIAN_WORDS}"
        print(f"{page.name:<22} grade {reading.grade:4.1f}, {reading.median_words:4.1f} words in the middle sentence{mark}")
        if not reading.is_easy:
            for sentence in sorted(reading.sentences, key=lambda one: -len(one.split()))[: arguments.longest]:
                print(f"    {len(sentence.split())}: {sentence[:200]}")
    if hard:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
