"""Names in fuller form: a place with its country, a person with a title, a work with who made it, a country's two names."""

from __future__ import annotations

import re

from auto_router.collect.matching.phrases import one_of

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
_TITLE = re.compile(
    r"(?:the )?(?:former )?"
    r"(?:(?:president|prime minister|chancellor|king|queen|pope|sir|emperor|general|professor|prof\.|dr\.?|mr\.?)"
    r"\s+)(?=[^\W\d_]\S*\s+\S)",
    re.IGNORECASE,
)
_MAKER = re.compile(r"\s+by(?:\s+(?:[A-Z][\w'’-]+|[A-Z]\.|van|von|de|da|la)){2,4}$")
_SAME = (
    frozenset(("usa", "united states", "united states of america")),
    frozenset(("uk", "united kingdom")),
)


def shorten_name(text: str, question: str = "") -> list[str]:
    """Return the names that a fuller one stands for: "Abuja" of "Abuja, Nigeria", "Barack Obama" of "President Barack Obama".

    A country that is not the one country of the question may set a place of that name apart, and is kept.
    """
    found = _IN_COUNTRY.search(text)
    asked = {name.lower() for name in _COUNTRY.findall(question)}
    place = text[: found.start()] if found and found.end() == len(text) else ""
    known = found is not None and (not asked or asked == {found.group(1).lower()})
    names = (
        [place] if place and known and re.fullmatch(r"[^\W\d_][\w .'’-]{1,40}", place) and not _COUNTRY.search(place) else []
    )
    untitled, made = _TITLE.sub("", text, count=1) if _TITLE.match(text) else text, _MAKER.sub("", text)
    return [*names, *(name for name in (untitled, made) if name != text)]


def same_country(one: str, other: str) -> bool:
    """Whether two folded wordings name one country."""
    return any(one in names and other in names for names in _SAME)
