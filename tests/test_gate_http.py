"""One stored file over HTTP: each answer as a strict client reads it, and stores that fail."""

from __future__ import annotations

from collections.abc import Callable

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import LocalProtocolError
from rtm_proto.gate.http import (
    MAX_AGE,
    PIECE,
    FileExchange,
    preflight_response,
    text_response,
)
from rtm_proto.gate.links import FileLink

KEY = "abcDEF_-0123456789"
ETAG = "5d41402abc4b2a76b9719d911017c592"
FILE = bytes(range(256)) * 4


def exchange(
    *headers: tuple[str, str],
    method: str = "GET",
    target: str = f"/files/{KEY}",
    version: str = "1.1",
    allow_origin: str | None = "*",
) -> FileExchange:
    lines = [f"{method} {target} HTTP/{version}", "Host: gate"]
    lines += [f"{name}: {value}" for name, value in headers]
    http = h11.Connection(h11.SERVER)
    http.receive_data("\r\n".join([*lines, "", ""]).encode("latin-1"))
    request = http.next_event()
    assert isinstance(request, h11.Request)
    return FileExchange(http, request, allow_origin=allow_origin)


def answer(file: bytes, *headers: tuple[str, str], method: str = "GET") -> h11.Response:
    response, _ = whole_answer(file, *headers, method=method)
    return response


def whole_answer(
    file: bytes,
    *headers: tuple[str, str],
    method: str = "GET",
    name: str = "a.png",
    mtype: int = 40,
) -> tuple[h11.Response, bytes]:
    """What a strict client reads when the store has *file*."""
    asked = exchange(*headers, method=method)
    asked.found(size=len(file), etag=ETAG, name=name, mtype=mtype)
    said = serve(asked, file)
    assert asked.abrupt is None
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "gate")]))
    client.send(h11.EndOfMessage())
    client.receive_data(said)
    if not asked.keep_alive:
        client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == asked.status
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    if asked.keep_alive:
        assert client.next_event() is h11.NEED_DATA  # nothing is behind it
    else:
        assert isinstance(client.next_event(), h11.ConnectionClosed)
    return response, body


def serve(asked: FileExchange, file: bytes) -> bytes:
    said = b""
    while not asked.done:
        wanted = asked.wanted()
        assert wanted is not None
        offset, size = wanted
        assert 0 < size <= PIECE
        asked.provide(file[offset : offset + size])
        said += b"".join(asked.data_to_send())
    assert asked.wanted() is None
    return said + b"".join(asked.data_to_send())


def value(response: h11.Response, name: bytes) -> str | None:
    values = [found.decode() for header, found in response.headers if header == name]
    assert len(values) < 2
    return values[0] if values else None


# --- whole files ---


def test_the_whole_answer_to_a_get() -> None:
    asked = exchange()
    assert (asked.key, asked.status, asked.wanted()) == (KEY, None, None)
    asked.found(size=5, etag=ETAG, name="hello wörld.png", mtype=40)
    assert asked.status == 200
    assert asked.data_to_send() == []  # nothing is promised before the store has shown a byte
    assert asked.wanted() == (0, 5)
    body = b"hello"
    asked.provide(body)
    assert asked.done
    head, data = asked.data_to_send()
    assert data is body  # not copied
    assert bytes(head) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Length: 5\r\n"
        b"Content-Type: image/png\r\n"
        b'Content-Disposition: inline; filename="hello w_rld.png"; '
        b"filename*=UTF-8''hello%20w%C3%B6rld.png\r\n"
        b"Accept-Ranges: bytes\r\n"
        b'ETag: "5d41402abc4b2a76b9719d911017c592"\r\n'
        b"Cache-Control: private, max-age=31536000, immutable\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Content-Security-Policy: default-src 'none'; sandbox\r\n"
        b"Cross-Origin-Resource-Policy: cross-origin\r\n"
        b"Referrer-Policy: no-referrer\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Expose-Headers: "
        b"Accept-Ranges, Content-Disposition, Content-Range, ETag\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_files_of_any_size_come_whole(size: int) -> None:
    file = (FILE * (size // len(FILE) + 1))[:size]
    response, body = whole_answer(file)
    assert response.status_code == 200
    assert value(response, b"content-length") == str(size)
    assert body == file


@pytest.mark.parametrize(
    ("version", "header", "keeps"),
    [
        ("1.1", [], True),
        ("1.1", [("Connection", "keep-alive")], True),
        ("1.1", [("Connection", "Close")], False),
        ("1.1", [("Connection", "x, close")], False),
        ("1.0", [], False),
        ("1.0", [("Connection", "keep-alive")], False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_another_request_may_follow_where_the_asker_takes_that(
    version: str, header: list[tuple[str, str]], keeps: bool, method: str
) -> None:
    asked = exchange(*header, method=method, version=version)
    asked.found(size=5, etag=ETAG, name="a", mtype=50)
    assert not asked.keep_alive or method == "HEAD"
    said = serve(asked, b"hello")
    assert asked.keep_alive is keeps
    assert (b"\r\nConnection: close\r\n" in said) is not keeps
    known = exchange(("If-None-Match", "*"), *header, method=method, version=version)
    known.found(size=5, etag=ETAG, name="a", mtype=50)
    assert known.keep_alive is keeps


def test_how_long_a_file_may_be_kept_can_be_told() -> None:
    asked = exchange()
    asked.found(size=0, etag=ETAG, name="a", mtype=50, max_age=7)
    assert b"\r\nCache-Control: private, max-age=7, immutable\r\n" in serve(asked, b"")
    assert MAX_AGE == 365 * 24 * 3600


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1])
def test_what_is_there_whole_is_answered_at_once(size: int) -> None:
    data = (FILE * (size // len(FILE) + 1))[:size]
    asked = exchange()
    asked.found_whole(data, etag="t", name="thumbnail.jpg", mtype=40)
    assert asked.done and asked.keep_alive
    head, _, body = b"".join(map(bytes, asked.data_to_send())).partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: image/jpeg\r\n" in head
    assert body == data


def test_a_range_of_what_is_there_whole_is_that_part() -> None:
    asked = exchange(("Range", "bytes=2-3"))
    asked.found_whole(b"abcdef", etag="t", name="a", mtype=40)
    assert asked.status == 206
    assert b"".join(map(bytes, asked.data_to_send())).endswith(b"\r\n\r\ncd")


def test_any_buffer_may_be_provided() -> None:
    for kind in (bytes, bytearray, memoryview):
        asked = exchange()
        asked.found(size=3, etag=ETAG, name="", mtype=50)
        asked.provide(kind(b"abc"))
        assert b"".join(asked.data_to_send()).endswith(b"\r\n\r\nabc")


def test_a_head_request_gets_the_same_head_and_no_body() -> None:
    got, _ = whole_answer(FILE)
    head, body = whole_answer(FILE, ("Range", "bytes=1-2"), method="HEAD")
    assert head == got
    assert body == b""


# --- ranges ---


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 1024),
        ("Bytes=10-19", 10, 20),
        ("bytes=1000-", 1000, 1024),
        ("bytes=1023-", 1023, 1024),
        ("bytes=1000-9999999999999999999", 1000, 1024),
        ("bytes=-1", 1023, 1024),
        ("bytes=-1024", 0, 1024),
        ("bytes=-5000", 0, 1024),
    ],
)
def test_one_range_is_served(asked: str, start: int, end: int) -> None:
    response, body = whole_answer(FILE, ("Range", asked))
    assert response.status_code == 206
    assert value(response, b"content-range") == f"bytes {start}-{end - 1}/1024"
    assert value(response, b"content-length") == str(end - start)
    assert value(response, b"etag") == f'"{ETAG}"'
    assert body == FILE[start:end]


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(asked: str) -> None:
    response, body = whole_answer(FILE, ("Range", asked))
    assert response.status_code == 416
    assert value(response, b"content-range") == "bytes */1024"
    assert body == b"the range is behind the end\n"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,3-4",
        "bytes=5-4",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0x1-2",
        "bytes=1",
        "bytes=--1",
        "bytes = 0-1",
        "bytes=0-1 x",
        "items=0-1",
        "bytes=0-" + "9" * 20,
        "bytes=" + "9" * 10_000 + "-",
    ],
)
def test_other_ranges_get_the_whole_file(asked: str) -> None:
    response, body = whole_answer(FILE, ("Range", asked))
    assert (response.status_code, body) == (200, FILE)


def test_two_range_headers_get_the_whole_file() -> None:
    response, body = whole_answer(FILE, ("Range", "bytes=0-1"), ("Range", "bytes=0-1"))
    assert (response.status_code, body) == (200, FILE)


def test_an_empty_file_has_no_ranges() -> None:
    for asked in ("bytes=0-", "bytes=-1", "bytes=5-6"):
        response, body = whole_answer(b"", ("Range", asked))
        assert (response.status_code, body) == (200, b"")


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f'"{ETAG}"', 206),
        ('"other"', 200),
        (f'W/"{ETAG}"', 200),
        (ETAG, 200),
        ("Sat, 29 Oct 1994 19:43:31 GMT", 200),
    ],
)
def test_a_range_is_served_only_if_it_is_of_this_file(condition: str, status: int) -> None:
    asked = ("Range", "bytes=10-19"), ("If-Range", condition)
    response, body = whole_answer(FILE, *asked)
    assert response.status_code == status
    assert body == (FILE[10:20] if status == 206 else FILE)


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("*", 304),
        (f'"{ETAG}"', 304),
        (f'W/"{ETAG}"', 304),
        (f'"other", W/"{ETAG}"', 304),
        ('"other"', 200),
        (ETAG, 200),
        ("", 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_the_file_is_not_sent_it_again(known: str, status: int, method: str) -> None:
    response = answer(FILE, ("If-None-Match", known), ("Range", "bytes=x"), method=method)
    assert response.status_code == status
    assert value(response, b"etag") == f'"{ETAG}"'
    assert value(response, b"cache-control") == "private, max-age=31536000, immutable"


# --- names ---


@given(st.text())
def test_no_name_can_break_the_head(name: str) -> None:
    response, body = whole_answer(b"x", name=name)
    assert body == b"x"
    assert (value(response, b"content-disposition") or "").isprintable()


# --- what is not there, and stores that fail ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_that_is_not_there(method: str) -> None:
    asked = exchange(method=method)
    asked.not_found()
    assert (asked.done, asked.abrupt, asked.status) == (True, None, 404)
    head, _, body = b"".join(asked.data_to_send()).partition(b"\r\n\r\n")
    assert head == (
        b"HTTP/1.1 404 Not Found\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Expose-Headers: "
        b"Accept-Ranges, Content-Disposition, Content-Range, ETag\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 13\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Cache-Control: no-store\r\n"
        b"Connection: close"
    )
    assert body == (b"no such file\n" if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_that_may_not_be_read(method: str) -> None:
    asked = exchange(method=method)
    asked.refuse(410, "the link has expired")
    assert (asked.done, asked.keep_alive, asked.abrupt, asked.status) == (True, False, None, 410)
    said = b"".join(map(bytes, asked.data_to_send()))
    assert said.startswith(b"HTTP/1.1 410 Gone\r\n")
    assert said.endswith(b"\r\n\r\n" + (b"the link has expired\n" if method == "GET" else b""))


def test_a_redirect_says_where_and_is_not_kept() -> None:
    asked = exchange()
    asked.redirect("../a.png?until=5&sign=ab")
    assert (asked.done, asked.keep_alive, asked.status) == (True, False, 302)
    said = b"".join(map(bytes, asked.data_to_send()))
    assert said.startswith(
        b"HTTP/1.1 302 Found\r\nLocation: ../a.png?until=5&sign=ab\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
    )
    assert b"\r\nCache-Control: no-store\r\n" in said


def test_what_is_no_file_is_not_for_pages() -> None:
    asked = exchange(target="/metrics")
    assert (asked.link, asked.path) == (None, "/metrics")
    asked.tell(200, "figures")
    assert (asked.done, asked.keep_alive, asked.status) == (True, False, 200)
    said = b"".join(map(bytes, asked.data_to_send()))
    assert said.startswith(b"HTTP/1.1 200 OK\r\n") and said.endswith(b"\r\n\r\nfigures\n")
    assert b"Access-Control" not in said


def test_what_is_asked_for_is_read_from_the_target() -> None:
    assert exchange().link == FileLink(KEY)
    assert exchange(target=f"/files/{KEY}/thumbnail/a").link == FileLink(KEY, True)
    assert exchange(target=f"/files/{KEY}/a%20b?c").path == f"/files/{KEY}/a b"


# --- pages ---


@pytest.mark.parametrize("origin", ["*", "https://app.example", None])
def test_pages_of_one_origin_of_any_or_of_none_may_read(origin: str | None) -> None:
    allowed = f"\r\nAccess-Control-Allow-Origin: {origin}\r\n".encode()
    found, refused = exchange(allow_origin=origin), exchange(allow_origin=origin)
    found.found(size=0, etag=ETAG, name="a", mtype=50)
    refused.not_found()
    for said in (serve(found, b""), serve(refused, b""), preflight_response(origin)):
        assert (allowed in said) is (origin is not None)
        assert (b"\r\nAccess-Control-" in said) is (origin is not None)


def test_the_whole_answer_to_a_preflight() -> None:
    assert preflight_response() == (
        b"HTTP/1.1 204 No Content\r\n"
        b"Allow: GET, HEAD, OPTIONS\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Allow-Methods: GET, HEAD\r\n"
        b"Access-Control-Allow-Headers: If-None-Match, If-Range, Range\r\n"
        b"Access-Control-Max-Age: 86400\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (302, "Found"),
        (400, "Bad Request"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (410, "Gone"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (416, "Range Not Satisfiable"),
        (431, "Request Header Fields Too Large"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"),
        (503, "Service Unavailable"),
        (505, "HTTP Version Not Supported"),
    ],
)
def test_a_short_answer_is_whole(status: int, phrase: str) -> None:
    said = text_response(status, "why", headers=[("Allow", "GET")])
    assert (
        said
        == (
            f"HTTP/1.1 {status} {phrase}\r\n"
            "Allow: GET\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Length: 4\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            "Cache-Control: no-store\r\n"
            "Connection: close\r\n"
            "\r\n"
            "why\n"
        ).encode()
    )
    head = text_response(status, "why", headers=[("Allow", "GET")], head_only=True)
    assert head == said[: -len(b"why\n")]


@pytest.mark.parametrize("found", [False, True])
def test_a_store_that_fails_before_the_first_byte_is_a_500(found: bool) -> None:
    asked = exchange()
    if found:
        asked.found(size=5, etag=ETAG, name="a", mtype=50)
    asked.failed("disk on fire")
    assert (asked.done, asked.abrupt, asked.status) == (True, None, 500)
    said = b"".join(asked.data_to_send())
    assert said.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"fire" not in said
    asked.failed("again")
    assert asked.data_to_send() == []


def test_a_store_that_fails_later_is_an_abrupt_end() -> None:
    asked = exchange()
    asked.found(size=2 * PIECE, etag=ETAG, name="a", mtype=50)
    asked.provide(bytes(PIECE))
    asked.failed("disk on fire")
    assert (asked.done, asked.abrupt, asked.status) == (True, "disk on fire", 200)
    assert asked.wanted() is None
    assert len(b"".join(asked.data_to_send()).partition(b"\r\n\r\n")[2]) == PIECE == 64 * 1024


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE + 1])
def test_a_piece_of_the_wrong_size_never_goes_out(size: int) -> None:
    asked = exchange()
    asked.found(size=3 * PIECE, etag=ETAG, name="a", mtype=50)
    asked.provide(bytes(PIECE))
    assert asked.wanted() == (PIECE, PIECE)
    asked.data_to_send()
    asked.provide(bytes(size))
    assert asked.abrupt == f"the store gave {size} bytes at {PIECE}, expected {PIECE}"
    assert asked.data_to_send() == []


def test_a_first_piece_of_the_wrong_size_is_a_500() -> None:
    asked = exchange()
    asked.found(size=5, etag=ETAG, name="a", mtype=50)
    asked.provide(b"four")
    assert (asked.abrupt, asked.status) == (None, 500)


# --- what the gate must not do ---


ABUSES: list[Callable[[FileExchange], None]] = [
    lambda asked: asked.found(size=-1, etag=ETAG, name="a", mtype=50),
    lambda asked: asked.found(size=True, etag=ETAG, name="a", mtype=50),
    lambda asked: asked.found(size=1, etag="", name="a", mtype=50),
    lambda asked: asked.found(size=1, etag='a"b', name="a", mtype=50),
    lambda asked: asked.found(size=1, etag="a\r\nb", name="a", mtype=50),
    lambda asked: asked.provide(b""),
]


@pytest.mark.parametrize("abuse", ABUSES)
def test_what_is_always_wrong_changes_nothing(abuse: Callable[[FileExchange], None]) -> None:
    asked = exchange()
    with pytest.raises(LocalProtocolError):
        abuse(asked)
    asked.found(size=1, etag=ETAG, name="a", mtype=50)
    assert serve(asked, b"x").endswith(b"\r\n\r\nx")


def test_a_request_is_answered_once() -> None:
    asked = exchange()
    asked.found(size=1, etag=ETAG, name="a", mtype=50)
    with pytest.raises(LocalProtocolError):
        asked.not_found()
    refused = exchange()
    refused.not_found()
    with pytest.raises(LocalProtocolError):
        refused.found(size=1, etag=ETAG, name="a", mtype=50)


# --- properties ---


@given(st.integers(0, 3000), st.integers(0, 4000), st.none() | st.integers(0, 4000))
def test_a_range_is_the_slice_that_it_says(size: int, first: int, last: int | None) -> None:
    file = (FILE * 3)[:size]
    response, body = whole_answer(file, ("Range", f"bytes={first}-{'' if last is None else last}"))
    if size == 0 or (last is not None and last < first):
        assert (response.status_code, body) == (200, file)
    elif first >= size:
        assert response.status_code == 416
    else:
        end = size if last is None else min(size, last + 1)
        assert (response.status_code, body) == (206, file[first:end])
        assert value(response, b"content-range") == f"bytes {first}-{end - 1}/{size}"


def sliced(file: bytes, asked: str) -> bytes | None:
    """What one range is, read as RFC 9110 has it, 14.1.2; None: there is nothing of it."""
    first, _, last = asked.partition("-")
    if not first:
        return file[-int(last) :] if int(last) else None
    part = file[int(first) :] if not last else file[int(first) : int(last) + 1]
    return part or None


@given(
    st.binary(max_size=300),
    st.one_of(
        st.integers(0, 400).map("{}-".format),
        st.integers(0, 400).map("-{}".format),
        st.tuples(st.integers(0, 400), st.integers(0, 400)).map(
            lambda ends: "{}-{}".format(*sorted(ends))
        ),
    ),
)
def test_any_one_range_is_a_slice(file: bytes, asked: str) -> None:
    response, body = whole_answer(file, ("Range", f"bytes={asked}"))
    expected = sliced(file, asked)
    if not file:
        assert (response.status_code, body) == (200, b"")
    elif expected is None:
        assert response.status_code == 416
        assert value(response, b"content-range") == f"bytes */{len(file)}"
    else:
        assert (response.status_code, body) == (206, expected)
        told = value(response, b"content-range") or ""
        start, end = told.removeprefix("bytes ").partition("/")[0].split("-")
        assert file[int(start) : int(end) + 1] == expected
        assert told.endswith(f"/{len(file)}")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Range", "If-Range", "If-None-Match"]),
            st.text('bytes=0123-, "W/*x', max_size=20).map(str.strip),
        ),
        max_size=4,
    )
)
def test_no_header_makes_an_answer_that_cannot_be_read(headers: list[tuple[str, str]]) -> None:
    response, body = whole_answer(FILE, *headers)
    assert response.status_code in (200, 206, 304, 416)
    if response.status_code == 200:
        assert body == FILE
