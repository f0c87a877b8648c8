"""Words without their endings, and which of them carry the meaning of a claim. English only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from auto_router.collect.matching.vocabulary import list_words


def _lines(text: str) -> Iterator[list[str]]:
    return (line.split() for line in text.replace("\n", ",").split(",") if line.strip())


POSSIBLY = frozenset(list_words("can could may might"))
SURELY = frozenset(list_words("will would should shall must"))
MODALS = POSSIBLY | SURELY
PRONOUNS = frozenset(list_words("it they he she this that these those we you i one"))
# What changes nothing of a claim: articles, particles, and words such as "still", of what one sees when one looks.
FILLERS = PRONOUNS | frozenset(
    list_words("""
    is are was were am be been being do does did done has have had having who what which
    a an the to of in on at by for with from into onto during within as there its their his her our your my
    any ever still now again then also too indeed actually really definitely certainly clearly obviously so anymore considered
    able hypothetically theoretically technically likely probably remain remains final current currently number
    """)
)
NEGATIONS = frozenset(list_words("not never no cannot nobody none unable impossible unlikely doubtful false untrue incorrect"))
# Those that a question may hold. Of "Can you not swim?" nobody knows what a yes means.
DENIALS = frozenset(list_words("impossible unable unlikely never nobody untrue incorrect"))
CHANCES = frozenset(
    list_words("impossible possible unable able unlikely likely cannot")
)  # of what can be or not, not of what is
OPPOSITES = {
    frozenset(pair)
    for pair in _lines("""
    heads tails, head tail, more less, more fewer, bigger smaller, larger smaller, greater smaller, higher lower, better worse
    older younger, longer shorter, taller shorter, heavier lighter, faster slower, warmer colder, hotter colder, earlier later
    before after, even odd, alive dead, open closed, inside outside, legal illegal, necessary unnecessary, safe unsafe
    same different, multiple single, several single
    """)
}
UNCHANGED = frozenset().union(*OPPOSITES)  # words that have no ending to drop
_IRREGULAR = {
    form: base
    for base, *forms in _lines("""
    go went gone, win won, write wrote written, eat ate eaten, see saw seen, take took taken, give gave given, know knew known
    make made, find found, fight fought, buy bought, think thought, bring brought, teach taught, catch caught, sell sold
    tell told, hold held, lead led, lose lost, leave left, meet met, run ran, sing sang sung, swim swam swum, drink drank drunk
    speak spoke spoken, break broke broken, wear wore worn, bear bore born, grow grew grown, fly flew flown, drive drove driven
    ride rode ridden, fall fell fallen, feel felt, keep kept, build built, send sent, spend spent, sit sat, stand stood
    understand understood, die died dead death, begin began begun, become became, come came, get got gotten
    beat beaten, bite bit bitten, choose chose chosen, draw drew drawn, steal stole stolen, throw threw thrown, strike struck
    shoot shot, hear heard, pay paid, say said, hide hid hidden, sink sank sunk
    before earlier, after later, 2 two, 3 three, 4 four, 5 five, 6 six, 7 seven, 8 eight, 9 nine, 10 ten, 12 twelve, 20 twenty
    person people someone somebody anyone anybody
    """)
    for form in forms
}
_IS = re.compile(r"\b(it|that|there|he|she|what|who)'s\b")
_MAY = re.compile(r"(?<=[a-z,] )May\b")  # the month
_WORD = re.compile(r"[^\W_]+(?:'s\b)?")


def content_stems(text: str) -> frozenset[str]:
    """Return the stems of the words of a text that carry its meaning."""
    return frozenset(stem(word) for word in split_words(text) if word not in FILLERS | MODALS | NEGATIONS)


def digit_words(text: str) -> frozenset[str]:
    """Return the words of a text that hold a digit."""
    return frozenset(word for word in content_stems(text) if any(map(str.isdigit, word)))


def split_words(text: str) -> list[str]:
    text = _IS.sub(r"\1 is", _MAY.sub("mai", text).lower().replace("’", "'"))
    text = text.replace("earlier than", "before").replace("later than", "after")
    text = text.replace("can't", "cannot").replace("won't", "will not").replace("n't", " not").replace("only one", "single")
    return _WORD.findall(text.replace("no longer", "not"))


def stem(word: str) -> str:
    """Return a word without its ending, so that "fights", "fighting" and "fought" are one."""
    word = word.removesuffix("'s")
    word = _IRREGULAR.get(word, word)
    if word in UNCHANGED:
        return word
    short = re.sub(r"(?:ing|(?<!e)ed|es|s|e|ly)$", "", word)
    short = short[:-1] if len(short) > 3 and short[-1:] == short[-2:-1] else short
    return short if len(short) >= 2 else word


# Without these a claim is another one, also where it is denied: "he did not win" of "Did he fail to win?".
ESSENTIAL = UNCHANGED | content_stems("""
    fail avoid refuse lack stop prevent miss lose enough less least without outside against before after than almost nearly
    barely hardly rarely seldom besides quit cease forget decline reject ban hate former fake toy attempted dwarf artificial
    imitation alleged potential counterfeit mock future retired supposed virtual ex anti non half part
""")
