"""Frame heads, masks and the frame writer."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import LocalProtocolError
from rtm_proto.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEYS_AT_ONCE,
    MAX_CONTROL,
    PING,
    PONG,
    TEXT,
    FrameWriter,
    best_mask,
    close_payload,
    frame_head,
    head_size,
    mask_in_python,
    mask_keys,
    payload_size,
    turn_key,
)
from rtm_proto.link import Buffer
from tests.raw_frames import joined, raw_frame

KEY = bytes.fromhex("37fa213d")  # RFC 6455, section 5.7

HEADS = [
    (0, "8200"),
    (125, "827d"),
    (126, "827e007e"),  # FPNN's servers leave the length out here; we do not
    (127, "827e007f"),
    (65_535, "827effff"),
    (65_536, "827f0000000000010000"),
    (5_243_031, "827f0000000000500097"),
    (0x0102030405060708, "827f0102030405060708"),
]


def test_the_numbers_of_the_rfc() -> None:
    assert (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG) == (0, 1, 2, 8, 9, 10)
    assert MAX_CONTROL == 125


@pytest.mark.parametrize(("size", "head"), HEADS)
def test_a_head_is_minimal_and_reads_back(size: int, head: str) -> None:
    plain = frame_head(BINARY, size, None)
    assert plain.hex() == head
    masked = frame_head(BINARY, size, KEY)
    assert masked == bytes((plain[0], plain[1] | 0x80)) + plain[2:] + KEY
    for written in (plain, masked):
        assert head_size(written[1]) == len(written)
        assert payload_size(written) == size


def test_the_rfc_example_masks_right() -> None:
    assert mask_in_python(b"Hello", KEY).hex() == "7f9f4d5158"


@given(st.integers(0, 1_200), st.binary(min_size=4, max_size=4))
def test_every_mask_routine_gives_the_same(size: int, key: bytes) -> None:
    data = bytes(i * 7 & 0xFF for i in range(size))
    masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(data))
    for buffer in (data, bytearray(data), memoryview(data)):
        assert mask_in_python(buffer, key) == masked
        assert best_mask()(buffer, key) == masked
        assert bytes(buffer) == data


@given(st.binary(max_size=40), st.integers(0, 40))
def test_a_mask_goes_on_where_it_stopped(data: bytes, cut: int) -> None:
    first, second = data[:cut], data[cut:]
    apart = mask_in_python(first, KEY) + mask_in_python(second, turn_key(KEY, len(first)))
    assert apart == mask_in_python(data, KEY)


def test_without_the_speed_extra_python_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    assert best_mask() is mask_in_python


def test_a_close_text_is_cut_at_a_character() -> None:
    assert close_payload(None, "nobody reads this") == b""
    assert close_payload(1000) == b"\x03\xe8"
    assert close_payload(1000, "a\ud800b") == b"\x03\xe8a?b"
    payload = close_payload(1002, "é" * 100)
    assert payload[2:].decode() == "é" * 61
    assert len(payload) <= 125


def client_writer() -> FrameWriter:
    return FrameWriter(lambda: KEY, best_mask())


def server_writer() -> FrameWriter:
    return FrameWriter(None, best_mask())


WRITERS = [(client_writer, KEY), (server_writer, None)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 16_384, 16_385, 70_000])
def test_a_frame_is_written_by_the_rfc(size: int) -> None:
    payload = bytes(i & 0xFF for i in range(size))
    for make, key in WRITERS:
        writer = make()
        writer.write(BINARY, payload)
        out = writer.data_to_send()
        assert joined(out) == raw_frame(payload, key=key)
        assert len(out) == (1 if size <= 16_384 else 2)
        assert writer.data_to_send() == []


@pytest.mark.parametrize("step", [1, 3, 4, 64, 1_000])
def test_a_frame_in_pieces_equals_the_whole(step: int) -> None:
    payload = bytes(i * 3 & 0xFF for i in range(1_000))
    for make, key in WRITERS:
        for kind in (bytes, bytearray, memoryview):
            writer = make()
            writer.begin(BINARY, len(payload))
            for i in range(0, len(payload), step):
                assert writer.in_frame
                writer.write_piece(kind(payload[i : i + step]))
                writer.write_piece(b"")
            assert not writer.in_frame
            assert joined(writer.data_to_send()) == raw_frame(payload, key=key)


def test_a_server_does_not_copy_a_piece() -> None:
    writer = server_writer()
    piece = bytearray(100)
    writer.begin(BINARY, 100)
    writer.write_piece(piece)
    assert writer.data_to_send()[1] is piece


def test_the_callers_buffer_is_never_changed() -> None:
    piece = bytearray(b"abcdefgh")
    writer = client_writer()
    writer.begin(BINARY, 16)
    writer.write_piece(piece)
    writer.write_piece(memoryview(piece))
    writer.write(BINARY, piece)
    assert piece == b"abcdefgh"


def test_every_frame_gets_a_key_of_its_own() -> None:
    keys = [bytes([i] * 4) for i in range(4)]
    left = iter(keys)
    writer = FrameWriter(lambda: next(left), best_mask())
    writer.write(BINARY, b"a")
    writer.begin(BINARY, 1)
    writer.write_piece(b"b")
    writer.pong(b"c")
    writer.close(1000, "")
    assert joined(writer.data_to_send()) == b"".join(
        [
            raw_frame(b"a", key=keys[0]),
            raw_frame(b"b", key=keys[1]),
            raw_frame(b"c", 10, key=keys[2]),
            raw_frame(b"\x03\xe8", 8, key=keys[3]),
        ]
    )


def test_control_frames_wait_until_a_frame_is_whole() -> None:
    writer = server_writer()
    writer.begin(BINARY, 2)
    writer.pong(b"first")
    writer.pong(b"second")  # the only one that has to be answered
    writer.close(1000, "bye")
    writer.close(1001, "again")
    writer.write_piece(b"a")
    assert joined(writer.data_to_send()) == b"\x82\x02a"
    writer.write_piece(b"b")
    assert joined(writer.data_to_send()) == b"b" + raw_frame(b"second", 10) + raw_frame(
        b"\x03\xe8bye", CLOSE
    )


def test_a_pong_that_waited_is_sent_once() -> None:
    writer = server_writer()
    for held in (raw_frame(b"held", PONG), b""):
        writer.begin(BINARY, 1)
        if held:
            writer.pong(b"held")
        writer.write_piece(b"a")
        assert joined(writer.data_to_send()) == b"\x82\x01a" + held


def test_a_piece_belongs_to_a_frame_that_has_begun() -> None:
    with pytest.raises(LocalProtocolError, match="room for 0 more bytes, got 1"):
        server_writer().write_piece(b"a")


def test_after_the_close_frames_are_dropped() -> None:
    writer = client_writer()
    writer.close(None, "")
    writer.write(BINARY, b"late")
    writer.begin(BINARY, 4)
    writer.write_piece(b"late")
    writer.pong(b"late")
    writer.close(1000, "late")
    assert joined(writer.data_to_send()) == raw_frame(b"", CLOSE, key=KEY)


def test_a_frame_in_pieces_may_end_after_the_close_was_asked_for() -> None:
    writer = client_writer()
    writer.begin(BINARY, 2)
    writer.close(1000, "")
    writer.write_piece(b"ab")
    writer.write_piece(b"late")
    assert joined(writer.data_to_send()) == raw_frame(b"ab", key=KEY) + raw_frame(
        b"\x03\xe8", CLOSE, key=KEY
    )


def test_misuse_is_told_before_anything_changes() -> None:
    writer = server_writer()
    writer.begin(BINARY, 4)

    def whole() -> None:
        writer.write(PING, b"")

    def another() -> None:
        writer.begin(BINARY, 1)

    def too_much() -> None:
        writer.write_piece(b"abcde")

    for misuse in (whole, another, too_much):
        with pytest.raises(LocalProtocolError, match="4"):
            misuse()
    piece: Buffer = b"abcd"
    writer.write_piece(piece)
    assert joined(writer.data_to_send()) == b"\x82\x04abcd"


def test_mask_keys_are_drawn_many_at_once_and_each_is_used_once() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return bytes((len(asked),)) + bytes(at & 0xFF for at in range(1, size))

    keys = mask_keys(entropy)
    assert asked == []
    drawn = [keys() for _ in range(KEYS_AT_ONCE + 1)]
    assert asked == [4 * KEYS_AT_ONCE] * 2
    assert drawn[:2] == [b"\x01\x01\x02\x03", b"\x04\x05\x06\x07"]
    assert drawn[-1] == b"\x02\x01\x02\x03"
    assert {len(key) for key in drawn} == {4}
