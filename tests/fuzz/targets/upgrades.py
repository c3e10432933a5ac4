"""HTTP heads: the upgrade's two sides, and the front of the gate with what it serves."""

from __future__ import annotations

from collections.abc import Sequence

import h11

from rtm_proto.gate.front import Fetch, Front, Left, Raw, Rejected, Upgrade
from rtm_proto.gate.http import FileExchange
from rtm_proto.upgrade import (
    ClientUpgrade,
    HandshakeRefused,
    ServerUpgrade,
    accept_response,
    refuse_response,
)

from ..choices import CUTS, Choices, ways
from .links import NONCE

FILE = bytes(range(256)) * 300  # more than one piece
ETAG = "0123456789abcdef0123456789abcdef"


def fuzz_upgrade(data: bytes) -> None:
    """Only HandshakeRefused; any cut brings the same; what is answered is proper HTTP."""
    choices = Choices(data)
    read = (_server, _client, _front)[choices.byte() % 3]
    places, stream = choices.take(CUTS), choices.rest()
    whole = read([stream])
    for pieces in ways(stream, places):
        assert read(pieces) == whole, pieces


def _server(pieces: Sequence[bytes]) -> tuple[object, ...]:
    upgrade = ServerUpgrade()
    try:
        for at, piece in enumerate(pieces):
            behind = upgrade.receive_data(piece)
            if behind is not None:
                head = _answer(accept_response(upgrade.headers))
                assert head.status_code == 101
                assert len(head.headers) == len(upgrade.headers)
                return "accepted", upgrade.headers, behind + b"".join(pieces[at + 1 :])
    except HandshakeRefused as refusal:
        assert _answer(refuse_response(refusal)).status_code == (refusal.status or 400)
        return "refused", refusal.status, str(refusal)
    return "waits", str(upgrade.receive_eof())


def _client(pieces: Sequence[bytes]) -> tuple[object, ...]:
    upgrade = ClientUpgrade("gate:13321", "/service/websocket", NONCE)
    try:
        for at, piece in enumerate(pieces):
            behind = upgrade.receive_data(piece)
            if behind is not None:
                return "accepted", behind + b"".join(pieces[at + 1 :])
    except HandshakeRefused as refusal:
        return "refused", refusal.status, str(refusal), refusal.body
    end = upgrade.receive_eof()
    return "waits", end.status, str(end), end.body


def _front(pieces: Sequence[bytes]) -> tuple[object, ...]:
    front = Front()
    for at, piece in enumerate(pieces):
        front.receive_data(piece)
        match front.decision:
            case None:
                pass
            case Raw(data):
                return "raw", data + b"".join(pieces[at + 1 :])
            case Upgrade(request, trailing):
                return "upgrade", _told(request), trailing + b"".join(pieces[at + 1 :])
            case Fetch(exchange):
                return "fetch", exchange.path, exchange.key, _serve(exchange)
            case Rejected(data, text):
                assert 400 <= _answer(data).status_code < 600
                return "rejected", data, text
            case Left():
                raise AssertionError("left without an end of the stream")
    front.receive_eof()
    assert isinstance(front.decision, Left)
    return "left", front.decision.text


def _serve(exchange: FileExchange) -> bytes:
    """The whole answer to a GET or HEAD of FILE."""
    exchange.found(size=len(FILE), etag=ETAG, name="a file.jpg", mtype=40)
    while (wanted := exchange.wanted()) is not None:
        offset, size = wanted
        exchange.provide(FILE[offset : offset + size])
    assert exchange.done and exchange.abrupt is None
    answer = b"".join(map(bytes, exchange.data_to_send()))
    assert _answer(answer).status_code == exchange.status
    body = answer.partition(b"\r\n\r\n")[2]
    assert exchange.status in (200, 206, 304, 416)
    if exchange.status == 200:
        assert body in (b"", FILE)
    elif exchange.status == 206:
        assert body and body in FILE
    return answer


def _told(request: h11.Request) -> tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]]]:
    return request.method, request.target, request.http_version, list(request.headers)


def _answer(data: bytes) -> h11.Response | h11.InformationalResponse:
    """The head of an answer, as another reader of HTTP sees it."""
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", "gate"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    http.send(h11.Request(method="GET", target="/", headers=headers))
    http.send(h11.EndOfMessage())
    http.receive_data(data)
    event = http.next_event()
    assert isinstance(event, (h11.Response, h11.InformationalResponse)), event
    return event
