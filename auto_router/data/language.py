"""In which languages a prompt speaks, as far as its scripts, small words and letters tell: for the guard of what is unfamiliar.

A word of a script other than Latin speaks for that script. A word in Latin letters speaks for the languages that have it among
their small words (articles, pronouns, prepositions), or else for those that have its letter with a mark. Everything else is
silent: names, code, formulas, and words that tell nothing. So what is no language at all is in no foreign one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

_READ = 400  # characters at each end of a prompt that are looked at
# Parts of code and formulas are no words: what a backslash, a digit, an underscore or a bracket touches.
_WORD = re.compile(r"(?<![\w\\$@#./-])[^\W\d_]{2,}(?![\w(=\[/])|[^\x00-\u02ff\W\d_]+")

# First code point of a script; what is "" is Latin, marks and signs.
_SCRIPTS = (
    (0x0000, ""), (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"), (0x0590, "Hebrew"), (0x0600, "Arabic"),
    (0x0700, ""), (0x0750, "Arabic"), (0x0780, ""), (0x0900, "Devanagari"), (0x0980, "Bengali"), (0x0A00, "Gurmukhi"),
    (0x0A80, "Gujarati"), (0x0B00, "Odia"), (0x0B80, "Tamil"), (0x0C00, "Telugu"), (0x0C80, "Kannada"),
    (0x0D00, "Malayalam"), (0x0D80, "Sinhala"), (0x0E00, "Thai"), (0x0E80, "Lao"), (0x0F00, "Tibetan"), (0x1000, "Burmese"),
    (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, "Ethiopic"), (0x13A0, ""), (0x1780, "Khmer"), (0x1800, "Mongolian"),
    (0x18B0, ""), (0x1C80, "Cyrillic"), (0x1C90, "Georgian"), (0x1CC0, ""), (0x1F00, "Greek"), (0x2000, ""),
    (0x2E80, "Han"), (0x3040, "Kana"), (0x3100, "Han"), (0x3130, "Hangul"), (0x3190, "Han"), (0xA000, ""),
    (0xAC00, "Hangul"), (0xD7B0, ""), (0xF900, "Han"), (0xFB00, ""), (0xFB1D, "Hebrew"), (0xFB50, "Arabic"), (0xFE00, ""),
    (0xFE70, "Arabic"), (0xFF00, ""), (0xFF66, "Kana"), (0xFFA0, ""), (0x20000, "Han"), (0x32000, ""),
)  # fmt: skip
_STARTS, _NAMES = [start for start, _ in _SCRIPTS], [name for _, name in _SCRIPTS]
_WITHOUT_SPACES = {"Han", "Kana", "Thai", "Lao", "Khmer", "Burmese", "Tibetan"}
_CHARACTERS_A_WORD = 3
_LAST_LATIN = "\u02ff"
_SHORTEST = {"Greek": 4}  # letters of a word that is one: shorter ones are formulas and units
_JAPANESE = 0.2  # of as many Chinese characters
_MARGIN = 0.8  # words

# Letters with a mark, then small words of two letters or more. English has the small words of others that it writes, too.
_LATIN = {
    "en": "| the of to what which how that are was were have has does did who when why he she they you your my his her "
          "their an it been would should could will there between about than each these those at but many much we our its "
          "be can some any all into also only very more most other one two must may might am so me us him them after before "
          "under over on no in as is by with or and not if for from this do out up then like give make write find get use "
          "let say tell name list please here while just now such both same where whether because during until every "
          "another against through die hat man war main son pain fin plus sans car chat tire dare per via et al ad pro dies "
          "den dem van bin age sale come data note video idea final even see too ten sad met men set ate sent sin con tan "
          "era sure ha hand want door kind hier mans mit best first last state word hi sing ma pa pas",
    "de": "äöüß| der die das und ist nicht ein eine einen einem einer eines ich sie wir ihr zu den dem des mit auf für von "
          "im sich auch als wie was wer wo wann warum welche welcher welches welchem welchen wird werden wurde sind hat "
          "haben sein seine ihre kann bei aus nach über oder aber wenn dass noch nur um am zum zur bis gibt viele mehr "
          "schreibe mir bitte davon beim vom war waren keine es an so",
    "fr": "àâæçéèêëîïôœùûÿ| le la les un une des du de et est pas que qui dans pour sur avec ce cette ces il elle ils elles "
          "nous vous je son sa ses leur leurs au aux par plus ne se en ou où mais sont été être avoir quel quelle quels "
          "quelles quand comment pourquoi combien dont chez sous si fait peut lequel laquelle aussi entre sans mon ma mes "
          "ton votre écris tu",
    "es": "áéíñóúü¿¡| el la los las un una unos unas de del y que en es por con para se su sus al lo como más pero qué "
          "quién cuál cuáles cuándo dónde cómo cuánto cuántos cuántas este esta estos estas ese esa hay fue son ser está "
          "están tiene tienen entre sobre también muy sin hasta desde donde cuando porque si ya le les mi tu nos escribe",
    "pt": "ãõâêôáéíóúàç| os as um uma uns umas de do da dos das no na nos nas em que não com para por se seu sua seus suas "
          "ao aos mais como mas qual quais quem quando onde quanto quantos quantas este esta isso ele ela eles elas foi são "
          "ser está estão tem entre sobre também muito até pelo pela dele dela você escreva já me meu minha",
    "it": "àèéìòù| il lo la gli le un una uno di del dello della dei degli delle che non con per da dal dalla nel nella nei "
          "sul sulla si su come più ma chi quale quali quando dove quanto quanti quante perché questo questa questi sono è "
          "era essere ha hanno anche molto tra fra al alla ai suo sua suoi loro io tu lui lei noi scrivi ci se",
    "nl": "ëïé| de het een en van is dat die niet met op te voor zijn was aan ook als om bij naar uit wat wie waar wanneer "
          "waarom welke welk hoe hoeveel door over werd worden wordt hij zij ze haar hun hebben heeft kan maar nog dan er "
          "deze dit ik je schrijf geen veel meer tussen",
    "sv": "åäö| och att det som en ett är på av för med till den inte de om var vad vem när varför hur har han hon från vid "
          "men sig ut kan ska skulle blev blir också eller detta denna dessa mycket många hans hennes jag du vi skriv",
    "da": "æøå| og at det som en et er på af til med den ikke de om var hvad hvem hvor hvornår hvorfor hvordan hvilken "
          "hvilket har han hun fra ved men sig kan skal blev bliver også eller denne dette disse meget mange hans hendes "
          "jeg du vi skriv for",
    "no": "æøå| og at det som en et er på av til med den ikke de om var hva hvem hvor når hvorfor hvordan hvilken hvilket "
          "har han hun fra ved men seg kan skal ble blir også eller denne dette disse mye mange hans hennes jeg du vi skriv "
          "for",
    "fi": "äöå| ja on ei se että joka oli ovat mutta kun niin kuin myös tai jos hän ne mikä kuka missä mistä mihin milloin "
          "miksi miten kuinka monta tämä tässä voi ollut sen hänen ovatko kirjoita minä sinä kenestä tuli",
    "et": "äöüõ| ja on ei see et mis kes kus millal miks kuidas kui oli aga ning ka või selle tema need nad mina sina "
          "kirjuta",
    "pl": "ąćęłńóśźż| nie na się jest że do to jak co kto gdzie kiedy dlaczego który która które ile czy od po za przez dla "
          "jego jej ich są był była było ten ta tego tej oraz ale lub też już może być został napisz jakim jaki jaka jestem "
          "mnie",
    "cs": "áčďéěíňóřšťúůýž| je na se že jak co kdo kde kdy proč který která které kolik od po za pro jeho její jsou byl "
          "byla bylo ten ta toho nebo ale také už může být jsem mě napiš ve ze při jaký podle",
    "sk": "áäčďéíĺľňóôŕšťúýž| je na sa že ako čo kto kde kedy prečo ktorý ktorá ktoré koľko od po za pre jeho jej sú bol "
          "bola bolo ten tá alebo ale aj už môže byť som ma napíš vo zo pri podľa",
    "hr": "čćđšž| je na se da su što tko ko gdje gde kada zašto koji koja koje koliko od po za njegov njegova bio bila bilo "
          "ali ili kako nije sam biti može iz sa prema napiši ovo taj ta",
    "sl": "čšž| je na se da so kaj kdo kje kdaj zakaj kateri katera katero koliko od po za njegov bil bila bilo ali kako ni "
          "sem biti lahko iz pri napiši ki ta",
    "hu": "áéíóöőúüű| az és hogy nem egy van volt ez azt mi ki hol mikor miért melyik hány mennyi de is meg mint vagy csak "
          "már még lesz lehet ha akkor ő írj milyen nagy által",
    "ro": "ăâîșşțţ| și în la cu de pe nu un este sunt care ce cine unde când cum cât câți câte pentru din mai al ale lui ei "
          "sau dar fost era fi sa său după scrie prin această acest",
    "tr": "çğıöşüİ| ve bir bu da de için ile ne kim nerede nasıl neden hangi kaç çok daha en gibi olan olarak var yok mi mı "
          "mu değil ama ya ki her kadar sonra oldu olduğu yaz",
    "az": "çəğıöşüİ| və bir bu da üçün ilə nə kim harada necə niyə hansı neçə çox daha ən olan var yox deyil amma ki yaz",
    "vi": "ăâđêôơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ| và là của có cho không các một những trong được với để này "
          "người ai gì ở nào bao nhiêu khi đã sẽ cũng hay hoặc viết tại về theo như",
    "id": "| yang dan di ini itu untuk dengan dari pada adalah tidak ada akan oleh siapa apa mana kapan mengapa bagaimana "
          "berapa atau juga saya dia mereka kita telah dapat seperti dalam tentang sebuah tulis tulislah ke kami",
    "tl": "| ang ng sa na ay mga ito ni kay siya ako ikaw sila hindi ano sino saan kailan bakit paano ilan para may isang "
          "kung dahil nang at sumulat",
    "sw": "| ya wa kwa na katika ni la za cha vya nini nani wapi lini kwanini gani vipi ngapi hii hiyo huo yake wake lakini "
          "au pia sana kama andika kuhusu alikuwa wakati nchi",
    "ca": "àçèéíïòóúü| el la els les un una uns unes de del dels que en és per amb al als com més però què qui quin quina "
          "quins quan on quant quants aquest aquesta ha va són ser està tenen entre sobre també molt sense fins",
    "sq": "çë| dhe të në një për me nga që është janë ka nuk por se si kush ku kur pse cili cila sa ai ajo ata kjo ky do "
          "shkruaj",
    "lt": "ąčęėįšųūž| ir yra kad su kaip bet ar iš kas kur kada kodėl kuris kuri kiek jis ji jie tai ne nuo per po už buvo",
    "lv": "āčēģīķļņšūž| un ir ka ar kā bet vai no kas kur kad kāpēc kurš kura cik viņš viņa viņi tas tā ne par pēc bija",
    "is": "áðéíóúýþæö| og að er sem það í á við fyrir með ekki var hver hvað hvar hvenær hvers hvernig hann hún þeir um en",
    "ga": "áéíóú| an na agus ar is bhí tá go le sé sí cad cé cá nuair conas ach nó seo sin",
    "cy": "âêîôûŵŷ| yn mae ac ar wedi bod oedd sydd beth pwy ble pryd pam sut hwn hon ond neu ei eu chi",
    "eu": "| eta da du ez hau hori zer nor non noiz zergatik nola zein zenbat baina edo dira dute zen ziren",
    "af": "êëôû| die het een en van is dat nie met op te vir sy was aan ook as om by na uit wat wie waar wanneer hoekom "
          "watter hoe hoeveel deur oor hulle ons",
    "eo": "ĉĝĥĵŝŭ| kaj la estas en de ne ke al por kun kiu kio kie kiam kial kiel kiom sed aŭ ankaŭ li ŝi ili mi vi",
}  # fmt: skip


def _table(column: int) -> dict[str, tuple[str, ...]]:
    """Return the languages of every letter with a mark (0), or of every small word (1)."""
    found: dict[str, list[str]] = {}
    for language, described in _LATIN.items():
        part = described.split("|")[column]
        for item in sorted(set(part.split() if column else part)):
            found.setdefault(item, []).append(language)
    return {item: tuple(languages) for item, languages in found.items()}


_LETTERS, _WORDS = _table(0), _table(1)


def language_points(text: str) -> dict[str, float]:
    """Return how many words of a prompt speak for each language or script; empty where no word tells anything.

    A word that several languages have says little for each: it counts one, shared among them. Of a long prompt the beginning
    and the end are read.
    """
    if len(text) > 2 * _READ:
        text = f"{text[:_READ]}\n{text[-_READ:]}"
    words = _WORD.findall(text)
    if words and words[0].istitle():  # a sentence begins; elsewhere a word with a capital is a name, and tells nothing
        words[0] = words[0].lower()
    points: dict[str, float] = {}
    for word in words:
        languages = _WORDS.get(word) or (() if word.isascii() else _languages_of_marked(word))
        for language in languages:
            points[language] = points.get(language, 0.0) + 1.0 / len(languages)
        if not languages and word[0] > _LAST_LATIN:
            _count_script(word, points)
    if points.get("Kana", 0.0) > _JAPANESE * points.get("Han", 0.0):  # Japanese writes both
        points["Kana"] += points.pop("Han", 0.0)
    return points


def _languages_of_marked(word: str) -> Sequence[str]:
    """Return the languages that have all marked letters of a word, or else any of them."""
    marked = [set(_LETTERS[letter]) for letter in set(word) if letter in _LETTERS]
    if not marked or not word.islower():
        return ()
    return sorted(set.intersection(*marked) or set.union(*marked))


def _count_script(word: str, points: dict[str, float]) -> None:
    """Add what a word of scripts other than Latin speaks for; some are written without spaces, and mixed."""
    for script, count in Counter(_NAMES[bisect_right(_STARTS, ord(letter)) - 1] for letter in word).items():
        if script in _WITHOUT_SPACES:
            points[script] = points.get(script, 0.0) + count / _CHARACTERS_A_WORD
        elif script and count >= _SHORTEST.get(script, 2):
            points[script] = points.get(script, 0.0) + 1.0


def main_language(points: Mapping[str, float]) -> str | None:
    """Return the language or script that most words of a prompt speak for; None where they are less than one."""
    best = max(sorted(points), key=points.__getitem__, default=None)
    return best if best is not None and points[best] >= 1.0 else None


def foreignness(points: Mapping[str, float], known: Collection[str]) -> float:
    """Return the points of the language that most words speak for beside those of the best of the ``known``, plus a margin.

    Above 1 a prompt is in a language that is not known, and 0 where no word is of such a one.
    """
    foreign = max((points[language] for language in points if language not in known), default=0.0)
    return foreign / (max((points[language] for language in points if language in known), default=0.0) + _MARGIN)
