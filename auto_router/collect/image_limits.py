"""Images as large as a model takes them: scaled down where its pool entry states a limit."""

from __future__ import annotations

import io

from PIL import Image

from auto_router.data.images import pixels

QUALITIES = (90, 80, 65)
SHRINK = 0.8  # of the side, each time that no quality is small enough
MIN_SIDE = 16  # pixels


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
        for quality in QUALITIES:
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
