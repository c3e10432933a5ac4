"""A client on trio, for any WebSocket library: an event for each quest, a channel for pushes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf
from pathlib import Path

import trio

from . import calls
from .calls import TIMEOUT, Calls, Open, Pushed, Refused
from .wire import Params


class _Slot:
    """Where an answer is put."""

    def __init__(self) -> None:
        self.came = trio.Event()
        self.outcome: Params | Refused = {}

    def put(self, outcome: Params | Refused) -> None:
        self.outcome = outcome
        self.came.set()


class Link(ABC):
    """A connection; a library's module gives ``send`` and calls ``take`` for each message."""

    def __init__(self) -> None:
        self._send_push, self._pushes = trio.open_memory_channel[Pushed](inf)
        self._calls = Calls(self._send_push.send_nowait)

    async def next_push(self) -> Pushed:
        """The next push."""
        return await self._pushes.receive()

    @abstractmethod
    async def send(self, message: bytes) -> None:
        """Send one message."""

    def take(self, message: bytes | bytearray | memoryview) -> bytes | None:
        """A message came; gives what has to be sent for it."""
        return self._calls.take(message)

    async def quest(self, method: str, params: Params) -> Params:
        """Ask, and wait for the answer."""
        slot = _Slot()
        seq, message = self._calls.begin(method, params, slot.put)
        try:
            with trio.fail_after(TIMEOUT):
                await self.send(message)
                await slot.came.wait()
        finally:
            self._calls.end(seq)
        if isinstance(slot.outcome, Refused):
            raise slot.outcome
        return slot.outcome


Connect = Callable[[str], AbstractAsyncContextManager[Link]]


class LinkClient:
    """A user over a main link; a file goes over a link of its own."""

    def __init__(self, url: str, main: Link, connect: Connect) -> None:
        self.quest = main.quest
        self.next_push = main.next_push
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
