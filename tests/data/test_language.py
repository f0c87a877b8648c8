"""Which language a prompt is in: names, code and formulas are in none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.data.prompt_features import foreignness, foreignness_of, language_probabilities, main_language
from tests.conftest import PROJECT

TRANSLATIONS = json.loads((PROJECT / "benchmarks" / "translations.json").read_text(encoding="utf-8"))
LANGUAGES = ("de", "es", "fr", "hi", "ru", "zh")
OTHERS = {
    "it": "Chi è diventato il primo ministro di Israele nel 1948?",
    "pt": "Quem se tornou o primeiro primeiro-ministro de Israel em 1948?",
    "nl": "Thomas is 6 jaar oud. Zijn oudere zus is 13 jaar ouder dan hij. Hoe oud is zijn zus?",
    "pl": "Kto został pierwszym premierem Izraela w 1948 roku?",
    "sv": "Tomas är 6 år. Hans storasyster är 13 år äldre än han. Hur gammal är systern?",
    "tr": "Thomas 6 yaşında. Ablası ondan 13 yaş büyük. Ablası kaç yaşında?",
    "vi": "Chị gái của em lớn hơn em 13 tuổi. Chị gái bao nhiêu tuổi?",
    "sw": "Andika shairi fupi kuhusu bahari wakati wa baridi.",
    "ja": "1948年にイスラエルの初代首相になったのは誰ですか?",
    "ko": "겨울 바다에 관한 짧은 시를 써 주세요.",
    "ar": "اكتب قصيدة قصيرة عن البحر في الشتاء.",
    "th": "เขียนบทกวีสั้น ๆ เกี่ยวกับทะเลในฤดูหนาว",
    "he": "כתוב שיר קצר על הים בחורף",
    "el": "Γράψε ένα σύντομο ποίημα για τη θάλασσα τον χειμώνα",
}
SILENT = [
    "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a",
    "for (int i = 0; i < n; i++) { sum += arr[i]; } System.out.println(sum);",
    "SELECT name, COUNT(*) FROM orders GROUP BY name HAVING COUNT(*) > 3 ORDER BY 2 DESC;",
    "const x = await fetch(url).then(r => r.json()); console.log(x?.data ?? [])",
    "kubectl get pods -n kube-system -o wide | grep -v Running",
    '{"name": "Ada", "age": 36, "langs": ["en", "fr"]}',
    "$\\int_0^1 x^2 e^{x}\\,dx = \\sum_{k=1}^{n} \\frac{\\alpha}{\\beta}$",
    "3 + 4 * 12 - 7 = ?",
    "Angela Merkel, Emmanuel Macron, Pedro Sánchez, Wojciech Jaruzelski, Kylian Mbappé",
    "Who painted Las Meninas?",
    "What does 'Schadenfreude' mean?",
    "Translate 'Guten Morgen' into English.",
    "pls fix teh bug asap",
    "hi",
    "",
    "🙂🙂🙂",
    "watermelon, beer, look, treat, puzzle, sit, fish, ear, bronco, river, family, fireplace",
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_translated_questions_are_foreign_to_english_and_at_home_in_their_own_language(language: str) -> None:
    found = [language_probabilities(question[language]) for question in TRANSLATIONS["questions"]]
    assert sum(foreignness(one, ["en"]) > 1 for one in found) >= 17
    assert not any(foreignness(one, ["en", language]) > 1 for one in found)
    assert sum(main_language(one) == language for one in found) >= 17


@pytest.mark.parametrize("language", OTHERS)
def test_other_languages_are_foreign_too(language: str) -> None:
    found = language_probabilities(OTHERS[language])
    assert main_language(found) == language
    assert foreignness(found, ["en"]) > 1
    assert foreignness(found, [language]) < 1


@pytest.mark.parametrize("text", SILENT)
def test_code_formulas_and_names_are_in_no_foreign_language(text: str) -> None:
    assert foreignness(language_probabilities(text), ["en"]) <= 1


@pytest.mark.parametrize("known", [("en",), ("de", "zh")])
def test_what_is_foreign_is_so_without_all_probabilities_too(known: tuple[str, ...]) -> None:
    texts = [*OTHERS.values(), *SILENT, *(text for question in TRANSLATIONS["questions"] for text in question.values())]
    for text in map(str, texts):
        whole = foreignness(language_probabilities(text), known)
        assert foreignness_of(text, known) in (whole, 0.0)
        assert (foreignness_of(text, known) > 1) == (whole > 1)


def test_english_questions_are_not_foreign_and_are_to_others() -> None:
    lines = (Path(PROJECT) / "examples" / "quickstart" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    found = [language_probabilities(json.loads(line)["prompt"]) for line in lines]
    assert sum(foreignness(one, ["en"]) > 1 for one in found) <= 1
    assert sum(foreignness(one, ["de"]) > 1 for one in found) > 0.8 * len(found)


@given(st.text(max_size=60))
def test_any_text_has_probabilities(text: str) -> None:
    found = language_probabilities(text)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-4)
    assert foreignness(found, found) == 0


def test_of_a_long_prompt_both_ends_are_read() -> None:
    assert (
        main_language(language_probabilities("x = 1\n" * 200_000 + "Was ist das Ergebnis, und warum ist es nicht größer?"))
        == "de"
    )
