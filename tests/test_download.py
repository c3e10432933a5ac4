"""Fetching a file: against scripted servers, against the gate's own exchange, and cut anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from itertools import pairwise
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.download import (
    MAX_DOWNLOAD,
    MAX_HEAD,
    DialHttp,
    Download,
    Downloaded,
    DownloadFlow,
    DownloadProgress,
    DownloadStep,
    Hangup,
    OpenSink,
    ReceiveBytes,
    SendBytes,
    TellDownload,
    Write,
)
from rtm_proto.errors import ConnectFailed, DownloadFailed, LocalProtocolError
from rtm_proto.flows.steps import Now, Pause
from rtm_proto.gate.front import Fetch, Front, Rejected
from rtm_proto.gate.http import PIECE
from tests.feeding import cut_up

URL = "http://gate:13461/files/0123456789abcdef/a%20file.png"
ETAG = 'ETag: "v1"'
FILE = bytes(range(251)) * 40
DIGEST = md5(FILE).hexdigest()


class Talk(Protocol):
    """One connection, as the server has it."""

    def receive(self, data: bytes) -> None: ...

    def send(self) -> bytes | None:
        """Some bytes, none at the end; None: the connection breaks; TimeoutError: silence."""
        ...


@dataclass
class World:
    """Carries out the steps of a download in memory; *dial* is the network."""

    dial: Callable[[DialHttp], Talk | None]
    now: float = 100.0
    talk: Talk | None = None
    dialled: list[DialHttp] = field(default_factory=list[DialHttp])
    opened: list[OpenSink] = field(default_factory=list[OpenSink])
    told: list[DownloadProgress] = field(default_factory=list[DownloadProgress])
    pauses: list[float] = field(default_factory=list[float])
    disk_full_at: int | None = None
    written: bytearray | None = None

    @property
    def sink(self) -> bytes | None:
        """What is in the sink; None where it was never opened."""
        return None if self.written is None else bytes(self.written)

    def run(self, flow: DownloadFlow[Downloaded]) -> Downloaded:
        outcome: object = None
        error: Exception | None = None
        while True:
            try:
                step = flow.send(outcome) if error is None else flow.throw(error)
            except StopIteration as stop:
                assert self.talk is None
                result = stop.value
                assert isinstance(result, Downloaded)
                return result
            outcome, error = None, None
            try:
                outcome = self.carry_out(step)
            except (ConnectFailed, OSError) as exc:
                error = exc

    def carry_out(self, step: DownloadStep) -> object:
        match step:
            case Now():
                return self.now
            case Pause(until):
                assert self.talk is None
                self.pauses.append(until - self.now)
                self.now = until
                return self.now
            case DialHttp():
                self.dialled.append(step)
                self.talk = self.dial(step)
                if self.talk is None:
                    raise ConnectFailed("nobody there")
            case SendBytes(data):
                assert self.talk is not None
                self.talk.receive(data)
            case ReceiveBytes(deadline):
                assert self.talk is not None
                try:
                    came = self.talk.send()
                except TimeoutError:
                    self.now = deadline
                    raise ConnectFailed("time ran out") from None
                if came is None:
                    raise ConnectFailed("reset by the peer")
                return came
            case Hangup():
                self.talk = None
            case OpenSink():
                self.opened.append(step)
                self.written = bytearray()
                if self.disk_full_at == 0:
                    raise PermissionError("not yours")
            case Write(data):
                assert self.written is not None
                self.written += data
                if self.disk_full_at is not None and len(self.written) > self.disk_full_at:
                    raise OSError("no space left")
            case TellDownload(progress):
                self.told.append(progress)
        return None


class Script:
    """A server that says *said* to whatever it is asked, then ends as *end* says."""

    def __init__(self, said: bytes | list[bytes], end: str = "eof") -> None:
        self.asked = b""
        self.end = end
        self._said = [said] if isinstance(said, bytes) else list(said)

    def receive(self, data: bytes) -> None:
        self.asked += data

    def send(self) -> bytes | None:
        if self._said:
            return self._said.pop(0)
        if self.end == "silence":
            raise TimeoutError
        return b"" if self.end == "eof" else None


def scripted(*talks: Talk | None) -> World:
    """A network where each dial meets the next of *talks*; None: nobody there."""
    left = list(talks)
    return World(lambda _: left.pop(0))


def reply(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1") + body


def ok(*headers: str, body: bytes = FILE) -> bytes:
    return reply("200 OK", f"Content-Length: {len(body)}", *headers, body=body)


def part(start: int, *headers: str, told: str | None = None, body: bytes | None = None) -> bytes:
    body = FILE[start:] if body is None else body
    told = f"bytes {start}-{len(FILE) - 1}/{len(FILE)}" if told is None else told
    headers = (f"Content-Range: {told}", f"Content-Length: {len(body)}", *headers)
    return reply("206 Partial Content", *headers, body=body)


def failing(download: Download, world: World, text: str, status: int | None = None) -> str:
    """The message of the failure, which must contain *text*, and the status that it must have."""
    with pytest.raises(DownloadFailed) as caught:
        world.run(download.run())
    message = str(caught.value)
    assert text in message
    assert caught.value.status == status
    return message


# --- the plain way ---


def test_a_file_is_fetched_whole() -> None:
    server = Script(ok('ETag: "x"', "Content-Type: image/png"))
    world = scripted(server)
    download = Download(URL, expected_size=len(FILE), expected_md5=DIGEST.upper())
    assert world.run(download.run()) == Downloaded(
        size=len(FILE),
        md5=DIGEST,
        name="a file.png",
        status=200,
        content_type="image/png",
        attempts=1,
    )
    assert world.sink == FILE
    assert world.dialled == [DialHttp("http", "gate", 13461, 220.0)]
    assert world.opened == [OpenSink(len(FILE), "a file.png")]
    assert world.told[0] == DownloadProgress(0, len(FILE))
    assert world.told[-1] == DownloadProgress(len(FILE), len(FILE))
    assert (download.received, download.total, download.attempts) == (len(FILE), len(FILE), 1)
    assert server.asked == (
        b"GET /files/0123456789abcdef/a%20file.png HTTP/1.1\r\n"
        b"Host: gate:13461\r\n"
        b"Accept: */*\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )


CHUNKED = b"".join(b"%x;a=b\r\n%s\r\n" % (len(c), c) for c in (FILE[:10], FILE[10:])) + b"0\r\n"

WHOLE = [
    ok(),
    ok("Content-Encoding: identity"),
    ok(body=FILE) + b"bytes behind the end",
    reply("103 Early Hints", "Link: x") + reply("100 Continue") + ok(),
    reply("200", body=FILE),
    b"HTTP/1.0 200 OK\r\n\r\n" + FILE,
    b"HTTP/1.1 200 OK\nETag: odd\n\n" + FILE,
    reply("200 OK", "Transfer-Encoding: chunked", body=CHUNKED + b"\r\n"),
    reply("200 OK", "Transfer-Encoding: chunked", body=CHUNKED + b"Trailer: x\r\n\r\n"),
    reply("200 OK", "Transfer-Encoding: chunked", "Content-Length: 3", body=CHUNKED + b"\r\n"),
]


@pytest.mark.parametrize("said", WHOLE)
@pytest.mark.parametrize("size", [1, 7, 1000, 1_000_000])
def test_every_framing_is_read_however_it_is_cut(said: bytes, size: int) -> None:
    pieces = [said[start : start + size] for start in range(0, len(said), size)]
    world = scripted(Script(pieces))
    result = world.run(Download(URL, expected_size=len(FILE)).run())
    assert (world.sink, result.md5, result.attempts) == (FILE, DIGEST, 1)
    assert all(a.received <= b.received for a, b in pairwise(world.told))


def test_an_empty_file_is_a_file() -> None:
    world = scripted(Script(ok(body=b"")))
    result = world.run(Download(URL, expected_size=0).run())
    assert (world.sink, result.size, result.content_type) == (b"", 0, None)


@pytest.mark.parametrize(
    ("url", "name", "told"),
    [
        ("http://gate", None, "file"),
        ("http://gate/a/b.txt?x=/c", None, "b.txt"),
        ("http://gate/%2e%2e%2f.bashrc", None, "bashrc"),
        ("http://gate/b.txt", "../../c.txt", "c.txt"),
        ("http://gate/b.txt", "", "file"),
    ],
)
def test_the_name_is_the_senders_or_the_urls_and_safe(
    url: str, name: str | None, told: str
) -> None:
    world = scripted(Script(ok()))
    assert world.run(Download(url, name=name).run()).name == told
    assert world.opened[0].name == told


# --- what is always wrong ---


BAD_URLS = ["", "ftp://gate/file", "http://gate:0/", "http://a..b/", "http://user@gate/"]


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_urls_are_named(url: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^a file's URL is http://HOST"):
        next(Download(url).run())


@pytest.mark.parametrize(
    "download",
    [
        Download(URL, timeout=0),
        Download(URL, timeout=float("nan")),
        Download(URL, max_size=-1),
        Download(URL, expected_size=-1),
        Download(URL, expected_size=True),
        Download(URL, expected_md5="x" * 32),
        Download(URL, expected_md5="0" * 31),
        Download(URL, expected_md5=b"0" * 32),  # type: ignore[arg-type] # pyright: ignore
    ],
)
def test_what_is_always_wrong_comes_before_any_step(download: Download) -> None:
    with pytest.raises(LocalProtocolError):
        next(download.run())


@pytest.mark.parametrize("what", ["max_size", "expected_size"])
def test_a_wrong_size_is_named(what: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{what} is an integer from 0, got -1"):
        next(Download(URL, **{what: -1}).run())  # type: ignore[arg-type] # pyright: ignore


def test_before_it_runs_nothing_has_come() -> None:
    download = Download(URL)
    assert (download.name, download.attempts) == ("file", 0)
    assert (download.received, download.total) == (0, None)


# --- sizes, digests, codings, statuses ---


def test_an_expected_size_over_the_limit_is_not_even_asked_for() -> None:
    world = scripted()
    text = "the file has 11 bytes, over the limit of 10"
    failing(Download(URL, max_size=10, expected_size=11), world, text)
    assert world.dialled == []


def test_an_announced_size_over_the_limit_is_not_opened() -> None:
    world = scripted(Script(ok()))
    text = f"{len(FILE)} bytes, over the limit of {len(FILE) - 1}"
    failing(Download(URL, max_size=len(FILE) - 1), world, text, 200)
    assert world.opened == []
    assert scripted(Script(ok())).run(Download(URL, max_size=len(FILE)).run()).size == len(FILE)


def test_the_limit_where_none_is_given() -> None:
    assert MAX_DOWNLOAD == 64 * 1024 * 1024
    world = scripted(Script(reply("200 OK", f"Content-Length: {MAX_DOWNLOAD + 1}")))
    failing(Download(URL), world, "over the limit of 67108864", 200)


def test_a_size_that_nobody_announced_is_cut_at_the_limit() -> None:
    said = [reply("200 OK"), FILE[:50], FILE[50:100], FILE[100:101]]
    world = scripted(Script(said))
    failing(Download(URL, max_size=100), world, "over the limit of 100 bytes", 200)
    assert world.sink == FILE[:100]
    assert scripted(Script(said[:3])).run(Download(URL, max_size=100).run()).size == 100


@pytest.mark.parametrize("announced", [len(FILE) - 1, len(FILE) + 1])
def test_another_size_than_the_expected_is_refused(announced: int) -> None:
    world = scripted(Script(ok()))
    text = f"the file has {len(FILE)} bytes, expected {announced}"
    failing(Download(URL, expected_size=announced), world, text, 200)
    assert world.opened == []
    text = "more than the expected" if announced < len(FILE) else text
    failing(Download(URL, expected_size=announced), scripted(Script(WHOLE[4])), text, 200)


def test_a_status_without_a_reason_is_told() -> None:
    message = failing(Download(URL), scripted(Script(reply("404 "))), "it answered 404", 404)
    assert message == "download from gate:13461 failed: it answered 404"


def test_a_header_that_stands_twice_is_one_list() -> None:
    world = scripted(Script(ok("Content-Encoding: gzip", "Content-Encoding: br")))
    failing(Download(URL), world, "must be identity, got b'gzip, br'", 200)


def test_what_is_no_http_is_told_and_never_quoted() -> None:
    world = scripted(Script(reply("200 OK", "secret : bytearray")))
    message = failing(Download(URL), world, "the answer is not HTTP")
    assert message == "download from gate:13461 failed: the answer is not HTTP: illegal header line"


def test_a_head_that_has_come_to_the_limit_is_not_waited_for() -> None:
    assert MAX_HEAD == 16 * 1024
    head = b"HTTP/1.1 200 OK\r\nX: "
    world = scripted(Script(head + b"x" * (MAX_HEAD - len(head)), end="silence"))
    failing(Download(URL), world, "the answer's head is over 16384 bytes")


def test_a_location_that_is_no_text_is_followed_as_well_as_can_be() -> None:
    server = Script(ok())
    world = scripted(Script(reply("302 Found", "Location: /\xff")), server)
    world.run(Download(URL).run())
    assert server.asked.startswith(b"GET /%EF%BF%BD HTTP/1.1\r\n")


def test_without_an_etag_a_rest_belongs_to_nothing() -> None:
    broken = Script(ok(body=FILE)[:-100], end="reset")
    world = scripted(broken, Script(part(len(FILE) - 100)))
    failing(Download(URL), world, "it answered 206 Partial Content", 206)


def test_before_the_first_byte_there_is_no_rest_to_ask_for() -> None:
    again = Script(ok(ETAG))
    world = scripted(Script(ok(ETAG)[: -len(FILE)], end="reset"), again)
    assert world.run(Download(URL).run()).attempts == 2
    assert b"Range" not in again.asked


def test_another_digest_than_the_expected_is_refused() -> None:
    text = f"the md5 of its bytes is {DIGEST}, expected {'0' * 32}"
    failing(Download(URL, expected_md5="0" * 32), scripted(Script(ok())), text, 200)


@pytest.mark.parametrize("coding", ["gzip", "identity, gzip", "x" * 1000])
def test_a_coding_is_refused(coding: str) -> None:
    world = scripted(Script(ok(f"Content-Encoding: {coding}")))
    failing(Download(URL), world, "Content-Encoding must be identity", 200)


@pytest.mark.parametrize(
    ("said", "text", "status"),
    [
        (reply("404 Not Found"), "it answered 404 Not Found", 404),
        (reply("500"), "it answered 500", 500),
        (reply("204 No Content"), "it answered 204", 204),
        (reply("304 Not Modified"), "it answered 304", 304),
        (reply("416 Range Not Satisfiable"), "it answered 416", 416),
        (reply("300 Multiple Choices", "Location: /"), "it answered 300", 300),
        (part(0), "it answered 206", 206),
        (reply("999 Odd"), "it answered 999 Odd", 999),
    ],
)
def test_other_statuses_are_failures(said: bytes, text: str, status: int) -> None:
    world = scripted(Script(said))
    message = failing(Download(URL), world, text, status)
    assert message.startswith("download from gate:13461 failed: ")
    assert "0123456789abcdef" not in message
    assert world.opened == []


NOT_HTTP = [
    b"\x00\x01",
    b"FPNN\x01\x80\x00\x05aaaaaaaa\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    reply("101 Switching Protocols", "Upgrade: websocket"),
    reply("200 OK", "Content-Length: x"),
    reply("200 OK", "Content-Length: 1", "Content-Length: 2"),
    reply("200 OK", "Transfer-Encoding: gzip"),
    reply("200 OK", "A: \x00"),
    reply("200 OK", "no colon"),
    reply("200 OK", "Transfer-Encoding: chunked", body=b"x\r\n"),
    reply("200 OK", "Transfer-Encoding: chunked", body=b"1\r\nab\r\n"),
    reply("200 OK", "Transfer-Encoding: chunked", body=b"f" * 21 + b"\r\n"),
    reply("200 OK", "Transfer-Encoding: chunked", body=b"1;" + b"x" * 2 * MAX_HEAD),
    reply("200 OK", "Transfer-Encoding: chunked", body=b"0\r\nA: " + b"x" * 2 * MAX_HEAD),
]


def test_what_came_before_a_fault_is_told_first() -> None:
    said = reply("200 OK", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\nx\r\n")
    world = scripted(Script(said))
    message = failing(Download(URL), world, "the answer is not HTTP: illegal chunk header")
    assert message.endswith("header")
    assert world.told[-1] == DownloadProgress(5, None)


@pytest.mark.parametrize("said", NOT_HTTP)
def test_what_is_no_http_is_a_failure_at_once(said: bytes) -> None:
    for size in (1, 1_000_000):
        pieces = [said[start : start + size] for start in range(0, len(said), size)]
        failing(Download(URL), scripted(Script(pieces)), "the answer is not HTTP")


@pytest.mark.parametrize(
    "said",
    [
        reply("200 OK", "A: " + "x" * MAX_HEAD),
        b"H" * (MAX_HEAD + 1),
        reply("100 Continue") * MAX_HEAD,
    ],
)
def test_a_head_over_the_limit_is_a_failure(said: bytes) -> None:
    for size in (1000, 1_000_000):
        pieces = [said[start : start + size] for start in range(0, len(said), size)]
        text = f"the answer's head is over {MAX_HEAD} bytes"
        failing(Download(URL), scripted(Script(pieces, "silence")), text)


def test_a_head_just_within_the_limit_is_read() -> None:
    said = reply("200 OK", f"Content-Length: {len(FILE)}", "A: ")
    said = said[:-4] + b"x" * (MAX_HEAD - len(said)) + said[-4:]
    assert len(said) == MAX_HEAD
    for pieces in ([said + FILE], [said, FILE], [said[:-1], said[-1:] + FILE]):
        world = scripted(Script(pieces))
        world.run(Download(URL).run())
        assert world.sink == FILE


# --- the sink ---


@pytest.mark.parametrize(
    ("full_at", "error"), [(0, PermissionError("not yours")), (10, OSError("no space left"))]
)
def test_what_the_sink_raises_comes_through_as_it_is(full_at: int, error: OSError) -> None:
    world = scripted(Script(ok(ETAG)))
    world.disk_full_at = full_at
    with pytest.raises(type(error), match=str(error)):
        world.run(Download(URL).run())
    assert len(world.dialled) == 1


# --- redirects ---


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "at", "target"),
    [
        ("/b?c", ("http", "gate", 13461), "/b?c"),
        ("b", ("http", "gate", 13461), "/files/0123456789abcdef/b"),
        ("//other/b", ("http", "other", 80), "/b"),
        ("https://other/b#c", ("https", "other", 443), "/b"),
    ],
)
def test_a_redirect_is_followed(
    status: int, location: str, at: tuple[str, str, int], target: str
) -> None:
    second = Script(ok())
    world = scripted(Script(reply(f"{status} Over There", f"Location: {location}")), second)
    result = world.run(Download(URL).run())
    assert (result.name, result.attempts, world.sink) == ("a file.png", 1, FILE)
    step = world.dialled[1]
    assert (step.scheme, step.host, step.port) == at
    assert second.asked.startswith(b"GET %s HTTP/1.1\r\nHost: " % target.encode())


def test_five_redirects_are_followed_and_no_more() -> None:
    over = reply("302 Found", "Location: /")
    world = scripted(*(Script(over) for _ in range(5)), Script(ok()))
    assert world.run(Download(URL).run()).attempts == 1
    world = scripted(*(Script(over) for _ in range(6)))
    failing(Download(URL), world, "over 5 redirects", 302)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ([], "it answered 302 without a Location"),
        (["Location:"], "it answered 302 without a Location"),
        (["Location: ftp://gate/"], "it answered 302 with a bad Location"),
        (["Location: file:///etc/passwd"], "it answered 302 with a bad Location"),
        (["Location: http://me:secret@gate/"], "it answered 302 with a bad Location"),
        (["Location: http://[::1/"], "it answered 302 with a bad Location"),
        (["Location: //[x"], "it answered 302 with a bad Location"),
        (["Location: /a", "Location: /b"], "it answered 302 with a bad Location"),
        (["Location: http://other/"], "a redirect from https to http, to other"),
    ],
)
def test_bad_redirects_are_not_followed(headers: list[str], text: str) -> None:
    world = scripted(Script(reply("302 Found", *headers)))
    message = failing(Download("https://gate/a"), world, text, 302)
    assert "secret" not in message
    assert len(world.dialled) == 1


# --- connections that break ---


def test_a_server_that_is_not_there_is_not_asked_again() -> None:
    world = scripted(None)
    message = failing(Download(URL), world, "nobody there")
    assert "after 0 of an unknown number of bytes" in message
    assert len(world.dialled) == 1


@pytest.mark.parametrize("end", ["eof", "reset"])
def test_the_rest_is_asked_for_where_it_broke(end: str) -> None:
    second = Script(part(1000, ETAG))
    world = scripted(Script(ok(ETAG)[: -len(FILE) + 1000], end), second)
    result = world.run(Download(URL, expected_md5=DIGEST).run())
    assert (world.sink, result.status, result.attempts) == (FILE, 206, 2)
    assert b'\r\nRange: bytes=1000-\r\nIf-Range: "v1"\r\n' in second.asked
    assert len(world.opened) == 1
    assert world.pauses == []


def test_a_chunked_file_is_continued_too() -> None:
    first = reply("200 OK", "Transfer-Encoding: chunked", ETAG, body=b"a\r\n" + FILE[:10])
    world = scripted(Script(first), Script(part(10)))
    assert world.run(Download(URL).run()).md5 == DIGEST
    assert world.opened == [OpenSink(None, "a file.png")]
    assert world.told[-1] == DownloadProgress(len(FILE), len(FILE))


def cut(at: int, *headers: str) -> Script:
    return Script(ok(*headers)[: -len(FILE) + at], "reset")


def test_three_times_and_with_growing_pauses() -> None:
    world = scripted(cut(10, ETAG), Script(part(10)[: -len(FILE) + 30]), None, Script(part(30)))
    assert world.run(Download(URL).run()).attempts == 4
    assert world.sink == FILE
    assert world.pauses == [1.0, 2.0]
    world = scripted(cut(10, ETAG), None, Script(b""), Script(part(10)[:-1], "reset"))
    text = f"after {len(FILE) - 1} of {len(FILE)} bytes: reset by the peer"
    failing(Download(URL), world, text)
    assert len(world.dialled) == 4


def test_a_server_that_closes_without_an_answer_is_asked_again() -> None:
    world = scripted(Script(b""), Script(b"HTTP/1.1 200"), Script(ok()))
    assert world.run(Download(URL).run()).attempts == 3
    world = scripted(*(Script(b"HTTP") for _ in range(4)))
    failing(Download(URL), world, "closed inside the answer's head, after 4 bytes of it")


@pytest.mark.parametrize(
    "headers", [[], ['ETag: W/"v1"'], ["ETag: v1"], [ETAG, ETAG], [ETAG, "Accept-Ranges: none"]]
)
def test_without_a_strong_etag_it_starts_from_zero(headers: list[str]) -> None:
    second = Script(ok())
    world = scripted(cut(1000, *headers), second)
    assert world.run(Download(URL).run()).status == 200
    assert world.sink == FILE
    assert b"Range" not in second.asked
    assert len(world.opened) == 2


def test_a_file_that_changed_meanwhile_starts_from_zero() -> None:
    other = FILE[::-1] + b"!"
    world = scripted(cut(1000, ETAG), Script(ok('ETag: "v2"', body=other)))
    result = world.run(Download(URL).run())
    assert (world.sink, result.size, result.md5) == (other, len(other), md5(other).hexdigest())
    assert [progress.received for progress in world.told] == [0, 1000, 0, len(other)]


UNFIT = [
    part(1000, 'ETag: "v2"'),
    part(1000, told="bytes 999-10039/10040"),
    part(1000, told="bytes 1000-10038/10040"),
    part(1000, told="bytes 1000-10040/10041"),
    part(1000, told="bytes 1000-10039/*"),
    part(1000, told="bytes */10040"),
    part(1000, told="items 1000-10039/10040"),
    part(1000, told="bytes 1000-" + "9" * 5000 + "/*"),
    reply("206 Partial Content", "Content-Type: multipart/byteranges; boundary=x"),
    reply("416 Range Not Satisfiable", "Content-Range: bytes */5"),
]


@pytest.mark.parametrize("said", UNFIT)
def test_a_rest_that_does_not_fit_starts_from_zero(said: bytes) -> None:
    third = Script(ok())
    world = scripted(cut(1000, ETAG), Script(said), third)
    assert world.run(Download(URL).run()).attempts == 3
    assert world.sink == FILE
    assert b"Range" not in third.asked


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (part(10, "Content-Encoding: gzip"), "Content-Encoding must be identity"),
        (part(10, told="bytes 10-99999/100000"), "over the limit of 20000"),
        (part(10, told="bytes 10-10049/10050"), "the file has 10050 bytes, expected 10040"),
        (part(10, body=FILE[10:] + b"!"), "more than the expected 10040 bytes came"),
    ],
)
def test_a_rest_is_judged_like_a_whole(said: bytes, text: str) -> None:
    first = reply("200 OK", "Transfer-Encoding: chunked", ETAG, body=b"a\r\n" + FILE[:10])
    download = Download(URL, max_size=20_000, expected_size=len(FILE))
    failing(download, scripted(Script(first), Script(said)), text, 206)


def test_more_than_announced_is_refused_without_an_expected_size() -> None:
    world = scripted(cut(10, ETAG), Script(part(10, body=FILE[10:] + b"!")))
    failing(Download(URL), world, "more than the expected 10040 bytes came", 206)


def test_a_rest_that_ends_early_is_asked_for_again() -> None:
    chunked = reply(
        "206 Partial Content",
        "Content-Range: bytes 10-10039/10040",
        "Transfer-Encoding: chunked",
        body=b"a\r\n" + FILE[10:20] + b"\r\n0\r\n\r\n",
    )
    world = scripted(cut(10, ETAG), Script(chunked), Script(part(20)))
    assert world.run(Download(URL).run()).attempts == 3
    assert world.sink == FILE


# --- time ---


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1", ok()[:-1]])
def test_silence_ends_at_the_deadline(said: bytes) -> None:
    world = scripted(Script([said] if said else [], "silence"))
    text = "not whole within 5 s"
    failing(Download(URL, timeout=5), world, text)
    assert world.now == 105.0
    assert len(world.dialled) == 1


def test_no_pause_goes_beyond_the_deadline() -> None:
    world = scripted(cut(10, ETAG), None, None)
    failing(Download(URL, timeout=1.5), world, "not whole within 1.5 s, after 10 of 10040 bytes")
    assert world.pauses == [1.0]


# --- with the gate's own side ---


class GateTalk:
    """Front and FileExchange, with a store that holds *file* and a line that breaks at *cut*."""

    def __init__(
        self, file: bytes, *, cut: int | None = None, size: int = PIECE, etag: str = "v1"
    ) -> None:
        self.longest = 0  # bytes that waited to be sent, at the most
        self._front = Front()
        self._file = file
        self._cut = cut
        self._etag = etag
        self._pieces = self._run(size)

    def receive(self, data: bytes) -> None:
        for byte in data:
            self._front.receive_data(bytes([byte]))

    def send(self) -> bytes | None:
        piece = next(self._pieces, b"")
        if self._cut is None:
            return piece
        piece, self._cut = piece[: self._cut], max(0, self._cut - len(piece))
        return piece or None

    def _run(self, size: int) -> Iterator[bytes]:
        match self._front.decision:
            case Fetch(exchange):
                pass
            case Rejected(data):
                yield data
                return
            case _:
                raise AssertionError(self._front.decision)
        if exchange.key is None:
            exchange.not_found()
        else:
            exchange.found(size=len(self._file), etag=self._etag, name="a.png", mtype=40)
        while True:
            waiting = b"".join(exchange.data_to_send())
            self.longest = max(self.longest, len(waiting))
            for start in range(0, len(waiting), size):
                yield waiting[start : start + size]
            wanted = exchange.wanted()
            if wanted is None:
                return
            offset, length = wanted
            exchange.provide(memoryview(self._file)[offset : offset + length])


@pytest.mark.parametrize("size", [0, 1, 1000, PIECE, PIECE + 1, 300_000])
def test_a_file_comes_from_the_gate_to_the_sink(size: int) -> None:
    file = (FILE * 30)[:size]
    world = World(lambda _: GateTalk(file))
    digest = md5(file).hexdigest()
    result = world.run(Download(URL, expected_size=size, expected_md5=digest).run())
    assert world.sink == file
    assert result == Downloaded(size, digest, "a file.png", 200, "image/png", 1)


def test_a_path_without_a_key_is_not_found_at_the_gate() -> None:
    world = World(lambda _: GateTalk(FILE))
    failing(Download("http://gate/files/short"), world, "404 Not Found", 404)
    failing(Download("http://gate/" + "x" * 20_000), world, "414 URI Too Long", 414)


def test_wherever_the_line_breaks_the_file_is_continued() -> None:
    file = (FILE * 15)[:150_000]
    for at in range(0, len(file) + 1500, 1000):
        world = scripted(GateTalk(file, cut=at), GateTalk(file))
        result = world.run(Download(URL, expected_md5=md5(file).hexdigest()).run())
        assert world.sink == file
        assert result.attempts == (2 if at <= len(file) else 1)  # the head counts too
        assert len(world.opened) == 1  # what was in the sink was never fetched again


def test_the_line_may_break_three_times() -> None:
    cuts = (GateTalk(FILE, cut=at) for at in (3000, 2000, 500))
    world = scripted(*cuts, GateTalk(FILE))
    assert world.run(Download(URL).run()).attempts == 4
    assert world.sink == FILE
    assert len(world.opened) == 1


def test_a_gate_whose_file_changed_sends_all_of_the_new_one() -> None:
    world = scripted(GateTalk(FILE, cut=3000), GateTalk(FILE[::-1], etag="v2"))
    assert world.run(Download(URL).run()).status == 200
    assert world.sink == FILE[::-1]


def test_a_slow_reader_does_not_make_the_gate_hold_more_than_a_piece() -> None:
    file = (FILE * 30)[:300_000]
    talk = GateTalk(file, size=100)
    world = World(lambda _: talk)
    world.run(Download(URL).run())
    assert world.sink == file
    assert talk.longest < PIECE + 1000


# --- properties ---

WORDS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 206 Partial Content\r\n",
        b"HTTP/1.1 302 Found\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Range: bytes 5-9/10\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b'ETag: "v1"\r\n',
        b"Location: /\r\n",
        b"Location: //[\r\n",
        b"Location: \xff\r\n",
        b"\r\n",
        b"\n",
        b"5\r\nabcde\r\n",
        b"0\r\n\r\n",
        b"abcde",
    ]
)
ANSWERS = st.binary(max_size=60) | st.lists(WORDS | st.binary(max_size=5), max_size=10).map(
    b"".join
)
ENDS = st.sampled_from(["eof", "reset", "silence"])


@given(st.lists(st.tuples(ANSWERS, ENDS), max_size=8), st.none() | st.integers(0, 12))
def test_whatever_a_server_says_the_end_is_a_file_or_a_documented_error(
    answers: list[tuple[bytes, str]], expected: int | None
) -> None:
    scripts = iter([Script([said] if said else [], end) for said, end in answers])
    world = World(lambda _: next(scripts, None))
    try:
        result = world.run(Download(URL, max_size=12, expected_size=expected).run())
    except DownloadFailed:
        assert world.sink is None or len(world.sink) <= 12
    else:
        assert world.sink is not None
        assert result.size == len(world.sink)
        assert result.md5 == md5(world.sink).hexdigest()
        assert expected in (None, result.size)
    assert len(world.dialled) <= 9


@given(st.data(), ANSWERS, ENDS)
def test_how_an_answer_is_cut_does_not_matter(draw: st.DataObject, said: bytes, end: str) -> None:
    def outcome(pieces: list[bytes]) -> tuple[object, object]:
        pieces = [piece for piece in pieces if piece]
        world = World(lambda _: Script(pieces, end))
        try:
            return world.run(Download(URL, max_size=12).run()), world.sink
        except DownloadFailed as exc:
            return str(exc), exc.status

    assert outcome(draw.draw(cut_up(said))) == outcome([said])


def test_ending_the_flow_early_asks_for_nothing_more() -> None:
    flow = Download(URL).run()
    assert next(flow) == Now()
    assert isinstance(flow.send(0.0), DialHttp)
    assert isinstance(flow.send(None), SendBytes)
    flow.close()
    with pytest.raises(StopIteration):
        next(flow)
