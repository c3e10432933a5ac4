"""A gate among strangers: whatever they send or do not send, a good client's work goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from rtm_proto.codes import Code
from rtm_proto.errors import FileRefused, LoginFailed, QuestRefused, StoreFault
from rtm_proto.flows.transfer import PIECE
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import Port
from rtm_proto.gate.store import Effect, Result, StoredFile, StoredMessage, Table
from rtm_proto.package import Kind, encode_quest
from rtm_proto.payload import EMPTY, decode, encode
from rtm_proto.received import FileType
from tests.contract.streams import End
from tests.contract.world import (
    ALICE,
    BOB,
    SOON,
    Api,
    Client,
    World,
    next_file,
    open_world,
)
from tests.pair import packages_in

pytestmark = pytest.mark.anyio

TIMED = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
REAL = pytest.mark.parametrize(
    "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
)
PORTS = pytest.mark.parametrize("port", [Port.MAIN, Port.FILES], ids=["main", "file"])

UPGRADE = (
    b"GET /service/websocket HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
HEAD = b"FPNN\x01\x80\x01\x04"  # of a two-way quest with a method of 4 bytes


@asynccontextmanager
async def good_work(world: World) -> AsyncGenerator[None, None]:
    """Alice sends to Bob all the time, and everything arrives."""
    sent: list[int] = []
    async with (
        world.client(ALICE) as alice,
        world.client(BOB, "ws") as bob,
        anyio.create_task_group() as tasks,
    ):

        async def work() -> None:
            while True:
                sent.append((await alice.send_file(FileType.FILE, BOB, b"data")).mid)
                await anyio.sleep(0.5)

        tasks.start_soon(work)
        yield
        tasks.cancel_scope.cancel()
        sent.append((await alice.send_file(FileType.FILE, BOB, b"data")).mid)
        events = bob.events()
        received: list[int] = []
        while sent[-1] not in received:
            received.append((await next_file(events)).mid)
        assert [mid for mid in received if mid in sent] == sent
        assert len(received) <= len(sent) + 1  # one was perhaps cut off before its end was told


@PORTS
@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 1000,
        b"\xff" * 100_000,
        b"FPNX\x01\x80\x01\x04",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /files/0123456789abcdef0123456789abcdef HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /service/websocket HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /service/websocket HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + b"/" * 20_000,
        b"GET / HTTP/1.1\r\nHost: x\r\nBad\nLine: y\r\n\r\n",
        b"FPNN\x01\x80\x07\x00\x00\x00\x00\x00",
        HEAD + b"\xff\xff\xff\xff" + b"\x01\x00\x00\x00ping",
        HEAD + b"\x00\x00\x00\x80" + b"\x01\x00\x00\x00ping" + bytes(100_000),
        UPGRADE + b"\xff" * 100,
        UPGRADE + b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(1000),
        UPGRADE + b"\x82\x05hello",  # not masked
    ],
)
async def test_garbage_ends_its_own_connection_at_once(api: Api, data: bytes, port: Port) -> None:
    async with open_world(api) as world, good_work(world):
        for cut in (len(data), 1, 9):
            stranger = world.stranger(port=port)
            with anyio.fail_after(3):
                await say(stranger, data[:cut])
                await say(stranger, data[cut:])
                await stranger.receive_all()
            await stranger.close()


async def say(stranger: End, data: bytes) -> None:
    """Unless nobody listens any more."""
    try:
        if data:
            await stranger.send(data)
    except OSError:
        pass


@PORTS
@pytest.mark.parametrize(
    "data", [b"", b"F", b"GET / HT", UPGRADE, UPGRADE + b"\x82", HEAD, HEAD + b"\x01\x00\x00\x00"]
)
async def test_who_leaves_in_the_middle_leaves_nothing(api: Api, data: bytes, port: Port) -> None:
    async with open_world(api) as world, good_work(world):
        stranger = world.stranger(port=port)
        await say(stranger, data)
        await anyio.sleep(0.01)
        await stranger.send_eof()
        with anyio.fail_after(SOON):
            await stranger.receive_all()
        await stranger.close()


@TIMED
@PORTS
@pytest.mark.parametrize(
    ("first", "drip", "main", "file"),
    [
        (b"", b"", 5, 5),  # never a word
        (b"F", b"", 10, 60),  # FPNN that never gets on
        (b"GET / HTTP/1.1\r\n", b"", 5, 5),
        (b"GET / HTTP/1.1\r\nX: ", b"x", 5, 5),  # slow-loris
        (UPGRADE, b"", 10, 120),  # a WebSocket, and nothing more; the 101 was a sign of life
        (HEAD, b"", 10, 60),
        (HEAD + b"\xff\x1f\x00\x00\x01\x00\x00\x00ping", b"x", 10, None),
        (encode_quest(b"ping", EMPTY, 1), encode_quest(b"ping", EMPTY, 1), 10, None),
    ],
)
async def test_who_takes_too_long_is_dropped(
    api: Api, first: bytes, drip: bytes, main: float, file: float | None, port: Port
) -> None:
    """A byte a second keeps nobody on the main port; on the file port there is no login."""
    expected = file if port is Port.FILES else main
    async with open_world(api) as world, anyio.create_task_group() as tasks:
        stranger = world.stranger(port=port)
        await stranger.send(first)
        started = anyio.current_time()

        async def drip_on() -> None:
            while True:
                await anyio.sleep(1)
                await say(stranger, drip)

        tasks.start_soon(drip_on)
        with anyio.move_on_after(300):
            await stranger.receive_all()
        lasted = anyio.current_time() - started
        assert lasted == pytest.approx(300 if expected is None else expected, abs=0.001)
        tasks.cancel_scope.cancel()
        await stranger.close()


@TIMED
async def test_many_slow_strangers_do_not_slow_a_good_client(api: Api) -> None:
    async with open_world(api) as world, good_work(world):
        strangers = [
            world.stranger(port=Port.FILES if number % 2 else Port.MAIN) for number in range(300)
        ]
        for number, stranger in enumerate(strangers):
            await stranger.send([b"GET / HTTP/1.1\r\n", b"F", UPGRADE][number % 3])
        await anyio.sleep(4)
        for stranger in strangers:
            await say(stranger, b"X")
        await anyio.sleep(120)
        assert world.gate.visits < 10
        for stranger in strangers:
            await stranger.close()


@PORTS
async def test_a_quest_of_4_gib_is_refused_before_it_comes(api: Api, port: Port) -> None:
    async with open_world(api) as world:
        stranger = world.stranger(port=port)
        await stranger.send(HEAD + b"\xff\xff\xff\xff\x01\x00\x00\x00")
        with anyio.fail_after(SOON):
            (answer,) = packages_in(await stranger.receive_all())
        assert (answer.kind, answer.seq, answer.status) == (Kind.ANSWER, 1, 1)
        code = Code.FILE_TOO_LARGE if port is Port.FILES else Code.INVALID_PACKAGE
        assert decode(answer.payload)["code"] == code
        await stranger.close()


@PORTS
async def test_an_unknown_method_is_refused_and_no_more(api: Api, port: Port) -> None:
    async with open_world(api) as world:
        stranger = world.stranger(port=port)
        for seq in (1, 2):
            await stranger.send(encode_quest(b"nonsense", EMPTY, seq))
            with anyio.fail_after(SOON):
                (answer,) = packages_in(await stranger.receive())
            assert (answer.seq, answer.status) == (seq, 1)
            assert decode(answer.payload)["code"] == Code.UNKNOWN_METHOD
        await stranger.close()


@PORTS
async def test_nothing_can_be_done_without_a_login(api: Api, port: Port) -> None:
    async with open_world(api) as world:
        stranger = world.stranger(port=port)
        params = encode({"cmd": "sendfile", "to": BOB})
        await stranger.send(encode_quest(b"filetoken", params, 1))
        with anyio.fail_after(SOON):
            (answer,) = packages_in(await stranger.receive())
        assert decode(answer.payload)["code"] == Code.NOT_LOGGED_IN
        await stranger.close()


async def test_a_wrong_login_token(api: Api) -> None:
    async with open_world(api) as world, good_work(world):
        for uid, token in ((ALICE, "wrong"), (ALICE, "bob's token"), (BOB, "é" * 100)):
            with pytest.raises(LoginFailed, match="token") as caught:
                async with world.client(uid, token=token):
                    raise AssertionError("logged in")
            assert caught.value.code is None


# --- stores ---


class SlowStore(MemoryStore):
    """A store that waits for a disk; notes the threads that it was called in."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()
        self.lock = threading.Lock()

    def carry_out(self, effect: Effect) -> Result:
        """In whatever thread."""
        with self.lock:
            self.threads.add(threading.get_ident())
            return super().carry_out(effect)


class BadStore(MemoryStore):
    """A store whose first *failures* files cannot be kept."""

    def __init__(self, failures: int, error: Exception, *, blocking: bool = False) -> None:
        super().__init__()
        self.failures = failures
        self.error = error
        self.blocking = blocking

    def save_file(self, file: StoredFile, messages: Sequence[StoredMessage], rest: bytes) -> None:
        """Fail, or keep it."""
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        super().save_file(file, messages, rest)


@REAL
async def test_a_store_that_blocks_works_in_threads(api: Api) -> None:
    store = SlowStore()
    async with (
        open_world(api, store=store) as world,
        world.client(ALICE) as alice,
        world.client(BOB, "ws") as bob,
    ):

        async def send_one(body: bytes) -> None:
            await alice.send_file(FileType.FILE, BOB, body)

        bodies = {bytes([number]) * PIECE for number in range(6)}
        async with anyio.create_task_group() as tasks:
            for body in bodies:
                tasks.start_soon(send_one, body)
        events = bob.events()
        assert {world.body(await next_file(events)) for _ in bodies} == bodies
        assert store.threads and threading.get_ident() not in store.threads


@TIMED
@pytest.mark.parametrize("error", [StoreFault("the disk is full"), OSError(28, "no space")])
async def test_a_store_that_fails_once_is_made_good_by_a_second_attempt(
    api: Api, error: Exception
) -> None:
    store = BadStore(1, error)
    async with open_world(api, store=store) as world:
        async with world.client(ALICE) as alice, world.client(BOB) as bob:
            sent = await alice.send_file(FileType.FILE, BOB, b"data")
            assert (sent.attempts, sent.duplicate) == (2, False)
            assert (await next_file(bob.events())).mid == sent.mid


@TIMED
@pytest.mark.parametrize("error", [StoreFault("the disk is full"), OSError(28, "no space")])
async def test_a_store_that_fails_is_a_refusal_and_the_gate_lives(
    api: Api, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = BadStore(3, error)
    async with open_world(api, store=store) as world:
        async with world.client(ALICE) as alice, world.client(BOB) as bob:
            started = anyio.current_time()
            with pytest.raises(FileRefused) as caught:
                await alice.send_file(FileType.FILE, BOB, b"data", 7)
            assert caught.value.code == Code.WORK_QUEUE_FULL
            assert anyio.current_time() - started == pytest.approx(3, abs=0.001)
            await check_that_mid_7_is_free(alice, bob)
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == (0 if isinstance(error, StoreFault) else 3)


@REAL
@pytest.mark.parametrize("error", [StoreFault("the disk is full"), OSError(28, "no space")])
async def test_a_store_that_fails_in_a_thread_is_a_refusal_too(api: Api, error: Exception) -> None:
    store = BadStore(1, error, blocking=True)
    async with open_world(api, store=store) as world:
        async with world.client(ALICE) as alice, world.client(BOB) as bob:
            with pytest.raises(FileRefused) as caught:
                await alice.send_file(FileType.FILE, BOB, b"data", 7, timeout=0.9)
            assert caught.value.code == Code.WORK_QUEUE_FULL
            await check_that_mid_7_is_free(alice, bob)


async def check_that_mid_7_is_free(alice: Client, bob: Client) -> None:
    """What was not kept was not delivered, and can be sent again."""
    sent = await alice.send_file(FileType.FILE, BOB, b"data", 7)
    assert not sent.duplicate
    assert (await next_file(bob.events())).mid == 7


async def test_a_store_without_room_says_so(api: Api) -> None:
    async with open_world(api, store=MemoryStore(max_bytes=10)) as world:
        async with world.client(ALICE) as alice:
            await alice.send_file(FileType.FILE, BOB, b"0123456789")
            with pytest.raises(FileRefused, match="no room for 1 bytes"):
                await alice.send_file(FileType.FILE, BOB, b"0", timeout=0.5)


async def test_a_group_that_cannot_be_kept_is_a_refusal(api: Api) -> None:
    class NoGroups(MemoryStore):
        def save_record(self, table: Table, key: int, value: str | None) -> None:
            raise StoreFault("no")

    async with open_world(api, store=NoGroups()) as world, world.client(ALICE) as alice:
        with pytest.raises(QuestRefused) as caught:
            await alice.quest("addgroupmembers", {"gid": 1, "uids": [ALICE]})
        assert caught.value.code == Code.WORK_QUEUE_FULL
