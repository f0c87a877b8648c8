"""Shapes, colours, positions, clocks and simple drawings: what reading text alone does not answer."""

from __future__ import annotations

import math
import random

from drawing import COLOURS, PAPER, canvas, png
from PIL import ImageDraw
from prompt_record import LETTERS, Prompt, choice_prompt, number_ending

SHAPES = ("circle", "square", "triangle", "star")
SHAPE_COLOURS = ("red", "blue", "green", "orange", "purple", "yellow", "black")


def shape(pen: ImageDraw.ImageDraw, kind: str, x: float, y: float, radius: float, colour: str) -> None:
    """Draw one filled shape around (x, y)."""
    fill = COLOURS[colour]
    if kind == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif kind == "square":
        pen.rectangle((x - radius * 0.9, y - radius * 0.9, x + radius * 0.9, y + radius * 0.9), fill=fill)
    else:
        points = 3 if kind == "triangle" else 10
        reach = [radius if kind == "triangle" or k % 2 == 0 else radius * 0.45 for k in range(points)]
        turns = [2 * math.pi * k / points - math.pi / 2 for k in range(points)]
        pen.polygon([(x + r * math.cos(t), y + r * math.sin(t)) for r, t in zip(reach, turns, strict=True)], fill=fill)


def scattered(rng: random.Random, pieces: list[tuple[str, str]]) -> tuple[str, list[tuple[int, int]]]:
    """Shapes (kind, colour), each in a cell of its own of a 4 x 3 grid: the picture, and their cells (column, row)."""
    image, pen = canvas(240, 180, rng.choice(PAPER))
    cells = rng.sample([(column, row) for column in range(4) for row in range(3)], len(pieces))
    for (kind, colour), (column, row) in zip(pieces, cells, strict=True):
        x, y = 30 + 60 * column + rng.randint(-6, 6), 30 + 60 * row + rng.randint(-6, 6)
        shape(pen, kind, x, y, rng.randint(12, 22), colour)
    return png(image), cells


def shape_count(rng: random.Random, count: int) -> list[Prompt]:
    """Count all shapes, those of one kind, or those of one colour."""
    made = []
    for i in range(count):
        kinds, colours = rng.sample(SHAPES, 2), rng.sample(SHAPE_COLOURS, 2)
        pieces = [(rng.choice(kinds), rng.choice(colours)) for _ in range(rng.randint(2, 9))]
        kind, colour = pieces[0]
        question, answer = (
            ("How many shapes are in this picture?", len(pieces)),
            (f"How many {kind}s are in the picture?", sum(k == kind for k, _ in pieces)),
            (f"How many shapes in this image are {colour}?", sum(c == colour for _, c in pieces)),
        )[i % 3]
        picture, _ = scattered(rng, pieces)
        made.append(Prompt(f"{question} {number_ending(rng)}", str(answer), "picture_count", f"pic-count-{i}", (picture,)))
    return made


def shape_colour(rng: random.Random, count: int) -> list[Prompt]:
    """Name the colour of a shape, or the shape of a colour."""
    made = []
    for i in range(count):
        number = rng.randint(1, 4)
        kinds, colours = rng.sample(SHAPES, number), rng.sample(SHAPE_COLOURS, number)
        picture, _ = scattered(rng, list(zip(kinds, colours, strict=True)))
        if i % 2:
            question, answer = f"What colour is the {kinds[0]} in the picture? Answer with one word.", colours[0]
        else:
            options = "circle, square, triangle or star"
            question, answer = f"Which shape is {colours[0]}: {options}? Answer with one word.", kinds[0]
        made.append(Prompt(question, answer, "picture_colour", f"pic-colour-{i}", (picture,)))
    return made


def shape_position(rng: random.Random, count: int) -> list[Prompt]:
    """Say how two shapes lie to each other."""
    made: list[Prompt] = []
    while len(made) < count:
        kinds, colours = rng.sample(SHAPES, 2), rng.sample(SHAPE_COLOURS, 2)
        picture, ((x1, y1), (x2, y2)) = scattered(rng, list(zip(kinds, colours, strict=True)))
        if x1 == x2 or y1 == y2:
            continue  # neither beside nor above
        question, truth = (
            (f"Is the {kinds[0]} above the {kinds[1]} in this picture?", y1 < y2),
            (f"Is the {colours[0]} shape to the left of the {colours[1]} shape?", x1 < x2),
        )[len(made) % 2]
        answer, group = "yes" if truth else "no", f"pic-position-{len(made)}"
        made.append(Prompt(f"{question} Answer yes or no.", answer, "picture_position", group, (picture,)))
    return made


def clock(rng: random.Random, count: int) -> list[Prompt]:
    """Read the full hour from a clock face."""
    made = []
    for i in range(count):
        hour = rng.randint(1, 12)
        image, pen = canvas(130, 130, rng.choice(PAPER))
        pen.ellipse((8, 8, 122, 122), outline=COLOURS["black"], width=3)
        for mark in range(1, 13):
            x, y = 65 + 45 * math.sin(math.pi * mark / 6), 65 - 45 * math.cos(math.pi * mark / 6)
            pen.text((x, y), str(mark), fill=COLOURS["black"], anchor="mm", font_size=12)
        pen.line((65, 65, 65, 30), fill=COLOURS["black"], width=2)
        tip = 65 + 22 * math.sin(math.pi * hour / 6), 65 - 22 * math.cos(math.pi * hour / 6)
        pen.line((65, 65, *tip), fill=COLOURS["red"], width=4)
        question = f"The clock in the picture shows a full hour. Which one, from 1 to 12? {number_ending(rng)}"
        made.append(Prompt(question, str(hour), "picture_clock", f"pic-clock-{i}", (png(image),)))
    return made


def _traffic_light(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((72, 20, 118, 140), fill=(40, 40, 40))
    pen.rectangle((91, 140, 99, 190), fill=(90, 90, 90))
    for y, colour in ((24, "red"), (62, "yellow"), (100, "green")):
        pen.ellipse((78, y, 112, y + 34), fill=COLOURS[colour])


def _envelope(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((25, 55, 165, 145), fill=(235, 225, 200), outline=(90, 80, 60), width=2)
    pen.line((25, 55, 95, 105, 165, 55), fill=(90, 80, 60), width=2)


def _umbrella(pen: ImageDraw.ImageDraw) -> None:
    pen.pieslice((25, 30, 165, 170), 180, 360, fill=COLOURS["red"])
    pen.line((95, 100, 95, 165), fill=(90, 60, 30), width=4)
    pen.arc((75, 150, 97, 178), 0, 180, fill=(90, 60, 30), width=4)


def _balloon(pen: ImageDraw.ImageDraw) -> None:
    pen.ellipse((45, 15, 145, 125), fill=COLOURS["orange"])
    pen.line((70, 118, 82, 155), fill=(80, 80, 80), width=2)
    pen.line((120, 118, 108, 155), fill=(80, 80, 80), width=2)
    pen.rectangle((80, 155, 110, 175), fill=COLOURS["brown"])


def _sailboat(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((0, 140, 190, 190), fill=(70, 130, 200))
    pen.polygon([(40, 135), (150, 135), (130, 158), (60, 158)], fill=COLOURS["brown"])
    pen.polygon([(98, 25), (98, 128), (150, 128)], fill=(245, 245, 245), outline=(120, 120, 120))
    pen.polygon([(90, 40), (90, 128), (52, 128)], fill=(245, 245, 245), outline=(120, 120, 120))


def _candle(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((78, 80, 112, 175), fill=(240, 230, 205), outline=(150, 140, 110))
    pen.line((95, 80, 95, 66), fill=(30, 30, 30), width=3)
    pen.ellipse((86, 36, 104, 70), fill=COLOURS["yellow"], outline=COLOURS["orange"], width=3)


def _hourglass(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon([(55, 35), (135, 35), (95, 97)], fill=(215, 235, 245), outline=(80, 80, 80))
    pen.polygon([(55, 160), (135, 160), (95, 97)], fill=(235, 200, 120), outline=(80, 80, 80))
    for y in (22, 160):
        pen.rectangle((48, y, 142, y + 13), fill=COLOURS["brown"])


def _chessboard(pen: ImageDraw.ImageDraw) -> None:
    for column in range(8):
        for row in range(8):
            fill = (240, 220, 180) if (column + row) % 2 else (110, 70, 40)
            pen.rectangle((15 + 20 * column, 15 + 20 * row, 34 + 20 * column, 34 + 20 * row), fill=fill)


DRAWINGS = {
    "traffic light": _traffic_light,
    "envelope": _envelope,
    "umbrella": _umbrella,
    "hot-air balloon": _balloon,
    "sailing boat": _sailboat,
    "candle": _candle,
    "hourglass": _hourglass,
    "chessboard": _chessboard,
}


def drawing(rng: random.Random, count: int) -> list[Prompt]:
    """Say which of four things is drawn."""
    made = []
    names = list(DRAWINGS)
    for i in range(count):
        name = names[i % len(names)]
        image, pen = canvas(190, 190, rng.choice((*PAPER, (205, 230, 250))))
        DRAWINGS[name](pen)
        image = image.rotate(rng.uniform(-8, 8), fillcolor=image.getpixel((0, 0)))
        others = rng.sample([other for other in names if other != name], len(LETTERS) - 1)
        question, answer = choice_prompt(rng, "What does this picture show?", name, others)
        made.append(Prompt(question, answer, "picture_drawing", f"pic-drawing-{name}", (png(image),)))
    return made
