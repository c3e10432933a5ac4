"""trio-websocket, on trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from . import library, over_trio

_trio_websocket: Any = library("trio_websocket")


class Link(over_trio.Link):
    """A connection."""

    def __init__(self, socket: Any) -> None:
        super().__init__()
        self.socket = socket

    async def send(self, message: bytes) -> None:
        await self.socket.send_message(message)

    async def read(self) -> None:
        """Take what comes, until the end."""
        try:
            while True:
                answer = self.take(await self.socket.get_message())
                if answer is not None:
                    await self.socket.send_message(answer)
        except _trio_websocket.ConnectionClosed:
            return


@asynccontextmanager
async def connect(url: str) -> AsyncGenerator[Link, None]:
    """Connect."""
    async with _trio_websocket.open_websocket_url(url) as socket:
        async with trio.open_nursery() as nursery:
            link = Link(socket)
            nursery.start_soon(link.read)
            yield link
            nursery.cancel_scope.cancel()


open_client = over_trio.opener(connect)
