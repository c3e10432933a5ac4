"""In-memory streams with two ends: trio's own for trio, and their like for anyio."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import trio
import trio.testing

NARROW = 1024  # bytes that wait in a narrow pipe for their reader


class Pipe:
    """One direction; at most *room* bytes wait in it for their reader."""

    def __init__(self, room: float) -> None:
        self.data = bytearray()
        self.room = room
        self.ended = False  # nothing more will be written
        self.deaf = False  # nobody will read
        self._bell = anyio.Event()

    def change(self, data: bytes = b"") -> None:
        """Something is different now: who waits looks again."""
        self.data += data
        self._bell.set()
        self._bell = anyio.Event()

    async def changed(self) -> None:
        """Wait until something is different."""
        await self._bell.wait()


class MemoryStream(anyio.abc.ByteStream):
    """One end; each direction can be closed by itself."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self._in = incoming
        self._out = outgoing

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Some bytes."""
        pipe = self._in
        await anyio.lowlevel.checkpoint()
        while not pipe.data:
            if pipe.deaf:
                raise anyio.ClosedResourceError
            if pipe.ended:
                raise anyio.EndOfStream
            await pipe.changed()
        data = bytes(pipe.data[:max_bytes])
        del pipe.data[:max_bytes]
        pipe.change()
        return data

    async def send(self, item: bytes) -> None:
        """All of *item*; waits while there is no room."""
        pipe = self._out
        rest = memoryview(item)
        await anyio.lowlevel.checkpoint()
        while rest:
            if pipe.ended:
                raise anyio.ClosedResourceError
            if pipe.deaf:
                raise anyio.BrokenResourceError
            room = int(min(len(rest), pipe.room - len(pipe.data)))
            if room > 0:
                pipe.change(bytes(rest[:room]))
                rest = rest[room:]
            else:
                await pipe.changed()

    async def send_eof(self) -> None:
        """No more bytes from here."""
        self._out.ended = True
        self._out.change()
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close both directions."""
        self._out.ended = self._in.deaf = True
        self._out.change()
        self._in.change()
        await anyio.lowlevel.checkpoint()


def trio_pair(*, narrow: bool = False) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Two ends for trio; a narrow one takes bytes only when somebody reads."""
    if narrow:
        return trio.testing.lockstep_stream_pair()
    return trio.testing.memory_stream_pair()


def anyio_pair(*, narrow: bool = False) -> tuple[MemoryStream, MemoryStream]:
    """Two ends for anyio; a narrow one takes only NARROW bytes before somebody reads."""
    room = NARROW if narrow else float("inf")
    one, other = Pipe(room), Pipe(room)
    return MemoryStream(one, other), MemoryStream(other, one)


def whole_trio_pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Two ends for trio, of which neither can end one side only."""
    one, other = trio_pair()
    return WholeTrio(one), WholeTrio(other)


def whole_anyio_pair() -> tuple[MemoryStream, MemoryStream]:
    """The same for anyio."""
    one, other = Pipe(float("inf")), Pipe(float("inf"))
    return WholeAnyio(one, other), WholeAnyio(other, one)


class WholeTrio(trio.abc.Stream):
    """A stream for trio that cannot end one side only."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As it does."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As it does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As it does."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """As it does."""
        await self._stream.aclose()


class WholeAnyio(MemoryStream):
    """The same for anyio, said as anyio's TLS streams say it."""

    async def send_eof(self) -> None:
        """Cannot be done."""
        raise NotImplementedError("one side cannot be ended")


class End:
    """One end of either kind, with one face for tests."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        """All of *data*; OSError when nobody reads any more."""
        try:
            if isinstance(self._stream, trio.abc.SendStream):
                await self._stream.send_all(data)
            else:
                await self._stream.send(data)
        except (anyio.BrokenResourceError, trio.BrokenResourceError) as exc:
            raise BrokenPipeError(str(exc)) from exc

    async def receive(self, size: int = 65_536) -> bytes:
        """Some bytes, none at the end."""
        if isinstance(self._stream, trio.abc.ReceiveStream):
            return bytes(await self._stream.receive_some(size))
        try:
            return bytes(await self._stream.receive(size))
        except anyio.EndOfStream:
            return b""

    async def receive_all(self) -> bytes:
        """Everything up to the end."""
        data = b""
        while piece := await self.receive():
            data += piece
        return data

    async def send_eof(self) -> None:
        """No more bytes from here."""
        await self._stream.send_eof()

    async def close(self) -> None:
        """Close it."""
        await self._stream.aclose()
