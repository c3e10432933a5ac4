"""A payload that comes in pieces: it is read as if it had come whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.codes import Code
from rtm_proto.errors import PayloadError
from rtm_proto.payload import MAX_DEPTH, MAX_NODES, bytes_of, decode, encode, scan, unpack
from rtm_proto.payload_reader import MAX_COLLECTED, PayloadReader
from rtm_proto.testing.strategies import params
from tests.feeding import cut_up, ways

Read = tuple[dict[str, object], bytes | None] | int
"""The map without its large value, and that; or the code of the error."""

FILE = b"\xa4file"
BODY = b"the bytes of a file"
UNLIMITED = 1 << 40  # bytes


def read(pieces: Iterable[bytes], *, limit: int = MAX_COLLECTED) -> Read:
    """What the reader makes of a payload in pieces."""
    reader = PayloadReader("file", limit=limit, limit_code=Code.FILE_TOO_LARGE)
    body = b""
    try:
        for piece in pieces:
            size = reader.size
            for part in reader.feed(piece):
                assert reader.size is not None and len(part) <= len(piece)
                body += part
            assert size is None or reader.size == size
            assert reader.size is None or len(body) <= reader.size
        entries = reader.params()
    except PayloadError as fault:
        return fault.code
    if reader.size is None:
        return entries, None
    assert len(body) == reader.size
    assert entries["file"] == b""
    return entries, body


def read_whole(payload: bytes) -> Read:
    """What ``decode`` makes of it, with a ``file`` of the map itself taken out."""
    try:
        entries = decode(payload)
    except PayloadError as fault:
        return fault.code
    if not isinstance(entries.get("file"), bytes | str):
        return entries, None
    body = bytes_of(entries, "file")
    return {**entries, "file": b""}, body


def same(read: Read, whole: Read) -> bool:
    """Whether the two are equal, NaN and the order of entries included."""
    if isinstance(read, int) or isinstance(whole, int):
        return read == whole
    return (encode(read[0]), read[1]) == (encode(whole[0]), whole[1])


def bin32(data: bytes) -> bytes:
    return b"\xc6" + len(data).to_bytes(4, "big") + data


def nested(depth: int) -> bytes:
    """A map with *depth* levels in all."""
    return b"\x81\xa1x" + b"\x91" * (depth - 2) + b"\x90"


def entries(*pairs: bytes) -> bytes:
    """A map of key, value, key, value..."""
    return bytes([0x80 + len(pairs) // 2]) + b"".join(pairs)


# --- it agrees with decode ---

KEYS = st.sampled_from(
    [
        FILE,
        b"\xc4\x04file",
        b"\xd9\x04file",
        b"\xdb\0\0\0\x04file",
        b"\xa5token",
        b"\xa1a",
        b"\xa5file ",
        b"\xa3fil",
        b"\xa0",
        b"\xa2\xff\xfe",
        b"\x05",
        b"\xc0",
        b"\x91\xa4file",
        b"\x81\xa4file\x01",
        b"\xd4\x05x",
        b"\xd6\xff\0\0\0\0",
        b"\xd4\x80x",
        b"\xc7\x04\x01file",
    ]
)
VALUES = st.one_of(
    st.binary(max_size=30).map(bin32),
    st.binary(max_size=30).map(lambda data: b"\xc4" + bytes([len(data)]) + data),
    st.binary(max_size=30).map(lambda data: b"\xd9" + bytes([len(data)]) + data),
    st.binary(max_size=30).map(lambda data: bytes([0xA0 + len(data)]) + data),
    st.binary(max_size=30).map(lambda data: b"\xda" + len(data).to_bytes(2, "big") + data),
    st.sampled_from(
        [
            b"\x01",
            b"\xc0",
            b"\xcb" + bytes(8),
            b"\x81" + FILE + b"\xc4\x02hi",
            b"\x92\xa4file\xc4\x01x",
            b"\xdc\0\0",
            b"\xd5\x05ab",
            b"\xd4\xf0x",
            b"\xc1",
            b"\xdf\xff\xff\xff\xff",
            b"\x91" * 40,
        ]
    ),
)
MAPS = st.lists(st.tuples(KEYS, VALUES), max_size=7).map(
    lambda pairs: entries(*(part for pair in pairs for part in pair))
)
PAYLOADS = st.one_of(MAPS, params().map(encode), st.binary(max_size=40))


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A payload with bytes changed, put in, cut off or behind it."""
    data = bytearray(draw(PAYLOADS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "insert", "truncate", "append"])):
            case "change":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                data[at:at] = draw(st.binary(max_size=3) | VALUES)
            case "truncate":
                del data[at:]
            case _:
                data += draw(st.binary(max_size=5) | MAPS)
    return bytes(data)


@given(spoilt(), st.data())
def test_whatever_comes_and_however_it_is_cut_it_is_read_as_if_it_came_whole(
    payload: bytes, choices: st.DataObject
) -> None:
    expected = read_whole(payload)
    assert same(read(choices.draw(cut_up(payload)), limit=UNLIMITED), expected)
    assert same(read([payload], limit=UNLIMITED), expected)


@given(PAYLOADS)
def test_a_payload_that_ends_early_is_read_as_if_it_had_come_whole(payload: bytes) -> None:
    for end in range(len(payload)):
        assert same(read([payload[:end]], limit=UNLIMITED), read_whole(payload[:end])), end


@pytest.mark.parametrize(
    "value",
    [
        head + BODY
        for head in (
            *(b"\xc4\x13", b"\xc5\0\x13", b"\xc6\0\0\0\x13"),
            *(b"\xb3", b"\xd9\x13", b"\xda\0\x13", b"\xdb\0\0\0\x13"),
        )
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_large_value_is_handed_on_wherever_it_stands(value: bytes, place: int) -> None:
    others = [b"\xa1a\x01", b"\xa1b\x92\xc0\xa1x"]
    payload = b"\x83" + b"".join([*others[:place], FILE + value, *others[place:]])
    for pieces in ways(payload):
        got = read(pieces)
        assert got == ({"a": 1, "b": [None, "x"], "file": b""}, BODY)
        assert isinstance(got, tuple)
        assert [*got[0]] == [*decode(payload)]


def test_a_large_value_that_is_no_text_keeps_its_bytes() -> None:
    body = bytes(range(256))
    payload = entries(FILE, b"\xda\x01\0" + body)
    assert read([payload]) == ({"file": b""}, body)
    assert bytes_of(decode(payload), "file") == body


def test_an_empty_value_is_one_too() -> None:
    for value in (b"\xc4\0", b"\xa0", b"\xdb\0\0\0\0"):
        for pieces in ways(entries(FILE, value, b"\xa1a", b"\x01")):
            assert read(pieces) == ({"file": b"", "a": 1}, b"")


def test_bytes_behind_the_map_are_ignored() -> None:
    payload = entries(FILE, bin32(BODY))
    for tail in (b"\xc1", b"x" * 100, payload):
        for pieces in ways(payload + tail):
            assert read(pieces) == ({"file": b""}, BODY)


def test_nothing_comes_of_nothing() -> None:
    assert read([]) == read([b"", b""]) == read_whole(b"") == Code.INVALID_PACKAGE


# --- which value it is ---


@pytest.mark.parametrize("key", [FILE, b"\xc4\x04file", b"\xda\0\x04file"])
def test_the_first_key_wins(key: bytes) -> None:
    second = (FILE, b"\xc4\x06second")
    firsts: list[tuple[bytes, Read]] = [
        (b"\xc4\x05first", ({"file": b""}, b"first")),
        (b"\x07", ({"file": 7}, None)),
        (b"\x90", ({"file": list[object]()}, None)),
        (b"\xc0", ({"file": None}, None)),
    ]
    for first, expected in firsts:
        payload = entries(key, first, *second)
        for pieces in ways(payload):
            assert read(pieces) == expected
        assert same(read([payload]), read_whole(payload))


def test_only_a_value_of_the_map_itself_is_handed_on() -> None:
    inner = entries(FILE, b"\xc4\x02hi")
    for payload in (
        entries(b"\xa1a", inner),
        entries(b"\xa1a", b"\x92" + inner + inner),
        entries(inner, b"\xc4\x02hi"),
        entries(b"\x91" + FILE, b"\xc4\x02hi"),
        entries(b"\xa1a", FILE, b"\xa1b", b"\xc4\x02hi"),
    ):
        for pieces in ways(payload):
            got = read(pieces)
            assert isinstance(got, tuple) and got[1] is None
            assert got[0] == decode(payload)


@pytest.mark.parametrize("payload", [b"\x92\xa4file\xc4\x02hi", b"\xa4file", b"\xc0", b"\x91\x80"])
def test_what_is_no_map_has_no_large_value_and_is_refused(payload: bytes) -> None:
    for pieces in ways(payload):
        assert read(pieces) == Code.INVALID_PACKAGE


def test_another_key_can_be_the_one() -> None:
    reader = PayloadReader("ключ")
    parts = reader.feed(encode({"file": b"no", "ключ": b"yes"}))
    assert b"".join(parts) == b"yes"
    assert reader.params() == {"file": b"no", "ключ": b""}


# --- when what is known ---


def test_the_size_is_known_before_the_first_byte() -> None:
    payload = entries(b"\xa5token", b"\xa1t", FILE, bin32(BODY), b"\xa1z", b"\x01")
    start = payload.index(BODY)
    reader = PayloadReader("file")
    for at in range(start):
        assert reader.size is None
        assert reader.before() == {}
        assert reader.feed(payload[at : at + 1]) == []
    assert reader.size == len(BODY)
    assert reader.before() == {"token": "t"}
    assert b"".join(reader.feed(payload[start:])) == BODY
    assert reader.before() == {"token": "t"}, "and what comes behind is not of it"
    assert reader.params() == {"token": "t", "file": b"", "z": 1}


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 70])
@pytest.mark.parametrize("head", ["shortest", "map 16", "map 32"])
def test_what_stands_before_is_told_with_every_form_of_a_map(count: int, head: str) -> None:
    before = {f"key {number}": [number, {"x": b"y"}] for number in range(count)}
    inside = b"".join(encode({key: item})[1:] for key, item in before.items())
    inside += FILE + bin32(BODY) + b"\xa5after\xc3"
    payload = {
        "shortest": encode(dict.fromkeys([*before, "file", "after"]))[: 1 if count < 14 else 3],
        "map 16": b"\xde" + (count + 2).to_bytes(2, "big"),
        "map 32": b"\xdf" + (count + 2).to_bytes(4, "big"),
    }[head] + inside
    for pieces in ways(payload):
        reader = PayloadReader("file")
        body = b"".join(part for piece in pieces for part in reader.feed(piece))
        assert body == BODY
        assert reader.before() == before
        assert reader.params() == {**before, "file": b"", "after": True}


def test_what_stands_before_may_be_no_msgpack_although_it_has_its_form() -> None:
    reader = PayloadReader("file")
    reader.feed(entries(b"\xa1a", b"\xd4\x80x", FILE, bin32(BODY)))  # ext of the type -128
    with pytest.raises(PayloadError) as caught:
        reader.before()
    assert caught.value.code == Code.INVALID_PACKAGE


def test_the_value_is_handed_on_without_being_copied() -> None:
    payload = entries(FILE, bin32(bytes(1000)))
    [part] = PayloadReader("file").feed(payload)
    assert part.obj is payload


def test_a_value_that_is_cut_short_is_told_by_its_name() -> None:
    reader = PayloadReader("file")
    reader.feed(entries(FILE, bin32(BODY))[:-3])
    with pytest.raises(PayloadError, match="3 bytes of file are missing") as caught:
        reader.params()
    assert caught.value.code == Code.INVALID_PACKAGE


# --- limits ---


def refused_after(payload: bytes, **options: int) -> tuple[int, int]:
    """How many bytes of *payload* it takes until it is refused, and the code."""
    reader = PayloadReader("file", **options)
    for at in range(len(payload)):
        try:
            reader.feed(payload[at : at + 1])
        except PayloadError as fault:
            return at + 1, fault.code
    raise AssertionError("not refused")


def test_what_is_collected_is_32_kib_at_the_most() -> None:
    assert MAX_COLLECTED == 32_768
    for size, good in ((MAX_COLLECTED - 6, True), (MAX_COLLECTED - 5, False)):
        payload = entries(b"\xa1a", b"\xda" + size.to_bytes(2, "big") + b"x" * size)
        assert isinstance(read([payload]), tuple) is good


def test_the_large_value_has_no_limit_and_everything_else_has_one() -> None:
    rest = entries(FILE, bin32(bytes(200_000)), b"\xa1a", b"\xc4\x05abcde")
    collected = len(rest) - 200_000 - 3  # the header of the value is not kept, b"" is
    assert read([rest], limit=collected) == ({"file": b"", "a": b"abcde"}, bytes(200_000))
    assert read([rest], limit=collected - 1) == Code.FILE_TOO_LARGE


@pytest.mark.parametrize(
    "head", [b"\xc6\0\0\0\x64", b"\xdb\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff"]
)
def test_what_is_over_the_limit_is_refused_by_its_head(head: bytes) -> None:
    value = head + bytes(100)
    assert refused_after(entries(b"\xa1a", value), limit=100) == (8, Code.INVALID_PACKAGE)
    assert refused_after(entries(b"\xa1a", value), limit=100, limit_code=200031) == (8, 200031)
    assert refused_after(entries(value, b"\x01"), limit=100) == (6, Code.INVALID_PACKAGE)


def test_many_small_values_are_over_the_limit_together() -> None:
    payload = b"\xde\x04\0" + b"\xa1a\xc0" * 1024
    assert read([payload], limit=len(payload)) == ({"a": None}, None)
    assert read([payload], limit=len(payload) - 1) == Code.FILE_TOO_LARGE
    assert refused_after(payload, limit=100) == (100, Code.INVALID_PACKAGE)


def test_a_second_large_value_is_collected_and_so_has_the_limit() -> None:
    payload = entries(FILE, bin32(bytes(500)), FILE, bin32(bytes(500)))
    assert read([payload], limit=100) == Code.FILE_TOO_LARGE
    assert read([payload], limit=600) == ({"file": b""}, bytes(500))


def test_a_payload_has_as_many_values_as_one_that_comes_whole() -> None:
    for count, good in ((MAX_NODES - 5, True), (MAX_NODES - 4, False)):
        array = b"\xdc" + count.to_bytes(2, "big") + b"\xc0" * count
        payload = entries(b"\xa1a", array, FILE, b"\xc4\x01x")
        got = read([payload])
        assert isinstance(got, tuple) is good
        assert same(got, read_whole(payload))
        if not good:
            assert refused_after(payload) == (len(payload) - 1, Code.INVALID_PACKAGE)


def test_a_payload_is_as_deep_as_one_that_comes_whole() -> None:
    for depth, good in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False)):
        for pieces in ways(nested(depth)):
            got = read(pieces)
            assert isinstance(got, tuple) is good
            assert same(got, read_whole(nested(depth)))
        for value in (b"\x01", b"\xa1x"):
            payload = b"\x81\xa1x" + b"\x91" * (depth - 1) + value
            got = read([payload])
            assert isinstance(got, tuple) is good
            assert same(got, read_whole(payload))
    assert refused_after(nested(MAX_DEPTH + 9)) == (3 + MAX_DEPTH, Code.INVALID_PACKAGE)


def test_what_is_no_msgpack_is_refused_at_once() -> None:
    assert refused_after(entries(b"\xa1a", b"\xc1", FILE, b"\xc4\x01x")) == (4, 10003)
    for text, payload in (
        ("the unused lead byte 0xc1", b"\x81\xa1a\xc1"),
        ("more values than the limit of 4096", b"\xdd\0\0\x20\0" + b"\xc0" * 8192),
        ("deeper than the limit of 32", b"\x91" * 40),
    ):
        with pytest.raises(PayloadError, match=text):
            PayloadReader("file").feed(payload)
    nils = MAX_NODES - 34  # the last value that may come is one level too deep
    payload = entries(b"\xa1a", b"\xdc" + (nils + 1).to_bytes(2, "big") + b"\xc0" * nils)
    with pytest.raises(PayloadError, match="deeper than the limit of 32"):
        PayloadReader("file").feed(payload + b"\x91" * 40)


@pytest.mark.timeout(20)
def test_a_payload_byte_by_byte_is_not_looked_at_again_and_again() -> None:
    payload = encode({"a": bytes(20_000), "file": bytes(200_000), "b": [*range(2000)]})
    assert isinstance(read(payload[at : at + 1] for at in range(len(payload))), tuple)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=7))
def test_a_scan_and_an_unpack_find_the_same(pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """By another way than ``decode``: of every pair of the map the first ``file``."""
    payload = entries(*(part for pair in pairs for part in pair))
    got = read([payload], limit=UNLIMITED)
    try:
        found = cast(
            "list[tuple[object, object]]",
            unpack(payload[: scan(payload)], lambda items: items),
        )
    except PayloadError:
        assert got == Code.INVALID_PACKAGE
        return
    assert isinstance(got, tuple)
    body = next((item for key, item in found if key in ("file", b"file")), None)
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogateescape")
    assert got[1] == (body if isinstance(body, bytes) else None)
