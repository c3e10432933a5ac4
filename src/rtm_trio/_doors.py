"""The doors of a gate: its listeners, and what a stream needs before it is a visit."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import trio

from rtm_proto.address import Address
from rtm_proto.files import new_socket_file
from rtm_proto.gate.doors import Door, address

from ._dial import plainly

_log = logging.getLogger("rtm_trio")

ACCEPT_PAUSE = 0.1  # seconds, where the system is out of sockets or memory

Listener = trio.SocketListener
Receive = Callable[[trio.SocketStream, Door], Coroutine[Any, Any, None]]
"""Sees to a stream that came in at a door; it owns the stream."""


class Doors:
    """The listeners of a gate, each with the door it belongs to."""

    def __init__(self) -> None:
        self.opened: dict[Door, Address] = {}
        self._listeners: list[tuple[Door, Listener]] = []
        self._entrance = trio.CancelScope()

    async def open(self, door: Door, hosts: Sequence[str]) -> None:
        """Open *door* on all *hosts*, under one number. Raises OSError."""
        number = door.number
        for host in hosts:
            listeners = await trio.open_tcp_listeners(number, host=host)
            self._listeners += [(door, listener) for listener in listeners]
            number = number or listeners[0].socket.getsockname()[1]
        self.opened[door] = address(hosts[0], number, tls=door.tls)

    async def open_socket_file(self, door: Door, path: str) -> None:
        """Open *door* at *path*, where only this user gets in. Raises OSError."""
        with new_socket_file(path) as new:
            sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                await sock.bind(new)
                sock.listen()
                self._listeners.append((door, trio.SocketListener(sock)))
            except BaseException:
                sock.close()
                raise

    async def let_in(self, nursery: trio.Nursery, receive: Receive) -> None:
        """Accept what comes, until cancelled or shut; each stream has a task in *nursery*."""
        async with trio.open_nursery() as local:
            for door, listener in self._listeners:
                if door.kind.local:
                    local.start_soon(_accept, nursery, receive, door, listener)
            with self._entrance:
                async with trio.open_nursery() as public:
                    for door, listener in self._listeners:
                        if not door.kind.local:
                            public.start_soon(_accept, nursery, receive, door, listener)

    async def shut(self) -> None:
        """Nobody gets in any more but at the local doors."""
        self._entrance.cancel()
        await _close([listener for door, listener in self._listeners if not door.kind.local])

    async def close(self) -> None:
        """Close all of them."""
        await _close([listener for _, listener in self._listeners])


def peer_of(stream: trio.SocketStream) -> str | None:
    """The address that *stream* comes from; None where there is none."""
    try:
        name: object = stream.socket.getpeername()
    except OSError:
        return None  # it has gone already
    return str(cast("tuple[object, ...]", name)[0]) if isinstance(name, tuple) else None


async def secured(
    stream: trio.SocketStream, ssl_context: ssl.SSLContext, timeout: float
) -> trio.abc.Stream | None:
    """*stream* with TLS; None where that fails or takes longer: it is closed then."""
    try:
        with trio.fail_after(timeout):
            secure = trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
            await secure.do_handshake()
    except (trio.TooSlowError, trio.BrokenResourceError, OSError) as exc:
        _log.debug("no TLS with a visitor: %s", plainly(exc))
        await trio.aclose_forcefully(stream)
        return None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure


async def _close(listeners: Sequence[Listener]) -> None:
    async with AsyncExitStack() as stack:  # a cancellation at one of them must not spare the others
        for listener in listeners:
            stack.push_async_callback(trio.aclose_forcefully, listener)


async def _accept(nursery: trio.Nursery, receive: Receive, door: Door, listener: Listener) -> None:
    while True:
        try:
            stream = await listener.accept()
        except trio.ClosedResourceError:
            return
        except OSError as exc:
            _log.error("no stream can be accepted now: %s", plainly(exc))
            await trio.sleep(ACCEPT_PAUSE)
        else:
            nursery.start_soon(receive, stream, door)
