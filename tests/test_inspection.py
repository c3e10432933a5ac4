"""What `rtm inspect` finds in captured bytes, and how it shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtm_proto.inspection import (
    TEXT_WIDTH,
    Entries,
    Ext,
    Fault,
    Found,
    inspect,
    read_input,
    to_json,
    to_text,
)
from rtm_proto.package import FLAG_JSON, Kind, encode_answer, encode_oneway, encode_quest
from rtm_proto.payload import encode
from tests import vectors
from tests.vectors import Expected, Vector

PING = encode_quest(b"ping", b"\x80", 1)
PONG = encode_answer(b"\x80", 1)
KICKOUT = encode_oneway(b"kickout", b"\x80")

UPGRADE = b"GET /service/websocket HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
UNKNOWN = "neither a package, an HTTP upgrade nor a WebSocket frame"


def frame(
    payload: bytes, *, opcode: int = 2, fin: bool = True, mask: bytes = b"", form: int = 0
) -> bytes:
    """A WebSocket frame; *form* asks for a length of 2 or 8 bytes where fewer would do."""
    size = len(payload)
    form = form or (0 if size < 126 else 2 if size < 65536 else 8)
    first = {0: size, 2: 126, 8: 127}[form] | (0x80 if mask else 0)
    length = size.to_bytes(form, "big") if form else b""
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([opcode | 0x80 * fin, first]) + length + mask + payload


def offsets(data: bytes) -> list[tuple[str, int]]:
    """The kind and the place of each item."""
    return [
        (item.kind if isinstance(item, Found) else item.error, item.offset)
        for item in inspect(data)
    ]


def found(data: bytes) -> Found:
    (item,) = inspect(data)
    assert isinstance(item, Found)
    return item


def shown(payload: bytes, **header: Any) -> dict[str, Any]:
    """The JSON of a quest with *payload*."""
    row = json.loads(to_json(found(encode_quest(b"echo", payload, 5, **header))))
    return cast("dict[str, Any]", row)


def text_of(payload: bytes, width: int = 60) -> list[str]:
    """The lines below the first of a quest with *payload*."""
    return to_text(found(encode_quest(b"echo", payload, 5)), width=width).split("\n")[1:]


# --- hex text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        PING.hex(),
        PING.hex().upper(),
        PING.hex(" "),
        PING.hex(":"),
        PING.hex(" ", 4) + "\n",
        "0x" + PING.hex(),
        "0X" + PING.hex(),
        ", ".join(f"0x{byte:02x}" for byte in PING) + ",\r\n",
        "\n".join(PING.hex()[start : start + 14] for start in range(0, len(PING.hex()), 14)),
        "\n".join(PING.hex()[start : start + 13] for start in range(0, len(PING.hex()), 13)),
        "\t" + PING.hex("\v") + "\f",
    ],
)
def test_hex_text_is_taken_for_the_bytes_it_spells(text: str) -> None:
    assert read_input(text.encode()) == PING


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n",
        b"0x",
        b"F",
        b"464",
        b"46504e4e;",
        b"46504e4g",
        b"XX",
        b"0x0x46",
        b"460x50",
        "\uff14\uff16".encode(),  # digits, but not those of hex
        PING,
        UPGRADE,
        ACCEPTED,
        frame(PING),
        frame(PING, mask=b"0123"),
        frame(b"ab", opcode=0, fin=False),
        frame(b"ab", opcode=1, fin=False),
        b"\x02\x0246",
    ],
)
def test_anything_else_is_left_as_it_is(data: bytes) -> None:
    assert read_input(data) == data


@given(st.binary(min_size=1))
def test_hex_text_of_anything_is_read_as_it(data: bytes) -> None:
    for separator in (" ", ":", ","):
        assert read_input(data.hex(separator).encode()) == data


@pytest.mark.parametrize(
    "data",
    [each.data for each in (*vectors.fpnn(), *vectors.js_sdk()) if len(each.data) > 1]
    + [each.data for each in vectors.reactions()],
    ids=lambda data: data[:8].hex(),
)
def test_captured_bytes_are_never_taken_for_hex_text(data: bytes) -> None:
    assert read_input(data) is data
    assert read_input(data.hex().encode()) == data


# --- packages ------------------------------------------------------------------------------------


def test_the_first_byte_says_whether_it_may_be_a_frame() -> None:
    assert offsets(b"\x0f") == [("the input ends inside the header of a WebSocket frame", 0)]
    assert offsets(b"\x10\x00") == [(f"{UNKNOWN}: 10 00", 0)]
    assert offsets(b"\x7f\x00") == [(f"{UNKNOWN}: 7f 00", 0)]
    assert offsets(b"\x80\x00") == []


def test_fragments_of_text_are_put_together() -> None:
    data = frame(PING[:5], opcode=1, fin=False) + frame(PING[5:], opcode=0)
    assert offsets(data) == [("quest", 2)]
    unfinished = frame(PING, opcode=1, fin=False)
    fault = "a WebSocket message begins inside an unfinished one"
    assert offsets(unfinished + frame(PING)) == [("quest", 2), (fault, len(unfinished))]


def test_packages_stand_one_behind_the_other() -> None:
    assert list(inspect(PING + KICKOUT + PONG)) == [
        Found(0, 21, 1, 0x80, "quest", None, "ping", 1, Entries(()), 1, 0),
        Found(21, 20, 1, 0x80, "oneway", None, "kickout", None, Entries(()), 1, 0),
        Found(41, 17, 1, 0x80, "answer", 0, None, 1, Entries(()), 1, 0),
    ]


@pytest.mark.parametrize(
    ("data", "items"),
    [
        (b"", [("the input is empty", 0)]),
        (b"POST /service/auth HTTP/1.1\r\n", [(f"{UNKNOWN}: 50 4f 53 54 20 2f 73 65 72 76 69 63 65"
                                              " 2f 61 75 ...", 0)]),
        (b"\x11", [(f"{UNKNOWN}: 11", 0)]),
        (b"F", [("the input ends inside a package: 1 of an unknown number of bytes are there", 0)]),
        (
            PING + PONG[:-1],
            [("quest", 0), ("the input ends inside a package: 16 of 17 bytes are there", 21)],
        ),
        (
            PING + b"FPNO" + PONG,
            [("quest", 0), ("a package begins with 46 50 4e 4e, got 46 50 4e 4f", 21)],
        ),
        (
            PING + bytes.fromhex("46504e4e 01 80 04 04") + PONG,
            [("quest", 0), ("mtype must be 0, 1 or 2, got 4", 21)],
        ),
        (
            PING + bytes.fromhex("46504e4e 01 80 01 04 ffffffff 05000000"),
            [("quest", 0), ("a package of 4294967315 bytes is over the limit of 8388608", 21)],
        ),
    ],
)  # fmt: skip
def test_where_the_packages_are_lost_is_the_last_item(
    data: bytes, items: list[tuple[str, int]]
) -> None:
    assert offsets(data) == items


def test_the_limit_of_a_package_can_be_chosen() -> None:
    assert [isinstance(item, Found) for item in inspect(PING, limit=21)] == [True]
    assert list(inspect(PING, limit=20)) == [
        Fault("a package of 21 bytes is over the limit of 20", 0)
    ]


@pytest.mark.parametrize(
    ("package", "error"),
    [
        (encode_quest(b"echo", b"\xc1", 5), "quest echo seq 5: payload has the unused lead byte"),
        (encode_quest(b"echo", b"\x82\xa1a\x01", 5), "quest echo seq 5: payload is cut short"),
        (encode_oneway(b"a b", b"\xc1"), "oneway a b: payload has the unused lead byte"),
        (encode_quest(b"\xff", b"\xc1", 5), "quest not UTF-8, 1 bytes ff seq 5: payload has"),
        (encode_answer(b"\x92\x01", 5), "answer seq 5: payload is cut short"),
        (encode_answer(b"\xd4\xfe\x00", 5), "answer seq 5: payload is not msgpack"),
        (encode_answer(b"\x91" * 40 + b"\x90", 5), "answer seq 5: payload is nested deeper"),
        (encode_answer(b"{", 5, flag=0x40), "answer seq 5: payload is not JSON"),
        (encode_answer(b"\x80", 5, flag=0x00), "answer seq 5: flag 0x00 must have one of"),
        (encode_answer(b"\x80", 5, flag=0xC0), "answer seq 5: flag 0xc0 must have one of"),
        (encode_answer(b"", 5, flag=0x20), "answer seq 5: flag 0x20 must have one of"),
    ],
)
def test_after_a_payload_that_cannot_be_read_the_next_package_comes(
    package: bytes, error: str
) -> None:
    before, fault, after = inspect(PING + package + PONG)
    assert isinstance(before, Found)
    assert isinstance(fault, Fault)
    assert fault.error.startswith(error)
    assert fault.offset == len(PING)
    assert isinstance(after, Found)
    assert after.offset == len(PING) + len(package)


# --- WebSocket -----------------------------------------------------------------------------------


MASK = bytes.fromhex("37fa213d")
ENDS_INSIDE = "the input ends inside"


INSIDE_A_WEBSOCKET: list[tuple[str, bytes, list[tuple[str, int]]]] = [
    ("a frame", frame(PING), [("quest", 2)]),
    ("a masked frame", frame(PING, mask=MASK), [("quest", 6)]),
    ("a text frame", frame(PING, opcode=1, mask=MASK), [("quest", 6)]),
    ("lengths of 2 and 8 bytes", frame(PING, form=2) + frame(PONG, form=8),
     [("quest", 4), ("answer", 35)]),
    ("RSV bits", b"\xc2" + frame(PING)[1:], [("quest", 2)]),
    ("an upgrade alone", UPGRADE, []),
    ("an upgrade", UPGRADE + frame(PING, mask=MASK), [("quest", len(UPGRADE) + 6)]),
    ("an accepted upgrade", ACCEPTED + frame(PONG), [("answer", len(ACCEPTED) + 2)]),
    ("both", UPGRADE + ACCEPTED + frame(PONG), [("answer", len(UPGRADE + ACCEPTED) + 2)]),
    ("control frames alone", frame(b"", opcode=9) + frame(b"\x03\xe8", opcode=8, mask=MASK), []),
    ("a ping before", frame(b"abc", opcode=9, mask=MASK) + frame(PING), [("quest", 11)]),
    ("a ping without FIN", frame(b"", opcode=9, fin=False) + frame(PING), [("quest", 4)]),
    ("a close between", frame(PING) + frame(b"", opcode=8) + frame(PONG),
     [("quest", 2), ("answer", 27)]),
    ("fragments",
     frame(PING[:10], fin=False) + frame(b"", opcode=0, fin=False) + frame(PING[10:], opcode=0),
     [("quest", 2)]),
    ("a pong between fragments",
     frame(PING[:9], fin=False, mask=MASK) + frame(b"x", opcode=10) + frame(PING[9:], opcode=0),
     [("quest", 6)]),
    ("a message that began before the capture",
     frame(PING, opcode=0, fin=False) + frame(PONG, opcode=0), [("quest", 2), ("answer", 25)]),
    ("many packages in a message", frame(PING + PONG), [("quest", 2), ("answer", 23)]),
    ("a package over messages",
     frame(PING[:3]) + frame(PING[3:] + PONG[:5]) + frame(PONG[5:]),
     [("quest", 2), ("answer", 25)]),
    ("one byte a message", b"".join(frame(PING[i : i + 1]) for i in range(21)), [("quest", 2)]),
    ("empty messages", frame(b"") + frame(PING) + frame(b""), [("quest", 4)]),
    ("a frame cut short", frame(PING) + frame(PONG)[:-3],
     [("quest", 2), (f"{ENDS_INSIDE} a WebSocket frame: 14 of 17 payload bytes are there", 23)]),
    ("whole packages in a frame cut short", frame(PING + PONG)[:-1],
     [("quest", 2), (f"{ENDS_INSIDE} a WebSocket frame: 37 of 38 payload bytes are there", 0)]),
    ("a control frame cut short", frame(b"abc", opcode=9)[:-1],
     [(f"{ENDS_INSIDE} a WebSocket frame: 2 of 3 payload bytes are there", 0)]),
    ("a frame header of one byte", frame(PING) + b"\x82",
     [("quest", 2), (f"{ENDS_INSIDE} the header of a WebSocket frame", 23)]),
    ("a length cut short", b"\x82\x7f" + bytes(7),
     [(f"{ENDS_INSIDE} the header of a WebSocket frame", 0)]),
    ("a mask cut short", b"\x82\x81\x01\x02\x03",
     [(f"{ENDS_INSIDE} the header of a WebSocket frame", 0)]),
    ("a length of 2**64 - 1", b"\x82\x7f" + b"\xff" * 8,
     [(f"{ENDS_INSIDE} a WebSocket frame: 0 of {2**64 - 1} payload bytes are there", 0)]),
    ("a package that is not whole", frame(PING[:12]),
     [(f"{ENDS_INSIDE} a package: 12 of 21 bytes are there", 2)]),
    ("a package that is not whole in an open message", frame(PING[:12], fin=False),
     [(f"{ENDS_INSIDE} a package: 12 of 21 bytes are there", 2)]),
    ("a message that is not whole", frame(PING, fin=False),
     [("quest", 2), (f"{ENDS_INSIDE} a fragmented WebSocket message", 23)]),
    ("a message inside a message", frame(PING[:9], fin=False) + frame(PING),
     [("a WebSocket message begins inside an unfinished one", 11)]),
    ("a reserved opcode", frame(PING, opcode=3),
     [("a WebSocket frame with the reserved opcode 0x3: 83 15 46 50 4e 4e 01 80 01 04 01 00 00 00"
       " 01 00", 0)]),
    ("a reserved opcode later", frame(PING) + b"\xfb\x00",
     [("quest", 2), ("a WebSocket frame with the reserved opcode 0xb: fb 00", 23)]),
    ("noise", b"\xe3\x21\xa5", [(f"{UNKNOWN}: e3 21 a5", 0)]),
    ("another protocol", frame(PING) + frame(b"XPNN") + frame(PONG),
     [("quest", 2), ("a package begins with 46 50 4e 4e, got 58", 25)]),
    ("a fault inside a package over messages", frame(PING + b"FP") + frame(b"XX"),
     [("quest", 2), ("a package begins with 46 50 4e 4e, got 46 50 58", 23)]),
    ("a head cut short", UPGRADE[:-2], [(f"{ENDS_INSIDE} the head of an HTTP message", 0)]),
    ("the beginning of a head", b"GE", [(f"{ENDS_INSIDE} the head of an HTTP message", 0)]),
    ("a second head cut short", UPGRADE + ACCEPTED[:-1],
     [(f"{ENDS_INSIDE} the head of an HTTP message", len(UPGRADE))]),
    ("a refused upgrade", b"HTTP/1.1 404 Not Found\r\n\r\n\xff",
     [("the upgrade to WebSocket was not accepted: 'HTTP/1.1 404 Not Found'", 0)]),
    ("an upgrade refused without a status", UPGRADE + b"HTTP/1.1\xff\r\n\r\n",
     [(r"the upgrade to WebSocket was not accepted: 'HTTP/1.1\\xff'", len(UPGRADE))]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "data", "items"), INSIDE_A_WEBSOCKET)
def test_packages_are_found_inside_a_websocket(
    what: str, data: bytes, items: list[tuple[str, int]]
) -> None:
    assert offsets(data) == items


def answer_of(size: int) -> bytes:
    return encode_answer(b"\x80" + bytes(size - 17), 1)


def test_the_frame_of_126_bytes_without_its_length_is_repaired() -> None:
    defect = b"\x82\x7e" + answer_of(126)
    data = frame(answer_of(125)) + defect + frame(answer_of(127)) + defect
    assert offsets(data) == [("answer", 2), ("answer", 129), ("answer", 259), ("answer", 388)]


def test_a_true_frame_of_18000_bytes_is_not_repaired() -> None:
    data = frame(answer_of(0x4650))
    assert data[:6] == b"\x82\x7eFPFP"
    assert offsets(data + frame(PONG)) == [("answer", 4), ("answer", 4 + 0x4650 + 2)]


@pytest.mark.parametrize(
    "data",
    [
        frame(PING[:7]) + b"\x82\x7eFPNN",
        frame(PING, fin=False) + b"\x80\x7eFPNN",
        b"\x81\x7eFPNN",
        b"\x02\x7eFPNN",
    ],
)
def test_only_a_whole_binary_frame_where_a_package_begins_is_repaired(data: bytes) -> None:
    last = list(inspect(data))[-1]
    assert isinstance(last, Fault)
    assert last.error.endswith(("2 of 18000 payload bytes are there", "46 50 4e 4e, got 4e"))


def test_a_repaired_frame_that_is_cut_short_says_so() -> None:
    data = b"\x82\x7e" + answer_of(126)
    for size in range(6, len(data)):
        error = f"a WebSocket frame: {size - 2} of 126 payload bytes are there"
        assert offsets(data[:size]) == [(f"{ENDS_INSIDE} {error}", 0)]


@given(
    st.lists(st.sampled_from([PING, PONG, KICKOUT]), max_size=5),
    st.lists(st.integers(0, 100), max_size=8),
    st.sampled_from([b"", MASK]),
)
def test_how_packages_stand_in_frames_does_not_matter(
    packages: list[bytes], cuts: list[int], mask: bytes
) -> None:
    stream = b"".join(packages)
    points = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    frames = UPGRADE + b"".join(
        frame(stream[start:end], mask=mask) for start, end in pairwise(points)
    )
    bare = [item for item in inspect(stream) if stream]
    framed = list(inspect(frames))
    assert len(bare) == len(framed) == len(packages)
    for one, other in zip(bare, framed, strict=True):
        assert to_json(one).partition("length")[2] == to_json(other).partition("length")[2]
        first = frames[other.offset] ^ (0 if not mask else ord("F") ^ frames[other.offset])
        assert first == ord("F")


# --- every vector --------------------------------------------------------------------------------


def as_json(value: object) -> object:
    """A vector's value as the JSON form has it."""
    match value:
        case bytes():
            return {"bin": value.hex()}
        case str():
            with suppress(UnicodeEncodeError):
                value.encode()
                return value
            return {"str_hex": value.encode("utf-8", "surrogateescape").hex()}
        case float() if value == float("inf"):
            return {"float": "inf"}
        case dict():
            entries = cast("dict[object, object]", value)
            return {key: as_json(item) for key, item in entries.items()}
        case list():
            return [as_json(item) for item in cast("list[object]", value)]
        case _:
            return value


def expected_json(expected: Expected) -> dict[str, object]:
    answer = expected.kind == Kind.ANSWER
    return {
        "version": expected.version,
        "flag": expected.flag,
        "kind": ("oneway", "quest", "answer")[expected.kind],
        "status": expected.ss if answer else None,
        "method": None if answer else as_json(expected.method.decode("utf-8", "surrogateescape")),
        "seq": None if expected.kind == Kind.ONEWAY else expected.seq,
        "payload": as_json(expected.payload),
    }


def rows(data: bytes) -> Iterator[dict[str, Any]]:
    for item in inspect(data):
        assert to_text(item).startswith(f"@{item.offset} ")
        assert "\n" not in to_json(item)
        yield json.loads(to_json(item))


@pytest.mark.parametrize(
    "vector",
    [each for each in (*vectors.fpnn(), *vectors.js_sdk()) if each.form != "cipher" and each.whole],
    ids=lambda each: each.name,
)
def test_every_vector_is_shown_as_it_was_meant(vector: Vector) -> None:
    end = None
    seen = list(rows(vector.data))
    assert len(seen) == len(vector.packages)
    for row, expected in zip(seen, vector.packages, strict=True):
        offset, length = row.pop("offset"), row.pop("length")
        assert list(row) == list(expected_json(expected))
        assert row == expected_json(expected)
        assert end is None or offset == end
        end = offset + length
    if vector.form == "packages":
        assert end == len(vector.data)


@pytest.mark.parametrize(
    ("name", "data"),
    [(each.name, each.data) for each in vectors.fpnn() if each.form == "cipher"]
    + [(each.name, each.data) for each in vectors.js_sdk() if not each.whole]
    + list(vectors.heads().items()),
)
def test_what_is_encrypted_or_cut_short_is_one_clear_fault(name: str, data: bytes) -> None:
    (row,) = rows(data)
    assert list(row) == ["error", "offset"]
    assert row["error"].startswith((UNKNOWN, ENDS_INSIDE))


@pytest.mark.parametrize("reaction", vectors.reactions(), ids=lambda each: each.name)
def test_every_odd_input_is_shown_or_named(reaction: vectors.Reaction) -> None:
    seen = list(rows(reaction.data))
    assert seen or reaction.transport == "ws"
    for row in seen:
        assert set(row) == {"error", "offset"} or row["length"] >= 12


# --- JSON ----------------------------------------------------------------------------------------


def test_the_keys_of_a_package_are_always_the_same() -> None:
    keys = "offset length version flag kind status method seq payload".split()
    for package in (PING, PONG, KICKOUT):
        assert list(json.loads(to_json(found(package)))) == keys
    assert to_json(found(PING)) == (
        '{"offset": 0, "length": 21, "version": 1, "flag": 128, "kind": "quest", "status": null,'
        ' "method": "ping", "seq": 1, "payload": {}}'
    )


def test_a_fault_has_its_error_and_its_place() -> None:
    assert to_json(Fault('a "fault"', 7)) == r'{"error": "a \"fault\"", "offset": 7}'


@pytest.mark.parametrize("around", [b"\x81", b"\x81\x91"])
def test_maps_that_are_keys_of_maps_are_shown_in_little_space(around: bytes) -> None:
    depth = 12  # each level doubled the backslashes, and 32 are allowed
    payload = around * depth + b"\x01" + b"\x02" * depth
    item = found(encode_oneway(b"x", payload))
    assert len(to_json(item)) < 1000
    assert len(to_text(item)) < 1000


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        ("", None),
        ("c0", None),
        ("cfffffffffffffffff", 2**64 - 1),
        ("d38000000000000000", -(2**63)),
        ("cb3fb999999999999a", 0.1),
        ("cb8000000000000000", -0.0),
        ("cb7ff8000000000000", {"float": "nan"}),
        ("cb7ff0000000000000", {"float": "inf"}),
        ("cafff0000000000000"[:10].replace("fff0", "ff80"), {"float": "-inf"}),
        ("c3", True),
        ("a3e4b8ad", "中"),
        ("a200ff", {"str_hex": "00ff"}),
        ("c40200ff", {"bin": "00ff"}),
        ("92a0c400", ["", {"bin": ""}]),
        ("d40501", {"ext": 5, "bin": "01"}),
        ("d6ff00000001", {"ext": -1, "bin": "00000001"}),
        ("9181a161d40501", [{"a": {"ext": 5, "bin": "01"}}]),
        ("81 a161 a200ff", {"a": {"str_hex": "00ff"}}),
        ("8101a178", {"1": "x"}),
        ("84 c0 01 c3 02 cb3ff8000000000000 03 c40100 04",
         {"null": 1, "true": 2, "1.5": 3, '{"bin": "00"}': 4}),
        ("82 a1ff 01 9102 03", {'{"str_hex": "ff"}': 1, "[2]": 3}),
        ("82 a161 01 a161 02", {"pairs": [["a", 1], ["a", 2]]}),
        ("82 01 02 a131 03", {"pairs": [[1, 2], ["1", 3]]}),
        ("81 a161 82 a162 01 a162 02", {"a": {"pairs": [["b", 1], ["b", 2]]}}),
        ("82 81 a161 01 02 a162 03", {"pairs": [[{"a": 1}, 2], ["b", 3]]}),
        ("81 91 81 a161 01 02", {"pairs": [[[{"a": 1}], 2]]}),
    ],
)  # fmt: skip
def test_every_value_of_msgpack_has_a_form_in_json(payload: str, value: object) -> None:
    row = shown(bytes.fromhex(payload))
    assert row["payload"] == value
    assert repr(row["payload"]) == repr(value)  # -0.0, and True that is not 1


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        ("", None),
        ('{"a":12345678901234567890123}', {"a": 12345678901234567890123}),
        ('{"a":1e999}', {"a": {"float": "inf"}}),
        ('{"a":1,"a":2}', {"pairs": [["a", 1], ["a", 2]]}),
        ('"text"', "text"),
        ('["\\ud83d\\ude00","\\ud83d"]', ["😀", {"str_hex": "eda0bd"}]),
        ('["\\udcff"]', [{"str_hex": "ff"}]),
    ],
)
def test_every_value_of_a_json_payload_is_shown(payload: str, value: object) -> None:
    assert shown(payload.encode(), flag=FLAG_JSON)["payload"] == value


def test_a_method_that_is_not_utf8_is_shown_by_its_bytes() -> None:
    row = json.loads(to_json(found(encode_oneway(b"\xff\xfe", b"\x80"))))
    assert row["method"] == {"str_hex": "fffe"}


def test_json_is_one_line_of_ascii() -> None:
    line = to_json(found(encode_quest("回声".encode(), encode({"a": "中\n"}), 1)))
    assert line.isascii()
    assert "\n" not in line


# --- for people ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (PING, ["@0 quest ping seq 1 v1 msgpack 21 bytes", "  {}"]),
        (KICKOUT, ["@0 oneway kickout v1 msgpack 20 bytes", "  {}"]),
        (PONG, ["@0 answer seq 1 status 0 v1 msgpack 17 bytes", "  {}"]),
        (encode_quest(b"*ping", b"", 5),
         ["@0 quest *ping seq 5 v1 msgpack 21 bytes", "  no payload"]),
        (encode_answer(b"\xa4info", 5),
         ["@0 answer seq 5 status 0 v1 msgpack 21 bytes", "  'info'"]),
        (encode_answer(b"\x91\x01\xc1\xc1", 5),
         ["@0 answer seq 5 status 0 v1 msgpack 20 bytes", "  [1]",
          "  and 2 bytes behind it, ignored"]),
        (encode_answer(b'{"a":1}', 5, flag=FLAG_JSON),
         ["@0 answer seq 5 status 0 v1 json 23 bytes", "  a: 1"]),
        (encode_answer(b"\x80", 5, flag=0x81, version=0),
         ["@0 answer seq 5 status 0 v0 msgpack flag 0x81 17 bytes", "  {}"]),
        (encode_quest(b"", b"\x80", 5), ["@0 quest '' seq 5 v1 msgpack 17 bytes", "  {}"]),
        (encode_quest(b"a\nb", b"\x80", 5), ["@0 quest 'a\\nb' seq 5 v1 msgpack 20 bytes", "  {}"]),
        (b"X", [f"@0 fault: {UNKNOWN}: 58"]),
    ],
)  # fmt: skip
def test_a_package_is_one_line_and_its_payload(data: bytes, lines: list[str]) -> None:
    (item,) = inspect(data)
    assert to_text(item).split("\n") == lines


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        (1, 200027, "  code: 200027 BAD_LOGIN_TOKEN: bad login token"),
        (255, 20004, "  code: 20004 UNKNOWN_METHOD: unknown method"),
        (1, -5, "  code: -5 (unknown code)"),
        (1, "200027", "  code: '200027'"),
        (1, True, "  code: true"),
        (0, 200027, "  code: 200027"),
    ],
)
def test_the_code_of_an_error_answer_is_named(status: int, code: object, line: str) -> None:
    payload = encode({"code": code, "ex": "no"})
    lines = to_text(found(encode_answer(payload, 5, status=status))).split("\n")
    assert lines[1:] == [line, "  ex: 'no'"]


def test_only_the_code_of_an_error_is_named() -> None:
    payload = encode({"code": 20004, "n": 20004, "m": {"code": 20004, "text": "x" * 50}})
    assert to_text(found(encode_answer(payload, 5, status=1)), width=60).split("\n")[1:] == [
        "  code: 20004 UNKNOWN_METHOD: unknown method",
        "  n: 20004",
        "  m:",
        "    code: 20004",
        f"    text: '{'x' * 30}... (50 characters)",
    ]


def test_values_are_shown_as_msgpack_has_them() -> None:
    empty: list[object] = []
    values = {"n": None, "t": True, "f": 1.0, "i": -1, "b": b"\x00\xff", "s": "it's"}
    assert text_of(encode({**values, "l": [1, empty], "m": {"k": {}}})) == [
        "  n: null",
        "  t: true",
        "  f: 1.0",
        "  i: -1",
        "  b: bin 2 bytes 00ff",
        '''  s: "it's"''',
        "  l: [1, []]",
        "  m: {k: {}}",
    ]
    assert text_of(bytes.fromhex("83 01 d40501 a1ff a2ff00 9102 c400")) == [
        "  1: ext 5, 1 bytes 01",
        "  not UTF-8, 1 bytes ff: not UTF-8, 2 bytes ff00",
        "  [2]: bin 0 bytes",
    ]


def test_what_is_long_is_cut_with_its_length() -> None:
    payload = encode({"file": bytes(1000), "text": "x" * 500, "raw": "x" * 200 + "\udcff"})
    assert text_of(payload) == [
        f"  file: bin 1000 bytes {'00' * 100}"[:57] + "...",
        "  text: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... (500 characters)",
        f"  raw: not UTF-8, 201 bytes {'78' * 100}"[:57] + "...",
    ]
    assert all(len(line) <= 60 for line in text_of(payload))
    number = encode_answer(b'{"n":' + b"7" * 100 + b"}", 5, flag=FLAG_JSON)
    assert to_text(found(number), width=60).split("\n")[1] == (f"  n: {'7' * 39}... (100 digits)")


def test_text_that_barely_fits_is_not_cut() -> None:
    assert text_of(encode({"a": "x" * 53})) == [f"  a: '{'x' * 53}'"]
    assert text_of(encode({"a": "x" * 54})) == [f"  a: '{'x' * 35}... (54 characters)"]


def test_a_line_may_be_as_wide_as_it_is_allowed_to() -> None:
    assert TEXT_WIDTH == 100
    assert text_of(encode({"a": bytes(21)})) == [f"  a: bin 21 bytes {'00' * 21}"]
    assert text_of(encode({"a": [1] * 18}), width=59) == [f"  a: [{', '.join('1' * 18)}]"]
    assert len(text_of(encode({"a": [1] * 18}), width=58)) == 1 + 18
    number = encode_answer(b'{"n":' + b"7" * 55 + b"}", 5, flag=FLAG_JSON)
    assert to_text(found(number), width=60).split("\n")[1] == f"  n: {'7' * 55}"
    assert text_of(encode({"k" * 40: 1})) == [f"  {'k' * 40}: 1"]
    assert text_of(encode({"a": "x" * 1_000_000}), width=1) == ["  a: '... (1000000 characters)"]


def test_what_a_terminal_would_obey_is_escaped() -> None:
    evil = "\x1b[2J\x9b\u202e\r\n"
    text = to_text(found(encode_quest(evil.encode(), encode({evil: evil, "l": [evil]}), 5)))
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert len(text.split("\n")) == 3


def test_maps_and_arrays_that_do_not_fit_go_over_lines() -> None:
    payload = encode(
        {
            "messages": [{"from": number, "text": "hello " * 5} for number in range(2)],
            "numbers": [10**9] * 8,
            "map": {"inner": {"a": "x" * 30, "b": "x" * 30}, "k" * 50: 1},
        }
    )
    assert text_of(payload) == [
        "  messages:",
        "    - {from: 0, text: 'hello hello hello hello hello '}",
        "    - {from: 1, text: 'hello hello hello hello hello '}",
        "  numbers:",
        *["    - 1000000000"] * 8,
        "  map:",
        "    inner:",
        f"      a: '{'x' * 30}'",
        f"      b: '{'x' * 30}'",
        f"    '{'k' * 20}... (50 characters): 1",
    ]


def test_a_payload_that_is_a_long_array_has_no_line_of_its_own() -> None:
    assert text_of(b"\xdc\x00\x20" + b"\x01" * 32) == ["  - 1"] * 32


def test_a_map_of_many_entries_has_a_line_for_each() -> None:
    payload = encode({"counts": {str(number): number for number in range(30)}})
    assert text_of(payload) == ["  counts:", *(f"    {n}: {n}" for n in range(30))]


def test_a_key_that_is_a_long_container_is_only_said_to_be_there() -> None:
    assert text_of(b"\x81\xdc\x00\x20" + b"\x01" * 32 + b"\x02") == ["  (long key): 2"]
    inner = b"\x81\xdc\x00\x20" + b"\x01" * 32 + b"\x02"
    assert text_of(b"\x81\xa1a" + inner) == ["  a: {(long key): 2}"]


def test_deep_values_still_have_room() -> None:
    deep = text_of(b"\x81\xa1a" * 20 + b"\xd9\x40" + b"y" * 64, width=40)
    assert deep[-1] == " " * 40 + "a: 'yyyy... (64 characters)"


# --- anything ------------------------------------------------------------------------------------


STARTS = st.sampled_from(
    [b"", b"FPNN", b"FPNN\x01\x80\x02\x00", b"FPNN\x01\x40\x02\x00", UPGRADE, ACCEPTED, b"\x82",
     b"\x82\x7eFPNN", PING, frame(PING), frame(PING, fin=False), b"GET ", b"HTTP/1."]
)  # fmt: skip


@given(STARTS, st.binary(max_size=200))
@example(b"", b"\xd6\xff\xff")
def test_no_bytes_at_all_make_it_raise(start: bytes, data: bytes) -> None:
    for each in (start + data, read_input(data)):
        for item in inspect(each):
            assert 0 <= item.offset <= len(each)
            json.loads(to_json(item))
            to_text(item)


@given(st.binary(max_size=120), st.sampled_from([0x80, 0x40]))
def test_no_payload_makes_it_raise(payload: bytes, flag: int) -> None:
    first, second = inspect(encode_answer(payload, 5, flag=flag, status=1) + PING)
    for item in (first, second):
        json.loads(to_json(item))
        to_text(item, width=30)
    assert isinstance(second, Found)


@given(st.sampled_from([each.data for each in vectors.fpnn() if len(each.data) < 500]), st.data())
def test_a_damaged_vector_never_makes_it_raise(data: bytes, choices: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(choices.draw(st.integers(1, 4))):
        damaged[choices.draw(st.integers(0, len(data) - 1))] = choices.draw(st.integers(0, 255))
    for item in inspect(bytes(damaged)):
        json.loads(to_json(item))
        to_text(item)


def test_values_found_can_be_looked_at() -> None:
    payload = found(encode_quest(b"echo", bytes.fromhex("82 a161 d40501 01 a162"), 5)).payload
    assert payload == Entries((("a", Ext(5, b"\x01")), (1, "b")))
