"""rtm_asyncio and rtm_trio, used as their users do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import rtm_asyncio
import rtm_trio
from rtm_proto.flows.transfer import FileSent

from .calls import LOGIN_TOKEN, PID, TO, UID
from .wire import Params

MAX_FILE = 1 << 31  # bytes; the row of 1 GiB is over the limit of a live gate


class OurClient:
    """A client of ours behind the face that is measured."""

    def __init__(
        self,
        quest: Callable[[str, Params], Awaitable[Params]],
        send_file: Callable[[int, int, Path], Awaitable[FileSent]],
        events: AsyncIterator[object],
    ) -> None:
        self.quest = quest  # its own timeout is as long as the others'
        self.next_push = events.__anext__
        self._send_file = send_file

    async def send_file(self, path: Path) -> int:
        """Send a file."""
        sent = await self._send_file(50, TO, path)
        return sent.mtime or 0


@asynccontextmanager
async def open_asyncio(url: str) -> AsyncGenerator[OurClient, None]:
    """Log in by rtm_asyncio."""
    async with rtm_asyncio.open_client(
        url, pid=PID, uid=UID, token=LOGIN_TOKEN, max_file=MAX_FILE
    ) as client:
        yield OurClient(client.quest, client.send_file, client.events())


@asynccontextmanager
async def open_trio(url: str) -> AsyncGenerator[OurClient, None]:
    """Log in by rtm_trio."""
    async with rtm_trio.open_client(
        url, pid=PID, uid=UID, token=LOGIN_TOKEN, max_file=MAX_FILE
    ) as client:
        yield OurClient(client.quest, client.send_file, client.events())
