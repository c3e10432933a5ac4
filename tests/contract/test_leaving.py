"""Leaving, by the end of the block, an error or a cancellation: what comes out, what is left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from rtm_proto.errors import ConnectFailed, ConnectionLost, LoginFailed
from rtm_proto.received import FileType
from tests.contract.scripted import Peer, Scripts
from tests.contract.streams import whole_anyio_pair, whole_trio_pair
from tests.contract.world import ALICE, BOB, PID, TRIO, USERS, Api, next_file, open_world

pytestmark = pytest.mark.anyio

TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
SCHEMES = pytest.mark.parametrize("scheme", ["ws", "tcp"])


class Own(BaseException):
    """As pytest's own, and others'."""


ERRORS: list[Callable[[], BaseException]] = [
    lambda: KeyError("mine"),
    lambda: OSError("mine"),
    lambda: LoginFailed("mine"),
    lambda: TimeoutError("mine"),
    lambda: ExceptionGroup("mine", [KeyError("one"), OSError("two")]),
    lambda: ExceptionGroup("mine", [ExceptionGroup("inner", [KeyError("one")])]),
    lambda: BaseExceptionGroup("mine", [Own("one")]),
    lambda: KeyboardInterrupt(),
    lambda: SystemExit(3),
    lambda: Own("mine"),
    lambda: StopAsyncIteration(),
]


@SCHEMES
@pytest.mark.parametrize("make", ERRORS, ids=lambda make: type(make()).__name__)
async def test_what_is_raised_in_a_clients_block_comes_out_as_itself(
    api: Api, scheme: str, make: Callable[[], BaseException]
) -> None:
    error = make()
    async with open_world(api) as world:
        with pytest.raises(type(error)) as caught:
            async with world.client(ALICE, scheme):
                raise error
        assert caught.value is error
        assert error.__cause__ is None and error.__context__ is None
        await world.empty()


@pytest.mark.parametrize("make", ERRORS, ids=lambda make: type(make()).__name__)
async def test_what_is_raised_in_a_gates_block_comes_out_as_itself(
    api: Api, make: Callable[[], BaseException]
) -> None:
    error = make()
    with pytest.raises(type(error)) as caught:
        async with api.serve_gate(pid=PID, users=USERS):
            await anyio.lowlevel.checkpoint()
            raise error
    assert caught.value is error
    assert error.__cause__ is None and error.__context__ is None


async def test_an_error_comes_out_also_when_the_link_is_gone(api: Api) -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.log_in()

    async with anyio.create_task_group() as tasks:
        with pytest.raises(ConnectionLost):
            async with Scripts(api, tasks, hang_up).client() as client:
                await client.quest("ping")


async def test_an_error_in_the_block_beats_what_leaving_meets(api: Api) -> None:
    async def garble(peer: Peer) -> None:
        await peer.log_in()
        await peer.quest("bye")
        await peer.end.send(b"\xff" * 100)

    async with anyio.create_task_group() as tasks:
        with pytest.raises(KeyError, match="mine"):
            async with Scripts(api, tasks, garble).client():
                raise KeyError("mine")


async def test_leaving_says_bye(api: Api) -> None:
    heard: list[bytes] = []

    async def listen(peer: Peer) -> None:
        await peer.log_in()
        quest = await peer.any_quest()
        heard.append(quest.method)
        await peer.answer(quest, {})
        assert await peer.end.receive_all() == b""
        heard.append(b"")

    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, listen).client():
            pass
    assert heard == [b"bye", b""]


@TIMED
@SCHEMES
async def test_a_stream_that_cannot_end_one_side_will_do(api: Api, scheme: str) -> None:
    pair = whole_trio_pair if api is TRIO else whole_anyio_pair
    async with open_world(replace(api, stream_pair=pair)) as world:
        async with world.client(ALICE, scheme) as alice, world.client(BOB, scheme) as bob:
            await alice.send_file(FileType.FILE, BOB, b"data")
            assert world.body(await next_file(bob.events())) == b"data"
        await world.empty()
        assert anyio.current_time() < 0.1


async def test_calls_after_the_block_fail(api: Api) -> None:
    async with open_world(api) as world:
        async with world.client() as alice:
            pass
        with pytest.raises(ConnectionLost):
            await alice.quest("ping")
        assert len([event async for event in alice.events()]) == 1


@TIMED
async def test_calls_that_run_when_the_block_ends_fail(api: Api) -> None:
    async def say_nothing(peer: Peer) -> None:
        await peer.log_in()
        await peer.quest("slow")
        await peer.answer(await peer.quest("bye"), {})
        await peer.read_on()

    async with anyio.create_task_group() as tasks:
        async with Scripts(api, tasks, say_nothing).client() as client:

            async def ask() -> None:
                with pytest.raises(ConnectionLost):
                    await client.quest("slow")

            tasks.start_soon(ask)
            await anyio.sleep(0.01)


async def test_a_cancellation_of_the_block_leaves_at_once(api: Api) -> None:
    async with open_world(api) as world:
        with anyio.move_on_after(5):
            with anyio.CancelScope() as scope:
                async with world.client(ALICE) as alice, anyio.create_task_group() as tasks:
                    tasks.start_soon(alice.quest, "ping")
                    scope.cancel()
            assert scope.cancelled_caught
            await world.empty()


@SCHEMES
async def test_a_cancellation_at_any_time_leaves_nothing(api: Api, scheme: str) -> None:
    """Of the whole block: connecting, login, sending, leaving."""
    async with open_world(api) as world:
        for steps in range(1, 400):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cancel_after, steps, scope)
                    async with world.client(ALICE, scheme) as alice:
                        await alice.send_file(FileType.FILE, BOB, b"data")
                    tasks.cancel_scope.cancel()
            await world.empty()
            if not scope.cancelled_caught:
                break
        else:
            raise AssertionError("never came to its end")
        assert steps > 20


@pytest.mark.parametrize("anyio_backend", ["trio-real", "asyncio-real"], indirect=True)
async def test_a_cancellation_of_a_gate_at_any_time_leaves_nothing(api: Api) -> None:
    for steps in range(1, 60):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_after, steps, scope)
                async with api.serve_gate(pid=PID, users=USERS) as gate:
                    async with await anyio.connect_tcp("127.0.0.1", gate.address.port) as stream:
                        await stream.send(b"GET ")
                        await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()


async def cancel_after(steps: int, scope: anyio.CancelScope) -> None:
    """Cancel after so many rounds of the scheduler."""
    for _ in range(steps):
        await anyio.lowlevel.checkpoint()
    scope.cancel()


async def test_the_gate_goes_on_after_a_client_that_was_cancelled(api: Api) -> None:
    async with open_world(api) as world, world.client(BOB) as bob:
        with anyio.CancelScope() as scope:
            async with world.client(ALICE):
                scope.cancel()
                await anyio.sleep(1)
        async with world.client(ALICE) as alice:
            sent = await alice.send_file(FileType.FILE, BOB, b"data")
            assert (await next_file(bob.events())).mid == sent.mid


async def test_no_secrets_are_shown(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_world(api) as world, world.client() as alice:
        token = (await alice.file_token("sendfile", to=BOB)).token
        shown: list[Any] = [repr(alice), repr(world.gate), caplog.text, *vars(alice).values()]
        for text in map(repr, shown):
            assert USERS[ALICE] not in text and token not in text
        assert str(ALICE) in repr(alice) and "gate.test" in repr(alice)
        assert str(world.gate.file_address) in repr(world.gate)
        assert world.gate.url == str(world.gate.address)


class Gone(anyio.abc.ByteStream):
    """A stream whose socket is gone, as anyio's own tell it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def extra_attributes(self) -> Any:
        """Raises it."""
        raise self._error

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Nothing."""
        raise anyio.BrokenResourceError

    async def send(self, item: bytes) -> None:
        """Nowhere."""
        raise anyio.BrokenResourceError

    async def send_eof(self) -> None:
        """Nobody."""

    async def aclose(self) -> None:
        """Done."""


@pytest.mark.parametrize("error", [AttributeError("getpeername"), OSError("not connected")])
@pytest.mark.parametrize("anyio_backend", ["asyncio", "asyncio-uvloop"], indirect=True)
async def test_a_socket_that_is_gone_already_is_a_lost_link(api: Api, error: Exception) -> None:
    async def connect(address: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        return Gone(error)

    with pytest.raises(ConnectFailed, match="no link to"):
        async with api.open_client(
            "ws://gate.test", pid=PID, uid=ALICE, token="any", connect=connect
        ):
            pass


@SCHEMES
@pytest.mark.parametrize("fails", ["receive", "send"])
async def test_a_fault_of_a_stream_of_ones_own_comes_out(api: Api, scheme: str, fails: str) -> None:
    """Whatever waits is told of it too."""
    fault = RuntimeError("a fault in the stream")

    async def connect(address: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        near, _ = api.stream_pair()

        async def broken(*_: object, **__: object) -> None:
            await anyio.lowlevel.checkpoint()
            raise fault

        for name in ("receive", "receive_some") if fails == "receive" else ("send", "send_all"):
            setattr(near, name, broken)
        return near

    with pytest.raises(BaseException) as caught:
        async with api.open_client(
            f"{scheme}://gate.test", pid=PID, uid=ALICE, token="any", connect=connect
        ):
            pass
    assert "a fault in the stream" in repr(caught.value) + repr(caught.value.__context__)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "asyncio-uvloop"], indirect=True)
async def test_a_transport_that_is_closed_already_is_no_fault_at_the_end(api: Api) -> None:
    """uvloop raises RuntimeError for an end of one side that comes too late."""

    async def too_late() -> None:
        await anyio.lowlevel.checkpoint()
        raise RuntimeError("the handler is closed")

    async with open_world(api) as world:

        async def connect(address: Any) -> Any:
            stream = await world.connect(address)
            stream.send_eof = too_late
            return stream

        async with world.client(ALICE, connect=connect) as alice:
            await alice.quest("ping")
        await world.empty()
