"""The byte stream link, and what every link has in common."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import LocalProtocolError
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.link import Buffer, Link, StreamLink
from rtm_proto.package import Package, Splitter, encode_answer, encode_quest, quest_head
from tests.feeding import check_feeding, cut_up
from tests.parts import put_together

QUEST = encode_quest(b"ping", b"\x80", 1)
ANSWER = encode_answer(b"\x80", 1)
(PING,) = Splitter().feed(QUEST)
(PONG,) = Splitter().feed(ANSWER)


def started() -> StreamLink:
    link = StreamLink()
    link.start()
    return link


def written(link: StreamLink) -> bytes:
    return b"".join(link.data_to_send())


# --- what you want said ---


def test_a_byte_stream_is_open_at_once_and_has_nothing_to_say_first() -> None:
    link = StreamLink()
    states = [link.is_open]
    link.start()
    states.append(link.is_open)
    assert states == [False, True]
    assert link.data_to_send() == []
    assert (link.ended, link.fault) == (None, None)


def test_packages_are_written_in_order_and_once() -> None:
    link = started()
    link.send_package(QUEST)
    link.send_package(ANSWER)
    assert written(link) == QUEST + ANSWER
    assert written(link) == b""


def test_a_package_may_be_sent_in_pieces() -> None:
    link = started()
    head = quest_head(b"sendfile", 10, 1)
    link.begin_package(len(head) + 10, head)
    begun = [link.in_package]
    for piece in (b"0123", memoryview(b"456"), bytearray(b"789")):
        link.send_piece(piece)
        begun.append(link.in_package)
    assert begun == [True, True, True, False]
    link.send_package(QUEST)
    assert written(link) == head + b"0123456789" + QUEST


def test_a_piece_is_written_without_being_copied() -> None:
    link = started()
    body = bytes(100_000)
    link.begin_package(100_020, bytes(20))
    link.send_piece(body)
    assert any(buffer is body for buffer in link.data_to_send())


def test_a_package_in_pieces_may_be_whole_with_its_head() -> None:
    link = started()
    link.begin_package(len(QUEST), QUEST)
    assert not link.in_package
    link.send_package(ANSWER)
    assert written(link) == QUEST + ANSWER


def test_an_empty_piece_says_nothing() -> None:
    link = started()
    link.send_piece(b"")
    link.begin_package(len(QUEST), QUEST[:-1])
    link.send_piece(b"")
    assert link.in_package
    link.send_piece(QUEST[-1:])
    link.send_piece(b"")
    assert [bytes(buffer) for buffer in link.data_to_send()] == [QUEST[:-1], QUEST[-1:]]


def test_a_link_of_ones_own_is_told_which_piece_is_the_last() -> None:
    class Noting(StreamLink):
        def __init__(self) -> None:
            super().__init__()
            self.noted: list[tuple[bytes, bool]] = []

        def _send_more(self, piece: Buffer, *, last: bool) -> None:
            self.noted.append((bytes(piece), last))

    link = Noting()
    link.start()
    for pieces in ((b"01", b"2", b"3456789"), (b"0123456789",)):
        link.begin_package(20, bytes(10))
        for piece in pieces:
            link.send_piece(piece)
    assert link.noted == [
        (b"01", False),
        (b"2", False),
        (b"3456789", True),
        (b"0123456789", True),
    ]


def test_nothing_else_is_sent_inside_a_package() -> None:
    link = started()
    link.begin_package(len(QUEST), QUEST[:10])
    missing = f"{len(QUEST) - 10} bytes are missing"
    with pytest.raises(LocalProtocolError, match=missing):
        link.send_package(ANSWER)
    with pytest.raises(LocalProtocolError, match=missing):
        link.begin_package(len(QUEST), QUEST[:10])
    link.send_piece(QUEST[10:])
    assert written(link) == QUEST


@pytest.mark.parametrize("size", [0, 4])
def test_a_piece_that_is_too_long_is_refused_and_changes_nothing(size: int) -> None:
    link = started()
    link.begin_package(10 + size, bytes(10))
    with pytest.raises(LocalProtocolError, match=f"room for {size} more bytes, got 5"):
        link.send_piece(b"12345")
    link.send_piece(b"1234"[:size])
    assert written(link) == bytes(10) + b"1234"[:size]


def test_a_head_that_is_longer_than_its_package_is_refused() -> None:
    link = started()
    with pytest.raises(LocalProtocolError, match="a package of 9 bytes cannot begin with 10"):
        link.begin_package(9, bytes(10))
    assert not link.in_package
    assert link.data_to_send() == []


def test_a_byte_stream_has_no_sign_of_life_of_its_own() -> None:
    link = started()
    assert link.ping() is False
    assert link.data_to_send() == []


def test_closing_says_nothing_and_is_the_reason_from_then_on() -> None:
    link = started()
    reason = CloseReason(CloseKind.LOCAL, "done")
    link.close(reason)
    assert link.ended == reason
    link.receive_data(QUEST, now=0.0)
    link.receive_eof()
    link.close(CloseReason(CloseKind.IDLE))
    assert link.ended == reason
    assert link.packages() == []
    assert link.data_to_send() == []


# --- what happened ---


def receiver() -> Callable[[bytes], list[Package]]:
    link = started()

    def receive(data: bytes) -> list[Package]:
        link.receive_data(data, now=0.0)
        return link.packages()

    return receive


def test_packages_arrive_however_the_bytes_do() -> None:
    check_feeding(receiver, QUEST + ANSWER, [PING, PONG], tail=QUEST[:-1])


def test_packages_are_taken_once() -> None:
    link = started()
    link.receive_data(QUEST, now=0.0)
    assert link.packages() == [PING]
    assert link.packages() == []


@pytest.mark.parametrize(
    ("received", "text"),
    [(b"", ""), (QUEST, ""), (QUEST + b"FPN", "inside a package, after 3 bytes of it")],
)
def test_the_end_of_the_stream_is_in_order_only_between_packages(
    received: bytes, text: str
) -> None:
    link = started()
    link.receive_data(received, now=0.0)
    link.receive_eof()
    assert link.ended == CloseReason(CloseKind.PEER_CLOSED, text)
    assert link.fault is None
    assert link.packages() == [PING] * bool(received)


def test_a_package_over_the_limit_ends_the_link_and_says_which_quest_it_was() -> None:
    link = StreamLink(max_package=100)
    link.start()
    link.receive_data(ANSWER + quest_head(b"sendfile", 1000, 7), now=0.0)
    assert link.packages() == [PONG]
    text = "a package of 1024 bytes is over the limit of 100"
    assert link.ended == CloseReason(CloseKind.LIMIT, text)
    assert link.fault is not None
    assert link.fault.seq == 7


def test_the_limit_can_be_raised_once_the_peer_is_known() -> None:
    link = StreamLink(max_package=20)
    link.start()
    link.set_max_package(len(QUEST))
    link.receive_data(QUEST, now=0.0)
    assert link.packages() == [PING]
    assert link.ended is None


def test_a_large_package_comes_in_parts_where_that_was_asked_for() -> None:
    large = encode_quest(b"sendfile", bytes(100), 7)
    link = started()
    link.set_max_whole(50)
    link.receive_data(QUEST + large[:40], now=0.0)
    link.receive_data(large[40:] + ANSWER, now=0.0)
    packages = link.packages()
    assert [package.part for package in packages] == [0, 1, 2, 3, 0]
    (whole,) = Splitter().feed(large)
    assert put_together(packages) == [PING, whole, PONG]


def test_the_end_of_the_stream_inside_a_package_in_parts_says_how_much_of_it_came() -> None:
    large = encode_quest(b"sendfile", bytes(100), 7)
    link = started()
    link.set_max_whole(50)
    link.receive_data(QUEST + large[:90], now=0.0)
    link.receive_eof()
    assert [package.left for package in link.packages()] == [0, 100, 34]
    assert link.ended == CloseReason(
        CloseKind.PEER_CLOSED, "inside a package, after 90 bytes of it"
    )


def test_a_stream_that_cannot_be_followed_ends_the_link_after_its_good_packages() -> None:
    link = started()
    link.receive_data(QUEST + b"HTTP/1.1 400", now=0.0)
    link.receive_data(QUEST, now=0.0)
    link.receive_eof()
    assert link.packages() == [PING]
    assert link.ended is not None
    assert link.ended.kind is CloseKind.PROTOCOL_ERROR
    assert str(link.ended) == "protocol error: a package begins with 46 50 4e 4e, got 48"
    assert str(link.fault) == link.ended.text


@given(st.lists(st.sampled_from([QUEST, ANSWER]), max_size=5), st.binary(max_size=8), st.data())
def test_how_the_bytes_are_cut_does_not_matter(
    packages: list[bytes], tail: bytes, choices: st.DataObject
) -> None:
    stream = b"".join(packages) + tail
    whole, cut = started(), started()
    whole.receive_data(stream, now=0.0)
    for piece in choices.draw(cut_up(stream)):
        cut.receive_data(piece, now=0.0)
    for link in (whole, cut):
        link.receive_eof()
    assert whole.packages() == cut.packages()
    assert whole.ended == cut.ended


def test_a_link_of_ones_own_may_end_without_words() -> None:
    class Curt(StreamLink):
        def receive_eof(self) -> None:
            self._end(CloseKind.PEER_CLOSED)

    link = Curt()
    link.start()
    link.receive_eof()
    assert link.ended == CloseReason(CloseKind.PEER_CLOSED, "")


def test_a_link_of_ones_own_needs_no_limits() -> None:
    """What a link may leave out does nothing."""

    class Bare(StreamLink):
        set_max_package = Link.set_max_package
        set_max_whole = Link.set_max_whole

    link = Bare(max_package=100)
    link.start()
    link.set_max_package(10)
    link.set_max_whole(10)
    link.receive_data(QUEST, now=0.0)
    assert link.packages() == [PING]
