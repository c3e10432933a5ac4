"""Text messages and history at a gate of ours, through either adapter."""

from __future__ import annotations

from typing import cast

import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import QuestRefused
from rtm_proto.received import Conversation, MessageReceived
from tests.contract.world import ALICE, BOB, Api, open_world

pytestmark = pytest.mark.anyio

GROUP, ROOM = 71, 72
SENDS = {
    "sendmsg": ("to", BOB, Conversation.P2P),
    "sendgroupmsg": ("gid", GROUP, Conversation.GROUP),
    "sendroommsg": ("rid", ROOM, Conversation.ROOM),
}


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
@pytest.mark.parametrize("method", SENDS)
async def test_a_message_reaches_who_it_is_for(api: Api, scheme: str, method: str) -> None:
    key, target, kind = SENDS[method]
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB, scheme) as bob,
    ):
        await alice.quest("addgroupmembers", {"gid": GROUP, "uids": [ALICE, BOB]})
        for client in (alice, bob):
            await client.quest("enterroom", {"rid": ROOM})
        said = {"mid": 7, "mtype": 30, "msg": "hello", "attrs": ""}
        answer = await alice.quest(method, {key: target, **said})
        event = await anext(bob.events())
        assert isinstance(event, MessageReceived)
        assert (event.kind, event.sender, event.target) == (kind, ALICE, target)
        assert (event.mid, event.mtime, event.msg) == (7, answer["mtime"], "hello")
        with pytest.raises(QuestRefused) as caught:
            await alice.quest(method, {key: target, **said})
        assert caught.value.code == Code.DUPLICATE_MID


async def test_who_was_away_finds_it_and_who_was_there_has_got_it(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice:
        said = {"to": BOB, "mtype": 30, "msg": "hello", "attrs": ""}
        await alice.quest("sendmsg", {**said, "mid": 1})
        async with world.client(BOB) as bob:
            told = await bob.quest("getunread", {"clear": True})
            assert told == {"p2p": [ALICE], "group": []}
            await alice.quest("sendmsg", {**said, "mid": 2})
            assert isinstance(await anext(bob.events()), MessageReceived)
            # a push is answered when it comes, so before anything that its reader asks
            assert await bob.quest("getunread", {}) == {"p2p": [], "group": []}
            page = await bob.quest("getp2pmsg", {"ouid": ALICE, "desc": True, "num": 10})
            rows = cast("list[list[object]]", page["msgs"])
            assert [(row[1], row[3], row[5]) for row in rows] == [(2, 2, "hello"), (2, 1, "hello")]
