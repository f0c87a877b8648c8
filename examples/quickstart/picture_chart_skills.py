"""Tables, receipts and charts: one value to look up, compare or add up."""

from __future__ import annotations

import io
import random

from drawing import COLOURS, FONTS, canvas, font, harder, png
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from prompt_record import Prompt, number_ending

NAMES = ("Ana", "Ben", "Carla", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jon")
GOODS = ("Apples", "Bread", "Cheese", "Dates", "Eggs", "Flour", "Honey", "Juice", "Milk", "Rice", "Salt", "Tea")
CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Paris", "Quito", "Seoul")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun")
DPI = 80


def table(rng: random.Random, count: int) -> list[Prompt]:
    """A ruled table of names and two columns of numbers."""
    made = []
    for i in range(count):
        rows = rng.sample(NAMES, rng.randint(3, 6))
        columns = rng.sample(("Age", "Score", "Games", "Points"), 2)
        cells = {name: rng.sample(range(10, 99), 2) for name in rows}
        size = rng.choice((12, 15, 18))
        face, (width, height) = font(rng.choice(FONTS[:4]), size), (size * 5, size * 2)
        image, pen = canvas(3 * width + 11, (len(rows) + 1) * height + 11)
        for y, line in enumerate([["Name", *columns], *([name, *map(str, cells[name])] for name in rows)]):
            for x, text in enumerate(line):
                left, top = 5 + x * width, 5 + y * height
                pen.rectangle((left, top, left + width, top + height), outline=(120, 120, 120))
                pen.text((left + 6, top + size // 3), text, font=face, fill=COLOURS["black"])
        who, which = rng.choice(rows), rng.randrange(2)
        column, values = columns[which], [cells[name][which] for name in rows]
        best = rows[values.index(max(values))]
        question, answer = rng.choice(
            (
                (f"In the table, what is the value of {column} for {who}? {number_ending(rng)}", str(cells[who][which])),
                (f"Who has the highest {column} in this table? Answer with the name only.", best),
                (f"What is the sum of the column {column}? {number_ending(rng)}", str(sum(values))),
                (f"How many people does the table list? {number_ending(rng)}", str(len(rows))),
            )
        )
        made.append(Prompt(question, answer, "picture_table", f"pic-table-{i}", (png(harder(image, rng, i % 4 // 2)),)))
    return made


def receipt(rng: random.Random, count: int) -> list[Prompt]:
    """A till receipt; half of them lack the line with the total."""
    made = []
    for i in range(count):
        items = {name: rng.randint(1, 30) for name in rng.sample(GOODS, rng.randint(3, 5))}
        dearest = max(items, key=lambda name: items[name])
        total = sum(items.values())
        lines = [f"{name:<10}{price:>4}.00" for name, price in items.items()]
        lines += [f"{'TOTAL':<10}{total:>4}.00"] if i % 2 else []
        face = font("DejaVuSansMono.ttf", rng.choice((12, 14)))
        image, pen = canvas(190, 20 * len(lines) + 40, (250, 248, 240))
        pen.text((45, 8), "CORNER SHOP", font=face, fill=(60, 60, 60))
        for y, line in enumerate(lines):
            pen.text((14, 32 + 20 * y), line, font=face, fill=(40, 40, 40))
        bought = rng.choice(list(items))
        question, answer = rng.choice(
            (
                (f"How much does this purchase cost in total? {number_ending(rng)}", str(total)),
                (f"How much did {bought} cost on this receipt? {number_ending(rng)}", str(items[bought])),
                ("Which item on the receipt is the most expensive? Answer with one word.", dearest),
            )
        )
        if list(items.values()).count(items[dearest]) > 1 and answer == dearest:
            question, answer = f"How many items are on this receipt? {number_ending(rng)}", str(len(items))
        made.append(Prompt(question, answer, "picture_receipt", f"pic-receipt-{i}", (png(harder(image, rng, i % 3)),)))
    return made


def rendered(figure: Figure) -> Image.Image:
    """A figure as a picture."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)  # a figure without a window
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def bar_chart(rng: random.Random, count: int) -> list[Prompt]:
    """Upright or lying bars, with or without their values written on them."""
    made = []
    for i in range(count):
        names = rng.sample(CITIES, rng.randint(3, 5))
        values = [5 * value for value in rng.sample(range(1, 20), len(names))]
        figure = Figure(figsize=(3.4, 2.4), dpi=DPI, layout="constrained")
        axes = figure.add_subplot()
        colours = [tuple(part / 255 for part in colour) for colour in rng.sample(list(COLOURS.values()), len(names))]
        bars = axes.barh(names, values, color=colours) if i % 2 else axes.bar(names, values, color=colours)
        axes.set_title(rng.choice(("Rainy days", "Visitors", "Sunny hours", "Orders")), fontsize=9)
        axes.tick_params(labelsize=8)
        if i % 4 < 2:
            axes.bar_label(bars, fontsize=8)
        ranked = sorted(zip(values, names, strict=True))
        (low, lowest), (high, highest) = ranked[0], ranked[-1]
        asked = rng.randrange(len(names))
        question, answer = rng.choice(
            (
                ("Which city has the largest value in the chart? Answer with one word.", highest),
                ("Which city has the lowest value in this bar chart? Answer with one word.", lowest),
                (f"What value does the bar chart show for {names[asked]}? {number_ending(rng)}", str(values[asked])),
                (f"By how much does {highest} exceed {lowest} in this chart? {number_ending(rng)}", str(high - low)),
                (f"How many bars does this chart have? {number_ending(rng)}", str(len(names))),
            )
        )
        made.append(Prompt(question, answer, "picture_bar_chart", f"pic-bar-{i}", (png(rendered(figure)),)))
    return made


def line_chart(rng: random.Random, count: int) -> list[Prompt]:
    """One line over six months."""
    made = []
    for i in range(count):
        values = [5 * value for value in rng.sample(range(1, 20), len(MONTHS))]
        figure = Figure(figsize=(3.4, 2.4), dpi=DPI, layout="constrained")
        axes = figure.add_subplot()
        axes.plot(MONTHS, values, marker="o", color=rng.choice(("tab:blue", "tab:red", "tab:green")))
        axes.tick_params(labelsize=8)
        if i % 2:
            for x, value in enumerate(values):
                axes.annotate(str(value), (x, value), (0, 4), textcoords="offset points", ha="center", fontsize=8)
        peak, trough = (MONTHS[values.index(value)] for value in (max(values), min(values)))
        risen = "yes" if values[-1] > values[0] else "no"
        question, answer = rng.choice(
            (
                ("In which month is the line at its peak? Answer with the month as written.", peak),
                ("In which month is the line lowest? Answer with the month as written.", trough),
                ("Is the value in Jun higher than in Jan in this chart? Answer yes or no.", risen),
            )
        )
        made.append(Prompt(question, answer, "picture_line_chart", f"pic-line-{i}", (png(rendered(figure)),)))
    return made


def pie_chart(rng: random.Random, count: int) -> list[Prompt]:
    """Shares of a whole, with or without percentages."""
    made = []
    for i in range(count):
        names = rng.sample(GOODS, rng.randint(3, 5))
        cuts = sorted(rng.sample(range(1, 20), len(names) - 1))
        shares = [5 * (b - a) for a, b in zip([0, *cuts], [*cuts, 20], strict=True)]
        if shares.count(max(shares)) > 1:  # the question asks for the one that is largest
            first, other = [k for k, share in enumerate(shares) if share == max(shares)][:2]
            shares[first], shares[other] = shares[first] + 2, shares[other] - 2
        figure = Figure(figsize=(2.8, 2.4), dpi=DPI, layout="constrained")
        axes = figure.add_subplot()
        axes.pie(shares, labels=names, autopct="%d%%" if i % 2 else None, textprops={"fontsize": 8})
        asked = rng.randrange(len(names))
        largest = names[shares.index(max(shares))]
        question, answer = "Which part of this pie chart is the largest? Answer with one word.", largest
        if i % 4 == 1:
            question = f"What percentage does the pie chart give for {names[asked]}? {number_ending(rng)}"
            answer = str(shares[asked])
        elif i % 4 == 2:
            question, answer = f"How many parts does this pie chart have? {number_ending(rng)}", str(len(names))
        made.append(Prompt(question, answer, "picture_pie_chart", f"pic-pie-{i}", (png(rendered(figure)),)))
    return made
