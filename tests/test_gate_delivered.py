"""Text messages, unread and floods through a whole gate, from bytes to bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from rtm_proto.codes import Code
from rtm_proto.disk.store import DiskStore
from rtm_proto.errors import QuestRefused
from rtm_proto.gate.gate import Gate
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import PUSH_TIMEOUT, Port
from rtm_proto.gate.store import Store
from rtm_proto.gate.visit import Visit
from rtm_proto.package import (
    Kind,
    Package,
    Splitter,
    encode_answer,
    encode_quest,
)
from rtm_proto.payload import decode, encode
from rtm_proto.received import Conversation, FileReceived, MessageReceived
from tests.fuzz.footprint import footprint
from tests.world import PID, USERS, World

TEXT = {"to": 1002, "mid": 7, "mtype": 30, "msg": "hello", "attrs": ""}


class Mute:
    """A user whose client answers nothing by itself; it speaks raw FPNN."""

    def __init__(self, world: World, uid: int) -> None:
        self.world = world
        self.visit: Visit = world.gate.visit("mute", port=Port.MAIN)
        self.visit.connected(now=world.now)
        auth = {"pid": PID, "uid": uid, "token": USERS[uid]}
        [said] = self.say(encode_quest(b"auth", encode(auth), 1))
        assert decode(said.payload) == {"ok": True}

    def say(self, data: bytes) -> list[Package]:
        self.visit.receive_data(data, now=self.world.now)
        return self.heard()

    def heard(self) -> list[Package]:
        """What has been said to it since the last look."""
        self.visit.collect(now=self.world.now)
        self.world.settle()
        return Splitter().feed(b"".join(map(bytes, self.visit.data_to_send())))


def unread(world: World, uid: int) -> list[int]:
    return [each.of for each in world.store.find_unread(uid)]


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = MemoryStore() if request.param == "memory" else DiskStore(tmp_path)
    yield store
    store.close()


def test_a_message_goes_to_who_is_there_and_waits_for_who_is_away(store: Store) -> None:
    world = World(store=store)
    alice, bob = world.log_in(1001), world.log_in(1002)
    assert "mtime" in alice.quest("sendmsg", TEXT)
    [event] = bob.received()
    assert isinstance(event, MessageReceived)
    assert (event.kind, event.sender, event.msg) == (Conversation.P2P, 1001, "hello")
    world.settle()
    assert unread(world, 1002) == [], "the client has answered the push"
    alice.quest("sendmsg", {**TEXT, "to": 1003})
    sent = alice.send(Conversation.P2P, 1003, b"a file")
    carol = world.log_in(1003)
    assert carol.received() == []
    assert carol.quest("getunread", {"clear": True}) == {"p2p": [1001], "group": []}
    assert carol.quest("getunread", {}) == {"p2p": [], "group": []}
    page = carol.quest("getp2pmsg", {"ouid": 1001, "desc": True, "num": 10})
    rows = cast("list[list[object]]", page["msgs"])
    assert [row[3] for row in rows] == [sent.mid, 7]


def test_who_was_cut_off_finds_it_unread_also_after_a_restart(store: Store) -> None:
    world = World(store=store)
    alice, bob = world.log_in(1001), world.log_in(1002)
    bob.pipe.stalled = True
    alice.quest("sendmsg", TEXT)
    bob.pipe.cut("gone")
    world.settle()
    world.restart()
    assert world.log_in(1002).quest("getunread", {})["p2p"] == [1001]


def test_what_is_administered_is_so_after_a_restart(store: Store) -> None:
    world = World(store=store, secret="the secret")

    def operate(method: str, **params: object) -> dict[str, object]:
        visit = world.gate.visit("operator", port=Port.OPERATOR)
        visit.connected(now=world.now)
        visit.receive_data(encode_quest(method.encode(), encode(params), 1), now=world.now)
        visit.collect(now=world.now)
        world.settle()
        [said] = Splitter().feed(b"".join(map(bytes, visit.data_to_send())))
        assert said.status == 0, said
        return decode(said.payload)

    token = str(operate("gettoken", uid=77)["token"])
    operate("addgroupmembers", gid=5, uids=[1001, 77])
    operate("addgroupban", gid=5, uid=1001, btime=60)
    operate("addprojectblack", uid=1002, btime=60)
    operate("addblacks", uid=77, blacks=[1001])
    for _ in range(2):
        assert operate("isbanofgroup", gid=5, uid=1001) == {"ok": True}
        assert operate("isprojectblack", uid=1002) == {"ok": True}
        assert operate("isblack", uid=1001, buid=77) == {"ok": True}
        alice = world.log_in(1001)
        for method, params, code in (
            ("sendgroupmsg", {"gid": 5}, Code.BANNED_IN_GROUP),
            ("sendmsg", {"to": 77}, Code.BLOCKED_USER),
        ):
            with pytest.raises(QuestRefused) as refused:
                alice.quest(method, {**TEXT, **params})
            assert refused.value.code == code
        world.restart()
    auth = {"pid": PID, "uid": 77, "token": token}
    visit = world.gate.visit("77", port=Port.MAIN)
    visit.connected(now=world.now)
    visit.receive_data(encode_quest(b"auth", encode(auth), 1), now=world.now)
    visit.collect(now=world.now)
    assert visit.visitor.uid == 77


def test_a_push_without_an_answer_leaves_its_message_unread() -> None:
    world = World()
    mute = Mute(world, 1002)
    world.log_in(1001).quest("sendmsg", TEXT)
    [push] = mute.heard()
    assert (push.kind, push.method) == (Kind.TWOWAY, b"pushmsg")
    world.now += PUSH_TIMEOUT + 1
    mute.visit.handle_timeout(now=world.now)
    late = encode_answer(encode({}), push.seq)
    assert mute.say(late) == [] and unread(world, 1002) == [1001]


@pytest.mark.parametrize("refused", [False, True])
def test_only_a_good_answer_counts(refused: bool) -> None:
    world = World()
    mute = Mute(world, 1002)
    world.log_in(1001).quest("sendmsg", TEXT)
    [push] = mute.heard()
    payload = {"code": 20004, "ex": "what?"} if refused else {}
    mute.say(encode_answer(encode(payload), push.seq, status=int(refused)))
    assert unread(world, 1002) == ([1001] if refused else [])


def test_an_answer_to_the_gates_ping_delivers_nothing() -> None:
    world = World()
    mute = Mute(world, 1002)
    world.now += 21
    mute.visit.handle_timeout(now=world.now)
    [ping] = mute.heard()
    assert ping.method == b"ping"
    mute.say(encode_answer(encode({}), ping.seq))
    assert world.gate.effects() == []


def test_a_large_file_is_known_by_its_first_bytes() -> None:
    heads: list[bytes] = []

    def recognise(head: bytes) -> int | None:
        heads.append(head)
        return 40

    world = World(recognise=recognise)
    alice, bob = world.log_in(1001), world.log_in(1002)
    body = bytes(range(256)) * 1000
    alice.send(Conversation.P2P, 1002, body)
    alice.send(Conversation.P2P, 1002, body[:700])
    assert heads == [body[:512], body[:512]]
    events = [event for event in bob.received() if isinstance(event, FileReceived)]
    assert [event.mtype for event in events] == [40, 40]


def test_a_gate_that_tidies_up_forgets_bans_that_have_ended() -> None:
    world = World(secret="the secret")
    visit = world.gate.visit("operator", port=Port.OPERATOR)
    visit.connected(now=world.now)
    ban = encode_quest(b"addprojectblack", encode({"uid": 5, "btime": 1}), 1)
    visit.receive_data(ban, now=world.now)
    visit.collect(now=world.now)
    world.settle()
    assert len(world.store.kept(0).records) == 1
    world.now += 2
    world.gate.tidy()
    world.settle()
    assert world.store.kept(0).records == ()


# --- floods ---


def flood(world: World, gate: Gate, count: int) -> Counter[int]:
    """The codes that *count* quests of one visitor are answered with, while the store does nothing.

    0 is an answer; what is not answered is not counted.
    """
    mute = Mute(world, 1001)
    world.store_waits = True
    codes: Counter[int] = Counter()
    held = 0
    for number in range(count):
        params = {**TEXT, "mid": 100 + number, "msg": "x" * 200}
        quest = encode_quest(b"sendmsg", encode(params), 10 + number)
        for package in mute.say(quest):
            code = decode(package.payload).get("code", 0)
            assert isinstance(code, int)
            codes[code] += 1
        if number == 999:
            held = footprint(gate)
    assert footprint(gate) <= held + 20_000, "it grows with the flood"
    return codes


def test_what_is_more_than_64_in_hand_gets_20011_and_nothing_grows() -> None:
    world = World()
    codes = flood(world, world.gate, 5000)
    assert codes == {Code.WORK_QUEUE_FULL: 5000 - 64}
    world.store_waits = False
    world.settle()
    assert world.gate.held().decisions.effects == 0
    assert len(world.store.find_unread(1002)) == 1


def test_a_good_user_is_served_beside_a_flood() -> None:
    world = World()
    bob = world.log_in(1002)
    flood(world, world.gate, 2000)
    world.store_waits = False
    assert "mtime" in bob.quest("sendmsg", {**TEXT, "to": 1003})
    assert len(bob.received()) == 64
