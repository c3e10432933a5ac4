"""httpx-ws, on asyncio; it stands on anyio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from . import library, over_asyncio

_httpx_ws: Any = library("httpx_ws")


class Link(over_asyncio.Link):
    """A connection."""

    def __init__(self, socket: Any) -> None:
        super().__init__()
        self.socket = socket

    async def send(self, message: bytes) -> None:
        await self.socket.send_bytes(message)

    async def read(self) -> None:
        """Take what comes, until the end."""
        try:
            while True:
                answer = self.take(await self.socket.receive_bytes())
                if answer is not None:
                    await self.socket.send_bytes(answer)
        except (_httpx_ws.WebSocketDisconnect, _httpx_ws.WebSocketNetworkError):
            return


@asynccontextmanager
async def connect(url: str) -> AsyncGenerator[Link, None]:
    """Connect."""
    async with _httpx_ws.aconnect_ws(url, max_message_size_bytes=1 << 31) as socket:
        link = Link(socket)
        reader = asyncio.create_task(link.read())
        try:
            yield link
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


open_client = over_asyncio.opener(connect)
