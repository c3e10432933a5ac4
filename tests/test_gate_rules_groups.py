"""Groups of a gate."""

from __future__ import annotations

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.decisions import (
    MAX_MEMBERS,
    Limits,
    Visitor,
)
from rtm_proto.gate.limits import MAX_ITEMS
from rtm_proto.gate.store import (
    Table,
)
from tests.hall import (
    Hall,
    answer,
    call,
    code,
)


def test_a_membership_is_answered_once_it_is_kept(hall: Hall, alice: Visitor) -> None:
    assert hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [1001, 1002]}) == []
    assert code(hall.send(alice, "sendgroupfile", gid=5)) == Code.NOT_GROUP_MEMBER
    assert answer(hall.carry_out()) == {}
    assert hall.store.kept(0).uids(Table.MEMBERS) == {5: frozenset({1001, 1002})}
    assert hall.ask(alice, "delgroupmembers", {"gid": 5, "uids": [1002, 9]}) == []
    assert answer(hall.carry_out()) == {}
    assert hall.store.kept(0).uids(Table.MEMBERS) == {5: frozenset({1001})}


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


def test_the_number_of_members_has_a_limit() -> None:
    hall = Hall(limits=Limits(max_items=MAX_MEMBERS))
    alice = hall.log_in(1001)
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


def test_members_are_told_to_members(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    hall.store_group(alice, 5, [1003, 1001])
    assert answer(hall.ask(alice, "getgroupmembers", {"gid": 5})) == {"uids": [1001, 1003]}
    params: dict[str, object] = {"gid": 5, "online": True}
    found = answer(hall.ask(alice, "getgroupmembers", params))
    assert found == {"uids": [1001, 1003], "onlines": [1001]}
    assert code(hall.ask(bob, "getgroupmembers", {"gid": 5})) == Code.NOT_GROUP_MEMBER
    assert code(hall.ask(bob, "getgroupmembers", {"gid": 6})) == Code.NOT_GROUP_MEMBER


def test_a_user_asks_in_which_groups_he_is(hall: Hall, alice: Visitor) -> None:
    for gid in (7, 5):
        hall.store_group(alice, gid, [1001])
    hall.store_group(alice, 6, [1002])
    assert answer(hall.ask(alice, "getusergroups", {"uid": 1002})) == {"gids": [5, 7]}


def test_a_server_needs_no_membership(hall: Hall, alice: Visitor, server: Visitor) -> None:
    hall.store_group(alice, 5, [1001])
    assert call(hall, server, "addgroupmembers", gid=5, uids=[1002, 1003]) == []
    answer(hall.carry_out())
    call(hall, server, "delgroupmembers", gid=5, uids=[1002])
    answer(hall.carry_out())
    assert answer(call(hall, server, "getgroupmembers", gid=5)) == {"uids": [1001, 1003]}
    assert answer(call(hall, server, "getusergroups", uid=1003)) == {"gids": [5]}
    for uid, ok in ((1003, True), (1002, False)):
        assert answer(call(hall, server, "isgroupmember", gid=5, uid=uid)) == {"ok": ok}
    assert code(call(hall, server, "getusergroups")) == Code.KEY_NOT_FOUND


def test_a_group_can_be_deleted(hall: Hall, alice: Visitor, server: Visitor) -> None:
    hall.store_group(alice, 5, [1001])
    assert call(hall, server, "delgroup", gid=5) == []
    assert answer(hall.carry_out()) == {}
    assert hall.store.kept(0).records == ()
    assert answer(call(hall, server, "getgroupmembers", gid=5)) == {"uids": []}
    call(hall, server, "delgroup", gid=5)
    assert answer(hall.carry_out()) == {}, "what is not there is deleted too"


def test_an_empty_group_is_none(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 5, [1001])
    assert answer(hall.do(alice, "delgroupmembers", {"gid": 5, "uids": [1001]})) == {}
    assert hall.store.kept(0).records == ()
    hall.store.save_record(Table.MEMBERS, 6, "[]")  # as a gate before this one has written it
    again = Hall(store=hall.store, limits=Limits(max_groups=1))
    again.store_group(again.log_in(1001), 7, [1001])


def test_the_number_of_groups_has_a_limit() -> None:
    hall = Hall(limits=Limits(max_groups=1))
    alice = hall.log_in(1001)
    hall.store_group(alice, 5, [1001])
    hall.store_group(alice, 5, [1002])
    refused = hall.ask(alice, "addgroupmembers", {"gid": 6, "uids": [1001]})
    assert code(refused) == Code.TOO_MANY_ITEMS
    assert "there are 1 groups, and that is the limit" in str(refused[0])


@pytest.mark.parametrize("method", ["addgroupmembers", "delgroupmembers"])
@pytest.mark.parametrize(
    ("uids", "expected"),
    [([], Code.EMPTY_PARAMETER), ([*range(1, MAX_ITEMS + 2)], Code.TOO_MANY_ITEMS)],
)
def test_how_many_may_be_named(
    hall: Hall, alice: Visitor, method: str, uids: list[int], expected: int
) -> None:
    assert code(hall.ask(alice, method, {"gid": 5, "uids": uids})) == expected


@pytest.mark.parametrize("method", ["delgroup", "isgroupmember"])
def test_what_only_servers_do_with_groups(hall: Hall, alice: Visitor, method: str) -> None:
    assert code(hall.ask(alice, method, {"gid": 5, "uid": 1})) == Code.METHOD_FORBIDDEN


def test_members_are_there_after_a_restart_and_nothing_else_is_a_member(
    hall: Hall, alice: Visitor
) -> None:
    hall.store_group(alice, 5, [1001, 1002])
    hall.do(alice, "addblacks", {"blacks": [1003]})
    again = hall.again()
    assert answer(again.ask(again.log_in(1001), "getusergroups", {})) == {"gids": [5]}
    assert answer(again.ask(again.log_in(1003), "getusergroups", {})) == {"gids": []}
