"""Printed text to read: words, numbers, sums and signs, from clear to hardly legible."""

from __future__ import annotations

import random

from drawing import COLOURS, FONTS, HARDEST, INK, PAPER, canvas, font, harder, png
from PIL import Image
from prompt_record import Prompt, number_ending

WORDS = (  # noqa: SIM905 - a column of 28 quoted words reads worse
    "anchor basket candle dragon engine falcon garden harbor island jacket kettle lantern marble needle orchid pepper "
    "quartz ribbon saddle temple urchin velvet walnut yogurt zipper bridge copper desert"
).split()
SEGMENTS = {  # which bars are lit: top, upper left, upper right, middle, lower left, lower right, bottom
    "0": "1110111", "1": "0010010", "2": "1011101", "3": "1011011", "4": "0111010",
    "5": "1101011", "6": "1101111", "7": "1010010", "8": "1111111", "9": "1111011",
}  # fmt: skip
BARS = ((2, 0, 14, 3), (0, 2, 3, 13), (13, 2, 16, 13), (2, 12, 14, 15), (0, 14, 3, 25), (13, 14, 16, 25), (2, 24, 14, 27))


def written(rng: random.Random, lines: list[str], size: int, colour: str | None = None) -> Image.Image:
    """Lines of text on paper, each in the same font and ink."""
    face = font(rng.choice(FONTS), size)
    width = max(int(face.getlength(line)) for line in lines) + 30
    image, pen = canvas(width, int(len(lines) * size * 1.5) + 24, rng.choice(PAPER))
    for row, line in enumerate(lines):
        pen.text((15, 10 + row * size * 1.5), line, font=face, fill=COLOURS[colour or rng.choice(INK)])
    return image


def printed_word(rng: random.Random, count: int) -> list[Prompt]:
    """Read one word; or, of two words in different inks, the one in the ink asked for."""
    made = []
    for i in range(count):
        degree, size = i % (HARDEST + 1), rng.choice((18, 24, 32))
        first, second = rng.sample(WORDS, 2)
        if i % 3 < 2:
            image = written(rng, [first], size)
            question = rng.choice(("What word is printed in the picture?", "Read the word in this picture."))
        else:
            inks = rng.sample(("red", "blue", "green", "black"), 2)
            pair = [(first, inks[0]), (second, inks[1])]
            rng.shuffle(pair)
            parts = [written(rng, [word], size, ink) for word, ink in pair]
            image, _ = canvas(max(part.width for part in parts), sum(part.height for part in parts))
            image.paste(parts[0], (0, 0))
            image.paste(parts[1], (0, parts[0].height))
            question = f"Which word is printed in {inks[0]}?"
        picture = png(harder(image, rng, degree))
        made.append(Prompt(f"{question} Answer with the word only.", first, "picture_word", f"pic-word-{i}", (picture,)))
    return made


def display(digits: str, lit: str) -> Image.Image:
    """A number on a seven-segment display."""
    image, pen = canvas(24 * len(digits) + 20, 50, COLOURS["black"])
    for place, digit in enumerate(digits):
        for bar, on in zip(BARS, SEGMENTS[digit], strict=True):
            if on == "1":
                x, y = 12 + 24 * place, 11
                pen.rectangle((bar[0] + x, bar[1] + y, bar[2] + x, bar[3] + y), fill=COLOURS[lit])
    return image


def printed_number(rng: random.Random, count: int) -> list[Prompt]:
    """Read a number of three to six digits, printed or on a display."""
    made = []
    for i in range(count):
        digits = str(rng.randint(100, 10 ** rng.randint(3, 6) - 1))
        if i % 3 == 2:
            image = display(digits, rng.choice(("red", "green", "orange")))
            question = "What number does the display show?"
        else:
            image = written(rng, [digits], rng.choice((16, 24, 36)))
            question = rng.choice(("What number is printed in the picture?", "Which number do you see in this image?"))
        picture = png(harder(image, rng, i % (HARDEST + 1)))
        made.append(Prompt(f"{question} {number_ending(rng)}", digits, "picture_number", f"pic-number-{i}", (picture,)))
    return made


def printed_sum(rng: random.Random, count: int) -> list[Prompt]:
    """Work out a printed calculation."""
    made = []
    for i in range(count):
        a, b, c = rng.randint(2, 60), rng.randint(2, 40), rng.randint(2, 9)
        text, value = rng.choice(
            ((f"{a} + {b} =", a + b), (f"{a + b} - {b} =", a), (f"{b} x {c} =", b * c), (f"{a} + {b} + {c} =", a + b + c))
        )
        image = harder(written(rng, [text], rng.choice((20, 28))), rng, i % HARDEST)
        question = f"Work out the calculation in the picture. {number_ending(rng)}"
        made.append(Prompt(question, str(value), "picture_sum", f"pic-sum-{i}", (png(image),)))
    return made


def sign(rng: random.Random, count: int) -> list[Prompt]:
    """Find one fact on a sign of several lines."""
    made = []
    for i in range(count):
        name = rng.choice(("Weber", "Okafor", "Silva", "Tanaka", "Novak", "Haddad", "Larsen", "Moreau"))
        room, floor, opens, closes = rng.randint(100, 499), rng.randint(1, 9), rng.randint(7, 10), rng.randint(15, 20)
        price = rng.randint(3, 40)
        lines = [f"Dr. {name}", f"Room {room}", f"Floor {floor}", f"Open {opens} to {closes} h", f"Entry {price} EUR"]
        rng.shuffle(lines)
        question, answer = rng.choice(
            (
                (f"What is the room number on this sign? {number_ending(rng)}", str(room)),
                (f"On which floor is this office? {number_ending(rng)}", str(floor)),
                (f"At what hour does this place close? {number_ending(rng)}", str(closes)),
                (f"For how many hours is this place open each day? {number_ending(rng)}", str(closes - opens)),
                (f"How many EUR do 3 people pay to enter? {number_ending(rng)}", str(3 * price)),
                ("What is the family name on this sign? Answer with one word.", name),
            )
        )
        image = harder(written(rng, lines, rng.choice((13, 16, 20))), rng, i % HARDEST)
        made.append(Prompt(question, answer, "picture_sign", f"pic-sign-{i}", (png(image),)))
    return made
