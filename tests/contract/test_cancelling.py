"""Cancelling a call: the main link goes on, nothing is left, the same mid again arrives once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.lowlevel

from rtm_proto.errors import FileNotSent, OutcomeUnknown, QuestTimeout, SendFailed, outcome_of
from rtm_proto.flows.steps import Progress, Stage
from rtm_proto.flows.transfer import PIECE
from rtm_proto.received import FileType
from tests.contract.scripted import Peer, Scripts
from tests.contract.world import ALICE, BOB, Api, Client, World, next_file, open_world

pytestmark = pytest.mark.anyio

SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])
ON_TRIO = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio", "asyncio-uvloop"], indirect=True)
TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)

BODY = os.urandom(2 * PIECE + 100)


async def check_that_all_is_well(world: World, alice: Client, bob: Client, mid: int) -> None:
    """The main link lives, no file link does; *mid* again arrives, or had arrived: once."""
    await world.empty(visits=2)
    await alice.quest("ping")
    await alice.send_file(FileType.FILE, BOB, BODY, mid)
    marker = await alice.send_file(FileType.FILE, BOB, b"marker")
    events = bob.events()
    first = await next_file(events)
    assert (first.mid, world.body(first)) == (mid, BODY)
    assert (await next_file(events)).mid == marker.mid
    await world.empty(visits=2)


@SCHEMES
@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.CHECK])
async def test_a_send_can_be_cancelled_in_every_stage(api: Api, scheme: str, stage: Stage) -> None:
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB) as bob,
    ):
        with anyio.CancelScope() as scope:

            def cancel(progress: Progress) -> None:
                if progress.stage is stage:
                    scope.cancel()

            await alice.send_file(FileType.FILE, BOB, BODY, 7, progress=cancel)
        assert scope.cancelled_caught
        await check_that_all_is_well(world, alice, bob, 7)


@SCHEMES
async def test_a_send_can_be_cancelled_after_every_round(api: Api, scheme: str) -> None:
    """On asyncio and uvloop too; a round is what is ready to run now."""

    async def cancel_after(rounds: int, send: Callable[[], Awaitable[object]]) -> bool:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def cancel() -> None:
                    for _ in range(rounds):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()

                tasks.start_soon(cancel)
                await send()
                tasks.cancel_scope.cancel()
        return scope.cancelled_caught

    await cancel_at_every_step(api, scheme, cancel_after)


@ON_TRIO
@SCHEMES
async def test_a_send_can_be_cancelled_at_every_step_of_its_task(api: Api, scheme: str) -> None:
    async def cancel_at(step: int, send: Callable[[], Awaitable[object]]) -> bool:
        with anyio.CancelScope() as scope:
            instrument = CancelAt(step, scope)
            trio.lowlevel.add_instrument(instrument)
            try:
                await send()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        return scope.cancelled_caught

    await cancel_at_every_step(api, scheme, cancel_at)


class CancelAt(trio.abc.Instrument):
    """Cancels *scope* when the task that makes this has taken so many steps."""

    def __init__(self, steps: int, scope: anyio.CancelScope) -> None:
        self._task = trio.lowlevel.current_task()
        self._left = steps
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Counted before it is taken."""
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


@ON_ASYNCIO
@SCHEMES
async def test_the_task_of_a_send_can_be_cancelled_after_every_round(api: Api, scheme: str) -> None:
    async def cancel_after(rounds: int, send: Callable[[], Awaitable[object]]) -> bool:
        task = asyncio.ensure_future(send())
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    await cancel_at_every_step(api, scheme, cancel_after)


async def cancel_at_every_step(
    api: Api,
    scheme: str,
    cancel_at: Callable[[int, Callable[[], Awaitable[object]]], Awaitable[bool]],
) -> None:
    """*cancel_at* calls what it is given and cancels it there; it says whether it was in time."""
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB) as bob,
    ):
        kinds: list[type[object]] = []
        for step in range(1, 1000):
            mid = 1000 + step

            outcomes: list[SendFailed | None] = []

            async def send(mid: int = mid, outcomes: list[Any] = outcomes) -> None:
                try:
                    await alice.send_file(FileType.FILE, BOB, BODY, mid)
                except BaseException as exc:
                    outcomes.append(outcome_of(exc))
                    raise

            cancelled = await cancel_at(step, send)
            await world.empty(visits=2)
            for outcome in outcomes:
                kinds.append(type(outcome))
                assert outcome is not None and outcome.mid == mid and outcome.stage
                arrived = mid in [message.mid for message in world.store.messages()]
                assert isinstance(outcome, OutcomeUnknown) or not arrived
            await check_that_all_is_well(world, alice, bob, mid)
            if not cancelled:
                break
        else:
            raise AssertionError("never came to its end")
        assert step > 10
        assert set(kinds) == {FileNotSent, OutcomeUnknown}


async def test_a_quest_can_be_cancelled(api: Api) -> None:
    """And its late answer hurts nobody."""

    async def answer_late(peer: Peer) -> None:
        await peer.log_in()
        late = [await peer.quest("slow") for _ in range(3)]
        quick = await peer.quest("quick")
        for quest in late:
            await peer.answer(quest, {})
        await peer.answer(quick, {"quick": True})
        await peer.answer(await peer.quest("bye"), {})

    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, answer_late).client() as client:
            for _ in range(3):
                async with anyio.create_task_group() as asking:
                    asking.start_soon(client.quest, "slow")
                    await anyio.sleep(0.01)
                    asking.cancel_scope.cancel()
            assert await client.quest("quick") == {"quick": True}


async def test_a_send_that_waits_for_a_link_can_be_cancelled(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice, world.client(BOB) as bob:
        for rounds in range(40):
            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(alice.send_file, FileType.FILE, BOB, BODY)
                for _ in range(rounds):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await world.empty(visits=2)
        await alice.send_file(FileType.FILE, BOB, b"the last")  # a place is free
        events = bob.events()
        while world.body(await next_file(events)) != b"the last":
            pass


async def test_one_send_of_many_can_be_cancelled(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice, world.client(BOB) as bob:
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(alice.send_file, FileType.FILE, BOB, BODY)
            with scope:

                def cancel(progress: Progress) -> None:
                    if progress.sent:
                        scope.cancel()

                await alice.send_file(FileType.FILE, BOB, b"cancelled" * PIECE, progress=cancel)
        events = bob.events()
        assert [world.body(await next_file(events)) for _ in range(4)] == [BODY] * 4
        assert scope.cancelled_caught


async def test_a_cancellation_before_the_call_sends_nothing(api: Api) -> None:
    async with open_world(api) as world, world.client() as alice:
        dialled = len(world.dialled)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await alice.send_file(FileType.FILE, BOB, b"data")
        assert scope.cancelled_caught and len(world.dialled) == dialled


# --- in the words of asyncio ---


async def stall(peer: Peer) -> None:
    await peer.open()
    await peer.quest("sendfile")
    await peer.read_on()


async def main_link(peer: Peer) -> None:
    await peer.give_tokens()


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_asyncios_timeout_is_a_timeout_error(api: Api) -> None:
    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, main_link, stall).client() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3):
                    await client.send_file(FileType.FILE, BOB, b"data")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.send_file(FileType.FILE, BOB, b"data"), 3)
            await client.file_token("sendfile", to=BOB)
            assert anyio.current_time() == pytest.approx(6, abs=0.01)
            current = asyncio.current_task()
            assert current is not None and current.cancelling() == 0
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_asyncios_timeout_around_a_client(api: Api) -> None:
    async with anyio.create_task_group() as tasks:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                async with Scripts(api, tasks, main_link, stall).client() as client:
                    await client.send_file(FileType.FILE, BOB, b"data")
        assert anyio.current_time() == pytest.approx(3, abs=0.01)
        tasks.cancel_scope.cancel()


@ON_ASYNCIO
async def test_asyncios_task_group_around_our_calls(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice, world.client(BOB) as bob:
        async with asyncio.TaskGroup() as group:
            sends = [
                group.create_task(alice.send_file(FileType.FILE, BOB, bytes([number])))
                for number in range(5)
            ]
        events = bob.events()
        mids = {(await next_file(events)).mid for _ in sends}
        assert mids == {send.result().mid for send in sends}
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(alice.send_file(FileType.FILE, BOB, BODY))
                group.create_task(alice.send_file(FileType.FILE, ALICE, b"to oneself"))
        assert caught.group_contains(SendFailed)
        await world.empty(visits=2)


@ON_ASYNCIO
async def test_a_task_that_owns_a_client_can_be_cancelled_after_every_round(api: Api) -> None:
    async with open_world(api) as world:

        async def own() -> None:
            async with world.client(ALICE) as alice:
                await alice.send_file(FileType.FILE, BOB, b"data")

        rounds = 0
        while True:
            rounds += 1
            task = asyncio.ensure_future(own())
            for _ in range(rounds):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                await world.empty()
            else:
                break
        assert rounds > 20


# --- in the words of trio ---


@ON_TRIO
async def test_trios_scopes_around_our_calls(api: Any) -> None:
    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, main_link, stall).client() as client:
            with pytest.raises(trio.TooSlowError):
                with trio.fail_after(3):
                    await client.send_file(FileType.FILE, BOB, b"data")
            with trio.move_on_after(3) as scope:
                await client.send_file(FileType.FILE, BOB, b"data")
            assert scope.cancelled_caught
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send_file, FileType.FILE, BOB, b"data")
                await trio.sleep(3)
                nursery.cancel_scope.cancel()
            await client.file_token("sendfile", to=BOB)
            assert trio.current_time() == pytest.approx(9, abs=0.01)
        tasks.cancel_scope.cancel()


@ON_TRIO
async def test_a_nursery_that_fails_ends_the_client_in_it(api: Any) -> None:
    async with anyio.create_task_group() as tasks:
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:

                async def fail() -> None:
                    await trio.sleep(3)
                    raise KeyError("mine")

                nursery.start_soon(fail)
                async with Scripts(api, tasks, main_link, stall).client() as client:
                    await client.send_file(FileType.FILE, BOB, b"data")
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        assert trio.current_time() == pytest.approx(3, abs=0.01)
        tasks.cancel_scope.cancel()


# --- the call's own deadline is no cancellation ---


@TIMED
async def test_a_timeout_of_the_call_is_an_outcome(api: Api) -> None:
    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, main_link, stall).client() as client:
            with anyio.fail_after(10), pytest.raises(OutcomeUnknown) as caught:
                await client.send_file(FileType.FILE, BOB, b"data", timeout=3)
            assert isinstance(caught.value.cause, QuestTimeout)
        tasks.cancel_scope.cancel()


@ON_TRIO
async def test_the_error_of_a_timeout_tells_the_outcome_on_trio(api: Api) -> None:
    async with anyio.create_task_group() as tasks, Scripts(api, tasks, silent).client() as client:
        with pytest.raises(trio.TooSlowError) as late:
            with trio.fail_after(1):
                await client.send_file(FileType.FILE, BOB, BODY, 7)
        outcome = outcome_of(late.value)
        assert isinstance(outcome, FileNotSent) and (outcome.mid, outcome.stage) == (7, "token")
        assert "Cancelled" in str(outcome)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("way", ["timeout", "wait_for"])
async def test_the_error_of_a_timeout_tells_the_outcome_on_asyncio(api: Api, way: str) -> None:
    async with anyio.create_task_group() as tasks, Scripts(api, tasks, silent).client() as client:
        with pytest.raises(TimeoutError) as late:
            if way == "timeout":
                async with asyncio.timeout(1):
                    await client.send_file(FileType.FILE, BOB, BODY, 7)
            else:
                await asyncio.wait_for(client.send_file(FileType.FILE, BOB, BODY, 7), 1)
        outcome = outcome_of(late.value)
        assert isinstance(outcome, FileNotSent) and (outcome.mid, outcome.stage) == (7, "token")
        tasks.cancel_scope.cancel()


async def silent(peer: Peer) -> None:
    """Let the client in, and never answer."""
    await peer.log_in()
    await peer.read_on()
