"""Bounds: "at least 10", "≥ 10", "10 or more", "up to 5". One says less than a number, and equals another bound only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auto_router.collect.matching.numerals import plain_numbers
from auto_router.collect.matching.quantities import Quantity, parse_quantity, same_quantity
from auto_router.collect.matching.vocabulary import one_of

MAX_BOUND = 80  # characters

_BEFORE = {
    "≥": one_of(r"""
        (?:greater|more|larger|bigger|higher) than or equal to|at (?:the )?(?:very )?least|as (?:few|little) as|(?:no
        not) (?:less|fewer|lower|smaller) than
        not (?:under|below)|(?:a |the )?min(?:imum|\.)?(?: of)?|upwards? of|mindestens|nicht weniger als|au moins|au minimum
        al menos
        por lo menos|como mínimo|pelo menos|no mínimo|almeno|come minimo|(?:op zijn )?minste?ns?|не менее|не меньше|en az
        co najmniej
        至少|不少于|不低于|最低|少なくとも|最少|최소|على الأقل|कम से कम|>\s?=|≥|⩾|\\geq?(?:slant)?
    """),
    "≤": one_of(r"""
        (?:less|fewer|smaller|lower) than or equal to|at (?:the )?(?:very )?most|(?:no|not|nothing) (?:more|greater|larger
        bigger|higher) than
        (?:not|nothing) (?:over|above|exceeding)|up to|(?:a |the )?max(?:imum|\.)?(?: of)?|as (?:many|much) as|höchstens
        maximal|bis zu|nicht mehr als
        au plus|au maximum|jusqu['’]à|a lo (?:sumo|más)|como máximo|hasta|no máximo|até|al massimo|fino a|hoogstens|maximaal
        tot|не более|не больше
        en fazla|co najwyżej|最多|不超过|不多于|至多|最大|多くとも|최대|<\s?=|≤|⩽|\\leq?(?:slant)?
    """),
    ">": one_of(r"""
        (?:strictly )?(?:more|greater|larger|bigger|higher) than|over|above|beyond|exceed(?:s|ing)|in excess of|north of
        mehr als|über
        größer als|plus de|plus grand que|más de|mayor que|mais de|maior que|più di|oltre|meer dan|больше|более|свыше
        daha fazla|ponad
        więcej niż|大于|超过|多于|高于|>|\\gt
    """),
    "<": one_of(r"""
        (?:strictly )?(?:less|fewer|smaller|lower) than|under|below|beneath|south of|short of|weniger als|unter|kleiner als
        moins de
        menos de|menor que|meno di|minder dan|меньше|менее|mniej niż|小于|不到|少于|低于|未满|<|\\lt
    """),
}  # fmt: skip
BOUND = "(?:" + "|".join(_BEFORE.values()) + ")"  # what may stand before a number
_AFTER = {
    "≥": one_of(r"""
        \+|plus\b|upwards?\b|(?:or|and) (?:more|above|over|greater|higher|larger|bigger|up|upwards?|older|beyond|better
        longer)|at (?:the )?(?:very )?least
        min(?:imum|\.)?(?!\w)|und mehr|oder (?:mehr|darüber|größer|älter)|(?:et|ou) plus|[yo] más|e mais|ou mais|o più
        of meer|или (?:более|больше)
        lub więcej|veya daha fazla|或以上|或更多|及以上|以上|이상
    """),
    "≤": one_of(r"""
        (?:or|and) (?:less|fewer|below|under|lower|smaller|younger|shorter|down)|at (?:the )?(?:very )?most|max(?:imum
        \.)?(?!\w)|tops\b
        oder weniger|ou moins|o menos|ou menos|o meno|of minder
        или (?:менее|меньше)|lub mniej|或以下|或更少|及以下|以下|以内|이하
    """),
    ">": "超過|초과",
    "<": "未満|미만",
}  # fmt: skip
_SAYS = (
    r"(?:(?:so|thus|therefore),? )?(?:(?:the|my) (?:final )?(?:answer|value|result|number|total) "
    r"|it |that |there |(?P<name>[a-z])\s*)?"
    r"(?:(?:is|are|lies|must be|should be|['’]s)\s+)?"
)
_FORMS = [
    *(
        (kind, re.compile(rf"{_SAYS}(?:{words})(?![a-z])\s*(?P<value>\S.*)", re.IGNORECASE | re.DOTALL))
        for kind, words in _BEFORE.items()
    ),
    *(
        (
            kind,
            re.compile(
                rf"{_SAYS}(?P<value>[^\s\d]{{0,3}}\s?\w.*?)\s*[人名個个件本枚岁歳次回点명]?(?:{words})\s*"
                r"(?P<noun>[a-z][a-z' -]*)?",
                re.IGNORECASE | re.DOTALL,
            ),
        )
        for kind, words in _AFTER.items()
    ),
]


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound: ``kind`` is ≥, ≤, > or <; ``name`` the letter of what it bounds, "" where it has none."""

    kind: str
    quantity: Quantity
    name: str


def read_bound(text: str) -> Bound | None:
    """Return the bound that a text is, and nothing beside it; None for any other."""
    text = plain_numbers(text[: MAX_BOUND + 1]).strip().strip("*_`\"'“”").rstrip(".。!").strip()
    if not text or len(text) > MAX_BOUND:
        return None
    for kind, form in _FORMS:
        found = form.fullmatch(text)
        if found is None:
            continue
        noun = found.groupdict().get("noun")
        quantity = parse_quantity(f"{found.group('value')} {noun}" if noun else found.group("value"))
        if quantity is not None:
            return Bound(kind, quantity, (found.group("name") or "").lower())
    return None


def same_bound(one: Bound, other: Bound) -> bool:
    """Whether two bounds are the same; a name that is left out may be any."""
    named = one.name == other.name or not one.name or not other.name
    return named and one.kind == other.kind and same_quantity(one.quantity, other.quantity) is True
