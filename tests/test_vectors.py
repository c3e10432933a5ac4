"""Our own bytes against those of the C++, Go, Python and JavaScript implementations."""

from __future__ import annotations

from typing import cast

import pytest

from rtm_proto.package import (
    FLAG_JSON,
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_oneway,
    encode_quest,
)
from rtm_proto.payload import decode, decode_json, encode, encode_json
from tests import vectors
from tests.feeding import check_feeding
from tests.vectors import Expected, Vector

WHOLE = [
    vector
    for vector in (*vectors.fpnn(), *vectors.js_sdk())
    if vector.form == "packages" and vector.packages
]
SMALL = [vector for vector in WHOLE if len(vector.data) < 1000]
MAPS = [
    vector for vector in WHOLE if all(isinstance(each.payload, dict) for each in vector.packages)
]
# What means the same in other bytes than ours, beside the integers of the JavaScript SDK.
OTHER_BYTES = {
    "cpp_quest_floats": "a float of 4 bytes",
    "wire_types_s2c": "a float of 4 bytes, and a map of 18 entries that is not the smallest form",
    "go_quest_i64max": "Go writes int64 where uint64 is as short",
    "wire_json_echo_s2c": "JSON with a blank behind the comma",
    "wire_json_error_s2c": "JSON with a blank behind the comma",
    "push-json-in-text-frame": "JSON with characters that we escape",
    "push-json-in-text-frame-chromium": "JSON with characters that we escape",
}


def names(vector: Vector) -> str:
    return vector.name


def header(package: Package) -> tuple[object, ...]:
    ss = package.status if package.kind == Kind.ANSWER else len(package.method)
    return (package.version, package.flag, package.kind, ss, package.seq, package.method)


def decode_any(package: Package) -> dict[str, object]:
    return (decode_json if package.flag & FLAG_JSON else decode)(package.payload)


def our_bytes(expected: Expected) -> bytes:
    """The package as our encoder writes it, with the peer's version byte where we send only 1."""
    params = cast("dict[str, object]", expected.payload)
    flag = expected.flag
    payload = encode_json(params) if flag & FLAG_JSON else encode(params)
    if expected.kind == Kind.ANSWER:
        return encode_answer(
            payload, expected.seq, status=expected.ss, version=expected.version, flag=flag
        )
    if expected.kind == Kind.ONEWAY:
        data = encode_oneway(expected.method, payload, flag=flag)
    else:
        data = encode_quest(expected.method, payload, expected.seq, flag=flag)
    return data[:4] + bytes([expected.version]) + data[5:]


@pytest.mark.parametrize("vector", WHOLE, ids=names)
def test_every_package_of_the_others_is_read_as_they_meant_it(vector: Vector) -> None:
    splitter = Splitter()
    packages = splitter.feed(vector.data)
    assert splitter.fault is None
    assert splitter.pending == 0
    assert [header(package) for package in packages] == [
        (each.version, each.flag, each.kind, each.ss, each.seq, each.method)
        for each in vector.packages
    ]


@pytest.mark.parametrize("vector", MAPS, ids=names)
def test_every_payload_of_the_others_is_read_as_they_meant_it(vector: Vector) -> None:
    for package, expected in zip(Splitter().feed(vector.data), vector.packages, strict=True):
        assert decode_any(package) == expected.payload


@pytest.mark.parametrize("vector", SMALL, ids=names)
def test_how_a_package_of_the_others_arrives_does_not_matter(vector: Vector) -> None:
    expected = Splitter().feed(vector.data)
    assert expected
    check_feeding(lambda: Splitter().feed, vector.data, expected, tail=b"FPNN\x01")


@pytest.mark.parametrize("vector", MAPS, ids=names)
def test_the_same_package_is_written_in_the_same_bytes(vector: Vector) -> None:
    ours = b"".join(our_bytes(each) for each in vector.packages)
    if vector.int64 or vector.name in OTHER_BYTES:
        assert ours != vector.data
        ours_read = [decode_any(package) for package in Splitter().feed(ours)]
        assert ours_read == [each.payload for each in vector.packages]
    else:
        assert ours == vector.data


@pytest.mark.parametrize("name", vectors.heads())
def test_a_rebuilt_vector_begins_as_the_file_shows(name: str) -> None:
    (vector,) = (each for each in (*vectors.fpnn(), *vectors.js_sdk()) if each.name == name)
    assert vector.data.startswith(vectors.heads()[name])
