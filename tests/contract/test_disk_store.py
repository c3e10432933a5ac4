"""The store on a disk under a gate: its calls run in threads, and its faults are refusals."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from rtm_proto.codes import Code
from rtm_proto.disk import DiskStore
from rtm_proto.errors import FileRefused
from rtm_proto.received import FileType
from tests.contract.world import ALICE, BOB, Api, Client, next_file, open_world
from tests.disk_model import Disk

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
    ),
]

LARGE = b"large " * 100_000


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
async def test_an_upload_gets_its_refusal_and_the_next_one_goes_through(
    api: Api, tmp_path: Path, body: bytes
) -> None:
    disk = Disk()
    store = DiskStore(tmp_path / "store", make_files=disk.files)
    async with open_world(api, store=store) as world:
        async with world.client(ALICE) as alice, world.client(BOB) as bob:
            events = bob.events()
            disk.broken = {"sync"}
            with pytest.raises(FileRefused, match="not stored: the disk failed") as caught:
                await alice.send_file(FileType.FILE, BOB, body, 7, timeout=0.5)
            assert caught.value.code == Code.WORK_QUEUE_FULL
            disk.broken = set()
            sent = await alice.send_file(FileType.FILE, BOB, body, 7)
            assert not sent.duplicate
            received = await next_file(events)
            assert received.mid == 7
            assert world.body(received) == body
    store.close()
    assert not disk.still_open


async def test_many_files_at_once_are_kept_and_found_by_the_next_gate(
    api: Api, tmp_path: Path
) -> None:
    for again in (False, True):
        store = DiskStore(tmp_path / "store")
        duplicates: list[bool] = []
        async with open_world(api, store=store) as world, world.client(ALICE) as alice:
            async with anyio.create_task_group() as tasks:
                for mid in range(1, 31):
                    tasks.start_soon(send, alice, mid, duplicates)
        assert duplicates == [again] * 30
        assert store.used().files == len(store.kept(0).messages) == 30
        store.close()


async def send(alice: Client, mid: int, duplicates: list[bool]) -> None:
    sent = await alice.send_file(FileType.FILE, BOB, LARGE[: mid * 5_000], mid)
    duplicates.append(sent.duplicate)
