"""Payloads: one msgpack map, read tolerantly and written exactly.

    peer writes             we read                     we write
    str, valid UTF-8        str                         str -> str
    str, other bytes        str with surrogate escapes  (the same bytes again)
    bin                     bytes                       bytes -> bin
    any integer family      int                         smallest, unsigned when >= 0
    ext                     msgpack.ExtType, opaque     the same
    duplicate keys          the first one wins          insertion order
    keys that are not text  left out                    refused at the top level
    bytes behind the map    ignored                     never

Text that is not UTF-8 keeps its bytes: ``value.encode("utf-8", "surrogateescape")`` gives them
back, and :func:`bytes_of` does so. (The C++ framework sends every string as str, file content
included.) Sources: the FPNN framework 1.3.1 and its clients, seen on the wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, cast

import msgpack

from .codes import Code
from .errors import LocalProtocolError, PayloadError, show_bytes

Params = Mapping[str, object]
"""What a quest or an answer carries: text keys, msgpack values."""

MAX_NODES = 4096  # values in one payload, keys included; 5 MiB of empty maps would grow to 369 MiB
MAX_DEPTH = 32  # maps and arrays inside each other, the outermost counted

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

_BUFFER = 512  # bytes that an encoder begins with; it grows
_Packer: Any = msgpack.Packer  # its type stubs do not know buf_size
EMPTY = b"\x80"  # the empty map; psize 0 is not the same thing

# Matches from any quote on, also where the closing one is missing: linear for every input.
_JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def encode(params: Params) -> bytes:
    """The msgpack map of *params*.

    Raises LocalProtocolError for a key that is not text, an integer outside int64..uint64, or a
    type that msgpack does not have.
    """
    if not params:
        return EMPTY
    _check_keys(params)
    try:
        # packb is this with a buffer of a megabyte, which costs more than most of our maps.
        packer = _Packer(unicode_errors="surrogateescape", buf_size=_BUFFER)
        packed: bytes = packer.pack(params)
        return packed
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise LocalProtocolError(f"payload cannot be encoded: {exc}") from exc


def bin_header(size: int) -> bytes:
    """The msgpack header of a bin value of *size* bytes."""
    if size < 0x100:
        return b"\xc4" + size.to_bytes(1, "big")
    if size < 0x10000:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")


def envelope(before: Params, key: str, size: int, after: Params) -> tuple[bytes, bytes]:
    """A map around a bin value of *size* bytes that is not in memory: what stands before, behind.

    The payload is the first part, then *size* bytes, then the second part; its entries are
    *before*, *key* and *after*, in this order. Raises LocalProtocolError as :func:`encode`.
    """
    count = len(before) + 1 + len(after)
    header = bytes([0x80 | count]) if count < 16 else b"\xde" + count.to_bytes(2, "big")
    head = header + _entries(before) + _entries({key: b""})[:-2] + bin_header(size)
    return head, _entries(after)


def decode(data: bytes, *, max_nodes: int = MAX_NODES) -> dict[str, object]:
    """The map in *data*, as the table above says.

    Raises PayloadError (10003) when *data* does not begin with one whole msgpack map, or when it
    holds more than *max_nodes* values or more than MAX_DEPTH levels.
    """
    if len(data) > max_nodes:  # what is shorter cannot hold more
        scan(data, max_nodes=max_nodes)
    try:
        value: Any = msgpack.unpackb(data, raw=False, unicode_errors="surrogateescape")
    except msgpack.ExtraData as exc:
        value = cast(Any, exc).unpacked  # which its type stubs do not know
    except Exception:  # msgpack's own documentation asks for it; the second look finds the reason
        return _decode_again(data, max_nodes)
    if value.__class__ is not dict:
        raise PayloadError(
            f"payload must be a map, got {value.__class__.__name__} ({show_bytes(data)})",
            Code.INVALID_PACKAGE,
        )
    entries: dict[str, object] = value
    if len(entries) == (data[0] & 0x0F if data[0] < 0x90 else _announced(data)):
        for key, item in entries.items():
            if type(key) is not str:
                break
            if (kind := type(item)) is dict or (
                kind is list and not _plain(cast("list[object]", item), 2)
            ):
                break
        else:
            return entries
        del item
    del entries, value  # so that there are never two of them: a hostile one is large
    return _decode_again(data, max_nodes)


def decode_json(data: bytes, *, max_nodes: int = MAX_NODES) -> dict[str, object]:
    """The JSON object in *data*, for packages with flag 0x40; of duplicate keys the first one wins.

    Raises PayloadError (10004) when it is not one, when a text in it has half a surrogate pair, or
    when it holds more than *max_nodes* values or more than MAX_DEPTH levels.
    """
    value = load_json(data, _first_wins, max_nodes=max_nodes)
    if not isinstance(value, dict):
        raise PayloadError(
            f"payload must be a JSON object, got {type(value).__name__}", Code.JSON_CONVERSION
        )
    entries = cast("dict[str, object]", value)
    if b"\\u" in data:
        try:
            json.dumps(entries, ensure_ascii=False).encode()
        except UnicodeEncodeError as exc:
            raise PayloadError(
                f"payload has text that is not Unicode: {exc.reason}", Code.JSON_CONVERSION
            ) from exc
    return entries


def load_json(
    data: bytes, pairs: Callable[[list[tuple[str, object]]], object], *, max_nodes: int = MAX_NODES
) -> object:
    """The JSON value in *data*; *pairs* makes of an object's entries what stands for it.

    Raises PayloadError (10004) when it is not JSON in UTF-8, or when it holds more than *max_nodes*
    values or more than MAX_DEPTH levels.
    """
    try:
        text = data.decode()
        _check_json(data, max_nodes)
        return cast(
            object,
            json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant),
        )
    except ValueError as exc:
        raise PayloadError(
            f"payload is not JSON: {exc} ({show_bytes(data)})", Code.JSON_CONVERSION
        ) from exc


def encode_json(params: Params) -> bytes:
    """The JSON text of *params*; bytes have no JSON form.

    Raises LocalProtocolError for a key that is not text, or a value that JSON does not have.
    """
    _check_keys(params)
    try:
        return json.dumps(params, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise LocalProtocolError(f"payload cannot be written as JSON: {exc}") from exc


def scan(data: bytes, *, max_nodes: int = MAX_NODES, max_depth: int = MAX_DEPTH) -> int:
    """Walk over the first msgpack value without building it; return the offset behind it.

    Raises PayloadError (10003) when it is cut short, malformed, too deep, or has too many nodes.
    """
    size = len(data)
    offset = 0
    nodes = 0
    left = [1]  # values still to come at each level
    while left:
        if left[-1] == 0:
            left.pop()
            continue
        left[-1] -= 1
        nodes += 1
        if nodes > max_nodes:
            raise PayloadError(
                f"payload holds more values than the limit of {max_nodes}", Code.INVALID_PACKAGE
            )
        if offset >= size:
            raise PayloadError(
                f"payload is cut short at offset {offset}: a value was expected",
                Code.INVALID_PACKAGE,
            )
        lead = data[offset]
        length_bytes, fixed, per_item = LAYOUT[lead]
        if fixed < 0:
            raise PayloadError(
                f"payload has the unused lead byte {lead:#04x} at offset {offset}",
                Code.INVALID_PACKAGE,
            )
        offset += 1
        count = 0
        if length_bytes:
            field = data[offset : offset + length_bytes]
            # A length that is cut short counts as 0: the check below finds the cut.
            count = int.from_bytes(field, "big") if len(field) == length_bytes else 0
            offset += length_bytes
        if per_item:
            if len(left) > max_depth:
                raise PayloadError(
                    f"payload is nested deeper than the limit of {max_depth}",
                    Code.INVALID_PACKAGE,
                )
            left.append(per_item * (count if length_bytes else fixed))
        else:
            offset += fixed + count
        if offset > size:
            raise PayloadError(
                f"payload is cut short: a value ends at offset {offset} of {size}",
                Code.INVALID_PACKAGE,
            )
    return offset


def unpack(data: bytes, pairs: Callable[[list[tuple[object, object]]], object]) -> object:
    """The one msgpack value that *data* is; *pairs* makes of a map's entries what stands for it.

    For what :func:`scan` has passed. Raises PayloadError (10003) for what msgpack refuses then:
    an ext of a negative type other than a timestamp.
    """
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            unicode_errors="surrogateescape",
            strict_map_key=False,
            object_pairs_hook=pairs,
        )
    except Exception as exc:  # msgpack's own documentation asks for it
        raise PayloadError(
            f"payload is not msgpack: {exc} ({show_bytes(data)})", Code.INVALID_PACKAGE
        ) from exc


# --- reading a value of a known type ---------------------------------------------------------


def int_of(params: Params, key: str, default: int | None = None) -> int:
    """The int64 at *key*.

    Raises PayloadError: 10009 when it is missing and there is no *default*, 10010 when it is of
    another type (a float, text or bool is not an integer, as in the framework) or above int64.
    """
    value = params.get(key)
    if value is None and default is not None:
        return default
    if type(value) is not int:
        raise _wrong(params, key, "an integer")
    if not INT64_MIN <= value <= INT64_MAX:
        raise PayloadError(f"{key}: {value} is outside int64", Code.TYPE_CONVERSION)
    return value


def text_of(params: Params, key: str, default: str | None = None) -> str:
    """The text at *key*; bin is taken for text, with surrogate escapes where it is not UTF-8.

    Raises PayloadError: 10009 when it is missing and there is no *default*, 10010 for another type.
    """
    value = params.get(key)
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if value is None and default is not None:
        return default
    raise _wrong(params, key, "text")


def bytes_of(params: Params, key: str) -> bytes:
    """The bytes at *key*, whether they came as bin or as str.

    Raises PayloadError: 10009 when they are missing, 10010 for another type.
    """
    value = params.get(key)
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    raise _wrong(params, key, "bytes")


def ints_of(params: Params, key: str) -> list[int]:
    """The array of int64 at *key*.

    Raises PayloadError: 10009 when it is missing, 10010 for another type or another kind of item.
    """
    value = params.get(key)
    if not isinstance(value, list):
        raise _wrong(params, key, "an array of integers")
    return [int_of({key: item}, key) for item in cast("list[object]", value)]


# --- private ---------------------------------------------------------------------------------


def _check_keys(params: Mapping[Any, object]) -> None:
    for key in params:
        if not isinstance(key, str):
            raise LocalProtocolError(f"a payload key must be text, got {key!r}")


def _check_json(data: bytes, max_nodes: int) -> None:
    """Count the values and levels of JSON text before any of them is built.

    What stands between the strings is enough: each value but the first follows one of ``,:[{``.
    """
    between = _JSON_STRING.sub(b"", data)
    if 1 + sum(between.count(mark) for mark in (b",", b":", b"[", b"{")) > max_nodes:
        raise PayloadError(
            f"payload holds more values than the limit of {max_nodes}", Code.JSON_CONVERSION
        )
    depth = 0
    for byte in between.translate(None, _NO_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        if depth > MAX_DEPTH:
            raise PayloadError(
                f"payload is nested deeper than the limit of {MAX_DEPTH}", Code.JSON_CONVERSION
            )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _wrong(params: Params, key: str, wanted: str) -> PayloadError:
    if key not in params:
        return PayloadError(f"{key} is missing: {wanted} was expected", Code.KEY_NOT_FOUND)
    return PayloadError(
        f"{key} must be {wanted}, got {type(params[key]).__name__}", Code.TYPE_CONVERSION
    )


def _entries(params: Params) -> bytes:
    """The encoded map of *params* without its header."""
    return encode(params)[1 if len(params) < 16 else 3 :]


def _announced(data: bytes) -> int:
    """How many entries the map at the start of *data* announces in a field of its own."""
    return int.from_bytes(data[1:3] if data[0] == 0xDE else data[1:5], "big")


def _plain(items: list[object], depth: int) -> bool:
    """Whether *items* hold no map and stay within MAX_DEPTH."""
    for item in items:
        kind = type(item)
        if kind is dict or (
            kind is list
            and (depth >= MAX_DEPTH or not _plain(cast("list[object]", item), depth + 1))
        ):
            return False
    return True


def _decode_again(data: bytes, max_nodes: int) -> dict[str, object]:
    """Decode what is not the common case, slowly and by the rules."""
    value = unpack(data[: scan(data, max_nodes=max_nodes)], _first_wins)
    if not isinstance(value, dict):
        raise PayloadError(
            f"payload must be a map, got {type(value).__name__} ({show_bytes(data)})",
            Code.INVALID_PACKAGE,
        )
    return cast("dict[str, object]", value)


def _first_wins(pairs: Iterable[tuple[object, object]]) -> dict[str, object]:
    entries: dict[str, object] = {}
    for key, value in pairs:
        if isinstance(key, bytes):
            key = key.decode("utf-8", "surrogateescape")
        if isinstance(key, str):
            entries.setdefault(key, value)
    return entries


def _layout() -> tuple[tuple[int, int, int], ...]:
    """For each lead byte: bytes of the length field, fixed size (or count), values an item.

    A fixed size of -1 marks the one unused lead byte.
    """
    table = [(0, 0, 0)] * 256
    for lead in range(0x80, 0x90):
        table[lead] = (0, lead & 0x0F, 2)
    for lead in range(0x90, 0xA0):
        table[lead] = (0, lead & 0x0F, 1)
    for lead in range(0xA0, 0xC0):
        table[lead] = (0, lead & 0x1F, 0)
    table[0xC1] = (0, -1, 0)
    for first, extra in ((0xC4, 0), (0xC7, 1), (0xD9, 0)):  # bin, ext (its type byte), str
        for step in range(3):
            table[first + step] = (1 << step, extra, 0)
    for lead, size in ((0xCA, 4), (0xCB, 8)):
        table[lead] = (0, size, 0)
    for first in (0xCC, 0xD0):
        for step in range(4):
            table[first + step] = (0, 1 << step, 0)
    for step in range(5):  # fixext 1, 2, 4, 8, 16 and the type byte
        table[0xD4 + step] = (0, 1 + (1 << step), 0)
    for lead, length_bytes, per_item in ((0xDC, 2, 1), (0xDD, 4, 1), (0xDE, 2, 2), (0xDF, 4, 2)):
        table[lead] = (length_bytes, 0, per_item)
    return tuple(table)


LAYOUT = _layout()
