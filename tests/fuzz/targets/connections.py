"""A connection in either role: any calls in any order, any bytes, any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rtm_proto.connection import Connection, State
from rtm_proto.errors import ConnectionLost, LocalProtocolError
from rtm_proto.events import (
    Answered,
    Closed,
    CloseKind,
    CloseReason,
    Event,
    Lost,
    Opened,
    QuestBegun,
    QuestPiece,
    QuestReceived,
    Refused,
    TimedOut,
)
from rtm_proto.link import Link, StreamLink
from rtm_proto.package import Splitter, encode_answer, encode_quest
from rtm_proto.payload import Params
from rtm_proto.websocket import WebSocketLink

from ..choices import Choices
from ..footprint import footprint
from .links import NONCE, SWITCH, UPGRADE

MAX_PACKAGE = 500
MAX_UNSENT = 2000
MAX_WHOLE = 60
IN_HAND = 4
METHODS = ("*ping", "auth", "pushmsg", "*status", "kickout", "", "x" * 256, "fire")
PARAMS: tuple[Params, ...] = (
    {},
    {"a": 1},
    {"ts": 1.5, "x": b"y"},
    {"big": "z" * 600},
    {"n": 2**70},
)
SPANS = (0.0, 0.001, 1.0, 2.0, 5.0, 10.0, 20.0, 3600.0)  # seconds
SLACK = 16_384  # bytes that a closed connection may hold besides what it was given up for


def fuzz_connection(data: bytes) -> None:
    """Closed exactly once and last; each quest ends exactly once; nothing grows without bound."""
    choices = Choices(data)
    run = _Run(choices.byte())
    while choices:
        run.step(choices)
    run.end()


class _Run:
    """One connection, what was done with it, and what it told."""

    def __init__(self, options: int) -> None:
        server, framed = options & 1 == 1, options & 2 == 2
        self._framed = framed
        self._masked = server
        self._now = 1000.0
        self._connection = Connection(
            _link(server=server, framed=framed),
            ping=not server,
            max_package=MAX_PACKAGE,
            max_in_hand=IN_HAND,
            max_unsent=MAX_UNSENT,
            max_whole=MAX_WHOLE if options & 32 else None,
            stop_code=20_001 if options & 4 else None,
            wall_ms=(lambda: 1_700_000_000_000) if server else None,
        )
        self._fresh = footprint(self._connection)
        self._asked: set[int] = set()
        self._forgotten: set[int] = set()
        self._ended: Counter[int] = Counter()
        self._received: list[int] = []
        self._owed: set[int] = set()
        self._coming = (0, 0)  # the peer's quest that comes in pieces, and what is left of it
        self._streamed = 0
        self._events = 0
        self._opened = 0
        self._closed = 0
        self._out = bytearray()
        if not options & 8:
            self._connection.connected(now=self._now)
            if framed and not options & 16:
                self._receive(UPGRADE if server else SWITCH)

    def step(self, choices: Choices) -> None:
        """One call."""
        connection, now = self._connection, self._now
        what, detail = choices.byte() % 16, choices.byte()
        match what:
            case 0:
                self._receive(choices.chunk())
            case 1:
                body = choices.chunk()
                name = METHODS[detail % 6].encode()
                self._receive(self._frame(encode_quest(name, body, detail >> 3)))
            case 2:
                self._receive(
                    self._frame(encode_answer(choices.chunk(), detail >> 1, status=detail & 1))
                )
            case 3:
                method = METHODS[detail % 8]
                params = PARAMS[(detail >> 3) % len(PARAMS)]
                deadline = None if detail & 0x80 else now + SPANS[choices.byte() % 8]
                self._ask(lambda: connection.send_quest(method, params, deadline=deadline))
            case 4:
                size = choices.word() % (MAX_PACKAGE + 20)
                head, deadline = b"\x81\xa1x" + b"\xc4" * (detail % 8), now + SPANS[detail >> 5]
                self._ask(
                    lambda: connection.begin_quest("sendfile", head, size, deadline=deadline),
                    streamed=True,
                )
            case 5:
                piece = b"p" * choices.byte()
                quest = self._streamed if detail < 240 else detail
                self._try(lambda: connection.send_piece(quest, piece))
            case 6:
                method, params = METHODS[detail % 8], PARAMS[(detail >> 3) % len(PARAMS)]
                self._try(lambda: connection.send_oneway(method, params))
            case 7:
                quest, params = self._some_quest(detail), PARAMS[(detail >> 4) % len(PARAMS)]
                self._answer(quest, lambda: connection.answer(quest, params))
            case 8:
                quest = self._some_quest(detail)
                self._answer(quest, lambda: connection.refuse(quest, detail, "no"))
            case 9:
                self._take_events()
                if self._asked:
                    quest = sorted(self._asked)[detail % len(self._asked)]
                    connection.forget(quest)
                    if not self._ended[quest]:
                        self._forgotten.add(quest)
            case 10:
                connection.close(now=now)
            case 11:
                connection.abort(CloseReason(CloseKind.PEER_RESET))
            case 12:
                self._try(lambda: connection.receive_eof(now=now))
            case 13:
                due = connection.next_timeout()
                self._now = now = max(now, due) if due and detail & 1 else now + SPANS[detail >> 5]
                connection.handle_timeout(now=now)
            case 14:
                self._take_data()
            case _:
                if detail & 1:
                    self._take_events()
                else:
                    self._try(lambda: connection.connected(now=now))
        assert connection.unsent <= MAX_UNSENT + 3 * MAX_PACKAGE, connection.unsent
        if connection.state is State.CLOSED:
            assert connection.next_timeout() is None and not connection.pending

    def end(self) -> None:
        """The transport is gone: everything has to have come to its end."""
        connection = self._connection
        connection.abort(CloseReason(CloseKind.PEER_RESET, "the end"))
        self._take_events()
        self._take_data()
        assert connection.state is State.CLOSED and connection.reason is not None
        assert self._closed == 1
        for quest in self._asked:
            assert self._ended[quest] == (0 if quest in self._forgotten else 1), quest
        assert set(self._ended) <= self._asked
        assert len(set(self._received)) == len(self._received)
        self._receive(b"FPNN")
        connection.close(now=self._now)
        connection.handle_timeout(now=self._now + 3600)
        assert not connection.events() and not connection.data_to_send()
        grown = footprint(connection) - self._fresh
        assert grown <= SLACK + 256 * len(self._asked) + 2 * len(self._out), grown

    # --- private ---

    def _receive(self, data: bytes) -> None:
        self._try(lambda: self._connection.receive_data(data, now=self._now))

    def _frame(self, package: bytes) -> bytes:
        if not self._framed:
            return package
        size = len(package)
        mask = 0x80 if self._masked else 0
        form = bytes([mask | size]) if size < 126 else bytes([mask | 126]) + size.to_bytes(2)
        return b"\x82" + form + (b"\0\0\0\0" if mask else b"") + package

    def _ask(self, ask: Callable[[], int], *, streamed: bool = False) -> None:
        quest = self._try(ask)
        if quest is not None:
            assert quest not in self._asked
            self._asked.add(quest)
            if streamed:
                self._streamed = quest

    def _answer(self, quest: int, call: Callable[[], None]) -> None:
        """Answer or refuse; a refused call leaves the answer owed."""
        before = self._standing()
        try:
            call()
        except LocalProtocolError:
            assert self._standing() == before
        else:
            self._owed.discard(quest)

    def _try(self, call: Callable[[], int | None]) -> int | None:
        """What it gives; None for what is the caller's own fault, which changes nothing."""
        connection = self._connection
        before = self._standing()
        try:
            return call()
        except LocalProtocolError:
            assert self._standing() == before
        except ConnectionLost:
            assert connection.state in (State.CLOSING, State.CLOSED)
        return None

    def _standing(self) -> tuple[object, ...]:
        connection = self._connection
        due = connection.next_timeout()
        return connection.state, connection.pending, connection.unsent, connection.reason, due

    def _some_quest(self, detail: int) -> int:
        self._take_events()
        if self._received and detail % 8:
            return self._received[-1 - detail % min(8, len(self._received))]
        return detail

    def _take_events(self) -> None:
        for event in self._connection.events():
            self._see(event)

    def _see(self, event: Event) -> None:
        assert not self._closed, f"{event} after Closed"
        match event:
            case Opened():
                self._opened += 1
                assert self._opened == 1
            case Closed():
                self._closed += 1
            case Answered(quest) | Refused(quest) | TimedOut(quest) | Lost(quest):
                self._ended[quest] += 1
                assert quest not in self._forgotten, "an event after forget"
            case QuestBegun(quest, _, left):
                assert left > 0
                self._coming = (quest, left)
                self._received.append(quest)
                self._owed.add(quest)
                assert len(self._owed) <= IN_HAND
            case QuestPiece(quest, data, left):
                assert data and self._coming == (quest, left + len(data))
                self._coming = (quest, left)
            case QuestReceived(quest):
                self._received.append(quest)
                self._owed.add(quest)
                assert len(self._owed) <= IN_HAND
            case _:
                pass

    def _take_data(self) -> None:
        connection = self._connection
        self._out += b"".join(map(bytes, connection.data_to_send()))
        assert connection.unsent == 0
        if not self._framed:
            splitter = Splitter()
            splitter.feed(self._out)
            assert splitter.fault is None, splitter.fault


def _link(*, server: bool, framed: bool) -> Link:
    if not framed:
        return StreamLink(max_package=MAX_PACKAGE)
    if server:
        return WebSocketLink.server(max_package=MAX_PACKAGE)
    return WebSocketLink.client(
        "gate:13321", nonce=NONCE, mask_key=lambda: b"\0\0\0\0", max_package=MAX_PACKAGE
    )
