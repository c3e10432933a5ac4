"""How a stored file is described: types that can do no harm, and names that any browser reads."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.attrs import safe_name
from rtm_proto.gate.content import content_disposition, content_type
from rtm_proto.received import FileType


@pytest.mark.parametrize(
    ("name", "mtype", "told"),
    [
        ("a.png", 50, "image/png"),
        ("a.JPG", 40, "image/jpeg"),
        ("a.pdf", 50, "application/pdf"),
        ("a.mp4", 50, "video/mp4"),
        ("a.mp4", 42, "video/mp4"),
        ("a.mp4", 41, "audio/mp4"),
        ("a.ogg", 42, "video/ogg"),
        ("a.ogg", 50, "audio/ogg"),
        ("a.png", 41, "image/png"),
        ("a.webm", 41, "audio/webm"),
        ("a.webm", 42, "video/webm"),
        ("a.3gp", FileType.AUDIO, "audio/3gpp"),
        ("a.html", 40, "application/octet-stream"),
        ("a.svg", 40, "application/octet-stream"),
        ("a.png.htm", 40, "application/octet-stream"),
        ("a.js", 50, "application/octet-stream"),
        ("png", 40, "application/octet-stream"),
        ("", 40, "application/octet-stream"),
    ],
)
def test_the_type_is_safe_to_show(name: str, mtype: int, told: str) -> None:
    assert content_type(name, mtype) == told


TYPES = """
    audio/aac: aac     audio/amr: amr     audio/flac: flac   audio/mp4: m4a     audio/mpeg: mp3
    audio/ogg: ogg     audio/ogg: opus    audio/wav: wav     image/avif: avif   image/bmp: bmp
    image/gif: gif     image/heic: heic   image/jpeg: jpeg   image/jpeg: jpg    image/png: png
    image/webp: webp   video/3gpp: 3gp    video/mp4: m4v     video/mp4: mp4     video/webm: webm
    video/quicktime: mov      video/x-matroska: mkv     video/x-msvideo: avi
    application/pdf: pdf
"""


def test_the_types_that_are_told() -> None:
    words = TYPES.replace(":", "").split()
    for told, ext in zip(words[::2], words[1::2], strict=True):
        assert content_type(f"a.{ext}", FileType.FILE) == told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.png", 'inline; filename="a.png"'),
        ("a.JPEG", 'inline; filename="a.JPEG"'),
        ("a.svg", 'attachment; filename="a.svg"'),
        ("a.png.html", 'attachment; filename="a.png.html"'),
        ("a.pdf", 'attachment; filename="a.pdf"'),
        ("a.mp4", 'attachment; filename="a.mp4"'),
        ("", 'attachment; filename="file"'),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ('a"b\\c\r\nX: y', 'attachment; filename="cX_ y"'),
        ("a%41.txt", "attachment; filename=\"a_41.txt\"; filename*=UTF-8''a%2541.txt"),
        ("ä b'.txt", "attachment; filename=\"_ b'.txt\"; filename*=UTF-8''%C3%A4%20b%27.txt"),
        ("\ud800a", 'attachment; filename="a"'),
    ],
)
def test_a_name_is_told_in_ascii_and_where_needed_in_utf8(name: str, told: str) -> None:
    assert content_disposition(name) == told


@given(st.text())
def test_a_name_comes_out_of_the_header_as_it_went_in(name: str) -> None:
    told = content_disposition(name)
    assert told.isascii() and told.isprintable()
    match = re.fullmatch(
        r'(?:inline|attachment); filename="([^"\\]*)"(?:; filename\*=UTF-8\'\'(.*))?', told
    )
    assert match is not None
    assert (unquote(match[2]) if match[2] else match[1]) == safe_name(name)


@given(st.text(), st.integers(0, 127))
def test_no_name_makes_a_type_that_runs(name: str, mtype: int) -> None:
    told = content_type(name, mtype)
    assert told.split("/")[0] in ("image", "audio", "video") or told in (
        "application/octet-stream",
        "application/pdf",
    )
    assert "svg" not in told and "xml" not in told and "html" not in told
