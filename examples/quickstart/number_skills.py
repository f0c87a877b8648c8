"""Prompts about numbers: arithmetic, word problems, unit conversion, dates and times. Every answer is computed."""

from __future__ import annotations

import calendar
import datetime as dt
import random
from collections.abc import Callable
from fractions import Fraction

from prompt_record import Prompt, number_ending

NAMES = ("Mara", "Tomas", "Ines", "Kofi", "Lena", "Ravi", "Yuki", "Omar", "Freya", "Pablo")
WEEKDAYS = tuple(calendar.day_name)
MONTHS = tuple(calendar.month_name)[1:]

# (left unit, right unit, right units in one left unit)
UNITS: tuple[tuple[str, str, Fraction], ...] = (
    ("kilometres", "metres", Fraction(1000)),
    ("metres", "centimetres", Fraction(100)),
    ("hours", "minutes", Fraction(60)),
    ("days", "hours", Fraction(24)),
    ("weeks", "days", Fraction(7)),
    ("kilograms", "grams", Fraction(1000)),
    ("litres", "millilitres", Fraction(1000)),
    ("hours", "seconds", Fraction(3600)),
    ("feet", "inches", Fraction(12)),
    ("yards", "feet", Fraction(3)),
    ("pounds (weight)", "ounces", Fraction(16)),
    ("gallons", "quarts", Fraction(4)),
    ("bytes", "bits", Fraction(8)),
    ("tonnes", "kilograms", Fraction(1000)),
    ("square metres", "square centimetres", Fraction(10000)),
    ("centimetres", "millimetres", Fraction(10)),
    ("dozens", "single items", Fraction(12)),
)

Story = Callable[[random.Random, str, str], tuple[str, Fraction | int]]


def arithmetic(rng: random.Random, count: int) -> list[Prompt]:
    """Sums of rising difficulty: from two small numbers to products, remainders and brackets."""
    made = []
    for i in range(count):
        a, b, c = rng.randint(11, 49), rng.randint(3, 9), rng.randint(12, 89)
        d, e = rng.randint(101, 499), rng.randint(2, 9)
        expressions = (
            (f"{b} + {e}", b + e),
            (f"{b} * {e}", b * e),
            (f"{c} - {b}", c - b),
            (f"{b * e} / {e}", b),
            (f"{a} + {c}", a + c),
            (f"{b * 10} + {e * 10}", b * 10 + e * 10),
            (f"{a} * 10", a * 10),
            (f"{d} + {c}", d + c),
            (f"{d} - {a}", d - a),
            (f"{a} * {b}", a * b),
            (f"({b} + {e}) * {b}", (b + e) * b),
            (f"{d} - {b} * {e}", d - b * e),
            (f"{c} mod {b}", c % b),
            (f"{b} squared plus {a}", b**2 + a),
        )
        text, value = expressions[i * len(expressions) // count]
        question = rng.choice((f"What is {text}?", f"Calculate {text}.", f"Work out {text}.", f"{text} = ?"))
        made.append(Prompt(f"{question} {number_ending(rng)}", str(value), "arithmetic", f"arith-{i}"))
    return made


def _apples(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b = rng.randint(3, 12), rng.randint(2, 9)
    return f"{one} has {a} apples and {two} gives {one} {b} more. How many apples does {one} have now?", a + b


def _stickers(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b = rng.randint(10, 20), rng.randint(2, 9)
    return f"{one} owned {a} stickers and gave {b} of them to {two}. How many stickers are left?", a - b


def _shelves(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b = rng.randint(2, 6), rng.randint(4, 10)
    return f"{one} fills {a} shelves with {b} books each. How many books is that in all?", a * b


def _share(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b = rng.randint(2, 5), rng.randint(3, 10)
    return f"{one} and {two} pack {a * b} oranges into {a} equal bags. How many oranges are in each bag?", b


def _pens(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    price, n = rng.randint(2, 5), rng.randint(2, 4)
    paid = rng.choice((20, 30))
    text = f"{one} buys {n} pens at {price} dollars each and pays with {paid} dollars. What is the change in dollars?"
    return text, paid - price * n


def _train(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    v, h = rng.choice((40, 50, 60, 80, 100)), rng.randint(2, 5)
    return f"A train goes {v} km per hour without stopping. How many km does it cover in {h} hours?", v * h


def _fence(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b = rng.randint(5, 12), rng.randint(2, 5)
    text = f"{one}'s garden is a rectangle, {a} m long and {b} m wide. How many metres of fence go round it?"
    return text, 2 * (a + b)


def _runs(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b = rng.randint(10, 30), rng.randint(2, 9)
    return f"{one} ran {a} km this week and {two} ran {b} km. How many km is that in all?", a + b


def _half(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a = rng.randint(3, 25)
    return f"{one} has {2 * a} marbles and gives half of them to {two}. How many marbles does {two} get?", a


def _ages(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b, c = rng.randint(6, 12), rng.randint(2, 5), rng.randint(2, 5)
    return f"{one} is {a} years old. {two} is {b} years older. How old will {two} be in {c} years?", a + b + c


def _bakery(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b, c = rng.randint(2, 6), rng.randint(5, 10), rng.randint(2, 9)
    text = f"A bakery makes {a} trays of {b} rolls and sells all but {c} of them. How many rolls does it sell?"
    return text, a * b - c


def _savings(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, w, s = rng.randint(10, 40), rng.randint(3, 9), rng.randint(4, 12)
    text = f"{one} has {a} dollars, saves {s} dollars a week for {w} weeks, then spends half of it all. "
    return text + "How many dollars are left?", (a + s * w) // 2 if (a + s * w) % 2 == 0 else -1


def _discount(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    price, off, n = rng.choice((20, 40, 60, 80)), rng.choice((10, 25, 50)), rng.randint(2, 4)
    text = f"A jacket costs {price} dollars and is sold at {off}% off. {one} buys {n}. How many dollars does {one} pay?"
    return text, price * (100 - off) // 100 * n


def _speed(rng: random.Random, one: str, two: str) -> tuple[str, int]:
    a, b, t = rng.randint(4, 7), rng.randint(8, 14), rng.randint(2, 5)
    text = f"{one} walks at {a} km/h, {two} cycles at {b} km/h the same way from the same place. "
    return text + f"How many km apart are they after {t} hours?", (b - a) * t


STORIES: tuple[Story, ...] = (
    _apples, _stickers, _shelves, _share, _runs, _half,
    _pens, _train, _fence, _ages, _bakery, _savings, _discount, _speed,
)  # fmt: skip


def word_problems(rng: random.Random, count: int) -> list[Prompt]:
    """Little stories of one to three steps; those of one story share a group."""
    made = []
    for i in range(count):
        value: Fraction | int = -1
        while value < 0:
            one, two = rng.sample(NAMES, 2)
            text, value = STORIES[i % len(STORIES)](rng, one, two)
        made.append(Prompt(f"{text} {number_ending(rng)}", str(value), "word_problem", f"word-{i % len(STORIES)}"))
    return made


def unit_conversion(rng: random.Random, count: int) -> list[Prompt]:
    """From the larger unit to the smaller, back again, and degrees Celsius to Fahrenheit."""
    made = []
    for i in range(count):
        kind = i % (len(UNITS) + 1)
        n = rng.randint(2, 12)
        if kind == len(UNITS):
            value, source, target = n * 5 * 9 // 5 + 32, f"{n * 5} degrees Celsius", "degrees Fahrenheit"
        else:
            big, small, factor = UNITS[kind]
            back = i >= count * 2 // 3
            value = n if back else int(n * factor)
            source = f"{n * factor} {small}" if back else f"{n} {big}"
            target = big if back else small
        question = rng.choice((f"Convert {source} to {target}.", f"How many {target} are in {source}?"))
        made.append(Prompt(f"{question} {number_ending(rng)}", str(value), "unit_conversion", f"unit-{kind}"))
    return made


def _one_date(rng: random.Random, kind: int) -> tuple[str, str]:
    start = dt.date(2025, 1, 1) + dt.timedelta(days=rng.randint(0, 700))
    if kind == 0:
        day, n = rng.randrange(7), rng.choice((1, 2, 3, 7, 10))
        return f"Today is {WEEKDAYS[day]}. Which weekday is it in {n} day{'s'[: n > 1]}?", WEEKDAYS[(day + n) % 7]
    if kind == 1:
        minute, n = 30 * rng.randint(16, 40), 15 * rng.randint(1, 8)
        end = minute + n
        text = f"A film starts at {minute // 60:02}:{minute % 60:02} and lasts {n} minutes. When does it end (HH:MM)?"
        return text, f"{end // 60:02}:{end % 60:02}"
    if kind == 2:
        n = rng.randint(2, 12)
        return f"Which date is {n} days after {start} (YYYY-MM-DD)?", str(start + dt.timedelta(days=n))
    if kind == 3:
        hour, minute = rng.randint(1, 11), rng.choice((10, 15, 30, 45))
        return f"Write {hour}:{minute} PM as a 24-hour time (HH:MM).", f"{hour + 12}:{minute}"
    if kind == 4:
        month = rng.randrange(12)
        n = rng.randint(1, 4)
        return f"Which month comes {n} month{'s'[: n > 1]} after {MONTHS[month]}?", MONTHS[(month + n) % 12]
    year = rng.choice((1900, 2000, 2100, *rng.sample(range(1904, 2096), 3)))
    leap = (dt.date(year, 3, 1) - dt.date(year, 2, 1)).days == 29
    return f"How many days does February {year} have?", "29" if leap else "28"


def date_time(rng: random.Random, count: int) -> list[Prompt]:
    """Weekdays, clock times, dates, months and leap years."""
    made = []
    for i in range(count):
        text, answer = _one_date(rng, i % 6)
        ending = rng.choice(("Reply with the result only.", "Answer with nothing else.", "Give only the answer."))
        made.append(Prompt(f"{text} {ending}", answer, "date_time", f"date-{i}"))
    return made
