"""A stream of one's own for anyio: counts what passes, and sends at most so many bytes a second."""

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.abc

from rtm_proto import Address

PIECE = 16_384  # bytes that go at once


class MeteredStream(anyio.abc.ByteStream):
    """A stream over a stream; ``sent`` and ``received`` are bytes."""

    def __init__(self, inside: anyio.abc.ByteStream, rate: float) -> None:
        """*rate*: bytes a second."""
        self.sent = self.received = 0
        self._inside = inside
        self._rate = rate
        self._free_at = 0.0  # when the next piece may go

    async def send(self, item: bytes) -> None:
        """All of *item*, piece by piece."""
        for at in range(0, len(item), PIECE):
            piece = item[at : at + PIECE]
            await anyio.sleep_until(self._free_at)
            self._free_at = anyio.current_time() + len(piece) / self._rate
            await self._inside.send(piece)
            self.sent += len(piece)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Some bytes, EndOfStream at the end; nothing is awaited once they are there."""
        data = await self._inside.receive(max_bytes)
        self.received += len(data)
        return data

    async def send_eof(self) -> None:
        """As the stream inside."""
        await self._inside.send_eof()

    async def aclose(self) -> None:
        """As the stream inside."""
        await self._inside.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """As the stream inside: the adapter sets up the socket that it finds here."""
        inside: Any = self._inside
        attributes: Mapping[Any, Callable[[], Any]] = inside.extra_attributes
        return attributes


async def connect(address: Address) -> MeteredStream:
    """What ``open_client(connect=...)`` takes."""
    return MeteredStream(await anyio.connect_tcp(address.host, address.port), rate=10_000_000)
