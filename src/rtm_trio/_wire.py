"""A machine on a stream: one task reads, one writes, one watches the clock.

    stream ─► reader ─► machine ─► turn ─► bells
    stream ◄─ writer ◄─ machine ◄─ clock

A machine is a Connection, or a gate's Visit: both have these methods. Only the writer writes, so
cancelling anybody else's task cannot tear a frame.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

import trio

from rtm_proto.connection import Machine
from rtm_proto.desk import Ticket
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.link import Buffer

RECEIVE_SIZE = 65_536  # bytes
LINGER = 2.0  # seconds for the last bytes to get out, and for the peer to end its side
JOIN_BELOW = 65_536  # bytes; smaller writes are put together
MAX_UNSENT = 131_072  # bytes that the kernel takes beyond those on their way


class Wire:
    """Drives *machine* over *stream* until it is finished; *collect* takes what comes of it."""

    def __init__(
        self, stream: trio.abc.Stream, machine: Machine, collect: Callable[[float], None]
    ) -> None:
        self._stream = stream
        self._machine = machine
        self._collect = collect
        self._scope = trio.CancelScope()
        self._to_write = trio.Event()
        self._written = trio.Event()
        self._earlier = trio.Event()
        self._read_all = trio.Event()
        self._room = trio.Event()
        self._sleeps_until = float("inf")
        self.ended = trio.Event()

    async def run(self) -> None:
        """Drive it. Cancelled, it drops the stream; whatever happens, the machine is finished."""
        machine = self._machine
        machine.connected(now=trio.current_time())
        self.turn()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._watch)
                    await self._write()
                    if not machine.abrupt:
                        await self._part()
                    nursery.cancel_scope.cancel()
        except trio.Cancelled:
            raise
        except BaseException as exc:  # a fault of the stream's, which goes on: let others know it
            machine.abort(CloseReason(CloseKind.LOCAL, f"the stream failed: {exc!r}"))
            raise
        finally:
            machine.abort(CloseReason(CloseKind.LOCAL, "cancelled"))
            self._collect(trio.current_time())
            self._written.set()
            self.ended.set()
            await trio.aclose_forcefully(self._stream)

    def turn(self) -> None:
        """Something was done with the machine: take what came of it, and see to the rest."""
        machine = self._machine
        self._collect(trio.current_time())
        self._to_write.set()
        if not machine.full:
            self._room.set()
        if machine.finished:
            self._earlier.set()
            if machine.abrupt:
                self._scope.cancel()
        else:
            when = machine.next_timeout()
            if when is not None and when < self._sleeps_until:
                self._earlier.set()

    def asked(self, deadline: float) -> None:
        """A quest was sent."""
        self.turn()

    async def flush(self, ticket: Ticket) -> None:
        """Wait until everything is written, or *ticket* is done."""
        self._written = trio.Event()
        ticket.bell = self._written.set
        self.turn()
        if not ticket.done and not self.ended.is_set():
            await self._written.wait()

    # --- the three tasks ---

    async def _read(self) -> None:
        stream, machine = self._stream, self._machine
        quick = tune(stream)
        try:
            while data := await stream.receive_some(RECEIVE_SIZE):
                quick()
                if not machine.finished:
                    machine.receive_data(data, now=trio.current_time())
                    self.turn()
                while machine.full:
                    self._room = trio.Event()
                    await self._room.wait()
        except trio.ClosedResourceError:
            pass  # the wire has ended meanwhile
        except (trio.BrokenResourceError, OSError) as exc:
            self._broken(exc)
        else:
            machine.receive_eof(now=trio.current_time())
            self.turn()
        self._read_all.set()

    async def _write(self) -> None:
        machine = self._machine
        while True:
            self._to_write = trio.Event()
            data = machine.data_to_send()
            if data:
                try:
                    await write(self._stream, data)
                except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
                    # what the peer said last, a refusal perhaps, may still be on its way in
                    with trio.move_on_after(LINGER):
                        await self._read_all.wait()
                    self._broken(exc)
                    return
            elif machine.finished:
                return
            else:
                self._written.set()
                self._collect(trio.current_time())
                await self._to_write.wait()

    async def _watch(self) -> None:
        machine = self._machine
        while not machine.finished:
            when = machine.next_timeout()
            self._sleeps_until = float("inf") if when is None else when
            self._earlier = trio.Event()
            with trio.CancelScope(deadline=self._sleeps_until):
                await self._earlier.wait()
            if not machine.finished:
                machine.handle_timeout(now=trio.current_time())
                self.turn()
        await trio.sleep(LINGER)
        self._scope.cancel()

    # --- private ---

    async def _part(self) -> None:
        """Say that we are done, and give the peer time to hear it: a plain close may destroy
        what is on its way to it."""
        stream = _below_tls(self._stream)  # TLS has no end of one side, TCP below it has
        if isinstance(stream, trio.abc.HalfCloseableStream):
            try:
                await stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                return  # the peer was faster
            await self._read_all.wait()

    def _broken(self, exc: Exception) -> None:
        cause = exc.__cause__ or exc
        self._machine.abort(CloseReason(CloseKind.PEER_RESET, str(cause)))
        self.turn()


async def write(stream: trio.abc.Stream, data: Sequence[Buffer]) -> None:
    """Write all of *data*, in few pieces."""
    if len(data) > 1 and sum(map(len, data)) <= JOIN_BELOW:
        await stream.send_all(b"".join(data))
    else:
        for piece in data:
            await stream.send_all(piece)


def tune(stream: trio.abc.Stream) -> Callable[[], None]:
    """As ``tune_socket``, for the socket that is below *stream*, if there is one."""
    stream = _below_tls(stream)
    if not isinstance(stream, trio.SocketStream):
        return lambda: None
    return tune_socket(stream.socket)


def tune_socket(sock: trio.socket.SocketType | socket.socket) -> Callable[[], None]:
    """Set up a TCP socket; gives what to call after each receive.

    That makes the kernel acknowledge at once: the framework's server writes each package by itself
    without TCP_NODELAY, and with delayed acknowledgements every second small package waits some
    44 ms. The option is not sticky. The other one keeps what the kernel takes of a body close to
    what has left: a slow uplink would otherwise look like a peer that does not answer.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return lambda: None
    unsent, quick = (getattr(socket, name, None) for name in ("TCP_NOTSENT_LOWAT", "TCP_QUICKACK"))

    def again() -> None:
        if quick is not None:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, quick, 1)
            except OSError:
                pass  # the socket is gone: whoever reads will be told

    if unsent is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, unsent, MAX_UNSENT)
    return again


def _below_tls(stream: trio.abc.Stream) -> trio.abc.Stream:
    while isinstance(stream, trio.SSLStream):
        stream = cast("trio.SSLStream[trio.abc.Stream]", stream).transport_stream
    return stream


def wall_ms() -> int:
    """Milliseconds since 1970: what mids and the times of messages are made of."""
    return time.time_ns() // 1_000_000
