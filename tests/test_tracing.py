"""The link that tells a hook what passes: it is a link, and it tells everything once."""

from __future__ import annotations

import pytest

from rtm_proto.errors import LocalProtocolError
from rtm_proto.link import StreamLink
from rtm_proto.package import MAX_PACKAGE, Package, encode_answer, encode_quest, quest_head
from rtm_proto.payload import EMPTY
from rtm_proto.testing.links import check_link
from rtm_proto.tracing import WHOLE_TO, TracedLink
from rtm_proto.websocket import WebSocketLink

Told = list[tuple[str, Package]]


def traced() -> tuple[TracedLink, Told]:
    told: Told = []
    link = TracedLink(StreamLink(), lambda way, package: told.append((way, package)))
    link.start()
    return link, told


def test_it_is_a_link_as_the_one_inside() -> None:
    def silent(way: str, package: Package) -> None:
        assert way in ("in", "out") and package.size >= 12

    def pair() -> tuple[TracedLink, TracedLink]:
        client = WebSocketLink.client("gate.test", nonce=bytes(16), mask_key=lambda: b"\1\2\3\4")
        return TracedLink(client, silent), TracedLink(WebSocketLink.server(), silent)

    check_link(pair)
    check_link(lambda: (TracedLink(StreamLink(), silent), TracedLink(StreamLink(), silent)))


def test_every_package_is_told_once_and_in_order() -> None:
    link, told = traced()
    quest, answer = encode_quest(b"hello", EMPTY, 5), encode_answer(EMPTY, 5)
    link.send_package(quest)
    link.receive_data(answer[:5], now=0)
    link.receive_data(answer[5:] + answer, now=0)
    assert [way for way, _ in told] == ["out"]
    assert len(link.packages()) == 2 and link.packages() == []
    assert [way for way, _ in told] == ["out", "in", "in"]
    sent, came, _ = (package for _, package in told)
    assert (sent.method, sent.seq, sent.payload) == (b"hello", 5, EMPTY)
    assert (came.seq, came.payload) == (5, EMPTY)


def test_a_large_package_is_told_in_parts() -> None:
    link, told = traced()
    body = bytes(2 * WHOLE_TO)
    head = quest_head(b"sendfile", len(body), 7)
    link.begin_package(len(head) + len(body), head)
    link.send_piece(body[:WHOLE_TO])
    assert link.in_package is True
    with pytest.raises(LocalProtocolError):
        link.send_package(head)
    link.send_piece(body[WHOLE_TO:])
    assert [link.in_package] == [False]
    assert [(package.part, len(package.payload), package.left) for _, package in told] == [
        (1, 0, 2 * WHOLE_TO),
        (2, WHOLE_TO, WHOLE_TO),
        (3, WHOLE_TO, 0),
    ]
    assert b"".join(bytes(data) for data in link.data_to_send()) == head + body


@pytest.mark.parametrize(("size", "parts"), [(65_536, [0]), (65_537, [1, 2])])
def test_a_package_of_64_kib_is_told_whole_and_a_larger_one_is_not(
    size: int, parts: list[int]
) -> None:
    link, told = traced()
    package = encode_quest(b"hello", bytes(size - 21), 5)
    assert len(package) == size
    link.send_package(package)
    assert [package.part for _, package in told] == parts


def test_it_may_be_put_around_a_link_that_has_begun_or_has_ended() -> None:
    def silent(way: str, package: Package) -> None:
        raise AssertionError("nothing was sent")

    inside = StreamLink()
    inside.start()
    assert TracedLink(inside, silent).is_open
    inside.receive_data(b"HTTP", now=0)
    link = TracedLink(inside, silent)
    assert (link.ended, link.fault) == (inside.ended, inside.fault) != (None, None)


def test_what_the_peer_sends_has_the_limits_of_the_link_inside() -> None:
    link, told = traced()
    link.set_max_whole(10)
    link.receive_data(encode_quest(b"hello", EMPTY, 5), now=0)
    assert [package.part for package in link.packages()] == [1, 2]
    link.set_max_package(20)
    link.receive_data(encode_quest(b"hello", bytes(100), 5), now=0)
    assert link.fault is not None and link.ended is not None and link.packages() == []
    assert len(told) == 2 and MAX_PACKAGE > WHOLE_TO
