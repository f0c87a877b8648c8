"""Whether a writer stands by a stated answer, or doubts it, offers another beside it, or ties it to a condition."""

from __future__ import annotations

import re

from auto_router.collect.matching.final_answer import Statement
from auto_router.collect.matching.quantities import parse_quantity
from auto_router.collect.matching.vocabulary import one_of, words_or

MAX_AFTER = 2_000  # characters of a statement, and after it, in which it may be doubted

_VALUE = (
    r"(?:(?:option |answer |around |about |closer to |the )?(?:[-$€£(\[]{0,2}\d|\(?(?-i:[A-H])\b|yes\b|no\b|true\b|false\b"
    r"|(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w{3,5}teen|\w{3,5}ty)\b))"
)
# Doubt of one's own answer: counts wherever it stands from the statement on.
_OWN_DOUBT = re.compile(
    words_or(
        rf"""
    not (?:\w+ )?positive (?:about|that|of|on)\b|(?:I am|I['’]m) not (?:\w+ )?positive\b
    (?:not|n['’]t|never) (?:(?:be|feel|really|too|so|very|that|at all|all that|(?:a )?100 ?%|one hundred percent
    absolutely|entirely|completely|totally|fully|quite|exactly|yet|overly) ){{0,3}}(?:sure|certain|convinced|confident)\b
    (?:unsure|uncertain|unconvinced|no certainty|little confidence|low confidence|tentative(?:ly)?|in doubt
    doubtful)\b|I (?:\w+ )?(?:have|had|still have) (?:my |some |serious |a few )?doubts?\b|I doubt (?:it|that|this|my)
    I (?:could|may|might) (?:(?:well|easily|also|still|very well) )?(?:be|have)\b
    I['’]m (?:probably|possibly|likely) wrong\b
    (?:could|may|might) (?:(?:well|easily|also|still|very well|possibly|just as well|equally
    instead) ){{0,2}}be {_VALUE}|(?:could|may|might) (?:\w+ ){{1,4}}?be {_VALUE}
    (?:do|please) (?:also )?(?:double[- ]?check|check|verify)\b|(?:inclined|tempted) to (?:say|go|pick|choose|answer)\b
    lean(?:ing)? (?:to|towards?)\b
    (?:confidence|certainty)\b\W{{0,4}}(?:is |level )?\W{{0,4}}(?:low|medium|moderate|[0-6]?\d ?%)
    (?:it|this|that|answer|which) (?:could|may|might) (?:(?:well|also|still|very well|easily) )?be (?:wrong|mistaken
    off|incorrect|inaccurate|different|another|something else|either|otherwise|more|less|higher|lower)\b
    (?:could|may|might) (?:be|have been) (?:wrong|mistaken|incorrect)\b
    (?:I['’]m|I am|I was|just|only|merely) (?:just |only |merely )?guessing\b|(?:my|a|an|just a|only a) (?:\w+ )?guess\b
    I (?:would |can only |['’]d |just )?(?:guess|suppose|reckon)\b|or (?:so I|at least I) (?:think|believe|guess)
    so I (?:think|believe)\b|(?:don['’]t|do not) (?:quote|hold|trust) me\b|take my word\b|grain of salt\b
    (?:if|unless) I(?:['’]m| am|['’]ve| have) (?:not )?(?:mistaken|wrong|misread\w*|mis\w+|remember\w*|recall\w*)\b
    if I (?:had|have) to (?:guess|choose|pick|bet)\b
    if (?:I (?:remember|recall|read|understand|understood)|memory serves)\b
    as far as I (?:know|can (?:tell|see)|remember|recall)\b
    (?:hard|difficult|impossible) to (?:say|tell|know|be (?:sure|certain))\b|who knows\b
    (?:ich bin|bin) (?:mir )?(?:\w+ )?(?:nicht|un) ?(?:\w+ )?sicher|unsicher\b|könnte (?:auch )?(?:\d|falsch|sein)
    (?:pas|pas du tout|pas très|pas tout à fait|pas vraiment) (?:s[ûu]re?|certaine?)\b|pourrait (?:aussi )?être\b
    no estoy (?:\w+ )?segur[oa]|podría ser\b|não (?:tenho|estou) (?:\w+ )?(?:certeza|cert[oa])|poderia ser\b
    non (?:sono|ne sono) (?:\w+ )?(?:sicur[oa]|cert[oa])|potrebbe essere\b|niet (?:\w+ )?zeker\b|emin değilim\b
    nie jestem (?:\w+ )?pew
""",
        r"""
    ['’]d guess\b|[,;]\s*I (?:think|believe|assume|presume|imagine)\s*(?:[.,;!…)]|$|but\b|though\b)|не увер
    не совсем увер|может быть|不(?:太|是很|完全|敢)?确定|不(?:太)?確定|没把握|也可能|也许|自信(?:は|が)(?:あり|な)
    確信(?:は|が)|わかりませんが|かもしれ|확실하지|확신|아닐 수도|لست متأكد|पक्का नहीं
""",
    ),
    re.IGNORECASE,
)
# Another answer beside the stated one.
_ALTERNATIVE = re.compile(
    words_or(
        rf"""
    or not {_VALUE}|or (?:else |even |maybe |perhaps |possibly |probably |potentially |alternatively ){{1,2}}\S
    alternatively\b[,:]?\s*{_VALUE}|alternatively,? (?:it|the answer)\b
    (?:also|equally|just as|still|as well) (?:possible|plausible|valid|acceptable|defensible|arguable|justifiable)\b
    (?:another|other) (?:possible|valid|plausible|acceptable|potential) (?:answer|solution|value|option|choice)s?\b
    (?:some|others|many|people|one|you) (?:\w+ )?(?:might|may|could|would) (?:\w+ )?(?:say|argue|answer|claim|pick
    choose|get) {_VALUE}|then again\b|cannot (?:rule|exclude)\b|can['’]t (?:rule|exclude)\b|toss[- ]?up\b|torn between\b
""",
        rf"""
    (?:^|[.;!—–-])\s*Or (?:is it |it['’]s |could it be )?{_VALUE}
    \b{_VALUE}\W*(?:is|are|would be|seems|looks) (?:also |equally |just as |still )(?:possible|plausible|correct|right
    valid|good|fine|likely)\b|\b{_VALUE}\W*(?:is|seems|looks|remains) (?:possible|plausible)\b
    \b{_VALUE} (?:would|could|might|may) (?:also |well |equally )?(?:work|fit|do|be (?:right|correct|possible|valid|it
    true|argued|defended|justified))\b
""",
    ),
    re.IGNORECASE,
)
# Another answer in place of the stated one: "41. No, sorry: 42", "B, no, C", "41 (should be 42)".
_ALONE = rf"{_VALUE}[\d.,]*\W*(?:$|[.;,!)])"
_INSTEAD = (
    r"\s*[,:;.!…—–-]*\s*(?:no\b[,:]?\s*)?"
    rf"(?:(?:it['’]s|it is|it was|I meant?|the (?:correct |right )?answer is)\s+)?{_VALUE}"
)
_TAKEN_BACK = re.compile(
    one_of(rf"""
    \b(?:wait|sorry|oops|pardon|correction|edit|update|re-?check(?:ing|ed)?|on reflection)\b{_INSTEAD}
    \b(?:(?:scratch|strike|make) that|on second thoughts?|or rather|I meant?|I mean to say)\b{_INSTEAD}
    \b(?:entschuldigung|moment|perd[óo]n|perdón|scusa|desculpe|извините)\b{_INSTEAD}
    (?:^|[.;!…—–,-])\s*(?:actually|in fact)\b[,:]?\s*(?:(?:it['’]s|it is)\s+)?{_ALONE}
    [.;!…—–,-]\s*(?:no|nope|nein|non|nee|нет)\b[,:]?\s*(?:wait|sorry|{_ALONE})
    \(\s*(?:corrected|revised|changed)(?: to)?\s*:?\s*{_VALUE}
    [(;,.]\s*(?:(?:it|this|that) )?should (?:instead )?(?:be|read|have been) {_ALONE}
    ^\W*{_VALUE}[\d.,]*\s*(?:->|→|=>)\s*{_ALONE}
    ^\W{{0,3}}[.;!]\s*(?:but )?(?:that|this|it)(?: is| was|['’]s) (?:wrong|incorrect|a mistake)\b
    {_VALUE} is what (?:most|many|some|people|they|you|others|everyone)\b
    \bwould be (?:the|my|correct|right)\b[^.]{{0,30}}\bhad\b|更正|訂正|我错了|我錯了
"""),
    re.IGNORECASE,
)
# "Otherwise no.", "But if it is dry, 43.", "It depends.": a second case with an answer of its own.
_OTHER_CASE = re.compile(
    words_or(
        rf"""
    (?:otherwise|if not|or else|else|elsewhere|in (?:the )?other cases?
    in all other cases)[,:]?\s+(?:then )?(?:it(?:['’]s| is| would be| equals)|\W*(?:(?:it['’]s|it is
    the answer is) )?(?:not\b|{_VALUE}))
    (?:it|that|this|answer|which)(?: (?:all|really|also|still|largely|partly|however))? depends\b
    depend(?:s|ing) (?:on|upon)\b|sonst (?:nicht|nein|\d)|sinon,? (?:non|\d)|si no,? (?:no|\d)
    kommt (?:darauf|drauf) an\b|ça dépend\b|depende\b|dipende\b|зависит\b
""",
        rf"""
    (?:otherwise|if not|else)[,:]?\s+(?:the answer (?:is|would be) )?(?:not\b|{_VALUE})
    (?:^|[.;,!—–-]\s*|\b(?:but|and|or) )(?:if|when|for|unless)\b[^.;!?\n]{{1,60}}?[,:]\s*(?:then )?(?:it(?:['’]s| is| would be)
    \s*)?(?:the answer (?:is|would be) )?{_VALUE}\W*(?:[.;,!]|$)|视情况|取决于|否则|場合による|さもなければ
    そうでなければ
""",
    ),
    re.IGNORECASE,
)
# What counts only in the sentence of the answer, before its reasons are given.
_SOFT = re.compile(
    words_or(
        r"""
    (?:maybe|perhaps|possibly|probably|(?<!most )(?<!more )(?<!less )likely|presumably|supposedly|conceivably|arguably
    allegedly)\b|(?:might|may|could) (?:also |well |very well |possibly )?be\b(?! \w+(?:ed|de|en|ld|nd|ut|ght)\b)
    seems? (?:to be|like|right|correct|plausible)\b
    (?:vermutlich|wahrscheinlich|vielleicht|möglicherweise|peut-être|probablement|sans doute|quizás?|tal vez
    probablemente|talvez)\b|give or take\b
    (?:provavelmente|forse|probabilmente|misschien|waarschijnlijk|возможно|вероятно|наверное|belki|może
    prawdopodobnie)\b
""",
        r"""
    ^\W{0,3}(?:usually|sometimes|normally|typically|generally|often|mostly|in general)\W{1,3}\w\S{0,30}\W{0,3}$
    ^\W{0,3}\w\S{0,30}\W{1,3}(?:usually|sometimes|normally|typically|generally|often|mostly|in general)\W{0,3}$
    ^[^?]{1,80}\?\W*$|可能|也许|或许|大概|たぶん|おそらく|多分|恐らく|でしょう|아마|ربما|शायद
""",
    ),
    re.IGNORECASE,
)
_CONDITION = re.compile(
    words_or(
        r"""
    subject to\b|in case (?:of|that|it|there|the|[a-z]\b)
    (?:unless|provided(?: that)?(?= )|providing that|assuming|supposing|as long as|so long as|on (?:the )?condition
    in the event)\b
    (?:only (?:when|where|under|in (?:case|some)|for [a-z]\b)|whenever|contingent|under (?:the|this|that|certain
    some) (?:assumption|condition)s?)\b|except (?:on|when|if|in|for|that|at|during|under|with|where)\b
    with (?:some |a few |certain |one |an? |minor |many )?(?:caveat|exception|reservation|condition|qualification
    restriction)s?\b
    in (?:some|certain|many|most|a few|special|rare) (?:cases|circumstances|situations|contexts|places|countries
    instances)\b
    (?:when|where|for|while|given) \$?\(?[a-z]\)?\s*(?:[<>≤≥=≠]|\\(?:leq?|geq?|neq?|ne|in)\b|is (?:not )?(?:\d|even
    odd|positive|negative|prime|zero))
    (?:falls|sofern|vorausgesetzt|es sei denn|wenn|nur wenn|sauf si|à condition|pourvu que|siempre (?:que|y cuando)
    a menos que|salvo que)\b
    (?:a condição|desde que|a meno che|purché|tenzij|mits|als het|если|при условии|eğer|jeśli|pod warunkiem|solo si
    si (?:x|llueve|il|elle|on)|s['’]ils?)\b
""",
        r"""
    (?<!as )(?<!even )(?<!tell )(?<!know )(?<!see )(?<!check )(?<!determine )(?<!ask )(?<!asks )(?<!wonder )\biff?\b(?! (?:any
    you (?:will|like|please)))
    [,—–]\s*(?:solo |só |soltanto )?se (?!pued|pod|trat|permit|hac|deb|necesit|utiliz|us|consider|encuentr)\w+
    면(?=[.,\s]|$)|如果|若是|假如|只要|除非|(?<=[,、。 ])もし|なら(?:ば)?|場合(?:は|に)|경우|إذا|अगर|यदि
""",
    ),
    re.IGNORECASE,
)
_LIMITED = re.compile(
    r"^\W{0,9}[^\W_]{1,20}[\W_]{1,9}(?:(?:but|though|however|yet)\W+)?(?:only\b(?! (?:one|two|\d))|sometimes\b"
    r"|not always\b|part(?:ial)?ly\b|to (?:some|a certain|an) (?:extent|degree)\b"
    r"|in (?:part|theory|principle)\b|up to a point\b|under (?:certain|some)\b"
    r"|more or less\b|(?:kind|sort) of\b|in a (?:way|sense)\b)",
    re.IGNORECASE,
)
_REASONS = re.compile(
    r"(?:[,;:(—–-]|\s)\s{0,9}(?:because|since|(?<!long )(?<!soon )as (?!long|soon|many|few|little)|so that|which|who"
    r"|where|given that|due to|weil|(?<!sei )denn|porque|car|parce que|perché"
    r"|потому|так как|因为|ので|から)\b.*$|:\s.*$",
    re.IGNORECASE | re.DOTALL,
)
_SENTENCE = re.compile(r"(?<=[\w)%\]\"'”*])[.!?](?:[*\"'”)]*\s|$)|[。！？\n]")
# "If n is even, the answer is 4.": of a variable, not a step that is reckoned ("If you subtract 6 from 10, you get 4").
_IN_CASE = re.compile(
    r"^\W*(?:so |then |well,? )?(?:if|when|for|assuming|provided|suppose|supposing|unless)\b[^,.]{0,20}?"
    r"\b[a-z]\b\s*(?:[<>=≤≥≠]|is|was|were)"
    r"|^\W*(?:如果|若|假如|もし|wenn|falls|si|se|если|als)[^.。!?]{0,30}?[<>=≥≤≠]",
    re.IGNORECASE,
)
# An "if" that leads to what follows.
_STEP = re.compile(r"^\W*(?:if|when)\b|\b(?:so|that|means|therefore|thus|hence|then),? (?:if|when)\b", re.IGNORECASE)

_GLOSS = re.compile(
    r"\W{0,3}([^\W\d_][a-z -]{1,40}|\d[\d.,]*)\s*\(\s*([^\W\d_][a-z -]{1,40}|\d[\d.,]*)\s*\)\W{0,3}", re.IGNORECASE
)
_OF_ANOTHER_MATTER = re.compile(
    r"\W{0,4}[❌✗✘👎🚫]\ufe0f?\s?\d|[$€£]?\d[\d.,]{0,15}\s?[❌✗✘👎🚫]"
    r"|\W{0,4}(?:confidence|certainty|page|tokens?)\b[a-z ]{0,12}\W{0,4}:",
    re.IGNORECASE,
)


def _contradicts_itself(said: str) -> bool:
    """Whether a number is given again in another way, and as another: "seventeen (18)"."""
    found = _GLOSS.fullmatch(said)
    if found is None or found.group(1)[0].isdigit() is found.group(2)[0].isdigit():
        return False
    one, other = parse_quantity(found.group(1)), parse_quantity(found.group(2))
    return one is not None and other is not None and one.value != other.value


def is_doubted(text: str, statement: Statement, conditions: bool = True) -> bool:
    """Whether a stated answer is doubted, taken back, has another beside it or holds only on a condition.

    Doubt of one's own answer and second answers count wherever they follow the statement in ``text``, the response; soft words
    ("probably") and conditions only in its own sentence before its reasons. What stands beside a field is not read.

    Args:
        conditions: whether an "if" counts: one that closes a reasoning repeats the question's ("$7 in all if he works 5 days").
    """
    said = statement.text[:MAX_AFTER]
    if said[:1] in tuple("[({'\"`\\") and statement.formal:
        return False  # a value as a program or LaTeX prints it
    own = _SENTENCE.split(said, maxsplit=1)[0] if "?" not in said[:80] else said
    plain = _REASONS.sub("", own)
    rest = "" if statement.source == "field" else text[min(statement.end, len(text)) :][:MAX_AFTER]
    if any(pattern.search(part) for pattern in (_OWN_DOUBT, _ALTERNATIVE, _TAKEN_BACK, _OTHER_CASE) for part in (said, rest)):
        return True
    if conditions and _CONDITION.match(rest.lstrip(" ,$*)]\\")):  # right behind a box
        return True
    if _contradicts_itself(said[:100]) or _OF_ANOTHER_MATTER.match(said):
        return True
    before = statement.before
    if _OWN_DOUBT.search(before) or _SOFT.search(before) or _IN_CASE.search(before) or _IN_CASE.search(own):
        return True
    if _SOFT.search(plain) or _LIMITED.search(plain):
        return True
    return conditions and _CONDITION.search(_STEP.sub(" ", plain)) is not None
