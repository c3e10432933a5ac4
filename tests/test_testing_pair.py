"""The pair: what moves, what is held, what breaks, and how time passes."""

from __future__ import annotations

from functools import partial

import pytest

from rtm_proto.connection import Connection
from rtm_proto.events import (
    Answered,
    Closed,
    CloseKind,
    CloseReason,
    Opened,
    QuestReceived,
    TimedOut,
)
from rtm_proto.link import StreamLink
from rtm_proto.package import encode_quest
from rtm_proto.payload import EMPTY
from rtm_proto.testing.pair import (
    Cutter,
    Pair,
    byte_by_byte,
    packages_in,
    websocket_connections,
    whole,
)


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize("websocket", [False, True])
def test_a_quest_goes_there_and_its_answer_comes_back(cut: Cutter, websocket: bool) -> None:
    pair = Pair(*(websocket_connections() if websocket else ()), cut=cut)
    pair.open()
    quest_id = pair.client.connection.send_quest("hello", {"a": 1}, deadline=pair.now + 5)
    pair.pump()
    (event,) = pair.server.take()
    assert event == QuestReceived(1, "hello", {"a": 1})
    pair.server.connection.answer(1, {"b": 2})
    pair.pump()
    assert pair.client.take() == [Answered(quest_id, {"b": 2})]
    assert pair.client.take() == []
    assert isinstance(pair.client.events[0], Opened)


def test_time_passes_timer_by_timer() -> None:
    pair = Pair(now=50.0)
    pair.open()
    for wait in (3, 1, 2):
        pair.client.connection.send_quest("hello", {}, deadline=pair.now + wait)
    pair.advance(2.5)
    assert pair.now == 52.5
    assert pair.client.take() == [TimedOut(2), TimedOut(3)]
    assert pair.next_timeout() == 53.0


def test_a_peer_that_is_held_takes_nothing_until_it_is_let_go() -> None:
    pair = Pair()
    pair.open()
    pair.client.held = True
    pair.client.connection.send_oneway("hello", {})
    pair.pump()
    assert (pair.server.take(), bytes(pair.client.written)) == ([], b"")
    pair.client.held = False
    pair.pump()
    assert len(pair.server.take()) == len(packages_in(pair.client.written)) == 1


def test_nobody_notices_a_broken_wire_but_by_its_silence() -> None:
    pair = Pair()
    pair.open()
    pair.break_wire()
    pair.client.connection.send_oneway("hello", {})
    pair.pump()
    assert pair.server.take() == []
    pair.advance(100)
    for peer in pair.peers:
        (event,) = peer.take()
        assert isinstance(event, Closed) and event.reason.kind is CloseKind.IDLE


@pytest.mark.parametrize("abrupt", [False, True])
def test_who_ends_is_followed_by_an_end_or_a_reset(abrupt: bool) -> None:
    pair = Pair()
    pair.open()
    if abrupt:
        pair.client.connection.abort(CloseReason(CloseKind.LOCAL))
    else:
        pair.client.connection.close(now=pair.now)
    pair.pump()
    kind = CloseKind.PEER_RESET if abrupt else CloseKind.PEER_CLOSED
    (event,) = pair.server.take()
    assert isinstance(event, Closed) and event.reason.kind is kind


def test_a_pair_that_cannot_open_says_so() -> None:
    client, _ = websocket_connections()
    with pytest.raises(AssertionError, match="not open: <Connection"):
        Pair(client, Connection(StreamLink())).open()


@pytest.mark.parametrize("tail", [b"FPN", b"GET /"])
def test_bytes_that_are_not_whole_packages_are_told(tail: bytes) -> None:
    check = partial(packages_in, encode_quest(b"m", EMPTY, 1) + tail)
    with pytest.raises(AssertionError, match="not whole packages"):
        check()
