"""websockets, on asyncio and on trio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from . import library, over_asyncio, over_trio

PIECE = 65_536  # bytes of a fragment

_client: Any = library("websockets.asyncio.client")


class Link(over_asyncio.Link):
    """A connection on asyncio."""

    def __init__(self, socket: Any) -> None:
        super().__init__()
        self.socket = socket

    async def send(self, message: bytes) -> None:
        await self.socket.send(message)

    async def read(self) -> None:
        """Take what comes, until the end."""
        async for message in self.socket:
            answer = self.take(message)
            if answer is not None:
                await self.socket.send(answer)


class FragmentLink(Link):
    """The same; a large message goes out in fragments."""

    async def send_large(self, message: bytes) -> None:
        await self.socket.send(_pieces(message))


def _pieces(message: bytes) -> Iterator[memoryview]:
    view = memoryview(message)
    return (view[at : at + PIECE] for at in range(0, len(view), PIECE))


@asynccontextmanager
async def connect(url: str, make: type[Link] = Link) -> AsyncGenerator[Link, None]:
    """Connect on asyncio."""
    async with _client.connect(url, compression=None, max_size=None) as socket:
        link = make(socket)
        reader = asyncio.create_task(link.read())
        try:
            yield link
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


open_asyncio = over_asyncio.opener(connect)
open_fragments = over_asyncio.opener(lambda url: connect(url, FragmentLink))


class TrioLink(over_trio.Link):
    """A connection on trio."""

    def __init__(self, socket: Any) -> None:
        super().__init__()
        self.socket = socket

    async def send(self, message: bytes) -> None:
        await self.socket.send(message)

    async def read(self) -> None:
        """Take what comes, until the end."""
        async for message in self.socket:
            answer = self.take(message)
            if answer is not None:
                await self.socket.send(answer)


@asynccontextmanager
async def connect_trio(url: str) -> AsyncGenerator[TrioLink, None]:
    """Connect on trio."""
    client = library("websockets.trio.client")
    async with client.connect(url, compression=None, max_size=None) as socket:
        async with trio.open_nursery() as nursery:
            link = TrioLink(socket)
            nursery.start_soon(link.read)
            yield link
            nursery.cancel_scope.cancel()


open_trio = over_trio.opener(connect_trio)
