"""Small things that several tests build their inputs from."""

from __future__ import annotations

import io

from PIL import Image

HOSTILE_PROMPTS = [
    "What is in cat.jpg",
    "/etc/passwd",
    "http://127.0.0.1:1/x.png",
    "file:///etc/hostname",
    "data:image/png;base64,AAAA",
    "C:\\windows\\win.ini",
    "cat.png",
    "emoji 🐈 and עברית and 中文",
    "nul \x00 inside",
    "lone surrogate \ud800 here",
    "new\nlines\tand\rtabs",
]


def png(colour: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> bytes:
    """Return a one-colour PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()
