"""Rooms of a gate."""

from __future__ import annotations

import pytest

from rtm_proto.codes import Code
from rtm_proto.gate.actions import Answer, Push
from rtm_proto.gate.decisions import (
    MAX_ROOMS,
    Visitor,
)
from rtm_proto.gate.limits import Limits
from tests.fuzz.footprint import footprint
from tests.hall import (
    Hall,
    answer,
    call,
    code,
    pushes,
)


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


def test_a_user_asks_in_which_rooms_he_is() -> None:
    hall = Hall(limits=Limits(max_logins=2))
    first, second = hall.log_in(1001, "first"), hall.log_in(1001, "second")
    for visitor, rid in ((first, 9), (first, -3), (second, 7)):
        answer(hall.ask(visitor, "enterroom", {"rid": rid}))
    for visitor in (first, second):
        assert answer(hall.ask(visitor, "getuserrooms", {})) == {"rooms": [-3, 7, 9]}
    answer(hall.ask(first, "leaveroom", {"rid": 9}))
    assert answer(hall.ask(first, "getuserrooms", {})) == {"rooms": [-3, 7]}
    assert answer(hall.ask(hall.log_in(1002), "getuserrooms", {})) == {"rooms": []}


def test_the_limit_of_rooms_is_for_all_logins_of_a_user_together() -> None:
    hall = Hall(limits=Limits(max_logins=2, max_rooms=1))
    first, second = hall.log_in(1001, "first"), hall.log_in(1001, "second")
    answer(hall.ask(first, "enterroom", {"rid": 9}))
    refused = hall.ask(second, "enterroom", {"rid": 8})
    assert code(refused) == Code.TOO_MANY_ROOMS
    assert "user 1001 is in 1 rooms, the limit is 1" in str(refused[0])
    answer(hall.ask(second, "enterroom", {"rid": 9}))


def test_a_server_takes_a_user_into_a_room_and_out(server: Visitor) -> None:
    hall = Hall(limits=Limits(max_logins=2, max_rooms=1))
    first, second = hall.log_in(1001, "first"), hall.log_in(1001, "second")
    assert answer(call(hall, server, "addroommember", rid=9, uid=1001)) == {}
    assert first.rooms == second.rooms == {9}
    refused = call(hall, server, "addroommember", rid=8, uid=1001)
    assert code(refused) == Code.TOO_MANY_ROOMS
    answer(hall.ask(first, "leaveroom", {"rid": 9}))
    told, said = call(hall, server, "delroommember", rid=9, uid=1001)
    assert told == Push(second, "kickoutroom", {"rid": 9}, oneway=True)
    assert isinstance(said, Answer) and said.params == {}
    assert not second.rooms
    assert answer(call(hall, server, "delroommember", rid=9, uid=1002)) == {}


def test_who_is_away_cannot_be_taken_into_a_room(hall: Hall, server: Visitor) -> None:
    refused = call(hall, server, "addroommember", rid=9, uid=1001)
    assert code(refused) == Code.NOT_ONLINE


@pytest.mark.parametrize("method", ["addroommember", "delroommember"])
@pytest.mark.parametrize("params", [{"rid": 5}, {"uid": 5}])
def test_what_a_server_has_to_name(
    hall: Hall, server: Visitor, method: str, params: dict[str, int]
) -> None:
    assert code(call(hall, server, method, **params)) == Code.KEY_NOT_FOUND
