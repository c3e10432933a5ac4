"""A connection on a plain socket: written where something comes up, without a hand-over.

    socket ─► loop ─► connection ─► turn ─► bells
    socket ◄───────── connection ◄─ turn, clock
    socket ◄─ loop ◄─ what the kernel did not take at once, and what many tasks ask together

The same face as ``Wire``, for sockets that are dialed here and carry no TLS. A write never waits,
so it cannot be cancelled in the middle: what the kernel does not take stays with the loop.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import anyio
import anyio.abc
import anyio.lowlevel

from rtm_proto.desk import Bell, Desk, Ticket
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.link import Buffer

from ._streams import rung
from ._wire import JOIN_BELOW, LINGER, RECEIVE_SIZE, Wire, tune_socket


class _Scratch(threading.local):
    """What is received into; one for all wires of a thread, as nothing waits while it is used."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_SIZE))


_scratch = _Scratch()


class PlainWire:
    """Drives the connection of *desk* over *sock*, which does not block, until it is finished."""

    def __init__(self, sock: socket.socket, desk: Desk) -> None:
        self._sock = sock
        self._desk = desk
        self._machine = desk.connection
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._unsent: list[Buffer] = []  # taken from the machine and not by the kernel
        self._fault: OSError | None = None  # of a write
        self._to_write = False  # whether the loop will call ``_write``
        self._written: Bell | None = None  # of who waits for that
        self._timer: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None  # with what comes in after a fault
        self._reads = False
        self._read_all = False
        self._parts = False
        self._view = _scratch.view
        self._sent = True  # whether anything was, since something came
        self._quick = tune_socket(sock)
        self._sleeps_until = float("inf")
        self.ended = anyio.Event()

    async def run(self) -> None:
        """Drive it. Cancelled, it drops the socket; whatever happens, the machine is finished."""
        machine = self._machine
        try:
            machine.connected(now=self._loop.time())
            self.turn()
            await self._over
        finally:
            machine.abort(CloseReason(CloseKind.LOCAL, "cancelled"))
            self._desk.collect(now=self._loop.time())
            self._ring_written()
            self.ended.set()
            for timer in (self._timer, self._linger, self._patience):
                if timer is not None:
                    timer.cancel()
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def turn(self) -> None:
        """Something was done with the machine: take what came of it, and see to the rest."""
        machine = self._machine
        self._desk.collect(now=self._loop.time())
        if self._over.done():
            return
        self._see_to_write()
        if not self._reads and not self._read_all and not machine.full:
            self._reads = True
            self._loop.add_reader(self._sock, self._do, self._read)
        if machine.finished:
            self._finish()
        else:
            when = machine.next_timeout()
            if when is not None and when < self._sleeps_until:
                self._sleep_until(when)

    def asked(self, deadline: float) -> None:
        """A quest was sent: nothing else came of the machine."""
        if not self._to_write:
            if self._machine.finished or self._over.done():
                self.turn()
                return
            self._see_to_write()
        if deadline < self._sleeps_until:
            self._sleep_until(deadline)

    async def flush(self, ticket: Ticket) -> None:
        """Wait until everything is written, or *ticket* is done."""
        self.turn()
        if not self._unsent and not self._over.done():
            self._send()
        waits = self._unsent or self._fault is not None
        if not waits or ticket.done or self.ended.is_set():
            await anyio.lowlevel.checkpoint()
            return
        written = rung(ticket)
        self._written = ticket.bell
        await written

    # --- what the loop calls ---

    def _do(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as exc:  # a fault of ours or of a link of one's own ends ``run`` with it
            if not self._over.done():
                self._over.set_exception(exc)

    def _read(self) -> None:
        machine = self._machine
        if self._over.done():
            return
        try:
            size = self._sock.recv_into(self._view)
        except BlockingIOError:
            return
        except OSError as exc:
            self._no_more()
            self._broken(exc)
            return
        if not size:
            self._no_more()
            machine.receive_eof(now=self._loop.time())
            self.turn()
            if self._fault is not None:
                self._broken(self._fault)
            return
        self._sent = False
        if not machine.finished:
            machine.receive_data(bytes(self._view[:size]), now=self._loop.time())
            self.turn()
        if not self._sent:  # whoever is woken by what came may send as well
            self._loop.call_soon(self._acknowledge)
        if machine.full and self._reads:
            self._reads = False
            self._loop.remove_reader(self._sock)

    def _acknowledge(self) -> None:
        if not self._sent and not self._to_write:  # else what is sent acknowledges too
            self._quick()

    def _write(self) -> None:
        self._to_write = False
        if self._over.done():
            return
        if not self._unsent:
            self._send()
        if self._machine.finished:
            self._finish()

    def _write_rest(self) -> None:
        if self._over.done():
            return
        if self._push():
            self._loop.remove_writer(self._sock)
            self._send()
        if not self._unsent:
            self._loop.remove_writer(self._sock)
            if self._fault is None:
                self._ring_written()
            if self._machine.finished:
                self._finish()

    def _watch(self) -> None:
        self._timer = None
        self._sleeps_until = float("inf")
        if not self._machine.finished:
            self._machine.handle_timeout(now=self._loop.time())
            self.turn()

    # --- private ---

    def _see_to_write(self) -> None:
        if self._unsent or self._to_write:
            pass  # the loop is at it
        elif self._machine.pending > 1:
            self._to_write = True  # others will ask too before it comes to write
            self._loop.call_soon(self._do, self._write)
        else:
            self._send()

    def _send(self) -> None:
        """Write what the machine has, as far as the kernel takes it."""
        if self._fault is None and (data := self._machine.data_to_send()):
            together = len(data) > 1 and sum(map(len, data)) <= JOIN_BELOW
            self._unsent = [b"".join(data)] if together else data
            if not self._push():
                if self._fault is None:
                    self._loop.add_writer(self._sock, self._do, self._write_rest)
                return

    def _push(self) -> bool:
        """Write what is unsent; False where the kernel takes no more, or nothing ever again."""
        unsent = self._unsent
        try:
            while unsent:
                size = self._sock.send(unsent[0])
                self._sent = True
                if size == len(unsent[0]):
                    del unsent[0]
                else:
                    unsent[0] = memoryview(unsent[0])[size:]
        except BlockingIOError:
            return False
        except OSError as exc:
            unsent.clear()
            self._fault = exc
            # what the peer said last, a refusal perhaps, may still be on its way in
            patience = 0.0 if self._read_all else LINGER
            self._patience = self._loop.call_later(patience, self._do, self._give_up)
            return False
        return True

    def _ring_written(self) -> None:
        if self._written is not None:
            self._written()
            self._written = None

    def _sleep_until(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sleeps_until = when
        self._timer = self._loop.call_at(when, self._do, self._watch)

    def _finish(self) -> None:
        """The machine has finished: say so once all is written, and give the peer time to hear
        it: a plain close may destroy what is on its way to it."""
        if self._linger is None:
            self._linger = self._loop.call_later(LINGER, self._end)
        if self._machine.abrupt:
            self._end()
        elif not self._unsent and not self._to_write and self._fault is None:
            if not self._parts:
                self._parts = True
                try:
                    self._sock.shutdown(socket.SHUT_WR)
                except OSError:
                    self._end()  # the peer was faster
            if self._read_all:
                self._end()

    def _no_more(self) -> None:
        self._read_all = True
        self._reads = False
        self._loop.remove_reader(self._sock)

    def _give_up(self) -> None:
        if self._fault is not None:
            self._broken(self._fault)

    def _broken(self, exc: OSError) -> None:
        self._machine.abort(CloseReason(CloseKind.PEER_RESET, str(exc)))
        self.turn()
        self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


def desk_wire(stream: anyio.abc.ByteStream | socket.socket, desk: Desk) -> Wire | PlainWire:
    """A wire for a client's connection."""
    if isinstance(stream, socket.socket):
        return PlainWire(stream, desk)
    return Wire(stream, desk.connection, lambda now: desk.collect(now=now))
