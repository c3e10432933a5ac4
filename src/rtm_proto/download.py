"""The flow that fetches a received file over HTTP/1.1, and a file name that is safe to use.

    what happened                                        what comes of it
    200                                                  the sink is opened, the bytes are written
    301, 302, 303, 307, 308                              followed, 5 times; never https to http
    the connection breaks before the last byte           asked again, 3 times: for the rest where
                                                         there is a strong ETag, else from the start
    206 that continues where it broke                    the bytes are written behind the others
    200, 416 or another file's 206 instead               from the start, the sink is opened anew
    any other status, a coding, a size or md5 that       DownloadFailed
      is not the expected one, over the limit, too late

The flow is driven like those in ``flows``: its steps are DialHttp, SendBytes, ReceiveBytes, Hangup,
OpenSink, Write, TellDownload, and Now and Pause of ``flows.steps``. A driver that sees it end with
an error, or ends it early with ``close()``, discards the connection and what is in the sink.

Nothing is sent that says who asks: no token, no cookie, no user. Whatever host a URL or a redirect
names is asked: where URLs come from strangers, the driver must decide which hosts it dials.
Sources: RFC 9110, RFC 9112; spec/rtm-files.md 10.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from hashlib import md5
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin

try:
    import h11
except ModuleNotFoundError as exc:
    raise ImportError(
        f"rtm_proto.download needs {exc.name}: pip install 'rtm-proto[websocket]'", name=exc.name
    ) from exc

from .address import HttpUrl, parse_http_url
from .attrs import DEFAULT_NAME, safe_name
from .errors import ConnectFailed, DownloadFailed, LocalProtocolError
from .flows.steps import Now, Pause, check_timeout
from .link import Buffer

MAX_DOWNLOAD = 64 * 1024 * 1024  # bytes (ours; the service takes files of up to 5 MiB)
DOWNLOAD_TIMEOUT = 120.0  # seconds over everything (ours; 5 MiB at 64 KB/s take 80 s)
MAX_HEAD = 16_384  # bytes of an answer's head, with the interim answers before it
MAX_REDIRECTS = 5
MAX_RESUMES = 3  # attempts after the first one
RETRY_PAUSE = 1.0  # seconds before the second resume (the first is at once); then doubled

Result = TypeVar("Result")

_REDIRECTS = (301, 302, 303, 307, 308)
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_STRONG_ETAG = re.compile(rb'"[\x21\x23-\x7e\x80-\xff]*"')
_CONTENT_RANGE = re.compile(rb"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.IGNORECASE)
_BAD_FIRST_LINE = ("illegal request line", "no response line received")  # h11's words


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The file is whole in the sink.

    ``md5`` is of its bytes, in hex. ``name`` is safe to use as a file's name. ``status`` is the
    last answer's, 200 or 206; ``content_type`` is what the server calls it, None where it says
    nothing. ``attempts`` is 1 where the connection never broke.
    """

    size: int
    md5: str
    name: str
    status: int
    content_type: str | None
    attempts: int


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """``received`` of ``total`` bytes are in the sink; ``total`` is None where nobody said it."""

    received: int
    total: int | None


@dataclass(frozen=True, slots=True)
class DialHttp:
    """Connect to a server, with TLS where the scheme is https, instead of any held before.

    Raises ConnectFailed.
    """

    scheme: str
    host: str
    port: int
    deadline: float


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Send these bytes. Raises ConnectFailed, also when time runs out."""

    data: bytes
    deadline: float


@dataclass(frozen=True, slots=True)
class ReceiveBytes:
    """Wait for bytes. Gives some, or none at the end of the stream.

    Raises ConnectFailed when the connection breaks or time runs out.
    """

    deadline: float


@dataclass(frozen=True, slots=True)
class Hangup:
    """Close the connection, if there is one."""


@dataclass(frozen=True, slots=True)
class OpenSink:
    """Open the sink, empty, instead of any opened before. Raises OSError.

    ``size`` is how many bytes will come, None where that is not known.
    """

    size: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """Write these bytes to the sink, all of them. Raises OSError."""

    data: Buffer


@dataclass(frozen=True, slots=True)
class TellDownload:
    """Tell the caller how far it has come."""

    progress: DownloadProgress


DownloadStep = (
    Now | Pause | DialHttp | SendBytes | ReceiveBytes | Hangup | OpenSink | Write | TellDownload
)

DownloadFlow = Generator[DownloadStep, Any, Result]


class Download:
    """The fetching of one file. ``run`` is the flow; the fields say where it stands."""

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        timeout: float = DOWNLOAD_TIMEOUT,
        max_size: int = MAX_DOWNLOAD,
        expected_size: int | None = None,
        expected_md5: str | None = None,
    ) -> None:
        """*name* is what the sender calls the file (default: what the URL calls it).

        *timeout* in seconds is for the whole download; *max_size*, *expected_size* in bytes;
        *expected_md5* in hex. Nothing is checked before ``run``.
        """
        self.name = DEFAULT_NAME  # safe to use, once ``run`` has begun
        self.attempts = 0
        self.received = 0  # bytes in the sink
        self.total: int | None = None  # bytes of the file, where a server said it
        self._url = url
        self._said = name
        self._timeout = timeout
        self._max_size = max_size
        self._expected_size = expected_size
        self._expected_md5 = expected_md5
        self._deadline = 0.0
        self._at = HttpUrl("http", "", 0, "")
        self._redirects = 0
        self._reached = False  # some server was reached
        self._etag: bytes | None = None  # of the file in the sink, where it is a strong one
        self._hash = md5(usedforsecurity=False)

    def run(self) -> DownloadFlow[Downloaded]:
        """Fetch the file.

        Raises LocalProtocolError for arguments that are always wrong, before any step; else
        DownloadFailed, with the HTTP status where that is the reason, and with the cause chained.
        What OpenSink and Write raise comes through as it is: that is not the server's doing.
        """
        self._check()
        now: float = yield Now()
        self._deadline = now + self._timeout
        wait = 0.0
        while True:
            self.attempts += 1
            try:
                return (yield from self._attempt())
            except ConnectFailed as exc:
                now = yield Now()
                if now + wait >= self._deadline:
                    late = f"not whole within {self._timeout:g} s, {self._standing()}: {exc}"
                    raise self._failed(late) from exc
                if not self._reached or self.attempts > MAX_RESUMES:
                    raise self._failed(f"{self._standing()}: {exc}") from exc
            yield Hangup()
            if wait:
                yield Pause(now + wait)
            wait = wait * 2 or RETRY_PAUSE

    # --- private ---

    def _check(self) -> None:
        self._at = parse_http_url(self._url)
        check_timeout(self._timeout)
        for what, value in (("max_size", self._max_size), ("expected_size", self._expected_size)):
            if value is not None and (type(value) is not int or value < 0):
                raise LocalProtocolError(f"{what} is an integer from 0, got {value!r}")
        expected = self._expected_md5
        good = isinstance(expected, str) and _MD5.fullmatch(expected)
        if expected is not None and not good:
            raise LocalProtocolError(f"expected_md5 is 32 digits of hex, got {expected!r}")
        said = unquote(self._at.target.partition("?")[0]) if self._said is None else self._said
        self.name = safe_name(said)
        if self._expected_size is not None:
            self._check_size(self._expected_size, None)

    def _attempt(self) -> DownloadFlow[Downloaded]:
        if self._etag is None:
            self.received = 0  # nobody could tell whether a rest belongs to the same file
        http, response = yield from self._ask()
        status = response.status_code
        if status == 206 and self.received:
            self._continue(response)
        elif status == 416 and self.received:
            raise self._start_anew("it does not have the rest")
        elif status == 200:
            yield from self._start(response)
        else:
            reason = response.reason.decode("latin-1")
            raise self._failed(f"it answered {status} {reason}".rstrip(), status)
        yield from self._receive_body(http, status)
        yield Hangup()
        content_type = _header(response, b"content-type")
        return Downloaded(
            size=self.received,
            md5=self._hash.hexdigest(),
            name=self.name,
            status=status,
            content_type=None if content_type is None else content_type.decode("latin-1"),
            attempts=self.attempts,
        )

    def _ask(self) -> DownloadFlow[tuple[h11.Connection, h11.Response]]:
        """Ask for what is missing, wherever redirects lead to."""
        while True:
            at = self._at
            yield DialHttp(at.scheme, at.host, at.port, self._deadline)
            self._reached = True
            http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            yield SendBytes(self._request(http), self._deadline)
            response = yield from self._receive_head(http)
            if response.status_code not in _REDIRECTS:
                return http, response
            self._follow(response)
            yield Hangup()

    def _request(self, http: h11.Connection) -> bytes:
        headers = [
            (b"Host", self._at.authority.encode()),
            (b"Accept", b"*/*"),
            (b"Accept-Encoding", b"identity"),
            (b"Connection", b"close"),
        ]
        if self._etag is not None and self.received:
            headers.append((b"Range", b"bytes=%d-" % self.received))
            headers.append((b"If-Range", self._etag))
        request = h11.Request(method=b"GET", target=self._at.target, headers=headers)
        return http.send(request) + http.send(h11.EndOfMessage())

    def _receive_head(self, http: h11.Connection) -> DownloadFlow[h11.Response]:
        taken = 0
        while True:
            data: bytes = yield ReceiveBytes(self._deadline)
            if not data:
                raise ConnectFailed(f"closed inside the answer's head, after {taken} bytes of it")
            room = MAX_HEAD - taken
            taken += len(data)
            http.receive_data(data[:room])
            event = self._next_event(http)
            while isinstance(event, h11.InformationalResponse):
                event = self._next_event(http)
            if isinstance(event, h11.Response):
                if data[room:]:
                    http.receive_data(data[room:])
                return event
            if taken >= MAX_HEAD:
                raise self._failed(f"the answer's head is over {MAX_HEAD} bytes")

    def _follow(self, response: h11.Response) -> None:
        status, at = response.status_code, self._at
        self._redirects += 1
        if self._redirects > MAX_REDIRECTS:
            raise self._failed(f"over {MAX_REDIRECTS} redirects", status)
        location = (_header(response, b"location") or b"").decode(errors="replace")
        if not location:
            raise self._failed(f"it answered {status} without a Location", status)
        try:
            self._at = parse_http_url(urljoin(str(at), location))
        except ValueError as exc:
            raise self._failed(f"it answered {status} with a bad Location: {exc}", status) from exc
        if (at.scheme, self._at.scheme) == ("https", "http"):
            raise self._failed(f"a redirect from https to http, to {self._at.authority}", status)

    def _start(self, response: h11.Response) -> DownloadFlow[None]:
        """Judge a 200; from here on the sink holds this answer's file."""
        self._check_coding(response)
        # Where there is a Transfer-Encoding, a Content-Length means nothing (RFC 9112, 6.3).
        coded = _header(response, b"transfer-encoding") is not None
        length = None if coded else _header(response, b"content-length")
        self.received = 0
        self.total = None if length is None else int(length)
        self._hash = md5(usedforsecurity=False)
        etag = _header(response, b"etag") or b""
        resumable = (_header(response, b"accept-ranges") or b"").lower() != b"none"
        self._etag = etag if resumable and _STRONG_ETAG.fullmatch(etag) else None
        if self.total is not None:
            self._check_size(self.total, 200)
            self._check_expected(self.total, 200)
        yield OpenSink(self.total, self.name)
        yield TellDownload(DownloadProgress(0, self.total))

    def _continue(self, response: h11.Response) -> None:
        """Judge a 206 that was asked for."""
        self._check_coding(response)
        etag, told = _header(response, b"etag"), _header(response, b"content-range") or b""
        match = _CONTENT_RANGE.fullmatch(told)
        if etag is not None and etag != self._etag:
            raise self._start_anew("it has another file now")
        if match is None:
            raise self._start_anew(f"it answered 206 without a single range, {told[:60]!r}")
        first, last, total = (int(part) for part in match.groups())
        if first != self.received or last + 1 != total or self.total not in (None, total):
            raise self._start_anew(f"it answered 206 with a range that nobody asked for, {told!r}")
        self.total = total
        self._check_size(total, 206)
        self._check_expected(total, 206)

    def _receive_body(self, http: h11.Connection, status: int) -> DownloadFlow[None]:
        while not (yield from self._take(http, status)):
            data: bytes = yield ReceiveBytes(self._deadline)
            http.receive_data(data)
            if not data:
                try:
                    http.next_event()  # the end of a body without a length
                except h11.RemoteProtocolError as exc:
                    raise ConnectFailed("closed before the end") from exc
                break
        if self.total is not None and self.received < self.total:  # only a 206 can do that
            raise ConnectFailed("the answer ended early")
        self._check_expected(self.received, status)
        digest = self._hash.hexdigest()
        if self._expected_md5 is not None and digest != self._expected_md5.lower():
            raise self._failed(
                f"the md5 of its bytes is {digest}, expected {self._expected_md5}", status
            )

    def _take(self, http: h11.Connection, status: int) -> DownloadFlow[bool]:
        """Write what came of the body; whether that was the last of it."""
        pieces: list[bytes] = []
        size = self.received
        fault: DownloadFailed | None = None
        event: object = None
        try:
            while isinstance(event := self._next_event(http), h11.Data):
                pieces.append(event.data)
                size += len(event.data)
        except DownloadFailed as exc:
            fault = exc  # after the bytes before it, however they were cut
        if pieces:
            if size > self._max_size:
                raise self._failed(f"over the limit of {self._max_size} bytes", status)
            for expected in (self._expected_size, self.total):
                if expected is not None and size > expected:
                    raise self._failed(f"more than the expected {expected} bytes came", status)
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._hash.update(data)
            yield Write(data)
            self.received = size
            yield TellDownload(DownloadProgress(size, self.total))
        if fault is not None:
            raise fault
        return isinstance(event, h11.EndOfMessage)

    def _next_event(self, http: h11.Connection) -> object:
        try:
            return http.next_event()
        except h11.RemoteProtocolError as exc:
            # h11 quotes without a limit; how it calls a bad first line depends on the cuts.
            text = str(exc).partition(": bytearray")[0]
            text = "illegal status line" if text in _BAD_FIRST_LINE else text
            raise self._failed(f"the answer is not HTTP: {text}") from exc

    def _start_anew(self, text: str) -> ConnectFailed:
        """What to raise where the rest cannot be had: the next attempt is for the whole file."""
        self._etag = None
        return ConnectFailed(text)

    def _check_coding(self, response: h11.Response) -> None:
        coding = _header(response, b"content-encoding") or b""
        if coding.lower() not in (b"", b"identity"):
            raise self._failed(
                f"Content-Encoding must be identity, got {coding[:60]!r}", response.status_code
            )

    def _check_size(self, size: int, status: int | None) -> None:
        if size > self._max_size:
            raise self._failed(
                f"the file has {size} bytes, over the limit of {self._max_size}", status
            )

    def _check_expected(self, size: int, status: int) -> None:
        if self._expected_size is not None and size != self._expected_size:
            raise self._failed(f"the file has {size} bytes, expected {self._expected_size}", status)

    def _standing(self) -> str:
        total = "an unknown number of" if self.total is None else self.total
        return f"after {self.received} of {total} bytes"

    def _failed(self, text: str, status: int | None = None) -> DownloadFailed:
        return DownloadFailed(f"download from {self._at.authority} failed: {text}", status)


def _header(response: h11.Response, name: bytes) -> bytes | None:
    values = [value for found, value in response.headers if found == name]
    return b", ".join(values) if values else None
