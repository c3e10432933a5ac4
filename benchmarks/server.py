"""The server that all clients are measured against: as little work for each as can be.

    python -m benchmarks.server [CORE]     prints its port; ends with its standard input

One port speaks FPNN, raw and over WebSocket. Answers are encoded beforehand, all packages of a
``recv`` are answered with one write, and a file is counted as it comes, never kept.

    auth, bye, any other    a small answer
    filetoken               a token, and this server as the endpoint
    send*file               counts the file; answers mtime, or an error when it was not right
    bench.hash {on}         from now on, take the md5 of every file
    bench.push {count, file} sends pushes, WINDOW at a time; each has to be answered
    bench.told              {answered, refused}: what became of the pushes
    bench.files             {files: [{size, md5, right}]}: what came since the last time

``right``: the sign fits the file, the token and the attrs. Checked where md5 is taken.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from base64 import b64encode
from collections.abc import Callable
from hashlib import md5, sha1
from typing import Any, cast

import msgpack

from rtm_proto.frames import best_mask, turn_key

from .peers.wire import ANSWER, HEAD, HEAD_SIZE, QUEST, pack_answer

RECEIVE_SIZE = 262_144  # bytes; one buffer for all connections
WINDOW = 50  # pushes without their answer
TOKEN = "0123456789ABCDEF0123456789ABCDEF"
HELLO = {"mtime": 1_700_000_000_000}
STREAM_ABOVE = 16_384  # bytes of a package; a larger one is counted as it comes
ENVELOPE = 4_096  # bytes kept of a large package before and behind its file, at the most
MTIME = 1_700_000_000_123
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_mask = best_mask()
_scratch = memoryview(bytearray(RECEIVE_SIZE))


class Tally:
    """What the server was told to do, and what came; one for all connections."""

    def __init__(self) -> None:
        self.hash = False
        self.answered = 0
        self.refused = 0
        self.files: list[dict[str, object]] = []


class Body:
    """A large package as it comes: counted, hashed if asked, all but its file kept."""

    def __init__(self, size: int, seq: int, *, hash_it: bool) -> None:
        self.left = size
        self.seq = seq
        self._head = bytearray()
        self._file_left = -1  # bytes of the file that are to come; -1: not known yet
        self._tail = bytearray()
        self._size = 0
        self._md5 = md5(usedforsecurity=False) if hash_it else None

    def take(self, data: bytes | memoryview) -> None:
        """The next bytes of the payload."""
        self.left -= len(data)
        if self._file_left < 0:
            self._head += data
            data = self._find_file()
        if self._file_left > 0:
            piece = data[: self._file_left]
            self._file_left -= len(piece)
            if self._md5 is not None:
                self._md5.update(piece)
            data = data[len(piece) :]
        if data:
            self._tail += data

    def finish(self) -> dict[str, object]:
        """What came; ValueError if it was no file quest."""
        if self._file_left != 0 or len(self._head) + len(self._tail) > 2 * ENVELOPE:
            raise ValueError("no file in a large package, or much beside it")
        params: dict[str, Any] = msgpack.unpackb(bytes(self._head + b"\xc4\x00" + self._tail))
        found: dict[str, object] = {"size": self._size}
        right = {"pid", "from", "to", "mtype", "mid", "token", "file", "attrs"} <= params.keys()
        if self._md5 is not None:
            digest = self._md5.hexdigest()
            sign = json.loads(params["attrs"])["rtm"]["sign"]
            found["md5"] = digest
            right = right and sign == file_sign(digest, params["token"])
        return {**found, "right": right}

    def _find_file(self) -> bytes:
        """Where the file begins; what came of it so far."""
        head = self._head
        at = head.find(b"\xa4file")
        for code, size in ((0xC4, 1), (0xC5, 2), (0xC6, 4)):
            begin = at + 6 + size
            if 0 <= at and len(head) >= begin and head[at + 5] == code:
                self._size = self._file_left = int.from_bytes(head[at + 6 : begin], "big")
                rest = bytes(head[begin:])
                del head[at + 5 :]
                return rest
        if len(head) > ENVELOPE:
            raise ValueError("no file near the beginning of a large package")
        return b""


def file_sign(digest: str, token: str) -> str:
    """The sign of a file quest."""
    return md5(f"{digest}:{token}".encode(), usedforsecurity=False).hexdigest()


class Visitor(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, tally: Tally, address: Callable[[], str]) -> None:
        self._tally = tally
        self._address = address
        self._transport: asyncio.WriteTransport
        self._held = bytearray()  # bytes that came and were not enough yet
        self._packages = bytearray()  # WebSocket: bytes of a package that is not whole yet
        self._websocket: bool | None = None  # not known before the first byte
        self._frame_left = 0  # bytes of a large frame that are to come
        self._key = b""
        self._body: Body | None = None
        self._out: list[bytes] = []
        self._to_push = 0
        self._mid = 0
        self._push: Callable[[int], bytes] = text_push

    # --- the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _scratch

    def buffer_updated(self, nbytes: int) -> None:
        data: bytes | memoryview = _scratch[:nbytes]
        if self._held:
            self._held += data
            data, self._held = bytes(self._held), bytearray()
        if self._websocket is None:
            self._websocket = data[:4] != b"FPNN"
            if self._websocket:
                data = self._shake_hands(bytes(data))
        used = self._frames(data) if self._websocket else self._take_packages(data)
        if used < len(data):
            self._held += data[used:]
        if self._out:
            self._transport.writelines(self._out)
            self._out = []

    def connection_lost(self, exc: Exception | None) -> None:
        self._body = None

    # --- WebSocket ---

    def _shake_hands(self, data: bytes) -> bytes:
        head, end, behind = data.partition(b"\r\n\r\n")
        if not end:
            self._websocket = None
            self._held += data
            return b""
        at = head.lower().index(b"sec-websocket-key:") + len(b"sec-websocket-key:")
        key = head[at:].partition(b"\r\n")[0].strip()
        accept = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        return behind

    def _frames(self, data: bytes | memoryview) -> int:
        """Take the frames in *data*; how many bytes were used."""
        at, size = 0, len(data)
        while at < size:
            if self._frame_left:
                piece = data[at : at + self._frame_left]
                self._frame_left -= len(piece)
                at += len(piece)
                self._take_payload(_mask(piece, self._key))
                self._key = turn_key(self._key, len(piece))
                continue
            if size - at < 14 and size - at < _frame_head(data, at):
                break
            opcode, length = data[at] & 0x0F, data[at + 1] & 0x7F
            begin = at + 6
            if length == 126:
                length = int.from_bytes(data[at + 2 : at + 4], "big")
                begin += 2
            elif length == 127:
                length = int.from_bytes(data[at + 2 : at + 10], "big")
                begin += 8
            if length <= STREAM_ABOVE and size - begin < length:
                break
            key = bytes(data[begin - 4 : begin])
            payload = _mask(data[begin : begin + length], key)
            at = begin + len(payload)
            if opcode > 2:
                self._control(opcode, payload)
                continue
            self._frame_left = length - len(payload)
            self._key = turn_key(key, len(payload))
            self._take_payload(payload)
        return at

    def _take_payload(self, data: bytes) -> None:
        if self._packages:
            self._packages += data
            data, self._packages = bytes(self._packages), bytearray()
        used = self._take_packages(data)
        if used < len(data):
            self._packages += data[used:]

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:
            self._out.append(bytes((0x8A, len(payload))) + payload)
        elif opcode == 8:
            self._transport.writelines([*self._out, bytes((0x88, len(payload))) + payload])
            self._out = []
            self._transport.close()

    # --- FPNN ---

    def _take_packages(self, data: bytes | memoryview) -> int:
        """Take the packages in *data*; how many bytes were used."""
        at, size = 0, len(data)
        while at < size:
            if self._body is not None:
                piece = data[at : at + self._body.left]
                at += len(piece)
                self._body.take(piece)
                self._finish_body()
                continue
            if size - at < HEAD_SIZE:
                break
            _, _, _, kind, ss, psize, seq = HEAD.unpack_from(data, at)
            begin = at + HEAD_SIZE + (ss if kind == QUEST else 0)
            if psize > STREAM_ABOVE:
                if size < begin:
                    break
                self._body = Body(psize, seq, hash_it=self._tally.hash)
                at = begin
                continue
            if size - begin < psize:
                break
            if kind == ANSWER:
                self._answered(ss)
            elif bytes(data[at + HEAD_SIZE : begin]) in _PLAIN:
                self._send(_HELLO_HEAD + seq.to_bytes(4, "little") + _HELLO)
            else:
                method = bytes(data[at + HEAD_SIZE : begin])
                self._quest(method, bytes(data[begin : begin + psize]), seq)
            at = begin + psize
        return at

    def _quest(self, method: bytes, payload: bytes, seq: int) -> None:
        tally = self._tally
        answer: object = HELLO
        if method == b"auth":
            answer = {"ok": True}
        elif method == b"filetoken":
            answer = {"token": TOKEN, "endpoint": self._address()}
        elif method.startswith(b"send") and method.endswith(b"file"):
            self._body = Body(len(payload), seq, hash_it=tally.hash)
            self._body.take(payload)
            self._finish_body()
            return
        elif method == b"bench.hash":
            tally.hash = msgpack.unpackb(payload)["on"]
        elif method == b"bench.push":
            params = msgpack.unpackb(payload)
            tally.answered = tally.refused = 0
            self._push = file_push if params["file"] else text_push
            self._to_push = params["count"]
        elif method == b"bench.told":
            answer = {"answered": tally.answered, "refused": tally.refused}
        elif method == b"bench.files":
            answer = {"files": tally.files}
            tally.files = []
        self._send(pack_answer(msgpack.packb(answer), seq))
        if method == b"bench.push":
            for _ in range(WINDOW):
                self._push_next()

    def _finish_body(self) -> None:
        body = self._body
        if body is None or body.left:
            return
        self._body = None
        found: dict[str, object]
        try:
            found = body.finish()
        except ValueError as exc:
            found = {"right": False, "why": str(exc)}
        self._tally.files.append(found)
        if found["right"]:
            self._send(pack_answer(msgpack.packb({"mtime": MTIME}), body.seq))
        else:
            payload = msgpack.packb({"code": 200003, "ex": f"not a right file quest: {found}"})
            self._send(HEAD.pack(b"FPNN", 1, 0x80, ANSWER, 1, len(payload), body.seq) + payload)

    def _answered(self, status: int) -> None:
        self._tally.answered += 1
        self._tally.refused += status != 0
        self._push_next()

    def _push_next(self) -> None:
        if self._to_push:
            self._to_push -= 1
            self._mid += 1
            self._send(self._push(self._mid))

    def _send(self, package: bytes) -> None:
        if self._websocket:
            size = len(package)
            head = bytes((0x82, size)) if size < 126 else b"\x82\x7e" + size.to_bytes(2, "big")
            package = head + package
        self._out.append(package)


def _frame_head(data: bytes | memoryview, at: int) -> int:
    """Bytes of the head of the masked frame at *at*, or more than there are."""
    if len(data) - at < 2:
        return 14
    return {126: 8, 127: 14}.get(data[at + 1] & 0x7F, 6)


def _push_maker(params: dict[str, object]) -> Callable[[int], bytes]:
    """Makes pushes that differ in seq and mid."""
    payload: bytes = msgpack.packb({**params, "mid": 1 << 60})
    before, after = payload.split((1 << 60).to_bytes(8, "big"))
    name = b"pushmsg"
    head = HEAD.pack(b"FPNN", 1, 0x80, QUEST, len(name), len(payload), 0)[:12]

    def make(number: int) -> bytes:
        mid = ((1 << 60) + number).to_bytes(8, "big")
        return b"".join((head, number.to_bytes(4, "little"), name, before, mid, after))

    return make


_SENT = {"from": 1002, "to": 1001, "mtime": MTIME}
text_push = _push_maker({**_SENT, "mtype": 30, "msg": "twenty bytes of text", "attrs": ""})
file_push = _push_maker(
    {
        **_SENT,
        "mtype": 40,
        "msg": '{"url":"http://127.0.0.1/files/0123456789abcdef.jpg","size":5242880}',
        "attrs": '{"rtm":{"sign":"0123456789abcdef0123456789abcdef","ext":"jpg",'
        '"filename":"photo.jpg"}}',
    }
)
_HELLO: bytes = msgpack.packb(HELLO)
_HELLO_HEAD = HEAD.pack(b"FPNN", 1, 0x80, ANSWER, 0, len(_HELLO), 0)[:12]
_PLAIN = {b"hello", b"bye"}


async def listen() -> asyncio.Server:
    """Serve on a free port of 127.0.0.1."""
    tally = Tally()
    endpoint = ""

    def address() -> str:
        return endpoint

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Visitor(tally, address), "127.0.0.1", 0, backlog=4096)
    endpoint = f"127.0.0.1:{port_of(server)}"
    return server


def port_of(server: asyncio.Server) -> int:
    """Where it listens."""
    port: int = server.sockets[0].getsockname()[1]
    return port


async def _serve() -> None:
    server = await listen()
    print(port_of(server), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


def main(args: list[str]) -> None:
    """Serve until standard input ends; on the core *args* names."""
    if args and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(args[0])})
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve())
    else:
        asyncio.run(_serve())


if __name__ == "__main__":
    main(sys.argv[1:])
