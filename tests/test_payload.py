"""One msgpack map, or one JSON object: read tolerantly, written exactly, within limits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtm_proto.errors import LocalProtocolError, PayloadError
from rtm_proto.payload import (
    EMPTY,
    MAX_DEPTH,
    MAX_NODES,
    Params,
    bin_header,
    bytes_of,
    decode,
    decode_json,
    encode,
    encode_json,
    envelope,
    int_of,
    ints_of,
    load_json,
    scan,
    text_of,
    unpack,
)

NOT_UTF8 = b"\x00\xff\xfe".decode("utf-8", "surrogateescape")

# What we write is what we read.
BOTH_WAYS: list[tuple[str, dict[str, object]]] = [
    ("80", {}),
    ("81 a161 c0", {"a": None}),
    ("82 a174 c3 a166 c2", {"t": True, "f": False}),
    ("81 a161 00", {"a": 0}),
    ("81 a161 7f", {"a": 127}),
    ("81 a161 cc80", {"a": 128}),
    ("81 a161 ccff", {"a": 255}),
    ("81 a161 cd0100", {"a": 256}),
    ("81 a161 ce00010000", {"a": 65536}),
    ("81 a161 cf0000000100000000", {"a": 2**32}),
    ("81 a161 cf7fffffffffffffff", {"a": 2**63 - 1}),
    ("81 a161 cfffffffffffffffff", {"a": 2**64 - 1}),
    ("81 a161 ff", {"a": -1}),
    ("81 a161 e0", {"a": -32}),
    ("81 a161 d0df", {"a": -33}),
    ("81 a161 d1ff7f", {"a": -129}),
    ("81 a161 d2ffff7fff", {"a": -32769}),
    ("81 a161 d38000000000000000", {"a": -(2**63)}),
    ("81 a161 cb3ff0000000000000", {"a": 1.0}),
    ("81 a161 cb8000000000000000", {"a": -0.0}),
    ("81 a161 cb7ff0000000000000", {"a": math.inf}),
    ("81 a161 a0", {"a": ""}),
    ("81 a161 a3e4b8ad", {"a": "中"}),
    ("81 a161 d920" + "78" * 32, {"a": "x" * 32}),
    ("81 a161 da0100" + "78" * 256, {"a": "x" * 256}),
    ("81 a161 a300fffe", {"a": NOT_UTF8}),
    ("81 a3c3a9ff 01", {b"\xc3\xa9\xff".decode("utf-8", "surrogateescape"): 1}),
    ("81 a161 c400", {"a": b""}),
    ("81 a161 c40300fffe", {"a": b"\x00\xff\xfe"}),
    ("81 a161 c50100" + "00" * 256, {"a": bytes(256)}),
    ("81 a161 c600010000" + "00" * 65536, {"a": bytes(65536)}),
    ("81 a161 90", {"a": []}),
    ("81 a161 9301a13192c0c2", {"a": [1, "1", [None, False]]}),
    ("81 a161 dc0010" + "07" * 16, {"a": [7] * 16}),
    ("81 a161 81a16280", {"a": {"b": {}}}),
    ("de0010" + "".join(f"a1{97 + i:02x}{i:02x}" for i in range(16)),
     {chr(97 + i): i for i in range(16)}),
    ("82 a17a 01 a161 02", {"z": 1, "a": 2}),
    ("81 a161 c7030500ffee", {"a": msgpack.ExtType(5, b"\x00\xff\xee")}),
]  # fmt: skip

# What others write and we read, but would not write so.
READ_ONLY: list[tuple[str, str, dict[str, object]]] = [
    ("int64 for a small number", "81 a161 d30000000000000005", {"a": 5}),
    ("uint64 for a small number", "81 a161 cf0000000000000005", {"a": 5}),
    ("int16 for a positive number", "81 a161 d10100", {"a": 256}),
    ("a float of 4 bytes", "81 a161 ca3fc00000", {"a": 1.5}),
    ("long forms of map, key and array", "df00000001 da000161 dd0000000101", {"a": [1]}),
    ("a key as bin", "81 c40161 01", {"a": 1}),
    ("a key that is not text", "82 01 02 a161 03", {"a": 3}),
    ("keys that are containers", "83 80 01 90 02 a161 03", {"a": 3}),
    ("an inner key that is not text", "81 a161 82 c0 01 a162 02", {"a": {"b": 2}}),
    ("a key twice", "82 a161 01 a161 02", {"a": 1}),
    ("a key twice, as str and as bin", "82 a161 01 c40161 02", {"a": 1}),
    ("an inner key twice", "81 a161 82 a162 01 a162 02", {"a": {"b": 1}}),
    ("a key twice inside an array", "81 a161 91 82 a162 01 a162 02", {"a": [{"b": 1}]}),
    ("a key twice deep inside arrays", "81 a161 9191 82 a162 01 a162 02", {"a": [[{"b": 1}]]}),
    ("bytes behind the map", "81 a161 01 c1c1", {"a": 1}),
    ("bytes behind a map that is read twice", "82 a161 01 a161 02 c1", {"a": 1}),
    ("a map of 16 bits", "de0001 a161 01", {"a": 1}),
]

BROKEN: list[tuple[str, str, str]] = [
    ("nothing", "", "payload is cut short at offset 0"),
    ("text", "a178", "payload must be a map, got str (a1 78)"),
    ("nil", "c0", "payload must be a map, got NoneType"),
    ("an array", "9101", "payload must be a map, got list"),
    ("an array with a map that is read twice", "9181 01 02", "payload must be a map, got list"),
    ("a timestamp alone", "d6ff00000000", "payload must be a map, got Timestamp"),
    ("the unused byte", "c1", "payload has the unused lead byte 0xc1 at offset 0"),
    ("the unused byte inside", "81 a161 c1", "payload has the unused lead byte 0xc1 at offset 3"),
    ("a missing entry", "82 a161 01", "payload is cut short at offset 4: a value was expected"),
    ("a missing value", "81 a161", "payload is cut short at offset 3: a value was expected"),
    ("a cut length", "81 a161 da01", "payload is cut short: a value ends at offset 6 of 5"),
    ("a cut text", "81 a161 a5 6162", "payload is cut short: a value ends at offset 9 of 6"),
    ("a cut ext", "81 a161 d800", "payload is cut short: a value ends at offset 21 of 5"),
    ("an array of 2**32 - 1", "81 a161 ddffffffff", "payload is cut short at offset 8"),
    ("a map of 2**32 - 1", "dfffffffff", "payload is cut short at offset 5"),
    ("an ext of a negative type", "81 a161 d4fe00", "payload is not msgpack"),
    ("a timestamp of 3 bytes", "81 a161 c703ff000000", "payload is not msgpack"),
]

TEXT = st.one_of(
    st.text(st.characters(codec="utf-8")),
    st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    TEXT,
    st.binary(max_size=300),
)
VALUES = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)
PARAMS = st.dictionaries(TEXT, VALUES, max_size=8)


def nested(depth: int) -> bytes:
    """A map that is *depth* levels deep, of which all but the outermost are arrays."""
    return b"\x81\xa1a" + b"\x91" * (depth - 2) + b"\x90"


# --- msgpack -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "params"), BOTH_WAYS)
def test_what_we_write_is_what_we_read(data: str, params: dict[str, object]) -> None:
    assert encode(params) == bytes.fromhex(data)
    assert decode(bytes.fromhex(data)) == params


@pytest.mark.parametrize(("what", "data", "params"), READ_ONLY)
def test_what_others_write_is_read_by_its_value(
    what: str, data: str, params: dict[str, object]
) -> None:
    assert decode(bytes.fromhex(data)) == params


@pytest.mark.parametrize(("what", "data", "message"), BROKEN)
def test_what_is_no_whole_map_is_refused_with_a_reason(what: str, data: str, message: str) -> None:
    with pytest.raises(PayloadError) as caught:
        decode(bytes.fromhex(data))
    assert str(caught.value).startswith(message)
    assert caught.value.code == 10003


@pytest.mark.parametrize("size", range(1, 16))
def test_a_map_cut_anywhere_is_refused(size: int) -> None:
    data = bytes.fromhex("82 a161 93a0c401ffcb3ff0000000000000")[:size]
    with pytest.raises(PayloadError):
        decode(data)


def test_the_empty_map_is_one_byte() -> None:
    assert encode({}) == EMPTY


def test_buffers_and_tuples_are_written_like_bytes_and_lists() -> None:
    data = bytearray(b"\x00\xff")
    assert encode({"a": data, "b": memoryview(data), "c": (1, 2)}) == encode(
        {"a": bytes(data), "b": bytes(data), "c": [1, 2]}
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({1: 2}, "a payload key must be text, got 1"),
        ({b"a": 2}, "a payload key must be text, got b'a'"),
        ({"a": 2**64}, "payload cannot be encoded"),
        ({"a": -(2**63) - 1}, "payload cannot be encoded"),
        ({"a": object()}, "payload cannot be encoded"),
        ({"a": {1, 2}}, "payload cannot be encoded"),
        ({"a": "\ud800"}, "payload cannot be encoded"),
    ],
)
def test_what_msgpack_does_not_have_is_refused_before_it_is_sent(
    params: dict[str, object], message: str
) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        encode(params)


def test_a_value_that_holds_itself_is_refused_before_it_is_sent() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(LocalProtocolError):
        encode({"a": loop})
    with pytest.raises(LocalProtocolError):
        encode_json({"a": loop})
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for write in (encode, encode_json):
        with pytest.raises(LocalProtocolError):
            write({"a": deep})


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65535, 65536])
def test_a_bin_header_stands_before_its_bytes(size: int) -> None:
    assert b"\x81\xa1a" + bin_header(size) + bytes(size) == encode({"a": bytes(size)})


def test_a_bin_header_takes_all_that_four_bytes_can_say() -> None:
    assert bin_header(2**32 - 1).hex() == "c6ffffffff"


@pytest.mark.parametrize("size", [0, 255, 256, 65535, 65536])
@pytest.mark.parametrize("entries", [0, 5, 13, 14, 15, 16, 17, 30])
def test_an_envelope_around_a_file_is_the_map_with_the_file_in_it(size: int, entries: int) -> None:
    before: dict[str, object] = {f"b{number}": number for number in range(entries)}
    after: dict[str, object] = {"to": 5, "attrs": "{}"}
    head, tail = envelope(before, "file", size, after)
    assert head + bytes(size) + tail == encode({**before, "file": bytes(size), **after})


def test_an_envelope_may_end_with_the_file() -> None:
    assert envelope({}, "file", 1, {}) == (b"\x81\xa4file\xc4\x01", b"")


def test_an_envelope_holds_what_a_payload_may_hold() -> None:
    with pytest.raises(LocalProtocolError, match="payload cannot be encoded"):
        envelope({}, "file", 1, {"to": 2**64})


@pytest.mark.parametrize(
    "data",
    [
        "ca 3f800000",
        "cb 3ff0000000000000",
        "dc 0001 c0",
        "dd 00000001 c0",
        "de 0001 a161 c0",
        "df 00000001 a161 c0",
    ],
)
def test_a_value_ends_where_its_first_bytes_say(data: str) -> None:
    value = bytes.fromhex(data)
    assert scan(value + b"\xc0") == len(value)
    with pytest.raises(PayloadError, match="cut short"):
        scan(value[:-1])


def test_a_key_of_bytes_that_are_no_text_keeps_them() -> None:
    assert decode(bytes.fromhex("81 c401ff 01")) == {"\udcff": 1}


@given(PARAMS)
@example({"a": [[[[]]]], "b": {"c": {}}})
def test_whatever_is_written_is_read_again(params: dict[str, object]) -> None:
    data = encode(params)
    assert decode(data) == params
    assert scan(data) == len(data)


@given(PARAMS, st.binary(min_size=1, max_size=20))
def test_bytes_behind_the_map_change_nothing(params: dict[str, object], tail: bytes) -> None:
    data = encode(params)
    assert decode(data + tail) == params
    assert scan(data + tail) == len(data)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda data: b"\x8f" + data)))
@example(b"\x81\xa1a" * 40)
def test_garbage_raises_nothing_but_payload_errors(data: bytes) -> None:
    for read in (decode, decode_json, scan):
        with suppress(PayloadError):
            read(data)


@given(PARAMS, st.data())
def test_a_damaged_map_raises_nothing_but_payload_errors(
    params: dict[str, object], choices: st.DataObject
) -> None:
    data = bytearray(encode(params))
    data[choices.draw(st.integers(0, len(data) - 1))] = choices.draw(st.integers(0, 255))
    with suppress(PayloadError):
        decode(bytes(data))


# --- limits --------------------------------------------------------------------------------------


def test_a_payload_may_be_as_deep_as_the_limit() -> None:
    deepest = nested(MAX_DEPTH)
    assert encode(decode(deepest)) == deepest
    assert scan(deepest) == len(deepest)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, MAX_DEPTH + 2, 1000, 3000, 1_000_000])
def test_a_payload_deeper_than_the_limit_is_refused(depth: int) -> None:
    with pytest.raises(PayloadError, match="deeper than the limit of 32") as caught:
        decode(nested(depth))
    assert caught.value.code == 10003


@pytest.mark.parametrize("inner", [b"\x80", b"\x90"])
def test_maps_and_arrays_count_alike_as_levels(inner: bytes) -> None:
    assert decode(b"\x81\xa1a" * (MAX_DEPTH - 1) + inner)
    with pytest.raises(PayloadError, match="deeper"):
        decode(b"\x81\xa1a" * MAX_DEPTH + inner)


def test_a_payload_may_hold_as_many_values_as_the_limit() -> None:
    data = encode({"a": [1] * (MAX_NODES - 3)})  # the map, its key, the array
    assert len(cast("list[object]", decode(data)["a"])) == MAX_NODES - 3


@pytest.mark.parametrize("item", [1, 70000, "", []])
def test_a_payload_with_more_values_than_the_limit_is_refused(item: object) -> None:
    with pytest.raises(PayloadError, match="more values than the limit of 4096") as caught:
        decode(encode({"a": [item] * (MAX_NODES - 2)}))
    assert caught.value.code == 10003


def test_five_million_empty_maps_are_refused_before_they_are_built() -> None:
    data = b"\x81\xa1a\xdd" + (5_000_000).to_bytes(4, "big") + b"\x80" * 5_000_000
    with pytest.raises(PayloadError, match="more values"):
        decode(data)


@pytest.mark.parametrize("max_nodes", [1, 2, 3, 4])
def test_the_number_of_values_can_be_limited_further(max_nodes: int) -> None:
    with pytest.raises(PayloadError, match=f"limit of {max_nodes}"):
        decode(encode({"a": [1, 2]}), max_nodes=max_nodes)
    assert decode(encode({"a": [1, 2]}), max_nodes=5) == {"a": [1, 2]}


def test_a_large_file_is_one_value() -> None:
    data = encode({"file": bytes(5_242_880)})
    assert decode(data) == {"file": bytes(5_242_880)}


def test_a_large_map_that_is_read_twice_keeps_its_first_values() -> None:
    pairs = "".join(f"a161 c8{10:04x}05" + "00" * 10 for _ in range(1000))
    assert list(decode(bytes.fromhex("de03e8" + pairs))) == ["a"]


@given(st.integers(0, 40), st.integers(1, 40))
def test_the_depth_limit_is_the_callers_to_choose(depth: int, limit: int) -> None:
    data = b"\x91" * depth + b"\x01"
    if depth <= limit:
        assert scan(data, max_depth=limit) == len(data)
    else:
        with pytest.raises(PayloadError, match=f"deeper than the limit of {limit}"):
            scan(data, max_depth=limit)


def test_entries_can_be_kept_as_they_stood() -> None:
    data = bytes.fromhex("82 a161 01 a161 02")
    assert unpack(data, list) == [("a", 1), ("a", 2)]


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("{}", {}),
        ('{"a":1}', {"a": 1}),
        ('{"a":[1,"2",null,true,1.5],"b":{}}', {"a": [1, "2", None, True, 1.5], "b": {}}),
        ('{"mid":9007199254740993}', {"mid": 2**53 + 1}),
        ('{"a":"\\u4e2d\\ud83d\\ude00"}', {"a": "中😀"}),
        ('{"a":"[{,:\\"\\\\"}', {"a": '[{,:"\\'}),
    ],
)
def test_json_that_we_write_is_json_that_we_read(text: str, params: dict[str, object]) -> None:
    assert encode_json(params) == text.encode()
    assert decode_json(text.encode()) == params


@pytest.mark.parametrize(
    ("text", "params"),
    [
        (' { "a" : 1 } ', {"a": 1}),
        ('{"a":1,"a":2}', {"a": 1}),
        ('{"b":{"a":1,"a":2}}', {"b": {"a": 1}}),
        ('{"a":"中\\/"}', {"a": "中/"}),
    ],
)
def test_json_of_others_is_read_by_its_value(text: str, params: dict[str, object]) -> None:
    assert decode_json(text.encode()) == params


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "payload is not JSON"),
        (b"{", "payload is not JSON"),
        (b'{"a', "payload is not JSON"),
        (b'{"a\\', "payload is not JSON"),
        (b"\x81\xa1a\x01", "payload is not JSON"),
        (b'{"a":"\xff"}', "payload is not JSON"),
        ('{"a":1}'.encode("utf-16"), "payload is not JSON"),
        (b'{"a":NaN}', "payload is not JSON: NaN is no JSON number"),
        (b'{"a":-Infinity}', "payload is not JSON: -Infinity is no JSON number"),
        (b'{"a":' + b"9" * 5000 + b"}", "payload is not JSON"),
        (b"[1]", "payload must be a JSON object, got list"),
        (b'"\\"', "payload is not JSON"),
        (b'"text"', "payload must be a JSON object, got str"),
        (b'{"a":"\\ud800"}', "payload has text that is not Unicode: surrogates not allowed"),
        (b'{"\\udc80":1}', "payload has text that is not Unicode: surrogates not allowed"),
    ],
)
def test_what_is_no_json_object_is_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(PayloadError) as caught:
        decode_json(data)
    assert str(caught.value).startswith(message)
    assert caught.value.code == 10004


def json_nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_json_has_the_same_limits_as_msgpack() -> None:
    assert decode_json(json_nested(MAX_DEPTH))
    with pytest.raises(PayloadError, match="deeper than the limit of 32") as caught:
        decode_json(json_nested(MAX_DEPTH + 1))
    assert caught.value.code == 10004
    widest = json.dumps({"a": [1] * (MAX_NODES - 3)}).encode()
    assert decode_json(widest)
    with pytest.raises(PayloadError, match="more values than the limit of 4096") as caught:
        decode_json(widest.replace(b"[1", b"[1, 1"))
    assert caught.value.code == 10004
    with pytest.raises(PayloadError, match="limit of 2"):
        decode_json(b'{"a":1}', max_nodes=2)


def test_what_is_closed_again_makes_json_no_less_deep() -> None:
    closed = b"[]," * 100
    assert decode_json(b'{"a":[' + closed + b"[" * 30 + b"]" * 30 + b"]}")
    with pytest.raises(PayloadError, match="deeper than the limit of 32"):
        decode_json(b'{"a":[' + closed + b"[" * 31 + b"]" * 31 + b"]}")


def test_marks_inside_json_text_are_no_values() -> None:
    text = '[{,:"\\' * 5000
    assert decode_json(json.dumps({"a": text}).encode()) == {"a": text}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("data", [b'"' + b'\\"' * 2_000_000, b'"' * 2_000_001 + b"\\"])
def test_refusing_json_without_an_end_takes_no_longer_than_reading_it(data: bytes) -> None:
    with pytest.raises(PayloadError, match="payload"):
        decode_json(data)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.none() | st.integers() | st.text(
    st.characters(codec="utf-8")), max_size=6))  # fmt: skip
def test_any_json_that_is_written_is_read_again(params: dict[str, object]) -> None:
    assert decode_json(encode_json(params)) == params


def test_json_entries_can_be_kept_as_they_stood() -> None:
    assert load_json(b'{"a":1,"a":2}', list) == [("a", 1), ("a", 2)]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({1: 2}, "a payload key must be text, got 1"),
        ({"a": b"\x00"}, "payload cannot be written as JSON"),
        ({"a": math.nan}, "payload cannot be written as JSON"),
    ],
)
def test_what_json_does_not_have_is_refused_before_it_is_sent(
    params: dict[str, object], message: str
) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        encode_json(params)


# --- reading a value of a known type ---------------------------------------------------------


def test_a_value_of_the_wanted_type_is_given_as_it_is() -> None:
    params: Params = {"i": 5, "t": "x", "b": b"\xff", "l": [1, -1], "n": NOT_UTF8}
    assert int_of(params, "i") == 5
    assert text_of(params, "t") == "x"
    assert bytes_of(params, "b") == b"\xff"
    assert ints_of(params, "l") == [1, -1]
    assert bytes_of(params, "n") == b"\x00\xff\xfe"


def test_text_and_bytes_are_taken_for_each_other() -> None:
    assert text_of({"a": "中".encode()}, "a") == "中"
    assert text_of({"a": b"\x00\xff\xfe"}, "a") == NOT_UTF8
    assert bytes_of({"a": "中"}, "a") == "中".encode()


@pytest.mark.parametrize("params", [{}, {"a": None}])
def test_an_optional_value_may_be_absent_or_nil(params: Params) -> None:
    assert int_of(params, "a", 0) == 0
    assert text_of(params, "a", "") == ""


READERS: list[Callable[[Params, str], object]] = [int_of, text_of, bytes_of, ints_of]


@pytest.mark.parametrize("read", READERS)
def test_a_required_value_that_is_missing_is_named(read: Callable[[Params, str], object]) -> None:
    with pytest.raises(PayloadError, match="pid is missing") as caught:
        read({}, "pid")
    assert caught.value.code == 10009


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("value", [None, 1.0, {}])
def test_a_value_of_another_type_is_named(
    read: Callable[[Params, str], object], value: object
) -> None:
    with pytest.raises(PayloadError, match="pid must be") as caught:
        read({"pid": value}, "pid")
    assert caught.value.code == 10010


@pytest.mark.parametrize("value", [True, 40.0, "40", b"40", [40], 2**63, 2**64 - 1, -(2**63) - 1])
def test_an_integer_is_only_what_is_one(value: object) -> None:
    for read in (lambda: int_of({"a": value}, "a"), lambda: ints_of({"a": [1, value]}, "a")):
        with pytest.raises(PayloadError) as caught:
            read()
        assert caught.value.code == 10010


def test_a_default_does_not_hide_a_value_of_another_type() -> None:
    with pytest.raises(PayloadError, match="an integer"):
        int_of({"a": "1"}, "a", 0)
    with pytest.raises(PayloadError, match="text"):
        text_of({"a": 1}, "a", "")


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
def test_an_integer_may_be_all_of_int64(value: int) -> None:
    assert int_of({"a": value}, "a") == value
