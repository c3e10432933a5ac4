"""Logging in and out of a gate, login tokens, kickouts."""

from __future__ import annotations

from typing import Any

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.gate.decisions import (
    Action,
    Answer,
    Part,
    Push,
    Visitor,
)
from rtm_proto.gate.limits import MAX_FAILED_LOGINS, Limits, Rate
from rtm_proto.gate.store import SaveRecord, Table
from rtm_proto.gate.tokens import token_digest
from tests.hall import (
    PID,
    Hall,
    answer,
    auth,
    call,
    code,
    golden,
    pushes,
)


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


@pytest.mark.parametrize("name", ["auth", "auth-chromium"])
def test_the_javascript_sdk_logs_in(hall: Hall, name: str) -> None:
    method, params = golden(name)
    assert answer(hall.ask(Visitor("js"), method, params)) == {"ok": True}


def test_a_uid_that_the_javascript_sdk_was_given_as_text_is_10010(hall: Hall) -> None:
    assert code(hall.ask(Visitor("js"), *golden("auth-uid-string"))) == Code.TYPE_CONVERSION


def test_the_javascript_sdk_says_bye(hall: Hall) -> None:
    js = hall.log_in(654321)
    said, part = hall.ask(js, *golden("bye-chromium"))
    assert isinstance(said, Answer) and isinstance(part, Part)


def test_the_first_login_leaving_does_not_end_the_second(hall: Hall, alice: Visitor) -> None:
    second = hall.log_in(1001, "second")
    hall.decisions.left(alice)
    hall.send(hall.log_in(1002), to=1001)
    assert pushes(hall.carry_out()) == [("second", "pushmsg")]
    assert second.uid == 1001


def token_of(hall: Hall, server: Visitor, uid: int) -> str:
    """A token that a server got."""
    assert call(hall, server, "gettoken", uid=uid) == []
    return str(answer(hall.carry_out())["token"])


def test_a_user_logs_in_with_the_token_that_a_server_got(hall: Hall, server: Visitor) -> None:
    tokens = [token_of(hall, server, 5) for _ in range(2)]
    assert len(set(tokens)) == 2
    assert answer(hall.ask(Visitor("v"), "auth", auth(uid=5, token=tokens[0])))["ok"] is False
    assert answer(hall.ask(Visitor("v"), "auth", auth(uid=6, token=tokens[1])))["ok"] is False
    for _ in range(2):
        assert answer(hall.ask(Visitor("v"), "auth", auth(uid=5, token=tokens[1])))["ok"] is True


def test_a_configured_token_stays_good_beside_it(hall: Hall, server: Visitor) -> None:
    token = token_of(hall, server, 1001)
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


# --- tokens that are kept ---


def test_a_token_is_answered_once_its_digest_is_kept(hall: Hall, server: Visitor) -> None:
    assert call(hall, server, "gettoken", uid=5) == []
    [effect] = hall.effects()
    assert isinstance(effect, SaveRecord) and (effect.table, effect.key) == (Table.LOGIN_TOKEN, 5)
    assert effect.value is not None and effect.value not in repr(effect)
    hall.store.carry_out(effect)
    hall.decisions.carried_out(effect, None, None, now=hall.now)
    token = str(answer(hall.said())["token"])
    assert effect.value == token_digest(token) and token not in str(hall.store.kept(0))


def test_a_token_is_good_after_a_restart(hall: Hall, server: Visitor) -> None:
    token = token_of(hall, server, 5)
    again = hall.again()
    assert answer(again.ask(Visitor("v"), "auth", auth(uid=5, token=token)))["ok"] is True
    digest = auth(uid=5, token=token_digest(token))
    assert answer(again.ask(Visitor("w"), "auth", digest))["ok"] is False


def test_a_token_that_the_store_could_not_keep_is_none(hall: Hall, server: Visitor) -> None:
    old = token_of(hall, server, 5)
    call(hall, server, "gettoken", uid=5)
    assert code(hall.carry_out(StoreFault("full"))) == Code.WORK_QUEUE_FULL
    assert answer(hall.ask(Visitor("v"), "auth", auth(uid=5, token=old)))["ok"] is True


def test_a_token_can_be_removed(hall: Hall, server: Visitor) -> None:
    assert answer(call(hall, server, "removetoken", uid=5)) == {}, "there is none yet"
    token = token_of(hall, server, 5)
    visitor = Visitor("v")
    answer(hall.ask(visitor, "auth", auth(uid=5, token=token)))
    assert call(hall, server, "removetoken", uid=5) == []
    assert answer(hall.carry_out()) == {}
    assert visitor.uid == 5, "who is in stays in"
    for gate in (hall, hall.again()):
        assert answer(gate.ask(Visitor("w"), "auth", auth(uid=5, token=token)))["ok"] is False


def test_a_token_that_is_being_kept_is_not_removed_unseen(hall: Hall, server: Visitor) -> None:
    call(hall, server, "gettoken", uid=5)
    assert code(call(hall, server, "removetoken", uid=5)) == Code.WORK_QUEUE_FULL
    assert code(call(hall, server, "gettoken", uid=5)) == Code.WORK_QUEUE_FULL
    assert call(hall, server, "gettoken", uid=6) == []


def test_a_removed_token_may_be_removed_by_mistake_twice(hall: Hall, server: Visitor) -> None:
    token_of(hall, server, 5)
    call(hall, server, "removetoken", uid=5)
    [effect] = hall.effects()
    hall.decisions.carried_out(effect, None, None, now=hall.now)
    assert answer(hall.said()) == {}
    assert answer(call(hall, server, "removetoken", uid=5)) == {}


def test_the_number_of_tokens_has_a_limit(server: Visitor) -> None:
    hall = Hall(limits=Limits(max_login_tokens=2))
    for uid in (5, 6, 5):
        token_of(hall, server, uid)
    refused = call(hall, server, "gettoken", uid=7)
    assert code(refused) == Code.TOO_MANY_ITEMS and "2 users have a token" in str(refused[0])
    call(hall, server, "removetoken", uid=5)
    hall.carry_out()
    token_of(hall, server, 7)


# --- wrong tokens ---


def guess(hall: Hall, visitor: Visitor, token: str = "wrong", uid: int = 1001) -> list[Action]:
    return hall.ask(visitor, "auth", auth(uid=uid, token=token))


def test_who_guesses_on_and_on_is_parted_from(hall: Hall) -> None:
    visitor = Visitor("v")
    for _ in range(MAX_FAILED_LOGINS - 1):
        [said] = guess(hall, visitor)
        assert isinstance(said, Answer) and said.params == {"ok": False}
    said, part = guess(hall, visitor)
    assert isinstance(said, Answer) and said.params == {"ok": False}
    assert isinstance(part, Part) and part.visitor is visitor
    assert part.reason.kind is CloseKind.LOGIN


def test_beyond_the_rate_no_token_is_looked_at_from_that_address() -> None:
    hall = Hall(limits=Limits(failed_logins=Rate(0.1, 3)))
    for number in range(3):
        guess(hall, Visitor(f"v{number}", peer="192.0.2.1"))
    refused = guess(hall, Visitor("next", peer="192.0.2.1"), "token-1")
    assert code(refused) == Code.RATE_LIMIT and "failed_logins: 0.1 a second" in str(refused[0])
    assert "token-1" not in str(refused[0])
    other = Visitor("another", peer="192.0.2.1")
    assert answer(guess(hall, other, "token-2", 1002)) == {"ok": True}, "another user"
    hall.now += 10
    late = Visitor("late", peer="192.0.2.1")
    assert answer(guess(hall, late, "token-1")) == {"ok": True}


def test_nobody_elsewhere_keeps_a_user_out() -> None:
    hall = Hall(limits=Limits(failed_logins=Rate(0.1, 1)))
    for number in range(50):
        guess(hall, Visitor(f"v{number}", peer="192.0.2.1"))
    assert answer(guess(hall, Visitor("alice", peer="192.0.2.2"), "token-1")) == {"ok": True}
    assert answer(guess(hall, Visitor("no address known"), "token-1"))["ok"] is True


def test_a_right_token_costs_nothing() -> None:
    hall = Hall(limits=Limits(failed_logins=Rate(0.1, 1)))
    for number in range(5):
        assert answer(guess(hall, Visitor(f"v{number}", peer="p"), "token-1"))["ok"] is True


# --- several logins ---


def test_a_user_may_have_several_logins_and_the_newest_ends_the_oldest() -> None:
    hall = Hall(limits=Limits(max_logins=2))
    first, second = hall.log_in(1001, "first"), hall.log_in(1001, "second")
    assert (first.uid, second.uid, hall.decisions.held().logins) == (1001, 1001, 2)
    hall.log_in(1001, "third")
    assert (first.uid, second.uid, hall.decisions.held().logins) == (None, 1001, 2)


def test_a_kick_ends_all_logins_of_a_user(server: Visitor) -> None:
    hall = Hall(limits=Limits(max_logins=3))
    logins = [hall.log_in(1001, f"login {number}") for number in range(3)]
    said = call(hall, server, "kickout", uid=1001)
    kicked = [action.visitor for action in said if isinstance(action, Push)]
    assert kicked == logins and [visitor.uid for visitor in logins] == [None] * 3


@pytest.mark.parametrize(
    ("ce", "ended"),
    [
        ("192.0.2.1:5000", ["first"]),
        ("192.0.2.1", ["first"]),
        ("[2001:db8::1]:5000", ["second"]),
        ("2001:db8::1", ["second"]),
        ("192.0.2.9:5000", []),
        ("", ["first", "second", "third"]),
        (None, ["first", "second", "third"]),
    ],
)
def test_a_kick_may_be_for_the_logins_from_one_address(
    server: Visitor, ce: str | None, ended: list[str]
) -> None:
    hall = Hall(limits=Limits(max_logins=3))
    for name, peer in (("first", "192.0.2.1"), ("second", "2001:db8::1"), ("third", None)):
        answer(hall.ask(Visitor(name, peer=peer), "auth", auth()))
    said = call(hall, server, "kickout", uid=1001, ce=ce)
    assert [action.visitor.name for action in said if isinstance(action, Push)] == ended


def test_an_operator_is_no_user(hall: Hall) -> None:
    operator = Visitor("operator", operator=True)
    assert code(hall.ask(operator, "auth", auth())) == Code.METHOD_FORBIDDEN
    assert operator.uid is None
    assert answer(hall.ask(operator, "ping", {})) == {}


def test_every_connection_logs_in_once(hall: Hall) -> None:
    visitor = hall.log_in(1001)
    refused = hall.ask(visitor, "auth", auth(uid=1002, token="token-2"))
    assert code(refused) == Code.ALREADY_LOGGED_IN and visitor.uid == 1001
    refused = hall.ask(Visitor("v"), "auth", auth(pid=5))
    assert code(refused) == Code.BAD_PROJECT_OR_USER and "project 5" in str(refused[0])


def test_a_server_makes_itself_known_with_a_ping(hall: Hall, server: Visitor) -> None:
    assert answer(call(hall, server, "ping")) == {} and server.server
    assert code(call(hall, Visitor("thief"), "ping", sign="x")) == Code.BAD_PROJECT_OR_SIGN


@pytest.mark.parametrize("method", ["gettoken", "removetoken", "kickout"])
def test_what_servers_do_with_logins_users_do_not(hall: Hall, method: str) -> None:
    alice = hall.log_in(1001)
    hall.log_in(1002)
    assert code(hall.ask(alice, method, {"uid": 1002})) == Code.METHOD_FORBIDDEN
    assert code(hall.ask(Visitor("v"), method, {"uid": 1002})) == Code.NOT_LOGGED_IN
    assert hall.decisions.held().logins == 2


def test_who_is_banned_does_not_come_in(hall: Hall) -> None:
    operator, visitor = Visitor("operator", operator=True), Visitor("v")
    hall.do(operator, "addprojectblack", {"uid": 1001, "btime": 9})
    assert code(hall.ask(visitor, "auth", auth())) == Code.LOGIN_DENIED
    assert visitor.uid is None


def test_any_uid_above_0_may_have_a_token(hall: Hall, server: Visitor) -> None:
    assert token_of(hall, server, 1)
