"""What everybody writes beside a WebSocket library to speak FPNN: seqs, msgpack, dedup, sign.

No waiting here: ``begin`` gives a quest and whom to wake, ``take`` what to do with a package.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from hashlib import md5
from pathlib import Path
from typing import NamedTuple, Protocol

import msgpack

from .wire import ANSWER, EMPTY, HEAD, HEAD_SIZE, Params, pack_answer, pack_quest

TIMEOUT = 20.0  # seconds; each call has one, as its users would write it
REMEMBERED = 10_000  # pushes that are known again
PID = 11_000_001
UID = 1001
TO = 1002
LOGIN_TOKEN = "a login token"


class Refused(Exception):
    """The server answered with an error."""


class Pushed(NamedTuple):
    """A push for the user."""

    sender: int
    mid: int
    mtype: int
    mtime: int
    msg: object
    attrs: object


class Asker(Protocol):
    """What can be asked."""

    def quest(self, method: str, params: Params, /) -> Awaitable[Params]:
        """Ask, and wait for the answer."""
        ...


class Client(Asker, Protocol):
    """What is measured: a user who is logged in."""

    def next_push(self) -> Awaitable[object]:
        """The next push that was not seen before; it has been answered."""
        ...

    async def send_file(self, path: Path) -> int:
        """Send a file, on a connection of its own; its mtime."""
        ...


Open = Callable[[str], AbstractAsyncContextManager[Client]]
"""Connects to ws://HOST:PORT/PATH or tcp://HOST:PORT, and logs in."""


class Calls:
    """Who waits for which answer, and which pushes were seen."""

    def __init__(self, deliver: Callable[[Pushed], None]) -> None:
        self._deliver = deliver
        self._seq = 0
        self._waiting: dict[int, Callable[[Params | Refused], None]] = {}
        self._seen: dict[tuple[int, int], None] = {}

    def begin(
        self, method: str, params: Params, wake: Callable[[Params | Refused], None]
    ) -> tuple[int, bytes]:
        """A quest with a new seq; *wake* gets its answer."""
        self._seq = seq = self._seq + 1
        self._waiting[seq] = wake
        return seq, pack_quest(method, params, seq)

    def end(self, seq: int) -> None:
        """Nobody waits any longer."""
        self._waiting.pop(seq, None)

    def take(self, package: bytes | bytearray | memoryview) -> bytes | None:
        """A package came; what has to be sent for it."""
        _, _, _, kind, ss, _, seq = HEAD.unpack_from(package)
        if kind == ANSWER:
            params = msgpack.unpackb(package[HEAD_SIZE:])
            wake = self._waiting.pop(seq, None)
            if wake is not None:
                wake(Refused(params["code"], params["ex"]) if ss else params)
            return None
        method = bytes(package[HEAD_SIZE : HEAD_SIZE + ss])
        if method == b"pushmsg":
            self.pushed(msgpack.unpackb(package[HEAD_SIZE + ss :]))
        return pack_answer(EMPTY, seq)

    def pushed(self, params: Params) -> None:
        """A push came: deliver it, unless it was seen before."""
        key = params["from"], params["mid"]
        seen = self._seen
        if key in seen:
            return
        seen[key] = None
        if len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        mtype, msg, attrs = params["mtype"], params["msg"], params["attrs"]
        if 40 <= mtype <= 50:
            msg = json.loads(msg)
            attrs = json.loads(attrs) if attrs else None
        self._deliver(Pushed(params["from"], params["mid"], mtype, params["mtime"], msg, attrs))


def login() -> Params:
    """The params of ``auth``."""
    return {"pid": PID, "uid": UID, "token": LOGIN_TOKEN, "version": "bench-1.0"}


def token_quest() -> Params:
    """The params of ``filetoken``."""
    return {"cmd": "sendfile", "to": TO}


def file_envelope(token: str, mid: int) -> Params:
    """The params of ``sendfile`` without file and attrs."""
    return {"pid": PID, "from": UID, "to": TO, "mtype": 50, "mid": mid, "token": token}


def file_attrs(path: Path, digest: str, token: str) -> str:
    """The attrs of a file quest, with the sign."""
    sign = md5(f"{digest}:{token}".encode()).hexdigest()
    rtm = {"sign": sign, "ext": path.suffix[1:], "filename": path.name}
    return json.dumps({"rtm": rtm}, separators=(",", ":"))


def file_quest(path: Path, token: str, mid: int) -> Params:
    """The params of ``sendfile``, the whole file in memory."""
    data = path.read_bytes()
    attrs = file_attrs(path, md5(data).hexdigest(), token)
    return {**file_envelope(token, mid), "attrs": attrs, "file": data}


def place(url: str) -> tuple[str, int, str]:
    """Host, port and path of *url*."""
    rest = url.partition("://")[2]
    authority, _, path = rest.partition("/")
    host, _, port = authority.rpartition(":")
    return host, int(port), "/" + path


def file_gate(url: str, endpoint: str) -> str:
    """The URL of the file gate at *endpoint*, over the transport of *url*."""
    return url.replace(url.partition("://")[2].partition("/")[0], endpoint, 1)
