"""What a small quest costs the core: round trips room by room, each beside the same work by hand.

    encode       params ─► package                       (payload, package)
    decode       package ─► params                       (package, payload)
    session      ask, receive, answer, receive           both sessions, no link, no timers
    connection   the same, driven as an adapter does     over StreamLink, both roles
    WebSocket    the same                                over WebSocketLink, both roles

Each row holds the ones above it. By hand means msgpack, struct and the masker, nothing else: no
check, no limit, no timer, no error. It is the floor; nobody should live there.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

import msgpack

from rtm_proto.connection import Connection
from rtm_proto.events import Answered, Event, QuestReceived
from rtm_proto.frames import best_mask
from rtm_proto.link import StreamLink
from rtm_proto.package import Splitter, encode_quest, method_bytes
from rtm_proto.payload import Params, decode, encode
from rtm_proto.session import Session
from rtm_proto.websocket import WebSocketLink

METHOD = "hello"
PARAMS: Params = {"uid": 1002, "text": "hello, world"}  # 27 bytes of msgpack
ANSWER: Params = {"mtime": 1_700_000_000_000}  # 16 bytes
IN_FLIGHT = 100  # quests that arrive in one piece, and are answered in one
WAIT = 30.0  # seconds: an answer's deadline, never reached
KEY = b"\x01\x02\x03\x04"

Trip = Callable[[], object]
"""One round of the work; gives what came out at its end."""


class Row(NamedTuple):
    """A line of the table. ``make`` and ``by_hand`` prepare a trip; it can then be repeated."""

    name: str
    make: Callable[[], Trip]
    by_hand: Callable[[], Trip]
    one_result: object
    """What a trip by hand gives."""
    result: object
    """What the core's trip gives."""
    quests: int = 1
    """How many the core's trip carries; by hand it is always one."""


# --- the core ------------------------------------------------------------------------------------


def encoding() -> Trip:
    """Params to the bytes of a package."""
    return lambda: encode_quest(method_bytes(METHOD), encode(PARAMS), 7)


def decoding() -> Trip:
    """The bytes of a package to its method and params."""
    data = _quest_by_hand(7)
    splitter = Splitter()

    def trip() -> object:
        [package] = splitter.feed(data)
        return package.method.decode(), decode(package.payload)

    return trip


def sessions() -> Trip:
    """Two sessions, with a splitter between them."""
    client, server, splitter = Session(), Session(), Splitter()

    def trip() -> object:
        client.quest(METHOD, PARAMS)
        for package in splitter.feed(b"".join(client.packages())):
            server.receive(package)
        for event in _taken(server):
            if isinstance(event, QuestReceived):
                server.answer(event.quest_id, ANSWER)
        for package in splitter.feed(b"".join(server.packages())):
            client.receive(package)
        [event] = _taken(client)
        return event.params if isinstance(event, Answered) else event

    return trip


def _taken(session: Session) -> list[Event]:
    events, session.events = session.events, []
    return events


def connections(
    quests: int, client: Connection, server: Connection, *, handshake: bool = False
) -> Trip:
    """Two connections; *quests* leave together and are answered together."""
    now = 1000.0
    for peer in (client, server):
        peer.connected(now=now)
    if handshake:
        server.receive_data(b"".join(client.data_to_send()), now=now)
        client.receive_data(b"".join(server.data_to_send()), now=now)
    for peer in (client, server):
        assert peer.open
        peer.events()

    def trip() -> object:
        nonlocal now
        now += 0.001
        for _ in range(quests):
            client.send_quest(METHOD, PARAMS, deadline=now + WAIT)
        client.next_timeout()
        server.receive_data(b"".join(client.data_to_send()), now=now)
        for event in server.events():
            if isinstance(event, QuestReceived):
                server.answer(event.quest_id, ANSWER)
        server.next_timeout()
        client.receive_data(b"".join(server.data_to_send()), now=now)
        answers = [event.params for event in client.events() if isinstance(event, Answered)]
        client.next_timeout()
        return answers

    return trip


def over_streams(quests: int = 1) -> Trip:
    """Connections over raw FPNN."""
    server = Connection(StreamLink(), ping=False, max_in_hand=quests)
    return connections(quests, Connection(StreamLink()), server)


def over_websocket(quests: int = 1) -> Trip:
    """Connections over WebSocket, with the masker that is installed."""
    link = WebSocketLink.client("gate.example:13321", nonce=bytes(16), mask_key=lambda: KEY)
    server = Connection(WebSocketLink.server(), ping=False, max_in_hand=quests)
    return connections(quests, Connection(link), server, handshake=True)


# --- by hand -------------------------------------------------------------------------------------

_HEAD = Struct("<4sBBBBII")


def _quest_by_hand(seq: int) -> bytes:
    method = METHOD.encode()
    payload = msgpack.packb(PARAMS)
    return _HEAD.pack(b"FPNN", 1, 0x80, 1, len(method), len(payload), seq) + method + payload


def _read_quest_by_hand(data: bytes) -> tuple[str, Any]:
    *_, method_size, _size, _seq = _HEAD.unpack_from(data)
    end = 16 + method_size
    return data[16:end].decode(), msgpack.unpackb(data[end:])


def _answer_by_hand(seq: int) -> bytes:
    payload = msgpack.packb(ANSWER)
    return _HEAD.pack(b"FPNN", 1, 0x80, 2, 0, len(payload), seq) + payload


def _read_answer_by_hand(data: bytes) -> Any:
    _HEAD.unpack_from(data)
    return msgpack.unpackb(data[16:])


def encoding_by_hand() -> Trip:
    """As ``encoding``."""
    return lambda: _quest_by_hand(7)


def decoding_by_hand() -> Trip:
    """As ``decoding``."""
    data = _quest_by_hand(7)
    return lambda: _read_quest_by_hand(data)


def trip_by_hand() -> Trip:
    """A whole round trip without frames."""

    def trip() -> object:
        _read_quest_by_hand(_quest_by_hand(7))
        return _read_answer_by_hand(_answer_by_hand(7))

    return trip


def framed_trip_by_hand() -> Trip:
    """A whole round trip with a masked frame to the server and a bare one back."""
    mask = best_mask()

    def trip() -> object:
        package = _quest_by_hand(7)
        frame = bytes((0x82, 0x80 | len(package))) + KEY + mask(package, KEY)
        _read_quest_by_hand(mask(frame[6:], frame[2:6]))
        package = _answer_by_hand(7)
        frame = bytes((0x82, len(package))) + package
        return _read_answer_by_hand(frame[2:])

    return trip


_QUEST = _quest_by_hand(7)
_MANY = [ANSWER] * IN_FLIGHT

ROWS = (
    Row("encode", encoding, encoding_by_hand, _QUEST, _QUEST),
    Row("decode", decoding, decoding_by_hand, (METHOD, PARAMS), (METHOD, PARAMS)),
    Row("session", sessions, trip_by_hand, ANSWER, ANSWER),
    Row("connection", over_streams, trip_by_hand, ANSWER, [ANSWER]),
    Row(
        f"connection, {IN_FLIGHT} in flight",
        lambda: over_streams(IN_FLIGHT),
        trip_by_hand,
        ANSWER,
        _MANY,
        quests=IN_FLIGHT,
    ),
    Row("WebSocket", over_websocket, framed_trip_by_hand, ANSWER, [ANSWER]),
    Row(
        f"WebSocket, {IN_FLIGHT} in flight",
        lambda: over_websocket(IN_FLIGHT),
        framed_trip_by_hand,
        ANSWER,
        _MANY,
        quests=IN_FLIGHT,
    ),
)
