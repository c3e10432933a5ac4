"""What the strategies give is what the protocol takes, and what peers have sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import md5
from typing import Any

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from rtm_proto.attrs import file_sign, parse_attrs, safe_name, sign_matches
from rtm_proto.connection import Connection
from rtm_proto.desk import Desk, Inbox
from rtm_proto.errors import RemoteFault
from rtm_proto.events import Answered, Dropped, OnewayReceived, QuestReceived, Refused
from rtm_proto.link import StreamLink
from rtm_proto.mids import check_mid
from rtm_proto.package import FLAG_JSON, Kind, Package, Splitter, method_bytes
from rtm_proto.payload import decode, decode_json, encode, encode_json
from rtm_proto.received import FILE_MTYPES, FileReceived, parse_push
from rtm_proto.testing import strategies as given_by


@given(given_by.params())
def test_params_are_read_as_they_were_written(params: dict[str, object]) -> None:
    assert decode(encode(params)) == params


@given(given_by.json_params())
def test_json_params_are_read_as_they_were_written(params: dict[str, object]) -> None:
    assert decode_json(encode_json(params)) == params


@given(given_by.methods())
def test_a_method_is_one_that_can_be_sent(method: str) -> None:
    assert 1 <= len(method_bytes(method)) <= 255
    assert not method.startswith("*")


@given(given_by.mids(), given_by.mtypes(), given_by.seqs())
def test_numbers_are_in_their_range(mid: int, mtype: int, seq: int) -> None:
    assert mid and check_mid(mid) == mid
    assert mtype in FILE_MTYPES
    assert 0 <= seq <= 0xFFFFFFFF


@given(given_by.package_bytes())
def test_package_bytes_are_one_package_that_a_connection_understands(data: bytes) -> None:
    (package,) = Splitter().feed(data)
    assert package.size == len(data)
    connection = Connection(StreamLink())
    connection.connected(now=0.0)
    connection.events()
    connection.receive_data(data, now=0.0)
    (event,) = connection.events()
    if package.kind == Kind.ANSWER:
        assert isinstance(event, Dropped)  # nobody has asked
    else:
        assert isinstance(event, (QuestReceived, OnewayReceived))


@given(given_by.packages(Kind.ANSWER))
def test_an_answer_ends_the_quest_that_it_is_of(package: Package) -> None:
    connection = Connection(StreamLink())
    connection.connected(now=0.0)
    quest_id = connection.send_quest("m", {}, deadline=None)
    connection.events()
    read = decode_json if package.flag == FLAG_JSON else decode
    entries = read(package.payload)
    head = b"FPNN" + bytes([package.version, package.flag, package.kind, package.status])
    size = len(package.payload).to_bytes(4, "little")
    connection.receive_data(head + size + quest_id.to_bytes(4, "little") + package.payload, now=0.0)
    (event,) = connection.events()
    if package.status:
        assert isinstance(event, Refused) and event.code == entries["code"]
    else:
        assert event == Answered(quest_id, entries)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("flag", [0x80, 0x40])
@pytest.mark.parametrize("version", [0, 1])
def test_packages_of_each_kind_come_in_both_flags_and_versions(
    kind: Kind, flag: int, version: int
) -> None:
    def wanted(package: Package) -> bool:
        return (package.flag, package.version) == (flag, version)

    package = find(given_by.packages(kind), wanted)
    assert package.kind == kind


@given(st.binary(max_size=60).flatmap(lambda data: st.tuples(st.just(data), given_by.cuts(data))))
def test_cuts_are_pieces_of_all_of_it(cut: tuple[bytes, list[bytes]]) -> None:
    data, pieces = cut
    assert b"".join(pieces) == data


@pytest.mark.parametrize("data", [b"0123456789"])
def test_cuts_are_whole_and_byte_by_byte_and_have_empty_pieces(data: bytes) -> None:
    cuts = given_by.cuts(data)
    assert find(cuts, lambda pieces: len(pieces) == 1) == [data]
    assert len(find(cuts, lambda pieces: len(pieces) == len(data) and all(pieces))) == len(data)
    assert b"" in find(cuts, lambda pieces: b"" in pieces and len(pieces) > 2)


@given(given_by.file_bodies(100), given_by.file_names(), given_by.signs(), given_by.codes())
def test_files_and_what_is_said_of_them(body: bytes, name: str, sign: str, code: int) -> None:
    assert len(body) <= 100
    assert safe_name(name)
    assert len(sign) == 32
    assert code > 0


@given(given_by.file_bodies(), st.text("0123456789ABCDEF", min_size=1), st.data())
def test_attrs_carry_the_sign_that_they_are_given(
    body: bytes, token: str, choices: st.DataObject
) -> None:
    digest = md5(body, usedforsecurity=False).hexdigest()
    text = choices.draw(given_by.attrs(file_sign(digest, token)))
    attrs = parse_attrs(text)
    assert attrs.sign is not None
    assert sign_matches(attrs.sign, digest, token)


SHAPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "nested": lambda value: "rtm" in value,
    "flat": lambda value: "sign" in value,
    "upper case": lambda value: value.get("sign", "").isupper(),
    "fileExtension": lambda value: "fileExtension" in value.get("rtm", value),
    "custom": lambda value: "custom" in value,
    "voice": lambda value: value.get("rtm", value).get("type") == "audiomsg",
    "excluded": lambda value: value.get("excludedUids"),
    "number as text": lambda value: isinstance(value.get("rtm", {}).get("duration"), str),
    "without sign": lambda value: "sign" not in value.get("rtm", value),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_attrs_come_in_every_shape_that_was_seen(shape: str) -> None:
    has_it = SHAPES[shape]
    assert has_it(json.loads(find(given_by.attrs(), lambda text: bool(has_it(json.loads(text))))))


@given(given_by.file_pushes())
def test_a_push_of_a_file_is_an_event_with_its_url(push: tuple[str, dict[str, object]]) -> None:
    method, params = push
    event, _ = parse_push(method, params, 1)
    assert isinstance(event, FileReceived)
    assert event.url is not None and event.url.startswith("http")
    desk = Desk(Connection(StreamLink()), Inbox(1, honour_excluded=False))
    assert desk.dropped == 0


def test_what_the_strategies_do_not_give_is_a_fault_of_the_peer() -> None:
    with pytest.raises(RemoteFault):
        decode(find(st.binary(), lambda data: data[:1] == b"\xc1"))
