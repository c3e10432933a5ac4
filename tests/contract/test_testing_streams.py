"""The suite for streams: it passes what is right, and catches every fault that was planted."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import pytest
import trio

from rtm_proto.testing.streams import RULES, check_stream
from tests.contract.streams import NARROW, MemoryStream, Pipe, anyio_pair

pytestmark = pytest.mark.anyio

SOCKETS = pytest.mark.parametrize(
    "anyio_backend", ["trio-real", "asyncio-real", "asyncio-uvloop"], indirect=True
)
MEMORY = pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)

Pair = tuple[Any, Any]


async def tcp_pair(backend: str) -> Pair:
    """Two ends on loopback, of the kind that the adapter of *backend* takes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return await end_of(backend, near), await end_of(backend, far)


async def end_of(backend: str, sock: socket.socket) -> Any:
    sock.setblocking(False)
    if backend == "trio":
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    return await anyio.abc.SocketStream.from_socket(sock)


async def reset(stream: Any) -> None:
    """Close so that the other end gets an RST."""
    sock: Any
    if isinstance(stream, trio.SocketStream):
        sock = stream.socket
    else:
        sock = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(stream, trio.SocketStream):
        await trio.aclose_forcefully(stream)
    else:
        await anyio.aclose_forcefully(stream)


@SOCKETS
@pytest.mark.parametrize("rule", RULES)
async def test_the_sockets_of_the_adapters_hold_every_rule(
    anyio_backend_name: str, rule: str
) -> None:
    await check_stream(lambda: tcp_pair(anyio_backend_name), reset=reset, rules=[rule])


def narrow_pair() -> tuple[MemoryStream, MemoryStream]:
    return anyio_pair(narrow=True)


def opener(make: Callable[[], Pair]) -> Callable[[], Awaitable[Pair]]:
    async def open_pair() -> Pair:
        return make()

    return open_pair


@MEMORY
@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"closed"}))
async def test_the_streams_of_our_tests_hold_the_rules(rule: str) -> None:
    """Their ``aclose`` does not tell a reader of the same end so: no adapter does that."""
    await check_stream(opener(narrow_pair), rules=[rule])


# --- planted faults ---


class _Forgetful(MemoryStream):
    """A receive that is cancelled has taken its bytes along."""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Take, and then wait."""
        data = await super().receive(max_bytes)
        await anyio.sleep(0.001)
        return data


class _Short(MemoryStream):
    async def send(self, item: bytes) -> None:
        """Without what does not fit at once."""
        await super().send(bytes(item)[:NARROW])


class _Generous(MemoryStream):
    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """More than was asked for."""
        return await super().receive(65_536)


class _Empty(MemoryStream):
    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """The end is no bytes, as it is in trio."""
        try:
            return await super().receive(max_bytes)
        except anyio.EndOfStream:
            return b""


class _Once(MemoryStream):
    _told = False

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """The end is told once."""
        if self._told:
            await anyio.sleep_forever()
        try:
            return await super().receive(max_bytes)
        except anyio.EndOfStream:
            self._told = True
            raise


class _Whole(MemoryStream):
    async def send_eof(self) -> None:
        """Both sides, at once."""
        await self.aclose()


class _Blind(MemoryStream):
    async def send(self, item: bytes) -> None:
        """Nobody hears it, and nobody says so."""
        if not self._out.deaf:
            await super().send(item)


class _Endless(MemoryStream):
    async def send(self, item: bytes) -> None:
        """It never waits."""
        self._out.room = float("inf")
        await super().send(item)


class _Turns(MemoryStream):
    """Sends or receives, not both."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        super().__init__(incoming, outgoing)
        self._turn = anyio.Lock()

    async def send(self, item: bytes) -> None:
        """Once nothing is received."""
        async with self._turn:
            await super().send(item)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Once nothing is sent."""
        async with self._turn:
            return await super().receive(max_bytes)


class _Fragile(MemoryStream):
    _closed = False

    async def aclose(self) -> None:
        """Once."""
        if self._closed:
            raise RuntimeError("closed already")
        self._closed = True
        await super().aclose()


class _Quiet(MemoryStream):
    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Closed is as good as ended."""
        try:
            return await super().receive(max_bytes)
        except anyio.ClosedResourceError:
            raise anyio.EndOfStream from None


PLANTED: list[tuple[type[MemoryStream], str, float]] = [
    (_Short, "whole", NARROW),
    (_Generous, "size", NARROW),
    (_Turns, "both ways", NARROW),
    (_Empty, "end", NARROW),
    (_Once, "end", NARROW),
    (_Whole, "half close", NARROW),
    (_Blind, "gone", NARROW),
    (_Forgetful, "cancelled", NARROW),
    (_Fragile, "closed", NARROW),
    (_Quiet, "closed", NARROW),
    (_Endless, "backpressure", NARROW),
]


@MEMORY
@pytest.mark.parametrize(("kind", "rule", "room"), PLANTED, ids=[k.__name__ for k, *_ in PLANTED])
async def test_a_planted_fault_is_caught_by_the_rule_that_it_breaks(
    kind: type[MemoryStream], rule: str, room: float
) -> None:
    def make() -> Pair:
        one, other = Pipe(room), Pipe(room)
        return kind(one, other), kind(other, one)

    with pytest.raises(AssertionError) as caught:
        await check_stream(opener(make), rules=[rule])
    assert str(caught.value).startswith(f"{rule}: {RULES[rule]}; ")


@MEMORY
async def test_a_reset_that_is_told_as_an_end_is_caught() -> None:
    async def end(stream: MemoryStream) -> None:
        await stream.send_eof()

    with pytest.raises(AssertionError, match=r"reset: .*told an end in order"):
        await check_stream(opener(narrow_pair), reset=end, rules=["reset"])


@MEMORY
async def test_a_rule_that_there_is_not_is_told() -> None:
    with pytest.raises(ValueError, match="no rule 'speed'"):
        await check_stream(opener(narrow_pair), rules=["speed"])
