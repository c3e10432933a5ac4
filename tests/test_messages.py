"""WebSocket messages after the handshake: pieces, limits, control frames, broken frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtm_proto.errors import LocalProtocolError
from rtm_proto.events import CloseKind
from rtm_proto.frames import BINARY, TEXT
from rtm_proto.messages import MAX_CONTROLS, MAX_FRAGMENTS, WebSocket
from tests.raw_frames import cuts, joined, raw_frame

KEY = b"\x37\xfa\x21\x3d"
ROLES = ["client", "server"]


def make(
    role: str, *, text: bool = False, lane: bool = True, max_message: int = 1_000
) -> WebSocket:
    return WebSocket(
        client=role == "client",
        mask_key=lambda: KEY,
        text=text,
        lane=lane,
        max_message=max_message,
    )


def from_peer(role: str) -> Callable[..., bytes]:
    """Makes the frames that the peer of *role* sends."""

    def frame(payload: bytes = b"", opcode: int = 2, **more: Any) -> bytes:
        return raw_frame(payload, opcode, key=KEY if role == "server" else None, **more)

    return frame


def to_peer(role: str, payload: bytes, opcode: int) -> bytes:
    return raw_frame(payload, opcode, key=KEY if role == "client" else None)


def receive(socket: WebSocket, *chunks: bytes, now: float = 0.0) -> list[tuple[int, bytes]]:
    """The whole messages that come of the chunks; their buffers are spoilt behind them."""
    messages: list[tuple[int, bytes]] = []
    message = b""
    for chunk in chunks:
        buffer = bytearray(chunk)
        socket.receive_data(buffer, now=now)
        while (piece := socket.next_piece()) is not None:
            opcode, data, last = piece
            message += data
            del data, piece
            if last:
                messages.append((opcode, message))
                message = b""
        buffer[:] = b"\xee" * len(buffer)
        buffer.clear()  # not possible if somebody still looks at it
    return messages


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1_000])
def test_a_message_arrives_however_it_is_cut(role: str, size: int) -> None:
    payload = bytes(i & 0xFF for i in range(size))
    wire = from_peer(role)(payload)
    for chunks in cuts(wire):
        for tail in ([], [wire]):
            socket = make(role)
            assert receive(socket, *chunks, *tail) == [(BINARY, payload)] * (1 + len(tail))
            assert socket.ended is None
        *before, last = chunks
        assert receive(make(role), *before, last + wire) == [(BINARY, payload)] * 2


@pytest.mark.parametrize("role", ROLES)
def test_text_is_taken_like_binary(role: str) -> None:
    frame = from_peer(role)
    wire = frame(b"\xff", TEXT) + frame(b"\xff", TEXT, fin=False) + frame(b"\xfe", 0)
    assert [data for _, data in receive(make(role), wire)] == [b"\xff", b"\xff\xfe"]


@pytest.mark.parametrize("role", ROLES)
def test_the_opcode_of_a_message_is_told(role: str) -> None:
    frame = from_peer(role)
    wire = frame(b"a", TEXT) + frame(b"b") + frame(b"", TEXT) + frame(b"")
    assert receive(make(role), wire) == [(TEXT, b"a"), (BINARY, b"b"), (TEXT, b""), (BINARY, b"")]
    socket = make(role)
    socket.receive_data(frame(b"x" * 16, TEXT, announced=1_001), now=0.0)
    assert socket.next_piece() == (TEXT, b"x" * 16, False)


@pytest.mark.parametrize("role", ROLES)
def test_with_the_text_option_text_is_checked(role: str) -> None:
    frame = from_peer(role)
    good = frame("é".encode(), TEXT) + frame(b"\xc3", TEXT, fin=False) + frame(b"\xa9", 0)
    for chunks in cuts(good):
        socket = make(role, text=True)
        assert receive(socket, *chunks) == [(TEXT, "é".encode())] * 2
    socket = make(role, text=True)
    assert receive(socket, good + frame(b"\xff", TEXT)) == [(TEXT, "é".encode())] * 2
    assert socket.ended is not None
    assert socket.ended.kind is CloseKind.PROTOCOL_ERROR
    assert socket.close_code == 1007


@pytest.mark.parametrize("role", ROLES)
def test_a_message_is_handed_on_as_it_arrives(role: str) -> None:
    socket = make(role)
    wire = from_peer(role)(b"abcdef")
    socket.receive_data(wire[:-4], now=0.0)
    assert socket.next_piece() == (BINARY, b"ab", False)
    assert socket.next_piece() is None
    socket.receive_data(wire[-4:], now=0.0)
    assert socket.next_piece() == (BINARY, b"cdef", True)


def test_bytes_that_were_not_pulled_are_not_lost() -> None:
    socket = make("client")
    wire = raw_frame(b"abc") + raw_frame(b"de")
    for i in range(len(wire)):
        socket.receive_data(wire[i : i + 1], now=0.0)
    assert receive(socket, b"") == [(BINARY, b"abc"), (BINARY, b"de")]
    socket.receive_data(wire, now=0.0)
    assert socket.next_piece() == (BINARY, b"abc", True)
    assert receive(socket, wire) == [(BINARY, data) for data in (b"de", b"abc", b"de")]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("form", "size"), [(16, 0), (16, 24), (64, 0), (64, 24), (64, 200)])
@pytest.mark.parametrize("text", [True, False])
def test_a_longer_length_than_needed_is_taken(role: str, form: int, size: int, text: bool) -> None:
    wire = from_peer(role)(b"x" * size, form=form)
    for chunks in cuts(wire):
        assert receive(make(role, text=text), *chunks) == [(BINARY, b"x" * size)]


def test_only_where_it_is_asked_for_a_missing_length_is_repaired() -> None:
    package = b"FPNN" + bytes(122)
    wire = b"\x82\x7e" + package
    for end in range(6):
        socket = make("client")
        socket.receive_data(wire[:end], now=0.0)
        assert socket.next_piece(repair=True) is None
        socket.receive_data(wire[end:], now=0.0)
        assert socket.next_piece(repair=True) == (BINARY, package, True)
    socket = make("client", max_message=20_000)
    socket.receive_data(wire, now=0.0)
    assert socket.next_piece() == (BINARY, package[2:], False)
    genuine = raw_frame(b"FPNN" + bytes(17_996))
    socket = make("client", max_message=20_000)
    socket.receive_data(genuine, now=0.0)
    assert socket.next_piece(repair=True) == (BINARY, genuine[4:], True)


def test_a_missing_length_is_known_by_its_first_four_bytes() -> None:
    socket = make("client")
    socket.receive_data(b"\x82\x7eFPNN", now=0.0)
    assert socket.next_piece(repair=True) == (BINARY, b"FPNN", False)


@pytest.mark.parametrize(
    ("payload", "opcode"),
    [
        (b"NN" + bytes(198), BINARY),
        (b"NX" + bytes(17_998), BINARY),
        (b"XN" + bytes(17_998), BINARY),
        (b"NN" + bytes(17_998), TEXT),
    ],
)
def test_a_length_that_is_there_is_not_repaired(payload: bytes, opcode: int) -> None:
    socket = make("client", max_message=20_000)
    socket.receive_data(raw_frame(payload, opcode), now=0.0)
    assert socket.next_piece(repair=True) == (opcode, payload, True)


# --- fragments ---


@pytest.mark.parametrize("role", ROLES)
def test_fragments_with_control_frames_between(role: str) -> None:
    frame = from_peer(role)
    wire = (
        frame(b"", fin=False)
        + frame(b"are you there", 9)
        + frame(b"ab", 0, fin=False)
        + frame(b"", 0, fin=False)
        + frame(b"nobody asked", 10)
        + frame(b"cd", 0)
        + frame(b"next")
    )
    for chunks in cuts(wire):
        socket = make(role)
        assert receive(socket, *chunks) == [(BINARY, b"abcd"), (BINARY, b"next")]
        assert joined(socket.data_to_send()) == to_peer(role, b"are you there", 10)


@pytest.mark.parametrize("empty", [True, False])
def test_a_message_has_a_limit_of_fragments(empty: bool) -> None:
    part = b"" if empty else b"a"

    def message(count: int) -> bytes:
        middle = raw_frame(part, 0, fin=False) * (count - 2)
        return raw_frame(part, fin=False) + middle + raw_frame(part, 0)

    socket = make("client", max_message=10_000)
    assert receive(socket, message(MAX_FRAGMENTS) * 2) == [(BINARY, part * MAX_FRAGMENTS)] * 2
    assert receive(socket, message(MAX_FRAGMENTS + 1)) == []
    assert str(socket.ended) == "over a limit: a message has more than 4096 fragments"
    assert socket.close_code == 1008
    assert receive(make("client", max_message=10_000), message(MAX_FRAGMENTS + 1)) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_fragment_that_comes_byte_by_byte_is_one_fragment(role: str) -> None:
    frame = from_peer(role)
    wire = frame(b"a" * 20, fin=False) + frame(b"b" * 20, 0)
    key = None if role == "server" else lambda: KEY
    socket = WebSocket(client=role == "client", mask_key=key, max_fragments=2)
    chunks = [wire[i : i + 1] for i in range(len(wire))]
    assert receive(socket, *chunks) == [(BINARY, b"a" * 20 + b"b" * 20)]
    assert socket.ended is None


# --- limits ---


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("announced", [1_001, 65_536, 1 << 32, (1 << 63) - 1, (1 << 64) - 1])
def test_an_announced_length_over_the_limit_is_refused(role: str, announced: int) -> None:
    wire = from_peer(role)(b"0123456789abcdef", announced=announced)
    for chunks in cuts(wire):
        socket = make(role)
        socket.receive_data(b"".join(chunks[:-1]), now=0.0)
        assert socket.next_piece() is None
        socket.receive_data(chunks[-1], now=0.0)
        assert socket.next_piece() == (BINARY, b"0123456789abcdef", False)
        assert socket.next_piece() is None
        assert socket.ended is not None
        assert socket.ended.kind is CloseKind.LIMIT
        assert f"{announced} bytes or more is over the limit of 1000" in str(socket.ended)
        assert socket.close_code == 1009


@pytest.mark.parametrize("role", ROLES)
def test_fragments_over_the_limit_are_refused_on_the_header(role: str) -> None:
    frame = from_peer(role)
    first = frame(b"a" * 600, fin=False)
    second = frame(b"", 0, announced=401)
    for chunks in cuts(second):
        socket = make(role)
        receive(socket, first, *chunks[:-1])
        assert socket.ended is None
        receive(socket, chunks[-1])
        assert socket.close_code == 1009
    socket = make(role)
    whole = first + frame(b"b" * 400, 0)
    assert len(receive(socket, whole + whole + first)) == 2
    assert socket.ended is None


@pytest.mark.parametrize("role", ROLES)
def test_a_first_fragment_over_the_limit_is_refused_on_the_header(role: str) -> None:
    socket = make(role)
    receive(socket, from_peer(role)(b"", fin=False, announced=1_001))
    assert socket.close_code == 1009


@pytest.mark.parametrize("role", ROLES)
def test_the_limit_of_a_message_is_none_of_a_control_frame(role: str) -> None:
    socket = make(role, max_message=10)
    receive(socket, from_peer(role)(b"?" * 125, 9))
    assert socket.ended is None
    assert joined(socket.data_to_send()) == to_peer(role, b"?" * 125, 10)


def test_the_limit_can_be_raised() -> None:
    socket = make("client", max_message=10)
    socket.set_max_message(20)
    assert receive(socket, raw_frame(b"a" * 20)) == [(BINARY, b"a" * 20)]
    receive(socket, raw_frame(b"a" * 21))
    assert socket.close_code == 1009


def test_the_limit_holds_without_the_lane_too() -> None:
    socket = make("client", lane=False)
    receive(socket, raw_frame(b"a" * 1_000) + raw_frame(b"a" * 600, fin=False))
    assert socket.ended is None
    receive(socket, raw_frame(b"b" * 401, 0))
    assert socket.close_code == 1009


def test_a_limit_below_the_first_bytes_handed_on() -> None:
    socket = make("client", max_message=4)
    socket.receive_data(raw_frame(b"abcdef"), now=0.0)
    assert socket.next_piece() == (BINARY, b"abcd", False)
    assert socket.next_piece() is None
    assert socket.close_code == 1009


@pytest.mark.parametrize("opcode", [9, 10])
def test_control_frames_are_limited_by_the_second(opcode: int) -> None:
    socket = make("client")
    frame = raw_frame(b"", opcode)
    receive(socket, frame * MAX_CONTROLS, now=100.0)
    receive(socket, frame * MAX_CONTROLS, now=101.0)
    assert socket.ended is None
    receive(socket, frame, now=101.99)
    assert str(socket.ended) == "over a limit: more than 50 control frames in a second"
    assert socket.close_code == 1008
    pongs = 2 * MAX_CONTROLS if opcode == 9 else 0
    assert joined(socket.data_to_send()) == to_peer("client", b"", 10) * pongs


# --- control frames and the close ---


@pytest.mark.parametrize("role", ROLES)
def test_a_ping_is_answered_after_the_frame_that_is_under_way(role: str) -> None:
    socket = make(role)
    socket.begin(6)
    socket.send_piece(b"abc")
    assert socket.in_frame
    receive(socket, from_peer(role)(b"?", 9))
    assert not socket.ping()
    socket.send_piece(b"def")
    assert socket.ping(b"!")
    assert joined(socket.data_to_send()) == (
        to_peer(role, b"abcdef", BINARY) + to_peer(role, b"?", 10) + to_peer(role, b"!", 9)
    )


def test_a_ping_of_125_bytes_at_most() -> None:
    with pytest.raises(LocalProtocolError, match="125 bytes, got 126"):
        make("client").ping(bytes(126))
    socket = make("client")
    assert socket.ping(bytes(125)) and socket.ping()
    assert joined(socket.data_to_send()) == to_peer("client", bytes(125), 9) + to_peer(
        "client", b"", 9
    )


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("payload", "answer", "said"),
    [
        (b"", b"", "close frame"),
        (b"\x03\xe8", b"\x03\xe8", "close frame 1000"),
        (b"\x03\xe9bye", b"\x03\xe9", "close frame 1001 bye"),
        (b"\x13\x87" + b"x" * 123, b"\x13\x87", "close frame 4999 " + "x" * 123),
    ],
)
def test_the_peers_close_is_answered(role: str, payload: bytes, answer: bytes, said: str) -> None:
    wire = from_peer(role)(payload, 8)
    for chunks in cuts(wire):
        socket = make(role)
        receive(socket, *chunks, from_peer(role)(b"late"), wire)
        assert socket.ended is not None
        assert (socket.ended.kind, socket.ended.text) == (CloseKind.PEER_CLOSED, said)
        assert socket.close_code is None
        socket.send(b"late")
        socket.close(1001)
        assert not socket.ping()
        assert joined(socket.data_to_send()) == to_peer(role, answer, 8)


@pytest.mark.parametrize("role", ROLES)
def test_after_our_close_what_arrives_is_dropped(role: str) -> None:
    socket = make(role)
    socket.close(1001, "going away")
    socket.close()
    assert joined(socket.data_to_send()) == to_peer(role, b"\x03\xe9going away", 8)
    frame = from_peer(role)
    assert receive(socket, frame(b"late") + frame(b"?", 9) + frame(b"\x03\xe9", 8)) == []
    socket.receive_eof()
    assert str(socket.ended) == "closed by us"
    assert socket.data_to_send() == []


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("opcode", "payload", "more", "code"),
    [
        (3, b"", {}, 1002),
        (7, b"a", {}, 1002),
        (11, b"", {}, 1002),
        (15, b"a", {}, 1002),
        (2, b"a", {"rsv": 1}, 1002),
        (2, b"a", {"rsv": 2}, 1002),
        (1, b"a", {"rsv": 4}, 1002),
        (9, b"a", {"rsv": 1}, 1002),
        (0, b"a", {}, 1002),
        (0, b"", {}, 1002),
        (0, b"a", {"fin": False}, 1002),
        (9, b"a", {"fin": False}, 1002),
        (9, b"a" * 126, {}, 1002),
        (10, b"a" * 70_000, {}, 1002),
        (8, b"\x03", {}, 1002),
        (8, b"\x03\xe7", {}, 1002),
        (8, b"\x03\xed", {}, 1002),
        (8, b"\x07\xcf", {}, 1002),
        (8, b"\x03\xe8\xff", {}, 1007),
    ],
)
def test_a_broken_frame_ends_it(
    role: str, opcode: int, payload: bytes, more: dict[str, int], code: int
) -> None:
    frame = from_peer(role)
    wire = frame(payload, opcode, **more)
    for chunks in cuts(wire) if len(wire) < 200 else [[wire]]:
        socket = make(role)
        assert receive(socket, frame(b"good"), *chunks) == [(BINARY, b"good")]
        assert socket.ended is not None
        assert socket.ended.kind is CloseKind.PROTOCOL_ERROR
        assert socket.ended.text
        assert socket.close_code == code
        assert socket.data_to_send() == []
        assert receive(socket, frame(b"late")) == []
        socket.close(socket.close_code, "why")
        assert joined(socket.data_to_send()) == to_peer(role, code.to_bytes(2) + b"why", 8)


@pytest.mark.parametrize("role", ROLES)
def test_a_frame_masked_the_wrong_way_ends_it(role: str) -> None:
    other = "client" if role == "server" else "server"
    for opcode in (0, 1, 2, 8, 9, 10):
        for fin in (True, False):
            socket = make(role)
            assert receive(socket, from_peer(other)(b"", opcode, fin=fin)) == []
            assert socket.close_code == 1002


@pytest.mark.parametrize("role", ROLES)
def test_a_new_message_inside_a_fragmented_one_ends_it(role: str) -> None:
    frame = from_peer(role)
    for wire in (frame(b"new"), frame(b"", announced=5_000, fin=False) + b"n"):
        for chunks in cuts(wire):
            socket = make(role)
            assert receive(socket, frame(b"old", fin=False), *chunks) == []
            assert socket.close_code == 1002


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("lane", [True, False])
def test_the_end_of_the_stream_is_a_normal_end(role: str, lane: bool) -> None:
    frame = from_peer(role)
    for wire, inside in (
        (b"", False),
        (frame(b"a"), False),
        (frame(b"?", 9), False),
        (frame(b"a", fin=False), True),
    ):
        socket = make(role, lane=lane)
        receive(socket, wire)
        socket.receive_eof()
        assert socket.ended is not None
        assert socket.ended.kind is CloseKind.PEER_CLOSED
        assert socket.ended.text == ("inside a WebSocket message" if inside else "")


@pytest.mark.parametrize("role", ROLES)
def test_the_end_inside_a_frame_says_so(role: str) -> None:
    wire = from_peer(role)(b"abc")
    for end in range(1, len(wire)):
        socket = make(role)
        receive(socket, wire[:end])
        socket.receive_eof()
        assert str(socket.ended) == "closed by the peer: inside a WebSocket message"


def test_a_fault_found_by_others_is_kept_for_the_close() -> None:
    socket = make("server")
    socket.fail(CloseKind.PROTOCOL_ERROR, 1007, "two packages")
    socket.fail(CloseKind.LIMIT, 1009, "late")
    assert str(socket.ended) == "protocol error: two packages"
    assert socket.close_code == 1007
    socket.send(b"an answer may still go out")
    assert socket.data_to_send() != []


def test_a_client_needs_mask_keys() -> None:
    with pytest.raises(LocalProtocolError, match="mask_key"):
        WebSocket(client=True)


def test_a_server_needs_none_takes_what_fpnn_sends_and_closes_normally() -> None:
    socket = WebSocket(client=False)
    assert receive(socket, raw_frame(b"\xff", TEXT, key=KEY, form=16)) == [(TEXT, b"\xff")]
    socket.close()
    assert joined(socket.data_to_send()) == raw_frame(b"\x03\xe8", 8)


# --- messages that are taken whole ---

WHOLE_LIMIT = 300  # bytes a message
SMALL, MEDIUM = raw_frame(b"a" * 5), raw_frame(b"b" * 200)


@pytest.mark.parametrize(
    ("data", "payloads", "end"),
    [
        (SMALL, b"a" * 5, 7),
        (MEDIUM, b"b" * 200, 204),
        (SMALL + MEDIUM + SMALL, b"a" * 5 + b"b" * 200 + b"a" * 5, 218),
        (SMALL + raw_frame(b"", 9) + SMALL, b"a" * 5, 7),
        (SMALL + MEDIUM[:-1], b"a" * 5, 7),
        (SMALL + SMALL[:3], b"a" * 5, 7),
        (raw_frame(b"c" * WHOLE_LIMIT), b"c" * WHOLE_LIMIT, WHOLE_LIMIT + 4),
        (raw_frame(b"c" * (WHOLE_LIMIT + 1)), b"", 0),
        (raw_frame(b"c", 1), b"", 0),
        (raw_frame(b"c", fin=False), b"", 0),
        (raw_frame(b"c", rsv=1), b"", 0),
        (raw_frame(b"c", key=KEY), b"", 0),
        (b"\x82\x7eFPNN" + b"c" * 20_000, b"", 0),
        (b"\x82\x7f" + (200).to_bytes(8) + b"c" * 200, b"", 0),
        (b"", b"", 0),
    ],
)
def test_only_plain_messages_at_the_start_are_taken_whole(
    data: bytes, payloads: bytes, end: int
) -> None:
    socket = WebSocket(client=True, mask_key=lambda: KEY, max_message=WHOLE_LIMIT)
    assert socket.take_whole(data) == (payloads, end)


def test_a_frame_of_a_length_that_looks_like_a_package_is_not_taken_whole() -> None:
    socket = WebSocket(client=True, mask_key=lambda: KEY)
    assert socket.take_whole(raw_frame(b"c" * 0x4650)) == (b"", 0)
    assert socket.take_whole(raw_frame(b"c" * 0x464F)) == (b"c" * 0x464F, 0x464F + 4)


@pytest.mark.parametrize(
    "before", [SMALL[:1], SMALL[:4], raw_frame(b"c", fin=False), raw_frame(b"", 8)]
)
def test_nothing_is_taken_whole_behind_something_unfinished(before: bytes) -> None:
    socket = WebSocket(client=True, mask_key=lambda: KEY)
    socket.receive_data(before, now=0.0)
    while socket.next_piece() is not None:
        pass
    assert socket.take_whole(SMALL) == (b"", 0)


def test_nothing_is_taken_whole_by_a_server_without_the_lane_or_from_a_buffer_that_changes() -> (
    None
):
    assert WebSocket(client=False).take_whole(SMALL) == (b"", 0)
    assert WebSocket(client=True, mask_key=lambda: KEY, lane=False).take_whole(SMALL) == (b"", 0)
    socket = WebSocket(client=True, mask_key=lambda: KEY)
    assert socket.take_whole(memoryview(SMALL)) == (b"", 0)
