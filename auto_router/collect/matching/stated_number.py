"""Which number a statement or a closing sentence gives as its answer; UNCLEAR where it gives several, a range or a bound."""

from __future__ import annotations

import re
from itertools import pairwise

from auto_router.collect.matching.bounds import BOUND, read_bound
from auto_router.collect.matching.choices import UNCLEAR, Rejected, Unclear
from auto_router.collect.matching.numerals import digits_in_prose, join_amounts, plain_numbers
from auto_router.collect.matching.quantities import (
    MAX_NUMBERS,
    Occurrence,
    Quantity,
    find_quantities,
    parse_quantity,
    same_quantity,
)
from auto_router.collect.matching.vocabulary import ABOUT, CHANGES, HEDGE, NEGATION, one_of

_MONEY = "[$€£]?"
MAX_OF_A_SENTENCE = 30  # numbers; a sentence of more, that no equals sign ends, is about none of them

# "24 apples, 12 of which are red": a part of what was counted; not "…, 2 of which are eaten".
_PART_OF = (
    r",?\s+(?:and |with )?(?:of (?:which|whom|them) (?:\d+|half|some|most)|(?:\d+|half|some|most)(?: [a-z]+)?"
    r" of (?:which|whom|them|it))"
    r"(?: (?:are|is|were|was))?(?: (?!(?:left|remain\w*|eaten|sold|given|lost|gone|taken|removed|used|broken|stolen|spent)\b)"
    r"[a-z-]+){0,3}(?=[.!]?\s*$)"
)
_ASIDE = re.compile(
    _PART_OF + r"|\s*\((?![\d.,/\s]*\))[^()]{0,200}\)|\s*\[\d{1,3}\]|\s*\[[^\[\]]{4,80}\]|(?<=\w)\s+\((?:[^()]{1,200})\)"
)
_EXPLAINS = re.compile(
    r"(?:,|;|\s[-–—]|\s)\s*"
    + one_of(r"""
    because|since|as\b(?! (?:well|many|much))|while|whereas|although|though|where|which|i\.e\.|that is(?!.*=)|namely|given that
    due to|so that|compared|(?:and )?not\b|rather than|instead of|including|excluding|but(?![^.]*\d)|weil|porque|car|потому|因为
""")
    + r"\b.*$|[;—].*$|。.*$|\s[–-]\s(?=[A-Za-z]).*$",
    re.IGNORECASE | re.DOTALL,
)
_NEAR = re.compile(
    rf"(?:(?<!\w)(?:{BOUND}|{ABOUT}|{CHANGES})|[~≈<>≤≥±≠]|!=|\\neq?\b|不是|\\approx|\\leq?|\\geq?|\\sim)\s*"
    r"(?:about |around |the |exactly |\$)?\s*$",
    re.IGNORECASE,
)
_RANGE_AFTER = re.compile(
    r"\s*"
    + one_of(rf"""
    (?:-|to|bis|à|hasta|or|oder|ou|o|and|und|～|~|\.{{2,}}|…)\s*{_MONEY}-?\d|\+(?!\s*\d)|±|<|>|≤|≥
    (?:or )?(?:less|fewer|short|shy)\b|or (?:more|so|over|under|above|below|greater|higher|larger|older|up|thereabouts)\b
    (?:at )?(?:most|least)\b|and (?:up|upwards?|above|over|older|under|below)\b|(?:minimum|maximum|tops)\b
    give or take\b|-?ish\b|[人名個个件本枚岁歳次回点]?(?:以[上下内]|未満)
    oder (?:mehr|weniger)\b|(?:ou|et) plus\b|o más\b|ou mais\b
    (?:°\w? |\w+ )?(?:below|under) (?:zero|0)\b|unter null\b|bajo cero\b|sotto zero\b
    (?:squared|cubed|factorial|doubled|tripled|halved)\b|-?\s?fold\b|(?:percent|%)\s+of\b|(?:raised )?to the (?:power
    \w+ power)\b
    (?:times|x)\s+(?:as|more|less|the|greater|larger|bigger|fewer|higher|lower|faster|slower|that|this|what|[a-z]{{2,8}}er\b)
    (?:halves|thirds|quarters|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths)\b
    (?:mod(?:ulo)?|choose|(?:with )?(?:a )?remainder)\b
    (?:times|minus|plus|divided by|multiplied by)\s+(?:{_MONEY}\d|one\b)
    upwards?\b|-(?:something|odd)\b|over(?! \w+ (?:second|minute|hour|day|week|month|year)s?\b)\s+(?:{_MONEY}\d|one\b)
"""),
    re.IGNORECASE,
)
# What makes a number a circumstance ("for 3 people", "the 72 vlogs", "to carry 8 bags") and not what a sentence is about.
_ADJUNCT = re.compile(
    r"\b"
    + one_of(r"""
    for|in|per|at|after|within|of|from|by|every|each|with|during|than|against|on|to|into|among|across|until|before|since|through
    the|these|those|all|both|his|her|their|its|other|first|last|next|remaining|original|step|part|question|chapter|figure|grade
    day|year|month|week|page|room|level|class|team|problem|number|section|line|case
    (?<!need )(?<!needs )(?<!needed )(?<!has )(?<!have )(?<!had )(?<!able )(?<!going )(?<!wants )(?<!want )to \w+
""")
    + rf"\s+(?:(?:a|an|the|his|her|their|another|total|all|only|just)\s+)?{_MONEY}$",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"(?:\b"
    + one_of(r"""
    is|are|was|were|be|has|have|had|makes?|made|costs?|pays?|paid|needs?|needed|gets?|equals?|earns?|earned|spends?|spent|takes?
    took|reads?|eats?|ate|weighs?|receives?|gives?|buys?|bought|sells?|sold|saves?|saved|uses?|used|owes?|travels?|walks?|runs?
    drives?|totals?|becomes?|leaves|left with|leaving
    (?:needs|have|has) to \w+|(?:must|will|can|would) \w+|ist|sind|hat|est|es|son
""")
    + rf"|=)\s*(?:a total of |only |just |exactly |now |then |also |still |about to )?\s*(?:US)?{_MONEY}$",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"^(?:(?:so|therefore|thus|hence|then|and|finally|(?:this|that) means(?: that)?|in total|in all|altogether|overall),?\s+)*"
    + one_of("""
    in|after|for|at|with|by|during|on|if|since|because|when|given|out of|from|over|as|among|of|once|before|until|to|through
""")
    + r"\s[^,.;=]{0,120},\s+",
    re.IGNORECASE,
)
_GIVES = re.compile(
    one_of(r"""
    ,? which (?:is equal to|equals|is|comes to|gives(?: us)?|makes|would (?:be|give us))
    \b(?:equals|gives(?: us| you)?|(?:we|you) (?:will )?get|to get|results? in|comes (?:out )?to|for a total of)
""")
    + rf" (?:a total of )?(?={_MONEY}\d)(?!{_MONEY}[\d.,]+%?\s*(?:\w+ )?(?:more|less|fewer|greater|higher|lower|times)\b)"
)
_RECKONED_OR = re.compile(rf"((?:[-+*/×]|\b(?:plus|minus|times))\s*{_MONEY}\d[\d,.]*\)?(?: [a-z]+)?),? or (?={_MONEY}\d)")
_AT = r"\b(?:at|when|where|for|with)\s+\$?[a-z]\$?\s*"
_AT_PLACE = re.compile(  # where a value is taken, which is no value itself: "-2, attained at x = 1"
    r"(?:,|,?\s+(?:and )?(?:is |it is )?(?:attained|reached|achieved|obtained|taken|occurring|occurs))\s+"
    rf"{_AT}=\s*[-+]?[\d./]+\$?(?=[\s.,;)]|$)"
)
_COUNT = re.compile(r"^([^:]{0,80}\b(?:there (?:is|are)|has|have) (?:only |exactly )?\d+ [a-z ]{3,40}):\s", re.I)
_COMPARES = re.compile(r"\b(?:is|are|was|were) (?:less|fewer|greater|more|larger|smaller|higher|lower|older|younger) than\b")
_PLAN = re.compile(r"\b(?:multiply|divide|subtract|add|solve|calculate|figure out|set up|suppose|let)\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\s*(?:\w+\s+)?(?:is|are|was|were|would be|must be)(?: not|n['’]t| wrong| incorrect| false| too)\b"
    r"|\s*can(?:not|['’]t) be\b"
)
_SO = re.compile(
    r",?\s+(?:so(?! that(?! means| would|['’]s))|therefore|thus|hence|which means(?: that)?|meaning(?: that)?|leaving"
    r"|which leaves)\s+", re.IGNORECASE,
)  # fmt: skip
_COORDINATED = re.compile(rf"\s+(?:[A-Za-z-]+,?\s+){{0,4}}?(?:and|plus|or)\s+(?:a |another )?{_MONEY}", re.IGNORECASE)
# Reasons and comparisons behind a value, whose numbers are no further step.
_REASON = re.compile(
    r"(?:,|;|\s[-–—]|\s)\s*"
    + one_of(r"""
    because|since|as\b(?! (?:well|many|much))|whereas|although|though|where|given that|due to|compared|rather than|instead of
    not|including|excluding|than|out of|which is (?:less|more|greater|smaller|larger|fewer)
""")
    + r"\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_NEXT_STEP = re.compile(r"[,;:]|\.\s|\b(?:and|but|then|so|leaving|leaves|minus|plus|less|of which)\b|[-+*/×]", re.IGNORECASE)
_SHARE = re.compile(r"\s*(?:\w+ )?(?:for |in |to )?(?:each|every|per)\b", re.IGNORECASE)
_SIDE_BY_SIDE = re.compile(
    rf"\s*(?:-|to|or|oder|ou|and|und|～|~|\.{{2,}}|…|,|, ?or|/|bis|<|>)\s*(?:[A-Za-z]\s*=)?\s*{_MONEY}\s*", re.IGNORECASE
)
_SAYS = re.compile(
    r"^(?:(?:so|thus|therefore),? )?"
    r"(?:(?:the|my) (?:final )?(?:answer|value|result|number|total)(?: is| lies|(?= (?:can|could)))"
    r"|it is|it['’]s|it|that is|that['’]s|[a-z](?=\s*(?:≠|!=|\\ne))|x)\s+",
    re.IGNORECASE,
)
_NUMERAL = r"([-$€£]?\d[^a-z\s]*(?: ?[a-zA-Z%°]+)?)"
_NOT = "(?:not equal to|not|isn['’]t|cannot be|can['’]t be|anything but|nicht|kein|no es|pas|不是|не|≠|!=|\\\\neq?(?![a-z]))"
_REJECTS = re.compile(
    one_of(rf"""
    (?:is |could |would )?(?:definitely |certainly )?{_NOT}\s*{_NUMERAL}
    {_NUMERAL} is (?:wrong|incorrect|false|not (?:correct|right|the answer|it|true))
"""),
    re.IGNORECASE,
)
_SEVERAL = re.compile(
    one_of(rf"""
    \s+(?:to|or|and|nor|oder|und|bis|et|ou)\s+|(?<=\d)\s+[àyoa]\s+(?=-?{_MONEY}\d)|,\s+or\s+
    (?<=\d)\s*(?:-|~|～|\.{{2,}}|…|至|到)\s*(?=\d)|(?<=\d)\s*;\s*(?=-?{_MONEY}\d)
"""),
    re.IGNORECASE,
)
_LISTED = re.compile(rf",?\s+or\s+|,\s+(?=-?{_MONEY}\d)|{_SEVERAL.pattern}", re.IGNORECASE)
_BARE_LIST = re.compile(rf"-?{_MONEY}\d[\d.]*(?:,\s+-?{_MONEY}\d[\d.]*)+")
# "the sum of 2 and 3 is 5"
_OPERANDS = re.compile(
    r"\b(?:of|between) (?:the numbers )?-?\d[\d.]*(?:(?:,? and|,) -?\d[\d.]*){1,9}(?= (?:is|are|was|equals)\b)"
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(rf"(?:\bon )?\b(?:{_DAY}(?: of)? {_MONTH}\.?|{_MONTH}\.? {_DAY}),? (?=\d{{4}}\b)", re.IGNORECASE)
_NOT_IN_YEAR = re.compile(r"(?:before|after|prior to)\s+[12]\d{3}", re.IGNORECASE)
_OF_NUMBER = re.compile(rf"\s+of\s+{_MONEY}\d[\d.,]*\W*")
_CLOCK = re.compile(r"\b\d{1,2}:\d\d(?::\d\d)?\s*(?:[ap]\.?m\.?|UTC|GMT)?", re.IGNORECASE)
_NAME = re.compile(r"\b(?!Is|Are|The|Of|And|So|In|For|Total|Answer|Therefore|Thus|Hence|Has|Was|About)[A-Z][a-z]+ $")


def read_number(text: str, leading: bool = False) -> Quantity | Rejected | Unclear | None:
    """Return the number that a statement gives; None where it has none.

    Args:
        leading: the statement begins with its number (``#### 3 tune-ups in a 30-day month``).
    """
    whole = parse_quantity(text)
    if whole is not None:
        return whole
    plain = plain_numbers(text).strip()
    if read_bound(plain) is not None:
        return UNCLEAR
    plain = _AT_PLACE.sub("", plain) if "=" in plain and _AT_PLACE.sub("", plain).strip(" .") else plain
    rejected = _find_rejected_numbers(plain)
    if rejected and read_equivalents(plain) is None:  # "5 kg or 11 lb" is one amount
        return Rejected(rejected)
    if _NOT_IN_YEAR.fullmatch(plain.rstrip(".")):
        return UNCLEAR
    shown = _read_equation(plain)
    if shown is not None:
        return shown
    short = _ASIDE.sub(" ", plain.replace("i.e.", "that is"))
    cut = _EXPLAINS.sub("", short).strip(" .,")
    whole = parse_quantity(re.split(r"(?<=[\w)%])[.!]\s", cut, maxsplit=1)[0]) if cut else None
    if whole is not None:
        return whole
    equal = read_equivalents(plain)
    if equal is not None:
        return equal
    if leading:
        first = next(find_quantities(plain), None)
        if (
            first
            and not first.partial
            and not plain[: first.start].strip(" $€£")
            and not _RANGE_AFTER.match(plain[first.end :])
        ):
            return first.quantity
    sentence = re.split(r"(?<=[\w)%\]])[.!。](?:\s|$)", short, maxsplit=1)[0]
    return read_sentence(sentence)


def _find_rejected_numbers(text: str) -> tuple[Quantity, ...]:
    """Return the numbers of a statement that denies one ("not 5") or gives several for one ("5 to 10")."""
    if len(text) > 80:
        return ()
    bare = _SAYS.sub("", text.strip().rstrip(".。!")).strip()
    one = _REJECTS.fullmatch(bare)
    if one:
        denied = parse_quantity(next(group for group in one.groups() if group))
        return (denied,) if denied else ()
    parts = [
        parse_quantity(re.sub(r"^\s*[a-z]\s*=\s*", "", part))
        for part in (_LISTED if re.search(r",? or ", bare) or _BARE_LIST.fullmatch(bare) else _SEVERAL).split(
            re.sub(
                r"^(?:from|between|either|neither|anywhere from|von|zwischen|entre|de|both)\s+", "", bare, flags=re.IGNORECASE
            )
        )
    ]
    known = [part for part in parts if part is not None]
    if bare.lower().startswith("from ") and len(known) == 2 and known[0].value > known[1].value:
        return ()  # a fall, no range
    if len(known) < 2 or len(known) < len(parts) or any(same_quantity(part, known[0]) for part in known[1:]):
        return ()
    return tuple(known[1:] if _BARE_LIST.fullmatch(bare) else known)  # the first of "2, -1" may be the answer


def read_sentence(sentence: str) -> Quantity | Unclear | None:
    """Return the one number that a sentence is about; UNCLEAR where it has several, or denies or bounds it."""
    text = join_amounts(digits_in_prose(_DATE.sub("dated ", _CLOCK.sub("", _ASIDE.sub(" ", plain_numbers(sentence))))))
    counted = _COUNT.match(text)
    text = counted.group(1) if counted else text
    bare = _AT_PLACE.sub("", text)
    text = bare if any(char.isdigit() for char in bare) else text
    text = _OPERANDS.sub("", _GIVES.sub(" = ", _RECKONED_OR.sub(r"\1 = ", text)))
    if not any(char.isdigit() for char in text):
        return None
    found = list(find_quantities(text))
    if _COMPARES.search(text) or _alternatives(text, found):
        return UNCLEAR
    computed = _after_equals(text)
    if computed is not None:
        return computed
    if len(found) > MAX_OF_A_SENTENCE or any(_DENIED.match(text[o.end :]) for o in found):
        return UNCLEAR
    text = _without_asides(text)
    found = list(find_quantities(text))
    if _alternatives(text, found, coordinated=True):
        return UNCLEAR
    for patterns, wanted in (((_NAME, _NEAR), False), ((_ADJUNCT,), False), ((_VERB,), True)):
        if _differ(found):
            kept = [o for o in found if any(pattern.search(text[: o.start]) for pattern in patterns) is wanted]
            found = kept or found
    if not found or _differ(found) or any(o.partial for o in found):
        return UNCLEAR
    one = found[-1]
    before, after = text[: one.start], text[one.end :]
    if (
        _NEAR.search(before)
        or _RANGE_AFTER.match(after)
        or NEGATION.search(before)
        or HEDGE.search(before)
        or _DENIED.match(after)
        or _goes_on(after, one.quantity)
    ):
        return UNCLEAR
    if one.quantity.unit.dimension == "percent" and _OF_NUMBER.fullmatch(after):
        return UNCLEAR
    if "?" in text or _PLAN.search(before):
        return UNCLEAR
    return one.quantity


def _without_asides(text: str) -> str:
    """Drop a leading circumstance ("After 3 days, …") and a trailing explanation, where numbers remain."""
    lead = _LEAD_IN.match(text)
    if lead and any(char.isdigit() for char in text[lead.end() :]):
        text = text[lead.end() :]
    clauses = [clause for clause in _SO.split(text) if any(char.isdigit() for char in clause)]
    text = clauses[-1] if clauses else text
    cut = _EXPLAINS.sub("", text)
    return cut if any(char.isdigit() for char in cut) else text


def _differ(found: list[Occurrence]) -> bool:
    """Whether not all quantities are the same."""
    first = found[0].quantity if found else None
    return any(one.quantity != first and not same_quantity(one.quantity, first) for one in found if first is not None)


def _alternatives(text: str, found: list[Occurrence], coordinated: bool = False) -> bool:
    """Whether two numbers stand side by side, as a range, a list or a choice; ``coordinated``: or as "8 cats and 24 dogs"."""
    for one, other in pairwise(found):
        between = text[one.end : other.start]
        if other.start < text.rfind("="):
            continue
        if re.match(r"\s*[-+*/×·÷=^]", text[other.end :]) and between.strip() == "-":
            continue  # a difference that is reckoned
        if _SIDE_BY_SIDE.fullmatch(between) or (coordinated and _COORDINATED.fullmatch(between)):
            if same_quantity(one.quantity, other.quantity):
                continue
            return True
    return False


def _read_equation(text: str) -> Quantity | None:
    """Return the value of a chain of equals: "x = 5", "6 * 7 = 42", "27 = 3^3"; None where it does not hold or end."""
    sides = [side.strip().rstrip(".").strip() for side in text.split("=")]
    if len(sides) < 2 or len(text) > 300 or all(re.search(r"[\d)]\s*[-+*/×÷^]\s*[\d(]", side) for side in sides):
        return None
    values = [parse_quantity(side) for side in sides]
    if values[-1] is not None and re.fullmatch(r"\(?[A-Za-zα-ω](?:_\{?\w\}?)?(?:\([a-z]\))?\)?", sides[0]) and len(sides) == 2:
        return values[-1]
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        return None
    return known[-1] if all(same_quantity(value, known[0]) for value in known[1:]) else None


def read_equivalents(text: str) -> Quantity | None:
    """Return the value that a text gives twice: "1/2, or 0.5", "1/2 = 50%", "five (5)", "3/4, i.e. 0.75"."""
    parts = re.split(
        r",?\s+(?:or|i\.e\.,?|that is|also|=|≈|which is|oder)\s+|\s*[=(]\s*", text.rstrip(" ).").strip(), maxsplit=1
    )
    if len(parts) != 2:
        return None
    second = re.sub(r"^(?:about|approximately|approx\.?|roughly|around|nearly|≈|~)\s*", "", parts[1].strip(" ()."))
    one, other = parse_quantity(parts[0]), parse_quantity(second)
    if one is None or other is None:
        return None
    kinds = [quantity.unit.dimension.removesuffix("C").removesuffix("F") for quantity in (one, other)]
    if one.unit != other.unit and kinds[0] and kinds[0] == kinds[1] and not kinds[0].startswith(("currency", "temperature")):
        size, converted = one.value * one.unit.size, other.value * other.unit.size
        return one if abs(size - converted) * 50 <= abs(size) else None  # "240 km, or about 149 miles"
    return one if same_quantity(other, one) else None


def _after_equals(text: str) -> Quantity | Unclear | None:
    """Return the number after the last "=" of a sentence."""
    position = text.rfind("=")
    if position < 0:
        return None
    if re.search(_AT + "$", text[:position]) and any(char.isdigit() for char in text[:position]):
        return UNCLEAR  # "-2 at x = 1"
    found = next(find_quantities(text[position + 1 :]), None)
    if found is None or text[position + 1 :][: found.start].strip(" $€£(:"):
        return None
    after = text[position + 1 :][found.end :]
    if (
        found.partial
        or _RANGE_AFTER.match(after)
        or (_DENIED.match(after) and re.match(r"\s*(?:is|are|was|were)\b", after))
        or (re.search(r"\d", _EXPLAINS.sub("", after)) and re.match(r"\s*[-+*/×]", after))
        or _goes_on(after, found.quantity)
    ):
        return UNCLEAR
    return (
        found.quantity
        if not NEGATION.search(text[:position]) and text[position - 1 : position] not in ("<", ">", "!", "≠")
        else UNCLEAR
    )


def _goes_on(after: str, value: Quantity) -> bool:
    """Whether a sentence reckons on behind a value: "5 + 3 = 8 apples, and gives away 2, leaving 6"."""
    step = _NEXT_STEP.search(rest := _REASON.sub("", after))
    rest = rest[step.start() :] if step else ""
    return any(
        not same_quantity(one.quantity, value) and not _ADJUNCT.search(rest[: one.start]) and not _SHARE.match(rest[one.end :])
        for one in find_quantities(rest)
    )


def has_circumstances_only(text: str) -> bool:
    """Whether each number of a text tells of a circumstance: 3 in "a week for all 3 steps"."""
    text = digits_in_prose(plain_numbers(text))
    return all(_ADJUNCT.search(text[: one.start]) for one in find_quantities(text))


def names_value(text: str, expected: Quantity) -> bool:
    """Whether a quantity occurs in a text, or may, in whatever unit or writing."""
    found = list(find_quantities(digits_in_prose(plain_numbers(text))))
    if len(found) == MAX_NUMBERS:
        return True
    wanted = (expected.value, -expected.value)
    return any(o.quantity.value in wanted or same_quantity(o.quantity, expected) is not False for o in found)
