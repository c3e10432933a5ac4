"""rtm_trio as a guest of asyncio's loop, beside rtm_asyncio in the same thread."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import outcome
import trio

import rtm_asyncio
import rtm_trio
from rtm_proto.received import FileReceived, FileType

PID = 11_000_001
USERS = {1001: "secret-1001", 1002: "secret-1002"}
BODY = os.urandom(300_000)


@asynccontextmanager
async def guest() -> AsyncGenerator[asyncio.Future[str]]:
    """A trio program that runs on this loop; gives a future of the gate's URL."""
    loop = asyncio.get_running_loop()
    url: asyncio.Future[str] = loop.create_future()
    done: asyncio.Future[outcome.Outcome[bytes]] = loop.create_future()
    trio.lowlevel.start_guest_run(
        receive_one,
        url,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=done.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    yield url
    assert (await done).unwrap() == BODY


async def receive_one(url: asyncio.Future[str]) -> bytes:
    """Run a gate and one of its users on trio, until a file has come."""
    async with (
        rtm_trio.serve_gate(pid=PID, users=USERS) as gate,
        rtm_trio.open_client(gate.url, pid=PID, uid=1002, token=USERS[1002]) as bob,
    ):
        url.set_result(gate.url)
        async for event in bob.events():
            if isinstance(event, FileReceived):
                place = io.BytesIO()
                await bob.download(event, place)
                return place.getvalue()
    raise AssertionError("the events ended")


async def send_one() -> None:
    async with guest() as coming:
        url = await asyncio.wait_for(coming, 10)
        async with rtm_asyncio.open_client(url, pid=PID, uid=1001, token=USERS[1001]) as alice:
            await alice.send_file(FileType.FILE, 1002, BODY)


def test_a_trio_gate_and_a_trio_client_are_guests_of_asyncio() -> None:
    asyncio.run(asyncio.wait_for(send_one(), 30))
