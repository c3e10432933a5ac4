"""The floor: the work by hand on a blocking socket, with nothing that could be left out."""

from __future__ import annotations

import socket
from hashlib import md5
from pathlib import Path

import msgpack

from . import calls
from .calls import Calls, Pushed, Refused, place
from .wire import HEAD, HEAD_SIZE, QUEST, Params, Splitter, pack_quest

PIECE = 65_536  # bytes
_PLACEHOLDER = "0" * 32  # of a digest


class Floor:
    """A user over raw TCP who does one thing at a time."""

    def __init__(self, url: str) -> None:
        host, port, _ = place(url)
        self._socket = _connect(host, port)
        self._splitter = Splitter()
        self._mid = 0
        self.quest("auth", calls.login())

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def quest(self, method: str, params: Params) -> Params:
        """Ask, and wait for the answer."""
        self._socket.sendall(pack_quest(method, params, 1))
        while not (packages := self._splitter.feed(self._socket.recv(PIECE))):
            continue
        return _answer(packages[0])

    def quests(self, method: str, params: Params, count: int, in_flight: int) -> int:
        """Ask *count* times, *in_flight* at once; how many answers came."""
        sock, splitter = self._socket, self._splitter
        came = asked = 0
        while came < count:
            batch = [
                pack_quest(method, params, seq)
                for seq in range(asked, min(count, came + in_flight))
            ]
            asked += len(batch)
            sock.sendall(b"".join(batch))
            while came < asked:
                for package in splitter.feed(sock.recv(PIECE)):
                    msgpack.unpackb(package[HEAD_SIZE:])
                    came += 1
        return came

    def pushes(self, count: int, *, file: bool) -> int:
        """Ask for pushes, answer them; how many came that were not seen before."""
        told: list[Pushed] = []
        taker = Calls(told.append)
        self._socket.sendall(pack_quest("bench.push", {"count": count, "file": file}, 1))
        while len(told) < count:
            packages = self._splitter.feed(self._socket.recv(PIECE))
            answers = [taker.take(package) for package in packages]
            self._socket.sendall(b"".join(answer for answer in answers if answer))
        return len(told)

    def send_file(self, path: Path) -> int:
        """Send a file: read once, hashed as it goes, the sign behind it."""
        self._mid += 1
        granted = self.quest("filetoken", calls.token_quest())
        token = granted["token"]
        host, port, _ = place(f"tcp://{granted['endpoint']}")
        params = {**calls.file_envelope(token, self._mid), "file": b"", "attrs": ""}
        digest = md5(usedforsecurity=False)
        piece = memoryview(bytearray(PIECE))
        with _connect(host, port) as sock, open(path, "rb", buffering=0) as file:
            size = path.stat().st_size
            head: bytes = msgpack.packb(params)[: -len(b"\xc4\x00\xa5attrs\xa0")]
            head += b"\xc6" + size.to_bytes(4, "big")
            tail = _tail(path, _PLACEHOLDER, token)
            psize = len(head) + size + len(tail)
            method = b"sendfile"
            quest = HEAD.pack(b"FPNN", 1, 0x80, QUEST, len(method), psize, 1) + method + head
            sock.sendall(quest)
            while count := file.readinto(piece):
                digest.update(piece[:count])
                sock.sendall(piece[:count])
            sock.sendall(_tail(path, digest.hexdigest(), token))
            splitter = Splitter()
            while not (packages := splitter.feed(sock.recv(PIECE))):
                continue
        mtime: int = _answer(packages[0])["mtime"]
        return mtime


def _tail(path: Path, digest: str, token: str) -> bytes:
    packed: bytes = msgpack.packb("attrs") + msgpack.packb(calls.file_attrs(path, digest, token))
    return packed


def _connect(host: str, port: int) -> socket.socket:
    sock = socket.create_connection((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _answer(package: bytes) -> Params:
    _, _, _, _, status, _, _ = HEAD.unpack_from(package)
    params: Params = msgpack.unpackb(package[HEAD_SIZE:])
    if status:
        raise Refused(params["code"], params["ex"])
    return params
