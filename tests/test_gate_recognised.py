"""What a file is, by its first bytes: formats that receivers can show, and nothing that is text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.gate.recognised import recognise
from rtm_proto.received import FileType

IMAGE, AUDIO, VIDEO = FileType.IMAGE, FileType.AUDIO, FileType.VIDEO


def box(brand: bytes, *others: bytes) -> bytes:
    """The first box of an MP4 and of its relatives."""
    size = 16 + 4 * len(others)
    return size.to_bytes(4) + b"ftyp" + brand + bytes(4) + b"".join(others) + bytes(20)


def chunks(kind: bytes) -> bytes:
    """The beginning of a RIFF file."""
    return b"RIFF\x24\x00\x00\x00" + kind + bytes(20)


def matroska(kind: bytes) -> bytes:
    """The beginning of a Matroska file."""
    return b"\x1a\x45\xdf\xa3\x01\x00\x00\x42\x82" + bytes([0x80 + len(kind)]) + kind


HEADS = [
    (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", IMAGE),
    (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", IMAGE),
    (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x08acTL", IMAGE),
    (b"GIF89a\x01\x00\x01\x00\x80", IMAGE),
    (chunks(b"WEBPVP8 "), IMAGE),
    (b"BM\x46\x00\x00\x00\x00\x00\x00\x00\x36", IMAGE),
    (b"II*\x00\x08\x00\x00\x00\x00\x00", IMAGE),
    (box(b"heic", b"mif1"), IMAGE),
    (box(b"avif", b"mif1"), IMAGE),
    (b"ID3\x04\x00\x00\x00\x00\x00\x00", AUDIO),
    (b"\xff\xfb\x90\x64\x00\x00", AUDIO),
    (b"\xff\xf1\x50\x80\x00\x1f", AUDIO),
    (b"OggS\x00\x02\x00\x00\x01\x1eOpusHead", AUDIO),
    (b"OggS\x00\x02\x00\x00\x01\x1e\x01vorbis", AUDIO),
    (b"OggS\x00\x02\x00\x00\x01\x2a\x80theora", VIDEO),
    (b"fLaC\x00\x00\x00\x22", AUDIO),
    (chunks(b"WAVEfmt "), AUDIO),
    (b"#!AMR\n\x3c\x48\xf5\x1f\x96\x66\x78\x00", AUDIO),
    (b"FORM\x00\x00\x00\x00AIFF", AUDIO),
    (box(b"M4A ", b"isom"), AUDIO),
    (b"MThd\x00\x00\x00\x06", AUDIO),
    (box(b"isom", b"mp41"), VIDEO),
    (box(b"mp42", b"mp42"), VIDEO),
    (box(b"qt  ", b"qt  "), VIDEO),
    (matroska(b"webm"), VIDEO),
    (matroska(b"matroska"), VIDEO),
    (chunks(b"AVI LIST"), VIDEO),
    (b"\x00\x00\x01\xba\x44\x00", VIDEO),
    (b"FLV\x01\x05\x00\x00", VIDEO),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa", VIDEO),
    # what is known, and no receiver shows
    (b"%PDF-1.7\n%\xe2\xe3\x00", None),
    (b"PK\x03\x04\x14\x00", None),
    (b"\x1f\x8b\x08\x00", None),
    (b"8BPS\x00\x01", None),
    (b"\x00\x00\x01\x00\x01\x00", None),
    (b"\x7fELF\x02\x01\x01\x00", None),
    (b"MZ\x90\x00", None),
    # text, whatever it begins with
    (b"", None),
    (b"BMW costs more\r\n\tthan that", None),
    (b"GIF is a format", None),
    (b"GIF89a=1;alert(1)//", None),
    (b"ID3 tags", None),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
    (b"<html>\x0c\x1b[0m", None),
    (b"\xef\xbb\xbftext", None),
]


@pytest.mark.parametrize(("head", "mtype"), HEADS)
def test_a_file_is_recognised_by_how_it_begins(head: bytes, mtype: FileType | None) -> None:
    assert recognise(head) is mtype


@pytest.mark.parametrize(("head", "mtype"), HEADS)
def test_what_follows_does_not_matter(head: bytes, mtype: FileType | None) -> None:
    if mtype is not None:
        assert recognise(head + bytes(range(256)) * 15) is mtype


@given(
    st.sampled_from([head for head, _ in HEADS]).flatmap(lambda head: st.binary().map(head.__add__))
)
def test_nothing_is_raised_for_any_bytes(head: bytes) -> None:
    assert recognise(head) in (None, IMAGE, AUDIO, VIDEO)


def test_a_picture_that_speaks_of_sound_stays_one() -> None:
    assert recognise(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rtEXttheora") is IMAGE


@given(st.text(st.characters(blacklist_categories=["Cc", "Cs"])))
def test_no_text_is_taken_for_a_picture(text: str) -> None:
    assert recognise(text.encode()) is None
