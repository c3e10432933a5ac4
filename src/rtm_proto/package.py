"""FPNN packages: the 12-byte header, the sequence number, the method and the payload.

    0          4     5     6     7     8            12           16       16+ss    16+ss+psize
    +----------+-----+-----+-----+-----+------------+------------+--------+--------+
    | F P N N  | ver | flag|mtype| ss  | psize u32LE|  seq u32LE | method | payload|
    +----------+-----+-----+-----+-----+------------+------------+--------+--------+
    mtype 0  one-way quest   no seq field
    mtype 1  two-way quest
    mtype 2  answer          no method; the ss byte is the status, 0 = success

This is the only module that knows the layout. Source: FPNN framework 1.3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from .codes import Code
from .errors import FramingError, LocalProtocolError, show_bytes

MAGIC = b"FPNN"
VERSION = 1  # what we send; peers send 0 (Python SDK) and 1
FLAG_MSGPACK = 0x80
FLAG_JSON = 0x40
HEADER_SIZE = 12  # bytes; two-way quests and answers have 4 more for the seq
MAX_METHOD = 255  # bytes; the length field is one byte
MAX_PACKAGE = 8_388_608  # bytes, header included; FPNN.global.max.package.len of the framework
MAX_SEQ = 0xFFFFFFFF

_HEADER = Struct("<4sBBBBI")
_HEADER_SEQ = Struct("<4sBBBBII")


class Kind(IntEnum):
    """The mtype byte of the header."""

    ONEWAY = 0
    TWOWAY = 1
    ANSWER = 2


@dataclass(slots=True)
class Package:
    """One package as it stood on the wire; the payload is not decoded.

    ``method`` is empty for an answer, ``status`` is 0 for a quest, ``seq`` is 0 for a one-way
    quest (which has none). ``size`` is the number of bytes it took on the wire.
    """

    kind: int
    version: int
    flag: int
    status: int
    seq: int
    method: bytes
    payload: bytes

    @property
    def size(self) -> int:
        """How many bytes the package takes on the wire."""
        seq_size = 0 if self.kind == Kind.ONEWAY else 4
        return HEADER_SIZE + seq_size + len(self.method) + len(self.payload)


def method_bytes(method: str) -> bytes:
    """*method* as it goes on the wire.

    Raises LocalProtocolError when it is not 1 to 255 bytes of UTF-8.
    """
    try:
        data = method.encode()
    except UnicodeEncodeError as exc:
        raise LocalProtocolError(f"method {method!r} is not valid text") from exc
    if not 1 <= len(data) <= MAX_METHOD:
        raise LocalProtocolError(f"a method is 1 to {MAX_METHOD} bytes, got {len(data)}")
    return data


def encode_quest(method: bytes, payload: bytes, seq: int, *, flag: int = FLAG_MSGPACK) -> bytes:
    """A two-way quest."""
    return quest_head(method, len(payload), seq, flag=flag) + payload


def quest_head(method: bytes, psize: int, seq: int, *, flag: int = FLAG_MSGPACK) -> bytes:
    """All of a two-way quest that stands before its payload of *psize* bytes."""
    return _HEADER_SEQ.pack(MAGIC, VERSION, flag, Kind.TWOWAY, len(method), psize, seq) + method


def encode_oneway(method: bytes, payload: bytes, *, flag: int = FLAG_MSGPACK) -> bytes:
    """A one-way quest."""
    return (
        _HEADER.pack(MAGIC, VERSION, flag, Kind.ONEWAY, len(method), len(payload))
        + method
        + payload
    )


def encode_answer(
    payload: bytes,
    seq: int,
    *,
    status: int = 0,
    version: int = VERSION,
    flag: int = FLAG_MSGPACK,
) -> bytes:
    """An answer; *version* is the quest's if that is 0 or 1, else 1."""
    return (
        _HEADER_SEQ.pack(
            MAGIC,
            version if version in (0, 1) else VERSION,
            flag,
            Kind.ANSWER,
            status,
            len(payload),
            seq,
        )
        + payload
    )


class Splitter:
    """Cuts a stream of bytes into packages, however it arrives.

    Each byte is looked at once; a fault is seen with the first byte that makes it certain. Once
    ``fault`` is set no more packages come, and what arrives is dropped.
    """

    __slots__ = ("_buffer", "_need", "fault", "limit")

    def __init__(self, limit: int = MAX_PACKAGE) -> None:
        self.limit = limit
        self.fault: FramingError | None = None
        self._buffer = bytearray()
        self._need = 0  # bytes that must be there before another look makes sense

    @property
    def pending(self) -> int:
        """Bytes of a package that has begun but is not whole."""
        return len(self._buffer)

    @property
    def announced(self) -> int | None:
        """The size of the package that has begun, once its header is there."""
        return self._need or None

    def feed(self, data: bytes | bytearray | memoryview) -> list[Package]:
        """The packages that *data* completes, in order."""
        if self.fault is not None:
            return []
        buffer: bytes | bytearray | memoryview = data
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return []
            buffer = self._buffer
        packages: list[Package] = []
        offset = 0
        try:
            while (end := self._measure(buffer, offset)) is not None:
                packages.append(_cut(buffer, offset, end))
                offset = end
        except FramingError as fault:
            self.fault = fault
            self._buffer = bytearray()
            return packages
        if buffer is self._buffer:
            del self._buffer[:offset]
        elif offset < len(data):
            self._buffer += data[offset:]
        return packages

    def _measure(self, data: bytes | bytearray | memoryview, offset: int) -> int | None:
        """Where the package at *offset* ends, or None if it is not whole yet."""
        have = len(data) - offset
        if have < HEADER_SIZE:
            self._need = 0
            if have == 0:
                return None
            head = bytes(data[offset : offset + 4])
            if not MAGIC.startswith(head):
                raise _wrong_magic(head)
            if have >= 7 and data[offset + 6] > Kind.ANSWER:
                raise _wrong_kind(data[offset + 6])
            return None
        magic, _version, _flag, kind, ss, psize = _HEADER.unpack_from(data, offset)
        if magic != MAGIC:
            raise _wrong_magic(magic)
        if kind > Kind.ANSWER:
            raise _wrong_kind(kind)
        seq_size = 0 if kind == Kind.ONEWAY else 4
        size: int = HEADER_SIZE + seq_size + (0 if kind == Kind.ANSWER else ss) + psize
        if size > self.limit:
            seq = None
            if kind == Kind.TWOWAY:  # the quest can be refused by its seq: 4 bytes more to wait for
                if have < HEADER_SIZE + 4:
                    self._need = 0
                    return None
                seq = int.from_bytes(data[offset + 12 : offset + 16], "little")
            raise FramingError(
                f"a package of {size} bytes is over the limit of {self.limit}",
                Code.INVALID_PACKAGE,
                limit=True,
                seq=seq,
            )
        if have < size:
            self._need = size
            return None
        return offset + size


def _cut(data: bytes | bytearray | memoryview, offset: int, end: int) -> Package:
    _magic, version, flag, kind, ss, _psize = _HEADER.unpack_from(data, offset)
    start = offset + HEADER_SIZE
    seq = 0
    if kind != Kind.ONEWAY:
        seq = int.from_bytes(data[start : start + 4], "little")
        start += 4
    if kind == Kind.ANSWER:
        return Package(kind, version, flag, ss, seq, b"", bytes(data[start:end]))
    method = bytes(data[start : start + ss])
    return Package(kind, version, flag, 0, seq, method, bytes(data[start + ss : end]))


def _wrong_magic(head: bytes) -> FramingError:
    # Up to the first wrong byte and no further: the same text however the bytes were cut.
    wrong = next(count for count in range(1, 5) if not MAGIC.startswith(head[:count]))
    return FramingError(
        f"a package begins with {show_bytes(MAGIC)}, got {show_bytes(head[:wrong])}",
        Code.INVALID_PACKAGE,
    )


def _wrong_kind(kind: int) -> FramingError:
    return FramingError(f"mtype must be 0, 1 or 2, got {kind}", Code.METHOD_TYPE)
