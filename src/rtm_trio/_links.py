"""The links to a gate: one main link, a file link for each send, and flows driven over them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from rtm_proto.address import Address
from rtm_proto.connection import Connection
from rtm_proto.desk import Desk, Inbox, Ticket
from rtm_proto.errors import ConnectFailed, ConnectionLost, RtmError
from rtm_proto.events import CloseKind, CloseReason, Lost
from rtm_proto.files import Source
from rtm_proto.flows.steps import (
    Ask,
    Begin,
    Dial,
    Discard,
    Finish,
    Flow,
    Hand,
    Now,
    OpenSource,
    Pause,
    Progress,
    Read,
    Tell,
    check_timeout,
)
from rtm_proto.link import Buffer
from rtm_proto.payload import Params

from ._dial import Connect, dial, make_link
from ._wire import Wire, desk_wire

Result = TypeVar("Result")

BYE_TIMEOUT = 2.0  # seconds that leaving waits for the answer to ``bye``
MAX_UPLOADS = 2  # files on their way at once; a third send waits, within its deadline


class _FileLink:
    """A connection to the file gate, with the one quest that goes over it."""

    def __init__(self, desk: Desk, wire: Wire, slot: object) -> None:
        self.desk = desk
        self.slot = slot
        self.wire = wire
        self.ticket: Ticket | None = None


class Links:
    """What a Client and a Server have in common; made by ``open_links``."""

    def __init__(
        self,
        nursery: trio.Nursery,
        main: Address,
        *,
        ssl_context: ssl.SSLContext | None,
        connect: Connect | None,
    ) -> None:
        self.main = main
        self.ssl_context = ssl_context
        self._nursery = nursery
        self._connect = connect
        self._uploads = trio.CapacityLimiter(MAX_UPLOADS)
        self._desk: Desk
        self._wire: Wire

    async def quest(self, method: str, params: Params, timeout: float) -> dict[str, object]:
        """A quest on the main link. Raises as ``Client.quest``."""
        deadline = trio.current_time() + check_timeout(timeout)
        return await self._ask(method, params, deadline)

    async def drive(
        self,
        flow: Flow[Result],
        source: Source | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> Result:
        """Carry out the steps of *flow* until it is done."""
        held: _FileLink | None = None
        outcome: object = None
        error: Exception | None = None
        try:
            while True:
                try:
                    step = flow.send(outcome) if error is None else flow.throw(error)
                except StopIteration as stop:
                    result: Result = stop.value
                    return result
                outcome = error = None
                if isinstance(step, Tell):
                    if progress is not None:
                        progress(step.progress)  # what it raises is the caller's, not the flow's
                    await trio.lowlevel.checkpoint()
                    continue
                try:
                    match step:
                        case Now():
                            outcome = trio.current_time()
                        case Pause(until):
                            await trio.sleep_until(until)
                        case Ask(method, params, deadline):
                            outcome = await self._ask(method, params, deadline)
                        case Dial(place, deadline):
                            self._drop(held)
                            held = None
                            held = await self._file_link(place, deadline)
                        case Begin(method, head, psize, deadline):
                            held = _needed(held)
                            held.ticket = held.desk.begin(method, head, psize, deadline=deadline)
                        case Hand(piece):
                            held = _needed(held)
                            outcome = await _hand(held, piece)
                        case Finish():
                            held = _needed(held)
                            if held.ticket is not None:
                                outcome = await _wait(held.desk, held.wire, held.ticket)
                        case Discard():
                            self._drop(held)
                            held = None
                        case OpenSource():
                            outcome = None if source is None else source.open()
                        case Read(size):
                            outcome = b"" if source is None else source.read(size)
                except (RtmError, OSError) as exc:
                    error = exc
        finally:
            flow.close()
            self._drop(held)
            if source is not None:
                source.close()

    # --- for open_links ---

    async def open(self, deadline: float, inbox: Inbox | None) -> None:
        """Connect the main link. Raises ConnectFailed."""
        self._desk, self._wire = await self._link(self.main, deadline, inbox)

    async def leave(self, *, bye: bool) -> None:
        """Say ``bye`` if that is usual and anybody hears it, and close."""
        connection = self._desk.connection
        if bye:
            with trio.move_on_after(BYE_TIMEOUT):
                try:
                    await self.quest("bye", {}, BYE_TIMEOUT)
                except RtmError:
                    pass  # the connection ends either way
        connection.close(now=trio.current_time())
        self._wire.turn()
        await self._wire.ended.wait()

    # --- private ---

    async def _ask(self, method: str, params: Params, deadline: float) -> dict[str, object]:
        ticket = self._desk.ask(method, params, deadline=deadline)
        return await _wait(self._desk, self._wire, ticket)

    async def _link(
        self, place: Address, deadline: float, inbox: Inbox | None
    ) -> tuple[Desk, Wire]:
        """Connect and wait for the link to open. Raises ConnectFailed."""
        stream = await dial(
            place, deadline=deadline, ssl_context=self.ssl_context, connect=self._connect
        )
        desk = Desk(Connection(make_link(place)), inbox)
        wire = desk_wire(stream, desk)
        self._nursery.start_soon(wire.run)
        try:
            with trio.fail_at(deadline):
                await _bell(desk.opening)
        except trio.TooSlowError as exc:
            _abort(desk, wire)
            raise ConnectFailed(f"{place} did not answer the handshake in time") from exc
        except BaseException:
            _abort(desk, wire)
            raise
        if isinstance(desk.opening.outcome, Lost):
            raise ConnectFailed(f"no link to {place}: {desk.opening.outcome.reason}")
        return desk, wire

    async def _file_link(self, place: Address, deadline: float) -> _FileLink:
        """A link to the file gate, once one of MAX_UPLOADS places is free. Raises ConnectFailed."""
        slot = object()
        try:
            with trio.fail_at(deadline):
                await self._uploads.acquire_on_behalf_of(slot)
        except trio.TooSlowError as exc:
            text = f"{MAX_UPLOADS} other files were on their way all the time"
            raise ConnectFailed(text) from exc
        try:
            return _FileLink(*await self._link(place, deadline, None), slot)
        except BaseException:
            self._uploads.release_on_behalf_of(slot)
            raise

    def _drop(self, held: _FileLink | None) -> None:
        """Close a file link: politely after an answer, else at once."""
        if held is None:
            return
        self._uploads.release_on_behalf_of(held.slot)
        if held.ticket is not None and held.ticket.done:
            held.desk.connection.close(now=trio.current_time())
            held.wire.turn()
        else:
            _abort(held.desk, held.wire)


@asynccontextmanager
async def open_links(
    main: Address,
    greet: Callable[[float], Flow[object]],
    *,
    timeout: float,
    inbox: Inbox | None,
    bye: bool,
    ssl_context: ssl.SSLContext | None,
    connect: Connect | None,
) -> AsyncGenerator[Links, None]:
    """Connect to the gate at *main*, and greet it: both within *timeout* seconds.

    *greet* gives the flow of the greeting, for a deadline. *inbox*: for what the gate pushes.
    *bye*: whether to say it in the end. Raises ConnectFailed, and what the greeting raises. Leaving
    the block by an exception or a cancellation leaves nothing running.
    """
    left_with: BaseException | None = None
    async with trio.open_nursery() as nursery:
        links = Links(nursery, main, ssl_context=ssl_context, connect=connect)
        try:
            deadline = trio.current_time() + timeout
            await links.open(deadline, inbox)
            await links.drive(greet(deadline))
            try:
                yield links
            finally:
                await links.leave(bye=bye)
        except trio.Cancelled:
            raise
        except BaseException as exc:
            left_with = exc  # raised below, as itself and not in the nursery's group
        nursery.cancel_scope.cancel()
    if left_with is not None:
        raise left_with


async def _bell(ticket: Ticket) -> None:
    """Wait until *ticket* is done."""
    if not ticket.done:
        bell = trio.Event()
        ticket.bell = bell.set
        await bell.wait()


async def _wait(desk: Desk, wire: Wire, ticket: Ticket) -> dict[str, object]:
    """The answer to a quest; leaving early forgets it."""
    wire.turn()
    try:
        await _bell(ticket)
    finally:
        if not ticket.done:
            desk.leave(ticket)
            wire.turn()
    return ticket.result()


async def _hand(held: _FileLink, piece: Buffer) -> bool:
    """Hand over a piece and wait until it is written; False if the quest has ended."""
    ticket = held.ticket
    if ticket is None or not held.desk.hand(ticket, piece):
        return False
    await held.wire.flush(ticket)
    return not ticket.done


def _needed(held: _FileLink | None) -> _FileLink:
    if held is None:
        raise ConnectionLost("file quest", CloseReason(CloseKind.LOCAL, "no file link is open"))
    return held


def _abort(desk: Desk, wire: Wire) -> None:
    desk.connection.abort(CloseReason(CloseKind.LOCAL))
    wire.turn()
