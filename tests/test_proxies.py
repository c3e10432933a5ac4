"""Proxies: their URLs, and both handshakes, friendly and hostile, however the bytes are cut."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtm_proto.errors import ConnectFailed, LocalProtocolError
from rtm_proto.link import Buffer
from rtm_proto.proxies import MAX_HEAD, Proxy, Tunnel, parse_proxy

HTTP = Proxy("http", "proxy.example", 3128)
HTTP_LOGIN = Proxy("http", "proxy.example", 3128, b"us", b"p:w")
SOCKS = Proxy("socks5", "proxy.example", 1080)
SOCKS_LOGIN = Proxy("socks5", "proxy.example", 1080, b"us", b"p:w")
PROXIES = [HTTP, HTTP_LOGIN, SOCKS, SOCKS_LOGIN]
HOST, PORT = "gate.example", 13321

CONNECT = b"CONNECT gate.example:13321 HTTP/1.1\r\nHost: gate.example:13321\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n\r\n"
NO_LOGIN = bytes.fromhex("05 00")
LOGIN = bytes.fromhex("05 02")
WELCOME = bytes.fromhex("01 00")
OPEN = bytes.fromhex("05 00 00 01 7f 00 00 01 04 38")
OPEN_V6 = bytes.fromhex("05 00 00 04") + bytes(15) + bytes.fromhex("01 04 38")
OPEN_NAME = bytes.fromhex("05 00 00 03 05") + b"proxy" + bytes.fromhex("04 38")
ASK_NAME = bytes.fromhex("05 01 00 03 0c") + HOST.encode() + PORT.to_bytes(2, "big")
TAIL = b"\x16\x03\x01 the target's first bytes"


def talk(proxy: Proxy, pieces: Sequence[Buffer], host: str = HOST) -> tuple[bytes, Tunnel, bool]:
    """Hand in *pieces*: what was sent, the tunnel, and whether it is open; the rest is behind."""
    tunnel = proxy.tunnel(host, PORT)
    sent = tunnel.data_to_send()
    for number, piece in enumerate(pieces):
        if tunnel.receive_data(piece):
            tunnel.behind += b"".join(pieces[number + 1 :])
            return sent + tunnel.data_to_send(), tunnel, True
        sent += tunnel.data_to_send()
    return sent, tunnel, False


def outcome(proxy: Proxy, pieces: Sequence[Buffer]) -> object:
    """All that comes of *pieces* and the end behind them."""
    try:
        sent, tunnel, is_open = talk(proxy, pieces)
    except ConnectFailed as exc:
        return str(exc)
    return (sent, tunnel.behind) if is_open else (sent, str(tunnel.receive_eof()))


def singly(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


# --- URLs ---


@pytest.mark.parametrize(
    ("url", "proxy", "shown"),
    [
        ("http://h:1", Proxy("http", "h", 1), "http://h:1"),
        ("HTTP://H:1/", Proxy("http", "H", 1), "http://H:1"),
        ("http://u:p@h:1", Proxy("http", "h", 1, b"u", b"p"), "http://h:1"),
        ("http://u@h:1", Proxy("http", "h", 1, b"u"), "http://h:1"),
        ("http://u:@h:1", Proxy("http", "h", 1, b"u"), "http://h:1"),
        ("http://u:p:p@h:1", Proxy("http", "h", 1, b"u", b"p:p"), "http://h:1"),
        ("http://u:p@p@h:1", Proxy("http", "h", 1, b"u", b"p@p"), "http://h:1"),
        ("http://a%40b:%2f%3a%FF@h:1", Proxy("http", "h", 1, b"a@b", b"/:\xff"), "http://h:1"),
        ("http://ü:ß@h:1", Proxy("http", "h", 1, "ü".encode(), "ß".encode()), "http://h:1"),
        ("http://[::1]:3128", Proxy("http", "::1", 3128), "http://[::1]:3128"),
        ("http://bücher.example:1", Proxy("http", "xn--bcher-kva.example", 1), None),
        ("socks5://127.0.0.1:1080", Proxy("socks5", "127.0.0.1", 1080), "socks5://127.0.0.1:1080"),
        ("socks5h://u:p@h:1", Proxy("socks5", "h", 1, b"u", b"p"), "socks5://h:1"),
    ],
)
def test_a_url_names_a_proxy(url: str, proxy: Proxy, shown: str | None) -> None:
    assert parse_proxy(url) == proxy
    assert shown is None or str(proxy) == shown


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", "got another form"),
        ("secret", "got another form"),
        ("h:1", "got another form"),
        ("http:u:secret@h:1", "got another form"),
        ("http://h:1/secret", "got another form"),
        ("http://h:1?secret", "got another form"),
        ("http://h:1#secret", "got another form"),
        ("http://u:se/secret@h:1", "got another form"),
        (" http://u:secret@h:1", "got another form"),
        ("http://u:sec ret@h:1", "got another form"),
        ("http://u:secret@h:1\n", "got another form"),
        ("http://u:secret\ud800@h:1", "got another form"),
        ("https://u:secret@h:1", "got another scheme"),
        ("socks4://u:secret@h:1", "got another scheme"),
        ("ws://u:secret@h:1", "got another scheme"),
        ("http://u:secret@", "got one without HOST:PORT"),
        ("http://u:secret@h", "got one without HOST:PORT"),
        ("http://u:secret@h:0", "got one without HOST:PORT"),
        ("http://u:secret@h:65536", "got one without HOST:PORT"),
        ("http://u:secret@-:1", "got one without HOST:PORT"),
        ("http://u:secret", "got one without HOST:PORT"),
        ("http://@h:1", "got one without USER"),
        ("http://:secret@h:1", "got one without USER"),
        ("http://u%3a:secret@h:1", "no colon"),
        (f"socks5://{'secret' * 43}@h:1", "a user of a SOCKS5 proxy has up to 255 bytes, got 258"),
        (f"socks5://u:{'secret' * 43}@h:1", "a password of a SOCKS5 proxy has up to 255"),
        (b"http://u:secret@h:1", "got a bytes"),
        (None, "got a NoneType"),
    ],
)
def test_anything_else_is_refused_and_not_shown(url: Any, wrong: str) -> None:
    with pytest.raises(LocalProtocolError, match=wrong) as caught:
        parse_proxy(url)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert "secret" not in repr(shown)
        shown = shown.__cause__ or shown.__context__


@pytest.mark.parametrize(
    ("parts", "wrong"),
    [
        (("https", "h", 1), "scheme"),
        (("http", "no host", 1), "no host"),
        (("http", "h", 0), "h:0"),
        (("http", "h", 1, b"", b"secret"), "needs a user"),
        (("http", "h", 1, b"u:", b"secret"), "no colon"),
        (("socks5", "h", 1, b"u", b"secret" * 43), "255"),
    ],
)
def test_a_proxy_of_parts_is_checked_too(parts: Any, wrong: str) -> None:
    with pytest.raises(LocalProtocolError, match=wrong) as caught:
        Proxy(*parts)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_neither_user_nor_password_is_shown(scheme: str) -> None:
    proxy = parse_proxy(f"{scheme}://name:secret@h:1")
    for shown in (repr(proxy), str(proxy), repr(proxy.tunnel(HOST, PORT))):
        assert "name" not in shown
        assert "secret" not in shown


@given(st.text())
def test_whatever_the_text_it_is_a_proxy_or_a_local_error(text: str) -> None:
    for url in (text, f"http://{text}", f"socks5://u:p@{text}", f"http://{text}@h:1"):
        try:
            proxy = parse_proxy(url)
        except LocalProtocolError:
            continue
        assert proxy.tunnel(HOST, PORT).data_to_send()


# --- the way is open ---

BASIC = b64encode(b"us:p:w").decode()
AUTH = CONNECT[:-2] + f"Proxy-Authorization: Basic {BASIC}\r\n\r\n".encode()
LOG_IN = bytes.fromhex("01 02 7573 03 703a77")
DIALOGS = [
    (HTTP, OK, CONNECT),
    (HTTP, b"HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n", CONNECT),
    (HTTP, b"HTTP/1.1 204\r\n\r\n", CONNECT),
    (HTTP, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 x\r\na: b\r\n\r\n" + OK, CONNECT),
    (HTTP, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", CONNECT),  # means nothing here
    (HTTP, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CONNECT),
    (HTTP, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", CONNECT),
    (HTTP, OK[:-2] + b"a: " + b"b" * (MAX_HEAD - len(OK) - 5) + b"\r\n\r\n", CONNECT),
    (HTTP_LOGIN, OK, AUTH),
    (SOCKS, NO_LOGIN + OPEN, b"\x05\x01\x00" + ASK_NAME),
    (SOCKS, NO_LOGIN + OPEN_V6, b"\x05\x01\x00" + ASK_NAME),
    (SOCKS, NO_LOGIN + OPEN_NAME, b"\x05\x01\x00" + ASK_NAME),
    (SOCKS_LOGIN, NO_LOGIN + OPEN, b"\x05\x02\x00\x02" + ASK_NAME),
    (SOCKS_LOGIN, LOGIN + WELCOME + OPEN, b"\x05\x02\x00\x02" + LOG_IN + ASK_NAME),
]


@pytest.mark.parametrize(("proxy", "answer", "sent"), DIALOGS)
def test_a_handshake(proxy: Proxy, answer: bytes, sent: bytes) -> None:
    for tail in (b"", TAIL):
        data = answer + tail
        for pieces in ([data], singly(data), [answer, tail], [b"", answer, b"", tail]):
            assert outcome(proxy, pieces) == (sent, tail)
        assert outcome(proxy, [bytearray(data)]) == (sent, tail)
        assert outcome(proxy, [memoryview(data)]) == (sent, tail)


@pytest.mark.parametrize(("proxy", "answer", "sent"), DIALOGS)
def test_an_end_before_the_whole_answer(proxy: Proxy, answer: bytes, sent: bytes) -> None:
    for size in range(min(len(answer), 300)):
        _, tunnel, is_open = talk(proxy, [answer[:size]])
        assert not is_open
        told = f"inside its answer, after {size} bytes of it" if size else "without an answer"
        if answer.startswith(LOGIN) and 2 <= size < 4:
            told = "after it got the user and password"
        assert str(tunnel.receive_eof()) == f"the proxy closed {told}"


def test_a_login_goes_out_only_where_it_is_asked_for() -> None:
    assert b"p:w" not in talk(SOCKS_LOGIN, [NO_LOGIN, OPEN])[0]


@pytest.mark.parametrize(
    ("host", "http", "socks"),
    [
        ("10.1.2.3", b"10.1.2.3:13321", "01 0a010203"),
        ("2001:db8::1", b"[2001:db8::1]:13321", f"04 20010db8 {'00' * 11} 01"),
        ("::ffff:1.2.3.4", b"[::ffff:1.2.3.4]:13321", f"04 {'00' * 10} ffff 01020304"),
        ("a_b.example.", b"a_b.example.:13321", f"03 0c {b'a_b.example.'.hex()}"),
        ("a" * 63, b"a" * 63 + b":13321", "03 3f" + "61" * 63),
    ],
)
def test_targets(host: str, http: bytes, socks: str) -> None:
    request = talk(HTTP, [OK], host)[0]
    assert request == b"CONNECT " + http + b" HTTP/1.1\r\nHost: " + http + b"\r\n\r\n"
    sent = talk(SOCKS, [NO_LOGIN, OPEN], host)[0]
    assert sent == bytes.fromhex(f"05 01 00 05 01 00 {socks} 3409")


@pytest.mark.parametrize("proxy", PROXIES)
def test_what_is_no_target(proxy: Proxy) -> None:
    with pytest.raises(ConnectFailed, match="zone"):
        proxy.tunnel("fe80::1%eth0", PORT)
    for host, port in (("a b", 1), ("a\r\nb", 1), ("", 1), ("a", 0), ("a", 65536), ("a:b", 1)):
        with pytest.raises(LocalProtocolError):
            proxy.tunnel(host, port)


# --- the way is not open ---


@pytest.mark.parametrize(
    ("proxy", "answer", "told"),
    [
        (HTTP, b"HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy answered 403 Forbidden"),
        (HTTP, b"HTTP/1.1 502\r\n\r\n", "the proxy answered 502"),
        (HTTP, b"HTTP/1.1 301 Moved\r\nLocation: x\r\n\r\n", "the proxy answered 301 Moved"),
        (HTTP, b"HTTP/1.1 407 Who\r\n\r\n", "the proxy answered 407 Who: it wants a login"),
        (
            HTTP_LOGIN,
            b"HTTP/1.1 407 Who\r\n\r\n",
            "the proxy answered 407 Who: it did not take the user and password",
        ),
        (HTTP, b"HTTP/1.1 500 \x9b\xff\r\n\r\n", r"the proxy answered 500 \x9b\xff"),
        (
            HTTP,
            b"HTTP/1.1 500 " + b"x" * 81 + b"\r\n\r\n",
            f"the proxy answered 500 {'x' * 80} ...",
        ),
        (HTTP, NO_LOGIN, "the proxy's answer is not HTTP: 05"),
        (HTTP, b"HTTQ", "the proxy's answer is not HTTP: 48 54 54 51"),
        (HTTP, b"HTTP/1.1 99 x\r\n\r\n", "the proxy's answer is not HTTP: illegal status line"),
        (HTTP, b"HTTP/1.1 200 x\r\na b\r\n\r\n", "the proxy's answer is not HTTP: illegal header"),
        (HTTP, b"HTTP/1.1 101 x\r\n\r\n", "the proxy's answer is not HTTP: "),
        (
            HTTP,
            b"HTTP/1.1 200 x\r\na: " + b"b" * MAX_HEAD,
            "the head of the proxy's answer is over 8192 bytes",
        ),
        (
            HTTP,
            b"HTTP/1.1 100 x\r\n\r\n" * 1_000,
            "the head of the proxy's answer is over 8192 bytes",
        ),
        (SOCKS, b"HTTP/1.1 400 x", "the proxy's answer is not SOCKS5: 48"),
        (SOCKS, b"\x05\xff", "the proxy wants a login"),
        (SOCKS, LOGIN, "the proxy wants a login"),
        (SOCKS, b"\x05\x01", "the proxy wants a login"),
        (SOCKS, b"\x05\x07", "the proxy's answer is not SOCKS5: 05 07"),
        (SOCKS_LOGIN, b"\x05\xff", "the proxy wants another login than a user and password"),
        (SOCKS_LOGIN, b"\x05\x01", "the proxy wants another login than a user and password"),
        (SOCKS_LOGIN, LOGIN + b"\x01\x01", "the proxy did not take the user and password"),
        (SOCKS_LOGIN, LOGIN + b"\x01\xff", "the proxy did not take the user and password"),
        (SOCKS_LOGIN, LOGIN + b"\x05\x00", "the proxy's answer is not SOCKS5: 05"),
        (SOCKS, NO_LOGIN + b"\x04", "the proxy's answer is not SOCKS5: 04"),
        (SOCKS, NO_LOGIN + b"\x05\x01", "the proxy answered: general server failure"),
        (SOCKS, NO_LOGIN + b"\x05\x02", "the proxy answered: connection not allowed by ruleset"),
        (SOCKS, NO_LOGIN + b"\x05\x03", "the proxy answered: network unreachable"),
        (SOCKS, NO_LOGIN + b"\x05\x04", "the proxy answered: host unreachable"),
        (SOCKS, NO_LOGIN + b"\x05\x05\x00\x01", "the proxy answered: connection refused"),
        (SOCKS, NO_LOGIN + b"\x05\x06\x00", "the proxy answered: ttl expired"),
        (SOCKS, NO_LOGIN + b"\x05\x07", "the proxy answered: command not supported"),
        (SOCKS, NO_LOGIN + b"\x05\x08" + bytes(8), "the proxy answered: address type not"),
        (SOCKS, NO_LOGIN + b"\x05\xf0", "the proxy answered: refused with code 240"),
        (
            SOCKS,
            NO_LOGIN + b"\x05\x00\x00\x02\x00",
            "the proxy's answer is not SOCKS5: 05 00 00 02",
        ),
        (
            SOCKS,
            NO_LOGIN + b"\x05\x00\x00\x03\x01\xff\x00\x00",
            "the proxy's answer is not SOCKS5: 05 00 00 03 01 ff 00 00",
        ),
    ],
)
def test_a_refusal_says_what_the_proxy_answered(proxy: Proxy, answer: bytes, told: str) -> None:
    whole = outcome(proxy, [answer])
    assert isinstance(whole, str)
    assert whole.startswith(told)
    assert "p:w" not in whole
    assert outcome(proxy, singly(answer)) == whole
    assert outcome(proxy, [answer + TAIL]) == whole


# --- however it comes ---


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


ANSWERS = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([answer for _, answer, _ in DIALOGS]),
        st.sampled_from([OK, OK[:-2], b"a: b\r\n", b"HTTP/1.1 100 x\r\n\r\n", b"x" * MAX_HEAD]),
        st.sampled_from([NO_LOGIN, LOGIN, WELCOME, OPEN, OPEN_V6, OPEN_NAME, b"\x05\xff"]),
    ),
    max_size=5,
).map(b"".join)


@given(st.sampled_from(PROXIES), ANSWERS, st.lists(st.integers(0, 20_000), max_size=8))
@example(HTTP, b"\r\n" + OK, [1])
@example(HTTP, b"HTTP/1.1 100 x\r\n\r\n\r\n" + OK, [19, 20])
def test_how_the_bytes_are_cut_does_not_matter(
    proxy: Proxy, answer: bytes, places: list[int]
) -> None:
    assert outcome(proxy, cut(answer, places)) == outcome(proxy, [answer])


@given(st.sampled_from(PROXIES), st.binary())
def test_garbage_raises_nothing_but_connect_failed(proxy: Proxy, garbage: bytes) -> None:
    for start in (b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", NO_LOGIN, NO_LOGIN + OPEN[:4], LOGIN):
        outcome(proxy, [start + garbage])
        outcome(proxy, singly(start + garbage))


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_refusal_stays_one(proxy: Proxy) -> None:
    tunnel = proxy.tunnel(HOST, PORT)
    for _ in range(3):
        with pytest.raises(ConnectFailed):
            tunnel.receive_data(b"\x00" * 10)
