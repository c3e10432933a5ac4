"""Small pictures: what becomes of images of every kind, and of what only says that it is one."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rtm_proto.gate import thumbnails
from rtm_proto.gate.thumbnails import (
    MAX_PIXELS,
    MAX_SCANS,
    MAX_SIDE,
    MAX_THUMBNAIL,
    SIDE,
    make_thumbnail,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes | None) -> Image.Image:
    assert data is not None and len(data) <= MAX_THUMBNAIL == 64 * 1024
    image = Image.open(BytesIO(data))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    image.load()
    return image


def near(image: Image.Image, x: int, y: int, colour: tuple[int, int, int]) -> bool:
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=True))


def png_that_says(width: int, height: int) -> bytes:
    """A PNG whose head is good, and that has next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", check)

    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


# --- what is made ---


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((800, 400), (256, 128)),
        ((400, 800), (128, 256)),
        ((SIDE, SIDE), (256, 256)),
        ((100, 50), (100, 50)),
        ((1, 1), (1, 1)),
        ((3000, 1), (256, 1)),
    ],
)
def test_an_image_becomes_small_and_never_large(
    kind: str, size: tuple[int, int], small: tuple[int, int]
) -> None:
    image = opened(make_thumbnail(encoded(Image.new("RGB", size, RED), kind)))
    assert image.size == small
    assert near(image, 0, 0, RED)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *((mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *((mode, "JPEG") for mode in ("L", "RGB", "CMYK", "YCbCr")),
        *((mode, "GIF") for mode in ("1", "L", "P", "RGB")),
        *((mode, "WEBP") for mode in ("RGB", "RGBA")),
    ],
)
def test_every_usual_kind_of_pixel_is_taken(mode: str, kind: str) -> None:
    opened(make_thumbnail(encoded(Image.new(mode, (300, 300)), kind)))


def test_what_is_transparent_becomes_white() -> None:
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    palette = Image.new("P", (20, 20), 0)
    grey = Image.new("LA", (20, 20), (0, 0))
    for data in (
        encoded(clear, "PNG"),
        encoded(clear, "WEBP", lossless=True),
        encoded(grey, "PNG"),
        encoded(palette, "PNG", transparency=0),
        encoded(palette, "GIF", transparency=0),
        encoded(Image.new("RGB", (20, 20)), "PNG", transparency=(0, 0, 0)),
    ):
        assert near(opened(make_thumbnail(data)), 10, 10, (255, 255, 255))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("grey", [False, True])
def test_an_image_is_turned_upright_and_says_nothing_of_itself(kind: str, grey: bool) -> None:
    image = Image.new("RGB", (400, 200), RED if not grey else (0, 0, 0))
    image.paste(BLUE if not grey else (255, 255, 255), (0, 0, 200, 200))  # the left half
    about = Image.Exif()
    about[0x0112] = 6  # Orientation: to be turned by 90 degrees, clockwise
    about[0x010E] = "a secret place"
    options = {"comment": b"a secret place"} if kind == "JPEG" else {}
    source = image.convert("L") if grey and kind != "WEBP" else image
    data = encoded(source, kind, exif=about, icc_profile=b"a secret place", **options)
    assert b"a secret place" in data
    small = make_thumbnail(data)
    upright = opened(small)
    assert upright.size == (128, 256)
    assert near(upright, 64, 20, BLUE if not grey else (255, 255, 255))
    assert near(upright, 64, 236, RED if not grey else (0, 0, 0))
    assert small is not None and b"secret" not in small
    assert not upright.getexif() and "icc_profile" not in upright.info


def test_of_an_animation_the_first_picture_is_taken() -> None:
    frames = [Image.new("RGB", (50, 50), colour) for colour in (RED, BLUE)]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert near(opened(make_thumbnail(data)), 25, 25, RED)


def test_a_picture_that_stays_too_large_is_made_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.frombytes("RGB", (SIDE, SIDE), os.urandom(SIDE * SIDE * 3))
    data = encoded(noise, "PNG")
    first = make_thumbnail(data)
    assert first is not None and len(first) > 30_000
    monkeypatch.setattr(thumbnails, "MAX_THUMBNAIL", len(first))
    assert make_thumbnail(data) == first
    monkeypatch.setattr(thumbnails, "MAX_THUMBNAIL", len(first) - 1)
    second = make_thumbnail(data)
    assert second is not None and len(second) < len(first)
    monkeypatch.setattr(thumbnails, "MAX_THUMBNAIL", 1000)
    assert make_thumbnail(data) is None


# --- what is not ---


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "ICO", "TGA", "PPM", "PCX"])
def test_other_formats_are_not_even_tried(kind: str) -> None:
    assert make_thumbnail(encoded(Image.new("RGB", (20, 20)), kind)) is None


def test_more_than_8_bits_a_channel_are_not_taken() -> None:
    assert make_thumbnail(encoded(Image.new("I;16", (20, 20)), "PNG")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        bytes(1000),
        png_that_says(100, 100),  # cut short
        png_that_says(0, 0),
    ],
)
def test_what_is_no_image_makes_none(data: bytes) -> None:
    assert make_thumbnail(data) is None


@pytest.mark.parametrize(
    "size",
    [(4001, 4000), (1, MAX_SIDE + 1), (MAX_SIDE + 1, 1), (2**31 - 1, 2**31 - 1), (9500, 9500)],
)
def test_a_bomb_is_not_decoded(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []

    def load(image: Image.Image) -> None:
        decoded.append(image.size)
        raise ValueError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    assert make_thumbnail(png_that_says(4000, 4000)) is None
    assert decoded == [(4000, 4000)]  # so it would be seen
    assert make_thumbnail(png_that_says(*size)) is None
    assert decoded == [(4000, 4000)]


def test_an_image_at_its_limit_is_made() -> None:
    million = 1_000_000
    limits = {"JPEG": 25 * million, "PNG": 16 * million, "GIF": 16 * million, "WEBP": 10 * million}
    assert limits == MAX_PIXELS
    opened(make_thumbnail(encoded(Image.new("1", (4000, 4000)), "PNG")))
    assert MAX_SIDE == 30_000
    opened(make_thumbnail(encoded(Image.new("1", (MAX_SIDE, 2)), "PNG")))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_is_decoded_no_larger_than_needed(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    convert = Image.Image.convert

    def watched(image: Image.Image, *args: Any, **options: Any) -> Image.Image:
        sizes.append(image.size)
        return convert(image, *args, **options)

    data = encoded(Image.new(mode, (4000, 2000)), "JPEG")
    monkeypatch.setattr(Image.Image, "convert", watched)
    opened(make_thumbnail(data))
    assert sizes[0] == (1000, 500)


def test_a_jpeg_that_is_painted_over_and_over_is_not_decoded() -> None:
    """libjpeg would be at it for minutes."""
    data = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    scan = data[data.rindex(b"\xff\xda") : end]
    count = data.count(b"\xff\xda")
    many = data[:end] + scan * (MAX_SCANS - count)
    assert MAX_SCANS == 100
    assert make_thumbnail(many + data[end:]) is not None
    assert make_thumbnail(many + scan + data[end:]) is None


def test_other_formats_may_contain_what_begins_a_scan() -> None:
    image = Image.new("RGB", (64, 64))
    opened(make_thumbnail(encoded(image, "GIF", comment=b"\xff\xda" * (MAX_SCANS + 1))))


@given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"]), st.data())
def test_no_damage_is_raised_for(kind: str, draw: st.DataObject) -> None:
    data = bytearray(encoded(Image.new("RGB", (40, 30), RED), kind))
    for place in draw.draw(st.lists(st.integers(0, len(data) - 1), max_size=8)):
        data[place] = draw.draw(st.integers(0, 255))
    size = draw.draw(st.integers(0, len(data)))
    small = make_thumbnail(bytes(data[:size]))
    if small is not None:
        opened(small)
