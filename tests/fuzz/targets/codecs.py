"""Packages, payloads in both forms, and the reader for people: pure functions over bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from rtm_proto.codes import Code
from rtm_proto.errors import PayloadError
from rtm_proto.inspection import Found, inspect, read_input, to_json, to_text
from rtm_proto.package import (
    MAX_PACKAGE,
    VERSION,
    WHOLE,
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_oneway,
    encode_quest,
)
from rtm_proto.payload import (
    MAX_DEPTH,
    MAX_NODES,
    bytes_of,
    decode,
    decode_json,
    encode,
    encode_json,
    scan,
    unpack,
)
from rtm_proto.payload_reader import PayloadReader

from ..choices import CUTS, Choices, ways
from ..footprint import footprint

LIMITS = (MAX_PACKAGE, 40, 200, 1000)
NODES = (MAX_NODES, 8, 64, 256)
WIDTHS = (100, 1, 24, 40)
SHOWN = 2000  # characters of an item that has no payload
HEAD = 16  # bytes that may have to be there before a package is judged
WHOLE_TO = (0, 30, 100)  # bytes of a package that comes whole


def fuzz_package(data: bytes) -> None:
    """Any cut brings the same packages and the same fault; a package is written as it was read."""
    choices = Choices(data)
    limit = LIMITS[choices.byte() % len(LIMITS)]
    places, stream = choices.take(CUTS), choices.rest()
    whole = _split([stream], limit)
    for pieces in ways(stream, places):
        assert _split(pieces, limit) == whole, pieces
        for whole_to in WHOLE_TO:
            assert _split(pieces, limit, whole_to)[:3] == whole[:3], (pieces, whole_to)
    offset = 0
    for package in whole[0]:
        original = stream[offset : offset + package.size]
        offset += package.size
        written = _written(package)
        if package.version == VERSION or (package.kind == Kind.ANSWER and package.version == 0):
            assert written == original
        (again,) = Splitter().feed(written)
        again.version = package.version
        assert again == package


def fuzz_payload(data: bytes) -> None:
    """Only PayloadError; the fast way, the slow way and the scan agree; writing is stable.

    The reader of pieces agrees with them.
    """
    choices = Choices(data)
    max_nodes = NODES[choices.byte() % len(NODES)]
    body = choices.rest()
    for pieces in ways(body, body[:CUTS]):
        _check_reader(pieces, body)
    end = None
    try:
        end = scan(body, max_nodes=max_nodes)
    except PayloadError as fault:
        assert fault.code == Code.INVALID_PACKAGE
    expected: object = None
    if end is not None:
        try:
            expected = unpack(body[:end], _first_wins)
        except PayloadError as fault:
            assert fault.code == Code.INVALID_PACKAGE
    try:
        params = decode(body, max_nodes=max_nodes)
    except PayloadError as fault:
        assert fault.code == Code.INVALID_PACKAGE
        assert not isinstance(expected, dict), f"refused: {fault}"
        return
    assert end is not None and isinstance(expected, dict), "the scan refused what was decoded"
    written = encode(params)
    assert written == encode(cast("dict[str, object]", expected))
    assert encode(decode(body[:end], max_nodes=max_nodes)) == written
    assert encode(decode(written, max_nodes=max_nodes)) == written
    assert footprint(params) <= 4096 + 512 * min(len(body), max_nodes) + 8 * len(body)


def fuzz_json(data: bytes) -> None:
    """Only PayloadError, and only for what is no JSON or over a limit; writing is stable."""
    choices = Choices(data)
    max_nodes = NODES[choices.byte() % len(NODES)]
    body = choices.rest()
    sound, finite = _judge_json(body, max_nodes)
    try:
        params = decode_json(body, max_nodes=max_nodes)
    except PayloadError as fault:
        assert fault.code == Code.JSON_CONVERSION
        assert not sound, fault
        return
    assert sound
    if finite:
        written = encode_json(params)
        again = decode_json(written, max_nodes=max_nodes)
        assert again == params
        assert encode_json(again) == written


def fuzz_inspection(data: bytes) -> None:
    """Whatever it is given, it is shown, in order, in both forms, in little space."""
    choices = Choices(data)
    limit = LIMITS[choices.byte() % len(LIMITS)]
    width = WIDTHS[choices.byte() % len(WIDTHS)]
    captured = choices.rest()
    for stream in {captured, read_input(captured)}:
        last = -1
        for item in inspect(stream, limit=limit):
            assert 0 <= item.offset <= len(stream)
            if isinstance(item, Found):  # a fault may name the frame around the last package
                assert last < item.offset
                last = item.offset
            line = to_json(item)
            assert line.isascii() and "\n" not in line
            assert len(line) <= SHOWN + 64 * len(stream)
            assert isinstance(json.loads(line), dict)
            assert 0 < len(to_text(item, width=width)) <= SHOWN + 128 * len(stream)


def _split(
    pieces: Iterable[bytes], limit: int, whole_to: int = WHOLE
) -> tuple[list[Package], object, int, int | None]:
    splitter = Splitter(limit, whole_to)
    packages: list[Package] = []
    for piece in pieces:
        packages += splitter.feed(piece)
        assert splitter.pending <= max(limit, HEAD)
        assert splitter.fault is None or splitter.pending == 0
    if whole_to < WHOLE:
        packages = _put_together(packages)
        if packages and packages[-1].left:
            packages.pop()
    assert all(package.size <= limit for package in packages)
    fault = splitter.fault
    told = fault and (str(fault), fault.code, fault.limit, fault.seq)
    return packages, told, splitter.pending, splitter.announced if fault is None else None


def _put_together(packages: Iterable[Package]) -> list[Package]:
    """Those that came in parts, whole; of the last some may still be ``left``."""
    whole: list[Package] = []
    for package in packages:
        if package.part < 2:
            whole.append(replace(package, part=0))
        else:
            assert whole[-1].left == package.left + len(package.payload)
            assert package.payload
            whole[-1].payload += package.payload
            whole[-1].left = package.left
    return whole


def _check_reader(pieces: Iterable[bytes], payload: bytes) -> None:
    """What a reader makes of the pieces is what ``decode`` makes of them all."""
    reader = PayloadReader("file", limit=WHOLE)
    body = b""
    fault: PayloadError | None = None
    params: dict[str, object] = {}
    try:
        for piece in pieces:
            for part in reader.feed(piece):
                body += part
        params = reader.params()
    except PayloadError as exc:
        fault = exc
    try:
        expected = decode(payload)
    except PayloadError as exc:
        assert fault is not None and fault.code == exc.code, (fault, exc)
        return
    assert fault is None, fault
    if reader.size is None:
        assert not isinstance(expected.get("file"), bytes | str)
    else:
        assert body == bytes_of(expected, "file") and len(body) == reader.size
        expected["file"] = b""
        before = [*params][: [*params].index("file")]
        assert encode(reader.before()) == encode({key: params[key] for key in before})
    assert encode(params) == encode(expected)


def _written(package: Package) -> bytes:
    if package.kind == Kind.ANSWER:
        return encode_answer(
            package.payload,
            package.seq,
            status=package.status,
            version=package.version,
            flag=package.flag,
        )
    if package.kind == Kind.ONEWAY:
        return encode_oneway(package.method, package.payload, flag=package.flag)
    return encode_quest(package.method, package.payload, package.seq, flag=package.flag)


def _first_wins(pairs: Iterable[tuple[object, object]]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for key, value in pairs:
        text = key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key
        if isinstance(text, str) and text not in kept:
            kept[text] = value
    return kept


class _Pairs:
    """An object of JSON with all its pairs."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs


def _judge_json(body: bytes, max_nodes: int) -> tuple[bool, bool]:
    """Whether *body* is to be taken, and whether it can be written again.

    1e999 is JSON, but what Python makes of it is not.
    """
    try:
        value: object = json.loads(body.decode(), object_pairs_hook=_Pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False, False
    nodes, depth, finite = _measure(value)
    sound = isinstance(value, _Pairs) and nodes <= max_nodes and depth <= MAX_DEPTH
    return sound and _is_unicode(_first_of_each(value)), finite


def _refuse(name: str) -> None:
    raise ValueError(name)


def _first_of_each(value: object) -> object:
    if isinstance(value, _Pairs):
        return _first_wins((key, _first_of_each(item)) for key, item in value.pairs)
    if isinstance(value, list):
        return [_first_of_each(item) for item in cast("list[object]", value)]
    return value


def _is_unicode(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _measure(value: object) -> tuple[int, int, bool]:
    """Values with their keys, levels, and whether every number is finite."""
    if isinstance(value, _Pairs):
        below, keys = [_measure(item) for _, item in value.pairs], len(value.pairs)
    elif isinstance(value, list):
        below, keys = [_measure(item) for item in cast("list[object]", value)], 0
    else:
        return 1, 0, not isinstance(value, float) or math.isfinite(value)
    return (
        1 + keys + sum(nodes for nodes, _, _ in below),
        1 + max((depth for _, depth, _ in below), default=0),
        all(finite for _, _, finite in below),
    )
