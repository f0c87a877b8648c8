"""Words by what they say, in the languages models answer in: yes and no, denial, doubt, bounds, names of options, months."""

from __future__ import annotations

import re


def one_of(text: str) -> str:
    """Return a regular expression that takes any of the alternatives of a text, whose lines are joined by ``|``."""
    return "(?:" + "|".join(line.strip() for line in text.strip().splitlines()) + ")"


def words_or(words: str, others: str) -> str:
    """Return a regular expression that takes any of the alternatives of two texts, as :func:`one_of` does.

    Those of ``words`` begin with a letter at which a word begins: elsewhere none of them is tried, which is many times as fast.
    """
    return rf"(?:\b(?=[^\W\d_]){one_of(words)}|{one_of(others)})"


def list_words(text: str) -> tuple[str, ...]:
    """Return the words of a text, as it is written in these modules."""
    return tuple(text.split())


YES = list_words("""
    yes yeah yep yup ya true correct right absolutely certainly definitely indeed sure affirmative exactly oui vrai
    exact ja jawohl
    wahr richtig stimmt korrekt sí si verdadero cierto correcto claro sim verdadeiro certo correto vero sì corretto
    esatto verdad verdade да верно
    правда правильно истина так 是 是的 对 对的 對 正确 正確 真 没错 はい ええ 正しい そうです 그렇습니다 نعم أجل صحيح हाँ हां सही
    सत्य 네 예 맞습니다 참
    evet doğru tak prawda juist waar
""")
NO = list_words("""
    no nope nah false incorrect wrong negative never not untrue non faux nein falsch nicht falso incorrecto não nao errado нет
    неверно неправда неправильно ложь ні 不 不是 不是的 否 错 錯 错误 錯誤 假 不对 不正确 いいえ いえ 違います 違う 間違い
    لا خطأ كلا नहीं गलत ग़लत
    असत्य 아니요 아니오 아니 거짓 hayır yanlış nie fałsz nee onwaar
""")
# The words of them that a reference can be; "right" and "correct" may stand for something else there.
REFERENCES = frozenset(
    list_words("""
    yes no true false oui non vrai faux ja nein wahr falsch sí sim não verdadero verdadeiro falso sì vero да нет
    истина ложь 是 否
    是的 不是 对 错 正确 错误 はい いいえ نعم لا صحيح خطأ हाँ हां नहीं 네 예 아니요 아니오 evet hayır tak nie nee
""")
)
# What months begin with; for words that are none dateparser is not asked, since it takes its time.
MONTHS = one_of("""
    jan|fe[bv]|fév|m[aä]r|maa|apr|abr|avr|may|mai|mei|mag|maj|jun|jui|giu|cze|jul|lug|lip|aug|ago|aoû|ağu|sep|set|eyl|wrz
    o[ck]t|out|ott|pa[zź]|nov|lis|kas|de[czk]|dez|dic|déc|ene|gen|ock|sty|lut|kwi|sie|gru|oca|şub|nis|haz|tem|eki|ara
    янв|фев|мар|апр|мая|май|июн|июл|авг|сен|окт|ноя|дек|يناير|فبراير|مارس|أبريل|إبريل|مايو|يونيو|يوليو|أغسطس|سبتمبر|أكتوبر
    نوفمبر|ديسمبر|जन|फ़?र|मार्च|अप्रैल|मई|जून|जुल|अग|सित|अक्[टत]|नव|दिस
""")
NEGATION = re.compile(
    one_of(r"""
    \b(?:not|never|nobody|no one|none of|cannot|neither|nor|without|except|anything but|other than|rather than)\b
    \b(?:instead of|impossible|used to be|no longer|formerly)\b
    \b(?:rul(?:e|ed|ing) out|eliminat\w+|exclud\w+|incorrect(?:ly)?|wrong(?:ly)?|false|doubt\w*|unlikely)\b
    \b(?:nicht|kein\w*|falsch|n'est pas|no es|não|non è|не|нет)\b|n['’]t\b|不|非|没|ない|ません|ليس|नहीं|아니
"""),
    re.IGNORECASE,
)
HEDGE = re.compile(
    one_of(r"""
    \b(?:maybe|perhaps|might|(?-i:may (?:also |well |still )?[a-z]+)|(?:may|could) (?:also )?be|possibly|probably|likely)\b
    \b(?:either|guess\w*|unsure|not sure|uncertain)\b
    \b(?:depend\w*|if|unless|whether|seems?|plausible|hard to (?:say|tell|choose))\b
    \b(?:common|typical|frequent|usual|classic|easy) (?:mistake|error|trap|misconception|pitfall|distractor|wrong answer)s?\b
    \b(?:some (?:people )?|they |people |many |others )(?:say|think|claim|believe)\b
    \b(?:vielleicht|peut-être|quizás|talvez|forse|возможно)\b|可能|也许|かもしれ|\?
"""),
    re.IGNORECASE,
)
NO_ANSWER = re.compile(
    r"(?:sorry,? )?"
    + one_of(r"""
    (?:i (?:have|'ve) )?no (?:idea|clue|comment|opinion)
    (?:i )?(?:do not|don['’]t|cannot|can['’]t) (?:know|tell|say|answer|decide|determine)(?: (?:that|this|it))?
    (?:it )?(?:all )?depends|maybe|perhaps|(?:i['’]m |i am )?(?:not sure|unsure|uncertain)
    (?:(?:the |this |that )?(?:statement|claim|answer)|it) is neither true nor false
    nobody knows|no one (?:knows|can (?:say|tell))|there(?: is|['’]s) no way (?:to|of) (?:know|tell)(?:ing)?
    (?:it |this |that |the answer )?can(?:not|['’]t| not) be (?:determined|known
    answered)(?: (?:from|by|with|based on) [^.,;]{1,60})?
    (?:there is |there['’]s )?(?:not enough|insufficient|no) (?:information|data|context)
""")
    + r"\W*"
)
# A whole reply that gives no answer. "I see no cats", "I can't identify any errors" and "I do not have enough money" are some.
_MEDIUM = (
    r"(?:an? |the |this |that |your |any )?(?:\w+[ -]){0,2}(?:image|picture|photo|figure|diagram|chart|graph|table|text|file"
    r"|document|attachment|url|link|internet|web|video|audio)s?"
)
_TOLD = r"(?:information|info|context|data|details|evidence|knowledge)"
_REST = r"\b(?![^.!?\n]{0,130}\b(?:but|however|though|although|so|any|both|apart|there)\b)[^.!?\n;:–—]{0,120}[.!]*"
REFUSAL = re.compile(
    r"(?:(?:i['’]m|i am) (?:so |very )?(?:sorry|afraid)[,.]? (?:but |that )?|(?:sorry|unfortunately)[,.]? (?:but )?)?"
    r"(?:as an? (?:ai|language model)[^,.]{0,60}, )?i(?: can(?:not|['’]t)|(?: am|['’]m) (?:not able|unable) to) "
    rf"(?:help|assist|answer|determine|provide|comply|fulfill|do|tell|identify|(?:read|see|view|access|browse)"
    rf" {_MEDIUM}){_REST}"
    rf"|(?:there is |there['’]s )?(?:not enough|insufficient) {_TOLD}{_REST}"
    r"|(?:please |(?:could|can) you (?:please )?)(?:provide|share|upload|attach) (?:me with )?(?:the|more|some|your|an?)"
    r" [^.!?\n]{1,80}[.?!]?"
    r"|(?:(?:i['’]m |i am )?sorry,? (?:but )?)?"
    rf"i (?:(?:do not|don['’]t) (?:know|have (?:(?:enough|sufficient) {_TOLD}|access to {_MEDIUM}))|have no idea){_REST}",
    re.IGNORECASE,
)
# References and options that such a reply may mean: that nothing is known, that nothing is said, or a sentence that denies.
NOT_KNOWN = re.compile(
    r"\b(?:unanswer\w*|unknown\w*|un(?:der)?determin\w*|indetermin\w*|insufficient\w*|inadequate\w*|inconclusive|undefined"
    r"|undecid\w*|uncertain\w*|unsure|unclear|unspecified|unavailable|ambigu\w*|neutral|depends|impossible|abstain\w*"
    r"|no_?answer|ask\w*|request\w*|clarif\w*|missing|provide\w*|nei|nan|null|refus\w*|reject\w*|declin\w*|unsafe|harm\w*|illegal|unethical|sorry|apolog\w*|I|idk|cannot"
    r"|unable|n/a|none|nothing|neither|not|no,? \w+)\b|n['’]t\b|^\W*$",
    re.IGNORECASE,
)
DENIED = re.compile(
    "^"
    + one_of(r"""
    (?:absolutely|definitely|certainly|of course|surely|clearly|obviously) not
    not (?:at all|really|quite|true|correct|so|necessarily)
    (?:(?:it|that|this)(?: is|['’]s) )?not the case(?=\W*$|\s*[.,;!])|no way|by no means|(?:that['’]s |it['’]s )?far from it
    under no circumstances|i['’]m afraid not|(?:natürlich|sicher|bestimmt|überhaupt) nicht|auf keinen fall
    (?:claro|por supuesto) que n(?:o|ão)|pas du tout|bien sûr que non|certo che no|конечно,? (?:нет|не)|当然不|并非|もちろん違
""")
    + r"(?!\w*[a-zа-я])",
    re.IGNORECASE,
)
AFFIRMED = re.compile(
    "^"
    + one_of(r"""
    of course|without (?:a )?doubt|no doubt|for sure|bien sûr|por supuesto|natürlich|claro que s[ií]m?|конечно|当然|当然是
""")
    + r"(?=\s*(?:[.,;!:。，！]|$|about|that))",
    re.IGNORECASE,
)
# What stands before an answer and changes nothing of it.
LEAD = re.compile(
    "^(?:"
    + one_of(r"""
    so|therefore|thus|hence|then|overall|well|and|but|unfortunately|sadly|जी|the answer is|short answer
    tl;?dr|(?:final )?(?:verdict|conclusion|label|ruling)|result|my answer|(?:true or false|yes or no)\?
    to (?:conclude|summari[sz]e|sum up|answer (?:the|your) question)|in (?:short|conclusion|summary|fact)
    i (?:would |'d )?(?:say|think|believe)|i'd say
""")
    + r"(?:[,:]|\s[—–-])?\s+)+",
    re.IGNORECASE,
)
OPTION_NAME = one_of(r"""
    \b(?:option|choice|answer|ans|letter|statement|select|choose|pick|antwort|lösung|opción|opção|opzione|alternativa|letra)\b
    \b(?:réponse|respuesta|resposta|risposta|вариант|ответ|đáp án|cevap|seçenek|odpowiedź|antwoord|jawaban)\b
    选项|答案|[应故题]?[选選]择?|答え|正解|选|الإجابة|الجواب|उत्तर|정답
""")
# What may stand between the name and the letter.
OPTION_LINK = (
    r"(?:\s*"
    + one_of(r"""
    [.:：—–-]|\b(?:is|es|est|ist|lautet|é|è|la|a|the|die|letra|letter|option|opción|opção|опция|final)
    \b(?:correct[aeo]?|correta|corretta|richtig\w*|правильный)|是|为|為|は|은|는|هي|هو|الصحيحة|है
""")
    + r"){0,5}\s*"
)
ABOUT = one_of(r"""
    nowhere near|next to|some|in the (?:neighbou?rhood|vicinity) of|(?:on|of) the order of|north of|beneath|as (?:few|little
    many) as
    hardly|barely|scarcely|virtually|practically|close to|closer to|(?:just )?shy of|short of|not quite|in the region of
    kaum|à peine
    apenas|appena|едва|about|approximately|approx\.?|around|roughly|nearly|almost|circa|ca\.|somewhere|minimum(?: of)?
    maximum(?: of)?
    between|from
    either|neither|nor|not|etwa|ungefähr|rund|knapp|fast|zwischen|nicht|environ|presque|près de|entre|casi|unos|alrededor de
    cerca de|ni|quase|quasi|tra|fra|ongeveer|bijna|около|примерно|почти|между|大约|约
""")
# What makes another number of the one behind it: "twice 5", "the square root of 16".
CHANGES = one_of("""
    twice|thrice|double|triple|quadruple|half|half of|(?:a |one )?(?:third|quarter|fourth|fifth|tenth) of|times
    multiples? of|dozen
    (?:square|cube|cubic|fourth)? ?roots? of|(?:square|cube|reciprocal|negative|inverse|opposite|factorial|double|triple) of
    log(?:arithm)?(?: base \\d+)?(?: of)?|ln|sin|cos|tan|factors? of|power of|multiplied by|divided by|plus|minus|percent of
    % of
""")
_PRONOUN = one_of("""
    that|this|it|what (?:you|they) (?:say|said)|(?:the|this|that) (?:statement|claim|answer|assertion
    sentence)(?: given| above)?|you|they
    he|she|we|i|there
    das|dies|es|dies|die aussage|ce(?:la|ci)?|c['’]|ça|l['’]affirmation|eso|esto|la afirmación|isso|isto|a afirmação|ciò
    questo|l['’]affermazione
    dat|dit|het|это|这|那|这个|那个|它|それ(?:は)?|これ(?:は)?|그건|그것은|이것은|هذا|ذلك|यह|वह|ये|bu|to|to jest
""")
# What says "that is not so" after a "yes", at the beginning of a clause.
DENIES_THAT = re.compile(
    rf"(?:(?:but|aber|mais|pero|mas|ma|maar|но|但|但是|でも|actually|in fact|however),?\s*)?(?:{_PRONOUN}\s*)?"
    + one_of(r"""
    (?:is|was|['’]s|are|['’]re|were|(?:would|could|must|should|may|might) be)\s+(?:\w+ly )?(?:not|never
    (?:an? )?(?:false|wrong|incorrect|untrue)(?: (?:statement|claim|assertion|answer|idea))?|mistaken|inaccurate|a lie
    a myth|a mistake)(?: (?:at all|really
    true|correct|right|so|the case|accurate|quite \w+|entirely \w+|exactly \w+|really \w+|a true \w+))?
    (?:is|was|are|were|do|does|did|ca|wo|could|would|should|has|have|had)n['’]t(?: (?:true|correct|right|so|the case
    accurate|really|quite \w+|at all))?
    (?:do|does|did|can|could|will|would|should|has|have|had) ?not(?: be)?|cannot(?: be)?|disagree|do(?:n['’]t| not) (?:think
    believe) so|do(?:n['’]t| not) agree
    (?:absolutely|definitely|certainly|of course|really|quite|probably) not|not (?:at all|really|quite|true|correct|right|so
    the case|exactly)
    no|nope|not|false|wrong|incorrect|untrue
    (?:ist|stimmt|trifft)\s+(?:\w+ )?nicht(?: (?:richtig|korrekt|wahr|zu|so|der fall))?|ist (?:\w+ )?(?:falsch|unwahr
    gelogen|verkehrt)
    nein|falsch|(?:leider|natürlich|sicher|bestimmt|überhaupt|gar|wohl|eher) nicht|nicht (?:wahr|richtig|korrekt)
    (?:n['’]est|ne l['’]est)\s+pas(?: (?:vrai|correct|exact|juste|le cas|ça))?|est (?:faux|incorrect|inexact|fausse)
    pas (?:vrai|du tout|vraiment)|non
    no (?:es|lo es)(?: (?:correct[oa]|ciert[oa]|verdad|así))?|es (?:fals[oa]|incorrect[oa]|mentira)|está (?:mal|equivocad[oa])
    não(?: é| está)?(?: (?:verdade|corret[oa]|cert[oa]|assim))?|é (?:fals[oa]|incorret[oa]|mentira)|está errad[oa]
    non (?:è|lo è)(?: (?:vero|corretto|giusto|così))?|è (?:falso|sbagliato|scorretto)
    (?:klopt|is)\s+niet(?: (?:waar|juist|correct|zo))?|is (?:onwaar|onjuist|fout)|nee
    не (?:так|верно|правда|правильно)|неверно|неправда|неправильно|неправильный|ложь|нет
    (?:是)?(?:不对|不是(?:这样)?的?|不正确|不正確|错误的?|錯誤的?|错(?:的|了)?|不是真的?|不真实|假的)|并非如此|不是这样的?|不成立
    そうでは(?:ありません|ない)(?:です)?|そうじゃ(?:ない|ありません)(?:です)?|違い?ます|違う|正しく(?:ありません|ない)(?:です)?|間違(?:い|って)\w*|誤り\w*|いいえ
    그렇지 않\w*|아닙니다|아니요|아니에요|아니야|틀렸\w*|틀립\w*|사실이 아\w*|맞지 않\w*
    (?:غير|ليس) (?:صحيح|صحيحا|صحيحًا|كذلك)|خطأ|خاطئ|لا|(?:सही|सच|ठीक) नहीं(?: है)?|गलत(?: है)?|ऐसा नहीं है|नहीं
    doğru değil(?:dir)?|yanlış(?:tır)?|değil|hayır|nie jest(?: (?:prawda|prawdą|tak))?|nieprawda|nie jest prawdziwe|nie(?: tak)?
""")
    + r"(?=\s*(?:[.,;:!?。，！、—–)]|$|\b(?:because|since|as|at all|weil|porque|car|parce)\b))",
    re.IGNORECASE,
)
# And "that is so" after a "no".
AFFIRMS_THAT = re.compile(
    rf"(?:{_PRONOUN})\s*"
    + one_of(r"""
    (?:is|was|['’]s|are|were|does|do|did|can|will|has|have)(?: (?:\w+ly )?(?:true|correct|right|so|the case|accurate))?
    (?:stimmt|ist (?:richtig|wahr|korrekt|so))|est (?:vrai|correct|exact|juste)|es (?:ciert[oa]|verdad|correct[oa]|así)
    é (?:verdade|corret[oa]|cert[oa])
    è (?:vero|corretto|giusto)|klopt|is (?:waar|juist)|верно|правда|так|是(?:对|正确)的?
    (?:सही|सच) है|doğru|prawda|صحيح|정답입니다|正しいです?
""")
    + r"(?=\s*(?:[.,;!。，！、]|$))"
    r"|(?:yes|yep|yeah|you['’]re (?:right|correct)|you are (?:right|correct)"
    r"|es (?:ciert[oa]|verdad)|è vero|é verdade|stimmt|そうです|맞습니다|对|是的|oui|sí|да|はい)"
    r"(?=\s*(?:[.!。！]|$))",
    re.IGNORECASE,
)
