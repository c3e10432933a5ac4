"""Packages: the header in both directions, and a stream cut into them however it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.errors import LocalProtocolError
from rtm_proto.package import (
    FLAG_JSON,
    FLAG_MSGPACK,
    MAX_PACKAGE,
    MAX_SEQ,
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_oneway,
    encode_quest,
    method_bytes,
    package_limit,
    quest_head,
)
from tests import vectors
from tests.feeding import check_feeding, cut_up, ways
from tests.fuzz.footprint import footprint
from tests.parts import put_together

BOTH_WAYS: list[tuple[str, bytes, Package]] = [
    (
        "46504e4e 01 80 01 04 01000000 01000000 70696e67 80",
        encode_quest(b"ping", b"\x80", 1),
        Package(Kind.TWOWAY, 1, 0x80, 0, 1, b"ping", b"\x80"),
    ),
    (
        "46504e4e 01 80 02 00 01000000 01000000 80",
        encode_answer(b"\x80", 1),
        Package(Kind.ANSWER, 1, 0x80, 0, 1, b"", b"\x80"),
    ),
    (
        "46504e4e 01 80 00 07 01000000 6b69636b6f7574 80",
        encode_oneway(b"kickout", b"\x80"),
        Package(Kind.ONEWAY, 1, 0x80, 0, 0, b"kickout", b"\x80"),
    ),
    (
        "46504e4e 01 80 01 04 04000000 04030201 6563686f 81a16101",
        encode_quest(b"echo", b"\x81\xa1a\x01", 0x01020304),
        Package(Kind.TWOWAY, 1, 0x80, 0, 0x01020304, b"echo", b"\x81\xa1a\x01"),
    ),
    (
        "46504e4e 01 80 02 01 01000000 ffffffff 80",
        encode_answer(b"\x80", 0xFFFFFFFF, status=1),
        Package(Kind.ANSWER, 1, 0x80, 1, 0xFFFFFFFF, b"", b"\x80"),
    ),
    (
        "46504e4e 00 80 02 00 01000000 00000000 80",
        encode_answer(b"\x80", 0, version=0),
        Package(Kind.ANSWER, 0, 0x80, 0, 0, b"", b"\x80"),
    ),
    (
        "46504e4e 01 40 01 04 02000000 05000000 6563686f 7b7d",
        encode_quest(b"echo", b"{}", 5, flag=FLAG_JSON),
        Package(Kind.TWOWAY, 1, 0x40, 0, 5, b"echo", b"{}"),
    ),
    (
        "46504e4e 01 40 00 01 02000000 61 7b7d",
        encode_oneway(b"a", b"{}", flag=FLAG_JSON),
        Package(Kind.ONEWAY, 1, 0x40, 0, 0, b"a", b"{}"),
    ),
    (
        "46504e4e 01 40 02 00 02000000 05000000 7b7d",
        encode_answer(b"{}", 5, flag=FLAG_JSON),
        Package(Kind.ANSWER, 1, 0x40, 0, 5, b"", b"{}"),
    ),
    (
        "46504e4e 01 80 01 05 00000000 05000000 2a70696e67",
        encode_quest(b"*ping", b"", 5),
        Package(Kind.TWOWAY, 1, 0x80, 0, 5, b"*ping", b""),
    ),
    (
        "46504e4e 01 80 00 ff 00000000" + "61" * 255,
        encode_oneway(b"a" * 255, b""),
        Package(Kind.ONEWAY, 1, 0x80, 0, 0, b"a" * 255, b""),
    ),
]

MAGIC_WANTED = "a package begins with 46 50 4e 4e, got"

# The bytes, how many of them make it certain, the text, the code, whether it is a limit, the seq.
FAULTS: list[tuple[str, int, str, int, bool, int | None]] = [
    ("58", 1, f"{MAGIC_WANTED} 58", 10003, False, None),
    ("46504e58", 4, f"{MAGIC_WANTED} 46 50 4e 58", 10003, False, None),
    ("66706e6e 01 80 01", 1, f"{MAGIC_WANTED} 66", 10003, False, None),
    (
        "46514e4e 01 80 01 04 01000000 01000000 70696e67 80",
        2,
        f"{MAGIC_WANTED} 46 51",
        10003,
        False,
        None,
    ),
    ("46504e4e 01 80 03", 7, "mtype must be 0, 1 or 2, got 3", 10007, False, None),
    ("46504e4e 01 80 ff 04 01000000", 7, "mtype must be 0, 1 or 2, got 255", 10007, False, None),
    (
        "46504e4e 01 80 01 04 ffffffff 05000000",
        16,
        "a package of 4294967315 bytes is over the limit of 8388608",
        10003,
        True,
        5,
    ),
    (
        "46504e4e 01 80 00 04 ffffffff",
        12,
        "a package of 4294967311 bytes is over the limit of 8388608",
        10003,
        True,
        None,
    ),
    (
        "46504e4e 01 80 02 00 ffffffff",
        12,
        "a package of 4294967311 bytes is over the limit of 8388608",
        10003,
        True,
        None,
    ),
]

PACKAGES = st.one_of(
    st.builds(
        encode_quest,
        st.binary(min_size=1, max_size=10),
        st.binary(max_size=40),
        st.integers(0, 2**32 - 1),
    ),
    st.builds(encode_oneway, st.binary(min_size=1, max_size=10), st.binary(max_size=40)),
    st.builds(
        encode_answer,
        st.binary(max_size=40),
        st.integers(0, 2**32 - 1),
        status=st.integers(0, 255),
    ),
)


def reader(limit: int = MAX_PACKAGE) -> Callable[[bytes], list[object]]:
    """What a splitter tells, as one list: its packages, then its fault as often as it is asked."""
    splitter = Splitter(limit)

    def receive(data: bytes) -> list[object]:
        known = splitter.fault
        items: list[object] = list(splitter.feed(data))
        fault = splitter.fault
        if fault is not None and known is None:
            items.append((str(fault), fault.code, fault.limit, fault.seq))
        return items

    return receive


# --- one package ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "ours", "package"), BOTH_WAYS)
def test_what_we_write_is_what_we_read(data: str, ours: bytes, package: Package) -> None:
    assert ours == bytes.fromhex(data)
    assert package.size == len(ours)
    check_feeding(reader, ours, [package], tail=b"FPNN\x01\x80")


def test_the_head_of_a_quest_announces_a_payload_that_is_not_there_yet() -> None:
    head = quest_head(b"sendfile", 1000, 7)
    assert head + bytes(1000) == encode_quest(b"sendfile", bytes(1000), 7)
    assert quest_head(b"a", 0, 1, flag=FLAG_JSON)[5] == FLAG_JSON


def test_the_largest_number_has_all_its_bits_set() -> None:
    assert quest_head(b"a", 0, MAX_SEQ)[12:16] == b"\xff\xff\xff\xff"


@pytest.mark.parametrize(("peer", "ours"), [(0, 0), (1, 1), (2, 1), (255, 1)])
def test_an_answer_has_the_version_of_its_quest_if_that_is_known(peer: int, ours: int) -> None:
    assert encode_answer(b"\x80", 1, version=peer)[4] == ours


@pytest.mark.parametrize("version", [0, 1, 2, 255])
@pytest.mark.parametrize("flag", [FLAG_MSGPACK, FLAG_JSON, 0x81, 0xBF, 0xC0, 0x00])
def test_any_version_and_any_flag_can_be_read(version: int, flag: int) -> None:
    data = bytearray(encode_quest(b"echo", b"\x80", 5))
    data[4:6] = bytes([version, flag])
    (package,) = Splitter().feed(data)
    assert (package.version, package.flag) == (version, flag)


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("a", b"a"),
        ("*ping", b"*ping"),
        ("回声", "回声".encode()),
        ("a" * 255, b"a" * 255),
        ("中" * 85, "中".encode() * 85),
    ],
)
def test_a_method_is_text_of_at_most_255_bytes(method: str, data: bytes) -> None:
    assert method_bytes(method) == data


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("", "1 to 255 bytes, got 0"),
        ("a" * 256, "1 to 255 bytes, got 256"),
        ("中" * 86, "1 to 255 bytes, got 258"),
        ("\udcff", "not valid text"),
    ],
)
def test_a_method_that_does_not_fit_is_refused_before_it_is_sent(method: str, message: str) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        method_bytes(method)


# --- a stream ------------------------------------------------------------------------------------


def test_many_packages_may_come_at_once() -> None:
    stream = b"".join(ours for _, ours, _ in BOTH_WAYS)
    check_feeding(reader, stream, [package for _, _, package in BOTH_WAYS], tail=b"F")


@pytest.mark.parametrize(("data", "certain", "message", "code", "limit", "seq"), FAULTS)
def test_a_fault_comes_after_the_packages_before_it(
    data: str, certain: int, message: str, code: int, limit: bool, seq: int | None
) -> None:
    good = encode_answer(b"\x80", 9)
    package = Package(Kind.ANSWER, 1, 0x80, 0, 9, b"", b"\x80")
    fault = (message, code, limit, seq)
    check_feeding(reader, bytes.fromhex(data), [fault])
    check_feeding(reader, good + good + bytes.fromhex(data), [package, package, fault], tail=good)


@pytest.mark.parametrize(("data", "certain", "message", "code", "limit", "seq"), FAULTS)
def test_a_fault_is_seen_with_the_byte_that_makes_it_certain(
    data: str, certain: int, message: str, code: int, limit: bool, seq: int | None
) -> None:
    receive = reader()
    assert receive(bytes.fromhex(data)[: certain - 1]) == []
    assert receive(bytes.fromhex(data)[certain - 1 : certain]) == [(message, code, limit, seq)]


def test_nothing_is_kept_and_nothing_comes_once_there_was_a_fault() -> None:
    splitter = Splitter()
    splitter.feed(b"FPNN\x01\x80\x01\x04" + b"HTTP")
    splitter.feed(b"XXXX" + bytes(100_000))
    assert splitter.fault is not None
    assert splitter.feed(encode_oneway(b"a", b"\x80")) == []
    assert splitter.pending == 0


@pytest.mark.parametrize("limit", [21, 100, MAX_PACKAGE])
def test_a_package_may_be_as_large_as_the_limit(limit: int) -> None:
    largest = encode_quest(b"ping", bytes(limit - 20), 1)
    splitter = Splitter(limit)
    assert len(splitter.feed(largest)) == 1
    assert splitter.fault is None
    splitter = Splitter(limit)
    assert splitter.feed(encode_quest(b"ping", bytes(limit - 19), 1)) == []
    assert str(splitter.fault) == f"a package of {limit + 1} bytes is over the limit of {limit}"


def test_a_package_over_the_limit_is_refused_as_early_behind_one_that_was_waited_for() -> None:
    splitter = Splitter(100)
    before, large = encode_quest(b"ping", bytes(70), 1), quest_head(b"sendfile", 1000, 7)
    assert splitter.feed(before[:50]) == []
    assert len(splitter.feed(before[50:] + large[:12])) == 1
    assert (splitter.pending, splitter.announced) == (12, None)
    assert (splitter.feed(large[12:15]), splitter.fault) == ([], None)
    assert splitter.feed(large[15:16]) == []
    assert splitter.fault is not None
    assert splitter.fault.seq == 7


def test_an_announced_package_of_4_gib_costs_no_memory() -> None:
    splitter = Splitter()
    splitter.feed(quest_head(b"sendfile", 0xFFFFFFFF, 1))
    assert splitter.fault is not None
    assert splitter.fault.limit
    assert splitter.pending == 0


def test_what_is_pending_is_known_and_so_is_what_was_announced() -> None:
    data = encode_quest(b"ping", bytes(100), 1)
    splitter = Splitter()
    assert (splitter.pending, splitter.announced) == (0, None)
    splitter.feed(data[:11])
    assert (splitter.pending, splitter.announced) == (11, None)
    splitter.feed(data[11:12])
    assert (splitter.pending, splitter.announced) == (12, 120)
    splitter.feed(data[12:-1])
    assert (splitter.pending, splitter.announced) == (119, 120)
    assert len(splitter.feed(data[-1:] + data[:5])) == 1
    assert (splitter.pending, splitter.announced) == (5, None)
    assert len(splitter.feed(data[5:])) == 1
    assert (splitter.pending, splitter.announced) == (0, None)


def test_a_package_does_not_change_when_the_buffer_it_came_in_does() -> None:
    buffer = bytearray(encode_quest(b"ping", b"\x80", 1))
    (package,) = Splitter().feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert package == Package(Kind.TWOWAY, 1, 0x80, 0, 1, b"ping", b"\x80")


@pytest.mark.timeout(10)
def test_a_large_package_byte_by_byte_is_not_looked_at_again_and_again() -> None:
    data = encode_quest(b"sendfile", bytes(300_000), 1)
    splitter = Splitter()
    for start in range(len(data) - 1):
        assert splitter.feed(data[start : start + 1]) == []
    assert len(splitter.feed(data[-1:])) == 1


@given(st.lists(PACKAGES, max_size=6), st.binary(max_size=20), st.data())
def test_how_the_bytes_are_cut_does_not_matter(
    packages: list[bytes], tail: bytes, choices: st.DataObject
) -> None:
    stream = b"".join(packages) + tail
    expected = reader()(stream)
    receive = reader()
    pieces = choices.draw(cut_up(stream))
    assert [item for piece in pieces for item in receive(piece)] == expected
    assert len(expected) >= len(packages)


@given(st.lists(PACKAGES, max_size=6), st.binary(max_size=20), st.integers(0, 60), st.booleans())
def test_what_stands_before_does_not_matter(
    packages: list[bytes], garbage: bytes, limit: int, parts: bool
) -> None:
    """Whole packages with a seq at the start take a short way; behind another none does."""
    data = b"".join(packages) + garbage
    first = encode_oneway(b"m", b"")
    least = len(first)
    short, long = (
        Splitter(least + limit, 20) if parts else Splitter(least + limit) for _ in range(2)
    )
    came = short.feed(data)
    assert long.feed(first + data)[1:] == came
    assert repr(long.fault) == repr(short.fault)
    assert (long.pending, long.announced) == (short.pending, short.announced)


@given(st.binary(max_size=60), st.integers(0, 7))
def test_garbage_raises_nothing(data: bytes, kept: int) -> None:
    Splitter().feed(data)
    Splitter().feed(b"FPNN\x01\x80\x01"[:kept] + data)


# --- in parts ------------------------------------------------------------------------------------

LARGE = encode_quest(b"sendfile", bytes(range(200)), 7)
SMALL = encode_quest(b"ping", b"\x80", 8)


def parted(pieces: Iterable[bytes], whole_to: int, limit: int = MAX_PACKAGE) -> list[object]:
    """What a splitter tells that gives packages over *whole_to* in parts: put together, and the
    fault."""
    splitter = Splitter(limit, whole_to)
    items: list[Package] = []
    for piece in pieces:
        items += splitter.feed(piece)
    fault = splitter.fault
    told = [] if fault is None else [(str(fault), fault.code, fault.limit, fault.seq)]
    return [*put_together(items), *told]


def test_a_large_package_comes_in_parts_as_its_bytes_do() -> None:
    splitter = Splitter(whole_to=100)
    head = LARGE[:24]
    assert splitter.feed(head[:-1]) == []
    first = Package(Kind.TWOWAY, 1, 0x80, 0, 7, b"sendfile", b"", 1, 200)
    assert splitter.feed(head[-1:]) == [first]
    assert (splitter.pending, splitter.announced) == (24, 224)
    assert splitter.feed(b"") == []
    second = Package(Kind.TWOWAY, 1, 0x80, 0, 7, b"sendfile", LARGE[24:30], 2, 194)
    assert splitter.feed(LARGE[24:30]) == [second]
    assert (splitter.pending, splitter.announced) == (30, 224)
    third, small = splitter.feed(LARGE[30:] + SMALL + SMALL[:3])
    assert (third.part, third.left, third.payload) == (3, 0, LARGE[30:])
    assert (small.part, small.left) == (0, 0)
    assert (splitter.pending, splitter.announced) == (3, None)


def test_what_was_announced_is_known_before_the_method_is_there() -> None:
    splitter = Splitter(whole_to=100)
    splitter.feed(LARGE[:12])
    assert (splitter.pending, splitter.announced) == (12, 224)
    splitter.feed(LARGE[12:20])
    assert (splitter.pending, splitter.announced) == (20, 224)


@pytest.mark.parametrize("package", [ours for _, ours, _ in BOTH_WAYS])
@pytest.mark.parametrize("whole_to", [0, 11, 12, 13, 16, 20, 24, 300])
def test_every_package_is_the_same_in_parts(package: bytes, whole_to: int) -> None:
    expected = Splitter().feed(package + SMALL)
    for pieces in [*ways(package + SMALL), *ways(package + SMALL + b"FPN")]:
        assert parted(pieces, whole_to) == expected


@pytest.mark.parametrize(("size", "parts"), [(224, 0), (223, 2), (24, 2)])
def test_a_package_of_just_that_size_comes_whole(size: int, parts: int) -> None:
    packages = Splitter(whole_to=size).feed(LARGE)
    assert len(packages) == max(1, parts)
    assert packages[-1].part == parts


def test_a_package_without_a_payload_has_no_parts() -> None:
    assert Splitter(whole_to=1).feed(encode_quest(b"*ping", b"", 1))[0].part == 0


def test_large_packages_come_in_parts_only_where_that_was_asked_for() -> None:
    package = encode_quest(b"sendfile", bytes(MAX_PACKAGE), 1)
    (whole,) = Splitter(2 * MAX_PACKAGE).feed(package)
    assert (whole.part, whole.left, len(whole.payload)) == (0, 0, MAX_PACKAGE)


def test_a_package_over_the_limit_does_not_begin_to_come_in_parts() -> None:
    for pieces in ways(SMALL + LARGE):
        items = parted(pieces, 30, limit=200)
        assert items == [
            *Splitter().feed(SMALL),
            ("a package of 224 bytes is over the limit of 200", 10003, True, 7),
        ]


@pytest.mark.parametrize(("data", "certain", "message", "code", "limit", "seq"), FAULTS)
def test_a_fault_behind_the_last_part_comes_after_it(
    data: str, certain: int, message: str, code: int, limit: bool, seq: int | None
) -> None:
    for pieces in ways(LARGE + bytes.fromhex(data)):
        assert parted(pieces, 30) == [*Splitter().feed(LARGE), (message, code, limit, seq)]


def test_parts_are_not_kept() -> None:
    splitter = Splitter(whole_to=100)
    data = quest_head(b"sendfile", 8_000_000, 1)
    splitter.feed(data)
    fresh = footprint(splitter)
    for count in range(1, 100):
        assert len(splitter.feed(bytes(65_536))) == 1
        assert splitter.pending == len(data) + count * 65_536
    assert footprint(splitter) <= fresh + 100


def test_a_part_does_not_change_when_the_buffer_it_came_in_does() -> None:
    buffer = bytearray(LARGE)
    first, second = Splitter(whole_to=100).feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert (first.method, second.payload) == (b"sendfile", LARGE[24:])


@given(st.lists(PACKAGES, max_size=6), st.binary(max_size=20), st.integers(0, 60), st.data())
def test_in_parts_or_whole_the_packages_are_the_same(
    packages: list[bytes], tail: bytes, whole_to: int, choices: st.DataObject
) -> None:
    stream = b"".join(packages) + tail
    whole = reader(70)(stream)
    got = parted(choices.draw(cut_up(stream)), whole_to, 70)
    if got and isinstance(got[-1], Package) and got[-1].left:
        got.pop()  # it has begun, and whole it has not come
    assert got == whole


# --- the framework's own test inputs -------------------------------------------------------------


@pytest.mark.parametrize(
    "reaction",
    [each for each in vectors.reactions() if each.transport == "tcp"],
    ids=lambda each: each.name,
)
def test_what_the_framework_could_not_follow_is_a_fault_and_nothing_else_is(
    reaction: vectors.Reaction,
) -> None:
    splitter = Splitter()
    packages = splitter.feed(reaction.data)
    lost = reaction.name.startswith(("bad magic", "mtype 4", "mtype 255")) or reaction.name in (
        "psize 0xffffffff",
        "psize 8MiB+1",
    )
    assert (splitter.fault is not None) == lost
    if not lost:
        assert sum(each.size for each in packages) + splitter.pending == len(reaction.data)


@pytest.mark.parametrize(
    ("max_file", "limit"),
    [
        (0, MAX_PACKAGE),
        (5_242_880, MAX_PACKAGE),
        (MAX_PACKAGE, MAX_PACKAGE + 65_536),
        (1 << 30, (1 << 30) + 65_536),
        (1 << 40, 0xFFFFFFFF),
    ],
)
def test_larger_files_make_larger_packages_as_far_as_the_header_goes(
    max_file: int, limit: int
) -> None:
    assert package_limit(max_file) == limit
