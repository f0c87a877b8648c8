"""An image in any accepted form, as bytes, and as pixels.

Accepted: raw bytes of an image file, a base64 string, a ``data:`` URI, a :class:`pathlib.Path`, a PIL image. A *string*
is never opened as a path and never fetched as a URL: prompts and data sets are untrusted. Only a ``Path`` object, which
calling code must make on purpose, is read from disk.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from PIL import Image, ImageOps, UnidentifiedImageError

from auto_router.errors import DataError

ImageLike = str | bytes | Path | Image.Image

MAX_IMAGE_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
MAX_IMAGE_SIDE = 65_535  # JPEG's own limit; decoders keep a pointer a line, so one pixel by 49 million takes a gigabyte
# These decoders hold an image several times over; with this limit they too stay below 500 MB.
COSTLY, MAX_PIXELS_COSTLY = ("WEBP", "JPEG2000", "AVIF"), 20_000_000
# Only these decoders meet untrusted bytes. PIL has more, among them one that hands PostScript to an external interpreter.
IMAGE_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "AVIF")

MIN_UNPADDED = 32  # characters: without its padding, a shorter text is rather a path such as /etc/passwd
_HEAD_OF_URI = 300  # characters in which a data URI's comma stands
_SCHEME = re.compile(r"\s*[a-z][\w+.-]*:", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")
# PIL's decoders answer malformed files with any of these.
_MALFORMED = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError),
    *(struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning),
)
_OPENING = threading.Lock()  # warnings.catch_warnings changes the whole process
JPEG_QUALITIES = (90, 80, 65)
SHRINK = 0.8  # of the side, each time that no quality is small enough
MIN_SIDE = 16  # pixels
_HEAD = 96 * 1024  # bytes that hold the size of nearly every image file
_BAND_PIXELS = 2**20
_ACCEPTED = "base64, a data:...;base64 URI, bytes, a pathlib.Path or a PIL image"


def image_bytes(image: ImageLike) -> bytes:
    """Return the bytes of the image file behind ``image``.

    Raises:
        DataError: the value is of no accepted form, is not base64, is empty, or is larger than ``MAX_BYTES``.
    """
    if isinstance(image, Image.Image):
        return _png_bytes(image)
    if isinstance(image, Path):
        return _check(_read(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return _check(bytes(image))
    if isinstance(image, str):
        return _check(_from_base64(image))
    raise DataError(f"picture of type {type(image).__name__} is not accepted; give {_ACCEPTED}")


def pixels(data: bytes) -> Image.Image:
    """Decode an image file to an upright RGB image (first frame; transparency over white).

    Raises:
        DataError: the bytes are no decodable image, or it has more than ``MAX_PIXELS`` pixels.
    """
    try:
        with _OPENING, warnings.catch_warnings():
            # An icon's inner image is decoded on opening: PIL's own limit is then the only one that comes before.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        most = MAX_PIXELS_COSTLY if image.format in COSTLY else MAX_PIXELS
        if image.width * image.height > most or max(image.size) > MAX_IMAGE_SIDE:
            allowed = f"at most {most:,} in a {image.format}, and {MAX_IMAGE_SIDE:,} a side, are allowed"
            raise DataError(f"picture of {image.width}x{image.height} pixels; {allowed}")
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)
    except _MALFORMED as error:
        reason = f"not one of {', '.join(IMAGE_FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"picture of {len(data):,} bytes cannot be decoded ({reason}); give a whole image file") from error


def data_uri(data: bytes) -> str:
    """Return ``data`` as a ``data:image/...;base64,`` URI, as chat endpoints take images."""
    kind = mime_type(data)
    if kind is None:  # chat endpoints take these four types only
        kind, data = "image/png", _png_bytes(pixels(data))
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def mime_type(data: bytes) -> str | None:
    """Return the media type told by the first bytes: PNG, JPEG, GIF or WebP; None for any other."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert band by band: of an image at the limit, each further copy would take 200 MB."""
    image.load()
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    scale = _grey_scale(image)
    converted = Image.new("RGB", image.size)
    for top, band in _bands(image):
        converted.paste(_band_to_rgb(band, scale), (0, top))
    return converted


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(_BAND_PIXELS // max(image.width, 1), 1)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _grey_scale(image: Image.Image) -> float | None:
    """Factor that brings 16- and 32-bit grey to 0…255, which convert() would clip; None for any other mode."""
    if not (image.mode.startswith("I") or image.mode == "F"):
        return None
    if "16" in image.mode:
        return 255.0 / 65535.0
    return 255.0 / max(*(float(band.convert("F").getextrema()[1]) for _, band in _bands(image)), 255.0)  # type: ignore[arg-type]


def _band_to_rgb(image: Image.Image, scale: float | None) -> Image.Image:
    if scale is not None:
        image = image.convert("F").point(lambda value: value * scale).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)  # the PNG carries no EXIF, so the turn must be made here
        (upright.convert("RGBA") if upright.has_transparency_data else _to_rgb(upright)).save(buffer, "PNG")
    except _MALFORMED as error:
        raise DataError(f"picture {image!r} cannot be decoded ({error}); give a whole image") from error
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise DataError(f"picture {path} has {path.stat().st_size:,} bytes; at most {MAX_IMAGE_BYTES:,} are allowed")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", error)
        raise DataError(f"picture {path} cannot be read ({reason}); give the path of an image file") from error


def _from_base64(text: str) -> bytes:
    start = _data_start(text)
    if start == 0 and _SCHEME.match(text[:100]):
        raise DataError(f"picture {_excerpt(text)} looks like a URL; nothing is fetched: give {_ACCEPTED}")
    if len(text) > MAX_IMAGE_BYTES * 4 // 3 + 1024:
        raise DataError(f"picture of {len(text):,} base64 characters; at most {MAX_IMAGE_BYTES:,} bytes are allowed")
    data = text[start:]
    data = "".join((unquote(data) if "%" in data else data).split()).translate(_URL_SAFE)
    padding = "=" * (-len(data) % 4) if len(data) >= MIN_UNPADDED or start else ""
    try:
        return base64.b64decode(data + padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"picture {_excerpt(text)} is not base64 ({error}); give {_ACCEPTED}") from error


def _data_start(text: str) -> int:
    """Return where the data of a ``data:…;base64,`` URI begin, as browsers and SDKs write them; 0 for any other text."""
    head = text[:_HEAD_OF_URI]
    comma = head.find(",")
    is_uri = head.lstrip()[:5].lower() == "data:" and head[:comma].rstrip().lower().endswith("base64")
    return comma + 1 if is_uri and comma > 0 else 0


def names_image(text: str) -> bool:
    """May a string be an image that can be looked at: base64, a data URI of one in pixels, or an http(s) URL?

    An id of a provider's, a path, a URL of another kind, and a drawing (SVG) are none.
    """
    head = text[:_HEAD_OF_URI].lstrip().lower()
    if head.startswith(("http://", "https://")):
        return True
    if _data_start(text):
        return "svg" not in head.partition(",")[0]
    return len(text) > MIN_UNPADDED and "." not in head and _SCHEME.match(head) is None


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _check(data: bytes) -> bytes:
    if not data:
        raise DataError(f"picture is empty; give {_ACCEPTED}")
    if len(data) > MAX_IMAGE_BYTES:
        raise DataError(f"picture has {len(data):,} bytes; at most {MAX_IMAGE_BYTES:,} are allowed")
    return data


def fit_image(data: bytes, max_side: int | None, max_bytes: int | None) -> bytes:
    """Return an image file within both limits: ``data`` itself where it is, else a smaller copy, the same for the same input.

    ``max_bytes`` is of the file, before base64. A copy keeps PNG where only the side was too long and it stays small enough.

    Raises:
        DataError: the bytes are no image.
    """
    fits_bytes = max_bytes is None or len(data) <= max_bytes
    if fits_bytes and (max_side is None or max(_size(data)) <= max_side):
        return data
    image = pixels(data)
    if max_side is not None:
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    if data.startswith(b"\x89PNG") and (copy := _encode(image, "PNG")) and (max_bytes is None or len(copy) <= max_bytes):
        return copy
    while True:
        for quality in JPEG_QUALITIES:
            copy = _encode(image, "JPEG", quality=quality)
            if max_bytes is None or len(copy) <= max_bytes or max(image.size) <= MIN_SIDE:
                return copy
        image = image.resize([max(1, int(side * SHRINK)) for side in image.size], Image.Resampling.LANCZOS)


def _size(data: bytes) -> tuple[int, int]:
    return pixels(data).size


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def thumbnail_uri(data: bytes, side: int, kind: str, quality: int) -> str:
    """Return an image as a data URI of our own encoding (``PNG``, ``JPEG``, ``WEBP``), at most ``side`` pixels a side.

    Raises:
        DataError: as :func:`pixels`.
    """
    small = pixels(data)
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, kind, quality=quality)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def blank_image() -> bytes:
    """Return a small white PNG."""
    return _png_bytes(Image.new("RGB", (8, 8), "white"))


def image_size(image: ImageLike) -> tuple[int, int] | None:
    """Return width and height as the head of an image file states them, without decoding it; None where it does not."""
    if isinstance(image, Image.Image):
        return image.size
    if isinstance(image, Path):
        return None
    if isinstance(image, str):
        start = _data_start(image)
        head = re.sub(r"[^A-Za-z0-9+/]", "", unquote(image[start : start + _HEAD * 4 // 3]).translate(_URL_SAFE))
        image = binascii.a2b_base64(head[: len(head) // 4 * 4].encode("ascii"))
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(bytes(image[:_HEAD])), formats=IMAGE_FORMATS) as opened:
                return opened.size
    except (*_MALFORMED, UnidentifiedImageError):
        return None
