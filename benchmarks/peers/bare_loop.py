"""A bare event loop: one fixed quest over raw TCP, nothing read, nothing checked, one in flight.

What is left is what the loop itself and the kernel take: no client on that loop can be below it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from ..server import HELLO
from .calls import place
from .wire import Params, pack_quest

RECEIVE_SIZE = 65_536  # bytes


class Bare:
    """One quest, asked again and again."""

    def __init__(self, url: str) -> None:
        host, port, _ = place(url)
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._quest = b""

    def ask(self, method: str, params: Params) -> None:
        """Send the quest, which is always the first one that was asked."""
        if not self._quest:
            self._quest = pack_quest(method, params, 1)
        self.socket.send(self._quest)


class OnAsyncio(Bare):
    """The loop calls when there is something to read, which ends a future."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self.socket, self._readable)

    async def quest(self, method: str, params: Params) -> Params:
        """Ask, and wait until something comes."""
        self._came = self._loop.create_future()
        self.ask(method, params)
        await self._came
        return HELLO

    def close(self) -> None:
        """End it."""
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def _readable(self) -> None:
        self.socket.recv(RECEIVE_SIZE)
        self._came.set_result(None)


class OnTrio(Bare):
    """Whoever asks waits for something to read."""

    async def quest(self, method: str, params: Params) -> Params:
        """Ask, and wait until something comes."""
        self.ask(method, params)
        await trio.lowlevel.wait_readable(self.socket)
        self.socket.recv(RECEIVE_SIZE)
        return HELLO


@asynccontextmanager
async def open_asyncio(url: str) -> AsyncGenerator[OnAsyncio, None]:
    """Connect."""
    bare = OnAsyncio(url)
    try:
        yield bare
    finally:
        bare.close()


@asynccontextmanager
async def open_trio(url: str) -> AsyncGenerator[OnTrio, None]:
    """Connect."""
    bare = OnTrio(url)
    with bare.socket:
        yield bare
