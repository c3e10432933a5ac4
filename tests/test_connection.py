"""The connection: states, timers, and what passes between a link and a session."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.codes import Code
from rtm_proto.connection import (
    CLOSE_TIMEOUT,
    MAX_PUSHES,
    MAX_UNSENT,
    OPEN_TIMEOUT,
    PING_EVERY,
    PINGS,
    SILENCE,
    TRANSITIONS,
    Connection,
    Input,
    State,
)
from rtm_proto.errors import ConnectionLost, LocalProtocolError
from rtm_proto.events import (
    Answered,
    Closed,
    CloseKind,
    CloseReason,
    Dropped,
    Event,
    Lost,
    OnewayReceived,
    Opened,
    QuestBegun,
    QuestPiece,
    QuestReceived,
    Refused,
    TimedOut,
)
from rtm_proto.link import StreamLink
from rtm_proto.package import encode_answer, encode_oneway, encode_quest, quest_head
from rtm_proto.payload import EMPTY, Params, decode, encode
from rtm_proto.session import MAX_BAD_PACKAGES
from rtm_proto.websocket import WebSocketLink
from tests.feeding import cut_up
from tests.pair import (
    Pair,
    byte_by_byte,
    packages_in,
    server_connection,
    websocket_connections,
    whole,
)

LOCAL = CloseReason(CloseKind.LOCAL)
RESET = CloseReason(CloseKind.PEER_RESET, "[Errno 104]")
BYE = CloseReason(CloseKind.PEER_CLOSED)


def opened(**options: int | float | None) -> Connection:
    """A client that is open since 0, on a byte stream."""
    connection = Connection(StreamLink(), **options)  # type: ignore[arg-type]
    connection.connected(now=0)
    assert connection.events() == [Opened()]
    return connection


def served(**options: int | float | None) -> Connection:
    """The same as a server: it does not ask, a minute of silence ends it."""
    return opened(**{"ping": False, "silence": 60.0, **options})


def written(connection: Connection) -> bytes:
    return b"".join(connection.data_to_send())


def methods(data: bytes) -> list[bytes]:
    return [package.method for package in packages_in(data)]


def receive(connection: Connection, *packages: bytes, now: float = 1) -> list[Event]:
    connection.receive_data(b"".join(packages), now=now)
    return connection.events()


# --- the states ------------------------------------------------------------------------------


def test_the_limits_are_what_is_written_of_them() -> None:
    assert (OPEN_TIMEOUT, CLOSE_TIMEOUT, MAX_UNSENT) == (10.0, 2.0, 4_194_304)
    assert (SILENCE, PING_EVERY, PINGS) == (20.0, 5.0, 3)


def test_a_connection_begins_without_an_end() -> None:
    connection = Connection(StreamLink())
    assert (connection.state, connection.reason, connection.abrupt) == (State.NEW, None, False)


def test_after_an_abort_nothing_is_read_and_no_goodbye_is_said() -> None:
    connection = opened()
    connection.abort(LOCAL)
    assert connection.abrupt
    assert receive(connection, encode_quest(b"hello", EMPTY, 1)) == [Closed(LOCAL)]
    assert written(connection) == b""


def test_what_was_reset_needs_no_goodbye() -> None:
    connection = opened()
    connection.close(now=1, reason=RESET)
    assert connection.events() == [Closed(RESET)]
    assert connection.abrupt


def in_state(state: State) -> Connection:
    if state in (State.NEW, State.OPENING):
        connection = Connection(
            WebSocketLink.client("h", nonce=bytes(16), mask_key=lambda: bytes(4))
        )
    else:
        connection = Connection(StreamLink())
    if state in (State.NEW, State.OPENING):
        connection.send_quest("queued", {}, deadline=5)
    if state is not State.NEW:
        connection.connected(now=0)
    if state in (State.OPEN, State.CLOSING, State.CLOSED):
        connection.send_quest("hello", {}, deadline=5)
        receive(connection, encode_quest(b"theirs", EMPTY, 1))
    if state is State.CLOSING:
        connection.close(now=1)
    if state is State.CLOSED:
        connection.abort(LOCAL)
    connection.events()
    written(connection)
    assert connection.state is state
    return connection


def upgrade_answer() -> bytes:
    client, server = websocket_connections()
    for connection in (client, server):
        connection.connected(now=0)
    server.receive_data(written(client), now=0)
    return written(server)


def do(connection: Connection, what: Input) -> None:
    match what:
        case Input.CONNECTED:
            connection.connected(now=2)
        case Input.LINK_OPENED:
            connection.receive_data(upgrade_answer(), now=2)
        case Input.CLOSE:
            connection.close(now=2)
        case Input.LINK_ENDED:
            connection.receive_eof(now=2)
        case Input.ABORTED:
            connection.abort(RESET)


UNREACHABLE = {
    (State.OPEN, Input.LINK_OPENED),
    (State.CLOSING, Input.LINK_OPENED),
    (State.CLOSED, Input.LINK_OPENED),
}


@pytest.mark.parametrize(
    ("state", "what"), [pair for pair in product(State, Input) if pair not in UNREACHABLE]
)
def test_each_input_in_each_state_is_in_the_table_or_a_local_error(
    state: State, what: Input
) -> None:
    connection = in_state(state)
    before = (connection.pending, connection.next_timeout(), connection.reason)
    after = TRANSITIONS.get((state, what))
    if after is None:
        with pytest.raises(LocalProtocolError):
            do(connection, what)
        assert connection.state is state
        assert (connection.pending, connection.next_timeout(), connection.reason) == before
        assert (connection.events(), written(connection)) == ([], b"")
    else:
        do(connection, what)
        assert connection.state is after
        assert connection.finished == (after is State.CLOSED)
        assert connection.open == (after is State.OPEN)
        if after is State.CLOSED and state is not State.CLOSED:
            assert isinstance(connection.events()[-1], Closed)
        if after is State.CLOSED:
            assert connection.next_timeout() is None


def test_a_link_is_never_opened_twice_nor_after_the_end() -> None:
    assert UNREACHABLE.isdisjoint(TRANSITIONS)


def test_a_connection_shows_where_it_stands() -> None:
    connection = in_state(State.OPEN)
    assert repr(connection) == "<Connection OPEN 1 pending>"


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("now", [-100.0, 0.0, 0.5])
def test_a_timeout_that_is_early_or_idle_is_harmless(state: State, now: float) -> None:
    connection = in_state(state)
    before = connection.next_timeout()
    connection.handle_timeout(now=now)
    assert (connection.state, connection.next_timeout()) == (state, before)
    assert (connection.events(), written(connection)) == ([], b"")


@pytest.mark.parametrize("state", State)
def test_a_timeout_that_is_very_late_ends_everything_once(state: State) -> None:
    connection = in_state(state)
    events: list[Event] = []
    for turn in range(10):
        connection.handle_timeout(now=1e9 * (turn + 1))
        events += connection.events()
    ends = [event for event in events if isinstance(event, (TimedOut, Lost))]
    assert len(ends) == (state is not State.CLOSED)
    closed = [event for event in events if isinstance(event, Closed)]
    if state is State.NEW:  # nobody has said that there is a transport to wait for
        assert (connection.state, connection.next_timeout()) == (State.NEW, None)
    elif state is State.CLOSED:
        assert not events
    else:
        assert connection.finished and closed == events[-1:]


@pytest.mark.parametrize("state", [State.CLOSING, State.CLOSED])
def test_nothing_new_can_be_asked_at_the_end(state: State) -> None:
    connection = in_state(state)
    with pytest.raises(ConnectionLost) as caught:
        connection.send_quest("hello", {}, deadline=None)
    assert (caught.value.method, caught.value.reason) == ("hello", LOCAL)
    connection.abort(RESET)
    with pytest.raises(ConnectionLost) as caught:
        connection.send_quest("hello", {}, deadline=None)
    assert caught.value.reason == (LOCAL if state is State.CLOSED else RESET)
    with pytest.raises(ConnectionLost):
        connection.begin_quest("hello", b"", 10, deadline=None)
    with pytest.raises(ConnectionLost):
        connection.send_oneway("hello", {})
    assert written(connection) == b""


def test_what_comes_too_late_is_nobodys_fault() -> None:
    connection = in_state(State.CLOSED)
    connection.answer(1, {})
    connection.refuse(1, 20001, "")
    connection.forget(1)
    connection.send_piece(1, b"late")
    connection.close(now=3)
    connection.abort(RESET)
    connection.receive_data(b"late", now=3)
    connection.receive_eof(now=3)
    connection.handle_timeout(now=99)
    assert (connection.events(), written(connection)) == ([], b"")
    assert connection.reason == LOCAL


def test_nothing_arrives_before_the_transport_is_up() -> None:
    connection = Connection(StreamLink())
    for data in (b"", encode_quest(b"hello", EMPTY, 1)):
        with pytest.raises(LocalProtocolError, match="before it is connected"):
            connection.receive_data(data, now=0)
    with pytest.raises(LocalProtocolError, match="before it is connected"):
        connection.receive_eof(now=0)
    connection.connected(now=0)
    assert connection.events() == [Opened()]


def test_no_data_is_no_sign_of_life() -> None:
    connection = opened()
    connection.receive_data(b"", now=19)
    connection.handle_timeout(now=20)
    assert methods(written(connection)) == [b"*ping"]


# --- opening ---------------------------------------------------------------------------------


def test_nothing_is_sent_before_the_link_is_open() -> None:
    pair = Pair(*websocket_connections())
    client = pair.client.connection
    first = client.send_quest("one", {}, deadline=None)
    pair.connect()
    request = written(client)
    assert request.startswith(b"GET ") and request.endswith(b"\r\n\r\n")
    client.send_oneway("two", {})
    second = client.send_quest("three", {}, deadline=None)
    assert (written(client), client.unsent) == (b"", 0)
    pair.server.connection.receive_data(request, now=pair.now)
    pair.pump()
    assert [type(event) for event in pair.client.take()] == [Opened]
    assert pair.server.take() == [
        Opened(),
        QuestReceived(1, "one", {}),
        OnewayReceived("two", {}),
        QuestReceived(2, "three", {}),
    ]
    pair.server.connection.answer(2, {})
    pair.server.connection.answer(1, {})
    pair.pump()
    assert pair.client.take() == [Answered(second, {}), Answered(first, {})]


def test_a_quest_that_ended_before_the_link_was_open_is_never_sent() -> None:
    pair = Pair(*websocket_connections())
    client = pair.client.connection
    forgotten = client.send_quest("forgotten", {}, deadline=None)
    client.send_quest("in time", {}, deadline=pair.now + 5)
    expired = client.send_quest("expired", {}, deadline=pair.now + 1)
    pair.connect()
    client.forget(forgotten)
    client.handle_timeout(now=pair.now + 1)
    pair.pump()
    assert pair.client.take() == [TimedOut(expired), Opened()]
    assert pair.server.take() == [Opened(), QuestReceived(1, "in time", {})]


def test_a_handshake_has_its_time() -> None:
    connection = in_state(State.OPENING)
    connection.handle_timeout(now=OPEN_TIMEOUT - 0.1)
    assert connection.events() == [TimedOut(1)]
    assert connection.next_timeout() == OPEN_TIMEOUT
    connection.handle_timeout(now=OPEN_TIMEOUT)
    reason = CloseReason(CloseKind.HANDSHAKE, "the handshake took longer than 10 s")
    assert connection.events() == [Closed(reason)]
    assert connection.abrupt


def test_a_handshake_that_fails_loses_what_was_queued() -> None:
    connection = in_state(State.OPENING)
    connection.receive_data(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", now=1)
    lost, closed = connection.events()
    assert isinstance(closed, Closed) and closed.reason.kind is CloseKind.HANDSHAKE
    assert lost == Lost(1, closed.reason)
    assert "403" in closed.reason.text


def test_a_server_says_why_it_refuses_a_handshake() -> None:
    server = server_connection(WebSocketLink.server())
    server.connected(now=0)
    server.receive_data(b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n", now=0)
    assert (server.finished, server.abrupt) == (True, False)
    assert written(server).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("state", [State.NEW, State.OPENING])
def test_closing_before_the_link_is_open_is_the_end(state: State) -> None:
    connection = in_state(state)
    connection.close(now=1)
    assert connection.events() == [Lost(1, LOCAL), Closed(LOCAL)]
    assert (written(connection), connection.next_timeout()) == (b"", None)
    assert connection.abrupt is (state is State.OPENING)


def test_a_transport_that_comes_up_after_the_end_is_too_late() -> None:
    connection = in_state(State.NEW)
    connection.abort(LOCAL)
    connection.events()
    connection.connected(now=1)
    assert (connection.state, connection.next_timeout()) == (State.CLOSED, None)
    assert (connection.events(), written(connection)) == ([], b"")


# --- quests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize("websocket", [False, True])
def test_quests_go_both_ways_at_the_same_time(
    cut: Callable[[bytes], list[bytes]], websocket: bool
) -> None:
    pair = Pair(*(websocket_connections() if websocket else ()), cut=cut)
    pair.open()
    client, server = pair.client.connection, pair.server.connection
    mine = client.send_quest("ask", {"n": 1}, deadline=pair.now + 5)
    theirs = server.send_quest("push", {"n": 2}, deadline=pair.now + 5)
    assert mine == theirs
    pair.pump()
    (asked,) = pair.server.take()
    (pushed,) = pair.client.take()
    assert isinstance(asked, QuestReceived) and isinstance(pushed, QuestReceived)
    assert (asked.method, asked.params) == ("ask", {"n": 1})
    assert (pushed.method, pushed.params) == ("push", {"n": 2})
    server.answer(asked.quest_id, {"m": 1})
    client.refuse(pushed.quest_id, 20004, "unknown")
    pair.pump()
    assert pair.client.take() == [Answered(mine, {"m": 1})]
    assert pair.server.take() == [Refused(theirs, 20004, "unknown")]
    assert (client.pending, server.pending) == (0, 0)
    assert client.next_timeout() == pair.now + 20  # the keepalive's
    assert server.next_timeout() == pair.now + 60


def test_a_quest_times_out_at_its_deadline() -> None:
    connection = opened()
    first = connection.send_quest("one", {}, deadline=3)
    second = connection.send_quest("two", {}, deadline=2)
    third = connection.send_quest("three", {}, deadline=None)
    written(connection)
    assert connection.next_timeout() == 2
    connection.handle_timeout(now=1.99)
    assert connection.events() == []
    connection.handle_timeout(now=3)
    assert connection.events() == [TimedOut(second), TimedOut(first)]
    assert receive(connection, encode_answer(EMPTY, first), encode_answer(EMPTY, third)) == [
        Dropped("a late answer, seq 1"),
        Answered(third, {}),
    ]


def test_an_answered_quest_leaves_no_timer() -> None:
    connection = opened()
    quest_id = connection.send_quest("one", {}, deadline=3)
    receive(connection, encode_answer(EMPTY, quest_id))
    assert connection.next_timeout() == 20  # the keepalive's
    connection.forget(connection.send_quest("two", {}, deadline=4))
    assert connection.next_timeout() == 20


def test_an_answer_that_came_in_before_the_clock_was_looked_at_counts() -> None:
    connection = opened()
    quest_id = connection.send_quest("one", {}, deadline=3)
    assert receive(connection, encode_answer(EMPTY, quest_id), now=4) == [Answered(quest_id, {})]
    connection.handle_timeout(now=5)
    assert connection.events() == []


@pytest.mark.parametrize(
    ("method", "params", "deadline"),
    [
        ("", {}, None),
        ("x" * 256, {}, None),
        ("hello", {"a": 2**64}, None),
        ("hello", {"a": "x" * 200}, None),
        ("hello", {}, float("nan")),
    ],
)
def test_what_cannot_be_asked_changes_nothing(
    method: str, params: Params, deadline: float | None
) -> None:
    connection = opened(max_package=100)
    with pytest.raises(LocalProtocolError):
        connection.send_quest(method, params, deadline=deadline)
    if deadline is None:
        with pytest.raises(LocalProtocolError):
            connection.send_oneway(method, params)
    assert (connection.pending, connection.next_timeout(), written(connection)) == (0, 20, b"")
    assert connection.send_quest("hello", {}, deadline=None) == 1


def test_an_answer_can_only_be_given_once() -> None:
    connection = opened()
    (received,) = receive(connection, encode_quest(b"hello", EMPTY, 9))
    assert isinstance(received, QuestReceived)
    with pytest.raises(LocalProtocolError):
        connection.answer(received.quest_id, {"a": 2**64})
    connection.answer(received.quest_id, {"a": 1})
    with pytest.raises(LocalProtocolError):
        connection.answer(received.quest_id, {})
    with pytest.raises(LocalProtocolError):
        connection.refuse(received.quest_id, 1, "")
    assert written(connection) == encode_answer(b"\x81\xa1a\x01", 9)


def test_a_peer_that_asks_too_much_at_once_is_refused() -> None:
    connection = served()
    quests = [encode_quest(b"hello", EMPTY, seq) for seq in range(MAX_PUSHES + 2)]
    events = receive(connection, *quests)
    assert len(events) == MAX_PUSHES == 4096
    refusals = packages_in(written(connection))
    assert [(package.seq, package.status) for package in refusals] == [(4096, 1), (4097, 1)]
    assert decode(refusals[0].payload)["code"] == Code.WORK_QUEUE_FULL
    assert connection.open


# --- quests in pieces ------------------------------------------------------------------------


def test_a_quest_in_pieces_arrives_as_one() -> None:
    pair = Pair()
    pair.open()
    client = pair.client.connection
    payload = encode({"file": b"0123456789", "attrs": "{}"})
    quest_id = client.begin_quest("sendfile", payload[:8], len(payload), deadline=None)
    pair.pump()
    for piece in (payload[8:9], memoryview(payload)[9:15], b"", bytearray(payload[15:])):
        assert pair.server.take() == []
        client.send_piece(quest_id, piece)
        pair.pump()
    assert pair.server.take() == [QuestReceived(1, "sendfile", decode(payload))]
    pair.server.connection.answer(1, {"mtime": 5})
    pair.pump()
    assert pair.client.take() == [Answered(quest_id, {"mtime": 5})]


def test_a_quest_in_pieces_may_be_whole_at_once() -> None:
    connection = opened()
    quest_id = connection.begin_quest("hello", EMPTY, 1, deadline=7)
    assert written(connection) == encode_quest(b"hello", EMPTY, quest_id)
    assert connection.next_timeout() == 7
    with pytest.raises(LocalProtocolError, match="is not being sent in pieces"):
        connection.send_piece(quest_id, b"x")
    connection.send_oneway("next", {})
    assert methods(written(connection)) == [b"next"]


def test_a_body_that_is_whole_is_not_under_way_any_more() -> None:
    connection = opened()
    first = connection.begin_quest("sendfile", b"\x81", 4, deadline=None)
    connection.send_piece(first, b"\xa1a\x01")
    with pytest.raises(LocalProtocolError, match=f"quest {first} is not being sent in pieces"):
        connection.send_piece(first, b"")
    second = connection.begin_quest("sendfile", b"\x81", 4, deadline=None)
    connection.forget(first)
    assert connection.open
    connection.send_piece(second, b"\xa1b\x02")
    assert written(connection) == b"".join(
        [
            encode_quest(b"sendfile", b"\x81\xa1a\x01", first),
            encode_quest(b"sendfile", b"\x81\xa1b\x02", second),
        ]
    )


def test_other_packages_wait_while_a_body_is_under_way() -> None:
    connection = opened()
    body = connection.begin_quest("sendfile", b"\x81", 4, deadline=None)
    asked = connection.send_quest("asked", {}, deadline=None)
    taken_back = connection.send_quest("taken back", {}, deadline=None)
    connection.send_oneway("told", {})
    receive(connection, encode_quest(b"*ping", EMPTY, 9))
    assert written(connection) == quest_head(b"sendfile", 4, body) + b"\x81"
    connection.forget(taken_back)
    connection.send_piece(body, b"\xa1a")
    connection.send_piece(body, b"\x01")
    assert written(connection) == b"".join(
        [
            b"\xa1a\x01",
            encode_quest(b"asked", EMPTY, asked),
            encode_oneway(b"told", EMPTY),
            encode_answer(EMPTY, 9),
        ]
    )


def test_the_bytes_that_wait_are_counted() -> None:
    connection = opened()
    connection.send_oneway("told", {})
    size = len(encode_oneway(b"told", EMPTY))
    assert connection.unsent == size
    body = connection.begin_quest("sendfile", b"\x81", 4, deadline=None)
    connection.send_piece(body, b"\xa1a")
    size += len(quest_head(b"sendfile", 4, body)) + 3
    assert connection.unsent == size
    assert len(written(connection)) == size
    assert connection.unsent == 0


def test_a_quest_in_pieces_that_cannot_be_begun_changes_nothing() -> None:
    connection = opened(max_package=100)
    for method, head, psize, deadline in [
        ("", b"", 10, None),
        ("hello", b"", 0, None),
        ("hello", b"", -1, None),
        ("hello", b"\x81\xa1a", 2, None),
        ("hello", b"", 80, None),
        ("hello", b"", 2**40, None),
        ("hello", b"", 10, float("nan")),
    ]:
        with pytest.raises(LocalProtocolError):
            connection.begin_quest(method, head, psize, deadline=deadline)
    assert (connection.pending, connection.next_timeout(), written(connection)) == (0, 20, b"")
    body = connection.begin_quest("hello", b"", 79, deadline=None)
    with pytest.raises(LocalProtocolError, match="with none under way"):
        connection.begin_quest("hello", b"", 10, deadline=None)
    with pytest.raises(LocalProtocolError, match="quest 9 is not being sent"):
        connection.send_piece(9, b"x")
    with pytest.raises(LocalProtocolError, match="room for 79 more bytes, got 80"):
        connection.send_piece(body, bytes(80))
    assert connection.pending == 1
    connection.send_piece(body, bytes(79))
    assert packages_in(written(connection))[0].payload == bytes(79)


@pytest.mark.parametrize("state", [State.NEW, State.OPENING])
def test_a_quest_in_pieces_needs_an_open_link(state: State) -> None:
    connection = in_state(state)
    with pytest.raises(LocalProtocolError, match="needs an open link"):
        connection.begin_quest("hello", b"", 10, deadline=1)
    assert connection.pending == 1


def streaming() -> tuple[Connection, int]:
    """A connection with a half sent body, and another quest."""
    connection = opened()
    body = connection.begin_quest("sendfile", b"\x81", 4, deadline=5)
    connection.send_quest("other", {}, deadline=None)
    written(connection)
    return connection, body


LEFT = CloseReason(CloseKind.LOCAL, "left in the middle of a body")
TOO_LATE = CloseReason(CloseKind.LOCAL, "the deadline passed inside a body")


def test_forgetting_a_half_sent_body_is_the_end() -> None:
    connection, body = streaming()
    connection.forget(body)
    assert connection.events() == [Lost(2, LEFT), Closed(LEFT)]
    assert connection.abrupt
    connection.send_piece(body, b"\xa1a\x01")
    assert written(connection) == b""


def test_a_deadline_inside_a_body_is_the_end() -> None:
    connection, body = streaming()
    connection.handle_timeout(now=5)
    assert connection.events() == [TimedOut(body), Lost(2, TOO_LATE), Closed(TOO_LATE)]
    assert connection.abrupt


def test_closing_inside_a_body_is_the_end_at_once() -> None:
    connection, body = streaming()
    connection.close(now=1)
    assert connection.events() == [Lost(body, LOCAL), Lost(2, LOCAL), Closed(LOCAL)]
    assert connection.abrupt


@pytest.mark.parametrize("websocket", [False, True])
def test_a_refusal_in_the_middle_of_a_body_is_heard(websocket: bool) -> None:
    pair = Pair(*(websocket_connections() if websocket else ()))
    pair.open()
    client = pair.client.connection
    body = client.begin_quest("sendfile", b"\x81", 9_000, deadline=None)
    client.send_piece(body, bytes(5_000))
    pair.client.collect()
    answer = encode_answer(encode({"code": 200031, "ex": "no"}), body, status=1)
    if websocket:
        answer = bytes([0x82, len(answer)]) + answer
    client.receive_data(answer, now=pair.now)
    client.send_piece(body, bytes(100))  # it may not have been heard yet
    assert pair.client.take() == [Refused(body, 200031, "no")]
    client.receive_eof(now=pair.now)
    assert pair.client.take() == [Closed(BYE)]
    assert client.abrupt  # nothing can be said in the middle of a body
    assert written(client) == b""


# --- large quests of the peer ----------------------------------------------------------------

FILE_QUEST = encode({"token": "t", "file": bytes(range(200))})


def large_quest(events: list[Event]) -> tuple[list[Event], bytes]:
    """The events without the pieces of the quest, and these put together."""
    pieces = [event for event in events if isinstance(event, QuestPiece)]
    size = len(FILE_QUEST)
    for piece in pieces:
        size -= len(piece.data)
        assert piece.left == size
    others: list[Event] = [event for event in events if not isinstance(event, QuestPiece)]
    return others, b"".join(piece.data for piece in pieces)


@given(st.data())
def test_a_large_quest_comes_in_pieces_however_it_is_cut(choices: st.DataObject) -> None:
    connection = served(max_whole=100)
    ping = encode_quest(b"hello", EMPTY, 1)
    stream = ping + encode_quest(b"sendfile", FILE_QUEST, 2) + ping
    events: list[Event] = []
    for data in choices.draw(cut_up(stream)):
        connection.receive_data(data, now=1)
        events += connection.events()
    others, data = large_quest(events)
    assert data == FILE_QUEST
    assert others == [
        QuestReceived(1, "hello", {}),
        QuestBegun(2, "sendfile", len(FILE_QUEST)),
        QuestReceived(3, "hello", {}),
    ]


@pytest.mark.parametrize("make", [Pair, lambda: Pair(*websocket_connections())])
def test_without_a_limit_a_large_quest_comes_whole(make: Callable[[], Pair]) -> None:
    pair = make()
    pair.open()
    pair.client.connection.send_quest("sendfile", decode(FILE_QUEST), deadline=None)
    pair.pump()
    assert pair.server.take() == [QuestReceived(1, "sendfile", decode(FILE_QUEST))]


def test_what_arrives_is_always_taken() -> None:
    assert not served(max_whole=100).full


def test_a_large_quest_that_is_refused_early_leaves_the_connection_usable() -> None:
    connection = served(max_whole=100)
    quest = encode_quest(b"sendfile", FILE_QUEST, 2)
    assert receive(connection, quest[:30])[0] == QuestBegun(1, "sendfile", len(FILE_QUEST))
    connection.refuse(1, 200003, "no")
    [refusal] = packages_in(written(connection))
    assert (refusal.seq, refusal.status) == (2, 1)
    assert receive(connection, quest[30:100], quest[100:]) == []
    assert receive(connection, encode_quest(b"next", EMPTY, 3)) == [QuestReceived(2, "next", {})]


def test_an_end_inside_a_large_quest_is_told_behind_its_pieces() -> None:
    connection = served(max_whole=100)
    quest = encode_quest(b"sendfile", FILE_QUEST, 2)
    connection.receive_data(quest[:100], now=1)
    connection.receive_eof(now=1)
    *_, piece, closed = connection.events()
    assert piece == QuestPiece(1, FILE_QUEST[:76], len(FILE_QUEST) - 76)
    text = "inside a package, after 100 bytes of it"
    assert closed == Closed(CloseReason(CloseKind.PEER_CLOSED, text))
    connection.refuse(1, 1, "too late")


def test_who_closes_inside_a_large_quest_waits_for_it_and_no_longer_than_for_others() -> None:
    connection = served(max_whole=100)
    quest = encode_quest(b"sendfile", FILE_QUEST, 2)
    receive(connection, quest[:100])
    connection.close(now=1)
    [rest] = receive(connection, quest[100:])
    assert isinstance(rest, QuestPiece) and rest.left == 0
    connection.answer(1, {})
    assert connection.state is State.CLOSED
    other = served(max_whole=100)
    receive(other, quest[:100])
    other.close(now=1)
    other.handle_timeout(now=1 + CLOSE_TIMEOUT)
    assert other.events() == [Closed(LOCAL)]


# --- the peer's faults -----------------------------------------------------------------------


def test_good_events_come_before_the_fault() -> None:
    connection = opened()
    quest_id = connection.send_quest("hello", {}, deadline=None)
    lost = connection.send_quest("hello", {}, deadline=None)
    written(connection)
    events = receive(connection, encode_answer(EMPTY, quest_id), b"GARBAGE")
    assert events[0] == Answered(quest_id, {})
    assert isinstance(events[1], Lost) and events[1].quest_id == lost
    assert isinstance(events[2], Closed) and len(events) == 3
    assert events[2].reason == events[1].reason
    assert events[2].reason.kind is CloseKind.PROTOCOL_ERROR
    assert not connection.abrupt
    assert connection.next_timeout() is None


@pytest.mark.parametrize("websocket", [False, True])
def test_a_quest_over_the_limit_is_refused_by_its_number_and_then_it_ends(websocket: bool) -> None:
    if websocket:
        server = server_connection(WebSocketLink.server(max_package=100))
        pair = Pair(*websocket_connections(server))
    else:
        pair = Pair(server=Connection(StreamLink(max_package=100), ping=False, oversize_code=7))
    pair.open()
    quest_id = pair.client.connection.send_quest("hello", {"a": "x" * 100}, deadline=None)
    pair.pump()
    (closed,) = pair.server.take()
    assert isinstance(closed, Closed) and closed.reason.kind is CloseKind.LIMIT
    assert not pair.server.connection.abrupt
    refused, closed = pair.client.take()
    assert isinstance(refused, Refused) and refused.quest_id == quest_id
    assert refused.code == (Code.INVALID_PACKAGE if websocket else 7)
    assert "over the limit of 100" in refused.text
    assert isinstance(closed, Closed) and closed.reason.kind is CloseKind.PEER_CLOSED
    assert ("1009" in closed.reason.text) == websocket


@pytest.mark.parametrize(
    "package", [encode_oneway(b"hello", bytes(200)), encode_answer(bytes(200), 1)]
)
def test_nobody_is_answered_for_other_packages_over_the_limit(package: bytes) -> None:
    connection = Connection(StreamLink(max_package=100), ping=False)
    connection.connected(now=0)
    events = receive(connection, package)
    assert isinstance(events[-1], Closed) and written(connection) == b""


def test_too_many_bad_packages_are_the_end() -> None:
    connection = served()
    bad = encode_quest(b"hello", b"\xc1", 1)
    good = encode_quest(b"hello", EMPTY, 2)
    assert receive(connection, *[bad] * (MAX_BAD_PACKAGES - 1), good) == [
        QuestReceived(1, "hello", {})
    ]
    assert len(packages_in(written(connection))) == MAX_BAD_PACKAGES - 1 == 15
    reason = CloseReason(CloseKind.PROTOCOL_ERROR, "too many bad packages")
    assert receive(connection, good, bad, good) == [QuestReceived(2, "hello", {}), Closed(reason)]
    assert len(packages_in(written(connection))) == 1  # the last one is refused, too
    assert not connection.abrupt


def test_what_is_too_much_for_two_reasons_ends_once() -> None:
    connection = served(max_unsent=100)
    bad = [encode_quest(b"hello", b"\xc1", seq) for seq in range(MAX_BAD_PACKAGES)]
    [closed] = receive(connection, *bad)
    assert isinstance(closed, Closed) and closed.reason.kind is CloseKind.LIMIT


def test_the_end_of_the_stream_loses_what_waits() -> None:
    connection = opened()
    quest_id = connection.send_quest("hello", {}, deadline=3)
    receive(connection, encode_quest(b"theirs", EMPTY, 1))
    connection.receive_eof(now=1)
    assert connection.events() == [Lost(quest_id, BYE), Closed(BYE)]
    assert (connection.abrupt, connection.next_timeout()) == (False, None)


def test_a_reset_is_abrupt_and_has_its_reason() -> None:
    connection = opened()
    connection.abort(RESET)
    assert connection.events() == [Closed(RESET)]
    assert (connection.abrupt, connection.reason) == (True, RESET)


@given(data=st.data(), garbage=st.binary(max_size=60), server=st.booleans())
def test_garbage_is_never_raised_and_how_it_is_cut_does_not_matter(
    data: st.DataObject, garbage: bytes, server: bool
) -> None:
    stream = data.draw(
        st.lists(
            st.sampled_from(
                [
                    encode_quest(b"hello", EMPTY, 1),
                    encode_quest(b"*ping", b"", 2),
                    encode_quest(b"hello", b"\xc1", 3),
                    encode_oneway(b"hello", b"\xc1"),
                    encode_answer(EMPTY, 1),
                    encode_answer(b"\xc1", 2),
                    encode_answer(EMPTY, 3, status=1),
                ]
            )
        ).map(b"".join)
    )
    outcomes: list[tuple[list[Event], bytes, State]] = []
    for pieces in ([stream + garbage], data.draw(cut_up(stream + garbage))):
        connection = served() if server else opened()
        connection.send_quest("one", {}, deadline=None)
        connection.send_quest("two", {}, deadline=None)
        for piece in pieces:
            connection.receive_data(piece, now=1)
        events = connection.events()
        if connection.finished:
            assert isinstance(events[-1], Closed)
        outcomes.append((events, written(connection), connection.state))
    assert outcomes[0] == outcomes[1]


# --- closing ---------------------------------------------------------------------------------


def test_closing_waits_for_the_answers_owed_on_either_side() -> None:
    connection = opened()
    mine = connection.send_quest("mine", {}, deadline=None)
    receive(connection, encode_quest(b"theirs", EMPTY, 1))
    written(connection)
    connection.close(now=1)
    assert connection.state is State.CLOSING
    assert receive(connection, encode_answer(EMPTY, mine)) == [Answered(mine, {})]
    assert connection.state is State.CLOSING
    connection.answer(1, {})
    assert connection.events() == [Closed(LOCAL)]
    assert (connection.abrupt, connection.next_timeout()) == (False, None)
    assert written(connection) == encode_answer(EMPTY, 1)


def test_closing_with_nothing_owed_is_done_at_once() -> None:
    pair = Pair(*websocket_connections())
    pair.open()
    pair.client.connection.close(now=pair.now)
    assert pair.client.take() == [Closed(LOCAL)]
    pair.pump()
    (closed,) = pair.server.take()
    assert closed == Closed(CloseReason(CloseKind.PEER_CLOSED, "close frame 1000"))


def test_closing_waits_no_longer_than_it_may() -> None:
    connection = opened()
    mine = connection.send_quest("mine", {}, deadline=None)
    receive(connection, encode_quest(b"theirs", EMPTY, 1))
    connection.close(now=1)
    connection.handle_timeout(now=1 + CLOSE_TIMEOUT - 0.01)
    assert connection.events() == []
    connection.handle_timeout(now=1 + CLOSE_TIMEOUT)
    assert connection.events() == [Lost(mine, LOCAL), Closed(LOCAL)]
    assert not connection.abrupt


@pytest.mark.parametrize("how", ["forgotten", "timed out", "refused"])
def test_closing_ends_when_nothing_is_waited_for_any_more(how: str) -> None:
    connection = opened()
    mine = connection.send_quest("mine", {}, deadline=2)
    written(connection)
    connection.close(now=1)
    if how == "forgotten":
        connection.forget(mine)
    elif how == "timed out":
        connection.handle_timeout(now=2)
    else:
        receive(connection, encode_answer(EMPTY, mine, status=1))
    assert connection.finished and not connection.abrupt


def test_closing_twice_is_closing_once() -> None:
    connection = opened()
    connection.send_quest("mine", {}, deadline=None)
    kicked = CloseReason(CloseKind.KICKOUT)
    connection.close(now=1, reason=kicked)
    connection.close(now=2)
    connection.handle_timeout(now=1 + CLOSE_TIMEOUT)
    assert connection.events() == [Lost(1, kicked), Closed(kicked)]


def test_our_reason_stands_when_the_peer_leaves_while_we_close() -> None:
    kicked = CloseReason(CloseKind.KICKOUT)
    connection = opened()
    connection.send_quest("mine", {}, deadline=None)
    connection.close(now=1, reason=kicked)
    connection.receive_eof(now=1)
    assert connection.events() == [Lost(1, kicked), Closed(kicked)]


def test_a_fault_while_we_close_is_told_as_such() -> None:
    connection = opened()
    connection.send_quest("mine", {}, deadline=None)
    connection.close(now=1)
    events = receive(connection, b"GARBAGE")
    assert isinstance(events[-1], Closed)
    assert events[-1].reason.kind is CloseKind.PROTOCOL_ERROR


def test_quests_are_received_until_the_end() -> None:
    connection = opened()
    connection.send_quest("mine", {}, deadline=None)
    connection.close(now=1)
    events = receive(connection, encode_quest(b"push", EMPTY, 1), encode_oneway(b"told", EMPTY))
    assert events == [QuestReceived(1, "push", {}), OnewayReceived("told", {})]


def test_a_gate_may_refuse_quests_once_it_is_closing() -> None:
    connection = served(stop_code=Code.SERVER_STOPPING)
    receive(connection, encode_quest(b"early", EMPTY, 1))
    connection.close(now=1)
    assert receive(connection, encode_quest(b"late", EMPTY, 2)) == []
    (refusal,) = packages_in(written(connection))
    assert (refusal.seq, decode(refusal.payload)["code"]) == (2, Code.SERVER_STOPPING)
    connection.answer(1, {})
    assert connection.finished


# --- keepalive -------------------------------------------------------------------------------


def pings(connection: Connection) -> int:
    return methods(written(connection)).count(b"*ping")


def test_a_silent_peer_is_pinged_and_then_given_up() -> None:
    connection = opened()
    times: list[float] = []
    while not connection.finished:
        when = connection.next_timeout()
        assert when is not None
        connection.handle_timeout(now=when)
        times += [when] * pings(connection)
    assert times == [20, 25, 30]
    assert connection.events() == [
        Closed(CloseReason(CloseKind.IDLE, "nothing came for 35 s")),
    ]
    assert connection.abrupt


def test_a_pinged_peer_that_answers_is_alive() -> None:
    pair = Pair()
    pair.open()
    pair.advance(600)
    assert pair.client.take() == pair.server.take() == []
    taken = methods(bytes(pair.client.written))
    assert taken == [b"*ping"] * 30
    assert pair.client.connection.open and pair.server.connection.open


def test_any_byte_is_a_sign_of_life() -> None:
    connection = opened()
    package = encode_quest(b"hello", EMPTY, 1)
    for now, byte in zip(range(19, 900, 19), package, strict=False):
        connection.handle_timeout(now=now)
        connection.receive_data(bytes([byte]), now=now)
    assert pings(connection) == 0
    connection.handle_timeout(now=connection.next_timeout() or 0)
    assert pings(connection) <= 1


def test_a_timer_that_rings_at_its_time_is_never_too_early_by_a_rounding() -> None:
    """``(heard + 20) - heard`` is less than 20 here: a virtual clock never came past this time."""
    heard = 50.8917219869216
    assert heard + 20.0 - heard < 20.0
    connection = opened()
    connection.receive_data(b"F", now=heard)
    connection.handle_timeout(now=20.0)
    when = connection.next_timeout()
    assert when is not None and when == heard + 20.0
    connection.handle_timeout(now=when)
    after = connection.next_timeout()
    assert after is not None and after > when
    assert pings(connection) == 1


def test_a_sign_of_life_starts_the_silence_anew() -> None:
    connection = opened()
    for now in (20, 25, 30):
        connection.handle_timeout(now=now)
    assert pings(connection) == 3
    receive(connection, encode_oneway(b"hello", EMPTY), now=34)
    connection.handle_timeout(now=35)
    assert connection.next_timeout() == 54
    for now in (54, 59, 64):
        connection.handle_timeout(now=now)
    assert pings(connection) == 3 and connection.open
    connection.handle_timeout(now=69)
    assert connection.finished


def test_a_ping_does_not_keep_a_closing_connection() -> None:
    connection = opened(close_timeout=100)
    connection.send_quest("mine", {}, deadline=30)
    written(connection)
    connection.close(now=1)
    connection.handle_timeout(now=20)
    assert pings(connection) == 1
    connection.handle_timeout(now=30)
    assert connection.finished


def test_a_slow_upload_lives_as_long_as_its_bytes_are_taken() -> None:
    connection = opened()
    body = connection.begin_quest("sendfile", b"\x81", 1000, deadline=None)
    for tick in range(0, 900, 9):  # nothing comes in all that time
        written(connection)
        connection.send_piece(body, b"x")
        connection.handle_timeout(now=tick)
        assert connection.open
    now = 0.0
    while not connection.finished:
        now = connection.next_timeout() or 0
        assert b"*ping" not in written(connection)  # there is no place for it
        connection.handle_timeout(now=now)
    lost, closed = connection.events()
    assert isinstance(lost, Lost) and isinstance(closed, Closed)
    assert closed.reason.kind is CloseKind.IDLE
    assert 891 + 35 <= now <= 891 + 35 + 20


def test_an_upload_that_goes_on_after_a_pause_starts_the_silence_anew() -> None:
    connection = opened()
    body = connection.begin_quest("sendfile", b"\x81", 1000, deadline=None)
    written(connection)
    connection.handle_timeout(now=20)  # its first bytes were taken since 0
    for now in (40, 45):
        connection.handle_timeout(now=now)
    connection.send_piece(body, b"x")
    written(connection)
    times: list[float] = []
    while not connection.finished:
        times.append(connection.next_timeout() or 0)
        connection.handle_timeout(now=times[-1])
    assert times == [50, 70, 75, 80, 85]


def test_bytes_that_were_taken_count_although_nothing_more_was_taken_since() -> None:
    connection = opened()
    connection.begin_quest("sendfile", b"\x81", 3, deadline=None)
    assert written(connection)
    assert written(connection) == b""
    connection.handle_timeout(now=20)
    assert connection.next_timeout() == 40


def test_the_last_bytes_of_an_upload_count_as_well() -> None:
    connection = opened()
    body = connection.begin_quest("sendfile", b"\x81", 3, deadline=None)
    connection.handle_timeout(now=20)
    written(connection)
    connection.send_piece(body, b"xx")
    written(connection)
    connection.handle_timeout(now=25)
    assert connection.next_timeout() == 45  # and not declared dead on the way to 35


def test_other_bytes_that_are_taken_do_not_hide_a_dead_peer() -> None:
    connection = opened()
    for now in range(1, 40):
        if not connection.finished:
            connection.send_oneway("hello", {})
            written(connection)
            connection.handle_timeout(now=now)
    (closed,) = connection.events()
    assert closed == Closed(CloseReason(CloseKind.IDLE, "nothing came for 35 s"))


def test_a_server_ends_after_a_minute_of_silence_and_never_asks() -> None:
    connection = served()
    connection.receive_data(b"F", now=30)
    connection.handle_timeout(now=60)
    assert (connection.open, connection.next_timeout()) == (True, 90)
    connection.handle_timeout(now=90)
    assert connection.events() == [Closed(CloseReason(CloseKind.IDLE, "nothing came for 60 s"))]
    assert written(connection) == b""
    assert not connection.abrupt


def test_silence_is_counted_from_when_the_transport_came_up() -> None:
    connection = Connection(StreamLink(), ping=False, silence=60.0)
    connection.connected(now=100)
    assert connection.next_timeout() == 160
    connection.handle_timeout(now=160)
    (_, closed) = connection.events()
    assert closed == Closed(CloseReason(CloseKind.IDLE, "nothing came for 60 s"))


def test_what_a_server_sends_is_a_sign_of_life() -> None:
    connection = served()
    for now in range(50, 600, 50):
        connection.send_oneway("hello", {})
        written(connection)
        connection.handle_timeout(now=now)
        assert connection.open
    end = 0.0
    while not connection.finished:
        end = connection.next_timeout() or 0
        connection.handle_timeout(now=end)
    assert 550 + 60 <= end <= 550 + 120


def test_two_peers_on_a_broken_wire_both_notice() -> None:
    pair = Pair()
    pair.open()
    pair.client.connection.send_quest("hello", {}, deadline=pair.now + 5)
    pair.break_wire()
    pair.advance(130)
    assert pair.client.take()[0] == TimedOut(1)
    assert pair.client.connection.finished and pair.server.connection.finished
    assert pair.next_timeout() is None


# --- limits ----------------------------------------------------------------------------------


def test_a_peer_that_does_not_read_is_cut() -> None:
    pair = Pair()
    pair.open()
    pair.server.held = True
    server = pair.server.connection
    quests = 0
    while not server.finished:
        pair.client.connection.send_quest("*ping", {}, deadline=None)
        pair.client.connection.send_quest("hello", {"a": "x" * 100_000}, deadline=None)
        pair.pump()
        for event in pair.server.take():
            if isinstance(event, QuestReceived):
                server.answer(event.quest_id, event.params)
                quests += 1
        assert server.unsent <= MAX_UNSENT + 200_100
    assert 40 <= quests <= 45
    assert isinstance(server.reason, CloseReason) and server.reason.kind is CloseKind.LIMIT
    assert str(MAX_UNSENT) in server.reason.text
    assert server.abrupt


def test_a_peer_that_asks_and_does_not_read_is_cut_too() -> None:
    connection = served(max_unsent=1000)
    pings = [encode_quest(b"*ping", EMPTY, seq) for seq in range(100)]
    events = receive(connection, *pings)
    assert isinstance(events[-1], Closed) and events[-1].reason.kind is CloseKind.LIMIT


def test_what_waits_for_a_body_is_limited_as_well() -> None:
    connection = opened(max_unsent=1000)
    connection.begin_quest("sendfile", b"", 5_000_000, deadline=None)
    written(connection)
    while not connection.finished:
        connection.send_oneway("hello", {})
    assert connection.reason is not None and connection.reason.kind is CloseKind.LIMIT
    assert written(connection) == b""


def test_what_is_queued_before_the_link_is_open_is_limited() -> None:
    connection = Connection(StreamLink(), max_unsent=1000)
    quests = 0
    while not connection.finished:
        connection.send_quest("hello", {}, deadline=None)
        quests += 1
    events = connection.events()
    assert len(events) == quests + 1 and isinstance(events[-1], Closed)


def test_just_as_much_as_the_limit_may_wait() -> None:
    size = len(encode_oneway(b"hello", EMPTY))
    for limit, good in ((size, True), (size - 1, False)):
        connection = opened(max_unsent=limit)
        connection.send_oneway("hello", {})  # the largest does not count
        connection.send_oneway("hello", {})
        assert connection.open is good


def test_a_large_package_is_no_sign_of_a_peer_that_does_not_read() -> None:
    connection = opened(max_unsent=1000)
    connection.send_quest("hello", {"a": bytes(5_000)}, deadline=None)
    connection.send_quest("hello", {"a": bytes(900)}, deadline=None)
    receive(connection, encode_quest(b"*ping", EMPTY, 1))
    assert connection.open
    written(connection)
    connection.send_quest("hello", {"a": bytes(900)}, deadline=None)
    connection.send_quest("hello", {"a": bytes(900)}, deadline=None)
    assert connection.open
    connection.send_quest("hello", {"a": bytes(900)}, deadline=None)
    assert connection.finished


def test_the_pieces_of_a_body_are_for_their_sender_to_measure() -> None:
    connection = opened(max_unsent=1000)
    body = connection.begin_quest("sendfile", b"", 5_000_000, deadline=None)
    connection.send_piece(body, bytes(4_000_000))
    receive(connection, encode_quest(b"*ping", EMPTY, 1))
    assert connection.open
    assert connection.unsent > 4_000_000
