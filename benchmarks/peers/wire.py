"""FPNN by hand: what every client that is not ours is made of.

quest     46504e4e 01 80 01 SS PSIZE:u32 SEQ:u32 METHOD PAYLOAD
answer    46504e4e 01 80 02 ST PSIZE:u32 SEQ:u32 PAYLOAD
"""

from __future__ import annotations

from struct import Struct
from typing import Any

import msgpack

Params = dict[str, Any]

HEAD = Struct("<4sBBBBII")
HEAD_SIZE = HEAD.size
QUEST = 1
ANSWER = 2
EMPTY = b"\x80"


def pack_quest(method: str, params: Params, seq: int) -> bytes:
    """A quest as bytes."""
    name = method.encode()
    payload = msgpack.packb(params)
    return HEAD.pack(b"FPNN", 1, 0x80, QUEST, len(name), len(payload), seq) + name + payload


def pack_answer(payload: bytes, seq: int) -> bytes:
    """An answer as bytes."""
    return HEAD.pack(b"FPNN", 1, 0x80, ANSWER, 0, len(payload), seq) + payload


class Splitter:
    """Cuts a stream of bytes into packages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """The packages that are whole now."""
        buffer = self._buffer
        buffer += data
        packages: list[bytes] = []
        at = 0
        while len(buffer) - at >= HEAD_SIZE:
            _, _, _, kind, size, psize, _ = HEAD.unpack_from(buffer, at)
            end = at + HEAD_SIZE + psize + (size if kind == QUEST else 0)
            if len(buffer) < end:
                break
            packages.append(bytes(buffer[at:end]))
            at = end
        del buffer[:at]
        return packages
