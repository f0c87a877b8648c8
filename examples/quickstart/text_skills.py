"""Prompts about strings, lists and small logic puzzles. Every answer is computed."""

from __future__ import annotations

import itertools
import random

from prompt_record import Prompt

WORDS = (  # noqa: SIM905 - a column of 28 quoted words reads worse
    "lantern harbour velvet pocket thunder meadow copper whistle blanket saddle orchard pepper kitten marble "
    "feather tunnel banana coffee balloon letter puzzle hammer yellow tomato window garden mirror bottle"
).split()
PEOPLE = ("Anna", "Boris", "Clara", "Dario", "Elif", "Femi", "Greta", "Hugo")
NONSENSE = ("wugs", "blickets", "daxes", "tovs", "zibs", "florps", "gazzers", "mips", "norgs", "lumpets")
RESULT_ENDINGS = ("Reply with the result only.", "Answer with the result only.", "Give only the result.")
YES_NO_ENDINGS = ("Answer yes or no.", "Reply with yes or no only.", "Answer with one word: yes or no.")


def _one_string(rng: random.Random, kind: int) -> tuple[str, str]:
    word, other = rng.sample(WORDS, 2)
    ordinal = ("first", "second", "third", "fourth", "fifth")
    if kind == 0:
        return rng.choice((f"Reverse the word '{word}'.", f"Write '{word}' backwards.")), word[::-1]
    if kind == 1:
        letter = word[0]
        return f"How many times does the letter '{letter}' occur in '{word}'?", str(word.count(letter))
    if kind == 2:
        # Not a to j: as a bare answer, these would be taken for the letter of an option.
        n = rng.choice([n for n in range(5) if word[n] > "j"])
        return f"What is the {ordinal[n]} letter of the word '{word}'?", word[n]
    if kind == 3:
        return rng.choice((f"Write '{word} {other}' in capital letters.", f"Uppercase this: {word} {other}.")), (
            f"{word} {other}".upper()
        )
    if kind == 4:
        return rng.choice((f"How many letters does '{word}' have?", f"Count the letters in '{word}'.")), str(len(word))
    if kind == 5:
        return f"Join the words '{word}' and '{other}' with a hyphen between them.", f"{word}-{other}"
    if kind == 6:
        end = rng.choice(("s", "!", "123"))
        return f"Write the word '{word}' with '{end}' added at the end, without a space.", word + end
    if kind == 7 and rng.random() < 0.5:
        return f"Repeat the word '{word}' three times, with spaces between.", f"{word} {word} {word}"
    if kind == 7:
        return f"What are the last two letters of the word '{word}'?", word[-2:]
    if kind == 8:
        return f"Which of these two words comes first in the dictionary: '{word}' or '{other}'?", min(word, other)
    return f"Remove all vowels (a, e, i, o, u) from '{word}'.", "".join(c for c in word if c not in "aeiou")


def string_work(rng: random.Random, count: int) -> list[Prompt]:
    """Reverse, count, pick, change case, join, append."""
    made = []
    for i in range(count):
        text, answer = _one_string(rng, i % 10)
        made.append(Prompt(f"{text} {rng.choice(RESULT_ENDINGS)}", answer, "string_work", f"string-{i}"))
    return made


def _one_list(rng: random.Random, kind: int, size: int) -> tuple[str, str]:
    numbers = rng.sample(range(1, 20 if size < 5 else 60), size)
    shown = ", ".join(map(str, numbers))
    if kind == 0:
        return f"Sort these numbers from smallest to largest: {shown}.", ", ".join(map(str, sorted(numbers)))
    if kind == 1:
        return f"What is the largest of these numbers: {shown}?", str(max(numbers))
    if kind == 2:
        return f"Add up these numbers: {shown}.", str(sum(numbers))
    if kind == 3:
        few = rng.choices(rng.sample(range(1, 30), 3), k=size)
        kept = ", ".join(str(n) for n in dict.fromkeys(few))
        return f"Remove the duplicates, keep the order: {', '.join(map(str, few))}.", kept
    if kind == 4:
        return f"What is the last item of this list: {shown}?", str(numbers[-1])
    if kind == 5:
        return f"What is the smallest of these numbers: {shown}?", str(min(numbers))
    if kind == 6:
        words = rng.sample(WORDS, size)
        return f"Sort these words alphabetically: {', '.join(words)}.", ", ".join(sorted(words))
    if kind == 7:
        return f"Write this list in reverse order: {shown}.", ", ".join(map(str, numbers[::-1]))
    if kind == 8:
        return f"How many items are in this list: {shown}?", str(size)
    return f"What is the second item of this list: {shown}?", str(numbers[1])


def list_work(rng: random.Random, count: int) -> list[Prompt]:
    """Sort, largest, sum, duplicates, counting; the lists grow."""
    made = []
    for i in range(count):
        text, answer = _one_list(rng, i % 10, 3 + i * 4 // count)
        made.append(Prompt(f"{text} {rng.choice(RESULT_ENDINGS)}", answer, "list_work", f"list-{i}"))
    return made


def _one_syllogism(rng: random.Random, form: int) -> tuple[str, str]:
    a, b, c = rng.sample(NONSENSE, 3)
    forms = (
        (f"All {a} are {b}. All {b} are {c}. Are all {a} {c}?", "yes"),
        (f"All {a} are {b}. Are all {b} necessarily {a}?", "no"),
        (f"No {a} are {b}. All {c} are {a}. Can any of the {c} be {b}?", "no"),
        (f"Some {a} are {b}. All {b} are {c}. Must some {a} be {c}?", "yes"),
        (f"All {a} are {b}. Some {b} are {c}. Must some {a} be {c}?", "no"),
        (f"No {a} are {b}. Is it certain that no {b} are {a}?", "yes"),
    )
    text, answer = forms[form % len(forms)]
    return f"{text} {rng.choice(YES_NO_ENDINGS)}", answer


def _one_order(rng: random.Random, size: int) -> tuple[str, str]:
    people = rng.sample(PEOPLE, size)
    more, most, least = rng.choice((("taller", "tallest", "shortest"), ("older", "oldest", "youngest")))
    clues = [f"{x} is {more} than {y}." for x, y in itertools.pairwise(people)]
    rng.shuffle(clues)
    asked, answer = rng.choice(((most, people[0]), (least, people[-1])))
    return f"{' '.join(clues)} Who is the {asked}? Answer with the name only.", answer


def _one_truth(rng: random.Random) -> tuple[str, str]:
    a, b = rng.choice((True, False)), rng.choice((True, False))
    text, value = rng.choice(
        (
            ("P and Q", a and b),
            ("P or Q", a or b),
            ("P and (not Q)", a and not b),
            ("(not P) or Q", not a or b),
            ("not (P and Q)", not (a and b)),
            ("if P then Q", not a or b),
        )
    )
    known = f"P is {str(a).lower()} and Q is {str(b).lower()}."
    return f"{known} Is the statement '{text}' true or false? Answer with one word.", str(value).lower()


def _one_comparison(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(100, 999), rng.randint(2, 9)
    text, value = rng.choice(
        (
            (f"{a} is an even number", a % 2 == 0),
            (f"{a / 100} is larger than {a // 100}.{b}5", a % 100 > 10 * b + 5),
            (f"{a} is divisible by {b}", a % b == 0),
            (f"{b * 7} is a prime number", False),
            (f"half of {2 * a} is {a}", True),
        )
    )
    return f"True or false: {text}. Reply with true or false only.", str(value).lower()


def logic(rng: random.Random, count: int) -> list[Prompt]:
    """Syllogisms over made-up words, orderings from pairwise clues, truth values, true-or-false statements."""
    made = []
    for i in range(count):
        turn = i // 4
        makers = (
            lambda t=turn: _one_syllogism(rng, t),
            lambda t=turn: _one_order(rng, 3 + t % 3),
            lambda: _one_truth(rng),
            lambda: _one_comparison(rng),
        )
        text, answer = makers[i % 4]()
        made.append(Prompt(text, answer, "logic", f"logic-{i}"))
    return made
