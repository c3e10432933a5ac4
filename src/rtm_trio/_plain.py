"""A connection on a plain socket: written where something comes up, without a hand-over.

    socket ─► reader ─► connection ─► turn ─► bells
    socket ◄─────────── connection ◄─ turn, clock
    socket ◄─ writer ◄─ what the kernel did not take at once, and what many tasks ask together

The same face as ``Wire``, for sockets that are dialed here and carry no TLS. A write never waits,
so it cannot be cancelled in the middle: what the kernel does not take stays with the writer.
"""

from __future__ import annotations

import socket
import threading

import trio

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
        self._scope = trio.CancelScope()
        self._unsent: list[Buffer] = []  # taken from the machine and not by the kernel
        self._fault: OSError | None = None  # of a write
        self._to_write = trio.Event()
        self._written: Bell | None = None  # of who waits for that
        self._earlier = trio.Event()
        self._read_all = trio.Event()
        self._room: trio.Event | None = None
        self._sleeps_until = float("inf")
        self._sent = True  # whether anything was, since something came
        self.ended = trio.Event()

    async def run(self) -> None:
        """Drive it. Cancelled, it drops the socket; whatever happens, the machine is finished."""
        machine = self._machine
        try:
            machine.connected(now=trio.current_time())
            self.turn()
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._watch)
                    await self._write()
                    if not machine.abrupt:
                        await self._part()
                    nursery.cancel_scope.cancel()
        finally:
            machine.abort(CloseReason(CloseKind.LOCAL, "cancelled"))
            self._desk.collect(now=trio.current_time())
            self._ring_written()
            self.ended.set()
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def turn(self) -> None:
        """Something was done with the machine: take what came of it, and see to the rest."""
        machine = self._machine
        self._desk.collect(now=trio.current_time())
        self._see_to_write()
        if self._room is not None and not machine.full:
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
        """A quest was sent: nothing else came of the machine."""
        if self._machine.finished:
            self.turn()
            return
        self._see_to_write()
        if deadline < self._sleeps_until:
            self._earlier.set()

    async def flush(self, ticket: Ticket) -> None:
        """Wait until everything is written, or *ticket* is done."""
        self.turn()
        if not self._unsent:
            self._send()
        waits = self._unsent or self._fault is not None
        if not waits or ticket.done or self.ended.is_set():
            await trio.lowlevel.checkpoint()
            return
        written = rung(ticket)
        self._written = ticket.bell
        await written

    # --- the three tasks ---

    async def _read(self) -> None:
        sock, machine, view = self._sock, self._machine, _scratch.view
        quick = tune_socket(sock)
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                size = sock.recv_into(view)
            except BlockingIOError:
                continue
            except OSError as exc:
                self._broken(exc)
                break
            if not size:
                machine.receive_eof(now=trio.current_time())
                self.turn()
                break
            self._sent = False
            if not machine.finished:
                machine.receive_data(bytes(view[:size]), now=trio.current_time())
                self.turn()
            for _ in range(2):  # whoever is woken by what came may send as well
                if not self._sent:
                    await trio.lowlevel.checkpoint()
            if not self._sent:  # else what was sent acknowledges too
                quick()
            while machine.full:
                self._room = trio.Event()
                await self._room.wait()
        self._read_all.set()

    async def _write(self) -> None:
        machine = self._machine
        while True:
            self._to_write = trio.Event()
            if not self._unsent:
                self._send()
            while self._unsent:
                await trio.lowlevel.wait_writable(self._sock)
                if self._push():
                    self._send()
            if self._fault is not None:
                # what the peer said last, a refusal perhaps, may still be on its way in
                with trio.move_on_after(LINGER):
                    await self._read_all.wait()
                self._broken(self._fault)
                return
            if machine.finished:
                return
            self._ring_written()
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

    def _see_to_write(self) -> None:
        if self._unsent:
            pass  # the writer is at it
        elif self._machine.pending > 1 or self._machine.finished:
            self._to_write.set()  # others will ask too before it comes to write
        else:
            self._send()

    def _send(self) -> None:
        """Write what the machine has, as far as the kernel takes it."""
        if self._fault is None and (data := self._machine.data_to_send()):
            together = len(data) > 1 and sum(map(len, data)) <= JOIN_BELOW
            self._unsent = [b"".join(data)] if together else data
            if not self._push():
                self._to_write.set()
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
            return False
        return True

    def _ring_written(self) -> None:
        if self._written is not None:
            self._written()
            self._written = None

    async def _part(self) -> None:
        """Say that we are done, and give the peer time to hear it: a plain close may destroy
        what is on its way to it."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the peer was faster
        await self._read_all.wait()

    def _broken(self, exc: OSError) -> None:
        self._machine.abort(CloseReason(CloseKind.PEER_RESET, str(exc)))
        self.turn()


def desk_wire(stream: trio.abc.Stream | socket.socket, desk: Desk) -> Wire | PlainWire:
    """A wire for a client's connection."""
    if isinstance(stream, socket.socket):
        return PlainWire(stream, desk)
    return Wire(stream, desk.connection, lambda now: desk.collect(now=now))
