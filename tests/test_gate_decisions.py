"""The gate's decisions as a whole: methods, limits, visitors who leave, and anything at all."""

from __future__ import annotations

from dataclasses import replace
from hashlib import md5
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.attrs import MAX_ATTRS, file_sign, write_attrs
from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.actions import Asked, Method, Push, Who
from rtm_proto.gate.decisions import (
    BODY_LIFE,
    MAX_FILE,
    MAX_MEMBERS,
    MAX_MESSAGE,
    MAX_QUEST,
    MAX_RECEIVERS,
    MAX_ROOMS,
    MID_BOUND,
    MID_WINDOW,
    Action,
    Answer,
    Body,
    Limits,
    Refuse,
    Visitor,
)
from rtm_proto.gate.limits import Rate
from rtm_proto.gate.links import Links
from rtm_proto.gate.rules.files import SENDS
from rtm_proto.gate.store import (
    Delivered,
    DropBody,
    SaveFile,
    SaveRecord,
    Table,
)
from rtm_proto.payload import Params
from tests.fuzz.footprint import footprint
from tests.hall import PID, SECRET, USERS, WALL, Hall, answer, call, code


def test_the_limits_are_what_is_written_of_them() -> None:
    assert (MAX_FILE, MAX_QUEST, BODY_LIFE) == (5_242_880, 65_536, 600.0)
    assert (MID_WINDOW, MID_BOUND) == (1800.0, 1_000_000)
    assert (MAX_ROOMS, MAX_MEMBERS, MAX_RECEIVERS) == (10, 2000, 2000)
    limits = MAX_FILE, MAX_ATTRS, MAX_ROOMS, MAX_MEMBERS, MAX_RECEIVERS, MAX_MESSAGE
    assert Limits() == Limits(*limits)


@pytest.mark.parametrize("method", ["", "sendit", "AUTH", "push", "_auth", "auth ", "x" * 255])
def test_an_unknown_method_is_20004(hall: Hall, method: str) -> None:
    [said] = hall.ask(Visitor("v"), method, {})
    assert isinstance(said, Refuse) and said.code == Code.UNKNOWN_METHOD


def test_an_effect_that_is_reported_twice_or_by_mistake_does_nothing(
    hall: Hall, alice: Visitor
) -> None:
    hall.send(alice)
    [effect] = hall.effects()
    hall.decisions.carried_out(effect, None, None, now=hall.now)
    assert len(hall.said()) == 1
    hall.decisions.carried_out(effect, None, StoreFault("late"), now=hall.now)
    unknown = SaveRecord(999, Table.MEMBERS, 1, "[]")
    hall.decisions.carried_out(unknown, None, None, now=hall.now)
    assert hall.said() == []


def test_leaving_twice_is_harmless(hall: Hall, alice: Visitor) -> None:
    hall.decisions.left(alice)
    hall.decisions.left(alice)
    hall.decisions.left(Visitor("never logged in"))
    assert hall.said() == []


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
    "pid uid token cmd to gid rid tos uids from mid mtype file attrs endpoint salt ts sign "
    "ouid desc num begin end lastid mtypes clear msg blacks buid buids btime ce online".split()
)


methods = st.sampled_from([*Hall().decisions.methods, "nonsense"])
guests = st.integers(0, 2)


@given(
    st.lists(st.tuples(methods, st.dictionaries(keys, anything), guests), max_size=8),
    st.booleans(),
)
def test_every_quest_is_answered_exactly_once_whatever_is_in_it(
    asked: list[tuple[str, dict[str, object], int]], lenient: bool
) -> None:
    hall = Hall(limits=Limits(lenient_ids=lenient))
    visitors = [Visitor("outside"), hall.log_in(1001), Visitor("operator", operator=True)]
    said: list[Action] = []
    for method, params, who in asked:
        said += hall.do(visitors[who], method, params)
    answered = [a.quest_id for a in said if isinstance(a, (Answer, Refuse))]
    assert len(answered) == len(set(answered)) == len(asked)


# --- who may call what ---

USERS_ONLY = {"enterroom", "leaveroom", "getuserrooms", "getunread", "cleanunread"}
ANYBODYS = {"auth", "bye", "ping", *SENDS}


def test_every_method_says_who_may_call_it(hall: Hall) -> None:
    who = {name: method.who for name, method in hall.decisions.methods.items()}
    assert {name for name, each in who.items() if each is Who.ANYBODY} == ANYBODYS
    assert {name for name, each in who.items() if each is Who.USER} == USERS_ONLY
    assert all(name.islower() and name.isascii() for name in who)


def test_whoever_may_not_call_a_method_is_refused_before_anything_else(hall: Hall) -> None:
    alice = hall.log_in(1001)
    for name, method in hall.decisions.methods.items():
        if method.who is Who.ANYBODY:
            continue
        assert code(hall.ask(Visitor("nobody"), name, {})) == Code.NOT_LOGGED_IN, name
        if method.who is Who.SERVER:
            assert code(hall.ask(alice, name, {})) == Code.METHOD_FORBIDDEN, name
    assert hall.effects() == []


# --- how often ---


def test_calls_have_rates() -> None:
    hall = Hall(limits=Limits(user_calls=Rate(1, 2), all_calls=Rate(1, 3), server_calls=Rate(1, 1)))
    alice, bob, server = hall.log_in(1001), hall.log_in(1002), Visitor("server")
    operator = Visitor("operator", operator=True)
    for _ in range(2):
        answer(hall.ask(alice, "getuserrooms", {}))
    refused = hall.ask(alice, "nothing of that kind", {})
    assert code(refused) == Code.UNKNOWN_METHOD
    refused = hall.ask(alice, "getuserrooms", {})
    assert code(refused) == Code.RATE_LIMIT and "user_calls: 1 a second" in str(refused[0])
    answer(hall.ask(bob, "getuserrooms", {}))
    assert "all_calls" in str(hall.ask(bob, "getuserrooms", {})[0])
    answer(call(hall, server, "getblacks", uid=1))
    assert "server_calls" in str(call(hall, Visitor("another"), "getblacks", uid=1)[0])
    for _ in range(5):
        answer(hall.ask(operator, "getblacks", {"uid": 1}))
        answer(hall.ask(alice, "ping", {}))
    hall.now += 1
    answer(hall.ask(alice, "getuserrooms", {}))
    answer(call(hall, server, "getblacks", uid=1))


def test_more_than_the_store_can_be_at_is_refused_with_20011_and_nothing_grows() -> None:
    hall = Hall(limits=Limits(max_waiting=64))
    alice = hall.log_in(1001)

    def flood(count: int) -> int:
        refused = 0
        for _ in range(count):
            mid = next(hall.quests)
            params = {"to": 1002, "mid": mid, "mtype": 30, "msg": "x" * 100}
            for said in hall.ask(alice, "sendmsg", params):
                assert isinstance(said, Refuse) and said.code == Code.WORK_QUEUE_FULL
                refused += 1
        return refused

    assert flood(1000) == 1000 - 64
    held = footprint(hall.decisions)
    assert flood(5000) == 5000
    assert footprint(hall.decisions) <= held + 2000
    assert hall.decisions.held().effects == len(hall.effects()) == 64


# --- ids that are no integers ---

LENIENT: list[tuple[str, Any, Any]] = [
    ("uid", 4294967296.0, 4294967296),
    ("uid", -5.0, -5),
    ("uid", "1001", 1001),
    ("from", "-9223372036854775808", -(2**63)),
    ("begin", 1795380804502.0, 1795380804502),
    ("tos", [1001.0, "1002", 5], [1001, 1002, 5]),
    ("uid", 1.5, 1.5),
    ("uid", 2.0**53, 2**53),
    ("uid", 2.0**53 + 2, 2.0**53 + 2),
    ("uid", float("inf"), float("inf")),
    ("uid", "", ""),
    ("uid", "-", "-"),
    ("uid", "1 ", "1 "),
    ("uid", "1_0", "1_0"),
    ("uid", "+1", "+1"),
    ("uid", "\u0661", "\u0661"),
    ("uid", "1" * 20, "1" * 20),
    ("uid", b"5", b"5"),
    ("uid", True, True),
    ("uid", None, None),
    ("tos", 5.0, 5.0),
    ("mtype", 30.0, 30.0),
    ("mtypes", ["30"], ["30"]),
    ("msg", "5", "5"),
    ("token", "5", "5"),
]


@pytest.mark.parametrize(("key", "value", "meant"), LENIENT, ids=lambda x: str(x)[:30])
def test_where_it_is_told_to_be_the_gate_is_lenient(key: str, value: Any, meant: Any) -> None:
    seen: list[object] = []

    def look(asked: Asked) -> Params:
        seen.append(asked.params[key])
        return {}

    for lenient in (False, True):
        hall = Hall(limits=Limits(lenient_ids=lenient))
        hall.decisions.methods = {"spy": Method(Who.ANYBODY, look)}
        params = {key: value}
        assert answer(hall.ask(Visitor("v"), "spy", params)) == {}
        assert params == {key: value}
    assert [(type(each), each) for each in seen] == [(type(value), value), (type(meant), meant)]


def test_a_user_of_javascript_with_large_numbers_is_served() -> None:
    uid, large = 2**33, float(2**34)
    users = {uid: "token"}
    for lenient in (False, True):
        hall = Hall(users=users, limits=Limits(lenient_ids=lenient))
        js = Visitor("js")
        said = hall.ask(js, "auth", {"pid": PID, "uid": float(uid), "token": "token"})
        if not lenient:
            assert code(said) == Code.TYPE_CONVERSION
            continue
        assert answer(said) == {"ok": True}
        asked = answer(hall.ask(js, "filetoken", {"cmd": "sendfile", "to": large}))
        token = str(asked["token"])
        before = {"token": token, "from": float(uid), "to": large}
        assert hall.decisions.refusal_before_body("sendfile", before, 5, now=hall.now) is None
        attrs = write_attrs("a", file_sign(md5(b"x").hexdigest(), token))
        params = {"pid": float(PID), "mid": 5.0, "mtype": 50, "file": b"x", "attrs": attrs}
        assert hall.ask(hall.files, "sendfile", {**params, **before}) == []
        assert answer(hall.carry_out())["mtime"] == WALL


# --- bodies, leaving, kicks: what the rules do of it, put together ---


def test_what_was_written_of_a_file_that_is_refused_is_dropped(hall: Hall) -> None:
    body = Body("key", 9, "digest", 4, b"rest!")
    for method in ("sendfile", "nothing", "ping"):
        hall.ask(Visitor("v"), method, {"file": body})
        [effect] = hall.effects()
        assert effect == DropBody(effect.effect_id, "key")
    hall.ask(Visitor("v"), "sendfile", {"file": replace(body, written=0)})
    assert hall.effects() == []


def test_what_is_wrong_before_a_file_is_told(hall: Hall) -> None:
    def refused(method: str, params: dict[str, Any], size: int = 5) -> int:
        found = hall.decisions.refusal_before_body(method, params, size, now=hall.now)
        return 0 if found is None else found[0]

    token = hall.token(hall.log_in(1001))
    assert refused("nothing", {}) == Code.UNKNOWN_METHOD
    assert refused("sendmsg", {}) == Code.INVALID_PACKAGE
    assert refused("sendfile", {}, MAX_FILE + 1) == Code.FILE_TOO_LARGE
    assert refused("sendfile", {"token": "wrong"}) == Code.BAD_FILE_SIGN_OR_TOKEN
    assert refused("sendfile", {"token": 5}) == Code.TYPE_CONVERSION
    assert refused("sendfile", {"token": token}) == refused("sendfile", {}) == 0


def test_who_leaves_and_who_is_kicked_is_forgotten(hall: Hall) -> None:
    alice, bob = hall.log_in(1001), hall.log_in(1002)
    hall.decisions.left(alice)
    assert hall.decisions.kick(1002) and not hall.decisions.kick(1001)
    assert {action.visitor for action in hall.said()} == {bob}
    assert hall.decisions.held().logins == 0


def test_what_was_delivered_and_what_has_ended_goes_to_the_rules(hall: Hall) -> None:
    hall.decisions.delivered(hall.log_in(1001), 5)
    [effect] = hall.effects()
    assert effect == Delivered(effect.effect_id, 1001, 5)
    operator = Visitor("operator", operator=True)
    hall.do(operator, "addprojectblack", {"uid": 9, "btime": 1})
    hall.wall += 1000
    hall.decisions.tidy()
    [forget] = hall.effects()
    assert forget == SaveRecord(forget.effect_id, Table.BAN, 9, None)


def test_a_file_that_is_kept_is_not_dropped(hall: Hall) -> None:
    alice = hall.log_in(1001)
    quest = hall.quest(alice)
    data = quest["file"]
    hall.store.write_body("key", data[:4])
    body = Body("key", len(data), md5(data).hexdigest(), 4, data[4:])
    assert hall.ask(hall.files, "sendfile", {**quest, "file": body}) == []
    assert [type(effect) for effect in hall.decisions.effects] == [SaveFile]
    assert "mtime" in answer(hall.carry_out())


def test_no_refusal_tells_a_secret() -> None:
    """Whatever was wrong with it: neither what was given, nor what would have been right."""
    secrets = {name: f"{name}-that-nobody-may-see" for name in ("token", "sign", "file", "msg")}
    ids = dict.fromkeys("uid from to gid rid ouid mid num btime mtype pid".split(), 1001)
    texts: list[str] = []
    for method in Hall().decisions.methods:
        hall = Hall()
        visitors = [Visitor("outside"), hall.log_in(1001), Visitor("operator", operator=True)]
        for params in (secrets, {**secrets, **ids}, {**secrets, **ids, "pid": PID, "salt": 1}):
            for visitor in visitors:
                said = hall.do(visitor, method, {**params, "attrs": '{"sign":"x"}'})
                texts += [each.text for each in said if isinstance(each, Refuse)]
    assert len(texts) > 200
    for text in texts:
        assert "nobody-may-see" not in text and SECRET not in text
        assert not any(token in text for token in USERS.values())


def test_one_file_that_is_kept_does_not_save_another(hall: Hall) -> None:
    alice = hall.log_in(1001)
    quest = hall.quest(alice)
    data = quest["file"]
    body = Body("key", len(data), md5(data).hexdigest(), 4, data[4:])
    hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [1001]})
    hall.ask(hall.files, "sendfile", {**quest, "file": body})
    hall.ask(hall.files, "sendfile", {**quest, "file": replace(body, key="another")})
    *_, drop = hall.effects()
    assert drop == DropBody(drop.effect_id, "another")


ID_KEYS = "pid uid ouid buid from to gid rid mid lastid begin end".split()


@pytest.mark.parametrize("key", ID_KEYS)
def test_every_id_may_be_a_float_or_text(key: str) -> None:
    assert lenient({key: 4294967296.0}) == {key: 4294967296}
    assert lenient({key: "7"}) == {key: 7}


@pytest.mark.parametrize("key", "tos uids blacks buids".split())
def test_every_list_of_ids_may_be_of_floats_or_text(key: str) -> None:
    assert lenient({key: [4294967296.0, "7", 8]}) == {key: [4294967296, 7, 8]}


def lenient(params: Params) -> Params:
    """What a rule sees of *params*."""
    seen: list[Params] = []
    hall = Hall(limits=Limits(lenient_ids=True))

    def look(asked: Asked) -> Params:
        seen.append(asked.params)
        return {}

    hall.decisions.methods = {"spy": Method(Who.ANYBODY, look)}
    hall.ask(Visitor("v"), "spy", params)
    return seen[0]


def test_what_was_kept_and_how_links_are_signed_is_handed_on(hall: Hall) -> None:
    hall.store_group(hall.log_in(1001), 5, [1001])
    again = hall.again(links=Links(lambda: WALL, key="k" * 32, life=60.0))
    alice, bob = again.log_in(1001), again.log_in(1002)
    assert answer(again.ask(alice, "getusergroups", {})) == {"gids": [5]}
    again.send(alice)
    [pushed] = [action for action in again.carry_out() if isinstance(action, Push)]
    assert pushed.visitor is bob and "&sign=" in str(pushed.params["msg"])
