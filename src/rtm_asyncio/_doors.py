"""The doors of a gate: its listeners, and what a stream needs before it is a visit."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import anyio
import anyio.abc
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream

from rtm_proto.address import Address
from rtm_proto.files import new_socket_file
from rtm_proto.gate.doors import Door, address

from ._dial import plainly

_log = logging.getLogger("rtm_asyncio")

ACCEPT_PAUSE = 0.1  # seconds, where the system is out of sockets or memory

Listener = anyio.abc.SocketListener
Receive = Callable[[anyio.abc.SocketStream, Door], Coroutine[Any, Any, None]]
"""Sees to a stream that came in at a door; it owns the stream."""


class Doors:
    """The listeners of a gate, each with the door it belongs to."""

    def __init__(self) -> None:
        self.opened: dict[Door, Address] = {}
        self._listeners: list[tuple[Door, Listener]] = []
        self._entrance = anyio.CancelScope()

    async def open(self, door: Door, hosts: Sequence[str]) -> None:
        """Open *door* on all *hosts*, under one number. Raises OSError."""
        number = door.number
        for host in hosts:
            multi = await anyio.create_tcp_listener(local_host=host, local_port=number)
            listeners = cast("Sequence[Listener]", multi.listeners)
            self._listeners += [(door, listener) for listener in listeners]
            number = number or multi.extra(SocketAttribute.local_port)
        self.opened[door] = address(hosts[0], number, tls=door.tls)

    async def open_socket_file(self, door: Door, path: str) -> None:
        """Open *door* at *path*, where only this user gets in. Raises OSError."""
        with new_socket_file(path) as new:
            listener = await anyio.create_unix_listener(new)
            self._listeners.append((door, listener))

    async def let_in(self, tasks: anyio.abc.TaskGroup, receive: Receive) -> None:
        """Accept what comes, until cancelled or shut; each stream has a task in *tasks*."""
        async with anyio.create_task_group() as local:
            for door, listener in self._listeners:
                if door.kind.local:
                    local.start_soon(_accept, tasks, receive, door, listener)
            with self._entrance:
                async with anyio.create_task_group() as public:
                    for door, listener in self._listeners:
                        if not door.kind.local:
                            public.start_soon(_accept, tasks, receive, door, listener)

    async def shut(self) -> None:
        """Nobody gets in any more but at the local doors."""
        self._entrance.cancel()
        await _close([listener for door, listener in self._listeners if not door.kind.local])

    async def close(self) -> None:
        """Close all of them."""
        await _close([listener for _, listener in self._listeners])


def peer_of(stream: anyio.abc.SocketStream) -> str | None:
    """The address that *stream* comes from; None where there is none."""
    try:
        name: object = stream.extra(SocketAttribute.raw_socket).getpeername()
    except (OSError, ValueError):
        return None  # it has gone already (ValueError: uvloop's)
    return str(cast("tuple[object, ...]", name)[0]) if isinstance(name, tuple) else None


async def secured(
    stream: anyio.abc.SocketStream, ssl_context: ssl.SSLContext, timeout: float
) -> anyio.abc.ByteStream | None:
    """*stream* with TLS; None where that fails or takes longer: it is closed then."""
    try:
        with anyio.fail_after(timeout):
            secure = await TLSStream.wrap(
                stream, server_side=True, ssl_context=ssl_context, standard_compatible=False
            )
    except (anyio.EndOfStream, anyio.BrokenResourceError, OSError) as exc:
        _log.debug("no TLS with a visitor: %s", plainly(exc))
        await anyio.aclose_forcefully(stream)
        return None
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise
    return secure


async def _close(listeners: Sequence[Listener]) -> None:
    async with AsyncExitStack() as stack:  # a cancellation at one of them must not spare the others
        for listener in listeners:
            stack.push_async_callback(anyio.aclose_forcefully, listener)


async def _accept(
    tasks: anyio.abc.TaskGroup, receive: Receive, door: Door, listener: Listener
) -> None:
    while True:
        try:
            stream = await listener.accept()
        except anyio.ClosedResourceError:
            return
        except OSError as exc:
            _log.error("no stream can be accepted now: %s", plainly(exc))
            await anyio.sleep(ACCEPT_PAUSE)
        else:
            tasks.start_soon(receive, stream, door)
