"""Hostile and odd pictures through the local encoder in a process of its own; prints what became of each, and the memory.

    python -m tests.image_storm SEED COUNT

The last line is JSON: how many were encoded, how many were a DataError, and by how many MiB the peak memory grew.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import random
import re
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from auto_router.encode.factory import open_encoder
from auto_router.errors import DataError

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F", "HSV", "LAB")
KINDS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "AVIF", "EPS", "PCX", "TGA", "SGI")
SECONDS = 60  # for one picture


def peak_mib() -> float:
    """Peak resident memory since the process began; getrusage would count the parent's."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def odd(rng: random.Random) -> bytes:
    """A whole picture of an unusual mode, shape, turn or number of frames, in any format that takes it."""
    width, height = rng.choice([(1, 1), (1, 700), (700, 1), (17, 31), (224, 224), (640, 480)])
    noise = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(rng.choice(("RGB", "RGBA", "L")))
    mode = rng.choice(MODES)
    with contextlib.suppress(ValueError):
        image = image.convert("RGB").convert(mode) if mode not in ("LA", "RGBA") else image.convert("RGBA").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = rng.randrange(0, 10)
    options: dict[str, object] = {"exif": exif} if rng.random() < 0.5 else {}
    if rng.random() < 0.3:
        options |= {"save_all": True, "append_images": [image.rotate(90 * i) for i in range(3)]}
    buffer, kind = io.BytesIO(), rng.choice(KINDS)
    if kind == "AVIF":  # its encoder, which no untrusted bytes meet, was seen to crash on odd modes and sizes
        image, options = image.convert("RGB").resize((64, 64)), {}
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SystemError, RuntimeError):
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def damaged(rng: random.Random) -> bytes:
    """A picture that was cut, changed, or had parts of another put into it."""
    data = bytearray(odd(rng))
    for _ in range(rng.randrange(1, 30)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.5:
        del data[rng.randrange(len(data)) :]
    if rng.random() < 0.3:
        place = rng.randrange(len(data) + 1)
        data[place:place] = odd(rng)[:500]
    return bytes(data)


def bomb(rng: random.Random) -> bytes:
    """A PNG whose few bytes promise, or hold, very many pixels; or an icon around one."""
    width, height = rng.choice(
        [(2**31 - 1, 1), (100_000, 100_000), (7000, 7000), (9000, 9000), (1, 49_000_000), (13_000, 13_000)]
    )
    depth, colour = rng.choice([(8, 2), (8, 6), (16, 0), (1, 0), (8, 3)])
    row = b"\0" * (1 + min(width, 13_000) * depth * (1, 0, 3, 1, 0, 0, 4)[colour] // 8)
    pixels = zlib.compress(row * (min(height, 9000) if width * height < 10**8 and rng.random() < 0.4 else 1), 9)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    palette = chunk(b"PLTE", b"\0\0\0") if colour == 3 else b""
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"A" * 30_000_000)) if rng.random() < 0.3 else b""
    png = b"\x89PNG\r\n\x1a\n" + head + text + palette + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    if rng.random() < 0.25:
        return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(png), 22) + png
    return png


def nonsense(rng: random.Random) -> bytes:
    """Bytes that begin as some format does."""
    heads = [
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"RIFF\0\0\0\0WEBP",
        b"<svg>",
        b"%!PS",
        b"",
    ]
    return rng.choice(heads) + rng.randbytes(rng.randrange(1, 3000))


def main() -> None:
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    rng, outcomes = random.Random(seed), Counter[str]()
    makers: list[Callable[[random.Random], bytes]] = [odd, odd, odd, damaged, damaged, damaged, nonsense, bomb]
    generator = open_encoder("local")
    generator.embed("warm", [odd(random.Random(0))])
    before = peak_mib()
    for i in range(count):
        data = makers[i % len(makers)](rng)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            row = generator.embed("", [data])
        except DataError as error:
            named = "DataError" if "row 0, picture 0" in str(error) else "an error without its place"
            outcomes[f"{makers[i % len(makers)].__name__}: {named}"] += 1
        else:
            assert np.isfinite(row).all()
            assert row.any()
            outcomes[f"{makers[i % len(makers)].__name__}: encoded"] += 1
        faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"outcomes": dict(outcomes), "grew_mib": peak_mib() - before}))


if __name__ == "__main__":
    main()
