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

from rtm_proto.attrs import MAX_ATTRS, file_sign, write_attrs
from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.gate.decisions import (
    BODY_LIFE,
    MAX_FILE,
    MAX_MEMBERS,
    MAX_QUEST,
    MAX_RECEIVERS,
    MAX_ROOMS,
    MID_BOUND,
    MID_WINDOW,
    Action,
    Answer,
    Body,
    Decisions,
    Limits,
    Part,
    Push,
    Refuse,
    Visitor,
)
from rtm_proto.gate.store import (
    DropBody,
    Effect,
    MemoryStore,
    SaveFile,
    SaveMembers,
    StoredMessage,
    WriteBody,
)
from rtm_proto.payload import decode, encode
from rtm_proto.received import Conversation
from rtm_proto.signs import call_sign
from tests.fuzz.footprint import footprint
from tests.vectors import Vector, js_sdk

PID = 11000001
USERS = {1001: "token-1", 1002: "token-2", 1003: "token-3", 654321: "token-a"}
ENDPOINT = "127.0.0.1:13461"
WALL = 1_700_000_000_000  # milliseconds
FILE = b"what is in the file"
KINDS = {"sendfile": "to", "sendgroupfile": "gid", "sendroomfile": "rid"}
SECRET = "the project's secret"


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
            "secret": SECRET,
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


def test_the_limits_are_what_is_written_of_them() -> None:
    assert (MAX_FILE, MAX_QUEST, BODY_LIFE) == (5_242_880, 65_536, 600.0)
    assert (MID_WINDOW, MID_BOUND) == (1800.0, 1_000_000)
    assert (MAX_ROOMS, MAX_MEMBERS, MAX_RECEIVERS) == (10, 2000, 2000)
    assert Limits() == Limits(MAX_FILE, MAX_ATTRS, MAX_ROOMS, MAX_MEMBERS, MAX_RECEIVERS)


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


def test_any_uid_above_0_may_be_a_user(hall: Hall) -> None:
    assert answer(hall.ask(Visitor("v"), "auth", auth(uid=1))) == {"ok": False}


def test_a_token_may_come_as_bytes(hall: Hall) -> None:
    assert answer(hall.ask(Visitor("v"), "auth", auth(token=b"token-1"))) == {"ok": True}


def test_nobody_logs_in_as_a_user_that_there_is_not(hall: Hall) -> None:
    for token in ("", "token-1", "None", "XX"):
        visitor = Visitor("v")
        assert answer(hall.ask(visitor, "auth", auth(uid=5, token=token))) == {"ok": False}
        assert visitor.uid is None


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
    assert part == Part(alice, CloseReason(CloseKind.LOCAL, "bye"))
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
        ("gettoken", {"uid": 1}),
        ("kickout", {"uid": 1}),
        ("kickout", {"uid": 1, "pid": PID, "salt": 1, "sign": None}),
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


# --- a large file, that came piece by piece ---


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


# --- what is known before the file has come ---


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


@pytest.mark.parametrize("mid", [1, 2**63 - 1])
def test_a_mid_is_any_int64_above_0(hall: Hall, alice: Visitor, mid: int) -> None:
    assert hall.send(alice, mid=mid) == []
    hall.carry_out()
    assert hall.store.messages()[0].mid == mid


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


def test_what_was_kept_just_half_an_hour_before_a_restart_is_a_duplicate(
    hall: Hall, alice: Visitor
) -> None:
    hall.send(alice)
    hall.carry_out()
    again = Hall(messages=hall.store.messages())
    again.wall = WALL + int(MID_WINDOW * 1000)
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID


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
    again.now += MID_WINDOW
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID


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
    hall.log_in(654321, "no member")
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


def test_a_group_and_a_room_may_have_the_number_of_their_sender(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 1001, [1001])
    assert hall.send(alice, "sendgroupfile", gid=1001) == []
    answer(hall.ask(alice, "enterroom", {"rid": 1001}))
    assert hall.send(alice, "sendroomfile", rid=1001) == []


def test_who_has_left_sends_to_no_room(hall: Hall, alice: Visitor) -> None:
    answer(hall.ask(alice, "enterroom", {"rid": 5}))
    quest = hall.quest(alice, "sendroomfile", rid=5)
    hall.decisions.left(alice)
    assert code(hall.ask(hall.files, "sendroomfile", quest)) == Code.NOT_IN_ROOM


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


def test_a_room_that_everybody_has_left_takes_no_memory(hall: Hall, alice: Visitor) -> None:
    def visit(rid: int) -> int:
        answer(hall.ask(alice, "enterroom", {"rid": rid}))
        answer(hall.ask(alice, "leaveroom", {"rid": rid}))
        return footprint(hall.decisions)

    before = visit(1)
    assert max(visit(rid) for rid in range(2, 50)) <= before + 100


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
    assert repr(said) == f"Answer(visitor={alice!r}, quest_id={said.quest_id})"


def test_no_repr_shows_what_is_in_a_file() -> None:
    body = Body("key", 6, "digest", 0, b"secret")
    assert repr(body) == "Body(key='key', size=6, digest='digest', written=0)"


# --- servers ---


@pytest.fixture
def server() -> Visitor:
    return Visitor("server")


def signed(hall: Hall, method: str, **params: Any) -> dict[str, Any]:
    """*params* with a sign of its own, as a server sends them."""
    salt, ts = next(hall.quests), hall.wall // 1000
    sign = call_sign(PID, SECRET, salt, method, ts)
    return {"pid": PID, "salt": salt, "ts": ts, "sign": sign, **params}


def call(hall: Hall, server: Visitor, method: str, **params: Any) -> list[Action]:
    return hall.ask(server, method, signed(hall, method, **params))


def serve(
    hall: Hall, server: Visitor, cmd: str, sender: int = 1001, **changes: Any
) -> list[Action]:
    """A file quest of a server with a token of its own, right but for *changes*."""
    field = {"sendfiles": "tos", "broadcastfile": "", "uploadfile": "uid", **KINDS}[cmd]
    default = {"tos": [1002, 1003], "uid": sender}.get(field, 1002)
    target = {field: changes.get(field, default)} if field else {}
    asked = {} if cmd == "uploadfile" else target
    token = changes.get("token") or str(
        answer(call(hall, server, "filetoken", **{"cmd": cmd, "from": sender, **asked}))["token"]
    )
    params = {
        "pid": PID,
        "from": sender,
        **target,
        "mtype": 50,
        "mid": 77,
        "token": token,
        "file": FILE,
        "attrs": write_attrs("note.txt", file_sign(md5(FILE).hexdigest(), token)),
        **changes,
    }
    quest = {key: value for key, value in params.items() if value is not ...}
    return hall.ask(hall.files, cmd, quest)


@pytest.mark.parametrize("method", ["ping", "filetoken", "gettoken", "kickout"])
def test_a_signed_call_makes_a_server(hall: Hall, server: Visitor, method: str) -> None:
    params = {"cmd": "broadcastfile", "from": 1, "uid": 1}
    answer(call(hall, server, method, **params))
    assert (server.server, server.uid) == (True, None)
    hall.decisions.left(server)
    assert not server.server


@pytest.mark.parametrize("method", ["ping", "filetoken", "gettoken", "kickout"])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sign": "0" * 32}, Code.BAD_PROJECT_OR_SIGN),
        ({"pid": PID + 1}, Code.BAD_PROJECT_OR_SIGN),
        ({"ts": 5}, Code.BAD_PROJECT_OR_SIGN),
        ({"salt": "5"}, Code.TYPE_CONVERSION),
        ({"salt": None}, Code.TYPE_CONVERSION),
    ],
)
def test_who_signs_wrongly_is_no_server(
    hall: Hall, server: Visitor, method: str, changes: dict[str, Any], expected: int
) -> None:
    assert code(call(hall, server, method, uid=1, **changes)) == expected
    assert not server.server


def test_a_sign_is_good_for_one_call(hall: Hall, server: Visitor) -> None:
    params = signed(hall, "gettoken", uid=5)
    answer(hall.ask(server, "gettoken", params))
    assert code(hall.ask(server, "gettoken", params)) == Code.SAME_SIGN
    assert code(hall.ask(Visitor("thief"), "gettoken", {**params, "uid": 6})) == Code.SAME_SIGN


def test_a_clock_that_is_hours_off_is_told(hall: Hall, server: Visitor) -> None:
    params = signed(hall, "gettoken", uid=5)
    hall.wall += 3_600_000
    assert code(hall.ask(server, "gettoken", params)) == Code.CLOCK_MISMATCH


def test_every_call_of_a_server_needs_its_sign(hall: Hall, server: Visitor) -> None:
    answer(call(hall, server, "ping"))
    assert code(hall.ask(server, "gettoken", {"uid": 5})) == Code.NOT_LOGGED_IN
    assert code(hall.ask(server, "filetoken", {"cmd": "sendfile", "to": 5})) == 200022


@pytest.mark.parametrize("method", ["ping", "filetoken", "gettoken", "kickout"])
def test_without_a_secret_there_are_no_servers(server: Visitor, method: str) -> None:
    hall = Hall(secret=None)
    assert code(call(hall, server, method, uid=1)) == Code.METHOD_FORBIDDEN
    assert not server.server


def test_a_user_is_a_user_whatever_else_is_in_the_quest(hall: Hall, alice: Visitor) -> None:
    params = {"cmd": "sendfile", "to": 1002, "sign": "nonsense", "from": 1003}
    token = str(answer(hall.ask(alice, "filetoken", params))["token"])
    assert hall.send(alice, token=token) == []
    assert answer(hall.ask(alice, "ping", {"sign": "nonsense"})) == {}
    assert not alice.server


@pytest.mark.parametrize("method", ["gettoken", "kickout"])
def test_a_user_cannot_do_what_servers_do(hall: Hall, alice: Visitor, method: str) -> None:
    hall.log_in(1002)
    assert code(hall.ask(alice, method, {"uid": 1002})) == Code.METHOD_FORBIDDEN
    assert code(call(hall, alice, method, uid=1002)) == Code.METHOD_FORBIDDEN
    assert hall.decisions.kick(1002), "kicked"


def test_a_user_logs_in_with_the_token_that_a_server_got(hall: Hall, server: Visitor) -> None:
    tokens = [str(answer(call(hall, server, "gettoken", uid=5))["token"]) for _ in range(2)]
    assert len(set(tokens)) == 2
    assert answer(hall.ask(Visitor("v"), "auth", auth(uid=5, token=tokens[0])))["ok"] is False
    assert answer(hall.ask(Visitor("v"), "auth", auth(uid=6, token=tokens[1])))["ok"] is False
    for _ in range(2):
        assert answer(hall.ask(Visitor("v"), "auth", auth(uid=5, token=tokens[1])))["ok"] is True


def test_a_configured_token_stays_good_beside_it(hall: Hall, server: Visitor) -> None:
    token = str(answer(call(hall, server, "gettoken", uid=1001))["token"])
    for right in (token, "token-1"):
        assert answer(hall.ask(Visitor("v"), "auth", auth(token=right)))["ok"] is True
    assert answer(hall.ask(Visitor("v"), "auth", auth(token=token + "x")))["ok"] is False


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        (0, Code.INVALID_PARAMETER),
        (-5, Code.INVALID_PARAMETER),
        ("5", Code.TYPE_CONVERSION),
    ],
)
def test_nobody_gets_a_token_for_a_uid_that_cannot_log_in(
    hall: Hall, server: Visitor, uid: Any, expected: int
) -> None:
    assert code(call(hall, server, "gettoken", uid=uid)) == expected


def test_a_server_kicks_a_user(hall: Hall, server: Visitor, alice: Visitor) -> None:
    kick, part, said = call(hall, server, "kickout", uid=1001)
    assert isinstance(kick, Push) and (kick.visitor, kick.method) == (alice, "kickout")
    assert isinstance(part, Part) and isinstance(said, Answer) and said.visitor is server
    assert answer(call(hall, server, "kickout", uid=1001)) == {}, "who is away is kicked too"


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


def test_a_server_speaks_for_a_user_who_is_in_no_group_and_no_room(
    hall: Hall, server: Visitor
) -> None:
    bob = hall.log_in(1002, "bob")
    hall.store_group(bob, 5, [1002, 1003])
    answer(hall.ask(bob, "enterroom", {"rid": 5}))
    for cmd, push in (("sendgroupfile", "pushgroupmsg"), ("sendroomfile", "pushroommsg")):
        assert serve(hall, server, cmd, **{KINDS[cmd]: 5}) == []
        assert pushes(hall.carry_out()) == [("bob", push)]
    assert serve(hall, server, "sendfile") == []
    assert pushes(hall.carry_out()) == [("bob", "pushmsg")]
    assert {message.sender for message in hall.store.messages()} == {1001}


def test_what_was_granted_to_a_user_gives_no_more_rights_beside_a_server(
    hall: Hall, server: Visitor, alice: Visitor
) -> None:
    answer(call(hall, server, "ping"))
    assert code(hall.send(alice, "sendgroupfile", gid=5)) == Code.NOT_GROUP_MEMBER
    token = hall.token(alice, "sendroomfile", 5)
    answer(call(hall, server, "filetoken", **{"cmd": "sendroomfile", "from": 1001, "rid": 5}))
    assert code(hall.send(alice, "sendroomfile", rid=5, token=token)) == Code.NOT_IN_ROOM


def test_even_a_server_sends_nobody_a_file_of_his_own(hall: Hall, server: Visitor) -> None:
    assert code(serve(hall, server, "sendfile", to=1001)) == Code.SEND_TO_ONESELF
    assert code(serve(hall, server, "sendfiles", tos=[1002, 1001])) == Code.SEND_TO_ONESELF


# --- a file for many, for everybody, for nobody ---


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


def test_who_had_a_mid_is_left_out_of_a_second_sending(hall: Hall, server: Visitor) -> None:
    hall.log_in(1002, "bob")
    hall.log_in(1003, "carol")
    serve(hall, server, "sendfiles", tos=[1002])
    hall.carry_out()
    assert serve(hall, server, "sendfiles", tos=[1002, 1003]) == []
    said = hall.carry_out()
    assert "mtime" in answer(said) and pushes(said) == [("carol", "pushmsg")]
    assert code(serve(hall, server, "sendfiles", tos=[1003, 1002])) == Code.DUPLICATE_MID
    assert code(serve(hall, server, "sendfile", to=1003)) == Code.DUPLICATE_MID
    assert len(hall.store.messages()) == 2


def test_a_mid_that_is_being_stored_for_one_of_several_is_to_be_tried_again(
    hall: Hall, server: Visitor
) -> None:
    serve(hall, server, "sendfiles", tos=[1002])
    refused = serve(hall, server, "sendfiles", tos=[1003, 1002])
    assert code(refused) == Code.WORK_QUEUE_FULL
    hall.carry_out()
    assert serve(hall, server, "sendfiles", tos=[1003, 1002]) == []


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


def test_a_broadcast_reaches_everybody_who_is_there_but_its_sender(
    hall: Hall, server: Visitor
) -> None:
    for uid in (1003, 1001, 1002):
        hall.log_in(uid, f"user {uid}")
    assert serve(hall, server, "broadcastfile") == []
    said = hall.carry_out()
    assert answer(said) == {"mtime": WALL}
    both = [("user 1002", "pushbroadcastmsg"), ("user 1003", "pushbroadcastmsg")]
    assert pushes(said) == both
    push = said[1]
    assert isinstance(push, Push)
    assert list(push.params) == ["from", "mid", "mtype", "msg", "attrs", "mtime"]
    [kept] = hall.store.messages()
    assert (kept.kind, kept.target) == (Conversation.BROADCAST, 0)
    assert code(serve(hall, server, "broadcastfile")) == Code.DUPLICATE_MID
    assert serve(hall, server, "broadcastfile", mid=78) == []


def test_a_broadcast_is_delivered_once_across_a_restart(hall: Hall, server: Visitor) -> None:
    serve(hall, server, "broadcastfile")
    hall.carry_out()
    again = Hall(messages=hall.store.messages())
    assert code(serve(again, server, "broadcastfile")) == Code.DUPLICATE_MID


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
    "pid uid token cmd to gid rid tos uids from mid mtype file attrs endpoint salt ts sign".split()
)
methods = st.sampled_from(
    "auth bye ping filetoken sendfile sendgroupfile sendroomfile enterroom leaveroom "
    "addgroupmembers delgroupmembers sendfiles broadcastfile uploadfile gettoken kickout "
    "nonsense".split()
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
