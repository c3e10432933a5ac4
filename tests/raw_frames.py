"""WebSocket frames and cuts for tests: written out plainly, also the broken ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rtm_proto.link import Buffer

VECTORS = Path(__file__).parent / "vectors"


def load_vectors(name: str) -> list[dict[str, Any]]:
    """The cases of one of the files in tests/vectors."""
    cases: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    return cases


def raw_frame(
    payload: bytes = b"",
    opcode: int = 2,
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = None,
    announced: int | None = None,
    form: int | None = None,
) -> bytes:
    """A frame of any kind; *announced* and *form* (0, 16 or 64 bits) may be wrong for it."""
    size = len(payload) if announced is None else announced
    if form is None:
        form = 0 if size < 126 else 16 if size < 65_536 else 64
    masked = 0 if key is None else 0x80
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if form == 0:
        head = bytes((first, masked | size))
    elif form == 16:
        head = bytes((first, masked | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8)
    if key is None:
        return head + payload
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def cuts(data: bytes) -> list[list[bytes]]:
    """The same bytes whole, byte by byte, and in two at a few places."""
    places = sorted({1, 2, 3, len(data) // 2, len(data) - 1} - {0, len(data)})
    return [
        [data],
        [data[i : i + 1] for i in range(len(data))],
        *([data[:place], data[place:]] for place in places if 0 < place < len(data)),
    ]


def joined(buffers: Iterable[Buffer]) -> bytes:
    """What a list of buffers writes."""
    return b"".join(bytes(buffer) for buffer in buffers)
