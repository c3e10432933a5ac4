"""Links, streams and a loop of one's own, as docs/transports.md shows them, at a real gate."""

from __future__ import annotations

import importlib
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from rtm_proto.address import Address
from rtm_proto.codes import Code
from rtm_proto.connection import Connection
from rtm_proto.errors import (
    ConnectFailed,
    FileNotSent,
    FramingError,
    LocalProtocolError,
    OutcomeUnknown,
    SendFailed,
)
from rtm_proto.events import CloseKind
from rtm_proto.flows.login import Login
from rtm_proto.link import Buffer, Link, StreamLink
from rtm_proto.package import encode_quest
from rtm_proto.received import FileReceived, FileType
from rtm_proto.testing.streams import RULES, check_stream
from tests.contract.streams import WholeAnyio, WholeTrio
from tests.contract.world import ALICE, BOB, PID, USERS, Api, emptied, next_file, open_world

pytestmark = pytest.mark.anyio

SOCKETS = pytest.mark.parametrize(
    "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
)
MEMORY = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
BODY = os.urandom(300_000)
FAST = 1e9  # bytes a second
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def example(name: str) -> Any:
    """A module of docs/examples, where they import each other by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        return importlib.import_module(name)


CheckedLink: Any = example("checked_link").CheckedLink
drive: Any = example("blocking_loop").drive
blocking_client: Any = example("blocking_client")
METERED = {"trio": example("metered_trio"), "asyncio": example("metered_asyncio")}

# --- a link ---


def checked(address: Address) -> Link:
    link: Link = CheckedLink()
    return link


async def test_a_file_goes_over_links_of_ones_own(api: Api) -> None:
    async with (
        open_world(api, raw_link=CheckedLink) as world,
        world.client(ALICE, link=checked) as alice,
        world.client(BOB, link=checked) as bob,
    ):
        await alice.send_file(FileType.FILE, BOB, BODY)
        assert world.body(await next_file(bob.events())) == BODY


async def test_a_gate_with_a_link_of_its_own_takes_websockets_besides(api: Api) -> None:
    async with (
        open_world(api, raw_link=CheckedLink) as world,
        world.client(ALICE, link=checked) as alice,
        world.client(BOB, "ws") as bob,
    ):
        await alice.send_file(FileType.FILE, BOB, BODY)
        assert world.body(await next_file(bob.events())) == BODY


def test_a_byte_that_changes_on_its_way_ends_the_link() -> None:
    source, target = CheckedLink(), CheckedLink()
    source.start()
    target.start()
    source.send_package(encode_quest(b"sendfile", b"\x81\xa1a\x01", 1))
    source.send_package(encode_quest(b"sendfile", b"\x81\xa1a\x02", 2))
    data = bytearray(b"".join(source.data_to_send()))
    data[-5] ^= 1
    target.receive_data(data, now=0.0)
    assert [package.seq for package in target.packages()] == [1]
    assert target.ended.kind is CloseKind.PROTOCOL_ERROR
    assert "checksum" in target.ended.text


def test_a_frame_has_one_package() -> None:
    for body in (b"", encode_quest(b"a", b"\x80", 1) * 2, encode_quest(b"a", b"\x80", 1)[:-1]):
        source, target = CheckedLink(), CheckedLink()
        source._send_whole(body)
        target.receive_data(b"".join(source.data_to_send()), now=0.0)
        assert not target.packages()
        assert target.ended.kind is CloseKind.PROTOCOL_ERROR


def test_what_is_refused_by_its_seq_is_sent_when_the_link_has_ended() -> None:
    class Refusing(CheckedLink):  # type: ignore[misc]
        def _next_package(self) -> None:
            raise FramingError("too large", Code.INVALID_PACKAGE, limit=True, seq=77)

    connection = Connection(Refusing())
    connection.connected(now=0.0)
    connection.receive_data(b"anything", now=0.0)
    assert connection.finished and not connection.abrupt
    client = CheckedLink()
    client.receive_data(b"".join(connection.data_to_send()), now=0.0)
    (answer,) = client.packages()
    assert (answer.seq, answer.status) == (77, 1)


class _Talks(StreamLink):
    """A link whose first bytes are of one's choice, or none."""

    def __init__(self, first: bytes) -> None:
        super().__init__()
        self._first = first

    def start(self) -> None:
        """Say it; the answer opens the link."""
        self._out += [self._first] if self._first else []

    def receive_data(self, data: Buffer, *, now: float) -> None:
        """Whatever it is."""
        self.is_open = True


@MEMORY
@pytest.mark.parametrize("first", [b"", b"GET", b"GET / "])
async def test_a_gate_makes_no_link_before_the_visitor_has_begun(api: Api, first: bytes) -> None:
    made: list[Link] = []

    def raw_link(*, max_package: int) -> Link:
        made.append(StreamLink(max_package=max_package))
        return made[-1]

    def talks(address: Address) -> Link:
        return _Talks(first)

    async with open_world(api, raw_link=raw_link) as world:
        began = anyio.current_time()
        with pytest.raises(ConnectFailed):
            async with world.client(ALICE, link=talks):
                pass
        assert 4.9 < anyio.current_time() - began < 5.5
    assert made == []


# --- a stream ---


async def end_of(backend: str, sock: socket.socket) -> Any:
    sock.setblocking(False)
    if backend == "trio":
        inside: Any = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    else:
        inside = await anyio.abc.SocketStream.from_socket(sock)
    return METERED[backend].MeteredStream(inside, 10_000_000)


async def reset(stream: Any) -> None:
    """Close so that the other end gets an RST."""
    inside = stream._inside
    sock = (
        inside.socket
        if isinstance(inside, trio.SocketStream)
        else inside.extra(anyio.abc.SocketAttribute.raw_socket)
    )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(stream)


@SOCKETS
@pytest.mark.parametrize("rule", RULES)
async def test_the_streams_hold_every_rule(anyio_backend_name: str, rule: str) -> None:
    async def open_pair() -> tuple[Any, Any]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        return await end_of(anyio_backend_name, near), await end_of(anyio_backend_name, far)

    await check_stream(open_pair, reset=reset, rules=[rule])


class Streams:
    """A ``connect`` that remembers what it gave."""

    def __init__(self, backend: str, connect: Any, rate: float = FAST) -> None:
        self.given: list[Any] = []
        self._backend = backend
        self._connect = connect
        self._rate = rate

    async def __call__(self, address: Address) -> Any:
        stream = await self._connect(address)
        self.given.append(METERED[self._backend].MeteredStream(stream, self._rate))
        return self.given[-1]


@SOCKETS
async def test_a_file_goes_over_metered_streams(api: Api, anyio_backend_name: str) -> None:
    async def connect(address: Address) -> Any:
        stream = await METERED[anyio_backend_name].connect(address)
        given.append(stream)
        return stream

    given: list[Any] = []
    async with api.serve_gate(pid=PID, users=USERS) as gate:
        async with api.open_client(
            gate.url, pid=PID, uid=ALICE, token=USERS[ALICE], connect=connect
        ) as alice:
            await alice.send_file(FileType.FILE, BOB, BODY)
        main, files = given
        assert main.received > 100
        assert len(BODY) < files.sent < len(BODY) + 1000
        await emptied(gate)


@MEMORY
async def test_a_slow_stream_takes_its_time(api: Api, anyio_backend_name: str) -> None:
    async with open_world(api) as world:
        streams = Streams(anyio_backend_name, world.connect, rate=100_000)
        async with world.client(ALICE, connect=streams) as alice:
            began = anyio.current_time()
            await alice.send_file(FileType.FILE, BOB, BODY)
            assert 2.5 < anyio.current_time() - began < 3.5


@MEMORY
async def test_who_is_cancelled_in_a_slow_stream_can_send_again(
    api: Api, anyio_backend_name: str
) -> None:
    async with open_world(api) as world:
        streams = Streams(anyio_backend_name, world.connect, rate=100_000)
        async with world.client(ALICE, connect=streams) as alice:
            with anyio.move_on_after(1) as scope:
                await alice.send_file(FileType.FILE, BOB, BODY)
            assert scope.cancelled_caught
            assert 50_000 < streams.given[1].sent < 200_000
            await alice.send_file(FileType.FILE, BOB, BODY)
        assert len(streams.given) == 3  # one for the main link, and one for each send


async def test_what_connect_raises_is_a_failed_connection(api: Api) -> None:
    async def connect(address: Address) -> Any:
        raise OSError("no such tunnel")

    async with open_world(api) as world:
        with pytest.raises(ConnectFailed, match="no such tunnel"):
            async with world.client(ALICE, connect=connect):
                pass


@MEMORY
async def test_connect_has_ten_seconds(api: Api) -> None:
    async def connect(address: Address) -> Any:
        await anyio.sleep_forever()

    async with open_world(api) as world:
        began = anyio.current_time()
        with pytest.raises(ConnectFailed, match="in time"):
            async with world.client(ALICE, connect=connect):
                pass
        assert 9.9 < anyio.current_time() - began < 10.1


async def test_a_proxy_and_connect_exclude_each_other(api: Api) -> None:
    async with open_world(api) as world:
        with pytest.raises(LocalProtocolError, match="connect"):
            async with world.client(ALICE, proxy="http://proxy.test:8080"):
                pass


async def test_a_stream_is_closed_in_a_scope_that_is_cancelled(
    api: Api, anyio_backend_name: str
) -> None:
    closed: list[bool] = []
    metered: Any = METERED[anyio_backend_name].MeteredStream

    async def aclose(self: Any) -> None:
        try:
            await anyio.lowlevel.checkpoint()
            closed.append(False)
        except BaseException:
            closed.append(True)
            raise
        finally:
            await metered.aclose(self)

    watched = type("Watched", (metered,), {"aclose": aclose})

    async with open_world(api) as world:

        async def connect(address: Address) -> Any:
            return watched(await world.connect(address), FAST)

        async with world.client(ALICE, connect=connect) as alice:
            await alice.send_file(FileType.FILE, BOB, BODY)
    assert closed == [True, True]


async def test_a_stream_that_cannot_end_one_side_is_closed_behind_the_last_bytes(
    api: Api, anyio_backend_name: str
) -> None:
    async with open_world(api) as world:

        async def connect(address: Address) -> Any:
            stream = await world.connect(address)
            if anyio_backend_name == "trio":
                return WholeTrio(stream)
            return WholeAnyio(stream._in, stream._out)

        async with world.client(ALICE, connect=connect) as alice:
            await alice.send_file(FileType.FILE, BOB, BODY)


@MEMORY
@pytest.mark.parametrize(
    ("broken", "outcome"), [("send", FileNotSent), ("receive", OutcomeUnknown)]
)
async def test_a_stream_that_breaks_costs_its_link_only(
    api: Api, anyio_backend_name: str, broken: str, outcome: type[SendFailed]
) -> None:
    metered: Any = METERED[anyio_backend_name].MeteredStream
    of_trio = {"send": "send_all", "receive": "receive_some"}
    method = of_trio[broken] if anyio_backend_name == "trio" else broken

    async def breaks(self: Any, *given: Any) -> Any:
        result = await getattr(metered, method)(self, *given)
        if self.sent > 100_000:
            raise ConnectionResetError("the tunnel is gone")
        return result

    fragile = type("Fragile", (metered,), {method: breaks})

    async with open_world(api) as world:

        async def connect(address: Address) -> Any:
            return fragile(await world.connect(address), FAST)

        async with world.client(ALICE, connect=connect) as alice:
            with pytest.raises(SendFailed) as caught:
                await alice.send_file(FileType.FILE, BOB, BODY)
            assert type(caught.value) is outcome
            assert "the tunnel is gone" in str(caught.value)
            assert (await alice.file_token("sendfile", to=BOB)).token


@MEMORY
async def test_any_other_exception_comes_out_of_the_block(
    api: Api, anyio_backend_name: str
) -> None:
    metered: Any = METERED[anyio_backend_name].MeteredStream
    method = "receive_some" if anyio_backend_name == "trio" else "receive"

    async def fails(self: Any, size: int) -> bytes:
        data: bytes = await getattr(metered, method)(self, size)
        if logged_in:
            raise RuntimeError("a fault of one's own")
        return data

    faulty = type("Faulty", (metered,), {method: fails})
    logged_in = False

    async with open_world(api) as world:

        async def connect(address: Address) -> Any:
            return faulty(await world.connect(address), FAST)

        with pytest.raises(ExceptionGroup) as caught:
            async with world.client(ALICE, connect=connect):
                logged_in = True
                await anyio.sleep_forever()  # until the gate's next ping
        assert caught.value.subgroup(RuntimeError)


# --- a runtime ---


def test_the_blocking_loop_waits_without_a_connection() -> None:
    clock = blocking_client.monotonic
    began = clock()
    assert drive([], lambda: "", began + 0.2) == ""
    assert 0.2 <= clock() - began < 1.2
    assert drive([], lambda: "") == ""


@SOCKETS
@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_a_blocking_program_sends_and_receives(api: Api, scheme: str) -> None:
    def program(main: str) -> tuple[Any, Any]:
        with (
            blocking_client.open_client(main, Login(PID, ALICE, USERS[ALICE])) as alice,
            blocking_client.open_client(main, Login(PID, BOB, USERS[BOB])) as bob,
        ):
            sent = alice.send_file(FileType.FILE, BOB, BODY)
            return sent, bob.next_event(timeout=5.0)

    async with api.serve_gate(pid=PID, users=USERS) as gate:
        main = f"{scheme}://{gate.address.authority}"
        sent, event = await anyio.to_thread.run_sync(program, main)
        assert isinstance(event, FileReceived)
        assert (event.mid, event.size) == (sent.mid, len(BODY))
        await emptied(gate)


def test_the_blocking_client_knows_no_tls() -> None:
    with (
        pytest.raises(LocalProtocolError, match="TLS"),
        blocking_client.open_client("wss://gate.test", Login(PID, ALICE, "token")),
    ):
        pass


@SOCKETS
async def test_a_blocking_program_whose_token_is_wrong_leaves_nothing(api: Api) -> None:
    def program(main: str) -> None:
        with blocking_client.open_client(main, Login(PID, ALICE, "wrong")):
            pass

    async with api.serve_gate(pid=PID, users=USERS) as gate:
        with pytest.raises(Exception, match="token"):
            await anyio.to_thread.run_sync(program, gate.url)
        await emptied(gate)
