"""Who may send to whom."""

from __future__ import annotations

from rtm_proto.codes import Code
from rtm_proto.gate.decisions import (
    Visitor,
)
from rtm_proto.gate.limits import Limits
from tests.hall import (
    KINDS,
    Hall,
    answer,
    call,
    code,
    pushes,
    serve,
)


def test_only_a_member_sends_to_a_group(hall: Hall, alice: Visitor) -> None:
    assert code(hall.send(alice, "sendgroupfile", gid=5)) == Code.NOT_GROUP_MEMBER
    hall.store_group(hall.log_in(1002), 5, [1002])
    assert code(hall.send(alice, "sendgroupfile", gid=5)) == Code.NOT_GROUP_MEMBER


def test_who_has_left_sends_to_no_room(hall: Hall, alice: Visitor) -> None:
    answer(hall.ask(alice, "enterroom", {"rid": 5}))
    quest = hall.quest(alice, "sendroomfile", rid=5)
    hall.decisions.left(alice)
    assert code(hall.ask(hall.files, "sendroomfile", quest)) == Code.NOT_IN_ROOM


def test_only_who_is_in_a_room_sends_to_it(hall: Hall, alice: Visitor) -> None:
    assert code(hall.send(alice, "sendroomfile", rid=5)) == Code.NOT_IN_ROOM
    answer(hall.ask(hall.log_in(1002), "enterroom", {"rid": 5}))
    assert code(hall.send(alice, "sendroomfile", rid=5)) == Code.NOT_IN_ROOM


def test_a_server_speaks_for_a_user_who_is_in_no_group_and_no_room(
    hall: Hall, server: Visitor
) -> None:
    bob = hall.log_in(1002, "bob")
    hall.store_group(bob, 5, [1002, 1003])
    answer(hall.ask(bob, "enterroom", {"rid": 5}))
    for cmd, push in (("sendgroupfile", "pushgroupmsg"), ("sendroomfile", "pushroommsg")):
        assert serve(hall, server, cmd, **{KINDS[cmd]: 5}) == []
        assert pushes(hall.carry_out()) == [("bob", push)]
    assert serve(hall, server, "sendfile") == []
    assert pushes(hall.carry_out()) == [("bob", "pushmsg")]
    assert {message.sender for message in hall.store.messages()} == {1001}


def test_what_was_granted_to_a_user_gives_no_more_rights_beside_a_server(
    hall: Hall, server: Visitor, alice: Visitor
) -> None:
    answer(call(hall, server, "ping"))
    assert code(hall.send(alice, "sendgroupfile", gid=5)) == Code.NOT_GROUP_MEMBER
    token = hall.token(alice, "sendroomfile", 5)
    answer(call(hall, server, "filetoken", **{"cmd": "sendroomfile", "from": 1001, "rid": 5}))
    assert code(hall.send(alice, "sendroomfile", rid=5, token=token)) == Code.NOT_IN_ROOM


def test_even_a_server_sends_nobody_a_file_of_his_own(hall: Hall, server: Visitor) -> None:
    assert code(serve(hall, server, "sendfile", to=1001)) == Code.SEND_TO_ONESELF
    assert code(serve(hall, server, "sendfiles", tos=[1002, 1001])) == Code.SEND_TO_ONESELF


def test_what_a_server_says_is_free_of_blocks_and_bans(hall: Hall, server: Visitor) -> None:
    operator = Visitor("operator", operator=True)
    bob = hall.log_in(1002, "bob")
    hall.store_group(bob, 5, [1001, 1002])
    hall.do(bob, "addblacks", {"blacks": [1001]})
    hall.do(operator, "addprojectblack", {"uid": 1001, "btime": 0})
    hall.do(operator, "addgroupban", {"gid": 5, "uid": 1001, "btime": 0})
    for method, target in (("sendmsg", {"to": 1002}), ("sendgroupmsg", {"gid": 5})):
        params = {"from": 1001, **target, "mid": 7, "mtype": 30, "msg": "x"}
        assert call(hall, server, method, **params) == []


def test_a_room_is_entered_with_any_login() -> None:
    hall = Hall(limits=Limits(max_logins=2))
    first, second = hall.log_in(1001, "first"), hall.log_in(1001, "second")
    answer(hall.ask(first, "enterroom", {"rid": 5}))
    assert hall.ask(second, "sendroommsg", {"rid": 5, "mid": 7, "mtype": 30, "msg": "x"}) == []


def test_nobody_sends_to_who_blocks_him_or_while_he_is_banned(hall: Hall, alice: Visitor) -> None:
    operator = Visitor("operator", operator=True)
    params = {"to": 1002, "mid": 7, "mtype": 30, "msg": "x"}
    hall.do(operator, "addblacks", {"uid": 1002, "blacks": [1001]})
    assert code(hall.ask(alice, "sendmsg", params)) == Code.BLOCKED_USER
    hall.store_group(alice, 5, [1001])
    hall.do(operator, "addgroupban", {"gid": 5, "uid": 1001, "btime": 9})
    hall.do(operator, "addroomban", {"rid": 5, "uid": 1001, "btime": 9})
    answer(hall.ask(alice, "enterroom", {"rid": 5}))
    params = {"gid": 5, "rid": 5, **params}
    assert code(hall.ask(alice, "sendgroupmsg", params)) == Code.BANNED_IN_GROUP
    assert code(hall.ask(alice, "sendroommsg", params)) == Code.BANNED_IN_ROOM
    assert hall.ask(alice, "sendmsg", {**params, "to": 1003}) == []
    assert code(hall.ask(alice, "sendmsg", {**params, "to": 1001})) == Code.SEND_TO_ONESELF


def test_a_group_or_room_may_have_the_number_of_its_sender(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 1001, [1001])
    answer(hall.ask(alice, "enterroom", {"rid": 1001}))
    for mid, (method, key) in enumerate((("sendgroupmsg", "gid"), ("sendroommsg", "rid")), 1):
        assert hall.ask(alice, method, {key: 1001, "mid": mid, "mtype": 30, "msg": "x"}) == []


def test_a_token_from_before_a_ban_is_of_no_use(hall: Hall, alice: Visitor) -> None:
    quest = hall.quest(alice)
    operator = Visitor("operator", operator=True)
    hall.do(operator, "addprojectblack", {"uid": 1001, "btime": 0})
    assert code(hall.ask(hall.files, "sendfile", quest)) == Code.LOGIN_DENIED
