"""Reading what there was, and what one has not got."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.actions import Push, Visitor
from rtm_proto.gate.limits import MAX_HISTORY, Limits, Rate
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.store import ClearUnread, FindUnread, StoredMessage, Table
from rtm_proto.received import Conversation
from tests.hall import WALL, Hall, answer, call, code

Row = list[Any]
READS = {"getp2pmsg": "ouid", "getgroupmsg": "gid", "getroommsg": "rid", "getbroadcastmsg": ""}


def say(hall: Hall, visitor: Visitor, to: int, mid: int, **changes: Any) -> None:
    params = {"to": to, "mid": mid, "mtype": 30, "msg": f"message {mid}", **changes}
    hall.do(visitor, "sendmsg", params)


def read(hall: Hall, visitor: Visitor, method: str = "getp2pmsg", **params: Any) -> dict[str, Any]:
    whole = {"desc": False, "num": 10, **({"ouid": 1002} if method == "getp2pmsg" else {})}
    return answer(hall.do(visitor, method, {**whole, **params}))


def mids(page: dict[str, Any]) -> list[int]:
    return [row[3] for row in page["msgs"]]


# --- one page ---


def test_a_conversation_is_told_from_either_side(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    say(hall, alice, 1002, 7, attrs="{}")
    say(hall, bob, 1001, 8, mtype=51)
    say(hall, alice, 1003, 9)
    assert read(hall, alice) == {
        "num": 2,
        "lastid": 2,
        "begin": WALL + 1,
        "end": 0,
        "msgs": [
            [1, 1, 30, 7, False, "message 7", "{}", WALL],
            [2, 2, 51, 8, False, "message 8", "", WALL + 1],
        ],
    }
    page = read(hall, bob, ouid=1001, desc=True, begin=5)
    assert (page["lastid"], page["begin"], page["end"]) == (1, 5, WALL)
    assert [row[:2] for row in page["msgs"]] == [[2, 1], [1, 2]]


def test_a_file_is_found_in_history(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    hall.carry_out()
    [row] = read(hall, hall.log_in(1002), ouid=1001)["msgs"]
    [stored] = hall.store.messages()
    assert row[2:] == [50, 77, False, stored.msg, stored.attrs, WALL]


@pytest.mark.parametrize("desc", [True, False, 1, 0])
def test_there_may_be_nothing(hall: Hall, alice: Visitor, desc: Any) -> None:
    page = read(hall, alice, desc=desc, begin=3, end=9, lastid=5)
    assert page == {"num": 0, "lastid": 5, "begin": 3, "end": 9, "msgs": []}


def test_only_certain_mtypes(hall: Hall, alice: Visitor) -> None:
    for mid, mtype in enumerate([30, 32, 51, 30], 1):
        say(hall, alice, 1002, mid, mtype=mtype)
    assert mids(read(hall, alice, mtypes=[30, 51])) == [1, 3, 4]
    assert mids(read(hall, alice, mtypes=[99])) == []
    empty: list[int] = []
    for any_of_them in (empty, None):
        assert mids(read(hall, alice, mtypes=any_of_them)) == [1, 2, 3, 4]


def test_only_within_certain_times(hall: Hall, alice: Visitor) -> None:
    for mid in range(1, 6):
        say(hall, alice, 1002, mid)
    assert mids(read(hall, alice, begin=WALL + 1, end=WALL + 3)) == [2, 3, 4]
    assert mids(read(hall, alice, begin=WALL + 1, end=WALL + 3, desc=True)) == [4, 3, 2]
    assert mids(read(hall, alice, begin=None, end=None, lastid=None)) == [1, 2, 3, 4, 5]


def test_a_page_has_at_most_so_many(hall: Hall, alice: Visitor) -> None:
    for mid in range(1, MAX_HISTORY + 6):
        say(hall, alice, 1002, mid)
    page = read(hall, alice, num=10**6)
    assert page["num"] == len(page["msgs"]) == MAX_HISTORY
    assert mids(read(hall, alice, num=2, desc=True)) == [25, 24]


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num": 0}, Code.INVALID_PARAMETER),
        ({"num": -1}, Code.INVALID_PARAMETER),
        ({"num": ...}, Code.KEY_NOT_FOUND),
        ({"desc": ...}, Code.KEY_NOT_FOUND),
        ({"desc": "true"}, Code.TYPE_CONVERSION),
        ({"desc": 2}, Code.TYPE_CONVERSION),
        ({"begin": "0"}, Code.TYPE_CONVERSION),
        ({"end": 1.5}, Code.TYPE_CONVERSION),
        ({"lastid": "0"}, Code.TYPE_CONVERSION),
        ({"mtypes": 30}, Code.TYPE_CONVERSION),
        ({"mtypes": ["30"]}, Code.TYPE_CONVERSION),
    ],
)
def test_a_wrong_read_is_refused(
    hall: Hall, alice: Visitor, method: str, changes: dict[str, Any], expected: int
) -> None:
    hall.store_group(alice, 5, [1001])
    answer(hall.ask(alice, "enterroom", {"rid": 5}))
    key = READS[method]
    params = {"desc": True, "num": 5, **({key: 5} if key else {}), **changes}
    params = {name: value for name, value in params.items() if value is not ...}
    assert code(hall.ask(alice, method, params)) == expected
    assert hall.effects() == []


@pytest.mark.parametrize("method", ["getp2pmsg", "getgroupmsg", "getroommsg"])
def test_a_conversation_has_to_be_named(hall: Hall, alice: Visitor, method: str) -> None:
    assert code(hall.ask(alice, method, {"desc": True, "num": 5})) == Code.KEY_NOT_FOUND


def test_a_store_that_fails_is_told_of(hall: Hall, alice: Visitor) -> None:
    for method, params in (
        ("getp2pmsg", {"ouid": 1002, "desc": True, "num": 5}),
        ("getunread", {}),
    ):
        [refused] = hall.do(alice, method, params, StoreFault("disk gone"))
        assert code([refused]) == Code.WORK_QUEUE_FULL and "not read: disk gone" in str(refused)


# --- who may ---


def test_only_members_read_a_group(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    hall.store_group(alice, 5, [1001])
    hall.do(alice, "sendgroupmsg", {"gid": 5, "mid": 7, "mtype": 30, "msg": "x"})
    [row] = read(hall, alice, "getgroupmsg", gid=5)["msgs"]
    assert row[:5] == [1, 1001, 30, 7, False], "not a direction: who sent it"
    params = {"gid": 5, "desc": True, "num": 5}
    assert code(hall.ask(bob, "getgroupmsg", params)) == Code.NOT_GROUP_MEMBER


def test_only_who_is_in_a_room_reads_it(hall: Hall, alice: Visitor) -> None:
    params = {"rid": 5, "desc": True, "num": 5}
    assert code(hall.ask(alice, "getroommsg", params)) == Code.NOT_IN_ROOM
    answer(hall.ask(alice, "enterroom", {"rid": 5}))
    hall.do(alice, "sendroommsg", {"rid": 5, "mid": 7, "mtype": 30, "msg": "x"})
    [row] = read(hall, alice, "getroommsg", rid=5)["msgs"]
    assert row[:4] == [1, 1001, 30, 7]


def test_everybody_reads_broadcasts(hall: Hall, alice: Visitor, server: Visitor) -> None:
    params = {"from": 1003, "mid": 7, "mtype": 30, "msg": "x"}
    call(hall, server, "broadcastmsg", **params)
    hall.carry_out()
    [row] = read(hall, alice, "getbroadcastmsg")["msgs"]
    assert row[:4] == [1, 1003, 30, 7]


def test_a_server_reads_everything(hall: Hall, alice: Visitor, server: Visitor) -> None:
    hall.store_group(alice, 5, [1001])
    answer(hall.ask(alice, "enterroom", {"rid": 5}))
    say(hall, alice, 1002, 7)
    for method, key in (("sendgroupmsg", "gid"), ("sendroommsg", "rid")):
        hall.do(alice, method, {key: 5, "mid": 8, "mtype": 30, "msg": "x"})
    whole = {"desc": True, "num": 5}
    for method, params, whose in (
        ("getp2pmsg", {"uid": 1001, "ouid": 1002}, 1),
        ("getp2pmsg", {"uid": 1002, "ouid": 1001}, 2),
        ("getgroupmsg", {"uid": 1002, "gid": 5}, 1001),
        ("getroommsg", {"rid": 5}, 1001),
    ):
        assert call(hall, server, method, **params, **whole) == []
        [row] = cast("list[Row]", answer(hall.carry_out())["msgs"])
        assert row[1] == whose, method
    assert code(call(hall, server, "getp2pmsg", ouid=1001, **whole)) == Code.KEY_NOT_FOUND


def test_reads_have_rates_of_their_own(server: Visitor) -> None:
    hall = Hall(limits=Limits(user_history=Rate(2, 2), all_history=Rate(2, 3)))
    alice, bob = hall.log_in(1001), hall.log_in(1002)
    for _ in range(2):
        assert hall.ask(alice, "getunread", {}) == []
    for method in ("getunread", "cleanunread"):
        refused = hall.ask(alice, method, {})
        assert code(refused) == Code.RATE_LIMIT and "user_history: 2 a second" in str(refused[0])
    params = {"ouid": 1, "desc": True, "num": 5}
    assert code(hall.ask(alice, "getp2pmsg", params)) == Code.RATE_LIMIT
    assert hall.ask(bob, "getp2pmsg", params) == []
    assert "all_history" in str(hall.ask(bob, "getp2pmsg", params)[0])
    assert call(hall, server, "getp2pmsg", uid=1, **params) == []
    hall.now += 0.5
    assert hall.ask(alice, "getunread", {}) == []


# --- all pages ---

messages = st.lists(
    st.tuples(st.sampled_from([1001, 1002]), st.sampled_from([30, 50, 60]), st.integers(0, 3)),
    max_size=60,
)
bounds = st.none() | st.integers(-1, 100)


@given(
    messages,
    st.booleans(),
    st.integers(1, 25),
    bounds,
    bounds,
    st.lists(st.sampled_from([30, 50, 60]), max_size=2),
    st.booleans(),
)
def test_all_pages_together_are_the_whole_each_message_once(
    sent: list[tuple[int, int, int]],
    desc: bool,
    num: int,
    begin: int | None,
    end: int | None,
    mtypes: list[int],
    follow: bool,
) -> None:
    """*follow*: ask on with the answer's begin and end, as SDKs are told to, or with one's own."""
    store, mtime, model = MemoryStore(), WALL, list[StoredMessage]()
    for number, (sender, mtype, gap) in enumerate(sent, 1):
        mtime += 1 + gap
        model.append(
            StoredMessage(
                Conversation.P2P,
                sender,
                2003 - sender,
                number,
                mtype,
                "",
                "",
                mtime,
                number,
            )
        )
    store.save_messages(model)
    hall = Hall(store=store)
    alice = hall.log_in(1001)
    asked: dict[str, Any] = {
        "ouid": 1002,
        "desc": desc,
        "num": num,
        "begin": 0 if begin is None else WALL + begin,
        "end": 0 if end is None else WALL + end,
        "lastid": 0,
        "mtypes": mtypes,
    }
    found: list[Row] = []
    for _ in range(len(sent) + 2):
        page = answer(hall.do(alice, "getp2pmsg", asked))
        rows = cast("list[Row]", page["msgs"])
        assert page["num"] == len(rows) <= min(num, MAX_HISTORY)
        if not rows:
            assert [page[key] for key in ("lastid", "begin", "end")] == [
                asked[key] for key in ("lastid", "begin", "end")
            ]
            break
        found += rows
        asked["lastid"] = page["lastid"]
        if follow:
            asked |= {"begin": page["begin"], "end": page["end"]}
    wanted = [
        [m.id, 1 if m.sender == 1001 else 2, m.mtype, m.mid, False, "", "", m.mtime]
        for m in model
        if (begin is None or m.mtime >= WALL + begin)
        and (end is None or m.mtime <= WALL + end)
        and (not mtypes or m.mtype in mtypes)
    ]
    assert found == (wanted[::-1] if desc else wanted)


# --- unread ---


def unread(hall: Hall, visitor: Visitor, **params: Any) -> dict[str, Any]:
    return answer(hall.do(visitor, "getunread", params))


def test_who_was_away_finds_of_whom_there_is_something(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 7, [1001, 1002])
    say(hall, alice, 1002, 1)
    say(hall, hall.log_in(1003), 1002, 2)
    hall.do(alice, "sendgroupmsg", {"gid": 7, "mid": 3, "mtype": 30, "msg": "x"})
    for gate in (hall, hall.again()):
        bob = gate.log_in(1002)
        assert unread(gate, bob) == {"p2p": [1001, 1003], "group": [7]}
        assert unread(gate, bob, clear=False) == {"p2p": [1001, 1003], "group": [7]}
        assert unread(gate, gate.log_in(1001)) == {"p2p": [], "group": []}


def test_what_was_delivered_is_not_unread(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    params = {"to": 1002, "mid": 1, "mtype": 30, "msg": "x"}
    said = hall.do(alice, "sendmsg", params)
    assert unread(hall, bob)["p2p"] == [1001]
    [pushed] = [action for action in said if isinstance(action, Push)]
    hall.decisions.delivered(bob, pushed.message_id or 0)
    hall.carry_out()
    assert unread(hall, bob)["p2p"] == []


@pytest.mark.parametrize("clear", [True, 1])
def test_unread_is_told_and_cleared_at_once(hall: Hall, alice: Visitor, clear: Any) -> None:
    bob = hall.log_in(1002)
    say(hall, alice, 1002, 1)
    assert unread(hall, bob, clear=clear) == {"p2p": [1001], "group": []}
    assert unread(hall, bob) == {"p2p": [], "group": []}
    say(hall, alice, 1002, 2)
    assert unread(hall, bob)["p2p"] == [1001]
    assert answer(hall.do(bob, "cleanunread", {})) == {}
    assert unread(hall, bob)["p2p"] == []


@pytest.mark.parametrize("clear", ["yes", 2, 1.0])
def test_clear_is_a_truth_value(hall: Hall, alice: Visitor, clear: Any) -> None:
    assert code(hall.ask(alice, "getunread", {"clear": clear})) == Code.TYPE_CONVERSION


@pytest.mark.parametrize("clear", [None, False, 0])
def test_what_is_not_said_is_not_cleared(hall: Hall, alice: Visitor, clear: Any) -> None:
    say(hall, alice, 1002, 1)
    bob = hall.log_in(1002)
    for _ in range(2):
        assert unread(hall, bob, clear=clear)["p2p"] == [1001]


def test_what_comes_in_the_middle_is_not_cleared_untold(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    hall.store_group(alice, 7, [1001, 1002])
    say(hall, alice, 1002, 1)
    hall.ask(alice, "sendgroupmsg", {"gid": 7, "mid": 2, "mtype": 30, "msg": "x"})
    assert hall.ask(bob, "getunread", {"clear": True}) == []
    save, find = hall.effects()
    assert isinstance(find, FindUnread)
    told = hall.store.carry_out(find)  # before the group's message is kept
    hall.store.carry_out(save)
    hall.decisions.carried_out(find, told, None, now=hall.now)
    assert hall.said() == [], "it is not cleared yet"
    [clear] = hall.effects()
    assert clear == ClearUnread(clear.effect_id, 1002, 1)
    hall.store.carry_out(clear)
    hall.decisions.carried_out(clear, None, None, now=hall.now)
    assert answer(hall.said()) == {"p2p": [1001], "group": []}
    hall.decisions.carried_out(save, None, None, now=hall.now)
    hall.said()
    assert unread(hall, bob) == {"p2p": [], "group": [7]}


def test_what_could_not_be_cleared_is_not_told_as_cleared(hall: Hall, alice: Visitor) -> None:
    say(hall, alice, 1002, 1)
    bob = hall.log_in(1002)
    hall.ask(bob, "getunread", {"clear": True})
    [find] = hall.effects()
    hall.decisions.carried_out(find, hall.store.carry_out(find), None, now=hall.now)
    assert code(hall.carry_out(StoreFault("full"))) == Code.WORK_QUEUE_FULL
    assert unread(hall, bob)["p2p"] == [1001]


def test_a_group_that_one_has_left_is_not_told(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 7, [1001, 1002])
    hall.do(alice, "sendgroupmsg", {"gid": 7, "mid": 2, "mtype": 30, "msg": "x"})
    bob = hall.log_in(1002)
    hall.do(alice, "delgroupmembers", {"gid": 7, "uids": [1002]})
    assert hall.store.kept(0).uids(Table.MEMBERS) == {7: {1001}}
    assert unread(hall, bob) == {"p2p": [], "group": []}


@pytest.mark.parametrize("method", ["getunread", "cleanunread"])
def test_unread_is_a_users_own(hall: Hall, server: Visitor, method: str) -> None:
    assert code(call(hall, server, method, uid=1)) == Code.NOT_LOGGED_IN
