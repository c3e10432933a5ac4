"""The front of the gate: a visitor's first bytes say what it speaks.

    first bytes                                   decision
    no HTTP method                                Raw: FPNN, or what StreamLink will refuse
    GET that asks for a WebSocket                 Upgrade
    GET or HEAD otherwise                         Fetch: a stored file
    OPTIONS                                       Rejected: say what may be asked, and close
    any other HTTP, or none that can be trusted   Rejected: say this and close
    the end of the stream before that             Left

A GET for a path where FPNN takes WebSockets is an Upgrade too: what it lacks is refused there, with
a 426. h11 reads the head, but it forgives more than a server at the open net should: folded lines,
bare line feeds, control characters and repeated lengths are refused before it sees them.
How long to wait for a decision is the caller's affair. Sources: spec 11.1, 13; RFC 9112.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

from ..link import Buffer
from ..upgrade import is_service_path
from .http import ANY_ORIGIN, FileExchange, Headers, preflight_response, text_response

MAX_HEAD = 16_384  # bytes of a request's head (spec 11.1)
METHODS = (
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
)
ALLOWED: Headers = [("Allow", "GET, HEAD, OPTIONS")]

_LONGEST = max(len(method) for method in METHODS)
_END = b"\r\n\r\n"
_BAD = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LENGTH_LIST = re.compile(rb"\r\ncontent-length:[^\r]*,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Raw:
    """No HTTP: *data* is all that came, for a StreamLink, which judges it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A WebSocket is asked for; ``trailing`` came behind the request."""

    request: h11.Request
    trailing: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """A stored file is asked for; ``trailing`` came behind the request: the next one, perhaps."""

    exchange: FileExchange
    trailing: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """Send ``data`` and close; ``text`` says why and quotes nothing that might be a secret."""

    data: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Left:
    """The visitor left before it was clear what it wanted."""

    text: str


Decision = Raw | Upgrade | Fetch | Rejected | Left


class Front:
    """Meets one visitor. ``decision`` is None until it is made, then never changes."""

    def __init__(self, *, allow_origin: str | None = ANY_ORIGIN) -> None:
        """*allow_origin*: whose pages may read what is answered, if any."""
        self.decision: Decision | None = None
        self._allow_origin = allow_origin
        self._data = bytearray()
        self._scanned = 0  # bytes without the head's end and without a fault

    # --- what happened ---

    def receive_data(self, data: Buffer) -> None:
        """Bytes came. Those after the decision belong to whom it names: they are dropped here."""
        if self.decision is not None:
            return
        self._data += data
        start = bytes(self._data[:_LONGEST])
        if start.startswith(METHODS):
            self._read_head()
        elif not any(method.startswith(start) for method in METHODS):
            self.decision = Raw(bytes(self._data))

    def receive_eof(self) -> None:
        """No more bytes will come."""
        if self.decision is None:
            size = len(self._data)
            where = f"inside the request, after {size} bytes of it" if size else "without a word"
            self.decision = Left(f"left {where}")

    # --- private ---

    def _read_head(self) -> None:
        data = self._data
        end = data.find(_END, max(0, self._scanned - 3), MAX_HEAD)
        stop = min(len(data), MAX_HEAD) if end < 0 else end + 2
        bad = _BAD.search(data, max(0, self._scanned - 1), stop)
        self._scanned = stop
        if bad is not None:
            self._reject(400, f"a line end, fold or control character at byte {bad.start()}")
        elif end >= 0:
            size = end + len(_END)
            self._judge(bytes(data[:size]), bytes(data[size:]))
        elif stop == MAX_HEAD:
            if data.find(b"\r\n", 0, stop) < 0:
                self._reject(414, f"the request line is over {MAX_HEAD} bytes")
            else:
                self._reject(431, f"the request's head is over {MAX_HEAD} bytes")

    def _judge(self, head: bytes, trailing: bytes) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        http.receive_data(head)
        try:
            request = http.next_event()
        except h11.RemoteProtocolError as exc:
            # h11 quotes the bytes that it cannot read: a file's key may be among them.
            self._reject(exc.error_status_hint, str(exc).partition(": bytearray")[0])
            return
        assert isinstance(request, h11.Request)
        names = [name for name, _ in request.headers]
        coded, measured = b"transfer-encoding" in names, b"content-length" in names
        lengths = head.lower().count(b"\r\ncontent-length:")
        if lengths > 1 or (coded and measured) or _LENGTH_LIST.search(head):
            self._reject(400, "the body's length is told in two ways")
        elif not b"1.0" <= request.http_version < b"2":
            self._reject(505, "the version must be HTTP/1.1")
        elif request.method == b"OPTIONS":
            self.decision = Rejected(preflight_response(self._allow_origin), "204: a question")
        elif request.method not in (b"GET", b"HEAD"):
            text = f"the method must be GET or HEAD, got {request.method.decode()}"
            self._reject(405, text, ALLOWED)
        elif coded:
            self._reject(501, "no Transfer-Encoding is taken")
        elif measured and (b"content-length", b"0") not in request.headers:
            self._reject(413, "no body is taken")
        elif request.method == b"GET" and _is_upgrade(request):
            self.decision = Upgrade(request, trailing)
        else:
            exchange = FileExchange(http, request, allow_origin=self._allow_origin)
            self.decision = Fetch(exchange, trailing)
        self._data.clear()

    def _reject(self, status: int, text: str, headers: Headers = ()) -> None:
        head_only = self._data.startswith(b"HEAD ")
        data = text_response(status, text, head_only=head_only, headers=headers)
        self.decision = Rejected(data, f"{status}: {text}")


def _is_upgrade(request: h11.Request) -> bool:
    wanted = b",".join(value for name, value in request.headers if name == b"upgrade").lower()
    if b"websocket" in [item.strip() for item in wanted.split(b",")]:
        return True
    return is_service_path(request.target.decode("latin-1"))
