"""The HTTP heads of a WebSocket handshake, both roles."""

from __future__ import annotations

from base64 import b64decode

import h11
import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import LocalProtocolError, RemoteFault
from rtm_proto.upgrade import (
    MAX_HEAD,
    ClientUpgrade,
    HandshakeRefused,
    ServerUpgrade,
    accept_response,
    accept_token,
    check_upgrade,
    is_service_path,
    refuse_response,
)
from tests.raw_frames import cuts, load_vectors

NONCE = b64decode("dGhlIHNhbXBsZSBub25jZQ==")  # RFC 6455, section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

REQUEST = (
    b"GET /service/websocket HTTP/1.1\r\n"
    b"Host: gate.example:13321\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"\r\n"
)
TAIL = b"\x82\x01a"


def vector(name: str) -> bytes:
    (case,) = (case for case in load_vectors("fpnn.json") if case["name"] == name)
    return bytes.fromhex(case["hex"])


def client(subprotocol: str | None = None) -> ClientUpgrade:
    return ClientUpgrade("gate.example:13321", "/service/websocket", NONCE, subprotocol=subprotocol)


def serve(data: bytes) -> tuple[bytes, bytes | None]:
    """What a server answers, and the bytes that it found behind the request."""
    upgrade = ServerUpgrade()
    try:
        behind = upgrade.receive_data(data)
    except HandshakeRefused as refusal:
        return refuse_response(refusal), None
    assert behind is not None
    return accept_response(upgrade.headers), behind


# --- the paths ---


@pytest.mark.parametrize(
    "target",
    [
        "/service/websocket",
        "/service/anything",
        "//service///websocket//",
        "/service/websocket?a=b&c=d",
        "/service/websocket?a/b/c",
    ],
)
def test_a_service_path(target: str) -> None:
    assert is_service_path(target)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "service/websocket",
        "/service",
        "/service/",
        "/service/a/b",
        "/Service/websocket",
        "/a/service",
        "*",
    ],
)
def test_no_service_path(target: str) -> None:
    assert not is_service_path(target)


# --- the server ---


def test_the_accept_token_is_the_rfcs() -> None:
    assert accept_token(b"dGhlIHNhbXBsZSBub25jZQ==") == ACCEPT


@pytest.mark.parametrize("tail", [b"", TAIL])
def test_a_request_is_accepted_however_it_is_cut(tail: bytes) -> None:
    for chunks in cuts(REQUEST):
        upgrade = ServerUpgrade()
        for chunk in chunks[:-1]:
            assert upgrade.receive_data(chunk) is None
        assert upgrade.receive_data(chunks[-1] + tail) == tail
        assert accept_response(upgrade.headers) == RESPONSE


def test_the_frameworks_own_request_is_accepted() -> None:
    data = vector("ws_handshake_c2s")
    if b"Host" not in data:  # h11 wants a Host, as HTTP/1.1 does
        data = data.replace(b"\r\n", b"\r\nHost: gate\r\n", 1)
    answer, behind = serve(data)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert behind == b""


def test_names_and_tokens_are_taken_in_any_case() -> None:
    data = (
        b"GET /service/websocket?v=1 HTTP/1.1\r\n"
        b"host: x\r\n"
        b"UPGRADE: h2c, WebSocket\r\n"
        b"connection: keep-alive\r\n"
        b"connection: upgrade\r\n"
        b"content-length: 0\r\n"
        b"SEC-WEBSOCKET-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"sec-websocket-version: 13\r\n"
        b"sec-websocket-extensions: permessage-deflate\r\n"
        b"sec-websocket-protocol: first, second\r\n\r\n"
    )
    lines = (b"connection: keep-alive\r\n", b"connection: upgrade\r\n")
    assert b"".join(lines) in data
    for asked in (data, data.replace(b"".join(lines), b"".join(reversed(lines)))):
        answer, _ = serve(asked)
        assert answer == RESPONSE[:-2] + b"Sec-WebSocket-Protocol: first\r\n\r\n"


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ((b"/service/websocket", b"/elsewhere"), 404, "no WebSocket"),
        ((b"GET", b"POST"), 400, "GET, got POST"),
        ((b"HTTP/1.1", b"HTTP/1.0"), 400, "HTTP/1.1"),
        ((b"Upgrade: websocket\r\n", b""), 426, "Upgrade is missing"),
        ((b"Upgrade: websocket", b"Upgrade: h2c"), 426, "Upgrade is missing"),
        ((b"Connection: Upgrade", b"Connection: close"), 400, "Connection must"),
        ((b"Sec-WebSocket-Version: 13\r\n", b""), 400, "Sec-WebSocket-Version is missing"),
        ((b"Version: 13", b"Version: 8"), 426, "must be 13"),
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), 400, "Key must"),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="), 400, "Key must"),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"!"), 400, "Key must"),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl!IHNhbXBsZSBub25jZQ=="), 400, "Key must"),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"\xe9"), 400, "Key must"),
        ((b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"), 400, "no body"),
        ((b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, "no body"),
        ((b"Host: gate.example:13321\r\n", b""), 400, "Host"),
        ((b"Host: gate", b"Host; gate"), 400, ""),
        ((b"GET /service/websocket HTTP/1.1", b"FPNN\x01\x80\x01\x04"), 400, ""),
        ((b"\r\n\r\n", b"\r\nTransfer-Encoding: gzip\r\n\r\n"), 501, ""),
    ],
)
def test_a_request_is_refused(change: tuple[bytes, bytes], status: int, said: str) -> None:
    answer, behind = serve(REQUEST.replace(*change))
    assert behind is None
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.receive_data(answer)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = client.next_event()
    assert isinstance(body, h11.Data)
    assert isinstance(client.next_event(), h11.EndOfMessage)
    assert response.status_code == status
    assert said in body.data.decode()
    headers = dict(response.headers)
    assert headers[b"connection"] == b"close"
    if status == 426:
        assert headers[b"sec-websocket-version"] == b"13"
        assert headers[b"upgrade"] == b"websocket"


def test_a_head_over_the_limit_is_refused_however_it_is_cut() -> None:
    filler = b"X-Filler: " + b"x" * (MAX_HEAD - len(REQUEST) - 12) + b"\r\n"
    fits = REQUEST[:-2] + filler + b"\r\n"
    assert len(fits) == MAX_HEAD
    assert serve(fits + TAIL)[1] == TAIL
    over = REQUEST[:-2] + b"x" + filler + b"\r\n"
    assert ServerUpgrade().receive_data(over[:-1]) is None
    for chunks in ([over], [over[:9_000], over[9_000:]], [over[:-1], over[-1:]]):
        upgrade = ServerUpgrade()
        with pytest.raises(HandshakeRefused, match="16384 bytes") as caught:
            for chunk in chunks:
                upgrade.receive_data(chunk)
        assert caught.value.status == 431


@pytest.mark.parametrize("request_", [b" GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"\x00\r\n\r\n"])
def test_what_is_said_of_a_bad_request_does_not_hang_on_the_cuts(request_: bytes) -> None:
    said: set[tuple[int | None, str]] = set()
    for chunks in cuts(request_):
        upgrade = ServerUpgrade()
        with pytest.raises(HandshakeRefused) as caught:
            for chunk in chunks:
                upgrade.receive_data(chunk)
        said.add((caught.value.status, str(caught.value)))
    assert said == {(400, "illegal request line")}


def test_a_request_that_never_ends_is_refused_within_the_limit() -> None:
    upgrade = ServerUpgrade()
    with pytest.raises(HandshakeRefused):
        for _ in range(100):
            upgrade.receive_data(b"GET /" + b"a" * 1_000)


def test_no_bytes_are_not_the_end() -> None:
    server = ServerUpgrade()
    assert server.receive_data(b"") is None
    assert server.receive_data(REQUEST) == b""
    upgrade = client()
    assert upgrade.receive_data(b"") is None
    assert upgrade.receive_data(RESPONSE) == b""


def test_what_a_server_says_of_an_early_end() -> None:
    upgrade = ServerUpgrade()
    assert upgrade.headers == []
    assert str(upgrade.receive_eof()) == "closed without a request"
    upgrade.receive_data(REQUEST[:10])
    assert "after 10 bytes" in str(upgrade.receive_eof())


def test_a_refusal_without_a_status_is_a_400() -> None:
    assert refuse_response(HandshakeRefused(None, "no")).startswith(b"HTTP/1.1 400 Bad Request")
    assert refuse_response(HandshakeRefused(418, "no")).startswith(b"HTTP/1.1 418 Refused")


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (400, "Bad Request"),
        (404, "Not Found"),
        (426, "Upgrade Required"),
        (431, "Request Header Fields Too Large"),
        (501, "Not Implemented"),
        (418, "Refused"),
    ],
)
def test_a_refusal_is_a_whole_answer(status: int, phrase: str) -> None:
    refusal = HandshakeRefused(status, "no\ud800", headers=[("Upgrade", "websocket")])
    assert (
        refuse_response(refusal)
        == (
            f"HTTP/1.1 {status} {phrase}\r\n"
            "Upgrade: websocket\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Length: 4\r\n"
            "Connection: close\r\n"
            "\r\n"
            "no?\n"
        ).encode()
    )


def test_a_refused_handshake_is_the_peers_fault() -> None:
    refusal = HandshakeRefused(400, "no")
    assert isinstance(refusal, RemoteFault)
    assert (refusal.code, refusal.status, refusal.body) == (Code.HTTP_ERROR, 400, b"")


def test_a_path_rule_of_your_own() -> None:
    request = h11.Request(
        method="GET",
        target="/chat",
        headers=[
            ("Host", "x"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ],
    )
    assert ("Sec-WebSocket-Accept", ACCEPT) in check_upgrade(request, path="/chat".__eq__)
    with pytest.raises(HandshakeRefused):
        check_upgrade(request)


# --- the client ---


def test_the_request_is_spelled_as_the_framework_wants_it() -> None:
    assert client().request == REQUEST


def test_a_request_with_more_in_it() -> None:
    upgrade = ClientUpgrade(
        "h", "/service/x?a=b", NONCE, subprotocol="fpnn", headers=[("X-Mine", "1")]
    )
    lines = REQUEST.splitlines(keepends=True)[2:-1]
    assert upgrade.request == (
        b"GET /service/x?a=b HTTP/1.1\r\nHost: h\r\n"
        + b"".join(lines)
        + b"Sec-WebSocket-Protocol: fpnn\r\nX-Mine: 1\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("host", "target", "nonce", "headers"),
    [
        ("h", "/a", b"short", ()),
        ("h", "/a b", NONCE, ()),
        ("h\r\nX: y", "/a", NONCE, ()),
        ("h", "/\u20ac", NONCE, ()),
        ("h", "/a", NONCE, [("X", "a\nb")]),
        ("h", "/a", NONCE, [("Host", "again")]),
    ],
)
def test_what_http_cannot_carry_is_a_local_error(
    host: str, target: str, nonce: bytes, headers: list[tuple[str, str]]
) -> None:
    with pytest.raises(LocalProtocolError):
        ClientUpgrade(host, target, nonce, headers=headers)


@pytest.mark.parametrize("tail", [b"", TAIL, TAIL * 10_000])
def test_a_101_is_accepted_however_it_is_cut(tail: bytes) -> None:
    for chunks in cuts(RESPONSE):
        upgrade = client()
        for chunk in chunks[:-1]:
            assert upgrade.receive_data(chunk) is None
        assert upgrade.receive_data(chunks[-1] + tail) == tail


def test_a_101_over_the_limit_is_refused_however_it_is_cut() -> None:
    filler = b"X-Filler: " + b"x" * (MAX_HEAD - len(RESPONSE) - 12) + b"\r\n"
    fits = RESPONSE[:-2] + filler + b"\r\n"
    assert len(fits) == MAX_HEAD
    assert client().receive_data(fits + TAIL) == TAIL
    over = RESPONSE[:-2] + b"x" + filler + b"\r\n"
    assert client().receive_data(over[:-1]) is None
    for chunks in ([over], [over[:9_000], over[9_000:]], [over[:-1], over[-1:]]):
        assert "16384 bytes" in str(refused(*chunks))


def test_the_frameworks_own_101_is_accepted() -> None:
    assert client().receive_data(vector("ws_handshake_s2c")) == b""


def test_other_informational_answers_are_passed_over() -> None:
    assert client().receive_data(b"HTTP/1.1 100 Continue\r\n\r\n" + RESPONSE + TAIL) == TAIL


def test_a_subprotocol_may_be_chosen_or_not() -> None:
    chosen = RESPONSE[:-2] + b"Sec-WebSocket-Protocol: fpnn\r\n\r\n"
    assert client("fpnn").receive_data(chosen) == b""
    assert client("fpnn").receive_data(RESPONSE) == b""


def refused(*chunks: bytes) -> HandshakeRefused:
    upgrade = client()
    with pytest.raises(HandshakeRefused) as caught:
        for chunk in chunks:
            upgrade.receive_data(chunk)
        raise upgrade.receive_eof()
    return caught.value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((b"Upgrade: websocket", b"Upgrade: h2c"), "lacks Upgrade"),
        ((b"Connection: Upgrade", b"Connection: close"), "lacks Connection"),
        ((b"s3pP", b"xxxx"), f"must be {ACCEPT}, got 'xxxx"),
        ((b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", b""), "got ''"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"), "extension"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: x, y\r\n\r\n"), "sub-protocol"),
    ],
)
def test_a_wrong_101_is_refused(change: tuple[bytes, bytes], said: str) -> None:
    answer = RESPONSE.replace(*change)
    for chunks in cuts(answer):
        refusal = refused(*chunks)
        assert refusal.status == 101
        assert said in str(refusal)


def test_an_answer_that_says_no_is_told_with_its_status_and_body() -> None:
    body = b'{"code":20004,"ex":"unknown method"}'
    answer = (
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body
    for chunks in cuts(answer):
        refusal = refused(*chunks)
        assert refusal.status == 500
        assert refusal.body == body
        assert "answered 500 Internal Server Error: {" in str(refusal)


@pytest.mark.parametrize(
    ("rest", "body"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"Content-Length: 0\r\n\r\n", b""),
        (b"\r\nuntil the end", b"until the end"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", b"abc"),
        (b"Content-Length: 10\r\n\r\nabc", b"abc"),
        (b"Content-Length: 1000000000\r\n\r\n" + b"x" * 100_000, b"x" * 4_096),
    ],
)
def test_a_refusals_body_is_collected_up_to_a_limit(rest: bytes, body: bytes) -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\n" + rest
    refusal = refused(answer)
    assert (refusal.status, refusal.body) == (403, body)
    assert len(str(refusal)) < 300


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"403 Forbidden\r\nContent-Length: 0", "the server answered 403 Forbidden"),
        (b"403 \r\nContent-Length: 0", "the server answered 403"),
        (b"403 No\r\nContent-Length: 1\r\n\r\n\xff", "the server answered 403 No: \ufffd"),
        (
            b"403 No\r\nContent-Length: 200\r\n\r\n" + b"x" * 200,
            "the server answered 403 No: " + "x" * 200,
        ),
        (
            b"403 No\r\nContent-Length: 201\r\n\r\n" + b"x" * 201,
            "the server answered 403 No: " + "x" * 200 + " ...",
        ),
    ],
)
def test_a_whole_refusal_is_told_at_once(head: bytes, said: str) -> None:
    end = b"" if b"\r\n\r\n" in head else b"\r\n\r\n"
    with pytest.raises(HandshakeRefused) as caught:
        client().receive_data(b"HTTP/1.1 " + head + end)
    assert str(caught.value) == said


def test_more_of_a_refusal_than_is_kept_is_not_waited_for() -> None:
    upgrade = client()
    upgrade.receive_data(b"HTTP/1.1 403 No\r\nContent-Length: 10000\r\n\r\n")
    assert upgrade.receive_data(b"x" * 4_095) is None
    with pytest.raises(HandshakeRefused) as caught:
        upgrade.receive_data(b"x")
    assert caught.value.body == b"x" * 4_096


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"FPNN", "46"),
        (b"\xff", "ff"),
        (b"HTTQ", "48 54 54 51"),
        (b"\r\n", "0d"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTML", "48 54 4d"),
    ],
)
def test_what_begins_as_no_answer_is_refused_without_waiting_for_more(
    answer: bytes, shown: str
) -> None:
    with pytest.raises(HandshakeRefused) as caught:
        client().receive_data(answer)
    assert str(caught.value) == f"the answer is not HTTP: {shown}"


@pytest.mark.parametrize(
    "answer",
    [b"HTTQ/1.1 200 OK\r\n\r\n", b"\r\n\r\n", b"\x00HTTP/1.1 200 OK\r\n\r\n", b"FPNN\x01\r\n\r\n"],
)
def test_what_is_said_of_a_bad_answer_does_not_hang_on_the_cuts(answer: bytes) -> None:
    said: set[str] = set()
    for chunks in cuts(answer):
        upgrade = client()
        with pytest.raises(HandshakeRefused, match="not HTTP") as caught:
            for chunk in chunks:
                upgrade.receive_data(chunk)
        said.add(str(caught.value))
    assert len(said) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed without an answer"),
        (b"HTTP/1.1 101 Swi", "after 16 bytes"),
        (b"FPNN\x01\x80\x02\x00\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "not HTTP: illegal status line"),
        (b"HTTP/1.1 101 X\r\nX: " + b"x" * 20_000, "16384 bytes"),
        (b"HTTP/1.1 101 X\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "16384 bytes"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000, "16384 bytes"),
    ],
)
def test_no_answer_that_counts(answer: bytes, said: str) -> None:
    refusal = refused(answer)
    assert refusal.status is None
    assert said in str(refusal)
