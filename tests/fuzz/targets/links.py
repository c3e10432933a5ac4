"""The links: bytes on the wire to packages, in every role, from the handshake or after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import h11

from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.link import Link, StreamLink
from rtm_proto.package import Package, encode_oneway
from rtm_proto.upgrade import MAX_HEAD, accept_response, accept_token
from rtm_proto.websocket import WebSocketLink

from ..choices import CUTS, Choices, ways
from ..footprint import footprint

LIMITS = (200, 60, 1000, 8_388_608)
WHOLE_TO = 40  # bytes of a package that comes whole, where large ones come in parts
NONCE = b"the sample nonce"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # the same as base64
UPGRADE = (
    b"GET /service/websocket HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = accept_response(
    [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_token(KEY)),
    ]
)
ONEWAY = encode_oneway(b"ping", b"\x80")
SLACK = 8192  # bytes that any link may hold besides packages and heads: objects, a frame's head


def fuzz_link(data: bytes) -> None:
    """Never raises; any cut brings the same; ended once, silent then; never holds too much."""
    choices = Choices(data)
    make, shakes = MAKERS[choices.byte() % len(MAKERS)]
    limit = LIMITS[choices.byte() % len(LIMITS)]
    with_eof = choices.byte() & 1 == 1
    places, stream = choices.take(CUTS), choices.rest()
    whole = _read(make(limit), [stream], limit, shakes=shakes, with_eof=with_eof)
    for pieces in ways(stream, places):
        assert _read(make(limit), pieces, limit, shakes=shakes, with_eof=with_eof) == whole, pieces
        link = make(limit)
        link.set_max_whole(WHOLE_TO)
        assert _read(link, pieces, limit, shakes=shakes, with_eof=with_eof) == whole, pieces


def _read(
    link: Link, pieces: Sequence[bytes], limit: int, *, shakes: bool, with_eof: bool
) -> tuple[object, ...]:
    """What comes of the pieces, as far as anybody outside can see."""
    fresh = footprint(link)
    packages: list[Package] = []
    for piece in pieces:
        link.receive_data(piece, now=1.0)
        packages += link.packages()
    # The head that was read stays in h11's buffers; beside it there is at most one package.
    held = sum(map(len, pieces))
    most = min(held, limit) + (min(held, 2 * MAX_HEAD) if shakes else 0)
    grown = footprint(link) - fresh
    # Objects for heads and the answers to pings come on top; those are counted by their input.
    assert grown <= 3 * most + SLACK + held, (grown, most)
    if with_eof:
        link.receive_eof()
        assert link.ended is not None
    ended = link.ended
    refusal = link.refusal if isinstance(link, WebSocketLink) else None
    if link.is_open and ended is None:
        link.send_package(ONEWAY)
        link.ping()
    link.close(CloseReason(CloseKind.LOCAL, "enough"))
    assert link.ended is not None and (ended is None or link.ended is ended)
    ended = link.ended
    out = b"".join(map(bytes, link.data_to_send()))
    for piece in pieces[-1:]:  # too late
        link.receive_data(piece, now=2.0)
    link.receive_eof()
    link.close(CloseReason(CloseKind.IDLE))
    assert link.ended is ended and not link.packages() and not link.data_to_send()
    packages = _put_together(packages)
    assert all(package.size <= limit for package in packages)
    told = refusal and (refusal.status, str(refusal), refusal.body)
    fault = link.fault and (str(link.fault), link.fault.limit, link.fault.seq)
    return packages, ended, fault, told, link.is_open, out


def _put_together(packages: Sequence[Package]) -> list[Package]:
    """The packages, those that came whole in parts included."""
    whole: list[Package] = []
    for package in packages:
        if package.part < 2:
            whole.append(replace(package, part=0))
        else:
            assert whole[-1].left == package.left + len(package.payload)
            whole[-1].payload += package.payload
            whole[-1].left = package.left
    assert not any(package.left for package in whole[:-1])
    return [package for package in whole if not package.left]


def _client(limit: int) -> WebSocketLink:
    link = WebSocketLink.client(
        "gate:13321", nonce=NONCE, mask_key=lambda: b"\x01\xa5\x00\xff", max_package=limit
    )
    link.start()
    link.data_to_send()
    return link


def _server(limit: int) -> WebSocketLink:
    link = WebSocketLink.server(max_package=limit)
    link.start()
    return link


def _open_client(limit: int) -> Link:
    return _opened(_client(limit), SWITCH)


def _open_server(limit: int) -> Link:
    return _opened(_server(limit), UPGRADE)


def _upgraded(limit: int) -> Link:
    http = h11.Connection(h11.SERVER)
    http.receive_data(UPGRADE)
    request = http.next_event()
    assert isinstance(request, h11.Request)
    link = WebSocketLink.upgraded(request, max_package=limit)
    link.start()
    link.data_to_send()
    return link


def _opened(link: WebSocketLink, head: bytes) -> Link:
    link.receive_data(head, now=0.0)
    link.data_to_send()
    assert link.is_open
    return link


def _stream(limit: int) -> Link:
    link = StreamLink(max_package=limit)
    link.start()
    return link


MAKERS: Sequence[tuple[Callable[[int], Link], bool]] = (
    (_open_client, False),
    (_open_server, False),
    (_stream, False),
    (_client, True),
    (_server, True),
    (_upgraded, False),
)
"""For each role what makes a fresh link, and whether its handshake is still to come."""
