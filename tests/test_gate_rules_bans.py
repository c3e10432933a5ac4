"""Bans from the project, in groups, in rooms."""

from __future__ import annotations

from typing import Any

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.actions import Answer, Part, Push, Visitor
from rtm_proto.gate.rules.bans import FOR_EVER
from rtm_proto.gate.store import SaveRecord, Table
from tests.hall import USERS, WALL, Hall, answer, auth, code

PLACES = {"group": ("gid", Table.GROUP_BANS), "room": ("rid", Table.ROOM_BANS)}


@pytest.fixture
def operator() -> Visitor:
    return Visitor("operator", operator=True)


def do(hall: Hall, operator: Visitor, method: str, **params: Any) -> dict[str, object]:
    return answer(hall.do(operator, method, params))


def record(hall: Hall, table: Table, key: int) -> str | None:
    records = hall.store.kept(0).records
    return next((r.value for r in records if (r.table, r.key) == (table, key)), None)


def logs_in(hall: Hall, uid: int) -> bool:
    said = hall.ask(Visitor("v"), "auth", auth(uid=uid, token=USERS[uid]))
    if isinstance(said[-1], Answer):
        return bool(answer(said)["ok"])
    assert code(said) == Code.LOGIN_DENIED
    return False


# --- from the project ---


def test_who_is_banned_is_out_at_once_and_cannot_come_in(hall: Hall, operator: Visitor) -> None:
    alice = hall.log_in(1001, "alice")
    assert hall.ask(operator, "addprojectblack", {"uid": 1001, "btime": 60}) == []
    assert alice.uid == 1001, "it is not kept yet"
    said, kick, part = hall.carry_out()
    assert isinstance(said, Answer) and (said.visitor, said.params) == (operator, {})
    assert isinstance(kick, Push) and (kick.visitor, kick.method) == (alice, "kickout")
    assert isinstance(part, Part) and part.visitor is alice
    assert hall.decisions.held().logins == 0
    assert not logs_in(hall, 1001) and logs_in(hall, 1002)
    assert do(hall, operator, "isprojectblack", uid=1001) == {"ok": True}
    assert do(hall, operator, "isprojectblack", uid=1002) == {"ok": False}
    assert record(hall, Table.BAN, 1001) == str(WALL + 60_000)


def test_a_banned_user_with_a_wrong_token_learns_nothing(hall: Hall, operator: Visitor) -> None:
    do(hall, operator, "addprojectblack", uid=1001, btime=60)
    assert answer(hall.ask(Visitor("v"), "auth", auth(token="wrong"))) == {"ok": False}


def test_a_ban_may_be_for_a_second(hall: Hall, operator: Visitor) -> None:
    do(hall, operator, "addprojectblack", uid=1001, btime=1)
    assert record(hall, Table.BAN, 1001) == str(WALL + 1000)


def test_a_ban_ends_by_the_wall_clock(hall: Hall, operator: Visitor) -> None:
    do(hall, operator, "addprojectblack", uid=1001, btime=60)
    hall.now += 1e6
    hall.wall += 59_999
    assert not logs_in(hall, 1001)
    hall.wall += 1
    assert logs_in(hall, 1001)
    assert do(hall, operator, "isprojectblack", uid=1001) == {"ok": False}


@pytest.mark.parametrize("btime", [0, -1, -(2**63), 2**63 - 1])
def test_a_ban_may_be_for_ever(hall: Hall, operator: Visitor, btime: int) -> None:
    do(hall, operator, "addprojectblack", uid=1001, btime=btime)
    assert record(hall, Table.BAN, 1001) == str(FOR_EVER)
    hall.wall += 10**15
    assert not logs_in(hall, 1001)


def test_a_ban_can_be_lifted(hall: Hall, operator: Visitor) -> None:
    assert do(hall, operator, "removeprojectblack", uid=1001) == {}, "nobody is banned yet"
    assert hall.effects() == []
    do(hall, operator, "addprojectblack", uid=1001, btime=60)
    assert hall.ask(operator, "removeprojectblack", {"uid": 1001}) == []
    assert not logs_in(hall, 1001)
    assert answer(hall.carry_out()) == {}
    assert logs_in(hall, 1001) and record(hall, Table.BAN, 1001) is None


def test_a_ban_that_is_being_kept_is_not_lifted_unseen(hall: Hall, operator: Visitor) -> None:
    hall.ask(operator, "addprojectblack", {"uid": 1001, "btime": 60})
    refused = hall.ask(operator, "removeprojectblack", {"uid": 1001})
    assert code(refused) == Code.WORK_QUEUE_FULL
    hall.ask(operator, "addgroupban", {"gid": 5, "uid": 1001, "btime": 60})
    refused = hall.ask(operator, "removegroupban", {"gid": 5, "uid": 1001})
    assert code(refused) == Code.WORK_QUEUE_FULL


def test_a_ban_that_the_store_could_not_keep_is_none(hall: Hall, operator: Visitor) -> None:
    alice = hall.log_in(1001)
    refused = hall.do(operator, "addprojectblack", {"uid": 1001, "btime": 60}, StoreFault("full"))
    assert code(refused) == Code.WORK_QUEUE_FULL
    assert alice.uid == 1001


def test_a_file_token_is_no_way_around_a_ban(hall: Hall, operator: Visitor) -> None:
    quest = hall.quest(hall.log_in(1001))
    do_ban = hall.do(operator, "addprojectblack", {"uid": 1001, "btime": 60})
    assert len(do_ban) == 3
    assert code(hall.ask(hall.files, "sendfile", quest)) == Code.LOGIN_DENIED


# --- in a group, in a room ---


def speak(hall: Hall, place: str, key: int) -> int:
    """The code of what a member of the group, or somebody in the room, is answered."""
    member = hall.log_in(1001)
    if place == "room":
        answer(hall.ask(member, "enterroom", {"rid": key}))
    elif key not in hall.store.kept(0).uids(Table.MEMBERS):
        hall.store_group(member, key, [1001, 1002])
    params = {PLACES[place][0]: key, "mid": next(hall.quests), "mtype": 30, "msg": "hello"}
    said = hall.do(member, f"send{place}msg", params)
    return 0 if any(isinstance(each, Answer) for each in said) else code(said)


@pytest.mark.parametrize("place", PLACES)
def test_who_is_banned_somewhere_cannot_speak_there(
    hall: Hall, operator: Visitor, place: str
) -> None:
    key, table = PLACES[place]
    banned = {"group": Code.BANNED_IN_GROUP, "room": Code.BANNED_IN_ROOM}[place]
    do(hall, operator, f"add{place}ban", **{key: 5, "uid": 1001, "btime": 60})
    do(hall, operator, f"add{place}ban", **{key: 5, "uid": 1003, "btime": 30})
    assert record(hall, table, 5) == f'{{"1001":{WALL + 60_000},"1003":{WALL + 30_000}}}'
    for restarted in (False, True):
        gate = hall.again() if restarted else hall
        assert speak(gate, place, 5) == banned
        assert speak(gate, place, 6) == 0
        for uid, ok in ((1001, True), (1002, False), (1003, True)):
            assert do(gate, operator, f"isbanof{place}", **{key: 5, "uid": uid}) == {"ok": ok}
    hall.wall += 60_000
    assert speak(hall, place, 5) == 0
    assert do(hall, operator, f"isbanof{place}", **{key: 5, "uid": 1001}) == {"ok": False}


@pytest.mark.parametrize("place", PLACES)
def test_a_ban_somewhere_can_be_lifted(hall: Hall, operator: Visitor, place: str) -> None:
    key, table = PLACES[place]
    assert do(hall, operator, f"remove{place}ban", **{key: 5, "uid": 1001}) == {}
    for uid in (1001, 1003):
        do(hall, operator, f"add{place}ban", **{key: 5, "uid": uid, "btime": 0})
    do(hall, operator, f"remove{place}ban", **{key: 5, "uid": 1001})
    assert record(hall, table, 5) == f'{{"1003":{FOR_EVER}}}'
    assert speak(hall, place, 5) == 0
    do(hall, operator, f"remove{place}ban", **{key: 5, "uid": 1003})
    assert record(hall, table, 5) is None
    assert do(hall, operator, f"isbanof{place}", **{key: 5, "uid": 1003}) == {"ok": False}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("everywhere", [0, -5])
def test_a_ban_may_be_everywhere(
    hall: Hall, operator: Visitor, place: str, everywhere: int
) -> None:
    key, table = PLACES[place]
    do(hall, operator, f"add{place}ban", **{key: everywhere, "uid": 1001, "btime": 60})
    assert speak(hall, place, 5) and speak(hall, place, 6)
    assert record(hall, table, 0) is not None
    do(hall, operator, f"remove{place}ban", **{key: everywhere, "uid": 1001})
    assert not speak(hall, place, 5)


def test_a_ban_in_a_group_is_none_in_a_room(hall: Hall, operator: Visitor) -> None:
    do(hall, operator, "addgroupban", gid=5, uid=1001, btime=60)
    assert not speak(hall, "room", 5)
    do(hall, operator, "addroomban", rid=6, uid=1001, btime=60)
    assert not speak(hall, "group", 6)


def test_who_is_banned_in_a_group_still_hears(hall: Hall, operator: Visitor) -> None:
    speak(hall, "group", 5)
    do(hall, operator, "addgroupban", gid=5, uid=1002, btime=60)
    bob = hall.log_in(1002)
    member = hall.log_in(1001)
    said = hall.do(member, "sendgroupmsg", {"gid": 5, "mid": 9, "mtype": 30, "msg": "x"})
    assert [push.visitor for push in said if isinstance(push, Push)] == [bob]


# --- for all of them ---

METHODS = {
    "addprojectblack": {"uid": 1, "btime": 1},
    "removeprojectblack": {"uid": 1},
    "isprojectblack": {"uid": 1},
    "addgroupban": {"gid": 1, "uid": 1, "btime": 1},
    "removegroupban": {"gid": 1, "uid": 1},
    "isbanofgroup": {"gid": 1, "uid": 1},
    "addroomban": {"rid": 1, "uid": 1, "btime": 1},
    "removeroomban": {"rid": 1, "uid": 1},
    "isbanofroom": {"rid": 1, "uid": 1},
}
MISSING = [(method, key) for method, params in METHODS.items() for key in params]


@pytest.mark.parametrize(("method", "key"), MISSING)
def test_what_is_missing_is_named(hall: Hall, operator: Visitor, method: str, key: str) -> None:
    params = {name: value for name, value in METHODS[method].items() if name != key}
    refused = hall.ask(operator, method, params)
    assert code(refused) == Code.KEY_NOT_FOUND
    assert f"{key} is missing" in str(refused[0])


@pytest.mark.parametrize("method", METHODS)
def test_users_ban_nobody(hall: Hall, method: str) -> None:
    refused = hall.ask(hall.log_in(1001), method, METHODS[method])
    assert code(refused) == Code.METHOD_FORBIDDEN


def test_bans_are_there_after_a_restart(hall: Hall, operator: Visitor) -> None:
    do(hall, operator, "addprojectblack", uid=1001, btime=60)
    again = hall.again()
    assert not logs_in(again, 1001)
    again.wall += 60_000
    assert logs_in(again, 1001)


def test_what_has_ended_is_forgotten_here_and_in_the_store(hall: Hall, operator: Visitor) -> None:
    for uid, btime in ((1001, 60), (1002, 0)):
        do(hall, operator, "addprojectblack", uid=uid, btime=btime)
        do(hall, operator, "addgroupban", gid=uid, uid=1, btime=btime)
        do(hall, operator, "addroomban", rid=uid, uid=1, btime=btime)
    hall.decisions.tidy()
    assert hall.effects() == []
    hall.wall += 60_000
    hall.decisions.tidy()
    effects = hall.effects()
    assert [(e.table, e.key, e.value) for e in effects if isinstance(e, SaveRecord)] == [
        (Table.BAN, 1001, None),
        (Table.GROUP_BANS, 1001, None),
        (Table.ROOM_BANS, 1001, None),
    ]
    refused = hall.ask(operator, "addprojectblack", {"uid": 1001, "btime": 60})
    assert code(refused) == Code.WORK_QUEUE_FULL, "the new ban must not be forgotten with the old"
    for effect in effects:
        hall.decisions.carried_out(effect, None, None, now=hall.now)
    assert hall.said() == [] and hall.decisions.held().effects == 0
    hall.decisions.tidy()
    assert hall.effects() == []


def test_what_is_being_changed_is_not_tidied_away(hall: Hall, operator: Visitor) -> None:
    do(hall, operator, "addprojectblack", uid=1001, btime=60)
    do(hall, operator, "addgroupban", gid=5, uid=1, btime=60)
    hall.wall += 60_000
    hall.ask(operator, "addprojectblack", {"uid": 1001, "btime": 60})
    hall.ask(operator, "addgroupban", {"gid": 5, "uid": 2, "btime": 60})
    hall.decisions.tidy()
    assert len(hall.effects()) == 2


def test_a_ban_in_all_groups_is_none_in_a_room_and_the_other_way_round(
    hall: Hall, operator: Visitor
) -> None:
    do(hall, operator, "addgroupban", gid=0, uid=1001, btime=60)
    assert speak(hall, "group", 5) and not speak(hall, "room", 5)
    do(hall, operator, "removegroupban", gid=0, uid=1001)
    do(hall, operator, "addroomban", rid=0, uid=1001, btime=60)
    assert speak(hall, "room", 5) and not speak(hall, "group", 5)
