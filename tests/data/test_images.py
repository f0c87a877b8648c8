"""An image in any accepted form, and nothing else: no path, no URL, no bomb, no surprise from a decoder."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from auto_router.data.images import MAX_IMAGE_BYTES, data_uri, image_bytes, mime_type, pixels
from auto_router.errors import DataError

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def two(left: Any, right: Any, mode: str = "RGB") -> Image.Image:
    """An image of two pixels side by side."""
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), left)
    image.putpixel((1, 0), right)
    return image


def colours(image: Image.Image) -> list[Any]:
    return [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds almost nothing."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


PNG = encoded(two(RED, BLUE))
BASE64 = base64.b64encode(PNG).decode()
NOISE = encoded(Image.effect_noise((64, 64), 60).convert("RGB"), "JPEG")


@pytest.mark.parametrize(
    "form",
    [
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        BASE64,
        f"data:image/png;base64,{BASE64}",
        f"DATA:image/png;charset=utf-8;base64,{BASE64}",
        f"\n  {BASE64[:40]}\r\n{BASE64[40:]} \t",
        f"data:image/png;base64,{BASE64[:40]}\n {BASE64[40:]}\n",
    ],
)
def test_every_form_of_one_file_gives_its_bytes(form: Any) -> None:
    assert image_bytes(form) == PNG


def test_a_path_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    assert image_bytes(tmp_path / "a.png") == PNG
    for missing in (tmp_path / "b.png", tmp_path, Path("nul\0inside")):
        with pytest.raises(DataError, match="cannot be read"):
            image_bytes(missing)


def test_a_string_is_never_a_path_or_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "abcd").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    for text in ("a.png", "./a.png", str(tmp_path / "a.png"), "~/a.png"):
        with pytest.raises(DataError, match="not base64"):
            image_bytes(text)
    # "abcd" happens to be base64 of three bytes; the file of that name stays closed.
    assert image_bytes("abcd") == b"\x69\xb7\x1d"
    for text in ("http://127.0.0.1:1/a.png", f"file://{tmp_path}/a.png", "s3://b/k", "data:image/svg+xml,<svg/>", "C:\\a.png"):
        with pytest.raises(DataError, match="nothing is fetched"):
            image_bytes(text)


@pytest.mark.parametrize(
    "value", [None, 5, 1.5, ["AAAA"], {"bytes": PNG}, "", b"", "data:image/png;base64,", "Ä", "A", "AAA", "A*_A", "/etc/passwd"]
)
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="give base64"):
        image_bytes(value)


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"\0" * (MAX_IMAGE_BYTES + 1))
    for form in (b"\0" * (MAX_IMAGE_BYTES + 1), "A" * (MAX_IMAGE_BYTES * 4 // 3 + 2048), tmp_path / "big"):
        with pytest.raises(DataError, match="20,971,520"):
            image_bytes(form)


def test_an_error_quotes_little_of_the_image() -> None:
    with pytest.raises(DataError) as caught:
        image_bytes("secret " * 10_000 + "!")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_lossless_files_give_their_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    image = pixels(encoded(two(RED, BLUE), kind, **options))
    assert image.mode == "RGB"
    assert colours(image) == [RED, BLUE]


def test_one_pixel_is_an_image() -> None:
    assert colours(pixels(encoded(Image.new("RGB", (1, 1), RED)))) == [RED]


@pytest.mark.parametrize(
    ("orientation", "left_first"), [(1, [RED, BLUE]), (3, [BLUE, RED]), (6, [RED, BLUE]), (8, [BLUE, RED])]
)
def test_exif_orientation_is_applied(orientation: int, left_first: list[tuple[int, int, int]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(two(RED, BLUE), exif=exif)
    size = (1, 2) if orientation in (6, 8) else (2, 1)
    assert (pixels(data).size, colours(pixels(data))) == (size, left_first)
    opened = image_bytes(Image.open(io.BytesIO(data)))
    assert colours(pixels(opened)) == left_first
    assert pixels(opened).size == size


def test_modes_become_rgb() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((1, 0), 1)
    assert colours(pixels(encoded(palette))) == [RED, BLUE]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert colours(pixels(encoded(cmyk, "TIFF")))[0] == RED
    assert colours(pixels(encoded(cmyk, "JPEG", quality=100)))[0] == pytest.approx(RED, abs=4)
    assert colours(pixels(encoded(two(0, 128, "L")))) == [BLACK, (128, 128, 128)]
    assert colours(pixels(encoded(two(0, 1, "1")))) == [BLACK, WHITE]


def test_transparency_lies_over_white() -> None:
    assert colours(pixels(encoded(two((255, 0, 0, 0), (255, 0, 0, 255), "RGBA")))) == [WHITE, RED]
    half = colours(pixels(encoded(two((0, 0, 0, 128), (0, 0, 0, 255), "RGBA"))))
    assert half == [(127, 127, 127), BLACK]
    assert colours(pixels(encoded(two((0, 0), (0, 255), "LA")))) == [WHITE, BLACK]
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((1, 0), 1)
    assert colours(pixels(encoded(palette, transparency=0))) == [WHITE, BLUE]


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = two(0, 32768, "I;16")  # 32768 / 257 = 127.5
    for data in (encoded(grey), encoded(grey, "TIFF"), image_bytes(grey)):
        assert colours(pixels(data)) == [BLACK, (127, 127, 127)]


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (3, 3), colour) for colour in (RED, BLUE)]
    assert colours(pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))) == [RED] * 9


def test_a_pil_image_keeps_its_pixels() -> None:
    assert colours(pixels(image_bytes(two(RED, BLUE)))) == [RED, BLUE]
    assert colours(pixels(image_bytes(two((0, 0, 0, 0), (*BLUE, 255), "RGBA")))) == [WHITE, BLUE]


def test_a_broken_pil_image_is_a_data_error() -> None:
    for image in (Image.open(io.BytesIO(NOISE[: len(NOISE) // 2])), Image.new("RGB", (0, 0))):
        with pytest.raises(DataError, match="cannot be decoded"):
            image_bytes(image)


@pytest.mark.parametrize("data", [NOISE[: len(NOISE) // 2], PNG[:40], b"GIF89a", b"no picture", b"\xff\xd8\xff"])
def test_a_damaged_file_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        pixels(data)


@pytest.mark.parametrize("size", [(8000, 7000), (100_000, 100_000), (2**31 - 1, 1), (1, 70_000)])
def test_a_decompression_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"at most 50,000,000|decompression bomb"):
        pixels(png_header(*size))


def test_postscript_never_reaches_an_interpreter() -> None:
    with pytest.raises(DataError, match="not one of PNG"):
        pixels(encoded(two(RED, BLUE), "EPS"))


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_raise_a_data_error(data: bytes) -> None:
    try:
        image = pixels(data)
    except DataError:
        return
    assert image.mode == "RGB"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "ICO"])
@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6), end=st.floats(0.3, 1))
@example(places=[], end=1.0)
def test_a_mutilated_image_decodes_or_raises_a_data_error(kind: str, places: list[tuple[float, int]], end: float) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    whole = encoded(Image.linear_gradient("L").resize((16, 16)).convert("RGB"), kind, **options)
    data = bytearray(whole)
    for where, value in places:
        data[int(where * len(data))] = value
    cut = bytes(data[: int(end * len(data))])
    try:
        image = pixels(cut)
    except DataError:
        assert cut != whole
        return
    assert image.mode == "RGB"


def test_known_traps_of_the_decoders() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    jpeg = encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif)
    described, width = b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02"
    assert described in jpeg
    avif = encoded(Image.new("RGB", (8, 8)), "AVIF")
    assert b"iloc" in avif
    # A text where EXIF keeps the width: struct.error when the turned image's EXIF is packed again. No item: RuntimeError.
    for trap in (jpeg.replace(described, width), avif.replace(b"iloc", b"xxxx")):
        with pytest.raises(DataError, match="cannot be decoded"):
            pixels(trap)


@pytest.mark.parametrize(
    ("kind", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("WEBP", "image/webp")]
)
def test_data_uris_tell_the_type_and_come_back(kind: str, mime: str) -> None:
    data = encoded(two(RED, BLUE), kind)
    assert mime_type(data) == mime
    assert data_uri(data).startswith(f"data:{mime};base64,")
    assert image_bytes(data_uri(data)) == data


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO"])
def test_other_types_are_sent_as_png(kind: str) -> None:
    data = encoded(two(RED, BLUE), kind)
    uri = data_uri(data)
    assert mime_type(data) is None
    assert uri.startswith("data:image/png;base64,")
    assert mime_type(image_bytes(uri)) == "image/png"
    assert pixels(image_bytes(uri)).tobytes() == pixels(data).tobytes()


@given(st.binary(min_size=1, max_size=100))
def test_any_bytes_come_back_from_base64(data: bytes) -> None:
    assert image_bytes(base64.b64encode(data).decode()) == data
