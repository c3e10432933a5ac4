"""Each fault that can be ordered from a ScriptedGate, and what the client is truly told then."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import (
    ConnectFailed,
    ConnectionLost,
    FileNotSent,
    FileRefused,
    LoginFailed,
    OutcomeUnknown,
    QuestRefused,
    QuestTimeout,
)
from rtm_proto.events import CloseKind
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import GateSettings, Port
from rtm_proto.received import Disconnected, FileReceived, FileType, KickedOut, UnknownPush
from rtm_proto.testing.scripted import Faults, PortName, ScriptedGate
from tests.contract.world import (
    ALICE,
    BOB,
    Api,
    Client,
    World,
    next_event,
    next_file,
    open_world,
)

pytestmark = pytest.mark.anyio

TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])

BODY = os.urandom(100_000)


@asynccontextmanager
async def scripted(api: Api, **options: Any) -> AsyncGenerator[tuple[World, Faults], None]:
    """A world whose gate takes orders; at its end none is left."""
    faults = Faults()
    async with open_world(api, make_gate=partial(ScriptedGate, faults=faults), **options) as world:
        yield world, faults
        assert not faults.unused


async def send(client: Client, **options: Any) -> Any:
    """Send the file to Bob."""
    return await client.send_file(FileType.IMAGE, BOB, BODY, **options)


def stored(world: World) -> int:
    """How many files were stored."""
    return len(world.store.messages())


# --- quests ---


@SCHEMES
async def test_what_is_refused_by_order_is_refused_so_often(api: Api, scheme: str) -> None:
    async with scripted(api) as (world, faults), world.client(ALICE, scheme) as alice:
        faults.refuse("sendfile", 200057, "no such picture", times=2)
        for _ in range(2):
            with pytest.raises(FileRefused, match="no such picture") as caught:
                await send(alice)
            assert caught.value.code == 200057
        assert stored(world) == 0
        assert faults.unused == []
        await send(alice)
        assert stored(world) == 1


@TIMED
@pytest.mark.parametrize("lost", [False, True])
async def test_nothing_is_kept_of_a_large_file_that_was_not_carried_out(
    api: Api, lost: bool
) -> None:
    room = MemoryStore(max_bytes=300_000)
    async with scripted(api, store=room) as (world, faults), world.client() as alice:
        body = os.urandom(250_000)
        if lost:
            faults.hang_up("sendfile", times=2)
        else:
            faults.refuse("sendfile", Code.BAD_FILE_SIGN_OR_TOKEN, times=1)
        sent = await alice.send_file(FileType.IMAGE, BOB, body)
        assert sent.attempts == (3 if lost else 2)
        assert stored(world) == 1


@TIMED
async def test_a_gate_that_is_busy_for_once_is_asked_again(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.refuse("sendfile", Code.RATE_LIMIT)
        faults.refuse("filetoken", Code.WORK_QUEUE_FULL)
        assert (await send(alice)).attempts == 3
        assert stored(world) == 1


async def test_a_login_that_is_refused_by_order_fails_with_that_code(api: Api) -> None:
    async with scripted(api) as (world, faults):
        faults.refuse("auth", Code.BLOCKED_USER)
        with pytest.raises(LoginFailed) as caught:
            async with world.client():
                raise AssertionError("nobody should get here")
        assert caught.value.code == Code.BLOCKED_USER


@TIMED
async def test_a_quest_that_is_lost_was_not_carried_out_but_nobody_can_know(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.lose_quest("sendfile")
        with pytest.raises(OutcomeUnknown) as caught:
            await send(alice, timeout=3)
        assert stored(world) == 0
        assert not (await send(alice, mid=caught.value.mid)).duplicate
        assert stored(world) == 1


@TIMED
async def test_an_answer_that_is_lost_is_of_a_file_that_arrived(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice, world.client(BOB) as bob:
        faults.lose_answer("sendfile")
        with pytest.raises(OutcomeUnknown) as caught:
            await send(alice, timeout=3)
        assert world.body(await next_file(bob.events())) == BODY
        assert (await send(alice, mid=caught.value.mid)).duplicate
        assert stored(world) == 1


@TIMED
async def test_a_token_that_is_lost_means_that_nothing_was_sent(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.lose_answer("filetoken")
        with pytest.raises(FileNotSent):
            await send(alice, timeout=3)
        faults.lose_answer("filetoken")
        with pytest.raises(QuestTimeout):
            await alice.file_token("sendfile", to=BOB, timeout=3)


@TIMED
@pytest.mark.parametrize("fault", ["delay_quest", "delay_answer"])
@pytest.mark.parametrize("method", ["filetoken", "sendfile"])
async def test_what_is_delayed_comes_then(api: Api, fault: str, method: str) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        delay = faults.delay_quest if fault == "delay_quest" else faults.delay_answer
        delay(method, 7.0)
        started = anyio.current_time()
        await send(alice)
        assert anyio.current_time() - started == pytest.approx(7.0, abs=0.001)


@TIMED
@pytest.mark.parametrize(("fault", "count"), [("delay_quest", 0), ("delay_answer", 1)])
async def test_only_a_delayed_answer_is_of_something_that_was_stored(
    api: Api, fault: str, count: int
) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        delay = faults.delay_quest if fault == "delay_quest" else faults.delay_answer
        order = delay("sendfile", 7.0)
        with pytest.raises(OutcomeUnknown):
            await send(alice, timeout=3)
        assert stored(world) == count
        assert order.used == count  # who has left is not served any more
        faults.orders.clear()


@TIMED
async def test_a_token_that_is_spoilt_is_refused_and_another_one_asked_for(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.spoil_token()
        assert (await send(alice)).attempts == 2
        faults.spoil_token(times=2)
        with pytest.raises(FileRefused) as caught:
            await send(alice)
        assert caught.value.code == Code.BAD_FILE_SIGN_OR_TOKEN
        assert stored(world) == 1


@TIMED
async def test_a_kickout_in_the_middle_of_a_send_does_not_stop_it(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.kick("sendfile")
        await send(alice)
        events = alice.events()
        assert isinstance(await next_event(events), KickedOut)
        assert isinstance(await next_event(events), Disconnected)
        assert stored(world) == 1


@TIMED
async def test_a_kickout_before_the_token_leaves_nobody_to_ask(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.kick("filetoken")
        with pytest.raises((FileNotSent, FileRefused)):
            await send(alice)
        assert stored(world) == 0


# --- the connection ---


@TIMED
@pytest.mark.parametrize(("after", "duplicate"), [(False, False), (True, True)])
async def test_a_file_link_that_is_hung_up_is_tried_again(
    api: Api, after: bool, duplicate: bool
) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.hang_up("sendfile", after=after)
        sent = await send(alice)
        assert (sent.attempts, sent.duplicate) == (2, duplicate)
        assert stored(world) == 1


@TIMED
async def test_a_main_link_that_is_hung_up_is_told(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.hang_up("filetoken")
        with pytest.raises(ConnectionLost):
            await alice.file_token("sendfile", to=BOB)
        assert isinstance(await next_event(alice.events()), Disconnected)


@TIMED
async def test_a_gate_that_falls_silent_is_given_up_after_its_pings(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.fall_silent("filetoken")
        await alice.file_token("sendfile", to=BOB)
        started = anyio.current_time()
        with anyio.fail_after(100):
            event = await anext(alice.events())
        assert isinstance(event, Disconnected)
        assert event.reason.kind is CloseKind.IDLE
        assert anyio.current_time() - started == pytest.approx(35.0, abs=0.1)


@TIMED
@SCHEMES
@pytest.mark.parametrize("count", [0, 1, 150, 5000])
async def test_a_file_link_that_breaks_while_it_is_sent_is_tried_again(
    api: Api, scheme: str, count: int
) -> None:
    async with scripted(api) as (world, faults), world.client(ALICE, scheme) as alice:
        faults.drop(received=count)
        sent = await send(alice)
        assert (sent.attempts, sent.duplicate) == (2, False)
        assert stored(world) == 1


@TIMED
@pytest.mark.parametrize("count", [0, 1, 15])
async def test_a_link_that_breaks_inside_the_answer_leaves_it_open(api: Api, count: int) -> None:
    """The file is stored, nobody told the sender; the second attempt finds out."""
    async with scripted(api) as (world, faults), world.client(ALICE, "tcp") as alice:
        faults.drop(sent=count)
        sent = await send(alice)
        assert (sent.attempts, sent.duplicate) == (2, True)
        assert stored(world) == 1


@TIMED
@SCHEMES
@pytest.mark.parametrize("bytes_of", ["received", "sent"])
async def test_a_main_link_that_breaks_in_the_login_is_a_failed_login(
    api: Api, scheme: str, bytes_of: str
) -> None:
    async with scripted(api) as (world, faults):
        if bytes_of == "sent":
            faults.drop(sent=20, port="main")
        else:
            faults.drop(received=20, port="main")
        with pytest.raises((ConnectFailed, LoginFailed)):
            async with world.client(ALICE, scheme):
                raise AssertionError("nobody should get here")


@TIMED
@pytest.mark.parametrize("port", ["main", "file"])
async def test_a_stream_that_is_heard_late_is_served_then(api: Api, port: PortName) -> None:
    async with scripted(api) as (world, faults):
        faults.delay_stream(2.0, port=port)
        started = anyio.current_time()
        async with world.client() as alice:
            await send(alice)
            assert anyio.current_time() - started == pytest.approx(2.0, abs=0.001)


@TIMED
async def test_a_slow_reader_takes_as_long_as_it_takes(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        faults.read_slowly(20_000)
        started = anyio.current_time()
        await send(alice)
        assert anyio.current_time() - started == pytest.approx(len(BODY) / 20_000, abs=0.31)


@TIMED
async def test_a_file_that_the_gate_reads_too_slowly_was_not_sent(api: Api) -> None:
    narrow = replace(api, stream_pair=partial(api.stream_pair, narrow=True))
    async with scripted(narrow) as (world, faults), world.client() as alice:
        faults.read_slowly(1000)
        with pytest.raises(FileNotSent):
            await send(alice, timeout=5)
        await anyio.sleep(100)  # until the gate has read what was on its way
        assert stored(world) == 0


# --- pushes ---


async def test_a_push_that_comes_twice_is_an_event_once(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice, world.client(BOB) as bob:
        faults.push_twice("pushmsg")
        first = await send(alice)
        second = await send(alice)
        events = bob.events()
        assert [(await next_file(events)).mid for _ in range(2)] == [first.mid, second.mid]
        assert bob.duplicates == 1


async def test_a_push_of_any_kind_reaches_who_is_or_will_be_there(api: Api) -> None:
    async with scripted(api) as (world, faults):
        faults.push(BOB, "pushsomething", {"a": 1})
        async with world.client(BOB) as bob:
            events = bob.events()
            assert await next_event(events) == UnknownPush("pushsomething", {"a": 1})
            push = {"from": ALICE, "mid": 7, "mtype": 40, "msg": '{"url":"http://f/1"}'}
            faults.push(BOB, "pushmsg", push)
            event = await next_event(events)
            assert isinstance(event, FileReceived)
            assert (event.url, event.sender) == ("http://f/1", ALICE)


# --- restart ---


@TIMED
@pytest.mark.parametrize("after", [False, True])
async def test_a_gate_that_restarts_in_a_send_leaves_it_unknown(api: Api, after: bool) -> None:
    """The main link is gone too: there is nobody to ask for another token."""
    async with scripted(api) as (world, faults):
        async with world.client() as alice:
            faults.restart_at("sendfile", after=after)
            with pytest.raises(OutcomeUnknown) as caught:
                await send(alice)
            assert isinstance(await next_event(alice.events()), Disconnected)
        async with world.client() as alice, world.client(BOB) as bob:
            sent = await send(alice, mid=caught.value.mid)
            assert sent.duplicate is after
            assert stored(world) == 1
            if not after:
                assert (await next_file(bob.events())).mid == sent.mid


async def test_a_gate_that_restarts_forgets_logins_and_keeps_groups(api: Api) -> None:
    async with scripted(api) as (world, faults):
        async with world.client() as alice:
            await alice.quest("addgroupmembers", {"gid": 5, "uids": [ALICE, BOB]})
            faults.restart()
            assert isinstance(await next_event(alice.events()), Disconnected)
            with pytest.raises(ConnectionLost):
                await alice.quest("ping", {})
        async with world.client() as alice, world.client(BOB) as bob:
            await alice.send_group_file(FileType.IMAGE, 5, BODY)
            assert world.body(await next_file(bob.events())) == BODY


def test_what_a_store_did_for_the_gate_before_is_not_taken_for_the_new_ones() -> None:
    gate = ScriptedGate(
        GateSettings(1, {}, "gate.test:1"),
        wall_ms=lambda: 1_700_000_000_000,
        make_token=lambda: "t" * 32,
        store=MemoryStore(),
    )
    visit = gate.visit("one", port=Port.MAIN)
    gate.find(visit, "key")
    (effect,) = gate.effects()
    gate.restart()
    again = gate.visit("two", port=Port.MAIN)
    gate.find(again, "key")
    (second,) = gate.effects()
    assert second.effect_id == effect.effect_id
    gate.carried_out(effect, None, None, now=0.0)
    assert gate.held().downloads == 1
    gate.carried_out(second, None, None, now=0.0)
    assert gate.held().downloads == 0


# --- the book ---


async def test_orders_are_carried_out_in_order_and_listed_until_they_are(api: Api) -> None:
    async with scripted(api) as (world, faults), world.client() as alice:
        first = faults.refuse("ping", 1)
        second = faults.refuse("ping", 2, times=2)
        other = faults.lose_answer("never asked")
        assert faults.unused == [first, second, other]
        for code in (1, 2):
            with pytest.raises(QuestRefused) as caught:
                await alice.quest("ping", {})
            assert caught.value.code == code
        assert faults.unused == [second, other]
        assert "never asked" in repr(faults)
        with pytest.raises(QuestRefused):
            await alice.quest("ping", {})
        assert await alice.quest("ping", {}) == {}
        assert faults.unused == [other]
        faults.orders.remove(other)


def test_an_order_that_says_nothing_is_refused() -> None:
    faults = Faults()
    for make in (
        lambda: faults.drop(),
        lambda: faults.drop(sent=1, received=1),
        lambda: faults.refuse("ping", 1, times=0),
        lambda: faults.restart(),
    ):
        with pytest.raises(ValueError):
            make()
    assert faults.orders == []
