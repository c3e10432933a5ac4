"""A stream of one's own for trio: counts what passes, and sends at most so many bytes a second."""

import trio

from rtm_proto import Address

PIECE = 16_384  # bytes that go at once


class MeteredStream(trio.abc.HalfCloseableStream):
    """A stream over a stream; ``sent`` and ``received`` are bytes."""

    def __init__(self, inside: trio.abc.HalfCloseableStream, rate: float) -> None:
        """*rate*: bytes a second."""
        self.sent = self.received = 0
        self._inside = inside
        self._rate = rate
        self._free_at = 0.0  # when the next piece may go

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """All of *data*, piece by piece."""
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            await trio.sleep_until(self._free_at)
            self._free_at = trio.current_time() + len(piece) / self._rate
            await self._inside.send_all(piece)
            self.sent += len(piece)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream inside."""
        await self._inside.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Some bytes, none at the end; nothing is awaited once they are there."""
        data = await self._inside.receive_some(max_bytes)
        self.received += len(data)
        return data

    async def send_eof(self) -> None:
        """As the stream inside."""
        await self._inside.send_eof()

    async def aclose(self) -> None:
        """As the stream inside."""
        await self._inside.aclose()


async def connect(address: Address) -> MeteredStream:
    """What ``open_client(connect=...)`` takes."""
    return MeteredStream(await trio.open_tcp_stream(address.host, address.port), rate=10_000_000)
