"""The HTTP heads that turn a connection into a WebSocket (RFC 6455, section 4), both roles.

    client                                         server
    GET /service/websocket HTTP/1.1          ─►
    Host, Upgrade, Connection,                     check_upgrade: 400, 404, 426
    Sec-WebSocket-Key, Sec-WebSocket-Version
                                             ◄─    HTTP/1.1 101 Switching Protocols
    checks status, Upgrade, Connection,            Upgrade, Connection, Sec-WebSocket-Accept
    Sec-WebSocket-Accept, no extension

h11 reads and judges the heads. An extension is never offered and never accepted. FPNN's servers
compare header names case-sensitively: ours are spelled exactly as they want them (spec 11.1).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from hashlib import sha1

import h11

from .codes import Code
from .errors import LocalProtocolError, RemoteFault, show_bytes
from .link import Buffer

MAX_HEAD = 16_384  # bytes of HTTP before the upgrade is done (spec 11.1)
MAX_REFUSAL = 4_096  # bytes of a refusal's body that are kept (spec 11.1)
SHOWN_REFUSAL = 200  # characters of it that an error message shows
VERSION = "13"  # Sec-WebSocket-Version; RFC 6455, section 4.1
NONCE_SIZE = 16  # bytes; RFC 6455, section 4.1
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_HTTP = b"HTTP/"  # how every answer begins; RFC 9112, section 4

Headers = Sequence[tuple[str, str]]


class HandshakeRefused(RemoteFault):
    """The handshake failed.

    ``status`` is the HTTP status that the server answered, or that a server has to answer; None
    where there was no answer. ``body`` is what came with it, its first 4 KiB. ``headers`` belong
    into the answer.
    """

    def __init__(
        self, status: int | None, text: str, *, headers: Headers = (), body: bytes = b""
    ) -> None:
        super().__init__(text, Code.HTTP_ERROR)
        self.status = status
        self.headers = headers
        self.body = body


def is_service_path(target: str) -> bool:
    """Whether FPNN takes a WebSocket at this target: two segments, the first ``service``.

    Doubled and trailing slashes do not count, nor does a query (spec 11.1).
    """
    segments = [segment for segment in target.partition("?")[0].split("/") if segment]
    return target.startswith("/") and len(segments) == 2 and segments[0] == "service"


def accept_token(key: bytes) -> str:
    """The Sec-WebSocket-Accept that answers the Sec-WebSocket-Key *key*."""
    return b64encode(sha1(key + GUID, usedforsecurity=False).digest()).decode()


def check_upgrade(
    request: h11.Request, *, path: Callable[[str], bool] = is_service_path
) -> list[tuple[str, str]]:
    """The headers of the 101 that answers *request*; the first offered sub-protocol is echoed.

    *path* says whether a target is served. Raises HandshakeRefused with status 404 for another
    path, 426 for what asks for no WebSocket or another version, 400 for what is malformed.
    """
    if not path(request.target.decode("latin-1")):
        raise HandshakeRefused(404, "no WebSocket is served here")
    if request.method != b"GET":
        raise HandshakeRefused(400, f"the method must be GET, got {request.method.decode()}")
    if request.http_version < b"1.1":
        raise HandshakeRefused(400, "an upgrade needs HTTP/1.1")
    if _values(request, b"transfer-encoding") or _values(request, b"content-length") not in (
        [],
        ["0"],
    ):
        raise HandshakeRefused(400, "an upgrade has no body")
    wanted = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION))
    if "websocket" not in _tokens(request, b"upgrade"):
        raise HandshakeRefused(426, "this is a WebSocket: Upgrade is missing", headers=wanted)
    if "upgrade" not in _tokens(request, b"connection"):
        raise HandshakeRefused(400, "Connection must contain Upgrade")
    versions = _values(request, b"sec-websocket-version")
    if not versions:
        raise HandshakeRefused(400, "Sec-WebSocket-Version is missing")
    if versions != [VERSION]:
        raise HandshakeRefused(426, f"Sec-WebSocket-Version must be {VERSION}", headers=wanted)
    keys = _values(request, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise HandshakeRefused(400, "Sec-WebSocket-Key must be 16 bytes as base64, once")
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_token(keys[0].encode())),
    ]
    offered = _items(request, b"sec-websocket-protocol")
    if offered:
        headers.append(("Sec-WebSocket-Protocol", offered[0]))
    return headers


def accept_response(headers: Headers) -> bytes:
    """The 101 with *headers* (from ``check_upgrade``)."""
    return _head("101 Switching Protocols", headers)


def refuse_response(refusal: HandshakeRefused) -> bytes:
    """The answer that says no, with a short text; the connection ends after it."""
    status = refusal.status or 400
    phrase = _PHRASES.get(status, "Refused")
    body = f"{refusal}\n".encode(errors="replace")
    headers = [
        *refusal.headers,
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    return _head(f"{status} {phrase}", headers) + body


class ClientUpgrade:
    """The client's side: ``request`` goes out, ``receive_data`` judges what comes back."""

    request: bytes

    def __init__(
        self,
        host: str,
        target: str,
        nonce: bytes,
        *,
        subprotocol: str | None = None,
        headers: Headers = (),
    ) -> None:
        """*nonce*: 16 random bytes. Raises LocalProtocolError for what HTTP cannot carry."""
        if len(nonce) != NONCE_SIZE:
            raise LocalProtocolError(f"the nonce is {NONCE_SIZE} bytes, got {len(nonce)}")
        key = b64encode(nonce)
        lines = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key.decode()),
            ("Sec-WebSocket-Version", VERSION),
        ]
        if subprotocol is not None:
            lines.append(("Sec-WebSocket-Protocol", subprotocol))
        self._accept = accept_token(key)
        self._subprotocol = subprotocol
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._taken = 0  # bytes of heads so far
        self._response: h11.Response | None = None
        self._body = b""
        try:
            request = h11.Request(method="GET", target=target, headers=[*lines, *headers])
            self.request = self._http.send(request)
            self._http.send(h11.EndOfMessage())
        except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
            raise LocalProtocolError(f"HTTP cannot carry this request: {exc}") from exc

    def receive_data(self, data: Buffer) -> bytes | None:
        """None until the whole 101 is there, then the bytes behind it.

        Raises HandshakeRefused where the server did not agree.
        """
        data = bytes(data)
        if self._response is None:
            room = MAX_HEAD - self._taken
            self._taken += len(data)
            data, rest = data[:room], data[room:]
            if data:  # to h11, no bytes are the end of the stream
                self._http.receive_data(data)
            head = self._next_head()
            if head is None:
                if self._taken > MAX_HEAD:
                    raise HandshakeRefused(None, f"the answer's head is over {MAX_HEAD} bytes")
                return None
            if isinstance(head, h11.InformationalResponse):
                self._check(head)
                return self._http.trailing_data[0] + rest
            self._response = head
            data = rest
        if data:
            self._http.receive_data(data)
        self._collect_body(self._response)
        return None

    def receive_eof(self) -> HandshakeRefused:
        """What the end of the stream means here."""
        if self._response is not None:
            return self._refusal(self._response)
        if self._taken:
            return HandshakeRefused(
                None, f"closed inside the answer, after {self._taken} bytes of it"
            )
        return HandshakeRefused(None, "closed without an answer")

    def _next_head(self) -> h11.InformationalResponse | h11.Response | None:
        """The 101, or another final answer, or None if neither is whole."""
        while True:
            # h11 would wait for the line's end; what it says before that depends on the cuts.
            start = self._http.trailing_data[0][: len(_HTTP)]
            if not _HTTP.startswith(start):
                wrong = next(n for n in range(1, len(_HTTP) + 1) if not _HTTP.startswith(start[:n]))
                shown = show_bytes(start[:wrong])
                raise HandshakeRefused(None, f"the answer is not HTTP: {shown}")
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                raise HandshakeRefused(None, f"the answer is not HTTP: {exc}") from exc
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                return None
            if event.status_code == 101:
                return event

    def _check(self, response: h11.InformationalResponse) -> None:
        if "websocket" not in _tokens(response, b"upgrade"):
            raise HandshakeRefused(101, "the 101 lacks Upgrade: websocket")
        if "upgrade" not in _tokens(response, b"connection"):
            raise HandshakeRefused(101, "the 101 lacks Connection: Upgrade")
        accept = _values(response, b"sec-websocket-accept")
        if accept != [self._accept]:
            raise HandshakeRefused(
                101, f"Sec-WebSocket-Accept must be {self._accept}, got {', '.join(accept)!r}"
            )
        if _items(response, b"sec-websocket-extensions"):
            raise HandshakeRefused(101, "the server uses an extension that nobody offered")
        chosen = _values(response, b"sec-websocket-protocol")
        if chosen and chosen != [self._subprotocol]:
            raise HandshakeRefused(
                101, f"the server chose a sub-protocol that nobody offered: {', '.join(chosen)!r}"
            )

    def _collect_body(self, response: h11.Response) -> None:
        while len(self._body) < MAX_REFUSAL:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                break  # what there is of the body still tells something
            if event is h11.NEED_DATA:
                return
            if not isinstance(event, h11.Data):
                break
            self._body += event.data
        raise self._refusal(response)

    def _refusal(self, response: h11.Response) -> HandshakeRefused:
        body = self._body[:MAX_REFUSAL]
        said = body.decode(errors="replace").strip()
        shown = said[:SHOWN_REFUSAL] + (" ..." if len(said) > SHOWN_REFUSAL else "")
        reason = response.reason.decode("latin-1")
        text = f"the server answered {response.status_code} {reason}".rstrip()
        return HandshakeRefused(
            response.status_code, f"{text}: {shown}" if shown else text, body=body
        )


class ServerUpgrade:
    """The server's side: judges the request; what to answer is ``check_upgrade``'s."""

    def __init__(self, path: Callable[[str], bool] = is_service_path) -> None:
        """*path* says whether a target is served."""
        self.headers: list[tuple[str, str]] = []
        self._path = path
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._taken = 0  # bytes so far

    def receive_data(self, data: Buffer) -> bytes | None:
        """None until the request is whole, then the bytes behind it; ``headers`` are set then.

        Raises HandshakeRefused for what is no upgrade.
        """
        data = bytes(data)
        room = MAX_HEAD - self._taken
        self._taken += len(data)
        try:
            if data[:room]:  # to h11, no bytes are the end of the stream
                self._http.receive_data(data[:room])
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self.headers = check_upgrade(event, path=self._path)
                self._http.next_event()  # the end of a request without a body
                return self._http.trailing_data[0] + data[room:]
        except h11.RemoteProtocolError as exc:
            # How h11 calls a bad first line depends on the cuts; and it quotes without a limit.
            text = str(exc).partition(": bytearray")[0]
            text = "illegal request line" if text == "no request line received" else text
            raise HandshakeRefused(exc.error_status_hint, text) from exc
        if self._taken > MAX_HEAD:
            raise HandshakeRefused(431, f"the request's head is over {MAX_HEAD} bytes")
        return None

    def receive_eof(self) -> HandshakeRefused:
        """What the end of the stream means here."""
        if self._taken:
            text = f"closed inside the request, after {self._taken} bytes of it"
            return HandshakeRefused(None, text)
        return HandshakeRefused(None, "closed without a request")


_PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
}


def _head(status: str, headers: Headers) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _values(message: h11.Request | h11.InformationalResponse, name: bytes) -> list[str]:
    return [value.decode("latin-1") for found, value in message.headers if found == name]


def _items(message: h11.Request | h11.InformationalResponse, name: bytes) -> list[str]:
    """The comma-separated items of a header that may be repeated."""
    items = ",".join(_values(message, name)).split(",")
    return [item.strip() for item in items if item.strip()]


def _tokens(message: h11.Request | h11.InformationalResponse, name: bytes) -> list[str]:
    return [item.lower() for item in _items(message, name)]


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == NONCE_SIZE
    except ValueError:
        return False
