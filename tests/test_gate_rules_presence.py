"""Who is logged in at a gate, and who is in which room."""

from __future__ import annotations

from rtm_proto.gate.actions import Visitor
from rtm_proto.gate.rules.presence import Presence


def test_the_logins_of_a_user_are_told_oldest_first() -> None:
    presence, first, second = Presence(), Visitor("first"), Visitor("second")
    presence.log_in(first, 5)
    presence.log_in(second, 5)
    assert (presence.of(5), presence.of(6), presence.logins) == ([first, second], [], 2)
    assert [*presence.users] == [5]
    presence.forget(first)
    assert (presence.of(5), first.uid, presence.logins) == ([second], None, 1)
    presence.forget(second)
    presence.forget(second)
    assert (presence.of(5), [*presence.users], presence.logins) == ([], [], 0)


def test_rooms_end_with_the_login() -> None:
    presence, first, second = Presence(), Visitor("first"), Visitor("second")
    for visitor in (first, second):
        presence.log_in(visitor, 5)
        presence.enter(visitor, 9)
        presence.enter(visitor, 9)
    presence.enter(first, 8)
    assert (presence.in_room(9), presence.places) == ([first, second], 3)
    assert presence.rooms_of(5) == {8, 9}
    presence.forget(first)
    assert (presence.in_room(9), presence.in_room(8), presence.places) == ([second], [], 1)
    assert (presence.rooms_of(5), first.rooms) == ({9}, set())
    presence.leave(second, 9)
    presence.leave(second, 9)
    assert (presence.in_room(9), presence.places, presence.rooms_of(5)) == ([], 0, set())


def test_who_is_a_server_is_none_when_it_has_left() -> None:
    presence, server = Presence(), Visitor("server", server=True)
    presence.forget(server)
    assert not server.server
