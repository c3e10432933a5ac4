"""URLs, endpoints and the way to the file gate, friendly and hostile."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.address import (
    WEBSOCKET_PATH,
    Address,
    FileRoute,
    HttpUrl,
    file_route,
    parse_endpoint,
    parse_http_url,
    parse_url,
)
from rtm_proto.errors import LocalProtocolError
from rtm_proto.websocket import WebSocketLink

LONG_NAME = ".".join(["a" * 60] * 4)  # 243 characters


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("ws://h", Address("ws", "h", 13321), "ws://h:13321/service/websocket"),
        ("wss://h", Address("wss", "h", 13322), "wss://h:13322/service/websocket"),
        ("tcp://h", Address("tcp", "h", 13321), "tcp://h:13321"),
        ("tcps://h", Address("tcps", "h", 13322), "tcps://h:13322"),
        ("tcp://h/", Address("tcp", "h", 13321), "tcp://h:13321"),
        ("ws://h:80/", Address("ws", "h", 80), "ws://h:80/service/websocket"),
        ("ws://h/a/b", Address("ws", "h", 13321, "/a/b"), "ws://h:13321/a/b"),
        ("ws://h/a?b=c", Address("ws", "h", 13321, "/a?b=c"), "ws://h:13321/a?b=c"),
        (
            "ws://h?b=c",
            Address("ws", "h", 13321, "/service/websocket?b=c"),
            "ws://h:13321/service/websocket?b=c",
        ),
        ("WS://Gate.Example", Address("ws", "gate.example", 13321), None),
        ("ws://127.0.0.1:1", Address("ws", "127.0.0.1", 1), None),
        ("ws://h:65535", Address("ws", "h", 65535), None),
        ("ws://h:", Address("ws", "h", 13321), None),
        ("ws://h.example.", Address("ws", "h.example.", 13321), None),
        ("ws://my_gate-1.example", Address("ws", "my_gate-1.example", 13321), None),
        ("tcp://[::1]:7", Address("tcp", "::1", 7), "tcp://[::1]:7"),
        ("tcp://[2001:DB8::1]", Address("tcp", "2001:db8::1", 13321), "tcp://[2001:db8::1]:13321"),
        ("tcp://[fe80::1%eth0]:7", Address("tcp", "fe80::1%eth0", 7), None),
        ("ws://b\u00fccher.example", Address("ws", "xn--bcher-kva.example", 13321), None),
        (f"tcp://{LONG_NAME}", Address("tcp", LONG_NAME, 13321), None),
    ],
)
def test_a_url_names_an_address(url: str, address: Address, shown: str | None) -> None:
    assert parse_url(url) == address
    if shown is not None:
        assert str(address) == shown
        assert parse_url(shown) == address
    assert address.tls == (address.scheme in ("wss", "tcps"))
    assert address.websocket == address.scheme.startswith("ws")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "h:13321",
        "http://h",
        "wsx://h",
        "://h",
        "ws:h",
        "ws:/h",
        "ws://",
        "ws:///path",
        "ws://:80",
        "ws://?a",
        "ws://h:0",
        "ws://h:65536",
        "ws://h:-1",
        "ws://h:+1",
        "ws://h:1x",
        "ws://h:\u0661",
        "ws://a b",
        " ws://h",
        "ws://h\n",
        "ws://h\t",
        "ws://h\x00",
        "ws://h\u200b",
        "ws://h/\ud800",
        "ws://h/#top",
        "ws://@h",
        "ws://user@h",
        "ws://user:word@h",
        "ws://..",
        "ws://a..b",
        "ws://.a",
        "ws://-a",
        "ws://a-",
        "ws://" + "a" * 64,
        "ws://" + LONG_NAME + ".aaaaaaaaaaa",
        "ws://a%6db",
        "ws://a,b",
        'ws://a"b',
        "ws://a\\b",
        "ws://<h>",
        "ws://[::1",
        "ws://::1",
        "ws://::1]",
        "ws://[]",
        "ws://[h]",
        "ws://[127.0.0.1]",
        "ws://[v1.a]",
        "ws://[::1]x",
        "ws://x[::1]",
        "ws://[::1%a%b]",
        "ws://[::g]",
        "ws://\u2026.example",
        "ws://" + "\u00fc" * 64,
        "ws://a\uff0fb",
        "ws://h/\u00fc",
        "ws://h/?\u00fc",
        "tcp://h/a",
        "tcps://h?a",
        "tcp://h/?a",
        b"ws://h",
        None,
        13321,
    ],
)
def test_what_is_no_url_is_a_local_error(url: object) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_url(url)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("url", ["ws://u:secret@h", "ws://u:sec/ret@h", "x://u:secret@h:99999"])
def test_a_password_in_a_url_is_not_shown(url: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_url(url)
    assert "://***@h" in str(caught.value)
    assert "sec" not in str(caught.value)


@given(
    st.text(max_size=40)
    | st.text(alphabet="wstcp:/[]@%.?#a1-", max_size=30)
    | st.tuples(
        st.sampled_from(["ws://", "wss://", "tcp://", "tcps://"]), st.text(max_size=30)
    ).map("".join)
    | st.tuples(st.just("ws://"), st.text(alphabet="ab.:[]@/%0\u00fc-_", max_size=20)).map("".join)
)
def test_every_text_is_an_address_or_a_local_error(text: str) -> None:
    try:
        address = parse_url(text)
    except LocalProtocolError:
        return
    assert parse_url(str(address)) == address
    assert 0 < address.port < 0x10000
    resolver_takes(address.host)
    WebSocketLink.client(
        address.authority, address.path, nonce=bytes(16), mask_key=lambda: bytes(4)
    )


def resolver_takes(host: str) -> None:
    """The resolver either resolves a host or raises OSError: nothing is looked up here."""
    try:
        socket.getaddrinfo(host, 1, flags=socket.AI_NUMERICHOST)
    except OSError:
        pass


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("127.0.0.1:13325", ("127.0.0.1", 13325)),
        ("gate.example:1", ("gate.example", 1)),
        ("h:00080", ("h", 80)),
        ("[::1]:65535", ("::1", 65535)),
        ("b\u00fccher.example:1", ("xn--bcher-kva.example", 1)),
    ],
)
def test_an_endpoint_has_host_and_port(endpoint: str, expected: tuple[str, int]) -> None:
    assert parse_endpoint(endpoint) == expected


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        ":",
        "h",
        "h:",
        ":80",
        "h:0",
        "h:65536",
        "h:0065536",
        "h:-1",
        "h:8 0",
        "h:\u0661",
        "h:" + "9" * 5000,
        "::1:80",
        "[::1]",
        "[]:80",
        "[h]:80",
        "[127.0.0.1]:80",
        "[1:2]:80",
        "[::1x:80",
        "x::1]:80",
        "[::1%\x00]:80",
        "h\x00:80",
        "h\r\nx:80",
        "a..b:80",
        "a" * 64 + ":80",
        "user@h:80",
        "http://h:80",
        "h/x:80",
        "h?x:80",
        "h#x:80",
        "\udc80:80",
        " h:80",
    ],
)
def test_what_is_no_endpoint_is_a_local_error(endpoint: str) -> None:
    with pytest.raises(LocalProtocolError, match="an endpoint is host:port"):
        parse_endpoint(endpoint)


@given(
    st.text(max_size=30)
    | st.tuples(st.text(alphabet="ab.:[]%-_\u00fc\x00", max_size=20), st.integers(-1, 70_000)).map(
        lambda parts: f"{parts[0]}:{parts[1]}"
    )
)
def test_every_endpoint_is_safe_to_resolve_or_a_local_error(text: str) -> None:
    try:
        host, port = parse_endpoint(text)
    except LocalProtocolError:
        return
    assert 0 < port < 0x10000
    resolver_takes(host)


# --- the way to the file gate ----------------------------------------------------------------

WS = parse_url("ws://gate.example:1/a/b")
TCP = parse_url("tcp://gate.example")


@pytest.mark.parametrize(
    ("main", "route", "address"),
    [
        ("ws://gate.example", "auto", "ws://fileproxy-gate.example:13461/service/websocket"),
        (
            "ws://" + "a" * 53 + ".example",
            "auto",
            "ws://fileproxy-" + "a" * 53 + ".example:13461/service/websocket",
        ),
        ("wss://gate.example:1", "auto", "wss://fileproxy-gate.example:13462/service/websocket"),
        ("ws://gate.example/a/b", "proxied", "ws://fileproxy-gate.example:13461/a/b"),
        ("tcp://gate.example", "proxied", "tcp://fileproxy-gate.example:13461"),
        ("tcps://gate.example", "proxied", "tcps://fileproxy-gate.example:13462"),
        ("tcp://gate.example", "auto", "tcp://files.example:7"),
        ("tcps://gate.example", "auto", "tcps://files.example:7"),
        ("ws://127.0.0.1", "auto", "ws://files.example:7/service/websocket"),
        ("ws://[::1]", "auto", "ws://files.example:7/service/websocket"),
        ("ws://localhost", "auto", "ws://files.example:7/service/websocket"),
        ("ws://" + "a" * 60 + ".example", "auto", "ws://files.example:7/service/websocket"),
        ("ws://gate.example/a/b", "direct", "ws://files.example:7/a/b"),
        ("wss://gate.example", "direct", "wss://files.example:7/service/websocket"),
        ("ws://gate.example", "tcp://other.example:9", "tcp://other.example:9"),
        ("tcp://127.0.0.1", "ws://[::1]:9/x", "ws://[::1]:9/x"),
    ],
)
def test_a_route_leads_to_the_file_gate(main: str, route: str, address: str) -> None:
    way = file_route(parse_url(main), route)
    assert str(way.address("files.example:7")) == address
    assert way.proxied == ("fileproxy-" in address)


@pytest.mark.parametrize(
    "main", ["ws://127.0.0.1", "tcp://[::1]", "ws://localhost", "ws://" + "a" * 60 + ".example"]
)
def test_a_host_without_a_proxy_name_cannot_be_proxied(main: str) -> None:
    with pytest.raises(LocalProtocolError, match="there is no fileproxy-"):
        file_route(parse_url(main), "proxied")


@pytest.mark.parametrize("route", ["", "Auto", "http://h", "h:80", None])
def test_any_other_route_is_a_local_error(route: object) -> None:
    with pytest.raises(LocalProtocolError, match="file_route is 'auto'"):
        file_route(WS, route)  # type: ignore[arg-type]


def test_an_endpoint_is_looked_at_only_where_it_is_needed() -> None:
    assert file_route(WS, "proxied").address("") == file_route(WS, "auto").address("garbage")
    assert FileRoute(WS, proxied=False, fixed=TCP).address("") == TCP
    with pytest.raises(LocalProtocolError):
        file_route(TCP, "auto").address("")


def test_a_path_is_only_shown_where_there_is_one() -> None:
    assert TCP.path == WEBSOCKET_PATH
    assert (str(TCP), TCP.authority) == ("tcp://gate.example:13321", "gate.example:13321")


# --- the URLs of stored files ---


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("http://a", HttpUrl("http", "a", 80, "/")),
        ("HTTPS://A.b:444/x?y#z", HttpUrl("https", "a.b", 444, "/x?y")),
        ("https://[::1]/x", HttpUrl("https", "::1", 443, "/x")),
        ("http://[FE80::0:1]:81", HttpUrl("http", "fe80::1", 81, "/")),
        ("http://a/ä%20?ö=[1]", HttpUrl("http", "a", 80, "/%C3%A4%20?%C3%B6=[1]")),
        ('http://a/"<>\\^`{|}', HttpUrl("http", "a", 80, "/%22%3C%3E%5C%5E%60%7B%7C%7D")),
        ("http://bücher.example", HttpUrl("http", "xn--bcher-kva.example", 80, "/")),
        ("http://a_b-c.d./@x", HttpUrl("http", "a_b-c.d.", 80, "/@x")),
        ("http://a?b", HttpUrl("http", "a", 80, "/?b")),
    ],
)
def test_good_urls(url: str, parsed: HttpUrl) -> None:
    assert parse_http_url(url) == parsed


@pytest.mark.parametrize(
    ("parsed", "text"),
    [
        (HttpUrl("http", "a", 80, "/x"), "http://a/x"),
        (HttpUrl("https", "a", 80, "/x"), "https://a:80/x"),
        (HttpUrl("https", "::1", 443, "/"), "https://[::1]/"),
        (HttpUrl("https", "::1", 44, "/"), "https://[::1]:44/"),
    ],
)
def test_a_url_is_written_as_it_is_read(parsed: HttpUrl, text: str) -> None:
    assert str(parsed) == text
    assert parse_http_url(text) == parsed


BAD_URLS = [
    "",
    "gate/file",
    "//gate/file",
    "http:",
    "http://",
    "http:///file",
    "http:/gate",
    "http://:80/",
    "ftp://gate/file",
    "file:///etc/passwd",
    "ws://gate/",
    "javascript:alert(1)",
    "http://gate:0/",
    "http://a..b/",
    "http://gate:65536/",
    "http://gate:x/",
    "http://[::1/",
    "http://[::1%25eth0]/",
    "http://[1.2.3.4]/",
    "http://[v1.x]/",
    "http://a b/",
    "http://gate/a b",
    "http://gate/\r\nX: y",
    "http://gate/\x00",
    "http://gate/\ud800",
    "http://ga%74e/",
    "http://gate\\x/",
    "http://a..b\u00e4/",
    "http://" + "\u00e4" * 70 + "/",
    "http://user@gate/",
    "http://user:pass@gate/",
    "http://@gate/",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_url_of_a_file_is_named(url: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^a file's URL is http://HOST"):
        parse_http_url(url)


def test_what_is_no_text_is_no_url() -> None:
    with pytest.raises(LocalProtocolError, match="got 42"):
        parse_http_url(42)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("url", ["http://me:secret@gate/", "http://me:secret@gate:x/"])
def test_an_error_never_shows_a_password(url: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_http_url(url)
    assert "secret" not in str(caught.value)
    assert "gate" in str(caught.value)


def test_an_error_shows_the_beginning_of_a_long_url() -> None:
    whole = "ftp://" + "x" * 74  # 80 characters
    for url, shown in ((whole, whole), (whole + "x", whole + "..."), (whole * 99, whole + "...")):
        with pytest.raises(LocalProtocolError) as caught:
            parse_http_url(url)
        assert str(caught.value).endswith(f"got '{shown}'")


def test_a_fixed_way_through_a_file_proxy_carries_the_endpoint() -> None:
    assert file_route(WS, "ws://fileproxy-gate.example:13461").proxied
    assert not file_route(WS, "ws://files.example:13461").proxied
