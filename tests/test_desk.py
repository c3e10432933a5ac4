"""The desk: tickets end once, bells ring once, pushes are answered and wait in the inbox."""

from __future__ import annotations

import pytest

from rtm_proto.codes import Code
from rtm_proto.connection import Connection
from rtm_proto.desk import MAX_EVENTS, Desk, Inbox, Ticket
from rtm_proto.errors import (
    ConnectionLost,
    LocalProtocolError,
    PayloadError,
    QuestRefused,
    QuestTimeout,
)
from rtm_proto.events import (
    Answered,
    CloseKind,
    CloseReason,
    Lost,
    Opened,
    TimedOut,
)
from rtm_proto.link import StreamLink
from rtm_proto.mids import MidFilter
from rtm_proto.package import Kind, encode_answer, encode_oneway, encode_quest
from rtm_proto.payload import EMPTY, Params, decode, encode
from rtm_proto.received import (
    ClientEvent,
    Disconnected,
    EventsLost,
    FileReceived,
    KickedOut,
    KickedOutOfRoom,
    MessageReceived,
    Reconnected,
    UnknownPush,
)
from rtm_proto.websocket import WebSocketLink
from tests.pair import packages_in

UID = 1002
LOCAL = CloseReason(CloseKind.LOCAL)
KICKOUT = CloseReason(CloseKind.KICKOUT)


class Bell:
    """Counts how often it was rung."""

    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


class Counter:
    """A desk at an open connection; packages are handed to it as they come."""

    def __init__(self, inbox: Inbox | None = None, *, relogin: bool = False) -> None:
        self.connection = Connection(StreamLink())
        self.desk = Desk(self.connection, inbox, relogin=relogin)
        self.connection.connected(now=0)
        self.desk.collect(now=0)
        self.now = 0.0

    def receive(self, *packages: bytes) -> list[tuple[int, object]]:
        """Seq and error code (None: no error) of each answer that comes of *packages*."""
        self.connection.receive_data(b"".join(packages), now=self.now)
        self.desk.collect(now=self.now)
        answers: list[tuple[int, object]] = []
        for package in packages_in(b"".join(self.connection.data_to_send())):
            if package.kind == Kind.ANSWER:
                answers.append((package.seq, decode(package.payload).get("code")))
        return answers

    def ask(self, method: str = "hello", deadline: float | None = None) -> tuple[Ticket, Bell]:
        ticket = self.desk.ask(method, {}, deadline=deadline)
        ticket.bell = bell = Bell()
        self.connection.data_to_send()
        return ticket, bell


def message(mid: int = 7, *, sender: int = 5, mtype: int = 30, **more: object) -> Params:
    return {"from": sender, "to": UID, "mid": mid, "mtype": mtype, "msg": "hi", **more}


def pushed(params: Params, method: str = "pushmsg", seq: int = 9) -> bytes:
    return encode_quest(method.encode(), encode(params), seq)


def drained(inbox: Inbox) -> list[ClientEvent]:
    events: list[ClientEvent] = []
    while (event := inbox.take()) is not None:
        events.append(event)
    return events


# --- tickets ---------------------------------------------------------------------------------


def test_a_ticket_ends_with_the_answer_and_rings_once() -> None:
    counter = Counter()
    ticket, bell = counter.ask()
    assert not ticket.done
    with pytest.raises(LocalProtocolError, match="hello has no result yet"):
        ticket.result()
    counter.receive(encode_answer(encode({"a": 1}), ticket.quest_id))
    assert (ticket.done, bell.rung) == (True, 1)
    assert ticket.result() == {"a": 1}
    counter.receive(encode_answer(EMPTY, ticket.quest_id))
    counter.connection.abort(LOCAL)
    counter.desk.collect(now=1)
    assert (bell.rung, ticket.result(), counter.desk.dropped) == (1, {"a": 1}, 1)


def test_a_ticket_ends_with_an_error() -> None:
    counter = Counter()
    refused, _ = counter.ask("one")
    late, _ = counter.ask("two", deadline=3)
    lost, bell = counter.ask("three")
    error = encode({"code": 200027, "ex": "invalid token"})
    counter.receive(encode_answer(error, refused.quest_id, status=1))
    with pytest.raises(QuestRefused, match="one was refused with 200027: invalid token"):
        refused.result()
    counter.connection.handle_timeout(now=3)
    counter.desk.collect(now=3)
    with pytest.raises(QuestTimeout, match="no answer to two"):
        late.result()
    counter.connection.abort(LOCAL)
    counter.desk.collect(now=3)
    with pytest.raises(ConnectionLost, match="before the answer to three: closed by us"):
        lost.result()
    assert bell.rung == 1


def test_the_first_outcome_of_a_ticket_counts() -> None:
    ticket = Ticket(1, "hello")
    ticket.end(TimedOut(1))  # nobody waits for it yet
    ticket.bell = bell = Bell()
    ticket.end(Answered(1, {}))
    assert (bell.rung, ticket.outcome) == (0, TimedOut(1))


def test_whoever_has_left_hears_nothing_more() -> None:
    counter = Counter()
    ticket, bell = counter.ask()
    other, _ = counter.ask()
    counter.desk.leave(ticket)
    counter.desk.leave(ticket)
    counter.receive(encode_answer(EMPTY, ticket.quest_id), encode_answer(EMPTY, other.quest_id))
    assert (bell.rung, ticket.done, other.done) == (0, False, True)
    assert counter.desk.dropped == 1


def test_leaving_after_the_end_changes_nothing() -> None:
    counter = Counter()
    ticket, bell = counter.ask()
    counter.receive(encode_answer(EMPTY, ticket.quest_id))
    counter.desk.leave(ticket)
    assert (ticket.result(), bell.rung, counter.connection.open) == ({}, 1, True)
    counter.desk.leave(counter.desk.opening)
    counter.desk.leave(Ticket(ticket.quest_id, "of another desk"))
    again, _ = counter.ask()
    counter.desk.leave(Ticket(again.quest_id, "of another desk"))
    counter.receive(encode_answer(EMPTY, again.quest_id))
    assert again.done


def test_leaving_between_the_answer_and_its_ticket_is_no_fault() -> None:
    counter = Counter()
    ticket, bell = counter.ask()
    counter.connection.receive_data(encode_answer(EMPTY, ticket.quest_id), now=1)
    counter.desk.leave(ticket)
    counter.desk.collect(now=1)
    assert (bell.rung, ticket.done) == (0, False)


def test_what_cannot_be_asked_leaves_no_ticket() -> None:
    counter = Counter()
    with pytest.raises(LocalProtocolError):
        counter.desk.ask("", {}, deadline=None)
    with pytest.raises(LocalProtocolError):
        counter.desk.begin("hello", b"", 0, deadline=None)
    counter.connection.abort(LOCAL)
    with pytest.raises(ConnectionLost):
        counter.desk.ask("hello", {}, deadline=None)
    counter.desk.collect(now=1)
    assert counter.desk.dropped == 0


def test_the_opening_has_a_ticket_too() -> None:
    connection = Connection(StreamLink())
    desk = Desk(connection)
    desk.opening.bell = bell = Bell()
    desk.collect(now=0)
    assert not desk.opening.done
    assert desk.opening.quest_id == 0  # it belongs to no quest
    connection.connected(now=0)
    desk.collect(now=0)
    assert (desk.opening.outcome, desk.opening.result(), bell.rung) == (Opened(), {}, 1)
    connection.abort(LOCAL)
    desk.collect(now=1)
    assert (desk.opening.outcome, bell.rung) == (Opened(), 1)


def test_an_opening_that_fails_says_why() -> None:
    link = WebSocketLink.client("h", nonce=bytes(16), mask_key=lambda: bytes(4))
    connection = Connection(link)
    inbox = Inbox(UID)
    desk = Desk(connection, inbox)
    desk.opening.bell = bell = Bell()
    connection.connected(now=0)
    connection.receive_data(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", now=1)
    desk.collect(now=1)
    assert isinstance(desk.opening.outcome, Lost) and bell.rung == 1
    reason = desk.opening.outcome.reason
    assert desk.opening.outcome == Lost(0, reason)
    assert reason.kind is CloseKind.HANDSHAKE
    assert drained(inbox) == [Disconnected(reason)]
    with pytest.raises(ConnectionLost, match="before the answer to connect"):
        desk.opening.result()


def test_a_bell_may_ask_again_and_collect() -> None:
    counter = Counter()
    order: list[str] = []
    tickets = [counter.desk.ask(method, {}, deadline=None) for method in ("one", "two")]
    lost = counter.desk.ask("three", {}, deadline=None)

    def ring(method: str) -> None:
        order.append(method)
        counter.connection.abort(LOCAL)
        counter.desk.collect(now=1)
        order.append(f"after {method}")

    tickets[0].bell = lambda: ring("one")
    tickets[1].bell = lambda: order.append("two")
    lost.bell = lambda: order.append("three")
    counter.receive(*(encode_answer(EMPTY, ticket.quest_id) for ticket in tickets))
    assert order == ["one", "after one", "two", "three"]
    assert [ticket.result() for ticket in tickets] == [{}, {}]


def test_a_bell_that_raises_does_not_stop_the_desk_for_good() -> None:
    counter = Counter()
    ticket, bell = counter.ask()

    def broken() -> None:
        raise RuntimeError("broken bell")

    ticket.bell = broken
    with pytest.raises(RuntimeError, match="broken bell"):
        counter.receive(encode_answer(EMPTY, ticket.quest_id))
    again, bell = counter.ask()
    counter.receive(encode_answer(EMPTY, again.quest_id))
    assert bell.rung == 1


# --- pieces ----------------------------------------------------------------------------------


def test_pieces_are_handed_over_until_the_quest_has_ended() -> None:
    counter = Counter()
    ticket = counter.desk.begin("sendfile", b"\x81\xa1a", 6, deadline=None)
    counter.connection.data_to_send()
    assert counter.desk.hand(ticket, b"\xc4")
    assert counter.desk.hand(ticket, b"\x01")
    assert b"".join(counter.connection.data_to_send()) == b"\xc4\x01"
    error = encode({"code": 200031, "ex": ""})
    counter.connection.receive_data(encode_answer(error, ticket.quest_id, status=1), now=1)
    counter.desk.collect(now=1)
    assert not counter.desk.hand(ticket, b"x")
    with pytest.raises(QuestRefused):
        ticket.result()


def test_leaving_in_the_middle_of_a_body_is_the_end() -> None:
    counter = Counter()
    other, bell = counter.ask()
    ticket = counter.desk.begin("sendfile", b"\x81", 6, deadline=None)
    counter.desk.leave(ticket)
    counter.desk.collect(now=1)
    assert counter.connection.finished and counter.connection.abrupt
    assert (other.done, bell.rung, ticket.done) == (True, 1, False)


# --- pushes ----------------------------------------------------------------------------------


def test_a_push_is_answered_and_waits() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    inbox.bell = bell = Bell()
    file = message(8, mtype=40, msg='{"url":"http://h/a.png"}')
    assert counter.receive(pushed(message()), pushed(file, seq=10)) == [(9, None), (10, None)]
    assert bell.rung == 2
    first, second = drained(inbox)
    assert isinstance(first, MessageReceived) and first.msg == "hi"
    assert isinstance(second, FileReceived) and second.url == "http://h/a.png"
    assert inbox.take() is None


def test_the_gates_ping_is_answered_and_nothing_more() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    ping = encode_oneway(b"ping", EMPTY)
    assert counter.receive(encode_quest(b"ping", EMPTY, 3), ping) == [(3, None)]
    assert (drained(inbox), counter.desk.dropped) == ([], 0)


def test_a_push_that_cannot_be_read_is_refused() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    broken = {"to": UID, "mtype": 30}
    assert counter.receive(
        pushed(broken), pushed({**broken, "from": "5"}), pushed({}, "kickoutroom")
    ) == [(9, Code.KEY_NOT_FOUND), (9, Code.TYPE_CONVERSION), (9, Code.KEY_NOT_FOUND)]
    assert drained(inbox) == []


@pytest.mark.parametrize("method", [b"pushmsg", b"kickoutroom"])
def test_a_oneway_push_that_cannot_be_read_is_dropped(method: bytes) -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    assert counter.receive(encode_oneway(method, EMPTY)) == []
    assert (drained(inbox), counter.desk.dropped) == ([], 1)
    assert counter.connection.open


def test_oneway_pushes_are_taken_like_others() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    counter.receive(
        encode_oneway(b"pushmsg", encode(message())),
        encode_oneway(b"kickoutroom", encode({"rid": 5})),
        encode_oneway(b"pushnews", encode({"a": 1})),
    )
    received, room, unknown = drained(inbox)
    assert isinstance(received, MessageReceived)
    assert (room, unknown) == (KickedOutOfRoom(5), UnknownPush("pushnews", {"a": 1}))
    assert counter.desk.dropped == 0


@pytest.mark.parametrize("method", ["pushnews", "*unknown", "auth", "constructor"])
def test_an_unknown_push_is_refused_and_told(method: str) -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    assert counter.receive(pushed({"a": 1}, method)) == [(9, Code.UNKNOWN_METHOD)]
    assert drained(inbox) == [UnknownPush(method, {"a": 1})]


def test_a_file_link_takes_no_pushes() -> None:
    counter = Counter()
    ping = encode_quest(b"ping", EMPTY, 3)
    answers = counter.receive(ping, pushed(message()), pushed({}, "kickout"))
    assert answers == [(3, None), (9, Code.UNKNOWN_METHOD), (9, Code.UNKNOWN_METHOD)]
    counter.receive(encode_oneway(b"kickout", EMPTY), encode_oneway(b"ping", EMPTY))
    assert counter.desk.dropped == 1
    counter.connection.abort(LOCAL)
    counter.desk.collect(now=1)
    assert counter.connection.finished


@pytest.mark.parametrize("oneway", [True, False])
def test_a_kickout_closes_and_is_told_in_order(oneway: bool) -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    kickout = encode_oneway(b"kickout", EMPTY) if oneway else encode_quest(b"kickout", EMPTY, 3)
    answers = counter.receive(pushed(message()), kickout)
    assert answers == ([(9, None)] if oneway else [(9, None), (3, None)])
    assert counter.connection.reason == KICKOUT
    received, kicked, end = drained(inbox)
    assert isinstance(received, MessageReceived)
    assert (kicked, end) == (KickedOut(), Disconnected(KICKOUT))


def test_a_kickout_waits_for_the_answers_under_way() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    answered, _ = counter.ask()
    counter.receive(encode_oneway(b"kickout", EMPTY), encode_oneway(b"kickout", EMPTY))
    assert not counter.connection.finished
    with pytest.raises(ConnectionLost) as caught:
        counter.ask("too late")
    assert caught.value.reason == KICKOUT
    counter.receive(encode_answer(EMPTY, answered.quest_id))
    assert answered.result() == {}
    assert drained(inbox) == [KickedOut(), Disconnected(KICKOUT)]


def test_a_gate_that_kicks_and_leaves_at_once_is_still_told_as_a_kickout() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    counter.connection.receive_data(encode_oneway(b"kickout", EMPTY), now=1)
    counter.connection.receive_eof(now=1)
    counter.desk.collect(now=1)
    assert drained(inbox) == [KickedOut(), Disconnected(KICKOUT)]
    with pytest.raises(ConnectionLost) as caught:
        counter.desk.ask("whatever", {}, deadline=None)
    assert caught.value.reason == KICKOUT


# --- logging in again ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "lost"),
    [(kind, kind not in (CloseKind.LOCAL, CloseKind.KICKOUT)) for kind in CloseKind],
)
def test_what_is_worth_logging_in_again(kind: CloseKind, lost: bool) -> None:
    for relogin in (True, False):
        inbox = Inbox(UID)
        counter = Counter(inbox, relogin=relogin)
        assert not counter.desk.lost
        counter.connection.abort(CloseReason(kind, "so"))
        counter.desk.collect(now=1)
        assert counter.desk.lost is (lost and relogin)
        assert drained(inbox) == [Disconnected(CloseReason(kind, "so"), again=lost and relogin)]


def test_who_is_kicked_out_does_not_log_in_again() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox, relogin=True)
    counter.receive(encode_oneway(b"kickout", EMPTY))
    assert drained(inbox) == [KickedOut(), Disconnected(KICKOUT)]
    assert not counter.desk.lost and inbox.over


def test_it_is_told_once_that_the_link_is_gone_and_once_that_it_is_back() -> None:
    inbox = Inbox(UID)
    gone, end = Disconnected(LOCAL, again=True), Disconnected(LOCAL)
    for event in (gone, gone, Reconnected(), gone, gone, end):
        inbox.put(event)
    told: list[ClientEvent] = []
    while (taken := inbox.take()) is not None:
        told.append(taken)
        assert inbox.over == (taken == end)
    assert told == [gone, Reconnected(), gone, end]


def test_of_what_is_never_lost_the_last_of_a_kind_waits() -> None:
    inbox = Inbox(UID, limit=1)
    gone = Disconnected(LOCAL, again=True)
    for event in (KickedOutOfRoom(1), KickedOutOfRoom(2), gone, Reconnected(), gone, Reconnected()):
        inbox.put(event)
    assert drained(inbox) == [KickedOutOfRoom(1), EventsLost(1), gone, Reconnected()]


# --- the inbox -------------------------------------------------------------------------------


def test_a_repeat_is_answered_and_not_told_again() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    for _ in range(3):
        assert counter.receive(pushed(message())) == [(9, None)]
    assert (len(drained(inbox)), inbox.duplicates) == (1, 2)


def test_as_many_pushes_as_one_read_brings_are_taken() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    pushes = [pushed(message(mid), seq=mid) for mid in range(1, 901)]
    assert counter.receive(*pushes) == [(mid, None) for mid in range(1, 901)]
    assert len(drained(inbox)) == 900


def test_a_repeat_after_a_reconnect_is_a_repeat() -> None:
    inbox = Inbox(UID)
    Counter(inbox).receive(pushed(message()))
    Counter(inbox).receive(pushed(message()))
    assert (len(drained(inbox)), inbox.duplicates) == (1, 1)


def test_what_makes_a_repeat() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    counter.receive(
        pushed(message(7)),
        pushed(message(8)),
        pushed(message(7, sender=6)),
        pushed({**message(7), "to": 3}),
        pushed({**message(7), "gid": 3}, "pushgroupmsg"),
        pushed({**message(7), "gid": 4}, "pushgroupmsg"),
        pushed({**message(7), "rid": 3}, "pushroommsg"),
        pushed(message(7), "pushbroadcastmsg"),
        pushed(message(0)),
        pushed(message(0)),
        pushed({"from": 5, "mtype": 30}),
        pushed({"from": 5, "mtype": 30}),
    )
    assert (len(drained(inbox)), inbox.duplicates) == (12, 0)


def test_a_repeat_counts_within_the_filters_window() -> None:
    inbox = Inbox(UID, mids=MidFilter(window=10))
    counter = Counter(inbox)
    for counter.now in (0, 10, 21):
        counter.receive(pushed(message()))
    assert (len(drained(inbox)), inbox.duplicates) == (2, 1)


def test_a_message_that_excludes_the_user_is_answered_and_dropped() -> None:
    attrs = f'{{"excludedUids":["{UID}","3"]}}'
    inbox, open_inbox = Inbox(UID), Inbox(UID, honour_excluded=False)
    for box in (inbox, open_inbox):
        counter = Counter(box)
        answers = counter.receive(pushed(message(1, attrs=attrs)), pushed(message(2)))
        assert answers == [(9, None), (9, None)]
    assert (len(drained(inbox)), inbox.excluded) == (1, 1)
    assert (len(drained(open_inbox)), open_inbox.excluded) == (2, 0)
    stranger = Inbox(5)
    stranger.push("pushmsg", message(attrs=attrs), now=0)
    assert stranger.excluded == 0


def test_an_inbox_raises_for_what_it_cannot_read() -> None:
    with pytest.raises(PayloadError):
        Inbox(UID).push("pushmsg", {}, now=0)


def test_a_slow_reader_stops_nothing_and_is_told_what_was_lost() -> None:
    inbox = Inbox(UID, limit=2)
    counter = Counter(inbox)
    answers = counter.receive(*(pushed(message(mid), seq=mid) for mid in range(1, 6)))
    assert answers == [(mid, None) for mid in range(1, 6)]
    assert mids(drained(inbox)) == [1, 2, EventsLost(3)]
    assert inbox.take() is None


def mids(events: list[ClientEvent]) -> list[object]:
    return [event.mid if isinstance(event, MessageReceived) else event for event in events]


def test_what_was_lost_is_told_where_it_is_missing() -> None:
    inbox = Inbox(UID, limit=2)
    counter = Counter(inbox)
    counter.receive(*(pushed(message(mid)) for mid in (1, 2, 3)))
    inbox.take()
    counter.receive(*(pushed(message(mid)) for mid in (4, 5)))
    assert mids(drained(inbox)) == [2, EventsLost(1), 4, EventsLost(1)]


def test_the_end_is_told_however_full_the_inbox_is() -> None:
    inbox = Inbox(UID, limit=2)
    counter = Counter(inbox)
    counter.receive(*(pushed(message(mid)) for mid in (1, 2, 3)))
    counter.receive(encode_oneway(b"kickout", EMPTY))
    assert mids(drained(inbox)) == [
        1,
        2,
        EventsLost(1),
        KickedOut(),
        Disconnected(KICKOUT),
    ]


def test_an_inbox_is_over_once_the_disconnection_was_taken() -> None:
    inbox = Inbox(UID)
    counter = Counter(inbox)
    counter.receive(pushed(message()))
    counter.connection.abort(LOCAL)
    counter.desk.collect(now=0)
    over: list[bool] = [inbox.over]
    while inbox.take() is not None:
        over.append(inbox.over)
    assert [*over, inbox.over] == [False, False, True, True]
    Counter(inbox).receive(pushed(message(8)))
    assert inbox.take() is not None and not inbox.over


def test_many_reconnects_that_nobody_reads_of_take_no_room() -> None:
    inbox = Inbox(UID, limit=2)
    for mid in range(1, 2000, 2):
        counter = Counter(inbox)
        counter.receive(pushed(message(mid)), pushed(message(mid + 1)))
        counter.connection.abort(CloseReason(CloseKind.LOCAL, f"{mid}"))
        counter.desk.collect(now=0)
    events = drained(inbox)
    assert len(events) == 4
    assert events[-1] == Disconnected(CloseReason(CloseKind.LOCAL, "1999"))
    assert isinstance(events[-2], EventsLost)


def test_the_default_limit_of_the_inbox() -> None:
    inbox = Inbox(UID)
    for _ in range(MAX_EVENTS + 5):
        inbox.put(KickedOutOfRoom(1))
    events = drained(inbox)
    assert (len(events), events[-1]) == (MAX_EVENTS + 1, EventsLost(5))
    assert MAX_EVENTS == 1000
