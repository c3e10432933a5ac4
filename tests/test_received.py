"""Pushes as typed events: every shape that was seen, and many that nobody should send."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.attrs import FileAttrs, VoiceInfo
from rtm_proto.codes import Code
from rtm_proto.errors import PayloadError
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.package import FLAG_JSON
from rtm_proto.payload import MAX_DEPTH, MAX_NODES, Params, decode, decode_json, encode
from rtm_proto.received import (
    FILE_MTYPES,
    MAX_LOOSE,
    PUSHES,
    Conversation,
    Disconnected,
    FileReceived,
    FileType,
    MessageReceived,
    parse_push,
)
from tests import vectors
from tests.pair import packages_in

UID = 1002
URL = "https://files.example/x/photo.png"
DEEP = 2 * MAX_DEPTH
SENDER = 9007199254740993  # a number that JavaScript loses

PLAIN = FileReceived(
    kind=Conversation.P2P,
    sender=SENDER,
    target=UID,
    mid=7,
    mtype=40,
    mtime=1_700_000_000_000,
    url=URL,
    size=3,
    surl=None,
    name="photo.png",
    ext="png",
    custom=None,
    voice=None,
    msg=json.dumps({"url": URL, "size": 3}),
    attrs="",
)


def push(**changes: object) -> Params:
    """The params of a push of PLAIN; None leaves one out."""
    params: dict[str, object] = {
        "from": SENDER,
        "to": UID,
        "mid": 7,
        "mtype": 40,
        "msg": PLAIN.msg,
        "attrs": "",
        "mtime": 1_700_000_000_000,
        **{name.rstrip("_"): value for name, value in changes.items()},
    }
    return {name: value for name, value in params.items() if value is not None}


def file_in(**changes: object) -> FileReceived:
    event, _ = parse_push("pushmsg", push(**changes), UID)
    assert isinstance(event, FileReceived)
    return event


# --- golden pushes ---------------------------------------------------------------------------


def golden(name: str) -> tuple[FileReceived | MessageReceived, FileAttrs]:
    (vector,) = (vector for vector in vectors.js_sdk() if vector.name == name)
    (package,) = packages_in(vector.data)
    read = decode_json if package.flag & FLAG_JSON else decode
    return parse_push(package.method.decode(), read(package.payload), UID)


GATE_URL = "http://127.0.0.1:13461/file/ed005f6ee2972cae090595e297aaa439"
GATE_NAME = "ed005f6ee2972cae090595e297aaa439"


@pytest.mark.parametrize(
    ("name", "kind", "target", "mid", "mtime"),
    [
        ("pushmsg-file", Conversation.P2P, UID, 1795380800651003, 1795380800658),
        ("pushgroupmsg-file", Conversation.GROUP, 999999, 1795380800779005, 1795380800791),
        ("pushroommsg-file", Conversation.ROOM, 666666, 1795380800974004, 1795380800980),
    ],
)
def test_a_file_that_the_javascript_sdk_received(
    name: str, kind: Conversation, target: int, mid: int, mtime: int
) -> None:
    event, attrs = golden(name)
    assert isinstance(event, FileReceived)
    assert event == FileReceived(
        kind=kind,
        sender=654321,
        target=target,
        mid=mid,
        mtype=41,
        mtime=mtime,
        url=GATE_URL,
        size=777,
        surl=None,
        name=GATE_NAME,
        ext="",
        custom=None,
        voice=None,
        msg=f'{{"url": "{GATE_URL}", "size": 777}}',
        attrs="",
    )
    assert attrs == FileAttrs()


def test_messages_that_the_javascript_sdk_received() -> None:
    event, _ = golden("pushmsg-text")
    assert isinstance(event, MessageReceived)
    assert (event.mtype, event.msg, event.attrs) == (30, "\u4f60\u597d hello", "{}")
    event, _ = golden("push-json-in-text-frame")
    assert isinstance(event, MessageReceived)
    assert (event.sender, event.msg) == (5, "\u6587")
    for mtype, is_file in ((40, True), (42, True), (51, False)):
        event, _ = golden(f"pushbroadcastmsg-mtype-{mtype}")
        assert isinstance(event, FileReceived) == is_file
        assert (event.kind, event.target, event.mtype) == (Conversation.BROADCAST, None, mtype)
        assert event.sender == SENDER
    event, _ = golden("pushmsg-mid-uint64-max")
    assert event.mid == 2**64 - 1


def test_a_file_push_whose_message_is_no_text_keeps_its_bytes() -> None:
    event, _ = golden("pushmsg-msg-bin-not-utf8")
    assert isinstance(event, FileReceived)
    assert (event.url, event.name, event.ext) == (None, None, "")
    assert event.msg.encode("utf-8", "surrogateescape") == b"\xff\xfe\x00"


@pytest.mark.parametrize(
    "vector",
    [vector for vector in vectors.js_sdk() if "push" in vector.name and vector.whole],
    ids=lambda vector: vector.name,
)
def test_every_golden_push_is_read(vector: vectors.Vector) -> None:
    for package in packages_in(vector.data):
        method = package.method.decode()
        if method in PUSHES:
            read = decode_json if package.flag & FLAG_JSON else decode
            event, _ = parse_push(method, read(package.payload), UID)
            assert event.mid and event.mtime


# --- the parts -------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "kind"), PUSHES.items())
def test_each_push_has_its_kind_and_target(method: str, kind: Conversation) -> None:
    params = {**push(), "gid": 5, "rid": 6}
    event, _ = parse_push(method, params, UID)
    target = {"to": UID, "gid": 5, "rid": 6, "": None}[kind.value]
    assert event == replace(PLAIN, kind=kind, target=target)


@pytest.mark.parametrize("mtype", [*FILE_MTYPES, 0, 30, 31, 32, 39, 51, 127, -1, 2**40])
def test_the_mtype_says_whether_it_is_a_file(mtype: int) -> None:
    event, _ = parse_push("pushmsg", push(mtype=mtype), UID)
    assert event.mtype == mtype
    assert isinstance(event, FileReceived) == (40 <= mtype <= 50)


def test_the_mtypes_of_files() -> None:
    mtypes = {kind.name: kind.value for kind in FileType}
    assert mtypes == {"IMAGE": 40, "AUDIO": 41, "VIDEO": 42, "FILE": 50}
    assert set(mtypes.values()) <= set(FILE_MTYPES)


def test_a_broadcast_has_no_target_whatever_it_carries() -> None:
    event, _ = parse_push("pushbroadcastmsg", {**push(), "": 5}, UID)
    assert event.target is None


def test_text_that_is_no_strict_json_is_read_up_to_a_limit() -> None:
    assert MAX_LOOSE == 64 * 1024
    head, tail = '{"url":"U","more":NaN', "}"
    msg = head + " " * (MAX_LOOSE - len(head) - len(tail)) + tail
    assert file_in(msg=msg).url == "U"
    assert file_in(msg=msg + " ").url is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"from_": None}, Code.KEY_NOT_FOUND),
        ({"mtype": None}, Code.KEY_NOT_FOUND),
        ({"from_": "5"}, Code.TYPE_CONVERSION),
        ({"from_": 5.0}, Code.TYPE_CONVERSION),
        ({"from_": True}, Code.TYPE_CONVERSION),
        ({"from_": 2**63}, Code.TYPE_CONVERSION),
        ({"mtype": "40"}, Code.TYPE_CONVERSION),
        ({"mtype": b"("}, Code.TYPE_CONVERSION),
    ],
)
def test_without_sender_or_mtype_it_is_no_push(changes: dict[str, object], code: Code) -> None:
    with pytest.raises(PayloadError) as caught:
        parse_push("pushmsg", push(**changes), UID)
    assert caught.value.code == code


def test_everything_else_may_be_missing() -> None:
    event, attrs = parse_push("pushmsg", {"from": 5, "mtype": 40}, UID)
    assert event == FileReceived(
        kind=Conversation.P2P,
        sender=5,
        target=UID,
        mid=0,
        mtype=40,
        mtime=None,
        url=None,
        size=None,
        surl=None,
        name=None,
        ext="",
        custom=None,
        voice=None,
        msg="",
        attrs="",
    )
    assert attrs == FileAttrs()
    event, _ = parse_push("pushgroupmsg", {"from": 5, "mtype": 30}, UID)
    assert event == MessageReceived(Conversation.GROUP, 5, None, 0, 30, None, "", "")


@pytest.mark.parametrize("odd", ["x", 1.5, True, b"x", [1], {"a": 1}])
def test_everything_else_may_be_odd(odd: object) -> None:
    event = file_in(to=odd, mid=odd, mtime=odd)
    assert (event.target, event.mid, event.mtime, event.url) == (UID, 0, None, URL)
    event = file_in(attrs=odd)
    assert event.url == URL


@pytest.mark.parametrize(
    ("msg", "url", "size", "surl"),
    [
        ('{"url":"U","size":3}', "U", 3, None),
        ('{"url":"U","size":3,"surl":"S"}', "U", 3, "S"),
        ('{"url":"U"}', "U", None, None),
        ('{"url":"U","size":"3"}', "U", 3, None),
        ('{"url":"U","size":0}', "U", 0, None),
        ('{"url":"U","size":-3}', "U", None, None),
        ('{"url":"U","size":"-3"}', "U", None, None),
        ('{"url":"U","size":3.0}', "U", None, None),
        ('{"url":"U","size":true}', "U", None, None),
        ('{"url":"U","size":null,"surl":null}', "U", None, None),
        ('{"url":"U","size":9223372036854775808}', "U", None, None),
        ('{"url":"U","size":[],"surl":{}}', "U", None, None),
        ('{"url":"U","size":NaN}', "U", None, None),
        ('{"url":"U","size":1e999}', "U", None, None),
        ('{"url":"U","more":' + "9" * 4000 + "}", "U", None, None),
        ('{"url":"U","more":[' + "0," * MAX_NODES + "0]}", "U", None, None),
        ('{"url":"U","more":' + "[" * DEEP + "]" * DEEP + "}", "U", None, None),
        ('{"url":"U","url":"V"}', "V", None, None),
        ('{"url":"a\\ud800b","surl":"a\udc80b"}', "a\ufffdb", None, "a\ufffdb"),
        ('{"url":"a\\ud800b","size":NaN}', "a\ufffdb", None, None),
        ('{"url":5}', None, None, None),
        ('{"size":3,"surl":"S"}', None, 3, "S"),
        ('["U"]', None, None, None),
        ('"U"', None, None, None),
        ("null", None, None, None),
        ("", None, None, None),
        ("U", None, None, None),
        ('{"url":"U"', None, None, None),
        ('{"url":"U","more":' + "9" * 5000 + "}", None, None, None),
        ('{"url":"U","more":[' + "0," * MAX_LOOSE + "0]}", None, None, None),
        ("[" * 60_000, None, None, None),
        ("[" * 200_000, None, None, None),
        ("http://h/x", "http://h/x", None, None),
        ("https://h/x?a=b#c", "https://h/x?a=b#c", None, None),
        ("https://h/\udc80", "https://h/\ufffd", None, None),
        ("ftp://h/x", None, None, None),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_url_is_found_wherever_there_is_one(
    msg: str, url: str | None, size: int | None, surl: str | None
) -> None:
    event = file_in(msg=msg)
    assert (event.url, event.size, event.surl) == (url, size, surl)
    assert event.msg == msg
    assert file_in(msg=msg.encode("utf-8", "surrogateescape")) == event


@pytest.mark.parametrize(
    ("url", "attrs", "name", "ext"),
    [
        ("https://h/x/photo.png", "", "photo.png", "png"),
        ("https://h/x/photo.png?sig=a/b.gif#c/d", "", "photo.png", "png"),
        ("https://h/photo.png#c.gif", "", "photo.png", "png"),
        ("https://h/x://photo.png", "", "photo.png", "png"),
        ("https://h/my%20cat%C3%BC.png", "", "my cat\u00fc.png", "png"),
        ("https://h/x%2F..%2Fpasswd", "", "passwd", ""),
        ("https://h/%2e%2e", "", None, ""),
        ("https://h/%ff%00a", "", "\ufffda", ""),
        ("https://h/x/", "", None, ""),
        ("https://h.example", "", None, ""),
        ("https://h.example/", "", None, ""),
        ("https://h.example?a.png", "", None, ""),
        ("https://h/photo", '{"rtm":{"ext":"png"}}', "photo", "png"),
        ("https://h/photo.png", '{"rtm":{"ext":""}}', "photo.png", ""),
        ("https://h/photo.png", '{"rtm":{"ext":null}}', "photo.png", "png"),
        ("https://h/1", '{"rtm":{"filename":"cat.gif","ext":"gif"}}', "cat.gif", "gif"),
        ("https://h/1", '{"rtm":{"filename":"cat.gif"}}', "cat.gif", "gif"),
        ("https://h/1", '{"filename":"../cat.gif"}', "cat.gif", "gif"),
        ("https://h/1", '{"rtm":{"filename":"..","ext":"../../x"}}', "1", "x"),
        ("https://h/1", "not json", "1", ""),
    ],
)
def test_a_file_has_the_senders_name_or_the_urls(
    url: str, attrs: str, name: str | None, ext: str
) -> None:
    event = file_in(msg=url, attrs=attrs)
    assert (event.name, event.ext, event.attrs) == (name, ext, attrs)


def test_the_rest_of_the_attrs_is_handed_on() -> None:
    text = (
        '{"rtm":{"type":"audiomsg","codec":"AMR_WB","lang":"zh","duration":1500,"srate":16000},'
        '"custom":{"a":1},"excludedUids":["5"]}'
    )
    event, attrs = parse_push("pushmsg", push(attrs=text), UID)
    assert isinstance(event, FileReceived)
    assert event.voice == VoiceInfo("AMR_WB", "zh", 1500, 16000)
    assert event.custom == {"a": 1}
    assert attrs.excluded_uids == frozenset({5})


@pytest.mark.parametrize(
    ("msg", "shown"),
    [
        ("text", "text"),
        (b"bytes", b"bytes"),
        (b"\xff", b"\xff"),
        ("a\udcffb", b"a\xffb"),
        (None, ""),
        (5, ""),
    ],
)
def test_a_message_is_text_or_bytes(msg: object, shown: str | bytes) -> None:
    event, _ = parse_push("pushmsg", push(mtype=30, msg=msg), UID)
    assert isinstance(event, MessageReceived)
    assert event.msg == shown


wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=20)
    | st.sampled_from([PLAIN.msg, URL, '{"rtm":{"ext":"a"}}', "\udcff", '{"url":"\udc80"}']),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(
    method=st.sampled_from(sorted(PUSHES)),
    params=st.dictionaries(
        st.sampled_from(["to", "gid", "rid", "mid", "msg", "attrs", "mtime", "more"]), wild
    ),
    mtype=st.integers(38, 52) | wild,
    sender=st.integers(-(2**63), 2**63 - 1) | wild,
)
def test_every_push_is_an_event_or_a_payload_error(
    method: str, params: dict[str, object], mtype: object, sender: object
) -> None:
    params = decode(encode({**params, "mtype": mtype, "from": sender}))
    try:
        event, _ = parse_push(method, params, UID)
    except PayloadError:
        assert (
            type(mtype) is not int
            or type(sender) is not int
            or sender > 2**63 - 1
            or (mtype > 2**63 - 1)
        )
        return
    msg = params.get("msg")
    if isinstance(msg, str) and isinstance(event, FileReceived):
        assert event.msg == msg
    if isinstance(event, FileReceived):
        for text in (event.url, event.surl, event.name, event.ext):
            assert text is None or text.encode() is not None
        if msg in (PLAIN.msg, URL):
            assert event.url == URL


def test_after_a_disconnection_nothing_follows_unless_it_says_so() -> None:
    reason = CloseReason(CloseKind.PEER_CLOSED)
    assert Disconnected(reason) == Disconnected(reason, again=False)
    assert Disconnected(reason) != Disconnected(reason, again=True)
