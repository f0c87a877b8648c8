"""What the picture skills share: a canvas, fonts and colours, ways to make a picture harder to read, and its PNG.

Fonts are the DejaVu family that matplotlib carries, so that a picture does not depend on what a machine has installed.
"""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (214, 39, 40),
    "blue": (31, 100, 200),
    "green": (44, 150, 60),
    "orange": (255, 140, 20),
    "purple": (140, 70, 180),
    "yellow": (240, 210, 30),
    "black": (20, 20, 20),
    "brown": (130, 80, 45),
    "pink": (245, 150, 195),
}
INK = ("black", "blue", "red", "green", "purple", "brown")
PAPER: tuple[Colour, ...] = ((255, 255, 255), (250, 246, 230), (228, 238, 250))
FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Italic.ttf",
    "DejaVuSansMono.ttf",
)
SPECKS: tuple[Colour, ...] = ((60, 60, 60), (200, 200, 200))
HARDEST = 3
PALETTE = 64


def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """One of ``FONTS`` at ``size`` pixels."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def canvas(width: int, height: int, colour: Colour = PAPER[0]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty picture and the pen for it."""
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def harder(image: Image.Image, rng: random.Random, degree: int) -> Image.Image:
    """Make a picture harder to read: 0 not at all, 1 askew, 2 also blurred and specked, 3 also small and faded."""
    if not 0 <= degree <= HARDEST:
        raise ValueError(f"degree must be from 0 to {HARDEST}, got {degree}")
    paper = image.getpixel((0, 0))
    if degree >= 1:
        angle = rng.choice((-1, 1)) * rng.uniform(3, 5 + 4 * degree)
        image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)
    if degree >= 3:
        image = image.resize((int(image.width * 0.55), int(image.height * 0.55)), Image.Resampling.BICUBIC)
        image = Image.blend(image, Image.new("RGB", image.size, (170, 170, 170)), 0.5)
    if degree >= 2:
        image = image.filter(ImageFilter.GaussianBlur(0.8))
        pen = ImageDraw.Draw(image)
        for _ in range(image.width * image.height // 250):
            pen.point((rng.randrange(image.width), rng.randrange(image.height)), fill=rng.choice(SPECKS))
    return image


def png(image: Image.Image) -> str:
    """A picture as the base64 of a small PNG (at most 64 colours)."""
    buffer = io.BytesIO()
    image.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
