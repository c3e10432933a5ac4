"""The gate's decisions: each refusal with its code and in its order, effects before answers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from hashlib import md5
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.attrs import file_sign, write_attrs
from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.events import CloseKind
from rtm_proto.gate.decisions import (
    MAX_FILE,
    MAX_MEMBERS,
    MAX_ROOMS,
    MID_WINDOW,
    Action,
    Answer,
    Decisions,
    Limits,
    Part,
    Push,
    Refuse,
    Visitor,
)
from rtm_proto.gate.store import (
    Effect,
    MemoryStore,
    SaveFile,
    SaveMembers,
    StoredMessage,
)
from rtm_proto.payload import decode, encode
from rtm_proto.received import Conversation
from tests.vectors import Vector, js_sdk

PID = 11000001
USERS = {1001: "token-1", 1002: "token-2", 1003: "token-3", 654321: "token-a"}
ENDPOINT = "127.0.0.1:13461"
WALL = 1_700_000_000_000  # milliseconds
FILE = b"what is in the file"
KINDS = {"sendfile": "to", "sendgroupfile": "gid", "sendroomfile": "rid"}


class Hall:
    """Decisions with the people who come to see them, a store and a clock."""

    def __init__(self, **settings: Any) -> None:
        self.now = 90_000.0  # a monotonic clock may begin anywhere
        self.wall = WALL
        self.store = MemoryStore()
        self.quests = itertools.count(1)
        numbers = itertools.count(1)
        settings = {
            "pid": PID,
            "users": USERS,
            "endpoint": ENDPOINT,
            "file_url": "http://127.0.0.1:13461/files",
            "wall_ms": lambda: self.wall,
            "make_token": lambda: f"{next(numbers):032x}",
            **settings,
        }
        self.decisions = Decisions(**settings)
        self.files = Visitor("a file link")

    def ask(self, visitor: Visitor, method: str, params: Mapping[str, object]) -> list[Action]:
        """What is said at once."""
        quest_id = next(self.quests)
        self.decisions.quest(visitor, quest_id, method, params, now=self.now)
        return self.said()

    def said(self) -> list[Action]:
        actions, self.decisions.actions = self.decisions.actions, []
        return actions

    def effects(self) -> list[Effect]:
        effects, self.decisions.effects = self.decisions.effects, []
        return effects

    def carry_out(self, fault: StoreFault | None = None) -> list[Action]:
        """What is said once the store has done, or failed, all that it was asked for."""
        for effect in self.effects():
            if fault is None:
                self.store.carry_out(effect)
            self.decisions.carried_out(effect, fault, now=self.now)
        return self.said()

    def log_in(self, uid: int, name: str = "") -> Visitor:
        visitor = Visitor(name or f"user {uid}")
        params = {"pid": PID, "uid": uid, "token": USERS[uid], "version": "test-1"}
        [*_, said] = self.ask(visitor, "auth", params)
        assert isinstance(said, Answer) and said.params == {"ok": True}
        return visitor

    def token(self, visitor: Visitor, cmd: str = "sendfile", target: int = 1002) -> str:
        params = answer(self.ask(visitor, "filetoken", {"cmd": cmd, KINDS[cmd]: target}))
        assert params["endpoint"] == ENDPOINT
        return str(params["token"])

    def send(self, visitor: Visitor, cmd: str = "sendfile", **changes: Any) -> list[Action]:
        """A file quest with a token of its own, everything right but for *changes*."""
        return self.ask(self.files, cmd, self.quest(visitor, cmd, **changes))

    def quest(self, visitor: Visitor, cmd: str = "sendfile", **changes: Any) -> dict[str, Any]:
        target = changes.get(KINDS[cmd], 1002)
        token = changes.get("token") or self.token(
            visitor, cmd, target if type(target) is int else 1002
        )
        body = changes.get("file", FILE)
        data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
        digest = md5(data if isinstance(data, bytes) else b"").hexdigest()
        params: dict[str, Any] = {
            "pid": PID,
            "from": visitor.uid,
            KINDS[cmd]: target,
            "mtype": 50,
            "mid": 77,
            "token": token,
            "file": body,
            "attrs": write_attrs("note.txt", file_sign(digest, token)),
            **changes,
        }
        return {key: value for key, value in params.items() if value is not ...}

    def store_group(self, visitor: Visitor, gid: int, uids: list[int]) -> None:
        assert self.ask(visitor, "addgroupmembers", {"gid": gid, "uids": uids}) == []
        answer(self.carry_out())


def answer(actions: list[Action]) -> dict[str, object]:
    """The params of the one answer among *actions*."""
    [said] = [action for action in actions if isinstance(action, (Answer, Refuse))]
    assert isinstance(said, Answer), said
    return dict(said.params)


def code(actions: list[Action]) -> int:
    """The code of the one refusal that *actions* are."""
    [said] = actions
    assert isinstance(said, Refuse), said
    assert said.text and len(said.text) < 200
    return said.code


def pushes(actions: list[Action]) -> list[tuple[str, str]]:
    return [(said.visitor.name, said.method) for said in actions if isinstance(said, Push)]


@pytest.fixture
def hall() -> Hall:
    return Hall()


@pytest.fixture
def alice(hall: Hall) -> Visitor:
    return hall.log_in(1001, "alice")


# --- logging in and out ---


def auth(**changes: Any) -> dict[str, Any]:
    params = {"pid": PID, "uid": 1001, "token": "token-1", "version": "test-1", **changes}
    return {key: value for key, value in params.items() if value is not ...}


def test_the_right_token_logs_in(hall: Hall) -> None:
    visitor = Visitor("v")
    assert answer(hall.ask(visitor, "auth", auth())) == {"ok": True}
    assert visitor.uid == 1001


@pytest.mark.parametrize("more", [{"lang": "en"}, {"attrs": {"a": "b"}}, {"ts": 5, "authv": 2}])
def test_what_else_an_sdk_says_of_itself_does_not_matter(hall: Hall, more: Any) -> None:
    assert answer(hall.ask(Visitor("v"), "auth", auth(**more))) == {"ok": True}
    assert answer(hall.ask(Visitor("v"), "auth", auth(version=...)))["ok"] is True


@pytest.mark.parametrize("token", ["", "token-2", "TOKEN-1", "token-1 ", "\udcff", b"token-2"])
def test_a_wrong_token_is_an_answer_and_no_error(hall: Hall, token: Any) -> None:
    visitor = Visitor("v")
    assert answer(hall.ask(visitor, "auth", auth(token=token))) == {"ok": False}
    assert visitor.uid is None
    assert answer(hall.ask(visitor, "auth", auth())) == {"ok": True}


def test_a_token_may_come_as_bytes(hall: Hall) -> None:
    assert answer(hall.ask(Visitor("v"), "auth", auth(token=b"token-1"))) == {"ok": True}


def test_nobody_logs_in_as_a_user_that_there_is_not(hall: Hall) -> None:
    assert answer(hall.ask(Visitor("v"), "auth", auth(uid=5, token="")))["ok"] is False
    assert answer(hall.ask(Visitor("v"), "auth", auth(uid=5)))["ok"] is False


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pid": PID + 1}, Code.BAD_PROJECT_OR_USER),
        ({"uid": 0}, Code.BAD_PROJECT_OR_USER),
        ({"uid": -1001}, Code.BAD_PROJECT_OR_USER),
        ({"pid": ...}, Code.KEY_NOT_FOUND),
        ({"uid": ...}, Code.KEY_NOT_FOUND),
        ({"token": ...}, Code.KEY_NOT_FOUND),
        ({"uid": None}, Code.TYPE_CONVERSION),
        ({"uid": "1001"}, Code.TYPE_CONVERSION),
        ({"uid": 1001.0}, Code.TYPE_CONVERSION),
        ({"uid": True}, Code.TYPE_CONVERSION),
        ({"uid": 2**63}, Code.TYPE_CONVERSION),
        ({"pid": 1.5}, Code.TYPE_CONVERSION),
        ({"token": 5}, Code.TYPE_CONVERSION),
    ],
)
def test_a_wrong_auth_is_refused(hall: Hall, changes: dict[str, Any], expected: int) -> None:
    assert code(hall.ask(Visitor("v"), "auth", auth(**changes))) == expected


def test_who_is_logged_in_cannot_log_in_again(hall: Hall, alice: Visitor) -> None:
    assert code(hall.ask(alice, "auth", auth())) == Code.ALREADY_LOGGED_IN
    assert code(hall.ask(alice, "auth", auth(uid=1002))) == Code.ALREADY_LOGGED_IN
    assert alice.uid == 1001


def test_a_second_login_kicks_the_first(hall: Hall, alice: Visitor) -> None:
    second = Visitor("second")
    kick, part, said = hall.ask(second, "auth", auth())
    assert isinstance(kick, Push) and isinstance(part, Part) and isinstance(said, Answer)
    assert (kick.visitor, kick.method, kick.params, kick.oneway) == (alice, "kickout", {}, True)
    assert (part.visitor, part.reason.kind) == (alice, CloseKind.KICKOUT)
    assert said.visitor is second
    hall.decisions.left(alice)
    assert second.uid == 1001
    assert hall.token(second)


def test_who_was_kicked_is_logged_in_no_more(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    answer(hall.ask(alice, "enterroom", {"rid": 9}))
    answer(hall.ask(bob, "enterroom", {"rid": 9}))
    hall.log_in(1001, "second")
    assert code(hall.ask(alice, "filetoken", {"cmd": "sendfile", "to": 1002})) == 200022
    hall.send(bob, "sendroomfile", rid=9)
    assert pushes(hall.carry_out()) == [], "the kicked link is still in the room"


def test_a_user_can_be_kicked_by_the_operator(hall: Hall, alice: Visitor) -> None:
    assert hall.decisions.kick(1001)
    assert [type(action) for action in hall.said()] == [Push, Part]
    assert not hall.decisions.kick(1001)
    assert not hall.decisions.kick(1002)
    assert hall.said() == []


def test_bye_is_answered_and_ends_the_login(hall: Hall, alice: Visitor) -> None:
    said, part = hall.ask(alice, "bye", {})
    assert isinstance(said, Answer) and said.params == {}
    assert isinstance(part, Part) and part.reason.kind is CloseKind.LOCAL
    assert not hall.decisions.kick(1001)
    assert code(hall.ask(alice, "enterroom", {"rid": 1})) == Code.NOT_LOGGED_IN


def test_bye_and_ping_need_no_login(hall: Hall) -> None:
    assert answer(hall.ask(Visitor("v"), "ping", {})) == {}
    assert answer(hall.ask(Visitor("v"), "bye", {"anything": 1})) == {}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("filetoken", {"cmd": "sendfile", "to": 1002}),
        ("filetoken", {}),
        ("enterroom", {"rid": 1}),
        ("leaveroom", {"rid": 1}),
        ("addgroupmembers", {"gid": 1, "uids": [1]}),
        ("delgroupmembers", {"gid": 1, "uids": [1]}),
    ],
)
def test_before_the_login_everything_else_is_200022(
    hall: Hall, method: str, params: dict[str, object]
) -> None:
    assert code(hall.ask(Visitor("v"), method, params)) == Code.NOT_LOGGED_IN


@pytest.mark.parametrize("method", ["", "sendit", "AUTH", "push", "_auth", "auth ", "x" * 255])
def test_an_unknown_method_is_20004(hall: Hall, method: str) -> None:
    [said] = hall.ask(Visitor("v"), method, {})
    assert isinstance(said, Refuse) and said.code == Code.UNKNOWN_METHOD


# --- tokens ---


def test_a_token_is_issued_for_each_of_the_three_commands(hall: Hall, alice: Visitor) -> None:
    issued = {hall.token(alice, cmd, 5) for cmd in KINDS}
    assert len(issued) == 3


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"cmd": "sendit", "to": 1}, Code.INVALID_PARAMETER),
        ({"cmd": "", "to": 1}, Code.INVALID_PARAMETER),
        ({"cmd": "sendfiles", "tos": [1]}, Code.INVALID_PARAMETER),
        ({"cmd": "broadcastfile"}, Code.INVALID_PARAMETER),
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


# --- a file quest: what is refused, and in which order ---


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
    attrs = json.dumps({"sign": "x" * 100})
    assert code(hall.send(sender, file=b"1", attrs=attrs)) == Code.FILE_TOO_LARGE


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


# --- the shapes that SDKs send ---


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


def golden(name: str) -> tuple[str, dict[str, object]]:
    """Method and params of a quest that the JavaScript SDK sent."""
    [vector] = [vector for vector in js_sdk() if vector.name == name]
    [package] = vector.packages
    return package.method.decode(), cast("dict[str, object]", package.payload)


def quests(*prefixes: str) -> list[Vector]:
    return [
        vector
        for vector in js_sdk()
        if vector.name.startswith(prefixes)
        and len(vector.packages) == 1
        and vector.packages[0].kind == 1
    ]


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


@pytest.mark.parametrize("name", ["auth", "auth-chromium"])
def test_the_javascript_sdk_logs_in(hall: Hall, name: str) -> None:
    method, params = golden(name)
    assert answer(hall.ask(Visitor("js"), method, params)) == {"ok": True}


def test_a_uid_that_the_javascript_sdk_was_given_as_text_is_10010(hall: Hall) -> None:
    assert code(hall.ask(Visitor("js"), *golden("auth-uid-string"))) == Code.TYPE_CONVERSION


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


def test_the_javascript_sdk_says_bye(hall: Hall) -> None:
    js = hall.log_in(654321)
    said, part = hall.ask(js, *golden("bye-chromium"))
    assert isinstance(said, Answer) and isinstance(part, Part)


# --- mids ---


def test_a_mid_that_was_delivered_is_200053(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    answer(hall.carry_out())
    assert code(hall.send(alice)) == Code.DUPLICATE_MID
    assert len(hall.store.messages()) == 1


def test_a_mid_counts_within_its_sender_kind_and_target(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    hall.store_group(alice, 1002, [1001])
    answer(hall.ask(alice, "enterroom", {"rid": 1002}))
    for sender, cmd, target in (
        (alice, "sendfile", 1002),
        (alice, "sendgroupfile", 1002),
        (alice, "sendroomfile", 1002),
        (alice, "sendfile", 1003),
        (bob, "sendfile", 1003),
    ):
        changes = {KINDS[cmd]: target}
        assert hall.send(sender, cmd, **changes) == []
        answer(hall.carry_out())
        assert code(hall.send(sender, cmd, **changes)) == Code.DUPLICATE_MID


def test_a_mid_is_remembered_for_half_an_hour(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    hall.carry_out()
    hall.now += MID_WINDOW
    assert code(hall.send(alice)) == Code.DUPLICATE_MID
    hall.now += 1
    assert hall.send(alice) == []


def test_a_refused_repeat_does_not_keep_a_mid_longer(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    hall.carry_out()
    hall.now += MID_WINDOW - 1
    code(hall.send(alice))
    hall.now += 2
    assert hall.send(alice) == []


def test_a_mid_that_is_being_stored_is_to_be_tried_again_later(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    assert code(hall.send(alice)) == Code.WORK_QUEUE_FULL
    assert hall.send(alice, mid=78) == []
    assert len(hall.effects()) == 2


def test_what_the_store_could_not_keep_is_refused_and_may_be_sent_again(
    hall: Hall, alice: Visitor
) -> None:
    hall.log_in(1002)
    hall.send(alice)
    assert code(hall.carry_out(StoreFault("no room"))) == Code.WORK_QUEUE_FULL
    assert hall.send(alice) == []
    assert pushes(hall.carry_out()) == [("user 1002", "pushmsg")]


@pytest.mark.parametrize("began", [0.0, 90_000.0, 1e9])
def test_a_mid_is_delivered_once_across_a_restart_wherever_the_clock_begins(
    hall: Hall, alice: Visitor, began: float
) -> None:
    hall.send(alice)
    hall.carry_out()
    again = Hall(messages=hall.store.messages())
    again.now = began
    again.wall = WALL + 60_000
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID
    again.now += MID_WINDOW - 60
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID
    again.now += 1
    assert again.send(again.log_in(1001)) == []


def test_what_was_kept_long_before_a_restart_is_no_duplicate(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    hall.carry_out()
    again = Hall(messages=hall.store.messages())
    again.wall = WALL + int(MID_WINDOW * 1000) + 1
    assert again.send(again.log_in(1001)) == []


def test_a_restart_with_the_clock_stepped_back_still_knows_its_mids(
    hall: Hall, alice: Visitor
) -> None:
    hall.send(alice)
    hall.carry_out()
    again = Hall(messages=hall.store.messages())
    again.wall = WALL - 3_600_000
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID
    again.send(again.log_in(1001), mid=5)
    assert answer(again.carry_out())["mtime"] == WALL + 1, "mtime must increase"


def test_mtime_strictly_increases_whatever_the_clock_does(hall: Hall, alice: Visitor) -> None:
    told: list[object] = []
    for mid, step in enumerate([0, 0, 5, -100, 0, 2000, -2000], 1):
        hall.wall += step
        hall.send(alice, mid=mid)
        told.append(answer(hall.carry_out())["mtime"])
    assert told == [WALL, WALL + 1, WALL + 5, WALL + 6, WALL + 7, WALL + 1905, WALL + 1906]


# --- who is told ---


def test_only_the_receiver_is_told_of_a_file(hall: Hall, alice: Visitor) -> None:
    hall.log_in(1002, "bob")
    hall.log_in(1003, "carol")
    hall.send(alice)
    assert pushes(hall.carry_out()) == [("bob", "pushmsg")]


def test_a_receiver_who_is_away_is_not_told_but_the_file_is_kept(
    hall: Hall, alice: Visitor
) -> None:
    hall.send(alice)
    assert "mtime" in answer(hall.carry_out())
    assert len(hall.store.messages()) == 1


def test_every_other_member_of_a_group_is_told(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 5, [1001, 1002, 1003, 1004])
    hall.log_in(1003, "carol")
    hall.log_in(1002, "bob")
    hall.send(alice, "sendgroupfile", gid=5)
    assert pushes(hall.carry_out()) == [("bob", "pushgroupmsg"), ("carol", "pushgroupmsg")]


def test_only_a_member_sends_to_a_group(hall: Hall, alice: Visitor) -> None:
    assert code(hall.send(alice, "sendgroupfile", gid=5)) == Code.NOT_GROUP_MEMBER
    hall.store_group(hall.log_in(1002), 5, [1002])
    assert code(hall.send(alice, "sendgroupfile", gid=5)) == Code.NOT_GROUP_MEMBER


def test_everybody_else_in_a_room_is_told(hall: Hall, alice: Visitor) -> None:
    for visitor in (alice, hall.log_in(1002, "bob"), hall.log_in(1003, "carol")):
        answer(hall.ask(visitor, "enterroom", {"rid": 5}))
    hall.send(alice, "sendroomfile", rid=5)
    assert pushes(hall.carry_out()) == [("bob", "pushroommsg"), ("carol", "pushroommsg")]


def test_only_who_is_in_a_room_sends_to_it(hall: Hall, alice: Visitor) -> None:
    assert code(hall.send(alice, "sendroomfile", rid=5)) == Code.NOT_IN_ROOM
    answer(hall.ask(hall.log_in(1002), "enterroom", {"rid": 5}))
    assert code(hall.send(alice, "sendroomfile", rid=5)) == Code.NOT_IN_ROOM


def test_who_has_left_a_room_is_in_it_no_more(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002, "bob")
    for visitor in (alice, bob):
        answer(hall.ask(visitor, "enterroom", {"rid": 5}))
        answer(hall.ask(visitor, "enterroom", {"rid": 5}))
    answer(hall.ask(bob, "leaveroom", {"rid": 5}))
    answer(hall.ask(bob, "leaveroom", {"rid": 5}))
    answer(hall.ask(bob, "leaveroom", {"rid": 6}))
    hall.send(alice, "sendroomfile", rid=5)
    assert pushes(hall.carry_out()) == []
    answer(hall.ask(alice, "leaveroom", {"rid": 5}))
    assert code(hall.send(alice, "sendroomfile", rid=5)) == Code.NOT_IN_ROOM


def test_rooms_end_with_the_connection(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002, "bob")
    for visitor in (alice, bob):
        for rid in range(3):
            answer(hall.ask(visitor, "enterroom", {"rid": rid}))
    hall.decisions.left(bob)
    hall.log_in(1002, "bob again")
    hall.send(alice, "sendroomfile", rid=2)
    assert pushes(hall.carry_out()) == []
    hall.decisions.left(alice)
    assert code(hall.send(hall.log_in(1001), "sendroomfile", rid=2)) == Code.NOT_IN_ROOM


def test_the_number_of_rooms_has_a_limit(hall: Hall, alice: Visitor) -> None:
    for rid in range(MAX_ROOMS):
        answer(hall.ask(alice, "enterroom", {"rid": rid}))
    assert code(hall.ask(alice, "enterroom", {"rid": 99})) == Code.TOO_MANY_ROOMS
    answer(hall.ask(alice, "enterroom", {"rid": 3}))
    answer(hall.ask(alice, "leaveroom", {"rid": 3}))
    answer(hall.ask(alice, "enterroom", {"rid": 99}))


@pytest.mark.parametrize("method", ["enterroom", "leaveroom"])
@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, Code.KEY_NOT_FOUND), ({"rid": "5"}, Code.TYPE_CONVERSION)],
)
def test_a_room_needs_its_rid(
    hall: Hall, alice: Visitor, method: str, params: dict[str, object], expected: int
) -> None:
    assert code(hall.ask(alice, method, params)) == expected


# --- groups ---


def test_a_membership_is_answered_once_it_is_kept(hall: Hall, alice: Visitor) -> None:
    assert hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [1001, 1002]}) == []
    assert code(hall.send(alice, "sendgroupfile", gid=5)) == Code.NOT_GROUP_MEMBER
    assert answer(hall.carry_out()) == {}
    assert hall.store.groups() == {5: frozenset({1001, 1002})}
    assert hall.ask(alice, "delgroupmembers", {"gid": 5, "uids": [1002, 9]}) == []
    assert answer(hall.carry_out()) == {}
    assert hall.store.groups() == {5: frozenset({1001})}


def test_a_membership_that_the_store_could_not_keep_is_as_before(
    hall: Hall, alice: Visitor
) -> None:
    hall.store_group(alice, 5, [1001])
    hall.ask(alice, "delgroupmembers", {"gid": 5, "uids": [1001]})
    assert code(hall.carry_out(StoreFault("no room"))) == Code.WORK_QUEUE_FULL
    assert hall.send(alice, "sendgroupfile", gid=5) == []
    assert hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [1002]}) == []


def test_one_change_of_a_group_at_a_time(hall: Hall, alice: Visitor) -> None:
    hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [1001]})
    for method in ("addgroupmembers", "delgroupmembers"):
        busy = hall.ask(alice, method, {"gid": 5, "uids": [1002]})
        assert code(busy) == Code.WORK_QUEUE_FULL
    assert hall.ask(alice, "addgroupmembers", {"gid": 6, "uids": [1001]}) == []
    assert len(hall.effects()) == 2


@pytest.mark.parametrize("method", ["addgroupmembers", "delgroupmembers"])
def test_only_a_member_changes_a_group(hall: Hall, alice: Visitor, method: str) -> None:
    hall.store_group(hall.log_in(1002), 5, [1002])
    refusal = hall.ask(alice, method, {"gid": 5, "uids": [1001]})
    assert code(refusal) == Code.NOT_GROUP_MEMBER


def test_the_number_of_members_has_a_limit(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 5, [1001, *range(5000, 5000 + MAX_MEMBERS - 1)])
    refusal = hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [9999]})
    assert code(refusal) == Code.GROUP_FULL
    assert hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [1001]}) == []


@pytest.mark.parametrize("method", ["addgroupmembers", "delgroupmembers"])
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"uids": [1]}, Code.KEY_NOT_FOUND),
        ({"gid": 5}, Code.KEY_NOT_FOUND),
        ({"gid": 5.0, "uids": [1]}, Code.TYPE_CONVERSION),
        ({"gid": 5, "uids": 1}, Code.TYPE_CONVERSION),
        ({"gid": 5, "uids": ["1"]}, Code.TYPE_CONVERSION),
        ({"gid": 5, "uids": [1, None]}, Code.TYPE_CONVERSION),
        ({"gid": 5, "uids": [2**63]}, Code.TYPE_CONVERSION),
    ],
)
def test_a_group_needs_its_gid_and_uids(
    hall: Hall, alice: Visitor, method: str, params: dict[str, object], expected: int
) -> None:
    assert code(hall.ask(alice, method, params)) == expected


def test_what_a_store_has_kept_is_there_after_a_restart() -> None:
    hall = Hall(groups={5: frozenset({1001, 1002})})
    hall.log_in(1002, "bob")
    hall.send(hall.log_in(1001), "sendgroupfile", gid=5)
    assert pushes(hall.carry_out()) == [("bob", "pushgroupmsg")]


# --- leaving in the middle ---


def test_a_sender_who_left_is_answered_all_the_same_and_the_receiver_is_told(
    hall: Hall, alice: Visitor
) -> None:
    """Whoever owns the connections knows that the answer has nowhere to go."""
    hall.log_in(1002, "bob")
    hall.send(alice)
    hall.decisions.left(hall.files)
    hall.decisions.left(alice)
    said = hall.carry_out()
    assert [type(action) for action in said] == [Answer, Push]
    assert pushes(said) == [("bob", "pushmsg")]
    assert code(hall.send(hall.log_in(1001))) == Code.DUPLICATE_MID


def test_an_effect_that_is_reported_twice_or_by_mistake_does_nothing(
    hall: Hall, alice: Visitor
) -> None:
    hall.send(alice)
    [effect] = hall.effects()
    hall.decisions.carried_out(effect, None, now=hall.now)
    assert len(hall.said()) == 1
    hall.decisions.carried_out(effect, StoreFault("late"), now=hall.now)
    hall.decisions.carried_out(SaveMembers(999, 1, frozenset()), None, now=hall.now)
    assert hall.said() == []


def test_leaving_twice_is_harmless(hall: Hall, alice: Visitor) -> None:
    hall.decisions.left(alice)
    hall.decisions.left(alice)
    hall.decisions.left(Visitor("never logged in"))
    assert hall.said() == []


def test_the_first_login_leaving_does_not_end_the_second(hall: Hall, alice: Visitor) -> None:
    second = hall.log_in(1001, "second")
    hall.decisions.left(alice)
    hall.send(hall.log_in(1002), to=1001)
    assert pushes(hall.carry_out()) == [("second", "pushmsg")]
    assert second.uid == 1001


def test_every_visitor_that_left_is_forgotten(hall: Hall) -> None:
    for _ in range(3):
        visitors = [hall.log_in(uid) for uid in (1001, 1002, 1003)]
        for visitor in visitors:
            answer(hall.ask(visitor, "enterroom", {"rid": 7}))
        hall.send(visitors[0], mid=next(hall.quests) + 1)
        hall.carry_out()
        for visitor in visitors:
            hall.decisions.left(visitor)
    held = hall.decisions.held()
    assert (held.logins, held.rooms, held.effects) == (0, 0, 0)


def test_no_repr_shows_a_token(hall: Hall, alice: Visitor) -> None:
    [said] = hall.ask(alice, "filetoken", {"cmd": "sendfile", "to": 1002})
    assert isinstance(said, Answer)
    assert str(said.params["token"]) not in repr(said)


# --- anything at all ---

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
keys = st.sampled_from(
    "pid uid token cmd to gid rid tos uids from mid mtype file attrs endpoint".split()
)
methods = st.sampled_from(
    "auth bye ping filetoken sendfile sendgroupfile sendroomfile enterroom leaveroom "
    "addgroupmembers delgroupmembers nonsense".split()
)


@given(st.lists(st.tuples(methods, st.dictionaries(keys, anything), st.booleans()), max_size=8))
def test_every_quest_is_answered_exactly_once_whatever_is_in_it(
    asked: list[tuple[str, dict[str, object], bool]],
) -> None:
    hall = Hall()
    visitors = [Visitor("outside"), hall.log_in(1001)]
    said: list[Action] = []
    for method, params, inside in asked:
        said += hall.ask(visitors[inside], method, params)
        said += hall.carry_out()
    answered = [a.quest_id for a in said if isinstance(a, (Answer, Refuse))]
    assert len(answered) == len(set(answered)) == len(asked)


def test_a_stored_message_of_another_kind_does_not_hinder_a_start() -> None:
    odd = StoredMessage(Conversation.BROADCAST, 1, 0, 5, 30, "", "", WALL + 9)
    hall = Hall(messages=[odd])
    hall.send(hall.log_in(1001))
    assert answer(hall.carry_out())["mtime"] == WALL + 10
