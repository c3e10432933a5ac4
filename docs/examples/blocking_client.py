"""A user's client for programs that block: it logs in, sends files, and takes what is pushed."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from random import getrandbits
from time import monotonic, time_ns
from typing import Any, TypeVar

from blocking_loop import Wire, drive

import rtm_proto as rtm
from rtm_proto.address import file_route
from rtm_proto.files import Source
from rtm_proto.flows import steps
from rtm_proto.flows.login import Login, log_in
from rtm_proto.link import Buffer
from rtm_proto.websocket import WebSocketLink

Result = TypeVar("Result")
LEFT = rtm.CloseReason(rtm.CloseKind.LOCAL)
BYE_TIMEOUT = 2.0  # seconds that leaving waits for the answer to ``bye``


class Channel:
    """A connection to a gate, driven together with all the others in *wires*."""

    def __init__(
        self, wires: list[Wire], place: rtm.Address, deadline: float, inbox: rtm.Inbox | None
    ) -> None:
        """Connect, and wait for the link to open. Raises ConnectFailed."""
        try:
            timeout = max(0.0, deadline - monotonic())
            sock = socket.create_connection((place.host, place.port), timeout)
        except OSError as exc:
            raise rtm.ConnectFailed(f"could not connect to {place}: {exc}") from exc
        self.connection = rtm.Connection(make_link(place))
        self.desk = rtm.Desk(self.connection, inbox)
        self.ticket = self.desk.opening
        self.wires = wires
        self.wire = Wire(self.connection, sock, lambda: self.desk.collect(now=monotonic()))
        wires.append(self.wire)
        drive(wires, lambda: self.ticket.done, deadline)
        if not self.connection.open:
            self.leave()
            raise rtm.ConnectFailed(f"no link to {place}: {self.connection.reason}")

    def hand(self, piece: Buffer) -> bool:
        """Hand over a piece, and wait until the socket has it; False if the quest has ended."""
        if self.desk.hand(self.ticket, piece):
            drive(self.wires, lambda: self.ticket.done or not self.unwritten)
        return not self.ticket.done

    @property
    def unwritten(self) -> bool:
        """Whether there is something that the socket has not taken."""
        return bool(self.connection.unsent or self.wire.out)

    def finish(self) -> dict[str, object]:
        """Wait for the answer. Raises QuestError."""
        drive(self.wires, lambda: self.ticket.done)
        return self.ticket.result()

    def leave(self) -> None:
        """Close: with a goodbye where nothing is asked any more, else at once."""
        if self.ticket.done:
            self.connection.close(now=monotonic())
        else:
            self.connection.abort(LEFT)


class Client:
    """A user who is logged in; made by ``open_client``. It lives while one of its calls waits."""

    def __init__(self, wires: list[Wire], main: rtm.Address, login: Login) -> None:
        """Connect and log in. Raises ConnectFailed, LoginFailed."""
        deadline = monotonic() + login.timeout
        self.wires = wires
        self.inbox = rtm.Inbox(login.uid)
        self.mids = rtm.MidGenerator(lambda: time_ns() // 1_000_000, getrandbits(16))
        self.sender = rtm.Sender(login.pid, login.uid, file_route(main, "auto"))
        self.main = Channel(wires, main, deadline, self.inbox)
        self.run(log_in(login, deadline=deadline))

    def send_file(
        self, mtype: int, to: int, file: str | bytes, mid: int = 0, timeout: float = 20.0
    ) -> rtm.FileSent:
        """Send a file to the user *to*. Raises FileRefused, FileNotSent or OutcomeUnknown."""
        transfer = rtm.Transfer(
            self.sender,
            rtm.Conversation.P2P,
            mtype,
            to,
            mid=mid or self.mids.next(),
            repeat=mid != 0,
            timeout=timeout,
        )
        return self.run(transfer.run(), Source(file))

    def next_event(self, timeout: float) -> rtm.ClientEvent | None:
        """What reaches the user next, or None after *timeout* seconds."""
        event: rtm.ClientEvent | None = drive(self.wires, self.inbox.take, monotonic() + timeout)
        return event

    def run(self, flow: steps.Flow[Result], source: Source | None = None) -> Result:
        """Carry out the steps of *flow* until it is done."""
        held: Channel | None = None  # to the file gate
        outcome: Any = None
        error: Exception | None = None
        try:
            while True:
                step = flow.send(outcome) if error is None else flow.throw(error)
                outcome = error = None
                try:
                    match step:
                        case steps.Now():
                            outcome = monotonic()
                        case steps.Pause(until):
                            drive(self.wires, lambda: False, until)
                            outcome = monotonic()
                        case steps.Ask(method, params, deadline):
                            main = self.main
                            main.ticket = main.desk.ask(method, params, deadline=deadline)
                            outcome = main.finish()
                        case steps.Dial(place, deadline):
                            if held:
                                held.leave()
                            held = None
                            held = Channel(self.wires, place, deadline, None)
                        case steps.Begin(method, head, psize, deadline) if held:
                            held.ticket = held.desk.begin(method, head, psize, deadline=deadline)
                        case steps.Hand(piece) if held:
                            outcome = held.hand(piece)
                        case steps.Finish() if held:
                            outcome = held.finish()
                        case steps.Discard():
                            if held:
                                held.leave()
                            held = None
                        case steps.OpenSource() if source:
                            outcome = source.open()
                        case steps.Read(size) if source:
                            outcome = source.read(size)
                        case steps.Tell():
                            pass  # how far it has come
                        case _:
                            raise AssertionError(f"{step} is out of place")
                except (rtm.RtmError, OSError) as exc:
                    error = exc
        except StopIteration as stop:
            result: Result = stop.value
            return result
        finally:
            flow.close()
            if held:
                held.leave()
            if source:
                source.close()


@contextmanager
def open_client(url: str, login: Login) -> Generator[Client]:
    """Connect to the gate at *url* and log in; leaving the block logs out."""
    main = rtm.parse_url(url)
    if main.tls:
        raise rtm.LocalProtocolError(f"there is no TLS here, got {url}")
    wires: list[Wire] = []
    try:
        client = Client(wires, main, login)
        yield client
        with suppress(rtm.RtmError):
            client.main.desk.ask("bye", {}, deadline=monotonic() + BYE_TIMEOUT)
        client.main.connection.close(now=monotonic())
        drive(wires, lambda: not wires)
    finally:
        for wire in wires:
            wire.machine.abort(LEFT)
        drive(wires, lambda: not wires)


def make_link(address: rtm.Address) -> rtm.Link:
    """The link for *address*."""
    if not address.websocket:
        return rtm.StreamLink()
    return WebSocketLink.client(
        address.authority, address.path, nonce=os.urandom(16), mask_key=partial(os.urandom, 4)
    )
