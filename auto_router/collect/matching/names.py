"""Names in fuller form: a place with its country, a person with a title, a work with who made it, a country's two names.

And names that are set apart from others of the same sound: "Georgia (US state)", "The Kiss by Munch".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from auto_router.collect.matching.stems import ESSENTIAL, content_stems
from auto_router.collect.matching.vocabulary import one_of

_COUNTRIES = one_of("""
    Afghanistan|Albania|Algeria|Angola|Argentina|Armenia|Australia|Austria|Azerbaijan|Bahrain|Bangladesh|Belarus|Belgium|Benin
    Bhutan|Bolivia|Botswana|Brazil|Bulgaria|Burkina Faso|Burundi|Cambodia|Cameroon|Canada|Chad|Chile|China|Colombia|Costa Rica
    Croatia|Cuba|Cyprus|Czechia|Czech Republic|Denmark|Ecuador|Egypt|England|Eritrea|Estonia|Ethiopia|Fiji|Finland|France|Gabon
    Germany|Ghana|Greece|Guinea|Haiti|Honduras|Hungary|Iceland|India|Indonesia|Iran|Iraq|Ireland|Israel|Italy|Ivory Coast
    Jamaica|Japan|Kazakhstan|Kenya|Kuwait|Kyrgyzstan|Laos|Latvia|Lebanon|Liberia|Libya|Lithuania|Madagascar|Malawi|Malaysia
    Mali|Malta|Mauritania|Mexico|Moldova|Mongolia|Montenegro|Morocco|Mozambique|Myanmar|Namibia|Nepal|Netherlands|New Zealand
    Nicaragua|Niger|Nigeria|North Korea|North Macedonia|Norway|Oman|Pakistan|Panama|Paraguay|Peru|Philippines|Poland|Portugal
    Qatar|Romania|Russia|Rwanda|Saudi Arabia|Scotland|Senegal|Serbia|Sierra Leone|Singapore|Slovakia|Slovenia|Somalia
    South Africa|South Korea|Spain|Sri Lanka|Sudan|Sweden|Switzerland|Syria|Taiwan|Tajikistan|Tanzania|Thailand|Togo|Tunisia
    Turkey|Turkmenistan|UAE|UK|Uganda|Ukraine|United Kingdom|Uruguay|Uzbekistan|Venezuela|Vietnam|Wales|Yemen|Zambia|Zimbabwe
""")
_COUNTRY = re.compile(rf"\b{_COUNTRIES}\b")
_IN_COUNTRY = re.compile(rf"(?:,\s*|\s*\()(?:the )?({_COUNTRIES})(?!\w)\)?", re.IGNORECASE)
# Places of which another listed country has a known one by the same name.
_SHARED = re.compile(
    one_of("""
    Alexandria|Barcelona|Birmingham|Boston|Cambridge|Cartagena|C[oó]rdoba|Cork|Granada|Guadalajara|Hamilton|Hyderabad|Kingston
    Le[oó]n|London|Manchester|M[eé]rida|Newcastle|Perth|Richmond|San Jos[eé]|Santiago|Toledo|Tripoli|Valencia|Victoria
    Washington
"""),
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"(?:the )?(?:former )?"
    r"(?:(?:president|prime minister|chancellor|pope|sir|professor|prof\.|dr\.?|mr\.?|(?P<thing>king|queen|emperor|general))"
    r"\s+){1,2}(?=[^\W\d_]\S*\s+\S)",
    re.IGNORECASE,
)
MAX_IDENTITY = 200  # characters of a sentence that says what something is
_ASKS_THE = re.compile(r"\b(?:who|what|which)(?: \w+)? (?:is|was|are|were) the (?P<what>[^?]{3,200})\?", re.IGNORECASE)
_IS_THE = re.compile(r"[^,;.\n]{1,60}? (?:is|was|are|were) the (?P<what>[^,;.\n]{1,80})[.!]?$")
_LESSER = content_stems("vice deputy assistant acting second third fourth fifth last next previous only")
_OF_PERSONS = re.compile(r"\b(?:who(?:m|se)?|kings?|queens?|monarchs?|emperors?|rulers?|leaders?|commanders?)\b", re.IGNORECASE)
_MAKER = re.compile(r"\s+by(?:\s+(?:[A-Z][\w'’-]+|[A-Z]\.|van|von|de|da|la)){2,4}$")
_SENSE = re.compile(r"(?P<name>[^()]{2,80}?)\s*(?:\((?P<sense>[^()]{2,60})\)|\s+by\s+(?P<maker>[A-Z][^()]{1,60}))\W*")
_SET_APART = r"[\s*_\"”]{0,4}(?:\((?P<sense>[^()\n]{2,60})\)|by (?P<maker>[A-Z][\w. ]{1,60}))"
_SORTS = re.compile(
    one_of(r"""
    \b(?:country|state|city|town|river|lake|island|planet|element|metal|god|goddess|language|film|movie|novel|book|song|album|band
    play|painting|opera|game|series|company|animal|bird|county|region|continent|king|queen|car|unit)\b
"""),
    re.IGNORECASE,
)
_SAME = (
    frozenset(("usa", "united states", "united states of america")),
    frozenset(("uk", "united kingdom")),
)


def shorten_name(text: str, question: str = "") -> list[str]:
    """Return the names that a fuller one stands for: "Abuja" of "Abuja, Nigeria", "Barack Obama" of "President Barack Obama".

    A country that is not the one country of the question may set a place of that name apart, and is kept; so is that of a name
    which two countries share, and the title of what may be a thing ("General Theory of …") where no person is asked for.
    """
    found = _IN_COUNTRY.search(text)
    asked = {name.lower() for name in _COUNTRY.findall(question)}
    place = text[: found.start()] if found and found.end() == len(text) else ""
    named = found is not None and asked == {found.group(1).lower()}
    known = named or (not asked and _SHARED.fullmatch(place) is None)
    names = (
        [place] if place and known and re.fullmatch(r"[^\W\d_][\w .'’-]{1,40}", place) and not _COUNTRY.search(place) else []
    )
    title = _TITLE.match(text)
    is_title = title is not None and (title["thing"] is None or _OF_PERSONS.search(question) is not None)
    untitled, made = text[title.end() :] if title is not None and is_title else text, _MAKER.sub("", text)
    return [*names, *(name for name in (untitled, made) if name != text)]


def same_country(one: str, other: str) -> bool:
    """Whether two folded wordings name one country."""
    return any(one in names and other in names for names in _SAME)


def repeats_asked(text: str, references: Iterable[str], question: str) -> bool:
    """Whether a reference is who does what is asked: Ann of "Whom did Ann hire?"."""
    asked = question[-400:]
    if re.search(r"\bwho(?:m|se)?\b", asked, re.IGNORECASE) is None or " or " in asked or len(text.split()) < 3:
        return False
    return all(one[:1].isupper() and re.search(rf"\b{re.escape(one.strip())}\b", asked) for one in references)


def is_something_else(text: str, references: Iterable[str], question: str) -> bool:
    """Whether a sentence says of a reference that it is another thing than the asked: "Ann is the deputy head" of the head."""
    asked, said = _ASKS_THE.search(question[-400:]), _IS_THE.match(text[:MAX_IDENTITY])
    if asked is None or said is None or any(one.lower() in said["what"].lower() for one in references):
        return False
    more, less = content_stems(said["what"]) - (of := content_stems(asked["what"])), of - content_stems(said["what"])
    return bool(more and less) or not _LESSER.isdisjoint(more | less) or not ESSENTIAL.isdisjoint(more)


def names_another(text: str, references: Iterable[str], question: str) -> bool:
    """Whether a text sets another one of a reference's name apart: "Georgia (US state)" for "Georgia (country)".

    A reference tells which one is meant, or the question asks for another sort of thing: "Which country borders Armenia?".
    """
    known = [found for reference in references if (found := _SENSE.fullmatch(reference.strip()))]
    for found in known:
        meant, name = _words(found["sense"] or found["maker"]), re.escape(found["name"])
        for said in re.finditer(rf"\b{name}{_SET_APART}", text, re.IGNORECASE):
            if meant.isdisjoint(_words(said["sense"] or said["maker"])):
                return True
    if repeats_asked(text, references, question) or is_something_else(text, references, question):
        return True
    asked, end = {sort.lower() for sort in _SORTS.findall(question[-400:])}, re.search(rf"\w{_SET_APART}\W*$", text[-200:])
    told = {sort.lower() for sort in _SORTS.findall(end["sense"] or "")} if end else set()
    given = end["sense"] if asked and end and re.fullmatch(r"[A-Z][a-z]{2,}", end["sense"] or "") else None
    if given and _COUNTRY.fullmatch(given) is None and given not in question:
        return True  # "Mercury (Freddie)" is no planet
    return bool(asked and told) and told.isdisjoint(asked)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if word not in ("the", "a", "an", "of", "in")}
