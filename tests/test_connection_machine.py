"""Two peers and a clock, in any order that anybody can think of.

Whatever is said and whatever happens: each quest ends exactly once, nothing comes after ``Closed``,
``Closed`` comes exactly once, no timer is left behind it, buffers stay within their limits, and
what is not in the table of transitions is a local error that changes nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rtm_proto.connection import TRANSITIONS, Connection, State
from rtm_proto.errors import ConnectionLost, LocalProtocolError
from rtm_proto.events import (
    Answered,
    Closed,
    CloseKind,
    CloseReason,
    Event,
    Lost,
    OnewayReceived,
    Opened,
    QuestBegun,
    QuestId,
    QuestPiece,
    QuestReceived,
    Refused,
    TimedOut,
)
from rtm_proto.link import Link, StreamLink
from rtm_proto.payload import encode
from rtm_proto.websocket import WebSocketLink

SELDOM = st.sampled_from([False, False, False, True])  # what would end most runs at once

MAX_IN_HAND = 3
MAX_PACKAGE = 300
MAX_UNSENT = 1_000
FRAME = 14  # bytes around a package at the most: a WebSocket frame's head with its mask
HEAD = 1_000  # bytes that a handshake takes at the most

REACHABLE: dict[State, set[State]] = {state: {state} for state in State}
for _ in State:
    for (before, _input), after in TRANSITIONS.items():
        for reached in REACHABLE.values():
            if before in reached:
                reached.add(after)


class Side:
    """One peer: its connection, and what a perfect memory knows of it."""

    def __init__(self, link: Link, *, client: bool) -> None:
        self.connection = Connection(
            link,
            ping=client,
            silence=20 if client else 60,
            max_package=MAX_PACKAGE,
            max_in_hand=MAX_IN_HAND,
            max_unsent=MAX_UNSENT,
        )
        self.asked: dict[QuestId, int] = {}  # quests that have not ended, and their numbers
        self.ended: set[QuestId] = set()
        self.forgotten: set[QuestId] = set()
        self.owed: dict[QuestId, object] = {}
        self.seen: set[object] = set()  # numbers of the peer's quests
        self.body: tuple[QuestId, bytes] | None = None
        self.closed: Closed | None = None
        self.state = State.NEW
        self.opened = 0
        self.wire = bytearray()  # taken by the transport, not arrived yet
        self.parted = False

    def collect(self, *, clean: bool) -> None:
        for event in self.connection.events():
            assert self.closed is None, f"{event} after {self.closed}"
            self.note(event, clean=clean)

    def note(self, event: Event, *, clean: bool) -> None:
        match event:
            case Answered(quest_id, params):
                number = self.end(quest_id)
                assert not clean or params == {"n": number}
            case Refused(quest_id) | TimedOut(quest_id) | Lost(quest_id):
                self.end(quest_id)
            case QuestReceived(quest_id, _, params):
                assert quest_id not in self.owed
                self.owed[quest_id] = params.get("n")
                if clean:
                    assert params["n"] not in self.seen
                    self.seen.add(params["n"])
            case Opened():
                self.opened += 1
                assert self.opened == 1
            case Closed():
                self.closed = event
                assert not self.asked
            case OnewayReceived():
                pass
            case QuestBegun() | QuestPiece():
                raise AssertionError("this side takes quests whole")
            case _:
                assert not event.text.startswith("an answer with the unknown seq") or not clean

    def end(self, quest_id: QuestId) -> int:
        assert quest_id not in self.ended | self.forgotten
        self.ended.add(quest_id)
        return self.asked.pop(quest_id)


class TwoPeers(RuleBasedStateMachine):
    """What anybody may do to two connections."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.numbers = 0
        self.clean = True
        self.sides: list[Side] = []

    @initialize(websocket=st.booleans(), begun=st.sampled_from(["", "connected", "open", "open"]))
    def begin(self, websocket: bool, begun: str) -> None:
        if websocket:
            client: Link = WebSocketLink.client(
                "h", nonce=bytes(16), mask_key=lambda: b"\x01\x02\x03\x04", max_package=MAX_PACKAGE
            )
            server: Link = WebSocketLink.server(max_package=MAX_PACKAGE)
        else:
            client, server = (
                StreamLink(max_package=MAX_PACKAGE),
                StreamLink(max_package=MAX_PACKAGE),
            )
        self.sides = [Side(client, client=True), Side(server, client=False)]
        if begun:
            self.connect(0)
            self.connect(1)
        if begun == "open":
            self.everything_arrives()

    # --- what is said ---

    @rule(
        at=st.integers(0, 1),
        size=st.sampled_from([0, 0, 50, 200, 400]),
        wait=st.sampled_from([None, 0.0, 1.0, 5.0, 30.0, -1.0]),
        count=st.integers(1, 4),
        go=st.booleans(),
    )
    def ask(self, at: int, size: int, wait: float | None, count: int, go: bool) -> None:
        for _ in range(count):
            self.ask_once(at, size, wait)
        if go:
            self.everything_arrives()

    def ask_once(self, at: int, size: int, wait: float | None) -> None:
        side = self.sides[at]
        self.numbers += 1
        params = {"n": self.numbers, "x": bytes(size)} if size else {"n": self.numbers}
        deadline = None if wait is None else self.now + wait
        with self.unchanged_by_errors(side, expected=size == 400):
            quest_id = side.connection.send_quest("ask", params, deadline=deadline)
            self.has_asked(side, quest_id)

    @rule(at=st.integers(0, 1), size=st.integers(0, 300), wait=st.sampled_from([None, 5.0]))
    def begin_body(self, at: int, size: int, wait: float | None) -> None:
        side = self.sides[at]
        self.numbers += 1
        payload = encode({"n": self.numbers, "x": bytes(size)})
        deadline = None if wait is None else self.now + wait
        connection = side.connection
        wrong = connection.state in (State.NEW, State.OPENING) or len(payload) + 19 > MAX_PACKAGE
        with self.unchanged_by_errors(side, expected=wrong or side.body is not None):
            quest_id = connection.begin_quest("ask", payload[:2], len(payload), deadline=deadline)
            side.body = (quest_id, payload[2:])
            self.has_asked(side, quest_id)

    @rule(at=st.integers(0, 1), size=st.integers(1, 300), go=st.booleans())
    def send_piece(self, at: int, size: int, go: bool) -> None:
        side = self.sides[at]
        if go:
            self.everything_arrives()
        if side.body is not None:
            quest_id, rest = side.body
            side.connection.send_piece(quest_id, rest[:size])
            side.body = (quest_id, rest[size:]) if rest[size:] else None
        if go:
            self.everything_arrives()

    @rule(at=st.integers(0, 1), count=st.sampled_from([1, 1, 1, 40]))
    def tell(self, at: int, count: int) -> None:
        side = self.sides[at]
        for _ in range(count):
            with self.unchanged_by_errors(side, expected=False):
                side.connection.send_oneway("tell", {"x": bytes(30)})

    @rule(at=st.integers(0, 1), index=st.integers(0, 5), refused=st.booleans(), go=st.booleans())
    def answer(self, at: int, index: int, refused: bool, go: bool) -> None:
        side = self.sides[at]
        if go:
            self.everything_arrives()
            side.collect(clean=self.clean)
        if side.owed:
            quest_id = list(side.owed)[index % len(side.owed)]
            number = side.owed.pop(quest_id)
            if refused:
                side.connection.refuse(quest_id, 200001, "no")
            else:
                side.connection.answer(quest_id, {"n": number})
        if go:
            self.everything_arrives()

    @rule()
    def everybody_answers(self) -> None:
        self.everything_arrives()
        for side in self.sides:
            side.collect(clean=self.clean)
            while side.owed:
                quest_id, number = side.owed.popitem()
                side.connection.answer(quest_id, {"n": number})
        self.everything_arrives()

    @rule(at=st.integers(0, 1))
    def answer_nobody(self, at: int) -> None:
        side = self.sides[at]
        with self.unchanged_by_errors(side, expected=not side.connection.finished):
            side.connection.answer(0, {})

    @rule(at=st.integers(0, 1), index=st.integers(0, 5))
    def forget(self, at: int, index: int) -> None:
        side = self.sides[at]
        if side.asked:
            quest_id = list(side.asked)[index % len(side.asked)]
            del side.asked[quest_id]
            side.forgotten.add(quest_id)
            side.connection.forget(quest_id)

    @rule(at=st.integers(0, 1), really=SELDOM)
    def close(self, at: int, really: bool) -> None:
        if really:
            self.sides[at].connection.close(now=self.now)

    # --- what happens ---

    @rule(at=st.integers(0, 1))
    def connect(self, at: int) -> None:
        connection = self.sides[at].connection
        wrong = connection.state not in (State.NEW, State.CLOSED)
        with self.unchanged_by_errors(self.sides[at], expected=wrong):
            connection.connected(now=self.now)

    @rule(at=st.integers(0, 1))
    def take(self, at: int) -> None:
        side = self.sides[at]
        waiting = side.connection.unsent
        data = b"".join(side.connection.data_to_send())
        # one package may always come on top of the limit, and one body beside it
        assert len(data) <= waiting + FRAME * (1 + waiting // 12) + HEAD
        assert side.connection.unsent == 0
        side.wire += data

    @rule(at=st.integers(0, 1), size=st.integers(1, 40) | st.just(10_000))
    def arrive(self, at: int, size: int) -> None:
        """The next bytes from the side at *at* arrive at the other."""
        side, other = self.sides[at], self.sides[1 - at].connection
        if other.state is State.NEW:
            return
        data = bytes(side.wire[:size])
        del side.wire[:size]
        other.receive_data(data, now=self.now)
        if side.connection.finished and not side.wire and not side.parted:
            side.parted = True
            if side.connection.abrupt:
                other.abort(CloseReason(CloseKind.PEER_RESET))
            else:
                other.receive_eof(now=self.now)

    @rule()
    def everything_arrives(self) -> None:
        for at in (0, 1, 0, 1):
            self.take(at)
            self.arrive(at, 10_000)

    @rule(at=st.integers(0, 1), data=st.binary(min_size=1, max_size=30), really=SELDOM)
    def garbage_arrives(self, at: int, data: bytes, really: bool) -> None:
        side = self.sides[at]
        if really and side.connection.state is not State.NEW:
            self.clean = False
            side.connection.receive_data(data, now=self.now)

    @rule(at=st.integers(0, 1), eof=st.booleans(), really=SELDOM)
    def the_wire_is_lost(self, at: int, eof: bool, really: bool) -> None:
        side = self.sides[at]
        if not really:
            return
        if not eof:
            side.connection.abort(CloseReason(CloseKind.PEER_RESET))
        elif side.connection.state is not State.NEW:
            side.connection.receive_eof(now=self.now)

    @rule(at=st.integers(0, 1))
    def something_comes_too_early(self, at: int) -> None:
        side = self.sides[at]
        if side.connection.state is State.NEW:
            with self.unchanged_by_errors(side, expected=True):
                side.connection.receive_data(b"FPNN", now=self.now)
            with self.unchanged_by_errors(side, expected=True):
                side.connection.receive_eof(now=self.now)

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 5.0, 10.0]), on_time=st.booleans())
    def time_passes(self, seconds: float, on_time: bool) -> None:
        until = self.now + seconds
        for side in self.sides if on_time else ():
            while (when := side.connection.next_timeout()) is not None and when <= until:
                side.connection.handle_timeout(now=when)
        self.now = until

    @rule(at=st.integers(0, 1), early=st.sampled_from([0.0, 1.0, 1e6]))
    def handle_timeout(self, at: int, early: float) -> None:
        side = self.sides[at]
        side.connection.handle_timeout(now=self.now - early)
        when = side.connection.next_timeout()
        assert early or when is None or when > self.now

    # --- what always holds ---

    @precondition(lambda self: bool(self.sides))
    @invariant()
    def all_is_well(self) -> None:
        for side in self.sides:
            side.collect(clean=self.clean)
            connection = side.connection
            assert connection.state in REACHABLE[side.state]
            side.state = connection.state
            assert connection.pending == len(side.asked)
            assert connection.finished == (connection.state is State.CLOSED)
            assert connection.finished == (side.closed is not None)
            if side.closed is not None:
                assert connection.next_timeout() is None
                assert connection.reason == side.closed.reason
            else:
                assert len(side.owed) <= MAX_IN_HAND
                assert connection.unsent <= MAX_UNSENT + 2 * MAX_PACKAGE
            if connection.state is State.CLOSING:
                assert side.asked or side.owed

    def teardown(self) -> None:
        for side in self.sides:
            for _ in range(20):
                when = side.connection.next_timeout()
                if when is not None:
                    side.connection.handle_timeout(now=max(when, self.now))
            side.connection.abort(CloseReason(CloseKind.LOCAL))
            side.collect(clean=self.clean)
            assert side.closed is not None and not side.asked
            assert side.connection.next_timeout() is None
            assert side.connection.events() == []

    # --- private ---

    def has_asked(self, side: Side, quest_id: QuestId) -> None:
        assert quest_id not in side.asked
        assert quest_id not in side.ended | side.forgotten
        side.asked[quest_id] = self.numbers

    @contextmanager
    def unchanged_by_errors(self, side: Side, *, expected: bool) -> Generator[None]:
        """Whatever is raised in here was raised before anything changed."""
        connection = side.connection
        side.collect(clean=self.clean)

        def snapshot() -> tuple[object, ...]:
            return (
                connection.state,
                connection.pending,
                connection.next_timeout(),
                connection.unsent,
                connection.reason,
                connection.abrupt,
            )

        before = snapshot()
        try:
            yield
        except LocalProtocolError:
            assert expected
        except ConnectionLost:
            assert before[0] in (State.CLOSING, State.CLOSED)
        else:
            assert not expected
            return
        assert snapshot() == before
        assert connection.events() == []


TestTwoPeers = TwoPeers.TestCase
TestTwoPeers.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
