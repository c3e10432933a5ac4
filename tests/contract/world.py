"""A gate with users around it, in memory: what most scenarios happen in."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

import rtm_asyncio
import rtm_trio
from rtm_proto.address import Address
from rtm_proto.files import Saved
from rtm_proto.gate.memory import MemoryStore
from rtm_proto.gate.settings import Port
from rtm_proto.link import Link
from rtm_proto.received import ClientEvent, FileReceived
from tests.contract.streams import End, anyio_pair, trio_pair

Client = rtm_trio.Client | rtm_asyncio.Client
Server = rtm_trio.Server | rtm_asyncio.Server
EventStream = rtm_trio.EventStream | rtm_asyncio.EventStream
GateServer = rtm_trio.GateServer | rtm_asyncio.GateServer

PID = 11_000_001
ALICE, BOB, CAROL = 1001, 1002, 1003
USERS = {ALICE: "alice's token", BOB: "bob's token", CAROL: "carol's token"}
SECRET = "the project's secret"
MAIN_PORT = 13321  # of every gate in memory; any other port is taken for the file port
SOON = 5.0  # seconds that anything takes that is not about time


@dataclass(frozen=True)
class Api:
    """One of the two adapters; they have the same names."""

    name: str
    open_client: Callable[..., AbstractAsyncContextManager[Client]]
    open_server: Callable[..., AbstractAsyncContextManager[Server]]
    serve_gate: Callable[..., AbstractAsyncContextManager[GateServer]]
    download: Callable[..., Awaitable[Saved]]
    make_link: Callable[[Address], Link]
    stream_pair: Callable[..., tuple[Any, Any]]


TRIO = Api(
    "rtm_trio",
    rtm_trio.open_client,
    rtm_trio.open_server,
    rtm_trio.serve_gate,
    rtm_trio.download,
    rtm_trio.make_link,
    trio_pair,
)
ASYNCIO = Api(
    "rtm_asyncio",
    rtm_asyncio.open_client,
    rtm_asyncio.open_server,
    rtm_asyncio.serve_gate,
    rtm_asyncio.download,
    rtm_asyncio.make_link,
    anyio_pair,
)


@dataclass
class World:
    """A gate that runs, and ways to it that are no sockets."""

    api: Api
    gate: GateServer
    store: MemoryStore
    tasks: anyio.abc.TaskGroup
    dialled: list[Address] = field(default_factory=list[Address])

    async def connect(self, address: Address) -> Any:
        """What a client is given as ``connect``."""
        self.dialled.append(address)
        await anyio.lowlevel.checkpoint()
        return self.visit(port=Port.FILES if address.port != MAIN_PORT else Port.MAIN)

    def visit(self, *, port: Port = Port.MAIN) -> Any:
        """The visitor's end of a new stream to the gate."""
        near, far = self.api.stream_pair()
        serve: Any = self.gate.serve_stream
        self.tasks.start_soon(partial(serve, far, port=port))
        return near

    def stranger(self, *, port: Port = Port.MAIN) -> End:
        """The same, for who speaks in bytes."""
        return End(self.visit(port=port))

    def client(
        self, uid: int = ALICE, scheme: str = "tcp", **options: Any
    ) -> AbstractAsyncContextManager[Client]:
        """*uid*, logged in."""
        options = {
            "token": USERS.get(uid),
            "connect": self.connect,
            "relogin": None,
            **options,
        }
        return self.api.open_client(f"{scheme}://gate.test", pid=PID, uid=uid, **options)

    def server(self, scheme: str = "tcp", **options: Any) -> AbstractAsyncContextManager[Server]:
        """A server of the project."""
        options = {"secret": SECRET, "connect": self.connect, "relogin": None, **options}
        return self.api.open_server(f"{scheme}://gate.test", pid=PID, **options)

    def body(self, event: FileReceived) -> bytes:
        """The bytes of a file that was received, as the store has them."""
        assert event.url is not None and event.size is not None
        key = event.url.split("/")[4]
        return self.store.read_file(key, 0, event.size)

    async def empty(self, *, visits: int = 0) -> None:
        """Wait until no more than *visits* visitors are there."""
        await emptied(self.gate, visits=visits)


@asynccontextmanager
async def open_world(api: Api, **options: Any) -> AsyncGenerator[World, None]:
    """A world; at its end all its visitors have left."""
    store = options.pop("store", None) or MemoryStore()
    options = {"secret": SECRET, **options}
    async with (
        api.serve_gate(pid=PID, users=USERS, store=store, **options) as gate,
        anyio.create_task_group() as tasks,
    ):
        world = World(api, gate, store, tasks)
        yield world
        await world.empty()


async def emptied(gate: GateServer, *, visits: int = 0) -> None:
    """Wait until no more than *visits* visitors are at a gate."""
    with anyio.fail_after(SOON):
        while gate.visits > visits:  # noqa: ASYNC110 - a gate has no event for this
            await anyio.sleep(0.005)


async def next_event(events: EventStream) -> ClientEvent:
    """What comes next, soon."""
    with anyio.fail_after(SOON):
        return await anext(events)


async def next_file(events: EventStream) -> FileReceived:
    """What comes next, a file."""
    event = await next_event(events)
    assert isinstance(event, FileReceived), event
    return event


def contexts(authority: Any, host: str = "127.0.0.1") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A gate's context for *host*, and a client's that trusts it."""
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    authority.issue_cert(host).configure_cert(server)
    authority.configure_trust(client)
    return server, client
