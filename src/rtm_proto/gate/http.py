"""One stored file over HTTP/1.1: what to answer to a GET or HEAD, and which bytes to read for it.

    exchange.link ─► who may follow it ─► the store ─► found(...), or refuse(...)
    while not exchange.done:
        wanted() ─► the store ─► provide(data), or failed(text)
        data_to_send() ─► the transport
    data_to_send() ─► the transport, then the next request where ``keep_alive`` says so, else close;
                      at once where ``abrupt`` says why

    asked                                          answered
    If-None-Match names the file's ETag            304
    one Range of it                                206, with If-Range only where that is its ETag
    one Range behind its end                       416
    no Range, several, or one that is malformed    200 and the whole file

Several ranges in one request are a choice of the server's (RFC 9110, 14.2): ours is the whole file.
The head is kept back until the first bytes are there, so that a store that fails at once is a clean
500. What is no file, or no longer, is answered shortly, and the connection ends.

A page of any origin may read the answers, unless ``allow_origin`` names one: who knows a file's
path may have it, and nothing else of the reader counts, no cookie and no login. A file that is
opened as a page of its own can do nothing there: it has a sandbox, and nothing may be loaded.
Sources: RFC 9110 (13, 14), RFC 9112 (9.3), Fetch (CORS, CORP), CSP 3; spec 12.2 (11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

try:
    import h11
except ModuleNotFoundError as exc:
    raise ImportError(
        f"rtm_proto.gate needs {exc.name}: pip install 'rtm-proto[websocket]'", name=exc.name
    ) from exc

from ..errors import LocalProtocolError
from ..link import Buffer
from .content import content_disposition, content_type
from .links import FileLink, parse_link, path_of

PIECE = 64 * 1024  # bytes read from the store at a time
MAX_AGE = 31_536_000  # seconds that a receiver may keep a file: a year (a key's file never changes)

PHRASES: Mapping[int, str] = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    302: "Found",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

ANY_ORIGIN = "*"  # whose pages may read the files
SAFE: Sequence[tuple[str, str]] = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; sandbox"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Referrer-Policy", "no-referrer"),
)
"""With every file: it is what it is said to be, runs nothing, and any page may show it. Its link is
not told to where it leads."""

_EXPOSED = (
    "Accept-Ranges, Content-Disposition, Content-Range, ETag"  # what a page may read of a head
)
_ASKED = "If-None-Match, If-Range, Range"  # what a page may ask with
_ASKED_FOR = 86_400  # seconds that a browser remembers it

_ONE_RANGE = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19}))", re.IGNORECASE)
_ETAG = re.compile(r'"([\x21\x23-\x7e\x80-\xff]*)"')
_GOOD_ETAG = re.compile(r"[\x21\x23-\x7e]+")

Headers = Sequence[tuple[str, str]]


def text_response(
    status: int, text: str, *, head_only: bool = False, headers: Headers = ()
) -> bytes:
    """A whole short answer that says *text*; the connection ends after it."""
    body = f"{text}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {PHRASES[status]}",
        *(f"{name}: {value}" for name, value in headers),
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + (b"" if head_only else body)


def preflight_response(allow_origin: str | None = ANY_ORIGIN) -> bytes:
    """A whole answer to OPTIONS: what may be asked here, and which pages may (Fetch, 3.2)."""
    lines = [f"HTTP/1.1 204 {PHRASES[204]}", "Allow: GET, HEAD, OPTIONS"]
    if allow_origin is not None:
        lines += [
            f"Access-Control-Allow-Origin: {allow_origin}",
            "Access-Control-Allow-Methods: GET, HEAD",
            f"Access-Control-Allow-Headers: {_ASKED}",
            f"Access-Control-Max-Age: {_ASKED_FOR}",
        ]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


class FileExchange:
    """One GET or HEAD of a stored file.

    ``path``        the path that was asked for, decoded, without a query
    ``link``        the file that this means, or None: then say ``not_found``; ``key``: its key
    ``status``      what was answered, None before
    ``done``        nothing more is wanted: send ``data_to_send``, and go on or close
    ``keep_alive``  whether another request may follow, once it is done
    ``abrupt``      why the answer cannot be ended whole, or None; ``done`` is set as well
    """

    def __init__(
        self,
        http: h11.Connection,
        request: h11.Request,
        *,
        allow_origin: str | None = ANY_ORIGIN,
    ) -> None:
        """*http* has just read *request*, a GET or HEAD without a body. *allow_origin*: whose pages
        may read the answer, if any."""
        target = request.target.decode("latin-1")
        self.path = path_of(target)
        self.link: FileLink | None = parse_link(target)
        self.key = None if self.link is None else self.link.key
        self.status: int | None = None
        self.done = False
        self.keep_alive = False
        self.abrupt: str | None = None
        self._origin = _origin_headers(allow_origin)
        self._http = http
        self._request = request
        self._head_only = request.method == b"HEAD"
        self._response: h11.Response | None = None  # not sent yet
        self._judged = False
        self._next = 0  # the offset of the next byte to read
        self._end = 0  # where the bytes to read end
        self._out: list[Buffer] = []

    # --- what the gate says ---

    def found(self, *, size: int, etag: str, name: str, mtype: int, max_age: int = MAX_AGE) -> None:
        """The store has the file: *size* in bytes; *etag* without quotes names its very bytes.

        *max_age*: seconds that the reader may keep it.
        """
        self._check_asked()
        if type(size) is not int or size < 0:
            raise LocalProtocolError(f"a file's size is an integer from 0, got {size!r}")
        if not _GOOD_ETAG.fullmatch(etag):
            raise LocalProtocolError(f"an etag is printable ASCII without quotes, got {etag!r}")
        self._judged = True
        about = [
            ("ETag", f'"{etag}"'),
            ("Cache-Control", f"private, max-age={max_age}, immutable"),
            *SAFE,
            *self._origin,
        ]
        if self._is_known(etag):
            self._prepare(304, about)
            self._finish()
            return
        part = self._part(size, etag)
        if part is not None and part[0] >= size:
            self._say(416, "the range is behind the end", [("Content-Range", f"bytes */{size}")])
            return
        self._next, self._end = (0, size) if part is None else part
        whole = [
            ("Content-Length", str(self._end - self._next)),
            ("Content-Type", content_type(name, mtype)),
            ("Content-Disposition", content_disposition(name)),
            ("Accept-Ranges", "bytes"),
            *about,
        ]
        if part is not None:
            whole.append(("Content-Range", f"bytes {self._next}-{self._end - 1}/{size}"))
        self._prepare(200 if part is None else 206, whole)
        if self._head_only or self._next == self._end:
            self._next = self._end
            self._finish()

    def found_whole(
        self, data: bytes, *, etag: str, name: str, mtype: int, max_age: int = MAX_AGE
    ) -> None:
        """As ``found``, and here is all of it: nothing will be wanted."""
        self.found(size=len(data), etag=etag, name=name, mtype=mtype, max_age=max_age)
        while (wanted := self.wanted()) is not None:
            self.provide(memoryview(data)[wanted[0] : sum(wanted)])

    def redirect(self, location: str) -> None:
        """Something else is to be asked for, for this time."""
        self._check_asked()
        self._say(302, "see there", [("Location", location)])

    def refuse(self, status: int, text: str) -> None:
        """It is not given; *text* says why."""
        self._check_asked()
        self._say(status, text)

    def tell(self, status: int, text: str) -> None:
        """It is no file that was asked for: *text* is what there is to say. Not for any origin."""
        self._check_asked()
        self.status = status
        self._out.append(text_response(status, text, head_only=self._head_only))
        self.done = True

    def not_found(self) -> None:
        """There is no such file."""
        self.refuse(404, "no such file")

    def provide(self, data: Buffer) -> None:
        """The bytes that ``wanted`` asked for: a buffer of bytes, left alone until it is written.

        Fewer bytes, or more, are a fault of the store like any other: see ``failed``.
        """
        wanted = self.wanted()
        if wanted is None:
            raise LocalProtocolError("no bytes are wanted")
        offset, size = wanted
        if len(data) != size:
            self.failed(f"the store gave {len(data)} bytes at {offset}, expected {size}")
            return
        self._send_head()
        self._send(h11.Data(data=cast("bytes", data)))
        self._next += size
        if self._next == self._end:
            self._finish()

    def failed(self, text: str) -> None:
        """The store failed: a 500 where nothing was answered yet, else an abrupt end."""
        if self.done:
            return
        if self._judged and self._response is None:
            self._http.send_failed()
            self.abrupt = text
            self.done = True
        else:
            self._say(500, "the file cannot be read now")

    # --- what comes of it ---

    def wanted(self) -> tuple[int, int] | None:
        """Offset and size of the bytes to read next; the same until they are provided."""
        if self.done or not self._judged:
            return None
        return self._next, min(PIECE, self._end - self._next)

    def data_to_send(self) -> list[Buffer]:
        """Take the buffers to write, in order."""
        out, self._out = self._out, []
        return out

    # --- private ---

    def _check_asked(self) -> None:
        if self._judged or self.done:
            raise LocalProtocolError("this request has its answer already")

    def _values(self, name: bytes) -> list[str]:
        headers = self._request.headers
        return [value.decode("latin-1") for found, value in headers if found == name]

    def _is_known(self, etag: str) -> bool:
        """Whether the asker has this very file (RFC 9110, 13.1.2: a weak comparison)."""
        told = ",".join(self._values(b"if-none-match")).strip()
        return told == "*" or etag in _ETAG.findall(told)

    def _part(self, size: int, etag: str) -> tuple[int, int] | None:
        """Start and end of the one range that was asked for; None: the whole file."""
        ranges, conditions = self._values(b"range"), self._values(b"if-range")
        # RFC 9110, 14.2: a range is for GET only. An empty file has none to give.
        if self._head_only or len(ranges) != 1 or size == 0:
            return None
        if conditions and conditions != [f'"{etag}"']:
            return None
        match = _ONE_RANGE.fullmatch(ranges[0])
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            return (size - min(size, int(suffix)), size)
        if last is not None and int(last) < int(first):
            return None
        return int(first), size if last is None else min(size, int(last) + 1)

    def _prepare(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self._response = h11.Response(status_code=status, reason=PHRASES[status], headers=headers)

    def _send_head(self) -> None:
        if self._response is not None:
            head = self._http.send(self._response)
            assert head is not None
            self._out.append(head)
            self._response = None

    def _send(self, event: h11.Event) -> None:
        self._out += self._http.send_with_data_passthrough(event) or []

    def _finish(self) -> None:
        self._send_head()
        self._send(h11.EndOfMessage())
        self.keep_alive = self._http.our_state is h11.DONE
        self.done = True

    def _say(self, status: int, text: str, headers: Headers = ()) -> None:
        self.status = status
        headers = [*headers, *self._origin]
        self._out.append(text_response(status, text, head_only=self._head_only, headers=headers))
        self.done = True


def _origin_headers(allow_origin: str | None) -> Headers:
    if allow_origin is None:
        return ()
    return (
        ("Access-Control-Allow-Origin", allow_origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
    )
