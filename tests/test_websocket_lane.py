"""With and without the fast lane, the same bytes give the same messages, answers and end.

Without the lane wsproto reads every byte as it comes. What the two may see differently is left out
of the inputs here, and is tested by name elsewhere:

- a length in a longer form than needed, and the 126-byte frame without its length: the lane takes
  them, as FPNN's servers and clients do; wsproto calls them broken;
- a text message that is not UTF-8, without the text option: FPNN takes text like binary;
- a length over the limit whose payload does not come: the lane refuses it on its announcement,
  without the lane only what has come is counted;
- what came of a message that never ended: only whole messages count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtm_proto.events import CloseKind
from rtm_proto.messages import WebSocket
from rtm_proto.package import Package, encode_answer, encode_oneway, encode_quest
from rtm_proto.websocket import WebSocketLink
from tests.feeding import cut_up
from tests.raw_frames import joined, raw_frame

KEY = b"\x00\xa5\x3c\xff"
LIMIT = 300  # bytes a message
FRAGMENTS = 6
ROLES = st.sampled_from(["client", "server"])


@dataclass
class Outcome:
    """What came of some bytes, as far as anybody outside can see."""

    messages: list[tuple[int, bytes]]
    sent: bytes
    kind: CloseKind | None
    close_code: int | None


def read(chunks: Sequence[bytes], *, client: bool, text: bool, lane: bool) -> Outcome:
    """Feed the chunks at one time: the limit on control frames must not hang on the cuts."""
    socket = WebSocket(
        client=client,
        mask_key=lambda: KEY,
        max_message=LIMIT,
        max_fragments=FRAGMENTS,
        text=text,
        lane=lane,
    )
    messages: list[tuple[int, bytes]] = []
    message = b""
    for chunk in chunks:
        socket.receive_data(chunk, now=0.0)
        while (piece := socket.next_piece()) is not None:
            message += piece[1]
            if piece[2]:
                messages.append((piece[0] if text else 2, message))
                message = b""
    sent = joined(socket.data_to_send())
    code = socket.close_code
    socket.receive_eof()
    kind = None if socket.ended is None else socket.ended.kind
    return Outcome(messages, sent, kind, code)


@st.composite
def frames(draw: st.DrawFn, client: bool, text: bool) -> bytes:
    """One frame for a reader of that role: mostly a good one."""
    key = None if client else draw(st.sampled_from([KEY, bytes(4), b"\x01\x02\x03\x04"]))
    sort = draw(st.integers(0, 19))
    if sort < 7:
        return raw_frame(draw(payloads(draw(st.sampled_from([10, 10, 150, LIMIT])))), 2, key=key)
    if sort < 9:
        return raw_frame(draw(texts(text)), 1, key=key)
    if sort < 14:
        opcode = draw(st.sampled_from([0, 0, 0, 1, 2]))
        fin = draw(st.booleans())
        payload = draw(texts(text) if opcode == 1 else payloads(20))
        if not text:  # it may continue a text message
            payload = bytes(byte & 0x7F for byte in payload)
        return raw_frame(payload, opcode, fin=fin, key=key)
    if sort < 17:
        opcode = draw(st.sampled_from([9, 9, 10, 8]))
        payload = draw(st.sampled_from([b"", b"\x03\xe8", b"\x03\xe9bye", b"abc", b"x" * 125]))
        return raw_frame(payload, opcode, key=key)
    if sort == 17:  # over a limit, wholly there
        size = draw(st.integers(LIMIT + 1, LIMIT + 50))
        return raw_frame(b"a" * size, draw(st.sampled_from([2, 2, 0])), key=key)
    wrong_key = KEY if client else None
    wrong: dict[str, Any] = draw(
        st.sampled_from([{"rsv": 1}, {"rsv": 4}, {"key": wrong_key}, {"fin": False}, {}])
    )
    opcode = draw(st.integers(0, 15))
    payload = draw(st.sampled_from([b"", b"a", b"\x03\xe8", b"\x03\xff", b"b" * 126]))
    if opcode < 8 and not text:
        payload = bytes(byte & 0x7F for byte in payload)
    return raw_frame(payload, opcode, **(dict[str, Any](key=key) | wrong))


def payloads(most: int) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=12) | st.integers(0, most).map(lambda size: b"p" * size)


def texts(text: bool) -> st.SearchStrategy[bytes]:
    good = st.text(max_size=12).map(str.encode)
    return good | st.binary(max_size=6) if text else good


@st.composite
def streams(
    draw: st.DrawFn, role: st.SearchStrategy[str] = ROLES
) -> tuple[list[bytes], bool, bool]:
    """Some frames one behind the other, cut anyhow; the role of the reader; its text option."""
    client = draw(role) == "client"
    text = draw(st.booleans())
    made = draw(st.lists(frames(client, text), max_size=10))
    unfinished = draw(frames(client, text))
    if len(unfinished) < LIMIT:
        made.append(unfinished[: draw(st.integers(0, 20))])
    return draw(cut_up(b"".join(made))), client, text


@given(streams())
@example(([b"\x02\x01a\x00\x00\x80\x01b"], True, False))
@example(([b"\x81\x02\xc3\xa9\x82\x00\x89\x00"], True, True))
@settings(max_examples=1_000, deadline=None)
def test_the_lane_does_not_matter(stream: tuple[list[bytes], bool, bool]) -> None:
    chunks, client, text = stream
    with_lane = read(chunks, client=client, text=text, lane=True)
    assert with_lane == read(chunks, client=client, text=text, lane=False)


@given(streams())
@settings(max_examples=500, deadline=None)
def test_how_the_bytes_are_cut_does_not_matter(stream: tuple[list[bytes], bool, bool]) -> None:
    chunks, client, text = stream
    wire = b"".join(chunks)
    whole = read([wire], client=client, text=text, lane=True)
    assert read(chunks, client=client, text=text, lane=True) == whole
    bytewise = [wire[i : i + 1] for i in range(len(wire))]
    assert read(bytewise, client=client, text=text, lane=True) == whole


@given(st.binary(max_size=200), ROLES, st.booleans(), st.booleans(), st.data())
@settings(max_examples=500, deadline=None)
def test_nothing_is_raised_whatever_the_bytes(
    wire: bytes, role: str, text: bool, lane: bool, data: st.DataObject
) -> None:
    read(data.draw(cut_up(wire)), client=role == "client", text=text, lane=lane)


# --- messages that are taken whole ---


def read_whole(chunks: Sequence[bytes]) -> tuple[list[tuple[int, bytes]], WebSocket]:
    """As a client's link reads: what is plain at the start of a chunk is taken at once."""
    socket = WebSocket(
        client=True, mask_key=lambda: KEY, max_message=LIMIT, max_fragments=FRAGMENTS
    )
    pieces: list[tuple[int, bytes]] = []
    for chunk in chunks:
        payloads, end = socket.take_whole(chunk)
        pieces.append((2, payloads))
        socket.receive_data(chunk[end:], now=0.0)
        while (piece := socket.next_piece()) is not None:
            pieces.append((piece[0], bytes(piece[1])))
    return pieces, socket


@given(streams(st.just("client")))
@settings(max_examples=500, deadline=None)
def test_taking_messages_whole_does_not_matter(stream: tuple[list[bytes], bool, bool]) -> None:
    chunks, _, _ = stream
    for cut in (chunks, [b"".join(chunks)]):
        socket = WebSocket(
            client=True, mask_key=lambda: KEY, max_message=LIMIT, max_fragments=FRAGMENTS
        )
        expected = b""
        for chunk in cut:
            socket.receive_data(chunk, now=0.0)
            while (piece := socket.next_piece()) is not None:
                expected += piece[1]
        pieces, whole = read_whole(cut)
        assert b"".join(data for _, data in pieces) == expected
        assert joined(whole.data_to_send()) == joined(socket.data_to_send())
        for each in (whole, socket):
            each.receive_eof()
        assert (whole.ended, whole.close_code) == (socket.ended, socket.close_code)


# --- the link ---

NONCE = bytes(16)
PACKAGES = [
    encode_quest(b"ping", b"\x80", 1),
    encode_quest(b"echo", b"x" * 100, 2),
    encode_answer(b"\x80", 3),
    encode_answer(b"y" * 200, 4, status=1),
    encode_oneway(b"kickout", b"\x80"),
]
PAYLOADS = [
    *PACKAGES,
    *PACKAGES,
    b"",
    b"F",
    PACKAGES[0][:-1],
    PACKAGES[0] + PACKAGES[2],
    PACKAGES[0] + b"F",
    b"HTTP/1.1 ",
    PACKAGES[0][:6] + b"\x07" + PACKAGES[0][7:],
    PACKAGES[0][:8] + b"\xff\xff\xff\xff" + PACKAGES[0][12:],
]


def opened(role: str, strict: bool, lane: bool) -> WebSocketLink:
    client = WebSocketLink.client(
        "gate",
        nonce=NONCE,
        mask_key=lambda: KEY,
        max_package=LIMIT,
        strict=strict,
        lane=lane,
    )
    server = WebSocketLink.server(max_package=LIMIT, strict=strict, lane=lane)
    client.start()
    server.receive_data(joined(client.data_to_send()), now=0.0)
    client.receive_data(joined(server.data_to_send()), now=0.0)
    return client if role == "client" else server


def talk(
    chunks: Sequence[bytes], *, role: str, strict: bool, lane: bool
) -> tuple[list[Package], CloseKind | None, bytes]:
    """The packages, the end, and all that the link sent, its close too."""
    link = opened(role, strict, lane)
    packages: list[Package] = []
    for chunk in chunks:
        link.receive_data(chunk, now=0.0)
        packages += link.packages()
    link.receive_eof()
    assert link.ended is not None
    kind = link.ended.kind
    link.close(link.ended)
    sent = joined(link.data_to_send())
    # The close text may say how far a fault had come when it was seen: only its code counts.
    return packages, kind, sent[:8] if kind is not CloseKind.PEER_CLOSED else sent


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[bytes], str, bool]:
    """Packages and less in messages, in fragments or not, with control frames between."""
    role = draw(ROLES)
    key = KEY if role == "server" else None
    wire = b""
    for payload in draw(st.lists(st.sampled_from(PAYLOADS), max_size=6)):
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        parts = zip([0, *cuts], [*cuts, len(payload)], strict=True)
        for number, (start, end) in enumerate(parts):
            opcode = 0 if number else 2
            fin = number == len(cuts)
            wire += raw_frame(payload[start:end], opcode, fin=fin, key=key)
            if draw(st.integers(0, 9)) == 0:
                wire += raw_frame(b"?", draw(st.sampled_from([9, 10])), key=key)
    return draw(cut_up(wire)), role, draw(st.booleans())


@given(conversations())
@settings(max_examples=1_000, deadline=None)
def test_a_link_gives_the_same_packages_with_and_without_the_lane(
    conversation: tuple[list[bytes], str, bool],
) -> None:
    chunks, role, strict = conversation
    expected = talk(chunks, role=role, strict=strict, lane=False)
    assert talk(chunks, role=role, strict=strict, lane=True) == expected
    wire = b"".join(chunks)
    for again in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        assert talk(again, role=role, strict=strict, lane=True) == expected


@pytest.mark.parametrize("role", ["client", "server"])
def test_every_payload_stands_in_a_frame_of_its_own(role: str) -> None:
    key = KEY if role == "server" else None
    for payload in PAYLOADS:
        wire = [raw_frame(payload, key=key)]
        for strict in (True, False):
            expected = talk(wire, role=role, strict=strict, lane=False)
            assert talk(wire, role=role, strict=strict, lane=True) == expected
