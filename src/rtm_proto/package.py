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

from dataclasses import dataclass, replace
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
MAX_PSIZE = 0xFFFFFFFF  # bytes of a payload that the header can tell


def package_limit(max_file: int) -> int:
    """Bytes of the largest package where files have up to *max_file* bytes: 8 MiB, or more."""
    return min(max(MAX_PACKAGE, max_file + 65_536), MAX_PSIZE)


WHOLE = 1 << 33  # bytes; more than a header can announce

_SEQ_END = HEADER_SIZE + 4
_HEADER = Struct("<4sBBBBI")
_HEADER_SEQ = Struct("<4sBBBBII")


class Kind(IntEnum):
    """The mtype byte of the header."""

    ONEWAY = 0
    TWOWAY = 1
    ANSWER = 2


@dataclass(slots=True)
class Package:
    """One package as it stood on the wire, or a part of a large one; the payload is not decoded.

    ``method`` is empty for an answer, ``status`` is 0 for a quest, ``seq`` is 0 for a one-way
    quest (which has none). A part has the head of its package and some of its payload, of which
    ``left`` bytes follow; ``part`` counts from 1, and part 1 has nothing of the payload.
    """

    kind: int
    version: int
    flag: int
    status: int
    seq: int
    method: bytes
    payload: bytes
    part: int = 0
    left: int = 0

    @property
    def size(self) -> int:
        """How many bytes the package takes on the wire, its other parts not counted."""
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
    return (
        _HEADER_SEQ.pack(MAGIC, VERSION, flag, 1, len(method), len(payload), seq) + method + payload
    )


def quest_head(method: bytes, psize: int, seq: int, *, flag: int = FLAG_MSGPACK) -> bytes:
    """All of a two-way quest that stands before its payload of *psize* bytes."""
    return _HEADER_SEQ.pack(MAGIC, VERSION, flag, 1, len(method), psize, seq) + method


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
            2,
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

    ``limit``     bytes of the largest package that is taken, header included
    ``whole_to``  bytes of the largest package that comes whole; a larger one comes in parts, the
                  first when its method is there, the others as the bytes of the payload arrive
    """

    __slots__ = ("_buffer", "_need", "_part", "_size", "fault", "limit", "whole_to")

    def __init__(self, limit: int = MAX_PACKAGE, whole_to: int = WHOLE) -> None:
        self.limit = limit
        self.whole_to = whole_to
        self.fault: FramingError | None = None
        self._buffer = bytearray()
        self._need = 0  # bytes that must be there before another look makes sense
        self._part: Package | None = None  # the last one without its bytes, while more are to come
        self._size = 0  # bytes of that package, or of the one that self._need is about

    @property
    def pending(self) -> int:
        """Bytes of a package that has begun but is not whole."""
        part = self._part
        return len(self._buffer) if part is None else self._size - part.left

    @property
    def announced(self) -> int | None:
        """The size of the package that has begun, once its header is there."""
        return self._size if self._need or self._part is not None else None

    def feed(self, data: bytes | bytearray | memoryview) -> list[Package]:
        """The packages that *data* completes, and the parts that it brings, in order."""
        if self.fault is not None:
            return []
        buffer: bytes | bytearray | memoryview = data
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return []
            buffer = self._buffer
        packages: list[Package] = []
        offset = taken = self._take_whole(buffer, packages) if self._part is None else 0
        if taken == len(buffer):
            offset = -1
            self._need = 0
        try:
            while offset >= 0:
                taken = offset
                if self._part is not None:
                    taken = self._take_part(self._part, buffer, offset, packages)
                offset = self._take(buffer, taken, packages)
        except FramingError as fault:
            self.fault = fault
            self._buffer = bytearray()
            return packages
        if buffer is self._buffer:
            del self._buffer[:taken]
        elif taken < len(data):
            self._buffer += data[taken:]
        return packages

    def _take_whole(self, data: bytes | bytearray | memoryview, packages: list[Package]) -> int:
        """The whole packages with a seq at the start of *data*; where they end.

        A short way for what most of them are. All that is odd is left for ``_take``.
        """
        offset, end = 0, len(data)
        most = min(self.limit, self.whole_to)
        unpack = _HEADER_SEQ.unpack_from
        while end - offset >= _SEQ_END:
            magic, version, flag, kind, ss, psize, seq = unpack(data, offset)
            body = start = offset + _SEQ_END
            if kind == 1:
                body += ss
            elif kind != 2:
                break
            behind = body + psize
            if magic != MAGIC or behind > end or behind - offset > most:
                break
            payload = bytes(data[body:behind])
            if kind == 1:
                method = bytes(data[start:body])
                packages.append(Package(1, version, flag, 0, seq, method, payload))
            else:
                packages.append(Package(2, version, flag, ss, seq, b"", payload))
            offset = behind
        return offset

    def _take_part(
        self,
        before: Package,
        data: bytes | bytearray | memoryview,
        offset: int,
        packages: list[Package],
    ) -> int:
        """The part behind *before*, as far as *data* goes; where it ends."""
        size = min(before.left, len(data) - offset)
        if size:
            before.part += 1
            before.left -= size
            packages.append(replace(before, payload=bytes(data[offset : offset + size])))
            if not before.left:
                self._part = None
        return offset + size

    def _take(
        self, data: bytes | bytearray | memoryview, offset: int, packages: list[Package]
    ) -> int:
        """The package at *offset*, or the head of one that comes in parts; where it ends, or -1 if
        that has not come yet."""
        have = len(data) - offset
        if have >= _SEQ_END:
            magic, version, flag, kind, ss, psize, seq = _HEADER_SEQ.unpack_from(data, offset)
        elif have >= HEADER_SIZE:
            head = bytes(data[offset:]).ljust(_SEQ_END)
            magic, version, flag, kind, ss, psize, seq = _HEADER_SEQ.unpack(head)
        else:
            self._need = 0
            _check_start(bytes(data[offset:]))
            return -1
        if magic != MAGIC:
            raise _wrong_magic(magic)
        start = offset + _SEQ_END
        status = 0
        if kind == 2:  # Kind.ANSWER; an Enum's members are slow to look up
            status, ss = ss, 0
        elif kind == 0:
            start -= 4
            seq = 0
        elif kind > 2:
            raise _wrong_kind(kind)
        body: int = start + ss
        end: int = body + psize
        size = end - offset
        if size > self.limit:
            if kind == 1 and have < _SEQ_END:  # it can be refused by its seq: wait for that
                self._need = 0
                return -1
            raise FramingError(
                f"a package of {size} bytes is over the limit of {self.limit}",
                Code.INVALID_PACKAGE,
                limit=True,
                seq=seq if kind == 1 else None,
            )
        whole = size <= self.whole_to
        if not whole:
            end = body
        if len(data) < end:
            self._need, self._size = end - offset, size
            return -1
        method = bytes(data[start:body]) if ss else b""
        package = Package(kind, version, flag, status, seq, method, bytes(data[body:end]))
        packages.append(package)
        if not whole and psize:
            package.part, package.left = 1, psize
            self._part = replace(package)
            self._size = size
        return end


def _check_start(head: bytes) -> None:
    """Find the fault in less than a header, where there is one already."""
    if not MAGIC.startswith(head[:4]):
        raise _wrong_magic(head[:4])
    if len(head) >= 7 and head[6] > Kind.ANSWER:
        raise _wrong_kind(head[6])


def _wrong_magic(head: bytes) -> FramingError:
    # Up to the first wrong byte and no further: the same text however the bytes were cut.
    wrong = next(count for count in range(1, 5) if not MAGIC.startswith(head[:count]))
    return FramingError(
        f"a package begins with {show_bytes(MAGIC)}, got {show_bytes(head[:wrong])}",
        Code.INVALID_PACKAGE,
    )


def _wrong_kind(kind: int) -> FramingError:
    return FramingError(f"mtype must be 0, 1 or 2, got {kind}", Code.METHOD_TYPE)
