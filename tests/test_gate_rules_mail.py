"""What becomes of messages: mids, mtime, history ids, who is told."""

from __future__ import annotations

from typing import cast

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import StoreFault
from rtm_proto.gate.decisions import (
    MID_BOUND,
    MID_WINDOW,
    Answer,
    Push,
    Visitor,
)
from rtm_proto.gate.limits import Limits
from rtm_proto.gate.links import Links
from rtm_proto.gate.rules.mail import ftype_of
from rtm_proto.gate.store import (
    Delivered,
    Kept,
    StoredMessage,
    Table,
)
from rtm_proto.received import Conversation
from tests.hall import (
    KINDS,
    WALL,
    Hall,
    answer,
    code,
    pushes,
    serve,
)


@pytest.mark.parametrize("mid", [1, 2**63 - 1])
def test_a_mid_is_any_int64_above_0(hall: Hall, alice: Visitor, mid: int) -> None:
    assert hall.send(alice, mid=mid) == []
    hall.carry_out()
    assert hall.store.messages()[0].mid == mid


def test_a_mid_that_was_delivered_is_200053(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    answer(hall.carry_out())
    assert code(hall.send(alice)) == Code.DUPLICATE_MID
    assert len(hall.store.messages()) == 1


def test_a_mid_counts_within_its_sender_kind_and_target(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002)
    hall.store_group(alice, 1002, [1001])
    answer(hall.ask(alice, "enterroom", {"rid": 1002}))
    for sender, cmd, target in (
        (alice, "sendfile", 1002),
        (alice, "sendgroupfile", 1002),
        (alice, "sendroomfile", 1002),
        (alice, "sendfile", 1003),
        (bob, "sendfile", 1003),
    ):
        changes = {KINDS[cmd]: target}
        assert hall.send(sender, cmd, **changes) == []
        answer(hall.carry_out())
        assert code(hall.send(sender, cmd, **changes)) == Code.DUPLICATE_MID


def test_a_mid_is_remembered_for_half_an_hour(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    hall.carry_out()
    hall.now += MID_WINDOW
    assert code(hall.send(alice)) == Code.DUPLICATE_MID
    hall.now += 1
    assert hall.send(alice) == []


def test_a_refused_repeat_does_not_keep_a_mid_longer(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    hall.carry_out()
    hall.now += MID_WINDOW - 1
    code(hall.send(alice))
    hall.now += 2
    assert hall.send(alice) == []


def test_a_mid_that_is_being_stored_is_to_be_tried_again_later(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    assert code(hall.send(alice)) == Code.WORK_QUEUE_FULL
    assert hall.send(alice, mid=78) == []
    assert len(hall.effects()) == 2


def test_what_the_store_could_not_keep_is_refused_and_may_be_sent_again(
    hall: Hall, alice: Visitor
) -> None:
    hall.log_in(1002)
    hall.send(alice)
    assert code(hall.carry_out(StoreFault("no room"))) == Code.WORK_QUEUE_FULL
    assert hall.send(alice) == []
    assert pushes(hall.carry_out()) == [("user 1002", "pushmsg")]


@pytest.mark.parametrize("began", [0.0, 90_000.0, 1e9])
def test_a_mid_is_delivered_once_across_a_restart_wherever_the_clock_begins(
    hall: Hall, alice: Visitor, began: float
) -> None:
    hall.send(alice)
    hall.carry_out()
    again = hall.again()
    again.now = began
    again.wall = WALL + 60_000
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID
    again.now += MID_WINDOW - 60
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID
    again.now += 1
    assert again.send(again.log_in(1001)) == []


def test_what_was_kept_long_before_a_restart_is_no_duplicate(hall: Hall, alice: Visitor) -> None:
    hall.send(alice)
    hall.carry_out()
    again = hall.again()
    again.wall = WALL + int(MID_WINDOW * 1000) + 1
    assert again.send(again.log_in(1001)) == []


def test_what_was_kept_just_half_an_hour_before_a_restart_is_a_duplicate(
    hall: Hall, alice: Visitor
) -> None:
    hall.send(alice)
    hall.carry_out()
    again = hall.again()
    again.wall = WALL + int(MID_WINDOW * 1000)
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID


def test_a_restart_with_the_clock_stepped_back_still_knows_its_mids(
    hall: Hall, alice: Visitor
) -> None:
    hall.send(alice)
    hall.carry_out()
    again = hall.again()
    again.wall = WALL - 3_600_000
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID
    again.send(again.log_in(1001), mid=5)
    assert answer(again.carry_out())["mtime"] == WALL + 1, "mtime must increase"
    again.now += MID_WINDOW
    assert code(again.send(again.log_in(1001))) == Code.DUPLICATE_MID


def test_mtime_strictly_increases_whatever_the_clock_does(hall: Hall, alice: Visitor) -> None:
    told: list[object] = []
    for mid, step in enumerate([0, 0, 5, -100, 0, 2000, -2000], 1):
        hall.wall += step
        hall.send(alice, mid=mid)
        told.append(answer(hall.carry_out())["mtime"])
    assert told == [WALL, WALL + 1, WALL + 5, WALL + 6, WALL + 7, WALL + 1905, WALL + 1906]


def test_only_the_receiver_is_told_of_a_file(hall: Hall, alice: Visitor) -> None:
    hall.log_in(1002, "bob")
    hall.log_in(1003, "carol")
    hall.send(alice)
    assert pushes(hall.carry_out()) == [("bob", "pushmsg")]


def test_a_receiver_who_is_away_is_not_told_but_the_file_is_kept(
    hall: Hall, alice: Visitor
) -> None:
    hall.send(alice)
    assert "mtime" in answer(hall.carry_out())
    assert len(hall.store.messages()) == 1


def test_every_other_member_of_a_group_is_told(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 5, [1001, 1002, 1003, 1004])
    hall.log_in(1003, "carol")
    hall.log_in(1002, "bob")
    hall.log_in(654321, "no member")
    hall.send(alice, "sendgroupfile", gid=5)
    assert pushes(hall.carry_out()) == [("bob", "pushgroupmsg"), ("carol", "pushgroupmsg")]


def test_everybody_else_in_a_room_is_told(hall: Hall, alice: Visitor) -> None:
    for visitor in (alice, hall.log_in(1002, "bob"), hall.log_in(1003, "carol")):
        answer(hall.ask(visitor, "enterroom", {"rid": 5}))
    hall.send(alice, "sendroomfile", rid=5)
    assert pushes(hall.carry_out()) == [("bob", "pushroommsg"), ("carol", "pushroommsg")]


def test_a_group_and_a_room_may_have_the_number_of_their_sender(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 1001, [1001])
    assert hall.send(alice, "sendgroupfile", gid=1001) == []
    answer(hall.ask(alice, "enterroom", {"rid": 1001}))
    assert hall.send(alice, "sendroomfile", rid=1001) == []


def test_what_a_store_has_kept_is_there_after_a_restart() -> None:
    hall = Hall()
    hall.store.save_record(Table.MEMBERS, 5, "[1001,1002]")
    hall = hall.again()
    hall.log_in(1002, "bob")
    hall.send(hall.log_in(1001), "sendgroupfile", gid=5)
    assert pushes(hall.carry_out()) == [("bob", "pushgroupmsg")]


def test_a_sender_who_left_is_answered_all_the_same_and_the_receiver_is_told(
    hall: Hall, alice: Visitor
) -> None:
    """Whoever owns the connections knows that the answer has nowhere to go."""
    hall.log_in(1002, "bob")
    hall.send(alice)
    hall.decisions.left(hall.files)
    hall.decisions.left(alice)
    said = hall.carry_out()
    assert [type(action) for action in said] == [Answer, Push]
    assert pushes(said) == [("bob", "pushmsg")]
    assert code(hall.send(hall.log_in(1001))) == Code.DUPLICATE_MID


def test_who_had_a_mid_is_left_out_of_a_second_sending(hall: Hall, server: Visitor) -> None:
    hall.log_in(1002, "bob")
    hall.log_in(1003, "carol")
    serve(hall, server, "sendfiles", tos=[1002])
    hall.carry_out()
    assert serve(hall, server, "sendfiles", tos=[1002, 1003]) == []
    said = hall.carry_out()
    assert "mtime" in answer(said) and pushes(said) == [("carol", "pushmsg")]
    assert code(serve(hall, server, "sendfiles", tos=[1003, 1002])) == Code.DUPLICATE_MID
    assert code(serve(hall, server, "sendfile", to=1003)) == Code.DUPLICATE_MID
    assert len(hall.store.messages()) == 2


def test_a_mid_that_is_being_stored_for_one_of_several_is_to_be_tried_again(
    hall: Hall, server: Visitor
) -> None:
    serve(hall, server, "sendfiles", tos=[1002])
    refused = serve(hall, server, "sendfiles", tos=[1003, 1002])
    assert code(refused) == Code.WORK_QUEUE_FULL
    hall.carry_out()
    assert serve(hall, server, "sendfiles", tos=[1003, 1002]) == []


def test_a_broadcast_reaches_everybody_who_is_there_but_its_sender(
    hall: Hall, server: Visitor
) -> None:
    for uid in (1003, 1001, 1002):
        hall.log_in(uid, f"user {uid}")
    assert serve(hall, server, "broadcastfile") == []
    said = hall.carry_out()
    assert answer(said) == {"mtime": WALL}
    both = [("user 1002", "pushbroadcastmsg"), ("user 1003", "pushbroadcastmsg")]
    assert pushes(said) == both
    push = said[1]
    assert isinstance(push, Push)
    assert list(push.params) == ["from", "mid", "mtype", "msg", "attrs", "mtime"]
    [kept] = hall.store.messages()
    assert (kept.kind, kept.target) == (Conversation.BROADCAST, 0)
    assert code(serve(hall, server, "broadcastfile")) == Code.DUPLICATE_MID
    assert serve(hall, server, "broadcastfile", mid=78) == []


def test_a_broadcast_is_delivered_once_across_a_restart(hall: Hall, server: Visitor) -> None:
    serve(hall, server, "broadcastfile")
    hall.carry_out()
    again = hall.again()
    assert code(serve(again, server, "broadcastfile")) == Code.DUPLICATE_MID


def test_a_stored_message_of_another_kind_does_not_hinder_a_start() -> None:
    odd = StoredMessage(Conversation.BROADCAST, 1, 0, 5, 30, "", "", WALL + 9)
    hall = Hall(kept=Kept(messages=(odd,), last_mtime=odd.mtime))
    hall.send(hall.log_in(1001))
    assert answer(hall.carry_out())["mtime"] == WALL + 10


# --- unread ---


def unread(hall: Hall, uid: int) -> list[int]:
    """Of whom, or in which groups, this user has not got everything."""
    return [each.of for each in hall.store.find_unread(uid)]


def test_a_message_waits_until_its_push_is_answered(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002, "bob")
    hall.send(alice)
    [pushed] = [action for action in hall.carry_out() if isinstance(action, Push)]
    assert unread(hall, 1002) == [1001] and pushed.message_id is not None
    hall.decisions.delivered(bob, pushed.message_id)
    [effect] = hall.effects()
    assert effect == Delivered(effect.effect_id, 1002, pushed.message_id)
    assert hall.decisions.held().effects == 0, "nobody waits for that"
    hall.store.carry_out(effect)
    hall.decisions.carried_out(effect, None, StoreFault("full"), now=hall.now)
    assert (unread(hall, 1002), hall.said()) == ([], [])


def test_who_has_left_has_not_got_it(hall: Hall, alice: Visitor) -> None:
    bob = hall.log_in(1002, "bob")
    hall.send(alice)
    hall.carry_out()
    hall.decisions.left(bob)
    hall.decisions.delivered(bob, 1)
    assert hall.effects() == [] and unread(hall, 1002) == [1001]


def test_a_group_waits_for_all_its_members_but_the_sender(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 5, [1001, 1002, 1003])
    hall.send(alice, "sendgroupfile", gid=5)
    hall.carry_out()
    assert [unread(hall, uid) for uid in (1001, 1002, 1003, 1004)] == [[], [5], [5], []]


def test_rooms_and_broadcasts_wait_for_nobody(hall: Hall, alice: Visitor, server: Visitor) -> None:
    for visitor in (alice, hall.log_in(1002)):
        answer(hall.ask(visitor, "enterroom", {"rid": 5}))
    hall.send(alice, "sendroomfile", rid=5)
    said = hall.carry_out()
    serve(hall, server, "broadcastfile", mid=78)
    said += hall.carry_out()
    pushed = [action for action in said if isinstance(action, Push)]
    assert len(pushed) == 2 and [push.message_id for push in pushed] == [None, None]
    assert unread(hall, 1002) == []


def test_who_joins_meanwhile_is_told_and_who_goes_is_not(hall: Hall, alice: Visitor) -> None:
    hall.store_group(alice, 5, [1001, 1002])
    for uid in (1002, 1003):
        hall.log_in(uid)
    hall.send(alice, "sendgroupfile", gid=5)
    [effect] = hall.effects()
    hall.do(alice, "addgroupmembers", {"gid": 5, "uids": [1003]})
    hall.do(alice, "delgroupmembers", {"gid": 5, "uids": [1002]})
    hall.decisions.carried_out(effect, None, None, now=hall.now)
    assert pushes(hall.said()) == [("user 1003", "pushgroupmsg")]


def test_every_login_of_a_receiver_is_told_and_none_of_the_senders() -> None:
    hall = Hall(limits=Limits(max_logins=2))
    alice, _ = hall.log_in(1001), hall.log_in(1001)
    hall.store_group(alice, 5, [1001, 1002])
    for name in ("one", "two"):
        answer(hall.ask(hall.log_in(1002, name), "enterroom", {"rid": 5}))
    answer(hall.ask(alice, "enterroom", {"rid": 5}))
    for cmd in KINDS:
        hall.send(alice, cmd, **{KINDS[cmd]: 1002 if cmd == "sendfile" else 5})
        told = pushes(hall.carry_out())
        assert [name for name, _ in told] == ["one", "two"], cmd


# --- ids and times ---


def test_ids_strictly_increase_across_a_restart(hall: Hall, alice: Visitor) -> None:
    for mid in (1, 2):
        hall.send(alice, mid=mid)
        hall.carry_out()
    again = hall.again()
    again.wall = WALL - 1_000_000
    again.send(again.log_in(1001), mid=3)
    again.carry_out()
    messages = again.store.messages()
    assert [message.id for message in messages] == [1, 2, 3]
    assert [message.mtime for message in messages] == [WALL, WALL + 1, WALL + 2]


def test_what_is_settled_is_kept_or_never_will_be(hall: Hall, alice: Visitor) -> None:
    mail = hall.decisions.mail
    assert mail.settled() == 0
    hall.send(alice, mid=1)
    hall.carry_out()
    assert mail.settled() == 1
    hall.do(alice, "sendmsg", {"to": 1002, "mid": 9, "mtype": 30, "msg": ""})
    assert mail.settled() == 2
    hall.ask(alice, "addgroupmembers", {"gid": 5, "uids": [1001]})
    hall.send(alice, mid=3)
    hall.ask(alice, "sendmsg", {"to": 1002, "mid": 4, "mtype": 30, "msg": ""})
    change, third, fourth = hall.effects()
    assert mail.settled() == 2
    hall.decisions.carried_out(change, None, None, now=hall.now)
    hall.decisions.carried_out(fourth, None, None, now=hall.now)
    assert mail.settled() == 2
    hall.decisions.carried_out(third, None, StoreFault("full"), now=hall.now)
    assert mail.settled() == 4


def test_an_upload_settles_nothing(hall: Hall, server: Visitor) -> None:
    serve(hall, server, "uploadfile")
    assert hall.decisions.mail.settled() == 0


# --- links that expire ---


def test_a_message_about_a_file_is_told_with_a_link_of_now() -> None:
    wall = WALL
    signs = Links(lambda: wall, key="k" * 32, life=60.0)
    hall = Hall(links=signs)
    alice, bob = hall.log_in(1001), hall.log_in(1002)
    hall.send(alice)
    said = hall.carry_out()
    hall.do(alice, "sendmsg", {"to": 1002, "mid": 9, "mtype": 30, "msg": '{"url":"x"}'})
    stored, text = hall.store.messages()
    assert stored.file is not None and "?until=" not in stored.msg
    [pushed] = [action for action in said if isinstance(action, Push)]
    assert pushed.params["msg"] == signs.told(stored.msg, stored.file)
    assert f"?until={WALL // 1000 + 60}&sign=" in str(pushed.params["msg"])
    wall += 3_600_000
    page = answer(hall.do(bob, "getp2pmsg", {"ouid": 1001, "desc": False, "num": 9}))
    told = [row[5] for row in cast("list[list[object]]", page["msgs"])]
    assert told == [signs.told(stored.msg, stored.file), text.msg]
    assert f"?until={WALL // 1000 + 3660}&sign=" in str(told[0])


def test_the_limits_of_mids_are_what_is_written_of_them() -> None:
    assert (MID_WINDOW, MID_BOUND) == (1800.0, 1_000_000)


def test_a_text_that_is_being_kept_is_not_settled(hall: Hall, alice: Visitor) -> None:
    hall.ask(alice, "sendmsg", {"to": 1002, "mid": 4, "mtype": 30, "msg": ""})
    assert hall.decisions.mail.settled() == 0
    hall.carry_out()
    assert hall.decisions.mail.settled() == 1


def test_who_is_not_in_a_room_is_not_told(hall: Hall, alice: Visitor) -> None:
    bob, _ = hall.log_in(1002, "bob"), hall.log_in(1003)
    for visitor in (alice, bob):
        answer(hall.ask(visitor, "enterroom", {"rid": 5}))
    hall.send(alice, "sendroomfile", rid=5)
    assert pushes(hall.carry_out()) == [("bob", "pushroommsg")]


@pytest.mark.parametrize(
    ("mtype", "ftype"), [(40, 10), (41, 11), (42, 12), (43, 100), (49, 100), (50, 100)]
)
def test_a_push_has_an_ftype_where_it_is_asked_for(mtype: int, ftype: int) -> None:
    for asked, shown in ((True, ftype), (False, None)):
        hall = Hall(limits=Limits(ftype=asked))
        alice = hall.log_in(1001, "alice")
        hall.log_in(1002, "bob")
        hall.send(alice, mtype=mtype)
        [push] = [said for said in hall.carry_out() if isinstance(said, Push)]
        assert push.params.get("ftype") == shown


def test_the_ftype_of_a_message_is_0() -> None:
    assert [ftype_of(mtype) for mtype in (1, 30, 39, 51, 127)] == [0] * 5
