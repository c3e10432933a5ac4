"""A client on asyncio, for any WebSocket library: a future for each quest, a queue for pushes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from . import calls
from .calls import TIMEOUT, Calls, Open, Pushed, Refused
from .wire import Params


class Link(ABC):
    """A connection; a library's module gives ``send`` and calls ``take`` for each message."""

    def __init__(self) -> None:
        self.pushes: asyncio.Queue[Pushed] = asyncio.Queue()
        self._calls = Calls(self.pushes.put_nowait)

    @abstractmethod
    async def send(self, message: bytes) -> None:
        """Send one message."""

    async def send_large(self, message: bytes) -> None:
        """Send the message that holds a file."""
        await self.send(message)

    def take(self, message: bytes | bytearray | memoryview) -> bytes | None:
        """A message came; gives what has to be sent for it."""
        return self._calls.take(message)

    async def quest(self, method: str, params: Params) -> Params:
        """Ask, and wait for the answer."""
        answer: asyncio.Future[Params] = asyncio.get_running_loop().create_future()

        def wake(outcome: Params | Refused) -> None:
            if answer.done():
                return
            if isinstance(outcome, Refused):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        seq, message = self._calls.begin(method, params, wake)
        try:
            async with asyncio.timeout(TIMEOUT):
                await (self.send if len(message) < 65_536 else self.send_large)(message)
                return await answer
        finally:
            self._calls.end(seq)


Connect = Callable[[str], AbstractAsyncContextManager[Link]]


class LinkClient:
    """A user over a main link; a file goes over a link of its own."""

    def __init__(self, url: str, main: Link, connect: Connect) -> None:
        self.quest = main.quest
        self.next_push = main.pushes.get
        self._url = url
        self._connect = connect
        self._mid = 0

    async def send_file(self, path: Path) -> int:
        """Send a file: token, connection, body, answer."""
        self._mid += 1
        granted = await self.quest("filetoken", calls.token_quest())
        async with self._connect(calls.file_gate(self._url, granted["endpoint"])) as link:
            params = calls.file_quest(path, granted["token"], self._mid)
            answer = await link.quest("sendfile", params)
        mtime: int = answer["mtime"]
        return mtime


def opener(connect: Connect) -> Open:
    """How to log in over links made by *connect*."""

    @asynccontextmanager
    async def open_client(url: str) -> AsyncGenerator[LinkClient, None]:
        async with connect(url) as main:
            await main.quest("auth", calls.login())
            yield LinkClient(url, main, connect)

    return open_client
