"""Stage 2 against files of strangers: images that are bombs or none, records that name files and hosts, odd files.

Whatever a record holds, nothing is opened and nobody is asked because of it.
"""

from __future__ import annotations

import base64
import io
import json
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.data.images import image_bytes, image_size, pixels
from auto_router.data.records import iter_records
from auto_router.encode.encoder import EmbeddingGenerator, Encoder
from auto_router.errors import RouterError
from break_it import lying_encoders
from break_it.tally import Tally

LIMIT_S, MAX_GROWTH = 20.0, 600 * 2**20
BOMB_SIDE = 30_000
EVENTS = ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec")


class Watch:
    """Sees what this process opens and whom it asks, while it looks (an audit hook, which cannot be taken off)."""

    def __init__(self) -> None:
        self.looking, self.seen, self.allowed = False, list[str](), ".py"
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.looking and event in (
            "open",
            "socket.connect",
            "socket.getaddrinfo",
            "subprocess.Popen",
            "os.system",
            "os.exec",
        ):
            text = str(arguments[0] if event != "socket.connect" else arguments[1])
            if event != "open" or not text.endswith((".py", ".pyc", ".so", self.allowed)):
                self.seen.append(f"{event} {text}")


class Numbers(Encoder):
    """An encoder that costs nothing: numbers of a text's and an image's bytes."""

    text_dim, image_dim, batch_size = 4, 3, 8

    @property
    def spec(self) -> Spec:
        return {"backend": "numbers"}

    def embed_texts(self, texts: list[str]) -> Array:
        return np.array([[len(t) + 1, sum(map(ord, t[:50])), t.count("e"), 1] for t in texts], dtype=np.float32)

    def embed_images(self, images: list[bytes]) -> Array:
        return np.array([[*pixels(image).resize((1, 1)).getpixel((0, 0))] for image in images], dtype=np.float32) + 1  # type: ignore[misc]


def _saved(kind: str, mode: str = "RGB", side: int = 24, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side), 1 if mode in "1LIF" else None).save(buffer, kind, **options)
    return buffer.getvalue()


def writable_images() -> dict[str, bytes]:
    """A small image in every format and mode that Pillow can write here."""
    Image.init()
    found = {}
    for kind in sorted(Image.SAVE):
        for mode in ("RGB", "RGBA", "L", "1", "P", "I;16", "F", "CMYK", "LA"):
            try:
                found[f"{kind} {mode}"] = _saved(kind, mode)
            except (OSError, ValueError, KeyError, SyntaxError, AttributeError, TypeError, struct.error, ImportError):
                continue  # not everything can be written in every format
    return found


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, data: bytes, *more: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def odd_images() -> dict[str, bytes]:
    """Bombs, and files that are no pictures though they look like some."""
    zeros = zlib.compress(bytes(10**8), 9)
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x00\x00\x00"
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\x00\x02\x02\x44\x01\x00"
    tiff = b"II*\0" + struct.pack("<I", 8)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, 100, 22)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:1/"/><script>x()</script></svg>'
    entity = b'<!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
    return {
        "PNG bomb": _png(BOMB_SIDE, BOMB_SIDE, zeros), "PNG of a line": _png(10**7, 1, zeros),
        "PNG of a column": _png(1, 10**7, zeros),
        "PNG of 2^31": _png(2**31 - 1, 2**31 - 1, zeros), "PNG of nothing": _png(0, 0, b""),
        "PNG text bomb": _png(8, 8, zeros, _chunk(b"zTXt", b"a\0\0" + zeros)),
        "PNG profile bomb": _png(8, 8, zeros, _chunk(b"iCCP", b"a\0\0" + zeros)),
        "PNG exif loop": _png(8, 8, zeros, _chunk(b"eXIf", b"II*\0\x08\0\0\0" + b"\xff\xff" * 2000)),
        "PNG many frames": _png(8, 8, zeros, _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        "PNG many chunks": _png(8, 8, zeros, *[_chunk(b"teXt", b"a\0b")] * 10**5),
        "GIF bomb": gif + frame + b"\x3b", "GIF of frames": gif[:6] + struct.pack("<HH", 4000, 4000) + b"\0\0\0" + frame * 5000,
        "TIFF to itself": tiff + struct.pack("<HHHIII", 1, 330, 4, 1, 8, 8),
        "TIFF of 10^9": tiff + struct.pack("<H", 65535) + b"\xff" * 9000,
        "BMP bomb": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, BOMB_SIDE, -BOMB_SIDE, 1, 24, 0, 0, 0, 0, 0, 0),
        "PPM bomb": b"P6 60000 60000 255\n", "PPM of digits": b"P6 " + b"9" * 10**6, "PPM of comments": b"P6 #" + b"x" * 10**6,
        "ICO around a bomb": icon + _png(BOMB_SIDE, BOMB_SIDE, zeros),
        "WEBP bomb": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0/" + b"\xff" * 12,
        "JPEG bomb": b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xda",
        "JPEG 2000 bomb": b"\xff\x4f\xff\x51\0\x2f\0\0"
        + struct.pack(">IIIIIIII", 60000, 60000, 0, 0, 60000, 60000, 0, 0) + b"\0\3" + b"\7\1\1" * 3,
        "AVIF head": b"\0\0\0\x20ftypavif" + b"\0" * 20 + b"\xff" * 400, "SVG": svg, "SVG entity": entity,
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "PDF": b"%PDF-1.7\n1 0 obj<</OpenAction 2 0 R>>\n",
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(60), "FLI": b"\0\0\0\0\x12\xaf" + b"\xff" * 200, "PSD": b"8BPS\0\1" + b"\xff" * 100,
        "DDS": b"DDS " + b"\xff" * 200, "zip": b"PK\x03\x04" + b"\xff" * 100, "ELF": b"\x7fELF" + bytes(100), "empty": b"",
        "HTML": b"<img src=x>",
    }  # fmt: skip


def hostile_strings(folder: Path) -> list[str]:
    """What could be taken for a place of a file or a host. ``folder`` holds a real picture and a link to it."""
    _saved_at = folder / "picture.png"
    _saved_at.write_bytes(_saved("PNG"))
    (folder / "link.png").symlink_to(_saved_at)
    return [
        str(_saved_at), str(folder / "link.png"), "/etc/passwd", "../../etc/passwd", "file:///etc/hostname",
        f"file://{_saved_at}",
        "http://127.0.0.1:9/x.png", "https://localhost/x", "HTTP://127.0.0.1:9/", "//127.0.0.1/share/x.png",
        "\\\\127.0.0.1\\share\\x.png",
        "ftp://127.0.0.1/x", "gopher://127.0.0.1:9/_", "data:image/png;base64,", "data:text/html,<script>x()</script>",
        "/dev/zero",
        "/dev/stdin", "/proc/self/environ", "C:\\windows\\win.ini", "con", "~/.ssh/id_rsa", "$HOME", "`id`", "$(id)", "| id",
        "-rf", "\x00/etc",
        "s3://bucket/x", "hf://datasets/x", "unix:///run/x.sock", "image.png", "{{7*7}}", "%s%n", "A" * 10**6, "\ud800",
        "jar:file:///x!/y",
    ]  # fmt: skip


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _try(tally: Tally, watch: Watch, case: str, name: str, act: Callable[[], object]) -> None:
    before, start = _peak(), time.process_time()
    watch.seen.clear()
    watch.looking = True
    try:
        act()
        outcome, detail = "right result", ""
    except RouterError as error:
        outcome, detail = ("clear error" if len(str(error)) < 3000 else "crash"), str(error)
    except AssertionError as error:
        outcome, detail = "lost", str(error)
    except Exception as error:  # noqa: BLE001  whatever else comes is what is looked for
        outcome, detail = "crash", f"{type(error).__name__}: {error}"
    finally:
        watch.looking = False
    if _peak() - before > MAX_GROWTH:
        outcome, detail = "crash", f"memory grew by {(_peak() - before) / 2**20:.0f} MB; {detail}"
    if time.process_time() - start > LIMIT_S:
        outcome = "hang"
    if watch.seen:
        outcome, detail = ("sent" if "socket" in watch.seen[0] else "executed"), str(watch.seen[:3])
    tally.note(case, outcome, f"{name}: {detail}")


def _attack_images(tally: Tally, watch: Watch, rng: random.Random, until: float) -> None:
    whole = writable_images()
    for case, images in (("every format that Pillow writes", whole), ("bombs and odd files", odd_images())):
        for name, data in images.items():
            _try(tally, watch, case, name, lambda data=data: (image_size(data), pixels(image_bytes(data))))  # type: ignore[misc]
            told = base64.b64encode(data).decode()
            _try(tally, watch, case, name, lambda told=told: (image_size(told), pixels(image_bytes(told))))  # type: ignore[misc]
    for _ in range(4000):
        if time.monotonic() > until:
            return
        name = rng.choice(sorted(whole))
        bent = bytearray(whole[name])
        for _ in range(rng.choice([1, 2, 8, 40])):
            bent[rng.randrange(min(len(bent), rng.choice([64, 10**6])))] = rng.randrange(256)
        _try(tally, watch, "images with damaged bytes", name, lambda bent=bytes(bent): (image_size(bent), pixels(bent)))  # type: ignore[misc]


def _attack_strings(tally: Tally, watch: Watch, folder: Path) -> None:
    generator = EmbeddingGenerator(Numbers())
    quiet = generator.embed_batch(["x"], [()])
    for text in hostile_strings(folder):
        shown = text[:60]
        _try(tally, watch, "strings in image fields", shown, lambda text=text: pixels(image_bytes(text)))  # type: ignore[misc]
        _try(tally, watch, "strings in image fields", shown, lambda text=text: generator.embed_batch(["x"], [(text,)]))  # type: ignore[misc]
        _try(tally, watch, "strings as prompts", shown, lambda text=text: generator.embed_batch([text], [()]))  # type: ignore[misc]
    if not np.array_equal(quiet, generator.embed_batch(["x"], [()])):
        tally.note("strings as prompts", "lost", "a quiet prompt is encoded otherwise afterwards")


def odd_files(folder: Path) -> Iterator[Path]:
    """Evaluation files that are too wide, too deep, or none."""
    import pyarrow
    import pyarrow.parquet

    row = {"idx": 0, "prompt": "x", "answer": "", "images": [], "model_scores": {"a": 1}}
    text = json.dumps(row)
    deep = "[" * 10**5 + "]" * 10**5
    texts = {
        "deep.json": deep, "deep.jsonl": deep, "deep-objects.json": '{"a":' * 10**5 + "1" + "}" * 10**5,
        "deep-field.json": f"[{text[:-1]}, \"group\": {deep}}}]", "deep-field.jsonl": f"{text[:-1]}, \"group\": {deep}}}\n",
        "deep-scores.jsonl": text.replace('{"a": 1}', '{"a": ' + deep + "}"), "twice.jsonl": text[:-1] + ', "prompt": "y"}',
        "huge-idx.jsonl": text.replace('"idx": 0', '"idx": ' + "9" * 5000),
        "idx-10pow400.jsonl": text.replace('"idx": 0', '"idx": 1' + "0" * 400),
        "nan.jsonl": text.replace('"a": 1', '"a": NaN'), "inf.jsonl": text.replace('"a": 1', '"a": 1e999'), "empty.json": "",
        "null.json": "null",
        "wide.jsonl": json.dumps(row | {f"column {n}": n for n in range(10**5)}),
        "keys.jsonl": text.replace('"a"', '"' + "k" * 10**6 + '"'),
        "surrogate.jsonl": text.replace('"x"', '"\\ud800"'), "cut.json": "[" + text, "nul.json": "[" + text + "]\0",
        "one-string.json": '"' + "x" * 10**7,
        "space.json": " " * 10**7, "commas.json": "[" + "," * 10**6, "html.json": "<html>",
    }  # fmt: skip
    for name, content in texts.items():
        (folder / name).write_text(content)
        yield folder / name
    datas = {
        "utf-16.json": f"[{text}]".encode("utf-16"), "latin.json": b'[{"prompt": "\xff"}]',
        "bytes.parquet": b"PAR1" + b"\xff" * 999 + b"PAR1", "bomb.jsonl.gz": zlib.compress(b" " * 3 * 10**8, 9, 31),
        "cut.json.gz": zlib.compress(text.encode(), 9, 31)[:-9],
    }  # fmt: skip
    for name, data in datas.items():
        (folder / name).write_bytes(data)
        yield folder / name
    wide = pyarrow.table({"prompt": ["x"], **{f"column {n}": [n] for n in range(10**5)}})
    pyarrow.parquet.write_table(wide, folder / "wide.parquet")
    yield folder / "wide.parquet"
    nested = pyarrow.array([row["model_scores"]])
    pyarrow.parquet.write_table(pyarrow.table({"prompt": pyarrow.array([1]), "model_scores": nested}), folder / "types.parquet")
    yield folder / "types.parquet"
    (folder / "folder.json").mkdir()
    yield folder / "folder.json"


def attack(tally: Tally, seconds: float, seed: int) -> None:
    lying_encoders.attack_lies(tally)
    lying_encoders.attack_kills(tally, random.Random(seed))
    watch, until = Watch(), time.monotonic() + seconds
    warnings.simplefilter("ignore", UserWarning)  # of Pillow, about damaged EXIF data
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _attack_strings(tally, watch, folder)
        for path in odd_files(folder):
            watch.allowed = path.name
            _try(tally, watch, "evaluation files", path.name, lambda path=path: list(iter_records(path)))  # type: ignore[misc]
        watch.allowed = ".py"
        _attack_images(tally, watch, random.Random(seed), max(until, time.monotonic() + 20))
