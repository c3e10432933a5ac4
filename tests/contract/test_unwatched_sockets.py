"""On an event loop that cannot watch a plain socket, as the usual one of Windows: streams then."""

from __future__ import annotations

import asyncio

import pytest

from rtm_proto.received import FileType
from tests.contract.world import ALICE, BOB, PID, USERS, Api, emptied, next_file


class Unwatching(asyncio.SelectorEventLoop):
    """It has the two methods in name only."""

    add_reader = asyncio.AbstractEventLoop.add_reader
    add_writer = asyncio.AbstractEventLoop.add_writer


pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": Unwatching})]),
]


async def test_a_file_goes_over_a_stream(api: Api) -> None:
    async with api.serve_gate(pid=PID, users=USERS) as gate:
        async with (
            api.open_client(gate.url, pid=PID, uid=ALICE, token=USERS[ALICE]) as alice,
            api.open_client(gate.url, pid=PID, uid=BOB, token=USERS[BOB]) as bob,
        ):
            sent = await alice.send_file(FileType.FILE, BOB, b"by stream")
            assert (await next_file(bob.events())).mid == sent.mid
        await emptied(gate)
