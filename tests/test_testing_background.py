"""A gate in a thread: started, called and ended from outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

import rtm_asyncio
import rtm_trio
from rtm_proto.errors import QuestRefused
from rtm_proto.received import Disconnected, FileType, KickedOut, UnknownPush
from rtm_proto.testing.background import USERS, RunningGate, Runtime, run_gate
from rtm_proto.testing.scripted import Faults

RUNTIMES: list[Runtime | None] = ["asyncio", "trio", None]


async def use(rtm: Any, gate: RunningGate) -> None:
    """What a client does, and what is done to it meanwhile."""
    async with rtm.open_client(gate.url, pid=gate.pid, uid=1001, token=USERS[1001]) as client:
        gate.faults.refuse("ping", 200010)
        with pytest.raises(QuestRefused):
            await client.quest("ping", {})
        sent = await client.send_file(FileType.IMAGE, to=1002, file=b"a picture")
        assert [message.mid for message in gate.messages()] == [sent.mid]
        assert [(file.size, body) for file, body in gate.files()] == [(9, b"a picture")]
        gate.faults.push(1001, "pushsomething")
        events = client.events()
        assert isinstance(await anext(events), UnknownPush)
        assert gate.visits >= 1
        assert gate.kick(1001)
        assert [type(event) async for event in events] == [KickedOut, Disconnected]
        gate.faults.restart()
        assert not gate.kick(1001)


def on_asyncio(gate: RunningGate) -> None:
    asyncio.run(use(rtm_asyncio, gate))


def on_trio(gate: RunningGate) -> None:
    trio.run(use, rtm_trio, gate)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("run", [on_asyncio, on_trio])
def test_a_gate_of_either_runtime_serves_clients_of_both(
    runtime: Runtime | None, run: Callable[[RunningGate], None]
) -> None:
    threads = threading.active_count()
    faults = Faults()
    with run_gate(runtime=runtime, faults=faults) as gate:
        assert gate.faults is faults
        assert gate.url in repr(gate)
        run(gate)
    assert not faults.unused
    assert threading.active_count() == threads
    faults.refuse("ping", 1)
    assert faults.push(5, "later").used == 0


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
def test_a_gate_that_cannot_start_says_why(runtime: Runtime) -> None:
    threads = threading.active_count()
    with pytest.raises(OSError), run_gate(runtime=runtime, host="192.0.2.1"):
        raise AssertionError("nobody should get here")
    assert threading.active_count() == threads


def test_an_error_of_the_test_comes_out_and_ends_the_gate() -> None:
    with pytest.raises(ZeroDivisionError), run_gate() as gate:
        with pytest.raises(KeyError):
            gate.call(lambda: USERS[0])
        raise ZeroDivisionError
    assert "rtm gate" not in [thread.name for thread in threading.enumerate()]
