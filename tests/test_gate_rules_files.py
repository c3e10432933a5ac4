"""Files at the gate: tokens, each refusal with its code and in its order, the shapes of SDKs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from hashlib import md5
from typing import Any

import pytest

from rtm_proto.attrs import file_sign, write_attrs
from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.actions import HEAD
from rtm_proto.gate.decisions import (
    BODY_LIFE,
    MAX_FILE,
    MAX_RECEIVERS,
    Answer,
    Body,
    Limits,
    Push,
    Refuse,
    Visitor,
)
from rtm_proto.gate.limits import Rate
from rtm_proto.gate.links import Links
from rtm_proto.gate.store import (
    DropBody,
    SaveFile,
    WriteBody,
)
from rtm_proto.payload import decode, encode
from rtm_proto.received import Conversation
from tests.hall import (
    ENDPOINT,
    FILE,
    KINDS,
    PID,
    WALL,
    Hall,
    answer,
    call,
    code,
    golden,
    pushes,
    quests,
    serve,
)
from tests.vectors import Vector, js_sdk


def test_a_token_is_issued_for_each_of_the_three_commands(hall: Hall, alice: Visitor) -> None:
    issued = {hall.token(alice, cmd, 5) for cmd in KINDS}
    assert len(issued) == 3


def test_the_names_of_the_cpp_server_sdk_are_taken_for_tokens(hall: Hall, alice: Visitor) -> None:
    token = str(answer(hall.ask(alice, "filetoken", {"cmd": "GroupFile", "gid": 5}))["token"])
    hall.store_group(alice, 5, [1001, 1002])
    hall.send(alice, "sendgroupfile", token=token, gid=5)
    assert "mtime" in answer(hall.carry_out())
    refused = hall.ask(alice, "filetoken", {"cmd": "BroadcastFile"})
    assert code(refused) == Code.METHOD_FORBIDDEN  # it is broadcastfile, which is for servers


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"cmd": "sendit", "to": 1}, Code.INVALID_PARAMETER),
        ({"cmd": "", "to": 1}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfiles", "tos": [1]}, Code.METHOD_FORBIDDEN),
        ({"cmd": "sendfiles"}, Code.METHOD_FORBIDDEN),
        ({"cmd": "broadcastfile"}, Code.METHOD_FORBIDDEN),
        ({"cmd": "sendfile"}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfile", "to": None}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfile", "gid": 5, "rid": 5}, Code.INVALID_PARAMETER),
        ({"to": 5}, Code.KEY_NOT_FOUND),
        ({"cmd": 5, "to": 5}, Code.TYPE_CONVERSION),
        ({"cmd": "sendfile", "to": "5"}, Code.TYPE_CONVERSION),
        ({"cmd": "sendfile", "to": 5.0}, Code.TYPE_CONVERSION),
        ({"cmd": "sendfile", "to": 2**64 - 1}, Code.TYPE_CONVERSION),
        ({"cmd": "sendroomfile", "rid": [5]}, Code.TYPE_CONVERSION),
    ],
)
def test_a_wrong_filetoken_is_refused(
    hall: Hall, alice: Visitor, params: dict[str, object], expected: int
) -> None:
    assert code(hall.ask(alice, "filetoken", params)) == expected


def test_targets_that_the_command_does_not_need_are_ignored(hall: Hall, alice: Visitor) -> None:
    """The Python server SDK names the same id as to, rid and gid."""
    params = {"cmd": "sendfile", "to": 1002, "gid": 1002, "rid": 1002, "tos": None}
    token = str(answer(hall.ask(alice, "filetoken", params))["token"])
    hall.send(alice, token=token)
    assert "mtime" in answer(hall.carry_out())


def test_a_file_is_stored_then_answered_then_pushed(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002, "bob")
    assert hall.send(alice) == [], "answered before it was stored"
    said, push = hall.carry_out()
    assert isinstance(said, Answer) and said.visitor is hall.files
    assert said.params == {"mtime": WALL}
    assert isinstance(push, Push) and push.visitor is bob and not push.oneway
    assert push.method == "pushmsg"
    assert list(push.params) == ["from", "to", "mid", "mtype", "msg", "attrs", "mtime"]
    [kept] = hall.store.messages()
    msg = json.loads(kept.msg)
    key = msg["url"].split("/")[-2]
    assert msg == {
        "url": f"http://127.0.0.1:13461/files/{key}/note.txt",
        "size": len(FILE),
    }
    stored = hall.store.find_file(key)
    assert stored is not None
    assert (stored.size, stored.digest) == (len(FILE), md5(FILE).hexdigest())
    assert (stored.name, stored.mtype) == ("note.txt", 50)
    assert hall.store.read_file(key, 0, len(FILE)) == FILE
    assert push.params == {
        "from": 1001,
        "to": 1002,
        "mid": 77,
        "mtype": 50,
        "msg": kept.msg,
        "attrs": kept.attrs,
        "mtime": WALL,
    }


IN_ORDER: list[tuple[str, dict[str, Any], int]] = [
    ("the file is too large", {"file": b"x" * (MAX_FILE + 1)}, Code.FILE_TOO_LARGE),
    ("the attrs are too large", {"attrs": '{"a":"' + "x" * 2048 + '"}'}, Code.FILE_TOO_LARGE),
    ("the attrs are no JSON", {"attrs": "{"}, Code.ATTRS_LACK_SIGN_OR_EXT),
    ("the attrs are no object", {"attrs": "[1]"}, Code.ATTRS_LACK_SIGN_OR_EXT),
    ("the attrs have no sign", {"attrs": '{"rtm":{"ext":"txt"}}'}, Code.ATTRS_LACK_SIGN_OR_EXT),
    ("the sign is empty", {"attrs": '{"rtm":{"sign":""}}'}, Code.ATTRS_LACK_SIGN_OR_EXT),
    ("the sign is a number", {"attrs": '{"rtm":{"sign":5}}'}, Code.ATTRS_LACK_SIGN_OR_EXT),
    ("the endpoint is elsewhere", {"endpoint": "evil:1"}, Code.BAD_FILE_SIGN_OR_TOKEN),
    ("the token is unknown", {"token": "f" * 32}, Code.BAD_FILE_SIGN_OR_TOKEN),
    ("the project is another", {"pid": PID + 1}, Code.BAD_FILE_SIGN_OR_TOKEN),
    ("the sender is another", {"from": 1002}, Code.BAD_FILE_SIGN_OR_TOKEN),
    ("the sign is wrong", {"attrs": '{"rtm":{"sign":"0"}}'}, Code.BAD_FILE_SIGN_OR_TOKEN),
    ("the sign is odd", {"attrs": '{"rtm":{"sign":"\\ud800"}}'}, Code.BAD_FILE_SIGN_OR_TOKEN),
    ("the mtype is no file's", {"mtype": 30}, Code.BAD_FILE_MTYPE),
    ("the mtype is above", {"mtype": 51}, Code.BAD_FILE_MTYPE),
    ("the mtype is text", {"mtype": "forty"}, Code.BAD_FILE_MTYPE),
    ("the mtype is long text", {"mtype": "0000000040"}, Code.BAD_FILE_MTYPE),
    ("the mtype is a float", {"mtype": 40.0}, Code.TYPE_CONVERSION),
    ("the mtype is true", {"mtype": True}, Code.TYPE_CONVERSION),
    ("the mtype is nil", {"mtype": None}, Code.TYPE_CONVERSION),
    ("the mtype is missing", {"mtype": ...}, Code.KEY_NOT_FOUND),
    ("it is sent to oneself", {"to": 1001}, Code.SEND_TO_ONESELF),
    ("the mid is 0", {"mid": 0}, Code.INVALID_PARAMETER),
    ("the mid is negative", {"mid": -5}, Code.INVALID_PARAMETER),
]


@pytest.mark.parametrize(("what", "changes", "expected"), IN_ORDER, ids=lambda x: str(x)[:30])
def test_a_wrong_file_quest_is_refused(
    hall: Hall, alice: Visitor, what: str, changes: dict[str, Any], expected: int
) -> None:
    assert code(hall.send(alice, **changes)) == expected
    assert hall.effects() == []


@pytest.mark.parametrize("first", range(len(IN_ORDER)))
def test_of_two_faults_the_first_in_the_documented_order_is_told(
    hall: Hall, alice: Visitor, first: int
) -> None:
    for _, later, _ in IN_ORDER[first + 1 :]:
        _, changes, expected = IN_ORDER[first]
        if set(later) & set(changes) or ("attrs" in changes and "file" in later):
            continue
        both = {**later, **changes}
        # a sign that is right for the other fault's file and token, where neither is about it
        assert code(hall.send(alice, **both)) == expected, later


@pytest.mark.parametrize("key", ["pid", "from", "to", "mid", "token", "attrs", "file"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (..., Code.KEY_NOT_FOUND),
        (None, Code.TYPE_CONVERSION),
        (1.5, Code.TYPE_CONVERSION),
        ({"type": "Buffer"}, Code.TYPE_CONVERSION),
        ([], Code.TYPE_CONVERSION),
        (True, Code.TYPE_CONVERSION),
    ],
)
def test_a_missing_or_mistyped_parameter_is_named(
    hall: Hall, alice: Visitor, key: str, value: Any, expected: int
) -> None:
    params = hall.quest(alice)
    params[key] = value
    params = {name: item for name, item in params.items() if item is not ...}
    [said] = hall.ask(hall.files, "sendfile", params)
    assert isinstance(said, Refuse)
    assert said.code == expected
    assert key in said.text


@pytest.mark.parametrize("key", ["pid", "from", "to", "mid"])
@pytest.mark.parametrize("value", [1002.0, "1002", b"1002", 2**63])
def test_an_id_that_is_no_int64_is_10010(
    hall: Hall, alice: Visitor, key: str, value: object
) -> None:
    params = {**hall.quest(alice), key: value}
    assert code(hall.ask(hall.files, "sendfile", params)) == Code.TYPE_CONVERSION


def test_the_limits_can_be_set(alice: Visitor) -> None:
    hall = Hall(limits=Limits(max_file=5, max_attrs=100))
    sender = hall.log_in(1001)
    assert hall.send(sender, file=b"12345") == []
    assert code(hall.send(sender, file=b"123456")) == Code.FILE_TOO_LARGE
    for size, expected in ((100, Code.BAD_FILE_SIGN_OR_TOKEN), (101, Code.FILE_TOO_LARGE)):
        attrs = json.dumps({"sign": "x" * (size - 12)})
        assert len(attrs) == size
        assert code(hall.send(sender, file=b"1", attrs=attrs)) == expected


@pytest.mark.parametrize(
    ("cmd", "other", "target"),
    [
        ("sendfile", "sendgroupfile", 1002),
        ("sendfile", "sendroomfile", 1002),
        ("sendroomfile", "sendgroupfile", 1002),
        ("sendfile", "sendfile", 1003),
    ],
)
def test_a_token_is_for_one_command_and_one_target(
    hall: Hall, alice: Visitor, cmd: str, other: str, target: int
) -> None:
    token = hall.token(alice, cmd, 1002)
    changes = {KINDS[other]: target, "token": token}
    assert code(hall.send(alice, other, **changes)) == Code.BAD_FILE_SIGN_OR_TOKEN


def test_a_token_is_for_one_user(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    token = hall.token(alice, target=1003)
    assert code(hall.send(bob, to=1003, token=token)) == Code.BAD_FILE_SIGN_OR_TOKEN
    assert hall.send(alice, to=1003, token=token) == []


def test_a_token_lives_sixty_seconds(hall: Hall, alice: Visitor) -> None:
    first, second = hall.token(alice), hall.token(alice)
    hall.now += 60
    assert hall.send(alice, token=first) == []
    hall.now += 0.5
    assert code(hall.send(alice, token=second)) == Code.BAD_FILE_SIGN_OR_TOKEN


def test_a_token_outlives_the_login_that_asked_for_it(hall: Hall, alice: Visitor) -> None:
    quest = hall.quest(alice)
    hall.decisions.left(alice)
    assert hall.ask(hall.files, "sendfile", quest) == []
    answer(hall.carry_out())


def test_a_token_is_spent_by_a_send(hall: Hall, alice: Visitor) -> None:
    token = hall.token(alice)
    hall.send(alice, token=token)
    hall.carry_out()
    assert code(hall.send(alice, token=token, mid=78)) == Code.BAD_FILE_SIGN_OR_TOKEN


def test_a_wrong_sign_does_not_spend_a_token(hall: Hall, alice: Visitor) -> None:
    token = hall.token(alice)
    code(hall.send(alice, token=token, attrs='{"sign":"0"}'))
    assert hall.send(alice, token=token) == []


@pytest.mark.parametrize(
    "changes", [{"mtype": 30}, {"to": 1001}, {"mid": 0}], ids=["mtype", "oneself", "mid"]
)
def test_a_token_is_spent_as_soon_as_its_sign_was_right_whatever_follows(
    hall: Hall, alice: Visitor, changes: dict[str, Any]
) -> None:
    target = changes.get("to", 1002)
    token = hall.token(alice, target=target)
    code(hall.send(alice, token=token, **changes))
    assert code(hall.send(alice, token=token, to=target)) == Code.BAD_FILE_SIGN_OR_TOKEN


def test_a_token_is_spent_although_the_mid_was_delivered_before(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    hall.carry_out()
    token = hall.token(alice)
    assert code(hall.send(alice, token=token)) == Code.DUPLICATE_MID
    assert code(hall.send(alice, token=token, mid=5)) == Code.BAD_FILE_SIGN_OR_TOKEN


LARGE = b"what has come before" + FILE


@pytest.fixture
def body(hall: Hall) -> Body:
    """A file of which all but FILE is in the store."""
    first = LARGE[: -len(FILE)]
    hall.store.carry_out(WriteBody(0, "k", first))
    return Body("k", len(LARGE), md5(LARGE).hexdigest(), len(first), FILE)


def large(hall: Hall, visitor: Visitor, body: Body, **changes: Any) -> dict[str, Any]:
    """A quest that is right for *body*, but for *changes*."""
    token = changes.get("token") or hall.token(visitor)
    attrs = write_attrs("note.txt", file_sign(body.digest, token))
    changes = {"token": token, "attrs": attrs, "file": body, **changes}
    return hall.quest(visitor, **changes)


def test_a_large_file_is_kept_whole_under_the_key_that_it_came_with(
    hall: Hall, alice: Visitor, body: Body
) -> None:
    assert hall.ask(hall.files, "sendfile", large(hall, alice, body)) == []
    [effect] = hall.decisions.effects
    assert isinstance(effect, SaveFile)
    assert (effect.file.key, effect.file.size, effect.rest) == ("k", len(LARGE), FILE)
    assert answer(hall.carry_out()) == {"mtime": WALL}
    stored = hall.store.find_file("k")
    assert stored is not None and stored.digest == md5(LARGE).hexdigest()
    assert hall.store.read_file("k", 0, len(LARGE)) == LARGE
    [message] = hall.store.messages()
    assert json.loads(message.msg) == {
        "url": "http://127.0.0.1:13461/files/k/note.txt",
        "size": len(LARGE),
    }


def test_the_sign_of_a_large_file_is_over_all_of_it(hall: Hall, alice: Visitor, body: Body) -> None:
    token = hall.token(alice)
    attrs = write_attrs("x", file_sign(md5(FILE).hexdigest(), token))
    quest = large(hall, alice, body, token=token, attrs=attrs)
    assert code(hall.ask(hall.files, "sendfile", quest)) == Code.BAD_FILE_SIGN_OR_TOKEN


def test_a_large_file_over_the_limit_is_refused_by_its_whole_size(body: Body) -> None:
    hall = Hall(limits=Limits(max_file=len(LARGE) - 1))
    quest = large(hall, hall.log_in(1001), body)
    assert code(hall.ask(hall.files, "sendfile", quest)) == Code.FILE_TOO_LARGE


@pytest.mark.parametrize("written", [0, 20])
@pytest.mark.parametrize(
    ("method", "changes", "expected"),
    [
        ("sendfile", {"mtype": 30}, Code.BAD_FILE_MTYPE),
        ("sendfile", {"token": "f" * 32}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ("sendfile", {"mid": "5"}, Code.TYPE_CONVERSION),
        ("sendgroupfile", {}, Code.KEY_NOT_FOUND),
        ("nonsense", {}, Code.UNKNOWN_METHOD),
        ("auth", {}, Code.KEY_NOT_FOUND),
        ("ping", {}, None),
    ],
)
def test_what_was_written_of_a_file_that_is_not_kept_is_dropped(
    hall: Hall,
    alice: Visitor,
    body: Body,
    method: str,
    changes: dict[str, Any],
    expected: int | None,
    written: int,
) -> None:
    body = Body("k", body.size, body.digest, written, LARGE[written:])
    said = hall.ask(hall.files, method, large(hall, alice, body, **changes))
    if expected is None:
        assert answer(said) == {}
    else:
        assert code(said) == expected
    if written == 0:
        assert hall.effects() == []
        return
    [effect] = hall.decisions.effects
    assert isinstance(effect, DropBody) and effect.key == "k"
    assert hall.carry_out() == [], "nobody waits for it"
    assert hall.decisions.held().effects == 0


def test_a_store_that_fails_at_the_end_of_a_large_file_has_forgotten_it_by_itself(
    hall: Hall, alice: Visitor, body: Body
) -> None:
    hall.ask(hall.files, "sendfile", large(hall, alice, body))
    assert code(hall.carry_out(StoreFault("no room"))) == Code.WORK_QUEUE_FULL
    assert hall.effects() == []


def test_one_large_file_being_kept_does_not_save_another(
    hall: Hall, alice: Visitor, body: Body
) -> None:
    hall.ask(hall.files, "sendfile", large(hall, alice, body))
    other = Body("other", body.size, body.digest, body.written, body.rest)
    assert code(hall.ask(hall.files, "sendfile", large(hall, alice, other))) == 20011
    _, dropped = hall.effects()
    assert isinstance(dropped, DropBody) and dropped.key == "other"


def test_what_else_the_store_is_at_does_not_save_a_large_file(
    hall: Hall, alice: Visitor, body: Body
) -> None:
    hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [1001]})
    assert code(hall.ask(hall.files, "sendfile", large(hall, alice, body, mtype=30)))
    change, dropped = hall.effects()
    assert isinstance(dropped, DropBody) and dropped.key == body.key
    assert 0 < change.effect_id < dropped.effect_id, "those below 0 are the gate's own"


def before(hall: Hall, method: str, params: Mapping[str, object], size: int = 5) -> int | None:
    """The code of the refusal, if there is one; nothing is said or asked of a store."""
    refusal = hall.decisions.refusal_before_body(method, params, size, now=hall.now)
    assert (hall.said(), hall.effects()) == ([], [])
    if refusal is None:
        return None
    assert refusal[1] and len(refusal[1]) < 200
    return refusal[0]


@pytest.mark.parametrize("cmd", KINDS)
def test_whatever_stands_before_a_good_file_nothing_is_wrong_with_it(
    hall: Hall, alice: Visitor, cmd: str
) -> None:
    quest = hall.quest(alice, cmd)
    del quest["file"]
    names = list(quest)
    for count in range(len(names) + 1):
        for some in itertools.combinations(names, count):
            assert before(hall, cmd, {name: quest[name] for name in some}) is None, some
    assert before(hall, cmd, quest, MAX_FILE) is None
    wrong = hall.send(alice, cmd, token=quest["token"], mtype=1)
    assert code(wrong) == Code.BAD_FILE_MTYPE, "the token was spent"


@pytest.mark.parametrize(
    ("method", "size", "changes", "expected"),
    [
        ("nonsense", 5, {}, Code.UNKNOWN_METHOD),
        ("auth", 5, {}, Code.INVALID_PACKAGE),
        ("ping", 5, {}, Code.INVALID_PACKAGE),
        ("filetoken", 5, {}, Code.INVALID_PACKAGE),
        ("sendfile", MAX_FILE + 1, {}, Code.FILE_TOO_LARGE),
        ("sendfile", MAX_FILE + 1, {"token": ...}, Code.FILE_TOO_LARGE),
        ("sendfile", 5, {"token": "f" * 32}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ("sendfile", 5, {"token": 5}, Code.TYPE_CONVERSION),
        ("sendfile", 5, {"pid": PID + 1}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ("sendfile", 5, {"from": 1002}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ("sendfile", 5, {"to": 1003}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ("sendfile", 5, {"to": 1003, "pid": ..., "from": ...}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ("sendfile", 5, {"to": "1002"}, Code.TYPE_CONVERSION),
        ("sendroomfile", 5, {"to": ...}, Code.BAD_FILE_SIGN_OR_TOKEN),
    ],
)
def test_what_is_wrong_before_the_file_is_refused_before_it(
    hall: Hall,
    alice: Visitor,
    method: str,
    size: int,
    changes: dict[str, Any],
    expected: int,
) -> None:
    quest = {
        key: value for key, value in {**hall.quest(alice), **changes}.items() if value is not ...
    }
    assert before(hall, method, quest, size) == expected


def test_a_quest_without_a_file_is_told_its_limit(hall: Hall) -> None:
    refusal = hall.decisions.refusal_before_body("auth", {}, 70_000, now=hall.now)
    text = "auth takes no file: its quest has at most 65,536 bytes"
    assert refusal == (Code.INVALID_PACKAGE, text)


def test_a_token_stays_good_while_a_slow_file_comes(hall: Hall, alice: Visitor) -> None:
    token = hall.token(alice)
    hall.now += 60
    assert before(hall, "sendfile", {"token": token}) is None
    hall.now += BODY_LIFE
    hall.send(alice, token=token)
    (answered,) = hall.carry_out()
    assert isinstance(answered, Answer)


def test_a_token_does_not_wait_for_ever_for_a_file(hall: Hall, alice: Visitor) -> None:
    token = hall.token(alice)
    assert before(hall, "sendfile", {"token": token}) is None
    hall.now += BODY_LIFE + 1
    assert code(hall.send(alice, token=token)) == Code.BAD_FILE_SIGN_OR_TOKEN


def test_a_spent_or_old_token_is_refused_before_the_file(hall: Hall, alice: Visitor) -> None:
    spent, old = hall.token(alice), hall.token(alice)
    hall.send(alice, token=spent)
    hall.carry_out()
    hall.now += 60
    assert before(hall, "sendfile", {"token": spent}) == Code.BAD_FILE_SIGN_OR_TOKEN
    hall.now += 0.5
    assert before(hall, "sendfile", {"token": old}) == Code.BAD_FILE_SIGN_OR_TOKEN


def sign(token: str) -> str:
    return file_sign(md5(FILE).hexdigest(), token)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ('{"rtm":{"sign":"%s","ext":"txt","filename":"a.txt"},"custom":{"x":1}}', "a.txt"),
        ('{"rtm":{"sign":"%s","ext":"txt"},"custom":""}', "file.txt"),
        ('{"rtm":{"sign":"%s","ext":null}}', "file"),
        ('{"rtm":{"sign":"%s","ext":""}}', "file"),
        ('{"rtm":{"sign":"%s"}}', "file"),
        ('{"rtm":{"sign":"%s","fileExtension":"png"}}', "file.png"),
        ('{"rtm":{"sign":"%s","ext":"txt","filename":"bare"}}', "bare.txt"),
        ('{"sign":"%s","ext":"jpg"}', "file.jpg"),
        ('{"sign":"%s","ext":"t.a/r? -"}', "file.r"),
        ('{"sign":"%s","ext":"jp\u00e9g"}', "file.jpg"),
        ('{"sign":"%s","ext":"abcdefghijklmnopqrst"}', "file.abcdefghijklmnop"),
        ('{"sign":"%s","ext":"jpg","custom":"mine","excludedUids":["1003"]}', "file.jpg"),
        ('{"sign":"%s","ext":"jpg","filename":"b.jpg"}', "b.jpg"),
        ('{"sign":"%s","fileExtension":"jpg"}', "file.jpg"),
        ('{"sign":"%s","ext":"../../etc/passwd","filename":"../../x\\u0000y"}', "xy.passwd"),
        ('{"rtm":{"sign":"%s","filename":".."}}', "file"),
        ('{"rtm":5,"sign":"%s","ext":"a"}', "file.a"),
    ],
)
def test_every_shape_of_attrs_is_understood(
    hall: Hall, alice: Visitor, shape: str, name: str
) -> None:
    hall.log_in(1002)
    token = hall.token(alice)
    text = shape.replace("%s", sign(token))
    assert hall.send(alice, token=token, attrs=text) == []
    [effect] = hall.decisions.effects
    assert isinstance(effect, SaveFile) and effect.file.name == name
    [push] = [said for said in hall.carry_out() if isinstance(said, Push)]
    pushed = json.loads(str(push.params["attrs"]))
    assert isinstance(pushed["rtm"], dict)
    if isinstance(json.loads(text).get("rtm"), dict):
        assert push.params["attrs"] == text
    else:
        assert pushed["rtm"] == json.loads(text)
        assert pushed.get("custom") == json.loads(text).get("custom")
        assert pushed.get("excludedUids") == json.loads(text).get("excludedUids")


def test_the_sign_of_old_javascript_counts(hall: Hall, alice: Visitor) -> None:
    token = hall.token(alice)
    old = file_sign(md5(FILE).hexdigest().upper(), token).upper()
    assert hall.send(alice, token=token, attrs=json.dumps({"sign": old, "ext": "x"})) == []


@pytest.mark.parametrize("size", [0, 1, 300])
def test_a_file_may_be_bin_or_str(hall: Hall, alice: Visitor, size: int) -> None:
    """The C++, PHP, Windows and Unreal SDKs send str, whatever the bytes are."""
    body = bytes(range(256)) * 2
    body = body[:size]
    text = body.decode("utf-8", "surrogateescape")
    digest = md5(body).hexdigest()
    for mid, file in enumerate((body, text), 1):
        token = hall.token(alice)
        attrs = write_attrs("x", file_sign(digest, token))
        assert hall.send(alice, token=token, attrs=attrs, file=file, mid=mid) == []
        [effect] = hall.decisions.effects
        assert isinstance(effect, SaveFile) and effect.rest == body
        hall.carry_out()


@pytest.mark.parametrize(("mtype", "meant"), [(40, 40), (50, 50), ("41", 41), ("050", 50)])
def test_an_mtype_may_be_decimal_text(
    hall: Hall, alice: Visitor, mtype: object, meant: int
) -> None:
    hall.send(alice, mtype=mtype)
    hall.carry_out()
    assert hall.store.messages()[0].mtype == meant


@pytest.mark.parametrize("mtype", ["\uff14\uff11", "+41", " 41", "4_1", "abc", "", "0041"])
def test_any_other_text_is_no_mtype(hall: Hall, alice: Visitor, mtype: str) -> None:
    assert code(hall.send(alice, mtype=mtype)) == Code.BAD_FILE_MTYPE


@pytest.mark.parametrize("endpoint", [ENDPOINT, ENDPOINT.encode(), None])
def test_an_endpoint_that_is_the_gates_own_is_fine(
    hall: Hall, alice: Visitor, endpoint: object
) -> None:
    assert hall.send(alice, endpoint=endpoint) == []


@pytest.mark.parametrize("method", ["sendfile", "sendgroupfile", "sendroomfile"])
def test_the_order_of_the_keys_does_not_matter(hall: Hall, alice: Visitor, method: str) -> None:
    hall.store_group(alice, 1002, [1001])
    answer(hall.ask(alice, "enterroom", {"rid": 1002}))
    params = hall.quest(alice, method)
    assert hall.ask(hall.files, method, dict(reversed(params.items()))) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"sign":"%s","x":"\\ud800"}',
        '{"sign":"%s","filename":"\\udcff\\ud800.txt"}',
        '{"sign":"%s","ext":"\\ud800"}',
        '{"sign":"%s","x":NaN}',
        '{"sign":"%s","x":1e999}',
        '{"sign":"%s","custom":1e999,"excludedUids":["1003"]}',
        '{"sign":"%s","x":' + "[" * 300 + "]" * 300 + "}",
        '{"sign":"%s","x":' + "[" * 900 + "]" * 900 + "}",
        '{"sign":"%s","x":"\udcff"}',
        '{"rtm":{"sign":"%s","filename":"\\ud800"}}',
        '{"rtm":{"sign":"%s","x":"\udcff"}}',
    ],
)
def test_whatever_is_in_the_attrs_the_push_can_be_written(
    hall: Hall, alice: Visitor, text: str
) -> None:
    hall.log_in(1002)
    token = hall.token(alice)
    said = hall.send(alice, token=token, attrs=text.replace("%s", sign(token)))
    if said:
        assert code(said) == Code.ATTRS_LACK_SIGN_OR_EXT
    for action in hall.carry_out():
        assert isinstance(action, (Answer, Push))
        assert decode(encode(action.params))
        if isinstance(action, Push):
            assert json.loads(str(action.params["attrs"]), parse_constant=pytest.fail)["rtm"]


JS_FILETOKENS = quests("filetoken")


JS_SENDS = [
    vector
    for vector in js_sdk()
    if len(vector.packages) == 1
    and vector.packages[0].kind == 1
    and vector.packages[0].method.decode() in KINDS
]


def test_there_are_golden_quests_of_every_kind() -> None:
    methods = {vector.packages[0].method for vector in JS_SENDS}
    assert methods == {b"sendfile", b"sendgroupfile", b"sendroomfile"}
    assert len(JS_FILETOKENS) > 5


@pytest.mark.parametrize("vector", JS_FILETOKENS, ids=lambda vector: vector.name)
def test_the_javascript_sdk_gets_its_tokens(hall: Hall, vector: Vector) -> None:
    _, params = golden(vector.name)
    assert isinstance(params, dict)
    target = params.get(KINDS[str(params["cmd"])]) if params.get("cmd") in KINDS else None
    said = hall.ask(hall.log_in(654321), "filetoken", params)
    if type(target) is int:
        assert answer(said)["endpoint"] == ENDPOINT
    elif target is None:
        assert code(said) == Code.INVALID_PARAMETER
    else:
        assert code(said) == Code.TYPE_CONVERSION


JS_ODD_SENDS = {
    # asked to send numbers where it should have been given Int64, or an mtype of no file
    "sendfile-mid-number-2": Code.TYPE_CONVERSION,
    "sendfile-mtype-2": Code.BAD_FILE_MTYPE,
}


JS_OTHER_SIGNS = ("sendfile-wrong-sign", "sendfile-token-bin-echoed")  # no md5 of what is there


@pytest.mark.parametrize("vector", JS_SENDS, ids=lambda vector: vector.name)
def test_what_the_javascript_sdk_sends_is_understood(hall: Hall, vector: Vector) -> None:
    """Its token was another gate's: with one of ours, and the sign for it, the file is sent."""
    name = vector.name.removesuffix("-chromium")
    method, params = golden(vector.name)
    sender = hall.log_in(654321)
    target, body = params[KINDS[method]], params["file"]
    assert isinstance(target, int) and isinstance(body, bytes)
    hall.store_group(sender, target, [654321])
    answer(hall.ask(sender, "enterroom", {"rid": target}))
    token = hall.token(sender, method, target)
    attrs = json.loads(str(params["attrs"]))
    inner = attrs["rtm"] if "rtm" in attrs else attrs
    if name not in JS_OTHER_SIGNS:
        assert inner["sign"] == file_sign(md5(body).hexdigest(), str(params["token"]))
    inner["sign"] = file_sign(md5(body).hexdigest(), token)
    mine = {**params, "token": token, "attrs": json.dumps(attrs), "endpoint": ENDPOINT}
    said = hall.ask(hall.files, method, mine)
    if name in JS_ODD_SENDS:
        assert code(said) == JS_ODD_SENDS[name]
        return
    assert said == []
    assert "mtime" in answer(hall.carry_out())
    again = hall.ask(hall.files, method, params)
    assert code(again) == Code.BAD_FILE_SIGN_OR_TOKEN


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"cmd": "sendit"}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfile"}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfiles"}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfiles", "tos": None}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfiles", "tos": []}, Code.EMPTY_PARAMETER),
        ({"cmd": "sendfiles", "tos": [2, 3, 2]}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfiles", "tos": list(range(5, 6 + MAX_RECEIVERS))}, Code.TOO_MANY_ITEMS),
        ({"cmd": "sendfiles", "tos": 5}, Code.TYPE_CONVERSION),
        ({"cmd": "sendfiles", "tos": ["5"]}, Code.TYPE_CONVERSION),
        ({"cmd": "broadcastfile", "from": None}, Code.TYPE_CONVERSION),
        ({"cmd": "broadcastfile", "from": ...}, Code.KEY_NOT_FOUND),
    ],
)
def test_a_wrong_filetoken_of_a_server_is_refused(
    hall: Hall, server: Visitor, params: dict[str, Any], expected: int
) -> None:
    quest = {key: v for key, v in {"from": 1, **params}.items() if v is not ...}
    assert code(call(hall, server, "filetoken", **quest)) == expected


def test_the_python_server_sdk_names_one_id_as_every_target(hall: Hall, server: Visitor) -> None:
    same = {"to": 1002, "rid": 1002, "gid": 1002}
    params = {"cmd": "sendgroupfile", "from": 1001, **same}
    token = str(answer(call(hall, server, "filetoken", **params))["token"])
    assert serve(hall, server, "sendgroupfile", token=token) == []


def test_a_file_for_several_is_kept_once_and_told_to_each(hall: Hall, server: Visitor) -> None:
    for uid in (1001, 1002, 1003):
        hall.log_in(uid, f"user {uid}")
    assert serve(hall, server, "sendfiles", tos=[1003, 9, 1002]) == []
    [effect] = hall.decisions.effects
    assert isinstance(effect, SaveFile)
    assert [message.target for message in effect.messages] == [1003, 9, 1002]
    assert len({(m.mid, m.mtime, m.msg, m.attrs) for m in effect.messages}) == 1
    said = hall.carry_out()
    assert answer(said) == {"mtime": WALL}
    assert pushes(said) == [("user 1003", "pushmsg"), ("user 1002", "pushmsg")]
    assert [a.params["to"] for a in said if isinstance(a, Push)] == [1003, 1002]


def test_a_file_for_as_many_as_may_be(hall: Hall, server: Visitor) -> None:
    tos = list(range(5000, 5000 + MAX_RECEIVERS))
    assert serve(hall, server, "sendfiles", tos=tos) == []
    answer(hall.carry_out())
    assert len(hall.store.messages()) == MAX_RECEIVERS
    few = Hall(limits=Limits(max_receivers=2))
    tos = [5, 6, 7]
    assert code(call(few, server, "filetoken", cmd="sendfiles", tos=tos)) == Code.KEY_NOT_FOUND
    asked = {"cmd": "sendfiles", "from": 1, "tos": tos}
    assert code(call(few, server, "filetoken", **asked)) == Code.TOO_MANY_ITEMS


@pytest.mark.parametrize("other", [[1002], [1003, 1002], [1002, 1003, 1004], [1002, 1004]])
def test_a_token_for_several_is_for_these(hall: Hall, server: Visitor, other: list[int]) -> None:
    asked = {"cmd": "sendfiles", "from": 1001, "tos": [1002, 1003]}
    token = str(answer(call(hall, server, "filetoken", **asked))["token"])
    refused = serve(hall, server, "sendfiles", token=token, tos=other)
    assert code(refused) == Code.BAD_FILE_SIGN_OR_TOKEN
    assert before(hall, "sendfiles", {"token": token, "tos": other}) == 200003
    assert before(hall, "sendfiles", {"token": token, "tos": []}) == Code.EMPTY_PARAMETER
    assert before(hall, "sendfiles", {"token": token, "tos": [1002, 1003]}) is None
    assert serve(hall, server, "sendfiles", token=token) == []


def test_an_uploaded_file_is_kept_and_nobody_is_told(hall: Hall, alice: Visitor) -> None:
    hall.log_in(1002)
    token = str(answer(hall.ask(alice, "filetoken", {"cmd": "uploadfile"}))["token"])
    assert serve(hall, Visitor("v"), "uploadfile", token=token, mid=...) == []
    said = hall.carry_out()
    params = answer(said)
    assert len(said) == 1 and params["size"] == len(FILE)
    key = str(params["url"]).split("/")[-2]
    assert params["url"] == f"http://127.0.0.1:13461/files/{key}/note.txt"
    assert hall.store.read_file(key, 0, len(FILE)) == FILE
    assert hall.store.messages() == []


def test_an_upload_may_be_repeated_each_time_it_is_another_file(
    hall: Hall, server: Visitor
) -> None:
    places: set[object] = set()
    for _ in range(2):
        assert serve(hall, server, "uploadfile") == []
        assert serve(hall, server, "uploadfile") == [], "while the first is being stored"
        places |= {a.params["url"] for a in hall.carry_out() if isinstance(a, Answer)}
    assert len(places) == 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"uid": 1002}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ({"uid": ...}, Code.KEY_NOT_FOUND),
        ({"uid": "1001"}, Code.TYPE_CONVERSION),
        ({"from": 1002}, Code.BAD_FILE_SIGN_OR_TOKEN),
        ({"mtype": 30}, Code.BAD_FILE_MTYPE),
    ],
)
def test_a_wrong_upload_is_refused(
    hall: Hall, server: Visitor, changes: dict[str, Any], expected: int
) -> None:
    assert code(serve(hall, server, "uploadfile", **changes)) == expected


def test_an_upload_is_everybodys_own(hall: Hall, alice: Visitor) -> None:
    params = {"cmd": "uploadfile", "uid": 1002, "to": 1002}
    token = str(answer(hall.ask(alice, "filetoken", params))["token"])
    assert before(hall, "uploadfile", {"token": token, "uid": 1002}) == 200003
    assert before(hall, "uploadfile", {"token": token, "uid": 1001}) is None


def test_what_could_not_be_uploaded_is_refused(hall: Hall, server: Visitor) -> None:
    serve(hall, server, "uploadfile")
    assert code(hall.carry_out(StoreFault("no room"))) == Code.WORK_QUEUE_FULL


def test_a_large_file_for_several_is_kept_once(hall: Hall, server: Visitor, body: Body) -> None:
    asked = {"cmd": "sendfiles", "from": 1001, "tos": [1002, 1003]}
    token = str(answer(call(hall, server, "filetoken", **asked))["token"])
    attrs = write_attrs("x", file_sign(body.digest, token))
    assert serve(hall, server, "sendfiles", token=token, attrs=attrs, file=body) == []
    answer(hall.carry_out())
    assert len(hall.store.messages()) == 2
    assert hall.store.read_file("k", 0, len(LARGE)) == LARGE


# --- what else is kept and told of a file ---


def test_a_file_has_an_owner_and_a_time(hall: Hall, alice: Visitor) -> None:
    hall.wall += 5
    hall.send(alice)
    [effect] = hall.effects()
    assert isinstance(effect, SaveFile)
    assert (effect.file.owner, effect.file.at) == (1001, WALL + 5)


def test_who_came_over_tls_is_told_the_endpoint_that_speaks_it() -> None:
    hall = Hall(tls_endpoint="files.test:13462")
    plain, secure = hall.log_in(1001), hall.log_in(1002)
    secure.tls = True
    for visitor, endpoint in ((plain, ENDPOINT), (secure, "files.test:13462")):
        found = answer(hall.ask(visitor, "filetoken", {"cmd": "sendfile", "to": 1003}))
        assert found["endpoint"] == endpoint
    for mid, endpoint in enumerate((ENDPOINT, "files.test:13462"), 1):
        assert hall.send(plain, mid=mid, endpoint=endpoint) == []
    assert code(hall.send(plain, mid=3, endpoint="other:1")) == Code.BAD_FILE_SIGN_OR_TOKEN


def test_an_upload_is_answered_with_a_link_that_is_good_now(server: Visitor) -> None:
    signs = Links(lambda: WALL, key="k" * 32, life=60.0)
    hall = Hall(links=signs)
    serve(hall, server, "uploadfile")
    place = answer(hall.carry_out())
    assert f"?until={WALL // 1000 + 60}&sign=" in str(place["url"])
    assert set(place) == {"url", "size"}


JPEG = b"\xff\xd8\xff\xe0" + bytes(60)


@pytest.mark.parametrize(
    ("file", "pictures", "told"),
    [(JPEG, True, True), (JPEG, False, False), (FILE, True, False), (b"", True, False)],
)
def test_a_message_tells_of_the_small_picture_of_an_image(
    file: bytes, pictures: bool, told: bool
) -> None:
    hall = Hall(pictures=pictures)
    hall.send(hall.log_in(1001), file=file)
    hall.carry_out()
    [message] = hall.store.messages()
    place = json.loads(message.msg)
    head, _, name = place["url"].rpartition("/")
    assert place.get("surl") == (f"{head}/thumbnail/{name}" if told else None)


@pytest.mark.parametrize(("mtype", "meant"), [(50, 40), ("50", 40), (41, 41), (49, 49)], ids=str)
def test_a_generic_file_may_be_something_specific(mtype: Any, meant: int) -> None:
    heads: list[bytes] = []

    def recognise(head: bytes) -> int | None:
        heads.append(head)
        return 40 if head.startswith(b"\xff\xd8") else None

    hall = Hall(recognise=recognise)
    alice = hall.log_in(1001)
    for mid, file in enumerate((JPEG, FILE), 1):
        hall.send(alice, mid=mid, mtype=mtype, file=file)
    picture, text = [effect for effect in hall.effects() if isinstance(effect, SaveFile)]
    assert (picture.file.mtype, picture.messages[0].mtype) == (meant, meant)
    assert (text.file.mtype, text.messages[0].mtype) == (int(mtype), int(mtype))
    assert heads == ([JPEG, FILE] if int(mtype) == 50 else [])


def test_a_file_is_known_by_its_beginning_however_it_has_come() -> None:
    heads: list[bytes] = []
    hall = Hall(recognise=heads.append)
    alice = hall.log_in(1001)
    data = bytes(range(256)) * 3
    hall.send(alice, file=data)
    body = Body("key-of-the-body", len(LARGE), md5(LARGE).hexdigest(), 20, LARGE[20:], LARGE[:9])
    params = large(hall, alice, body)
    assert hall.ask(hall.files, "sendfile", {**params, "mid": 78}) == []
    assert heads == [data[:HEAD], LARGE[:9]]


# --- rates ---


def test_a_file_is_counted_with_its_token(server: Visitor) -> None:
    hall = Hall(limits=Limits(user_files=Rate(1, 2), all_files=Rate(1, 3)))
    alice, bob = hall.log_in(1001), hall.log_in(1002)
    params = {"cmd": "sendfile", "to": 1003}
    tokens = [hall.token(alice, target=1003) for _ in range(2)]
    refused = hall.ask(alice, "filetoken", params)
    assert code(refused) == Code.RATE_LIMIT and "user_files: 1 a second" in str(refused[0])
    assert code(hall.ask(bob, "filetoken", {"cmd": "sendfile"})) == Code.INVALID_PARAMETER
    answer(hall.ask(bob, "filetoken", params))
    assert "all_files" in str(hall.ask(bob, "filetoken", params)[0])
    asked = {**params, "from": 1001}
    assert "all_files" in str(call(hall, server, "filetoken", **asked)[0])
    for mid, token in enumerate(tokens, 1):
        assert hall.send(alice, token=token, to=1003, mid=mid) == []
    hall.now += 1
    answer(call(hall, server, "filetoken", **asked))


@pytest.mark.parametrize(
    ("cmd", "kind"),
    [
        ("sendfile", Conversation.P2P),
        ("sendgroupfile", Conversation.GROUP),
        ("sendroomfile", Conversation.ROOM),
        ("sendfiles", Conversation.P2P),
        ("broadcastfile", Conversation.BROADCAST),
    ],
)
def test_each_command_makes_messages_of_its_kind(
    hall: Hall, server: Visitor, cmd: str, kind: Conversation
) -> None:
    assert serve(hall, server, cmd) == []
    [effect] = hall.effects()
    assert isinstance(effect, SaveFile)
    assert {message.kind for message in effect.messages} == {kind}
