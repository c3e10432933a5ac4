"""Who asks a gate: users, servers that sign, operators."""

from __future__ import annotations

from typing import Any

import pytest

from rtm_proto.codes import Code
from rtm_proto.gate.actions import SERVER, Who
from rtm_proto.gate.decisions import (
    Visitor,
)
from rtm_proto.gate.rules.askers import Askers
from tests.hall import (
    PID,
    Hall,
    answer,
    call,
    code,
    signed,
)


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


@pytest.mark.parametrize("method", ["ping", "filetoken", "gettoken", "kickout"])
def test_a_signed_call_makes_a_server(hall: Hall, server: Visitor, method: str) -> None:
    params = {"cmd": "broadcastfile", "from": 1, "uid": 1}
    answer(call(hall, server, method, **params) + hall.carry_out())
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
    answer(hall.do(server, "gettoken", params))
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


# --- operators ---


@pytest.fixture
def operator() -> Visitor:
    return Visitor("operator", operator=True)


def test_an_operator_does_what_servers_do_without_a_sign(hall: Hall, operator: Visitor) -> None:
    for method, params in (
        ("gettoken", {"uid": 5}),
        ("addgroupmembers", {"gid": 5, "uids": [1, 2]}),
        ("addprojectblack", {"uid": 9, "btime": 60}),
        ("sendmsg", {"from": 1, "to": 2, "mid": 1, "mtype": 30, "msg": "x"}),
        ("kickout", {"uid": 5}),
    ):
        answer(hall.do(operator, method, params))
    assert answer(hall.ask(operator, "getgroupmembers", {"gid": 5})) == {"uids": [1, 2]}
    assert not operator.server and operator.uid is None


def test_an_operators_sign_is_not_looked_at() -> None:
    hall = Hall(secret=None)
    operator = Visitor("operator", operator=True)
    answer(hall.do(operator, "gettoken", {"uid": 5, "sign": "nonsense"}))
    answer(hall.ask(operator, "ping", {"sign": "nonsense"}))


@pytest.mark.parametrize("method", ["enterroom", "leaveroom", "getuserrooms", "getunread"])
def test_what_is_a_users_own_is_for_nobody_else(
    hall: Hall, operator: Visitor, server: Visitor, method: str
) -> None:
    assert code(hall.ask(operator, method, {"rid": 5})) == Code.NOT_LOGGED_IN
    refused = call(hall, server, method, rid=5)
    assert code(refused) == Code.NOT_LOGGED_IN and f"{method} is for users" in str(refused[0])


@pytest.mark.parametrize("method", ["ping", "bye", "auth"])
def test_what_is_for_anybody_needs_no_sign(hall: Hall, method: str) -> None:
    params = {"pid": PID, "uid": 1001, "token": "token-1"}
    assert answer(hall.ask(Visitor("v"), method, params)) in ({}, {"ok": True})


def test_a_user_asks_for_himself(hall: Hall, alice: Visitor) -> None:
    for method in ("enterroom", "leaveroom"):
        assert answer(hall.ask(alice, method, {"rid": 5, "uid": 1002, "sign": "x"})) == {}


def test_who_asks_is_told_by_his_uid_and_a_server_by_none() -> None:
    askers = Askers(PID, "secret", lambda: 0)
    user, operator = Visitor("user", uid=7), Visitor("operator", operator=True)
    for who, visitor, uid in (
        (Who.ANYBODY, user, SERVER),
        (Who.USER, user, 7),
        (Who.EITHER, user, 7),
        (Who.EITHER, operator, SERVER),
        (Who.SERVER, operator, SERVER),
    ):
        assert askers.check(who, visitor, "some", {}, now=0.0) == uid
