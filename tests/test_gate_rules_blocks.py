"""Users who do not want to hear of others."""

from __future__ import annotations

from typing import Any

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.actions import Visitor
from rtm_proto.gate.limits import MAX_ITEMS, Limits
from rtm_proto.gate.store import Table
from tests.hall import Hall, answer, call, code

TEXT = {"mid": 5, "mtype": 30, "msg": "hello"}


def block(hall: Hall, visitor: Visitor, *uids: int) -> None:
    assert answer(hall.do(visitor, "addblacks", {"blacks": [*uids]})) == {}


def blocked(hall: Hall, visitor: Visitor) -> object:
    return answer(hall.ask(visitor, "getblacks", {}))["uids"]


def test_who_is_blocked_cannot_send_and_the_blocker_can(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    assert hall.ask(alice, "addblacks", {"blacks": [1002]}) == []
    assert hall.ask(bob, "sendmsg", {"to": 1001, **TEXT}) == [], "it is not kept yet"
    hall.carry_out()
    assert code(hall.ask(bob, "sendmsg", {"to": 1001, **TEXT, "mid": 6})) == Code.BLOCKED_USER
    assert code(hall.send(bob, to=1001)) == Code.BLOCKED_USER
    assert hall.ask(alice, "sendmsg", {"to": 1002, **TEXT}) == []


def test_a_group_and_a_room_are_not_concerned(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    hall.store_group(alice, 5, [1001, 1002])
    answer(hall.ask(bob, "enterroom", {"rid": 5}))
    block(hall, alice, 1002)
    for method, key in (("sendgroupmsg", "gid"), ("sendroommsg", "rid")):
        assert "mtime" in answer(hall.do(bob, method, {key: 5, **TEXT}))


def test_both_can_read_what_there_is(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    hall.do(bob, "sendmsg", {"to": 1001, **TEXT})
    block(hall, alice, 1002)
    for visitor, other in ((alice, 1002), (bob, 1001)):
        page = answer(hall.do(visitor, "getp2pmsg", {"ouid": other, "desc": True, "num": 9}))
        assert page["num"] == 1


def test_blocks_are_added_and_deleted(hall: Hall, alice: Visitor) -> None:
    assert blocked(hall, alice) == []
    block(hall, alice, 1003, 1002)
    block(hall, alice, 1002, 1004)
    assert blocked(hall, alice) == [1002, 1003, 1004]
    assert hall.store.kept(0).uids(Table.BLOCKS) == {1001: {1002, 1003, 1004}}
    assert answer(hall.do(alice, "delblacks", {"blacks": [1003, 9]})) == {}
    assert blocked(hall, alice) == [1002, 1004]
    again = hall.again()
    assert blocked(again, again.log_in(1001)) == [1002, 1004]
    hall.do(alice, "delblacks", {"blacks": [1002, 1004]})
    assert blocked(hall, alice) == [] and hall.store.kept(0).records == ()
    assert blocked(hall, hall.log_in(1002)) == []


def test_blocks_that_the_store_could_not_keep_are_as_before(hall: Hall, alice: Visitor) -> None:
    refused = hall.do(alice, "addblacks", {"blacks": [1002]}, StoreFault("full"))
    assert code(refused) == Code.WORK_QUEUE_FULL
    assert blocked(hall, alice) == []


@pytest.mark.parametrize("method", ["addblacks", "delblacks"])
@pytest.mark.parametrize(
    ("blacks", "expected"),
    [
        (None, Code.TYPE_CONVERSION),
        (5, Code.TYPE_CONVERSION),
        (["5"], Code.TYPE_CONVERSION),
        ([], Code.EMPTY_PARAMETER),
        ([*range(1, MAX_ITEMS + 2)], Code.TOO_MANY_ITEMS),
    ],
)
def test_a_wrong_list_is_refused(
    hall: Hall, alice: Visitor, method: str, blacks: Any, expected: int
) -> None:
    assert code(hall.ask(alice, method, {"blacks": blacks})) == expected


def test_nobody_blocks_himself(hall: Hall, alice: Visitor) -> None:
    refused = hall.ask(alice, "addblacks", {"blacks": [1002, 1001]})
    assert code(refused) == Code.INVALID_PARAMETER


def test_the_number_of_blocks_has_a_limit() -> None:
    hall = Hall(limits=Limits(max_blocks=2))
    alice = hall.log_in(1001)
    block(hall, alice, 1, 2)
    refused = hall.ask(alice, "addblacks", {"blacks": [1, 3]})
    assert code(refused) == Code.TOO_MANY_ITEMS
    assert "3 blocked users, the limit is 2" in str(refused[0])
    block(hall, alice, 1)


def test_a_server_does_it_for_a_user(hall: Hall) -> None:
    server = Visitor("server")
    params = {"uid": 1001, "blacks": [1002]}
    call(hall, server, "addblacks", **params)
    answer(hall.carry_out())
    assert answer(call(hall, server, "getblacks", uid=1001)) == {"uids": [1002]}
    assert answer(call(hall, server, "isblack", uid=1002, buid=1001)) == {"ok": True}
    assert answer(call(hall, server, "isblack", uid=1001, buid=1002)) == {"ok": False}
    params = {"uid": 1002, "buids": [1003, 1001, 1002]}
    assert answer(call(hall, server, "isblacks", **params)) == {"buids": [1001]}
    call(hall, server, "delblacks", uid=1001, blacks=[1002])
    answer(hall.carry_out())
    assert answer(call(hall, server, "getblacks", uid=1001)) == {"uids": []}
    assert code(call(hall, server, "getblacks")) == Code.KEY_NOT_FOUND


def test_a_server_sends_to_whom_it_likes(hall: Hall, alice: Visitor) -> None:
    block(hall, alice, 1002)
    assert call(hall, Visitor("server"), "sendmsg", **{"from": 1002, "to": 1001, **TEXT}) == []


@pytest.mark.parametrize("method", ["isblack", "isblacks"])
def test_users_do_not_ask_who_blocks_them(hall: Hall, alice: Visitor, method: str) -> None:
    assert code(hall.ask(alice, method, {"uid": 1, "buid": 2})) == Code.METHOD_FORBIDDEN
