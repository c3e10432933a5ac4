"""What reaches a user: events in their order, whoever reads them, however late."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from rtm_proto.desk import MAX_EVENTS
from rtm_proto.errors import ConnectionLost, LocalProtocolError
from rtm_proto.events import CloseKind
from rtm_proto.received import (
    ClientEvent,
    Conversation,
    Disconnected,
    EventsLost,
    FileReceived,
    FileType,
    KickedOut,
    KickedOutOfRoom,
    MessageReceived,
    UnknownPush,
)
from tests.contract.scripted import Peer, Scripts
from tests.contract.world import ALICE, BOB, Api, next_event, next_file, open_world

pytestmark = pytest.mark.anyio

SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])
TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)


def message(number: int) -> dict[str, object]:
    """The params of a push."""
    return {"from": BOB, "to": ALICE, "mid": number, "mtype": 30, "msg": str(number), "attrs": ""}


@SCHEMES
async def test_every_push_is_an_event_and_is_answered(api: Api, scheme: str) -> None:
    async def push(peer: Peer) -> None:
        await peer.log_in()
        await peer.ask("pushmsg", message(1))
        await peer.ask("pushmsg", message(1))  # twice the same mid is one event
        await peer.ask("kickoutroom", {"rid": 9})
        await peer.ask("ping", {})
        await peer.ask("somethingnew", {"a": 1})
        await peer.ask("pushmsg", {"mtype": 30})  # without a sender: no event
        await peer.answers(6)
        assert sorted(peer.answered) == [1, 2, 3, 4, 5, 6]
        await peer.answer(await peer.quest("bye"), {})

    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, push).client(scheme) as client:
            events = client.events()
            first = MessageReceived(Conversation.P2P, BOB, ALICE, 1, 30, None, "1", "")
            assert await next_event(events) == first
            assert await next_event(events) == KickedOutOfRoom(9)
            assert await next_event(events) == UnknownPush("somethingnew", {"a": 1})


@SCHEMES
async def test_who_does_not_read_loses_events_and_nothing_else(api: Api, scheme: str) -> None:
    count = MAX_EVENTS + 500
    done = anyio.Event()

    async def push(peer: Peer) -> None:
        await peer.log_in()
        for number in range(1, count + 1):
            await peer.ask("pushmsg", message(number))
        await peer.ask("ping", {})
        await peer.answers(count + 1)
        done.set()

    told: list[ClientEvent] = []
    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, push).client(scheme) as client:
            await done.wait()
            told += [event async for event in client.events()]
    assert [event.mid for event in told[:-2] if isinstance(event, MessageReceived)] == [
        *range(1, MAX_EVENTS + 1)
    ]
    assert told[-2] == EventsLost(500)
    assert isinstance(told[-1], Disconnected)


async def test_lost_events_are_told_in_their_place(api: Api) -> None:
    async def push(peer: Peer) -> None:
        await peer.log_in()
        for number in range(MAX_EVENTS + 1):
            await peer.ask("pushmsg", message(number + 1))
        await peer.answer(await peer.quest("all there?"), {})
        quest = await peer.quest("go on")
        await peer.ask("pushmsg", message(5000))
        await peer.ask("pushmsg", message(5001))
        await peer.answer(quest, {})
        await peer.answer(await peer.quest("bye"), {})

    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, push).client() as client:
            events = client.events()
            await client.quest("all there?")
            for _ in range(2):
                await next_event(events)
            await client.quest("go on")
            rest = [await next_event(events) for _ in range(MAX_EVENTS)]
            assert rest[-2] == EventsLost(1)
            assert isinstance(rest[-1], MessageReceived) and rest[-1].mid == 5000
            assert await next_event(events) == EventsLost(1)  # 5001 found no place


async def test_two_readers_at_once_are_a_local_error(api: Api) -> None:
    async with open_world(api) as world, world.client() as alice:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, alice.events())
            await anyio.sleep(0.01)
            with pytest.raises(LocalProtocolError, match="another task"):
                await anext(alice.events())
            tasks.cancel_scope.cancel()


async def test_a_reader_that_is_cancelled_loses_nothing(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice, world.client(BOB) as bob:
        events = bob.events()
        mids: list[int] = []
        for number in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, events)
                for _ in range(number % 5):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            mids.append((await alice.send_file(FileType.FILE, BOB, b"data")).mid)
            assert (await next_file(events)).mid == mids[-1]
            events = bob.events() if number % 2 else events


async def test_a_reader_gets_what_came_before_it_asked(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice, world.client(BOB) as bob:
        sent = [(await alice.send_file(FileType.FILE, BOB, b"data")).mid for _ in range(3)]
        assert [(await next_file(bob.events())).mid for _ in range(3)] == sent


@SCHEMES
async def test_a_second_login_ends_the_first(api: Api, scheme: str) -> None:
    async with open_world(api) as world, world.client(ALICE, scheme) as first:
        async with world.client(ALICE, scheme) as second:
            events = first.events()
            assert await next_event(events) == KickedOut()
            end = await next_event(events)
            assert isinstance(end, Disconnected) and end.reason.kind is CloseKind.KICKOUT
            with pytest.raises(StopAsyncIteration):
                await anext(events)
            with pytest.raises(ConnectionLost):
                await first.quest("ping")
            await second.quest("ping")
        await world.empty()


async def test_the_gate_can_end_a_login(api: Api) -> None:
    async with open_world(api) as world:
        async with world.client() as alice:
            assert world.gate.kick(ALICE) and not world.gate.kick(ALICE)
            assert not world.gate.kick(BOB)
            assert await next_event(alice.events()) == KickedOut()


@TIMED
async def test_an_idle_login_lasts(api: Api) -> None:
    """Pings go both ways; nobody reads the events."""
    async with open_world(api) as world, world.client(ALICE) as alice, world.client(BOB) as bob:
        await anyio.sleep(3600)
        await alice.send_file(FileType.FILE, BOB, b"data")
        assert isinstance(await next_event(bob.events()), FileReceived)
