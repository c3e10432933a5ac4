"""What a search begins with: the vectors of other implementations, and the protocol's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

from rtm_proto.package import FLAG_JSON, Package, Splitter, encode_quest
from rtm_proto.payload import encode
from rtm_proto.received import PUSHES
from tests import vectors

from .choices import CUTS, chunk
from .targets.codecs import LIMITS
from .targets.files import METHODS as PUSH_METHODS
from .targets.gates import METHODS
from .targets.links import SWITCH, UPGRADE

MAX_SIZE = 4096  # bytes of one input
NO_CUTS = bytes(CUTS)

HTTP = (
    UPGRADE,
    SWITCH,
    b"GET /files/0123456789abcdef/a.jpg HTTP/1.1\r\nHost: gate\r\nRange: bytes=0-9\r\n\r\n",
    b"HEAD /files/0123456789abcdef HTTP/1.1\r\nHost: gate\r\nIf-None-Match: *\r\n\r\n",
    b"GET /files/0123456789abcdef HTTP/1.1\r\nHost: gate\r\nRange: bytes=-99999999\r\n\r\n",
    b"GET /files/0123456789abcdef HTTP/1.1\r\nHost: gate\r\nRange: bytes=76799-\r\n\r\n",
    b"GET /files/0123456789abcdef HTTP/1.1\r\nHost: gate\r\nRange: bytes=5-99999999\r\n\r\n",
    b"GET /files/0123456789abcdef HTTP/1.1\r\nHost: gate\r\nRange: bytes=76800-\r\n\r\n",
    b"\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTQ",
    b"POST /service/x HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
)
ATTRS = (
    b'{"rtm":{"sign":"00000000000000000000000000000000","ext":"jpg","filename":"a.jpg"}}',
    b'{"sign":"00000000000000000000000000000000","ext":"jpg","filename":"a.jpg","custom":{"a":1}}',
    b'{"rtm":{"type":"audiomsg","codec":"amr-wb","lang":"zh-CN","duration":"1200","srate":16000}}',
    b'{"fileExtension":"png","excludedUids":[1,"2",3.0],"custom":"\\ud83d\\ude00"}',
)
MESSAGES = (
    b'{"url":"http://files.test/a/b.jpg","size":42,"surl":"http://files.test/s.jpg"}',
    b"https://files.test/a/b%20c.jpg?x=1#y",
    b'{"size":NaN,"url":"http://files.test/x"}',
)
WORDS = (
    *(method.encode() for method in (*METHODS, *PUSHES, "kickout", "kickoutroom", "*key")),
    b"FPNN\x01\x80\x01",
    b"FPNN\x01\x80\x00",
    b"FPNN\x01\x80\x02",
    b"FPNN\x01\x40\x01",
    *b"pid uid token to gid rid mid mtype attrs file endpoint cmd uids code ex ts".split(),
    *b"mtime msg from srate".split(),
    *b'"url" "size" "surl" "rtm" "sign" "ext" "filename" "custom" "fileExtension"'.split(),
    *b'"excludedUids" "type" "audiomsg" "duration" "srate" NaN 1e999 \\ud800 http:// https://'.split(),
    *b"\x89\x80 \x8a\x80 \x88\x82 \x00\x80 \x80\x80 \x02\x80 \x01\x80 \x81\x80".split(),
    b"\x82\xfe",
    b"\x82\xff\0\0\0\0\0\0",
    b"\x82\x7eFPNN",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 206 Partial Content\r\n",
    b"GET /service/websocket HTTP/1.1\r\n",
    b"HEAD /files/",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: ",
    b"Content-Range: bytes ",
    b"Range: bytes=",
    b"If-Range: ",
    b"If-None-Match: ",
    b"ETag: ",
    b"Location: ",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Protocol: ",
    b"Sec-WebSocket-Extensions: ",
    b"\r\n\r\n",
    b"\xc1",
    b"\xc7\x01\xff",
    b"\xd4\xff",
    b"\xde\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd3\x80\0\0\0\0\0\0\0",
)
"""The protocol's words, which a search would not find by itself."""


def seeds(target: str) -> list[bytes]:
    """The inputs that *target* begins with, the same every time."""
    found = dict.fromkeys(data for data in _SEEDS[target]() if len(data) <= MAX_SIZE)
    return list(found)


def dictionary() -> str:
    """WORDS as libFuzzer reads them."""
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in dict.fromkeys(WORDS) if word)
    return "".join(f'"{line}"\n' for line in lines)


# --- private -------------------------------------------------------------------------------------


def _streams(form: str) -> Iterator[bytes]:
    """What others have sent: "packages" on a bare stream, or WebSocket "frames"."""
    for vector in (*vectors.fpnn(), *vectors.js_sdk()):
        if vector.form == form and len(vector.data) <= MAX_SIZE:
            yield vector.data
    for reaction in vectors.reactions():
        wanted = reaction.transport == ("tcp" if form == "packages" else "ws")
        if wanted and len(reaction.data) <= MAX_SIZE:
            yield reaction.data


def _packages() -> Iterator[Package]:
    for stream in _streams("packages"):
        yield from Splitter().feed(stream)


def _heads() -> Iterator[bytes]:
    yield from (vector.data for vector in vectors.fpnn() if vector.form == "head")
    yield from HTTP


def _package() -> Iterator[bytes]:
    for number, limit in enumerate(LIMITS[1:], 1):
        for size in (limit - 1, limit, limit + 1):
            quest = encode_quest(b"echo", bytes(size - 20), 5)
            yield bytes([number]) + NO_CUTS + quest * 2
    for number, stream in enumerate(_streams("packages")):
        yield bytes([number % 4]) + NO_CUTS + stream


def _payload() -> Iterator[bytes]:
    yield from (b"\0" + package.payload for package in _packages())
    for depth in (30, 31, 32, 33):
        yield b"\0\x81\xa1a" + b"\x91" * depth + b"\xc0"
        yield b"\0" + b"\x81\xa1a" * depth + b"\x91\xc0"
    for count in (3, 4, 7, 8):
        yield b"\1\x81\xa1a" + bytes([0x90 | count]) + b"\xc0" * count
    yield b"\0\x84\xa1a\1\xc4\1a\2\5\3\x81\xc0\xc0\4"


def _json() -> Iterator[bytes]:
    for package in _packages():
        if package.flag & FLAG_JSON:
            yield b"\0" + package.payload
    yield from (b"\0" + text for text in (*ATTRS, *MESSAGES))
    for depth in (30, 31, 32, 33):
        yield b'\0{"a":' + b"[" * depth + b"]" * depth + b"}"
    for count in (3, 4, 7, 8):
        yield b'\1{"a":[' + b",".join([b"1"] * count) + b"]}"
        yield b'\1{"\\"[[[[":"' + b"," * count + b'\\\\"}'
    yield b'\0{"a":1,"a":"\\ud83d\\ude00","b":"\\ud83d","c":1e999}'


def _link() -> Iterator[bytes]:
    options = bytes([3, 0])  # the widest limit
    for role in (0, 1, 5):
        for number, stream in enumerate(_streams("frames")):
            yield bytes([role, number % 4, 1]) + NO_CUTS + stream
            yield bytes([role]) + options + NO_CUTS + stream
    for stream in _streams("packages"):
        yield b"\x02" + options + NO_CUTS + stream
        if 60 < len(stream) < 126:  # over the limit, with cuts
            frame = bytes([0x82, 0x80 | len(stream)]) + bytes(4)
            yield b"\x01\1\1" + b"\0\1\0\x05\0\x09\0\x14" + frame + stream
        if len(stream) < 126:  # as a client's and as a server's frame
            size = len(stream)
            yield b"\x01" + options + NO_CUTS + bytes([0x82, 0x80 | size]) + bytes(4) + stream
            yield b"\x00" + options + NO_CUTS + bytes([0x82, size]) + stream
    for role in (3, 4):
        yield from (bytes([role]) + options + NO_CUTS + head for head in _heads())


def _upgrade() -> Iterator[bytes]:
    for role in range(3):
        yield from (bytes([role]) + NO_CUTS + head for head in _heads())


def _attrs() -> Iterator[bytes]:
    yield from ATTRS
    yield from _values("attrs")


def _received() -> Iterator[bytes]:
    for package in _packages():
        method = package.method.decode(errors="replace")
        if method in PUSHES:
            yield bytes([0x80 + PUSH_METHODS.index(method)]) + package.payload
    for number, msg in enumerate((*MESSAGES, *_values("msg"))):
        for attrs in ATTRS:
            yield bytes([number & 0x43, 0]) + chunk(msg) + attrs


def _values(key: str) -> Iterator[bytes]:
    """What others have written at *key*."""
    for vector in (*vectors.fpnn(), *vectors.js_sdk()):
        for package in vector.packages:
            payload = package.payload
            if isinstance(payload, dict):
                value = cast("dict[str, object]", payload).get(key)
                if isinstance(value, str):
                    yield value.encode("utf-8", "surrogateescape")


def _connection() -> Iterator[bytes]:
    for role, form in ((0, "packages"), (1, "packages"), (2, "frames"), (3, "frames")):
        for stream in _streams(form):
            yield bytes([role, 0, 0]) + chunk(stream) + b"\x0e\0\x0f\1"
    asked = bytes([3, 1, 3, 3, 9, 4, 14, 0])  # two quests, then what there is to send
    for status in (0, 1):
        for body in (b"\x80", b"\x82\xa4code\x05\xa2ex\xa2no", b"\xc1"):
            answered = bytes([2, 2 | status]) + chunk(body)
            yield b"\0" + asked + answered + bytes([15, 1, 13, 1, 13, 0xFF, 10, 0])
    for role in range(4):
        body = bytes([4, 7, 0, 90, 14, 0, 5, 0, 60, 5, 0, 60, 14, 0, 13, 1])
        quest = bytes([1, 1]) + chunk(b"\x80")
        yield bytes([role]) + quest * 7 + bytes([15, 1, 7, 1, 7, 2, 14, 0])
        yield bytes([role]) + quest + bytes([1, 1]) + chunk(b"\x81\xa1a\x01") + body
        yield bytes([role]) + quest + bytes([7, 1, 8, 1, 9, 0, 10, 0, 13, 1])


def _gate() -> Iterator[bytes]:
    arrived = bytes([0, 0, 0, 1, 0, 0])  # guests 0 and 2 at the main port, 1 at the file port
    logged_in = arrived + bytes([4, 0, 0, 4, 2, 1, 9, 0, 9, 2])
    for number, stream in enumerate(_streams("packages")):
        yield arrived + bytes([1, number % 2]) + chunk(stream)
    for stream in _streams("frames"):
        yield arrived + bytes([2, 0, 1, 0]) + chunk(stream)
    for head in _heads():
        yield arrived + bytes([1, 1]) + chunk(head)
    for number in range(len(METHODS)):
        for payload in (b"\x80", encode({"pid": 11000001, "uid": 1001, "token": "x", "rid": 5})):
            yield logged_in + bytes([3, 0, number]) + chunk(payload)
    sent = bytes([6, 1, 0, 0x21]) + chunk(b"a file's bytes")
    received = bytes([9, 1, 9, 2, 13, 1, 1, 9, 1, 10, 0, 9, 1, 10, 0, 9, 1])
    for cmd, change in ((4, 0), (9, 0x12), (9, 0x32), (14, 0x04), (6, 0x04)):
        begun = logged_in + bytes([7, 0, change, 7, 2, change, 10, 0, 10, 0])
        yield begun + bytes([5, 0, cmd, 9, 0]) + sent + bytes([10, 0]) + received
        yield begun + bytes([5, 0, cmd, 9, 0]) + sent + bytes([10, 0x80]) + sent
        yield begun + bytes([5, 0, cmd]) + sent + sent + bytes([12, 1, 10, 0, 8, 0xE0])
    yield logged_in + bytes([11, 0, 8, 0x60, 8, 0xA0, 8, 0xC0, 12, 0, 12, 130])


def _inspection() -> Iterator[bytes]:
    for around in (b"\x81", b"\x81\x91", b"\x81\xa1a", b"\x91"):
        payload = around * 16 + b"\x01" + b"\x02" * 16
        yield b"\0\0" + encode_quest(b"echo", payload, 5)
    for stream in (*_streams("packages"), *_streams("frames"), *_heads()):
        yield b"\0\0" + stream
        if len(stream) < 300:
            yield b"\0\0" + stream.hex(" ").encode()


def _download() -> Iterator[bytes]:
    file = chunk(b"the bytes of a file, " * 3)
    start = b"\x06" + b"\0\x14\0\x28\0\x50\0\x90" + file
    none = chunk(b"")
    yield start + bytes([1, 0]) + none
    yield start + bytes([4, 0]) + none
    yield start + bytes([6, 0]) + none
    yield start + bytes([0x41, 9]) + none + bytes([2, 0]) + none
    yield start + bytes([0xC1, 9]) + none + bytes([7, 0]) + none + bytes([0x42, 9]) + none * 3
    yield start + bytes([0x44, 9]) + none + bytes([3, 1]) + none + bytes([1, 0]) + none
    yield start + bytes([5, 0]) + chunk(b"/elsewhere?x=1") + bytes([1, 0]) + none
    for head in _heads():
        yield start + bytes([0, 0]) + chunk(head)
    for kind in (1, 4, 6, 0x26, 0x61):  # over the limit
        yield b"\0" + NO_CUTS + chunk(b"x" * 601) + bytes([kind, 200]) + none
        yield (
            b"\0"
            + NO_CUTS
            + chunk(b"x" * 600)
            + bytes([kind, 200])
            + none
            + bytes([kind, 0])
            + none
        )
    yield start + (bytes([5, 0]) + chunk(b"/again")) * 7
    yield start + bytes([0xE1, 9]) + none + bytes([0xE1, 9]) + none + bytes([0x21, 0]) + none
    for url in (b"http://[::1]:80/a", b"https://m\xc3\xbcller.test/%41?q#f", b"ftp://x/"):
        yield b"\x01" + NO_CUTS + chunk(url) + file + bytes([1, 0]) + none


_SEEDS: Mapping[str, Callable[[], Iterator[bytes]]] = {
    "package": _package,
    "payload": _payload,
    "json": _json,
    "link": _link,
    "upgrade": _upgrade,
    "attrs": _attrs,
    "received": _received,
    "connection": _connection,
    "gate": _gate,
    "inspection": _inspection,
    "download": _download,
}
