"""Large files at a gate whose store takes its time, and those who send what it does not want."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import FileNotSent, FileRefused, StoreFault
from rtm_proto.flows.transfer import PIECE
from rtm_proto.gate.decisions import Limits
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import Port
from rtm_proto.package import MAX_PACKAGE, encode_quest
from rtm_proto.payload import EMPTY, decode, encode
from rtm_proto.received import FileType
from tests.contract.streams import MemoryStream, Pipe, WholeTrio, trio_pair
from tests.contract.world import ALICE, BOB, PID, SOON, TRIO, Api, World, next_file, open_world
from tests.pair import packages_in

pytestmark = pytest.mark.anyio

REAL = pytest.mark.parametrize(
    "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
)
SCHEMES = pytest.mark.parametrize("scheme", ["tcp", "ws"])
BODY = bytes(range(256)) * 4000  # about a million bytes


class SlowStore(MemoryStore):
    """A store in threads that does nothing before it is let; notes what it is at."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.allowed = threading.Event()
        self.drafts: dict[str, int] = {}
        self.waiting: list[int] = []  # bytes of the writes that wait
        self.most = 0  # bytes that waited at once

    def write_body(self, key: str, data: bytes) -> None:
        with self.lock:
            self.waiting.append(len(data))
            self.most = max(self.most, sum(self.waiting))
        if not self.allowed.wait(SOON):
            raise StoreFault("nobody let it")
        with self.lock:
            self.waiting.remove(len(data))
            self.drafts[key] = self.drafts.get(key, 0) + len(data)
            super().write_body(key, data)

    def drop_body(self, key: str) -> None:
        with self.lock:
            self.drafts.pop(key, None)
            super().drop_body(key)


class Meter:
    """Bytes that a gate has read of its file links."""

    def __init__(self) -> None:
        self.read = 0


class CountingTrio(WholeTrio):
    """A stream for trio that counts what is read."""

    meter: Meter

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As it does."""
        data = await super().receive_some(max_bytes)
        self.meter.read += len(data)
        return data


class CountingMemory(MemoryStream):
    """The same for anyio."""

    meter: Meter

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """As it does."""
        data = await super().receive(max_bytes)
        self.meter.read += len(data)
        return data


def metered(api: Api, *, narrow: bool = False) -> tuple[Api, Meter]:
    """The same with streams whose gate's end is counted; narrow ones take little at a time."""
    meter = Meter()

    def pair() -> tuple[Any, Any]:
        far: Any
        if api.name == TRIO.name:
            near, end = trio_pair(narrow=narrow)
            far = CountingTrio(end)
            far.meter = meter
            return near, far
        room = 1024 if narrow else float("inf")
        one, other = Pipe(room), Pipe(room)
        far = CountingMemory(other, one)
        far.meter = meter
        return MemoryStream(one, other), far

    return replace(api, stream_pair=pair), meter


async def until(ready: Callable[[], bool]) -> None:
    """Wait for what happens in a thread."""
    with anyio.fail_after(SOON):
        while not ready():  # noqa: ASYNC110 - a thread has no event for this
            await anyio.sleep(0.005)


async def token_for_bob(world: World) -> str:
    async with world.client(ALICE) as alice:
        answer = await alice.quest("filetoken", {"cmd": "sendfile", "to": BOB})
        return str(answer["token"])


@REAL
@SCHEMES
async def test_files_come_whole_through_a_store_that_blocks(api: Api, scheme: str) -> None:
    store = SlowStore()
    store.allowed.set()
    async with (
        open_world(api, store=store) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB) as bob,
        anyio.create_task_group() as tasks,
    ):
        bodies = [BODY[start : start + 300_000 + start] for start in range(4)]
        for body in bodies:
            tasks.start_soon(alice.send_file, FileType.FILE, BOB, body)
        events = bob.events()
        got = [world.body(await next_file(events)) for _ in bodies]
        assert sorted(got) == sorted(bodies)
        assert not store.drafts and not store.waiting


@REAL
@SCHEMES
async def test_no_more_is_read_than_a_slow_store_takes_and_others_are_served(
    api: Api, scheme: str
) -> None:
    store = SlowStore()
    api, meter = metered(api)
    async with (
        open_world(api, store=store) as world,
        world.client(ALICE, scheme) as alice,
        world.client(BOB) as bob,
        anyio.create_task_group() as tasks,
    ):
        before = meter.read
        tasks.start_soon(alice.send_file, FileType.FILE, BOB, BODY)
        await until(lambda: bool(store.waiting))
        for _ in range(20):
            await anyio.sleep(0.005)
            with anyio.fail_after(SOON):
                await bob.quest("ping", {})
                await alice.quest("ping", {})
        assert store.waiting == [PIECE]
        assert meter.read - before < 4 * PIECE
        with anyio.fail_after(SOON):
            await bob.send_file(FileType.FILE, ALICE, b"small")
        store.allowed.set()
        assert world.body(await next_file(bob.events())) == BODY
        assert store.most == PIECE


@SCHEMES
async def test_who_is_refused_early_hears_it_and_sends_no_more(api: Api, scheme: str) -> None:
    api, meter = metered(api, narrow=True)
    async with (
        open_world(api, limits=Limits(max_file=100_000)) as world,
        world.client(ALICE, scheme) as alice,
    ):
        before = meter.read
        with anyio.fail_after(SOON), pytest.raises(FileRefused) as caught:
            await alice.send_file(FileType.FILE, BOB, BODY)
        assert caught.value.code == Code.FILE_TOO_LARGE
        assert meter.read - before < len(BODY) / 2
        await alice.send_file(FileType.FILE, BOB, b"x" * 100_000)


def quest_of(token: str, body: bytes) -> bytes:
    params = {"token": token, "pid": PID, "from": ALICE, "to": BOB, "file": body, "attrs": "{}"}
    return encode_quest(b"sendfile", encode(params), 7)


async def test_a_wrong_token_is_refused_before_the_body_and_the_link_goes_on(api: Api) -> None:
    store = SlowStore()
    async with open_world(api, store=store) as world:
        stranger = world.stranger(port=Port.FILES)
        quest = quest_of("0" * 32, BODY)
        await stranger.send(quest[:200])
        with anyio.fail_after(SOON):
            [answer] = packages_in(await stranger.receive())
        assert (answer.seq, answer.status) == (7, 1)
        assert decode(answer.payload)["code"] == Code.BAD_FILE_SIGN_OR_TOKEN
        await stranger.send(quest[200:] + encode_quest(b"*ping", EMPTY, 8))
        with anyio.fail_after(SOON):
            [answer] = packages_in(await stranger.receive())
        assert (answer.seq, answer.status) == (8, 0)
        assert store.waiting == [] and store.drafts == {}
        await stranger.close()


@REAL
@SCHEMES
async def test_who_is_cancelled_inside_a_body_leaves_no_draft(api: Api, scheme: str) -> None:
    store = SlowStore()
    api, _ = metered(api, narrow=True)
    async with open_world(api, store=store) as world, world.client(ALICE, scheme) as alice:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alice.send_file, FileType.FILE, BOB, BODY)
            await until(lambda: bool(store.waiting))
            tasks.cancel_scope.cancel()
        store.allowed.set()  # before, the gate reads nothing, and so does not see that it is over
        await until(lambda: not store.waiting and not store.drafts)
        await world.empty(visits=1)
        assert store.messages() == []
        with anyio.fail_after(SOON):
            await alice.send_file(FileType.FILE, BOB, BODY)
        assert len(store.messages()) == 1


@REAL
async def test_a_stranger_who_vanishes_inside_a_body_leaves_no_draft(api: Api) -> None:
    store = SlowStore()
    async with open_world(api, store=store) as world:
        quest = quest_of(await token_for_bob(world), BODY)
        how: list[Callable[[Any], Awaitable[None]]] = [
            lambda end: end.close(),
            lambda end: end.send_eof(),
        ]
        for leave in how:
            store.allowed.clear()
            stranger = world.stranger(port=Port.FILES)
            await stranger.send(quest[:200_000])
            await until(lambda: bool(store.waiting))
            await leave(stranger)
            store.allowed.set()
            await until(lambda: not store.waiting and not store.drafts)
            await stranger.close()
            await world.empty()
        assert store.messages() == []


@REAL
async def test_a_store_that_fails_inside_a_body_is_a_refusal(api: Api) -> None:
    class Failing(SlowStore):
        left = 3

        def write_body(self, key: str, data: bytes) -> None:
            self.left -= 1
            if self.left == 0:
                raise OSError(28, "no space left")
            super().write_body(key, data)

    store = Failing()
    store.allowed.set()
    async with open_world(api, store=store) as world, world.client(ALICE) as alice:
        with pytest.raises(FileRefused) as caught:
            await alice.send_file(FileType.FILE, BOB, BODY, timeout=0.9)
        assert caught.value.code == Code.WORK_QUEUE_FULL
        await until(lambda: not store.drafts)
        await alice.send_file(FileType.FILE, BOB, BODY)


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_a_file_over_the_published_limit_goes_where_both_ends_take_it(
    api: Api, scheme: str
) -> None:
    body = os.urandom(MAX_PACKAGE + 1)
    options: dict[str, Any] = {"max_file": len(body)}
    async with (
        open_world(api, limits=Limits(max_file=len(body))) as world,
        world.client(ALICE, scheme, file_route="direct", **options) as alice,
        world.client(BOB) as bob,
    ):
        await alice.send_file(FileType.FILE, BOB, body)
        assert world.body(await next_file(bob.events())) == body
        with pytest.raises(FileNotSent, match=f"over the limit of {MAX_PACKAGE + 1}"):
            await alice.send_file(FileType.FILE, BOB, body + b"!")
        with pytest.raises(FileNotSent, match="over the limit of 5242880"):
            await bob.send_file(FileType.FILE, ALICE, body)
