"""What is sent from elsewhere than a disk, and how its sending is watched and paced."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest

import rtm_asyncio
import rtm_trio
from rtm_proto.errors import FileNotSent, FileUnusable, outcome_of
from rtm_proto.files import StreamSource
from rtm_proto.flows.steps import Progress, Stage
from rtm_proto.flows.transfer import PIECE
from rtm_proto.pace import Pace
from rtm_proto.received import FileType
from tests.contract.scripted import Peer, Scripts
from tests.contract.world import ALICE, BOB, Api, next_file, open_world

pytestmark = pytest.mark.anyio

TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
BODY = os.urandom(3 * PIECE + 17)


class Spring:
    """A stream in odd pieces; counts how often it was opened and closed."""

    def __init__(self, body: bytes = BODY, step: int = 50_001) -> None:
        self.body = body
        self.step = step
        self.opened = 0
        self.closed = 0

    async def flow(self) -> AsyncIterator[bytes]:
        """The bytes, from the beginning."""
        self.opened += 1
        try:
            for at in range(0, len(self.body), self.step):
                await anyio.lowlevel.checkpoint()
                yield self.body[at : at + self.step]
        finally:
            self.closed += 1


def progress_stream(api: Api) -> rtm_trio.ProgressStream | rtm_asyncio.ProgressStream:
    return rtm_trio.ProgressStream() if api.name == "rtm_trio" else rtm_asyncio.ProgressStream()


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
@pytest.mark.parametrize("step", [1_000, 50_001, 10**9])
async def test_a_stream_is_sent(api: Api, scheme: str, step: int) -> None:
    spring = Spring(step=step)
    async with (
        open_world(api) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB) as bob,
    ):
        source = StreamSource(len(BODY), spring.flow, "spring.bin")
        await alice.send_file(FileType.FILE, BOB, source)
        event = await next_file(bob.events())
        assert (world.body(event), event.name) == (BODY, "spring.bin")
        await alice.send_file(FileType.FILE, BOB, StreamSource(0, Spring(b"").flow))
        assert world.body(await next_file(bob.events())) == b""
    assert (spring.opened, spring.closed) == (1, 1)


async def test_every_attempt_begins_at_the_beginning(api: Api) -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.open()
        await peer.end.receive()

    async def take_file(peer: Peer) -> None:
        await peer.open()
        quest = await peer.quest("sendfile")
        assert BODY in quest.payload
        await peer.answer(quest, {"mtime": 5})
        await peer.read_on()

    spring = Spring()
    async with anyio.create_task_group() as tasks:
        gate = Scripts(api, tasks, Peer.give_tokens, hang_up, take_file)
        async with gate.client() as client:
            sent = await client.send_file(FileType.FILE, BOB, StreamSource(len(BODY), spring.flow))
            assert sent.attempts == 2
        tasks.cancel_scope.cancel()
    assert (spring.opened, spring.closed) == (2, 2)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (len(BODY) + 1, "announced 196626 bytes but ended after 196625"),
        (len(BODY) - 1, "more than the announced 196624 bytes"),
        (-1, "size is an integer from 0, got -1"),
    ],
)
async def test_a_stream_that_is_not_as_announced_is_not_sent(
    api: Api, size: int, text: str
) -> None:
    spring = Spring()
    async with open_world(api) as world, world.client(ALICE) as alice:
        with pytest.raises(FileNotSent, match=text) as failed:
            await alice.send_file(FileType.FILE, BOB, StreamSource(size, spring.flow, "spring"))
        assert isinstance(failed.value.cause, FileUnusable)
        await world.empty(visits=1)
        assert world.store.messages() == []
    assert spring.opened == spring.closed


async def breaks() -> AsyncIterator[bytes]:
    yield b"some"
    raise KeyError("a fault of the user's own")


async def is_text() -> AsyncIterator[str]:
    yield "some"


async def cannot_be_read() -> AsyncIterator[bytes]:
    yield bytes(os.stat("no such file").st_size)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (breaks, "the stream failed: KeyError"),
        (is_text, "a stream gives bytes, got str"),
        (cannot_be_read, "No such file"),
    ],
)
async def test_a_stream_that_fails_is_told(api: Api, stream: object, text: str) -> None:
    async with open_world(api) as world, world.client(ALICE) as alice:
        source = StreamSource(100, stream)  # type: ignore[arg-type]  # the fault is the point
        with pytest.raises(FileNotSent, match=text):
            await alice.send_file(FileType.FILE, BOB, source)
        await world.empty(visits=1)
        await alice.quest("ping")


@TIMED
async def test_a_stream_that_stands_still_can_be_cancelled(api: Api) -> None:
    closed: list[bool] = []

    async def stands_still() -> AsyncIterator[bytes]:
        try:
            yield b"some"
            await anyio.sleep(1000)
        finally:
            closed.append(True)

    async with open_world(api) as world, world.client(ALICE) as alice:
        with anyio.move_on_after(3) as scope:
            try:
                await alice.send_file(
                    FileType.FILE, BOB, StreamSource(100, stands_still), timeout=100
                )
            except BaseException as exc:
                assert isinstance(outcome_of(exc), FileNotSent)
                raise
        assert scope.cancelled_caught and closed == [True]
        await world.empty(visits=1)


@TIMED
async def test_a_stream_whose_end_hangs_holds_nobody_up(api: Api) -> None:
    async def hangs() -> AsyncIterator[bytes]:
        try:
            yield b"some"
        finally:
            await anyio.sleep(1000)

    async with open_world(api) as world, world.client(ALICE) as alice:
        began = anyio.current_time()
        with pytest.raises(FileNotSent):
            await alice.send_file(FileType.FILE, BOB, StreamSource(3, hangs))
        assert anyio.current_time() - began < 5


async def test_the_progress_of_a_send_can_be_read(api: Api) -> None:
    progress = progress_stream(api)
    told: list[Progress] = []
    async with open_world(api) as world, world.client(ALICE) as alice:
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                async for step in progress:
                    told.append(step)

            tasks.start_soon(read)
            await alice.send_file(FileType.FILE, BOB, BODY, 7, progress=progress)
    stages = [step.stage for step in told]
    assert [stage for n, stage in enumerate(stages) if stage not in stages[:n]] == [
        Stage.TOKEN,
        Stage.CONNECTING,
        Stage.UPLOADING,
        Stage.CONFIRMING,
        Stage.DONE,
    ]
    assert told[-1] == Progress(7, Stage.DONE, len(BODY), len(BODY), 1)
    assert [step.sent for step in told] == sorted(step.sent for step in told)


async def test_who_reads_late_sees_every_stage_and_the_newest_bytes(api: Api) -> None:
    progress = progress_stream(api)
    async with open_world(api) as world, world.client(ALICE) as alice:
        await alice.send_file(FileType.FILE, BOB, BODY, progress=progress)
        told = [step async for step in progress]
    assert [(step.stage, step.sent) for step in told] == [
        (Stage.TOKEN, 0),
        (Stage.CONNECTING, 0),
        (Stage.UPLOADING, len(BODY)),
        (Stage.CONFIRMING, len(BODY)),
        (Stage.DONE, len(BODY)),
    ]


async def test_the_progress_ends_with_a_send_that_fails(api: Api) -> None:
    progress = progress_stream(api)
    async with open_world(api) as world, world.client(ALICE) as alice:
        with pytest.raises(FileNotSent):
            await alice.send_file(FileType.FILE, BOB, "no such file", progress=progress)
        assert [step async for step in progress] == []


@TIMED
async def test_a_pace_keeps_to_the_published_limits(api: Api) -> None:
    async with open_world(api) as world, world.client(ALICE, pace=Pace()) as alice:
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(alice.send_file, FileType.FILE, BOB, b"data")
        assert anyio.current_time() - began == pytest.approx(4.0)
        with pytest.raises(FileNotSent, match="by the deadline"):
            await alice.send_file(FileType.FILE, BOB, b"data", timeout=0.5)


@TIMED
async def test_as_many_files_as_asked_for_are_on_their_way_at_once(api: Api) -> None:
    busy = most = 0

    async def take_slowly(peer: Peer) -> None:
        nonlocal busy, most
        await peer.open()
        quest = await peer.quest("sendfile")
        busy += 1
        most = max(most, busy)
        await anyio.sleep(1.0)
        busy -= 1
        await peer.answer(quest, {"mtime": 5})
        await peer.read_on()

    async with anyio.create_task_group() as tasks:
        gate = Scripts(api, tasks, Peer.give_tokens, take_slowly)
        async with gate.client(max_uploads=5) as client, anyio.create_task_group() as sends:
            for _ in range(12):
                sends.start_soon(client.send_file, FileType.FILE, BOB, b"data")
        tasks.cancel_scope.cancel()
    assert most == 5
