"""What stands in captured bytes, package by package: the pure half of ``rtm inspect``.

    begins with             is read as
    46 50 4e 4e  "FPNN"     packages one behind the other (TCP, TLS)
    "GET ", "HTTP/1."       the head of a WebSocket upgrade, then frames
    00-0f, 80-ff            WebSocket frames, either direction

The payloads of a WebSocket's data frames are one stream of packages: masks are taken off,
fragments put together, control frames and RSV bits passed over, and the frame of 126 bytes that
the FPNN framework 1.3.1 writes without its length is repaired. Nothing is decrypted or inflated.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import msgpack

from .codes import Code, describe
from .errors import PayloadError, show_bytes
from .package import FLAG_JSON, FLAG_MSGPACK, MAGIC, MAX_PACKAGE, Kind, Package, Splitter
from .payload import load_json, scan, unpack

TEXT_WIDTH = 100  # columns of the readable form, unless told

_KINDS: dict[int, Literal["quest", "oneway", "answer"]] = {
    Kind.ONEWAY: "oneway",
    Kind.TWOWAY: "quest",
    Kind.ANSWER: "answer",
}
_HEADS = (b"GET ", b"HTTP/1.")
_UNKNOWN = "neither a package, an HTTP upgrade nor a WebSocket frame"
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_MIN_ROOM = 24  # columns that a value gets, however deep it stands
_MAX_LABEL = 40  # columns of a method or a key

# RFC 6455, section 5.2
_FIN = 0x80
_RSV = 0x70
_DATA_OPCODES = (0x0, 0x1, 0x2)
_CONTROL_OPCODES = (0x8, 0x9, 0xA)
_BINARY_WHOLE = 0x82  # the first byte of an unfragmented binary frame


@dataclass(frozen=True, slots=True)
class Entries:
    """A map with all that stood in it: keys that are not text and keys that stood twice."""

    pairs: tuple[tuple[object, object], ...]


@dataclass(frozen=True, slots=True)
class Ext:
    """A msgpack ext value, a timestamp (type -1) included."""

    type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """One package.

    ``offset`` is where its first byte stands in the input, ``length`` its size as a package: frame
    headers do not count. ``status`` is None for quests, ``method`` for answers, ``seq`` for one-way
    quests. In ``payload`` a map is :class:`Entries`, an ext :class:`Ext`, and text that is not
    UTF-8 has surrogate escapes; it is None where ``payload_size`` is 0. ``trailing`` counts the
    payload bytes behind its one value, which every known reader ignores.
    """

    offset: int
    length: int
    version: int
    flag: int
    kind: Literal["quest", "oneway", "answer"]
    status: int | None
    method: str | None
    seq: int | None
    payload: object
    payload_size: int
    trailing: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What could not be read, and where in the input the package or the frame begins."""

    error: str
    offset: int


def read_input(data: bytes) -> bytes:
    """The bytes that *data* stands for: decoded if it is hex text, else *data* itself.

    Hex text is an even number of hex digits, in groups as one likes: blanks, line ends, ``:`` and
    ``,`` part them, and each group may begin with ``0x``. No package, upgrade or legal frame is hex
    text: "FPNN", "GET " and "HTTP" are not, nor are bytes from 80 on or below 09.
    """
    groups = data.replace(b":", b" ").replace(b",", b" ").split()
    digits = b"".join(group[2:] if group[:2] in (b"0x", b"0X") else group for group in groups)
    if not digits or len(digits) % 2 or digits.strip(_HEX_DIGITS):
        return data
    return bytes.fromhex(digits.decode("ascii"))


def inspect(data: bytes, *, limit: int = MAX_PACKAGE) -> Iterator[Found | Fault]:
    """Every package in *data*, in order; raises nothing, whatever *data* is.

    A payload that cannot be read is a fault in its package's place. Where a package of more than
    *limit* bytes, or one whose end is not known, makes the rest unreadable, that fault is the last
    item. An upgrade or control frames alone give no item.
    """
    offset = 0
    while _is_head(data, offset):
        end = data.find(b"\r\n\r\n", offset)
        if end < 0:
            yield Fault("the input ends inside the head of an HTTP message", offset)
            return
        first_line = data[offset : data.find(b"\r\n", offset)]
        if first_line.startswith(b"HTTP") and first_line.split()[1:2] != [b"101"]:
            shown = first_line.decode("ascii", "backslashreplace")
            yield Fault(f"the upgrade to WebSocket was not accepted: {shown!r}", offset)
            return
        offset = end + 4
    packages = _Packages(limit)
    if offset or _is_framed(data):
        yield from _in_frames(data, offset, packages)
    elif data[:1] == MAGIC[:1]:
        yield from packages.feed(data, 0)
        yield from packages.end()
    elif data:
        yield Fault(f"{_UNKNOWN}: {show_bytes(data)}", 0)
    else:
        yield Fault("the input is empty", 0)


def to_json(item: Found | Fault) -> str:
    """*item* as one line of JSON, all ASCII.

    What JSON has no form for: ``{"bin": hex}``; ``{"str_hex": hex}`` for text that is not UTF-8;
    ``{"ext": type, "bin": hex}``; ``{"float": "nan"}``, "inf" or "-inf". A map key that is not text
    is shown as its own JSON text (``1`` as ``"1"``); a map in which two keys would then be the same
    or a key has a map in it is ``{"pairs": [[key, value], ...]}``, so nothing is lost.
    """
    if isinstance(item, Fault):
        return json.dumps({"error": item.error, "offset": item.offset})
    return json.dumps(
        {
            "offset": item.offset,
            "length": item.length,
            "version": item.version,
            "flag": item.flag,
            "kind": item.kind,
            "status": item.status,
            "method": _plain(item.method),
            "seq": item.seq,
            "payload": _plain(item.payload),
        },
        allow_nan=False,
    )


def to_text(item: Found | Fault, *, width: int = TEXT_WIDTH) -> str:
    """*item* for people: one line about the package, then its payload, indented.

    Values are cut at *width* columns, with their length; of an error answer the code is named.
    """
    if isinstance(item, Fault):
        return f"@{item.offset} fault: {item.error}"
    lines = [_title(item)]
    payload = item.payload
    if not item.payload_size:
        lines.append("  no payload")
    elif isinstance(payload, Entries):
        lines += _map_lines(payload, 2, width, names_code=bool(item.status)) or ["  {}"]
    else:
        lines += _value_lines("", payload, 2, width)
    if item.trailing:
        lines.append(f"  and {item.trailing} bytes behind it, ignored")
    return "\n".join(lines)


# --- finding -------------------------------------------------------------------------------------


class _Packages:
    """Packages out of a stream that comes in pieces, each with its place in the input."""

    def __init__(self, limit: int) -> None:
        self._splitter = Splitter(limit)
        self._starts: list[int] = []  # where in the stream each piece begins
        self._offsets: list[int] = []  # where in the input
        self._fed = 0
        self._begun = 0  # where in the stream the next package begins

    @property
    def pending(self) -> bool:
        return self._splitter.pending > 0

    @property
    def faulty(self) -> bool:
        return self._splitter.fault is not None

    def feed(self, piece: bytes, offset: int) -> Iterator[Found | Fault]:
        if not piece:
            return
        self._starts.append(self._fed)
        self._offsets.append(offset)
        self._fed += len(piece)
        for package in self._splitter.feed(piece):
            yield _found(package, self._place())
            self._begun += package.size
        if self._splitter.fault is not None:
            yield Fault(str(self._splitter.fault), self._place())

    def end(self) -> Iterator[Fault]:
        """The fault of an input that ends here, if it is one."""
        if self.pending:
            announced = self._splitter.announced
            of = "an unknown number of" if announced is None else announced
            there = f"{self._splitter.pending} of {of} bytes are there"
            yield Fault(f"the input ends inside a package: {there}", self._place())

    def _place(self) -> int:
        piece = bisect_right(self._starts, self._begun) - 1
        return self._offsets[piece] + self._begun - self._starts[piece]


class _Frame(NamedTuple):
    """A WebSocket frame's header, and where its payload stands in the input."""

    fin: bool
    opcode: int
    mask: bytes
    begin: int
    end: int


def _is_head(data: bytes, offset: int) -> bool:
    start = data[offset : offset + 7]
    return bool(start) and any(start[: len(head)] == head[: len(start)] for head in _HEADS)


def _is_framed(data: bytes) -> bool:
    """Whether *data* begins like a WebSocket frame; FPNN and all text begin with 10 to 7f."""
    return bool(data) and not 0x10 <= data[0] < 0x80


def _in_frames(data: bytes, offset: int, packages: _Packages) -> Iterator[Found | Fault]:
    in_message = False
    while offset < len(data):
        repair = not in_message and not packages.pending
        frame = _frame_at(data, offset, repair=repair)
        if frame is None:
            yield Fault("the input ends inside the header of a WebSocket frame", offset)
            return
        if frame.opcode in _DATA_OPCODES:
            if frame.opcode and in_message:
                yield Fault("a WebSocket message begins inside an unfinished one", offset)
                return
            in_message = not frame.fin
            yield from packages.feed(_payload(data, frame), frame.begin)
            if packages.faulty:
                return
        elif frame.opcode not in _CONTROL_OPCODES:
            what = f"a WebSocket frame with the reserved opcode {frame.opcode:#x}"
            if offset == 0 and data[0] & _RSV:
                what = _UNKNOWN
            yield Fault(f"{what}: {show_bytes(data[offset : offset + 16])}", offset)
            return
        if frame.end > len(data):
            there = max(0, len(data) - frame.begin)
            yield Fault(
                f"the input ends inside a WebSocket frame: {there} of"
                f" {frame.end - frame.begin} payload bytes are there",
                offset,
            )
            return
        offset = frame.end
    yield from packages.end()
    if in_message and not packages.pending:
        yield Fault("the input ends inside a fragmented WebSocket message", offset)


def _frame_at(data: bytes, offset: int, *, repair: bool) -> _Frame | None:
    """The frame whose header begins at *offset*, or None if the header is cut short.

    With *repair*, ``82 7e 46 50 4e 4e`` is the framework's frame of 126 bytes without its length: a
    true frame of 0x4650 bytes would have the magic two bytes later.
    """
    head = data[offset : offset + 14]
    if len(head) < 2:
        return None
    begin = 2
    size = head[1] & 0x7F
    if size == 126 and repair and head[0] == _BINARY_WHOLE and head[1:6] == b"\x7eFPNN":
        return _Frame(True, 2, b"", offset + 2, offset + 2 + 126)
    if size >= 126:
        begin = 4 if size == 126 else 10
        size = int.from_bytes(head[2:begin], "big")
    mask = b""
    if head[1] & 0x80:
        mask = head[begin : begin + 4]
        begin += 4
    if len(head) < begin:
        return None
    return _Frame(bool(head[0] & _FIN), head[0] & 0x0F, mask, offset + begin, offset + begin + size)


def _payload(data: bytes, frame: _Frame) -> bytes:
    payload = data[frame.begin : frame.end]
    if not frame.mask:
        return payload
    size = len(payload)
    key = (frame.mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def _found(package: Package, offset: int) -> Found | Fault:
    kind = _KINDS[package.kind]
    method = None
    if kind != "answer":
        method = package.method.decode("utf-8", "surrogateescape")
    seq = package.seq if kind != "oneway" else None
    try:
        payload, trailing = _read(package)
    except PayloadError as exc:
        return Fault(f"{_name(kind, method, seq)}: {exc}", offset)
    return Found(
        offset=offset,
        length=package.size,
        version=package.version,
        flag=package.flag,
        kind=kind,
        status=package.status if kind == "answer" else None,
        method=method,
        seq=seq,
        payload=payload,
        payload_size=len(package.payload),
        trailing=trailing,
    )


def _read(package: Package) -> tuple[object, int]:
    """The value in a package's payload, and the number of bytes behind it."""
    data = package.payload
    form = package.flag & (FLAG_MSGPACK | FLAG_JSON)
    if form not in (FLAG_MSGPACK, FLAG_JSON):
        raise PayloadError(
            f"flag {package.flag:#04x} must have one of 0x80 (msgpack) and 0x40 (JSON)",
            Code.NOT_SUPPORTED,
        )
    if not data:
        return None, 0
    if form == FLAG_JSON:
        return load_json(data, _entries), 0
    end = scan(data)
    return _opaque(unpack(data[:end], _entries)), len(data) - end


def _entries(pairs: Iterable[tuple[object, object]]) -> Entries:
    return Entries(tuple(pairs))


def _opaque(value: object) -> object:
    """*value* with msgpack's own classes for ext replaced by ours."""
    if isinstance(value, msgpack.ExtType):
        return Ext(value.code, value.data)
    if isinstance(value, msgpack.Timestamp):
        return Ext(-1, value.to_bytes())
    if isinstance(value, Entries):
        return Entries(tuple((_opaque(key), _opaque(item)) for key, item in value.pairs))
    if isinstance(value, list):
        return [_opaque(item) for item in cast("list[object]", value)]
    return value


# --- showing -------------------------------------------------------------------------------------


def _raw(text: str) -> bytes | None:
    """The bytes that *text* was read from, or None if it is proper Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half a surrogate pair, which only JSON can spell
            return text.encode("utf-8", "surrogatepass")
    return None


def _plain(value: object) -> object:
    """*value* as JSON has it."""
    match value:
        case str():
            raw = _raw(value)
            return value if raw is None else {"str_hex": raw.hex()}
        case bytes():
            return {"bin": value.hex()}
        case float() if not math.isfinite(value):
            return {"float": str(value)}
        case Ext(kind, data):
            return {"ext": kind, "bin": data.hex()}
        case list():
            return [_plain(item) for item in cast("list[object]", value)]
        case Entries(pairs):
            shown = [(_plain(key), _plain(item)) for key, item in pairs]
            if any(_holds_map(key) for key, _ in pairs):  # text in text in text has no end
                return {"pairs": shown}
            names = [key if isinstance(key, str) else json.dumps(key) for key, _ in shown]
            if len(set(names)) < len(names):
                return {"pairs": shown}
            return {name: item for name, (_, item) in zip(names, shown, strict=True)}
        case _:
            return value


def _holds_map(value: object) -> bool:
    if isinstance(value, list):
        return any(_holds_map(item) for item in cast("list[object]", value))
    return isinstance(value, Entries)


def _name(kind: str, method: str | None, seq: int | None) -> str:
    parts = [kind]
    if method is not None:
        parts.append(_label(method))
    if seq is not None:
        parts.append(f"seq {seq}")
    return " ".join(parts)


def _title(item: Found) -> str:
    parts = [f"@{item.offset}", _name(item.kind, item.method, item.seq)]
    if item.status is not None:
        parts.append(f"status {item.status}")
    parts.append(f"v{item.version}")
    parts.append("json" if item.flag & FLAG_JSON else "msgpack")
    if item.flag not in (FLAG_MSGPACK, FLAG_JSON):
        parts.append(f"flag {item.flag:#04x}")
    parts.append(f"{item.length} bytes")
    return " ".join(parts)


def _label(key: object) -> str:
    """A method or a key, bare where that is readable."""
    if isinstance(key, str) and 0 < len(key) <= _MAX_LABEL and key.isprintable():
        return key
    return _inline(key, _MAX_LABEL) or "(long key)"


def _map_lines(entries: Entries, indent: int, width: int, *, names_code: bool) -> list[str]:
    lines: list[str] = []
    for key, value in entries.pairs:
        if names_code and key == "code" and type(value) is int:
            lines.append(f"{' ' * indent}code: {_named(value)}")
        else:
            lines += _value_lines(f"{_label(key)}: ", value, indent, width)
    return lines


def _value_lines(label: str, value: object, indent: int, width: int) -> list[str]:
    margin = " " * indent
    line = _inline(value, max(_MIN_ROOM, width - indent - len(label)))
    if line is not None:
        return [margin + label + line]
    lines: list[str] = []
    if label:
        lines.append(margin + label.rstrip())
        indent += 2
    if isinstance(value, Entries):
        lines += _map_lines(value, indent, width, names_code=False)
    else:
        for item in cast("list[object]", value):
            lines += _value_lines("- ", item, indent, width)
    return lines


def _named(code: int) -> str:
    """An error code with its name and its published meaning."""
    try:
        return f"{code} {Code(code).name}: {describe(code)}"
    except ValueError:
        return f"{code} ({describe(code)})"


def _inline(value: object, room: int) -> str | None:
    """*value* on one line of *room* columns: cut, or None for a map or an array that is longer."""
    match value:
        case str():
            raw = _raw(value)
            if raw is not None:
                return _hex("not UTF-8,", raw, room)
            shown = repr(value[:room])
            if len(value) <= room and len(shown) <= room:
                return shown
            return _cut(shown, room, f"({len(value)} characters)")
        case bytes():
            return _hex("bin", value, room)
        case Ext(kind, data):
            return _hex(f"ext {kind},", data, room)
        case list():
            items = cast("list[object]", value)
            if 3 * len(items) > room:  # the least that items and commas take
                return None
            return _joined("[]", [_inline(item, room) for item in items], room)
        case Entries(pairs):
            if 3 * len(pairs) > room:
                return None
            lines = [(_label(key), _inline(item, room)) for key, item in pairs]
            return _joined("{}", [line and f"{label}: {line}" for label, line in lines], room)
        case _:
            shown = json.dumps(value)
            return shown if len(shown) <= room else _cut(shown, room, f"({len(shown)} digits)")


def _joined(marks: str, parts: list[str | None], room: int) -> str | None:
    texts = [part for part in parts if part is not None]
    if len(texts) < len(parts):
        return None
    line = marks[0] + ", ".join(texts) + marks[1]
    return line if len(line) <= room else None


def _hex(what: str, data: bytes, room: int) -> str:
    line = f"{what} {len(data)} bytes {data[:room].hex()}".rstrip()
    return line if len(line) <= room else line[: room - 3] + "..."


def _cut(shown: str, room: int, note: str) -> str:
    return f"{shown[: max(1, room - len(note) - 4)]}... {note}"
