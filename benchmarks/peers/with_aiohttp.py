"""aiohttp, on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from . import library, over_asyncio

_aiohttp: Any = library("aiohttp")


class Link(over_asyncio.Link):
    """A connection."""

    def __init__(self, socket: Any) -> None:
        super().__init__()
        self.socket = socket

    async def send(self, message: bytes) -> None:
        await self.socket.send_bytes(message)

    async def read(self) -> None:
        """Take what comes, until the end."""
        binary = _aiohttp.WSMsgType.BINARY
        async for message in self.socket:
            if message.type == binary:
                answer = self.take(message.data)
                if answer is not None:
                    await self.socket.send_bytes(answer)


@asynccontextmanager
async def connect(url: str) -> AsyncGenerator[Link, None]:
    """Connect."""
    http = url.replace("ws", "http", 1)
    async with _aiohttp.ClientSession() as session:
        async with session.ws_connect(http, compress=0, max_msg_size=0) as socket:
            link = Link(socket)
            reader = asyncio.create_task(link.read())
            try:
                yield link
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)


open_client = over_asyncio.opener(connect)
