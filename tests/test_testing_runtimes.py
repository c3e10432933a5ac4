"""The suite for runtimes: it passes what is right, and catches every fault that was planted."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from typing import Any, cast

import anyio.abc
import pytest
import trio

import rtm_asyncio._wire
import rtm_trio._wire
from rtm_proto.connection import Machine
from rtm_proto.events import CloseKind, CloseReason
from rtm_proto.testing.runtimes import RULES, Drive, check_runtime

# --- a runtime of one's own: blocking, with selectors ---

LINGER = 2.0  # seconds


class Blocking:
    """Drives *machine* over *sock*, in one thread, until it is finished."""

    def __init__(self, machine: Machine, sock: socket.socket) -> None:
        self.machine = machine
        self.sock = sock
        self.selector = selectors.DefaultSelector()
        self.out = bytearray()
        self.reading = True

    def run(self) -> None:
        """All of it."""
        self.sock.setblocking(False)
        with self.selector:
            self.machine.connected(now=time.monotonic())
            while self.turn():
                pass
        if not self.machine.abrupt:
            self.part()

    def turn(self) -> bool:
        """Write, wait, read; whether there is more to do."""
        machine = self.machine
        if not self.out:
            self.out += b"".join(machine.data_to_send())
        if machine.finished and (machine.abrupt or not self.out):
            return False
        when = machine.next_timeout()
        ready = self.wait(None if when is None else max(0.0, when - time.monotonic()))
        try:
            if ready & selectors.EVENT_WRITE:
                del self.out[: self.sock.send(self.out)]
            if ready & selectors.EVENT_READ:
                data = self.sock.recv(65_536)
                if data:
                    machine.receive_data(data, now=time.monotonic())
                else:
                    self.reading = False
                    machine.receive_eof(now=time.monotonic())
        except OSError as exc:
            machine.abort(CloseReason(CloseKind.PEER_RESET, str(exc)))
        machine.handle_timeout(now=time.monotonic())
        return True

    def wait(self, timeout: float | None) -> int:
        """Wait for the socket; what it is ready for."""
        events = selectors.EVENT_WRITE if self.out else 0
        if self.reading and not self.machine.full and not self.machine.finished:
            events |= selectors.EVENT_READ
        if self.sock in self.selector.get_map():
            self.selector.unregister(self.sock)
        if events:
            self.selector.register(self.sock, events)
        return sum(ready for _, ready in self.selector.select(timeout))

    def part(self) -> None:
        """End our side, and give the peer time to end its own."""
        self.sock.settimeout(LINGER)
        try:
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(65_536):
                pass  # what comes too late is of no interest
        except OSError:
            return  # the peer was faster


def drive(machine: Machine, sock: socket.socket) -> None:
    """The whole runtime."""
    Blocking(machine, sock).run()


# --- the adapters ---


def nothing(now: float) -> None:
    """The machines of the suite collect by themselves."""


def drive_on_trio(machine: Machine, sock: socket.socket) -> None:
    async def main() -> None:
        sock.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock.dup()))
        await rtm_trio._wire.Wire(stream, machine, nothing).run()

    trio.run(main)


def drive_on_asyncio(machine: Machine, sock: socket.socket) -> None:
    async def main() -> None:
        stream = await anyio.abc.UNIXSocketStream.from_socket(sock.dup())
        await rtm_asyncio._wire.Wire(stream, machine, nothing).run()

    asyncio.run(main())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "drive", [drive, drive_on_trio, drive_on_asyncio], ids=["blocking", "trio", "asyncio"]
)
def test_a_runtime_holds_every_rule(drive: Drive, rule: str) -> None:
    check_runtime(drive, rules=[rule])


# --- planted faults ---


class _Silent(Blocking):
    def run(self) -> None:
        """Not a word about the connection."""
        self.sock.setblocking(False)
        with self.selector:
            while self.turn():
                pass


class _Twice(Blocking):
    def run(self) -> None:
        """Connected, and again when that has failed."""
        self.machine.connected(now=time.monotonic())
        super().run()


class _Listening(Blocking):
    heard = False

    def wait(self, timeout: float | None) -> int:
        """Nothing is said first."""
        ready = super().wait(timeout)
        self.heard = self.heard or bool(ready & selectors.EVENT_READ)
        return ready if self.heard else ready & ~selectors.EVENT_WRITE


class _Behind(Blocking):
    """Writes what the quest before has brought."""

    before: bytes = b""

    def turn(self) -> bool:
        """One behind."""
        if not self.out and not self.machine.finished:
            data = b"".join(self.machine.data_to_send())
            if data:
                self.out += self.before
                self.before = data
        return super().turn()


class _Patient(Blocking):
    def wait(self, timeout: float | None) -> int:
        """Until something comes, or for long."""
        return super().wait(None if timeout is None else timeout + 2)


class _Hasty(Blocking):
    def wait(self, timeout: float | None) -> int:
        """Not at all."""
        return super().wait(0.001 if timeout is None else min(timeout, 0.001))


class _Timeless(Blocking):
    def run(self) -> None:
        """Its clock begins with the first byte."""
        self.machine.connected(now=0.0)
        self.sock.setblocking(False)
        with self.selector:
            while self.turn():
                pass


class _Cutting(Blocking):
    def turn(self) -> bool:
        """What does not fit is forgotten."""
        if not self.out:
            self.out += b"".join(self.machine.data_to_send())[:100_000]
        return super().turn()


class _Waiting(Blocking):
    def turn(self) -> bool:
        """All is written before anything is read."""
        self.sock.setblocking(True)
        for data in self.machine.data_to_send():
            self.sock.sendall(data)
        self.sock.setblocking(False)
        return super().turn()


class _Greedy(Blocking):
    def wait(self, timeout: float | None) -> int:
        """Full or not."""
        machine, self.machine = self.machine, cast(Machine, _NeverFull(self.machine))
        try:
            return super().wait(timeout)
        finally:
            self.machine = machine


class _NeverFull:
    full = False

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


class _Repeating(Blocking):
    ends = 0

    def turn(self) -> bool:
        """The end of the stream, as often as it is there."""
        going_on = super().turn()
        if not self.reading and self.ends < 3:
            self.ends += 1
            self.machine.receive_eof(now=time.monotonic())
        return going_on


class _Unaware(Blocking):
    def turn(self) -> bool:
        """Who ends one side is gone."""
        return super().turn() and self.reading


class _Curt(Blocking):
    def turn(self) -> bool:
        """Done is done."""
        return super().turn() and not self.machine.finished

    def part(self) -> None:
        """Without a word."""


class _Staying(Blocking):
    def run(self) -> None:
        """It does not notice that all is over."""
        super().run()
        time.sleep(8)


class _Polite(Blocking):
    def turn(self) -> bool:
        """All is said, also when it is to be dropped."""
        if self.machine.abrupt:
            self.sock.settimeout(4)
            try:
                self.sock.sendall(bytes(5_000_000))
            except OSError:
                return False
        return super().turn()


class _Raising(Blocking):
    def turn(self) -> bool:
        """A stream that breaks is an error."""
        if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectionResetError("the stream is gone")
        return super().turn()

    def wait(self, timeout: float | None) -> int:
        """And then an error is looked for."""
        ready = super().wait(timeout)
        if ready and self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectionResetError("the stream is gone")
        return ready


class _Soothing(Blocking):
    def run(self) -> None:
        """A stream that breaks is one that ends."""
        self.machine = cast(Machine, _Soothed(self.machine))
        super().run()


class _Soothed(_NeverFull):
    def abort(self, reason: CloseReason) -> None:
        """No abort."""
        self._machine.receive_eof(now=time.monotonic())


PLANTED: list[tuple[type[Blocking], str]] = [
    (_Silent, "begin"),
    (_Twice, "begin"),
    (_Listening, "ask"),
    (_Behind, "answer"),
    (_Patient, "time"),
    (_Hasty, "time"),
    (_Timeless, "clock"),
    (_Cutting, "flush"),
    (_Waiting, "both ways"),
    (_Greedy, "full"),
    (_Repeating, "end"),
    (_Unaware, "end"),
    (_Curt, "close"),
    (_Staying, "close"),
    (_Polite, "abrupt"),
    (_Raising, "reset"),
    (_Soothing, "reset"),
]


@pytest.mark.parametrize(("kind", "rule"), PLANTED, ids=[kind.__name__ for kind, _ in PLANTED])
def test_a_planted_fault_is_caught_by_the_rule_that_it_breaks(
    kind: type[Blocking], rule: str
) -> None:
    with pytest.raises(AssertionError) as caught:
        check_runtime(lambda machine, sock: kind(machine, sock).run(), rules=[rule])
    assert str(caught.value).startswith(f"{rule}: {RULES[rule]}; ")


def test_every_rule_catches_something() -> None:
    assert {rule for _, rule in PLANTED} == set(RULES)


def test_a_rule_that_there_is_not_is_told() -> None:
    with pytest.raises(ValueError, match="no rule 'speed'"):
        check_runtime(drive, rules=["speed"])
