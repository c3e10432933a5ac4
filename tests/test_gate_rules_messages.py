"""Text messages at the gate."""

from __future__ import annotations

from typing import Any

import pytest

from rtm_proto.attrs import MAX_ATTRS
from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.actions import Action, Answer, Push, Refuse, Visitor
from rtm_proto.gate.limits import MAX_MESSAGE, MAX_RECEIVERS, Limits, Rate
from rtm_proto.gate.store import SaveMessages, StoredMessage
from rtm_proto.received import FILE_MTYPES, Conversation
from tests.hall import WALL, Hall, answer, call, code, golden, pushes, quests
from tests.vectors import Vector

METHODS = {"sendmsg": "to", "sendgroupmsg": "gid", "sendroommsg": "rid"}
JS = quests("sendmsg", "sendgroupmsg")


@pytest.fixture
def alice(hall: Hall) -> Visitor:
    """In group 5 and room 5, with 1002."""
    alice = hall.log_in(1001, "alice")
    hall.store_group(alice, 5, [1001, 1002])
    answer(hall.ask(alice, "enterroom", {"rid": 5}))
    return alice


def text(method: str = "sendmsg", **changes: Any) -> dict[str, Any]:
    target = 1002 if method == "sendmsg" else 5
    params = {METHODS[method]: target, "mid": 77, "mtype": 30, "msg": "hello", "attrs": "{}"}
    return {key: value for key, value in {**params, **changes}.items() if value is not ...}


def say(hall: Hall, visitor: Visitor, method: str = "sendmsg", **changes: Any) -> list[Action]:
    return hall.ask(visitor, method, text(method, **changes))


def texts(actions: list[Action]) -> list[str]:
    return [action.text for action in actions if isinstance(action, Refuse)]


@pytest.mark.parametrize(
    ("method", "push", "kind"),
    [
        ("sendmsg", "pushmsg", Conversation.P2P),
        ("sendgroupmsg", "pushgroupmsg", Conversation.GROUP),
        ("sendroommsg", "pushroommsg", Conversation.ROOM),
    ],
)
def test_a_message_is_kept_then_answered_then_pushed(
    hall: Hall, alice: Visitor, method: str, push: str, kind: Conversation
) -> None:
    bob = hall.log_in(1002, "bob")
    answer(hall.ask(bob, "enterroom", {"rid": 5}))
    assert say(hall, alice, method) == []
    [effect] = hall.effects()
    assert isinstance(effect, SaveMessages)
    [message] = effect.messages
    target = text(method)[METHODS[method]]
    waiting = () if kind is Conversation.ROOM else (1002,)
    assert message == StoredMessage(
        kind, 1001, target, 77, 30, "hello", "{}", WALL, message.id, None, waiting
    )
    hall.decisions.carried_out(effect, None, None, now=hall.now)
    said, pushed = hall.said()
    assert isinstance(said, Answer) and (said.visitor, said.params) == (alice, {"mtime": WALL})
    assert isinstance(pushed, Push) and (pushed.visitor, pushed.method) == (bob, push)
    assert pushed.message_id == (None if kind is Conversation.ROOM else message.id)
    assert pushed.params == {
        "from": 1001,
        METHODS[method]: target,
        "mid": 77,
        "mtype": 30,
        "msg": "hello",
        "attrs": "{}",
        "mtime": WALL,
    }


IN_ORDER: list[tuple[dict[str, Any], int]] = [
    ({"to": ...}, Code.KEY_NOT_FOUND),
    ({"to": "1002"}, Code.TYPE_CONVERSION),
    ({"mid": ...}, Code.KEY_NOT_FOUND),
    ({"mid": 0}, Code.INVALID_PARAMETER),
    ({"mid": -1}, Code.INVALID_PARAMETER),
    ({"mtype": ...}, Code.KEY_NOT_FOUND),
    ({"mtype": "30"}, Code.TYPE_CONVERSION),
    ({"mtype": 0}, Code.BAD_MTYPE),
    ({"mtype": 128}, Code.BAD_MTYPE),
    ({"mtype": -30}, Code.BAD_MTYPE),
    ({"mtype": 40}, Code.BAD_MTYPE),
    ({"mtype": 50}, Code.BAD_MTYPE),
    ({"msg": ...}, Code.KEY_NOT_FOUND),
    ({"msg": 5}, Code.TYPE_CONVERSION),
    ({"attrs": 5}, Code.TYPE_CONVERSION),
    ({"msg": "x" * (MAX_MESSAGE + 1)}, Code.MESSAGE_TOO_LARGE),
    ({"attrs": "x" * (MAX_ATTRS + 1)}, Code.MESSAGE_TOO_LARGE),
    ({"to": 1001}, Code.SEND_TO_ONESELF),
]


@pytest.mark.parametrize(("changes", "expected"), IN_ORDER, ids=lambda x: str(x)[:30])
def test_a_wrong_message_is_refused(
    hall: Hall, alice: Visitor, changes: dict[str, Any], expected: int
) -> None:
    assert code(say(hall, alice, **changes)) == expected
    assert hall.effects() == []


@pytest.mark.parametrize("first", range(len(IN_ORDER)))
def test_of_two_faults_the_first_in_the_documented_order_is_told(
    hall: Hall, alice: Visitor, first: int
) -> None:
    changes, expected = IN_ORDER[first]
    for more, _ in IN_ORDER[first + 1 :]:
        if not more.keys() & changes.keys():
            assert code(say(hall, alice, **changes, **more)) == expected, more


def test_every_mtype_but_the_files_is_taken(hall: Hall, alice: Visitor) -> None:
    for mtype in range(-2, 131):
        said = say(hall, alice, mtype=mtype, mid=1000 + mtype)
        right = 1 <= mtype <= 127 and mtype not in FILE_MTYPES
        assert said == [] if right else code(said) == Code.BAD_MTYPE, mtype


def test_the_limits_are_of_bytes_and_can_be_set(alice: Visitor) -> None:
    hall = Hall(limits=Limits(max_message=6, max_attrs=3))
    alice = hall.log_in(1001)
    assert say(hall, alice, msg="文文", attrs="é1") == []
    refused = say(hall, alice, msg="文文1", mid=78)
    assert code(refused) == Code.MESSAGE_TOO_LARGE
    assert texts(refused) == ["msg of 7 bytes is over the limit of 6"]
    refused = say(hall, alice, attrs="éé", mid=78)
    assert texts(refused) == ["attrs of 4 bytes is over the limit of 3"]


def test_the_largest_message_is_taken(hall: Hall, alice: Visitor) -> None:
    assert say(hall, alice, msg="x" * MAX_MESSAGE, attrs="y" * MAX_ATTRS) == []


@pytest.mark.parametrize("attrs", [..., None, "", b"{}"])
def test_attrs_may_be_missing(hall: Hall, alice: Visitor, attrs: Any) -> None:
    assert say(hall, alice, attrs=attrs) == []
    hall.carry_out()
    assert hall.store.messages()[0].attrs == ("{}" if attrs == b"{}" else "")


@pytest.mark.parametrize("mid", [1, 2**63 - 1])
def test_a_mid_is_any_int64_above_0(hall: Hall, alice: Visitor, mid: int) -> None:
    assert say(hall, alice, mid=mid) == []


@pytest.mark.parametrize("msg", ["", b"\xff\x00", "\udcff"])
def test_a_message_may_be_anything(hall: Hall, alice: Visitor, msg: Any) -> None:
    hall.log_in(1002)
    say(hall, alice, msg=msg)
    [pushed] = [action for action in hall.carry_out() if isinstance(action, Push)]
    told = pushed.params["msg"]
    wanted = msg if isinstance(msg, bytes) else msg.encode("utf-8", "surrogateescape")
    assert isinstance(told, str) and told.encode("utf-8", "surrogateescape") == wanted


@pytest.mark.parametrize("method", METHODS)
def test_a_mid_is_delivered_once(hall: Hall, alice: Visitor, method: str) -> None:
    assert say(hall, alice, method) == []
    assert code(say(hall, alice, method)) == Code.WORK_QUEUE_FULL
    assert "mtime" in answer(hall.carry_out())
    assert code(say(hall, alice, method)) == Code.DUPLICATE_MID
    again = hall.again()
    alice = again.log_in(1001)
    answer(again.ask(alice, "enterroom", {"rid": 5}))
    assert code(say(again, alice, method)) == Code.DUPLICATE_MID


def test_a_mid_is_one_of_messages_and_files_together(hall: Hall, alice: Visitor) -> None:
    say(hall, alice)
    hall.carry_out()
    assert code(hall.send(alice)) == Code.DUPLICATE_MID


def test_what_the_store_could_not_keep_may_be_sent_again(hall: Hall, alice: Visitor) -> None:
    hall.log_in(1002)
    say(hall, alice)
    assert code(hall.carry_out(StoreFault("full"))) == Code.WORK_QUEUE_FULL
    assert say(hall, alice) == []
    assert pushes(hall.carry_out()) == [("user 1002", "pushmsg")]


def test_only_who_is_in_a_group_or_room_sends_there(hall: Hall, alice: Visitor) -> None:
    assert code(say(hall, alice, "sendgroupmsg", gid=6)) == Code.NOT_GROUP_MEMBER
    assert code(say(hall, alice, "sendroommsg", rid=6)) == Code.NOT_IN_ROOM


@pytest.mark.parametrize("vector", JS, ids=lambda vector: vector.name)
def test_what_the_javascript_sdk_says_is_understood(hall: Hall, vector: Vector) -> None:
    method, params = golden(vector.name)
    js = hall.log_in(654321)
    hall.store_group(js, 999999, [654321, 1002])
    hall.do(hall.log_in(1002), "addblacks", {"blacks": [1]})
    assert hall.ask(js, method, params) == []
    assert answer(hall.carry_out()) == {"mtime": WALL}
    assert hall.store.messages()[0].msg == params["msg"]


def test_there_are_golden_messages_of_both_kinds() -> None:
    methods = {golden(vector.name)[0] for vector in JS}
    assert methods == {"sendmsg", "sendgroupmsg"} and len(JS) == 8


# --- servers ---


def test_a_server_speaks_for_anybody(hall: Hall) -> None:
    server, bob = Visitor("server"), hall.log_in(1002, "bob")
    hall.store_group(bob, 5, [1002])
    answer(hall.ask(bob, "enterroom", {"rid": 5}))
    for method in METHODS:
        params = text(method)
        assert code(call(hall, server, method, **params)) == Code.KEY_NOT_FOUND, "whom for?"
        assert call(hall, server, method, **{"from": 1001, **params}) == []
        said = hall.carry_out()
        assert answer(said) == {"mtime": hall.store.messages()[-1].mtime}
        [pushed] = [action for action in said if isinstance(action, Push)]
        assert pushed.params["from"] == 1001 and pushed.visitor is bob


def test_a_server_sends_one_message_to_several(hall: Hall) -> None:
    server = Visitor("server")
    bob, carol = hall.log_in(1002, "bob"), hall.log_in(1003, "carol")
    params = {"from": 1001, "tos": [1003, 1002], "mid": 7, "mtype": 30, "msg": "all"}
    assert call(hall, server, "sendmsgs", **params) == []
    said = hall.carry_out()
    assert pushes(said) == [("carol", "pushmsg"), ("bob", "pushmsg")]
    assert [p.params["to"] for p in said if isinstance(p, Push)] == [1003, 1002]
    first, second = hall.store.messages()
    assert first.mtime == second.mtime and {first.id, second.id} == {1, 2}
    assert code(call(hall, server, "sendmsgs", **params)) == Code.DUPLICATE_MID
    params["tos"] = [1002, 1004]
    assert call(hall, server, "sendmsgs", **params) == []
    assert pushes(hall.carry_out()) == [], "who had it is left out"
    assert bob.uid and carol.uid


@pytest.mark.parametrize(
    ("tos", "expected"),
    [
        ([], Code.EMPTY_PARAMETER),
        ([1002, 1002], Code.INVALID_PARAMETER),
        ([1002, 1001], Code.SEND_TO_ONESELF),
        ([*range(5000, 5001 + MAX_RECEIVERS)], Code.TOO_MANY_ITEMS),
    ],
)
def test_a_wrong_list_of_receivers_is_refused(hall: Hall, tos: list[int], expected: int) -> None:
    params = {"from": 1001, "tos": tos, "mid": 7, "mtype": 30, "msg": "all"}
    assert code(call(hall, Visitor("server"), "sendmsgs", **params)) == expected


def test_a_broadcast_reaches_everybody_but_its_sender(hall: Hall) -> None:
    for uid in (1001, 1002, 1003):
        hall.log_in(uid)
    params = {"from": 1002, "mid": 7, "mtype": 30, "msg": "all"}
    assert call(hall, Visitor("server"), "broadcastmsg", **params) == []
    said = hall.carry_out()
    push = "pushbroadcastmsg"
    assert pushes(said) == [("user 1001", push), ("user 1003", push)]
    assert hall.store.messages()[0].waiting == ()


@pytest.mark.parametrize("method", ["sendmsgs", "broadcastmsg"])
def test_users_do_not_send_to_many(hall: Hall, alice: Visitor, method: str) -> None:
    params = {"tos": [1002], "mid": 7, "mtype": 30, "msg": "all"}
    assert code(hall.ask(alice, method, params)) == Code.METHOD_FORBIDDEN


# --- rates ---


def test_messages_have_rates_of_their_own() -> None:
    hall = Hall(limits=Limits(user_messages=Rate(1, 2), all_messages=Rate(1, 3)))
    alice, bob = hall.log_in(1001), hall.log_in(1003)
    assert say(hall, alice, mid=1) == say(hall, alice, mid=2) == []
    refused = say(hall, alice, mid=3)
    assert code(refused) == Code.RATE_LIMIT
    assert "user_messages: 1 a second, 2 at once" in str(refused[0])
    assert say(hall, bob, mid=4) == []
    assert "all_messages" in str(say(hall, bob, mid=5)[0])
    server = call(hall, Visitor("server"), "sendmsg", **{"from": 1001, **text(mid=6)})
    assert server == [], "a server has another rate"
    hall.now += 1
    assert say(hall, alice, mid=3) == []
