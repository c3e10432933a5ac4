"""A runtime of one's own: machines on sockets, driven in one thread that waits for all of them."""

import socket
from collections.abc import Callable
from contextlib import suppress
from math import inf
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from time import monotonic
from typing import Any

from rtm_proto import CloseKind, CloseReason
from rtm_proto.connection import Machine

LINGER = 2.0  # seconds for the last bytes to get out, and for the peer to end its side


class Wire:
    """A machine on a socket. Nothing here waits, and nothing raises what the socket says.

    ``out``  what the machine has given and the socket has not taken yet
    """

    def __init__(self, machine: Machine, sock: socket.socket, collect: Callable[[], object]):
        """*collect* takes what comes of the machine. The socket is closed here."""
        sock.setblocking(False)
        self.machine, self.sock, self.collect = machine, sock, collect
        self.out, self.reading, self.leave_at = bytearray(), True, inf
        machine.connected(now=monotonic())

    def wants(self) -> int:
        """Do what needs no waiting; what to wait for."""
        machine = self.machine
        machine.handle_timeout(now=monotonic())
        self.collect()
        if not self.out:
            self.out += b"".join(machine.data_to_send())
        if machine.finished:
            self.leave_at = min(self.leave_at, monotonic() + LINGER)
            if machine.abrupt or monotonic() >= self.leave_at or not (self.out or self.reading):
                self.sock.close()
            elif not self.out:
                with suppress(OSError):  # the peer was faster
                    self.sock.shutdown(socket.SHUT_WR)
        return EVENT_READ * (self.reading and not machine.full) | EVENT_WRITE * bool(self.out)

    def handle(self, ready: int) -> None:
        """Read, then write: what the peer said last may stand before its reset."""
        try:
            with suppress(BlockingIOError):
                if ready & EVENT_READ:
                    if data := self.sock.recv(65_536):
                        self.machine.receive_data(data, now=monotonic())
                    else:
                        self.reading = False
                        self.machine.receive_eof(now=monotonic())
                if ready & EVENT_WRITE:
                    del self.out[: self.sock.send(self.out)]
        except OSError as exc:
            self.machine.abort(CloseReason(CloseKind.PEER_RESET, str(exc)))
            self.leave_at = 0.0


def drive(wires: list[Wire], until: Callable[[], Any], deadline: float = inf) -> Any:
    """Drive *wires* until *until* gives something true, or until *deadline*; what it gave last.

    Those that have ended are taken out. With none left there is only the deadline to wait for.
    """
    while True:
        with DefaultSelector() as selector:  # made anew, so that it has nothing to forget
            for wire in [*wires]:
                events = wire.wants()
                if wire.sock.fileno() < 0:
                    wires.remove(wire)
                elif events:
                    selector.register(wire.sock, events, wire)
            result, now = until(), monotonic()
            if result or now >= deadline or not (wires or deadline < inf):
                return result
            wait = min([deadline, *(w.machine.next_timeout() or w.leave_at for w in wires)]) - now
            for key, ready in selector.select(None if wait == inf else max(0.0, wait)):
                key.data.handle(ready)
