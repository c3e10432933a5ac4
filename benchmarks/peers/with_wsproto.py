"""wsproto's public API over plain streams, as everybody writes it: on asyncio and on trio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
)

from . import over_asyncio, over_trio
from .calls import place

RECEIVE_SIZE = 65_536  # bytes


class Ended(Exception):
    """The server ended the connection."""


class Messages:
    """Bytes that came, as messages; what has to be sent for others is in ``replies``."""

    def __init__(self, ws: WSConnection) -> None:
        self.replies = b""
        self.accepted = False
        self._ws = ws
        self._message = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises Ended."""
        self._ws.receive_data(data or None)
        messages: list[bytes] = []
        for event in self._ws.events():
            match event:
                case BytesMessage(data=piece, message_finished=last):
                    self._message += piece
                    if last:
                        messages.append(self._message)
                        self._message = b""
                case AcceptConnection():
                    self.accepted = True
                case Ping():
                    self.replies += self._ws.send(event.response())
                case CloseConnection() | RejectConnection():
                    raise Ended(repr(event))
                case _:  # nothing else matters to us
                    continue
        return messages


class Link(over_asyncio.Link):
    """A connection on asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self.reader = reader
        self.writer = writer
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.messages = Messages(self.ws)

    async def open(self, host: str, path: str) -> None:
        """Shake hands."""
        self.writer.write(self.ws.send(Request(host=host, target=path)))
        while not self.messages.accepted:
            self.messages.feed(await self.reader.read(RECEIVE_SIZE))

    async def send(self, message: bytes) -> None:
        self.writer.write(self.ws.send(BytesMessage(data=message)))
        await self.writer.drain()

    async def read(self) -> None:
        """Take what comes, until the end."""
        while data := await self.reader.read(RECEIVE_SIZE):
            for message in self.messages.feed(data):
                answer = self.take(message)
                if answer is not None:
                    await self.send(answer)
            if self.messages.replies:
                self.writer.write(self.messages.replies)
                self.messages.replies = b""


@asynccontextmanager
async def connect(url: str) -> AsyncGenerator[Link, None]:
    """Connect on asyncio."""
    host, port, path = place(url)
    reader, writer = await asyncio.open_connection(host, port)
    link = Link(reader, writer)
    try:
        await link.open(f"{host}:{port}", path)
        task = asyncio.create_task(link.read())
        try:
            yield link
            writer.write(link.ws.send(CloseConnection(code=1000)))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        writer.close()


open_asyncio = over_asyncio.opener(connect)


class TrioLink(over_trio.Link):
    """A connection on a trio stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__()
        self.stream = stream
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.messages = Messages(self.ws)
        self.lock = trio.Lock()  # one task at a time may write to a stream

    async def open(self, host: str, path: str) -> None:
        """Shake hands."""
        await self.stream.send_all(self.ws.send(Request(host=host, target=path)))
        while not self.messages.accepted:
            self.messages.feed(await self.stream.receive_some(RECEIVE_SIZE))

    async def send(self, message: bytes) -> None:
        async with self.lock:
            await self.stream.send_all(self.ws.send(BytesMessage(data=message)))

    async def read(self) -> None:
        """Take what comes, until the end."""
        while data := await self.stream.receive_some(RECEIVE_SIZE):
            for message in self.messages.feed(data):
                answer = self.take(message)
                if answer is not None:
                    await self.send(answer)
            if self.messages.replies:
                async with self.lock:
                    await self.stream.send_all(self.messages.replies)
                self.messages.replies = b""


@asynccontextmanager
async def connect_trio(url: str) -> AsyncGenerator[TrioLink, None]:
    """Connect on trio."""
    host, port, path = place(url)
    async with await trio.open_tcp_stream(host, port) as stream:
        link = TrioLink(stream)
        await link.open(f"{host}:{port}", path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.read)
            yield link
            nursery.cancel_scope.cancel()
        await stream.send_all(link.ws.send(CloseConnection(code=1000)))


open_trio = over_trio.opener(connect_trio)
