"""The front of the gate: what first bytes decide, and that none of them can hurt it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.gate.front import (
    MAX_HEAD,
    METHODS,
    Decision,
    Fetch,
    Front,
    Left,
    Raw,
    Rejected,
    Upgrade,
)
from rtm_proto.gate.http import preflight_response
from rtm_proto.websocket import WebSocketLink
from tests.feeding import cut_up, ways

KEY = "0123456789abcdef"
UPGRADE = (
    b"GET /service/websocket HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


def decide(*pieces: bytes) -> Decision | None:
    front = Front()
    for piece in pieces:
        front.receive_data(piece)
    return front.decision


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: gate", *headers, "", ""]).encode("latin-1")


# --- no HTTP ---


@pytest.mark.parametrize(
    "data",
    [
        b"F",
        b"FPNN\x01\x80\x01\x05",
        b"get / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        b"GETX",
        b"PR",
        b"PROPFIND / HTTP/1.1\r\n\r\n",
        b"\x00",
        b"\xff" * 100_000,
    ],
)
def test_what_begins_with_no_http_method_is_handed_on_whole(data: bytes) -> None:
    assert decide(data) == Raw(data)


def test_the_method_may_come_byte_by_byte() -> None:
    front = Front()
    for byte in (b"", b"P", b"", b"A", b"T"):
        front.receive_data(byte)
        assert front.decision is None
    front.receive_data(b"X")
    assert front.decision == Raw(b"PATX")


# --- WebSocket ---


def test_an_upgrade_takes_the_bytes_behind_it_along() -> None:
    tail = b"\x82\x80abcd"
    decision = decide(UPGRADE + tail)
    assert isinstance(decision, Upgrade)
    assert decision.trailing == tail
    assert (b"upgrade", b"websocket") in decision.request.headers


def test_an_upgrade_decision_is_what_a_websocket_link_takes() -> None:
    for pieces in ways(UPGRADE):
        decision = decide(*pieces)
        assert isinstance(decision, Upgrade)
        assert decision.trailing == b""
        link = WebSocketLink.upgraded(decision.request, decision.trailing)
        link.start()
        assert link.is_open
        assert b"".join(link.data_to_send()).startswith(b"HTTP/1.1 101 ")


def test_the_upgrade_is_found_among_others_in_any_case() -> None:
    data = head("GET / HTTP/1.1", "Upgrade: h2c,", "UPGRADE: foo/2 , WebSocket")
    assert isinstance(decide(data), Upgrade)
    data = head("GET / HTTP/1.1", "Upgrade: websocket", "Upgrade: h2c")
    assert isinstance(decide(data), Upgrade)


def test_what_comes_behind_an_upgrade_is_no_part_of_its_head() -> None:
    tail = b"\r\nContent-Length: 1\r\nContent-Length: 2\r\n"
    decision = decide(UPGRADE + tail)
    assert isinstance(decision, Upgrade)
    assert decision.trailing == tail


def test_a_plain_get_where_websockets_are_taken_is_answered_there() -> None:
    decision = decide(head("GET /service/websocket?a=b HTTP/1.1"))
    assert isinstance(decision, Upgrade)
    link = WebSocketLink.upgraded(decision.request, decision.trailing)
    link.start()
    assert b"".join(link.data_to_send()).startswith(b"HTTP/1.1 426 ")


# --- files ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_other_gets_and_heads_are_for_files(method: str, version: str) -> None:
    data = head(f"{method} /files/{KEY}/a%20b.txt HTTP/{version}", "Content-Length: 0")
    for pieces in [*ways(data), *ways(data + b"GET / HTTP/1.1\r\n\r\n")]:
        decision = decide(*pieces)
        assert isinstance(decision, Fetch)
        assert decision.exchange.path == f"/files/{KEY}/a b.txt"
        assert decision.exchange.key == KEY


def test_what_comes_behind_a_request_is_handed_on() -> None:
    data = head(f"GET /files/{KEY} HTTP/1.1")
    decision = decide(data + data[:10])
    assert isinstance(decision, Fetch)
    assert decision.trailing == data[:10]
    decision = decide(*(data[i : i + 1] for i in range(len(data))))
    assert isinstance(decision, Fetch)
    assert decision.trailing == b""


@pytest.mark.parametrize("origin", ["*", "https://app.example", None])
def test_whose_pages_may_read_is_told_to_who_asks(origin: str | None) -> None:
    front = Front(allow_origin=origin)
    front.receive_data(
        head(f"OPTIONS /files/{KEY} HTTP/1.1", "Origin: https://a", "Content-Length: 9")
    )
    assert front.decision == Rejected(preflight_response(origin), "204: a question")
    front = Front(allow_origin=origin)
    front.receive_data(head(f"GET /files/{KEY} HTTP/1.1"))
    assert isinstance(front.decision, Fetch)
    front.decision.exchange.not_found()
    said = b"".join(map(bytes, front.decision.exchange.data_to_send()))
    assert (b"Access-Control-Allow-Origin: %b" % (origin or "").encode() in said) is bool(origin)


def test_another_upgrade_is_not_taken_and_the_file_served() -> None:
    decision = decide(head(f"GET /files/{KEY} HTTP/1.1", "Upgrade: h2c", "Connection: upgrade"))
    assert isinstance(decision, Fetch)
    decision.exchange.found(size=2, etag="x", name="a", mtype=50)
    decision.exchange.provide(b"ok")
    said = b"".join(decision.exchange.data_to_send())
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\nok")


def test_a_head_request_with_an_upgrade_is_no_websocket() -> None:
    assert isinstance(decide(head("HEAD / HTTP/1.1", "Upgrade: websocket")), Fetch)


def test_a_head_just_within_the_limit_is_read() -> None:
    data = head("GET / HTTP/1.1", "A: ")
    full = data[:-4] + b"x" * (MAX_HEAD - len(data)) + data[-4:]
    assert len(full) == MAX_HEAD == 16 * 1024
    for pieces in ways(full + b"tail"):
        assert isinstance(decide(*pieces), Fetch)


# --- refusals ---

LONG = "x" * MAX_HEAD

REFUSED = [
    # smuggling
    (b"GET / HTTP/1.1\nHost: gate\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: gate\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: gate\r\nA: b\rc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\r\nHost: gate\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: gate\r\nA: b\r\n c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: gate\r\nA: b\r\n\tc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n A: b\r\nHost: gate\r\n\r\n", 400),
    (head("GET / HTTP/1.1", "A: b\x00c"), 400),
    (head("GET / HTTP/1.1", "A: b\x01c"), 400),
    (head("GET / HTTP/1.1", "A: b\x0bc"), 400),
    (head("GET / HTTP/1.1", "A: b\x7fc"), 400),
    (head("GET / HTTP/1.1", "A : b"), 400),
    (head("GET / HTTP/1.1", ": b"), 400),
    (head("GET / HTTP/1.1", "no colon"), 400),
    (head("GET / HTTP/1.1", "Host: other"), 400),
    (head("GET / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"), 400),
    (head("GET / HTTP/1.1", "Content-Length: 0", "Content-Length: 0"), 400),
    (head("GET / HTTP/1.1", "content-length: 0", "CONTENT-LENGTH: 0"), 400),
    (head("GET / HTTP/1.1", "Content-Length: 0, 0"), 400),
    (head("GET / HTTP/1.1", "Content-Length: -1"), 400),
    (head("GET / HTTP/1.1", "Content-Length: +1"), 400),
    (head("GET / HTTP/1.1", "Content-Length: 0x1"), 400),
    (head("GET / HTTP/1.1", "Content-Length: " + "9" * 21), 400),
    (head("GET / HTTP/1.1", "Content-Length: 0", "Transfer-Encoding: chunked"), 400),
    (head("POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    # no HTTP that can be read
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1 \r\nHost: gate\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: gate\r\n\r\n", 400),
    (b"GET /\r\nHost: gate\r\n\r\n", 400),
    (b"GET / HTTP/11\r\nHost: gate\r\n\r\n", 400),
    (b"GET /\xff HTTP/1.1\r\nHost: gate\r\n\r\n", 400),
    (b"GET \r\n\r\n", 400),
    # what is not served
    (head("GET / HTTP/2.0"), 505),
    (head("GET / HTTP/0.9"), 505),
    *(
        (head(f"{method} / HTTP/1.1"), 405)
        for method in ("POST", "PUT", "DELETE", "CONNECT", "TRACE", "PATCH")
    ),
    (head("POST /service/x HTTP/1.1", "Content-Length: 5"), 405),
    (head("GET / HTTP/1.1", "Transfer-Encoding: chunked"), 501),
    (head("GET / HTTP/1.1", "Transfer-Encoding: gzip"), 501),
    (head("GET / HTTP/1.1", "Transfer-Encoding: gzip, chunked"), 501),
    (head("GET / HTTP/1.1", "Content-Length: 1"), 413),
    (head("GET / HTTP/1.1", "Content-Length: 99999999999999999999"), 413),
    (head("GET / HTTP/1.1", "Upgrade: websocket", "Content-Length: 1"), 413),
    (head("HEAD / HTTP/1.1", "Content-Length: 1", "Expect: 100-continue"), 413),
    # too large
    (f"GET /{LONG}".encode(), 414),
    (f"HEAD /{LONG} HTTP/1.1\r\n\r\n".encode(), 414),
    (head("GET / HTTP/1.1", f"A: {LONG}"), 431),
    (head("GET / HTTP/1.1", *["A:"] * MAX_HEAD), 431),
]


@pytest.mark.parametrize(("data", "status"), REFUSED)
def test_what_is_refused_gets_one_short_whole_answer(data: bytes, status: int) -> None:
    expected = decide(data)
    assert isinstance(expected, Rejected)
    assert expected.data.startswith(b"HTTP/1.1 %d " % status)
    assert expected.text.startswith(f"{status}: ")
    lines, _, body = expected.data.partition(b"\r\n\r\n")
    assert b"Connection: close" in lines.split(b"\r\n")
    assert (b"Allow: GET, HEAD, OPTIONS" in lines.split(b"\r\n")) == (status == 405)
    told = len(expected.text) - len(f"{status}: ") + 1
    assert b"Content-Length: %d" % told in lines.split(b"\r\n")
    assert len(body) == (0 if data.startswith(b"HEAD ") else told)
    for pieces in [*ways(data), *ways(data + b"GET / HTTP/1.1\r\n\r\n")]:
        assert decide(*pieces) == expected


def test_a_refusal_never_quotes_the_file_that_was_asked_for() -> None:
    decision = decide(head(f"GET /files/{KEY} HTTP/one", f"{KEY} : x"))
    assert isinstance(decision, Rejected)
    assert KEY not in decision.text
    assert KEY.encode() not in decision.data
    decision = decide(head("GET / HTTP/1.1", f"{KEY} : bytearray"))
    assert isinstance(decision, Rejected)
    assert decision.text == "400: illegal header line"


def test_a_refusal_says_where_the_fault_is() -> None:
    for fault, at in ((b"b\rc", 35), (b"b\nc", 35), (b"\x00", 34), (b"b\r\n c", 36)):
        decision = decide(b"GET / HTTP/1.1\r\nHost: gatehouse\r\n:" + fault + b"\r\n\r\n")
        assert isinstance(decision, Rejected)
        assert decision.text == f"400: a line end, fold or control character at byte {at}"


# --- the end, and after the end ---


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "left without a word"),
        (b"GE", "left inside the request, after 2 bytes of it"),
        (b"GET / HTTP/1.1\r\n", "left inside the request, after 16 bytes of it"),
    ],
)
def test_who_leaves_early_has_left(data: bytes, text: str) -> None:
    front = Front()
    front.receive_data(data)
    assert front.decision is None
    front.receive_eof()
    assert front.decision == Left(text)


@pytest.mark.parametrize("data", [b"FPNN", UPGRADE, head("GET / HTTP/1.1"), b"GET \n"])
def test_a_decision_never_changes(data: bytes) -> None:
    front = Front()
    front.receive_data(data)
    decision = front.decision
    assert decision is not None
    front.receive_data(b"more")
    front.receive_eof()
    assert front.decision is decision


# --- properties ---

LINES = st.sampled_from(
    [b"Host: gate\r\n", b"\r\n", b"\n", b"\r", b" ", b":", b"Upgrade: websocket\r\n", b"A: b"]
)


def request(method: bytes, parts: list[bytes]) -> bytes:
    return method + b"/ HTTP/1.1\r\n" + b"".join(parts)


REQUESTS = st.builds(
    request, st.sampled_from(METHODS), st.lists(LINES | st.binary(max_size=20), max_size=12)
)


def summary(decision: Decision | None) -> object:
    """What a decision says, without the bytes that depend on when it was made."""
    match decision:
        case Raw() | Upgrade():
            return type(decision)
        case Fetch(exchange):
            return exchange.path
        case _:
            return decision


@given(st.data(), st.binary(max_size=100) | REQUESTS)
def test_no_bytes_are_raised_for_and_how_they_are_cut_does_not_matter(
    draw: st.DataObject, data: bytes
) -> None:
    whole = Front()
    whole.receive_data(data)
    cut = Front()
    for piece in draw.draw(cut_up(data)):
        cut.receive_data(piece)
    assert summary(cut.decision) == summary(whole.decision)
    whole.receive_eof()
    cut.receive_eof()
    assert whole.decision is not None
    assert summary(cut.decision) == summary(whole.decision)
