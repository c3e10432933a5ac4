"""The conformance echo on real sockets, driven by each adapter's own wire.

Each runtime gives a ``Runtime``: a server that runs until it is told to stop, and a client that
makes one connection. Only loopback is used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import anyio
import anyio.abc
import anyio.to_thread
import trio

import rtm_asyncio._wire
import rtm_trio._wire
from tests.conformance.echo import Echo

HOST = "127.0.0.1"
TIME_LIMIT = 60.0  # seconds of one connection

Serve = Callable[[Callable[[int], None], Callable[[], object]], Awaitable[None]]
"""Serve until the second, called in a thread, comes back; the first is told the port."""
Connect = Callable[[int, str], Awaitable[bytes | None]]
"""One connection to a port and a target; the last message that came."""


class Runtime(NamedTuple):
    serve: Serve
    connect: Connect


def nothing_to_collect(now: float) -> None:
    """The echo answers by itself."""


# --- trio ---


async def trio_talk(stream: trio.SocketStream, echo: Echo) -> None:
    await rtm_trio._wire.Wire(stream, echo, nothing_to_collect).run()


async def trio_serve(tell_port: Callable[[int], None], wait_stopped: Callable[[], object]) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await trio_talk(stream, Echo.server())

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=HOST)
        tell_port(listener.socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        await trio.to_thread.run_sync(wait_stopped)
        nursery.cancel_scope.cancel()


async def trio_connect(port: int, target: str) -> bytes | None:
    echo = Echo.client(f"{HOST}:{port}", target)
    with trio.fail_after(TIME_LIMIT):
        await trio_talk(await trio.open_tcp_stream(HOST, port), echo)
    return echo.last


# --- anyio on asyncio ---


async def anyio_talk(stream: anyio.abc.SocketStream, echo: Echo) -> None:
    await rtm_asyncio._wire.Wire(stream, echo, nothing_to_collect).run()


async def anyio_serve(tell_port: Callable[[int], None], wait_stopped: Callable[[], object]) -> None:
    async def handle(stream: anyio.abc.SocketStream) -> None:
        await anyio_talk(stream, Echo.server())

    async with (
        await anyio.create_tcp_listener(local_host=HOST) as listener,
        anyio.create_task_group() as tasks,
    ):
        tell_port(listener.extra(anyio.abc.SocketAttribute.local_port))
        tasks.start_soon(listener.serve, handle)
        await anyio.to_thread.run_sync(wait_stopped)
        tasks.cancel_scope.cancel()


async def anyio_connect(port: int, target: str) -> bytes | None:
    echo = Echo.client(f"{HOST}:{port}", target)
    with anyio.fail_after(TIME_LIMIT):
        await anyio_talk(await anyio.connect_tcp(HOST, port), echo)
    return echo.last


RUNTIMES = {
    "trio": Runtime(trio_serve, trio_connect),
    "asyncio": Runtime(anyio_serve, anyio_connect),
}


def run(adapter: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run *work* on the runtime of that name until it is done."""
    if adapter == "trio":
        trio.run(work)
    else:
        anyio.run(work, backend="asyncio")
